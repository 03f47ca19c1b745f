//! `mountstats`: what the NFS client knows of each mount: bytes, calls, times, queues. Off unless enabled: many series.

use std::collections::HashSet;

use crate::files::{Files, number};
use crate::output::Output;
use crate::{Collector, Error};

const BYTES: [(&str, &str); 8] = [
    ("read_bytes_total", "Bytes that programs have read."),
    ("write_bytes_total", "Bytes that programs have written."),
    ("direct_read_bytes_total", "Bytes read past the cache."),
    ("direct_write_bytes_total", "Bytes written past the cache."),
    ("total_read_bytes_total", "Bytes read from the server."),
    ("total_write_bytes_total", "Bytes written to the server."),
    ("read_pages_total", "Pages read."),
    ("write_pages_total", "Pages written."),
];
const EVENTS: [&str; 27] = [
    "inode_revalidate",
    "dnode_revalidate",
    "data_invalidate",
    "attribute_invalidate",
    "vfs_open",
    "vfs_lookup",
    "vfs_access",
    "vfs_update_page",
    "vfs_read_page",
    "vfs_read_pages",
    "vfs_write_page",
    "vfs_write_pages",
    "vfs_getdents",
    "vfs_setattr",
    "vfs_flush",
    "vfs_fsync",
    "vfs_lock",
    "vfs_file_release",
    "congestion_wait",
    "truncation",
    "write_extension",
    "silly_rename",
    "short_read",
    "short_write",
    "jukebox_delay",
    "pnfs_read",
    "pnfs_write",
];
/// Metric and factor of the numbers after an operation's name.
const OPERATIONS: [(&str, f64); 8] = [
    ("requests_total", 1.0),
    ("transmissions_total", 1.0),
    ("major_timeouts_total", 1.0),
    ("sent_bytes_total", 1.0),
    ("received_bytes_total", 1.0),
    ("queue_time_seconds_total", 1e-3),
    ("response_time_seconds_total", 1e-3),
    ("request_time_seconds_total", 1e-3),
];
/// Columns of `xprt: tcp`, and whether the metric is a counter.
const TCP: [(usize, &str, bool); 10] = [
    (1, "bind_total", true),
    (2, "connect_total", true),
    (4, "idle_time_seconds", false),
    (5, "sends_total", true),
    (6, "receives_total", true),
    (7, "bad_transaction_ids_total", true),
    (9, "backlog_queue_total", true),
    (10, "maximum_rpc_slots", false),
    (11, "sending_queue_total", true),
    (12, "pending_queue_total", true),
];
/// Columns of `xprt: udp`, which has neither connections nor idle time.
const UDP: [(usize, &str, bool); 8] = [
    (1, "bind_total", true),
    (2, "sends_total", true),
    (3, "receives_total", true),
    (4, "bad_transaction_ids_total", true),
    (6, "backlog_queue_total", true),
    (7, "maximum_rpc_slots", false),
    (8, "sending_queue_total", true),
    (9, "pending_queue_total", true),
];

pub(crate) struct MountStats;

/// What is known of the mount whose lines are being read.
#[derive(Default)]
struct Mount {
    export: String,
    address: String,
    protocol: String,
    transports: u32,
    operations: bool,
}

impl Collector for MountStats {
    fn name(&self) -> &'static str {
        "mountstats"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let text = files.proc("1/mountstats").or_else(|_| files.proc("self/mountstats"))?;
        let mut seen = HashSet::new();
        let mut mount: Option<Mount> = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("device ") {
                let is_nfs = rest.contains(" with fstype nfs") && !rest.contains(" with fstype nfsd");
                let export = rest.split(" mounted on ").next().unwrap_or_default();
                // An export mounted twice has one set of counters.
                mount = (is_nfs && seen.insert(export.to_owned()))
                    .then(|| Mount { export: export.to_owned(), ..Mount::default() });
            } else if let Some(mount) = &mut mount {
                mount.line(line.trim(), out)?;
            }
        }
        Ok(())
    }
}

impl Mount {
    fn line(&mut self, line: &str, out: &mut Output) -> Result<(), Error> {
        let Some((key, rest)) = line.split_once(':') else {
            self.operations |= line == "per-op statistics";
            return Ok(());
        };
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        if key == "opts" {
            let option = |name: &str| {
                let found = words.first()?.split(',').find_map(|option| option.strip_prefix(name))?;
                Some(found.trim_start_matches('=').to_owned())
            };
            self.protocol = option("proto=").unwrap_or_default();
            // Version 4 needs no address of a mount daemon.
            let is_v4 = option("vers=").is_some_and(|version| version.starts_with('4'));
            self.address = option("mountaddr=").filter(|_| !is_v4).unwrap_or_default();
            return Ok(());
        }
        let numbers = |words: &[&str]| -> Result<Vec<f64>, Error> {
            words.iter().map(|word| number("mountstats", word)).collect()
        };
        let labels = [
            ("export", self.export.as_str()),
            ("mountaddr", self.address.as_str()),
            ("protocol", self.protocol.as_str()),
        ];
        match key {
            "age" => {
                let help = "How long the mount has existed.";
                let age = numbers(&words)?.first().copied().unwrap_or(0.0);
                out.counter("node_mountstats_nfs_age_seconds_total", help, &labels, age);
            }
            "bytes" => {
                for ((metric, help), value) in BYTES.iter().zip(numbers(&words)?) {
                    out.counter(&format!("node_mountstats_nfs_{metric}"), help, &labels, value);
                }
            }
            "events" => {
                for (event, value) in EVENTS.iter().zip(numbers(&words)?) {
                    if *event != "congestion_wait" {
                        let help = format!("Events of kind {event} of an NFS mount.");
                        out.counter(
                            &format!("node_mountstats_nfs_event_{event}_total"),
                            &help,
                            &labels,
                            value,
                        );
                    }
                }
            }
            "xprt" => {
                let Some((protocol, words)) = words.split_first() else { return Ok(()) };
                let transport = self.transports.to_string();
                self.transports += 1;
                let mut labels = labels.to_vec();
                labels.push(("transport", &transport));
                // One before the kernel's own columns: the first is the port.
                let values = numbers(words)?;
                let columns: &[(usize, &str, bool)] = if *protocol == "udp" { &UDP } else { &TCP };
                for (column, metric, counts) in columns {
                    let Some(value) = values.get(*column) else { continue };
                    let name = format!("node_mountstats_nfs_transport_{metric}");
                    let help = format!("{metric} of a connection of an NFS mount.");
                    let kind = if *counts { model::MetricType::Counter } else { model::MetricType::Gauge };
                    out.add(&name, kind, &help, &labels, *value);
                }
            }
            operation if self.operations => {
                let mut labels = labels.to_vec();
                labels.push(("operation", operation));
                for ((metric, factor), value) in OPERATIONS.iter().zip(numbers(&words)?) {
                    let help = format!("{metric} of an NFS mount by operation.");
                    let name = format!("node_mountstats_nfs_operations_{metric}");
                    out.counter(&name, &help, &labels, value * factor);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
