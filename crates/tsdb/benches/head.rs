//! What does the head cost at a million series: CPU an appended sample, resident memory a series, time to restart, time to
//! decode? 10,000 targets × 100 series with 9 labels; 30 % constants, 50 % counters, 20 % gauges; 15 s; 2,000 samples a
//! batch; durability `always`; seed 1. Arguments: series (default 1,000,000) and rounds (default 40).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops where it cannot go on"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use model::seam::{Select, SelectHints};
use model::{Batch, Budget, Clock, Matcher, Samples, SeriesRef, TenantId, Timestamp};
use prometheus_client::registry::Registry;
use tsdb::{Config, Db, Metrics, RealDisk};

const PER_TARGET: usize = 100;
const BATCH: usize = 2000;

struct BenchClock(AtomicI64);
impl Clock for BenchClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// CPU seconds of the process.
fn cpu() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

/// Resident bytes that are not mapped files.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn add_labels(batch: &mut Batch, series: usize) -> u32 {
    let (target, metric) = (series / PER_TARGET, series % PER_TARGET);
    let name = format!("node_some_metric_{:02}_total", metric / 4);
    let instance = format!("server-{target:05}.rack{:03}.example.net:9100", target / 40);
    let rack = format!("rack{:03}", target / 40);
    batch.add_series_sorted([
        ("__name__", name.as_str()),
        ("cluster", "production-1"),
        ("cpu", ["0", "1", "2", "3"][metric % 4]),
        ("datacenter", ["ams1", "fra2", "lon1"][target % 3]),
        ("environment", "production"),
        ("instance", instance.as_str()),
        ("job", "node"),
        ("mode", ["idle", "user", "system", "iowait"][(metric / 2) % 4]),
        ("rack", rack.as_str()),
    ])
}

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let series = args.next().unwrap_or(1_000_000) / BATCH * BATCH;
    let rounds = args.next().unwrap_or(40);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(BenchClock(AtomicI64::new(1_700_000_000_000)));
    let open = || {
        let config = Config { path: dir.path().to_owned(), ..Config::default() };
        let metrics = Metrics::new(&mut Registry::default());
        Db::open(config, Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(RealDisk), metrics).unwrap()
    };
    let tenant = TenantId::default();
    let mut values = vec![0.0f64; series];
    let mut refs: Vec<SeriesRef> = vec![SeriesRef(0); series];
    let mut seed = 1u64;
    let before = resident();
    let db = open();
    let mut batch = Batch::new();
    let mut by_kind = [(0.0, 0u64); 3];
    let mut seal = 0.0;
    for round in 0..rounds {
        let now = clock.0.fetch_add(15_000, Ordering::Relaxed) + 15_000;
        // The first round creates; then one in two comes by labels.
        let kind = if round == 0 { 0 } else { 1 + round % 2 };
        for first in (0..series).step_by(BATCH) {
            batch.clear();
            for at in first..first + BATCH {
                let id = if kind == 2 { batch.add_series_ref(refs[at]) } else { add_labels(&mut batch, at) };
                let r = random(&mut seed);
                values[at] = match at % 10 {
                    0..3 => 7.0,
                    3..8 => values[at] + (r % 1000) as f64,
                    _ => (r % 10_000) as f64 / 100.0,
                };
                let jitter = (at / PER_TARGET * 7919 % 15_000) as i64;
                batch.push_float(id, now - 15_000 + jitter, values[at]);
            }
            let started = cpu();
            let answer = db.append(&tenant, &batch).unwrap();
            by_kind[kind].0 += cpu() - started;
            by_kind[kind].1 += BATCH as u64;
            assert_eq!(answer.accepted, BATCH);
            for (at, series) in answer.refs.iter().enumerate() {
                refs[first + at] = series.unwrap();
            }
        }
        let started = cpu();
        db.maintain(Timestamp(now)).unwrap();
        seal += cpu() - started;
        if round % 8 == 7 || round + 1 == rounds {
            println!("round {round}: {:.0} resident bytes a series", (resident() - before) / series as f64);
        }
    }
    for (kind, (seconds, samples)) in ["create", "by labels", "by reference"].iter().zip(by_kind) {
        println!("append {kind}: {:.0} ns CPU a sample", seconds * 1e9 / samples.max(1) as f64);
    }
    println!("seals and maintenance: {:.0} ns CPU a sample", seal * 1e9 / (series * rounds) as f64);
    for count in db.stats(&tenant, 1).unwrap().memory_bytes {
        println!("memory, {}: {:.0} bytes a series", count.name, count.value as f64 / series as f64);
    }
    let stats = db.stats(&tenant, 1).unwrap();
    println!("sealed: {:.2} bytes a sample", stats.sealed_bytes as f64 / (series * rounds) as f64);

    let select = Select {
        matchers: vec![Matcher::equal("cpu", "1"), Matcher::equal("mode", "idle")],
        start: Timestamp(0),
        end: Timestamp::MAX,
        hints: SelectHints::default(),
    };
    let started = (Instant::now(), cpu());
    let found = db.select(&tenant, &[select], &Budget::unlimited()).unwrap();
    let selected = cpu() - started.1;
    let (mut out, mut samples) = (Samples::default(), 0);
    for at in 0..found[0].series.len() {
        found[0].series.read(at, &mut out).unwrap();
        samples += out.len();
    }
    let (count, decoded) = (found[0].series.len(), cpu() - started.1 - selected);
    println!(
        "select {count} series: {:.0} ns a series; read: {:.1} ns a sample",
        selected * 1e9 / count.max(1) as f64,
        decoded * 1e9 / samples.max(1) as f64
    );
    drop(found);
    drop(db);
    // Nothing is sealed at the end: this is what a kill leaves. Opening changes nothing but a torn end.
    for _ in 0..3 {
        let started = (Instant::now(), cpu());
        let db = open();
        println!(
            "restart: {:.2} s, {:.2} s CPU: {}",
            started.0.elapsed().as_secs_f64(),
            cpu() - started.1,
            db.recovered()
        );
    }
}
