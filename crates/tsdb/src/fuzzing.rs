//! What the fuzz targets call: any bytes, no panic. The tests call the same with random bytes and with damaged ones of every
//! kind of file, so that no nightly compiler is needed to know that the targets hold.

use std::path::Path;
use std::sync::Arc;

use model::seam::TimeRange;
use model::{Exemplar, Histogram, Metadata, Samples, Timestamp};

use crate::block::{Block, BlockMeta};
use crate::chunk;
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
    let _outcome = read_entries(bytes, |_| Ok(()));
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

/// Chunk decoders, any count; what decodes encodes and decodes to itself.
pub fn chunk(count: usize, bytes: &[u8]) {
    let mut values = Vec::new();
    if chunk::decode_values(bytes, count, &mut values).is_ok() {
        let (mut again, mut back) = (Vec::new(), Vec::new());
        chunk::encode_values(&values, &mut again);
        assert_eq!(chunk::decode_values(&again, count, &mut back), Ok(again.len()));
        assert!(values.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
    let mut times = Vec::new();
    if chunk::decode_times(bytes, count, &mut times).is_ok() {
        let (mut again, mut back) = (Vec::new(), Vec::new());
        chunk::encode_times(&times, &mut again);
        assert_eq!(chunk::decode_times(&again, count, &mut back), Ok(again.len()));
        assert_eq!(times, back);
    }
    let mut starts = Vec::new();
    if chunk::decode_starts(bytes, count, &mut starts).is_ok() {
        assert_eq!(starts.len(), count);
    }
    let mut histograms = Vec::new();
    if chunk::decode_histograms(bytes, count, &mut histograms).is_ok() {
        assert_eq!(histograms.len(), count);
    }
}

/// A block's data file whose checksums are not looked at: opened, selected from and read.
pub fn block(bytes: &[u8]) {
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
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use model::{Batch, Clock, Labels, TenantId};
    use prometheus_client::registry::Registry;
    use proptest::prelude::*;

    use super::*;
    use crate::wal::{SEGMENT_HEADER, series_log};
    use crate::{Config, Db, Metrics};

    const START: i64 = 1_700_000_000_000;

    struct Fixed;
    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            Timestamp(START + 8 * 3_600_000)
        }
    }

    /// The payloads of every kind of file, written by a database.
    #[derive(Default)]
    struct Written {
        records: Vec<Vec<u8>>,
        entries: Vec<Vec<u8>>,
        sealed: Vec<Vec<u8>>,
        blocks: Vec<Vec<u8>>,
    }

    fn written() -> &'static Written {
        static WRITTEN: OnceLock<Written> = OnceLock::new();
        WRITTEN.get_or_init(|| {
            let disk = FaultDisk::new();
            let config = Config { path: "data".into(), min_free_bytes: 0, ..Config::default() };
            let metrics = Metrics::new(&mut Registry::default());
            let db = Db::open(config, Arc::new(Fixed), Arc::new(disk.clone()), metrics).unwrap();
            // The older part goes to blocks, then to a sealed file; the newest stays in the log.
            for step in 0..8 * 30 {
                let mut batch = Batch::new();
                let time = START + step * 120_000;
                for series in 0..5 {
                    let labels = Labels::from_pairs([
                        ("__name__", format!("m{series}")),
                        ("i", format!("{}", series / 2)),
                    ]);
                    let at = batch.add_series(&labels);
                    match series {
                        4 => {
                            let histogram = Histogram {
                                count: step as f64,
                                positive_spans: vec![model::histogram::Span { offset: 1, length: 1 }],
                                positive: vec![step as f64],
                                ..Histogram::default()
                            };
                            batch.push_histogram(at, time, Arc::new(histogram));
                            batch.push_start(at, time, START - 1);
                        }
                        3 => batch.push_float(at, time, (step as f64).sin()),
                        _ => batch.push_float(at, time, (step * series) as f64),
                    }
                }
                db.append(&TenantId::default(), &batch).unwrap();
                if step % 60 == 59 && step < 200 {
                    db.flush().unwrap();
                    db.maintain(Timestamp(time)).unwrap();
                }
            }
            let mut written = Written::default();
            let payloads = |bytes: &[u8], header: usize| {
                let (mut frames, mut all) = (Frames::new(bytes, header), Vec::new());
                while let Ok(Some(payload)) = frames.next() {
                    all.push(payload.to_vec());
                }
                all
            };
            for (path, _) in disk.files() {
                let bytes = disk.read(&path).unwrap();
                match (path.extension().and_then(|e| e.to_str()), path.file_name().and_then(|n| n.to_str())) {
                    (Some("wal"), _) => written.records.extend(payloads(&bytes, SEGMENT_HEADER)),
                    (Some("log"), _) => written.entries.extend(payloads(&bytes, series_log::HEADER)),
                    (Some("sealed"), _) => written.sealed.extend(payloads(&bytes, sealed::MAGIC.len())),
                    (_, Some("data")) => written.blocks.push(bytes),
                    _ => {}
                }
            }
            for (what, found) in [
                ("records", &written.records),
                ("entries", &written.entries),
                ("sealed chunks", &written.sealed),
                ("blocks", &written.blocks),
            ] {
                assert!(!found.is_empty(), "no {what} were written");
            }
            written
        })
    }

    /// One of `valid` with some bytes changed, and perhaps an end cut off.
    fn damaged(valid: &[Vec<u8>], which: usize, edits: &[(usize, u8)], cut: usize) -> Vec<u8> {
        let mut bytes = valid[which % valid.len()].clone();
        for &(at, byte) in edits {
            let len = bytes.len().max(1);
            if let Some(place) = bytes.get_mut(at % len) {
                *place = byte;
            }
        }
        if cut.is_multiple_of(4) {
            bytes.truncate(cut % bytes.len().max(1));
        }
        bytes
    }

    proptest! {
        #[test]
        fn random_bytes(count in 0usize..2000, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            records(&bytes);
            frames(&bytes);
            series_entries(&bytes);
            sealed_chunk(&bytes);
            block(&bytes);
            chunk(count, &bytes);
        }

        #[test]
        fn damaged_files(
            which in any::<usize>(),
            edits in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6),
            cut in any::<usize>(),
        ) {
            let written = written();
            let of = |valid: &[Vec<u8>]| damaged(valid, which, &edits, cut);
            records(&of(&written.records));
            frames(&of(&written.records));
            series_entries(&of(&written.entries));
            sealed_chunk(&of(&written.sealed));
            block(&of(&written.blocks));
        }
    }
}
