//! A binary operator between two samples.

use std::sync::Arc;

use model::Histogram;
use model::histogram::ResetHint;

use super::matrix::Cell;
use crate::annotations::{Message, Operation};
use crate::ast::BinaryOp;
use crate::histogram as hist;
use crate::histogram::trim::{Keep, trim};

/// The result for one pair of samples.
pub(super) enum Element {
    Float(f64),
    Histogram(Arc<Histogram>),
    /// A comparison: whether it holds.
    Test(bool),
    /// The two cannot be combined.
    Nothing,
}

/// Go's `math.Pow`, which differs from C's at nothing that matters but signs of NaN.
fn pow(a: f64, b: f64) -> f64 {
    a.powf(b)
}

/// An arithmetic operator on floats, comparisons as 1 and 0.
pub(super) fn arithmetic(op: BinaryOp) -> Option<fn(f64, f64) -> f64> {
    Some(match op {
        BinaryOp::Add => |a, b| a + b,
        BinaryOp::Sub => |a, b| a - b,
        BinaryOp::Mul => |a, b| a * b,
        BinaryOp::Div => |a, b| a / b,
        BinaryOp::Mod => |a, b| a % b,
        BinaryOp::Pow => pow,
        BinaryOp::Atan2 => f64::atan2,
        _ => return None,
    })
}

/// A comparison of floats.
pub(super) fn comparison(op: BinaryOp) -> Option<fn(f64, f64) -> bool> {
    Some(match op {
        BinaryOp::Equal => |a, b| a == b,
        BinaryOp::NotEqual => |a, b| a != b,
        BinaryOp::Less => |a, b| a < b,
        BinaryOp::LessEqual => |a, b| a <= b,
        BinaryOp::Greater => |a, b| a > b,
        BinaryOp::GreaterEqual => |a, b| a >= b,
        _ => return None,
    })
}

/// `left op right`; what is to be said goes to `say`.
pub(super) fn element(
    op: BinaryOp,
    left: Cell<'_>,
    right: Cell<'_>,
    say: &mut impl FnMut(Message),
) -> Element {
    let mut incompatible = |left, right| {
        say(Message::IncompatibleTypes { left, operator: op.as_str(), right });
        Element::Nothing
    };
    match (left, right) {
        (Cell::Float(a), Cell::Float(b)) => {
            if let Some(f) = arithmetic(op) {
                Element::Float(f(a, b))
            } else if let Some(test) = comparison(op) {
                Element::Test(test(a, b))
            } else {
                incompatible("float", "float")
            }
        }
        (Cell::Float(factor), Cell::Histogram(histogram)) => match op {
            BinaryOp::Mul => scaled(histogram, |h| hist::scale(h, factor)),
            _ => incompatible("float", "histogram"),
        },
        (Cell::Histogram(histogram), Cell::Float(value)) => match op {
            BinaryOp::Mul => scaled(histogram, |h| hist::scale(h, value)),
            BinaryOp::Div => scaled(histogram, |h| hist::divide(h, value)),
            BinaryOp::TrimUpper => scaled(histogram, |h| trim(h, value, Keep::Below)),
            BinaryOp::TrimLower => scaled(histogram, |h| trim(h, value, Keep::Above)),
            _ => incompatible("histogram", "float"),
        },
        (Cell::Histogram(a), Cell::Histogram(b)) => match op {
            BinaryOp::Add | BinaryOp::Sub => {
                let mut result = (**a).clone();
                let (combined, operation) = if op == BinaryOp::Add {
                    (hist::add(&mut result, b), Operation::Addition)
                } else {
                    (hist::subtract(&mut result, b), Operation::Subtraction)
                };
                let Ok(combined) = combined else {
                    say(Message::IncompatibleBucketLayout { operator: op.as_str() });
                    return Element::Nothing;
                };
                if op == BinaryOp::Sub {
                    result.reset_hint = ResetHint::Gauge;
                }
                if combined.reset_conflict {
                    say(Message::ResetCollision(operation));
                }
                if combined.reconciled {
                    say(Message::MismatchedCustomBuckets(operation));
                }
                hist::compact(&mut result);
                Element::Histogram(Arc::new(result))
            }
            BinaryOp::Equal => Element::Test(hist::same(a, b)),
            BinaryOp::NotEqual => Element::Test(!hist::same(a, b)),
            _ => incompatible("histogram", "histogram"),
        },
    }
}

fn scaled(histogram: &Histogram, change: impl Fn(&mut Histogram)) -> Element {
    let mut result = histogram.clone();
    change(&mut result);
    hist::compact(&mut result);
    Element::Histogram(Arc::new(result))
}
