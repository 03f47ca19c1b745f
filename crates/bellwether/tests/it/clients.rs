//! The collector in the server: other witnesses stand in the evidence, and sites come and go without a restart.

use std::path::Path;

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
