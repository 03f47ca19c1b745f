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
