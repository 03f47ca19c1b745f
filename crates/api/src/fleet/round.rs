//! One round of the fleet's state: from what is known of every target and the active alerts to a code for every server. Pure.

use model::Labels;

use super::codec::{Bits, Code};
use super::hosts::{Lookup, NONE};

/// An alert that is active now, as far as the map needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActiveAlert {
    /// What it is about.
    pub(crate) labels: Labels,
    pub(crate) name: String,
    pub(crate) severity: String,
    pub(crate) since_ms: i64,
    pub(crate) silenced: bool,
    pub(crate) inhibited: bool,
    pub(crate) summary: String,
}

impl ActiveAlert {
    /// What the alert means for its server. `none` is a heartbeat, such as the watchdog that always fires: no trouble.
    pub(crate) fn code(&self) -> Code {
        match self.severity.as_str() {
            "critical" | "page" | "emergency" | "error" | "high" => Code::Critical,
            "info" | "none" | "information" => Code::Ok,
            _ => Code::Warning,
        }
    }
}

/// The codes of one plane and since when each server has its.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plane {
    pub(crate) codes: Vec<Code>,
    /// Seconds since the epoch; 0 when it has not changed since the server started.
    pub(crate) since: Vec<u32>,
    pub(crate) silenced: Bits,
}

impl Plane {
    pub(crate) fn new(servers: usize) -> Self {
        Self { codes: vec![Code::NoData; servers], since: vec![0; servers], silenced: Bits::new(servers) }
    }

    /// Takes over new codes and notes when they changed.
    pub(crate) fn advance(&mut self, codes: Vec<Code>, silenced: Bits, now_ms: i64) {
        let now = u32::try_from(now_ms / 1000).unwrap_or_default();
        for ((since, old), new) in self.since.iter_mut().zip(&self.codes).zip(&codes) {
            if old != new {
                *since = now;
            }
        }
        self.codes = codes;
        self.silenced = silenced;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.codes.capacity() + self.since.capacity() * 4 + self.codes.len() / 8
    }
}

/// The `up` plane's codes: the worst of each server's targets. `targets`: server index (or [`NONE`]) and code.
pub(crate) fn up_codes(servers: usize, targets: impl Iterator<Item = (u32, Code)>) -> Vec<Code> {
    let mut codes = vec![None::<Code>; servers];
    for (server, code) in targets.filter(|(server, _)| *server != NONE) {
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

/// The server of each alert, [`NONE`] where it is about none.
pub(crate) fn attribute(lookup: &Lookup, alerts: &[ActiveAlert]) -> Vec<u32> {
    alerts.iter().map(|alert| lookup.labels(&alert.labels).unwrap_or(NONE)).collect()
}

/// The `alert` plane's codes and which servers' alerts are all silenced. `servers`: of [`attribute`]. A server that is dead by
/// `up` is critical at once: the rule that says so still waits for its `for` time.
pub(crate) fn alert_codes(up: &[Code], alerts: &[ActiveAlert], servers: &[u32]) -> (Vec<Code>, Bits) {
    let mut codes: Vec<Code> = up.to_vec();
    let mut silenced = Bits::new(codes.len());
    let mut heard = Bits::new(codes.len());
    for (alert, &server) in alerts.iter().zip(servers) {
        let code = alert.code();
        if server == NONE || code == Code::Ok {
            continue;
        }
        let server = server as usize;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(severity: &str, silenced: bool) -> ActiveAlert {
        ActiveAlert {
            labels: Labels::empty(),
            name: "A".into(),
            severity: severity.into(),
            since_ms: 1,
            silenced,
            inhibited: false,
            summary: String::new(),
        }
    }

    #[test]
    fn the_worst_target_decides() {
        let codes = up_codes(
            4,
            [
                (0, Code::Ok),
                (0, Code::Critical),
                (1, Code::NoData),
                (2, Code::NoData),
                (2, Code::Ok),
                (NONE, Code::Critical),
            ]
            .into_iter(),
        );
        assert_eq!(codes, [Code::Critical, Code::NoData, Code::Ok, Code::NoData]);
    }

    #[test]
    fn the_worst_alert_decides_and_silence_needs_all() {
        let alerts = [
            alert("warning", true),
            alert("critical", false),
            alert("warning", true),
            alert("page", true),
            alert("info", false),
            alert("none", false),
            alert("critical", false),
        ];
        let servers = [0, 0, 1, 1, 2, 2, NONE];
        let up = [Code::Ok, Code::Ok, Code::Ok, Code::NoData];
        let (codes, silenced) = alert_codes(&up, &alerts, &servers);
        assert_eq!(codes, [Code::Critical, Code::Critical, Code::Ok, Code::NoData]);
        assert_eq!([0, 1, 2, 3].map(|i| silenced.get(i)), [false, true, false, false]);
        // What is dead is critical before any rule says so.
        let (codes, silenced) = alert_codes(&[Code::Critical], &[], &[]);
        assert_eq!((codes, silenced.get(0)), (vec![Code::Critical], false));
    }

    #[test]
    fn a_change_is_dated() {
        let mut plane = Plane::new(2);
        plane.advance(vec![Code::Ok, Code::NoData], Bits::new(2), 10_000);
        plane.advance(vec![Code::Ok, Code::Warning], Bits::new(2), 20_000);
        assert_eq!(plane.since, [10, 20]);
    }
}
