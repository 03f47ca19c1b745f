//! Series as scripts write them: a label set and a sequence of values at equal distances.

use std::sync::Arc;

use model::duration::PromDuration;
use model::histogram::{CUSTOM_SCHEMA, ResetHint, Span};
use model::sample::STALE_NAN;
use model::{Histogram, Labels};

use crate::histogram::{add, subtract};
use crate::options::Options;
use crate::parser::parse_labels;

/// A sequence may have at most this many positions, so that a typing error does not eat the memory.
const MAX_POSITIONS: usize = 1_000_000;

/// One position of a sequence.
#[derive(Clone, Debug)]
pub enum Item {
    /// `_`: nothing.
    Gap,
    /// A float; `stale` is the staleness marker.
    Float(f64),
    /// `{{…}}`
    Histogram {
        /// The histogram.
        histogram: Arc<Histogram>,
        /// Whether `counter_reset_hint` was written.
        hint_is_written: bool,
    },
}

/// A series with its values.
#[derive(Clone, Debug)]
pub struct SeriesLine {
    /// The label set.
    pub labels: Labels,
    /// The values, the first at index 0.
    pub items: Vec<Item>,
}

/// A line that gives start timestamps to the series on the next line.
#[derive(Clone, Debug)]
pub struct StartsLine {
    /// The label set of the next line.
    pub labels: Labels,
    /// For each position the distance from the sample in milliseconds; `None` where no start is known.
    pub starts: Vec<Option<i64>>,
}

/// A line of a `load` block.
#[derive(Clone, Debug)]
pub enum Line {
    /// `name{…} 1 2 3`
    Series(SeriesLine),
    /// `name{…}@st -1m _`
    Starts(StartsLine),
}

/// Reads a line of a `load` block or of an expectation.
///
/// # Errors
/// What is wrong, in words.
pub fn parse_line(text: &str) -> Result<Line, String> {
    let (labels, end) = parse_labels(text, &Options::all()).map_err(|err| err.to_string())?;
    let rest = &text[end..];
    if let Some(rest) = rest.strip_prefix("@st") {
        return Ok(Line::Starts(StartsLine { labels, starts: starts(rest)? }));
    }
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return Err(format!("expected a space after {labels}, found {rest:?}"));
    }
    Ok(Line::Series(SeriesLine { labels, items: items(rest)? }))
}

/// Reads a sequence: `1 2+1x5 _x3 stale {{sum:1}}x2`.
///
/// # Errors
/// What is wrong, in words.
pub fn items(text: &str) -> Result<Vec<Item>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let tail = match rest.starts_with("{{") {
            true => histogram_item(rest, &mut out)?,
            false => {
                let end = rest.find([' ', '\t']).unwrap_or(rest.len());
                float_item(&rest[..end], &mut out)?;
                &rest[end..]
            }
        };
        if !tail.is_empty() && !tail.starts_with([' ', '\t']) {
            return Err(format!("expected a space before {tail:?}"));
        }
        if out.len() > MAX_POSITIONS {
            return Err(format!("the sequence has more than {MAX_POSITIONS} positions"));
        }
        rest = tail.trim_start();
    }
    Ok(out)
}

/// `5`, `5x3`, `5+1x3`, `_`, `_x3`, `stale`
fn float_item(word: &str, out: &mut Vec<Item>) -> Result<(), String> {
    if word == "stale" {
        out.push(Item::Float(f64::from_bits(STALE_NAN)));
        return Ok(());
    }
    if let Some(times) = word.strip_prefix('_') {
        let times = match times.strip_prefix('x') {
            Some(times) => count(times)?,
            None if times.is_empty() => 1,
            None => return Err(format!("{word:?} is no value")),
        };
        out.extend(std::iter::repeat_n(Item::Gap, times));
        return Ok(());
    }
    let Some((value, step, times)) = progression(word) else {
        return number(word).map(|value| out.push(Item::Float(value))).ok_or(format!("{word:?} is no value"));
    };
    let (mut value, times) = (number(value).ok_or(format!("{word:?} is no value"))?, count(times)?);
    let step = match step {
        "" => 0.0,
        step => number(step).ok_or(format!("{word:?} is no value"))?,
    };
    // The value itself and then `times` more; added up step by step, as the expectations were computed.
    for _ in 0..=times {
        out.push(Item::Float(value));
        if !step_is_empty(word) {
            value += step;
        }
    }
    Ok(())
}

/// Whether `axn` rather than `a+bxn` was written: infinities must not meet a step of 0.
fn step_is_empty(word: &str) -> bool {
    progression(word).is_some_and(|(_, step, _)| step.is_empty())
}

/// Cuts `a+bxn` into its parts; the sign stays with `b`. `None` when it has no `xn`.
fn progression(word: &str) -> Option<(&str, &str, &str)> {
    let (values, times) = word.rsplit_once('x')?;
    if times.is_empty() || !times.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // The sign between the numbers: neither the first character nor part of an exponent.
    let bytes = values.as_bytes();
    let sign = (1..bytes.len())
        .find(|&i| matches!(bytes[i], b'+' | b'-') && !matches!(bytes[i - 1], b'e' | b'E' | b'+' | b'-'));
    match sign {
        Some(at) => Some((&values[..at], &values[at..], times)),
        None => Some((values, "", times)),
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(times) if times < MAX_POSITIONS => Ok(times),
        _ => Err(format!("{text:?} is no count of at most {MAX_POSITIONS}")),
    }
}

pub(super) fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let lower = digits.to_ascii_lowercase();
    let value = match lower.as_str() {
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        other if other.starts_with("0x") => i64::from_str_radix(&other[2..], 16).ok()? as f64,
        other if other.starts_with(|c: char| c.is_ascii_digit() || c == '.') => other.parse().ok()?,
        _ => return None,
    };
    Some(sign * value)
}

/// `{{…}}`, `{{…}}x3`, `{{…}}+{{…}}x3`; returns what follows.
fn histogram_item<'a>(text: &'a str, out: &mut Vec<Item>) -> Result<&'a str, String> {
    let (first, hint_is_written, rest) = histogram(text)?;
    let push = |histogram: &Histogram, out: &mut Vec<Item>| {
        out.push(Item::Histogram { histogram: Arc::new(histogram.clone()), hint_is_written });
    };
    let times_in = |rest: &'a str| -> Result<(usize, &'a str), String> {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Ok((count(&rest[..end])?, &rest[end..]))
    };
    match rest.as_bytes().first() {
        Some(b'x') => {
            let (times, rest) = times_in(&rest[1..])?;
            (0..=times).for_each(|_| push(&first, out));
            Ok(rest)
        }
        Some(sign @ (b'+' | b'-')) => {
            let (step, _, rest) = histogram(&rest[1..])?;
            let Some(rest) = rest.strip_prefix('x') else {
                return Err(format!("expected x and a count, found {rest:?}"));
            };
            let (times, rest) = times_in(rest)?;
            let mut current = first;
            push(&current, out);
            for _ in 0..times {
                if current.schema > step.schema {
                    return Err(format!(
                        "error combining histograms: cannot merge from schema {} to {}",
                        step.schema, current.schema
                    ));
                }
                let combined =
                    if *sign == b'+' { add(&mut current, &step) } else { subtract(&mut current, &step) };
                combined.map_err(|err| err.to_string())?;
                push(&current, out);
            }
            Ok(rest)
        }
        _ => {
            push(&first, out);
            Ok(rest)
        }
    }
}

/// `{{schema:0 sum:5 …}}`; returns the histogram, whether its reset hint was written, and what follows.
fn histogram(text: &str) -> Result<(Histogram, bool, &str), String> {
    let body = text.strip_prefix("{{").ok_or(format!("expected {{{{, found {text:?}"))?;
    let (body, rest) = body.split_once("}}").ok_or("a histogram lacks its }}")?;
    let mut histogram = Histogram { is_float: true, ..Histogram::default() };
    let (mut offset, mut negative_offset, mut hint_is_written) = (0, 0, false);
    let mut seen = Vec::new();
    let mut left = body.trim();
    while !left.is_empty() {
        let (key, tail) = left.split_once(':').ok_or(format!("expected key:value, found {left:?}"))?;
        if seen.contains(&key) {
            return Err(format!("duplicate key {key:?} in histogram"));
        }
        seen.push(key);
        let (value, tail) = match tail.starts_with('[') {
            true => {
                tail.split_once(']').map(|(list, tail)| (&list[1..], tail)).ok_or("a list lacks its ]")?
            }
            false => tail.split_at(tail.find([' ', '\t']).unwrap_or(tail.len())),
        };
        let float = || number(value).ok_or(format!("{key}: {value:?} is no number"));
        let integer = || value.parse::<i32>().map_err(|_| format!("{key}: {value:?} is no integer"));
        let list = || -> Result<Vec<f64>, String> {
            let numbers = value.split_ascii_whitespace();
            numbers.map(|n| number(n).ok_or(format!("{key}: {n:?} is no number"))).collect()
        };
        match key {
            "schema" => histogram.schema = integer()?,
            "sum" => histogram.sum = float()?,
            "count" => histogram.count = float()?,
            "z_bucket" => histogram.zero_count = float()?,
            "z_bucket_w" => histogram.zero_threshold = float()?,
            "buckets" => histogram.positive = list()?,
            "n_buckets" => histogram.negative = list()?,
            "custom_values" => histogram.custom_values = list()?,
            "offset" => offset = integer()?,
            "n_offset" => negative_offset = integer()?,
            "counter_reset_hint" => {
                hint_is_written = true;
                histogram.reset_hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    other => return Err(format!("{other:?} is no counter reset hint")),
                }
            }
            other => return Err(format!("{other:?} is no part of a histogram")),
        }
        left = tail.trim_start();
    }
    if !(-4..=8).contains(&histogram.schema) && histogram.schema != CUSTOM_SCHEMA {
        return Err(format!("histogram schema {} is neither -4..=8 nor {CUSTOM_SCHEMA}", histogram.schema));
    }
    let spans = |offset, buckets: &[f64]| match buckets.len() {
        0 => Vec::new(),
        length => vec![Span { offset, length: length as u32 }],
    };
    histogram.positive_spans = spans(offset, &histogram.positive);
    histogram.negative_spans = spans(negative_offset, &histogram.negative);
    Ok((histogram, hint_is_written, rest))
}

/// `_ -1m -30s-1mx2`
fn starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut out = Vec::new();
    for word in text.split_ascii_whitespace() {
        if let Some(times) = word.strip_prefix('_') {
            let times = match times.strip_prefix('x') {
                Some(times) => count(times)?,
                None if times.is_empty() => 1,
                None => return Err(format!("{word:?} is no start timestamp")),
            };
            out.extend(std::iter::repeat_n(None, times));
            continue;
        }
        let (value, step, times) = match progression(word) {
            Some((value, step, times)) => (value, step, count(times)?),
            None => (word, "", 0),
        };
        let mut distance = signed_duration(value)?;
        let step = if step.is_empty() { 0 } else { signed_duration(step)? };
        for _ in 0..=times {
            out.push(Some(distance));
            distance += step;
        }
        if out.len() > MAX_POSITIONS {
            return Err(format!("the sequence has more than {MAX_POSITIONS} positions"));
        }
    }
    Ok(out)
}

fn signed_duration(text: &str) -> Result<i64, String> {
    let (sign, text) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    PromDuration::parse(text).map(|duration| sign * duration.ms()).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<Option<f64>> {
        let values = items(text).unwrap_or_else(|err| panic!("{text}: {err}"));
        let float = |item| match item {
            Item::Gap => None,
            Item::Float(value) => Some(value),
            Item::Histogram { .. } => panic!("a histogram in {text}"),
        };
        values.into_iter().map(float).collect()
    }

    #[test]
    fn sequences_expand() {
        let some = |values: &[f64]| values.iter().map(|&v| Some(v)).collect::<Vec<_>>();
        assert_eq!(floats("1 -1.5  Inf\t0x1f"), some(&[1.0, -1.5, f64::INFINITY, 31.0]));
        assert_eq!(floats("0x3"), some(&[0.0; 4]));
        assert_eq!(floats("1+2x2 -1-2x1"), some(&[1.0, 3.0, 5.0, -1.0, -3.0]));
        assert_eq!(floats("1e+2-1e1x1"), some(&[100.0, 90.0]));
        assert_eq!(floats("_ 1 _x2"), [None, Some(1.0), None, None]);
        assert!(floats("NaN")[0].unwrap().is_nan());
        assert!(model::is_stale(floats("stale")[0].unwrap()));
        for bad in [
            "1x",
            "x3",
            "1+-2x1",
            "_3",
            "1+x3",
            "abc",
            "1x99999999999",
            "{{sum:1}} }}",
            "{{sum:1",
            "{{foo:1}}",
            "1,2",
        ] {
            assert!(items(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn histograms_are_read_and_added() {
        let text = "{{schema:1 sum:-3 count:4 z_bucket:1 z_bucket_w:0.1 buckets:[1 2] offset:-1 n_buckets:[1] \
                    counter_reset_hint:gauge}}";
        let Item::Histogram { histogram, hint_is_written: true } = &items(text).unwrap()[0] else {
            panic!("no histogram");
        };
        assert_eq!((histogram.schema, histogram.sum, histogram.count), (1, -3.0, 4.0));
        assert_eq!(histogram.positive_spans, [Span { offset: -1, length: 2 }]);
        assert_eq!(
            (histogram.positive.as_slice(), histogram.negative.as_slice()),
            (&[1.0, 2.0][..], &[1.0][..])
        );
        assert_eq!((histogram.zero_count, histogram.zero_threshold), (1.0, 0.1));
        assert_eq!(histogram.reset_hint, ResetHint::Gauge);
        let sums = |text: &str| -> Vec<f64> {
            let sum = |item| match item {
                Item::Histogram { histogram, .. } => histogram.sum,
                _ => panic!("no histogram"),
            };
            items(text).unwrap().into_iter().map(sum).collect()
        };
        assert_eq!(sums("{{sum:1}}x2"), [1.0; 3]);
        assert_eq!(sums("{{sum:1 buckets:[1]}}+{{sum:2 buckets:[3]}}x2 {{}}"), [1.0, 3.0, 5.0, 0.0]);
    }

    #[test]
    fn lines_have_labels_and_values_or_starts() {
        let Ok(Line::Series(line)) = parse_line(r#"{"my.name", a="b"} 1"#) else { panic!("no series") };
        assert_eq!((line.labels.to_string().as_str(), line.items.len()), (r#"{"my.name", a="b"}"#, 1));
        let Ok(Line::Starts(line)) = parse_line("a@st _ -30s-1mx2 1ms _x2") else { panic!("no starts") };
        assert_eq!(line.starts, [None, Some(-30_000), Some(-90_000), Some(-150_000), Some(1), None, None]);
        assert!(parse_line("a{b} 1").is_err() && parse_line("a,1").is_err());
    }
}
