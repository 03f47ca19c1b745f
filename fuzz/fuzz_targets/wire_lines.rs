//! Line protocols: InfluxDB, Graphite, StatsD. Any bytes, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Batch, Labels};
use wire::gather::Gather;
use wire::{graphite, influx, statsd};

fuzz_target!(|bytes: &[u8]| {
    let (mut gather, mut batch) = (Gather::new(1), Batch::new());
    let options = influx::Options { unit_ns: 1, now: 0, extra: Some(("db", "d")) };
    influx::decode(bytes, &options, &mut gather, &mut batch);
    gather.begin(&mut batch);
    graphite::decode_lines(bytes, 0, None, &mut gather, &mut batch);
    gather.finish(&mut batch);
    for index in 0..batch.series().len() as u32 {
        assert!(batch.label_bytes(index).and_then(Labels::from_encoded).is_some());
    }
    let read = statsd::read_line(bytes, |sample| assert!(sample.rate > 0.0 && statsd::tags(sample.tags).count() <= bytes.len()));
    drop(read);
});
