//! Columns: the values of series at the steps of a grid.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Histogram, Labels};

use super::Hold;
use super::error::Error;

/// The instants at which a node is evaluated: `start`, `start + step`, … Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Grid {
    /// The first instant.
    pub(crate) start: i64,
    /// Distance between instants; at least 1.
    pub(crate) step: i64,
    /// How many instants; may be 0.
    pub(crate) count: usize,
}

impl Grid {
    /// Instant number `index`.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> i64 {
        self.start + self.step * index as i64
    }

    /// The first instant alone.
    pub(crate) fn first(&self) -> Self {
        Self { count: self.count.min(1), ..*self }
    }
}

/// Words of 64 bits that hold one bit a step.
pub(crate) fn words(steps: usize) -> usize {
    steps.div_ceil(64)
}

#[inline]
pub(crate) fn bit(bits: &[u64], index: usize) -> bool {
    bits[index / 64] >> (index % 64) & 1 == 1
}

#[inline]
pub(crate) fn set_bit(bits: &mut [u64], index: usize) {
    bits[index / 64] |= 1 << (index % 64);
}

#[inline]
pub(crate) fn clear_bit(bits: &mut [u64], index: usize) {
    bits[index / 64] &= !(1 << (index % 64));
}

/// The positions of the set bits, ascending.
pub(crate) fn ones(bits: &[u64]) -> impl Iterator<Item = usize> + '_ {
    bits.iter().enumerate().flat_map(|(word, &bits)| {
        let mut rest = bits;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let at = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                word * 64 + at
            })
        })
    })
}

/// The positions of the set bits within `range`, ascending.
pub(crate) fn ones_within(bits: &[u64], range: std::ops::Range<usize>) -> impl Iterator<Item = usize> + '_ {
    let (start, end) = (range.start, range.end);
    let words = bits.iter().enumerate().skip(start / 64).take_while(move |(word, _)| word * 64 < end);
    words.flat_map(move |(word, &bits)| {
        let low = start.saturating_sub(word * 64);
        let high = end - word * 64;
        let mut rest = bits & (u64::MAX << low.min(63));
        if high < 64 {
            rest &= (1 << high) - 1;
        }
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let at = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                word * 64 + at
            })
        })
    })
}

pub(crate) fn count_ones(bits: &[u64]) -> usize {
    bits.iter().map(|word| word.count_ones() as usize).sum()
}

/// All `steps` bits set.
pub(crate) fn fill_bits(bits: &mut Vec<u64>, steps: usize) {
    bits.clear();
    bits.resize(words(steps), u64::MAX);
    if !steps.is_multiple_of(64)
        && let Some(last) = bits.last_mut()
    {
        *last = (1 << (steps % 64)) - 1;
    }
}

/// Labels of a series in the making.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) labels: Labels,
    /// The metric name is to be dropped once the query is done.
    pub(crate) drop_name: bool,
}

impl Meta {
    pub(crate) fn empty() -> Self {
        Self { labels: Labels::empty(), drop_name: false }
    }
}

/// The values of one series. A step without its bit in `valid` has no sample; the float there means nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) values: Vec<f64>,
    pub(crate) valid: Vec<u64>,
    /// Steps whose sample is a histogram, ascending; their bits in `valid` are set.
    pub(crate) histograms: Vec<(u32, Arc<Histogram>)>,
}

impl Row {
    /// Empties the row for `steps` steps. Values of steps that are not valid are any.
    pub(crate) fn reset(&mut self, steps: usize) {
        if self.values.len() != steps {
            self.values.clear();
            self.values.resize(steps, 0.0);
        }
        self.valid.clear();
        self.valid.resize(words(steps), 0);
        self.histograms.clear();
    }

    /// A float at every step.
    pub(crate) fn full(values: Vec<f64>) -> Self {
        let mut valid = Vec::new();
        fill_bits(&mut valid, values.len());
        Self { values, valid, histograms: Vec::new() }
    }

    #[inline]
    pub(crate) fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        set_bit(&mut self.valid, step);
    }

    /// `step` must be after all earlier histograms.
    pub(crate) fn set_histogram(&mut self, step: usize, histogram: Arc<Histogram>) {
        set_bit(&mut self.valid, step);
        self.histograms.push((step as u32, histogram));
    }

    pub(crate) fn view(&self) -> RowView<'_> {
        RowView { values: &self.values, valid: &self.valid, histograms: &self.histograms }
    }

    /// Removes the histogram samples; whether there were any.
    pub(crate) fn drop_histograms(&mut self) -> bool {
        let any = !self.histograms.is_empty();
        for (step, _) in self.histograms.drain(..) {
            clear_bit(&mut self.valid, step as usize);
        }
        any
    }

    /// Keeps the samples whose bits are set in `keep`.
    pub(crate) fn mask(&mut self, keep: impl Fn(usize) -> u64) {
        for (word, bits) in self.valid.iter_mut().enumerate() {
            *bits &= keep(word);
        }
        if !self.histograms.is_empty() {
            let valid = &self.valid;
            self.histograms.retain(|(step, _)| bit(valid, *step as usize));
        }
    }

    /// The value at the first step becomes that of all `steps`.
    pub(crate) fn broadcast(&mut self, steps: usize) {
        let present = self.valid.first().is_some_and(|word| word & 1 == 1);
        let value = self.values.first().copied().unwrap_or(0.0);
        let histogram = self.histograms.first().map(|(_, histogram)| Arc::clone(histogram));
        self.reset(steps);
        if present {
            self.values.fill(value);
            fill_bits(&mut self.valid, steps);
            if let Some(histogram) = histogram {
                self.histograms.extend((0..steps as u32).map(|step| (step, Arc::clone(&histogram))));
            }
        }
    }
}

/// A borrowed [`Row`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowView<'a> {
    pub(crate) values: &'a [f64],
    pub(crate) valid: &'a [u64],
    pub(crate) histograms: &'a [(u32, Arc<Histogram>)],
}

/// A sample in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

impl<'a> RowView<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.valid.iter().all(|&word| word == 0)
    }

    #[inline]
    pub(crate) fn get(&self, step: usize) -> Option<Cell<'a>> {
        if !bit(self.valid, step) {
            return None;
        }
        if !self.histograms.is_empty()
            && let Ok(at) = self.histograms.binary_search_by_key(&(step as u32), |(step, _)| *step)
        {
            return Some(Cell::Histogram(&self.histograms[at].1));
        }
        Some(Cell::Float(self.values[step]))
    }

    pub(crate) fn copy_to(&self, row: &mut Row) {
        row.values.clear();
        row.values.extend_from_slice(self.values);
        row.valid.clear();
        row.valid.extend_from_slice(self.valid);
        row.histograms.clear();
        row.histograms.extend_from_slice(self.histograms);
    }

    /// How many samples, a histogram counted as its size in units of 16 bytes, as Prometheus does.
    pub(crate) fn samples(&self) -> u64 {
        let floats = count_ones(self.valid) - self.histograms.len();
        floats as u64 + self.histograms.iter().map(|(_, histogram)| histogram_samples(histogram)).sum::<u64>()
    }
}

/// A histogram's size in samples, as Prometheus counts them: 168 bytes for the struct, 8 for a time, over 16.
pub(crate) fn histogram_samples(histogram: &Histogram) -> u64 {
    let parts = histogram.positive_spans.len()
        + histogram.negative_spans.len()
        + histogram.positive.len()
        + histogram.negative.len()
        + histogram.custom_values.len();
    (168 + 8 * parts as u64 + 8) / 16
}

/// Series and their values on one grid, none of them empty; one allocation for all floats.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    pub(crate) metas: Vec<Meta>,
    pub(crate) steps: usize,
    values: Vec<f64>,
    valid: Vec<u64>,
    /// Of each series; empty when no series has any.
    histograms: Vec<Vec<(u32, Arc<Histogram>)>>,
    /// The memory that was reserved for it.
    pub(crate) hold: Hold,
}

impl Clone for Matrix {
    /// Without the reservation: the copy is for a result that replaces this one.
    fn clone(&self) -> Self {
        Self {
            metas: self.metas.clone(),
            steps: self.steps,
            values: self.values.clone(),
            valid: self.valid.clone(),
            histograms: self.histograms.clone(),
            hold: Hold::default(),
        }
    }
}

impl Matrix {
    pub(crate) fn new(steps: usize) -> Self {
        Self { steps, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.metas.len()
    }

    /// Bytes that a matrix of `series` series takes, histograms aside.
    pub(crate) fn bytes(series: usize, steps: usize) -> u64 {
        (series * (steps * 8 + words(steps) * 8 + size_of::<Meta>())) as u64
    }

    pub(crate) fn reserve(&mut self, series: usize) {
        self.metas.reserve(series);
        self.values.reserve(series * self.steps);
        self.valid.reserve(series * words(self.steps));
    }

    /// Appends a series unless it is empty.
    pub(crate) fn push(&mut self, meta: Meta, row: RowView<'_>) {
        if row.is_empty() {
            return;
        }
        debug_assert_eq!(row.values.len(), self.steps);
        if !row.histograms.is_empty() || !self.histograms.is_empty() {
            self.histograms.resize_with(self.metas.len(), Vec::new);
            self.histograms.push(row.histograms.to_vec());
        }
        self.metas.push(meta);
        self.values.extend_from_slice(row.values);
        self.valid.extend_from_slice(row.valid);
    }

    pub(crate) fn append(&mut self, other: Self) {
        if !self.histograms.is_empty() || !other.histograms.is_empty() {
            self.histograms.resize_with(self.metas.len(), Vec::new);
            self.histograms.extend(other.histograms);
            self.histograms.resize_with(self.metas.len() + other.metas.len(), Vec::new);
        }
        self.hold.merge(other.hold);
        self.metas.extend(other.metas);
        self.values.extend(other.values);
        self.valid.extend(other.valid);
    }

    pub(crate) fn row(&self, index: usize) -> RowView<'_> {
        let words = words(self.steps);
        RowView {
            values: &self.values[index * self.steps..][..self.steps],
            valid: &self.valid[index * words..][..words],
            histograms: self.histograms.get(index).map_or(&[], Vec::as_slice),
        }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Meta, RowView<'_>)> {
        self.metas.iter().enumerate().map(|(index, meta)| (meta, self.row(index)))
    }

    /// Memory of the histograms, in bytes.
    pub(crate) fn histogram_bytes(&self) -> u64 {
        self.histograms.iter().flatten().map(|(_, histogram)| histogram.size_bytes() as u64 + 16).sum()
    }

    pub(crate) fn samples(&self) -> u64 {
        (0..self.len()).map(|index| self.row(index).samples()).sum()
    }

    /// Makes one series of those with equal labels.
    ///
    /// # Errors
    /// When two of them have a sample at the same step.
    pub(crate) fn merge_same_labels(self) -> Result<Self, Error> {
        let mut first_of: HashMap<&Labels, usize> = HashMap::with_capacity(self.len());
        let target: Vec<usize> = (0..self.len())
            .map(|index| *first_of.entry(&self.metas[index].labels).or_insert(index))
            .collect();
        if first_of.len() == self.len() {
            return Ok(self);
        }
        let mut merged = Self::new(self.steps);
        merged.reserve(first_of.len());
        let mut others: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, &first) in target.iter().enumerate() {
            if index != first {
                others.entry(first).or_default().push(index);
            }
        }
        let mut row = Row::default();
        for (index, &first) in target.iter().enumerate() {
            if index != first {
                continue;
            }
            self.row(index).copy_to(&mut row);
            for &other in others.get(&index).map_or(&[][..], Vec::as_slice) {
                let other = self.row(other);
                for (word, &bits) in other.valid.iter().enumerate() {
                    if row.valid[word] & bits != 0 {
                        return Err(same_labels());
                    }
                    row.valid[word] |= bits;
                }
                for step in ones(other.valid) {
                    row.values[step] = other.values[step];
                }
                row.histograms.extend_from_slice(other.histograms);
            }
            row.histograms.sort_by_key(|(step, _)| *step);
            merged.push(self.metas[index].clone(), row.view());
        }
        Ok(merged)
    }
}

pub(crate) fn same_labels() -> Error {
    Error::evaluation("vector cannot contain metrics with the same labelset")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<f64>]) -> Row {
        let mut row = Row::default();
        row.reset(values.len());
        for (step, value) in values.iter().enumerate() {
            if let Some(value) = value {
                row.set(step, *value);
            }
        }
        row
    }

    fn meta(name: &str) -> Meta {
        Meta { labels: Labels::from_pairs([("a", name)]), drop_name: false }
    }

    #[test]
    fn equal_labels_become_one_series_unless_they_overlap() {
        let mut matrix = Matrix::new(2);
        matrix.push(meta("x"), row(&[Some(1.0), None]).view());
        matrix.push(meta("y"), row(&[Some(5.0), Some(6.0)]).view());
        matrix.push(meta("x"), row(&[None, Some(2.0)]).view());
        matrix.push(meta("z"), row(&[None, None]).view());
        let merged = matrix.clone().merge_same_labels().unwrap();
        assert_eq!(merged.len(), 2);
        assert_eq!(merged.row(0).values, [1.0, 2.0]);
        matrix.push(meta("x"), row(&[Some(1.0), None]).view());
        assert!(matrix.merge_same_labels().is_err());
    }

    #[test]
    fn bits() {
        let mut all = Vec::new();
        fill_bits(&mut all, 70);
        assert_eq!(count_ones(&all), 70);
        assert_eq!(ones(&all).last(), Some(69));
        clear_bit(&mut all, 3);
        assert!(!bit(&all, 3));
        for (start, end) in [(0, 70), (2, 5), (63, 65), (64, 70), (69, 70), (5, 5), (0, 64)] {
            let expected: Vec<usize> = ones(&all).filter(|at| (start..end).contains(at)).collect();
            assert_eq!(ones_within(&all, start..end).collect::<Vec<_>>(), expected, "{start}..{end}");
        }
    }
}
