//! The functions of notification templates.
//!
//! Source: the Alertmanager manual, "Functions" of the notification template reference.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Clock;
use template::time::{Duration, Time, format_duration};
use template::{Functions, Type, Value};

use crate::message::{AlertData, AlertList, Data, Kv};

fn text(args: &[Value], at: usize) -> String {
    args.get(at).map(|value| value.underlying().to_string()).unwrap_or_default()
}

/// A pattern in Go's syntax, not anchored.
fn unanchored(pattern: &str) -> Result<regex::Regex, String> {
    let checked = model::pattern::Pattern::new(pattern).map_err(|err| err.to_string())?;
    let source = checked.regex().as_str();
    let inner = source.strip_prefix("^(?s:").and_then(|inner| inner.strip_suffix(")$")).unwrap_or(pattern);
    regex::Regex::new(inner).map_err(|err| err.to_string())
}

/// All functions. `clock` answers `now` and `since`.
pub fn functions(clock: Arc<dyn Clock>) -> Functions {
    use Type::{Any, List, String as Text};
    let mut all = Functions::new();
    all.add("toUpper", &[Text], |args| Ok(text(args, 0).to_uppercase().into()))
        .add("toLower", &[Text], |args| Ok(text(args, 0).to_lowercase().into()))
        .add("title", &[Text], |args| Ok(title(&text(args, 0)).into()))
        .add("trimSpace", &[Text], |args| Ok(text(args, 0).trim().into()))
        .add("join", &[Text, List], |args| {
            let items = args.get(1).map(Value::underlying).unwrap_or_default();
            let items: Vec<String> =
                items.as_list().unwrap_or_default().iter().map(ToString::to_string).collect();
            Ok(items.join(&text(args, 0)).into())
        })
        .add("match", &[Text, Text], |args| Ok(unanchored(&text(args, 0))?.is_match(&text(args, 1)).into()))
        .add("safeHtml", &[Text], |args| Ok(Value::safe_html(text(args, 0))))
        .add("safeUrl", &[Text], |args| Ok(Value::safe_url(text(args, 0))))
        .add("urlUnescape", &[Text], |args| url_unescape(&text(args, 0)).map(Value::from))
        .add("reReplaceAll", &[Text, Text, Text], |args| {
            replace_all(&text(args, 0), &text(args, 1), &text(args, 2)).map(Value::from)
        })
        .add_variadic("stringSlice", &[Text], |args| Ok(Value::list(args.iter().cloned())))
        .add("date", &[Text, Any], |args| {
            let time = args.get(1).and_then(Value::downcast::<Time>).ok_or("date wants a time")?;
            Ok(time.format(&text(args, 0)).into())
        })
        .add("tz", &[Text, Any], |args| {
            let time = args.get(1).and_then(Value::downcast::<Time>).ok_or("tz wants a time")?;
            Ok(Value::object(time.in_zone(&text(args, 0))?))
        })
        .add("humanizeDuration", &[Any], |args| {
            let seconds = match args.first() {
                Some(value) if value.downcast::<Duration>().is_some() => {
                    value.downcast::<Duration>().map_or(0.0, |span| span.0 as f64 / 1e9)
                }
                Some(value) => match value.underlying() {
                    Value::String(text) => text.parse().map_err(|err| format!("{err}"))?,
                    other => other.as_f64().ok_or("humanizeDuration wants a number of seconds")?,
                },
                None => return Err("humanizeDuration wants a number of seconds".into()),
            };
            Ok(humanize_duration(seconds).into())
        })
        .add("toJson", &[Any], |args| {
            crate::message::Data::escaped_json(&to_json(args.first().unwrap_or(&Value::Nil)))
                .map(Value::from)
                .map_err(|err| err.to_string())
        })
        .add_variadic("list", &[Any], |args| Ok(Value::list(args.iter().cloned())))
        .add_variadic("append", &[List, Any], |args| {
            let first = args.first().map(Value::underlying).unwrap_or_default();
            let items = first.as_list().unwrap_or_default().iter().chain(args.iter().skip(1));
            Ok(Value::list(items.cloned()))
        })
        .add_variadic("dict", &[Any], |args| {
            if args.len() % 2 != 0 {
                return Err("dict requires an even number of arguments: key, value, …".into());
            }
            let pairs = args.chunks_exact(2).map(|pair| (pair[0].underlying().to_string(), pair[1].clone()));
            Ok(Value::map(pairs))
        })
        .add("toDate", &[Text, Text], |args| {
            let (layout, value) = (text(args, 0), text(args, 1));
            parse_date(&layout, &value).map(Value::object)
        });
    let now = clock.clone();
    all.add("now", &[], move |_| Ok(Value::object(Time::from_ms(now.now().ms()))));
    all.add("since", &[Any], move |args| {
        let time = args.first().and_then(Value::downcast::<Time>).ok_or("since wants a time")?;
        Ok(Value::object(Duration((clock.now().ms() - time.ms()).saturating_mul(1_000_000))))
    });
    all
}

/// Every word with a capital.
fn title(text: &str) -> String {
    let mut begin = true;
    text.chars()
        .map(|c| {
            let shown = if begin { c.to_uppercase().next().unwrap_or(c) } else { c };
            begin = !(c.is_alphanumeric() || c == '_' || c == '\'');
            shown
        })
        .collect()
}

fn url_unescape(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| (b as char).to_digit(16));
                let value = digit().zip(digit()).map(|(high, low)| (high * 16 + low) as u8);
                out.push(value.ok_or_else(|| format!("invalid URL escape in {text:?}"))?);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).map_err(|err| err.to_string())
}

/// Go's `ReplaceAllString` with `$1`, `${name}` and `$$`.
fn replace_all(pattern: &str, replacement: &str, text: &str) -> Result<String, String> {
    Ok(unanchored(pattern)?.replace_all(text, replacement).into_owned())
}

/// Seconds as `1d 2h 3m 4s`, small ones with a prefix. Source: the Prometheus manual, "humanizeDuration".
fn humanize_duration(value: f64) -> String {
    if value.is_nan() || value.is_infinite() {
        return if value.is_nan() {
            "NaN".into()
        } else if value > 0.0 {
            "+Inf".into()
        } else {
            "-Inf".into()
        };
    }
    if value == 0.0 {
        return "0s".into();
    }
    if value.abs() >= 1.0 {
        let sign = if value < 0.0 { "-" } else { "" };
        let mut whole = value.abs() as i64;
        let seconds = whole % 60;
        whole /= 60;
        let (minutes, hours, days) = (whole % 60, whole / 60 % 24, whole / 60 / 24);
        return if days != 0 {
            format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
        } else if hours != 0 {
            format!("{sign}{hours}h {minutes}m {seconds}s")
        } else if minutes != 0 {
            format!("{sign}{minutes}m {seconds}s")
        } else {
            format!("{sign}{}s", significant(value.abs()))
        };
    }
    let mut scaled = value;
    let mut unit = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if scaled.abs() >= 1.0 {
            break;
        }
        unit = next;
        scaled *= 1000.0;
    }
    format!("{}{unit}s", significant(scaled))
}

/// Four significant digits without trailing zeros.
fn significant(value: f64) -> String {
    let digits = 3 - value.abs().log10().floor() as i32;
    let text = format!("{value:.*}", digits.max(0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A text read by one of Go's layouts; the common ones and whole numbers are known.
fn parse_date(layout: &str, value: &str) -> Result<Time, String> {
    let format = [
        ("2006", "%Y"),
        ("January", "%B"),
        ("Jan", "%b"),
        ("01", "%m"),
        ("Monday", "%A"),
        ("Mon", "%a"),
        ("02", "%d"),
        ("15", "%H"),
        ("03", "%I"),
        ("04", "%M"),
        ("05", "%S"),
        ("PM", "%p"),
        ("Z07:00", "%:z"),
        ("-0700", "%z"),
    ]
    .iter()
    .fold(layout.to_owned(), |format, (go, posix)| format.replace(go, posix));
    let broken = jiff::fmt::strtime::parse(&format, value)
        .map_err(|err| format!("parsing time {value:?} as {layout:?}: {err}"))?;
    let zoned = match broken.to_timestamp() {
        Ok(instant) => instant.to_zoned(jiff::tz::TimeZone::UTC),
        Err(_) => broken
            .to_datetime()
            .or_else(|_| broken.to_date().map(|date| date.at(0, 0, 0, 0)))
            .and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC))
            .map_err(|err| format!("parsing time {value:?} as {layout:?}: {err}"))?,
    };
    Ok(Time(zoned))
}

/// A template's value as JSON.
pub(crate) fn to_json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    let known = |json: Result<Json, serde_json::Error>| json.unwrap_or(Json::Null);
    if let Some(data) = value.downcast::<Data>() {
        return known(serde_json::to_value(data));
    }
    if let Some(list) = value.downcast::<AlertList>() {
        return known(serde_json::to_value(list));
    }
    if let Some(alert) = value.downcast::<AlertData>() {
        return known(serde_json::to_value(alert));
    }
    if let Some(kv) = value.downcast::<Kv>() {
        return known(serde_json::to_value(kv));
    }
    if let Some(time) = value.downcast::<Time>() {
        return crate::message::rfc3339(model::Timestamp(time.ms())).into();
    }
    if let Some(span) = value.downcast::<Duration>() {
        return span.0.into();
    }
    match value {
        Value::Nil | Value::Function(_) => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::String(text) => text.to_string().into(),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(map) => {
            let entries: BTreeMap<String, Json> =
                map.entries.iter().map(|(name, value)| (name.clone(), to_json(value))).collect();
            known(serde_json::to_value(entries))
        }
        Value::Object(object) => match object.underlying() {
            Some(inner) => to_json(&inner),
            None => {
                let fields = object.fields().iter().filter_map(|name| Some((*name, object.field(name)?)));
                known(serde_json::to_value(fields.map(|(n, v)| (n, to_json(&v))).collect::<BTreeMap<_, _>>()))
            }
        },
    }
}

/// Go's text for a span, for messages of our own.
pub(crate) fn span(ms: i64) -> String {
    format_duration(ms.saturating_mul(1_000_000))
}
