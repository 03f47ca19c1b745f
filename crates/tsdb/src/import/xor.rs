//! Prometheus' float chunks: delta-of-delta times and XORed values in one bit stream.
//!
//! Source: "Gorilla: A Fast, Scalable, In-Memory Time Series Database" (VLDB 2015) and Prometheus' chunk format document.

use model::Samples;

use crate::chunk::CorruptChunk;
use crate::chunk::varint::unzigzag;

/// Appends the samples of a chunk's data (after its encoding byte) to `out`.
pub(super) fn decode(data: &[u8], out: &mut Samples) -> Result<(), CorruptChunk> {
    let (&[high, low], rest) =
        data.split_first_chunk::<2>().ok_or(CorruptChunk("the chunk ends too early"))?;
    let count = u16::from_be_bytes([high, low]);
    let mut bits = Bits::new(rest);
    let (mut time, mut delta, mut value) = (0i64, 0i64, Xor::default());
    for i in 0..count {
        match i {
            0 => time = unzigzag(bits.varint()?),
            1 => delta = bits.varint()? as i64,
            _ => delta = delta.wrapping_add(bits.delta_of_delta()?),
        }
        if i > 0 {
            time = time.wrapping_add(delta);
        }
        value.read(&mut bits, i == 0)?;
        if out.times.last().is_some_and(|&last| last >= time) {
            return Err(CorruptChunk("the times do not ascend"));
        }
        out.push_float(time, value.value());
    }
    Ok(())
}

/// A float, XORed with the one before.
#[derive(Default)]
pub(super) struct Xor {
    value: u64,
    leading: u32,
    trailing: u32,
}

impl Xor {
    /// Reads the next value; the first stands there whole.
    pub(super) fn read(&mut self, bits: &mut Bits<'_>, is_first: bool) -> Result<(), CorruptChunk> {
        if is_first {
            self.value = bits.take(64)?;
        } else if bits.take(1)? == 1 {
            if bits.take(1)? == 1 {
                self.leading = bits.take(5)? as u32;
                let significant = match bits.take(6)? as u32 {
                    0 => 64,
                    n => n,
                };
                self.trailing = 64u32
                    .checked_sub(self.leading + significant)
                    .ok_or(CorruptChunk("a value has more than 64 bits"))?;
            }
            self.value ^= bits.take(64 - self.leading - self.trailing)? << self.trailing;
        }
        Ok(())
    }

    pub(super) fn value(&self) -> f64 {
        f64::from_bits(self.value)
    }
}

/// A bit stream, high bits first.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bits are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    pub(super) fn take(&mut self, n: u32) -> Result<u64, CorruptChunk> {
        let mut value = 0u64;
        let mut left = n;
        while left > 0 {
            let byte = *self.bytes.get(self.at / 8).ok_or(CorruptChunk("the chunk ends too early"))?;
            let have = 8 - (self.at % 8) as u32;
            let take = have.min(left);
            let part = u64::from(byte >> (have - take)) & ((1 << take) - 1);
            value = value << take | part;
            self.at += take as usize;
            left -= take;
        }
        Ok(value)
    }

    fn varint(&mut self) -> Result<u64, CorruptChunk> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CorruptChunk("a varint is too long"))
    }

    fn delta_of_delta(&mut self) -> Result<i64, CorruptChunk> {
        for size in [0, 14, 17, 20] {
            if self.take(1)? == 0 {
                if size == 0 {
                    return Ok(0);
                }
                let value = self.take(size)? as i64;
                return Ok(if value > 1 << (size - 1) { value - (1 << size) } else { value });
            }
        }
        self.take(64).map(|value| value as i64)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::varint::zigzag;

    /// Writes a chunk's data as Prometheus does.
    pub(in super::super) fn encode(points: &[(i64, f64)]) -> Vec<u8> {
        let mut bits: Vec<bool> = Vec::new();
        let put = |bits: &mut Vec<bool>, value: u64, n: u32| {
            (0..n).rev().for_each(|i| bits.push(value >> i & 1 == 1));
        };
        let varint = |bits: &mut Vec<bool>, mut value: u64| {
            while value >= 0x80 {
                put(bits, value & 0x7f | 0x80, 8);
                value >>= 7;
            }
            put(bits, value, 8);
        };
        let (mut delta, mut window) = (0i64, None::<(u32, u32)>);
        for (i, &(time, value)) in points.iter().enumerate() {
            if i == 0 {
                varint(&mut bits, zigzag(time));
                put(&mut bits, value.to_bits(), 64);
                continue;
            }
            let next = time - points[i - 1].0;
            if i == 1 {
                varint(&mut bits, next as u64);
            } else {
                let dod = next - delta;
                let fits = |n: u32| -(1i64 << (n - 1)) < dod && dod <= 1 << (n - 1);
                match dod {
                    0 => put(&mut bits, 0, 1),
                    _ if fits(14) => {
                        put(&mut bits, 0b10, 2);
                        put(&mut bits, dod as u64, 14);
                    }
                    _ if fits(17) => {
                        put(&mut bits, 0b110, 3);
                        put(&mut bits, dod as u64, 17);
                    }
                    _ if fits(20) => {
                        put(&mut bits, 0b1110, 4);
                        put(&mut bits, dod as u64, 20);
                    }
                    _ => {
                        put(&mut bits, 0b1111, 4);
                        put(&mut bits, dod as u64, 64);
                    }
                }
            }
            delta = next;
            let xor = value.to_bits() ^ points[i - 1].1.to_bits();
            if xor == 0 {
                put(&mut bits, 0, 1);
                continue;
            }
            let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
            if let Some((l, t)) = window
                && leading >= l
                && trailing >= t
            {
                put(&mut bits, 0b10, 2);
                put(&mut bits, xor >> t, 64 - l - t);
            } else {
                window = Some((leading, trailing));
                let significant = 64 - leading - trailing;
                put(&mut bits, 0b11, 2);
                put(&mut bits, u64::from(leading), 5);
                put(&mut bits, u64::from(significant % 64), 6);
                put(&mut bits, xor >> trailing, significant);
            }
        }
        let mut out = (points.len() as u16).to_be_bytes().to_vec();
        out.extend(
            bits.chunks(8).map(|c| c.iter().enumerate().map(|(i, &b)| u8::from(b) << (7 - i)).sum::<u8>()),
        );
        out
    }

    proptest! {
        #[test]
        fn chunks_are_read(steps in prop::collection::vec((1i64..2_000_000, prop_oneof![Just(1.0), any::<u64>().prop_map(f64::from_bits), (0u32..100).prop_map(f64::from)]), 0..100)) {
            let mut time = -5;
            let points: Vec<(i64, f64)> = steps.iter().map(|&(s, v)| { time += s; (time, v) }).collect();
            let mut out = Samples::default();
            decode(&encode(&points), &mut out).unwrap();
            prop_assert_eq!(&out.times, &points.iter().map(|p| p.0).collect::<Vec<_>>());
            prop_assert!(out.values.iter().zip(&points).all(|(a, b)| a.to_bits() == b.1.to_bits()));
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Samples::default();
            if decode(&bytes, &mut out).is_ok() {
                prop_assert!(out.times.is_sorted());
            }
        }
    }
}
