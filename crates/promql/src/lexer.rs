//! Cuts a query text into tokens.
//!
//! What a character means depends on where it is: inside braces every word is a label name, inside brackets words are
//! the few functions of duration expressions and `:` separates range and step. The lexer tracks which of these it is in,
//! so the parser may look one token ahead at any time.
//!
//! Words of the language may also be metric and label names; the parser decides.

use std::fmt;

use crate::ast::{AggregateOp, BinaryOp, Span};

/// A word with a meaning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Anchored,
    Bool,
    By,
    End,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    MaxOf,
    MinOf,
    Offset,
    On,
    Range,
    Smoothed,
    Start,
    Step,
    Without,
}

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Eof,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `=`
    Assign,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
    At,
    /// Also `and`, `or`, `unless`, `atan2`.
    Op(BinaryOp),
    Number,
    Duration,
    String,
    /// A name without colons.
    Identifier,
    /// A name with colons.
    MetricIdentifier,
    Aggregate(AggregateOp),
    Keyword(Keyword),
}

/// A token: what it is and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    pub start: usize,
}

impl Token<'_> {
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    pub(crate) fn span(&self) -> Span {
        Span::new(self.start, self.end())
    }
}

impl fmt::Display for Token<'_> {
    /// As error messages name it: `identifier "foo"`, `<op:+>`, `<aggr:sum>`, `")"`, `end of input`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.kind {
            Kind::Eof => return f.write_str("end of input"),
            Kind::Op(_) | Kind::At | Kind::Regex | Kind::NotRegex => return write!(f, "<op:{}>", self.text),
            Kind::Aggregate(_) => return write!(f, "<aggr:{}>", self.text),
            Kind::Keyword(
                Keyword::Start
                | Keyword::End
                | Keyword::Step
                | Keyword::Range
                | Keyword::MinOf
                | Keyword::MaxOf,
            ) => "",
            Kind::Keyword(_) => return write!(f, "<{}>", self.text),
            Kind::Identifier => "identifier ",
            Kind::MetricIdentifier => "metric identifier ",
            Kind::String => "string ",
            Kind::Number => "number ",
            Kind::Duration => "duration ",
            _ => "",
        };
        let names = matches!(self.kind, Kind::Identifier | Kind::MetricIdentifier);
        if self.text.len() > 10 && !names {
            let short: String = self.text.chars().take(10).collect();
            write!(f, "{class}{}...", model::labels::Quoted(&short))
        } else {
            write!(f, "{class}{}", model::labels::Quoted(self.text))
        }
    }
}

/// A character where none may be, and the text's rest from the token that it spoils.
#[derive(Debug)]
pub(crate) struct LexError {
    pub start: usize,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    Braces,
    Brackets { duration: bool, colon: bool, after_number: bool },
}

#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    input: &'a str,
    pos: usize,
    parens: usize,
    inside: Inside,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(input: &'a str) -> Self {
        Self { input, pos: 0, parens: 0, inside: Inside::Nothing }
    }

    /// The next token; [`Kind::Eof`] again and again at the end.
    pub(crate) fn next_token(&mut self) -> Result<Token<'a>, LexError> {
        self.skip_space();
        match self.inside {
            Inside::Nothing => self.statement(),
            Inside::Braces => self.braces(),
            Inside::Brackets { .. } => self.brackets(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.input[self.pos..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            self.pos += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.pos += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
        }
    }

    /// Takes `len` bytes as a token.
    fn take(&mut self, kind: Kind, len: usize) -> Token<'a> {
        let start = self.pos;
        self.pos += len;
        Token { kind, text: &self.input[start..self.pos], start }
    }

    fn fail<T>(&self, start: usize, message: impl Into<String>) -> Result<T, LexError> {
        Err(LexError { start, message: message.into() })
    }

    fn statement(&mut self) -> Result<Token<'a>, LexError> {
        let start = self.pos;
        let Some(c) = self.peek() else {
            if self.parens != 0 {
                return self.fail(start, "unclosed left parenthesis");
            }
            return Ok(self.take(Kind::Eof, 0));
        };
        let second = self.peek_second();
        let (kind, len) = match (c, second) {
            (',', _) => (Kind::Comma, 1),
            ('*', _) => (Kind::Op(BinaryOp::Mul), 1),
            ('/', _) => (Kind::Op(BinaryOp::Div), 1),
            ('%', _) => (Kind::Op(BinaryOp::Mod), 1),
            ('+', _) => (Kind::Op(BinaryOp::Add), 1),
            ('-', _) => (Kind::Op(BinaryOp::Sub), 1),
            ('^', _) => (Kind::Op(BinaryOp::Pow), 1),
            ('@', _) => (Kind::At, 1),
            ('=', Some('=')) => (Kind::Op(BinaryOp::Equal), 2),
            ('=', Some('~')) => return self.fail(start, "unexpected character after '=': '~'"),
            ('=', _) => (Kind::Assign, 1),
            ('!', Some('=')) => (Kind::Op(BinaryOp::NotEqual), 2),
            ('!', other) => {
                return self.fail(start, format!("unexpected character after '!': {}", go_char(other)));
            }
            ('<', Some('=')) => (Kind::Op(BinaryOp::LessEqual), 2),
            ('<', Some('/')) => (Kind::Op(BinaryOp::TrimUpper), 2),
            ('<', _) => (Kind::Op(BinaryOp::Less), 1),
            ('>', Some('=')) => (Kind::Op(BinaryOp::GreaterEqual), 2),
            ('>', Some('/')) => (Kind::Op(BinaryOp::TrimLower), 2),
            ('>', _) => (Kind::Op(BinaryOp::Greater), 1),
            ('0'..='9', _) | ('.', Some('0'..='9')) => return self.number_or_duration(),
            ('"' | '\'' | '`', _) => return self.string(c),
            ('(', _) => {
                self.parens += 1;
                (Kind::LeftParen, 1)
            }
            (')', _) => {
                let Some(open) = self.parens.checked_sub(1) else {
                    return self.fail(start, "unexpected right parenthesis ')'");
                };
                self.parens = open;
                (Kind::RightParen, 1)
            }
            ('{', _) => {
                self.inside = Inside::Braces;
                (Kind::LeftBrace, 1)
            }
            ('[', _) => {
                self.inside = Inside::Brackets { duration: false, colon: false, after_number: false };
                (Kind::LeftBracket, 1)
            }
            (']', _) => return self.fail(start, "unexpected right bracket ']'"),
            (c, _) if is_alpha(c) || c == ':' => return Ok(self.word()),
            (c, _) => return self.fail(start, format!("unexpected character: {}", go_char(Some(c)))),
        };
        Ok(self.take(kind, len))
    }

    fn word(&mut self) -> Token<'a> {
        let rest = self.rest();
        let len = rest.find(|c: char| !is_alphanumeric(c) && c != ':').unwrap_or(rest.len());
        let word = &rest[..len];
        let kind = match keyword(word) {
            Some(kind) => kind,
            None if word.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        };
        self.take(kind, len)
    }

    fn braces(&mut self) -> Result<Token<'a>, LexError> {
        let start = self.pos;
        let Some(c) = self.peek() else {
            return self.fail(start, "unexpected end of input inside braces");
        };
        let (kind, len) = match (c, self.peek_second()) {
            (',', _) => (Kind::Comma, 1),
            ('"' | '\'' | '`', _) => return self.string(c),
            ('=', Some('~')) => (Kind::Regex, 2),
            ('=', _) => (Kind::Assign, 1),
            ('!', Some('~')) => (Kind::NotRegex, 2),
            ('!', Some('=')) => (Kind::Op(BinaryOp::NotEqual), 2),
            ('!', other) => {
                let message = format!("unexpected character after '!' inside braces: {}", go_char(other));
                return self.fail(start, message);
            }
            ('{', _) => return self.fail(start, "unexpected left brace '{'"),
            ('}', _) => {
                self.inside = Inside::Nothing;
                (Kind::RightBrace, 1)
            }
            (c, _) if is_alpha(c) => {
                let rest = self.rest();
                (Kind::Identifier, rest.find(|c| !is_alphanumeric(c)).unwrap_or(rest.len()))
            }
            (c, _) => {
                let message = format!("unexpected character inside braces: {}", go_char(Some(c)));
                return self.fail(start, message);
            }
        };
        Ok(self.take(kind, len))
    }

    fn brackets(&mut self) -> Result<Token<'a>, LexError> {
        let start = self.pos;
        let Inside::Brackets { duration, colon, after_number } = self.inside else {
            unreachable!("only called inside brackets");
        };
        let Some(c) = self.peek() else {
            return self.fail(
                start,
                match after_number {
                    true if self.parens != 0 => "unclosed left parenthesis",
                    true => "unclosed left bracket",
                    false => "unexpected end of input in duration expression",
                },
            );
        };
        let token = match (c, self.peek_second()) {
            (']', _) => {
                let token = self.take(Kind::RightBracket, 1);
                self.inside = Inside::Nothing;
                return Ok(token);
            }
            ('[', _) => return self.fail(start, "unexpected left bracket '['"),
            (':', _) if !duration => {
                return self.fail(start, "unexpected colon before duration in duration expression");
            }
            (':', _) if colon => return self.fail(start, "unexpected colon ':'"),
            (':', _) => {
                let token = self.take(Kind::Colon, 1);
                self.inside = Inside::Brackets { duration, colon: true, after_number };
                return Ok(token);
            }
            ('0'..='9', _) | ('.', Some('0'..='9')) => {
                let token = self.number_or_duration()?;
                self.inside = Inside::Brackets { duration: true, colon, after_number: true };
                return Ok(token);
            }
            ('+' | '-' | '*' | '/' | '%' | '^' | '(' | ')' | ',', _) => self.statement()?,
            (c, _) if is_alpha(c) => {
                let rest = self.rest();
                let len = rest.find(|c| !is_alphanumeric(c)).unwrap_or(rest.len());
                match keyword(&rest[..len]) {
                    Some(
                        kind
                        @ Kind::Keyword(Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf),
                    ) => {
                        let token = self.take(kind, len);
                        self.inside = Inside::Brackets { duration: true, colon, after_number };
                        return Ok(token);
                    }
                    _ if after_number => {
                        let message = format!("unexpected character: {}, expected ':'", go_char(Some(c)));
                        return self.fail(start, message);
                    }
                    _ => {
                        let message =
                            format!("unexpected character in duration expression: {}", go_char(Some(c)));
                        return self.fail(start, message);
                    }
                }
            }
            (c, _) if after_number => {
                return self.fail(start, format!("unexpected character: {}", go_char(Some(c))));
            }
            (c, _) => {
                let message = format!("unexpected character in duration expression: {}", go_char(Some(c)));
                return self.fail(start, message);
            }
        };
        Ok(token)
    }

    /// A quoted text, with its quotes; escapes are checked when it is unquoted.
    fn string(&mut self, quote: char) -> Result<Token<'a>, LexError> {
        let start = self.pos;
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => return Ok(self.take(Kind::String, at + 1)),
                '\\' if quote != '`' => {
                    check_escape(quote, &mut chars).or_else(|message| self.fail(start, message))?
                }
                '\n' if quote != '`' => return self.fail(start, "unterminated quoted string"),
                _ => {}
            }
        }
        self.fail(
            start,
            match quote {
                '`' => "unterminated raw string",
                _ => "unterminated quoted string",
            },
        )
    }

    fn number_or_duration(&mut self) -> Result<Token<'a>, LexError> {
        let rest = self.rest();
        let (ok, number) = scan_number(rest);
        if ok {
            return Ok(self.take(Kind::Number, number));
        }
        match scan_duration(rest) {
            Some(len) => Ok(self.take(Kind::Duration, len)),
            None => {
                let len = rest.find(|c| !is_alphanumeric(c) && c != '.').unwrap_or(rest.len()).max(number);
                let message =
                    format!("bad number or duration syntax: {}", model::labels::Quoted(&rest[..len]));
                self.fail(self.pos, message)
            }
        }
    }
}

/// The length of the number at the start of `text` and whether it is one; when not, the length up to the fault.
///
/// Decimal with `_` between digits, point and exponent; hexadecimal after `0x`.
fn scan_number(text: &str) -> (bool, usize) {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let mut i = 0;
    if at(0) == b'0' && matches!(at(1), b'x' | b'X') {
        i = 2;
        while at(i).is_ascii_hexdigit() || (at(i) == b'_' && at(i + 1).is_ascii_hexdigit()) {
            i += 1;
        }
        let ok = i > 2 && !is_word(at(i)) && at(i) != b'.';
        return (ok, i);
    }
    let (mut dot, mut exponent) = (false, false);
    loop {
        match at(i) {
            b'0'..=b'9' => {}
            b'_' if i > 0 && at(i - 1).is_ascii_digit() && at(i + 1).is_ascii_digit() => {}
            b'.' if dot => return (false, i + 1),
            b'.' if !exponent => dot = true,
            b'e' | b'E' if !exponent && i > 0 => {
                let sign = usize::from(matches!(at(i + 1), b'+' | b'-'));
                if !at(i + 1 + sign).is_ascii_digit() {
                    return (false, i + 1 + sign);
                }
                exponent = true;
                i += sign;
            }
            next => return (i > 0 && !is_word(next) && next != b'.', i),
        }
        i += 1;
    }
}

/// The length of the duration at the start of `text`. Order and repetition of units are checked later.
fn scan_duration(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut i = 0;
    loop {
        let digits = bytes[i..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            break;
        }
        i += digits;
        match bytes.get(i)? {
            b's' | b'm' | b'h' | b'd' | b'w' | b'y' => i += 1,
            _ => return None,
        }
        if bytes.get(i) == Some(&b's') {
            i += 1;
        }
    }
    (i > 0 && !bytes.get(i).copied().is_some_and(is_word)).then_some(i)
}

fn check_escape(quote: char, chars: &mut impl Iterator<Item = (usize, char)>) -> Result<(), String> {
    const OPEN: &str = "escape sequence not terminated";
    let c = chars.next().ok_or(OPEN)?.1;
    let (first, digits, base, max) = match c {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
        c if c == quote => return Ok(()),
        '0'..='7' => (Some(c), 3, 8, 255),
        'x' => (None, 2, 16, 255),
        'u' => (None, 4, 16, 0x10_ffff),
        'U' => (None, 8, 16, 0x10_ffff),
        c => return Err(format!("unknown escape sequence {}", go_code_point(c))),
    };
    let mut value: u32 = 0;
    for i in 0..digits {
        let c = match first {
            Some(first) if i == 0 => first,
            _ => chars.next().ok_or(OPEN)?.1,
        };
        let digit = c
            .to_digit(base)
            .ok_or_else(|| format!("illegal character {} in escape sequence", go_code_point(c)))?;
        value = value.wrapping_mul(base) | digit;
    }
    if value > max || (0xd800..0xe000).contains(&value) {
        return Err("escape sequence is an invalid Unicode code point".to_owned());
    }
    Ok(())
}

/// The meaning of a word outside braces, in any case.
fn keyword(word: &str) -> Option<Kind> {
    if word.len() > 12 || word.contains(':') {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    Some(match lower.as_str() {
        "and" => Kind::Op(BinaryOp::And),
        "or" => Kind::Op(BinaryOp::Or),
        "unless" => Kind::Op(BinaryOp::Unless),
        "atan2" => Kind::Op(BinaryOp::Atan2),
        "inf" | "nan" => Kind::Number,
        "anchored" => Kind::Keyword(Keyword::Anchored),
        "bool" => Kind::Keyword(Keyword::Bool),
        "by" => Kind::Keyword(Keyword::By),
        "end" => Kind::Keyword(Keyword::End),
        "fill" => Kind::Keyword(Keyword::Fill),
        "fill_left" => Kind::Keyword(Keyword::FillLeft),
        "fill_right" => Kind::Keyword(Keyword::FillRight),
        "group_left" => Kind::Keyword(Keyword::GroupLeft),
        "group_right" => Kind::Keyword(Keyword::GroupRight),
        "ignoring" => Kind::Keyword(Keyword::Ignoring),
        "max_of" => Kind::Keyword(Keyword::MaxOf),
        "min_of" => Kind::Keyword(Keyword::MinOf),
        "offset" => Kind::Keyword(Keyword::Offset),
        "on" => Kind::Keyword(Keyword::On),
        "range" => Kind::Keyword(Keyword::Range),
        "smoothed" => Kind::Keyword(Keyword::Smoothed),
        "start" => Kind::Keyword(Keyword::Start),
        "step" => Kind::Keyword(Keyword::Step),
        "without" => Kind::Keyword(Keyword::Without),
        other => Kind::Aggregate(AggregateOp::ALL.into_iter().find(|op| op.as_str() == other)?),
    })
}

/// A character as Go's `%q` shows it.
fn go_char(c: Option<char>) -> String {
    match c {
        // The lexer reads the end of input as -1, which Go shows as the replacement character.
        None => "'\u{fffd}'".to_owned(),
        Some('\'') => r"'\''".to_owned(),
        Some('\\') => r"'\\'".to_owned(),
        Some(c) if c == '"' || !c.is_control() => format!("'{c}'"),
        Some('\n') => r"'\n'".to_owned(),
        Some('\r') => r"'\r'".to_owned(),
        Some('\t') => r"'\t'".to_owned(),
        Some(c) if (c as u32) < 0x80 => format!("'\\x{:02x}'", c as u32),
        Some(c) => format!("'\\u{:04x}'", c as u32),
    }
}

/// A character as Go's `%#U` shows it.
fn go_code_point(c: char) -> String {
    let code = c as u32;
    if c.is_control() { format!("U+{code:04X}") } else { format!("U+{code:04X} '{c}'") }
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(input: &str) -> String {
        let mut lexer = Lexer::new(input);
        let mut out = Vec::new();
        loop {
            match lexer.next_token() {
                Ok(token) if token.kind == Kind::Eof => break,
                Ok(token) => out.push(token.to_string()),
                Err(err) => {
                    out.push(format!("!{} {}", err.start, err.message));
                    break;
                }
            }
        }
        out.join(" ")
    }

    #[test]
    fn tokens_are_named_as_users_see_them() {
        assert_eq!(
            lex("SUM by(a) (foo:bar{by=~'x'}[5m:]) # rest\n >= start"),
            r#"<aggr:SUM> <by> "(" identifier "a" ")" "(" metric identifier "foo:bar" "{" identifier "by" <op:=~> string "'x'" "}" "[" duration "5m" ":" "]" ")" <op:>=> "start""#
        );
        assert_eq!(
            lex("foo </ 1 >/ -.5e+3"),
            r#"identifier "foo" <op:</> number "1" <op:>/> <op:-> number ".5e+3""#
        );
        assert_eq!(lex("\"0123456789ab\""), r#"string "\"012345678"..."#);
    }

    #[test]
    fn numbers_and_durations() {
        for number in
            ["0", "1.", ".5", "1e3", "1_000", "1_0.2_5e1", "0x1F", "0X_f", "0755", "Inf", "nan", "0xee"]
        {
            assert_eq!(lex(number), format!("number \"{number}\""));
        }
        for duration in ["5m", "1h30m", "100ms", "1y2w3d"] {
            assert_eq!(lex(duration), format!("duration \"{duration}\""));
        }
        for bad in ["1__0", "1_", "1.2.3", "1e", "0x", "5mm", "1.5h", "5m1", "1e+", "0x1.5", "1.e_3"] {
            assert!(lex(bad).contains("!0 bad number or duration syntax"), "{bad}: {}", lex(bad));
        }
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("a ! b", "unexpected character after '!': ' '"),
            ("a =~ b", "unexpected character after '=': '~'"),
            ("a{", "unexpected end of input inside braces"),
            ("a{a{", "unexpected left brace '{'"),
            ("a{a!b}", "unexpected character after '!' inside braces: 'b'"),
            ("(a", "unclosed left parenthesis"),
            ("a)", "unexpected right parenthesis ')'"),
            ("a]", "unexpected right bracket ']'"),
            ("a[5m", "unclosed left bracket"),
            ("a[", "unexpected end of input in duration expression"),
            ("a[foo]", "unexpected character in duration expression: 'f'"),
            ("a[5m:5m:5m]", "unexpected colon ':'"),
            ("a[:5m]", "unexpected colon before duration in duration expression"),
            ("a[5m x]", "unexpected character: 'x', expected ':'"),
            ("\"abc", "unterminated quoted string"),
            ("`abc", "unterminated raw string"),
            ("\"a\nb\"", "unterminated quoted string"),
            (r#""\q""#, "unknown escape sequence U+0071 'q'"),
            (r#""\xg0""#, "illegal character U+0067 'g' in escape sequence"),
            (r#""\ud800""#, "escape sequence is an invalid Unicode code point"),
            ("\"\\", "escape sequence not terminated"),
            ("a ; b", "unexpected character: ';'"),
            ("ä", "unexpected character: 'ä'"),
        ];
        for (input, message) in cases {
            let found = lex(input);
            assert!(found.ends_with(message), "{input}: {found}");
        }
    }
}
