//! Quantiles, fractions and moments of the observations in a histogram.
//!
//! Within an exponential bucket observations are taken to be spread so that the buckets of any finer schema would hold
//! equally many; within the zero bucket and custom buckets they are spread evenly.

use model::Histogram;

use super::buckets::{Bucket, Kind, ascending, descending};
use crate::kahan;

/// How NaN observations, which are in no bucket, have changed a result. A NaN sum betrays them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NanObservations {
    /// There are none.
    None,
    /// The quantile is higher than that of the other observations, or the fractions do not add up to 1.
    Skew,
    /// The quantile lies among them.
    Result,
}

/// The value below which the fraction `q` of the observations lies. NaN without observations or for a NaN `q`, −∞ for
/// `q` < 0, +∞ for `q` > 1.
pub fn quantile(q: f64, histogram: &Histogram) -> (f64, NanObservations) {
    let mut nans = NanObservations::None;
    if q < 0.0 {
        return (f64::NEG_INFINITY, nans);
    }
    if q > 1.0 {
        return (f64::INFINITY, nans);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, nans);
    }
    // From the nearer end, so that rounding errors stay small. NaN observations are at the far end of neither.
    let forward = histogram.sum.is_nan() || q < 0.5;
    let (buckets, mut rank) = if forward {
        (ascending(histogram), q * histogram.count)
    } else {
        (descending(histogram), (1.0 - q) * histogram.count)
    };
    let mut bucket = Bucket { lower: 0.0, upper: 0.0, count: 0.0, kind: Kind::Zero };
    let mut count = 0.0;
    for next in buckets {
        bucket = next;
        count += bucket.count;
        if bucket.count != 0.0 && count >= rank {
            break;
        }
    }
    if histogram.is_custom() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, nans);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, nans);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        one_sided_zero_bucket(histogram, &mut bucket);
    }
    count = count.min(histogram.count);
    if count < rank {
        if histogram.sum.is_nan() {
            return (f64::NAN, NanObservations::Result);
        }
        return (bucket.upper, nans);
    }
    if histogram.sum.is_nan() {
        nans = NanObservations::Skew;
    }
    rank = if forward { rank - (count - bucket.count) } else { count - rank };
    let fraction = rank / bucket.count;
    if histogram.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return (bucket.lower + (bucket.upper - bucket.lower) * fraction, nans);
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let value = if bucket.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    };
    (value, nans)
}

/// With observations on one side of zero only, the zero bucket is taken to reach to that side only.
fn one_sided_zero_bucket(histogram: &Histogram, bucket: &mut Bucket) {
    match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

/// The fraction of observations between `lower` and `upper`; NaN without observations or for NaN bounds, 0 when `lower` is
/// not below `upper`. Observations of NaN are part of the whole but of no fraction.
pub fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> (f64, NanObservations) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, NanObservations::None);
    }
    if lower >= upper {
        return (0.0, NanObservations::None);
    }
    let buckets = ascending(histogram);
    let (inside, nans) = if histogram.sum.is_nan() {
        (buckets.iter().map(|bucket| bucket.count).sum(), NanObservations::Skew)
    } else {
        (histogram.count, NanObservations::None)
    };
    let rank = |value: f64| {
        let mut below = 0.0;
        for mut bucket in buckets.iter().copied() {
            let mut even = histogram.is_custom();
            if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                even = true;
                one_sided_zero_bucket(histogram, &mut bucket);
            }
            if bucket.lower >= value {
                return below;
            }
            if bucket.upper > value {
                if bucket.lower == f64::NEG_INFINITY {
                    // Nothing is known about where in it they are.
                    return bucket.count.min(inside);
                }
                let share = if even {
                    (value - bucket.lower) / (bucket.upper - bucket.lower)
                } else {
                    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
                    let at = value.abs().log2();
                    if value > 0.0 {
                        (at - lower) / (upper - lower)
                    } else {
                        1.0 - (at - upper) / (lower - upper)
                    }
                };
                return (below + bucket.count * share).min(inside);
            }
            below += bucket.count;
        }
        inside
    };
    ((rank(upper) - rank(lower)) / histogram.count, nans)
}

/// The variance of the observations, each taken to be in the middle of its bucket (geometrically for exponential buckets).
pub fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let (mut sum, mut lost) = (0.0, 0.0);
    for bucket in ascending(histogram) {
        if bucket.count == 0.0 {
            continue;
        }
        let value = if histogram.is_custom() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = value - mean;
        (sum, lost) = kahan::add(bucket.count * delta * delta, sum, lost);
    }
    (sum + lost) / histogram.count
}
