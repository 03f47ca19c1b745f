//! The success envelope: `{"status":"success","data":…}`, with warnings and infos where there are any.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;

use crate::json;

/// So many elements of an array are written at once.
const STREAMED: usize = 256;

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

/// A JSON array that is written as the client reads it, [`STREAMED`] elements at a time: a long one is never held as text.
pub(crate) fn streamed<T: Serialize + Send + 'static>(items: Vec<T>) -> Response {
    let (mut items, mut begun) = (items.into_iter().peekable(), false);
    let chunks = std::iter::from_fn(move || {
        if begun && items.peek().is_none() {
            return None;
        }
        let mut out = Vec::with_capacity(16 << 10);
        for item in items.by_ref().take(STREAMED) {
            out.push(if begun { b',' } else { b'[' });
            begun = true;
            if let Err(err) = serde_json::to_writer(&mut out, &item) {
                return Some(Err(err));
            }
        }
        if !begun {
            begun = true;
            out.push(b'[');
        }
        if items.peek().is_none() {
            out.push(b']');
        }
        Some(Ok(out))
    });
    json_response(Body::from_stream(futures_util::stream::iter(chunks)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn arrays_are_whole() {
        for len in [0, 1, STREAMED, STREAMED + 1, 3 * STREAMED] {
            let items: Vec<usize> = (0..len).collect();
            let body = axum::body::to_bytes(streamed(items.clone()).into_body(), 1 << 20).await.unwrap();
            assert_eq!(serde_json::from_slice::<Vec<usize>>(&body).unwrap(), items);
        }
    }
}
