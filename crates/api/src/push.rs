//! Push endpoints: what comes in over HTTP.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

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
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, answer.body).into_response();
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
