//! `ksmd`, `buddyinfo`, `swap`, `meminfo_numa`: memory in detail. Off unless enabled.

use crate::files::{Files, number};
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct Ksmd;

impl Collector for Ksmd {
    fn name(&self) -> &'static str {
        "ksmd"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const ROOT: &str = "kernel/mm/ksm";
        files.sys_list(ROOT)?;
        for file in [
            "full_scans",
            "merge_across_nodes",
            "pages_shared",
            "pages_sharing",
            "pages_to_scan",
            "pages_unshared",
            "pages_volatile",
            "run",
            "sleep_millisecs",
        ] {
            let Some(value) = files.sys_number(&format!("{ROOT}/{file}")) else { continue };
            let help = format!("{file} of the kernel's merging of equal pages.");
            match file {
                "full_scans" => out.counter("node_ksmd_full_scans_total", &help, &[], value),
                "sleep_millisecs" => out.gauge("node_ksmd_sleep_seconds", &help, &[], value / 1e3),
                _ => out.gauge(&format!("node_ksmd_{file}"), &help, &[], value),
            }
        }
        Ok(())
    }
}

pub(crate) struct BuddyInfo;

impl Collector for BuddyInfo {
    fn name(&self) -> &'static str {
        "buddyinfo"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "buddyinfo";
        for line in files.proc(FILE)?.lines() {
            // Node 0, zone      DMA      1      0 …
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let ["Node", node, "zone", zone, counts @ ..] = words.as_slice() else { continue };
            for (order, word) in counts.iter().enumerate() {
                let size = order.to_string();
                let labels = [("node", node.trim_end_matches(',')), ("size", &size), ("zone", *zone)];
                let help = "Free blocks of memory of 2^size pages.";
                out.gauge("node_buddyinfo_blocks", help, &labels, number(FILE, word)?);
            }
        }
        Ok(())
    }
}

pub(crate) struct Swap;

impl Collector for Swap {
    fn name(&self) -> &'static str {
        "swap"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "swaps";
        for line in files.proc(FILE)?.lines().skip(1) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [device, kind, size, used, priority] = words.as_slice() else { continue };
            let labels = [("device", *device), ("swap_type", *kind)];
            for (metric, help, word, factor) in [
                ("size_bytes", "Size of a swap device.", size, 1024.0),
                ("used_bytes", "Bytes of a swap device in use.", used, 1024.0),
                ("priority", "Priority of a swap device; the highest is used first.", priority, 1.0),
            ] {
                out.gauge(&format!("node_swap_{metric}"), help, &labels, number(FILE, word)? * factor);
            }
        }
        Ok(())
    }
}

pub(crate) struct MemInfoNuma;

impl Collector for MemInfoNuma {
    fn name(&self) -> &'static str {
        "meminfo_numa"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const ROOT: &str = "devices/system/node";
        for name in files.sys_list(ROOT)? {
            let Some(node) = name.strip_prefix("node") else { continue };
            if !node.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let label = [("node", node)];
            for line in files.sys(&format!("{ROOT}/{name}/meminfo")).unwrap_or_default().lines() {
                // Node 0 MemTotal:       32827156 kB
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                let ["Node", _, key, value, unit @ ..] = words.as_slice() else { continue };
                let key = key.trim_end_matches(':').replace('(', "_").replace(')', "");
                let value = number("meminfo", value)?;
                let help = format!("Field {key} of a memory node.");
                let factor = if unit == ["kB"] { 1024.0 } else { 1.0 };
                out.gauge(&format!("node_memory_numa_{key}"), &help, &label, value * factor);
            }
            for line in files.sys(&format!("{ROOT}/{name}/numastat")).unwrap_or_default().lines() {
                let Some((key, value)) = line.split_once(' ') else { continue };
                let help = format!("Counter {key} of a memory node.");
                out.counter(
                    &format!("node_memory_numa_{key}_total"),
                    &help,
                    &label,
                    number("numastat", value)?,
                );
            }
        }
        Ok(())
    }
}
