//! The columns of a down-sampled series. Their meaning: `downsample`; layout: docs/formats/block.md.

use crate::chunk::varint::{self, Cursor};
use crate::chunk::{self, CorruptChunk};

/// Rows of aggregates of one series, as columns of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tier {
    /// End of each step, milliseconds since the epoch, ascending.
    pub times: Vec<i64>,
    /// Samples in the step.
    pub count: Vec<f64>,
    /// Their sum.
    pub sum: Vec<f64>,
    /// The smallest.
    pub min: Vec<f64>,
    /// The largest.
    pub max: Vec<f64>,
    /// The earliest.
    pub first: Vec<f64>,
    /// The latest.
    pub last: Vec<f64>,
    /// Increase since the sample before the step, corrected for counter resets.
    pub increase: Vec<f64>,
}

impl Tier {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Drops all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.times.clear();
        self.columns_mut().into_iter().for_each(Vec::clear);
    }

    /// Begins a row whose first value is `first`; [`Tier::add`] that value too.
    pub(crate) fn push(&mut self, time: i64, first: f64) {
        self.times.push(time);
        let nothing = -0.0;
        for (column, value) in
            self.columns_mut().into_iter().zip([0.0, nothing, f64::NAN, f64::NAN, first, first, nothing])
        {
            column.push(value);
        }
    }

    /// Adds a sample to the last row.
    pub(crate) fn add(&mut self, value: f64, increase: f64) {
        let Some(row) = self.len().checked_sub(1) else { return };
        self.count[row] += 1.0;
        self.sum[row] += value;
        self.min[row] = self.min[row].min(value);
        self.max[row] = self.max[row].max(value);
        self.last[row] = value;
        self.increase[row] += increase;
    }

    /// The columns in the order in which they are stored.
    fn columns(&self) -> [&Vec<f64>; 7] {
        [&self.count, &self.sum, &self.min, &self.max, &self.first, &self.last, &self.increase]
    }

    fn columns_mut(&mut self) -> [&mut Vec<f64>; 7] {
        [
            &mut self.count,
            &mut self.sum,
            &mut self.min,
            &mut self.max,
            &mut self.first,
            &mut self.last,
            &mut self.increase,
        ]
    }

    pub(super) fn is_aligned(&self) -> bool {
        self.columns().iter().all(|column| column.len() == self.len())
    }

    /// Drops what lies outside `start..=end`.
    pub(super) fn trim(&mut self, start: i64, end: i64) {
        let to = self.times.partition_point(|&t| t <= end);
        let from = self.times.partition_point(|&t| t < start).min(to);
        self.times.truncate(to);
        self.times.drain(..from);
        for column in self.columns_mut() {
            column.truncate(to);
            column.drain(..from);
        }
    }

    /// Drops the rows whose step `(time - resolution, time]` has an instant in one of `ranges` (both ends included).
    pub(crate) fn remove(&mut self, resolution: i64, ranges: &[(i64, i64)]) {
        let gone = |end: i64| ranges.iter().any(|&(from, to)| from <= end && to > end - resolution);
        if ranges.is_empty() || !self.times.iter().any(|&end| gone(end)) {
            return;
        }
        let keep: Vec<bool> = self.times.iter().map(|&end| !gone(end)).collect();
        let mut at = keep.iter();
        self.times.retain(|_| *at.next().unwrap_or(&true));
        for column in self.columns_mut() {
            let mut at = keep.iter();
            column.retain(|_| *at.next().unwrap_or(&true));
        }
    }

    /// Appends the payload of the rows in `range`.
    pub(super) fn encode(&self, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        for column in self.columns() {
            bytes.clear();
            chunk::encode_values(&column[range.clone()], &mut bytes);
            varint::put(out, bytes.len() as u64);
            out.extend_from_slice(&bytes);
        }
    }

    /// Appends `count` rows of a payload, whose times the caller appends.
    pub(super) fn decode(&mut self, bytes: &[u8], count: usize) -> Result<(), CorruptChunk> {
        let mut cursor = Cursor::new(bytes);
        for column in self.columns_mut() {
            let len = cursor.at_most(bytes.len())?;
            if chunk::decode_values(cursor.bytes(len)?, count, column)? != len {
                return Err(CorruptChunk("a column has another length than it says"));
            }
        }
        if cursor.rest().is_empty() { Ok(()) } else { Err(CorruptChunk("a chunk has bytes behind its end")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn payloads_come_back(rows in prop::collection::vec((any::<f64>(), 0u32..9), 1..50), at: prop::sample::Index, bit in 0u8..8) {
            let mut tier = Tier::default();
            for (i, &(first, n)) in rows.iter().enumerate() {
                tier.push(i as i64, first);
                (0..n).for_each(|k| tier.add(first + f64::from(k), f64::from(k)));
            }
            let mut bytes = Vec::new();
            tier.encode(0..rows.len(), &mut bytes);
            let mut back = Tier { times: tier.times.clone(), ..Tier::default() };
            back.decode(&bytes, rows.len()).unwrap();
            let bits = |tier: &Tier| tier.columns().map(|c| c.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            prop_assert_eq!(bits(&tier), bits(&back));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let mut damaged = Tier::default();
            if damaged.decode(&bytes, rows.len()).is_ok() {
                prop_assert!(damaged.columns().iter().all(|c| c.len() == rows.len()));
            }
            prop_assert!(back.decode(&bytes[..at], rows.len()).is_err());
        }
    }
}
