//! Silences: alerts muted by hand for a while.
//!
//! A silence has one or several sets of matchers and mutes what one set matches. It is pending, active or expired. An
//! edit that changes what a silence means expires it and makes a new one; only its times and texts can change in place.
//! Pure: the dispatcher stores what [`Silences::set`] and [`Silences::expire`] return before it applies them. Source:
//! the Alertmanager manual, "Silences".

use std::collections::{BTreeMap, HashMap};

use model::matcher::selects;
use model::{Labels, MatchOp, Matcher, Selector, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// Where a silence is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SilenceState {
    /// It mutes.
    Active,
    /// It will.
    Pending,
    /// It did.
    Expired,
}

/// A silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// A version 4 UUID; empty for one that is not stored yet.
    pub id: String,
    /// It mutes what one of these sets matches.
    #[serde(with = "sets")]
    pub matcher_sets: Vec<Selector>,
    /// First instant.
    pub starts_at: Timestamp,
    /// Last instant.
    pub ends_at: Timestamp,
    /// When it was stored last.
    pub updated_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Further texts.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Silence {
    /// Its state at `now`.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        if now < self.starts_at {
            SilenceState::Pending
        } else if now > self.ends_at {
            SilenceState::Expired
        } else {
            SilenceState::Active
        }
    }

    /// Whether one of its sets matches.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matcher_sets.iter().any(|set| selects(set, labels))
    }

    fn validate(&self) -> Result<(), Error> {
        let invalid = |text: String| Err(Error::Invalid(format!("invalid silence: {text}")));
        if self.matcher_sets.is_empty() || self.matcher_sets.iter().any(Vec::is_empty) {
            return invalid("at least one matcher required".into());
        }
        for set in &self.matcher_sets {
            if set.iter().any(|matcher| matcher.name().is_empty()) {
                return invalid("invalid label matcher: a matcher has no label name".into());
            }
            if set.iter().all(Matcher::matches_empty) {
                return invalid("at least one matcher must not match the empty string".into());
            }
        }
        if self.ends_at < self.starts_at {
            return invalid("end time must not be before start time".into());
        }
        Ok(())
    }
}

/// The changes of one request: what to store, `None` for what to remove.
pub type Changes = Vec<Silence>;

/// All silences.
#[derive(Debug, Default)]
pub struct Silences {
    by_id: HashMap<String, Silence>,
    /// Bounds.
    pub max_count: usize,
    /// Bounds.
    pub max_bytes: usize,
}

impl Silences {
    /// Silences as stored, with bounds on their count and size.
    pub fn new(stored: impl IntoIterator<Item = Silence>, max_count: usize, max_bytes: usize) -> Self {
        let by_id = stored.into_iter().map(|silence| (silence.id.clone(), silence)).collect();
        Self { by_id, max_count, max_bytes }
    }

    /// What a request to create (empty id) or edit a silence comes to: the silences to store, the wanted one last.
    /// Nothing has changed yet: store them, then [`Silences::apply`].
    ///
    /// # Errors
    /// `Invalid` for a silence that cannot be, `NotFound` for an unknown id, `Limit` when there are too many.
    pub fn set(&self, mut silence: Silence, now: Timestamp, new_id: &str) -> Result<Changes, Error> {
        silence.validate()?;
        let bytes = serde_json::to_vec(&silence).map_or(0, |text| text.len());
        if self.max_bytes > 0 && bytes > self.max_bytes {
            return Err(Error::Limit(format!(
                "silence exceeded maximum size: {bytes} bytes (limit: {} bytes)",
                self.max_bytes
            )));
        }
        let before = match silence.id.as_str() {
            "" => None,
            id => {
                let found =
                    self.by_id.get(id).ok_or_else(|| Error::NotFound(format!("silence {id} not found")))?;
                Some(found)
            }
        };
        silence.updated_at = now;
        if let Some(before) = before
            && can_update(before, &silence, now)
        {
            return Ok(vec![silence]);
        }
        if self.max_count > 0 && self.by_id.len() >= self.max_count {
            return Err(Error::Limit(format!(
                "exceeded maximum number of silences: {} (limit: {})",
                self.by_id.len(),
                self.max_count
            )));
        }
        let mut changes = Changes::new();
        if let Some(before) = before
            && before.state(now) != SilenceState::Expired
        {
            changes.push(expired(before, now));
        }
        silence.id = new_id.to_owned();
        silence.starts_at = silence.starts_at.max(now);
        silence.ends_at = silence.ends_at.max(silence.starts_at);
        changes.push(silence);
        Ok(changes)
    }

    /// What ending a silence comes to; `None` when it has ended already.
    ///
    /// # Errors
    /// `NotFound` for an unknown id.
    pub fn expire(&self, id: &str, now: Timestamp) -> Result<Option<Silence>, Error> {
        let silence = self.by_id.get(id).ok_or_else(|| Error::NotFound(format!("silence {id} not found")))?;
        match silence.state(now) {
            SilenceState::Expired => Ok(None),
            _ => Ok(Some(expired(silence, now))),
        }
    }

    /// Puts what was stored into effect.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Silence>) {
        for silence in changes {
            self.by_id.insert(silence.id.clone(), silence);
        }
    }

    /// The ids of silences that expired more than `retention_ms` ago.
    pub fn collectable(&self, now: Timestamp, retention_ms: i64) -> Vec<String> {
        let old = self.by_id.values().filter(|silence| silence.ends_at + retention_ms < now);
        old.map(|silence| silence.id.clone()).collect()
    }

    /// Removes them.
    pub fn remove(&mut self, ids: &[String]) {
        for id in ids {
            self.by_id.remove(id);
        }
    }

    /// One silence.
    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.by_id.get(id)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.by_id.values()
    }

    /// The ids of active silences that match, sorted.
    pub fn mutes(&self, labels: &Labels, now: Timestamp) -> Vec<String> {
        let active = self.by_id.values().filter(|silence| silence.state(now) == SilenceState::Active);
        let mut ids: Vec<String> = active.filter(|s| s.matches(labels)).map(|s| s.id.clone()).collect();
        ids.sort_unstable();
        ids
    }
}

/// A silence that ends now; one that had not begun never did.
fn expired(silence: &Silence, now: Timestamp) -> Silence {
    let mut silence = silence.clone();
    // Expired from the next instant on would leave it active for this one.
    silence.ends_at = now - 1;
    silence.starts_at = silence.starts_at.min(silence.ends_at);
    silence.updated_at = now;
    silence
}

fn can_update(before: &Silence, after: &Silence, now: Timestamp) -> bool {
    if before.matcher_sets != after.matcher_sets {
        return false;
    }
    match before.state(now) {
        SilenceState::Active => {
            before.starts_at.ms() / 1000 == after.starts_at.ms() / 1000 && after.ends_at >= now
        }
        SilenceState::Pending => after.starts_at >= now,
        SilenceState::Expired => false,
    }
}

/// A version 4 UUID of 128 bits that the caller drew.
pub fn uuid(bits: u128) -> String {
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

/// Matcher sets as JSON.
mod sets {
    use super::{Deserialize, Deserializer, MatchOp, Matcher, Selector, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Raw {
        name: String,
        op: String,
        value: String,
    }

    pub(super) fn serialize<S: Serializer>(sets: &[Selector], serializer: S) -> Result<S::Ok, S::Error> {
        let raw = |matcher: &Matcher| Raw {
            name: matcher.name().to_owned(),
            op: matcher.op().as_str().to_owned(),
            value: matcher.value().to_owned(),
        };
        let sets: Vec<Vec<Raw>> = sets.iter().map(|set| set.iter().map(raw).collect()).collect();
        sets.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Selector>, D::Error> {
        let sets = Vec::<Vec<Raw>>::deserialize(from)?;
        let build = |raw: Raw| {
            let op = match raw.op.as_str() {
                "=" => MatchOp::Equal,
                "!=" => MatchOp::NotEqual,
                "=~" => MatchOp::Regex,
                "!~" => MatchOp::NotRegex,
                other => return Err(serde::de::Error::custom(format!("unknown operator {other:?}"))),
            };
            Matcher::new(raw.name, op, raw.value).map_err(serde::de::Error::custom)
        };
        sets.into_iter().map(|set| set.into_iter().map(build).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn silence(id: &str, set: &str, starts: i64, ends: i64) -> Silence {
        Silence {
            id: id.into(),
            matcher_sets: vec![crate::parse::matchers(set).unwrap()],
            starts_at: Timestamp(starts),
            ends_at: Timestamp(ends),
            updated_at: Timestamp(0),
            created_by: "ops".into(),
            comment: "why".into(),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn states_follow_the_clock_and_json_keeps_everything() {
        let one = silence("x", "a=b", 10, 20);
        let states: Vec<_> = [9, 10, 20, 21].map(|now| one.state(Timestamp(now))).into();
        use SilenceState::{Active, Expired, Pending};
        assert_eq!(states, [Pending, Active, Active, Expired]);
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Silence>(&json).unwrap(), one);
    }

    #[test]
    fn nonsense_is_refused() {
        let all = Silences::new([], 1, 200);
        let set = |silence| all.set(silence, Timestamp(5), "id");
        assert!(set(silence("", "a=~\".*\"", 1, 9)).is_err(), "would mute everything");
        assert!(set(silence("", "a=b", 9, 1)).is_err());
        assert!(matches!(set(silence("gone", "a=b", 1, 9)), Err(Error::NotFound(_))));
        assert!(matches!(set(silence("", &format!("a={}", "x".repeat(300)), 1, 9)), Err(Error::Limit(_))));
        let full = Silences::new([silence("x", "a=b", 1, 9)], 1, 0);
        assert!(matches!(full.set(silence("", "a=b", 1, 9), Timestamp(5), "id"), Err(Error::Limit(_))));
    }

    #[test]
    fn uuids_are_of_version_4() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    proptest! {
        /// Whatever is edited or expired: after it, exactly the alerts of the last wish are muted, no silence that was
        /// replaced mutes any more, and nothing that had expired comes back.
        #[test]
        fn the_last_wish_rules(steps in prop::collection::vec((0usize..3, 0i64..30, 1i64..40, 0i64..10, any::<bool>()), 1..20)) {
            let mut all = Silences::new([], 0, 0);
            let (mut now, mut current, mut made) = (Timestamp(0), None::<String>, 0);
            for (which, starts, length, pass, expire) in steps {
                now = now + pass;
                if expire && let Some(id) = current.take() {
                    if let Ok(Some(change)) = all.expire(&id, now) {
                        all.apply([change]);
                    }
                    prop_assert_eq!(all.get(&id).unwrap().state(now), SilenceState::Expired);
                    continue;
                }
                let wish = silence(current.as_deref().unwrap_or(""), ["a=x", "a=y", "a=z"][which], now.ms() + starts - 15, now.ms() + starts - 15 + length);
                made += 1;
                let changes = all.set(wish.clone(), now, &format!("id{made}")).unwrap();
                all.apply(changes.clone());
                let last = changes.last().unwrap();
                current = Some(last.id.clone());
                let mutes: Vec<bool> = ["x", "y", "z"].map(|v| !all.mutes(&Labels::from_pairs([("a", v)]), now).is_empty()).into();
                let wanted: Vec<bool> = (0..3).map(|at| at == which && last.state(now) == SilenceState::Active).collect();
                prop_assert_eq!(mutes, wanted);
            }
        }
    }
}
