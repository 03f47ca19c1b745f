//! Compensated summation: a running sum and the rounding error that it has lost so far.
//!
//! Neumaier's variant of Kahan's algorithm, as Prometheus uses it, so that sums agree with its to the last bit.
//! Source: A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen" (1974).

/// Adds `x` to the sum `(sum, lost)`. The exact sum is closest to `sum + lost`; an infinite sum loses nothing.
#[inline]
pub fn add(x: f64, sum: f64, lost: f64) -> (f64, f64) {
    let total = sum + x;
    // Selections rather than branches: several sums are added up side by side.
    let (large, small) = if sum.abs() >= x.abs() { (sum, x) } else { (x, sum) };
    let more = lost + ((large - total) + small);
    (total, if total.is_infinite() { 0.0 } else { more })
}

/// The compensated sum of `values`; infinities win over the compensation.
pub fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0, 0.0);
    for &value in values {
        (sum, lost) = add(value, sum, lost);
    }
    if sum.is_infinite() { sum } else { sum + lost }
}

/// The mean of `values`, `None` when there are none. The sum is divided at the end; where it would overflow, the mean is
/// carried on incrementally from there.
pub fn mean(values: &[f64]) -> Option<f64> {
    let (&first, rest) = values.split_first()?;
    let mut mean = Mean::new(first);
    for &value in rest {
        mean.add(value);
    }
    Some(mean.value())
}

/// A mean that survives sums beyond the largest float.
#[derive(Clone, Copy, Debug)]
pub struct Mean {
    /// The sum, or the mean once `incremental`.
    sum: f64,
    lost: f64,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// The mean of one value.
    #[inline]
    pub fn new(first: f64) -> Self {
        Self { sum: first, lost: 0.0, count: 1.0, incremental: false }
    }

    /// The mean of no value, NaN until one is added.
    #[inline]
    pub fn empty() -> Self {
        Self { sum: -0.0, lost: 0.0, count: 0.0, incremental: false }
    }

    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            // An infinite first value is no overflow.
            self.sum = value;
            return;
        }
        if !self.incremental {
            let (sum, lost) = add(value, self.sum, self.lost);
            if !sum.is_infinite() {
                (self.sum, self.lost) = (sum, lost);
                return;
            }
            self.carry_on_incrementally(self.count - 1.0);
        }
        let weight = (self.count - 1.0) / self.count;
        (self.sum, self.lost) = add(value / self.count, weight * self.sum, weight * self.lost);
    }

    /// Adds all values of another mean.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = *other;
            return;
        }
        if !self.incremental && !other.incremental {
            let (sum, lost) = add(other.sum, self.sum, self.lost);
            if !sum.is_infinite() {
                (self.sum, self.lost) = (sum, lost + other.lost);
                self.count += other.count;
                return;
            }
        }
        let (mut right, left_count) = (*other, self.count);
        if !self.incremental {
            self.carry_on_incrementally(left_count);
        }
        if !right.incremental {
            right.carry_on_incrementally(right.count);
        }
        self.count += right.count;
        let (left_weight, right_weight) = (left_count / self.count, right.count / self.count);
        let (sum, lost) = add(right.sum * right_weight, self.sum * left_weight, self.lost * left_weight);
        (self.sum, self.lost) = (sum, lost + right.lost * right_weight);
    }

    fn carry_on_incrementally(&mut self, count: f64) {
        self.sum /= count;
        self.lost /= count;
        self.incremental = true;
    }

    /// The mean.
    #[inline]
    pub fn value(&self) -> f64 {
        if self.incremental { self.sum + self.lost } else { self.sum / self.count + self.lost / self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn the_mean_survives_an_overflowing_sum() {
        let huge = mean(&[f64::MAX, f64::MAX, f64::MAX]).unwrap();
        assert!((huge / f64::MAX - 1.0).abs() < 1e-15);
        assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn merged_means_are_the_mean_of_all() {
        for values in [vec![1.0, 5.0, 3.0, 7.0], vec![f64::MAX, f64::MAX, f64::MAX, f64::MAX]] {
            let mut left = Mean::new(values[0]);
            left.add(values[1]);
            let mut right = Mean::new(values[2]);
            right.add(values[3]);
            left.merge(&right);
            assert!((left.value() / mean(&values).unwrap() - 1.0).abs() < 1e-15);
        }
    }
}
