//! `cpu`: seconds each processor spent in each mode, from `/proc/stat`.

use crate::files::{Files, number};
use crate::output::Output;
use crate::{Collector, Error};

/// USER_HZ: what the kernel shows to programs on every Linux that Rust's standard library supports.
const TICKS_PER_SECOND: f64 = 100.0;

const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

pub(crate) struct Cpu {
    /// Whether time in virtual machines is shown.
    pub(crate) guest: bool,
}

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
                        "Time that a processor has spent in a mode.",
                        &[("cpu", cpu), ("mode", MODES[index])],
                        seconds,
                    ),
                    8 | 9 if self.guest => out.counter(
                        "node_cpu_guest_seconds_total",
                        "Time that a processor has spent running virtual machines.",
                        &[("cpu", cpu), ("mode", if index == 8 { "user" } else { "nice" })],
                        seconds,
                    ),
                    _ => {}
                }
            }
        }
        throttling(files, out);
        Ok(())
    }
}

/// How often the hardware slowed a core or a package down because it was hot; only on real machines.
fn throttling(files: &Files, out: &mut Output) {
    const ROOT: &str = "devices/system/cpu";
    let mut packages = std::collections::BTreeSet::new();
    for name in files.sys_list(ROOT).unwrap_or_default() {
        let folder = format!("{ROOT}/{name}");
        let number = |file: &str| files.sys_number(&format!("{folder}/{file}"));
        let is_cpu = name
            .strip_prefix("cpu")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_cpu || !files.sys_path(&format!("{folder}/thermal_throttle")).is_dir() {
            continue;
        }
        let (Some(package), Some(core)) =
            (number("topology/physical_package_id"), number("topology/core_id"))
        else {
            continue;
        };
        let (package, core) = (package.to_string(), core.to_string());
        if let Some(count) = number("thermal_throttle/core_throttle_count") {
            let labels = [("core", core.as_str()), ("package", &package)];
            let help = "Times that a core was slowed down because it was hot.";
            out.counter("node_cpu_core_throttles_total", help, &labels, count);
        }
        if let Some(count) = number("thermal_throttle/package_throttle_count")
            && packages.insert(package.clone())
        {
            let help = "Times that a processor was slowed down because it was hot.";
            out.counter("node_cpu_package_throttles_total", help, &[("package", &package)], count);
        }
    }
}
