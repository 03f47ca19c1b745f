//! Fixes what depends on when and how a query is evaluated: duration expressions, `@ start()` and `@ end()`, and which
//! parts have the same value at every step.
//!
//! Source: prometheus `promql/engine.go` (`PreprocessExpr`) and `promql/durations.go`.

use model::Timestamp;

use crate::ast::{At, BinaryOp, Duration, DurationExpr, Expr, Modifiers, Span};
use crate::functions::FunctionId;
use crate::parser::MAX_DURATION_SECONDS;

/// A duration expression has no usable value for this evaluation. Offsets are bytes of the query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {reason}", span.start, span.end)]
pub struct ResolveError {
    /// The expression.
    pub span: Span,
    /// What is wrong with its value.
    pub reason: &'static str,
}

/// When and how a query is evaluated.
#[derive(Clone, Copy, Debug)]
struct Frame {
    start: Timestamp,
    end: Timestamp,
    step_ms: i64,
}

/// What is known about an expression whose parents are not known yet.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Invariance {
    /// The value is the same at every step.
    invariant: bool,
    /// And it costs something, so that it is worth a mark.
    worth_marking: bool,
}

const VARIES: Invariance = Invariance { invariant: false, worth_marking: false };

impl Expr {
    /// The expression as it is for one evaluation from `start` to `end` (equal for an instant query) every `step_ms`
    /// milliseconds (0 for an instant query).
    ///
    /// Afterwards every [`Duration::ms`] and [`Modifiers::at_time`] is right, and the outermost expressions that have
    /// the same value at every step are [`Expr::StepInvariant`]; range selectors and subqueries are never marked
    /// themselves, only what is inside or around them.
    ///
    /// # Errors
    /// When a duration expression's value is not finite, out of range, or not positive where it has to be.
    pub fn resolve(mut self, start: Timestamp, end: Timestamp, step_ms: i64) -> Result<Self, ResolveError> {
        let frame = Frame { start, end, step_ms };
        let found = frame.expr(&mut self)?;
        if found.worth_marking {
            mark(&mut self);
        }
        Ok(self)
    }
}

impl Frame {
    fn expr(&self, expr: &mut Expr) -> Result<Invariance, ResolveError> {
        Ok(match expr {
            Expr::Number(_) | Expr::String(_) => Invariance { invariant: true, worth_marking: false },
            Expr::Vector(node) => self.modifiers(&mut node.modifiers)?,
            Expr::Matrix(node) => {
                self.duration(&mut node.range, false)?;
                self.modifiers(&mut node.selector.modifiers)?
            }
            Expr::Subquery(node) => {
                let found = self.modifiers(&mut node.modifiers)?;
                if let Some(step) = &mut node.step {
                    self.duration(step, false)?;
                }
                self.duration(&mut node.range, false)?;
                if self.expr(&mut node.expr)?.worth_marking {
                    mark(&mut node.expr);
                }
                found
            }
            Expr::Paren(node) => self.expr(&mut node.expr)?,
            Expr::Unary(node) => self.expr(&mut node.expr)?,
            Expr::StepInvariant(inner) => self.expr(inner)?,
            Expr::Call(node) => {
                let safe = !depends_on_time(node.function.id, node.args.len());
                self.together(safe, &mut node.args.iter_mut().collect::<Vec<_>>(), true)?
            }
            Expr::Aggregate(_) | Expr::Binary(_) => self.together(true, &mut expr.children_mut(), false)?,
        })
    }

    /// The invariance of a node above `children`; marks the children when they are invariant and the node is not.
    fn together(
        &self,
        safe: bool,
        children: &mut [&mut Expr],
        is_call: bool,
    ) -> Result<Invariance, ResolveError> {
        let mut found = Vec::with_capacity(children.len());
        for child in children.iter_mut() {
            found.push(self.expr(child)?);
        }
        if safe && found.iter().all(|child| child.invariant) {
            // A call without arguments, such as pi(), is not worth a mark by itself.
            let worth_marking =
                found.iter().any(|child| child.worth_marking) || (is_call && !found.is_empty());
            return Ok(Invariance { invariant: true, worth_marking });
        }
        for (child, found) in children.iter_mut().zip(found) {
            if found.worth_marking {
                mark(child);
            }
        }
        Ok(VARIES)
    }

    fn modifiers(&self, modifiers: &mut Modifiers) -> Result<Invariance, ResolveError> {
        if let Some(offset) = &mut modifiers.offset {
            self.duration(offset, true)?;
        }
        modifiers.at_time = modifiers.at.map(|at| match at {
            At::Time(time) => time,
            At::Start => self.start,
            At::End => self.end,
        });
        let fixed = modifiers.at_time.is_some();
        Ok(Invariance { invariant: fixed, worth_marking: fixed })
    }

    fn duration(&self, duration: &mut Duration, may_be_negative: bool) -> Result<(), ResolveError> {
        if let DurationExpr::Literal(_) = duration.expr {
            return Ok(());
        }
        let seconds = self.seconds(&duration.expr)?;
        let span = duration.expr.span();
        if !seconds.is_finite() {
            return Err(ResolveError { span, reason: "duration is NaN or infinite" });
        }
        if seconds <= 0.0 && !may_be_negative {
            return Err(ResolveError { span, reason: "duration must be greater than 0" });
        }
        if seconds.abs() > MAX_DURATION_SECONDS {
            return Err(ResolveError { span, reason: "duration is out of range" });
        }
        duration.ms = (seconds * 1000.0) as i64;
        Ok(())
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, ResolveError> {
        Ok(match expr {
            DurationExpr::Literal(number) => number.value,
            DurationExpr::Step(_) => self.step_ms as f64 / 1000.0,
            DurationExpr::Range(_) => (self.end - self.start) as f64 / 1000.0,
            DurationExpr::Negative(inner, _) => -self.seconds(inner)?,
            DurationExpr::Paren(inner, _) => self.seconds(inner)?,
            DurationExpr::MinMax(node) => {
                let (a, b) = (self.seconds(&node.lhs)?, self.seconds(&node.rhs)?);
                match node.is_min {
                    _ if a.is_nan() || b.is_nan() => f64::NAN,
                    true => a.min(b),
                    false => a.max(b),
                }
            }
            DurationExpr::Binary(node) => {
                let (a, b) = (self.seconds(&node.lhs)?, self.seconds(&node.rhs)?);
                let zero = |reason| Err(ResolveError { span: expr.span(), reason });
                match node.op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Div if b == 0.0 => return zero("division by zero"),
                    BinaryOp::Div => a / b,
                    BinaryOp::Mod if b == 0.0 => return zero("modulo by zero"),
                    BinaryOp::Mod => a % b,
                    _ => a.powf(b),
                }
            }
        })
    }
}

/// Whether a function's value depends on the step's time even when its arguments do not.
fn depends_on_time(function: FunctionId, args: usize) -> bool {
    match function {
        FunctionId::Time | FunctionId::Timestamp | FunctionId::PredictLinear => true,
        FunctionId::DaysInMonth
        | FunctionId::DayOfMonth
        | FunctionId::DayOfWeek
        | FunctionId::DayOfYear
        | FunctionId::Hour
        | FunctionId::Minute
        | FunctionId::Month
        | FunctionId::Year => args == 0,
        _ => false,
    }
}

fn mark(expr: &mut Expr) {
    // The parts of a range are read once anyway.
    if matches!(expr, Expr::Matrix(_) | Expr::Subquery(_) | Expr::StepInvariant(_)) {
        return;
    }
    let inner = std::mem::replace(
        expr,
        Expr::Number(crate::ast::NumberLiteral { value: 0.0, is_duration: false, span: Span::default() }),
    );
    *expr = Expr::StepInvariant(Box::new(inner));
}
