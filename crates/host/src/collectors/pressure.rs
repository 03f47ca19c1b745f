//! `pressure`: time in which tasks waited for processor, memory or I/O (PSI).

use crate::files::{Files, number};
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct Pressure;

impl Collector for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let mut found = false;
        for (resource, some, full) in [
            ("cpu", "Time during which some task waited for a processor.", None),
            (
                "io",
                "Time during which some task waited for I/O.",
                Some("Time during which every task waited for I/O."),
            ),
            (
                "memory",
                "Time during which some task waited for memory.",
                Some("Time during which every task waited for memory."),
            ),
            ("irq", "", Some("Time during which interrupts kept every task waiting.")),
        ] {
            let name = format!("pressure/{resource}");
            let text = match files.proc(&name) {
                Ok(text) => text,
                Err(Error::Absent(_)) => continue,
                // Switched off at boot: reading says EOPNOTSUPP.
                Err(Error::Read { source, .. }) if source.raw_os_error() == Some(95) => continue,
                Err(err) => return Err(err),
            };
            for line in text.lines() {
                let total = line.rsplit_once("total=").map_or("", |(_, total)| total);
                let (suffix, help) = match (line.split(' ').next(), full) {
                    (Some("some"), _) if !some.is_empty() => ("waiting", some),
                    (Some("full"), Some(full)) => ("stalled", full),
                    _ => continue,
                };
                let seconds = number(&name, total)? / 1e6;
                out.counter(&format!("node_pressure_{resource}_{suffix}_seconds_total"), help, &[], seconds);
                found = true;
            }
        }
        if found { Ok(()) } else { Err(Error::Absent("pressure stall information".into())) }
    }
}
