//! `systemd`: units and their states, asked of systemd over D-Bus, under node_exporter's names.

mod bus;

use std::io;
use std::path::PathBuf;

use crate::files::Files;
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};
use bus::{Bus, Call, Reader, Value};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const ROOT: &str = "/org/freedesktop/systemd1";
const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];
/// Units that are looked at.
const MAX_UNITS: usize = 20_000;
/// Properties that are asked for at once: their answers fit into the bus' buffers.
const AT_ONCE: usize = 64;

pub(crate) struct Systemd {
    units: Filter,
    /// The bus' socket; empty means the environment's or the system's.
    socket: String,
}

/// A unit, as `ListUnits` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit {
    name: String,
    load: String,
    active: String,
    path: String,
}

/// A property of a unit that becomes a sample.
struct Property {
    /// The unit's kind: the end of its name.
    of: &'static str,
    interface: &'static str,
    name: &'static str,
}

const PROPERTIES: [Property; 8] = [
    Property { of: ".service", interface: "org.freedesktop.systemd1.Service", name: "Type" },
    Property { of: ".service", interface: "org.freedesktop.systemd1.Service", name: "NRestarts" },
    Property { of: ".timer", interface: "org.freedesktop.systemd1.Timer", name: "LastTriggerUSec" },
    Property { of: ".socket", interface: "org.freedesktop.systemd1.Socket", name: "NAccepted" },
    Property { of: ".socket", interface: "org.freedesktop.systemd1.Socket", name: "NConnections" },
    Property { of: ".socket", interface: "org.freedesktop.systemd1.Socket", name: "NRefused" },
    Property { of: ".service", interface: "org.freedesktop.systemd1.Service", name: "TasksCurrent" },
    Property { of: ".service", interface: "org.freedesktop.systemd1.Service", name: "TasksMax" },
];

impl Systemd {
    pub(crate) fn new(units: Filter, socket: &str) -> Self {
        Self { units, socket: socket.to_owned() }
    }

    fn path(&self, files: &Files) -> PathBuf {
        if !self.socket.is_empty() {
            return self.socket.clone().into();
        }
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
        let path = address.split(';').find_map(|one| one.strip_prefix("unix:path="));
        match path.and_then(|rest| rest.split(',').next()) {
            Some(path) => path.into(),
            None => files.root_path("/run/dbus/system_bus_socket"),
        }
    }
}

impl Collector for Systemd {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let path = self.path(files);
        let shown = || format!("the bus at {}", path.display());
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::Absent(shown()),
            _ => Error::Read { path: shown(), source },
        };
        let mut bus = Bus::connect(&path, SYSTEMD).map_err(failed)?;
        let calls = [
            Call { path: ROOT, interface: MANAGER, member: "ListUnits", arguments: &[] },
            property(ROOT, &[MANAGER, "SystemState"]),
            property(ROOT, &[MANAGER, "Version"]),
        ];
        let answers = bus.ask(&calls).map_err(failed)?;
        let [listed, state, version] = answers.as_slice() else {
            return Err(failed(io::Error::other("answers are missing")));
        };
        let listed = match listed {
            Ok(body) => body,
            // A bus without systemd, as in containers.
            Err(name) if name.ends_with("ServiceUnknown") || name.ends_with("NameHasNoOwner") => {
                return Err(Error::Absent(format!("systemd on {}", shown())));
            }
            Err(name) => return Err(failed(io::Error::other(format!("ListUnits: {name}")))),
        };
        if let Some(Value::Text(state)) =
            state.as_ref().ok().and_then(|body| Reader::new(body).variant().ok())
        {
            let running = f64::from(u8::from(state == "running"));
            let help = "Whether systemd says that the system runs as it should, as systemctl is-system-running does.";
            out.gauge("node_systemd_system_running", help, &[], running);
        }
        if let Some(Value::Text(text)) =
            version.as_ref().ok().and_then(|body| Reader::new(body).variant().ok())
        {
            let digits: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            if let Ok(number) = digits.trim_end_matches('.').parse() {
                let help = "The version of systemd.";
                out.gauge("node_systemd_version", help, &[("version", text)], number);
            }
        }
        let units = units(listed).map_err(failed)?;
        for state in STATES {
            let count = units.iter().filter(|unit| unit.active == state).count();
            out.gauge("node_systemd_units", "Units by state.", &[("state", state)], count as f64);
        }
        let kept = units.iter().filter(|unit| unit.load == "loaded" && self.units.keeps(&unit.name));
        let kept: Vec<&Unit> = kept.take(MAX_UNITS).collect();
        let wanted: Vec<(usize, &Property)> = kept
            .iter()
            .enumerate()
            .flat_map(|(index, unit)| {
                let of_kind = PROPERTIES.iter().filter(|property| unit.name.ends_with(property.of));
                of_kind.map(move |property| (index, property))
            })
            .collect();
        let mut types: Vec<String> = vec![String::new(); kept.len()];
        for some in wanted.chunks(AT_ONCE) {
            let arguments: Vec<[&str; 2]> = some.iter().map(|(_, p)| [p.interface, p.name]).collect();
            let calls: Vec<Call<'_>> = some
                .iter()
                .zip(&arguments)
                .map(|((index, _), arguments)| property(&kept[*index].path, arguments))
                .collect();
            for ((index, property), answer) in some.iter().zip(bus.ask(&calls).map_err(failed)?) {
                // The unit is gone, or this systemd has no such property.
                let Ok(body) = answer else { continue };
                match Reader::new(&body).variant().map_err(failed)? {
                    Value::Text(text) => text.clone_into(&mut types[*index]),
                    Value::Number(number) => sample(out, property.name, &kept[*index].name, number),
                }
            }
        }
        for (unit, kind) in kept.iter().zip(&types) {
            for state in STATES {
                let labels = [("name", unit.name.as_str()), ("state", state), ("type", kind.as_str())];
                let is = f64::from(u8::from(unit.active == state));
                out.gauge("node_systemd_unit_state", "1 for the state that a unit is in.", &labels, is);
            }
        }
        Ok(())
    }
}

/// Asks for a property: its interface and name.
fn property<'a>(path: &'a str, name: &'a [&'a str]) -> Call<'a> {
    Call { path, interface: "org.freedesktop.DBus.Properties", member: "Get", arguments: name }
}

/// The sample of a property.
fn sample(out: &mut Output, property: &str, unit: &str, number: f64) {
    let label = [("name", unit)];
    match property {
        "NRestarts" => {
            let help = "Times that systemd has started a service again.";
            out.counter("node_systemd_service_restart_total", help, &label, number);
        }
        "LastTriggerUSec" => {
            let help = "When a timer has started its unit last, in seconds since the epoch.";
            out.gauge("node_systemd_timer_last_trigger_seconds", help, &label, number / 1e6);
        }
        "NAccepted" => {
            let help = "Connections that a socket unit has accepted.";
            out.counter("node_systemd_socket_accepted_connections_total", help, &label, number);
        }
        "NConnections" => {
            let help = "Connections of a socket unit now.";
            out.gauge("node_systemd_socket_current_connections", help, &label, number);
        }
        "NRefused" => {
            let help = "Connections that a socket unit has refused.";
            out.gauge("node_systemd_socket_refused_connections_total", help, &label, number);
        }
        // The greatest number stands for "not counted" and "no limit".
        "TasksCurrent" if number < u64::MAX as f64 => {
            let help = "Tasks of a service.";
            out.gauge("node_systemd_unit_tasks_current", help, &label, number);
        }
        "TasksMax" if number < u64::MAX as f64 => {
            let help = "Tasks that a service may have.";
            out.gauge("node_systemd_unit_tasks_max", help, &label, number);
        }
        _ => {}
    }
}

/// The body of `ListUnits`: an array of (name, description, load, active, sub, following, path, job, job type, job path).
fn units(body: &[u8]) -> io::Result<Vec<Unit>> {
    let mut reader = Reader::new(body);
    reader.u32()?;
    let mut units = Vec::new();
    while !reader.is_empty() {
        reader.align(8)?;
        let mut text = || reader.text().map(str::to_owned);
        let (name, _, load, active) = (text()?, text()?, text()?, text()?);
        let (_, _, path) = (text()?, text()?, text()?);
        reader.u32()?;
        reader.text()?;
        reader.text()?;
        units.push(Unit { name, load, active, path });
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;
    use crate::Config;

    /// Answers as a bus with systemd behind it does: the member or property that is asked for says what.
    fn fake_bus(path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                assert!(line.starts_with("\0AUTH EXTERNAL "), "{line}");
                stream.get_mut().write_all(b"OK 1234\r\n").unwrap();
                line.clear();
                stream.read_line(&mut line).unwrap();
                // A signal comes first: it is no answer.
                let mut out = answer(4, 0, &[]);
                loop {
                    let mut head = [0; 16];
                    if stream.read_exact(&mut head).is_err() {
                        break;
                    }
                    let number =
                        |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()) as usize;
                    let mut rest = vec![0; number(12).next_multiple_of(8) + number(4)];
                    stream.read_exact(&mut rest).unwrap();
                    let text = String::from_utf8_lossy(&rest).into_owned();
                    let body = said(&text);
                    let kind = if body.is_some() { 2 } else { 3 };
                    out.extend(answer(kind, number(8) as u32, &body.unwrap_or_default()));
                    stream.get_mut().write_all(&out).unwrap();
                    out.clear();
                }
            }
        });
    }

    fn answer(kind: u8, serial: u32, body: &[u8]) -> Vec<u8> {
        let mut fields = vec![5, 1, b'u', 0];
        fields.extend(serial.to_le_bytes());
        let mut out = vec![b'l', kind, 0, 1];
        for number in [body.len() as u32, 7, fields.len() as u32] {
            out.extend(number.to_le_bytes());
        }
        out.extend(fields);
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend(body);
        out
    }

    fn variant(kind: &str, text: &str, number: u64) -> Vec<u8> {
        let mut out = bus::Writer(vec![1, kind.as_bytes()[0], 0]);
        match kind {
            "s" => out.text(text),
            "u" => {
                out.align(4);
                out.0.extend((number as u32).to_le_bytes());
            }
            _ => {
                out.align(8);
                out.0.extend(number.to_le_bytes());
            }
        }
        out.0
    }

    fn said(asked: &str) -> Option<Vec<u8>> {
        let has = |word: &str| asked.contains(word);
        Some(if has("Hello") {
            let mut out = bus::Writer::default();
            out.text(":1.7");
            out.0
        } else if has("ListUnits") {
            let mut list = bus::Writer(vec![0; 4]);
            for (name, load, active) in [
                ("nginx.service", "loaded", "failed"),
                ("a.timer", "loaded", "active"),
                ("b.socket", "loaded", "active"),
                ("gone.service", "not-found", "inactive"),
                ("x.slice", "loaded", "active"),
            ] {
                list.align(8);
                for text in [name, "some words", load, active, "sub", "", &format!("/u/{name}")] {
                    list.text(text);
                }
                list.0.extend([0; 4]);
                list.text("");
                list.text("/");
            }
            list.0
        } else if has("SystemState") {
            variant("s", "degraded", 0)
        } else if has("Version") {
            variant("s", "252.39-1~deb12u2", 0)
        } else if has("Type") {
            variant("s", "forking", 0)
        } else if has("NRestarts") {
            variant("u", "", 3)
        } else if has("LastTriggerUSec") {
            variant("t", "", 1_700_000_000_500_000)
        } else if has("NAccepted") || has("NConnections") {
            variant("u", "", 9)
        } else if has("TasksMax") {
            variant("t", "", u64::MAX)
        } else if has("TasksCurrent") {
            variant("t", "", 4)
        } else {
            return None;
        })
    }

    #[test]
    fn units_are_shown_as_node_exporter_shows_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        fake_bus(&path);
        let config = Config::default();
        let filter =
            Filter::new(["i", "e"], &config.systemd_unit_include, &config.systemd_unit_exclude).unwrap();
        let mut out = Output::new("systemd");
        Systemd::new(filter, &path.display().to_string()).collect(&Files::new(&config), &mut out).unwrap();
        let mut lines: Vec<String> = out
            .finish()
            .into_iter()
            .flat_map(|family| {
                let name = family.name;
                family.samples.into_iter().map(move |(labels, value)| format!("{name}{labels} {value}"))
            })
            .filter(|line| !line.ends_with(" 0"))
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                r#"node_systemd_service_restart_total{name="nginx.service"} 3"#,
                r#"node_systemd_socket_accepted_connections_total{name="b.socket"} 9"#,
                r#"node_systemd_socket_current_connections{name="b.socket"} 9"#,
                r#"node_systemd_timer_last_trigger_seconds{name="a.timer"} 1700000000.5"#,
                r#"node_systemd_unit_state{name="a.timer", state="active"} 1"#,
                r#"node_systemd_unit_state{name="b.socket", state="active"} 1"#,
                r#"node_systemd_unit_state{name="nginx.service", state="failed", type="forking"} 1"#,
                r#"node_systemd_unit_tasks_current{name="nginx.service"} 4"#,
                r#"node_systemd_units{state="active"} 3"#,
                r#"node_systemd_units{state="failed"} 1"#,
                r#"node_systemd_units{state="inactive"} 1"#,
                r#"node_systemd_version{version="252.39-1~deb12u2"} 252.39"#,
            ]
        );
    }

    #[test]
    fn a_host_without_a_bus_has_nothing() {
        let config = Config::default();
        let filter = Filter::excluding("e", "").unwrap();
        let found =
            Systemd::new(filter, "/no/such/bus").collect(&Files::new(&config), &mut Output::new("systemd"));
        assert!(matches!(found, Err(Error::Absent(_))));
    }

    #[test]
    fn nonsense_ends_in_an_error() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\0\0\0\0\0\xff\xff\xff\x7fabc", b"\x01"] {
            assert!(units(bytes).is_err() || units(bytes).unwrap().is_empty());
            assert!(Reader::new(bytes).variant().is_err());
        }
    }
}
