//! Evaluation of a [`Plan`] on the series that were fetched for it.
//!
//! Vectors flow as [`stream::Stream`]s: the labels of all series at once, their values a batch of series at a time, on
//! as many threads as allowed. Aggregations consume a stream without materialising it; operators that need all series side
//! by side collect it into a [`matrix::Matrix`]. Batches are cut and joined in an order that does not depend on the number
//! of threads, so that answers repeat to the last bit. Nothing here waits: no I/O, no runtime.
//!
//! | module | holds |
//! |---|---|
//! | `matrix`, `window` | columns of values on a grid; the samples that each step looks at |
//! | `stream` | series in batches, and what is done to each |
//! | `metas` | the labels of a stream's series, made when somebody asks |
//! | `range`, `kernels` | functions of range vectors: any window one by one; float series in one pass |
//! | `extended`, `notes` | ranges with `anchored` or `smoothed` ends; what came up in a range |
//! | `instant`, `buckets`, `labels`, `sorting` | functions of instant vectors: of values, of classic histograms, of labels, of order |
//! | `aggregate`, `choose` | aggregations into groups; `topk`, `limitk` and their kin |
//! | `binary`, `element` | operators between vectors; between two samples |
//! | `info` | `info()` |
//! | `date` | the calendar |

mod aggregate;
mod binary;
mod buckets;
mod choose;
pub(crate) mod date;
mod element;
pub(crate) mod error;
mod extended;
mod info;
mod instant;
mod kernels;
mod labels;
pub(crate) mod matrix;
mod metas;
mod notes;
mod range;
mod sorting;
mod stream;
pub(crate) mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use model::budget::{Budget, OverBudget, Reservation};
use model::seam::Selected;

use self::error::Error;
use self::matrix::{Grid, Matrix, Row};
use self::metas::{Metas, Name};
use self::stream::{Stream, Worker};
use crate::annotations::{Annotations, Message};
use crate::ast::{Span, ValueType};
use crate::functions::FunctionId;
use crate::plan::{Kind, Node, NodeId, Plan, RangeSource};
use crate::result::{NodeStats, QueryResult, Series, Stats};
use crate::rows::{Evaluated, Rows, RowsValue};
use crate::stack::with_room;

/// What a query may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Samples in memory at once, of intermediate results and the series being read. A histogram counts as its size in
    /// units of 16 bytes.
    pub max_samples: u64,
    /// Series that all selectors together may find.
    pub max_series: u64,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Threads to compute on; at least 1.
    pub threads: usize,
}

impl Default for Limits {
    /// 50 million samples, 10 million series, no deadline, all processors.
    fn default() -> Self {
        Self {
            max_samples: 50_000_000,
            max_series: 10_000_000,
            deadline: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Evaluates `plan` on what its [`Plan::selects`] found, in the same order. Memory is reserved from `budget` before it is
/// used; setting `cancel` stops the evaluation at the next batch.
///
/// # Errors
/// When a limit is reached, the deadline passes, the query is cancelled, the storage fails, or the data makes the query
/// invalid (label sets that clash, parameters out of range).
pub fn evaluate(
    plan: &Plan,
    selected: Vec<Selected>,
    limits: &Limits,
    budget: &Arc<Budget>,
    cancel: &AtomicBool,
) -> Result<QueryResult, Error> {
    let Evaluated { value, annotations, stats } = evaluate_rows(plan, selected, limits, budget, cancel)?;
    Ok(QueryResult { value: value.into_value(), annotations, stats })
}

/// As [`evaluate`], with the answer as columns: half the memory, and still accounted for in `budget` until it is dropped.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_rows(
    plan: &Plan,
    selected: Vec<Selected>,
    limits: &Limits,
    budget: &Arc<Budget>,
    cancel: &AtomicBool,
) -> Result<Evaluated, Error> {
    if selected.len() != plan.selects().len() {
        return Err(Error::Plan(format!(
            "{} selectors were fetched for a plan of {}",
            selected.len(),
            plan.selects().len()
        )));
    }
    let found = selected.iter().map(|selected| selected.series.len() as u64).sum();
    if found > limits.max_series {
        return Err(Error::TooManySeries { found, limit: limits.max_series });
    }
    let mut annotations = Annotations::default();
    for warning in selected.iter().flat_map(|selected| &selected.warnings) {
        annotations.add(Message::Storage(warning.clone()), Span::default());
    }
    let context = Context {
        plan,
        selected,
        limits,
        budget,
        cancel,
        held: Arc::default(),
        peak: AtomicU64::new(0),
        samples: AtomicU64::new(0),
    };
    let mut evaluator = Evaluator {
        context: &context,
        annotations,
        known: HashMap::new(),
        nodes: vec![NodeStats::default(); plan.nodes.len()],
        per_step: plan.options.per_step_stats.then(|| vec![0; plan.grid.count]),
    };
    context.check()?;
    // No path through the plan is longer than its nodes are many.
    let value = with_room(plan.nodes.len(), || evaluator.query()).map_err(Error::Thread)??;
    let Evaluator { annotations, nodes, per_step, .. } = evaluator;
    let nodes = nodes
        .into_iter()
        .zip(&plan.nodes)
        .map(|(stats, node)| NodeStats { title: node.title(plan.selects()), inputs: node.inputs(), ..stats })
        .collect();
    let stats = Stats {
        samples: context.samples.load(Ordering::Relaxed),
        peak_samples: context.peak.load(Ordering::Relaxed),
        samples_per_step: per_step.map(|counts| {
            counts.into_iter().enumerate().map(|(step, count)| (plan.grid.at(step), count)).collect()
        }),
        series: found,
        nodes,
    };
    Ok(Evaluated { value, annotations, stats })
}

/// What all threads see.
pub(crate) struct Context<'q> {
    pub(crate) plan: &'q Plan,
    pub(crate) selected: Vec<Selected>,
    limits: &'q Limits,
    budget: &'q Arc<Budget>,
    cancel: &'q AtomicBool,
    /// Samples in memory.
    held: Arc<AtomicU64>,
    peak: AtomicU64,
    samples: AtomicU64,
}

/// Memory and samples that a matrix holds, given back when it is dropped.
#[derive(Debug, Default)]
pub struct Hold {
    reservations: Vec<Reservation>,
    samples: u64,
    counter: Option<Arc<AtomicU64>>,
}

impl Hold {
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.reservations.append(&mut other.reservations);
        self.samples += std::mem::take(&mut other.samples);
        if self.counter.is_none() {
            self.counter = other.counter.take();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(counter) = &self.counter {
            counter.fetch_sub(self.samples, Ordering::Relaxed);
        }
    }
}

impl Context<'_> {
    /// Whether to go on.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if self.limits.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::Timeout);
        }
        Ok(())
    }

    /// Reserves memory, before it is allocated.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Hold, Error> {
        Ok(reserve(self.budget, bytes)?)
    }

    /// Counts samples as held until `hold` is dropped.
    pub(crate) fn hold(&self, hold: &mut Hold, samples: u64) -> Result<(), Error> {
        hold.samples += samples;
        hold.counter = Some(Arc::clone(&self.held));
        let held = self.held.fetch_add(samples, Ordering::Relaxed) + samples;
        self.check_samples(held)
    }

    /// Checks the samples of a series that is being read.
    pub(crate) fn check_read(&self, samples: u64) -> Result<(), Error> {
        self.check_samples(self.held.load(Ordering::Relaxed) + samples)
    }

    fn check_samples(&self, held: u64) -> Result<(), Error> {
        self.peak.fetch_max(held, Ordering::Relaxed);
        if held > self.limits.max_samples {
            return Err(Error::TooManySamples { limit: self.limits.max_samples });
        }
        Ok(())
    }
}

/// Reserves memory, before it is allocated.
pub(crate) fn reserve(budget: &Arc<Budget>, bytes: u64) -> Result<Hold, OverBudget> {
    Ok(Hold { reservations: vec![budget.reserve(bytes)?], samples: 0, counter: None })
}

/// A number at each step.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    Same(f64),
    Each(Arc<Vec<f64>>),
}

impl Scalar {
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        match self {
            Self::Same(value) => *value,
            Self::Each(values) => values[step],
        }
    }

    /// All values, one if they are the same.
    pub(crate) fn values(&self) -> &[f64] {
        match self {
            Self::Same(value) => std::slice::from_ref(value),
            Self::Each(values) => values,
        }
    }
}

/// What a node evaluates to.
#[derive(Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    Text(String),
    Vector(Vector),
}

/// An instant vector.
#[derive(Clone)]
pub(crate) enum Vector {
    Ready(Arc<Matrix>),
    Lazy(Arc<Stream>),
}

pub(crate) struct Evaluator<'c, 'q> {
    pub(crate) context: &'c Context<'q>,
    pub(crate) annotations: Annotations,
    /// Values of nodes that are used more than once.
    known: HashMap<NodeId, Value>,
    nodes: Vec<NodeStats>,
    per_step: Option<Vec<u64>>,
}

impl<'q> Evaluator<'_, 'q> {
    pub(crate) fn node_of(&self, id: NodeId) -> &'q Node {
        &self.context.plan.nodes[id]
    }

    fn query(&mut self) -> Result<RowsValue, Error> {
        let plan = self.context.plan;
        let root = &plan.nodes[plan.root];
        if let Kind::Points { .. } = &root.kind {
            return self.points(root);
        }
        let value = self.eval(plan.root)?;
        let (instant, grid) = (plan.instant, plan.grid);
        match value {
            Value::Text(text) => Ok(RowsValue::String { time: grid.start, text }),
            Value::Scalar(scalar) if instant => {
                Ok(RowsValue::Scalar { time: grid.start, value: scalar.at(0) })
            }
            Value::Scalar(scalar) => {
                let mut matrix = Matrix::new(grid.count);
                if grid.count > 0 {
                    matrix.hold = self.context.reserve(Matrix::bytes(1, grid.count))?;
                    matrix.push(matrix::Meta::empty(), full_row(&scalar, grid).view());
                }
                Ok(RowsValue::Matrix(Rows::new(vec![matrix], grid)))
            }
            Value::Vector(vector) => {
                let mut parts = self.parts(vector, grid)?;
                let metas = parts.iter_mut().flat_map(|part| &mut part.metas);
                for meta in metas.filter(|meta| meta.drop_name) {
                    meta.labels = labels::without_metadata(&meta.labels);
                    meta.drop_name = false;
                }
                let mut rows = Rows::new(parts, grid);
                if !instant {
                    rows.sort();
                }
                let rows = rows.merge_same_labels()?;
                Ok(if instant { RowsValue::Vector(rows) } else { RowsValue::Matrix(rows) })
            }
        }
    }

    /// The vector as matrices of some series each: what is already apart is not joined.
    fn parts(&mut self, vector: Vector, grid: Grid) -> Result<Vec<Matrix>, Error> {
        match vector {
            Vector::Ready(matrix) => {
                let metas = matrix.len();
                match Arc::try_unwrap(matrix) {
                    Ok(matrix) => Ok(vec![matrix]),
                    // Held elsewhere too, such as under a node that is used twice.
                    Err(shared) => {
                        let hold = self.context.reserve(Matrix::bytes(metas, grid.count))?;
                        let mut copy = Matrix::clone(&shared);
                        copy.hold = hold;
                        Ok(vec![copy])
                    }
                }
            }
            Vector::Lazy(stream) => {
                let began = Instant::now();
                let stream = Arc::unwrap_or_clone(stream);
                let parts = stream::collect_parts(self, &stream)?;
                if let Some(stats) = self.nodes.get_mut(stream.node) {
                    stats.series = parts.iter().map(|part| part.len() as u64).sum();
                    stats.time += began.elapsed();
                }
                Ok(parts)
            }
        }
    }

    /// A range vector as the whole query.
    fn points(&mut self, root: &Node) -> Result<RowsValue, Error> {
        let Kind::Points { source, windows } = &root.kind else { unreachable!("checked by the caller") };
        let mut all = Vec::new();
        let at = windows.reference.at(&root.grid, 0);
        let range = (at - windows.range, at);
        let source = self.source(source)?;
        let mut worker = Worker::new(0, false);
        let mut hold = self.context.reserve(0)?;
        for index in 0..source.len(self.context) {
            self.context.check()?;
            let mut labels = source.labels(self.context, index);
            if let stream::Source::Matrix(matrix, _) = &source
                && matrix.metas[index].drop_name
            {
                labels = labels::without_metadata(&labels);
            }
            worker.read(self.context, &source, windows, index)?;
            let floats = (range.0 - windows.before, range.1 + windows.after);
            let columns = &mut worker.columns;
            stream::keep_within(columns, floats);
            let histograms: Vec<_> = columns
                .histogram_times
                .iter()
                .copied()
                .zip(columns.histograms.iter().cloned())
                .filter(|(time, _)| *time > range.0 && *time <= range.1)
                .collect();
            let floats = extended::extend_points(columns, windows.extend, range).unwrap_or_default();
            let count = floats.len() as u64
                + histograms.iter().map(|(_, histogram)| matrix::histogram_samples(histogram)).sum::<u64>();
            hold.merge(self.context.reserve(count * 16 + size_of::<Series>() as u64)?);
            self.context.hold(&mut hold, count)?;
            self.context.samples.fetch_add(count, Ordering::Relaxed);
            if !floats.is_empty() || !histograms.is_empty() {
                all.push(Series { labels, floats, histograms });
            }
        }
        all.sort_by(|a: &Series, b| a.labels.cmp(&b.labels));
        if all.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
            return Err(matrix::same_labels());
        }
        Ok(RowsValue::Points(all, Some(hold)))
    }

    /// Evaluates a node, once.
    pub(crate) fn eval(&mut self, id: NodeId) -> Result<Value, Error> {
        if let Some(value) = self.known.get(&id) {
            return Ok(value.clone());
        }
        self.context.check()?;
        let began = Instant::now();
        let node = self.node_of(id);
        let mut value = self.compute(id, node)?;
        if node.uses > 1 {
            if let Value::Vector(vector) = value {
                value = Value::Vector(Vector::Ready(self.collect(vector, node.grid)?));
            }
            self.known.insert(id, value.clone());
        }
        self.nodes[id].time += began.elapsed();
        self.nodes[id].series = match &value {
            Value::Vector(Vector::Ready(matrix)) => matrix.len() as u64,
            Value::Vector(Vector::Lazy(stream)) => stream.metas.len() as u64,
            _ => 1,
        };
        Ok(value)
    }

    fn compute(&mut self, id: NodeId, node: &'q Node) -> Result<Value, Error> {
        let vector = match &node.kind {
            Kind::Number(value) => return Ok(Value::Scalar(Scalar::Same(*value))),
            Kind::Text(text) => return Ok(Value::Text(text.clone())),
            Kind::Broadcast(input) => return self.broadcast(*input, node.grid),
            Kind::Select(selector) => {
                let select = selector.select;
                let leaf = stream::Leaf::Instant(*selector);
                Vector::Lazy(Arc::new(self.leaf(id, stream::Source::Select(select), leaf, node, false)))
            }
            Kind::SampleTime { selector, start } => {
                let source = stream::Source::Select(selector.select);
                let leaf = stream::Leaf::SampleTime { selector: *selector, start: *start };
                Vector::Lazy(Arc::new(self.leaf(id, source, leaf, node, true)))
            }
            Kind::Points { .. } => {
                return Err(Error::Plan("a range vector is an argument of functions only".to_owned()));
            }
            Kind::Range { function, source, windows, args, absent } => {
                let mut scalars = Vec::new();
                for &arg in args {
                    scalars.push(self.scalar(arg)?);
                }
                instant::check_range_args(*function, &scalars, node, &mut self.annotations)?;
                let source = self.source(source)?;
                let keep_name = matches!(function, FunctionId::LastOverTime | FunctionId::FirstOverTime);
                let leaf = stream::Leaf::Range { function: *function, windows: *windows, args: scalars };
                let stream = self.leaf(id, source, leaf, node, !keep_name);
                if let Some(labels) = absent {
                    let matrix = self.absent(Vector::Lazy(Arc::new(stream)), labels, node.grid)?;
                    Vector::Ready(Arc::new(matrix))
                } else {
                    self.without_clashes(stream)?
                }
            }
            Kind::Call { function, args, absent } => {
                return self.call(*function, args, absent.as_ref(), node);
            }
            Kind::Info(info) => Vector::Ready(Arc::new(self.info(info, node)?)),
            Kind::Aggregate { .. } => Vector::Ready(Arc::new(self.aggregate(node)?)),
            Kind::Binary { op, left, right, return_bool, matching } => {
                return self.binary(*op, *left, *right, *return_bool, matching.as_deref(), node);
            }
            Kind::Negative(input) => match self.eval(*input)? {
                Value::Scalar(scalar) => return Ok(Value::Scalar(map_scalar(&scalar, |value| -value))),
                Value::Vector(vector) => return self.stage(vector, node.grid, true, instant::negate),
                Value::Text(_) => return Err(Error::Plan("a string has no sign".to_owned())),
            },
        };
        Ok(Value::Vector(vector))
    }

    /// A stream of all series of `source`. `drops_name`: the function makes another metric of it.
    fn leaf(
        &self,
        id: NodeId,
        source: stream::Source,
        leaf: stream::Leaf,
        node: &Node,
        drops_name: bool,
    ) -> Stream {
        let mut metas = match &source {
            stream::Source::Select(_) => Metas::Selected(source.len(self.context), Name::Kept),
            stream::Source::Matrix(matrix, _) => Metas::Known(matrix.metas.clone()),
        };
        if drops_name {
            self.drop_names(&mut metas);
        }
        let asks = matches!(&leaf, stream::Leaf::Range { .. });
        let metadata = if asks { source.common_metadata(self.context) } else { None };
        let (grid, steps) = (node.grid, node.grid.count);
        Stream { node: id, metas, metadata, source, leaf, grid, steps, stages: Vec::new() }
    }

    /// Marks the names of all series for removal, or removes them when removal is not delayed.
    fn drop_names(&self, metas: &mut Metas) {
        match metas {
            Metas::Known(metas) => metas.iter_mut().for_each(|meta| self.drop_name(meta)),
            Metas::Selected(_, name) if self.context.plan.options.delayed_name_removal => {
                *name = Name::DroppedLater;
            }
            Metas::Selected(_, name) => *name = Name::Dropped,
        }
    }

    /// Marks the name for removal, or removes it when removal is not delayed.
    pub(crate) fn drop_name(&self, meta: &mut matrix::Meta) {
        if self.context.plan.options.delayed_name_removal {
            meta.drop_name = true;
        } else {
            meta.labels = labels::without_metadata(&meta.labels);
        }
    }

    /// When names are removed at once, two series may have become one, which is an error.
    fn without_clashes(&mut self, mut stream: Stream) -> Result<Vector, Error> {
        if !self.context.plan.options.delayed_name_removal && stream.metas.clash(self.context, &stream.source)
        {
            let grid = Grid { count: stream.steps, ..stream.grid };
            let matrix = self.collect(Vector::Lazy(Arc::new(stream)), grid)?;
            let mut seen = std::collections::HashSet::with_capacity(matrix.len());
            if matrix.metas.iter().any(|meta| !seen.insert(&meta.labels)) {
                return Err(matrix::same_labels());
            }
            return Ok(Vector::Ready(matrix));
        }
        Ok(Vector::Lazy(Arc::new(stream)))
    }

    fn source(&mut self, source: &RangeSource) -> Result<stream::Source, Error> {
        match source {
            RangeSource::Select(select) => Ok(stream::Source::Select(*select)),
            RangeSource::Subquery(input) => {
                let grid = self.node_of(*input).grid;
                let matrix = match self.eval(*input)? {
                    Value::Vector(vector) => self.collect(vector, grid)?,
                    Value::Scalar(scalar) => {
                        let mut matrix = Matrix::new(grid.count);
                        matrix.push(matrix::Meta::empty(), full_row(&scalar, grid).view());
                        Arc::new(matrix)
                    }
                    Value::Text(_) => return Err(Error::Plan("a subquery of a string".to_owned())),
                };
                Ok(stream::Source::Matrix(matrix, grid))
            }
        }
    }

    fn broadcast(&mut self, input: NodeId, grid: Grid) -> Result<Value, Error> {
        Ok(match self.eval(input)? {
            Value::Scalar(scalar) => Value::Scalar(Scalar::Same(scalar.at(0))),
            Value::Text(text) => Value::Text(text),
            Value::Vector(vector) => {
                let steps = grid.count;
                let single = self.node_of(input).grid;
                let mut stream = self.stream(vector, single);
                stream.stages.push(Arc::new(move |row: &mut Row, _: &mut Annotations| row.broadcast(steps)));
                stream.steps = steps;
                Value::Vector(Vector::Lazy(Arc::new(stream)))
            }
        })
    }

    /// Adds something that is done to each series.
    pub(crate) fn stage(
        &mut self,
        vector: Vector,
        grid: Grid,
        drops_name: bool,
        stage: impl Fn(&mut Row, &mut Annotations) + Send + Sync + 'static,
    ) -> Result<Value, Error> {
        let mut stream = self.stream(vector, grid);
        stream.stages.push(Arc::new(stage));
        if drops_name {
            self.drop_names(&mut stream.metas);
            if !self.context.plan.options.delayed_name_removal
                && stream.metas.clash(self.context, &stream.source)
            {
                let matrix = self.collect(Vector::Lazy(Arc::new(stream)), grid)?;
                let merged = Arc::unwrap_or_clone(matrix).merge_same_labels()?;
                return Ok(Value::Vector(Vector::Ready(Arc::new(merged))));
            }
        }
        Ok(Value::Vector(Vector::Lazy(Arc::new(stream))))
    }

    pub(crate) fn scalar(&mut self, id: NodeId) -> Result<Scalar, Error> {
        match self.eval(id)? {
            Value::Scalar(scalar) => Ok(scalar),
            _ => Err(Error::Plan("expected a scalar".to_owned())),
        }
    }

    pub(crate) fn text(&mut self, id: NodeId) -> Result<String, Error> {
        match self.eval(id)? {
            Value::Text(text) => Ok(text),
            _ => Err(Error::Plan("expected a string".to_owned())),
        }
    }

    pub(crate) fn vector(&mut self, id: NodeId) -> Result<Vector, Error> {
        match self.eval(id)? {
            Value::Vector(vector) => Ok(vector),
            _ => Err(Error::Plan("expected an instant vector".to_owned())),
        }
    }

    pub(crate) fn matrix(&mut self, id: NodeId) -> Result<Arc<Matrix>, Error> {
        let vector = self.vector(id)?;
        self.collect(vector, self.node_of(id).grid)
    }

    /// The vector as a stream.
    pub(crate) fn stream(&self, vector: Vector, grid: Grid) -> Stream {
        match vector {
            Vector::Lazy(stream) => Arc::unwrap_or_clone(stream),
            Vector::Ready(matrix) => Stream {
                node: usize::MAX,
                metas: Metas::Known(matrix.metas.clone()),
                metadata: None,
                leaf: stream::Leaf::Rows,
                steps: grid.count,
                source: stream::Source::Matrix(matrix, grid),
                grid,
                stages: Vec::new(),
            },
        }
    }

    /// The vector as a matrix.
    pub(crate) fn collect(&mut self, vector: Vector, grid: Grid) -> Result<Arc<Matrix>, Error> {
        match vector {
            Vector::Ready(matrix) => Ok(matrix),
            Vector::Lazy(stream) => {
                let began = Instant::now();
                let stream = Arc::unwrap_or_clone(stream);
                let id = stream.node;
                debug_assert_eq!(stream.steps, grid.count);
                let matrix = stream::collect(self, &stream)?;
                if let Some(stats) = self.nodes.get_mut(id) {
                    stats.series = matrix.len() as u64;
                    stats.time += began.elapsed();
                }
                Ok(Arc::new(matrix))
            }
        }
    }

    /// Adds what a thread has counted.
    pub(crate) fn count(&mut self, id: NodeId, samples: u64, per_step: &[u64]) {
        self.context.samples.fetch_add(samples, Ordering::Relaxed);
        if let Some(stats) = self.nodes.get_mut(id) {
            stats.samples += samples;
        }
        if let Some(counts) = &mut self.per_step {
            if per_step.len() == counts.len() {
                counts.iter_mut().zip(per_step).for_each(|(count, more)| *count += more);
            } else if let Some(last) = counts.last_mut() {
                // A subquery's samples belong to no step of the query.
                *last += samples;
            }
        }
    }

    /// Evaluates a vector function whose value is a row of a single series.
    pub(crate) fn single(&self, row: &Row, grid: Grid) -> Value {
        let mut matrix = Matrix::new(grid.count);
        matrix.push(matrix::Meta::empty(), row.view());
        Value::Vector(Vector::Ready(Arc::new(matrix)))
    }
}

pub(crate) fn full_row(scalar: &Scalar, grid: Grid) -> Row {
    Row::full((0..grid.count).map(|step| scalar.at(step)).collect())
}

pub(crate) fn map_scalar(scalar: &Scalar, f: impl Fn(f64) -> f64) -> Scalar {
    match scalar {
        Scalar::Same(value) => Scalar::Same(f(*value)),
        Scalar::Each(values) => Scalar::Each(Arc::new(values.iter().map(|&value| f(value)).collect())),
    }
}

/// The value type that a node has, for nodes that are looked at from outside.
pub(crate) fn is_scalar(node: &Node) -> bool {
    node.value_type == ValueType::Scalar
}
