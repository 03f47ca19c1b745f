//! The server's own metrics as families, so that they are stored like any target's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Family, Labels, Metadata, MetricType};
use prometheus_client::registry::Registry;
use wire::exposition::{Cache, Describe, Format, Point, Series, Visitor, read};

/// What the registry holds now, by the names of the samples.
///
/// # Errors
/// When the registry writes what our own reader refuses: a bug, in words.
pub(super) fn families(registry: &Registry) -> Result<Vec<Family>, String> {
    let mut text = String::with_capacity(32 << 10);
    prometheus_client::encoding::text::encode(&mut text, registry).map_err(|err| err.to_string())?;
    let mut found = Found::default();
    let mut cache = Cache::new(0);
    read(Format::OpenMetrics100, text.as_bytes(), &mut cache, &mut found).map_err(|err| err.to_string())?;
    Ok(found.finish())
}

/// Collects samples by name.
#[derive(Default)]
struct Found {
    samples: BTreeMap<String, (MetricType, Vec<(Labels, f64)>)>,
    help: BTreeMap<String, String>,
}

impl Found {
    fn finish(self) -> Vec<Family> {
        let Self { samples, help } = self;
        let describe = |name: &str| {
            // `x_total` and `x_bucket` are described as `x`.
            let family = ["", "_total", "_bucket", "_sum", "_count", "_info"]
                .iter()
                .find_map(|suffix| help.get(name.strip_suffix(suffix)?));
            family.cloned().unwrap_or_default()
        };
        samples
            .into_iter()
            .map(|(name, (kind, samples))| {
                let metadata = Metadata { kind, help: describe(&name), unit: String::new() };
                Family { name, metadata, samples }
            })
            .collect()
    }
}

impl Visitor for Found {
    fn known(&mut self, _: u32, _: &Point<'_>) -> Result<bool, String> {
        Err("a line was recognised although the cache is empty".to_owned())
    }

    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        let entry =
            self.samples.entry(series.name().into_owned()).or_insert_with(|| (series.kind(), Vec::new()));
        let pairs = series.labels().map(|(name, value)| (name.into_owned(), value.into_owned()));
        entry.1.push((Labels::from_pairs(pairs), point.value));
        Ok(0)
    }

    fn describe(&mut self, family: Cow<'_, str>, what: Describe<'_>) {
        if let Describe::Help(text) = what {
            self.help.insert(family.into_owned(), text.into_owned());
        }
    }
}

/// A closure that the scraper calls.
pub(super) fn collector(registry: Arc<Registry>) -> sources::scrape::Collector {
    Arc::new(move || {
        let registry = Arc::clone(&registry);
        Box::pin(async move {
            families(&registry).unwrap_or_else(|reason| {
                tracing::error!(%reason, "the server's own metrics cannot be read");
                Vec::new()
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::histogram::Histogram;

    #[test]
    fn what_is_registered_becomes_families() {
        let mut registry = Registry::with_prefix("b");
        let counter: Counter = Counter::default();
        counter.inc_by(3);
        registry.register("things", "Things counted", counter);
        let histogram = Histogram::new([1.0]);
        histogram.observe(0.5);
        registry.register("took_seconds", "Time taken", histogram);
        let families = families(&registry).unwrap();
        let of = |name: &str| families.iter().find(|family| family.name == name).unwrap();
        assert_eq!(of("b_things_total").samples[0].1, 3.0);
        assert_eq!(of("b_things_total").metadata.help, "Things counted.");
        assert_eq!(of("b_took_seconds_bucket").samples.len(), 2);
        assert_eq!(of("b_took_seconds_count").samples[0].1, 1.0);
    }
}
