//! `vmstat`: paging, swapping, faults and OOM kills.

use model::pattern::Pattern;

use super::super::files::{Files, number};
use super::super::output::Output;
use super::super::{Collector, Error};

pub(in super::super) struct VmStat {
    fields: Pattern,
}

impl VmStat {
    pub(in super::super) fn new(fields: Pattern) -> Self {
        Self { fields }
    }
}

impl Collector for VmStat {
    fn name(&self) -> &'static str {
        "vmstat"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for line in files.proc("vmstat")?.lines() {
            let Some((key, value)) = line.split_once(' ').filter(|(key, _)| self.fields.matches(key)) else {
                continue;
            };
            let name = format!("node_vmstat_{key}");
            out.untyped(
                &name,
                &format!("/proc/vmstat information field {key}."),
                &[],
                number("vmstat", value)?,
            );
        }
        Ok(())
    }
}
