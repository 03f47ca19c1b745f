//! The spool: segments of records on disk, and for each destination how far it has come.
//!
//! A record is self-contained. It is in the page cache when [`Spool::append`] returns, so it survives the death of the process, and synced
//! to the disk at an interval. A torn record at the end of the newest segment is cut when the spool is opened; a damaged one costs the rest
//! of its segment, which is counted. Layout: docs/formats/spool.md.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{Batch, Metadata, TenantId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wire::remote_write::{Decoder, Message, encode};

use crate::config::{ForwardConfig, FullPolicy};
use crate::metrics::{Dropped, Metrics};

const MAGIC: &[u8; 8] = b"BWSPOOL1";
/// Length, checksum, samples.
const HEADER: usize = 12;
const SEGMENT: &str = "spool";
const CURSOR: &str = "cursor";
/// A larger record is damage.
const MAX_RECORD: usize = 512 << 20;
const COMPRESSION_LEVEL: i32 = 1;

/// The spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {path:?}, where samples wait to be forwarded")]
pub struct SpoolError {
    verb: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

impl SpoolError {
    pub(super) fn task(err: tokio::task::JoinError) -> Self {
        Self { verb: "open", path: PathBuf::new(), source: std::io::Error::other(err) }
    }
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError { verb, path, source }
}

/// A batch as bytes.
pub(super) struct Record {
    samples: u32,
    payload: Vec<u8>,
}

/// What comes before a record's message.
#[derive(Serialize, Deserialize)]
struct Head {
    tenant: String,
    metadata: Vec<(String, Metadata)>,
}

impl Record {
    /// Series are named by labels.
    pub(super) fn of(tenant: &TenantId, batch: &Batch) -> Self {
        let head = Head { tenant: tenant.as_str().to_owned(), metadata: batch.metadata().to_vec() };
        let head = serde_json::to_vec(&head).expect("texts are JSON");
        let mut plain = (head.len() as u32).to_le_bytes().to_vec();
        plain.extend_from_slice(&head);
        plain.extend_from_slice(&encode(Message::V2, batch, &|_| None));
        let payload = wire::compress::zstd(&plain, COMPRESSION_LEVEL);
        Self { samples: batch.sample_count() as u32, payload }
    }

    /// The tenant and the batch, which holds the metadata too.
    fn parse(payload: &[u8], decoder: &mut Decoder) -> Result<(TenantId, Batch), String> {
        let mut plain = Vec::new();
        wire::compress::decompress(wire::compress::Encoding::Zstd, payload, MAX_RECORD, &mut plain)
            .map_err(|err| err.to_string())?;
        let (len, rest) = plain.split_first_chunk::<4>().ok_or("a record is too short")?;
        let (head, message) =
            rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or("a record is too short")?;
        let head: Head = serde_json::from_slice(head).map_err(|err| err.to_string())?;
        let tenant = TenantId::new(&head.tenant).map_err(|err| err.to_string())?;
        let mut batch = Batch::new();
        decoder.decode(Message::V2, message, &mut batch).map_err(|err| err.to_string())?;
        for (name, metadata) in head.metadata {
            batch.push_metadata(name, metadata);
        }
        Ok((tenant, batch))
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Kept,
    /// The spool is full and its policy is to refuse.
    Full,
}

/// A place in the spool: the segment and the position in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// A cursor's file.
#[derive(Serialize, Deserialize)]
struct Saved {
    destination: String,
    at: Position,
}

struct Segment {
    file: Arc<File>,
    path: PathBuf,
    len: u64,
    samples: u64,
}

struct State {
    segments: BTreeMap<u64, Segment>,
    /// How far each destination has come.
    cursors: HashMap<String, Cursor>,
    unsynced: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    at: Position,
    /// Samples of its segment that lie before it.
    passed: u64,
}

/// Records that wait.
pub(super) struct Spool {
    folder: PathBuf,
    max_bytes: u64,
    segment_bytes: u64,
    policy: FullPolicy,
    metrics: Metrics,
    state: Mutex<State>,
    /// Rises with every record.
    news: watch::Sender<u64>,
}

/// Records that were read.
pub(super) struct Batches {
    pub(super) list: Vec<(TenantId, Batch)>,
    /// Where to go on.
    pub(super) next: Position,
    /// Samples of `next`'s segment before it.
    pub(super) passed: u64,
}

impl Spool {
    pub(super) fn open(
        config: &ForwardConfig,
        folder: PathBuf,
        metrics: Metrics,
    ) -> Result<Self, SpoolError> {
        std::fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let mut segments = BTreeMap::new();
        let mut cursors = HashMap::new();
        for entry in std::fs::read_dir(&folder).map_err(failed("read", &folder))? {
            let path = entry.map_err(failed("read", &folder))?.path();
            let (Some(stem), Some(kind)) = (
                path.file_stem().and_then(|s| s.to_str()).map(str::to_owned),
                path.extension().and_then(|e| e.to_str()),
            ) else {
                continue;
            };
            match kind {
                SEGMENT => {
                    if let Ok(number) = stem.parse::<u64>() {
                        segments.insert(number, open_segment(path)?);
                    }
                }
                CURSOR => {
                    let text = std::fs::read(&path).map_err(failed("read", &path))?;
                    match serde_json::from_slice::<Saved>(&text) {
                        Ok(saved) => {
                            cursors.insert(saved.destination, Cursor { at: saved.at, passed: 0 });
                        }
                        Err(err) => {
                            tracing::error!(?path, error = %err, "a forwarding position is damaged; its destination starts with the oldest sample");
                            cursors.insert(stem, Cursor::default());
                        }
                    }
                }
                _ => {}
            }
        }
        let max_bytes = config.spool_max_bytes.max(1 << 20);
        let this = Self {
            folder,
            max_bytes,
            // Dropping the oldest drops a segment, so that there must be several.
            segment_bytes: (max_bytes / 16).clamp(64 << 10, 64 << 20),
            policy: config.when_full,
            metrics,
            state: Mutex::new(State { segments, cursors, unsynced: false }),
            news: watch::channel(0).0,
        };
        this.show(&this.state.lock());
        Ok(this)
    }

    fn show(&self, state: &State) {
        let bytes: u64 = state.segments.values().map(|segment| segment.len).sum();
        self.metrics.forward_spool_bytes.set(bytes as i64);
        self.metrics.forward_spool_max_bytes.set(self.max_bytes as i64);
    }

    /// Rises with every record.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Forgets the positions of all other destinations, so that they hold nothing back. A new destination starts at the end.
    pub(super) fn keep_cursors(&self, names: &[String]) {
        let mut state = self.state.lock();
        let end = state.segments.last_key_value().map_or(Position::default(), |(number, segment)| Position {
            segment: *number,
            offset: segment.len,
        });
        let passed = state.segments.last_key_value().map_or(0, |(_, segment)| segment.samples);
        for name in names {
            if !state.cursors.contains_key(name) {
                state.cursors.insert(name.clone(), Cursor { at: end, passed });
                self.save(name, end);
            }
        }
        let gone: Vec<String> = state.cursors.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            state.cursors.remove(&name);
            // It may never have been written.
            drop(std::fs::remove_file(self.cursor_path(&name)));
        }
        self.collect(&mut state);
    }

    fn cursor_path(&self, name: &str) -> PathBuf {
        // A name may hold anything that a label value may.
        let safe: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' })
            .collect();
        let tag = xxhash_rust::xxh3::xxh3_64(name.as_bytes()) as u32;
        let file = if safe == name { safe } else { format!("{safe}-{tag:08x}") };
        self.folder.join(format!("{file}.{CURSOR}"))
    }

    fn save(&self, name: &str, at: Position) {
        let path = self.cursor_path(name);
        let beside = path.with_extension("new");
        let saved = Saved { destination: name.to_owned(), at };
        let text = serde_json::to_vec(&saved).expect("texts and numbers are JSON");
        let saved = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path));
        if let Err(err) = saved {
            self.metrics.warn("forward", &format!("the position of {name} cannot be kept: {err}"));
        }
    }

    /// Appends a record; blocks on the disk.
    pub(super) fn append(&self, record: &Record) -> Result<Written, SpoolError> {
        let size = (HEADER + record.payload.len()) as u64;
        let mut state = self.state.lock();
        loop {
            let bytes: u64 = state.segments.values().map(|segment| segment.len).sum();
            if bytes + size <= self.max_bytes {
                break;
            }
            if self.policy == FullPolicy::RefuseNewest || state.segments.len() <= 1 {
                // A single record that fills the spool has no place either way.
                return Ok(Written::Full);
            }
            self.drop_oldest(&mut state);
        }
        let full =
            state.segments.last_key_value().is_none_or(|(_, segment)| segment.len >= self.segment_bytes);
        if full {
            self.add_segment(&mut state)?;
        }
        let Some(mut entry) = state.segments.last_entry() else { return Ok(Written::Full) };
        let segment = entry.get_mut();
        let mut bytes = Vec::with_capacity(size as usize);
        bytes.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&record.payload).to_le_bytes());
        bytes.extend_from_slice(&record.samples.to_le_bytes());
        bytes.extend_from_slice(&record.payload);
        // Half a record would hide those behind it: what was written is cut off again.
        if let Err(err) = segment.file.write_all_at(&bytes, segment.len) {
            drop(segment.file.set_len(segment.len));
            return Err(failed("write to", &segment.path)(err));
        }
        segment.len += size;
        segment.samples += u64::from(record.samples);
        state.unsynced = true;
        self.show(&state);
        drop(state);
        self.news.send_modify(|number| *number += 1);
        Ok(Written::Kept)
    }

    fn add_segment(&self, state: &mut State) -> Result<(), SpoolError> {
        // Never a number that a cursor has been beyond.
        let newest = state.segments.last_key_value().map(|(number, _)| *number);
        let passed = state.cursors.values().map(|cursor| cursor.at.segment).max();
        let number = newest.max(passed).map_or(1, |number| number + 1);
        let path = self.folder.join(format!("{number:010}.{SEGMENT}"));
        let create = || -> std::io::Result<File> {
            let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
            file.write_all(MAGIC)?;
            Ok(file)
        };
        let file = create().map_err(failed("create", &path))?;
        let segment = Segment { file: Arc::new(file), path, len: MAGIC.len() as u64, samples: 0 };
        state.segments.insert(number, segment);
        Ok(())
    }

    /// Drops the oldest segment, and counts for every destination what it had not sent of it.
    fn drop_oldest(&self, state: &mut State) {
        let Some((number, segment)) = state.segments.pop_first() else { return };
        for cursor in state.cursors.values() {
            let lost = match cursor.at.segment.cmp(&number) {
                std::cmp::Ordering::Less => segment.samples,
                std::cmp::Ordering::Equal => segment.samples.saturating_sub(cursor.passed),
                std::cmp::Ordering::Greater => 0,
            };
            self.metrics.forward_dropped.get_or_create(&Dropped::because("spool_full_oldest")).inc_by(lost);
        }
        tracing::warn!(path = ?segment.path, "the spool is full: its oldest segment is dropped (ingest.forward.spool_max_bytes)");
        remove(&segment.path, &self.metrics);
    }

    /// Removes segments that every destination has passed.
    fn collect(&self, state: &mut State) {
        let oldest = state.cursors.values().map(|cursor| cursor.at.segment).min();
        while state.segments.len() > 1 {
            let Some((&number, segment)) = state.segments.first_key_value() else { break };
            if oldest.is_some_and(|oldest| number >= oldest) {
                break;
            }
            remove(&segment.path, &self.metrics);
            state.segments.pop_first();
        }
        self.show(state);
    }

    /// Where a destination goes on: where it was, or at the oldest segment when its own was dropped.
    pub(super) fn position(&self, name: &str) -> Position {
        let state = self.state.lock();
        let cursor = state.cursors.get(name).copied().unwrap_or_default();
        match state.segments.first_key_value() {
            Some((&number, _)) if number > cursor.at.segment => Position { segment: number, offset: 0 },
            _ => cursor.at,
        }
    }

    /// Samples that a destination has not sent yet; of a segment that was begun by an earlier process all count.
    pub(super) fn pending(&self, name: &str) -> u64 {
        let state = self.state.lock();
        let cursor = state.cursors.get(name).copied().unwrap_or_default();
        let behind = state.segments.range(cursor.at.segment..).map(|(number, segment)| {
            if *number == cursor.at.segment && cursor.at.offset >= segment.len {
                0
            } else if *number == cursor.at.segment {
                segment.samples.saturating_sub(cursor.passed)
            } else {
                segment.samples
            }
        });
        behind.sum()
    }

    /// Reads records from `at` on, until there are `max_samples` or no more; blocks on the disk.
    pub(super) fn read(&self, at: Position, passed: u64, max_samples: u64) -> Result<Batches, SpoolError> {
        let mut out = Batches { list: Vec::new(), next: at, passed };
        let mut decoder = Decoder::new(0);
        let mut samples = 0;
        while samples < max_samples {
            let found = {
                let state = self.state.lock();
                let newest = state.segments.last_key_value().map(|(number, _)| *number);
                let segment = state.segments.range(out.next.segment..).next();
                segment.map(|(number, s)| {
                    (*number, Arc::clone(&s.file), s.path.clone(), s.len, newest == Some(*number))
                })
            };
            let Some((number, file, path, len, is_newest)) = found else { break };
            if number != out.next.segment {
                (out.next, out.passed) = (Position { segment: number, offset: 0 }, 0);
            }
            let offset = out.next.offset.max(MAGIC.len() as u64);
            if offset >= len {
                if is_newest {
                    out.next.offset = offset;
                    break;
                }
                (out.next, out.passed) = (Position { segment: number + 1, offset: 0 }, 0);
                continue;
            }
            match read_record(&file, offset, len).map_err(failed("read", &path))? {
                Some((payload, count)) => {
                    out.next = Position { segment: number, offset: offset + (HEADER + payload.len()) as u64 };
                    out.passed += u64::from(count);
                    samples += u64::from(count);
                    match Record::parse(&payload, &mut decoder) {
                        Ok(parsed) => out.list.push(parsed),
                        Err(reason) => {
                            tracing::error!(?path, offset, %reason, "a record of the spool cannot be read; its samples are not forwarded");
                            let dropped = self
                                .metrics
                                .forward_dropped
                                .get_or_create(&Dropped::because("corrupt"))
                                .clone();
                            dropped.inc_by(u64::from(count));
                        }
                    }
                }
                None => {
                    tracing::error!(
                        ?path,
                        offset,
                        "the spool is damaged; the rest of this segment is not forwarded"
                    );
                    let total = self.state.lock().segments.get(&number).map_or(0, |segment| segment.samples);
                    let dropped =
                        self.metrics.forward_dropped.get_or_create(&Dropped::because("corrupt")).clone();
                    dropped.inc_by(total.saturating_sub(out.passed).max(1));
                    out.next.offset = len;
                    if is_newest {
                        break;
                    }
                }
            }
        }
        Ok(out)
    }

    /// Remembers how far a destination has come.
    pub(super) fn commit(&self, name: &str, at: Position, passed: u64) {
        let mut state = self.state.lock();
        state.cursors.insert(name.to_owned(), Cursor { at, passed });
        self.collect(&mut state);
        drop(state);
        self.save(name, at);
    }

    /// Samples of the segment of `name`'s position that lie before it.
    pub(super) fn passed(&self, name: &str) -> u64 {
        self.state.lock().cursors.get(name).map_or(0, |cursor| cursor.passed)
    }

    pub(super) async fn sync_forever(self: Arc<Self>, interval: Duration, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(100)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ends = tokio::select! {
                _ = ticks.tick() => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            let this = Arc::clone(&self);
            let synced = tokio::task::spawn_blocking(move || this.sync()).await;
            if let Ok(Err(err)) = synced {
                self.metrics.warn("forward", &err.to_string());
            }
            if ends {
                return;
            }
        }
    }

    fn sync(&self) -> Result<(), SpoolError> {
        let newest: Vec<(Arc<File>, PathBuf)> = {
            let mut state = self.state.lock();
            if !std::mem::take(&mut state.unsynced) {
                return Ok(());
            }
            // A segment that ended since the last time, too.
            state.segments.values().rev().take(2).map(|s| (Arc::clone(&s.file), s.path.clone())).collect()
        };
        for (file, path) in newest {
            file.sync_data().map_err(failed("sync", &path))?;
        }
        Ok(())
    }
}

fn remove(path: &Path, metrics: &Metrics) {
    if let Err(err) = std::fs::remove_file(path) {
        metrics.warn("forward", &format!("a segment of the spool cannot be removed: {err}"));
    }
}

/// The record at `offset`; `None` when it is damaged.
fn read_record(file: &File, offset: u64, len: u64) -> std::io::Result<Option<(Vec<u8>, u32)>> {
    let mut header = [0; HEADER];
    if offset + HEADER as u64 > len {
        return Ok(None);
    }
    file.read_exact_at(&mut header, offset)?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (size, checksum, samples) = (word(0) as usize, word(4), word(8));
    if size > MAX_RECORD || offset + (HEADER + size) as u64 > len {
        return Ok(None);
    }
    let mut payload = vec![0; size];
    file.read_exact_at(&mut payload, offset + HEADER as u64)?;
    Ok((crc32c::crc32c(&payload) == checksum).then_some((payload, samples)))
}

/// Opens a segment, counts its samples, and cuts a torn end.
fn open_segment(path: PathBuf) -> Result<Segment, SpoolError> {
    let open = || -> std::io::Result<(File, u64, u64)> {
        let mut file = File::options().read(true).write(true).open(&path)?;
        let size = file.metadata()?.len();
        let mut magic = [0; MAGIC.len()];
        if size < MAGIC.len() as u64 {
            // The process died while it was created.
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(MAGIC)?;
            return Ok((file, MAGIC.len() as u64, 0));
        }
        file.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(std::io::Error::other("it is no segment of a spool"));
        }
        let (mut at, mut samples) = (MAGIC.len() as u64, 0);
        let mut header = [0; HEADER];
        while at + HEADER as u64 <= size {
            file.read_exact_at(&mut header, at)?;
            let word =
                |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let end = at + HEADER as u64 + u64::from(word(0));
            if end > size {
                break;
            }
            samples += u64::from(word(8));
            at = end;
        }
        if at < size {
            tracing::warn!(?path, bytes = size - at, "a torn record at the end of the spool is cut off");
            file.set_len(at)?;
        }
        Ok((file, at, samples))
    };
    let (file, len, samples) = open().map_err(failed("open", &path))?;
    Ok(Segment { file: Arc::new(file), path, len, samples })
}
