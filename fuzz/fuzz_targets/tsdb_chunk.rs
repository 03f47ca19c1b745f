//! Chunk decoders: any bytes, any count, no panic; what decodes encodes and decodes to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    tsdb::fuzzing::chunk(usize::from(input.0), input.1);
});
