//! What counts as equal in a script.

use model::{Histogram, is_stale};

use crate::histogram::compact;

/// Relative difference that is allowed.
const EPSILON: f64 = 1e-6;

/// Whether two numbers are equal but for rounding. A staleness marker equals only itself, any other NaN all other NaNs.
pub(super) fn floats(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (difference, sum) = ((a - b).abs(), a.abs() + b.abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

/// Whether two histograms are equal but for rounding, empty buckets and, unless `with_hint`, the counter reset hint.
pub(super) fn histograms(expected: &Histogram, found: &Histogram, with_hint: bool) -> bool {
    let (mut a, mut b) = (expected.clone(), found.clone());
    compact(&mut a);
    compact(&mut b);
    let all = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(&a, &b)| floats(a, b));
    a.schema == b.schema
        && floats(a.count, b.count)
        && floats(a.sum, b.sum)
        && (a.is_custom() || a.zero_threshold == b.zero_threshold && floats(a.zero_count, b.zero_count))
        && all(&a.custom_values, &b.custom_values)
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && all(&a.positive, &b.positive)
        && all(&a.negative, &b.negative)
        && (!with_hint || a.reset_hint == b.reset_hint)
}

#[cfg(test)]
mod tests {
    use model::histogram::{ResetHint, Span};

    use super::*;

    #[test]
    fn numbers_may_differ_by_a_millionth() {
        let stale = f64::from_bits(model::STALE_NAN);
        for (a, b, equal) in [
            (1.0, 1.000_001, true),
            (1.0, 1.000_01, false),
            (0.0, 1e-300, false),
            (0.0, -0.0, true),
            (f64::NAN, f64::NAN, true),
            (f64::NAN, 1.0, false),
            (f64::NAN, stale, false),
            (stale, stale, true),
            (f64::INFINITY, f64::INFINITY, true),
            (f64::INFINITY, 1.0, false),
            (f64::MAX, f64::MAX / 2.0, false),
        ] {
            assert_eq!(floats(a, b), equal, "{a} {b}");
            assert_eq!(floats(b, a), equal, "{b} {a}");
        }
    }

    #[test]
    fn empty_buckets_do_not_matter() {
        let histogram = |offset, buckets: &[f64]| Histogram {
            positive_spans: vec![Span { offset, length: buckets.len() as u32 }],
            positive: buckets.to_vec(),
            ..Histogram::default()
        };
        let a = histogram(0, &[0.0, 1.0, 0.0, 2.0, 0.0]);
        let mut b = histogram(1, &[1.0, 0.0, 2.0]);
        assert!(histograms(&a, &b, true));
        b.reset_hint = ResetHint::Gauge;
        assert!(histograms(&a, &b, false) && !histograms(&a, &b, true));
        assert!(!histograms(&a, &histogram(1, &[1.0, 2.0]), false));
    }
}
