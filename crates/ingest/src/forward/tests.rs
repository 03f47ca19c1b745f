//! Forwarding to a small HTTP server that can be down, refuse, or take.

use std::sync::Arc;
use std::time::Duration;

use model::batch::SeriesRef;
use model::time::SystemClock;
use model::{ErrorKind, relabel};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wire::compress::{Encoding, decompress};
use wire::remote_write::{Decoder, Message};

use super::*;
use crate::config::FullPolicy;

/// Gives each series a reference, by its labels, and remembers them.
#[derive(Default)]
struct Store {
    refs: Mutex<Vec<Labels>>,
}

impl Appender for Store {
    fn append<'a>(&'a self, _: &'a TenantId, batch: &'a Batch) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            let mut refs = self.refs.lock();
            let mut out = Appended { accepted: batch.sample_count(), ..Appended::default() };
            for (index, key) in batch.series().iter().enumerate() {
                out.refs.push(Some(match key {
                    SeriesKey::Ref(known) => *known,
                    SeriesKey::Labels(_) => {
                        let labels = Labels::from_encoded(batch.label_bytes(index as u32).unwrap()).unwrap();
                        let at = refs.iter().position(|l| *l == labels).unwrap_or_else(|| {
                            refs.push(labels);
                            refs.len() - 1
                        });
                        SeriesRef(at as u64)
                    }
                }));
            }
            Ok(out)
        })
    }
}

/// What a request held.
#[derive(Clone, Debug)]
struct Got {
    headers: String,
    samples: Vec<String>,
    metadata: usize,
}

/// Takes requests; answers with the scripted statuses first, then with 204.
struct Sink {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    task: JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn sink(address: &str, message: Message, statuses: Vec<&'static str>) -> Sink {
    let listener = loop {
        // The address may be held by connections of an earlier sink for a moment.
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    let statuses = Arc::new(Mutex::new(statuses.into_iter()));
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (kept, statuses) = (Arc::clone(&kept), Arc::clone(&statuses));
            connections.spawn(async move {
                let mut buffer = Vec::new();
                loop {
                    let head = loop {
                        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                            break at + 4;
                        }
                        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                            return;
                        }
                    };
                    let headers = String::from_utf8(buffer[..head].to_vec()).unwrap().to_lowercase();
                    let length: usize = headers
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "))
                        .map_or(0, |text| text.parse().unwrap());
                    while buffer.len() < head + length {
                        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let body: Vec<u8> = buffer.drain(..head + length).skip(head).collect();
                    let status = statuses.lock().next().unwrap_or("204 No Content");
                    if status.starts_with("2") {
                        let mut plain = Vec::new();
                        decompress(Encoding::Snappy, &body, 1 << 20, &mut plain).unwrap();
                        let mut batch = Batch::new();
                        Decoder::new(0).decode(message, &plain, &mut batch).unwrap();
                        let name =
                            |s| Labels::from_encoded(batch.label_bytes(s).unwrap()).unwrap().to_string();
                        let samples = batch
                            .floats()
                            .iter()
                            .map(|s| format!("{} {}@{}", name(s.series), s.value, s.time));
                        let samples = samples.collect();
                        kept.lock().push(Got { headers, samples, metadata: batch.metadata().len() });
                    }
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    Sink { url, got, task }
}

impl Sink {
    fn address(&self) -> String {
        self.url.trim_start_matches("http://").split('/').next().unwrap().to_owned()
    }

    fn samples(&self) -> Vec<String> {
        self.got.lock().iter().flat_map(|got| got.samples.clone()).collect()
    }

    async fn wait(&self, samples: usize) -> Vec<String> {
        wait("samples to arrive", || Some(self.samples()).filter(|got| got.len() >= samples)).await
    }
}

async fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < patience, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn settings(url: &str, message: Message) -> Settings {
    Settings {
        name: "up".into(),
        url: url.into(),
        alternatives: Vec::new(),
        http: httpc::Config::default(),
        sigv4: None,
        headers: vec![("x-own".into(), "1".into())],
        timeout: Duration::from_secs(10),
        message,
        external_labels: Labels::from_pairs([("dc", "eu")]),
        relabel: Vec::new(),
        exemplars: false,
        histograms: true,
        queue: Queue {
            min_shards: 2,
            max_shards: 4,
            capacity: 10,
            max_samples: 10,
            deadline: Duration::from_millis(20),
            min_backoff: Duration::from_millis(5),
            max_backoff: Duration::from_millis(20),
            retry_429: false,
            age_limit_ms: 0,
        },
        metadata: Some((Duration::from_secs(60), 100)),
    }
}

struct World {
    folder: tempfile::TempDir,
    store: Arc<Store>,
    metrics: Metrics,
    config: ForwardConfig,
}

impl World {
    fn new(config: ForwardConfig) -> Self {
        let metrics = Metrics::new(&mut Registry::default());
        Self { folder: tempfile::tempdir().unwrap(), store: Arc::default(), metrics, config }
    }

    fn forward(&self) -> Forward {
        let store = Arc::clone(&self.store);
        let known = Arc::clone(&self.store);
        let labels_of: LabelsOf = Arc::new(move |_: &TenantId, series: SeriesRef| {
            known.refs.lock().get(series.0 as usize).cloned()
        });
        let folder = self.folder.path().join("forward");
        Forward::new(store, labels_of, Arc::new(SystemClock), &self.config, folder, self.metrics.clone())
    }

    fn dropped(&self, reason: &'static str) -> u64 {
        self.metrics.forward_dropped.get_or_create(&Dropped::because(reason)).get()
    }
}

fn batch(names: &[&str], time: i64) -> Batch {
    let mut batch = Batch::new();
    for name in names {
        let series = batch.add_series(&Labels::from_pairs([("__name__", *name)]));
        batch.push_float(series, time, time as f64);
    }
    batch
}

#[tokio::test]
async fn both_versions_deliver_rewritten_series() {
    for message in [Message::V1, Message::V2] {
        let sink = sink("127.0.0.1:0", message, Vec::new()).await;
        let world = World::new(ForwardConfig::default());
        let forward = world.forward();
        let drop_b: relabel::Config = serde_json::from_value(
            serde_json::json!({"source_labels": ["__name__"], "regex": "b.*", "action": "drop"}),
        )
        .unwrap();
        let rules = vec![relabel::Rule::new(drop_b).unwrap()];
        let settings = Settings { relabel: rules, ..settings(&sink.url, message) };
        forward.reload(vec![Destination::new(settings).unwrap()]).await.unwrap();
        let mut first = batch(&["a", "b"], 1);
        first.push_metadata("a", model::Metadata { help: "h".into(), ..model::Metadata::default() });
        let appended = forward.append(&TenantId::default(), &first).await.unwrap();
        // The next comes by reference, as scrapes do.
        let mut second = Batch::new();
        for reference in appended.refs {
            let series = second.add_series_ref(reference.unwrap());
            second.push_float(series, 2, 2.0);
        }
        forward.append(&TenantId::new("team").unwrap(), &second).await.unwrap();
        let got = sink.wait(2).await;
        let mut sorted = got.clone();
        sorted.sort();
        assert_eq!(sorted, ["a{dc=\"eu\"} 1@1", "a{dc=\"eu\"} 2@2"]);
        let requests = sink.got.lock().clone();
        let version = if message == Message::V1 { "0.1.0" } else { "2.0.0" };
        let of = |sample: &str| {
            requests.iter().find(|got| got.samples.iter().any(|s| s.contains(sample))).unwrap()
        };
        assert!(of("1@1").headers.contains(&format!("x-prometheus-remote-write-version: {version}")));
        assert!(of("1@1").headers.contains("x-own: 1") && !of("1@1").headers.contains("x-scope-orgid"));
        assert!(of("2@2").headers.contains("x-scope-orgid: team"));
        assert!(requests.iter().any(|got| got.metadata == 1), "{requests:?}");
        // Counted once the answer has come back, which is after the request was seen.
        let to = crate::metrics::To { destination: "up".into() };
        let sent = || world.metrics.forward_sent.get_or_create(&to).get();
        wait("both samples to be counted", || (sent() >= 2).then_some(())).await;
        assert_eq!(sent(), 2);
        forward.close().await;
    }
}

#[test]
fn a_changed_secret_is_a_change() {
    let with = |password: &str| {
        let http = httpc::Config {
            basic_auth: Some(httpc::BasicAuth {
                username: "u".into(),
                password: password.into(),
                ..httpc::BasicAuth::default()
            }),
            ..httpc::Config::default()
        };
        Destination::new(Settings { http, ..settings("http://127.0.0.1:1/w", Message::V2) }).unwrap()
    };
    assert!(with("a").is_same(&with("a")) && !with("a").is_same(&with("b")));
}

/// Two addresses of which the first is nobody; series have references although nothing is stored.
#[tokio::test]
async fn without_a_storage_samples_go_to_the_server_that_answers() {
    let sink = sink("127.0.0.1:0", Message::V2, Vec::new()).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::new(ForwardConfig::default());
    let forward = Forward::without_storage(
        Arc::new(model::time::SystemClock),
        &world.config,
        world.folder.path().join("forward"),
        world.metrics.clone(),
    );
    let early = forward.append(&TenantId::default(), &batch(&["a"], 1)).await.unwrap_err();
    assert!(early.to_string().contains("no destination"), "{early}");
    let to = Settings {
        alternatives: vec![sink.url.clone()],
        ..settings(&format!("http://{nobody}/w"), Message::V2)
    };
    forward.reload(vec![Destination::new(to).unwrap()]).await.unwrap();
    let appended = forward.append(&TenantId::default(), &batch(&["a", "b"], 1)).await.unwrap();
    let mut next = Batch::new();
    let series = next.add_series_ref(appended.refs[1].unwrap());
    next.push_float(series, 2, 2.0);
    forward.append(&TenantId::default(), &next).await.unwrap();
    let mut got = sink.wait(3).await;
    got.sort();
    assert_eq!(got, ["a{dc=\"eu\"} 1@1", "b{dc=\"eu\"} 1@1", "b{dc=\"eu\"} 2@2"]);
    forward.close().await;
}

#[tokio::test]
async fn what_waits_survives_the_process_and_arrives_in_order() {
    let down = sink("127.0.0.1:0", Message::V1, Vec::new()).await;
    let (address, url) = (down.address(), down.url.clone());
    drop(down);
    let world = World::new(ForwardConfig::default());
    let forward = world.forward();
    let destination = || Destination::new(settings(&url, Message::V1)).unwrap();
    forward.reload(vec![destination()]).await.unwrap();
    for time in 1..=40 {
        forward.append(&TenantId::default(), &batch(&["a", "b", "c"], time)).await.unwrap();
    }
    wait("a failed attempt", || {
        let retries =
            world.metrics.forward_retries.get_or_create(&crate::metrics::To { destination: "up".into() });
        (retries.get() > 0).then_some(())
    })
    .await;
    // As after kill -9: nothing is closed; a torn record is at the end.
    let senders = forward.active.write().take().unwrap().senders;
    for (_, _, task) in senders {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    let segment = std::fs::read_dir(world.folder.path().join("forward"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "spool"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes.extend_from_slice(&[200, 0, 0, 0, 1, 2, 3]);
    std::fs::write(&segment, bytes).unwrap();

    let up = sink(&address, Message::V1, vec!["503 Busy", "429 Slow\r\nretry-after: 0"]).await;
    let forward = world.forward();
    forward.reload(vec![destination()]).await.unwrap();
    forward.append(&TenantId::default(), &batch(&["a"], 41)).await.unwrap();
    wait("all samples", || {
        let got: std::collections::BTreeSet<String> = up.samples().into_iter().collect();
        (got.len() >= 121).then_some(())
    })
    .await;
    // Within a series the times never go back, except where a whole portion was sent again.
    let times: Vec<i64> = up
        .samples()
        .iter()
        .filter(|s| s.starts_with("a{"))
        .map(|s| s.rsplit('@').next().unwrap().parse().unwrap())
        .collect();
    assert!(times.windows(2).filter(|w| w[0] > w[1]).count() <= 1, "{times:?}");
    forward.close().await;
}

#[tokio::test]
async fn a_full_spool_follows_its_policy_and_counts() {
    for (policy, reason) in
        [(FullPolicy::DropOldest, "spool_full_oldest"), (FullPolicy::RefuseNewest, "spool_full_newest")]
    {
        let world = World::new(ForwardConfig {
            spool_max_bytes: 1 << 20,
            when_full: policy,
            ..ForwardConfig::default()
        });
        let forward = world.forward();
        // Nobody listens there.
        let gone = settings("http://127.0.0.1:9/", Message::V1);
        forward.reload(vec![Destination::new(gone).unwrap()]).await.unwrap();
        let mut time = 0;
        while world.dropped(reason) == 0 {
            time += 1;
            let mut batch = Batch::new();
            let index = batch.add_series(&Labels::from_pairs([("__name__", "a")]));
            for i in 0..2000 {
                let at = time * 2000 + i;
                batch.push_float(index, at, (at as f64 * 1.234_567_89e-3).sin());
            }
            forward.append(&TenantId::default(), &batch).await.unwrap();
            assert!(time < 5000, "the spool never filled");
        }
        let bytes: u64 = std::fs::read_dir(world.folder.path().join("forward"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes <= (1 << 20) + 4096, "{bytes}");
        assert!(world.metrics.forward_spool_bytes.get() <= 1 << 20);
        forward.close().await;
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_counted_and_the_rest_goes_on() {
    let sink = sink("127.0.0.1:0", Message::V2, vec!["400 Bad"]).await;
    let world = World::new(ForwardConfig::default());
    let forward = world.forward();
    let mut one = settings(&sink.url, Message::V2);
    (one.queue.min_shards, one.queue.max_shards) = (1, 1);
    forward.reload(vec![Destination::new(one).unwrap()]).await.unwrap();
    forward.append(&TenantId::default(), &batch(&["a"], 1)).await.unwrap();
    wait("the refusal", || (world.dropped("refused") == 1).then_some(())).await;
    forward.append(&TenantId::default(), &batch(&["a"], 2)).await.unwrap();
    assert_eq!(sink.wait(1).await, ["a{dc=\"eu\"} 2@2"]);
    // Without destinations nothing is spooled.
    forward.reload(Vec::new()).await.unwrap();
    forward.append(&TenantId::default(), &batch(&["a"], 3)).await.unwrap();
    assert_eq!(world.metrics.forward_spooled.get(), 2);
}

#[tokio::test]
async fn a_failing_storage_forwards_nothing() {
    struct Broken;
    impl Appender for Broken {
        fn append<'a>(&'a self, _: &'a TenantId, _: &'a Batch) -> BoxFuture<'a, Result<Appended, SeamError>> {
            Box::pin(async { Err(SeamError::new(ErrorKind::Unavailable, "no")) })
        }
    }
    let world = World::new(ForwardConfig::default());
    let labels_of: LabelsOf = Arc::new(|_: &TenantId, _: SeriesRef| None);
    let folder = world.folder.path().join("forward");
    let clock = Arc::new(SystemClock);
    let forward =
        Forward::new(Arc::new(Broken), labels_of, clock, &world.config, folder, world.metrics.clone());
    let gone = settings("http://127.0.0.1:9/", Message::V1);
    forward.reload(vec![Destination::new(gone).unwrap()]).await.unwrap();
    assert!(forward.append(&TenantId::default(), &batch(&["a"], 1)).await.is_err());
    assert_eq!(world.metrics.forward_spooled.get(), 0);
    forward.close().await;
}
