//! `vmstat`: paging, swapping, faults and OOM kills.

use crate::files::{Files, number};
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct VmStat {
    fields: Filter,
}

impl VmStat {
    pub(crate) fn new(fields: Filter) -> Self {
        Self { fields }
    }
}

impl Collector for VmStat {
    fn name(&self) -> &'static str {
        "vmstat"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for line in files.proc("vmstat")?.lines() {
            let Some((key, value)) = line.split_once(' ').filter(|(key, _)| self.fields.keeps(key)) else {
                continue;
            };
            let name = format!("node_vmstat_{key}");
            out.untyped(
                &name,
                &format!("Counter {key} of the kernel's virtual memory."),
                &[],
                number("vmstat", value)?,
            );
        }
        Ok(())
    }
}
