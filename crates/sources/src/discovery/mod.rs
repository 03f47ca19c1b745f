//! Finding targets.
//!
//! Each mechanism of a job runs in a task of its own and sends [`Event`]s. A group that comes again replaces the old one, a
//! group without targets removes it; a mechanism that fails leaves what it found before in place.

mod azure;
mod consul;
pub mod dns;
mod docker;
mod ec2;
mod eureka;
pub mod file;
mod gce;
pub mod http;
mod kubernetes;
mod nomad;
mod openstack;
mod poll;
mod section;
mod zookeeper;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Clock;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::agents::{self, Registry};
use crate::config::{Discovery, DnsSdConfig, FileSdConfig, HttpSdConfig};

/// Targets that share labels, from one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
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
    /// Agents that announce themselves here.
    Agents,
    /// A section by its name and its fields as written; [`check`] was asked about them.
    Section(&'static str, Map<String, Value>),
}

/// What runs for a section.
enum Typed {
    Azure(azure::Config),
    Consul(consul::Config),
    Docker(docker::ContainersConfig),
    Swarm(docker::SwarmConfig),
    Ec2(ec2::Config),
    Eureka(eureka::Config),
    Gce(gce::Config),
    Kubernetes(kubernetes::Config),
    Nomad(nomad::Config),
    OpenStack(openstack::Config),
    ZooKeeper(zookeeper::Config),
}

impl Typed {
    /// Reads the fields; `None` for a mechanism that is not supported.
    fn read(name: &'static str, map: &Map<String, Value>) -> Option<Result<Self, String>> {
        let section = section::Section::new(map);
        Some(match name {
            "azure_sd_configs" => azure::Config::read(&section).map(Self::Azure),
            "consul_sd_configs" => consul::Config::read(&section).map(Self::Consul),
            "docker_sd_configs" => docker::ContainersConfig::read(&section).map(Self::Docker),
            "dockerswarm_sd_configs" => docker::SwarmConfig::read(&section).map(Self::Swarm),
            "ec2_sd_configs" => ec2::Config::read(&section).map(Self::Ec2),
            "eureka_sd_configs" => eureka::Config::read(&section).map(Self::Eureka),
            "gce_sd_configs" => gce::Config::read(&section).map(Self::Gce),
            "kubernetes_sd_configs" => kubernetes::Config::read(&section).map(Self::Kubernetes),
            "nomad_sd_configs" => nomad::Config::read(&section).map(Self::Nomad),
            "openstack_sd_configs" => openstack::Config::read(&section).map(Self::OpenStack),
            "nerve_sd_configs" | "serverset_sd_configs" => {
                zookeeper::Config::read(name, &section).map(Self::ZooKeeper)
            }
            _ => return None,
        })
    }
}

/// Whether a section of this name finds targets here.
pub(crate) fn is_supported(name: &'static str) -> bool {
    Typed::read(name, &Map::new()).is_some()
}

/// Checks the values of a supported section.
pub(crate) fn check(name: &'static str, map: &Map<String, Value>) -> Result<(), String> {
    Typed::read(name, map).map_or(Ok(()), |read| read.map(drop))
}

/// The time of day for signatures and tokens, which others compare with theirs.
fn now_seconds() -> i64 {
    model::time::SystemClock.now().ms() / 1000
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
    /// The first word of a mechanism.
    pub(crate) fn new(mechanism: u64, tx: mpsc::Sender<Event>) -> Self {
        Self { mechanism, tx, known: BTreeSet::new() }
    }

    /// Sends all groups of the mechanism; sources that are not among them any more are removed.
    pub(crate) async fn all(&mut self, mut groups: Vec<Group>) {
        let now: BTreeSet<String> = groups.iter().map(|g| g.source.clone()).collect();
        for gone in self.known.difference(&now) {
            groups.push(Group { source: gone.clone(), ..Group::default() });
        }
        self.known = now;
        self.send(Event::Groups { mechanism: self.mechanism, groups }).await;
    }

    /// Sends groups that have changed; the others stay.
    pub(crate) async fn some(&mut self, groups: Vec<Group>) {
        self.send(Event::Groups { mechanism: self.mechanism, groups }).await;
    }

    /// Says that it works again, although nothing has changed.
    pub(crate) async fn recovered(&mut self) {
        self.some(Vec::new()).await;
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
    pub(crate) fn apply(
        &mut self,
        config: &Discovery,
        registry: Option<&Arc<Registry>>,
        tx: &mpsc::Sender<Event>,
    ) -> BTreeSet<u64> {
        let mut wanted: Vec<Mechanism> = Vec::new();
        wanted.extend(config.files.iter().cloned().map(Mechanism::File));
        wanted.extend(config.http.iter().cloned().map(|sd| Mechanism::Http(Box::new(sd))));
        wanted.extend(config.dns.iter().cloned().map(Mechanism::Dns));
        wanted.extend(config.sections.iter().cloned().map(|(name, map)| Mechanism::Section(name, map)));
        wanted.extend(config.agents.then_some(Mechanism::Agents));
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
            let out = Out::new(self.last, tx.clone());
            let task = mechanism.clone().run(out, registry.cloned());
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
    async fn run(self, out: Out, registry: Option<Arc<Registry>>) {
        match self {
            Self::Agents => match registry {
                Some(registry) => agents::run(registry, out).await,
                None => out.failed("agent_sd_configs: sources.agents.enabled is false".into()).await,
            },
            Self::File(config) => file::run(config, out).await,
            Self::Http(config) => http::run(*config, out).await,
            Self::Dns(config) => dns::run(config, out).await,
            Self::Section(name, map) => match Typed::read(name, &map) {
                None => out.failed(format!("{name} is not supported")).await,
                Some(Err(reason)) => out.failed(format!("{name}: {reason}")).await,
                Some(Ok(typed)) => typed.run(out).await,
            },
        }
    }
}

impl Typed {
    async fn run(self, out: Out) {
        match self {
            Self::Azure(config) => azure::run(config, out).await,
            Self::Consul(config) => consul::run(config, out).await,
            Self::Docker(config) => docker::run_containers(config, out).await,
            Self::Swarm(config) => docker::run_swarm(config, out).await,
            Self::Ec2(config) => ec2::run(config, out).await,
            Self::Eureka(config) => eureka::run(config, out).await,
            Self::Gce(config) => gce::run(config, out).await,
            Self::Kubernetes(config) => kubernetes::run(config, out).await,
            Self::Nomad(config) => nomad::run(config, out).await,
            Self::OpenStack(config) => openstack::run(config, out).await,
            Self::ZooKeeper(config) => zookeeper::run(config, out).await,
        }
    }
}
