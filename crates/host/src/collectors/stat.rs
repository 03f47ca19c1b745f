//! `stat`: boot time, context switches, forks, interrupts, runnable and blocked processes.

use model::MetricType::{Counter, Gauge};

use crate::files::{Files, number};
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct Stat;

impl Collector for Stat {
    fn name(&self) -> &'static str {
        "stat"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for line in files.proc("stat")?.lines() {
            let Some((key, rest)) = line.split_once(' ') else { continue };
            let (name, kind, help) = match key {
                "intr" => ("node_intr_total", Counter, "Interrupts handled."),
                "ctxt" => ("node_context_switches_total", Counter, "Switches from one task to another."),
                "processes" => ("node_forks_total", Counter, "Processes and threads created."),
                "btime" => (
                    "node_boot_time_seconds",
                    Gauge,
                    "When the machine was booted, in seconds since the epoch.",
                ),
                "procs_running" => ("node_procs_running", Gauge, "Tasks that run or could."),
                "procs_blocked" => ("node_procs_blocked", Gauge, "Tasks that wait for I/O."),
                _ => continue,
            };
            let first = rest.split_ascii_whitespace().next().unwrap_or_default();
            out.add(name, kind, help, &[], number("stat", first)?);
        }
        Ok(())
    }
}
