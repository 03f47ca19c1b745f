//! What can go wrong between a parsed query and its answer.

use model::budget::OverBudget;
use model::{ErrorKind, SeamError};

/// A query failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The query cannot be evaluated as it is, whatever the data.
    #[error("{0}")]
    Plan(String),
    /// The query cannot be evaluated on this data: label sets clash, a parameter is out of range, …
    #[error("{0}")]
    Evaluation(String),
    /// More samples than a query may hold at once.
    #[error(
        "query processing would load too many samples into memory in query execution: the limit is {limit} \
         (query.max_samples); narrow the selectors, shorten the range or widen the step"
    )]
    TooManySamples {
        /// The limit.
        limit: u64,
    },
    /// More series than a query may select.
    #[error(
        "the query selects {found} series but may select {limit} (query.max_series); narrow its selectors"
    )]
    TooManySeries {
        /// How many it selects.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// More memory than is allowed.
    #[error("the query needs more memory than it may use; narrow its selectors or shorten its range: {0}")]
    OverBudget(#[from] OverBudget),
    /// It took too long.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// The caller went away.
    #[error("query was canceled in expression evaluation")]
    Cancelled,
    /// The query is so tall that it needs a thread of its own, and there was none.
    #[error("no thread could be started for the query; try again later or nest it less")]
    Thread(#[source] std::io::Error),
    /// The storage failed.
    #[error("expanding series: {0}")]
    Storage(#[source] SeamError),
}

impl Error {
    pub(crate) fn evaluation(text: impl Into<String>) -> Self {
        Self::Evaluation(text.into())
    }

    /// What the caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Plan(_) | Self::Evaluation(_) => ErrorKind::Invalid,
            Self::TooManySamples { .. } | Self::TooManySeries { .. } | Self::OverBudget(_) => {
                ErrorKind::Limit
            }
            Self::Timeout => ErrorKind::Timeout,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Thread(_) => ErrorKind::Unavailable,
            Self::Storage(source) => source.kind(),
        }
    }
}
