//! Power: what the host uses, and what its uninterruptible supply says, with events when mains go and come.

pub(crate) mod config;
mod nut;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::events::{Events, Severity};
use crate::files::Files;
use crate::output::Output;
use crate::{Collector, Error};
use config::PowerConfig;

/// Flags of `ups.status` and what they mean. Source: NUT's new-drivers document.
const FLAGS: [(&str, &str); 12] = [
    ("OL", "on mains"),
    ("OB", "on battery"),
    ("LB", "battery low"),
    ("HB", "battery high"),
    ("RB", "battery must be replaced"),
    ("CHRG", "charging"),
    ("DISCHRG", "discharging"),
    ("BYPASS", "bypassed"),
    ("CAL", "calibrating"),
    ("OFF", "off"),
    ("OVER", "overloaded"),
    ("FSD", "shutting down"),
];

pub(crate) struct Power {
    ups: String,
    events: Events,
    /// Flags of each supply when it was asked last.
    flags: BTreeMap<String, BTreeSet<String>>,
    /// Energy counters of the processor: when, and microjoules by zone.
    energy: Option<(Instant, BTreeMap<String, f64>)>,
}

impl Power {
    pub(crate) fn new(config: &PowerConfig, events: Events) -> Self {
        Self { ups: config.ups.clone(), events, flags: BTreeMap::new(), energy: None }
    }

    /// Watts by what measures them.
    fn watts(&mut self, files: &Files, out: &mut Output) {
        let mut add = |source: &str, watts: f64| {
            let help = "Power that the host uses, by what measures it: its own meter (all of it), or the processors (rapl).";
            out.gauge("bellwether_host_power_watts", help, &[("source", source)], watts);
        };
        let mut meter = None;
        for chip in files.sys_list("class/hwmon").unwrap_or_default() {
            let folder = format!("class/hwmon/{chip}");
            if files.sys(&format!("{folder}/name")).is_ok_and(|name| name == "power_meter") {
                let micro = ["power1_average", "power1_input"]
                    .iter()
                    .find_map(|file| files.sys_number(&format!("{folder}/{file}")));
                if let Some(micro) = micro {
                    *meter.get_or_insert(0.0) += micro / 1e6;
                }
            }
        }
        if let Some(watts) = meter {
            add("meter", watts);
        }
        let mut zones = BTreeMap::new();
        let mut ranges = BTreeMap::new();
        for zone in files.sys_list("class/powercap").unwrap_or_default() {
            // Packages only: their parts are contained in them.
            if !zone.contains("rapl") || zone.matches(':').count() != 1 {
                continue;
            }
            let folder = format!("class/powercap/{zone}");
            if let Some(micro) = files.sys_number(&format!("{folder}/energy_uj")) {
                ranges.insert(
                    zone.clone(),
                    files.sys_number(&format!("{folder}/max_energy_range_uj")).unwrap_or(0.0),
                );
                zones.insert(zone, micro);
            }
        }
        let now = Instant::now();
        if !zones.is_empty() {
            if let Some((at, before)) = &self.energy {
                let seconds = now.duration_since(*at).as_secs_f64();
                let joules: f64 = zones
                    .iter()
                    .filter_map(|(zone, micro)| Some(used(*before.get(zone)?, *micro, ranges[zone]) / 1e6))
                    .sum();
                if seconds > 0.5 {
                    add("rapl", joules / seconds);
                }
            }
            self.energy = Some((now, zones));
        }
    }

    fn supplies(&mut self, out: &mut Output) -> Result<(), Error> {
        if self.ups.is_empty() {
            return Ok(());
        }
        let supplies = match nut::ask(&self.ups) {
            Ok(supplies) => supplies,
            // Most hosts have none.
            Err(err) if err.kind() == std::io::ErrorKind::ConnectionRefused && self.flags.is_empty() => {
                return Ok(());
            }
            Err(source) => return Err(Error::Read { path: format!("upsd at {}", self.ups), source }),
        };
        for (name, variables) in supplies {
            let label = [("ups", name.as_str())];
            for (variable, value) in &variables {
                if let Ok(value) = value.parse::<f64>() {
                    let metric = format!("network_ups_tools_{}", variable.replace(['.', '-'], "_"));
                    let help = format!("Variable {variable} of a power supply, as NUT has it.");
                    out.gauge(&metric, &help, &label, value);
                }
            }
            let status = variables.iter().find(|(variable, _)| variable == "ups.status");
            let Some((_, status)) = status else { continue };
            let flags: BTreeSet<String> = status.split_ascii_whitespace().map(str::to_owned).collect();
            for (flag, _) in FLAGS {
                let labels = [("flag", flag), ("ups", name.as_str())];
                let on = f64::from(u8::from(flags.contains(flag)));
                out.gauge(
                    "network_ups_tools_ups_status",
                    "1 for each flag that a power supply shows.",
                    &labels,
                    on,
                );
            }
            if let Some(before) = self.flags.insert(name.clone(), flags.clone()) {
                for (severity, what, flag) in changes(&before, &flags) {
                    let charge = variables.iter().find(|(variable, _)| variable == "battery.charge");
                    let charge = charge.map_or("", |(_, value)| value);
                    let message = format!("power supply {name}: {what}");
                    self.events.add(
                        "power",
                        severity,
                        message,
                        &[("ups", &name), ("flag", flag), ("battery_charge", charge)],
                    );
                }
            }
        }
        Ok(())
    }
}

/// What changed, in words.
fn changes(before: &BTreeSet<String>, now: &BTreeSet<String>) -> Vec<(Severity, String, &'static str)> {
    let mut found = Vec::new();
    for (flag, meaning) in FLAGS {
        let (was, is) = (before.contains(flag), now.contains(flag));
        let severity = match flag {
            "OB" | "LB" | "FSD" | "OVER" => Severity::Critical,
            "RB" | "OFF" | "BYPASS" => Severity::Warning,
            "OL" => Severity::Info,
            _ => continue,
        };
        if is && !was {
            found.push((severity, meaning.to_owned(), flag));
        } else if was && !is && ["LB", "RB", "OVER"].contains(&flag) {
            found.push((Severity::Info, format!("no longer: {meaning}"), flag));
        }
    }
    found
}

/// Microjoules used between two readings of a counter that wraps at `range`.
fn used(before: f64, now: f64, range: f64) -> f64 {
    if now >= before { now - before } else { (range - before + now).max(0.0) }
}

impl Collector for Power {
    fn name(&self) -> &'static str {
        "power"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        self.watts(files, out);
        self.supplies(out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::Config;

    /// A server with one supply whose status can be set.
    fn upsd(status: Arc<Mutex<String>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                for line in lines.map_while(Result::ok) {
                    let answer = match line.as_str() {
                        "LIST UPS" => {
                            "BEGIN LIST UPS\nUPS rack \"The \\\"big\\\" one\"\nEND LIST UPS\n".to_owned()
                        }
                        "LIST VAR rack" => format!(
                            "BEGIN LIST VAR rack\nVAR rack battery.charge \"87\"\nVAR rack ups.load \"23.5\"\n\
                             VAR rack ups.mfr \"ACME\"\nVAR rack ups.status \"{}\"\nEND LIST VAR rack\n",
                            status.lock().unwrap()
                        ),
                        _ => break,
                    };
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        address
    }

    #[test]
    fn mains_that_go_and_come_are_events() {
        let status = Arc::new(Mutex::new("OL CHRG".to_owned()));
        let events = Events::open(None, Arc::new(model::time::SystemClock)).unwrap();
        let config = PowerConfig { ups: upsd(Arc::clone(&status)), ..PowerConfig::default() };
        let mut power = Power::new(&config, events.clone());
        let files = Files::new(&Config::default());
        let mut look = || {
            let mut out = Output::new("power");
            power.collect(&files, &mut out).unwrap();
            out.finish()
        };
        let families = look();
        let value = |families: &[model::Family], name: &str, flag: Option<&str>| {
            let family = families.iter().find(|family| family.name == name).unwrap();
            family.samples.iter().find(|(labels, _)| labels.get("flag") == flag).map(|(_, value)| *value)
        };
        assert_eq!(value(&families, "network_ups_tools_battery_charge", None), Some(87.0));
        assert_eq!(value(&families, "network_ups_tools_ups_status", Some("OL")), Some(1.0));
        assert_eq!(value(&families, "network_ups_tools_ups_status", Some("OB")), Some(0.0));
        *status.lock().unwrap() = "OB DISCHRG".into();
        look();
        *status.lock().unwrap() = "OB DISCHRG LB".into();
        look();
        *status.lock().unwrap() = "OL".into();
        look();
        let told: Vec<String> = events.since(0, 100).into_iter().map(|event| event.message).collect();
        assert_eq!(
            told,
            [
                "power supply rack: on battery",
                "power supply rack: battery low",
                "power supply rack: on mains",
                "power supply rack: no longer: battery low",
            ]
        );
    }

    #[test]
    fn a_host_without_a_supply_is_no_failure_and_counters_wrap() {
        let events = Events::open(None, Arc::new(model::time::SystemClock)).unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut power = Power::new(&PowerConfig { ups: closed, ..PowerConfig::default() }, events);
        power.collect(&Files::new(&Config::default()), &mut Output::new("power")).unwrap();
        assert_eq!(used(10.0, 25.0, 100.0), 15.0);
        assert_eq!(used(90.0, 5.0, 100.0), 15.0);
    }
}
