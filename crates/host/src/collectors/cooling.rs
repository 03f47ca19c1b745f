//! `thermal_zone` and `cpufreq`: temperatures, cooling devices and clock frequencies of processors.

use crate::files::Files;
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct ThermalZone;

impl Collector for ThermalZone {
    fn name(&self) -> &'static str {
        "thermal_zone"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for name in files.sys_list("class/thermal").unwrap_or_default() {
            let folder = format!("class/thermal/{name}");
            let kind = files.sys(&format!("{folder}/type")).unwrap_or_default();
            if let Some(zone) = name.strip_prefix("thermal_zone") {
                if let Some(milli) = files.sys_number(&format!("{folder}/temp")) {
                    let labels = [("type", kind.as_str()), ("zone", zone)];
                    let help = "Temperature of a zone of the machine in °C.";
                    out.gauge("node_thermal_zone_temp", help, &labels, milli / 1e3);
                }
            } else if let Some(number) = name.strip_prefix("cooling_device") {
                let labels = [("name", number), ("type", kind.as_str())];
                for (file, help) in [
                    ("cur_state", "How hard a cooling device works, in steps of its own."),
                    ("max_state", "The hardest that a cooling device can work."),
                ] {
                    if let Some(state) = files.sys_number(&format!("{folder}/{file}")) {
                        out.gauge(&format!("node_cooling_device_{file}"), help, &labels, state);
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) struct CpuFreq;

/// File, metric, help. The kernel counts in kHz.
const FREQUENCIES: [(&str, &str, &str); 6] = [
    ("cpuinfo_cur_freq", "frequency_hertz", "The processor's frequency as the hardware says."),
    ("cpuinfo_min_freq", "frequency_min_hertz", "The lowest frequency that the processor can have."),
    ("cpuinfo_max_freq", "frequency_max_hertz", "The highest frequency that the processor can have."),
    ("scaling_cur_freq", "scaling_frequency_hertz", "The processor's frequency as the kernel set it."),
    ("scaling_min_freq", "scaling_frequency_min_hertz", "The lowest frequency that the kernel may set."),
    ("scaling_max_freq", "scaling_frequency_max_hertz", "The highest frequency that the kernel may set."),
];

impl Collector for CpuFreq {
    fn name(&self) -> &'static str {
        "cpufreq"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const ROOT: &str = "devices/system/cpu";
        for name in files.sys_list(ROOT)? {
            let Some(cpu) = name.strip_prefix("cpu") else { continue };
            if cpu.is_empty() || !cpu.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let folder = format!("{ROOT}/{name}/cpufreq");
            if !files.sys_path(&folder).is_dir() {
                continue;
            }
            for (file, metric, help) in FREQUENCIES {
                if let Some(kilohertz) = files.sys_number(&format!("{folder}/{file}")) {
                    out.gauge(&format!("node_cpu_{metric}"), help, &[("cpu", cpu)], kilohertz * 1e3);
                }
            }
            let text = |file: &str| files.sys(&format!("{folder}/{file}")).unwrap_or_default();
            let current = text("scaling_governor");
            for governor in text("scaling_available_governors").split_ascii_whitespace() {
                let on = f64::from(u8::from(governor == current));
                let labels = [("cpu", cpu), ("governor", governor)];
                let help = "Which policy sets the frequency: 1 for the one in force.";
                out.gauge("node_cpu_scaling_governor", help, &labels, on);
            }
        }
        Ok(())
    }
}
