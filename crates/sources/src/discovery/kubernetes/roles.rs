//! From objects to target groups, one role each. Source: the Prometheus manual, "kubernetes_sd_config".

use std::collections::BTreeMap;

use super::objects::{
    Address, Container, ContainerPort, Endpoint, EndpointPort, EndpointSlice, Endpoints, Ingress, Kind, Meta,
    Node, Pod, Reference, Service,
};
use super::store::{Store, service_key};
use crate::discovery::Group;
use crate::discovery::poll::{ADDRESS, Target, join, sanitize};

/// What is attached besides the role's own labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attach {
    pub(super) node: bool,
    pub(super) namespace: bool,
}

/// The group of the role's object `key`; without targets when the object is gone or has none.
pub(super) fn group(role: Kind, key: &str, store: &Store, attach: Attach) -> Group {
    let build = Build { store, attach };
    let prefix = if role == Kind::Service { "svc" } else { role.role() };
    let source = format!("{prefix}/{key}");
    let built = match role {
        Kind::Pod => store.pods.get(key).map(|pod| build.pod(pod)),
        Kind::Service => store.services.get(key).map(|service| build.service(service)),
        Kind::Endpoints => store.endpoints.get(key).map(|endpoints| build.endpoints(endpoints)),
        Kind::EndpointSlice => store.slices.get(key).map(|slice| build.slice(slice)),
        Kind::Node => store.nodes.get(key).map(node),
        Kind::Ingress => store.ingresses.get(key).map(|ingress| build.ingress(ingress)),
        Kind::Namespace => None,
    };
    let (labels, targets) = built.unwrap_or_default();
    Group { source, targets, labels }
}

type Built = (Target, Vec<Target>);

struct Build<'a> {
    store: &'a Store,
    attach: Attach,
}

fn put(target: &mut Target, name: &str, value: impl Into<String>) {
    target.insert(format!("__meta_kubernetes_{name}"), value.into());
}

/// Name, labels and annotations of an object.
fn object_labels(target: &mut Target, kind: &str, meta: &Meta) {
    put(target, &format!("{kind}_name"), meta.name.as_str());
    maps(target, kind, meta);
}

fn maps(target: &mut Target, kind: &str, meta: &Meta) {
    for (what, map) in [("label", &meta.labels), ("annotation", &meta.annotations)] {
        for (name, value) in map {
            let name = sanitize(name);
            put(target, &format!("{kind}_{what}_{name}"), value.as_str());
            put(target, &format!("{kind}_{what}present_{name}"), "true");
        }
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let main = pod.spec.containers.iter().map(|c| (c, false));
    main.chain(pod.spec.init_containers.iter().map(|c| (c, true)))
}

/// The labels that tell a container's port.
fn container_port(target: &mut Target, container: &Container, port: &ContainerPort, init: bool) {
    put(target, "pod_container_name", container.name.as_str());
    put(target, "pod_container_image", container.image.as_str());
    put(target, "pod_container_port_name", port.name.as_str());
    put(target, "pod_container_port_number", port.container_port.to_string());
    put(target, "pod_container_port_protocol", protocol(&port.protocol));
    put(target, "pod_container_init", init.to_string());
}

/// The API server fills the protocol in; an object that it has not defaulted means TCP.
fn protocol(given: &str) -> &str {
    if given.is_empty() { "TCP" } else { given }
}

fn container_id<'p>(pod: &'p Pod, container: &Container, init: bool) -> &'p str {
    let statuses = if init { &pod.status.init_container_statuses } else { &pod.status.container_statuses };
    statuses.iter().find(|status| status.name == container.name).map_or("", |status| &status.container_id)
}

fn pod_labels(target: &mut Target, pod: &Pod) {
    let ready = pod.status.conditions.iter().find(|condition| condition.r#type == "Ready");
    put(target, "pod_ip", pod.status.pod_ip.as_str());
    put(target, "pod_ready", ready.map_or("unknown".into(), |condition| condition.status.to_lowercase()));
    put(target, "pod_phase", pod.status.phase.as_str());
    put(target, "pod_node_name", pod.spec.node_name.as_str());
    put(target, "pod_host_ip", pod.status.host_ip.as_str());
    put(target, "pod_uid", pod.metadata.uid.as_str());
    if let Some(controller) = pod.metadata.owner_references.iter().find(|owner| owner.controller) {
        put(target, "pod_controller_kind", controller.kind.as_str());
        put(target, "pod_controller_name", controller.name.as_str());
    }
    object_labels(target, "pod", &pod.metadata);
}

fn node(node: &Node) -> Built {
    let mut labels = Target::new();
    put(&mut labels, "node_provider_id", node.spec.provider_id.as_str());
    object_labels(&mut labels, "node", &node.metadata);
    let first = |kind: &str| node.status.addresses.iter().find(|address| address.r#type == kind);
    let order = ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];
    let Some(address) = order.into_iter().find_map(first) else { return (labels, Vec::new()) };
    let mut target = Target::new();
    target.insert(ADDRESS.into(), join(&address.address, node.status.daemon_endpoints.kubelet_endpoint.port));
    target.insert("instance".into(), node.metadata.name.clone());
    for address in &node.status.addresses {
        let name = format!("__meta_kubernetes_node_address_{}", sanitize(&address.r#type));
        target.entry(name).or_insert_with(|| address.address.clone());
    }
    (labels, vec![target])
}

/// A pod behind endpoints, and the ports of it that they name.
struct Backing<'a> {
    pod: &'a Pod,
    ports: Vec<u32>,
}

impl<'a> Build<'a> {
    fn namespaced(&self, meta: &Meta) -> Target {
        let mut labels = Target::new();
        put(&mut labels, "namespace", meta.namespace.as_str());
        if self.attach.namespace
            && let Some(namespace) = self.store.namespaces.get(&meta.namespace)
        {
            maps(&mut labels, "namespace", &namespace.metadata);
        }
        labels
    }

    fn attach_node(&self, target: &mut Target, name: &str) {
        if self.attach.node
            && let Some(node) = self.store.nodes.get(name)
        {
            object_labels(target, "node", &node.metadata);
        }
    }

    fn pod(&self, pod: &Pod) -> Built {
        let mut labels = self.namespaced(&pod.metadata);
        pod_labels(&mut labels, pod);
        self.attach_node(&mut labels, &pod.spec.node_name);
        let ip = &pod.status.pod_ip;
        let mut targets = Vec::new();
        // A pod without address starts or ends.
        if ip.is_empty() {
            return (labels, targets);
        }
        for (container, init) in containers(pod) {
            let id = container_id(pod, container, init);
            for port in &container.ports {
                let mut target = Target::new();
                target.insert(ADDRESS.into(), join(ip, port.container_port));
                container_port(&mut target, container, port, init);
                put(&mut target, "pod_container_id", id);
                targets.push(target);
            }
            if container.ports.is_empty() {
                let mut target = Target::new();
                target.insert(ADDRESS.into(), ip.clone());
                put(&mut target, "pod_container_name", container.name.as_str());
                put(&mut target, "pod_container_image", container.image.as_str());
                put(&mut target, "pod_container_id", id);
                put(&mut target, "pod_container_init", init.to_string());
                targets.push(target);
            }
        }
        (labels, targets)
    }

    fn service_labels(&self, labels: &mut Target, key: &str) {
        if let Some(service) = self.store.services.get(key) {
            object_labels(labels, "service", &service.metadata);
        }
    }

    fn service(&self, service: &Service) -> Built {
        let mut labels = self.namespaced(&service.metadata);
        object_labels(&mut labels, "service", &service.metadata);
        let host = format!("{}.{}.svc", service.metadata.name, service.metadata.namespace);
        let spec = &service.spec;
        let kind = if spec.r#type.is_empty() { "ClusterIP" } else { &spec.r#type };
        let target = |port: &super::objects::ServicePort| {
            let mut target = Target::new();
            target.insert(ADDRESS.into(), join(&host, port.port));
            put(&mut target, "service_port_name", port.name.as_str());
            put(&mut target, "service_port_number", port.port.to_string());
            put(&mut target, "service_port_protocol", protocol(&port.protocol));
            put(&mut target, "service_type", kind);
            if kind == "ExternalName" {
                put(&mut target, "service_external_name", spec.external_name.as_str());
            } else {
                put(&mut target, "service_cluster_ip", spec.cluster_ip.as_str());
            }
            if kind == "LoadBalancer" {
                put(&mut target, "service_loadbalancer_ip", spec.load_balancer_ip.as_str());
            }
            target
        };
        let targets = spec.ports.iter().map(target).collect();
        (labels, targets)
    }

    fn endpoints(&self, endpoints: &'a Endpoints) -> Built {
        let mut labels = self.namespaced(&endpoints.metadata);
        self.service_labels(&mut labels, &endpoints.metadata.key());
        object_labels(&mut labels, "endpoints", &endpoints.metadata);
        let (mut targets, mut backing) = (Vec::new(), BTreeMap::new());
        for subset in &endpoints.subsets {
            let ready = subset.addresses.iter().map(|address| (address, true));
            let all = ready.chain(subset.not_ready_addresses.iter().map(|address| (address, false)));
            for (address, ready) in all {
                for port in &subset.ports {
                    targets.push(self.endpoint_target(address, port, ready, &mut backing));
                }
            }
        }
        self.remaining_ports(&backing, &mut targets);
        (labels, targets)
    }

    fn endpoint_target(
        &self,
        address: &Address,
        port: &EndpointPort,
        ready: bool,
        backing: &mut BTreeMap<String, Backing<'a>>,
    ) -> Target {
        let number = port.port.unwrap_or_default();
        let mut target = Target::new();
        target.insert(ADDRESS.into(), join(&address.ip, number));
        put(&mut target, "endpoint_port_name", port.name.clone().unwrap_or_default());
        put(&mut target, "endpoint_port_protocol", protocol(port.protocol.as_deref().unwrap_or_default()));
        put(&mut target, "endpoint_ready", ready.to_string());
        if let Some(reference) = &address.target_ref {
            put(&mut target, "endpoint_address_target_kind", reference.kind.as_str());
            put(&mut target, "endpoint_address_target_name", reference.name.as_str());
        }
        if let Some(name) = &address.node_name {
            put(&mut target, "endpoint_node_name", name.as_str());
        }
        if !address.hostname.is_empty() {
            put(&mut target, "endpoint_hostname", address.hostname.as_str());
        }
        self.attach_host(&mut target, address.node_name.as_deref(), address.target_ref.as_ref());
        self.back(&mut target, address.target_ref.as_ref(), number, backing);
        target
    }

    fn attach_host(&self, target: &mut Target, node: Option<&str>, reference: Option<&Reference>) {
        match (node, reference) {
            (Some(name), _) => self.attach_node(target, name),
            (None, Some(reference)) if reference.kind == "Node" => self.attach_node(target, &reference.name),
            _ => {}
        }
    }

    /// Adds the labels of the pod behind an address, and remembers which of its ports that was.
    fn back(
        &self,
        target: &mut Target,
        reference: Option<&Reference>,
        port: u32,
        backing: &mut BTreeMap<String, Backing<'a>>,
    ) {
        let Some(reference) = reference.filter(|reference| reference.kind == "Pod") else { return };
        let key = format!("{}/{}", reference.namespace, reference.name);
        let Some(pod) = self.store.pods.get(&key) else { return };
        pod_labels(target, pod);
        let named = containers(pod)
            .flat_map(|(container, init)| container.ports.iter().map(move |port| (container, port, init)))
            .find(|(_, own, _)| own.container_port == port);
        if let Some((container, own, init)) = named {
            container_port(target, container, own, init);
        }
        backing.entry(key).or_insert(Backing { pod, ports: Vec::new() }).ports.push(port);
    }

    /// The ports of backing pods that no endpoint names.
    fn remaining_ports(&self, backing: &BTreeMap<String, Backing<'_>>, targets: &mut Vec<Target>) {
        for Backing { pod, ports } in backing.values() {
            if pod.status.pod_ip.is_empty() {
                continue;
            }
            for (container, init) in containers(pod) {
                for port in container.ports.iter().filter(|port| !ports.contains(&port.container_port)) {
                    let mut target = Target::new();
                    target.insert(ADDRESS.into(), join(&pod.status.pod_ip, port.container_port));
                    container_port(&mut target, container, port, init);
                    pod_labels(&mut target, pod);
                    self.attach_node(&mut target, &pod.spec.node_name);
                    targets.push(target);
                }
            }
        }
    }

    fn slice(&self, slice: &'a EndpointSlice) -> Built {
        let mut labels = self.namespaced(&slice.metadata);
        if let Some(key) = service_key(slice) {
            self.service_labels(&mut labels, &key);
        }
        put(&mut labels, "endpointslice_address_type", slice.address_type.as_str());
        object_labels(&mut labels, "endpointslice", &slice.metadata);
        let (mut targets, mut backing) = (Vec::new(), BTreeMap::new());
        for endpoint in &slice.endpoints {
            for port in &slice.ports {
                for address in &endpoint.addresses {
                    targets.push(self.slice_target(endpoint, address, port, &mut backing));
                }
            }
        }
        self.remaining_ports(&backing, &mut targets);
        (labels, targets)
    }

    fn slice_target(
        &self,
        endpoint: &Endpoint,
        address: &str,
        port: &EndpointPort,
        backing: &mut BTreeMap<String, Backing<'a>>,
    ) -> Target {
        let mut target = Target::new();
        let full = port.port.map_or_else(|| address.to_owned(), |number| join(address, number));
        target.insert(ADDRESS.into(), full);
        let conditions = &endpoint.conditions;
        for (name, value) in [
            ("port_name", port.name.clone()),
            ("port_protocol", port.protocol.clone()),
            ("port", port.port.map(|number| number.to_string())),
            ("port_app_protocol", port.app_protocol.clone()),
            ("endpoint_conditions_ready", conditions.ready.map(|flag| flag.to_string())),
            ("endpoint_conditions_serving", conditions.serving.map(|flag| flag.to_string())),
            ("endpoint_conditions_terminating", conditions.terminating.map(|flag| flag.to_string())),
            ("endpoint_hostname", endpoint.hostname.clone()),
            ("endpoint_node_name", endpoint.node_name.clone()),
            ("endpoint_zone", endpoint.zone.clone()),
            ("address_target_kind", endpoint.target_ref.as_ref().map(|r| r.kind.clone())),
            ("address_target_name", endpoint.target_ref.as_ref().map(|r| r.name.clone())),
        ] {
            if let Some(value) = value {
                put(&mut target, &format!("endpointslice_{name}"), value);
            }
        }
        for (name, value) in &endpoint.deprecated_topology {
            let name = sanitize(name);
            put(&mut target, &format!("endpointslice_endpoint_topology_{name}"), value.as_str());
            put(&mut target, &format!("endpointslice_endpoint_topology_present_{name}"), "true");
        }
        self.attach_host(&mut target, endpoint.node_name.as_deref(), endpoint.target_ref.as_ref());
        self.back(&mut target, endpoint.target_ref.as_ref(), port.port.unwrap_or_default(), backing);
        target
    }

    fn ingress(&self, ingress: &Ingress) -> Built {
        let mut labels = self.namespaced(&ingress.metadata);
        if let Some(class) = &ingress.spec.ingress_class_name {
            put(&mut labels, "ingress_class_name", class.as_str());
        }
        object_labels(&mut labels, "ingress", &ingress.metadata);
        let secure: Vec<&str> =
            ingress.spec.tls.iter().flat_map(|tls| &tls.hosts).map(String::as_str).collect();
        let mut targets = Vec::new();
        for rule in &ingress.spec.rules {
            let scheme = if secure.iter().any(|host| host_fits(host, &rule.host)) { "https" } else { "http" };
            let named = rule.http.iter().flat_map(|http| &http.paths).map(|path| path.path.as_str());
            let mut paths: Vec<&str> = named.map(|path| if path.is_empty() { "/" } else { path }).collect();
            if paths.is_empty() {
                paths.push("/");
            }
            for path in paths {
                let mut target = Target::new();
                target.insert(ADDRESS.into(), rule.host.clone());
                put(&mut target, "ingress_scheme", scheme);
                put(&mut target, "ingress_host", rule.host.as_str());
                put(&mut target, "ingress_path", path);
                targets.push(target);
            }
        }
        (labels, targets)
    }
}

/// Whether a TLS host, which may begin with `*.`, covers a rule's host.
fn host_fits(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == domain),
        None => pattern == host,
    }
}
