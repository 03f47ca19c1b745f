//! What the API server has said, and which target groups a change touches.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::objects::{
    EndpointSlice, Endpoints, Ingress, Kind, Namespace, Node, Object, Pod, Reference, Service,
};

/// The label of a slice that names its service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// All objects, by `namespace/name`.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) pods: BTreeMap<String, Pod>,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) endpoints: BTreeMap<String, Endpoints>,
    pub(super) slices: BTreeMap<String, EndpointSlice>,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) ingresses: BTreeMap<String, Ingress>,
    pub(super) namespaces: BTreeMap<String, Namespace>,
}

/// What changed, by kind; from it follows which groups must be built anew.
#[derive(Debug, Default)]
pub(super) struct Touched {
    keys: BTreeMap<Kind, HashSet<String>>,
}

impl Touched {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn add(&mut self, kind: Kind, key: String) {
        self.keys.entry(kind).or_default().insert(key);
    }
}

/// Puts an object into its map; whether that changed anything.
fn put<T: PartialEq>(map: &mut BTreeMap<String, T>, key: String, value: T) -> bool {
    match map.get(&key) {
        Some(old) if *old == value => false,
        _ => {
            map.insert(key, value);
            true
        }
    }
}

impl Store {
    /// An object is so now.
    pub(super) fn set(&mut self, object: Object, touched: &mut Touched) {
        let key = object.key();
        let (kind, changed) = match object {
            Object::Pod(o) => (Kind::Pod, put(&mut self.pods, key.clone(), o)),
            Object::Service(o) => (Kind::Service, put(&mut self.services, key.clone(), o)),
            Object::Endpoints(o) => (Kind::Endpoints, put(&mut self.endpoints, key.clone(), o)),
            Object::EndpointSlice(o) => (Kind::EndpointSlice, put(&mut self.slices, key.clone(), o)),
            Object::Node(o) => (Kind::Node, put(&mut self.nodes, key.clone(), o)),
            Object::Ingress(o) => (Kind::Ingress, put(&mut self.ingresses, key.clone(), o)),
            Object::Namespace(o) => (Kind::Namespace, put(&mut self.namespaces, key.clone(), o)),
        };
        if changed {
            touched.add(kind, key);
        }
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, kind: Kind, key: &str, touched: &mut Touched) {
        let existed = match kind {
            Kind::Pod => self.pods.remove(key).is_some(),
            Kind::Service => self.services.remove(key).is_some(),
            Kind::Endpoints => self.endpoints.remove(key).is_some(),
            Kind::EndpointSlice => self.slices.remove(key).is_some(),
            Kind::Node => self.nodes.remove(key).is_some(),
            Kind::Ingress => self.ingresses.remove(key).is_some(),
            Kind::Namespace => self.namespaces.remove(key).is_some(),
        };
        if existed {
            touched.add(kind, key.to_owned());
        }
    }

    /// The whole of a kind in a namespace (`""`: in all) is so now.
    pub(super) fn replace(
        &mut self,
        kind: Kind,
        namespace: &str,
        objects: Vec<Object>,
        touched: &mut Touched,
    ) {
        let now: HashSet<String> = objects.iter().map(Object::key).collect();
        let within = |key: &&String| {
            namespace.is_empty()
                || !kind.is_namespaced()
                || key.split_once('/').is_some_and(|(own, _)| own == namespace)
        };
        let gone: Vec<String> =
            self.keys(kind).into_iter().filter(within).filter(|key| !now.contains(*key)).cloned().collect();
        for key in gone {
            self.remove(kind, &key, touched);
        }
        for object in objects {
            self.set(object, touched);
        }
    }

    /// All keys of a kind.
    pub(super) fn keys(&self, kind: Kind) -> Vec<&String> {
        match kind {
            Kind::Pod => self.pods.keys().collect(),
            Kind::Service => self.services.keys().collect(),
            Kind::Endpoints => self.endpoints.keys().collect(),
            Kind::EndpointSlice => self.slices.keys().collect(),
            Kind::Node => self.nodes.keys().collect(),
            Kind::Ingress => self.ingresses.keys().collect(),
            Kind::Namespace => self.namespaces.keys().collect(),
        }
    }

    /// The objects of the role's kind whose groups may have changed.
    pub(super) fn affected(&self, role: Kind, touched: Touched) -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        for (kind, keys) in touched.keys {
            match kind {
                _ if kind == role => out.extend(keys),
                // Namespaces and nodes rarely change, and what hangs on them is everything.
                Kind::Namespace => {
                    let within =
                        |key: &&String| key.split_once('/').is_some_and(|(own, _)| keys.contains(own));
                    out.extend(self.keys(role).into_iter().filter(within).cloned());
                }
                Kind::Node if role == Kind::Pod => {
                    let on = |(_, pod): &(&String, &Pod)| keys.contains(&pod.spec.node_name);
                    out.extend(self.pods.iter().filter(on).map(|(key, _)| key.clone()));
                }
                Kind::Node => out.extend(self.keys(role).into_iter().cloned()),
                Kind::Service if role == Kind::Endpoints => out.extend(keys),
                Kind::Service => {
                    let of =
                        |slice: &EndpointSlice| service_key(slice).is_some_and(|key| keys.contains(&key));
                    out.extend(self.slices.iter().filter(|(_, s)| of(s)).map(|(key, _)| key.clone()));
                }
                Kind::Pod => out.extend(self.backed_by(role, &keys)),
                _ => {}
            }
        }
        out
    }

    /// Endpoints or slices with an address that is one of these pods.
    fn backed_by(&self, role: Kind, pods: &HashSet<String>) -> Vec<String> {
        let is_one = |reference: &Option<Reference>| {
            reference
                .as_ref()
                .is_some_and(|r| r.kind == "Pod" && pods.contains(&format!("{}/{}", r.namespace, r.name)))
        };
        if role == Kind::EndpointSlice {
            let has = |slice: &EndpointSlice| slice.endpoints.iter().any(|e| is_one(&e.target_ref));
            return self.slices.iter().filter(|(_, s)| has(s)).map(|(key, _)| key.clone()).collect();
        }
        let has = |endpoints: &Endpoints| {
            endpoints
                .subsets
                .iter()
                .flat_map(|s| s.addresses.iter().chain(&s.not_ready_addresses))
                .any(|a| is_one(&a.target_ref))
        };
        self.endpoints.iter().filter(|(_, e)| has(e)).map(|(key, _)| key.clone()).collect()
    }
}

/// The service that a slice belongs to.
pub(super) fn service_key(slice: &EndpointSlice) -> Option<String> {
    let name = slice.metadata.labels.get(SERVICE_NAME)?;
    Some(format!("{}/{name}", slice.metadata.namespace))
}
