//! The collector in the server: other witnesses stand in the evidence, and sites come and go without a restart.

use std::io::{Error, ErrorKind};
use std::path::Path;

use client_sdk::{Consent, Options, Policy, Reporter};

use crate::harness::{Server, encode, file, free_port, wait};

fn config(port: u16, sites: &str) -> String {
    format!(
        "collector:\n  enabled: true\n  listen_address: 127.0.0.1:{port}\n  trusted_proxy_hops: 1\n  min_clients: 5\n  detection: {{interval: 1s, min_evidence: 8}}\n  sites:\n{sites}"
    )
}

fn site(name: &str, checks: &str) -> String {
    format!("    - name: {name}\n      origins: [\"https://{name}.example\"]\n      checks: {{{checks}}}\n")
}

/// A report of a client at an address, and the status of the answer.
fn send(port: u16, site: &str, address: &str, kind: &str) -> u16 {
    let body = format!(
        r#"[{{"age":0,"type":"network-error","url":"https://{site}.example/{address}","body":{{"phase":"application","type":"{kind}","status_code":503,"sampling_fraction":1.0}}}}]"#
    );
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent
        .post(format!("http://127.0.0.1:{port}/r/{site}"))
        .header("content-type", "application/reports+json")
        .header("x-forwarded-for", address);
    request.send(body).unwrap().status().as_u16()
}

fn start(folder: &Path, text: &str) -> Server {
    let path = file(folder, "bellwether.yml", text);
    Server::start(&folder.join("data"), &[&format!("--config.file={}", path.display())])
}

#[test]
fn servers_and_probes_are_asked_about_an_incident() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let checks = "server_errors: 'vector(0.2)', probes: 'vector(1) or label_replace(vector(0), \"instance\", \"far\", \"\", \"\")'";
    let server = start(folder.path(), &config(port, &site("shop", checks)));
    for client in 0..30 {
        assert_eq!(send(port, "shop", &format!("10.0.{client}.1"), "http.error"), 204);
    }
    server.wait_for("bellwether_client_incident{site=\"shop\",verdict=\"service\"}");
    server.wait_for("bellwether_client_incident_check{site=\"shop\",check=\"server_errors\"} == 1");
    server.wait_for("bellwether_client_incident_check{site=\"shop\",check=\"probes\"} == 1");
    let incidents = server.data("/api/v1/clients/incidents");
    let checks = incidents[0]["checks"].as_array().unwrap();
    let words: Vec<&str> = checks.iter().filter_map(|check| check["sentence"].as_str()).collect();
    assert_eq!(
        words,
        ["The servers themselves count 20.0 % errors: it is the service.", "1 of 2 probes fail."]
    );
    assert_eq!(checks[0]["query"], "vector(0.2)");
}

#[test]
fn a_reload_brings_and_takes_sites() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let server = start(folder.path(), &config(port, &site("shop", "")));
    assert_eq!(send(port, "shop", "10.0.0.1", "http.error"), 204);
    assert_eq!(send(port, "news", "10.0.0.1", "http.error"), 404);
    file(folder.path(), "bellwether.yml", &config(port, &site("news", "")));
    server.signal("HUP");
    wait("the new site", || (send(port, "news", "10.0.0.2", "ok") == 204).then_some(()));
    assert_eq!(send(port, "shop", "10.0.0.2", "http.error"), 404);
    let sites = server.data("/api/v1/clients/sites");
    assert_eq!(sites["sites"].as_array().unwrap().len(), 1, "{sites}");

    file(folder.path(), "bellwether.yml", &config(port, &site("news", "probes: 'sum('")));
    let (status, body) = server.post("/-/reload", "text/plain", b"");
    assert_eq!(status, 500);
    assert!(body.contains("collector.sites[0].checks.probes"), "{body}");
    assert_eq!(send(port, "news", "10.0.0.3", "ok"), 204);
    assert!(server.query(&encode("bellwether_client_incident")).is_empty());
}

/// Every byte of a folder that a text may have got into.
fn holds(folder: &Path, text: &str) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = holds(&path, text) {
                return Some(found);
            }
        } else if std::fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|w| w == text.as_bytes()))
        {
            return Some(path);
        }
    }
    None
}

#[test]
fn an_application_reports_to_the_collector_that_lives_and_nothing_more_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let (port, dead) = (free_port(), free_port());
    let text = config(port, &site("app", "")).replace("min_clients: 5", "min_clients: 1\n  keep_reports: 1h");
    let server = start(folder.path(), &text);
    let policy = format!(
        r#"{{"max_age":3600,"collectors":["http://127.0.0.1:{dead}/r/app","http://127.0.0.1:{port}/r/app"],"origins":["https://app.example"]}}"#
    );
    let store = folder.path().join("application.json");
    let options =
        || Options { policy: Policy::parse(&policy).ok(), store: Some(store.clone()), ..Options::default() };
    let reporter = Reporter::start(options());
    let url = "https://planted-user:planted-password@app.example/planted-path?planted-query=1";
    let error = Error::new(ErrorKind::ConnectionReset, "planted-text of an error");
    reporter.failed(url, &error);
    assert_eq!(reporter.waiting().0, 0, "no consent, no report");
    reporter.consent(Consent::Diagnostics);
    reporter.failed(url, &error);
    reporter.failed("https://elsewhere.example/planted", &error);
    for _ in 0..3 {
        reporter.answered_by(url, 200, "h2");
    }
    reporter.answered(url, 503);
    server
        .wait_for("bellwether_client_reports_total{site=\"app\",source=\"native\",type=\"tcp.reset\"} == 1");
    server.wait_for("bellwether_client_reports_total{source=\"native\",type=\"ok\"} == 3");
    server.wait_for("bellwether_client_reports_total{source=\"native\",type=\"http.error.5xx\"} == 1");
    let metrics = server.get("/metrics").1;
    assert!(!metrics.contains("planted") && !server.log().contains("planted"), "{metrics}");
    assert_eq!(holds(folder.path(), "planted"), None);

    // Its site is retired: the queue empties itself and stays so.
    file(folder.path(), "bellwether.yml", &text.replace("name: app", "name: app\n      retired: true"));
    assert_eq!(server.post("/-/reload", "text/plain", b"").0, 200);
    reporter.online();
    reporter.failed(url, &error);
    wait("the end of the policy", || (!reporter.is_active()).then_some(()));
    reporter.failed(url, &error);
    assert_eq!(reporter.waiting().0, 0);
    reporter.consent(Consent::Off);
    assert!(!store.exists());
    drop(server);

    // Nobody listens: it waits, over a restart of the application too, until a collector is there again.
    let reporter = Reporter::start(options());
    reporter.consent(Consent::Basic);
    reporter.failed(url, &error);
    wait("the queue on disk", || holds(folder.path(), "tcp.reset").filter(|path| *path == store));
    drop(reporter);
    let server = start(folder.path(), &text);
    let reporter = Reporter::start(options());
    reporter.online();
    server
        .wait_for("bellwether_client_reports_total{site=\"app\",source=\"native\",type=\"tcp.reset\"} >= 1");
    drop(reporter);
}
