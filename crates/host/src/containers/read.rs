//! Numbers of one control group. Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files;
use crate::process::files::TICKS;

/// Version 1's way of saying that there is no limit, and everything near it.
const NO_LIMIT: f64 = 9.0e18;

/// Where the controllers are.
#[derive(Clone, Debug)]
pub(super) enum Layout {
    /// Version 2: one tree.
    Unified(PathBuf),
    /// Version 1: a tree a controller. Memory's is walked.
    Split(PathBuf),
}

/// What a control group counts; `None` for what its controllers do not.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub cpu_seconds: Option<f64>,
    pub cpu_user_seconds: Option<f64>,
    pub cpu_system_seconds: Option<f64>,
    pub periods: Option<f64>,
    pub throttled_periods: Option<f64>,
    pub throttled_seconds: Option<f64>,
    pub cpu_quota: Option<f64>,
    pub cpu_period: Option<f64>,
    pub memory_usage: Option<f64>,
    pub memory_limit: Option<f64>,
    pub memory_rss: Option<f64>,
    pub memory_cache: Option<f64>,
    pub memory_mapped: Option<f64>,
    pub memory_swap: Option<f64>,
    pub memory_limit_hits: Option<f64>,
    pub inactive_file: Option<f64>,
    pub major_faults: Option<f64>,
    pub oom_kills: Option<f64>,
    pub processes: Option<f64>,
    pub first_pid: Option<u32>,
    pub tasks: Option<f64>,
    pub tasks_max: Option<f64>,
    pub read_bytes: Option<f64>,
    pub written_bytes: Option<f64>,
    /// Of processor, memory, I/O: seconds in which some and all tasks waited.
    pub pressure: [[Option<f64>; 2]; 3],
}

impl Numbers {
    /// Use less what can be given up without harm, as the kubelet computes it.
    pub(super) fn working_set(&self) -> Option<f64> {
        self.memory_usage.map(|usage| (usage - self.inactive_file.unwrap_or(0.0)).max(0.0))
    }
}

impl Layout {
    pub(super) fn find(root: &Path) -> Result<Self, Error> {
        if root.join("cgroup.controllers").exists() {
            return Ok(Self::Unified(root.to_owned()));
        }
        if root.join("memory").is_dir() {
            return Ok(Self::Split(root.to_owned()));
        }
        Err(Error::Absent(root.display().to_string()))
    }

    /// The tree that has every control group.
    pub(super) fn tree(&self) -> PathBuf {
        match self {
            Self::Unified(root) => root.clone(),
            Self::Split(root) => root.join("memory"),
        }
    }

    pub(super) fn read(&self, path: &str) -> Numbers {
        match self {
            Self::Unified(root) => unified(&root.join(path.trim_start_matches('/'))),
            Self::Split(root) => split(root, path),
        }
    }
}

fn text(folder: &Path, file: &str) -> Option<String> {
    files::read(&folder.join(file)).ok()
}

fn number(folder: &Path, file: &str) -> Option<f64> {
    text(folder, file)?.trim().parse().ok()
}

/// A value of a file of `key value` lines.
fn keyed(text: Option<&String>, key: &str) -> Option<f64> {
    text?.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn unified(folder: &Path) -> Numbers {
    let cpu = text(folder, "cpu.stat");
    let memory = text(folder, "memory.stat");
    let events = text(folder, "memory.events");
    let seconds = |key: &str| keyed(cpu.as_ref(), key).map(|micro| micro / 1e6);
    let limit = |file: &str| {
        text(folder, file).map(|text| {
            text.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
        })
    };
    let max = text(folder, "cpu.max").unwrap_or_default();
    let (quota, period) = max.trim().split_once(' ').unwrap_or(("max", ""));
    let mut numbers = Numbers {
        cpu_seconds: seconds("usage_usec"),
        cpu_user_seconds: seconds("user_usec"),
        cpu_system_seconds: seconds("system_usec"),
        periods: keyed(cpu.as_ref(), "nr_periods"),
        throttled_periods: keyed(cpu.as_ref(), "nr_throttled"),
        throttled_seconds: seconds("throttled_usec"),
        cpu_quota: quota.parse().ok(),
        cpu_period: period.parse().ok(),
        memory_usage: number(folder, "memory.current"),
        memory_limit: limit("memory.max"),
        memory_rss: keyed(memory.as_ref(), "anon"),
        memory_cache: keyed(memory.as_ref(), "file"),
        memory_mapped: keyed(memory.as_ref(), "file_mapped"),
        memory_swap: number(folder, "memory.swap.current"),
        memory_limit_hits: keyed(events.as_ref(), "max"),
        inactive_file: keyed(memory.as_ref(), "inactive_file"),
        major_faults: keyed(memory.as_ref(), "pgmajfault"),
        oom_kills: keyed(events.as_ref(), "oom_kill"),
        tasks: number(folder, "pids.current"),
        tasks_max: limit("pids.max"),
        ..Numbers::default()
    };
    if let Some(text) = text(folder, "io.stat") {
        let sum = |key: &str| -> f64 {
            let words = text.split_ascii_whitespace();
            words.filter_map(|word| word.strip_prefix(key)?.parse::<f64>().ok()).sum()
        };
        numbers.read_bytes = Some(sum("rbytes="));
        numbers.written_bytes = Some(sum("wbytes="));
    }
    for (index, file) in ["cpu.pressure", "memory.pressure", "io.pressure"].iter().enumerate() {
        let Some(text) = text(folder, file) else { continue };
        for (side, kind) in ["some", "full"].iter().enumerate() {
            let line = text.lines().find(|line| line.starts_with(kind));
            let total = line.and_then(|line| line.rsplit_once("total=")?.1.parse::<f64>().ok());
            numbers.pressure[index][side] = total.map(|micro| micro / 1e6);
        }
    }
    processes(folder, &mut numbers);
    numbers
}

fn split(root: &Path, path: &str) -> Numbers {
    let path = path.trim_start_matches('/');
    let folder = |names: &[&str]| {
        names.iter().map(|name| root.join(name).join(path)).find(|folder| folder.is_dir()).unwrap_or_default()
    };
    let memory = folder(&["memory"]);
    let cpu = folder(&["cpu", "cpu,cpuacct", "cpuacct,cpu"]);
    let account = folder(&["cpuacct", "cpu,cpuacct", "cpuacct,cpu"]);
    let (pids, block) = (folder(&["pids"]), folder(&["blkio"]));
    let stat = text(&memory, "memory.stat");
    let throttling = text(&cpu, "cpu.stat");
    let ticks = text(&account, "cpuacct.stat");
    let of = |key: &str| keyed(stat.as_ref(), key);
    let mut numbers = Numbers {
        cpu_seconds: number(&account, "cpuacct.usage").map(|nanos| nanos / 1e9),
        cpu_user_seconds: keyed(ticks.as_ref(), "user").map(|ticks| ticks / TICKS),
        cpu_system_seconds: keyed(ticks.as_ref(), "system").map(|ticks| ticks / TICKS),
        periods: keyed(throttling.as_ref(), "nr_periods"),
        throttled_periods: keyed(throttling.as_ref(), "nr_throttled"),
        throttled_seconds: keyed(throttling.as_ref(), "throttled_time").map(|nanos| nanos / 1e9),
        cpu_quota: number(&cpu, "cpu.cfs_quota_us").filter(|quota| *quota >= 0.0),
        cpu_period: number(&cpu, "cpu.cfs_period_us"),
        memory_usage: number(&memory, "memory.usage_in_bytes"),
        memory_limit: number(&memory, "memory.limit_in_bytes")
            .map(|limit| if limit > NO_LIMIT { 0.0 } else { limit }),
        memory_rss: of("total_rss"),
        memory_cache: of("total_cache"),
        memory_mapped: of("total_mapped_file"),
        memory_swap: of("total_swap"),
        memory_limit_hits: number(&memory, "memory.failcnt"),
        inactive_file: of("total_inactive_file"),
        major_faults: of("total_pgmajfault"),
        oom_kills: keyed(text(&memory, "memory.oom_control").as_ref(), "oom_kill"),
        tasks: number(&pids, "pids.current"),
        tasks_max: text(&pids, "pids.max").map(|text| text.trim().parse().unwrap_or(0.0)),
        ..Numbers::default()
    };
    if let Some(text) = text(&block, "blkio.throttle.io_service_bytes") {
        let sum = |kind: &str| -> f64 {
            let lines = text.lines().filter_map(|line| line.split_once(' ')?.1.strip_prefix(kind));
            lines.filter_map(|rest| rest.trim().parse::<f64>().ok()).sum()
        };
        numbers.read_bytes = Some(sum("Read"));
        numbers.written_bytes = Some(sum("Write"));
    }
    processes(&memory, &mut numbers);
    numbers
}

fn processes(folder: &Path, numbers: &mut Numbers) {
    if let Some(text) = text(folder, "cgroup.procs") {
        numbers.processes = Some(text.lines().count() as f64);
        numbers.first_pid = text.lines().next().and_then(|line| line.parse().ok());
    }
}
