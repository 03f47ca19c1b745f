//! Cutting off the observations above or below a value, as the operators `</` and `>/` do.
//!
//! A bucket that holds the value is divided by the same interpolation as for quantiles. The sum is lowered by what the
//! removed observations probably amounted to.

use model::Histogram;

use super::buckets::{Bucket, Kind, negative, positive};
use super::compact;

/// Which observations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those below the value (`</`).
    Below,
    /// Those above the value (`>/`).
    Above,
}

/// Removes all observations that are not on the side of `at` that `keep` names.
pub fn trim(histogram: &mut Histogram, at: f64, keep: Keep) {
    let custom = histogram.is_custom();
    let mut kept_count = 0.0;
    let mut removed_sum = 0.0;
    let (mut any_positive, mut any_negative) = (false, false);

    let mut side = |buckets: Vec<Bucket>, counts: &mut [f64]| {
        for (bucket, count) in buckets.iter().zip(counts) {
            if bucket.count == 0.0 {
                continue;
            }
            if custom {
                any_positive |= bucket.upper > 0.0;
                any_negative |= bucket.upper <= 0.0 || bucket.lower < 0.0;
            } else {
                any_positive |= bucket.kind == Kind::Positive;
                any_negative |= bucket.kind == Kind::Negative;
            }
            let (kept, typical) = match keep {
                Keep::Below if bucket.upper <= at => (bucket.count, 0.0),
                Keep::Above if bucket.lower >= at => (bucket.count, 0.0),
                Keep::Below if bucket.lower < at => divide_bucket(bucket, at, keep, custom),
                Keep::Above if bucket.upper > at => divide_bucket(bucket, at, keep, custom),
                _ => (0.0, typical_value(bucket, at, keep, custom)),
            };
            removed_sum += (bucket.count - kept) * typical;
            kept_count += kept;
            *count = kept;
        }
    };
    side(positive(histogram).collect(), &mut histogram.positive);
    side(negative(histogram).collect(), &mut histogram.negative);

    if histogram.zero_count > 0.0 {
        let (lower, upper) = (-histogram.zero_threshold, histogram.zero_threshold);
        let zero = Bucket { lower, upper, count: histogram.zero_count, kind: Kind::Zero };
        let below = below(&zero, at, true);
        histogram.zero_count = match keep {
            Keep::Below => below,
            Keep::Above => histogram.zero_count - below,
        };
        kept_count += histogram.zero_count;
    }
    let mut sum = 0.0;
    if kept_count != 0.0 {
        sum = histogram.sum - removed_sum;
        if (!any_negative && sum < 0.0) || (!any_positive && sum > 0.0) {
            sum = 0.0;
        }
    }
    histogram.count = kept_count;
    histogram.sum = sum;
    compact(histogram);
}

/// What stays of a bucket that holds `at`, and the typical value of what goes.
fn divide_bucket(bucket: &Bucket, at: f64, keep: Keep, custom: bool) -> (f64, f64) {
    if bucket.lower.is_infinite() || bucket.upper.is_infinite() {
        return divide_endless(bucket, at, keep);
    }
    let below = below(bucket, at, custom);
    match keep {
        Keep::Below => (below, middle(at, bucket.upper, bucket, custom)),
        Keep::Above => (bucket.count - below, middle(bucket.lower, at, bucket, custom)),
    }
}

/// Observations of `bucket` below `at`.
fn below(bucket: &Bucket, at: f64, even: bool) -> f64 {
    if at <= bucket.lower {
        return 0.0;
    }
    if at >= bucket.upper {
        return bucket.count;
    }
    let share = if even {
        (at - bucket.lower) / (bucket.upper - bucket.lower)
    } else {
        let (lower, upper, at) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), at.abs().log2());
        match bucket.kind {
            Kind::Negative => 1.0 - (at - upper) / (lower - upper),
            Kind::Positive | Kind::Zero => (at - lower) / (upper - lower),
        }
    };
    bucket.count * share
}

fn middle(from: f64, to: f64, bucket: &Bucket, custom: bool) -> f64 {
    if custom {
        return (from + to) / 2.0;
    }
    let middle = (from.abs() * to.abs()).sqrt();
    if bucket.kind == Kind::Negative { -middle } else { middle }
}

/// A custom bucket that reaches to −∞ or +∞. Where a natural end of 0 does not help, its observations are all removed,
/// because nothing is known about where they are.
fn divide_endless(bucket: &Bucket, at: f64, keep: Keep) -> (f64, f64) {
    if bucket.lower == f64::NEG_INFINITY {
        if at >= 0.0 && bucket.upper > at && bucket.upper.is_finite() {
            return match keep {
                Keep::Below => (bucket.count * at / bucket.upper, (at + bucket.upper) / 2.0),
                Keep::Above => (bucket.count * (1.0 - at / bucket.upper), at / 2.0),
            };
        }
        return (0.0, bucket.upper);
    }
    (0.0, bucket.lower)
}

/// The typical value of a bucket that is removed as a whole.
fn typical_value(bucket: &Bucket, at: f64, keep: Keep, custom: bool) -> f64 {
    if bucket.lower.is_infinite() || bucket.upper.is_infinite() {
        return divide_endless(bucket, at, keep).1;
    }
    middle(bucket.lower, bucket.upper, bucket, custom)
}
