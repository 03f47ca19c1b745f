//! InfluxDB's line protocol: `measurement,tag=value field=1,other=2i 1700000000000000000`.
//!
//! A field becomes the series `measurement_field`, its tags labels. Numbers and truth values are samples, texts are ignored and
//! counted. A bad line is refused, the others are read. Source: the InfluxDB manual, "Line protocol".

use model::Batch;
use model::labels::METRIC_NAME;

use crate::gather::{Gather, Refused, label_name, metric_name};
use crate::number;

/// How lines are read.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// What a timestamp counts, in nanoseconds.
    pub unit_ns: i64,
    /// The time of lines without one, in milliseconds.
    pub now: i64,
    /// A label that every series gets, unless a tag of that name is there: the database.
    pub extra: Option<(&'a str, &'a str)>,
}

/// Nanoseconds of a `precision` parameter of either version; `None` for one that does not exist.
pub fn unit_ns(precision: &str) -> Option<i64> {
    Some(match precision {
        "" | "n" | "ns" => 1,
        "u" | "us" | "µ" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Decodes a body into `batch`, which is cleared first.
pub fn decode(body: &[u8], options: &Options<'_>, gather: &mut Gather, batch: &mut Batch) -> Refused {
    gather.begin(batch);
    let mut refused = Refused::default();
    let mut line = Line::default();
    let mut at = 0;
    while at < body.len() {
        let end = line_end(body, at);
        let raw = &body[at..end];
        at = end + 1;
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        let start = raw.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(raw.len());
        let raw = &raw[start..];
        if raw.is_empty() || raw[0] == b'#' {
            continue;
        }
        let outcome = match std::str::from_utf8(raw) {
            Err(_) => Err("it is not UTF-8".to_owned()),
            Ok(text) => line.read(text, options, gather, batch, &mut refused),
        };
        if let Err(reason) = outcome {
            refused.refuse(1, || {
                let shown = String::from_utf8_lossy(raw);
                let shown: String = shown.chars().take(120).collect();
                format!("unable to parse '{shown}': {reason}")
            });
        }
    }
    gather.finish(batch);
    refused
}

/// The end of the line that starts at `at`: a line break within quotes belongs to a text, when the quote opens a field's value.
fn line_end(body: &[u8], at: usize) -> usize {
    let (mut quoted, mut i) = (false, at);
    while let Some(found) = memchr::memchr3(b'\n', b'"', b'\\', &body[i..]) {
        i += found;
        match body[i] {
            b'\n' if !quoted => return i,
            b'"' if quoted => quoted = false,
            b'"' if i > at && body[i - 1] == b'=' && body[at..i].contains(&b' ') => quoted = true,
            // What it escapes is no end, but a line break outside of quotes always is.
            b'\\' if body.get(i + 1).is_some_and(|b| *b != b'\n') => i += 1,
            _ => {}
        }
        i += 1;
        if i >= body.len() {
            break;
        }
    }
    body.len()
}

/// Buffers that are kept from line to line.
#[derive(Debug, Default)]
struct Line {
    measurement: String,
    tags: Vec<(String, String)>,
    name: String,
}

impl Line {
    fn read(
        &mut self,
        text: &str,
        options: &Options<'_>,
        gather: &mut Gather,
        batch: &mut Batch,
        refused: &mut Refused,
    ) -> Result<(), String> {
        let mut rest = Rest(text);
        self.measurement.clear();
        rest.take(&mut self.measurement, &[',', ' '], &[',', ' ']);
        if self.measurement.is_empty() {
            return Err("missing measurement".into());
        }
        self.tags.clear();
        while rest.skip(',') {
            let (mut key, mut value) = (String::new(), String::new());
            rest.take(&mut key, &[',', '=', ' '], &[',', '=', ' ']);
            if key.is_empty() {
                return Err("missing tag key".into());
            }
            if !rest.skip('=') {
                return Err("missing tag value".into());
            }
            rest.take(&mut value, &[',', '=', ' '], &[',', '=', ' ']);
            if value.is_empty() {
                return Err("missing tag value".into());
            }
            if rest.0.starts_with('=') {
                return Err("invalid tag format".into());
            }
            let mut name = String::new();
            label_name(&mut name, &key);
            self.tags.push((name, value));
        }
        if !rest.skip(' ') {
            return Err("missing fields".into());
        }
        rest.blanks();
        // The time stands behind the fields, and every field needs it.
        let fields = rest;
        loop {
            let mut unused = String::new();
            rest.take(&mut unused, &[',', '=', ' '], &[',', '=', ' ']);
            if unused.is_empty() {
                return Err(if unused.is_empty() && rest.0.is_empty() {
                    "missing fields"
                } else {
                    "missing field key"
                }
                .into());
            }
            if !rest.skip('=') {
                return Err("missing field value".into());
            }
            rest.value()?;
            if !rest.skip(',') {
                break;
            }
        }
        rest.blanks();
        let time = match rest.0.trim_end() {
            "" => options.now,
            text => {
                let count: i64 = text.parse().map_err(|_| format!("bad timestamp {text:?}"))?;
                let ms = i128::from(count) * i128::from(options.unit_ns) / 1_000_000;
                i64::try_from(ms).map_err(|_| format!("timestamp {text} is out of range"))?
            }
        };
        let mut rest = fields;
        loop {
            let mut key = String::new();
            rest.take(&mut key, &[',', '=', ' '], &[',', '=', ' ']);
            rest.skip('=');
            match rest.value()? {
                None => refused.ignored += 1,
                Some(value) => {
                    self.name.clear();
                    metric_name(&mut self.name, &self.measurement);
                    self.name.push('_');
                    metric_name(&mut self.name, &key);
                    let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(self.tags.len() + 2);
                    pairs.push((METRIC_NAME, &self.name));
                    pairs.extend(self.tags.iter().map(|(n, v)| (n.as_str(), v.as_str())));
                    if let Some(extra) = options.extra.filter(|(n, _)| !self.tags.iter().any(|(t, _)| t == n))
                    {
                        pairs.push(extra);
                    }
                    let series = gather.series(&mut pairs, batch)?;
                    gather.float(batch, series, time, value);
                }
            }
            if !rest.skip(',') {
                return Ok(());
            }
        }
    }
}

/// What is left of a line.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn skip(&mut self, c: char) -> bool {
        match self.0.strip_prefix(c) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// Takes characters up to one of `ends`; a backslash before one of `escaped` is left out.
    fn take(&mut self, out: &mut String, ends: &[char], escaped: &[char]) {
        let mut chars = self.0.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if ends.contains(&c) {
                self.0 = self.0.get(at..).unwrap_or_default();
                return;
            }
            match (c, chars.peek()) {
                ('\\', Some((_, next))) if escaped.contains(next) => {
                    out.push(*next);
                    chars.next();
                }
                _ => out.push(c),
            }
        }
        self.0 = "";
    }

    /// A field's value; `None` for a text.
    fn value(&mut self) -> Result<Option<f64>, String> {
        if self.skip('"') {
            let mut escaped = false;
            for (at, c) in self.0.char_indices() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '"' => {
                        self.0 = self.0.get(at + 1..).unwrap_or_default();
                        return Ok(None);
                    }
                    _ => {}
                }
            }
            return Err("unbalanced quotes".into());
        }
        let end = self.0.find([',', ' ']).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        let word = word.trim_end_matches('\t');
        let bad = || format!("invalid number {word:?}");
        Ok(Some(match word {
            "" => return Err("missing field value".into()),
            "t" | "T" | "true" | "True" | "TRUE" => 1.0,
            "f" | "F" | "false" | "False" | "FALSE" => 0.0,
            _ => match word.strip_suffix('i').or_else(|| word.strip_suffix('u')) {
                Some(digits) => {
                    let whole: i128 = digits.parse().map_err(|_| bad())?;
                    let fits = if word.ends_with('i') {
                        i64::try_from(whole).is_ok()
                    } else {
                        u64::try_from(whole).is_ok()
                    };
                    if !fits {
                        return Err(format!("value out of range {word:?}"));
                    }
                    whole as f64
                }
                None => number::parse_float(word.as_bytes()).filter(|v| v.is_finite()).ok_or_else(bad)?,
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::show;
    use proptest::prelude::*;

    fn read(body: &str) -> (Vec<String>, Refused) {
        let (mut gather, mut batch) = (Gather::new(1), Batch::new());
        let options = Options { unit_ns: 1, now: 7, extra: Some(("db", "d")) };
        let refused = decode(body.as_bytes(), &options, &mut gather, &mut batch);
        (show(&batch), refused)
    }

    #[test]
    fn lines_become_series() {
        let body = "cpu,host=a,zone=e\\ 1 user=1.5,sys=2i,on=true,note=\"a, b=\\\" c\nd\" 1700000000000000000\n\
                    # a comment\n\n  mem\\ used free=3u\r\n\
                    my\\,m,a\\=b=c\\,d f\\ 1=-1e3 1\n";
        let (shown, refused) = read(body);
        assert_eq!(
            shown,
            [
                "cpu_user{db=\"d\", host=\"a\", zone=\"e 1\"} 1.5@1700000000000",
                "cpu_sys{db=\"d\", host=\"a\", zone=\"e 1\"} 2@1700000000000",
                "cpu_on{db=\"d\", host=\"a\", zone=\"e 1\"} 1@1700000000000",
                "mem_used_free{db=\"d\"} 3@7",
                "my_m_f_1{a_b=\"c,d\", db=\"d\"} -1000@0",
            ]
        );
        assert_eq!((refused.count, refused.ignored), (0, 1));
    }

    #[test]
    fn bad_lines_are_named_and_the_others_read() {
        for (bad, reason) in [
            ("m", "missing fields"),
            ("m,t f=1", "missing tag value"),
            ("m,t= f=1", "missing tag value"),
            ("m,=v f=1", "missing tag key"),
            (",t=v f=1", "missing measurement"),
            ("m f", "missing field value"),
            ("m f=", "missing field value"),
            ("m =1", "missing field key"),
            ("m f=abc", "invalid number"),
            ("m f=9223372036854775808i", "out of range"),
            ("m f=\"x", "unbalanced quotes"),
            ("m f=1 12x", "bad timestamp"),
            ("m,a=1,a=2 f=1", "not unique"),
            ("m f=NaN", "invalid number"),
        ] {
            let (shown, refused) = read(&format!("good f=1\n{bad}\n"));
            assert_eq!(shown.len(), 1, "{bad}: {shown:?}");
            let first = refused.first.unwrap_or_default();
            assert!(
                refused.count == 1 && first.contains(reason) && first.contains("unable to parse"),
                "{bad}: {first}"
            );
        }
    }

    #[test]
    fn precisions() {
        assert_eq!(unit_ns("ms"), Some(1_000_000));
        assert_eq!(unit_ns("x"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut gather, mut batch) = (Gather::new(1), Batch::new());
            decode(&body, &Options { unit_ns: 1, now: 0, extra: None }, &mut gather, &mut batch);
        }

        #[test]
        fn no_near_miss_panics(body in "[a,=\\\\ \"\n1it#.]{0,60}") {
            read(&body);
        }
    }
}
