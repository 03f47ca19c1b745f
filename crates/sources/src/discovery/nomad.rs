//! Services that are registered with Nomad itself. Sources: the Prometheus manual, "nomad_sd_config"; Nomad's HTTP API, "Services".

use std::collections::BTreeMap;
use std::time::Duration;

use httpc::Client;
use serde_json::Value;

use super::poll::{self, ADDRESS, Target, items, join, text, wrapped};
use super::section::Section;
use super::{Group, Out};

/// `nomad_sd_configs`
#[derive(Clone, Debug)]
pub(crate) struct Config {
    http: httpc::Config,
    server: String,
    namespace: String,
    region: String,
    allow_stale: bool,
    tag_separator: String,
    refresh: Duration,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        let server = section.text_or("server", "http://localhost:4646");
        httpc::Url::parse(&server).map_err(|err| format!("server: {server:?} is not a valid URL: {err}"))?;
        Ok(Self {
            http: section.http()?,
            server: server.trim_end_matches('/').to_owned(),
            namespace: section.text_or("namespace", "default"),
            region: section.text_or("region", "global"),
            allow_stale: section.flag_or("allow_stale", true)?,
            tag_separator: section.text_or("tag_separator", ","),
            refresh: section.duration_or("refresh_interval", 60)?,
        })
    }

    async fn get(&self, client: &Client, path: &str) -> Result<Value, String> {
        let stale = if self.allow_stale { "true" } else { "" };
        let pairs = [("namespace", self.namespace.as_str()), ("region", &self.region), ("stale", stale)];
        poll::json(client, &poll::with_query(&format!("{}{path}", self.server), &pairs)?).await
    }
}

pub(crate) async fn run(config: Config, out: Out) {
    let client = match poll::client(config.http.clone(), poll::options()).await {
        Ok(client) => client,
        Err(reason) => return out.failed(format!("nomad_sd_configs: {reason}")).await,
    };
    poll::poll("nomad_sd_configs", config.refresh, out, Round { client, config }).await;
}

/// What a round needs.
struct Round {
    client: Client,
    config: Config,
}

impl poll::Ask for Round {
    async fn ask(&mut self) -> Result<Vec<Group>, String> {
        let Self { client, config } = self;
        let mut targets = Vec::new();
        for namespace in items(&config.get(client, "/v1/services").await?) {
            for service in items(&namespace["Services"]) {
                let name = text(&service["ServiceName"]);
                let path = format!("/v1/service/{}", name.replace('/', "%2F"));
                let found = config.get(client, &path).await?;
                targets.extend(items(&found).map(|instance| target(instance, &config.tag_separator)));
            }
        }
        Ok(vec![Group { source: "Nomad".into(), targets, labels: BTreeMap::new() }])
    }
}

fn target(service: &Value, separator: &str) -> Target {
    let mut target = Target::new();
    target.insert(ADDRESS.into(), join(&text(&service["Address"]), text(&service["Port"])));
    for (name, field) in [
        ("service_alloc_id", "AllocID"),
        ("service_id", "ID"),
        ("address", "Address"),
        ("dc", "Datacenter"),
        ("node_id", "NodeID"),
        ("namespace", "Namespace"),
        ("service", "ServiceName"),
        ("service_address", "Address"),
        ("service_job_id", "JobID"),
        ("service_port", "Port"),
    ] {
        target.insert(format!("__meta_nomad_{name}"), text(&service[field]));
    }
    let tags: Vec<&str> = items(&service["Tags"]).filter_map(Value::as_str).collect();
    if !tags.is_empty() {
        target.insert("__meta_nomad_tags".into(), wrapped(tags, separator));
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_instance_has_the_documented_labels() {
        let service = json!({"ID": "_nomad-1", "ServiceName": "web", "Address": "10.0.0.3", "Port": 8080, "Datacenter": "dc1",
            "NodeID": "n", "AllocID": "a", "JobID": "j", "Namespace": "default", "Tags": ["x", "y"]});
        let target = target(&service, ",");
        assert_eq!(target[ADDRESS], "10.0.0.3:8080");
        assert_eq!(target["__meta_nomad_tags"], ",x,y,");
        assert_eq!(target["__meta_nomad_service_alloc_id"], "a");
        assert_eq!(target["__meta_nomad_dc"], "dc1");
    }
}
