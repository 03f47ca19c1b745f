//! Webhooks: what each is owed, in order, until it has it or a day has passed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use httpc::{Client, Options, Request};
use model::{Clock, SeamError, StateStore, Timestamp};
use parking_lot::Mutex;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use super::keeper::BUCKET;
use crate::error::{ApiError, ErrorType};
use crate::metrics::StatusPageMetrics;

/// Events older than this are not delivered any more.
const KEPT_MS: i64 = 24 * 3_600_000;
/// Events that wait for delivery.
const MAX_EVENTS: usize = 1000;
const FIRST_RETRY_MS: i64 = 5_000;
const LAST_RETRY_MS: i64 = 3_600_000;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Without anything to do, a look at what has grown old.
const IDLE: Duration = Duration::from_secs(60);
const MAX_URL: usize = 2000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Event {
    at_ms: i64,
    body: Value,
}

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) url: String,
    secret: String,
    pub(crate) created_ms: i64,
    /// The last event that it has.
    delivered: u64,
    /// Attempts in a row that failed.
    pub(crate) failures: u32,
    next_try_ms: i64,
    #[serde(default)]
    pub(crate) last_ok_ms: i64,
    #[serde(default)]
    pub(crate) last_error: String,
    /// It has answered 410: it wants no more.
    #[serde(default)]
    pub(crate) ended: bool,
}

impl Hook {
    /// The event that it is owed now, if any.
    fn due<'a>(&self, events: &'a BTreeMap<u64, Event>, now: Timestamp) -> Option<(u64, &'a Event)> {
        if self.ended || now.ms() < self.next_try_ms {
            return None;
        }
        events.range(self.delivered + 1..).next().map(|(sequence, event)| (*sequence, event))
    }

    /// Notes what an attempt came to.
    fn answered(&mut self, sequence: u64, outcome: &Result<u16, String>, now: Timestamp) {
        match outcome {
            Ok(200..=299) => {
                self.delivered = self.delivered.max(sequence);
                (self.failures, self.next_try_ms, self.last_ok_ms) = (0, 0, now.ms());
                self.last_error.clear();
            }
            Ok(410) => {
                self.ended = true;
                "it answered 410: gone".clone_into(&mut self.last_error);
            }
            failed => {
                let pause = FIRST_RETRY_MS.saturating_mul(1_i64 << self.failures.min(20)).min(LAST_RETRY_MS);
                self.failures = self.failures.saturating_add(1);
                self.next_try_ms = now.ms().saturating_add(pause);
                self.last_error = match failed {
                    Ok(status) => format!("it answered {status}"),
                    Err(reason) => reason.chars().take(300).collect(),
                };
            }
        }
    }
}

#[derive(Default)]
struct Held {
    events: BTreeMap<u64, Event>,
    hooks: BTreeMap<u64, Hook>,
    last: u64,
}

/// All webhooks and what they are owed.
pub(crate) struct Hooks {
    state: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    metrics: StatusPageMetrics,
    max: usize,
    held: Mutex<Held>,
    wake: Notify,
}

fn event_key(sequence: u64) -> String {
    format!("event/{sequence:016}")
}

fn hook_key(id: u64) -> String {
    format!("hook/{id:016}")
}

impl Hooks {
    pub(super) async fn open(
        state: Arc<dyn StateStore>,
        clock: Arc<dyn Clock>,
        metrics: StatusPageMetrics,
        max: usize,
    ) -> Result<Self, SeamError> {
        let mut held = Held::default();
        for (key, entry) in state.list(BUCKET, "hook/").await? {
            let hook: Hook = super::keeper::decode(&key, &entry.value)?;
            held.last = held.last.max(hook.delivered);
            held.hooks.insert(hook.id, hook);
        }
        for (key, entry) in state.list(BUCKET, "event/").await? {
            let Some(sequence) = key.strip_prefix("event/").and_then(|text| text.parse().ok()) else {
                continue;
            };
            held.events.insert(sequence, super::keeper::decode(&key, &entry.value)?);
            held.last = held.last.max(sequence);
        }
        metrics.webhooks.set(held.hooks.len() as i64);
        Ok(Self { state, clock, metrics, max, held: Mutex::new(held), wake: Notify::new() })
    }

    /// Queues an event, and returns what must be stored of it: nothing when nobody listens.
    pub(super) fn stage(&self, body: Value) -> Vec<(String, Option<Vec<u8>>)> {
        let mut held = self.held.lock();
        if held.hooks.values().all(|hook| hook.ended) {
            return Vec::new();
        }
        held.last += 1;
        let sequence = held.last;
        let event = Event { at_ms: self.clock.now().ms(), body };
        let mut entries = vec![(event_key(sequence), serde_json::to_vec(&event).ok())];
        held.events.insert(sequence, event);
        while held.events.len() > MAX_EVENTS {
            if let Some((oldest, _)) = held.events.pop_first() {
                self.metrics.webhook_dropped.inc();
                entries.push((event_key(oldest), None));
            }
        }
        entries
    }

    /// Lets the delivery look for work.
    pub(super) fn nudge(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn list(&self) -> Vec<Hook> {
        self.held.lock().hooks.values().cloned().collect()
    }

    /// Adds one; returns it with its secret, which is shown this once.
    pub(crate) async fn add(&self, name: &str, url: &str) -> Result<(Hook, String), ApiError> {
        let parsed =
            httpc::Url::parse(url).map_err(|err| ApiError::bad_data(format!("{url:?} is no URL: {err}")))?;
        if !matches!(parsed.scheme(), "http" | "https") || url.len() > MAX_URL {
            return Err(ApiError::bad_data(format!(
                "a webhook's URL begins with https:// or http:// and has at most {MAX_URL} characters"
            )));
        }
        let secret = crate::random_hex(32)?;
        let now = self.clock.now().ms();
        let hook = {
            let mut held = self.held.lock();
            if held.hooks.len() >= self.max {
                let message = format!("there are {} webhooks already (status_page.max_webhooks)", self.max);
                return Err(ApiError::new(ErrorType::Execution, message));
            }
            let id = held.hooks.keys().next_back().map_or(0, |last| *last) + 1;
            let hook = Hook {
                id,
                name: name.chars().take(200).collect(),
                url: url.to_owned(),
                secret: secret.clone(),
                created_ms: now,
                delivered: held.last,
                failures: 0,
                next_try_ms: 0,
                last_ok_ms: 0,
                last_error: String::new(),
                ended: false,
            };
            held.hooks.insert(id, hook.clone());
            self.metrics.webhooks.set(held.hooks.len() as i64);
            hook
        };
        if let Err(err) = self.store(&hook).await {
            self.held.lock().hooks.remove(&hook.id);
            return Err(err.into());
        }
        Ok((hook, secret))
    }

    pub(crate) async fn remove(&self, id: u64) -> Result<(), ApiError> {
        if !self.state.delete(BUCKET, &hook_key(id)).await? {
            return Err(ApiError::not_found(format!("there is no webhook {id}")));
        }
        let mut held = self.held.lock();
        held.hooks.remove(&id);
        self.metrics.webhooks.set(held.hooks.len() as i64);
        Ok(())
    }

    async fn store(&self, hook: &Hook) -> Result<(), SeamError> {
        let value = serde_json::to_vec(hook).map_err(|err| super::keeper::unwritable(&err))?;
        self.state.put_all(BUCKET, &[(hook_key(hook.id), Some(value))]).await
    }

    /// Delivers until it is dropped.
    pub(super) async fn run(&self) -> Result<(), httpc::Error> {
        let http = httpc::Config { follow_redirects: false, ..httpc::Config::default() };
        let client = Client::new(&http, Options { timeout: TIMEOUT, ..Options::default() })?;
        loop {
            if let Err(err) = self.forget_old().await {
                tracing::error!(error = %err.chain(), "old events of the status page cannot be removed");
            }
            let due = self.due();
            if due.is_empty() {
                let pause = self.next_try();
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
                continue;
            }
            // One event each, so that a slow one keeps nobody waiting for more than its time limit.
            let all =
                due.into_iter().map(|(hook, sequence, event)| self.deliver(&client, hook, sequence, event));
            futures_util::future::join_all(all).await;
        }
    }

    fn due(&self) -> Vec<(Hook, u64, Event)> {
        let (held, now) = (self.held.lock(), self.clock.now());
        let of = |hook: &Hook| {
            let (sequence, event) = hook.due(&held.events, now)?;
            Some((hook.clone(), sequence, event.clone()))
        };
        held.hooks.values().filter_map(of).collect()
    }

    /// How long nobody is owed anything.
    fn next_try(&self) -> Duration {
        let (held, now) = (self.held.lock(), self.clock.now().ms());
        let last = held.events.keys().next_back().copied().unwrap_or(0);
        let waiting = held.hooks.values().filter(|hook| !hook.ended && hook.delivered < last);
        let soonest = waiting.map(|hook| hook.next_try_ms.saturating_sub(now)).min();
        let pause = soonest.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(10)));
        pause.unwrap_or(IDLE).min(IDLE)
    }

    async fn deliver(&self, client: &Client, mut hook: Hook, sequence: u64, event: Event) {
        let outcome = send(client, &hook, sequence, &event).await;
        let now = self.clock.now();
        hook.answered(sequence, &outcome, now);
        match &outcome {
            Ok(200..=299) => self.metrics.webhook_sent.inc(),
            failed => {
                self.metrics.webhook_failed.inc();
                tracing::warn!(webhook = hook.id, name = hook.name, outcome = ?failed, "a webhook of the status page was not delivered");
                0
            }
        };
        let known = match self.held.lock().hooks.get_mut(&hook.id) {
            Some(known) => {
                known.clone_from(&hook);
                true
            }
            // Removed meanwhile.
            None => false,
        };
        if known && let Err(err) = self.store(&hook).await {
            tracing::error!(error = %err.chain(), webhook = hook.id, "what a webhook has got cannot be kept: it may get it again");
        }
    }

    /// Removes events that everybody has, and those that are too old.
    async fn forget_old(&self) -> Result<(), SeamError> {
        let gone: Vec<(String, Option<Vec<u8>>)> = {
            let mut held = self.held.lock();
            let had = held.hooks.values().filter(|hook| !hook.ended).map(|hook| hook.delivered).min();
            let (had, before) = (had.unwrap_or(u64::MAX), self.clock.now().ms() - KEPT_MS);
            let mut gone = Vec::new();
            let metrics = &self.metrics;
            held.events.retain(|sequence, event| {
                let keep = *sequence > had && event.at_ms >= before;
                if !keep {
                    gone.push((event_key(*sequence), None));
                    if *sequence > had {
                        metrics.webhook_dropped.inc();
                    }
                }
                keep
            });
            gone
        };
        if gone.is_empty() { Ok(()) } else { self.state.put_all(BUCKET, &gone).await }
    }
}

async fn send(client: &Client, hook: &Hook, sequence: u64, event: &Event) -> Result<u16, String> {
    let seconds = event.at_ms.div_euclid(1000);
    let body = event.body.to_string();
    let signature = sign(&hook.secret, seconds, &body);
    let request = Request::post(&hook.url, "application/json", body)
        .and_then(|request| request.header("Bellwether-Event", &sequence.to_string()))
        .and_then(|request| request.header("Bellwether-Signature", &format!("t={seconds},v1={signature}")))
        .map_err(|err| err.chain())?;
    let response = client.send(request).await.map_err(|err| err.chain())?;
    Ok(response.status().as_u16())
}

/// HMAC-SHA256 of `SECONDS.BODY`, in hexadecimal.
pub(super) fn sign(secret: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mac = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_gets_each_event_once_in_order_and_failures_wait_longer() {
        let at = Timestamp;
        let event = |at_ms| Event { at_ms, body: Value::Null };
        let events = BTreeMap::from([(3, event(0)), (4, event(0))]);
        let mut hook = Hook {
            id: 1,
            name: String::new(),
            url: String::new(),
            secret: String::new(),
            created_ms: 0,
            delivered: 2,
            failures: 0,
            next_try_ms: 0,
            last_ok_ms: 0,
            last_error: String::new(),
            ended: false,
        };
        assert_eq!(hook.due(&events, at(0)).map(|due| due.0), Some(3));
        hook.answered(3, &Err("no answer".into()), at(0));
        assert_eq!(hook.due(&events, at(4_999)), None);
        assert_eq!(hook.due(&events, at(5_000)).map(|due| due.0), Some(3));
        hook.answered(3, &Ok(500), at(5_000));
        assert_eq!((hook.next_try_ms, hook.last_error.as_str()), (15_000, "it answered 500"));
        hook.answered(3, &Ok(204), at(15_000));
        assert_eq!(hook.due(&events, at(15_000)).map(|due| due.0), Some(4));
        for _ in 0..40 {
            hook.answered(4, &Ok(500), at(0));
        }
        assert_eq!(hook.next_try_ms, LAST_RETRY_MS);
        hook.answered(4, &Ok(410), at(0));
        assert_eq!(hook.due(&events, at(i64::MAX)), None);
    }

    #[test]
    fn signatures_are_hmac_sha256() {
        // printf 12.{} | openssl dgst -sha256 -hmac key
        assert_eq!(sign("key", 12, "{}"), "043e30e1e15664dc97494d18e4110984bcbd2c4e6f3e19de9569dc1ea6d9b03e");
    }
}
