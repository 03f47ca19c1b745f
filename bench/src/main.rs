//! Whole-system benchmarks: the same fleet-shaped load for Bellwether and its peers, in one run, figures as ratios.
//!
//! | module | holds |
//! |---|---|
//! | `encode` | remote write requests, encoded before they are sent |
//! | `fleet` | the data: hosts and their series |
//! | `http` | the client that sends |
//! | `ingest` | the workload: load, kill, restart, settle |
//! | `query` | the workloads of queries: latency, CPU and memory of each, a dashboard cold and warm |
//! | `peer` | the programs: where they are, how they start, what they cost |
//! | `report` | tables and JSON |
//!
//! How to use it: docs/guides/benchmarks.md.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to the terminal")]

mod encode;
mod fleet;
mod http;
mod ingest;
mod peer;
mod query;
mod report;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, ArgAction, Command, value_parser};

use encode::{Load, Version};
use fleet::{Fleet, Shape};
use ingest::Workload;
use peer::Kind;

/// The workloads: name, hosts, scrapes, what the series are, in words.
const WORKLOADS: [(&str, usize, usize, Shape, &str); 5] = [
    ("hour", 1000, 240, Shape::Hosts, "1,000 hosts × 100 series, one hour"),
    ("histograms", 1000, 240, Shape::Histograms, "the same hour, half of the series classic histograms"),
    ("day", 100, 5760, Shape::Hosts, "100 hosts × 100 series, one day"),
    ("million", 10_000, 20, Shape::Hosts, "10,000 hosts × 100 series, 20 scrapes"),
    ("small", 200, 40, Shape::Hosts, "200 hosts × 100 series, ten minutes: to try the harness"),
];

/// The workloads of queries.
const QUERIES: [(&str, &str); 3] = [
    ("queries-hour", "1,000 hosts × 100 series, one hour: a list like TSBS' devops queries"),
    ("queries-month", "10 hosts × 100 series, 30 days at a minute: the same list"),
    ("dashboard", "1,000 hosts × 5 series, 30 days at five minutes: 40 panels, cold and warm"),
];

/// What the command line says.
struct Arguments {
    workload: String,
    remote_write: u8,
    programs: Vec<String>,
    connections: usize,
    hosts: Option<usize>,
    rounds: Option<usize>,
    pause_ms: u64,
    no_kill: bool,
    no_settle: bool,
    seed: u64,
    scratch: Option<PathBuf>,
    results: Option<PathBuf>,
}

fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let loads = WORKLOADS.into_iter().map(|(name, _, _, _, help)| (name, help));
    let names: Vec<PossibleValue> =
        loads.chain(QUERIES).map(|(name, help)| PossibleValue::new(name).help(help)).collect();
    Command::new("bench")
        .about("Drives Bellwether and the peers that are found with the same load")
        .arg(
            Arg::new("workload")
                .required(true)
                .value_parser(PossibleValuesParser::new(names))
                .help("Which workload"),
        )
        .arg(
            option("remote-write", "VERSION", "Remote write's version: 1 or 2")
                .default_value("1")
                .value_parser(value_parser!(u8).range(1..=2)),
        )
        .arg(
            option("programs", "NAMES", "Only these programs: bellwether, victoriametrics, prometheus")
                .value_delimiter(','),
        )
        .arg(
            option("connections", "N", "Connections that send at the same time")
                .default_value("4")
                .value_parser(value_parser!(usize)),
        )
        .arg(option("hosts", "N", "Other number of hosts").value_parser(value_parser!(usize)))
        .arg(option("rounds", "N", "Other number of scrapes").value_parser(value_parser!(usize)))
        .arg(
            option("pause-ms", "MS", "Pause between rounds; 0 sends as fast as the server answers")
                .default_value("0")
                .value_parser(value_parser!(u64)),
        )
        .arg(switch("no-kill", "Leaves out kill and restart"))
        .arg(switch("no-settle", "Leaves out what the samples take on disk"))
        .arg(option("seed", "N", "Seed of the data").default_value("1").value_parser(value_parser!(u64)))
        .arg(
            option("scratch", "DIR", "Where the load and the data folders go")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            option("results", "DIR", "Where the results go; nothing is written without it")
                .value_parser(value_parser!(PathBuf)),
        )
}

impl Arguments {
    fn parse() -> Result<Self> {
        let matches = command().get_matches();
        let need = "the command line gives it a default";
        Ok(Self {
            workload: matches.get_one::<String>("workload").context(need)?.clone(),
            remote_write: *matches.get_one("remote-write").context(need)?,
            programs: matches.get_many::<String>("programs").into_iter().flatten().cloned().collect(),
            connections: *matches.get_one("connections").context(need)?,
            hosts: matches.get_one("hosts").copied(),
            rounds: matches.get_one("rounds").copied(),
            pause_ms: *matches.get_one("pause-ms").context(need)?,
            no_kill: matches.get_flag("no-kill"),
            no_settle: matches.get_flag("no-settle"),
            seed: *matches.get_one("seed").context(need)?,
            scratch: matches.get_one("scratch").cloned(),
            results: matches.get_one("results").cloned(),
        })
    }
}

/// Runs a workload of queries.
fn queries(args: &Arguments) -> Result<()> {
    let mut work = match args.workload.as_str() {
        "queries-hour" => query::Workload::hour(),
        "queries-month" => query::Workload::month(),
        _ => query::Workload::dashboard(),
    };
    work.hosts = args.hosts.unwrap_or(work.hosts);
    work.rounds = args.rounds.unwrap_or(work.rounds);
    work.seed = args.seed;
    work.results.clone_from(&args.results);
    work.scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    #[expect(
        clippy::disallowed_methods,
        reason = "the data ends a little before now, and this program has no clock to set"
    )]
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    work.now_ms = now_ms;
    let wanted = |kind: &Kind| args.programs.is_empty() || args.programs.iter().any(|p| p == kind.name());
    let found = Kind::ALL.into_iter().filter(wanted).filter_map(|kind| Some((kind, kind.find()?)));
    query::run(&work, &found.collect::<Vec<_>>())
}

fn main() -> Result<()> {
    let args = Arguments::parse()?;
    if QUERIES.iter().any(|(name, _)| *name == args.workload) {
        return queries(&args);
    }
    let workload = WORKLOADS.iter().find(|(name, ..)| *name == args.workload);
    let (name, hosts, rounds, shape, _) = *workload.context("the command line lets no other workload in")?;
    let version = match args.remote_write {
        1 => Version::One,
        2 => Version::Two,
        other => bail!("remote write has the versions 1 and 2, not {other}"),
    };
    let hosts = args.hosts.unwrap_or(hosts);
    if hosts == 0 || !hosts.is_multiple_of(encode::HOSTS_PER_REQUEST) {
        bail!("--hosts must be a multiple of {}", encode::HOSTS_PER_REQUEST);
    }
    let rounds = args.rounds.unwrap_or(rounds);
    if rounds < 12 {
        bail!("--rounds must be at least 12");
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the load ends a little before now, and this program has no clock to set"
    )]
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let suffix = if version == Version::Two { "-rw2" } else { "" };
    let work = Workload {
        name: format!("{name}{suffix}"),
        shape,
        hosts,
        rounds,
        version,
        connections: args.connections.max(1),
        pause: Duration::from_millis(args.pause_ms),
        kill: !args.no_kill,
        settle: !args.no_settle,
        scratch: args.scratch.clone().unwrap_or_else(std::env::temp_dir),
        now_ms,
    };
    let wanted = |kind: &Kind| args.programs.is_empty() || args.programs.iter().any(|p| p == kind.name());
    let mut programs = Vec::new();
    for kind in Kind::ALL.into_iter().filter(wanted) {
        // VictoriaMetrics takes remote write 1.0 only.
        if version == Version::Two && kind == Kind::VictoriaMetrics {
            say("victoriametrics: not run: it has no remote write 2.0");
            continue;
        }
        match kind.find() {
            Some(path) => programs.push((kind, path)),
            None => say(&format!(
                "{}: not run: not on the PATH; name it in BENCH_{}",
                kind.name(),
                kind.name().to_uppercase()
            )),
        }
    }
    let folder = tempfile::Builder::new().prefix("bench-load-").tempdir_in(&work.scratch)?;
    let mut fleet = Fleet::new(shape, hosts, work.start_ms(), args.seed);
    let load = Load::write(&mut fleet, rounds, version, folder.path())?;
    say(&format!(
        "{}: {} series, {} rounds, {} bytes of requests",
        work.name,
        work.series(),
        load.rounds(),
        load.bytes
    ));
    drop(fleet);
    let mut outcomes = Vec::new();
    for (kind, program) in programs {
        say(&format!("running {}", kind.name()));
        let outcome = ingest::run(&work, &load, kind, &program).with_context(|| kind.name())?;
        outcomes.push((kind, outcome));
    }
    say(&report::table(&work, &outcomes));
    if let Some(dir) = &args.results {
        let given: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("cargo run --release -p bench -- {}", given.join(" "));
        report::write(dir, &work, &outcomes, &command, &commit())?;
    }
    Ok(())
}

/// The commit of the source tree, as far as git knows.
fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    output
        .ok()
        .and_then(|o| String::from_utf8(o.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |t| t.trim().to_owned())
}

/// Prints a line.
fn say(text: &str) {
    println!("{text}");
}

/// Lets time pass: another process does something meanwhile, and nothing tells us when.
fn wait(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "polling another process is all that can be done")]
    std::thread::sleep(time);
}
