//! The disk as the storage sees it: few operations, so that tests can fail, tear and crash each of them.
//!
//! [`RealDisk`] is the operating system's file system. [`FaultDisk`] keeps files in memory, knows which bytes were synced,
//! and crashes or fails at the operation that a test picks. What is written but not synced may or may not survive a power
//! loss; a new or renamed name survives once its folder was synced.

mod fault;
mod real;

use std::fmt::Debug;
use std::io;
use std::path::Path;

use bytes::Bytes;

pub use fault::{Crash, FaultDisk, Refusal};
pub use real::RealDisk;

/// A file opened for writing, at its end.
pub trait DiskFile: Send {
    /// Writes all of `bytes` at the end of what was written.
    ///
    /// # Errors
    /// The operating system's; part of the bytes may have been written.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes written bytes and the length survive a power loss.
    ///
    /// # Errors
    /// The operating system's; nothing is known about bytes written since the last sync then.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to `len` bytes and goes on writing there.
    ///
    /// # Errors
    /// The operating system's.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Reserves room up to `len` bytes without changing the length that readers see, so that writing fails now rather
    /// than half-way. File systems without reservation accept this and do nothing.
    ///
    /// # Errors
    /// When the disk is full.
    fn reserve(&mut self, len: u64) -> io::Result<()>;
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its name in the folder.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Its length in bytes, 0 for a folder.
    pub len: u64,
}

/// A file system.
pub trait Disk: Send + Sync + Debug {
    /// Creates a folder and those above it.
    ///
    /// # Errors
    /// The operating system's.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Creates a file, or empties the one that is there, for writing.
    ///
    /// # Errors
    /// The operating system's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file to write at its end.
    ///
    /// # Errors
    /// The operating system's; `NotFound` when there is no such file.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Reads a whole file into memory.
    ///
    /// # Errors
    /// The operating system's.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The bytes of an immutable file, mapped where the disk can do so. The file may be removed while they are in use,
    /// but never changed or cut.
    ///
    /// # Errors
    /// The operating system's.
    fn map(&self, path: &Path) -> io::Result<Bytes>;

    /// Renames a file or folder, replacing a file that has the new name.
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The operating system's.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and all in it.
    ///
    /// # Errors
    /// The operating system's.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// What a folder holds, sorted by name.
    ///
    /// # Errors
    /// The operating system's; `NotFound` when there is no such folder.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes the names in a folder survive a power loss.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Gives `to` the content of the immutable file `from`, by a hard link where the disk can do so.
    ///
    /// # Errors
    /// The operating system's.
    fn link_or_copy(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Bytes that can still be written below `path`.
    ///
    /// # Errors
    /// The operating system's.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Takes the lock file `path`, creating it if needed, and writes `owner` into it; the lock is held until the value is
    /// dropped or the process ends.
    ///
    /// # Errors
    /// `WouldBlock` when another process or another opening holds it.
    fn lock(&self, path: &Path, owner: &str) -> io::Result<Box<dyn Send + Sync>>;

    /// Whether a file or folder with this name exists.
    ///
    /// # Errors
    /// The operating system's.
    fn exists(&self, path: &Path) -> io::Result<bool>;
}
