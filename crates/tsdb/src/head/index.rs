//! Index of the head: which series there are, by identity and by label.
//!
//! Identity is a seeded 128-bit hash of the canonical label bytes, found through an open-addressing table of 8-byte
//! entries (32 hash bits, series number). Labels are numbers of label pairs; a pair keeps the sorted list of its series
//! (postings). Everything that a dropped series took is used again.

mod fill;

use std::sync::OnceLock;

use hashbrown::{HashMap, HashTable};
use model::labels::{self, METRIC_NAME};
use model::{Labels, MatchOp, Matcher, SeriesRef};
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::postings::Postings;
pub(crate) use fill::Fill;

/// A label name and those of its values that series have.
#[derive(Debug)]
struct Name {
    text: Box<str>,
    /// Pairs, in no order.
    pairs: Vec<u32>,
    /// The pairs in the order of their values, once somebody has asked for it.
    sorted: OnceLock<Box<[u32]>>,
}

/// A label name and value.
#[derive(Debug)]
pub(crate) struct Pair {
    name: u32,
    pub(crate) value: Box<str>,
    /// Where it is in its name's list.
    at: u32,
    /// Its number in the series log, `u32::MAX` before it is written there.
    pub(crate) log: u32,
    pub(crate) postings: Postings,
}

/// Series by identity and by label.
pub(crate) struct Index {
    seed: [u64; 2],
    table: Table,
    /// By series: identity.
    hashes: Vec<u128>,
    /// By series: where its samples are; `FREE` when the number is free.
    places: Vec<u64>,
    /// By series: where in `ids` its pairs start.
    starts: Vec<u32>,
    /// For each series the number of pairs, then the pairs, ascending by name.
    ids: Vec<u32>,
    /// Entries of `ids` that belong to dropped series.
    dead_ids: usize,
    free: Vec<u32>,
    live: usize,
    names: Vec<Name>,
    name_numbers: HashMap<Box<str>, u32>,
    pairs: Vec<Option<Pair>>,
    free_pairs: Vec<u32>,
    pair_table: HashTable<u32>,
}

const FREE: u64 = u64::MAX;

/// Computes the identity of label sets.
#[derive(Clone, Copy)]
pub(crate) struct Hasher(u64);

impl Hasher {
    /// Identity of a label set in canonical encoding.
    #[inline]
    pub(crate) fn hash(self, encoded: &[u8]) -> u128 {
        xxh3_128_with_seed(encoded, self.0)
    }
}

impl Index {
    /// An empty index with a secret seed.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        let half = |at: usize| u64::from_le_bytes(seed[at..at + 8].try_into().expect("8 of 16 bytes"));
        Self {
            seed: [half(0), half(8)],
            table: Table::new(1024),
            hashes: Vec::new(),
            places: Vec::new(),
            starts: Vec::new(),
            ids: Vec::new(),
            dead_ids: 0,
            free: Vec::new(),
            live: 0,
            names: Vec::new(),
            name_numbers: HashMap::new(),
            pairs: Vec::new(),
            free_pairs: Vec::new(),
            pair_table: HashTable::new(),
        }
    }

    /// The secret seed.
    pub(crate) fn seed(&self) -> [u8; 16] {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.seed[0].to_le_bytes());
        seed[8..].copy_from_slice(&self.seed[1].to_le_bytes());
        seed
    }

    /// Gives pairs `(pair, number)` their numbers in a new series log; the others are not in it.
    pub(crate) fn renumber(&mut self, numbers: &[(u32, u32)]) {
        self.pairs.iter_mut().flatten().for_each(|pair| pair.log = u32::MAX);
        for &(pair, number) in numbers {
            self.pair_mut(pair).log = number;
        }
    }

    /// Identity of a label set.
    #[inline]
    pub(crate) fn hash(&self, encoded: &[u8]) -> u128 {
        Hasher(self.seed[0]).hash(encoded)
    }

    /// Computes identities without the index.
    pub(crate) fn hasher(&self) -> Hasher {
        Hasher(self.seed[0])
    }

    /// Brings the table's entry for `hash` near.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u128) {
        self.table.prefetch(hash);
    }

    /// The number of the series with this identity.
    #[inline]
    pub(crate) fn find(&self, hash: u128) -> Option<u32> {
        self.table.find(hash, |series| self.hashes[series as usize] == hash)
    }

    /// Identity of a series.
    #[inline]
    pub(crate) fn hash_of(&self, series: u32) -> u128 {
        self.hashes[series as usize]
    }

    /// Where the samples of a series are.
    #[inline]
    pub(crate) fn place(&self, series: u32) -> SeriesRef {
        SeriesRef(self.places[series as usize])
    }

    /// Series that are not dropped.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// How many series a metric has.
    pub(crate) fn metric_len(&self, metric: &str) -> usize {
        self.find_pair(METRIC_NAME, metric).map_or(0, |pair| self.pair(pair).postings.len())
    }

    /// How many series a target has.
    pub(crate) fn target_len(&self, job: &str, instance: &str) -> usize {
        let postings =
            |name: &str, value: &str| self.find_pair(name, value).map(|pair| &self.pair(pair).postings);
        match (postings("job", job), postings("instance", instance)) {
            (Some(of_job), Some(of_instance)) => of_job.common(of_instance),
            _ => 0,
        }
    }

    /// Interns a pair; `true` when it is new.
    pub(crate) fn intern(&mut self, name: &str, value: &str) -> (u32, bool) {
        let name_number = match self.name_numbers.get(name) {
            Some(&number) => number,
            None => {
                let number = self.names.len() as u32;
                self.names.push(Name { text: name.into(), pairs: Vec::new(), sorted: OnceLock::new() });
                self.name_numbers.insert(name.into(), number);
                number
            }
        };
        let hash = pair_hash(self.seed[1], name_number, value);
        if let Some(&found) = self.pair_table.find(hash, |&p| self.is_pair(p, name_number, value)) {
            return (found, false);
        }
        let number = self.free_pairs.pop().unwrap_or(self.pairs.len() as u32);
        let of_name = &mut self.names[name_number as usize];
        of_name.sorted.take();
        let of_name = &mut of_name.pairs;
        let pair = Pair {
            name: name_number,
            value: value.into(),
            at: of_name.len() as u32,
            log: u32::MAX,
            postings: Postings::default(),
        };
        of_name.push(number);
        match self.pairs.get_mut(number as usize) {
            Some(slot) => *slot = Some(pair),
            None => self.pairs.push(Some(pair)),
        }
        let (pairs, seed) = (&self.pairs, self.seed[1]);
        self.pair_table.insert_unique(hash, number, |&p| {
            let pair = pairs[p as usize].as_ref().expect("the table holds pairs in use");
            pair_hash(seed, pair.name, &pair.value)
        });
        (number, true)
    }

    fn is_pair(&self, pair: u32, name: u32, value: &str) -> bool {
        self.pairs[pair as usize].as_ref().is_some_and(|p| p.name == name && &*p.value == value)
    }

    fn find_pair(&self, name: &str, value: &str) -> Option<u32> {
        let name = *self.name_numbers.get(name)?;
        let hash = pair_hash(self.seed[1], name, value);
        self.pair_table.find(hash, |&p| self.is_pair(p, name, value)).copied()
    }

    fn pair(&self, pair: u32) -> &Pair {
        self.pairs[pair as usize].as_ref().expect("series hold pairs in use only")
    }

    /// A pair that is in use.
    pub(crate) fn pair_mut(&mut self, pair: u32) -> &mut Pair {
        self.pairs[pair as usize].as_mut().expect("series hold pairs in use only")
    }

    /// Name and value of a pair.
    pub(crate) fn pair_text(&self, pair: u32) -> (&str, &str) {
        let pair = self.pair(pair);
        (&self.names[pair.name as usize].text, &pair.value)
    }

    /// Adds a series that is not there yet. `pairs` ascending by name; `place` gives where its samples will be.
    pub(crate) fn insert(
        &mut self,
        hash: u128,
        pairs: &[u32],
        place: impl FnOnce(u32) -> SeriesRef,
    ) -> (u32, SeriesRef) {
        let series = self.free.pop().unwrap_or(self.hashes.len() as u32);
        let place = place(series);
        let start = self.ids.len() as u32;
        self.ids.push(pairs.len() as u32);
        self.ids.extend_from_slice(pairs);
        if series as usize == self.hashes.len() {
            self.hashes.push(hash);
            self.places.push(place.0);
            self.starts.push(start);
        } else {
            self.hashes[series as usize] = hash;
            self.places[series as usize] = place.0;
            self.starts[series as usize] = start;
        }
        for &pair in pairs {
            self.pair_mut(pair).postings.insert(series);
        }
        let hashes = &self.hashes;
        self.table.insert(hash, series, |other| hashes[other as usize]);
        self.live += 1;
        (series, place)
    }

    /// Drops a series.
    pub(crate) fn remove(&mut self, series: u32) {
        let hash = self.hashes[series as usize];
        let hashes = &self.hashes;
        self.table.remove(hash, series, |other| hashes[other as usize]);
        self.places[series as usize] = FREE;
        let pairs = self.pairs_of(series).to_vec();
        self.dead_ids += pairs.len() + 1;
        for pair in pairs {
            let slot = self.pair_mut(pair);
            slot.postings.remove(series);
            if slot.postings.is_empty() {
                self.remove_pair(pair);
            }
        }
        self.free.push(series);
        self.live -= 1;
        if self.dead_ids > self.ids.len() / 2 && self.dead_ids > 1 << 16 {
            self.compact_ids();
        }
    }

    fn remove_pair(&mut self, number: u32) {
        let Some(pair) = self.pairs[number as usize].take() else { return };
        let hash = pair_hash(self.seed[1], pair.name, &pair.value);
        if let Ok(entry) = self.pair_table.find_entry(hash, |&p| p == number) {
            entry.remove();
        }
        self.names[pair.name as usize].sorted.take();
        let of_name = &mut self.names[pair.name as usize].pairs;
        of_name.swap_remove(pair.at as usize);
        if let Some(&moved) = of_name.get(pair.at as usize) {
            self.pair_mut(moved).at = pair.at;
        }
        self.free_pairs.push(number);
    }

    fn compact_ids(&mut self) {
        let mut ids = Vec::with_capacity(self.ids.len() - self.dead_ids);
        for series in 0..self.places.len() {
            if self.places[series] == FREE {
                continue;
            }
            let start = self.starts[series] as usize;
            let len = self.ids[start] as usize + 1;
            self.starts[series] = ids.len() as u32;
            ids.extend_from_slice(&self.ids[start..start + len]);
        }
        self.ids = ids;
        self.dead_ids = 0;
    }

    /// The pairs of a series, ascending by name.
    pub(crate) fn pairs_of(&self, series: u32) -> &[u32] {
        let start = self.starts[series as usize] as usize;
        &self.ids[start + 1..start + 1 + self.ids[start] as usize]
    }

    /// The labels of a series, appended in canonical encoding.
    pub(crate) fn encode_labels(&self, series: u32, out: &mut Vec<u8>) {
        for &pair in self.pairs_of(series) {
            let (name, value) = self.pair_text(pair);
            labels::encode_pair(out, name, value);
        }
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, series: u32, buffer: &mut Vec<u8>) -> Labels {
        buffer.clear();
        self.encode_labels(series, buffer);
        Labels::from_encoded(buffer).expect("pairs are kept in canonical order")
    }

    /// Numbers of all series.
    pub(crate) fn all(&self) -> RoaringBitmap {
        let live = (0..self.places.len() as u32).filter(|&s| self.places[s as usize] != FREE);
        RoaringBitmap::from_sorted_iter(live).expect("numbers ascend")
    }

    /// Series that pass every matcher.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut result: Option<RoaringBitmap> = None;
        let mut rest: Vec<&Matcher> = Vec::new();
        for matcher in matchers {
            if matcher.matches_empty() {
                rest.push(matcher);
                continue;
            }
            let exact = match (matcher.op(), matcher.pattern().and_then(|p| p.as_set())) {
                (MatchOp::Equal, _) => Some(self.union_of(matcher.name(), [matcher.value()])),
                (MatchOp::Regex, Some(set)) => {
                    Some(self.union_of(matcher.name(), set.iter().map(String::as_str)))
                }
                _ => None,
            };
            match exact {
                Some(found) => {
                    let found = match result {
                        None => found,
                        Some(have) => have & found,
                    };
                    if found.is_empty() {
                        return found;
                    }
                    result = Some(found);
                }
                None => rest.push(matcher),
            }
        }
        // Matchers that a missing label passes: drop the series of the values that do not pass.
        let mut left = result;
        rest.sort_by_key(|matcher| matcher.matches_empty());
        for matcher in rest {
            left = Some(self.narrow(left, matcher));
            if left.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
        }
        left.unwrap_or_else(|| self.all())
    }

    /// No more series than this pass every matcher: what one label value alone says.
    pub(crate) fn at_most(&self, matchers: &[Matcher]) -> usize {
        let equal = matchers.iter().filter(|m| m.op() == MatchOp::Equal && !m.value().is_empty());
        let len = |m: &Matcher| {
            self.find_pair(m.name(), m.value()).map_or(0, |pair| self.pair(pair).postings.len())
        };
        equal.map(len).min().unwrap_or(self.live)
    }

    /// Applies one matcher that is no set of values.
    fn narrow(&self, have: Option<RoaringBitmap>, matcher: &Matcher) -> RoaringBitmap {
        let keeps_missing = matcher.matches_empty();
        let pairs = match self.name_numbers.get(matcher.name()) {
            Some(&name) => self.names[name as usize].pairs.as_slice(),
            None => &[],
        };
        if let Some(have) = &have
            && (have.len() as usize) < pairs.len() / 2
        {
            // Few series are left: look at their values only.
            let passes = |series: &u32| {
                let name = self.name_numbers.get(matcher.name()).copied();
                let value =
                    self.pairs_of(*series).iter().map(|&p| self.pair(p)).find(|p| Some(p.name) == name);
                matcher.matches(value.map_or("", |pair| &pair.value))
            };
            return RoaringBitmap::from_sorted_iter(have.iter().filter(passes)).expect("a subset ascends");
        }
        let prefix = matcher.pattern().map_or("", |pattern| pattern.prefix());
        let mut union = RoaringBitmap::new();
        for &pair in pairs {
            let pair = self.pair(pair);
            let wanted = if keeps_missing {
                !matcher.matches(&pair.value)
            } else {
                (prefix.is_empty() || matcher.op() != MatchOp::Regex || pair.value.starts_with(prefix))
                    && matcher.matches(&pair.value)
            };
            if wanted {
                pair.postings.add_to(&mut union);
            }
        }
        match (have, keeps_missing) {
            (None, true) => self.all() - union,
            (None, false) => union,
            (Some(have), true) => have - union,
            (Some(have), false) => have & union,
        }
    }

    fn union_of<'a>(&self, name: &str, values: impl IntoIterator<Item = &'a str>) -> RoaringBitmap {
        let mut union = RoaringBitmap::new();
        for value in values {
            if let Some(pair) = self.find_pair(name, value) {
                self.pair(pair).postings.add_to(&mut union);
            }
        }
        union
    }

    /// Every label name in use, with its pairs' values and series counts.
    pub(crate) fn each_pair(&self, mut each: impl FnMut(&str, &str, &Postings)) {
        for name in &self.names {
            for &pair in &name.pairs {
                let pair = self.pair(pair);
                each(&name.text, &pair.value, &pair.postings);
            }
        }
    }

    /// Label names in use.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter(|name| !name.pairs.is_empty()).map(|name| &*name.text)
    }

    /// Values of a label in their order, with their series.
    pub(crate) fn sorted_values(&self, name: &str) -> impl Iterator<Item = (&str, &Postings)> {
        let pairs = match self.name_numbers.get(name) {
            Some(&name) => {
                let name = &self.names[name as usize];
                name.sorted.get_or_init(|| {
                    let mut pairs = name.pairs.clone();
                    pairs.sort_unstable_by(|&a, &b| self.pair(a).value.cmp(&self.pair(b).value));
                    pairs.into()
                })
            }
            None => [].as_slice(),
        };
        pairs.iter().map(|&pair| {
            let pair = self.pair(pair);
            (&*pair.value, &pair.postings)
        })
    }

    /// Values of a label, with their series.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = (&str, &Postings)> {
        let pairs = match self.name_numbers.get(name) {
            Some(&name) => self.names[name as usize].pairs.as_slice(),
            None => &[],
        };
        pairs.iter().map(|&pair| {
            let pair = self.pair(pair);
            (&*pair.value, &pair.postings)
        })
    }

    /// Distinct label pairs.
    pub(crate) fn pair_count(&self) -> usize {
        self.pair_table.len()
    }

    /// Numbers of series in use with their places.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u32, SeriesRef)> {
        let live = self.places.iter().enumerate().filter(|(_, place)| **place != FREE);
        live.map(|(series, &place)| (series as u32, SeriesRef(place)))
    }

    /// By pair number: its rank when all pairs are sorted by name and value. Label sets compare as lists of ranks.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> =
            (0..self.pairs.len() as u32).filter(|&p| self.pairs[p as usize].is_some()).collect();
        order.sort_unstable_by(|&a, &b| self.pair_text(a).cmp(&self.pair_text(b)));
        let mut ranks = vec![0; self.pairs.len()];
        for (rank, pair) in order.into_iter().enumerate() {
            ranks[pair as usize] = rank as u32;
        }
        ranks
    }

    /// Memory in bytes, estimated from capacities.
    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes()
            + self.hashes.capacity() * 16
            + self.places.capacity() * 8
            + (self.starts.capacity() + self.ids.capacity() + self.free.capacity()) * 4
            + self.pairs.capacity() * size_of::<Option<Pair>>()
            + self.pair_table.capacity() * 5
            + self.pairs.iter().flatten().map(|p| p.postings.heap_bytes() + p.value.len() + 16).sum::<usize>()
            + self
                .names
                .iter()
                .map(|n| {
                    (n.pairs.capacity() + n.sorted.get().map_or(0, |s| s.len())) * 4 + n.text.len() * 2 + 80
                })
                .sum::<usize>()
    }
}

fn pair_hash(seed: u64, name: u32, value: &str) -> u64 {
    xxh3_64_with_seed(value.as_bytes(), seed ^ u64::from(name).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Open addressing, linear probing; an entry is 32 hash bits and a series number + 1, 0 is empty.
struct Table {
    entries: Vec<u64>,
    len: usize,
}

impl Table {
    fn new(capacity: usize) -> Self {
        Self { entries: vec![0; capacity.next_power_of_two()], len: 0 }
    }

    #[inline]
    fn start(&self, hash: u128) -> usize {
        hash as usize & (self.entries.len() - 1)
    }

    #[inline]
    fn tag(hash: u128) -> u64 {
        (hash >> 96) as u64
    }

    #[inline]
    fn prefetch(&self, hash: u128) {
        let at = self.start(hash);
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "prefetching is an intrinsic")]
        // SAFETY: the address is inside `entries`; a prefetch reads nothing into the program.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
                self.entries.as_ptr().add(at).cast(),
            );
        }
        #[cfg(not(target_arch = "x86_64"))]
        std::hint::black_box(at);
    }

    #[inline]
    fn find(&self, hash: u128, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (mut at, tag) = (self.start(hash), Self::tag(hash));
        loop {
            let entry = self.entries[at];
            if entry == 0 {
                return None;
            }
            let series = (entry as u32).wrapping_sub(1);
            if entry >> 32 == tag && is_it(series) {
                return Some(series);
            }
            at = (at + 1) & (self.entries.len() - 1);
        }
    }

    fn insert(&mut self, hash: u128, series: u32, hash_of: impl Fn(u32) -> u128) {
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            let old = std::mem::take(&mut self.entries);
            self.entries = vec![0; old.len() * 2];
            for entry in old.into_iter().filter(|&e| e != 0) {
                self.place(hash_of((entry as u32).wrapping_sub(1)), entry);
            }
        }
        self.place(hash, Self::tag(hash) << 32 | u64::from(series + 1));
        self.len += 1;
    }

    fn place(&mut self, hash: u128, entry: u64) {
        let mut at = self.start(hash);
        while self.entries[at] != 0 {
            at = (at + 1) & (self.entries.len() - 1);
        }
        self.entries[at] = entry;
    }

    /// Removes an entry and moves later ones of its run back, so that no tombstone is left.
    fn remove(&mut self, hash: u128, series: u32, hash_of: impl Fn(u32) -> u128) {
        let mask = self.entries.len() - 1;
        let mut hole = self.start(hash);
        while self.entries[hole] as u32 != series + 1 {
            assert!(self.entries[hole] != 0, "a series that is in use is in the table");
            hole = (hole + 1) & mask;
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries[at];
            if entry == 0 {
                break;
            }
            let home = self.start(hash_of((entry as u32).wrapping_sub(1)));
            // The entry may move back unless its home lies behind the hole.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = 0;
    }

    fn bytes(&self) -> usize {
        self.entries.capacity() * 8
    }
}
