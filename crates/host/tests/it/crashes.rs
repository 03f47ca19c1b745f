//! Real processes that end in every way, and the events that tell of it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::config::{GroupConfig, ProcessConfig};
use host::events::{Event, Severity};
use host::{Config, Host};
use model::time::SystemClock;

/// How long anything may take; generous, because machines are shared.
const PATIENCE: Duration = Duration::from_secs(30);

fn host(tag: &str) -> Option<Host> {
    let group = GroupConfig {
        name: tag.to_owned(),
        cmdline: vec![format!("marker-{tag}")],
        ..GroupConfig::default()
    };
    let processes =
        ProcessConfig { groups: vec![group], critical: vec![tag.to_owned()], ..ProcessConfig::default() };
    let config = Config { processes, ..Config::default() };
    let host = Host::new(&config, Arc::new(SystemClock)).unwrap();
    let missing = host.missing();
    if missing.iter().any(|missing| missing.contains("ends of processes")) {
        eprintln!("not run: {missing:?}");
        return None;
    }
    Some(host)
}

/// A shell that is known by its command line and does `script` once a line comes.
fn start(tag: &str, script: &str) -> std::process::Child {
    Command::new("sh")
        .args(["-c", &format!(": marker-{tag}; read line; {script}")])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell starts")
}

/// Lets it go.
fn go(child: &mut std::process::Child) {
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
}

/// Waits until the group has a process: one that ends within its first milliseconds may not be known by its command line.
async fn known(host: &Host, tag: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let families = host.collect().await;
        let family =
            families.iter().find(|family| family.name == "namedprocess_namegroup_num_procs").unwrap();
        if family.samples.iter().any(|(labels, value)| labels.get("groupname") == Some(tag) && *value > 0.0) {
            return;
        }
        assert!(Instant::now() < deadline, "{tag} has no process");
    }
}

/// Waits for an event of the group that `accept` takes.
async fn wait(host: &Host, tag: &str, accept: impl Fn(&Event) -> bool) -> Event {
    let mut watch = host.events().watch();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let events = host.events().since(0, 10_000);
        let own = |event: &&Event| event.labels.get("group").is_some_and(|group| group == tag);
        if let Some(event) = events.iter().filter(own).find(|event| accept(event)) {
            return event.clone();
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = tokio::time::timeout(left, watch.changed()).await;
        assert!(waited.is_ok(), "no such event of {tag}; there are: {events:#?}");
    }
}

#[tokio::test]
async fn every_end_is_told_with_its_cause() {
    let Some(host) = host("ends") else { return };
    host.collect().await;
    for (script, cause, signal, code) in [
        ("exit 3", "exit_code", "", "3"),
        ("kill -9 $$", "signal", "SIGKILL", ""),
        ("ulimit -c 0; kill -SEGV $$", "", "SIGSEGV", ""),
    ] {
        let mut child = start("ends", script);
        known(&host, "ends").await;
        let began = Instant::now();
        go(&mut child);
        let pid = child.id().to_string();
        let event = wait(&host, "ends", |event| event.labels.get("pid") == Some(&pid)).await;
        println!("{script:?} was told after {:?}: {}", began.elapsed(), event.message);
        child.wait().unwrap();
        assert_eq!(event.kind, "process_exit");
        assert_eq!(event.severity, Severity::Critical, "{event:?}");
        let label = |name: &str| event.labels.get(name).map_or("", String::as_str);
        assert_eq!((label("signal"), label("exit_code")), (signal, code), "{event:?}");
        if cause.is_empty() {
            // Whether a core is written is the machine's setting.
            assert!(["signal", "core_dump"].contains(&label("cause")), "{event:?}");
        } else {
            assert_eq!(label("cause"), cause);
        }
    }
    // The restarts are a loop by now, and all is in series too.
    let families = host.collect().await;
    let value = |name: &str, label: (&str, &str)| {
        let family = families.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("{name}"));
        let own = family.samples.iter().filter(|(labels, _)| labels.get("groupname") == Some("ends"));
        own.clone().find(|(labels, _)| labels.get(label.0) == Some(label.1)).map(|(_, value)| *value)
    };
    assert_eq!(value("bellwether_process_exits_total", ("signal", "SIGKILL")), Some(1.0));
    assert_eq!(value("bellwether_process_exits_total", ("code", "3")), Some(1.0));
    assert_eq!(
        value("bellwether_process_last_crash_timestamp_seconds", ("signal", "SIGSEGV")).map(|t| t > 1e9),
        Some(true)
    );
    assert_eq!(value("bellwether_process_expected", ("source", "declared")), Some(1.0));
    assert_eq!(value("namedprocess_namegroup_num_procs", ("groupname", "ends")), Some(0.0));
    assert!(value("bellwether_process_restarts_total", ("groupname", "ends")) >= Some(2.0));
}

#[tokio::test]
async fn a_group_that_lacks_memory_is_told_apart() {
    let Some(host) = host("hungry") else { return };
    let cgroup = std::path::Path::new("/sys/fs/cgroup/memory/bellwether-test-oom");
    if std::fs::create_dir_all(cgroup).is_err() || !cgroup.join("memory.limit_in_bytes").exists() {
        eprintln!("not run: a memory control group of version 1 cannot be made here");
        return;
    }
    std::fs::write(cgroup.join("memory.limit_in_bytes"), "20000000").unwrap();
    let script = format!("echo $$ > {}/cgroup.procs; a=x; while :; do a=$a$a; done", cgroup.display());
    let mut child = start("hungry", &script);
    known(&host, "hungry").await;
    go(&mut child);
    let event = wait(&host, "hungry", |event| event.kind == "process_exit").await;
    child.wait().unwrap();
    assert_eq!(event.labels.get("cause").map(String::as_str), Some("oom"), "{event:?}");
    wait(&host, "hungry", |event| event.kind == "oom_kill").await;
    drop(std::fs::remove_dir(cgroup));
}

#[tokio::test]
async fn processes_are_grouped_and_counted() {
    let Some(host) = host("busy") else { return };
    host.collect().await;
    let mut children: Vec<_> = (0..2).map(|_| start("busy", "while :; do :; done")).collect();
    children.iter_mut().for_each(go);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let families = host.collect().await;
        let value = |name: &str, label: (&str, &str)| {
            let family = families.iter().find(|family| family.name == name)?;
            let own = family.samples.iter().filter(|(labels, _)| labels.get("groupname") == Some("busy"));
            own.clone().find(|(labels, _)| labels.get(label.0) == Some(label.1)).map(|(_, value)| *value)
        };
        let processes = value("namedprocess_namegroup_num_procs", ("groupname", "busy"));
        let cpu = value("namedprocess_namegroup_cpu_seconds_total", ("mode", "user"));
        if processes == Some(2.0) && cpu > Some(0.1) {
            assert!(value("namedprocess_namegroup_memory_bytes", ("memtype", "resident")) > Some(1e5));
            assert!(
                value("namedprocess_namegroup_oldest_start_time_seconds", ("groupname", "busy"))
                    > Some(1.7e9)
            );
            break;
        }
        assert!(Instant::now() < deadline, "{processes:?} processes, {cpu:?} s");
        tokio::task::yield_now().await;
    }
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
