//! A storm: many alerts at once become one digest. The big one is ignored by default; it prints its figures.

use std::sync::Arc;
use std::time::Instant;

use alerts::api::{self, AlertQuery};
use alerts::{Config, Dispatcher, History, Metrics, Parts, Settings};
use model::time::SystemClock;
use model::{Alert, Clock, Labels, Timestamp};

use crate::sink::HttpSink;

fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn alert(n: i64, now: Timestamp) -> Alert {
    let labels = Labels::from_pairs([
        ("alertname".to_owned(), "Storm".to_owned()),
        ("instance".to_owned(), format!("host-{n}:9100")),
        ("datacenter".to_owned(), format!("dc{}", n % 10)),
        ("severity".to_owned(), "critical".to_owned()),
    ]);
    Alert {
        labels,
        annotations: Labels::from_pairs([("summary", "The host does not answer.")]),
        starts_at: now,
        ends_at: Timestamp(now.ms() + 600_000),
        updated_at: now,
        generator_url: String::new(),
    }
}

/// Every receiver gets one notification that says how many there are and lists a bounded part: the firing ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_one_digest() {
    let sink = HttpSink::start(vec![]).await;
    let base = sink.url.trim_end_matches("/hook");
    let yaml = format!(
        "route: {{receiver: r, group_by: [alertname], group_wait: 1s, group_interval: 1m}}\nreceivers:\n- name: r\n  webhook_configs: [{{url: '{base}/all'}}, {{url: '{base}/few', max_alerts: 10}}]\n  slack_configs: [{{api_url: '{base}/slack', channel: c}}]\n  telegram_configs: [{{api_url: '{base}', bot_token: t, chat_id: 1}}]\n  pagerduty_configs: [{{url: '{base}/pagerduty', routing_key: k}}]\n  ntfy_configs: [{{url: '{base}/ntfy', topic: t}}]\n"
    );
    *sink.reply.lock().unwrap() = r#"{"ok":true}"#.into();
    let parts = Parts {
        settings: Settings::default(),
        config: Config::load(&yaml).unwrap(),
        state: Arc::new(testkit::MemoryState::default()),
        journal: None,
        history: None,
        clock: Arc::new(SystemClock),
        metrics: Metrics::unregistered(),
        seed: 1,
    };
    let am = Dispatcher::start(parts).await.unwrap();
    let now = SystemClock.now();
    let mut alerts: Vec<_> = (0..3000).map(|n| (alert(n, now), false)).collect();
    for n in 0..100 {
        let resolved = Alert { ends_at: now, ..alert(90_000 + n, now) };
        alerts.push((resolved, false));
    }
    am.receive(alerts).await;
    let mut told = std::collections::BTreeMap::new();
    for _ in 0..6 {
        let body = sink.next().await;
        told.insert(body.path.clone(), body);
    }
    let all = &told["/all"].json;
    let listed = all["alerts"].as_array().unwrap();
    assert_eq!((listed.len(), &all["truncatedAlerts"]), (500, &serde_json::json!(2600)));
    assert!(listed.iter().all(|alert| alert["status"] == "firing"));
    // What all share is what all share, not what the listed ones do.
    assert_eq!(all["commonLabels"], serde_json::json!({ "alertname": "Storm", "severity": "critical" }));
    let few = &told["/few"].json;
    assert_eq!(
        (few["alerts"].as_array().unwrap().len(), &few["truncatedAlerts"]),
        (10, &serde_json::json!(3090))
    );
    let title = told["/slack"].json["attachments"][0]["title"].as_str().unwrap().to_owned();
    assert!(title.starts_with("[FIRING:3000] Storm"), "{title}");
    let telegram = told["/bott/sendMessage"].json["text"].as_str().unwrap().to_owned();
    assert!(telegram.starts_with("3100 alerts, of which 2600 are not listed here."), "{telegram}");
    let details = &told["/pagerduty"].json["payload"]["custom_details"];
    assert_eq!((&details["num_firing"], &details["num_resolved"]), (&"3000".into(), &"100".into()));
    assert!(
        told["/ntfy"].json["message"].as_str().unwrap().starts_with("3100 alerts"),
        "{}",
        told["/ntfy"].text
    );
    for body in told.values() {
        assert!(body.text.len() < 600_000, "{}: {} bytes", body.path, body.text.len());
    }
    am.stop(std::time::Duration::from_secs(1)).await;
    assert_eq!(sink.count(), 6, "nobody is told twice");
}

/// How long do 100,000 alerts of one storm take to be held and stored, and to be asked for; how much memory? One group, one
/// notification. The figures of a debug build are several times those of a release build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute; run it for its figures"]
async fn a_hundred_thousand_alerts() {
    let sink = HttpSink::start(vec![]).await;
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "route: {{receiver: r, group_by: [alertname], group_wait: 1s, group_interval: 1m}}\nreceivers: [{{name: r, webhook_configs: [{{url: '{}'}}]}}]\n",
        sink.url
    );
    let state = state::Store::open(
        folder.path().join("state.db"),
        state::Config::default(),
        state::Metrics::unregistered(),
    );
    let settings = Settings::default();
    let history =
        History::open(&folder.path().join("history.db"), &settings.history, Metrics::unregistered()).unwrap();
    let parts = Parts {
        settings,
        config: Config::load(&yaml).unwrap(),
        state: Arc::new(state.unwrap()),
        journal: None,
        history: Some(Arc::new(history)),
        clock: Arc::new(SystemClock),
        metrics: Metrics::unregistered(),
        seed: 1,
    };
    let am = Dispatcher::start(parts).await.unwrap();
    let (before, now) = (rss_mb(), SystemClock.now());
    let started = Instant::now();
    for batch in 0..100 {
        am.receive((0..1000).map(|n| (alert(batch * 1000 + n, now), false)).collect()).await;
    }
    println!("held and stored after {:?}, {} MB more", started.elapsed(), rss_mb() - before);
    let first = sink.next().await;
    assert_eq!(first.json["truncatedAlerts"], 99_500);
    println!("told after {:?}: {} truncated", started.elapsed(), first.json["truncatedAlerts"]);
    let asked = Instant::now();
    let filter = vec!["instance=host-5:9100".to_owned()];
    assert_eq!(api::alerts(&am, &AlertQuery { filter, ..AlertQuery::default() }).unwrap().len(), 1);
    println!("one of them asked for in {:?}", asked.elapsed());
    let asked = Instant::now();
    let all = api::alerts(&am, &AlertQuery::default()).unwrap();
    let text = serde_json::to_vec(&all).unwrap();
    println!("all of them ({} bytes) in {:?}, {} MB more", text.len(), asked.elapsed(), rss_mb() - before);
    assert_eq!(all.len(), 100_000);
    am.stop(std::time::Duration::from_secs(1)).await;
}
