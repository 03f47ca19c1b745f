//! Logs: records, frames, series entries; any bytes, no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tsdb::fuzzing::records(bytes);
    tsdb::fuzzing::frames(bytes);
    tsdb::fuzzing::series_entries(bytes);
});
