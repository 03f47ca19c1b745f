//! A chunk's payload: the columns of one series in one window, apart from its times. Layout: docs/formats/block.md.

use std::ops::Range;
use std::sync::Arc;

use model::{Histogram, Samples};

use super::format::{FLAG_HISTOGRAM, FLAG_STARTS, FLAG_TIER};
use crate::chunk::varint::{self, Cursor};
use crate::chunk::{self, CorruptChunk};

/// Appends the payload of `samples[range]` and returns its flags.
pub(crate) fn encode(samples: &Samples, range: Range<usize>, out: &mut Vec<u8>) -> u8 {
    let mut flags = 0;
    let histograms = histograms_in(samples, &range);
    let values = &samples.values[range.clone()];
    if histograms.is_empty() {
        chunk::encode_values(values, out);
    } else {
        flags |= FLAG_HISTOGRAM;
        varint::put(out, histograms.len() as u64);
        let all = histograms.len() == range.len();
        out.push(u8::from(all));
        let positions: Vec<i64> =
            histograms.iter().map(|(at, _)| i64::from(*at) - range.start as i64).collect();
        if !all {
            chunk::encode_times(&positions, out);
        }
        let column: Vec<Arc<Histogram>> = histograms.iter().map(|(_, h)| Arc::clone(h)).collect();
        chunk::encode_histograms(&column, out);
        let mut positions = positions.iter().peekable();
        let floats: Vec<f64> = values
            .iter()
            .enumerate()
            .filter(|(i, _)| positions.next_if(|&&p| p == *i as i64).is_none())
            .map(|(_, v)| *v)
            .collect();
        chunk::encode_values(&floats, out);
    }
    if samples.starts.get(range.clone()).is_some_and(|starts| starts.iter().any(|&s| s != 0)) {
        flags |= FLAG_STARTS;
        chunk::encode_starts(&samples.starts[range], out);
    }
    flags
}

/// Whether the samples in `range` are floats and nothing else.
pub(crate) fn is_plain(samples: &Samples, range: &Range<usize>) -> bool {
    histograms_in(samples, range).is_empty()
        && samples.starts.get(range.clone()).is_none_or(|starts| starts.iter().all(|&s| s == 0))
}

fn histograms_in<'a>(samples: &'a Samples, range: &Range<usize>) -> &'a [(u32, Arc<Histogram>)] {
    let all = &samples.histograms;
    let from = all.partition_point(|(at, _)| (*at as usize) < range.start);
    let to = all.partition_point(|(at, _)| (*at as usize) < range.end);
    &all[from..to]
}

/// Appends the differences of `values` to `parent` and whether all of them give the values back.
pub(crate) fn differences(values: &[f64], parent: &[f64], out: &mut Vec<f64>) -> bool {
    values.iter().zip(parent).all(|(&value, &parent)| {
        let difference = if value.is_nan() { value } else { value - parent };
        out.push(difference);
        add(parent, difference).to_bits() == value.to_bits()
    })
}

/// The value from its parent and the difference.
#[inline]
pub(crate) fn add(parent: f64, difference: f64) -> f64 {
    if difference.is_nan() { difference } else { parent + difference }
}

/// Appends a payload's `count` values, histograms and starts to `out`, whose times the caller appends.
///
/// Siblings are differences still. `out.starts` stays empty until a chunk has some.
pub(crate) fn decode(bytes: &[u8], flags: u8, count: usize, out: &mut Samples) -> Result<(), CorruptChunk> {
    if flags & FLAG_TIER == FLAG_TIER {
        return Err(CorruptChunk("it holds down-sampled columns, not samples"));
    }
    let base = out.values.len();
    let mut cursor = Cursor::new(bytes);
    if flags & FLAG_HISTOGRAM == 0 {
        let used = chunk::decode_values(cursor.rest(), count, &mut out.values)?;
        cursor.bytes(used)?;
    } else {
        let n = cursor.at_most(count)?;
        let mut positions = Vec::new();
        match cursor.byte()? {
            1 if n == count => positions.extend(0..n as i64),
            0 => {
                let used = chunk::decode_times(cursor.rest(), n, &mut positions)?;
                cursor.bytes(used)?;
            }
            _ => return Err(CorruptChunk("a histogram chunk is neither whole nor mixed")),
        }
        if positions.first().is_some_and(|&p| p < 0) || positions.last().is_some_and(|&p| p >= count as i64) {
            return Err(CorruptChunk("a histogram's position is out of range"));
        }
        let mut column = Vec::new();
        let used = chunk::decode_histograms(cursor.rest(), n, &mut column)?;
        cursor.bytes(used)?;
        let mut floats = Vec::new();
        let used = chunk::decode_values(cursor.rest(), count - n, &mut floats)?;
        cursor.bytes(used)?;
        let mut floats = floats.into_iter();
        let mut positions_left = positions.iter().peekable();
        out.values.extend((0..count as i64).map(|i| {
            if positions_left.next_if(|&&p| p == i).is_some() {
                0.0
            } else {
                floats.next().unwrap_or_default()
            }
        }));
        out.histograms.extend(positions.iter().map(|&p| base as u32 + p as u32).zip(column));
    }
    if flags & FLAG_STARTS != 0 {
        out.starts.resize(base, 0);
        let used = chunk::decode_starts(cursor.rest(), count, &mut out.starts)?;
        cursor.bytes(used)?;
    } else if !out.starts.is_empty() {
        out.starts.resize(base + count, 0);
    }
    if !cursor.rest().is_empty() {
        return Err(CorruptChunk("a chunk has bytes behind its end"));
    }
    Ok(())
}
