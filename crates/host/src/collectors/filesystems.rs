//! `xfs`, `btrfs`, `zfs`: what these file systems count of themselves.

use std::collections::BTreeMap;

use model::MetricType::Unknown;

use crate::files::{self, Files, number};
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct Xfs;

/// The first word of a line of `stats` and the metrics of the numbers after it; empty ones are left out.
const XFS: [(&str, &[&str]); 8] = [
    (
        "extent_alloc",
        &[
            "extent_allocation_extents_allocated",
            "extent_allocation_blocks_allocated",
            "extent_allocation_extents_freed",
            "extent_allocation_blocks_freed",
        ],
    ),
    (
        "abt",
        &[
            "allocation_btree_lookups",
            "allocation_btree_compares",
            "allocation_btree_records_inserted",
            "allocation_btree_records_deleted",
        ],
    ),
    (
        "blk_map",
        &[
            "block_mapping_reads",
            "block_mapping_writes",
            "block_mapping_unmaps",
            "block_mapping_extent_list_insertions",
            "block_mapping_extent_list_deletions",
            "block_mapping_extent_list_lookups",
            "block_mapping_extent_list_compares",
        ],
    ),
    (
        "bmbt",
        &[
            "block_map_btree_lookups",
            "block_map_btree_compares",
            "block_map_btree_records_inserted",
            "block_map_btree_records_deleted",
        ],
    ),
    (
        "dir",
        &[
            "directory_operation_lookup",
            "directory_operation_create",
            "directory_operation_remove",
            "directory_operation_getdents",
        ],
    ),
    (
        "ig",
        &[
            "inode_operation_attempts",
            "inode_operation_found",
            "inode_operation_recycled",
            "inode_operation_missed",
            "inode_operation_duplicates",
            "inode_operation_reclaims",
            "inode_operation_attribute_changes",
        ],
    ),
    ("rw", &["write_calls", "read_calls"]),
    (
        "vnodes",
        &[
            "vnode_active",
            "vnode_allocate",
            "vnode_get",
            "vnode_hold",
            "vnode_release",
            "vnode_reclaim",
            "vnode_remove",
        ],
    ),
];

impl Collector for Xfs {
    fn name(&self) -> &'static str {
        "xfs"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for device in files.sys_list("fs/xfs").unwrap_or_default() {
            // Other folders hold counters of all devices together.
            let Ok(text) = files.sys(&format!("fs/xfs/{device}/stats/stats")) else { continue };
            for line in text.lines() {
                let mut words = line.split_ascii_whitespace();
                let key = words.next().unwrap_or_default();
                let Some((_, metrics)) = XFS.iter().find(|(known, _)| *known == key) else { continue };
                for (metric, word) in metrics.iter().zip(words) {
                    let help = format!("Counter {key} of an XFS file system, {metric}.");
                    let label = [("device", device.as_str())];
                    let value = number("fs/xfs stats", word)?;
                    out.counter(&format!("node_xfs_{metric}_total"), &help, &label, value);
                }
            }
        }
        Ok(())
    }
}

pub(crate) struct Btrfs;

/// Copies that a profile keeps of each block.
fn copies(mode: &str) -> f64 {
    match mode {
        "raid1" | "raid10" | "dup" => 2.0,
        "raid1c3" => 3.0,
        "raid1c4" => 4.0,
        _ => 1.0,
    }
}

impl Collector for Btrfs {
    fn name(&self) -> &'static str {
        "btrfs"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for uuid in files.sys_list("fs/btrfs").unwrap_or_default() {
            let root = format!("fs/btrfs/{uuid}");
            if !files.sys_path(&format!("{root}/allocation")).is_dir() {
                continue;
            }
            let gauge = |out: &mut Output, metric: &str, help: &str, labels: &[(&str, &str)], value: f64| {
                let mut all = vec![("uuid", uuid.as_str())];
                all.extend_from_slice(labels);
                out.gauge(&format!("node_btrfs_{metric}"), help, &all, value);
            };
            let label = files.sys(&format!("{root}/label")).unwrap_or_default();
            gauge(out, "info", "Always 1; the labels name a Btrfs file system.", &[("label", &label)], 1.0);
            if let Some(bytes) = files.sys_number(&format!("{root}/allocation/global_rsv_size")) {
                gauge(
                    out,
                    "global_rsv_size_bytes",
                    "Space kept back for the file system itself.",
                    &[],
                    bytes,
                );
            }
            for kind in ["data", "metadata", "system"] {
                let folder = format!("{root}/allocation/{kind}");
                let Ok(entries) = files.sys_list(&folder) else { continue };
                if let Some(bytes) = files.sys_number(&format!("{folder}/bytes_reserved")) {
                    let help = "Space promised to writes under way, by kind of block.";
                    gauge(out, "reserved_bytes", help, &[("block_group_type", kind)], bytes);
                }
                for mode in entries.iter().filter(|mode| files.sys_path(&format!("{folder}/{mode}")).is_dir())
                {
                    let labels = [("block_group_type", kind), ("mode", mode.as_str())];
                    for (file, metric, help) in [
                        ("used_bytes", "used_bytes", "Space in use by kind of block and profile."),
                        ("total_bytes", "size_bytes", "Space set aside by kind of block and profile."),
                    ] {
                        if let Some(bytes) = files.sys_number(&format!("{folder}/{mode}/{file}")) {
                            gauge(out, metric, help, &labels, bytes);
                        }
                    }
                    let help = "Bytes on disk for each byte kept, by the profile.";
                    gauge(out, "allocation_ratio", help, &labels, copies(mode));
                }
            }
            for device in files.sys_list(&format!("{root}/devices")).unwrap_or_default() {
                if let Some(sectors) = files.sys_number(&format!("{root}/devices/{device}/size")) {
                    let help = "Size of a device of the file system.";
                    gauge(out, "device_size_bytes", help, &[("device", &device)], sectors * 512.0);
                }
            }
            let commits = files.sys(&format!("{root}/commit_stats")).unwrap_or_default();
            let commits: BTreeMap<&str, f64> = commits
                .lines()
                .filter_map(|line| line.split_once(' '))
                .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
                .collect();
            let uuid_label = [("uuid", uuid.as_str())];
            for (name, metric, help, factor) in [
                ("commits", "commits_total", "Transactions committed.", 1.0),
                ("total_commit_ms", "commit_seconds_total", "Time spent committing.", 1e-3),
            ] {
                if let Some(value) = commits.get(name) {
                    out.counter(&format!("node_btrfs_{metric}"), help, &uuid_label, value * factor);
                }
            }
            for (name, metric, help) in [
                ("last_commit_ms", "last_commit_seconds", "How long the last commit took."),
                ("max_commit_ms", "max_commit_seconds", "How long the slowest commit took."),
            ] {
                if let Some(ms) = commits.get(name) {
                    out.gauge(&format!("node_btrfs_{metric}"), help, &uuid_label, ms / 1e3);
                }
            }
            device_errors(files, out, &root, &uuid);
        }
        Ok(())
    }
}

/// Errors that Btrfs has seen on each of its devices; they survive a reboot.
fn device_errors(files: &Files, out: &mut Output, root: &str, uuid: &str) {
    for device in files.sys_list(&format!("{root}/devinfo")).unwrap_or_default() {
        let text = files.sys(&format!("{root}/devinfo/{device}/error_stats")).unwrap_or_default();
        for (name, count) in text.lines().filter_map(|line| line.split_once(' ')) {
            let (Some(kind), Ok(count)) =
                (name.strip_suffix("_errs").or(name.strip_suffix("_errors")), count.parse())
            else {
                continue;
            };
            let labels = [("btrfs_dev_id", device.as_str()), ("type", kind), ("uuid", uuid)];
            let help = "Errors that Btrfs has seen on a device, by type; they survive a reboot.";
            out.counter("node_btrfs_device_errors_total", help, &labels, count);
        }
    }
}

pub(crate) struct Zfs;

/// File below `/proc/spl/kstat/zfs` and what its metrics start with.
const KSTATS: [(&str, &str); 9] = [
    ("abdstats", "abd"),
    ("arcstats", "arc"),
    ("dbufstats", "dbuf"),
    ("dmu_tx", "dmu_tx"),
    ("dnodestats", "dnode"),
    ("fm", "fm"),
    ("vdev_mirror_stats", "vdev_mirror"),
    ("xuio_stats", "xuio"),
    ("zfetchstats", "zfetch"),
];
const POOL_STATES: [&str; 7] =
    ["online", "degraded", "faulted", "offline", "removed", "unavail", "suspended"];

impl Collector for Zfs {
    fn name(&self) -> &'static str {
        "zfs"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const ROOT: &str = "spl/kstat/zfs";
        let entries = files::list(&files.proc_path(ROOT))?;
        let extra = [("zil", "zil"), ("vdev_cache_stats", "vdev_cache")];
        for (file, prefix) in KSTATS.into_iter().chain(extra) {
            let Ok(text) = files.proc(&format!("{ROOT}/{file}")) else { continue };
            // Two heading lines; then name, type, value. Types 3 and 4 are numbers, 7 is text.
            for line in text.lines().skip(2) {
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                let &[name, kind, value] = words.as_slice() else { continue };
                if !["3", "4"].contains(&kind) {
                    continue;
                }
                let name = name.replace(['-', '.'], "_");
                let metric = format!("node_zfs_{prefix}_{name}");
                let help = format!("ZFS counter {name} of {file}.");
                out.add(&metric, Unknown, &help, &[], number(file, value)?);
            }
        }
        for pool in entries.iter().filter(|entry| files.proc_path(ROOT).join(entry).is_dir()) {
            let label = [("zpool", pool.as_str())];
            if let Ok(text) = files.proc(&format!("{ROOT}/{pool}/io")) {
                let mut lines = text.lines().skip(1);
                let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
                for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
                    let help = format!("ZFS pool counter {name}.");
                    out.add(&format!("node_zfs_zpool_{name}"), Unknown, &help, &label, number("io", value)?);
                }
            }
            if let Ok(state) = files.proc(&format!("{ROOT}/{pool}/state")) {
                for known in POOL_STATES {
                    let on = f64::from(u8::from(state.trim().eq_ignore_ascii_case(known)));
                    let labels = [("state", known), ("zpool", pool.as_str())];
                    out.gauge("node_zfs_zpool_state", "1 for the state that a pool is in.", &labels, on);
                }
            }
        }
        Ok(())
    }
}
