//! Mini-blocks: up to 64 integers of a common bit width, the few wider ones patched.
//!
//! The width is chosen by counting bit lengths and walking down from the widest; layout: docs/formats/chunk.md.

use super::CorruptChunk;
use super::cpu;
use super::varint::{self, Cursor, zigzag};

/// Values in a full mini-block.
pub(crate) const BLOCK: usize = 64;

/// A mini-block's packed bytes with eight bytes of slack, so that every value is one eight-byte load (nine bytes for the
/// widest).
pub(crate) type Padded = [u8; BLOCK * 8 + 16];

const PATCHED: u8 = 0x80;
const BASED: u8 = 0x40;
const WIDE: u8 = 0xff;
/// More patches than this never pay.
const MAX_PATCHES: usize = 12;

/// Bits needed for `value`.
#[inline(always)]
pub(crate) fn bits(value: u64) -> usize {
    64 - value.leading_zeros() as usize
}

/// Appends `values` (1 to 64) as one mini-block.
#[inline(always)]
pub(crate) fn encode(values: &[i64], out: &mut Vec<u8>) {
    debug_assert!((1..=BLOCK).contains(&values.len()));
    let m = values.len();
    let mut low = values[0];
    let mut high = values[0];
    let mut any = 0u64;
    for &v in values {
        low = low.min(v);
        high = high.max(v);
        any |= zigzag(v);
    }
    // The two representations, each with its best width.
    let span = high.wrapping_sub(low) as u64;
    let mut work = [0u64; BLOCK];
    if any == 0 {
        out.push(0);
        return;
    }
    if span == 0 {
        out.push(BASED);
        varint::put_signed(out, low);
        return;
    }
    for (w, &v) in work.iter_mut().zip(values) {
        *w = zigzag(v);
    }
    let plain = best_width(&work[..m], bits(any));
    let mut based = [0u64; BLOCK];
    for (w, &v) in based.iter_mut().zip(values) {
        *w = v.wrapping_sub(low) as u64;
    }
    let mut with_base = best_width(&based[..m], bits(span));
    with_base.cost += varint::len(zigzag(low));
    let use_base = with_base.cost < plain.cost && with_base.width <= 62;
    let choice = if use_base { with_base } else { plain };
    if choice.width == 64 {
        out.push(WIDE);
        work[..m].iter().for_each(|w| out.extend_from_slice(&w.to_le_bytes()));
        return;
    }
    let work = if use_base { &based } else { &work };
    let patched = choice.patches > 0;
    out.push(choice.width as u8 | if use_base { BASED } else { 0 } | if patched { PATCHED } else { 0 });
    if use_base {
        varint::put_signed(out, low);
    }
    write_bits(&work[..m], choice.width, out);
    if patched {
        out.push(choice.patches as u8);
        for (i, &w) in work[..m].iter().enumerate() {
            if bits(w) > choice.width {
                out.push(i as u8);
                varint::put(out, w >> choice.width);
            }
        }
    }
}

struct Choice {
    width: usize,
    patches: usize,
    cost: usize,
}

/// The width with the fewest bytes. `widest`: the bits of the widest value, or more.
#[inline(always)]
fn best_width(work: &[u64], widest: usize) -> Choice {
    let m = work.len();
    // Two tables, so that equal neighbours do not wait for one another.
    let (mut counts, mut odd) = ([0u8; 65], [0u8; 65]);
    let (pairs, rest) = work.as_chunks::<2>();
    for [a, b] in pairs {
        counts[bits(*a)] += 1;
        odd[bits(*b)] += 1;
    }
    rest.iter().for_each(|w| counts[bits(*w)] += 1);
    counts.iter_mut().zip(&odd).for_each(|(a, b)| *a += b);
    let mut width = widest;
    while counts[width] == 0 && width > 0 {
        width -= 1;
    }
    let top = width;
    let mut best = Choice { width, patches: 0, cost: (m * width).div_ceil(8) };
    let mut patches = 0;
    while width > 0 {
        patches += usize::from(counts[width]);
        width -= 1;
        if patches > MAX_PATCHES {
            break;
        }
        // Each patch is a position and its high bits; those of one length share their cost.
        let high: usize =
            (width + 1..=top).map(|l| usize::from(counts[l]) * (1 + (l - width).div_ceil(7))).sum();
        let cost = (m * width).div_ceil(8) + 1 + high;
        if cost < best.cost {
            best = Choice { width, patches, cost };
        }
    }
    best
}

/// Packs the low `width` (1 to 63) bits of each value.
#[inline(always)]
fn write_bits(work: &[u64], width: usize, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let mask = u64::MAX >> (64 - width);
    let end = out.len() + (work.len() * width).div_ceil(8);
    let mut acc = 0u64;
    let mut have = 0;
    for &w in work {
        let w = w & mask;
        acc |= w << have;
        have += width;
        if have >= 64 {
            out.extend_from_slice(&acc.to_le_bytes());
            have -= 64;
            acc = if have == 0 { 0 } else { w >> (width - have) };
        }
    }
    out.extend_from_slice(&acc.to_le_bytes());
    out.truncate(end);
}

/// Reads a mini-block of `m` (1 to 64) values into `out`; what is in `out` past `m` is unspecified.
#[inline]
pub(crate) fn decode(cursor: &mut Cursor<'_>, m: usize, out: &mut [i64; BLOCK]) -> Result<(), CorruptChunk> {
    debug_assert!((1..=BLOCK).contains(&m));
    let header = cursor.byte()?;
    if header == WIDE {
        for slot in &mut out[..m] {
            *slot = varint::unzigzag(cursor.u64()?);
        }
        return Ok(());
    }
    let width = usize::from(header & 0x3f);
    let base = if header & BASED != 0 { Some(cursor.signed()?) } else { None };
    if width == 0 && header & PATCHED == 0 {
        out.fill(base.unwrap_or(0));
        return Ok(());
    }
    let packed = cursor.bytes((m * width).div_ceil(8))?;
    let mut padded: Padded = [0; BLOCK * 8 + 16];
    padded[..packed.len()].copy_from_slice(packed);
    let mut work = [0u64; BLOCK];
    cpu::unpack(width, m.div_ceil(8), &padded, &mut work);
    if header & PATCHED != 0 {
        let patches = cursor.byte()?;
        let mut next = 0;
        for _ in 0..patches {
            let position = usize::from(cursor.byte()?);
            if position < next || position >= m {
                return Err(CorruptChunk("a patch's position is out of range"));
            }
            next = position + 1;
            let high = cursor.varint()?;
            if bits(high) + width > 64 {
                return Err(CorruptChunk("a patch has too many bits"));
            }
            work[position] |= high << width;
        }
    }
    let values = out[..m].iter_mut().zip(&work);
    match base {
        Some(base) => values.for_each(|(o, &w)| *o = base.wrapping_add(w as i64)),
        None => values.for_each(|(o, &w)| *o = varint::unzigzag(w)),
    }
    Ok(())
}

/// Unpacks `groups` (1 to 8) times eight values of `W` bits; within a group the loads have constant offsets.
#[inline(always)]
pub(crate) fn unpack<const W: usize>(groups: usize, packed: &Padded, out: &mut [u64; BLOCK]) {
    if W == 0 {
        out.fill(0);
        return;
    }
    let mask = u64::MAX >> (64 - W);
    for group in 0..groups.min(8) {
        for i in 0..8 {
            let bit = i * W;
            let at = group * W + bit / 8;
            let shift = bit % 8;
            let mut word = [0; 8];
            word.copy_from_slice(&packed[at..at + 8]);
            let mut value = u64::from_le_bytes(word) >> shift;
            if shift + W > 64 {
                value |= u64::from(packed[at + 8]) << (64 - shift);
            }
            out[group * 8 + i] = value & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[i64]) -> usize {
        let mut out = Vec::new();
        encode(values, &mut out);
        let mut cursor = Cursor::new(&out);
        let mut back = [0; BLOCK];
        decode(&mut cursor, values.len(), &mut back).unwrap();
        assert_eq!(&back[..values.len()], values);
        assert_eq!(cursor.used(), out.len());
        out.len()
    }

    #[test]
    fn every_width_and_length() {
        for width in 0..=64u32 {
            for m in [1, 2, 7, 8, 9, 63, 64] {
                let top = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
                let values: Vec<i64> =
                    (0..m).map(|i| (0x9e37_79b9_7f4a_7c15u64.wrapping_mul(i * i + 3) & top) as i64).collect();
                round_trip(&values);
                let values: Vec<i64> = values.iter().map(|v| v.wrapping_neg()).collect();
                round_trip(&values);
            }
        }
        round_trip(&[i64::MIN, i64::MAX, 0, -1]);
    }

    #[test]
    fn an_outlier_costs_a_few_bytes() {
        let mut values = [3i64; BLOCK];
        values.iter_mut().enumerate().for_each(|(i, v)| *v = (i % 8) as i64);
        let before = round_trip(&values);
        values[17] = 1 << 40;
        assert!(round_trip(&values) <= before + 9);
    }

    proptest! {
        #[test]
        fn any_values(values in prop::collection::vec((any::<i64>(), 0u32..64).prop_map(|(v, s)| v >> s), 1..=64)) {
            round_trip(&values);
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..700), m in 1usize..=64) {
            let mut out = [0; BLOCK];
            let mut cursor = Cursor::new(&bytes);
            if decode(&mut cursor, m, &mut out).is_ok() {
                prop_assert!(cursor.used() <= bytes.len());
            }
        }
    }
}
