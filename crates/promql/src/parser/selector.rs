//! Selectors and what may follow an expression: `{…}`, `[…]`, `offset`, `@`, `anchored`, `smoothed`.

use model::labels::METRIC_NAME;
use model::{Labels, LabelsBuilder, MatchOp, Matcher, Selector, Timestamp};

use super::{Abort, Parsed, Parser, Tree, unquote};
use crate::ast::{At, BinaryOp, Expr, Extend, MatrixSelector, Modifiers, Span, Subquery, VectorSelector};
use crate::lexer::{Keyword, Kind, Token};

/// Whether a token may be the name of a metric where an expression starts.
pub(super) fn may_name_metric(kind: Kind) -> bool {
    match kind {
        Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregate(_) => true,
        Kind::Op(op) => op.is_set(),
        Kind::Keyword(word) => !matches!(
            word,
            Keyword::Bool | Keyword::On | Keyword::Ignoring | Keyword::GroupLeft | Keyword::GroupRight
        ),
        _ => false,
    }
}

/// Whether a token may be a label in `by (…)` and the like.
pub(super) fn may_name_label(kind: Kind) -> bool {
    match kind {
        Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregate(_) | Kind::Keyword(_) => true,
        Kind::Op(op) => op.is_set() || op == BinaryOp::Atan2,
        _ => false,
    }
}

impl<'a> Parser<'a> {
    /// A selector and nothing else.
    pub(super) fn only_selector(&mut self) -> Parsed<VectorSelector> {
        let name = if may_name_metric(self.token.kind) { Some(self.advance()?) } else { None };
        if name.is_none() && self.token.kind != Kind::LeftBrace {
            return self.unexpected();
        }
        let selector = self.bare_selector(name)?;
        if self.token.kind != Kind::Eof {
            return self.unexpected();
        }
        Ok(selector)
    }

    /// What follows the name, which has been consumed.
    pub(super) fn vector_selector(&mut self, name: Option<Token<'a>>) -> Parsed<Tree<Expr>> {
        Ok((Expr::Vector(Box::new(self.bare_selector(name)?)), 1))
    }

    fn bare_selector(&mut self, name: Option<Token<'a>>) -> Parsed<VectorSelector> {
        let start = name.map_or(self.token.start, |name| name.start);
        let mut matchers = match self.token.kind {
            Kind::LeftBrace => self.matchers()?,
            _ => Vec::new(),
        };
        let name = name.map(|name| name.text.to_owned());
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name.clone()));
        }
        let span = Span::new(start, self.last_end);
        Ok(VectorSelector { name, matchers, modifiers: Modifiers::default(), extend: None, span })
    }

    fn matchers(&mut self) -> Parsed<Selector> {
        const CONTEXT: &str = "label matching";
        self.expect(Kind::LeftBrace)?;
        let mut matchers = Vec::new();
        if self.accept(Kind::RightBrace)?.is_some() {
            return Ok(matchers);
        }
        loop {
            let label = self.token;
            match label.kind {
                Kind::Identifier => {
                    self.advance()?;
                    let Some(op) = match_op(self.token.kind) else {
                        return self.unexpected_in(CONTEXT, "label matching operator");
                    };
                    matchers.push(self.matcher(label, label.text.to_owned(), op)?);
                }
                Kind::String => {
                    self.advance()?;
                    let name = self.utf8(label)?;
                    matchers.push(match match_op(self.token.kind) {
                        Some(op) => self.matcher(label, name, op)?,
                        None => Matcher::equal(METRIC_NAME, name),
                    });
                }
                _ => return self.unexpected_in(CONTEXT, r#"identifier or "}""#),
            }
            if self.accept(Kind::Comma)?.is_none() && self.token.kind != Kind::RightBrace {
                return self.unexpected_in(CONTEXT, r#""," or "}""#);
            }
            if self.accept(Kind::RightBrace)?.is_some() {
                return Ok(matchers);
            }
        }
    }

    /// The operator and value after a label's name.
    fn matcher(&mut self, label: Token<'a>, name: String, op: MatchOp) -> Parsed<Matcher> {
        self.advance()?;
        if self.token.kind != Kind::String {
            return self.unexpected_in("label matching", "string");
        }
        let token = self.advance()?;
        let value = self.utf8(token)?;
        match self.options.patterns.matcher(name, op, value) {
            Ok(matcher) => Ok(matcher),
            Err(err) => self.fail(label.span().to(token.span()), err.to_string()),
        }
    }

    /// The text of a string token, which has to be UTF-8 here.
    fn utf8(&mut self, token: Token<'a>) -> Parsed<String> {
        String::from_utf8(unquote(token.text)).or_else(|_| {
            self.fail(token.span(), format!("error unquoting string {}: it is not UTF-8", token.text))
        })
    }

    /// `name{a="b"}` without operators other than `=`. Stops before what follows.
    pub(super) fn label_set(&mut self) -> Parsed<Labels> {
        const CONTEXT: &str = "label set";
        let mut labels = LabelsBuilder::default();
        let name = if may_name_metric(self.token.kind) { Some(self.token) } else { None };
        if let Some(name) = name {
            // What follows the name may be anything, so it is not read unless it is the label set.
            self.last_end = name.end();
            labels.set(METRIC_NAME, name.text);
            if !self.input[name.end()..].starts_with('{') {
                return Ok(labels.build());
            }
            self.advance()?;
        }
        if self.token.kind != Kind::LeftBrace {
            return self.unexpected_in(CONTEXT, r#"metric name or "{""#);
        }
        self.advance()?;
        while self.token.kind != Kind::RightBrace {
            let label = self.token;
            let label_name = match label.kind {
                Kind::Identifier => label.text.to_owned(),
                Kind::String => self.utf8(label)?,
                _ => return self.unexpected_in(CONTEXT, r#"identifier or "}""#),
            };
            self.advance()?;
            if self.accept(Kind::Assign)?.is_some() {
                if self.token.kind != Kind::String {
                    return self.unexpected_in(CONTEXT, "string");
                }
                let token = self.advance()?;
                labels.set(label_name, self.utf8(token)?);
            } else if label.kind == Kind::String {
                labels.set(METRIC_NAME, label_name);
            } else {
                return self.unexpected_in(CONTEXT, r#""=""#);
            }
            if self.accept(Kind::Comma)?.is_none() && self.token.kind != Kind::RightBrace {
                return self.unexpected_in(CONTEXT, r#""," or "}""#);
            }
        }
        self.last_end = self.token.end();
        Ok(labels.build())
    }

    /// Ranges, subqueries and modifiers, as many as follow.
    pub(super) fn postfix(&mut self, operand: Tree<Expr>) -> Parsed<Tree<Expr>> {
        let (mut expr, mut height) = operand;
        loop {
            match self.token.kind {
                Kind::LeftBracket => {
                    expr = self.bracket(expr)?;
                    height = self.height(height, expr.span())?;
                }
                Kind::Keyword(Keyword::Offset) => self.offset(&mut expr)?,
                Kind::At => self.at(&mut expr)?,
                Kind::Keyword(Keyword::Anchored) => self.extend(&mut expr, Extend::Anchored)?,
                Kind::Keyword(Keyword::Smoothed) => self.extend(&mut expr, Extend::Smoothed)?,
                _ => return Ok((expr, height)),
            }
        }
    }

    /// `[range]` or `[range:step]`.
    fn bracket(&mut self, expr: Expr) -> Parsed<Expr> {
        const LENGTH: &str = "number, duration, step(), or range()";
        let open = self.advance()?.span();
        self.contexts.push(("subquery or range selector", LENGTH));
        let range = self.positive_duration()?;
        self.contexts.pop();
        if self.accept(Kind::Colon)?.is_some() {
            let step = match self.token.kind {
                Kind::RightBracket => None,
                _ => {
                    self.contexts.push(("subquery selector", r#"number, duration, step(), range(), or "]""#));
                    let step = self.positive_duration()?;
                    self.contexts.pop();
                    Some(step)
                }
            };
            if self.token.kind != Kind::RightBracket {
                return self.unexpected_in("subquery selector", r#""]""#);
            }
            let close = self.advance()?.span();
            let span = expr.span().to(close);
            let modifiers = Modifiers::default();
            return Ok(Expr::Subquery(Box::new(Subquery { expr, range, step, modifiers, span })));
        }
        if self.token.kind != Kind::RightBracket {
            return self.unexpected_in("subquery or range", r#"":" or "]""#);
        }
        let brackets = open.to(self.advance()?.span());
        let Expr::Vector(selector) = expr else {
            return self.fail(brackets, "ranges only allowed for vector selectors");
        };
        if selector.modifiers.offset.is_some() {
            self.note(brackets, "no offset modifiers allowed before range");
        } else if selector.modifiers.at.is_some() {
            self.note(brackets, "no @ modifiers allowed before range");
        }
        let span = selector.span.to(brackets);
        Ok(Expr::Matrix(Box::new(MatrixSelector { selector: *selector, range, span })))
    }

    fn offset(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.advance()?;
        self.contexts.push(("offset", "number, duration, step(), or range()"));
        let offset = self.offset_duration()?;
        self.contexts.pop();
        let span = expr.span();
        let Some((modifiers, end)) = modifiers(expr) else {
            self.note(
                span,
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            );
            return Ok(());
        };
        let repeated = modifiers.offset.is_some();
        modifiers.offset = Some(offset);
        end.end = self.last_end as u32;
        if repeated {
            self.note(span, "offset may not be set multiple times");
        }
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.advance()?;
        self.contexts.push(("@", "timestamp"));
        let at = match self.token.kind {
            Kind::Keyword(word @ (Keyword::Start | Keyword::End)) => {
                self.advance()?;
                self.expect(Kind::LeftParen)?;
                self.expect(Kind::RightParen)?;
                if word == Keyword::Start { At::Start } else { At::End }
            }
            _ => {
                let seconds = self.signed_number()?;
                if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
                    let message = format!("timestamp out of bounds for @ modifier: {seconds:.6}");
                    self.note(expr.span(), message);
                }
                At::Time(Timestamp::from_seconds(seconds))
            }
        };
        self.contexts.pop();
        let span = expr.span();
        let Some((modifiers, end)) = modifiers(expr) else {
            self.note(
                span,
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            );
            return Ok(());
        };
        let repeated = modifiers.at.is_some();
        modifiers.at = Some(at);
        end.end = self.last_end as u32;
        if repeated {
            self.note(span, "@ <timestamp> may not be set multiple times");
        }
        Ok(())
    }

    fn extend(&mut self, expr: &mut Expr, extend: Extend) -> Parsed<()> {
        self.advance()?;
        let (span, word) = (expr.span(), extend.as_str());
        if !self.options.extended_range_selectors {
            return self.fail(span, format!("{word} modifier is experimental and not enabled"));
        }
        let (selector, whole) = match expr {
            Expr::Vector(selector) => (selector.as_mut(), None),
            Expr::Matrix(matrix) => (&mut matrix.selector, Some(&mut matrix.span)),
            Expr::Subquery(_) => {
                self.note(span, format!("{word} modifier is not supported for subqueries"));
                return Ok(());
            }
            _ => {
                self.note(span, format!("{word} modifier not implemented"));
                return Ok(());
            }
        };
        let other = selector.extend.is_some_and(|present| present != extend);
        selector.extend = Some(extend);
        whole.unwrap_or(&mut selector.span).end = self.last_end as u32;
        if other {
            self.note(span, "anchored and smoothed modifiers cannot be used together");
        }
        Ok::<(), Abort>(())
    }
}

/// Where an expression keeps `@` and `offset`, and its span; `None` when it takes neither.
fn modifiers(expr: &mut Expr) -> Option<(&mut Modifiers, &mut Span)> {
    match expr {
        Expr::Vector(node) => Some((&mut node.modifiers, &mut node.span)),
        Expr::Matrix(node) => Some((&mut node.selector.modifiers, &mut node.span)),
        Expr::Subquery(node) => Some((&mut node.modifiers, &mut node.span)),
        _ => None,
    }
}

fn match_op(kind: Kind) -> Option<MatchOp> {
    match kind {
        Kind::Assign => Some(MatchOp::Equal),
        Kind::Op(BinaryOp::NotEqual) => Some(MatchOp::NotEqual),
        Kind::Regex => Some(MatchOp::Regex),
        Kind::NotRegex => Some(MatchOp::NotRegex),
        _ => None,
    }
}
