//! From fields to metrics: what is counted, and what a scrape sees.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry as Slot, HashMap};

use model::labels::is_legacy_metric_name;
use model::{Family, Labels, Metadata, MetricType};
use regex::Regex;

use super::config::{Config, Format, Kind, MetricConfig};
use super::parse::Fields;

/// A longer label value is cut here.
const MAX_VALUE_BYTES: usize = 256;

/// One metric, checked.
#[derive(Debug)]
struct Metric {
    config: MetricConfig,
    matches: Vec<(String, Regex)>,
}

/// The value of one label set.
#[derive(Clone, Debug)]
enum Value {
    Number(f64),
    Histogram { buckets: Vec<u64>, sum: f64, count: u64 },
}

/// What has been counted for a job.
#[derive(Debug)]
pub(crate) struct Table {
    metrics: Vec<Metric>,
    fixed: BTreeMap<String, String>,
    /// By metric and the values of its labels.
    values: HashMap<(usize, Vec<String>), Value>,
    max_series: usize,
}

/// What became of a line's contributions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Label sets that were not kept because the job has as many as it may.
    pub(crate) refused: u64,
    /// Fields that should be numbers and are not.
    pub(crate) not_numbers: u64,
}

impl Table {
    /// # Errors
    /// The first metric that is wrong, by name.
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let mut metrics = Vec::new();
        let shipped = shipped(config.format);
        for metric in shipped.into_iter().chain(config.metrics.iter().cloned()) {
            let name = metric.name.clone();
            metrics.push(check(metric).map_err(|reason| format!("metric {name:?}: {reason}"))?);
        }
        if metrics.is_empty() {
            return Err("metrics: there is nothing to count".into());
        }
        for (at, metric) in metrics.iter().enumerate() {
            let name = &metric.config.name;
            let same = metrics[..at].iter().find(|other| other.config.name == *name);
            if same.is_some_and(|other| {
                other.config.kind != metric.config.kind || other.config.buckets != metric.config.buckets
            }) {
                return Err(format!("metric {name:?}: it is there twice with different types or buckets"));
            }
        }
        Ok(Self {
            metrics,
            fixed: config.labels.clone(),
            values: HashMap::new(),
            max_series: config.max_series,
        })
    }

    /// Label sets that are kept.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Counts a line.
    pub(crate) fn count(&mut self, fields: &Fields<'_>) -> Counted {
        let mut counted = Counted::default();
        for (index, metric) in self.metrics.iter().enumerate() {
            let fits = metric
                .matches
                .iter()
                .all(|(field, regex)| fields.get(field).is_some_and(|value| regex.is_match(&value)));
            if !fits {
                continue;
            }
            let config = &metric.config;
            let number = match config.value.as_str() {
                "" => 1.0,
                field => match fields.get(field) {
                    // A dash stands for nothing in access logs.
                    None => continue,
                    Some(text) if text == "-" => continue,
                    Some(text) => match text.trim().parse::<f64>() {
                        Ok(number) if number.is_finite() => number * config.scale,
                        _ => {
                            counted.not_numbers += 1;
                            continue;
                        }
                    },
                },
            };
            let values = config.labels.values().map(|field| cut(&fields.get(field).unwrap_or_default()));
            let full = self.values.len() >= self.max_series;
            let value = match self.values.entry((index, values.collect())) {
                Slot::Occupied(slot) => slot.into_mut(),
                Slot::Vacant(_) if full => {
                    counted.refused += 1;
                    continue;
                }
                Slot::Vacant(slot) => slot.insert(match config.kind {
                    Kind::Histogram => {
                        Value::Histogram { buckets: vec![0; config.buckets.len()], sum: 0.0, count: 0 }
                    }
                    _ => Value::Number(0.0),
                }),
            };
            match (value, config.kind) {
                (Value::Number(sum), Kind::Counter) => *sum += number.max(0.0),
                (Value::Number(last), _) => *last = number,
                (Value::Histogram { buckets, sum, count }, _) => {
                    if let Some(at) = config.buckets.iter().position(|bound| number <= *bound) {
                        buckets[at] += 1;
                    }
                    *sum += number;
                    *count += 1;
                }
            }
        }
        counted
    }

    /// The metrics as they are now.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut add = |name: String, metric: &MetricConfig, labels: Labels, value: f64| {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let metadata = Metadata { kind, help: metric.help.clone(), unit: String::new() };
            let family =
                families.entry(name.clone()).or_insert(Family { name, metadata, samples: Vec::new() });
            family.samples.push((labels, value));
        };
        for ((index, values), value) in &self.values {
            let metric = &self.metrics[*index].config;
            let own = metric.labels.keys().zip(values).map(|(name, value)| (name.as_str(), value.as_str()));
            let fixed = self.fixed.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let pairs: Vec<(&str, &str)> = fixed.chain(own).filter(|(_, value)| !value.is_empty()).collect();
            match value {
                Value::Number(number) => add(metric.name.clone(), metric, Labels::from_pairs(pairs), *number),
                Value::Histogram { buckets, sum, count } => {
                    let mut below = 0;
                    for (bound, own) in metric.buckets.iter().zip(buckets) {
                        below += own;
                        let le = bound_text(*bound);
                        let labels = Labels::from_pairs(pairs.iter().copied().chain([("le", le.as_str())]));
                        add(format!("{}_bucket", metric.name), metric, labels, below as f64);
                    }
                    let labels = Labels::from_pairs(pairs.iter().copied().chain([("le", "+Inf")]));
                    add(format!("{}_bucket", metric.name), metric, labels, *count as f64);
                    add(format!("{}_sum", metric.name), metric, Labels::from_pairs(pairs.clone()), *sum);
                    add(format!("{}_count", metric.name), metric, Labels::from_pairs(pairs), *count as f64);
                }
            }
        }
        families.into_values().collect()
    }
}

/// A bound as Prometheus writes it: `1.0`, not `1`.
fn bound_text(bound: f64) -> String {
    format!("{bound:?}")
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_VALUE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

fn check(config: MetricConfig) -> Result<Metric, String> {
    if !is_legacy_metric_name(&config.name) {
        return Err("it is no metric name".into());
    }
    match config.kind {
        Kind::Counter if !config.name.ends_with("_total") => {
            return Err("a counter's name ends in _total".into());
        }
        Kind::Gauge | Kind::Histogram if config.value.is_empty() => {
            return Err("value: a gauge and a histogram need a field with the number".into());
        }
        Kind::Histogram if config.buckets.is_empty() || config.buckets.windows(2).any(|w| w[0] >= w[1]) => {
            return Err("buckets: they must ascend, and there must be one".into());
        }
        _ => {}
    }
    if config.labels.contains_key("le")
        || config.labels.keys().any(|name| !model::labels::is_legacy_label_name(name))
    {
        return Err("labels: a name is not allowed".into());
    }
    let matches = config
        .matches
        .iter()
        .map(|(field, pattern)| {
            let regex =
                Regex::new(&format!("^(?:{pattern})$")).map_err(|err| format!("match.{field}: {err}"))?;
            Ok((field.clone(), regex))
        })
        .collect::<Result<_, String>>()?;
    Ok(Metric { config, matches })
}

/// What a format counts without being told.
fn shipped(format: Format) -> Vec<MetricConfig> {
    let mut by: Vec<(&str, &str)> = vec![("method", "method"), ("code", "code"), ("class", "class")];
    let (field, scale) = match format {
        Format::Nginx => ("seconds", 1.0),
        Format::Apache => ("microseconds", 1e-6),
        Format::Haproxy => {
            by.extend([("frontend", "frontend"), ("backend", "backend")]);
            ("milliseconds", 1e-3)
        }
        Format::Envoy => ("milliseconds", 1e-3),
        Format::Event => {
            let labels = [("service", "service"), ("id", "id")].map(|(n, f)| (n.to_owned(), f.to_owned()));
            return vec![MetricConfig {
                name: "log_events_total".into(),
                help: "Events by the service that told of them and their id".into(),
                labels: labels.into(),
                ..MetricConfig::default()
            }];
        }
        Format::Raw | Format::Json | Format::Pattern => return Vec::new(),
    };
    let labels: BTreeMap<String, String> =
        by.iter().map(|(name, field)| ((*name).to_owned(), (*field).to_owned())).collect();
    // The code would multiply the buckets; the class tells what a latency needs.
    let mut few = labels.clone();
    few.remove("code");
    few.remove("method");
    vec![
        MetricConfig {
            name: "access_log_requests_total".into(),
            help: "Requests in the access log".into(),
            labels,
            ..MetricConfig::default()
        },
        MetricConfig {
            name: "access_log_response_bytes_total".into(),
            help: "Bytes sent in answers".into(),
            value: "bytes".into(),
            labels: few.clone(),
            ..MetricConfig::default()
        },
        MetricConfig {
            name: "access_log_request_duration_seconds".into(),
            help: "Time from the request to the end of the answer".into(),
            kind: Kind::Histogram,
            value: field.into(),
            scale,
            labels: few,
            ..MetricConfig::default()
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Entry, Parser};
    use super::*;

    fn run(config: &Config, lines: &[&str]) -> (BTreeMap<String, f64>, Counted) {
        let parser = Parser::new(config.format, &config.pattern).unwrap();
        let mut table = Table::new(config).unwrap();
        let mut all = Counted::default();
        for line in lines {
            let entry = Entry::from((*line).to_owned());
            let counted = table.count(&parser.parse(&entry).unwrap());
            all.refused += counted.refused;
            all.not_numbers += counted.not_numbers;
        }
        let samples = table.families().into_iter().flat_map(|family| {
            let name = family.name.clone();
            family.samples.into_iter().map(move |(labels, value)| (format!("{name}{labels}"), value))
        });
        (samples.collect(), all)
    }

    #[test]
    fn access_logs_count_requests_bytes_and_durations() {
        let config = Config {
            format: Format::Apache,
            labels: [("site".into(), "a".into())].into(),
            ..Config::default()
        };
        let line = |code: u16, micros: u64| {
            format!(r#"1.1.1.1 - - [t] "GET / HTTP/1.1" {code} 100 "-" "-" {micros}"#)
        };
        let lines = [line(200, 4_000), line(200, 300_000), line(503, 20_000_000)];
        let (samples, _) = run(&config, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        for (series, value) in [
            (r#"access_log_requests_total{class="2xx", code="200", method="GET", site="a"}"#, 2.0),
            (r#"access_log_requests_total{class="5xx", code="503", method="GET", site="a"}"#, 1.0),
            (r#"access_log_response_bytes_total{class="2xx", site="a"}"#, 200.0),
            (r#"access_log_request_duration_seconds_bucket{class="2xx", le="0.005", site="a"}"#, 1.0),
            (r#"access_log_request_duration_seconds_bucket{class="2xx", le="0.5", site="a"}"#, 2.0),
            (r#"access_log_request_duration_seconds_bucket{class="5xx", le="10.0", site="a"}"#, 0.0),
            (r#"access_log_request_duration_seconds_bucket{class="5xx", le="+Inf", site="a"}"#, 1.0),
            (r#"access_log_request_duration_seconds_count{class="2xx", site="a"}"#, 2.0),
        ] {
            assert_eq!(samples.get(series), Some(&value), "{series} in {samples:#?}");
        }
    }

    #[test]
    fn own_metrics_match_sum_and_are_bounded() {
        let metric = |name: &str, kind, value: &str| MetricConfig {
            name: name.into(),
            kind,
            value: value.into(),
            labels: [("who".to_owned(), "user".to_owned())].into(),
            ..MetricConfig::default()
        };
        let mut errors = metric("errors_total", Kind::Counter, "");
        errors.matches.insert("level".into(), "err.*".into());
        let config = Config {
            format: Format::Json,
            max_series: 3,
            metrics: vec![errors, metric("depth", Kind::Gauge, "queue.depth")],
            ..Config::default()
        };
        let (samples, counted) = run(
            &config,
            &[
                r#"{"level":"error","user":"a","queue":{"depth":3}}"#,
                r#"{"level":"info","user":"a","queue":{"depth":5}}"#,
                r#"{"level":"error","user":"b","queue":{"depth":"x"}}"#,
                r#"{"level":"error","user":"c"}"#,
            ],
        );
        assert_eq!(samples[r#"errors_total{who="a"}"#], 1.0);
        assert_eq!(samples[r#"depth{who="a"}"#], 5.0);
        assert_eq!(samples.len(), 3);
        assert_eq!(counted, Counted { refused: 1, not_numbers: 1 });
    }

    #[test]
    fn what_cannot_be_counted_is_named() {
        let refused = |metric: MetricConfig| {
            Table::new(&Config { metrics: vec![metric], ..Config::default() }).unwrap_err()
        };
        assert!(refused(MetricConfig { name: "a".into(), ..MetricConfig::default() }).contains("_total"));
        assert!(refused(MetricConfig { name: "a-b".into(), ..MetricConfig::default() }).contains("a-b"));
        let gauge = MetricConfig { name: "a".into(), kind: Kind::Gauge, ..MetricConfig::default() };
        assert!(refused(gauge).contains("value"));
        assert!(Table::new(&Config::default()).unwrap_err().contains("nothing to count"));
    }
}
