//! From a query's text to its answer: a place, the cache, the fetch, the evaluation; limits, logs and the list of running
//! queries around them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Budget, ErrorKind, Querier, TenantId, Timestamp};
use promql::{EvalOptions, Evaluated, Limits, Plan, Rows, RowsValue, Stats, Times};
use tokio::time::Instant;

use super::active::ActiveQueries;
use super::answer::{Found, Value};
use super::cache::{Cache, Kept, Key, Reusable, depends_on_steps_alone};
use super::log::QueryLog;
use super::slots::{Bounds, Refused, Slot, Slots};
use super::stamps::WriteStamps;
use crate::config::QueryConfig;
use crate::error::{ApiError, ErrorType};
use crate::metrics::Metrics;

/// Everything that runs queries; one in a server.
pub(crate) struct Queries {
    pub(super) config: QueryConfig,
    querier: Arc<dyn Querier>,
    options: promql::Options,
    eval_options: EvalOptions,
    /// Memory of all queries together.
    budget: Arc<Budget>,
    /// Memory of all queries of one tenant together, for those that have a bound of their own.
    tenant_budgets: BTreeMap<String, Arc<Budget>>,
    slots: Arc<Slots>,
    cache: Cache,
    stamps: Arc<WriteStamps>,
    active: Arc<ActiveQueries>,
    log: Arc<QueryLog>,
    metrics: Metrics,
    deleted_until: Arc<dyn Fn() -> i64 + Send + Sync>,
}

/// What [`Queries`] is made of.
pub(crate) struct Made {
    pub(crate) config: QueryConfig,
    pub(crate) querier: Arc<dyn Querier>,
    pub(crate) options: promql::Options,
    pub(crate) eval_options: EvalOptions,
    pub(crate) stamps: Arc<WriteStamps>,
    pub(crate) active: Arc<ActiveQueries>,
    pub(crate) log: Arc<QueryLog>,
    pub(crate) metrics: Metrics,
    /// Up to which time, in milliseconds, samples may have been deleted because of their age or the space they take.
    pub(crate) deleted_until: Arc<dyn Fn() -> i64 + Send + Sync>,
}

/// One query as it was asked.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) text: &'a str,
    pub(crate) times: Times,
    /// The client's bound on the time, in milliseconds.
    pub(crate) timeout_ms: Option<i64>,
    pub(crate) lookback_ms: Option<i64>,
    pub(crate) per_step_stats: bool,
    /// Whether a kept answer may be used: not when the client asked for statistics, which tell of the work.
    pub(crate) use_cache: bool,
    /// Wall time.
    pub(crate) now: Timestamp,
    /// Who asks, for the log.
    pub(crate) path: &'a str,
}

/// How long the parts of a query took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timings {
    /// Waiting for a place.
    pub(crate) queued: Duration,
    /// Finding the series.
    pub(crate) prepared: Duration,
    /// Computing.
    pub(crate) evaluated: Duration,
}

impl Queries {
    pub(crate) fn new(made: Made) -> Self {
        let config = made.config;
        let budget =
            Budget::new("memory of all queries (query.max_total_bytes)", config.max_total_bytes, None);
        let of_tenant = config.tenant_limits.iter().filter(|own| own.max_total_bytes > 0).map(|own| {
            let name = format!("memory of all queries of tenant {} (query.tenant_limits)", own.tenant);
            let budget = Budget::new(name, own.max_total_bytes, Some(Arc::clone(&budget)));
            (own.tenant.clone(), budget)
        });
        let tenant_budgets = of_tenant.collect();
        let slots = Slots::new(Bounds {
            running: config.max_concurrency,
            running_per_tenant: config.max_concurrency_per_tenant,
            waiting_per_tenant: config.max_queued_per_tenant,
        });
        Self {
            cache: Cache::new(config.cache_max_bytes),
            config,
            querier: made.querier,
            options: made.options,
            eval_options: made.eval_options,
            budget,
            tenant_budgets,
            slots,
            stamps: made.stamps,
            active: made.active,
            log: made.log,
            metrics: made.metrics,
            deleted_until: made.deleted_until,
        }
    }

    /// The queries that run now.
    pub(crate) fn running(&self) -> Vec<super::active::ActiveQuery> {
        self.active.running()
    }

    /// A budget for one request of a tenant, within those of all its queries and of all queries.
    pub(crate) fn budget(&self, tenant: &TenantId) -> Arc<Budget> {
        let most = self.config.limits_of(tenant).max_bytes;
        let name = match most == self.config.max_bytes {
            true => "memory of one query (query.max_bytes)".to_owned(),
            false => format!("memory of one query of tenant {tenant} (query.tenant_limits)"),
        };
        let parent = self.tenant_budgets.get(tenant.as_str()).unwrap_or(&self.budget);
        Budget::new(name, most, Some(Arc::clone(parent)))
    }

    /// A place among the queries for other work, such as a remote read.
    ///
    /// # Errors
    /// When there is none within the timeout of queries.
    pub(crate) async fn place(&self, tenant: &TenantId) -> Result<Slot, ApiError> {
        let timeout = Duration::from_millis(u64::try_from(self.config.timeout.ms()).unwrap_or_default());
        self.slot(tenant, Instant::now() + timeout).await
    }

    /// Parses, waits for a place, fetches and evaluates, all within the timeout. Dropping the future stops the evaluation.
    pub(super) async fn run(&self, question: &Question<'_>) -> Result<Found, ApiError> {
        let began = Instant::now();
        let expr =
            promql::parse(question.text, &self.options).map_err(|err| ApiError::parameter("query", err));
        self.metrics.patterns.set(i64::try_from(self.options.patterns.len()).unwrap_or(i64::MAX));
        let expr = expr?;
        let timeout = question.timeout_ms.unwrap_or(i64::MAX).min(self.config.timeout.ms());
        let deadline = began + Duration::from_millis(u64::try_from(timeout).unwrap_or_default());
        let slot = self.slot(question.tenant, deadline).await?;
        let queued = began.elapsed();
        let running = self.active.begin(question.tenant, question.text, question.now);
        self.metrics.queries_running.inc();
        let _running = Counted { gauge: &self.metrics.queries_running };
        let run = self.evaluate(question, &expr, deadline);
        let result = match tokio::time::timeout_at(deadline, run).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::new(
                ErrorType::Timeout,
                "query timed out in expression evaluation (query.timeout); narrow it or raise the limit",
            )),
        };
        drop((slot, running));
        let used = self.budget.used_bytes();
        self.metrics.query_bytes.set(i64::try_from(used).unwrap_or(i64::MAX));
        let took = began.elapsed();
        self.metrics.query_seconds.observe(took.as_secs_f64());
        match result {
            Ok(mut found) => {
                found.timings.queued = queued;
                self.metrics.query_samples.inc_by(found.stats.samples);
                self.log.finished(question, took, &found.timings, Ok(&found.stats));
                Ok(found)
            }
            Err(err) => {
                self.log.finished(
                    question,
                    took,
                    &Timings { queued, ..Timings::default() },
                    Err(&err.message),
                );
                Err(err)
            }
        }
    }

    async fn slot(&self, tenant: &TenantId, deadline: Instant) -> Result<Slot, ApiError> {
        let acquired = tokio::time::timeout_at(deadline, self.slots.acquire(tenant)).await;
        self.metrics.queries_waiting.set(i64::try_from(self.slots.waiting()).unwrap_or(i64::MAX));
        match acquired {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(Refused::QueueFull)) => {
                self.metrics.queries_refused.inc();
                let message = format!(
                    "{} queries of this tenant wait already (query.max_queued_per_tenant); try again later",
                    self.config.max_queued_per_tenant
                );
                Err(ApiError { retry_after: Some(1), ..ApiError::new(ErrorType::Unavailable, message) })
            }
            Err(_) => {
                self.metrics.queries_refused.inc();
                let message = format!(
                    "query timed out waiting for a place: {} queries run already (query.max_concurrency)",
                    self.config.max_concurrency
                );
                Err(ApiError::new(ErrorType::Timeout, message))
            }
        }
    }

    async fn evaluate(
        &self,
        question: &Question<'_>,
        expr: &promql::Expr,
        deadline: Instant,
    ) -> Result<Found, ApiError> {
        let lookback = question.lookback_ms.unwrap_or(self.config.lookback_delta.ms());
        let options = EvalOptions {
            look_back_ms: lookback,
            subquery_step_ms: self.config.default_evaluation_interval.ms(),
            per_step_stats: question.per_step_stats,
            ..self.eval_options.clone()
        };
        let plan = promql::plan(expr, question.times, &options).map_err(|err| query_error(&err))?;
        let budget = self.budget(question.tenant);
        let (Times::Range { start, end, step_ms }, Some(reach), true) =
            (question.times, plan.reach(), question.use_cache && self.cache.is_on())
        else {
            let (evaluated, timings) = self.compute(question.tenant, plan, deadline, budget).await?;
            return Ok(found(evaluated, timings));
        };
        let printed = expr.to_string();
        if !depends_on_steps_alone(&printed) {
            let (evaluated, timings) = self.compute(question.tenant, plan, deadline, budget).await?;
            return Ok(found(evaluated, timings));
        }
        let key = Key {
            tenant: question.tenant.clone(),
            query: printed,
            step_ms,
            phase_ms: start.ms().rem_euclid(step_ms),
            lookback_ms: lookback,
        };
        let oldest = (self.deleted_until)();
        let steps = plan.steps();
        let stamp = self.stamps.now(question.tenant);
        let reusable = self.cache.find(&key, (start.ms(), steps), oldest, &self.stamps);
        let kept = match reusable {
            None => {
                self.metrics.cache_misses.inc();
                let (evaluated, timings) = self.compute(question.tenant, plan, deadline, budget).await?;
                let Evaluated { value: RowsValue::Matrix(mut rows), annotations, stats } = evaluated else {
                    return Ok(found(evaluated, timings));
                };
                if rows.is_empty() {
                    return Ok(Found { value: Value::Shared(Arc::new(rows)), annotations, stats, timings });
                }
                rows.release();
                (Kept { rows: Arc::new(rows), annotations, reach, stamp }, stats, timings)
            }
            Some(Reusable { kept, from, steps: usable }) => {
                self.metrics.cache_hits.inc();
                self.metrics.cache_steps.inc_by(usable as u64);
                if usable == steps {
                    // Nothing to compute; what is kept covers the range and may cover more.
                    let rows = match from == 0 && kept.rows.steps() == steps {
                        true => Arc::clone(&kept.rows),
                        false => {
                            let part = [(&*kept.rows, from..from + usable, 0)];
                            Arc::new(self.join((start.ms(), step_ms, steps), &part, &budget)?)
                        }
                    };
                    let value = Value::Shared(rows);
                    let (stats, timings) = (Stats::default(), Timings::default());
                    return Ok(Found { value, annotations: kept.annotations, stats, timings });
                }
                let rest_start = start.ms() + step_ms * usable as i64;
                let times = Times::Range { start: Timestamp(rest_start), end, step_ms };
                let plan = promql::plan(expr, times, &options).map_err(|err| query_error(&err))?;
                let (evaluated, timings) =
                    self.compute(question.tenant, plan, deadline, Arc::clone(&budget)).await?;
                let Evaluated { value: RowsValue::Matrix(fresh), annotations, stats } = evaluated else {
                    return Err(ApiError::new(ErrorType::Internal, "a range query gave no matrix"));
                };
                let mut all = kept.annotations;
                all.merge(annotations);
                let parts = [(&*kept.rows, from..from + usable, 0), (&fresh, 0..fresh.steps(), usable)];
                let mut rows = self.join((start.ms(), step_ms, steps), &parts, &budget)?;
                rows.release();
                // The older part was right at the newer stamp too: that has just been looked at.
                (Kept { rows: Arc::new(rows), annotations: all, reach, stamp }, stats, timings)
            }
        };
        let (kept, stats, timings) = kept;
        let found = Found {
            value: Value::Shared(Arc::clone(&kept.rows)),
            annotations: kept.annotations.clone(),
            stats,
            timings,
        };
        self.cache.keep(key, kept);
        let (bytes, _) = self.cache.size();
        self.metrics.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(found)
    }

    fn join(
        &self,
        grid: (i64, i64, usize),
        parts: &[(&Rows, std::ops::Range<usize>, usize)],
        budget: &Arc<Budget>,
    ) -> Result<Rows, ApiError> {
        Rows::join(grid, parts, budget).map_err(|err| query_error(&promql::Error::from(err)))
    }

    async fn compute(
        &self,
        tenant: &TenantId,
        plan: Plan,
        deadline: Instant,
        budget: Arc<Budget>,
    ) -> Result<(Evaluated, Timings), ApiError> {
        let bounds = self.config.limits_of(tenant);
        let limits = Limits {
            max_samples: bounds.max_samples as u64,
            max_series: bounds.max_series as u64,
            deadline: Some(deadline.into_std()),
            ..Limits::default()
        };
        let began = Instant::now();
        let selected = promql::query::fetch(&*self.querier, tenant, &plan, &limits, &budget)
            .await
            .map_err(|err| query_error(&err))?;
        let prepared = began.elapsed();
        // Dropping this future, as happens when the client goes away, stops the threads at their next batch.
        let cancel = Arc::new(AtomicBool::new(false));
        let _stop = SetOnDrop(Arc::clone(&cancel));
        if promql::query::is_small(&plan, &selected) {
            let evaluated = promql::evaluate_rows(&plan, selected, &limits, &budget, &cancel);
            let timings = Timings {
                prepared,
                evaluated: began.elapsed().saturating_sub(prepared),
                ..Timings::default()
            };
            return evaluated.map(|found| (found, timings)).map_err(|err| query_error(&err));
        }
        let work = move || promql::evaluate_rows(&plan, selected, &limits, &budget, &cancel);
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => {
                let evaluated = began.elapsed().saturating_sub(prepared);
                let timings = Timings { prepared, evaluated, ..Timings::default() };
                result.map(|found| (found, timings)).map_err(|err| query_error(&err))
            }
            Err(err) => {
                tracing::error!(error = %err, "a query ended early");
                Err(ApiError::new(
                    ErrorType::Internal,
                    "internal error: the evaluation ended early; see the server's log",
                ))
            }
        }
    }
}

fn found(evaluated: Evaluated, timings: Timings) -> Found {
    let Evaluated { value, annotations, stats } = evaluated;
    Found { value: Value::Own(value), annotations, stats, timings }
}

/// Takes one from a gauge when it is dropped.
struct Counted<'a> {
    gauge: &'a prometheus_client::metrics::gauge::Gauge,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Sets a flag when it is dropped.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The answer to an error of the engine.
pub(crate) fn query_error(err: &promql::Error) -> ApiError {
    let kind = match err.kind() {
        ErrorKind::Timeout => ErrorType::Timeout,
        ErrorKind::Cancelled => ErrorType::Canceled,
        ErrorKind::Internal | ErrorKind::Corrupt => ErrorType::Internal,
        ErrorKind::Unavailable => ErrorType::Unavailable,
        _ if matches!(err, promql::Error::Plan(_)) => return ApiError::parameter("query", err),
        _ => ErrorType::Execution,
    };
    ApiError::new(kind, err.to_string())
}
