//! Which samples each step looks at, and functions of the samples in a window.

use std::sync::Arc;

use model::histogram::ResetHint;
use model::{Histogram, Samples, is_stale};

use super::matrix::Grid;
use crate::ast::Extend;

/// Where a selector or subquery looks when it is evaluated at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    /// The time of `@`, minus the offset.
    pub(crate) fixed: Option<i64>,
    /// Subtracted from the step's time when there is no `@`. Milliseconds.
    pub(crate) offset: i64,
}

impl Reference {
    /// The time it looks at from step `index`.
    #[inline]
    pub(crate) fn at(&self, grid: &Grid, index: usize) -> i64 {
        self.fixed.unwrap_or(grid.at(index) - self.offset)
    }
}

/// The windows `(reference − range − before, reference + after]` of all steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Windows {
    /// Where each step looks.
    pub(crate) reference: Reference,
    /// Length of the range in milliseconds.
    pub(crate) range: i64,
    /// Further back, for `anchored` and `smoothed`.
    pub(crate) before: i64,
    /// Further on, for `smoothed`.
    pub(crate) after: i64,
    /// Whether the samples around the range are used, and how.
    pub(crate) extend: Option<Extend>,
    /// Whether histograms that do not say whether they follow a reset are compared with the one before, as Prometheus does
    /// where only the count and the sum are asked for.
    pub(crate) detect_resets: bool,
}

impl Windows {
    pub(crate) fn new(reference: Reference, range: i64, extend: Option<Extend>, look_back: i64) -> Self {
        let (before, after) = match extend {
            None => (0, 0),
            Some(Extend::Anchored) => (look_back, 0),
            Some(Extend::Smoothed) => (look_back, look_back),
        };
        Self { reference, range, before, after, extend, detect_resets: false }
    }

    /// From when and until when samples are needed: `(start, end]`.
    pub(crate) fn span(&self, grid: &Grid) -> (i64, i64) {
        let (first, last) = (self.reference.at(grid, 0), self.reference.at(grid, grid.count.max(1) - 1));
        (first.saturating_sub(self.range).saturating_sub(self.before), last.saturating_add(self.after))
    }
}

/// First and one past the last sample of each step's window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) low: Vec<u32>,
    pub(crate) high: Vec<u32>,
}

impl Bounds {
    /// Fills the bounds for ascending `times`, in time proportional to samples plus steps.
    pub(crate) fn fill(&mut self, times: &[i64], grid: &Grid, windows: &Windows) {
        self.low.clear();
        self.high.clear();
        self.low.reserve(grid.count);
        self.high.reserve(grid.count);
        if grid.count == 0 {
            return;
        }
        let back = windows.range + windows.before;
        let first = windows.reference.at(grid, 0);
        let mut low = times.partition_point(|&time| time <= first - back);
        let mut high = low + times[low..].partition_point(|&time| time <= first + windows.after);
        if windows.reference.fixed.is_some() {
            self.low.resize(grid.count, low as u32);
            self.high.resize(grid.count, high as u32);
            return;
        }
        for step in 0..grid.count {
            let at = windows.reference.at(grid, step);
            while low < times.len() && times[low] <= at - back {
                low += 1;
            }
            high = high.max(low);
            while high < times.len() && times[high] <= at + windows.after {
                high += 1;
            }
            self.low.push(low as u32);
            self.high.push(high as u32);
        }
    }

    /// How many samples all windows have together.
    pub(crate) fn total(&self) -> u64 {
        self.low.iter().zip(&self.high).map(|(&low, &high)| u64::from(high - low)).sum()
    }
}

/// The samples of one series without staleness markers, floats and histograms apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// As long as `times`, or empty when no start is known.
    pub(crate) starts: Vec<i64>,
    pub(crate) histogram_times: Vec<i64>,
    pub(crate) histograms: Vec<Arc<Histogram>>,
    /// As long as `histogram_times`, or empty.
    pub(crate) histogram_starts: Vec<i64>,
    /// Equal, non-zero values promise equal `times`.
    pub(crate) times_id: u64,
}

impl Columns {
    /// Takes the samples out of `samples`, which is left for reuse.
    pub(crate) fn take(&mut self, samples: &mut Samples, use_starts: bool) {
        self.histogram_times.clear();
        self.histograms.clear();
        self.histogram_starts.clear();
        self.times_id = 0;
        let starts = use_starts && !samples.starts.is_empty();
        let plain = samples.histograms.is_empty() && !samples.values.iter().any(|&value| is_stale(value));
        if plain {
            self.times_id = samples.times_id;
            std::mem::swap(&mut self.times, &mut samples.times);
            std::mem::swap(&mut self.values, &mut samples.values);
            if starts {
                std::mem::swap(&mut self.starts, &mut samples.starts);
            } else {
                self.starts.clear();
            }
            return;
        }
        self.times.clear();
        self.values.clear();
        self.starts.clear();
        let mut histograms = samples.histograms.iter().peekable();
        for (index, &time) in samples.times.iter().enumerate() {
            if let Some((_, histogram)) = histograms.next_if(|(at, _)| *at as usize == index) {
                if !histogram.is_stale() {
                    self.histogram_times.push(time);
                    self.histograms.push(Arc::clone(histogram));
                    if starts {
                        self.histogram_starts.push(samples.starts[index]);
                    }
                }
            } else if !is_stale(samples.values[index]) {
                self.times.push(time);
                self.values.push(samples.values[index]);
                if starts {
                    self.starts.push(samples.starts[index]);
                }
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.starts.clear();
        self.histogram_times.clear();
        self.histograms.clear();
        self.histogram_starts.clear();
        self.times_id = 0;
    }

    pub(crate) fn window(&self, floats: (u32, u32), histograms: (u32, u32)) -> Window<'_> {
        let f = floats.0 as usize..floats.1 as usize;
        let h = histograms.0 as usize..histograms.1 as usize;
        Window {
            times: &self.times[f.clone()],
            values: &self.values[f.clone()],
            starts: self.starts.get(f).unwrap_or_default(),
            histogram_times: &self.histogram_times[h.clone()],
            histograms: &self.histograms[h.clone()],
            histogram_starts: self.histogram_starts.get(h).unwrap_or_default(),
        }
    }
}

/// Says of every histogram but the first of a series whether it follows a reset.
pub(crate) fn detect_resets(samples: &mut Samples) {
    let mut previous: Option<Arc<Histogram>> = None;
    for (_, histogram) in &mut samples.histograms {
        if histogram.is_stale() {
            continue;
        }
        let current = Arc::clone(histogram);
        if let Some(previous) = &previous
            && histogram.reset_hint == ResetHint::Unknown
        {
            let reset = crate::histogram::is_reset(histogram, previous);
            let hint = if reset { ResetHint::Reset } else { ResetHint::NotReset };
            Arc::make_mut(histogram).reset_hint = hint;
        }
        previous = Some(current);
    }
}

/// The samples that one step looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    pub(crate) starts: &'a [i64],
    pub(crate) histogram_times: &'a [i64],
    pub(crate) histograms: &'a [Arc<Histogram>],
    pub(crate) histogram_starts: &'a [i64],
}

impl Window<'_> {
    pub(crate) fn len(&self) -> usize {
        self.times.len() + self.histogram_times.len()
    }
}
