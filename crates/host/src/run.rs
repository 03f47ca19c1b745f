//! One collection: who runs when, until when, and at what cost.
//!
//! One thread runs the collectors in turn, which costs one hand-over in the usual case. When a collector keeps it longer than
//! [`SOFT`], a second thread goes on with the rest. A collector that misses its deadline is left to finish on its thread and is
//! not asked again until it has; one that misses it again and again is not asked for a while, and each time for longer. So there
//! is never more than one thread a collector, and a collection ends soon after the deadline whatever hangs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use model::{Clock, Family};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::Config;
use crate::containers::Containers;
use crate::events::Events;
use crate::files::Files;
use crate::hardware::Hardware;
use crate::mounts::MountChild;
use crate::output::Output;
use crate::power::Power;
use crate::process::Processes;
use crate::process::collect::ProcessCollector;
use crate::process::follow::{self, Follower};
use crate::process::groups::Groups;
use crate::sockets::Sockets;
use crate::state::{Running, State};
use crate::{Collector, Error, collectors, services};

/// How long a collector may hold up those after it.
const SOFT: Duration = Duration::from_millis(100);
/// Missed deadlines in a row after which a collector is left alone for a while.
const BREAK_AFTER: u32 = 3;
/// For how long at first; doubled each time, up to [`BREAK_MAX`].
const BREAK_FIRST: Duration = Duration::from_secs(60);
const BREAK_MAX: Duration = Duration::from_secs(3600);

/// A collector and what is known of its runs.
struct Slot {
    name: &'static str,
    collector: Mutex<Box<dyn Collector>>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    /// The last failure, so that it is logged when it changes and not at every collection.
    last_failure: Option<String>,
    /// Processor time of all runs.
    cpu: Duration,
    timeouts: u64,
    timeouts_in_row: u32,
    /// Not asked before; and for how long it was left alone.
    open: Option<(Instant, Duration)>,
}

/// Why a collector gave nothing, for a label and for the log.
struct Failure {
    state: &'static str,
    reason: String,
}

/// What a worker says.
enum Word {
    Started(usize, Instant),
    Done(usize, Done),
}

struct Done {
    result: Result<Output, Failure>,
    took: Duration,
    cpu: Duration,
}

/// The collectors of this host.
pub struct Host {
    files: Arc<Files>,
    slots: Arc<[Slot]>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    events: Events,
    follower: Option<Follower>,
    /// Kept so that its end is noted.
    running: Option<Running>,
}

/// Whether a host could be watched as `config` says; nothing is opened.
///
/// # Errors
/// As [`Host::new`], but for the folder.
pub fn check(config: &Config, clock: &Arc<dyn Clock>) -> Result<(), Error> {
    collectors::all(config, &collectors::Parts::new(clock, None))?;
    if config.processes.enabled {
        Groups::new(&config.processes, config.procfs.as_str().into())?;
    }
    Ok(())
}

impl Host {
    /// Makes the collectors that `config` enables.
    ///
    /// # Errors
    /// [`Error::Filter`] when a filter is no regular expression, [`Error::UnknownCollector`] for a name that nobody has,
    /// [`Error::Setting`] when the folder for totals and events cannot be used.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::with_mount_child(config, clock, None)
    }

    /// The same with a child process that asks mounted file systems; without one this process does, and a mount that never answers costs
    /// a thread.
    ///
    /// # Errors
    /// As [`Host::new`].
    pub fn with_mount_child(
        config: &Config,
        clock: Arc<dyn Clock>,
        child: Option<MountChild>,
    ) -> Result<Self, Error> {
        let state = State::open(config)?;
        let events = Events::open(state.file("events.jsonl").as_deref(), Arc::clone(&clock))
            .map_err(|err| state.error(&err))?;
        let mut all = collectors::all(config, &collectors::Parts::new(&clock, child))?;
        let processes = match config.processes.enabled && collectors::is_enabled(config, "processes", true) {
            true => {
                let shared =
                    Processes::new(&config.processes, config.procfs.as_str().into(), events.clone())?;
                Some(Arc::new(shared))
            }
            false => None,
        };
        if let Some(processes) = &processes {
            all.push(Box::new(ProcessCollector::new(&config.processes, Arc::clone(processes))));
        }
        let runs = |name: &str, enabled: bool| enabled && collectors::is_enabled(config, name, true);
        if runs("containers", config.containers.enabled) {
            all.push(Box::new(Containers::new(config.containers.max)));
        }
        if runs("hardware", config.hardware.enabled) {
            all.push(Box::new(Hardware::new(&config.hardware, state.file("totals.json"))));
        }
        if runs("power", config.power.enabled) {
            all.push(Box::new(Power::new(&config.power, events.clone())));
        }
        if runs("sockets", config.sockets.enabled) {
            all.push(Box::new(Sockets::new(&config.sockets, processes.clone())));
        }
        for service in services::all(&config.services) {
            if runs(service.name(), true) {
                all.push(Box::new(service));
            }
        }
        let mut host = Self::with(config, clock, all, events.clone());
        host.running = Running::mark(&state, &events);
        // Another machine's files say nothing of the processes of this one.
        let own = config.procfs == Config::default().procfs;
        let followed = processes.filter(|_| config.processes.follow_exits && own);
        if followed.is_some() || config.follow_kernel_log && own {
            let follower = Follower::start(followed, config.follow_kernel_log, events)
                .map_err(|err| state.error(&err))?;
            host.follower = Some(follower);
        }
        Ok(host)
    }

    /// What happened to this host.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// What this process may not see, in words, with what would help.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.follower.as_ref().map(|follower| follower.missing.clone()).unwrap_or_default();
        let connector = missing.connector.map(|reason| {
            format!(
                "ends of processes and their causes as they happen ({reason}): needs root or CAP_NET_ADMIN"
            )
        });
        let kmsg = missing.kmsg.map(|reason| {
            format!("the kernel's messages ({reason}): needs root, CAP_SYSLOG or kernel.dmesg_restrict=0")
        });
        connector.into_iter().chain(kmsg).collect()
    }

    /// With these collectors.
    pub(crate) fn with(
        config: &Config,
        clock: Arc<dyn Clock>,
        all: Vec<Box<dyn Collector>>,
        events: Events,
    ) -> Self {
        let slots = all.into_iter().map(|collector| Slot {
            name: collector.name(),
            collector: Mutex::new(collector),
            record: Mutex::default(),
        });
        Self {
            files: Arc::new(Files::new(config)),
            slots: slots.collect(),
            deadline: config.collector_timeout.to_std(),
            clock,
            events,
            follower: None,
            running: None,
        }
    }

    /// Asks every collector once. Families are sorted by name; no two have the same, nor two samples the same labels.
    pub async fn collect(&self) -> Vec<Family> {
        self.collect_without(&BTreeSet::new()).await
    }

    /// The same without these collectors, which are not asked; names that nobody has are nothing.
    pub async fn collect_without(&self, without: &BTreeSet<String>) -> Vec<Family> {
        let mut out = Output::default();
        let mut results: Vec<Option<(Duration, Result<(), Failure>)>> =
            self.slots.iter().map(|_| None).collect();
        let now = Instant::now();
        let mut run = Vec::with_capacity(self.slots.len());
        let asked = |slot: &Slot| !without.contains(slot.name);
        for (index, slot) in self.slots.iter().enumerate().filter(|(_, slot)| asked(slot)) {
            match slot.record().open {
                Some((until, _)) if now < until => {
                    let left = (until - now).as_secs();
                    let reason =
                        format!("missed its deadline {BREAK_AFTER} times in a row; asked again in {left} s");
                    results[index] = Some((Duration::ZERO, Err(Failure { state: "open", reason })));
                }
                _ => run.push(index),
            }
        }
        self.run(run, &mut out, &mut results).await;
        for (slot, result) in self.slots.iter().zip(results).filter(|(slot, _)| asked(slot)) {
            let (took, result) = result.unwrap_or_else(|| {
                let reason = "its thread ended without a word".to_owned();
                (Duration::ZERO, Err(Failure { state: "panicked", reason }))
            });
            self.report(slot, took, &result, &mut out);
        }
        out.gauge(
            "node_exporter_build_info",
            "Always 1; the labels say what exposes these metrics. The name is the one that dashboards look for.",
            &[
                ("branch", "bellwether"),
                ("goarch", goarch()),
                ("goos", "linux"),
                ("goversion", ""),
                ("revision", ""),
                ("tags", ""),
                ("version", env!("CARGO_PKG_VERSION")),
            ],
            1.0,
        );
        self.report_events(&mut out);
        out.finish()
    }

    /// Runs these collectors until all have answered or missed the deadline.
    async fn run(
        &self,
        order: Vec<usize>,
        out: &mut Output,
        results: &mut [Option<(Duration, Result<(), Failure>)>],
    ) {
        let total = order.len();
        // Two words a collector: no worker ever waits to say one.
        let (words, mut heard) = mpsc::channel(2 * total.max(1));
        let work = Work {
            slots: Arc::clone(&self.slots),
            files: Arc::clone(&self.files),
            order: order.into(),
            next: Arc::default(),
            words,
        };
        work.spawn();
        let mut started: Vec<Option<Instant>> = self.slots.iter().map(|_| None).collect();
        let mut finished = 0;
        while finished < total {
            let wake = if work.is_exhausted() {
                let running = started.iter().zip(results.iter()).filter(|(_, result)| result.is_none());
                let first = running.filter_map(|(started, _)| *started).min();
                first.unwrap_or_else(Instant::now) + self.deadline
            } else {
                Instant::now() + SOFT
            };
            match tokio::time::timeout_at(wake, heard.recv()).await {
                Ok(Some(Word::Started(index, at))) => started[index] = Some(at),
                Ok(Some(Word::Done(index, done))) => {
                    finished += 1;
                    self.slots[index].record().cpu += done.cpu;
                    let result = done.result.map(|own| out.append(own));
                    if results[index].is_none() {
                        results[index] = Some((done.took, result));
                    }
                }
                Ok(None) => break,
                Err(_) if !work.is_exhausted() => work.spawn(),
                Err(_) => {
                    let now = Instant::now();
                    for (index, started) in started.iter().enumerate() {
                        let Some(started) = started else { continue };
                        if results[index].is_none() && now.duration_since(*started) >= self.deadline {
                            finished += 1;
                            let reason = format!(
                                "not ready after {:?}; it is asked again when its thread is back",
                                self.deadline
                            );
                            let failure = Failure { state: "timeout", reason };
                            results[index] = Some((now.duration_since(*started), Err(failure)));
                        }
                    }
                }
            }
        }
    }

    /// How many events there were, and what is not followed.
    fn report_events(&self, out: &mut Output) {
        let (counts, write_errors) = self.events.counts();
        for (kind, count) in &counts {
            let help = "Events since this process began, by kind.";
            out.counter("bellwether_host_events_total", help, &[("kind", kind)], *count as f64);
        }
        let help = "Events that could not be written to the event file.";
        out.counter("bellwether_host_event_write_errors_total", help, &[], write_errors as f64);
        let Some(follower) = &self.follower else { return };
        if follower.missing.kmsg.is_none() {
            follow::report(&follower.log.lock(), out);
        }
        for (what, missing) in [
            ("ends of processes as they happen", &follower.missing.connector),
            ("messages of the kernel", &follower.missing.kmsg),
        ] {
            if missing.is_some() {
                out.denied("events", what);
            }
        }
    }

    /// Notes how a collector did and says so.
    fn report(&self, slot: &Slot, took: Duration, result: &Result<(), Failure>, out: &mut Output) {
        let mut record = slot.record();
        let failure = result.as_ref().err();
        match failure.map(|failure| failure.state) {
            Some("timeout") => {
                record.timeouts += 1;
                record.timeouts_in_row += 1;
                if record.timeouts_in_row >= BREAK_AFTER {
                    let pause = record.open.map_or(BREAK_FIRST, |(_, last)| (last * 2).min(BREAK_MAX));
                    record.open = Some((Instant::now() + pause, pause));
                    // One more miss after the pause and it is left alone again.
                    record.timeouts_in_row = BREAK_AFTER - 1;
                }
            }
            // Says nothing new about the collector.
            Some("busy" | "open") => {}
            _ => {
                record.timeouts_in_row = 0;
                record.open = None;
            }
        }
        let words = failure.map(|failure| &failure.reason);
        if record.last_failure.as_ref() != words && failure.is_none_or(|failure| failure.state != "open") {
            match words {
                Some(reason) => {
                    tracing::debug!(collector = slot.name, %reason, at = %self.clock.now(), "collector gave nothing");
                }
                None => tracing::debug!(collector = slot.name, "collector works again"),
            }
            record.last_failure = words.cloned();
        }
        let label = [("collector", slot.name)];
        out.gauge(
            "node_scrape_collector_duration_seconds",
            "How long the collector took this time.",
            &label,
            took.as_secs_f64(),
        );
        out.gauge(
            "node_scrape_collector_success",
            "1 when the collector gave what it has, 0 when it failed or has nothing on this host.",
            &label,
            f64::from(u8::from(failure.is_none())),
        );
        out.counter(
            "bellwether_host_collector_cpu_seconds_total",
            "Processor time that the collector has used.",
            &label,
            record.cpu.as_secs_f64(),
        );
        out.counter(
            "bellwether_host_collector_timeouts_total",
            "Times that the collector has missed its deadline.",
            &label,
            record.timeouts as f64,
        );
        if let Some(failure) = failure {
            out.gauge(
                "bellwether_host_collector_failed",
                "1 for each collector that gave nothing, with why: absent (nothing of the kind here), permission, failed, timeout, \
                 busy (still with an earlier collection), open (left alone after repeated timeouts), panicked.",
                &[("collector", slot.name), ("state", failure.state)],
                1.0,
            );
        }
    }
}

impl Slot {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, files: &Files) -> Result<Output, Failure> {
        let mut collector = match self.collector.try_lock() {
            Ok(collector) => collector,
            // It panicked earlier, and is asked again.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure {
                    state: "busy",
                    reason: "still busy with an earlier collection".into(),
                });
            }
        };
        let mut own = Output::new(self.name);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| collector.collect(files, &mut own))) {
            Ok(Ok(())) => Ok(own),
            Ok(Err(err)) => Err(Failure { state: err.state(), reason: err.chain() }),
            Err(_) => {
                Err(Failure { state: "panicked", reason: "panicked; the message is in the log".into() })
            }
        }
    }
}

/// What the workers of one collection share.
#[derive(Clone)]
struct Work {
    slots: Arc<[Slot]>,
    files: Arc<Files>,
    order: Arc<[usize]>,
    next: Arc<AtomicUsize>,
    words: mpsc::Sender<Word>,
}

impl Work {
    fn is_exhausted(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.order.len()
    }

    /// Starts a worker that takes collectors until none is left.
    fn spawn(&self) {
        let work = self.clone();
        tokio::task::spawn_blocking(move || {
            while let Some(&index) = work.order.get(work.next.fetch_add(1, Ordering::Relaxed)) {
                let (began, cpu_began) = (Instant::now(), thread_cpu());
                // Nobody listens any more once the collection has ended without this collector.
                drop(work.words.try_send(Word::Started(index, began)));
                let result = work.slots[index].collect(&work.files);
                let done =
                    Done { result, took: began.elapsed(), cpu: thread_cpu().saturating_sub(cpu_began) };
                drop(work.words.try_send(Word::Done(index, done)));
            }
        });
    }
}

/// Processor time of this thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The architecture by the name that dashboards know.
fn goarch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("running", &self.running.is_some())
            .field("collectors", &self.slots.iter().map(|slot| slot.name).collect::<Vec<_>>())
            .finish()
    }
}
