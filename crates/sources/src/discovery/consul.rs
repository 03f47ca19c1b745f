//! Services of a Consul catalogue, by blocking queries. Sources: the Prometheus manual, "consul_sd_config"; Consul's HTTP API,
//! "Blocking queries".
//!
//! One task watches the catalogue and one each service that is wanted; a query returns when something has changed, so that the
//! server works only for changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use httpc::{Client, Options, Request};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::poll::{self, ADDRESS, Target, entries, items, join, text, wrapped};
use super::section::Section;
use super::{Group, Out};

/// How long Consul may hold a query.
const WAIT: Duration = Duration::from_secs(120);
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(15);
/// Changes that wait; a service's task waits when there are more.
const QUEUE: usize = 64;
/// More services than this are not watched.
const MAX_SERVICES: usize = 10_000;

/// `consul_sd_configs`
#[derive(Clone, Debug)]
pub(crate) struct Config {
    http: httpc::Config,
    base: String,
    token: String,
    datacenter: String,
    namespace: String,
    partition: String,
    tag_separator: String,
    allow_stale: bool,
    refresh: Duration,
    services: Vec<String>,
    tags: Vec<String>,
    node_meta: Vec<String>,
    filter: String,
    health_filter: String,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        let mut http = section.http()?;
        let user = section.text("username");
        if !user.is_empty() {
            let basic = httpc::BasicAuth {
                username: user,
                password: section.text("password").into(),
                ..httpc::BasicAuth::default()
            };
            http.basic_auth = Some(basic);
        }
        let prefix = section.text("path_prefix");
        let prefix = prefix.trim_matches('/');
        let mut base = format!(
            "{}://{}",
            section.text_or("scheme", "http"),
            section.text_or("server", "localhost:8500")
        );
        if !prefix.is_empty() {
            base = format!("{base}/{prefix}");
        }
        httpc::Url::parse(&base).map_err(|err| format!("server: {base:?} is not a valid URL: {err}"))?;
        let node_meta = entries(section.value("node_meta")).map(|(k, v)| format!("{k}:{v}")).collect();
        Ok(Self {
            http,
            base,
            token: section.text("token"),
            datacenter: section.text("datacenter"),
            namespace: section.text("namespace"),
            partition: section.text("partition"),
            tag_separator: section.text_or("tag_separator", ","),
            allow_stale: section.flag_or("allow_stale", true)?,
            refresh: section.duration_or("refresh_interval", 30)?,
            services: section.texts("services")?,
            tags: section.texts("tags")?,
            node_meta,
            filter: section.text("filter"),
            health_filter: section.text("health_filter"),
        })
    }

    fn query(&self, path: &str, index: u64, more: &[(&str, &str)]) -> Result<Request, String> {
        let url = format!("{}{path}", self.base);
        let wait = format!("{}ms", WAIT.as_millis());
        let index = index.to_string();
        let mut pairs = vec![
            ("index", index.as_str()),
            ("wait", wait.as_str()),
            ("dc", self.datacenter.as_str()),
            ("ns", self.namespace.as_str()),
            ("partition", self.partition.as_str()),
        ];
        pairs.extend_from_slice(more);
        pairs.extend(self.node_meta.iter().map(|pair| ("node-meta", pair.as_str())));
        let mut url = poll::with_query(&url, &pairs)?;
        if self.allow_stale {
            url.push_str("&stale");
        }
        let request = Request::get(&url).map_err(|err| err.chain())?;
        if self.token.is_empty() {
            return Ok(request);
        }
        request.header("x-consul-token", &self.token).map_err(|err| err.chain())
    }

    fn wants(&self, name: &str, tags: &Value) -> bool {
        let named = self.services.is_empty() || self.services.iter().any(|service| service == name);
        named && self.tags.iter().all(|wanted| items(tags).any(|tag| tag.as_str() == Some(wanted)))
    }
}

/// Watches until cancelled.
pub(crate) async fn run(config: Config, mut out: Out) {
    let options = Options { timeout: WAIT + WAIT / 16 + Duration::from_secs(15), ..Options::default() };
    let client = match poll::client(config.http.clone(), options).await {
        Ok(client) => client,
        Err(reason) => return out.failed(format!("consul_sd_configs: {reason}")).await,
    };
    let (tx, mut rx) = mpsc::channel::<Told>(QUEUE);
    let mut services: BTreeMap<String, DropGuard> = BTreeMap::new();
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    // Named services without tags need no catalogue.
    let needs_catalogue = config.services.is_empty() || !config.tags.is_empty();
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    if needs_catalogue {
        let (client, config, tx) = (client.clone(), config.clone(), tx.clone());
        tokio::spawn(async move { stop.run_until_cancelled(catalogue(&client, &config, &tx)).await });
    } else {
        for name in &config.services {
            services.insert(name.clone(), watch(&client, &config, name, &tx));
        }
    }
    while let Some(told) = rx.recv().await {
        match told {
            Told::Services(names) => {
                services.retain(|name, _| names.contains(name));
                for name in names {
                    services.entry(name.clone()).or_insert_with(|| watch(&client, &config, &name, &tx));
                }
                groups.retain(|name, _| services.contains_key(name));
                out.all(groups.values().cloned().collect()).await;
            }
            // The service may have gone while this was on its way.
            Told::Group(group) if services.contains_key(&group.source) => {
                groups.insert(group.source.clone(), group);
                out.all(groups.values().cloned().collect()).await;
            }
            Told::Group(_) => {}
            Told::Failed(reason) => out.failed(format!("consul_sd_configs: {reason}")).await,
        }
    }
}

enum Told {
    Services(BTreeSet<String>),
    Group(Group),
    Failed(String),
}

async fn tell(tx: &mpsc::Sender<Told>, told: Told) {
    if tx.send(told).await.is_err() {
        tracing::trace!("the mechanism is gone");
    }
}

fn watch(client: &Client, config: &Config, name: &str, tx: &mpsc::Sender<Told>) -> DropGuard {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let (client, config, name, tx) = (client.clone(), config.clone(), name.to_owned(), tx.clone());
    tokio::spawn(async move { stopped.run_until_cancelled(service(&client, &config, &name, &tx)).await });
    stop.drop_guard()
}

/// One blocking query; the document and the index for the next.
async fn ask(client: &Client, request: Request, last: u64) -> Result<(Value, u64), String> {
    let place = request.url.path().to_owned();
    let response = client.send(request).await.map_err(|err| err.chain())?;
    let status = response.status();
    let index = response.header("x-consul-index").and_then(|index| index.parse::<u64>().ok()).unwrap_or(0);
    let body = response.bytes(poll::MAX_BYTES).await.map_err(|err| err.chain())?;
    if !status.is_success() {
        let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        return Err(format!("{place} returned HTTP status {status}: {}", text.trim()));
    }
    // An index that goes backwards means that the server has started anew. Source: Consul's documentation.
    let next = if index < last { 0 } else { index };
    Ok((poll::parse(&place, &body)?, next))
}

async fn catalogue(client: &Client, config: &Config, tx: &mpsc::Sender<Told>) {
    let mut index = 0;
    loop {
        let began = Instant::now();
        let request = config.query("/v1/catalog/services", index, &[("filter", &config.filter)]);
        let asked = match request {
            Ok(request) => ask(client, request, index).await,
            Err(reason) => Err(reason),
        };
        match asked {
            Err(reason) => {
                tell(tx, Told::Failed(reason)).await;
                index = 0;
                tokio::time::sleep(RETRY.min(config.refresh)).await;
                continue;
            }
            Ok((_, next)) if next == index && index != 0 => {}
            Ok((value, next)) => {
                index = next;
                let mut names = BTreeSet::new();
                for (name, tags) in value.as_object().into_iter().flatten() {
                    if config.wants(name, tags) {
                        names.insert(name.clone());
                    }
                }
                if names.len() > MAX_SERVICES {
                    let count = names.len();
                    let reason = format!(
                        "the catalogue has {count} services that fit, more than the {MAX_SERVICES} that are watched; name them with `services` or `tags`"
                    );
                    tell(tx, Told::Failed(reason)).await;
                } else {
                    tell(tx, Told::Services(names)).await;
                }
            }
        }
        // A busy catalogue is not asked more often than the refresh interval says.
        tokio::time::sleep_until(began + config.refresh).await;
    }
}

async fn service(client: &Client, config: &Config, name: &str, tx: &mpsc::Sender<Told>) {
    let mut index = 0;
    let path = format!("/v1/health/service/{}", path_segment(name));
    loop {
        let began = Instant::now();
        let mut more: Vec<(&str, &str)> = config.tags.iter().map(|tag| ("tag", tag.as_str())).collect();
        more.push(("filter", &config.health_filter));
        let asked = match config.query(&path, index, &more) {
            Ok(request) => ask(client, request, index).await,
            Err(reason) => Err(reason),
        };
        match asked {
            Err(reason) => {
                tell(tx, Told::Failed(reason)).await;
                index = 0;
                tokio::time::sleep(RETRY.min(config.refresh)).await;
                continue;
            }
            Ok((_, next)) if next == index && index != 0 => {}
            Ok((value, next)) => {
                index = next;
                tell(tx, Told::Group(group(name, &value, &config.tag_separator))).await;
            }
        }
        tokio::time::sleep_until(began + config.refresh).await;
    }
}

fn path_segment(name: &str) -> String {
    let mut url = httpc::Url::parse("http://h").expect("a constant URL");
    if let Ok(mut path) = url.path_segments_mut() {
        path.push(name);
    }
    url.path().trim_start_matches('/').to_owned()
}

/// The instances of a service.
fn group(name: &str, instances: &Value, separator: &str) -> Group {
    let mut labels = Target::new();
    labels.insert("__meta_consul_service".into(), name.to_owned());
    Group {
        source: name.to_owned(),
        targets: items(instances).map(|instance| target(instance, separator)).collect(),
        labels,
    }
}

fn target(instance: &Value, separator: &str) -> Target {
    let (node, service) = (&instance["Node"], &instance["Service"]);
    let port = text(&service["Port"]);
    let host = match text(&service["Address"]) {
        host if host.is_empty() => text(&node["Address"]),
        host => host,
    };
    let tags = items(&service["Tags"]).filter_map(Value::as_str);
    let mut target = Target::new();
    for (label, value) in [
        (ADDRESS, join(&host, &port)),
        ("__meta_consul_address", text(&node["Address"])),
        ("__meta_consul_dc", text(&node["Datacenter"])),
        ("__meta_consul_node", text(&node["Node"])),
        ("__meta_consul_namespace", text(&service["Namespace"])),
        ("__meta_consul_partition", text(&service["Partition"])),
        ("__meta_consul_tags", wrapped(tags, separator)),
        ("__meta_consul_service_address", text(&service["Address"])),
        ("__meta_consul_service_port", port.clone()),
        ("__meta_consul_service_id", text(&service["ID"])),
        ("__meta_consul_health", health(&instance["Checks"]).to_owned()),
    ] {
        target.insert(label.into(), value);
    }
    for (prefix, object) in [
        ("__meta_consul_metadata_", &node["Meta"]),
        ("__meta_consul_service_metadata_", &service["Meta"]),
        ("__meta_consul_tagged_address_", &node["TaggedAddresses"]),
    ] {
        for (name, value) in entries(object) {
            target.insert(format!("{prefix}{}", poll::sanitize(name)), value);
        }
    }
    target
}

/// The worst of the checks' states.
fn health(checks: &Value) -> &'static str {
    let mut worst = 0;
    for check in items(checks) {
        let id = check["CheckID"].as_str().unwrap_or_default();
        let rank = match check["Status"].as_str() {
            _ if id == "_node_maintenance" || id.starts_with("_service_maintenance:") => 3,
            Some("critical") => 2,
            Some("warning") => 1,
            _ => 0,
        };
        worst = worst.max(rank);
    }
    ["passing", "warning", "critical", "maintenance"][worst]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_instance_has_the_documented_labels() {
        let instance = json!({
            "Node": {"Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1",
                "TaggedAddresses": {"lan": "10.0.0.1"}, "Meta": {"rack-id": "r7"}},
            "Service": {"ID": "web-1", "Service": "web", "Tags": ["a", "b"], "Address": "", "Port": 8080,
                "Meta": {"version": "2"}, "Namespace": "default"},
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "x", "Status": "warning"}],
        });
        let group = group("web", &json!([instance]), ",");
        let target = &group.targets[0];
        for (label, value) in [
            ("__address__", "10.0.0.1:8080"),
            ("__meta_consul_tags", ",a,b,"),
            ("__meta_consul_metadata_rack_id", "r7"),
            ("__meta_consul_service_metadata_version", "2"),
            ("__meta_consul_tagged_address_lan", "10.0.0.1"),
            ("__meta_consul_health", "warning"),
            ("__meta_consul_service_id", "web-1"),
        ] {
            assert_eq!(target[label], value, "{label}");
        }
        assert_eq!(group.labels["__meta_consul_service"], "web");
        assert_eq!(
            health(&json!([{"CheckID": "_service_maintenance:web", "Status": "critical"}])),
            "maintenance"
        );
        assert_eq!(path_segment("a b/c"), "a%20b%2Fc");
    }
}
