//! Durations in brackets and after `offset`, and arithmetic on them.

use super::{POW, Parsed, Parser, Tree, precedence};
use crate::ast::{BinaryOp, Duration, DurationBinary, DurationExpr, DurationMinMax, NumberLiteral, Span};
use crate::lexer::{Keyword, Kind};

/// Longest duration in seconds: 2^63 nanoseconds.
pub(crate) const MAX_DURATION_SECONDS: f64 = 9_223_372_036.854_776;

/// Milliseconds, rounded, of a literal's seconds.
fn literal_ms(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

fn duration(expr: DurationExpr) -> Duration {
    let ms = match &expr {
        DurationExpr::Literal(number) => literal_ms(number.value),
        _ => 0,
    };
    Duration { expr, ms }
}

impl Parser<'_> {
    /// A range or step: literals must be above 0. Others are checked when they are evaluated.
    pub(super) fn positive_duration(&mut self) -> Parsed<Duration> {
        let (expr, _) = self.duration_binary(0)?;
        if let DurationExpr::Literal(number) = &expr
            && (number.value <= 0.0 || number.value.is_nan())
        {
            let span = number.span;
            self.note(span, "duration must be greater than 0");
        }
        Ok(duration(expr))
    }

    /// What follows `offset`. Operators behind it belong to the expression around it (`foo offset 2 ^ 2` is
    /// `(foo offset 2) ^ 2`) unless it starts with a parenthesis.
    pub(super) fn offset_duration(&mut self) -> Parsed<Duration> {
        let expr = match self.token.kind {
            Kind::LeftParen => self.duration_binary(0)?.0,
            Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                let sign = self.advance()?.span();
                if let Kind::Op(BinaryOp::Add | BinaryOp::Sub) = self.token.kind {
                    let (operand, _) = self.duration_binary(POW)?;
                    let first = self.signed(op, sign, operand)?;
                    self.duration_rest(first, 1, 0)?.0
                } else {
                    let (operand, _) = self.duration_primary()?;
                    self.signed(op, sign, operand)?
                }
            }
            _ => self.duration_primary()?.0,
        };
        Ok(duration(expr))
    }

    fn duration_binary(&mut self, min: u8) -> Parsed<Tree<DurationExpr>> {
        self.deeper(|parser| {
            let (first, height) = match parser.token.kind {
                Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                    let sign = parser.advance()?.span();
                    let (operand, height) = parser.duration_binary(POW)?;
                    (parser.signed(op, sign, operand)?, height + 1)
                }
                _ => parser.duration_primary()?,
            };
            parser.duration_rest(first, height, min)
        })
    }

    /// Operators and operands after the first.
    fn duration_rest(
        &mut self,
        mut lhs: DurationExpr,
        mut height: usize,
        min: u8,
    ) -> Parsed<Tree<DurationExpr>> {
        while let Kind::Op(
            op @ (BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow),
        ) = self.token.kind
        {
            let strength = precedence(op);
            if strength < min {
                break;
            }
            let at = self.advance()?.span();
            self.experimental(lhs.span());
            let (rhs, rhs_height) = self.duration_binary(if strength == POW { POW } else { strength + 1 })?;
            if let DurationExpr::Literal(NumberLiteral { value: 0.0, .. }) = rhs {
                match op {
                    BinaryOp::Div => return self.fail(at, "division by zero"),
                    BinaryOp::Mod => return self.fail(at, "modulo by zero"),
                    _ => {}
                }
            }
            height = self.height(height.max(rhs_height), at)?;
            lhs = DurationExpr::Binary(Box::new(DurationBinary { op, lhs, rhs }));
        }
        Ok((lhs, height))
    }

    fn duration_primary(&mut self) -> Parsed<Tree<DurationExpr>> {
        match self.token.kind {
            Kind::Number | Kind::Duration => {
                let number = self.number()?;
                self.in_range(&number, number.span)?;
                Ok((DurationExpr::Literal(number), 1))
            }
            Kind::Keyword(word @ (Keyword::Step | Keyword::Range)) => {
                let start = self.advance()?.span();
                self.expect(Kind::LeftParen)?;
                let span = start.to(self.expect(Kind::RightParen)?.span());
                self.experimental(span);
                let expr = match word {
                    Keyword::Step => DurationExpr::Step(span),
                    _ => DurationExpr::Range(span),
                };
                Ok((expr, 1))
            }
            Kind::Keyword(word @ (Keyword::MinOf | Keyword::MaxOf)) => {
                let start = self.advance()?.span();
                self.expect(Kind::LeftParen)?;
                let (lhs, left) = self.duration_binary(0)?;
                self.expect(Kind::Comma)?;
                let (rhs, right) = self.duration_binary(0)?;
                let span = start.to(self.expect(Kind::RightParen)?.span());
                self.experimental(span);
                let is_min = word == Keyword::MinOf;
                let height = self.height(left.max(right), span)?;
                Ok((DurationExpr::MinMax(Box::new(DurationMinMax { is_min, lhs, rhs, span })), height))
            }
            Kind::LeftParen => {
                let start = self.advance()?.span();
                let (inner, height) = self.duration_binary(0)?;
                let span = start.to(self.expect(Kind::RightParen)?.span());
                self.experimental(inner.span());
                Ok((DurationExpr::Paren(Box::new(inner), span), height + 1))
            }
            _ => self.unexpected(),
        }
    }

    fn signed(&mut self, op: BinaryOp, sign: Span, operand: DurationExpr) -> Parsed<DurationExpr> {
        let negative = op == BinaryOp::Sub;
        Ok(match operand {
            DurationExpr::Literal(number) => {
                let value = if negative { -number.value } else { number.value };
                DurationExpr::Literal(NumberLiteral { value, span: sign.to(number.span), ..number })
            }
            other if negative => {
                let span = sign.to(other.span());
                DurationExpr::Negative(Box::new(other), span)
            }
            other => other,
        })
    }

    fn in_range(&mut self, number: &NumberLiteral, span: Span) -> Parsed<()> {
        if number.value.abs() > MAX_DURATION_SECONDS || number.value.is_nan() {
            return self.fail(span, "duration out of range");
        }
        Ok(())
    }

    fn experimental(&mut self, span: Span) {
        if !self.options.duration_expressions {
            self.note(span, "experimental duration expression is not enabled");
        }
    }
}
