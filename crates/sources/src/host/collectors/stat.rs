//! `stat`: boot time, context switches, forks, interrupts, runnable and blocked processes.

use model::MetricType::{Counter, Gauge};

use super::super::files::{Files, number};
use super::super::output::Output;
use super::super::{Collector, Error};

pub(in super::super) struct Stat;

impl Collector for Stat {
    fn name(&self) -> &'static str {
        "stat"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for line in files.proc("stat")?.lines() {
            let Some((key, rest)) = line.split_once(' ') else { continue };
            let (name, kind, help) = match key {
                "intr" => ("node_intr_total", Counter, "Total number of interrupts serviced."),
                "ctxt" => ("node_context_switches_total", Counter, "Total number of context switches."),
                "processes" => ("node_forks_total", Counter, "Total number of forks."),
                "btime" => ("node_boot_time_seconds", Gauge, "Node boot time, in unixtime."),
                "procs_running" => ("node_procs_running", Gauge, "Number of processes in runnable state."),
                "procs_blocked" => {
                    ("node_procs_blocked", Gauge, "Number of processes blocked waiting for I/O to complete.")
                }
                _ => continue,
            };
            let first = rest.split_ascii_whitespace().next().unwrap_or_default();
            out.add(name, kind, help, &[], number("stat", first)?);
        }
        Ok(())
    }
}
