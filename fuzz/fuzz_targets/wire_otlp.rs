//! OTLP in protobuf and JSON, and Datadog's series: any bytes, no panic; what is decoded has canonical labels.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::{Batch, Histogram, Labels};
use wire::datadog::{self, Format};
use wire::gather::Gather;
use wire::otlp::{Accumulate, Decoder, Options, json};

/// Takes deltas as they are.
struct Pass;

impl Accumulate for Pass {
    fn float(&mut self, _: &[u8], start: i64, _: i64, value: f64) -> Result<(f64, i64), String> {
        Ok((value, start))
    }

    fn histogram(&mut self, _: &[u8], start: i64, _: i64, histogram: Histogram) -> Result<(Histogram, i64), String> {
        Ok((histogram, start))
    }
}

fn check(batch: &Batch) {
    for index in 0..batch.series().len() as u32 {
        let labels = batch.label_bytes(index).and_then(Labels::from_encoded);
        assert!(labels.is_some(), "labels are not canonical");
    }
}

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (escape, nhcb, bytes) = input;
    let options = Options { escape, histograms_to_nhcb: nhcb, promote_scope: true, ..Options::default() };
    let mut decoder = Decoder::new(1, Arc::new(options));
    let mut batch = Batch::new();
    if decoder.decode(bytes, &mut batch, &mut Pass).is_ok() {
        check(&batch);
    }
    if let Ok(message) = json::to_protobuf(bytes) {
        assert!(decoder.decode(&message, &mut batch, &mut Pass).is_ok(), "what was written does not read back");
        check(&batch);
    }
    let mut gather = Gather::new(1);
    for format in [Format::V1, Format::V2, Format::V2Protobuf] {
        if datadog::decode(format, bytes, &mut gather, &mut batch, &mut Pass).is_ok() {
            check(&batch);
        }
    }
});
