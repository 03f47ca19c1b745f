//! Template text to tokens.
//!
//! The whole text at once; a lexical error is the last token, so that an earlier error of the parser is reported first.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Error,
    Bool,
    Char,
    CharConstant,
    Assign,
    Declare,
    Eof,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Dot,
    Nil,
    Keyword,
}

/// A piece of the text. `text` holds the message of an error.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) pos: usize,
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::Eof => f.write_str("EOF"),
            Kind::Error => f.write_str(&self.text),
            Kind::Keyword | Kind::Dot | Kind::Nil => write!(f, "<{}>", self.text),
            _ if self.text.chars().count() > 10 => {
                let head: String = self.text.chars().take(10).collect();
                write!(f, "{}...", crate::gofmt::quote(&head))
            }
            _ => f.write_str(&crate::gofmt::quote(&self.text)),
        }
    }
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// Splits `text` into tokens; the last is `Eof` or `Error`.
pub(crate) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, pos: 0, line: 1, counted: 0, tokens: Vec::new() };
    if let Err((pos, message)) = lexer.run() {
        let line = lexer.line_at(pos);
        lexer.tokens.push(Token { kind: Kind::Error, pos, text: message, line });
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    pos: usize,
    line: usize,
    counted: usize,
    tokens: Vec<Token>,
}

type Lexed = Result<(), (usize, String)>;

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn describe(c: Option<char>) -> String {
    match c {
        Some(c) if c.is_control() => format!("U+{:04X}", c as u32),
        Some(c) => format!("U+{:04X} '{c}'", c as u32),
        None => "U+FFFFFFFFFFFFFFFF".to_owned(),
    }
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.pos..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn line_at(&mut self, pos: usize) -> usize {
        if pos < self.counted {
            return 1 + self.text[..pos].matches('\n').count();
        }
        self.line += self.text[self.counted..pos].matches('\n').count();
        self.counted = pos;
        self.line
    }

    fn emit(&mut self, kind: Kind, start: usize, end: usize) {
        let line = self.line_at(start);
        let text = self.text[start..end].to_owned();
        self.tokens.push(Token { kind, pos: start, text, line });
    }

    fn run(&mut self) -> Lexed {
        // Whether the last closing delimiter asked for the following white space to go.
        let mut trim_left = false;
        loop {
            let mut start = self.pos;
            let at = self.rest().find(LEFT).map(|offset| start + offset);
            let end = at.unwrap_or(self.text.len());
            if trim_left {
                start +=
                    self.text[start..end].len() - self.text[start..end].trim_start_matches(is_space).len();
            }
            let Some(at) = at else {
                if start < end {
                    self.emit(Kind::Text, start, end);
                }
                self.pos = end;
                self.emit(Kind::Eof, end, end);
                return Ok(());
            };
            let after = &self.text[at + LEFT.len()..];
            let trims = after.starts_with('-') && after[1..].starts_with(is_space);
            let text_end =
                if trims { start + self.text[start..at].trim_end_matches(is_space).len() } else { at };
            if start < text_end {
                self.emit(Kind::Text, start, text_end);
            }
            let skip = if trims { 2 } else { 0 };
            self.pos = at + LEFT.len() + skip;
            if self.rest().starts_with("/*") {
                trim_left = self.comment()?;
                continue;
            }
            self.emit(Kind::LeftDelim, at, at + LEFT.len());
            trim_left = self.action()?;
        }
    }

    /// Skips `/* … */ }}`; whether it trims what follows.
    fn comment(&mut self) -> Result<bool, (usize, String)> {
        let start = self.pos;
        let Some(end) = self.rest().find("*/") else {
            return Err((start, "unclosed comment".to_owned()));
        };
        self.pos += end + 2;
        match self.at_right_delim() {
            Some(trims) => {
                self.pos += RIGHT.len() + if trims { 2 } else { 0 };
                Ok(trims)
            }
            None => Err((start, "comment ends before closing delimiter".to_owned())),
        }
    }

    /// Whether a closing delimiter is here, and whether it trims.
    fn at_right_delim(&self) -> Option<bool> {
        let rest = self.rest();
        let mut chars = rest.chars();
        if chars.next().is_some_and(is_space) && chars.next() == Some('-') && rest[2..].starts_with(RIGHT) {
            return Some(true);
        }
        rest.starts_with(RIGHT).then_some(false)
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None => true,
            Some(c) if is_space(c) => true,
            Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            _ => self.rest().starts_with(RIGHT),
        }
    }

    /// Everything up to and with the closing delimiter; whether it trims what follows.
    fn action(&mut self) -> Result<bool, (usize, String)> {
        let mut parens = 0usize;
        loop {
            if let Some(trims) = self.at_right_delim() {
                if parens > 0 {
                    return Err((self.pos, "unclosed left paren".to_owned()));
                }
                let at = self.pos + if trims { 2 } else { 0 };
                self.pos = at + RIGHT.len();
                self.emit(Kind::RightDelim, at, at + RIGHT.len());
                return Ok(trims);
            }
            let start = self.pos;
            let Some(c) = self.bump() else {
                return Err((start, "unclosed action".to_owned()));
            };
            match c {
                c if is_space(c) => {
                    // The space before a trim marker belongs to the marker.
                    while self.peek().is_some_and(is_space) && self.at_right_delim().is_none() {
                        self.bump();
                    }
                    self.emit(Kind::Space, start, self.pos);
                }
                '=' => self.emit(Kind::Assign, start, self.pos),
                ':' => {
                    if self.bump() != Some('=') {
                        return Err((start, "expected :=".to_owned()));
                    }
                    self.emit(Kind::Declare, start, self.pos);
                }
                '|' => self.emit(Kind::Pipe, start, self.pos),
                '"' => self.quoted(start, '"', Kind::String, "unterminated quoted string")?,
                '\'' => self.quoted(start, '\'', Kind::CharConstant, "unterminated character constant")?,
                '`' => match self.rest().find('`') {
                    Some(end) => {
                        self.pos += end + 1;
                        self.emit(Kind::RawString, start, self.pos);
                    }
                    None => return Err((start, "unterminated raw quoted string".to_owned())),
                },
                '$' => self.word(start, Kind::Variable, Kind::Variable)?,
                '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                    self.word(start, Kind::Dot, Kind::Field)?;
                }
                '.' | '+' | '-' | '0'..='9' => {
                    self.pos = start;
                    self.number(start)?;
                }
                c if is_alphanumeric(c) => self.identifier(start)?,
                '(' => {
                    parens += 1;
                    self.emit(Kind::LeftParen, start, self.pos);
                }
                ')' => {
                    if parens == 0 {
                        return Err((start, "unexpected right paren".to_owned()));
                    }
                    parens -= 1;
                    self.emit(Kind::RightParen, start, self.pos);
                }
                c if c.is_ascii_graphic() => self.emit(Kind::Char, start, self.pos),
                c => {
                    return Err((start, format!("unrecognized character in action: {}", describe(Some(c)))));
                }
            }
        }
    }

    fn quoted(&mut self, start: usize, quote: char, kind: Kind, unterminated: &str) -> Lexed {
        loop {
            match self.bump() {
                Some('\\') if !matches!(self.peek(), None | Some('\n')) => {
                    self.bump();
                }
                None | Some('\n' | '\\') => return Err((start, unterminated.to_owned())),
                Some(c) if c == quote => {
                    self.emit(kind, start, self.pos);
                    return Ok(());
                }
                Some(_) => {}
            }
        }
    }

    /// A field or variable; its first character has been read.
    fn word(&mut self, start: usize, alone: Kind, kind: Kind) -> Lexed {
        if self.at_terminator() {
            self.emit(alone, start, self.pos);
            return Ok(());
        }
        while self.peek().is_some_and(is_alphanumeric) {
            self.bump();
        }
        self.terminated(start)?;
        self.emit(kind, start, self.pos);
        Ok(())
    }

    fn terminated(&self, start: usize) -> Lexed {
        if self.at_terminator() {
            return Ok(());
        }
        Err((start, format!("bad character {}", describe(self.peek()))))
    }

    fn identifier(&mut self, start: usize) -> Lexed {
        while self.peek().is_some_and(is_alphanumeric) {
            self.bump();
        }
        self.terminated(start)?;
        let kind = match &self.text[start..self.pos] {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            word if KEYWORDS.contains(&word) => Kind::Keyword,
            _ => Kind::Identifier,
        };
        self.emit(kind, start, self.pos);
        Ok(())
    }

    fn number(&mut self, start: usize) -> Lexed {
        if matches!(self.peek(), Some('+' | '-')) {
            self.bump();
        }
        let mut digits = "0123456789_";
        let mut exponent = "eE";
        if self.peek() == Some('0') {
            self.bump();
            match self.peek() {
                Some('x' | 'X') => {
                    self.bump();
                    (digits, exponent) = ("0123456789abcdefABCDEF_", "pP");
                }
                Some('o' | 'O') => {
                    self.bump();
                    digits = "01234567_";
                }
                Some('b' | 'B') => {
                    self.bump();
                    digits = "01_";
                }
                _ => {}
            }
        }
        self.run_of(digits);
        if self.peek() == Some('.') {
            self.bump();
            self.run_of(digits);
        }
        if self.peek().is_some_and(|c| exponent.contains(c)) {
            self.bump();
            if matches!(self.peek(), Some('+' | '-')) {
                self.bump();
            }
            self.run_of("0123456789_");
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.bump();
            let text = &self.text[start..self.pos];
            return Err((start, format!("bad number syntax: {}", crate::gofmt::quote(text))));
        }
        self.emit(Kind::Number, start, self.pos);
        Ok(())
    }

    fn run_of(&mut self, set: &str) {
        while self.peek().is_some_and(|c| set.contains(c)) {
            self.bump();
        }
    }
}
