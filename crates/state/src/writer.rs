//! The one thread that writes, and its group commit: requests that arrive while a commit runs share the next one.
//!
//! Requests of one commit are applied in order, each seeing those before it; all are answered after the commit. When
//! the commit fails, nothing of it is stored and all get the error.

use std::path::PathBuf;
use std::time::Instant;

use model::seam::Expect;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::metrics::Metrics;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked to do.
pub(crate) enum Request {
    Put { bucket: String, key: String, value: Vec<u8>, expect: Expect, reply: Reply<Option<u64>> },
    PutAll { bucket: String, entries: Vec<(String, Option<Vec<u8>>)>, reply: Reply<()> },
    Delete { bucket: String, key: String, reply: Reply<bool> },
}

/// What was done for a request, told once it is durable.
enum Done {
    Put(Reply<Option<u64>>, Option<u64>),
    PutAll(Reply<()>),
    Delete(Reply<bool>, bool),
}

impl Request {
    fn fail(self, err: Error) {
        // A caller that went away needs no answer.
        match self {
            Self::Put { reply, .. } => drop(reply.send(Err(err))),
            Self::PutAll { reply, .. } => drop(reply.send(Err(err))),
            Self::Delete { reply, .. } => drop(reply.send(Err(err))),
        }
    }
}

impl Done {
    fn tell(self, result: Result<(), Error>) {
        match self {
            Self::Put(reply, revision) => drop(reply.send(result.map(|()| revision))),
            Self::PutAll(reply) => drop(reply.send(result)),
            Self::Delete(reply, existed) => drop(reply.send(result.map(|()| existed))),
        }
    }
}

pub(crate) struct Writer {
    pub(crate) db: Connection,
    pub(crate) path: PathBuf,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) commit_requests: usize,
    pub(crate) metrics: Metrics,
}

impl Writer {
    /// Runs until every sender is gone and the queue is empty.
    pub(crate) fn run(mut self) {
        let mut batch = Vec::new();
        while self.requests.blocking_recv().map(|first| batch.push(first)).is_some() {
            while batch.len() < self.commit_requests
                && let Ok(next) = self.requests.try_recv()
            {
                batch.push(next);
            }
            self.metrics.queue_length.set(self.requests.len() as i64);
            self.commit(std::mem::take(&mut batch));
        }
    }

    fn commit(&mut self, batch: Vec<Request>) {
        let started = Instant::now();
        let path = &self.path;
        let sql = |source| Error::sql("write", path, source);
        let mut done = Vec::with_capacity(batch.len());
        let mut batch = batch.into_iter();
        let applied = match self.db.transaction_with_behavior(TransactionBehavior::Immediate) {
            Err(err) => Err(err),
            // Dropping the transaction rolls it back.
            Ok(tx) => batch
                .by_ref()
                .try_fold(0, |writes, request| {
                    let (one, result) = apply(&tx, request);
                    done.push(one);
                    result.map(|count| writes + count)
                })
                .and_then(|writes| if writes == 0 { Ok(0) } else { tx.commit().map(|()| writes) }),
        };
        match applied.map_err(sql) {
            Ok(writes) => {
                if writes > 0 {
                    self.metrics.commits.inc();
                    self.metrics.writes.inc_by(writes);
                    self.metrics.commit_duration.observe(started.elapsed().as_secs_f64());
                }
                done.into_iter().for_each(|one| one.tell(Ok(())));
            }
            Err(err) => {
                self.metrics.commit_failures.inc();
                tracing::error!(error = %err, "commit of the state file failed");
                done.into_iter().for_each(|one| one.tell(Err(err.again(path))));
                batch.for_each(|rest| rest.fail(err.again(path)));
            }
        }
    }
}

/// Carries out one request inside a transaction; how many keys it changed.
fn apply(tx: &Transaction<'_>, request: Request) -> (Done, rusqlite::Result<u64>) {
    match request {
        Request::Put { bucket, key, value, expect, reply } => match put(tx, &bucket, &key, &value, expect) {
            Ok(revision) => (Done::Put(reply, revision), Ok(u64::from(revision.is_some()))),
            Err(err) => (Done::Put(reply, None), Err(err)),
        },
        Request::PutAll { bucket, entries, reply } => {
            let result = put_all(tx, &bucket, &entries).map(|()| entries.len() as u64);
            (Done::PutAll(reply), result)
        }
        Request::Delete { bucket, key, reply } => match delete(tx, &bucket, &key) {
            Ok(existed) => (Done::Delete(reply, existed), Ok(u64::from(existed))),
            Err(err) => (Done::Delete(reply, false), Err(err)),
        },
    }
}

/// The last of so many revisions that follow the last one given.
fn next_revision(tx: &Transaction<'_>, count: usize) -> rusqlite::Result<i64> {
    tx.prepare_cached("UPDATE counter SET value = value + ?1 WHERE name = 'revision' RETURNING value")?
        .query_row([count as i64], |row| row.get(0))
}

fn put(
    tx: &Transaction<'_>,
    bucket: &str,
    key: &str,
    value: &[u8],
    expect: Expect,
) -> rusqlite::Result<Option<u64>> {
    if expect != Expect::Any {
        let found: Option<i64> = tx
            .prepare_cached("SELECT revision FROM entry WHERE bucket = ?1 AND key = ?2")?
            .query_row(params![bucket, key], |row| row.get(0))
            .optional()?;
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Revision(revision) => found.is_some_and(|found| found as u64 == revision),
        };
        if !holds {
            return Ok(None);
        }
    }
    let revision = next_revision(tx, 1)?;
    write(tx, bucket, key, value, revision)?;
    Ok(Some(revision as u64))
}

fn write(tx: &Transaction<'_>, bucket: &str, key: &str, value: &[u8], revision: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO entry (bucket, key, revision, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET revision = ?3, value = ?4",
    )?
    .execute(params![bucket, key, revision, value])?;
    Ok(())
}

fn put_all(
    tx: &Transaction<'_>,
    bucket: &str,
    entries: &[(String, Option<Vec<u8>>)],
) -> rusqlite::Result<()> {
    let writes = entries.iter().filter(|(_, value)| value.is_some()).count();
    let mut revision = if writes > 0 { next_revision(tx, writes)? - writes as i64 } else { 0 };
    for (key, value) in entries {
        match value {
            Some(value) => {
                revision += 1;
                write(tx, bucket, key, value, revision)?;
            }
            None => {
                delete(tx, bucket, key)?;
            }
        }
    }
    Ok(())
}

fn delete(tx: &Transaction<'_>, bucket: &str, key: &str) -> rusqlite::Result<bool> {
    let rows = tx
        .prepare_cached("DELETE FROM entry WHERE bucket = ?1 AND key = ?2")?
        .execute(params![bucket, key])?;
    Ok(rows > 0)
}
