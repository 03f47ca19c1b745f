//! Aggregations into groups.
//!
//! Series are put in the order of their groups, and that order is cut into tasks. A task computes the values of its series
//! one by one and adds each to its group, so that memory is a task's groups times steps. A group that spans tasks has a
//! partial result in each, and those are merged in order: the answer does not depend on the number of threads.

use std::sync::Arc;

use model::Labels;
use model::seam::Grouped;

use super::error::Error;
use super::matrix::{Matrix, Meta, Row, RowView, bit, count_ones, ones, set_bit};
use super::stream::{BATCH, Stream};
use super::{Context, Evaluator, Scalar, choose, stream};
use crate::annotations::{Annotations, Message, Operation};
use crate::ast::{AggregateOp, Span};
use crate::histogram as hist;
use crate::kahan;
use crate::plan::{Kind, Node};

/// How series are grouped.
pub(super) struct Groups {
    /// Of each series.
    pub(super) ids: Vec<u32>,
    /// Of each group.
    pub(super) labels: Vec<Labels>,
    /// Series in the order of their groups, and within a group in the vector's order.
    pub(super) order: Vec<u32>,
}

impl Groups {
    pub(super) fn of(context: &Context<'_>, stream: &Stream, grouping: &[String], without: bool) -> Self {
        let Grouped { ids: all, labels } = stream.metas.group(context, &stream.source, grouping, without);
        // A counting sort: stable, and linear.
        let mut starts = vec![0u32; labels.len() + 1];
        all.iter().for_each(|&id| starts[id as usize + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut order = vec![0u32; all.len()];
        for (series, &id) in all.iter().enumerate() {
            order[starts[id as usize] as usize] = series as u32;
            starts[id as usize] += 1;
        }
        Self { ids: all, labels, order }
    }
}

impl Evaluator<'_, '_> {
    pub(super) fn aggregate(&mut self, node: &Node) -> Result<Matrix, Error> {
        let Kind::Aggregate { op, input, param, grouping, without } = &node.kind else {
            unreachable!("only called for aggregations")
        };
        let span = |at: usize| node.arg_spans.get(at).copied().unwrap_or(node.span);
        let (param_span, input_span) =
            if param.is_some() { (span(0), span(1)) } else { (node.span, span(0)) };
        if let (AggregateOp::CountValues, Some(param)) = (op, param) {
            let label = self.text(*param)?;
            let matrix = self.matrix(*input)?;
            return choose::count_values(&matrix, &label, grouping, *without);
        }
        let param = match param {
            Some(param) => self.scalar(*param)?,
            None => Scalar::Same(0.0),
        };
        if let AggregateOp::Quantile = op {
            // The worst values alone: a parameter may be another at each step.
            let values = param.values().iter().copied();
            let extremes = [
                values.clone().find(|q| q.is_nan()).unwrap_or(0.5),
                values.clone().fold(f64::NAN, f64::max),
                values.fold(f64::NAN, f64::min),
            ];
            for q in extremes.into_iter().take(if extremes[1].is_nan() { 1 } else { 3 }) {
                super::instant::check_quantile(q, param_span, &mut self.annotations);
            }
        }
        let vector = self.vector(*input)?;
        let stream = self.stream(vector, node.grid);
        if matches!(
            op,
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio
        ) {
            return self.choose(*op, &stream, &param, grouping, *without, node, param_span);
        }
        let groups = Groups::of(self.context, &stream, grouping, *without);
        match few_tasks(*op, &groups, stream.steps) {
            Some(tasks) => self.grouped_in_place(*op, &stream, &groups, tasks, &param, input_span),
            None => self.grouped(*op, &stream, &groups, &param, input_span),
        }
    }

    /// Few groups: series are read in the order of the storage, where neighbours share their times and more, and each task has
    /// a partial result of every group.
    fn grouped_in_place(
        &mut self,
        op: AggregateOp,
        stream: &Stream,
        groups: &Groups,
        tasks: usize,
        param: &Scalar,
        span: Span,
    ) -> Result<Matrix, Error> {
        let (context, steps, series) = (self.context, stream.steps, groups.ids.len());
        let batch = series.div_ceil(tasks);
        let _hold = context.reserve(Matrix::bytes(groups.labels.len() * (tasks + 1), steps * 2))?;
        let parts = stream::parallel(self, stream, tasks, |worker, task| {
            let mut states: Vec<Option<State>> = Vec::new();
            states.resize_with(groups.labels.len(), || None);
            for index in (task * batch).min(series)..((task + 1) * batch).min(series) {
                if index % BATCH == 0 {
                    context.check()?;
                }
                worker.fill(context, stream, index)?;
                let state = states[groups.ids[index] as usize].get_or_insert_with(|| State::new(op, steps));
                let of = Series { context, stream, index };
                state.add(&of, worker.row.view(), span, &mut worker.annotations);
            }
            Ok(states)
        })?;
        let mut annotations = Annotations::default();
        let mut all: Vec<Option<State>> = Vec::new();
        for part in parts {
            if all.is_empty() {
                all = part;
                continue;
            }
            for (mine, other) in all.iter_mut().zip(part) {
                match (mine.as_mut(), other) {
                    (_, None) => {}
                    (None, other) => *mine = other,
                    (Some(mine), Some(other)) => mine.merge(other, span, &mut annotations),
                }
            }
        }
        let mut result = Matrix::new(steps);
        for (state, labels) in all.into_iter().zip(&groups.labels) {
            if let Some(state) = state {
                state.finish(labels.clone(), param, span, &mut annotations, &mut result);
            }
        }
        let mut hold = context.reserve(Matrix::bytes(result.len(), steps))?;
        context.hold(&mut hold, result.samples())?;
        result.hold.merge(hold);
        self.annotations.merge(annotations);
        Ok(result)
    }

    fn grouped(
        &mut self,
        op: AggregateOp,
        stream: &Stream,
        groups: &Groups,
        param: &Scalar,
        span: Span,
    ) -> Result<Matrix, Error> {
        let (context, steps, series) = (self.context, stream.steps, groups.order.len());
        // Large groups are cut into larger tasks, so that partial results are few.
        let batch = BATCH * 4;
        let tasks = series.div_ceil(batch);
        let group_at = |position: usize| groups.ids[groups.order[position] as usize];
        let parts = stream::parallel(self, stream, tasks, |worker, task| {
            let range = task * batch..((task + 1) * batch).min(series);
            let (first, last) = (group_at(range.start), group_at(range.end - 1));
            let begins_before = range.start > 0 && group_at(range.start - 1) == first;
            let goes_on = range.end < series && group_at(range.end) == last;
            let mut hold = context.reserve(Matrix::bytes((last - first) as usize + 1, steps))?;
            let mut done = Matrix::new(steps);
            // The groups that other tasks have parts of: at most the first and the last.
            let mut open: Vec<(u32, State)> = Vec::new();
            let mut current: Option<(u32, State)> = None;
            let mut finish =
                |(group, state): (u32, State), done: &mut Matrix, annotations: &mut Annotations| {
                    if (group == first && begins_before) || (group == last && goes_on) {
                        open.push((group, state));
                    } else {
                        state.finish(groups.labels[group as usize].clone(), param, span, annotations, done);
                    }
                };
            for position in range {
                let index = groups.order[position] as usize;
                let group = groups.ids[index];
                if current.as_ref().is_none_or(|(id, _)| *id != group) {
                    if let Some(full) = current.take() {
                        finish(full, &mut done, &mut worker.annotations);
                    }
                    current = Some((group, State::new(op, steps)));
                }
                worker.fill(context, stream, index)?;
                if let Some((_, state)) = &mut current {
                    let series = Series { context, stream, index };
                    state.add(&series, worker.row.view(), span, &mut worker.annotations);
                }
            }
            if let Some(full) = current.take() {
                finish(full, &mut done, &mut worker.annotations);
            }
            context.hold(&mut hold, done.samples())?;
            done.hold.merge(hold);
            Ok((done, open))
        })?;
        let mut result = Matrix::new(steps);
        let mut pending: Option<(u32, State)> = None;
        let mut annotations = Annotations::default();
        for (done, open) in parts {
            let mut open = open.into_iter().peekable();
            let close = |state: Option<(u32, State)>, result: &mut Matrix, annotations: &mut Annotations| {
                if let Some((group, state)) = state {
                    let labels = groups.labels[group as usize].clone();
                    state.finish(labels, param, span, annotations, result);
                }
            };
            // What goes on here from the task before comes first.
            if let (Some((id, _)), Some((group, _))) = (&pending, open.peek()) {
                if id == group {
                    if let (Some((_, state)), Some((_, next))) = (&mut pending, open.next()) {
                        state.merge(next, span, &mut annotations);
                    }
                    if open.peek().is_some() || done.len() > 0 {
                        close(pending.take(), &mut result, &mut annotations);
                    }
                } else {
                    close(pending.take(), &mut result, &mut annotations);
                }
            } else {
                close(pending.take(), &mut result, &mut annotations);
            }
            result.append(done);
            for next in open {
                close(pending.take(), &mut result, &mut annotations);
                pending = Some(next);
            }
        }
        if let Some((group, state)) = pending {
            state.finish(groups.labels[group as usize].clone(), param, span, &mut annotations, &mut result);
        }
        self.annotations.merge(annotations);
        Ok(result)
    }
}

/// Bytes that the partial results of all tasks may take.
const PARTIAL_BYTES: u64 = 32 << 20;

/// Into how many tasks series are cut when each task has all groups; `None` when that would take much memory, and series are
/// better put in the order of their groups. It does not depend on the number of threads, so that answers repeat.
fn few_tasks(op: AggregateOp, groups: &Groups, steps: usize) -> Option<usize> {
    const FEWEST: usize = 4;
    let (series, groups) = (groups.ids.len(), groups.labels.len());
    // The values of all series of a group are kept.
    if op == AggregateOp::Quantile || groups == 0 || series < groups * 16 {
        return None;
    }
    let of_task = Matrix::bytes(groups, steps * 2).max(1);
    let most = usize::try_from(PARTIAL_BYTES / of_task).unwrap_or(usize::MAX);
    // Long series are worth several threads even when they are few.
    (most >= FEWEST).then(|| series.div_ceil(BATCH).clamp(FEWEST, most.min(64)))
}

/// A series whose values are added.
struct Series<'a> {
    context: &'a Context<'a>,
    stream: &'a Stream,
    index: usize,
}

impl Series<'_> {
    fn drops_name(&self) -> bool {
        self.stream.metas.drops_name(self.index)
    }

    fn metric_name(&self) -> String {
        let labels = self.stream.metas.labels(self.context, &self.stream.source, self.index);
        labels.metric_name().to_owned()
    }
}

/// A group's values so far, column by column.
struct State {
    op: AggregateOp,
    steps: usize,
    /// Steps with a sample that counts.
    valid: Vec<u64>,
    drop_name: bool,
    values: Values,
    /// Histograms of `sum` and `avg`; empty as long as there is none.
    histograms: Vec<Option<HistogramState>>,
    /// Steps with floats and with histograms; kept only once there are histograms.
    floats: Vec<u64>,
}

enum Values {
    /// Of `sum`: sum and lost; of `min` and `max`: the extreme; of `count`: the count.
    One(Vec<f64>),
    Sum(Vec<f64>, Vec<f64>),
    Mean(Vec<kahan::Mean>),
    /// Count, mean, sum of squared distances.
    Variance(Vec<(f64, f64, f64)>),
    All(Vec<Vec<f64>>),
}

enum HistogramState {
    Sum(Box<hist::Sum>),
    Mean(Box<hist::Mean>),
    /// Exponential and custom buckets were mixed.
    Incompatible,
}

impl State {
    fn new(op: AggregateOp, steps: usize) -> Self {
        let values = match op {
            AggregateOp::Sum => Values::Sum(vec![-0.0; steps], vec![0.0; steps]),
            AggregateOp::Avg => Values::Mean(vec![kahan::Mean::empty(); steps]),
            AggregateOp::Stddev | AggregateOp::Stdvar => Values::Variance(vec![(0.0, 0.0, 0.0); steps]),
            AggregateOp::Quantile => Values::All(vec![Vec::new(); steps]),
            AggregateOp::Min | AggregateOp::Max => Values::One(vec![f64::NAN; steps]),
            _ => Values::One(vec![0.0; steps]),
        };
        Self {
            op,
            steps,
            valid: vec![0; super::matrix::words(steps)],
            drop_name: false,
            values,
            histograms: Vec::new(),
            floats: Vec::new(),
        }
    }

    fn add(&mut self, series: &Series<'_>, row: RowView<'_>, span: Span, annotations: &mut Annotations) {
        if row.is_empty() {
            return;
        }
        if row.histograms.is_empty() {
            self.drop_name |= series.drops_name();
            self.add_floats(row);
            return;
        }
        match self.op {
            // One sample is like another.
            AggregateOp::Count | AggregateOp::Group => {
                self.drop_name |= series.drops_name();
                self.add_floats(RowView { histograms: &[], ..row });
            }
            AggregateOp::Sum | AggregateOp::Avg => {
                self.drop_name |= series.drops_name();
                self.add_histograms(series, row, span, annotations);
            }
            op => {
                let aggregation = op.as_str();
                annotations.add(Message::HistogramIgnoredInAggregation { aggregation }, span);
                let mut floats = Row::default();
                row.copy_to(&mut floats);
                floats.drop_histograms();
                if !floats.view().is_empty() {
                    self.drop_name |= series.drops_name();
                    self.add_floats(floats.view());
                }
            }
        }
    }

    fn add_floats(&mut self, row: RowView<'_>) {
        let full = count_ones(row.valid) == self.steps;
        let valid = row.valid;
        let each = |f: &mut dyn FnMut(usize, f64)| {
            for step in ones(valid) {
                f(step, row.values[step]);
            }
        };
        match &mut self.values {
            Values::Sum(sums, losts) => {
                if full {
                    for ((sum, lost), &value) in sums.iter_mut().zip(losts.iter_mut()).zip(row.values) {
                        (*sum, *lost) = kahan::add(value, *sum, *lost);
                    }
                } else {
                    each(&mut |step, value| {
                        (sums[step], losts[step]) = kahan::add(value, sums[step], losts[step])
                    });
                }
            }
            // A branch for each step would cost more than the work.
            Values::One(values) if full => match self.op {
                AggregateOp::Count => values.iter_mut().for_each(|count| *count += 1.0),
                AggregateOp::Group => values.fill(1.0),
                AggregateOp::Max => values.iter_mut().zip(row.values).for_each(|(most, &value)| {
                    *most = if *most < value || most.is_nan() { value } else { *most };
                }),
                _ => values.iter_mut().zip(row.values).for_each(|(least, &value)| {
                    *least = if *least > value || least.is_nan() { value } else { *least };
                }),
            },
            Values::One(values) => match self.op {
                AggregateOp::Count => each(&mut |step, _| values[step] += 1.0),
                AggregateOp::Group => each(&mut |step, _| values[step] = 1.0),
                AggregateOp::Max => each(&mut |step, value| {
                    if values[step] < value || values[step].is_nan() {
                        values[step] = value;
                    }
                }),
                _ => each(&mut |step, value| {
                    if values[step] > value || values[step].is_nan() {
                        values[step] = value;
                    }
                }),
            },
            Values::Mean(means) => each(&mut |step, value| means[step].add(value)),
            Values::Variance(all) => each(&mut |step, value| {
                let (count, mean, squares) = &mut all[step];
                *count += 1.0;
                if *count == 1.0 {
                    (*mean, *squares) = (value, if value.is_finite() { 0.0 } else { f64::NAN });
                } else {
                    let delta = value - *mean;
                    *mean += delta / *count;
                    *squares += delta * (value - *mean);
                }
            }),
            Values::All(all) => each(&mut |step, value| all[step].push(value)),
        }
        self.valid.iter_mut().zip(valid).for_each(|(all, more)| *all |= more);
        if !self.floats.is_empty() {
            self.floats.iter_mut().zip(valid).for_each(|(all, more)| *all |= more);
        }
    }

    /// From here on floats and histograms are told apart.
    fn begin_histograms(&mut self) {
        if self.histograms.is_empty() {
            self.histograms.resize_with(self.steps, || None);
            self.floats.clone_from(&self.valid);
        }
    }

    fn add_histograms(
        &mut self,
        series: &Series<'_>,
        row: RowView<'_>,
        span: Span,
        annotations: &mut Annotations,
    ) {
        self.begin_histograms();
        let mut floats = Row::default();
        row.copy_to(&mut floats);
        floats.drop_histograms();
        self.add_floats(floats.view());
        for (step, histogram) in row.histograms {
            let step = *step as usize;
            set_bit(&mut self.valid, step);
            if bit(&self.floats, step) {
                // Nothing will come of a mix.
                self.histograms[step].get_or_insert(HistogramState::Incompatible);
                continue;
            }
            let state = &mut self.histograms[step];
            let failed = match state {
                None => {
                    *state = Some(if self.op == AggregateOp::Sum {
                        HistogramState::Sum(Box::new(hist::Sum::new(histogram)))
                    } else {
                        HistogramState::Mean(Box::new(hist::Mean::new(histogram)))
                    });
                    false
                }
                Some(HistogramState::Sum(sum)) => sum.add(histogram).is_err(),
                Some(HistogramState::Mean(mean)) => mean.add(histogram).is_err(),
                Some(HistogramState::Incompatible) => false,
            };
            if failed {
                *state = Some(HistogramState::Incompatible);
                let metric = series.metric_name();
                annotations.add(Message::MixedExponentialCustomHistograms { metric }, span);
            }
        }
    }

    /// Adds a later part of the same group.
    fn merge(&mut self, other: Self, span: Span, annotations: &mut Annotations) {
        self.drop_name |= other.drop_name;
        if !other.histograms.is_empty() {
            self.begin_histograms();
        }
        let other_floats = if other.floats.is_empty() { &other.valid } else { &other.floats };
        match (&mut self.values, other.values) {
            (Values::Sum(sums, losts), Values::Sum(other_sums, other_losts)) => {
                for step in 0..self.steps {
                    let (sum, lost) = kahan::add(other_sums[step], sums[step], losts[step]);
                    (sums[step], losts[step]) = (sum, lost + other_losts[step]);
                }
            }
            (Values::One(values), Values::One(others)) => {
                for step in ones(&other.valid) {
                    let (value, new) = (&mut values[step], others[step]);
                    match self.op {
                        AggregateOp::Count => *value += new,
                        AggregateOp::Group => *value = 1.0,
                        AggregateOp::Max if *value < new || value.is_nan() => *value = new,
                        AggregateOp::Min if *value > new || value.is_nan() => *value = new,
                        _ => {}
                    }
                }
            }
            (Values::Mean(means), Values::Mean(others)) => {
                for step in ones(other_floats) {
                    means[step].merge(&others[step]);
                }
            }
            (Values::Variance(all), Values::Variance(others)) => {
                for (mine, theirs) in all.iter_mut().zip(others) {
                    *mine = merge_variance(*mine, theirs);
                }
            }
            (Values::All(all), Values::All(others)) => {
                all.iter_mut().zip(others).for_each(|(all, mut more)| all.append(&mut more));
            }
            _ => unreachable!("parts of one group have one operator"),
        }
        if !self.floats.is_empty() {
            let more = other_floats.clone();
            self.floats.iter_mut().zip(more).for_each(|(all, more)| *all |= more);
        }
        self.valid.iter_mut().zip(&other.valid).for_each(|(all, more)| *all |= more);
        for (mine, theirs) in self.histograms.iter_mut().zip(other.histograms) {
            let failed = match (mine.as_mut(), theirs) {
                (_, None) => false,
                (None, theirs) => {
                    *mine = theirs;
                    false
                }
                (Some(HistogramState::Sum(sum)), Some(HistogramState::Sum(other))) => {
                    sum.merge(&other).is_err()
                }
                (Some(HistogramState::Mean(mean)), Some(HistogramState::Mean(other))) => {
                    mean.merge(&other).is_err()
                }
                (Some(state), Some(_)) => {
                    *state = HistogramState::Incompatible;
                    false
                }
            };
            if failed {
                *mine = Some(HistogramState::Incompatible);
                let metric = String::new();
                annotations.add(Message::MixedExponentialCustomHistograms { metric }, span);
            }
        }
    }

    fn finish(
        mut self,
        labels: Labels,
        param: &Scalar,
        span: Span,
        annotations: &mut Annotations,
        out: &mut Matrix,
    ) {
        let mut row = Row::default();
        row.reset(self.steps);
        row.valid.copy_from_slice(&self.valid);
        match self.values {
            Values::Sum(sums, losts) => {
                for ((out, sum), lost) in row.values.iter_mut().zip(&sums).zip(&losts) {
                    *out = sum + lost;
                }
            }
            Values::One(values) => row.values = values,
            Values::Mean(means) => {
                for (out, mean) in row.values.iter_mut().zip(&means) {
                    *out = mean.value();
                }
            }
            Values::Variance(all) => {
                for (out, (count, _, squares)) in row.values.iter_mut().zip(all) {
                    let variance = squares / count;
                    *out = if self.op == AggregateOp::Stddev { variance.sqrt() } else { variance };
                }
            }
            Values::All(mut all) => {
                for (step, values) in all.iter_mut().enumerate().filter(|(_, values)| !values.is_empty()) {
                    row.values[step] = super::range::quantile(param.at(step), values);
                }
            }
        }
        for (step, state) in self.histograms.drain(..).enumerate() {
            let Some(state) = state else { continue };
            if bit(&self.floats, step) {
                annotations.add(Message::MixedFloatsHistogramsInAggregation, span);
                super::matrix::clear_bit(&mut row.valid, step);
                continue;
            }
            let (mut histogram, combined) = match state {
                HistogramState::Sum(sum) => sum.finish(),
                HistogramState::Mean(mean) => mean.finish(),
                HistogramState::Incompatible => {
                    super::matrix::clear_bit(&mut row.valid, step);
                    continue;
                }
            };
            hist::compact(&mut histogram);
            if combined.reconciled {
                annotations.add(Message::MismatchedCustomBuckets(Operation::Aggregation), span);
            }
            if combined.reset_conflict {
                annotations.add(Message::ResetCollision(Operation::Aggregation), span);
            }
            row.set_histogram(step, Arc::new(histogram));
        }
        out.push(Meta { labels, drop_name: self.drop_name }, row.view());
    }
}

/// Count, mean and sum of squared distances of two sets together.
///
/// Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
fn merge_variance(a: (f64, f64, f64), b: (f64, f64, f64)) -> (f64, f64, f64) {
    if a.0 == 0.0 {
        return b;
    }
    if b.0 == 0.0 {
        return a;
    }
    let count = a.0 + b.0;
    let delta = b.1 - a.1;
    (count, a.1 + delta * b.0 / count, a.2 + b.2 + delta * delta * a.0 * b.0 / count)
}
