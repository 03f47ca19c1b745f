//! Finding targets.
//!
//! Each mechanism of a job runs in a task of its own and sends [`Event`]s. A group that comes again replaces the old one, a
//! group without targets removes it; a mechanism that fails leaves what it found before in place.

pub mod dns;
pub mod file;
pub mod http;

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{Discovery, DnsSdConfig, FileSdConfig, HttpSdConfig};

/// Targets that share labels, from one source.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
pub struct Group {
    /// Which file, URL or name they come from; unique within a mechanism.
    #[serde(skip)]
    pub source: String,
    /// The label sets of the targets; at least `__address__`.
    #[serde(deserialize_with = "addresses")]
    pub targets: Vec<BTreeMap<String, String>>,
    /// Labels of all of them; a target's own win.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `["host:port", …]`, as files and HTTP discovery write targets.
fn addresses<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<BTreeMap<String, String>>, D::Error> {
    let list: Option<Vec<String>> = serde::Deserialize::deserialize(d)?;
    Ok(list.unwrap_or_default().into_iter().map(|a| [("__address__".to_owned(), a)].into()).collect())
}

/// What a mechanism tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// These groups are so now.
    Groups {
        /// Which mechanism.
        mechanism: u64,
        /// The groups that have changed.
        groups: Vec<Group>,
    },
    /// It cannot find out.
    Failed {
        /// Which mechanism.
        mechanism: u64,
        /// Why.
        reason: String,
    },
}

impl Event {
    /// The number of `static_configs`.
    pub(crate) const STATIC: u64 = 0;
}

/// One configured mechanism.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mechanism {
    File(FileSdConfig),
    Http(Box<HttpSdConfig>),
    Dns(DnsSdConfig),
}

/// Where a mechanism sends what it finds.
#[derive(Clone)]
pub(crate) struct Out {
    mechanism: u64,
    tx: mpsc::Sender<Event>,
    /// Sources of the last answer, so that those that vanish are removed.
    known: BTreeSet<String>,
}

impl Out {
    /// Sends all groups of the mechanism; sources that are not among them any more are removed.
    pub(crate) async fn all(&mut self, mut groups: Vec<Group>) {
        let now: BTreeSet<String> = groups.iter().map(|g| g.source.clone()).collect();
        for gone in self.known.difference(&now) {
            groups.push(Group { source: gone.clone(), ..Group::default() });
        }
        self.known = now;
        self.send(Event::Groups { mechanism: self.mechanism, groups }).await;
    }

    /// Says why nothing was found out.
    pub(crate) async fn failed(&self, reason: String) {
        self.send(Event::Failed { mechanism: self.mechanism, reason }).await;
    }

    async fn send(&self, event: Event) {
        if self.tx.send(event).await.is_err() {
            tracing::trace!("the pool is gone");
        }
    }
}

/// The mechanisms of one job that run.
#[derive(Default)]
pub(crate) struct Mechanisms {
    running: Vec<(u64, Mechanism, DropGuard)>,
    last: u64,
}

impl Mechanisms {
    /// Whether a mechanism still runs.
    pub(crate) fn runs(&self, mechanism: u64) -> bool {
        self.running.iter().any(|(id, ..)| *id == mechanism)
    }

    /// Starts what is new, ends what is gone, leaves the rest alone. The numbers of those that ended.
    pub(crate) fn apply(&mut self, config: &Discovery, tx: &mpsc::Sender<Event>) -> BTreeSet<u64> {
        let mut wanted: Vec<Mechanism> = Vec::new();
        wanted.extend(config.files.iter().cloned().map(Mechanism::File));
        wanted.extend(config.http.iter().cloned().map(|sd| Mechanism::Http(Box::new(sd))));
        wanted.extend(config.dns.iter().cloned().map(Mechanism::Dns));
        let mut gone = BTreeSet::new();
        self.running.retain(|(id, mechanism, _)| {
            let at = wanted.iter().position(|w| w == mechanism);
            match at {
                Some(at) => drop(wanted.swap_remove(at)),
                None => drop(gone.insert(*id)),
            }
            at.is_some()
        });
        for mechanism in wanted {
            self.last += 1;
            let stop = CancellationToken::new();
            let out = Out { mechanism: self.last, tx: tx.clone(), known: BTreeSet::new() };
            let task = mechanism.clone().run(out);
            let stopped = stop.clone();
            tokio::spawn(async move { stopped.run_until_cancelled(task).await });
            self.running.push((self.last, mechanism, stop.drop_guard()));
        }
        gone
    }

    /// Ends all of them.
    pub(crate) fn stop(&mut self) {
        self.running.clear();
    }
}

impl Mechanism {
    async fn run(self, out: Out) {
        match self {
            Self::File(config) => file::run(config, out).await,
            Self::Http(config) => http::run(*config, out).await,
            Self::Dns(config) => dns::run(config, out).await,
        }
    }
}
