//! Escaping: the functions `html`, `js` and `urlquery`, and the contextual escaping of `html/template`.
//!
//! [`Escaper`] follows the page as it is written and escapes each value for the place where it stands: text, attribute,
//! URL, script, style. Go analyses the templates beforehand instead and refuses those whose branches end in different
//! places; the outputs are the same for templates that Go accepts. HTML comments are dropped, as Go drops them.
//!
//! Source: the documentation of Go's html/template; RFC 3986 for URLs.

use crate::gofmt::{self, TooLong};
use crate::value::{SafeKind, Value};

/// What Go puts where a value would be dangerous.
const REFUSED: &str = "ZgotmplZ";

/// Go's `template.HTMLEscapeString`.
pub fn escape_html(text: &str) -> String {
    replace(text, |c| match c {
        '"' => Some("&#34;".into()),
        '\'' => Some("&#39;".into()),
        '&' => Some("&amp;".into()),
        '<' => Some("&lt;".into()),
        '>' => Some("&gt;".into()),
        '\0' => Some("\u{fffd}".into()),
        _ => None,
    })
}

/// Go's `template.JSEscapeString`.
pub fn escape_js(text: &str) -> String {
    replace(text, |c| match c {
        '\\' => Some("\\\\".into()),
        '\'' => Some("\\'".into()),
        '"' => Some("\\\"".into()),
        '<' | '>' | '&' | '=' => Some(format!("\\u{:04X}", c as u32)),
        c if (c as u32) < 0x20 => Some(format!("\\u{:04X}", c as u32)),
        c if !c.is_ascii() && (c.is_control() || (c.is_whitespace())) => Some(format!("\\u{:04X}", c as u32)),
        _ => None,
    })
}

/// Go's `url.QueryEscape`.
pub fn escape_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn replace(text: &str, with: impl Fn(char) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match with(c) {
            Some(replacement) => out.push_str(&replacement),
            None => out.push(c),
        }
    }
    out
}

/// As [`escape_html`], and `+`, which opens UTF-7 attacks.
fn escape_page(text: &str) -> String {
    escape_html(text).replace('+', "&#43;")
}

/// As [`escape_page`], but leaves the ampersands of what is escaped already.
fn normalize_page(text: &str) -> String {
    replace(text, |c| match c {
        '"' => Some("&#34;".into()),
        '\'' => Some("&#39;".into()),
        '+' => Some("&#43;".into()),
        '<' => Some("&lt;".into()),
        '>' => Some("&gt;".into()),
        '\0' => Some("\u{fffd}".into()),
        _ => None,
    })
}

/// Removes tags.
fn strip_tags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        out.push_str(&rest[..open]);
        match rest[open..].find('>') {
            Some(close) => rest = &rest[open + close + 1..],
            None => return out,
        }
    }
    out.push_str(rest);
    out
}

/// For an attribute without quotes.
fn escape_unquoted(text: &str) -> String {
    if text.is_empty() {
        return REFUSED.to_owned();
    }
    replace(text, |c| match c {
        '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ' | '"' | '\'' | '+' | '=' | '`' => {
            Some(format!("&#{};", c as u32))
        }
        '&' => Some("&amp;".into()),
        '<' => Some("&lt;".into()),
        '>' => Some("&gt;".into()),
        '\0' => Some("&#xfffd;".into()),
        _ => None,
    })
}

/// Percent-encodes; with `normalize` what has a meaning in a URL is left.
fn encode_url(text: &str, normalize: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    for (i, &byte) in bytes.iter().enumerate() {
        let escape_follows = bytes.get(i + 1..i + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        let plain = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => true,
            b'%' => normalize && escape_follows,
            _ => normalize && b"!#$&*+,/:;=?@[]".contains(&byte),
        };
        if plain {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

/// Whether a URL has no scheme or a harmless one.
fn is_safe_url(url: &str) -> bool {
    match url.split_once(':') {
        Some((scheme, _)) if !scheme.contains('/') => {
            ["http", "https", "mailto"].iter().any(|safe| scheme.eq_ignore_ascii_case(safe))
        }
        _ => true,
    }
}

/// For the inside of a script's string.
fn escape_script_text(text: &str) -> String {
    replace(text, |c| match c {
        '\t' => Some("\\t".into()),
        '\n' => Some("\\n".into()),
        '\x0c' => Some("\\f".into()),
        '\r' => Some("\\r".into()),
        '/' => Some("\\/".into()),
        '\\' => Some("\\\\".into()),
        '\0' | '\x0b' | '"' | '`' | '&' | '\'' | '+' | '<' | '>' | '\u{2028}' | '\u{2029}' => {
            Some(format!("\\u{:04x}", c as u32))
        }
        _ => None,
    })
}

/// A value as a script's expression.
fn script_value(value: &Value, depth: usize) -> String {
    match value.underlying() {
        Value::Nil => " null ".to_owned(),
        Value::Bool(flag) => format!(" {flag} "),
        Value::Int(number) => format!(" {number} "),
        Value::Float(number) if number.is_finite() => format!(" {} ", gofmt::format_float(number, 'g', None)),
        Value::List(items) if depth < 50 => {
            let items: Vec<String> =
                items.iter().map(|item| script_value(item, depth + 1).trim().to_owned()).collect();
            format!("[{}]", items.join(","))
        }
        Value::Map(map) if depth < 50 => {
            let entries: Vec<String> = map
                .entries
                .iter()
                .map(|(key, item)| {
                    format!("\"{}\":{}", escape_script_text(key), script_value(item, depth + 1).trim())
                })
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        other => format!("\"{}\"", escape_script_text(&gofmt::display(&other))),
    }
}

/// A value in a style sheet: refused when it could end the declaration or load something.
fn style_value(text: &str) -> String {
    let word: String =
        text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let dangerous = text
        .contains(['\0', '"', '\'', '(', ')', '/', ';', '@', '[', '\\', ']', '`', '{', '}', '<', '>'])
        || text.contains("--")
        || word.contains("expression")
        || word.contains("mozbinding");
    if dangerous { REFUSED.to_owned() } else { text.to_owned() }
}

/// For the inside of a style sheet's string.
fn escape_style_text(text: &str) -> String {
    replace(text, |c| match c {
        c if c.is_ascii_alphanumeric() || " !#$%,-.=?@^_|~".contains(c) || !c.is_ascii() => None,
        c => Some(format!("\\{:x} ", c as u32)),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttrKind {
    Plain,
    Url,
    Style,
    Script,
}

/// How far a URL has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UrlPart {
    Start,
    Path,
    Query,
}

/// Elements whose content is not markup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Raw {
    /// `title`, `textarea`
    Text,
    Script,
    Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    Comment,
    /// After `<`, in the element's name.
    TagName,
    /// In a tag, before an attribute's name.
    Tag,
    AttrName,
    AfterName,
    BeforeValue,
    /// In an attribute's value; `quote` is `'\0'` without quotes.
    Value {
        kind: AttrKind,
        quote: char,
    },
    /// In the content of such an element.
    Raw(Raw),
}

/// Writes a page and escapes the values in it.
#[derive(Debug)]
pub(crate) struct Escaper {
    out: String,
    state: State,
    /// The name of the element or attribute that is being read; in raw content what may be its closing tag.
    name: String,
    element: String,
    url: UrlPart,
    /// The quote of the string that a script or style is in.
    string: Option<char>,
    escaped: bool,
    /// Characters held back until it is known whether they open a comment.
    held: String,
}

impl Default for Escaper {
    fn default() -> Self {
        Self {
            out: String::new(),
            state: State::Text,
            name: String::new(),
            element: String::new(),
            url: UrlPart::Start,
            string: None,
            escaped: false,
            held: String::new(),
        }
    }
}

impl Escaper {
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn finish(mut self) -> String {
        self.release();
        self.out
    }

    fn release(&mut self) {
        self.out.push_str(&self.held);
        self.held.clear();
    }

    /// Writes the template's own text.
    pub(crate) fn text(&mut self, text: &str) {
        for c in text.chars() {
            self.step(c);
        }
    }

    fn step(&mut self, c: char) {
        match self.state {
            State::Text => {
                if !self.held.is_empty() {
                    self.held.push(c);
                    if self.held == "<!--" {
                        self.held.clear();
                        self.name.clear();
                        self.state = State::Comment;
                    } else if is_tag_start(&self.held) {
                        self.name = self.held[1..].to_owned();
                        self.release();
                        self.state = State::TagName;
                    } else if self.held != "</" && !"<!--".starts_with(&self.held) {
                        if c == '<' {
                            self.held.pop();
                        }
                        self.release();
                        if c == '<' {
                            self.held.push(c);
                        }
                    }
                    return;
                }
                if c == '<' {
                    self.held.push(c);
                } else {
                    self.out.push(c);
                }
            }
            State::Comment => {
                self.name.push(c);
                if self.name.ends_with("-->") {
                    self.name.clear();
                    self.state = State::Text;
                } else if self.name.len() > 16 {
                    let keep = self.name.char_indices().rev().nth(2).map_or(0, |(at, _)| at);
                    self.name.drain(..keep);
                }
            }
            State::TagName => {
                self.out.push(c);
                if c.is_whitespace() || c == '/' && !self.name.is_empty() && self.name != "/" {
                    self.element = std::mem::take(&mut self.name).to_ascii_lowercase();
                    self.state = State::Tag;
                } else if c == '>' {
                    self.element = std::mem::take(&mut self.name).to_ascii_lowercase();
                    self.end_tag();
                } else {
                    self.name.push(c);
                }
            }
            State::Tag => {
                self.out.push(c);
                if c == '>' {
                    self.end_tag();
                } else if !c.is_whitespace() && c != '/' {
                    self.name = c.to_string();
                    self.state = State::AttrName;
                }
            }
            State::AttrName => {
                self.out.push(c);
                match c {
                    '>' => self.end_tag(),
                    '=' => self.state = State::BeforeValue,
                    c if c.is_whitespace() => self.state = State::AfterName,
                    '/' => self.state = State::Tag,
                    c => self.name.push(c),
                }
            }
            State::AfterName => {
                self.out.push(c);
                match c {
                    '>' => self.end_tag(),
                    '=' => self.state = State::BeforeValue,
                    '/' => self.state = State::Tag,
                    c if c.is_whitespace() => {}
                    c => {
                        self.name = c.to_string();
                        self.state = State::AttrName;
                    }
                }
            }
            State::BeforeValue => match c {
                c if c.is_whitespace() => self.out.push(c),
                '>' => {
                    self.out.push(c);
                    self.end_tag();
                }
                '"' | '\'' => {
                    self.out.push(c);
                    self.begin_value(c);
                }
                c => {
                    self.begin_value('\0');
                    self.step(c);
                }
            },
            State::Value { kind, quote } => {
                self.out.push(c);
                let ends = if quote == '\0' { c.is_whitespace() || c == '>' } else { c == quote };
                if ends {
                    self.state = State::Tag;
                    if c == '>' && quote == '\0' {
                        self.end_tag();
                    }
                    return;
                }
                match kind {
                    AttrKind::Url => self.url_text(c),
                    AttrKind::Style | AttrKind::Script => self.string_text(c),
                    AttrKind::Plain => {}
                }
            }
            State::Raw(raw) => {
                self.out.push(c);
                if c == '<' {
                    self.name = "<".to_owned();
                } else if self.name.starts_with('<') {
                    self.name.push(c.to_ascii_lowercase());
                    let closing = format!("</{}", self.element);
                    if self.name == closing {
                        self.name = format!("/{}", self.element);
                        self.string = None;
                        self.state = State::TagName;
                        return;
                    }
                    if !closing.starts_with(&self.name) {
                        self.name.clear();
                    }
                }
                if raw != Raw::Text {
                    self.string_text(c);
                }
            }
        }
    }

    fn url_text(&mut self, c: char) {
        if matches!(c, '?' | '#') {
            self.url = UrlPart::Query;
        } else if self.url == UrlPart::Start && !c.is_whitespace() {
            self.url = UrlPart::Path;
        }
    }

    /// Follows the strings of a script or style.
    fn string_text(&mut self, c: char) {
        if std::mem::take(&mut self.escaped) {
            return;
        }
        match (self.string, c) {
            (Some(_), '\\') => self.escaped = true,
            (Some(quote), c) if c == quote => self.string = None,
            (None, '"' | '\'' | '`') => self.string = Some(c),
            _ => {}
        }
    }

    fn begin_value(&mut self, quote: char) {
        self.url = UrlPart::Start;
        self.string = None;
        self.escaped = false;
        self.state = State::Value { kind: attr_kind(&self.name), quote };
        self.name.clear();
    }

    fn end_tag(&mut self) {
        self.name.clear();
        self.string = None;
        self.escaped = false;
        self.state = match self.element.as_str() {
            "title" | "textarea" => State::Raw(Raw::Text),
            "script" => State::Raw(Raw::Script),
            "style" => State::Raw(Raw::Style),
            _ => State::Text,
        };
    }

    /// Writes a value, escaped for where it stands. `escaped`: the template called `html` on it.
    pub(crate) fn value(&mut self, value: &Value, escaped: bool, max_bytes: usize) -> Result<(), TooLong> {
        self.release();
        if self.state == State::BeforeValue {
            self.begin_value('\0');
        }
        let safe = match value {
            Value::Object(object) => object.safe(),
            _ => None,
        };
        let text = match value {
            Value::Nil => String::new(),
            Value::String(text) => text.to_string(),
            other => gofmt::sprint(std::slice::from_ref(other), max_bytes)?,
        };
        let written = match self.state {
            State::Comment => String::new(),
            State::Text if escaped || safe == Some(SafeKind::Html) => text,
            State::Text => escape_page(&text),
            State::Raw(Raw::Text) if escaped || safe == Some(SafeKind::Html) => normalize_page(&text),
            State::Raw(Raw::Text) => escape_page(&text),
            State::Raw(raw) => self.code(raw, value, &text),
            State::TagName | State::Tag | State::AttrName | State::AfterName | State::BeforeValue => {
                let harmless = !text.is_empty()
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                    && attr_kind(&text) == AttrKind::Plain;
                if let State::Tag = self.state {
                    self.state = State::AttrName;
                    self.name.clear();
                }
                if harmless { text } else { REFUSED.to_owned() }
            }
            State::Value { kind, quote } => {
                let plain = match kind {
                    AttrKind::Plain if escaped => {
                        self.out.push_str(&text);
                        return Ok(());
                    }
                    AttrKind::Plain if safe == Some(SafeKind::Html) => {
                        let text = strip_tags(&text);
                        let text = if quote == '\0' { escape_unquoted(&text) } else { normalize_page(&text) };
                        self.out.push_str(&text);
                        return Ok(());
                    }
                    AttrKind::Plain => text,
                    AttrKind::Url => {
                        let part = self.url;
                        if part == UrlPart::Start {
                            self.url = UrlPart::Path;
                        }
                        match part {
                            UrlPart::Start if safe != Some(SafeKind::Url) && !is_safe_url(&text) => {
                                format!("#{REFUSED}")
                            }
                            UrlPart::Start | UrlPart::Path => encode_url(&text, true),
                            UrlPart::Query => encode_url(&text, safe == Some(SafeKind::Url)),
                        }
                    }
                    AttrKind::Style => self.code(Raw::Style, value, &text),
                    AttrKind::Script => self.code(Raw::Script, value, &text),
                };
                if quote == '\0' { escape_unquoted(&plain) } else { escape_page(&plain) }
            }
        };
        self.out.push_str(&written);
        Ok(())
    }

    fn code(&self, raw: Raw, value: &Value, text: &str) -> String {
        match (raw, self.string) {
            (Raw::Script, Some(_)) => escape_script_text(text),
            (Raw::Script, None) => script_value(value, 0),
            (_, Some(_)) => escape_style_text(text),
            (_, None) => style_value(text),
        }
    }
}

/// Whether `<x` or `</x` opens a tag.
fn is_tag_start(held: &str) -> bool {
    held.trim_start_matches('<').trim_start_matches('/').starts_with(|c: char| c.is_ascii_alphabetic())
}

fn attr_kind(name: &str) -> AttrKind {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("data-").unwrap_or(&name);
    let name = match name.split_once(':') {
        Some(("xmlns", _)) => return AttrKind::Url,
        Some((_, local)) => local,
        None => name,
    };
    const URLS: [&str; 20] = [
        "action",
        "archive",
        "background",
        "cite",
        "classid",
        "codebase",
        "data",
        "formaction",
        "href",
        "icon",
        "longdesc",
        "manifest",
        "poster",
        "profile",
        "src",
        "srcset",
        "usemap",
        "xmlns",
        "ping",
        "dynsrc",
    ];
    match name {
        "style" => AttrKind::Style,
        name if name.starts_with("on") => AttrKind::Script,
        name if URLS.contains(&name) => AttrKind::Url,
        "srcdoc" => AttrKind::Plain,
        name if name.contains("src") || name.contains("uri") || name.contains("url") => AttrKind::Url,
        _ => AttrKind::Plain,
    }
}
