//! `query`, `query_range`, `format_query`, `parse_query`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use model::{Budget, ErrorKind, Labels, TenantId, Timestamp};
use promql::{EvalOptions, Limits, QueryResult, QueryValue, Series, Times};

use crate::error::{ApiError, ErrorType};
use crate::json;
use crate::params::{self, Params};
use crate::reply;
use crate::server::Api;

/// Most points of one series in a range query, as in Prometheus.
const MAX_POINTS: i64 = 11_000;
/// Most warnings, and most infos, in one answer.
const MAX_ANNOTATIONS: usize = 10;
/// The answer is sent in pieces of about this size.
const CHUNK: usize = 64 << 10;

/// `GET|POST /api/v1/query`
pub(crate) async fn instant(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &body)?;
    let tenant = params::tenant(&headers)?;
    let limit = params.limit("limit")?;
    let at = params.time("time")?.unwrap_or_else(|| api.clock.now());
    let text = params.get("query").unwrap_or_default();
    let found = run(&api, &tenant, text, Times::Instant(at), &params).await?;
    Ok(answer(found, text, limit, stats_wanted(&params)))
}

/// `GET|POST /api/v1/query_range`
pub(crate) async fn range(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &body)?;
    let tenant = params::tenant(&headers)?;
    let limit = params.limit("limit")?;
    let (start, end) = (params.require_time("start")?, params.require_time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = params.get("step").unwrap_or_default();
    let step = params::parse_duration(step).map_err(|cause| ApiError::parameter("step", cause))?;
    if step <= 0 {
        let cause = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", cause));
    }
    if (end - start) / step > MAX_POINTS {
        let message = "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)";
        return Err(ApiError::bad_data(message));
    }
    let text = params.get("query").unwrap_or_default();
    let found = run(&api, &tenant, text, Times::Range { start, end, step_ms: step }, &params).await?;
    Ok(answer(found, text, limit, stats_wanted(&params)))
}

/// `GET|POST /api/v1/format_query`
pub(crate) async fn format(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let expr = parsed(&api, &Params::read(&uri, &headers, &body)?)?;
    Ok(reply::success_of(&promql::prettify(&expr)))
}

/// `GET|POST /api/v1/parse_query`
pub(crate) async fn parse(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let expr = parsed(&api, &Params::read(&uri, &headers, &body)?)?;
    Ok(reply::success_of(&expr))
}

/// The labels and float values of an instant query, for our own pages.
pub(crate) async fn instant_vector(
    api: &Arc<Api>,
    text: &str,
    at: Timestamp,
) -> Result<Vec<(Labels, f64)>, ApiError> {
    let found = run(api, &TenantId::default(), text, Times::Instant(at), &Params::default()).await?;
    let QueryValue::Vector(series) = found.value else {
        return Err(ApiError::bad_data(format!("{text:?} gives no instant vector")));
    };
    let first = |series: Series| Some((series.labels, series.floats.first()?.1));
    Ok(series.into_iter().filter_map(first).collect())
}

fn parsed(api: &Api, params: &Params) -> Result<promql::Expr, ApiError> {
    let text = params.get("query").unwrap_or_default();
    promql::parse(text, &api.options).map_err(|err| ApiError::parameter("query", err))
}

/// Parses, waits for a place, fetches and evaluates, all within the timeout. Dropping the future stops the evaluation.
async fn run(
    api: &Arc<Api>,
    tenant: &TenantId,
    text: &str,
    times: Times,
    params: &Params,
) -> Result<QueryResult, ApiError> {
    let expr = promql::parse(text, &api.options).map_err(|err| ApiError::parameter("query", err))?;
    let timeout = params.duration_ms("timeout")?.unwrap_or(i64::MAX).min(api.query.timeout.ms());
    let timeout = std::time::Duration::from_millis(u64::try_from(timeout).unwrap_or_default());
    let deadline = tokio::time::Instant::now() + timeout;
    let slot = match tokio::time::timeout_at(deadline, api.slots.acquire()).await {
        Ok(slot) => slot.map_err(|_| ApiError::new(ErrorType::Unavailable, "the server is shutting down"))?,
        Err(_) => {
            api.metrics.queries_refused.inc();
            let message = format!(
                "query timed out waiting for a place: {} queries run already (query.max_concurrency)",
                api.query.max_concurrency
            );
            return Err(ApiError::new(ErrorType::Timeout, message));
        }
    };
    let options = EvalOptions {
        look_back_ms: params.duration_ms("lookback_delta")?.unwrap_or(api.query.lookback_delta.ms()),
        subquery_step_ms: api.query.default_evaluation_interval.ms(),
        per_step_stats: params.get("stats") == Some("all"),
        ..api.eval_options.clone()
    };
    let plan = promql::plan(&expr, times, &options).map_err(|err| query_error(&err))?;
    let budget = Budget::new(
        "memory of one query (query.max_bytes)",
        api.query.max_bytes,
        Some(Arc::clone(&api.budget)),
    );
    api.metrics.queries_running.inc();
    let result =
        tokio::time::timeout_at(deadline, fetch_and_evaluate(api, tenant, plan, deadline, budget)).await;
    api.metrics.queries_running.dec();
    drop(slot);
    match result {
        Ok(Ok(found)) => {
            api.metrics.query_samples.inc_by(found.stats.samples);
            Ok(found)
        }
        Ok(Err(err)) => Err(err),
        Err(_) => {
            let message =
                "query timed out in expression evaluation (query.timeout); narrow it or raise the limit";
            Err(ApiError::new(ErrorType::Timeout, message))
        }
    }
}

async fn fetch_and_evaluate(
    api: &Arc<Api>,
    tenant: &TenantId,
    plan: promql::Plan,
    deadline: tokio::time::Instant,
    budget: Arc<Budget>,
) -> Result<QueryResult, ApiError> {
    let selected = api.querier.select(tenant, plan.selects(), &budget).await?;
    let limits = Limits {
        max_samples: api.query.max_samples as u64,
        deadline: Some(deadline.into_std()),
        ..Limits::default()
    };
    // Dropping this future, as happens when the client goes away, stops the threads at their next batch.
    let cancel = Arc::new(AtomicBool::new(false));
    let _stop = SetOnDrop(Arc::clone(&cancel));
    let work = move || promql::evaluate(&plan, selected, &limits, &budget, &cancel);
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|err| query_error(&err)),
        Err(err) => {
            tracing::error!(error = %err, "a query ended early");
            Err(ApiError::new(
                ErrorType::Internal,
                "internal error: the evaluation ended early; see the server's log",
            ))
        }
    }
}

/// Sets a flag when it is dropped.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn query_error(err: &promql::Error) -> ApiError {
    let kind = match err.kind() {
        ErrorKind::Timeout => ErrorType::Timeout,
        ErrorKind::Cancelled => ErrorType::Canceled,
        ErrorKind::Internal | ErrorKind::Corrupt => ErrorType::Internal,
        ErrorKind::Unavailable => ErrorType::Unavailable,
        _ if matches!(err, promql::Error::Plan(_)) => ErrorType::BadData,
        _ => ErrorType::Execution,
    };
    ApiError::new(kind, err.to_string())
}

/// Which statistics the client asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StatsWanted {
    No,
    Totals,
    All,
}

fn stats_wanted(params: &Params) -> StatsWanted {
    match params.get("stats") {
        None => StatsWanted::No,
        Some("all") => StatsWanted::All,
        Some(_) => StatsWanted::Totals,
    }
}

/// The answer as a stream of JSON: series are written as they are sent.
fn answer(found: QueryResult, text: &str, limit: usize, stats: StatsWanted) -> Response {
    let QueryResult { value, annotations, stats: measured } = found;
    let mut head = Vec::with_capacity(CHUNK);
    head.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"resultType\":\"");
    head.extend_from_slice(value.value_type().as_str().as_bytes());
    head.extend_from_slice(b"\",\"result\":");
    let (mut warnings, infos) =
        (annotations.warnings(text, MAX_ANNOTATIONS), annotations.infos(text, MAX_ANNOTATIONS));
    let single = matches!(value, QueryValue::Vector(_));
    let mut series = match value {
        QueryValue::Scalar { time, value } => {
            json::float_point(&mut head, time, value);
            None
        }
        QueryValue::String { time, text } => {
            head.push(b'[');
            json::timestamp(&mut head, time);
            head.push(b',');
            json::string(&mut head, &text);
            head.push(b']');
            None
        }
        QueryValue::Vector(series) | QueryValue::Matrix(series) => {
            head.push(b'[');
            Some(series)
        }
    };
    if let Some(series) = &mut series
        && limit > 0
        && series.len() > limit
    {
        series.truncate(limit);
        warnings.push("results truncated due to limit".to_owned());
    }
    let mut tail = Vec::new();
    if series.is_some() {
        tail.push(b']');
    }
    write_stats(&mut tail, &measured, stats);
    tail.push(b'}');
    reply::finish(&mut tail, &warnings, &infos);
    let Some(series) = series else {
        head.extend_from_slice(&tail);
        return reply::json_response(head);
    };
    let mut pieces = Pieces { series: series.into_iter(), single, first: true };
    let mut head = Some(head);
    let mut tail = Some(tail);
    let body = std::iter::from_fn(move || {
        let mut out = head.take().or_else(|| tail.is_some().then(|| Vec::with_capacity(CHUNK)))?;
        if !pieces.fill(&mut out) {
            out.extend_from_slice(&tail.take().unwrap_or_default());
        }
        Some(Ok::<Bytes, std::convert::Infallible>(out.into()))
    });
    reply::json_response(Body::from_stream(futures_util::stream::iter(body)))
}

/// The series that are still to be written.
struct Pieces {
    series: std::vec::IntoIter<Series>,
    single: bool,
    first: bool,
}

impl Pieces {
    /// Writes series until the buffer is full; whether there are more.
    fn fill(&mut self, out: &mut Vec<u8>) -> bool {
        while out.len() < CHUNK {
            let Some(series) = self.series.next() else { return false };
            if !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            write_series(out, &series, self.single);
        }
        true
    }
}

fn write_series(out: &mut Vec<u8>, series: &Series, single: bool) {
    out.extend_from_slice(b"{\"metric\":");
    json::labels(out, &series.labels);
    let (floats, histograms): (&[u8], &[u8]) =
        if single { (b",\"value\":", b",\"histogram\":") } else { (b",\"values\":[", b",\"histograms\":[") };
    if !series.floats.is_empty() {
        out.extend_from_slice(floats);
        for (i, (time, value)) in series.floats.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            json::float_point(out, *time, *value);
        }
        if !single {
            out.push(b']');
        }
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(histograms);
        for (i, (time, histogram)) in series.histograms.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            json::histogram_point(out, *time, histogram);
        }
        if !single {
            out.push(b']');
        }
    }
    out.push(b'}');
}

fn write_stats(out: &mut Vec<u8>, stats: &promql::Stats, wanted: StatsWanted) {
    if wanted == StatsWanted::No {
        return;
    }
    let total: f64 = stats.nodes.last().map_or(0.0, |node| node.time.as_secs_f64());
    let timings = format!(
        ",\"stats\":{{\"timings\":{{\"evalTotalTime\":{total},\"resultSortTime\":0,\"queryPreparationTime\":0,\
         \"innerEvalTime\":{total},\"execQueueTime\":0,\"execTotalTime\":{total}}},\
         \"samples\":{{\"totalQueryableSamples\":{},\"peakSamples\":{}",
        stats.samples, stats.peak_samples
    );
    out.extend_from_slice(timings.as_bytes());
    if let (StatsWanted::All, Some(steps)) = (wanted, &stats.samples_per_step) {
        out.extend_from_slice(b",\"totalQueryableSamplesPerStep\":[");
        for (i, (time, samples)) in steps.iter().enumerate() {
            out.extend_from_slice(if i > 0 { b",[" } else { b"[" });
            json::timestamp(out, *time);
            out.extend_from_slice(format!(",{samples}]").as_bytes());
        }
        out.push(b']');
    }
    out.push(b'}');
    if wanted == StatsWanted::All {
        // Beside Prometheus' own fields: the plan, for the UI and `query --explain`.
        let nodes: Vec<serde_json::Value> = stats
            .nodes
            .iter()
            .map(|node| {
                serde_json::json!({
                    "title": node.title, "inputs": node.inputs, "series": node.series,
                    "samples": node.samples, "seconds": node.time.as_secs_f64(),
                })
            })
            .collect();
        out.extend_from_slice(format!(",\"plan\":{}", serde_json::Value::from(nodes)).as_bytes());
    }
    out.push(b'}');
}
