//! Metrics as exporters describe them: type, help, unit, and samples in families.

use std::fmt;

use crate::labels::Labels;

/// The type of a metric, as the exposition formats name it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum MetricType {
    /// Only rises, or falls to zero.
    Counter,
    /// Any value at any time.
    Gauge,
    /// Buckets, sum and count that only rise.
    Histogram,
    /// Buckets of a state, not of a stream.
    GaugeHistogram,
    /// Quantiles computed by the client.
    Summary,
    /// Labels are the content; the value is 1.
    Info,
    /// One series a state, one of them 1.
    StateSet,
    /// Not said.
    #[default]
    Unknown,
}

impl MetricType {
    /// Prometheus' name: `counter`, `gaugehistogram`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// Reads Prometheus' and OpenMetrics' names; `untyped` is `unknown`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "unknown" | "untyped" => Self::Unknown,
            _ => return None,
        })
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about a metric besides its samples.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Metadata {
    /// The type.
    #[serde(rename = "type")]
    pub kind: MetricType,
    /// One sentence for people.
    pub help: String,
    /// Base unit, `""` when the metric has none.
    pub unit: String,
}

/// A metric and its samples at one instant, as an in-process source produces them.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The metric's name, with `_total` for a counter.
    pub name: String,
    /// Type, help and unit.
    pub metadata: Metadata,
    /// Label sets without the metric name, and values. No two are equal.
    pub samples: Vec<(Labels, f64)>,
}
