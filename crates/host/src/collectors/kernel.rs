//! `loadavg`, `conntrack`, `entropy`, `filefd`, `kernel_hung`, `selinux`: single numbers of the kernel.

use crate::files::{Files, number};
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct LoadAvg;

impl Collector for LoadAvg {
    fn name(&self) -> &'static str {
        "loadavg"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let text = files.proc("loadavg")?;
        for ((name, help), word) in [
            ("node_load1", "Tasks running or waiting for a disk, averaged over a minute."),
            ("node_load5", "Tasks running or waiting for a disk, averaged over 5 minutes."),
            ("node_load15", "Tasks running or waiting for a disk, averaged over 15 minutes."),
        ]
        .into_iter()
        .zip(text.split_ascii_whitespace())
        {
            out.gauge(name, help, &[], number("loadavg", word)?);
        }
        Ok(())
    }
}

pub(crate) struct Conntrack;

impl Collector for Conntrack {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for (file, name, help) in [
            (
                "sys/net/netfilter/nf_conntrack_count",
                "node_nf_conntrack_entries",
                "Connections that the kernel keeps track of.",
            ),
            (
                "sys/net/netfilter/nf_conntrack_max",
                "node_nf_conntrack_entries_limit",
                "Most connections that the kernel can keep track of.",
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
        ("found", "found", "Look-ups in the connection table that found an entry."),
        ("invalid", "invalid", "Packets that fit no connection."),
        ("ignore", "ignore", "Packets that are left untracked on purpose."),
        ("insert", "insert", "Entries put into the connection table."),
        ("insert_failed", "insert_failed", "Entries that could not be put into the connection table."),
        ("drop", "drop", "Packets dropped because the connection table could not take them."),
        ("early_drop", "early_drop", "Entries thrown out early because the connection table was full."),
        (
            "search_restart",
            "search_restart",
            "Look-ups in the connection table that began again because it was resized.",
        ),
    ] {
        if let Some(at) = names.iter().position(|name| *name == column) {
            out.gauge(&format!("node_nf_conntrack_stat_{metric}"), help, &[], sums[at] as f64);
        }
    }
    Ok(())
}

pub(crate) struct Entropy;

impl Collector for Entropy {
    fn name(&self) -> &'static str {
        "entropy"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for (file, name, help) in [
            (
                "sys/kernel/random/entropy_avail",
                "node_entropy_available_bits",
                "Entropy that the kernel has, in bits.",
            ),
            (
                "sys/kernel/random/poolsize",
                "node_entropy_pool_size_bits",
                "Entropy that the kernel can hold, in bits.",
            ),
        ] {
            out.gauge(name, help, &[], number(file, files.proc(file)?.trim())?);
        }
        Ok(())
    }
}

pub(crate) struct FileFd;

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
            "File handles that the kernel has allocated.",
            &[],
            number(FILE, allocated)?,
        );
        out.gauge(
            "node_filefd_maximum",
            "Most file handles that the kernel allocates.",
            &[],
            number(FILE, maximum)?,
        );
        Ok(())
    }
}

pub(crate) struct HungTasks;

impl Collector for HungTasks {
    fn name(&self) -> &'static str {
        "kernel_hung"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "sys/kernel/hung_task_detect_count";
        let count = number(FILE, files.proc(FILE)?.trim())?;
        let help = "Tasks found hanging since the machine was booted.";
        out.counter("node_kernel_hung_tasks_total", help, &[], count);
        Ok(())
    }
}

pub(crate) struct Selinux;

impl Collector for Selinux {
    fn name(&self) -> &'static str {
        "selinux"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let enabled = files.sys_path("fs/selinux/enforce").exists();
        let help = "Whether SELinux is on.";
        out.gauge("node_selinux_enabled", help, &[], f64::from(u8::from(enabled)));
        if enabled {
            let mode = files.sys_number("fs/selinux/enforce").unwrap_or(0.0);
            out.gauge(
                "node_selinux_current_mode",
                "Whether SELinux enforces (1) or only reports (0).",
                &[],
                mode,
            );
        }
        Ok(())
    }
}
