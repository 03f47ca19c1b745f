//! Head: one tenant's newest samples, in memory and in sealed files.
//!
//! | module | holds |
//! |---|---|
//! | `index` | which series there are, by identity and by label; `postings` are its lists |
//! | `group` | the series of one target and their samples in memory |
//! | `sealed` | compressed samples on disk, until a block holds them |
//! | `append` | the write path |
//! | `idle` | dropping series whose samples are all in blocks |
//! | `meta` | exemplars and metadata |
//! | `select` | the read path |
//! | `undo` | taking out of memory what the log could not write |
//!
//! Locks are taken in this order: index, groups, a group, the log's buffer. None is held while the disk is waited for.

pub(crate) mod append;
pub(crate) mod group;
mod idle;
pub(crate) mod index;
pub(crate) mod meta;
pub(crate) mod names;
mod postings;
pub(crate) mod sealed;
pub(crate) mod select;
mod undo;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use hashbrown::HashMap;
use model::SeriesRef;
use parking_lot::{Mutex, RwLock};

use group::Group;
use index::Index;
use meta::Meta;

/// Columns of a group; a target with more series has several groups.
const GROUP_COLUMNS: usize = 4096;

/// Bits of a series reference that are the column.
const COLUMN_BITS: u32 = 24;

/// One tenant's newest samples.
pub(crate) struct Head {
    pub(crate) index: RwLock<Index>,
    /// The index's, to be used without its lock.
    pub(crate) hasher: index::Hasher,
    pub(crate) groups: RwLock<Groups>,
    pub(crate) meta: Mutex<Meta>,
    /// Newest sample, `i64::MIN` before the first.
    pub(crate) max_time: AtomicI64,
    /// Samples before this are in blocks, or gone.
    pub(crate) min_valid: AtomicI64,
    /// Samples before this are no longer accepted; at least `min_valid`.
    pub(crate) accept_from: AtomicI64,
    /// Held for reading while a batch goes into memory, for writing to wait until none does.
    pub(crate) gate: RwLock<()>,
    /// Samples in memory that are not sealed.
    pub(crate) unsealed: AtomicU64,
    /// Pairs written to the series log; the next pair's number there.
    pub(crate) log_pairs: Mutex<u32>,
    /// Some series may have no sample: their first batch was refused by the disk, or ended with the process.
    pub(crate) some_empty: AtomicBool,
    /// For the groups before this number: a time at which all have begun, and one at which none has ended.
    pub(crate) common_time: Mutex<(u64, i64, i64)>,
}

/// The groups, by number and by target.
#[derive(Default)]
pub(crate) struct Groups {
    pub(crate) by_number: HashMap<u64, Arc<Group>>,
    /// The group that takes new series of a target.
    pub(crate) by_target: HashMap<u64, u64>,
    pub(crate) next_number: u64,
}

impl Head {
    pub(crate) fn new(seed: [u8; 16], limits: &crate::config::Limits) -> Self {
        let index = Index::new(seed);
        Self {
            hasher: index.hasher(),
            index: RwLock::new(index),
            groups: RwLock::new(Groups { next_number: 1, ..Groups::default() }),
            meta: Mutex::new(Meta::new(limits.exemplars, limits.metadata)),
            max_time: AtomicI64::new(i64::MIN),
            min_valid: AtomicI64::new(i64::MIN),
            accept_from: AtomicI64::new(i64::MIN),
            gate: RwLock::new(()),
            unsealed: AtomicU64::new(0),
            log_pairs: Mutex::new(0),
            some_empty: AtomicBool::new(false),
            common_time: Mutex::default(),
        }
    }

    /// Newest sample, `None` before the first.
    pub(crate) fn newest(&self) -> Option<i64> {
        Some(self.max_time.load(Ordering::Relaxed)).filter(|&time| time != i64::MIN)
    }

    /// The oldest time that is accepted.
    pub(crate) fn oldest_accepted(&self, now: i64, window_ms: i64) -> i64 {
        let newest = self.max_time.load(Ordering::Relaxed);
        let by_window = if newest == i64::MIN { i64::MIN } else { newest.min(now).saturating_sub(window_ms) };
        by_window.max(self.accept_from.load(Ordering::Relaxed))
    }

    /// The oldest sample that is not in a block, about: chunks may begin earlier.
    pub(crate) fn oldest_sample(&self) -> Option<i64> {
        let groups = self.groups.read();
        let oldest = groups.by_number.values().filter_map(|group| {
            let state = group.state.lock();
            let rows = [state.rows.time_range(), state.sealing.as_ref().and_then(|rows| rows.time_range())];
            let rows = rows.into_iter().flatten().map(|(first, _)| first);
            rows.chain(state.chunks.iter().map(|chunk| chunk.min_time)).min()
        });
        oldest.min().map(|time| time.max(self.min_valid.load(Ordering::Relaxed)))
    }

    /// Finds out whether some series have no sample.
    pub(crate) fn note_empty(&self) {
        let empty = self.all_groups().iter().any(|group| {
            let state = group.state.lock();
            let mut columns = state.series.iter().zip(&state.last_time);
            columns.any(|(series, last)| *series != group::GONE && *last == i64::MIN)
        });
        self.some_empty.store(empty, Ordering::Relaxed);
    }

    /// Makes sure that no new group gets `number`: stored samples name it.
    pub(crate) fn never_use(&self, number: u64) {
        let mut groups = self.groups.write();
        groups.next_number = groups.next_number.max(number.saturating_add(1));
    }

    /// Every group.
    pub(crate) fn all_groups(&self) -> Vec<Arc<Group>> {
        let mut groups: Vec<_> = self.groups.read().by_number.values().cloned().collect();
        groups.sort_unstable_by_key(|group| group.number);
        groups
    }
}

/// The reference of a column of a group.
pub(crate) fn reference(group: u64, column: u32) -> SeriesRef {
    SeriesRef(group << COLUMN_BITS | u64::from(column))
}

/// Group and column of a reference.
#[inline]
pub(crate) fn split(series: SeriesRef) -> (u64, u32) {
    (series.0 >> COLUMN_BITS, series.0 as u32 & ((1 << COLUMN_BITS) - 1))
}
