//! Where a rule's values come from.

use std::sync::Arc;

use model::seam::BoxFuture;
use model::{Histogram, Labels, SeamError, TenantId, Timestamp, Value};

use crate::rule::Query;

/// One element of an instant vector.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its labels; none for a scalar.
    pub labels: Labels,
    /// Its value.
    pub value: Value,
}

/// An instant vector.
pub type Vector = Vec<Point>;

/// Evaluates the expressions of rules.
pub trait Evaluator: Send + Sync {
    /// Evaluates several expressions at one instant; answers in their order. What they have in common may be fetched
    /// once.
    fn instant<'a>(
        &'a self,
        tenant: &'a TenantId,
        queries: &'a [Arc<Query>],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Result<Vector, SeamError>>>;
}

/// A histogram as templates print it.
pub(crate) fn histogram_text(histogram: &Histogram) -> String {
    format!("{{count:{}, sum:{}}}", histogram.count, histogram.sum)
}
