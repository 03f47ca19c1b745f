//! Samples as Prometheus' chunks: XORed floats and float histograms.
//!
//! Source: "Gorilla: A Fast, Scalable, In-Memory Time Series Database" (VLDB 2015) and Prometheus' chunk format document,
//! `tsdb/docs/format/chunks.md`.

use model::histogram::{ResetHint, Span};
use model::{Histogram, Samples};

/// Samples of one chunk, as Prometheus cuts them.
const MAX_SAMPLES: usize = 120;

/// Prometheus' numbers of the encodings.
const XOR: i64 = 1;
const FLOAT_HISTOGRAM: i64 = 3;

/// A chunk on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The first sample's time.
    pub min_time: i64,
    /// The last sample's time.
    pub max_time: i64,
    /// 1: XORed floats, 3: float histograms.
    pub encoding: i64,
    /// The data after the encoding byte.
    pub data: Vec<u8>,
}

/// The samples as chunks, in order of time.
pub fn chunks(samples: &Samples) -> Vec<Chunk> {
    let mut found = Vec::with_capacity(samples.len() / MAX_SAMPLES + 1);
    let mut from = 0;
    while from < samples.len() {
        let (to, chunk) = match samples.histogram(from) {
            None => floats(samples, from),
            Some(first) => histograms(samples, from, first),
        };
        found.push(chunk);
        from = to;
    }
    found
}

/// A chunk of the floats from `from` on, and where it ends.
fn floats(samples: &Samples, from: usize) -> (usize, Chunk) {
    let histogram = samples.histograms.partition_point(|(at, _)| (*at as usize) < from);
    let to = samples.histograms.get(histogram).map_or(samples.len(), |(at, _)| *at as usize);
    let to = to.min(from + MAX_SAMPLES);
    let (times, values) = (&samples.times[from..to], &samples.values[from..to]);
    let mut bits = Bits::with_count(times.len());
    let mut value = Xor::new(values[0]);
    bits.varint(times[0]);
    bits.put(values[0].to_bits(), 64);
    let mut delta = 0;
    for i in 1..times.len() {
        let next = times[i].wrapping_sub(times[i - 1]);
        match i {
            1 => bits.uvarint(next as u64),
            _ => bits.delta_of_delta(next.wrapping_sub(delta)),
        }
        delta = next;
        value.put(&mut bits, values[i]);
    }
    let (min_time, max_time) = (times[0], times[times.len() - 1]);
    (to, Chunk { min_time, max_time, encoding: XOR, data: bits.bytes })
}

/// A chunk of the histograms from `from` on that share the first one's layout, and where it ends.
fn histograms(samples: &Samples, from: usize, first: &Histogram) -> (usize, Chunk) {
    let fits = |histogram: &Histogram| {
        histogram.is_stale() == first.is_stale()
            && histogram.schema == first.schema
            && histogram.zero_threshold.to_bits() == first.zero_threshold.to_bits()
            && histogram.positive_spans == first.positive_spans
            && histogram.negative_spans == first.negative_spans
            && histogram.custom_values == first.custom_values
            && (histogram.reset_hint == ResetHint::Gauge) == (first.reset_hint == ResetHint::Gauge)
            && histogram.reset_hint != ResetHint::Reset
    };
    let start = samples.histograms.partition_point(|(at, _)| (*at as usize) < from);
    let run = samples.histograms[start..].iter().take(MAX_SAMPLES).enumerate();
    let run: Vec<&Histogram> = run
        .take_while(|(nth, (at, histogram))| *at as usize == from + nth && (*nth == 0 || fits(histogram)))
        .map(|(_, (_, histogram))| &**histogram)
        .collect();
    let to = from + run.len();
    let times = &samples.times[from..to];
    let mut bits = Bits::with_count(run.len());
    // What is known about a reset before the chunk. Within it, the reader compares.
    bits.bytes.push(match first.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 0b1000_0000,
        ResetHint::NotReset => 0b0100_0000,
        ResetHint::Gauge => 0b1100_0000,
    });
    layout(&mut bits, first);
    let mut columns: Vec<Xor> = fields(first).map(Xor::new).collect();
    let (mut delta, mut before) = (0, times[0]);
    for (i, histogram) in run.into_iter().enumerate() {
        let next = times[i].wrapping_sub(before);
        match i {
            0 => bits.varbit_int(times[0]),
            1 => bits.varbit_int(next),
            _ => bits.varbit_int(next.wrapping_sub(delta)),
        }
        if i > 0 {
            delta = next;
        }
        before = times[i];
        for (column, value) in columns.iter_mut().zip(fields(histogram)) {
            match i {
                0 => bits.put(value.to_bits(), 64),
                _ => column.put(&mut bits, value),
            }
        }
    }
    let (min_time, max_time) = (times[0], times[times.len() - 1]);
    (to, Chunk { min_time, max_time, encoding: FLOAT_HISTOGRAM, data: bits.bytes })
}

/// The numbers of a histogram in the order of the chunk. A staleness marker has no buckets.
fn fields(h: &Histogram) -> impl Iterator<Item = f64> + '_ {
    let stale = h.is_stale();
    let buckets = h.positive.iter().chain(&h.negative).copied().filter(move |_| !stale);
    [h.count, h.zero_count, h.sum].into_iter().chain(buckets)
}

fn layout(bits: &mut Bits, h: &Histogram) {
    zero_threshold(bits, h.zero_threshold);
    bits.varbit_int(i64::from(h.schema));
    let none: &[Span] = &[];
    for spans in [&h.positive_spans, &h.negative_spans] {
        let spans = if h.is_stale() { none } else { spans };
        bits.varbit_uint(spans.len() as u64);
        for span in spans {
            bits.varbit_uint(u64::from(span.length));
            bits.varbit_int(i64::from(span.offset));
        }
    }
    if h.is_custom() {
        bits.varbit_uint(h.custom_values.len() as u64);
        h.custom_values.iter().for_each(|&bound| custom_bound(bits, bound));
    }
}

/// Powers of two between 2^-243 and 2^10 take a byte, as does 0; others nine.
fn zero_threshold(bits: &mut Bits, threshold: f64) {
    if threshold == 0.0 {
        return bits.put(0, 8);
    }
    let raw = threshold.to_bits();
    let (exponent, fraction) = ((raw >> 52 & 0x7ff) as i64, raw & ((1 << 52) - 1));
    // As `frexp` has it: the number is 0.5 × 2^exponent.
    let exponent = exponent - 1022;
    if raw >> 63 == 0 && fraction == 0 && (-242..=11).contains(&exponent) {
        bits.put((exponent + 243) as u64, 8);
    } else {
        bits.put(255, 8);
        bits.put(raw, 64);
    }
}

/// Bounds with at most three decimals are whole numbers of thousandths.
fn custom_bound(bits: &mut Bits, bound: f64) {
    let thousandths = (bound * 1000.0).round();
    if (0.0..=33_554_430.0).contains(&(bound * 1000.0)) && thousandths / 1000.0 == bound {
        bits.varbit_uint(thousandths as u64 + 1);
    } else {
        bits.put(0, 1);
        bits.put(bound.to_bits(), 64);
    }
}

/// A column of floats, each XORed with the one before.
struct Xor {
    value: u64,
    /// Zeros at both ends of what was last written in full.
    window: Option<(u32, u32)>,
}

impl Xor {
    fn new(first: f64) -> Self {
        Self { value: first.to_bits(), window: None }
    }

    fn put(&mut self, bits: &mut Bits, value: f64) {
        let delta = value.to_bits() ^ self.value;
        self.value = value.to_bits();
        if delta == 0 {
            return bits.put(0, 1);
        }
        bits.put(1, 1);
        let (leading, trailing) = (delta.leading_zeros().min(31), delta.trailing_zeros());
        match self.window {
            Some((l, t)) if leading >= l && trailing >= t => {
                bits.put(0, 1);
                bits.put(delta >> t, 64 - l - t);
            }
            _ => {
                self.window = Some((leading, trailing));
                let significant = 64 - leading - trailing;
                bits.put(1, 1);
                bits.put(u64::from(leading), 5);
                // 64 does not fit into six bits and is written as 0.
                bits.put(u64::from(significant & 63), 6);
                bits.put(delta >> trailing, significant);
            }
        }
    }
}

/// A bit stream, high bits first.
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not used yet.
    free: u32,
}

impl Bits {
    /// Starts with the number of samples.
    fn with_count(count: usize) -> Self {
        let count = u16::try_from(count).expect("a chunk has at most 120 samples");
        Self { bytes: count.to_be_bytes().to_vec(), free: 0 }
    }

    /// Appends the low `count` bits of `value`.
    fn put(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = (value >> (left - take)) & ((1u64 << take) - 1);
            let last = self.bytes.len() - 1;
            self.bytes[last] |= (part << (self.free - take)) as u8;
            self.free -= take;
            left -= take;
        }
    }

    fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8);
    }

    fn varint(&mut self, value: i64) {
        self.uvarint((value << 1 ^ value >> 63) as u64);
    }

    fn delta_of_delta(&mut self, value: i64) {
        match value {
            0 => self.put(0, 1),
            -8191..=8192 => self.prefixed(0b10, 2, value as u64, 14),
            -65535..=65536 => self.prefixed(0b110, 3, value as u64, 17),
            -524_287..=524_288 => self.prefixed(0b1110, 4, value as u64, 20),
            _ => self.prefixed(0b1111, 4, value as u64, 64),
        }
    }

    fn varbit_int(&mut self, value: i64) {
        let fits = |count: u32| {
            let half = 1i64 << (count - 1);
            -half < value && value <= half
        };
        self.varbit(value as u64, value == 0, fits);
    }

    fn varbit_uint(&mut self, value: u64) {
        self.varbit(value, value == 0, |count| value >> count == 0);
    }

    /// As many leading ones as sizes were too small, then the number in the size that fits.
    fn varbit(&mut self, value: u64, is_zero: bool, fits: impl Fn(u32) -> bool) {
        if is_zero {
            return self.put(0, 1);
        }
        for (nth, count) in [3, 6, 9, 12, 18, 25, 56].into_iter().enumerate() {
            if fits(count) {
                let ones = nth as u32 + 1;
                return self.prefixed(((1 << ones) - 1) << 1, ones + 1, value, count);
            }
        }
        self.prefixed(0xff, 8, value, 64);
    }

    fn prefixed(&mut self, prefix: u64, prefix_count: u32, value: u64, count: u32) {
        self.put(prefix, prefix_count);
        self.put(value, count);
    }
}
