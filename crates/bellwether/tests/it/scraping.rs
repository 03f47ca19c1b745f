//! Real targets: another Bellwether, scraped by a Prometheus configuration and by `--scrape`.

use crate::harness::{Server, file};

#[test]
fn one_server_scrapes_another() {
    let folder = tempfile::tempdir().unwrap();
    let target = Server::start(&folder.path().join("target"), &[]);
    let address = target.url.trim_start_matches("http://").to_owned();
    let config = format!(
        "global:\n  scrape_interval: 1s\n  external_labels: {{site: test}}\nscrape_configs:\n  - job_name: other\n    static_configs:\n      - targets: ['{address}']\n        labels: {{rack: r1}}\n    metric_relabel_configs:\n      - source_labels: [__name__]\n        regex: bellwether_api_.*\n        action: drop\n"
    );
    let path = file(folder.path(), "prometheus.yml", &config);
    let server = Server::start(&folder.path().join("data"), &[&format!("--config.file={}", path.display())]);
    server.wait_for("up{job=\"other\",rack=\"r1\"} == 1");
    server.wait_for("bellwether_tsdb_head_series{job=\"other\"}");
    assert!(server.query("bellwether_api_requests_total{job=\"other\"}").is_empty());
    assert!(server.value("scrape_samples_scraped{job=\"other\"}").unwrap() > 10.0);

    let quick = Server::start(&folder.path().join("quick"), &[&format!("--scrape={address}")]);
    quick.wait_for(&format!("up{{instance=\"{address}\"}} == 1"));
}
