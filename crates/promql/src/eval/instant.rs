//! Functions of instant vectors that look at one sample at a time.

use std::f64::consts::PI;
use std::sync::Arc;

use model::Labels;

use super::date::Date;
use super::error::Error;
use super::matrix::{Grid, Matrix, Meta, Row, bit, fill_bits, ones, set_bit};
use super::{Evaluator, Scalar, Value, Vector, full_row, map_scalar, stream};
use crate::annotations::{Annotations, Message};
use crate::functions::FunctionId;
use crate::histogram as hist;
use crate::plan::{Node, NodeId};

/// A function of one float.
fn float_function(function: FunctionId) -> Option<fn(f64) -> f64> {
    use FunctionId as F;
    Some(match function {
        F::Abs => f64::abs,
        F::Acos => f64::acos,
        F::Acosh => f64::acosh,
        F::Asin => f64::asin,
        F::Asinh => f64::asinh,
        F::Atan => f64::atan,
        F::Atanh => f64::atanh,
        F::Ceil => f64::ceil,
        F::Cos => f64::cos,
        F::Cosh => f64::cosh,
        F::Deg => |value| value * 180.0 / PI,
        F::Exp => f64::exp,
        F::Floor => f64::floor,
        F::Ln => f64::ln,
        F::Log10 => f64::log10,
        F::Log2 => f64::log2,
        F::Rad => |value| value * PI / 180.0,
        F::Sgn => |value| {
            if value < 0.0 {
                -1.0
            } else if value > 0.0 {
                1.0
            } else {
                value
            }
        },
        F::Sin => f64::sin,
        F::Sinh => f64::sinh,
        F::Sqrt => f64::sqrt,
        F::Tan => f64::tan,
        F::Tanh => f64::tanh,
        F::DayOfMonth | F::DayOfWeek | F::DayOfYear | F::DaysInMonth => date_function(function)?,
        F::Hour | F::Minute | F::Month | F::Year => date_function(function)?,
        _ => return None,
    })
}

/// A function of a time in seconds.
fn date_function(function: FunctionId) -> Option<fn(f64) -> f64> {
    use FunctionId as F;
    // The cast saturates, and makes 0 of NaN.
    fn date(seconds: f64) -> Date {
        const LIMIT: i64 = 1 << 55;
        Date::from_seconds((seconds as i64).clamp(-LIMIT, LIMIT))
    }
    Some(match function {
        F::DayOfMonth => |t| f64::from(date(t).day),
        F::DayOfWeek => |t| f64::from(date(t).weekday),
        F::DayOfYear => |t| f64::from(date(t).day_of_year()),
        F::DaysInMonth => |t| f64::from(date(t).days_in_month()),
        F::Hour => |t| f64::from(date(t).hour),
        F::Minute => |t| f64::from(date(t).minute),
        F::Month => |t| f64::from(date(t).month),
        F::Year => |t| date(t).year as f64,
        _ => return None,
    })
}

/// A function of one histogram.
fn histogram_function(function: FunctionId) -> Option<fn(&model::Histogram) -> f64> {
    use FunctionId as F;
    Some(match function {
        F::HistogramAvg => |h| h.sum / h.count,
        F::HistogramCount => |h| h.count,
        F::HistogramSum => |h| h.sum,
        F::HistogramStddev => |h| hist::quantile::variance(h).sqrt(),
        F::HistogramStdvar => hist::quantile::variance,
        _ => return None,
    })
}

/// `-v`
pub(super) fn negate(row: &mut Row, _: &mut Annotations) {
    for value in &mut row.values {
        *value = -*value;
    }
    for (_, histogram) in &mut row.histograms {
        hist::scale(Arc::make_mut(histogram), -1.0);
    }
}

/// Checks the scalar arguments of range functions.
pub(super) fn check_range_args(
    function: FunctionId,
    args: &[Scalar],
    node: &Node,
    annotations: &mut Annotations,
) -> Result<(), Error> {
    match function {
        FunctionId::QuantileOverTime => {
            for &q in args[0].values() {
                check_quantile(q, node.arg_spans[0], annotations);
            }
        }
        FunctionId::DoubleExponentialSmoothing => {
            for (scalar, (name, symbol)) in args.iter().zip([("smoothing", "sf"), ("trend", "tf")]) {
                if let Some(wrong) = scalar.values().iter().find(|&&f| f <= 0.0 || f >= 1.0) {
                    return Err(Error::evaluation(format!(
                        "invalid {name} factor. Expected: 0 < {symbol} < 1, got: {wrong:.6}"
                    )));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn check_quantile(q: f64, span: crate::ast::Span, annotations: &mut Annotations) {
    if q.is_nan() || !(0.0..=1.0).contains(&q) {
        annotations.add(Message::InvalidQuantile { got: q }, span);
    }
}

impl Evaluator<'_, '_> {
    /// Evaluates a function that has no range among its arguments.
    pub(super) fn call(
        &mut self,
        function: FunctionId,
        args: &[NodeId],
        absent: Option<&Labels>,
        node: &Node,
    ) -> Result<Value, Error> {
        use FunctionId as F;
        let grid = node.grid;
        if let Some(f) = date_function(function)
            && args.is_empty()
        {
            let values = (0..grid.count).map(|step| f((grid.at(step).div_euclid(1000)) as f64)).collect();
            return Ok(self.single(&Row::full(values), grid));
        }
        if let Some(f) = float_function(function) {
            let vector = self.vector(args[0])?;
            return self.floats(vector, grid, f);
        }
        if let Some(f) = histogram_function(function) {
            let vector = self.vector(args[0])?;
            return self.stage(vector, grid, true, move |row, _| {
                let histograms = std::mem::take(&mut row.histograms);
                row.valid.fill(0);
                for (step, histogram) in &histograms {
                    row.set(*step as usize, f(histogram));
                }
            });
        }
        match function {
            F::Time => {
                let times = (0..grid.count).map(|step| grid.at(step) as f64 / 1000.0).collect();
                Ok(Value::Scalar(Scalar::Each(Arc::new(times))))
            }
            F::Pi => Ok(Value::Scalar(Scalar::Same(PI))),
            F::Start | F::End | F::Range | F::Step => {
                let query = self.context.plan.grid;
                let ms = match function {
                    F::Start => query.start,
                    F::End => self.context.plan.end,
                    F::Range => self.context.plan.end - query.start,
                    _ if self.context.plan.instant => 0,
                    _ => query.step,
                };
                Ok(Value::Scalar(Scalar::Same(ms as f64 / 1000.0)))
            }
            F::MaxOf | F::MinOf => {
                let (a, b) = (self.scalar(args[0])?, self.scalar(args[1])?);
                let pick = |a: f64, b: f64| match (a.is_nan() || b.is_nan(), function == F::MaxOf) {
                    (true, _) => f64::NAN,
                    (false, true) => a.max(b),
                    (false, false) => a.min(b),
                };
                Ok(Value::Scalar(match (&a, &b) {
                    (Scalar::Same(a), _) => map_scalar(&b, |b| pick(*a, b)),
                    (_, Scalar::Same(b)) => map_scalar(&a, |a| pick(a, *b)),
                    _ => Scalar::Each(Arc::new((0..grid.count).map(|s| pick(a.at(s), b.at(s))).collect())),
                }))
            }
            F::Vector => {
                let scalar = self.scalar(args[0])?;
                Ok(self.single(&full_row(&scalar, grid), grid))
            }
            F::Scalar => self.only_float(args[0], grid),
            F::Absent => {
                let vector = self.vector(args[0])?;
                let empty = Labels::empty();
                let matrix = self.absent(vector, absent.unwrap_or(&empty), grid)?;
                Ok(Value::Vector(Vector::Ready(Arc::new(matrix))))
            }
            F::Clamp | F::ClampMax | F::ClampMin => {
                let (low, high) = match function {
                    F::Clamp => (self.scalar(args[1])?, self.scalar(args[2])?),
                    F::ClampMax => (Scalar::Same(f64::NEG_INFINITY), self.scalar(args[1])?),
                    _ => (self.scalar(args[1])?, Scalar::Same(f64::INFINITY)),
                };
                let vector = self.vector(args[0])?;
                self.stage(vector, grid, true, move |row, _| {
                    row.drop_histograms();
                    for step in 0..row.values.len() {
                        let (low, high) = (low.at(step), high.at(step));
                        if high < low {
                            super::matrix::clear_bit(&mut row.valid, step);
                        } else {
                            row.values[step] = go_max(low, go_min(high, row.values[step]));
                        }
                    }
                })
            }
            F::Round => {
                let nearest = match args.get(1) {
                    Some(&nearest) => self.scalar(nearest)?,
                    None => Scalar::Same(1.0),
                };
                let vector = self.vector(args[0])?;
                self.stage(vector, grid, true, move |row, _| {
                    row.drop_histograms();
                    for (step, value) in row.values.iter_mut().enumerate() {
                        // The inverse first: fewer rounding errors for 0.1 and its kin.
                        let inverse = 1.0 / nearest.at(step);
                        *value = (*value * inverse + 0.5).floor() / inverse;
                    }
                })
            }
            F::Timestamp => {
                let vector = self.vector(args[0])?;
                self.stage(vector, grid, true, move |row, _| {
                    row.histograms.clear();
                    for (step, value) in row.values.iter_mut().enumerate() {
                        *value = grid.at(step) as f64 / 1000.0;
                    }
                })
            }
            // Only the samples of a selector have a start.
            F::StartTimestamp => Ok(Value::Vector(Vector::Ready(Arc::new(Matrix::new(grid.count))))),
            F::Sort | F::SortDesc | F::SortByLabel | F::SortByLabelDesc => self.sort(function, args, node),
            F::LabelReplace => self.label_replace(args, grid),
            F::LabelJoin => self.label_join(args, grid),
            F::HistogramQuantile | F::HistogramQuantiles | F::HistogramFraction => {
                self.histogram_function(function, args, node)
            }
            other => Err(Error::Plan(format!("the function {} cannot be evaluated here", other.as_str()))),
        }
    }

    fn floats(&mut self, vector: Vector, grid: Grid, f: fn(f64) -> f64) -> Result<Value, Error> {
        self.stage(vector, grid, true, move |row, _| {
            row.drop_histograms();
            for value in &mut row.values {
                *value = f(*value);
            }
        })
    }

    /// The one float of each step, NaN when there is none or more than one.
    fn only_float(&mut self, input: NodeId, grid: Grid) -> Result<Value, Error> {
        let vector = self.vector(input)?;
        let stream = self.stream(vector, grid);
        let context = self.context;
        let series = stream.metas.len();
        let parts = stream::parallel(self, &stream, series.div_ceil(stream::BATCH), |worker, task| {
            let mut found = Row::default();
            found.reset(grid.count);
            let mut twice = vec![0u64; found.valid.len()];
            for index in task * stream::BATCH..((task + 1) * stream::BATCH).min(series) {
                worker.fill(context, &stream, index)?;
                worker.row.drop_histograms();
                for step in ones(&worker.row.valid) {
                    if bit(&found.valid, step) {
                        set_bit(&mut twice, step);
                    }
                    found.set(step, worker.row.values[step]);
                }
            }
            Ok((found, twice))
        })?;
        let mut values = vec![f64::NAN; grid.count];
        let mut seen = vec![0u8; grid.count];
        for (found, twice) in parts {
            for step in ones(&found.valid) {
                seen[step] = seen[step].saturating_add(if bit(&twice, step) { 2 } else { 1 });
                values[step] = if seen[step] > 1 { f64::NAN } else { found.values[step] };
            }
        }
        Ok(Value::Scalar(Scalar::Each(Arc::new(values))))
    }

    /// 1 where no series has a sample.
    pub(super) fn absent(&mut self, vector: Vector, labels: &Labels, grid: Grid) -> Result<Matrix, Error> {
        let stream = self.stream(vector, grid);
        let context = self.context;
        let series = stream.metas.len();
        let parts = stream::parallel(self, &stream, series.div_ceil(stream::BATCH), |worker, task| {
            let mut present = vec![0u64; super::matrix::words(grid.count)];
            for index in task * stream::BATCH..((task + 1) * stream::BATCH).min(series) {
                worker.fill(context, &stream, index)?;
                present.iter_mut().zip(&worker.row.valid).for_each(|(all, more)| *all |= more);
            }
            Ok(present)
        })?;
        let mut row = Row::default();
        row.reset(grid.count);
        row.values.fill(1.0);
        fill_bits(&mut row.valid, grid.count);
        for present in parts {
            row.valid.iter_mut().zip(present).for_each(|(absent, present)| *absent &= !present);
        }
        let mut matrix = Matrix::new(grid.count);
        matrix.push(Meta { labels: labels.clone(), drop_name: false }, row.view());
        Ok(matrix)
    }
}

/// Go's `math.Max`: NaN wins, but for infinities.
fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// Go's `math.Min`.
fn go_min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}
