//! Tokens to trees, checking what Go checks before execution: functions, variables, structure.

use std::sync::Arc;

use crate::error::Error;
use crate::function::FunctionNames;
use crate::gofmt::quote;
use crate::lex::{Kind, Token, lex};
use crate::node::{Branch, Command, Expr, ExprKind, Node, Number, Pipe, Tree};

/// How deep control structures and parentheses may nest.
const MAX_NESTING: usize = 100;

/// Parses `text` into the template `name` and those it defines; the first is `name` itself.
pub(crate) fn parse(name: &str, text: &str, functions: &FunctionNames) -> Result<Vec<Tree>, Error> {
    let tokens = lex(text);
    let mut parser = Parser {
        name: name.into(),
        text: text.into(),
        tokens,
        at: 0,
        functions,
        variables: vec!["$".to_owned()],
        range_depth: 0,
        action_line: 0,
        nesting: 0,
        defined: Vec::new(),
    };
    let root = parser.top()?;
    parser.define(name.to_owned(), root)?;
    let main = parser.defined.pop().expect("it was just pushed");
    parser.defined.insert(0, main);
    Ok(parser.defined)
}

struct Parser<'a> {
    name: Arc<str>,
    text: Arc<str>,
    tokens: Vec<Token>,
    at: usize,
    functions: &'a FunctionNames,
    variables: Vec<String>,
    range_depth: usize,
    action_line: usize,
    nesting: usize,
    defined: Vec<Tree>,
}

/// What ended a list of nodes.
enum End {
    End,
    Else,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
    }

    fn peek_non_space(&mut self) -> &Token {
        self.skip_space();
        self.peek()
    }

    fn next_non_space(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    /// An error at the line of the token that was read last.
    fn error<T>(&self, message: impl std::fmt::Display) -> Result<T, Error> {
        let at = self.at.saturating_sub(1).min(self.tokens.len() - 1);
        Err(Error::Parse(format!("template: {}:{}: {message}", self.name, self.tokens[at].line)))
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Result<T, Error> {
        if token.kind == Kind::Error {
            let mut extra = String::new();
            if self.action_line != 0 && self.action_line != token.line {
                extra = format!(" in action started at {}:{}", self.name, self.action_line);
                if token.text.ends_with(" action") {
                    extra = extra[" in action".len()..].to_owned();
                }
            }
            return self.error(format_args!("{token}{extra}"));
        }
        self.error(format_args!("unexpected {token} in {context}"))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token, Error> {
        let token = self.next_non_space();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    fn enter(&mut self) -> Result<(), Error> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.error(format_args!("nested more than {MAX_NESTING} deep"));
        }
        Ok(())
    }

    fn define(&mut self, name: String, root: Vec<Node>) -> Result<(), Error> {
        let tree = Tree { name, parse_name: Arc::clone(&self.name), text: Arc::clone(&self.text), root };
        match self.defined.iter_mut().find(|other| other.name == tree.name) {
            Some(old) if old.is_blank() => *old = tree,
            Some(_) if tree.is_blank() && tree.name != *self.name => {}
            Some(_) if tree.name == *self.name => self.defined.push(tree),
            Some(old) => {
                let name = quote(&old.name);
                return self.error(format_args!("template: multiple definition of template {name}"));
            }
            None => self.defined.push(tree),
        }
        Ok(())
    }

    fn keyword(token: &Token, word: &str) -> bool {
        token.kind == Kind::Keyword && token.text == word
    }

    fn top(&mut self) -> Result<Vec<Node>, Error> {
        let mut root = Vec::new();
        while self.peek().kind != Kind::Eof {
            if self.peek().kind == Kind::LeftDelim {
                let start = self.at;
                self.at += 1;
                self.action_line = self.tokens[start].line;
                if Self::keyword(self.peek_non_space(), "define") {
                    self.at += 1;
                    self.definition()?;
                    continue;
                }
                self.at = start;
            }
            match self.text_or_action()? {
                Item::Node(node) => root.extend(node),
                Item::End(End::End) => return self.error("unexpected {{end}}"),
                Item::End(End::Else) => return self.error("unexpected {{else}}"),
            }
        }
        Ok(root)
    }

    /// The rest of a `{{define "name"}}`.
    fn definition(&mut self) -> Result<(), Error> {
        let name = self.template_name("define clause")?;
        self.expect(Kind::RightDelim, "define clause")?;
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let range_depth = std::mem::take(&mut self.range_depth);
        let (root, end) = self.list()?;
        if let End::Else = end {
            return self.error("unexpected {{else}} in define clause");
        }
        self.variables = variables;
        self.range_depth = range_depth;
        self.define(name, root)
    }

    fn template_name(&mut self, context: &str) -> Result<String, Error> {
        let token = self.next_non_space();
        match token.kind {
            Kind::String | Kind::RawString => self.unquoted(&token),
            _ => self.unexpected(&token, context),
        }
    }

    fn unquoted(&self, token: &Token) -> Result<String, Error> {
        if token.kind == Kind::RawString {
            return Ok(token.text[1..token.text.len() - 1].replace('\r', ""));
        }
        match crate::gofmt::unquote(&token.text) {
            Some(text) => Ok(text),
            None => self.error("invalid syntax"),
        }
    }

    /// Nodes up to `{{end}}` or `{{else`.
    fn list(&mut self) -> Result<(Vec<Node>, End), Error> {
        let mut nodes = Vec::new();
        while self.peek_non_space().kind != Kind::Eof {
            match self.text_or_action()? {
                Item::Node(node) => nodes.extend(node),
                Item::End(end) => return Ok((nodes, end)),
            }
        }
        self.at += 1;
        self.error("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Result<Item, Error> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Item::Node(Some(Node::Text { text: token.text }))),
            Kind::LeftDelim => {
                self.action_line = token.line;
                let item = self.action();
                self.action_line = 0;
                item
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Result<Item, Error> {
        let token = self.next_non_space();
        if token.kind != Kind::Keyword {
            self.at -= 1;
            let pipe = self.pipeline("command", Kind::RightDelim)?;
            return Ok(Item::Node(Some(Node::Action { pipe })));
        }
        let node = match token.text.as_str() {
            "if" => Node::If(self.branch("if")?),
            "with" => Node::With(self.branch("with")?),
            "range" => Node::Range(self.branch("range")?),
            "template" => {
                let name = self.template_name("template clause")?;
                let pipe = match self.peek_non_space().kind {
                    Kind::RightDelim => {
                        self.at += 1;
                        None
                    }
                    _ => Some(self.pipeline("template clause", Kind::RightDelim)?),
                };
                Node::Template { pos: token.pos, name, pipe }
            }
            "block" => {
                let name = self.template_name("block clause")?;
                let pipe = self.pipeline("block clause", Kind::RightDelim)?;
                let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
                let range_depth = std::mem::take(&mut self.range_depth);
                self.enter()?;
                let (root, end) = self.list()?;
                self.nesting -= 1;
                if let End::Else = end {
                    return self.error("unexpected {{else}} in block clause");
                }
                self.variables = variables;
                self.range_depth = range_depth;
                self.define(name.clone(), root)?;
                Node::Template { pos: token.pos, name, pipe: Some(pipe) }
            }
            word @ ("break" | "continue") => {
                let next = self.next_non_space();
                if next.kind != Kind::RightDelim {
                    return self.unexpected(&next, &format!("{{{{{word}}}}}"));
                }
                if self.range_depth == 0 {
                    return self.error(format_args!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                if word == "break" { Node::Break } else { Node::Continue }
            }
            "end" => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Item::End(End::End));
            }
            "else" => {
                let next = self.peek_non_space().clone();
                if Self::keyword(&next, "if") || Self::keyword(&next, "with") {
                    // `branch` reads on from the keyword.
                    return Ok(Item::End(End::Else));
                }
                self.expect(Kind::RightDelim, "else")?;
                return Ok(Item::End(End::Else));
            }
            _ => return self.unexpected(&token, "command"),
        };
        Ok(Item::Node(Some(node)))
    }

    fn branch(&mut self, context: &'static str) -> Result<Branch, Error> {
        self.enter()?;
        let scope = self.variables.len();
        let pipe = self.pipeline(context, Kind::RightDelim)?;
        if context == "range" {
            self.range_depth += 1;
        }
        let (list, end) = self.list()?;
        if context == "range" {
            self.range_depth -= 1;
        }
        let or_else = match end {
            End::End => None,
            End::Else => {
                let next = self.peek_non_space().clone();
                if Self::keyword(&next, context) && context != "range" {
                    // `{{else if}}` and `{{else with}}` share the `{{end}}`.
                    self.at += 1;
                    let nested = self.branch(context)?;
                    let node = if context == "if" { Node::If(nested) } else { Node::With(nested) };
                    Some(vec![node])
                } else if next.kind == Kind::Keyword {
                    self.at += 1;
                    return self.unexpected(&next, &format!("{{{{else}}}} of {context}"));
                } else {
                    let (list, end) = self.list()?;
                    if let End::Else = end {
                        return self.error("expected end; found {{else}}");
                    }
                    Some(list)
                }
            }
        };
        self.variables.truncate(scope);
        self.nesting -= 1;
        Ok(Branch { pipe, list, or_else })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe, Error> {
        let pos = self.peek_non_space().pos;
        let mut pipe = Pipe { pos, assign: false, declared: Vec::new(), commands: Vec::new() };
        while self.peek_non_space().kind == Kind::Variable {
            let back = self.at;
            let variable = self.next();
            let next = self.peek_non_space().clone();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    self.at += 1;
                    pipe.assign = next.kind == Kind::Assign;
                    if pipe.assign {
                        self.known(&variable.text)?;
                    }
                    pipe.declared.push(variable.text.clone());
                    self.variables.push(variable.text);
                }
                Kind::Char if next.text == "," => {
                    self.at += 1;
                    pipe.declared.push(variable.text.clone());
                    self.variables.push(variable.text);
                    if context == "range" && pipe.declared.len() < 2 {
                        match self.peek_non_space().kind {
                            Kind::Variable | Kind::RightDelim | Kind::RightParen => continue,
                            _ => return self.error("range can only initialize variables"),
                        }
                    }
                    return self.error(format_args!("too many declarations in {context}"));
                }
                _ => self.at = back,
            }
            break;
        }
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.at -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        if pipe.commands.is_empty() {
            return self.error(format_args!("missing value for {context}"));
        }
        for (stage, command) in pipe.commands.iter().enumerate().skip(1) {
            if let ExprKind::Bool(_)
            | ExprKind::Dot
            | ExprKind::Nil
            | ExprKind::Number(_)
            | ExprKind::String { .. } = command.args[0].kind
            {
                return self.error(format_args!("non executable command in pipeline stage {}", stage + 1));
            }
        }
        Ok(pipe)
    }

    fn known(&self, variable: &str) -> Result<(), Error> {
        if self.variables.iter().any(|known| known == variable) {
            return Ok(());
        }
        self.error(format_args!("undefined variable {}", quote(variable)))
    }

    fn command(&mut self) -> Result<Command, Error> {
        let mut args = Vec::new();
        loop {
            self.skip_space();
            args.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.at -= 1,
                Kind::Pipe => {}
                _ => return self.unexpected(&token, "operand"),
            }
            break;
        }
        if args.is_empty() {
            return self.error("empty command");
        }
        Ok(Command { args })
    }

    fn operand(&mut self) -> Result<Option<Expr>, Error> {
        let Some(mut term) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let pos = self.peek().pos;
        let mut more = Vec::new();
        while self.peek().kind == Kind::Field {
            more.push(self.next().text[1..].to_owned());
        }
        match &mut term.kind {
            ExprKind::Field(fields) | ExprKind::Variable { fields, .. } => {
                fields.extend(more);
                term.pos = pos;
                Ok(Some(term))
            }
            ExprKind::Bool(_)
            | ExprKind::String { .. }
            | ExprKind::Number(_)
            | ExprKind::Nil
            | ExprKind::Dot => {
                self.error(format_args!("unexpected . after term {}", quote(&term.to_string())))
            }
            _ => Ok(Some(Expr { pos, kind: ExprKind::Chain { of: Box::new(term), fields: more } })),
        }
    }

    fn term(&mut self) -> Result<Option<Expr>, Error> {
        let token = self.next_non_space();
        let kind = match token.kind {
            Kind::Identifier => {
                if !self.functions.contains(&token.text) {
                    return self.error(format_args!("function {} not defined", quote(&token.text)));
                }
                ExprKind::Identifier(token.text)
            }
            Kind::Dot => ExprKind::Dot,
            Kind::Nil => ExprKind::Nil,
            Kind::Variable => {
                self.known(&token.text)?;
                ExprKind::Variable { name: token.text, fields: Vec::new() }
            }
            Kind::Field => ExprKind::Field(vec![token.text[1..].to_owned()]),
            Kind::Bool => ExprKind::Bool(token.text == "true"),
            Kind::Number | Kind::CharConstant => match number(&token) {
                Ok(number) => ExprKind::Number(number),
                Err(message) => return self.error(message),
            },
            Kind::LeftParen => {
                self.enter()?;
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.nesting -= 1;
                ExprKind::Pipe(pipe)
            }
            Kind::String | Kind::RawString => {
                let text = self.unquoted(&token)?;
                ExprKind::String { quoted: token.text, text: text.into() }
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Expr { pos: token.pos, kind }))
    }
}

enum Item {
    Node(Option<Node>),
    End(End),
}

fn number(token: &Token) -> Result<Number, String> {
    let text = token.text.clone();
    if token.kind == Kind::CharConstant {
        let inner = crate::gofmt::unquote(&text).unwrap_or_default();
        let mut chars = inner.chars();
        return match (chars.next(), chars.next()) {
            (Some(c), None) => {
                let code = i64::from(c as u32);
                Ok(Number { text, int: Some(code), float: Some(code as f64), ideal_float: false })
            }
            _ => Err(format!("malformed character constant: {text}")),
        };
    }
    let hex = text.trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("0x");
    let int = parse_int(&text);
    let float = if hex { None } else { underscores_fit(&text).and_then(|t| t.parse::<f64>().ok()) };
    let float = float.filter(|f| f.is_finite()).or(int.map(|i| i as f64));
    let looks_float = !hex && text.contains(['.', 'e', 'E', 'p', 'P']);
    if int.is_none() && float.is_some() && !looks_float {
        return Err(format!("integer overflow: {}", quote(&text)));
    }
    if int.is_none() && float.is_none() {
        return Err(format!("illegal number syntax: {}", quote(&text)));
    }
    let whole = float.filter(|f| f.fract() == 0.0 && f.abs() < 9.2e18).map(|f| f as i64);
    Ok(Number { text, int: int.or(whole), float, ideal_float: looks_float })
}

/// Drops underscores that stand between digits; `None` when one stands elsewhere.
fn underscores_fit(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let fits = bytes.iter().enumerate().all(|(i, b)| {
        *b != b'_'
            || (i > 0
                && bytes[i - 1].is_ascii_alphanumeric()
                && bytes.get(i + 1).is_some_and(u8::is_ascii_alphanumeric))
    });
    fits.then(|| text.replace('_', ""))
}

/// Go's base-0 integers.
fn parse_int(text: &str) -> Option<i64> {
    let text = underscores_fit(text)?.to_ascii_lowercase();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}
