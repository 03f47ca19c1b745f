//! `POST /api/v1/query_batch`: the queries of one dashboard in one request, each answered as if it had come alone.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::Deserialize;

use crate::error::{ApiError, ErrorType};
use crate::server::Api;
use crate::{query, reply};

/// Queries in one request.
const MAX_QUERIES: usize = 200;
/// Queries of one request that run at once; the others leave room for other people's.
const AT_ONCE: usize = 4;
/// The largest answer to one query that is passed on.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    queries: Vec<One>,
}

/// One query: over a range when it has a step, else at one time. Times and step in seconds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    query: String,
    time: Option<f64>,
    start: Option<f64>,
    end: Option<f64>,
    step: Option<f64>,
    limit: Option<u32>,
}

impl One {
    /// The same as the parameters of a request of its own.
    fn form(&self) -> (bool, String) {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("query", &self.query);
        let numbers = [("time", self.time), ("start", self.start), ("end", self.end), ("step", self.step)];
        for (name, value) in numbers {
            if let Some(value) = value {
                form.append_pair(name, &value.to_string());
            }
        }
        if let Some(limit) = self.limit {
            form.append_pair("limit", &limit.to_string());
        }
        (self.step.is_some(), form.finish())
    }
}

/// `POST /api/v1/query_batch`
///
/// Answers `data`: an array in the order of the queries, each element what `query` or `query_range` would have answered, errors
/// included.
pub(crate) async fn batch(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let batch: Batch = serde_json::from_slice(&body)
        .map_err(|err| ApiError::bad_data(format!("the body is no batch of queries: {err}")))?;
    if batch.queries.len() > MAX_QUERIES {
        let message =
            format!("{} queries in one request, at most {MAX_QUERIES} are answered", batch.queries.len());
        return Err(ApiError::bad_data(message));
    }
    let mut headers = headers;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.remove(header::CONTENT_LENGTH);
    let answers = batch.queries.into_iter().map(move |one| answer(Arc::clone(&api), headers.clone(), one));
    let pieces = futures_util::stream::iter(answers).buffered(AT_ONCE).enumerate().map(|(nth, answer)| {
        let comma: &[u8] = if nth > 0 { b"," } else { b"" };
        Ok::<Bytes, std::convert::Infallible>([comma, &answer].concat().into())
    });
    let piece = |text: &'static [u8]| futures_util::stream::iter([Ok(Bytes::from_static(text))]);
    let body = piece(b"{\"status\":\"success\",\"data\":[").chain(pieces).chain(piece(b"]}"));
    Ok(reply::json_response(Body::from_stream(body)))
}

async fn answer(api: Arc<Api>, headers: HeaderMap, one: One) -> Bytes {
    let (ranged, form) = one.form();
    let (uri, body) = (Uri::from_static("/"), Bytes::from(form));
    let answered = if ranged {
        query::range(State(api), uri, headers, body).await
    } else {
        query::instant(State(api), uri, headers, body).await
    };
    let response = answered.unwrap_or_else(IntoResponse::into_response);
    match axum::body::to_bytes(response.into_body(), MAX_ANSWER_BYTES).await {
        Ok(bytes) => bytes,
        Err(err) => {
            let message =
                format!("the answer cannot be passed on, at most {MAX_ANSWER_BYTES} bytes are: {err}");
            let response = ApiError::new(ErrorType::Execution, message).into_response();
            axum::body::to_bytes(response.into_body(), MAX_ANSWER_BYTES).await.unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_makes_a_range() {
        let one: One =
            serde_json::from_str(r#"{"query":"up{a=\"b\"}","start":1.5,"end":2,"step":15}"#).unwrap();
        assert_eq!(one.form(), (true, "query=up%7Ba%3D%22b%22%7D&start=1.5&end=2&step=15".to_owned()));
        let one: One = serde_json::from_str(r#"{"query":"up","time":7}"#).unwrap();
        assert_eq!(one.form(), (false, "query=up&time=7".to_owned()));
        assert!(serde_json::from_str::<One>(r#"{"query":"up","tiem":7}"#).is_err());
    }
}
