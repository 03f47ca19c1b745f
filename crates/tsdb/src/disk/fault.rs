//! A disk in memory that fails and crashes on demand.
//!
//! Names are durable once their folder was synced, contents once their file was synced. At a crash the test picks what
//! becomes of the rest: [`Crash::PowerLoss`] drops it, in part and torn as the seed says; [`Crash::Kill`] keeps all that
//! was handed to the operating system.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{DirEntry, Disk, DiskFile};

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies: every completed write stays.
    Kill,
    /// The machine dies: unsynced bytes and names may be lost; the seed decides which.
    PowerLoss {
        /// Picks what is lost.
        seed: u64,
    },
}

/// What a disk refuses for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Every change: the file system is mounted read-only.
    Changes,
    /// Opening and listing: the process has no file descriptor left. Files that are open can be written.
    Opening,
}

/// A disk in memory that fails and crashes on demand. Clones share the disk.
#[derive(Clone, Debug, Default)]
pub struct FaultDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    dirs: BTreeSet<PathBuf>,
    /// Names as the process sees them.
    names: BTreeMap<PathBuf, usize>,
    /// Names as a power loss would leave them.
    durable_names: BTreeMap<PathBuf, usize>,
    files: Vec<FileState>,
    /// Renamed folders whose new parent was not synced since.
    moved_dirs: Vec<(PathBuf, PathBuf)>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    fail_at: Option<u64>,
    capacity_bytes: Option<u64>,
    refusal: Option<Refusal>,
    /// Rises with every crash: handles of the time before are dead.
    era: u64,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

impl FaultDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changing operations (write, sync, rename, remove, create, cut) so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// From the `n`th changing operation from now on, counted from 0, everything fails as if the machine was gone; a write
    /// that is hit is torn in the middle.
    pub fn crash_after(&self, n: u64) {
        let mut state = self.0.lock();
        state.crash_at = Some(state.operations + n);
    }

    /// The `n`th changing operation from now on, counted from 0, fails once with "input/output error".
    pub fn fail_once_after(&self, n: u64) {
        let mut state = self.0.lock();
        state.fail_at = Some(state.operations + n);
    }

    /// Sets how many bytes fit; `None` for no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity_bytes = bytes;
    }

    /// Sets what is refused; `None` for nothing.
    pub fn set_refusal(&self, refusal: Option<Refusal>) {
        self.0.lock().refusal = refusal;
    }

    /// Bytes in files.
    pub fn used_bytes(&self) -> u64 {
        self.0.lock().used()
    }

    /// Whether the crash set by [`FaultDisk::crash_after`] has happened.
    pub fn has_crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// Starts the machine again after a crash (or crashes it now): locks are free, unsynced data is as `crash` says, and no
    /// fault is planned.
    pub fn restart(&self, crash: Crash) {
        let mut state = self.0.lock();
        state.crash_at = None;
        state.fail_at = None;
        state.refusal = None;
        state.crashed = false;
        state.locks.clear();
        state.moved_dirs.clear();
        state.era += 1;
        if let Crash::PowerLoss { seed } = crash {
            let mut random = seed | 1;
            let mut next = move || {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random
            };
            let lose_names = next() % 2 == 0;
            if lose_names {
                state.names = state.durable_names.clone();
            }
            for file in &mut state.files {
                let common = file.bytes.iter().zip(&file.synced).take_while(|(a, b)| a == b).count();
                if common == file.synced.len() && file.bytes.len() > common {
                    // Appended since the sync: any part of it may be there, its end perhaps garbage.
                    let kept = (next() as usize) % (file.bytes.len() - common + 1);
                    file.bytes.truncate(common + kept);
                    if kept > 0 && next() % 3 == 0 {
                        let at = common + (next() as usize) % kept;
                        file.bytes[at..].fill(0);
                    }
                } else {
                    file.bytes = file.synced.clone();
                }
            }
        }
        for file in &mut state.files {
            file.synced = file.bytes.clone();
        }
        state.durable_names = state.names.clone();
    }

    /// Flips the bits of `mask` in the byte at `offset` of a file.
    ///
    /// # Errors
    /// `NotFound` when there is no such file, `InvalidInput` when it is shorter.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        let mut state = self.0.lock();
        let at = state.find(path)?;
        let file = &mut state.files[at];
        let byte = file.bytes.get_mut(offset as usize).ok_or(io::ErrorKind::InvalidInput)?;
        *byte ^= mask;
        file.synced = file.bytes.clone();
        Ok(())
    }

    /// Every file, with its length.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.0.lock();
        state.names.iter().map(|(path, &at)| (path.clone(), state.files[at].bytes.len() as u64)).collect()
    }

    fn change<T>(&self, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock();
        state.step()?;
        run(&mut state)
    }

    fn look<T>(&self, run: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        let state = self.0.lock();
        if state.crashed {
            return Err(gone());
        }
        run(&state)
    }
}

fn gone() -> io::Error {
    io::Error::other("the machine has crashed")
}

impl State {
    /// Counts a changing operation and fails it when planned.
    fn step(&mut self) -> io::Result<()> {
        if self.crashed {
            return Err(gone());
        }
        if self.refusal == Some(Refusal::Changes) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let number = self.operations;
        self.operations += 1;
        if self.crash_at.is_some_and(|at| number >= at) {
            self.crashed = true;
            return Err(gone());
        }
        if self.fail_at == Some(number) {
            self.fail_at = None;
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }

    /// To be asked before anything is opened.
    fn open(&self) -> io::Result<()> {
        match self.refusal {
            Some(Refusal::Opening) => Err(rustix::io::Errno::MFILE.into()),
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&at| self.files[at].bytes.len() as u64).sum()
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn add_dirs(&mut self, path: &Path) {
        for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            self.dirs.insert(dir.to_owned());
        }
    }
}

struct FaultFile {
    disk: FaultDisk,
    at: usize,
    era: u64,
}

impl FaultFile {
    fn change<T>(&self, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.0.lock();
        if state.era != self.era {
            return Err(gone());
        }
        state.step()?;
        run(&mut state)
    }
}

impl DiskFile for FaultFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.era != self.era {
            return Err(gone());
        }
        let was_up = !state.crashed;
        if let Err(err) = state.step() {
            // A write that is hit leaves its first half.
            if was_up {
                state.files[self.at].bytes.extend_from_slice(&bytes[..bytes.len() / 2]);
            }
            return Err(err);
        }
        let room = state.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used()));
        if room < bytes.len() as u64 {
            state.files[self.at].bytes.extend_from_slice(&bytes[..room as usize]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.files[self.at].bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.change(|state| {
            let file = &mut state.files[self.at];
            file.synced = file.bytes.clone();
            Ok(())
        })
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.change(|state| {
            state.files[self.at].bytes.resize(len as usize, 0);
            Ok(())
        })
    }

    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.change(|state| {
            let have = state.files[self.at].bytes.len() as u64;
            let room =
                state.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used()));
            if len.saturating_sub(have) > room { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }
}

impl Disk for FaultDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.add_dirs(path);
            Ok(())
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (at, era) = self.change(|state| {
            state.open()?;
            if !path
                .parent()
                .is_none_or(|parent| parent.as_os_str().is_empty() || state.dirs.contains(parent))
            {
                return Err(io::ErrorKind::NotFound.into());
            }
            state.files.push(FileState::default());
            let at = state.files.len() - 1;
            state.names.insert(path.to_owned(), at);
            Ok((at, state.era))
        })?;
        Ok(Box::new(FaultFile { disk: self.clone(), at, era }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (at, era) = self.look(|state| {
            state.open()?;
            Ok((state.find(path)?, state.era))
        })?;
        Ok(Box::new(FaultFile { disk: self.clone(), at, era }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.look(|state| {
            state.open()?;
            Ok(state.files[state.find(path)?].bytes.clone())
        })
    }

    fn map(&self, path: &Path) -> io::Result<Bytes> {
        self.read(path).map(Bytes::from)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            if let Some(at) = state.names.remove(from) {
                state.names.insert(to.to_owned(), at);
                return Ok(());
            }
            if !state.dirs.contains(from) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let below = |path: &PathBuf| path.strip_prefix(from).ok().map(|rest| to.join(rest));
            let moved: Vec<_> =
                state.names.iter().filter_map(|(p, &at)| Some((p.clone(), below(p)?, at))).collect();
            for (old, new, at) in moved {
                state.names.remove(&old);
                state.names.insert(new, at);
            }
            let dirs: Vec<_> = state.dirs.iter().filter_map(|d| Some((d.clone(), below(d)?))).collect();
            for (old, new) in dirs {
                state.dirs.remove(&old);
                // Joining an empty rest leaves a trailing slash, which compares equal.
                state.dirs.insert(new);
            }
            state.moved_dirs.push((from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.find(path)?;
            state.names.remove(path);
            Ok(())
        })
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            if !state.dirs.contains(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            state.names.retain(|name, _| !name.starts_with(path));
            state.dirs.retain(|name| !name.starts_with(path));
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.look(|state| {
            state.open()?;
            if !state.dirs.contains(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let name = |p: &Path| {
                (p.parent() == Some(path)).then(|| p.file_name()?.to_str().map(str::to_owned)).flatten()
            };
            let files = state.names.iter().filter_map(|(p, &at)| {
                let len = state.files[at].bytes.len() as u64;
                Some(DirEntry { name: name(p)?, is_dir: false, len })
            });
            let dirs =
                state.dirs.iter().filter_map(|p| Some(DirEntry { name: name(p)?, is_dir: true, len: 0 }));
            let mut entries: Vec<_> = files.chain(dirs).collect();
            entries.sort_unstable();
            Ok(entries)
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.open()?;
            for (from, to) in std::mem::take(&mut state.moved_dirs) {
                if to.parent() != Some(path) {
                    state.moved_dirs.push((from, to));
                    continue;
                }
                // A folder's own entries travel with it.
                let below: Vec<PathBuf> =
                    state.durable_names.keys().filter(|name| name.starts_with(&from)).cloned().collect();
                for old in below {
                    let at = state.durable_names.remove(&old);
                    let rest = old.strip_prefix(&from).map(|rest| to.join(rest));
                    if let (Some(at), Ok(new)) = (at, rest) {
                        state.durable_names.insert(new, at);
                    }
                }
            }
            let within = |name: &PathBuf| name.parent() == Some(path);
            state.durable_names.retain(|name, _| !within(name));
            let now: Vec<_> =
                state.names.iter().filter(|(n, _)| within(n)).map(|(n, &at)| (n.clone(), at)).collect();
            state.durable_names.extend(now);
            // Folders: what they hold keeps its own durability, but names below a removed folder are gone.
            let (names, dirs) = (&state.durable_names, &state.dirs);
            let lost: Vec<PathBuf> = names
                .keys()
                .filter(|n| n.starts_with(path) && n.parent().is_some_and(|p| !dirs.contains(p)))
                .cloned()
                .collect();
            for name in lost {
                state.durable_names.remove(&name);
            }
            Ok(())
        })
    }

    fn link_or_copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            let at = state.find(from)?;
            let copy = state.files[at].clone();
            state.files.push(copy);
            let new = state.files.len() - 1;
            state.names.insert(to.to_owned(), new);
            Ok(())
        })
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        self.look(|state| {
            Ok(state.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
        })
    }

    fn lock(&self, path: &Path, _owner: &str) -> io::Result<Box<dyn Send + Sync>> {
        let era = self.change(|state| {
            if !state.locks.insert(path.to_owned()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(state.era)
        })?;
        Ok(Box::new(Held { disk: self.clone(), path: path.to_owned(), era }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.look(|state| Ok(state.names.contains_key(path) || state.dirs.contains(path)))
    }
}

struct Held {
    disk: FaultDisk,
    path: PathBuf,
    era: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.era == self.era {
            state.locks.remove(&self.path);
        }
    }
}
