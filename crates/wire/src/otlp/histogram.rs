//! OpenTelemetry's histograms as native histograms.
//!
//! OpenTelemetry's bucket 0 is `(1, base]`, Prometheus' bucket 0 is `(1/base, 1]`: indexes move up by one. Resolutions finer than
//! schema 8 are halved until they fit.

use model::Histogram;
use model::histogram::{CUSTOM_SCHEMA, Span};
use model::sample::STALE_NAN;

use crate::proto::{Fields, Malformed, packed_varints};

/// The zero bucket's width where none is given.
const ZERO_THRESHOLD: f64 = 1e-128;
/// An empty run of up to so many buckets is filled instead of starting a new span.
const MAX_GAP: i64 = 2;
/// A histogram with more buckets is refused.
const MAX_BUCKETS: usize = 1 << 16;

/// Buckets on one side, dense.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    offset: i64,
    counts: Vec<u64>,
}

/// A histogram as sent.
#[derive(Debug, Default)]
pub(super) struct Exponential {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) scale: i64,
    pub(super) zero_count: u64,
    pub(super) zero_threshold: f64,
    pub(super) positive: Buckets,
    pub(super) negative: Buckets,
}

pub(super) fn buckets(body: &[u8]) -> Result<Buckets, Malformed> {
    let mut out = Buckets::default();
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => out.offset = value.sint()?,
            2 => packed_varints(value, |count| {
                out.counts.push(count);
                Ok(())
            })?,
            _ => {}
        }
    }
    Ok(out)
}

pub(super) fn exponential(sent: &Exponential, stale: bool) -> Result<Histogram, String> {
    if sent.scale < -4 {
        return Err(format!("scale {} is below -4, the coarsest that can be stored", sent.scale));
    }
    if sent.positive.counts.len() + sent.negative.counts.len() > MAX_BUCKETS {
        return Err(format!("more than {MAX_BUCKETS} buckets"));
    }
    let shift = u32::try_from((sent.scale - 8).clamp(0, 62)).unwrap_or_default();
    let side = |buckets: &Buckets| {
        if i32::try_from(buckets.offset).is_err() {
            return Err(format!("the bucket offset {} is beyond 32 bits", buckets.offset));
        }
        let indexed = buckets.counts.iter().enumerate();
        Ok(sparse(indexed.map(|(i, count)| (((buckets.offset + i as i64) >> shift) + 1, *count))))
    };
    let (positive_spans, positive) = side(&sent.positive)?;
    let (negative_spans, negative) = side(&sent.negative)?;
    let stale_nan = f64::from_bits(STALE_NAN);
    Ok(Histogram {
        schema: sent.scale.min(8) as i32,
        zero_threshold: if sent.zero_threshold > 0.0 { sent.zero_threshold } else { ZERO_THRESHOLD },
        zero_count: sent.zero_count as f64,
        count: if stale { stale_nan } else { sent.count as f64 },
        sum: if stale { stale_nan } else { sent.sum },
        positive_spans,
        positive,
        negative_spans,
        negative,
        ..Histogram::default()
    })
}

/// Explicit buckets as a native histogram with custom ones.
pub(super) fn custom(counts: &[u64], mut bounds: Vec<f64>, count: u64, sum: f64, stale: bool) -> Histogram {
    // The bucket above all bounds needs no bound of its own.
    bounds.retain(|b| b.is_finite());
    let (positive_spans, positive) = match counts {
        [] if count > 0 => sparse([(0, count)].into_iter()),
        _ => sparse(counts.iter().enumerate().map(|(i, count)| (i as i64, *count))),
    };
    let stale_nan = f64::from_bits(STALE_NAN);
    Histogram {
        schema: CUSTOM_SCHEMA,
        count: if stale { stale_nan } else { count as f64 },
        sum: if stale { stale_nan } else { sum },
        positive_spans,
        positive,
        custom_values: bounds,
        ..Histogram::default()
    }
}

/// Spans and counts of buckets in ascending order of their indexes; the same index may come several times.
fn sparse(buckets: impl Iterator<Item = (i64, u64)>) -> (Vec<Span>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<Span>, Vec<f64>) = (Vec::new(), Vec::new());
    // The index after the last bucket.
    let mut next = 0i64;
    for (index, count) in buckets.filter(|(_, count)| *count > 0) {
        if let (true, Some(last)) = (!spans.is_empty() && index < next, counts.last_mut()) {
            *last += count as f64;
            continue;
        }
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= MAX_GAP => {
                span.length += gap as u32 + 1;
                counts.extend(std::iter::repeat_n(0.0, gap as usize));
            }
            _ => spans.push(Span { offset: gap as i32, length: 1 }),
        }
        counts.push(count as f64);
        next = index + 1;
    }
    (spans, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_moved_merged_and_made_sparse() {
        let sent = Exponential {
            count: 10,
            sum: 3.0,
            scale: 9,
            positive: Buckets { offset: -1, counts: vec![1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4] },
            ..Exponential::default()
        };
        let native = exponential(&sent, false).unwrap();
        // Indexes −1, 0, 1, 11 at scale 9 are −1, 0, 0, 5 at scale 8, and one more in Prometheus' counting.
        assert_eq!(native.schema, 8);
        assert_eq!(native.positive_spans, [Span { offset: 0, length: 2 }, Span { offset: 4, length: 1 }]);
        assert_eq!(native.positive, [1.0, 5.0, 4.0]);
        assert_eq!(native.validate(), Ok(()));
        assert!(exponential(&Exponential { scale: -5, ..Exponential::default() }, false).is_err());
        assert!(exponential(&sent, true).unwrap().is_stale());
    }

    #[test]
    fn explicit_buckets_keep_their_bounds() {
        let native = custom(&[0, 2, 0, 0, 0, 1], vec![1.0, 2.0, 3.0, 4.0, 5.0], 3, 9.0, false);
        assert_eq!(native.positive_spans, [Span { offset: 1, length: 1 }, Span { offset: 3, length: 1 }]);
        assert_eq!(native.validate(), Ok(()));
    }
}
