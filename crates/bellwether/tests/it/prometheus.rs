//! A real Prometheus sends its alerts to this server as to an Alertmanager, and a real `amtool` works on them.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Server, WebhookSink, file, free_port, wait};

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

fn rules(firing: bool) -> String {
    let more = if firing { "0" } else { "100" };
    format!(
        "groups:\n  - name: g\n    interval: 1s\n    rules:\n      - alert: FromPrometheus\n        expr: vector(7) > {more}\n        labels: {{team: db}}\n        annotations: {{summary: 'it is {{{{ $value }}}}'}}\n"
    )
}

#[test]
fn prometheus_and_amtool_drive_the_alert_manager() {
    let Some(prometheus) = testkit::peer::peer(&["prometheus"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let sink = WebhookSink::start();
    let text = format!(
        "route: {{receiver: r, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\nreceivers: [{{name: r, webhook_configs: [{{url: '{}'}}]}}]\n",
        sink.url
    );
    let alertmanager = file(folder.path(), "alertmanager.yml", &text);
    let server = Server::start(
        &folder.path().join("data"),
        &[&format!("--alerts.config-file={}", alertmanager.display()), "--rules.shipped=false"],
    );
    file(folder.path(), "rules.yml", &rules(true));
    let config = format!(
        "global: {{evaluation_interval: 1s, external_labels: {{dc: eu}}}}\nrule_files: [rules.yml]\nalerting:\n  alertmanagers:\n    - static_configs: [{{targets: ['{}']}}]\n",
        server.url.trim_start_matches("http://")
    );
    let config = file(folder.path(), "prometheus.yml", &config);
    let child = Command::new(prometheus)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{}", free_port()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("prometheus").display()))
        .arg("--rules.alert.resend-delay=1s")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus starts");
    let daemon = Daemon(child);

    let told = sink.wait("FromPrometheus firing", |body| body["status"] == "firing");
    let alert = &told["alerts"][0];
    assert_eq!(alert["labels"]["dc"], "eu");
    assert_eq!(alert["labels"]["team"], "db");
    assert_eq!(alert["annotations"]["summary"], "it is 7");
    assert!(alert["generatorURL"].as_str().unwrap().contains("/graph?g0.expr=vector"), "{alert}");

    if let Some(amtool) = testkit::peer::peer(&["amtool"]) {
        let amtool = |args: &[&str]| {
            let output = Command::new(&amtool)
                .args(args)
                .arg(format!("--alertmanager.url={}", server.url))
                .env("HOME", folder.path())
                .output()
                .expect("amtool starts");
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let query = |extra: &[&str]| -> Value {
            let args = [&["alert", "query", "-o", "json", "team=db"], extra].concat();
            serde_json::from_str(&amtool(&args)).unwrap()
        };
        assert_eq!(query(&[])[0]["labels"]["alertname"], "FromPrometheus");
        let id = amtool(&["silence", "add", "-a", "ada", "-c", "on it", "alertname=FromPrometheus"]);
        wait("the alert to be silenced", || {
            let silenced = query(&["--silenced"]);
            (silenced[0]["status"]["silencedBy"][0] == id.as_str()).then_some(())
        });
        amtool(&["silence", "expire", &id]);
        assert!(amtool(&["config", "show"]).contains("group_interval: 1s"));
    }

    // The rule no longer fires: Prometheus says so, and so do we.
    file(folder.path(), "rules.yml", &rules(false));
    let reloaded = Command::new("kill").arg("-HUP").arg(daemon.0.id().to_string()).status();
    assert!(reloaded.expect("kill starts").success());
    sink.wait("FromPrometheus resolved", |body| body["status"] == "resolved");
}
