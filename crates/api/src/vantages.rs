//! Vantage points over HTTP: what they are to probe, who is there, and what nobody sees.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use probe::vantage::{Introduction, Refused, Vantages};
use serde_json::json;

use crate::error::ApiError;
use crate::reply;
use crate::server::Api;

/// An introduction is small.
const MAX_BYTES: usize = 64 << 10;

/// What the server has of probes.
#[derive(Clone)]
pub struct Probes {
    /// Makes probes.
    pub prober: Arc<probe::Prober>,
    /// Knows the vantage points.
    pub vantages: Arc<Vantages>,
    /// Whether `/probe` answers.
    pub endpoint: bool,
}

fn vantages(api: &Api) -> Result<&Vantages, ApiError> {
    api.probe
        .as_ref()
        .map(|probes| &*probes.vantages)
        .ok_or_else(|| ApiError::not_found("this server has no vantage points"))
}

/// `POST /api/v1/probe/vantages`: a vantage point says who it is; the answer says what it is to probe.
pub(crate) async fn introduce(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    if body.len() > MAX_BYTES {
        return Err(ApiError::bad_data(format!("an introduction is at most {MAX_BYTES} bytes")));
    }
    let who: Introduction = serde_json::from_slice(&body)
        .map_err(|err| ApiError::bad_data(format!("the introduction cannot be read: {err}")))?;
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().trim();
    match vantages(&api)?.introduce(token, who) {
        Ok(plan) => Ok(reply::success_of(&plan)),
        Err(refused) => {
            let (status, kind) = match refused {
                Refused::Token => (StatusCode::UNAUTHORIZED, "unauthorized"),
                Refused::Full(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_vantages"),
                Refused::Invalid(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            };
            let body = json!({"status": "error", "errorType": kind, "error": refused.to_string()});
            Ok((status, axum::Json(body)).into_response())
        }
    }
}

/// `GET /api/v1/probe/vantages`: who is there, and what each runs.
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    Ok(reply::success_of(&vantages(&api)?.list()))
}

/// `GET /api/v1/probe/coverage`: from which countries and networks is probed, and from which is not.
pub(crate) async fn coverage(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let clients = api.clients.as_ref().map(|collector| crate::client_reports::places(collector));
    Ok(reply::success_of(&vantages(&api)?.coverage(clients.as_deref())))
}
