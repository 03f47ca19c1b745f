//! Classic histograms to native histograms with custom buckets, as `load_with_nhcb` stores them.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::histogram::{CUSTOM_SCHEMA, Span};
use model::labels::METRIC_NAME;
use model::{Histogram, Labels};

use crate::histogram::compact;

/// The label that holds a bucket's upper bound.
const BUCKET: &str = "le";

/// The classic histograms of a block, by the native histogram's labels and by time.
#[derive(Default)]
pub(super) struct Collector {
    found: BTreeMap<Labels, BTreeMap<i64, Classic>>,
}

/// One classic histogram at one time.
#[derive(Clone, Debug, Default)]
struct Classic {
    /// Upper bound and cumulative count, ascending.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl Collector {
    /// Takes note of a sample if it belongs to a classic histogram.
    pub(super) fn add(&mut self, labels: &Labels, time: i64, value: f64) {
        let name = labels.metric_name();
        let part = [("_bucket", 0), ("_count", 1), ("_sum", 2)]
            .into_iter()
            .find_map(|(suffix, part)| Some((name.strip_suffix(suffix)?, part)));
        let Some((base, part)) = part else { return };
        let bound = labels.get(BUCKET).and_then(super::series::number).filter(|bound| !bound.is_nan());
        if part == 0 && bound.is_none() {
            return;
        }
        let mut native = labels.to_builder();
        native.set(METRIC_NAME, base).remove(BUCKET);
        let classic = self.found.entry(native.build()).or_default().entry(time).or_default();
        match (part, bound) {
            (0, Some(bound)) => classic.bucket(bound, value),
            (1, _) if value >= 0.0 => classic.count = Some(value),
            (2, _) => classic.sum = value,
            // Counts that are negative or NaN cannot be stored.
            _ => {}
        }
    }

    /// The native histograms.
    ///
    /// # Errors
    /// When the count contradicts the buckets.
    pub(super) fn finish(self) -> Result<Vec<(Labels, i64, Arc<Histogram>)>, String> {
        let mut out = Vec::new();
        for (labels, times) in self.found {
            for (time, classic) in times {
                let native = classic.native().map_err(|err| format!("{labels} at {time} ms: {err}"))?;
                out.push((labels.clone(), time, Arc::new(native)));
            }
        }
        Ok(out)
    }
}

impl Classic {
    /// Notes a bucket unless it contradicts its neighbours: counts are cumulative.
    fn bucket(&mut self, bound: f64, count: f64) {
        if count.is_nan() || count < 0.0 {
            return;
        }
        let at = self.buckets.partition_point(|(other, _)| *other < bound);
        if self.buckets.get(at).is_some_and(|(other, _)| *other == bound) {
            return;
        }
        let fits_below = at == 0 || self.buckets[at - 1].1 <= count;
        let fits_above = self.buckets.get(at).is_none_or(|(_, above)| count <= *above);
        if fits_below && fits_above {
            self.buckets.insert(at, (bound, count));
        }
    }

    fn native(mut self) -> Result<Histogram, String> {
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or(0.0);
        match last {
            Some((bound, in_buckets)) if bound == f64::INFINITY => {
                if in_buckets != count {
                    return Err(format!("the count is {count} but the buckets hold {in_buckets}"));
                }
            }
            _ => self.buckets.push((f64::INFINITY, count)),
        }
        let mut below = 0.0;
        let mut positive = Vec::with_capacity(self.buckets.len());
        for (_, count) in &self.buckets {
            positive.push(count - below);
            below = *count;
        }
        let bounds = self.buckets.len() - 1;
        let mut native = Histogram {
            schema: CUSTOM_SCHEMA,
            is_float: true,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: positive.len() as u32 }],
            positive,
            custom_values: self.buckets[..bounds].iter().map(|(bound, _)| *bound).collect(),
            ..Histogram::default()
        };
        compact(&mut native);
        native.validate().map_err(|err| err.to_string())?;
        Ok(native)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_and_sum_are_joined() {
        let mut collector = Collector::default();
        let mut add = |name: &str, le: &str, value: f64| {
            let labels = Labels::from_pairs([("__name__", name), ("le", le), ("job", "a")]);
            collector.add(&labels, 1000, value);
        };
        add("x_bucket", "5", 3.0);
        add("x_bucket", "1", 1.0);
        add("x_bucket", "nonsense", 9.0);
        add("x_bucket", "2", 1.0);
        add("x_bucket", "+Inf", 4.0);
        add("x_count", "", 4.0);
        add("x_sum", "", 12.5);
        add("other", "", 1.0);
        let found = collector.finish().unwrap();
        let [(labels, 1000, native)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(labels.to_string(), r#"x{job="a"}"#);
        assert_eq!((native.count, native.sum), (4.0, 12.5));
        assert_eq!(native.custom_values, [1.0, 2.0, 5.0]);
        assert_eq!(native.positive, [1.0, 2.0, 1.0]);
        assert_eq!(native.positive_spans, [Span { offset: 0, length: 1 }, Span { offset: 1, length: 2 }]);
    }

    #[test]
    fn contradictions_are_left_out_or_refused() {
        let mut classic = Classic::default();
        classic.bucket(1.0, 5.0);
        classic.bucket(2.0, 3.0);
        classic.bucket(0.5, 7.0);
        classic.bucket(3.0, f64::NAN);
        assert_eq!(classic.buckets, [(1.0, 5.0)]);
        classic.bucket(f64::INFINITY, 6.0);
        classic.count = Some(7.0);
        assert!(classic.native().unwrap_err().contains("the count is 7"));
    }
}
