//! A [`Batch`] as a remote write message.

use std::collections::HashMap;

use model::histogram::{ResetHint, Span};
use model::labels::{self, METRIC_NAME};
use model::{Batch, Histogram, Metadata, MetricType};

use super::Message;
use crate::proto::Writer;

/// Writes a batch whose series are all named by labels. `metadata`: what is known about a metric, for version 2.0, which carries it with
/// every series.
pub fn encode<'b>(
    message: Message,
    batch: &'b Batch,
    metadata: &dyn Fn(&str) -> Option<&'b Metadata>,
) -> Vec<u8> {
    let parts = Parts::of(batch);
    match message {
        Message::V1 => v1(batch, &parts),
        Message::V2 => v2(batch, &parts, metadata),
    }
}

/// Writes a version 1.0 message that holds metadata alone.
pub fn encode_metadata<'m>(entries: impl Iterator<Item = (&'m str, &'m Metadata)>) -> Vec<u8> {
    let mut out = Writer::default();
    for (name, metadata) in entries {
        out.part(3, |out| {
            out.varint(1, number(metadata.kind));
            out.bytes(2, name.as_bytes());
            out.bytes(4, metadata.help.as_bytes());
            out.bytes(5, metadata.unit.as_bytes());
        });
    }
    out.0
}

/// For each series what it has, as indexes into the batch's lists.
struct Parts {
    floats: Vec<Vec<u32>>,
    histograms: Vec<Vec<u32>>,
    exemplars: Vec<Vec<u32>>,
    starts: HashMap<(u32, i64), i64>,
}

impl Parts {
    fn of(batch: &Batch) -> Self {
        let by_series = |series: &mut dyn Iterator<Item = u32>| {
            let mut lists = vec![Vec::new(); batch.series().len()];
            for (at, series) in series.enumerate() {
                lists[series as usize].push(at as u32);
            }
            lists
        };
        Self {
            floats: by_series(&mut batch.floats().iter().map(|s| s.series)),
            histograms: by_series(&mut batch.histograms().iter().map(|s| s.series)),
            exemplars: by_series(&mut batch.exemplars().iter().map(|(series, _)| *series)),
            starts: batch.starts().iter().map(|(series, time, start)| ((*series, *time), *start)).collect(),
        }
    }

    fn is_empty(&self, series: usize) -> bool {
        self.floats[series].is_empty()
            && self.histograms[series].is_empty()
            && self.exemplars[series].is_empty()
    }
}

fn v1(batch: &Batch, parts: &Parts) -> Vec<u8> {
    let mut out = Writer::default();
    for series in 0..batch.series().len() {
        let Some(encoded) = batch.label_bytes(series as u32).filter(|_| !parts.is_empty(series)) else {
            continue;
        };
        out.part(1, |out| {
            for (name, value) in labels::iter_encoded(encoded) {
                label(out, 1, name, value);
            }
            for at in &parts.floats[series] {
                let sample = &batch.floats()[*at as usize];
                out.part(2, |out| {
                    out.double(1, sample.value);
                    out.varint(2, sample.time as u64);
                });
            }
            for at in &parts.exemplars[series] {
                let exemplar = &batch.exemplars()[*at as usize].1;
                out.part(3, |out| {
                    for (name, value) in &exemplar.labels {
                        label(out, 1, name, value);
                    }
                    out.double(2, exemplar.value);
                    out.varint(3, exemplar.at.ms() as u64);
                });
            }
            for at in &parts.histograms[series] {
                let sample = &batch.histograms()[*at as usize];
                out.part(4, |out| histogram(out, &sample.histogram, sample.time, 0));
            }
        });
    }
    out.0
}

fn label(out: &mut Writer, number: u64, name: &str, value: &str) {
    out.part(number, |out| {
        out.bytes(1, name.as_bytes());
        out.bytes(2, value.as_bytes());
    });
}

/// Texts, each once; the first is empty.
struct Symbols<'s> {
    index: HashMap<&'s str, u64>,
    list: Vec<&'s str>,
}

impl<'s> Symbols<'s> {
    fn get(&mut self, text: &'s str) -> u64 {
        *self.index.entry(text).or_insert_with(|| {
            self.list.push(text);
            (self.list.len() - 1) as u64
        })
    }
}

fn v2<'b>(batch: &'b Batch, parts: &Parts, metadata: &dyn Fn(&str) -> Option<&'b Metadata>) -> Vec<u8> {
    let mut symbols = Symbols { index: HashMap::from([("", 0)]), list: vec![""] };
    let mut all = Writer::default();
    for series in 0..batch.series().len() {
        let Some(encoded) = batch.label_bytes(series as u32).filter(|_| !parts.is_empty(series)) else {
            continue;
        };
        let mut references = Writer::default();
        let mut name = "";
        for (label, value) in labels::iter_encoded(encoded) {
            if label == METRIC_NAME {
                name = value;
            }
            references.raw(symbols.get(label));
            references.raw(symbols.get(value));
        }
        let start = |time: i64| parts.starts.get(&(series as u32, time)).copied().unwrap_or(0);
        all.part(5, |out| {
            out.bytes(1, &references.0);
            for at in &parts.floats[series] {
                let sample = &batch.floats()[*at as usize];
                out.part(2, |out| {
                    out.double(1, sample.value);
                    out.varint(2, sample.time as u64);
                    if start(sample.time) != 0 {
                        out.varint(3, start(sample.time) as u64);
                    }
                });
            }
            for at in &parts.histograms[series] {
                let sample = &batch.histograms()[*at as usize];
                out.part(3, |out| histogram(out, &sample.histogram, sample.time, start(sample.time)));
            }
            for at in &parts.exemplars[series] {
                let exemplar = &batch.exemplars()[*at as usize].1;
                let mut references = Writer::default();
                for (name, value) in &exemplar.labels {
                    references.raw(symbols.get(name));
                    references.raw(symbols.get(value));
                }
                out.part(4, |out| {
                    out.bytes(1, &references.0);
                    out.double(2, exemplar.value);
                    out.varint(3, exemplar.at.ms() as u64);
                });
            }
            if let Some(metadata) = metadata(name) {
                let (help, unit) = (symbols.get(&metadata.help), symbols.get(&metadata.unit));
                out.part(5, |out| {
                    out.varint(1, number(metadata.kind));
                    out.varint(3, help);
                    out.varint(4, unit);
                });
            }
        });
    }
    let mut out = Writer::default();
    for symbol in symbols.list {
        out.bytes(4, symbol.as_bytes());
    }
    out.0.extend_from_slice(&all.0);
    out.0
}

fn number(kind: MetricType) -> u64 {
    match kind {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
    }
}

fn histogram(out: &mut Writer, h: &Histogram, time: i64, start: i64) {
    // A staleness marker's sum says so; as an integer its count would lose its bits.
    let is_float = h.is_float;
    if is_float {
        out.double(2, h.count);
    } else {
        out.varint(1, if h.is_stale() { 0 } else { h.count as u64 });
    }
    out.double(3, h.sum);
    out.sint(4, i64::from(h.schema));
    out.double(5, h.zero_threshold);
    if is_float {
        out.double(7, h.zero_count);
    } else {
        out.varint(6, h.zero_count as u64);
    }
    let sides = [(8, 9, 10, &h.negative_spans, &h.negative), (11, 12, 13, &h.positive_spans, &h.positive)];
    for (spans_number, deltas_number, counts_number, spans, counts) in sides {
        for Span { offset, length } in spans {
            out.part(spans_number, |out| {
                out.sint(1, i64::from(*offset));
                out.varint(2, u64::from(*length));
            });
        }
        if counts.is_empty() {
            continue;
        }
        let mut list = Writer::default();
        let mut last = 0i64;
        for count in counts {
            if is_float {
                list.0.extend_from_slice(&count.to_le_bytes());
            } else {
                let delta = *count as i64 - last;
                list.raw(((delta << 1) ^ (delta >> 63)) as u64);
                last = *count as i64;
            }
        }
        out.bytes(if is_float { counts_number } else { deltas_number }, &list.0);
    }
    out.varint(
        14,
        match h.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
    );
    out.varint(15, time as u64);
    if !h.custom_values.is_empty() {
        let list: Vec<u8> = h.custom_values.iter().flat_map(|v| v.to_le_bytes()).collect();
        out.bytes(16, &list);
    }
    if start != 0 {
        out.varint(17, start as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Exemplar, Labels, Timestamp};

    use super::*;
    use crate::remote_write::Decoder;
    use crate::test_support::show;

    #[test]
    fn what_is_written_reads_back() {
        let mut batch = Batch::new();
        let a = batch.add_series(&Labels::from_pairs([("__name__", "a"), ("x", "1")]));
        let h = batch.add_series(&Labels::from_pairs([("__name__", "h")]));
        let nothing = batch.add_series(&Labels::from_pairs([("__name__", "nothing")]));
        assert_eq!(nothing, 2);
        batch.push_float(a, 1, f64::from_bits(model::STALE_NAN));
        batch.push_float(a, 2, -2.5);
        let integer = Histogram {
            schema: 3,
            count: 7.0,
            sum: 1.5,
            zero_count: 1.0,
            zero_threshold: 0.001,
            positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 3, length: 2 }],
            positive: vec![3.0, 1.0, 2.0],
            ..Histogram::default()
        };
        let float =
            Histogram { is_float: true, count: 6.5, positive: vec![2.5, 1.0, 2.0], ..integer.clone() };
        let custom = Histogram {
            schema: model::histogram::CUSTOM_SCHEMA,
            zero_count: 0.0,
            zero_threshold: 0.0,
            count: 6.0,
            custom_values: vec![1.0, 2.0, 3.0, 4.0, 5.0],
            positive_spans: vec![Span { offset: 0, length: 3 }],
            ..integer.clone()
        };
        for (i, histogram) in [integer, float, custom].into_iter().enumerate() {
            histogram.validate().unwrap();
            batch.push_histogram(h, i as i64 + 1, Arc::new(histogram));
        }
        let labels = Labels::from_pairs([("trace_id", "t")]);
        batch.push_exemplar(a, Exemplar { labels, value: 3.0, at: Timestamp(9) });
        let metadata = Metadata { kind: MetricType::Counter, help: "help".into(), unit: "s".into() };
        for message in [Message::V1, Message::V2] {
            let bytes = encode(message, &batch, &|name| (name == "a").then_some(&metadata));
            let mut back = Batch::new();
            let decoded = Decoder::new(1).decode(message, &bytes, &mut back).unwrap();
            assert_eq!(decoded.invalid, 0);
            let mut expected = show(&batch);
            if message == Message::V2 {
                expected.push("# a counter \"help\" \"s\"".into());
            }
            assert_eq!(show(&back), expected);
            for (sent, got) in batch.histograms().iter().zip(back.histograms()) {
                assert_eq!(sent.histogram, got.histogram);
            }
        }
        let bytes = encode_metadata([("a", &metadata)].into_iter());
        let mut back = Batch::new();
        Decoder::new(1).decode(Message::V1, &bytes, &mut back).unwrap();
        assert_eq!(back.metadata()[0].1, metadata);
    }
}
