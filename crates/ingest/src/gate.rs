//! An `Appender` in front of another: limits, relabelling, metadata.
//!
//! A series named by reference has passed before and is not looked at again; a batch in which nothing is refused or
//! changed goes on as it is, without a copy.

use std::collections::HashMap;
use std::sync::Arc;

use model::batch::SeriesKey;
use model::labels::{self, METRIC_NAME};
use model::seam::BoxFuture;
use model::{
    Appended, Appender, Batch, Clock, ErrorKind, Labels, RejectReason, SeamError, TenantId, Timestamp,
    relabel,
};
use parking_lot::Mutex;

use crate::cardinality::Guard;
use crate::config::Config;
use crate::metrics::{Metrics, Reason};
use crate::types::{Types, View};

/// Tenants whose rate is remembered; far more than a server has.
const MAX_TENANTS: usize = 10_000;

/// The gate. Cheap to share.
pub struct Gate {
    inner: Arc<dyn Appender>,
    clock: Arc<dyn Clock>,
    config: Config,
    relabel: Vec<relabel::Rule>,
    metrics: Metrics,
    rates: Mutex<HashMap<TenantId, Rate>>,
    guard: Option<Arc<Guard>>,
    types: Option<Types>,
}

/// A token bucket.
#[derive(Clone, Copy, Debug)]
struct Rate {
    tokens: f64,
    at: Timestamp,
}

/// What becomes of one series of a batch.
enum Fate {
    /// It goes on as it is.
    Keep,
    /// It goes on under other labels.
    Relabelled(Labels),
    /// Relabelling dropped it.
    Dropped,
    /// It is refused.
    Refused(RejectReason, String),
}

impl Gate {
    /// A gate in front of `inner`.
    ///
    /// # Errors
    /// A relabelling rule is wrong.
    pub fn new(
        inner: Arc<dyn Appender>,
        clock: Arc<dyn Clock>,
        config: Config,
        metrics: Metrics,
    ) -> Result<Self, relabel::InvalidRule> {
        let relabel =
            config.relabel_configs.iter().cloned().map(relabel::Rule::new).collect::<Result<_, _>>()?;
        let rates = Mutex::new(HashMap::new());
        Ok(Self { inner, clock, config, relabel, metrics, rates, guard: None, types: None })
    }

    /// With type and unit as labels of the series whose metadata comes with them.
    #[must_use]
    pub fn with_types(self) -> Self {
        Self { types: Some(Types::new(self.config.max_typed_metrics, self.metrics.untyped.clone())), ..self }
    }

    /// With cardinality protection.
    #[must_use]
    pub fn guarded(self, guard: Arc<Guard>) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// What the gate was made from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes tokens for a batch.
    fn admit(&self, tenant: &TenantId, samples: usize, now: Timestamp) -> Result<(), SeamError> {
        let limit = self.config.max_samples_per_second as f64;
        if limit == 0.0 {
            return Ok(());
        }
        let burst = limit * self.config.burst_seconds.max(1) as f64;
        let mut rates = self.rates.lock();
        if rates.len() >= MAX_TENANTS && !rates.contains_key(tenant) {
            // Those that are full again say nothing that a new entry would not.
            rates.retain(|_, rate| rate.tokens + (now - rate.at).max(0) as f64 / 1000.0 * limit < burst);
        }
        let rate = rates.entry(tenant.clone()).or_insert(Rate { tokens: burst, at: now });
        rate.tokens = (rate.tokens + (now - rate.at).max(0) as f64 / 1000.0 * limit).min(burst);
        rate.at = now;
        // A batch larger than a whole burst is let in when the bucket is full, or it could never be.
        if rate.tokens < (samples as f64).min(burst) {
            self.metrics.throttled.inc();
            return Err(SeamError::new(
                ErrorKind::Limit,
                format!(
                    "tenant {tenant} sends more than {limit} samples a second; send less or raise ingest.max_samples_per_second"
                ),
            ));
        }
        rate.tokens -= samples as f64;
        Ok(())
    }

    fn fate(&self, types: Option<&View<'_>>, encoded: &[u8]) -> Fate {
        match types.and_then(|types| types.labels(encoded)) {
            None => self.judge(encoded),
            Some(typed) => match self.judge(&typed) {
                Fate::Keep => Fate::Relabelled(Labels::from_canonical(&typed)),
                other => other,
            },
        }
    }

    fn judge(&self, encoded: &[u8]) -> Fate {
        if self.relabel.is_empty() {
            return match self.check(labels::iter_encoded(encoded)) {
                None => Fate::Keep,
                Some((reason, detail)) => Fate::Refused(reason, detail),
            };
        }
        let mut builder = model::LabelsBuilder::default();
        for (name, value) in labels::iter_encoded(encoded) {
            builder.set(name, value);
        }
        if relabel::apply(&self.relabel, &mut builder).is_err() {
            return Fate::Dropped;
        }
        let labels = builder.build();
        if labels.is_empty() {
            return Fate::Dropped;
        }
        match self.check(labels.iter()) {
            Some((reason, detail)) => Fate::Refused(reason, detail),
            None if labels.as_encoded() == encoded => Fate::Keep,
            None => Fate::Relabelled(labels),
        }
    }

    fn check<'a>(&self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Option<(RejectReason, String)> {
        let config = &self.config;
        let over = |limit: usize, len: usize| limit > 0 && len > limit;
        let (mut count, mut metric) = (0, "");
        for (name, value) in pairs {
            count += 1;
            if name == METRIC_NAME {
                metric = value;
            }
            if over(config.max_label_name_bytes, name.len()) {
                let (len, limit) = (name.len(), config.max_label_name_bytes);
                let start: String = name.chars().take(64).collect();
                return Some((
                    RejectReason::LabelTooLong,
                    format!(
                        "label name {start:?}… of metric {metric:?} has {len} bytes, the limit is {limit}"
                    ),
                ));
            }
            if over(config.max_label_value_bytes, value.len()) {
                let (len, limit) = (value.len(), config.max_label_value_bytes);
                return Some((
                    RejectReason::LabelTooLong,
                    format!(
                        "the value of label {name:?} of metric {metric:?} has {len} bytes, the limit is {limit}"
                    ),
                ));
            }
        }
        if metric.is_empty() {
            return Some((
                RejectReason::InvalidLabels,
                "the series has no metric name (__name__ label)".into(),
            ));
        }
        if over(config.max_labels, count) {
            let limit = config.max_labels;
            return Some((
                RejectReason::TooManyLabels,
                format!("a series of metric {metric:?} has {count} labels, the limit is {limit}"),
            ));
        }
        None
    }

    /// The newest acceptable sample time.
    fn newest(&self, now: Timestamp) -> i64 {
        match self.config.max_future.ms() {
            0 => i64::MAX,
            ms => (now + ms).ms(),
        }
    }

    /// The batch without what is refused, when something is: with, for each of its series, the index in `batch`.
    fn filter(
        &self,
        tenant: &TenantId,
        batch: &Batch,
        now: Timestamp,
        out: &mut Appended,
    ) -> Option<(Batch, Vec<u32>)> {
        let newest = self.newest(now);
        if let Some(types) = &self.types {
            types.learn(tenant, batch);
        }
        let types = self.types.as_ref().map(|types| types.view(tenant));
        let fate_of = |index: u32| {
            batch.label_bytes(index).map_or(Fate::Keep, |encoded| self.fate(types.as_ref(), encoded))
        };
        let indices = 0..batch.series().len() as u32;
        let mut fates: Vec<Fate> = Vec::new();
        let all_keep = if let Some(guard) = self.guard.as_ref().filter(|guard| guard.is_armed()) {
            fates = indices.clone().map(fate_of).collect();
            for (index, fate) in fates.iter_mut().enumerate() {
                let encoded = match &*fate {
                    Fate::Keep => batch.label_bytes(index as u32),
                    Fate::Relabelled(labels) => Some(labels.as_encoded()),
                    Fate::Dropped | Fate::Refused(..) => None,
                };
                let refused = encoded.and_then(|encoded| guard.refuses(tenant, encoded, 1, now));
                if let Some(detail) = refused {
                    *fate = Fate::Refused(RejectReason::Quarantined, detail);
                }
            }
            fates.iter().all(|fate| matches!(fate, Fate::Keep))
        } else {
            // Most batches pass as they are: nothing is collected until one does not.
            indices.clone().all(|index| matches!(fate_of(index), Fate::Keep))
        };
        let too_new = batch.floats().iter().any(|s| s.time > newest)
            || batch.histograms().iter().any(|s| s.time > newest);
        let max = self.config.max_metadata_bytes;
        let cut = batch.metadata().iter().any(|(_, m)| m.help.len() > max || m.unit.len() > max);
        if all_keep && !too_new && !cut {
            return None;
        }
        if fates.is_empty() {
            fates = indices.map(fate_of).collect();
        }
        let mut kept = Batch::new();
        let mut origin = Vec::new();
        // The new index of each series; `None` where it does not go on.
        let mut map: Vec<Option<u32>> = Vec::with_capacity(fates.len());
        // Relabelling may make two series one.
        let mut seen: HashMap<Labels, u32> = HashMap::new();
        for (index, fate) in fates.iter().enumerate() {
            let new = match fate {
                Fate::Keep => match &batch.series()[index] {
                    SeriesKey::Ref(reference) => Some(kept.add_series_ref(*reference)),
                    SeriesKey::Labels(_) => {
                        let encoded = batch.label_bytes(index as u32).unwrap_or_default();
                        Some(kept.add_series_with(|arena| arena.extend_from_slice(encoded)))
                    }
                },
                Fate::Relabelled(labels) => match seen.get(labels) {
                    Some(_) => None,
                    None => {
                        let new = kept.add_series(labels);
                        seen.insert(labels.clone(), new);
                        Some(new)
                    }
                },
                Fate::Dropped | Fate::Refused(..) => None,
            };
            if new.is_some() {
                origin.push(index as u32);
            }
            map.push(new);
        }
        let mut counts = vec![0usize; fates.len()];
        for sample in batch.floats() {
            match map[sample.series as usize] {
                None => counts[sample.series as usize] += 1,
                Some(new) if sample.time <= newest => kept.push_float(new, sample.time, sample.value),
                Some(_) => self.too_new(out, sample.series, sample.time, newest),
            }
        }
        for sample in batch.histograms() {
            match map[sample.series as usize] {
                None => counts[sample.series as usize] += 1,
                Some(new) if sample.time <= newest => {
                    kept.push_histogram(new, sample.time, Arc::clone(&sample.histogram));
                }
                Some(_) => self.too_new(out, sample.series, sample.time, newest),
            }
        }
        for (series, time, start) in batch.starts() {
            if let Some(new) = map[*series as usize] {
                kept.push_start(new, *time, *start);
            }
        }
        for (series, exemplar) in batch.exemplars() {
            if let Some(new) = map[*series as usize] {
                kept.push_exemplar(new, exemplar.clone());
            }
        }
        for (name, metadata) in batch.metadata() {
            let mut metadata = metadata.clone();
            for text in [&mut metadata.help, &mut metadata.unit] {
                if text.len() > max {
                    self.metrics.cut.inc();
                    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
                    text.truncate(end);
                }
            }
            kept.push_metadata(name.as_str(), metadata);
        }
        for (index, fate) in fates.into_iter().enumerate() {
            match fate {
                Fate::Refused(reason, detail) => {
                    self.reject(out, index as u32, None, reason, counts[index], || detail);
                }
                Fate::Dropped => {
                    self.metrics.dropped.inc_by(counts[index] as u64);
                    out.accepted += counts[index];
                }
                Fate::Relabelled(_) if map[index].is_none() => {
                    self.reject(
                        out,
                        index as u32,
                        None,
                        RejectReason::DuplicateTimestamp,
                        counts[index],
                        || "relabelling gives this series the labels of another one in the batch".into(),
                    );
                }
                Fate::Keep | Fate::Relabelled(_) => {}
            }
        }
        Some((kept, origin))
    }

    /// Lets the guard see what was new.
    fn watch(&self, tenant: &TenantId, batch: &Batch, appended: &Appended, now: Timestamp) {
        if let Some(guard) = &self.guard {
            guard.created(tenant, batch, &appended.created, now);
        }
    }

    fn too_new(&self, out: &mut Appended, series: u32, time: i64, newest: i64) {
        self.reject(out, series, Some(time), RejectReason::TooNew, 1, || {
            format!(
                "the sample's time {time} is after {newest}, the newest accepted; check the sender's clock or raise ingest.max_future"
            )
        });
    }

    fn reject(
        &self,
        out: &mut Appended,
        series: u32,
        time: Option<i64>,
        reason: RejectReason,
        samples: usize,
        detail: impl FnOnce() -> String,
    ) {
        self.metrics.rejected.get_or_create(&Reason { reason: reason.as_str() }).inc_by(samples as u64);
        out.reject(series, time, reason, samples, detail);
    }
}

impl Appender for Gate {
    fn append<'a>(
        &'a self,
        tenant: &'a TenantId,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            let now = self.clock.now();
            self.metrics.samples.inc_by(batch.sample_count() as u64);
            self.admit(tenant, batch.sample_count(), now)?;
            let mut out = Appended::default();
            let Some((kept, origin)) = self.filter(tenant, batch, now, &mut out) else {
                let appended = self.inner.append(tenant, batch).await?;
                self.watch(tenant, batch, &appended, now);
                return Ok(appended);
            };
            let inner = self.inner.append(tenant, &kept).await?;
            self.watch(tenant, &kept, &inner, now);
            out.accepted += inner.accepted;
            out.rejected_count += inner.rejected_count;
            out.refs = vec![None; batch.series().len()];
            for (old, reference) in origin.iter().zip(&inner.refs) {
                // A relabelled series must come by its labels each time, so that the rules see it.
                if self.relabel.is_empty() || matches!(batch.series()[*old as usize], SeriesKey::Ref(_)) {
                    out.refs[*old as usize] = *reference;
                }
            }
            let back = |index: u32| origin.get(index as usize).copied();
            out.unknown_refs.extend(inner.unknown_refs.into_iter().filter_map(back));
            out.created.extend(inner.created.into_iter().filter_map(back));
            for mut rejected in inner.rejected {
                if out.rejected.len() < Appended::MAX_REJECTED
                    && let Some(series) = back(rejected.series)
                {
                    rejected.series = series;
                    out.rejected.push(rejected);
                }
            }
            Ok(out)
        })
    }
}
