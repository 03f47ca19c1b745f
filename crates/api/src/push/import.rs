//! Prometheus text, OpenMetrics or protobuf, pushed.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::{answer, pushed, switched_off};
use crate::error::ApiError;
use crate::params;
use crate::server::Api;

/// `POST` and `PUT /api/v1/import/prometheus`, with any number of `extra_label=name=value`.
pub(crate) async fn import(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !api.push.is_enabled().import {
        return switched_off("ingest.import.enabled");
    }
    let tenant = match params::tenant(&headers) {
        Ok(tenant) => tenant,
        Err(err) => return err.into_response(),
    };
    let mut extra = Vec::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "extra_label" {
            continue;
        }
        match value.split_once('=').filter(|(name, _)| !name.is_empty()) {
            Some((name, value)) => extra.push((name.to_owned(), value.to_owned())),
            None => {
                return ApiError::parameter("extra_label", format!("{value:?} is not name=value"))
                    .into_response();
            }
        }
    }
    answer(api.push.import(&extra, &pushed(&tenant, &headers, &body)).await)
}
