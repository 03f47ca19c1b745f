//! The alerts that are known now, one for each label set.
//!
//! The same alert comes again and again while it fires. An arrival that overlaps the one held is merged with it: the
//! earliest start is kept, an explicit end beats a timeout. Source: the Alertmanager manual, "Sending alerts".

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use model::{Alert, Timestamp};

/// What an arrival meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It fires now and did not.
    Fired,
    /// It has resolved and had not.
    Resolved,
    /// Its texts or its start have changed.
    Edited,
    /// Nothing but its end has.
    Refreshed,
}

/// Under which key an alert is stored: by when it was first taken in, so that the alerts of a storm are written side by
/// side, wherever their fingerprints are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    first: u64,
    fingerprint: u64,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}-{:016x}", self.first, self.fingerprint)
    }
}

impl Key {
    /// From its text; `None` when it is none of an alert with this fingerprint.
    pub fn read(text: &str, fingerprint: u64) -> Option<Self> {
        let (first, of) = text.split_once('-')?;
        let key = Self { first: u64::from_str_radix(first, 16).ok()?, fingerprint };
        (u64::from_str_radix(of, 16) == Ok(fingerprint)).then_some(key)
    }
}

/// There is no place for another alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[derive(Clone, Debug)]
struct Held {
    alert: Arc<Alert>,
    /// Whether its end is only the time by which it must be sent again.
    timeout: bool,
    key: Key,
}

/// All alerts.
#[derive(Debug, Default)]
pub struct AlertStore {
    by_fingerprint: HashMap<u64, Held>,
    max: usize,
}

impl AlertStore {
    /// An empty store for at most `max` alerts.
    pub fn new(max: usize) -> Self {
        Self { by_fingerprint: HashMap::new(), max }
    }

    /// Takes an alert in. `timeout`: its end is only the time by which it must be sent again.
    ///
    /// # Errors
    /// [`Full`] when it is new and there is no place.
    pub fn put(&mut self, alert: Alert, timeout: bool, now: Timestamp) -> Result<(Arc<Alert>, Change), Full> {
        let fingerprint = alert.labels.fingerprint();
        let Some(held) = self.by_fingerprint.get_mut(&fingerprint) else {
            if self.by_fingerprint.len() >= self.max {
                return Err(Full);
            }
            let change = if alert.is_resolved(now) { Change::Resolved } else { Change::Fired };
            let alert = Arc::new(alert);
            let key = Key { first: now.ms().max(0) as u64, fingerprint };
            self.by_fingerprint.insert(fingerprint, Held { alert: alert.clone(), timeout, key });
            return Ok((alert, change));
        };
        let old = held.alert.clone();
        let inside = |at: Timestamp| at > old.starts_at && at < old.ends_at;
        let (alert, timeout) = if inside(alert.ends_at) || inside(alert.starts_at) {
            merge(held, Held { alert: Arc::new(alert), timeout, key: held.key }, now)
        } else {
            (alert, timeout)
        };
        let change = match (old.is_resolved(now), alert.is_resolved(now)) {
            (true, false) => Change::Fired,
            (false, true) => Change::Resolved,
            _ if old.annotations != alert.annotations || old.starts_at != alert.starts_at => Change::Edited,
            _ => Change::Refreshed,
        };
        let alert = Arc::new(alert);
        *held = Held { alert: alert.clone(), timeout, key: held.key };
        Ok((alert, change))
    }

    /// One alert.
    pub fn get(&self, fingerprint: u64) -> Option<&Arc<Alert>> {
        self.by_fingerprint.get(&fingerprint).map(|held| &held.alert)
    }

    /// Under which key one is stored.
    pub fn key(&self, fingerprint: u64) -> Option<Key> {
        self.by_fingerprint.get(&fingerprint).map(|held| held.key)
    }

    /// Keeps the key under which an alert was found.
    pub fn set_key(&mut self, key: Key) {
        if let Some(held) = self.by_fingerprint.get_mut(&key.fingerprint) {
            held.key = key;
        }
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<Alert>)> {
        self.by_fingerprint.iter().map(|(fingerprint, held)| (*fingerprint, &held.alert))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_fingerprint.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_fingerprint.is_empty()
    }

    /// Removes the alerts that have resolved, except those that `keep` wants, and says which.
    pub fn collect(&mut self, now: Timestamp, keep: impl Fn(u64) -> bool) -> Vec<Key> {
        let gone: Vec<Key> = self
            .by_fingerprint
            .iter()
            .filter(|(fingerprint, held)| held.alert.is_resolved(now) && !keep(**fingerprint))
            .map(|(_, held)| held.key)
            .collect();
        for key in &gone {
            self.by_fingerprint.remove(&key.fingerprint);
        }
        gone
    }
}

/// Two arrivals of one alert as one.
fn merge(old: &Held, new: Held, now: Timestamp) -> (Alert, bool) {
    // The younger one gives the texts.
    let (old, new) = if new.alert.updated_at < old.alert.updated_at { (&new, old) } else { (old, &new) };
    let mut merged = Alert::clone(&new.alert);
    let mut timeout = new.timeout;
    merged.starts_at = merged.starts_at.min(old.alert.starts_at);
    let later = old.alert.ends_at > merged.ends_at;
    let keep_old_end =
        if merged.is_resolved(now) { old.alert.is_resolved(now) && later } else { later && !old.timeout };
    if keep_old_end {
        merged.ends_at = old.alert.ends_at;
        timeout = old.timeout;
    }
    (merged, timeout)
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    fn alert(starts: i64, ends: i64, updated: i64) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "x")]),
            annotations: Labels::empty(),
            starts_at: Timestamp(starts),
            ends_at: Timestamp(ends),
            updated_at: Timestamp(updated),
            generator_url: String::new(),
        }
    }

    #[test]
    fn keys_are_in_the_order_of_arrival() {
        let mut store = AlertStore::new(9);
        let named = |name: &str| {
            let mut one = alert(1, 999_999_999_999, 1);
            one.labels = Labels::from_pairs([("alertname", name)]);
            one
        };
        let mut keys = Vec::new();
        for (second, name) in ["x", "y", "z"].iter().enumerate() {
            let at = Timestamp(1_700_000_000_000 + second as i64 * 1000);
            store.put(named(name), true, at).unwrap();
            // Sent again it keeps its key.
            store.put(named(name), true, at + 60_000).unwrap();
            let fingerprint = named(name).labels.fingerprint();
            let key = store.key(fingerprint).unwrap();
            assert_eq!(Key::read(&key.to_string(), fingerprint), Some(key));
            keys.push(key.to_string());
        }
        assert!(keys.is_sorted(), "{keys:?}");
        for other in ["", "1", "1-2-3", "x-0000000000000001", "000000000001-0000000000000002"] {
            assert_eq!(Key::read(other, 1), None, "{other}");
        }
    }

    #[test]
    fn arrivals_of_one_alert_merge() {
        let mut store = AlertStore::new(1);
        let now = Timestamp(100);
        let check = |store: &mut AlertStore, one, timeout, now, ends, starts, change| {
            let (held, got) = store.put(one, timeout, now).unwrap();
            assert_eq!((held.ends_at.ms(), held.starts_at.ms(), got), (ends, starts, change));
        };
        check(&mut store, alert(50, 200, 100), true, now, 200, 50, Change::Fired);
        check(&mut store, alert(60, 300, 110), true, Timestamp(110), 300, 50, Change::Refreshed);
        // An explicit end in the past resolves it, though the timeout was later.
        check(&mut store, alert(60, 120, 120), false, Timestamp(120), 120, 50, Change::Resolved);
        // It fires again after that.
        check(&mut store, alert(130, 400, 130), true, Timestamp(130), 400, 130, Change::Fired);
        let mut other = alert(1, 999, 1);
        other.labels = Labels::from_pairs([("alertname", "y")]);
        assert_eq!(store.put(other, true, now), Err(Full));
        assert!(store.collect(Timestamp(399), |_| false).is_empty());
        assert_eq!(store.collect(Timestamp(400), |_| false).len(), 1);
    }
}
