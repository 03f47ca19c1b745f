//! When an action ran last for a group, kept in the state store: neither a restart nor a reload makes it run again too soon.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::seam::{Expect, StateStore};
use model::{SeamError, Timestamp};
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::message::Notification;

/// The bucket of the state store.
pub(crate) const BUCKET: &str = "exec";
/// So many runs are also remembered in memory.
const MAX_REMEMBERED: usize = 10_000;

/// A run that has begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    group_key: String,
    /// Of the notification.
    id: String,
    at: Timestamp,
    /// The record has no use from then on.
    until: Timestamp,
}

/// The cool-down of one command.
pub(super) struct CoolDown {
    state: Arc<dyn StateStore>,
    command: String,
    span_ms: i64,
    /// The runs that this process began: another attempt for the same notification is the same run.
    begun: Mutex<HashMap<String, Run>>,
}

impl CoolDown {
    pub(super) fn new(state: Arc<dyn StateStore>, command: &str, span_ms: i64) -> Self {
        Self { state, command: command.to_owned(), span_ms, begun: Mutex::default() }
    }

    /// Notes that a run begins; or when the last one did, if that is too recent.
    ///
    /// # Errors
    /// When the store cannot say when the last run was, or cannot keep this one: another attempt may help.
    pub(super) async fn begin(&self, notification: &Notification) -> Result<Option<Timestamp>, Failure> {
        if self.span_ms <= 0 {
            return Ok(None);
        }
        let (now, key) = (notification.now, format!("{}/{}", self.command, notification.hash()));
        let known = self.begun().get(&key).cloned();
        let last = match known {
            Some(run) if run.id == notification.id => return Ok(None),
            Some(run) => Some(run),
            None => {
                let stored = self.state.get(BUCKET, &key).await.map_err(|err| failed("looked up", &err))?;
                // What cannot be read was written by nobody who knows better: it is replaced.
                stored.and_then(|entry| serde_json::from_slice::<Run>(&entry.value).ok())
            }
        };
        if let Some(last) = last.filter(|last| now - last.at < self.span_ms) {
            return Ok(Some(last.at));
        }
        let run = Run {
            group_key: notification.group_key.clone(),
            id: notification.id.clone(),
            at: now,
            until: now + self.span_ms,
        };
        let value = serde_json::to_vec(&run).map_err(|err| Failure::permanent(err.to_string()))?;
        let kept = self.state.put(BUCKET, &key, &value, Expect::Any).await;
        kept.map_err(|err| failed("kept", &err))?;
        let mut begun = self.begun();
        if begun.len() >= MAX_REMEMBERED {
            begun.retain(|_, run| run.until > now);
        }
        if begun.len() < MAX_REMEMBERED {
            begun.insert(key, run);
        }
        Ok(None)
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<String, Run>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(what: &str, err: &SeamError) -> Failure {
    Failure::transient(format!("not run: its cool-down cannot be {what}: {}", err.chain()))
}

/// The keys of records that have no use any more.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn over(state: &dyn StateStore, now: Timestamp) -> Result<Vec<String>, SeamError> {
    let all = state.list(BUCKET, "").await?;
    let over = |value: &[u8]| serde_json::from_slice::<Run>(value).map_or(true, |run| run.until <= now);
    Ok(all.into_iter().filter(|(_, entry)| over(&entry.value)).map(|(key, _)| key).collect())
}
