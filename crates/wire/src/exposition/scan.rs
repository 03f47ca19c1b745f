//! Label sets between braces, as both text formats write them.

use std::borrow::Cow;

/// Where the braces are: the rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A Prometheus text line: blanks anywhere, commas optional, line breaks within values.
    Text,
    /// An OpenMetrics line.
    OpenMetrics,
    /// An OpenMetrics exemplar: no metric name within.
    Exemplar,
}

/// A piece of the body, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Text {
    /// The text, unescaped.
    pub(crate) fn get(self, body: &[u8]) -> Cow<'_, str> {
        let raw = &body[self.start as usize..self.end as usize];
        // Both were checked by the scanner; a lossy reading would show a bug there instead of hiding it in a panic.
        let text = String::from_utf8_lossy(raw);
        match memchr::memchr(b'\\', raw) {
            None => text,
            Some(_) => Cow::Owned(unescape(&text)),
        }
    }
}

/// `\\`, `\"` and `\n`; any other backslash stands for itself.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut chars = after.chars();
        match chars.next() {
            Some('\\') => out.push('\\'),
            Some('"') => out.push('"'),
            Some('n') => out.push('\n'),
            _ => {
                out.push('\\');
                rest = after;
                continue;
            }
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// One label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    name: Text,
    value: Text,
}

impl Pair {
    pub(crate) fn name(self, body: &[u8]) -> Cow<'_, str> {
        self.name.get(body)
    }

    pub(crate) fn value(self, body: &[u8]) -> Cow<'_, str> {
        self.value.get(body)
    }
}

/// What stood between the braces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    /// A metric name in quotes.
    pub(crate) name: Option<Text>,
    /// The position after the closing brace.
    pub(crate) end: usize,
}

pub(crate) fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// The end of a legacy name that starts at `at`; `at` itself when none does.
pub(crate) fn name_end(body: &[u8], at: usize, colon: bool) -> usize {
    let fits = |byte: u8| is_name_start(byte) || (colon && byte == b':');
    if !body.get(at).is_some_and(|b| fits(*b)) {
        return at;
    }
    body[at..].iter().position(|b| !(fits(*b) || b.is_ascii_digit())).map_or(body.len(), |n| at + n)
}

/// Shows where reading stopped: a few bytes from `at` on.
pub(crate) fn near(body: &[u8], at: usize) -> String {
    let rest = &body[at.min(body.len())..];
    if rest.is_empty() {
        return "the end of the body".into();
    }
    let rest = &rest[..rest.len().min(24)];
    let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
    if line.is_empty() { "a line break".into() } else { format!("\"{}\"", line.escape_ascii()) }
}

fn blanks(body: &[u8], mut at: usize) -> usize {
    while matches!(body.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// A text in quotes whose opening quote is at `at`; the position after the closing one. The text is UTF-8.
pub(crate) fn quoted(body: &[u8], at: usize, line_breaks: bool, what: &str) -> Result<(Text, usize), String> {
    let start = at + 1;
    let mut next = start;
    loop {
        let rest = body.get(next..).unwrap_or_default();
        let Some(found) = memchr::memchr3(b'"', b'\\', b'\n', rest) else {
            return Err(format!("{what} that starts at {} is not closed", near(body, at)));
        };
        next += found;
        match body[next] {
            b'"' => break,
            b'\\' if body.get(next + 1).is_none_or(|b| *b == b'\n') => {
                return Err(format!("{what} ends in a backslash at {}", near(body, at)));
            }
            b'\\' => next += 2,
            _ if line_breaks => next += 1,
            _ => return Err(format!("{what} that starts at {} is not closed on its line", near(body, at))),
        }
    }
    if std::str::from_utf8(&body[start..next]).is_err() {
        return Err(format!("{what} is not UTF-8: \"{}\"", body[start..next].escape_ascii()));
    }
    Ok((Text { start: start as u32, end: next as u32 }, next + 1))
}

/// Reads labels from `at`, the position after the opening brace, and appends them to `pairs`.
pub(crate) fn labels(body: &[u8], at: usize, place: Place, pairs: &mut Vec<Pair>) -> Result<Labels, String> {
    let lenient = place == Place::Text;
    let skip = |at: usize| if lenient { blanks(body, at) } else { at };
    let mut name = None;
    let mut at = skip(at);
    loop {
        let (label, is_quoted, after) = match body.get(at) {
            Some(b'}') => return Ok(Labels { name, end: at + 1 }),
            Some(b'"') => {
                let (text, after) = quoted(body, at, place != Place::Exemplar, "a name")?;
                (text, true, after)
            }
            Some(byte) if is_name_start(*byte) => {
                let end = name_end(body, at, false);
                (Text { start: at as u32, end: end as u32 }, false, end)
            }
            _ => return Err(format!("expected a label name, got {}", near(body, at))),
        };
        at = skip(after);
        if is_quoted && place != Place::Exemplar && matches!(body.get(at), Some(b',' | b'}')) {
            if name.replace(label).is_some() {
                return Err("the metric name is given twice".into());
            }
            if body[at] == b',' {
                at = after_comma(body, at, place);
            }
            continue;
        }
        if body.get(at) != Some(&b'=') {
            return Err(format!("expected '=' after a label name, got {}", near(body, at)));
        }
        at = skip(at + 1);
        if body.get(at) != Some(&b'"') {
            return Err(format!("expected a label value in quotes, got {}", near(body, at)));
        }
        let (value, after) = quoted(body, at, lenient, "a label value")?;
        pairs.push(Pair { name: label, value });
        at = skip(after);
        match body.get(at) {
            Some(b',') => at = after_comma(body, at, place),
            Some(b'}') => {}
            _ if lenient => {}
            _ => return Err(format!("expected ',' or '}}' after a label, got {}", near(body, at))),
        }
    }
}

/// OpenMetrics allows no blank in a label set; one before a further label, as several client libraries write it, is
/// accepted all the same.
fn after_comma(body: &[u8], comma: usize, place: Place) -> usize {
    let at = comma + 1;
    if place == Place::Text {
        return blanks(body, at);
    }
    let more = |b: &u8| is_name_start(*b) || *b == b'"';
    if body.get(at) == Some(&b' ') && body.get(at + 1).is_some_and(more) { at + 1 } else { at }
}
