//! From a line to fields.

use std::borrow::Cow;

use regex::{Captures, Regex};
use serde_json::Value;

use super::config::Format;

/// A line, and the fields that its input knows already.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) fields: Vec<(Cow<'static, str>, String)>,
}

impl From<String> for Entry {
    fn from(text: String) -> Self {
        Self { text, fields: Vec::new() }
    }
}

/// How lines are taken apart.
#[derive(Debug)]
pub(crate) enum Parser {
    Raw,
    Json,
    Event,
    /// A pattern with named groups; `class`: whether there is a field `class` such as `5xx`, made of `code`.
    Pattern {
        regex: Regex,
        class: bool,
    },
}

/// nginx: `log_format combined`, optionally with the request's time after it, plain or as `rt=…`.
const NGINX: &str = r#"^(?<client>\S+) - (?<user>\S+) \[(?<time>[^\]]*)\] "(?:(?<method>[A-Z]{1,20}) (?<path>\S*)[^"\\]*|(?:[^"\\]|\\.)*)" (?<code>\d{3}) (?<bytes>\d+|-) "(?<referer>(?:[^"\\]|\\.)*)" "(?<agent>(?:[^"\\]|\\.)*)"(?:.*?(?:^| |"|rt=)(?<seconds>\d+\.\d+))?"#;
/// Apache: `common` or `combined`, optionally with `%D` (microseconds) after it.
const APACHE: &str = r#"^(?<client>\S+) (?<ident>\S+) (?<user>\S+) \[(?<time>[^\]]*)\] "(?:(?<method>[A-Z]{1,20}) (?<path>\S*)[^"\\]*|(?:[^"\\]|\\.)*)" (?<code>\d{3}) (?<bytes>\d+|-)(?: "(?<referer>(?:[^"\\]|\\.)*)" "(?<agent>(?:[^"\\]|\\.)*)")?(?: (?<microseconds>\d+))?"#;
/// HAProxy: `option httplog`, with or without the syslog header. Times are milliseconds, −1 for none.
const HAPROXY: &str = r#"(?<client>\S+) \[(?<time>[^\]]*)\] (?<frontend>\S+) (?<backend>[^/ ]+)/(?<server>\S+) (?<request_ms>-?\d+)/(?<queue_ms>-?\d+)/(?<connect_ms>-?\d+)/(?<response_ms>-?\d+)/\+?(?<milliseconds>\d+) (?<code>\d{3}|-1) \+?(?<bytes>\d+) \S+ \S+ (?<termination>\S{4}) (?<connections>\S+) (?<queues>\S+)(?: \{[^}]*\}){0,2} "(?:(?<method>[A-Z]{1,20}) (?<path>\S*)[^"]*|[^"]*)"?"#;
/// Envoy: the default format. Times are milliseconds.
const ENVOY: &str = r#"^\[(?<time>[^\]]*)\] "(?<method>\S+) (?<path>\S+) (?<protocol>\S+)" (?<code>\d+) (?<flags>\S+) (?:.*?)(?<bytes_received>\d+) (?<bytes>\d+) (?<milliseconds>\d+) (?<upstream_ms>\d+|-) "(?<forwarded_for>[^"]*)" "(?<agent>[^"]*)" "(?<request_id>[^"]*)" "(?<authority>[^"]*)" "(?<upstream>[^"]*)""#;

/// The pattern of a format that ships.
pub(crate) fn shipped(format: Format) -> Option<&'static str> {
    Some(match format {
        Format::Nginx => NGINX,
        Format::Apache => APACHE,
        Format::Haproxy => HAPROXY,
        Format::Envoy => ENVOY,
        Format::Raw | Format::Json | Format::Pattern | Format::Event => return None,
    })
}

impl Parser {
    /// # Errors
    /// A pattern that is none, or none where one is needed.
    pub(crate) fn new(format: Format, pattern: &str) -> Result<Self, String> {
        let compile = |pattern: &str, class| {
            let regex = Regex::new(pattern).map_err(|err| format!("pattern: {err}"))?;
            if regex.capture_names().flatten().next().is_none() {
                return Err("pattern: it has no named group such as (?<code>[0-9]+)".to_owned());
            }
            Ok(Self::Pattern { regex, class })
        };
        if let Some(pattern) = shipped(format) {
            return compile(pattern, true);
        }
        match format {
            Format::Pattern if pattern.is_empty() => Err("format: pattern needs a pattern".into()),
            Format::Pattern => compile(pattern, false),
            _ if !pattern.is_empty() => Err(format!("pattern: {format:?} does not use one")),
            Format::Json => Ok(Self::Json),
            Format::Event => Ok(Self::Event),
            _ => Ok(Self::Raw),
        }
    }

    /// The fields of a line; `None` when it is not what the format says.
    pub(crate) fn parse<'e>(&self, entry: &'e Entry) -> Option<Fields<'e>> {
        let found = match self {
            Self::Raw => Found::None,
            Self::Json => Found::Json(object(&entry.text)?),
            Self::Event => match object(&entry.text) {
                Some(value) => Found::Event(event_object(&value)?),
                None => Found::Event(event_line(&entry.text)?),
            },
            Self::Pattern { regex, class } => Found::Captures(regex.captures(&entry.text)?, *class),
        };
        Some(Fields { entry, found })
    }
}

fn object(text: &str) -> Option<Value> {
    let text = text.trim();
    if !text.starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Service, id, description.
fn event_object(value: &Value) -> Option<[String; 3]> {
    let field =
        |names: &[&str]| names.iter().map(|name| scalar(&value[*name])).find(Option::is_some).flatten();
    Some([
        field(&["service", "service_name"])?.into_owned(),
        field(&["id", "event_id"])?.into_owned(),
        field(&["description", "message", "msg"]).unwrap_or_default().into_owned(),
    ])
}

fn event_line(text: &str) -> Option<[String; 3]> {
    let mut words = text.trim().splitn(3, |c: char| c.is_whitespace());
    Some([
        words.next()?.to_owned(),
        words.next()?.to_owned(),
        words.next().unwrap_or_default().trim().to_owned(),
    ])
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        _ => None,
    }
}

enum Found<'e> {
    None,
    Json(Value),
    Event([String; 3]),
    Captures(Captures<'e>, bool),
}

/// The fields of one line.
pub(crate) struct Fields<'e> {
    entry: &'e Entry,
    found: Found<'e>,
}

impl Fields<'_> {
    /// A field's text. The line's own fields win over those of its input.
    pub(crate) fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let own = match &self.found {
            Found::None => None,
            Found::Json(value) => json_field(value, name),
            Found::Event([service, id, description]) => match name {
                "service" => Some(Cow::Borrowed(service.as_str())),
                "id" => Some(Cow::Borrowed(id.as_str())),
                "description" => Some(Cow::Borrowed(description.as_str())),
                _ => None,
            },
            Found::Captures(captures, class) => match captures.name(name) {
                Some(found) => Some(Cow::Borrowed(found.as_str())),
                None if *class && name == "class" => {
                    class_of(captures.name("code")?.as_str()).map(Cow::Borrowed)
                }
                None => None,
            },
        };
        own.or_else(|| {
            let given = self.entry.fields.iter().find(|(given, _)| given == name);
            given.map(|(_, value)| Cow::Borrowed(value.as_str()))
        })
        .or_else(|| (name == "message").then_some(Cow::Borrowed(self.entry.text.as_str())))
    }
}

fn json_field<'v>(value: &'v Value, name: &str) -> Option<Cow<'v, str>> {
    if let Some(found) = value.get(name) {
        return scalar(found);
    }
    let (outer, inner) = name.split_once('.')?;
    json_field(value.get(outer)?, inner)
}

fn class_of(code: &str) -> Option<&'static str> {
    Some(match code.as_bytes().first()? {
        b'1' => "1xx",
        b'2' => "2xx",
        b'3' => "3xx",
        b'4' => "4xx",
        b'5' => "5xx",
        _ => "other",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, line: &str, expected: &[(&str, Option<&str>)]) {
        let parser = Parser::new(format, "").unwrap();
        let entry = Entry::from(line.to_owned());
        let fields = parser.parse(&entry).unwrap_or_else(|| panic!("{format:?} does not fit {line}"));
        for (name, value) in expected {
            assert_eq!(fields.get(name).as_deref(), *value, "{name} of {line}");
        }
    }

    #[test]
    fn access_logs() {
        let combined = r#"192.0.2.1 - bob [10/Oct/2000:13:55:36 -0700] "GET /a.gif?x=1 HTTP/1.1" 503 2326 "http://r/" "Mozilla \"x\"""#;
        let common = r#"::1 - - [10/Oct/2000:13:55:36 -0700] "POST /a HTTP/1.0" 404 -"#;
        check(
            Format::Nginx,
            combined,
            &[
                ("method", Some("GET")),
                ("code", Some("503")),
                ("class", Some("5xx")),
                ("bytes", Some("2326")),
                ("seconds", None),
            ],
        );
        check(
            Format::Nginx,
            &format!("{combined} 0.125"),
            &[("seconds", Some("0.125")), ("path", Some("/a.gif?x=1"))],
        );
        check(
            Format::Nginx,
            &format!("{combined} \"-\" rt=1.500 uct=\"0.000\""),
            &[("seconds", Some("1.500"))],
        );
        check(
            Format::Nginx,
            r#"1.2.3.4 - - [t] "\x16\x03\x01" 400 157 "-" "-""#,
            &[("code", Some("400")), ("method", None)],
        );
        check(
            Format::Apache,
            common,
            &[("class", Some("4xx")), ("bytes", Some("-")), ("microseconds", None)],
        );
        check(
            Format::Apache,
            &format!("{combined} 1500"),
            &[("microseconds", Some("1500")), ("code", Some("503"))],
        );
        check(
            Format::Haproxy,
            r#"Feb  6 12:14:14 lb haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} "GET /index.html HTTP/1.1""#,
            &[
                ("frontend", Some("http-in")),
                ("backend", Some("static")),
                ("server", Some("srv1")),
                ("milliseconds", Some("109")),
                ("class", Some("2xx")),
                ("bytes", Some("2750")),
                ("method", Some("GET")),
            ],
        );
        check(
            Format::Haproxy,
            r#"10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in http-in/<NOSRV> -1/-1/-1/-1/5 400 187 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>""#,
            &[("server", Some("<NOSRV>")), ("code", Some("400")), ("method", None)],
        );
        check(
            Format::Envoy,
            r#"[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0" "locations" "tcp://10.0.2.1:80""#,
            &[
                ("code", Some("204")),
                ("milliseconds", Some("226")),
                ("bytes", Some("0")),
                ("upstream", Some("tcp://10.0.2.1:80")),
            ],
        );
    }

    #[test]
    fn json_events_and_patterns() {
        check(
            Format::Json,
            r#"{"a":{"b":1.5},"level":"warn","c.d":true}"#,
            &[("a.b", Some("1.5")), ("level", Some("warn")), ("c.d", Some("true")), ("a", None)],
        );
        check(
            Format::Event,
            r#"{"service":"pay","id":7,"description":"slow"}"#,
            &[("service", Some("pay")), ("id", Some("7")), ("description", Some("slow"))],
        );
        check(
            Format::Event,
            "pay E42 card refused twice",
            &[("id", Some("E42")), ("description", Some("card refused twice"))],
        );
        check(Format::Raw, "x", &[("message", Some("x"))]);
        let parser = Parser::new(Format::Pattern, r"took (?<ms>\d+)ms").unwrap();
        let mut entry = Entry::from("job took 12ms".to_owned());
        entry.fields.push(("severity".into(), "3".into()));
        let fields = parser.parse(&entry).unwrap();
        assert_eq!((fields.get("ms").as_deref(), fields.get("severity").as_deref()), (Some("12"), Some("3")));
        assert!(parser.parse(&Entry::from("nothing".to_owned())).is_none());
        assert!(Parser::new(Format::Pattern, "").is_err());
        assert!(Parser::new(Format::Pattern, "a(b)").unwrap_err().contains("named group"));
        assert!(Parser::new(Format::Json, "a").is_err());
    }
}
