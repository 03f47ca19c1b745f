//! Deltas added up: what a sender reports for each interval becomes a total that only rises.
//!
//! A series is known by a seeded 128-bit hash of its tenant and labels. A delta that was added already (the sender repeats a request) gives the
//! same total again; an older one is refused. A series that was silent for a while starts anew, as after a restart: a counter reset, which PromQL
//! understands.

use std::collections::{BTreeMap, HashMap};

use model::histogram::{CUSTOM_SCHEMA, Span};
use model::{Histogram, TenantId, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use wire::otlp::Accumulate;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::config::DeltaConfig;
use crate::metrics::Metrics;

/// The totals of all series.
pub(crate) struct Deltas {
    seed: u64,
    max_series: usize,
    expiry_ms: i64,
    metrics: Metrics,
    totals: Mutex<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    by_hash: HashMap<u128, Total>,
    swept: i64,
}

#[derive(Debug)]
struct Total {
    value: Value,
    start: i64,
    last: i64,
    /// Wall time, for expiry.
    seen: i64,
}

#[derive(Debug)]
enum Value {
    Float(f64),
    Histogram(Box<Histogram>),
}

impl Deltas {
    pub(crate) fn new(config: &DeltaConfig, seed: u64, metrics: Metrics) -> Self {
        Self {
            seed,
            max_series: config.max_series,
            expiry_ms: config.expiry.ms(),
            metrics,
            totals: Mutex::new(Totals::default()),
        }
    }

    /// Adds the deltas of one request. Holds a lock from the first delta on: must not live across an await.
    pub(crate) fn session<'d>(&'d self, tenant: &'d TenantId, now: Timestamp) -> Session<'d> {
        Session { deltas: self, tenant, now: now.ms(), totals: None, key: Vec::new() }
    }
}

/// The deltas of one request.
pub(crate) struct Session<'d> {
    deltas: &'d Deltas,
    tenant: &'d TenantId,
    now: i64,
    totals: Option<MutexGuard<'d, Totals>>,
    key: Vec<u8>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(totals) = &self.totals {
            self.deltas.metrics.delta_series.set(totals.by_hash.len() as i64);
        }
    }
}

impl Session<'_> {
    /// The total of a series, when it is known and not expired.
    fn total(&mut self, labels: &[u8]) -> Result<(u128, Option<&mut Total>), String> {
        self.key.clear();
        self.key.extend_from_slice(self.tenant.as_str().as_bytes());
        self.key.push(0);
        self.key.extend_from_slice(labels);
        let hash = xxh3_128_with_seed(&self.key, self.deltas.seed);
        let (now, expiry, max) = (self.now, self.deltas.expiry_ms, self.deltas.max_series);
        let totals = self.totals.get_or_insert_with(|| self.deltas.totals.lock());
        let fresh = |total: &Total| now - total.seen <= expiry;
        // Once in a while, and when it is full.
        let full = totals.by_hash.len() >= max && !totals.by_hash.contains_key(&hash);
        if now - totals.swept > expiry || (full && now != totals.swept) {
            totals.by_hash.retain(|_, total| fresh(total));
            totals.swept = now;
        }
        if totals.by_hash.len() >= max && !totals.by_hash.contains_key(&hash) {
            self.deltas.metrics.delta_refused.inc();
            return Err(format!(
                "{max} series with deltas are being added up already (ingest.deltas.max_series)"
            ));
        }
        let stale = totals.by_hash.get(&hash).is_some_and(|total| !fresh(total));
        if stale {
            totals.by_hash.remove(&hash);
        }
        Ok((hash, totals.by_hash.get_mut(&hash)))
    }

    fn insert(&mut self, hash: u128, total: Total) {
        if let Some(totals) = &mut self.totals {
            totals.by_hash.insert(hash, total);
        }
    }
}

fn too_old(time: i64, last: i64) -> String {
    format!("a delta at {time} came after the one at {last}; deltas must come in order")
}

impl Accumulate for Session<'_> {
    fn float(&mut self, labels: &[u8], start: i64, time: i64, value: f64) -> Result<(f64, i64), String> {
        let now = self.now;
        let (hash, total) = self.total(labels)?;
        if let Some(total) = total
            && let Value::Float(sum) = &mut total.value
        {
            if time < total.last {
                return Err(too_old(time, total.last));
            }
            if time > total.last {
                *sum += value;
                (total.last, total.seen) = (time, now);
            }
            return Ok((*sum, total.start));
        }
        self.insert(hash, Total { value: Value::Float(value), start, last: time, seen: now });
        Ok((value, start))
    }

    fn histogram(
        &mut self,
        labels: &[u8],
        start: i64,
        time: i64,
        histogram: Histogram,
    ) -> Result<(Histogram, i64), String> {
        let now = self.now;
        let (hash, total) = self.total(labels)?;
        if let Some(total) = total
            && let Value::Histogram(sum) = &mut total.value
        {
            if time < total.last {
                return Err(too_old(time, total.last));
            }
            if time == total.last {
                return Ok((Histogram::clone(sum), total.start));
            }
            // With other custom bounds it is another histogram, which starts anew.
            if let Some(added) = add(sum, &histogram) {
                **sum = added;
                (total.last, total.seen) = (time, now);
                return Ok((Histogram::clone(sum), total.start));
            }
        }
        let value = Value::Histogram(Box::new(histogram.clone()));
        self.insert(hash, Total { value, start, last: time, seen: now });
        Ok((histogram, start))
    }
}

/// The sum of two histograms, at the coarser of their resolutions; `None` when their custom bounds differ.
fn add(a: &Histogram, b: &Histogram) -> Option<Histogram> {
    let custom = a.schema == CUSTOM_SCHEMA || b.schema == CUSTOM_SCHEMA;
    if custom && (a.schema != b.schema || a.custom_values != b.custom_values) {
        return None;
    }
    let schema = a.schema.min(b.schema);
    let side = |a_spans: &[Span], a_counts: &[f64], b_spans: &[Span], b_counts: &[f64]| {
        let mut buckets = BTreeMap::new();
        for (spans, counts, own) in [(a_spans, a_counts, a.schema), (b_spans, b_counts, b.schema)] {
            let shift = (own - schema) as u32;
            for (index, count) in indexed(spans, counts) {
                let index = if shift == 0 { index } else { ((index - 1) >> shift) + 1 };
                *buckets.entry(index).or_insert(0.0) += count;
            }
        }
        sparse(&buckets)
    };
    let (positive_spans, positive) = side(&a.positive_spans, &a.positive, &b.positive_spans, &b.positive);
    let (negative_spans, negative) = side(&a.negative_spans, &a.negative, &b.negative_spans, &b.negative);
    Some(Histogram {
        schema,
        is_float: a.is_float || b.is_float,
        zero_threshold: a.zero_threshold.max(b.zero_threshold),
        zero_count: a.zero_count + b.zero_count,
        count: a.count + b.count,
        sum: a.sum + b.sum,
        positive_spans,
        positive,
        negative_spans,
        negative,
        custom_values: a.custom_values.clone(),
        reset_hint: a.reset_hint,
    })
}

/// Buckets with their indexes.
fn indexed<'h>(spans: &'h [Span], counts: &'h [f64]) -> impl Iterator<Item = (i64, f64)> + 'h {
    let mut next = 0i64;
    let indexes = spans.iter().flat_map(move |span| {
        let first = next + i64::from(span.offset);
        next = first + i64::from(span.length);
        first..next
    });
    indexes.zip(counts.iter().copied())
}

/// Spans and counts of buckets that are not empty.
pub(crate) fn sparse(buckets: &BTreeMap<i64, f64>) -> (Vec<Span>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<Span>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut next = 0i64;
    for (&index, &count) in buckets.iter().filter(|(_, count)| **count > 0.0) {
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= 2 => {
                span.length += gap as u32 + 1;
                counts.extend(std::iter::repeat_n(0.0, gap as usize));
            }
            _ => spans.push(Span { offset: gap as i32, length: 1 }),
        }
        counts.push(count);
        next = index + 1;
    }
    (spans, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::duration::PromDuration;
    use prometheus_client::registry::Registry;

    fn deltas(max_series: usize) -> Deltas {
        let config = DeltaConfig { max_series, expiry: PromDuration(1000) };
        Deltas::new(&config, 1, Metrics::new(&mut Registry::default()))
    }

    #[test]
    fn totals_rise_and_repeats_change_nothing() {
        let (deltas, tenant) = (deltas(10), TenantId::default());
        let at = |now: i64| deltas.session(&tenant, Timestamp(now));
        assert_eq!(at(0).float(b"a", 1, 10, 2.0), Ok((2.0, 1)));
        assert_eq!(at(0).float(b"a", 10, 20, 3.0), Ok((5.0, 1)));
        assert_eq!(at(0).float(b"a", 10, 20, 3.0), Ok((5.0, 1)));
        assert!(at(0).float(b"a", 0, 5, 1.0).is_err());
        assert_eq!(at(0).float(b"b", 1, 10, 7.0), Ok((7.0, 1)));
        let other = TenantId::new("other").unwrap();
        assert_eq!(deltas.session(&other, Timestamp(0)).float(b"a", 1, 10, 1.0), Ok((1.0, 1)));
        // Silent for too long: it starts anew.
        assert_eq!(at(2000).float(b"a", 30, 40, 1.0), Ok((1.0, 30)));
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let (deltas, tenant) = (deltas(1), TenantId::default());
        deltas.session(&tenant, Timestamp(0)).float(b"a", 1, 10, 2.0).unwrap();
        assert!(
            deltas.session(&tenant, Timestamp(1)).float(b"b", 1, 10, 2.0).unwrap_err().contains("max_series")
        );
        deltas.session(&tenant, Timestamp(2000)).float(b"b", 1, 10, 2.0).unwrap();
    }

    #[test]
    fn histograms_of_different_resolution_are_added() {
        let fine = Histogram {
            schema: 1,
            count: 3.0,
            sum: 4.0,
            positive_spans: vec![Span { offset: 1, length: 2 }],
            positive: vec![1.0, 2.0],
            ..Histogram::default()
        };
        let coarse = Histogram {
            schema: 0,
            positive_spans: vec![Span { offset: 1, length: 1 }],
            positive: vec![3.0],
            ..fine.clone()
        };
        let (deltas, tenant) = (deltas(10), TenantId::default());
        let mut session = deltas.session(&tenant, Timestamp(0));
        session.histogram(b"h", 1, 10, fine.clone()).unwrap();
        let (sum, start) = session.histogram(b"h", 10, 20, coarse).unwrap();
        assert_eq!((sum.schema, sum.count, sum.sum, start), (0, 6.0, 8.0, 1));
        // Buckets 1 and 2 at schema 1 are bucket 1 at schema 0.
        assert_eq!(
            (sum.positive_spans.clone(), sum.positive.clone()),
            (vec![Span { offset: 1, length: 1 }], vec![6.0])
        );
        assert_eq!(sum.validate(), Ok(()));
        assert_eq!(session.histogram(b"h", 10, 20, fine).unwrap().0, sum);
    }
}
