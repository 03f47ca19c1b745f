//! The workload of queries: the same data in each program, the same queries to each, in turn.
//!
//! All programs run at the same time and are asked one after the other, query by query, so that a busy machine slows all of them.
//! Latency is the median of several turns; CPU is that of the server's process over a turn of several repetitions, divided. Caches of
//! results are told not to be used (`nocache=1`), but for the second look at the dashboard, which is what they are for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::encode;
use crate::fleet::{Fleet, PER_HOST, Shape};
use crate::http::{Client, escape};
use crate::peer::{Kind, Server};
use crate::{say, wait};

/// Series in one remote write request.
const PER_REQUEST: usize = 2000;
/// Turns of each query.
const TURNS: usize = 5;
/// A turn repeats a query until it took about this long.
const TURN: Duration = Duration::from_millis(250);
/// Panels of the dashboard.
const PANELS: usize = 40;

/// Which data, which queries.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) hosts: usize,
    /// Series of each host that are written, by their position; empty for all.
    pub(crate) of_host: &'static [usize],
    pub(crate) rounds: usize,
    pub(crate) interval_ms: i64,
    /// Distance of the steps of range queries in seconds.
    pub(crate) step: i64,
    pub(crate) dashboard: bool,
    /// After how many rounds Bellwether seals; 0 for after the last.
    pub(crate) seal_every: usize,
    pub(crate) scratch: PathBuf,
    /// Where the results go.
    pub(crate) results: Option<PathBuf>,
    pub(crate) now_ms: i64,
    pub(crate) seed: u64,
}

impl Workload {
    pub(crate) fn hour() -> Self {
        Self {
            name: "queries-hour",
            hosts: 1000,
            of_host: &[],
            rounds: 240,
            interval_ms: 15_000,
            step: 15,
            seal_every: 16,
            ..Self::base()
        }
    }

    pub(crate) fn month() -> Self {
        Self {
            name: "queries-month",
            hosts: 10,
            of_host: &[],
            rounds: 43_200,
            interval_ms: 60_000,
            step: 3600,
            ..Self::base()
        }
    }

    /// 1,000 hosts with five metrics, 30 days at five minutes.
    pub(crate) fn dashboard() -> Self {
        Self {
            name: "dashboard",
            hosts: 1000,
            of_host: &[24, 30, 36, 41, 46],
            rounds: 8640,
            interval_ms: 300_000,
            step: 3600,
            dashboard: true,
            ..Self::base()
        }
    }

    fn base() -> Self {
        Self {
            name: "",
            hosts: 0,
            of_host: &[],
            rounds: 0,
            interval_ms: 0,
            step: 0,
            dashboard: false,
            seal_every: 0,
            scratch: PathBuf::new(),
            results: None,
            now_ms: 0,
            seed: 1,
        }
    }

    fn start_ms(&self) -> i64 {
        let length = self.rounds as i64 * self.interval_ms;
        (self.now_ms - length - 600_000) / 3_600_000 * 3_600_000
    }

    fn end_ms(&self) -> i64 {
        self.start_ms() + (self.rounds as i64 - 1) * self.interval_ms
    }
}

/// One request.
#[derive(Clone, Debug)]
struct Query {
    name: String,
    /// Path and query string.
    path: String,
    /// Whether the answers of the programs must have the same number of series.
    comparable: bool,
}

struct Queries {
    list: Vec<Query>,
    start: i64,
    end: i64,
    step: i64,
}

impl Queries {
    fn add(&mut self, name: &str, path: String, comparable: bool) {
        self.list.push(Query { name: name.to_owned(), path, comparable });
    }

    fn range(&mut self, name: &str, query: &str) {
        let (start, end, step) = (self.start, self.end, self.step);
        let path = format!(
            "/api/v1/query_range?query={}&start={start}&end={end}&step={step}&nocache=1",
            escape(query)
        );
        self.add(name, path, true);
    }

    fn instant(&mut self, name: &str, query: &str) {
        let path = format!("/api/v1/query?query={}&time={}&nocache=1", escape(query), self.end);
        self.add(name, path, true);
    }

    fn list(&mut self, name: &str, path: &str, selector: &str) {
        let matched =
            if selector.is_empty() { String::new() } else { format!("&match[]={}", escape(selector)) };
        self.add(name, format!("{path}?start={}&end={}{matched}", self.start, self.end), true);
    }
}

/// A list like TSBS' devops queries, on what the fleet has.
fn devops(work: &Workload) -> Vec<Query> {
    let fleet = Fleet::new(Shape::Histograms, work.hosts, work.start_ms(), work.seed);
    let metric = |at: usize| fleet.metric(at);
    let instance = |host: usize| {
        let mut found = String::new();
        fleet.labels(host * PER_HOST, |name, value| {
            if name == "instance" {
                value.clone_into(&mut found);
            }
        });
        found
    };
    let (counter, seconds, gauge, load, float) = (metric(25), metric(36), metric(41), metric(46), metric(49));
    let one = instance(work.hosts / 2);
    let some: Vec<String> = (0..8).map(|i| instance(i * work.hosts / 8)).collect();
    let some = some.join("|").replace('.', "\\\\.");
    let five = [&counter, &seconds, &gauge, &load, &float].map(String::as_str).join("|");
    let window = (2 * work.step).max(300);
    let mut q = Queries {
        list: Vec::new(),
        start: work.start_ms() / 1000 + window,
        end: work.end_ms() / 1000,
        step: work.step,
    };
    q.range("one host, one metric, max", &format!("max_over_time({load}{{instance=\"{one}\"}}[{window}s])"));
    q.range("one host, all its series", &format!("{{instance=\"{one}\"}}"));
    q.range(
        "five metrics, one host, max",
        &format!("max by (__name__) ({{__name__=~\"{five}\",instance=\"{one}\"}})"),
    );
    q.range(
        "five metrics, eight hosts, max",
        &format!("max by (__name__, instance) ({{__name__=~\"{five}\",instance=~\"{some}\"}})"),
    );
    q.range("rate by data centre, all hosts", &format!("sum by (datacenter) (rate({counter}[{window}s]))"));
    q.range(
        "rate by role and data centre",
        &format!("sum by (role, datacenter) (rate({seconds}[{window}s]))"),
    );
    q.range(
        "double group-by, mean",
        &format!("avg by (instance, device) (avg_over_time({load}[{window}s]))"),
    );
    q.range("rate of every series", &format!("rate({counter}[{window}s])"));
    q.range("sum of a gauge", &format!("sum({gauge})"));
    q.range("spread of a gauge", &format!("max by (rack) ({float}) - min by (rack) ({float})"));
    q.range(
        "ratio of two metrics",
        &format!("sum by (role) (rate({seconds}[{window}s])) / sum by (role) ({gauge})"),
    );
    q.range("join of two metrics", &format!("{gauge} / on (instance, device) {load}"));
    q.range(
        "quantile of a histogram, all hosts",
        &format!(
            "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[{window}s])))"
        ),
    );
    q.range(
        "quantile of a histogram by handler",
        &format!("histogram_quantile(0.9, sum by (le, handler) (rate(http_request_duration_seconds_bucket[{window}s])))"),
    );
    q.range("topk of rates", &format!("topk(5, sum by (instance) (rate({counter}[{window}s])))"));
    q.range("quantile over hosts", &format!("quantile by (datacenter) (0.95, {load})"));
    q.range("deviation over time", &format!("avg by (role) (stddev_over_time({float}[{window}s]))"));
    q.range("quantile over time", &format!("max by (role) (quantile_over_time(0.9, {load}[{window}s]))"));
    q.range("count of everything", "count({job=\"node\"})");
    q.range("count by name", "count by (__name__) ({job=\"node\"})");
    q.range(
        "regex select",
        "sum by (role) ({__name__=~\"node_.*_bytes\",instance=~\"server-0.*[05]\\\\.rack.*\"})",
    );
    q.range(
        "subquery",
        &format!("max_over_time(sum by (role) (rate({counter}[{window}s]))[{}s:{window}s])", 4 * window),
    );
    q.range(
        "comparison with an offset",
        &format!("sum by (role) ({gauge}) / sum by (role) ({gauge} offset {window}s)"),
    );
    q.instant("instant: rates by role", &format!("sum by (role) (rate({counter}[{window}s]))"));
    q.instant("instant: threshold", &format!("{load} > 100000"));
    q.instant("instant: count of everything", "count({job=\"node\"})");
    q.instant("instant: topk of a gauge", &format!("topk(10, {gauge})"));
    q.list("series of a host", "/api/v1/series", &format!("{{instance=\"{one}\"}}"));
    q.list("series of a metric", "/api/v1/series", &counter);
    q.list("label names", "/api/v1/labels", "");
    q.list("values of instance", "/api/v1/label/instance/values", "");
    q.list("values of instance of a metric", "/api/v1/label/instance/values", &load);
    q.list("metric names", "/api/v1/label/__name__/values", "");
    q.list
}

/// The panels of a dashboard over the whole range.
fn panels(work: &Workload) -> Vec<Query> {
    let fleet = Fleet::new(Shape::Histograms, work.hosts, work.start_ms(), work.seed);
    let metrics: Vec<String> = work.of_host.iter().map(|at| fleet.metric(*at)).collect();
    let window = 2 * work.step;
    // Aligned to the step, as Grafana aligns them.
    let start = (work.start_ms() / 1000 + window).div_euclid(work.step) * work.step;
    let end = (work.end_ms() / 1000).div_euclid(work.step) * work.step;
    let mut q = Queries { list: Vec::new(), start, end, step: work.step };
    let groups = ["datacenter", "role", "rack", "device"];
    for panel in 0..PANELS {
        let metric = &metrics[panel % metrics.len()];
        let by = groups[panel / metrics.len() % groups.len()];
        let query = match panel / (metrics.len() * groups.len()) {
            0 => format!("sum by ({by}) (rate({metric}[{window}s]))"),
            _ => format!("max by ({by}) (avg_over_time({metric}[{window}s]))"),
        };
        q.range(&query.clone(), &query);
    }
    q.list
}

/// Figures of one query and one program.
#[derive(Clone, Copy, Debug, Default)]
struct Figure {
    latency_ms: f64,
    cpu_ms: f64,
    peak_bytes: u64,
    series: usize,
}

struct Program {
    server: Server,
    client: Client,
}

/// Runs the workload against the programs and prints what was measured.
pub(crate) fn run(work: &Workload, programs: &[(Kind, PathBuf)]) -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("bench-queries-").tempdir_in(&work.scratch)?;
    say(&format!("{}: {} hosts, {} samples a series", work.name, work.hosts, work.rounds));
    let mut running = Vec::new();
    for (kind, path) in programs {
        running.push(start(work, *kind, path, scratch.path())?);
    }
    settle(&mut running)?;
    if work.dashboard {
        return dashboard(work, &mut running);
    }
    let mut rows = Vec::new();
    for query in devops(work) {
        let figures = measure(&query, &mut running)?;
        let counts: Vec<usize> = figures.iter().map(|figure| figure.series).collect();
        if query.comparable && counts.iter().any(|count| *count != counts[0]) {
            say(&format!("{}: the answers differ in their number of series: {counts:?}", query.name));
        }
        // A run takes long: what is known is shown.
        say(&line(&query.name, &figures));
        rows.push((query.name.clone(), figures));
    }
    publish(work, &report(work, &running, &rows))
}

fn start(work: &Workload, kind: Kind, program: &Path, scratch: &Path) -> Result<Program> {
    let data = scratch.join(kind.name());
    let mut server = Server::start(kind, program, &data, scratch)?;
    server.wait_ready()?;
    let mut client = Client::new(&server.address);
    let began = Instant::now();
    let mut fleet = Fleet::new(Shape::Histograms, work.hosts, work.start_ms(), work.seed);
    let positions: Vec<usize> = match work.of_host.is_empty() {
        true => (0..PER_HOST).collect(),
        false => work.of_host.to_vec(),
    };
    let written: Vec<usize> =
        (0..work.hosts).flat_map(|host| positions.iter().map(move |at| host * PER_HOST + at)).collect();
    let labels: Vec<Vec<u8>> = written.iter().map(|series| encode::labels_v1(&fleet, *series)).collect();
    let mut snappy = snap::raw::Encoder::new();
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ];
    // Several rounds of few series make one request as large as several series of one round.
    let rounds_at_once = (PER_REQUEST / written.len()).max(1);
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    let mut round = 0;
    while round < work.rounds {
        let rounds = rounds_at_once.min(work.rounds - round);
        let mut samples: Vec<Vec<(f64, i64)>> = vec![Vec::with_capacity(rounds); written.len()];
        for _ in 0..rounds {
            for (at, series) in written.iter().enumerate() {
                let host = *series / PER_HOST;
                let offset = (host as i64 * 7919) % (work.interval_ms - 100);
                let time = work.start_ms() + round as i64 * work.interval_ms + offset;
                samples[at].push((fleet.value(*series), time));
            }
            fleet.advance();
            round += 1;
        }
        bodies.clear();
        for (chunk, labels) in samples.chunks(PER_REQUEST).zip(labels.chunks(PER_REQUEST)) {
            let mut body = Vec::new();
            for (samples, labels) in chunk.iter().zip(labels) {
                encode::series_v1(labels, samples, &mut body);
            }
            bodies.push(snappy.compress_vec(&body)?);
        }
        for body in &bodies {
            let (status, answer) = client.send("POST", "/api/v1/write", &headers, body)?;
            if status / 100 != 2 {
                bail!("{}: remote write: status {status}: {}", kind.name(), String::from_utf8_lossy(&answer));
            }
        }
        if work.seal_every > 0 && round % work.seal_every == 0 {
            kind.seal(&mut client)?;
        }
    }
    kind.settle(&mut client)?;
    say(&format!(
        "{}: {} series × {} samples written, {:.1} s of CPU, {:.0} s",
        kind.name(),
        written.len(),
        work.rounds,
        server.cpu()?,
        began.elapsed().as_secs_f64()
    ));
    Ok(Program { server, client })
}

/// Waits until no program is busy any more with what was written.
fn settle(programs: &mut [Program]) -> Result<()> {
    for program in programs {
        let began = Instant::now();
        loop {
            let before = program.server.cpu()?;
            wait(Duration::from_secs(2));
            if program.server.cpu()? - before < 0.06 || began.elapsed() > Duration::from_secs(120) {
                break;
            }
        }
    }
    Ok(())
}

/// Sends a query; the size of the answer and the number of series in it.
fn ask(program: &mut Program, query: &Query) -> Result<(Duration, Vec<u8>)> {
    let began = Instant::now();
    // A connection that was idle for long may have been closed.
    let answer = program.client.send("GET", &query.path, &[], b"");
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(_) => program.client.send("GET", &query.path, &[], b"")?,
    };
    let took = began.elapsed();
    if status != 200 {
        bail!(
            "{}: {}: status {status}: {}",
            program.server.kind.name(),
            query.name,
            String::from_utf8_lossy(&body)
        );
    }
    Ok((took, body))
}

fn count_series(body: &[u8]) -> Result<usize> {
    let answer: serde_json::Value = serde_json::from_slice(body).context("an answer that is no JSON")?;
    let data = &answer["data"];
    Ok(data["result"].as_array().or(data.as_array()).map_or(1, Vec::len))
}

fn measure(query: &Query, programs: &mut [Program]) -> Result<Vec<Figure>> {
    let mut figures = vec![Figure::default(); programs.len()];
    let mut repetitions = vec![1; programs.len()];
    for (nth, program) in programs.iter_mut().enumerate() {
        // The first time is not counted; it says how often to repeat.
        ask(program, query)?;
        program.server.forget_peak()?;
        let before = program.server.memory()?.resident;
        let (took, body) = ask(program, query)?;
        figures[nth].peak_bytes = program.server.memory()?.peak.saturating_sub(before);
        figures[nth].series = count_series(&body)?;
        repetitions[nth] = (TURN.as_secs_f64() / took.as_secs_f64().max(1e-5)).clamp(1.0, 100.0) as usize;
    }
    let mut latencies: Vec<Vec<f64>> = vec![Vec::new(); programs.len()];
    let mut cpus = vec![0.0; programs.len()];
    for turn in 0..TURNS {
        for place in 0..programs.len() {
            let nth = (turn + place) % programs.len();
            let program = &mut programs[nth];
            let cpu = program.server.cpu()?;
            for _ in 0..repetitions[nth] {
                latencies[nth].push(ask(program, query)?.0.as_secs_f64() * 1000.0);
            }
            cpus[nth] += program.server.cpu()? - cpu;
        }
    }
    for (nth, figure) in figures.iter_mut().enumerate() {
        let all = &mut latencies[nth];
        all.sort_by(f64::total_cmp);
        figure.latency_ms = all[all.len() / 2];
        figure.cpu_ms = cpus[nth] * 1000.0 / (repetitions[nth] * TURNS) as f64;
    }
    Ok(figures)
}

/// Ratios of the first program to the best of the others: latency and CPU.
fn ratios(figures: &[Figure]) -> Option<(f64, f64)> {
    let (first, others) = figures.split_first()?;
    if others.is_empty() {
        return None;
    }
    let best = |of: fn(&Figure) -> f64| others.iter().map(of).fold(f64::INFINITY, f64::min);
    // The clock of CPU time ticks 100 times a second: what takes less in all turns is not told apart.
    let cpu = |figure: &Figure| figure.cpu_ms.max(0.02);
    Some((first.latency_ms / best(|f| f.latency_ms), cpu(first) / best(cpu)))
}

/// A line of the table.
fn line(name: &str, figures: &[Figure]) -> String {
    let ms = |value: f64| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
    let mut line = format!("| {name} |");
    for f in figures {
        line += &format!(" {} | {} | {:.1} |", ms(f.latency_ms), ms(f.cpu_ms), f.peak_bytes as f64 / 1e6);
    }
    match ratios(figures) {
        Some((latency, cpu)) => line + &format!(" {latency:.2} | {cpu:.2} |"),
        None => line,
    }
}

/// The figures as a table, ratios to the best of the others, and their means.
fn report(work: &Workload, programs: &[Program], rows: &[(String, Vec<Figure>)]) -> String {
    let names: Vec<&str> = programs.iter().map(|program| program.server.kind.name()).collect();
    let mut text = format!(
        "{}: {} hosts, {} samples a series, {} s apart. Milliseconds a query (median latency, CPU of the server), growth of peak \
         memory in MB; ratios of {} to the better of the others.\n\n| query |",
        work.name,
        work.hosts,
        work.rounds,
        work.interval_ms / 1000,
        names[0]
    );
    for name in &names {
        text += &format!(" {name} ms | CPU | MB |");
    }
    text += if names.len() > 1 { " latency | CPU |\n" } else { "\n" };
    text += &"|---".repeat(1 + names.len() * 3 + if names.len() > 1 { 2 } else { 0 });
    text += "|\n";
    for (name, figures) in rows {
        text += &(line(name, figures) + "\n");
    }
    let all: Vec<(f64, f64)> = rows.iter().filter_map(|(_, figures)| ratios(figures)).collect();
    if !all.is_empty() {
        let mean = |of: fn(&(f64, f64)) -> f64| {
            (all.iter().map(|r| of(r).ln()).sum::<f64>() / all.len() as f64).exp()
        };
        let worst = |of: fn(&(f64, f64)) -> f64| all.iter().map(of).fold(0.0, f64::max);
        text += &format!(
            "\nGeometric mean: latency {:.3}, CPU {:.3}; worst: latency {:.2}, CPU {:.2}.\n",
            mean(|r| r.0),
            mean(|r| r.1),
            worst(|r| r.0),
            worst(|r| r.1)
        );
    }
    let peak =
        |nth: usize| rows.iter().map(|(_, figures)| figures[nth].peak_bytes).max().unwrap_or(0) as f64 / 1e6;
    let peaks: Vec<String> =
        (0..programs.len()).map(|nth| format!("{} {:.1} MB", names[nth], peak(nth))).collect();
    text + &format!("Most memory of a query: {}.\n", peaks.join(", "))
}

/// Prints the outcome, and writes it where the results go.
fn publish(work: &Workload, text: &str) -> Result<()> {
    say(text);
    let Some(dir) = &work.results else { return Ok(()) };
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let given: Vec<String> = std::env::args().skip(1).collect();
    let text = format!(
        "# {}\n\n{text}\nCommit {}, {}. Repeat with `cargo run --release -p bench -- {}`.\n",
        work.name,
        crate::commit(),
        crate::report::machine(),
        given.join(" ")
    );
    std::fs::write(dir.join(format!("{}.md", work.name)), text)?;
    Ok(())
}

/// All panels at once, as a browser asks for them (six connections), cold and then warm.
fn dashboard(work: &Workload, programs: &mut [Program]) -> Result<()> {
    let panels = panels(work);
    let mut text = String::new();
    for program in programs {
        let address = program.server.address.clone();
        let look = |nocache: bool| -> Result<(f64, f64)> {
            let cpu = program.server.cpu()?;
            let began = Instant::now();
            let next = std::sync::atomic::AtomicUsize::new(0);
            std::thread::scope(|scope| -> Result<()> {
                let work = || -> Result<()> {
                    let mut client = Client::new(&address);
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(panel) = panels.get(at) else { return Ok(()) };
                        let path =
                            if nocache { panel.path.clone() } else { panel.path.replace("&nocache=1", "") };
                        let (status, body) = client.send("GET", &path, &[], b"")?;
                        if status != 200 {
                            bail!("{}: status {status}: {}", panel.name, String::from_utf8_lossy(&body));
                        }
                    }
                };
                let threads: Vec<_> = (0..6).map(|_| scope.spawn(work)).collect();
                threads
                    .into_iter()
                    .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
            })?;
            Ok((began.elapsed().as_secs_f64() * 1000.0, (program.server.cpu()? - cpu) * 1000.0))
        };
        let cold = look(true)?;
        // What is kept is made by the first look that may keep it.
        look(false)?;
        let mut warm: Vec<(f64, f64)> = (0..TURNS).map(|_| look(false)).collect::<Result<_>>()?;
        warm.sort_by(|a, b| a.0.total_cmp(&b.0));
        let warm = warm[TURNS / 2];
        text += &format!(
            "- {}: {PANELS} panels cold {:.0} ms ({:.0} ms of CPU), warm {:.0} ms ({:.0} ms of CPU)\n",
            program.server.kind.name(),
            cold.0,
            cold.1,
            warm.0,
            warm.1
        );
    }
    publish(work, &text)
}
