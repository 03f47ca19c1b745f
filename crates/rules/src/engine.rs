//! [`Evaluator`] by PromQL over a [`Querier`].
//!
//! What several rules select alike is fetched once. Rules are evaluated in portions on blocking threads, so that one round
//! uses the processors it is given and the runtime stays responsive.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use model::seam::{BoxFuture, Select, Selected};
use model::{Budget, ErrorKind, Labels, Querier, SeamError, TenantId, Timestamp, Value};
use promql::annotations::Message;
use promql::query::CancelOnDrop;
use promql::{EvalOptions, Limits, Plan, QueryResult, QueryValue, Times, evaluate, plan};
use tokio::sync::Semaphore;

use crate::evaluate::{Evaluator, Point, Vector};
use crate::rule::Query;

/// Rules that are fetched for together.
const PORTION: usize = 64;

/// Evaluates rules by PromQL.
pub struct Engine {
    querier: Arc<dyn Querier>,
    options: EvalOptions,
    limits: Limits,
    budget: Arc<Budget>,
    timeout: Duration,
    portions: Arc<Semaphore>,
}

impl Engine {
    /// `limits` hold for each rule; `budget` for all rules together; `timeout` for a portion of them. At most
    /// `concurrency` portions (at least 1) are evaluated at once.
    pub fn new(
        querier: Arc<dyn Querier>,
        options: EvalOptions,
        limits: Limits,
        budget: Arc<Budget>,
        timeout: Duration,
        concurrency: usize,
    ) -> Self {
        let portions = Arc::new(Semaphore::new(concurrency.max(1)));
        Self { querier, options, limits, budget, timeout, portions }
    }

    async fn portion(
        &self,
        tenant: &TenantId,
        queries: &[Arc<Query>],
        at: Timestamp,
    ) -> Vec<Result<Vector, SeamError>> {
        let plans: Vec<_> =
            queries.iter().map(|query| plan(&query.expr, Times::Instant(at), &self.options)).collect();
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut selects: Vec<Select> = Vec::new();
        let mut wanted: Vec<Vec<usize>> = Vec::with_capacity(plans.len());
        for plan in &plans {
            let mut indexes = Vec::new();
            for select in plan.iter().flat_map(Plan::selects) {
                let key = format!("{select:?}");
                indexes.push(*known.entry(key).or_insert_with(|| {
                    selects.push(select.clone());
                    selects.len() - 1
                }));
            }
            wanted.push(indexes);
        }
        let fetched = self.fetch(tenant, &selects).await;
        let mut work = Vec::with_capacity(plans.len());
        for (plan, indexes) in plans.into_iter().zip(wanted) {
            work.push(match plan {
                Err(err) => Err(SeamError::new(err.kind(), err.to_string())),
                Ok(plan) => {
                    let selected: Result<Vec<Selected>, &SeamError> =
                        indexes.iter().map(|index| fetched[*index].as_ref().map(Selected::clone)).collect();
                    match selected {
                        Ok(selected) => Ok((plan, selected)),
                        Err(err) => Err(SeamError::new(err.kind(), err.chain())),
                    }
                }
            });
        }
        let cancel = CancelOnDrop::default();
        let flag = cancel.flag();
        let limits = Limits { deadline: Some(Instant::now() + self.timeout), ..self.limits.clone() };
        let budget = Arc::clone(&self.budget);
        let count = work.len();
        let answers = tokio::task::spawn_blocking(move || {
            let one = |work: Result<(Plan, Vec<Selected>), SeamError>| {
                let (plan, selected) = work?;
                // A panic is a bug, and the bug of one rule only.
                let guarded = AssertUnwindSafe(|| compute(&plan, selected, &limits, &budget, &flag));
                std::panic::catch_unwind(guarded).unwrap_or_else(|_| {
                    Err(SeamError::new(ErrorKind::Internal, "the evaluation panicked; the log says where"))
                })
            };
            work.into_iter().map(one).collect::<Vec<_>>()
        });
        answers.await.unwrap_or_else(|err| {
            let failed =
                |_| Err(SeamError::new(ErrorKind::Internal, format!("the evaluation failed: {err}")));
            (0..count).map(failed).collect()
        })
    }

    /// One answer for each select. When all together fail, each is tried alone, so that one rule that selects too much
    /// does not spoil the others.
    async fn fetch(&self, tenant: &TenantId, selects: &[Select]) -> Vec<Result<Selected, SeamError>> {
        if selects.is_empty() {
            return Vec::new();
        }
        match self.querier.select(tenant, selects, &self.budget).await {
            Ok(selected) if selected.len() == selects.len() => return selected.into_iter().map(Ok).collect(),
            Ok(selected) => {
                let text = format!("{} answers to {} selectors", selected.len(), selects.len());
                return selects
                    .iter()
                    .map(|_| Err(SeamError::new(ErrorKind::Internal, text.clone())))
                    .collect();
            }
            Err(err) if selects.len() == 1 => return vec![Err(err)],
            Err(_) => {}
        }
        let mut answers = Vec::with_capacity(selects.len());
        for select in selects {
            let one = self.querier.select(tenant, std::slice::from_ref(select), &self.budget).await;
            answers.push(one.and_then(|mut selected| {
                selected.pop().ok_or_else(|| SeamError::new(ErrorKind::Internal, "no answer to a selector"))
            }));
        }
        answers
    }
}

impl Evaluator for Engine {
    fn instant<'a>(
        &'a self,
        tenant: &'a TenantId,
        queries: &'a [Arc<Query>],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Result<Vector, SeamError>>> {
        Box::pin(async move {
            let portions = queries.chunks(PORTION).map(async |portion| {
                let _slot = self.portions.acquire().await;
                self.portion(tenant, portion, at).await
            });
            join_all(portions).await.into_iter().flatten().collect()
        })
    }
}

/// Evaluates a plan on what was fetched for it.
pub(crate) fn compute(
    plan: &Plan,
    selected: Vec<Selected>,
    limits: &Limits,
    budget: &Arc<Budget>,
    cancel: &AtomicBool,
) -> Result<Vector, SeamError> {
    let result = evaluate(plan, selected, limits, budget, cancel)
        .map_err(|err| SeamError::new(err.kind(), err.to_string()))?;
    // Nothing resolves on partial data: a rule that does not see everything has failed.
    let partial = result.annotations.iter().find_map(|annotation| match &annotation.message {
        Message::Storage(warning) => Some(warning.clone()),
        _ => None,
    });
    if let Some(warning) = partial {
        return Err(SeamError::new(ErrorKind::Unavailable, format!("the data is incomplete: {warning}")));
    }
    vector(result)
}

fn vector(result: QueryResult) -> Result<Vector, SeamError> {
    match result.value {
        QueryValue::Scalar { value, .. } => {
            Ok(vec![Point { labels: Labels::empty(), value: Value::Float(value) }])
        }
        QueryValue::Vector(series) => {
            let points = series.into_iter().filter_map(|series| {
                let value = match (series.floats.first(), series.histograms.first()) {
                    (Some((_, value)), _) => Value::Float(*value),
                    (None, Some((_, histogram))) => Value::Histogram(Arc::clone(histogram)),
                    (None, None) => return None,
                };
                Some(Point { labels: series.labels, value })
            });
            Ok(points.collect())
        }
        QueryValue::String { .. } | QueryValue::Matrix(_) => {
            Err(SeamError::new(ErrorKind::Invalid, "rule result is not a vector or scalar"))
        }
    }
}
