//! An answer as columns: the values of each series at the steps of the query, as the evaluator computed them.
//!
//! What a server streams to a client and keeps for the next query: 8 bytes a point where a list of times and values takes 16.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use model::budget::{Budget, OverBudget};
use model::{Histogram, Labels};

use crate::annotations::Annotations;
use crate::ast::ValueType;
use crate::eval::error::Error;
use crate::eval::matrix::{self, Cell, Grid, Matrix, Meta, Row};
use crate::eval::{Hold, reserve};
use crate::result::{QueryValue, Series, Stats};

/// A query's answer with its value as columns.
#[derive(Debug)]
pub struct Evaluated {
    /// The value.
    pub value: RowsValue,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// What it took.
    pub stats: Stats,
}

/// A query's value; memory stays reserved in the query's budget until it is dropped.
#[derive(Debug)]
pub enum RowsValue {
    /// One number, of an instant query.
    Scalar {
        /// The evaluation time in milliseconds.
        time: i64,
        /// The number.
        value: f64,
    },
    /// A text, of an instant query.
    String {
        /// The evaluation time in milliseconds.
        time: i64,
        /// The text.
        text: String,
    },
    /// An instant vector: every series has exactly one point. The order is the query's (`sort`, `topk`).
    Vector(Rows),
    /// The answer to a range query: series sorted by labels, each with at least one point.
    Matrix(Rows),
    /// A range vector of an instant query: samples as they are stored.
    Points(Vec<Series>, Option<Hold>),
}

impl RowsValue {
    /// What it is.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Scalar { .. } => ValueType::Scalar,
            Self::String { .. } => ValueType::String,
            Self::Vector(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Points(..) => ValueType::Matrix,
        }
    }

    pub(crate) fn into_value(self) -> QueryValue {
        let all = |rows: &Rows| (0..rows.len()).map(|index| rows.series(index)).collect();
        match self {
            Self::Scalar { time, value } => QueryValue::Scalar { time, value },
            Self::String { time, text } => QueryValue::String { time, text },
            Self::Vector(rows) => QueryValue::Vector(all(&rows)),
            Self::Matrix(rows) => QueryValue::Matrix(all(&rows)),
            Self::Points(series, _) => QueryValue::Matrix(series),
        }
    }
}

/// A sample of a [`Rows`].
#[derive(Clone, Copy, Debug)]
pub enum Point<'a> {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(&'a Arc<Histogram>),
}

/// Series on the steps of a query, none of them empty.
#[derive(Debug)]
pub struct Rows {
    parts: Vec<Matrix>,
    /// Part and row of each series.
    order: Vec<(u32, u32)>,
    grid: Grid,
    /// By labels.
    sorted: bool,
}

impl Rows {
    pub(crate) fn new(parts: Vec<Matrix>, grid: Grid) -> Self {
        let rows =
            |(part, matrix): (usize, &Matrix)| (0..matrix.len()).map(move |row| (part as u32, row as u32));
        let order = parts.iter().enumerate().flat_map(rows).collect();
        Self { parts, order, grid, sorted: false }
    }

    /// How many series.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many steps.
    pub fn steps(&self) -> usize {
        self.grid.count
    }

    /// The time of a step in milliseconds.
    pub fn time(&self, step: usize) -> i64 {
        self.grid.at(step)
    }

    /// The labels of a series.
    ///
    /// # Panics
    /// When there is no series `index`.
    pub fn labels(&self, index: usize) -> &Labels {
        let (part, row) = self.order[index];
        &self.parts[part as usize].metas[row as usize].labels
    }

    /// The points of a series: milliseconds and value, ascending in time.
    ///
    /// # Panics
    /// When there is no series `index`.
    pub fn points(&self, index: usize) -> impl Iterator<Item = (i64, Point<'_>)> {
        self.steps_of(index).map(|(step, point)| (self.grid.at(step), point))
    }

    /// The points of a series: positions of steps and values, ascending.
    ///
    /// # Panics
    /// When there is no series `index`.
    pub fn steps_of(&self, index: usize) -> impl Iterator<Item = (usize, Point<'_>)> {
        let row = self.row(index);
        let floats_only = row.histograms.is_empty();
        matrix::ones(row.valid).filter_map(move |step| {
            let point = match floats_only {
                true => Point::Float(row.values[step]),
                false => match row.get(step)? {
                    Cell::Float(value) => Point::Float(value),
                    Cell::Histogram(histogram) => Point::Histogram(histogram),
                },
            };
            Some((step, point))
        })
    }

    /// How many floats and how many histograms a series has.
    pub fn counts(&self, index: usize) -> (usize, usize) {
        let row = self.row(index);
        (matrix::count_ones(row.valid) - row.histograms.len(), row.histograms.len())
    }

    /// A series with its points as lists.
    pub fn series(&self, index: usize) -> Series {
        let (floats, histograms) = self.counts(index);
        let mut one = Series {
            labels: self.labels(index).clone(),
            floats: Vec::with_capacity(floats),
            histograms: Vec::with_capacity(histograms),
        };
        for (time, point) in self.points(index) {
            match point {
                Point::Float(value) => one.floats.push((time, value)),
                Point::Histogram(histogram) => one.histograms.push((time, Arc::clone(histogram))),
            }
        }
        one
    }

    /// Memory of the values and labels, in bytes.
    pub fn bytes(&self) -> u64 {
        let matrix = |part: &Matrix| {
            Matrix::bytes(part.len(), part.steps)
                + part.metas.iter().map(|meta| meta.labels.as_encoded().len() as u64).sum::<u64>()
                + part.histogram_bytes()
        };
        self.parts.iter().map(matrix).sum::<u64>() + self.order.len() as u64 * 8
    }

    /// Gives back what was reserved in the query's budget: somebody else accounts for the memory from now on.
    pub fn release(&mut self) {
        self.parts.iter_mut().for_each(|part| drop(std::mem::take(&mut part.hold)));
    }

    /// One answer from answers to parts of its range. `parts`: rows, which of their steps to take, and the step at which
    /// they go into the new rows; each step comes from at most one part, all have sorted series. `grid`: first time, step and
    /// number of steps.
    ///
    /// # Errors
    /// When `budget` does not have the memory.
    pub fn join(
        (start, step, count): (i64, i64, usize),
        parts: &[(&Self, Range<usize>, usize)],
        budget: &Arc<Budget>,
    ) -> Result<Self, OverBudget> {
        let grid = Grid { start, step, count };
        // Which row of each part a series is, in the order of labels.
        let mut merged: Vec<(&Labels, usize, usize)> = Vec::new();
        for (at, (rows, ..)) in parts.iter().enumerate() {
            merged.extend((0..rows.len()).map(|index| (rows.labels(index), at, index)));
        }
        merged.sort_by(|a, b| a.0.cmp(b.0).then(a.1.cmp(&b.1)));
        let series = merged.chunk_by(|a, b| a.0 == b.0).count();
        let mut all = Matrix::new(count);
        all.hold = reserve(budget, Matrix::bytes(series, count))?;
        all.reserve(series);
        let mut row = Row::default();
        for same in merged.chunk_by(|a, b| a.0 == b.0) {
            row.reset(count);
            for &(_, part, index) in same {
                let (rows, range, at) = &parts[part];
                let from = rows.row(index);
                for step in matrix::ones_within(from.valid, range.clone()) {
                    let to = step - range.start + at;
                    match from.get(step) {
                        Some(Cell::Float(value)) => row.set(to, value),
                        Some(Cell::Histogram(histogram)) => row.set_histogram(to, Arc::clone(histogram)),
                        None => {}
                    }
                }
            }
            row.histograms.sort_by_key(|(step, _)| *step);
            all.push(Meta { labels: same[0].0.clone(), drop_name: false }, row.view());
        }
        Ok(Self::new(vec![all], grid))
    }

    fn row(&self, index: usize) -> matrix::RowView<'_> {
        let (part, row) = self.order[index];
        self.parts[part as usize].row(row as usize)
    }

    /// Orders the series by their labels.
    pub(crate) fn sort(&mut self) {
        self.sorted = true;
        let Self { parts, order, .. } = self;
        let labels = |(part, row): (u32, u32)| &parts[part as usize].metas[row as usize].labels;
        order.sort_by(|&a, &b| labels(a).cmp(labels(b)));
    }

    /// Makes one series of those with equal labels.
    ///
    /// # Errors
    /// When two of them have a sample at the same step.
    pub(crate) fn merge_same_labels(mut self) -> Result<Self, Error> {
        let unique = if self.sorted {
            (1..self.len()).all(|index| self.labels(index - 1) != self.labels(index))
        } else {
            let mut seen = HashSet::with_capacity(self.len());
            (0..self.len()).all(|index| seen.insert(self.labels(index)))
        };
        if unique {
            return Ok(self);
        }
        let mut all = Matrix::new(self.grid.count);
        for &(part, row) in &self.order {
            let part = &self.parts[part as usize];
            all.push(part.metas[row as usize].clone(), part.row(row as usize));
        }
        for part in &mut self.parts {
            all.hold.merge(std::mem::take(&mut part.hold));
        }
        let hold = std::mem::take(&mut all.hold);
        let mut merged = all.merge_same_labels()?;
        merged.hold = hold;
        Ok(Self::new(vec![merged], self.grid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows on steps 0, 10, 20, … in milliseconds; `None` is no sample.
    fn rows(start: i64, series: &[(&str, &[Option<f64>])]) -> Rows {
        let count = series.first().map_or(0, |(_, values)| values.len());
        let mut matrix = Matrix::new(count);
        for (name, values) in series {
            let mut row = Row::default();
            row.reset(count);
            for (step, value) in values.iter().enumerate() {
                if let Some(value) = value {
                    row.set(step, *value);
                }
            }
            matrix.push(Meta { labels: Labels::from_pairs([("a", *name)]), drop_name: false }, row.view());
        }
        let mut rows = Rows::new(vec![matrix], Grid { start, step: 10, count });
        rows.sort();
        rows
    }

    fn shown(rows: &Rows) -> String {
        let one = |index: usize| {
            let series = rows.series(index);
            format!("{} {:?}", series.labels.get("a").unwrap(), series.floats)
        };
        (0..rows.len()).map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn parts_of_a_range_are_joined_by_labels() {
        let old = rows(0, &[("x", &[Some(1.0), Some(2.0), Some(3.0)]), ("z", &[Some(9.0), None, None])]);
        let new = rows(20, &[("y", &[Some(5.0), None]), ("x", &[Some(7.0), Some(8.0)])]);
        let budget = Budget::unlimited();
        let all = Rows::join((10, 10, 3), &[(&old, 1..2, 0), (&new, 0..2, 1)], &budget).unwrap();
        assert_eq!(shown(&all), "x [(10, 2.0), (20, 7.0), (30, 8.0)]; y [(20, 5.0)]");
        assert!(budget.used_bytes() > 0);
        drop(all);
        assert_eq!(budget.used_bytes(), 0);
        let small = Budget::new("small", 10, None);
        assert!(Rows::join((10, 10, 3), &[(&old, 1..2, 0)], &small).is_err());
    }

    #[test]
    fn series_that_became_one_are_merged_or_refused() {
        let both = rows(0, &[("x", &[Some(1.0), None]), ("x", &[None, Some(2.0)])]);
        assert_eq!(shown(&both.merge_same_labels().unwrap()), "x [(0, 1.0), (10, 2.0)]");
        let clash = rows(0, &[("x", &[Some(1.0), None]), ("x", &[Some(1.0), Some(2.0)])]);
        assert!(clash.merge_same_labels().is_err());
    }
}
