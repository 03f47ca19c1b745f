//! Reads expressions: precedence climbing over the tokens of [`lexer`](crate::lexer).
//!
//! A syntax error ends parsing at once; what is found wrong with complete parts (unknown functions, a second offset, …)
//! is collected. Types are checked when there was no error. Wording and precedence follow Prometheus' grammar
//! (`promql/parser/generated_parser.y`); its "in …, expected …" comes from the innermost construct that has something to
//! say, which [`Parser::contexts`] tracks.
//!
//! Depth is bounded twice: [`Options::max_depth`] bounds recursion, and [`MAX_CHAIN`] times that bounds the height of
//! the tree, which a chain like `1 + 1 + 1 …` raises without recursion.

mod duration;
mod literal;
mod selector;
#[cfg(test)]
mod tests;

use model::{Labels, Selector};

pub(crate) use duration::MAX_DURATION_SECONDS;
pub(crate) use literal::unquote;

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, NumberLiteral, Paren, Span,
    StringLiteral, Unary, VectorMatching,
};
use crate::error::{ParseError, ParseErrors};
use crate::functions::Function;
use crate::lexer::{Keyword, Kind, LexError, Lexer, Token};
use crate::options::Options;
use crate::typecheck;

/// How much higher than [`Options::max_depth`] a tree may be.
const MAX_CHAIN: usize = 4;

/// Reads and checks an expression.
///
/// # Errors
/// What is wrong with the text and where; also when it is longer or deeper than `options` allow.
pub fn parse(input: &str, options: &Options) -> Result<Expr, ParseErrors> {
    let mut parser = Parser::new(input, options)?;
    let parsed = parser.expression();
    let mut expr = parser.finish(parsed)?;
    let errors = typecheck::check(&mut expr, input);
    if errors.is_empty() { Ok(expr) } else { Err(ParseErrors(errors)) }
}

/// Reads a selector such as the HTTP API's `match[]`: `up{job="a"}`. Unlike in an expression it may match everything.
///
/// # Errors
/// What is wrong with the text and where.
pub fn parse_selector(input: &str, options: &Options) -> Result<Selector, ParseErrors> {
    let mut parser = Parser::new(input, options)?;
    let parsed = parser.only_selector();
    Ok(parser.finish(parsed)?.matchers)
}

/// Reads the label set at the start of `input`, as result listings and test scripts write it (`up{job="a"}`), and
/// returns it with the number of bytes that it takes.
///
/// # Errors
/// What is wrong with the text and where.
pub fn parse_labels(input: &str, options: &Options) -> Result<(Labels, usize), ParseErrors> {
    let mut parser = Parser::new(input, options)?;
    let parsed = parser.label_set();
    let end = parser.last_end;
    Ok((parser.finish(parsed)?, end))
}

/// Parsing ends here; the error is in [`Parser::errors`].
struct Abort;

type Parsed<T> = Result<T, Abort>;

/// An expression and the height of its tree.
type Tree<T> = (T, usize);

struct Parser<'a> {
    input: &'a str,
    options: &'a Options,
    lexer: Lexer<'a>,
    /// The token to be looked at next.
    token: Token<'a>,
    /// Where the last consumed token ended.
    last_end: usize,
    errors: Vec<ParseError>,
    depth: usize,
    /// What "unexpected …" says about where it is and what could be there.
    contexts: Vec<(&'static str, &'static str)>,
}

/// Binding strength of binary operators; higher binds tighter.
fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => POW,
    }
}

const POW: u8 = 6;

impl<'a> Parser<'a> {
    fn new(input: &'a str, options: &'a Options) -> Result<Self, ParseErrors> {
        if input.len() > options.max_query_bytes {
            let message = format!(
                "the query is {} bytes long, more than the {} bytes that max_query_bytes allows",
                input.len(),
                options.max_query_bytes
            );
            return Err(ParseErrors(vec![ParseError::new(input, Span::default(), message)]));
        }
        let start = Token { kind: Kind::Eof, text: "", start: 0 };
        let mut parser = Self {
            input,
            options,
            lexer: Lexer::new(input),
            token: start,
            last_end: 0,
            errors: Vec::new(),
            depth: 0,
            contexts: Vec::new(),
        };
        match parser.advance() {
            Ok(_) => Ok(parser),
            Err(Abort) => Err(ParseErrors(parser.errors)),
        }
    }

    fn finish<T>(self, parsed: Parsed<T>) -> Result<T, ParseErrors> {
        match parsed {
            Ok(value) if self.errors.is_empty() => Ok(value),
            _ => Err(ParseErrors(self.errors)),
        }
    }

    /// Consumes the current token and returns it.
    fn advance(&mut self) -> Parsed<Token<'a>> {
        let consumed = self.token;
        self.last_end = consumed.end();
        match self.lexer.next_token() {
            Ok(token) => {
                self.token = token;
                Ok(consumed)
            }
            Err(LexError { start, message }) => {
                let span = Span::new(start, self.input.len());
                self.fail(span, message)
            }
        }
    }

    fn accept(&mut self, kind: Kind) -> Parsed<Option<Token<'a>>> {
        if self.token.kind == kind { self.advance().map(Some) } else { Ok(None) }
    }

    fn expect(&mut self, kind: Kind) -> Parsed<Token<'a>> {
        if self.token.kind == kind { self.advance() } else { self.unexpected() }
    }

    /// Notes an error and goes on.
    fn note(&mut self, span: Span, message: impl Into<String>) {
        self.errors.push(ParseError::new(self.input, span, message));
    }

    fn fail<T>(&mut self, span: Span, message: impl Into<String>) -> Parsed<T> {
        self.note(span, message);
        Err(Abort)
    }

    /// Fails at the current token, in the words of the innermost context.
    fn unexpected<T>(&mut self) -> Parsed<T> {
        let (context, expected) = self.contexts.last().copied().unwrap_or(("", ""));
        self.unexpected_in(context, expected)
    }

    fn unexpected_in<T>(&mut self, context: &str, expected: &str) -> Parsed<T> {
        let mut message = format!("unexpected {}", self.token);
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        self.fail(self.token.span(), message)
    }

    /// Runs `parse` one level deeper.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= self.options.max_depth {
            let max = self.options.max_depth;
            return self.fail(
                self.token.span(),
                format!("the expression is nested deeper than max_depth ({max}) allows"),
            );
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// The height of a node above children of these heights.
    fn height(&mut self, children: usize, span: Span) -> Parsed<usize> {
        let max = self.options.max_depth.saturating_mul(MAX_CHAIN);
        if children >= max {
            return self.fail(span, format!("the expression chains more than {max} operations; use parentheses to split it or raise max_depth"));
        }
        Ok(children + 1)
    }

    fn expression(&mut self) -> Parsed<Expr> {
        if self.token.kind == Kind::Eof {
            return self.fail(Span::default(), "no expression found in input");
        }
        let (expr, _) = self.binary(0)?;
        if self.token.kind != Kind::Eof {
            return self.unexpected();
        }
        Ok(expr)
    }

    /// Operands and operators that bind at least as tightly as `min`.
    fn binary(&mut self, min: u8) -> Parsed<Tree<Expr>> {
        self.deeper(|parser| {
            let (mut lhs, mut height) = parser.operand()?;
            while let Kind::Op(op) = parser.token.kind {
                let strength = precedence(op);
                if strength < min {
                    break;
                }
                let at = parser.advance()?.span();
                let (return_bool, matching) = parser.binary_modifiers()?;
                // `^` groups to the right, all others to the left.
                let next = if strength == POW { strength } else { strength + 1 };
                let (rhs, rhs_height) = parser.binary(next)?;
                let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
                height = parser.height(height.max(rhs_height), at)?;
                let span = lhs.span().to(rhs.span());
                let matching = Some(matching);
                lhs = Expr::Binary(Box::new(Binary { op, lhs, rhs, return_bool, matching }));
                if fills && !parser.options.fill_modifiers {
                    parser.note(span, "binop fill modifiers are experimental and not enabled");
                }
            }
            Ok((lhs, height))
        })
    }

    /// `bool`, `on`/`ignoring`, `group_left`/`group_right`, `fill…` after an operator.
    fn binary_modifiers(&mut self) -> Parsed<(bool, VectorMatching)> {
        let mut matching = VectorMatching::default();
        let return_bool = self.accept(Kind::Keyword(Keyword::Bool))?.is_some();
        if let Kind::Keyword(Keyword::On | Keyword::Ignoring) = self.token.kind {
            matching.on = self.token.kind == Kind::Keyword(Keyword::On);
            self.advance()?;
            matching.labels = self.grouping()?;
            let side = match self.token.kind {
                Kind::Keyword(Keyword::GroupLeft) => Some(Cardinality::ManyToOne),
                Kind::Keyword(Keyword::GroupRight) => Some(Cardinality::OneToMany),
                _ => None,
            };
            if let Some(cardinality) = side {
                self.advance()?;
                matching.cardinality = cardinality;
                if self.token.kind == Kind::LeftParen {
                    matching.include = self.grouping()?;
                }
            }
        }
        while let Kind::Keyword(word @ (Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)) =
            self.token.kind
        {
            // Without a parenthesis it is the name of a metric.
            if self.lexer.clone().next_token().is_ok_and(|next| next.kind != Kind::LeftParen) {
                break;
            }
            let repeated = match word {
                Keyword::FillLeft => matching.fill_left.is_some(),
                Keyword::FillRight => matching.fill_right.is_some(),
                _ => matching.fill_left.is_some() || matching.fill_right.is_some(),
            };
            if repeated {
                return self.unexpected();
            }
            self.advance()?;
            let value = Some(self.fill_value()?);
            if word != Keyword::FillRight {
                matching.fill_left = value;
            }
            if word != Keyword::FillLeft {
                matching.fill_right = value;
            }
        }
        Ok((return_bool, matching))
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect(Kind::LeftParen)?;
        let value = self.signed_number()?;
        self.expect(Kind::RightParen)?;
        Ok(value)
    }

    /// A number or duration with or without a sign.
    fn signed_number(&mut self) -> Parsed<f64> {
        let negative = match self.token.kind {
            Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.advance()?;
                op == BinaryOp::Sub
            }
            _ => false,
        };
        let value = match self.token.kind {
            Kind::Number | Kind::Duration => self.number()?.value,
            _ => return self.unexpected(),
        };
        Ok(if negative { -value } else { value })
    }

    /// A signed operand, or one with its postfix modifiers. A sign binds like `*`.
    fn operand(&mut self) -> Parsed<Tree<Expr>> {
        let Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.token.kind else {
            let primary = self.primary()?;
            return self.postfix(primary);
        };
        let start = self.advance()?.span();
        let negative = op == BinaryOp::Sub;
        let (operand, height) = self.binary(POW)?;
        if let Expr::Number(number) = operand {
            let value = if negative { -number.value } else { number.value };
            return Ok((
                Expr::Number(NumberLiteral { value, span: start.to(number.span), ..number }),
                height,
            ));
        }
        let span = start.to(operand.span());
        let height = self.height(height, span)?;
        Ok((Expr::Unary(Box::new(Unary { negative, expr: operand, span })), height))
    }

    fn primary(&mut self) -> Parsed<Tree<Expr>> {
        match self.token.kind {
            Kind::Number | Kind::Duration => Ok((Expr::Number(self.number()?), 1)),
            Kind::String => {
                let token = self.advance()?;
                let (value, not_utf8) = text(unquote(token.text));
                Ok((Expr::String(StringLiteral { value, not_utf8, span: token.span() }), 1))
            }
            Kind::LeftParen => {
                let open = self.advance()?.span();
                let (expr, height) = self.binary(0)?;
                let close = self.expect(Kind::RightParen)?.span();
                Ok((Expr::Paren(Box::new(Paren { expr, span: open.to(close) })), self.height(height, open)?))
            }
            Kind::LeftBrace => self.vector_selector(None),
            Kind::Aggregate(op) => {
                let name = self.advance()?;
                match self.token.kind {
                    Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without) => {
                        self.aggregate(op, name)
                    }
                    _ => self.vector_selector(Some(name)),
                }
            }
            Kind::Identifier
            | Kind::Keyword(
                Keyword::Start
                | Keyword::End
                | Keyword::Step
                | Keyword::Range
                | Keyword::MinOf
                | Keyword::MaxOf,
            ) => {
                let name = self.advance()?;
                match self.token.kind {
                    Kind::LeftParen => self.call(name),
                    _ => self.vector_selector(Some(name)),
                }
            }
            kind if selector::may_name_metric(kind) => {
                let name = self.advance()?;
                self.vector_selector(Some(name))
            }
            _ => self.unexpected(),
        }
    }

    fn number(&mut self) -> Parsed<NumberLiteral> {
        let token = self.advance()?;
        let is_duration = token.kind == Kind::Duration;
        let read = match is_duration {
            true => literal::duration(token.text),
            false => literal::number(token.text).map_err(|err| format!("error parsing number: {err}")),
        };
        match read {
            Ok(value) => Ok(NumberLiteral { value, is_duration, span: token.span() }),
            Err(message) => self.fail(token.span(), message),
        }
    }

    fn call(&mut self, name: Token<'a>) -> Parsed<Tree<Expr>> {
        let (args, height) = self.arguments()?;
        let span = Span::new(name.start, self.last_end);
        // The words that are keywords elsewhere may be written in any case.
        let function = match name.kind {
            Kind::Keyword(_) => Function::by_name(&name.text.to_ascii_lowercase()),
            _ => Function::by_name(name.text),
        };
        let Some(function) = function else {
            let quoted = model::labels::Quoted(name.text);
            return self.fail(name.span(), format!("unknown function with name {quoted}"));
        };
        if function.experimental && !self.options.experimental_functions {
            self.note(name.span(), format!("function {:?} is not enabled", function.name));
        }
        let height = self.height(height, span)?;
        Ok((Expr::Call(Box::new(Call { function, args, span })), height))
    }

    /// `(a, b, …)` and the height of the highest.
    fn arguments(&mut self) -> Parsed<(Vec<Expr>, usize)> {
        self.expect(Kind::LeftParen)?;
        let (mut args, mut highest) = (Vec::new(), 0);
        if self.accept(Kind::RightParen)?.is_some() {
            return Ok((args, highest));
        }
        loop {
            let (arg, height) = self.binary(0)?;
            args.push(arg);
            highest = highest.max(height);
            let Some(comma) = self.accept(Kind::Comma)? else {
                self.expect(Kind::RightParen)?;
                return Ok((args, highest));
            };
            if matches!(self.token.kind, Kind::RightParen | Kind::Comma) {
                return self.fail(comma.span(), "trailing commas not allowed in function call args");
            }
        }
    }

    fn aggregate(&mut self, op: AggregateOp, name: Token<'a>) -> Parsed<Tree<Expr>> {
        self.contexts.push(("aggregation", ""));
        let mut modifier = self.aggregate_modifier()?;
        let (mut args, height) = self.arguments()?;
        if modifier.is_none() {
            modifier = self.aggregate_modifier()?;
        }
        self.contexts.pop();
        let span = Span::new(name.start, self.last_end);
        if args.is_empty() {
            return self.fail(span, "no arguments for aggregate expression provided");
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let message = format!(
                "{op}() is experimental and must be enabled with --enable-feature=promql-experimental-functions"
            );
            return self.fail(span, message);
        }
        let wanted = if op.has_param() { 2 } else { 1 };
        if args.len() != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
                args.len()
            );
            return self.fail(span, message);
        }
        let expr = args.remove(wanted - 1);
        let param = args.pop();
        let (without, grouping) = modifier.unwrap_or_default();
        let height = self.height(height, span)?;
        Ok((Expr::Aggregate(Box::new(Aggregate { op, expr, param, grouping, without, span })), height))
    }

    /// `by (…)` (`false`) or `without (…)`.
    fn aggregate_modifier(&mut self) -> Parsed<Option<(bool, Vec<String>)>> {
        let without = match self.token.kind {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some((without, self.grouping()?)))
    }

    /// `(label, "other label", …)`
    fn grouping(&mut self) -> Parsed<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        if self.token.kind != Kind::LeftParen {
            return self.unexpected_in(CONTEXT, r#""(""#);
        }
        self.advance()?;
        let mut labels = Vec::new();
        while self.token.kind != Kind::RightParen {
            let token = self.token;
            let label = match token.kind {
                Kind::String => match String::from_utf8(unquote(token.text)) {
                    Ok(label) if !label.is_empty() => label,
                    _ => {
                        let message = format!("invalid label name for grouping: {}", token.text);
                        return self.fail(token.span(), message);
                    }
                },
                kind if selector::may_name_label(kind) => token.text.to_owned(),
                _ => return self.unexpected_in(CONTEXT, "label"),
            };
            labels.push(label);
            self.advance()?;
            if self.accept(Kind::Comma)?.is_none() && self.token.kind != Kind::RightParen {
                return self.unexpected_in(CONTEXT, r#""," or ")""#);
            }
        }
        self.advance()?;
        Ok(labels)
    }
}

/// A text and, when it is not UTF-8, its bytes.
fn text(bytes: Vec<u8>) -> (String, Option<Box<[u8]>>) {
    match String::from_utf8(bytes) {
        Ok(value) => (value, None),
        Err(err) => {
            let bytes = err.into_bytes();
            (String::from_utf8_lossy(&bytes).into_owned(), Some(bytes.into()))
        }
    }
}
