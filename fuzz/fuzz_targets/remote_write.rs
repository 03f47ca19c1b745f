//! Remote write 1.0 and 2.0: any bytes, no panic, and what is decoded is no larger than the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::Batch;
use wire::remote_write::{Decoder, Message};

fuzz_target!(|bytes: &[u8]| {
    let mut batch = Batch::new();
    for message in [Message::V1, Message::V2] {
        drop(Decoder::new(7).decode(message, bytes, &mut batch));
        assert!(batch.series().len() + batch.sample_count() <= bytes.len());
    }
});
