//! Uploads and roll-ups of clients: any bytes, no panic, and no word of an upload in an error.
#![no_main]

use clients::report;
use clients::rollup::Rollup;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match report::parse(bytes, 1, 100) {
        Ok(reports) => {
            for report in reports.into_iter().flatten() {
                assert!(!report.origin.contains(['?', '#', '@']));
                assert!(report.origin.matches('/').count() == 2);
            }
        }
        Err(err) => assert!(err.to_string().len() < 200),
    }
    drop(Rollup::decode(bytes));
});
