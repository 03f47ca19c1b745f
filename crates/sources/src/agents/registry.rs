//! Who is there, who owns whom.

use std::collections::BTreeMap;
use std::time::Duration;

use model::labels::is_legacy_label_name;
use parking_lot::Mutex;
use regex::Regex;
use ring::digest;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::config::{Config, RemoteConfig};
use super::metrics::Metrics;

/// Labels of an agent.
const MAX_LABELS: usize = 64;
/// Bytes of a name, an address or a label's value.
const MAX_BYTES: usize = 256;
/// Tokens of the file.
const MAX_TOKENS: usize = 1_000;

/// What an agent says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// Unique; the label `instance`.
    pub name: String,
    /// `host:port` of its metrics; empty when it pushes and cannot be reached.
    #[serde(default)]
    pub address: String,
    /// `http` or `https`; empty means what the job says.
    #[serde(default)]
    pub scheme: String,
    /// The path of its metrics; empty means what the job says.
    #[serde(default)]
    pub metrics_path: String,
    /// Its labels, such as `datacenter` and `rack`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What an agent that pushes is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// How often it collects and pushes, in milliseconds; 0 leaves that to the agent.
    #[serde(default)]
    pub interval_ms: i64,
    /// Collectors that it does not run.
    #[serde(default)]
    pub disabled_collectors: Vec<String>,
    /// Regular expressions of metric names that it pushes; none means all.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Regular expressions of metric names that it does not push.
    #[serde(default)]
    pub drop: Vec<String>,
}

/// The answer to an announcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// For how long it holds, in milliseconds.
    pub lease_ms: u64,
    /// When to announce again, in milliseconds.
    pub again_ms: u64,
    /// The collector that scrapes the agent.
    pub collector: String,
    /// What to push.
    pub remote: Remote,
}

/// An announcement that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The token is none of ours.
    #[error("the token is not known here")]
    Token,
    /// Something in it is wrong.
    #[error("{0}")]
    Invalid(String),
    /// There are as many agents as may be.
    #[error("{0} agents are known, which is the limit sources.agents.max_agents")]
    Full(usize),
}

/// An agent as peers tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// What it said.
    pub agent: Announcement,
    /// How much of its lease is left, in milliseconds.
    pub left_ms: u64,
}

#[derive(Clone, Debug)]
struct Known {
    agent: Announcement,
    until: Instant,
    /// It announced itself here, not to a peer.
    direct: bool,
}

#[derive(Debug)]
struct State {
    agents: BTreeMap<String, Known>,
    /// Other collectors by name, and when they answered last.
    peers: BTreeMap<String, Instant>,
}

/// All agents that are known here.
#[derive(Debug)]
pub struct Registry {
    collector: String,
    config: Mutex<Config>,
    tokens: Mutex<Vec<[u8; 32]>>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    metrics: Metrics,
}

impl Registry {
    /// An empty registry of a collector. Nobody is let in before [`Registry::set_tokens`].
    pub fn new(collector: &str, config: Config, metrics: Metrics) -> Self {
        metrics.collectors.set(1);
        Self {
            collector: collector.to_owned(),
            config: Mutex::new(config),
            tokens: Mutex::new(Vec::new()),
            state: Mutex::new(State { agents: BTreeMap::new(), peers: BTreeMap::new() }),
            changed: watch::channel(0).0,
            metrics,
        }
    }

    /// This collector's name.
    pub fn collector(&self) -> &str {
        &self.collector
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.config.lock().clone()
    }

    /// Puts other settings in force. The collector's name stays.
    pub fn reconfigure(&self, config: Config) {
        *self.config.lock() = config;
        self.touch();
    }

    /// Lets in those who show one of the tokens, one a line; empty lines and lines with `#` in front are left out.
    pub fn set_tokens(&self, text: &str) {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        *self.tokens.lock() = lines.take(MAX_TOKENS).map(hash).collect();
    }

    /// Whether a token is one of ours.
    pub fn admits(&self, token: &str) -> bool {
        // Hashes are compared: how long it takes says nothing about a token.
        let shown = hash(token);
        self.tokens.lock().iter().filter(|known| **known == shown).count() > 0
    }

    /// Takes an announcement. `token`: what the agent showed.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn announce(&self, token: &str, agent: Announcement) -> Result<Granted, Refused> {
        let taken = self.take(token, agent);
        match &taken {
            Ok(_) => self.metrics.announcements.inc(),
            Err(_) => self.metrics.refused.inc(),
        };
        taken
    }

    fn take(&self, token: &str, agent: Announcement) -> Result<Granted, Refused> {
        if !self.admits(token) {
            return Err(Refused::Token);
        }
        check(&agent).map_err(Refused::Invalid)?;
        let (lease, max, remote) = {
            let config = self.config.lock();
            (config.lease.to_std(), config.max_agents, remote(&config.remote, &agent))
        };
        let now = Instant::now();
        let mut state = self.state.lock();
        state.prune(now);
        let known = state.agents.len();
        let before = state.agents.get(&agent.name);
        if before.is_none() && known >= max {
            return Err(Refused::Full(known));
        }
        let changed = before.is_none_or(|before| before.agent != agent || !before.direct);
        let owner = owner(&agent.name, &state.collectors(&self.collector, now, self.dead_after()));
        let name = agent.name.clone();
        state.agents.insert(name, Known { agent, until: now + lease, direct: true });
        self.metrics.known.set(state.agents.len() as i64);
        drop(state);
        if changed {
            self.touch();
        }
        Ok(Granted {
            lease_ms: lease.as_millis() as u64,
            again_ms: (lease / 3).as_millis() as u64,
            collector: owner,
            remote,
        })
    }

    /// An agent says that it ends. Whether it was known.
    ///
    /// # Errors
    /// `Token`
    pub fn withdraw(&self, token: &str, name: &str) -> Result<bool, Refused> {
        if !self.admits(token) {
            return Err(Refused::Token);
        }
        let gone = self.state.lock().agents.remove(name).is_some();
        if gone {
            self.touch();
        }
        Ok(gone)
    }

    /// The agents that announced themselves here: what peers read. What peers told is left out, so that nothing goes in circles.
    pub fn direct(&self) -> Vec<Shared> {
        let now = Instant::now();
        let state = self.state.lock();
        let direct = state.agents.values().filter(|known| known.direct && known.until > now);
        direct
            .map(|known| Shared {
                agent: known.agent.clone(),
                left_ms: (known.until - now).as_millis() as u64,
            })
            .collect()
    }

    /// All agents that are known, with the collector that owns each.
    pub fn all(&self) -> Vec<(Announcement, String, u64)> {
        let now = Instant::now();
        let state = self.state.lock();
        let collectors = state.collectors(&self.collector, now, self.dead_after());
        let living = state.agents.values().filter(|known| known.until > now);
        living
            .map(|known| {
                let left = (known.until - now).as_millis() as u64;
                (known.agent.clone(), owner(&known.agent.name, &collectors), left)
            })
            .collect()
    }

    /// The collectors that answer, this one included.
    pub fn collectors(&self) -> Vec<String> {
        self.state.lock().collectors(&self.collector, Instant::now(), self.dead_after())
    }

    /// A peer has answered with its name and its direct announcements.
    pub fn heard(&self, peer: &str, agents: Vec<Shared>) {
        let (lease, max) = {
            let config = self.config.lock();
            (config.lease.to_std(), config.max_agents)
        };
        let now = Instant::now();
        let mut changed = false;
        let mut state = self.state.lock();
        changed |= state.peers.insert(peer.to_owned(), now).is_none_or(|last| now - last > self.dead_after());
        for Shared { agent, left_ms } in agents {
            // A peer's lease is at most ours: a wrong clock makes nobody immortal.
            let until = now + Duration::from_millis(left_ms).min(lease);
            if check(&agent).is_err() {
                continue;
            }
            let known = state.agents.len();
            match state.agents.get_mut(&agent.name) {
                // The later announcement wins, whoever got it.
                Some(before) if before.until >= until => {}
                Some(before) => {
                    changed |= before.agent != agent;
                    // It has gone over to the peer, unless it still counts here.
                    *before = Known { agent, until, direct: false };
                }
                None if known < max => {
                    changed = true;
                    state.agents.insert(agent.name.clone(), Known { agent, until, direct: false });
                }
                None => drop(self.metrics.refused.inc()),
            }
        }
        self.metrics.known.set(state.agents.len() as i64);
        drop(state);
        if changed {
            self.touch();
        }
    }

    /// The agents that this collector scrapes now.
    pub fn owned(&self) -> Vec<Announcement> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.prune(now);
        let collectors = state.collectors(&self.collector, now, self.dead_after());
        let mine = |known: &&Known| {
            !known.agent.address.is_empty() && owner(&known.agent.name, &collectors) == self.collector
        };
        let owned: Vec<Announcement> =
            state.agents.values().filter(mine).map(|known| known.agent.clone()).collect();
        self.metrics.known.set(state.agents.len() as i64);
        self.metrics.owned.set(owned.len() as i64);
        self.metrics.collectors.set(collectors.len() as i64);
        owned
    }

    /// Tells when the registry has changed; leases and peers that end in silence are seen by looking again.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Counts requests to peers that failed.
    pub(super) fn metrics_of_peers(&self) -> &prometheus_client::metrics::counter::Counter {
        &self.metrics.peer_failures
    }

    /// After how long a silent peer counts as dead.
    fn dead_after(&self) -> Duration {
        self.config.lock().peer_interval.to_std() * 2
    }

    fn touch(&self) {
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }
}

impl State {
    fn prune(&mut self, now: Instant) {
        self.agents.retain(|_, known| known.until > now);
    }

    fn collectors(&self, own: &str, now: Instant, dead_after: Duration) -> Vec<String> {
        let alive =
            self.peers.iter().filter(|(_, last)| now - **last <= dead_after).map(|(name, _)| name.as_str());
        let mut names: Vec<String> = alive.chain([own]).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }
}

fn hash(text: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Rendezvous hashing: of all collectors the one with the greatest hash together with the agent. When one goes, only its agents move.
pub(super) fn owner(agent: &str, collectors: &[String]) -> String {
    let weight =
        |collector: &str| xxh3_64_with_seed(agent.as_bytes(), xxh3_64_with_seed(collector.as_bytes(), 0));
    let greatest = collectors.iter().max_by(|a, b| weight(a).cmp(&weight(b)).then_with(|| a.cmp(b)));
    greatest.cloned().unwrap_or_default()
}

fn check(agent: &Announcement) -> Result<(), String> {
    if agent.name.is_empty() {
        return Err("name: it is empty".into());
    }
    for (field, value) in [
        ("name", &agent.name),
        ("address", &agent.address),
        ("scheme", &agent.scheme),
        ("metrics_path", &agent.metrics_path),
    ] {
        if value.len() > MAX_BYTES || value.chars().any(char::is_control) {
            return Err(format!("{field}: it is longer than {MAX_BYTES} bytes or has control characters"));
        }
    }
    if agent.address.contains('/') {
        return Err(format!("address: {:?} is no host:port", agent.address));
    }
    if !matches!(agent.scheme.as_str(), "" | "http" | "https") {
        return Err(format!("scheme: {:?} is neither http nor https", agent.scheme));
    }
    if agent.labels.len() > MAX_LABELS {
        return Err(format!("labels: more than {MAX_LABELS}"));
    }
    for (name, value) in &agent.labels {
        let reserved = name.starts_with("__") || name == "job" || name == "instance";
        if reserved || !is_legacy_label_name(name) || name.len() > MAX_BYTES || value.len() > MAX_BYTES {
            return Err(format!(
                "labels: {name:?} is reserved, no label name, or its value is longer than {MAX_BYTES} bytes"
            ));
        }
    }
    Ok(())
}

/// What the first entry that fits says.
fn remote(rules: &[RemoteConfig], agent: &Announcement) -> Remote {
    let fits = |rule: &&RemoteConfig| {
        rule.matches.iter().all(|(name, pattern)| {
            let value = if name == "name" { Some(&agent.name) } else { agent.labels.get(name) };
            let value = value.map(String::as_str).unwrap_or_default();
            Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(value))
        })
    };
    rules.iter().find(fits).map_or_else(Remote::default, |rule| Remote {
        interval_ms: rule.interval.ms(),
        disabled_collectors: rule.disabled_collectors.clone(),
        keep: rule.keep.clone(),
        drop: rule.drop.clone(),
    })
}
