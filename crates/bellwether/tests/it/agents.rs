//! Agents that announce themselves and push, as processes: a dead collector, a dead server, a wrong token, a change of what is pushed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use crate::harness::{Server, bellwether, errors_of, file, free_port, wait};

/// A running agent, killed with the value.
struct Agent {
    child: Child,
    url: String,
    log: Arc<Mutex<String>>,
}

impl Agent {
    fn start(config: &Path, args: &[&str]) -> Self {
        let mut command = bellwether();
        command
            .args(["agent", "--web.listen-address=127.0.0.1:0"])
            .arg(format!("--config.file={}", config.display()))
            .args(args);
        Self::spawn(command).expect("the agent says where its metrics are")
    }

    /// `None` when it ends with code 77: it cannot run here.
    fn spawn(mut command: Command) -> Option<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = errors_of(&mut child);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let metrics = lines.find(|line| line.starts_with("metrics"));
        let Some(url) = metrics.and_then(|line| Some(line.split_whitespace().nth(1)?.to_owned())) else {
            let status = child.wait().unwrap();
            assert_eq!(status.code(), Some(77), "{}", log.lock().unwrap());
            return None;
        };
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, url, log })
    }

    fn metrics(&self) -> String {
        ureq::get(&self.url).call().unwrap().body_mut().read_to_string().unwrap()
    }

    /// The sum of the agent's own series of this name.
    fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let lines = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn terminate(mut self) {
        let done = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(done.unwrap().success());
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- the agent's log ---\n{}", self.log());
        }
    }
}

/// Only the cheap collectors: many processes run at once here.
const LIGHT: [&str; 3] = ["--collector.disable-defaults", "--collector.loadavg", "--collector.netstat"];

fn collector(folder: &Path, port: u16, config: &Path) -> Server {
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let file = format!("--config.file={}", config.display());
    let quiet = ["--sources.host.enabled=false", "--rules.shipped=false"];
    let args: Vec<&str> = quiet.into_iter().chain([listen.as_str(), file.as_str()]).collect();
    Server::start(folder, &args)
}

fn registry(folder: &Path, more: &str) -> String {
    let token = file(folder, "tokens", "right-token\n");
    format!(
        "sources:\n  agents:\n    enabled: true\n    token_file: {}\n    lease: 3s\n{more}",
        token.display()
    )
}

#[test]
fn what_an_agent_pushes_outlives_a_dead_server_and_a_dead_agent() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = file(folder.path(), "server.yml", &registry(folder.path(), ""));
    let data = folder.path().join("data");
    let server = collector(&data, port, &config);
    let agent_config = file(
        folder.path(),
        "agent.yml",
        &format!(
            "agent:\n  name: web-7\n  labels: {{rack: r1}}\n  token_file: tokens\n  collectors: ['http://127.0.0.1:{}', 'http://127.0.0.1:{port}']\n  push: {{enabled: true, interval: 1s, folder: {}}}\n",
            free_port(),
            folder.path().join("spool").display(),
        )
        .replace("token_file: tokens", &format!("token_file: {}", folder.path().join("tokens").display())),
    );
    let agent = Agent::start(&agent_config, &LIGHT);
    // The first collector is nobody: the second takes both announcement and samples.
    server.wait_for("node_load1{instance=\"web-7\", rack=\"r1\", job=\"node\"}");
    let listed = server.data("/api/v1/agents");
    assert_eq!(listed["agents"][0]["name"], "web-7", "{listed}");
    assert_eq!(listed["agents"][0]["address"], "", "it listens on this machine only: {listed}");

    let (down, before) = (now(), pushes(&agent));
    server.kill();
    wait("five pushes to wait", || (pushes(&agent) >= before + 5.0).then_some(()));
    assert!(agent.metric("bellwether_ingest_forward_pending_samples") > 0.0);
    assert_eq!(agent.metric("bellwether_ingest_forward_dropped_samples_total"), 0.0);
    let (waiting, up) = (pushes(&agent), now());
    // The agent dies as well: what it had spooled is on the disk.
    drop(agent);
    let server = collector(&data, port, &config);
    let agent = Agent::start(&agent_config, &LIGHT);
    let query = "up{instance=\"web-7\"}[10m]";
    let seen = || {
        let result = server.query(query);
        let values =
            result.first().and_then(|series| series["values"].as_array().cloned()).unwrap_or_default();
        values.iter().filter(|value| (down..up).contains(&value[0].as_f64().unwrap())).count() as f64
    };
    // The last push may have been under way when the agent died.
    wait("what waited to arrive", || (seen() >= waiting - before - 1.0).then_some(()));
    wait("the spool to be empty", || {
        (agent.metric("bellwether_ingest_forward_pending_samples") == 0.0).then_some(())
    });
    assert_eq!(agent.metric("bellwether_ingest_forward_dropped_samples_total"), 0.0);
    // It says goodbye.
    agent.terminate();
    wait("the agent to be gone", || {
        server.data("/api/v1/agents")["agents"].as_array().unwrap().is_empty().then_some(())
    });
}

fn now() -> f64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

/// How often an agent has collected and pushed.
fn pushes(agent: &Agent) -> f64 {
    agent.metric("bellwether_sources_scrape_lateness_seconds_count")
}

#[test]
fn what_is_pushed_is_set_at_the_server_and_a_wrong_token_is_put_right_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let rules = |text: &str| registry(folder.path(), &format!("    remote:\n{text}"));
    let first = rules(
        "      - {match: {rack: r2}, drop: ['.*']}\n      - {interval: 1s, drop: ['node_load15', 'node_netstat_.*']}\n",
    );
    let config = file(folder.path(), "server.yml", &first);
    let server = collector(&folder.path().join("data"), port, &config);
    let token = file(folder.path(), "token", "wrong-token\n");
    let agent_config = file(
        folder.path(),
        "agent.yml",
        &format!(
            "agent:\n  name: web-8\n  labels: {{rack: r1}}\n  token_file: {}\n  collectors: ['http://127.0.0.1:{port}']\n  push: {{enabled: true, interval: 1h, folder: {}}}\n",
            token.display(),
            folder.path().join("spool").display(),
        ),
    );
    let agent = Agent::start(&agent_config, &LIGHT);
    wait("the refusal to be told", || agent.log().contains("401").then_some(()));
    assert!(server.data("/api/v1/agents")["agents"].as_array().unwrap().is_empty());
    std::fs::write(&token, "right-token\n").unwrap();
    server.wait_for("count_over_time(node_load1{instance=\"web-8\"}[5m]) > 2");
    // The agent's own setting was in force for its first push alone.
    server.wait_for("absent(node_load15{instance=\"web-8\"})");
    // Another choice, another rhythm.
    let second = rules("      - {interval: 2s, disabled_collectors: [loadavg], keep: ['node_.*']}\n");
    std::fs::write(&config, second).unwrap();
    assert_eq!(server.post("/-/reload", "text/plain", b"").0, 200);
    server.wait_for(
        "absent(node_load1{instance=\"web-8\"}) and on () node_netstat_Tcp_CurrEstab{instance=\"web-8\"}",
    );
    // Whoever scrapes it still sees everything.
    assert!(agent.metrics().contains("node_load15"));
}

#[test]
fn a_dead_collectors_agents_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let url = |port: &u16| format!("http://127.0.0.1:{port}");
    let start = |index: usize| {
        let peers: Vec<String> = ports.iter().filter(|port| **port != ports[index]).map(url).collect();
        let text = registry(
            folder.path(),
            &format!(
                "    collector: c{index}\n    peer_interval: 500ms\n    peers: {}\nscrape_configs:\n  - job_name: agents\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    agent_sd_configs: [{{}}]\n",
                serde_json::to_string(&peers).unwrap()
            ),
        );
        let config = file(folder.path(), &format!("c{index}.yml"), &text);
        collector(&folder.path().join(format!("data{index}")), ports[index], &config)
    };
    let mut servers: Vec<Option<Server>> = (0..3).map(|index| Some(start(index))).collect();
    let urls: Vec<String> = ports.iter().map(url).collect();
    let mut agents = Vec::new();
    // As many as it takes until every collector has one: which is whose is decided by the hash of the names.
    let owners = |server: &Server| -> Vec<(String, String)> {
        let data = server.data("/api/v1/agents");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        data["agents"].as_array().unwrap().iter().map(|a| (text(&a["name"]), text(&a["collector"]))).collect()
    };
    let owned = loop {
        let number = agents.len();
        assert!(number < 20, "no collector but some gets an agent");
        let port = free_port();
        let text = format!(
            "agent:\n  name: host-{number}\n  token_file: {}\n  collectors: {}\n  address: 127.0.0.1:{port}\n",
            folder.path().join("tokens").display(),
            serde_json::to_string(&urls).unwrap()
        );
        let config = file(folder.path(), &format!("agent{number}.yml"), &text);
        let listen = format!("--web.listen-address=127.0.0.1:{port}");
        let args: Vec<&str> = LIGHT.into_iter().chain([listen.as_str()]).collect();
        agents.push(Agent::start(&config, &args));
        let first = servers[0].as_ref().unwrap();
        let all = wait("the agent to be known", || {
            let all = owners(first);
            (all.len() == agents.len()).then_some(all)
        });
        if (0..3).all(|index| all.iter().any(|(_, owner)| *owner == format!("c{index}"))) {
            break all;
        }
    };
    let server = |servers: &Vec<Option<Server>>, name: &str| -> usize {
        let index: usize = name.trim_start_matches('c').parse().unwrap();
        assert!(servers[index].is_some());
        index
    };
    for (agent, owner) in &owned {
        let index = server(&servers, owner);
        servers[index]
            .as_ref()
            .unwrap()
            .wait_for(&format!("up{{job=\"agents\", instance=\"{agent}\"}} == 1"));
    }
    // The collector that all announce themselves to dies.
    servers[0].take().unwrap().kill();
    let died = Instant::now();
    let heir = servers[1].as_ref().unwrap();
    let moved = wait("its agents to be others'", || {
        let all = owners(heir);
        (all.len() == owned.len() && all.iter().all(|(_, owner)| owner != "c0")).then_some(all)
    });
    println!("{} agents were taken over {:?} after their collector died", owned.len(), died.elapsed());
    for (agent, owner) in &moved {
        let before = &owned.iter().find(|(name, _)| name == agent).unwrap().1;
        assert!(before == "c0" || before == owner, "{agent} moved from {before} to {owner}");
        let index = server(&servers, owner);
        servers[index]
            .as_ref()
            .unwrap()
            .wait_for(&format!("up{{job=\"agents\", instance=\"{agent}\"}} == 1"));
    }
    // It comes back, and has its own again.
    servers[0] = Some(start(0));
    wait("the agents to be where they were", || {
        let mut all = owners(servers[1].as_ref().unwrap());
        let mut wanted = owned.clone();
        all.sort();
        wanted.sort();
        (all == wanted).then_some(())
    });
}

#[test]
fn a_mount_that_hangs_costs_its_own_series_alone() {
    if std::fs::metadata("/dev/fuse").is_err() || !rustix::process::geteuid().is_root() {
        eprintln!("not run: mounting a file system that hangs needs root and /dev/fuse");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("hung");
    std::fs::create_dir_all(&mount).unwrap();
    // A procfs with this mount and another: the agent looks at process 1, which does not see the mount of the test's own name space.
    let proc = folder.path().join("proc/1");
    std::fs::create_dir_all(&proc).unwrap();
    let lines = format!(
        "21 1 0:60 / {} rw - fuse hung rw\n22 1 8:1 / {} rw - ext4 /dev/sda1 rw\n",
        mount.display(),
        folder.path().display()
    );
    std::fs::write(proc.join("mountinfo"), lines).unwrap();
    let binary = bellwether();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--", "python3", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/hung_mount.py")])
        .arg(&mount)
        .arg(binary.get_program())
        .args([
            "agent",
            "--web.listen-address=127.0.0.1:0",
            "--collector.disable-defaults",
            "--collector.filesystem",
        ])
        .arg(format!("--path.procfs={}", folder.path().join("proc").display()));
    let Some(agent) = Agent::spawn(command) else {
        eprintln!("not run: a FUSE file system cannot be mounted here");
        return;
    };
    let text = agent.metrics();
    let line = |start: &str, path: &Path| {
        let at = format!("mountpoint=\"{}\"", path.display());
        text.lines().find(|line| line.starts_with(start) && line.contains(&at)).map(str::to_owned)
    };
    let error = line("node_filesystem_device_error{", &mount).unwrap();
    assert!(error.contains("mountpoint timeout") && error.ends_with(" 1"), "{error}");
    let stalled = line("bellwether_mount_stalled_seconds{", &mount).unwrap();
    assert!(stalled.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() > 0.9, "{stalled}");
    assert!(line("node_filesystem_size_bytes{", folder.path()).is_some(), "{text}");
    assert!(text.contains("node_scrape_collector_success{collector=\"filesystem\"} 1"), "{text}");
    // One child at most, and none that waits in this process.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.child.id())).unwrap().count();
    let again = agent.metrics();
    assert!(again.contains("bellwether_mount_stalled_seconds"));
    let children =
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", agent.child.id())).unwrap_or_default();
    println!("{tasks} threads, children: {children:?}");
    assert!(children.split_whitespace().count() <= 2, "{children}");
}
