//! A native histogram that grows with its observations: buckets of 2^(1/8) while there are few, coarser when they become many.

use std::collections::BTreeMap;

use model::Histogram;

use crate::delta::sparse;

/// The resolution at first: bounds grow by 9 %.
const SCHEMA: i32 = 3;
/// With more buckets the resolution is halved.
const MAX_BUCKETS: usize = 160;
/// Observations nearer to 0 are in the zero bucket.
const ZERO_THRESHOLD: f64 = 1e-9;

/// Observations, weighted.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    schema: i32,
    zero: f64,
    positive: BTreeMap<i64, f64>,
    negative: BTreeMap<i64, f64>,
    count: f64,
    sum: f64,
    /// Upper bounds of classic buckets, ascending; empty when only the native histogram is wanted.
    bounds: Vec<f64>,
    /// For each bound the observations above the one before.
    counts: Vec<f64>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            zero: 0.0,
            positive: BTreeMap::new(),
            negative: BTreeMap::new(),
            count: 0.0,
            sum: 0.0,
            bounds: Vec::new(),
            counts: Vec::new(),
        }
    }
}

impl Sketch {
    /// One that counts classic buckets too.
    pub(super) fn with_bounds(bounds: &[f64]) -> Self {
        Self { bounds: bounds.to_vec(), counts: vec![0.0; bounds.len()], ..Self::default() }
    }

    pub(super) fn observe(&mut self, value: f64, weight: f64) {
        self.count += weight;
        self.sum += value * weight;
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += weight;
        }
        let size = value.abs();
        if size <= ZERO_THRESHOLD {
            self.zero += weight;
            return;
        }
        let index = (size.log2() * f64::from(self.schema).exp2()).ceil() as i64;
        let side = if value > 0.0 { &mut self.positive } else { &mut self.negative };
        *side.entry(index).or_insert(0.0) += weight;
        while self.positive.len() + self.negative.len() > MAX_BUCKETS && self.schema > -4 {
            self.schema -= 1;
            for side in [&mut self.positive, &mut self.negative] {
                let mut halved = BTreeMap::new();
                for (index, count) in std::mem::take(side) {
                    *halved.entry(((index - 1) >> 1) + 1).or_insert(0.0) += count;
                }
                *side = halved;
            }
        }
    }

    pub(super) fn count(&self) -> f64 {
        self.count
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    /// How many observations are at most each of the bounds, for classic buckets.
    pub(super) fn classic(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let mut below = 0.0;
        self.bounds.iter().zip(&self.counts).map(move |(bound, count)| {
            below += count;
            (*bound, below)
        })
    }

    pub(super) fn histogram(&self) -> Histogram {
        let (positive_spans, positive) = sparse(&self.positive);
        let (negative_spans, negative) = sparse(&self.negative);
        let whole = |count: &f64| count.fract() == 0.0;
        let is_whole = positive.iter().chain(&negative).chain([&self.zero, &self.count]).all(whole);
        Histogram {
            schema: self.schema,
            // A sample rate makes weights that are not whole.
            is_float: !is_whole,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: self.zero,
            count: self.count,
            sum: self.sum,
            positive_spans,
            positive,
            negative_spans,
            negative,
            ..Histogram::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_valid_and_small() {
        let mut sketch = Sketch::default();
        for i in 0..5000 {
            sketch.observe(f64::from(i - 100) * 1.7f64.powi(i % 90 - 45), if i % 7 == 0 { 2.5 } else { 1.0 });
        }
        let histogram = sketch.histogram();
        histogram.validate().unwrap();
        assert!(histogram.schema < SCHEMA && sketch.positive.len() + sketch.negative.len() <= MAX_BUCKETS);
        assert!((histogram.count - (5000.0 + 715.0 * 1.5)).abs() < 1e-6);
    }

    #[test]
    fn powers_of_two_are_exact() {
        let mut sketch = Sketch::with_bounds(&[0.2, 0.25, 1.0, 3.9, 4.0]);
        [0.25, 1.0, 1.0, 4.0].into_iter().for_each(|v| sketch.observe(v, 1.0));
        assert_eq!(sketch.positive.keys().copied().collect::<Vec<_>>(), [-16, 0, 16]);
        assert_eq!(sketch.classic().map(|(_, n)| n).collect::<Vec<_>>(), [0.0, 1.0, 3.0, 3.0, 4.0]);
    }
}
