//! Series that a receiver has seen before: found by a keyed hash of their labels as they came over the wire.

use model::SeriesRef;

/// What a receiver remembers.
pub trait Known {
    /// For each key the series that was remembered under it, into `found`, which is as long as `keys`.
    fn find(&self, keys: &[u128], found: &mut [Option<SeriesRef>]);
}

/// Remembers nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Known for Nobody {
    fn find(&self, _: &[u128], found: &mut [Option<SeriesRef>]) {
        found.fill(None);
    }
}

/// One series of a request before its labels are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// Where it is in the body.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Where what follows its labels starts.
    pub(super) rest: u32,
    /// Its start timestamp, where a series has one.
    pub(super) start_ms: i64,
}

/// A request's series; memory that is kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) items: Vec<Item>,
    pub(super) keys: Vec<u128>,
    pub(super) found: Vec<Option<SeriesRef>>,
    /// Read every series in full: what the keys were made from was not all that names it.
    pub(super) whole: bool,
    seen: Seen,
}

impl Request {
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.keys.clear();
    }

    /// Asks for all series at once.
    pub(super) fn look_up(&mut self, known: &dyn Known) {
        self.found.clear();
        self.found.resize(self.keys.len(), None);
        if !self.whole {
            known.find(&self.keys, &mut self.found);
        }
        self.seen.reset(self.keys.len());
    }

    /// The index of an earlier series of the request with this key.
    pub(super) fn seen(&mut self, key: u128) -> Option<u32> {
        self.seen.find(key)
    }

    pub(super) fn note(&mut self, key: u128, index: u32) {
        self.seen.insert(key, index);
    }
}

/// Keys of a request with their series' index; open addressing.
#[derive(Debug, Default)]
struct Seen {
    slots: Vec<(u128, u32)>,
}

impl Seen {
    fn reset(&mut self, series: usize) {
        self.slots.clear();
        self.slots.resize((series * 2).next_power_of_two().max(16), (0, 0));
    }

    fn find(&self, key: u128) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = key as usize & mask;
        loop {
            match self.slots[at] {
                (0, _) => return None,
                (same, index) if same == key => return Some(index),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn insert(&mut self, key: u128, index: u32) {
        let mask = self.slots.len() - 1;
        let mut at = key as usize & mask;
        while self.slots[at].0 != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = (key, index);
    }
}
