//! Adding and subtracting histograms.

use model::Histogram;
use model::histogram::{ResetHint, Span};

use super::buckets::{bound, runs};
use super::{MixedSchemas, Side, coarser_side, compact, divide, overflows, reduce, scale};
use crate::kahan;

/// What a user may want to know about a combination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Combined {
    /// One side was known to follow a counter reset, the other not to.
    pub reset_conflict: bool,
    /// The custom bounds differed; the result has those that both share.
    pub reconciled: bool,
}

/// Adds `other` to `histogram`. Empty buckets stay; see [`compact`].
///
/// # Errors
/// [`MixedSchemas`]; nothing has changed then.
pub fn add(histogram: &mut Histogram, other: &Histogram) -> Result<Combined, MixedSchemas> {
    combine(histogram, other, 1.0, None)
}

/// Subtracts `other` from `histogram`. Empty buckets stay; see [`compact`]. The caller says whether the result is a gauge.
///
/// # Errors
/// [`MixedSchemas`]; nothing has changed then.
pub fn subtract(histogram: &mut Histogram, other: &Histogram) -> Result<Combined, MixedSchemas> {
    combine(histogram, other, -1.0, None)
}

/// Adds `sign` × `other`, and keeps in `lost`, whose layout is that of `histogram`, what rounding has lost.
fn combine(
    histogram: &mut Histogram,
    other: &Histogram,
    sign: f64,
    mut lost: Option<&mut Histogram>,
) -> Result<Combined, MixedSchemas> {
    if histogram.is_custom() != other.is_custom() {
        return Err(MixedSchemas);
    }
    let mut combined = Combined {
        reset_conflict: join_hints(&mut histogram.reset_hint, other.reset_hint),
        reconciled: false,
    };
    histogram.is_float |= other.is_float;

    if histogram.is_custom() {
        if histogram.custom_values == other.custom_values {
            add_positive(histogram, &other.positive_spans, &other.positive, sign, &mut lost);
        } else {
            combined.reconciled = true;
            let shared = shared_bounds(&histogram.custom_values, &other.custom_values);
            let mine = onto_bounds(histogram, &shared);
            let theirs = onto_bounds(other, &shared);
            let lost_before = lost.as_ref().map(|lost| onto_bounds(lost, &shared));
            let (mut side, mut lost_side) = (Side::default(), Side::default());
            for (index, (&mine, &theirs)) in mine.iter().zip(&theirs).enumerate() {
                let before = lost_before.as_ref().map_or(0.0, |lost| lost[index]);
                let (total, after) = accumulate(sign * theirs, mine, before, lost.is_some());
                if total != 0.0 {
                    side.push(index as i32, total);
                    lost_side.push(index as i32, after);
                }
            }
            (histogram.positive_spans, histogram.positive) = (side.spans, side.counts);
            histogram.custom_values.clone_from(&shared);
            if let Some(lost) = &mut lost {
                (lost.positive_spans, lost.positive) = (lost_side.spans, lost_side.counts);
                lost.custom_values = shared;
            }
        }
    } else {
        let zero = join_zero_buckets(histogram, other, &mut lost);
        add_to(&mut histogram.zero_count, sign * zero, lost.as_deref_mut().map(|lost| &mut lost.zero_count));
        if other.schema < histogram.schema {
            reduce(histogram, other.schema);
            if let Some(lost) = &mut lost {
                reduce(lost, other.schema);
            }
        }
        let (positive, negative);
        let (mut p, mut n) = (
            (other.positive_spans.as_slice(), other.positive.as_slice()),
            (other.negative_spans.as_slice(), other.negative.as_slice()),
        );
        if other.schema > histogram.schema {
            positive = coarser_side(p.0, p.1, other.schema, histogram.schema);
            negative = coarser_side(n.0, n.1, other.schema, histogram.schema);
            p = (&positive.spans, &positive.counts);
            n = (&negative.spans, &negative.counts);
        }
        add_positive(histogram, p.0, p.1, sign, &mut lost);
        swap_sides(histogram, &mut lost);
        add_positive(histogram, n.0, n.1, sign, &mut lost);
        swap_sides(histogram, &mut lost);
    }
    add_to(&mut histogram.count, sign * other.count, lost.as_deref_mut().map(|lost| &mut lost.count));
    add_to(&mut histogram.sum, sign * other.sum, lost.map(|lost| &mut lost.sum));
    Ok(combined)
}

fn swap_sides(histogram: &mut Histogram, lost: &mut Option<&mut Histogram>) {
    let swap = |h: &mut Histogram| {
        std::mem::swap(&mut h.positive_spans, &mut h.negative_spans);
        std::mem::swap(&mut h.positive, &mut h.negative);
    };
    swap(histogram);
    if let Some(lost) = lost {
        swap(lost);
    }
}

fn accumulate(x: f64, sum: f64, lost: f64, compensated: bool) -> (f64, f64) {
    if compensated { kahan::add(x, sum, lost) } else { (sum + x, 0.0) }
}

fn add_to(sum: &mut f64, x: f64, lost: Option<&mut f64>) {
    match lost {
        Some(lost) => (*sum, *lost) = kahan::add(x, *sum, *lost),
        None => *sum += x,
    }
}

/// Merges buckets into the positive side. Those that lie in the zero bucket are part of its count already.
fn add_positive(
    histogram: &mut Histogram,
    spans: &[Span],
    counts: &[f64],
    sign: f64,
    lost: &mut Option<&mut Histogram>,
) {
    if counts.is_empty() {
        return;
    }
    let in_zero_bucket = |index: i32| {
        !histogram.is_custom()
            && histogram.zero_threshold > 0.0
            && bound(index, histogram.schema) <= histogram.zero_threshold
    };
    let first = runs(spans, counts).next().map_or(0, |(index, _)| index);
    if histogram.positive_spans == spans && !in_zero_bucket(first) {
        for (i, &count) in counts.iter().enumerate() {
            add_to(
                &mut histogram.positive[i],
                sign * count,
                lost.as_deref_mut().map(|lost| &mut lost.positive[i]),
            );
        }
        return;
    }
    let (mut side, mut lost_side) = (Side::default(), Side::default());
    let mut mine = runs(&histogram.positive_spans, &histogram.positive).enumerate().peekable();
    let lost_at = |i: usize| lost.as_ref().map_or(0.0, |lost| lost.positive[i]);
    let mut keep = |index: i32, (total, after): (f64, f64)| {
        side.push(index, total);
        lost_side.push(index, after);
    };
    for (index, count) in runs(spans, counts).filter(|(index, _)| !in_zero_bucket(*index)) {
        while let Some((i, (before, own))) = mine.next_if(|(_, (i, _))| *i < index) {
            keep(before, (own, lost_at(i)));
        }
        let (own, own_lost) = match mine.next_if(|(_, (i, _))| *i == index) {
            Some((i, (_, own))) => (own, lost_at(i)),
            None => (0.0, 0.0),
        };
        keep(index, accumulate(sign * count, own, own_lost, lost.is_some()));
    }
    for (i, (index, own)) in mine {
        keep(index, (own, lost_at(i)));
    }
    (histogram.positive_spans, histogram.positive) = (side.spans, side.counts);
    if let Some(lost) = lost {
        (lost.positive_spans, lost.positive) = (lost_side.spans, lost_side.counts);
    }
}

/// What is known about resets of a combination; whether the two contradict each other.
fn join_hints(mine: &mut ResetHint, theirs: ResetHint) -> bool {
    let conflict = matches!(
        (*mine, theirs),
        (ResetHint::Reset, ResetHint::NotReset) | (ResetHint::NotReset, ResetHint::Reset)
    );
    *mine = match (*mine, theirs) {
        (a, b) if a == b => a,
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    conflict
}

/// What the zero bucket would count if its threshold were `threshold`, which must not be smaller than it is. A threshold
/// within a populated bucket is raised to that bucket's end; the second value is the threshold that came out.
pub(super) fn zero_count_at(histogram: &Histogram, mut threshold: f64) -> (f64, f64) {
    if threshold == histogram.zero_threshold {
        return (histogram.zero_count, threshold);
    }
    'again: loop {
        let mut count = histogram.zero_count;
        for positive in [true, false] {
            let side = if positive {
                runs(&histogram.positive_spans, &histogram.positive)
            } else {
                runs(&histogram.negative_spans, &histogram.negative)
            };
            for (index, inside) in side {
                if bound(index - 1, histogram.schema) >= threshold {
                    break;
                }
                count += inside;
                let upper = bound(index, histogram.schema);
                if upper > threshold {
                    if inside != 0.0 {
                        threshold = upper;
                        if !positive {
                            // The positive side was counted up to the old threshold.
                            continue 'again;
                        }
                    }
                    break;
                }
            }
        }
        return (count, threshold);
    }
}

/// Widens the zero bucket of `histogram` until neither histogram's zero bucket ends within a populated bucket and both are
/// equally wide; gives back what `other`'s would count.
fn join_zero_buckets(histogram: &mut Histogram, other: &Histogram, lost: &mut Option<&mut Histogram>) -> f64 {
    let (mut count, mut threshold) = (other.zero_count, other.zero_threshold);
    while threshold != histogram.zero_threshold {
        if histogram.zero_threshold > threshold {
            (count, threshold) = zero_count_at(other, histogram.zero_threshold);
        }
        if threshold > histogram.zero_threshold {
            let (own, wider) = zero_count_at(histogram, threshold);
            histogram.zero_count = own;
            histogram.zero_threshold = wider;
            let schema = histogram.schema;
            let outside = |index: i32| bound(index - 1, schema) >= wider;
            if let Some(lost) = lost {
                // Before the layout below changes, so that both keep the same one.
                for (spans, counts, lost_spans, lost_counts) in [
                    (
                        &histogram.positive_spans,
                        &histogram.positive,
                        &mut lost.positive_spans,
                        &mut lost.positive,
                    ),
                    (
                        &histogram.negative_spans,
                        &histogram.negative,
                        &mut lost.negative_spans,
                        &mut lost.negative,
                    ),
                ] {
                    let mut side = Side::default();
                    for ((index, count), &lost_count) in runs(spans, counts).zip(lost_counts.iter()) {
                        if !outside(index) {
                            lost.zero_count += lost_count;
                        } else if count != 0.0 {
                            side.push(index, lost_count);
                        }
                    }
                    (*lost_spans, *lost_counts) = (side.spans, side.counts);
                }
                lost.zero_threshold = wider;
            }
            for (spans, counts) in [
                (&mut histogram.positive_spans, &mut histogram.positive),
                (&mut histogram.negative_spans, &mut histogram.negative),
            ] {
                let mut side = Side::default();
                for (index, count) in runs(spans, counts) {
                    if outside(index) && count != 0.0 {
                        side.push(index, count);
                    }
                }
                (*spans, *counts) = (side.spans, side.counts);
            }
        }
    }
    count
}

/// The bounds in both lists; both ascending.
pub(super) fn shared_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut rest = b.iter().peekable();
    a.iter()
        .copied()
        .filter(|&bound| {
            while rest.next_if(|&&other| other < bound).is_some() {}
            rest.peek().is_some_and(|&&other| other == bound)
        })
        .collect()
}

/// Counts between the `shared` bounds, the last up to +∞.
pub(super) fn onto_bounds(histogram: &Histogram, shared: &[f64]) -> Vec<f64> {
    let mut counts = vec![0.0; shared.len() + 1];
    for (index, count) in runs(&histogram.positive_spans, &histogram.positive) {
        let upper = usize::try_from(index).ok().and_then(|i| histogram.custom_values.get(i));
        let target = upper.map_or(shared.len(), |upper| shared.partition_point(|bound| bound < upper));
        counts[target] += count;
    }
    counts
}

/// An empty histogram with the layout of `histogram`.
fn zeroed(histogram: &Histogram) -> Histogram {
    let mut zero = histogram.clone();
    zero.positive.fill(0.0);
    zero.negative.fill(0.0);
    (zero.zero_count, zero.count, zero.sum) = (0.0, 0.0, 0.0);
    zero.reset_hint = ResetHint::Unknown;
    zero
}

/// Which reset hints were seen among many histograms.
#[derive(Clone, Copy, Debug, Default)]
struct HintsSeen {
    reset: bool,
    not_reset: bool,
    reconciled: bool,
}

impl HintsSeen {
    fn note(&mut self, hint: ResetHint) {
        self.reset |= hint == ResetHint::Reset;
        self.not_reset |= hint == ResetHint::NotReset;
    }

    fn combined(self) -> Combined {
        Combined { reset_conflict: self.reset && self.not_reset, reconciled: self.reconciled }
    }
}

/// A compensated sum of histograms.
#[derive(Clone, Debug)]
pub struct Sum {
    sum: Histogram,
    lost: Histogram,
    seen: HintsSeen,
}

impl Sum {
    /// The sum of one histogram.
    pub fn new(first: &Histogram) -> Self {
        let mut seen = HintsSeen::default();
        seen.note(first.reset_hint);
        Self { sum: first.clone(), lost: zeroed(first), seen }
    }

    /// Adds a histogram.
    ///
    /// # Errors
    /// [`MixedSchemas`]; nothing has changed then.
    pub fn add(&mut self, histogram: &Histogram) -> Result<(), MixedSchemas> {
        self.seen.note(histogram.reset_hint);
        let combined = combine(&mut self.sum, histogram, 1.0, Some(&mut self.lost))?;
        self.seen.reconciled |= combined.reconciled;
        Ok(())
    }

    /// Adds all histograms of another sum.
    ///
    /// # Errors
    /// [`MixedSchemas`]; nothing has changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), MixedSchemas> {
        self.add(&other.sum)?;
        let hint = self.sum.reset_hint;
        combine(&mut self.sum, &other.lost, 1.0, Some(&mut self.lost))?;
        self.sum.reset_hint = hint;
        self.seen.reset |= other.seen.reset;
        self.seen.not_reset |= other.seen.not_reset;
        self.seen.reconciled |= other.seen.reconciled;
        Ok(())
    }

    /// The sum and what is to be said about it.
    pub fn finish(mut self) -> (Histogram, Combined) {
        add_lost(&mut self.sum, &self.lost);
        (self.sum, self.seen.combined())
    }
}

/// Adds what was lost; that is no histogram of its own and says nothing about resets.
fn add_lost(sum: &mut Histogram, lost: &Histogram) {
    let hint = sum.reset_hint;
    add(sum, lost).expect("both have the same schema");
    sum.reset_hint = hint;
}

/// A compensated mean of histograms, carried on incrementally once the sum would overflow.
#[derive(Clone, Debug)]
pub struct Mean {
    /// The sum, or the mean once `incremental`.
    sum: Histogram,
    lost: Histogram,
    count: f64,
    incremental: bool,
    seen: HintsSeen,
}

impl Mean {
    /// The mean of one histogram.
    pub fn new(first: &Histogram) -> Self {
        let mut seen = HintsSeen::default();
        seen.note(first.reset_hint);
        Self { sum: first.clone(), lost: zeroed(first), count: 1.0, incremental: false, seen }
    }

    /// Adds a histogram.
    ///
    /// # Errors
    /// [`MixedSchemas`]; the mean is of no use then.
    pub fn add(&mut self, histogram: &Histogram) -> Result<(), MixedSchemas> {
        self.seen.note(histogram.reset_hint);
        self.count += 1.0;
        if !self.incremental {
            let (mut sum, mut lost) = (self.sum.clone(), self.lost.clone());
            let combined = combine(&mut sum, histogram, 1.0, Some(&mut lost))?;
            self.seen.reconciled |= combined.reconciled;
            if !overflows(&sum) {
                (self.sum, self.lost) = (sum, lost);
                return Ok(());
            }
            self.incremental = true;
            divide(&mut self.sum, self.count - 1.0);
            divide(&mut self.lost, self.count - 1.0);
        }
        let weight = (self.count - 1.0) / self.count;
        scale(&mut self.sum, weight);
        scale(&mut self.lost, weight);
        let mut share = histogram.clone();
        divide(&mut share, self.count);
        let combined = combine(&mut self.sum, &share, 1.0, Some(&mut self.lost))?;
        self.seen.reconciled |= combined.reconciled;
        Ok(())
    }

    /// Adds all histograms of another mean.
    ///
    /// # Errors
    /// [`MixedSchemas`]; the mean is of no use then.
    pub fn merge(&mut self, other: &Self) -> Result<(), MixedSchemas> {
        self.seen.reset |= other.seen.reset;
        self.seen.not_reset |= other.seen.not_reset;
        self.seen.reconciled |= other.seen.reconciled;
        if !self.incremental && !other.incremental {
            let (mut sum, mut lost) = (self.sum.clone(), self.lost.clone());
            let combined = combine(&mut sum, &other.sum, 1.0, Some(&mut lost))?;
            let hint = sum.reset_hint;
            combine(&mut sum, &other.lost, 1.0, Some(&mut lost))?;
            sum.reset_hint = hint;
            self.seen.reconciled |= combined.reconciled;
            if !overflows(&sum) {
                (self.sum, self.lost) = (sum, lost);
                self.count += other.count;
                return Ok(());
            }
        }
        let (mut right, total) = (other.clone(), self.count + other.count);
        for mean in [&mut *self, &mut right] {
            if !mean.incremental {
                divide(&mut mean.sum, mean.count);
                divide(&mut mean.lost, mean.count);
                mean.incremental = true;
            }
            scale(&mut mean.sum, mean.count / total);
            scale(&mut mean.lost, mean.count / total);
        }
        self.count = total;
        let combined = combine(&mut self.sum, &right.sum, 1.0, Some(&mut self.lost))?;
        let hint = self.sum.reset_hint;
        combine(&mut self.sum, &right.lost, 1.0, Some(&mut self.lost))?;
        self.sum.reset_hint = hint;
        self.seen.reconciled |= combined.reconciled;
        Ok(())
    }

    /// The mean and what is to be said about it.
    pub fn finish(mut self) -> (Histogram, Combined) {
        if !self.incremental {
            divide(&mut self.sum, self.count);
            divide(&mut self.lost, self.count);
        }
        add_lost(&mut self.sum, &self.lost);
        compact(&mut self.sum);
        (self.sum, self.seen.combined())
    }
}
