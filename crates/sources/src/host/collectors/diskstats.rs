//! `diskstats`: operations, bytes and time of block devices, from `/proc/diskstats`.

use model::MetricType::{self, Counter, Gauge};
use model::pattern::Pattern;

use super::super::files::{Files, number};
use super::super::output::Output;
use super::super::{Collector, Error};
use super::excludes;

/// The kernel counts in sectors of this size whatever the device's own is.
const SECTOR: f64 = 512.0;
const MS: f64 = 0.001;

/// Name, type, help and factor of each field after the device's name.
const FIELDS: [(&str, MetricType, &str, f64); 17] = [
    ("reads_completed_total", Counter, "The total number of reads completed successfully.", 1.0),
    ("reads_merged_total", Counter, "The total number of reads merged.", 1.0),
    ("read_bytes_total", Counter, "The total number of bytes read successfully.", SECTOR),
    ("read_time_seconds_total", Counter, "The total number of seconds spent by all reads.", MS),
    ("writes_completed_total", Counter, "The total number of writes completed successfully.", 1.0),
    ("writes_merged_total", Counter, "The number of writes merged.", 1.0),
    ("written_bytes_total", Counter, "The total number of bytes written successfully.", SECTOR),
    ("write_time_seconds_total", Counter, "This is the total number of seconds spent by all writes.", MS),
    ("io_now", Gauge, "The number of I/Os currently in progress.", 1.0),
    ("io_time_seconds_total", Counter, "Total seconds spent doing I/Os.", MS),
    ("io_time_weighted_seconds_total", Counter, "The weighted # of seconds spent doing I/Os.", MS),
    ("discards_completed_total", Counter, "The total number of discards completed successfully.", 1.0),
    ("discards_merged_total", Counter, "The total number of discards merged.", 1.0),
    ("discarded_sectors_total", Counter, "The total number of sectors discarded successfully.", 1.0),
    ("discard_time_seconds_total", Counter, "This is the total number of seconds spent by all discards.", MS),
    ("flush_requests_total", Counter, "The total number of flush requests completed successfully", 1.0),
    (
        "flush_requests_time_seconds_total",
        Counter,
        "This is the total number of seconds spent by all flush requests.",
        MS,
    ),
];

pub(in super::super) struct DiskStats {
    exclude: Option<Pattern>,
}

impl DiskStats {
    pub(in super::super) fn new(exclude: Option<Pattern>) -> Self {
        Self { exclude }
    }
}

impl Collector for DiskStats {
    fn name(&self) -> &'static str {
        "diskstats"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for line in files.proc("diskstats")?.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(major), Some(minor), Some(device)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if excludes(self.exclude.as_ref(), device) {
                continue;
            }
            for ((name, kind, help, factor), word) in FIELDS.iter().zip(words) {
                let value = number("diskstats", word)? * factor;
                out.add(&format!("node_disk_{name}"), *kind, help, &[("device", device)], value);
            }
            info(files, out, device, major, minor);
        }
        Ok(())
    }
}

fn info(files: &Files, out: &mut Output, device: &str, major: &str, minor: &str) {
    let text = |name: &str| files.sys(&format!("block/{device}/{name}")).unwrap_or_default();
    let labels = [
        ("device", device),
        ("major", major),
        ("minor", minor),
        ("model", &text("device/model")),
        ("path", ""),
        ("revision", &text("device/rev")),
        ("rotational", &text("queue/rotational")),
        ("serial", &text("serial")),
        ("wwn", &text("wwid")),
    ];
    // The labels of node_exporter; an empty one is the same as none.
    out.gauge("node_disk_info", "Info of /sys/block/<block_device>.", &labels, 1.0);
}
