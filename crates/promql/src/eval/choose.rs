//! Aggregations that keep some of the series as they are: `topk`, `bottomk`, `limitk`, `limit_ratio`; and `count_values`,
//! whose groups depend on the values.

use std::collections::HashMap;

use model::Labels;
use xxhash_rust::xxh64::xxh64;

use super::aggregate::Groups;
use super::error::Error;
use super::labels::Ids;
use super::matrix::{Cell, Matrix, Meta, Row, bit, count_ones, ones, set_bit, words};
use super::stream::{self, BATCH, Stream};
use super::{Evaluator, Scalar};
use crate::annotations::Message;
use crate::ast::{AggregateOp, Span};
use crate::number::go_f;
use crate::plan::Node;

/// The largest float below 2^63.
const MAX_K: f64 = 9_223_372_036_854_774_784.0;
/// −2^63.
const MIN_K: f64 = -9_223_372_036_854_775_808.0;

impl Evaluator<'_, '_> {
    #[expect(clippy::too_many_arguments, reason = "the parts of an aggregation")]
    pub(super) fn choose(
        &mut self,
        op: AggregateOp,
        stream: &Stream,
        param: &Scalar,
        grouping: &[String],
        without: bool,
        node: &Node,
        param_span: Span,
    ) -> Result<Matrix, Error> {
        let params: Vec<f64> = (0..node.grid.count).map(|step| param.at(step)).collect();
        // NaN is neither the largest nor the smallest, but alone.
        let max = params.iter().copied().fold(f64::NAN, f64::max);
        let min = params.iter().copied().fold(f64::NAN, f64::min);
        let any_nan = params.iter().any(|param| param.is_nan());
        if op == AggregateOp::LimitRatio {
            if max == 0.0 && min == 0.0 {
                return Ok(Matrix::new(stream.steps));
            }
            if any_nan {
                return Err(Error::evaluation("Ratio value is NaN"));
            }
            for (got, capped, wrong) in [(max, 1.0, max > 1.0), (min, -1.0, min < -1.0)] {
                if wrong {
                    self.annotations.add(Message::InvalidRatio { got, capped }, param_span);
                }
            }
            return self.by_ratio(stream, &params);
        }
        if max < 1.0 {
            return Ok(Matrix::new(stream.steps));
        }
        if any_nan {
            return Err(Error::evaluation("Parameter value is NaN"));
        }
        if min <= MIN_K {
            return Err(Error::evaluation(format!(
                "Scalar value {} underflows int64",
                crate::number::go_g(min)
            )));
        }
        if max >= MAX_K {
            return Err(Error::evaluation(format!(
                "Scalar value {} overflows int64",
                crate::number::go_g(max)
            )));
        }
        let groups = Groups::of(self.context, stream, grouping, without);
        let series = stream.metas.len();
        let ks: Vec<usize> =
            params.iter().map(|&k| if k < 1.0 { 0 } else { (k as usize).min(series) }).collect();
        self.by_rank(op, stream, &groups, &ks, node)
    }

    /// Series whose labels' hash lies in the wanted part of all hashes, so that equal label sets are always chosen alike
    /// and `r` and `r − 1` complement each other.
    fn by_ratio(&mut self, stream: &Stream, ratios: &[f64]) -> Result<Matrix, Error> {
        let offset = |index: usize| {
            let labels = stream.metas.labels(self.context, &stream.source, index);
            xxh64(labels.as_encoded(), 0) as f64 / u64::MAX as f64
        };
        let offsets: Vec<f64> = (0..stream.metas.len()).map(offset).collect();
        let keeps = |offset: f64, ratio: f64| {
            let ratio = ratio.clamp(-1.0, 1.0);
            if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
        };
        let context = self.context;
        let all: Vec<usize> = (0..stream.metas.len())
            .filter(|&index| ratios.iter().any(|&ratio| keeps(offsets[index], ratio)))
            .collect();
        let parts = stream::parallel(self, stream, all.len().div_ceil(BATCH), |worker, task| {
            let chosen = &all[task * BATCH..((task + 1) * BATCH).min(all.len())];
            let mut hold = context.reserve(Matrix::bytes(chosen.len(), stream.steps))?;
            let mut part = Matrix::new(stream.steps);
            for &index in chosen {
                worker.fill(context, stream, index)?;
                let mut mask = vec![0u64; words(stream.steps)];
                for (step, &ratio) in ratios.iter().enumerate() {
                    if keeps(offsets[index], ratio) {
                        set_bit(&mut mask, step);
                    }
                }
                worker.row.mask(|word| mask[word]);
                part.push(stream.metas.get(context, &stream.source, index), worker.row.view());
            }
            context.hold(&mut hold, part.samples())?;
            part.hold.merge(hold);
            Ok(part)
        })?;
        let mut result = Matrix::new(stream.steps);
        parts.into_iter().for_each(|part| result.append(part));
        Ok(result)
    }

    /// The `ks[step]` best of each group at each step.
    fn by_rank(
        &mut self,
        op: AggregateOp,
        stream: &Stream,
        groups: &Groups,
        ks: &[usize],
        node: &Node,
    ) -> Result<Matrix, Error> {
        let (steps, context) = (stream.steps, self.context);
        let series = stream.metas.len();
        // Each task keeps its own best, and the best of those are the best of all.
        let batch = BATCH * 8;
        let parts = stream::parallel(self, stream, series.div_ceil(batch), |worker, task| {
            let mut best: HashMap<u32, Vec<Vec<Ranked>>> = HashMap::new();
            for index in task * batch..((task + 1) * batch).min(series) {
                worker.fill(context, stream, index)?;
                if op != AggregateOp::Limitk && worker.row.drop_histograms() {
                    let aggregation = op.as_str();
                    worker.annotations.add(Message::HistogramIgnoredInAggregation { aggregation }, node.span);
                }
                if worker.row.view().is_empty() {
                    continue;
                }
                let best = best.entry(groups.ids[index]).or_insert_with(|| vec![Vec::new(); steps]);
                for step in ones(&worker.row.valid) {
                    let ranked = Ranked { value: worker.row.values[step], series: index as u32 };
                    insert(op, &mut best[step], ranked, ks[step]);
                }
            }
            Ok(best)
        })?;
        let mut best: Vec<Option<Vec<Vec<Ranked>>>> = vec![None; groups.labels.len()];
        for part in parts {
            for (group, lists) in part {
                match &mut best[group as usize] {
                    empty @ None => *empty = Some(lists),
                    Some(all) => {
                        for (step, (all, more)) in all.iter_mut().zip(lists).enumerate() {
                            more.into_iter().for_each(|ranked| insert(op, all, ranked, ks[step]));
                        }
                    }
                }
            }
        }
        if steps == 1 {
            // In the order of rank, group by group.
            let order: Vec<u32> =
                best.iter().flatten().flat_map(|lists| &lists[0]).map(|r| r.series).collect();
            let mut result = Matrix::new(1);
            let mut worker = stream::Worker::new(1, false);
            for index in order {
                worker.fill(context, stream, index as usize)?;
                result.push(stream.metas.get(context, &stream.source, index as usize), worker.row.view());
            }
            return Ok(result);
        }
        let mut chosen: HashMap<u32, Vec<u64>> = HashMap::new();
        for lists in best.iter().flatten() {
            for (step, list) in lists.iter().enumerate() {
                for ranked in list {
                    set_bit(chosen.entry(ranked.series).or_insert_with(|| vec![0; words(steps)]), step);
                }
            }
        }
        let mut order: Vec<u32> = chosen.keys().copied().collect();
        order.sort_unstable();
        let mut hold = context.reserve(Matrix::bytes(order.len(), steps))?;
        let mut result = Matrix::new(steps);
        let mut worker = stream::Worker::new(steps, false);
        for index in order {
            context.check()?;
            worker.fill(context, stream, index as usize)?;
            let mask = &chosen[&index];
            worker.row.mask(|word| mask[word]);
            result.push(stream.metas.get(context, &stream.source, index as usize), worker.row.view());
        }
        context.hold(&mut hold, result.samples())?;
        result.hold.merge(hold);
        Ok(result)
    }
}

#[derive(Clone, Copy, Debug)]
struct Ranked {
    value: f64,
    series: u32,
}

/// Inserts into a list that is sorted best first, and keeps at most `k`. Among equals the earlier stays; NaN is the worst.
fn insert(op: AggregateOp, list: &mut Vec<Ranked>, new: Ranked, k: usize) {
    let better = |a: f64, b: f64| match op {
        AggregateOp::Limitk => false,
        _ if b.is_nan() => !a.is_nan(),
        AggregateOp::Topk => a > b,
        _ => a < b,
    };
    if list.len() >= k && list.last().is_none_or(|worst| !better(new.value, worst.value)) {
        return;
    }
    let at = list.partition_point(|other| !better(new.value, other.value));
    list.insert(at, new);
    list.truncate(k);
}

/// How often each value occurs, the value in the label `label`.
pub(super) fn count_values(
    matrix: &Matrix,
    label: &str,
    grouping: &[String],
    without: bool,
) -> Result<Matrix, Error> {
    if label.is_empty() {
        return Err(Error::evaluation("invalid label name \"\""));
    }
    let mut names = grouping.to_vec();
    if !without {
        names.push(label.to_owned());
    }
    let mut ids = if without { Ids::without(&names) } else { Ids::by(&names) };
    let mut labels: Vec<Labels> = Vec::new();
    let mut counts: Vec<Row> = Vec::new();
    for (meta, row) in matrix.rows() {
        // A series often repeats a value.
        let mut last: Option<(u64, usize)> = None;
        for step in ones(row.valid) {
            let (bits, text) = match row.get(step) {
                Some(Cell::Float(value)) => (value.to_bits(), None),
                Some(Cell::Histogram(histogram)) => (0, Some(crate::histogram::describe(histogram))),
                None => continue,
            };
            let group = match last {
                Some((known, group)) if text.is_none() && known == bits => group,
                _ => {
                    let is_float = text.is_none();
                    let mut builder = meta.labels.to_builder();
                    builder.set(label, text.unwrap_or_else(|| go_f(f64::from_bits(bits))));
                    let full = builder.build();
                    let (id, new) = ids.id(&full);
                    if new {
                        labels.push(ids.subset(&full));
                        let mut row = Row::default();
                        row.reset(matrix.steps);
                        counts.push(row);
                    }
                    last = is_float.then_some((bits, id as usize));
                    id as usize
                }
            };
            let count = &mut counts[group];
            let before = if bit(&count.valid, step) { count.values[step] } else { 0.0 };
            count.set(step, before + 1.0);
        }
    }
    let mut result = Matrix::new(matrix.steps);
    for (labels, row) in labels.into_iter().zip(counts) {
        result.push(Meta { labels, drop_name: false }, row.view());
    }
    debug_assert!(result.rows().all(|(_, row)| count_ones(row.valid) > 0));
    Ok(result)
}
