//! Matchers as texts: Alertmanager's UTF-8 parser, its classic parser and the mode that tries both.
//!
//! Source: the Alertmanager manual, "Matcher".

use model::labels::is_legacy_metric_name;
use model::{MatchOp, Matcher, Selector};

/// The text is no list of matchers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidMatchers(pub String);

type Result<T> = std::result::Result<T, InvalidMatchers>;

/// Both parsers, as Alertmanager's default mode: the UTF-8 one first; where only the classic one accepts the text, or
/// both accept it with different results, the classic one decides.
///
/// # Errors
/// When neither accepts it.
pub fn matchers(text: &str) -> Result<Selector> {
    match (utf8(text), classic(text)) {
        (Ok(new), Err(_)) => Ok(new),
        (Ok(new), Ok(old)) if new == old => Ok(new),
        (_, Ok(old)) => Ok(old),
        (Err(_), Err(err)) => Err(err),
    }
}

/// Exactly one matcher, by both parsers.
///
/// # Errors
/// When neither accepts it or there is another number of them.
pub fn matcher(text: &str) -> Result<Matcher> {
    one(matchers(text)?)
}

/// Exactly one matcher, by the UTF-8 parser.
///
/// # Errors
/// When it is none or several.
pub fn utf8_single(text: &str) -> Result<Matcher> {
    one(utf8(text)?)
}

fn one(mut found: Selector) -> Result<Matcher> {
    match found.len() {
        0 => Err(InvalidMatchers("no matchers".into())),
        1 => Ok(found.remove(0)),
        count => Err(InvalidMatchers(format!("expected 1 matcher, found {count}"))),
    }
}

fn build(name: &str, op: MatchOp, value: &str) -> Result<Matcher> {
    Matcher::new(name, op, value).map_err(|err| InvalidMatchers(err.to_string()))
}

/// Alertmanager's newer syntax: names and values quoted or bare, any UTF-8 in them.
///
/// # Errors
/// Says at which character and what was expected.
pub fn utf8(text: &str) -> Result<Selector> {
    let mut tokens = Lexer { text, at: 0, peeked: None };
    let mut found = Selector::new();
    let braced = tokens.accept(&Token::Open)?;
    loop {
        match tokens.peek()? {
            // Directly after the brace or a comma.
            None | Some(Token::Close) => break,
            Some(_) => {}
        }
        let name = tokens.text("label name")?;
        let op = match tokens.next()? {
            Some(Token::Op(op)) => op,
            other => return Err(tokens.unexpected(other, "an operator such as '=', '!=', '=~' or '!~'")),
        };
        let value = tokens.text("label value")?;
        found.push(build(&name, op, &value)?);
        match tokens.peek()? {
            Some(Token::Comma) => {
                tokens.next()?;
            }
            None | Some(Token::Close) => break,
            Some(_) => {
                let other = tokens.next()?;
                return Err(tokens.unexpected(other, "a comma or close brace"));
            }
        }
    }
    if tokens.accept(&Token::Close)? != braced {
        let what = if braced { "expected close brace" } else { "}: expected opening brace" };
        return Err(InvalidMatchers(format!("at character {}: {what}", tokens.at)));
    }
    match tokens.next()? {
        None => Ok(found),
        other => Err(tokens.unexpected(other, "end of input")),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Comma,
    Op(MatchOp),
    Quoted(String),
    Bare(String),
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    peeked: Option<Option<Token>>,
}

impl Lexer<'_> {
    fn peek(&mut self) -> Result<Option<&Token>> {
        if self.peeked.is_none() {
            self.peeked = Some(self.scan()?);
        }
        Ok(self.peeked.as_ref().and_then(Option::as_ref))
    }

    fn next(&mut self) -> Result<Option<Token>> {
        match self.peeked.take() {
            Some(token) => Ok(token),
            None => self.scan(),
        }
    }

    fn accept(&mut self, wanted: &Token) -> Result<bool> {
        let found = self.peek()? == Some(wanted);
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn text(&mut self, what: &str) -> Result<String> {
        match self.next()? {
            Some(Token::Quoted(text) | Token::Bare(text)) => Ok(text),
            other => Err(self.unexpected(other, what)),
        }
    }

    fn unexpected(&self, token: Option<Token>, wanted: &str) -> InvalidMatchers {
        let shown = match token {
            None => "end of input".to_owned(),
            Some(Token::Open) => "unexpected {".to_owned(),
            Some(Token::Close) => "unexpected }".to_owned(),
            Some(Token::Comma) => "unexpected ,".to_owned(),
            Some(Token::Op(op)) => format!("unexpected {}", op.as_str()),
            Some(Token::Quoted(text) | Token::Bare(text)) => format!("unexpected {text}"),
        };
        InvalidMatchers(format!("at character {}: {shown}: expected {wanted}", self.at))
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn scan(&mut self) -> Result<Option<Token>> {
        self.at += self.rest().len() - self.rest().trim_start().len();
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let second = rest.chars().nth(1);
        let (token, len) = match (first, second) {
            ('{', _) => (Token::Open, 1),
            ('}', _) => (Token::Close, 1),
            (',', _) => (Token::Comma, 1),
            ('=', Some('~')) => (Token::Op(MatchOp::Regex), 2),
            ('=', _) => (Token::Op(MatchOp::Equal), 1),
            ('!', Some('=')) => (Token::Op(MatchOp::NotEqual), 2),
            ('!', Some('~')) => (Token::Op(MatchOp::NotRegex), 2),
            ('"', _) => return self.quoted().map(Some),
            (c, _) if is_reserved(c) => {
                return Err(InvalidMatchers(format!("at character {}: {c}: invalid input", self.at)));
            }
            _ => {
                let len = rest.find(is_reserved).unwrap_or(rest.len());
                (Token::Bare(rest.get(..len).unwrap_or_default().to_owned()), len)
            }
        };
        self.at += len;
        Ok(Some(token))
    }

    fn quoted(&mut self) -> Result<Token> {
        let (start, rest) = (self.at, self.rest());
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else {
            return Err(InvalidMatchers(format!("at character {start}: {rest}: missing end \"")));
        };
        let inner = rest.get(1..end).unwrap_or_default();
        let text = unquote(inner)
            .ok_or_else(|| InvalidMatchers(format!("at character {start}: \"{inner}\": invalid input")))?;
        self.at += end + 1;
        Ok(Token::Quoted(text))
    }
}

fn is_reserved(c: char) -> bool {
    c.is_whitespace() || "{}!=~,\\\"'`".contains(c)
}

/// The inside of a Go string literal in double quotes; `None` when an escape is unknown or the result is no UTF-8.
///
/// Source: the Go language specification, "String literals".
fn unquote(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let mut utf8 = [0; 4];
        if c == '\n' {
            return None;
        }
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            continue;
        }
        let byte = match chars.next()? {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            '\\' => b'\\',
            '"' => b'"',
            'x' => u8::try_from(hex(&mut chars, 2)?).ok()?,
            'u' => {
                out.extend_from_slice(char::from_u32(hex(&mut chars, 4)?)?.encode_utf8(&mut utf8).as_bytes());
                continue;
            }
            'U' => {
                out.extend_from_slice(char::from_u32(hex(&mut chars, 8)?)?.encode_utf8(&mut utf8).as_bytes());
                continue;
            }
            first @ '0'..='7' => {
                let value = chars
                    .by_ref()
                    .take(2)
                    .try_fold(first.to_digit(8)?, |v, c| Some(v * 8 + c.to_digit(8)?))?;
                u8::try_from(value).ok()?
            }
            _ => return None,
        };
        out.push(byte);
    }
    String::from_utf8(out).ok()
}

fn hex(chars: &mut std::str::Chars<'_>, count: usize) -> Option<u32> {
    (0..count).try_fold(0u32, |value, _| Some(value * 16 + chars.next()?.to_digit(16)?))
}

/// Alertmanager's older syntax: a classic label name, an operator, a value that may be in double quotes. Commas outside
/// quotes separate; one brace on either side is ignored.
///
/// # Errors
/// Names the matcher and what is wrong with it.
pub fn classic(text: &str) -> Result<Selector> {
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            ',' if !quoted => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
                continue;
            }
            '"' => {
                if escaped {
                    escaped = false;
                } else {
                    quoted = !quoted;
                }
            }
            '\\' => escaped = !escaped,
            ',' => {}
            _ => escaped = false,
        }
    }
    let last = text.get(start..).unwrap_or_default().trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts.into_iter().map(classic_single).collect()
}

/// One matcher in the older syntax.
///
/// # Errors
/// As [`classic`].
pub fn classic_single(text: &str) -> Result<Matcher> {
    let bad = || InvalidMatchers(format!("bad matcher format: {text}"));
    let trimmed = text.trim_start_matches(is_go_space);
    let len = trimmed.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).ok_or_else(bad)?;
    let (name, rest) = trimmed.split_at(len);
    if !is_legacy_metric_name(name) {
        return Err(bad());
    }
    let rest = rest.trim_start_matches(is_go_space);
    let operators =
        [("=~", MatchOp::Regex), ("!=", MatchOp::NotEqual), ("!~", MatchOp::NotRegex), ("=", MatchOp::Equal)];
    let (raw, op) =
        operators.iter().find_map(|(sign, op)| Some((rest.strip_prefix(sign)?, *op))).ok_or_else(bad)?;
    let whole = raw.trim_matches(is_go_space);
    let unescaped = || InvalidMatchers(format!("matcher value contains unescaped double quote: {whole}"));
    let (raw, mut expect_quote) = match whole.strip_prefix('"') {
        Some(raw) => (raw, true),
        None => (whole, false),
    };
    let mut value = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('n')) => {
                chars.next();
                value.push('\n');
            }
            ('\\', Some(&next @ ('"' | '\\'))) => {
                chars.next();
                value.push(next);
            }
            // A backslash that escapes nothing stands for itself, and so does what follows it.
            ('\\', Some(&next)) => {
                chars.next();
                value.push('\\');
                value.push(next);
            }
            ('"', next) => {
                if !expect_quote || next.is_some() {
                    return Err(unescaped());
                }
                expect_quote = false;
            }
            (c, _) => value.push(c),
        }
    }
    if expect_quote {
        return Err(unescaped());
    }
    build(name, op, &value)
}

/// What `\s` is in Go's regular expressions.
fn is_go_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(result: Result<Selector>) -> String {
        match result {
            Ok(found) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            Err(_) => "-".into(),
        }
    }

    #[test]
    fn the_newer_syntax() {
        for (text, want) in [
            ("", ""),
            ("{}", ""),
            (" { a = b } ", r#"a="b""#),
            ("a=b,", r#"a="b""#),
            ("{a=b,}", r#"a="b""#),
            (r#""a b"=~"\u00e9+""#, r#""a b"=~"é+""#),
            (r#"a="\101\x42""#, r#"a="AB""#),
            ("{,}", "-"),
            ("a=b,,", "-"),
            ("{a=b", "-"),
            ("a=b}", "-"),
            ("{{a=b}}", "-"),
            ("a==b", "-"),
            ("a=b c=d", "-"),
            ("a=", "-"),
            ("a", "-"),
            (r#"a="b"#, "-"),
            (r#"a="\q""#, "-"),
            ("a='b'", "-"),
            ("a=~*", "-"),
        ] {
            assert_eq!(show(utf8(text)), want, "{text}");
        }
    }

    #[test]
    fn the_older_syntax() {
        for (text, want) in [
            ("", ""),
            ("{}", ""),
            ("a=b,c!=d", r#"a="b",c!="d""#),
            ("a=", r#"a="""#),
            (r#"a="x,y",b=z"#, r#"a="x,y",b="z""#),
            ("a==b", r#"a="=b""#),
            (r#"a="b\n""#, r#"a="b\n""#),
            (r#"a="b"#, "-"),
            ("a-b=c", "-"),
            ("1a=c", "-"),
            ("a", "-"),
        ] {
            assert_eq!(show(classic(text)), want, "{text}");
        }
    }

    #[test]
    fn the_older_parser_decides_when_both_accept() {
        // A backslash-t is a tab to the newer parser only.
        assert_eq!(matcher(r#"a="b\t""#).unwrap().value(), r"b\t");
        assert_eq!(matcher("\"a b\"=c").unwrap().name(), "a b");
        assert!(matcher("a=b,c=d").is_err() && matcher("").is_err());
    }
}
