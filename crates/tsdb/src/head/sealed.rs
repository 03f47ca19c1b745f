//! Sealed files: the head's samples, compressed, on disk and mapped, until a block holds them.
//!
//! A seal writes one chunk for every group that has samples: the group's distinct time columns once, and a page of values
//! for each series that names one of them. What is sealed need not be replayed from the log. Byte layout:
//! docs/formats/sealed.md.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use model::Samples;

use crate::chunk::varint::Cursor;
use crate::chunk::{CorruptChunk, MAX_COUNT, decode_histograms, decode_starts, decode_times, decode_values};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::wal::frame::{self, Frames};

mod encode;

pub(crate) use encode::Encoder;

pub(crate) const MAGIC: [u8; 8] = *b"BWSEAL\x01\0";

const HISTOGRAMS: u8 = 1;
const STARTS: u8 = 2;

/// A sealed file; removed from disk when nothing in it is needed any more.
#[derive(Debug)]
pub(crate) struct SealedFile {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    pub(crate) max_time: i64,
    pub(crate) len: u64,
    /// Samples of the longest time column in it.
    pub(crate) longest: usize,
}

/// One group's samples in a sealed file.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) file: Arc<SealedFile>,
    bytes: Bytes,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
}

/// Where the parts of a chunk are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Where the time columns start.
    times: usize,
    /// How many time columns.
    sets: usize,
    first_column: u32,
    columns: u32,
    /// Where the table of page offsets starts.
    table: usize,
}

/// Decoded time columns, one after the other.
#[derive(Debug, Default)]
pub(crate) struct TimeSets {
    times: Vec<i64>,
    /// Where each column ends; it starts where the one before ends.
    ends: Vec<u32>,
}

/// A chunk whose header is read, and whose time columns are decoded.
#[derive(Debug)]
pub(crate) struct OpenChunk {
    chunk: Chunk,
    layout: Layout,
    sets: TimeSets,
}

/// Writes a sealed file of chunk payloads; whole or absent. Gives back the file and the payloads as mapped.
///
/// # Errors
/// `Io`.
pub(crate) fn write_file(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    number: u64,
    fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<PathBuf> {
    let path = dir.join(format!("{number:08}.sealed"));
    let temporary = dir.join(format!("{number:08}.tmp"));
    let written = (|| {
        let mut file = disk.create(&temporary).map_err(Error::io("create", &temporary))?;
        let mut buffer = MAGIC.to_vec();
        fill(&mut |payload| {
            frame::put(&mut buffer, payload);
            if buffer.len() >= 1 << 20 {
                file.write_all(&buffer).map_err(Error::io("write", &temporary))?;
                buffer.clear();
            }
            Ok(())
        })?;
        file.write_all(&buffer).map_err(Error::io("write", &temporary))?;
        file.sync().map_err(Error::io("sync", &temporary))?;
        disk.rename(&temporary, &path).map_err(Error::io("rename", &temporary))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))
    })();
    if let Err(err) = written {
        // Best effort: a left-over is removed when the folder is opened.
        if let Err(left) = disk.remove_file(&temporary) {
            tracing::debug!(path = %temporary.display(), error = %left, "a temporary file stays");
        }
        return Err(err);
    }
    Ok(path)
}

/// The number in a sealed file's name.
pub(crate) fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(".sealed")?.parse().ok()
}

/// Opens a sealed file and checks every chunk: `(group, chunk)`.
///
/// # Errors
/// `Io`, `Corrupt`.
pub(crate) fn open_file(disk: &Arc<dyn Disk>, path: &Path, number: u64) -> Result<Vec<(u64, Chunk)>> {
    let bytes = disk.map(path).map_err(Error::io("map", path))?;
    if !bytes.starts_with(&MAGIC) {
        return Err(Error::corrupt(path, 0, "this is no sealed file of version 1"));
    }
    let mut frames = Frames::new(&bytes, MAGIC.len());
    let mut found = Vec::new();
    let mut longest = 0;
    loop {
        let at = frames.offset();
        match frames.next() {
            Ok(None) => break,
            Err(what) => return Err(Error::corrupt(path, at as u64, what)),
            Ok(Some(payload)) => {
                let mut cursor = Cursor::new(payload);
                let head = (|| {
                    let head = (cursor.varint()?, cursor.signed()?, cursor.signed()?);
                    for _ in 0..cursor.varint()? {
                        longest = longest.max(cursor.at_most(MAX_COUNT)?);
                        let len = cursor.varint()? as usize;
                        cursor.bytes(len)?;
                    }
                    Ok(head)
                })();
                let (group, min_time, max_time) =
                    head.map_err(|err: CorruptChunk| Error::corrupt(path, at as u64, err.to_string()))?;
                found.push((group, min_time, max_time, bytes.slice_ref(payload)));
            }
        }
    }
    let max_time = found.iter().map(|f| f.2).max().unwrap_or(i64::MIN);
    let len = bytes.len() as u64;
    let file = Arc::new(SealedFile { path: path.to_owned(), number, max_time, len, longest });
    Ok(found
        .into_iter()
        .map(|(group, min_time, max_time, bytes)| {
            (group, Chunk { file: Arc::clone(&file), bytes, min_time, max_time })
        })
        .collect())
}

impl Chunk {
    /// Reads the header and the time columns.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn open(&self) -> Result<OpenChunk> {
        let mut sets = TimeSets::default();
        let layout = self.layout()?;
        self.decode_times(&layout, &mut sets)?;
        Ok(OpenChunk { chunk: self.clone(), layout, sets })
    }

    fn corrupt(&self, err: CorruptChunk) -> Error {
        Error::corrupt(&self.file.path, 0, err.to_string())
    }

    /// Reads the header and leaves the time columns as they are.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn layout(&self) -> Result<Layout> {
        self.parse().map_err(|err| self.corrupt(err))
    }

    fn parse(&self) -> std::result::Result<Layout, CorruptChunk> {
        let mut cursor = Cursor::new(&self.bytes);
        cursor.varint()?;
        cursor.signed()?;
        cursor.signed()?;
        let sets = cursor.varint()? as usize;
        if sets > cursor.rest().len() {
            return Err(CorruptChunk("more time columns than bytes"));
        }
        let times = cursor.used();
        for _ in 0..sets {
            cursor.varint()?;
            let len = cursor.varint()? as usize;
            cursor.bytes(len)?;
        }
        let number = |v: u64| u32::try_from(v).map_err(|_| CorruptChunk("a column is impossible"));
        let first_column = number(cursor.varint()?)?;
        let columns = number(cursor.varint()?)?;
        let table = cursor.used();
        cursor.bytes((columns as usize + 1) * 4)?;
        Ok(Layout { times, sets, first_column, columns, table })
    }

    /// Appends the time columns.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn decode_times(&self, layout: &Layout, sets: &mut TimeSets) -> Result<()> {
        let mut decode = || {
            let mut cursor = Cursor::new(&self.bytes[layout.times..]);
            for _ in 0..layout.sets {
                let count = cursor.varint()? as usize;
                let len = cursor.varint()? as usize;
                let bytes = cursor.bytes(len)?;
                if count > MAX_COUNT {
                    return Err(CorruptChunk("a time column is too long"));
                }
                decode_times(bytes, count, &mut sets.times)?;
                let end = u32::try_from(sets.times.len());
                sets.ends.push(end.map_err(|_| CorruptChunk("the time columns are too long"))?);
            }
            Ok(())
        };
        decode().map_err(|err| self.corrupt(err))
    }

    /// The bytes of a column's page.
    fn page(&self, layout: &Layout, column: u32) -> std::result::Result<Option<&[u8]>, CorruptChunk> {
        let Some(at) = column.checked_sub(layout.first_column).filter(|&at| at < layout.columns) else {
            return Ok(None);
        };
        let word = |at: usize| {
            let at = layout.table + at * 4;
            let bytes = &self.bytes[at..at + 4];
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
        };
        let (start, end) = (word(at as usize), word(at as usize + 1));
        if start == end {
            return Ok(None);
        }
        let pages = &self.bytes[layout.table + (layout.columns as usize + 1) * 4..];
        pages.get(start..end).map(Some).ok_or(CorruptChunk("a page is outside its chunk"))
    }

    /// Whether the column has samples here.
    pub(crate) fn has(&self, layout: &Layout, column: u32) -> bool {
        self.page(layout, column).is_ok_and(|page| page.is_some())
    }

    /// Appends the samples of `column`, whose times are among `sets` from `first_set` on; says which of those they have, `None`
    /// when there are no samples.
    ///
    /// # Errors
    /// `Corrupt`; `out` may then hold half of the samples.
    pub(crate) fn read(
        &self,
        layout: &Layout,
        sets: &TimeSets,
        first_set: usize,
        column: u32,
        out: &mut Samples,
    ) -> Result<Option<u32>> {
        self.read_page(layout, sets, first_set, column, out).map_err(|err| self.corrupt(err))
    }

    #[inline]
    fn read_page(
        &self,
        layout: &Layout,
        sets: &TimeSets,
        first_set: usize,
        column: u32,
        out: &mut Samples,
    ) -> std::result::Result<Option<u32>, CorruptChunk> {
        let Some(page) = self.page(layout, column)? else { return Ok(None) };
        let mut cursor = Cursor::new(page);
        let set = cursor.varint()? as usize;
        if set >= layout.sets {
            return Err(CorruptChunk("a page names a time column that is not there"));
        }
        let times = sets.get(first_set + set);
        let flags = cursor.byte()?;
        let before = out.times.len();
        out.times.extend_from_slice(times);
        let used = decode_values(cursor.rest(), times.len(), &mut out.values)?;
        if flags != 0 {
            cursor.bytes(used)?;
            read_extras(cursor, flags, before, times.len(), out)?;
        }
        if flags & STARTS == 0 && !out.starts.is_empty() {
            out.starts.resize(out.times.len(), 0);
        }
        Ok(Some(set as u32))
    }
}

/// Reads the histograms and start timestamps of a page with `count` samples, which are those from `before` on.
fn read_extras(
    mut cursor: Cursor<'_>,
    flags: u8,
    before: usize,
    count: usize,
    out: &mut Samples,
) -> std::result::Result<(), CorruptChunk> {
    if flags & HISTOGRAMS != 0 {
        let histograms = cursor.varint()? as usize;
        if histograms > count {
            return Err(CorruptChunk("more histograms than samples"));
        }
        let mut places = Vec::with_capacity(histograms);
        let mut last = 0;
        for _ in 0..histograms {
            last += cursor.varint()?;
            if last >= count as u64 {
                return Err(CorruptChunk("a histogram is behind the last sample"));
            }
            places.push(before as u32 + last as u32);
        }
        let mut decoded = Vec::with_capacity(histograms);
        let used = decode_histograms(cursor.rest(), histograms, &mut decoded)?;
        cursor.bytes(used)?;
        out.histograms.extend(places.into_iter().zip(decoded));
    }
    if flags & STARTS != 0 {
        out.starts.resize(before, 0);
        decode_starts(cursor.rest(), count, &mut out.starts)?;
    }
    Ok(())
}

impl TimeSets {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, set: usize) -> &[i64] {
        let start = set.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.times[start as usize..self.ends[set] as usize]
    }
}

impl OpenChunk {
    /// Columns with a page here.
    pub(crate) fn columns(&self) -> impl Iterator<Item = u32> {
        let (first, columns) = (self.layout.first_column, self.layout.columns);
        (first..first.saturating_add(columns)).filter(|&column| self.chunk.has(&self.layout, column))
    }

    /// The newest sample of `column`.
    pub(crate) fn last_time(&self, column: u32) -> Option<i64> {
        let set = Cursor::new(self.chunk.page(&self.layout, column).ok()??).varint().ok()?;
        let set = usize::try_from(set).ok().filter(|&set| set < self.layout.sets)?;
        self.sets.get(set).last().copied()
    }

    /// Appends the samples of `column`; says which time column they have, `None` when there are none.
    ///
    /// # Errors
    /// `Corrupt`; `out` may then hold half of the samples.
    pub(crate) fn read(&self, column: u32, out: &mut Samples) -> Result<Option<u32>> {
        self.chunk.read(&self.layout, &self.sets, 0, column, out)
    }
}
