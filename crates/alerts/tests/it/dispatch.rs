//! The dispatcher from end to end: real HTTP and SMTP servers in the test, a store that fails, a crash.

use std::sync::Arc;
use std::time::Duration;

use alerts::api::{self, AlertQuery, PostableAlert, PostableSilence};
use alerts::history::{History, Query};
use alerts::{Config, Dispatcher, Metrics, Parts, Settings};
use model::Labels;
use model::time::SystemClock;
use testkit::MemoryState;

use crate::sink::{HttpSink, SmtpSink};

fn config(url: &str, extra: &str) -> Config {
    let yaml = format!(
        "route:\n  receiver: hook\n  group_by: [alertname]\n  group_wait: 100ms\n  group_interval: 300ms\n  repeat_interval: 1h\nreceivers:\n  - name: hook\n    webhook_configs:\n      - url: {url}\n{extra}"
    );
    Config::load(&yaml).unwrap()
}

async fn start(config: Config, state: Arc<MemoryState>, history: Option<Arc<History>>) -> Dispatcher {
    let parts = Parts {
        settings: Settings { external_url: "http://bw.example".into(), ..Settings::default() },
        config,
        state,
        journal: None,
        history,
        clock: Arc::new(SystemClock),
        metrics: Metrics::unregistered(),
        seed: 7,
    };
    Dispatcher::start(parts).await.unwrap()
}

fn alert(name: &str, instance: &str, resolved: bool) -> PostableAlert {
    let now = jiff::Timestamp::now();
    let ends = if resolved { now } else { now + jiff::SignedDuration::from_secs(600) };
    let json = serde_json::json!({
        "labels": { "alertname": name, "instance": instance }, "annotations": { "summary": "it <broke>" },
        "startsAt": (now - jiff::SignedDuration::from_millis(50)).to_string(), "endsAt": ends.to_string(),
        "generatorURL": "http://prom.example/graph",
    });
    serde_json::from_value(json).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_told_once_when_it_grows_and_when_it_ends() {
    let sink = HttpSink::start(vec![]).await;
    let folder = tempfile::tempdir().unwrap();
    let history = History::open(
        &folder.path().join("history.db"),
        &Settings::default().history,
        Metrics::unregistered(),
    )
    .unwrap();
    let history = Arc::new(history);
    let am = start(config(&sink.url, ""), Arc::default(), Some(history.clone())).await;
    api::post_alerts(&am, vec![alert("Down", "a", false), alert("Down", "b", false)]).await.unwrap();
    let first = sink.next().await;
    assert_eq!(first.json["status"], "firing");
    assert_eq!(first.json["version"], "4");
    assert_eq!(first.json["groupKey"], r#"{}:{alertname="Down"}"#);
    assert_eq!(first.json["alerts"].as_array().unwrap().len(), 2);
    assert_eq!(first.json["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    assert!(first.text.contains(r"it \u003cbroke\u003e") && first.text.ends_with('\n'));
    let keys: Vec<&String> = first.json.as_object().unwrap().keys().collect();
    let wanted = [
        "receiver",
        "status",
        "alerts",
        "notification_reason",
        "groupLabels",
        "commonLabels",
        "commonAnnotations",
        "externalURL",
        "version",
        "groupKey",
        "truncatedAlerts",
    ];
    assert_eq!(keys, wanted);

    // Nothing changes: nothing is sent. One resolves, then the other.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(sink.count(), 1);
    api::post_alerts(&am, vec![alert("Down", "a", true)]).await.unwrap();
    let second = sink.next().await;
    let states: Vec<&str> =
        second.json["alerts"].as_array().unwrap().iter().map(|a| a["status"].as_str().unwrap()).collect();
    assert_eq!((second.json["status"].as_str(), states), (Some("firing"), vec!["resolved", "firing"]));
    api::post_alerts(&am, vec![alert("Down", "b", true)]).await.unwrap();
    let third = sink.next().await;
    assert_eq!(third.json["status"], "resolved");
    assert_eq!(third.json["alerts"].as_array().unwrap().len(), 1);

    // The last event is noted after the sink has the body.
    am.stop(Duration::from_secs(1)).await;
    history.flush();
    let told = history.query(&Query { kind: "delivered".into(), ..Query::default() }).unwrap();
    assert_eq!(told.len(), 3);
    assert_eq!(told[2].detail["reason"], "first_notification");
    assert_eq!(told[1].detail["code"], 200);
    let fired = history.noisiest(model::Timestamp::MIN, model::Timestamp::MAX, 10).unwrap();
    assert_eq!((fired[0].alertname.as_str(), fired[0].fired), ("Down", 2));
    let fingerprint = alerts::explain::fingerprint(&told[0].fingerprint).unwrap();
    let explained = alerts::explain::explain(&am, &asked(fingerprint)).unwrap();
    assert!(
        explained.resolved == Some(true) && explained.events.iter().any(|event| event.kind == "delivered")
    );
    assert!(alerts::explain::explain(&am, &asked(1)).is_err());
}

fn asked(fingerprint: u64) -> alerts::explain::Asked {
    alerts::explain::Asked { fingerprint, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silences_keep_back_and_their_end_lets_through() {
    let sink = HttpSink::start(vec![]).await;
    let am = start(config(&sink.url, ""), Arc::default(), None).await;
    let now = jiff::Timestamp::now();
    let silence: PostableSilence = serde_json::from_value(serde_json::json!({
        "matchers": [{ "name": "instance", "value": "a|b", "isRegex": true }],
        "startsAt": now.to_string(), "endsAt": (now + jiff::SignedDuration::from_secs(60)).to_string(),
        "createdBy": "ops", "comment": "work",
    }))
    .unwrap();
    let id = api::post_silence(&am, silence).await.unwrap().silence_id;
    api::post_alerts(&am, vec![alert("Down", "a", false)]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(sink.count(), 0);
    let shown = api::alerts(&am, &AlertQuery::default()).unwrap();
    assert_eq!((shown[0].state(), &shown[0].mutes.silenced_by), ("suppressed", &vec![id.clone()]));
    assert!(api::alerts(&am, &AlertQuery { silenced: false, ..AlertQuery::default() }).unwrap().is_empty());
    let groups = api::groups(&am, &AlertQuery::default()).unwrap();
    assert_eq!((groups.len(), groups[0].receiver.name.as_str()), (1, "hook"));
    api::delete_silence(&am, &id).await.unwrap();
    assert_eq!(sink.next().await.json["status"], "firing");
    assert_eq!(api::silences(&am, &[]).unwrap()[0].status.state, alerts::silence::SilenceState::Expired);
    // As with Alertmanager 0.33, ending it again changes nothing.
    assert!(api::delete_silence(&am, &id).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_in_trouble_are_tried_again_and_refusals_are_not() {
    let sink = HttpSink::start(vec![503, 429, 200]).await;
    let am = start(config(&sink.url, "").with_group_interval("10s"), Arc::default(), None).await;
    api::post_alerts(&am, vec![alert("Down", "a", false)]).await.unwrap();
    let ids: Vec<String> = vec![sink.next().await.id, sink.next().await.id, sink.next().await.id];
    assert!(ids.iter().all(|id| *id == ids[0]), "every attempt has the same id");

    let refusing = HttpSink::start(vec![400]).await;
    let am = start(config(&refusing.url, ""), Arc::default(), None).await;
    api::post_alerts(&am, vec![alert("Down", "a", false)]).await.unwrap();
    refusing.next().await;
    // Not as a retry of the same notification, but with the next flush.
    let again = refusing.next().await;
    assert_eq!(again.json["status"], "firing");
    let tested = am.send_test("hook", Labels::from_pairs([("alertname", "Test")])).await.unwrap();
    assert_eq!(tested[0].1.as_ref().unwrap().status, Some(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_down_does_not_silence_anybody() {
    let sink = HttpSink::start(vec![]).await;
    let state = Arc::new(MemoryState::default());
    let am = start(config(&sink.url, ""), state.clone(), None).await;
    state.set_down(true);
    api::post_alerts(&am, vec![alert("Down", "a", false)]).await.unwrap();
    assert_eq!(sink.next().await.json["status"], "firing");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(sink.count(), 1, "memory remembers what the store could not");
    assert!(am.metrics().state_failures.get() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_repeats_only_what_was_on_its_way() {
    // 30 groups; at the crash some are told, some are on their way, some have not begun.
    let sink = HttpSink::start(vec![]).await;
    let state = Arc::new(MemoryState::default());
    let am = start(config(&sink.url, ""), state.clone(), None).await;
    let all: Vec<_> = (0..30).map(|n| alert(&format!("A{n}"), "x", false)).collect();
    api::post_alerts(&am, all).await.unwrap();
    for _ in 0..10 {
        sink.next().await;
    }
    // What a process killed now would leave behind.
    let left = Arc::new(state.snapshot());
    let sent_before = sink.bodies();
    let told_before: Vec<String> = sent_before.iter().map(|body| body.id.clone()).collect();
    am.stop(Duration::from_secs(5)).await;
    let other = HttpSink::start(vec![]).await;
    let am = start(config(&other.url, ""), left, None).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let after = other.bodies();
    for n in 0..30 {
        let name = format!("A{n}");
        let times =
            after.iter().filter(|body| body.json["groupLabels"]["alertname"] == name.as_str()).count();
        let before = sink
            .bodies()
            .iter()
            .filter(|body| body.json["groupLabels"]["alertname"] == name.as_str())
            .count();
        assert!(times + before >= 1, "{name} is lost");
        assert!(times <= 1, "{name} is repeated {times} times");
    }
    assert!(after.iter().all(|body| body.json["status"] == "firing"), "a crash resolves nothing");
    // Repeats keep their ids, so that a receiver can drop them.
    let repeated = after.iter().filter(|body| told_before.contains(&body.id)).count();
    assert!(after.len() <= 30 - 10 + repeated + 10, "{} sent, {repeated} repeated", after.len());
    drop(am);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_arrives_with_text_and_html() {
    let sink = SmtpSink::start(vec![]).await;
    let yaml = format!(
        "global: {{smtp_smarthost: '{}', smtp_from: 'Bell <bw@example.org>', smtp_require_tls: false}}\nroute: {{receiver: mail, group_by: [alertname], group_wait: 50ms, group_interval: 10s}}\nreceivers:\n- name: mail\n  email_configs:\n  - to: 'a@example.org, Bee <b@example.org>'\n    auth_username: user\n    auth_password: pass\n    text: '{{{{ len .Alerts }}}} alert'\n    headers: {{x-team: '{{{{ .CommonLabels.instance }}}}'}}\n    threading: {{enabled: true, thread_by_date: none}}\n",
        sink.address
    );
    let am = start(Config::load(&yaml).unwrap(), Arc::default(), None).await;
    api::post_alerts(&am, vec![alert("Down", "a", false)]).await.unwrap();
    let mail = sink.next().await;
    assert_eq!(mail.from, "bw@example.org");
    assert_eq!(mail.to, ["a@example.org", "b@example.org"]);
    assert_eq!(mail.auth, "\0user\0pass");
    for part in [
        "Subject: [FIRING:1] Down",
        "X-Team: a",
        "In-Reply-To: <alert-",
        "From: Bell <bw@example.org>",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "1 alert",
        "Message-ID: <",
    ] {
        assert!(mail.data.contains(part), "{part:?} is missing in\n{}", mail.data);
    }
    assert!(!mail.data.contains("<broke>"), "values are escaped in HTML");

    // 451 is tried again, 550 is not.
    let sink = SmtpSink::start(vec![451, 250]).await;
    let am = start(
        Config::load(&yaml.replace(&yaml_address(&yaml), &sink.address)).unwrap(),
        Arc::default(),
        None,
    )
    .await;
    api::post_alerts(&am, vec![alert("Down", "a", false)]).await.unwrap();
    sink.next().await;
    sink.next().await;
    let sink = SmtpSink::start(vec![550]).await;
    let am2 = start(
        Config::load(&yaml.replace(&yaml_address(&yaml), &sink.address)).unwrap(),
        Arc::default(),
        None,
    )
    .await;
    let tested = am2.send_test("mail", Labels::from_pairs([("alertname", "T")])).await.unwrap();
    let failure = tested[0].1.as_ref().unwrap_err();
    assert!(!failure.retry && failure.message.contains("550"), "{failure:?}");
    drop((am, am2));
}

fn yaml_address(yaml: &str) -> String {
    yaml.split('\'').nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_takes_all_or_nothing() {
    let (one, two) = (HttpSink::start(vec![]).await, HttpSink::start(vec![]).await);
    let am = start(config(&one.url, ""), Arc::default(), None).await;
    api::post_alerts(&am, vec![alert("Down", "a", false)]).await.unwrap();
    one.next().await;
    assert!(am.reload(config(&two.url, "").with_bad_template()).is_err());
    am.reload(config(&two.url, "")).unwrap();
    // The group's key is the same, so the log knows that it was told; a new alert is news.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(two.count(), 0);
    api::post_alerts(&am, vec![alert("Down", "b", false)]).await.unwrap();
    assert_eq!(two.next().await.json["alerts"].as_array().unwrap().len(), 2);
    let status = api::status(&am, am.now());
    assert!(!status.config.original.contains(&two.url) && status.config.original.contains("<secret>"));
}

trait Edited {
    fn with_group_interval(self, interval: &str) -> Config;
    fn with_bad_template(self) -> Config;
}

impl Edited for Config {
    fn with_group_interval(mut self, interval: &str) -> Config {
        self.route.group_interval = Some(interval.parse().unwrap());
        self
    }
    fn with_bad_template(mut self) -> Config {
        self.templates.push("/nowhere/x.tmpl".into());
        self
    }
}
