//! OTLP metrics: HTTP on three paths that are in use, and gRPC on the same port.
//!
//! gRPC here is one unary call: a message with a five-byte prefix in, one out, the status in the trailers.

use std::fmt::Write;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::{answer, pushed, switched_off};
use crate::params;
use crate::server::Api;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// `POST /api/v1/otlp/v1/metrics` (Prometheus), `/v1/metrics` (the specification's default), `/opentelemetry/v1/metrics`.
pub(crate) async fn http(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Response {
    if !api.push.is_enabled().otlp {
        return switched_off("ingest.otlp.enabled");
    }
    match params::tenant(&headers) {
        Ok(tenant) => answer(api.push.otlp(&pushed(&tenant, &headers, &body)).await),
        Err(err) => err.into_response(),
    }
}

/// `POST /opentelemetry.proto.collector.metrics.v1.MetricsService/Export`
pub(crate) async fn grpc(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Response {
    let is_grpc =
        headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "this path speaks gRPC\n").into_response();
    }
    if !api.push.is_enabled().otlp {
        return failed(12, "the OTLP receiver is switched off (ingest.otlp.enabled)", &[]);
    }
    let tenant = match params::tenant(&headers) {
        Ok(tenant) => tenant,
        Err(err) => return failed(3, &err.message, &[]),
    };
    let mut request = pushed(&tenant, &headers, &body);
    request.content_encoding = headers.get("grpc-encoding").and_then(|value| value.to_str().ok());
    let call = api.push.otlp_grpc(&request).await;
    if call.code != 0 {
        return failed(call.code, &call.message, &call.details);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let frames: [Result<Frame<Bytes>, std::convert::Infallible>; 2] =
        [Ok(Frame::data(Bytes::from(call.body))), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(Body::new(StreamBody::new(stream::iter(frames))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// An answer that is all trailers, in the place of headers.
fn failed(code: u32, message: &str, details: &[u8]) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, HeaderValue::from(code));
    if let Ok(value) = HeaderValue::from_str(&percent_encoded(message)) {
        headers.insert(MESSAGE, value);
    }
    if !details.is_empty()
        && let Ok(value) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(details))
    {
        headers.insert(DETAILS, value);
    }
    response
}

/// What is no printable ASCII, and `%`, is percent-encoded. Source: the gRPC specification, "Status-Message".
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("50% µ\n"), "50%25 %C2%B5%0A");
    }
}
