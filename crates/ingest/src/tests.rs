//! The gate and the receiver in front of a storage in memory.

use std::sync::Arc;

use model::duration::PromDuration;
use model::relabel;
use model::seam::BoxFuture;
use model::{
    Appended, Appender, Batch, Clock, ErrorKind, Labels, RejectReason, SeamError, SeriesRef, TenantId,
    Timestamp,
};
use parking_lot::Mutex;

use crate::remote_write::Receiver;
use crate::{Config, Gate, Metrics};

/// Takes everything, or answers with an error; remembers series by their labels.
#[derive(Default)]
struct Store {
    seen: Mutex<Vec<String>>,
    fail: Mutex<Option<ErrorKind>>,
    refuse: Mutex<Option<RejectReason>>,
}

impl Appender for Store {
    fn append<'a>(&'a self, _: &'a TenantId, batch: &'a Batch) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            if let Some(kind) = *self.fail.lock() {
                return Err(SeamError::new(kind, "no"));
            }
            let mut out = Appended { accepted: batch.sample_count(), ..Appended::default() };
            for index in 0..batch.series().len() as u32 {
                out.refs.push(Some(SeriesRef(u64::from(index) + 100)));
                if let Some(encoded) = batch.label_bytes(index) {
                    self.seen.lock().push(Labels::from_encoded(encoded).unwrap().to_string());
                }
            }
            if let Some(reason) = *self.refuse.lock() {
                out.accepted -= 1;
                out.reject(0, Some(1), reason, 1, || "because".into());
            }
            Ok(out)
        })
    }
}

struct At(Mutex<i64>);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp(*self.0.lock())
    }
}

fn gate(config: Config) -> (Arc<Store>, Arc<At>, Gate) {
    let store = Arc::new(Store::default());
    let clock = Arc::new(At(Mutex::new(1_000_000)));
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let gate = Gate::new(Arc::<Store>::clone(&store), Arc::<At>::clone(&clock), config, metrics).unwrap();
    (store, clock, gate)
}

fn batch(series: &[&[(&str, &str)]]) -> Batch {
    let mut batch = Batch::new();
    for pairs in series {
        let index = batch.add_series(&Labels::from_pairs(pairs.iter().copied()));
        batch.push_float(index, 1_000_000, 1.0);
    }
    batch
}

#[tokio::test]
async fn limits_refuse_one_series_and_keep_the_rest() {
    let config = Config { max_labels: 3, max_label_value_bytes: 5, ..Config::default() };
    let (store, _, gate) = gate(config);
    let mut batch = batch(&[
        &[("__name__", "a"), ("x", "123456")],
        &[("__name__", "b")],
        &[("__name__", "c"), ("l", "1"), ("m", "1"), ("n", "1")],
        &[("x", "1")],
    ]);
    let late = batch.add_series_ref(SeriesRef(7));
    batch.push_float(late, 1_000_000 + 11 * 60_000, 1.0);
    batch.push_float(1, 1_000_001, 2.0);
    let out = gate.append(&TenantId::default(), &batch).await.unwrap();
    assert_eq!((out.accepted, out.rejected_count), (2, 4));
    let reasons: Vec<_> = out.rejected.iter().map(|r| (r.series, r.reason)).collect();
    use RejectReason::*;
    assert_eq!(reasons, [(4, TooNew), (0, LabelTooLong), (2, TooManyLabels), (3, InvalidLabels)]);
    assert!(
        out.rejected[1].detail.contains("\"a\" has 6 bytes, the limit is 5"),
        "{}",
        out.rejected[1].detail
    );
    assert_eq!(out.refs, [None, Some(SeriesRef(100)), None, None, Some(SeriesRef(101))]);
    assert_eq!(*store.seen.lock(), ["b"]);
}

#[tokio::test]
async fn relabelling_at_the_gate() {
    let drop = relabel::Config {
        source_labels: vec!["__name__".into()],
        regex: "secret.*".into(),
        action: relabel::Action::Drop,
        ..relabel::Config::default()
    };
    let add = relabel::Config {
        target_label: "dc".into(),
        replacement: "north".into(),
        ..relabel::Config::default()
    };
    let (store, _, gate) = gate(Config { relabel_configs: vec![drop, add], ..Config::default() });
    let out = gate
        .append(&TenantId::default(), &batch(&[&[("__name__", "secret_a")], &[("__name__", "b")]]))
        .await
        .unwrap();
    assert_eq!(*store.seen.lock(), [r#"b{dc="north"}"#]);
    assert_eq!((out.accepted, out.rejected_count), (2, 0));
    assert_eq!(out.refs, [None, None], "the rules must see every sample's labels");
}

#[tokio::test]
async fn types_and_units_become_labels() {
    let (store, _, gate) = gate(Config::default());
    let gate = gate.with_types();
    let mut batch = batch(&[&[("__name__", "a_seconds_total"), ("x", "1")], &[("__name__", "b")]]);
    let (kind, unit) = (model::MetricType::Counter, "seconds".to_owned());
    batch.push_metadata("a_seconds", model::Metadata { kind, unit, ..model::Metadata::default() });
    let out = gate.append(&TenantId::default(), &batch).await.unwrap();
    let seen: Vec<_> = std::mem::take(&mut *store.seen.lock());
    assert_eq!(seen, [r#"a_seconds_total{__type__="counter", __unit__="seconds", x="1"}"#, "b"]);
    assert!(out.refs.iter().all(Option::is_some), "a steady sender names them by reference: {:?}", out.refs);
}

#[tokio::test]
async fn a_tenant_that_sends_too_fast_waits() {
    let config = Config { max_samples_per_second: 2, burst_seconds: 2, ..Config::default() };
    let (_, clock, gate) = gate(config);
    let four =
        batch(&[&[("__name__", "a")], &[("__name__", "b")], &[("__name__", "c")], &[("__name__", "d")]]);
    let tenant = TenantId::default();
    assert!(gate.append(&tenant, &four).await.is_ok());
    assert_eq!(gate.append(&tenant, &four).await.unwrap_err().kind(), ErrorKind::Limit);
    assert!(gate.append(&TenantId::new("other").unwrap(), &four).await.is_ok());
    *clock.0.lock() += 2000;
    assert!(gate.append(&tenant, &four).await.is_ok());
}

#[tokio::test]
async fn metadata_is_cut_to_its_limit() {
    let (_, _, gate) = gate(Config { max_metadata_bytes: 4, ..Config::default() });
    let mut batch = batch(&[&[("__name__", "a")]]);
    batch.push_metadata("a", model::Metadata { help: "ünüsual".into(), ..model::Metadata::default() });
    assert_eq!(gate.append(&TenantId::default(), &batch).await.unwrap().accepted, 1);
    assert_eq!(gate.config().max_future, PromDuration(600_000));
}

/// `WriteRequest { timeseries: [{ labels: [{name, value}], samples: [{1.0, 1_000_000}] }] }`
fn request(name: &str) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2, bytes.len() as u8];
        out.extend_from_slice(bytes);
        out
    };
    let label = [field(1, name.as_bytes()), field(2, b"a")].concat();
    let sample = [&[9][..], &1f64.to_le_bytes(), &[16, 0xc0, 0x84, 0x3d]].concat();
    field(1, &[field(1, &label), field(2, &sample)].concat())
}

#[tokio::test]
async fn remote_write_answers() {
    let config = Config { max_request_bytes: 1000, max_decompressed_bytes: 2000, ..Config::default() };
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let receiver = Receiver::new(&config, metrics, 1);
    let store = Store::default();
    let good = snap::raw::Encoder::new().compress_vec(&request("__name__")).unwrap();
    let nameless = snap::raw::Encoder::new().compress_vec(&request("x")).unwrap();
    let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 5000]).unwrap();
    let v1 = Some("application/x-protobuf");
    let ask = |kind: Option<&'static str>, encoding: Option<&'static str>, body: Vec<u8>| {
        let (receiver, store) = (&receiver, &store);
        async move { receiver.receive(store, &TenantId::default(), kind, encoding, &body).await }
    };
    assert_eq!(ask(v1, Some("snappy"), good.clone()).await.status, 204);
    assert_eq!(*store.seen.lock(), ["a"]);
    assert_eq!(ask(v1, None, good.clone()).await.status, 204);
    assert_eq!(ask(v1, Some("gzip"), good.clone()).await.status, 415);
    assert_eq!(ask(Some("text/plain"), Some("snappy"), good.clone()).await.status, 415);
    assert_eq!(ask(v1, Some("snappy"), vec![1, 2, 3]).await.status, 400);
    assert_eq!(ask(v1, Some("snappy"), bomb).await.status, 413);
    assert_eq!(ask(v1, Some("snappy"), vec![0; 1001]).await.status, 413);
    let refused = ask(v1, Some("snappy"), nameless).await;
    assert!(refused.status == 400 && refused.body.contains("no metric name"), "{refused:?}");
    let v2 = Some("application/x-protobuf;proto=io.prometheus.write.v2.Request");
    let empty = snap::raw::Encoder::new().compress_vec(&[0x22, 0]).unwrap();
    let answer = ask(v2, Some("snappy"), empty).await;
    assert_eq!(answer.status, 204);
    assert!(
        answer.headers.contains(&("x-prometheus-remote-write-samples-written", "0".into())),
        "{answer:?}"
    );
    *store.refuse.lock() = Some(RejectReason::TooOld);
    let refused = ask(v1, Some("snappy"), good.clone()).await;
    assert!(refused.status == 400 && refused.body.contains("too_old: because"), "{refused:?}");
    *store.refuse.lock() = Some(RejectReason::SeriesLimit);
    let refused = ask(v1, Some("snappy"), good.clone()).await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers.iter().any(|(name, _)| *name == "retry-after"));
    for (kind, status) in [(ErrorKind::Unavailable, 503), (ErrorKind::Limit, 429), (ErrorKind::Corrupt, 500)]
    {
        *store.fail.lock() = Some(kind);
        assert_eq!(ask(v1, Some("snappy"), good.clone()).await.status, status);
    }
}

/// Names series by their labels, and forgets them all when told so.
#[derive(Default)]
struct Forgetful {
    known: Mutex<Vec<String>>,
    by_labels: Mutex<usize>,
    stored: Mutex<Vec<(String, f64)>>,
}

impl Appender for Forgetful {
    fn append<'a>(
        &'a self,
        tenant: &'a TenantId,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            let mut known = self.known.lock();
            let mut out = Appended::default();
            let mut names = Vec::new();
            for (index, key) in batch.series().iter().enumerate() {
                let name = match key {
                    model::batch::SeriesKey::Ref(reference) => known.get(reference.0 as usize).cloned(),
                    model::batch::SeriesKey::Labels(_) => {
                        *self.by_labels.lock() += 1;
                        let labels = Labels::from_encoded(batch.label_bytes(index as u32).unwrap()).unwrap();
                        let name = format!("{tenant} {labels}");
                        if !known.contains(&name) {
                            known.push(name.clone());
                        }
                        Some(name)
                    }
                };
                let place = name.as_ref().and_then(|name| known.iter().position(|n| n == name));
                out.refs.push(place.map(|place| SeriesRef(place as u64)));
                if name.is_none() {
                    out.unknown_refs.push(index as u32);
                }
                names.push(name);
            }
            for sample in batch.floats() {
                if let Some(name) = &names[sample.series as usize] {
                    self.stored.lock().push((name.clone(), sample.value));
                    out.accepted += 1;
                }
            }
            Ok(out)
        })
    }
}

#[tokio::test]
async fn remote_write_names_known_series_by_reference_until_the_storage_forgets_them() {
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let receiver = Receiver::new(&Config::default(), metrics.clone(), 7);
    let store = Forgetful::default();
    let body = |values: &[f64]| {
        // Series a{x="<number>"}, one sample each.
        let mut out = Vec::new();
        for (at, value) in values.iter().enumerate() {
            let mut series = vec![0x0a, 13, 0x0a, 8];
            series.extend_from_slice(b"__name__");
            series.extend_from_slice(&[0x12, 1, b'a', 0x0a, 6, 0x0a, 1, b'x', 0x12, 1, b'0' + at as u8]);
            series.extend_from_slice(&[0x12, 11, 0x09]);
            series.extend_from_slice(&value.to_le_bytes());
            series.extend_from_slice(&[0x10, 5]);
            out.extend_from_slice(&[0x0a, series.len() as u8]);
            out.extend_from_slice(&series);
        }
        snap::raw::Encoder::new().compress_vec(&out).unwrap()
    };
    let (first, second) = (TenantId::default(), TenantId::new("second").unwrap());
    let send = async |tenant: &TenantId, values: &[f64]| {
        let response = receiver.receive(&store, tenant, None, None, &body(values)).await;
        assert_eq!(response.status, 204, "{}", response.body);
        std::mem::take(&mut *store.by_labels.lock())
    };
    assert_eq!(send(&first, &[1.0, 2.0]).await, 2);
    assert_eq!(send(&first, &[3.0, 4.0, 5.0]).await, 1);
    assert_eq!(send(&first, &[6.0, 7.0, 8.0]).await, 0);
    assert_eq!(metrics.known_series.get(), 3);
    // What one tenant's series are called says nothing about another's.
    assert_eq!(send(&second, &[9.0]).await, 1);
    store.known.lock().clear();
    store.stored.lock().clear();
    assert_eq!(send(&first, &[10.0, 11.0]).await, 2);
    let name = |x: usize| format!("{first} a{{x=\"{x}\"}}");
    assert_eq!(*store.stored.lock(), [(name(0), 10.0), (name(1), 11.0)]);
    assert_eq!(send(&first, &[12.0, 13.0]).await, 0);
}
