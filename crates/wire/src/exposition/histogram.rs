//! Native histograms as OpenMetrics text writes them: `{count:2,sum:3,schema:0,positive_spans:[0:1],positive_deltas:[2]}`.
//!
//! Source: the "native histograms in the text format" proposal that client_python writes. Counts of buckets are either
//! `…_deltas` (each to the one before, integers) or `…_counts` (absolute, floats).

use model::Histogram;
use model::histogram::Span;

use crate::number;

/// More buckets than any client makes; bounds the memory that a line can claim.
const MAX_BUCKETS: usize = 65_536;

pub(super) fn parse(text: &[u8]) -> Result<Histogram, String> {
    let wrong = |what: &str| format!("{what} in the native histogram \"{}\"", text.escape_ascii());
    let inner = std::str::from_utf8(text).ok().and_then(|t| t.strip_prefix('{')?.strip_suffix('}'));
    let mut rest = inner.ok_or_else(|| wrong("no closing brace"))?;
    let mut histogram = Histogram::default();
    let mut has_count = false;
    while !rest.is_empty() {
        let (name, after) = rest.split_once(':').ok_or_else(|| wrong("a field without value"))?;
        let (value, next) = match after.strip_prefix('[') {
            Some(list) => {
                let (list, next) = list.split_once(']').ok_or_else(|| wrong("a list that is not closed"))?;
                (list, next.strip_prefix(',').unwrap_or(next))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        let float = |text: &str| number::parse_float(text.as_bytes()).ok_or_else(|| wrong("no number"));
        match name {
            "count" => {
                histogram.count = float(value)?;
                has_count = true;
            }
            "sum" => histogram.sum = float(value)?,
            "schema" => histogram.schema = value.parse().map_err(|_| wrong("no schema"))?,
            "zero_threshold" => histogram.zero_threshold = float(value)?,
            "zero_count" => histogram.zero_count = float(value)?,
            "positive_spans" => histogram.positive_spans = spans(value).ok_or_else(|| wrong("bad spans"))?,
            "negative_spans" => histogram.negative_spans = spans(value).ok_or_else(|| wrong("bad spans"))?,
            "positive_deltas" => histogram.positive = deltas(value).ok_or_else(|| wrong("bad deltas"))?,
            "negative_deltas" => histogram.negative = deltas(value).ok_or_else(|| wrong("bad deltas"))?,
            "positive_counts" | "negative_counts" => {
                let counts =
                    list(value, |v| number::parse_float(v.as_bytes())).ok_or_else(|| wrong("bad counts"))?;
                histogram.is_float = true;
                match name {
                    "positive_counts" => histogram.positive = counts,
                    _ => histogram.negative = counts,
                }
            }
            "custom_values" => {
                let bounds = list(value, |v| number::parse_float(v.as_bytes()));
                histogram.custom_values = bounds.ok_or_else(|| wrong("bad custom values"))?;
            }
            _ => return Err(wrong(&format!("the unknown field {name:?}"))),
        }
        rest = next;
    }
    if !has_count {
        return Err(wrong("no count"));
    }
    histogram.validate().map_err(|err| wrong(&err.to_string()))?;
    Ok(histogram)
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let items: Vec<T> = text.split(',').take(MAX_BUCKETS + 1).map(parse).collect::<Option<_>>()?;
    (items.len() <= MAX_BUCKETS).then_some(items)
}

fn spans(text: &str) -> Option<Vec<Span>> {
    list(text, |item| {
        let (offset, length) = item.split_once(':')?;
        Some(Span { offset: offset.parse().ok()?, length: length.parse().ok()? })
    })
}

fn deltas(text: &str) -> Option<Vec<f64>> {
    let mut count = 0i64;
    let deltas = list(text, |item| item.parse::<i64>().ok())?;
    deltas
        .into_iter()
        .map(|delta| {
            count = count.checked_add(delta)?;
            Some(count as f64)
        })
        .collect()
}
