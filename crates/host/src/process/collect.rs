//! `processes`: process groups under process-exporter's names, task states under node_exporter's, and our own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Processes;
use super::config::ProcessConfig;
use super::files::TICKS;
use super::groups::Source;
use super::scan::{Counters, Overall, Record, Table};
use super::users;
use crate::files::{Files, number};
use crate::output::Output;
use crate::{Collector, Error};

/// Causes of ends that critical groups always show.
const USUAL_ENDS: [(&str, &str); 3] = [("", "0"), ("", "1"), ("SIGKILL", "")];

pub(crate) struct ProcessCollector {
    shared: Arc<Processes>,
    table: Table,
    groups: BTreeMap<Arc<str>, Group>,
    last: Option<Instant>,
    top: usize,
    forget_after: Duration,
    learn_after: Duration,
}

/// A group between collections.
struct Group {
    totals: Counters,
    /// When it had a process last.
    seen: Instant,
    /// Since when it has had one without a break.
    since: Option<Instant>,
}

/// A group's processes now.
#[derive(Clone, Debug, Default)]
struct Now {
    processes: u32,
    threads: u64,
    states: [u32; 5],
    resident: u64,
    virtual_bytes: u64,
    swap: u64,
    pss: Option<u64>,
    swap_pss: Option<u64>,
    descriptors: u64,
    worst_ratio: f64,
    /// Start of the oldest, in ticks after boot.
    oldest: Option<u64>,
}

impl Now {
    fn add(&mut self, record: &Record) {
        self.processes += 1;
        self.threads += u64::from(record.threads);
        self.states[state(record.state)] += 1;
        self.resident += record.resident_bytes;
        self.virtual_bytes += record.virtual_bytes;
        self.swap += record.details.swap_bytes;
        for (sum, value) in
            [(&mut self.pss, record.details.pss_bytes), (&mut self.swap_pss, record.details.swap_pss_bytes)]
        {
            if let Some(value) = value {
                *sum = Some(sum.unwrap_or(0) + value);
            }
        }
        if let Some(count) = record.details.descriptors {
            self.descriptors += count;
            if let Some(limit) = record.details.descriptor_limit.filter(|limit| *limit > 0) {
                self.worst_ratio = self.worst_ratio.max(count as f64 / limit as f64);
            }
        }
        self.oldest = Some(self.oldest.map_or(record.started, |oldest| oldest.min(record.started)));
    }
}

const STATES: [&str; 5] = ["Running", "Sleeping", "Waiting", "Zombie", "Other"];

fn state(letter: char) -> usize {
    match letter {
        'R' => 0,
        'S' | 'I' => 1,
        'D' => 2,
        'Z' => 3,
        _ => 4,
    }
}

impl ProcessCollector {
    pub(crate) fn new(config: &ProcessConfig, shared: Arc<Processes>) -> Self {
        Self {
            table: Table::new(Arc::clone(&shared), Duration::from_millis(config.detail_budget_ms)),
            shared,
            groups: BTreeMap::new(),
            last: None,
            top: config.top.min(100),
            forget_after: config.forget_after.to_std(),
            learn_after: config.learn_after.to_std(),
        }
    }

    /// Adds the scan to the groups, and gives up those that have been empty for long.
    fn account(&mut self, now: &HashMap<Arc<str>, Now>) {
        let at = Instant::now();
        for (name, _) in self.shared.groups.critical() {
            self.groups.entry(name.as_str().into()).or_insert(Group {
                totals: Counters::default(),
                seen: at,
                since: None,
            });
        }
        for name in now.keys() {
            let group = self.groups.entry(Arc::clone(name)).or_insert(Group {
                totals: Counters::default(),
                seen: at,
                since: Some(at),
            });
            group.seen = at;
            group.since = group.since.or(Some(at));
        }
        for (name, gain) in &self.table.gains {
            if let Some(group) = self.groups.get_mut(name) {
                group.totals.add(gain, &Counters::default());
            }
        }
        let (forget_after, learn_after, shared) = (self.forget_after, self.learn_after, &self.shared);
        self.groups.retain(|name, group| {
            if !now.contains_key(name) {
                group.since = None;
            }
            let long = group.since.is_some_and(|since| at.duration_since(since) >= learn_after);
            if long && !learn_after.is_zero() {
                shared.groups.learn(name);
            }
            let keep = at.duration_since(group.seen) < forget_after || shared.groups.is_critical(name);
            if !keep {
                shared.groups.forget(name);
                shared.ledger.lock().accounts.remove(name);
            }
            keep
        });
    }

    fn groups(&self, now: &HashMap<Arc<str>, Now>, boot: f64, out: &mut Output) {
        let empty = Now::default();
        for (name, group) in &self.groups {
            let now = now.get(name).unwrap_or(&empty);
            show(name, &group.totals, now, boot, out);
        }
        for (name, source) in self.shared.groups.critical() {
            let source = if source == Source::Declared { "declared" } else { "learned" };
            let labels = [("groupname", name.as_str()), ("source", source)];
            let help = "Always 1; the groups of processes that must be there.";
            out.gauge("bellwether_process_expected", help, &labels, 1.0);
        }
    }

    /// The largest processes, as top shows them.
    fn top(&self, elapsed: Duration, out: &mut Output) {
        if self.top == 0 {
            return;
        }
        let mut records: Vec<(&u32, &Record)> = self.table.records.iter().collect();
        let mut chosen: BTreeMap<u32, &Record> = BTreeMap::new();
        let count = self.top.min(records.len());
        if count == 0 {
            return;
        }
        records.select_nth_unstable_by_key(count - 1, |(_, record)| std::cmp::Reverse(record.recent_ticks));
        let busy = records.iter().take(count).filter(|(_, record)| record.recent_ticks > 0);
        chosen.extend(busy.map(|(pid, record)| (**pid, *record)));
        records.select_nth_unstable_by_key(count - 1, |(_, record)| std::cmp::Reverse(record.resident_bytes));
        chosen.extend(records.iter().take(count).map(|(pid, record)| (**pid, *record)));
        for (pid, record) in chosen {
            let pid = pid.to_string();
            let labels =
                [("comm", &*record.identity.comm), ("groupname", &*record.identity.group), ("pid", &pid)];
            let seconds = elapsed.as_secs_f64();
            if seconds > 0.0 {
                let cores = record.recent_ticks as f64 / TICKS / seconds;
                let help =
                    "Processors that one of the largest processes has kept busy since the collection before.";
                out.gauge("bellwether_process_cpu_cores", help, &labels, cores);
                for (direction, bytes) in ["read", "written"].into_iter().zip(record.recent_bytes) {
                    let mut labels = labels.to_vec();
                    labels.push(("direction", direction));
                    let help =
                        "Bytes a second that one of the largest processes has moved from and to disks.";
                    out.gauge(
                        "bellwether_process_disk_bytes_per_second",
                        help,
                        &labels,
                        bytes as f64 / seconds,
                    );
                }
            }
            let help = "Memory of one of the largest processes.";
            out.gauge("bellwether_process_resident_bytes", help, &labels, record.resident_bytes as f64);
            out.gauge(
                "bellwether_process_threads",
                "Threads of one of the largest processes.",
                &labels,
                f64::from(record.threads),
            );
            if let Some(count) = record.details.descriptors {
                let help = "Descriptors that one of the largest processes has open.";
                out.gauge("bellwether_process_open_descriptors", help, &labels, count as f64);
            }
        }
    }

    /// Ends, crashes, restarts.
    fn ledger(&self, out: &mut Output) {
        let ledger = self.shared.ledger.lock();
        let now = self.shared.events.now().ms();
        let critical = self.shared.groups.critical();
        let empty = super::ledger::Account::default();
        let none: Arc<str> = "".into();
        let declared = critical
            .iter()
            .filter(|(name, _)| !ledger.accounts.contains_key(name.as_str()))
            .map(|(name, _)| (name.as_str(), &empty));
        let known = ledger.accounts.iter().map(|(name, account)| (&**name, account));
        for (name, account) in known.chain(declared) {
            let group = [("groupname", name)];
            let mut ends = account.ends.clone();
            if self.shared.groups.is_critical(name) {
                for (signal, code) in USUAL_ENDS {
                    ends.entry((signal, code.to_owned())).or_default();
                }
            }
            for ((signal, code), count) in &ends {
                let labels = [("code", code.as_str()), ("groupname", name), ("signal", *signal)];
                let help = "Processes of a group that ended by a signal, or at all when the group is critical, by how.";
                out.counter("bellwether_process_exits_total", help, &labels, *count as f64);
            }
            let help = "Processes of a group that the kernel killed for want of memory.";
            out.counter("bellwether_process_oom_kills_total", help, &group, account.oom_kills as f64);
            let help = "Processes of a group that began again within a minute of an end.";
            out.counter("bellwether_process_restarts_total", help, &group, account.restarts as f64);
            let looping = f64::from(u8::from(account.is_looping(now)));
            let help = "1 while a group begins again and again: 3 times within 5 minutes.";
            out.gauge("bellwether_process_restart_loop", help, &group, looping);
            if let Some(crash) = &account.last_crash {
                let unit = if crash.unit.is_empty() { &none } else { &crash.unit };
                let labels = [
                    ("cause", crash.cause),
                    ("code", &crash.code),
                    ("groupname", name),
                    ("signal", crash.signal),
                    ("unit", &**unit),
                ];
                let help = "When a process of a group crashed last, in seconds since the epoch, and how.";
                let seconds = crash.time as f64 / 1000.0;
                out.gauge("bellwether_process_last_crash_timestamp_seconds", help, &labels, seconds);
            }
        }
        let help =
            "Times that the kernel had more beginnings and ends of processes to tell than could be taken.";
        out.counter("bellwether_process_event_overruns_total", help, &[], ledger.overruns as f64);
        let help = "Ends of processes that were counted but not kept as events because there were too many.";
        out.counter("bellwether_process_events_suppressed_total", help, &[], ledger.suppressed as f64);
    }
}

fn show(name: &str, totals: &Counters, now: &Now, boot: f64, out: &mut Output) {
    let group = [("groupname", name)];
    let gauge = |out: &mut Output, metric: &str, help: &str, value: f64| {
        out.gauge(&format!("namedprocess_namegroup_{metric}"), help, &group, value);
    };
    gauge(out, "num_procs", "Processes of a group.", f64::from(now.processes));
    gauge(out, "num_threads", "Threads of a group.", now.threads as f64);
    gauge(out, "open_filedesc", "Descriptors that a group has open.", now.descriptors as f64);
    let help = "The largest share of its limit of descriptors that a process of the group uses.";
    gauge(out, "worst_fd_ratio", help, now.worst_ratio);
    let oldest = now.oldest.map_or(0.0, |ticks| boot + ticks as f64 / TICKS);
    let help = "When the oldest process of a group began, in seconds since the epoch; 0 without one.";
    gauge(out, "oldest_start_time_seconds", help, oldest);
    let memory: [(&str, Option<u64>); 5] = [
        ("resident", Some(now.resident)),
        ("virtual", Some(now.virtual_bytes)),
        ("swapped", Some(now.swap)),
        ("proportionalResident", now.pss),
        ("proportionalSwapped", now.swap_pss),
    ];
    for (kind, bytes) in memory {
        if let Some(bytes) = bytes {
            let labels = [("groupname", name), ("memtype", kind)];
            let help = "Memory of a group by kind; proportional ones share common pages among their users.";
            out.gauge("namedprocess_namegroup_memory_bytes", help, &labels, bytes as f64);
        }
    }
    for (state, count) in STATES.iter().zip(now.states) {
        let labels = [("groupname", name), ("state", *state)];
        let help = "Processes of a group by what they are doing.";
        out.gauge("namedprocess_namegroup_states", help, &labels, f64::from(count));
    }
    for (mode, ticks) in [("user", totals.user_ticks), ("system", totals.system_ticks)] {
        let labels = [("groupname", name), ("mode", mode)];
        let help = "Processor time that a group has used.";
        out.counter("namedprocess_namegroup_cpu_seconds_total", help, &labels, ticks as f64 / TICKS);
    }
    for (kind, count) in [("voluntary", totals.voluntary), ("nonvoluntary", totals.involuntary)] {
        let labels = [("ctxswitchtype", kind), ("groupname", name)];
        let help = "Times that processes of a group gave up a processor or were taken off it.";
        out.counter("namedprocess_namegroup_context_switches_total", help, &labels, count as f64);
    }
    for (metric, help, value) in [
        (
            "namedprocess_namegroup_read_bytes_total",
            "Bytes that a group has read from disks.",
            totals.read_bytes as f64,
        ),
        (
            "namedprocess_namegroup_write_bytes_total",
            "Bytes that a group has written to disks.",
            totals.write_bytes as f64,
        ),
        (
            "namedprocess_namegroup_major_page_faults_total",
            "Pages that a group had to wait for.",
            totals.major_faults as f64,
        ),
        (
            "namedprocess_namegroup_minor_page_faults_total",
            "Pages that a group got without waiting for a disk.",
            totals.minor_faults as f64,
        ),
        (
            "bellwether_process_run_delay_seconds_total",
            "Time that threads of a group waited for a processor.",
            totals.run_delay_ns as f64 / 1e9,
        ),
        (
            "bellwether_process_io_delay_seconds_total",
            "Time that threads of a group waited for block devices; 0 unless kernel.task_delayacct is 1.",
            totals.io_delay_ticks as f64 / TICKS,
        ),
    ] {
        out.counter(metric, help, &group, value);
    }
}

/// Task states and limits under node_exporter's names.
fn overall(overall: &Overall, files: &Files, out: &mut Output) -> Result<(), Error> {
    out.gauge("node_processes_pids", "Processes that exist.", &[], f64::from(overall.processes));
    out.gauge("node_processes_threads", "Threads that exist.", &[], overall.threads as f64);
    for (state, count) in &overall.states {
        let state = state.to_string();
        let help = "Processes by state, as ps shows it.";
        out.gauge("node_processes_state", help, &[("state", &state)], f64::from(*count));
    }
    for (file, name, help) in [
        ("sys/kernel/threads-max", "node_processes_max_threads", "Most threads that may exist."),
        ("sys/kernel/pid_max", "node_processes_max_processes", "Most processes that may exist."),
    ] {
        out.gauge(name, help, &[], number(file, files.proc(file)?.trim())?);
    }
    let help = "Threads of the kernel itself.";
    out.gauge("bellwether_kernel_threads", help, &[], f64::from(overall.kernel_threads));
    let help = "Age of the oldest details (descriptors, shared memory) of a process that are shown.";
    out.gauge("bellwether_process_detail_age_seconds", help, &[], overall.detail_age.as_secs_f64());
    Ok(())
}

impl Collector for ProcessCollector {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let seen = self.table.scan()?;
        let at = Instant::now();
        let elapsed = self.last.replace(at).map(|last| at.duration_since(last)).unwrap_or_default();
        let mut now: HashMap<Arc<str>, Now> = HashMap::new();
        for record in self.table.records.values() {
            now.entry(Arc::clone(&record.identity.group)).or_default().add(record);
        }
        self.account(&now);
        let stat = files.proc("stat")?;
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok()).unwrap_or(0.0);
        overall(&seen, files, out)?;
        self.groups(&now, boot, out);
        self.top(elapsed, out);
        self.ledger(out);
        if let Some(count) = users::logged_in(files) {
            out.gauge("bellwether_users_logged_in", "Sessions of people on this host.", &[], count as f64);
        }
        if let Ok(text) = files.proc("uptime") {
            let seconds = number("uptime", text.split_ascii_whitespace().next().unwrap_or_default())?;
            out.gauge("bellwether_host_uptime_seconds", "Time since the host was booted.", &[], seconds);
        }
        if seen.denied_io {
            out.deny("disk bytes of other users' processes");
        }
        if seen.denied_details {
            out.deny("descriptors and shared memory of other users' processes");
        }
        Ok(())
    }
}
