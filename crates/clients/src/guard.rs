//! What keeps one sender from counting as many: rates, repeated uploads, contribution of each client.
//!
//! Everything lives in memory, is bounded, and forgets: two generations that take turns.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::config::Limits;

/// How far apart the event times of a report and its repetition may be, in milliseconds.
const SAME_EVENT_MS: i64 = 2000;
/// How long contributions count.
pub const CONTRIBUTION_MS: i64 = 300_000;
/// How long a report is remembered at least.
const REMEMBER_MS: i64 = 600_000;
/// Successes of a client count this many times as often as its failures.
const SUCCESS_FACTOR: u32 = 10;

/// Keys are hashes with a secret seed already.
#[derive(Default)]
pub struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Hashed<V> = HashMap<u64, V, BuildHasherDefault<Already>>;

/// A map that forgets what is older than one to two periods, and the older half when it is full.
struct Recent<V> {
    young: Hashed<V>,
    old: Hashed<V>,
    turned: i64,
    period: i64,
    half: usize,
}

impl<V: Copy> Recent<V> {
    fn new(period: i64, capacity: usize) -> Self {
        Self {
            young: Hashed::default(),
            old: Hashed::default(),
            turned: 0,
            period,
            half: (capacity / 2).max(1),
        }
    }

    fn get(&self, key: u64) -> Option<V> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    fn set(&mut self, key: u64, value: V, now: i64) {
        if now - self.turned >= self.period || self.young.len() >= self.half {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            if now - self.turned >= 2 * self.period {
                self.old.clear();
            }
            self.turned = now;
        }
        self.young.insert(key, value);
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// A token bucket.
#[derive(Clone, Copy)]
struct Bucket {
    tokens: f32,
    at: i64,
}

/// Takes tokens from a bucket that fills with `rate` a second up to `burst`; whether there were enough.
fn take(bucket: &mut Bucket, amount: f32, rate: f32, burst: f32, now: i64) -> bool {
    let filled = bucket.tokens + (now - bucket.at).max(0) as f32 / 1000.0 * rate;
    *bucket = Bucket { tokens: filled.min(burst), at: now };
    // An upload larger than a whole burst passes when the bucket is full, or it never could.
    let enough = bucket.tokens >= amount.min(burst);
    if enough {
        bucket.tokens -= amount;
    }
    enough
}

/// Which bound an upload has hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttled {
    /// Too much from one network prefix.
    Prefix,
    /// Too much from one autonomous system.
    Asn,
    /// Too much for one site.
    Site,
}

impl Throttled {
    /// Every bound, for metrics that start at 0.
    pub const ALL: [Self; 3] = [Self::Prefix, Self::Asn, Self::Site];

    /// A word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Asn => "asn",
            Self::Site => "site",
        }
    }
}

/// The memory of a collector about its senders.
pub struct Guard {
    limits: Limits,
    rates: Recent<Bucket>,
    seen: Recent<i64>,
    contributions: Recent<(i64, u32)>,
    /// Browser families of a prefix that had failures, one bit each.
    families: Recent<(i64, u16)>,
}

impl Guard {
    /// With nothing remembered.
    pub fn new(limits: &Limits) -> Self {
        let quarter = limits.remembered / 4;
        Self {
            limits: limits.clone(),
            rates: Recent::new(REMEMBER_MS, quarter),
            seen: Recent::new(REMEMBER_MS, quarter),
            contributions: Recent::new(CONTRIBUTION_MS, quarter),
            families: Recent::new(CONTRIBUTION_MS, quarter),
        }
    }

    /// Whether an upload of `reports` reports may pass.
    ///
    /// # Errors
    /// The bound that it has hit.
    pub fn admit(
        &mut self,
        prefix: u64,
        asn: u32,
        site: u16,
        reports: usize,
        now: i64,
    ) -> Result<(), Throttled> {
        let limits = &self.limits;
        let bounds = [
            (Throttled::Prefix, limits.per_prefix_per_second, (1, prefix)),
            (Throttled::Asn, if asn == 0 { 0 } else { limits.per_asn_per_second }, (2, u64::from(asn))),
            (Throttled::Site, limits.per_site_per_second, (3, u64::from(site))),
        ];
        for (bound, rate, key) in bounds {
            if rate == 0 {
                continue;
            }
            let key = spread(key);
            let burst = rate as f32 * self.limits.burst_seconds as f32;
            let mut bucket = self.rates.get(key).unwrap_or(Bucket { tokens: burst, at: now });
            let passed = take(&mut bucket, reports.max(1) as f32, rate as f32, burst, now);
            self.rates.set(key, bucket, now);
            if !passed {
                return Err(bound);
            }
        }
        Ok(())
    }

    /// Whether this report has come before: the same fingerprint of the same client at the same event time. Remembers it.
    pub fn is_repeated(&mut self, client: u64, fingerprint: u64, event: i64, now: i64) -> bool {
        let key = spread((client, fingerprint));
        let known = self.seen.get(key);
        let repeated = known.is_some_and(|at| (at - event).abs() <= SAME_EVENT_MS);
        if !repeated {
            self.seen.set(key, event, now);
        }
        repeated
    }

    /// Forgets a report, so that its repetition counts.
    pub fn forget(&mut self, client: u64, fingerprint: u64) {
        let key = spread((client, fingerprint));
        self.seen.young.remove(&key);
        self.seen.old.remove(&key);
    }

    /// Whether failures of this browser family still count for its prefix: a few do, so that one sender under many names is no crowd.
    pub fn is_another(&mut self, prefix: u64, site: u16, family: u8, now: i64) -> bool {
        let key = spread((prefix, u64::from(site), 4));
        let (since, known) = match self.families.get(key) {
            Some((since, known)) if now - since < CONTRIBUTION_MS => (since, known),
            _ => (now, 0),
        };
        let bit = 1u16 << (family % 16);
        if known & bit == 0 && known.count_ones() >= self.limits.families_per_prefix {
            return false;
        }
        self.families.set(key, (since, known | bit), now);
        true
    }

    /// How many of `count` reports of this client and group still count.
    pub fn contribute(&mut self, client: u64, group: u8, success: bool, count: u32, now: i64) -> u32 {
        let key = spread((client, u64::from(group)));
        let cap = if success {
            self.limits.per_client.saturating_mul(SUCCESS_FACTOR)
        } else {
            self.limits.per_client
        };
        let (since, used) = match self.contributions.get(key) {
            Some((since, used)) if now - since < CONTRIBUTION_MS => (since, used),
            _ => (now, 0),
        };
        let counted = count.min(cap.saturating_sub(used));
        if counted > 0 {
            self.contributions.set(key, (since, used + counted), now);
        }
        counted
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that are remembered.
    pub fn len(&self) -> usize {
        self.rates.len() + self.seen.len() + self.contributions.len() + self.families.len()
    }
}

fn spread(key: impl Hash) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(0x5ee);
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_counts_once_and_a_later_event_again() {
        let mut guard = Guard::new(&Limits::default());
        assert!(!guard.is_repeated(1, 7, 10_000, 10_000));
        for late in [0, 200, 1900] {
            assert!(guard.is_repeated(1, 7, 10_000 + late, 20_000), "{late}");
        }
        assert!(!guard.is_repeated(2, 7, 10_000, 20_000));
        assert!(!guard.is_repeated(1, 7, 15_000, 20_000));
    }

    #[test]
    fn a_client_counts_only_so_often() {
        let mut guard = Guard::new(&Limits::default());
        let counted: u32 = (0..20).map(|_| guard.contribute(1, 3, false, 1, 1000)).sum();
        assert_eq!(counted, 5);
        assert_eq!(guard.contribute(1, 0, true, 1000, 1000), 50);
        assert_eq!(guard.contribute(1, 3, false, 1, 1000 + CONTRIBUTION_MS), 1);
    }

    #[test]
    fn one_prefix_under_many_names_is_no_crowd() {
        let mut guard = Guard::new(&Limits::default());
        let counted = |guard: &mut Guard, prefix| {
            (0..9).filter(|family| guard.is_another(prefix, 0, *family, 1000)).count()
        };
        assert_eq!(counted(&mut guard, 1), 3);
        assert_eq!(counted(&mut guard, 1), 3);
        assert_eq!(counted(&mut guard, 2), 3);
        assert!(guard.is_another(1, 0, 8, 1000 + 2 * CONTRIBUTION_MS));
    }

    #[test]
    fn rates_are_bounded_and_memory_too() {
        let limits = Limits {
            per_prefix_per_second: 10,
            per_site_per_second: 0,
            burst_seconds: 1,
            remembered: 300,
            ..Limits::default()
        };
        let mut guard = Guard::new(&limits);
        assert_eq!(guard.admit(1, 0, 0, 10, 0), Ok(()));
        assert_eq!(guard.admit(1, 0, 0, 1, 0), Err(Throttled::Prefix));
        assert_eq!(guard.admit(2, 0, 0, 1, 0), Ok(()));
        assert_eq!(guard.admit(1, 0, 0, 1, 200), Ok(()));
        for n in 10..10_000u64 {
            assert_eq!(guard.admit(n, 0, 0, 1, 300), Ok(()));
            guard.is_repeated(n, n, 0, 300);
            guard.contribute(n, 1, false, 1, 300);
        }
        assert!(guard.len() <= 300, "{}", guard.len());
    }
}
