//! Regular expressions as Prometheus means them: Go's RE2 syntax, anchored at both ends, `.` matches newlines.
//!
//! The `regex` crate reads nearly the same language. What differs is translated first: Go's `\d \w \s \b` are ASCII,
//! `\Q…\E` quotes, and inside a class `[`, `&&`, `--` and `~~` are ordinary characters.

use std::fmt;
use std::sync::Arc;

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};

/// More alternatives than this are not enumerated.
const MAX_SET: usize = 256;

/// A compiled, anchored pattern. Cheap to clone.
#[derive(Clone)]
pub struct Pattern(Arc<Inner>);

struct Inner {
    source: String,
    fast: Fast,
    regex: Regex,
}

/// Shapes that need no automaton.
#[derive(Debug)]
enum Fast {
    /// Exactly these texts, sorted.
    Set(Vec<String>),
    /// `prefix.*`: any rest; `prefix.+`: `min_rest` 1.
    Prefix { prefix: String, min_rest: usize },
    /// Needs the automaton; every match starts with `prefix`.
    Regex { prefix: String },
}

/// The text is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp {pattern:?}: {reason}")]
pub struct InvalidPattern {
    /// What was given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Pattern {
    /// Compiles `source`.
    ///
    /// # Errors
    /// [`InvalidPattern`] when it is not valid RE2, or compiles to more than 10 MB.
    pub fn new(source: &str) -> Result<Self, InvalidPattern> {
        let invalid = |reason: String| InvalidPattern { pattern: source.to_owned(), reason };
        let translated = translate(source).map_err(invalid)?;
        // Alone first, so that `a)(b` cannot close the group below.
        let hir = regex_syntax::ParserBuilder::new()
            .dot_matches_new_line(true)
            .build()
            .parse(&translated)
            .map_err(|err| invalid(last_line(&err.to_string())))?;
        let regex = Regex::new(&format!("^(?s:{translated})$"))
            .map_err(|err| invalid(last_line(&err.to_string())))?;
        Ok(Self(Arc::new(Inner { source: source.to_owned(), fast: Fast::of(&hir), regex })))
    }

    /// The text it was compiled from.
    pub fn as_str(&self) -> &str {
        &self.0.source
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match &self.0.fast {
            Fast::Set(set) => set.binary_search_by(|s| s.as_str().cmp(text)).is_ok(),
            Fast::Prefix { prefix, min_rest } => {
                text.len() >= prefix.len() + min_rest && text.starts_with(prefix.as_str())
            }
            Fast::Regex { prefix } => text.starts_with(prefix.as_str()) && self.0.regex.is_match(text),
        }
    }

    /// All texts that match, sorted, when they are few.
    pub fn as_set(&self) -> Option<&[String]> {
        match &self.0.fast {
            Fast::Set(set) => Some(set),
            _ => None,
        }
    }

    /// What every match starts with; may be empty.
    pub fn prefix(&self) -> &str {
        match &self.0.fast {
            Fast::Set(_) => "",
            Fast::Prefix { prefix, .. } | Fast::Regex { prefix } => prefix,
        }
    }

    /// Whether every text matches (`.*`).
    pub fn matches_everything(&self) -> bool {
        matches!(&self.0.fast, Fast::Prefix { prefix, min_rest: 0 } if prefix.is_empty())
    }

    /// Whether every text but the empty one matches (`.+`).
    pub fn matches_any_but_empty(&self) -> bool {
        matches!(&self.0.fast, Fast::Prefix { prefix, min_rest: 1 } if prefix.is_empty())
    }

    /// The compiled expression, anchored, for captures.
    pub fn regex(&self) -> &Regex {
        &self.0.regex
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.0.source)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Pattern {}

impl Fast {
    fn of(hir: &Hir) -> Self {
        if let Some(mut set) = enumerate(hir) {
            set.sort_unstable();
            set.dedup();
            return Self::Set(set);
        }
        let hir = strip_captures(hir);
        let parts = match hir.kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            _ => std::slice::from_ref(hir),
        };
        let mut prefix = String::new();
        for (i, part) in parts.iter().enumerate() {
            let part = strip_captures(part);
            match part.kind() {
                HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                    Ok(text) => prefix.push_str(text),
                    Err(_) => break,
                },
                HirKind::Repetition(rep)
                    if i + 1 == parts.len() && rep.max.is_none() && rep.min <= 1 && is_any(&rep.sub) =>
                {
                    return Self::Prefix { prefix, min_rest: rep.min as usize };
                }
                _ => break,
            }
        }
        Self::Regex { prefix }
    }
}

/// Looks through capture groups around the whole expression.
fn strip_captures(hir: &Hir) -> &Hir {
    match hir.kind() {
        HirKind::Capture(capture) => strip_captures(&capture.sub),
        _ => hir,
    }
}

/// Whether `hir` is one character of any kind.
fn is_any(hir: &Hir) -> bool {
    match strip_captures(hir).kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges();
            ranges.len() == 1 && ranges[0].start() == '\0' && ranges[0].end() == char::MAX
        }
        _ => false,
    }
}

/// Every text that `hir` matches, when they are finite and few.
fn enumerate(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Capture(capture) => enumerate(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize = class.ranges().iter().map(|r| r.len()).sum();
            if count > MAX_SET {
                return None;
            }
            let chars = class.ranges().iter().flat_map(|r| r.start()..=r.end());
            Some(chars.map(String::from).collect())
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(enumerate(part)?);
                if all.len() > MAX_SET {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let tails = enumerate(part)?;
                if all.len() * tails.len() > MAX_SET {
                    return None;
                }
                all = all
                    .iter()
                    .flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}")))
                    .collect();
            }
            Some(all)
        }
        HirKind::Repetition(rep) if rep.max == Some(1) && rep.min == 0 => {
            let mut all = enumerate(&rep.sub)?;
            all.push(String::new());
            Some(all)
        }
        _ => None,
    }
}

/// What the `regex` crate says is wrong, without the drawing above it.
pub fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Rewrites Go's syntax where the `regex` crate means something else.
fn translate(source: &str) -> Result<String, String> {
    let mut out = String::with_capacity(source.len());
    let mut chars = source.chars().peekable();
    let mut in_class = false;
    // Within a class: whether the next `]` would be its first character, and so ordinary.
    let mut class_start = false;
    // 1 after a repetition, 2 after a lazy one: Go refuses to repeat a repetition.
    let mut repeated = 0;
    while let Some(c) = chars.next() {
        let first = std::mem::take(&mut class_start);
        repeated = match c {
            '*' | '+' | '?' if !in_class => match (repeated, c) {
                (0, _) => 1,
                (1, '?') => 2,
                _ => return Err(format!("invalid nested repetition operator: `{c}`")),
            },
            _ => 0,
        };
        match c {
            '\\' => match chars.next() {
                None => return Err("trailing backslash at end of expression".to_owned()),
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('w') => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('s') => out.push_str(if in_class { r"\t\n\f\r " } else { r"[\t\n\f\r ]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('S') => out.push_str(r"[^\t\n\f\r ]"),
                Some('b') if !in_class => out.push_str(r"(?-u:\b)"),
                Some('B') if !in_class => {
                    return Err(r"\B is not supported".to_owned());
                }
                Some('C') => return Err(r"\C is not supported".to_owned()),
                Some('Q') if !in_class => loop {
                    match chars.next() {
                        None => break,
                        Some('\\') if chars.peek() == Some(&'E') => {
                            chars.next();
                            break;
                        }
                        Some(quoted) => out.push_str(&regex_syntax::escape(quoted.encode_utf8(&mut [0; 4]))),
                    }
                },
                Some(digit @ '1'..='9') => return Err(format!("invalid escape sequence: `\\{digit}`")),
                // Go's octal escapes: \0, \01, \012.
                Some('0') => {
                    let mut code = 0u32;
                    for _ in 0..2 {
                        match chars.peek().and_then(|c| c.to_digit(8)) {
                            Some(digit) => code = code * 8 + digit,
                            None => break,
                        }
                        chars.next();
                    }
                    out.push_str(&format!(r"\x{{{code:x}}}"));
                }
                Some('z') => out.push_str(r"\z"),
                Some(other) if other.is_ascii_alphabetic() && !"AafnrtvxpPz".contains(other) => {
                    return Err(format!("invalid escape sequence: `\\{other}`"));
                }
                // Go lets every punctuation be escaped; so does `regex`, but not all of it inside a class.
                Some(other) if other.is_ascii_punctuation() => {
                    out.push('\\');
                    out.push(other);
                }
                Some(other) if !other.is_ascii() => {
                    return Err(format!("invalid escape sequence: `\\{other}`"));
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
            },
            '[' if !in_class => {
                in_class = true;
                class_start = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
            }
            '[' if chars.peek() == Some(&':') => {
                // [[:alpha:]]: the name goes over as it is.
                out.push('[');
                while let Some(c) = chars.next() {
                    out.push(c);
                    if c == ':' && chars.peek() == Some(&']') {
                        chars.next();
                        out.push(']');
                        break;
                    }
                }
            }
            '[' => out.push_str(r"\["),
            ']' if in_class && first => out.push_str(r"\]"),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && chars.peek() == Some(&'-') => out.push_str(r"\-"),
            // Go reads a `{` that opens no repetition as itself.
            '{' if !in_class => {
                let rest: String = chars.clone().take_while(|c| *c != '}').collect();
                let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
                let repeats = match rest.split_once(',') {
                    None => digits(&rest),
                    Some((min, max)) => digits(min) && (max.is_empty() || digits(max)),
                };
                let closed = chars.clone().nth(rest.chars().count()) == Some('}');
                if repeats && closed {
                    if rest.split(',').any(|n| n.parse::<u32>().is_ok_and(|n| n > 1000)) {
                        return Err(format!("invalid repeat count: `{{{rest}}}`"));
                    }
                    out.push('{');
                } else {
                    out.push_str(r"\{");
                }
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str) -> Pattern {
        Pattern::new(source).unwrap()
    }

    #[test]
    fn patterns_are_anchored_and_dot_matches_newline() {
        assert!(pattern("a.c").matches("a\nc"));
        assert!(!pattern("b").matches("abc"));
        assert!(pattern("a|b").matches("b") && !pattern("a|b").matches("ab"));
        assert!(Pattern::new("a)(b").is_err());
    }

    #[test]
    fn finite_patterns_become_sets() {
        assert_eq!(pattern("foo").as_set(), Some(&["foo".to_owned()][..]));
        assert_eq!(pattern("a|b(c|d)?").as_set().map(<[_]>::len), Some(4));
        assert_eq!(pattern("node-[0-3]").as_set().map(<[_]>::len), Some(4));
        assert_eq!(pattern("").as_set(), Some(&[String::new()][..]));
        assert!(pattern("a+").as_set().is_none());
        assert!(pattern("(?i)ab").matches("aB"));
    }

    #[test]
    fn prefixes_need_no_automaton() {
        assert!(pattern(".*").matches_everything() && pattern(".*").matches(""));
        assert!(pattern(".+").matches_any_but_empty() && !pattern(".+").matches(""));
        assert!(pattern("node_.*").matches("node_") && !pattern("node_.+").matches("node_"));
        assert_eq!(pattern("node_[a-z]+").prefix(), "node_");
        assert!(pattern("node_.*x").matches("node_ax") && !pattern("node_.*x").matches("node_a"));
    }

    #[test]
    fn go_syntax_is_translated() {
        assert!(pattern(r"\d+").matches("42") && !pattern(r"\d").matches("٣"));
        assert!(pattern(r"[\w.]+").matches("a_1.b"));
        assert!(pattern(r"\Qa.b\E+").matches("a.bb") && !pattern(r"\Qa.b\E").matches("axb"));
        assert!(pattern("[[]x").matches("[x") && pattern("[a&&b]").matches("&"));
        assert!(pattern("[[:alpha:]]+").matches("abc"));
        assert!(pattern("a{,2}").matches("a{,2}") && pattern("a{2}").matches("aa"));
        assert!(pattern("x{").matches("x{"));
        for bad in ["(", "a**", "(?=a)", r"\1", "a{1001}", "[b-a]", "*a"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }
}
