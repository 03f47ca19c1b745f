//! What waits to be sent: summed by origin, type and minute, bounded, with the denominators that make rates of it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// Most entries that wait; the oldest are dropped beyond it.
pub const MAX_ENTRIES: usize = 500;
/// Entries of one upload: what a collector accepts.
pub const MAX_BATCH: usize = 100;
/// Older entries are dropped, in milliseconds.
pub const MAX_AGE_MS: i64 = 48 * 3_600_000;
/// What is alike within this time is one entry, in milliseconds.
const SUM_MS: i64 = 60_000;
/// Failures are gathered for so long, successes for so much longer, in milliseconds.
const GATHER_MS: i64 = 500;
const COMPANY_MS: i64 = 10_000;
/// Least and longest time between attempts, in milliseconds.
pub const PAUSE_MS: i64 = 10_000;
const MAX_PAUSE_MS: i64 = 300_000;
/// Most requests that one entry stands for.
const MAX_COUNT: u32 = 10_000;

/// What the user has agreed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Nothing is seen, stored or sent.
    #[default]
    Off,
    /// What happened: type, origin, status, HTTP version, counts.
    Basic,
    /// And after a failure a look of one's own at name and address, with the server's address, of which the collector keeps
    /// the point of presence.
    Diagnostics,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When the first of them happened, milliseconds since the epoch.
    pub at: i64,
    /// Scheme, host and port.
    pub origin: String,
    /// What happened.
    pub kind: String,
    /// HTTP status, 0 without one.
    #[serde(default)]
    pub status: u16,
    /// HTTP version, empty when it is not known.
    #[serde(default)]
    pub protocol: String,
    /// The server's address, with [`Consent::Diagnostics`].
    #[serde(default)]
    pub server: Option<IpAddr>,
    /// Requests it stands for.
    pub count: u32,
    /// The chance with which each was counted.
    pub fraction: f64,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A collector has it.
    Sent,
    /// A collector says that the site takes no more reports.
    Gone,
    /// A collector will never take this one.
    Refused,
    /// None was reached.
    Failed,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing waits.
    Nothing,
    /// Something is due then, in milliseconds since the epoch.
    At(i64),
}

/// A small generator of random numbers (splitmix64).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The queue.
#[derive(Clone, Debug)]
pub struct Queue {
    consent: Consent,
    policy: Option<Policy>,
    entries: Vec<Entry>,
    /// When the next attempt may begin.
    due: Option<i64>,
    last: i64,
    pause: i64,
    dropped: u64,
    random: Random,
}

impl Queue {
    /// With what was stored.
    pub fn new(consent: Consent, policy: Option<Policy>, entries: Vec<Entry>, seed: u64) -> Self {
        let mut queue = Self {
            consent,
            policy: None,
            entries: Vec::new(),
            due: None,
            last: i64::MIN / 2,
            pause: PAUSE_MS,
            dropped: 0,
            random: Random(seed),
        };
        if consent > Consent::Off {
            queue.entries = entries;
            queue.trim();
        }
        if let Some(policy) = policy {
            queue.set_policy(policy);
        }
        queue
    }

    /// Plans an attempt soon: after a restart, or when the network is back. Everybody at once would be a flood.
    pub fn wake(&mut self, now: i64) {
        if !self.entries.is_empty() {
            self.pause = PAUSE_MS;
            self.due = Some(now + (self.random.unit() * GATHER_MS as f64) as i64);
        }
    }

    /// What the user has agreed to.
    pub fn consent(&self) -> Consent {
        self.consent
    }

    /// The user agrees, or no longer. Without consent everything that waits is gone.
    pub fn set_consent(&mut self, consent: Consent) {
        self.consent = consent;
        if consent == Consent::Off {
            self.entries.clear();
            self.due = None;
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// Another policy; one of age 0 ends reporting and empties the queue.
    pub fn set_policy(&mut self, policy: Policy) {
        if policy.max_age == 0 {
            self.policy = None;
            self.entries.clear();
            self.due = None;
        } else {
            self.policy = Some(policy);
        }
    }

    /// What waits.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Entries that were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes note of a request. `entry` stands for one; its fraction is the policy's.
    pub fn record(&mut self, mut entry: Entry) {
        let Some(policy) = self.policy.as_ref().filter(|_| self.consent > Consent::Off) else { return };
        if !policy.covers(&entry.origin) {
            return;
        }
        let ok = entry.kind == "ok";
        entry.fraction = if ok { policy.success_fraction } else { policy.failure_fraction };
        if self.random.unit() >= entry.fraction {
            return;
        }
        if self.consent < Consent::Diagnostics {
            entry.server = None;
        }
        let now = entry.at;
        let alike = |known: &&mut Entry| {
            now - known.at < SUM_MS
                && known.count < MAX_COUNT
                && (&known.origin, &known.kind, known.status, &known.protocol, known.server, known.fraction)
                    == (
                        &entry.origin,
                        &entry.kind,
                        entry.status,
                        &entry.protocol,
                        entry.server,
                        entry.fraction,
                    )
        };
        match self.entries.iter_mut().rev().find(alike) {
            Some(known) => known.count += 1,
            None => self.entries.push(entry),
        }
        self.trim();
        let wait = if ok { COMPANY_MS } else { GATHER_MS };
        let due = (now + wait).max(self.last + self.pause);
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    fn trim(&mut self) {
        let over = self.entries.len().saturating_sub(MAX_ENTRIES);
        self.dropped += over as u64;
        self.entries.drain(..over);
    }

    /// When something is to be sent.
    pub fn next(&self) -> Next {
        match (self.due, self.policy.as_ref()) {
            (Some(due), Some(policy)) if !self.entries.is_empty() && !policy.collectors.is_empty() => {
                Next::At(due)
            }
            _ => Next::Nothing,
        }
    }

    /// The collectors in order and the upload that is due, taken out until [`Self::settle`].
    pub fn take(&mut self, now: i64) -> Option<(Vec<String>, Vec<Entry>)> {
        self.entries.retain(|entry| now - entry.at < MAX_AGE_MS);
        let Next::At(due) = self.next() else { return None };
        let collectors = self.policy.as_ref()?.collectors.clone();
        if now < due {
            return None;
        }
        let batch = self.entries.drain(..self.entries.len().min(MAX_BATCH)).collect();
        self.last = now;
        self.due = None;
        Some((collectors, batch))
    }

    /// Tells what became of the upload that was taken.
    pub fn settle(&mut self, mut batch: Vec<Entry>, outcome: Outcome, now: i64) {
        if self.consent == Consent::Off || self.policy.is_none() {
            return;
        }
        match outcome {
            Outcome::Gone => {
                self.policy = None;
                self.entries.clear();
                self.due = None;
                return;
            }
            Outcome::Sent | Outcome::Refused => self.pause = PAUSE_MS,
            Outcome::Failed => {
                batch.append(&mut self.entries);
                self.entries = batch;
                self.trim();
                self.pause = (self.pause * 2).min(MAX_PAUSE_MS);
            }
        }
        if !self.entries.is_empty() {
            let wait = match outcome {
                Outcome::Failed => (self.pause as f64 * (0.5 + self.random.unit())) as i64,
                _ => self.pause,
            };
            self.due = Some(now + wait);
        }
    }
}

/// The body of an upload, in the envelope of the Reporting API.
pub fn encode(batch: &[Entry], now: i64) -> String {
    let report = |entry: &Entry| {
        let mut body = serde_json::json!({
            "type": entry.kind,
            "count": entry.count,
            "sampling_fraction": entry.fraction,
        });
        if entry.status != 0 {
            body["status_code"] = entry.status.into();
        }
        if !entry.protocol.is_empty() {
            body["protocol"] = entry.protocol.as_str().into();
        }
        if let Some(server) = entry.server {
            body["server_ip"] = server.to_string().into();
        }
        serde_json::json!({
            "type": "bellwether-native",
            "age": (now - entry.at).max(0),
            "url": format!("{}/", entry.origin),
            "body": body,
        })
    };
    serde_json::Value::Array(batch.iter().map(report).collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: i64, kind: &str) -> Entry {
        Entry {
            at,
            origin: "https://s.example".into(),
            kind: kind.into(),
            status: 0,
            protocol: String::new(),
            server: Some([192, 0, 2, 1].into()),
            count: 1,
            fraction: 1.0,
        }
    }

    fn queue(consent: Consent) -> Queue {
        let policy = Policy::parse(
            r#"{"max_age":60,"collectors":["https://c.example.net/r/s"],"success_fraction":0.5}"#,
        );
        Queue::new(consent, policy.ok(), Vec::new(), 1)
    }

    #[test]
    fn without_consent_nothing_is_kept_and_a_withdrawal_empties_the_queue() {
        let mut off = queue(Consent::Off);
        off.record(entry(0, "tcp.reset"));
        assert_eq!((off.entries().len(), off.next()), (0, Next::Nothing));
        let mut on = queue(Consent::Basic);
        on.record(entry(0, "tcp.reset"));
        assert_eq!(on.entries()[0].server, None, "an address needs the further consent");
        let (_, batch) = on.take(GATHER_MS).unwrap();
        on.record(entry(GATHER_MS, "tcp.reset"));
        on.set_consent(Consent::Off);
        on.settle(batch, Outcome::Failed, GATHER_MS);
        assert_eq!((on.entries().len(), on.next()), (0, Next::Nothing));
        on.set_consent(Consent::Diagnostics);
        on.record(entry(70_000, "tcp.reset"));
        assert!(on.entries()[0].server.is_some());
    }

    #[test]
    fn what_is_alike_is_one_entry_and_successes_are_the_denominator() {
        let mut queue = queue(Consent::Basic);
        for n in 0..1000 {
            queue.record(entry(n, "ok"));
        }
        queue.record(entry(1000, "tcp.reset"));
        queue.record(entry(1500, "tcp.reset"));
        queue.record(entry(1500 + SUM_MS, "tcp.reset"));
        let counts: Vec<(&str, u32, f64)> =
            queue.entries().iter().map(|e| (e.kind.as_str(), e.count, e.fraction)).collect();
        assert_eq!((counts[1], counts[2]), (("tcp.reset", 2, 1.0), ("tcp.reset", 1, 1.0)));
        // Half of them, give or take four standard deviations.
        assert!((437..563).contains(&counts[0].1) && counts[0].2 == 0.5, "{counts:?}");
    }

    #[test]
    fn attempts_back_off_and_what_failed_comes_again() {
        let mut queue = queue(Consent::Basic);
        queue.record(entry(0, "tcp.reset"));
        assert_eq!(queue.next(), Next::At(GATHER_MS));
        assert!(queue.take(GATHER_MS - 1).is_none());
        let mut now = GATHER_MS;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let (_, batch) = queue.take(now).unwrap();
            assert_eq!(batch.len(), 1);
            queue.settle(batch, Outcome::Failed, now);
            let Next::At(due) = queue.next() else { panic!() };
            waits.push(due - now);
            now = due;
        }
        assert!(waits[0] >= PAUSE_MS && waits[0] <= 3 * PAUSE_MS, "{waits:?}");
        assert!(
            waits.iter().all(|wait| *wait <= MAX_PAUSE_MS * 3 / 2) && waits[7] >= MAX_PAUSE_MS / 2,
            "{waits:?}"
        );
        queue.wake(now);
        let Next::At(due) = queue.next() else { panic!() };
        assert!(due <= now + GATHER_MS);
        let (_, batch) = queue.take(due).unwrap();
        queue.settle(batch, Outcome::Sent, due);
        assert_eq!(queue.next(), Next::Nothing);
    }

    #[test]
    fn the_queue_is_bounded_and_forgets() {
        let mut queue = queue(Consent::Basic);
        for n in 0..2000 {
            queue.record(entry(n * SUM_MS, "tcp.reset"));
        }
        assert_eq!((queue.entries().len(), queue.dropped()), (MAX_ENTRIES, 1500));
        let now = 1999 * SUM_MS;
        let (_, batch) = queue.take(now).unwrap();
        assert_eq!(batch.len(), MAX_BATCH);
        assert!(encode(&batch, now).len() < 64 << 10);
        queue.settle(batch, Outcome::Gone, now);
        assert_eq!((queue.entries().len(), queue.policy()), (0, None));
    }
}
