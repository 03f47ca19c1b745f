//! Other witnesses: what a site's own servers and probes say while its clients report trouble.

use std::collections::HashMap;

use serde::Serialize;

use super::verdict::Verdict;
use crate::config::Checks;

/// Older answers say nothing.
const FRESH_MS: i64 = 120_000;

/// A witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// The share of requests that the site's servers answer with an error.
    ServerErrors,
    /// Probes from outside.
    Probes,
}

impl Witness {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::ServerErrors, Self::Probes];

    /// The value of the label `check`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServerErrors => "server_errors",
            Self::Probes => "probes",
        }
    }

    /// What it is asked; empty when it is not.
    pub fn query(self, checks: &Checks) -> &str {
        match self {
            Self::ServerErrors => &checks.server_errors,
            Self::Probes => &checks.probes,
        }
    }
}

/// What to ask, of whom, about which site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Number of the site.
    pub site: u16,
    /// The witness.
    pub witness: Witness,
    /// PromQL.
    pub query: String,
}

/// What a witness has answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What was asked.
    pub query: String,
    /// The values of the series, or why there are none.
    pub values: Result<Vec<f64>, String>,
    /// From which share of errors on servers are ill.
    pub above: f64,
    /// When, in milliseconds.
    pub at: i64,
}

/// Whether a witness bears out what clients say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// It fits.
    Confirms,
    /// It does not.
    Contradicts,
    /// It cannot see this, or did not answer.
    Unknown,
}

impl Says {
    /// The value of the series: 1, -1, 0.
    pub fn value(self) -> f64 {
        match self {
            Self::Confirms => 1.0,
            Self::Contradicts => -1.0,
            Self::Unknown => 0.0,
        }
    }
}

/// What a witness says of an incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// Who.
    pub check: Witness,
    /// What was asked.
    pub query: String,
    /// Whether it fits.
    pub says: Says,
    /// The share of errors, or of probes that fail.
    pub value: Option<f64>,
    /// In words.
    pub sentence: String,
}

/// The latest answers by site.
pub type Answers = HashMap<(u16, Witness), Answer>;

impl Answer {
    fn share(&self, witness: Witness) -> Option<(usize, usize, f64)> {
        let values = self.values.as_ref().ok()?;
        let real = || values.iter().copied().filter(|value| value.is_finite());
        let count = real().count();
        if count == 0 {
            return None;
        }
        Some(match witness {
            // Of several series, such as one an instance, the worst.
            Witness::ServerErrors => (count, count, real().fold(0.0, f64::max)),
            Witness::Probes => {
                let failing = real().filter(|value| *value < 1.0).count();
                (count, failing, failing as f64 / count as f64)
            }
        })
    }

    /// Whether it has seen trouble itself, whatever it is.
    fn trouble(&self, witness: Witness, now: i64) -> bool {
        let ill = |share: f64| match witness {
            Witness::ServerErrors => share >= self.above,
            Witness::Probes => share > 0.0,
        };
        now - self.at <= FRESH_MS && self.share(witness).is_some_and(|(_, _, share)| ill(share))
    }
}

/// Whether any witness of a site sees trouble.
pub fn confirmed(answers: &Answers, site: u16, now: i64) -> bool {
    Witness::ALL
        .into_iter()
        .any(|witness| answers.get(&(site, witness)).is_some_and(|answer| answer.trouble(witness, now)))
}

/// What every witness of a site says of a verdict.
pub fn readings(answers: &Answers, site: u16, verdict: Verdict, now: i64) -> Vec<Reading> {
    let of = |witness: Witness| {
        let answer = answers.get(&(site, witness)).filter(|answer| now - answer.at <= FRESH_MS)?;
        let (says, value, sentence) = read(answer, witness, verdict);
        Some(Reading { check: witness, query: answer.query.clone(), says, value, sentence })
    };
    Witness::ALL.into_iter().filter_map(of).collect()
}

/// A share as people read it.
fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn read(answer: &Answer, witness: Witness, verdict: Verdict) -> (Says, Option<f64>, String) {
    if let Err(why) = &answer.values {
        return (Says::Unknown, None, format!("The query failed: {why}"));
    }
    let Some((count, failing, share)) = answer.share(witness) else {
        return (Says::Unknown, None, "The query has no series.".into());
    };
    let (says, sentence) = match witness {
        Witness::ServerErrors => servers(share, share >= answer.above, verdict),
        Witness::Probes => probes(count, failing, verdict),
    };
    (says, Some(share), sentence)
}

fn servers(share: f64, ill: bool, verdict: Verdict) -> (Says, String) {
    let counts = format!("The servers themselves count {} errors", percent(share));
    match (verdict, ill) {
        (Verdict::Service, true) => (Says::Confirms, format!("{counts}: it is the service.")),
        (Verdict::Service, false) => {
            (Says::Contradicts, format!("{counts}: requests fail before they reach the servers."))
        }
        (Verdict::Isp | Verdict::Country | Verdict::Hijack, true) => {
            (Says::Contradicts, format!("{counts}: it may be more than one place."))
        }
        (Verdict::Isp | Verdict::Country | Verdict::Hijack, false) => {
            (Says::Confirms, format!("{counts}: it is not the service."))
        }
        (Verdict::Pop | Verdict::Protocol | Verdict::Browser, true) => {
            (Says::Confirms, format!("{counts}, too."))
        }
        (Verdict::Pop | Verdict::Protocol | Verdict::Browser, false) => {
            (Says::Unknown, format!("{counts}: requests fail before they reach them."))
        }
        // Such requests never reach a server.
        (Verdict::AuthoritativeDns | Verdict::Certificate, true) => {
            (Says::Unknown, format!("{counts}, which is another trouble."))
        }
        (Verdict::AuthoritativeDns | Verdict::Certificate, false) => {
            (Says::Confirms, format!("{counts}: the failing requests never reach them."))
        }
    }
}

fn probes(count: usize, failing: usize, verdict: Verdict) -> (Says, String) {
    let of = match (failing, count) {
        (0, 1) => "The only probe succeeds".to_owned(),
        (1, 1) => "The only probe fails".to_owned(),
        (0, count) => format!("None of {count} probes fails"),
        (failing, count) if failing == count => format!("All {count} probes fail"),
        (failing, count) => format!("{failing} of {count} probes fail"),
    };
    let everywhere = matches!(verdict, Verdict::Service | Verdict::AuthoritativeDns | Verdict::Certificate);
    match (everywhere, failing) {
        (true, 0) => (Says::Contradicts, format!("{of}.")),
        (true, _) => (Says::Confirms, format!("{of}.")),
        (false, 0) => (Says::Confirms, format!("{of}: others reach the site.")),
        (false, failing) if failing == count && count > 1 => {
            (Says::Contradicts, format!("{of}: it may be more than {}.", part(verdict)))
        }
        (false, _) => (Says::Confirms, format!("{of}.")),
    }
}

fn part(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Isp => "one network",
        Verdict::Country => "one country",
        Verdict::Pop => "one point of presence",
        Verdict::Protocol => "one protocol",
        Verdict::Browser => "one browser",
        _ => "one place",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(witness: Witness, values: &[f64], verdict: Verdict) -> (Says, String) {
        let answer = Answer { query: "q".into(), values: Ok(values.to_vec()), above: 0.01, at: 1000 };
        let answers = Answers::from([((3, witness), answer)]);
        let readings = readings(&answers, 3, verdict, 2000);
        (readings[0].says, readings[0].sentence.clone())
    }

    #[test]
    fn a_witness_is_read_by_the_verdict() {
        use Verdict::{AuthoritativeDns, Isp, Service};
        use Witness::{Probes, ServerErrors};
        for (witness, values, verdict, says, words) in [
            (ServerErrors, &[0.07][..], Service, Says::Confirms, "7.0 % errors: it is the service"),
            (ServerErrors, &[0.001], Service, Says::Contradicts, "before they reach"),
            (ServerErrors, &[0.001], Isp, Says::Confirms, "not the service"),
            (ServerErrors, &[0.0, 0.2, f64::NAN], Isp, Says::Contradicts, "20.0 %"),
            (ServerErrors, &[f64::NAN], Service, Says::Unknown, "no series"),
            (Probes, &[1.0, 0.0, 1.0], Service, Says::Confirms, "1 of 3 probes fail"),
            (Probes, &[1.0, 1.0], AuthoritativeDns, Says::Contradicts, "None of 2"),
            (Probes, &[1.0], Isp, Says::Confirms, "The only probe succeeds: others reach"),
            (Probes, &[0.0, 0.0], Isp, Says::Contradicts, "more than one network"),
        ] {
            let (said, sentence) = say(witness, values, verdict);
            assert_eq!(said, says, "{witness:?} {values:?} {verdict:?}");
            assert!(sentence.contains(words), "{sentence}");
        }
    }

    #[test]
    fn an_old_or_failed_answer_confirms_nothing() {
        let mut answer = Answer { query: "q".into(), values: Ok(vec![0.0]), above: 0.01, at: 1000 };
        let at = |answer: &Answer, now| {
            confirmed(&Answers::from([((0, Witness::Probes), answer.clone())]), 0, now)
        };
        assert!(at(&answer, 2000));
        assert!(!at(&answer, 2000 + FRESH_MS));
        answer.values = Err("no such metric".into());
        assert!(!at(&answer, 2000));
        let answers = Answers::from([((0, Witness::Probes), answer)]);
        assert_eq!(readings(&answers, 0, Verdict::Isp, 2000)[0].says, Says::Unknown);
        assert!(readings(&answers, 0, Verdict::Isp, 2000 + FRESH_MS).is_empty());
    }
}
