//! The one place that asks which instructions this processor has.
//!
//! The same Rust code is compiled twice, for the baseline and for AVX2 with BMI; the answers are equal (property test
//! below).
#![allow(unsafe_code, reason = "a function with target features can only be called by an unsafe block")]

use super::ints::{self, Plan};
use super::pack::{self, BLOCK, Padded};

/// [`ints::plan`], for this processor.
pub(crate) fn plan(values: &[i64]) -> Plan {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the features that the function is compiled for were detected just above.
        return unsafe { plan_avx2(values) };
    }
    ints::plan_inline(values)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn plan_avx2(values: &[i64]) -> Plan {
    ints::plan_inline(values)
}

/// [`ints::encode`], for this processor.
pub(crate) fn encode(values: &[i64], plan: Plan, out: &mut Vec<u8>) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the features that the function is compiled for were detected just above.
        return unsafe { encode_avx2(values, plan, out) };
    }
    ints::encode_inline(values, plan, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn encode_avx2(values: &[i64], plan: Plan, out: &mut Vec<u8>) {
    ints::encode_inline(values, plan, out);
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn has_avx2() -> bool {
    use std::arch::is_x86_feature_detected;
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
}

/// Unpacks `groups` (1 to 8) times eight values of `width` (0 to 63) bits.
#[inline]
pub(crate) fn unpack(width: usize, groups: usize, packed: &Padded, out: &mut [u64; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the features that the function is compiled for were detected just above.
        unsafe { unpack_avx2(width, groups, packed, out) };
        return;
    }
    unpack_any(width, groups, packed, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn unpack_avx2(width: usize, groups: usize, packed: &Padded, out: &mut [u64; BLOCK]) {
    dispatch(width, groups, packed, out);
}

fn unpack_any(width: usize, groups: usize, packed: &Padded, out: &mut [u64; BLOCK]) {
    dispatch(width, groups, packed, out);
}

#[inline(always)]
fn dispatch(width: usize, groups: usize, packed: &Padded, out: &mut [u64; BLOCK]) {
    match width {
        0 => pack::unpack::<0>(groups, packed, out),
        1 => pack::unpack::<1>(groups, packed, out),
        2 => pack::unpack::<2>(groups, packed, out),
        3 => pack::unpack::<3>(groups, packed, out),
        4 => pack::unpack::<4>(groups, packed, out),
        5 => pack::unpack::<5>(groups, packed, out),
        6 => pack::unpack::<6>(groups, packed, out),
        7 => pack::unpack::<7>(groups, packed, out),
        8 => pack::unpack::<8>(groups, packed, out),
        9 => pack::unpack::<9>(groups, packed, out),
        10 => pack::unpack::<10>(groups, packed, out),
        11 => pack::unpack::<11>(groups, packed, out),
        12 => pack::unpack::<12>(groups, packed, out),
        13 => pack::unpack::<13>(groups, packed, out),
        14 => pack::unpack::<14>(groups, packed, out),
        15 => pack::unpack::<15>(groups, packed, out),
        16 => pack::unpack::<16>(groups, packed, out),
        17 => pack::unpack::<17>(groups, packed, out),
        18 => pack::unpack::<18>(groups, packed, out),
        19 => pack::unpack::<19>(groups, packed, out),
        20 => pack::unpack::<20>(groups, packed, out),
        21 => pack::unpack::<21>(groups, packed, out),
        22 => pack::unpack::<22>(groups, packed, out),
        23 => pack::unpack::<23>(groups, packed, out),
        24 => pack::unpack::<24>(groups, packed, out),
        25 => pack::unpack::<25>(groups, packed, out),
        26 => pack::unpack::<26>(groups, packed, out),
        27 => pack::unpack::<27>(groups, packed, out),
        28 => pack::unpack::<28>(groups, packed, out),
        29 => pack::unpack::<29>(groups, packed, out),
        30 => pack::unpack::<30>(groups, packed, out),
        31 => pack::unpack::<31>(groups, packed, out),
        32 => pack::unpack::<32>(groups, packed, out),
        33 => pack::unpack::<33>(groups, packed, out),
        34 => pack::unpack::<34>(groups, packed, out),
        35 => pack::unpack::<35>(groups, packed, out),
        36 => pack::unpack::<36>(groups, packed, out),
        37 => pack::unpack::<37>(groups, packed, out),
        38 => pack::unpack::<38>(groups, packed, out),
        39 => pack::unpack::<39>(groups, packed, out),
        40 => pack::unpack::<40>(groups, packed, out),
        41 => pack::unpack::<41>(groups, packed, out),
        42 => pack::unpack::<42>(groups, packed, out),
        43 => pack::unpack::<43>(groups, packed, out),
        44 => pack::unpack::<44>(groups, packed, out),
        45 => pack::unpack::<45>(groups, packed, out),
        46 => pack::unpack::<46>(groups, packed, out),
        47 => pack::unpack::<47>(groups, packed, out),
        48 => pack::unpack::<48>(groups, packed, out),
        49 => pack::unpack::<49>(groups, packed, out),
        50 => pack::unpack::<50>(groups, packed, out),
        51 => pack::unpack::<51>(groups, packed, out),
        52 => pack::unpack::<52>(groups, packed, out),
        53 => pack::unpack::<53>(groups, packed, out),
        54 => pack::unpack::<54>(groups, packed, out),
        55 => pack::unpack::<55>(groups, packed, out),
        56 => pack::unpack::<56>(groups, packed, out),
        57 => pack::unpack::<57>(groups, packed, out),
        58 => pack::unpack::<58>(groups, packed, out),
        59 => pack::unpack::<59>(groups, packed, out),
        60 => pack::unpack::<60>(groups, packed, out),
        61 => pack::unpack::<61>(groups, packed, out),
        62 => pack::unpack::<62>(groups, packed, out),
        63 => pack::unpack::<63>(groups, packed, out),
        _ => unreachable!("a width is six bits"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_variants_agree(bytes in prop::collection::vec(any::<u8>(), BLOCK * 8), width in 0usize..64) {
            let ints: Vec<i64> = bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) >> width).collect();
            prop_assert_eq!(plan(&ints), ints::plan_inline(&ints));
            let (mut here, mut anywhere) = (Vec::new(), Vec::new());
            encode(&ints, plan(&ints), &mut here);
            ints::encode_inline(&ints, plan(&ints), &mut anywhere);
            prop_assert_eq!(here, anywhere);
            let mut packed: Padded = [0; BLOCK * 8 + 16];
            packed[..bytes.len()].copy_from_slice(&bytes);
            let (mut one, mut two) = ([0; BLOCK], [0; BLOCK]);
            unpack(width, 8, &packed, &mut one);
            unpack_any(width, 8, &packed, &mut two);
            prop_assert_eq!(one, two);
            for (i, &value) in one.iter().enumerate() {
                let bit = |b: usize| u64::from(packed[b / 8] >> (b % 8) & 1);
                let expected: u64 = (0..width).map(|k| bit(i * width + k) << k).sum();
                prop_assert_eq!(value, expected);
            }
        }
    }
}
