//! Settings of the registry of agents.

use std::collections::BTreeMap;

use model::InvalidField;
use model::duration::PromDuration;
use model::pattern::last_line;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Agents that announce themselves. `agent_sd_configs` in a scrape job makes targets of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether agents may announce themselves here.
    pub enabled: bool,
    /// A file with the tokens that agents and peers show, one a line; read again on reload. Without it nobody is let in.
    pub token_file: String,
    /// This collector's name, unique among the peers; empty means this host's name and the port.
    pub collector: String,
    /// URLs of the other collectors that divide the agents with this one.
    pub peers: Vec<String>,
    /// How often peers are asked. One that has not answered for two intervals has lost its agents to the others.
    pub peer_interval: PromDuration,
    /// An agent that has not announced itself for so long is gone.
    pub lease: PromDuration,
    /// Agents that are known at most; more are refused.
    pub max_agents: usize,
    /// What agents that push are told: the first entry that fits.
    pub remote: Vec<RemoteConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            token_file: String::new(),
            collector: String::new(),
            peers: Vec::new(),
            peer_interval: PromDuration(5_000),
            lease: PromDuration(60_000),
            max_agents: 50_000,
            remote: Vec::new(),
        }
    }
}

/// What agents with some labels push, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteConfig {
    /// Labels and the regular expressions that they must match as a whole; none fits every agent.
    #[serde(rename = "match")]
    pub matches: BTreeMap<String, String>,
    /// How often they collect and push.
    pub interval: PromDuration,
    /// Collectors that they do not run.
    pub disabled_collectors: Vec<String>,
    /// Regular expressions of metric names that they push; none means all.
    pub keep: Vec<String>,
    /// Regular expressions of metric names that they do not push.
    pub drop: Vec<String>,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self {
            matches: BTreeMap::new(),
            interval: PromDuration(15_000),
            disabled_collectors: Vec::new(),
            keep: Vec::new(),
            drop: Vec::new(),
        }
    }
}

impl Config {
    /// # Errors
    /// What is wrong, with its field.
    pub fn check(&self) -> Result<(), InvalidField> {
        let wrong =
            |field: &str, message: String| Err(InvalidField::new(format!("sources.agents.{field}"), message));
        if !self.enabled {
            return Ok(());
        }
        if self.token_file.is_empty() {
            return wrong("token_file", "it must be set when agents may announce themselves".into());
        }
        if self.peer_interval.ms() < 100 {
            return wrong("peer_interval", "give 100ms or more".into());
        }
        if self.lease.ms() < 3_000 {
            return wrong("lease", "give 3s or more".into());
        }
        for (index, peer) in self.peers.iter().enumerate() {
            let url = httpc::Url::parse(peer);
            if !url.is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
                return wrong(&format!("peers[{index}]"), format!("{peer:?} is no http or https URL"));
            }
        }
        for (index, remote) in self.remote.iter().enumerate() {
            if remote.interval.ms() < 1000 {
                let field = format!("remote[{index}].interval");
                return wrong(&field, format!("{} is shorter than 1s", remote.interval));
            }
            for pattern in remote.matches.values().chain(&remote.keep).chain(&remote.drop) {
                if let Err(err) = regex::Regex::new(pattern) {
                    let message =
                        format!("{pattern:?} is no regular expression: {}", last_line(&err.to_string()));
                    return wrong(&format!("remote[{index}]"), message);
                }
            }
        }
        Ok(())
    }
}
