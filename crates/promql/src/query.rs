//! A query from text to answer: parse, plan, fetch, evaluate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::budget::Budget;
use model::seam::Querier;
use model::{ErrorKind, SeamError, TenantId};

use crate::ast::Expr;
use crate::eval::error::Error;
use crate::eval::{Limits, evaluate};
use crate::plan::{EvalOptions, Plan, Times, plan};
use crate::result::QueryResult;

/// Sets a flag when it is dropped: a caller that goes away stops the evaluation on other threads.
#[derive(Debug, Default)]
pub struct CancelOnDrop(Arc<AtomicBool>);

impl CancelOnDrop {
    /// The flag, for [`evaluate`].
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Plans `expr`, fetches what it selects and evaluates it. The fetch is the only await; the evaluation that follows
/// computes on the calling thread and the threads that `limits` allow, so that an asynchronous caller does it where
/// blocking is fine, or uses [`fetch`] and [`evaluate`] itself.
///
/// # Errors
/// See [`Error`].
pub async fn query(
    querier: &dyn Querier,
    tenant: &TenantId,
    expr: &Expr,
    times: Times,
    options: &EvalOptions,
    limits: &Limits,
    budget: &Arc<Budget>,
) -> Result<QueryResult, Error> {
    let plan = plan(expr, times, options)?;
    let selected = fetch(querier, tenant, &plan, limits, budget).await?;
    evaluate(&plan, selected, limits, budget, &AtomicBool::new(false))
}

/// Series of a small query, at most.
const SMALL_SERIES: usize = 64;
/// Values of a small query: series times the steps of all nodes, at most.
const SMALL_VALUES: usize = 1 << 15;
/// Values of a small query with ranges, of which each looks at many samples, at most.
const SMALL_RANGES: usize = 1 << 11;
/// The longest range of a small query, and the longest time that it looks at: an hour and a day, in milliseconds.
const SMALL_TIMES: (i64, i64) = (3_600_000, 86_400_000);

/// Whether the evaluation takes so little, a millisecond or so, that handing it to another thread would cost more.
pub fn is_small(plan: &Plan, selected: &[model::seam::Selected]) -> bool {
    let series: usize = selected.iter().map(|selected| selected.series.len()).sum();
    let (steps, ranges) = plan.size();
    let values = steps.saturating_mul(series.max(1));
    let span = |select: &model::seam::Select| select.end.ms().saturating_sub(select.start.ms());
    let longest = plan.selects().iter().map(span).max().unwrap_or(0);
    series <= SMALL_SERIES
        && values <= if ranges > 0 { SMALL_RANGES } else { SMALL_VALUES }
        && ranges <= SMALL_TIMES.0
        && longest <= SMALL_TIMES.1
}

/// Fetches what a plan selects.
///
/// # Errors
/// When the storage fails, or finds more series than `limits` allow.
pub async fn fetch(
    querier: &dyn Querier,
    tenant: &TenantId,
    plan: &Plan,
    limits: &Limits,
    budget: &Arc<Budget>,
) -> Result<Vec<model::seam::Selected>, Error> {
    if plan.selects().is_empty() {
        return Ok(Vec::new());
    }
    let selected = querier.select(tenant, plan.selects(), budget).await.map_err(Error::Storage)?;
    let found = selected.iter().map(|selected| selected.series.len() as u64).sum();
    if found > limits.max_series {
        return Err(Error::TooManySeries { found, limit: limits.max_series });
    }
    if selected.len() != plan.selects().len() {
        let text = format!("{} answers to {} selectors", selected.len(), plan.selects().len());
        return Err(Error::Storage(SeamError::new(ErrorKind::Internal, text)));
    }
    Ok(selected)
}
