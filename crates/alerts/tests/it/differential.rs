//! The same configuration and the same script of alerts for Alertmanager's own binary and for ours: each group's
//! notifications must be the same, in the same order. Not run without `BELLWETHER_PEER_ALERTMANAGER` (or
//! `prometheus-alertmanager` or `alertmanager` on the path).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alerts::api::{self, PostableAlert, PostableSilence};
use alerts::{Config, Dispatcher, Metrics, Parts, Settings};
use httpc::{Client, Options, Request};
use model::time::SystemClock;
use testkit::MemoryState;

use crate::sink::HttpSink;

fn peer() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("BELLWETHER_PEER_ALERTMANAGER") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["prometheus-alertmanager", "alertmanager"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

fn config(url: &str) -> String {
    format!(
        r#"
route:
  receiver: all
  group_by: [alertname]
  group_wait: 500ms
  group_interval: 2s
  repeat_interval: 5s
  routes:
    - matchers: [team="db"]
      receiver: db
      group_by: [alertname, dc]
      continue: true
    - matchers: [severity=~"warning|critical"]
      receiver: quiet
inhibit_rules:
  - source_matchers: [severity="critical"]
    target_matchers: [severity="warning"]
    equal: [dc]
receivers:
  - name: all
    webhook_configs: [{{url: '{url}'}}]
  - name: db
    webhook_configs: [{{url: '{url}'}}]
  - name: quiet
    webhook_configs: [{{url: '{url}', send_resolved: false}}]
"#
    )
}

/// An alert's labels, and whether it fires or resolves.
type Step = (&'static [(&'static str, &'static str)], bool);

/// After so many milliseconds these alerts are sent.
const SCRIPT: &[(u64, &[Step])] = &[
    (
        0,
        &[
            (&[("alertname", "A"), ("i", "1")], true),
            (&[("alertname", "A"), ("i", "2")], true),
            (&[("alertname", "D"), ("team", "db"), ("dc", "x"), ("severity", "critical")], true),
            (&[("alertname", "W"), ("dc", "x"), ("severity", "warning")], true),
            (&[("alertname", "W"), ("dc", "y"), ("severity", "warning")], true),
            (&[("alertname", "S"), ("i", "1")], true),
        ],
    ),
    (
        1200,
        &[
            (&[("alertname", "A"), ("i", "3")], true),
            (&[("alertname", "D"), ("team", "db"), ("dc", "y")], true),
        ],
    ),
    (
        3500,
        &[
            (&[("alertname", "A"), ("i", "1")], false),
            (&[("alertname", "W"), ("dc", "y"), ("severity", "warning")], false),
        ],
    ),
    (5800, &[(&[("alertname", "D"), ("team", "db"), ("dc", "x"), ("severity", "critical")], false)]),
    (8000, &[(&[("alertname", "A"), ("i", "2")], false), (&[("alertname", "A"), ("i", "3")], false)]),
];
const END_MS: u64 = 12_000;

fn alerts_of(step: &[Step]) -> serde_json::Value {
    let now = jiff::Timestamp::now();
    let one = |(labels, firing): &Step| {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let end = if *firing { now + jiff::SignedDuration::from_secs(600) } else { now };
        serde_json::json!({ "labels": labels, "annotations": { "summary": "s & t" }, "generatorURL": "http://g.example",
            "startsAt": (now - jiff::SignedDuration::from_millis(10)).to_string(), "endsAt": end.to_string() })
    };
    step.iter().map(one).collect()
}

fn silence() -> serde_json::Value {
    let now = jiff::Timestamp::now();
    serde_json::json!({
        "matchers": [{ "name": "alertname", "value": "S", "isRegex": false, "isEqual": true }],
        "startsAt": now.to_string(), "endsAt": (now + jiff::SignedDuration::from_millis(4700)).to_string(),
        "createdBy": "t", "comment": "c",
    })
}

/// Per receiver and group: what was said, in order.
fn said(sink: &HttpSink) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for body in sink.bodies() {
        let json = &body.json;
        let alerts: Vec<String> = json["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| {
                format!("{}{}", alert["status"].as_str().unwrap().get(..1).unwrap(), alert["labels"])
            })
            .collect();
        let key = format!("{} {}", json["receiver"].as_str().unwrap(), json["groupKey"].as_str().unwrap());
        all.entry(key).or_default().push(format!(
            "{}: {}",
            json["status"].as_str().unwrap(),
            alerts.join(" ")
        ));
    }
    all
}

/// A body with times and addresses taken out.
fn timeless(text: &str) -> String {
    let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
    json["externalURL"] = "".into();
    for alert in json["alerts"].as_array_mut().unwrap() {
        alert["startsAt"] = "".into();
        alert["endsAt"] = if alert["endsAt"] == "0001-01-01T00:00:00Z" { "zero".into() } else { "".into() };
    }
    json.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_notifications_as_alertmanager() {
    let Some(peer) = peer() else {
        println!("not run: no alertmanager binary on the path or in BELLWETHER_PEER_ALERTMANAGER");
        return;
    };
    let (theirs, ours) = (HttpSink::start(vec![]).await, HttpSink::start(vec![]).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("am.yml");
    std::fs::write(&file, config(&theirs.url)).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut process = tokio::process::Command::new(peer)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=")
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = Client::new(&httpc::Config::default(), Options::default()).unwrap();
    let base = format!("http://127.0.0.1:{port}");
    let mut ready = false;
    for _ in 0..100 {
        let probe = client.send(Request::get(&format!("{base}/-/ready")).unwrap()).await;
        if probe.is_ok_and(|answer| answer.status().is_success()) {
            ready = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(ready, "the peer did not start");
    let parts = Parts {
        settings: Settings::default(),
        config: Config::load(&config(&ours.url)).unwrap(),
        state: Arc::new(MemoryState::default()),
        journal: None,
        history: None,
        clock: Arc::new(SystemClock),
        metrics: Metrics::unregistered(),
        seed: 1,
    };
    let am = Dispatcher::start(parts).await.unwrap();
    let post = async |path: &str, json: &serde_json::Value| {
        let request = Request::post(&format!("{base}{path}"), "application/json", json.to_string()).unwrap();
        assert!(client.send(request).await.unwrap().status().is_success());
    };
    let quiet = silence();
    post("/api/v2/silences", &quiet).await;
    let posted: PostableSilence = serde_json::from_value(quiet).unwrap();
    api::post_silence(&am, posted).await.unwrap();
    let start = tokio::time::Instant::now();
    for (at, step) in SCRIPT {
        tokio::time::sleep_until(start + Duration::from_millis(*at)).await;
        let json = alerts_of(step);
        post("/api/v2/alerts", &json).await;
        let posted: Vec<PostableAlert> = serde_json::from_value(json).unwrap();
        api::post_alerts(&am, posted).await.unwrap();
    }
    tokio::time::sleep_until(start + Duration::from_millis(END_MS)).await;
    process.kill().await.unwrap();
    am.stop(Duration::from_secs(1)).await;
    let (wanted, got) = (said(&theirs), said(&ours));
    assert!(wanted.len() >= 5, "the peer said too little: {wanted:#?}");
    assert_eq!(got, wanted);
    // And the bodies are the same, byte for byte, but for times and this server's address.
    for body in theirs.bodies() {
        let body = timeless(&body.text);
        assert!(ours.bodies().iter().any(|own| timeless(&own.text) == body), "ours has no\n{body}");
    }
}
