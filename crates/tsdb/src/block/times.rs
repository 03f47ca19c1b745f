//! Time groups: each distinct time column of a block, stored once. Layout: docs/formats/block.md.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::format::MAGIC;
use crate::chunk::varint::{self, Cursor};
use crate::chunk::{self, CorruptChunk, MAX_COUNT};

/// A time group of an open block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) offset: u64,
    /// With the checksum.
    pub(crate) len: u32,
    pub(crate) count: u32,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// Gives equal time columns one number while a block is written.
pub(crate) struct Writer {
    seed: u64,
    known: HashMap<u128, u32>,
    directory: Vec<u8>,
    end: u64,
    groups: u32,
    bytes: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        // Unknown to senders, so that nobody can choose times that collide.
        let seed = RandomState::new().hash_one(0);
        Self {
            seed,
            known: HashMap::new(),
            directory: Vec::new(),
            end: MAGIC.len() as u64,
            groups: 0,
            bytes: Vec::new(),
        }
    }
}

impl Writer {
    /// The group of these times. A new group's bytes are appended to `out`, which begins at `offset` of the data file.
    pub(crate) fn group(&mut self, times: &[i64], out: &mut Vec<u8>, offset: u64) -> u32 {
        self.bytes.clear();
        times.iter().for_each(|t| self.bytes.extend_from_slice(&t.to_le_bytes()));
        let key = xxh3_128_with_seed(&self.bytes, self.seed);
        if let Some(&group) = self.known.get(&key) {
            return group;
        }
        let start = out.len();
        chunk::encode_times(times, out);
        let crc = crc32c::crc32c(&out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
        let (at, len) = (offset + start as u64, (out.len() - start) as u64);
        let (first, last) = (times[0], times[times.len() - 1]);
        varint::put(&mut self.directory, at - self.end);
        varint::put(&mut self.directory, len);
        varint::put(&mut self.directory, times.len() as u64);
        varint::put_signed(&mut self.directory, first);
        varint::put(&mut self.directory, last.wrapping_sub(first) as u64);
        self.end = at + len;
        let group = self.groups;
        self.groups += 1;
        self.known.insert(key, group);
        group
    }

    /// How many groups, and their directory.
    pub(crate) fn finish(self) -> (u32, Vec<u8>) {
        (self.groups, self.directory)
    }
}

/// Reads the directory; `data_end` is where groups must end.
pub(crate) fn read(bytes: &[u8], groups: u32, data_end: u64) -> Result<Vec<Group>, CorruptChunk> {
    let mut cursor = Cursor::new(bytes);
    // Each entry is at least five bytes.
    if groups as usize > bytes.len() / 5 {
        return Err(CorruptChunk("the times directory is too short"));
    }
    let mut list = Vec::with_capacity(groups as usize);
    let mut end = MAGIC.len() as u64;
    for _ in 0..groups {
        let offset = end.checked_add(cursor.varint()?).ok_or(CorruptChunk("times lie outside the file"))?;
        let len = cursor.at_most(u32::MAX as usize)? as u32;
        let count = cursor.at_most(MAX_COUNT)? as u32;
        let first = cursor.signed()?;
        let last = first.wrapping_add(cursor.varint()? as i64);
        end = offset
            .checked_add(u64::from(len))
            .filter(|&end| end <= data_end && len >= 4 && count > 0 && first <= last)
            .ok_or(CorruptChunk("times lie outside the file"))?;
        list.push(Group { offset, len, count, first, last });
    }
    if !cursor.rest().is_empty() {
        return Err(CorruptChunk("the times directory has bytes behind its end"));
    }
    Ok(list)
}
