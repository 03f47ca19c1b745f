//! `schedstat`, `softirqs`, `interrupts`: what the scheduler and the interrupt handlers count for each processor.

use crate::files::{Files, number};
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct SchedStat;

impl Collector for SchedStat {
    fn name(&self) -> &'static str {
        "schedstat"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "schedstat";
        for line in files.proc(FILE)?.lines() {
            let mut words = line.split_ascii_whitespace();
            let Some(cpu) = words.next().and_then(|word| word.strip_prefix("cpu")) else { continue };
            for ((metric, help, factor), word) in [
                ("running_seconds_total", "Time that tasks ran on a processor.", 1e-9),
                ("waiting_seconds_total", "Time that tasks waited for a processor.", 1e-9),
                ("timeslices_total", "Times that a task was put on a processor.", 1.0),
            ]
            .iter()
            .zip(words.skip(6))
            {
                let value = number(FILE, word)? * factor;
                out.counter(&format!("node_schedstat_{metric}"), help, &[("cpu", cpu)], value);
            }
        }
        Ok(())
    }
}

pub(crate) struct SoftIrqs;

impl Collector for SoftIrqs {
    fn name(&self) -> &'static str {
        "softirqs"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "softirqs";
        let text = files.proc(FILE)?;
        let mut lines = text.lines();
        let cpus = cpus(lines.next());
        for line in lines {
            let Some((kind, rest)) = line.split_once(':') else { continue };
            for (cpu, word) in cpus.iter().zip(rest.split_ascii_whitespace()) {
                let labels = [("cpu", *cpu), ("type", kind.trim())];
                let help = "Deferred interrupts that a processor has handled, by type.";
                out.counter("node_softirqs_functions_total", help, &labels, number(FILE, word)?);
            }
        }
        Ok(())
    }
}

pub(crate) struct Interrupts {
    names: Filter,
    zeros: bool,
}

impl Interrupts {
    pub(crate) fn new(names: Filter, zeros: bool) -> Self {
        Self { names, zeros }
    }
}

impl Collector for Interrupts {
    fn name(&self) -> &'static str {
        "interrupts"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "interrupts";
        let text = files.proc(FILE)?;
        let mut lines = text.lines();
        let cpus = cpus(lines.next());
        for line in lines {
            let Some((kind, rest)) = line.split_once(':') else { continue };
            let kind = kind.trim();
            let mut words = rest.split_ascii_whitespace();
            let counts: Vec<&str> = words.by_ref().take(cpus.len()).collect();
            // Lines such as ERR count once for the whole machine.
            if counts.len() < cpus.len() {
                continue;
            }
            let rest: Vec<&str> = words.collect();
            let (info, devices) = if kind.bytes().all(|byte| byte.is_ascii_digit()) {
                let (info, devices) = rest.split_at(rest.len().min(1));
                (info.join(" "), devices.join(" "))
            } else {
                (rest.join(" "), String::new())
            };
            if !self.names.keeps(&format!("{kind};{info};{devices}")) {
                continue;
            }
            for (cpu, word) in cpus.iter().zip(counts) {
                let count = number(FILE, word)?;
                if count == 0.0 && !self.zeros {
                    continue;
                }
                let labels = [("cpu", *cpu), ("devices", &devices), ("info", &info), ("type", kind)];
                let help = "Interrupts that a processor has handled, by source.";
                out.counter("node_interrupts_total", help, &labels, count);
            }
        }
        Ok(())
    }
}

/// The numbers of the processors that a heading line names: `CPU0 CPU1`.
fn cpus(heading: Option<&str>) -> Vec<&str> {
    let words = heading.unwrap_or_default().split_ascii_whitespace();
    words.filter_map(|word| word.strip_prefix("CPU")).collect()
}
