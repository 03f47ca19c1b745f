//! `pressure`: time in which tasks waited for processor, memory or I/O (PSI).

use super::super::files::{Files, number};
use super::super::output::Output;
use super::super::{Collector, Error};

pub(in super::super) struct Pressure;

impl Collector for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let mut found = false;
        for (resource, some, full) in [
            ("cpu", "Total time in seconds that processes have waited for CPU time", None),
            (
                "io",
                "Total time in seconds that processes have waited due to IO congestion",
                Some("Total time in seconds no process could make progress due to IO congestion"),
            ),
            (
                "memory",
                "Total time in seconds that processes have waited for memory",
                Some("Total time in seconds no process could make progress due to memory congestion"),
            ),
            ("irq", "", Some("Total time in seconds no process could make progress due to IRQ congestion")),
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
