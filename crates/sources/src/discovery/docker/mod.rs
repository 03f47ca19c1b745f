//! Targets from a Docker daemon: its containers, or the services, tasks and nodes of its swarm. Sources: the Prometheus manual,
//! "docker_sd_config" and "dockerswarm_sd_config"; the Docker Engine API.

mod containers;
mod swarm;

pub(crate) use containers::Config as ContainersConfig;
pub(crate) use containers::run as run_containers;
pub(crate) use swarm::Config as SwarmConfig;
pub(crate) use swarm::run as run_swarm;

use std::collections::BTreeMap;
use std::path::PathBuf;

use httpc::{Client, Options};
use serde_json::Value;

use super::poll::{self, Target, entries, items, text};
use super::section::Section;

/// How to reach the daemon.
#[derive(Clone, Debug)]
struct Daemon {
    http: httpc::Config,
    base: String,
    socket: Option<PathBuf>,
    filters: String,
}

impl Daemon {
    fn read(section: &Section<'_>) -> Result<Self, String> {
        let host = section.required("host")?;
        let http = section.http()?;
        let (base, socket) = match host.split_once("://") {
            Some(("unix", path)) => ("http://docker".to_owned(), Some(PathBuf::from(path))),
            Some(("tcp", address)) if http.tls_config == httpc::TlsConfig::default() => {
                (format!("http://{address}"), None)
            }
            Some(("tcp", address)) => (format!("https://{address}"), None),
            Some(("http" | "https", _)) => (host.trim_end_matches('/').to_owned(), None),
            _ => {
                return Err(format!(
                    "host: {host:?} begins with none of unix://, tcp://, http:// and https://"
                ));
            }
        };
        httpc::Url::parse(&base).map_err(|err| format!("host: {host:?} is not a valid URL: {err}"))?;
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, values) in section.filters()? {
            by_name.entry(name).or_default().extend(values);
        }
        let filters = match by_name.is_empty() {
            true => String::new(),
            false => serde_json::to_string(&by_name).map_err(|err| err.to_string())?,
        };
        Ok(Self { http, base, socket, filters })
    }

    async fn client(&self) -> Result<Client, String> {
        let options = Options { unix_socket: self.socket.clone(), ..poll::options() };
        poll::client(self.http.clone(), options).await
    }

    async fn get(&self, client: &Client, path: &str, filtered: bool) -> Result<Value, String> {
        let filters = if filtered { self.filters.as_str() } else { "" };
        poll::json(client, &poll::with_query(&format!("{}{path}", self.base), &[("filters", filters)])?).await
    }
}

/// The labels of every network, by its id.
fn networks(list: &Value, prefix: &str) -> BTreeMap<String, Target> {
    let labels = |network: &Value| {
        let mut labels = Target::new();
        for (name, field) in [
            ("id", "Id"),
            ("name", "Name"),
            ("scope", "Scope"),
            ("internal", "Internal"),
            ("ingress", "Ingress"),
        ] {
            labels.insert(format!("{prefix}network_{name}"), text(&network[field]));
        }
        for (name, value) in entries(&network["Labels"]) {
            labels.insert(format!("{prefix}network_label_{}", poll::sanitize(name)), value);
        }
        labels
    };
    items(list).map(|network| (text(&network["Id"]), labels(network))).collect()
}
