//! From a sample to a person: how long it takes. Ignored by default; it prints its figures and holds them to the bound.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::{Server, WebhookSink, file, wait};

const SAMPLES: usize = 400;
const INTERVAL: Duration = Duration::from_secs(5);

/// How long from the answer to a pushed sample until the webhook has the alert that it raises? One rule, evaluated every 5 s,
/// that fires for each of 400 series; the samples come evenly over 50 s, so at every moment between two evaluations.
/// Beside it 200 other rules in 20 groups on the server's own series. The bound: an evaluation interval and a second at p99.
#[test]
#[ignore = "takes a minute; run it for its figures: BELLWETHER_TEST_BINARY=$PWD/target/release/bellwether cargo test -p bellwether --test it latency -- --ignored --nocapture"]
#[expect(clippy::disallowed_methods, reason = "samples are spread over time, and stamped by this clock")]
fn from_sample_to_webhook() {
    let folder = tempfile::tempdir().unwrap();
    let sink = WebhookSink::start();
    let text = format!(
        "route: {{receiver: r, group_by: ['...'], group_wait: 0s, group_interval: 1m}}\nreceivers: [{{name: r, webhook_configs: [{{url: '{}'}}]}}]\n",
        sink.url
    );
    let alertmanager = file(folder.path(), "alertmanager.yml", &text);
    let mut rules = format!(
        "groups:\n  - name: arrivals\n    interval: {}s\n    rules:\n      - {{alert: Arrived, expr: arrival > 0}}\n",
        INTERVAL.as_secs()
    );
    for group in 0..20 {
        rules.push_str(&format!(
            "  - name: other{group}\n    interval: {}s\n    rules:\n",
            INTERVAL.as_secs()
        ));
        for rule in 0..10 {
            let record =
                format!("      - {{record: 'o:{group}:{rule}', expr: 'count by (job) ({{job=~\".+\"}})'}}\n");
            rules.push_str(&record);
        }
    }
    file(folder.path(), "rules.yml", &rules);
    let config = file(folder.path(), "bellwether.yml", "rule_files: [rules.yml]\n");
    let server = Server::start(
        &folder.path().join("data"),
        &[
            &format!("--config.file={}", config.display()),
            &format!("--alerts.config-file={}", alertmanager.display()),
            "--rules.shipped=false",
        ],
    );
    wait("the rules to be evaluated", || (!server.query("o:0:0").is_empty()).then_some(()));
    let mut pushed = BTreeMap::new();
    for n in 0..SAMPLES {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let body = format!("arrival{{n=\"{n}\"}} 1 {now}\n");
        assert_eq!(server.post("/api/v1/import/prometheus", "text/plain", body.as_bytes()).0, 204);
        pushed.insert(n.to_string(), Instant::now());
        std::thread::sleep(Duration::from_millis(125));
    }
    wait("every alert to be told", || (sink.arrived().len() >= SAMPLES).then_some(()));
    let mut took = Vec::new();
    for (at, body) in sink.arrived() {
        let n = body["alerts"][0]["labels"]["n"].as_str().unwrap();
        took.push(at.saturating_duration_since(pushed[n]));
    }
    took.sort_unstable();
    let at = |quantile: f64| took[((took.len() - 1) as f64 * quantile) as usize];
    println!(
        "{} samples: p50 {:?}, p90 {:?}, p99 {:?}, longest {:?}",
        took.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    assert!(at(0.99) <= INTERVAL + Duration::from_secs(1), "p99 {:?}", at(0.99));
}
