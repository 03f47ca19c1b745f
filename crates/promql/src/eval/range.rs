//! Functions of range vectors, one window at a time, for windows of any content. `kernels` computes the common ones for
//! float series over all windows at once; both must agree.
//!
//! Source: the Prometheus manual, "Query functions".

use std::sync::Arc;

use model::Histogram;
use model::histogram::ResetHint;

use super::extended::{extended_floats, extended_histograms};
use super::notes::Notes;
use super::window::Window;
use crate::ast::Extend;
use crate::functions::FunctionId;
use crate::histogram as hist;
use crate::histogram::MixedSchemas;
use crate::kahan;

/// What a function gives for a window.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl From<f64> for Output {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Histogram> for Output {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

/// What a function knows besides the samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) function: FunctionId,
    pub(crate) extend: Option<Extend>,
    /// The range's ends, without what `extend` adds: `(start, end]`.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The evaluation time.
    pub(crate) at: i64,
    /// The scalar arguments at this step.
    pub(crate) args: [f64; 2],
}

impl Frame {
    pub(super) fn range_seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }

    pub(super) fn is_counter(&self) -> bool {
        matches!(self.function, FunctionId::Rate | FunctionId::Increase)
    }

    pub(super) fn is_rate(&self) -> bool {
        self.function == FunctionId::Rate
    }
}

/// Evaluates the function for one window, which is not empty.
pub(crate) fn call(frame: &Frame, window: &Window<'_>, notes: &mut Notes) -> Option<Output> {
    use FunctionId as F;
    let w = window;
    match frame.function {
        F::Rate | F::Increase | F::Delta => rate(frame, w, notes),
        F::Irate => instant_rate(w, true, notes),
        F::Idelta => instant_rate(w, false, notes),
        F::SumOverTime | F::AvgOverTime if !w.values.is_empty() && !w.histograms.is_empty() => {
            notes.add(Notes::MIXED_FLOATS);
            None
        }
        F::SumOverTime if w.values.is_empty() => aggregate_histograms(
            hist::Sum::new(&w.histograms[0]),
            w,
            hist::Sum::add,
            hist::Sum::finish,
            notes,
        ),
        F::SumOverTime => Some(kahan::sum(w.values).into()),
        F::AvgOverTime if w.values.is_empty() => aggregate_histograms(
            hist::Mean::new(&w.histograms[0]),
            w,
            hist::Mean::add,
            hist::Mean::finish,
            notes,
        ),
        F::AvgOverTime => kahan::mean(w.values).map(Output::Float),
        F::CountOverTime => Some((w.len() as f64).into()),
        F::PresentOverTime | F::AbsentOverTime => Some(1.0.into()),
        F::FirstOverTime => match (w.times.first(), w.histogram_times.first()) {
            (Some(float), histogram) if histogram.is_none_or(|histogram| float < histogram) => {
                Some(w.values[0].into())
            }
            _ => w.histograms.first().map(|histogram| Output::Histogram(Arc::clone(histogram))),
        },
        F::LastOverTime => match (w.times.last(), w.histogram_times.last()) {
            (Some(float), histogram) if histogram.is_none_or(|histogram| histogram < float) => {
                w.values.last().map(|&value| value.into())
            }
            _ => w.histograms.last().map(|histogram| Output::Histogram(Arc::clone(histogram))),
        },
        F::TsOfFirstOverTime => {
            let first = w.times.first().into_iter().chain(w.histogram_times.first()).min();
            first.map(|&time| (time as f64 / 1000.0).into())
        }
        F::TsOfLastOverTime => {
            let last = w.times.last().into_iter().chain(w.histogram_times.last()).max();
            last.map(|&time| (time as f64 / 1000.0).into())
        }
        F::Resets => resets(frame, w),
        F::Changes => changes(frame, w),
        _ => floats_only(frame, w, notes),
    }
}

/// Functions that look at floats alone and say so when there are histograms beside them.
fn floats_only(frame: &Frame, w: &Window<'_>, notes: &mut Notes) -> Option<Output> {
    use FunctionId as F;
    if w.values.is_empty() {
        return None;
    }
    if !w.histograms.is_empty() {
        notes.add(Notes::HISTOGRAMS_IGNORED);
    }
    let value = match frame.function {
        F::MaxOverTime => extreme(w, |value, best| value > best).1,
        F::MinOverTime => extreme(w, |value, best| value < best).1,
        F::TsOfMaxOverTime => extreme(w, |value, best| value >= best).0 as f64 / 1000.0,
        F::TsOfMinOverTime => extreme(w, |value, best| value <= best).0 as f64 / 1000.0,
        F::StddevOverTime => variance(w.values).sqrt(),
        F::StdvarOverTime => variance(w.values),
        F::MadOverTime => median_deviation(w.values),
        F::QuantileOverTime => quantile(frame.args[0], &mut w.values.to_vec()),
        F::Deriv | F::PredictLinear | F::DoubleExponentialSmoothing if w.values.len() < 2 => return None,
        // Times near the samples keep the sums small.
        F::Deriv => regression(w, w.times[0]).0,
        F::PredictLinear => {
            let (slope, intercept) = regression(w, frame.at);
            slope * frame.args[0] + intercept
        }
        F::DoubleExponentialSmoothing => smooth(w.values, frame.args[0], frame.args[1]),
        _ => return None,
    };
    Some(value.into())
}

/// Time and value of the extreme; NaN only when all are NaN.
fn extreme(w: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> (i64, f64) {
    let mut best = (w.times[0], w.values[0]);
    for (&time, &value) in w.times.iter().zip(w.values) {
        if better(value, best.1) || best.1.is_nan() {
            best = (time, value);
        }
    }
    best
}

/// The population variance.
///
/// In two passes over the distances from the first value: equal values have a variance of exactly 0, and no distance is larger
/// than the spread, so that nothing cancels. It is as exact as a running mean that is compensated, and has no division for
/// each value.
///
/// Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance" (1983), equation 1.7 and its shift.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let (Some(&origin), count) = (values.first(), values.len() as f64) else { return f64::NAN };
    let mean = lanes(values, |value| value - origin) / count;
    // What the mean's rounding leaves is small, and its square is taken away again.
    let left = lanes(values, |value| (value - origin) - mean);
    let squares = lanes(values, |value| {
        let distance = (value - origin) - mean;
        distance * distance
    });
    let variance = (squares - left * left / count) / count;
    if variance.is_finite() { variance.max(0.0) } else { running_variance(values) }
}

/// The sum of `term` over all values, several side by side.
#[inline]
fn lanes(values: &[f64], term: impl Fn(f64) -> f64) -> f64 {
    const LANES: usize = 4;
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in whole {
        for lane in 0..LANES {
            sums[lane] += term(chunk[lane]);
        }
    }
    rest.iter().map(|&value| term(value)).sum::<f64>() + ((sums[0] + sums[1]) + (sums[2] + sums[3]))
}

/// The variance by a running mean, for what overflows or is not finite.
#[cold]
fn running_variance(values: &[f64]) -> f64 {
    let mut count = 0.0;
    let (mut mean, mut mean_lost) = (0.0, 0.0);
    let (mut squares, mut squares_lost) = (0.0, 0.0);
    for &value in values {
        count += 1.0;
        let delta = value - (mean + mean_lost);
        (mean, mean_lost) = kahan::add(delta / count, mean, mean_lost);
        (squares, squares_lost) = kahan::add(delta * (value - (mean + mean_lost)), squares, squares_lost);
    }
    (squares + squares_lost) / count
}

/// The φ-quantile of `values`, interpolated between the two nearest; sorts them, NaN first.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(nan_first);
    quantile_of_sorted(q, values)
}

/// The order of values for quantiles.
#[inline]
pub(crate) fn nan_first(a: &f64, b: &f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(b),
        (a, b) => b.cmp(&a),
    }
}

/// The φ-quantile of values in the order of [`nan_first`].
pub(crate) fn quantile_of_sorted(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = rank.floor().max(0.0) as usize;
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let mut values = values.to_vec();
    let median = quantile(0.5, &mut values);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    quantile(0.5, &mut values)
}

/// Slope a second, and value at `origin`, of the least-squares line.
fn regression(w: &Window<'_>, origin: i64) -> (f64, f64) {
    let first = w.values[0];
    if w.values.iter().all(|&value| value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let mut sums = [(0.0, 0.0); 4];
    for (&time, &y) in w.times.iter().zip(w.values) {
        let x = (time - origin) as f64 / 1e3;
        for ((sum, lost), term) in sums.iter_mut().zip([x, y, x * y, x * x]) {
            (*sum, *lost) = kahan::add(term, *sum, *lost);
        }
    }
    let n = w.values.len() as f64;
    let [x, y, xy, xx] = sums.map(|(sum, lost)| sum + lost);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// Holt's double exponential smoothing.
fn smooth(values: &[f64], smoothing: f64, trend_weight: f64) -> f64 {
    let mut level = values[0];
    let mut previous = 0.0;
    let mut trend = values[1] - values[0];
    for (index, &value) in values.iter().enumerate().skip(1) {
        if index > 1 {
            trend = trend_weight * (level - previous) + (1.0 - trend_weight) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        (previous, level) = (level, next);
    }
    level
}

fn aggregate_histograms<A>(
    mut all: A,
    w: &Window<'_>,
    add: impl Fn(&mut A, &Histogram) -> Result<(), MixedSchemas>,
    finish: impl Fn(A) -> (Histogram, hist::Combined),
    notes: &mut Notes,
) -> Option<Output> {
    for histogram in &w.histograms[1..] {
        if add(&mut all, histogram).is_err() {
            notes.add(Notes::MIXED_SCHEMAS);
            return None;
        }
    }
    let (histogram, combined) = finish(all);
    notes.reconciled(combined, Notes::RECONCILED_AGGREGATION);
    if combined.reset_conflict {
        notes.add(Notes::RESET_COLLISION);
    }
    Some(histogram.into())
}

/// Whether a sample's start timestamp says that the counter began anew after the sample before it.
pub(crate) fn start_reset(previous_start: i64, previous: i64, start: i64, time: i64) -> bool {
    // Unknown, impossible, or "unknown" as OpenTelemetry says it.
    if start == 0 || start >= time || start < previous {
        return false;
    }
    // A start at the sample before: a delta, unless that sample's own start is unknown.
    start > previous || (previous_start != 0 && previous_start < previous)
}

/// Whether a sample's start lies before the sample before it, and is not that one's.
pub(crate) fn start_overlap(previous_start: i64, previous: i64, start: i64) -> bool {
    start != 0 && start < previous && start != previous_start
}

/// The factor from the increase between the first and the last sample to that over the whole range.
///
/// Source: the Prometheus manual, "rate": the increase is extrapolated to the ends of the range, unless the samples end
/// more than 1.1 sample distances before; a counter is not extrapolated below zero.
pub(crate) struct Extrapolation {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// Distances between samples.
    pub(crate) gaps: f64,
    /// The first sample's value, and the increase, of a counter that may be extrapolated to zero.
    pub(crate) counter: Option<(f64, f64)>,
    /// The first sample's start timestamp, when it lies within the range.
    pub(crate) start: Option<i64>,
}

impl Extrapolation {
    /// Seconds by which a gauge is extrapolated towards the start of the range.
    pub(crate) fn to_start(&self, range_start: i64) -> f64 {
        let to_start = (self.first - range_start) as f64 / 1000.0;
        let gap = if self.gaps > 0.0 { (self.last - self.first) as f64 / 1000.0 / self.gaps } else { 0.0 };
        if to_start >= gap * 1.1 { gap / 2.0 } else { to_start }
    }

    #[inline]
    pub(crate) fn factor(&self, range_start: i64, range_end: i64) -> f64 {
        let mut to_start = (self.first - range_start) as f64 / 1000.0;
        let mut to_end = (range_end - self.last) as f64 / 1000.0;
        let mut sampled = (self.last - self.first) as f64 / 1000.0;
        let gap = if self.gaps > 0.0 { sampled / self.gaps } else { 0.0 };
        let threshold = gap * 1.1;
        if let Some(start) = self.start {
            to_start = 0.0;
            sampled = (self.last - start) as f64 / 1000.0;
        } else {
            if to_start >= threshold {
                to_start = gap / 2.0;
            }
            if let Some((first, increase)) = self.counter
                && increase > 0.0
                && first >= 0.0
            {
                let to_zero = sampled * (first / increase);
                if to_zero < to_start {
                    to_start = to_zero;
                }
            }
        }
        if to_end >= threshold {
            to_end = gap / 2.0;
        }
        if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled }
    }
}

fn rate(frame: &Frame, w: &Window<'_>, notes: &mut Notes) -> Option<Output> {
    if !w.values.is_empty() && !w.histograms.is_empty() {
        notes.add(Notes::MIXED_FLOATS);
        return None;
    }
    if frame.extend.is_some() {
        return if w.values.is_empty() {
            extended_histograms(frame, w, notes)
        } else {
            extended_floats(frame, w)
        };
    }
    let counter = frame.is_counter();
    let (times, starts) =
        if w.values.is_empty() { (w.histogram_times, w.histogram_starts) } else { (w.times, w.starts) };
    let (first, last) = (times[0], times[times.len() - 1]);
    let start = starts
        .first()
        .copied()
        .filter(|&start| counter && start != 0 && start > frame.start && start < first);
    if times.len() == 1 && start.is_none() {
        return None;
    }
    let gaps = (times.len() - 1) as f64;
    let per_second = if frame.is_rate() { frame.range_seconds() } else { 1.0 };

    if w.values.is_empty() {
        let mut increase = None;
        if times.len() > 1 {
            increase = Some(histogram_increase(w, counter, notes)?);
        }
        if start.is_some() {
            match &mut increase {
                None => increase = Some((*w.histograms[0]).clone()),
                Some(increase) => match hist::add(increase, &w.histograms[0]) {
                    Ok(combined) => notes.reconciled(combined, Notes::RECONCILED_ADD),
                    Err(MixedSchemas) => {
                        notes.add(Notes::MIXED_SCHEMAS);
                        return None;
                    }
                },
            }
        }
        let mut increase = increase?;
        let zero = counter.then_some((w.histograms[0].count, increase.count));
        let factor = Extrapolation { first, last, gaps, counter: zero, start }.factor(frame.start, frame.end);
        hist::scale(&mut increase, factor / per_second);
        return Some(increase.into());
    }

    let mut increase = w.values[w.values.len() - 1] - w.values[0];
    if counter {
        for index in 1..w.values.len() {
            let (previous, value) = (w.values[index - 1], w.values[index]);
            let mut reset = value < previous;
            if !w.starts.is_empty() {
                let (previous_start, start) = (w.starts[index - 1], w.starts[index]);
                reset |= start_reset(previous_start, w.times[index - 1], start, w.times[index]);
                if start_overlap(previous_start, w.times[index - 1], start) {
                    notes.add(Notes::START_OVERLAP);
                }
            }
            if reset {
                increase += previous;
            }
        }
    }
    if start.is_some() {
        increase += w.values[0];
    }
    let zero = counter.then_some((w.values[0], increase));
    let factor = Extrapolation { first, last, gaps, counter: zero, start }.factor(frame.start, frame.end);
    Some((increase * (factor / per_second)).into())
}

/// The increase from the first to the last of at least two histograms.
fn histogram_increase(w: &Window<'_>, counter: bool, notes: &mut Notes) -> Option<Histogram> {
    let all = w.histograms;
    let last = &all[all.len() - 1];
    let is_gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
    if counter && all.iter().any(|histogram| is_gauge(histogram)) {
        notes.add(Notes::NOT_COUNTER);
    }
    let by_start = |index: usize| {
        !w.histogram_starts.is_empty()
            && start_reset(
                w.histogram_starts[index - 1],
                w.histogram_times[index - 1],
                w.histogram_starts[index],
                w.histogram_times[index],
            )
    };
    // A first histogram before a reset counts for nothing, so that its layout does not matter either.
    let reset_at_once = counter && (by_start(1) || hist::is_reset(&all[1], &all[0]));
    let baseline = if reset_at_once {
        Arc::new(Histogram {
            schema: all[1].schema,
            is_float: true,
            custom_values: all[1].custom_values.clone(),
            ..Histogram::default()
        })
    } else {
        Arc::clone(&all[0])
    };
    let mixed = last.is_custom() != baseline.is_custom()
        || (counter && all[1..].iter().any(|histogram| histogram.is_custom() != last.is_custom()));
    if mixed {
        notes.add(Notes::MIXED_SCHEMAS);
        return None;
    }
    let mut schema = last.schema.min(baseline.schema);
    if counter {
        schema = all[1..].iter().map(|histogram| histogram.schema).fold(schema, i32::min);
    }
    let mut increase = (**last).clone();
    hist::reduce(&mut increase, schema);
    let combined = hist::subtract(&mut increase, &baseline).ok()?;
    notes.reconciled(combined, Notes::RECONCILED_SUB);
    if counter {
        let mut previous = &baseline;
        for (index, histogram) in all.iter().enumerate().skip(1) {
            if !w.histogram_starts.is_empty()
                && start_overlap(
                    w.histogram_starts[index - 1],
                    w.histogram_times[index - 1],
                    w.histogram_starts[index],
                )
            {
                notes.add(Notes::START_OVERLAP);
            }
            if by_start(index) || hist::is_reset(histogram, previous) {
                let combined = hist::add(&mut increase, previous).ok()?;
                notes.reconciled(combined, Notes::RECONCILED_ADD);
            }
            previous = histogram;
        }
    } else if !is_gauge(&all[0]) || !is_gauge(last) {
        notes.add(Notes::NOT_GAUGE);
    }
    increase.reset_hint = ResetHint::Gauge;
    hist::compact(&mut increase);
    Some(increase)
}

/// One of the last two samples: time, start timestamp, value.
#[derive(Clone, Copy)]
struct Point<'a> {
    time: i64,
    start: i64,
    value: f64,
    histogram: Option<&'a Arc<Histogram>>,
}

/// Floats and histograms in one ascending sequence.
fn merged<'a>(w: &Window<'a>) -> impl Iterator<Item = Point<'a>> + use<'a> {
    let w = *w;
    let (mut float, mut histogram) = (0, 0);
    std::iter::from_fn(move || {
        let take_float = match (w.times.get(float), w.histogram_times.get(histogram)) {
            (None, None) => return None,
            (Some(f), Some(h)) => f < h,
            (Some(_), None) => true,
            (None, Some(_)) => false,
        };
        Some(if take_float {
            float += 1;
            Point {
                time: w.times[float - 1],
                start: w.starts.get(float - 1).copied().unwrap_or(0),
                value: w.values[float - 1],
                histogram: None,
            }
        } else {
            histogram += 1;
            Point {
                time: w.histogram_times[histogram - 1],
                start: w.histogram_starts.get(histogram - 1).copied().unwrap_or(0),
                value: 0.0,
                histogram: Some(&w.histograms[histogram - 1]),
            }
        })
    })
}

fn instant_rate(w: &Window<'_>, is_rate: bool, notes: &mut Notes) -> Option<Output> {
    if w.len() < 2 {
        return None;
    }
    let mut last_two = merged(w).skip(w.len() - 2);
    let (a, b) = (last_two.next()?, last_two.next()?);
    let seconds = (b.time - a.time) as f64 / 1000.0;
    let by_start = start_reset(a.start, a.time, b.start, b.time);
    match (a.histogram, b.histogram) {
        (None, None) => {
            let reset = is_rate && (b.value < a.value || by_start);
            let delta = if reset { b.value } else { b.value - a.value };
            Some((if is_rate { delta / seconds } else { delta }).into())
        }
        (Some(previous), Some(current)) => {
            let gauges = [previous, current].map(|histogram| histogram.reset_hint == ResetHint::Gauge);
            if is_rate && gauges.contains(&true) {
                notes.add(Notes::NOT_COUNTER);
            }
            if !is_rate && gauges.contains(&false) {
                notes.add(Notes::NOT_GAUGE);
            }
            let mut delta = (**current).clone();
            if !is_rate || (!by_start && !hist::is_reset(current, previous)) {
                match hist::subtract(&mut delta, previous) {
                    Ok(combined) => notes.reconciled(combined, Notes::RECONCILED_SUB),
                    Err(MixedSchemas) => {
                        notes.add(Notes::MIXED_SCHEMAS);
                        return None;
                    }
                }
            }
            delta.reset_hint = ResetHint::Gauge;
            hist::compact(&mut delta);
            if is_rate {
                hist::divide(&mut delta, seconds);
            }
            Some(delta.into())
        }
        _ => {
            notes.add(Notes::MIXED_FLOATS);
            None
        }
    }
}

/// The samples that `resets` and `changes` compare: with `anchored`, those in the range and the one before it.
fn compared<'a>(frame: &Frame, w: &Window<'a>) -> Option<impl Iterator<Item = Point<'a>> + use<'a>> {
    let mut skip = 0;
    if frame.extend == Some(Extend::Anchored) {
        let at_or_before = w.times.partition_point(|&time| time <= frame.start)
            + w.histogram_times.partition_point(|&time| time <= frame.start);
        if at_or_before == w.len() {
            return None;
        }
        skip = at_or_before.saturating_sub(1);
    }
    Some(merged(w).skip(skip))
}

fn count_pairs(
    frame: &Frame,
    w: &Window<'_>,
    counts: impl Fn(&Point<'_>, &Point<'_>) -> bool,
) -> Option<Output> {
    let mut points = compared(frame, w)?;
    let mut previous = points.next()?;
    let mut count = 0;
    for point in points {
        count += u32::from(counts(&previous, &point));
        previous = point;
    }
    Some(f64::from(count).into())
}

fn resets(frame: &Frame, w: &Window<'_>) -> Option<Output> {
    count_pairs(frame, w, |a, b| {
        let by_start = start_reset(a.start, a.time, b.start, b.time);
        match (a.histogram, b.histogram) {
            (None, None) => b.value < a.value || by_start,
            (Some(previous), Some(current)) => by_start || hist::is_reset(current, previous),
            _ => true,
        }
    })
}

fn changes(frame: &Frame, w: &Window<'_>) -> Option<Output> {
    count_pairs(frame, w, |a, b| match (a.histogram, b.histogram) {
        (None, None) => a.value != b.value && !(a.value.is_nan() && b.value.is_nan()),
        (Some(previous), Some(current)) => !hist::same(current, previous),
        _ => true,
    })
}
