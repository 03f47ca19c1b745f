//! Types and units as labels (`--enable-feature=type-and-unit-labels`): what is known about a metric becomes `__type__` and
//! `__unit__` of its series.
//!
//! Scrapes, remote write 2.0 and OTLP say it with their samples. What came without samples, as remote write 1.0 sends it now and
//! then, is not used: series would get other labels each time the server starts.

use std::collections::HashMap;

use model::labels::{METRIC_NAME, encode_pair, iter_encoded};
use model::{Batch, Metadata, MetricType, TenantId};
use parking_lot::{RwLock, RwLockReadGuard};
use prometheus_client::metrics::counter::Counter;

/// The label with the type.
const TYPE: &str = "__type__";
/// The label with the unit.
const UNIT: &str = "__unit__";
/// What the series of a family add to its name.
const SUFFIXES: [&str; 6] = ["_bucket", "_sum", "_count", "_total", "_created", "_info"];

type Known = HashMap<String, (MetricType, String)>;

/// What is known about metrics, by tenant.
pub(crate) struct Types {
    known: RwLock<HashMap<TenantId, Known>>,
    /// Most metrics of a tenant.
    max: usize,
    /// Metrics that were not remembered because there are too many.
    beyond: Counter,
}

/// What is known about the metrics of one tenant, for the series of one batch.
pub(crate) struct View<'a> {
    known: RwLockReadGuard<'a, HashMap<TenantId, Known>>,
    tenant: &'a TenantId,
}

impl Types {
    pub(crate) fn new(max: usize, beyond: Counter) -> Self {
        Self { known: RwLock::default(), max, beyond }
    }

    /// Learns what a batch with samples says of its metrics.
    pub(crate) fn learn(&self, tenant: &TenantId, batch: &Batch) {
        if batch.metadata().is_empty() || batch.series().is_empty() {
            return;
        }
        let is_news = |(name, metadata): &&(String, Metadata), known: Option<&Known>| {
            let found = known.and_then(|known| known.get(name));
            found.is_none_or(|(kind, unit)| *kind != metadata.kind || *unit != metadata.unit)
        };
        // Nearly always everything is known, and batches do not wait for one another.
        let any = {
            let known = self.known.read();
            let of_tenant = known.get(tenant);
            batch.metadata().iter().any(|entry| is_news(&entry, of_tenant))
        };
        if !any {
            return;
        }
        let mut known = self.known.write();
        let of_tenant = known.entry(tenant.clone()).or_default();
        for (name, metadata) in batch.metadata() {
            if of_tenant.len() < self.max || of_tenant.contains_key(name) {
                of_tenant.insert(name.clone(), (metadata.kind, metadata.unit.clone()));
            } else {
                self.beyond.inc();
            }
        }
    }

    /// One lock for a batch.
    pub(crate) fn view<'a>(&'a self, tenant: &'a TenantId) -> View<'a> {
        View { known: self.known.read(), tenant }
    }
}

impl View<'_> {
    /// The labels of a series with its type and unit, in canonical encoding; `None` when they are as they should be.
    pub(crate) fn labels(&self, encoded: &[u8]) -> Option<Vec<u8>> {
        let (_, metric) = iter_encoded(encoded).find(|(name, _)| *name == METRIC_NAME)?;
        let (kind, unit) = {
            let of_tenant = self.known.get(self.tenant)?;
            let family = || SUFFIXES.iter().find_map(|suffix| of_tenant.get(metric.strip_suffix(suffix)?));
            of_tenant.get(metric).or_else(family)?
        };
        let kind = *kind;
        let kind = if kind == MetricType::Unknown { "" } else { kind.as_str() };
        let new = [(TYPE, kind), (UNIT, unit.as_str())];
        let mut new = new.into_iter().filter(|(_, value)| !value.is_empty()).peekable();
        let mut out = Vec::with_capacity(encoded.len() + 32);
        for (name, value) in iter_encoded(encoded).filter(|(name, _)| *name != TYPE && *name != UNIT) {
            while let Some((before, text)) = new.next_if(|(before, _)| *before < name) {
                encode_pair(&mut out, before, text);
            }
            encode_pair(&mut out, name, value);
        }
        new.for_each(|(name, value)| encode_pair(&mut out, name, value));
        (out != encoded).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    #[test]
    fn series_get_the_type_and_unit_of_their_family() {
        let (types, tenant) = (Types::new(3, Counter::default()), TenantId::default());
        let mut batch = Batch::new();
        let describe = |batch: &mut Batch, name: &str, kind, unit: &str| {
            batch.push_metadata(name, Metadata { kind, unit: unit.into(), help: String::new() });
        };
        describe(&mut batch, "early", MetricType::Gauge, "");
        types.learn(&tenant, &batch);
        batch.add_series(&Labels::from_pairs([("__name__", "up")]));
        batch.clear();
        batch.add_series(&Labels::from_pairs([("__name__", "up")]));
        describe(&mut batch, "wait_seconds", MetricType::Histogram, "seconds");
        describe(&mut batch, "requests", MetricType::Counter, "");
        describe(&mut batch, "odd", MetricType::Unknown, "");
        describe(&mut batch, "one_too_many", MetricType::Gauge, "");
        types.learn(&tenant, &batch);
        let show = |pairs: &[(&str, &str)]| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            types
                .view(&tenant)
                .labels(labels.as_encoded())
                .map(|new| Labels::from_encoded(&new).unwrap().to_string())
        };
        assert_eq!(
            show(&[("__name__", "wait_seconds_bucket"), ("Zone", "a"), ("le", "1"), ("__type__", "mine")])
                .unwrap(),
            r#"wait_seconds_bucket{Zone="a", __type__="histogram", __unit__="seconds", le="1"}"#
        );
        assert_eq!(show(&[("__name__", "requests_total")]).unwrap(), r#"requests_total{__type__="counter"}"#);
        assert_eq!(show(&[("__name__", "requests_total"), ("__type__", "counter")]), None);
        for unknown in ["odd", "one_too_many", "early", "else"] {
            assert_eq!(show(&[("__name__", unknown)]), None, "{unknown}");
        }
        let other = TenantId::new("other").unwrap();
        assert_eq!(
            types.view(&other).labels(Labels::from_pairs([("__name__", "requests")]).as_encoded()),
            None
        );
        assert_eq!(types.beyond.get(), 1);
    }
}
