//! `query`, `query_range`, `format_query`, `parse_query`, and everything that runs queries.
//!
//! | module | holds |
//! |---|---|
//! | `run` | a query from its text to its answer |
//! | `answer` | the answer as JSON |
//! | `slots` | places for queries that run at once, fair between tenants |
//! | [`cache`], [`stamps`] | answers kept for the next refresh; what tells that they are still right |
//! | [`active`], [`log`] | the queries that run; slow ones and all of them in a file |

pub mod active;
mod answer;
mod cache;
pub mod log;
pub(crate) mod run;
mod slots;
pub mod stamps;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use model::{Labels, TenantId, Timestamp};
use promql::{Point, RowsValue, Times};

use crate::error::ApiError;
use crate::params::{self, Params};
use crate::reply;
use crate::server::Api;
use answer::{StatsWanted, Value, answer};
use run::Question;

/// Most points of one series in a range query, as in Prometheus.
const MAX_POINTS: i64 = 11_000;

/// `GET|POST /api/v1/query`
pub(crate) async fn instant(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &body)?;
    let at = params.time("time")?.unwrap_or_else(|| api.clock.now());
    run(&api, &params, &headers, Times::Instant(at), "/api/v1/query").await
}

/// `GET|POST /api/v1/query_range`
pub(crate) async fn range(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &body)?;
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
    run(&api, &params, &headers, Times::Range { start, end, step_ms: step }, "/api/v1/query_range").await
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
    let question = Question {
        tenant: &TenantId::default(),
        text,
        times: Times::Instant(at),
        timeout_ms: None,
        lookback_ms: None,
        per_step_stats: false,
        use_cache: false,
        now: api.clock.now(),
        path: "",
    };
    let found = api.queries.run(&question).await?;
    let Value::Own(RowsValue::Vector(rows)) = found.value else {
        return Err(ApiError::bad_data(format!("{text:?} gives no instant vector")));
    };
    let first = |index: usize| match rows.points(index).next()?.1 {
        Point::Float(value) => Some((rows.labels(index).clone(), value)),
        Point::Histogram(_) => None,
    };
    Ok((0..rows.len()).filter_map(first).collect())
}

fn parsed(api: &Api, params: &Params) -> Result<promql::Expr, ApiError> {
    let text = params.get("query").unwrap_or_default();
    promql::parse(text, &api.options).map_err(|err| ApiError::parameter("query", err))
}

async fn run(
    api: &Api,
    params: &Params,
    headers: &HeaderMap,
    times: Times,
    path: &str,
) -> Result<Response, ApiError> {
    let tenant = params::tenant(headers)?;
    let limit = params.limit("limit")?;
    let text = params.get("query").unwrap_or_default();
    let stats = StatsWanted::from_param(params.get("stats"));
    // As VictoriaMetrics' `nocache=1` and as HTTP says it.
    let fresh = params.flag("nocache")?.unwrap_or(false)
        || headers.get(header::CACHE_CONTROL).is_some_and(|value| value.as_bytes().starts_with(b"no-store"));
    let question = Question {
        tenant: &tenant,
        text,
        times,
        timeout_ms: params.duration_ms("timeout")?,
        lookback_ms: params.duration_ms("lookback_delta")?,
        per_step_stats: stats == StatsWanted::All,
        use_cache: !fresh && stats == StatsWanted::No,
        now: api.clock.now(),
        path,
    };
    let found = api.queries.run(&question).await?;
    Ok(answer(found, text, limit, stats))
}
