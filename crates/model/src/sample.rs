//! Samples, the columns in which they travel, and exemplars.

use std::sync::Arc;

use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::time::Timestamp;

/// The NaN that ends a series: "scraped, and no longer there". Compare bits, never values.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// The ordinary quiet NaN, with the bits that Prometheus writes.
pub const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// Whether `value` is the staleness marker.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// One sample's value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A float; a staleness marker is one too.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// The samples of one series within a time range, as columns. Ascending, strictly increasing times.
///
/// A buffer that is reused from series to series: [`Samples::clear`] keeps its memory.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Equal, non-zero values on consecutive reads from one `SeriesSet` promise equal `times` columns, so that a
    /// reader can keep the window bounds that it has computed. 0 promises nothing.
    pub times_id: u64,
    /// Milliseconds since the epoch.
    pub times: Vec<i64>,
    /// As long as `times`; the value where `histograms` has an entry is meaningless.
    pub values: Vec<f64>,
    /// Native histograms and where in `times` they are, ascending; empty for a float series.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
    /// Start (created) timestamps in milliseconds, 0 for unknown; empty when none is known.
    pub starts: Vec<i64>,
}

impl Samples {
    /// How many samples.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.times_id = 0;
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    /// Appends a float sample. `time` must be after the last.
    pub fn push_float(&mut self, time: i64, value: f64) {
        debug_assert!(self.times.last().is_none_or(|&last| last < time));
        self.times.push(time);
        self.values.push(value);
        if !self.starts.is_empty() {
            self.starts.push(0);
        }
    }

    /// Appends a histogram sample. `time` must be after the last.
    pub fn push_histogram(&mut self, time: i64, histogram: Arc<Histogram>) {
        self.histograms.push((self.times.len() as u32, histogram));
        self.push_float(time, 0.0);
    }

    /// Sets the start timestamp of the newest sample.
    ///
    /// # Panics
    /// When there is no sample.
    pub fn set_last_start(&mut self, start: i64) {
        let last = self.times.len().checked_sub(1).expect("a start timestamp belongs to a sample");
        self.starts.resize(self.times.len(), 0);
        self.starts[last] = start;
    }

    /// Removes the samples outside `(start, end]`, in milliseconds.
    pub fn keep_within(&mut self, start: i64, end: i64) {
        let low = self.times.partition_point(|&time| time <= start);
        let high = self.times.partition_point(|&time| time <= end).max(low);
        if low == 0 && high == self.times.len() {
            return;
        }
        self.times_id = 0;
        let kept = |at: u32| (low..high).contains(&(at as usize));
        self.histograms.retain(|(at, _)| kept(*at));
        self.histograms.iter_mut().for_each(|(at, _)| *at -= low as u32);
        self.times.truncate(high);
        self.values.truncate(high);
        self.starts.truncate(high);
        self.times.drain(..low);
        self.values.drain(..low);
        self.starts.drain(..low.min(self.starts.len()));
    }

    /// The histogram at `index`, when that sample is one.
    pub fn histogram(&self, index: usize) -> Option<&Arc<Histogram>> {
        let at = self.histograms.binary_search_by_key(&(index as u32), |(i, _)| *i).ok()?;
        Some(&self.histograms[at].1)
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// When `index` is past the end.
    pub fn value(&self, index: usize) -> Value {
        match self.histogram(index) {
            Some(histogram) => Value::Histogram(Arc::clone(histogram)),
            None => Value::Float(self.values[index]),
        }
    }

    /// The start timestamp at `index`, `None` when unknown.
    pub fn start(&self, index: usize) -> Option<i64> {
        self.starts.get(index).copied().filter(|&start| start != 0)
    }
}

/// A sample's link to a trace or another record.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Usually a `trace_id`.
    pub labels: Labels,
    /// The value that was observed.
    pub value: f64,
    /// When it was observed.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_cut_to_a_range() {
        let mut samples = Samples::default();
        samples.push_float(10, 1.0);
        samples.push_float(20, 2.0);
        samples.push_histogram(30, Arc::default());
        samples.set_last_start(5);
        samples.push_float(40, 4.0);
        samples.keep_within(10, 30);
        assert_eq!((&samples.times[..], &samples.starts[..]), (&[20, 30][..], &[0, 5][..]));
        assert!(samples.histogram(0).is_none() && samples.histogram(1).is_some());
        samples.keep_within(30, 100);
        assert!(samples.is_empty() && samples.histograms.is_empty() && samples.starts.is_empty());
    }
}
