//! Push endpoints: what comes in over HTTP. A module a protocol; what a request means is `ingest`'s.

pub(crate) mod datadog;
pub(crate) mod import;
pub(crate) mod influx;
pub(crate) mod otlp;
pub(crate) mod pushgateway;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ingest::push::{Answer, Pushed};
use model::TenantId;

use crate::params;
use crate::server::Api;

/// `POST /api/v1/write`: Prometheus remote write 1.0 and 2.0.
pub(crate) async fn remote_write(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Response {
    if !api.web.enable_remote_write_receiver {
        let text = "the remote write receiver is switched off (web.enable_remote_write_receiver)\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    }
    let tenant = match params::tenant(&headers) {
        Ok(tenant) => tenant,
        Err(err) => return err.into_response(),
    };
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let (kind, encoding) = (text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
    let answer = api.remote_write.receive(&*api.appender, &tenant, kind, encoding, &body).await;
    respond(answer.status, answer.headers, answer.body.into_bytes())
}

/// A receiver's answer as HTTP.
pub(crate) fn answer(answer: Answer) -> Response {
    respond(answer.status, answer.headers, answer.body)
}

fn respond(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let empty = body.is_empty();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    if !empty {
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// What a receiver looks at of a request.
pub(crate) fn pushed<'r>(tenant: &'r TenantId, headers: &'r HeaderMap, body: &'r [u8]) -> Pushed<'r> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Pushed {
        tenant,
        content_type: text(header::CONTENT_TYPE),
        content_encoding: text(header::CONTENT_ENCODING),
        body,
    }
}

/// The answer of a receiver that is switched off.
pub(crate) fn switched_off(setting: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("this receiver is switched off ({setting})\n")).into_response()
}
