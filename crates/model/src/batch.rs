//! What crosses the write seam: one tenant's samples, by series, and what was refused of them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::family::Metadata;
use crate::histogram::Histogram;
use crate::labels::{self, Labels};
use crate::sample::Exemplar;

/// A storage's own short name for a series, given in [`Appended::refs`]. It holds while the storage process lives;
/// when the series has gone idle the storage may forget it and answers with [`Appended::unknown_refs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u64);

/// How a batch names a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeriesKey {
    /// By a reference from an earlier append.
    Ref(SeriesRef),
    /// By its labels: a range of the batch's arena, in [`Labels`]' canonical encoding.
    Labels(Range<usize>),
}

/// A float sample of the series with index `series`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatSample {
    /// Index into the batch's series.
    pub series: u32,
    /// Milliseconds since the epoch.
    pub time: i64,
    /// May be a staleness marker; bits are kept.
    pub value: f64,
}

/// A native histogram sample of the series with index `series`.
#[derive(Clone, Debug)]
pub struct HistogramSample {
    /// Index into the batch's series.
    pub series: u32,
    /// Milliseconds since the epoch.
    pub time: i64,
    /// Validated.
    pub histogram: Arc<Histogram>,
}

/// Samples on their way to storage. Buffers are kept by [`Batch::clear`], so a steady sender allocates nothing.
///
/// Samples of one series are ascending in time; series may come in any order, but the same series only once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    arena: Vec<u8>,
    series: Vec<SeriesKey>,
    floats: Vec<FloatSample>,
    histograms: Vec<HistogramSample>,
    starts: Vec<(u32, i64, i64)>,
    exemplars: Vec<(u32, Exemplar)>,
    metadata: Vec<(String, Metadata)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.series.clear();
        self.floats.clear();
        self.histograms.clear();
        self.starts.clear();
        self.exemplars.clear();
        self.metadata.clear();
    }

    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty()
            && self.histograms.is_empty()
            && self.exemplars.is_empty()
            && self.metadata.is_empty()
    }

    /// Adds a series by its labels; returns its index.
    pub fn add_series(&mut self, labels: &Labels) -> u32 {
        let start = self.arena.len();
        self.arena.extend_from_slice(labels.as_encoded());
        self.push_key(SeriesKey::Labels(start..self.arena.len()))
    }

    /// Adds a series by pairs that are sorted by name, unique and without empty values; returns its index.
    pub fn add_series_sorted<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> u32 {
        let start = self.arena.len();
        for (name, value) in pairs {
            labels::encode_pair(&mut self.arena, name, value);
        }
        self.push_key(SeriesKey::Labels(start..self.arena.len()))
    }

    /// Adds a series whose canonical encoding `write` appends to the arena; returns its index.
    pub fn add_series_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let start = self.arena.len();
        write(&mut self.arena);
        self.push_key(SeriesKey::Labels(start..self.arena.len()))
    }

    /// Adds a series by reference; returns its index.
    pub fn add_series_ref(&mut self, series: SeriesRef) -> u32 {
        self.push_key(SeriesKey::Ref(series))
    }

    fn push_key(&mut self, key: SeriesKey) -> u32 {
        self.series.push(key);
        (self.series.len() - 1) as u32
    }

    /// Adds a float sample.
    pub fn push_float(&mut self, series: u32, time: i64, value: f64) {
        self.floats.push(FloatSample { series, time, value });
    }

    /// Adds a histogram sample; `histogram` must be valid.
    pub fn push_histogram(&mut self, series: u32, time: i64, histogram: Arc<Histogram>) {
        self.histograms.push(HistogramSample { series, time, histogram });
    }

    /// Says when the counter behind the sample of `series` at `time` started, in milliseconds since the epoch.
    pub fn push_start(&mut self, series: u32, time: i64, start: i64) {
        self.starts.push((series, time, start));
    }

    /// Sorts the samples by series and time, keeping the order of equal times: for a sender that does not send in order.
    pub fn sort_samples(&mut self) {
        self.floats.sort_by_key(|sample| (sample.series, sample.time));
        self.histograms.sort_by_key(|sample| (sample.series, sample.time));
    }

    /// Adds an exemplar.
    pub fn push_exemplar(&mut self, series: u32, exemplar: Exemplar) {
        self.exemplars.push((series, exemplar));
    }

    /// Adds what is known about a metric; `name` is the family's name as exposed.
    pub fn push_metadata(&mut self, name: impl Into<String>, metadata: Metadata) {
        self.metadata.push((name.into(), metadata));
    }

    /// The series, in the order in which they were added.
    pub fn series(&self) -> &[SeriesKey] {
        &self.series
    }

    /// The canonical label bytes of a series named by labels, `None` for one named by reference.
    pub fn label_bytes(&self, series: u32) -> Option<&[u8]> {
        match &self.series[series as usize] {
            SeriesKey::Labels(range) => Some(&self.arena[range.clone()]),
            SeriesKey::Ref(_) => None,
        }
    }

    /// The float samples.
    pub fn floats(&self) -> &[FloatSample] {
        &self.floats
    }

    /// The histogram samples.
    pub fn histograms(&self) -> &[HistogramSample] {
        &self.histograms
    }

    /// Start timestamps: series index, sample time, start time.
    pub fn starts(&self) -> &[(u32, i64, i64)] {
        &self.starts
    }

    /// Exemplars with their series.
    pub fn exemplars(&self) -> &[(u32, Exemplar)] {
        &self.exemplars
    }

    /// Metadata by family name.
    pub fn metadata(&self) -> &[(String, Metadata)] {
        &self.metadata
    }

    /// Float and histogram samples together.
    pub fn sample_count(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// Memory that the samples and labels take, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.arena.len()
            + size_of_val(self.series.as_slice())
            + size_of_val(self.floats.as_slice())
            + self.histograms.iter().map(|h| h.histogram.size_bytes() + size_of_val(h)).sum::<usize>()
    }
}

/// Why a sample was refused. [`RejectReason::as_str`] is the value of metrics' `reason` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RejectReason {
    /// Older than the out-of-order window allows.
    TooOld,
    /// Further in the future than allowed.
    TooNew,
    /// The series has another value at that time already.
    DuplicateTimestamp,
    /// Labels that are not sorted, not unique, not UTF-8, or without a metric name.
    InvalidLabels,
    /// More labels than allowed.
    TooManyLabels,
    /// A label name or value is longer than allowed.
    LabelTooLong,
    /// A new series beyond the limit of active series.
    SeriesLimit,
    /// A new series of a metric that has too many.
    MetricSeriesLimit,
    /// A new series of a target (job and instance) that has too many.
    TargetSeriesLimit,
    /// A new series with a label that is in quarantine because it exploded.
    Quarantined,
    /// More samples a second than allowed.
    RateLimit,
    /// A histogram that is not valid.
    InvalidHistogram,
    /// An exemplar that is out of order or too long.
    InvalidExemplar,
}

impl RejectReason {
    /// Every reason, for metrics that start at 0.
    pub const ALL: [Self; 13] = [
        Self::TooOld,
        Self::TooNew,
        Self::DuplicateTimestamp,
        Self::InvalidLabels,
        Self::TooManyLabels,
        Self::LabelTooLong,
        Self::SeriesLimit,
        Self::MetricSeriesLimit,
        Self::TargetSeriesLimit,
        Self::Quarantined,
        Self::RateLimit,
        Self::InvalidHistogram,
        Self::InvalidExemplar,
    ];

    /// A word with underscores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::DuplicateTimestamp => "duplicate_timestamp",
            Self::InvalidLabels => "invalid_labels",
            Self::TooManyLabels => "too_many_labels",
            Self::LabelTooLong => "label_too_long",
            Self::SeriesLimit => "series_limit",
            Self::MetricSeriesLimit => "metric_series_limit",
            Self::TargetSeriesLimit => "target_series_limit",
            Self::Quarantined => "quarantined",
            Self::RateLimit => "rate_limit",
            Self::InvalidHistogram => "invalid_histogram",
            Self::InvalidExemplar => "invalid_exemplar",
        }
    }

    /// Whether the same sample may be accepted later: the sender should slow down and retry, not drop it. What is wrong with one metric or
    /// one target must not hold up all others of its sender.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimit | Self::SeriesLimit)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One refused sample: data, not an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// Index of the series in the batch.
    pub series: u32,
    /// The sample's time in milliseconds, `None` when the whole series was refused.
    pub time: Option<i64>,
    /// Why.
    pub reason: RejectReason,
    /// What was wrong, with values, for a person.
    pub detail: String,
}

/// What became of a batch. Accepted samples are durable by the storage's policy when this is returned.
#[derive(Clone, Debug, Default)]
pub struct Appended {
    /// Samples stored, exact duplicates included.
    pub accepted: usize,
    /// Samples refused, at most [`Appended::MAX_REJECTED`] of them in detail; `rejected_count` has all.
    pub rejected: Vec<Rejected>,
    /// How many samples were refused.
    pub rejected_count: usize,
    /// Parallel to the batch's series; `None` where the series was refused or is not known.
    pub refs: Vec<Option<SeriesRef>>,
    /// Series (by index) that the storage did not have before.
    pub created: Vec<u32>,
    /// Series (by index) whose reference the storage no longer knows; none of their samples were stored. Send them
    /// again by labels.
    pub unknown_refs: Vec<u32>,
}

impl Appended {
    /// How many refusals are described one by one.
    pub const MAX_REJECTED: usize = 100;

    /// Counts a refusal of `samples` samples and describes it while there is room.
    pub fn reject(
        &mut self,
        series: u32,
        time: Option<i64>,
        reason: RejectReason,
        samples: usize,
        detail: impl FnOnce() -> String,
    ) {
        self.rejected_count += samples;
        if self.rejected.len() < Self::MAX_REJECTED {
            self.rejected.push(Rejected { series, time, reason, detail: detail() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_series_apart() {
        let mut batch = Batch::new();
        let up = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let a = batch.add_series(&up);
        let b = batch.add_series_sorted([("__name__", "down")]);
        let c = batch.add_series_ref(SeriesRef(7));
        batch.push_float(a, 1, 1.0);
        batch.push_float(b, 1, 2.0);
        assert_eq!(batch.label_bytes(a), Some(up.as_encoded()));
        assert_eq!(Labels::from_encoded(batch.label_bytes(b).unwrap()).unwrap().metric_name(), "down");
        assert_eq!(batch.label_bytes(c), None);
        batch.clear();
        assert!(batch.is_empty() && batch.series().is_empty());
    }
}
