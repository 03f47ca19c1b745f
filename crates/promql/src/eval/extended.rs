//! Ranges whose ends have values of their own: `anchored` takes the sample before an end, `smoothed` lies on the line through the
//! samples around it.

use model::Histogram;
use model::histogram::ResetHint;

use super::notes::Notes;
use super::range::{Frame, Output};
use super::window::{Columns, Window};
use crate::ast::Extend;
use crate::functions::FunctionId;
use crate::histogram as hist;
use crate::histogram::MixedSchemas;

/// The value at `at` on the line between two samples; a counter that was reset starts from 0.
pub(crate) fn interpolate(from: (i64, f64), to: (i64, f64), at: i64, counter: bool) -> f64 {
    let start = if counter && to.1 < from.1 { 0.0 } else { from.1 };
    start + (to.1 - start) * (at - from.0) as f64 / (to.0 - from.0) as f64
}

/// First and last sample that matter, `None` when the range shows nothing.
fn extended_ends(frame: &Frame, times: &[i64]) -> Option<(usize, usize)> {
    let smoothed = frame.extend == Some(Extend::Smoothed);
    let last = times.len() - 1;
    let first = times[..last].partition_point(|&time| time <= frame.start).saturating_sub(1);
    let last = if smoothed { times[..last].partition_point(|&time| time < frame.end) } else { last };
    let nothing = times[last] <= frame.start || (smoothed && times[first] > frame.end);
    (!nothing).then_some((first, last))
}

/// The values at both ends of the range, of an `anchored` or `smoothed` selector.
pub(crate) fn extended_values(
    times: &[i64],
    values: &[f64],
    (first, last): (usize, usize),
    (start, end): (i64, i64),
    smoothed: bool,
    counter: bool,
) -> (f64, f64) {
    let at = |index: usize| (times[index], values[index]);
    let left = if smoothed && times[first] < start {
        interpolate(at(first), at(first + 1), start, counter)
    } else {
        values[first]
    };
    let right = if smoothed && last > 0 && times[last] > end {
        interpolate(at(last - 1), at(last), end, counter)
    } else {
        values[last]
    };
    (left, right)
}

pub(super) fn extended_floats(frame: &Frame, w: &Window<'_>) -> Option<Output> {
    let (first, last) = extended_ends(frame, w.times)?;
    let smoothed = frame.extend == Some(Extend::Smoothed);
    let counter = frame.is_counter();
    let (left, right) =
        extended_values(w.times, w.values, (first, last), (frame.start, frame.end), smoothed, counter);
    let mut increase = right - left;
    if counter {
        // The ends have taken account of resets around them.
        let inside = first + usize::from(w.times[first] <= frame.start)
            ..(last + 1).saturating_sub(usize::from(w.times[last] >= frame.end));
        let mut previous = left;
        for &value in w.values.get(inside).unwrap_or_default() {
            if value < previous {
                increase += previous;
            }
            previous = value;
        }
        if right < previous {
            increase += previous;
        }
    }
    if frame.is_rate() {
        increase /= frame.range_seconds();
    }
    Some(increase.into())
}

/// [`interpolate`] for histograms.
pub(crate) fn interpolate_histograms(
    (from_time, from): (i64, &Histogram),
    (to_time, to): (i64, &Histogram),
    at: i64,
    counter: bool,
    notes: &mut Notes,
) -> Result<Histogram, MixedSchemas> {
    if at == from_time {
        return Ok(from.clone());
    }
    let mut result = to.clone();
    if at == to_time {
        return Ok(result);
    }
    let fraction = (at - from_time) as f64 / (to_time - from_time) as f64;
    if counter && hist::is_reset(to, from) {
        hist::scale(&mut result, fraction);
        return Ok(result);
    }
    notes.reconciled(hist::subtract(&mut result, from)?, Notes::RECONCILED_SUB);
    hist::scale(&mut result, fraction);
    notes.reconciled(hist::add(&mut result, from)?, Notes::RECONCILED_ADD);
    Ok(result)
}

pub(super) fn extended_histograms(frame: &Frame, w: &Window<'_>, notes: &mut Notes) -> Option<Output> {
    let (times, all) = (w.histogram_times, w.histograms);
    let (first, last) = extended_ends(frame, times)?;
    let smoothed = frame.extend == Some(Extend::Smoothed);
    let counter = frame.is_counter();
    for histogram in &all[first..=last] {
        if histogram.is_custom() != all[first].is_custom() {
            notes.add(Notes::MIXED_SCHEMAS);
            return None;
        }
        if counter && histogram.reset_hint == ResetHint::Gauge {
            notes.add(Notes::NOT_COUNTER);
        }
    }
    let at = |index: usize| (times[index], &*all[index]);
    let mut end_value = |index: usize, between: Option<(usize, usize)>, time: i64| match between {
        Some((from, to)) => interpolate_histograms(at(from), at(to), time, counter, notes).ok(),
        None => Some((*all[index]).clone()),
    };
    let left = end_value(
        first,
        (smoothed && times[first] < frame.start).then_some((first, first + 1)),
        frame.start,
    )?;
    let right = end_value(
        last,
        (smoothed && last > 0 && times[last] > frame.end).then(|| (last - 1, last)),
        frame.end,
    )?;
    if !counter && (left.reset_hint != ResetHint::Gauge || right.reset_hint != ResetHint::Gauge) {
        notes.add(Notes::NOT_GAUGE);
    }
    let mut increase = right.clone();
    notes.reconciled(hist::subtract(&mut increase, &left).ok()?, Notes::RECONCILED_SUB);
    if counter {
        // A reset that the left end was interpolated over is accounted for.
        let mut next = first + 1;
        let mut previous = &left;
        if smoothed && times[first] < frame.start && hist::is_reset(&all[first + 1], &all[first]) {
            previous = &all[first + 1];
            next += 1;
        }
        if next <= last {
            let mut lost = Vec::new();
            for histogram in &all[next..last] {
                if hist::is_reset(histogram, previous) {
                    lost.push(previous);
                }
                previous = histogram;
            }
            if hist::is_reset(&right, previous) {
                lost.push(previous);
            }
            for histogram in lost {
                notes.reconciled(hist::add(&mut increase, histogram).ok()?, Notes::RECONCILED_ADD);
            }
        }
    }
    if frame.is_rate() {
        hist::divide(&mut increase, frame.range_seconds());
    }
    increase.reset_hint = ResetHint::Gauge;
    hist::compact(&mut increase);
    Some(increase.into())
}

/// The samples of a range vector as an instant query shows them: with `anchored` or `smoothed`, the ends have points too.
pub(crate) fn extend_points(
    columns: &Columns,
    extend: Option<Extend>,
    (start, end): (i64, i64),
) -> Option<Vec<(i64, f64)>> {
    let (times, values) = (&columns.times, &columns.values);
    let Some(extend) = extend else {
        return Some(times.iter().copied().zip(values.iter().copied()).collect());
    };
    if times.is_empty() {
        return None;
    }
    let frame =
        Frame { function: FunctionId::Delta, extend: Some(extend), start, end, at: end, args: [0.0; 2] };
    let (first, last) = extended_ends(&frame, times)?;
    let smoothed = extend == Extend::Smoothed;
    let (left, right) = extended_values(times, values, (first, last), (start, end), smoothed, false);
    let inside = first + usize::from(times[first] <= start)
        ..(last + 1).saturating_sub(usize::from(times[last] >= end));
    let mut points = vec![(start, left)];
    if inside.start < inside.end {
        points.extend(times[inside.clone()].iter().copied().zip(values[inside].iter().copied()));
    }
    points.push((end, right));
    Some(points)
}
