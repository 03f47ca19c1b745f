//! A storm of alerts against the whole server. Ignored by default; it prints its figures and holds them to the bounds.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Server, WebhookSink, file};

const ALERTS: usize = 100_000;

fn memory_mb(server: &Server, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// CPU seconds that the server has used.
fn cpu(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Do 100,000 alerts of one storm, sent a thousand at a time with 8 labels and 2 annotations each, stay within 1 GB; does every
/// request that the UI makes of alerts answer within a second meanwhile; is there one digest?
#[test]
#[ignore = "takes minutes; run it for its figures: BELLWETHER_TEST_BINARY=$PWD/target/release/bellwether cargo test -p bellwether --test it storm -- --ignored --nocapture"]
fn a_hundred_thousand_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let sink = WebhookSink::start();
    let text = format!(
        "route: {{receiver: r, group_by: [alertname], group_wait: 10s, group_interval: 5m}}\nreceivers: [{{name: r, webhook_configs: [{{url: '{}'}}]}}]\n",
        sink.url
    );
    let config = file(folder.path(), "alertmanager.yml", &text);
    let server = Server::start(
        &folder.path().join("data"),
        &[
            &format!("--alerts.config-file={}", config.display()),
            // However long they take to come in here, which is longer than the group waits.
            "--alerts.digest-wait=10m",
            "--rules.shipped=false",
        ],
    );
    let before = memory_mb(&server, "VmRSS");
    let started = Instant::now();
    for batch in 0..ALERTS / 1000 {
        let alerts: Vec<Value> = (batch * 1000..(batch + 1) * 1000)
            .map(|n| {
                json!({
                    "labels": {
                        "alertname": "HostDown", "severity": "critical", "job": "node", "team": "infrastructure",
                        "datacenter": format!("dc{}", n % 10), "rack": format!("r{}", n % 1000),
                        "instance": format!("host-{n}.example.org:9100"), "service": format!("s{}", n % 50),
                    },
                    "annotations": {
                        "summary": format!("Host host-{n} does not answer."),
                        "description": "It has not answered for two minutes. See the runbook.",
                    },
                    "generatorURL": "http://prometheus.example.org/graph?g0.expr=up+%3D%3D+0",
                })
            })
            .collect();
        let (status, text) = server.send("POST", "/api/v2/alerts", Some(&json!(alerts)));
        assert_eq!(status, 200, "{text}");
    }
    println!("{ALERTS} alerts taken in {:?}", started.elapsed());
    let digest = sink.wait("the storm", |body| body["status"] == "firing");
    let listed = digest["alerts"].as_array().unwrap().len();
    println!("one notification: {listed} listed, {} counted", digest["truncatedAlerts"]);
    let mut slow = Vec::new();
    for path in [
        "/api/v2/alerts",
        "/api/v2/alerts?filter=instance%3D%22host-7.example.org%3A9100%22",
        "/api/v2/alerts?filter=datacenter%3D~%22dc1%7Cdc2%22",
        "/api/v2/alerts/groups",
        "/api/v2/alerts/groups?filter=instance%3D%22host-7.example.org%3A9100%22",
        "/api/v2/silences",
        "/api/v2/receivers",
        "/api/v2/status",
        "/api/v1/alerts",
        "/api/v1/rules",
        "/api/v1/alerts/timeline",
        "/api/v1/alerts/report",
        "/api/v1/alerts/history",
        "/",
    ] {
        let (asked, spent) = (Instant::now(), cpu(&server));
        let (status, body) = server.get(path);
        let (took, spent) = (asked.elapsed(), cpu(&server) - spent);
        println!("{path}: {status}, {} bytes, {took:?}, {spent:.2} CPU s of the server", body.len());
        assert_eq!(status, 200, "{path}");
        if took > Duration::from_secs(1) {
            slow.push((path, took));
        }
    }
    let (now, most) = (memory_mb(&server, "VmRSS"), memory_mb(&server, "VmHWM"));
    let dropped = server.value("sum(bellwether_alerts_history_dropped_total)").unwrap_or(0.0);
    println!("memory: {before} MB before, {now} MB now, {most} MB at most; history dropped: {dropped}");
    // Every change is in the history: each alert fired and joined its group.
    let report = server.data("/api/v1/alerts/report");
    assert_eq!((&report["total"]["fired"], &report["total"]["notified"]), (&json!(ALERTS), &json!(ALERTS)));
    assert!(dropped == 0.0, "{dropped} events were dropped");
    let (_, text) = server.get("/api/v2/alerts");
    let held: Vec<serde::de::IgnoredAny> = serde_json::from_str(&text).unwrap();
    assert_eq!(held.len(), ALERTS);
    assert_eq!((listed, &digest["truncatedAlerts"]), (500, &json!(ALERTS - 500)));
    assert_eq!(sink.arrived().len(), 1, "one digest");
    assert!(most <= 1024, "{most} MB");
    assert!(slow.is_empty(), "{slow:?}");
}
