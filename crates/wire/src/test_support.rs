//! What the tests of several decoders use.

use std::collections::HashMap;

use model::{Batch, Histogram, Labels};

use crate::otlp::Accumulate;

/// A batch in words, each series with its labels.
pub(crate) fn show(batch: &Batch) -> Vec<String> {
    let name = |i: u32| Labels::from_encoded(batch.label_bytes(i).unwrap()).expect("canonical").to_string();
    let floats = batch.floats().iter().map(|s| match model::is_stale(s.value) {
        true => format!("{} stale@{}", name(s.series), s.time),
        false => format!("{} {}@{}", name(s.series), s.value, s.time),
    });
    let histograms = batch.histograms().iter().map(|s| {
        let h = &s.histogram;
        let spans: Vec<_> = h.positive_spans.iter().map(|span| (span.offset, span.length)).collect();
        format!(
            "{} h{} s{} n{} {spans:?} {:?}@{}",
            name(s.series),
            h.schema,
            h.sum,
            h.count,
            h.positive,
            s.time
        )
    });
    let starts = batch.starts().iter().map(|(s, t, start)| format!("{} start {start}@{t}", name(*s)));
    let exemplars =
        batch.exemplars().iter().map(|(s, e)| format!("{} ex {} {}@{}", name(*s), e.labels, e.value, e.at));
    let metadata =
        batch.metadata().iter().map(|(n, m)| format!("# {n} {} {:?} {:?}", m.kind, m.help, m.unit));
    floats.chain(histograms).chain(starts).chain(exemplars).chain(metadata).collect()
}

/// Adds floats up, and takes histograms as they are.
#[derive(Debug, Default)]
pub(crate) struct Sums(HashMap<Vec<u8>, f64>);

impl Accumulate for Sums {
    fn float(&mut self, labels: &[u8], start: i64, _: i64, value: f64) -> Result<(f64, i64), String> {
        let sum = self.0.entry(labels.to_owned()).or_default();
        *sum += value;
        Ok((*sum, start))
    }

    fn histogram(
        &mut self,
        _: &[u8],
        start: i64,
        _: i64,
        histogram: Histogram,
    ) -> Result<(Histogram, i64), String> {
        Ok((histogram, start))
    }
}
