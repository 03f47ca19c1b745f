//! What happened to alerts: events, timeline, figures, explanations, series; over HTTP.

use serde_json::{Value, json};

use crate::harness::{Server, WebhookSink, encode, file, wait};

fn configuration(folder: &std::path::Path, url: &str) -> Vec<String> {
    let rules = "groups:\n  - name: g\n    interval: 1s\n    rules:\n      - alert: TooMany\n        expr: test_load > 5\n        labels: {team: db}\n        annotations: {summary: 'it is {{ $value }}'}\n      - alert: Never\n        expr: test_load > 1e9\n";
    file(folder, "rules.yml", rules);
    let alertmanager = format!(
        "route:\n  receiver: people\n  group_by: [alertname]\n  group_wait: 0s\n  group_interval: 1s\n  routes:\n    - matchers: [team=nobody]\n      receiver: people\nreceivers:\n  - name: people\n    webhook_configs: [{{url: '{url}'}}]\n"
    );
    let alertmanager = file(folder, "alertmanager.yml", &alertmanager);
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\nalerting:\n  alert_relabel_configs: [{{target_label: monitor, replacement: eu}}]\nalerts:\n  config_file: {}\n  history: {{series_interval: 1s}}\n",
        alertmanager.display()
    );
    let config = file(folder, "bellwether.yml", &text);
    vec![format!("--config.file={}", config.display()), "--rules.shipped=false".to_owned()]
}

#[test]
fn history_figures_and_explanations() {
    let folder = tempfile::tempdir().unwrap();
    let sink = WebhookSink::start();
    let exporter = crate::harness::Exporter::start("test_load 3\n");
    let mut args = configuration(folder.path(), &sink.url);
    args.push(format!("--scrape={}", exporter.address));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let server = Server::start(&folder.path().join("data"), &args);
    server.wait_for("test_load");
    let alert = encode("{alertname=\"TooMany\",job=\"scrape\",team=\"db\",instance=\"");
    let alert = format!("{alert}{}%22%7D", encode(&exporter.address));
    let explain = |extra: &str| server.data(&format!("/api/v1/alerts/explain?alert={alert}{extra}"));

    // Why it does not fire: the left side of the comparison is shown.
    let why = wait("the exporter's sample in the explanation", || {
        let why = explain("");
        (why["rules"][0]["parts"][0]["values"][0][1] == 3.0).then_some(why)
    });
    assert_eq!(why["rules"][0]["parts"][0]["query"], "test_load");
    assert!(why["verdict"][0].as_str().unwrap().contains("does not fire"), "{why}");
    assert_eq!(why["rules"][0]["sentAs"]["monitor"], "eu");
    assert_eq!(why["manager"]["route"][1]["failed"], "team=\"nobody\"");
    let quiet = server.query("time()");
    let quiet_at = quiet[0].as_f64().unwrap_or_default();

    // It fires, is told, resolves.
    exporter.set("test_load 7\n");
    let told = sink.wait("firing", |body| body["status"] == "firing");
    let labels = told["alerts"][0]["labels"].as_object().unwrap().clone();
    assert_eq!(labels["monitor"], "eu");
    let fingerprint = told["alerts"][0]["fingerprint"].as_str().unwrap().to_owned();
    let why = wait("the delivery in the explanation", || {
        let why = server.data(&format!("/api/v1/alerts/explain?fingerprint={fingerprint}"));
        let told = why["manager"]["verdict"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line.as_str().unwrap().contains("was last told"));
        told.then_some(why)
    });
    let rule = &why["rules"][0];
    assert!(rule["verdict"].as_str().unwrap().starts_with("fires"), "{why}");
    assert_eq!(rule["steps"].as_array().unwrap().last().unwrap()["value"], 7.0);
    // Asked about the time before, it says that it did not.
    let before = explain(&format!("&time={quiet_at}"));
    assert!(before["verdict"][0].as_str().unwrap().contains("does not fire"), "{before}");
    // Alerts are series that PromQL joins.
    server.wait_for("test_load and on (instance) bellwether_alert_since_seconds{alertname=\"TooMany\"}");
    server.wait_for("bellwether_alert_notified_seconds{alert_receiver=\"people\"}");

    let silence = json!({
        "matchers": [{ "name": "alertname", "value": "TooMany", "isRegex": false }],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2040-01-01T00:00:00Z", "createdBy": "ada", "comment": "on it",
    });
    assert_eq!(server.send("POST", "/api/v2/silences", Some(&silence)).0, 200);
    let why = server.data(&format!("/api/v1/alerts/explain?fingerprint={fingerprint}"));
    assert!(
        why["manager"]["verdict"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line.as_str().unwrap().contains("by ada keeps it back")),
        "{why}"
    );
    exporter.set("test_load 1\n");
    wait("the resolution in the history", || {
        let events = server.data(&format!("/api/v1/alerts/history?fingerprint={fingerprint}&kind=resolved"));
        (!events["events"].as_array().unwrap().is_empty()).then_some(())
    });

    let report = server.data("/api/v1/alerts/report");
    let rule = &report["rules"][0];
    assert_eq!(
        (rule["alertname"].as_str(), rule["fired"].as_u64(), rule["acknowledged"].as_u64()),
        (Some("TooMany"), Some(1), Some(1)),
        "{report}"
    );
    for field in ["meanTimeToNotifySeconds", "meanTimeToAcknowledgeSeconds", "meanTimeToResolveSeconds"] {
        assert!(report["total"][field].as_f64().is_some_and(|seconds| seconds >= 0.0), "{field}: {report}");
    }
    let never: Vec<&str> = report["neverFired"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["alertname"].as_str().unwrap())
        .collect();
    assert_eq!(never, ["Never"]);
    let timeline = server.data("/api/v1/alerts/timeline?alertname=TooMany");
    let episode = &timeline["episodes"][0];
    assert!(episode["endsAt"].is_string() && episode["acknowledgedBy"] == "ada", "{timeline}");
    assert_eq!(episode["receivers"], json!(["people"]));

    // Pages, and errors.
    let first = server.data("/api/v1/alerts/history?limit=2");
    assert_eq!(first["events"].as_array().unwrap().len(), 2);
    let next = server.data(&format!("/api/v1/alerts/history?limit=2&before={}", first["nextBefore"]));
    let ids = |page: &Value| {
        page["events"].as_array().unwrap().iter().map(|e| e["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert!(ids(&first).last() > ids(&next).first(), "{first} {next}");
    assert_eq!(server.get("/api/v1/alerts/explain").0, 400);
    assert_eq!(server.get("/api/v1/alerts/explain?fingerprint=0000000000000001").0, 404);
    assert_eq!(server.send("POST", "/api/v1/alerts/receivers/gone/test", None).0, 404);
}
