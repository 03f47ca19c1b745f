//! Many series at once, as a restart finds them in the series log: identities on all cores, then the table and the postings
//! beside one another.

use model::{SeriesRef, labels};

use super::{Index, Pair, Postings, Table};

/// With fewer series one thread is as fast.
const PARALLEL: usize = 1 << 15;
/// Threads that compute identities, at most.
const MAX_THREADS: usize = 8;
/// How many table entries ahead memory is asked for.
const AHEAD: usize = 16;

/// Series for an index, numbered from 0 as they come. Their pairs are in the index, they are not.
#[derive(Default)]
pub(crate) struct Fill {
    places: Vec<u64>,
    starts: Vec<u32>,
    /// As in [`Index`].
    ids: Vec<u32>,
}

impl Fill {
    /// The number of the series that comes next.
    pub(crate) fn next(&self) -> u32 {
        self.places.len() as u32
    }

    /// Adds a series; `pairs` ascending by name.
    pub(crate) fn add(&mut self, place: SeriesRef, pairs: impl ExactSizeIterator<Item = u32>) {
        self.places.push(place.0);
        self.starts.push(self.ids.len() as u32);
        self.ids.push(pairs.len() as u32);
        self.ids.extend(pairs);
    }
}

impl Index {
    /// Puts the series of `fill` into an index that has none. Of several with the same labels the last one stays; the places
    /// of the others are given back.
    pub(crate) fn fill(&mut self, fill: Fill) -> Vec<SeriesRef> {
        assert!(self.live == 0 && self.hashes.is_empty(), "only an index without series is filled");
        let Fill { places, starts, ids } = fill;
        (self.places, self.starts, self.ids) = (places, starts, ids);
        self.hashes = self.identities();
        self.live = self.places.len();
        let (hashes, pairs) = (&self.hashes, &mut self.pairs);
        let (starts, ids) = (&self.starts, &self.ids);
        let (table, again) = if hashes.len() < PARALLEL {
            fill_postings(pairs, starts, ids);
            fill_table(hashes)
        } else {
            std::thread::scope(|scope| {
                scope.spawn(|| fill_postings(pairs, starts, ids));
                fill_table(hashes)
            })
        };
        self.table = table;
        let mut replaced = Vec::new();
        for series in again {
            let hash = self.hashes[series as usize];
            let old = self.find(hash).expect("the first of them is in the table");
            replaced.push(self.place(old));
            // Its labels stay: the later one has them too.
            self.remove(old);
            let hashes = &self.hashes;
            self.table.insert(hash, series, |other| hashes[other as usize]);
        }
        replaced
    }

    /// The identity of every series.
    fn identities(&self) -> Vec<u128> {
        let count = self.places.len();
        let mut hashes = vec![0; count];
        let compute = |first: usize, out: &mut [u128]| {
            let mut encoded = Vec::new();
            for (series, hash) in (first..).zip(out) {
                encoded.clear();
                for &pair in self.pairs_of(series as u32) {
                    let (name, value) = self.pair_text(pair);
                    labels::encode_pair(&mut encoded, name, value);
                }
                *hash = self.hash(&encoded);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        if count < PARALLEL || threads == 1 {
            compute(0, &mut hashes);
            return hashes;
        }
        let each = count.div_ceil(threads);
        std::thread::scope(|scope| {
            for (nth, out) in hashes.chunks_mut(each).enumerate() {
                scope.spawn(move || compute(nth * each, out));
            }
        });
        hashes
    }
}

/// The table of all series, and the series whose identity an earlier one has: they are not in it.
fn fill_table(hashes: &[u128]) -> (Table, Vec<u32>) {
    let mut table = Table::new((hashes.len() * 4 / 3 + 2).max(1024));
    let mut again = Vec::new();
    for (series, &hash) in hashes.iter().enumerate() {
        if let Some(&ahead) = hashes.get(series + AHEAD) {
            table.prefetch(ahead);
        }
        match table.find(hash, |other| hashes[other as usize] == hash) {
            Some(_) => again.push(series as u32),
            None => table.insert(hash, series as u32, |other| hashes[other as usize]),
        }
    }
    (table, again)
}

/// Gives every pair the list of its series.
fn fill_postings(pairs: &mut [Option<Pair>], starts: &[u32], ids: &[u32]) {
    let pairs_of = |&start: &u32| {
        let start = start as usize;
        &ids[start + 1..start + 1 + ids[start] as usize]
    };
    // Where the list of each pair begins, in one array of them all.
    let mut ends = vec![0u32; pairs.len() + 1];
    starts.iter().flat_map(pairs_of).for_each(|&pair| ends[pair as usize + 1] += 1);
    for at in 1..ends.len() {
        ends[at] += ends[at - 1];
    }
    let mut lists = vec![0u32; ends.last().map_or(0, |&end| end as usize)];
    for (series, start) in starts.iter().enumerate() {
        for &pair in pairs_of(start) {
            let end = &mut ends[pair as usize];
            lists[*end as usize] = series as u32;
            *end += 1;
        }
    }
    let mut from = 0;
    for (pair, &end) in pairs.iter_mut().zip(&ends) {
        let list = &lists[from..end as usize];
        from = end as usize;
        if let Some(pair) = pair {
            pair.postings = Postings::from_sorted(list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filled_at_once_is_the_same_as_one_by_one() {
        let (mut filled, mut grown) = (Index::new([7; 16]), Index::new([7; 16]));
        let mut fill = Fill::default();
        // More than one thread's share; every label set of the first thousand comes back twice.
        let count = PARALLEL as u64 * 2;
        let mut expected = Vec::new();
        for place in 0..count {
            let nth = if place >= count - 2000 { place % 1000 } else { place };
            let texts = [("host", format!("h{}", nth / 100)), ("metric", format!("m{}", nth % 100))];
            let mut ids = Vec::new();
            let mut encoded = Vec::new();
            for (name, value) in &texts {
                let (pair, _) = grown.intern(name, value);
                assert_eq!(filled.intern(name, value).0, pair);
                labels::encode_pair(&mut encoded, name, value);
                ids.push(pair);
            }
            fill.add(SeriesRef(place), ids.iter().copied());
            let hash = grown.hash(&encoded);
            let old = grown.find(hash);
            grown.insert(hash, &ids, |_| SeriesRef(place));
            if let Some(old) = old {
                expected.push(grown.place(old));
                grown.remove(old);
            }
        }
        assert_eq!(filled.fill(fill), expected);
        assert_eq!((filled.len(), expected.len()), (grown.len(), 2000));
        let labels = |index: &Index| {
            let mut all: Vec<_> = index
                .places()
                .map(|(series, place)| (place, index.labels(series, &mut Vec::new())))
                .collect();
            all.sort();
            all
        };
        assert_eq!(labels(&filled), labels(&grown));
        let mut counts = (Vec::new(), Vec::new());
        filled.each_pair(|name, value, postings| {
            counts.0.push((name.to_owned(), value.to_owned(), postings.len()))
        });
        grown.each_pair(|name, value, postings| {
            counts.1.push((name.to_owned(), value.to_owned(), postings.len()))
        });
        assert_eq!(counts.0, counts.1);
        for series in filled.places().map(|(series, _)| series) {
            assert_eq!(filled.find(filled.hash_of(series)), Some(series));
        }
    }
}
