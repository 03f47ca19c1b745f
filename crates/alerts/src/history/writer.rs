//! The thread that commits events: what waits, up to [`COMMIT_EVENTS`], shares a commit.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};

use model::Timestamp;
use rusqlite::{Connection, params};

use super::{Event, Waiting};
use crate::config::settings::HistorySettings;
use crate::metrics::{Metrics, ReasonLabel};

/// So many events share a commit, and those of one more message.
const COMMIT_EVENTS: usize = 4000;

/// So many old events are removed at once: several times what comes between two cleanings.
const CLEANED_EVENTS: i64 = 20_000;

/// To the thread.
#[derive(Debug)]
pub(super) enum Message {
    /// Events.
    Events(Vec<Row>),
    /// Somebody waits for everything before.
    Flush(SyncSender<()>),
}

/// An event as it is stored.
#[derive(Debug)]
pub(super) struct Row {
    at: Timestamp,
    kind: &'static str,
    fingerprint: String,
    alertname: String,
    group_key: String,
    receiver: String,
    detail: String,
}

impl From<Event> for Row {
    fn from(event: Event) -> Self {
        Self {
            at: event.at,
            kind: event.kind,
            fingerprint: event.fingerprint,
            alertname: event.alertname,
            group_key: event.group_key,
            receiver: event.receiver,
            detail: event.detail.to_string(),
        }
    }
}

/// Runs until the history is dropped and everything is written.
pub(super) fn write(
    mut db: Connection,
    messages: &Receiver<Message>,
    settings: &HistorySettings,
    metrics: &Metrics,
    waiting: &Waiting,
) {
    let (mut since_cleaning, mut newest) = (0, Timestamp::MIN);
    // Fails when the history is dropped and its queue is empty.
    while let Ok(first) = messages.recv() {
        let (mut events, mut flushed) = (vec![], vec![]);
        let mut next = Ok(first);
        loop {
            match next {
                Ok(Message::Events(more)) => events.extend(more),
                Ok(Message::Flush(done)) => flushed.push(done),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            if events.len() >= COMMIT_EVENTS {
                break;
            }
            next = messages.try_recv();
        }
        newest = events.iter().map(|event| event.at).max().unwrap_or(newest).max(newest);
        if !events.is_empty()
            && let Err(err) = commit(&mut db, &events)
        {
            let lost = metrics.history_dropped.get_or_create(&ReasonLabel { reason: "disk" });
            lost.inc_by(events.len() as u64);
            tracing::error!(error = %err, events = events.len(), "alert history lost events");
        }
        metrics.history_queue.dec_by(events.len() as i64);
        waiting.done(events.len());
        for done in flushed {
            if done.try_send(()).is_err() {
                tracing::debug!("nobody waits for the alert history any more");
            }
        }
        since_cleaning += events.len();
        if since_cleaning >= COMMIT_EVENTS {
            since_cleaning = 0;
            if let Err(err) = clean(&db, settings, newest) {
                tracing::error!(error = %err, "cannot remove old events from the alert history");
            }
        }
    }
}

fn commit(db: &mut Connection, events: &[Row]) -> rusqlite::Result<()> {
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
                event.detail
            ])?;
        }
    }
    tx.commit()
}

/// Removes what is too old or too much, a bounded number at a time: events that arrive meanwhile wait.
fn clean(db: &Connection, settings: &HistorySettings, newest: Timestamp) -> rusqlite::Result<()> {
    let oldest = newest - settings.retention.ms();
    db.execute(
        "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE at < ?1 ORDER BY at LIMIT ?2)",
        params![oldest.ms(), CLEANED_EVENTS],
    )?;
    // Ids rise, so that the oldest events have the lowest ones.
    db.execute(
        "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?1 AND id < (SELECT min(id) FROM event) + ?2",
        params![i64::try_from(settings.max_events).unwrap_or(i64::MAX), CLEANED_EVENTS],
    )?;
    Ok(())
}
