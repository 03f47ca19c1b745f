//! What a query evaluates to.

use std::sync::Arc;
use std::time::Duration;

use model::{Histogram, Labels};

use crate::annotations::Annotations;
use crate::ast::ValueType;

/// A query's answer.
#[derive(Clone, Debug)]
pub struct QueryResult {
    /// The value.
    pub value: QueryValue,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// What it took.
    pub stats: Stats,
}

/// A query's value.
#[derive(Clone, Debug)]
pub enum QueryValue {
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
    Vector(Vec<Series>),
    /// A range vector, or the answer to a range query: series sorted by labels, each with at least one point.
    Matrix(Vec<Series>),
}

impl QueryValue {
    /// What it is.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Scalar { .. } => ValueType::Scalar,
            Self::String { .. } => ValueType::String,
            Self::Vector(_) => ValueType::Vector,
            Self::Matrix(_) => ValueType::Matrix,
        }
    }

    /// The series of a vector or matrix, else none.
    pub fn series(&self) -> &[Series] {
        match self {
            Self::Vector(series) | Self::Matrix(series) => series,
            Self::Scalar { .. } | Self::String { .. } => &[],
        }
    }
}

/// One series of an answer. A point is a float or a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Milliseconds and value, ascending in time.
    pub floats: Vec<(i64, f64)>,
    /// Milliseconds and value, ascending in time.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

/// What a query took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Samples that windows and look-backs touched, summed over all steps; a histogram counts as its size in units of 16
    /// bytes. Prometheus calls it `totalQueryableSamples`.
    pub samples: u64,
    /// The most samples that were in memory at once.
    pub peak_samples: u64,
    /// `samples` by step, of a query with per-step statistics.
    pub samples_per_step: Option<Vec<(i64, u64)>>,
    /// Series that selectors found.
    pub series: u64,
    /// Each node of the plan, children before parents.
    pub nodes: Vec<NodeStats>,
}

/// What one node of a plan took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeStats {
    /// What it does, such as `sum by (job)`.
    pub title: String,
    /// Positions of its inputs in [`Stats::nodes`].
    pub inputs: Vec<usize>,
    /// Series that came out.
    pub series: u64,
    /// Samples that it read from storage.
    pub samples: u64,
    /// Time from its start to its end, inputs included. Inputs that are computed in one pass with this node have none.
    pub time: Duration,
}
