//! The fields of Kubernetes' objects that make labels; everything else is left out as it is read, so that an object is small and
//! a heartbeat changes nothing. Source: the Kubernetes API reference, v1.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A null is an empty list, map or text.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Declares structs whose fields may be absent or null.
macro_rules! objects {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub(super) struct $name {
            $(#[serde(deserialize_with = "nullable")] $(#[$field_meta])* pub(super) $field: $type,)*
        }
    )*};
}

objects! {
    struct Meta {
        name: String,
        namespace: String,
        uid: String,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        owner_references: Vec<Owner>,
    }
    struct Owner { kind: String, name: String, controller: bool, }

    struct Pod { metadata: Meta, spec: PodSpec, status: PodStatus, }
    struct PodSpec { node_name: String, containers: Vec<Container>, init_containers: Vec<Container>, }
    struct Container { name: String, image: String, ports: Vec<ContainerPort>, }
    struct ContainerPort { name: String, container_port: u32, protocol: String, }
    struct PodStatus {
        phase: String,
        #[serde(rename = "hostIP")]
        host_ip: String,
        #[serde(rename = "podIP")]
        pod_ip: String,
        conditions: Vec<Condition>,
        container_statuses: Vec<ContainerStatus>,
        init_container_statuses: Vec<ContainerStatus>,
    }
    struct Condition { r#type: String, status: String, }
    struct ContainerStatus {
        name: String,
        #[serde(rename = "containerID")]
        container_id: String,
    }

    struct Service { metadata: Meta, spec: ServiceSpec, }
    struct ServiceSpec {
        r#type: String,
        external_name: String,
        #[serde(rename = "clusterIP")]
        cluster_ip: String,
        #[serde(rename = "loadBalancerIP")]
        load_balancer_ip: String,
        ports: Vec<ServicePort>,
    }
    struct ServicePort { name: String, port: u32, protocol: String, }

    struct Endpoints { metadata: Meta, subsets: Vec<Subset>, }
    struct Subset { addresses: Vec<Address>, not_ready_addresses: Vec<Address>, ports: Vec<EndpointPort>, }
    struct Address { ip: String, hostname: String, node_name: Option<String>, target_ref: Option<Reference>, }
    struct Reference { kind: String, namespace: String, name: String, }
    struct EndpointPort { name: Option<String>, port: Option<u32>, protocol: Option<String>, app_protocol: Option<String>, }

    struct EndpointSlice { metadata: Meta, address_type: String, endpoints: Vec<Endpoint>, ports: Vec<EndpointPort>, }
    struct Endpoint {
        addresses: Vec<String>,
        conditions: Conditions,
        hostname: Option<String>,
        node_name: Option<String>,
        zone: Option<String>,
        target_ref: Option<Reference>,
        deprecated_topology: BTreeMap<String, String>,
    }
    struct Conditions { ready: Option<bool>, serving: Option<bool>, terminating: Option<bool>, }

    struct Node { metadata: Meta, spec: NodeSpec, status: NodeStatus, }
    struct NodeSpec {
        #[serde(rename = "providerID")]
        provider_id: String,
    }
    struct NodeStatus { addresses: Vec<NodeAddress>, daemon_endpoints: DaemonEndpoints, }
    struct NodeAddress { r#type: String, address: String, }
    struct DaemonEndpoints { kubelet_endpoint: DaemonEndpoint, }
    struct DaemonEndpoint {
        #[serde(rename = "Port")]
        port: u32,
    }

    struct Ingress { metadata: Meta, spec: IngressSpec, }
    struct IngressSpec { ingress_class_name: Option<String>, tls: Vec<IngressTls>, rules: Vec<IngressRule>, }
    struct IngressTls { hosts: Vec<String>, }
    struct IngressRule { host: String, http: Option<IngressHttp>, }
    struct IngressHttp { paths: Vec<IngressPath>, }
    struct IngressPath { path: String, }

    struct Namespace { metadata: Meta, }
}

/// What can be listed and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
    Node,
    Ingress,
    Namespace,
}

impl Kind {
    /// The path of its collection, in one namespace or (`""`) in all.
    pub(super) fn path(self, namespace: &str) -> String {
        let (group, plural) = match self {
            Self::Pod => ("/api/v1", "pods"),
            Self::Service => ("/api/v1", "services"),
            Self::Endpoints => ("/api/v1", "endpoints"),
            Self::EndpointSlice => ("/apis/discovery.k8s.io/v1", "endpointslices"),
            Self::Node => ("/api/v1", "nodes"),
            Self::Ingress => ("/apis/networking.k8s.io/v1", "ingresses"),
            Self::Namespace => ("/api/v1", "namespaces"),
        };
        if namespace.is_empty() || !self.is_namespaced() {
            format!("{group}/{plural}")
        } else {
            format!("{group}/namespaces/{namespace}/{plural}")
        }
    }

    pub(super) fn is_namespaced(self) -> bool {
        !matches!(self, Self::Node | Self::Namespace)
    }

    /// The name by which `selectors` and `role` know it.
    pub(super) fn role(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Service => "service",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
            Self::Node => "node",
            Self::Ingress => "ingress",
            Self::Namespace => "namespace",
        }
    }

    /// Reads an object of this kind.
    pub(super) fn read(self, value: Value) -> Result<Object, yaml::Wrong> {
        Ok(match self {
            Self::Pod => Object::Pod(yaml::from_json(value)?),
            Self::Service => Object::Service(yaml::from_json(value)?),
            Self::Endpoints => Object::Endpoints(yaml::from_json(value)?),
            Self::EndpointSlice => Object::EndpointSlice(yaml::from_json(value)?),
            Self::Node => Object::Node(yaml::from_json(value)?),
            Self::Ingress => Object::Ingress(yaml::from_json(value)?),
            Self::Namespace => Object::Namespace(yaml::from_json(value)?),
        })
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    Pod(Pod),
    Service(Service),
    Endpoints(Endpoints),
    EndpointSlice(EndpointSlice),
    Node(Node),
    Ingress(Ingress),
    Namespace(Namespace),
}

impl Object {
    pub(super) fn meta(&self) -> &Meta {
        match self {
            Self::Pod(o) => &o.metadata,
            Self::Service(o) => &o.metadata,
            Self::Endpoints(o) => &o.metadata,
            Self::EndpointSlice(o) => &o.metadata,
            Self::Node(o) => &o.metadata,
            Self::Ingress(o) => &o.metadata,
            Self::Namespace(o) => &o.metadata,
        }
    }

    /// `namespace/name`, or the name of what has no namespace.
    pub(super) fn key(&self) -> String {
        self.meta().key()
    }
}

impl Meta {
    pub(super) fn key(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}
