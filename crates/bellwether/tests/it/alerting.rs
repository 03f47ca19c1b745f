//! From a sample to a person: a rule fires, is routed, and arrives at a webhook and in a mailbox; the state survives.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Server, SmtpSink, WebhookSink, file, free_port, wait};

/// A configuration whose one target is down, so that a shipped alert fires.
fn configuration(folder: &Path, webhook: &str, smtp: Option<&str>) -> Vec<String> {
    let mail = smtp.map_or(String::new(), |address| {
        format!(
            "    email_configs:\n      - to: oncall@example.org\n        from: bellwether@example.org\n        smarthost: {address}\n        require_tls: false\n        hello: localhost\n        send_resolved: true\n"
        )
    });
    let alertmanager = format!(
        "route:\n  receiver: people\n  group_by: [alertname]\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: 1h\nreceivers:\n  - name: people\n    webhook_configs:\n      - url: {webhook}\n{mail}"
    );
    let dead = free_port();
    let prometheus = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files:\n  - quick.yml\nscrape_configs:\n  - job_name: shop\n    static_configs:\n      - targets: ['127.0.0.1:{dead}']\n"
    );
    let rules = "groups:\n  - name: quick\n    rules:\n      - alert: ShopDown\n        expr: up{job=\"shop\"} == 0\n        for: 2s\n        labels: {severity: critical}\n        annotations: {summary: '{{ $labels.instance }} cannot be scraped'}\n";
    file(folder, "quick.yml", rules);
    let config = file(folder, "bellwether.yml", &prometheus);
    let alerting = file(folder, "alertmanager.yml", &alertmanager);
    vec![
        format!("--config.file={}", config.display()),
        format!("--alerts.config-file={}", alerting.display()),
    ]
}

fn is(body: &Value, status: &str, alert: &str) -> bool {
    let alerts = body["alerts"].as_array();
    body["status"] == status
        && alerts.is_some_and(|alerts| alerts.iter().any(|one| one["labels"]["alertname"] == alert))
}

#[test]
fn an_alert_reaches_webhook_and_mailbox_and_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = WebhookSink::start();
    let smtp = SmtpSink::start();
    let args = configuration(folder.path(), &webhook.url, smtp.as_ref().map(|sink| sink.address.as_str()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let data = folder.path().join("data");
    let server = Server::start(&data, &args);

    let body = webhook.wait("ShopDown firing", |body| is(body, "firing", "ShopDown"));
    assert_eq!(body["version"], "4");
    assert_eq!(body["receiver"], "people");
    let alert = body["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["labels"]["alertname"] == "ShopDown")
        .unwrap();
    assert!(alert["annotations"]["summary"].as_str().unwrap().ends_with("cannot be scraped"), "{alert}");
    if let Some(smtp) = &smtp {
        let mail = smtp.wait("ShopDown");
        assert!(mail.contains("X-Envelope-To: oncall@example.org") && mail.contains("Subject:"), "{mail}");
    }

    // It is seen everywhere an operator looks.
    let active = server.data("/api/v1/alerts")["alerts"].as_array().unwrap().clone();
    let mine =
        active.iter().find(|one| one["labels"]["alertname"] == "ShopDown").expect("the alert is listed");
    assert_eq!(mine["state"], "firing");
    let since = mine["activeAt"].as_str().unwrap().to_owned();
    assert!(!server.query("ALERTS{alertname=\"ShopDown\",alertstate=\"firing\"}").is_empty());
    let (status, listed) = server.get("/api/v2/alerts");
    assert!(status == 200 && listed.contains("ShopDown"), "{listed}");
    let sent = webhook.count(|body| is(body, "firing", "ShopDown"));
    server.kill();

    // After the crash it is the same alert, since the same time, and nobody is told again.
    let server = Server::start(&data, &args);
    let again = wait("the alert to be back", || {
        let active = server.data("/api/v1/alerts")["alerts"].as_array().unwrap().clone();
        active.into_iter().find(|one| one["labels"]["alertname"] == "ShopDown" && one["state"] == "firing")
    });
    // To the second: that is what Prometheus' ALERTS_FOR_STATE series, from which the state comes back, holds.
    let second = |text: &str| text.split(['.', 'Z']).next().unwrap_or_default().to_owned();
    assert_eq!(second(again["activeAt"].as_str().unwrap()), second(&since));
    wait("the alert manager to have it", || {
        let (_, listed) = server.get("/api/v2/alerts");
        listed.contains("ShopDown").then_some(())
    });
    assert!(webhook.count(|body| is(body, "firing", "ShopDown")) <= sent + 1);
    assert!(webhook.count(|body| is(body, "resolved", "ShopDown")) == 0, "a crash resolved the alert");
}

#[test]
fn a_shipped_rule_fires() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = WebhookSink::start();
    let args = configuration(folder.path(), &webhook.url, None);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    // The shipped rules wait minutes; for the test they wait a hundredth of that.
    args.push("--rules.shipped-time-scale=0.01");
    let _server = Server::start(&folder.path().join("data"), &args);
    webhook.wait("TargetDown firing", |body| is(body, "firing", "TargetDown"));
}
