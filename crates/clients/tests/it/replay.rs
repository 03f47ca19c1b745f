//! Every report that a real Chromium was seen to send, through the collector.

use std::path::PathBuf;

use serde_json::Value;

use crate::collector::{site, start, upload};

/// Where the captured uploads are, if this machine has them.
fn captured() -> Option<Value> {
    let Some(folder) = std::env::var_os("BELLWETHER_CONFORMANCE") else {
        eprintln!("not run: BELLWETHER_CONFORMANCE does not name the folder of captured reports");
        return None;
    };
    let path = PathBuf::from(folder).join("nel/chromium-reports.json");
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).expect("the captured reports are JSON")),
        Err(err) => {
            eprintln!("not run: {}: {err}", path.display());
            None
        }
    }
}

#[test]
fn every_captured_report_is_counted_or_refused_for_a_named_reason() {
    let Some(captured) = captured() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (collector, clock, registry) = start(folder.path(), |config| {
        config.min_clients = 1;
        config.limits.per_client = 1000;
        config.keep_reports = model::duration::PromDuration(3_600_000);
        config.sites = vec![site("app", &["https://app.test:*", "https://*.app.test:*"])];
    });
    let (mut sent, mut secrets) = (0, Vec::new());
    for sample in captured["samples"].as_array().unwrap() {
        for request in sample["requests"].as_array().unwrap() {
            let Value::Array(reports) = &request["body"] else { continue };
            sent += reports.len();
            let path = |report: &Value| report["url"].as_str()?.splitn(4, '/').nth(3).map(str::to_owned);
            // With its slash: a path like "close" alone is a word of our own texts.
            secrets.extend(reports.iter().filter_map(path).filter(|p| p.len() > 3).map(|p| format!("/{p}")));
            let body = serde_json::to_vec(&request["body"]).unwrap();
            let answer =
                upload(&collector, "app", request["headers"]["origin"].as_str(), "203.0.113.77", &body);
            assert_eq!(answer.status, 204, "{} {}", sample["scenario"], answer.message);
            clock.advance(5000);
            collector.tick();
        }
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let value = |name: &str| -> usize {
        let of = |line: &str| {
            line.strip_prefix(name).and_then(|rest| rest.rsplit(' ').next()?.parse::<usize>().ok())
        };
        text.lines().filter_map(of).sum()
    };
    let (accepted, refused) = (value("collector_reports_total"), value("collector_reports_refused_total"));
    assert_eq!(accepted + refused, sent, "{text}");
    println!("{sent} reports: {accepted} counted, {refused} refused");
    // The same report twice is the only reason in what a real browser sent to its own site's collector.
    assert_eq!(value("collector_reports_refused_total{reason=\"duplicate\"}"), refused, "{text}");
    // Nine tries of one upload, retries within one request and a redirect to itself are the others.
    assert!(accepted >= 70, "{accepted}");
    assert!(secrets.len() > 20);
    let families = format!("{:?}", collector.families());
    assert!(families.contains("tcp.refused") && families.contains("dns.name_not_resolved"), "{families}");
    secrets.push("203.0.113.77".into());
    crate::collector::assert_nowhere(folder.path(), &[families, text], &secrets);
}
