//! Queries: one tenant's head and blocks as one set of series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use model::budget::Reservation;
use model::seam::{Grouped, Select, Selected, SeriesExemplars, SeriesSet, TimeRange};
use model::{Budget, Labels, Matcher, Samples, SeamError, Selector, Timestamp};

use crate::block::{Block, BlockMeta, BlockSeries, SelectedPairs, Tier};
use crate::bucket;
use crate::compact;
use crate::error::{Error, Result};
use crate::head::group::mix;
use crate::head::names::{Joiner, Names};
use crate::head::select::{
    CHARGED_AT_ONCE, GroupSnapshot, HeadSelected, Wanted, append, join, retain, times_hash,
};
use crate::tenant::Tenant;
use crate::tiers::{self, Sources, View};

/// Warning of an answer that a limit has cut.
pub(crate) const TRUNCATED: &str = "results truncated due to limit";

/// The series that a selector found: those that are in the head, then the others.
#[derive(Default)]
pub(crate) struct DbSeries {
    groups: Vec<Arc<GroupSnapshot>>,
    /// Of the series in the head: group (index into `groups`) and column there.
    in_head: Vec<(u32, u32)>,
    /// Labels of all.
    names: Names,
    /// Series of blocks, by series and then rank of the block.
    in_blocks: Parts<BlockSeries>,
    range: Option<TimeRange>,
    /// Samples before this in the head are in blocks.
    min_valid: i64,
    /// Series of tiers, by series and then time: what answers instead of raw samples.
    in_tiers: Parts<TierPart>,
    /// Deleted ranges of the series that have any.
    deleted: HashMap<u32, Vec<(i64, i64)>>,
    sources: Sources,
    _held: Option<Reservation>,
}

/// What some series have parts of, by series.
struct Parts<T> {
    all: Vec<T>,
    /// Of each series: where its parts end; they start where those of the series before end. Empty when there are no parts.
    ends: Vec<u32>,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self { all: Vec::new(), ends: Vec::new() }
    }
}

impl<T> Parts<T> {
    /// From parts with the series that they belong to, ascending.
    fn new(numbered: Vec<(u32, T)>, series: usize) -> Self {
        if numbered.is_empty() {
            return Self::default();
        }
        let mut ends = vec![0; series];
        numbered.iter().for_each(|(at, _)| ends[*at as usize] += 1);
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        Self { all: numbered.into_iter().map(|(_, part)| part).collect(), ends }
    }

    /// Those of a series.
    fn of(&self, series: usize) -> &[T] {
        let Some(&end) = self.ends.get(series) else { return &[] };
        let start = series.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start as usize..end as usize]
    }
}

/// A series of a tier's block, and from when to when it answers.
struct TierPart {
    series: BlockSeries,
    resolution: i64,
    first: i64,
    last: i64,
}

impl DbSeries {
    fn deleted(&self, index: usize) -> &[(i64, i64)] {
        match self.deleted.is_empty() {
            true => &[],
            false => self.deleted.get(&(index as u32)).map_or(&[], Vec::as_slice),
        }
    }

    /// Reads what tiers say of a series, ascending in time.
    fn read_tiers(&self, index: usize, out: &mut Samples) -> Result<()> {
        let (mut tier, mut last) = (Tier::default(), None);
        for part in self.in_tiers.of(index) {
            let range = TimeRange { start: Timestamp(part.first), end: Timestamp(part.last) };
            part.series.read_tier(range, &mut tier)?;
            tier.remove(part.resolution, self.deleted(index));
            tiers::show(&tier, part.resolution, self.sources.view.unwrap_or(View::Last), &mut last, out);
        }
        out.times_id = times_hash(&out.times);
        Ok(())
    }
}

impl SeriesSet for DbSeries {
    fn len(&self) -> usize {
        self.names.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.names.labels(index)
    }

    fn group(&self, keep: &dyn Fn(&str) -> bool) -> Grouped {
        self.names.group(keep)
    }

    fn read(&self, index: usize, out: &mut Samples) -> std::result::Result<(), SeamError> {
        out.clear();
        let range = self.range.unwrap_or(TimeRange { start: Timestamp::MIN, end: Timestamp::MAX });
        for (nth, series) in self.in_blocks.of(index).iter().enumerate() {
            let before = out.times.len();
            let id = series.append(range, out)?;
            out.times_id = if nth == 0 { id } else { mix(out.times_id, id) };
            join(out, before);
        }
        if let Some(&(group, column)) = self.in_head.get(index) {
            let read = |out: &mut Samples| {
                self.groups[group as usize].read(column, out)?;
                if out.times.first().is_some_and(|&first| first < self.min_valid) {
                    retain(out, |time| time >= self.min_valid);
                }
                Ok::<_, crate::Error>(())
            };
            if out.is_empty() {
                read(out)?;
            } else {
                let mut part = Samples::default();
                read(&mut part)?;
                part.times_id = mix(out.times_id, part.times_id);
                append(out, part);
            }
        }
        compact::remove(out, self.deleted(index));
        if !self.sources.is_raw() {
            retain(out, |time| self.sources.is_raw_at(time));
            let raw = std::mem::take(out);
            let mut old = Samples::default();
            self.read_tiers(index, &mut old)?;
            compact::merge(&[&old, &raw], out);
            out.times_id = times_hash(&out.times);
        }
        Ok(())
    }
}

/// Finds the series of one selector.
///
/// # Errors
/// `OverBudget`, `Corrupt`.
pub(crate) fn select(tenant: &Tenant, select: &Select, budget: &Arc<Budget>) -> Result<Selected> {
    let (start, end) = (select.start.ms().saturating_add(1), select.end.ms());
    let mut held = budget.reserve(0)?;
    let mut charge = |bytes: u64| Ok(held.grow(bytes)?);
    let limit = select.hints.limit;
    let range = TimeRange { start: Timestamp(start), end: Timestamp(end) };
    // Identities are how series are found again in blocks.
    let hashes = tenant.readable().metas().any(|meta| meta.overlaps(start, end));
    // The head first: what a cut takes from it is in the list of blocks already. Deletions before blocks: one is forgotten
    // after the blocks without its samples are in the list.
    let head = tenant.head.select(&select.matchers, Wanted { start, end, limit, hashes }, &mut charge)?;
    let tombstones = Arc::clone(&tenant.tombstones.read());
    let min_valid = tenant.head.min_valid.load(Ordering::Relaxed);
    let mut readable = tenant.readable();
    let HeadSelected { groups, places: in_head, hashes, names } = head;
    let mut warnings = std::mem::take(&mut readable.warnings);
    let mut numbered: Vec<(u32, BlockSeries)> = Vec::new();
    let mut of_tiers: Vec<(u32, TierPart)> = Vec::new();
    let metas: Vec<BlockMeta> = match readable.metas().any(|meta| meta.resolution_ms > 0) {
        true => readable.metas().cloned().collect(),
        false => Vec::new(),
    };
    let sources = tiers::choose(&metas, &select.hints, start, end);
    if let Some((until, resolution)) = sources.coarsest().filter(|_| !sources.exact) {
        warnings.push(format!(
            "values until {} come from a tier with one value every {}",
            Timestamp(until),
            model::duration::PromDuration(resolution)
        ));
    }
    let is_wanted = |meta: &BlockMeta| {
        meta.overlaps(start, end)
            && (meta.resolution_ms == 0
                || sources.of_tier(meta.resolution_ms).any(|(first, last)| meta.overlaps(first, last)))
    };
    let overlapping = readable.open(tenant, is_wanted);
    warnings.append(&mut readable.warnings);
    let hasher = tenant.head.hasher;
    let mut by_hash: HashMap<u128, u32> = HashMap::new();
    // The series of a single source need not be told apart.
    let alone = names.len() == 0 && overlapping.len() == 1;
    if !overlapping.is_empty() {
        by_hash = match hashes.len() == names.len() {
            true => hashes.into_iter().zip(0..).collect(),
            // The block has been cut just now.
            false => {
                (0..names.len()).map(|at| (hasher.hash(names.labels(at).as_encoded()), at as u32)).collect()
            }
        };
    }
    let mut deleted: HashMap<u32, Vec<(i64, i64)>> = HashMap::new();
    let mut note_deleted = |at: u32, labels: &Labels| {
        let ranges = tombstones.ranges(labels);
        if !ranges.is_empty() {
            deleted.insert(at, ranges);
        }
    };
    if !tombstones.0.is_empty() {
        (0..names.len()).for_each(|at| note_deleted(at as u32, &names.labels(at)));
    }
    let mut names = Joiner::new(names);
    let (mut encoded, mut value) = (Vec::new(), Vec::new());
    let mut pairs = SelectedPairs::default();
    for block in overlapping {
        let found = block.select_pairs(&select.matchers, range, &mut pairs);
        let (found, pairs_of_block) = match found.and_then(|found| Ok((found, block.pairs()?))) {
            Ok(found) => found,
            Err(err) => {
                warnings.push(bucket::missing(&err));
                continue;
            }
        };
        charge(found.len() as u64 * 64)?;
        names.begin(pairs_of_block, pairs.len());
        // What is not charged yet.
        let mut bytes = 0;
        let (resolution, series_of_block) = (block.meta().resolution_ms, found.len());
        if resolution == 0 {
            numbered.reserve(series_of_block);
        }
        for (nth, one) in found.into_iter().enumerate() {
            let looked = names.look_at(pairs.of(nth), |pair| block.pair_text(pair, &mut value))?;
            if !looked.unique {
                return Err(Error::corrupt(&block.path(), 0, "a series has a label twice"));
            }
            bytes += looked.bytes;
            let known = if alone {
                None
            } else {
                names.encode(&mut encoded);
                let hash = hasher.hash(&encoded);
                Some((hash, by_hash.get(&hash).copied()))
            };
            let at = match known {
                Some((_, Some(at))) => at,
                _ if limit > 0 && names.len() >= limit => continue,
                _ => {
                    let at = names.len() as u32;
                    bytes += names.push() + 16;
                    if let Some((hash, None)) = known {
                        by_hash.insert(hash, at);
                    }
                    if !tombstones.0.is_empty() {
                        names.encode(&mut encoded);
                        note_deleted(at, &Labels::from_canonical(&encoded));
                    }
                    at
                }
            };
            if bytes >= CHARGED_AT_ONCE {
                charge(std::mem::take(&mut bytes))?;
            }
            if resolution == 0 {
                numbered.push((at, one));
                continue;
            }
            for (first, last) in sources.of_tier(resolution).filter(|(a, b)| block.meta().overlaps(*a, *b)) {
                of_tiers.push((at, TierPart { series: one.clone(), resolution, first, last }));
            }
        }
        charge(bytes)?;
    }
    let names = names.finish();
    numbered.sort_by_key(|(at, _)| *at);
    of_tiers.sort_by_key(|(at, part)| (*at, part.series.block_min_time().max(part.first)));
    let series = names.len();
    let series = DbSeries {
        groups,
        in_head,
        names,
        in_blocks: Parts::new(numbered, series),
        range: Some(range),
        min_valid,
        in_tiers: Parts::new(of_tiers, series),
        deleted,
        sources,
        _held: Some(held),
    };
    Ok(Selected { series: Arc::new(series), warnings })
}

/// Label sets of series with samples in the range, sorted, and warnings.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn series(
    tenant: &Tenant,
    selectors: &[Selector],
    range: TimeRange,
    limit: usize,
) -> Result<(Vec<Labels>, Vec<String>)> {
    let all = [Vec::new()];
    let selectors = if selectors.is_empty() { &all } else { selectors };
    let wanted = Wanted { start: range.start.ms(), end: range.end.ms(), limit: 0, hashes: false };
    let heads: Vec<_> = selectors
        .iter()
        .map(|selector| tenant.head.select(selector, wanted, &mut |_| Ok(())))
        .collect::<Result<_>>()?;
    // After the head: what a cut takes from it is in the list of blocks already.
    let mut readable = tenant.readable();
    let blocks = readable.open(tenant, |meta| meta.overlaps(range.start.ms(), range.end.ms()));
    let mut warnings = readable.warnings;
    let mut names = Joiner::new(Names::default());
    let (mut pairs, mut value) = (SelectedPairs::default(), Vec::new());
    for (selector, head) in selectors.iter().zip(heads) {
        names.join(head.names);
        for block in &blocks {
            let found = block.select_pairs(selector, range, &mut pairs);
            let (found, pairs_of_block) = match found.and_then(|found| Ok((found, block.pairs()?))) {
                Ok(found) => found,
                Err(err) => {
                    warnings.push(bucket::missing(&err));
                    continue;
                }
            };
            names.begin(pairs_of_block, pairs.len());
            for nth in 0..found.len() {
                let looked = names.look_at(pairs.of(nth), |pair| block.pair_text(pair, &mut value))?;
                if !looked.unique {
                    return Err(Error::corrupt(&block.path(), 0, "a series has a label twice"));
                }
                names.push();
            }
        }
    }
    let mut found = names.finish().sorted();
    let tombstones = tenant.tombstones.read().clone();
    if !tombstones.0.is_empty() {
        found.retain(|labels| !covered(&tombstones.ranges(labels), range));
    }
    if limit > 0 && found.len() > limit {
        found.truncate(limit);
        warnings.push(TRUNCATED.to_owned());
    }
    Ok((found, warnings))
}

/// Adds label names; gives warnings.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn label_names(
    tenant: &Tenant,
    selectors: &[Selector],
    range: TimeRange,
    into: &mut Vec<String>,
) -> Result<Vec<String>> {
    tenant.head.label_names(selectors, range.start.ms(), range.end.ms(), into);
    Ok(of_blocks(tenant, selectors, range, into, |block, selector| block.label_names(selector)))
}

/// Adds label values; gives warnings.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn label_values(
    tenant: &Tenant,
    name: &str,
    selectors: &[Selector],
    range: TimeRange,
    into: &mut Vec<String>,
) -> Result<Vec<String>> {
    tenant.head.label_values(name, selectors, range.start.ms(), range.end.ms(), into);
    Ok(of_blocks(tenant, selectors, range, into, |block, selector| block.label_values(name, selector)))
}

/// Adds names that blocks in the range have; gives warnings.
fn of_blocks(
    tenant: &Tenant,
    selectors: &[Selector],
    range: TimeRange,
    into: &mut Vec<String>,
    names: impl Fn(&Block, &[Matcher]) -> Result<Vec<String>>,
) -> Vec<String> {
    let all = [Vec::new()];
    let selectors = if selectors.is_empty() { &all } else { selectors };
    let mut readable = tenant.readable();
    let blocks = readable.open(tenant, |meta| meta.overlaps(range.start.ms(), range.end.ms()));
    let mut warnings = readable.warnings;
    for block in &blocks {
        for selector in selectors {
            match names(block, selector) {
                Ok(found) => into.extend(found),
                Err(err) => warnings.push(bucket::missing(&err)),
            }
        }
    }
    warnings
}

/// Whether one deleted range covers all of `range`.
fn covered(deleted: &[(i64, i64)], range: TimeRange) -> bool {
    deleted.iter().any(|&(start, end)| start <= range.start.ms() && range.end.ms() <= end)
}

/// Exemplars of the selected series.
pub(crate) fn exemplars(tenant: &Tenant, selectors: &[Selector], range: TimeRange) -> Vec<SeriesExemplars> {
    let mut wanted = HashMap::new();
    {
        let index = tenant.head.index.read();
        let mut buffer = Vec::new();
        let all = [Vec::new()];
        for selector in if selectors.is_empty() { &all } else { selectors } {
            for series in index.select(selector) {
                wanted.entry(index.place(series)).or_insert_with(|| index.labels(series, &mut buffer));
            }
        }
    }
    let found: BTreeMap<_, _> = tenant.head.meta.lock().exemplars(&wanted, range.start.ms(), range.end.ms());
    found.into_iter().map(|(labels, exemplars)| SeriesExemplars { labels, exemplars }).collect()
}
