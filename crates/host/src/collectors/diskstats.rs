//! `diskstats`: operations, bytes and time of block devices, from `/proc/diskstats`.

use model::MetricType::{self, Counter, Gauge};

use crate::files::{self, Files, number};
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};

/// The kernel counts in sectors of this size whatever the device's own is.
const SECTOR: f64 = 512.0;
const MS: f64 = 0.001;

/// Name, type, help and factor of each field after the device's name.
const FIELDS: [(&str, MetricType, &str, f64); 17] = [
    ("reads_completed_total", Counter, "Reads that the device has finished.", 1.0),
    (
        "reads_merged_total",
        Counter,
        "Reads that were merged with a neighbour before the device saw them.",
        1.0,
    ),
    ("read_bytes_total", Counter, "Bytes read from the device.", SECTOR),
    ("read_time_seconds_total", Counter, "Time that all reads together have taken.", MS),
    ("writes_completed_total", Counter, "Writes that the device has finished.", 1.0),
    (
        "writes_merged_total",
        Counter,
        "Writes that were merged with a neighbour before the device saw them.",
        1.0,
    ),
    ("written_bytes_total", Counter, "Bytes written to the device.", SECTOR),
    ("write_time_seconds_total", Counter, "Time that all writes together have taken.", MS),
    ("io_now", Gauge, "Requests that the device is working on.", 1.0),
    ("io_time_seconds_total", Counter, "Time during which the device had something to do.", MS),
    (
        "io_time_weighted_seconds_total",
        Counter,
        "Time during which the device had something to do, times the requests under way.",
        MS,
    ),
    ("discards_completed_total", Counter, "Discards that the device has finished.", 1.0),
    ("discards_merged_total", Counter, "Discards that were merged with a neighbour.", 1.0),
    ("discarded_sectors_total", Counter, "Sectors of 512 bytes that were discarded.", 1.0),
    ("discard_time_seconds_total", Counter, "Time that all discards together have taken.", MS),
    ("flush_requests_total", Counter, "Flushes that the device has finished.", 1.0),
    ("flush_requests_time_seconds_total", Counter, "Time that all flushes together have taken.", MS),
];

pub(crate) struct DiskStats {
    devices: Filter,
}

impl DiskStats {
    pub(crate) fn new(devices: Filter) -> Self {
        Self { devices }
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
            if !self.devices.keeps(device) {
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

/// What udev knows of a device: the name of the property and the label that it becomes. Source: udev's rules for block devices.
const UDEV: [(&str, &[&str]); 5] = [
    ("model", &["ID_MODEL"]),
    ("path", &["ID_PATH"]),
    ("revision", &["ID_REVISION"]),
    ("serial", &["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"]),
    ("wwn", &["ID_WWN"]),
];

fn info(files: &Files, out: &mut Output, device: &str, major: &str, minor: &str) {
    // Lines such as `E:ID_MODEL=…`; absent in containers and on hosts without udev.
    let text = files::read(&files.root_path(&format!("/run/udev/data/b{major}:{minor}"))).unwrap_or_default();
    let property = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(name)?.strip_prefix('='))
    };
    let mut labels = vec![("device", device), ("major", major), ("minor", minor)];
    for (label, names) in UDEV {
        labels.push((label, names.iter().find_map(|name| property(name)).unwrap_or_default()));
    }
    let rotational = files.sys(&format!("block/{device}/queue/rotational")).unwrap_or_default();
    labels.push(("rotational", &rotational));
    out.gauge("node_disk_info", "Always 1; the labels describe a block device.", &labels, 1.0);
}
