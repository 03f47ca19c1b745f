//! Containers and services: what their control groups count, versions 1 and 2, under cAdvisor's names.
//!
//! | module | holds |
//! |---|---|
//! | `read` | a control group's numbers, whichever the version |
//! | `names` | what Docker, containerd and Kubernetes call a container |

pub(crate) mod config;
mod names;
mod read;

use std::path::{Path, PathBuf};

use model::MetricType::{Counter, Gauge};

use crate::files::{self, Files};
use crate::output::Output;
use crate::process::files::{container, unit};
use crate::{Collector, Error};
use names::Names;
use read::{Layout, Numbers};

/// Control groups that are looked into, and how deep.
const MAX_FOLDERS: usize = 20_000;
const MAX_DEPTH: usize = 12;

pub(crate) struct Containers {
    names: Names,
    max: usize,
}

impl Containers {
    pub(crate) fn new(max: usize) -> Self {
        Self { names: Names::default(), max }
    }
}

impl Collector for Containers {
    fn name(&self) -> &'static str {
        "containers"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let layout = Layout::find(&files.sys_path("fs/cgroup"))?;
        let mut groups = Vec::new();
        let mut folders = 0;
        walk(&layout.tree(), "", 0, &mut folders, &mut groups);
        groups.sort_unstable();
        let left_out = groups.len().saturating_sub(self.max);
        groups.truncate(self.max);
        for path in &groups {
            let numbers = layout.read(path);
            let identity = self.names.of(files, path);
            report(out, files, path, &identity, &numbers);
        }
        let help = "Containers and services that are not shown because there are more than containers.max.";
        out.gauge("bellwether_containers_left_out", help, &[], left_out as f64);
        self.names.forget(&groups);
        Ok(())
    }
}

/// Collects the paths of containers and services below a folder.
fn walk(root: &Path, path: &str, depth: usize, folders: &mut usize, found: &mut Vec<String>) {
    let folder: PathBuf = root.join(path.trim_start_matches('/'));
    let Ok(entries) = std::fs::read_dir(&folder) else { return };
    for entry in entries.flatten() {
        // The type comes with the entry: no further call.
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        *folders += 1;
        if *folders > MAX_FOLDERS {
            return;
        }
        let child = format!("{path}/{}", entry.file_name().to_string_lossy());
        let is_container = !container(&child).is_empty() && container(path).is_empty();
        let is_service = child.ends_with(".service");
        if is_container || is_service {
            found.push(child.clone());
        }
        if depth + 1 < MAX_DEPTH {
            walk(root, &child, depth + 1, folders, found);
        }
    }
}

/// What people call it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub name: String,
    pub image: String,
    pub container: String,
    pub pod: String,
    pub namespace: String,
}

fn report(out: &mut Output, files: &Files, path: &str, identity: &Identity, numbers: &Numbers) {
    let service = if identity.name.is_empty() { unit(path) } else { "" };
    let name = if service.is_empty() { identity.name.as_str() } else { service };
    let labels = [
        ("container", identity.container.as_str()),
        ("id", path),
        ("image", identity.image.as_str()),
        ("name", name),
        ("namespace", identity.namespace.as_str()),
        ("pod", identity.pod.as_str()),
    ];
    let with = |name: &'static str, value: &'static str| {
        let mut all = labels.to_vec();
        all.push((name, value));
        all
    };
    if let Some(seconds) = numbers.cpu_seconds {
        let help = "Processor time that a container has used.";
        out.counter("container_cpu_usage_seconds_total", help, &with("cpu", "total"), seconds);
    }
    let plain: [(&str, _, &str, Option<f64>); 22] = [
        (
            "container_cpu_user_seconds_total",
            Counter,
            "Processor time used by programs.",
            numbers.cpu_user_seconds,
        ),
        (
            "container_cpu_system_seconds_total",
            Counter,
            "Processor time used by the kernel for it.",
            numbers.cpu_system_seconds,
        ),
        (
            "container_cpu_cfs_periods_total",
            Counter,
            "Periods in which its share was accounted.",
            numbers.periods,
        ),
        (
            "container_cpu_cfs_throttled_periods_total",
            Counter,
            "Periods in which it had used up its share.",
            numbers.throttled_periods,
        ),
        (
            "container_cpu_cfs_throttled_seconds_total",
            Counter,
            "Time that it was stopped because its share was used up.",
            numbers.throttled_seconds,
        ),
        ("container_memory_usage_bytes", Gauge, "Memory in use, caches included.", numbers.memory_usage),
        (
            "container_memory_working_set_bytes",
            Gauge,
            "Memory in use that cannot simply be given up.",
            numbers.working_set(),
        ),
        ("container_memory_rss", Gauge, "Memory of programs themselves.", numbers.memory_rss),
        ("container_memory_cache", Gauge, "Memory that caches files.", numbers.memory_cache),
        ("container_memory_mapped_file", Gauge, "Memory of files that are mapped.", numbers.memory_mapped),
        ("container_memory_swap", Gauge, "Memory that was swapped out.", numbers.memory_swap),
        (
            "container_memory_failcnt",
            Counter,
            "Times that the memory limit was hit.",
            numbers.memory_limit_hits,
        ),
        (
            "container_memory_failures_total",
            Counter,
            "Pages that had to be waited for.",
            numbers.major_faults,
        ),
        (
            "container_oom_events_total",
            Counter,
            "Processes killed because the container's memory ran out.",
            numbers.oom_kills,
        ),
        ("container_spec_memory_limit_bytes", Gauge, "The memory limit; 0 means none.", numbers.memory_limit),
        (
            "container_spec_cpu_quota",
            Gauge,
            "Processor time that it may use in a period, in microseconds.",
            numbers.cpu_quota,
        ),
        (
            "container_spec_cpu_period",
            Gauge,
            "The period of the processor share, in microseconds.",
            numbers.cpu_period,
        ),
        ("container_processes", Gauge, "Processes that run in it.", numbers.processes),
        ("container_threads", Gauge, "Tasks that run in it.", numbers.tasks),
        (
            "container_threads_max",
            Gauge,
            "Most tasks that may run in it; 0 means any number.",
            numbers.tasks_max,
        ),
        ("container_fs_reads_bytes_total", Counter, "Bytes read from disks.", numbers.read_bytes),
        ("container_fs_writes_bytes_total", Counter, "Bytes written to disks.", numbers.written_bytes),
    ];
    for (metric, kind, help, value) in plain {
        if let Some(value) = value {
            let labels = match metric {
                "container_memory_failures_total" => with("failure_type", "pgmajfault"),
                _ => labels.to_vec(),
            };
            out.add(metric, kind, help, &labels, value);
        }
    }
    for (resource, [some, full]) in ["cpu", "memory", "io"].into_iter().zip(numbers.pressure) {
        for (kind, seconds) in [("waiting", some), ("stalled", full)] {
            if let Some(seconds) = seconds {
                let help = "Time during which some (waiting) or all (stalled) tasks of a container waited for a resource.";
                out.counter(
                    &format!("container_pressure_{resource}_{kind}_seconds_total"),
                    help,
                    &labels,
                    seconds,
                );
            }
        }
    }
    // Containers have a network of their own, services mostly not.
    if let Some(pid) = numbers.first_pid.filter(|_| !container(path).is_empty()) {
        network(out, files, pid, &labels);
    }
}

/// Counters of the container's own network devices, as one of its processes sees them.
fn network(out: &mut Output, files: &Files, pid: u32, labels: &[(&str, &str)]) {
    let own = std::fs::read_link(files.proc_path("self/ns/net")).ok();
    let theirs = std::fs::read_link(files.proc_path(&format!("{pid}/ns/net"))).ok();
    // On the host's network the counters are the host's.
    if theirs.is_none() || own == theirs {
        return;
    }
    let text = files.proc(&format!("{pid}/net/dev")).unwrap_or_default();
    for line in text.lines() {
        let Some((device, rest)) = line.rsplit_once(':') else { continue };
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let mut all = labels.to_vec();
        all.push(("interface", device.trim()));
        for (column, metric) in [
            (0, "receive_bytes"),
            (1, "receive_packets"),
            (2, "receive_errors"),
            (3, "receive_packets_dropped"),
            (8, "transmit_bytes"),
            (9, "transmit_packets"),
            (10, "transmit_errors"),
            (11, "transmit_packets_dropped"),
        ] {
            if let Some(Ok(value)) = words.get(column).map(|word| files::number("net/dev", word)) {
                let help = format!("Network counter {metric} of a container.");
                out.counter(&format!("container_network_{metric}_total"), &help, &all, value);
            }
        }
    }
}

/// Whether something is the control group of a container, by path; for tests of the walk.
#[cfg(test)]
fn found(root: &Path) -> Vec<String> {
    let mut groups = Vec::new();
    walk(root, "", 0, &mut 0, &mut groups);
    groups.sort_unstable();
    groups
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Config;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    fn collect(root: &Path) -> BTreeMap<String, f64> {
        let config = Config {
            sysfs: root.join("sys").display().to_string(),
            rootfs: root.join("root").display().to_string(),
            ..Config::default()
        };
        let mut out = Output::new("containers");
        Containers::new(100).collect(&Files::new(&config), &mut out).unwrap();
        let families = out.finish();
        let samples = families.iter().flat_map(|family| {
            family.samples.iter().map(|(labels, value)| {
                (format!("{}{{{}}}", family.name, labels.get("name").unwrap_or_default()), *value)
            })
        });
        samples.collect()
    }

    #[test]
    fn version_2_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let group = format!("sys/fs/cgroup/system.slice/docker-{ID}.scope");
        let file = |name: &str| format!("{group}/{name}");
        let config = format!("root/var/lib/docker/containers/{ID}/config.v2.json");
        write(
            folder.path(),
            &[
                ("sys/fs/cgroup/cgroup.controllers", "cpu memory io pids"),
                ("sys/fs/cgroup/system.slice/cron.service/memory.current", "4096"),
                (
                    &file("cpu.stat"),
                    "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n",
                ),
                (&file("cpu.max"), "50000 100000\n"),
                (&file("memory.current"), "1000000\n"),
                (&file("memory.max"), "max\n"),
                (
                    &file("memory.stat"),
                    "anon 600000\nfile 300000\ninactive_file 100000\nfile_mapped 5\npgmajfault 7\n",
                ),
                (&file("memory.events"), "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n"),
                (&file("pids.current"), "12\n"),
                (&file("io.stat"), "254:0 rbytes=100 wbytes=200 rios=1 wios=2\n254:16 rbytes=1 wbytes=2\n"),
                (
                    &file("cpu.pressure"),
                    "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0 avg60=0 avg300=0 total=500000\n",
                ),
                (&file("cgroup.procs"), "4194300\n4194301\n"),
                (&config, r#"{"Name":"/web","Config":{"Image":"nginx:1"}}"#),
            ],
        );
        let seen = collect(folder.path());
        let value = |name: &str| seen.get(&format!("{name}{{web}}")).copied();
        assert_eq!(value("container_cpu_usage_seconds_total"), Some(5.0));
        assert_eq!(value("container_cpu_cfs_throttled_seconds_total"), Some(1.5));
        assert_eq!(value("container_memory_working_set_bytes"), Some(900_000.0));
        assert_eq!(value("container_spec_memory_limit_bytes"), Some(0.0));
        assert_eq!(value("container_spec_cpu_quota"), Some(50_000.0));
        assert_eq!(value("container_oom_events_total"), Some(2.0));
        assert_eq!(value("container_fs_writes_bytes_total"), Some(202.0));
        assert_eq!(value("container_pressure_cpu_waiting_seconds_total"), Some(2.5));
        assert_eq!((value("container_processes"), value("container_threads")), (Some(2.0), Some(12.0)));
        assert_eq!(seen.get("container_memory_usage_bytes{cron.service}"), Some(&4096.0));
    }

    #[test]
    fn version_1_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let group = format!("kubepods/burstable/podabc/{ID}");
        let file = |controller: &str, name: &str| format!("sys/fs/cgroup/{controller}/{group}/{name}");
        let bundle = format!("root/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json");
        write(
            folder.path(),
            &[
                (&file("memory", "memory.usage_in_bytes"), "1000000"),
                (&file("memory", "memory.limit_in_bytes"), "9223372036854771712"),
                (&file("memory", "memory.failcnt"), "5"),
                (
                    &file("memory", "memory.stat"),
                    "total_cache 300000\ntotal_rss 600000\ntotal_inactive_file 100000\ntotal_swap 1\ntotal_pgmajfault 9\n",
                ),
                (&file("memory", "memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
                (&file("memory", "cgroup.procs"), "7\n"),
                (&file("cpu,cpuacct", "cpuacct.usage"), "2500000000"),
                (&file("cpu,cpuacct", "cpuacct.stat"), "user 200\nsystem 50\n"),
                (
                    &file("cpu,cpuacct", "cpu.stat"),
                    "nr_periods 8\nnr_throttled 2\nthrottled_time 250000000\n",
                ),
                (&file("cpu,cpuacct", "cpu.cfs_quota_us"), "-1"),
                (&file("cpu,cpuacct", "cpu.cfs_period_us"), "100000"),
                (&file("pids", "pids.current"), "3"),
                (
                    &file("blkio", "blkio.throttle.io_service_bytes"),
                    "254:0 Read 10\n254:0 Write 20\n254:0 Total 30\nTotal 30\n",
                ),
                (
                    &bundle,
                    r#"{"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"app-7f","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.image-name":"shop/app:2"}}"#,
                ),
            ],
        );
        let seen = collect(folder.path());
        let value = |name: &str| seen.get(&format!("{name}{{app}}")).copied();
        assert_eq!(value("container_cpu_usage_seconds_total"), Some(2.5));
        assert_eq!(value("container_cpu_user_seconds_total"), Some(2.0));
        assert_eq!(value("container_cpu_cfs_throttled_seconds_total"), Some(0.25));
        assert_eq!(value("container_spec_cpu_quota"), None);
        assert_eq!(value("container_memory_working_set_bytes"), Some(900_000.0));
        assert_eq!(value("container_spec_memory_limit_bytes"), Some(0.0));
        assert_eq!(
            (value("container_oom_events_total"), value("container_memory_failcnt")),
            (Some(3.0), Some(5.0))
        );
        assert_eq!(
            (value("container_fs_reads_bytes_total"), value("container_threads")),
            (Some(10.0), Some(3.0))
        );
    }

    #[test]
    fn containers_within_containers_are_not_counted_twice() {
        let folder = tempfile::tempdir().unwrap();
        for path in [format!("a/{ID}/init"), format!("a/{ID}/{ID}"), "b/x.service/y".into(), "c".into()] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        assert_eq!(found(folder.path()), [format!("/a/{ID}"), "/b/x.service".to_owned()]);
    }
}
