//! Series log: which group and column is which series.
//!
//! One file, `series-<n>.log`; frames as in a segment. Label pairs are written once and named by their number in the file.
//! Rewritten, under the next number, when most of what it says is about series that are gone. Byte layout:
//! docs/formats/wal.md.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, Frames};
use super::record::{MAX_COLUMNS, put_bytes, take_text};
use crate::chunk::CorruptChunk;
use crate::chunk::varint::{Cursor, put};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"BWSER\0\x01\0";

/// Bytes before the first frame: magic, the secret seed of series hashes, its checksum.
pub(crate) const HEADER: usize = 28;

const PAIR: u8 = 1;
const GROUP: u8 = 2;
const SERIES: u8 = 3;

/// An open series log.
pub(crate) struct SeriesLog {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    len: u64,
    /// A write failed: cut back to `len` before the next.
    torn: bool,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// The next label pair.
    Pair { name: &'a str, value: &'a str },
    /// A group, and the hash of its target.
    Group { group: u64, target: u64 },
    /// A series: its labels as pair numbers, ascending by name.
    Series { group: u64, column: u32, pairs: &'a [u32] },
}

/// Appends an entry.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry<'_>) {
    match *entry {
        Entry::Pair { name, value } => {
            out.push(PAIR);
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
        Entry::Group { group, target } => {
            out.push(GROUP);
            put(out, group);
            out.extend_from_slice(&target.to_le_bytes());
        }
        Entry::Series { group, column, pairs } => {
            out.push(SERIES);
            put(out, group);
            put(out, u64::from(column));
            put(out, pairs.len() as u64);
            for &pair in pairs {
                put(out, u64::from(pair));
            }
        }
    }
}

/// Reads the entries of one frame.
///
/// # Errors
/// [`CorruptChunk`], or the first error of `each`.
pub(crate) fn read_entries(
    payload: &[u8],
    mut each: impl FnMut(Entry<'_>) -> std::result::Result<(), CorruptChunk>,
) -> std::result::Result<(), CorruptChunk> {
    let mut cursor = Cursor::new(payload);
    let mut pairs = Vec::new();
    while !cursor.rest().is_empty() {
        match cursor.byte()? {
            PAIR => {
                let name = take_text(&mut cursor)?;
                let value = take_text(&mut cursor)?;
                each(Entry::Pair { name, value })?;
            }
            GROUP => {
                let group = cursor.varint()?;
                each(Entry::Group { group, target: cursor.u64()? })?;
            }
            SERIES => {
                let group = cursor.varint()?;
                let column = cursor.varint()?;
                let column = u32::try_from(column)
                    .ok()
                    .filter(|&c| c < MAX_COLUMNS)
                    .ok_or(CorruptChunk("a column is impossible"))?;
                pairs.clear();
                let count = cursor.varint()? as usize;
                if count > cursor.rest().len() {
                    return Err(CorruptChunk("a series has more labels than bytes"));
                }
                for _ in 0..count {
                    let pair = u32::try_from(cursor.varint()?);
                    pairs.push(pair.map_err(|_| CorruptChunk("a label pair is impossible"))?);
                }
                each(Entry::Series { group, column, pairs: &pairs })?;
            }
            _ => return Err(CorruptChunk("an entry's kind does not exist")),
        }
    }
    Ok(())
}

/// What a series log holds, as read back.
pub(crate) struct Opened {
    pub(crate) log: SeriesLog,
    pub(crate) number: u64,
    /// The secret seed of series hashes.
    pub(crate) seed: [u8; 16],
    pub(crate) bytes: Vec<u8>,
    /// Bytes cut off the torn end.
    pub(crate) torn: u64,
    /// The file, when it is damaged before its end: `bytes` is what is good before the damage.
    pub(crate) damaged: Option<(PathBuf, Error)>,
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("series-")?.strip_suffix(".log")?.parse().ok()
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("series-{number:08}.log"))
}

/// The header of a series log, when it is one.
pub(crate) fn header(bytes: &[u8]) -> Option<&[u8]> {
    let head = bytes.get(..HEADER).filter(|head| head.starts_with(&MAGIC))?;
    (crc32c::crc32c(&head[..24]).to_le_bytes() == head[24..28]).then_some(head)
}

impl SeriesLog {
    /// Creates the log with this number, with `entries` in it, in one step: it is whole or absent.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        number: u64,
        seed: [u8; 16],
        entries: &[u8],
    ) -> Result<Self> {
        let path = path_of(dir, number);
        let temporary = dir.join(format!("series-{number:08}.tmp"));
        let mut file = disk.create(&temporary).map_err(Error::io("create", &temporary))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&seed);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        // Frames of a bounded size, cut between entries by the reader's rule that a frame holds whole entries.
        if !entries.is_empty() {
            frame::put(&mut bytes, entries);
        }
        file.write_all(&bytes).map_err(Error::io("write", &temporary))?;
        file.sync().map_err(Error::io("sync", &temporary))?;
        disk.rename(&temporary, &path).map_err(Error::io("rename", &temporary))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        Ok(Self { path, file, len: bytes.len() as u64, torn: false })
    }

    /// Opens the newest series log in `dir`, cuts off a torn end and removes older logs; `None` when there is none.
    ///
    /// # Errors
    /// `Io`. Damage is no error: see [`Opened::damaged`].
    pub(crate) fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Option<Opened>> {
        let entries = disk.list(dir).map_err(Error::io("list", dir))?;
        let Some(number) = entries.iter().filter_map(|e| number_of(&e.name)).max() else { return Ok(None) };
        let path = path_of(dir, number);
        let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
        let head = header(&bytes);
        let mut seed = [0; 16];
        let Some(head) = head else {
            let file = disk.append(&path).map_err(Error::io("open", &path))?;
            let err = Error::corrupt(&path, 0, "the header is not that of a series log of version 1");
            let log = Self { path: path.clone(), file, len: 0, torn: false };
            let damaged = Some((path, err));
            return Ok(Some(Opened { log, number, seed, bytes: Vec::new(), torn: 0, damaged }));
        };
        seed.copy_from_slice(&head[8..24]);
        let mut frames = Frames::new(&bytes, HEADER);
        while let Ok(Some(_)) = frames.next() {}
        let good = frames.offset();
        let torn = (bytes.len() - good) as u64;
        let mut file = disk.append(&path).map_err(Error::io("open", &path))?;
        let mut damaged = None;
        if torn > 0 && frame::good_behind(&bytes, good) {
            let what = "a damaged frame has good ones behind it; the series that they name are lost";
            damaged = Some((path.clone(), Error::corrupt(&path, good as u64, what)));
        } else if torn > 0 {
            file.truncate(good as u64).map_err(Error::io("cut", &path))?;
            file.sync().map_err(Error::io("sync", &path))?;
        }
        for old in entries.iter().filter(|e| number_of(&e.name).is_some_and(|n| n < number)) {
            let path = dir.join(&old.name);
            disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        let log = Self { path, file, len: good as u64, torn: false };
        let mut bytes = bytes;
        bytes.truncate(good);
        bytes.drain(..HEADER);
        let torn = if damaged.is_some() { 0 } else { torn };
        Ok(Some(Opened { log, number, seed, bytes, torn, damaged }))
    }

    /// Removes logs older than `number`.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn remove_older(disk: &Arc<dyn Disk>, dir: &Path, number: u64) -> Result<()> {
        for entry in disk.list(dir).map_err(Error::io("list", dir))? {
            if number_of(&entry.name).is_some_and(|n| n < number) {
                let path = dir.join(&entry.name);
                disk.remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Writes entries as one frame.
    ///
    /// # Errors
    /// `Io`; the file is cut back before the next write.
    pub(crate) fn append(&mut self, entries: &[u8], sync: bool) -> Result<()> {
        if self.torn {
            self.file.truncate(self.len).map_err(Error::io("cut", &self.path))?;
            self.torn = false;
        }
        let mut bytes = Vec::new();
        frame::put(&mut bytes, entries);
        self.torn = true;
        self.file.write_all(&bytes).map_err(Error::io("write", &self.path))?;
        if sync {
            self.file.sync().map_err(Error::io("sync", &self.path))?;
        }
        self.torn = false;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Syncs the file.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.file.sync().map_err(Error::io("sync", &self.path))
    }
}
