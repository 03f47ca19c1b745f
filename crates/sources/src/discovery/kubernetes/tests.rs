//! A server that lists and watches as Kubernetes' does, and what discovery makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};

use super::*;
use crate::discovery::Event;

/// A collection's objects, and the events that its watches get.
#[derive(Default)]
struct Collections {
    objects: BTreeMap<String, Vec<Value>>,
    /// Requests by path and query.
    asked: Vec<String>,
    /// Answer the next watch with 410.
    expired: bool,
}

#[derive(Clone)]
struct Fake {
    state: Arc<Mutex<Collections>>,
    events: broadcast::Sender<(String, Value)>,
}

impl Fake {
    async fn start() -> (Self, String) {
        let fake = Self { state: Arc::default(), events: broadcast::channel(100).0 };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (fake, url)
    }

    fn set(&self, path: &str, objects: Vec<Value>) {
        self.state.lock().objects.insert(path.into(), objects);
    }

    /// Sends an event to the watches of a collection; waits until there is one.
    async fn tell(&self, path: &str, event: Value) {
        loop {
            let watched = {
                let state = self.state.lock();
                state
                    .asked
                    .iter()
                    .any(|asked| asked.starts_with(&format!("{path}?")) && asked.contains("watch=true"))
            };
            if watched && self.events.send((path.to_owned(), event.clone())).is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        loop {
            let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else {
                match stream.read_buf(&mut buffer).await {
                    Ok(n) if n > 0 => continue,
                    _ => return,
                }
            };
            let head = String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            assert!(head.contains("authorization: Bearer secret"), "{head}");
            let mut events = self.events.subscribe();
            let gone = {
                let mut state = self.state.lock();
                state.asked.push(target.clone());
                query.contains("watch=true") && std::mem::take(&mut state.expired)
            };
            if gone {
                let body = r#"{"kind":"Status","code":410}"#;
                let text = format!("HTTP/1.1 410 Gone\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(text.as_bytes()).await.unwrap();
            } else if query.contains("watch=true") {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
                loop {
                    let (to, event) = events.recv().await.unwrap();
                    if to != path {
                        continue;
                    }
                    // An event in two pieces.
                    let line = format!("{event}\n");
                    let (a, b) = line.split_at(line.len() / 2);
                    for part in [a, b] {
                        let chunk = format!("{:x}\r\n{part}\r\n", part.len());
                        if stream.write_all(chunk.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    if event["type"] == "ERROR" {
                        stream.write_all(b"0\r\n\r\n").await.unwrap();
                        break;
                    }
                }
            } else {
                // Pages of one object.
                let objects = self.state.lock().objects.get(path).cloned().unwrap_or_default();
                let page: usize = query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix("continue=p"))
                    .map_or(0, |page| page.parse().unwrap());
                let mut list = json!({"metadata": {"resourceVersion": "10"}, "items": objects.get(page)});
                list["items"] = json!(objects.get(page).into_iter().collect::<Vec<_>>());
                if page + 1 < objects.len() {
                    list["metadata"]["continue"] = json!(format!("p{}", page + 1));
                }
                let body = list.to_string();
                let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        }
    }
}

struct Seen {
    rx: mpsc::Receiver<Event>,
    groups: BTreeMap<String, Group>,
    failures: Vec<String>,
    _stop: tokio_util::sync::DropGuard,
}

impl Seen {
    fn start(url: &str, section: Value) -> Self {
        let mut section = section;
        section["api_server"] = json!(url);
        section["authorization"] = json!({"credentials": "secret"});
        let config = Config::read(&Section::new(section.as_object().unwrap())).unwrap();
        let (tx, rx) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(run(config, Out::new(1, tx))).await });
        Self { rx, groups: BTreeMap::new(), failures: Vec::new(), _stop: stop.drop_guard() }
    }

    async fn until(&mut self, what: &str, done: impl Fn(&BTreeMap<String, Group>) -> bool) {
        let waiting = async {
            while !done(&self.groups) {
                match self.rx.recv().await.unwrap() {
                    Event::Groups { groups, .. } => {
                        for group in groups {
                            match group.targets.is_empty() {
                                true => self.groups.remove(&group.source),
                                false => self.groups.insert(group.source.clone(), group),
                            };
                        }
                    }
                    Event::Failed { reason, .. } => self.failures.push(reason),
                }
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        waited.unwrap_or_else(|_| panic!("{what} did not come; {:#?}", self.groups));
    }
}

fn pod(name: &str, ip: &str, node: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("u-{name}"), "labels": {"app.kubernetes.io/name": "web"},
            "annotations": {"prometheus.io/scrape": "true"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "controller": true}]},
        "spec": {"nodeName": node,
            "containers": [{"name": "main", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"name": "metrics", "containerPort": 9090, "protocol": "TCP"}]}],
            "initContainers": [{"name": "setup", "image": "sh"}]},
        "status": {"phase": "Running", "hostIP": "192.0.2.1", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "containerID": "containerd://abc"}]},
    })
}

#[track_caller]
fn check(labels: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        let name =
            if name.starts_with("__") { (*name).to_owned() } else { format!("__meta_kubernetes_{name}") };
        assert_eq!(labels.get(&name).map(String::as_str), Some(*value), "{name} in {labels:#?}");
    }
}

#[tokio::test]
async fn pods_are_listed_watched_and_listed_again_when_the_version_is_too_old() {
    let (fake, url) = Fake::start().await;
    let path = "/api/v1/namespaces/shop/pods";
    fake.set(path, vec![pod("a", "10.0.0.1", "n1"), pod("b", "10.0.0.2", "n1")]);
    let mut seen = Seen::start(
        &url,
        json!({"role": "pod", "namespaces": {"names": ["shop"]}, "selectors": [{"role": "pod", "label": "app=web"}]}),
    );
    seen.until("two pods", |groups| groups.len() == 2).await;
    let group = &seen.groups["pod/shop/a"];
    check(
        &group.labels,
        &[
            ("namespace", "shop"),
            ("pod_name", "a"),
            ("pod_ip", "10.0.0.1"),
            ("pod_ready", "true"),
            ("pod_phase", "Running"),
            ("pod_node_name", "n1"),
            ("pod_host_ip", "192.0.2.1"),
            ("pod_uid", "u-a"),
            ("pod_controller_kind", "ReplicaSet"),
            ("pod_controller_name", "web-1"),
            ("pod_label_app_kubernetes_io_name", "web"),
            ("pod_labelpresent_app_kubernetes_io_name", "true"),
            ("pod_annotation_prometheus_io_scrape", "true"),
            ("pod_annotationpresent_prometheus_io_scrape", "true"),
        ],
    );
    let addresses: Vec<&str> = group.targets.iter().map(|target| target["__address__"].as_str()).collect();
    assert_eq!(addresses, ["10.0.0.1:8080", "10.0.0.1:9090", "10.0.0.1"]);
    check(
        &group.targets[0],
        &[
            ("pod_container_name", "main"),
            ("pod_container_id", "containerd://abc"),
            ("pod_container_image", "web:1"),
            ("pod_container_port_name", "http"),
            ("pod_container_port_number", "8080"),
            ("pod_container_port_protocol", "TCP"),
            ("pod_container_init", "false"),
        ],
    );
    check(&group.targets[2], &[("pod_container_name", "setup"), ("pod_container_init", "true")]);

    // Changes by watch: a bookmark moves the version, an unchanged object makes no group.
    let mut with_version = pod("a", "10.0.0.1", "n1");
    with_version["metadata"]["resourceVersion"] = json!("11");
    fake.tell(path, json!({"type": "MODIFIED", "object": with_version})).await;
    fake.tell(path, json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "20"}}})).await;
    fake.tell(path, json!({"type": "ADDED", "object": pod("c", "10.0.0.3", "n2")})).await;
    seen.until("a third pod", |groups| groups.contains_key("pod/shop/c")).await;
    fake.tell(path, json!({"type": "DELETED", "object": pod("a", "10.0.0.1", "n1")})).await;
    seen.until("one pod less", |groups| !groups.contains_key("pod/shop/a")).await;

    // The version is too old: what happened meanwhile comes from a new list.
    fake.set(path, vec![pod("d", "10.0.0.4", "n1")]);
    fake.state.lock().expired = true;
    fake.tell(path, json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}})).await;
    seen.until("the new list", |groups| groups.keys().eq(["pod/shop/d"])).await;
    let asked = fake.state.lock().asked.clone();
    assert!(asked.iter().all(|asked| asked.contains("labelSelector=app%3Dweb")), "{asked:?}");
    assert!(asked.iter().any(|asked| asked.contains("continue=p1")), "{asked:?}");
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
}

#[tokio::test]
async fn endpoints_carry_service_pod_and_node() {
    let (fake, url) = Fake::start().await;
    fake.set("/api/v1/pods", vec![pod("a", "10.0.0.1", "n1")]);
    fake.set(
        "/api/v1/services",
        vec![json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"tier": "front"}}})],
    );
    fake.set("/api/v1/nodes", vec![json!({"metadata": {"name": "n1", "labels": {"zone": "z1"}}})]);
    fake.set(
        "/api/v1/endpoints",
        vec![json!({"metadata": {"name": "web", "namespace": "shop"}, "subsets": [{
            "addresses": [{"ip": "10.0.0.1", "nodeName": "n1", "targetRef": {"kind": "Pod", "namespace": "shop", "name": "a"}}],
            "notReadyAddresses": [{"ip": "10.0.0.9", "hostname": "h9"}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}]})],
    );
    let mut seen = Seen::start(&url, json!({"role": "endpoints", "attach_metadata": {"node": true}}));
    seen.until("the endpoints", |groups| groups.len() == 1).await;
    let group = &seen.groups["endpoints/shop/web"];
    check(
        &group.labels,
        &[
            ("namespace", "shop"),
            ("endpoints_name", "web"),
            ("service_name", "web"),
            ("service_label_tier", "front"),
        ],
    );
    let addresses: Vec<&str> = group.targets.iter().map(|target| target["__address__"].as_str()).collect();
    assert_eq!(addresses, ["10.0.0.1:8080", "10.0.0.9:8080", "10.0.0.1:9090"]);
    check(
        &group.targets[0],
        &[
            ("endpoint_ready", "true"),
            ("endpoint_port_name", "http"),
            ("endpoint_port_protocol", "TCP"),
            ("endpoint_node_name", "n1"),
            ("endpoint_address_target_kind", "Pod"),
            ("endpoint_address_target_name", "a"),
            ("pod_name", "a"),
            ("pod_container_name", "main"),
            ("pod_container_port_number", "8080"),
            ("node_name", "n1"),
            ("node_label_zone", "z1"),
        ],
    );
    check(&group.targets[1], &[("endpoint_ready", "false"), ("endpoint_hostname", "h9")]);
    check(&group.targets[2], &[("pod_container_port_name", "metrics"), ("node_label_zone", "z1")]);
    // A change of the service, the pod and the node reaches the endpoints.
    let service = json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"tier": "back"}}});
    fake.tell("/api/v1/services", json!({"type": "MODIFIED", "object": service})).await;
    seen.until("the service's label", |groups| {
        groups["endpoints/shop/web"].labels["__meta_kubernetes_service_label_tier"] == "back"
    })
    .await;
    let node = json!({"metadata": {"name": "n1", "labels": {"zone": "z2"}}});
    fake.tell("/api/v1/nodes", json!({"type": "MODIFIED", "object": node})).await;
    seen.until("the node's label", |groups| {
        groups["endpoints/shop/web"].targets[0]["__meta_kubernetes_node_label_zone"] == "z2"
    })
    .await;
    fake.tell("/api/v1/pods", json!({"type": "DELETED", "object": pod("a", "10.0.0.1", "n1")})).await;
    seen.until("the pod's end", |groups| groups["endpoints/shop/web"].targets.len() == 2).await;
}

fn built(role: Kind, object: Value, more: Vec<(Kind, Value)>) -> Group {
    let (mut store, mut touched) = (Store::default(), Touched::default());
    let object = role.read(object).unwrap();
    let key = object.key();
    store.set(object, &mut touched);
    for (kind, value) in more {
        store.set(kind.read(value).unwrap(), &mut touched);
    }
    roles::group(role, &key, &store, Attach { node: true, namespace: true })
}

#[test]
fn slices() {
    let slice = json!({"metadata": {"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"], "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "n1", "zone": "z1", "targetRef": {"kind": "Pod", "namespace": "shop", "name": "a"},
            "deprecatedTopology": {"kubernetes.io/hostname": "n1"}}],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "h2c"}]});
    let service = json!({"metadata": {"name": "web", "namespace": "shop", "annotations": {"a/b": "c"}}});
    let namespace = json!({"metadata": {"name": "shop", "labels": {"team": "t"}}});
    let group = built(
        Kind::EndpointSlice,
        slice,
        vec![(Kind::Service, service), (Kind::Pod, pod("a", "fd00::1", "n1")), (Kind::Namespace, namespace)],
    );
    assert_eq!(group.source, "endpointslice/shop/web-x");
    check(
        &group.labels,
        &[
            ("endpointslice_name", "web-x"),
            ("endpointslice_address_type", "IPv6"),
            ("service_annotation_a_b", "c"),
            ("namespace_label_team", "t"),
        ],
    );
    check(
        &group.targets[0],
        &[
            ("__address__", "[fd00::1]:8080"),
            ("endpointslice_port", "8080"),
            ("endpointslice_port_name", "http"),
            ("endpointslice_port_app_protocol", "h2c"),
            ("endpointslice_endpoint_conditions_ready", "true"),
            ("endpointslice_endpoint_conditions_terminating", "false"),
            ("endpointslice_endpoint_node_name", "n1"),
            ("endpointslice_endpoint_zone", "z1"),
            ("endpointslice_address_target_kind", "Pod"),
            ("endpointslice_endpoint_topology_kubernetes_io_hostname", "n1"),
            ("endpointslice_endpoint_topology_present_kubernetes_io_hostname", "true"),
            ("pod_name", "a"),
        ],
    );
    assert_eq!(group.targets[1]["__address__"], "[fd00::1]:9090");
}

#[test]
fn nodes_services_and_ingresses() {
    let node = json!({"metadata": {"name": "n1", "annotations": {"x": "y"}}, "spec": {"providerID": "aws:///i-1"},
        "status": {"addresses": [{"type": "Hostname", "address": "n1.local"}, {"type": "InternalIP", "address": "10.1.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}});
    let group = built(Kind::Node, node, vec![]);
    check(
        &group.labels,
        &[("node_name", "n1"), ("node_provider_id", "aws:///i-1"), ("node_annotation_x", "y")],
    );
    check(
        &group.targets[0],
        &[
            ("__address__", "10.1.0.1:10250"),
            ("node_address_InternalIP", "10.1.0.1"),
            ("node_address_Hostname", "n1.local"),
        ],
    );
    assert_eq!(group.targets[0]["instance"], "n1");

    let service = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"type": "LoadBalancer", "clusterIP": "10.9.0.1",
        "loadBalancerIP": "203.0.113.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}});
    let group = built(Kind::Service, service, vec![]);
    assert_eq!(group.source, "svc/shop/web");
    check(
        &group.targets[0],
        &[
            ("__address__", "web.shop.svc:80"),
            ("service_port_name", "http"),
            ("service_port_number", "80"),
            ("service_type", "LoadBalancer"),
            ("service_cluster_ip", "10.9.0.1"),
            ("service_loadbalancer_ip", "203.0.113.1"),
            ("service_port_protocol", "TCP"),
        ],
    );

    let ingress = json!({"metadata": {"name": "i", "namespace": "shop"}, "spec": {"ingressClassName": "nginx",
        "tls": [{"hosts": ["*.example.com"]}],
        "rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/x"}, {}]}}, {"host": "b.example.org"}]}});
    let group = built(Kind::Ingress, ingress, vec![]);
    check(&group.labels, &[("ingress_class_name", "nginx"), ("ingress_name", "i")]);
    check(
        &group.targets[0],
        &[
            ("__address__", "a.example.com"),
            ("ingress_scheme", "https"),
            ("ingress_path", "/x"),
            ("ingress_host", "a.example.com"),
        ],
    );
    check(&group.targets[1], &[("ingress_path", "/")]);
    check(
        &group.targets[2],
        &[("__address__", "b.example.org"), ("ingress_scheme", "http"), ("ingress_path", "/")],
    );
}

#[tokio::test]
async fn a_server_that_refuses_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).await.is_ok() {
                let body = r#"{"kind":"Status","message":"pods is forbidden"}"#;
                let text = format!(
                    "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        }
    });
    let mut seen = Seen::start(&url, json!({"role": "pod"}));
    let Event::Failed { reason, .. } = seen.rx.recv().await.unwrap() else { panic!("no failure") };
    assert!(reason.contains("403") && reason.contains("pods is forbidden"), "{reason}");
}
