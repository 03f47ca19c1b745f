//! Binary protocols: Graphite's pickle, collectd, Zabbix, remote write. Any bytes, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Batch, Labels};
use wire::gather::Gather;
use wire::remote_write::{Decoder, Message, encode};
use wire::{collectd, graphite, zabbix};

fuzz_target!(|bytes: &[u8]| {
    let (mut gather, mut batch) = (Gather::new(1), Batch::new());
    gather.begin(&mut batch);
    drop(graphite::decode_pickle(bytes, 0, None, &mut gather, &mut batch));
    drop(collectd::decode(bytes, 0, &mut gather, &mut batch));
    gather.finish(&mut batch);
    for index in 0..batch.series().len() as u32 {
        assert!(batch.label_bytes(index).and_then(Labels::from_encoded).is_some());
    }
    drop(zabbix::header(bytes));
    drop(zabbix::decode(bytes, 0, &mut gather, &mut batch));
    for message in [Message::V1, Message::V2] {
        if Decoder::new(1).decode(message, bytes, &mut batch).is_ok() {
            let again = encode(message, &batch, &|_| None);
            assert!(Decoder::new(1).decode(message, &again, &mut Batch::new()).is_ok());
        }
    }
});
