//! The labels of the series that a select found, as numbers of label pairs: they become label sets when somebody asks.
//!
//! Series share most of their pairs, so that this takes a sixth of what the label sets take, and groups are found by
//! comparing numbers.

use hashbrown::HashMap;
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
}
