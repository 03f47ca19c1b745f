//! The success envelope: `{"status":"success","data":…}`, with warnings and infos where there are any.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;

use crate::json;

/// Wraps finished JSON.
pub(crate) fn success(data: &[u8], warnings: &[String], infos: &[String]) -> Response {
    let mut out = Vec::with_capacity(data.len() + 64);
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":");
    out.extend_from_slice(data);
    finish(&mut out, warnings, infos);
    json_response(out)
}

/// Wraps a value.
pub(crate) fn success_of(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(data) => success(&data, &[], &[]),
        Err(err) => {
            let message = format!("the answer cannot be written as JSON: {err}");
            axum::response::IntoResponse::into_response(crate::error::ApiError::new(
                crate::error::ErrorType::Internal,
                message,
            ))
        }
    }
}

/// Ends an envelope that was begun with `{"status":"success","data":…`.
pub(crate) fn finish(out: &mut Vec<u8>, warnings: &[String], infos: &[String]) {
    for (name, list) in [("warnings", warnings), ("infos", infos)] {
        if !list.is_empty() {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            json::strings(out, list.iter().map(String::as_str));
        }
    }
    out.push(b'}');
}

/// A body of finished JSON.
pub(crate) fn json_response(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
