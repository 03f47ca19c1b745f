//! Chunks of sealed files; any bytes, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tsdb::fuzzing::sealed_chunk(bytes);
});
