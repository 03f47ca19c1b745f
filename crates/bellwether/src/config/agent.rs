//! Settings of `bellwether agent` besides the host source: who it is, whom it tells, what it pushes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::InvalidField;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `bellwether agent`: how it announces itself and pushes. A server does not read this section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AgentConfig {
    /// The agent's name and the label `instance`; empty means this host's name.
    pub name: String,
    /// Labels of all its series, such as `datacenter` and `rack`.
    pub labels: BTreeMap<String, String>,
    /// URLs of collectors. It announces itself to the first that answers; none means that it does not announce itself.
    pub collectors: Vec<String>,
    /// A file with the token that is shown to collectors; read again when it changes.
    pub token_file: PathBuf,
    /// Where collectors can scrape this agent, `host:port`. Empty means the listen address when it is of a network, else nowhere.
    pub address: String,
    /// A file with PEM certificates of the authorities that are trusted, in place of the system's.
    pub ca_file: PathBuf,
    /// A file with the PEM certificate chain that is shown to collectors.
    pub cert_file: PathBuf,
    /// A file with its key.
    pub key_file: PathBuf,
    /// Pushing what it sees.
    pub push: PushConfig,
}

/// Pushing, through a spool on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PushConfig {
    /// Whether it pushes: to the destinations of the section `remote_write`, else to `agent.collectors`, of which one at a time is used.
    pub enabled: bool,
    /// How often, unless the collector says otherwise (`sources.agents.remote`).
    pub interval: PromDuration,
    /// The folder of the spool, which holds what no destination has taken yet; `ingest.forward` has its bounds.
    pub folder: PathBuf,
}

impl Default for PushConfig {
    fn default() -> Self {
        Self { enabled: false, interval: PromDuration(15_000), folder: PathBuf::new() }
    }
}

impl AgentConfig {
    /// # Errors
    /// What is wrong, with its field. `destinations`: those of `remote_write`.
    pub(crate) fn check(&self, destinations: usize) -> Result<(), InvalidField> {
        let wrong =
            |field: &str, message: &str| Err(InvalidField::new(format!("agent.{field}"), message.to_owned()));
        for (index, url) in self.collectors.iter().enumerate() {
            let parsed = httpc::Url::parse(url);
            if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
                let message = format!("{url:?} is no http or https URL");
                return Err(InvalidField::new(format!("agent.collectors[{index}]"), message));
            }
        }
        if !self.collectors.is_empty() && self.token_file.as_os_str().is_empty() {
            return wrong("token_file", "it must be set: collectors ask for a token");
        }
        if self.cert_file.as_os_str().is_empty() != self.key_file.as_os_str().is_empty() {
            return wrong("cert_file", "give both cert_file and key_file, or neither");
        }
        if !self.push.enabled {
            return Ok(());
        }
        if self.push.interval.ms() < 1_000 {
            return wrong("push.interval", "give 1s or more");
        }
        if self.push.folder.as_os_str().is_empty() {
            return wrong("push.folder", "it is empty: name a folder for what waits to be pushed");
        }
        if self.collectors.is_empty() && destinations == 0 {
            return wrong(
                "push.enabled",
                "there is nowhere to push to: set agent.collectors or remote_write",
            );
        }
        Ok(())
    }

    /// How collectors are reached.
    pub(crate) fn http(&self) -> httpc::Config {
        httpc::Config {
            authorization: Some(httpc::config::Authorization {
                credentials_file: self.token_file.clone(),
                ..httpc::config::Authorization::default()
            }),
            tls_config: httpc::config::TlsConfig {
                ca_file: self.ca_file.clone(),
                cert_file: self.cert_file.clone(),
                key_file: self.key_file.clone(),
                ..httpc::config::TlsConfig::default()
            },
            ..httpc::Config::default()
        }
    }
}
