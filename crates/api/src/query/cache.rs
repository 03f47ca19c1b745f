//! Answers to range queries, kept for the next refresh of the same panel.
//!
//! A kept answer is reused up to the first step that a later write may have changed ([`WriteStamps`]); the rest is computed. Only
//! queries whose value at a step depends on nothing but samples around it are kept: no `@`, no `start()`, `end()`, `range()`.

use std::collections::HashMap;
use std::sync::Arc;

use model::TenantId;
use parking_lot::Mutex;
use promql::{Annotations, Rows};

use super::stamps::WriteStamps;

/// What makes two queries the same but for their range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tenant: TenantId,
    /// As the printer writes it.
    pub(super) query: String,
    pub(super) step_ms: i64,
    /// Where the steps are within the multiples of `step_ms`.
    pub(super) phase_ms: i64,
    pub(super) lookback_ms: i64,
}

/// A kept answer.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) rows: Arc<Rows>,
    pub(super) annotations: Annotations,
    /// How far before and after a step its samples may be, in milliseconds.
    pub(super) reach: (i64, i64),
    /// [`WriteStamps::now`] before the samples were looked for.
    pub(super) stamp: u64,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    bytes: u64,
    used: u64,
}

/// The kept answers, bounded in bytes; the one that was not used for longest goes first.
#[derive(Debug)]
pub(super) struct Cache {
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Entry>,
    bytes: u64,
    clock: u64,
}

/// Steps of a kept answer that are still right.
#[derive(Debug)]
pub(super) struct Reusable {
    pub(super) kept: Kept,
    /// The first usable step's position in the kept answer.
    pub(super) from: usize,
    /// How many steps, from the first step of the query on.
    pub(super) steps: usize,
}

impl Cache {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, state: Mutex::default() }
    }

    pub(super) fn is_on(&self) -> bool {
        self.max_bytes > 0
    }

    /// What can be reused for a query of `count` steps from `start` on. `oldest`: samples before this may have been deleted.
    pub(super) fn find(
        &self,
        key: &Key,
        (start, count): (i64, usize),
        oldest: i64,
        stamps: &WriteStamps,
    ) -> Option<Reusable> {
        let kept = {
            let mut state = self.state.lock();
            state.clock += 1;
            let clock = state.clock;
            let entry = state.entries.get_mut(key)?;
            entry.used = clock;
            entry.kept.clone()
        };
        let steps = kept.rows.steps();
        let (first, step) = (kept.rows.time(0), key.step_ms);
        // The phase is the same, so that the distance is a number of steps.
        let from = usize::try_from((start - first) / step).ok().filter(|_| start >= first)?;
        if from >= steps || start.saturating_sub(kept.reach.0) < oldest {
            return None;
        }
        let mut usable = (steps - from).min(count);
        let last = start + step * (usable as i64 - 1);
        let (before, after) = kept.reach;
        let looked_at = (start.saturating_sub(before), last.saturating_add(after));
        if let Some(change) = stamps.first_change(&key.tenant, looked_at.0, looked_at.1, kept.stamp) {
            // Steps whose last sample of interest is before the change.
            let unchanged = change.saturating_sub(after).saturating_sub(start);
            usable = usable.min(
                usize::try_from(unchanged.div_euclid(step) + i64::from(unchanged.rem_euclid(step) > 0))
                    .unwrap_or(0),
            );
        }
        (usable > 0).then_some(Reusable { kept, from, steps: usable })
    }

    /// Keeps an answer unless it is too large for the cache.
    pub(super) fn keep(&self, key: Key, kept: Kept) {
        let bytes = kept.rows.bytes() + key.query.len() as u64 + size_of::<Entry>() as u64;
        // One answer must not push out everything else.
        if bytes > self.max_bytes / 4 {
            return;
        }
        let mut state = self.state.lock();
        state.clock += 1;
        let used = state.clock;
        if let Some(old) = state.entries.insert(key, Entry { kept, bytes, used }) {
            state.bytes -= old.bytes;
        }
        state.bytes += bytes;
        while state.bytes > self.max_bytes {
            let oldest = state.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            let Some(removed) = oldest.and_then(|key| state.entries.remove(&key)) else { break };
            state.bytes -= removed.bytes;
        }
    }

    /// Bytes and answers that are kept.
    pub(super) fn size(&self) -> (u64, usize) {
        let state = self.state.lock();
        (state.bytes, state.entries.len())
    }
}

/// Whether nothing in the query depends on the range as a whole.
pub(super) fn depends_on_steps_alone(printed: &str) -> bool {
    !["start()", "end()", "range()", "@"].iter().any(|word| printed.contains(word))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use model::{Budget, Timestamp};
    use promql::{EvalOptions, Limits, Options, RowsValue, Times};

    use super::*;

    /// `vector(time())` as rows, from `start` on.
    fn rows(start: i64, count: usize) -> Rows {
        let expr = promql::parse("vector(time())", &Options::default()).unwrap();
        let times = Times::Range {
            start: Timestamp(start),
            end: Timestamp(start + 1000 * (count as i64 - 1)),
            step_ms: 1000,
        };
        let plan = promql::plan(&expr, times, &EvalOptions::default()).unwrap();
        let found = promql::evaluate_rows(
            &plan,
            Vec::new(),
            &Limits::default(),
            &Budget::unlimited(),
            &AtomicBool::new(false),
        );
        match found.unwrap().value {
            RowsValue::Matrix(rows) => rows,
            other => panic!("{other:?}"),
        }
    }

    fn key(query: &str) -> Key {
        let tenant = TenantId::default();
        Key { tenant, query: query.to_owned(), step_ms: 1000, phase_ms: 0, lookback_ms: 0 }
    }

    fn kept(start: i64, count: usize, stamp: u64) -> Kept {
        let rows = Arc::new(rows(start, count));
        Kept { rows, annotations: Annotations::default(), reach: (5000, 0), stamp }
    }

    #[test]
    fn steps_before_a_change_are_reused() {
        let (cache, stamps) = (Cache::new(1 << 20), WriteStamps::default());
        let tenant = TenantId::default();
        cache.keep(key("q"), kept(600_000, 600, stamps.now(&tenant)));
        let find = |start, count, oldest| {
            cache.find(&key("q"), (start, count), oldest, &stamps).map(|found| (found.from, found.steps))
        };
        assert_eq!(find(600_000, 600, 0), Some((0, 600)));
        assert_eq!(find(700_000, 600, 0), Some((100, 500)));
        assert_eq!(find(599_000, 600, 0), None);
        assert_eq!(find(1_200_000, 10, 0), None);
        assert_eq!(find(600_000, 600, 596_000), None);
        // Minute 12 begins at 720 s: the step at 720 s sees it, the one at 719 s does not.
        stamps.changed(&tenant, 725_000, 725_000);
        assert_eq!(find(600_000, 600, 0), Some((0, 120)));
        assert_eq!(find(719_000, 600, 0), Some((119, 1)));
        assert_eq!(find(720_000, 600, 0), None);
        // The step's window reaches back into the minute, even if the step is after it.
        assert_eq!(find(784_000, 600, 0), None);
        assert_eq!(find(785_000, 100, 0), Some((185, 100)));
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let size = kept(0, 100, 0).rows.bytes() + 200;
        let (cache, stamps) = (Cache::new(size * 5), WriteStamps::default());
        for query in ["a", "b", "c", "d"] {
            cache.keep(key(query), kept(0, 100, 0));
        }
        assert!(cache.find(&key("a"), (0, 10), i64::MIN, &stamps).is_some());
        let before = cache.size();
        for query in ["e", "f", "g"] {
            cache.keep(key(query), kept(0, 100, 0));
        }
        assert!(cache.size().0 <= size * 5 && before.1 == 4);
        assert!(cache.find(&key("a"), (0, 10), i64::MIN, &stamps).is_some());
        assert!(cache.find(&key("b"), (0, 10), i64::MIN, &stamps).is_none());
        cache.keep(key("large"), kept(0, 10_000, 0));
        assert!(cache.find(&key("large"), (0, 10), i64::MIN, &stamps).is_none());
    }
}
