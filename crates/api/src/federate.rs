//! `/federate`: the newest sample of selected series, for another server to scrape.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use model::labels::METRIC_NAME;
use model::seam::{Select, SelectHints, Selected};
use model::{Histogram, Labels, Samples, SeamError, TenantId, Value, is_stale};
use wire::Format;
use wire::exposition::write;

use crate::error::{ApiError, ErrorType};
use crate::params::{self, Params};
use crate::server::Api;

/// A series' newest sample.
struct Sample {
    name: String,
    labels: Labels,
    time: i64,
    value: Value,
}

/// `GET /federate?match[]=…`. Errors are plain text here, as in Prometheus.
pub(crate) async fn federate(State(api): State<Arc<Api>>, uri: Uri, headers: HeaderMap) -> Response {
    match run(&api, &uri, &headers).await {
        Ok(response) => response,
        Err(err) => (err.status(), format!("{}\n", err.message)).into_response(),
    }
}

async fn run(api: &Arc<Api>, uri: &Uri, headers: &HeaderMap) -> Result<Response, ApiError> {
    let params = Params::read(uri, headers, &Bytes::new())?;
    let tenant = params::tenant(headers)?;
    let parse = |text: &str| {
        promql::parse_selector(text, &api.options).map_err(|err| ApiError::parameter("match[]", err))
    };
    let mut selectors: Vec<_> = params.all("match[]").map(parse).collect::<Result<_, _>>()?;
    // As Prometheus: a selector without a matcher selects nothing.
    selectors.retain(|selector: &model::Selector| !selector.is_empty());
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = if accepted.contains("application/openmetrics-text") {
        Format::OpenMetrics100
    } else {
        Format::Text004
    };
    let allow_utf8 = accepted.contains("escaping=allow-utf-8");
    let samples = newest(api, &tenant, selectors).await?;
    let body = body(samples, &api.live.config().external_labels, format, allow_utf8);
    let content_type = match (format.is_openmetrics(), allow_utf8) {
        (true, false) => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        (true, true) => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        (false, false) => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        (false, true) => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
    };
    let mut response = (StatusCode::OK, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// The newest samples within the look-back period that are no staleness markers, each series once.
async fn newest(
    api: &Arc<Api>,
    tenant: &TenantId,
    selectors: Vec<model::Selector>,
) -> Result<Vec<Sample>, ApiError> {
    let now = api.clock.now();
    let start = now - api.query.lookback_delta.ms();
    let select = |matchers| Select { matchers, start, end: now, hints: SelectHints::default() };
    let selects: Vec<Select> = selectors.into_iter().map(select).collect();
    let budget = api.queries.budget(tenant);
    let selected = api.querier.select(tenant, &selects, &budget).await?;
    let read = move || read(&selected, start.ms(), now.ms(), &budget);
    match tokio::task::spawn_blocking(read).await {
        Ok(samples) => Ok(samples?),
        Err(err) => Err(ApiError::new(ErrorType::Internal, format!("reading the series ended early: {err}"))),
    }
}

fn read(
    selected: &[Selected],
    start: i64,
    end: i64,
    budget: &Arc<model::Budget>,
) -> Result<Vec<Sample>, SeamError> {
    let mut held = budget.reserve(0)?;
    let mut found = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut samples = Samples::default();
    for one in selected {
        for index in 0..one.series.len() {
            let labels = one.series.labels(index);
            if selected.len() > 1 && !seen.insert(labels.clone()) {
                continue;
            }
            one.series.read(index, &mut samples)?;
            let last = samples.times.partition_point(|&time| time <= end);
            let Some(at) = last.checked_sub(1).filter(|&at| samples.times[at] > start) else { continue };
            let value = samples.value(at);
            let stale = match &value {
                Value::Float(value) => is_stale(*value),
                Value::Histogram(histogram) => histogram.is_stale(),
            };
            if !stale {
                held.grow(labels.as_encoded().len() as u64 + size_of::<Sample>() as u64)?;
                let name = labels.metric_name().to_owned();
                found.push(Sample { name, labels, time: samples.times[at], value });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.labels.cmp(&b.labels)));
    Ok(found)
}

/// The exposition. External labels are added where the series lacks them; a series without an `instance` gets an empty one, so
/// that the scraping server does not add its own.
fn body(samples: Vec<Sample>, external: &Labels, format: Format, allow_utf8: bool) -> String {
    let mut out = String::with_capacity(samples.len() * 128);
    let mut added: Vec<(&str, &str)> = external.iter().collect();
    if external.get("instance").is_none() {
        added.push(("instance", ""));
        added.sort_unstable();
    }
    let mut last = None;
    for sample in samples {
        if sample.name.is_empty() {
            tracing::warn!(labels = %sample.labels, "a series without a name is left out of federation");
            continue;
        }
        let own = sample.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let mut labels: Vec<(String, &str)> =
            own.map(|(name, value)| (escaped(name, allow_utf8, false), value)).collect();
        for &(name, value) in &added {
            if sample.labels.get(name).is_none() {
                labels.push((escaped(name, allow_utf8, false), value));
            }
        }
        let name = escaped(&sample.name, allow_utf8, true);
        let kind = match &sample.value {
            Value::Float(_) => "untyped",
            Value::Histogram(_) => "histogram",
        };
        if last.as_ref() != Some(&(name.clone(), kind)) {
            write::push_type(
                &mut out,
                &name,
                if format.is_openmetrics() && kind == "untyped" { "unknown" } else { kind },
            );
            last = Some((name.clone(), kind));
        }
        match &sample.value {
            Value::Float(value) => {
                write::push_sample(&mut out, format, &name, pairs(&labels), *value, Some(sample.time));
            }
            Value::Histogram(histogram) => {
                push_histogram(&mut out, format, &name, &labels, histogram, sample.time);
            }
        }
    }
    write::finish(&mut out, format);
    out
}

/// Text has no native histograms: their count and sum, as Prometheus writes them.
fn push_histogram(
    out: &mut String,
    format: Format,
    name: &str,
    labels: &[(String, &str)],
    histogram: &Histogram,
    time: i64,
) {
    let at = Some(time);
    let bucket = pairs(labels).chain([("le", "+Inf")]);
    write::push_sample(out, format, &format!("{name}_bucket"), bucket, histogram.count, at);
    write::push_sample(out, format, &format!("{name}_sum"), pairs(labels), histogram.sum, at);
    write::push_sample(out, format, &format!("{name}_count"), pairs(labels), histogram.count, at);
}

fn pairs<'a>(labels: &'a [(String, &'a str)]) -> impl Iterator<Item = (&'a str, &'a str)> {
    labels.iter().map(|(name, value)| (name.as_str(), *value))
}

/// A name for a reader of the text format: what no legacy name may have becomes an underscore.
fn escaped(name: &str, allow_utf8: bool, is_metric: bool) -> String {
    if allow_utf8 {
        return name.to_owned();
    }
    let fits = |at: usize, c: char| {
        c == '_' || c.is_ascii_alphabetic() || (is_metric && c == ':') || (at > 0 && c.is_ascii_digit())
    };
    name.chars().enumerate().map(|(at, c)| if fits(at, c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_by_family() {
        let sample = |pairs: &[(&str, &str)], value: f64| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            Sample { name: labels.metric_name().to_owned(), labels, time: 1500, value: Value::Float(value) }
        };
        let samples = || {
            vec![
                sample(&[("__name__", "a.b"), ("x", "1")], 1.0),
                sample(&[("__name__", "up"), ("instance", "h:1"), ("region", "eu")], 1.0),
                sample(&[("__name__", "up"), ("instance", "h:2")], 0.5),
            ]
        };
        let external = Labels::from_pairs([("region", "us")]);
        assert_eq!(
            body(samples(), &external, Format::Text004, false),
            "# TYPE a_b untyped\na_b{x=\"1\",instance=\"\",region=\"us\"} 1 1500\n\
             # TYPE up untyped\nup{instance=\"h:1\",region=\"eu\"} 1 1500\nup{instance=\"h:2\",region=\"us\"} 0.5 1500\n"
        );
        let open = body(samples(), &Labels::empty(), Format::OpenMetrics100, true);
        assert!(
            open.starts_with("# TYPE \"a.b\" unknown\n{\"a.b\",x=\"1\",instance=\"\"} 1 1.500\n"),
            "{open}"
        );
        assert!(open.ends_with("# EOF\n"));
    }
}
