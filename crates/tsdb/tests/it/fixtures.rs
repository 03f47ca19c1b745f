//! Folders that released formats wrote still open and say the same: `tests/fixtures/<format>/folder/`.
//!
//! A new format gets a folder of its own: `TSDB_WRITE_FIXTURE=v2 cargo test -p tsdb --test it fixtures`; existing ones never change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::duration::PromDuration;
use model::seam::{Select, SelectHints, TimeRange};
use model::{Batch, Budget, Clock, Matcher, Samples, TenantId, Timestamp};
use tsdb::config::TierConfig;
use tsdb::{Config, Db, Metrics, RealDisk};

use crate::support::labels;

const START: i64 = 1_699_920_000_000;
const MINUTE: i64 = 60_000;

struct Fixed(AtomicI64);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

fn open(path: &Path, clock: &Arc<Fixed>) -> Arc<Db> {
    let config = Config {
        path: path.to_owned(),
        min_free_bytes: 0,
        out_of_order_window: PromDuration(10 * MINUTE),
        tiers: vec![TierConfig { resolution: PromDuration(60 * MINUTE), ..TierConfig::default() }],
        ..Config::default()
    };
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    Db::open(config, Arc::clone(clock) as Arc<dyn Clock>, Arc::new(RealDisk), metrics).unwrap()
}

/// A day and a half: blocks, merged blocks, a tier, a deletion, sealed files, a log; histograms, markers, an exemplar, metadata.
fn write(path: &Path) {
    let clock = Arc::new(Fixed(AtomicI64::new(START)));
    let db = open(path, &clock);
    let tenant = TenantId::default();
    for round in 0..180i64 {
        let time = START + round * 12 * MINUTE;
        clock.0.store(time, Ordering::Relaxed);
        let mut batch = Batch::new();
        for (name, value) in [
            ("up{instance=1,job=x}", 1.0),
            ("total{instance=1,job=x}", (round % 50) as f64),
            ("ratio{instance=2,job=x}", (round as f64).sqrt() / 7.0),
            ("bucket{instance=1,job=x,le=1}", round as f64),
            ("bucket{instance=1,job=x,le=+Inf}", (round * 2) as f64),
        ] {
            let series = batch.add_series(&labels(name));
            batch.push_float(
                series,
                time,
                if round == 90 { f64::from_bits(model::STALE_NAN) } else { value },
            );
        }
        let series = batch.add_series(&labels("native{instance=2,job=x}"));
        let histogram = model::Histogram {
            count: (round + 3) as f64,
            sum: round as f64,
            positive_spans: vec![model::histogram::Span { offset: 1, length: 2 }],
            positive: vec![3.0, round as f64],
            ..model::Histogram::default()
        };
        batch.push_histogram(series, time, Arc::new(histogram));
        batch.push_start(series, time, START - 5);
        if round == 179 {
            let exemplar = model::Exemplar {
                labels: model::Labels::from_pairs([("trace_id", "7")]),
                value: 0.5,
                at: Timestamp(time),
            };
            batch.push_exemplar(0, exemplar);
            batch.push_metadata(
                "up",
                model::Metadata { help: "Whether".into(), ..model::Metadata::default() },
            );
        }
        assert_eq!(db.append(&tenant, &batch).unwrap().rejected_count, 0);
        if round % 10 == 4 {
            db.maintain(Timestamp(time)).unwrap();
        }
    }
    let range = TimeRange { start: Timestamp(START + 60 * MINUTE), end: Timestamp(START + 120 * MINUTE) };
    db.delete_series(&tenant, &[vec![Matcher::equal("__name__", "ratio")]], range).unwrap();
}

/// Everything that a folder says, as text.
fn read(path: &Path) -> String {
    let clock = Arc::new(Fixed(AtomicI64::new(START + 180 * 12 * MINUTE)));
    let db = open(path, &clock);
    let tenant = TenantId::default();
    assert!(db.recovered().quarantined.is_empty(), "{:?}", db.recovered());
    let mut lines = Vec::new();
    for (function, hour) in [("", 0), ("max_over_time", 60 * MINUTE)] {
        let hints = SelectHints { function, range_ms: hour, step_ms: hour, limit: 0 };
        let select = Select {
            matchers: Vec::new(),
            start: Timestamp(START),
            end: Timestamp(START + 2400 * MINUTE),
            hints,
        };
        let selected = db.select(&tenant, &[select], &Budget::unlimited()).unwrap();
        let set = &selected[0].series;
        let mut out = Samples::default();
        for at in 0..set.len() {
            set.read(at, &mut out).unwrap();
            for i in (0..out.len()).step_by(9) {
                let value = match out.histogram(i) {
                    Some(h) => format!("count {} sum {} {:?}", h.count, h.sum, h.positive),
                    None => format!("{:x}", out.values[i].to_bits()),
                };
                lines.push(format!(
                    "{function} {} {} {value} {:?}",
                    set.labels(at),
                    out.times[i],
                    out.start(i)
                ));
            }
        }
    }
    lines.sort();
    let all = TimeRange { start: Timestamp::MIN, end: Timestamp::MAX };
    lines.push(format!("{:?}", db.exemplars(&tenant, &[], all)));
    lines.push(format!("{:?}", db.metadata(&tenant, None, 0)));
    lines.join("\n") + "\n"
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_name() != ".lock" {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

#[test]
fn folders_of_released_formats_open() {
    let fixtures = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    if let Some(format) = std::env::var_os("TSDB_WRITE_FIXTURE") {
        let folder = fixtures.join(format).join("folder");
        assert!(!folder.exists(), "{} exists; a released format does not change", folder.display());
        let written = tempfile::tempdir().unwrap();
        write(written.path());
        copy(written.path(), &folder.join("data"));
        std::fs::write(folder.join("expected.txt"), read(written.path())).unwrap();
    }
    let mut formats = 0;
    for entry in std::fs::read_dir(&fixtures).unwrap().map(Result::unwrap) {
        let folder = entry.path().join("folder");
        let scratch = tempfile::tempdir().unwrap();
        copy(&folder.join("data"), scratch.path());
        let expected = std::fs::read_to_string(folder.join("expected.txt")).unwrap();
        assert_eq!(read(scratch.path()), expected, "{}", entry.path().display());
        // Opened again after this version has written to it.
        assert_eq!(read(scratch.path()), expected, "{}", entry.path().display());
        formats += 1;
    }
    assert!(formats > 0);
    // What today's code writes says the same as the newest fixture.
    let written = tempfile::tempdir().unwrap();
    write(written.path());
    let newest = std::fs::read_dir(&fixtures).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    assert_eq!(read(written.path()), std::fs::read_to_string(newest.join("folder/expected.txt")).unwrap());
}
