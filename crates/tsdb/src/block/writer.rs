//! Writes a block, series by series in label order.
//!
//! Chunks go to the disk as they come; directory and index are held in memory in compressed form until the end (some
//! 60–100 B a series). The folder has its final name only when everything in it is on the disk.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Labels, Samples};

use super::directory::{self, CRC, ChunkRef, Entry};
use super::format::{self, BlockMeta, FLAG_SIBLING, FLAG_TIER, Footer, MAGIC, Section};
use super::tier::Tier;
use super::{payload, times};
use crate::chunk::{self, varint};
use crate::disk::{Disk, DiskFile};
use crate::index::build::IndexBuilder;
use crate::{Error, Result};

/// Chunks are cut at multiples of this many milliseconds.
pub const CHUNK_MS: i64 = 2 * 3_600_000;
/// A chunk has at most this many samples.
pub const CHUNK_SAMPLES: usize = 8192;
/// Buckets of one histogram in a row that depend on one another.
const SIBLINGS: usize = 16;
/// Samples of histogram buckets that wait for their siblings, at most.
const FAMILY_SAMPLES: usize = 2_000_000;
const BUFFER: usize = 1 << 20;

/// Writes one block.
pub struct BlockWriter {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    tmp: PathBuf,
    meta: BlockMeta,
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    /// Where in the data file the buffer begins.
    offset: u64,
    times: times::Writer,
    index: IndexBuilder,
    /// Entries with preliminary pair numbers, encoded.
    entries: Vec<u8>,
    last: Option<Labels>,
    family: Vec<(Labels, f64, Samples)>,
    family_samples: usize,
    series: u32,
    samples: u64,
    min_time: i64,
    max_time: i64,
}

impl BlockWriter {
    /// Begins a block that will be the folder `folder`; `meta` gives id, level, resolution and sources.
    ///
    /// What is left of an earlier attempt is removed.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(disk: Arc<dyn Disk>, folder: &Path, meta: BlockMeta) -> Result<Self> {
        let mut name = folder.file_name().unwrap_or_default().to_owned();
        name.push(format::TMP_SUFFIX);
        let tmp = folder.with_file_name(name);
        if disk.exists(&tmp).map_err(Error::io("look for", &tmp))? {
            disk.remove_dir_all(&tmp).map_err(Error::io("remove", &tmp))?;
        }
        disk.create_dir_all(&tmp).map_err(Error::io("create", &tmp))?;
        let path = tmp.join(format::DATA_FILE);
        let file = disk.create(&path).map_err(Error::io("create", &path))?;
        Ok(Self {
            disk,
            folder: folder.to_owned(),
            tmp,
            meta,
            file,
            buffer: MAGIC.to_vec(),
            offset: 0,
            times: times::Writer::default(),
            index: IndexBuilder::default(),
            entries: Vec::new(),
            last: None,
            family: Vec::new(),
            family_samples: 0,
            series: 0,
            samples: 0,
            min_time: i64::MAX,
            max_time: i64::MIN,
        })
    }

    /// Adds a series. Labels ascend from call to call, times within `samples`; a series without samples is left out.
    ///
    /// # Errors
    /// `Invalid` when the order is wrong or the columns differ in length; `Io`.
    pub fn add_series(&mut self, labels: &Labels, samples: &Samples) -> Result<()> {
        if self.meta.resolution_ms != 0 {
            return Err(Error::Invalid("a down-sampled block takes tiers, not samples".to_owned()));
        }
        if self.last.as_ref().is_some_and(|last| last >= labels) {
            return Err(Error::Invalid(format!(
                "series {labels} does not come after the one before it in the block"
            )));
        }
        let n = samples.len();
        let aligned = samples.values.len() == n
            && (samples.starts.is_empty() || samples.starts.len() == n)
            && samples.histograms.is_sorted_by(|a, b| a.0 < b.0)
            && samples.histograms.last().is_none_or(|(at, _)| (*at as usize) < n);
        if !aligned || !samples.times.is_sorted_by(|a, b| a < b) {
            return Err(Error::Invalid(format!("the columns of series {labels} are not in order")));
        }
        self.last = Some(labels.clone());
        let (Some(&first), Some(&last)) = (samples.times.first(), samples.times.last()) else {
            return Ok(());
        };
        self.min_time = self.min_time.min(first);
        self.max_time = self.max_time.max(last);
        self.samples += n as u64;
        match bucket_bound(labels) {
            Some(bound) => {
                if self.family_samples + n > FAMILY_SAMPLES
                    || self.family.last().is_some_and(|(last, ..)| !same_family(last, labels))
                {
                    self.flush_family()?;
                }
                self.family_samples += n;
                self.family.push((labels.clone(), bound, samples.clone()));
                Ok(())
            }
            None => {
                self.flush_family()?;
                self.put(labels, samples, None)
            }
        }
    }

    /// Adds a down-sampled series to a block whose meta says its resolution. Rows count as samples.
    ///
    /// # Errors
    /// As [`BlockWriter::add_series`].
    pub fn add_tier(&mut self, labels: &Labels, tier: &Tier) -> Result<()> {
        if self.meta.resolution_ms == 0 {
            return Err(Error::Invalid("a raw block takes samples, not tiers".to_owned()));
        }
        if self.last.as_ref().is_some_and(|last| last >= labels) {
            return Err(Error::Invalid(format!(
                "series {labels} does not come after the one before it in the block"
            )));
        }
        if !tier.is_aligned() || !tier.times.is_sorted_by(|a, b| a < b) {
            return Err(Error::Invalid(format!("the columns of series {labels} are not in order")));
        }
        self.last = Some(labels.clone());
        let (Some(&first), Some(&last)) = (tier.times.first(), tier.times.last()) else { return Ok(()) };
        self.min_time = self.min_time.min(first);
        self.max_time = self.max_time.max(last);
        self.samples += tier.len() as u64;
        let mut chunks = Vec::new();
        for start in (0..tier.len()).step_by(CHUNK_SAMPLES) {
            let range = start..tier.len().min(start + CHUNK_SAMPLES);
            let group = self.times.group(&tier.times[range.clone()], &mut self.buffer, self.offset);
            let mut bytes = Vec::new();
            tier.encode(range, &mut bytes);
            chunks.push((group, bytes));
        }
        let mut entry = Entry::default();
        self.index.add(labels, &mut entry.pairs);
        for (group, bytes) in &chunks {
            self.put_chunk(
                labels,
                bytes,
                ChunkRef { group: *group, flags: FLAG_TIER, ..ChunkRef::default() },
                &mut entry,
            )?;
        }
        self.keep(&entry);
        self.series = self.series.checked_add(1).ok_or_else(too_many_series)?;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes a payload with its checksum and adds it to its series' entry.
    fn put_chunk(&mut self, labels: &Labels, bytes: &[u8], chunk: ChunkRef, entry: &mut Entry) -> Result<()> {
        let len = u32::try_from(bytes.len())
            .map_err(|_| Error::Invalid(format!("a chunk of series {labels} would pass 4 GiB")))?;
        let offset = self.offset + self.buffer.len() as u64;
        self.buffer.extend_from_slice(bytes);
        self.buffer.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
        entry.chunks.push(ChunkRef { offset, len, ..chunk });
        Ok(())
    }

    /// Samples added so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Bytes of memory that the parts kept until the end take, about.
    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() + self.index.size_bytes() + self.family_samples * 16 + self.buffer.capacity()
    }

    /// Writes the buckets that waited for one another: each as the difference to the bucket below it.
    fn flush_family(&mut self) -> Result<()> {
        let family = std::mem::take(&mut self.family);
        self.family_samples = 0;
        let mut groups: HashMap<Labels, Vec<usize>> = HashMap::new();
        for (i, (labels, ..)) in family.iter().enumerate() {
            groups.entry(labels.filtered(|name| name != "le")).or_default().push(i);
        }
        let mut parents = vec![None; family.len()];
        for mut group in groups.into_values() {
            group.sort_by(|&a, &b| family[a].1.total_cmp(&family[b].1));
            for (at, pair) in group.windows(2).enumerate() {
                if !(at + 1).is_multiple_of(SIBLINGS) {
                    parents[pair[1]] = Some(pair[0]);
                }
            }
        }
        let first = self.series;
        for (i, (labels, _, samples)) in family.iter().enumerate() {
            let parent = parents[i].map(|p| (first + p as u32, &family[p].2));
            self.put(labels, samples, parent)?;
        }
        Ok(())
    }

    fn put(&mut self, labels: &Labels, samples: &Samples, parent: Option<(u32, &Samples)>) -> Result<()> {
        let cuts = cuts(&samples.times);
        // New time groups first, so that the chunks of a series lie together.
        let mut groups = Vec::with_capacity(cuts.len());
        for cut in &cuts {
            let group = self.times.group(&samples.times[cut.clone()], &mut self.buffer, self.offset);
            groups.push(group);
        }
        let mut entry = Entry::default();
        self.index.add(labels, &mut entry.pairs);
        let (mut plain, mut sibling, mut column) = (Vec::new(), Vec::new(), Vec::new());
        for (cut, &group) in cuts.iter().zip(&groups) {
            plain.clear();
            let flags = payload::encode(samples, cut.clone(), &mut plain);
            let mut chunk = ChunkRef { group, flags, ..ChunkRef::default() };
            let mut bytes = &plain;
            if let Some((id, parent)) = parent
                && let Some(theirs) = same_times(parent, &samples.times[cut.clone()])
                && payload::is_plain(parent, &theirs)
                && payload::is_plain(samples, cut)
            {
                column.clear();
                if payload::differences(&samples.values[cut.clone()], &parent.values[theirs], &mut column) {
                    sibling.clear();
                    chunk::encode_values(&column, &mut sibling);
                    if sibling.len() < plain.len() {
                        (chunk.flags, chunk.parent, bytes) = (FLAG_SIBLING, id, &sibling);
                    }
                }
            }
            self.put_chunk(labels, bytes, chunk, &mut entry)?;
        }
        self.keep(&entry);
        self.series = self.series.checked_add(1).ok_or_else(too_many_series)?;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Keeps an entry until the pair ids are known.
    fn keep(&mut self, entry: &Entry) {
        let out = &mut self.entries;
        varint::put(out, entry.pairs.len() as u64);
        entry.pairs.iter().for_each(|&pair| varint::put(out, u64::from(pair)));
        varint::put(out, entry.chunks.len() as u64);
        varint::put(out, entry.chunks.first().map_or(0, |c| c.offset));
        for chunk in &entry.chunks {
            varint::put(out, u64::from(chunk.len) << 3 | u64::from(chunk.flags));
            varint::put(out, u64::from(chunk.group));
            if chunk.flags & FLAG_TIER == FLAG_SIBLING {
                varint::put(out, u64::from(chunk.parent));
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(Error::io("write", &self.tmp.join(format::DATA_FILE)))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn section(&mut self, kind: u64, bytes: &[u8]) -> Result<Section> {
        self.flush()?;
        let section = Section { kind, offset: self.offset, len: bytes.len(), crc: crc32c::crc32c(bytes) };
        self.file.write_all(bytes).map_err(Error::io("write", &self.tmp.join(format::DATA_FILE)))?;
        self.offset += bytes.len() as u64;
        Ok(section)
    }

    /// Writes index, footer and meta file, makes all of it durable and gives the folder its name.
    ///
    /// # Errors
    /// `Io`; the unfinished folder stays and is removed at the next attempt or start.
    pub fn finish(mut self) -> Result<BlockMeta> {
        self.flush_family()?;
        let index = std::mem::take(&mut self.index).finish()?;
        let directory = self.directory(&index.ids)?;
        let (groups, times) = std::mem::take(&mut self.times).finish();
        let mut sections = Vec::new();
        for (kind, bytes) in [
            (format::TIMES, &times),
            (format::SERIES, &directory.bytes),
            (format::SERIES_RESTARTS, &directory.restarts),
            (format::NAMES, &index.names),
            (format::DICTIONARY, &index.dictionary),
            (format::DICTIONARY_RESTARTS, &index.restarts),
            (format::POSTINGS, &index.postings),
        ] {
            sections.push(self.section(kind, bytes)?);
        }
        if self.samples == 0 {
            (self.min_time, self.max_time) = (0, 0);
        }
        let mut footer = Footer {
            series: self.series,
            groups,
            samples: self.samples,
            min_time: self.min_time,
            max_time: self.max_time,
            sections,
            crc: 0,
        };
        footer.write(&mut self.buffer);
        self.flush()?;
        self.file.sync().map_err(Error::io("sync", &self.tmp.join(format::DATA_FILE)))?;
        let meta = BlockMeta {
            version: format::VERSION,
            min_time: footer.min_time,
            max_time: footer.max_time,
            series: u64::from(footer.series),
            samples: footer.samples,
            bytes: self.offset,
            footer_crc: footer.crc,
            ..self.meta
        };
        let path = self.tmp.join(format::META_FILE);
        let json = serde_json::to_vec_pretty(&meta).map_err(|err| Error::Invalid(err.to_string()))?;
        let mut file = self.disk.create(&path).map_err(Error::io("create", &path))?;
        file.write_all(&json).map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))?;
        self.disk.sync_dir(&self.tmp).map_err(Error::io("sync", &self.tmp))?;
        self.disk.rename(&self.tmp, &self.folder).map_err(Error::io("rename", &self.tmp))?;
        if let Some(parent) = self.folder.parent() {
            self.disk.sync_dir(parent).map_err(Error::io("sync", parent))?;
        }
        Ok(meta)
    }

    /// Gives up and removes what was written.
    ///
    /// # Errors
    /// `Io`.
    pub fn abort(self) -> Result<()> {
        drop(self.file);
        self.disk.remove_dir_all(&self.tmp).map_err(Error::io("remove", &self.tmp))
    }

    /// The directory, from the kept entries and the final pair ids.
    fn directory(&mut self, ids: &[u32]) -> Result<directory::Writer> {
        let own =
            |_| Error::Invalid("the series directory would pass 4 GiB; lower tsdb.block_duration_max".into());
        let entries = std::mem::take(&mut self.entries);
        let mut cursor = varint::Cursor::new(&entries);
        let mut writer = directory::Writer::default();
        let mut entry = Entry::default();
        for _ in 0..self.series {
            entry.pairs.clear();
            entry.chunks.clear();
            for _ in 0..cursor.varint().map_err(own)? {
                entry.pairs.push(ids[cursor.varint().map_err(own)? as usize]);
            }
            let chunks = cursor.varint().map_err(own)?;
            let mut offset = cursor.varint().map_err(own)?;
            for _ in 0..chunks {
                let head = cursor.varint().map_err(own)?;
                let group = cursor.varint().map_err(own)? as u32;
                let flags = (head & 7) as u8;
                let parent =
                    if flags & FLAG_TIER == FLAG_SIBLING { cursor.varint().map_err(own)? as u32 } else { 0 };
                let len = (head >> 3) as u32;
                entry.chunks.push(ChunkRef { offset, len, group, flags, parent });
                offset += u64::from(len) + CRC;
            }
            writer.push(&entry).map_err(own)?;
        }
        Ok(writer)
    }
}

fn too_many_series() -> Error {
    Error::Invalid("a block has at most 4294967295 series; lower tsdb.block_duration_max".to_owned())
}

/// The upper bound, when the series is a bucket of a classic histogram.
fn bucket_bound(labels: &Labels) -> Option<f64> {
    let bound = labels.get("le")?.parse().ok()?;
    labels.metric_name().ends_with("_bucket").then_some(bound)
}

/// Whether two series agree in all labels that sort before `le`: their histograms may be interleaved.
fn same_family(a: &Labels, b: &Labels) -> bool {
    let before = |labels: &Labels| labels.filtered(|name| name < "le");
    before(a) == before(b)
}

/// Where to cut: at multiples of [`CHUNK_MS`] and after [`CHUNK_SAMPLES`].
fn cuts(times: &[i64]) -> Vec<Range<usize>> {
    let mut cuts = Vec::new();
    let mut start = 0;
    while start < times.len() {
        let window = times[start].div_euclid(CHUNK_MS);
        let end = start + times[start..].partition_point(|t| t.div_euclid(CHUNK_MS) == window);
        let mut at = start;
        while at < end {
            let to = end.min(at + CHUNK_SAMPLES);
            cuts.push(at..to);
            at = to;
        }
        start = end;
    }
    cuts
}

/// Where `samples` has a chunk with exactly these times.
fn same_times(samples: &Samples, times: &[i64]) -> Option<Range<usize>> {
    let start = samples.times.binary_search(times.first()?).ok()?;
    let range = start..start + times.len();
    let same = samples.times.get(range.clone())? == times;
    // It must be cut there too: the reader pairs chunks by their time group.
    (same && cuts(&samples.times).contains(&range)).then_some(range)
}
