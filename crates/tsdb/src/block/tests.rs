//! Blocks against a `BTreeMap`, damage, and crashes while writing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::histogram::Span;
use model::matcher::MatchOp;
use model::sample::STALE_NAN;
use model::seam::TimeRange;
use model::{Histogram, Labels, Matcher, Samples, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::disk::{Crash, Disk, FaultDisk, RealDisk};
use crate::{Error, Result};

const ALL: TimeRange = TimeRange { start: Timestamp::MIN, end: Timestamp::MAX };

fn floats(points: impl IntoIterator<Item = (i64, f64)>) -> Samples {
    let mut samples = Samples::default();
    points.into_iter().for_each(|(t, v)| samples.push_float(t, v));
    samples
}

fn write(disk: &FaultDisk, folder: &str, series: &BTreeMap<Labels, Samples>) -> Result<BlockMeta> {
    disk.create_dir_all(Path::new("/d")).map_err(Error::io("create", Path::new("/d")))?;
    let mut writer = BlockWriter::create(Arc::new(disk.clone()), Path::new(folder), BlockMeta::new("b1", 0))?;
    for (labels, samples) in series {
        writer.add_series(labels, samples)?;
    }
    writer.finish()
}

fn same(a: &Samples, b: &Samples) -> bool {
    let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let starts = |s: &Samples| (0..s.len()).map(|i| s.start(i)).collect::<Vec<_>>();
    let values = |s: &Samples| {
        let floats: Vec<f64> =
            (0..s.len()).map(|i| if s.histogram(i).is_some() { 0.0 } else { s.values[i] }).collect();
        bits(&floats)
    };
    a.times == b.times && values(a) == values(b) && a.histograms == b.histograms && starts(a) == starts(b)
}

fn between(samples: &Samples, start: i64, end: i64) -> Samples {
    let mut out = Samples::default();
    for i in 0..samples.len() {
        let time = samples.times[i];
        if time < start || time > end {
            continue;
        }
        match samples.histogram(i) {
            Some(h) => out.push_histogram(time, Arc::clone(h)),
            None => out.push_float(time, samples.values[i]),
        }
        if let Some(start) = samples.start(i) {
            out.set_last_start(start);
        }
    }
    out
}

fn check(block: &Arc<Block>, series: &BTreeMap<Labels, Samples>, matchers: &[Matcher], range: TimeRange) {
    let (start, end) = (range.start.ms(), range.end.ms());
    let expected: Vec<(&Labels, Samples)> = series
        .iter()
        .filter(|(labels, _)| matchers.iter().all(|m| m.matches_labels(labels)))
        .map(|(labels, samples)| (labels, between(samples, start, end)))
        .filter(|(_, samples)| !samples.is_empty())
        .collect();
    let mut out = Samples::default();
    let mut found = Vec::new();
    let mut times: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for one in block.select(matchers, range).unwrap() {
        one.read(range, &mut out).unwrap();
        assert_eq!(times.entry(out.times_id).or_insert_with(|| out.times.clone()), &out.times);
        if !out.is_empty() {
            found.push((one.labels().unwrap(), out.clone()));
        }
    }
    assert_eq!(found.len(), expected.len(), "{matchers:?} {range:?}");
    for ((labels, samples), (expected_labels, expected)) in found.iter().zip(&expected) {
        assert_eq!(&labels, expected_labels);
        assert!(same(samples, expected), "{labels}: {samples:?} instead of {expected:?}");
    }
}

/// A small fleet: counters, gauges, a classic histogram, a native one, stale markers, starts.
fn fleet(targets: i64, samples: i64) -> BTreeMap<Labels, Samples> {
    let mut series = BTreeMap::new();
    let start = 1_700_000_000_000;
    for target in 0..targets {
        let instance = format!("host-{target:03}:9100");
        let label = |name: &str, extra: &[(&str, &str)]| {
            let pairs = [("__name__", name), ("instance", instance.as_str()), ("job", "node")];
            Labels::from_pairs(pairs.into_iter().chain(extra.iter().copied()))
        };
        let times: Vec<i64> =
            (0..samples).map(|i| start + target * 777 + i * 15_000 + (i * 7919 + target) % 3).collect();
        series.insert(label("up", &[]), floats(times.iter().map(|&t| (t, 1.0))));
        for cpu in ["0", "1"] {
            let mut counter = floats(
                times
                    .iter()
                    .enumerate()
                    .map(|(i, &t)| (t, (i as f64 * 1.37 + target as f64).floor() / 100.0)),
            );
            counter.set_last_start(start - 5);
            series.insert(label("cpu_seconds_total", &[("cpu", cpu)]), counter);
        }
        for (i, le) in ["0.1", "0.5", "2.5", "10", "+Inf"].iter().enumerate() {
            let mut bucket = floats(
                times
                    .iter()
                    .enumerate()
                    .map(|(t, &time)| (time, ((t as i64 * (3 + target)) + (t * i) as i64 * 2) as f64)),
            );
            if target == 1 {
                bucket.push_float(times[times.len() - 1] + 15_000, f64::from_bits(STALE_NAN));
            }
            series.insert(label("latency_bucket", &[("le", le)]), bucket);
        }
        let mut native = Samples::default();
        for (i, &t) in times.iter().enumerate() {
            native.push_histogram(
                t,
                Arc::new(Histogram {
                    schema: 3,
                    count: i as f64 * 3.0,
                    sum: i as f64 * 0.5,
                    positive_spans: vec![Span { offset: 2, length: 2 }],
                    positive: vec![i as f64, i as f64 * 2.0],
                    ..Histogram::default()
                }),
            );
        }
        native.push_float(times[times.len() - 1] + 15_000, f64::from_bits(STALE_NAN));
        series.insert(label("native", &[]), native);
    }
    series
}

#[test]
fn a_fleet_comes_back() {
    let disk = FaultDisk::new();
    let series = fleet(20, 600);
    let meta = write(&disk, "/d/b1", &series).unwrap();
    let block = Block::open(&disk, Path::new("/d/b1")).unwrap();
    assert_eq!(block.meta(), &meta);
    assert_eq!(meta.series, series.len() as u64);
    check(&block, &series, &[], ALL);
    let start = 1_700_000_000_000;
    for (from, to) in [
        (start, start + 1_000_000),
        (start + 3_000_000, start + 3_100_000),
        (0, 5),
        (start + 9_000_000, i64::MAX),
    ] {
        let range = TimeRange { start: Timestamp(from), end: Timestamp(to) };
        check(&block, &series, &[Matcher::equal("__name__", "latency_bucket")], range);
        let hosts = Matcher::new("instance", MatchOp::Regex, "host-0[01].:9100").unwrap();
        check(&block, &series, &[hosts, Matcher::new("cpu", MatchOp::NotEqual, "1").unwrap()], range);
    }
    assert_eq!(block.label_values("cpu", &[]).unwrap(), ["0", "1"]);
    assert_eq!(
        block.label_names(&[Matcher::equal("__name__", "up")]).unwrap(),
        ["__name__", "instance", "job"]
    );
    let stats = block.stats().unwrap();
    // A target's series share their times: per target and window one group, and a few that end differently.
    assert!(stats.time_groups < 20 * 5, "{stats:?}");
    let per_sample = meta.bytes as f64 / meta.samples as f64;
    assert!(per_sample < 1.0, "{per_sample} bytes a sample");
    assert!(block.verify().unwrap().is_empty());
    // Histogram siblings exist, or the test above shows less than it says.
    assert!(block.section_bytes().len() == 8);
}

/// An object that can only be read by ranges, and counts what is read.
#[derive(Debug)]
struct Remote {
    bytes: Vec<u8>,
    read: Arc<std::sync::Mutex<Vec<usize>>>,
}

impl Source for Remote {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read_range(&self, offset: u64, len: usize) -> Result<bytes::Bytes> {
        self.read.lock().unwrap().push(len);
        let range = self.bytes.get(offset as usize..offset as usize + len);
        range
            .map(bytes::Bytes::copy_from_slice)
            .ok_or_else(|| Error::corrupt(self.path(), offset, "too short"))
    }
    fn path(&self) -> &Path {
        Path::new("bucket/b")
    }
}

#[test]
fn a_block_is_read_by_ranges() {
    let disk = FaultDisk::new();
    let series = fleet(10, 400);
    let meta = write(&disk, "/d/b", &series).unwrap();
    let read = Arc::new(std::sync::Mutex::new(Vec::new()));
    let bytes = disk.read(Path::new("/d/b/data")).unwrap();
    let block = Block::from_source(meta, Box::new(Remote { bytes, read: Arc::clone(&read) })).unwrap();
    check(&block, &series, &[], ALL);
    // The sections are cached now: one series costs its chunks and, once, its times.
    read.lock().unwrap().clear();
    let one = [Matcher::equal("__name__", "up"), Matcher::equal("instance", "host-003:9100")];
    let found = block.select(&one, ALL).unwrap();
    found[0].read(ALL, &mut Samples::default()).unwrap();
    let read = read.lock().unwrap();
    assert!(read.len() <= 4 && read.iter().sum::<usize>() < 1000, "{read:?}");
}

#[test]
fn series_out_of_order_are_refused() {
    let disk = FaultDisk::new();
    let mut writer =
        BlockWriter::create(Arc::new(disk.clone()), Path::new("/d/b"), BlockMeta::new("b", 0)).unwrap();
    let (a, b) = (Labels::from_pairs([("a", "1")]), Labels::from_pairs([("a", "2")]));
    writer.add_series(&b, &floats([(1, 1.0)])).unwrap();
    assert!(writer.add_series(&a, &floats([(1, 1.0)])).is_err());
    assert!(writer.add_series(&b, &floats([(1, 1.0)])).is_err());
    let mut unsorted = floats([(1, 1.0), (2, 2.0)]);
    unsorted.times.reverse();
    assert!(writer.add_series(&Labels::from_pairs([("b", "1")]), &unsorted).is_err());
    writer.abort().unwrap();
    assert!(!disk.exists(Path::new("/d/b.tmp")).unwrap());
}

#[test]
fn an_empty_block_opens() {
    let disk = FaultDisk::new();
    write(&disk, "/d/b", &BTreeMap::new()).unwrap();
    let block = Block::open(&disk, Path::new("/d/b")).unwrap();
    assert!(block.select(&[], ALL).unwrap().is_empty());
    assert!(block.verify().unwrap().is_empty());
}

#[test]
fn verify_finds_every_flipped_byte() {
    let disk = FaultDisk::new();
    let series = fleet(2, 40);
    write(&disk, "/d/b", &series).unwrap();
    for (path, len) in disk.files() {
        let is_meta = path.ends_with(META_FILE);
        for at in 0..len {
            disk.flip(&path, at, 0x10).unwrap();
            let found = Block::open(&disk, Path::new("/d/b")).and_then(|block| block.verify());
            // The meta file's id, level and sources are free text that nothing else can confirm.
            assert!(is_meta || !matches!(&found, Ok(list) if list.is_empty()), "{path:?} byte {at}");
            disk.flip(&path, at, 0x10).unwrap();
        }
    }
    assert!(Block::open(&disk, Path::new("/d/b")).unwrap().verify().unwrap().is_empty());
}

#[test]
fn damage_in_one_chunk_leaves_the_others_readable() {
    let disk = FaultDisk::new();
    let series = fleet(3, 100);
    write(&disk, "/d/b", &series).unwrap();
    // The first chunk lies behind the magic number and the first time group; it belongs to cpu 0 of the first host.
    let block = Block::open(&disk, Path::new("/d/b")).unwrap();
    let first = &block.select(&[], ALL).unwrap()[0];
    let mut whole = Samples::default();
    first.read(ALL, &mut whole).unwrap();
    let mut damaged = 0;
    for at in 8..60 {
        disk.flip(Path::new("/d/b/data"), at, 1).unwrap();
        let block = Block::open(&disk, Path::new("/d/b")).unwrap();
        let mut bad = 0;
        let mut out = Samples::default();
        for one in block.select(&[], ALL).unwrap() {
            match one.read(ALL, &mut out) {
                Ok(()) => assert!(same(&out, &series[&one.labels().unwrap()])),
                Err(err) => {
                    assert!(matches!(err, Error::Corrupt { .. }), "{err}");
                    bad += 1;
                }
            }
        }
        assert!(bad > 0 && bad < series.len());
        damaged += bad;
        disk.flip(Path::new("/d/b/data"), at, 1).unwrap();
    }
    assert!(damaged > 0);
}

#[test]
fn after_a_crash_a_block_is_whole_or_absent() {
    let series = fleet(2, 30);
    let operations = {
        let disk = FaultDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        write(&disk, "/d/b", &series).unwrap();
        disk.operations()
    };
    let mut whole = 0;
    for at in 0..=operations {
        for crash in [Crash::Kill, Crash::PowerLoss { seed: at }, Crash::PowerLoss { seed: at * 31 + 7 }] {
            let disk = FaultDisk::new();
            disk.create_dir_all(Path::new("/d")).unwrap();
            disk.crash_after(at);
            let result = write(&disk, "/d/b", &series);
            disk.restart(crash);
            if disk.exists(Path::new("/d/b")).unwrap() && disk.exists(Path::new("/d/b/meta.json")).unwrap() {
                let block = Block::open(&disk, Path::new("/d/b")).unwrap();
                assert!(block.verify().unwrap().is_empty());
                check(&block, &series, &[], ALL);
                whole += 1;
            } else {
                assert!(result.is_err(), "a finished block was lost");
            }
            // The next attempt cleans up by itself.
            write(&disk, "/d/b2", &series).unwrap();
            check(&Block::open(&disk, Path::new("/d/b2")).unwrap(), &series, &[], ALL);
        }
    }
    assert!(whole >= 3);
}

#[test]
fn a_full_disk_fails_with_an_io_error() {
    let disk = FaultDisk::new();
    disk.set_capacity(Some(1000));
    assert!(matches!(write(&disk, "/d/b", &fleet(3, 100)), Err(Error::Io { .. })));
}

/// The block in `tests/fixtures/v1` was written by the first version of format 1. It must open for as long as the format is
/// read. `WRITE_FIXTURES=1` writes it anew, for a new format version in a folder of its own.
#[test]
fn the_fixture_of_format_1_opens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    let series = fleet(3, 50);
    let disk = RealDisk;
    if std::env::var_os("WRITE_FIXTURES").is_some() {
        let mut writer =
            BlockWriter::create(Arc::new(RealDisk), &folder.join("block"), BlockMeta::new("fixture", 0))
                .unwrap();
        for (labels, samples) in &series {
            writer.add_series(labels, samples).unwrap();
        }
        writer.finish().unwrap();
    }
    let block = Block::open(&disk, &folder.join("block")).unwrap();
    assert_eq!(block.meta().id, "fixture");
    assert!(block.verify().unwrap().is_empty());
    check(&block, &series, &[], ALL);
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-1000i32..1000).prop_map(|v| f64::from(v) / 10.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(f64::from_bits(STALE_NAN)),
    ]
}

fn one_series() -> impl Strategy<Value = Samples> {
    let point = (1i64..4_000_000, value(), 0u8..12, 0i64..4);
    prop::collection::vec(point, 0..40).prop_map(|points| {
        let mut time = 1_700_000_000_000;
        let mut samples = Samples::default();
        for (step, value, kind, start) in points {
            time += step;
            if kind == 0 {
                let histogram =
                    Histogram { count: f64::from(kind), sum: start as f64, ..Histogram::default() };
                samples.push_histogram(time, Arc::new(histogram));
            } else {
                samples.push_float(time, value);
            }
            if start == 1 {
                samples.set_last_start(time - 7);
            }
        }
        samples
    })
}

fn any_labels() -> impl Strategy<Value = Labels> {
    let le = prop_oneof![Just(""), Just("0.5"), Just("1"), Just("10"), Just("2"), Just("+Inf"), Just("x")];
    ("[ab](_bucket)?", "[ab]{0,2}", le, "[a-d]{0,1}").prop_map(|(name, a, le, z)| {
        Labels::from_pairs([("__name__", name), ("a", a), ("le", le.to_owned()), ("z", z)])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_block_is_a_map(
        series in prop::collection::btree_map(any_labels(), one_series(), 0..30),
        shared in one_series(),
        ranges in prop::collection::vec((0i64..100_000_000, 0i64..100_000_000), 0..4),
    ) {
        // Every other series has the same times, so that groups and siblings come to be.
        let series: BTreeMap<Labels, Samples> = series
            .into_iter()
            .enumerate()
            .map(|(i, (labels, samples))| {
                let same = floats(shared.times.iter().enumerate().map(|(k, &t)| (t, (i * k) as f64)));
                (labels, if i % 2 == 0 { same } else { samples })
            })
            .collect();
        let disk = FaultDisk::new();
        write(&disk, "/d/b", &series).unwrap();
        let block = Block::open(&disk, Path::new("/d/b")).unwrap();
        prop_assert!(block.verify().unwrap().is_empty());
        check(&block, &series, &[], ALL);
        for (start, len) in ranges {
            let start = 1_700_000_000_000 + start;
            let range = TimeRange { start: Timestamp(start), end: Timestamp(start + len) };
            check(&block, &series, &[Matcher::new("le", MatchOp::Regex, ".+").unwrap()], range);
        }
    }

    #[test]
    fn hostile_data_files(
        targets in 1i64..3,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        // With checksums that fit, so that the decoders see the damage.
        let disk = FaultDisk::new();
        write(&disk, "/d/b", &fleet(targets, 20)).unwrap();
        let meta = Block::open(&disk, Path::new("/d/b")).unwrap().meta().clone();
        let mut bytes = disk.read(Path::new("/d/b/data")).unwrap();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
        }
        if let Ok(block) = Block::open_unchecked(meta, bytes) {
            let mut out = Samples::default();
            for one in block.select(&[], ALL).unwrap_or_default() {
                if one.labels().is_ok() && one.read(ALL, &mut out).is_ok() {
                    prop_assert!(out.times.is_sorted_by(|a, b| a < b));
                }
            }
        }
    }
}
