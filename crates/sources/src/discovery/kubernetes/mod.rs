//! Targets from the Kubernetes API, always as the cluster is. Source: the Prometheus manual, "kubernetes_sd_config".
//!
//! One [`api::Reflector`] a collection lists and watches; their changes go into a [`store::Store`]; once all have been listed,
//! every change gives the groups that it touches and no others.
//!
//! | module | holds |
//! |---|---|
//! | `access` | the API server's address and credentials: given, from a kubeconfig file, or this pod's |
//! | `api` | list and watch |
//! | `objects` | the fields of objects that make labels |
//! | `roles` | objects to target groups |
//! | `store` | all objects, and what a change touches |

mod access;
mod api;
mod objects;
mod roles;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use httpc::Options;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use api::{Change, Reflector};
use objects::Kind;
use roles::Attach;
use store::{Store, Touched};

use super::section::Section;
use super::{Group, Out, poll};

/// Changes that wait; the watches wait when there are more.
const QUEUE: usize = 1024;
/// Changes that come within this time are looked at together.
const SETTLE: Duration = Duration::from_millis(50);

/// `kubernetes_sd_configs`
#[derive(Clone, Debug)]
pub(crate) struct Config {
    access: access::Access,
    role: Kind,
    own_namespace: bool,
    namespaces: Vec<String>,
    /// By role: label and field selectors.
    selectors: Vec<(String, String, String)>,
    attach: Attach,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        let role = match section.text("role").to_lowercase().as_str() {
            "pod" => Kind::Pod,
            "service" => Kind::Service,
            "endpoints" => Kind::Endpoints,
            "endpointslice" => Kind::EndpointSlice,
            "node" => Kind::Node,
            "ingress" => Kind::Ingress,
            other => return Err(format!("unknown Kubernetes SD role {other:?}")),
        };
        let namespaces = section.value("namespaces");
        let attach = section.value("attach_metadata");
        let selectors = poll::items(section.value("selectors"))
            .map(|s| (poll::text(&s["role"]), poll::text(&s["label"]), poll::text(&s["field"])));
        Ok(Self {
            access: access::Access::read(section)?,
            role,
            own_namespace: namespaces["own_namespace"].as_bool().unwrap_or(false),
            namespaces: super::section::texts("namespaces.names", &namespaces["names"])?,
            selectors: selectors.collect(),
            attach: Attach {
                node: attach["node"].as_bool().unwrap_or(false),
                namespace: attach["namespace"].as_bool().unwrap_or(false),
            },
        })
    }

    /// The collections that the role needs.
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = vec![self.role];
        if matches!(self.role, Kind::Endpoints | Kind::EndpointSlice) {
            kinds.extend([Kind::Service, Kind::Pod]);
        }
        if self.attach.node && matches!(self.role, Kind::Pod | Kind::Endpoints | Kind::EndpointSlice) {
            kinds.push(Kind::Node);
        }
        if self.attach.namespace && self.role != Kind::Node {
            kinds.push(Kind::Namespace);
        }
        kinds
    }

    fn reflectors(&self, server: &str, namespaces: &[String]) -> Vec<Reflector> {
        let mut out = Vec::new();
        for kind in self.kinds() {
            let selector = self.selectors.iter().find(|(role, ..)| role == kind.role());
            let everywhere = [String::new()];
            let places =
                if kind.is_namespaced() && !namespaces.is_empty() { namespaces } else { &everywhere };
            for namespace in places {
                out.push(Reflector {
                    id: out.len(),
                    kind,
                    namespace: namespace.clone(),
                    label: selector.map(|(_, label, _)| label.clone()).unwrap_or_default(),
                    field: selector.map(|(.., field)| field.clone()).unwrap_or_default(),
                    server: server.to_owned(),
                });
            }
        }
        out
    }
}

/// Watches until cancelled.
pub(crate) async fn run(config: Config, out: Out) {
    let fail = |reason: String| format!("kubernetes_sd_configs: {reason}");
    let access = config.access.clone();
    let resolved = tokio::task::spawn_blocking(move || access.resolve()).await;
    let place = match resolved.map_err(|err| err.to_string()).flatten() {
        Ok(place) => place,
        Err(reason) => return out.failed(fail(reason)).await,
    };
    let client = match poll::client(place.http, Options { idle_per_host: 8, ..poll::options() }).await {
        Ok(client) => client,
        Err(reason) => return out.failed(fail(reason)).await,
    };
    let namespaces = match (config.own_namespace, &place.namespace) {
        (false, _) => config.namespaces.clone(),
        (true, Some(own)) => config.namespaces.iter().chain([own]).cloned().collect(),
        (true, None) => {
            return out.failed(fail("own_namespace is set but this is not a pod".into())).await;
        }
    };
    let reflectors = config.reflectors(&place.server, &namespaces);
    let (tx, mut rx) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    for reflector in reflectors.clone() {
        let (stop, client, tx) = (stop.clone(), client.clone(), tx.clone());
        tokio::spawn(async move { stop.run_until_cancelled(reflector.run(client, tx)).await });
    }
    drop(tx);
    let mut view = View {
        config,
        out,
        store: Store::default(),
        listed: vec![false; reflectors.len()],
        sent: HashMap::new(),
    };
    let mut touched = Touched::default();
    while let Some(change) = rx.recv().await {
        view.take(change, &reflectors, &mut touched).await;
        let settled = tokio::time::sleep(SETTLE);
        tokio::pin!(settled);
        loop {
            tokio::select! {
                () = &mut settled => break,
                Some(change) = rx.recv() => view.take(change, &reflectors, &mut touched).await,
            }
        }
        // Endpoints without their pods and services would be other targets.
        if view.listed.iter().all(|listed| *listed) && !touched.is_empty() {
            view.send(std::mem::take(&mut touched)).await;
        }
    }
}

struct View {
    config: Config,
    out: Out,
    store: Store,
    listed: Vec<bool>,
    /// Of each group that was sent: a hash of what it said.
    sent: HashMap<String, u64>,
}

impl View {
    async fn take(&mut self, change: Change, reflectors: &[Reflector], touched: &mut Touched) {
        match change {
            Change::Replaced { reflector, objects } => {
                let Reflector { kind, namespace, .. } = &reflectors[reflector];
                self.store.replace(*kind, namespace, objects, touched);
                self.listed[reflector] = true;
                self.out.recovered().await;
            }
            Change::Set(object) => self.store.set(*object, touched),
            Change::Gone(kind, key) => self.store.remove(kind, &key, touched),
            Change::Failed(reason) => self.out.failed(format!("kubernetes_sd_configs: {reason}")).await,
        }
    }

    async fn send(&mut self, touched: Touched) {
        let role = self.config.role;
        let mut groups: Vec<Group> = Vec::new();
        for key in self.store.affected(role, touched) {
            let group = roles::group(role, &key, &self.store, self.config.attach);
            let mut hasher = DefaultHasher::new();
            group.hash(&mut hasher);
            let hash = hasher.finish();
            let before = match group.targets.is_empty() {
                true => self.sent.remove(&group.source),
                false => self.sent.insert(group.source.clone(), hash),
            };
            let same = if group.targets.is_empty() { before.is_none() } else { before == Some(hash) };
            if !same {
                groups.push(group);
            }
        }
        if !groups.is_empty() {
            self.out.some(groups).await;
        }
    }
}
