//! Cutting off the observations above or below a value, as the operators `</` and `>/` do.
//!
//! A bucket that holds the value is divided by the same interpolation as for quantiles. The sum is estimated anew from what
//! is left, each bucket's observations being worth its middle (the geometric one in exponential buckets); nothing changes
//! when nothing is cut off.

use model::Histogram;

use super::buckets::{Bucket, Kind, negative, positive};
use super::compact;
use crate::kahan;

/// Which observations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those below the value (`</`).
    Below,
    /// Those above the value (`>/`).
    Above,
}

/// What stays of a bucket: how many observations, and what each is worth.
struct Kept {
    count: f64,
    worth: f64,
}

/// Removes all observations that are not on the side of `at` that `keep` names.
pub fn trim(histogram: &mut Histogram, at: f64, keep: Keep) {
    let custom = histogram.is_custom();
    let mut changed = false;
    let (mut count, mut sum, mut lost) = (0.0, 0.0, 0.0);
    let mut take = |bucket: &Bucket, kept: Kept| {
        changed |= kept.count != bucket.count;
        count += kept.count;
        if kept.count != 0.0 {
            (sum, lost) = kahan::add(kept.count * kept.worth, sum, lost);
        }
        kept.count
    };
    let original = histogram.clone();
    for (buckets, counts) in [
        (positive(&original).collect::<Vec<_>>(), &mut histogram.positive),
        (negative(&original).collect::<Vec<_>>(), &mut histogram.negative),
    ] {
        for (bucket, count) in buckets.iter().zip(counts) {
            if bucket.count != 0.0 {
                *count = take(bucket, divide(bucket, at, keep, custom));
            }
        }
    }
    if histogram.zero_count > 0.0 {
        // With observations on one side only, the zero bucket is taken to reach to that side only.
        let (only_positive, only_negative) = (
            original.negative.is_empty() && !original.positive.is_empty(),
            original.positive.is_empty() && !original.negative.is_empty(),
        );
        let threshold = histogram.zero_threshold;
        let zero = Bucket {
            lower: if only_positive { 0.0 } else { -threshold },
            upper: if only_negative { 0.0 } else { threshold },
            count: histogram.zero_count,
            kind: Kind::Zero,
        };
        histogram.zero_count = take(&zero, divide(&zero, at, keep, true));
    }
    if changed {
        histogram.count = count;
        histogram.sum = sum + lost;
    }
    compact(histogram);
}

/// What stays of a bucket. `even`: observations are spread evenly rather than exponentially.
fn divide(bucket: &Bucket, at: f64, keep: Keep, even: bool) -> Kept {
    let mut bucket = *bucket;
    if bucket.lower == f64::NEG_INFINITY {
        match keep {
            Keep::Below if at == f64::INFINITY || at >= bucket.upper => {}
            Keep::Above if at == f64::NEG_INFINITY => {}
            _ if bucket.upper == f64::INFINITY => return Kept { count: 0.0, worth: 0.0 },
            // What lies below zero is not known to be above the value.
            Keep::Above if bucket.upper <= 0.0 || at < 0.0 => return Kept { count: 0.0, worth: 0.0 },
            Keep::Below if bucket.upper <= 0.0 => return Kept { count: bucket.count, worth: at },
            Keep::Below | Keep::Above => {}
        }
        if bucket.upper <= 0.0 || bucket.upper == f64::INFINITY {
            let worth = if bucket.upper == f64::INFINITY { 0.0 } else { bucket.upper };
            return Kept { count: bucket.count, worth };
        }
        // Observations are taken to be positive where they may be.
        bucket.lower = 0.0;
    } else if bucket.upper == f64::INFINITY {
        return match keep {
            Keep::Below if at == f64::INFINITY => Kept { count: bucket.count, worth: bucket.lower },
            Keep::Above if at < f64::INFINITY => Kept { count: bucket.count, worth: bucket.lower.max(at) },
            Keep::Below | Keep::Above => Kept { count: 0.0, worth: 0.0 },
        };
    }
    let (lower, upper) = match keep {
        Keep::Below => (bucket.lower, bucket.upper.min(at)),
        Keep::Above => (bucket.lower.max(at), bucket.upper),
    };
    let whole = (lower, upper) == (bucket.lower, bucket.upper);
    // False for a NaN, too: nothing is above or below that.
    let some = lower < upper || (whole && lower == upper);
    if !some || at.is_nan() {
        return Kept { count: 0.0, worth: 0.0 };
    }
    let below = if whole { 1.0 } else { share_below(&bucket, at, even) };
    let share = if whole || keep == Keep::Below { below } else { 1.0 - below };
    let worth = if even {
        (lower + upper) / 2.0
    } else {
        let middle = (lower.abs() * upper.abs()).sqrt();
        if bucket.kind == Kind::Negative { -middle } else { middle }
    };
    Kept { count: bucket.count * share, worth }
}

/// The share of `bucket`'s observations below `at`, which lies in it.
fn share_below(bucket: &Bucket, at: f64, even: bool) -> f64 {
    if even {
        return (at - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let (lower, upper, at) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), at.abs().log2());
    match bucket.kind {
        Kind::Negative => 1.0 - (at - upper) / (lower - upper),
        Kind::Positive | Kind::Zero => (at - lower) / (upper - lower),
    }
}
