//! Cardinality protection: finds the label that makes a metric explode, and keeps it from taking the storage with it.
//!
//! The storage tells which series of a batch were new. For a metric with many of them within a window, the distinct values of each label are
//! estimated (HyperLogLog, 1 KiB a label, about 3 %). When most new series bring a new value of the same label, that label of that metric is
//! **quarantined**: for a while the metric gets no new series that have the label. Series that exist go on; nothing is rewritten or merged.
//! When no label explodes alone but most new series bring a new set of labels (names that change, values that are crossed), the metric gets no new
//! series at all. The labels of the fleet, which are exempt, are left out of this until they bring more values than any fleet has targets.
//! Every refused sample names metric, label and value, and is counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::labels::{self, METRIC_NAME};
use model::{Batch, Labels, TenantId, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::CardinalityConfig;
use crate::metrics::{Metrics, QuarantineLabels};

/// New series of a metric from which on its labels are looked at.
const WATCH_FROM: u64 = 1000;
/// Metrics that are watched at once: those with the most new series.
const MAX_WATCHED: usize = 2_000;
/// Counters of new series, shared by the metrics whose names fall into one; which metric is watched is decided by them, so that a flood of
/// names does not make a metric's count forgotten.
const COUNTERS: usize = 1 << 14;
/// Labels of a metric whose values are estimated; further names count in the set of labels alone.
const MAX_LABELS: usize = 64;
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

struct State {
    /// New series of the metrics that are not watched, and since when.
    counters: Vec<u32>,
    counters_since: Option<i64>,
    watched: HashMap<(TenantId, String), Watched>,
    quarantines: BTreeMap<(TenantId, String), Quarantine>,
}

/// A metric's new series within a window.
struct Watched {
    since: i64,
    created: u64,
    labels: BTreeMap<String, Sketch>,
    /// All labels but the exempt ones, names and values together.
    sets: Sketch,
}

/// A label that is kept from growing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// Whose metric.
    pub tenant: String,
    /// The metric.
    pub metric: String,
    /// The label; empty when the labels explode together, so that the metric gets no new series at all.
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
            state: Mutex::new(State {
                counters: vec![0; COUNTERS],
                counters_since: None,
                watched: HashMap::new(),
                quarantines: BTreeMap::new(),
            }),
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
        let value = match found.label.as_str() {
            "" => "",
            label => labels::iter_encoded(encoded).find(|(name, _)| *name == label)?.1,
        };
        if (self.is_active)(tenant, encoded) {
            return None;
        }
        found.refused_samples += samples;
        if found.label.is_empty() {
            if found.examples.len() < EXAMPLES
                && let Some(labels) = Labels::from_encoded(encoded)
            {
                found.examples.push(labels.to_string().chars().take(100).collect());
            }
            return Some(format!(
                "metric {metric:?} is in quarantine until {} because its labels exploded together ({} new series, about {} sets of labels); new series of it are refused (ingest.cardinality)",
                Timestamp(found.until_ms),
                found.new_series,
                found.distinct_values
            ));
        }
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
        let State { counters, counters_since, watched, quarantines } = &mut *state;
        // A clock that was set back begins a window too.
        if counters_since.is_none_or(|since| !(0..=window).contains(&now.ms().saturating_sub(since))) {
            counters.fill(0);
            *counters_since = Some(now.ms());
        }
        for index in created {
            let Some(encoded) = batch.label_bytes(*index) else { continue };
            let pairs = || labels::iter_encoded(encoded);
            let Some((_, metric)) = pairs().find(|(name, _)| *name == METRIC_NAME) else { continue };
            let key = (tenant.clone(), metric.to_owned());
            let fresh = |created| Watched {
                since: now.ms(),
                created,
                labels: BTreeMap::new(),
                sets: Sketch::default(),
            };
            if !watched.contains_key(&key) {
                let slot = xxh3_64_with_seed(metric.as_bytes(), self.seed) as usize % COUNTERS;
                counters[slot] = counters[slot].saturating_add(1);
                if u64::from(counters[slot]) < WATCH_FROM {
                    continue;
                }
                if watched.len() >= MAX_WATCHED {
                    make_room(watched, now.ms().saturating_sub(window));
                }
                watched.insert(key, fresh(WATCH_FROM));
                continue;
            }
            let Some(one) = watched.get_mut(&key) else { continue };
            if now.ms() - one.since > window {
                *one = fresh(0);
            }
            one.created += 1;
            if one.created <= WATCH_FROM {
                continue;
            }
            let mut set = 0;
            let full = one.labels.len() >= MAX_LABELS;
            for (name, value) in pairs() {
                if name == METRIC_NAME {
                    continue;
                }
                if !self.is_exempt(name) {
                    // The names and the values, in the order of the names.
                    set = xxh3_64_with_seed(value.as_bytes(), xxh3_64_with_seed(name.as_bytes(), set));
                }
                let hash = xxh3_64_with_seed(value.as_bytes(), self.seed);
                match one.labels.get_mut(name) {
                    Some(sketch) => sketch.insert(hash),
                    None if full => {}
                    None => {
                        let mut sketch = Sketch::default();
                        sketch.insert(hash);
                        one.labels.insert(name.to_owned(), sketch);
                    }
                }
            }
            one.sets.insert(xxh3_64_with_seed(&set.to_le_bytes(), self.seed));
            let limit = self.config.new_series.max(WATCH_FROM * 2);
            // Estimating costs a microsecond, so it is done once in a while.
            if one.created < limit || one.created % 256 != 0 || quarantines.contains_key(&key) {
                continue;
            }
            let Some((label, values)) = self.exploding(one) else { continue };
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

    fn is_exempt(&self, name: &str) -> bool {
        self.config.exempt_labels.iter().any(|exempt| exempt == name)
    }

    /// The label that explodes, and about how many values it has; `""` when it is all of them together.
    fn exploding(&self, one: &Watched) -> Option<(String, u64)> {
        let least = self.config.share * (one.created - WATCH_FROM) as f64;
        let widest = one.widest(|name| !self.is_exempt(name));
        if let Some(found) = widest.filter(|(_, values)| *values as f64 >= least) {
            return Some(found);
        }
        let fleet = one.widest(|name| self.is_exempt(name));
        if let Some(found) = fleet.filter(|(_, values)| *values > self.config.exempt_values) {
            return Some(found);
        }
        let sets = one.sets.estimate();
        (sets >= self.config.new_sets && sets as f64 >= least).then(|| (String::new(), sets))
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
                label: one.widest(|name| !self.is_exempt(name)),
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
    /// The label with the most values, of those that `of` takes.
    fn widest(&self, of: impl Fn(&str) -> bool) -> Option<(String, u64)> {
        let labels = self.labels.iter().filter(|(name, _)| of(name));
        let estimates = labels.map(|(name, sketch)| (sketch.estimate(), name));
        estimates.max().map(|(values, name)| (name.clone(), values))
    }
}

/// Takes out what has not been seen since `since`, or else the metric with the fewest new series.
fn make_room(watched: &mut HashMap<(TenantId, String), Watched>, since: i64) {
    watched.retain(|_, one| one.since >= since);
    if watched.len() >= MAX_WATCHED
        && let Some(key) = watched.iter().min_by_key(|(_, one)| one.created).map(|(key, _)| key.clone())
    {
        watched.remove(&key);
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
    use model::duration::PromDuration;
    use prometheus_client::registry::Registry;

    fn guard(active: &'static str) -> Guard {
        let config = CardinalityConfig {
            new_series: 3000,
            new_sets: 4200,
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

    /// New series of `m` with these labels besides the metric's name; what is quarantined after them.
    fn after(
        guard: &Guard,
        tenant: &TenantId,
        count: usize,
        labels: impl Fn(usize) -> Vec<(String, String)>,
    ) -> Vec<String> {
        let mut batch = Batch::new();
        let name = ("__name__".to_owned(), "m".to_owned());
        let series = (0..count).map(|i| {
            let all = labels(i).into_iter().chain([name.clone()]);
            batch.add_series(&Labels::from_pairs(all))
        });
        let created: Vec<u32> = series.collect();
        guard.created(tenant, &batch, &created, Timestamp(10));
        guard.quarantines(tenant).into_iter().map(|one| one.label).collect()
    }

    fn pair(name: &str, value: impl ToString) -> (String, String) {
        (name.to_owned(), value.to_string())
    }

    #[test]
    fn labels_that_explode_together_are_found() {
        let tenant = TenantId::default();
        // Another name for each series, two labels in turn, two crossed: no label explodes alone.
        let names = after(&guard(""), &tenant, 6000, |i| vec![pair(&format!("l{i}"), "x")]);
        assert_eq!(names, [""]);
        let guard_of_turns = guard("");
        let turns = after(&guard_of_turns, &tenant, 6000, |i| {
            vec![
                pair("a", if i % 3 == 0 { i } else { 0 }),
                pair("b", if i % 3 == 1 { i } else { 0 }),
                pair("c", if i % 3 == 2 { i } else { 0 }),
            ]
        });
        assert_eq!(turns, [""]);
        let crossed = after(&guard(""), &tenant, 6000, |i| vec![pair("a", i / 80), pair("b", i % 80)]);
        assert_eq!(crossed, [""]);
        let fresh = Labels::from_pairs([("__name__", "m"), ("a", "7")]);
        let text = guard_of_turns.refuses(&tenant, fresh.as_encoded(), 1, Timestamp(20)).unwrap();
        assert!(text.contains("together"), "{text}");
        // At most so many labels are sketched, however many names come.
        let many = guard("");
        after(&many, &tenant, 2500, |i| vec![pair(&format!("l{i}"), "x")]);
        assert_eq!(many.state.lock().watched.values().next().unwrap().labels.len(), MAX_LABELS);
    }

    #[test]
    fn a_fleet_grows_and_a_flood_of_instances_does_not() {
        let tenant = TenantId::default();
        let fleet = |i: usize| vec![pair("instance", i / 4), pair("cpu", i % 4)];
        assert!(after(&guard(""), &tenant, 20_000, fleet).is_empty());
        let config =
            CardinalityConfig { exempt_values: 4_000, new_series: 3000, ..CardinalityConfig::default() };
        let strict = Guard::new(&config, 1, Arc::new(|_, _| false), Metrics::new(&mut Registry::default()));
        assert_eq!(after(&strict, &tenant, 20_000, fleet), ["instance"]);
    }

    #[test]
    fn a_flood_of_metric_names_hides_nothing() {
        let (guard, tenant) = (guard(""), TenantId::default());
        let mut names = 0;
        for round in 0..60 {
            let mut batch = Batch::new();
            let mut created = Vec::new();
            for i in 0..100 {
                let user = (round * 100 + i).to_string();
                created.push(batch.add_series(&Labels::from_pairs([("__name__", "m"), ("user", &user)])));
                for _ in 0..20 {
                    names += 1;
                    created.push(batch.add_series(&Labels::from_pairs([("__name__", format!("n{names}"))])));
                }
            }
            guard.created(&tenant, &batch, &created, Timestamp(10));
        }
        let found = guard.quarantines(&tenant);
        assert_eq!((found[0].metric.as_str(), found[0].label.as_str()), ("m", "user"));
        assert!(guard.state.lock().watched.len() <= MAX_WATCHED);
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
