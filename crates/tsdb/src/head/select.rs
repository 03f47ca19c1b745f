//! The read path: a snapshot of the groups that a selector touches, decoded series by series.

use std::sync::{Arc, OnceLock};

use hashbrown::HashSet;
use model::{Matcher, Samples};

use super::group::{Group, Rows, mix};
use super::names::{Names, NamesBuilder};
use super::postings::Postings;
use super::sealed::{Chunk, Layout, TimeSets};
use super::{Groups, Head, split};
use crate::error::{Error, Result};

/// So many series are few when it comes to the values of a label.
const VALUES_FROM_SERIES: u64 = 20_000;
/// So many bytes are charged to a budget at once.
pub(crate) const CHARGED_AT_ONCE: u64 = 16 << 10;

/// A group as it was when a query began.
pub(crate) struct GroupSnapshot {
    /// All of the group's; those outside `start..=end` are not looked at.
    chunks: Arc<Vec<Chunk>>,
    start: i64,
    end: i64,
    opened: OnceLock<std::result::Result<Opened, String>>,
    /// Of the chunks that are looked at: place in `chunks` and layout, `None` when it is damaged.
    layouts: OnceLock<Vec<(u32, Option<Layout>)>>,
    sealing: Option<Arc<Rows>>,
    rows: Rows,
}

/// The chunks of a snapshot: which, where their parts are, and their decoded times.
struct Opened {
    /// Place in `chunks`, layout, first of its time columns in `sets`.
    chunks: Vec<(u32, Layout, u32)>,
    sets: TimeSets,
}

/// What a selector found in the head.
#[derive(Default)]
pub(crate) struct HeadSelected {
    pub(crate) groups: Vec<Arc<GroupSnapshot>>,
    /// Of each series: its group (index into `groups`) and its column there.
    pub(crate) places: Vec<(u32, u32)>,
    /// Of each series: the identity of its label set; empty when it was not asked for.
    pub(crate) hashes: Vec<u128>,
    /// Their labels.
    pub(crate) names: Names,
}

/// What a select of the head is to give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Samples at or after this.
    pub(crate) start: i64,
    /// Samples at or before this.
    pub(crate) end: i64,
    /// At most so many series; 0 for all.
    pub(crate) limit: usize,
    /// Whether identities are asked for.
    pub(crate) hashes: bool,
}

impl GroupSnapshot {
    /// What `group` holds between `start` and `end`, both included; `None` when that is nothing.
    fn of(group: &Group, start: i64, end: i64) -> Option<Self> {
        let state = group.state.lock();
        let overlaps = |(min, max): (i64, i64)| max >= start && min <= end;
        let chunks = match state.chunks.iter().any(|c| overlaps((c.min_time, c.max_time))) {
            true => Arc::clone(&state.chunks),
            false => Arc::default(),
        };
        let sealing = state.sealing.clone().filter(|rows| rows.time_range().is_some_and(overlaps));
        let rows = state.rows.within(start, end);
        drop(state);
        let empty = chunks.is_empty() && sealing.is_none() && rows.is_empty();
        (!empty).then(|| Self {
            chunks,
            start,
            end,
            opened: OnceLock::new(),
            layouts: OnceLock::new(),
            sealing,
            rows,
        })
    }

    /// What `group` has in sealed files between `start` and `end`, both included; `None` when that is nothing.
    pub(crate) fn of_chunks(group: &Group, start: i64, end: i64) -> Option<Self> {
        let chunks = Arc::clone(&group.state.lock().chunks);
        chunks.iter().any(|c| c.max_time >= start && c.min_time <= end).then(|| Self {
            chunks,
            start,
            end,
            opened: OnceLock::new(),
            layouts: OnceLock::new(),
            sealing: None,
            rows: Rows::default(),
        })
    }

    /// These chunks, oldest file first.
    pub(crate) fn of_list(chunks: Vec<Chunk>) -> Self {
        Self {
            chunks: Arc::new(chunks),
            start: i64::MIN,
            end: i64::MAX,
            opened: OnceLock::new(),
            layouts: OnceLock::new(),
            sealing: None,
            rows: Rows::default(),
        }
    }

    /// The chunks that are looked at, by their places.
    fn within(&self) -> impl Iterator<Item = (usize, &Chunk)> {
        let overlaps = |chunk: &Chunk| chunk.max_time >= self.start && chunk.min_time <= self.end;
        self.chunks.iter().enumerate().filter(move |(_, chunk)| overlaps(chunk))
    }

    fn opened(&self) -> Result<&Opened> {
        let open = || {
            let mut opened = Opened { chunks: Vec::new(), sets: TimeSets::default() };
            for (at, chunk) in self.within() {
                let layout = chunk.layout()?;
                opened.chunks.push((at as u32, layout, opened.sets.len() as u32));
                chunk.decode_times(&layout, &mut opened.sets)?;
            }
            Ok(opened)
        };
        let opened = self.opened.get_or_init(|| open().map_err(|err: Error| err.to_string()));
        opened.as_ref().map_err(|what| {
            let path = self.chunks.first().map(|c| c.file.path.clone()).unwrap_or_default();
            Error::corrupt(&path, 0, what.clone())
        })
    }

    /// Whether the column has a sample here at all.
    fn has(&self, column: u32) -> bool {
        let in_rows = |rows: &Rows| {
            rows.rows.iter().any(|row| row.get(column).is_some())
                || rows.extras.as_ref().is_some_and(|e| e.histograms_of(column).next().is_some())
        };
        in_rows(&self.rows)
            || self.sealing.as_deref().is_some_and(in_rows)
            // Times are not decoded for this. A damaged chunk is reported when it is read.
            || self.layouts().iter().any(|(at, layout)| {
                layout.is_none_or(|layout| self.chunks[*at as usize].has(&layout, column))
            })
    }

    fn layouts(&self) -> &[(u32, Option<Layout>)] {
        self.layouts
            .get_or_init(|| self.within().map(|(at, chunk)| (at as u32, chunk.layout().ok())).collect())
    }

    /// Appends all samples of the column; times may overlap what `out` has, then the older seal wins.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn read(&self, column: u32, out: &mut Samples) -> Result<()> {
        let opened = self.opened()?;
        let id = std::ptr::from_ref(opened) as usize as u64;
        for &(at, layout, first_set) in &opened.chunks {
            let before = out.times.len();
            let chunk = &self.chunks[at as usize];
            if let Some(set) = chunk.read(&layout, &opened.sets, first_set as usize, column, out)? {
                out.times_id = mix(out.times_id, id.wrapping_add(u64::from(first_set + set) << 40));
                join(out, before);
            }
        }
        for rows in self.sealing.as_deref().into_iter().chain([&self.rows]) {
            if rows.is_empty() {
                continue;
            }
            let after =
                rows.time_range().zip(out.times.last()).is_none_or(|((first, _), &last)| last < first);
            if after {
                // What is sealed is older, but for late samples.
                rows.read(column, out);
                continue;
            }
            let mut part = Samples { times_id: out.times_id, ..Samples::default() };
            rows.read(column, &mut part);
            append(out, part);
        }
        Ok(())
    }

    /// Memory that the snapshot keeps alive beyond the head's own, in bytes.
    fn bytes(&self) -> u64 {
        let chunks = self.within().count();
        // Sixteen times a chunk or so: one of a seal, not one of a day.
        (size_of::<Self>() + chunks * (2 * size_of::<(u32, Layout, u32)>() + 128) + self.rows.rows.len() * 8)
            as u64
    }
}

/// Appends `part`, whose times may overlap those of `out`.
pub(crate) fn append(out: &mut Samples, part: Samples) {
    let before = out.times.len();
    let Samples { times_id, times, values, histograms, starts } = part;
    out.times_id = times_id;
    if !out.starts.is_empty() || !starts.is_empty() {
        out.starts.resize(before, 0);
        out.starts.extend_from_slice(&starts);
        out.starts.resize(before + times.len(), 0);
    }
    out.times.extend_from_slice(&times);
    out.values.extend_from_slice(&values);
    out.histograms.extend(histograms.into_iter().map(|(at, h)| (at + before as u32, h)));
    join(out, before);
}

/// Makes one ascending column of the two that meet at `middle`; of two samples at one time the left one stays.
pub(crate) fn join(out: &mut Samples, middle: usize) {
    if middle == 0 || middle == out.times.len() || out.times[middle - 1] < out.times[middle] {
        return;
    }
    let old = std::mem::take(out);
    let (mut left, mut right) = (0, middle);
    while left < middle || right < old.times.len() {
        let take_left = right == old.times.len() || (left < middle && old.times[left] <= old.times[right]);
        let at = if take_left { left } else { right };
        if take_left {
            if right < old.times.len() && old.times[right] == old.times[left] {
                right += 1;
            }
            left += 1;
        } else {
            right += 1;
        }
        copy(&old, at, out);
    }
    out.times_id = times_hash(&out.times);
}

fn copy(from: &Samples, at: usize, out: &mut Samples) {
    match from.histogram(at) {
        Some(histogram) => out.push_histogram(from.times[at], Arc::clone(histogram)),
        None => out.push_float(from.times[at], from.values[at]),
    }
    if let Some(start) = from.start(at) {
        out.set_last_start(start);
    }
}

/// A `times_id` for a column that is not that of its sources.
pub(crate) fn times_hash(times: &[i64]) -> u64 {
    times.iter().fold(times.len() as u64, |id, &time| mix(id, time as u64))
}

/// Drops the samples that `keep` refuses.
pub(crate) fn retain(samples: &mut Samples, keep: impl Fn(i64) -> bool) {
    if samples.times.iter().all(|&time| keep(time)) {
        return;
    }
    let old = std::mem::take(samples);
    for at in (0..old.times.len()).filter(|&at| keep(old.times[at])) {
        copy(&old, at, samples);
    }
    samples.times_id = times_hash(&samples.times);
}

/// Whether any of the series is among `numbers` (`None`: all).
fn has_any(postings: &Postings, numbers: Option<&roaring::RoaringBitmap>) -> bool {
    match numbers {
        None => !postings.is_empty(),
        Some(numbers) => postings.intersects(numbers),
    }
}

/// The groups without samples between `start` and `end`, both included.
fn outside(groups: &Groups, start: i64, end: i64) -> HashSet<u64> {
    let in_range = |group: &Group| {
        let state = group.state.lock();
        let overlaps = |(min, max): (i64, i64)| max >= start && min <= end;
        state.chunks.iter().any(|c| overlaps((c.min_time, c.max_time)))
            || state.rows.time_range().is_some_and(overlaps)
            || state.sealing.as_ref().and_then(|r| r.time_range()).is_some_and(overlaps)
    };
    groups.by_number.iter().filter(|(_, group)| !in_range(group)).map(|(number, _)| *number).collect()
}

impl Head {
    /// Whether every group is known to have samples from before `end` and from after `start`, without a look at each of them: a
    /// group's newest sample only becomes newer. What it says of old times may be out of date: then what is in blocks counts too.
    fn all_overlap(&self, groups: &Groups, start: i64, end: i64) -> bool {
        let fits = |(number, first, last): (u64, i64, i64)| {
            number == groups.next_number && first <= end && start <= last
        };
        let mut common = self.common_time.lock();
        if fits(*common) {
            return true;
        }
        let (mut first, mut last) = (i64::MIN, i64::MAX);
        for group in groups.by_number.values() {
            let state = group.state.lock();
            let ranges = state.chunks.iter().map(|chunk| (chunk.min_time, chunk.max_time));
            let rows = state
                .rows
                .time_range()
                .into_iter()
                .chain(state.sealing.as_ref().and_then(|r| r.time_range()));
            let hull = ranges.chain(rows).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
            let Some((oldest, newest)) = hull else { return false };
            (first, last) = (first.max(oldest), last.min(newest));
        }
        *common = (groups.next_number, first, last);
        fits(*common)
    }

    /// Series that pass the matchers and have samples in the time that is wanted.
    ///
    /// # Errors
    /// What `charge` says to the bytes that the answer takes.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        wanted: Wanted,
        charge: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<HeadSelected> {
        let Wanted { end, limit, .. } = wanted;
        let start = wanted.start.max(self.min_valid.load(std::sync::atomic::Ordering::Relaxed));
        if start > end {
            return Ok(HeadSelected::default());
        }
        let index = self.index.read();
        let numbers = index.select(matchers);
        charge(numbers.len() * 16)?;
        let mut found: Vec<(u64, u32)> = numbers.iter().map(|s| (index.place(s).0, s)).collect();
        // Group by group, so that neighbours share their times.
        found.sort_unstable();
        let mut selected = HeadSelected::default();
        let mut current: Option<(u64, Option<u32>)> = None;
        let groups = self.groups.read();
        let mut names = NamesBuilder::default();
        // What is not charged yet: a budget is asked now and then.
        let mut bytes = 0;
        for (place, number) in found {
            let (group_number, column) = split(model::SeriesRef(place));
            let snapshot = match current {
                Some((same, snapshot)) if same == group_number => snapshot,
                _ => {
                    let group = groups.by_number.get(&group_number);
                    let snapshot = match group.and_then(|group| GroupSnapshot::of(group, start, end)) {
                        Some(snapshot) => {
                            bytes += snapshot.bytes();
                            selected.groups.push(Arc::new(snapshot));
                            Some(selected.groups.len() as u32 - 1)
                        }
                        None => None,
                    };
                    current = Some((group_number, snapshot));
                    snapshot
                }
            };
            let Some(group) = snapshot else { continue };
            if !selected.groups[group as usize].has(column) {
                continue;
            }
            bytes += names.push(&index, number) + size_of::<(u32, u32)>() as u64;
            selected.places.push((group, column));
            if wanted.hashes {
                bytes += size_of::<u128>() as u64;
                selected.hashes.push(index.hash_of(number));
            }
            if bytes >= CHARGED_AT_ONCE {
                charge(std::mem::take(&mut bytes))?;
            }
            if limit > 0 && selected.places.len() >= limit {
                break;
            }
        }
        charge(bytes)?;
        selected.names = names.finish();
        Ok(selected)
    }

    /// Series numbers that pass any of the selectors and whose group has samples in the range; `None` for all series, when
    /// there is no selector and every group has.
    fn numbers(&self, selectors: &[Vec<Matcher>], start: i64, end: i64) -> Option<roaring::RoaringBitmap> {
        let start = start.max(self.min_valid.load(std::sync::atomic::Ordering::Relaxed));
        let index = self.index.read();
        let groups = self.groups.read();
        let outside = match self.all_overlap(&groups, start, end) {
            true => HashSet::new(),
            false => outside(&groups, start, end),
        };
        let some_empty = self.some_empty.load(std::sync::atomic::Ordering::Relaxed);
        if selectors.is_empty() && outside.is_empty() && !some_empty {
            return None;
        }
        let numbers = if selectors.is_empty() {
            index.all()
        } else {
            selectors.iter().fold(roaring::RoaringBitmap::new(), |union, s| union | index.select(s))
        };
        if outside.is_empty() && !some_empty {
            return Some(numbers);
        }
        let passes = |number: &u32| {
            let (group, column) = split(index.place(*number));
            if outside.contains(&group) {
                return false;
            }
            // A series whose only batch was refused is not there yet.
            let has_samples = |group: &Arc<Group>| group.state.lock().last_time[column as usize] != i64::MIN;
            !some_empty || groups.by_number.get(&group).is_some_and(has_samples)
        };
        Some(
            roaring::RoaringBitmap::from_sorted_iter(numbers.iter().filter(passes))
                .expect("a subset ascends"),
        )
    }

    /// Adds the label names of those series.
    pub(crate) fn label_names(
        &self,
        selectors: &[Vec<Matcher>],
        start: i64,
        end: i64,
        into: &mut Vec<String>,
    ) {
        let numbers = self.numbers(selectors, start, end);
        let index = self.index.read();
        for name in index.names() {
            if index.values(name).any(|(_, postings)| has_any(postings, numbers.as_ref())) {
                into.push(name.to_owned());
            }
        }
    }

    /// Adds the values that label `name` has in those series.
    pub(crate) fn label_values(
        &self,
        name: &str,
        selectors: &[Vec<Matcher>],
        start: i64,
        end: i64,
        into: &mut Vec<String>,
    ) {
        let numbers = self.numbers(selectors, start, end);
        let index = self.index.read();
        // The values of few series are found from the series, those of many from the values.
        if let Some(numbers) = numbers.as_ref().filter(|n| n.len() <= VALUES_FROM_SERIES) {
            let mut seen = HashSet::new();
            let before = into.len();
            for series in numbers {
                for &pair in index.pairs_of(series) {
                    if seen.insert(pair)
                        && let (found, value) = index.pair_text(pair)
                        && found == name
                    {
                        into.push(value.to_owned());
                    }
                }
            }
            into[before..].sort_unstable();
            return;
        }
        for (value, postings) in index.sorted_values(name) {
            if has_any(postings, numbers.as_ref()) {
                into.push(value.to_owned());
            }
        }
    }
}
