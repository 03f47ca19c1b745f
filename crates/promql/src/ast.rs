//! The syntax tree of a PromQL expression.
//!
//! Every node knows its [`Span`] in the query text. Selectors keep what was written (offset, `@` and range expressions)
//! beside the values that [`Expr::resolve`] computes for one evaluation; the printer uses the
//! former, an evaluator the latter.

use std::fmt;

use model::{Selector, Timestamp};

use crate::functions::Function;

/// Where a node is in the query: byte offsets, the end exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// From byte offsets.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// From the start of `self` to the end of `last`.
    pub fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }

    /// Line and column of the start within `input`, both counted from 1; columns count bytes, as Prometheus does.
    /// `None` when the span does not belong to `input`.
    pub fn line_column(self, input: &str) -> Option<(usize, usize)> {
        let before = input.as_bytes().get(..self.start as usize)?;
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&b| b != b'\n').count() + 1;
        Some((line, column))
    }
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number at each step.
    Scalar,
    /// One sample a series at each step.
    Vector,
    /// Samples of a range for each series.
    Matrix,
    /// A text.
    String,
}

impl ValueType {
    /// The name in the HTTP API: `scalar`, `vector`, `matrix`, `string`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::String => "string",
        }
    }

    /// The name in error messages and in the manual: `instant vector`, `range vector`, …
    pub fn documented(self) -> &'static str {
        match self {
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `1.5`, `0x1f`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `up{job="a"} @ 10 offset 5m`
    Vector(Box<VectorSelector>),
    /// `up[5m]`
    Matrix(Box<MatrixSelector>),
    /// `(up + 1)[1h:5m]`
    Subquery(Box<Subquery>),
    /// `rate(up[5m])`
    Call(Box<Call>),
    /// `sum by (job) (up)`
    Aggregate(Box<Aggregate>),
    /// `a + on (job) b`
    Binary(Box<Binary>),
    /// `-a`
    Unary(Box<Unary>),
    /// `(a)`
    Paren(Box<Paren>),
    /// An expression whose value is the same at every step; only [`Expr::resolve`] makes these, around the outermost
    /// such expression, so they are never nested.
    StepInvariant(Box<Expr>),
}

impl Expr {
    /// Where the expression is in the query, without surrounding space.
    pub fn span(&self) -> Span {
        match self {
            Self::Number(node) => node.span,
            Self::String(node) => node.span,
            Self::Vector(node) => node.span,
            Self::Matrix(node) => node.span,
            Self::Subquery(node) => node.span,
            Self::Call(node) => node.span,
            Self::Aggregate(node) => node.span,
            Self::Binary(node) => node.lhs.span().to(node.rhs.span()),
            Self::Unary(node) => node.span,
            Self::Paren(node) => node.span,
            Self::StepInvariant(inner) => inner.span(),
        }
    }

    /// What the expression evaluates to.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::Vector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Call(call) => call.function.returns,
            Self::Binary(node) => match (node.lhs.value_type(), node.rhs.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Self::Unary(node) => node.expr.value_type(),
            Self::Paren(node) => node.expr.value_type(),
            Self::StepInvariant(inner) => inner.value_type(),
        }
    }

    /// The direct sub-expressions, in the order in which they are written.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(node) => vec![&node.expr],
            Self::Call(node) => node.args.iter().collect(),
            Self::Aggregate(node) => node.param.iter().chain([&node.expr]).collect(),
            Self::Binary(node) => vec![&node.lhs, &node.rhs],
            Self::Unary(node) => vec![&node.expr],
            Self::Paren(node) => vec![&node.expr],
            Self::StepInvariant(inner) => vec![inner],
        }
    }

    /// The direct sub-expressions, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(node) => vec![&mut node.expr],
            Self::Call(node) => node.args.iter_mut().collect(),
            Self::Aggregate(node) => node.param.iter_mut().chain([&mut node.expr]).collect(),
            Self::Binary(node) => vec![&mut node.lhs, &mut node.rhs],
            Self::Unary(node) => vec![&mut node.expr],
            Self::Paren(node) => vec![&mut node.expr],
            Self::StepInvariant(inner) => vec![inner],
        }
    }

    /// How many expressions are on the longest way down, this one included.
    pub fn height(&self) -> usize {
        1 + self.children().into_iter().map(Self::height).max().unwrap_or(0)
    }

    /// Calls `visit` for this expression and all below it, parents first.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Expr)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }

    /// Looks through parentheses and step-invariance marks.
    pub fn unwrapped(&self) -> &Expr {
        match self {
            Self::Paren(node) => node.expr.unwrapped(),
            Self::StepInvariant(inner) => inner.unwrapped(),
            other => other,
        }
    }

    /// The matchers of every selector, in the order in which they are written.
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut found = Vec::new();
        self.walk(&mut |expr| match expr {
            Self::Vector(node) => found.push(&node.matchers),
            Self::Matrix(node) => found.push(&node.selector.matchers),
            _ => {}
        });
        found
    }
}

/// A number.
#[derive(Clone, Debug)]
pub struct NumberLiteral {
    /// Its value; a duration's is in seconds.
    pub value: f64,
    /// Whether it was written as a duration (`5m`).
    pub is_duration: bool,
    /// With its sign.
    pub span: Span,
}

impl PartialEq for NumberLiteral {
    fn eq(&self, other: &Self) -> bool {
        (self.value == other.value || (self.value.is_nan() && other.value.is_nan()))
            && (self.is_duration, self.span) == (other.is_duration, other.span)
    }
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringLiteral {
    /// Without quotes and escapes; bytes that are not UTF-8 are replaced.
    pub value: String,
    /// The bytes, when escapes such as `\xff` made a text that is not UTF-8.
    pub not_utf8: Option<Box<[u8]>>,
    /// With its quotes.
    pub span: Span,
}

/// How a selector looks beyond its samples (experimental).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extend {
    /// Take the sample before the range as the range's first.
    Anchored,
    /// Interpolate at both ends of the range.
    Smoothed,
}

impl Extend {
    /// The keyword.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        }
    }
}

/// What follows `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`
    Time(Timestamp),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// `@` and `offset` of a selector or subquery, as written and as resolved. A selector that is evaluated for time `t`
/// looks at `at_time.unwrap_or(t) − offset.ms`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modifiers {
    /// `@` as written.
    pub at: Option<At>,
    /// `@` as a time, with `start()` and `end()` replaced; set by [`Expr::resolve`].
    pub at_time: Option<Timestamp>,
    /// `offset`, `None` when it is not written.
    pub offset: Option<Duration>,
}

impl Modifiers {
    /// The offset in milliseconds, 0 when there is none. Call after [`Expr::resolve`].
    pub fn offset_ms(&self) -> i64 {
        self.offset.as_ref().map_or(0, |offset| offset.ms)
    }
}

/// Selects the newest sample of each series within the look-back period.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name before the braces; `None` when the name is inside them or missing.
    pub name: Option<String>,
    /// All label tests; the one for `name` is last.
    pub matchers: Selector,
    /// `@` and `offset`. For the selector inside a [`MatrixSelector`] they apply to the range.
    pub modifiers: Modifiers,
    /// `anchored` or `smoothed`.
    pub extend: Option<Extend>,
    /// Of the whole selector with its modifiers; inside a [`MatrixSelector`] up to the bracket.
    pub span: Span,
}

/// Selects all samples of each series within a range.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// Which series, and `@`, `offset`, `anchored`, `smoothed`.
    pub selector: VectorSelector,
    /// How long the range is.
    pub range: Duration,
    /// Of the whole selector with its modifiers.
    pub span: Span,
}

/// Evaluates an expression at many instants.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How long the range is.
    pub range: Duration,
    /// Distance of the instants; `None` means the engine's default.
    pub step: Option<Duration>,
    /// `@` and `offset`.
    pub modifiers: Modifiers,
    /// Of the whole subquery with its modifiers.
    pub span: Span,
}

/// A length of time as written and in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Duration {
    /// As written.
    pub expr: DurationExpr,
    /// In milliseconds. Right from the start for a literal; other expressions hold 0 until [`Expr::resolve`].
    pub ms: i64,
}

/// An expression over durations (experimental but for literals).
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// `5m` or `300`
    Literal(NumberLiteral),
    /// `step()`, the query's step
    Step(Span),
    /// `range()`, the query's length
    Range(Span),
    /// `-d`
    Negative(Box<DurationExpr>, Span),
    /// `a + b`, `a * b`, …
    Binary(Box<DurationBinary>),
    /// `min_of(a, b)` (`true`) or `max_of(a, b)`
    MinMax(Box<DurationMinMax>),
    /// `(d)`
    Paren(Box<DurationExpr>, Span),
}

/// Arithmetic on two durations.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationBinary {
    /// `+ - * / % ^`
    pub op: BinaryOp,
    /// The left side.
    pub lhs: DurationExpr,
    /// The right side.
    pub rhs: DurationExpr,
}

/// The smaller or larger of two durations.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationMinMax {
    /// Whether it is `min_of`.
    pub is_min: bool,
    /// The first.
    pub lhs: DurationExpr,
    /// The second.
    pub rhs: DurationExpr,
    /// With the function's name.
    pub span: Span,
}

impl DurationExpr {
    /// Where it is in the query.
    pub fn span(&self) -> Span {
        match self {
            Self::Literal(number) => number.span,
            Self::Step(span) | Self::Range(span) | Self::Negative(_, span) | Self::Paren(_, span) => *span,
            Self::Binary(node) => node.lhs.span().to(node.rhs.span()),
            Self::MinMax(node) => node.span,
        }
    }
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which function.
    pub function: &'static Function,
    /// Its arguments; their number and types have been checked.
    pub args: Vec<Expr>,
    /// From the name to the closing parenthesis.
    pub span: Span,
}

/// An aggregation operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are PromQL's")]
pub enum AggregateOp {
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    LimitRatio,
    Limitk,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
}

impl AggregateOp {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Avg,
        Self::Bottomk,
        Self::Count,
        Self::CountValues,
        Self::Group,
        Self::LimitRatio,
        Self::Limitk,
        Self::Max,
        Self::Min,
        Self::Quantile,
        Self::Stddev,
        Self::Stdvar,
        Self::Sum,
        Self::Topk,
    ];

    /// The keyword.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Bottomk => "bottomk",
            Self::Count => "count",
            Self::CountValues => "count_values",
            Self::Group => "group",
            Self::LimitRatio => "limit_ratio",
            Self::Limitk => "limitk",
            Self::Max => "max",
            Self::Min => "min",
            Self::Quantile => "quantile",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Sum => "sum",
            Self::Topk => "topk",
        }
    }

    /// Whether it takes a parameter before the vector.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            Self::Topk | Self::Bottomk | Self::CountValues | Self::Quantile | Self::Limitk | Self::LimitRatio
        )
    }

    /// Whether it must be switched on.
    pub fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

impl fmt::Display for AggregateOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An aggregation over the series of a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which aggregation.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Expr,
    /// `k`, the quantile, the label's name, …; there is one exactly if [`AggregateOp::has_param`].
    pub param: Option<Expr>,
    /// The labels of `by` or `without`; empty when neither is written.
    pub grouping: Vec<String>,
    /// Whether `grouping` lists what is dropped.
    pub without: bool,
    /// From the operator to the last parenthesis.
    pub span: Span,
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
    /// `</`: keeps of a native histogram what is below
    TrimUpper,
    /// `>/`: keeps of a native histogram what is above
    TrimLower,
}

impl BinaryOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
        }
    }

    /// `== != < <= > >=`
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual
        )
    }

    /// `and or unless`
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operator between two expressions.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which operator.
    pub op: BinaryOp,
    /// The left side.
    pub lhs: Expr,
    /// The right side.
    pub rhs: Expr,
    /// Whether a comparison gives 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series are matched; `None` unless both sides are vectors.
    pub matching: Option<VectorMatching>,
}

/// How many series of one side may match one of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// The default.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Of set operators.
    ManyToMany,
}

impl Cardinality {
    /// The name in the HTTP API: `one-to-one`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneToOne => "one-to-one",
            Self::ManyToOne => "many-to-one",
            Self::OneToMany => "one-to-many",
            Self::ManyToMany => "many-to-many",
        }
    }
}

/// How the series of two vectors are matched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorMatching {
    /// How many match how many.
    pub cardinality: Cardinality,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether `labels` lists what must be equal, rather than what is ignored.
    pub on: bool,
    /// The labels that `group_left` or `group_right` takes over from the "one" side.
    pub include: Vec<String>,
    /// Value for a series that the left side lacks (`fill`, `fill_left`; experimental).
    pub fill_left: Option<f64>,
    /// Value for a series that the right side lacks (`fill`, `fill_right`; experimental).
    pub fill_right: Option<f64>,
}

/// A sign before an expression that is no number.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Whether it is `-` rather than `+`.
    pub negative: bool,
    /// What follows.
    pub expr: Expr,
    /// With the sign.
    pub span: Span,
}

/// An expression in parentheses.
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// What is inside.
    pub expr: Expr,
    /// With the parentheses.
    pub span: Span,
}
