//! The series directory: for each series its label pairs and where its chunks are. Layout: docs/formats/block.md.

use bytes::Bytes;

use super::format::{FLAG_SIBLING, FLAG_TIER, MAGIC};
use crate::chunk::CorruptChunk;
use crate::chunk::varint::{self, Cursor};
use crate::index::RESTART;

/// Where one chunk of a series is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkRef {
    /// Offset of the payload in the data file; its checksum follows it.
    pub(crate) offset: u64,
    /// Bytes of the payload.
    pub(crate) len: u32,
    /// Time group.
    pub(crate) group: u32,
    pub(crate) flags: u8,
    /// The series whose values are to be added, with [`FLAG_SIBLING`].
    pub(crate) parent: u32,
}

/// Bytes of the checksum behind each payload.
pub(crate) const CRC: u64 = 4;

/// An entry that is being written or was just read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Pair ids, ascending.
    pub(crate) pairs: Vec<u32>,
    pub(crate) chunks: Vec<ChunkRef>,
}

impl Entry {
    fn data_end(&self) -> Option<u64> {
        self.chunks.last().map(|c| c.offset + u64::from(c.len) + CRC)
    }

    /// The time group before that of chunk `i`, as the format counts.
    fn group_before(&self, last: Option<&Self>, i: usize) -> i64 {
        let before = last.and_then(|last| last.chunks.get(i)).or_else(|| self.chunks.get(i.wrapping_sub(1)));
        before.map_or(-1, |chunk| i64::from(chunk.group))
    }
}

/// Writes entries.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) restarts: Vec<u8>,
    series: u32,
    last: Entry,
}

impl Writer {
    /// Appends the entry of the next series.
    pub(crate) fn push(&mut self, entry: &Entry) -> Result<(), CorruptChunk> {
        let restart = (self.series as usize).is_multiple_of(RESTART);
        if restart {
            let offset =
                u32::try_from(self.bytes.len()).map_err(|_| CorruptChunk("the directory passes 4 GiB"))?;
            self.restarts.extend_from_slice(&offset.to_le_bytes());
        }
        let last = (!restart).then_some(&self.last);
        let out = &mut self.bytes;
        let shared =
            last.map_or(0, |last| last.pairs.iter().zip(&entry.pairs).take_while(|(a, b)| a == b).count());
        varint::put(out, shared as u64);
        varint::put(out, (entry.pairs.len() - shared) as u64);
        for &pair in &entry.pairs[shared..] {
            varint::put(out, u64::from(pair));
        }
        varint::put(out, entry.chunks.len() as u64);
        let base = last.and_then(Entry::data_end).unwrap_or(0);
        varint::put(out, entry.chunks.first().map_or(0, |c| c.offset - base));
        for (i, chunk) in entry.chunks.iter().enumerate() {
            varint::put(out, u64::from(chunk.len) << 3 | u64::from(chunk.flags));
            varint::put_signed(out, i64::from(chunk.group) - entry.group_before(last, i) - 1);
            if chunk.flags & FLAG_TIER == FLAG_SIBLING {
                varint::put_signed(out, i64::from(chunk.parent) - i64::from(self.series));
            }
        }
        self.series += 1;
        self.last.clone_from(entry);
        Ok(())
    }
}

/// The directory of an open block.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    bytes: Bytes,
    restarts: Bytes,
    series: u32,
    groups: u32,
    pairs: u32,
    /// Where chunks must end.
    data_end: u64,
}

impl Directory {
    pub(crate) fn new(
        bytes: Bytes,
        restarts: Bytes,
        series: u32,
        groups: u32,
        pairs: u32,
        data_end: u64,
    ) -> Result<Self, CorruptChunk> {
        if restarts.len() != (series as usize).div_ceil(RESTART) * 4 {
            return Err(CorruptChunk("the directory's restarts do not fit the number of series"));
        }
        Ok(Self { bytes, restarts, series, groups, pairs, data_end })
    }

    /// A reader that goes on where another paused.
    pub(crate) fn resume(&self, place: Place) -> Reader<'_> {
        let mut reader = self.reader();
        if let Some((offset, next)) = place.at
            && let Some(rest) = self.bytes.get(offset..)
        {
            reader.cursor = Cursor::new(rest);
            reader.next = next;
            reader.entry = place.entry;
        }
        reader
    }

    /// A reader that goes from entry to entry.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            directory: self,
            cursor: Cursor::new(&[]),
            next: u32::MAX,
            entry: Entry::default(),
            last: Entry::default(),
        }
    }
}

/// Where a reader stood, without a hold on the directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Offset in the directory and the series there; `None` before the first.
    at: Option<(usize, u32)>,
    entry: Entry,
}

/// Reads entries, cheapest in ascending order.
pub(crate) struct Reader<'a> {
    directory: &'a Directory,
    cursor: Cursor<'a>,
    /// The series that `cursor` stands at; `u32::MAX` for none.
    next: u32,
    entry: Entry,
    last: Entry,
}

impl Reader<'_> {
    /// The entry of series `id`.
    pub(crate) fn read(&mut self, id: u32) -> Result<&Entry, CorruptChunk> {
        if id >= self.directory.series {
            return Err(CorruptChunk("a series does not exist"));
        }
        let restart = id as usize / RESTART;
        if self.next == u32::MAX || self.next > id || (self.next as usize) < restart * RESTART {
            let at = restart * 4;
            let offset =
                self.directory.restarts.get(at..at + 4).ok_or(CorruptChunk("a restart does not exist"))?;
            let offset = u32::from_le_bytes([offset[0], offset[1], offset[2], offset[3]]) as usize;
            let rest = self
                .directory
                .bytes
                .get(offset..)
                .ok_or(CorruptChunk("a restart lies outside the directory"))?;
            self.cursor = Cursor::new(rest);
            self.next = (restart * RESTART) as u32;
        }
        while self.next <= id {
            if let Err(err) = self.step() {
                self.next = u32::MAX;
                return Err(err);
            }
        }
        Ok(&self.entry)
    }

    /// Where this reader stands.
    pub(crate) fn pause(self) -> Place {
        let at = (self.next != u32::MAX)
            .then(|| (self.directory.bytes.len() - self.cursor.rest().len(), self.next));
        Place { at, entry: self.entry }
    }

    fn step(&mut self) -> Result<(), CorruptChunk> {
        let (id, directory, cursor) = (self.next, self.directory, &mut self.cursor);
        std::mem::swap(&mut self.entry, &mut self.last);
        let entry = &mut self.entry;
        let last = if (id as usize).is_multiple_of(RESTART) { None } else { Some(&self.last) };
        entry.pairs.clear();
        entry.chunks.clear();
        let shared = cursor.at_most(last.map_or(0, |last| last.pairs.len()))?;
        if let Some(last) = last {
            entry.pairs.extend_from_slice(&last.pairs[..shared]);
        }
        let further = cursor.at_most(cursor.rest().len())?;
        for _ in 0..further {
            let pair = cursor.at_most(u32::MAX as usize)? as u32;
            if pair >= directory.pairs || entry.pairs.last().is_some_and(|&last| last >= pair) {
                return Err(CorruptChunk("the label pairs of a series are not in order"));
            }
            entry.pairs.push(pair);
        }
        let chunks = cursor.at_most(cursor.rest().len())?;
        let base = last.and_then(Entry::data_end).unwrap_or(0);
        let mut offset =
            base.checked_add(cursor.varint()?).ok_or(CorruptChunk("a chunk lies outside the file"))?;
        for i in 0..chunks {
            let head = cursor.varint()?;
            let group = cursor.signed()?;
            let group = entry.group_before(last, i).checked_add(group).and_then(|g| g.checked_add(1));
            let mut chunk = ChunkRef {
                offset,
                len: u32::try_from(head >> 3).map_err(|_| CorruptChunk("a chunk is too long"))?,
                group: group
                    .and_then(|g| u32::try_from(g).ok())
                    .filter(|&g| g < directory.groups)
                    .ok_or(CorruptChunk("a time group does not exist"))?,
                flags: (head & 7) as u8,
                parent: 0,
            };
            if chunk.flags & FLAG_TIER == FLAG_SIBLING {
                chunk.parent = i64::from(id)
                    .checked_add(cursor.signed()?)
                    .and_then(|p| u32::try_from(p).ok())
                    .filter(|&p| p < directory.series && p != id)
                    .ok_or(CorruptChunk("a parent series does not exist"))?;
            }
            offset = offset
                .checked_add(u64::from(chunk.len) + CRC)
                .filter(|&end| end <= directory.data_end && chunk.offset >= MAGIC.len() as u64)
                .ok_or(CorruptChunk("a chunk lies outside the file"))?;
            entry.chunks.push(chunk);
        }
        self.next += 1;
        Ok(())
    }
}
