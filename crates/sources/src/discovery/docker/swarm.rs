//! `dockerswarm_sd_configs`: services, tasks or nodes of a swarm.

use std::collections::BTreeMap;
use std::time::Duration;

use httpc::Client;
use serde_json::Value;

use super::{Daemon, networks};
use crate::discovery::poll::{self, ADDRESS, Target, entries, items, join, sanitize, text};
use crate::discovery::section::Section;
use crate::discovery::{Group, Out};

/// Of labels.
const PREFIX: &str = "__meta_dockerswarm_";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Services,
    Tasks,
    Nodes,
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    daemon: Daemon,
    role: Role,
    port: u16,
    refresh: Duration,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        let role = match section.text("role").as_str() {
            "services" => Role::Services,
            "tasks" => Role::Tasks,
            "nodes" => Role::Nodes,
            other => return Err(format!("invalid role {other}, expected tasks, services, or nodes")),
        };
        Ok(Self {
            daemon: Daemon::read(section)?,
            role,
            port: section.port_or("port", 80)?,
            refresh: section.duration_or("refresh_interval", 60)?,
        })
    }
}

pub(crate) async fn run(config: Config, out: Out) {
    let client = match config.daemon.client().await {
        Ok(client) => client,
        Err(reason) => return out.failed(format!("dockerswarm_sd_configs: {reason}")).await,
    };
    poll::poll("dockerswarm_sd_configs", config.refresh, out, Round { client, config }).await;
}

/// What a round needs.
struct Round {
    client: Client,
    config: Config,
}

impl poll::Ask for Round {
    async fn ask(&mut self) -> Result<Vec<Group>, String> {
        let Self { client, config } = self;
        let get = |path, filtered| config.daemon.get(client, path, filtered);
        let targets = match config.role {
            Role::Nodes => nodes(&get("/nodes", true).await?, config.port),
            Role::Services => {
                let services = get("/services", true).await?;
                services_targets(&services, &networks(&get("/networks", false).await?, PREFIX), config.port)
            }
            Role::Tasks => {
                let tasks = get("/tasks", true).await?;
                let services = get("/services", false).await?;
                let known = Known {
                    ports: items(&services)
                        .map(|service| (text(&service["ID"]), service["Endpoint"]["Ports"].clone()))
                        .collect(),
                    services: by_id(&services, service_labels),
                    nodes: by_id(&get("/nodes", false).await?, |node| node_labels(node, false)),
                    networks: networks(&get("/networks", false).await?, PREFIX),
                };
                task_targets(&tasks, &known, config.port)
            }
        };
        Ok(vec![Group { source: "DockerSwarm".into(), targets, labels: BTreeMap::new() }])
    }
}

fn put(target: &mut Target, name: &str, value: String) {
    target.insert(format!("{PREFIX}{name}"), value);
}

fn put_map(target: &mut Target, prefix: &str, map: &Value) {
    for (name, value) in entries(map) {
        put(target, &format!("{prefix}{}", sanitize(name)), value);
    }
}

fn by_id(list: &Value, labels: impl Fn(&Value) -> Target) -> BTreeMap<String, Target> {
    items(list).map(|item| (text(&item["ID"]), labels(item))).collect()
}

/// The labels of a node; `full`: with those of the role `nodes`.
fn node_labels(node: &Value, full: bool) -> Target {
    let (spec, description, status) = (&node["Spec"], &node["Description"], &node["Status"]);
    let mut labels = Target::new();
    for (name, value) in [
        ("node_address", &status["Addr"]),
        ("node_availability", &spec["Availability"]),
        ("node_hostname", &description["Hostname"]),
        ("node_id", &node["ID"]),
        ("node_platform_architecture", &description["Platform"]["Architecture"]),
        ("node_platform_os", &description["Platform"]["OS"]),
        ("node_role", &spec["Role"]),
        ("node_status", &status["State"]),
    ] {
        put(&mut labels, name, text(value));
    }
    if full {
        put(&mut labels, "node_engine_version", text(&description["Engine"]["EngineVersion"]));
        let manager = &node["ManagerStatus"];
        if !manager.is_null() {
            put(&mut labels, "node_manager_leader", manager["Leader"].as_bool().unwrap_or(false).to_string());
            put(&mut labels, "node_manager_reachability", text(&manager["Reachability"]));
            put(&mut labels, "node_manager_address", text(&manager["Addr"]));
        }
    }
    put_map(&mut labels, "node_label_", &spec["Labels"]);
    labels
}

fn nodes(list: &Value, port: u16) -> Vec<Target> {
    let target = |node: &Value| {
        let mut target = node_labels(node, true);
        target.insert(ADDRESS.into(), join(&text(&node["Status"]["Addr"]), port));
        target
    };
    items(list).map(target).collect()
}

fn mode(service: &Value) -> &'static str {
    let mode = &service["Spec"]["Mode"];
    let known = [
        ("Global", "global"),
        ("Replicated", "replicated"),
        ("ReplicatedJob", "replicated-job"),
        ("GlobalJob", "global-job"),
    ];
    known.into_iter().find(|(field, _)| !mode[*field].is_null()).map_or("", |(_, name)| name)
}

/// The labels of a service that its tasks have too.
fn service_labels(service: &Value) -> Target {
    let mut labels = Target::new();
    put(&mut labels, "service_id", text(&service["ID"]));
    put(&mut labels, "service_name", text(&service["Spec"]["Name"]));
    put(&mut labels, "service_mode", mode(service).to_owned());
    put_map(&mut labels, "service_label_", &service["Spec"]["Labels"]);
    labels
}

fn services_targets(list: &Value, networks: &BTreeMap<String, Target>, port: u16) -> Vec<Target> {
    let mut out = Vec::new();
    for service in items(list) {
        let mut common = service_labels(service);
        let container = &service["Spec"]["TaskTemplate"]["ContainerSpec"];
        put(&mut common, "service_task_container_hostname", text(&container["Hostname"]));
        put(&mut common, "service_task_container_image", text(&container["Image"]));
        put(&mut common, "service_updating_status", text(&service["UpdateStatus"]["State"]));
        for virtual_ip in items(&service["Endpoint"]["VirtualIPs"]) {
            let Some(ip) = cidr_host(&virtual_ip["Addr"]) else { continue };
            let mut base = common.clone();
            base.extend(networks.get(&text(&virtual_ip["NetworkID"])).cloned().unwrap_or_default());
            let before = out.len();
            for published in items(&service["Endpoint"]["Ports"]).filter(|port| port["Protocol"] == "tcp") {
                let mut target = base.clone();
                put(&mut target, "service_endpoint_port_name", text(&published["Name"]));
                put(&mut target, "service_endpoint_port_publish_mode", text(&published["PublishMode"]));
                target.insert(ADDRESS.into(), join(ip, text(&published["PublishedPort"])));
                out.push(target);
            }
            if out.len() == before {
                base.insert(ADDRESS.into(), join(ip, port));
                out.push(base);
            }
        }
    }
    out
}

/// What tasks refer to.
struct Known {
    /// The ports that each service publishes.
    ports: BTreeMap<String, Value>,
    services: BTreeMap<String, Target>,
    nodes: BTreeMap<String, Target>,
    networks: BTreeMap<String, Target>,
}

fn task_targets(list: &Value, known: &Known, port: u16) -> Vec<Target> {
    let mut out = Vec::new();
    for task in items(list) {
        let mut common = Target::new();
        for (name, value) in [
            ("task_id", &task["ID"]),
            ("task_desired_state", &task["DesiredState"]),
            ("task_state", &task["Status"]["State"]),
            ("task_slot", &task["Slot"]),
            ("task_container_id", &task["Status"]["ContainerStatus"]["ContainerID"]),
        ] {
            put(&mut common, name, text(value));
        }
        put_map(&mut common, "container_label_", &task["Spec"]["ContainerSpec"]["Labels"]);
        let node = known.nodes.get(&text(&task["NodeID"])).cloned().unwrap_or_default();
        let host = node.get(&format!("{PREFIX}node_address")).cloned().unwrap_or_default();
        common.extend(node);
        common.extend(known.services.get(&text(&task["ServiceID"])).cloned().unwrap_or_default());
        // Ports that are published on the node itself.
        for published in
            items(&task["Status"]["PortStatus"]["Ports"]).filter(|port| port["Protocol"] == "tcp")
        {
            let mut target = common.clone();
            put(&mut target, "task_port_publish_mode", text(&published["PublishMode"]));
            target.insert(ADDRESS.into(), join(&host, text(&published["PublishedPort"])));
            out.push(target);
        }
        for attachment in items(&task["NetworksAttachments"]) {
            let network = &attachment["Network"];
            for address in items(&attachment["Addresses"]) {
                let Some(ip) = cidr_host(address) else { continue };
                let mut base = common.clone();
                base.extend(known.networks.get(&text(&network["ID"])).cloned().unwrap_or_default());
                let before = out.len();
                let ports = known.ports.get(&text(&task["ServiceID"])).unwrap_or(&Value::Null);
                for published in items(ports).filter(|port| port["Protocol"] == "tcp") {
                    let mut target = base.clone();
                    put(&mut target, "task_port_publish_mode", text(&published["PublishMode"]));
                    target.insert(ADDRESS.into(), join(ip, text(&published["PublishedPort"])));
                    out.push(target);
                }
                if out.len() == before {
                    base.insert(ADDRESS.into(), join(ip, port));
                    out.push(base);
                }
            }
        }
    }
    out
}

/// `10.0.0.3/24` → `10.0.0.3`
fn cidr_host(value: &Value) -> Option<&str> {
    value.as_str()?.split_once('/').map(|(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nets() -> BTreeMap<String, Target> {
        networks(
            &json!([{"Id": "n", "Name": "ingress", "Scope": "swarm", "Internal": false, "Ingress": true}]),
            PREFIX,
        )
    }

    fn service() -> Value {
        json!({"ID": "s", "Spec": {"Name": "web", "Mode": {"Replicated": {"Replicas": 2}}, "Labels": {"team.x": "a"},
            "TaskTemplate": {"ContainerSpec": {"Image": "img"}}},
            "Endpoint": {"Ports": [{"Protocol": "tcp", "PublishedPort": 9000, "PublishMode": "ingress"}],
                "VirtualIPs": [{"NetworkID": "n", "Addr": "10.0.0.5/24"}]}})
    }

    fn node() -> Value {
        json!({"ID": "m", "Spec": {"Role": "manager", "Availability": "active", "Labels": {"rack": "r1"}},
            "Description": {"Hostname": "h", "Platform": {"Architecture": "x86_64", "OS": "linux"}, "Engine": {"EngineVersion": "27"}},
            "Status": {"State": "ready", "Addr": "192.0.2.1"}, "ManagerStatus": {"Leader": true, "Reachability": "reachable", "Addr": "192.0.2.1:2377"}})
    }

    #[test]
    fn services_have_a_target_for_each_port() {
        let found = services_targets(&json!([service()]), &nets(), 80);
        assert_eq!(found.len(), 1);
        for (label, value) in [
            (ADDRESS, "10.0.0.5:9000"),
            ("__meta_dockerswarm_service_mode", "replicated"),
            ("__meta_dockerswarm_service_label_team_x", "a"),
            ("__meta_dockerswarm_service_endpoint_port_publish_mode", "ingress"),
            ("__meta_dockerswarm_network_ingress", "true"),
        ] {
            assert_eq!(found[0][label], value, "{label}");
        }
    }

    #[test]
    fn tasks_and_nodes() {
        let task = json!([{"ID": "t", "ServiceID": "s", "NodeID": "m", "Slot": 1, "DesiredState": "running",
            "Status": {"State": "running", "ContainerStatus": {"ContainerID": "c"},
                "PortStatus": {"Ports": [{"Protocol": "tcp", "PublishedPort": 9100, "PublishMode": "host"}]}},
            "Spec": {"ContainerSpec": {"Labels": {"a-b": "c"}}},
            "NetworksAttachments": [{"Network": {"ID": "n"}, "Addresses": ["10.0.0.7/24"]}]}]);
        let known = Known {
            ports: [("s".to_owned(), service()["Endpoint"]["Ports"].clone())].into(),
            services: by_id(&json!([service()]), service_labels),
            nodes: by_id(&json!([node()]), |node| node_labels(node, false)),
            networks: nets(),
        };
        let found = task_targets(&task, &known, 80);
        let addresses: Vec<&str> = found.iter().map(|target| target[ADDRESS].as_str()).collect();
        assert_eq!(addresses, ["192.0.2.1:9100", "10.0.0.7:9000"]);
        assert_eq!(found[1]["__meta_dockerswarm_container_label_a_b"], "c");
        assert_eq!(found[1]["__meta_dockerswarm_node_label_rack"], "r1");
        assert_eq!(found[1]["__meta_dockerswarm_service_name"], "web");
        let nodes = nodes(&json!([node()]), 9323);
        assert_eq!(nodes[0][ADDRESS], "192.0.2.1:9323");
        assert_eq!(nodes[0]["__meta_dockerswarm_node_manager_leader"], "true");
    }
}
