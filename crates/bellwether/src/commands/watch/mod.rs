//! `watch`: an outside watcher of other instances, Bellwether's or Prometheus'.
//!
//! It asks each target whether it is up, answers queries and evaluates its rules, and expects heartbeats; what is missing
//! becomes an alert of its own alert manager. It shares nothing with what it watches: run it on another machine.

mod config;
mod probe;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alerts::{Dispatcher, History, Journal, Parts};
use anyhow::Context;
use api::watch::Beats;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use model::time::SystemClock;
use model::{Alert, Clock, Labels, Timestamp};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::say;
use config::{Config, Target};

/// How long notifications may take to finish at the end.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) fn command() -> Command {
    Command::new("watch")
        .about("Watch other instances from outside, and tell people when one is down or its heartbeat stays away")
        .args([
            Arg::new("config.file")
                .long("config.file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The watcher's configuration: targets, heartbeats, whom to tell (docs/guides/watch-the-monitor.md)"),
            Arg::new("webhook")
                .long("webhook")
                .value_name("URL")
                .help("Tell this webhook; instead of an Alertmanager configuration"),
            Arg::new("listen-address")
                .long("listen-address")
                .value_name("HOST:PORT")
                .help("Where heartbeats and /status are served"),
            Arg::new("path")
                .long("path")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Folder of the watcher's own state"),
            Arg::new("targets")
                .value_name("URL")
                .action(ArgAction::Append)
                .num_args(0..)
                .help("Instances to watch, such as http://monitor.example.org:9090"),
        ])
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut config = match matches.get_one::<PathBuf>("config.file") {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    config
        .targets
        .extend(matches.get_many::<String>("targets").into_iter().flatten().map(|url| Target::of(url)));
    config.webhook = text("webhook").or(config.webhook);
    config.listen_address = text("listen-address").unwrap_or(config.listen_address);
    config.path = matches.get_one::<PathBuf>("path").cloned().unwrap_or(config.path);
    config.check()?;
    crate::telemetry::start_logging(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(watch(config))?;
    Ok(ExitCode::SUCCESS)
}

/// What is known of one thing that is watched.
struct Seen {
    /// The alert's labels.
    labels: Labels,
    /// Rounds in which something was missing, in a row.
    failures: u32,
    /// What was missing in the last round.
    problem: Option<String>,
    since: Timestamp,
}

impl Seen {
    fn new(alertname: &str, name: &str, instance: &str, now: Timestamp) -> Self {
        let mut labels = vec![
            ("alertname", alertname.to_owned()),
            ("monitor", name.to_owned()),
            ("severity", "critical".to_owned()),
        ];
        if !instance.is_empty() {
            labels.push(("instance", instance.to_owned()));
        }
        Self { labels: Labels::from_pairs(labels), failures: 0, problem: None, since: now }
    }

    /// Takes a round's outcome; the alert to send, firing or resolved.
    fn take(
        &mut self,
        problem: Option<String>,
        needed: u32,
        interval_ms: i64,
        now: Timestamp,
    ) -> Option<Alert> {
        let fired = self.failures >= needed;
        if problem.is_some() != self.problem.is_some() {
            self.since = now;
        }
        self.failures = if problem.is_some() { self.failures.saturating_add(1) } else { 0 };
        self.problem = problem;
        let firing = self.failures >= needed;
        if !firing && !fired {
            return None;
        }
        let summary = self.problem.clone().unwrap_or_else(|| "it is back".to_owned());
        Some(Alert {
            labels: self.labels.clone(),
            annotations: Labels::from_pairs([("summary", summary)]),
            starts_at: self.since,
            // Room for two rounds that are late.
            ends_at: if firing { now + 4 * interval_ms } else { now },
            updated_at: now,
            generator_url: String::new(),
        })
    }
}

type Board = Arc<Mutex<BTreeMap<String, Seen>>>;

async fn watch(config: Config) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let listener = api::Listener::bind(&config.listen_address).await?;
    std::fs::create_dir_all(&config.path)
        .with_context(|| format!("cannot create the folder {}", config.path.display()))?;
    let metrics = alerts::Metrics::unregistered();
    let store = state::Store::open(
        config.path.join("state.sqlite"),
        state::Config::default(),
        state::Metrics::unregistered(),
    )?;
    let settings = alerts::Settings {
        external_url: format!("http://{}", listener.address()),
        ..alerts::Settings::default()
    };
    let history = History::open(&config.path.join("alerts.sqlite"), &settings.history, metrics.clone())?;
    let journal = Journal::open(&config.path.join("alerts.sent")).context("cannot open alerts.sent")?;
    let now = clock.now();
    let dispatcher = Dispatcher::start(Parts {
        settings,
        config: config.alerting()?,
        state: Arc::new(store),
        journal: Some(journal),
        history: Some(Arc::new(history)),
        clock: Arc::clone(&clock),
        metrics,
        seed: now.ms() as u64 ^ u64::from(std::process::id()) << 32,
    })
    .await?;
    let beats =
        Arc::new(Beats::new(config.heartbeats.iter().map(|beat| beat.name.clone()), Arc::clone(&clock)));
    let board: Board = Arc::default();
    say(format_args!("watching   {}", config.words()));
    say(format_args!("page       http://{}/status", listener.address()));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let shown = Arc::clone(&board);
    let status: api::watch::Status = Arc::new(move || status(&shown));
    let mut ending = stopped.clone();
    let serving = tokio::spawn(api::watch::serve(listener, Arc::clone(&beats), status, async move {
        // An error means that the sender is gone: time to end as well.
        drop(ending.wait_for(|stop| *stop).await);
    }));
    let rounds = rounds(&config, &dispatcher, &beats, &board, &clock);
    let ended = tokio::select! {
        ended = rounds => ended,
        ended = asked_to_stop() => ended,
    };
    stop.send_replace(true);
    dispatcher.stop(GRACE).await;
    serving.await.context("the web server ended early")?;
    ended
}

async fn asked_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be listened for")?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        result = tokio::signal::ctrl_c() => result.context("signals cannot be listened for"),
    }
}

fn status(board: &Board) -> Value {
    let board = board.lock().unwrap_or_else(PoisonError::into_inner);
    let all = board.values().map(|seen| {
        json!({
            "labels": seen.labels, "up": seen.problem.is_none(), "problem": seen.problem,
            "failures": seen.failures, "since": seen.since.seconds(),
        })
    });
    json!({ "watched": all.collect::<Vec<_>>() })
}

/// Looks at everything again and again. Does not end.
async fn rounds(
    config: &Config,
    dispatcher: &Dispatcher,
    beats: &Beats,
    board: &Board,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<()> {
    let interval_ms = config.interval.ms();
    let mut ticks = tokio::time::interval(Duration::from_millis(interval_ms.max(1) as u64));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let probers = config
        .targets
        .iter()
        .map(|target| probe::Prober::new(target, config))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let probers: Vec<Arc<probe::Prober>> = probers.into_iter().map(Arc::new).collect();
    loop {
        ticks.tick().await;
        let now = clock.now();
        let mut looks = JoinSet::new();
        for prober in &probers {
            let prober = Arc::clone(prober);
            looks.spawn(async move {
                let problem = prober.look(now).await.err();
                (prober, problem)
            });
        }
        let mut outcomes: Vec<(Seen, Option<String>, u32)> = Vec::new();
        while let Some(look) = looks.join_next().await {
            let (prober, problem) = look.context("a look at a target ended early")?;
            let target = &prober.target;
            outcomes.push((
                Seen::new("MonitorDown", &target.name, &target.url, now),
                problem,
                config.failures,
            ));
        }
        for beat in &config.heartbeats {
            let age = beats.last(&beat.name).map_or(0, |last| now - last);
            let problem = (age > beat.grace.ms())
                .then(|| format!("heartbeat {} has not come for {} s", beat.name, age / 1000));
            outcomes.push((Seen::new("HeartbeatMissed", &beat.name, "", now), problem, 1));
        }
        // Targets that hang make a round long: the next one comes so much later.
        let seen_at = clock.now();
        let pace_ms = interval_ms + (seen_at - now).max(0);
        let due: Vec<(Alert, bool)> = {
            let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
            let take = |(fresh, problem, needed): (Seen, Option<String>, u32)| {
                let seen = board.entry(fresh.labels.to_string()).or_insert(fresh);
                Some((seen.take(problem, needed, pace_ms, seen_at)?, false))
            };
            outcomes.into_iter().filter_map(take).collect()
        };
        if !due.is_empty() {
            dispatcher.receive(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_after_enough_failures_and_its_end() {
        let mut seen = Seen::new("MonitorDown", "eu", "http://x", Timestamp(0));
        let mut round = |at: i64, down: bool| {
            let alert = seen.take(down.then(|| "refused".to_owned()), 2, 1000, Timestamp(at));
            alert.map(|alert| (alert.starts_at.ms(), alert.is_resolved(Timestamp(at))))
        };
        assert_eq!(round(0, false), None);
        assert_eq!(round(1000, true), None, "one failure is not enough");
        assert_eq!(round(2000, true), Some((1000, false)));
        assert_eq!(round(3000, true), Some((1000, false)), "sent again, so that it goes on firing");
        assert_eq!(round(4000, false), Some((4000, true)));
        assert_eq!(round(5000, false), None);
    }
}
