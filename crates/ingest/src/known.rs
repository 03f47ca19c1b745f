//! Series that remote write has brought before, by what their labels looked like on the wire: a steady sender's labels are
//! neither parsed nor checked nor hashed a second time.
//!
//! One open-addressing table of 16 bytes an entry: half of the 128-bit key is kept, the other half says where. So the table is
//! not moved when it grows: it begins anew, and series are learned again as they come. An entry that is wrong (the storage has forgotten
//! the series) is found out by the storage and forgotten here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::SeriesRef;
use parking_lot::RwLock;
use prometheus_client::metrics::gauge::Gauge;

/// Low bits of an entry's second word: the reference; above them the tick of its last use.
const REF_BITS: u32 = 56;
const REF_MASK: u64 = (1 << REF_BITS) - 1;
/// A reference that was forgotten.
const FORGOTTEN: u64 = REF_MASK;
/// Entries that were not used for one to two ticks do not count when the table's next size is chosen.
const TICK: Duration = Duration::from_secs(600);
const MIN_SLOTS: usize = 1024;

/// The series that are known.
pub(crate) struct Known {
    table: RwLock<Table>,
    max: usize,
    size: Gauge,
}

struct Table {
    slots: Vec<[AtomicU64; 2]>,
    used: usize,
    tick: u8,
    ticked: Instant,
}

impl Table {
    fn new(slots: usize) -> Self {
        let slots = (0..slots).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect();
        Self { slots, used: 0, tick: 0, ticked: Instant::now() }
    }

    /// Lets time pass.
    fn advance(&mut self) {
        let ticks = self.ticked.elapsed().as_secs() / TICK.as_secs();
        if ticks > 0 {
            self.tick = self.tick.wrapping_add(ticks.min(100) as u8);
            self.ticked = Instant::now();
        }
    }

    #[inline]
    fn place(&self, key: u128) -> usize {
        ((key as u64 as u128 * self.slots.len() as u128) >> 64) as usize
    }

    fn put(&mut self, tag: u64, place: usize, word: u64) {
        let mut at = place;
        loop {
            let slot = &mut self.slots[at];
            let there = *slot[0].get_mut();
            if there == 0 || there == tag {
                self.used += usize::from(there == 0);
                *slot[0].get_mut() = tag;
                *slot[1].get_mut() = word;
                return;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }
}

/// The half of a key that an entry keeps; 0 is an empty slot.
#[inline]
fn tag(key: u128) -> u64 {
    ((key >> 64) as u64).max(1)
}

impl Known {
    /// At most `max` series; 0 remembers none.
    pub(crate) fn new(max: usize, size: Gauge) -> Self {
        Self { table: RwLock::new(Table::new(MIN_SLOTS)), max, size }
    }

    /// Remembers series; those that have no key or reference are left out.
    pub(crate) fn learn(&self, series: impl Iterator<Item = (u128, SeriesRef)>) {
        let mut table = self.table.write();
        table.advance();
        for (key, reference) in series {
            if reference.0 >= FORGOTTEN || self.max == 0 {
                continue;
            }
            if (table.used + 1) * 5 > table.slots.len() * 4 {
                self.make_room(&mut table);
            }
            let (place, word) = (table.place(key), reference.0 | u64::from(table.tick) << REF_BITS);
            table.put(tag(key), place, word);
        }
        self.size.set(table.used as i64);
    }

    /// Forgets series.
    pub(crate) fn forget(&self, keys: impl Iterator<Item = u128>) {
        let table = self.table.write();
        for key in keys {
            let (tag, mut at) = (tag(key), table.place(key));
            loop {
                let [there, word] = &table.slots[at];
                match there.load(Ordering::Relaxed) {
                    0 => break,
                    same if same == tag => {
                        word.store(FORGOTTEN, Ordering::Relaxed);
                        break;
                    }
                    _ => at = if at + 1 == table.slots.len() { 0 } else { at + 1 },
                }
            }
        }
    }

    /// Begins anew with room for what was used lately.
    fn make_room(&self, table: &mut Table) {
        table.advance();
        let tick = table.tick;
        let recent =
            |word: u64| word & REF_MASK != FORGOTTEN && tick.wrapping_sub((word >> REF_BITS) as u8) <= 1;
        let live =
            table.slots.iter_mut().filter_map(|[tag, word]| (*tag.get_mut() != 0).then_some(*word.get_mut()));
        let live = live.filter(|word| recent(*word)).count();
        let slots = (live * 2).clamp(MIN_SLOTS, (self.max * 5 / 4).max(MIN_SLOTS));
        *table = Table { tick, ticked: table.ticked, ..Table::new(slots) };
    }
}

impl wire::remote_write::Known for Known {
    fn find(&self, keys: &[u128], found: &mut [Option<SeriesRef>]) {
        if keys.is_empty() {
            return;
        }
        let table = self.table.read();
        // All lines first, which depend on nothing and so come from memory at the same time.
        let touched = keys.iter().fold(0, |sum: u64, key| {
            sum.wrapping_add(table.slots[table.place(*key)][0].load(Ordering::Relaxed))
        });
        std::hint::black_box(touched);
        let stamp = u64::from(table.tick) << REF_BITS;
        for (key, found) in keys.iter().zip(found) {
            let (tag, mut at) = (tag(*key), table.place(*key));
            *found = loop {
                let [there, word] = &table.slots[at];
                match there.load(Ordering::Relaxed) {
                    0 => break None,
                    same if same == tag => {
                        let now = word.load(Ordering::Relaxed);
                        let reference = now & REF_MASK;
                        if reference == FORGOTTEN {
                            break None;
                        }
                        // A forget that comes between is lost; the storage finds that out again.
                        if now & !REF_MASK != stamp {
                            word.store(reference | stamp, Ordering::Relaxed);
                        }
                        break Some(SeriesRef(reference));
                    }
                    _ => at = if at + 1 == table.slots.len() { 0 } else { at + 1 },
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::remote_write::Known as _;

    use super::*;

    fn key(series: u64) -> u128 {
        let half = |salt: u64| {
            u128::from(
                (series ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(salt | 1),
            )
        };
        half(0xbf58_476d_1ce4_e5b9) << 64 | half(0x94d0_49bb_1331_11eb)
    }

    fn find(known: &Known, series: &[u64]) -> Vec<Option<u64>> {
        let keys: Vec<u128> = series.iter().map(|s| key(*s)).collect();
        let mut found = vec![None; keys.len()];
        known.find(&keys, &mut found);
        found.into_iter().map(|f| f.map(|r| r.0)).collect()
    }

    #[test]
    fn what_is_learned_is_found_until_it_is_forgotten() {
        let known = Known::new(100_000, Gauge::default());
        assert_eq!(find(&known, &[1, 2]), [None, None]);
        known.learn([1, 2, 3].into_iter().map(|s| (key(s), SeriesRef(s * 10))));
        assert_eq!(find(&known, &[1, 2, 3, 4]), [Some(10), Some(20), Some(30), None]);
        known.forget([key(2), key(9)].into_iter());
        assert_eq!(find(&known, &[1, 2, 3]), [Some(10), None, Some(30)]);
        known.learn([(key(2), SeriesRef(21))].into_iter());
        assert_eq!(find(&known, &[2]), [Some(21)]);
        // What has no room for the time of its last use is not remembered.
        known.learn([(key(5), SeriesRef(u64::MAX))].into_iter());
        assert_eq!(find(&known, &[5]), [None]);
    }

    #[test]
    fn a_steady_sender_is_known_in_the_end_and_the_bound_holds() {
        let size = Gauge::default();
        let known = Known::new(50_000, size.clone());
        let round = |series: std::ops::Range<u64>| {
            let all: Vec<u64> = series.collect();
            let mut missing = 0;
            for part in all.chunks(1000) {
                let unknown: Vec<u64> = part
                    .iter()
                    .zip(find(&known, part))
                    .filter(|(_, f)| f.is_none())
                    .map(|(s, _)| *s)
                    .collect();
                missing += unknown.len();
                known.learn(unknown.into_iter().map(|s| (key(s), SeriesRef(s))));
            }
            missing
        };
        let missing: Vec<usize> = (0..6).map(|_| round(0..40_000)).collect();
        assert_eq!((missing[0], missing[5]), (40_000, 0), "{missing:?}");
        // Far more than may be remembered.
        let missed: usize = (0..3).map(|_| round(0..500_000)).sum();
        assert!(missed > 1_000_000, "{missed}");
        assert!(size.get() <= 50_000 + 1, "{}", size.get());
        assert!(known.table.read().slots.len() <= 62_500);
        assert_eq!(find(&Known::new(0, Gauge::default()), &[1]), [None]);
    }
}
