//! The workload of ingest: the same fleet to each program, then a kill, a restart, and what it all takes on disk.
//!
//! 1. Start. Two rounds create the series (not counted), the others are the load: CPU seconds of the server, resident memory.
//! 2. A few rounds more, with a `kill -9` in the middle; what was acknowledged is known.
//! 3. Start again: how long until a query over all hosts is answered in full; how many acknowledged samples are missing.
//! 4. One sample hours later makes the window complete; when the files stop changing, bytes a sample.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::encode::{HOSTS_PER_REQUEST, Load, Version};
use crate::fleet::{Fleet, INTERVAL_MS, PER_HOST, Shape};
use crate::http::Client;
use crate::peer::{Kind, Server, disk_bytes};
use crate::wait;

/// What is run.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) hosts: usize,
    /// Scrapes of each host, those that create the series and those around the kill included.
    pub(crate) rounds: usize,
    pub(crate) version: Version,
    pub(crate) connections: usize,
    /// Pause between rounds; 0 sends as fast as the server answers.
    pub(crate) pause: Duration,
    pub(crate) kill: bool,
    pub(crate) settle: bool,
    pub(crate) scratch: PathBuf,
    pub(crate) now_ms: i64,
}

/// Rounds that create the series.
const WARM_UP: usize = 2;
/// Rounds around the kill.
const KILL_ROUNDS: usize = 6;
/// Rounds by which a connection may be ahead of another.
const MAX_AHEAD: usize = 20;
/// Length of the windows that blocks are cut by, in every program that has them.
const WINDOW_MS: i64 = 2 * 3_600_000;

impl Workload {
    pub(crate) fn series(&self) -> usize {
        self.hosts * PER_HOST
    }

    /// Rounds of the measured load.
    pub(crate) fn load_rounds(&self) -> usize {
        self.rounds - WARM_UP - if self.kill { KILL_ROUNDS } else { 0 }
    }

    fn duration_ms(&self) -> i64 {
        self.rounds as i64 * INTERVAL_MS
    }

    /// When the first scrape was: early enough that the load's last window can be complete before now.
    pub(crate) fn start_ms(&self) -> i64 {
        let latest = self.now_ms - self.duration_ms() - 2 * WINDOW_MS;
        latest.div_euclid(WINDOW_MS) * WINDOW_MS
    }

    pub(crate) fn end_ms(&self) -> i64 {
        self.start_ms() + self.duration_ms()
    }
}

/// What was measured of one program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) version: String,
    pub(crate) samples: u64,
    pub(crate) load_cpu: f64,
    pub(crate) load_wall: f64,
    pub(crate) warm_up_cpu: f64,
    pub(crate) refused: u64,
    pub(crate) resident: u64,
    pub(crate) anonymous: u64,
    pub(crate) peak_in_load: u64,
    pub(crate) restart_wall: Option<f64>,
    pub(crate) restart_cpu: Option<f64>,
    pub(crate) restart_peak: Option<u64>,
    pub(crate) lost: Option<u64>,
    pub(crate) acknowledged: u64,
    pub(crate) settle_cpu: Option<f64>,
    pub(crate) settle_base: Option<u64>,
    pub(crate) settle_peak: Option<u64>,
    pub(crate) disk: Option<u64>,
    pub(crate) stored: Option<u64>,
    pub(crate) note: String,
}

/// Runs the workload against one program.
pub(crate) fn run(work: &Workload, load: &Load, kind: Kind, program: &Path) -> Result<Outcome> {
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(&work.scratch)?;
    let data = scratch.path().join("data");
    let outcome = measure(work, load, kind, program, &data, scratch.path());
    if outcome.is_err() {
        // The log of a program that failed says why.
        let log =
            std::fs::read_to_string(scratch.path().join(format!("{}.log", kind.name()))).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(15).collect();
        crate::say(&format!("the log's end, newest first:\n  {}", tail.join("\n  ")));
    }
    outcome
}

fn measure(
    work: &Workload,
    load: &Load,
    kind: Kind,
    program: &Path,
    data: &Path,
    scratch: &Path,
) -> Result<Outcome> {
    let mut outcome = Outcome { version: kind.version(program), ..Outcome::default() };
    let mut server = Server::start(kind, program, data, scratch)?;
    server.wait_ready()?;
    let acknowledged: Vec<AtomicU32> = (0..load.requests_per_round()).map(|_| AtomicU32::new(0)).collect();

    let cpu = server.cpu()?;
    send(work, load, &server, 0..WARM_UP, &acknowledged, &|_| {})?;
    outcome.warm_up_cpu = server.cpu()? - cpu;
    let cpu = server.cpu()?;
    let started = Instant::now();
    let end = WARM_UP + work.load_rounds();
    server.forget_peak()?;
    outcome.refused = send(work, load, &server, WARM_UP..end, &acknowledged, &|_| {})?;
    outcome.load_wall = started.elapsed().as_secs_f64();
    outcome.load_cpu = server.cpu()? - cpu;
    outcome.samples = (work.series() * work.load_rounds()) as u64;
    outcome.peak_in_load = server.memory()?.peak;
    // What is still being written counts too; an idle server adds next to nothing.
    let idle = idle(&server)?;
    outcome.load_cpu += idle;
    let memory = server.memory()?;
    outcome.resident = memory.resident;
    outcome.anonymous = memory.anonymous;

    if work.kill {
        let sent = AtomicU64::new(0);
        let half = (load.requests_per_round() * KILL_ROUNDS / 2) as u64;
        std::thread::scope(|scope| -> Result<()> {
            let server = &server;
            let sender = scope.spawn(|| {
                let note = |_: usize| {
                    sent.fetch_add(1, Ordering::Relaxed);
                };
                // It ends with an error when the server dies.
                send(work, load, server, end..work.rounds, &acknowledged, &note)
            });
            while sent.load(Ordering::Relaxed) < half && !sender.is_finished() {
                wait(Duration::from_millis(1));
            }
            // Requests are on their way still.
            server.signal_kill()?;
            drop(sender.join());
            Ok(())
        })?;
        server.kill()?;
        server = Server::start(kind, program, data, scratch)?;
        let until = work.end_ms();
        let metric = Fleet::new(work.shape, work.hosts, 0, 0).metric(40);
        let hosts = work.hosts as f64;
        let query = format!("count(count by (instance) (last_over_time({metric}[{}s])))", span_s(work));
        let waited = server.wait_until("answering", |client| Ok(client.query(&query, until)? >= hosts))?;
        outcome.restart_wall = Some(waited.as_secs_f64());
        outcome.restart_cpu = Some(server.cpu()?);
        outcome.restart_peak = Some(server.memory()?.peak);
        let (lost, stored) = count_lost(work, &mut server, &acknowledged)?;
        outcome.lost = Some(lost);
        outcome.stored = Some(stored);
    }
    outcome.acknowledged = acknowledged.iter().map(|a| u64::from(a.load(Ordering::Relaxed))).sum::<u64>()
        * (HOSTS_PER_REQUEST * PER_HOST) as u64;

    if work.settle {
        wait(Duration::from_secs(2));
        let base = server.memory()?;
        // An orderly restart puts everything on disk, apart from the sample that follows.
        server.stop()?;
        server = Server::start(kind, program, data, scratch)?;
        server.wait_ready()?;
        let cpu = server.cpu()?;
        server.forget_peak()?;
        complete_window(work, &server)?;
        let bytes = settled(&server, data)?;
        outcome.settle_cpu = Some(server.cpu()? - cpu);
        outcome.settle_base = Some(base.resident);
        outcome.settle_peak = Some(server.memory()?.peak);
        outcome.disk = Some(bytes);
        if outcome.stored.is_none() {
            outcome.stored = Some(count_lost(work, &mut server, &acknowledged)?.1);
        }
    }
    server.stop()?;
    Ok(outcome)
}

fn span_s(work: &Workload) -> i64 {
    (work.duration_ms() + INTERVAL_MS) / 1000
}

/// Says in the end that a connection waits for nobody and nobody for it.
struct Ended<'a>(&'a AtomicUsize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(usize::MAX / 2, Ordering::Relaxed);
    }
}

/// Sends rounds over all connections; each request keeps to its connection, so that no series goes backwards.
fn send(
    work: &Workload,
    load: &Load,
    server: &Server,
    rounds: std::ops::Range<usize>,
    acknowledged: &[AtomicU32],
    sent: &(dyn Fn(usize) + Sync),
) -> Result<u64> {
    let refused = AtomicU64::new(0);
    // How far each connection is; one that has ended, in whatever way, is as far as can be.
    let progress: Vec<AtomicUsize> = (0..work.connections).map(|_| AtomicUsize::new(rounds.start)).collect();
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..work.connections)
            .map(|connection| {
                let (rounds, refused, progress) = (rounds.clone(), &refused, &progress);
                let ended = Ended(&progress[connection]);
                scope.spawn(move || -> Result<()> {
                    let own = ended.0;
                    let mut client = Client::new(&server.address);
                    let mut reader = load.reader()?;
                    let mut body = Vec::new();
                    let kind = match work.version {
                        Version::One => "application/x-protobuf",
                        Version::Two => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                    };
                    let number = if work.version == Version::One { "0.1.0" } else { "2.0.0" };
                    let headers = [
                        ("Content-Type", kind),
                        ("Content-Encoding", "snappy"),
                        ("X-Prometheus-Remote-Write-Version", number),
                    ];
                    for round in rounds {
                        own.store(round, Ordering::Relaxed);
                        // Not so far ahead of the others that their samples would be too old.
                        while progress.iter().any(|p| p.load(Ordering::Relaxed) + MAX_AHEAD < round) {
                            wait(Duration::from_millis(1));
                        }
                        for request in (connection..load.requests_per_round()).step_by(work.connections) {
                            reader.read(round, request, &mut body)?;
                            loop {
                                let (status, answer) =
                                    client.send("POST", "/api/v1/write", &headers, &body)?;
                                match status {
                                    200..300 => break,
                                    429 | 503 => {
                                        refused.fetch_add(1, Ordering::Relaxed);
                                        wait(Duration::from_millis(50));
                                    }
                                    _ => bail!("status {status}: {}", String::from_utf8_lossy(&answer)),
                                }
                            }
                            acknowledged[request].fetch_add(1, Ordering::Relaxed);
                            sent(request);
                        }
                        if !work.pause.is_zero() {
                            wait(work.pause);
                        }
                    }
                    drop(ended);
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|w| w.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a sender panicked"))))
            .collect()
    });
    outcomes.into_iter().collect::<Result<Vec<()>>>()?;
    Ok(refused.into_inner())
}

/// How many acknowledged samples are missing, and how many are there.
fn count_lost(work: &Workload, server: &mut Server, acknowledged: &[AtomicU32]) -> Result<(u64, u64)> {
    let mut client = Client::new(&server.address);
    let fleet = Fleet::new(work.shape, work.hosts, 0, 0);
    let mut metrics: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for at in 0..PER_HOST {
        *metrics.entry(fleet.metric(at)).or_default() += 1;
    }
    let hosts_acknowledged: u64 = (0..work.hosts)
        .map(|host| u64::from(acknowledged[host / HOSTS_PER_REQUEST].load(Ordering::Relaxed)))
        .sum();
    let (mut lost, mut stored) = (0, 0);
    for (metric, series) in metrics {
        let query = format!("sum(count_over_time({metric}[{}s]))", span_s(work));
        let found = client.query(&query, work.end_ms()).with_context(|| format!("count {metric}"))? as u64;
        lost += (hosts_acknowledged * series).saturating_sub(found);
        stored += found;
    }
    Ok((lost, stored))
}

/// Sends one sample that is hours after the load, so that its windows are complete.
fn complete_window(work: &Workload, server: &Server) -> Result<()> {
    let at = (work.end_ms() + WINDOW_MS).div_euclid(WINDOW_MS) * WINDOW_MS + 3_660_000;
    let at = at.min(work.now_ms);
    let mut series = Vec::new();
    crate::encode::one_sample("bench_end", at, &mut series);
    let body = snap::raw::Encoder::new().compress_vec(&series)?;
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ];
    let (status, answer) = Client::new(&server.address).send("POST", "/api/v1/write", &headers, &body)?;
    if status >= 300 {
        bail!("the last sample was refused with status {status}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Waits until the files of a server do not change for a while; their bytes.
fn settled(server: &Server, data: &Path) -> Result<u64> {
    let mut client = Client::new(&server.address);
    let (mut last, mut since) = (disk_bytes(data)?, Instant::now());
    let from = Instant::now();
    let mut asked = Instant::now();
    server.kind.settle(&mut client)?;
    // Prometheus cuts its head within a minute, we within seconds.
    while since.elapsed() < Duration::from_secs(25) || from.elapsed() < Duration::from_secs(90) {
        wait(Duration::from_millis(500));
        if asked.elapsed() > Duration::from_secs(15) {
            server.kind.settle(&mut client)?;
            asked = Instant::now();
        }
        let now = disk_bytes(data)?;
        if now.abs_diff(last) > last / 500 {
            (last, since) = (now, Instant::now());
        }
        if from.elapsed() > Duration::from_secs(900) {
            bail!("{} still writes after 15 minutes", server.kind.name());
        }
    }
    disk_bytes(data)
}

/// Waits until a server is idle; the CPU seconds that it took meanwhile.
fn idle(server: &Server) -> Result<f64> {
    let start = server.cpu()?;
    let from = Instant::now();
    let mut last = start;
    loop {
        wait(Duration::from_secs(3));
        let now = server.cpu()?;
        if now - last < 0.15 || from.elapsed() > Duration::from_secs(60) {
            return Ok(now - start);
        }
        last = now;
    }
}
