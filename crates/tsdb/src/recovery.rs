//! Recovery: what a tenant's folder holds becomes a head again.
//!
//! Series first (series log), then sealed files, then the write-ahead log behind the last seal. Torn ends are cut and
//! counted; damaged files are moved to the tenant's `quarantine` folder, named in the log and in the report, and the rest
//! is served.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Exemplar, Histogram, Metadata};

use crate::chunk::CorruptChunk;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::head::group::{GONE, Group};
use crate::head::index::Fill;
use crate::head::sealed;
use crate::head::{Head, reference, split};
use crate::wal::record::{Reader, Replay};
use crate::wal::series_log::{Entry, SeriesLog, read_entries};

/// What opening a data folder brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Tenants found.
    pub tenants: usize,
    /// Series in the heads.
    pub series: usize,
    /// Samples replayed from write-ahead logs.
    pub samples: u64,
    /// Log segments read.
    pub segments: usize,
    /// Sealed files opened.
    pub sealed_files: usize,
    /// Blocks opened.
    pub blocks: usize,
    /// Bytes cut off torn ends of logs.
    pub torn_bytes: u64,
    /// Samples in logs that no series is known for.
    pub orphans: u64,
    /// Files that were damaged and are now in a `quarantine` folder.
    pub quarantined: Vec<PathBuf>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Recovered {
    /// Adds what another tenant brought back.
    pub(crate) fn add(&mut self, other: Self) {
        self.tenants += other.tenants;
        self.series += other.series;
        self.samples += other.samples;
        self.segments += other.segments;
        self.sealed_files += other.sealed_files;
        self.blocks += other.blocks;
        self.torn_bytes += other.torn_bytes;
        self.orphans += other.orphans;
        self.quarantined.extend(other.quarantined);
    }
}

impl std::fmt::Display for Recovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} series of {} tenants, {} blocks, {} sealed files, {} samples from {} log segments in {} ms",
            self.series,
            self.tenants,
            self.blocks,
            self.sealed_files,
            self.samples,
            self.segments,
            self.took_ms
        )?;
        if self.torn_bytes > 0 {
            write!(f, "; cut {} bytes off the end of a log that are no whole write", self.torn_bytes)?;
        }
        if !self.quarantined.is_empty() {
            write!(f, "; {} damaged files are quarantined", self.quarantined.len())?;
        }
        Ok(())
    }
}

/// Moves a damaged file or folder to the tenant's `quarantine` folder.
///
/// # Errors
/// `Io`.
pub(crate) fn quarantine(disk: &Arc<dyn Disk>, tenant_dir: &Path, path: &Path) -> Result<PathBuf> {
    let dir = tenant_dir.join("quarantine");
    disk.create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut to = dir.join(&name);
    let mut copy = 1;
    while disk.exists(&to).map_err(Error::io("look for", &to))? {
        copy += 1;
        to = dir.join(format!("{name}.{copy}"));
    }
    disk.rename(path, &to).map_err(Error::io("rename", path))?;
    for dir in [Some(dir.as_path()), path.parent()].into_iter().flatten() {
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    Ok(to)
}

/// Copies the log segments and sealed files of a tenant whose series log is damaged to `quarantine/head-N`: samples of
/// series that cannot be named any more are in them, and leave their places with the next seals. With a good series log in
/// its `wal`, the folder can be read as a tenant.
///
/// # Errors
/// `Io`; then nothing else has changed.
fn keep_head(disk: &Arc<dyn Disk>, tenant_dir: &Path) -> Result<PathBuf> {
    let dir = tenant_dir.join("quarantine");
    let free = |number: &u32| !matches!(disk.exists(&dir.join(format!("head-{number}"))), Ok(true));
    let number = (1..).find(free).unwrap_or(u32::MAX);
    let to = dir.join(format!("head-{number}"));
    for part in ["wal", "sealed"] {
        let (from, to) = (tenant_dir.join(part), to.join(part));
        disk.create_dir_all(&to).map_err(Error::io("create", &to))?;
        for entry in disk.list(&from).map_err(Error::io("list", &from))? {
            if entry.is_dir || !entry.name.ends_with(".wal") && !entry.name.ends_with(".sealed") {
                continue;
            }
            let (from, to) = (from.join(&entry.name), to.join(&entry.name));
            let bytes = disk.map(&from).map_err(Error::io("map", &from))?;
            let mut file = disk.create(&to).map_err(Error::io("create", &to))?;
            file.write_all(&bytes).map_err(Error::io("write", &to))?;
            file.sync().map_err(Error::io("sync", &to))?;
        }
        disk.sync_dir(&to).map_err(Error::io("sync", &to))?;
    }
    disk.sync_dir(&to).map_err(Error::io("sync", &to))?;
    for parent in [dir.as_path(), tenant_dir] {
        disk.sync_dir(parent).map_err(Error::io("sync", parent))?;
    }
    Ok(to)
}

/// What the series log holds.
pub(crate) struct Series {
    /// With every group and column, but without series in its index: see [`Series::unindexed`].
    pub(crate) head: Head,
    pub(crate) log: SeriesLog,
    /// The log's number.
    pub(crate) number: u64,
    /// What [`index`] is still to be called with.
    pub(crate) unindexed: Fill,
}

/// Opens the series log, or begins one, and makes the head's groups from it. Of a damaged log the part before the damage is
/// kept, in a new log; samples of the other series are orphans.
///
/// # Errors
/// `Io`, `Corrupt`.
pub(crate) fn series(
    disk: &Arc<dyn Disk>,
    tenant_dir: &Path,
    dir: &Path,
    limits: &crate::config::Limits,
    found: &mut Recovered,
) -> Result<Series> {
    let Some(opened) = SeriesLog::open(disk, dir)? else {
        let seed = random_seed();
        let log = SeriesLog::create(disk, dir, 1, seed, &[])?;
        return Ok(Series { head: Head::new(seed, limits), log, number: 1, unindexed: Fill::default() });
    };
    found.torn_bytes += opened.torn;
    let seed = if opened.seed == [0; 16] { random_seed() } else { opened.seed };
    let head = Head::new(seed, limits);
    let mut unindexed = Fill::default();
    let mut frames = crate::wal::frame::Frames::new(&opened.bytes, 0);
    let mut pairs: Vec<u32> = Vec::new();
    let mut current: Option<Arc<Group>> = None;
    let mut index = head.index.write();
    let mut groups = head.groups.write();
    while let Ok(Some(payload)) = frames.next() {
        let read = read_entries(payload, |entry| {
            match entry {
                Entry::Pair { name, value } => {
                    let (pair, _) = index.intern(name, value);
                    index.pair_mut(pair).log = pairs.len() as u32;
                    pairs.push(pair);
                }
                Entry::Group { group, target } => {
                    groups.next_number = groups.next_number.max(group + 1);
                    groups.by_number.entry(group).or_insert_with(|| Group::new(group, target));
                    groups.by_target.insert(target, group);
                }
                Entry::Series { group, column, pairs: numbers } => {
                    if current.as_ref().is_none_or(|g| g.number != group) {
                        current = groups.by_number.get(&group).cloned();
                    }
                    let Some(group) = &current else {
                        return Err(CorruptChunk("a series names a group that is not there"));
                    };
                    if numbers.iter().any(|&number| number as usize >= pairs.len()) {
                        return Err(CorruptChunk("a series names a label pair that is not there"));
                    }
                    let mut state = group.state.lock();
                    if state.series.get(column as usize).is_some_and(|&series| series != GONE) {
                        return Err(CorruptChunk("two series have the same place"));
                    }
                    state.never_use(column);
                    state.series[column as usize] = unindexed.next();
                    let ids = numbers.iter().map(|&number| pairs[number as usize]);
                    unindexed.add(reference(group.number, column), ids);
                }
            }
            Ok(())
        });
        read.map_err(|err| Error::corrupt(dir, frames.offset() as u64, err.to_string()))?;
    }
    *head.log_pairs.lock() = pairs.len() as u32;
    drop((groups, index));
    let Some((path, err)) = opened.damaged else {
        return Ok(Series { head, log: opened.log, number: opened.number, unindexed });
    };
    let kept = keep_head(disk, tenant_dir)?;
    self::index(&head, unindexed);
    let mut index = head.index.write();
    let (entries, numbers) = head.log_entries(&index);
    let number = opened.number + 1;
    let log = SeriesLog::create(disk, dir, number, seed, &entries)?;
    *head.log_pairs.lock() = numbers.len() as u32;
    index.renumber(&numbers);
    drop(index);
    let to = quarantine(disk, tenant_dir, &path)?;
    tracing::error!(
        error = %err,
        moved_to = %to.display(),
        samples_kept_in = %kept.display(),
        "the log of series is damaged; series named behind the damage are not there, with their newest samples, until it is mended (docs/concepts/storage.md)"
    );
    found.quarantined.push(to);
    Ok(Series { head, log, number, unindexed: Fill::default() })
}

/// Fills the head's index. Nothing else of recovery needs it, so this may run beside the rest.
pub(crate) fn index(head: &Head, unindexed: Fill) {
    if unindexed.next() == 0 {
        return;
    }
    let replaced = head.index.write().fill(unindexed);
    // They were dropped and came back: what the old places held is in blocks.
    let groups = head.groups.read();
    for (number, column) in replaced.into_iter().map(split) {
        if let Some(group) = groups.by_number.get(&number) {
            group.state.lock().series[column as usize] = GONE;
        }
    }
}

fn random_seed() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher};
    let mut seed = [0; 16];
    for half in seed.chunks_exact_mut(8) {
        // The standard library's source of unpredictable numbers, keyed by the operating system.
        let number = std::hash::RandomState::new().build_hasher().finish();
        half.copy_from_slice(&number.to_le_bytes());
    }
    seed
}

/// Opens the sealed files in `dir` and hands their chunks to the groups; the next file's number.
///
/// # Errors
/// `Io`.
pub(crate) fn sealed_files(
    disk: &Arc<dyn Disk>,
    tenant_dir: &Path,
    dir: &Path,
    head: &Head,
    found: &mut Recovered,
) -> Result<u64> {
    let cut = head.min_valid.load(Ordering::Relaxed);
    let mut next = 1;
    let mut unknown = 0;
    for entry in disk.list(dir).map_err(Error::io("list", dir))? {
        let path = dir.join(&entry.name);
        let Some(number) = sealed::file_number(&entry.name) else {
            if entry.name.ends_with(".tmp") {
                disk.remove_file(&path).map_err(Error::io("remove", &path))?;
            }
            continue;
        };
        next = next.max(number + 1);
        match sealed::open_file(disk, &path, number) {
            Ok(chunks) => {
                found.sealed_files += 1;
                let groups = head.groups.read();
                for (group, chunk) in chunks {
                    match groups.by_number.get(&group) {
                        Some(group) => {
                            head.max_time.fetch_max(chunk.max_time, Ordering::Relaxed);
                            Arc::make_mut(&mut group.state.lock().chunks).push(chunk);
                        }
                        // In blocks, and its series dropped.
                        None if chunk.max_time < cut => {}
                        None => {
                            unknown = unknown.max(group);
                            tracing::error!(path = %path.display(), group, "a sealed file has samples of a group that is not known");
                            found.orphans += 1;
                        }
                    }
                }
            }
            Err(err @ Error::Corrupt { .. }) => {
                let to = quarantine(disk, tenant_dir, &path)?;
                tracing::error!(error = %err, moved_to = %to.display(), "a sealed file is damaged; its samples are not served");
                found.quarantined.push(to);
            }
            Err(err) => return Err(err),
        }
    }
    head.never_use(unknown);
    for group in head.all_groups() {
        newest_times(&group);
    }
    Ok(next)
}

/// Sets the newest time of each column from the group's chunks.
fn newest_times(group: &Group) {
    let mut state = group.state.lock();
    for at in (0..state.chunks.len()).rev() {
        // A later seal may hold late samples only: the newest sample can be in any chunk that ends after what is known.
        let end = state.chunks[at].max_time;
        let live = state.series.iter().zip(&state.last_time).filter(|(series, _)| **series != GONE);
        if live.map(|(_, last)| *last).min().is_none_or(|known| known >= end) {
            continue;
        }
        // A damaged chunk is reported when it is read.
        let Ok(chunk) = state.chunks[at].open() else { continue };
        for column in chunk.columns() {
            state.never_use(column);
            if let Some(last) = state.last_time.get_mut(column as usize)
                && let Some(time) = chunk.last_time(column)
            {
                *last = time.max(*last);
            }
        }
    }
}

/// Reads exemplars and metadata as of the last seal.
///
/// # Errors
/// `Io`. Damage is no error: the file is quarantined.
pub(crate) fn meta(
    disk: &Arc<dyn Disk>,
    tenant_dir: &Path,
    into: &mut IntoHead<'_>,
    found: &mut Recovered,
) -> Result<()> {
    let path = tenant_dir.join("meta");
    if !disk.exists(&path).map_err(Error::io("look for", &path))? {
        return Ok(());
    }
    let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
    let read = match crate::wal::frame::Frames::new(&bytes, 0).next() {
        Ok(Some(payload)) => Reader::default().read(payload, into).map_err(|err| err.to_string()),
        Ok(None) => Ok(()),
        Err(what) => Err(what.to_owned()),
    };
    if let Err(what) = read {
        let to = quarantine(disk, tenant_dir, &path)?;
        tracing::error!(what, moved_to = %to.display(), "exemplars and metadata are damaged");
        found.quarantined.push(to);
    }
    Ok(())
}

/// Puts replayed records into a head.
pub(crate) struct IntoHead<'a> {
    head: &'a Head,
    group: Option<Arc<Group>>,
    /// Samples put in place.
    pub(crate) samples: u64,
    /// Samples without a series.
    pub(crate) orphans: u64,
    max_time: i64,
}

impl<'a> IntoHead<'a> {
    pub(crate) fn new(head: &'a Head) -> Self {
        Self { head, group: None, samples: 0, orphans: 0, max_time: i64::MIN }
    }

    fn find(&mut self, number: u64) -> Option<Arc<Group>> {
        if self.group.as_ref().is_none_or(|group| group.number != number) {
            self.group = self.head.groups.read().by_number.get(&number).cloned();
        }
        self.group.clone()
    }
}

impl Drop for IntoHead<'_> {
    fn drop(&mut self) {
        self.head.max_time.fetch_max(self.max_time, Ordering::Relaxed);
        self.head.unsealed.fetch_add(self.samples, Ordering::Relaxed);
    }
}

impl Replay for IntoHead<'_> {
    fn floats(&mut self, group: u64, samples: &[(u32, i64, f64)]) {
        let Some(group) = self.find(group) else {
            self.head.never_use(group);
            self.orphans += samples.len() as u64;
            return;
        };
        let mut state = group.state.lock();
        for run in samples.chunk_by(|a, b| a.1 == b.1) {
            let orphans = state.put_replayed(run);
            self.orphans += orphans as u64;
            self.samples += (run.len() - orphans) as u64;
            if orphans < run.len() {
                self.max_time = self.max_time.max(run[0].1);
            }
        }
    }

    fn histogram(&mut self, group: u64, column: u32, time: i64, histogram: Arc<Histogram>) {
        let number = group;
        let group = self.find(group);
        let mut state = match &group {
            Some(group) => group.state.lock(),
            None => {
                self.head.never_use(number);
                self.orphans += 1;
                return;
            }
        };
        state.never_use(column);
        if state.series.get(column as usize).is_none_or(|&series| series == GONE) {
            self.orphans += 1;
            return;
        }
        state.put_histogram(column, time, &histogram);
        self.samples += 1;
        self.max_time = self.max_time.max(time);
    }

    fn start(&mut self, group: u64, column: u32, time: i64, start: i64) {
        if let Some(group) = self.find(group) {
            group.state.lock().put_start(column, time, start);
        }
    }

    fn exemplar(&mut self, group: u64, column: u32, exemplar: Exemplar) {
        self.head.meta.lock().add_exemplar(reference(group, column), &exemplar);
    }

    fn metadata(&mut self, name: String, metadata: Metadata) {
        self.head.meta.lock().add_metadata(&name, &metadata);
    }
}
