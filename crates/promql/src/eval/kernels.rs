//! Range functions of float series, all windows in one pass.
//!
//! Work is proportional to samples plus steps where the function allows it: increases add up the resets between the
//! window's ends, extremes come from a monotonic deque. Sums are compensated window by window, several
//! windows side by side, because differences of running sums round differently. Each agrees with `range::call` on the same window.

use super::Scalar;
use super::matrix::{Row, fill_bits, set_bit};
use super::notes::Notes;
use super::range::{Extrapolation, nan_first, quantile_of_sorted, start_overlap, start_reset, variance};
use super::window::{Bounds, Columns};
use crate::functions::FunctionId;
use crate::kahan;

/// Buffers that are reused from series to series.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Index of each sample after a reset, and the value before it.
    resets: Vec<(u32, f64)>,
    deque: Vec<u32>,
    /// A window's values in order.
    sorted: Vec<f64>,
    /// What extrapolation makes of each window, as far as the times alone decide it.
    factors: Vec<Factor>,
    /// The `times_id` for which `factors` hold, 0 for none.
    factors_id: u64,
}

/// The extrapolation of one window.
#[derive(Clone, Copy, Default)]
struct Factor {
    /// By which the increase is multiplied, unless the counter would start below zero.
    factor: f64,
    /// Seconds from the first to the last sample.
    sampled: f64,
    /// Seconds that are extrapolated towards the start of the range.
    to_start: f64,
}

/// A series whose samples are all floats, and the windows over it.
pub(crate) struct Input<'a> {
    pub(crate) columns: &'a Columns,
    pub(crate) bounds: &'a Bounds,
    /// Ends of the first window's range: `(start, end]`.
    pub(crate) first_range: (i64, i64),
    /// From one window to the next, 0 when all are the same.
    pub(crate) step: i64,
}

/// Fills `row`; `false` when there is no kernel for `function`, and `row` is as it was.
pub(crate) fn run(
    function: FunctionId,
    input: &Input<'_>,
    args: &[Scalar],
    row: &mut Row,
    scratch: &mut Scratch,
    notes: &mut Notes,
) -> bool {
    use FunctionId as F;
    match function {
        F::Rate | F::Increase | F::Delta => rate(function, input, row, scratch, notes),
        F::MaxOverTime => extremes(input, row, scratch, |new, old| new >= old),
        F::MinOverTime => extremes(input, row, scratch, |new, old| new <= old),
        F::SumOverTime => sums(input, row, |sum, lost, _| sum + lost, kahan::sum),
        F::AvgOverTime => {
            let mean = |values: &[f64]| kahan::mean(values).unwrap_or(f64::NAN);
            sums(input, row, |sum, lost, count| sum / count + lost / count, mean);
        }
        F::StdvarOverTime => each(input, row, variance),
        F::StddevOverTime => each(input, row, |values| variance(values).sqrt()),
        F::QuantileOverTime => match args {
            [q, ..] => quantiles(input, row, scratch, q),
            [] => return false,
        },
        F::LastOverTime => each(input, row, |values| values[values.len() - 1]),
        F::FirstOverTime => each(input, row, |values| values[0]),
        F::CountOverTime => each(input, row, |values| values.len() as f64),
        F::PresentOverTime | F::AbsentOverTime => each(input, row, |_| 1.0),
        _ => return false,
    }
    true
}

/// One value for each window that is not empty.
#[inline]
fn each(input: &Input<'_>, row: &mut Row, value: impl Fn(&[f64]) -> f64) {
    let values = &input.columns.values;
    for (step, (&low, &high)) in input.bounds.low.iter().zip(&input.bounds.high).enumerate() {
        if low < high {
            row.set(step, value(&values[low as usize..high as usize]));
        }
    }
}

/// The compensated sum of each window that is not empty, with the number of its values, as `value` shows it: sum, lost, count.
/// Windows whose sum is not finite are left to `exact`.
fn sums(
    input: &Input<'_>,
    row: &mut Row,
    value: impl Fn(f64, f64, f64) -> f64,
    exact: impl Fn(&[f64]) -> f64,
) {
    let values = &input.columns.values;
    // Step, start and end of windows that wait for company.
    let mut waiting = [(0, 0, 0); kahan::LANES];
    let mut count = 0;
    for (step, (&low, &high)) in input.bounds.low.iter().zip(&input.bounds.high).enumerate() {
        if low >= high {
            continue;
        }
        waiting[count] = (step, low as usize, high as usize);
        count += 1;
        if count < kahan::LANES {
            continue;
        }
        count = 0;
        let shortest = waiting.iter().map(|(_, low, high)| high - low).min().unwrap_or(0);
        let all = kahan::sums(values, waiting.map(|(_, low, _)| low), shortest);
        for ((step, low, high), (mut sum, mut lost)) in waiting.into_iter().zip(all) {
            for &more in &values[low + shortest..high] {
                (sum, lost) = kahan::add(more, sum, lost);
            }
            let finite = (sum + lost).is_finite();
            let count = (high - low) as f64;
            row.set(step, if finite { value(sum, lost, count) } else { exact(&values[low..high]) });
        }
    }
    for &(step, low, high) in &waiting[..count] {
        row.set(step, exact(&values[low..high]));
    }
}

/// The φ-quantile of each window that is not empty; φ is that of the step. The window's values are kept in order: from one
/// step to the next few of them change.
fn quantiles(input: &Input<'_>, row: &mut Row, scratch: &mut Scratch, q: &Scalar) {
    let values = &input.columns.values;
    let sorted = &mut scratch.sorted;
    sorted.clear();
    let (mut from, mut to) = (0, 0);
    for (step, (&low, &high)) in input.bounds.low.iter().zip(&input.bounds.high).enumerate() {
        let (low, high) = (low as usize, high as usize);
        if low >= high {
            continue;
        }
        let changes = (low - from) + (high - to);
        if low >= to || changes * 4 > high - low + 16 {
            sorted.clear();
            sorted.extend_from_slice(&values[low..high]);
            sorted.sort_unstable_by(nan_first);
        } else {
            for old in &values[from..low] {
                let at = sorted.partition_point(|value| nan_first(value, old).is_lt());
                sorted.remove(at);
            }
            for new in &values[to..high] {
                let at = sorted.partition_point(|value| nan_first(value, new).is_lt());
                sorted.insert(at, *new);
            }
        }
        (from, to) = (low, high);
        row.set(step, quantile_of_sorted(q.at(step), sorted));
    }
}

fn rate(function: FunctionId, input: &Input<'_>, row: &mut Row, scratch: &mut Scratch, notes: &mut Notes) {
    let Columns { times, values, starts, .. } = input.columns;
    let counter = function != FunctionId::Delta;
    let range_seconds = (input.first_range.1 - input.first_range.0) as f64 / 1000.0;
    let per_second = if function == FunctionId::Rate { range_seconds } else { 1.0 };

    scratch.resets.clear();
    if counter {
        // Without a branch for each sample: resets are rare.
        for (index, pair) in values.windows(2).enumerate() {
            if pair[1] < pair[0] {
                scratch.resets.push((index as u32 + 1, pair[0]));
            }
        }
        if !starts.is_empty() {
            add_start_resets(input, scratch, notes);
        }
    }
    if starts.is_empty() {
        let id = input.columns.times_id;
        if id == 0 || scratch.factors_id != id {
            fill_factors(input, per_second, &mut scratch.factors);
            scratch.factors_id = id;
        }
        plain_rate(input, counter, per_second, row, scratch);
        return;
    }
    let resets = &scratch.resets;
    let mut next_reset = 0;
    let (mut range_start, mut range_end) = input.first_range;
    for (step, (&low, &high)) in input.bounds.low.iter().zip(&input.bounds.high).enumerate() {
        let (start, end) = (range_start, range_end);
        range_start += input.step;
        range_end += input.step;
        if low >= high {
            continue;
        }
        let (low, last) = (low as usize, high as usize - 1);
        let begun = if counter && !starts.is_empty() {
            Some(starts[low]).filter(|&begun| begun != 0 && begun > start && begun < times[low])
        } else {
            None
        };
        if low == last && begun.is_none() {
            continue;
        }
        let mut increase = values[last] - values[low];
        if !resets.is_empty() {
            while next_reset < resets.len() && resets[next_reset].0 as usize <= low {
                next_reset += 1;
            }
            for &(index, before) in &resets[next_reset..] {
                if index as usize > last {
                    break;
                }
                increase += before;
            }
        }
        if begun.is_some() {
            increase += values[low];
        }
        let factor = Extrapolation {
            first: times[low],
            last: times[last],
            gaps: (last - low) as f64,
            counter: counter.then_some((values[low], increase)),
            start: begun,
        }
        .factor(start, end);
        row.values[step] = increase * (factor / per_second);
        set_bit(&mut row.valid, step);
    }
}

/// Computes what depends on the samples' times alone.
fn fill_factors(input: &Input<'_>, per_second: f64, factors: &mut Vec<Factor>) {
    let times = &input.columns.times;
    factors.clear();
    factors.reserve(input.bounds.low.len());
    let (mut start, mut end) = input.first_range;
    // Where samples come at a steady pace most windows look alike: what lies around and between their samples decides.
    let mut last = ((0, 0, 0), Factor::default());
    for (&low, &high) in input.bounds.low.iter().zip(&input.bounds.high) {
        factors.push(if low + 1 < high {
            let (first_time, last_time) = (times[low as usize], times[high as usize - 1]);
            let shape = (first_time - start, end - last_time, high - low);
            if last.0 != shape {
                let gaps = f64::from(high - 1 - low);
                let window =
                    Extrapolation { first: first_time, last: last_time, gaps, counter: None, start: None };
                let factor = Factor {
                    factor: window.factor(start, end) / per_second,
                    sampled: (last_time - first_time) as f64 / 1000.0,
                    to_start: window.to_start(start),
                };
                last = (shape, factor);
            }
            last.1
        } else {
            Factor::default()
        });
        start += input.step;
        end += input.step;
    }
}

/// Increases of a series without start timestamps.
fn plain_rate(input: &Input<'_>, counter: bool, per_second: f64, row: &mut Row, scratch: &Scratch) {
    let Columns { times, values, .. } = input.columns;
    let resets = &scratch.resets;
    let mut next_reset = 0;
    let bounds = input.bounds.low.iter().zip(&input.bounds.high);
    for (step, ((&low, &high), factor)) in bounds.zip(&scratch.factors).enumerate() {
        if low + 1 >= high {
            continue;
        }
        let (low, last) = (low as usize, high as usize - 1);
        let first = values[low];
        let mut increase = values[last] - first;
        if !resets.is_empty() {
            while next_reset < resets.len() && resets[next_reset].0 as usize <= low {
                next_reset += 1;
            }
            for &(index, before) in &resets[next_reset..] {
                if index as usize > last {
                    break;
                }
                increase += before;
            }
        }
        let mut by = factor.factor;
        // Whether the line through the samples may reach zero within what is extrapolated; without a division, and a
        // little too often.
        if counter
            && increase > 0.0
            && first >= 0.0
            && factor.sampled * first <= factor.to_start * increase * (1.0 + 1e-12)
        {
            let (start, end) = (
                input.first_range.0 + input.step * step as i64,
                input.first_range.1 + input.step * step as i64,
            );
            by = Extrapolation {
                first: times[low],
                last: times[last],
                gaps: (last - low) as f64,
                counter: Some((first, increase)),
                start: None,
            }
            .factor(start, end)
                / per_second;
        }
        row.values[step] = increase * by;
        set_bit(&mut row.valid, step);
    }
}

/// Adds the resets that start timestamps tell of, and notes starts that lie before the sample before them.
fn add_start_resets(input: &Input<'_>, scratch: &mut Scratch, notes: &mut Notes) {
    let Columns { times, values, starts, .. } = input.columns;
    scratch.resets.clear();
    for index in 1..values.len() {
        let by_start = start_reset(starts[index - 1], times[index - 1], starts[index], times[index]);
        if by_start || values[index] < values[index - 1] {
            scratch.resets.push((index as u32, values[index - 1]));
        }
        if start_overlap(starts[index - 1], times[index - 1], starts[index])
            && in_one_window(input.bounds, index as u32)
        {
            notes.add(Notes::START_OVERLAP);
        }
    }
}

/// Whether some window holds both this sample and the one before.
fn in_one_window(bounds: &Bounds, index: u32) -> bool {
    bounds.low.iter().zip(&bounds.high).any(|(&low, &high)| low < index && index < high)
}

/// `better` decides whether a newer value makes an older one irrelevant.
#[inline]
fn extremes(input: &Input<'_>, row: &mut Row, scratch: &mut Scratch, better: impl Fn(f64, f64) -> bool) {
    let values = &input.columns.values;
    let deque = &mut scratch.deque;
    deque.clear();
    let mut front = 0;
    let mut next = 0;
    for (step, (&low, &high)) in input.bounds.low.iter().zip(&input.bounds.high).enumerate() {
        if low >= high {
            continue;
        }
        next = next.max(low);
        while next < high {
            let value = values[next as usize];
            // NaN is an extreme only of nothing but NaN.
            if !value.is_nan() {
                while deque.len() > front
                    && deque.last().is_some_and(|&at| better(value, values[at as usize]))
                {
                    deque.pop();
                }
                deque.push(next);
            }
            next += 1;
        }
        while front < deque.len() && deque[front] < low {
            front += 1;
        }
        row.set(step, deque.get(front).map_or(f64::NAN, |&at| values[at as usize]));
    }
}

/// The newest sample of each window that has one, unless it is a staleness marker.
pub(crate) fn newest(values: &[f64], bounds: &Bounds, row: &mut Row) {
    let mut all = true;
    for (step, (&low, &high)) in bounds.low.iter().zip(&bounds.high).enumerate() {
        if low < high {
            row.values[step] = values[high as usize - 1];
        } else {
            all = false;
        }
    }
    if all {
        fill_bits(&mut row.valid, row.values.len());
        return;
    }
    for (step, (&low, &high)) in bounds.low.iter().zip(&bounds.high).enumerate() {
        if low < high {
            set_bit(&mut row.valid, step);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::matrix::{Grid, bit};
    use super::super::range::{Frame, Output, call};
    use super::super::window::{Reference, Windows};
    use super::*;

    const FUNCTIONS: [FunctionId; 15] = [
        FunctionId::Rate,
        FunctionId::Increase,
        FunctionId::Delta,
        FunctionId::MaxOverTime,
        FunctionId::MinOverTime,
        FunctionId::SumOverTime,
        FunctionId::AvgOverTime,
        FunctionId::StdvarOverTime,
        FunctionId::StddevOverTime,
        FunctionId::QuantileOverTime,
        FunctionId::LastOverTime,
        FunctionId::FirstOverTime,
        FunctionId::CountOverTime,
        FunctionId::PresentOverTime,
        FunctionId::AbsentOverTime,
    ];

    prop_compose! {
        fn series()(gaps in prop::collection::vec((1i64..40_000, -3i32..9, prop::option::weighted(0.1, 0i64..30_000)), 0..60), with_starts in any::<bool>())
            -> Columns
        {
            let mut columns = Columns::default();
            let mut time = 0;
            for (gap, value, start) in gaps {
                time += gap;
                columns.times.push(time);
                columns.values.push(match value { -3 => f64::NAN, -2 => f64::INFINITY, v => f64::from(v) * 1.1 });
                if with_starts {
                    columns.starts.push(start.map_or(0, |back| time - back));
                }
            }
            columns
        }
    }

    proptest! {
        /// The kernels against a scan of each window.
        #[test]
        fn kernels_agree_with_window_scans(
            columns in series(), start in -50_000i64..300_000, step in 1i64..90_000, count in 1usize..40,
            range in 1i64..200_000, which in 0..FUNCTIONS.len(), q in -0.2f64..1.2,
        ) {
            let function = FUNCTIONS[which];
            let grid = Grid { start, step, count };
            let windows = Windows::new(Reference { fixed: None, offset: 0 }, range, None, 300_000);
            let mut bounds = Bounds::default();
            bounds.fill(&columns.times, &grid, &windows);
            let mut row = Row::default();
            row.reset(count);
            let mut notes = Notes::default();
            let input = Input { columns: &columns, bounds: &bounds, first_range: (start - range, start), step };
            prop_assert!(run(function, &input, &[Scalar::Same(q)], &mut row, &mut Scratch::default(), &mut notes));
            let mut naive_notes = Notes::default();
            for index in 0..count {
                let at = grid.at(index);
                let inside: Vec<_> = (0..columns.times.len())
                    .filter(|&i| columns.times[i] > at - range && columns.times[i] <= at)
                    .collect();
                let (low, high) = inside.first().map_or((0, 0), |&low| (low as u32, low as u32 + inside.len() as u32));
                let frame = Frame { function, extend: None, start: at - range, end: at, at, args: [q, 0.0] };
                let window = columns.window((low, high), (0, 0));
                let naive = if high > low { call(&frame, &window, &mut naive_notes) } else { None };
                let got = bit(&row.valid, index).then(|| row.values[index]);
                let same = match (&naive, got) {
                    (None, None) => true,
                    (Some(Output::Float(a)), Some(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
                    _ => false,
                };
                prop_assert!(same, "{function:?} at {at}: {naive:?} {got:?}");
            }
            prop_assert_eq!(notes, naive_notes);
        }
    }
}
