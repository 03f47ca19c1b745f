//! Collects the label pairs of a block's series and writes the index sections.
//!
//! Series arrive in label order and get the ids 0, 1, 2 … While they arrive, pairs have preliminary numbers; ids in
//! order of (name, value) exist once all pairs are known.

use std::collections::HashMap;
use std::hash::BuildHasher;

use model::Labels;

use super::RESTART;
use super::postings::Builder;
use crate::chunk::varint;
use crate::{Error, Result};

/// The index of a block that is being written.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    /// Hash of (name, value) to the preliminary numbers of pairs with that hash.
    table: HashMap<u64, u32, std::hash::BuildHasherDefault<PassThrough>>,
    hasher: std::hash::RandomState,
    pairs: Vec<Pair>,
    names: Vec<(Box<str>, Builder)>,
    name_numbers: HashMap<Box<str>, u32>,
    bytes: usize,
    series: u32,
}

struct Pair {
    name: u32,
    value: Box<str>,
    postings: Builder,
    /// Next pair with the same hash; `u32::MAX` ends the chain.
    next: u32,
}

/// A hash is its own hash.
#[derive(Default)]
struct PassThrough(u64);

impl std::hash::Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed");
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// The finished index sections.
pub(crate) struct Sections {
    pub(crate) names: Vec<u8>,
    pub(crate) dictionary: Vec<u8>,
    pub(crate) restarts: Vec<u8>,
    pub(crate) postings: Vec<u8>,
    /// Preliminary pair number to pair id.
    pub(crate) ids: Vec<u32>,
}

impl IndexBuilder {
    /// Adds the next series and appends the preliminary numbers of its pairs to `pairs`.
    pub(crate) fn add(&mut self, labels: &Labels, pairs: &mut Vec<u32>) {
        let id = self.series;
        self.series += 1;
        for (name, value) in labels {
            let number = self.pair(name, value);
            let pair = &mut self.pairs[number as usize];
            pair.postings.push(id);
            self.names[pair.name as usize].1.push(id);
            pairs.push(number);
        }
    }

    fn pair(&mut self, name: &str, value: &str) -> u32 {
        let hash = self.hasher.hash_one((name, value));
        let first = self.table.get(&hash).copied().unwrap_or(u32::MAX);
        let mut at = first;
        while at != u32::MAX {
            let pair = &self.pairs[at as usize];
            if *pair.value == *value && *self.names[pair.name as usize].0 == *name {
                return at;
            }
            at = pair.next;
        }
        let name_number = match self.name_numbers.get(name) {
            Some(&number) => number,
            None => {
                let number = self.names.len() as u32;
                self.names.push((name.into(), Builder::default()));
                self.name_numbers.insert(name.into(), number);
                number
            }
        };
        let number = self.pairs.len() as u32;
        self.pairs.push(Pair {
            name: name_number,
            value: value.into(),
            postings: Builder::default(),
            next: first,
        });
        self.table.insert(hash, number);
        self.bytes += value.len() + size_of::<Pair>() + 16;
        number
    }

    /// Bytes of memory, about.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes + self.pairs.iter().map(|p| p.postings.size_bytes()).sum::<usize>()
    }

    /// Sorts the pairs and writes the sections.
    ///
    /// # Errors
    /// `Invalid` when a section would pass 4 GiB.
    pub(crate) fn finish(self) -> Result<Sections> {
        let mut name_order: Vec<u32> = (0..self.names.len() as u32).collect();
        name_order.sort_unstable_by(|&a, &b| self.names[a as usize].0.cmp(&self.names[b as usize].0));
        let mut rank = vec![0u32; self.names.len()];
        for (at, &name) in name_order.iter().enumerate() {
            rank[name as usize] = at as u32;
        }
        let mut order: Vec<u32> = (0..self.pairs.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| {
            let (a, b) = (&self.pairs[a as usize], &self.pairs[b as usize]);
            (rank[a.name as usize], &a.value).cmp(&(rank[b.name as usize], &b.value))
        });
        let mut pairs: Vec<Option<Pair>> = self.pairs.into_iter().map(Some).collect();
        let mut names: Vec<Option<(Box<str>, Builder)>> = self.names.into_iter().map(Some).collect();

        let mut sections = Sections {
            names: Vec::new(),
            dictionary: Vec::new(),
            restarts: Vec::new(),
            postings: Vec::new(),
            ids: vec![0; order.len()],
        };
        let mut values_of = vec![0u64; names.len()];
        let mut last: Option<(u32, Box<str>)> = None;
        let mut encoded = Vec::new();
        for (id, &number) in order.iter().enumerate() {
            sections.ids[number as usize] = id as u32;
            let pair = pairs[number as usize].take().expect("each pair is in the order once");
            values_of[pair.name as usize] += 1;
            let restart = id % RESTART == 0;
            if restart {
                for offset in [sections.dictionary.len(), sections.postings.len()] {
                    sections.restarts.extend_from_slice(&to_u32(offset)?.to_le_bytes());
                }
            }
            let shared = match &last {
                Some((name, value)) if !restart && *name == pair.name => shared_bytes(value, &pair.value),
                _ => 0,
            };
            let ids = pair.postings.len();
            encoded.clear();
            pair.postings.finish(&mut encoded);
            let out = &mut sections.dictionary;
            varint::put(out, shared as u64);
            varint::put(out, (pair.value.len() - shared) as u64);
            out.extend_from_slice(&pair.value.as_bytes()[shared..]);
            varint::put(out, u64::from(ids));
            varint::put(out, encoded.len() as u64);
            sections.postings.extend_from_slice(&encoded);
            last = Some((pair.name, pair.value));
        }
        for &number in &name_order {
            let (name, postings) = names[number as usize].take().expect("each name is in the order once");
            let ids = postings.len();
            encoded.clear();
            postings.finish(&mut encoded);
            let out = &mut sections.names;
            varint::put(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            varint::put(out, values_of[number as usize]);
            varint::put(out, u64::from(ids));
            varint::put(out, encoded.len() as u64);
            sections.postings.extend_from_slice(&encoded);
        }
        to_u32(sections.dictionary.len())?;
        to_u32(sections.postings.len())?;
        Ok(sections)
    }
}

fn to_u32(offset: usize) -> Result<u32> {
    u32::try_from(offset).map_err(|_| {
        Error::Invalid("a block's index section would pass 4 GiB; lower tsdb.block_duration_max".to_owned())
    })
}

fn shared_bytes(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}
