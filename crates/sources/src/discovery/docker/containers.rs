//! `docker_sd_configs`: a target for every network and port of every container.

use std::collections::BTreeMap;
use std::time::Duration;

use httpc::Client;
use serde_json::Value;

use super::Daemon;
use crate::discovery::poll::{self, ADDRESS, Target, entries, items, join, sanitize, text};
use crate::discovery::section::Section;
use crate::discovery::{Group, Out};

/// Of labels.
const PREFIX: &str = "__meta_docker_";

#[derive(Clone, Debug)]
pub(crate) struct Config {
    daemon: Daemon,
    shape: Shape,
    refresh: Duration,
}

/// How containers become targets.
#[derive(Clone, Debug)]
struct Shape {
    port: u16,
    host_networking_host: String,
    match_first_network: bool,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        Ok(Self {
            daemon: Daemon::read(section)?,
            shape: Shape {
                port: section.port_or("port", 80)?,
                host_networking_host: section.text_or("host_networking_host", "localhost"),
                match_first_network: section.flag_or("match_first_network", true)?,
            },
            refresh: section.duration_or("refresh_interval", 60)?,
        })
    }
}

pub(crate) async fn run(config: Config, out: Out) {
    let client = match config.daemon.client().await {
        Ok(client) => client,
        Err(reason) => return out.failed(format!("docker_sd_configs: {reason}")).await,
    };
    poll::poll("docker_sd_configs", config.refresh, out, Round { client, config }).await;
}

/// What a round needs.
struct Round {
    client: Client,
    config: Config,
}

impl poll::Ask for Round {
    async fn ask(&mut self) -> Result<Vec<Group>, String> {
        let Self { client, config } = self;
        let containers = config.daemon.get(client, "/containers/json", true).await?;
        let networks = config.daemon.get(client, "/networks", false).await?;
        let targets = targets(&containers, &super::networks(&networks, PREFIX), &config.shape);
        Ok(vec![Group { source: config.daemon.base.clone(), targets, labels: BTreeMap::new() }])
    }
}

fn targets(containers: &Value, networks: &BTreeMap<String, Target>, shape: &Shape) -> Vec<Target> {
    let by_id: BTreeMap<&str, &Value> =
        items(containers).filter_map(|container| Some((container["Id"].as_str()?, container))).collect();
    items(containers).flat_map(|container| of_container(container, &by_id, networks, shape)).collect()
}

/// A container's networks by name; of one that shares another's, that one's.
fn attached<'a>(container: &'a Value, by_id: &BTreeMap<&str, &'a Value>) -> Vec<(&'a String, &'a Value)> {
    let mut seen = container;
    // A chain of containers that share networks ends, unless it is a circle.
    for _ in 0..by_id.len() + 1 {
        let found: Vec<_> = seen["NetworkSettings"]["Networks"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, network)| !network.is_null())
            .collect();
        if !found.is_empty() {
            return found;
        }
        let mode = seen["HostConfig"]["NetworkMode"].as_str().unwrap_or_default();
        let Some(other) = mode.strip_prefix("container:").and_then(|id| by_id.get(id)) else { break };
        seen = other;
    }
    Vec::new()
}

fn of_container(
    container: &Value,
    by_id: &BTreeMap<&str, &Value>,
    networks: &BTreeMap<String, Target>,
    shape: &Shape,
) -> Vec<Target> {
    let Some(name) = container["Names"][0].as_str() else { return Vec::new() };
    let mode = text(&container["HostConfig"]["NetworkMode"]);
    let mut common = Target::new();
    common.insert(format!("{PREFIX}container_id"), text(&container["Id"]));
    common.insert(format!("{PREFIX}container_name"), name.to_owned());
    common.insert(format!("{PREFIX}container_network_mode"), mode.clone());
    for (label, value) in entries(&container["Labels"]) {
        common.insert(format!("{PREFIX}container_label_{}", sanitize(label)), value);
    }
    let mut attached = attached(container, by_id);
    attached.sort_by(|a, b| a.0.cmp(b.0));
    if shape.match_first_network {
        attached.truncate(1);
    }
    let mut out = Vec::new();
    for (_, network) in attached {
        let ip = text(&network["IPAddress"]);
        let mut base = common.clone();
        base.insert(format!("{PREFIX}network_ip"), ip.clone());
        base.extend(networks.get(&text(&network["NetworkID"])).cloned().unwrap_or_default());
        let before = out.len();
        for port in items(&container["Ports"]).filter(|port| port["Type"] == "tcp") {
            let private = text(&port["PrivatePort"]);
            let mut target = base.clone();
            target.insert(ADDRESS.into(), join(&ip, &private));
            target.insert(format!("{PREFIX}port_private"), private);
            if port["PublicPort"].as_u64().is_some_and(|public| public > 0) {
                target.insert(format!("{PREFIX}port_public"), text(&port["PublicPort"]));
                target.insert(format!("{PREFIX}port_public_ip"), text(&port["IP"]));
            }
            out.push(target);
        }
        if out.len() == before {
            let address = match mode.as_str() {
                "host" => shape.host_networking_host.clone(),
                _ => join(&ip, shape.port),
            };
            base.insert(ADDRESS.into(), address);
            out.push(base);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::networks;
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_networks_and_host_mode() {
        let nets = networks(
            &json!([{"Id": "n1", "Name": "app", "Scope": "local", "Internal": false, "Ingress": false, "Labels": {"a.b": "c"}}]),
            PREFIX,
        );
        let containers = json!([
            {"Id": "1", "Names": ["/web"], "Labels": {"com.x/y": "z"}, "HostConfig": {"NetworkMode": "app"},
             "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}, {"PrivatePort": 53, "Type": "udp"}],
             "NetworkSettings": {"Networks": {"app": {"NetworkID": "n1", "IPAddress": "172.0.0.2"}, "zed": {"NetworkID": "n9", "IPAddress": "172.9.0.2"}}}},
            {"Id": "2", "Names": ["/side"], "HostConfig": {"NetworkMode": "container:1"}, "Ports": [],
             "NetworkSettings": {"Networks": {}}},
            {"Id": "3", "Names": ["/host"], "HostConfig": {"NetworkMode": "host"}, "Ports": [],
             "NetworkSettings": {"Networks": {"host": {"NetworkID": "h", "IPAddress": ""}}}},
            {"Id": "4", "Names": ["/circle"], "HostConfig": {"NetworkMode": "container:4"}, "Ports": []},
        ]);
        let shape = Shape { port: 9, host_networking_host: "me".into(), match_first_network: true };
        let found = targets(&containers, &nets, &shape);
        let addresses: Vec<&str> = found.iter().map(|target| target[ADDRESS].as_str()).collect();
        assert_eq!(addresses, ["172.0.0.2:80", "172.0.0.2:9", "me"]);
        for (label, value) in [
            ("__meta_docker_container_label_com_x_y", "z"),
            ("__meta_docker_container_name", "/web"),
            ("__meta_docker_network_name", "app"),
            ("__meta_docker_network_label_a_b", "c"),
            ("__meta_docker_network_internal", "false"),
            ("__meta_docker_port_public", "8080"),
            ("__meta_docker_port_public_ip", "0.0.0.0"),
        ] {
            assert_eq!(found[0][label], value, "{label}");
        }
        let all = Shape { match_first_network: false, ..shape };
        assert_eq!(targets(&containers, &nets, &all).len(), 5);
    }
}
