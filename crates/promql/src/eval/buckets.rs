//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`, over native histograms and over classic ones,
//! which are series with an `le` label each.

use std::collections::HashMap;
use std::sync::Arc;

use model::Labels;

use super::error::Error;
use super::instant::check_quantile;
use super::matrix::{Cell, Matrix, Meta, Row, bit, ones};
use super::{Evaluator, Scalar, Value, Vector};
use crate::annotations::{Annotation, Forced, Message};
use crate::ast::Span;
use crate::functions::FunctionId;
use crate::histogram::quantile::{NanObservations, fraction, quantile};
use crate::number::open_metrics;
use crate::plan::{Node, NodeId};

/// The label that holds a classic bucket's upper bound.
const LE: &str = "le";

/// A classic bucket: its upper bound, and observations up to there.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    upper: f64,
    count: f64,
}

/// What is computed of a histogram.
enum Asked {
    Quantile(Scalar),
    Fraction(Scalar, Scalar),
}

/// The series of one histogram.
#[derive(Default)]
struct Group {
    /// Upper bound and row of each classic bucket, ascending.
    buckets: Vec<(f64, usize)>,
    /// Rows with native histograms.
    native: Vec<usize>,
    drop_name: bool,
}

impl Evaluator<'_, '_> {
    pub(super) fn histogram_function(
        &mut self,
        function: FunctionId,
        args: &[NodeId],
        node: &Node,
    ) -> Result<Value, Error> {
        let span = |at: usize| node.arg_spans.get(at).copied().unwrap_or(node.span);
        let mut asked = Vec::new();
        let (vector, vector_span) = match function {
            FunctionId::HistogramFraction => {
                asked.push((Asked::Fraction(self.scalar(args[0])?, self.scalar(args[1])?), None));
                (args[2], span(2))
            }
            FunctionId::HistogramQuantile => {
                asked.push((Asked::Quantile(self.scalar(args[0])?), None));
                self.check_quantiles(&asked[0].0, span(0));
                (args[1], span(1))
            }
            _ => {
                let label = self.text(args[1])?;
                for (at, &arg) in args.iter().enumerate().skip(2) {
                    let asking = Asked::Quantile(self.scalar(arg)?);
                    self.check_quantiles(&asking, span(at));
                    asked.push((asking, Some(label.clone())));
                }
                (args[0], span(0))
            }
        };
        let matrix = self.matrix(vector)?;
        let groups = self.groups(&matrix, vector_span);
        let mut result = Matrix::new(matrix.steps);
        for (asking, label) in &asked {
            self.context.check()?;
            for (labels, group) in &groups {
                self.ask(&matrix, labels, group, asking, label.as_deref(), vector_span, node, &mut result);
            }
        }
        Ok(Value::Vector(Vector::Ready(Arc::new(result.merge_same_labels()?))))
    }

    fn check_quantiles(&mut self, asked: &Asked, span: Span) {
        if let Asked::Quantile(q) = asked {
            q.values().iter().for_each(|&q| check_quantile(q, span, &mut self.annotations));
        }
    }

    /// The metric's name as annotations show it: it is gone when names are removed at once.
    fn shown_name(&self, labels: &Labels) -> String {
        if self.context.plan.options.delayed_name_removal {
            labels.metric_name().to_owned()
        } else {
            String::new()
        }
    }

    fn groups(&mut self, matrix: &Matrix, span: Span) -> Vec<(Labels, Group)> {
        let mut groups: Vec<(Labels, Group)> = Vec::new();
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut group_of = |labels: Labels, groups: &mut Vec<(Labels, Group)>, drop_name: bool| {
            let at = *known.entry(labels.clone()).or_insert_with(|| {
                groups.push((labels, Group::default()));
                groups.len() - 1
            });
            groups[at].1.drop_name |= drop_name;
            at
        };
        for (index, (meta, row)) in matrix.rows().enumerate() {
            if !row.histograms.is_empty() {
                let at = group_of(meta.labels.clone(), &mut groups, meta.drop_name);
                groups[at].1.native.push(index);
            }
            if super::matrix::count_ones(row.valid) == row.histograms.len() {
                continue;
            }
            let le = meta.labels.get(LE).unwrap_or_default();
            let Ok(upper) = le.parse::<f64>() else {
                let (metric, value) = (self.shown_name(&meta.labels), le.to_owned());
                self.annotations.add(Message::BadBucketLabel { metric, value }, span);
                continue;
            };
            let at = group_of(meta.labels.filtered(|name| name != LE), &mut groups, meta.drop_name);
            groups[at].1.buckets.push((upper, index));
        }
        for (_, group) in &mut groups {
            group.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        groups
    }

    #[expect(clippy::too_many_arguments, reason = "one inner loop, called from one place")]
    fn ask(
        &mut self,
        matrix: &Matrix,
        labels: &Labels,
        group: &Group,
        asked: &Asked,
        label: Option<&str>,
        span: Span,
        node: &Node,
        result: &mut Matrix,
    ) {
        // With a quantile for each step in a label, each value makes its own series.
        let mut rows: Vec<(Option<f64>, Row)> = Vec::new();
        let steps = matrix.steps;
        let natives: Vec<_> = group.native.iter().map(|&row| matrix.row(row)).collect();
        let classic: Vec<_> = group.buckets.iter().map(|&(upper, row)| (upper, matrix.row(row))).collect();
        let mut any = vec![0u64; super::matrix::words(steps)];
        for row in natives.iter().chain(classic.iter().map(|(_, row)| row)) {
            any.iter_mut().zip(row.valid).for_each(|(any, valid)| *any |= valid);
        }
        let mut buckets = Vec::new();
        for step in ones(&any) {
            buckets.clear();
            for (upper, row) in &classic {
                if bit(row.valid, step)
                    && let Some(Cell::Float(count)) = row.get(step)
                {
                    buckets.push(Bucket { upper: *upper, count });
                }
            }
            let native = natives.iter().find_map(|row| match row.get(step) {
                Some(Cell::Histogram(histogram)) => Some(histogram),
                _ => None,
            });
            let value = match native {
                Some(_) if !buckets.is_empty() => {
                    let metric = self.shown_name(labels);
                    self.annotations.add(Message::MixedClassicNativeHistograms { metric }, span);
                    continue;
                }
                Some(histogram) => {
                    let (value, nans) = match asked {
                        Asked::Quantile(q) => quantile(q.at(step), histogram),
                        Asked::Fraction(lower, upper) => fraction(lower.at(step), upper.at(step), histogram),
                    };
                    if nans != NanObservations::None {
                        let metric = self.shown_name(labels);
                        let message = match (asked, nans) {
                            (Asked::Fraction(..), _) => Message::FractionWithoutNans { metric },
                            (_, NanObservations::Result) => Message::QuantileOfNans { metric },
                            _ => Message::QuantileSkewedByNans { metric },
                        };
                        self.annotations.add(message, span);
                    }
                    value
                }
                None if buckets.is_empty() => continue,
                None => match asked {
                    Asked::Fraction(lower, upper) => {
                        bucket_fraction(lower.at(step), upper.at(step), &mut buckets)
                    }
                    Asked::Quantile(q) => {
                        let (value, forced) = bucket_quantile(q.at(step), &mut buckets);
                        if let Some(mut forced) = forced {
                            (forced.first, forced.last) = (node.grid.at(step), node.grid.at(step));
                            let metric = self.shown_name(labels);
                            let message = Message::ForcedMonotonicity { metric };
                            self.annotations.insert(Annotation { message, span, forced: Some(forced) });
                        }
                        value
                    }
                },
            };
            let of = match (asked, label) {
                (Asked::Quantile(q), Some(_)) => Some(q.at(step)),
                _ => None,
            };
            let at = rows.iter().position(|(q, _)| q.map(f64::to_bits) == of.map(f64::to_bits));
            let at = at.unwrap_or_else(|| {
                let mut row = Row::default();
                row.reset(steps);
                rows.push((of, row));
                rows.len() - 1
            });
            rows[at].1.set(step, value);
        }
        for (q, row) in rows {
            let mut labels = labels.clone();
            if let (Some(q), Some(label)) = (q, label) {
                let mut builder = labels.to_builder();
                builder.set(label, open_metrics(q));
                labels = builder.build();
            }
            let mut meta = Meta { labels, drop_name: group.drop_name };
            self.drop_name(&mut meta);
            result.push(meta, row.view());
        }
    }
}

/// Sums up buckets with the same bound; the last must be that of +∞.
fn prepare(buckets: &mut Vec<Bucket>) -> bool {
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    true
}

/// Whether two counts differ by no more than rounding errors.
fn nearly(a: f64, b: f64) -> bool {
    const TOLERANCE: f64 = 1e-12;
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// Raises counts that are less than those of lower buckets; `None` when none had to be, rounding errors aside.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let mut highest = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if bucket.count == highest {
            continue;
        }
        if nearly(bucket.count, highest) {
            bucket.count = highest;
        } else if bucket.count < highest {
            let difference = highest - bucket.count;
            bucket.count = highest;
            let forced = forced.get_or_insert(Forced {
                first: 0,
                last: 0,
                min_bucket: bucket.upper,
                max_bucket: bucket.upper,
                max_diff: difference,
                samples: 1,
            });
            forced.max_bucket = bucket.upper;
            forced.max_diff = forced.max_diff.max(difference);
        } else {
            highest = bucket.count;
        }
    }
    forced
}

/// The `q`-quantile of a classic histogram, whose observations are spread evenly within each bucket. `buckets`: ascending.
fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !prepare(buckets) {
        return (f64::NAN, None);
    }
    let forced = make_monotonic(buckets);
    let last = buckets.len() - 1;
    if last == 0 || buckets[last].count == 0.0 || buckets[last].count.is_nan() {
        return (f64::NAN, None);
    }
    let mut rank = q * buckets[last].count;
    let at = buckets[..last].partition_point(|bucket| bucket.count < rank);
    if at == last {
        return (buckets[last - 1].upper, forced);
    }
    if at == 0 && buckets[0].upper <= 0.0 {
        return (buckets[0].upper, forced);
    }
    let Bucket { upper, mut count } = buckets[at];
    let mut lower = 0.0;
    if at > 0 {
        lower = buckets[at - 1].upper;
        count -= buckets[at - 1].count;
        rank -= buckets[at - 1].count;
    }
    (lower + (upper - lower) * (rank / count), forced)
}

/// The fraction of a classic histogram's observations between two values. `buckets`: ascending.
fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !prepare(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |value: f64| {
        let mut below = 0.0;
        // The first bucket of positive observations is taken to start at 0.
        let mut from = if buckets[0].upper > 0.0 { 0.0 } else { f64::NEG_INFINITY };
        for bucket in buckets.iter() {
            if from >= value {
                return below;
            }
            if bucket.upper > value {
                if from == f64::NEG_INFINITY {
                    return bucket.count;
                }
                return below + (bucket.count - below) * (value - from) / (bucket.upper - from);
            }
            below = bucket.count;
            from = bucket.upper;
        }
        count
    };
    (rank(upper).min(count) - rank(lower).min(count)) / count
}
