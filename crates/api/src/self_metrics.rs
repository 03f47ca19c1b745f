//! `/metrics`: what the server measures of itself.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ErrorType};
use crate::server::Api;

/// OpenMetrics where the client accepts it, else Prometheus' text format.
pub(crate) async fn serve(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    let mut text = String::with_capacity(32 << 10);
    if let Err(err) = prometheus_client::encoding::text::encode(&mut text, &api.registry) {
        return ApiError::new(ErrorType::Internal, format!("metrics cannot be written: {err}"))
            .into_response();
    }
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = if accepted.contains("application/openmetrics-text") {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        text = as_prometheus_text(&text);
        "text/plain; version=0.0.4; charset=utf-8"
    };
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Prometheus' text format from OpenMetrics: a counter's metadata names `x_total`, there is no unit and no end mark.
fn as_prometheus_text(open_metrics: &str) -> String {
    let counters: std::collections::HashSet<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut out = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let described =
            ["# HELP ", "# TYPE "].into_iter().find_map(|kind| Some((kind, line.strip_prefix(kind)?)));
        match described.and_then(|(kind, rest)| Some((kind, rest.split_once(' ')?))) {
            Some((kind, (name, rest))) if counters.contains(name) => {
                out.extend([kind, name, "_total ", rest]);
            }
            Some((kind, (name, "unknown"))) => out.extend([kind, name, " untyped"]),
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_their_full_name() {
        let open = "# HELP a_b Things.\n# TYPE a_b counter\n# UNIT a_b things\na_b_total{x=\"1\"} 5\n# TYPE g gauge\ng 1\n# EOF\n";
        let expected =
            "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 5\n# TYPE g gauge\ng 1\n";
        assert_eq!(as_prometheus_text(open), expected);
    }
}
