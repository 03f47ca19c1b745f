//! SIGHUP and `POST /-/reload`: a good file takes effect, a bad one changes nothing and says so.

use crate::harness::{Server, file, run, stderr, wait};

fn jobs(server: &Server) -> Vec<String> {
    let data = server.data("/api/v1/scrape_pools");
    data["scrapePools"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}

#[test]
fn a_reload_takes_the_new_file_or_leaves_everything() {
    let folder = tempfile::tempdir().unwrap();
    let job = |name: &str| {
        format!(
            "scrape_configs:\n  - job_name: {name}\n    static_configs:\n      - targets: ['127.0.0.1:1']\n"
        )
    };
    let path = file(folder.path(), "bellwether.yml", &job("first"));
    let config = format!("--config.file={}", path.display());
    let server = Server::start(&folder.path().join("data"), &[&config]);
    assert!(jobs(&server).contains(&"first".to_owned()));

    file(folder.path(), "bellwether.yml", &job("second"));
    assert_eq!(server.post("/-/reload", "text/plain", b"").0, 200);
    assert!(jobs(&server).contains(&"second".to_owned()) && !jobs(&server).contains(&"first".to_owned()));

    file(folder.path(), "bellwether.yml", "scrape_configs:\n  - job_nam: third\n");
    let (status, body) = server.post("/-/reload", "text/plain", b"");
    assert_eq!(status, 500);
    assert!(body.contains("bellwether.yml:2") && body.contains("job_nam"), "{body}");
    assert!(jobs(&server).contains(&"second".to_owned()));
    let metrics = server.get("/metrics").1;
    assert!(metrics.contains("bellwether_config_last_reload_successful 0\n"), "{metrics}");

    file(folder.path(), "bellwether.yml", &job("fourth"));
    server.signal("HUP");
    wait("the job of the new file", || jobs(&server).contains(&"fourth".to_owned()).then_some(()));
    server.wait_for("up{job=\"fourth\"} == 0");
    // The host is still watched, without a gap.
    server.wait_for("node_load1");
}

#[test]
fn what_a_start_refuses_a_reload_and_a_check_refuse_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "bellwether.yml", "");
    let config = format!("--config.file={}", path.display());
    let server = Server::start(&folder.path().join("data"), &[&config]);
    for (text, named) in [
        ("sources:\n  host:\n    netdev_device_exclude: '(('\n", "netdev_device_exclude"),
        ("alerts:\n  config_file: nowhere.yml\n", "nowhere.yml"),
    ] {
        file(folder.path(), "bellwether.yml", text);
        let (status, body) = server.post("/-/reload", "text/plain", b"");
        assert!(status == 500 && body.contains(named), "{status} {body}");
        let checked = run(&["check", "config", &path.display().to_string()]);
        assert!(!checked.status.success() && stderr(&checked).contains(named), "{}", stderr(&checked));
    }
    // A section that is read at the start alone does not make the reload fail.
    file(folder.path(), "bellwether.yml", "query:\n  max_concurrency: 3\n");
    assert_eq!(server.post("/-/reload", "text/plain", b"").0, 200);
}

#[test]
fn lifecycle_endpoints_are_off_unless_switched_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--web.enable-lifecycle=false"]);
    assert_eq!(server.post("/-/reload", "text/plain", b"").0, 403);
    assert_eq!(server.post("/-/quit", "text/plain", b"").0, 403);
}
