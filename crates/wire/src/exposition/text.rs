//! The line reader of both text formats.
//!
//! A body ends at its end, in the Prometheus format also at a NUL where a line starts; OpenMetrics must end with `# EOF`.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::memchr;
use model::MetricType;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::scan::{self, Place, Text, near};
use super::{
    COMMENT, Cache, Describe, ExemplarText, Format, Line, ParseError, Point, Series, Visitor, histogram,
};
use crate::number;

/// How many lines of the last body are tried for a line that is not where it was.
const LOOK_AHEAD: usize = 8;

pub(super) struct Reader<'a> {
    body: &'a [u8],
    openmetrics: bool,
    /// OpenMetrics 2.0: `st@` is understood.
    starts: bool,
    cache: &'a mut Cache,
    visitor: &'a mut dyn Visitor,
    /// Where the last body's next line is expected.
    cursor: usize,
    /// The type that the last `# TYPE` gave.
    kind: MetricType,
    pairs: Vec<scan::Pair>,
}

const KINDS: [MetricType; 8] = [
    MetricType::Unknown,
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
];

/// A comment that sets no type.
const NO_KIND: u32 = COMMENT + KINDS.len() as u32;

impl<'a> Reader<'a> {
    pub(super) fn new(
        format: Format,
        body: &'a [u8],
        cache: &'a mut Cache,
        visitor: &'a mut dyn Visitor,
    ) -> Result<Self, ParseError> {
        let fail = |reason: &str| ParseError { line: 0, reason: reason.into() };
        if format == Format::Protobuf {
            return Err(fail("a protobuf body is not text"));
        }
        if u32::try_from(body.len()).is_err() {
            return Err(fail("the body is larger than 4 GiB"));
        }
        cache.next.clear();
        Ok(Self {
            body,
            openmetrics: format.is_openmetrics(),
            starts: format == Format::OpenMetrics200,
            cache,
            visitor,
            cursor: 0,
            kind: MetricType::Unknown,
            pairs: Vec::new(),
        })
    }

    pub(super) fn run(mut self) -> Result<(), ParseError> {
        let mut at = 0;
        loop {
            match self.line(at) {
                Ok(Some(next)) => at = next,
                Ok(None) => break,
                Err(reason) => {
                    let line = 1 + memchr::memchr_iter(b'\n', &self.body[..at]).count();
                    return Err(ParseError { line, reason });
                }
            }
        }
        std::mem::swap(&mut self.cache.lines, &mut self.cache.next);
        Ok(())
    }

    /// Reads the line that starts at `at`; the start of the next one, or `None` at the end.
    fn line(&mut self, at: usize) -> Result<Option<usize>, String> {
        if let Some(next) = self.known_line(at)? {
            return Ok(Some(next));
        }
        let body = self.body;
        let first = if self.openmetrics { at } else { skip_blanks(body, at) };
        match body.get(first) {
            None if self.openmetrics => Err("the body does not end with # EOF".into()),
            None => Ok(None),
            Some(0) if !self.openmetrics => Ok(None),
            Some(b'\n') if !self.openmetrics => Ok(Some(first + 1)),
            Some(b'#') if self.openmetrics => self.openmetrics_comment(at),
            Some(b'#') => self.comment(at, first),
            Some(_) => self.sample(first).map(Some),
        }
    }

    /// Tries the places where the last body had this line.
    fn known_line(&mut self, at: usize) -> Result<Option<usize>, String> {
        let body = self.body;
        for ahead in 0..LOOK_AHEAD {
            let Some(&line) = self.cache.lines.get(self.cursor + ahead) else { return Ok(None) };
            let end = at + line.len as usize;
            // A series text ends before a blank, a comment before the line break.
            let fits = match body.get(end) {
                Some(b' ') => line.tag < COMMENT,
                Some(b'\n') => line.tag >= COMMENT,
                _ => false,
            };
            if !fits || xxh3_64_with_seed(&body[at..end], self.cache.seed) != line.hash {
                continue;
            }
            self.cursor += ahead + 1;
            if line.tag >= COMMENT {
                self.cache.next.push(line);
                if let Some(kind) = KINDS.get((line.tag - COMMENT) as usize) {
                    self.kind = *kind;
                }
                return Ok(Some(end + 1));
            }
            let (point, next) = self.point(end)?;
            if !self.visitor.known(line.tag, &point)? {
                return Ok(None);
            }
            self.cache.next.push(line);
            return Ok(Some(next));
        }
        Ok(None)
    }

    fn remember(&mut self, start: usize, end: usize, tag: u32) {
        let hash = xxh3_64_with_seed(&self.body[start..end], self.cache.seed);
        self.cache.next.push(Line { hash, len: (end - start) as u32, tag });
    }

    /// A sample line that starts at `start`.
    fn sample(&mut self, start: usize) -> Result<usize, String> {
        let body = self.body;
        let place = if self.openmetrics { Place::OpenMetrics } else { Place::Text };
        self.pairs.clear();
        let name_end = scan::name_end(body, start, true);
        let mut name = (name_end > start).then_some(Text { start: start as u32, end: name_end as u32 });
        let mut end = name_end;
        let brace = if self.openmetrics { name_end } else { skip_blanks(body, name_end) };
        if body.get(brace) == Some(&b'{') {
            let labels = scan::labels(body, brace + 1, place, &mut self.pairs)?;
            end = labels.end;
            match (name, labels.name) {
                (Some(_), Some(_)) => return Err("the metric name is given twice".into()),
                (None, within) => name = within,
                (Some(_), None) => {}
            }
        } else if name.is_none() {
            return Err(format!("expected a metric name, '{{' or '#', got {}", near(body, start)));
        }
        let Some(name) = name.filter(|n| n.end > n.start) else {
            return Err(format!("the series has no metric name: {}", near(body, start)));
        };
        let (point, next) = self.point(end)?;
        let pairs = std::mem::take(&mut self.pairs);
        let series = Series { place: super::Place::Text { body, name, pairs: &pairs }, kind: self.kind };
        let tag = self.visitor.series(&series, &point);
        self.pairs = pairs;
        let tag = tag?;
        debug_assert!(tag < COMMENT);
        // A line that is written otherwise is parsed each time.
        if body.get(end) == Some(&b' ') {
            self.remember(start, end, tag);
        }
        Ok(next)
    }

    /// Value, timestamp and exemplar after the series text that ends at `at`.
    #[inline]
    fn point(&self, at: usize) -> Result<(Point<'a>, usize), String> {
        if self.openmetrics { self.openmetrics_point(at) } else { self.text_point(at) }
    }

    #[inline]
    fn text_point(&self, at: usize) -> Result<(Point<'a>, usize), String> {
        let body = self.body;
        let start = skip_blanks(body, at);
        let end = token_end(body, start, |b| matches!(b, b' ' | b'\t' | b'\n' | b'{'));
        if start == end {
            return Err(format!("expected a value after the metric, got {}", near(body, start)));
        }
        let value = float(&body[start..end])?;
        let mut point = Point { value, histogram: None, time: None, start: None, exemplar: None };
        let mut at = skip_blanks(body, end);
        if body.get(at).is_some_and(u8::is_ascii_digit) {
            let end = token_end(body, at, |b| !b.is_ascii_digit());
            let time = number::parse_int(&body[at..end]);
            point.time = Some(time.ok_or_else(|| format!("{} is no timestamp", near(body, at)))?);
            at = skip_blanks(body, end);
        }
        match body.get(at) {
            None => Ok((point, at)),
            Some(b'\n') => Ok((point, at + 1)),
            Some(_) => Err(format!("expected a timestamp or the end of the line, got {}", near(body, at))),
        }
    }

    fn openmetrics_point(&self, at: usize) -> Result<(Point<'a>, usize), String> {
        let body = self.body;
        let (value, at) = self.word(at, "a value after the metric")?;
        let mut point = Point { value: 0.0, histogram: None, time: None, start: None, exemplar: None };
        match value {
            [b'{', ..] => point.histogram = Some(Arc::new(histogram::parse(value)?)),
            _ => point.value = float(value)?,
        }
        let mut at = at;
        if body.get(at) == Some(&b' ') && !matches!(body.get(at + 1), Some(b'#')) {
            let is_start = self.starts && body[at + 1..].starts_with(b"st@");
            if !is_start {
                let (time, after) = self.word(at, "a timestamp")?;
                point.time = Some(seconds(time, "timestamp")?);
                at = after;
            }
            if self.starts && body[at..].starts_with(b" st@") {
                let (start, after) = self.word(at, "a start timestamp")?;
                point.start = Some(seconds(&start[3..], "start timestamp")?);
                at = after;
            }
        }
        if body[at..].starts_with(b" # {") {
            let open = at + 4;
            let mut pairs = Vec::new();
            let labels = scan::labels(body, open, Place::Exemplar, &mut pairs)?;
            let (value, after) = self.word(labels.end, "a value after the exemplar's labels")?;
            let mut exemplar = ExemplarText {
                body,
                labels: super::ExemplarLabels::Text(open as u32),
                value: float(value)?,
                time: None,
            };
            at = after;
            if body.get(at) == Some(&b' ') {
                let (time, after) = self.word(at, "an exemplar timestamp")?;
                exemplar.time = Some(seconds(time, "exemplar timestamp")?);
                at = after;
            }
            point.exemplar = Some(exemplar);
        }
        match body.get(at) {
            Some(b'\n') => Ok((point, at + 1)),
            None => Err("the body does not end with # EOF".into()),
            Some(_) => Err(format!("expected the end of the line, got {}", near(body, at))),
        }
    }

    /// One blank and the word after it.
    fn word(&self, at: usize, what: &str) -> Result<(&'a [u8], usize), String> {
        let body = self.body;
        if body.get(at) != Some(&b' ') {
            return Err(format!("expected {what}, got {}", near(body, at)));
        }
        let end = token_end(body, at + 1, |b| matches!(b, b' ' | b'\n'));
        if end == at + 1 {
            return Err(format!("expected {what}, got {}", near(body, at)));
        }
        Ok((&body[at + 1..end], end))
    }

    /// A comment of the Prometheus format: the line starts at `line`, its `#` is at `hash`.
    fn comment(&mut self, line: usize, hash: usize) -> Result<Option<usize>, String> {
        let body = self.body;
        let end = memchr(b'\n', &body[hash..]).map_or(body.len(), |n| hash + n);
        let next = (end + 1).min(body.len());
        let word = skip_blanks(body, hash + 1);
        let text = &body[word..end.max(word)];
        let after = |keyword: &[u8]| {
            let rest = text.strip_prefix(keyword)?;
            matches!(rest.first(), Some(b' ' | b'\t')).then_some(word + keyword.len())
        };
        let is_type = after(b"TYPE").is_some();
        let Some(at) = after(b"TYPE").or_else(|| after(b"HELP")).filter(|_| word > hash + 1) else {
            // The format's own lexer takes a NUL for the end here, unless a blank follows the '#'.
            if word == hash + 1 && memchr(0, &body[hash..end]).is_some() {
                return Ok(None);
            }
            self.remember(line, end, NO_KIND);
            return Ok(Some(next));
        };
        let keyword = if is_type { "TYPE" } else { "HELP" };
        let (name, at) = self.family(skip_blanks(body, at), keyword)?;
        let (end, next) = if at > end {
            // The quoted name has line breaks.
            let end = memchr(b'\n', &body[at..]).map_or(body.len(), |n| at + n);
            (end, (end + 1).min(body.len()))
        } else {
            (end, next)
        };
        let rest = body.get(at..end).unwrap_or_default();
        let rest = match rest.split_first() {
            Some((b' ' | b'\t', rest)) => &rest[skip_blanks(rest, 0)..],
            Some((_, rest)) => rest,
            None => rest,
        };
        let tag = if is_type {
            let kind = match rest {
                b"counter" => MetricType::Counter,
                b"gauge" => MetricType::Gauge,
                b"histogram" => MetricType::Histogram,
                b"summary" => MetricType::Summary,
                b"untyped" => MetricType::Unknown,
                _ => return Err(format!("invalid metric type \"{}\"", rest.escape_ascii())),
            };
            self.set_type(name, kind)
        } else {
            let help = utf8(rest, "the help text")?;
            let help =
                if help.contains('\\') { Cow::Owned(unescape_help(help)) } else { Cow::Borrowed(help) };
            self.visitor.describe(name.get(body), Describe::Help(help));
            NO_KIND
        };
        self.remember(line, end, tag);
        Ok(Some(next))
    }

    fn openmetrics_comment(&mut self, line: usize) -> Result<Option<usize>, String> {
        let body = self.body;
        let text = &body[line..];
        if let Some(rest) = text.strip_prefix(b"# EOF") {
            return match rest {
                b"" | b"\n" => Ok(None),
                _ => Err(format!("unexpected data after # EOF: {}", near(body, line + 5))),
            };
        }
        let keyword = ["HELP", "TYPE", "UNIT"].into_iter().find(|keyword| {
            text.get(2..6) == Some(keyword.as_bytes())
                && text.starts_with(b"# ")
                && text.get(6) == Some(&b' ')
        });
        let Some(keyword) = keyword else {
            return Err(format!("expected HELP, TYPE, UNIT or EOF after '# ', got {}", near(body, line)));
        };
        let (name, at) = self.family(line + 7, keyword)?;
        let end = memchr(b'\n', &body[at..]).map(|n| at + n);
        let Some(end) = end.filter(|_| body.get(at) == Some(&b' ')) else {
            return Err(format!("expected a text in {keyword}, got {}", near(body, at)));
        };
        let rest = &body[at + 1..end];
        let family = name.get(body);
        let tag = match keyword {
            "TYPE" => {
                let kind = std::str::from_utf8(rest)
                    .ok()
                    .filter(|text| *text != "untyped")
                    .and_then(MetricType::parse)
                    .ok_or_else(|| format!("invalid metric type \"{}\"", rest.escape_ascii()))?;
                self.set_type(name, kind)
            }
            "UNIT" => {
                let unit = utf8(rest, "the unit")?;
                let is_suffix = family.strip_suffix(unit).is_some_and(|stem| stem.ends_with('_'));
                if !unit.is_empty() && !is_suffix {
                    return Err(format!("unit {unit:?} is not a suffix of metric {family:?}"));
                }
                self.visitor.describe(family, Describe::Unit(unit));
                NO_KIND
            }
            _ => {
                let help = utf8(rest, "the help text")?;
                let help = match help.contains('\\') {
                    true => Cow::Owned(scan::unescape(help)),
                    false => Cow::Borrowed(help),
                };
                self.visitor.describe(family, Describe::Help(help));
                NO_KIND
            }
        };
        self.remember(line, end, tag);
        Ok(Some(end + 1))
    }

    fn set_type(&mut self, name: Text, kind: MetricType) -> u32 {
        self.kind = kind;
        self.visitor.describe(name.get(self.body), Describe::Type(kind));
        COMMENT + KINDS.iter().position(|k| *k == kind).expect("every type is listed") as u32
    }

    /// The family's name after a keyword, and the position after it.
    fn family(&self, at: usize, keyword: &str) -> Result<(Text, usize), String> {
        let body = self.body;
        if body.get(at) == Some(&b'"') {
            return scan::quoted(body, at, true, "a metric name");
        }
        let end = scan::name_end(body, at, true);
        if end == at {
            return Err(format!("expected a metric name after {keyword}, got {}", near(body, at)));
        }
        Ok((Text { start: at as u32, end: end as u32 }, end))
    }
}

#[inline]
fn skip_blanks(body: &[u8], mut at: usize) -> usize {
    while matches!(body.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

#[inline]
fn token_end(body: &[u8], start: usize, ends: impl Fn(u8) -> bool) -> usize {
    body[start..].iter().position(|b| ends(*b)).map_or(body.len(), |n| start + n)
}

fn float(text: &[u8]) -> Result<f64, String> {
    number::parse_float(text).ok_or_else(|| format!("\"{}\" is no number", text.escape_ascii()))
}

/// OpenMetrics' seconds as milliseconds.
fn seconds(text: &[u8], what: &str) -> Result<i64, String> {
    let value = float(text)?;
    if !value.is_finite() {
        return Err(format!("invalid {what} \"{}\"", text.escape_ascii()));
    }
    Ok((value * 1000.0) as i64)
}

fn utf8<'a>(text: &'a [u8], what: &str) -> Result<&'a str, String> {
    std::str::from_utf8(text).map_err(|_| format!("{what} is not UTF-8: \"{}\"", text.escape_ascii()))
}

/// `\\` and `\n`; a quote needs no escape in a help text.
fn unescape_help(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('\\')) => {
                chars.next();
                out.push('\\');
            }
            ('\\', Some('n')) => {
                chars.next();
                out.push('\n');
            }
            _ => out.push(c),
        }
    }
    out
}
