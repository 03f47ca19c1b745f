//! From an expression to what is fetched and computed for it.
//!
//! A [`Plan`] is a list of nodes, children before parents, each with the grid of instants at which it is evaluated: a
//! subquery's inner nodes have the subquery's grid, a part that is the same at every step has one step. Times are all
//! resolved here, so that the evaluator only looks at `reference ± range`. Equal parts are one node, and selectors with the
//! same matchers whose ranges overlap are fetched once.

use std::collections::HashMap;
use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::matcher::MatchOp;
use model::seam::{Select, SelectHints};
use model::{Labels, Matcher, Timestamp};

use crate::ast::{
    AggregateOp, BinaryOp, Expr, Extend, Modifiers, Span, ValueType, VectorMatching, VectorSelector,
};
use crate::eval::error::Error;
use crate::eval::matrix::Grid;
use crate::eval::window::{Reference, Windows};
use crate::functions::FunctionId;
use crate::stack::with_room;

/// How queries are evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalOptions {
    /// An instant selector sees samples that are younger than this. Milliseconds; Prometheus' default is 5 minutes.
    pub look_back_ms: i64,
    /// The step of subqueries that do not say theirs. Milliseconds; Prometheus uses the global evaluation interval.
    pub subquery_step_ms: i64,
    /// Metric names are dropped at the end of the evaluation, so that `label_replace` can still see them. Off in
    /// Prometheus unless `promql-delayed-name-removal` is on.
    pub delayed_name_removal: bool,
    /// `__type__` decides whether a metric is a counter, not its name (`type-and-unit-labels`).
    pub type_and_unit_labels: bool,
    /// Start timestamps tell of counter resets and of a counter's first value.
    pub start_timestamps: bool,
    /// Count samples for each step.
    pub per_step_stats: bool,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            look_back_ms: 300_000,
            subquery_step_ms: 60_000,
            delayed_name_removal: false,
            type_and_unit_labels: false,
            start_timestamps: false,
            per_step_stats: false,
        }
    }
}

impl EvalOptions {
    /// Prometheus' defaults with delayed name removal and start timestamps switched on.
    pub fn all() -> Self {
        Self { delayed_name_removal: true, start_timestamps: true, ..Self::default() }
    }
}

/// When a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Once.
    Instant(Timestamp),
    /// At `start`, `start + step_ms`, … up to `end`.
    Range {
        /// The first instant.
        start: Timestamp,
        /// No instant is later.
        end: Timestamp,
        /// At least 1.
        step_ms: i64,
    },
}

/// The largest time of a step, in milliseconds: some 70 million years.
const MAX_TIME: i64 = i64::MAX / 4;

/// The most steps of one grid.
const MAX_STEPS: i64 = 50_000_000;

pub(crate) type NodeId = usize;

/// An instant vector selector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selector {
    /// Position in [`Plan::selects`].
    pub(crate) select: usize,
    pub(crate) windows: Windows,
}

/// Where a range function's samples come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RangeSource {
    /// Position in [`Plan::selects`].
    Select(usize),
    /// A node on the subquery's grid.
    Subquery(NodeId),
}

/// What a node computes.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Number(f64),
    Text(String),
    /// The one step of a node at all steps.
    Broadcast(NodeId),
    Select(Selector),
    /// The time of the sample that a selector finds, or with `start` its start timestamp. Seconds.
    SampleTime {
        selector: Selector,
        start: bool,
    },
    /// The samples of a range themselves; only as the whole query.
    Points {
        source: RangeSource,
        windows: Windows,
    },
    /// A function of a range; `args` are its scalars.
    Range {
        function: FunctionId,
        source: RangeSource,
        windows: Windows,
        args: Vec<NodeId>,
        absent: Option<Labels>,
    },
    /// Any other function.
    Call {
        function: FunctionId,
        args: Vec<NodeId>,
        absent: Option<Labels>,
    },
    Info(Arc<InfoNode>),
    Aggregate {
        op: AggregateOp,
        input: NodeId,
        param: Option<NodeId>,
        grouping: Vec<String>,
        without: bool,
    },
    Binary {
        op: BinaryOp,
        left: NodeId,
        right: NodeId,
        return_bool: bool,
        matching: Option<Arc<VectorMatching>>,
    },
    Negative(NodeId),
}

/// `info(input, {…})`
#[derive(Clone, Debug)]
pub(crate) struct InfoNode {
    pub(crate) input: NodeId,
    pub(crate) selector: Selector,
    /// Tests of the info metric's name.
    pub(crate) name_matchers: Vec<Matcher>,
    /// Tests of its other labels; only labels that one of them names are added, all when there is none.
    pub(crate) data_matchers: Vec<Matcher>,
}

/// One step of the computation.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) value_type: ValueType,
    pub(crate) grid: Grid,
    /// The expression in the query.
    pub(crate) span: Span,
    /// Its arguments, or operands, in the query.
    pub(crate) arg_spans: Vec<Span>,
    /// How many nodes use it.
    pub(crate) uses: u32,
}

impl Node {
    pub(crate) fn inputs(&self) -> Vec<NodeId> {
        let source = |source: &RangeSource| match source {
            RangeSource::Select(_) => None,
            RangeSource::Subquery(node) => Some(*node),
        };
        match &self.kind {
            Kind::Number(_) | Kind::Text(_) | Kind::Select(_) | Kind::SampleTime { .. } => Vec::new(),
            Kind::Broadcast(input) | Kind::Negative(input) => vec![*input],
            Kind::Points { source: from, .. } => source(from).into_iter().collect(),
            Kind::Range { source: from, args, .. } => {
                source(from).into_iter().chain(args.iter().copied()).collect()
            }
            Kind::Call { args, .. } => args.clone(),
            Kind::Info(info) => vec![info.input],
            Kind::Aggregate { input, param, .. } => param.iter().copied().chain([*input]).collect(),
            Kind::Binary { left, right, .. } => vec![*left, *right],
        }
    }

    /// In a few words, for people.
    pub(crate) fn title(&self, selects: &[Select]) -> String {
        let select = |at: usize| {
            let tests: Vec<_> = selects[at].matchers.iter().map(ToString::to_string).collect();
            format!("{{{}}}", tests.join(","))
        };
        let source = |from: &RangeSource, windows: &Windows| match from {
            RangeSource::Select(at) => format!("{}[{}ms]", select(*at), windows.range),
            RangeSource::Subquery(_) => format!("subquery of {} ms", windows.range),
        };
        match &self.kind {
            Kind::Number(value) => crate::number::go_g(*value),
            Kind::Text(text) => format!("{text:?}"),
            Kind::Broadcast(_) => "every step".to_owned(),
            Kind::Select(selector) => select(selector.select),
            Kind::SampleTime { selector, start } => {
                format!("{}timestamp({})", if *start { "start_" } else { "" }, select(selector.select))
            }
            Kind::Points { source: from, windows } => source(from, windows),
            Kind::Range { function, source: from, windows, .. } => {
                format!("{}({})", function.as_str(), source(from, windows))
            }
            Kind::Call { function, .. } => function.as_str().to_owned(),
            Kind::Info(_) => "info".to_owned(),
            Kind::Aggregate { op, grouping, without, .. } => {
                let how = if *without { "without" } else { "by" };
                format!("{op} {how} ({})", grouping.join(", "))
            }
            Kind::Binary { op, .. } => op.as_str().to_owned(),
            Kind::Negative(_) => "-".to_owned(),
        }
    }
}

/// A query that is ready to be fetched for and evaluated.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
    pub(crate) grid: Grid,
    pub(crate) instant: bool,
    /// The end of the range as asked for, which need not be a step.
    pub(crate) end: i64,
    pub(crate) options: EvalOptions,
    selects: Vec<Select>,
}

impl Plan {
    /// What to fetch: the answers go to [`crate::evaluate`] in this order.
    pub fn selects(&self) -> &[Select] {
        &self.selects
    }

    /// What the query gives.
    pub fn value_type(&self) -> ValueType {
        match self.nodes[self.root].value_type {
            ValueType::Scalar | ValueType::Vector if !self.instant => ValueType::Matrix,
            other => other,
        }
    }

    /// How many steps are evaluated.
    pub fn steps(&self) -> usize {
        self.grid.count
    }

    /// The steps of all nodes together, and the longest range that one of them looks at, in milliseconds.
    pub fn size(&self) -> (usize, i64) {
        let steps = self.nodes.iter().map(|node| node.grid.count).fold(0, usize::saturating_add);
        let range = |node: &Node| match &node.kind {
            Kind::Points { windows, .. } | Kind::Range { windows, .. } => windows.range,
            _ => 0,
        };
        (steps, self.nodes.iter().map(range).max().unwrap_or(0))
    }

    /// How far before and after a step's time the samples may be that its value depends on, in milliseconds; `None` when it
    /// depends on samples at fixed times (`@`), or the query has one step.
    pub fn reach(&self) -> Option<(i64, i64)> {
        let fixed = |node: &Node| match &node.kind {
            Kind::Select(selector) | Kind::SampleTime { selector, .. } => {
                selector.windows.reference.fixed.is_some()
            }
            Kind::Points { windows, .. } | Kind::Range { windows, .. } => windows.reference.fixed.is_some(),
            Kind::Info(info) => info.selector.windows.reference.fixed.is_some(),
            _ => false,
        };
        if self.instant || self.grid.count == 0 || self.nodes.iter().any(fixed) {
            return None;
        }
        // The instants of a subquery are multiples of its step: one window may begin nearer to one than another does.
        let slack: i64 =
            self.nodes.iter().filter(|node| node.grid != self.grid).map(|node| node.grid.step).sum();
        let last = self.grid.at(self.grid.count - 1);
        let before = self.selects.iter().map(|select| self.grid.start - select.start.0).max().unwrap_or(0);
        let after = self.selects.iter().map(|select| select.end.0 - last).max().unwrap_or(0);
        Some((before.max(0).saturating_add(slack), after.max(0).saturating_add(slack)))
    }
}

/// Plans the evaluation of `expr` at `times`.
///
/// # Errors
/// When a duration expression has no usable value, the range has no step or too many, or a range query does not give
/// numbers.
pub fn plan(expr: &Expr, times: Times, options: &EvalOptions) -> Result<Plan, Error> {
    let (start, end, step_ms) = match times {
        Times::Instant(at) => (at, at, 0),
        Times::Range { start, end, step_ms } => (start, end, step_ms),
    };
    let instant = matches!(times, Times::Instant(_));
    if !instant && step_ms < 1 {
        return Err(Error::Plan(format!("the step must be positive, not {step_ms} ms")));
    }
    for time in [start, end] {
        if !(-MAX_TIME..=MAX_TIME).contains(&time.0) {
            return Err(Error::Plan(format!("the time {time} ms is further than {MAX_TIME} ms from 1970")));
        }
    }
    if !instant && !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
        let found = expr.value_type().documented();
        return Err(Error::Plan(format!(
            "invalid expression type \"{found}\" for range query, must be Scalar or instant Vector"
        )));
    }
    let grid = grid(start.0, end.0, step_ms.max(1))?;
    let expr = expr.clone().resolve(start, end, step_ms).map_err(|err| Error::Plan(err.to_string()))?;
    let mut planner = Planner { options, nodes: Vec::new(), selects: Vec::new(), known: HashMap::new() };
    let root =
        with_room(expr.height(), || planner.build(&expr, grid, &mut Vec::new())).map_err(Error::Thread)??;
    planner.nodes[root].uses += 1;
    Ok(Plan {
        nodes: planner.nodes,
        root,
        grid,
        instant,
        end: end.0,
        options: options.clone(),
        selects: planner.selects,
    })
}

fn grid(start: i64, end: i64, step: i64) -> Result<Grid, Error> {
    if start > end {
        return Ok(Grid { start, step, count: 0 });
    }
    let steps = end.saturating_sub(start) / step;
    if steps >= MAX_STEPS {
        return Err(Error::Plan(format!(
            "{steps} steps are more than {MAX_STEPS}; widen the step or shorten the range"
        )));
    }
    Ok(Grid { start, step, count: steps as usize + 1 })
}

struct Planner<'o> {
    options: &'o EvalOptions,
    nodes: Vec<Node>,
    selects: Vec<Select>,
    /// Equal nodes are built once.
    known: HashMap<String, NodeId>,
}

impl Planner<'_> {
    fn node(&mut self, expr: &Expr, kind: Kind, grid: Grid) -> NodeId {
        let arg_spans = expr.children().iter().map(|child| child.span()).collect();
        self.node_with(kind, expr.value_type(), grid, expr.span(), arg_spans)
    }

    fn node_with(
        &mut self,
        kind: Kind,
        value_type: ValueType,
        grid: Grid,
        span: Span,
        arg_spans: Vec<Span>,
    ) -> NodeId {
        let key = format!("{kind:?} {grid:?}");
        if let Some(&id) = self.known.get(&key) {
            return id;
        }
        let node = Node { kind, value_type, grid, span, arg_spans, uses: 0 };
        for input in node.inputs() {
            self.nodes[input].uses += 1;
        }
        self.nodes.push(node);
        self.known.insert(key, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// `around`: the functions and aggregations around `expr`, outermost first; "" for anything else.
    fn build(&mut self, expr: &Expr, grid: Grid, around: &mut Vec<&'static str>) -> Result<NodeId, Error> {
        let kind = match expr {
            Expr::StepInvariant(inner) => {
                let input = self.build(inner, grid.first(), around)?;
                if grid.count <= 1 {
                    return Ok(input);
                }
                Kind::Broadcast(input)
            }
            Expr::Paren(node) => return self.build(&node.expr, grid, around),
            Expr::Number(node) => Kind::Number(node.value),
            Expr::String(node) => Kind::Text(node.value.clone()),
            Expr::Vector(node) => Kind::Select(self.selector(node, grid, around)),
            Expr::Matrix(_) | Expr::Subquery(_) => {
                let (source, windows) = self.range(expr, grid, around)?;
                Kind::Points { source, windows }
            }
            Expr::Unary(node) => {
                around.push("");
                let input = self.build(&node.expr, grid, around)?;
                around.pop();
                if !node.negative {
                    return Ok(input);
                }
                Kind::Negative(input)
            }
            Expr::Binary(node) => {
                around.push("");
                let left = self.build(&node.lhs, grid, around)?;
                let right = self.build(&node.rhs, grid, around)?;
                around.pop();
                let matching = node.matching.clone().map(Arc::new);
                Kind::Binary { op: node.op, left, right, return_bool: node.return_bool, matching }
            }
            Expr::Aggregate(node) => {
                if let (AggregateOp::CountValues, Some(Expr::String(label))) =
                    (node.op, node.param.as_ref().map(Expr::unwrapped))
                    && label.not_utf8.is_some()
                {
                    return Err(Error::Plan(format!("invalid label name {label}")));
                }
                around.push(node.op.as_str());
                let param = node.param.as_ref().map(|param| self.build(param, grid, around)).transpose()?;
                let input = self.build(&node.expr, grid, around)?;
                around.pop();
                let mut grouping = node.grouping.clone();
                grouping.sort_unstable();
                grouping.dedup();
                Kind::Aggregate { op: node.op, input, param, grouping, without: node.without }
            }
            Expr::Call(_) => return self.call(expr, grid, around),
        };
        Ok(self.node(expr, kind, grid))
    }

    fn call(&mut self, expr: &Expr, grid: Grid, around: &mut Vec<&'static str>) -> Result<NodeId, Error> {
        let Expr::Call(call) = expr else { unreachable!("only called for calls") };
        let function = call.function.id;
        around.push(function.as_str());
        if matches!(function, FunctionId::LabelReplace | FunctionId::LabelJoin) {
            check_label_names(&call.args, call.function.name)?;
        }
        let kind = match function {
            FunctionId::Info => self.info(&call.args, grid, around)?,
            FunctionId::Timestamp | FunctionId::StartTimestamp
                if let Expr::Vector(selector) = call.args[0].unwrapped() =>
            {
                let selector = self.selector(selector, grid, around);
                Kind::SampleTime { selector, start: function == FunctionId::StartTimestamp }
            }
            _ => {
                let mut args = Vec::new();
                let mut range = None;
                for arg in &call.args {
                    let inner = strip(arg);
                    if inner.value_type() == ValueType::Matrix {
                        check_extend(inner, call.function.name)?;
                        range = Some(self.range(inner, grid, around)?);
                    } else {
                        args.push(self.build(arg, grid, around)?);
                    }
                }
                let absent = matches!(function, FunctionId::Absent | FunctionId::AbsentOverTime)
                    .then(|| absent_labels(call.args[0].unwrapped()));
                match range {
                    Some((source, windows)) => Kind::Range { function, source, windows, args, absent },
                    None => Kind::Call { function, args, absent },
                }
            }
        };
        around.pop();
        Ok(self.node(expr, kind, grid))
    }

    fn info(&mut self, args: &[Expr], grid: Grid, around: &mut Vec<&'static str>) -> Result<Kind, Error> {
        let input = self.build(&args[0], grid, around)?;
        let reference = info_reference(&args[0]).unwrap_or(Reference { fixed: None, offset: 0 });
        let matchers = match args.get(1).map(Expr::unwrapped) {
            Some(Expr::Vector(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut name_matchers, data_matchers): (Vec<_>, Vec<_>) =
            matchers.into_iter().partition(|matcher| matcher.name() == METRIC_NAME);
        let positive = |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
        if name_matchers.is_empty() {
            name_matchers.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if !name_matchers.iter().any(positive) {
            // "Not this one" means one of the others that are info metrics by their name.
            let others = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info");
            name_matchers.push(others.map_err(|err| Error::Plan(err.to_string()))?);
        }
        let windows = Windows::new(reference, self.options.look_back_ms, None, 0);
        let all: Vec<_> = name_matchers.iter().chain(&data_matchers).cloned().collect();
        let select = self.select(&all, windows.span(&grid), grid, 0, "info");
        let selector = Selector { select, windows };
        Ok(Kind::Info(Arc::new(InfoNode { input, selector, name_matchers, data_matchers })))
    }

    fn selector(&mut self, node: &VectorSelector, grid: Grid, around: &[&'static str]) -> Selector {
        let mut windows = Windows::new(reference(&node.modifiers), self.options.look_back_ms, node.extend, 0);
        if node.extend == Some(Extend::Smoothed) {
            windows.after = self.options.look_back_ms;
        }
        windows.detect_resets = only_statistics(around);
        let select = self.select(&node.matchers, windows.span(&grid), grid, 0, nearest(around));
        Selector { select, windows }
    }

    fn range(
        &mut self,
        expr: &Expr,
        grid: Grid,
        around: &mut Vec<&'static str>,
    ) -> Result<(RangeSource, Windows), Error> {
        match expr {
            Expr::Matrix(node) => {
                let selector = &node.selector;
                let mut windows = Windows::new(
                    reference(&selector.modifiers),
                    node.range.ms,
                    selector.extend,
                    self.options.look_back_ms,
                );
                windows.detect_resets = only_statistics(around);
                let select = self.select(
                    &selector.matchers,
                    windows.span(&grid),
                    grid,
                    node.range.ms,
                    nearest(around),
                );
                Ok((RangeSource::Select(select), windows))
            }
            Expr::Subquery(node) => {
                let windows = Windows::new(reference(&node.modifiers), node.range.ms, None, 0);
                let step = node.step.as_ref().map_or(0, |step| step.ms);
                let step = if step > 0 { step } else { self.options.subquery_step_ms.max(1) };
                let (after, until) = windows.span(&grid);
                // The first multiple of the step within the range.
                let first = after.div_euclid(step).saturating_add(1).saturating_mul(step);
                let mut inner = self::grid(first, until, step)?;
                if grid.count == 0 {
                    inner.count = 0;
                }
                around.push(SUBQUERY);
                let input = self.build(&node.expr, inner, around)?;
                around.pop();
                Ok((RangeSource::Subquery(input), windows))
            }
            Expr::Paren(node) => self.range(&node.expr, grid, around),
            Expr::StepInvariant(inner) => self.range(inner, grid, around),
            _ => Err(Error::Plan("a range vector must be a selector or a subquery".to_owned())),
        }
    }

    /// The select for `(start, end]`: an earlier one with the same matchers, widened, when the two overlap.
    fn select(
        &mut self,
        matchers: &[Matcher],
        (start, end): (i64, i64),
        grid: Grid,
        range_ms: i64,
        function: &'static str,
    ) -> usize {
        let known = self
            .selects
            .iter_mut()
            .position(|select| select.matchers == matchers && select.start.0 <= end && start <= select.end.0);
        if let Some(at) = known {
            let select = &mut self.selects[at];
            select.start = select.start.min(Timestamp(start));
            select.end = select.end.max(Timestamp(end));
            if (select.hints.range_ms, select.hints.function) != (range_ms, function) {
                select.hints.range_ms = 0;
                select.hints.function = "";
            }
            return at;
        }
        let step_ms = if grid.count > 1 { grid.step } else { 0 };
        self.selects.push(Select {
            matchers: matchers.to_vec(),
            start: Timestamp(start),
            end: Timestamp(end),
            hints: SelectHints { step_ms, range_ms, function, limit: 0 },
        });
        self.selects.len() - 1
    }
}

/// Stands for a subquery among the names of functions and aggregations.
const SUBQUERY: &str = "[]";

/// The function or aggregation directly around, as a hint for the storage.
fn nearest(around: &[&'static str]) -> &'static str {
    around.last().copied().filter(|name| *name != SUBQUERY).unwrap_or("")
}

/// Whether only the count and the sum of histograms matter: resets are then known from storage, or found on the way.
fn only_statistics(around: &[&'static str]) -> bool {
    let mut only = false;
    for name in around.iter().rev() {
        match *name {
            SUBQUERY | "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => return false,
            "histogram_count" | "histogram_sum" | "histogram_avg" => only = true,
            _ => {}
        }
    }
    only
}

/// Without parentheses and marks.
fn strip(expr: &Expr) -> &Expr {
    expr.unwrapped()
}

fn reference(modifiers: &Modifiers) -> Reference {
    let offset = modifiers.offset_ms();
    // No sample is further away, and offsets and ranges can be added without overflow.
    let fixed = modifiers.at_time.map(|at| at.0.clamp(-MAX_TIME, MAX_TIME) - offset);
    Reference { fixed, offset }
}

/// Where the first selector of an expression looks: the info series are read there too.
fn info_reference(expr: &Expr) -> Option<Reference> {
    match expr {
        Expr::Vector(node) => Some(reference(&node.modifiers)),
        Expr::Matrix(node) => Some(reference(&node.selector.modifiers)),
        Expr::Subquery(node) => {
            let (inner, outer) = (info_reference(&node.expr)?, reference(&node.modifiers));
            Some(Reference {
                fixed: inner.fixed.or(outer.fixed.map(|at| at.saturating_sub(inner.offset))),
                offset: outer.offset.saturating_add(inner.offset),
            })
        }
        other => other.children().into_iter().find_map(info_reference),
    }
}

/// `anchored` and `smoothed` windows hold samples outside the range, which most functions could not tell from the others.
fn check_extend(expr: &Expr, function: &str) -> Result<(), Error> {
    let Expr::Matrix(node) = expr else { return Ok(()) };
    let (extend, allowed): (_, &[&str]) = match node.selector.extend {
        None => return Ok(()),
        Some(Extend::Anchored) => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Some(Extend::Smoothed) => ("smoothed", &["delta", "increase", "rate"]),
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(Error::Plan(format!("{extend} modifier can only be used with: {allowed} - not with {function}")))
}

/// Label names are UTF-8.
fn check_label_names(args: &[Expr], function: &str) -> Result<(), Error> {
    for (at, arg) in args.iter().enumerate() {
        let which = match at {
            1 => "destination",
            3.. if function == "label_join" => "source",
            _ => continue,
        };
        if let Expr::String(name) = arg.unwrapped()
            && name.not_utf8.is_some()
        {
            return Err(Error::Plan(format!("invalid {which} label name in {function}(): {name}")));
        }
    }
    Ok(())
}

/// The labels that a selector's `=` tests determine.
fn absent_labels(expr: &Expr) -> Labels {
    let matchers = match expr {
        Expr::Vector(node) => &node.matchers,
        Expr::Matrix(node) => &node.selector.matchers,
        _ => return Labels::empty(),
    };
    let mut labels: Vec<(&str, &str)> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            labels.push((matcher.name(), matcher.value()));
            seen.push(matcher.name());
        } else {
            // Two tests of one label do not determine it.
            labels.retain(|(name, _)| *name != matcher.name());
        }
    }
    Labels::from_pairs(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, parse};

    fn planned(query: &str, times: Times) -> Result<Plan, Error> {
        plan(&parse(query, &Options::all()).unwrap(), times, &EvalOptions::default())
    }

    const RANGE: Times =
        Times::Range { start: Timestamp(600_000), end: Timestamp(1_200_000), step_ms: 60_000 };

    #[test]
    fn selectors_are_fetched_once_where_their_ranges_meet() {
        let ranges = |query| {
            let plan = planned(query, RANGE).unwrap();
            plan.selects()
                .iter()
                .map(|select| (select.start.0 / 1000, select.end.0 / 1000))
                .collect::<Vec<_>>()
        };
        assert_eq!(ranges("up"), [(300, 1200)]);
        assert_eq!(ranges("rate(up[10m])"), [(0, 1200)]);
        assert_eq!(ranges("up + rate(up[10m]) - up offset 5m"), [(0, 1200)]);
        assert_eq!(ranges("up - up offset 1d"), [(300, 1200), (300 - 86_400, 1200 - 86_400)]);
        assert_eq!(ranges("up{a=\"b\"} or up"), [(300, 1200), (300, 1200)]);
        assert_eq!(ranges("up @ 5 + up @ end()"), [(-295, 5), (900, 1200)]);
        assert_eq!(ranges("max_over_time(rate(up[1m])[10m:2m] offset 1m)"), [(-60, 1080)]);
        assert_eq!(ranges("time() + 1"), []);
    }

    #[test]
    fn equal_parts_are_one_node() {
        let plan = planned("rate(up[5m]) / on () sum(rate(up[5m]))", RANGE).unwrap();
        assert_eq!(plan.nodes.len(), 3);
        assert_eq!(plan.nodes[0].uses, 2);
    }

    #[test]
    fn constant_parts_have_one_step() {
        let plan = planned("up + sum(up @ 10)", RANGE).unwrap();
        let steps: Vec<_> = plan.nodes.iter().map(|node| node.grid.count).collect();
        assert_eq!(steps, [11, 1, 1, 11, 11]);
    }

    #[test]
    fn unusable_times_are_refused() {
        let range =
            |start, end, step_ms| Times::Range { start: Timestamp(start), end: Timestamp(end), step_ms };
        assert!(planned("up", range(0, 10, 0)).is_err());
        assert!(planned("up", range(0, i64::MAX / 8, 1)).is_err());
        assert!(planned("up", range(i64::MIN, 0, 1)).is_err());
        assert!(planned("up[5m]", range(0, 10, 1)).is_err());
        assert!(planned("\"text\"", range(0, 10, 1)).is_err());
        assert_eq!(planned("up", range(10, 0, 1)).unwrap().steps(), 0);
        assert_eq!(planned("up[5m]", Times::Instant(Timestamp(0))).unwrap().value_type(), ValueType::Matrix);
    }
}
