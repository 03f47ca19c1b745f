//! Answers to requests that no handler sees: a method that a path lacks, a body that is too large. The web framework answers
//! them with an empty body, or with a text that does not say which limit it was.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorType};
use crate::server::Api;

/// How the framework's own text about a body begins.
const UNREAD: &[u8] = b"Failed to buffer the request body";
/// Texts that are looked at are no longer than this.
const MAX_TEXT: usize = 4096;

/// Says what is wrong, in Prometheus' words where it has some.
pub(crate) async fn layer(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => method_not_allowed(response),
        StatusCode::PAYLOAD_TOO_LARGE => too_large(response, api.web.max_body_bytes).await,
        _ => response,
    }
}

/// As Prometheus answers: the methods in order, `OPTIONS` among them, and two words.
fn method_not_allowed(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if parts.headers.contains_key(header::CONTENT_TYPE) {
        return Response::from_parts(parts, body);
    }
    let allowed = parts.headers.get(header::ALLOW).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut methods: Vec<&str> = allowed.split(',').map(str::trim).filter(|m| !m.is_empty()).collect();
    methods.push("OPTIONS");
    methods.sort_unstable();
    methods.dedup();
    if let Ok(value) = HeaderValue::from_str(&methods.join(", ")) {
        parts.headers.insert(header::ALLOW, value);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    parts.headers.insert(header::CONTENT_TYPE, kind);
    Response::from_parts(parts, Body::from("Method Not Allowed\n"))
}

async fn too_large(response: Response, max: usize) -> Response {
    let (parts, body) = response.into_parts();
    let Ok(text) = axum::body::to_bytes(body, MAX_TEXT).await else {
        return Response::from_parts(parts, Body::empty());
    };
    if !text.starts_with(UNREAD) {
        return Response::from_parts(parts, Body::from(text));
    }
    let message =
        format!("the request body is larger than {max} bytes; send less, or raise web.max_body_bytes");
    let mut answer = ApiError::new(ErrorType::BadData, message).into_response();
    *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    answer
}
