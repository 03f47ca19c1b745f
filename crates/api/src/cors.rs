//! Cross-origin requests: which pages of other origins may read the query API, and the answer to their preflight.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::server::Api;

const ALLOWED_HEADERS: &str = "Accept, Accept-Encoding, Authorization, Content-Type, Origin";
const ALLOWED_METHODS: &str = "GET, POST, OPTIONS";

/// Adds the headers to every answer under `/api/v1` to an allowed origin, and answers `OPTIONS` with status 204.
pub(crate) async fn layer(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with("/api/v1/") {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    if let Some(origin) = origin {
        allow(&api, &origin, response.headers_mut());
    }
    response
}

fn allow(api: &Api, origin: &HeaderValue, headers: &mut HeaderMap) {
    let Some(pattern) = &api.cors_origin else { return };
    if !origin.to_str().is_ok_and(|origin| pattern.matches(origin)) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        return;
    }
    let any = api.web.cors_origin == ".*";
    let set = [
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS)),
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(ALLOWED_METHODS)),
        (
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            if any { HeaderValue::from_static("*") } else { origin.clone() },
        ),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date")),
    ];
    headers.extend(set);
    if !any {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}
