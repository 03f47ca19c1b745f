//! Templates of labels and annotations: the functions that Prometheus adds to the language, and their data.
//!
//! Expansion is pure. A template that calls `query` is executed twice: the first time tells which queries it needs
//! ([`Answers::missing`]), the caller answers them, the second time makes the text.
//!
//! Source: the Prometheus manual, "Template reference".

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use model::{Labels, Timestamp};
use parking_lot::Mutex;
use template::gofmt::sprintf;
use template::time::{Duration, Time};
use template::{FunctionNames, Functions, Limits, Object, Options, Type, Value};

use crate::evaluate::Vector;
use crate::rule::Text;

/// Texts of one alert may take this much.
const LIMITS: Limits = Limits { steps: 200_000, output_bytes: 1 << 20, depth: 100 };

/// The names of all functions.
pub(crate) fn names() -> &'static FunctionNames {
    static NAMES: LazyLock<FunctionNames> =
        LazyLock::new(|| functions(&Arc::default(), Timestamp(0), "").names());
    &NAMES
}

/// What queries of templates have answered.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    known: HashMap<String, Result<Vector, String>>,
    missing: Vec<String>,
}

impl Answers {
    /// Queries that a template called and that are not answered yet; empties the list.
    pub(crate) fn missing(&mut self) -> Vec<String> {
        std::mem::take(&mut self.missing)
    }

    /// Gives an answer.
    pub(crate) fn answer(&mut self, query: String, answer: Result<Vector, String>) {
        self.known.insert(query, answer);
    }
}

/// What stays the same for all texts of an evaluation.
pub(crate) struct Expander {
    pub(crate) answers: Arc<Mutex<Answers>>,
    functions: Functions,
    external_labels: Value,
    external_url: Value,
}

impl Expander {
    /// For an evaluation at `at`.
    pub(crate) fn new(at: Timestamp, external_labels: &Labels, external_url: &str) -> Self {
        let answers = Arc::new(Mutex::new(Answers::default()));
        Self {
            functions: functions(&answers, at, external_url),
            answers,
            external_labels: Value::string_map(external_labels),
            external_url: external_url.into(),
        }
    }

    /// The data of one alert's templates.
    pub(crate) fn data(&self, labels: &Labels, value: &model::Value) -> Value {
        let value = match value {
            model::Value::Float(value) => Value::Float(*value),
            model::Value::Histogram(histogram) => Value::string(crate::evaluate::histogram_text(histogram)),
        };
        Value::object(AlertData {
            labels: Value::string_map(labels),
            external_labels: self.external_labels.clone(),
            external_url: self.external_url.clone(),
            value,
        })
    }

    /// Expands one text. A template that fails gives a text that says so, as in Prometheus.
    pub(crate) fn expand(&self, text: &Text, data: &Value) -> String {
        let Some(template) = &text.template else { return text.source.clone() };
        let options = Options { limits: LIMITS, ..Options::default() };
        match template.execute(data, &self.functions, &options) {
            Ok(text) => text,
            Err(err) => format!("<error expanding template: error executing template {err}>"),
        }
    }
}

struct AlertData {
    labels: Value,
    external_labels: Value,
    external_url: Value,
    value: Value,
}

impl Object for AlertData {
    fn type_name(&self) -> &str {
        "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }"
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(match name {
            "Labels" => self.labels.clone(),
            "ExternalLabels" => self.external_labels.clone(),
            "ExternalURL" => self.external_url.clone(),
            "Value" => self.value.clone(),
            _ => return None,
        })
    }

    fn fields(&self) -> &[&str] {
        &["Labels", "ExternalLabels", "ExternalURL", "Value"]
    }
}

/// One element of a query's answer.
#[derive(Clone)]
struct Sample {
    labels: Labels,
    value: Value,
}

impl Object for Sample {
    fn type_name(&self) -> &str {
        "*template.sample"
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Labels" => Some(Value::string_map(&self.labels)),
            "Value" => Some(self.value.clone()),
            _ => None,
        }
    }

    fn fields(&self) -> &[&str] {
        &["Labels", "Value"]
    }
}

fn functions(answers: &Arc<Mutex<Answers>>, at: Timestamp, external_url: &str) -> Functions {
    let mut functions = Functions::new();
    let answers = Arc::clone(answers);
    functions.add("query", &[Type::String], move |args| {
        let text = string(&args[0]);
        let mut answers = answers.lock();
        match answers.known.get(text) {
            Some(Ok(vector)) => Ok(Value::list(vector.iter().map(|point| {
                let value = match &point.value {
                    model::Value::Float(value) => Value::Float(*value),
                    model::Value::Histogram(histogram) => {
                        Value::string(crate::evaluate::histogram_text(histogram))
                    }
                };
                Value::object(Sample { labels: point.labels.clone(), value })
            }))),
            Some(Err(err)) => Err(err.clone()),
            None => {
                answers.missing.push(text.to_owned());
                Err("not answered yet".to_owned())
            }
        }
    });
    let url = external_url.to_owned();
    functions.add("externalURL", &[], move |_| Ok(Value::from(url.as_str())));
    let prefix =
        external_url.split_once("://").map_or("", |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    let prefix = prefix.to_owned();
    functions.add("pathPrefix", &[], move |_| Ok(Value::from(prefix.as_str())));
    functions.add("now", &[], move |_| Ok(Value::Float(at.seconds())));
    queries(&mut functions);
    texts(&mut functions);
    numbers(&mut functions);
    functions
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn sample(value: &Value) -> Result<&Sample, String> {
    value
        .downcast()
        .ok_or_else(|| format!("wrong type for value; expected *template.sample; got {}", value.type_name()))
}

fn queries(functions: &mut Functions) {
    functions
        .add("first", &[Type::List], |args| match args[0].as_list().and_then(<[_]>::first) {
            Some(first) => Ok(first.clone()),
            None => Err("first() called on vector with no elements".to_owned()),
        })
        .add("label", &[Type::String, Type::Any], |args| {
            Ok(sample(&args[1])?.labels.get(string(&args[0])).unwrap_or_default().into())
        })
        .add("value", &[Type::Any], |args| Ok(sample(&args[0])?.value.clone()))
        .add("strvalue", &[Type::Any], |args| {
            Ok(sample(&args[0])?.labels.get("__value__").unwrap_or_default().into())
        })
        .add("sortByLabel", &[Type::String, Type::List], |args| {
            let mut items = args[1].as_list().unwrap_or_default().to_vec();
            for item in &items {
                sample(item)?;
            }
            let key = |item: &Value| {
                let sample = sample(item).ok();
                sample.and_then(|s| s.labels.get(string(&args[0]))).unwrap_or_default().to_owned()
            };
            items.sort_by(|a, b| natural(&key(a), &key(b)));
            Ok(Value::list(items))
        })
        .add("graphLink", &[Type::String], |args| Ok(link(string(&args[0]), 0).into()))
        .add("tableLink", &[Type::String], |args| Ok(link(string(&args[0]), 1).into()))
        .add_variadic("args", &[Type::Any], |args| {
            Ok(Value::map(args.iter().enumerate().map(|(i, arg)| (format!("arg{i}"), arg.clone()))))
        });
}

/// A path of the UI that shows `expr` as a graph (tab 0) or table (tab 1).
pub(crate) fn link(expr: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", template::escape_query(expr))
}

fn texts(functions: &mut Functions) {
    let regex = |pattern: &Value| {
        regex::Regex::new(string(pattern)).map_err(|err| {
            format!(
                "error parsing regexp {:?}: {}",
                string(pattern),
                err.to_string().lines().last().unwrap_or_default()
            )
        })
    };
    functions
        .add("toUpper", &[Type::String], |args| Ok(string(&args[0]).to_uppercase().into()))
        .add("toLower", &[Type::String], |args| Ok(string(&args[0]).to_lowercase().into()))
        .add("title", &[Type::String], |args| Ok(title(string(&args[0])).into()))
        .add("match", &[Type::String, Type::String], move |args| {
            Ok(Value::Bool(regex(&args[0])?.is_match(string(&args[1]))))
        })
        .add("reReplaceAll", &[Type::String, Type::String, Type::String], move |args| {
            Ok(regex(&args[0])?.replace_all(string(&args[2]), string(&args[1])).into_owned().into())
        })
        .add("safeHtml", &[Type::String], |args| Ok(Value::safe_html(string(&args[0]))))
        .add("urlQueryEscape", &[Type::String], |args| Ok(template::escape_query(string(&args[0])).into()))
        .add("stripPort", &[Type::String], |args| Ok(host(string(&args[0])).into()))
        .add("stripDomain", &[Type::String], |args| {
            let text = string(&args[0]);
            let bare = host(text);
            if bare.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() {
                return Ok(text.into());
            }
            let port = &text[bare.len().min(text.len())..];
            let first = bare.split('.').next().unwrap_or_default();
            Ok(format!("{first}{}", if port.starts_with(':') { port } else { "" }).into())
        });
}

/// The host of `host:port`, with IPv6 out of its brackets; anything else as it is.
fn host(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once("]:") {
            Some((inner, _)) => inner,
            None => text,
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => text,
    }
}

/// The first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        in_word = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    out
}

/// Texts with numbers in them, by number.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (x, y) = (digits(a), digits(b));
        if x > 0 && y > 0 {
            let (p, q) = (a[..x].trim_start_matches('0'), b[..y].trim_start_matches('0'));
            let order = p.len().cmp(&q.len()).then_with(|| p.cmp(q));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[x..], &b[y..]);
            continue;
        }
        let (mut p, mut q) = (a.chars(), b.chars());
        let order = p.next().cmp(&q.next());
        if order.is_ne() || a.is_empty() {
            return order;
        }
        (a, b) = (p.as_str(), q.as_str());
    }
}

fn numbers(functions: &mut Functions) {
    functions
        .add("humanize", &[Type::Any], |args| Ok(humanize(number(&args[0])?).into()))
        .add("humanize1024", &[Type::Any], |args| Ok(humanize_1024(number(&args[0])?).into()))
        .add("humanizeDuration", &[Type::Any], |args| Ok(humanize_duration(number(&args[0])?).into()))
        .add("humanizePercentage", &[Type::Any], |args| Ok(print("%.4g%%", number(&args[0])? * 100.0).into()))
        .add("humanizeTimestamp", &[Type::Any], |args| {
            let seconds = number(&args[0])?;
            if !seconds.is_finite() {
                return Ok(print("%.4g", seconds).into());
            }
            Ok(time(seconds)?.to_string().into())
        })
        .add("toTime", &[Type::Any], |args| time(number(&args[0])?))
        .add("toDuration", &[Type::Any], |args| {
            let seconds = number(&args[0])?;
            if seconds.is_nan() || (seconds * 1e9).abs() > 9.2e18 {
                return Err(format!("{seconds} cannot be represented as a duration"));
            }
            Ok(Duration((seconds * 1e9).round() as i64).into())
        })
        .add("parseDuration", &[Type::String], |args| {
            match model::duration::PromDuration::parse(string(&args[0])) {
                Ok(duration) => Ok(Value::Float(duration.ms() as f64 / 1000.0)),
                Err(err) => Err(err.to_string()),
            }
        });
}

fn number(value: &Value) -> Result<f64, String> {
    if let Some(duration) = value.downcast::<Duration>() {
        return Ok(duration.0 as f64 / 1e9);
    }
    match value {
        Value::Float(number) => Ok(*number),
        Value::Int(number) => Ok(*number as f64),
        Value::String(text) => {
            promql_number(text).ok_or_else(|| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
        }
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

fn promql_number(text: &str) -> Option<f64> {
    let body = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    // Rust reads a few words that Go does not.
    if body.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || ["inf", "infinity", "nan"].contains(&body.as_str())
    {
        return text.parse().ok();
    }
    None
}

fn time(seconds: f64) -> Result<Value, String> {
    let ms = seconds * 1000.0;
    if !(-9.2e15..=9.2e15).contains(&ms) {
        return Err(format!(
            "{seconds} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok(Time::from_ms(ms.round() as i64).into())
}

fn print(format: &str, number: f64) -> String {
    sprintf(format, &[Value::Float(number)], 1 << 10).unwrap_or_default()
}

/// `1234567` as `1.235M`.
pub fn humanize(mut number: f64) -> String {
    let mut prefix = "";
    if number != 0.0 && number.is_finite() {
        if number.abs() >= 1.0 {
            for next in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
                if number.abs() < 1000.0 {
                    break;
                }
                prefix = next;
                number /= 1000.0;
            }
        } else {
            for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
                if number.abs() >= 1.0 {
                    break;
                }
                prefix = next;
                number *= 1000.0;
            }
        }
    }
    print("%.4g", number) + prefix
}

/// `1048576` as `1Mi`.
pub fn humanize_1024(mut number: f64) -> String {
    let mut prefix = "";
    if number.abs() > 1.0 && number.is_finite() {
        for next in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
            if number.abs() < 1024.0 {
                break;
            }
            prefix = next;
            number /= 1024.0;
        }
    }
    print("%.4g", number) + prefix
}

/// Seconds as `1d 2h 3m 4s`, `1.5s`, `20ms`.
pub fn humanize_duration(mut seconds: f64) -> String {
    if !seconds.is_finite() {
        return print("%.4g", seconds);
    }
    if seconds == 0.0 {
        return print("%.4gs", seconds);
    }
    if seconds.abs() >= 1.0 {
        let sign = if seconds < 0.0 { "-" } else { "" };
        seconds = seconds.abs();
        let whole = seconds as i64;
        let (s, m, h, d) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86400);
        return match (d, h, m) {
            (0, 0, 0) => format!("{sign}{}", print("%.4gs", seconds)),
            (0, 0, _) => format!("{sign}{m}m {s}s"),
            (0, _, _) => format!("{sign}{h}h {m}m {s}s"),
            _ => format!("{sign}{d}d {h}h {m}m {s}s"),
        };
    }
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if seconds.abs() >= 1.0 {
            break;
        }
        prefix = next;
        seconds *= 1000.0;
    }
    format!("{}{prefix}s", print("%.4g", seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Point;

    fn check(cases: &[(&str, &str)]) {
        let expander = Expander::new(
            Timestamp(1_700_000_000_000),
            &Labels::from_pairs([("dc", "a")]),
            "http://host:9090/base",
        );
        let labels = Labels::from_pairs([("instance", "db1.example.org:9100"), ("job", "node")]);
        let data = expander.data(&labels, &model::Value::Float(1234.5));
        let point = |n: &str, v: f64| Point {
            labels: Labels::from_pairs([("__name__", "m"), ("n", n)]),
            value: model::Value::Float(v),
        };
        expander.answers.lock().answer("m".to_owned(), Ok(vec![point("a10", 1.0), point("a9", 2.0)]));
        expander.answers.lock().answer("none".to_owned(), Ok(vec![]));
        for (text, expected) in cases {
            let text = Text::parse("A", text).unwrap();
            assert_eq!(expander.expand(&text, &data), *expected, "{}", text.source);
        }
    }

    #[test]
    fn functions_print_what_prometheus_prints() {
        check(&[
            (
                "{{ $labels.instance }} {{ $labels.nope }}{{ $value }} {{ $externalLabels.dc }}",
                "db1.example.org:9100 1234.5 a",
            ),
            (
                "{{ $labels.instance | stripPort }} {{ $labels.instance | stripDomain }} {{ stripDomain \"10.0.0.1:80\" }}",
                "db1.example.org db1:9100 10.0.0.1:80",
            ),
            ("{{ stripPort \"[::1]:80\" }} {{ stripPort \"x\" }}", "::1 x"),
            (
                "{{ humanize $value }} {{ humanize 0.0015 }} {{ humanize 0 }} {{ humanize \"1e9\" }}",
                "1.234k 1.5m 0 1G",
            ),
            ("{{ humanize1024 1048576.0 }} {{ humanize1024 0.5 }}", "1Mi 0.5"),
            (
                "{{ humanizeDuration 93784 }} {{ humanizeDuration 61.5 }} {{ humanizeDuration 1.5 }} {{ humanizeDuration 0.02 }} {{ humanizeDuration -3700 }}",
                "1d 2h 3m 4s 1m 1s 1.5s 20ms -1h 1m 40s",
            ),
            (
                "{{ humanizePercentage 0.1234 }} {{ humanizeTimestamp 1435065584.128 }}",
                "12.34% 2015-06-23 13:19:44.128 +0000 UTC",
            ),
            ("{{ (toTime 0).Year }} {{ parseDuration \"1h30m\" }} {{ toDuration 90 }}", "1970 5400 1m30s"),
            (
                "{{ query \"m\" | first | value }} {{ query \"m\" | first | label \"n\" }} {{ len (query \"none\") }}",
                "1 a10 0",
            ),
            (
                "{{ range query \"m\" | sortByLabel \"n\" }}{{ .Labels.n }}={{ .Value }} {{ end }}",
                "a9=2 a10=1 ",
            ),
            (
                "{{ query \"none\" | first }}",
                "<error expanding template: error executing template template: __alert_A:1:130: executing \"__alert_A\" at <first>: error calling first: first() called on vector with no elements>",
            ),
            (
                "{{ externalURL }} {{ pathPrefix }} {{ graphLink \"up == 0\" }} {{ tableLink \"up\" }}",
                "http://host:9090/base /base /graph?g0.expr=up+%3D%3D+0&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
            ),
            (
                "{{ title \"ab cd\" }} {{ toUpper \"a\" }} {{ match \"b+\" \"abbc\" }} {{ reReplaceAll \"(a)b\" \"$1-\" \"abab\" }}",
                "Ab Cd A true a-a-",
            ),
            ("{{ with args 1 \"x\" }}{{ .arg0 }}{{ .arg1 }}{{ end }} {{ now }}", "1x 1.7e+09"),
        ]);
    }

    #[test]
    fn a_query_is_asked_for_and_then_answered() {
        let expander = Expander::new(Timestamp(0), &Labels::empty(), "");
        let text = Text::parse("A", "{{ query \"up\" | len }}").unwrap();
        let data = expander.data(&Labels::empty(), &model::Value::Float(1.0));
        expander.expand(&text, &data);
        let missing = expander.answers.lock().missing();
        assert_eq!(missing, ["up"]);
        expander.answers.lock().answer("up".to_owned(), Ok(vec![]));
        assert_eq!(expander.expand(&text, &data), "0");
        assert!(expander.answers.lock().missing().is_empty());
    }
}
