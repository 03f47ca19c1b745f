//! The file format of `test rules`: promtool's.
//!
//! Source: the Prometheus manual, "Unit testing for rules".

use std::collections::BTreeMap;
use std::fmt;

use model::duration::PromDuration;
use serde::Deserialize;

/// A test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestFile {
    pub(super) rule_files: Option<Vec<String>>,
    pub(super) evaluation_interval: Option<PromDuration>,
    pub(super) group_eval_order: Option<Vec<String>>,
    #[serde(default)]
    pub(super) fuzzy_compare: bool,
    pub(super) tests: Option<Vec<Test>>,
}

/// One test group.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) interval: Option<PromDuration>,
    pub(super) start_timestamp: Option<Start>,
    pub(super) input_series: Option<Vec<InputSeries>>,
    pub(super) alert_rule_test: Option<Vec<AlertTest>>,
    pub(super) promql_expr_test: Option<Vec<ExprTest>>,
    pub(super) external_labels: Option<BTreeMap<String, String>>,
    pub(super) external_url: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InputSeries {
    pub(super) series: String,
    pub(super) values: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AlertTest {
    pub(super) eval_time: PromDuration,
    pub(super) alertname: String,
    pub(super) exp_alerts: Option<Vec<ExpectedAlert>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpectedAlert {
    pub(super) exp_labels: Option<BTreeMap<String, String>>,
    pub(super) exp_annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExprTest {
    pub(super) expr: String,
    pub(super) eval_time: PromDuration,
    pub(super) exp_samples: Option<Vec<ExpectedSample>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpectedSample {
    pub(super) labels: String,
    pub(super) value: Number,
    pub(super) histogram: String,
}

/// A number, or a word such as `NaN` and `+Inf`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Number(pub(super) f64);

/// When the series begin, in milliseconds: RFC 3339, or seconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start(pub(super) i64);

struct NumberVisitor;

impl serde::de::Visitor<'_> for NumberVisitor {
    type Value = Result<f64, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Ok(number))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Ok(number as f64))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Ok(number as f64))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.parse::<f64>().map_err(|_| text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(NumberVisitor)? {
            Ok(number) => Ok(Self(number)),
            Err(text) => Err(serde::de::Error::custom(format!("{text:?} is no number"))),
        }
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = match deserializer.deserialize_any(NumberVisitor)? {
            Ok(seconds) => seconds,
            Err(text) => match text.parse::<jiff::Timestamp>() {
                Ok(at) => return Ok(Self(at.as_millisecond())),
                Err(_) => {
                    let message =
                        format!("start_timestamp {text:?} is neither RFC 3339 nor seconds since the epoch");
                    return Err(serde::de::Error::custom(message));
                }
            },
        };
        if !seconds.is_finite() || seconds.abs() > 1e13 {
            return Err(serde::de::Error::custom(format!("start_timestamp {seconds} is out of range")));
        }
        Ok(Self((seconds * 1000.0).round() as i64))
    }
}
