//! Events: what happened to this host and why, each once, in order, kept in memory and on disk.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Clock, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Events kept in memory, and lines of the file after which it is written anew with these.
const KEPT: usize = 5_000;
const MAX_LINES: usize = 4 * KEPT;
/// Longest text kept of an event.
const MAX_TEXT: usize = 1_024;

/// How serious an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Needs attention soon.
    Warning,
    /// Something is broken.
    Critical,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number; ascending, never used twice while the state file exists.
    pub seq: u64,
    /// When it happened, in milliseconds since the epoch.
    pub time: i64,
    /// What kind: `process_exit`, `process_restart_loop`, `oom_kill`, `kernel`, `mount_stalled`, `power`, …
    pub kind: String,
    /// How serious it is.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// Details by name: group, unit, signal, device, …
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How many equal ones this stands for.
    #[serde(default = "one")]
    pub count: u64,
}

fn one() -> u64 {
    1
}

/// The events of this host. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Mutex<Log>>,
    clock: Arc<dyn Clock>,
    /// The number of the last event.
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Log {
    events: VecDeque<Event>,
    next: u64,
    path: Option<PathBuf>,
    file: Option<File>,
    lines: usize,
    /// Counted by kind, since the start.
    counts: BTreeMap<String, u64>,
    write_errors: u64,
}

impl Events {
    /// Events in memory, and in `path` when one is given. What is in the file already is read.
    ///
    /// # Errors
    /// When the file cannot be opened; damaged lines are passed over with a warning.
    pub fn open(path: Option<&Path>, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let mut log = Log { next: 1, ..Log::default() };
        if let Some(path) = path {
            log.load(path)?;
        }
        let last = watch::Sender::new(log.next - 1);
        Ok(Self { inner: Arc::new(Mutex::new(log)), clock, last })
    }

    /// Notes an event.
    pub fn add(&self, kind: &str, severity: Severity, message: String, labels: &[(&str, &str)]) {
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        let event = Event {
            seq: 0,
            time: self.clock.now().ms(),
            kind: kind.to_owned(),
            severity,
            message: cut(message),
            labels: labels.map(|(name, value)| ((*name).to_owned(), cut((*value).to_owned()))).collect(),
            count: 1,
        };
        let seq = self.inner.lock().push(event);
        self.last.send_replace(seq);
    }

    /// Counts one more of the last event with this kind and these labels when it is younger than `window_ms`; `false` when
    /// there is none.
    pub fn fold(&self, kind: &str, labels: &[(&str, &str)], window_ms: i64) -> bool {
        let now = self.clock.now().ms();
        let mut log = self.inner.lock();
        let wanted = labels.iter().filter(|(_, value)| !value.is_empty());
        let wanted: BTreeMap<&str, &str> = wanted.copied().collect();
        let found =
            log.events.iter_mut().rev().take_while(|event| now - event.time <= window_ms).find(|event| {
                event.kind == kind
                    && event.labels.len() == wanted.len()
                    && event
                        .labels
                        .iter()
                        .all(|(name, value)| wanted.get(name.as_str()) == Some(&value.as_str()))
            });
        match found {
            Some(event) => {
                event.count += 1;
                *log.counts.entry(kind.to_owned()).or_default() += 1;
                true
            }
            None => false,
        }
    }

    /// Events with a number above `after`, oldest first, at most the last `limit`.
    pub fn since(&self, after: u64, limit: usize) -> Vec<Event> {
        let log = self.inner.lock();
        let newer = log.events.iter().rev().take_while(|event| event.seq > after).take(limit);
        let mut events: Vec<Event> = newer.cloned().collect();
        events.reverse();
        events
    }

    /// Changes when an event is added; holds its number.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// How many there were by kind since the start, folded ones included; and how often the file could not be written.
    pub(crate) fn counts(&self) -> (BTreeMap<String, u64>, u64) {
        let log = self.inner.lock();
        (log.counts.clone(), log.write_errors)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("last", &*self.last.borrow()).finish_non_exhaustive()
    }
}

impl Log {
    fn load(&mut self, path: &Path) -> std::io::Result<()> {
        let mut damaged = 0;
        match File::open(path) {
            Ok(file) => {
                for line in BufReader::new(file).split(b'\n') {
                    self.lines += 1;
                    match serde_json::from_slice::<Event>(&line?) {
                        Ok(event) => {
                            self.next = self.next.max(event.seq + 1);
                            self.events.push_back(event);
                        }
                        Err(_) => damaged += 1,
                    }
                    if self.events.len() > KEPT {
                        self.events.pop_front();
                    }
                }
            }
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
        if damaged > 0 {
            tracing::warn!(path = %path.display(), damaged, "lines of the event file cannot be read and are passed over");
        }
        self.path = Some(path.to_owned());
        self.file = Some(OpenOptions::new().create(true).append(true).open(path)?);
        Ok(())
    }

    fn push(&mut self, mut event: Event) -> u64 {
        event.seq = self.next;
        self.next += 1;
        *self.counts.entry(event.kind.clone()).or_default() += 1;
        if let Err(err) = self.write(&event) {
            self.write_errors += 1;
            if self.write_errors == 1 {
                tracing::warn!(error = %err, "an event cannot be written to the event file; it is kept in memory");
            }
        }
        let seq = event.seq;
        self.events.push_back(event);
        if self.events.len() > KEPT {
            self.events.pop_front();
        }
        seq
    }

    fn write(&mut self, event: &Event) -> std::io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.lines >= MAX_LINES {
            // The newest, beside it, then in its place.
            let fresh = path.with_extension("new");
            let mut file = File::create(&fresh)?;
            for kept in &self.events {
                writeln!(file, "{}", serde_json::to_string(kept)?)?;
            }
            std::fs::rename(&fresh, path)?;
            self.file = Some(OpenOptions::new().append(true).open(path)?);
            self.lines = self.events.len();
        }
        if let Some(file) = &mut self.file {
            writeln!(file, "{}", serde_json::to_string(event)?)?;
            self.lines += 1;
        }
        Ok(())
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_a_restart_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let open = || Events::open(Some(&path), Arc::new(model::time::SystemClock)).unwrap();
        let events = open();
        events.add("kernel", Severity::Warning, "one".into(), &[("device", "sda"), ("empty", "")]);
        assert!(events.fold("kernel", &[("device", "sda")], 60_000));
        assert!(!events.fold("kernel", &[("device", "sdb")], 60_000));
        events.add("power", Severity::Info, "two".into(), &[]);
        drop(events);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":3,").unwrap();
        let events = open();
        let kept = events.since(0, 10);
        assert_eq!(kept.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(kept[0].labels.len(), 1);
        events.add("power", Severity::Info, "three".into(), &[]);
        assert_eq!(events.since(2, 10).len(), 1);
        assert_eq!(*events.watch().borrow(), 3);
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let open = || Events::open(Some(&path), Arc::new(model::time::SystemClock)).unwrap();
        open().add("kernel", Severity::Info, "one".into(), &[]);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"\xff\xfe no text\n{}\n").unwrap();
        open().add("kernel", Severity::Info, "two".into(), &[]);
        let texts: Vec<String> = open().since(0, 10).iter().map(|event| event.message.clone()).collect();
        assert_eq!(texts, ["one", "two"]);
    }

    #[test]
    fn the_file_does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let events = Events::open(Some(&path), Arc::new(model::time::SystemClock)).unwrap();
        for i in 0..(MAX_LINES + 10) {
            events.add("kernel", Severity::Info, format!("{i}"), &[]);
        }
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= KEPT + 10, "{lines}");
        assert_eq!(events.since(0, usize::MAX).len(), KEPT);
    }
}
