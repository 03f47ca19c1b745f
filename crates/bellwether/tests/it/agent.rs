//! `bellwether agent`, and a crash that reaches a person within seconds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::harness::{PATIENCE, Server, WebhookSink, bellwether, file, wait};

/// A running agent; it ends with the value.
struct Agent {
    child: Child,
    address: String,
}

impl Agent {
    fn start(args: &[&str]) -> Self {
        let mut child = bellwether()
            .args(["agent", "--web.listen-address=127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .filter_map(|line| Some(line.split_once("http://")?.1.split('/').next()?.to_owned()))
            .next()
            .expect("the agent says where the metrics are");
        Self { child, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{path}: {answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

#[test]
fn an_agent_answers_as_node_exporter_does_and_takes_its_flags() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "a.prom", "# TYPE backup_last_success gauge\nbackup_last_success 17\n");
    let directory = format!("--collector.textfile.directory={}", folder.path().display());
    let began = Instant::now();
    let agent = Agent::start(&[
        "--no-collector.cpu",
        "--collector.interrupts",
        &directory,
        "--web.telemetry-path=/m",
    ]);
    println!("the agent listened after {:?} (this build is not optimised)", began.elapsed());
    let text = agent.get("/m");
    assert!(wire::exposition::check_exposition(wire::Format::Text004, text.as_bytes()).is_ok());
    for line in [
        "backup_last_success 17",
        "node_textfile_scrape_error 0",
        "node_scrape_collector_success{collector=\"meminfo\"} 1",
        "# TYPE node_interrupts_total counter",
        "# TYPE process_cpu_seconds_total counter",
    ] {
        assert!(text.contains(line), "{line} is missing");
    }
    assert!(!text.contains("node_cpu_seconds_total"));
    assert_eq!(agent.get("/-/healthy"), "Bellwether agent is healthy.\n");
    let events: serde_json::Value = serde_json::from_str(&agent.get("/api/v1/host/events")).unwrap();
    assert_eq!(events["status"], "success");
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default());
}

#[test]
fn a_crash_of_a_critical_process_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = WebhookSink::start();
    let alerting = file(
        folder.path(),
        "alertmanager.yml",
        &format!(
            "route:\n  receiver: people\n  group_by: [alertname]\n  group_wait: 0s\nreceivers:\n  - name: people\n    webhook_configs:\n      - url: {}\n",
            webhook.url
        ),
    );
    let config = file(
        folder.path(),
        "bellwether.yml",
        "sources:\n  host:\n    processes:\n      critical: [till]\n      groups:\n        - {name: till, cmdline: [marker-till]}\n",
    );
    let server = Server::start(
        &folder.path().join("data"),
        &[
            &format!("--config.file={}", config.display()),
            &format!("--alerts.config-file={}", alerting.display()),
            // Slower than the alert may be: the event must not wait for it.
            "--sources.host.interval=1h",
        ],
    );
    // Absent, and shown as 0.
    server.wait_for("namedprocess_namegroup_num_procs{groupname=\"till\"} == 0");
    if server.log().contains("ends of processes as they happen") {
        eprintln!("not run: {}", server.log());
        return;
    }
    let mut till = Command::new("sh")
        .args(["-c", ": marker-till; read line; kill -SEGV $$"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell starts");
    // Known by its command line once the kernel has told of it and it has been looked at.
    let pid = till.id().to_string();
    wait("the shell to have begun", || {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        line.contains("marker-till").then_some(())
    });
    let began = Instant::now();
    till.stdin.take().unwrap().write_all(b"\n").unwrap();
    let body = webhook.wait("HostCriticalProcessCrashed", |body| {
        body["alerts"].as_array().is_some_and(|alerts| {
            alerts.iter().any(|alert| {
                alert["labels"]["alertname"] == "HostCriticalProcessCrashed"
                    && alert["labels"]["groupname"] == "till"
                    && alert["labels"]["signal"] == "SIGSEGV"
            })
        })
    });
    println!("the webhook was told after {:?}: {}", began.elapsed(), body["commonAnnotations"]["summary"]);
    assert!(began.elapsed() < PATIENCE);
    till.wait().unwrap();
    let events = server.data("/api/v1/host/events");
    let event = events.as_array().unwrap().iter().find(|event| event["labels"]["pid"] == pid.as_str());
    assert_eq!(event.unwrap()["severity"], "critical", "{events}");
}
