//! Series whose values are computed a batch at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use model::histogram::ResetHint;
use model::{Labels, Samples, is_stale};

use super::error::Error;
use super::extended;
use super::kernels::{self, Scratch};
use super::labels::is_metadata;
use super::matrix::{Cell, Grid, Matrix, Row, histogram_samples, ones};
use super::metas::Metas;
use super::notes::Notes;
use super::range::{self, Frame, Output};
use super::window::{Bounds, Columns, Windows, detect_resets};
use super::{Context, Evaluator, Scalar};
use crate::annotations::{Annotations, Message};
use crate::ast::Extend;
use crate::functions::FunctionId;
use crate::plan::{NodeId, Selector};

/// Series in one task; small enough to notice a cancellation soon, large enough to pay for handing it out.
pub(crate) const BATCH: usize = 128;

/// Fewer values than this are computed on the calling thread.
const SMALL: usize = 4096;

/// What is done to a series after it has been read.
pub(crate) type Stage = Arc<dyn Fn(&mut Row, &mut Annotations) + Send + Sync>;

/// Where samples come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// A selector's series.
    Select(usize),
    /// The series of a subquery, or of any computed vector.
    Matrix(Arc<Matrix>, Grid),
}

impl Source {
    pub(crate) fn len(&self, context: &Context<'_>) -> usize {
        match self {
            Self::Select(select) => context.selected[*select].series.len(),
            Self::Matrix(matrix, _) => matrix.len(),
        }
    }

    pub(crate) fn labels(&self, context: &Context<'_>, index: usize) -> Labels {
        match self {
            Self::Select(select) => context.selected[*select].series.labels(index),
            Self::Matrix(matrix, _) => matrix.metas[index].labels.clone(),
        }
    }

    /// Metric name, type and unit, when all series have the same.
    pub(crate) fn common_metadata(&self, context: &Context<'_>) -> Option<Labels> {
        match self {
            Self::Select(select) => {
                let found = context.selected[*select].series.group(&is_metadata).labels;
                <[Labels; 1]>::try_from(found).ok().map(|[labels]| labels)
            }
            Self::Matrix(..) => None,
        }
    }
}

/// How a series' samples become values at steps.
#[derive(Clone)]
pub(crate) enum Leaf {
    /// The newest sample within the look-back period.
    Instant(Selector),
    /// That sample's time, or its start timestamp.
    SampleTime { selector: Selector, start: bool },
    /// A function of the samples in a range.
    Range { function: FunctionId, windows: Windows, args: Vec<Scalar> },
    /// The rows of a matrix as they are.
    Rows,
}

/// Series whose values are computed on demand.
#[derive(Clone)]
pub(crate) struct Stream {
    /// The node that reads, for statistics.
    pub(crate) node: NodeId,
    pub(crate) metas: Metas,
    /// Metric name, type and unit of the source's series, when all have the same and somebody will ask.
    pub(crate) metadata: Option<Labels>,
    pub(crate) source: Source,
    pub(crate) leaf: Leaf,
    /// On which the leaf is evaluated.
    pub(crate) grid: Grid,
    /// Steps after all stages.
    pub(crate) steps: usize,
    pub(crate) stages: Vec<Stage>,
}

/// A thread's buffers and what it has counted.
pub(crate) struct Worker {
    samples: Samples,
    pub(crate) columns: Columns,
    bounds: Bounds,
    /// The `times_id` for which `bounds` hold, 0 for none.
    bounds_id: u64,
    histogram_bounds: Bounds,
    scratch: Scratch,
    pub(crate) row: Row,
    pub(crate) annotations: Annotations,
    pub(crate) read: u64,
    pub(crate) per_step: Vec<u64>,
}

impl Stream {
    /// What a series will say when something is wrong with it.
    fn metadata(&self, context: &Context<'_>, index: usize) -> Labels {
        self.metadata.clone().unwrap_or_else(|| self.source.labels(context, index))
    }
}

impl Worker {
    pub(crate) fn new(steps: usize, per_step: bool) -> Self {
        Self {
            samples: Samples::default(),
            columns: Columns::default(),
            bounds: Bounds::default(),
            bounds_id: 0,
            histogram_bounds: Bounds::default(),
            scratch: Scratch::default(),
            row: Row::default(),
            annotations: Annotations::default(),
            read: 0,
            per_step: vec![0; if per_step { steps } else { 0 }],
        }
    }

    /// Reads the samples of a series into `columns`.
    pub(crate) fn read(
        &mut self,
        context: &Context<'_>,
        source: &Source,
        windows: &Windows,
        index: usize,
    ) -> Result<(), Error> {
        match source {
            Source::Select(select) => {
                self.samples.clear();
                context.selected[*select].series.read(index, &mut self.samples).map_err(Error::Storage)?;
                context.check_read(self.samples.len() as u64)?;
                if windows.detect_resets {
                    detect_resets(&mut self.samples);
                }
                self.columns.take(&mut self.samples, context.plan.options.start_timestamps);
            }
            Source::Matrix(matrix, grid) => {
                let columns = &mut self.columns;
                columns.clear();
                let row = matrix.row(index);
                for step in ones(row.valid) {
                    match row.get(step) {
                        Some(Cell::Float(value)) => {
                            columns.times.push(grid.at(step));
                            columns.values.push(value);
                        }
                        Some(Cell::Histogram(histogram)) => {
                            columns.histogram_times.push(grid.at(step));
                            // Samples may be missing here or appear twice, so that hints mislead.
                            let known =
                                matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset);
                            let mut histogram = Arc::clone(histogram);
                            if known {
                                Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
                            }
                            columns.histograms.push(histogram);
                        }
                        None => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn count_windows(&mut self) {
        self.read += self.bounds.total();
        if !self.per_step.is_empty() && self.per_step.len() == self.bounds.low.len() {
            for (count, (&low, &high)) in
                self.per_step.iter_mut().zip(self.bounds.low.iter().zip(&self.bounds.high))
            {
                *count += u64::from(high - low);
            }
        }
    }

    fn count_step(&mut self, step: usize, samples: u64) {
        self.read += samples;
        if let Some(count) = self.per_step.get_mut(step) {
            *count += samples;
        }
    }

    /// Fills `self.row` with the values of series `index`.
    pub(crate) fn fill(&mut self, context: &Context<'_>, stream: &Stream, index: usize) -> Result<(), Error> {
        match &stream.leaf {
            Leaf::Rows => {
                let Source::Matrix(matrix, _) = &stream.source else {
                    unreachable!("rows come from a matrix")
                };
                matrix.row(index).copy_to(&mut self.row);
            }
            Leaf::Instant(selector) if selector.windows.extend == Some(Extend::Smoothed) => {
                self.row.reset(stream.grid.count);
                self.read(context, &stream.source, &selector.windows, index)?;
                let name = stream.metas.labels(context, &stream.source, index).metric_name().to_owned();
                let span = context.plan.nodes[stream.node].span;
                self.smooth(stream, selector, &name, span);
            }
            Leaf::Instant(selector) => self.newest(context, stream, selector, index)?,
            Leaf::SampleTime { selector, start } => {
                self.sample_times(context, stream, selector, *start, index)?;
            }
            Leaf::Range { function, windows, args } => {
                self.row.reset(stream.grid.count);
                self.read(context, &stream.source, windows, index)?;
                self.range(context, stream, *function, windows, args, index);
            }
        }
        for stage in &stream.stages {
            stage(&mut self.row, &mut self.annotations);
        }
        Ok(())
    }

    fn newest(
        &mut self,
        context: &Context<'_>,
        stream: &Stream,
        selector: &Selector,
        index: usize,
    ) -> Result<(), Error> {
        let grid = &stream.grid;
        self.read_raw(context, selector, index)?;
        self.fill_bounds(self.samples.times_id, grid, &selector.windows, true);
        let Self { samples, bounds, row, .. } = self;
        row.reset(grid.count);
        let special = !samples.histograms.is_empty()
            || if grid.count == 1 {
                bounds.low[0] < bounds.high[0] && is_stale(samples.values[bounds.high[0] as usize - 1])
            } else {
                samples.values.iter().any(|&value| is_stale(value))
            };
        if !special {
            kernels::newest(&samples.values, bounds, row);
            let count = super::matrix::count_ones(&row.valid) as u64;
            self.read += count;
            if !self.per_step.is_empty() && self.per_step.len() == grid.count {
                ones(&self.row.valid).for_each(|step| self.per_step[step] += 1);
            }
            return Ok(());
        }
        for step in 0..grid.count {
            let (low, high) = (self.bounds.low[step], self.bounds.high[step]);
            if low >= high {
                continue;
            }
            let at = high as usize - 1;
            let mut size = 1;
            match self.samples.histogram(at) {
                Some(histogram) if histogram.is_stale() => continue,
                Some(histogram) => {
                    size = histogram_samples(histogram);
                    self.row.set_histogram(step, Arc::clone(histogram));
                }
                None if is_stale(self.samples.values[at]) => continue,
                None => self.row.set(step, self.samples.values[at]),
            }
            self.count_step(step, size);
        }
        Ok(())
    }

    fn sample_times(
        &mut self,
        context: &Context<'_>,
        stream: &Stream,
        selector: &Selector,
        start: bool,
        index: usize,
    ) -> Result<(), Error> {
        let grid = &stream.grid;
        self.read_raw(context, selector, index)?;
        self.fill_bounds(self.samples.times_id, grid, &selector.windows, true);
        self.row.reset(grid.count);
        if start && !context.plan.options.start_timestamps {
            return Ok(());
        }
        for step in 0..grid.count {
            let (low, high) = (self.bounds.low[step], self.bounds.high[step]);
            if low >= high {
                continue;
            }
            let at = high as usize - 1;
            let stale = match self.samples.histogram(at) {
                Some(histogram) => histogram.is_stale(),
                None => is_stale(self.samples.values[at]),
            };
            if !stale {
                let time = if start {
                    self.samples.starts.get(at).copied().unwrap_or(0)
                } else {
                    self.samples.times[at]
                };
                self.row.set(step, time as f64 / 1000.0);
                self.count_step(step, 1);
            }
        }
        Ok(())
    }

    /// Reads without telling staleness markers from other samples.
    fn read_raw(&mut self, context: &Context<'_>, selector: &Selector, index: usize) -> Result<(), Error> {
        self.samples.clear();
        context.selected[selector.select].series.read(index, &mut self.samples).map_err(Error::Storage)?;
        context.check_read(self.samples.len() as u64)?;
        if selector.windows.detect_resets {
            detect_resets(&mut self.samples);
        }
        Ok(())
    }

    /// Bounds for the times of `samples` (`raw`) or `columns`, reused while their id promises the same times.
    fn fill_bounds(&mut self, times_id: u64, grid: &Grid, windows: &Windows, raw: bool) {
        if times_id == 0 || self.bounds_id != times_id {
            let times = if raw { &self.samples.times } else { &self.columns.times };
            self.bounds.fill(times, grid, windows);
            self.bounds_id = times_id;
        }
    }

    /// Interpolates between the samples around each step.
    fn smooth(&mut self, stream: &Stream, selector: &Selector, name: &str, span: crate::ast::Span) {
        let (grid, windows) = (&stream.grid, &selector.windows);
        self.bounds_id = 0;
        self.bounds.fill(&self.columns.times, grid, windows);
        self.histogram_bounds.fill(&self.columns.histogram_times, grid, windows);
        let mut notes = Notes::default();
        for step in 0..grid.count {
            let at = windows.reference.at(grid, step);
            let w = self.columns.window(
                (self.bounds.low[step], self.bounds.high[step]),
                (self.histogram_bounds.low[step], self.histogram_bounds.high[step]),
            );
            if w.len() == 0 {
                continue;
            }
            if !w.times.is_empty() && !w.histograms.is_empty() {
                notes.add(Notes::MIXED_FLOATS);
                continue;
            }
            if w.histograms.is_empty() {
                let next = w.times.partition_point(|&time| time < at);
                let value = match (next.checked_sub(1), w.times.get(next)) {
                    (_, Some(&time)) if time == at => w.values[next],
                    (Some(previous), Some(&time)) => extended::interpolate(
                        (w.times[previous], w.values[previous]),
                        (time, w.values[next]),
                        at,
                        false,
                    ),
                    (Some(previous), None) => w.values[previous],
                    (None, _) => continue,
                };
                self.row.set(step, value);
                self.read += 1;
            } else {
                let (times, all) = (w.histogram_times, w.histograms);
                let next = times.partition_point(|&time| time < at);
                let value = match (next.checked_sub(1), times.get(next)) {
                    (_, Some(&time)) if time == at => Arc::clone(&all[next]),
                    (Some(previous), Some(&time)) => {
                        let from = (times[previous], &*all[previous]);
                        let to = (time, &*all[next]);
                        match extended::interpolate_histograms(from, to, at, false, &mut notes) {
                            Ok(histogram) => Arc::new(histogram),
                            Err(_) => {
                                notes.add(Notes::MIXED_SCHEMAS);
                                continue;
                            }
                        }
                    }
                    (Some(previous), None) => Arc::clone(&all[previous]),
                    (None, _) => continue,
                };
                self.read += histogram_samples(&value);
                self.row.set_histogram(step, value);
            }
        }
        notes.report(name, span, &mut self.annotations);
    }

    fn range(
        &mut self,
        context: &Context<'_>,
        stream: &Stream,
        function: FunctionId,
        windows: &Windows,
        args: &[Scalar],
        index: usize,
    ) {
        let grid = &stream.grid;
        if self.columns.times.is_empty() && self.columns.histograms.is_empty() || grid.count == 0 {
            return;
        }
        let mut notes = Notes::default();
        self.fill_bounds(self.columns.times_id, grid, windows, false);
        self.count_windows();
        let first = windows.reference.at(grid, 0);
        let input = kernels::Input {
            columns: &self.columns,
            bounds: &self.bounds,
            first_range: (first - windows.range, first),
            step: if windows.reference.fixed.is_some() { 0 } else { grid.step },
        };
        let done = windows.extend.is_none()
            && self.columns.histograms.is_empty()
            && kernels::run(function, &input, args, &mut self.row, &mut self.scratch, &mut notes);
        if !done {
            self.histogram_bounds.fill(&self.columns.histogram_times, grid, windows);
            for step in 0..grid.count {
                let histograms = (self.histogram_bounds.low[step], self.histogram_bounds.high[step]);
                let window = self.columns.window((self.bounds.low[step], self.bounds.high[step]), histograms);
                if window.len() == 0 {
                    continue;
                }
                let reference = windows.reference.at(grid, step);
                let mut frame = Frame {
                    function,
                    extend: windows.extend,
                    start: reference - windows.range,
                    end: reference,
                    at: grid.at(step),
                    args: [0.0; 2],
                };
                for (arg, scalar) in frame.args.iter_mut().zip(args) {
                    *arg = scalar.at(step);
                }
                if histograms.1 > histograms.0 {
                    let size = window.histograms.iter().map(|h| histogram_samples(h)).sum::<u64>();
                    self.read += size;
                    if let Some(count) = self.per_step.get_mut(step) {
                        *count += size;
                    }
                }
                match range::call(&frame, &window, &mut notes) {
                    None => {}
                    Some(Output::Float(value)) => self.row.set(step, value),
                    Some(Output::Histogram(histogram)) => self.row.set_histogram(step, histogram),
                }
            }
        }
        let node = &context.plan.nodes[stream.node];
        let span = node.arg_spans.get(range_arg(function)).copied().unwrap_or(node.span);
        let is_counter = matches!(function, FunctionId::Rate | FunctionId::Increase);
        if notes != Notes::default() || is_counter {
            let labels = stream.metadata(context, index);
            notes.report(labels.metric_name(), span, &mut self.annotations);
            if is_counter && !self.row.view().is_empty() && self.row.histograms.len() < grid.count {
                let by_type = context.plan.options.type_and_unit_labels;
                check_counter(&labels, &self.row, by_type, span, &mut self.annotations);
            }
        }
    }
}

/// Which argument is the range.
fn range_arg(function: FunctionId) -> usize {
    // Annotations point at the first argument, whichever it is, as Prometheus' do.
    match function {
        FunctionId::QuantileOverTime => 0,
        _ => 0,
    }
}

/// Says so when a metric that is used as a counter does not look like one.
fn check_counter(
    labels: &Labels,
    row: &Row,
    by_type: bool,
    span: crate::ast::Span,
    annotations: &mut Annotations,
) {
    let metric = labels.metric_name();
    let floats = super::matrix::count_ones(&row.valid) > row.histograms.len();
    if metric.is_empty() || !floats {
        return;
    }
    if by_type {
        let kind = labels.get("__type__").unwrap_or_default();
        if !matches!(kind, "counter" | "histogram") {
            let (metric, kind) = (metric.to_owned(), kind.to_owned());
            annotations.add(Message::PossibleNonCounterLabel { metric, kind }, span);
        }
    } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| metric.ends_with(suffix)) {
        annotations.add(Message::PossibleNonCounter { metric: metric.to_owned() }, span);
    }
}

/// Removes floats outside `(start, end]`.
pub(crate) fn keep_within(columns: &mut Columns, (start, end): (i64, i64)) {
    let low = columns.times.partition_point(|&time| time <= start);
    let high = columns.times.partition_point(|&time| time <= end);
    columns.times.truncate(high);
    columns.values.truncate(high);
    columns.times.drain(..low.min(high));
    columns.values.drain(..low.min(high));
}

/// Runs `work` for each of `tasks` on up to as many threads as the limits allow, and gives the results in their order.
/// What came up goes to the evaluator in the same order.
pub(crate) fn parallel<T: Send>(
    evaluator: &mut Evaluator<'_, '_>,
    stream: &Stream,
    tasks: usize,
    work: impl Fn(&mut Worker, usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let context = evaluator.context;
    let per_step = context.plan.options.per_step_stats;
    // A thread costs as much as some ten thousand values.
    let small = stream.metas.len().saturating_mul(stream.steps.max(1)) < SMALL;
    let threads = if small { 1 } else { context.limits.threads.clamp(1, tasks.max(1)) };
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<Result<(T, Annotations), Error>>>> =
        (0..tasks).map(|_| Mutex::new(None)).collect();
    let run = || {
        let mut worker = Worker::new(stream.grid.count, per_step);
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            let done = context.check().and_then(|()| work(&mut worker, task));
            let failed = done.is_err();
            let done = done.map(|value| (value, std::mem::take(&mut worker.annotations)));
            *slots[task].lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            if failed {
                // The others need not start what nobody will look at.
                next.store(tasks, Ordering::Relaxed);
                break;
            }
        }
        (worker.read, worker.per_step)
    };
    let counted: Vec<(u64, Vec<u64>)> = if threads == 1 {
        vec![run()]
    } else {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
            let mut counted = vec![run()];
            for other in others {
                match other.join() {
                    Ok(count) => counted.push(count),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            counted
        })
    };
    for (read, per_step) in counted {
        evaluator.count(stream.node, read, &per_step);
    }
    let mut results = Vec::with_capacity(tasks);
    for slot in slots {
        match slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Ok((value, annotations))) => {
                evaluator.annotations.merge(annotations);
                results.push(value);
            }
            Some(Err(err)) => return Err(err),
            // Only after an error in a later slot, which is found below.
            None => {}
        }
    }
    Ok(results)
}

/// All values of a stream.
pub(crate) fn collect(evaluator: &mut Evaluator<'_, '_>, stream: &Stream) -> Result<Matrix, Error> {
    let mut parts = collect_parts(evaluator, stream)?.into_iter();
    let mut all = parts.next().unwrap_or_else(|| Matrix::new(stream.steps));
    let more = parts.as_slice().iter().map(Matrix::len).sum();
    // The parts are in memory until they have been copied.
    let copy =
        evaluator.context.reserve(Matrix::bytes(if more == 0 { 0 } else { all.len() }, stream.steps))?;
    all.reserve(more);
    for part in parts {
        all.append(part);
    }
    drop(copy);
    Ok(all)
}

/// All values of a stream, in matrices of up to [`BATCH`] series.
pub(crate) fn collect_parts(
    evaluator: &mut Evaluator<'_, '_>,
    stream: &Stream,
) -> Result<Vec<Matrix>, Error> {
    let series = stream.metas.len();
    let context = evaluator.context;
    parallel(evaluator, stream, series.div_ceil(BATCH), |worker, task| {
        let range = task * BATCH..((task + 1) * BATCH).min(series);
        let mut hold = context.reserve(Matrix::bytes(range.len(), stream.steps))?;
        let mut part = Matrix::new(stream.steps);
        part.reserve(range.len());
        for index in range {
            worker.fill(context, stream, index)?;
            if !worker.row.view().is_empty() {
                part.push(stream.metas.get(context, &stream.source, index), worker.row.view());
            }
        }
        let more = part.histogram_bytes() + stream.metas.new_bytes(&part);
        if more > 0 {
            hold.merge(context.reserve(more)?);
        }
        context.hold(&mut hold, part.samples())?;
        part.hold.merge(hold);
        Ok(part)
    })
}
