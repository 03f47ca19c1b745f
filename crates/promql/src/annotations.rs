//! Warnings and infos about a query's result.
//!
//! The texts are Prometheus'. Annotations with the same text (position aside) are one; the first position stays.

use std::fmt;

use model::labels::Quoted;

use crate::ast::Span;
use crate::number::{go_g, go_g2};

/// How serious an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The result is probably not what was meant.
    Warning,
    /// The result is right but may surprise.
    Info,
}

/// Which combination of histograms an annotation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `+`
    Addition,
    /// `-`
    Subtraction,
    /// `sum`, `avg` and their kin over time.
    Aggregation,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the texts in `Display` say what each is about")]
pub enum Message {
    InvalidQuantile {
        got: f64,
    },
    InvalidRatio {
        got: f64,
        capped: f64,
    },
    BadBucketLabel {
        metric: String,
        value: String,
    },
    MixedFloatsHistograms {
        metric: String,
    },
    MixedFloatsHistogramsInAggregation,
    MixedClassicNativeHistograms {
        metric: String,
    },
    NotACounter {
        metric: String,
    },
    NotAGauge {
        metric: String,
    },
    MixedExponentialCustomHistograms {
        metric: String,
    },
    IncompatibleBucketLayout {
        operator: &'static str,
    },
    SortInRangeQuery,
    ResetCollision(Operation),
    StartTimeOverlap {
        metric: String,
    },
    PossibleNonCounter {
        metric: String,
    },
    PossibleNonCounterLabel {
        metric: String,
        kind: String,
    },
    ForcedMonotonicity {
        metric: String,
    },
    IncompatibleTypes {
        left: &'static str,
        operator: &'static str,
        right: &'static str,
    },
    HistogramIgnoredInAggregation {
        aggregation: &'static str,
    },
    HistogramIgnoredInMixedRange {
        metric: String,
    },
    QuantileOfNans {
        metric: String,
    },
    QuantileSkewedByNans {
        metric: String,
    },
    FractionWithoutNans {
        metric: String,
    },
    MismatchedCustomBuckets(Operation),
    /// Of the storage: what is missing from the result.
    Storage(String),
}

impl Message {
    /// How serious it is.
    pub fn level(&self) -> Level {
        match self {
            Self::PossibleNonCounter { .. }
            | Self::PossibleNonCounterLabel { .. }
            | Self::ForcedMonotonicity { .. }
            | Self::IncompatibleTypes { .. }
            | Self::HistogramIgnoredInAggregation { .. }
            | Self::HistogramIgnoredInMixedRange { .. }
            | Self::QuantileOfNans { .. }
            | Self::QuantileSkewedByNans { .. }
            | Self::FractionWithoutNans { .. }
            | Self::MismatchedCustomBuckets(_) => Level::Info,
            _ => Level::Warning,
        }
    }
}

struct ForMetric<'a>(&'a str);

impl fmt::Display for ForMetric<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " for metric name {}", Quoted(self.0)) }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self, self.level()) {
            (Self::Storage(_), _) => "",
            (_, Level::Warning) => "PromQL warning: ",
            (_, Level::Info) => "PromQL info: ",
        })?;
        match self {
            Self::InvalidQuantile { got } => {
                write!(f, "quantile value should be between 0 and 1, got {}", go_g(*got))
            }
            Self::InvalidRatio { got, capped } => {
                let (got, capped) = (go_g(*got), go_g(*capped));
                write!(f, "ratio value should be between -1 and 1, got {got}, capping to {capped}")
            }
            Self::BadBucketLabel { metric, value } => write!(
                f,
                "bucket label \"le\" is missing or has a malformed value of {}{}",
                Quoted(value),
                ForMetric(metric)
            ),
            Self::MixedFloatsHistograms { metric } => {
                write!(f, "encountered a mix of histograms and floats for metric name {}", Quoted(metric))
            }
            Self::MixedFloatsHistogramsInAggregation => {
                f.write_str("encountered a mix of histograms and floats for aggregation")
            }
            Self::MixedClassicNativeHistograms { metric } => {
                write!(f, "vector contains a mix of classic and native histograms{}", ForMetric(metric))
            }
            Self::NotACounter { metric } => {
                write!(f, "this native histogram metric is not a counter: {}", Quoted(metric))
            }
            Self::NotAGauge { metric } => {
                write!(f, "this native histogram metric is not a gauge: {}", Quoted(metric))
            }
            Self::MixedExponentialCustomHistograms { metric } => write!(
                f,
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
                Quoted(metric)
            ),
            Self::IncompatibleBucketLayout { operator } => {
                write!(f, "incompatible bucket layout encountered for binary operator {operator}")
            }
            Self::SortInRangeQuery => f.write_str(
                "sort is ineffective for range queries since results are always ordered by labels",
            ),
            Self::ResetCollision(operation) => {
                write!(f, "conflicting counter resets during histogram {}", operation.as_str())
            }
            Self::StartTimeOverlap { metric } => {
                write!(
                    f,
                    "start timestamp overlaps with the sample before it for metric name {}",
                    Quoted(metric)
                )
            }
            Self::PossibleNonCounter { metric } => write!(
                f,
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                Quoted(metric)
            ),
            Self::PossibleNonCounterLabel { metric, kind } => write!(
                f,
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {}: {}",
                Quoted(kind),
                Quoted(metric)
            ),
            Self::ForcedMonotonicity { metric } => write!(
                f,
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                ForMetric(metric)
            ),
            Self::IncompatibleTypes { left, operator, right } => write!(
                f,
                "incompatible sample types encountered for binary operator {}: {left} {operator} {right}",
                Quoted(operator)
            ),
            Self::HistogramIgnoredInAggregation { aggregation } => {
                write!(f, "ignored histogram in {aggregation} aggregation")
            }
            Self::HistogramIgnoredInMixedRange { metric } => write!(
                f,
                "ignored histograms in a range containing both floats and histograms for metric name {}",
                Quoted(metric)
            ),
            Self::QuantileOfNans { metric } => write!(
                f,
                "input to histogram_quantile has NaN observations, result is NaN{}",
                ForMetric(metric)
            ),
            Self::QuantileSkewedByNans { metric } => write!(
                f,
                "input to histogram_quantile has NaN observations, result is skewed higher{}",
                ForMetric(metric)
            ),
            Self::FractionWithoutNans { metric } => write!(
                f,
                "input to histogram_fraction has NaN observations, which are excluded from all fractions{}",
                ForMetric(metric)
            ),
            Self::MismatchedCustomBuckets(operation) => {
                write!(f, "mismatched custom buckets were reconciled during {}", operation.as_str())
            }
            Self::Storage(text) => f.write_str(text),
        }
    }
}

/// Where and how much bucket counts had to be raised to be monotonic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forced {
    /// The first step, in milliseconds.
    pub first: i64,
    /// The last step, in milliseconds.
    pub last: i64,
    /// The lowest bucket bound.
    pub min_bucket: f64,
    /// The highest bucket bound.
    pub max_bucket: f64,
    /// The largest correction.
    pub max_diff: f64,
    /// How many results.
    pub samples: u64,
}

impl Forced {
    fn merge(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.min_bucket = self.min_bucket.min(other.min_bucket);
        self.max_bucket = self.max_bucket.max(other.max_bucket);
        self.max_diff = self.max_diff.max(other.max_diff);
        self.samples += other.samples;
    }
}

/// One annotation.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// What is to be said.
    pub message: Message,
    /// About which part of the query.
    pub span: Span,
    /// Details of [`Message::ForcedMonotonicity`].
    pub forced: Option<Forced>,
}

impl Annotation {
    /// As Prometheus' API shows it: the message and `(line:column)` within `query`.
    pub fn render(&self, query: &str) -> String {
        let mut text = self.message.to_string();
        if let Some(forced) = &self.forced {
            text.push_str(&format!(
                ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                go_g(forced.min_bucket),
                go_g(forced.max_bucket),
                go_g2(forced.max_diff),
                forced.samples,
                utc(forced.first),
                utc(forced.last),
            ));
        }
        if !matches!(self.message, Message::Storage(_))
            && let Some((line, column)) = self.span.line_column(query)
        {
            text.push_str(&format!(" ({line}:{column})"));
        }
        text
    }
}

/// RFC 3339 to the second.
fn utc(ms: i64) -> String {
    let date = crate::eval::date::Date::from_seconds(ms / 1000);
    let second = (ms / 1000).rem_euclid(60);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{second:02}Z",
        date.year, date.month, date.day, date.hour, date.minute
    )
}

/// Annotations, each text once, in the order in which they came up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    entries: Vec<Annotation>,
}

impl Annotations {
    /// Adds one unless its text is there already.
    pub fn add(&mut self, message: Message, span: Span) {
        self.insert(Annotation { message, span, forced: None });
    }

    /// Adds one; details are merged into those of an equal one.
    pub fn insert(&mut self, annotation: Annotation) {
        // NaN in a message equals itself here.
        let equal = |other: &Annotation| {
            other.message == annotation.message || other.message.to_string() == annotation.message.to_string()
        };
        match self.entries.iter_mut().find(|other| equal(other)) {
            None => self.entries.push(annotation),
            Some(other) => {
                if let (Some(mine), Some(theirs)) = (&mut other.forced, &annotation.forced) {
                    mine.merge(theirs);
                }
            }
        }
    }

    /// Adds all of `others`.
    pub fn merge(&mut self, others: Self) {
        for annotation in others.entries {
            self.insert(annotation);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, in the order in which they came up.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.entries.iter()
    }

    /// The texts of one level, at most `max` (0: all) and then how many more there are.
    pub fn texts(&self, level: Level, query: &str, max: usize) -> Vec<String> {
        let all: Vec<_> = self.entries.iter().filter(|a| a.message.level() == level).collect();
        let shown = if max == 0 { all.len() } else { all.len().min(max) };
        let mut texts: Vec<_> = all[..shown].iter().map(|a| a.render(query)).collect();
        if shown < all.len() {
            let kind = match level {
                Level::Warning => "warning",
                Level::Info => "info",
            };
            texts.push(format!("{} more {kind} annotations omitted", all.len() - shown));
        }
        texts
    }

    /// The warnings; see [`Annotations::texts`].
    pub fn warnings(&self, query: &str, max: usize) -> Vec<String> {
        self.texts(Level::Warning, query, max)
    }

    /// The infos; see [`Annotations::texts`].
    pub fn infos(&self, query: &str, max: usize) -> Vec<String> {
        self.texts(Level::Info, query, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_annotation() {
        let mut annotations = Annotations::default();
        let forced = |first, diff| Forced {
            first,
            last: first,
            min_bucket: 1.0,
            max_bucket: 2.0,
            max_diff: diff,
            samples: 1,
        };
        let query = "a\n+ b";
        annotations.add(Message::InvalidQuantile { got: f64::NAN }, Span::new(4, 5));
        annotations.add(Message::InvalidQuantile { got: f64::NAN }, Span::new(0, 1));
        for (first, diff) in [(60_000, 0.5), (0, 2.0)] {
            annotations.insert(Annotation {
                message: Message::ForcedMonotonicity { metric: "m".into() },
                span: Span::new(0, 1),
                forced: Some(forced(first, diff)),
            });
        }
        assert_eq!(
            annotations.warnings(query, 0),
            ["PromQL warning: quantile value should be between 0 and 1, got NaN (2:3)"]
        );
        assert_eq!(
            annotations.infos(query, 0),
            ["PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
              https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric \
              name \"m\", from buckets 1 to 2, with a max diff of 2, over 2 samples from 1970-01-01T00:00:00Z to \
              1970-01-01T00:01:00Z (1:1)"]
        );
        annotations.add(Message::NotACounter { metric: "m".into() }, Span::new(0, 1));
        assert_eq!(annotations.warnings(query, 1)[1], "1 more warning annotations omitted");
    }
}
