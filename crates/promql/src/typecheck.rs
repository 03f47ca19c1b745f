//! Checks an expression that is well-formed: types, argument counts, matching, selectors that would match everything.
//!
//! Messages and the order in which they are found are Prometheus' (`promql/parser/parse.go`, `checkAST`).

use model::labels::{METRIC_NAME, Quoted};

use crate::ast::{AggregateOp, Binary, Call, Cardinality, Expr, Span, ValueType, VectorSelector};
use crate::error::ParseError;
use crate::functions::FunctionId;

/// Everything that is wrong. Also settles what depends on types: set operators match many to many, and operators with
/// a scalar side match nothing.
pub(crate) fn check(expr: &mut Expr, input: &str) -> Vec<ParseError> {
    let mut checker = Checker { input, errors: Vec::new() };
    checker.expr(expr);
    checker.errors
}

struct Checker<'a> {
    input: &'a str,
    errors: Vec<ParseError>,
}

impl Checker<'_> {
    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.errors.push(ParseError::new(self.input, span, message));
    }

    fn expr(&mut self, expr: &mut Expr) -> ValueType {
        let span = expr.span();
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(selector) => self.selector(selector, selector.span, true),
            Expr::Matrix(matrix) => self.selector(&matrix.selector, matrix.span, true),
            Expr::Subquery(subquery) => {
                let found = self.expr(&mut subquery.expr);
                if found != ValueType::Vector {
                    self.error(
                        span,
                        format!("subquery is only allowed on instant vector, got {found} instead"),
                    );
                }
            }
            Expr::Call(call) => self.call(call),
            Expr::Aggregate(aggregate) => {
                self.expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression");
                if let Some(param) = &mut aggregate.param {
                    let wanted = match aggregate.op {
                        AggregateOp::CountValues => ValueType::String,
                        _ => ValueType::Scalar,
                    };
                    self.expect(param, wanted, "aggregation parameter");
                }
            }
            Expr::Binary(binary) => self.binary(binary, span),
            Expr::Unary(unary) => {
                let found = self.expr(&mut unary.expr);
                if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                    self.error(
                        span,
                        format!(
                            "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                            found.documented()
                        ),
                    );
                }
            }
            Expr::Paren(paren) => {
                self.expr(&mut paren.expr);
            }
            Expr::StepInvariant(inner) => {
                self.expr(inner);
            }
        }
        expr.value_type()
    }

    fn expect(&mut self, expr: &mut Expr, wanted: ValueType, context: &str) {
        let found = self.expr(expr);
        if found != wanted {
            let (wanted, found) = (wanted.documented(), found.documented());
            self.error(expr.span(), format!("expected type {wanted} in {context}, got {found}"));
        }
    }

    fn selector(&mut self, selector: &VectorSelector, span: Span, needs_matcher: bool) {
        if let Some(name) = &selector.name {
            // The last matcher is the one for the name before the braces.
            let inside = &selector.matchers[..selector.matchers.len() - 1];
            let twice = inside.iter().filter(|matcher| matcher.name() == METRIC_NAME);
            for matcher in twice {
                let (name, other) = (Quoted(name), Quoted(matcher.value()));
                let message = format!("metric name must not be set twice: {name} or {other}");
                self.errors.push(ParseError::new(self.input, span, message));
            }
        } else if needs_matcher && selector.matchers.iter().all(|matcher| matcher.matches_empty()) {
            self.error(span, "vector selector must contain at least one non-empty matcher");
        }
    }

    fn call(&mut self, call: &mut Call) {
        let (function, given) = (call.function, call.args.len());
        let name = Quoted(function.name);
        let (least, most) = function.arg_count();
        if function.variadic == 0 {
            if given != least {
                let message = format!("expected {least} argument(s) in call to {name}, got {given}");
                self.error(call.span, message);
            }
        } else if given < least {
            self.error(
                call.span,
                format!("expected at least {least} argument(s) in call to {name}, got {given}"),
            );
        } else if let Some(most) = most.filter(|&most| given > most) {
            self.error(
                call.span,
                format!("expected at most {most} argument(s) in call to {name}, got {given}"),
            );
        }
        for (index, arg) in call.args.iter_mut().enumerate() {
            let Some(&wanted) = function.args.get(index).or(function.args.last()) else { break };
            if index >= function.args.len() && function.variadic == 0 {
                break;
            }
            // The second argument of info() selects labels of other metrics, and may select all of them.
            let found = match arg {
                Expr::Vector(selector) if function.id == FunctionId::Info && index == 1 => {
                    if selector.name.is_some() {
                        self.error(
                            selector.span,
                            "expected label selectors only, got vector selector instead",
                        );
                    }
                    self.selector(selector, selector.span, false);
                    ValueType::Vector
                }
                _ if function.id == FunctionId::Info && index == 1 => {
                    let found = self.expr(arg);
                    if found == ValueType::Vector {
                        self.error(arg.span(), "expected label selectors only");
                    }
                    found
                }
                _ => self.expr(arg),
            };
            if found != wanted {
                let (wanted, found) = (wanted.documented(), found.documented());
                self.error(
                    arg.span(),
                    format!("expected type {wanted} in call to function {name}, got {found}"),
                );
            }
        }
    }

    fn binary(&mut self, binary: &mut Binary, span: Span) {
        let left = self.expr(&mut binary.lhs);
        let right = self.expr(&mut binary.rhs);
        let operator = self.operator_span(binary);
        let op = binary.op;
        if binary.return_bool && !op.is_comparison() {
            self.error(operator, "bool modifier can only be used on comparison operators");
        }
        if op.is_comparison()
            && !binary.return_bool
            && (left, right) == (ValueType::Scalar, ValueType::Scalar)
        {
            self.error(operator, "comparisons between scalars must use BOOL modifier");
        }
        let Some(matching) = &mut binary.matching else { return };
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        if matching.on {
            for label in matching.labels.iter().filter(|label| matching.include.contains(label)) {
                let label = Quoted(label);
                let message = format!("label {label} must not occur in ON and GROUP clause at once");
                self.errors.push(ParseError::new(self.input, operator, message));
            }
        }
        for (side, found) in [(&binary.lhs, left), (&binary.rhs, right)] {
            if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                self.errors.push(ParseError::new(self.input, side.span(), message));
            }
        }
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if (left, right) != (ValueType::Vector, ValueType::Vector) {
            let labels = !matching.labels.is_empty();
            binary.matching = None;
            if labels {
                self.error(span, "vector matching only allowed between instant vectors");
            }
            if fills {
                self.error(span, "filling in missing series only allowed between instant vectors");
            }
        } else if op.is_set() {
            let grouped = matching.cardinality != Cardinality::ManyToMany;
            if grouped {
                self.error(span, format!("no grouping allowed for \"{op}\" operation"));
                self.error(span, "set operations must always be many-to-many");
            }
            if fills {
                self.error(span, "filling in missing series not allowed for set operators");
            }
        }
        if (left == ValueType::Scalar || right == ValueType::Scalar) && op.is_set() {
            self.error(span, format!("set operator \"{op}\" not allowed in binary scalar expression"));
        }
    }

    /// From the operator to before the right side.
    fn operator_span(&self, binary: &Binary) -> Span {
        let (start, end) = (binary.lhs.span().end as usize, binary.rhs.span().start as usize);
        let between = self.input.get(start..end).unwrap_or_default();
        let space = between.len() - between.trim_start().len();
        Span::new(start + space, end)
    }
}
