//! Compensated summation: a running sum and the rounding error that it has lost so far.
//!
//! Neumaier's variant of Kahan's algorithm, as Prometheus uses it, so that sums agree with its to the last bit.
//! Source: A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen" (1974).

/// Adds `x` to the sum `(sum, lost)`. The exact sum is closest to `sum + lost`; an infinite sum loses nothing.
#[inline]
pub fn add(x: f64, sum: f64, lost: f64) -> (f64, f64) {
    let total = sum + x;
    let more = lost + rounded_off(x, sum, total);
    (total, if total.is_infinite() { 0.0 } else { more })
}

/// What `total`, the rounded sum of `x` and `sum`, lacks: exactly, whichever of the two is larger, so that no comparison is
/// needed and several sums are added up side by side.
///
/// Source: D. E. Knuth, "The Art of Computer Programming", volume 2, 4.2.2, theorem B.
#[inline]
fn rounded_off(x: f64, sum: f64, total: f64) -> f64 {
    let added = total - sum;
    (sum - (total - added)) + (x - added)
}

/// Windows that are added up side by side: each addition waits for the one before it, so that one sum alone leaves most of
/// the processor idle.
pub(crate) const LANES: usize = 8;

/// The sums and what they lost of the windows of `len` values that begin at `starts`, each as [`add`] makes it, as long as
/// the sum of both is finite.
///
/// # Panics
/// When a window does not lie in `values`.
#[inline]
pub(crate) fn sums(values: &[f64], starts: [usize; LANES], len: usize) -> [(f64, f64); LANES] {
    let (mut sums, mut losts) = ([0.0; LANES], [0.0; LANES]);
    let mut add = |row: &[f64; LANES]| {
        for lane in 0..LANES {
            let (x, sum) = (row[lane], sums[lane]);
            sums[lane] = sum + x;
            losts[lane] += rounded_off(x, sum, sums[lane]);
        }
    };
    if (1..LANES).all(|lane| starts[lane] == starts[0] + lane) {
        for row in values[starts[0]..starts[0] + len + LANES - 1].windows(LANES) {
            add(row.try_into().expect("a window has LANES values"));
        }
    } else {
        let windows = starts.map(|start| &values[start..start + len]);
        for at in 0..len {
            add(&windows.map(|window| window[at]));
        }
    }
    std::array::from_fn(|lane| (sums[lane], losts[lane]))
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
    fn what_rounding_takes_is_exact() {
        // Neumaier's: the larger of the two decides.
        let compared = |x: f64, sum: f64| {
            let total = sum + x;
            let (large, small) = if sum.abs() >= x.abs() { (sum, x) } else { (x, sum) };
            (total, (large - total) + small)
        };
        let values = [0.0, -0.0, 0.1, -0.3, 1e-300, 5e-324, 1e16, -1e16, 3.7e15, f64::MAX, -f64::MAX];
        for x in values {
            for sum in values {
                let (total, expected) = compared(x, sum);
                let (got, lost) = add(x, sum, 0.0);
                assert_eq!(got.to_bits(), total.to_bits());
                assert_eq!(lost, if total.is_infinite() { 0.0 } else { expected }, "{x} + {sum}");
            }
        }
    }

    #[test]
    fn sums_side_by_side_are_those_of_each() {
        let values: Vec<f64> =
            (0..64).map(|i| f64::from(i * i % 37) * 0.1 + 1e15 * f64::from(i % 3)).collect();
        for starts in [[0, 1, 2, 3, 4, 5, 6, 7], [9, 3, 3, 50, 0, 20, 21, 22]] {
            for (start, (total, lost)) in starts.into_iter().zip(sums(&values, starts, 12)) {
                assert_eq!((total + lost).to_bits(), sum(&values[start..start + 12]).to_bits());
            }
        }
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
