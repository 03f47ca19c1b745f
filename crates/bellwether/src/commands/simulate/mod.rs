//! `simulate`: a fleet that is not there, fed to a running server through its public interfaces, for demonstrations, tests and
//! benchmarks.

mod faults;
mod fleet;
mod push;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use model::duration::PromDuration;
use tokio::sync::mpsc;

use super::{complain, say};
use faults::{Fault, Faults};
use fleet::Layout;

/// Fleets up to this size get more series than `up`.
const DETAILED: u32 = 20_000;

pub(crate) fn command() -> Command {
    Command::new("simulate")
        .about("Feed a running server with machines that do not exist")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("fleet")
                .about("Servers in regions, data centres, rows and racks, with faults")
                .long_about(
                    "Sends `up` (and for smaller fleets CPU, memory, load and temperature) of N servers by remote write once an interval, \
                     and an alert for each server with a fault, as Prometheus does. Faults are given with --fault, or one a line on \
                     standard input while it runs: STATE@REGION/DATACENTER/ROW/RACK/SLOT, where STATE is dead, warning, nodata or ok \
                     (ok ends what the others began), each part is a name or a pattern with *, and parts left out at the end mean all. \
                     `+30s` after it begins it later, `%20` hits a fifth of the servers: dead@eu-central/fra2/row 17, \
                     nodata@*/scl1/*/rack 08, warning@*/dub1/row 1*%60+1m.",
                )
                .args([
                    Arg::new("servers")
                        .long("servers")
                        .value_name("N")
                        .default_value("1000")
                        .value_parser(value_parser!(u32).range(1..=5_000_000))
                        .help("How many servers"),
                    Arg::new("to")
                        .long("to")
                        .value_name("URL")
                        .default_value("http://localhost:9090")
                        .help("The server to feed"),
                    Arg::new("interval")
                        .long("interval")
                        .value_name("DURATION")
                        .default_value("15s")
                        .help("Between two samples of a server"),
                    Arg::new("fault")
                        .long("fault")
                        .value_name("FAULT")
                        .action(ArgAction::Append)
                        .help("A fault to inject; may be repeated"),
                    Arg::new("standard-faults")
                        .long("standard-faults")
                        .action(ArgAction::SetTrue)
                        .help("Nine faults of different shapes and a thin scatter of single ones"),
                    Arg::new("rounds")
                        .long("rounds")
                        .value_name("N")
                        .value_parser(value_parser!(u64))
                        .help("Stop after so many samples of each server; until interrupted when missing"),
                    Arg::new("seed")
                        .long("seed")
                        .value_name("N")
                        .default_value("1")
                        .value_parser(value_parser!(u64))
                        .help("The same seed gives the same fleet and the same scatter"),
                    Arg::new("concurrency")
                        .long("concurrency")
                        .value_name("N")
                        .default_value("2")
                        .value_parser(value_parser!(u32).range(1..=64))
                        .help("Requests at once"),
                ]),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let Some(("fleet", matches)) = matches.subcommand() else { bail!("a subcommand is required") };
    let interval: PromDuration = {
        let text = matches.get_one::<String>("interval").context("an interval is required")?;
        text.parse().map_err(|err| anyhow::anyhow!("--interval={text}: {err}"))?
    };
    if interval.ms() < 1000 {
        bail!("--interval={interval}: the shortest interval is 1s");
    }
    let servers = *matches.get_one::<u32>("servers").context("a number of servers is required")?;
    let seed = *matches.get_one::<u64>("seed").context("a seed is required")?;
    let mut faults = Faults::new(seed);
    if matches.get_flag("standard-faults") {
        faults.add_standard();
    }
    for text in matches.get_many::<String>("fault").into_iter().flatten() {
        faults.add(Fault::parse(text).map_err(|err| anyhow::anyhow!("--fault={text}: {err}"))?, 0);
    }
    let plan = Plan {
        layout: Layout::new(servers, seed),
        detailed: servers <= DETAILED,
        interval: Duration::from_millis(interval.ms().unsigned_abs()),
        rounds: matches.get_one::<u64>("rounds").copied().unwrap_or(u64::MAX),
        seed,
    };
    let url =
        matches.get_one::<String>("to").context("a server is required")?.trim_end_matches('/').to_owned();
    let concurrency = *matches.get_one::<u32>("concurrency").context("a concurrency is required")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(simulate(plan, faults, push::Pusher::new(&url, concurrency as usize)?));
    // Standard input may be read by a thread that nothing wakes.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result.map(|()| ExitCode::SUCCESS)
}

/// What is simulated.
struct Plan {
    layout: Layout,
    detailed: bool,
    interval: Duration,
    rounds: u64,
    seed: u64,
}

/// Servers in one request.
const PORTION: usize = 4000;

async fn simulate(plan: Plan, mut faults: Faults, pusher: push::Pusher) -> anyhow::Result<()> {
    say(format_args!(
        "{} servers in {} racks, a sample every {:?}, to {}",
        plan.layout.servers(),
        plan.layout.racks.len(),
        plan.interval,
        pusher.url()
    ));
    let clock = model::time::SystemClock;
    let started = tokio::time::Instant::now();
    let (said, mut lines) = mpsc::channel(16);
    let _reading = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if said.blocking_send(line).is_err() {
                break;
            }
        }
    });
    let mut listening = true;
    let mut ticks = tokio::time::interval(plan.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0;
    let mut before: Vec<faults::State> = Vec::new();
    while round < plan.rounds {
        tokio::select! {
            _ = ticks.tick() => {
                let since_ms = started.elapsed().as_millis() as i64;
                let states = faults.states(&plan.layout, since_ms);
                let now_ms = model::Clock::now(&clock).ms();
                let begun = tokio::time::Instant::now();
                // Alerts first: they do not wait for a million samples.
                pusher.alert(&plan.layout, &before, &states, now_ms, plan.interval).await?;
                let samples = pusher.send(&plan.layout, &states, now_ms, round, plan.detailed, plan.seed, PORTION).await?;
                let bad = states.iter().filter(|state| **state != faults::State::Ok).count();
                if round == 0 || round.is_multiple_of(20) {
                    say(format_args!("round {round}: {samples} samples in {:.1?}, {bad} servers with a fault", begun.elapsed()));
                }
                before = states;
                round += 1;
            }
            line = lines.recv(), if listening => match line {
                Some(line) if line.trim().is_empty() => {}
                Some(line) => match Fault::parse(line.trim()) {
                    Ok(fault) => {
                        let since_ms = started.elapsed().as_millis() as i64;
                        faults.add(fault, since_ms);
                        let states = faults.states(&plan.layout, since_ms);
                        let now_ms = model::Clock::now(&clock).ms();
                        pusher.alert(&plan.layout, &before, &states, now_ms, plan.interval).await?;
                        before = states;
                        say(format_args!("injected {}", line.trim()));
                    }
                    Err(err) => complain(format_args!("{}: {err}", line.trim())),
                },
                None => listening = false,
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    Ok(())
}
