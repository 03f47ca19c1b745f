//! Integer columns: differences of order 0 to 2, without their common divisor, in mini-blocks.
//!
//! All arithmetic is modulo 2^64, so that every column survives. Layout: docs/formats/chunk.md.

use super::CorruptChunk;
use super::pack::{self, BLOCK, bits};
use super::varint::{self, Cursor, zigzag};

/// How a column is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Differences of this order, 0 to 2.
    pub(crate) order: u8,
    /// What every difference is a multiple of; 1 for nothing.
    pub(crate) divisor: u64,
    /// About how many bits the differences need.
    pub(crate) cost_bits: usize,
}

/// Chooses order and divisor for a column of at least one value.
pub(crate) fn plan(values: &[i64]) -> Plan {
    super::cpu::plan(values)
}

/// [`plan`], to be compiled for several processors.
#[inline(always)]
pub(crate) fn plan_inline(values: &[i64]) -> Plan {
    let mut cost = [0usize; 3];
    let mut block = [0i64; BLOCK];
    // A long column is judged by some of its mini-blocks.
    let blocks = values.len() / BLOCK;
    let step = if blocks <= 3 { BLOCK } else { BLOCK * (blocks / 3) };
    for at in (2..values.len()).step_by(step) {
        let m = (values.len() - at).min(BLOCK);
        for (order, cost) in cost.iter_mut().enumerate() {
            let block = &mut block[..m];
            differences(values, order, at, block);
            *cost += block_cost(block);
        }
    }
    // The first delta belongs to the columns of order 0 and 1, and stands alone in order 2.
    // A lower order is cheaper to read and never loses a tie.
    let order = (0..3).min_by_key(|&o| (cost[o], o)).unwrap_or(0);
    Plan { order: order as u8, divisor: divisor(values, order), cost_bits: cost[order] }
}

/// Sum of bit lengths, as offsets to the smallest or as zigzag, whichever is less.
#[inline(always)]
fn block_cost(column: &[i64]) -> usize {
    let low = column.iter().copied().min().unwrap_or(0);
    let (mut plain, mut based) = (0, bits(zigzag(low)));
    for &x in column {
        plain += bits(zigzag(x));
        based += bits(x.wrapping_sub(low) as u64);
    }
    plain.min(based)
}

/// Fills `block` with the differences of `values` that begin at index `at`, which is at least `order`, and 1.
#[inline(always)]
fn differences(values: &[i64], order: usize, at: usize, block: &mut [i64]) {
    let m = block.len();
    let here = &values[at..at + m];
    match order {
        0 => block.iter_mut().zip(here).for_each(|(x, v)| *x = v.wrapping_sub(values[0])),
        1 => {
            let before = &values[at - 1..at - 1 + m];
            block.iter_mut().zip(here.iter().zip(before)).for_each(|(x, (v, b))| *x = v.wrapping_sub(*b));
        }
        _ => {
            let before = values[at - 1..at - 1 + m].iter().zip(&values[at - 2..at - 2 + m]);
            block
                .iter_mut()
                .zip(here.iter().zip(before))
                .for_each(|(x, (v, (b, a)))| *x = v.wrapping_sub(*b).wrapping_sub(b.wrapping_sub(*a)));
        }
    }
}

/// Index of the first value that has a difference of this order in a mini-block.
#[inline(always)]
fn first_difference(order: usize) -> usize {
    order.max(1)
}

#[inline(always)]
fn divisor(values: &[i64], order: usize) -> u64 {
    let mut all = 0u64;
    let mut block = [0i64; BLOCK];
    let mut at = first_difference(order);
    while at < values.len() && all != 1 {
        let m = (values.len() - at).min(BLOCK);
        differences(values, order, at, &mut block[..m]);
        for &x in &block[..m] {
            if x != 0 && all != 1 {
                all = gcd(all, x.unsigned_abs());
            }
        }
        at += m;
    }
    // 2^63 would not survive the signed division.
    if all == 0 || all > i64::MAX as u64 { 1 } else { all }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Writes the column; the tag that names order and "divided" is the caller's.
pub(crate) fn encode(values: &[i64], plan: Plan, out: &mut Vec<u8>) {
    super::cpu::encode(values, plan, out);
}

/// [`encode`], to be compiled for several processors.
#[inline(always)]
pub(crate) fn encode_inline(values: &[i64], plan: Plan, out: &mut Vec<u8>) {
    if plan.divisor > 1 {
        varint::put(out, plan.divisor);
    }
    varint::put_signed(out, values[0]);
    if plan.order == 2 && values.len() > 1 {
        varint::put_signed(out, values[1].wrapping_sub(values[0]));
    }
    let divisor = plan.divisor as i64;
    let order = usize::from(plan.order);
    let mut block = [0; BLOCK];
    let mut at = first_difference(order);
    while at < values.len() {
        let m = (values.len() - at).min(BLOCK);
        let block = &mut block[..m];
        differences(values, order, at, block);
        divide(block, divisor);
        pack::encode(block, out);
        at += m;
    }
}

#[inline(always)]
fn divide(block: &mut [i64], divisor: i64) {
    if divisor > 1 {
        block.iter_mut().for_each(|x| *x /= divisor);
    }
}

/// Reads a column of `count` values (at least one) and hands them to `sink`, in order, at most 64 at a time.
#[inline]
pub(crate) fn decode(
    cursor: &mut Cursor<'_>,
    order: u8,
    divided: bool,
    count: usize,
    mut sink: impl FnMut(&mut [i64]),
) -> Result<(), CorruptChunk> {
    debug_assert!(count > 0 && order <= 2);
    let divisor = if divided {
        match cursor.varint()? {
            divisor @ 2.. => divisor as i64,
            _ => return Err(CorruptChunk("a common divisor is below 2")),
        }
    } else {
        1
    };
    let first = cursor.signed()?;
    sink(&mut [first]);
    let mut last = first;
    let mut left = count - 1;
    let mut delta = 0i64;
    if order == 2 && left > 0 {
        delta = cursor.signed()?;
        last = last.wrapping_add(delta);
        sink(&mut [last]);
        left -= 1;
    }
    let mut block = [0i64; BLOCK];
    while left > 0 {
        let m = left.min(BLOCK);
        pack::decode(cursor, m, &mut block)?;
        let block = &mut block[..m];
        if divided {
            block.iter_mut().for_each(|x| *x = x.wrapping_mul(divisor));
        }
        match order {
            0 => block.iter_mut().for_each(|x| *x = x.wrapping_add(first)),
            1 => {
                for x in block.iter_mut() {
                    last = last.wrapping_add(*x);
                    *x = last;
                }
            }
            _ => {
                for x in block.iter_mut() {
                    delta = delta.wrapping_add(*x);
                    last = last.wrapping_add(delta);
                    *x = last;
                }
            }
        }
        sink(block);
        left -= m;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[i64]) -> (Plan, usize) {
        let plan = plan(values);
        for order in 0..=2 {
            let plan = Plan { order, divisor: divisor(values, usize::from(order)), ..plan };
            let mut out = Vec::new();
            encode(values, plan, &mut out);
            let mut back = Vec::new();
            let mut cursor = Cursor::new(&out);
            decode(&mut cursor, order, plan.divisor > 1, values.len(), |b| back.extend_from_slice(b))
                .unwrap();
            assert_eq!(back, values, "{plan:?}");
            assert_eq!(cursor.used(), out.len());
        }
        let mut out = Vec::new();
        encode(values, plan, &mut out);
        (plan, out.len())
    }

    #[test]
    fn order_and_divisor_fit_the_data() {
        let squares: Vec<i64> = (0..300).map(|i| i * i * 7).collect();
        assert_eq!(round_trip(&squares).0.order, 2);
        let pages: Vec<i64> = (0..300).map(|i| (i * i % 509 * 31 % 101) * 4096).collect();
        let (plan, len) = round_trip(&pages);
        assert_eq!((plan.order, plan.divisor), (0, 4096));
        assert!(len < 300, "{len}");
        round_trip(&[i64::MIN, 0]);
        round_trip(&[i64::MIN, i64::MAX, i64::MIN, 1]);
        round_trip(&[5]);
    }

    proptest! {
        #[test]
        fn any_column(values in prop::collection::vec((any::<i64>(), 0u32..64).prop_map(|(v, s)| v >> s), 1..300)) {
            round_trip(&values);
        }

        #[test]
        fn multiples(values in prop::collection::vec(-500i64..500, 1..300), by in 1i64..1_000_000, first: i64) {
            let values: Vec<i64> = values.iter().map(|v| first.wrapping_add(v * by)).collect();
            round_trip(&values);
        }
    }
}
