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

/// Unpacks 64 values of `width` (0 to 63) bits.
#[inline]
pub(crate) fn unpack(width: usize, packed: &Padded, out: &mut [u64; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the features that the function is compiled for were detected just above.
        unsafe { unpack_avx2(width, packed, out) };
        return;
    }
    unpack_any(width, packed, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn unpack_avx2(width: usize, packed: &Padded, out: &mut [u64; BLOCK]) {
    dispatch(width, packed, out);
}

fn unpack_any(width: usize, packed: &Padded, out: &mut [u64; BLOCK]) {
    dispatch(width, packed, out);
}

#[inline(always)]
fn dispatch(width: usize, packed: &Padded, out: &mut [u64; BLOCK]) {
    match width {
        0 => pack::unpack::<0>(packed, out),
        1 => pack::unpack::<1>(packed, out),
        2 => pack::unpack::<2>(packed, out),
        3 => pack::unpack::<3>(packed, out),
        4 => pack::unpack::<4>(packed, out),
        5 => pack::unpack::<5>(packed, out),
        6 => pack::unpack::<6>(packed, out),
        7 => pack::unpack::<7>(packed, out),
        8 => pack::unpack::<8>(packed, out),
        9 => pack::unpack::<9>(packed, out),
        10 => pack::unpack::<10>(packed, out),
        11 => pack::unpack::<11>(packed, out),
        12 => pack::unpack::<12>(packed, out),
        13 => pack::unpack::<13>(packed, out),
        14 => pack::unpack::<14>(packed, out),
        15 => pack::unpack::<15>(packed, out),
        16 => pack::unpack::<16>(packed, out),
        17 => pack::unpack::<17>(packed, out),
        18 => pack::unpack::<18>(packed, out),
        19 => pack::unpack::<19>(packed, out),
        20 => pack::unpack::<20>(packed, out),
        21 => pack::unpack::<21>(packed, out),
        22 => pack::unpack::<22>(packed, out),
        23 => pack::unpack::<23>(packed, out),
        24 => pack::unpack::<24>(packed, out),
        25 => pack::unpack::<25>(packed, out),
        26 => pack::unpack::<26>(packed, out),
        27 => pack::unpack::<27>(packed, out),
        28 => pack::unpack::<28>(packed, out),
        29 => pack::unpack::<29>(packed, out),
        30 => pack::unpack::<30>(packed, out),
        31 => pack::unpack::<31>(packed, out),
        32 => pack::unpack::<32>(packed, out),
        33 => pack::unpack::<33>(packed, out),
        34 => pack::unpack::<34>(packed, out),
        35 => pack::unpack::<35>(packed, out),
        36 => pack::unpack::<36>(packed, out),
        37 => pack::unpack::<37>(packed, out),
        38 => pack::unpack::<38>(packed, out),
        39 => pack::unpack::<39>(packed, out),
        40 => pack::unpack::<40>(packed, out),
        41 => pack::unpack::<41>(packed, out),
        42 => pack::unpack::<42>(packed, out),
        43 => pack::unpack::<43>(packed, out),
        44 => pack::unpack::<44>(packed, out),
        45 => pack::unpack::<45>(packed, out),
        46 => pack::unpack::<46>(packed, out),
        47 => pack::unpack::<47>(packed, out),
        48 => pack::unpack::<48>(packed, out),
        49 => pack::unpack::<49>(packed, out),
        50 => pack::unpack::<50>(packed, out),
        51 => pack::unpack::<51>(packed, out),
        52 => pack::unpack::<52>(packed, out),
        53 => pack::unpack::<53>(packed, out),
        54 => pack::unpack::<54>(packed, out),
        55 => pack::unpack::<55>(packed, out),
        56 => pack::unpack::<56>(packed, out),
        57 => pack::unpack::<57>(packed, out),
        58 => pack::unpack::<58>(packed, out),
        59 => pack::unpack::<59>(packed, out),
        60 => pack::unpack::<60>(packed, out),
        61 => pack::unpack::<61>(packed, out),
        62 => pack::unpack::<62>(packed, out),
        63 => pack::unpack::<63>(packed, out),
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
            unpack(width, &packed, &mut one);
            unpack_any(width, &packed, &mut two);
            prop_assert_eq!(one, two);
            for (i, &value) in one.iter().enumerate() {
                let bit = |b: usize| u64::from(packed[b / 8] >> (b % 8) & 1);
                let expected: u64 = (0..width).map(|k| bit(i * width + k) << k).sum();
                prop_assert_eq!(value, expected);
            }
        }
    }
}
