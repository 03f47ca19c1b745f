//! `/metrics`: what the server measures of itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use model::MetricType;
use serde_json::{Value, json};
use wire::exposition::{Describe, Point, Series, Visitor, read};

use crate::error::{ApiError, ErrorType};
use crate::params::Params;
use crate::reply;
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

/// `GET /api/v1/status/self_metrics?metric_name_pattern=REGEX`: the same as JSON, in the shape of protobuf's
/// `io.prometheus.client.MetricFamily`.
pub(crate) async fn families(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &axum::body::Bytes::new())?;
    let pattern = match params.get("metric_name_pattern") {
        None => None,
        Some(text) => Some(
            model::pattern::Pattern::new(text)
                .map_err(|err| ApiError::parameter("metric_name_pattern", err))?,
        ),
    };
    let internal = |err: String| ApiError::new(ErrorType::Internal, format!("metrics cannot be read: {err}"));
    let mut text = String::with_capacity(32 << 10);
    prometheus_client::encoding::text::encode(&mut text, &api.registry)
        .map_err(|err| internal(err.to_string()))?;
    let mut found = Families::default();
    let mut cache = wire::Cache::new(0);
    read(wire::Format::OpenMetrics100, text.as_bytes(), &mut cache, &mut found)
        .map_err(|err| internal(err.to_string()))?;
    let wanted = |name: &str| pattern.as_ref().is_none_or(|pattern| pattern.matches(name));
    let families: Vec<Value> = found
        .0
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, family)| family.json(&name))
        .collect();
    Ok(reply::success_of(&families))
}

/// Families by name.
#[derive(Default)]
struct Families(BTreeMap<String, FamilyJson>);

#[derive(Default)]
struct FamilyJson {
    help: String,
    kind: MetricType,
    /// By labels.
    metrics: BTreeMap<Vec<(String, String)>, MetricJson>,
}

#[derive(Default)]
struct MetricJson {
    value: f64,
    count: f64,
    sum: f64,
    buckets: Vec<(f64, f64)>,
}

impl FamilyJson {
    fn json(self, name: &str) -> Value {
        let kind = self.kind;
        let metric = |(labels, metric): (Vec<(String, String)>, MetricJson)| {
            let labels: Vec<Value> =
                labels.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            match kind {
                MetricType::Histogram => {
                    let bucket = |(bound, count): (f64, f64)| json!({ "cumulativeCount": count.to_string(), "upperBound": number(bound) });
                    let buckets: Vec<Value> = metric.buckets.into_iter().map(bucket).collect();
                    json!({ "label": labels, "histogram": {
                        "sampleCount": metric.count.to_string(), "sampleSum": number(metric.sum), "bucket": buckets,
                    }})
                }
                MetricType::Counter => {
                    json!({ "label": labels, "counter": { "value": number(metric.value) } })
                }
                _ => json!({ "label": labels, "gauge": { "value": number(metric.value) } }),
            }
        };
        let metrics: Vec<Value> = self.metrics.into_iter().map(metric).collect();
        let word = match kind {
            MetricType::Histogram => "HISTOGRAM",
            MetricType::Counter => "COUNTER",
            _ => "GAUGE",
        };
        json!({ "name": name, "help": self.help, "type": word, "metric": metrics })
    }
}

/// JSON has no infinities and no NaN: protobuf's JSON writes them as texts.
fn number(value: f64) -> Value {
    if value.is_finite() {
        return json!(value);
    }
    json!(if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    })
}

impl Visitor for Families {
    fn known(&mut self, _: u32, _: &Point<'_>) -> Result<bool, String> {
        Err("a line was recognised although the cache is empty".to_owned())
    }

    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        let full = series.name().into_owned();
        let kind = series.kind();
        let (name, part) = match kind {
            MetricType::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| Some((full.strip_suffix(part)?.to_owned(), *part)))
                .unwrap_or((full, "")),
            _ => (full, ""),
        };
        let mut labels: Vec<(String, String)> =
            series.labels().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        labels.retain(|(name, _)| name != model::labels::METRIC_NAME);
        let bound = labels.iter().position(|(name, _)| part == "_bucket" && name == "le");
        let bound = bound.map(|at| labels.remove(at).1);
        let family = self.0.entry(name).or_default();
        family.kind = kind;
        let metric = family.metrics.entry(labels).or_default();
        match part {
            "_bucket" => {
                let bound = bound.and_then(|text| text.replace("+Inf", "inf").parse().ok());
                metric.buckets.push((bound.unwrap_or(f64::INFINITY), point.value));
            }
            "_sum" => metric.sum = point.value,
            "_count" => metric.count = point.value,
            _ => metric.value = point.value,
        }
        Ok(0)
    }

    fn describe(&mut self, family: Cow<'_, str>, what: Describe<'_>) {
        if let Describe::Help(text) = what {
            let full = format!("{family}_total");
            let name = if self.0.contains_key(&full) { full } else { family.into_owned() };
            self.0.entry(name).or_default().help = text.into_owned();
        }
    }
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
