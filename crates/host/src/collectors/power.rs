//! `rapl` and `powersupplyclass`: energy that processors and memory use; batteries and mains.

use crate::files::Files;
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};

/// Energy counters of the processor, which wrap. Since 2020 only root may read them.
pub(crate) struct Rapl;

impl Collector for Rapl {
    fn name(&self) -> &'static str {
        "rapl"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const ROOT: &str = "class/powercap";
        let mut denied = None;
        for zone in files.sys_list(ROOT)? {
            // `intel-rapl:0`, `intel-rapl:0:1`; `intel-rapl` itself and `intel-rapl-mmio` are no zones with energy.
            if !zone.contains(':') || !zone.contains("rapl") {
                continue;
            }
            let folder = format!("{ROOT}/{zone}");
            let Ok(name) = files.sys(&format!("{folder}/name")) else { continue };
            let micro = match files.sys(&format!("{folder}/energy_uj")) {
                Ok(text) => text.parse::<f64>().ok(),
                Err(Error::Absent(_)) => None,
                Err(err) => {
                    denied = Some(err);
                    None
                }
            };
            let Some(micro) = micro else { continue };
            let path = files.sys_path(&folder).display().to_string();
            // `package-0` is package 0; a zone without a number belongs to the package in its folder's name.
            let (kind, index) = match name.rsplit_once('-') {
                Some((kind, index)) if index.bytes().all(|b| b.is_ascii_digit()) => (kind, index.to_owned()),
                _ => (name.as_str(), zone.split(':').nth(1).unwrap_or("0").to_owned()),
            };
            let kind: String =
                kind.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            let labels = [("index", index.as_str()), ("path", &path)];
            let help = format!("Energy that this zone ({name}) of the processor has used.");
            out.counter(&format!("node_rapl_{kind}_joules_total"), &help, &labels, micro / 1e6);
            if let Some(range) = files.sys_number(&format!("{folder}/max_energy_range_uj")) {
                let help = "Where the energy counter of the zone starts again at 0.";
                let labels = [("index", index.as_str()), ("path", &path), ("zone", &name)];
                out.gauge("bellwether_rapl_range_joules", help, &labels, range / 1e6);
            }
        }
        denied.map_or(Ok(()), Err)
    }
}

pub(crate) struct PowerSupply {
    filter: Filter,
}

impl PowerSupply {
    pub(crate) fn new(filter: Filter) -> Self {
        Self { filter }
    }
}

/// File, metric and factor. The kernel counts in micro-units; percentages, counts and seconds as they are.
const SUPPLY: [(&str, &str, f64); 47] = [
    ("authentic", "authentic", 1.0),
    ("calibrate", "calibrate", 1.0),
    ("capacity", "capacity", 1.0),
    ("capacity_alert_max", "capacity_alert_max", 1.0),
    ("capacity_alert_min", "capacity_alert_min", 1.0),
    ("cyclecount", "cyclecount", 1.0),
    ("cycle_count", "cyclecount", 1.0),
    ("online", "online", 1.0),
    ("present", "present", 1.0),
    ("time_to_empty_now", "time_to_empty_seconds", 1.0),
    ("time_to_full_now", "time_to_full_seconds", 1.0),
    ("current_boot", "current_boot", 1e-6),
    ("current_max", "current_max", 1e-6),
    ("current_now", "current_ampere", 1e-6),
    ("energy_empty", "energy_empty", 1e-6),
    ("energy_empty_design", "energy_empty_design", 1e-6),
    ("energy_full", "energy_full", 1e-6),
    ("energy_full_design", "energy_full_design", 1e-6),
    ("energy_now", "energy_watthour", 1e-6),
    ("voltage_boot", "voltage_boot", 1e-6),
    ("voltage_max", "voltage_max", 1e-6),
    ("voltage_max_design", "voltage_max_design", 1e-6),
    ("voltage_min", "voltage_min", 1e-6),
    ("voltage_min_design", "voltage_min_design", 1e-6),
    ("voltage_now", "voltage_volt", 1e-6),
    ("voltage_ocv", "voltage_ocv", 1e-6),
    ("charge_control_limit", "charge_control_limit", 1e-6),
    ("charge_control_limit_max", "charge_control_limit_max", 1e-6),
    ("charge_counter", "charge_counter", 1e-6),
    ("charge_empty", "charge_empty", 1e-6),
    ("charge_empty_design", "charge_empty_design", 1e-6),
    ("charge_full", "charge_full", 1e-6),
    ("charge_full_design", "charge_full_design", 1e-6),
    ("charge_now", "charge_ampere", 1e-6),
    ("charge_term_current", "charge_term_current", 1e-6),
    ("constant_charge_current", "constant_charge_current", 1e-6),
    ("constant_charge_current_max", "constant_charge_current_max", 1e-6),
    ("constant_charge_voltage", "constant_charge_voltage", 1e-6),
    ("constant_charge_voltage_max", "constant_charge_voltage_max", 1e-6),
    ("precharge_current", "precharge_current", 1e-6),
    ("input_current_limit", "input_current_limit_ampere", 1e-6),
    ("power_now", "power_watt", 1e-6),
    // Tenths of a degree.
    ("temp", "temp_celsius", 0.1),
    ("temp_alert_max", "temp_alert_max_celsius", 0.1),
    ("temp_alert_min", "temp_alert_min_celsius", 0.1),
    ("temp_ambient", "temp_ambient_celsius", 0.1),
    ("temp_max", "temp_max_celsius", 0.1),
];

const SUPPLY_INFO: [&str; 10] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
];

impl Collector for PowerSupply {
    fn name(&self) -> &'static str {
        "powersupplyclass"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for supply in files.sys_list("class/power_supply")? {
            if !self.filter.keeps(&supply) {
                continue;
            }
            let folder = format!("class/power_supply/{supply}");
            for (file, metric, factor) in SUPPLY {
                if let Some(value) = files.sys_number(&format!("{folder}/{file}")) {
                    let help =
                        format!("{file} of a power supply, as the kernel's power_supply class has it.");
                    let label = [("power_supply", supply.as_str())];
                    out.gauge(&format!("node_power_supply_{metric}"), &help, &label, value * factor);
                }
            }
            let known: Vec<(&str, String)> = SUPPLY_INFO
                .iter()
                .filter_map(|name| Some((*name, files.sys(&format!("{folder}/{name}")).ok()?)))
                .filter(|(_, text)| !text.is_empty())
                .collect();
            let mut labels = vec![("power_supply", supply.as_str())];
            labels.extend(known.iter().map(|(name, text)| (*name, text.as_str())));
            let help = "Always 1; the labels describe the power supply and its state.";
            out.gauge("node_power_supply_info", help, &labels, 1.0);
        }
        Ok(())
    }
}
