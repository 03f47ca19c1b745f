//! Where a block's bytes come from: a mapped file, or ranges of an object.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::disk::Disk;
use crate::{Error, Result};

/// Bytes of an immutable object, by range. Opening a block reads its tail and then whole sections; selecting reads chunks, so
/// an implementation over a network should keep what it has read and read more than it is asked for.
pub trait Source: Send + Sync + Debug {
    /// The object's length in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// `Corrupt` when the object is shorter; `Io` when it cannot be read.
    fn read_range(&self, offset: u64, len: usize) -> Result<Bytes>;

    /// All bytes, where they are in memory or mapped anyway.
    fn mapped(&self) -> Option<&[u8]> {
        None
    }

    /// The name for error messages.
    fn path(&self) -> &Path;
}

/// A file that the disk maps.
#[derive(Debug)]
pub struct Mapped {
    bytes: Bytes,
    path: PathBuf,
}

impl Mapped {
    /// Maps `path`.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let bytes = disk.map(path).map_err(Error::io("map", path))?;
        Ok(Self { bytes, path: path.to_owned() })
    }

    /// Bytes that are in memory, under a name for error messages.
    pub fn from_bytes(bytes: Bytes, path: impl Into<PathBuf>) -> Self {
        Self { bytes, path: path.into() }
    }
}

impl Source for Mapped {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_range(&self, offset: u64, len: usize) -> Result<Bytes> {
        usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(len)?))
            .filter(|range| range.end <= self.bytes.len())
            .map(|range| self.bytes.slice(range))
            .ok_or_else(|| Error::corrupt(&self.path, offset, format!("{len} bytes lie past the end")))
    }

    fn mapped(&self) -> Option<&[u8]> {
        Some(&self.bytes)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
