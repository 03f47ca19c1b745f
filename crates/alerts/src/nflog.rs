//! The notification log: what every receiver was told last about every group, so that it is told once.
//!
//! [`needs`] decides whether a flush becomes a notification. Before a notification is sent its entry gets a *claim*
//! with the notification's id; after it was sent the entry gets the new sets and loses the claim. A claim without them
//! is the trace of a crash between the two: nobody knows whether the receiver has it, so it is sent again under the
//! same id. Source: the Alertmanager manual, "Grouping" and "repeat_interval".

use std::collections::{BTreeSet, HashMap};

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// Why a notification is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The receiver knows nothing of the group.
    FirstNotification,
    /// An alert fires that it does not know of.
    NewAlerts,
    /// An alert has resolved that it thinks is firing.
    NewResolved,
    /// Nothing fires any more.
    AllResolved,
    /// Nothing has changed for the repeat interval.
    RepeatInterval,
    /// A crash left it open whether the last one was sent.
    UnfinishedClaim,
}

impl Reason {
    /// In Alertmanager's words, for templates and webhooks.
    pub fn text(self) -> &'static str {
        match self {
            Self::FirstNotification => "first notification",
            Self::NewAlerts => "new alerts added",
            Self::NewResolved => "some alerts resolved",
            Self::AllResolved => "all alerts resolved",
            Self::RepeatInterval => "repeat interval elapsed",
            Self::UnfinishedClaim => "unfinished before a restart",
        }
    }

    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstNotification => "first_notification",
            Self::NewAlerts => "new_alerts",
            Self::NewResolved => "new_resolved",
            Self::AllResolved => "all_resolved",
            Self::RepeatInterval => "repeat_interval",
            Self::UnfinishedClaim => "unfinished_claim",
        }
    }
}

/// Somebody is sending, or was when it died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The notification's id: the same for every attempt, also after a crash.
    pub id: String,
    /// Which process.
    pub owner: String,
    /// Since when.
    pub at: Timestamp,
    /// The alerts that it says fire.
    pub firing: BTreeSet<u64>,
    /// The alerts that it says have resolved.
    pub resolved: BTreeSet<u64>,
}

/// What one receiver was told last about one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The group's key.
    pub group_key: String,
    /// The receiver's name.
    pub receiver: String,
    /// Which of its ways: `webhook`, `email` …
    pub integration: String,
    /// Which of several such.
    pub index: usize,
    /// Fingerprints of the alerts that it thinks fire.
    pub firing: BTreeSet<u64>,
    /// Fingerprints of those that it was told have resolved.
    pub resolved: BTreeSet<u64>,
    /// When it was told; `None` when it never was.
    pub at: Option<Timestamp>,
    /// Not needed after this.
    pub expires_at: Timestamp,
    /// Set while a notification is on its way.
    pub claim: Option<Claim>,
}

impl Entry {
    /// The key under which it is stored.
    pub fn key(&self) -> String {
        key(&self.group_key, &self.receiver, &self.integration, self.index)
    }

    /// Takes a claim whose notification is known to have arrived as settled.
    pub fn settle(&mut self, arrived: impl Fn(&str) -> bool) {
        if let Some(claim) = self.claim.take_if(|claim| arrived(&claim.id)) {
            self.at = Some(claim.at);
            self.firing = claim.firing;
            self.resolved = claim.resolved;
        }
    }
}

/// The key of a group's entry for one way of a receiver.
pub fn key(group_key: &str, receiver: &str, integration: &str, index: usize) -> String {
    let hash = xxhash_rust::xxh3::xxh3_128(group_key.as_bytes());
    format!("{receiver}/{integration}/{index}/{hash:032x}")
}

/// Whether the receiver must be told now, and why. `send_resolved`: whether it wants to hear of resolved alerts.
pub fn needs(
    entry: Option<&Entry>,
    firing: &BTreeSet<u64>,
    resolved: &BTreeSet<u64>,
    send_resolved: bool,
    repeat_ms: i64,
    now: Timestamp,
) -> Option<Reason> {
    let told = entry.and_then(|entry| entry.at.map(|at| (entry, at)));
    if let Some(claim) = entry.and_then(|entry| entry.claim.as_ref())
        && (!firing.is_empty() || claim.resolved.iter().any(|f| resolved.contains(f)) || told.is_some())
    {
        return Some(Reason::UnfinishedClaim);
    }
    let Some((entry, at)) = told else {
        return (!firing.is_empty()).then_some(Reason::FirstNotification);
    };
    if !firing.is_subset(&entry.firing) {
        // After everything had resolved it begins anew.
        return Some(if entry.firing.is_empty() { Reason::FirstNotification } else { Reason::NewAlerts });
    }
    if firing.is_empty() {
        // Alerts that fired and resolved between two flushes: nobody knows of them. Independent of `send_resolved`, so
        // that the firing ones leave the log.
        return (!entry.firing.is_empty()).then_some(Reason::AllResolved);
    }
    if send_resolved && !resolved.is_subset(&entry.resolved) {
        return Some(Reason::NewResolved);
    }
    (at < now - repeat_ms).then_some(Reason::RepeatInterval)
}

/// All entries, by their keys.
#[derive(Debug, Default)]
pub struct NotificationLog {
    entries: HashMap<String, Entry>,
}

impl NotificationLog {
    /// From what was stored.
    pub fn new(stored: impl IntoIterator<Item = Entry>) -> Self {
        Self { entries: stored.into_iter().map(|entry| (entry.key(), entry)).collect() }
    }

    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Replaces an entry.
    pub fn put(&mut self, entry: Entry) {
        self.entries.insert(entry.key(), entry);
    }

    /// Keys of entries that are not needed any more.
    pub fn collectable(&self, now: Timestamp) -> Vec<String> {
        self.entries.iter().filter(|(_, entry)| entry.expires_at < now).map(|(key, _)| key.clone()).collect()
    }

    /// Removes entries.
    pub fn remove(&mut self, keys: &[String]) {
        for key in keys {
            self.entries.remove(key);
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[u64]) -> BTreeSet<u64> {
        items.iter().copied().collect()
    }

    #[test]
    fn told_once_until_something_changes() {
        let entry = |firing: &[u64], resolved: &[u64]| Entry {
            firing: set(firing),
            resolved: set(resolved),
            at: Some(Timestamp(1000)),
            ..Entry::default()
        };
        let check = |entry: Option<&Entry>, firing: &[u64], resolved: &[u64], now, want| {
            let got = needs(entry, &set(firing), &set(resolved), true, 100, Timestamp(now));
            assert_eq!(got, want, "{entry:?} {firing:?} {resolved:?}");
        };
        check(None, &[1], &[], 1000, Some(Reason::FirstNotification));
        check(None, &[], &[1], 1000, None);
        check(Some(&entry(&[1], &[])), &[1], &[], 1050, None);
        check(Some(&entry(&[1], &[])), &[1, 2], &[], 1050, Some(Reason::NewAlerts));
        check(Some(&entry(&[], &[1])), &[2], &[], 1050, Some(Reason::FirstNotification));
        check(Some(&entry(&[1, 2], &[])), &[1], &[2], 1050, Some(Reason::NewResolved));
        check(Some(&entry(&[1], &[2])), &[1], &[2], 1050, None);
        check(Some(&entry(&[1], &[])), &[], &[1], 1050, Some(Reason::AllResolved));
        check(Some(&entry(&[], &[1])), &[], &[1, 2], 1050, None);
        check(Some(&entry(&[1], &[])), &[1], &[], 1101, Some(Reason::RepeatInterval));
        let mut crashed = entry(&[1], &[]);
        crashed.claim = Some(Claim {
            id: "n".into(),
            owner: "o".into(),
            at: Timestamp(1),
            firing: set(&[1]),
            resolved: set(&[]),
        });
        check(Some(&crashed), &[1], &[], 1001, Some(Reason::UnfinishedClaim));
        assert_eq!(
            needs(Some(&entry(&[1, 2], &[])), &set(&[1]), &set(&[2]), false, 100, Timestamp(1050)),
            None
        );
    }
}
