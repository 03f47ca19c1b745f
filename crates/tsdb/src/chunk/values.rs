//! Columns of floats, bit for bit.
//!
//! Monitoring values are mostly decimals that a text once carried: they become integers when, and only when, dividing
//! the integer by its power of ten gives back the same 64 bits. The rest goes through the floats' bits in sort order.
//! Layout: docs/formats/chunk.md.

use super::ints;
use super::varint::{self, Cursor};
use super::{CorruptChunk, MAX_COUNT};

const KIND_CONSTANT: u8 = 0;
const KIND_LINE: u8 = 1;
const KIND_PACKED: u8 = 2;
const KIND_DIVIDED: u8 = 5;
const FLOAT: u8 = 15;
const EXCEPTIONS: u8 = 0x80;
const MAX_EXPONENT: u8 = 14;

/// Largest magnitude at which scaled floats are still exact integers.
const EXACT: f64 = 9_007_199_254_740_992.0;

const POWERS: [f64; 15] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// Appends the compressed column; every bit of every value comes back, NaN payloads included.
pub fn encode_values(values: &[f64], out: &mut Vec<u8>) {
    assert!(values.len() <= MAX_COUNT, "a column has at most {MAX_COUNT} values, not {}", values.len());
    let Some(&first) = values.first() else { return };
    if values.iter().all(|v| v.to_bits() == first.to_bits()) {
        return put_constant(first, out);
    }
    // Mini-chunks are short: no allocation for them.
    let mut short = [0i64; 128];
    let mut long = Vec::new();
    let ints = match short.get_mut(..values.len()) {
        Some(short) => short,
        None => {
            long.resize(values.len(), 0);
            long.as_mut_slice()
        }
    };
    let exponent = exponent(values);
    let exceptions = exponent.and_then(|e| scale(values, e, ints));
    let (e, exceptions) = match (exponent, exceptions) {
        (Some(e), Some(exceptions)) => (e, exceptions),
        _ => {
            ints.iter_mut().zip(values).for_each(|(i, v)| *i = to_ordered(*v));
            (FLOAT, Vec::new())
        }
    };
    let flag = if exceptions.is_empty() { 0 } else { EXCEPTIONS };
    let put_tag = |out: &mut Vec<u8>, kind: u8| {
        out.push(flag | kind << 4 | e);
        if flag != 0 {
            put_exceptions(values, &exceptions, out);
        }
    };
    let delta = ints.get(1).map_or(0, |second| second.wrapping_sub(ints[0]));
    if e <= MAX_EXPONENT && ints.windows(2).all(|w| w[1].wrapping_sub(w[0]) == delta) {
        put_tag(out, if delta == 0 { KIND_CONSTANT } else { KIND_LINE });
        varint::put_signed(out, ints[0]);
        if delta != 0 {
            varint::put_signed(out, delta);
        }
        return;
    }
    let plan = ints::plan(ints);
    put_tag(out, plan.order + if plan.divisor > 1 { KIND_DIVIDED } else { KIND_PACKED });
    ints::encode(ints, plan, out);
}

/// Appends `count` values to `out` and returns how many of `bytes` they were.
///
/// # Errors
/// [`CorruptChunk`] when no encoder can have written the bytes; `out` may then hold some of the column.
pub fn decode_values(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<usize, CorruptChunk> {
    if count == 0 {
        return Ok(0);
    }
    if count > MAX_COUNT {
        return Err(CorruptChunk("a column has more samples than the format allows"));
    }
    let mut cursor = Cursor::new(bytes);
    let tag = cursor.byte()?;
    let e = tag & 15;
    let kind = tag >> 4 & 7;
    let start = out.len();
    let exceptions = if tag & EXCEPTIONS != 0 { Some(Exceptions::read(&mut cursor, count)?) } else { None };
    out.reserve(count);
    match kind {
        KIND_CONSTANT => {
            let value =
                if e == FLOAT { f64::from_bits(cursor.u64()?) } else { from_scaled(cursor.signed()?, e) };
            out.resize(start + count, value);
        }
        KIND_LINE if e == FLOAT => return Err(CorruptChunk("this version knows no such value column")),
        KIND_LINE => {
            let (first, delta) = (cursor.signed()?, cursor.signed()?);
            out.extend((0..count as i64).map(|i| from_scaled(first.wrapping_add(delta.wrapping_mul(i)), e)));
        }
        _ => {
            let divided = kind >= KIND_DIVIDED;
            let order = kind - if divided { KIND_DIVIDED } else { KIND_PACKED };
            let cursor = &mut cursor;
            match e {
                0 => ints::decode(cursor, order, divided, count, |ints| {
                    out.extend(ints.iter().map(|&i| i as f64));
                })?,
                FLOAT => ints::decode(cursor, order, divided, count, |ints| {
                    out.extend(ints.iter().map(|&i| from_ordered(i)));
                })?,
                _ => {
                    let power = POWERS[usize::from(e)];
                    ints::decode(cursor, order, divided, count, |ints| {
                        out.extend(ints.iter().map(|&i| i as f64 / power));
                    })?;
                }
            }
        }
    }
    if let Some(exceptions) = exceptions {
        exceptions.apply(&mut out[start..])?;
    }
    Ok(cursor.used())
}

fn put_constant(value: f64, out: &mut Vec<u8>) {
    match (0..=MAX_EXPONENT).find_map(|e| Some((e, to_scaled(value, e)?))) {
        Some((e, int)) => {
            out.push(KIND_CONSTANT << 4 | e);
            varint::put_signed(out, int);
        }
        None => {
            out.push(KIND_CONSTANT << 4 | FLOAT);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }
}

/// The integer that stands for `value` at `e` decimals, if decoding it gives the same bits.
#[inline(always)]
fn to_scaled(value: f64, e: u8) -> Option<i64> {
    let int = if e == 0 {
        value as i64
    } else {
        let scaled = value * POWERS[usize::from(e)];
        if scaled.is_nan() || scaled.abs() > EXACT {
            return None;
        }
        (scaled + 0.5f64.copysign(scaled)) as i64
    };
    (from_scaled(int, e).to_bits() == value.to_bits()).then_some(int)
}

/// `int` / 10^`e`, rounded once.
#[inline(always)]
fn from_scaled(int: i64, e: u8) -> f64 {
    if e == 0 { int as f64 } else { int as f64 / POWERS[usize::from(e)] }
}

/// The fewest decimals at which all but one in sixteen values are exact; `None` for a float column.
fn exponent(values: &[f64]) -> Option<u8> {
    let mut spare = allowance(values.len());
    let mut e = 0;
    // The last value is often the longest (counters grow), so that the scan seldom restarts low.
    for &value in values {
        if to_scaled(value, e).is_some() {
            continue;
        }
        match (e + 1..=MAX_EXPONENT).find(|&e| to_scaled(value, e).is_some()) {
            Some(more) => e = more,
            None => spare = spare.checked_sub(1)?,
        }
    }
    Some(e)
}

fn allowance(count: usize) -> usize {
    (count / 16).max(1)
}

/// Fills `ints` and returns the positions that are exceptions, or `None` when they are too many.
fn scale(values: &[f64], e: u8, ints: &mut [i64]) -> Option<Vec<usize>> {
    let mut exceptions = Vec::new();
    let allowance = allowance(values.len());
    for (i, &value) in values.iter().enumerate() {
        match to_scaled(value, e) {
            Some(int) => ints[i] = int,
            None => {
                if exceptions.len() == allowance {
                    return None;
                }
                exceptions.push(i);
                // On the line through the two before: no difference of any order stands out.
                ints[i] = match i {
                    0 => 0,
                    1 => ints[0],
                    _ => ints[i - 1].wrapping_mul(2).wrapping_sub(ints[i - 2]),
                };
            }
        }
    }
    // An exception at the start repeats what follows it.
    if exceptions.first() == Some(&0) {
        let regular = (0..ints.len()).find(|i| exceptions.binary_search(i).is_err())?;
        let value = ints[regular];
        ints[..regular].fill(value);
    }
    Some(exceptions)
}

fn put_exceptions(values: &[f64], positions: &[usize], out: &mut Vec<u8>) {
    varint::put(out, positions.len() as u64);
    let mut last = 0;
    for &position in positions {
        varint::put(out, (position - last) as u64);
        last = position;
    }
    positions.iter().for_each(|&p| out.extend_from_slice(&values[p].to_bits().to_le_bytes()));
}

/// The values that a column cannot hold, still as bytes.
struct Exceptions<'a> {
    distances: Cursor<'a>,
    n: usize,
    values: &'a [u8],
}

impl<'a> Exceptions<'a> {
    /// Reads past them and checks their positions.
    fn read(cursor: &mut Cursor<'a>, count: usize) -> Result<Self, CorruptChunk> {
        let n = cursor.at_most(count)?;
        let distances = *cursor;
        let mut position = 0;
        for i in 0..n {
            let distance = cursor.at_most(count)?;
            if i > 0 && distance == 0 {
                return Err(CorruptChunk("two exceptions have the same position"));
            }
            position += distance;
            if position >= count {
                return Err(CorruptChunk("an exception's position is out of range"));
            }
        }
        Ok(Self { distances, n, values: cursor.bytes(n * 8)? })
    }

    fn apply(mut self, column: &mut [f64]) -> Result<(), CorruptChunk> {
        let mut values = Cursor::new(self.values);
        let mut position = 0;
        for _ in 0..self.n {
            position += self.distances.at_most(column.len())?;
            column[position] = f64::from_bits(values.u64()?);
        }
        Ok(())
    }
}

/// A float's bits as an integer that sorts as the floats do.
#[inline(always)]
fn to_ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// The reverse of [`to_ordered`].
#[inline(always)]
fn from_ordered(int: i64) -> f64 {
    f64::from_bits((int ^ ((int >> 63) as u64 >> 1) as i64) as u64)
}

#[cfg(test)]
mod tests {
    use model::sample::{NORMAL_NAN, STALE_NAN};
    use proptest::prelude::*;

    use super::*;

    fn encoded(values: &[f64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_values(values, &mut out);
        out
    }

    fn round_trip(values: &[f64]) -> usize {
        let bytes = encoded(values);
        let mut back = vec![7.0];
        let used = decode_values(&bytes, values.len(), &mut back).unwrap();
        assert_eq!(used, bytes.len());
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back[1..]), bits(values));
        bytes.len()
    }

    fn special() -> impl Strategy<Value = f64> {
        prop_oneof![
            Just(f64::from_bits(STALE_NAN)),
            Just(f64::from_bits(NORMAL_NAN)),
            Just(-0.0),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(f64::MIN_POSITIVE / 3.0),
            Just(f64::MAX),
            Just(9_007_199_254_740_993.0),
            Just(9.3e18),
            Just(-9_223_372_036_854_775_808.0),
            any::<u64>().prop_map(f64::from_bits),
        ]
    }

    fn column() -> impl Strategy<Value = Vec<f64>> {
        let value = (0i32..16, -1_000_000i64..1_000_000).prop_map(|(e, i)| i as f64 / 10f64.powi(e));
        let decimals = (0usize..15, prop::collection::vec(-100_000i64..100_000, 0..300))
            .prop_map(|(e, ints)| ints.iter().map(|&i| i as f64 / POWERS[e]).collect::<Vec<_>>());
        let counter = prop::collection::vec(0u32..5000, 0..300).prop_map(|steps| {
            let mut sum = 0.0;
            steps
                .iter()
                .map(|&s| {
                    sum += f64::from(s);
                    sum
                })
                .collect::<Vec<_>>()
        });
        let base = prop_oneof![
            decimals,
            counter,
            prop::collection::vec(value, 0..200),
            prop::collection::vec(any::<f64>(), 0..200),
            prop::collection::vec(special(), 0..50),
        ];
        (base, prop::collection::vec((any::<prop::sample::Index>(), special()), 0..6)).prop_map(
            |(mut values, odd)| {
                for (at, value) in odd {
                    if !values.is_empty() {
                        let at = at.index(values.len());
                        values[at] = value;
                    }
                }
                values
            },
        )
    }

    #[test]
    fn sizes_of_typical_columns() {
        assert_eq!(round_trip(&[]), 0);
        assert_eq!(round_trip(&[1.0; 480]), 2);
        assert_eq!(round_trip(&[0.05; 480]), 2);
        assert_eq!(round_trip(&[std::f64::consts::PI; 480]), 9);
        let line: Vec<f64> = (0..480).map(|i| 1e9 + 15.0 * f64::from(i)).collect();
        assert!(round_trip(&line) <= 8);
        let percent: Vec<f64> = (0..480).map(|i| f64::from(i * 37 % 100) / 100.0).collect();
        assert!(round_trip(&percent) < 480);
    }

    #[test]
    fn a_stale_marker_keeps_the_column_decimal() {
        let mut values: Vec<f64> = (0..120).map(|i| f64::from(i * i)).collect();
        let plain = round_trip(&values);
        values.push(f64::from_bits(STALE_NAN));
        assert!(round_trip(&values) <= plain + 30);
        values[0] = f64::NEG_INFINITY;
        values[1] = -0.0;
        round_trip(&values);
    }

    #[test]
    fn full_precision_falls_back_to_bits() {
        let values: Vec<f64> = (0..200).map(|i| (f64::from(i) * 0.1).sin()).collect();
        assert!(round_trip(&values) < 200 * 8);
        // Floats that were f32: the empty low bits are a common divisor.
        let values: Vec<f64> = (0..200).map(|i| f64::from((i as f32 * 0.1).sin() + 2.0)).collect();
        assert!(round_trip(&values) < 200 * 4);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut out = Vec::new();
        assert!(decode_values(&[], 1, &mut out).is_err());
        assert!(decode_values(&[0x1f, 0], 1, &mut out).is_err());
        assert!(decode_values(&[0, 2], MAX_COUNT + 1, &mut out).is_err());
        // An exception past the end.
        assert!(decode_values(&[0x80, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 2], 2, &mut out).is_err());
    }

    proptest! {
        #[test]
        fn any_column(values in column()) {
            round_trip(&values);
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), count in 0usize..300) {
            let mut out = Vec::new();
            if decode_values(&bytes, count, &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
            prop_assert!(out.len() <= count);
        }

        #[test]
        fn flipped_bits(values in column(), at: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index) {
            let mut bytes = encoded(&values);
            if bytes.is_empty() { return Ok(()); }
            let mut out = Vec::new();
            prop_assert!(decode_values(&bytes[..cut.index(bytes.len())], values.len(), &mut out).is_err());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            out.clear();
            if decode_values(&bytes, values.len(), &mut out).is_ok() {
                prop_assert_eq!(out.len(), values.len());
            }
            prop_assert!(out.len() <= values.len());
        }
    }
}
