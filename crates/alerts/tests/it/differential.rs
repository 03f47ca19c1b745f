//! The same configuration and the same script of alerts, silences, inhibitions and reloads for Alertmanager's own binary and
//! for ours: each group's notifications must be the same, in the same order, with the same alerts. Not run without
//! `alertmanager` or `prometheus-alertmanager` in `BELLWETHER_PEERS` or on the path.
//!
//! Groups flush at their wait and then every interval after it; what a script does lies between those moments, far from
//! them, so that neither side's scheduling decides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alerts::api::{self, PostableAlert, PostableSilence};
use alerts::{Config, Dispatcher, Metrics, Parts, Settings};
use httpc::{Client, Method, Options, Request};
use model::time::SystemClock;
use serde_json::{Value, json};
use testkit::MemoryState;

use crate::sink::HttpSink;

type Pairs = &'static [(&'static str, &'static str)];

/// What a script does.
#[derive(Clone, Copy)]
enum Do {
    /// The alert fires; its end is far away.
    Fire(Pairs),
    /// The alert fires, and whoever sends it does not say until when: it ends with the resolve timeout.
    FireUntold(Pairs),
    /// The alert has resolved.
    Resolve(Pairs),
    /// A silence under a name, for `name=value` or `name=~value`, from and until so many milliseconds from now.
    Silence(&'static str, Pairs, i64, i64),
    /// The silence ends now.
    Expire(&'static str),
    /// The silence gets another end, so many milliseconds from now.
    Extend(&'static str, i64),
    /// Another configuration.
    Reload(fn(&str) -> String),
}

/// After so many milliseconds these things.
type Script = &'static [(u64, &'static [Do])];

fn alert(labels: Pairs, ends_in_ms: Option<i64>) -> Value {
    let now = jiff::Timestamp::now();
    let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
    let mut alert = json!({ "labels": labels, "annotations": { "summary": "s & t" }, "generatorURL": "http://g.example",
        "startsAt": (now - jiff::SignedDuration::from_millis(10)).to_string() });
    if let Some(ms) = ends_in_ms {
        alert["endsAt"] = (now + jiff::SignedDuration::from_millis(ms)).to_string().into();
    }
    alert
}

fn silence(matchers: Pairs, from_ms: i64, until_ms: i64) -> Value {
    let at = |ms| (jiff::Timestamp::now() + jiff::SignedDuration::from_millis(ms)).to_string();
    let matchers: Vec<Value> = matchers
        .iter()
        .map(|(name, value)| {
            let (name, regex) = match name.strip_suffix('~') {
                Some(name) => (name, true),
                None => (*name, false),
            };
            json!({ "name": name, "value": value, "isRegex": regex, "isEqual": true })
        })
        .collect();
    json!({ "matchers": matchers, "startsAt": at(from_ms), "endsAt": at(until_ms), "createdBy": "t", "comment": "c" })
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
    let mut json: Value = serde_json::from_str(text).unwrap();
    json["externalURL"] = "".into();
    for alert in json["alerts"].as_array_mut().unwrap() {
        alert["startsAt"] = "".into();
        alert["endsAt"] = if alert["endsAt"] == "0001-01-01T00:00:00Z" { "zero".into() } else { "".into() };
    }
    json.to_string()
}

/// Alertmanager's process.
struct Theirs {
    _process: tokio::process::Child,
    client: Client,
    base: String,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Theirs {
    async fn start(config: &str) -> Option<Self> {
        let peer = testkit::peer::peer(&["alertmanager", "prometheus-alertmanager"])?;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("am.yml");
        std::fs::write(&file, config).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = tokio::process::Command::new(peer)
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
        for _ in 0..200 {
            let probe = client.send(Request::get(&format!("{base}/-/ready")).unwrap()).await;
            if probe.is_ok_and(|answer| answer.status().is_success()) {
                return Some(Self { _process: process, client, base, file, _folder: folder });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the peer did not start");
    }

    async fn send(&self, method: Method, path: &str, json: &Value) -> Value {
        let mut request =
            Request::post(&format!("{}{path}", self.base), "application/json", json.to_string()).unwrap();
        request.method = method;
        let answer = self.client.send(request).await.unwrap();
        let status = answer.status();
        let body = answer.bytes(1 << 20).await.unwrap();
        assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap_or_default()
    }
}

/// Plays a script to both, until `end_ms`, and compares what was said.
async fn compare(config: fn(&str) -> String, script: Script, end_ms: u64, groups: usize) {
    let (theirs, ours) = (HttpSink::start(vec![]).await, HttpSink::start(vec![]).await);
    let Some(peer) = Theirs::start(&config(&theirs.url)).await else { return };
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
    // Under each name: the silence as posted, its id there, its id here.
    let mut silences: BTreeMap<&str, (Value, String, String)> = BTreeMap::new();
    let start = tokio::time::Instant::now();
    for (at, things) in script {
        tokio::time::sleep_until(start + Duration::from_millis(*at)).await;
        let alerts: Vec<Value> = things
            .iter()
            .filter_map(|thing| match thing {
                Do::Fire(labels) => Some(alert(labels, Some(600_000))),
                Do::FireUntold(labels) => Some(alert(labels, None)),
                Do::Resolve(labels) => Some(alert(labels, Some(0))),
                _ => None,
            })
            .collect();
        for thing in *things {
            match *thing {
                Do::Silence(name, matchers, from, until) => {
                    let posted = silence(matchers, from, until);
                    let answer = peer.send(Method::POST, "/api/v2/silences", &posted).await;
                    let there = answer["silenceID"].as_str().unwrap().to_owned();
                    let own: PostableSilence = serde_json::from_value(posted.clone()).unwrap();
                    let here = api::post_silence(&am, own).await.unwrap().silence_id;
                    silences.insert(name, (posted, there, here));
                }
                Do::Expire(name) => {
                    let (_, there, here) = &silences[name];
                    peer.send(Method::DELETE, &format!("/api/v2/silence/{there}"), &Value::Null).await;
                    api::delete_silence(&am, here).await.unwrap();
                }
                Do::Extend(name, until) => {
                    let (posted, there, here) = &silences[name];
                    let mut posted = posted.clone();
                    posted["endsAt"] = silence(&[], 0, until)["endsAt"].clone();
                    posted["id"] = there.as_str().into();
                    let answer = peer.send(Method::POST, "/api/v2/silences", &posted).await;
                    posted["id"] = here.as_str().into();
                    let own: PostableSilence = serde_json::from_value(posted).unwrap();
                    let changed = api::post_silence(&am, own).await.unwrap().silence_id;
                    // Whether an edit keeps the id is part of what is compared.
                    assert_eq!(answer["silenceID"] == there.as_str(), changed == *here);
                }
                Do::Reload(config) => {
                    std::fs::write(&peer.file, config(&theirs.url)).unwrap();
                    peer.send(Method::POST, "/-/reload", &Value::Null).await;
                    am.reload(Config::load(&config(&ours.url)).unwrap()).unwrap();
                }
                Do::Fire(_) | Do::FireUntold(_) | Do::Resolve(_) => {}
            }
        }
        if !alerts.is_empty() {
            let json = Value::Array(alerts);
            peer.send(Method::POST, "/api/v2/alerts", &json).await;
            let posted: Vec<PostableAlert> = serde_json::from_value(json).unwrap();
            api::post_alerts(&am, posted).await.unwrap();
        }
    }
    tokio::time::sleep_until(start + Duration::from_millis(end_ms)).await;
    drop(peer);
    am.stop(Duration::from_secs(1)).await;
    let (wanted, got) = (said(&theirs), said(&ours));
    assert!(wanted.len() >= groups, "the peer said too little: {wanted:#?}");
    assert_eq!(got, wanted);
    // And the bodies are the same, byte for byte, but for times and this server's address.
    for body in theirs.bodies() {
        let body = timeless(&body.text);
        assert!(ours.bodies().iter().any(|own| timeless(&own.text) == body), "ours has no\n{body}");
    }
}

/// Routes that continue, groups by one and by two labels, inhibition, a silence that runs out, receivers that are not told
/// of the end, repetition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_inhibition_and_repetition() {
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
    const CRITICAL: Pairs = &[("alertname", "D"), ("team", "db"), ("dc", "x"), ("severity", "critical")];
    const WARNING: Pairs = &[("alertname", "W"), ("dc", "y"), ("severity", "warning")];
    const SCRIPT: Script = &[
        (
            0,
            &[
                Do::Silence("S", &[("alertname", "S")], 0, 4700),
                Do::Fire(&[("alertname", "A"), ("i", "1")]),
                Do::Fire(&[("alertname", "A"), ("i", "2")]),
                Do::Fire(CRITICAL),
                Do::Fire(&[("alertname", "W"), ("dc", "x"), ("severity", "warning")]),
                Do::Fire(WARNING),
                Do::Fire(&[("alertname", "S"), ("i", "1")]),
            ],
        ),
        (
            1200,
            &[
                Do::Fire(&[("alertname", "A"), ("i", "3")]),
                Do::Fire(&[("alertname", "D"), ("team", "db"), ("dc", "y")]),
            ],
        ),
        (3500, &[Do::Resolve(&[("alertname", "A"), ("i", "1")]), Do::Resolve(WARNING)]),
        // What it inhibited is told from here on.
        (5800, &[Do::Resolve(CRITICAL)]),
        (
            8000,
            &[Do::Resolve(&[("alertname", "A"), ("i", "2")]), Do::Resolve(&[("alertname", "A"), ("i", "3")])],
        ),
    ];
    compare(config, SCRIPT, 12_000, 5).await;
}

/// Groups by all labels and by none, routes in routes, muting and active hours, alerts without an end, a limit of alerts, an
/// alert that comes back before anybody heard of its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_routes_hours_and_alerts_without_an_end() {
    fn config(url: &str) -> String {
        format!(
            r#"
global:
  resolve_timeout: 3s
time_intervals:
  - name: always
    time_intervals: [{{years: ['2000:2200']}}]
  - name: never
    time_intervals: [{{years: ['2000:2001']}}]
route:
  receiver: all
  group_wait: 500ms
  group_interval: 2s
  repeat_interval: 1h
  routes:
    - matchers: [team=~"web|api", env!="test"]
      receiver: web
      group_by: ['...']
      routes:
        - matchers: [tier="front"]
          receiver: front
          group_by: [tier]
        - matchers: [tier!~"front|back", night="yes"]
          receiver: web
          mute_time_intervals: [always]
    - matchers: [hours="on"]
      receiver: on
      active_time_intervals: [always]
      mute_time_intervals: [never]
      continue: true
    - matchers: [hours=~"on|off"]
      receiver: off
      active_time_intervals: [never]
    - matchers: [many="yes"]
      receiver: few
      group_by: [many]
receivers:
  - name: all
    webhook_configs: [{{url: '{url}'}}, {{url: '{url}', send_resolved: false}}]
  - name: web
    webhook_configs: [{{url: '{url}'}}]
  - name: front
    webhook_configs: [{{url: '{url}'}}]
  - name: on
    webhook_configs: [{{url: '{url}'}}]
  - name: off
    webhook_configs: [{{url: '{url}'}}]
  - name: few
    webhook_configs: [{{url: '{url}', max_alerts: 2}}]
"#
        )
    }
    const SHORT: Pairs = &[("alertname", "Short")];
    const BACK: Pairs = &[("alertname", "Back"), ("team", "api"), ("tier", "back")];
    const SCRIPT: Script = &[
        (
            0,
            &[
                Do::FireUntold(SHORT),
                Do::Fire(&[("alertname", "Web"), ("team", "web"), ("i", "1")]),
                Do::Fire(&[("alertname", "Web"), ("team", "web"), ("i", "2")]),
                Do::Fire(&[("alertname", "Web"), ("team", "web"), ("env", "test")]),
                Do::Fire(&[("alertname", "Front"), ("team", "web"), ("tier", "front"), ("i", "1")]),
                Do::Fire(&[("alertname", "Night"), ("team", "web"), ("night", "yes")]),
                Do::Fire(&[("alertname", "On"), ("hours", "on")]),
                Do::Fire(&[("alertname", "Off"), ("hours", "off")]),
                Do::Fire(BACK),
                Do::Fire(&[("alertname", "Many"), ("many", "yes"), ("i", "1")]),
                Do::Fire(&[("alertname", "Many"), ("many", "yes"), ("i", "2")]),
                Do::Fire(&[("alertname", "Many"), ("many", "yes"), ("i", "3")]),
            ],
        ),
        // It ends and fires again between two flushes.
        (1300, &[Do::Resolve(BACK)]),
        (
            1700,
            &[
                Do::Fire(BACK),
                Do::Fire(&[("alertname", "Front"), ("team", "api"), ("tier", "front"), ("i", "2")]),
            ],
        ),
        (
            3300,
            &[
                Do::Resolve(&[("alertname", "Web"), ("team", "web"), ("i", "1")]),
                Do::Resolve(&[("alertname", "Many"), ("many", "yes"), ("i", "3")]),
            ],
        ),
        (5500, &[Do::Resolve(BACK), Do::Resolve(&[("alertname", "On"), ("hours", "on")])]),
    ];
    compare(config, SCRIPT, 9600, 7).await;
}

/// Silences that begin later, end early, are extended, match by pattern; sources of inhibition that come late and without the
/// labels that must be equal; a reload that renames receivers, changes groups and keeps what was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silences_inhibitions_and_reloads() {
    fn config(url: &str) -> String {
        format!(
            r#"
route:
  receiver: all
  group_by: [alertname]
  group_wait: 500ms
  group_interval: 2s
  repeat_interval: 1h
  routes:
    - matchers: [moves="yes"]
      receiver: first
inhibit_rules:
  - source_matchers: [role="cause"]
    target_matchers: [role="effect"]
    equal: [dc, rack]
  - source_matchers: [alertname="Both"]
    target_matchers: [alertname="Both"]
receivers:
  - name: all
    webhook_configs: [{{url: '{url}'}}]
  - name: first
    webhook_configs: [{{url: '{url}'}}]
"#
        )
    }
    fn reloaded(url: &str) -> String {
        config(url)
            .replace("receiver: first", "receiver: second\n      group_by: [dc]")
            .replace("name: first", "name: second")
    }
    const CAUSE: Pairs = &[("alertname", "Cause"), ("role", "cause"), ("dc", "x")];
    const EFFECT: Pairs = &[("alertname", "Effect"), ("role", "effect"), ("dc", "x")];
    const MOVES: Pairs = &[("alertname", "Moves"), ("moves", "yes"), ("dc", "x")];
    const SCRIPT: Script = &[
        (
            0,
            &[
                Do::Silence("pattern", &[("alertname~", "Quiet.*"), ("i", "1")], 0, 600_000),
                Do::Silence("later", &[("alertname", "Later")], 1300, 600_000),
                Do::Silence("short", &[("alertname", "Short")], 0, 1200),
                Do::Fire(&[("alertname", "QuietDisk"), ("i", "1")]),
                Do::Fire(&[("alertname", "QuietDisk"), ("i", "2")]),
                Do::Fire(&[("alertname", "Later"), ("i", "1")]),
                Do::Fire(&[("alertname", "Short")]),
                Do::Fire(&[("alertname", "Both"), ("i", "1")]),
                Do::Fire(&[("alertname", "Both"), ("i", "2")]),
                Do::Fire(EFFECT),
                Do::Fire(&[("alertname", "Effect"), ("role", "effect"), ("dc", "x"), ("rack", "1")]),
                Do::Fire(MOVES),
                Do::Fire(&[("alertname", "Stays")]),
            ],
        ),
        // The silence without which it would have been told at its first interval is made longer.
        (900, &[Do::Extend("short", 4000)]),
        // Too late for the first notification of what it explains, in time for the news.
        (
            1400,
            &[
                Do::Fire(CAUSE),
                Do::Fire(&[("alertname", "Later"), ("i", "2")]),
                Do::Fire(&[("alertname", "Effect"), ("role", "effect"), ("dc", "x"), ("i", "2")]),
            ],
        ),
        (3400, &[Do::Expire("pattern"), Do::Resolve(CAUSE)]),
        (5500, &[Do::Reload(reloaded)]),
        (
            7000,
            &[
                Do::Fire(&[("alertname", "Moves"), ("moves", "yes"), ("dc", "y")]),
                Do::Resolve(&[("alertname", "Stays")]),
                Do::Expire("later"),
            ],
        ),
        (9100, &[Do::Resolve(MOVES)]),
    ];
    compare(config, SCRIPT, 13_000, 7).await;
}
