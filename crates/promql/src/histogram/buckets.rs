//! Bucket bounds and the order of buckets.

use model::Histogram;
use model::histogram::Span;

/// On which side of zero a bucket lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[lower, upper)` below zero.
    Negative,
    /// `[-threshold, threshold]`.
    Zero,
    /// `(lower, upper]` above zero, or any custom bucket.
    Positive,
}

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The lower bound, −∞ for the first custom bucket.
    pub lower: f64,
    /// The upper bound, +∞ for the last custom bucket.
    pub upper: f64,
    /// Observations in it.
    pub count: f64,
    /// Which side of zero.
    pub kind: Kind,
}

/// Index and count of each bucket of one side, ascending.
#[derive(Clone)]
pub(crate) struct Runs<'a> {
    spans: std::slice::Iter<'a, Span>,
    counts: std::slice::Iter<'a, f64>,
    index: i32,
    left: u32,
}

pub(crate) fn runs<'a>(spans: &'a [Span], counts: &'a [f64]) -> Runs<'a> {
    Runs { spans: spans.iter(), counts: counts.iter(), index: 0, left: 0 }
}

impl Iterator for Runs<'_> {
    type Item = (i32, f64);

    #[inline]
    fn next(&mut self) -> Option<(i32, f64)> {
        while self.left == 0 {
            let span = self.spans.next()?;
            self.index = self.index.wrapping_add(span.offset);
            self.left = span.length;
        }
        let count = *self.counts.next()?;
        let index = self.index;
        self.left -= 1;
        self.index = index.wrapping_add(1);
        Some((index, count))
    }
}

/// `fraction` × 2^`exponent`, exact as long as the result is a normal float.
fn scale_by_power_of_two(fraction: f64, exponent: i64) -> f64 {
    // Two steps, because 2^1024 alone is infinite and 2^-1074 alone loses its precision.
    let half = (exponent / 2).clamp(-1100, 1100) as i32;
    let rest = (exponent - i64::from(half)).clamp(-1100, 1100) as i32;
    fraction * 2f64.powi(half) * 2f64.powi(rest)
}

/// The upper bound of the positive exponential bucket `index`.
pub fn bound(index: i32, schema: i32) -> f64 {
    if schema < 0 {
        let exponent = i64::from(index) << -schema;
        // The last bucket before that of the infinities ends at the largest float.
        return if exponent == 1024 { f64::MAX } else { scale_by_power_of_two(1.0, exponent) };
    }
    let steps = 1i32 << schema;
    let fraction = 2f64.powf(f64::from(index & (steps - 1)) / f64::from(steps)) * 0.5;
    let exponent = i64::from(index >> schema) + 1;
    if fraction == 0.5 && exponent == 1025 { f64::MAX } else { scale_by_power_of_two(fraction, exponent) }
}

/// The bounds of positive-side bucket `index`.
pub(crate) fn bounds(histogram: &Histogram, index: i32) -> (f64, f64) {
    if histogram.is_custom() {
        let at = |i: i32| usize::try_from(i).ok().and_then(|i| histogram.custom_values.get(i)).copied();
        let upper = at(index).unwrap_or(f64::INFINITY);
        return (at(index - 1).unwrap_or(f64::NEG_INFINITY), upper);
    }
    (bound(index.saturating_sub(1), histogram.schema), bound(index, histogram.schema))
}

/// Positive-side buckets, ascending, with their true bounds.
pub(crate) fn positive(histogram: &Histogram) -> impl Iterator<Item = Bucket> {
    runs(&histogram.positive_spans, &histogram.positive).map(|(index, count)| {
        let (lower, upper) = bounds(histogram, index);
        Bucket { lower, upper, count, kind: Kind::Positive }
    })
}

/// Negative-side buckets from zero downwards, with their true bounds.
pub(crate) fn negative(histogram: &Histogram) -> impl Iterator<Item = Bucket> {
    runs(&histogram.negative_spans, &histogram.negative).map(|(index, count)| {
        let (lower, upper) = bounds(histogram, index);
        Bucket { lower: -upper, upper: -lower, count, kind: Kind::Negative }
    })
}

/// All buckets from the lowest to the highest, the zero bucket only when something is in it. Buckets that reach into the
/// zero bucket are cut at its threshold.
pub fn ascending(histogram: &Histogram) -> Vec<Bucket> {
    let mut all: Vec<Bucket> = negative(histogram).collect();
    all.reverse();
    if histogram.zero_count > 0.0 {
        let threshold = histogram.zero_threshold;
        all.push(Bucket {
            lower: -threshold,
            upper: threshold,
            count: histogram.zero_count,
            kind: Kind::Zero,
        });
    }
    all.extend(positive(histogram));
    let threshold = histogram.zero_threshold;
    for bucket in &mut all {
        match bucket.kind {
            Kind::Negative if bucket.upper < 0.0 && bucket.upper > -threshold => bucket.upper = -threshold,
            Kind::Positive if bucket.lower > 0.0 && bucket.lower < threshold => bucket.lower = threshold,
            _ => {}
        }
    }
    all
}

/// [`ascending`], reversed.
pub fn descending(histogram: &Histogram) -> Vec<Bucket> {
    let mut all = ascending(histogram);
    all.reverse();
    all
}
