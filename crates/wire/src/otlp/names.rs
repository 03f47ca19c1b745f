//! OpenTelemetry's names as Prometheus' names.
//!
//! Source: the OpenTelemetry specification, "Prometheus and OpenMetrics compatibility", and the Prometheus manual, `otlp`.

use super::Options;

/// The kinds of metric that decide about a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Other,
}

/// Units by UCUM, and their words.
const UNITS: &[(&str, &str)] = &[
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

/// Units after a `/`.
const PER_UNITS: &[(&str, &str)] = &[
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

fn word<'a>(table: &[(&str, &'static str)], unit: &'a str) -> &'a str {
    table.iter().find(|(short, _)| *short == unit).map_or(unit, |(_, word)| word)
}

/// The suffixes of a unit: the main one, and the one after `per`, with `per_`; `""` where there is none.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    // What stands in braces is an annotation, no unit.
    let plain = |text: &str| !text.is_empty() && !text.contains(['{', '}']);
    let (main, per) = (main.trim(), per.trim());
    let main = if plain(main) { word(UNITS, main).to_owned() } else { String::new() };
    let per = if plain(per) { format!("per_{}", word(PER_UNITS, per)) } else { String::new() };
    (main, per)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// A unit as part of a name: other characters become `_`, several become one, none leads.
fn clean_unit(unit: &str) -> String {
    let mut out = String::new();
    for c in unit.chars() {
        let c = if is_name_char(c) { c } else { '_' };
        if c != '_' || !out.is_empty() && !out.ends_with('_') {
            out.push(c);
        }
    }
    out
}

/// The metric's name.
///
/// # Errors
/// In words, when nothing is left of it.
pub(super) fn metric(options: &Options, name: &str, unit: &str, kind: Kind) -> Result<String, String> {
    let out = match (options.escape, options.suffixes) {
        (true, true) => normalized(name, unit, kind),
        (true, false) => {
            let parts = name.split(|c: char| !is_name_char(c) && c != '_').filter(|part| !part.is_empty());
            after_digit(parts.collect::<Vec<_>>().join("_"))
        }
        (false, true) => with_suffixes(name, unit, kind),
        (false, false) => name.to_owned(),
    };
    if out.is_empty() {
        return Err(format!("the name of metric {name:?} is empty after translation"));
    }
    if options.escape && out != name && out.bytes().all(|b| b == b'_') {
        return Err(format!("the name of metric {name:?} is {out:?} after translation"));
    }
    Ok(out)
}

fn after_digit(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Legacy characters, with suffixes for the unit and the kind.
fn normalized(name: &str, unit: &str, kind: Kind) -> String {
    let mut tokens: Vec<&str> = name.split(|c| !is_name_char(c)).filter(|part| !part.is_empty()).collect();
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (clean_unit(&main), clean_unit(&per));
    let mut main = if tokens.contains(&main.as_str()) { "" } else { main.as_str() };
    let per = match per.as_str() {
        "per_" => "",
        per => per.strip_suffix('_').unwrap_or(per),
    };
    let per = if tokens.contains(&per) { "" } else { per };
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    tokens.extend([main, per].into_iter().filter(|suffix| !suffix.is_empty()));
    let last = match kind {
        Kind::Counter => "total",
        Kind::Gauge if unit == "1" => "ratio",
        _ => "",
    };
    if !last.is_empty() {
        tokens.retain(|token| *token != last);
        tokens.push(last);
    }
    after_digit(tokens.join("_"))
}

/// Any UTF-8, with suffixes for the unit and the kind.
fn with_suffixes(name: &str, unit: &str, kind: Kind) -> String {
    // A suffix that is there already is taken off, with the character before it, and put back at its place.
    fn trim<'a>(name: &'a str, suffix: &str) -> &'a str {
        let stem = match name.strip_suffix(suffix) {
            Some(stem) if stem.len() > 1 => stem,
            _ => return name,
        };
        let mut chars = stem.chars();
        chars.next_back();
        chars.as_str()
    }
    let mut name = name;
    let ratio = unit == "1" && kind == Kind::Gauge;
    if ratio {
        name = trim(name, "ratio");
    }
    if kind == Kind::Counter {
        name = trim(name, "total");
    }
    let (main, per) = unit_suffixes(unit);
    if !per.is_empty() {
        name = trim(name, &per);
    }
    let mut out = name.to_owned();
    if !main.is_empty() && !name.ends_with(&main) {
        out.push('_');
        out.push_str(&main);
    }
    if !per.is_empty() {
        out.push('_');
        out.push_str(&per);
    }
    if kind == Kind::Counter {
        out.push_str("_total");
    }
    if ratio {
        out.push_str("_ratio");
    }
    out
}

/// The label's name, `None` when nothing is left of it.
pub(super) fn label(options: &Options, key: &str) -> Option<String> {
    if key.is_empty() {
        return None;
    }
    if !options.escape {
        return Some(key.to_owned());
    }
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        let c = if c.is_ascii_alphanumeric() { c } else { '_' };
        if c != '_' || options.preserve_multiple_underscores || !name.ends_with('_') {
            name.push(c);
        }
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "key_");
    } else if options.underscore_sanitization && name.starts_with('_') && !name.starts_with("__") {
        name.insert_str(0, "key");
    }
    let only_underscores = name != key && name.bytes().all(|b| b == b'_');
    (!only_underscores).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(escape: bool, suffixes: bool, name: &str, unit: &str, kind: Kind) -> String {
        metric(&Options { escape, suffixes, ..Options::default() }, name, unit, kind).unwrap()
    }

    #[test]
    fn the_four_strategies() {
        let all = |text: &str, unit: &str, kind: Kind| {
            [(true, true), (true, false), (false, true), (false, false)]
                .map(|(e, s)| name(e, s, text, unit, kind))
        };
        let cases = [
            (
                "http.server.duration",
                "s",
                Kind::Other,
                [
                    "http_server_duration_seconds",
                    "http_server_duration",
                    "http.server.duration_seconds",
                    "http.server.duration",
                ],
            ),
            ("requests", "1", Kind::Counter, ["requests_total", "requests", "requests_total", "requests"]),
            (
                "cpu.utilization",
                "1",
                Kind::Gauge,
                ["cpu_utilization_ratio", "cpu_utilization", "cpu.utilization_ratio", "cpu.utilization"],
            ),
            (
                "network.io",
                "By/s",
                Kind::Gauge,
                ["network_io_bytes_per_second", "network_io", "network.io_bytes_per_second", "network.io"],
            ),
            (
                "total.count",
                "{item}",
                Kind::Counter,
                ["count_total", "total_count", "total.count_total", "total.count"],
            ),
            (
                "a_seconds_total",
                "s",
                Kind::Counter,
                ["a_seconds_total", "a_seconds_total", "a_seconds_total", "a_seconds_total"],
            ),
            (
                "2xx--rate",
                "%",
                Kind::Gauge,
                ["_2xx_rate_percent", "_2xx_rate", "2xx--rate_percent", "2xx--rate"],
            ),
        ];
        for (text, unit, kind, expected) in cases {
            assert_eq!(all(text, unit, kind), expected, "{text} {unit}");
        }
        assert!(metric(&Options::default(), "---", "", Kind::Other).is_err());
        assert!(metric(&Options::default(), "", "s", Kind::Other).is_ok_and(|n| n == "seconds"));
    }

    #[test]
    fn labels_are_escaped() {
        let options = Options::default();
        for (key, expected) in [
            ("http.method", Some("http_method")),
            ("1st", Some("key_1st")),
            ("_private", Some("key_private")),
            ("__reserved__", Some("__reserved__")),
            ("a..b", Some("a__b")),
            ("..", None),
            ("", None),
        ] {
            assert_eq!(label(&options, key).as_deref(), expected, "{key}");
        }
        let utf8 = Options { escape: false, ..Options::default() };
        assert_eq!(label(&utf8, "http.method").as_deref(), Some("http.method"));
        let one = Options { preserve_multiple_underscores: false, ..Options::default() };
        assert_eq!(label(&one, "a..b").as_deref(), Some("a_b"));
    }
}
