//! A database in memory, and short ways to write and read.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::duration::PromDuration;
use model::seam::{Select, SelectHints, TimeRange};
use model::{Appended, Batch, Budget, Clock, Labels, Matcher, Samples, TenantId, Timestamp};
use prometheus_client::registry::Registry;
use tsdb::disk::FaultDisk;
use tsdb::{Config, Db, Metrics};

/// A clock that a test sets.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// A disk, a clock, settings: what stays when a database is opened again.
pub(crate) struct World {
    pub(crate) disk: FaultDisk,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) config: Config,
    pub(crate) tenant: TenantId,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut config = Config { path: "data".into(), min_free_bytes: 0, ..Config::default() };
        config.wal.segment_bytes = 16 << 10;
        // Small enough for every test to come by it.
        config.sealed_merge_files = 2;
        config.disk_retry = PromDuration(0);
        Self {
            disk: FaultDisk::new(),
            clock: Arc::new(TestClock(AtomicI64::new(1_700_000_000_000))),
            config,
            tenant: TenantId::default(),
        }
    }

    pub(crate) fn try_open(&self) -> tsdb::Result<Arc<Db>> {
        let metrics = Metrics::new(&mut Registry::default());
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Db::open(self.config.clone(), clock, Arc::new(self.disk.clone()), metrics)
    }

    pub(crate) fn open(&self) -> Arc<Db> {
        self.try_open().unwrap()
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().ms()
    }

    /// Appends `(series text, time, value)`.
    pub(crate) fn append(&self, db: &Db, samples: &[(&str, i64, f64)]) -> tsdb::Result<Appended> {
        db.append(&self.tenant, &batch(samples))
    }

    /// Every series with its samples as `(time, value bits)`.
    pub(crate) fn read(&self, db: &Db, matchers: Vec<Matcher>) -> Vec<(String, Vec<(i64, u64)>)> {
        self.read_range(db, matchers, i64::MIN, i64::MAX)
    }

    pub(crate) fn read_range(
        &self,
        db: &Db,
        matchers: Vec<Matcher>,
        start: i64,
        end: i64,
    ) -> Vec<(String, Vec<(i64, u64)>)> {
        let select =
            Select { matchers, start: Timestamp(start), end: Timestamp(end), hints: SelectHints::default() };
        let selected = db.select(&self.tenant, &[select], &Budget::unlimited()).unwrap();
        let set = &selected[0].series;
        let mut out = Samples::default();
        let mut found: Vec<_> = (0..set.len())
            .map(|at| {
                set.read(at, &mut out).unwrap();
                let samples = out.times.iter().zip(&out.values);
                let samples: Vec<_> = samples
                    .filter(|(t, _)| **t > start && **t <= end)
                    .map(|(&t, v)| (t, v.to_bits()))
                    .collect();
                (set.labels(at).to_string(), samples)
            })
            .filter(|(_, samples)| !samples.is_empty())
            .collect();
        found.sort();
        found
    }
}

/// Reads `name{a="b"}` without escapes.
pub(crate) fn labels(text: &str) -> Labels {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let pairs = rest.trim_end_matches('}').split(',').filter(|p| !p.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.trim().to_owned(), value.trim().trim_matches('"').to_owned())
    });
    Labels::from_pairs(pairs.chain([("__name__".to_owned(), name.to_owned())]))
}

/// A batch of `(series text, time, value)`.
pub(crate) fn batch(samples: &[(&str, i64, f64)]) -> Batch {
    let mut batch = Batch::new();
    let mut known: Vec<(&str, u32)> = Vec::new();
    for &(text, time, value) in samples {
        let series = match known.iter().find(|(t, _)| *t == text) {
            Some((_, series)) => *series,
            None => {
                let series = batch.add_series(&labels(text));
                known.push((text, series));
                series
            }
        };
        batch.push_float(series, time, value);
    }
    batch
}

/// All time.
pub(crate) const ALL: TimeRange = TimeRange { start: Timestamp::MIN, end: Timestamp::MAX };

/// Samples with their bits.
pub(crate) fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
    samples.iter().map(|&(t, v)| (t, v.to_bits())).collect()
}
