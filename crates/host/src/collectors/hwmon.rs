//! `hwmon`: temperatures, fans, voltages, currents and power of the chips that the kernel's hardware monitoring knows.
//!
//! A file is `<kind><number>_<property>`; units by the kernel's sysfs-interface document: mV, m°C, mA, µW, µJ.

use std::collections::BTreeMap;
use std::path::Path;

use model::MetricType::{Counter, Gauge};

use crate::files::{self, Files};
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};

const KINDS: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];
/// Chips have dozens of sensors; more than this is a driver gone wrong.
const MAX_FILES: usize = 4096;

pub(crate) struct HwMon {
    chips: Filter,
    sensors: Filter,
}

impl HwMon {
    pub(crate) fn new(chips: Filter, sensors: Filter) -> Self {
        Self { chips, sensors }
    }

    fn chip(&self, path: &Path, out: &mut Output) -> Result<(), Error> {
        let Some(chip) = chip_name(path) else { return Ok(()) };
        if !self.chips.keeps(&chip) {
            return Ok(());
        }
        let mut sensors: BTreeMap<(String, &'static str), BTreeMap<String, String>> = BTreeMap::new();
        read_sensors(path, &mut sensors)?;
        let device = path.join("device");
        if device.is_dir() {
            // Drivers of the older kind put the files there.
            read_sensors(&device, &mut sensors)?;
        }
        let name = files::read(&path.join("name")).map(|name| clean(&name)).unwrap_or_default();
        if !name.is_empty() {
            let labels = [("chip", chip.as_str()), ("chip_name", &name)];
            out.gauge("node_hwmon_chip_names", "The driver's name of a chip.", &labels, 1.0);
        }
        for ((sensor, kind), properties) in &sensors {
            if !self.sensors.keeps(&format!("{chip};{sensor}")) {
                continue;
            }
            self.sensor(&chip, sensor, kind, properties, out);
        }
        Ok(())
    }

    fn sensor(
        &self,
        chip: &str,
        sensor: &str,
        kind: &str,
        properties: &BTreeMap<String, String>,
        out: &mut Output,
    ) {
        let label = properties.get("label");
        if let Some(label) = label.filter(|label| !label.is_empty()) {
            let labels = [("chip", chip), ("label", label.as_str()), ("sensor", sensor)];
            out.gauge("node_hwmon_sensor_label", "What the board's maker calls a sensor.", &labels, 1.0);
        }
        let labels = [("chip", chip), ("sensor", sensor)];
        let number = |property: &str| properties.get(property).and_then(|text| text.parse::<f64>().ok());
        match kind {
            "beep_enable" => {
                let on = f64::from(u8::from(properties.get("").is_some_and(|text| text == "1")));
                out.gauge("node_hwmon_beep_enabled", "Whether the chip may beep.", &labels, on);
            }
            "vrm" => {
                if let Some(version) = number("") {
                    let help = "Version of the voltage regulator's specification, times ten.";
                    out.gauge("node_hwmon_voltage_regulator_version", help, &labels, version);
                }
            }
            "update_interval" => {
                if let Some(ms) = number("") {
                    let help = "How often the chip looks at its sensors.";
                    out.gauge("node_hwmon_update_interval_seconds", help, &labels, ms / 1e3);
                }
            }
            "freq" => {
                if let Some(hertz) = number("input") {
                    let by_label = label.map(|label| clean(label)).filter(|label| !label.is_empty());
                    let sensor = by_label.as_deref().unwrap_or(sensor);
                    let labels = [("chip", chip), ("sensor", sensor)];
                    out.gauge(
                        "node_hwmon_freq_freq_mhz",
                        "A clock's frequency in MHz.",
                        &labels,
                        hertz / 1e6,
                    );
                }
            }
            _ => {
                let has_bare = properties.contains_key("");
                for (property, text) in properties.iter().filter(|(property, _)| *property != "label") {
                    let Ok(value) = text.parse::<f64>() else { continue };
                    let (name, help, factor) = metric(kind, property, has_bare);
                    let metric_type = if kind == "energy" { Counter } else { Gauge };
                    out.add(&name, metric_type, &help, &labels, value * factor);
                }
            }
        }
    }
}

/// Name, help and factor of a property.
fn metric(kind: &str, property: &str, has_bare: bool) -> (String, String, f64) {
    let stem = match property {
        "" => format!("node_hwmon_{kind}"),
        "input" if !has_bare => format!("node_hwmon_{kind}"),
        other => format!("node_hwmon_{kind}_{}", clean(other)),
    };
    let of = if property.is_empty() { "value" } else { property };
    let (suffix, what, factor) = match (kind, property) {
        (_, "fault" | "alarm") => ("", "flag of a sensor, 1 when raised", 1.0),
        (_, "beep") => ("_enabled", "whether the sensor may beep", 1.0),
        ("in" | "cpu", _) => ("_volts", "voltage", 1e-3),
        ("temp", "type") => ("", "kind of temperature sensor, by the kernel's numbers", 1.0),
        ("temp", _) => ("_celsius", "temperature", 1e-3),
        ("curr", _) => ("_amps", "current", 1e-3),
        ("energy", _) => ("_joule_total", "energy used so far", 1e-6),
        ("power", "accuracy") => ("", "accuracy of the power meter as a ratio", 1e-6),
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            ("_seconds", "time over which power is averaged", 1e-3)
        }
        ("power", _) => ("_watt", "power", 1e-6),
        ("humidity", _) => ("", "relative humidity as a ratio", 1e-6),
        ("fan", "input" | "min" | "max" | "target") => ("_rpm", "turns a minute", 1.0),
        _ => ("", "as the chip shows it", 1.0),
    };
    (format!("{stem}{suffix}"), format!("Hardware monitoring, {kind} {of}: {what}."), factor)
}

/// A stable name: numbers of hwmon folders follow the order in which drivers were loaded, the device's place does not.
fn chip_name(path: &Path) -> Option<String> {
    if let Ok(device) = std::fs::canonicalize(path.join("device")) {
        let part = |path: Option<&Path>| {
            path.and_then(Path::file_name).map(|name| clean(&name.to_string_lossy())).unwrap_or_default()
        };
        let (name, kind) = (part(Some(&device)), part(device.parent()));
        match (kind.is_empty(), name.is_empty()) {
            (false, false) => return Some(format!("{kind}_{name}")),
            (true, false) => return Some(name),
            _ => {}
        }
    }
    let name = files::read(&path.join("name")).map(|name| clean(&name)).unwrap_or_default();
    if !name.is_empty() {
        return Some(name);
    }
    let folder = std::fs::canonicalize(path).ok()?;
    Some(clean(&folder.file_name()?.to_string_lossy())).filter(|name| !name.is_empty())
}

fn clean(text: &str) -> String {
    let lower = text.trim_end_matches('\n').to_lowercase();
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':' || c == '_';
    let replaced: String = lower.chars().map(|c| if legal(c) { c } else { '_' }).collect();
    replaced.trim_matches('_').to_owned()
}

fn read_sensors(
    folder: &Path,
    sensors: &mut BTreeMap<(String, &'static str), BTreeMap<String, String>>,
) -> Result<(), Error> {
    for name in files::list(folder)?.into_iter().take(MAX_FILES) {
        let Some((kind, number, property)) = parse(&name) else { continue };
        // Drivers answer with an error for sensors that are not connected.
        let Ok(text) = files::read(&folder.join(&name)) else { continue };
        let sensor = format!("{kind}{number}");
        sensors
            .entry((sensor, kind))
            .or_default()
            .insert(property.to_owned(), text.trim_end_matches('\n').to_owned());
    }
    Ok(())
}

/// Kind, number (0 when there is none) and property (empty when there is none) of a file.
fn parse(name: &str) -> Option<(&'static str, u32, &str)> {
    if let Some(kind) = KINDS.iter().find(|kind| **kind == name) {
        return Some((kind, 0, ""));
    }
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    let (kind, rest) = name.split_at(digits);
    let kind = KINDS.iter().find(|known| **known == kind)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(end);
    let property = if rest.is_empty() { "" } else { rest.strip_prefix('_')? };
    Some((kind, number.parse().ok()?, property))
}

impl Collector for HwMon {
    fn name(&self) -> &'static str {
        "hwmon"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for name in files.sys_list("class/hwmon")? {
            let path = files.sys_path("class/hwmon").join(name);
            if path.is_dir() {
                self.chip(&path, out)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_taken_apart() {
        assert_eq!(parse("temp12_crit_alarm"), Some(("temp", 12, "crit_alarm")));
        assert_eq!(parse("pwm1"), Some(("pwm", 1, "")));
        assert_eq!(parse("update_interval"), Some(("update_interval", 0, "")));
        assert_eq!(parse("uevent"), None);
        assert_eq!(parse("temp1x"), None);
        assert_eq!(clean("CPU Temp (°C)\n"), "cpu_temp___c");
    }
}
