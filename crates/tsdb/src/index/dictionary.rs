//! The label pairs of a block in order of (name, value): by id, by text, by prefix.
//!
//! Reads what `build` wrote, straight from the section's bytes. Layout: docs/formats/block.md.

use bytes::Bytes;

use super::RESTART;
use crate::chunk::CorruptChunk;
use crate::chunk::varint::Cursor;

/// A label name and where its values and postings are.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) name: String,
    /// Id of its first pair.
    pub(crate) first: u32,
    /// How many pairs.
    pub(crate) values: u32,
    /// Series that have it.
    pub(crate) series: u32,
    /// Its own postings, in the postings section.
    pub(crate) postings: Extent,
}

/// A part of the postings section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

/// A value as a scan finds it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Series that have the pair.
    pub(crate) series: u32,
    pub(crate) postings: Extent,
}

/// The dictionary.
#[derive(Debug)]
pub(crate) struct Dictionary {
    names: Vec<Name>,
    bytes: Bytes,
    restarts: Bytes,
    pairs: u32,
}

impl Dictionary {
    /// Reads the names and checks that the sections fit one another.
    pub(crate) fn new(
        names: &[u8],
        bytes: Bytes,
        restarts: Bytes,
        postings_len: usize,
    ) -> Result<Self, CorruptChunk> {
        let mut list: Vec<Name> = Vec::new();
        let mut cursor = Cursor::new(names);
        let mut pairs = 0u32;
        let mut postings = 0usize;
        while !cursor.rest().is_empty() {
            let len = cursor.at_most(cursor.rest().len())?;
            let name = std::str::from_utf8(cursor.bytes(len)?)
                .map_err(|_| CorruptChunk("a label name is not UTF-8"))?
                .to_owned();
            if list.last().is_some_and(|last| last.name >= name) {
                return Err(CorruptChunk("the label names are not in order"));
            }
            let values = cursor.at_most(u32::MAX as usize)? as u32;
            let series = cursor.at_most(u32::MAX as usize)? as u32;
            let len = cursor.at_most(postings_len)?;
            list.push(Name {
                name,
                first: pairs,
                values,
                series,
                postings: Extent { offset: postings, len },
            });
            pairs = pairs.checked_add(values).ok_or(CorruptChunk("there are too many label pairs"))?;
            postings += len;
        }
        // The names' postings are the last ones of the section.
        let before = postings_len.checked_sub(postings).ok_or(CorruptChunk("the postings are too short"))?;
        list.iter_mut().for_each(|name| name.postings.offset += before);
        if restarts.len() != (pairs as usize).div_ceil(RESTART) * 8 {
            return Err(CorruptChunk("the dictionary's restarts do not fit its pairs"));
        }
        Ok(Self { names: list, bytes, restarts, pairs })
    }

    /// All label names, in order.
    pub(crate) fn names(&self) -> &[Name] {
        &self.names
    }

    /// How many pairs.
    pub(crate) fn pairs(&self) -> u32 {
        self.pairs
    }

    /// A name by its text.
    pub(crate) fn name(&self, name: &str) -> Option<&Name> {
        let at = self.names.binary_search_by(|n| n.name.as_str().cmp(name)).ok()?;
        Some(&self.names[at])
    }

    /// The name that pair `id` belongs to.
    pub(crate) fn name_of(&self, id: u32) -> Option<&Name> {
        let at = self.names.partition_point(|n| n.first + n.values <= id);
        self.names.get(at).filter(|n| n.first <= id)
    }

    /// Reads pair `id`: its value goes to `value`, replacing what was there.
    pub(crate) fn pair(&self, id: u32, value: &mut Vec<u8>) -> Result<Entry, CorruptChunk> {
        let mut scan = self.scan(id, value)?;
        let entry = scan.step()?;
        Ok(entry)
    }

    /// Pair `id` as [`model::labels::encode_pair`] writes it; `value` is scratch.
    pub(crate) fn encoded(&self, id: u32, value: &mut Vec<u8>) -> Result<Box<[u8]>, CorruptChunk> {
        self.pair(id, value)?;
        let name = self.name_of(id).ok_or(CorruptChunk("a label pair has no name"))?;
        if value.is_empty() {
            return Err(CorruptChunk("a label pair has no value"));
        }
        let mut encoded = Vec::with_capacity(name.name.len() + value.len() + 4);
        model::labels::encode_pair(&mut encoded, &name.name, utf8(value)?);
        Ok(encoded.into())
    }

    /// A scan whose first step reads pair `id`.
    pub(crate) fn scan<'a>(&'a self, id: u32, value: &'a mut Vec<u8>) -> Result<Scan<'a>, CorruptChunk> {
        if id >= self.pairs {
            return Err(CorruptChunk("a label pair does not exist"));
        }
        let mut scan = self.scan_from(id as usize / RESTART, value)?;
        while scan.next < id {
            scan.step()?;
        }
        Ok(scan)
    }

    fn scan_from<'a>(&'a self, restart: usize, value: &'a mut Vec<u8>) -> Result<Scan<'a>, CorruptChunk> {
        let (offset, postings) = self.restart(restart)?;
        let rest = self.bytes.get(offset..).ok_or(CorruptChunk("a restart lies outside the dictionary"))?;
        value.clear();
        Ok(Scan {
            cursor: Cursor::new(rest),
            value,
            next: (restart * RESTART) as u32,
            end: self.pairs,
            postings,
        })
    }

    fn restart(&self, at: usize) -> Result<(usize, usize), CorruptChunk> {
        let bytes = self.restarts.get(at * 8..at * 8 + 8).ok_or(CorruptChunk("a restart does not exist"))?;
        let part =
            |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]) as usize;
        Ok((part(0), part(4)))
    }

    /// The first pair of `name` whose value is not below `value`; the pair past its last when there is none.
    pub(crate) fn lower_bound(&self, name: &Name, value: &[u8]) -> Result<u32, CorruptChunk> {
        let end = name.first + name.values;
        // Restarts that lie within the name; the pairs before the first of these come after restart `low`.
        let mut low = name.first as usize / RESTART;
        let mut high = (end as usize).div_ceil(RESTART);
        let mut text = Vec::new();
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let mut scan = self.scan_from(middle, &mut text)?;
            scan.step()?;
            if text.as_slice() < value {
                low = middle;
            } else {
                high = middle;
            }
        }
        let mut id = name.first.max((low * RESTART) as u32);
        let mut scan = self.scan(id, &mut text)?;
        while id < end {
            scan.step()?;
            if scan.value.as_slice() >= value {
                return Ok(id);
            }
            id += 1;
        }
        Ok(end)
    }

    /// The pair `name`=`value`.
    pub(crate) fn find(&self, name: &Name, value: &str) -> Result<Option<Entry>, CorruptChunk> {
        let id = self.lower_bound(name, value.as_bytes())?;
        if id == name.first + name.values {
            return Ok(None);
        }
        let mut text = Vec::new();
        let entry = self.pair(id, &mut text)?;
        Ok((text == value.as_bytes()).then_some(entry))
    }

    /// Calls `f` with the values of `name` that start with `prefix`, in order, until it answers `false`.
    pub(crate) fn each(
        &self,
        name: &Name,
        prefix: &str,
        mut f: impl FnMut(&str, &Entry) -> Result<bool, CorruptChunk>,
    ) -> Result<(), CorruptChunk> {
        let end = name.first + name.values;
        let first = if prefix.is_empty() { name.first } else { self.lower_bound(name, prefix.as_bytes())? };
        if first == end {
            return Ok(());
        }
        let mut text = Vec::new();
        let mut scan = self.scan(first, &mut text)?;
        for _ in first..end {
            let entry = scan.step()?;
            if !scan.value.starts_with(prefix.as_bytes()) {
                break;
            }
            if !f(utf8(scan.value)?, &entry)? {
                break;
            }
        }
        Ok(())
    }
}

/// A value as text.
pub(crate) fn utf8(value: &[u8]) -> Result<&str, CorruptChunk> {
    std::str::from_utf8(value).map_err(|_| CorruptChunk("a label value is not UTF-8"))
}

/// Reads pairs one after the other.
pub(crate) struct Scan<'a> {
    cursor: Cursor<'a>,
    /// The value of the pair read last.
    pub(crate) value: &'a mut Vec<u8>,
    next: u32,
    end: u32,
    postings: usize,
}

impl Scan<'_> {
    /// Reads the next pair.
    pub(crate) fn step(&mut self) -> Result<Entry, CorruptChunk> {
        if self.next >= self.end {
            return Err(CorruptChunk("a label pair does not exist"));
        }
        let shared = self.cursor.at_most(self.value.len())?;
        let further = self.cursor.at_most(self.cursor.rest().len())?;
        self.value.truncate(shared);
        self.value.extend_from_slice(self.cursor.bytes(further)?);
        let series = self.cursor.at_most(u32::MAX as usize)? as u32;
        let len = self.cursor.at_most(u32::MAX as usize)?;
        let entry = Entry { series, postings: Extent { offset: self.postings, len } };
        self.next += 1;
        self.postings += len;
        Ok(entry)
    }
}
