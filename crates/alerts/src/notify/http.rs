//! HTTP as all services use it.

use std::time::Duration;

use httpc::{Client, Method, Options, Request};

use super::{Attempt, Delivered, Failure, cut_bytes};
use crate::error::Error;

/// No answer is read further.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// So much of an answer is kept for the history.
const KEPT_BYTES: usize = 1024;

/// A client for one section.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    timeout: Option<Duration>,
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, as far as it was read.
    pub body: String,
    /// How long the service wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl Http {
    /// For a section's `http_config`. `timeout` of one request, zero for the client's own.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn new(config: &Option<httpc::Config>, timeout: Duration) -> Result<Self, Error> {
        let config = config.clone().unwrap_or_default();
        let client = Client::new(&config, Options::default())?;
        Ok(Self { client, timeout: (!timeout.is_zero()).then_some(timeout) })
    }

    /// Sends and reads the answer; a status is no error yet.
    ///
    /// # Errors
    /// When there is no complete answer. Its text does not hold the URL's path, which may be a secret.
    pub async fn exchange(&self, mut request: Request) -> Result<Answer, Failure> {
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        let url = request.url.clone();
        let failed = |err: httpc::Error| Failure {
            retry: matches!(err.kind(), model::ErrorKind::Unavailable | model::ErrorKind::Timeout),
            after: None,
            status: None,
            message: hide_path(&err.chain(), &url),
        };
        let response = self.client.send(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let header = |name| response.header(name).map(str::to_owned);
        let (retry_after, date) = (header("retry-after"), header("date"));
        let body = match response.bytes(MAX_ANSWER_BYTES).await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            // The status is what counts; an answer that is too long or breaks off does not undo it.
            Err(err) => hide_path(&err.chain(), &url),
        };
        let retry_after = patience(retry_after.as_deref(), date.as_deref(), &body);
        Ok(Answer { status, body, retry_after })
    }

    /// Sends and judges the status.
    ///
    /// # Errors
    /// When the status is not 2xx or there is no answer.
    pub async fn send(&self, request: Request) -> Attempt {
        self.exchange(request).await?.judge()
    }

    /// Posts JSON and judges the status.
    ///
    /// # Errors
    /// As [`Http::send`].
    pub async fn post_json(&self, url: &str, body: &serde_json::Value, headers: &[(&str, &str)]) -> Attempt {
        self.send(json(Method::POST, url, body, headers)?).await
    }
}

/// A request with a JSON body.
///
/// # Errors
/// When the URL or a header cannot be.
pub fn json(
    method: Method,
    url: &str,
    body: &serde_json::Value,
    headers: &[(&str, &str)],
) -> Result<Request, Failure> {
    let body = serde_json::to_vec(body).map_err(|err| Failure::permanent(err.to_string()))?;
    request(method, url, "application/json", body, headers)
}

/// A request with a body.
///
/// # Errors
/// When the URL or a header cannot be.
pub fn request(
    method: Method,
    url: &str,
    content_type: &str,
    body: Vec<u8>,
    headers: &[(&str, &str)],
) -> Result<Request, Failure> {
    let build = || {
        let mut request = Request::post(url, content_type, body)?;
        request.method = method;
        for (name, value) in headers {
            request = request.header(name, value)?;
        }
        Ok(request)
    };
    // The text of these errors may hold the URL or a header's value.
    build().map_err(|err: httpc::Error| match err {
        httpc::Error::Url { reason, .. } => Failure::permanent(format!("the URL is not valid: {reason}")),
        _ => Failure::permanent("a header has a value that HTTP does not allow"),
    })
}

/// A form body.
pub fn form(pairs: &[(&str, &str)]) -> Vec<u8> {
    let encode = template::escape_query;
    let pairs: Vec<String> = pairs.iter().map(|(n, v)| format!("{}={}", encode(n), encode(v))).collect();
    pairs.join("&").into_bytes()
}

impl Answer {
    /// The answer, when its status is 2xx.
    ///
    /// # Errors
    /// When it is not: 429 and 5xx may be tried again.
    pub fn success(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let retry = self.status == 429 || self.status >= 500;
        Err(Failure {
            retry,
            after: self.retry_after.filter(|_| retry),
            status: Some(self.status),
            message: format!(
                "unexpected status code {}: {}",
                self.status,
                cut_bytes(self.body.trim(), KEPT_BYTES)
            ),
        })
    }

    /// Whether it has arrived.
    ///
    /// # Errors
    /// As [`Answer::success`].
    pub fn judge(self) -> Attempt {
        let answer = self.success()?;
        let text = cut_bytes(answer.body.trim(), KEPT_BYTES);
        Ok(Delivered { status: Some(answer.status), answer: text })
    }
}

/// How long the service wants to be left alone: `Retry-After` in seconds, or as a date against its own `Date`; else what
/// Discord (`retry_after`) and Telegram (`parameters.retry_after`) say in the body, in seconds.
fn patience(retry_after: Option<&str>, date: Option<&str>, body: &str) -> Option<Duration> {
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    if let Some(text) = retry_after.map(str::trim) {
        if let Ok(number) = text.parse() {
            return seconds(number);
        }
        let parse = jiff::fmt::rfc2822::DateTimeParser::new();
        let read = |text: &str| parse.parse_timestamp(text.trim()).ok();
        if let (Some(until), Some(now)) = (read(text), date.and_then(read)) {
            return seconds(until.duration_since(now).as_secs_f64().max(0.0));
        }
    }
    let said: serde_json::Value = serde_json::from_str(body).ok()?;
    seconds(said["retry_after"].as_f64().or_else(|| said["parameters"]["retry_after"].as_f64())?)
}

/// Chat webhooks carry their secret in the path.
fn hide_path(message: &str, url: &httpc::Url) -> String {
    let mut hidden = message.to_owned();
    for part in [url.path(), url.query().unwrap_or_default()] {
        if part.len() > 1 {
            hidden = hidden.replace(part, "/<secret>");
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_read_as_services_ask_for_it() {
        let check = |retry_after, date, body, expected: Option<f64>| {
            assert_eq!(
                patience(retry_after, date, body),
                expected.map(Duration::from_secs_f64),
                "{retry_after:?} {body}"
            );
        };
        check(Some(" 7"), None, "", Some(7.0));
        check(Some("0.5"), None, "", Some(0.5));
        let date = Some("Tue, 24 Nov 2026 10:00:00 GMT");
        check(Some("Tue, 24 Nov 2026 10:01:30 GMT"), date, "", Some(90.0));
        check(Some("Tue, 24 Nov 2026 09:00:00 GMT"), date, "", Some(0.0));
        check(Some("Tue, 24 Nov 2026 10:01:30 GMT"), None, "", None);
        check(
            None,
            None,
            r#"{"message":"You are being rate limited.","retry_after":0.75,"global":false}"#,
            Some(0.75),
        );
        check(None, None, r#"{"ok":false,"parameters":{"retry_after":35}}"#, Some(35.0));
        for nonsense in ["-1", "soon", "NaN", "1e300"] {
            check(Some(nonsense), date, "<html>", None);
        }
    }
}
