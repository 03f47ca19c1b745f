//! What a newcomer sees: a page, data of this machine, the HTTP API.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{Server, encode, wait};

#[test]
fn one_command_watches_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);

    // The host, the server itself, and that both are reached.
    server.wait_for("node_cpu_seconds_total{mode=\"idle\"}");
    server.wait_for("bellwether_tsdb_head_series");
    server.wait_for("up{job=\"node\"} == 1");
    server.wait_for("up{job=\"bellwether\"} == 1");
    for metric in [
        "node_memory_MemTotal_bytes",
        "node_load1",
        "node_disk_read_bytes_total",
        "node_filesystem_size_bytes",
        "node_network_receive_bytes_total",
        "node_pressure_cpu_waiting_seconds_total",
        "node_procs_running",
        "node_uname_info",
        "node_boot_time_seconds",
    ] {
        assert!(!server.query(metric).is_empty(), "{metric} is missing");
    }

    // A range query with a rate, as a chart asks it.
    let rate = wait("a rate", || {
        let now = server.value("time()").unwrap();
        let query = encode("sum by (mode) (rate(node_cpu_seconds_total[10s]))");
        let data =
            server.data(&format!("/api/v1/query_range?query={query}&start={}&end={now}&step=1", now - 5.0));
        let series = data["result"].as_array().unwrap().clone();
        (!series.is_empty()).then_some(series)
    });
    assert!(rate.iter().any(|series| series["metric"]["mode"] == "idle"));
    server.terminate();
}

#[test]
fn the_http_api_answers_in_prometheus_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    server.wait_for("node_load1");

    assert_eq!(server.get("/-/healthy").0, 200);
    assert_eq!(server.get("/-/ready").0, 200);
    let (status, page) = server.get("/");
    assert!(status == 200 && page.contains("<!doctype html>") || page.contains("<!DOCTYPE html>"), "{page}");

    let names = server.data("/api/v1/label/__name__/values");
    assert!(names.as_array().unwrap().iter().any(|name| name == "node_load1"));
    let labels = server.data("/api/v1/labels?match[]=node_cpu_seconds_total");
    assert!(
        ["__name__", "cpu", "instance", "job", "mode"]
            .iter()
            .all(|name| labels.as_array().unwrap().contains(&(*name).into())),
        "{labels}"
    );
    let series = server.data("/api/v1/series?match[]=node_load1");
    assert_eq!(series[0]["__name__"], "node_load1");
    let metadata = server.data("/api/v1/metadata?metric=node_load1");
    assert_eq!(metadata["node_load1"][0]["type"], "gauge");
    let targets = server.data("/api/v1/targets");
    let active = targets["activeTargets"].as_array().unwrap();
    assert!(
        active.iter().any(|target| target["labels"]["job"] == "node" && target["health"] == "up"),
        "{targets}"
    );
    let rules = server.data("/api/v1/rules");
    assert!(!rules["groups"].as_array().unwrap().is_empty(), "{rules}");
    assert!(server.data("/api/v1/alerts")["alerts"].is_array());
    assert!(!server.data("/api/v1/status/buildinfo")["version"].as_str().unwrap().is_empty());
    let (status, metrics) = server.get("/metrics");
    assert!(status == 200 && metrics.contains("bellwether_"), "{metrics}");

    // Errors have Prometheus' status, type and shape.
    let (status, body) = server.get("/api/v1/query?query=up%7B");
    let error: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &error["status"], &error["errorType"]),
        (400, &"error".into(), &"bad_data".into()),
        "{body}"
    );
    let (status, body) = server.get("/api/v1/query_range?query=up&start=10&end=0&step=1");
    assert_eq!(status, 400, "{body}");
    assert_eq!(server.get("/api/v1/nothing").0, 404);
}
