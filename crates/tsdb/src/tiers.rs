//! Tiers in use: when they are made, which of them answers a query, and what a query then sees.
//!
//! A tier is made day by day (UTC), of a day's raw blocks, once nothing older than the day's end can arrive. A query is answered day
//! by day from one source. Exact semantics: docs/concepts/tiers.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::Samples;
use model::seam::SelectHints;

use crate::block::{Block, BlockMeta, Tier};
use crate::blocks::Deletions;
use crate::config::Config;
use crate::downsample;
use crate::error::Result;
use crate::tenant::{Tenant, Work};

/// Length of what a tier block covers: `(start, start + DAY]`, in milliseconds.
pub(crate) const DAY: i64 = 86_400_000;

/// The day that a time belongs to: `(day · DAY, (day + 1) · DAY]`.
pub(crate) fn day_of(time: i64) -> i64 {
    time.saturating_sub(1).div_euclid(DAY)
}

/// What the values of a tier are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// One value a step: the smallest.
    Min,
    /// The largest.
    Max,
    /// The sum.
    Sum,
    /// The earliest.
    First,
    /// The latest.
    Last,
    /// As many values a step as there were, each the average.
    Averages,
    /// The latest, and before it what a counter reached until it was reset.
    Counter,
}

impl View {
    /// The view for a function, and whether a window of whole steps gets the exact answer.
    pub(crate) fn of(function: &str) -> (Self, bool) {
        match function {
            "min_over_time" => (Self::Min, true),
            "max_over_time" => (Self::Max, true),
            "sum_over_time" => (Self::Sum, true),
            "first_over_time" => (Self::First, true),
            "last_over_time" | "present_over_time" => (Self::Last, true),
            "avg_over_time" | "count_over_time" => (Self::Averages, true),
            "rate" | "increase" | "irate" | "resets" => (Self::Counter, false),
            _ => (Self::Last, false),
        }
    }
}

/// Which source answers for which times: `(first, last, resolution)`, both ends included, ascending, without gaps; resolution 0 is raw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    spans: Vec<(i64, i64, i64)>,
    pub(crate) view: Option<View>,
    pub(crate) exact: bool,
}

impl Sources {
    /// Whether raw samples alone answer.
    pub(crate) fn is_raw(&self) -> bool {
        self.spans.iter().all(|span| span.2 == 0)
    }

    /// Whether raw samples answer for `time`.
    pub(crate) fn is_raw_at(&self, time: i64) -> bool {
        let at = self.spans.partition_point(|span| span.1 < time);
        self.spans.get(at).is_none_or(|span| span.2 == 0)
    }

    /// The spans of a tier.
    pub(crate) fn of_tier(&self, resolution: i64) -> impl Iterator<Item = (i64, i64)> {
        self.spans.iter().filter(move |span| span.2 == resolution).map(|span| (span.0, span.1))
    }

    /// For people: until when the answer comes from which coarsest tier.
    pub(crate) fn coarsest(&self) -> Option<(i64, i64)> {
        let of_tiers = self.spans.iter().filter(|span| span.2 > 0);
        Some((of_tiers.clone().map(|span| span.1).max()?, of_tiers.map(|span| span.2).max()?))
    }
}

/// Chooses the sources for `start..=end` (the select's window is `(start - 1, end]`).
///
/// A day's source is: the coarsest tier that answers exactly, if there is one; else raw samples if all of the day's are there; else of
/// the tiers that have the day the coarsest with at least two steps in the range and at most one a query step, else the finest.
pub(crate) fn choose(blocks: &[BlockMeta], hints: &SelectHints, start: i64, end: i64) -> Sources {
    // By day: the resolutions that have it, and the earliest row.
    let mut by_day: BTreeMap<i64, (BTreeSet<i64>, i64)> = BTreeMap::new();
    for block in blocks.iter().filter(|b| b.resolution_ms > 0 && b.overlaps(start, end)) {
        for day in day_of(block.min_time)..=day_of(block.max_time) {
            let (resolutions, first) = by_day.entry(day).or_insert((BTreeSet::new(), i64::MAX));
            resolutions.insert(block.resolution_ms);
            *first = block.min_time.min(*first);
        }
    }
    let (view, can_be_exact) = View::of(hints.function);
    let mut sources = Sources { spans: Vec::new(), view: Some(view), exact: true };
    if by_day.is_empty() {
        return sources;
    }
    let raw_from = blocks.iter().filter(|b| b.resolution_ms == 0).map(|b| b.min_time).min();
    let whole_steps = |resolution: i64| {
        can_be_exact
            && hints.range_ms >= resolution
            && [hints.range_ms, hints.step_ms, start.saturating_sub(1), end]
                .iter()
                .all(|ms| ms % resolution == 0)
    };
    let mut push = |first: i64, last: i64, resolution: i64| match sources.spans.last_mut() {
        Some(span) if span.2 == resolution => span.1 = last,
        _ => sources.spans.push((first, last, resolution)),
    };
    let mut next = start;
    for (day, (resolutions, first_row)) in by_day {
        let (first, last) = ((day * DAY + 1).max(start), ((day + 1) * DAY).min(end));
        if first > last {
            continue;
        }
        if next < first {
            push(next, first - 1, 0);
        }
        next = last.saturating_add(1);
        let exact = resolutions.iter().rev().copied().find(|r| whole_steps(*r));
        // Of a day whose oldest samples retention has taken, the tier has an earlier row.
        let has_raw = raw_from.is_some_and(|from| from <= first_row);
        let fitting = |r: &i64| {
            (hints.step_ms == 0 || *r <= hints.step_ms) && (hints.range_ms == 0 || *r * 2 <= hints.range_ms)
        };
        let resolution = match exact {
            Some(exact) => exact,
            None if has_raw => 0,
            None => {
                let fits = resolutions.iter().rev().copied().find(|r| fitting(r));
                fits.or(resolutions.first().copied()).unwrap_or(0)
            }
        };
        if resolution > 0 && exact.is_none() {
            sources.exact = false;
        }
        push(first, last, resolution);
    }
    if next <= end {
        push(next, end, 0);
    }
    sources
}

/// Appends what a query sees of `tier`'s rows to `out`; `last` is the series' latest value before them, kept from call to call. The first
/// row of a block does not know what came before it.
pub(crate) fn show(tier: &Tier, resolution: i64, view: View, last: &mut Option<f64>, out: &mut Samples) {
    for row in 0..tier.len() {
        let end = tier.times[row];
        match view {
            View::Min => out.push_float(end, tier.min[row]),
            View::Max => out.push_float(end, tier.max[row]),
            View::Sum => out.push_float(end, tier.sum[row]),
            View::First => out.push_float(end, tier.first[row]),
            View::Last => out.push_float(end, tier.last[row]),
            View::Averages => {
                // More samples than milliseconds are not possible.
                let count = (tier.count[row] as i64).clamp(1, resolution);
                let average = tier.sum[row] / tier.count[row];
                for nth in 1..=count {
                    out.push_float(end - resolution + (resolution * nth) / count, average);
                }
            }
            View::Counter => {
                let (first, value) = (tier.first[row], tier.last[row]);
                let since = |before: f64, now: f64| if now < before { now } else { now - before };
                // In the first row of a block `increase` starts at the row's first sample, else at the row's before.
                let before = if row == 0 { first } else { tier.last[row - 1] };
                let added = tier.increase[row];
                if added > since(before, value) && added.is_finite() {
                    let reached = before + (added - value);
                    if row == 0
                        && let Some(earlier) = *last
                        && reached < earlier
                    {
                        // The counter was reset between the blocks too: `first` says so.
                        out.push_float(end - 2, first);
                    }
                    out.push_float(end - 1, reached);
                }
                out.push_float(end, value);
            }
        }
        *last = Some(tier.last[row]);
    }
}

impl Tenant {
    /// Makes the tiers that are due; how many blocks.
    ///
    /// # Errors
    /// `Io`, `Corrupt`; what is left is due at the next call.
    pub(crate) fn make_tiers(&self) -> Result<usize> {
        let mut work = self.work.lock();
        let mut made = 0;
        while let Some((resolution, day)) = self.due_tier(&work) {
            made += usize::from(self.make_tier(&mut work, resolution, day)?);
            work.tiers_done.insert((resolution, day));
        }
        Ok(made)
    }

    /// The next resolution and day without a tier, all of whose samples are in blocks.
    fn due_tier(&self, work: &Work) -> Option<(i64, i64)> {
        if self.config.tiers.is_empty() {
            return None;
        }
        let complete = self.head.min_valid.load(Ordering::Relaxed);
        let metas: Vec<BlockMeta> = self.blocks.list().iter().map(|block| block.meta().clone()).collect();
        due(&metas, &self.config, complete).into_iter().find(|due| !work.tiers_done.contains(due))
    }

    /// Whether there were samples.
    fn make_tier(&self, work: &mut Work, resolution: i64, day: i64) -> Result<bool> {
        let (first, last) = (day * DAY + 1, (day + 1) * DAY);
        let list = self.blocks.list();
        let inputs: Vec<Arc<Block>> = list
            .iter()
            .filter(|b| b.meta().resolution_ms == 0 && b.meta().overlaps(first, last))
            .cloned()
            .collect();
        let tombstones = self.tombstones.read().clone();
        let guard = Deletions { tombstones: &tombstones, tenant: self };
        let id = self.blocks.next_id(work);
        let folder = self.blocks.dir.join(&id);
        let meta = BlockMeta::new(&id, 0);
        let made =
            downsample::downsample(&self.disk, &inputs, &folder, meta, (first, last), resolution, &guard)
                .inspect_err(|_| work.leftover.push(folder.clone()))?;
        if made.histograms_left_out > 0 {
            tracing::warn!(tenant = %self.id, count = made.histograms_left_out, "native histograms have no tier; they end with the raw samples");
        }
        if made.meta.samples == 0 {
            work.leftover.push(folder);
            self.remove_leftover(work)?;
            return Ok(false);
        }
        let mut list = self.blocks.list().to_vec();
        list.push(Block::open(&*self.disk, &folder)?);
        self.blocks.set(list);
        self.metrics.tiers_made.inc();
        Ok(true)
    }
}

/// Resolutions and days without a tier whose samples are all in raw blocks; `complete`: nothing before it can arrive.
pub(crate) fn due(blocks: &[BlockMeta], config: &Config, complete: i64) -> Vec<(i64, i64)> {
    let mut days = BTreeSet::new();
    let mut have = BTreeSet::new();
    for block in blocks {
        for day in day_of(block.min_time)..=day_of(block.max_time) {
            match block.resolution_ms {
                0 => drop(days.insert(day)),
                resolution => drop(have.insert((resolution, day))),
            }
        }
    }
    let raw_from =
        blocks.iter().filter(|b| b.resolution_ms == 0).map(|b| b.min_time).min().unwrap_or(i64::MAX);
    let mut due = Vec::new();
    for day in days.into_iter().filter(|day| (day + 1) * DAY < complete) {
        for tier in &config.tiers {
            let resolution = tier.resolution.ms();
            // Of a day that retention has begun to take, the tier was made long ago, or it would be wrong.
            let first = !have.iter().any(|(of, _)| *of == resolution);
            let whole = raw_from <= day * DAY + 2 * 3_600_000 || first;
            if whole && !have.contains(&(resolution, day)) {
                due.push((resolution, day));
            }
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: i64 = 3_600_000;
    const M: i64 = 60_000;

    fn block(resolution_ms: i64, from: i64, to: i64) -> BlockMeta {
        BlockMeta {
            min_time: from,
            max_time: to,
            resolution_ms,
            ..BlockMeta::new(format!("b{resolution_ms}-{from}"), 0)
        }
    }

    fn hints(function: &'static str, range_ms: i64, step_ms: i64) -> SelectHints {
        SelectHints { function, range_ms, step_ms, limit: 0 }
    }

    /// Day 0 has an hourly tier, day 1 both tiers, day 2 both and raw samples, day 3 raw samples.
    fn blocks() -> Vec<BlockMeta> {
        vec![
            block(H, H, DAY),
            block(H, DAY + H, 2 * DAY),
            block(5 * M, DAY + 5 * M, 2 * DAY),
            block(H, 2 * DAY + H, 3 * DAY),
            block(5 * M, 2 * DAY + 5 * M, 3 * DAY),
            block(0, 2 * DAY + 1, 3 * DAY - 1),
            block(0, 3 * DAY, 4 * DAY - 1),
        ]
    }

    #[test]
    fn each_day_has_one_source() {
        let choose = |hints: SelectHints, start, end| choose(&blocks(), &hints, start, end);
        let of = |sources: &Sources| sources.spans.clone();
        // Whole steps and a function whose answer is exact: the coarsest tier even where raw samples are.
        let exact = choose(hints("max_over_time", 2 * H, H), 1, 4 * DAY);
        assert_eq!(of(&exact), [(1, 3 * DAY, H), (3 * DAY + 1, 4 * DAY, 0)]);
        assert!(exact.exact);
        // Windows that begin between steps: raw where there is raw.
        let odd = choose(hints("max_over_time", 2 * H, H), 1 + 7, 4 * DAY + 7);
        assert_eq!(of(&odd), [(8, 2 * DAY, H), (2 * DAY + 1, 4 * DAY + 7, 0)]);
        assert!(!odd.exact);
        // A function that is not exact, at a fine step: the finest tier that is there.
        let rate = choose(hints("rate", 15 * M, 5 * M), 1, 4 * DAY);
        assert_eq!(of(&rate), [(1, DAY, H), (DAY + 1, 2 * DAY, 5 * M), (2 * DAY + 1, 4 * DAY, 0)]);
        // And at a coarse step the coarse one.
        assert_eq!(of(&choose(hints("rate", 6 * H, 6 * H), 1, 2 * DAY)), [(1, 2 * DAY, H)]);
        assert!(
            !rate.is_raw() && rate.is_raw_at(3 * DAY) && !rate.is_raw_at(2 * DAY) && rate.is_raw_at(9 * DAY)
        );
        assert!(choose(hints("rate", H, H), 3 * DAY + 1, 4 * DAY).is_raw());
    }

    #[test]
    fn tiers_are_due_when_nothing_older_can_arrive() {
        let tier = |ms| crate::config::TierConfig {
            resolution: model::duration::PromDuration(ms),
            ..Default::default()
        };
        let config = Config { tiers: vec![tier(5 * M), tier(H)], ..Config::default() };
        let raw = [block(0, 0, DAY), block(0, DAY + 1, 2 * DAY)];
        // The instant 0 belongs to the day before.
        assert_eq!(due(&raw, &config, DAY + 1), [(5 * M, -1), (H, -1), (5 * M, 0), (H, 0)]);
        assert_eq!(due(&raw, &config, DAY), [(5 * M, -1), (H, -1)]);
        let some = [block(0, 1, DAY), block(5 * M, 5 * M, DAY)];
        assert_eq!(due(&some, &config, 2 * DAY), [(H, 0)]);
        assert_eq!(due(&some, &Config::default(), 2 * DAY), []);
    }

    #[test]
    fn a_counter_is_seen_with_all_its_resets() {
        let increase = |points: &Samples| {
            points.values.windows(2).map(|w| if w[1] < w[0] { w[1] } else { w[1] - w[0] }).sum::<f64>()
        };
        let mut samples = Samples::default();
        for (time, value) in
            [(1, 5.0), (3, 7.0), (6, 2.0), (9, 4.0), (12, 1.0), (14, 3.0), (16, 2.0), (25, 9.0)]
        {
            samples.push_float(time, value);
        }
        let mut tier = Tier::default();
        downsample::aggregate(&samples, 10, &mut tier);
        let (mut out, mut last) = (Samples::default(), None);
        show(&tier, 10, View::Counter, &mut last, &mut out);
        assert!(out.times.is_sorted_by(|a, b| a < b));
        // From the end of the first step on, all that was added.
        let from = out.times.iter().position(|t| *t == 10).unwrap();
        let later = Samples { values: out.values[from..].to_vec(), ..Samples::default() };
        assert_eq!(increase(&later), 1.0 + 2.0 + 2.0 + 7.0);
        let mut averages = Samples::default();
        show(&tier, 10, View::Averages, &mut None, &mut averages);
        assert_eq!(averages.len(), samples.len());
        assert!(averages.times.is_sorted_by(|a, b| a < b));
        assert_eq!(averages.values[..4].iter().sum::<f64>(), 18.0);
    }
}
