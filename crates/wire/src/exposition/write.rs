//! Families as text: what our own `/metrics` and federation answer.

use std::fmt::Write;

use model::labels::{is_legacy_label_name, is_legacy_metric_name};
use model::{Family, MetricType};

use super::Format;
use crate::number;

/// Appends families in Prometheus text or OpenMetrics. `time` in milliseconds stands on every sample when it is given.
///
/// In OpenMetrics the name of a counter's family lacks the `_total` that its samples have, and the caller ends the body
/// with [`finish`]. Families of histograms and summaries hold their `_bucket`, `_sum`, `_count` series as separate families
/// and are written as they are.
pub fn push_family(out: &mut String, format: Format, family: &Family, time: Option<i64>) {
    let openmetrics = format.is_openmetrics();
    let kind = family.metadata.kind;
    let stem = match kind {
        MetricType::Counter if openmetrics => family.name.strip_suffix("_total").unwrap_or(&family.name),
        _ => &family.name,
    };
    if !family.metadata.help.is_empty() {
        out.push_str("# HELP ");
        push_name(out, stem);
        out.push(' ');
        push_escaped(out, &family.metadata.help, openmetrics);
        out.push('\n');
    }
    out.push_str("# TYPE ");
    push_name(out, stem);
    out.push(' ');
    out.push_str(match kind {
        _ if openmetrics => kind.as_str(),
        MetricType::Unknown => "untyped",
        MetricType::Counter | MetricType::Gauge | MetricType::Histogram | MetricType::Summary => {
            kind.as_str()
        }
        MetricType::GaugeHistogram => "histogram",
        MetricType::Info | MetricType::StateSet => "gauge",
    });
    out.push('\n');
    let unit = &family.metadata.unit;
    if openmetrics && !unit.is_empty() && stem.strip_suffix(unit.as_str()).is_some_and(|s| s.ends_with('_')) {
        out.push_str("# UNIT ");
        push_name(out, stem);
        out.push(' ');
        out.push_str(unit);
        out.push('\n');
    }
    for (labels, value) in &family.samples {
        push_sample(out, format, &family.name, labels.iter(), *value, time);
    }
}

/// Appends the line that begins a family without other metadata.
pub fn push_type(out: &mut String, name: &str, kind: &str) {
    out.push_str("# TYPE ");
    push_name(out, name);
    out.push(' ');
    out.push_str(kind);
    out.push('\n');
}

/// Appends one sample. `time` in milliseconds.
pub fn push_sample<'a>(
    out: &mut String,
    format: Format,
    name: &str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    value: f64,
    time: Option<i64>,
) {
    let bare = is_legacy_metric_name(name);
    if bare {
        out.push_str(name);
    }
    let mut open = false;
    if !bare {
        out.push('{');
        push_quoted(out, name);
        open = true;
    }
    for (name, value) in labels {
        out.push(if open { ',' } else { '{' });
        open = true;
        if is_legacy_label_name(name) {
            out.push_str(name);
        } else {
            push_quoted(out, name);
        }
        out.push('=');
        push_quoted(out, value);
    }
    if open {
        out.push('}');
    }
    out.push(' ');
    number::push_float(out, value);
    if let Some(ms) = time {
        if format.is_openmetrics() {
            let sign = if ms < 0 { "-" } else { "" };
            let ms = ms.unsigned_abs();
            write!(out, " {sign}{}.{:03}", ms / 1000, ms % 1000).expect("writing to a string does not fail");
        } else {
            write!(out, " {ms}").expect("writing to a string does not fail");
        }
    }
    out.push('\n');
}

/// Ends a body.
pub fn finish(out: &mut String, format: Format) {
    if format.is_openmetrics() {
        out.push_str("# EOF\n");
    }
}

fn push_name(out: &mut String, name: &str) {
    if is_legacy_metric_name(name) { out.push_str(name) } else { push_quoted(out, name) }
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text, true);
    out.push('"');
}

fn push_escaped(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}
