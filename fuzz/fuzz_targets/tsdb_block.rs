//! Block data files whose checksums are not looked at: opening, selecting and reading any bytes never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::seam::TimeRange;
use model::{Samples, Timestamp};
use tsdb::block::{Block, BlockMeta};

fuzz_target!(|bytes: &[u8]| {
    let meta = BlockMeta { min_time: i64::MIN, max_time: i64::MAX, ..BlockMeta::new("fuzz", 0) };
    let Ok(block) = Block::open_unchecked(meta, bytes.to_vec()) else { return };
    let all = TimeRange { start: Timestamp::MIN, end: Timestamp::MAX };
    let Ok(series) = block.select(&[], all) else { return };
    let mut samples = Samples::default();
    for one in series {
        if one.labels().is_ok() && one.read(all, &mut samples).is_ok() {
            assert!(samples.times.is_sorted());
        }
    }
});
