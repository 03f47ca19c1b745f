//! Samples in any order, of series named by labels, into a [`Batch`]: each series once, samples ascending in time.

use model::labels::{self, METRIC_NAME};
use model::{Batch, Histogram};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Finds the series of a batch by their labels; keeps its memory between batches.
#[derive(Debug, Default)]
pub struct Gather {
    seed: u64,
    /// Open addressing: index + 1 of a series in the batch, 0 for empty.
    table: Vec<u32>,
    hashes: Vec<u64>,
    /// The newest sample of each series.
    times: Vec<i64>,
    /// The canonical labels of the series that is looked for.
    pub(crate) encoded: Vec<u8>,
    unsorted: bool,
}

impl Gather {
    /// `seed`: a secret of the process, so that nobody can construct colliding labels.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Starts a new batch, which is cleared.
    pub fn begin(&mut self, batch: &mut Batch) {
        batch.clear();
        self.table.clear();
        self.hashes.clear();
        self.times.clear();
        self.unsorted = false;
    }

    /// Ends a batch: sorts its samples when they did not come in order.
    pub fn finish(&mut self, batch: &mut Batch) {
        if self.unsorted {
            batch.sort_samples();
        }
    }

    /// The index of the series whose labels are these pairs, in any order; empty values are left out.
    ///
    /// # Errors
    /// In words: a name twice, an empty name, no metric name.
    pub fn series(&mut self, pairs: &mut Vec<(&str, &str)>, batch: &mut Batch) -> Result<u32, String> {
        pairs.retain(|(_, value)| !value.is_empty());
        pairs.sort_unstable();
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("label name {:?} is not unique", pair[0].0));
        }
        self.encoded.clear();
        let mut named = false;
        for (name, value) in pairs.iter() {
            if name.is_empty() {
                return Err(format!("a label with the value {value:?} has no name"));
            }
            named |= *name == METRIC_NAME;
            labels::encode_pair(&mut self.encoded, name, value);
        }
        if !named {
            return Err("a series has no metric name".into());
        }
        Ok(self.find(batch))
    }

    /// The index of the series with these labels.
    pub fn add(&mut self, labels: &model::Labels, batch: &mut Batch) -> u32 {
        self.encoded.clear();
        self.encoded.extend_from_slice(labels.as_encoded());
        self.find(batch)
    }

    /// The index of the series whose canonical labels are in `encoded`.
    pub(crate) fn find(&mut self, batch: &mut Batch) -> u32 {
        if self.hashes.len() * 2 >= self.table.len() {
            let size = (self.hashes.len() * 4).next_power_of_two().max(64);
            self.table.clear();
            self.table.resize(size, 0);
            for (index, hash) in self.hashes.iter().enumerate() {
                let mut at = *hash as usize & (size - 1);
                while self.table[at] != 0 {
                    at = (at + 1) & (size - 1);
                }
                self.table[at] = index as u32 + 1;
            }
        }
        let hash = xxh3_64_with_seed(&self.encoded, self.seed);
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.table[at] {
                0 => {
                    let index = batch.add_series_with(|arena| arena.extend_from_slice(&self.encoded));
                    self.table[at] = index + 1;
                    self.hashes.push(hash);
                    self.times.push(i64::MIN);
                    return index;
                }
                found => {
                    let index = found - 1;
                    if self.hashes[index as usize] == hash && batch.label_bytes(index) == Some(&self.encoded)
                    {
                        return index;
                    }
                    at = (at + 1) & mask;
                }
            }
        }
    }

    /// Adds a float sample; `time` in milliseconds.
    pub fn float(&mut self, batch: &mut Batch, series: u32, time: i64, value: f64) {
        self.note(series, time);
        batch.push_float(series, time, value);
    }

    /// Adds a valid histogram sample; `time` in milliseconds.
    pub fn histogram(&mut self, batch: &mut Batch, series: u32, time: i64, histogram: Histogram) {
        self.note(series, time);
        batch.push_histogram(series, time, Arc::new(histogram));
    }

    fn note(&mut self, series: u32, time: i64) {
        let last = &mut self.times[series as usize];
        self.unsorted |= time < *last;
        *last = time.max(*last);
    }
}

/// What a push held besides what is in the batch: samples that were left out, each with its reason in words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refused {
    /// How many.
    pub count: usize,
    /// What was wrong with the first of them.
    pub first: Option<String>,
    /// Things that have no place in a metrics store and are no fault of the sender's: texts, events.
    pub ignored: usize,
}

impl Refused {
    /// Counts refused samples and keeps the first reason.
    pub fn refuse(&mut self, samples: usize, reason: impl FnOnce() -> String) {
        self.count += samples;
        if self.first.is_none() {
            self.first = Some(reason());
        }
    }
}

/// Makes a metric name: every character that is no letter, digit, `_` or `:` becomes `_`; a leading digit gets a `_` before it.
pub fn metric_name(out: &mut String, text: &str) {
    legacy(out, text, true);
}

/// Makes a label name: as [`metric_name`], without `:`.
pub fn label_name(out: &mut String, text: &str) {
    legacy(out, text, false);
}

fn legacy(out: &mut String, text: &str, colon: bool) {
    if out.is_empty() && text.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    for c in text.chars() {
        let fits = c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
        out.push(if fits { c } else { '_' });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_found_again_and_samples_are_sorted() {
        let (mut gather, mut batch) = (Gather::new(1), Batch::new());
        gather.begin(&mut batch);
        let a = gather.series(&mut vec![("x", "1"), ("__name__", "a"), ("e", "")], &mut batch).unwrap();
        for i in 0..100 {
            let name = format!("b{i}");
            gather.series(&mut vec![("__name__", &name)], &mut batch).unwrap();
        }
        let again = gather.series(&mut vec![("__name__", "a"), ("x", "1")], &mut batch).unwrap();
        assert_eq!(a, again);
        gather.float(&mut batch, a, 2, 2.0);
        gather.float(&mut batch, a, 1, 1.0);
        gather.finish(&mut batch);
        assert_eq!(batch.floats().iter().map(|s| s.time).collect::<Vec<_>>(), [1, 2]);
        for bad in [
            vec![("x", "1")],
            vec![("__name__", "a"), ("x", "1"), ("x", "2")],
            vec![("__name__", "a"), ("", "1")],
        ] {
            assert!(gather.series(&mut bad.clone(), &mut batch).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_become_legal() {
        let mut out = String::new();
        metric_name(&mut out, "9disk-io.read:x");
        assert_eq!(out, "_9disk_io_read:x");
        out.clear();
        label_name(&mut out, "a:b/ü");
        assert_eq!(out, "a_b__");
    }
}
