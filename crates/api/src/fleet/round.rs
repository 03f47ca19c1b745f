//! One round of the fleet's state: from the newest samples of `up` and the active alerts to a code for every server. Pure.

use std::collections::HashMap;

use model::Samples;

use super::codec::{Bits, Code};
use super::topology::{Topology, server_name};

/// An alert that is active now, as far as the map needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActiveAlert {
    /// The server it is about.
    pub(crate) server: String,
    pub(crate) name: String,
    pub(crate) severity: String,
    pub(crate) since_ms: i64,
    pub(crate) silenced: bool,
    pub(crate) inhibited: bool,
    pub(crate) summary: String,
}

impl ActiveAlert {
    /// From a firing alert's labels; `None` when it names no server.
    pub(crate) fn server_of(labels: &model::Labels) -> Option<&str> {
        server_name(labels)
    }

    /// What the alert means for its server.
    pub(crate) fn code(&self) -> Code {
        match self.severity.as_str() {
            "critical" | "page" | "emergency" | "error" | "high" => Code::Critical,
            "info" | "none" | "information" => Code::Ok,
            _ => Code::Warning,
        }
    }
}

/// What one target says of its server.
///
/// `samples`: of `up`, oldest first. A target is dead when its last `dead_after` tries failed; fewer failures in a row
/// say nothing yet. Without a sample, or after a staleness marker, nothing is known.
pub(crate) fn target_code(samples: &Samples, dead_after: usize) -> Code {
    match samples.values.last() {
        None => Code::NoData,
        Some(last) if model::is_stale(*last) => Code::NoData,
        Some(_) => {
            let failed = samples.values.iter().rev().take_while(|value| **value == 0.0).count();
            if failed >= dead_after.max(1) { Code::Critical } else { Code::Ok }
        }
    }
}

/// The codes of one plane and since when each server has its.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plane {
    pub(crate) codes: Vec<Code>,
    /// Milliseconds since the epoch; 0 when it has not changed since the server started.
    pub(crate) since: Vec<i64>,
    pub(crate) silenced: Bits,
}

impl Plane {
    pub(crate) fn new(servers: usize) -> Self {
        Self { codes: vec![Code::NoData; servers], since: vec![0; servers], silenced: Bits::new(servers) }
    }

    /// Takes over new codes and notes when they changed.
    pub(crate) fn advance(&mut self, codes: Vec<Code>, silenced: Bits, now_ms: i64) {
        for ((since, old), new) in self.since.iter_mut().zip(&self.codes).zip(&codes) {
            if old != new {
                *since = now_ms;
            }
        }
        self.codes = codes;
        self.silenced = silenced;
    }
}

/// The `up` plane's codes: the worst of each server's targets. `targets`: server index and code.
pub(crate) fn up_codes(servers: usize, targets: impl Iterator<Item = (u32, Code)>) -> Vec<Code> {
    let mut codes = vec![None::<Code>; servers];
    for (server, code) in targets {
        let slot = &mut codes[server as usize];
        // A target without data beside one that answers does not hide the answer.
        *slot = Some(match (*slot, code) {
            (None, code) | (Some(Code::NoData), code) => code,
            (Some(known), Code::NoData) => known,
            (Some(known), code) => known.worse(code),
        });
    }
    codes.into_iter().map(|code| code.unwrap_or(Code::NoData)).collect()
}

/// The `alert` plane's codes and which servers' alerts are all silenced.
pub(crate) fn alert_codes(
    up: &[Code],
    index: &HashMap<String, u32>,
    alerts: &[ActiveAlert],
) -> (Vec<Code>, Bits) {
    let mut codes: Vec<Code> =
        up.iter().map(|code| if *code == Code::NoData { Code::NoData } else { Code::Ok }).collect();
    let mut silenced = Bits::new(codes.len());
    let mut heard = Bits::new(codes.len());
    for alert in alerts {
        let (Some(&server), code) = (index.get(&alert.server), alert.code()) else { continue };
        let server = server as usize;
        if code == Code::Ok {
            continue;
        }
        codes[server] = codes[server].worse(code);
        if alert.silenced || alert.inhibited {
            silenced.set(server, !heard.get(server));
        } else {
            heard.set(server, true);
            silenced.set(server, false);
        }
    }
    (codes, silenced)
}

/// Server index by name.
pub(crate) fn index(topology: &Topology) -> HashMap<String, u32> {
    topology.list.iter().enumerate().map(|(i, server)| (server.name.clone(), i as u32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        values.iter().enumerate().for_each(|(i, value)| samples.push_float(i as i64, *value));
        samples
    }

    fn alert(server: &str, severity: &str, silenced: bool) -> ActiveAlert {
        ActiveAlert {
            server: server.into(),
            name: "A".into(),
            severity: severity.into(),
            since_ms: 1,
            silenced,
            inhibited: false,
            summary: String::new(),
        }
    }

    #[test]
    fn a_target_is_dead_only_after_several_tries() {
        assert_eq!(target_code(&samples(&[1.0, 0.0, 0.0]), 3), Code::Ok);
        assert_eq!(target_code(&samples(&[1.0, 0.0, 0.0, 0.0]), 3), Code::Critical);
        assert_eq!(target_code(&samples(&[0.0, 0.0, 1.0]), 3), Code::Ok);
        assert_eq!(target_code(&samples(&[]), 3), Code::NoData);
        assert_eq!(target_code(&samples(&[1.0, f64::from_bits(model::STALE_NAN)]), 3), Code::NoData);
    }

    #[test]
    fn the_worst_target_decides() {
        let codes = up_codes(
            4,
            [(0, Code::Ok), (0, Code::Critical), (1, Code::NoData), (2, Code::NoData), (2, Code::Ok)]
                .into_iter(),
        );
        assert_eq!(codes, [Code::Critical, Code::NoData, Code::Ok, Code::NoData]);
    }

    #[test]
    fn the_worst_alert_decides_and_silence_needs_all() {
        let index: HashMap<String, u32> =
            ["a", "b", "c", "d"].iter().zip(0..).map(|(n, i)| ((*n).to_owned(), i)).collect();
        let alerts = [
            alert("a", "warning", true),
            alert("a", "critical", false),
            alert("b", "warning", true),
            alert("b", "page", true),
            alert("c", "info", false),
            alert("elsewhere", "critical", false),
        ];
        let up = [Code::Ok, Code::Ok, Code::Critical, Code::NoData];
        let (codes, silenced) = alert_codes(&up, &index, &alerts);
        assert_eq!(codes, [Code::Critical, Code::Critical, Code::Ok, Code::NoData]);
        assert_eq!([0, 1, 2, 3].map(|i| silenced.get(i)), [false, true, false, false]);
    }

    #[test]
    fn a_change_is_dated() {
        let mut plane = Plane::new(2);
        plane.advance(vec![Code::Ok, Code::NoData], Bits::new(2), 10);
        plane.advance(vec![Code::Ok, Code::Warning], Bits::new(2), 20);
        assert_eq!(plane.since, [10, 20]);
    }
}
