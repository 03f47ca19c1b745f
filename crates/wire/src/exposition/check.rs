//! Whether a scrape of a body would succeed, and what is unwise about it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use model::MetricType;

use super::{Cache, Describe, Format, ParseError, Point, Series, Visitor, read};

/// Says whether a scrape of `body` would succeed.
///
/// # Errors
/// The first line that makes the scrape fail, and why.
pub fn check_exposition(format: Format, body: &[u8]) -> Result<(), ParseError> {
    read(format, body, &mut Cache::new(0), &mut Check)
}

struct Check;

impl Visitor for Check {
    fn known(&mut self, _: u32, _: &Point<'_>) -> Result<bool, String> {
        Ok(true)
    }

    fn series(&mut self, series: &Series<'_>, _: &Point<'_>) -> Result<u32, String> {
        unique_names(series)?;
        Ok(0)
    }

    fn describe(&mut self, _: Cow<'_, str>, _: Describe<'_>) {}
}

/// A label may be given once only.
fn unique_names(series: &Series<'_>) -> Result<(), String> {
    let mut names: Vec<_> = series.labels().map(|(name, _)| name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(format!("label name {:?} is not unique", pair[0])),
    }
}

/// One piece of advice about a metric, in promtool's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lint {
    /// The metric.
    pub metric: String,
    /// What is unwise.
    pub text: String,
}

#[derive(Default)]
struct Families {
    described: BTreeMap<String, (Option<MetricType>, bool)>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Visitor for Families {
    fn known(&mut self, _: u32, _: &Point<'_>) -> Result<bool, String> {
        Ok(true)
    }

    fn series(&mut self, series: &Series<'_>, _: &Point<'_>) -> Result<u32, String> {
        unique_names(series)?;
        let names = series.labels().map(|(name, _)| name.into_owned());
        self.labels.entry(series.name().into_owned()).or_default().extend(names);
        Ok(0)
    }

    fn describe(&mut self, family: Cow<'_, str>, what: Describe<'_>) {
        let entry = self.described.entry(family.into_owned()).or_default();
        match what {
            Describe::Type(kind) => entry.0 = Some(kind),
            Describe::Help(text) => entry.1 = !text.is_empty(),
            Describe::Unit(_) => {}
        }
    }
}

/// Units that are not base units, with the base unit to use.
const UNITS: [(&str, &str); 18] = [
    ("milliseconds", "seconds"),
    ("microseconds", "seconds"),
    ("nanoseconds", "seconds"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "celsius"),
    ("fahrenheit", "celsius"),
    ("kilometers", "meters"),
    ("millimeters", "meters"),
    ("kilobytes", "bytes"),
    ("megabytes", "bytes"),
    ("gigabytes", "bytes"),
    ("bits", "bytes"),
    ("kilograms", "grams"),
    ("milliamperes", "amperes"),
    ("percent", "ratio"),
];

/// Advice on names, help texts and units. Source: the Prometheus manual, "Metric and label naming".
///
/// # Errors
/// The body does not parse.
pub fn lint(format: Format, body: &[u8]) -> Result<Vec<Lint>, ParseError> {
    let mut families = Families::default();
    read(format, body, &mut Cache::new(0), &mut families)?;
    let mut out = BTreeSet::new();
    let names: BTreeSet<&str> = families
        .described
        .keys()
        .map(String::as_str)
        .chain(families.labels.keys().map(|series| family_of(series, &families.described)))
        .collect();
    for name in names {
        let mut advise = |text: String| out.insert(Lint { metric: name.to_owned(), text });
        let (kind, help) = families.described.get(name).copied().unwrap_or_default();
        if !help {
            advise("no help text".into());
        }
        match kind {
            Some(MetricType::Counter) if !format.is_openmetrics() && !name.ends_with("_total") => {
                advise("counter metrics should have \"_total\" suffix".into());
            }
            Some(MetricType::Counter) | None => {}
            Some(kind) => {
                if name.ends_with("_total") {
                    advise("non-counter metrics should not have \"_total\" suffix".into());
                }
                if !matches!(kind, MetricType::Histogram | MetricType::GaugeHistogram)
                    && name.ends_with("_bucket")
                {
                    advise("non-histogram metrics should not have \"_bucket\" suffix".into());
                }
                let has_count =
                    matches!(kind, MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary);
                for suffix in ["_count", "_sum"] {
                    if !has_count && name.ends_with(suffix) {
                        advise(format!(
                            "non-histogram and non-summary metrics should not have \"{suffix}\" suffix"
                        ));
                    }
                }
                let labels = families.labels.get(name);
                if kind != MetricType::Summary && labels.is_some_and(|l| l.contains("quantile")) {
                    advise("non-summary metrics should not have \"quantile\" label".into());
                }
            }
        }
        if name.contains(':') {
            advise("metric names should not contain ':'".into());
        }
        if name.bytes().any(|b| b.is_ascii_uppercase()) && name.bytes().any(|b| b.is_ascii_lowercase()) {
            advise("metric names should be written in 'snake_case' not 'camelCase'".into());
        }
        let words: Vec<&str> = name.split('_').collect();
        if let Some((unit, base)) = UNITS.iter().find(|(unit, _)| words.contains(unit)) {
            advise(format!("use base unit \"{base}\" instead of \"{unit}\""));
        }
        if words.iter().any(|w| matches!(*w, "gauge" | "counter" | "histogram" | "summary")) {
            advise("metric name should not include its type".into());
        }
    }
    Ok(out.into_iter().collect())
}

/// The described family to which a series name belongs, or the name itself.
fn family_of<'a>(series: &'a str, described: &BTreeMap<String, (Option<MetricType>, bool)>) -> &'a str {
    let suffixes = ["_bucket", "_count", "_sum", "_total", "_created", "_info", "_gcount", "_gsum"];
    suffixes
        .iter()
        .filter_map(|suffix| series.strip_suffix(suffix))
        .find(|stem| described.contains_key(*stem))
        .unwrap_or(series)
}
