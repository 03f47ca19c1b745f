//! Decompression: any bytes, no panic, never more than the cap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::compress::{Encoding, decompress};

fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    for encoding in [Encoding::Snappy, Encoding::Zstd, Encoding::Identity] {
        drop(decompress(encoding, bytes, 1 << 16, &mut out));
        assert!(out.len() <= 1 << 16);
    }
});
