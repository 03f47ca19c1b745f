//! Go's `time.Time` and `time.Duration` as template objects, and Go's time layouts.
//!
//! Source: the documentation of Go's package time.

use std::sync::Arc;

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::value::{Object, Value};

/// An instant in a time zone: Go's `time.Time`.
#[derive(Clone, Debug)]
pub struct Time(pub Zoned);

/// A span in nanoseconds: Go's `time.Duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duration(pub i64);

impl Time {
    /// From milliseconds since the epoch, in UTC; out of range is clamped.
    pub fn from_ms(ms: i64) -> Self {
        let timestamp =
            Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX });
        Self(timestamp.to_zoned(TimeZone::UTC))
    }

    /// Milliseconds since the epoch.
    pub fn ms(&self) -> i64 {
        self.0.timestamp().as_millisecond()
    }

    /// The same instant in another zone of the tz database (`""` and `UTC` are UTC).
    ///
    /// # Errors
    /// The zone is not known.
    pub fn in_zone(&self, name: &str) -> Result<Self, String> {
        let zone = match name {
            "" | "UTC" => TimeZone::UTC,
            _ => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))?,
        };
        Ok(Self(self.0.with_time_zone(zone)))
    }

    /// Formats by one of Go's layouts, such as `2006-01-02 15:04:05 MST`.
    pub fn format(&self, layout: &str) -> String {
        format(&self.0, layout)
    }

    fn nanos(&self) -> i128 {
        self.0.timestamp().as_nanosecond()
    }
}

impl Object for Time {
    fn type_name(&self) -> &str {
        "time.Time"
    }

    fn text(&self) -> Option<String> {
        Some(self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }

    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let zoned = &self.0;
        let int = |number: i64| Ok(Value::Int(number));
        Some(match (method, args) {
            ("Format", [Value::String(layout)]) => Ok(self.format(layout).into()),
            ("String", []) => Ok(self.text().unwrap_or_default().into()),
            ("Unix", []) => int(zoned.timestamp().as_second()),
            ("UnixMilli", []) => int(self.ms()),
            ("UnixMicro", []) => int(zoned.timestamp().as_microsecond()),
            ("UnixNano", []) => int(self.nanos().clamp(i64::MIN.into(), i64::MAX.into()) as i64),
            ("UTC", []) => Ok(Value::object(Self(zoned.with_time_zone(TimeZone::UTC)))),
            ("Local", []) => Ok(Value::object(Self(zoned.with_time_zone(TimeZone::system())))),
            ("Year", []) => int(zoned.year().into()),
            ("Month", []) => {
                Ok(Value::object(Name { kind: "time.Month", names: &MONTHS, at: zoned.month() - 1, base: 1 }))
            }
            ("Weekday", []) => {
                let at = zoned.weekday().to_sunday_zero_offset();
                Ok(Value::object(Name { kind: "time.Weekday", names: &DAYS, at, base: 0 }))
            }
            ("Day", []) => int(zoned.day().into()),
            ("YearDay", []) => int(zoned.day_of_year().into()),
            ("Hour", []) => int(zoned.hour().into()),
            ("Minute", []) => int(zoned.minute().into()),
            ("Second", []) => int(zoned.second().into()),
            ("Nanosecond", []) => int(zoned.subsec_nanosecond().into()),
            ("IsZero", []) => {
                Ok(Value::Bool(self.format("2006-01-02T15:04:05Z07:00") == "0001-01-01T00:00:00Z"))
            }
            ("Before" | "After" | "Equal" | "Sub", [other]) => match other.downcast::<Self>() {
                Some(other) => Ok(match method {
                    "Before" => Value::Bool(self.nanos() < other.nanos()),
                    "After" => Value::Bool(self.nanos() > other.nanos()),
                    "Equal" => Value::Bool(self.nanos() == other.nanos()),
                    _ => {
                        let nanos = self.nanos() - other.nanos();
                        Value::object(Duration(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64))
                    }
                }),
                None => Err(format!("wrong type for value; expected time.Time; got {}", other.type_name())),
            },
            ("Add", [by]) => match by.underlying() {
                Value::Int(nanos) => match zoned.checked_add(jiff::SignedDuration::from_nanos(nanos)) {
                    Ok(sum) => Ok(Value::object(Self(sum))),
                    Err(_) => Err("time out of range".to_owned()),
                },
                _ => Err(format!("wrong type for value; expected time.Duration; got {}", by.type_name())),
            },
            _ => return None,
        })
    }
}

impl Object for Duration {
    fn type_name(&self) -> &str {
        "time.Duration"
    }

    fn text(&self) -> Option<String> {
        Some(format_duration(self.0))
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::Int(self.0))
    }

    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        if !args.is_empty() {
            return None;
        }
        let nanos = self.0;
        Some(Ok(match method {
            "String" => format_duration(nanos).into(),
            "Seconds" => Value::Float(nanos as f64 / 1e9),
            "Minutes" => Value::Float(nanos as f64 / 6e10),
            "Hours" => Value::Float(nanos as f64 / 3.6e12),
            "Milliseconds" => Value::Int(nanos / 1_000_000),
            "Microseconds" => Value::Int(nanos / 1000),
            "Nanoseconds" => Value::Int(nanos),
            _ => return None,
        }))
    }
}

/// A month or weekday: prints as its name, counts as its number.
struct Name {
    kind: &'static str,
    names: &'static [&'static str],
    at: i8,
    base: i8,
}

impl Object for Name {
    fn type_name(&self) -> &str {
        self.kind
    }

    fn text(&self) -> Option<String> {
        self.names.get(self.at as usize).map(|name| (*name).to_owned())
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::Int((self.at + self.base).into()))
    }
}

/// Go's `Duration.String`: `1h2m3.5s`, `1.5ms`, `0s`.
pub fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    if magnitude == 0 {
        return "0s".to_owned();
    }
    let fraction = |whole: u64, rest: u64, digits: usize, unit: &str| {
        let rest = format!("{rest:0digits$}");
        let rest = rest.trim_end_matches('0');
        let point = if rest.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{rest}{unit}")
    };
    match magnitude {
        0..1_000 => return format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => return fraction(magnitude / 1000, magnitude % 1000, 3, "µs"),
        1_000_000..1_000_000_000 => return fraction(magnitude / 1_000_000, magnitude % 1_000_000, 6, "ms"),
        _ => {}
    }
    let seconds = magnitude / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = sign.to_owned();
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if hours > 0 || minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    let rest = format!("{:09}", magnitude % 1_000_000_000);
    let rest = rest.trim_end_matches('0');
    let point = if rest.is_empty() { "" } else { "." };
    text.push_str(&format!("{}{point}{rest}s", seconds % 60));
    text
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The elements of a layout, longer before shorter where one starts the other.
const ELEMENTS: [&str; 36] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-07:00",
    "-070000",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z07:00",
    "Z070000",
    "Z0700",
    "Z07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "__2",
    "_2006",
    "_2",
    "1",
    "2",
    "3",
    "4",
    "5",
    ".0",
    ".9",
];

fn format(time: &Zoned, layout: &str) -> String {
    let mut out = String::new();
    let mut rest = layout;
    'next: while let Some(c) = rest.chars().next() {
        for element in ELEMENTS {
            if let Some(tail) = rest.strip_prefix(element) {
                // "Jan" and "Mon" are elements only where no small letter follows.
                if matches!(element, "Jan" | "Mon") && tail.starts_with(|c: char| c.is_ascii_lowercase()) {
                    continue;
                }
                if matches!(element, ".0" | ".9") {
                    let digit = &element[1..];
                    let count = rest[1..].len() - rest[1..].trim_start_matches(digit).len();
                    let after = &rest[1 + count..];
                    if after.starts_with(|c: char| c.is_ascii_digit()) || count > 9 {
                        continue;
                    }
                    let nanos = format!("{:09}", time.subsec_nanosecond());
                    let shown = &nanos[..count];
                    let shown = if digit == "9" { shown.trim_end_matches('0') } else { shown };
                    if !shown.is_empty() {
                        out.push('.');
                        out.push_str(shown);
                    }
                    rest = after;
                    continue 'next;
                }
                push_element(&mut out, time, element);
                rest = tail;
                continue 'next;
            }
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

fn push_element(out: &mut String, time: &Zoned, element: &str) {
    let hour12 = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let month = MONTHS[(time.month() - 1) as usize];
    let day = DAYS[time.weekday().to_sunday_zero_offset() as usize];
    let text = match element {
        "January" => month.to_owned(),
        "Jan" => month[..3].to_owned(),
        "Monday" => day.to_owned(),
        "Mon" => day[..3].to_owned(),
        "MST" => zone_name(time),
        "2006" => format!("{:04}", time.year()),
        "_2006" => format!("_{:04}", time.year()),
        "06" => format!("{:02}", time.year().rem_euclid(100)),
        "01" => format!("{:02}", time.month()),
        "1" => time.month().to_string(),
        "002" => format!("{:03}", time.day_of_year()),
        "__2" => format!("{:3}", time.day_of_year()),
        "02" => format!("{:02}", time.day()),
        "_2" => format!("{:2}", time.day()),
        "2" => time.day().to_string(),
        "15" => format!("{:02}", time.hour()),
        "03" => format!("{hour12:02}"),
        "3" => hour12.to_string(),
        "04" => format!("{:02}", time.minute()),
        "4" => time.minute().to_string(),
        "05" => format!("{:02}", time.second()),
        "5" => time.second().to_string(),
        "PM" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "pm" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
        _ => offset_text(time.offset(), element),
    };
    out.push_str(&text);
}

fn zone_name(time: &Zoned) -> String {
    if time.time_zone() == &TimeZone::UTC {
        return "UTC".to_owned();
    }
    time.strftime("%Z").to_string()
}

fn offset_text(offset: Offset, element: &str) -> String {
    let seconds = offset.seconds();
    if element.starts_with('Z') && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let magnitude = seconds.unsigned_abs();
    let (h, m, s) = (magnitude / 3600, magnitude / 60 % 60, magnitude % 60);
    match &element[1..] {
        "07:00:00" => format!("{sign}{h:02}:{m:02}:{s:02}"),
        "07:00" => format!("{sign}{h:02}:{m:02}"),
        "070000" => format!("{sign}{h:02}{m:02}{s:02}"),
        "0700" => format!("{sign}{h:02}{m:02}"),
        _ => format!("{sign}{h:02}"),
    }
}

impl From<Time> for Value {
    fn from(time: Time) -> Self {
        Self::Object(Arc::new(time))
    }
}

impl From<Duration> for Value {
    fn from(duration: Duration) -> Self {
        Self::Object(Arc::new(duration))
    }
}
