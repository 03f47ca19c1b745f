//! `cpu`: seconds each processor spent in each mode, from `/proc/stat`.

use super::super::files::{Files, number};
use super::super::output::Output;
use super::super::{Collector, Error};

/// USER_HZ: what the kernel shows to programs on every Linux that Rust's standard library supports.
const TICKS_PER_SECOND: f64 = 100.0;

const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

pub(in super::super) struct Cpu;

impl Collector for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let text = files.proc("stat")?;
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let Some(cpu) =
                fields.next().and_then(|name| name.strip_prefix("cpu")).filter(|cpu| !cpu.is_empty())
            else {
                continue;
            };
            for (index, field) in fields.enumerate() {
                let seconds = number("stat", field)? / TICKS_PER_SECOND;
                match index {
                    0..8 => out.counter(
                        "node_cpu_seconds_total",
                        "Seconds the CPUs spent in each mode.",
                        &[("cpu", cpu), ("mode", MODES[index])],
                        seconds,
                    ),
                    8 | 9 => out.counter(
                        "node_cpu_guest_seconds_total",
                        "Seconds the CPUs spent in guests (VMs) for each mode.",
                        &[("cpu", cpu), ("mode", if index == 8 { "user" } else { "nice" })],
                        seconds,
                    ),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
