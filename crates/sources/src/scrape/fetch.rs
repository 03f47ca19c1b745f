//! One request for an exposition.

use std::time::Duration;

use httpc::{Client, Request, StatusCode};
use wire::Format;

use crate::config::{Escaping, Protocol};

/// What is the same for every target of a job.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) accept: String,
    pub(crate) fallback: Option<Format>,
    pub(crate) max_body: usize,
}

/// The `Accept` header: the configured formats, the first with the greatest weight.
pub(crate) fn accept(protocols: &[Protocol], escaping: Escaping) -> String {
    let mut out = String::new();
    let mut weight = protocols.len() + 1;
    for protocol in protocols {
        let kind = match protocol {
            Protocol::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Protocol::OpenMetricsText100 => "application/openmetrics-text;version=1.0.0",
            Protocol::OpenMetricsText001 => "application/openmetrics-text;version=0.0.1",
            Protocol::PrometheusText100 => "text/plain;version=1.0.0",
            Protocol::PrometheusText004 => "text/plain;version=0.0.4",
        };
        out.push_str(kind);
        if matches!(protocol, Protocol::OpenMetricsText100 | Protocol::PrometheusText100) {
            out.push_str(";escaping=");
            out.push_str(escaping.as_str());
        }
        out.push_str(&format!(";q=0.{weight},"));
        weight -= 1;
    }
    out.push_str(&format!("*/*;q=0.{weight}"));
    out
}

/// Fetches a body into `body`; its format. An error is what the target's `lastError` shows.
pub(crate) async fn fetch(
    client: &Client,
    url: &str,
    ask: &Ask,
    timeout: Duration,
    body: &mut Vec<u8>,
) -> Result<Format, String> {
    let request = Request::get(url)
        .and_then(|r| r.header("accept", &ask.accept))
        .and_then(|r| r.header("x-prometheus-scrape-timeout-seconds", &timeout.as_secs_f64().to_string()))
        .map_err(|err| err.chain())?
        .timeout(timeout);
    let response = client.send(request).await.map_err(|err| err.chain())?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("server returned HTTP status {status}"));
    }
    let content_type = response.header("content-type").unwrap_or_default().to_owned();
    let format = match (Format::from_content_type(&content_type), ask.fallback) {
        (Some(format), _) | (None, Some(format)) => format,
        (None, None) if content_type.is_empty() => {
            return Err(
                "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
                    .into(),
            );
        }
        (None, None) => {
            return Err(format!(
                "received unsupported Content-Type {content_type:?} and no fallback_scrape_protocol specified for target"
            ));
        }
    };
    response.read(ask.max_body, body).await.map_err(|err| err.chain())?;
    Ok(format)
}
