//! The Pushgateway's interface.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ingest::pushgateway::{Action, GroupingKey};

use super::{answer, pushed, switched_off};
use crate::params;
use crate::server::Api;

/// `PUT`, `POST` and `DELETE /metrics/job/<name>{/<label>/<value>}`.
pub(crate) async fn group(
    State(api): State<Arc<Api>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !api.pushgateway.is_enabled() {
        return switched_off("ingest.pushgateway.enabled");
    }
    let tenant = match params::tenant(&headers) {
        Ok(tenant) => tenant,
        Err(err) => return err.into_response(),
    };
    // The path as sent: a value may hold an encoded slash.
    let path = uri.path().strip_prefix("/metrics/").unwrap_or_default();
    let key = match GroupingKey::parse(path) {
        Ok(key) => key,
        Err(err) => return (StatusCode::BAD_REQUEST, format!("{err}\n")).into_response(),
    };
    let action = match method {
        Method::PUT => Action::Replace,
        Method::DELETE => Action::Delete,
        _ => Action::Merge,
    };
    answer(api.pushgateway.receive(action, &key, &pushed(&tenant, &headers, &body)).await)
}

/// `GET /api/v1/metrics`: every group of the tenant.
pub(crate) async fn list(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    if !api.pushgateway.is_enabled() {
        return switched_off("ingest.pushgateway.enabled");
    }
    match params::tenant(&headers) {
        Ok(tenant) => Json(api.pushgateway.list(&tenant).await).into_response(),
        Err(err) => err.into_response(),
    }
}

/// `PUT /api/v1/admin/wipe`: deletes every group of the tenant.
pub(crate) async fn wipe(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    if !api.web.enable_admin_api {
        return (StatusCode::FORBIDDEN, "the admin API is switched off (web.enable_admin_api)\n")
            .into_response();
    }
    if !api.pushgateway.is_enabled() {
        return switched_off("ingest.pushgateway.enabled");
    }
    match params::tenant(&headers) {
        Ok(tenant) => answer(api.pushgateway.wipe(&tenant).await),
        Err(err) => err.into_response(),
    }
}
