//! Vantage points: who is there, what each is to probe, and from where nobody probes.
//!
//! A vantage point introduces itself with a token, its name and its labels, again and again; the answer is its plan: modules and
//! the schedules that fit it. It runs the plan and pushes what it finds. One that has not asked for the length of the lease is
//! gone. Labels `country` and `asn` say where it stands; they are what its owner says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use ring::digest;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::prober::{Config, From, Schedule};

/// Labels of a vantage point.
const MAX_LABELS: usize = 32;
/// Bytes of a name or a label's value.
const MAX_BYTES: usize = 256;
/// Names of one kind in a report of what is not covered.
const MAX_GAPS: usize = 500;

/// Who a vantage point is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introduction {
    /// Unique; the label `vantage`.
    pub name: String,
    /// Its labels, such as `country` and `asn`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// What a vantage point is to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// When to ask again, in milliseconds.
    pub again_ms: u64,
    /// The text of the modules file.
    pub modules: String,
    /// The schedules to run.
    pub schedules: Vec<Schedule>,
}

/// An introduction that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token is none of ours.
    #[error("the token is not known here (sources.probe.token_file)")]
    Token,
    /// There are too many.
    #[error("{0} vantage points are known already (sources.probe.max_vantages)")]
    Full(usize),
    /// The introduction is wrong.
    #[error("{0}")]
    Invalid(String),
}

struct Known {
    who: Introduction,
    seen: Instant,
}

struct Inner {
    tokens: BTreeSet<[u8; 32]>,
    schedules: Vec<Schedule>,
    modules: String,
    lease: Duration,
    max: usize,
    known: BTreeMap<String, Known>,
}

/// All of them.
pub struct Vantages(Mutex<Inner>);

/// One of them, for a person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its version.
    pub version: String,
    /// The names of the schedules that it runs.
    pub schedules: Vec<String>,
    /// Seconds since it last asked.
    pub seen_seconds_ago: f64,
}

/// A place that clients report from.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// `country` or `asn`.
    pub kind: &'static str,
    /// Such as `DE` or `64500`.
    pub value: String,
    /// Requests that clients of this place reported on, estimated.
    pub requests: f64,
}

/// A place that is probed from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Covered {
    /// Such as `DE` or `64500`.
    pub value: String,
    /// The vantage points there.
    pub vantages: Vec<String>,
    /// The part of the clients' requests that comes from there, 0 to 1, when a collector knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_share: Option<f64>,
}

/// A place that nobody probes from, although clients are there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// Such as `DE` or `64500`.
    pub value: String,
    /// The part of the clients' requests that comes from there, 0 to 1.
    pub client_share: f64,
}

/// One way to divide the world.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Dimension {
    /// Where vantage points are.
    pub covered: Vec<Covered>,
    /// Where clients are and no vantage point is, the largest first.
    pub gaps: Vec<Gap>,
    /// Places with one vantage point only: its own faults look like the place's.
    pub single: Vec<String>,
    /// Vantage points that do not say where they are.
    pub unlabelled: Vec<String>,
    /// The part of the clients' requests that comes from covered places; absent when no collector knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_client_share: Option<f64>,
}

/// From where is probed, and from where not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Coverage {
    /// Vantage points that are there.
    pub vantages: usize,
    /// By country.
    pub country: Dimension,
    /// By network.
    pub asn: Dimension,
    /// Schedules that are for vantage points and that none runs.
    pub schedules_without_vantage: Vec<String>,
    /// What the report cannot know, in words.
    pub notes: Vec<String>,
}

impl Vantages {
    /// Nobody yet. `tokens`: the text of the file; `modules`: the text that plans carry.
    pub fn new(config: &Config, tokens: &str, modules: String) -> Self {
        Self(Mutex::new(Inner {
            tokens: hashed(tokens),
            schedules: config.schedules.clone(),
            modules,
            lease: config.lease.to_std(),
            max: config.max_vantages,
            known: BTreeMap::new(),
        }))
    }

    /// Puts other settings in force; who is there stays.
    pub fn reload(&self, config: &Config, tokens: &str, modules: String) {
        let mut inner = self.0.lock();
        inner.tokens = hashed(tokens);
        inner.schedules = config.schedules.clone();
        inner.modules = modules;
        inner.lease = config.lease.to_std();
        inner.max = config.max_vantages;
    }

    /// Takes an introduction and answers with the plan.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn introduce(&self, token: &str, who: Introduction) -> Result<Plan, Refused> {
        self.introduce_at(Instant::now(), token, who)
    }

    fn introduce_at(&self, now: Instant, token: &str, who: Introduction) -> Result<Plan, Refused> {
        let mut inner = self.0.lock();
        // Digests are compared, so that the time tells nothing of the token.
        if token.is_empty() || !inner.tokens.contains(&hash(token)) {
            return Err(Refused::Token);
        }
        check(&who).map_err(Refused::Invalid)?;
        inner.forget_gone(now);
        if !inner.known.contains_key(&who.name) && inner.known.len() >= inner.max {
            return Err(Refused::Full(inner.max));
        }
        let schedules = inner.schedules.iter().filter(|one| one.fits(&who.labels)).cloned().collect();
        let again_ms = u64::try_from(inner.lease.as_millis() / 3).unwrap_or(u64::MAX).max(1_000);
        let plan = Plan { again_ms, modules: inner.modules.clone(), schedules };
        inner.known.insert(who.name.clone(), Known { who, seen: now });
        Ok(plan)
    }

    /// Those who are there, by name.
    pub fn list(&self) -> Vec<Shown> {
        let mut inner = self.0.lock();
        inner.forget_gone(Instant::now());
        let shown = |known: &Known| Shown {
            name: known.who.name.clone(),
            labels: known.who.labels.clone(),
            version: known.who.version.clone(),
            schedules: inner.running(known).map(|one| one.name.clone()).collect(),
            seen_seconds_ago: known.seen.elapsed().as_secs_f64(),
        };
        inner.known.values().map(shown).collect()
    }

    /// From where is probed, and from where not. `clients`: where clients are, when a collector knows.
    pub fn coverage(&self, clients: Option<&[Place]>) -> Coverage {
        let mut inner = self.0.lock();
        inner.forget_gone(Instant::now());
        let run: BTreeSet<&str> = inner
            .known
            .values()
            .flat_map(|known| inner.running(known))
            .map(|one| one.name.as_str())
            .collect();
        let schedules_without_vantage = inner
            .schedules
            .iter()
            .filter(|one| one.from != From::Server && !run.contains(one.name.as_str()))
            .map(|one| one.name.clone())
            .collect();
        let known: Vec<&Introduction> = inner.known.values().map(|known| &known.who).collect();
        let of = |kind: &'static str| {
            let clients =
                clients.map(|places| places.iter().filter(|place| place.kind == kind).collect::<Vec<_>>());
            dimension(kind, &known, clients.as_deref())
        };
        let mut notes = vec![
            "country and asn are the labels that each vantage point was given; they are not measured"
                .to_owned(),
        ];
        match clients {
            None => notes.push(
                "no collector of client-side reports runs here: gaps are not weighed by where clients are".into(),
            ),
            Some([]) => notes.push(
                "the collector knows no place with enough clients: a database of addresses may be missing (collector.geoip)"
                    .into(),
            ),
            Some(_) => notes.push(
                "places with too few clients to be shown are left out; shares are of the places that are shown".into(),
            ),
        }
        Coverage {
            vantages: known.len(),
            country: of("country"),
            asn: of("asn"),
            schedules_without_vantage,
            notes,
        }
    }
}

impl Inner {
    fn forget_gone(&mut self, now: Instant) {
        let lease = self.lease;
        self.known.retain(|_, known| now.saturating_duration_since(known.seen) <= lease);
    }

    fn running<'a>(&'a self, known: &'a Known) -> impl Iterator<Item = &'a Schedule> {
        self.schedules.iter().filter(|one| one.fits(&known.who.labels))
    }
}

fn dimension(kind: &str, known: &[&Introduction], clients: Option<&[&Place]>) -> Dimension {
    let mut there: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut unlabelled = Vec::new();
    for who in known {
        match who.labels.get(kind).filter(|value| !value.is_empty()) {
            Some(value) => there.entry(value).or_default().push(who.name.clone()),
            None => unlabelled.push(who.name.clone()),
        }
    }
    let all: f64 = clients.unwrap_or_default().iter().map(|place| place.requests).sum();
    let share = |requests: f64| if all > 0.0 { requests / all } else { 0.0 };
    let mut gaps: Vec<Gap> = clients
        .unwrap_or_default()
        .iter()
        .filter(|place| !there.contains_key(place.value.as_str()))
        .map(|place| Gap { value: place.value.clone(), client_share: share(place.requests) })
        .collect();
    gaps.sort_by(|a, b| b.client_share.total_cmp(&a.client_share).then_with(|| a.value.cmp(&b.value)));
    let missed: f64 = gaps.iter().map(|gap| gap.client_share).sum();
    gaps.truncate(MAX_GAPS);
    let requests_of = |value: &str| {
        clients.map(|places| {
            places.iter().find(|place| place.value == value).map_or(0.0, |place| place.requests)
        })
    };
    Dimension {
        single: there
            .iter()
            .filter(|(_, names)| names.len() == 1)
            .map(|(value, _)| (*value).to_owned())
            .collect(),
        covered: there
            .into_iter()
            .map(|(value, vantages)| Covered {
                value: value.to_owned(),
                vantages,
                client_share: requests_of(value).map(share),
            })
            .collect(),
        gaps,
        unlabelled,
        covered_client_share: clients.filter(|_| all > 0.0).map(|_| (1.0 - missed).clamp(0.0, 1.0)),
    }
}

fn hash(token: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn hashed(tokens: &str) -> BTreeSet<[u8; 32]> {
    let lines = tokens.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(hash).collect()
}

fn check(who: &Introduction) -> Result<(), String> {
    if who.name.is_empty() || who.name.len() > MAX_BYTES {
        return Err(format!("name: a vantage point has a name of at most {MAX_BYTES} bytes"));
    }
    if who.labels.len() > MAX_LABELS {
        return Err(format!("labels: {} are more than {MAX_LABELS}", who.labels.len()));
    }
    for (name, value) in &who.labels {
        if !model::labels::is_legacy_label_name(name) || name.starts_with("__") || value.len() > MAX_BYTES {
            return Err(format!(
                "labels: {name:?} cannot be a label, or its value is longer than {MAX_BYTES} bytes"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::duration::PromDuration;

    fn schedule(name: &str, matches: &[(&str, &str)]) -> Schedule {
        Schedule {
            name: name.into(),
            module: "http_2xx".into(),
            targets: vec!["a.test".into()],
            from: From::Vantages,
            matches: matches.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ..Schedule::default()
        }
    }

    fn who(name: &str, labels: &[(&str, &str)]) -> Introduction {
        let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Introduction { name: name.into(), labels, version: String::new() }
    }

    fn vantages() -> Vantages {
        let config = Config {
            schedules: vec![
                schedule("all", &[]),
                schedule("europe", &[("country", "DE|FR")]),
                schedule("moon", &[("country", "MO")]),
            ],
            lease: PromDuration(60_000),
            max_vantages: 3,
            ..Config::default()
        };
        Vantages::new(&config, "# tokens\n s3cret \n", "modules: {}".into())
    }

    #[test]
    fn each_gets_the_schedules_that_fit_it() {
        let vantages = vantages();
        assert_eq!(vantages.introduce("wrong", who("a", &[])), Err(Refused::Token));
        assert_eq!(vantages.introduce("", who("a", &[])), Err(Refused::Token));
        let plan = vantages.introduce("s3cret", who("a", &[("country", "DE")])).unwrap();
        let names: Vec<&str> = plan.schedules.iter().map(|one| one.name.as_str()).collect();
        assert_eq!((names, plan.again_ms), (vec!["all", "europe"], 20_000));
        vantages.introduce("s3cret", who("b", &[("country", "JP")])).unwrap();
        vantages.introduce("s3cret", who("c", &[])).unwrap();
        assert_eq!(vantages.introduce("s3cret", who("d", &[])), Err(Refused::Full(3)));
        assert!(matches!(vantages.introduce("s3cret", who("a", &[("__x", "")])), Err(Refused::Invalid(_))));
        let later = Instant::now() + Duration::from_secs(61);
        vantages.introduce_at(later, "s3cret", who("d", &[])).unwrap();
        assert_eq!(vantages.list().len(), 1);
    }

    #[test]
    fn gaps_are_stated() {
        let vantages = vantages();
        vantages.introduce("s3cret", who("a", &[("country", "DE"), ("asn", "64500")])).unwrap();
        vantages.introduce("s3cret", who("b", &[("country", "DE")])).unwrap();
        let place = |value: &str, requests| Place { kind: "country", value: value.into(), requests };
        let report = vantages.coverage(Some(&[place("DE", 60.0), place("US", 30.0), place("JP", 10.0)]));
        assert_eq!(report.country.covered[0].vantages, ["a", "b"]);
        assert_eq!(report.country.covered_client_share, Some(0.6));
        assert_eq!(
            report.country.gaps,
            [Gap { value: "US".into(), client_share: 0.3 }, Gap { value: "JP".into(), client_share: 0.1 }]
        );
        assert_eq!(
            (report.asn.single, report.asn.unlabelled),
            (vec!["64500".to_owned()], vec!["b".to_owned()])
        );
        assert_eq!(report.schedules_without_vantage, ["moon"]);
        assert_eq!(vantages.coverage(None).country.covered_client_share, None);
    }
}
