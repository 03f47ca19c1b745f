//! Exemplars and metadata of one tenant: bounded, in memory, behind the log.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;
use model::{Exemplar, Labels, Metadata, SeriesRef};

/// Metadata entries of one metric where sources disagree.
const MAX_VARIANTS: usize = 10;

/// Exemplars and metadata.
pub(crate) struct Meta {
    exemplars: VecDeque<(SeriesRef, Exemplar)>,
    max_exemplars: usize,
    /// By series: its newest exemplar's time.
    newest: HashMap<SeriesRef, (i64, usize)>,
    metadata: BTreeMap<String, Vec<Metadata>>,
    max_metadata: usize,
}

impl Meta {
    pub(crate) fn new(max_exemplars: usize, max_metadata: usize) -> Self {
        Self {
            exemplars: VecDeque::new(),
            max_exemplars,
            newest: HashMap::new(),
            metadata: BTreeMap::new(),
            max_metadata,
        }
    }

    /// Keeps an exemplar; `false` when it is older than the newest of its series. The newest again is kept once.
    pub(crate) fn add_exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar) -> (bool, bool) {
        if self.max_exemplars == 0 {
            return (true, false);
        }
        let at = exemplar.at.ms();
        if let Some((newest, _)) = self.newest.get(&series) {
            if at < *newest {
                return (false, false);
            }
            if at == *newest {
                let same = |e: &Exemplar| {
                    e.value.to_bits() == exemplar.value.to_bits() && e.labels == exemplar.labels
                };
                let is_last =
                    self.exemplars.iter().rev().find(|(s, _)| *s == series).is_some_and(|(_, e)| same(e));
                if is_last {
                    return (true, false);
                }
            }
        }
        if self.exemplars.len() >= self.max_exemplars
            && let Some((old, _)) = self.exemplars.pop_front()
            && let Some((_, count)) = self.newest.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.newest.remove(&old);
            }
        }
        let entry = self.newest.entry(series).or_insert((at, 0));
        entry.0 = at;
        entry.1 += 1;
        self.exemplars.push_back((series, exemplar.clone()));
        (true, true)
    }

    /// Takes an exemplar out again.
    pub(crate) fn remove_exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar) {
        let same = |(s, e): &(SeriesRef, Exemplar)| {
            *s == series
                && e.at == exemplar.at
                && e.value.to_bits() == exemplar.value.to_bits()
                && e.labels == exemplar.labels
        };
        let Some(at) = self.exemplars.iter().rposition(same) else { return };
        self.exemplars.remove(at);
        let left = self.exemplars.iter().filter(|(s, _)| *s == series).map(|(_, e)| e.at.ms());
        let (newest, count) = left.fold((i64::MIN, 0), |(newest, count), at| (newest.max(at), count + 1));
        match count {
            0 => drop(self.newest.remove(&series)),
            _ => drop(self.newest.insert(series, (newest, count))),
        }
    }

    /// Takes metadata out again.
    pub(crate) fn remove_metadata(&mut self, name: &str, metadata: &Metadata) {
        if let Some(variants) = self.metadata.get_mut(name) {
            variants.retain(|old| old != metadata);
            if variants.is_empty() {
                self.metadata.remove(name);
            }
        }
    }

    /// Exemplars of `series` within `start..=end`, ascending in time.
    pub(crate) fn exemplars(
        &self,
        wanted: &HashMap<SeriesRef, Labels>,
        start: i64,
        end: i64,
    ) -> BTreeMap<Labels, Vec<Exemplar>> {
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for (series, exemplar) in &self.exemplars {
            if let Some(labels) = wanted.get(series)
                && (start..=end).contains(&exemplar.at.ms())
            {
                found.entry(labels.clone()).or_default().push(exemplar.clone());
            }
        }
        for exemplars in found.values_mut() {
            exemplars.sort_by_key(|exemplar| exemplar.at);
        }
        found
    }

    /// Forgets the exemplars of series that `is_gone`.
    pub(crate) fn retain(&mut self, keep: impl Fn(SeriesRef) -> bool) {
        self.exemplars.retain(|(series, _)| keep(*series));
        self.newest.retain(|series, _| keep(*series));
    }

    /// Keeps what is known about a metric; whether that is new.
    pub(crate) fn add_metadata(&mut self, name: &str, metadata: &Metadata) -> bool {
        let room = self.metadata.len() < self.max_metadata;
        match self.metadata.get_mut(name) {
            Some(variants) => {
                // The newest first: what a changed exporter says now.
                if variants.first() == Some(metadata) {
                    return false;
                }
                variants.retain(|old| old != metadata);
                variants.insert(0, metadata.clone());
                variants.truncate(MAX_VARIANTS);
                true
            }
            None if room => {
                self.metadata.insert(name.to_owned(), vec![metadata.clone()]);
                true
            }
            None => false,
        }
    }

    /// All metadata.
    pub(crate) fn metadata(&self) -> &BTreeMap<String, Vec<Metadata>> {
        &self.metadata
    }

    /// All exemplars, in the order of arrival.
    pub(crate) fn all_exemplars(&self) -> impl Iterator<Item = (SeriesRef, &Exemplar)> {
        self.exemplars.iter().map(|(series, exemplar)| (*series, exemplar))
    }

    /// Memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.exemplars.iter().map(|(_, e)| e.labels.as_encoded().len() + 72).sum::<usize>()
            + self.newest.capacity() * 32
    }
}
