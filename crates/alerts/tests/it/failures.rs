//! Services in trouble: too many requests, errors, refusals, no answer; with every kind of receiver that speaks HTTP.

use std::sync::Arc;
use std::time::Duration;

use alerts::history::{History, Query};
use alerts::{Config, Dispatcher, Metrics, Parts, Settings, api};
use model::time::SystemClock;
use testkit::MemoryState;

use crate::services::{CASES, attempt};
use crate::sink::{HANG, HttpSink};

/// Two further services whose requests are more than one.
const MORE: [&str; 2] = [
    "wechat_configs: [{api_url: 'URL/', api_secret: s, corp_id: c, agent_id: '7'}]",
    "jira_configs: [{api_url: 'URL/rest/api/2', project: P, issue_type: Bug}]",
];

fn sections() -> impl Iterator<Item = &'static str> {
    let webhook = "webhook_configs: [{url: 'URL/hook'}]";
    CASES.iter().map(|case| case.0).chain(MORE).chain([webhook])
}

#[tokio::test]
async fn what_may_pass_is_tried_again_when_the_service_says_and_what_will_not_is_not() {
    for section in sections() {
        for (status, retry, after) in [
            (429, true, Some(Duration::from_secs(7))),
            (500, true, Some(Duration::from_secs(7))),
            (503, true, Some(Duration::from_secs(7))),
            (400, false, None),
            (401, false, None),
            (403, false, None),
            (404, false, None),
        ] {
            let sink = HttpSink::start(vec![status; 8]).await;
            "Retry-After: 7\r\n".clone_into(&mut sink.headers.lock().unwrap());
            let failure = attempt(section, &sink).await.expect_err(section);
            assert_eq!(
                (failure.status, failure.retry, failure.after),
                (Some(status), retry, after),
                "{section}: {}",
                failure.message
            );
            assert_eq!(sink.count(), 1, "{section}: one attempt is one request");
        }
        // Nobody listens.
        let sink = HttpSink::start(vec![]).await;
        let nowhere = section.replace("URL", "http://127.0.0.1:1");
        let failure = attempt(&nowhere, &sink).await.expect_err(section);
        assert!(failure.retry && failure.status.is_none(), "{section}: {}", failure.message);
    }
}

async fn start(yaml: &str, history: &Arc<History>) -> Dispatcher {
    let parts = Parts {
        settings: Settings::default(),
        config: Config::load(yaml).unwrap(),
        state: Arc::new(MemoryState::default()),
        journal: None,
        history: Some(history.clone()),
        clock: Arc::new(SystemClock),
        metrics: Metrics::unregistered(),
        seed: 1,
    };
    Dispatcher::start(parts).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_hangs_holds_up_nobody_else_and_is_given_up() {
    let (hanging, healthy) = (HttpSink::start(vec![HANG; 100]).await, HttpSink::start(vec![]).await);
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::default().history;
    let history = History::open(&folder.path().join("h.db"), &settings, Metrics::unregistered()).unwrap();
    let history = Arc::new(history);
    let yaml = format!(
        "route:\n  receiver: both\n  group_by: [alertname]\n  group_wait: 50ms\n  group_interval: 200ms\n  routes:\n  - {{matchers: [team=b], receiver: healthy}}\nreceivers:\n- name: both\n  webhook_configs: [{{url: '{}', timeout: 300ms}}, {{url: '{}'}}]\n- name: healthy\n  webhook_configs: [{{url: '{}'}}]\n",
        hanging.url, healthy.url, healthy.url
    );
    let am = start(&yaml, &history).await;
    let post = async |labels: serde_json::Value| {
        let posted = serde_json::json!([{ "labels": labels }]);
        api::post_alerts(&am, serde_json::from_value(posted).unwrap()).await.unwrap();
    };
    post(serde_json::json!({ "alertname": "A" })).await;
    // The same receiver's other way is told while the first one hangs, and so are other groups, with later news as well.
    assert_eq!(healthy.next().await.json["groupLabels"]["alertname"], "A");
    for n in 0..3 {
        post(serde_json::json!({ "alertname": "B", "team": "b", "n": n.to_string() })).await;
        let told = healthy.next().await;
        assert_eq!(told.json["alerts"].as_array().unwrap().len(), n + 1);
    }
    // Within its time it is asked again and again, each time for as long as its section allows, then given up for this
    // flush; the history has each attempt and its answer.
    let mut given_up = vec![];
    for _ in 0..600 {
        history.flush();
        given_up = history.query(&Query { kind: "given_up".into(), ..Query::default() }).unwrap();
        if !given_up.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(given_up.len(), 1, "not given up");
    let attempts = history.query(&Query { kind: "attempt_failed".into(), ..Query::default() }).unwrap();
    assert!(attempts.len() > 2, "{} attempts", attempts.len());
    // The newest may have been cut short by the end of the flush.
    for attempt in &attempts[1..] {
        let took = attempt.detail["durationMs"].as_u64().unwrap();
        assert!((250..5000).contains(&took), "{}", attempt.detail);
        assert!(attempt.detail["answer"].as_str().unwrap().contains("within"), "{}", attempt.detail);
    }
    am.stop(Duration::from_secs(1)).await;
}
