//! `loadavg`, `conntrack`, `entropy`, `filefd`, `kernel_hung`, `selinux`: single numbers of the kernel.

use super::super::files::{Files, number};
use super::super::output::Output;
use super::super::{Collector, Error};

pub(in super::super) struct LoadAvg;

impl Collector for LoadAvg {
    fn name(&self) -> &'static str {
        "loadavg"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let text = files.proc("loadavg")?;
        for ((name, help), word) in [
            ("node_load1", "1m load average."),
            ("node_load5", "5m load average."),
            ("node_load15", "15m load average."),
        ]
        .into_iter()
        .zip(text.split_ascii_whitespace())
        {
            out.gauge(name, help, &[], number("loadavg", word)?);
        }
        Ok(())
    }
}

pub(in super::super) struct Conntrack;

impl Collector for Conntrack {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for (file, name, help) in [
            (
                "sys/net/netfilter/nf_conntrack_count",
                "node_nf_conntrack_entries",
                "Number of currently allocated flow entries for connection tracking.",
            ),
            (
                "sys/net/netfilter/nf_conntrack_max",
                "node_nf_conntrack_entries_limit",
                "Maximum size of connection tracking table.",
            ),
        ] {
            out.gauge(name, help, &[], number(file, files.proc(file)?.trim())?);
        }
        statistics(files, out)
    }
}

/// The counters of all processors, summed; columns are named by the first line.
fn statistics(files: &Files, out: &mut Output) -> Result<(), Error> {
    const FILE: &str = "net/stat/nf_conntrack";
    let text = match files.proc(FILE) {
        Err(Error::Absent(_)) => return Ok(()),
        other => other?,
    };
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let mut sums = vec![0u64; names.len()];
    for line in lines {
        for (sum, word) in sums.iter_mut().zip(line.split_ascii_whitespace()) {
            *sum += u64::from_str_radix(word, 16)
                .map_err(|_| Error::Parse { path: FILE.to_owned(), text: word.to_owned() })?;
        }
    }
    for (column, metric, help) in [
        ("found", "found", "Number of searched entries which were successful."),
        ("invalid", "invalid", "Number of packets seen which can not be tracked."),
        ("ignore", "ignore", "Number of packets seen which are already connected to a conntrack entry."),
        ("insert", "insert", "Number of entries inserted into the list."),
        (
            "insert_failed",
            "insert_failed",
            "Number of entries for which list insertion was attempted but failed.",
        ),
        ("drop", "drop", "Number of packets dropped due to conntrack failure."),
        (
            "early_drop",
            "early_drop",
            "Number of dropped conntrack entries to make room for new ones, if maximum table size was reached.",
        ),
        (
            "search_restart",
            "search_restart",
            "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
        ),
    ] {
        if let Some(at) = names.iter().position(|name| *name == column) {
            out.gauge(&format!("node_nf_conntrack_stat_{metric}"), help, &[], sums[at] as f64);
        }
    }
    Ok(())
}

pub(in super::super) struct Entropy;

impl Collector for Entropy {
    fn name(&self) -> &'static str {
        "entropy"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for (file, name, help) in [
            ("sys/kernel/random/entropy_avail", "node_entropy_available_bits", "Bits of available entropy."),
            ("sys/kernel/random/poolsize", "node_entropy_pool_size_bits", "Bits of entropy pool."),
        ] {
            out.gauge(name, help, &[], number(file, files.proc(file)?.trim())?);
        }
        Ok(())
    }
}

pub(in super::super) struct FileFd;

impl Collector for FileFd {
    fn name(&self) -> &'static str {
        "filefd"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "sys/fs/file-nr";
        let text = files.proc(FILE)?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[allocated, _, maximum] = words.as_slice() else {
            return Err(Error::Parse { path: FILE.to_owned(), text });
        };
        out.gauge(
            "node_filefd_allocated",
            "File descriptor statistics: allocated.",
            &[],
            number(FILE, allocated)?,
        );
        out.gauge("node_filefd_maximum", "File descriptor statistics: maximum.", &[], number(FILE, maximum)?);
        Ok(())
    }
}

pub(in super::super) struct HungTasks;

impl Collector for HungTasks {
    fn name(&self) -> &'static str {
        "kernel_hung"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "sys/kernel/hung_task_detect_count";
        let count = number(FILE, files.proc(FILE)?.trim())?;
        let help = "Total number of tasks that have been detected as hung since the system boot.";
        out.counter("node_kernel_hung_tasks_total", help, &[], count);
        Ok(())
    }
}

pub(in super::super) struct Selinux;

impl Collector for Selinux {
    fn name(&self) -> &'static str {
        "selinux"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let enabled = files.sys_path("fs/selinux/enforce").exists();
        let help = "SELinux is enabled, 1 is true, 0 is false";
        out.gauge("node_selinux_enabled", help, &[], f64::from(u8::from(enabled)));
        if enabled {
            let mode = files.sys_number("fs/selinux/enforce").unwrap_or(0.0);
            out.gauge("node_selinux_current_mode", "Current SELinux enforcement mode", &[], mode);
        }
        Ok(())
    }
}
