//! Acknowledged is durable: `kill -9`, a second process, an orderly end.

use std::process::Stdio;
use std::time::Duration;

use crate::harness::{Server, bellwether, encode, stderr, wait};

/// Every stored sample of a selector: series text → time and value texts.
fn samples(server: &Server, selector: &str, seconds: u64) -> Vec<(String, Vec<(String, String)>)> {
    let data = server.data(&format!("/api/v1/query?query={}", encode(&format!("{selector}[{seconds}s]"))));
    let mut found: Vec<(String, Vec<(String, String)>)> = data["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| {
            let points = series["values"].as_array().unwrap();
            let texts = points.iter().map(|point| (point[0].to_string(), point[1].to_string())).collect();
            (series["metric"].to_string(), texts)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn kill_9_loses_no_stored_sample() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    server.wait_for("node_load1");
    wait("a few scrapes", || server.value("count_over_time(node_load1[1m])").filter(|count| *count >= 3.0));
    let selector = "{__name__=~\"node_(load1|cpu_seconds_total|memory_.*)\"}";
    let before = samples(&server, selector, 600);
    server.kill();

    let server = Server::start(folder.path(), &["--sources.host.enabled=false"]);
    assert!(server.banner.iter().any(|line| line.contains("recovered")), "{:?}", server.banner);
    let after = samples(&server, selector, 600);
    assert!(!before.is_empty());
    for (series, points) in &before {
        let (_, kept) =
            after.iter().find(|(name, _)| name == series).unwrap_or_else(|| panic!("{series} is gone"));
        for point in points {
            assert!(kept.contains(point), "{series} lost {point:?}");
        }
    }
}

#[test]
fn sigterm_ends_in_good_order_and_a_restart_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    server.wait_for("node_load1");
    let before = samples(&server, "node_load1", 600);
    assert_eq!(server.terminate(), Some(0));
    let server = Server::start(folder.path(), &["--sources.host.enabled=false"]);
    let after = samples(&server, "node_load1", 600);
    assert!(before[0].1.iter().all(|point| after[0].1.contains(point)));
}

#[test]
fn two_processes_never_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let second = bellwether()
        .arg("server")
        .arg(format!("--storage.path={}", folder.path().display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_ne!(second.status.code(), Some(0));
    let message = stderr(&second);
    assert!(
        message.contains("another process") && message.contains(&folder.path().display().to_string()),
        "{message}"
    );
    // The first is not disturbed.
    server.wait_for("up");
}

#[test]
fn a_file_in_the_place_of_a_folder_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = crate::harness::file(folder.path(), "default", "no folder");
    let storage = format!("--storage.path={}", folder.path().display());
    let refused = crate::harness::run(&["server", &storage, "--web.listen-address=127.0.0.1:0"]);
    assert_ne!(refused.status.code(), Some(0));
    let message = stderr(&refused);
    assert!(
        message.contains(&file.display().to_string()) && message.contains("is not a folder"),
        "{message}"
    );
}

#[test]
fn a_read_only_file_system_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    // A file system of its own, in a mount namespace that ends with the process.
    let script = "mount -t tmpfs -o size=1m none \"$1\" && mkdir \"$1/default\" && mount -o remount,ro \"$1\" && shift && exec \"$@\"";
    let server = bellwether();
    let storage = format!("--storage.path={}", folder.path().display());
    let refused = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(folder.path())
        .arg(server.get_program())
        .args(["server", &storage, "--web.listen-address=127.0.0.1:0"])
        .stdin(Stdio::null())
        .output();
    let message = match &refused {
        Ok(output) => stderr(output),
        Err(err) => err.to_string(),
    };
    if refused.is_err() || message.starts_with("unshare:") || message.starts_with("mount:") {
        eprintln!("not run: no file system can be mounted here: {message}");
        return;
    }
    assert!(
        message.contains(&folder.path().display().to_string()) && message.contains("ead-only file system"),
        "{message}"
    );
}

#[test]
fn a_killed_server_is_back_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let server = Server::start(folder.path(), &[]);
        server.wait_for("node_load1");
        server.kill();
    }
    let started = std::time::Instant::now();
    let server = Server::start(folder.path(), &[]);
    server.wait_for("node_load1");
    assert!(started.elapsed() < Duration::from_secs(30));
}
