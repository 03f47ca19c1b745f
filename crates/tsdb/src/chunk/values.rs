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

/// What an extended column begins with.
const EXTENDED: u8 = KIND_LINE << 4 | FLOAT;
const MODE_MULTIPLY: u8 = 1;
const MODE_TWICE: u8 = 2;

/// How an integer becomes a value. Exporters that scale by multiplication, or in two steps, round differently from a
/// division, and their values are decimals only for the same arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// int / 10^e
    Divide(u8),
    /// int * 10^-e, the power being the nearest float
    Multiply(u8),
    /// int / 1000 / 1000
    Twice,
}

/// Largest magnitude at which scaled floats are still exact integers.
const EXACT: f64 = 9_007_199_254_740_992.0;

const POWERS: [f64; 15] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// 10^-e as the nearest floats.
const INVERSES: [f64; 15] =
    [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14];

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
    let (e, exceptions) = match integers(values, ints) {
        Some((scale, exceptions)) => {
            match scale {
                Scale::Divide(_) => {}
                Scale::Multiply(_) => out.extend([EXTENDED, MODE_MULTIPLY]),
                Scale::Twice => out.extend([EXTENDED, MODE_TWICE]),
            }
            (scale.exponent(), exceptions)
        }
        None => {
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
    let mut tag = cursor.byte()?;
    let mode = if tag == EXTENDED {
        let mode = cursor.byte()?;
        tag = cursor.byte()?;
        mode
    } else {
        0
    };
    let e = tag & 15;
    let kind = tag >> 4 & 7;
    let scale = match (mode, e) {
        (0, FLOAT) => None,
        (0, _) => Some(Scale::Divide(e)),
        (MODE_MULTIPLY, 1..=MAX_EXPONENT) => Some(Scale::Multiply(e)),
        (MODE_TWICE, 6) => Some(Scale::Twice),
        _ => return Err(CorruptChunk("this version knows no such value column")),
    };
    let start = out.len();
    let exceptions = if tag & EXCEPTIONS != 0 { Some(Exceptions::read(&mut cursor, count)?) } else { None };
    out.reserve(count);
    match (kind, scale) {
        (KIND_CONSTANT, None) => out.resize(start + count, f64::from_bits(cursor.u64()?)),
        (KIND_CONSTANT, Some(scale)) => out.resize(start + count, scale.value(cursor.signed()?)),
        (KIND_LINE, None) => return Err(CorruptChunk("this version knows no such value column")),
        (KIND_LINE, Some(scale)) => {
            let (first, delta) = (cursor.signed()?, cursor.signed()?);
            out.extend((0..count as i64).map(|i| scale.value(first.wrapping_add(delta.wrapping_mul(i)))));
        }
        _ => {
            let divided = kind >= KIND_DIVIDED;
            let order = kind - if divided { KIND_DIVIDED } else { KIND_PACKED };
            let cursor = &mut cursor;
            // One loop for each arithmetic, so that the loop has no branch.
            match scale {
                None => ints::decode(cursor, order, divided, count, |ints| {
                    out.extend(ints.iter().map(|&i| from_ordered(i)));
                })?,
                Some(Scale::Divide(0)) => ints::decode(cursor, order, divided, count, |ints| {
                    out.extend(ints.iter().map(|&i| i as f64));
                })?,
                Some(Scale::Divide(e)) => ints::decode(cursor, order, divided, count, |ints| {
                    let power = POWERS[usize::from(e)];
                    out.extend(ints.iter().map(|&i| i as f64 / power));
                })?,
                Some(scale) => ints::decode(cursor, order, divided, count, |ints| {
                    out.extend(ints.iter().map(|&i| scale.value(i)));
                })?,
            }
        }
    }
    if let Some(exceptions) = exceptions {
        exceptions.apply(&mut out[start..])?;
    }
    Ok(cursor.used())
}

fn put_constant(value: f64, out: &mut Vec<u8>) {
    match (0..=MAX_EXPONENT).find_map(|e| Some((e, to_scaled(value, Scale::Divide(e))?))) {
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

/// The integer that stands for `value`, if decoding it gives the same bits.
#[inline(always)]
fn to_scaled(value: f64, scale: Scale) -> Option<i64> {
    let e = scale.exponent();
    let int = if e == 0 {
        value as i64
    } else {
        let scaled = value * POWERS[usize::from(e)];
        if scaled.is_nan() || scaled.abs() > EXACT {
            return None;
        }
        (scaled + 0.5f64.copysign(scaled)) as i64
    };
    (scale.value(int).to_bits() == value.to_bits()).then_some(int)
}

impl Scale {
    #[inline(always)]
    fn exponent(self) -> u8 {
        match self {
            Self::Divide(e) | Self::Multiply(e) => e,
            Self::Twice => 6,
        }
    }

    /// The value that `int` stands for.
    #[inline(always)]
    fn value(self, int: i64) -> f64 {
        let value = int as f64;
        match self {
            Self::Divide(0) => value,
            Self::Divide(e) => value / POWERS[usize::from(e)],
            Self::Multiply(e) => value * INVERSES[usize::from(e)],
            Self::Twice => value / 1000.0 / 1000.0,
        }
    }
}

/// Finds the arithmetic that makes the values integers, fills `ints` with these and returns it with the positions that are
/// exceptions; `None` for a float column.
fn integers(values: &[f64], ints: &mut [i64]) -> Option<(Scale, Vec<usize>)> {
    // Mostly a few values tell how many decimals all of them need.
    let guess = [0, values.len() / 3, values.len() / 2, values.len() - 1]
        .into_iter()
        .filter_map(|i| (0..=MAX_EXPONENT).find(|&e| to_scaled(values[i], Scale::Divide(e)).is_some()))
        .max();
    if let Some(e) = guess
        && scale_all(values, Scale::Divide(e), ints)
    {
        return Some((Scale::Divide(e), Vec::new()));
    }
    if let Some(e) = exponent(values)
        && let Some(exceptions) = scale(values, Scale::Divide(e), ints)
    {
        return Some((Scale::Divide(e), exceptions));
    }
    // The other ways are rare: two values must agree before all are tried.
    let probes = [values.len() / 2, values.len() - 1].map(|i| values[i]);
    let others = (1..=9).map(Scale::Multiply).chain(std::iter::once(Scale::Twice));
    for other in others {
        if probes.iter().all(|&v| to_scaled(v, other).is_some())
            && let Some(exceptions) = scale(values, other, ints)
        {
            return Some((other, exceptions));
        }
    }
    None
}

/// The fewest decimals at which all but one in sixteen values are exact; `None` when there is no such number.
fn exponent(values: &[f64]) -> Option<u8> {
    let mut spare = allowance(values.len());
    let mut e = 0;
    for &value in values {
        if to_scaled(value, Scale::Divide(e)).is_some() {
            continue;
        }
        match (e + 1..=MAX_EXPONENT).find(|&e| to_scaled(value, Scale::Divide(e)).is_some()) {
            Some(more) => e = more,
            None => spare = spare.checked_sub(1)?,
        }
    }
    Some(e)
}

fn allowance(count: usize) -> usize {
    (count / 16).max(1)
}

/// Fills `ints` when there is no exception.
fn scale_all(values: &[f64], scale: Scale, ints: &mut [i64]) -> bool {
    values.iter().zip(ints).all(|(&value, int)| match to_scaled(value, scale) {
        Some(scaled) => {
            *int = scaled;
            true
        }
        None => false,
    })
}

/// Fills `ints` and returns the positions that are exceptions, or `None` when they are too many.
fn scale(values: &[f64], scale: Scale, ints: &mut [i64]) -> Option<Vec<usize>> {
    let mut exceptions = Vec::new();
    let allowance = allowance(values.len());
    for (i, &value) in values.iter().enumerate() {
        match to_scaled(value, scale) {
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
        let exporter = (0u8..3, prop::collection::vec(0u32..1_000_000, 0..300)).prop_map(|(way, ints)| {
            let scale =
                [|i: f64| i * 0.001, |i: f64| i / 1000.0 / 1000.0, |i: f64| i * 1e-9][usize::from(way)];
            ints.iter().map(|&i| scale(f64::from(i))).collect::<Vec<_>>()
        });
        let base = prop_oneof![
            decimals,
            counter,
            exporter,
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
    fn values_that_an_exporter_scaled_in_its_own_way_stay_small() {
        let size = |f: fn(f64) -> f64| {
            let ints = (0..480u32).map(|i| f64::from(i * 137 + i * i % 61));
            round_trip(&ints.map(|i| f(i + 1e7)).collect::<Vec<_>>())
        };
        let plain = size(|i| i / 1e6);
        assert!(size(|i| i * 0.001) <= plain + 4);
        assert!(size(|i| i / 1000.0 / 1000.0) <= plain + 4);
        assert!(size(|i| i * 1e-9) <= plain + 4);
        assert!(plain < 480 * 2);
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
