//! The labels of the series that a select found, as numbers of label pairs: they become label sets when somebody asks.
//!
//! Series share most of their pairs, so that this takes a sixth of what the label sets take, and groups are found by
//! comparing numbers. The head's series come first, then those of blocks, whose pairs have other numbers but the same texts.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use model::Labels;
use model::labels::{encode_pair, iter_encoded};
use model::seam::Grouped;

use super::index::Index;

/// Labels of series, by their position.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Encoded pairs.
    texts: Vec<Box<[u8]>>,
    /// Positions in `texts`, series after series, ascending by label name.
    pairs: Vec<u32>,
    /// Where the pairs of each series end; they start where those of the series before end.
    ends: Vec<u32>,
}

/// Makes [`Names`] of series of the index.
#[derive(Default)]
pub(crate) struct NamesBuilder {
    names: Names,
    /// By number of the pair in the index: its position in `texts`.
    known: HashMap<u32, u32>,
    /// The pairs of the series before, by their numbers in the index.
    last: Vec<u32>,
}

impl NamesBuilder {
    /// Adds the labels of a series; how many bytes they take.
    pub(crate) fn push(&mut self, index: &Index, series: u32) -> u64 {
        let Names { texts, pairs, ends } = &mut self.names;
        let numbers = index.pairs_of(series);
        let mut bytes = numbers.len() * 4 + 4;
        // Neighbours are of one target, so that most pairs are those of the series before.
        let before = pairs.len() - self.last.len();
        for (nth, &number) in numbers.iter().enumerate() {
            if self.last.get(nth) == Some(&number) {
                pairs.push(pairs[before + nth]);
                continue;
            }
            let at = *self.known.entry(number).or_insert_with(|| {
                let (name, value) = index.pair_text(number);
                let mut text = Vec::with_capacity(name.len() + value.len() + 2);
                encode_pair(&mut text, name, value);
                bytes += text.len() + 32;
                texts.push(text.into());
                texts.len() as u32 - 1
            });
            pairs.push(at);
        }
        self.last.clear();
        self.last.extend_from_slice(numbers);
        ends.push(pairs.len() as u32);
        bytes as u64
    }

    pub(crate) fn finish(self) -> Names {
        self.names
    }
}

/// Adds series of blocks to [`Names`].
pub(crate) struct Joiner {
    names: Names,
    /// Positions in `texts`, by text.
    by_text: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// By number of the pair in the block: its position in `texts`, [`UNSEEN`] before it was asked for. A block with many more
    /// pairs than the series can have uses `few` instead.
    many: Vec<u32>,
    few: HashMap<u32, u32>,
    /// Of each text: a number that stands for its label name.
    label_names: Vec<u32>,
    known_names: HashMap<Box<str>, u32>,
    /// The pairs of the series that [`Joiner::look_at`] was given.
    current: Vec<u32>,
}

/// What [`Joiner::look_at`] says of a series.
pub(crate) struct Looked {
    /// That its new texts take.
    pub(crate) bytes: u64,
    /// Whether no label is there twice.
    pub(crate) unique: bool,
}

const UNSEEN: u32 = u32::MAX;

impl Joiner {
    pub(crate) fn new(names: Names) -> Self {
        let hasher = DefaultHashBuilder::default();
        let mut by_text = HashTable::with_capacity(names.texts.len());
        for (at, text) in names.texts.iter().enumerate() {
            by_text.insert_unique(hasher.hash_one(text), at as u32, |&at| {
                hasher.hash_one(&names.texts[at as usize])
            });
        }
        let mut joiner = Self {
            names,
            by_text,
            hasher,
            many: Vec::new(),
            few: HashMap::new(),
            label_names: Vec::new(),
            known_names: HashMap::new(),
            current: Vec::new(),
        };
        for at in 0..joiner.names.texts.len() {
            joiner.note_name(at);
        }
        joiner
    }

    fn note_name(&mut self, text: usize) {
        let name = iter_encoded(&self.names.texts[text]).next().map_or("", |(name, _)| name);
        let next = self.known_names.len() as u32;
        self.label_names.push(*self.known_names.entry_ref(name).or_insert(next));
    }

    /// What comes is of a block with `pairs` label pairs, in which series with `expected` pairs together were found.
    pub(crate) fn begin(&mut self, pairs: u32, expected: usize) {
        self.many.clear();
        self.few.clear();
        if expected * 8 >= pairs as usize {
            self.many.resize(pairs as usize, UNSEEN);
        }
    }

    /// Looks at the series with these pairs, ascending, whose texts `text` knows.
    pub(crate) fn look_at<E>(
        &mut self,
        pairs: &[u32],
        mut text: impl FnMut(u32) -> Result<Box<[u8]>, E>,
    ) -> Result<Looked, E> {
        self.current.clear();
        let mut looked = Looked { bytes: 0, unique: true };
        let mut last = None;
        for &pair in pairs {
            let known = match self.many.is_empty() {
                true => self.few.get(&pair).copied(),
                false => self.many.get(pair as usize).copied().filter(|&at| at != UNSEEN),
            };
            let at = match known {
                Some(at) => at,
                None => {
                    let text = text(pair)?;
                    looked.bytes += text.len() as u64 + 40;
                    let at = self.position(text);
                    match self.many.get_mut(pair as usize) {
                        Some(slot) => *slot = at,
                        None => {
                            self.few.insert(pair, at);
                        }
                    }
                    at
                }
            };
            // Pairs ascend by name, so that those of one name are neighbours.
            let name = Some(self.label_names[at as usize]);
            looked.unique &= name != last;
            last = name;
            self.current.push(at);
        }
        Ok(looked)
    }

    fn position(&mut self, text: Box<[u8]>) -> u32 {
        let Self { names: Names { texts, .. }, by_text, hasher, .. } = self;
        let hash = hasher.hash_one(&text);
        if let Some(&at) = by_text.find(hash, |&at| texts[at as usize] == text) {
            return at;
        }
        let at = texts.len() as u32;
        texts.push(text);
        by_text.insert_unique(hash, at, |&at| hasher.hash_one(&texts[at as usize]));
        self.note_name(at as usize);
        at
    }

    /// The encoded labels of the series that was looked at, in place of what `out` had.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        self.current.iter().for_each(|&at| out.extend_from_slice(&self.names.texts[at as usize]));
    }

    /// Adds the series that was looked at; gives the bytes that it takes.
    pub(crate) fn push(&mut self) -> u64 {
        self.names.pairs.extend_from_slice(&self.current);
        self.names.ends.push(self.names.pairs.len() as u32);
        (self.current.len() * 4 + 4) as u64
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Adds all series of other names.
    pub(crate) fn join(&mut self, other: Names) {
        let positions: Vec<u32> = other.texts.iter().map(|text| self.position(text.clone())).collect();
        for series in 0..other.len() {
            self.names.pairs.extend(other.pairs_of(series).iter().map(|&pair| positions[pair as usize]));
            self.names.ends.push(self.names.pairs.len() as u32);
        }
    }

    pub(crate) fn finish(mut self) -> Names {
        self.names.pairs.shrink_to_fit();
        self.names.ends.shrink_to_fit();
        self.names
    }
}

impl Names {
    /// How many series.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn pairs_of(&self, series: usize) -> &[u32] {
        let start = series.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.pairs[start as usize..self.ends[series] as usize]
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, series: usize) -> Labels {
        let texts = || self.pairs_of(series).iter().map(|&pair| &*self.texts[pair as usize]);
        let mut bytes = Vec::with_capacity(texts().map(<[u8]>::len).sum());
        texts().for_each(|text| bytes.extend_from_slice(text));
        Labels::from_canonical(&bytes)
    }

    /// The label sets in their order, each once. Texts are put in order first, so that series are compared by numbers.
    pub(crate) fn sorted(&self) -> Vec<Labels> {
        let parsed: Vec<Option<(&str, &str)>> =
            self.texts.iter().map(|text| iter_encoded(text).next()).collect();
        let mut order: Vec<u32> = (0..self.texts.len() as u32).collect();
        order.sort_unstable_by_key(|&at| parsed[at as usize]);
        let mut ranks = vec![0; order.len()];
        order.iter().zip(0..).for_each(|(&at, rank)| ranks[at as usize] = rank);
        let ranked: Vec<u32> = self.pairs.iter().map(|&pair| ranks[pair as usize]).collect();
        let ranks_of = |series: usize| {
            let start = series.checked_sub(1).map_or(0, |before| self.ends[before]);
            &ranked[start as usize..self.ends[series] as usize]
        };
        let mut series: Vec<u32> = (0..self.len() as u32).collect();
        series.sort_unstable_by_key(|&at| ranks_of(at as usize));
        series.dedup_by_key(|at| ranks_of(*at as usize));
        series.into_iter().map(|at| self.labels(at as usize)).collect()
    }

    /// Groups of series whose labels agree in the names that `keep` accepts.
    pub(crate) fn group(&self, keep: &dyn Fn(&str) -> bool) -> Grouped {
        let keeps = |text: &[u8]| iter_encoded(text).next().is_some_and(|(name, _)| keep(name));
        let kept: Vec<bool> = self.texts.iter().map(|text| keeps(text)).collect();
        let mut grouped = Grouped::default();
        grouped.ids.reserve(self.len());
        // By the one pair that is kept, the last for none; by several pairs.
        let mut by_one = vec![u32::MAX; self.texts.len() + 1];
        let mut by_many: HashMap<Box<[u32]>, u32> = HashMap::new();
        let mut key = Vec::new();
        for series in 0..self.len() {
            key.clear();
            key.extend(self.pairs_of(series).iter().copied().filter(|&pair| kept[pair as usize]));
            let next = grouped.labels.len() as u32;
            let id = match key.as_slice() {
                [] | [_] => {
                    let slot = &mut by_one[key.first().map_or(self.texts.len(), |&pair| pair as usize)];
                    if *slot == u32::MAX {
                        *slot = next;
                    }
                    *slot
                }
                many => match by_many.get(many) {
                    Some(&id) => id,
                    None => {
                        by_many.insert(many.into(), next);
                        next
                    }
                },
            };
            if id == next {
                let bytes: Vec<u8> =
                    key.iter().flat_map(|&pair| &*self.texts[pair as usize]).copied().collect();
                grouped.labels.push(Labels::from_canonical(&bytes));
            }
            grouped.ids.push(id);
        }
        grouped
    }
}

#[cfg(test)]
mod tests {
    use model::SeriesRef;

    use super::*;

    fn names(all: &[&[(&str, &str)]]) -> Names {
        let mut index = Index::new([7; 16]);
        let mut builder = NamesBuilder::default();
        for pairs in all {
            let labels = Labels::from_pairs(pairs.iter().copied());
            let numbers: Vec<u32> = labels.iter().map(|(name, value)| index.intern(name, value).0).collect();
            let hash = index.hash(labels.as_encoded());
            let (series, _) = index.insert(hash, &numbers, |number| SeriesRef(u64::from(number)));
            builder.push(&index, series);
        }
        builder.finish()
    }

    #[test]
    fn labels_and_groups_of_series() {
        let names = names(&[
            &[("__name__", "up"), ("dc", "a"), ("host", "1")],
            &[("__name__", "up"), ("dc", "b"), ("host", "1")],
            &[("__name__", "up"), ("host", "2")],
            &[("__name__", "down"), ("dc", "a"), ("host", "2")],
        ]);
        assert_eq!(names.labels(1).to_string(), r#"up{dc="b", host="1"}"#);
        assert_eq!(names.labels(2).to_string(), r#"up{host="2"}"#);
        let show = |keep: &dyn Fn(&str) -> bool| {
            let Grouped { ids, labels } = names.group(keep);
            (ids, labels.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(
            show(&|name| name == "dc"),
            (vec![0, 1, 2, 0], vec![r#"{dc="a"}"#.into(), r#"{dc="b"}"#.into(), "{}".into()])
        );
        assert_eq!(
            show(&|name| name != "host"),
            (
                vec![0, 1, 2, 3],
                vec![r#"up{dc="a"}"#.into(), r#"up{dc="b"}"#.into(), "up".into(), r#"down{dc="a"}"#.into()]
            )
        );
        assert_eq!(show(&|_| false), (vec![0; 4], vec!["{}".to_owned()]));
    }

    #[test]
    fn series_of_blocks_share_the_texts_of_the_head() {
        let text = |name: &str, value: &str| {
            let mut text = Vec::new();
            encode_pair(&mut text, name, value);
            Ok::<_, ()>(text.into_boxed_slice())
        };
        let block = [("__name__", "up"), ("dc", "b"), ("host", "2"), ("host", "3")];
        for expected in [0, 100] {
            let mut joiner = Joiner::new(names(&[&[("__name__", "up"), ("dc", "a"), ("host", "2")]]));
            joiner.begin(block.len() as u32, expected);
            for pairs in [[0, 1, 2], [0, 1, 3]] {
                joiner.look_at(&pairs, |pair| text(block[pair as usize].0, block[pair as usize].1)).unwrap();
                let mut encoded = Vec::new();
                joiner.encode(&mut encoded);
                assert_eq!(Labels::from_encoded(&encoded).unwrap().get("dc"), Some("b"));
                joiner.push();
            }
            let names = joiner.finish();
            assert_eq!(names.texts.len(), 5);
            let sorted = names.sorted();
            assert!(sorted.len() == 3 && sorted.is_sorted());
            assert_eq!(names.labels(2).to_string(), r#"up{dc="b", host="3"}"#);
            assert_eq!(names.group(&|name| name == "host").ids, [0, 0, 1]);
            assert_eq!(names.group(&|name| name == "dc").ids, [0, 1, 1]);
        }
        let mut joiner = Joiner::new(names(&[&[("a", "z"), ("b", "1")], &[("a", "x")]]));
        joiner.join(names(&[&[("b", "1")], &[("a", "x"), ("c", "9")], &[("a", "x")]]));
        let sorted = joiner.finish().sorted();
        let shown: Vec<String> = sorted.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [r#"{a="x"}"#, r#"{a="x", c="9"}"#, r#"{a="z", b="1"}"#, r#"{b="1"}"#]);
        let mut joiner = Joiner::new(Names::default());
        joiner.begin(block.len() as u32, 4);
        let mut unique = |pairs: &[u32]| {
            let looked =
                joiner.look_at(pairs, |pair| text(block[pair as usize].0, block[pair as usize].1)).unwrap();
            looked.unique
        };
        assert!(unique(&[0, 1, 2]));
        assert!(!unique(&[0, 2, 3]));
    }
}
