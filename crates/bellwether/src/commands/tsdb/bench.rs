//! `tsdb bench`: what storage alone costs on this machine and disk.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use clap::{Arg, ArgMatches, Command, value_parser};
use model::seam::{Select, SelectHints};
use model::{Batch, Budget, Clock, Samples, SeriesRef, TenantId, Timestamp};
use prometheus_client::registry::Registry;
use tsdb::{Config, Db, Metrics, RealDisk};

use crate::commands::say;

/// Series of one target.
const PER_TARGET: usize = 100;
/// Targets of one batch.
const TARGETS: usize = 20;

pub(super) fn command() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(value_parser!(usize)).help(help)
    };
    Command::new("bench")
        .about("Write, sync, compress, read and reopen samples in a new folder; says what that costs here")
        .args([
            number("series", "100000", "Series, 100 a target"),
            number("rounds", "60", "Samples of each series, 15 s apart"),
            Arg::new("dir")
                .long("dir")
                .default_value("bench-data")
                .value_name("NEW-DIR")
                .value_parser(value_parser!(PathBuf))
                .help("A folder that does not exist, on the disk to be measured; it is removed in the end"),
        ])
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A clock that goes with the samples.
struct Fixed(std::sync::atomic::AtomicI64);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let number = |name: &str| matches.get_one::<usize>(name).copied().context("a number is required");
    let (series, rounds) = (number("series")?.next_multiple_of(PER_TARGET), number("rounds")?.max(2));
    let dir = matches.get_one::<PathBuf>("dir").context("a folder is required")?;
    std::fs::create_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let outcome = measure(series, rounds, dir);
    std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    outcome?;
    Ok(ExitCode::SUCCESS)
}

fn measure(series: usize, rounds: usize, dir: &std::path::Path) -> anyhow::Result<()> {
    let start = 1_700_000_000_000i64;
    let clock = Arc::new(Fixed(start.into()));
    let open = || {
        let config = Config { path: dir.to_owned(), ..Config::default() };
        let metrics = Metrics::new(&mut Registry::default());
        Db::open(config, Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(RealDisk), metrics)
    };
    let tenant = TenantId::default();
    let db = open()?;
    let mut refs: Vec<SeriesRef> = Vec::with_capacity(series);
    let mut values = vec![0.0f64; series];
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut batch = Batch::new();
    let (mut first_cpu, from) = (0.0, Instant::now());
    let begin = cpu();
    for round in 0..rounds {
        let time = start + round as i64 * 15_000;
        clock.0.store(time, std::sync::atomic::Ordering::Relaxed);
        for part in (0..series).step_by(PER_TARGET * TARGETS) {
            batch.clear();
            for (at, value) in values.iter_mut().enumerate().skip(part).take(PER_TARGET * TARGETS) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                *value = match at % 10 {
                    0..3 => (at * 4096) as f64,
                    3..8 => *value + (random % 1000) as f64,
                    _ => (random % 10_000) as f64 / 100.0,
                };
                let index = match refs.get(at) {
                    Some(known) => batch.add_series_ref(*known),
                    None => {
                        let (target, metric) = (at / PER_TARGET, at % PER_TARGET);
                        let instance = format!("server-{target:05}.example.net:9100");
                        let name = format!("node_bench_{metric:02}_total");
                        batch.add_series_sorted([
                            ("__name__", name.as_str()),
                            ("datacenter", ["ams1", "fra2", "lon1"][target % 3]),
                            ("instance", instance.as_str()),
                            ("job", "node"),
                        ])
                    }
                };
                batch.push_float(index, time, *value);
            }
            let appended = db.append(&tenant, &batch)?;
            if round == 0 {
                refs.extend(appended.refs.into_iter().flatten());
            }
        }
        if round == 0 {
            first_cpu = cpu() - begin;
        }
    }
    let samples = (series * (rounds - 1)) as f64;
    let append_cpu = cpu() - begin - first_cpu;
    say(format_args!(
        "{series} series, {rounds} rounds, durability always, {:.1} s",
        from.elapsed().as_secs_f64()
    ));
    say(format_args!(
        "append, synced: {:.0} ns CPU a sample; a new series: {:.0} ns",
        append_cpu / samples * 1e9,
        first_cpu / series as f64 * 1e9
    ));
    // Nothing was sealed at the end: this is what a kill leaves.
    drop(db);
    let (begin, from) = (cpu(), Instant::now());
    let db = open()?;
    say(format_args!(
        "open as after a kill: {:.3} s, {:.3} s CPU, {} samples from the log",
        from.elapsed().as_secs_f64(),
        cpu() - begin,
        db.recovered().samples
    ));
    let begin = cpu();
    db.flush()?;
    say(format_args!("seal: {:.0} ns CPU a sample", (cpu() - begin) / (series * rounds) as f64 * 1e9));
    drop(db);
    let bytes: u64 = std::fs::read_dir(dir.join(tenant.as_str()).join("sealed"))?
        .map(|entry| entry.and_then(|e| e.metadata()).map(|m| m.len()))
        .sum::<Result<u64, _>>()?;
    say(format_args!("sealed: {:.3} bytes a sample", bytes as f64 / (series * rounds) as f64));
    let (begin, from) = (cpu(), Instant::now());
    let db = open()?;
    say(format_args!(
        "open when all is sealed: {:.3} s, {:.3} s CPU",
        from.elapsed().as_secs_f64(),
        cpu() - begin
    ));
    let select = Select {
        matchers: Vec::new(),
        start: Timestamp::MIN,
        end: Timestamp::MAX,
        hints: SelectHints::default(),
    };
    let begin = cpu();
    let selected = db.select(&tenant, &[select], &Budget::unlimited())?;
    let set = &selected.first().context("one selector has one answer")?.series;
    let (mut out, mut found) = (Samples::default(), 0);
    for at in 0..set.len() {
        set.read(at, &mut out)?;
        found += out.len();
    }
    anyhow::ensure!(found == series * rounds, "{found} samples were read of {}", series * rounds);
    say(format_args!("read: {:.1} ns CPU a sample, look-up included", (cpu() - begin) / found as f64 * 1e9));
    Ok(())
}
