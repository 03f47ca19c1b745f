//! Opens a block, finds series, reads samples.
//!
//! Opening reads footer and meta file; sections are read and verified at first use and kept. Nothing of a section that
//! does not match its checksum is ever used.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::seam::TimeRange;
use model::{Labels, Matcher, Samples};
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use super::directory::{CRC, ChunkRef, Directory, Entry, Place};
use super::format::{self, BlockMeta, FLAG_SIBLING, FLAG_TIER, Footer, Section};
use super::payload;
use super::source::{Mapped, Source};
use super::tier::Tier;
use super::times::{self, Group};
use crate::chunk::{self, CorruptChunk};
use crate::disk::Disk;
use crate::index::{Index, NameStats, PairStats};
use crate::{Error, Result};

/// Buckets of one histogram depend on one another no deeper than this.
const MAX_PARENTS: usize = 64;
/// Decoded bucket columns that are kept for the next bucket of their histogram.
const KEPT: usize = 64;

/// An open block.
pub struct Block {
    meta: BlockMeta,
    source: Box<dyn Source>,
    footer: Footer,
    /// Always, but for tests of what lies behind them.
    checksums: bool,
    parts: OnceLock<Parts>,
    /// Serialises the first use of the sections.
    loading: Mutex<()>,
    kept: Mutex<Vec<Option<Kept>>>,
    uid: u64,
}

/// The sections, checked.
struct Parts {
    groups: Vec<Group>,
    directory: Directory,
    index: Index,
}

/// A decoded column of a bucket.
#[derive(Clone)]
struct Kept {
    series: u32,
    group: u32,
    values: Arc<Vec<f64>>,
}

/// Numbers of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockStats {
    /// How many series.
    pub series: u64,
    /// How many samples.
    pub samples: u64,
    /// Distinct label pairs.
    pub label_pairs: u64,
    /// Distinct time columns.
    pub time_groups: u64,
    /// Bytes of the chunks and time groups.
    pub data_bytes: u64,
    /// Bytes of the sections: directory, dictionary, postings.
    pub index_bytes: u64,
    /// Each label name with its numbers of values and series.
    pub names: Vec<NameStats>,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("meta", &self.meta)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Block {
    /// Opens the block in `folder`.
    ///
    /// # Errors
    /// `Io`; `Corrupt` when meta file or footer are damaged or do not belong together.
    pub fn open(disk: &dyn Disk, folder: &Path) -> Result<Arc<Self>> {
        let path = folder.join(format::META_FILE);
        let meta = BlockMeta::parse(&disk.read(&path).map_err(Error::io("read", &path))?, &path)?;
        let source = Mapped::open(disk, &folder.join(format::DATA_FILE))?;
        Self::from_source(meta, Box::new(source))
    }

    /// Opens a block whose data comes from elsewhere, such as an object store.
    ///
    /// # Errors
    /// As [`Block::open`].
    pub fn from_source(meta: BlockMeta, source: Box<dyn Source>) -> Result<Arc<Self>> {
        let footer = Footer::read(&*source, true)?;
        if footer.crc != meta.footer_crc
            || source.len() != meta.bytes
            || u64::from(footer.series) != meta.series
            || footer.samples != meta.samples
            || (footer.min_time, footer.max_time) != (meta.min_time, meta.max_time)
        {
            return Err(Error::corrupt(
                source.path(),
                source.len(),
                "the meta file belongs to another data file",
            ));
        }
        Ok(Self::with_footer(meta, source, footer, true))
    }

    /// A block whose checksums are not looked at, so that tests reach the decoders behind them.
    ///
    /// # Errors
    /// `Corrupt`.
    #[cfg(any(test, fuzzing))]
    pub fn open_unchecked(meta: BlockMeta, bytes: Vec<u8>) -> Result<Arc<Self>> {
        let source = Box::new(Mapped::from_bytes(bytes.into(), "data"));
        let footer = Footer::read(&*source, false)?;
        Ok(Self::with_footer(meta, source, footer, false))
    }

    fn with_footer(meta: BlockMeta, source: Box<dyn Source>, footer: Footer, checksums: bool) -> Arc<Self> {
        let uid = xxhash_rust::xxh3::xxh3_64_with_seed(meta.id.as_bytes(), u64::from(footer.crc));
        Arc::new(Self {
            meta,
            source,
            footer,
            checksums,
            parts: OnceLock::new(),
            loading: Mutex::new(()),
            kept: Mutex::new(vec![None; KEPT]),
            uid,
        })
    }

    /// What the block is.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Bytes of the sections, which stay in memory once they are read.
    pub(crate) fn sections_len(&self) -> u64 {
        self.footer.sections.iter().map(|section| section.len as u64).sum()
    }

    /// Where its data is, for messages.
    pub fn path(&self) -> PathBuf {
        self.source.path().to_owned()
    }

    fn corrupt(&self, offset: u64) -> impl FnOnce(CorruptChunk) -> Error {
        move |err| Error::corrupt(self.source.path(), offset, err.to_string())
    }

    fn label_set(&self, encoded: &[u8]) -> Result<Labels> {
        Labels::from_encoded(encoded)
            .ok_or(CorruptChunk("the labels of a series are not canonical"))
            .map_err(self.index_corrupt())
    }

    fn section(&self, kind: u64) -> Result<(Section, Bytes)> {
        let section = *self.footer.section(kind).ok_or_else(|| {
            Error::corrupt(self.source.path(), self.source.len(), format!("section {kind} is missing"))
        })?;
        let bytes = self.source.read_range(section.offset, section.len)?;
        if self.checksums && crc32c::crc32c(&bytes) != section.crc {
            return Err(Error::corrupt(
                self.source.path(),
                section.offset,
                format!("the checksum of section {kind} differs"),
            ));
        }
        Ok((section, bytes))
    }

    /// Where chunks and times end.
    fn data_end(&self) -> u64 {
        self.footer.sections.iter().map(|s| s.offset).min().unwrap_or(0)
    }

    fn parts(&self) -> Result<&Parts> {
        if let Some(parts) = self.parts.get() {
            return Ok(parts);
        }
        let _loading = self.loading.lock();
        if let Some(parts) = self.parts.get() {
            return Ok(parts);
        }
        let data_end = self.data_end();
        let (at, bytes) = self.section(format::TIMES)?;
        let groups = times::read(&bytes, self.footer.groups, data_end).map_err(self.corrupt(at.offset))?;
        let (at, names) = self.section(format::NAMES)?;
        let dictionary = self.section(format::DICTIONARY)?.1;
        let restarts = self.section(format::DICTIONARY_RESTARTS)?.1;
        let postings = self.section(format::POSTINGS)?.1;
        let index = Index::new(&names, dictionary, restarts, postings, self.footer.series)
            .map_err(self.corrupt(at.offset))?;
        let (at, series) = self.section(format::SERIES)?;
        let restarts = self.section(format::SERIES_RESTARTS)?.1;
        let pairs = index.dictionary().pairs();
        let (all, groups_len) = (self.footer.series, self.footer.groups);
        let directory = Directory::new(series, restarts, all, groups_len, pairs, data_end)
            .map_err(self.corrupt(at.offset))?;
        Ok(self.parts.get_or_init(|| Parts { groups, directory, index }))
    }

    fn index_corrupt(&self) -> impl FnOnce(CorruptChunk) -> Error {
        self.corrupt(self.data_end())
    }

    fn ids(&self, parts: &Parts, matchers: &[Matcher]) -> Result<RoaringBitmap> {
        let reader = std::cell::RefCell::new(parts.directory.reader());
        let pairs_of = |id: u32, out: &mut Vec<u32>| {
            out.extend_from_slice(&reader.borrow_mut().read(id)?.pairs);
            Ok(())
        };
        parts.index.select(matchers, &pairs_of).map_err(self.index_corrupt())
    }

    /// The series that pass all matchers and have a chunk that may hold samples in `range` (both ends included), in label
    /// order.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn select(self: &Arc<Self>, matchers: &[Matcher], range: TimeRange) -> Result<Vec<BlockSeries>> {
        self.select_pairs(matchers, range, &mut SelectedPairs::default())
    }

    /// As [`Block::select`], with the numbers of the label pairs of each series.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub(crate) fn select_pairs(
        self: &Arc<Self>,
        matchers: &[Matcher],
        range: TimeRange,
        pairs: &mut SelectedPairs,
    ) -> Result<Vec<BlockSeries>> {
        let (start, end) = (range.start.ms(), range.end.ms());
        *pairs = SelectedPairs::default();
        if !self.meta.overlaps(start, end) || self.footer.series == 0 {
            return Ok(Vec::new());
        }
        let parts = self.parts()?;
        let ids = self.ids(parts, matchers)?;
        let mut reader = parts.directory.reader();
        let mut found = Found {
            block: Arc::clone(self),
            chunks: Vec::new(),
            series: Vec::new(),
            times: RwLock::default(),
        };
        for id in ids {
            let entry = reader.read(id).map_err(self.index_corrupt())?;
            let before = found.chunks.len();
            found.chunks.extend(entry.chunks.iter().filter(|chunk| {
                let group = &parts.groups[chunk.group as usize];
                group.first <= end && start <= group.last
            }));
            if found.chunks.len() == before {
                continue;
            }
            pairs.all.extend_from_slice(&entry.pairs);
            pairs.ends.push(pairs.all.len());
            found.series.push(FoundSeries { id, chunks_end: found.chunks.len() });
        }
        let found = Arc::new(found);
        Ok((0..found.series.len() as u32).map(|at| BlockSeries { found: Arc::clone(&found), at }).collect())
    }

    /// How many distinct label pairs.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub(crate) fn pairs(&self) -> Result<u32> {
        Ok(self.parts()?.index.dictionary().pairs())
    }

    /// A label pair as it is encoded in a label set; `value` is scratch.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub(crate) fn pair_text(&self, pair: u32, value: &mut Vec<u8>) -> Result<Box<[u8]>> {
        self.parts()?.index.dictionary().encoded(pair, value).map_err(self.index_corrupt())
    }

    /// Label sets of the series that pass all matchers.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn series(self: &Arc<Self>, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>> {
        let mut pairs = SelectedPairs::default();
        let found = self.select_pairs(matchers, range, &mut pairs)?;
        let mut texts: hashbrown::HashMap<u32, Box<[u8]>> = hashbrown::HashMap::new();
        let (mut bytes, mut value) = (Vec::new(), Vec::new());
        (0..found.len())
            .map(|at| {
                bytes.clear();
                for &pair in pairs.of(at) {
                    match texts.get(&pair) {
                        Some(text) => bytes.extend_from_slice(text),
                        None => {
                            let text = self.pair_text(pair, &mut value)?;
                            bytes.extend_from_slice(&text);
                            texts.insert(pair, text);
                        }
                    }
                }
                self.label_set(&bytes)
            })
            .collect()
    }

    /// Label names of the series that pass all matchers, sorted. The whole block counts, whatever range is asked for.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn label_names(&self, matchers: &[Matcher]) -> Result<Vec<String>> {
        let parts = self.parts()?;
        let within = if matchers.is_empty() { None } else { Some(self.ids(parts, matchers)?) };
        parts.index.label_names(within.as_ref()).map_err(self.index_corrupt())
    }

    /// The values of label `name` in the series that pass all matchers, sorted. The whole block counts.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn label_values(&self, name: &str, matchers: &[Matcher]) -> Result<Vec<String>> {
        let parts = self.parts()?;
        let within = if matchers.is_empty() { None } else { Some(self.ids(parts, matchers)?) };
        let reader = std::cell::RefCell::new(parts.directory.reader());
        let pairs_of = |id: u32, out: &mut Vec<u32>| {
            out.extend_from_slice(&reader.borrow_mut().read(id)?.pairs);
            Ok(())
        };
        parts.index.label_values(name, within.as_ref(), &pairs_of).map_err(self.index_corrupt())
    }

    /// Numbers of the block.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn stats(&self) -> Result<BlockStats> {
        let parts = self.parts()?;
        Ok(BlockStats {
            series: self.meta.series,
            samples: self.meta.samples,
            label_pairs: u64::from(parts.index.dictionary().pairs()),
            time_groups: u64::from(self.footer.groups),
            data_bytes: self.data_end(),
            index_bytes: self.source.len() - self.data_end(),
            names: parts.index.name_stats(),
        })
    }

    /// The `limit` label pairs with the most series (of label `name`, `None`: of all), most first.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn top_pairs(&self, name: Option<&str>, limit: usize) -> Result<Vec<PairStats>> {
        self.parts()?.index.top_pairs(name, limit).map_err(self.index_corrupt())
    }

    /// Section names and lengths in bytes.
    pub fn section_bytes(&self) -> Vec<(&'static str, u64)> {
        let name = |kind| match kind {
            format::TIMES => "times directory",
            format::SERIES => "series directory",
            format::SERIES_RESTARTS => "series restarts",
            format::NAMES => "label names",
            format::DICTIONARY => "dictionary",
            format::DICTIONARY_RESTARTS => "dictionary restarts",
            format::POSTINGS => "postings",
            _ => "unknown",
        };
        let data = ("chunks and times", self.data_end());
        std::iter::once(data)
            .chain(self.footer.sections.iter().map(|s| (name(s.kind), s.len as u64)))
            .collect()
    }

    /// Reads `len` bytes and the checksum behind them, and compares.
    fn checked(&self, offset: u64, len: usize, what: &str) -> Result<Bytes> {
        let mut bytes = self.source.read_range(offset, len + CRC as usize)?;
        let crc = bytes.split_off(len);
        if !self.checksums || crc32c::crc32c(&bytes).to_le_bytes() == crc[..] {
            Ok(bytes)
        } else {
            Err(Error::corrupt(self.source.path(), offset, format!("the checksum of {what} differs")))
        }
    }

    fn read_times(&self, parts: &Parts, group: u32, out: &mut Vec<i64>) -> Result<usize> {
        let group = parts.groups[group as usize];
        let bytes = self.checked(group.offset, group.len as usize - CRC as usize, "a time group")?;
        let start = out.len();
        let used =
            chunk::decode_times(&bytes, group.count as usize, out).map_err(self.corrupt(group.offset))?;
        if used != bytes.len() || out[start] != group.first || out[out.len() - 1] != group.last {
            return Err(Error::corrupt(
                self.source.path(),
                group.offset,
                "a time group differs from its directory",
            ));
        }
        Ok(group.count as usize)
    }

    fn read_chunk(
        &self,
        parts: &Parts,
        series: u32,
        chunk: &ChunkRef,
        count: usize,
        out: &mut Samples,
    ) -> Result<()> {
        let bytes = self.checked(chunk.offset, chunk.len as usize, "a chunk")?;
        let start = out.values.len();
        payload::decode(&bytes, chunk.flags, count, out).map_err(self.corrupt(chunk.offset))?;
        if chunk.flags & FLAG_SIBLING == 0 {
            return Ok(());
        }
        let parent = self.bucket(parts, chunk.parent, chunk.group, count, 0)?;
        out.values[start..].iter_mut().zip(&*parent).for_each(|(v, p)| *v = payload::add(*p, *v));
        self.keep(series, chunk.group, &out.values[start..]);
        Ok(())
    }

    fn read_tier(&self, chunk: &ChunkRef, count: usize, out: &mut Tier) -> Result<()> {
        if chunk.flags & FLAG_TIER != FLAG_TIER {
            return Err(Error::Invalid(format!(
                "{:?} holds samples, not down-sampled columns",
                self.source.path()
            )));
        }
        let bytes = self.checked(chunk.offset, chunk.len as usize, "a chunk")?;
        out.decode(&bytes, count).map_err(self.corrupt(chunk.offset))
    }

    fn keep(&self, series: u32, group: u32, values: &[f64]) {
        let kept = Kept { series, group, values: Arc::new(values.to_vec()) };
        self.kept.lock()[series as usize % KEPT] = Some(kept);
    }

    /// The values of a bucket that others are stored against.
    fn bucket(
        &self,
        parts: &Parts,
        series: u32,
        group: u32,
        count: usize,
        depth: usize,
    ) -> Result<Arc<Vec<f64>>> {
        if let Some(kept) = &self.kept.lock()[series as usize % KEPT]
            && (kept.series, kept.group) == (series, group)
        {
            return Ok(Arc::clone(&kept.values));
        }
        if depth >= MAX_PARENTS {
            return Err(self.index_corrupt()(CorruptChunk("buckets depend on one another without end")));
        }
        let mut reader = parts.directory.reader();
        let entry = reader.read(series).map_err(self.index_corrupt())?;
        let chunk = *entry
            .chunks
            .iter()
            .find(|c| c.group == group)
            .ok_or(CorruptChunk("a bucket's parent has no such chunk"))
            .map_err(self.index_corrupt())?;
        let bytes = self.checked(chunk.offset, chunk.len as usize, "a chunk")?;
        let mut samples = Samples::default();
        payload::decode(&bytes, chunk.flags, count, &mut samples).map_err(self.corrupt(chunk.offset))?;
        let mut values = samples.values;
        if chunk.flags & FLAG_SIBLING != 0 {
            let parent = self.bucket(parts, chunk.parent, group, count, depth + 1)?;
            values.iter_mut().zip(&*parent).for_each(|(v, p)| *v = payload::add(*p, *v));
        }
        self.keep(series, group, &values);
        Ok(Arc::new(values))
    }

    /// All series, one after the other, with the memory of one.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn scan(self: &Arc<Self>) -> Result<BlockScan> {
        self.parts()?;
        Ok(BlockScan {
            block: Arc::clone(self),
            next: 0,
            entry: Entry::default(),
            place: Place::default(),
            texts: HashMap::new(),
        })
    }

    /// Reads every byte of the block and says what is wrong: each damaged chunk, time group or section once.
    ///
    /// # Errors
    /// `Io` only; damage is the answer.
    pub fn verify(&self) -> Result<Vec<Error>> {
        let mut found = Vec::new();
        let mut note = |result: Result<()>| match result {
            Err(err @ Error::Corrupt { .. }) => {
                found.push(err);
                Ok(())
            }
            other => other,
        };
        let mut sections_end = self.data_end();
        for section in &self.footer.sections {
            note(self.section(section.kind).map(|_| ()))?;
            if section.offset != sections_end {
                note(Err(Error::corrupt(
                    self.source.path(),
                    section.offset,
                    "a section does not follow the one before",
                )))?;
            }
            sections_end = section.offset + section.len as u64;
        }
        let parts = match self.parts() {
            Ok(parts) => parts,
            Err(err) => {
                note(Err(err))?;
                found.dedup_by_key(|err| err.to_string());
                return Ok(found);
            }
        };
        note(parts.index.verify().map_err(self.index_corrupt()))?;
        // Chunks and times must fill the data without a gap: a byte in none of them would go unchecked.
        let mut extents: Vec<(u64, u64)> =
            parts.groups.iter().map(|g| (g.offset, g.offset + u64::from(g.len))).collect();
        let mut times = Vec::new();
        for group in 0..parts.groups.len() as u32 {
            times.clear();
            note(self.read_times(parts, group, &mut times).map(|_| ()))?;
        }
        let mut samples = Samples::default();
        let mut reader = parts.directory.reader();
        let mut total = 0u64;
        for id in 0..self.footer.series {
            let chunks = match reader.read(id) {
                Ok(entry) => entry.chunks.clone(),
                Err(err) => {
                    note(Err(self.index_corrupt()(err)))?;
                    continue;
                }
            };
            for chunk in chunks {
                samples.clear();
                let count = parts.groups[chunk.group as usize].count as usize;
                total += count as u64;
                extents.push((chunk.offset, chunk.offset + u64::from(chunk.len) + CRC));
                let read = if chunk.flags & FLAG_TIER == FLAG_TIER {
                    self.read_tier(&chunk, count, &mut Tier::default())
                } else {
                    self.read_chunk(parts, id, &chunk, count, &mut samples)
                };
                note(read)?;
            }
        }
        if total != self.footer.samples {
            note(Err(Error::corrupt(
                self.source.path(),
                self.data_end(),
                format!("it has {total} samples, but the footer says {}", self.footer.samples),
            )))?;
        }
        extents.sort_unstable();
        let mut end = format::MAGIC.len() as u64;
        for (from, to) in extents {
            if from != end {
                note(Err(Error::corrupt(
                    self.source.path(),
                    end.min(from),
                    "chunks overlap or leave a gap",
                )))?;
            }
            end = to;
        }
        if end != self.data_end() {
            note(Err(Error::corrupt(
                self.source.path(),
                end,
                "bytes lie between the chunks and the sections",
            )))?;
        }
        Ok(found)
    }
}

/// Reads all series of a block in label order.
pub struct BlockScan {
    block: Arc<Block>,
    next: u32,
    entry: Entry,
    place: Place,
    texts: HashMap<u32, Box<[u8]>>,
}

impl BlockScan {
    /// Label texts that are kept from series to series, at most.
    const MAX_TEXTS: usize = 65_536;

    /// Goes to the next series and returns its labels; `None` after the last.
    ///
    /// # Errors
    /// `Corrupt`.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and `read` belongs to it")]
    pub fn next(&mut self) -> Result<Option<Labels>> {
        if self.next >= self.block.footer.series {
            return Ok(None);
        }
        let parts = self.block.parts()?;
        let mut reader = parts.directory.resume(std::mem::take(&mut self.place));
        let entry = reader.read(self.next).map_err(self.block.index_corrupt())?;
        self.entry.clone_from(entry);
        self.place = reader.pause();
        self.next += 1;
        let mut bytes = Vec::with_capacity(256);
        if self.texts.len() > Self::MAX_TEXTS {
            self.texts.clear();
        }
        let mut value = Vec::new();
        for &pair in &self.entry.pairs {
            let text = match self.texts.entry(pair) {
                std::collections::hash_map::Entry::Occupied(text) => text.into_mut(),
                std::collections::hash_map::Entry::Vacant(room) => {
                    let text = parts.index.dictionary().encoded(pair, &mut value);
                    room.insert(text.map_err(self.block.index_corrupt())?)
                }
            };
            bytes.extend_from_slice(text);
        }
        self.block.label_set(&bytes).map(Some)
    }

    /// Clears `out` and fills it with all samples of the series that [`BlockScan::next`] went to.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    pub fn read(&self, out: &mut Samples) -> Result<()> {
        out.clear();
        let parts = self.block.parts()?;
        let Some(id) = self.next.checked_sub(1) else { return Ok(()) };
        for chunk in &self.entry.chunks {
            let count = self.block.read_times(parts, chunk.group, &mut out.times)?;
            self.block.read_chunk(parts, id, chunk, count, out)?;
        }
        if out.times.is_sorted_by(|a, b| a < b) {
            Ok(())
        } else {
            Err(self.block.index_corrupt()(CorruptChunk("the chunks of a series are not in order")))
        }
    }

    /// Bytes of chunks of the series that [`BlockScan::next`] went to.
    pub fn chunk_bytes(&self) -> u64 {
        self.entry.chunks.iter().map(|c| u64::from(c.len) + CRC).sum()
    }

    /// Samples of the series that [`BlockScan::next`] went to.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn samples(&self) -> Result<u64> {
        let parts = self.block.parts()?;
        Ok(self.entry.chunks.iter().map(|c| u64::from(parts.groups[c.group as usize].count)).sum())
    }

    /// Chunks of the series that [`BlockScan::next`] went to.
    pub fn chunks(&self) -> usize {
        self.entry.chunks.len()
    }
}

/// What one select found, shared by its series.
struct Found {
    block: Arc<Block>,
    chunks: Vec<ChunkRef>,
    series: Vec<FoundSeries>,
    /// Decoded time groups: the next series of the same target needs them again.
    times: RwLock<KeptTimes>,
}

/// Decoded time groups of one select, a bounded number of them.
#[derive(Default)]
struct KeptTimes {
    groups: HashMap<u32, Arc<[i64]>>,
    len: usize,
}

/// Times that one select keeps, 4 MiB.
const KEPT_TIMES: usize = 1 << 19;

struct FoundSeries {
    id: u32,
    chunks_end: usize,
}

/// The label pairs of the series that a select found, as numbers of their block.
#[derive(Debug, Default)]
pub(crate) struct SelectedPairs {
    all: Vec<u32>,
    /// Where those of each series end.
    ends: Vec<usize>,
}

impl SelectedPairs {
    /// Those of all series together.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Those of series `at` of the answer, ascending by name.
    pub(crate) fn of(&self, at: usize) -> &[u32] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start..self.ends[at]]
    }
}

/// A series of a block, found by a select.
#[derive(Clone)]
pub struct BlockSeries {
    found: Arc<Found>,
    at: u32,
}

impl std::fmt::Debug for BlockSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockSeries").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl BlockSeries {
    /// The series' id in its block: its position in label order.
    pub fn id(&self) -> u32 {
        self.found.series[self.at as usize].id
    }

    /// The block.
    pub fn block(&self) -> &Arc<Block> {
        &self.found.block
    }

    fn chunks(&self) -> &[ChunkRef] {
        let series = &self.found.series;
        let start = (self.at as usize).checked_sub(1).map_or(0, |before| series[before].chunks_end);
        &self.found.chunks[start..series[self.at as usize].chunks_end]
    }

    /// The series' labels. Whoever wants those of many asks [`Block::series`].
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn labels(&self) -> Result<Labels> {
        let block = &*self.found.block;
        let mut reader = block.parts()?.directory.reader();
        let entry = reader.read(self.id()).map_err(block.index_corrupt())?;
        let (mut bytes, mut value) = (Vec::with_capacity(256), Vec::new());
        for &pair in &entry.pairs {
            bytes.extend_from_slice(&block.pair_text(pair, &mut value)?);
        }
        block.label_set(&bytes)
    }

    /// The first time in the series' block.
    pub(crate) fn block_min_time(&self) -> i64 {
        self.found.block.meta.min_time
    }

    /// Clears `out` and fills it with the rows of a down-sampled series in `range`, both ends included.
    ///
    /// # Errors
    /// `Invalid` when the block is raw, `Corrupt`, `Io`.
    pub fn read_tier(&self, range: TimeRange, out: &mut Tier) -> Result<()> {
        out.clear();
        let (start, end) = (range.start.ms(), range.end.ms());
        let block = &*self.found.block;
        let parts = block.parts()?;
        for chunk in self.chunks() {
            let group = &parts.groups[chunk.group as usize];
            if group.first > end || group.last < start {
                continue;
            }
            if out.times.last().is_some_and(|&last| last >= group.first) {
                return Err(block.index_corrupt()(CorruptChunk("the chunks of a series are not in order")));
            }
            self.found.read_times(parts, chunk.group, &mut out.times)?;
            block.read_tier(chunk, group.count as usize, out)?;
        }
        out.trim(start, end);
        Ok(())
    }

    /// Clears `out` and fills it with the samples in `range`, both ends included.
    ///
    /// `out.times_id` is equal for series of this block with equal times, so it may be compared between the series of one
    /// select that are read with one range.
    ///
    /// # Errors
    /// `Corrupt` when a chunk of this series is damaged, `Io`.
    pub fn read(&self, range: TimeRange, out: &mut Samples) -> Result<()> {
        out.clear();
        out.times_id = self.append(range, out)?;
        Ok(())
    }

    /// Appends the samples in `range`, whatever `out` has before; gives the `times_id` of what is new.
    ///
    /// # Errors
    /// As [`BlockSeries::read`].
    pub(crate) fn append(&self, range: TimeRange, out: &mut Samples) -> Result<u64> {
        let base = out.times.len();
        let (start, end) = (range.start.ms(), range.end.ms());
        let block = &*self.found.block;
        let parts = block.parts()?;
        let mut id = block.uid;
        let mut mix = |value: u64| id = (id ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        mix(start as u64);
        mix(end as u64);
        for chunk in self.chunks() {
            let group = &parts.groups[chunk.group as usize];
            if group.first > end || group.last < start {
                continue;
            }
            mix(u64::from(chunk.group));
            if out.times[base..].last().is_some_and(|&last| last >= group.first) {
                return Err(block.index_corrupt()(CorruptChunk("the chunks of a series are not in order")));
            }
            self.found.read_times(parts, chunk.group, &mut out.times)?;
            block.read_chunk(parts, self.id(), chunk, group.count as usize, out)?;
        }
        trim(out, base, start, end);
        Ok(id | 1)
    }
}

/// Drops what lies outside `start..=end` from sample `base` on.
fn trim(out: &mut Samples, base: usize, start: i64, end: i64) {
    let times = &out.times[base..];
    let to = base + times.partition_point(|&t| t <= end);
    let from = (base + times.partition_point(|&t| t < start)).min(to);
    if to < out.times.len() {
        out.times.truncate(to);
        out.values.truncate(to);
        out.histograms.retain(|(at, _)| (*at as usize) < to);
        out.starts.truncate(to);
    }
    if from > base {
        out.times.drain(base..from);
        out.values.drain(base..from);
        out.histograms.retain_mut(|(at, _)| {
            let place = *at as usize;
            if place >= from {
                *at -= (from - base) as u32;
            }
            place < base || place >= from
        });
        let starts = out.starts.len();
        out.starts.drain(base.min(starts)..from.min(starts));
    }
}

impl Found {
    fn read_times(&self, parts: &Parts, group: u32, out: &mut Vec<i64>) -> Result<()> {
        if let Some(times) = self.times.read().groups.get(&group) {
            out.extend_from_slice(times);
            return Ok(());
        }
        let start = out.len();
        self.block.read_times(parts, group, out)?;
        let times: Arc<[i64]> = out[start..].into();
        let mut kept = self.times.write();
        if kept.len + times.len() > KEPT_TIMES {
            *kept = KeptTimes::default();
        }
        kept.len += times.len();
        kept.groups.insert(group, times);
        Ok(())
    }
}
