//! What happened: every change of an alert, every decision about it, every attempt to tell somebody, in a SQLite file.
//!
//! Events go through a queue to one thread that commits what waits, together. Who has many takes a [`Turn`] first: it waits
//! until the queue is short enough, so that a storm goes as fast as the disk and nothing is dropped. A disk that stands
//! still holds nobody up for longer than [`PATIENCE`]: then events are dropped at twice the bound, and counted. Bounded in
//! time and number. Unlike the state file, an event may be lost in a power cut (`synchronous=NORMAL`), never the file.

mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use model::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use tokio::sync::{MutexGuard, Notify};

use self::writer::{Message, Row};
use crate::config::settings::HistorySettings;
use crate::error::Error;
use crate::metrics::{Metrics, ReasonLabel};

/// A disk that stands still holds nobody up for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many events take one turn of [`History::note_all`].
const TURN_EVENTS: usize = 1000;
/// What is newer is not understood.
const VERSION: i64 = 1;
/// An answer has at most so many events.
pub const MAX_ANSWER: usize = 10_000;

/// Kinds with the names that they have in JSON and in the file.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal),* $(,)?) => {
        /// What kind of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            const NAMES: &[&str] = &[$($name),*];

            /// As in JSON and in the file.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The name that a newer or older version has written, if this one knows it.
            fn known(name: &str) -> &'static str {
                Self::NAMES.iter().find(|known| **known == name).copied().unwrap_or("unknown")
            }
        }
    };
}

kinds! {
    /// An alert began to fire.
    Firing = "firing",
    /// An alert resolved.
    Resolved = "resolved",
    /// An alert joined a group.
    Grouped = "grouped",
    /// An alert was kept back: silenced, inhibited or outside the hours.
    Suppressed = "suppressed",
    /// An attempt succeeded.
    Delivered = "delivered",
    /// An attempt failed.
    AttemptFailed = "attempt_failed",
    /// A notification was given up.
    GivenUp = "given_up",
    /// A silence was made, changed or ended.
    Silence = "silence",
    /// A receiver was tried out.
    Test = "test",
    /// The configuration was loaded or refused.
    Config = "config",
    /// Something was refused because of a bound.
    Shed = "shed",
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its place in the history, rising; 0 until it is stored.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: &'static str,
    /// Which alert, in hexadecimal; empty when it is about none or many.
    pub fingerprint: String,
    /// Its name.
    pub alertname: String,
    /// Which group.
    pub group_key: String,
    /// Which receiver.
    pub receiver: String,
    /// The rest.
    pub detail: serde_json::Value,
}

impl Event {
    /// An event about nothing in particular.
    pub fn new(at: Timestamp, kind: Kind, detail: serde_json::Value) -> Self {
        Self {
            id: 0,
            at,
            kind: kind.as_str(),
            fingerprint: String::new(),
            alertname: String::new(),
            group_key: String::new(),
            receiver: String::new(),
            detail,
        }
    }

    /// About this alert.
    pub fn alert(mut self, alert: &model::Alert) -> Self {
        self.fingerprint = format!("{:016x}", alert.labels.fingerprint());
        self.alertname = alert.name().to_owned();
        self
    }

    /// About this group and receiver.
    pub fn group(mut self, key: &str, receiver: &str) -> Self {
        self.group_key = key.to_owned();
        self.receiver = receiver.to_owned();
        self
    }
}

/// An event as it is read.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its place in the history.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: &'static str,
    /// Which alert, in hexadecimal; empty when it is about none or many.
    pub fingerprint: &'a str,
    /// Its name.
    pub alertname: &'a str,
    /// Which group.
    pub group_key: &'a str,
    /// Which receiver.
    pub receiver: &'a str,
    /// The rest, as JSON.
    pub detail: &'a str,
}

impl Seen<'_> {
    /// The event, to be kept.
    fn event(&self) -> Event {
        Event {
            id: self.id,
            at: self.at,
            kind: self.kind,
            fingerprint: self.fingerprint.to_owned(),
            alertname: self.alertname.to_owned(),
            group_key: self.group_key.to_owned(),
            receiver: self.receiver.to_owned(),
            detail: serde_json::from_str(self.detail)
                .unwrap_or_else(|_| serde_json::Value::String(self.detail.to_owned())),
        }
    }
}

/// Which events are wanted; empty texts mean any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Not before.
    pub start: Option<i64>,
    /// Not after.
    pub end: Option<i64>,
    /// Of this alert.
    pub fingerprint: String,
    /// Of alerts of this name.
    pub alertname: String,
    /// Of this group.
    pub group_key: String,
    /// Of this receiver.
    pub receiver: String,
    /// Of these kinds, separated by commas.
    pub kind: String,
    /// Older than this event: the next page after one that ended with it.
    pub before: Option<i64>,
    /// At most so many, the newest; 0: [`MAX_ANSWER`].
    pub limit: usize,
}

/// One alert name's figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Noise {
    /// The alert's name.
    pub alertname: String,
    /// How often one of its alerts began to fire.
    pub fired: u64,
    /// Notifications about them alone.
    pub delivered: u64,
}

/// The history. Cheap to share in an [`Arc`].
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    queue: Option<Sender<Message>>,
    writer: Option<JoinHandle<()>>,
    reader: Arc<Mutex<Connection>>,
    waiting: Arc<Waiting>,
    /// Who has many events goes one after the other.
    turns: tokio::sync::Mutex<()>,
    metrics: Metrics,
}

/// The events that wait for the disk.
#[derive(Debug)]
struct Waiting {
    events: AtomicUsize,
    bound: usize,
    /// Fewer wait than the bound.
    room: Notify,
    /// Somebody has waited in vain; until there is room again nobody else does.
    stuck: AtomicBool,
}

impl Waiting {
    fn full(&self) -> bool {
        self.events.load(Ordering::Acquire) >= self.bound
    }

    /// Some have been written, or could not be.
    fn done(&self, events: usize) {
        self.events.fetch_sub(events, Ordering::AcqRel);
        if !self.full() {
            self.stuck.store(false, Ordering::Release);
            self.room.notify_waiters();
        }
    }
}

/// There is room, and nobody else takes it meanwhile.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a History, #[expect(dead_code, reason = "it is held")] MutexGuard<'a, ()>);

impl Turn<'_> {
    /// Notes events.
    pub(crate) fn note(self, events: Vec<Event>) {
        self.0.push(events);
    }
}

impl History {
    /// Opens or creates the file. One that is no database, or is damaged, is set aside under another name, so that alerts
    /// go on; an error is logged, and the new history begins with it. Blocks.
    ///
    /// # Errors
    /// When it cannot be opened or was written by a newer version.
    pub fn open(path: &Path, settings: &HistorySettings, metrics: Metrics) -> Result<Self, Error> {
        let (writer, damaged) = match prepare(path) {
            Ok(writer) => (writer, None),
            Err(err) if is_damaged(&err) => {
                let aside = set_aside(path)?;
                tracing::error!(?path, ?aside, error = %err, "the alert history is damaged; it was set aside and a new one begins");
                (prepare(path).map_err(|source| failed(path, "opening", source))?, Some((aside, err)))
            }
            Err(source) => return Err(failed(path, "opening", source)),
        };
        let version: i64 = writer
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(|source| failed(path, "opening", source))?;
        if version > VERSION {
            let text = format!(
                "the alert history {} was written by a newer version ({version}, this one knows {VERSION}); start that version, or move the file away",
                path.display()
            );
            return Err(Error::Invalid(text));
        }
        set_private(path);
        let reader = connect(path).map_err(|source| failed(path, "opening", source))?;
        #[expect(clippy::disallowed_methods, reason = "`push` bounds it, by events: messages hold many")]
        let (queue, messages) = channel();
        let waiting = Arc::new(Waiting {
            events: AtomicUsize::new(0),
            bound: settings.queue_length.max(1),
            room: Notify::new(),
            stuck: AtomicBool::new(false),
        });
        let (settings, counted, seen) = (settings.clone(), metrics.clone(), Arc::clone(&waiting));
        let writer = std::thread::Builder::new()
            .name("alert-history".into())
            .spawn(move || writer::write(writer, &messages, &settings, &counted, &seen))
            .map_err(|source| Error::File { what: "alert history", path: path.to_owned(), source })?;
        let history = Self {
            path: path.to_owned(),
            queue: Some(queue),
            writer: Some(writer),
            reader: Arc::new(Mutex::new(reader)),
            waiting,
            turns: tokio::sync::Mutex::default(),
            metrics,
        };
        if let Some((aside, err)) = damaged {
            let detail = serde_json::json!({ "historySetAside": aside, "error": err.to_string() });
            history.note(Event::new(aside_time(), Kind::Config, detail));
        }
        Ok(history)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes one event without waiting: for those that people cause, one at a time.
    pub fn note(&self, event: Event) {
        self.push(vec![event]);
    }

    /// Notes events as fast as the disk takes them.
    pub async fn note_all(&self, mut events: Vec<Event>) {
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(TURN_EVENTS));
            self.turn().await.note(events);
            events = rest;
        }
    }

    /// Waits for room. A disk that stands still is waited for once, until there is room again.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        let guard = self.turns.lock().await;
        let room = async {
            loop {
                // Before the look, so that room made after it is heard of.
                let room = self.waiting.room.notified();
                if !self.waiting.full() {
                    return;
                }
                room.await;
            }
        };
        if self.waiting.full()
            && !self.waiting.stuck.load(Ordering::Acquire)
            && tokio::time::timeout(PATIENCE, room).await.is_err()
        {
            self.waiting.stuck.store(true, Ordering::Release);
            tracing::error!(path = ?self.path, "the disk of the alert history stands still; further events may be dropped");
        }
        Turn(self, guard)
    }

    fn push(&self, events: Vec<Event>) {
        let Some(queue) = &self.queue else { return };
        let count = events.len();
        let lost = |reason| {
            self.metrics.history_dropped.get_or_create(&ReasonLabel { reason }).inc_by(count as u64);
        };
        if self.waiting.events.load(Ordering::Acquire) >= 2 * self.waiting.bound {
            return lost("queue_full");
        }
        self.waiting.events.fetch_add(count, Ordering::AcqRel);
        self.metrics.history_queue.inc_by(count as i64);
        // As text: a tree of JSON takes several times the memory.
        let rows = events.into_iter().map(Row::from).collect();
        if queue.send(Message::Events(rows)).is_err() {
            self.waiting.done(count);
            lost("disk");
        }
    }

    /// Waits until everything noted so far can be asked for. Blocks.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if let Some(queue) = &self.queue
            && queue.send(Message::Flush(done)).is_ok()
            && wait.recv().is_err()
        {
            tracing::warn!("the writer of the alert history has ended");
        }
    }

    /// The newest events that fit, newest first. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn query(&self, query: &Query) -> Result<Vec<Event>, Error> {
        let limit = if query.limit == 0 { MAX_ANSWER } else { query.limit.min(MAX_ANSWER) };
        let mut events = Vec::new();
        self.select(query, "DESC", limit, |seen| events.push(seen.event()))?;
        Ok(events)
    }

    /// Shows the oldest events that fit to `take`, oldest first, at most `max`; how many there were. None is kept. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn scan(&self, query: &Query, max: usize, mut take: impl FnMut(&Seen<'_>)) -> Result<usize, Error> {
        let mut count = 0;
        self.select(query, "ASC", max, |seen| {
            take(seen);
            count += 1;
        })?;
        Ok(count)
    }

    fn select(
        &self,
        query: &Query,
        order: &str,
        limit: usize,
        mut take: impl FnMut(&Seen<'_>),
    ) -> Result<(), Error> {
        let db = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        // An equality that is not asked for must not be in the statement, or no index is used for it.
        let mut wanted = vec!["at >= ?1 AND at <= ?2 AND id < ?3".to_owned()];
        let mut values: Vec<rusqlite::types::Value> = vec![
            query.start.unwrap_or(i64::MIN).into(),
            query.end.unwrap_or(i64::MAX).into(),
            query.before.unwrap_or(i64::MAX).into(),
        ];
        let kinds: Vec<&str> = query.kind.split(',').map(str::trim).filter(|kind| !kind.is_empty()).collect();
        for (column, text) in [
            ("fingerprint", &query.fingerprint),
            ("alertname", &query.alertname),
            ("group_key", &query.group_key),
            ("receiver", &query.receiver),
        ] {
            if !text.is_empty() {
                values.push(text.clone().into());
                // The second half lets the partial index of this column be used.
                wanted.push(format!("{column} = ?{} AND {column} <> ''", values.len()));
            }
        }
        if !kinds.is_empty() {
            let mut places = Vec::new();
            for kind in kinds {
                values.push(kind.to_owned().into());
                places.push(format!("?{}", values.len()));
            }
            wanted.push(format!("kind IN ({})", places.join(", ")));
        }
        values.push((limit as i64).into());
        let text = format!(
            "SELECT at, kind, fingerprint, alertname, group_key, receiver, detail, id FROM event
             WHERE {} ORDER BY at {order}, id {order} LIMIT ?{}",
            wanted.join(" AND "),
            values.len()
        );
        let read = || {
            let mut select = db.prepare_cached(&text)?;
            let mut rows = select.query(rusqlite::params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str()?);
                take(&Seen {
                    id: row.get(7)?,
                    at: Timestamp(row.get(0)?),
                    kind: Kind::known(text(1)?),
                    fingerprint: text(2)?,
                    alertname: text(3)?,
                    group_key: text(4)?,
                    receiver: text(5)?,
                    detail: text(6)?,
                });
            }
            Ok(())
        };
        read().map_err(|source| Error::History { doing: "reading", source })
    }

    /// Writes a consistent copy to `path`, which must not exist. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn backup_to(&self, path: &Path) -> Result<(), Error> {
        self.flush();
        let text = path.to_str().ok_or_else(|| Error::Invalid(format!("{path:?} is not valid UTF-8")))?;
        let db = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        db.execute("VACUUM INTO ?1", params![text])
            .map_err(|source| Error::History { doing: "copying", source })?;
        set_private(path);
        Ok(())
    }

    /// The alert names that fired most often in a range. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn noisiest(&self, start: Timestamp, end: Timestamp, limit: usize) -> Result<Vec<Noise>, Error> {
        let db = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || {
            let mut select = db.prepare_cached(
                "SELECT alertname, count(*) FILTER (WHERE kind = 'firing') AS fired,
                        count(*) FILTER (WHERE kind = 'delivered')
                 FROM event WHERE at >= ?1 AND at <= ?2 AND alertname <> ''
                 GROUP BY alertname ORDER BY fired DESC, alertname LIMIT ?3",
            )?;
            let found =
                select.query_map(params![start.ms(), end.ms(), limit.min(MAX_ANSWER) as i64], |row| {
                    Ok(Noise {
                        alertname: row.get(0)?,
                        fired: row.get::<_, i64>(1)? as u64,
                        delivered: row.get::<_, i64>(2)? as u64,
                    })
                })?;
            found.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| Error::History { doing: "reading", source })
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the alert history panicked");
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
    Ok(db)
}

/// A connection to a file that has the tables.
fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let db = connect(path)?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version <= VERSION {
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS event (
                id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, fingerprint TEXT NOT NULL,
                alertname TEXT NOT NULL, group_key TEXT NOT NULL, receiver TEXT NOT NULL, detail TEXT NOT NULL
             ) STRICT;
             CREATE INDEX IF NOT EXISTS event_at ON event (at);
             CREATE INDEX IF NOT EXISTS event_alertname ON event (alertname, at) WHERE alertname <> '';
             CREATE INDEX IF NOT EXISTS event_fingerprint ON event (fingerprint, at) WHERE fingerprint <> '';
             PRAGMA user_version = 1;",
        )?;
    }
    Ok(db)
}

fn failed(path: &Path, doing: &'static str, source: rusqlite::Error) -> Error {
    Error::HistoryFile { doing, path: path.to_owned(), source }
}

fn is_damaged(err: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(err.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Gives the file and what SQLite keeps beside it another name; that of the file.
fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let stamp = format!(".damaged-{}", aside_time().ms() / 1000);
    for suffix in ["", "-wal", "-shm"] {
        let from = with(suffix);
        match std::fs::rename(&from, with(&format!("{stamp}{suffix}"))) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::File { what: "damaged alert history", path: from, source }),
            Ok(()) => {}
        }
    }
    Ok(with(&stamp))
}

/// When a damaged file was found: only a name and the first event of its successor.
fn aside_time() -> Timestamp {
    model::Clock::now(&model::time::SystemClock)
}

#[cfg(unix)]
fn set_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Err(err) = std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)) {
        tracing::warn!(?path, error = %err, "cannot make the alert history private");
    }
}

#[cfg(not(unix))]
fn set_private(_: &Path) {}
