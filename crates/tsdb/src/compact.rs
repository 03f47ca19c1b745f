//! Compaction: several blocks become one.
//!
//! Series are merged one at a time, so memory is one series of each input and what the writer keeps. The new block is
//! whole or absent; its meta file names the blocks that it replaces, so that a crash between its birth and their removal
//! is repaired at the next start ([`replaced`]). Where inputs hold different values for the same time of a series, the
//! input that comes first wins. Deleted ranges are left out for good.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::path::Path;
use std::sync::Arc;

use model::{Labels, Samples};

use crate::Result;
use crate::block::{Block, BlockMeta, BlockScan, BlockWriter};
use crate::disk::Disk;

/// What compaction is to leave out, and when to stop.
pub trait Guard {
    /// The ranges of `labels` that were deleted, both ends included, in milliseconds since the epoch; in any order.
    fn deleted(&self, _labels: &Labels) -> Vec<(i64, i64)> {
        Vec::new()
    }

    /// Called after each series with the number of samples written so far; an error stops the compaction and removes what
    /// was written. The place to yield, to limit the rate and to notice a shutdown.
    ///
    /// # Errors
    /// The reason to stop.
    fn check(&self, _samples: u64) -> Result<()> {
        Ok(())
    }
}

/// Leaves nothing out and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepAll;

impl Guard for KeepAll {}

/// Merges `inputs` into the new block `folder`, `meta` giving its id, level and resolution.
///
/// # Errors
/// `Corrupt` when an input is damaged, `Io`, what `guard` says. There is no new block then.
pub fn compact(
    disk: &Arc<dyn Disk>,
    inputs: &[Arc<Block>],
    folder: &Path,
    mut meta: BlockMeta,
    guard: &dyn Guard,
) -> Result<BlockMeta> {
    if meta.sources.is_empty() {
        meta.sources = inputs.iter().map(|block| block.meta().id.clone()).collect();
    }
    let mut writer = BlockWriter::create(Arc::clone(disk), folder, meta)?;
    match merge_all(inputs, &mut writer, guard) {
        Ok(()) => writer.finish(),
        Err(err) => {
            if let Err(second) = writer.abort() {
                tracing::warn!(error = %second, "cannot remove an unfinished block; it is removed at the next start");
            }
            Err(err)
        }
    }
}

fn merge_all(inputs: &[Arc<Block>], writer: &mut BlockWriter, guard: &dyn Guard) -> Result<()> {
    let mut merge = SeriesMerge::new(inputs)?;
    let mut samples = Samples::default();
    while let Some(labels) = merge.next(&mut samples)? {
        remove(&mut samples, &guard.deleted(&labels));
        writer.add_series(&labels, &samples)?;
        guard.check(writer.samples())?;
    }
    Ok(())
}

/// All series of several blocks in label order, each once.
pub struct SeriesMerge {
    scans: Vec<BlockScan>,
    /// The next series of each scan; ties go to the block that comes first.
    heads: BinaryHeap<Reverse<(Labels, usize)>>,
    parts: Vec<Samples>,
}

impl SeriesMerge {
    /// Begins; the order of `blocks` is their rank.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn new(blocks: &[Arc<Block>]) -> Result<Self> {
        let mut merge = Self { scans: Vec::new(), heads: BinaryHeap::new(), parts: Vec::new() };
        for (i, block) in blocks.iter().enumerate() {
            let mut scan = block.scan()?;
            if let Some(labels) = scan.next()? {
                merge.heads.push(Reverse((labels, i)));
            }
            merge.scans.push(scan);
            merge.parts.push(Samples::default());
        }
        Ok(merge)
    }

    /// The next series, its samples in `out`; `None` after the last.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn next(&mut self, out: &mut Samples) -> Result<Option<Labels>> {
        out.clear();
        let Some(Reverse((labels, first))) = self.heads.pop() else { return Ok(None) };
        let mut of = vec![first];
        while let Some(Reverse((next, i))) = self.heads.peek() {
            if *next != labels {
                break;
            }
            of.push(*i);
            self.heads.pop();
        }
        for &i in &of {
            self.scans[i].read(&mut self.parts[i])?;
            if let Some(labels) = self.scans[i].next()? {
                self.heads.push(Reverse((labels, i)));
            }
        }
        match &of[..] {
            [one] => std::mem::swap(out, &mut self.parts[*one]),
            _ => merge(&of.iter().map(|&i| &self.parts[i]).collect::<Vec<_>>(), out),
        }
        Ok(Some(labels))
    }
}

/// Merges columns by time into `out`, which is cleared; at equal times the part that comes first wins.
pub fn merge(parts: &[&Samples], out: &mut Samples) {
    out.clear();
    let mut order: Vec<usize> = (0..parts.len()).filter(|&i| !parts[i].is_empty()).collect();
    order.sort_by_key(|&i| parts[i].times[0]);
    let apart = order.windows(2).all(|w| parts[w[0]].times.last() < parts[w[1]].times.first());
    if apart {
        for &i in &order {
            append(parts[i], 0..parts[i].len(), out);
        }
        return;
    }
    let mut at = vec![0; parts.len()];
    loop {
        // Few parts: a scan beats a heap.
        let next =
            (0..parts.len()).filter(|&i| at[i] < parts[i].len()).min_by_key(|&i| (parts[i].times[at[i]], i));
        let Some(first) = next else { return };
        let time = parts[first].times[at[first]];
        append(parts[first], at[first]..at[first] + 1, out);
        for (i, part) in parts.iter().enumerate() {
            if part.times.get(at[i]) == Some(&time) {
                at[i] += 1;
            }
        }
    }
}

/// Appends `range` of `from`, which lies after all of `out`.
pub(crate) fn append(from: &Samples, range: std::ops::Range<usize>, out: &mut Samples) {
    let base = out.len();
    out.times.extend_from_slice(&from.times[range.clone()]);
    out.values.extend_from_slice(&from.values[range.clone()]);
    let first = from.histograms.partition_point(|(at, _)| (*at as usize) < range.start);
    for (at, histogram) in &from.histograms[first..] {
        if *at as usize >= range.end {
            break;
        }
        out.histograms.push(((*at as usize - range.start + base) as u32, Arc::clone(histogram)));
    }
    if !from.starts.is_empty() || !out.starts.is_empty() {
        out.starts.resize(base, 0);
        match from.starts.get(range) {
            Some(starts) => out.starts.extend_from_slice(starts),
            None => out.starts.resize(out.times.len(), 0),
        }
    }
}

/// Drops the samples in any of `ranges` (both ends included).
pub fn remove(samples: &mut Samples, ranges: &[(i64, i64)]) {
    let gone = |time: i64| ranges.iter().any(|&(start, end)| start <= time && time <= end);
    if ranges.is_empty() || !samples.times.iter().any(|&t| gone(t)) {
        return;
    }
    let mut left = Samples::default();
    let mut start = 0;
    while start < samples.len() {
        let here = gone(samples.times[start]);
        let end = start + samples.times[start..].iter().take_while(|&&t| gone(t) == here).count();
        if !here {
            append(samples, start..end, &mut left);
        }
        start = end;
    }
    *samples = left;
}

/// What to compact next: indices into `blocks`, in order of rank; `None` when nothing is due.
///
/// Raw blocks only. First those that overlap in time (late data), then, from the shortest to the longest of
/// `windows_ms`, two or more blocks within one window that lies wholly before the newest sample. Windows are aligned to
/// multiples of their length. Blocks with more than `max_samples` together are left alone.
pub fn plan(blocks: &[BlockMeta], windows_ms: &[i64], max_samples: u64) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..blocks.len()).filter(|&i| blocks[i].resolution_ms == 0).collect();
    order.sort_by_key(|&i| (blocks[i].min_time, blocks[i].max_time, &blocks[i].id));
    let fits = |group: &[usize]| group.iter().map(|&i| blocks[i].samples).sum::<u64>() <= max_samples;
    // Overlaps: grow a group while the next block begins before its end.
    let mut group: Vec<usize> = Vec::new();
    let mut end = i64::MIN;
    for &i in order.iter().chain(std::iter::once(&usize::MAX)) {
        let joins = !group.is_empty() && blocks.get(i).is_some_and(|b| b.min_time <= end);
        if !joins {
            if group.len() > 1 && fits(&group) {
                return Some(ranked(blocks, group));
            }
            group.clear();
            end = i64::MIN;
        }
        if let Some(block) = blocks.get(i) {
            group.push(i);
            end = end.max(block.max_time);
        }
    }
    for &window in windows_ms.iter().filter(|&&w| w > 0) {
        let slot = |time: i64| time.div_euclid(window);
        for group in order.chunk_by(|&a, &b| slot(blocks[a].min_time) == slot(blocks[b].min_time)) {
            let first = &blocks[group[0]];
            let newest =
                blocks.iter().filter(|b| b.resolution_ms == first.resolution_ms).map(|b| b.max_time).max();
            let after = (slot(first.min_time) + 1).saturating_mul(window);
            let inside: Vec<usize> =
                group.iter().copied().filter(|&i| slot(blocks[i].max_time) == slot(first.min_time)).collect();
            if inside.len() > 1 && newest.is_some_and(|newest| newest >= after) && fits(&inside) {
                return Some(ranked(blocks, inside));
            }
        }
    }
    None
}

/// In order of rank: what was compacted more often is older, and the older block wins.
fn ranked(blocks: &[BlockMeta], mut group: Vec<usize>) -> Vec<usize> {
    group.sort_by_key(|&i| (Reverse(blocks[i].level), &blocks[i].id));
    group
}

/// Ids of blocks that another block in the list was made from: a crash came between its birth and their removal.
pub fn replaced(blocks: &[BlockMeta]) -> BTreeSet<String> {
    let ids: BTreeSet<&String> = blocks.iter().map(|b| &b.id).collect();
    blocks
        .iter()
        .flat_map(|b| b.sources.iter().filter(|source| **source != b.id))
        .filter(|source| ids.contains(source))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Error;
    use crate::disk::{Crash, FaultDisk};

    type Model = BTreeMap<Labels, BTreeMap<i64, f64>>;

    fn write(disk: &Arc<dyn Disk>, id: &str, model: &Model) -> Arc<Block> {
        let folder = Path::new("/d").join(id);
        let mut writer = BlockWriter::create(Arc::clone(disk), &folder, BlockMeta::new(id, 0)).unwrap();
        for (labels, points) in model {
            let mut samples = Samples::default();
            points.iter().for_each(|(&t, &v)| samples.push_float(t, v));
            writer.add_series(labels, &samples).unwrap();
        }
        writer.finish().unwrap();
        Block::open(&**disk, &folder).unwrap()
    }

    fn read(block: &Arc<Block>) -> Model {
        let mut scan = block.scan().unwrap();
        let mut samples = Samples::default();
        let mut model = Model::new();
        while let Some(labels) = scan.next().unwrap() {
            scan.read(&mut samples).unwrap();
            model.insert(labels, samples.times.iter().copied().zip(samples.values.iter().copied()).collect());
        }
        model
    }

    fn models() -> impl Strategy<Value = Vec<Model>> {
        let labels =
            ("[ab]", prop_oneof![Just("0.1"), Just("1"), Just("+Inf"), Just("")]).prop_map(|(a, le)| {
                Labels::from_pairs([("__name__", "m_bucket"), ("a", a.as_str()), ("le", le)])
            });
        let points = prop::collection::btree_map(0i64..40_000_000, (-50i32..50).prop_map(f64::from), 1..20);
        prop::collection::vec(prop::collection::btree_map(labels, points, 0..8), 1..5)
    }

    struct Delete(i64, i64);
    impl Guard for Delete {
        fn deleted(&self, labels: &Labels) -> Vec<(i64, i64)> {
            if labels.get("a") == Some("a") { vec![(self.0, self.1)] } else { Vec::new() }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn compaction_is_a_union_where_the_first_wins(models in models(), from in 0i64..40_000_000, len in 0i64..9_000_000) {
            let fault = FaultDisk::new();
            let disk: Arc<dyn Disk> = Arc::new(fault.clone());
            let blocks: Vec<_> =
                models.iter().enumerate().map(|(i, m)| write(&disk, &format!("b{i}"), m)).collect();
            let mut expected = Model::new();
            for model in &models {
                for (labels, points) in model {
                    let into = expected.entry(labels.clone()).or_default();
                    points.iter().for_each(|(&t, &v)| { into.entry(t).or_insert(v); });
                }
            }
            for (labels, points) in &mut expected {
                points.retain(|t, _| labels.get("a") != Some("a") || *t < from || *t > from + len);
            }
            expected.retain(|_, points| !points.is_empty());
            let meta = compact(&disk, &blocks, Path::new("/d/out"), BlockMeta::new("out", 1), &Delete(from, from + len)).unwrap();
            prop_assert_eq!(meta.sources.len(), blocks.len());
            let out = Block::open(&*disk, Path::new("/d/out")).unwrap();
            prop_assert!(out.verify().unwrap().is_empty());
            prop_assert_eq!(read(&out), expected);
        }
    }

    #[test]
    fn a_crash_leaves_the_inputs_or_the_whole_result() {
        let model: Model =
            [(Labels::from_pairs([("a", "1")]), (0..50).map(|i| (i * 1000, 0.5)).collect())].into();
        for at in 0..40 {
            let fault = FaultDisk::new();
            let disk: Arc<dyn Disk> = Arc::new(fault.clone());
            disk.create_dir_all(Path::new("/d")).unwrap();
            let blocks = [write(&disk, "b0", &model), write(&disk, "b1", &model)];
            disk.sync_dir(Path::new("/d")).unwrap();
            fault.crash_after(at);
            let result = compact(&disk, &blocks, Path::new("/d/out"), BlockMeta::new("out", 1), &KeepAll);
            let crashed = fault.has_crashed();
            fault.restart(Crash::PowerLoss { seed: at });
            assert!(crashed || result.is_ok());
            if disk.exists(Path::new("/d/out/meta.json")).unwrap() {
                let out = Block::open(&*disk, Path::new("/d/out")).unwrap();
                assert_eq!(read(&out), model);
            } else {
                assert!(result.is_err());
                assert_eq!(read(&Block::open(&*disk, Path::new("/d/b0")).unwrap()), model);
            }
        }
    }

    #[test]
    fn a_guard_that_stops_leaves_nothing() {
        struct Stop;
        impl Guard for Stop {
            fn check(&self, _: u64) -> Result<()> {
                Err(Error::Closed)
            }
        }
        let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
        let model: Model = [(Labels::from_pairs([("a", "1")]), [(1, 1.0)].into())].into();
        let block = write(&disk, "b0", &model);
        let result = compact(&disk, &[block], Path::new("/d/out"), BlockMeta::new("out", 1), &Stop);
        assert!(matches!(result, Err(Error::Closed)));
        assert!(!disk.exists(Path::new("/d/out")).unwrap() && !disk.exists(Path::new("/d/out.tmp")).unwrap());
    }

    #[test]
    fn plans_overlaps_first_then_windows() {
        const H: i64 = 3_600_000;
        let block = |id: &str, from: i64, to: i64, level| BlockMeta {
            min_time: from * H,
            max_time: to * H - 1,
            samples: 10,
            ..BlockMeta::new(id, level)
        };
        let windows = [2 * H, 24 * H];
        let day: Vec<BlockMeta> = (0..12).map(|i| block(&format!("b{i:02}"), i * 2, i * 2 + 2, 0)).collect();
        // The day is not over.
        assert_eq!(plan(&day, &windows, u64::MAX), None);
        let mut more = day.clone();
        more.push(block("next", 24, 26, 0));
        assert_eq!(plan(&more, &windows, u64::MAX), Some((0..12).collect()));
        assert_eq!(plan(&more, &windows, 50), None);
        // Late data overlaps the second block; the block of the higher level comes first.
        more.push(block("late", 2, 4, 0));
        more[1].level = 1;
        assert_eq!(plan(&more, &windows, u64::MAX), Some(vec![1, 13]));
        // Tiers are not compacted.
        more[13].resolution_ms = 300_000;
        assert_eq!(plan(&more, &windows, u64::MAX).map(|p| p.len()), Some(12));
        let merged = BlockMeta { sources: vec!["b00".into(), "gone".into()], ..block("m", 0, 4, 1) };
        assert_eq!(replaced(&[day[0].clone(), merged]), BTreeSet::from(["b00".to_owned()]));
        assert_eq!(plan(&[], &windows, 1), None);
    }
}
