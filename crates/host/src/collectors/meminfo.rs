//! `meminfo`: every field of `/proc/meminfo`.

use crate::files::{Files, number};
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct MemInfo;

impl Collector for MemInfo {
    fn name(&self) -> &'static str {
        "meminfo"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for line in files.proc("meminfo")?.lines() {
            let Some((key, rest)) = line.split_once(':') else { continue };
            let mut fields = rest.split_ascii_whitespace();
            let value = number("meminfo", fields.next().unwrap_or_default())?;
            // Active(anon) → Active_anon
            let key = key.replace('(', "_").replace(')', "");
            let (name, value) = match fields.next() {
                Some("kB") => (format!("node_memory_{key}_bytes"), value * 1024.0),
                _ => (format!("node_memory_{key}"), value),
            };
            out.gauge(
                &name,
                &format!("Field {} of the kernel's memory statistics.", &name["node_memory_".len()..]),
                &[],
                value,
            );
        }
        Ok(())
    }
}
