//! Block data files whose checksums are not looked at: opening, selecting and reading any bytes never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tsdb::fuzzing::block(bytes);
});
