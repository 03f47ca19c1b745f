use model::histogram::CUSTOM_SCHEMA;
use proptest::prelude::*;

use super::quantile::{fraction, quantile};
use super::trim::{Keep, trim};
use super::*;

/// From `(index, count)` pairs.
fn side(buckets: &[(i32, f64)]) -> (Vec<Span>, Vec<f64>) {
    let mut side = Side::default();
    for &(index, count) in buckets {
        side.push(index, count);
    }
    (side.spans, side.counts)
}

fn exponential(schema: i32, zero: (f64, f64), positive: &[(i32, f64)], negative: &[(i32, f64)]) -> Histogram {
    let (positive_spans, positive) = side(positive);
    let (negative_spans, negative) = side(negative);
    let count = zero.1 + positive.iter().sum::<f64>() + negative.iter().sum::<f64>();
    Histogram {
        schema,
        is_float: true,
        zero_threshold: zero.0,
        zero_count: zero.1,
        count,
        sum: count * 1.5,
        positive_spans,
        positive,
        negative_spans,
        negative,
        ..Histogram::default()
    }
}

fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
    let buckets: Vec<_> = counts.iter().enumerate().map(|(i, &count)| (i as i32, count)).collect();
    let (positive_spans, positive) = side(&buckets);
    let count = counts.iter().sum();
    Histogram {
        schema: CUSTOM_SCHEMA,
        is_float: true,
        count,
        sum: count,
        positive_spans,
        positive,
        custom_values: bounds.to_vec(),
        ..Histogram::default()
    }
}

#[test]
fn bounds_double_every_power_of_the_schema() {
    assert_eq!(bound(0, 0), 1.0);
    assert_eq!(bound(1, 0), 2.0);
    assert_eq!(bound(-1, 0), 0.5);
    assert_eq!(bound(1, -1), 4.0);
    assert_eq!(bound(2, 1), 2.0);
    assert!((bound(1, 1) - 2f64.sqrt()).abs() < 1e-15);
    assert_eq!(bound(1024, 0), f64::MAX);
    assert_eq!(bound(1025, 0), f64::INFINITY);
    assert_eq!(bound(-1074, 0), 5e-324);
    assert_eq!(bound(1, -10), f64::MAX);
}

#[test]
fn a_sum_has_all_buckets_and_the_coarser_schema() {
    let mut a = exponential(1, (0.001, 1.0), &[(1, 1.0), (2, 2.0), (6, 4.0)], &[(1, 1.0)]);
    let b = exponential(0, (0.001, 2.0), &[(1, 10.0), (2, 20.0)], &[]);
    assert_eq!(add(&mut a, &b).unwrap(), Combined::default());
    assert_eq!(a.schema, 0);
    assert_eq!(runs(&a.positive_spans, &a.positive).collect::<Vec<_>>(), [(1, 13.0), (2, 20.0), (3, 4.0)]);
    assert_eq!(a.zero_count, 3.0);
    assert_eq!(a.count, 41.0);
    assert_eq!(add(&mut a, &custom(&[1.0], &[1.0])), Err(MixedSchemas));
}

#[test]
fn the_zero_bucket_swallows_what_it_covers() {
    let mut a = exponential(0, (0.0, 1.0), &[(-2, 1.0), (0, 2.0)], &[]);
    let b = exponential(0, (0.3, 5.0), &[(0, 1.0)], &[]);
    add(&mut a, &b).unwrap();
    // (0.125, 0.25] lies inside; the threshold 0.3 lies in the empty bucket (0.25, 0.5].
    assert_eq!((a.zero_threshold, a.zero_count), (0.3, 7.0));
    assert_eq!(runs(&a.positive_spans, &a.positive).collect::<Vec<_>>(), [(0, 3.0)]);
}

#[test]
fn custom_bounds_are_reduced_to_the_shared_ones() {
    let mut a = custom(&[1.0, 2.0, 5.0], &[1.0, 2.0, 3.0, 4.0]);
    let combined = add(&mut a, &custom(&[2.0, 3.0, 5.0], &[10.0, 20.0, 30.0, 40.0])).unwrap();
    assert!(combined.reconciled);
    assert_eq!(a.custom_values, [2.0, 5.0]);
    assert_eq!(a.positive, [13.0, 53.0, 44.0]);
}

#[test]
fn resets_are_found() {
    let before = exponential(0, (0.001, 1.0), &[(1, 1.0), (2, 2.0)], &[]);
    let mut after = exponential(0, (0.001, 1.0), &[(1, 1.0), (2, 3.0)], &[]);
    assert!(!is_reset(&after, &before));
    assert!(is_reset(&before, &after));
    after.reset_hint = ResetHint::Reset;
    assert!(is_reset(&after, &before));
    let moved = exponential(0, (0.001, 1.0), &[(2, 9.0)], &[]);
    assert!(is_reset(&moved, &before), "a bucket is gone");
    let coarser = exponential(-1, (0.001, 1.0), &[(1, 5.0)], &[]);
    assert!(!is_reset(&coarser, &before), "the coarser schema holds all");
    assert!(is_reset(&before, &exponential(-1, (0.001, 0.0), &[], &[])), "a finer schema is a restart");
    assert!(is_reset(&custom(&[1.0, 2.0], &[1.0, 0.0, 9.0]), &custom(&[1.0, 3.0], &[2.0])));
    assert!(!is_reset(&custom(&[1.0, 2.0], &[2.0, 0.0, 9.0]), &custom(&[1.0, 3.0], &[2.0])));
}

#[test]
fn quantiles_are_interpolated() {
    let check = |q, histogram: &Histogram| quantile(q, histogram).0;
    let h = exponential(0, (0.001, 0.0), &[(1, 4.0)], &[]);
    assert!((check(0.5, &h) - 2f64.sqrt()).abs() < 1e-15);
    assert_eq!(check(0.0, &h), 1.0);
    assert_eq!(check(1.0, &h), 2.0);
    assert_eq!(check(2.0, &h), f64::INFINITY);
    let h = custom(&[5.0, 10.0], &[2.0, 2.0, 0.0]);
    assert_eq!(check(0.25, &h), 2.5);
    assert_eq!(check(0.75, &h), 7.5);
    assert_eq!(fraction(0.0, 2.5, &h).0, 0.25, "the first bucket is taken to start at 0");
    assert_eq!(fraction(5.0, 10.0, &h).0, 0.5);
}

#[test]
fn trimming_divides_the_bucket_at_the_value() {
    let mut h = custom(&[5.0, 10.0], &[2.0, 2.0, 1.0]);
    trim(&mut h, 7.5, Keep::Below);
    assert_eq!((h.count, h.positive.as_slice()), (3.0, &[2.0, 1.0][..]));
    let mut h = exponential(0, (0.001, 0.0), &[(1, 4.0), (2, 4.0)], &[]);
    trim(&mut h, 2.0, Keep::Above);
    assert_eq!(h.count, 4.0);
}

#[test]
fn prints_as_prometheus_does() {
    let h = exponential(0, (0.001, 1.0), &[(0, 2.0)], &[(1, 1.0)]);
    assert_eq!(describe(&h), "{count:4, sum:6, [-2,-1):1, [-0.001,0.001]:1, (0.5,1]:2}");
    assert_eq!(describe(&custom(&[5.0], &[1.0, 2.0])), "{count:3, sum:3, [-Inf,5]:1, (5,+Inf]:2}");
}

fn buckets() -> impl Strategy<Value = Vec<(i32, f64)>> {
    prop::collection::btree_map(-40i32..40, 0u32..50, 0..12)
        .prop_map(|map| map.into_iter().map(|(index, count)| (index, f64::from(count))).collect())
}

/// Zero thresholds are bounds in every schema: else the result depends on the order of operations.
fn any_exponential() -> impl Strategy<Value = Histogram> {
    (-4i32..=8, prop::sample::select(vec![0.0, 2f64.powi(-16), 1.0]), 0u32..9, buckets(), buckets()).prop_map(
        |(schema, threshold, zero, mut p, mut n)| {
            // No encoder sends buckets that reach into the zero bucket.
            for side in [&mut p, &mut n] {
                side.retain(|(index, _)| bound(index - 1, schema) >= threshold);
            }
            exponential(schema, (threshold, f64::from(zero)), &p, &n)
        },
    )
}

fn any_custom() -> impl Strategy<Value = Histogram> {
    prop::collection::btree_set(-20i32..20, 0..8).prop_flat_map(|bounds| {
        let bounds: Vec<f64> = bounds.into_iter().map(f64::from).collect();
        let n = bounds.len() + 1;
        prop::collection::vec(0u32..50, 0..=n).prop_map(move |counts| {
            custom(&bounds, &counts.iter().map(|&count| f64::from(count)).collect::<Vec<_>>())
        })
    })
}

fn total(histogram: &Histogram) -> f64 {
    histogram.zero_count + histogram.positive.iter().sum::<f64>() + histogram.negative.iter().sum::<f64>()
}

fn compacted(mut histogram: Histogram) -> Histogram {
    compact(&mut histogram);
    histogram
}

proptest! {
    /// Buckets only move: none is lost or counted twice, in whatever layout the result is.
    #[test]
    fn addition_keeps_every_observation(a in any_exponential(), b in any_exponential()) {
        let (mut ab, mut ba) = (a.clone(), b.clone());
        add(&mut ab, &b).unwrap();
        add(&mut ba, &a).unwrap();
        prop_assert_eq!(total(&ab), a.count + b.count);
        prop_assert_eq!(ab.count, a.count + b.count);
        prop_assert!(ab.validate().is_ok());
        prop_assert!(same(&compacted(ab), &compacted(ba)), "addition commutes");
    }

    #[test]
    fn subtraction_undoes_addition(a in any_exponential(), b in any_exponential()) {
        let mut h = a.clone();
        add(&mut h, &b).unwrap();
        subtract(&mut h, &b).unwrap();
        compact(&mut h);
        // What is left is the first, brought to the layout of the sum.
        let mut expected = a;
        reduce(&mut expected, h.schema);
        prop_assert_eq!(h.count, expected.count);
        prop_assert_eq!(total(&h), total(&expected));
    }

    #[test]
    fn custom_addition_keeps_every_observation(a in any_custom(), b in any_custom()) {
        let mut h = a.clone();
        let combined = add(&mut h, &b).unwrap();
        prop_assert_eq!(total(&h), a.count + b.count);
        prop_assert_eq!(combined.reconciled, a.custom_values != b.custom_values);
        prop_assert!(h.custom_values.iter().all(|v| a.custom_values.contains(v) && b.custom_values.contains(v)));
    }

    /// Integer counts are exact in floats, so that compensation must change nothing.
    #[test]
    fn compensated_sums_and_means_agree_with_plain_ones(all in prop::collection::vec(any_exponential(), 1..6)) {
        let mut plain = all[0].clone();
        let (mut sum, mut mean) = (Sum::new(&all[0]), Mean::new(&all[0]));
        for h in &all[1..] {
            add(&mut plain, h).unwrap();
            sum.add(h).unwrap();
            mean.add(h).unwrap();
        }
        compact(&mut plain);
        prop_assert!(same(&compacted(sum.finish().0), &plain));
        let mean = mean.finish().0;
        prop_assert!((mean.count - plain.count / all.len() as f64).abs() <= 1e-12 * plain.count);
        prop_assert_eq!(mean.positive_spans, plain.positive_spans);
    }

    #[test]
    fn a_merged_sum_is_the_sum_of_all(all in prop::collection::vec(any_exponential(), 2..6), at in 1usize..5) {
        let at = at.min(all.len() - 1);
        let sum_of = |part: &[Histogram]| {
            let mut sum = Sum::new(&part[0]);
            part[1..].iter().for_each(|h| sum.add(h).unwrap());
            sum
        };
        let mut left = sum_of(&all[..at]);
        left.merge(&sum_of(&all[at..])).unwrap();
        prop_assert!(same(&compacted(left.finish().0), &compacted(sum_of(&all).finish().0)));
    }

    #[test]
    fn growth_is_no_reset_and_its_reverse_is(a in any_exponential(), b in any_exponential()) {
        let mut later = a.clone();
        add(&mut later, &b).unwrap();
        if later.zero_threshold == a.zero_threshold {
            prop_assert!(!is_reset(&later, &a));
        }
        if b.count > 0.0 {
            prop_assert!(is_reset(&a, &later));
        }
    }

    #[test]
    fn reduction_keeps_every_observation(mut h in any_exponential(), by in 0i32..6) {
        let before = total(&h);
        let schema = (h.schema - by).max(-4);
        reduce(&mut h, schema);
        prop_assert_eq!(total(&h), before);
        prop_assert!(h.validate().is_ok());
    }

    #[test]
    fn quantiles_rise_and_the_fraction_inverts_them(h in any_exponential(), q in 0.01f64..0.98) {
        prop_assume!(h.count > 0.0 && (h.zero_threshold > 0.0 || h.zero_count == 0.0));
        let (low, high) = (quantile(q, &h).0, quantile(q + 0.01, &h).0);
        prop_assert!(low <= high + 1e-9 * high.abs(), "{low} {high}");
        let back = fraction(f64::NEG_INFINITY, low, &h).0;
        prop_assert!((back - q).abs() < 1e-6, "{back} {q}");
    }

    #[test]
    fn trimmed_halves_make_a_whole(h in any_exponential(), at in -8.0f64..8.0) {
        let (mut low, mut high) = (h.clone(), h.clone());
        trim(&mut low, at, Keep::Below);
        trim(&mut high, at, Keep::Above);
        prop_assert!((low.count + high.count - h.count).abs() < 1e-6 * h.count.max(1.0));
    }

    #[test]
    fn compaction_leaves_no_empty_bucket(mut h in any_exponential()) {
        let before = total(&h);
        compact(&mut h);
        prop_assert!(h.positive.iter().chain(&h.negative).all(|&count| count != 0.0));
        prop_assert_eq!(total(&h), before);
        prop_assert!(h.validate().is_ok());
    }
}
