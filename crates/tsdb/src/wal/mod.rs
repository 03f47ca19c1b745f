//! Write-ahead log: what the head would lose in a crash.
//!
//! A folder of segments, and beside them the series log that says which group and column is which series. Appenders put
//! records into a buffer in memory; one thread writes what has gathered as one checksummed frame, syncs it as the policy
//! says, and then tells all who wait (group commit). Replay stops at a bad frame in the last segment (a torn write, cut
//! off and counted); a bad frame in an earlier one is corruption. After a failed write the segment is cut back to its last
//! good frame and given up, and what the failed records put into memory is taken out again (`Memory`): nothing that was
//! refused is served, now or after a restart. Byte layout: docs/formats/wal.md.

pub(crate) mod frame;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod series_log;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::{Clock, Timestamp};
use parking_lot::{Condvar, Mutex};

use crate::config::{Durability, WalConfig};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// First bytes of a segment.
const MAGIC: [u8; 8] = *b"BWWAL\0\x01\0";

/// Bytes before the first frame of a segment.
pub(crate) const SEGMENT_HEADER: usize = 16;

/// What the beginning of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Frames follow.
    Whole,
    /// It was being made: its header, which is synced before anything follows, did not reach the disk whole.
    Unbegun,
    /// Something else stands where the header was.
    Damaged,
}

/// Looks at a segment's header.
pub(crate) fn start_of(bytes: &[u8]) -> Start {
    if bytes.len() < SEGMENT_HEADER || bytes.iter().all(|byte| *byte == 0) {
        Start::Unbegun
    } else if bytes.starts_with(&MAGIC) {
        Start::Whole
    } else {
        Start::Damaged
    }
}

/// A written buffer with more room than this is not kept for the next.
const MAX_SPARE: usize = 4 << 20;

type Callback = Box<dyn FnOnce(std::result::Result<(), String>) + Send>;

/// One group commit: everything that was in the buffer when it was taken.
pub(crate) struct Commit {
    number: u64,
    state: Mutex<CommitState>,
    done: Condvar,
}

#[derive(Default)]
struct CommitState {
    /// The outcome, and the number of the last commit that failed so far.
    outcome: Option<(std::result::Result<(), String>, Option<u64>)>,
    callbacks: Vec<(u64, Callback)>,
}

impl Commit {
    fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number, state: Mutex::default(), done: Condvar::new() })
    }

    /// Blocks until this commit and all since `first` are done.
    fn wait(&self, first: u64) -> Result<()> {
        let mut state = self.state.lock();
        while state.outcome.is_none() {
            self.done.wait(&mut state);
        }
        let outcome = state.outcome.as_ref().expect("the loop above waits for it");
        result_since(outcome, first).map_err(Error::ReadOnly)
    }

    fn finish(&self, outcome: std::result::Result<(), String>, last_failed: Option<u64>) {
        let mut state = self.state.lock();
        state.outcome = Some((outcome, last_failed));
        let callbacks = std::mem::take(&mut state.callbacks);
        let outcome = state.outcome.clone().expect("set above");
        drop(state);
        self.done.notify_all();
        for (first, callback) in callbacks {
            callback(result_since(&outcome, first));
        }
    }
}

fn result_since(
    (outcome, last_failed): &(std::result::Result<(), String>, Option<u64>),
    first: u64,
) -> std::result::Result<(), String> {
    outcome.clone()?;
    match last_failed {
        Some(failed) if *failed >= first => Err("a part of the batch could not be written".to_owned()),
        _ => Ok(()),
    }
}

/// What an appender waits for.
pub(crate) struct Ticket {
    first: u64,
    commit: Arc<Commit>,
}

impl Ticket {
    /// Blocks until the records are as safe as the policy says.
    ///
    /// # Errors
    /// `ReadOnly` when some were not written; nothing is acknowledged then.
    pub(crate) fn wait(&self) -> Result<()> {
        self.commit.wait(self.first)
    }

    /// Calls `done` once with what [`Ticket::wait`] would answer, perhaps at once.
    pub(crate) fn on_done(self, done: impl FnOnce(Result<()>) + Send + 'static) {
        let mut state = self.commit.state.lock();
        let answer = |outcome: std::result::Result<(), String>| done(outcome.map_err(Error::ReadOnly));
        match &state.outcome {
            Some(outcome) => {
                let outcome = result_since(outcome, self.first);
                drop(state);
                answer(outcome);
            }
            None => state.callbacks.push((self.first, Box::new(answer))),
        }
    }
}

struct Buffer {
    samples: Vec<u8>,
    series: Vec<u8>,
    commit: Arc<Commit>,
    /// Something was pushed since the buffer was taken. Series entries that stay after a failure wait for that.
    pending: bool,
    /// What was pushed before a rotation that waits: the segment is closed behind it.
    before: Option<Part>,
    closing: bool,
    /// Until when appends are refused at once, and why.
    refusing: Option<(Timestamp, String)>,
    last_failed: Option<u64>,
    /// Rises when the series log is replaced: entries made for the old one are void.
    series_log: u64,
}

/// What one commit writes.
struct Part {
    samples: Vec<u8>,
    series: Vec<u8>,
    commit: Arc<Commit>,
    /// Close the segment, and say here which number comes next.
    rotate: Option<Arc<AtomicU64>>,
}

/// A rotation under way: see [`Wal::begin_rotate`].
pub(crate) struct Rotation {
    ticket: Ticket,
    next: Arc<AtomicU64>,
}

impl Rotation {
    /// Waits until the segment is closed; the number of the next one. All that was pushed before the rotation began is in
    /// earlier segments, and nothing else is.
    ///
    /// # Errors
    /// `ReadOnly` when what was pushed before could not be written.
    pub(crate) fn wait(self) -> Result<u64> {
        self.ticket.wait()?;
        Ok(self.next.load(Ordering::Acquire))
    }
}

/// What the log's records have put into memory, as far as the log must know.
pub(crate) trait Memory: Send + Sync {
    /// Waits until no batch is under way and lets none begin; then takes out of memory again what the records that `failed`
    /// gives have put there.
    fn undo(&self, failed: &mut dyn FnMut() -> Vec<u8>);
}

struct Files {
    segment: Option<Segment>,
    /// Could not be cut back to its last good frame: nothing is written before that is done.
    uncut: Option<Segment>,
    next_number: u64,
    series: Option<series_log::SeriesLog>,
    dirty: bool,
    last_sync: Instant,
}

struct Segment {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    len: u64,
}

struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    config: WalConfig,
    min_free_bytes: u64,
    disk_retry_ms: i64,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// Rises when the segment changes: bases of values start anew.
    epoch: AtomicU32,
    buffer: Mutex<Buffer>,
    wake: Condvar,
    room: Condvar,
    files: Mutex<Files>,
    memory: Arc<dyn Memory>,
}

/// The write-ahead log of one tenant, and the thread that writes it.
pub(crate) struct Wal {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What [`Wal::start`] needs.
pub(crate) struct WalArgs {
    pub(crate) disk: Arc<dyn Disk>,
    /// The tenant's WAL folder; it exists.
    pub(crate) dir: PathBuf,
    pub(crate) config: WalConfig,
    pub(crate) min_free_bytes: u64,
    pub(crate) disk_retry_ms: i64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    /// Number of the first segment to write: after every one that exists.
    pub(crate) next_number: u64,
    pub(crate) series_log: series_log::SeriesLog,
    pub(crate) memory: Arc<dyn Memory>,
}

/// The path of a segment.
pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.wal"))
}

/// The number in a segment's file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(".wal")?.parse().ok()
}

impl Wal {
    /// Starts the writing thread. The first segment is created with the first record.
    ///
    /// # Errors
    /// `Io` when the thread cannot be started.
    pub(crate) fn start(args: WalArgs) -> Result<Self> {
        let shared = Arc::new(Shared {
            epoch: AtomicU32::new(1),
            buffer: Mutex::new(Buffer {
                samples: Vec::new(),
                series: Vec::new(),
                commit: Commit::new(0),
                pending: false,
                before: None,
                closing: false,
                refusing: None,
                last_failed: None,
                series_log: 0,
            }),
            wake: Condvar::new(),
            room: Condvar::new(),
            memory: args.memory,
            files: Mutex::new(Files {
                segment: None,
                uncut: None,
                next_number: args.next_number,
                series: Some(args.series_log),
                dirty: false,
                last_sync: Instant::now(),
            }),
            disk: args.disk,
            dir: args.dir,
            config: args.config,
            min_free_bytes: args.min_free_bytes,
            disk_retry_ms: args.disk_retry_ms,
            clock: args.clock,
            metrics: args.metrics,
        });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("wal".to_owned())
            .spawn(move || worker.run())
            .map_err(Error::io("start a thread for", &shared.dir))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether an append may start; waits while the disk is slow.
    ///
    /// # Errors
    /// `ReadOnly` while the disk refuses, or when it is too slow for `queue_timeout`.
    pub(crate) fn admit(&self) -> Result<()> {
        let shared = &*self.shared;
        let mut buffer = shared.buffer.lock();
        if buffer.closing {
            return Err(Error::Closed);
        }
        let refused = |why: String| {
            shared.metrics.appends_unavailable.inc();
            Err(Error::ReadOnly(why))
        };
        if let Some((until, why)) = &buffer.refusing {
            let now = shared.clock.now();
            // A clock that jumped back must not refuse for hours.
            if now < *until && *until - now <= shared.disk_retry_ms {
                return refused(why.clone());
            }
        }
        let deadline = Instant::now() + shared.config.queue_timeout.to_std();
        while buffer.waiting() > shared.config.queue_bytes {
            if shared.room.wait_until(&mut buffer, deadline).timed_out() {
                drop(buffer);
                return refused("the disk is too slow for the samples that arrive; try again later".into());
            }
        }
        Ok(())
    }

    /// Whether [`Wal::admit`] would have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.buffer.lock().waiting() > self.shared.config.queue_bytes
    }

    /// The epoch in which records are to be encoded.
    pub(crate) fn epoch(&self) -> u32 {
        self.shared.epoch.load(Ordering::Acquire)
    }

    /// Starts a batch: what [`Wal::ticket`] needs.
    pub(crate) fn begin(&self) -> u64 {
        self.shared.buffer.lock().commit.number
    }

    /// Adds records encoded in `epoch`.
    ///
    /// # Errors
    /// The new epoch, when it has changed: encode again.
    pub(crate) fn push(&self, records: &[u8], epoch: u32) -> std::result::Result<(), u32> {
        let mut buffer = self.shared.buffer.lock();
        let now = self.epoch();
        if epoch != now {
            return Err(now);
        }
        buffer.samples.extend_from_slice(records);
        buffer.pending = true;
        Ok(())
    }

    /// Adds entries of the series log; they are written before any record pushed later.
    pub(crate) fn push_series(&self, entries: &[u8]) {
        let mut buffer = self.shared.buffer.lock();
        buffer.series.extend_from_slice(entries);
        buffer.pending = true;
    }

    /// Ends a batch that began with `first`: its records are on their way.
    pub(crate) fn ticket(&self, first: u64) -> Ticket {
        let mut buffer = self.shared.buffer.lock();
        let commit = Arc::clone(&buffer.commit);
        // The records may be in a commit that was taken already: this one, though empty, is done after it.
        buffer.pending = true;
        drop(buffer);
        self.shared.wake.notify_one();
        Ticket { first, commit }
    }

    /// Starts to close the segment behind all that was pushed so far. One at a time: the caller holds the tenant's work.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn begin_rotate(&self) -> Result<Rotation> {
        let mut buffer = self.shared.buffer.lock();
        if buffer.closing {
            return Err(Error::Closed);
        }
        let next = Arc::new(AtomicU64::new(0));
        let part = buffer.take(Some(Arc::clone(&next)));
        let ticket = Ticket { first: part.commit.number, commit: Arc::clone(&part.commit) };
        assert!(buffer.before.replace(part).is_none(), "one rotation at a time");
        // What is pushed from now on goes into the next segment.
        self.shared.epoch.fetch_add(1, Ordering::AcqRel);
        drop(buffer);
        self.shared.wake.notify_one();
        Ok(Rotation { ticket, next })
    }

    /// Removes segments with numbers below `number`; the last segment in use stays.
    ///
    /// # Errors
    /// `Io` when a file cannot be removed.
    pub(crate) fn remove_before(&self, number: u64) -> Result<()> {
        let shared = &*self.shared;
        let files = shared.files.lock();
        let mut removed = false;
        for entry in shared.disk.list(&shared.dir).map_err(Error::io("list", &shared.dir))? {
            if segment_number(&entry.name).is_some_and(|n| n < number && n < files.next_number) {
                let path = shared.dir.join(&entry.name);
                if files.segment.as_ref().is_some_and(|segment| segment.path == path) {
                    continue;
                }
                shared.disk.remove_file(&path).map_err(Error::io("remove", &path))?;
                removed = true;
            }
        }
        if removed {
            shared.disk.sync_dir(&shared.dir).map_err(Error::io("sync", &shared.dir))?;
        }
        Ok(())
    }

    /// Replaces the series log by one that `write` fills, with nothing being written meanwhile. Entries that wait are
    /// dropped: the caller's snapshot holds them. The caller must keep new series out while this runs.
    ///
    /// # Errors
    /// `Io`; the old log stays in use then, and so do the entries that wait.
    pub(crate) fn replace_series_log(
        &self,
        write: impl FnOnce() -> Result<series_log::SeriesLog>,
    ) -> Result<()> {
        let mut buffer = self.shared.buffer.lock();
        let mut files = self.shared.files.lock();
        files.series = Some(write()?);
        buffer.series.clear();
        buffer.series_log += 1;
        Ok(())
    }
}

impl Drop for Wal {
    /// Writes and syncs what waits.
    fn drop(&mut self) {
        self.shared.buffer.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the write-ahead log's thread has panicked");
        }
    }
}

impl Buffer {
    /// Bytes that wait to be written.
    fn waiting(&self) -> u64 {
        let before = self.before.as_ref().map_or(0, |part| part.samples.len() + part.series.len());
        (self.samples.len() + self.series.len() + before) as u64
    }

    /// Takes what has gathered as one commit.
    fn take(&mut self, rotate: Option<Arc<AtomicU64>>) -> Part {
        self.pending = false;
        let next = Commit::new(self.commit.number + 1);
        Part {
            samples: std::mem::take(&mut self.samples),
            series: std::mem::take(&mut self.series),
            commit: std::mem::replace(&mut self.commit, next),
            rotate,
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let mut buffer = self.buffer.lock();
            let idle = |b: &Buffer| !b.pending && b.before.is_none();
            while idle(&buffer) && !buffer.closing {
                if self.config.durability == Durability::Interval && self.files.lock().dirty {
                    let wait = self.config.sync_interval.to_std().max(Duration::from_millis(1));
                    if self.wake.wait_for(&mut buffer, wait).timed_out() {
                        break;
                    }
                } else {
                    self.wake.wait(&mut buffer);
                }
            }
            let closing = buffer.closing && idle(&buffer);
            let mut part = match buffer.before.take() {
                Some(part) => part,
                None => buffer.take(None),
            };
            let series_log = buffer.series_log;
            let mut files = self.files.lock();
            let full = part.rotate.is_none()
                && files.segment.as_ref().is_some_and(|segment| {
                    segment.len + (part.samples.len() + frame::HEADER) as u64 >= self.config.segment_bytes
                });
            if full {
                self.epoch.fetch_add(1, Ordering::AcqRel);
            }
            drop(buffer);
            self.room.notify_all();
            self.metrics.wal_queue_bytes.set((part.samples.len() + part.series.len()) as i64);

            let started = Instant::now();
            let close = part.rotate.is_some() || full || closing;
            let outcome = files
                .write(self, &part.samples, &mut part.series)
                .and_then(|()| if close { files.close_segment(self) } else { files.sync_if_due(self) });
            match &outcome {
                Ok(()) => {
                    if let Some(next) = &part.rotate {
                        next.store(files.next_number, Ordering::Release);
                    }
                }
                Err(_) => files.abandon_segment(),
            }
            drop(files);
            if !part.samples.is_empty() {
                self.metrics.wal_commit_seconds.observe(started.elapsed().as_secs_f64());
            }
            match outcome {
                Ok(()) => {
                    let mut buffer = self.buffer.lock();
                    buffer.refusing = None;
                    let last_failed = buffer.last_failed;
                    drop(buffer);
                    part.commit.finish(Ok(()), last_failed);
                    self.spare(part.samples);
                }
                Err(err) => self.fail(part, &err, series_log),
            }
            if closing {
                return;
            }
        }
    }

    /// Keeps the memory of a written buffer for the next.
    fn spare(&self, mut written: Vec<u8>) {
        written.clear();
        let mut buffer = self.buffer.lock();
        if buffer.samples.capacity() == 0 && written.capacity() <= MAX_SPARE {
            buffer.samples = written;
        }
    }

    /// After a failed write: takes what was to be logged out of memory, tells those who wait, refuses for a while.
    fn fail(&self, part: Part, err: &Error, series_log: u64) {
        let why = describe(err);
        tracing::warn!(dir = %self.dir.display(), error = %why, "cannot write to the write-ahead log");
        self.metrics.wal_failures.inc();
        self.buffer.lock().refusing = Some((self.clock.now() + self.disk_retry_ms, why.clone()));
        let Part { mut samples, series, commit, .. } = part;
        let mut lost = Vec::new();
        self.memory.undo(&mut || {
            let mut buffer = self.buffer.lock();
            // Records pushed meanwhile have bases that were not written: they fail too, and so does a rotation.
            self.epoch.fetch_add(1, Ordering::AcqRel);
            let mut entries = Vec::new();
            if let Some(mut before) = buffer.before.take() {
                samples.append(&mut before.samples);
                entries.append(&mut before.series);
                lost.push(before.commit);
            }
            let mut rest = buffer.take(None);
            samples.append(&mut rest.samples);
            entries.append(&mut rest.series);
            buffer.last_failed = Some(rest.commit.number);
            lost.push(rest.commit);
            // Series stay known, and their entries wait for the next write. What is left of `series` is not in its log yet.
            if buffer.series_log == series_log {
                buffer.series = series.clone();
            }
            buffer.series.append(&mut entries);
            std::mem::take(&mut samples)
        });
        self.room.notify_all();
        for commit in std::iter::once(commit).chain(lost) {
            commit.finish(Err(why.clone()), Some(commit.number));
        }
    }
}

/// An error and its causes, in one line.
pub(crate) fn describe(err: &Error) -> String {
    let mut text = err.to_string();
    let mut next = std::error::Error::source(err);
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

impl Files {
    /// Writes series entries, which are then gone from `series`, and samples.
    fn write(&mut self, shared: &Shared, samples: &[u8], series: &mut Vec<u8>) -> Result<()> {
        if !series.is_empty() {
            let log = self.series.as_mut().ok_or(Error::Closed)?;
            log.append(series, shared.config.durability == Durability::Always)?;
            self.dirty = true;
            shared.metrics.wal_written_bytes.inc_by(series.len() as u64);
            series.clear();
        }
        if samples.is_empty() {
            return Ok(());
        }
        if let Some(mut segment) = self.uncut.take()
            && let Err(err) = cut_back(&mut segment)
        {
            let err = Error::io("cut", &segment.path)(err);
            self.uncut = Some(segment);
            return Err(err);
        }
        if self.segment.is_none() {
            self.segment = Some(self.create_segment(shared)?);
        }
        let segment = self.segment.as_mut().expect("created above");
        let mut bytes = Vec::new();
        frame::put(&mut bytes, samples);
        segment.file.write_all(&bytes).map_err(Error::io("write", &segment.path))?;
        if shared.config.durability == Durability::Always {
            segment.file.sync().map_err(Error::io("sync", &segment.path))?;
        }
        segment.len += bytes.len() as u64;
        self.dirty = true;
        shared.metrics.wal_written_bytes.inc_by(bytes.len() as u64);
        Ok(())
    }

    fn create_segment(&mut self, shared: &Shared) -> Result<Segment> {
        let free = shared.disk.free_bytes(&shared.dir).map_err(Error::io("look for room in", &shared.dir))?;
        if free < shared.min_free_bytes {
            return Err(Error::ReadOnly(format!(
                "the disk of {:?} has {free} bytes left and storage.min_free_bytes is {}; make room",
                shared.dir, shared.min_free_bytes
            )));
        }
        let number = self.next_number;
        let path = segment_path(&shared.dir, number);
        let mut file = shared.disk.create(&path).map_err(Error::io("create", &path))?;
        self.next_number += 1;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&number.to_le_bytes());
        let made = (|| {
            file.reserve(shared.config.segment_bytes).map_err(Error::io("reserve room for", &path))?;
            file.write_all(&header).map_err(Error::io("write", &path))?;
            file.sync().map_err(Error::io("sync", &path))?;
            shared.disk.sync_dir(&shared.dir).map_err(Error::io("sync", &shared.dir))
        })();
        if let Err(err) = made {
            if let Err(left) = shared.disk.remove_file(&path) {
                tracing::warn!(path = %path.display(), error = %left, "cannot remove a segment that was not begun");
            }
            return Err(err);
        }
        Ok(Segment { path, file, len: SEGMENT_HEADER as u64 })
    }

    fn close_segment(&mut self, shared: &Shared) -> Result<()> {
        if let Some(mut segment) = self.segment.take() {
            // Give back what was reserved and not used.
            segment.file.truncate(segment.len).map_err(Error::io("cut", &segment.path))?;
            if shared.config.durability != Durability::Os {
                segment.file.sync().map_err(Error::io("sync", &segment.path))?;
            }
        }
        // Under every policy: a seal follows, and what it writes is nothing without its series.
        if let Some(log) = self.series.as_mut() {
            log.sync()?;
        }
        self.dirty = false;
        Ok(())
    }

    fn sync_if_due(&mut self, shared: &Shared) -> Result<()> {
        if shared.config.durability != Durability::Interval
            || !self.dirty
            || self.last_sync.elapsed() < shared.config.sync_interval.to_std()
        {
            return Ok(());
        }
        if let Some(log) = self.series.as_mut() {
            log.sync()?;
        }
        if let Some(segment) = self.segment.as_mut() {
            segment.file.sync().map_err(Error::io("sync", &segment.path))?;
        }
        self.dirty = false;
        self.last_sync = Instant::now();
        Ok(())
    }

    /// After a failure: the segment ends at its last good frame and is not written again.
    fn abandon_segment(&mut self) {
        if let Some(mut segment) = self.segment.take()
            && let Err(err) = cut_back(&mut segment)
        {
            tracing::warn!(path = %segment.path.display(), error = %err, "cannot cut a segment back to its last good frame; nothing is written before that is done");
            self.uncut = Some(segment);
        }
    }
}

fn cut_back(segment: &mut Segment) -> std::io::Result<()> {
    segment.file.truncate(segment.len)?;
    segment.file.sync()
}
