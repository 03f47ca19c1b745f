//! What reports become: counts by minute and combination of cohorts, the only form in which they are kept.

use std::collections::BTreeMap;
use std::hash::BuildHasherDefault;

use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3Default;

use crate::class::Class;
use crate::report::Source;

type Seeded = BuildHasherDefault<FastHash>;

/// A short key's hash; keys are made of small numbers that no sender picks freely.
#[derive(Default)]
pub struct FastHash(Xxh3Default);

impl std::hash::Hasher for FastHash {
    fn finish(&self) -> u64 {
        std::hash::Hasher::finish(&self.0)
    }
    fn write(&mut self, bytes: &[u8]) {
        std::hash::Hasher::write(&mut self.0, bytes);
    }
}

/// A combination of cohorts. Numbers are indices into the tables of [`crate::names::Names`] and of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// Index of the site.
    pub site: u16,
    /// Index of the origin; 0 is "other".
    pub origin: u16,
    /// Index of the point of presence; 0 is "not known".
    pub pop: u16,
    /// What happened.
    pub class: Class,
    /// Who saw it.
    pub source: Source,
    /// Index of the protocol.
    pub protocol: u8,
    /// Index of the browser family.
    pub browser: u8,
    /// Country, zeros when not known.
    pub country: [u8; 2],
    /// Autonomous system, 0 when not known.
    pub asn: u32,
}

/// How much of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// Reports.
    pub reports: u32,
    /// Requests they stand for: the sum of 1/fraction.
    pub weight: f32,
    /// The sum of squares of those weights, for the uncertainty of a rate.
    pub square: f32,
    /// Which of 64 places the clients fall into: the number of bits is never more than that of clients.
    pub clients: u64,
}

impl Count {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.reports = self.reports.saturating_add(other.reports);
        self.weight += other.weight;
        self.square += other.square;
        self.clients |= other.clients;
    }
}

/// At least this many clients set those bits.
pub fn clients_at_least(bits: u64) -> u32 {
    bits.count_ones()
}

/// How many clients probably set those bits (linear counting); infinite when all are set.
pub fn clients_about(bits: u64) -> f64 {
    let empty = f64::from(64 - bits.count_ones());
    if empty == 0.0 { f64::INFINITY } else { 64.0 * (64.0 / empty).ln() }
}

/// Counts by minute and cell, with a bound.
#[derive(Debug)]
pub struct Cells {
    minutes: BTreeMap<i64, HashMap<Cell, Count, Seeded>>,
    len: usize,
    max: usize,
    folded: u64,
}

impl Cells {
    /// At most about `max` cells: beyond it details are folded away.
    pub fn new(max: usize) -> Self {
        Self { minutes: BTreeMap::new(), len: 0, max, folded: 0 }
    }

    /// Adds to a cell of a minute (minutes since the epoch).
    pub fn add(&mut self, minute: i64, cell: Cell, count: &Count) {
        let cells = self.minutes.entry(minute).or_default();
        if let Some(known) = cells.get_mut(&cell) {
            known.add(count);
            return;
        }
        let cell = if self.len < self.max {
            cell
        } else {
            // Site, type, source and country remain, of which there are few.
            self.folded += u64::from(count.reports);
            Cell { origin: 0, pop: 0, protocol: 0, browser: 0, asn: 0, ..cell }
        };
        let before = cells.len();
        cells.entry(cell).or_default().add(count);
        self.len += cells.len() - before;
    }

    /// Forgets minutes before `minute`.
    pub fn forget_before(&mut self, minute: i64) {
        while let Some((&first, cells)) = self.minutes.first_key_value()
            && first < minute
        {
            self.len -= cells.len();
            self.minutes.remove(&first);
        }
    }

    /// Every cell from minute `from` on.
    pub fn since(&self, from: i64) -> impl Iterator<Item = (i64, &Cell, &Count)> {
        self.minutes
            .range(from..)
            .flat_map(|(minute, cells)| cells.iter().map(|(cell, count)| (*minute, cell, count)))
    }

    /// Every cell of the minutes `from..to`.
    pub fn within(&self, from: i64, to: i64) -> impl Iterator<Item = (&Cell, &Count)> {
        self.minutes.range(from..to).flat_map(|(_, cells)| cells.iter())
    }

    /// Takes everything out.
    pub fn take(&mut self) -> Vec<(i64, Cell, Count)> {
        let out = std::mem::take(&mut self.minutes);
        self.len = 0;
        out.into_iter()
            .flat_map(|(minute, cells)| cells.into_iter().map(move |(cell, count)| (minute, cell, count)))
            .collect()
    }

    /// Cells held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reports whose details were folded away because of the bound, since the last call.
    pub fn take_folded(&mut self) -> u64 {
        std::mem::take(&mut self.folded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn cell(asn: u32) -> Cell {
        Cell {
            site: 0,
            origin: 1,
            pop: 1,
            class: Class::named("ok").unwrap(),
            source: Source::Nel,
            protocol: 2,
            browser: 1,
            country: *b"DE",
            asn,
        }
    }

    #[test]
    fn beyond_the_bound_details_are_folded() {
        let one = Count { reports: 1, weight: 1.0, square: 1.0, clients: 1 };
        let mut cells = Cells::new(10);
        for asn in 0..1000 {
            cells.add(5, cell(asn), &one);
        }
        assert_eq!(cells.len(), 11);
        assert_eq!(cells.take_folded(), 990);
        let total: u32 = cells.since(0).map(|(_, _, count)| count.reports).sum();
        assert_eq!(total, 1000);
        cells.forget_before(6);
        assert!(cells.is_empty());
    }

    #[test]
    fn a_cell_is_small() {
        assert!(size_of::<(Cell, Count)>() <= 48);
    }
}
