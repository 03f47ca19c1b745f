//! Columns of native histograms: the layout once, each of its numbers as a column of values.
//!
//! Layout: docs/formats/chunk.md.

use std::sync::Arc;

use model::Histogram;
use model::histogram::{ResetHint, Span};

use super::values::{decode_values, encode_values};
use super::varint::{self, Cursor};
use super::{CorruptChunk, MAX_COUNT};

const FLOAT: u8 = 1;
const CUSTOM: u8 = 2;
const HINT_SHIFT: u8 = 2;
const HINTS: u8 = 16;
const COUNTS: u8 = 32;
const KNOWN: u8 = 63;

/// Appends the compressed column.
pub fn encode_histograms(histograms: &[Arc<Histogram>], out: &mut Vec<u8>) {
    assert!(
        histograms.len() <= MAX_COUNT,
        "a column has at most {MAX_COUNT} histograms, not {}",
        histograms.len()
    );
    let mut column = Vec::new();
    for run in histograms.chunk_by(|a, b| same_layout(a, b)) {
        encode_run(run, &mut column, out);
    }
}

/// Whether two histograms have the same numbers at the same places.
fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    a.schema == b.schema
        && a.is_float == b.is_float
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive.len() == b.positive.len()
        && a.negative.len() == b.negative.len()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.custom_values.len() == b.custom_values.len()
        && (a.custom_values.is_empty() || bits(&a.custom_values) == bits(&b.custom_values))
}

fn encode_run(run: &[Arc<Histogram>], column: &mut Vec<f64>, out: &mut Vec<u8>) {
    let first = &run[0];
    varint::put(out, run.len() as u64);
    let hints = run.iter().any(|h| h.reset_hint != first.reset_hint);
    let declared = |spans: &[Span]| spans.iter().map(|s| u64::from(s.length)).sum::<u64>();
    let counts = declared(&first.positive_spans) != first.positive.len() as u64
        || declared(&first.negative_spans) != first.negative.len() as u64;
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    out.push(
        flag(first.is_float, FLOAT)
            | flag(!first.custom_values.is_empty(), CUSTOM)
            | hint_code(first.reset_hint) << HINT_SHIFT
            | flag(hints, HINTS)
            | flag(counts, COUNTS),
    );
    varint::put_signed(out, i64::from(first.schema));
    out.extend_from_slice(&first.zero_threshold.to_bits().to_le_bytes());
    for spans in [&first.positive_spans, &first.negative_spans] {
        varint::put(out, spans.len() as u64);
        for span in spans {
            varint::put_signed(out, i64::from(span.offset));
            varint::put(out, u64::from(span.length));
        }
    }
    if !first.custom_values.is_empty() {
        varint::put(out, first.custom_values.len() as u64);
        first.custom_values.iter().for_each(|v| out.extend_from_slice(&v.to_bits().to_le_bytes()));
    }
    if hints {
        out.extend(run.iter().map(|h| hint_code(h.reset_hint)));
    }
    if counts {
        varint::put(out, first.positive.len() as u64);
        varint::put(out, first.negative.len() as u64);
    }
    let mut put = |number: &dyn Fn(&Histogram) -> f64| {
        column.clear();
        column.extend(run.iter().map(|h| number(h)));
        encode_values(column, out);
    };
    put(&|h| h.count);
    put(&|h| h.sum);
    put(&|h| h.zero_count);
    for bucket in 0..first.positive.len() {
        put(&|h| h.positive[bucket]);
    }
    for bucket in 0..first.negative.len() {
        put(&|h| h.negative[bucket]);
    }
}

/// Appends `count` histograms to `out` and returns how many of `bytes` they were.
///
/// # Errors
/// [`CorruptChunk`] when no encoder can have written the bytes; `out` may then hold some of the column.
pub fn decode_histograms(
    bytes: &[u8],
    count: usize,
    out: &mut Vec<Arc<Histogram>>,
) -> Result<usize, CorruptChunk> {
    if count > MAX_COUNT {
        return Err(CorruptChunk("a column has more samples than the format allows"));
    }
    let mut cursor = Cursor::new(bytes);
    let mut left = count;
    while left > 0 {
        let n = cursor.at_most(left)?;
        if n == 0 {
            return Err(CorruptChunk("a run of histograms is empty"));
        }
        decode_run(&mut cursor, n, out)?;
        left -= n;
    }
    Ok(cursor.used())
}

fn decode_run(cursor: &mut Cursor<'_>, n: usize, out: &mut Vec<Arc<Histogram>>) -> Result<(), CorruptChunk> {
    let flags = cursor.byte()?;
    if flags & !KNOWN != 0 {
        return Err(CorruptChunk("this version knows no such histogram flag"));
    }
    let schema = i32::try_from(cursor.signed()?).map_err(|_| CorruptChunk("a schema is out of range"))?;
    let zero_threshold = f64::from_bits(cursor.u64()?);
    let (positive_spans, mut positive) = decode_spans(cursor)?;
    let (negative_spans, mut negative) = decode_spans(cursor)?;
    let mut custom_values = Vec::new();
    if flags & CUSTOM != 0 {
        let n = cursor.at_most(cursor.rest().len() / 8)?;
        let bytes = cursor.bytes(n * 8)?;
        custom_values.extend(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_bits(u64::from_le_bytes(*b))));
    }
    let hints = if flags & HINTS != 0 { Some(cursor.bytes(n)?) } else { None };
    if flags & COUNTS != 0 {
        positive = cursor.varint()?;
        negative = cursor.varint()?;
    }
    // Each column is at least a tag and a number.
    let room = cursor.rest().len() as u64 / 2;
    if positive.saturating_add(negative) > room {
        return Err(CorruptChunk("the spans have more buckets than there are columns"));
    }
    let (positive, negative) = (positive as usize, negative as usize);
    let mut run: Vec<Histogram> = Vec::with_capacity(n);
    for i in 0..n {
        let code = hints.map_or(flags >> HINT_SHIFT & 3, |hints| hints[i]);
        run.push(Histogram {
            schema,
            is_float: flags & FLOAT != 0,
            reset_hint: hint(code)?,
            zero_threshold,
            positive_spans: positive_spans.clone(),
            negative_spans: negative_spans.clone(),
            custom_values: custom_values.clone(),
            ..Histogram::default()
        });
    }
    let mut column = Vec::new();
    let mut take = |put: &dyn Fn(&mut Histogram, f64)| -> Result<(), CorruptChunk> {
        column.clear();
        let used = decode_values(cursor.rest(), n, &mut column)?;
        cursor.bytes(used)?;
        run.iter_mut().zip(&column).for_each(|(h, &v)| put(h, v));
        Ok(())
    };
    take(&|h, v| h.count = v)?;
    take(&|h, v| h.sum = v)?;
    take(&|h, v| h.zero_count = v)?;
    for _ in 0..positive {
        take(&|h, v| h.positive.push(v))?;
    }
    for _ in 0..negative {
        take(&|h, v| h.negative.push(v))?;
    }
    out.extend(run.into_iter().map(Arc::new));
    Ok(())
}

/// Spans and the number of buckets in them.
fn decode_spans(cursor: &mut Cursor<'_>) -> Result<(Vec<Span>, u64), CorruptChunk> {
    let n = cursor.at_most(cursor.rest().len() / 2)?;
    let mut spans = Vec::with_capacity(n);
    let mut buckets = 0u64;
    for _ in 0..n {
        let offset =
            i32::try_from(cursor.signed()?).map_err(|_| CorruptChunk("a span's offset is out of range"))?;
        let length =
            u32::try_from(cursor.varint()?).map_err(|_| CorruptChunk("a span's length is out of range"))?;
        buckets += u64::from(length);
        spans.push(Span { offset, length });
    }
    Ok((spans, buckets))
}

fn hint_code(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

fn hint(code: u8) -> Result<ResetHint, CorruptChunk> {
    match code {
        0 => Ok(ResetHint::Unknown),
        1 => Ok(ResetHint::Reset),
        2 => Ok(ResetHint::NotReset),
        3 => Ok(ResetHint::Gauge),
        _ => Err(CorruptChunk("a reset hint is none of the four")),
    }
}

#[cfg(test)]
mod tests {
    use model::sample::STALE_NAN;
    use proptest::prelude::*;

    use super::*;

    fn encoded(histograms: &[Arc<Histogram>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_histograms(histograms, &mut bytes);
        bytes
    }

    /// NaN is equal to itself here.
    fn same(a: &Histogram, b: &Histogram) -> bool {
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        same_layout(a, b)
            && a.reset_hint == b.reset_hint
            && bits(&[a.count, a.sum, a.zero_count]) == bits(&[b.count, b.sum, b.zero_count])
            && bits(&a.positive) == bits(&b.positive)
            && bits(&a.negative) == bits(&b.negative)
    }

    fn round_trip(histograms: &[Arc<Histogram>]) -> usize {
        let bytes = encoded(histograms);
        let mut back = Vec::new();
        assert_eq!(decode_histograms(&bytes, histograms.len(), &mut back), Ok(bytes.len()));
        assert_eq!(back.len(), histograms.len());
        assert!(back.iter().zip(histograms).all(|(a, b)| same(a, b)));
        bytes.len()
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        prop::collection::vec(
            (-40i32..40, 0u32..5).prop_map(|(offset, length)| Span { offset, length }),
            0..4,
        )
    }

    fn histogram() -> impl Strategy<Value = Histogram> {
        let numbers = (0u32..50, any::<f64>(), 0u32..9, any::<bool>(), 0u8..4);
        (-4i32..=8, spans(), spans(), prop::collection::vec(-9.0..9.0, 0..3), numbers, 0u32..9).prop_map(
            |(
                schema,
                positive_spans,
                negative_spans,
                custom_values,
                (count, sum, zero, is_float, code),
                buckets,
            )| {
                let fill = |spans: &[Span]| {
                    let n: u32 = spans.iter().map(|s| s.length).sum();
                    (0..n).map(|i| f64::from(i * buckets)).collect()
                };
                Histogram {
                    schema,
                    is_float,
                    reset_hint: hint(code).unwrap(),
                    zero_threshold: 1e-128,
                    zero_count: f64::from(zero),
                    count: f64::from(count),
                    sum,
                    positive: fill(&positive_spans),
                    negative: fill(&negative_spans),
                    positive_spans,
                    negative_spans,
                    custom_values,
                }
            },
        )
    }

    #[test]
    fn a_steady_histogram_is_small() {
        let histograms: Vec<_> = (0..120u32)
            .map(|i| {
                Arc::new(Histogram {
                    schema: 3,
                    count: f64::from(i * 80),
                    sum: f64::from(i) * 1.25,
                    positive_spans: vec![Span { offset: -5, length: 8 }],
                    positive: (0..8).map(|b| f64::from(i * 10 + (i * b) % 3)).collect(),
                    ..Histogram::default()
                })
            })
            .collect();
        let size = round_trip(&histograms);
        assert!(size < 120 * 8, "{size}");
        let stale = Arc::new(Histogram { sum: f64::from_bits(STALE_NAN), ..Histogram::default() });
        round_trip(&[Arc::clone(&histograms[0]), stale]);
    }

    #[test]
    fn buckets_that_disagree_with_their_spans_survive() {
        round_trip(&[Arc::new(Histogram { positive: vec![1.0, 2.0], ..Histogram::default() })]);
    }

    #[test]
    fn a_span_that_claims_billions_of_buckets_allocates_nothing() {
        let mut bytes = vec![1, 0, 0];
        bytes.extend_from_slice(&[0; 8]);
        bytes.push(1);
        varint::put_signed(&mut bytes, 0);
        varint::put(&mut bytes, u64::from(u32::MAX));
        bytes.extend_from_slice(&[0; 64]);
        assert!(decode_histograms(&bytes, 1, &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn any_histograms(runs in prop::collection::vec((histogram(), 1usize..5), 0..6)) {
            let histograms: Vec<_> = runs.into_iter().flat_map(|(h, n)| std::iter::repeat_n(Arc::new(h), n)).collect();
            round_trip(&histograms);
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), count in 0usize..60) {
            let mut out = Vec::new();
            if decode_histograms(&bytes, count, &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
            prop_assert!(out.len() <= count);
        }

        #[test]
        fn flipped_bits(h in histogram(), n in 1usize..9, at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = encoded(&Vec::from_iter(std::iter::repeat_n(Arc::new(h), n)));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let mut out = Vec::new();
            if decode_histograms(&bytes, n, &mut out).is_ok() {
                prop_assert_eq!(out.len(), n);
            }
            prop_assert!(out.len() <= n);
        }
    }
}
