//! `/api/v1/status/cardinality`: which labels are in quarantine, which metrics grow, which limits hold.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::error::ApiError;
use crate::params;
use crate::server::Api;

/// Growing metrics that are shown.
const GROWING: usize = 20;

/// `GET /api/v1/status/cardinality`
pub(crate) async fn show(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let tenant = params::tenant(&headers)?;
    let limits = &api.db.config().limits;
    let data = json!({
        "quarantines": api.guard.quarantines(&tenant),
        "growing": api.guard.growth(&tenant, GROWING),
        "limits": {
            "series": limits.series,
            "seriesPerMetric": limits.series_per_metric,
            "seriesPerTarget": limits.series_per_target,
        },
        "settings": api.guard.config(),
    });
    Ok(Json(json!({"status": "success", "data": data})).into_response())
}

/// Which metric is meant.
#[derive(Debug, Deserialize)]
pub(crate) struct Metric {
    metric: String,
}

/// `DELETE /api/v1/status/cardinality?metric=…`: ends a quarantine by hand.
pub(crate) async fn release(
    State(api): State<Arc<Api>>,
    Query(Metric { metric }): Query<Metric>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !api.web.enable_admin_api {
        return Ok(
            (StatusCode::FORBIDDEN, "the admin API is switched off (web.enable_admin_api)\n").into_response()
        );
    }
    let tenant = params::tenant(&headers)?;
    if api.guard.release(&tenant, &metric) {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(ApiError::not_found(format!("metric {metric:?} is not in quarantine")))
    }
}
