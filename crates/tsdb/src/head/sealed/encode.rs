//! Chunk payloads of sealed files: from rows in memory, and from chunks that are merged.

use std::sync::Arc;

use hashbrown::HashMap;
use model::Samples;

use super::{HISTOGRAMS, STARTS};
use crate::chunk::varint::{put, put_signed};
use crate::chunk::{encode_histograms, encode_starts, encode_times, encode_values};
use crate::error::Result;
use crate::head::group::Rows;
use crate::head::select::GroupSnapshot;

/// Encodes what a group has in memory.
#[derive(Default)]
pub(crate) struct Encoder {
    payload: Vec<u8>,
    pages: Vec<u8>,
    offsets: Vec<u32>,
    starts: Vec<usize>,
    places: Vec<u32>,
    values: Vec<f64>,
    times: Vec<i64>,
    scratch: Vec<u8>,
}

impl Encoder {
    /// The frame's payload for the rows of `group`; `None` when there is no sample.
    pub(crate) fn encode(&mut self, group: u64, rows: &Rows) -> Option<&[u8]> {
        let (min_time, max_time) = rows.time_range()?;
        self.pages.clear();
        self.offsets.clear();
        self.offsets.push(0);
        let mut sets: Vec<Vec<i64>> = Vec::new();
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        // Counting sort by column.
        let mut columns = 0usize;
        self.starts.clear();
        for row in &rows.rows {
            row.for_each(|column, _| {
                let column = column as usize;
                columns = columns.max(column + 1);
                if self.starts.len() < column + 2 {
                    self.starts.resize(column + 2, 0);
                }
                self.starts[column + 1] += 1;
            });
        }
        let with_extras = rows.extras.as_deref();
        if let Some(extras) = with_extras {
            let last = extras.histograms.iter().map(|(column, ..)| *column as usize + 1).max();
            columns = columns.max(last.unwrap_or(0));
        }
        self.starts.resize(columns + 1, 0);
        for at in 1..=columns {
            self.starts[at] += self.starts[at - 1];
        }
        let total = self.starts[columns];
        self.places.clear();
        self.places.resize(total, 0);
        self.values.clear();
        self.values.resize(total, 0.0);
        let mut next = self.starts.clone();
        for (place, row) in rows.rows.iter().enumerate() {
            row.for_each(|column, value| {
                let at = &mut next[column as usize];
                self.places[*at] = place as u32;
                self.values[*at] = value;
                *at += 1;
            });
        }
        let first_column = (0..columns).find(|&c| {
            self.starts[c + 1] > self.starts[c]
                || with_extras.is_some_and(|e| e.histograms_of(c as u32).next().is_some())
        })?;
        let mut special: HashMap<u32, Samples> = HashMap::new();
        if let Some(extras) = with_extras {
            let columns = extras.histograms.iter().map(|h| h.0).chain(extras.starts.iter().map(|s| s.0));
            for column in columns {
                special.entry(column).or_default();
            }
            for (&column, samples) in &mut special {
                rows.read(column, samples);
            }
        }
        let mut last_set: Option<(Vec<u32>, u32)> = None;
        for column in first_column..columns {
            if let Some(samples) = special.get(&(column as u32)).filter(|s| !s.is_empty()) {
                let set = sets.iter().position(|set| *set == samples.times).unwrap_or_else(|| {
                    sets.push(samples.times.clone());
                    sets.len() - 1
                });
                put_page(&mut self.pages, set as u64, samples);
            } else {
                let range = self.starts[column]..self.starts[column + 1];
                if !range.is_empty() {
                    let places = &self.places[range.clone()];
                    let set = match &last_set {
                        Some((same, set)) if same == places => *set,
                        _ => {
                            let set = *known.entry(places.to_vec()).or_insert_with(|| {
                                sets.push(places.iter().map(|&p| rows.rows[p as usize].time).collect());
                                (sets.len() - 1) as u32
                            });
                            last_set = Some((places.to_vec(), set));
                            set
                        }
                    };
                    put(&mut self.pages, u64::from(set));
                    self.pages.push(0);
                    encode_values(&self.values[range], &mut self.pages);
                }
            }
            self.offsets.push(self.pages.len() as u32);
        }

        self.times.clear();
        Some(self.finish(group, (min_time, max_time), &sets, first_column))
    }

    /// The frame's payload for the first `columns` columns of `chunks`, all of the group's in some files; `None` when there is no
    /// sample.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn encode_chunks(
        &mut self,
        group: u64,
        columns: u32,
        chunks: &GroupSnapshot,
    ) -> Result<Option<&[u8]>> {
        self.pages.clear();
        self.offsets.clear();
        self.offsets.push(0);
        let mut sets: Vec<Vec<i64>> = Vec::new();
        let mut known: HashMap<Vec<i64>, usize> = HashMap::new();
        let (mut last_set, mut first_column) = (0, None);
        let mut range = (i64::MAX, i64::MIN);
        let mut samples = Samples::default();
        for column in 0..columns {
            samples.clear();
            chunks.read(column, &mut samples)?;
            if let Some((first, last)) = samples.times.first().zip(samples.times.last()) {
                range = (range.0.min(*first), range.1.max(*last));
                first_column.get_or_insert(column as usize);
                if sets.get(last_set).is_none_or(|set| *set != samples.times) {
                    last_set = *known.entry(samples.times.clone()).or_insert_with_key(|times| {
                        sets.push(times.clone());
                        sets.len() - 1
                    });
                }
                put_page(&mut self.pages, last_set as u64, &samples);
            }
            if first_column.is_some() {
                self.offsets.push(self.pages.len() as u32);
            }
        }
        Ok(first_column.map(|first| self.finish(group, range, &sets, first)))
    }

    /// The payload of what is in `pages` and `offsets`.
    fn finish(&mut self, group: u64, range: (i64, i64), sets: &[Vec<i64>], first_column: usize) -> &[u8] {
        let out = &mut self.payload;
        out.clear();
        put(out, group);
        put_signed(out, range.0);
        put_signed(out, range.1);
        put(out, sets.len() as u64);
        for set in sets {
            self.scratch.clear();
            encode_times(set, &mut self.scratch);
            put(out, set.len() as u64);
            put(out, self.scratch.len() as u64);
            out.extend_from_slice(&self.scratch);
        }
        put(out, first_column as u64);
        put(out, self.offsets.len() as u64 - 1);
        for offset in &self.offsets {
            out.extend_from_slice(&offset.to_le_bytes());
        }
        out.extend_from_slice(&self.pages);
        out
    }
}

fn put_page(out: &mut Vec<u8>, set: u64, samples: &Samples) {
    put(out, set);
    let has_starts = samples.starts.iter().any(|&start| start != 0);
    out.push(
        if samples.histograms.is_empty() { 0 } else { HISTOGRAMS } | if has_starts { STARTS } else { 0 },
    );
    encode_values(&samples.values, out);
    if !samples.histograms.is_empty() {
        put(out, samples.histograms.len() as u64);
        let mut last = 0;
        for (at, _) in &samples.histograms {
            put(out, u64::from(at - last));
            last = *at;
        }
        let histograms: Vec<_> = samples.histograms.iter().map(|(_, h)| Arc::clone(h)).collect();
        encode_histograms(&histograms, out);
    }
    if has_starts {
        encode_starts(&samples.starts, out);
    }
}
