//! Prometheus' chunks of native histograms, of integers and of floats.
//!
//! Behind the count and a byte of flags one bit stream: the layout of the buckets, which all samples of the chunk share, then
//! the samples. Integers are differences of differences of variable length, floats and sums are XORed as in a chunk of floats.
//! Source: the histogram chunks of Prometheus' chunk format document.

use std::sync::Arc;

use model::histogram::{CUSTOM_SCHEMA, MAX_SCHEMA, MIN_SCHEMA, ResetHint, Span};
use model::{Histogram, Samples};

use super::xor::{Bits, Xor};
use crate::chunk::CorruptChunk;

/// In the byte of flags.
const RESET_MASK: u8 = 0xc0;
const GAUGE: u8 = 0xc0;
/// Bits of an integer behind each prefix: `10`, `110` and so on.
const SIZES: [u32; 8] = [3, 6, 9, 12, 18, 25, 56, 64];

/// Appends the samples of a chunk's data (after its encoding byte) to `out`; `false`, and nothing appended, when its schema is
/// none that exists here.
pub(super) fn decode(data: &[u8], is_float: bool, out: &mut Samples) -> Result<bool, CorruptChunk> {
    let (&[high, low, flags], rest) =
        data.split_first_chunk::<3>().ok_or(CorruptChunk("the chunk ends too early"))?;
    let samples = u16::from_be_bytes([high, low]);
    if samples == 0 {
        return Ok(true);
    }
    let mut bits = Bits::new(rest);
    let Some(layout) = layout(&mut bits)? else { return Ok(false) };
    let column = || if is_float { Column::Float(Xor::default()) } else { Column::Integer(0, 0) };
    let columns = |spans: &[Span], bits: &Bits<'_>| {
        let count: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        // Each bucket has a bit at least.
        match usize::try_from(count).ok().filter(|&count| count <= bits.left()) {
            Some(count) => Ok(std::iter::repeat_with(column).take(count).collect::<Vec<_>>()),
            None => Err(CorruptChunk("more buckets than bits")),
        }
    };
    let mut positive = columns(&layout.positive_spans, &bits)?;
    let mut negative = columns(&layout.negative_spans, &bits)?;
    let (mut count, mut zero_count, mut sum) = (column(), column(), Xor::default());
    let (mut time, mut delta) = (0i64, 0i64);
    for nth in 0..samples {
        let is_first = nth == 0;
        let read = signed(&mut bits)?;
        if is_first {
            time = read;
        } else {
            delta = delta.wrapping_add(read);
            time = time.wrapping_add(delta);
        }
        count.read(&mut bits, is_first, unsigned)?;
        zero_count.read(&mut bits, is_first, unsigned)?;
        sum.read(&mut bits, is_first)?;
        let is_stale = model::sample::is_stale(sum.value());
        if is_first || !is_stale {
            for bucket in positive.iter_mut().chain(&mut negative) {
                bucket.read(&mut bits, is_first, |bits| signed(bits).map(|value| value as u64))?;
            }
        }
        if out.times.last().is_some_and(|&last| last >= time) {
            return Err(CorruptChunk("the times do not ascend"));
        }
        let histogram = match is_stale {
            true => Histogram { sum: sum.value(), is_float, ..Histogram::default() },
            false => Histogram {
                count: count.value(),
                zero_count: zero_count.value(),
                sum: sum.value(),
                is_float,
                // Within a chunk there is no reset; before it there may be, whatever the flags say, as chunks can be deleted.
                reset_hint: match flags & RESET_MASK {
                    GAUGE => ResetHint::Gauge,
                    _ if is_first => ResetHint::Unknown,
                    _ => ResetHint::NotReset,
                },
                positive: counts(&positive),
                negative: counts(&negative),
                ..layout.clone()
            },
        };
        out.push_histogram(time, Arc::new(histogram));
    }
    Ok(true)
}

/// What all histograms of a chunk share.
fn layout(bits: &mut Bits<'_>) -> Result<Option<Histogram>, CorruptChunk> {
    let zero_threshold = match bits.take(8)? {
        0 => 0.0,
        255 => f64::from_bits(bits.take(64)?),
        exponent => 2f64.powi(exponent as i32 - 244),
    };
    let schema = i32::try_from(signed(bits)?).unwrap_or(i32::MAX);
    if schema != CUSTOM_SCHEMA && !(MIN_SCHEMA..=MAX_SCHEMA).contains(&schema) {
        return Ok(None);
    }
    let mut spans = || {
        let count = at_most(unsigned(bits)?, bits)?;
        let mut spans = Vec::with_capacity(count);
        for _ in 0..count {
            let length = u32::try_from(unsigned(bits)?);
            let offset = i32::try_from(signed(bits)?);
            let (Ok(length), Ok(offset)) = (length, offset) else {
                return Err(CorruptChunk("a span of buckets is impossible"));
            };
            spans.push(Span { offset, length });
        }
        Ok(spans)
    };
    let (positive_spans, negative_spans) = (spans()?, spans()?);
    let mut custom_values = Vec::new();
    if schema == CUSTOM_SCHEMA {
        for _ in 0..at_most(unsigned(bits)?, bits)? {
            custom_values.push(match unsigned(bits)? {
                0 => f64::from_bits(bits.take(64)?),
                thousandths => (thousandths - 1) as f64 / 1000.0,
            });
        }
    }
    Ok(Some(Histogram {
        schema,
        zero_threshold,
        positive_spans,
        negative_spans,
        custom_values,
        ..Histogram::default()
    }))
}

fn at_most(count: u64, bits: &Bits<'_>) -> Result<usize, CorruptChunk> {
    usize::try_from(count)
        .ok()
        .filter(|&count| count <= bits.left())
        .ok_or(CorruptChunk("more entries than bits"))
}

/// One number from sample to sample.
enum Column {
    /// The value, and its last difference.
    Integer(u64, i64),
    Float(Xor),
}

impl Column {
    fn read(
        &mut self,
        bits: &mut Bits<'_>,
        is_first: bool,
        first: impl FnOnce(&mut Bits<'_>) -> Result<u64, CorruptChunk>,
    ) -> Result<(), CorruptChunk> {
        match self {
            Self::Float(xor) => xor.read(bits, is_first)?,
            Self::Integer(value, _) if is_first => *value = first(bits)?,
            Self::Integer(value, delta) => {
                *delta = delta.wrapping_add(signed(bits)?);
                *value = value.wrapping_add(*delta as u64);
            }
        }
        Ok(())
    }

    fn value(&self) -> f64 {
        match self {
            Self::Integer(value, _) => *value as f64,
            Self::Float(xor) => xor.value(),
        }
    }
}

/// Counts of buckets: integers are differences to the bucket before.
fn counts(columns: &[Column]) -> Vec<f64> {
    let mut before = 0u64;
    let count = |column: &Column| match column {
        Column::Integer(difference, _) => {
            before = before.wrapping_add(*difference);
            before as f64
        }
        Column::Float(xor) => xor.value(),
    };
    columns.iter().map(count).collect()
}

/// How many bits the next integer has; 0 for the number 0.
fn size(bits: &mut Bits<'_>) -> Result<u32, CorruptChunk> {
    let mut ones = 0;
    while ones < SIZES.len() && bits.take(1)? == 1 {
        ones += 1;
    }
    Ok(if ones == 0 { 0 } else { SIZES[ones - 1] })
}

fn unsigned(bits: &mut Bits<'_>) -> Result<u64, CorruptChunk> {
    let size = size(bits)?;
    bits.take(size)
}

fn signed(bits: &mut Bits<'_>) -> Result<i64, CorruptChunk> {
    let size = size(bits)?;
    let value = bits.take(size)?;
    Ok(match size {
        // The largest of a size is positive: 3 bits are −3 to 4.
        1..64 if value > 1 << (size - 1) => value.wrapping_sub(1 << size) as i64,
        _ => value as i64,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
        text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    /// The beginning of a chunk that Prometheus 3.5 wrote of its own `prometheus_http_request_duration_seconds`: the first
    /// three of its 74 samples.
    const WRITTEN: &str = "004a00749e2e7dbb94a58e9c631946b2a465194a347f0000d106eeb886c47f676ce69962ce3c000046e03c7d116dcbe22c4d2105ab2370\
        000018c37e36896a22a8c3d46d1000001b43669c588c5072a896bc408dc00036841a1b0cb72c7328dc0bc40003184e9ff602bd30d4bcae\
        000002843836e333e048200000030c46fc9bed059c068da200000344418b2f68101c68bcae000003";

    #[test]
    fn a_chunk_of_prometheus_is_read_as_prometheus_reads_it() {
        let mut out = Samples::default();
        let mut data = hex(WRITTEN);
        data[..2].copy_from_slice(&[0, 3]);
        assert!(decode(&data, false, &mut out).unwrap());
        let found: Vec<_> = out
            .histograms
            .iter()
            .map(|(at, histogram)| {
                let mut filled = Vec::new();
                let (mut index, mut counts) = (0i32, histogram.positive.iter());
                for span in &histogram.positive_spans {
                    index += span.offset;
                    for _ in 0..span.length {
                        let count = *counts.next().unwrap();
                        if count > 0.0 {
                            filled.push((index, count));
                        }
                        index += 1;
                    }
                }
                assert_eq!((histogram.schema, histogram.zero_count), (3, 0.0));
                (out.times[*at as usize], histogram.count, histogram.sum, filled)
            })
            .collect();
        // What its query interface says; the upper bound of bucket i is 2^(i/8).
        assert_eq!(
            found,
            [
                (1795528945933, 1.0, 0.077002722, vec![(-29, 1.0)]),
                (1795528946933, 2.0, 0.07986711499999999, vec![(-67, 1.0), (-29, 1.0)]),
                (1795528947945, 3.0, 0.082439271, vec![(-68, 1.0), (-67, 1.0), (-29, 1.0)]),
            ]
        );
        let hints: Vec<_> = out.histograms.iter().map(|(_, histogram)| histogram.reset_hint).collect();
        assert_eq!(hints, [ResetHint::Unknown, ResetHint::NotReset, ResetHint::NotReset]);
    }

    #[test]
    fn floats_custom_bounds_and_staleness_markers_are_read() {
        let mut bits: Vec<bool> = Vec::new();
        let mut put = |value: u64, n: u32| (0..n).rev().for_each(|i| bits.push(value >> i & 1 == 1));
        put(0, 8); // zero threshold
        put(0b1110, 4); // schema −53
        put((-53i64 as u64) & 0x1ff, 9);
        put(0b10_001, 5); // one positive span
        put(0b10_010, 5); // of two buckets
        put(0, 1); // at 0
        put(0, 1); // no negative span
        put(0b10_010, 5); // two bounds
        put(0b11110, 5); // 0.5 = 500 thousandths
        put(501, 12);
        put(0, 1); // not in thousandths
        put(f64::INFINITY.to_bits(), 64);
        put(0b10_101, 5); // time −3
        for value in [3.5f64, 0.0, 7.25, 1.0, 2.5] {
            put(value.to_bits(), 64);
        }
        put(0b110_001010, 9); // ten later
        put(0, 1); // the same count
        put(0, 1); // and zero count
        put(0b11, 2); // another sum
        put(0, 5);
        put(0, 6);
        put(7.25f64.to_bits() ^ model::sample::STALE_NAN, 64);
        let bytes = bits
            .chunks(8)
            .map(|byte| byte.iter().enumerate().map(|(i, &bit)| u8::from(bit) << (7 - i)).sum());
        let data: Vec<u8> = [0, 2, GAUGE].into_iter().chain(bytes).collect();
        let mut out = Samples::default();
        assert!(decode(&data, true, &mut out).unwrap());
        assert_eq!(out.times, [-3, 7]);
        let first = Histogram {
            schema: CUSTOM_SCHEMA,
            is_float: true,
            reset_hint: ResetHint::Gauge,
            count: 3.5,
            sum: 7.25,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive: vec![1.0, 2.5],
            custom_values: vec![0.5, f64::INFINITY],
            ..Histogram::default()
        };
        assert_eq!(*out.histograms[0].1, first);
        assert!(out.histograms[1].1.is_stale() && out.histograms[1].1.positive.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200), is_float: bool, count in 0u8..20,
        ) {
            let mut written = hex(WRITTEN);
            written[3..].iter_mut().zip(&bytes).filter(|(_, b)| **b < 8).for_each(|(w, b)| *w ^= b);
            let _outcome = decode(&written, is_float, &mut Samples::default());
            if let Some(first) = bytes.first_mut() {
                *first = 0;
            }
            if let Some(second) = bytes.get_mut(1) {
                *second = count;
            }
            let _outcome = decode(&bytes, is_float, &mut Samples::default());
        }
    }
}
