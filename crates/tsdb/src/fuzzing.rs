//! Decoders that only the crate itself calls, for the fuzz targets: any bytes, no panic.

use std::path::Path;
use std::sync::Arc;

use model::{Exemplar, Histogram, Metadata, Samples};

use crate::disk::{Disk, FaultDisk};
use crate::head::sealed;
use crate::wal::frame::{self, Frames};
use crate::wal::record::{Reader, Replay, read_places};
use crate::wal::series_log::read_entries;

struct Ignore;

impl Replay for Ignore {
    fn floats(&mut self, _: u64, _: &[(u32, i64, f64)]) {}
    fn histogram(&mut self, _: u64, _: u32, _: i64, _: Arc<Histogram>) {}
    fn start(&mut self, _: u64, _: u32, _: i64, _: i64) {}
    fn exemplar(&mut self, _: u64, _: u32, _: Exemplar) {}
    fn metadata(&mut self, _: String, _: Metadata) {}
}

/// Records of a write-ahead log; a reader that needs no values accepts all that the other accepts.
pub fn records(bytes: &[u8]) {
    if Reader::default().read(bytes, &mut Ignore).is_ok() {
        read_places(bytes, &mut |_| {}).expect("what has values has places");
    }
}

/// Frames of a log, and what stands behind damage.
pub fn frames(bytes: &[u8]) {
    let mut frames = Frames::new(bytes, 0);
    while let Ok(Some(_)) = frames.next() {}
    frame::good_behind(bytes, frames.offset());
}

/// Entries of a series log.
pub fn series_entries(bytes: &[u8]) {
    drop(read_entries(bytes, |_| Ok(())));
}

/// The payload of a sealed file's chunk, behind a checksum that fits.
pub fn sealed_chunk(payload: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
    let path = Path::new("/1.sealed");
    let Ok(mut file) = disk.create(path) else { return };
    let mut bytes = sealed::MAGIC.to_vec();
    frame::put(&mut bytes, payload);
    if file.write_all(&bytes).is_err() {
        return;
    }
    let Ok(chunks) = sealed::open_file(&disk, path, 1) else { return };
    for (_, chunk) in chunks {
        let Ok(open) = chunk.open() else { continue };
        let columns: Vec<u32> = open.columns().take(64).collect();
        for column in columns {
            drop(open.read(column, &mut Samples::default()));
            open.last_time(column);
        }
    }
}
