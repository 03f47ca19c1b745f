//! Datadog's submission interface: series of versions 1 and 2, and what its agent asks besides.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{answer, pushed, switched_off};
use crate::server::Api;
use crate::{catalog, params};

/// `POST /datadog/api/v1/series`
pub(crate) async fn v1(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Response {
    series(&api, 1, &headers, &body).await
}

/// `POST /api/v2/series` and `/datadog/api/v2/series`.
pub(crate) async fn v2(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Response {
    series(&api, 2, &headers, &body).await
}

/// `POST /api/v1/series`: Prometheus asks there with a form, Datadog's clients submit JSON.
pub(crate) async fn v1_or_catalog(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_json =
        headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    if is_json {
        return series(&api, 1, &headers, &body).await;
    }
    catalog::series(State(api), uri, headers, body).await.into_response()
}

async fn series(api: &Api, version: u8, headers: &HeaderMap, body: &[u8]) -> Response {
    if !api.push.is_enabled().datadog {
        return switched_off("ingest.datadog.enabled");
    }
    match params::tenant(headers) {
        Ok(tenant) => answer(api.push.datadog(version, &pushed(&tenant, headers, body)).await),
        Err(err) => err.into_response(),
    }
}

/// `GET /api/v1/validate` and `/datadog/api/v1/validate`: any key is good here.
pub(crate) async fn validate() -> Json<serde_json::Value> {
    Json(json!({"valid": true}))
}

/// What the agent sends besides metrics: service checks, events, host metadata. It is not kept.
pub(crate) async fn not_kept() -> Response {
    (StatusCode::ACCEPTED, Json(json!({"status": "ok"}))).into_response()
}
