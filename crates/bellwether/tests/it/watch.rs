//! The dead-man's switch: an outside watcher that is told, and tells, when a monitor is gone.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::harness::{Server, WebhookSink, bellwether, file, wait};

struct Watcher {
    child: Child,
    url: String,
}

impl Watcher {
    fn start(config: &std::path::Path) -> Self {
        let mut child = bellwether()
            .args(["watch", "--config.file"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.map_while(Result::ok).find_map(|line| {
            let url = line.strip_prefix("page")?.trim().strip_suffix("/status")?.to_owned();
            Some(url)
        });
        Self { child, url: url.expect("the watcher says where it is") }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

#[test]
fn a_monitor_that_dies_is_missed_outside() {
    let folder = tempfile::tempdir().unwrap();
    let sink = WebhookSink::start();
    // The watcher needs the monitor's address and the monitor the watcher's: the monitor's port is chosen first.
    let port = crate::harness::free_port();
    let watch = format!(
        "listen_address: 127.0.0.1:0\npath: {}\nwebhook: {}\ninterval: 1s\nfailures: 2\ntargets:\n  - name: eu\n    url: http://127.0.0.1:{port}\nheartbeats:\n  - name: eu\n    grace: 5s\n",
        folder.path().join("watch").display(),
        sink.url
    );
    let watcher = Watcher::start(&file(folder.path(), "watch.yml", &watch));
    let config = format!("alerts:\n  heartbeats:\n    - url: {}/beat/eu\n      interval: 1s\n", watcher.url);
    let config = file(folder.path(), "bellwether.yml", &config);
    let args =
        [format!("--config.file={}", config.display()), format!("--web.listen-address=127.0.0.1:{port}")];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let is = |body: &serde_json::Value, status: &str, alert: &str| {
        body["status"] == status && body["alerts"][0]["labels"]["alertname"] == alert
    };
    let data = folder.path().join("data");
    let server = Server::start(&data, &args);
    wait("a heartbeat to be sent", || {
        let sent = server.value("bellwether_alerts_heartbeats_total{outcome=\"sent\"}");
        sent.filter(|count| *count > 1.0)
    });
    server.kill();
    let down = sink.wait("MonitorDown firing", |body| is(body, "firing", "MonitorDown"));
    assert_eq!(down["alerts"][0]["labels"]["monitor"], "eu");
    sink.wait("HeartbeatMissed firing", |body| is(body, "firing", "HeartbeatMissed"));
    let _server = Server::start(&data, &args);
    sink.wait("MonitorDown resolved", |body| is(body, "resolved", "MonitorDown"));
    sink.wait("HeartbeatMissed resolved", |body| is(body, "resolved", "HeartbeatMissed"));
}
