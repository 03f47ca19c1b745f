//! Cardinality protection: finds the label that makes a metric explode, and keeps it from taking the storage with it.
//!
//! The storage tells which series of a batch were new. For a metric with many of them within a window, the distinct values of each label are
//! estimated (HyperLogLog, 1 KiB a label, about 3 %). When most new series bring a new value of the same label, that label of that metric is
//! **quarantined**: for a while the metric gets no new series that have the label. Series that exist go on; nothing is rewritten or merged.
//! Every refused sample names metric, label and value, and is counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::labels::{self, METRIC_NAME};
use model::{Batch, TenantId, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::CardinalityConfig;
use crate::metrics::{Metrics, QuarantineLabels};

/// New series of a metric from which on its labels are looked at.
const WATCH_FROM: u64 = 1000;
/// Metrics that are watched at once.
const MAX_WATCHED: usize = 50_000;
/// Values that a quarantine shows.
const EXAMPLES: usize = 5;
/// Registers of a sketch.
const REGISTERS: usize = 1024;

/// Whether the storage has a series, by its labels in their canonical encoding.
pub type IsActive = Arc<dyn Fn(&TenantId, &[u8]) -> bool + Send + Sync>;

/// Watches new series, and keeps quarantines.
pub struct Guard {
    config: CardinalityConfig,
    seed: u64,
    is_active: IsActive,
    metrics: Metrics,
    state: Mutex<State>,
    /// How many quarantines there are, to be looked at without the lock.
    active: AtomicUsize,
}

#[derive(Default)]
struct State {
    watched: HashMap<(TenantId, String), Watched>,
    quarantines: BTreeMap<(TenantId, String), Quarantine>,
}

/// A metric's new series within a window.
struct Watched {
    since: i64,
    created: u64,
    labels: BTreeMap<String, Sketch>,
}

/// A label that is kept from growing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// Whose metric.
    pub tenant: String,
    /// The metric.
    pub metric: String,
    /// The label.
    pub label: String,
    /// Milliseconds since the epoch.
    pub since_ms: i64,
    /// When new series are let in again.
    pub until_ms: i64,
    /// New series of the metric within the window that led to this.
    pub new_series: u64,
    /// Values of the label among them, estimated.
    pub distinct_values: u64,
    /// A few values that were refused.
    pub examples: Vec<String>,
    /// Samples refused so far.
    pub refused_samples: u64,
}

/// A metric with many new series.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Growth {
    /// Whose metric.
    pub tenant: String,
    /// The metric.
    pub metric: String,
    /// New series within the current window.
    pub new_series: u64,
    /// The label with the most values among them, and how many, estimated; absent while there are few.
    pub label: Option<(String, u64)>,
}

impl Guard {
    /// `seed`: a secret of the process.
    pub fn new(config: &CardinalityConfig, seed: u64, is_active: IsActive, metrics: Metrics) -> Self {
        Self {
            config: config.clone(),
            seed,
            is_active,
            metrics,
            state: Mutex::default(),
            active: AtomicUsize::new(0),
        }
    }

    /// Whether any series could be refused; cheap.
    pub(crate) fn is_armed(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Why a series is refused; `None` when it is not.
    pub(crate) fn refuses(
        &self,
        tenant: &TenantId,
        encoded: &[u8],
        samples: u64,
        now: Timestamp,
    ) -> Option<String> {
        let metric = labels::iter_encoded(encoded).find(|(name, _)| *name == METRIC_NAME)?.1;
        let mut state = self.state.lock();
        let key = (tenant.clone(), metric.to_owned());
        let found = state.quarantines.get_mut(&key)?;
        if now.ms() >= found.until_ms {
            let gone = state.quarantines.remove(&key)?;
            self.released(&gone, state.quarantines.len());
            return None;
        }
        let (_, value) = labels::iter_encoded(encoded).find(|(name, _)| *name == found.label)?;
        if (self.is_active)(tenant, encoded) {
            return None;
        }
        found.refused_samples += samples;
        if found.examples.len() < EXAMPLES && !found.examples.iter().any(|known| known == value) {
            found.examples.push(value.chars().take(100).collect());
        }
        let shown: String = value.chars().take(60).collect();
        Some(format!(
            "label {:?} of metric {metric:?} is in quarantine until {} because it exploded ({} new series, about {} values); the new value {shown:?} is refused (ingest.cardinality)",
            found.label,
            Timestamp(found.until_ms),
            found.new_series,
            found.distinct_values
        ))
    }

    /// Looks at the series of a stored batch that were new.
    pub(crate) fn created(&self, tenant: &TenantId, batch: &Batch, created: &[u32], now: Timestamp) {
        if !self.config.quarantine || created.is_empty() {
            return;
        }
        let window = self.config.window.ms();
        let mut state = self.state.lock();
        let State { watched, quarantines } = &mut *state;
        for index in created {
            let Some(encoded) = batch.label_bytes(*index) else { continue };
            let pairs = || labels::iter_encoded(encoded);
            let Some((_, metric)) = pairs().find(|(name, _)| *name == METRIC_NAME) else { continue };
            if watched.len() >= MAX_WATCHED {
                watched.retain(|_, one| now.ms() - one.since <= window && one.created >= WATCH_FROM);
            }
            let key = (tenant.clone(), metric.to_owned());
            let fresh = || Watched { since: now.ms(), created: 0, labels: BTreeMap::new() };
            let one = watched.entry(key.clone()).or_insert_with(fresh);
            if now.ms() - one.since > window {
                *one = fresh();
            }
            one.created += 1;
            if one.created <= WATCH_FROM {
                continue;
            }
            for (name, value) in pairs() {
                if name == METRIC_NAME || self.config.exempt_labels.iter().any(|exempt| exempt == name) {
                    continue;
                }
                let hash = xxh3_64_with_seed(value.as_bytes(), self.seed);
                match one.labels.get_mut(name) {
                    Some(sketch) => sketch.insert(hash),
                    None => {
                        let mut sketch = Sketch::default();
                        sketch.insert(hash);
                        one.labels.insert(name.to_owned(), sketch);
                    }
                }
            }
            let limit = self.config.new_series.max(WATCH_FROM * 2);
            // Estimating costs a microsecond, so it is done once in a while.
            if one.created < limit || one.created % 256 != 0 || quarantines.contains_key(&key) {
                continue;
            }
            let Some((label, values)) = one.widest() else { continue };
            if (values as f64) < self.config.share * (one.created - WATCH_FROM) as f64 {
                continue;
            }
            if quarantines.len() >= self.config.max_quarantines {
                self.metrics.quarantine_overflow.inc();
                continue;
            }
            let quarantine = Quarantine {
                tenant: tenant.as_str().to_owned(),
                metric: metric.to_owned(),
                label,
                since_ms: now.ms(),
                until_ms: now.ms().saturating_add(self.config.duration.ms()),
                new_series: one.created,
                distinct_values: values,
                examples: Vec::new(),
                refused_samples: 0,
            };
            tracing::warn!(
                %tenant,
                metric,
                label = quarantine.label,
                new_series = quarantine.new_series,
                distinct_values = values,
                "a label explodes: its metric gets no new series for a while (ingest.cardinality)"
            );
            self.metrics.quarantine_info.get_or_create(&of(&quarantine)).set(1);
            quarantines.insert(key.clone(), quarantine);
            watched.remove(&key);
            self.active.store(quarantines.len(), Ordering::Relaxed);
            self.metrics.quarantined.set(quarantines.len() as i64);
        }
    }

    fn released(&self, gone: &Quarantine, left: usize) {
        self.active.store(left, Ordering::Relaxed);
        self.metrics.quarantined.set(left as i64);
        self.metrics.quarantine_info.remove(&of(gone));
        tracing::info!(
            tenant = gone.tenant,
            metric = gone.metric,
            label = gone.label,
            refused_samples = gone.refused_samples,
            "a quarantine has ended"
        );
    }

    /// Ends a metric's quarantine by hand; whether there was one.
    pub fn release(&self, tenant: &TenantId, metric: &str) -> bool {
        let mut state = self.state.lock();
        match state.quarantines.remove(&(tenant.clone(), metric.to_owned())) {
            Some(gone) => {
                self.released(&gone, state.quarantines.len());
                true
            }
            None => false,
        }
    }

    /// The quarantines of a tenant.
    pub fn quarantines(&self, tenant: &TenantId) -> Vec<Quarantine> {
        let state = self.state.lock();
        state
            .quarantines
            .iter()
            .filter(|((owner, _), _)| owner == tenant)
            .map(|(_, one)| one.clone())
            .collect()
    }

    /// The metrics of a tenant with the most new series, at most `limit`.
    pub fn growth(&self, tenant: &TenantId, limit: usize) -> Vec<Growth> {
        let state = self.state.lock();
        let mut all: Vec<_> = state.watched.iter().filter(|((owner, _), _)| owner == tenant).collect();
        all.sort_by(|a, b| b.1.created.cmp(&a.1.created).then_with(|| a.0.1.cmp(&b.0.1)));
        all.truncate(limit);
        all.into_iter()
            .map(|((owner, metric), one)| Growth {
                tenant: owner.as_str().to_owned(),
                metric: metric.clone(),
                new_series: one.created,
                label: one.widest(),
            })
            .collect()
    }

    /// What the guard goes by.
    pub fn config(&self) -> &CardinalityConfig {
        &self.config
    }
}

fn of(quarantine: &Quarantine) -> QuarantineLabels {
    QuarantineLabels {
        tenant: quarantine.tenant.clone(),
        metric: quarantine.metric.clone(),
        label: quarantine.label.clone(),
    }
}

impl Watched {
    /// The label with the most values.
    fn widest(&self) -> Option<(String, u64)> {
        let estimates = self.labels.iter().map(|(name, sketch)| (sketch.estimate(), name));
        estimates.max().map(|(values, name)| (name.clone(), values))
    }
}

/// HyperLogLog (Flajolet et al. 2007) with linear counting for few values.
struct Sketch(Box<[u8; REGISTERS]>);

impl Default for Sketch {
    fn default() -> Self {
        Self(Box::new([0; REGISTERS]))
    }
}

impl Sketch {
    fn insert(&mut self, hash: u64) {
        let register = &mut self.0[(hash % REGISTERS as u64) as usize];
        let rank = (hash >> 10).trailing_zeros().min(54) as u8 + 1;
        *register = (*register).max(rank);
    }

    fn estimate(&self) -> u64 {
        let m = REGISTERS as f64;
        let sum: f64 = self.0.iter().map(|rank| f64::from(-i32::from(*rank)).exp2()).sum();
        let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let empty = self.0.iter().filter(|rank| **rank == 0).count();
        let estimate = if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
        estimate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;
    use model::duration::PromDuration;
    use prometheus_client::registry::Registry;

    fn guard(active: &'static str) -> Guard {
        let config = CardinalityConfig {
            new_series: 3000,
            window: PromDuration(1000),
            duration: PromDuration(500),
            ..CardinalityConfig::default()
        };
        let is_active: IsActive =
            Arc::new(move |_, encoded| Labels::from_encoded(encoded).unwrap().get("user") == Some(active));
        Guard::new(&config, 1, is_active, Metrics::new(&mut Registry::default()))
    }

    fn batch(from: usize, to: usize, explodes: bool) -> (Batch, Vec<u32>) {
        let mut batch = Batch::new();
        let created = (from..to).map(|i| {
            let user = if explodes { format!("u{i}") } else { format!("u{}", i % 50) };
            let pod = format!("p{}", i / 100);
            batch.add_series(&Labels::from_pairs([
                ("__name__", "m".to_owned()),
                ("user", user),
                ("pod", pod),
                ("instance", i.to_string()),
            ]))
        });
        let created = created.collect();
        (batch, created)
    }

    #[test]
    fn the_exploding_label_is_named_and_existing_series_go_on() {
        let (guard, tenant) = (guard("known"), TenantId::default());
        let (first, created) = batch(0, 5000, true);
        guard.created(&tenant, &first, &created, Timestamp(10));
        let quarantines = guard.quarantines(&tenant);
        assert_eq!(quarantines.len(), 1);
        assert_eq!((quarantines[0].metric.as_str(), quarantines[0].label.as_str()), ("m", "user"));
        let one = |user: &str, metric: &str| Labels::from_pairs([("__name__", metric), ("user", user)]);
        let refused =
            |labels: &Labels, now: i64| guard.refuses(&tenant, labels.as_encoded(), 1, Timestamp(now));
        let text = refused(&one("fresh", "m"), 20).unwrap();
        assert!(text.contains("\"user\"") && text.contains("\"m\"") && text.contains("fresh"), "{text}");
        assert_eq!(refused(&one("known", "m"), 20), None);
        assert_eq!(refused(&one("fresh", "other"), 20), None);
        assert_eq!(refused(&Labels::from_pairs([("__name__", "m")]), 20), None);
        assert_eq!((guard.quarantines(&tenant)[0].refused_samples, guard.is_armed()), (1, true));
        // It ends by itself.
        assert_eq!(refused(&one("fresh", "m"), 600), None);
        assert!(!guard.is_armed() && !guard.release(&tenant, "m"));
    }

    #[test]
    fn growth_without_an_exploding_label_is_let_in() {
        let (guard, tenant) = (guard(""), TenantId::default());
        let (first, created) = batch(0, 8000, false);
        guard.created(&tenant, &first, &created, Timestamp(10));
        assert!(guard.quarantines(&tenant).is_empty());
        let growth = guard.growth(&tenant, 5);
        assert_eq!((growth[0].metric.as_str(), growth[0].new_series), ("m", 8000));
        // A new window starts from nothing.
        let (next, created) = batch(8000, 8010, true);
        guard.created(&tenant, &next, &created, Timestamp(5000));
        assert_eq!(guard.growth(&tenant, 5)[0].new_series, 10);
    }

    #[test]
    fn estimates_are_near() {
        for count in [10u64, 1000, 20_000] {
            let mut sketch = Sketch::default();
            (0..count).for_each(|i| sketch.insert(xxh3_64_with_seed(&i.to_le_bytes(), 7)));
            let error = (sketch.estimate() as f64 / count as f64 - 1.0).abs();
            assert!(error < 0.12, "{count}: {}", sketch.estimate());
        }
    }
}
