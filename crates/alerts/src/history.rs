//! What happened: every change of an alert, every decision about it, every attempt to tell somebody, in a SQLite file.
//!
//! Writers never wait: events go through a bounded queue to one thread that commits them in batches; what does not fit
//! is dropped and counted. Bounded in time and number. Unlike the state file, an event may be lost in a power cut
//! (`synchronous=NORMAL`), never the file.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use model::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::config::settings::HistorySettings;
use crate::error::Error;
use crate::metrics::{Metrics, ReasonLabel};

/// Events are committed at least this often while there are some.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// So many events share a commit at most.
const COMMIT_EVENTS: usize = 2000;
/// An answer has at most so many events.
pub const MAX_ANSWER: usize = 10_000;

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An alert began to fire.
    Firing,
    /// An alert resolved.
    Resolved,
    /// An alert joined a group.
    Grouped,
    /// An alert was kept back: silenced, inhibited or outside the hours.
    Suppressed,
    /// An attempt succeeded.
    Delivered,
    /// An attempt failed.
    AttemptFailed,
    /// A notification was given up.
    GivenUp,
    /// A silence was made, changed or ended.
    Silence,
    /// A receiver was tried out.
    Test,
    /// The configuration was loaded or refused.
    Config,
    /// Something was refused because of a bound.
    Shed,
}

impl Kind {
    /// As in JSON and in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Grouped => "grouped",
            Self::Suppressed => "suppressed",
            Self::Delivered => "delivered",
            Self::AttemptFailed => "attempt_failed",
            Self::GivenUp => "given_up",
            Self::Silence => "silence",
            Self::Test => "test",
            Self::Config => "config",
            Self::Shed => "shed",
        }
    }
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

enum Message {
    Event(Box<Event>),
    Flush(SyncSender<()>),
}

/// The history. Cheap to share in an [`Arc`].
#[derive(Debug)]
pub struct History {
    path: std::path::PathBuf,
    queue: Option<SyncSender<Message>>,
    writer: Option<JoinHandle<()>>,
    reader: Arc<Mutex<Connection>>,
    metrics: Metrics,
}

impl History {
    /// Opens or creates the file. Blocks.
    ///
    /// # Errors
    /// When it cannot be opened or is damaged.
    pub fn open(path: &Path, settings: &HistorySettings, metrics: Metrics) -> Result<Self, Error> {
        let failed = |doing| move |source| Error::History { doing, source };
        let open = || {
            let db = Connection::open(path)?;
            db.busy_timeout(Duration::from_secs(5))?;
            db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
            Ok(db)
        };
        let writer = open().map_err(failed("opening"))?;
        writer
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS event (
                    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, fingerprint TEXT NOT NULL,
                    alertname TEXT NOT NULL, group_key TEXT NOT NULL, receiver TEXT NOT NULL, detail TEXT NOT NULL
                 ) STRICT;
                 CREATE INDEX IF NOT EXISTS event_at ON event (at);
                 CREATE INDEX IF NOT EXISTS event_alertname ON event (alertname, at) WHERE alertname <> '';
                 CREATE INDEX IF NOT EXISTS event_fingerprint ON event (fingerprint, at) WHERE fingerprint <> '';
                 PRAGMA user_version = 1;",
            )
            .map_err(failed("preparing"))?;
        set_private(path);
        let reader = open().map_err(failed("opening"))?;
        let (queue, messages) = sync_channel(settings.queue_length.max(1));
        let (settings, counted) = (settings.clone(), metrics.clone());
        let writer = std::thread::Builder::new()
            .name("alert-history".into())
            .spawn(move || write(writer, &messages, &settings, &counted))
            .map_err(|source| Error::File { what: "alert history", path: path.to_owned(), source })?;
        Ok(Self {
            path: path.to_owned(),
            queue: Some(queue),
            writer: Some(writer),
            reader: Arc::new(Mutex::new(reader)),
            metrics,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes an event; never waits.
    pub fn note(&self, event: Event) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(Message::Event(Box::new(event))) {
            Ok(()) => {
                self.metrics.history_queue.inc();
            }
            Err(TrySendError::Full(_)) => {
                self.metrics.history_dropped.get_or_create(&ReasonLabel { reason: "queue_full" }).inc();
            }
            Err(TrySendError::Disconnected(_)) => {
                self.metrics.history_dropped.get_or_create(&ReasonLabel { reason: "disk" }).inc();
            }
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
        self.select(query, "DESC", if query.limit == 0 { MAX_ANSWER } else { query.limit.min(MAX_ANSWER) })
    }

    /// The oldest events that fit, oldest first, at most `max`. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn scan(&self, query: &Query, max: usize) -> Result<Vec<Event>, Error> {
        self.select(query, "ASC", max)
    }

    fn select(&self, query: &Query, order: &str, limit: usize) -> Result<Vec<Event>, Error> {
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
            let found = select.query_map(rusqlite::params_from_iter(values), |row| {
                let detail: String = row.get(6)?;
                Ok(Event {
                    id: row.get(7)?,
                    at: Timestamp(row.get(0)?),
                    kind: known_kind(&row.get::<_, String>(1)?),
                    fingerprint: row.get(2)?,
                    alertname: row.get(3)?,
                    group_key: row.get(4)?,
                    receiver: row.get(5)?,
                    detail: serde_json::from_str(&detail).unwrap_or(serde_json::Value::String(detail)),
                })
            })?;
            found.collect::<rusqlite::Result<Vec<_>>>()
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

fn known_kind(text: &str) -> &'static str {
    use Kind::*;
    let all = [
        Firing,
        Resolved,
        Grouped,
        Suppressed,
        Delivered,
        AttemptFailed,
        GivenUp,
        Silence,
        Test,
        Config,
        Shed,
    ];
    all.into_iter().map(Kind::as_str).find(|kind| *kind == text).unwrap_or("unknown")
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

/// Runs until the history is dropped and everything is written.
fn write(mut db: Connection, messages: &Receiver<Message>, settings: &HistorySettings, metrics: &Metrics) {
    let (mut events, mut waiting, mut since_cleaning, mut newest) = (vec![], vec![], 0usize, Timestamp::MIN);
    loop {
        let next = messages.recv_timeout(COMMIT_INTERVAL);
        let (full, ended) = match next {
            Ok(Message::Event(event)) => {
                metrics.history_queue.dec();
                newest = newest.max(event.at);
                events.push(event);
                (events.len() >= COMMIT_EVENTS, false)
            }
            Ok(Message::Flush(done)) => {
                waiting.push(done);
                (true, false)
            }
            Err(RecvTimeoutError::Timeout) => (true, false),
            Err(RecvTimeoutError::Disconnected) => (true, true),
        };
        if full && !events.is_empty() {
            since_cleaning += events.len();
            if let Err(err) = commit(&mut db, &events) {
                let lost = metrics.history_dropped.get_or_create(&ReasonLabel { reason: "disk" });
                lost.inc_by(events.len() as u64);
                tracing::error!(error = %err, events = events.len(), "alert history lost events");
            }
            events.clear();
            if since_cleaning >= COMMIT_EVENTS {
                since_cleaning = 0;
                if let Err(err) = clean(&db, settings, newest) {
                    tracing::error!(error = %err, "cannot remove old events from the alert history");
                }
            }
        }
        if full {
            for done in waiting.drain(..) {
                if done.try_send(()).is_err() {
                    tracing::debug!("nobody waits for the alert history any more");
                }
            }
        }
        if ended {
            return;
        }
    }
}

fn commit(db: &mut Connection, events: &[Box<Event>]) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    {
        let mut insert = tx.prepare_cached(
            "INSERT INTO event (at, kind, fingerprint, alertname, group_key, receiver, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for event in events {
            insert.execute(params![
                event.at.ms(),
                event.kind,
                event.fingerprint,
                event.alertname,
                event.group_key,
                event.receiver,
                event.detail.to_string()
            ])?;
        }
    }
    tx.commit()
}

fn clean(db: &Connection, settings: &HistorySettings, newest: Timestamp) -> rusqlite::Result<()> {
    let oldest = newest - settings.retention.ms();
    db.execute("DELETE FROM event WHERE at < ?1", params![oldest.ms()])?;
    // Ids rise, so that the oldest events have the lowest ones.
    db.execute(
        "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?1",
        params![i64::try_from(settings.max_events).unwrap_or(i64::MAX)],
    )?;
    Ok(())
}
