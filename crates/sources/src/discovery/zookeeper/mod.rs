//! Members of server sets and of Nerve services in ZooKeeper. Source: the Prometheus manual, "serverset_sd_config" and
//! "nerve_sd_config".
//!
//! The trees below the configured paths are read with a watch on every node, and read again when a watch fires.

mod client;

use std::time::Duration;

use serde_json::Value;

use client::{Client, Watched};

use super::poll::{self, ADDRESS, Target, join, sanitize, text};
use super::section::Section;
use super::{Group, Out};

/// More nodes than this below the paths are refused.
const MAX_NODES: usize = 100_000;
/// Changes that come within this time are looked at together.
const SETTLE: Duration = Duration::from_millis(100);
/// The first and the longest wait after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What a member's data means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ServerSet,
    Nerve,
}

/// `serverset_sd_configs` or `nerve_sd_configs`
#[derive(Clone, Debug)]
pub(crate) struct Config {
    kind: Kind,
    name: &'static str,
    servers: Vec<String>,
    paths: Vec<String>,
    timeout: Duration,
}

impl Config {
    pub(crate) fn read(name: &'static str, section: &Section<'_>) -> Result<Self, String> {
        let paths = section.texts("paths")?;
        if let Some(path) = paths.iter().find(|path| !path.starts_with('/')) {
            return Err(format!("paths: {path:?} does not begin with /"));
        }
        let servers = section.texts("servers")?;
        let with_port = |server: String| if server.contains(':') { server } else { format!("{server}:2181") };
        Ok(Self {
            kind: if name == "nerve_sd_configs" { Kind::Nerve } else { Kind::ServerSet },
            name,
            servers: servers.into_iter().map(with_port).collect(),
            paths: paths.into_iter().map(|path| path.trim_end_matches('/').to_owned()).collect(),
            timeout: section.duration_or("timeout", 10)?,
        })
    }
}

pub(crate) async fn run(config: Config, mut out: Out) {
    let mut wait = BACK_OFF.0;
    let mut turn = 0;
    loop {
        let server = &config.servers[turn % config.servers.len()];
        turn += 1;
        match session(&config, server, &mut out, &mut wait).await {
            Ok(never) => match never {},
            Err(reason) => out.failed(format!("{}: {server}: {reason}", config.name)).await,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

/// Reads and watches until the connection fails.
async fn session(
    config: &Config,
    server: &str,
    out: &mut Out,
    wait: &mut Duration,
) -> Result<std::convert::Infallible, String> {
    let mut client = Client::connect(server, config.timeout).await?;
    loop {
        let mut groups = Vec::new();
        let mut nodes = 0;
        for path in &config.paths {
            let mut todo = vec![path.clone()];
            while let Some(path) = todo.pop() {
                nodes += 1;
                if nodes > MAX_NODES {
                    return Err(format!("there are more than {MAX_NODES} nodes below the paths"));
                }
                let name = if path.is_empty() { "/" } else { &path };
                // A node that is gone was deleted while the tree was read; a missing root is watched.
                let Some(data) = client.data(name).await? else { continue };
                if !data.is_empty() {
                    match target(config.kind, &path, &data) {
                        Ok(target) => {
                            groups.push(Group {
                                source: path.clone(),
                                targets: vec![target],
                                labels: Target::new(),
                            });
                        }
                        Err(reason) => tracing::debug!(%path, %reason, "a node is not a member"),
                    }
                }
                for child in client.children(name).await? {
                    todo.push(format!("{path}/{child}"));
                }
            }
        }
        out.all(groups).await;
        *wait = BACK_OFF.0;
        match client.changed().await? {
            Watched::Changed => tokio::time::sleep(SETTLE).await,
        }
    }
}

/// The target that a member's data describes.
fn target(kind: Kind, path: &str, data: &[u8]) -> Result<Target, String> {
    let member = poll::parse(path, data)?;
    let mut target = Target::new();
    match kind {
        Kind::Nerve => {
            if !member["host"].is_string() {
                return Err("it has no host".into());
            }
            let (host, port) = (text(&member["host"]), text(&member["port"]));
            target.insert(ADDRESS.into(), join(&host, &port));
            for (name, value) in [
                ("path", path.to_owned()),
                ("endpoint_host", host),
                ("endpoint_port", port),
                ("endpoint_name", text(&member["name"])),
            ] {
                target.insert(format!("__meta_nerve_{name}"), value);
            }
        }
        Kind::ServerSet => {
            let endpoint = &member["serviceEndpoint"];
            if !endpoint["host"].is_string() {
                return Err("it has no serviceEndpoint.host".into());
            }
            let mut put =
                |name: &str, value: String| target.insert(format!("__meta_serverset_{name}"), value);
            put("path", path.to_owned());
            put("endpoint_host", text(&endpoint["host"]));
            put("endpoint_port", text(&endpoint["port"]));
            for (name, more) in member["additionalEndpoints"].as_object().into_iter().flatten() {
                let name = sanitize(name);
                put(&format!("endpoint_host_{name}"), text(&more["host"]));
                put(&format!("endpoint_port_{name}"), text(&more["port"]));
            }
            put("status", text(&member["status"]));
            put(
                "shard",
                match &member["shard"] {
                    Value::Null => "0".to_owned(),
                    shard => text(shard),
                },
            );
            target.insert(ADDRESS.into(), join(&text(&endpoint["host"]), text(&endpoint["port"])));
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_the_documented_labels() {
        let data = br#"{"serviceEndpoint":{"host":"h","port":1},"additionalEndpoints":{"admin-x":{"host":"h","port":2}},"status":"ALIVE","shard":3}"#;
        let found = target(Kind::ServerSet, "/s/member_1", data).unwrap();
        for (label, value) in [
            (ADDRESS, "h:1"),
            ("__meta_serverset_path", "/s/member_1"),
            ("__meta_serverset_endpoint_port_admin_x", "2"),
            ("__meta_serverset_status", "ALIVE"),
            ("__meta_serverset_shard", "3"),
        ] {
            assert_eq!(found[label], value, "{label}");
        }
        let nerve = target(Kind::Nerve, "/n/1", br#"{"host":"h","port":9,"name":"i-1"}"#).unwrap();
        assert_eq!((nerve[ADDRESS].as_str(), nerve["__meta_nerve_endpoint_name"].as_str()), ("h:9", "i-1"));
        assert!(target(Kind::Nerve, "/n/1", b"{}").is_err());
    }
}
