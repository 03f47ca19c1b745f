//! Arithmetic on native histograms.
//!
//! Every operation works on [`model::Histogram`]: exponential buckets of any schema, or custom bounds. Two histograms can be
//! combined when both are exponential (the finer is reduced to the coarser schema, the narrower zero bucket is widened) or
//! both have custom bounds (both are reduced to the bounds that they share). Anything else is [`MixedSchemas`].
//! Source: the Prometheus native histogram specification, <https://prometheus.io/docs/specs/native_histograms/>.
//!
//! | module | holds |
//! |---|---|
//! | here | compaction, schema reduction, reset detection, equality, scaling |
//! | [`buckets`] | bucket bounds and iteration |
//! | [`combine`] | addition and subtraction, with or without compensation, and sums and means of many |
//! | [`quantile`] | quantile, fraction, mean and variance of the observations |
//! | [`trim`] | cutting observations above or below a value |

pub mod buckets;
pub mod combine;
pub mod quantile;
#[cfg(test)]
mod tests;
pub mod trim;

use model::Histogram;
use model::histogram::{ResetHint, Span};

pub use buckets::{Bucket, ascending, descending};
pub use combine::{Combined, Mean, Sum, add, subtract};

use buckets::{Runs, bound, runs};

/// Exponential and custom buckets cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("histograms with exponential and with custom buckets cannot be combined")]
pub struct MixedSchemas;

/// Appends buckets in ascending order of their index and keeps the spans as few as possible.
#[derive(Default)]
pub(crate) struct Side {
    pub(crate) spans: Vec<Span>,
    pub(crate) counts: Vec<f64>,
    next: i32,
}

impl Side {
    pub(crate) fn push(&mut self, index: i32, count: f64) {
        match self.spans.last_mut() {
            Some(span) if index == self.next => span.length += 1,
            Some(_) => self.spans.push(Span { offset: index - self.next, length: 1 }),
            None => self.spans.push(Span { offset: index, length: 1 }),
        }
        self.counts.push(count);
        self.next = index + 1;
    }
}

/// Removes all empty buckets.
pub fn compact(histogram: &mut Histogram) {
    for (spans, counts) in [
        (&mut histogram.positive_spans, &mut histogram.positive),
        (&mut histogram.negative_spans, &mut histogram.negative),
    ] {
        let tidy = spans.iter().enumerate().all(|(i, span)| span.length > 0 && (i == 0 || span.offset > 0));
        if tidy && counts.iter().all(|&count| count != 0.0) {
            continue;
        }
        let mut side = Side::default();
        for (index, count) in runs(spans, counts) {
            if count != 0.0 {
                side.push(index, count);
            }
        }
        (*spans, *counts) = (side.spans, side.counts);
    }
}

/// The index in `target` of the bucket that holds the bucket `index` of `schema`; `target` must be the coarser.
pub(crate) fn coarser_index(index: i32, schema: i32, target: i32) -> i32 {
    ((index - 1) >> (schema - target)) + 1
}

pub(crate) fn coarser_side(spans: &[Span], counts: &[f64], schema: i32, target: i32) -> Side {
    let mut side = Side::default();
    for (index, count) in runs(spans, counts) {
        let index = coarser_index(index, schema, target);
        if !side.counts.is_empty() && side.next == index + 1 {
            *side.counts.last_mut().expect("a bucket was pushed") += count;
        } else {
            side.push(index, count);
        }
    }
    side
}

/// Reduces an exponential histogram to a coarser `schema`; does nothing when it is as coarse already, or custom.
pub fn reduce(histogram: &mut Histogram, schema: i32) {
    if histogram.is_custom() || histogram.schema <= schema {
        return;
    }
    for (spans, counts) in [
        (&mut histogram.positive_spans, &mut histogram.positive),
        (&mut histogram.negative_spans, &mut histogram.negative),
    ] {
        let side = coarser_side(spans, counts, histogram.schema, schema);
        (*spans, *counts) = (side.spans, side.counts);
    }
    histogram.schema = schema;
}

/// Multiplies all counts and the sum. A negative factor makes a gauge of it.
pub fn scale(histogram: &mut Histogram, factor: f64) {
    for value in values_mut(histogram) {
        *value *= factor;
    }
    if factor < 0.0 {
        histogram.reset_hint = ResetHint::Gauge;
    }
}

/// Divides all counts and the sum. Dividing by zero leaves no buckets; a negative divisor makes a gauge of it.
pub fn divide(histogram: &mut Histogram, divisor: f64) {
    if divisor == 0.0 {
        histogram.positive.clear();
        histogram.negative.clear();
        histogram.positive_spans.clear();
        histogram.negative_spans.clear();
    }
    for value in values_mut(histogram) {
        *value /= divisor;
    }
    if divisor < 0.0 {
        histogram.reset_hint = ResetHint::Gauge;
    }
}

fn values_mut(histogram: &mut Histogram) -> impl Iterator<Item = &mut f64> {
    histogram.is_float = true;
    [&mut histogram.zero_count, &mut histogram.count, &mut histogram.sum]
        .into_iter()
        .chain(&mut histogram.positive)
        .chain(&mut histogram.negative)
}

/// Whether any of the counts or the sum is infinite.
pub fn overflows(histogram: &Histogram) -> bool {
    histogram.zero_count.is_infinite()
        || histogram.count.is_infinite()
        || histogram.sum.is_infinite()
        || histogram.positive.iter().chain(&histogram.negative).any(|count| count.is_infinite())
}

/// Whether both hold the same data: the same schema and bounds, and the same bits in every count and the sum. Empty spans do
/// not matter, empty buckets do.
pub fn same(a: &Histogram, b: &Histogram) -> bool {
    let bits = |a: f64, b: f64| a.to_bits() == b.to_bits();
    let side = |a_spans: &[Span], a: &[f64], b_spans: &[Span], b: &[f64]| {
        a.len() == b.len()
            && runs(a_spans, a).zip(runs(b_spans, b)).all(|(a, b)| a.0 == b.0 && bits(a.1, b.1))
    };
    a.schema == b.schema
        && bits(a.count, b.count)
        && bits(a.sum, b.sum)
        && a.custom_values == b.custom_values
        && a.zero_threshold == b.zero_threshold
        && bits(a.zero_count, b.zero_count)
        && side(&a.positive_spans, &a.positive, &b.positive_spans, &b.positive)
        && side(&a.negative_spans, &a.negative, &b.negative_spans, &b.negative)
}

/// Whether a counter was reset between `previous` and `current`: the hint says so, or some count has gone down, or the
/// layout has changed in a way that only a restart explains.
pub fn is_reset(current: &Histogram, previous: &Histogram) -> bool {
    match current.reset_hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if current.count < previous.count {
        return true;
    }
    if current.is_custom() != previous.is_custom() {
        // A finer schema follows: the custom one has the lowest number.
        return current.is_custom() || current.schema > previous.schema;
    }
    if current.is_custom() {
        return custom_reset(current, previous);
    }
    if current.schema > previous.schema || current.zero_threshold < previous.zero_threshold {
        return true;
    }
    let (zero_count, threshold) = combine::zero_count_at(previous, current.zero_threshold);
    if threshold != current.zero_threshold || current.zero_count < zero_count {
        return true;
    }
    side_reset(
        current,
        runs(&current.positive_spans, &current.positive),
        previous,
        (&previous.positive_spans, &previous.positive),
    ) || side_reset(
        current,
        runs(&current.negative_spans, &current.negative),
        previous,
        (&previous.negative_spans, &previous.negative),
    )
}

fn side_reset(
    current: &Histogram,
    now: Runs<'_>,
    previous: &Histogram,
    (spans, counts): (&[Span], &[f64]),
) -> bool {
    let reduced;
    let (spans, counts) = if previous.schema == current.schema {
        (spans, counts)
    } else {
        reduced = coarser_side(spans, counts, previous.schema, current.schema);
        (reduced.spans.as_slice(), reduced.counts.as_slice())
    };
    let mut now = now.peekable();
    for (index, before) in runs(spans, counts) {
        // What lies in the zero bucket has been compared with it.
        if before == 0.0 || bound(index, current.schema) <= current.zero_threshold {
            continue;
        }
        while now.next_if(|(i, _)| *i < index).is_some() {}
        match now.peek() {
            Some(&(i, count)) if i == index => {
                if count < before {
                    return true;
                }
            }
            _ => return true,
        }
    }
    false
}

/// Compares the counts between bounds that both have.
fn custom_reset(current: &Histogram, previous: &Histogram) -> bool {
    if current.custom_values == previous.custom_values {
        let mut now = runs(&current.positive_spans, &current.positive).peekable();
        return runs(&previous.positive_spans, &previous.positive).any(|(index, before)| {
            while now.next_if(|(i, _)| *i < index).is_some() {}
            let count = now.peek().filter(|(i, _)| *i == index).map_or(0.0, |(_, count)| *count);
            count < before
        });
    }
    let shared = combine::shared_bounds(&current.custom_values, &previous.custom_values);
    let now = combine::onto_bounds(current, &shared);
    let before = combine::onto_bounds(previous, &shared);
    now.iter().zip(&before).any(|(now, before)| now < before)
}

/// A histogram as Prometheus prints it: `{count:3, sum:2.5, [-0.001,0.001]:1, (0.5,1]:2}`. Empty buckets are left out.
pub fn describe(histogram: &Histogram) -> String {
    use std::fmt::Write;
    let number = crate::number::go_g;
    let mut text = format!("{{count:{}, sum:{}", number(histogram.count), number(histogram.sum));
    for bucket in ascending(histogram) {
        if bucket.count == 0.0 {
            continue;
        }
        let (open, close) = match bucket.kind {
            buckets::Kind::Zero => ('[', ']'),
            buckets::Kind::Negative => ('[', ')'),
            buckets::Kind::Positive if bucket.lower == f64::NEG_INFINITY => ('[', ']'),
            buckets::Kind::Positive => ('(', ']'),
        };
        let (lower, upper) = (number(bucket.lower), number(bucket.upper));
        write!(text, ", {open}{lower},{upper}{close}:{}", number(bucket.count))
            .expect("a string accepts all text");
    }
    text.push('}');
    text
}
