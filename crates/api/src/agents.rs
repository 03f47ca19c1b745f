//! `/api/v1/agents`: agents announce themselves, collectors read one another, people see who is there.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sources::agents::{Announcement, Refused, Registry};

use crate::error::ApiError;
use crate::reply;
use crate::server::Api;

/// An announcement is small.
const MAX_BYTES: usize = 64 << 10;

fn registry(api: &Api) -> Result<&Arc<Registry>, ApiError> {
    api.scraper.agents().ok_or_else(|| {
        ApiError::not_found("agents cannot announce themselves here: sources.agents.enabled is false")
    })
}

/// The token of `Authorization: Bearer …`.
fn token(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value.split_once(' ') {
        Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

fn refused(refused: &Refused) -> Response {
    let (status, kind) = match refused {
        Refused::Token => (StatusCode::UNAUTHORIZED, "unauthorized"),
        Refused::Full(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_agents"),
        _ => (StatusCode::BAD_REQUEST, "bad_data"),
    };
    let body = json!({"status": "error", "errorType": kind, "error": refused.to_string()});
    let mut response = (status, axum::Json(body)).into_response();
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("60"));
    }
    response
}

/// `POST /api/v1/agents`: an announcement; the answer says for how long it holds and what to push.
pub(crate) async fn announce(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let registry = registry(&api)?;
    if body.len() > MAX_BYTES {
        return Err(ApiError::bad_data(format!("an announcement is at most {MAX_BYTES} bytes")));
    }
    let agent: Announcement = serde_json::from_slice(&body)
        .map_err(|err| ApiError::bad_data(format!("the announcement cannot be read: {err}")))?;
    Ok(match registry.announce(token(&headers), agent) {
        Ok(granted) => reply::success_of(&granted),
        Err(err) => refused(&err),
    })
}

/// `DELETE /api/v1/agents/{name}`: an agent ends.
pub(crate) async fn withdraw(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    match registry(&api)?.withdraw(token(&headers), &name) {
        Ok(true) => Ok(reply::success_of(&Value::Null)),
        Ok(false) => Err(ApiError::not_found(format!("there is no agent {name:?}"))),
        Err(err) => Ok(refused(&err)),
    }
}

/// `GET /api/v1/agents/direct`: what this collector's peers read.
pub(crate) async fn direct(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let registry = registry(&api)?;
    if !registry.admits(token(&headers)) {
        return Ok(refused(&Refused::Token));
    }
    Ok(reply::success_of(&json!({"collector": registry.collector(), "agents": registry.direct()})))
}

/// `GET /api/v1/agents`: every agent that is known, and the collector that scrapes it.
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let registry = registry(&api)?;
    let agents: Vec<Value> = registry
        .all()
        .into_iter()
        .map(|(agent, collector, left_ms)| {
            json!({
                "name": agent.name, "address": agent.address, "labels": agent.labels, "collector": collector,
                "leaseLeft": left_ms as f64 / 1000.0,
            })
        })
        .collect();
    Ok(reply::success_of(&json!({
        "collector": registry.collector(), "collectors": registry.collectors(), "agents": agents,
    })))
}
