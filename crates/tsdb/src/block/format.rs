//! Magic numbers, footer and meta file of a block. Layout: docs/formats/block.md.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::source::Source;
use crate::chunk::CorruptChunk;
use crate::chunk::varint::{self, Cursor};
use crate::{Error, Result};

pub(crate) const MAGIC: &[u8; 8] = b"BWBLOCK1";
const END_MAGIC: &[u8; 8] = b"BWBLKEND";
/// The format that this code writes and the only one that it reads.
pub(crate) const VERSION: u32 = 1;
const TRAILER: usize = 20;
/// A footer is a few hundred bytes.
const MAX_FOOTER: usize = 1 << 20;

/// Name of the file with the data.
pub const DATA_FILE: &str = "data";
/// Name of the file that is written last.
pub const META_FILE: &str = "meta.json";
/// Ending of the folder of a block that is being written.
pub const TMP_SUFFIX: &str = ".tmp";

pub(crate) const TIMES: u64 = 1;
pub(crate) const SERIES: u64 = 2;
pub(crate) const SERIES_RESTARTS: u64 = 3;
pub(crate) const NAMES: u64 = 4;
pub(crate) const DICTIONARY: u64 = 5;
pub(crate) const DICTIONARY_RESTARTS: u64 = 6;
pub(crate) const POSTINGS: u64 = 7;

/// Values are histograms, all or some.
pub(crate) const FLAG_HISTOGRAM: u8 = 1;
/// Start timestamps follow.
pub(crate) const FLAG_STARTS: u8 = 2;
/// Values are differences to another series.
pub(crate) const FLAG_SIBLING: u8 = 4;

/// Columns of aggregates: a down-sampled series.
pub(crate) const FLAG_TIER: u8 = FLAG_HISTOGRAM | FLAG_SIBLING;

/// What a block is, as its meta file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockMeta {
    /// Format version.
    pub version: u32,
    /// Unique name.
    pub id: String,
    /// Time of the first sample, milliseconds since the epoch.
    pub min_time: i64,
    /// Time of the last sample.
    pub max_time: i64,
    /// 0 for what the head wrote, one more for each merge.
    pub level: u32,
    /// How many series.
    pub series: u64,
    /// How many samples.
    pub samples: u64,
    /// Length of the data file in bytes.
    pub bytes: u64,
    /// 0 for raw samples, else the step of a down-sampled tier in milliseconds.
    pub resolution_ms: i64,
    /// Checksum of the data file's footer, which holds the checksums of its sections.
    pub footer_crc: u32,
    /// Ids of the blocks that this one replaces.
    pub sources: Vec<String>,
}

impl BlockMeta {
    /// A block that is to be written; the writer fills in the rest.
    pub fn new(id: impl Into<String>, level: u32) -> Self {
        Self { version: VERSION, id: id.into(), level, ..Self::default() }
    }

    /// Whether a sample may lie in `start..=end`.
    pub fn overlaps(&self, start: i64, end: i64) -> bool {
        self.min_time <= end && start <= self.max_time
    }

    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let meta: Self = serde_json::from_slice(bytes)
            .map_err(|err| Error::corrupt(path, 0, format!("it is no block meta file: {err}")))?;
        if meta.version != VERSION {
            return Err(Error::Invalid(format!(
                "{path:?} has block format {}, but this version reads format {VERSION} only",
                meta.version
            )));
        }
        Ok(meta)
    }
}

/// A part of the data file that is read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) kind: u64,
    pub(crate) offset: u64,
    pub(crate) len: usize,
    pub(crate) crc: u32,
}

/// What the end of the data file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) series: u32,
    pub(crate) groups: u32,
    pub(crate) samples: u64,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) sections: Vec<Section>,
    pub(crate) crc: u32,
}

impl Footer {
    /// Appends footer and trailer and sets `crc`.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        for value in [u64::from(self.series), u64::from(self.groups), self.samples] {
            varint::put(out, value);
        }
        varint::put_signed(out, self.min_time);
        varint::put_signed(out, self.max_time);
        varint::put(out, self.sections.len() as u64);
        for section in &self.sections {
            varint::put(out, section.kind);
            varint::put(out, section.offset);
            varint::put(out, section.len as u64);
            out.extend_from_slice(&section.crc.to_le_bytes());
        }
        self.crc = crc32c::crc32c(&out[start..]);
        let len = (out.len() - start) as u32;
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(END_MAGIC);
    }

    /// Reads and checks the end of a data file; without `checksums` only its sense.
    pub(crate) fn read(source: &dyn Source, checksums: bool) -> Result<Self> {
        let path = source.path();
        let total = source.len();
        let at = total
            .checked_sub((MAGIC.len() + TRAILER) as u64)
            .ok_or_else(|| Error::corrupt(path, total, "it is shorter than any block"))?
            + MAGIC.len() as u64;
        if *source.read_range(0, MAGIC.len())? != MAGIC[..] {
            return Err(Error::corrupt(path, 0, "it does not begin as a block does"));
        }
        let trailer = source.read_range(at, TRAILER)?;
        let word =
            |i: usize| u32::from_le_bytes([trailer[i], trailer[i + 1], trailer[i + 2], trailer[i + 3]]);
        if trailer[12..] != END_MAGIC[..] {
            return Err(Error::corrupt(path, at + 12, "it does not end as a block does"));
        }
        if word(8) != VERSION {
            return Err(Error::corrupt(
                path,
                at + 8,
                format!("it has block format {}, but this version reads format {VERSION} only", word(8)),
            ));
        }
        let len = word(0) as usize;
        if len > MAX_FOOTER || len as u64 + MAGIC.len() as u64 > at {
            return Err(Error::corrupt(path, at, format!("a footer of {len} bytes is impossible")));
        }
        let start = at - len as u64;
        let bytes = source.read_range(start, len)?;
        let crc = crc32c::crc32c(&bytes);
        if checksums && crc != word(4) {
            return Err(Error::corrupt(path, start, "the footer's checksum differs"));
        }
        let footer = Self::parse(&bytes, crc, start)
            .map_err(|err| Error::corrupt(path, start, format!("the footer makes no sense: {err}")))?;
        Ok(footer)
    }

    /// `end`: where the footer begins and the sections must end.
    fn parse(bytes: &[u8], crc: u32, end: u64) -> std::result::Result<Self, CorruptChunk> {
        let mut cursor = Cursor::new(bytes);
        let series = cursor.at_most(u32::MAX as usize)? as u32;
        let groups = cursor.at_most(u32::MAX as usize)? as u32;
        let samples = cursor.varint()?;
        let (min_time, max_time) = (cursor.signed()?, cursor.signed()?);
        let n = cursor.at_most(64)?;
        let mut sections = Vec::with_capacity(n);
        for _ in 0..n {
            let kind = cursor.varint()?;
            let offset = cursor.varint()?;
            let len = cursor.varint()?;
            let crc = cursor.bytes(4)?;
            if offset.checked_add(len).is_none_or(|section_end| section_end > end) {
                return Err(CorruptChunk("a section lies outside the file"));
            }
            let crc = u32::from_le_bytes([crc[0], crc[1], crc[2], crc[3]]);
            let len =
                usize::try_from(len).map_err(|_| CorruptChunk("a section is too long for this machine"))?;
            sections.push(Section { kind, offset, len, crc });
        }
        if !cursor.rest().is_empty() {
            return Err(CorruptChunk("the footer has bytes behind its end"));
        }
        Ok(Self { series, groups, samples, min_time, max_time, sections, crc })
    }

    pub(crate) fn section(&self, kind: u64) -> Option<&Section> {
        self.sections.iter().find(|s| s.kind == kind)
    }
}
