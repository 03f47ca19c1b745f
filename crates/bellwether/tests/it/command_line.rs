//! Help, subcommands, exit codes, and bad input: one clear line, an exit code, nothing damaged.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Server, file, run, stderr, stdout};

/// Runs a command that must fail with one line that contains every text.
fn refused(args: &[&str], texts: &[&str]) {
    let output = run(args);
    let message = stderr(&output);
    assert!(!output.status.success(), "{args:?} succeeded");
    assert_ne!(output.status.code(), Some(101), "{args:?} panicked: {message}");
    assert!(texts.iter().all(|text| message.contains(text)), "{args:?}: {texts:?} missing in: {message}");
}

#[test]
fn help_is_complete() {
    let help = stdout(&run(&["--help"]));
    for word in ["server", "query", "check", "test", "tsdb"] {
        assert!(help.contains(word), "{word} is missing: {help}");
    }
    for args in [
        &["server", "--help"][..],
        &["query", "--help"],
        &["query", "range", "--help"],
        &["check", "rules", "--help"],
        &["test", "promql", "--help"],
    ] {
        let output = run(args);
        assert!(output.status.success() && stdout(&output).contains("Usage"), "{args:?}");
    }
    let server = stdout(&run(&["server", "--help"]));
    for flag in
        ["--config.file", "--storage.path", "--web.listen-address", "--sources.host.enabled", "--scrape"]
    {
        assert!(server.contains(flag), "{flag} is missing: {server}");
    }
    assert!(stdout(&run(&["--version"])).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn bad_flags_and_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = format!("--storage.path={}", folder.path().join("data").display());
    refused(&["server", &data, "--no-such-flag"], &["--no-such-flag"]);
    refused(&["server", &data, "--sources.host.interval=soon"], &["--sources.host.interval", "soon"]);
    let missing = folder.path().join("missing.yml");
    refused(&["server", &data, &format!("--config.file={}", missing.display())], &["missing.yml"]);
    for (text, words) in [
        ("scrape_configs:\n  - job_name: a\n    intervall: 5s\n", ["bad.yml:3", "intervall"]),
        ("global:\n  scrape_interval: never\n", ["bad.yml:2", "never"]),
        ("global: [\n", ["bad.yml", ":"]),
    ] {
        let path = file(folder.path(), "bad.yml", text);
        refused(&["server", &data, &format!("--config.file={}", path.display())], &words);
        refused(&["check", "config", &path.display().to_string()], &words);
    }
    assert!(!folder.path().join("data").exists(), "a refused start left a folder behind");
}

#[test]
fn a_taken_port_and_an_unwritable_folder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let data = format!("--storage.path={}", folder.path().join("data").display());
    refused(&["server", &data, &format!("--web.listen-address={address}")], &["cannot listen on", &address]);
    let blocked = file(folder.path(), "file", "not a folder");
    let inside = blocked.join("data");
    refused(
        &["server", &format!("--storage.path={}", inside.display()), "--web.listen-address=127.0.0.1:0"],
        &[&inside.display().to_string()],
    );
    assert_eq!(std::fs::read_to_string(&blocked).unwrap(), "not a folder");
    // Root may write anywhere, so the mode alone says nothing then.
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
}

#[test]
fn checks_have_promtool_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(
        folder.path(),
        "good.yml",
        "scrape_configs:\n  - job_name: a\n    static_configs: [{targets: ['b:1']}]\n",
    );
    let output = run(&["check", "config", &good.display().to_string()]);
    assert!(output.status.success(), "{}", stderr(&output));
    // Destinations are not looked at, as promtool does not.
    let elsewhere = file(
        folder.path(),
        "elsewhere.yml",
        "remote_write:\n  - url: http://a/write\n    tls_config: {cert_file: not_here, key_file: not_here}\n",
    );
    let output = run(&["check", "config", &elsewhere.display().to_string()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let rules = file(
        folder.path(),
        "rules.yml",
        "groups:\n  - name: g\n    rules:\n      - record: a:b\n        expr: sum(up)\n",
    );
    let output = run(&["check", "rules", &rules.display().to_string()]);
    assert!(
        output.status.success() && stdout(&output).contains("1 rules found"),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    let bad = file(
        folder.path(),
        "bad-rules.yml",
        "groups:\n  - name: g\n    rules:\n      - record: a:b\n        expr: sum(up\n",
    );
    let output = run(&["check", "rules", &bad.display().to_string()]);
    assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
    let unit = file(
        folder.path(),
        "test.yml",
        "rule_files: [rules.yml]\ntests:\n  - input_series:\n      - series: up{job=\"a\"}\n        values: 1 1 1\n    promql_expr_test:\n      - expr: a:b\n        eval_time: 1m\n        exp_samples: [{labels: 'a:b', value: 1}]\n",
    );
    let output = run(&["test", "rules", &unit.display().to_string()]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn promql_scripts_are_run_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let script = "load 1m\n  a 1 2 3\n\neval instant at 2m a\n  a 3\n";
    let good = file(folder.path(), "good.test", script);
    let output = run(&["test", "promql", &good.display().to_string()]);
    assert!(output.status.success() && stdout(&output).contains("1 passed, 0 failed"), "{}", stdout(&output));
    file(folder.path(), "bad.test", &script.replace("  a 3\n", "  a 4\n"));
    let output = run(&["test", "promql", &folder.path().display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("1 passed, 1 failed") && stdout(&output).contains("bad.test:4"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn the_suite_of_scripts_passes() {
    let Some(folder) = std::env::var_os("BELLWETHER_CONFORMANCE") else {
        eprintln!("not run: BELLWETHER_CONFORMANCE is not set");
        return;
    };
    let scripts = std::path::Path::new(&folder).join("promql");
    let output = run(&["test", "promql", &scripts.display().to_string()]);
    assert!(output.status.success(), "{}", stdout(&output));
}

#[test]
fn queries_from_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    server.wait_for("node_load1");
    let output = run(&["query", "instant", &server.url, "node_load1"]);
    assert!(
        output.status.success() && stdout(&output).contains("node_load1{"),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    let output = run(&["query", "range", &server.url, "up", "--start=0", "--end=10", "--step=5s"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = run(&["query", "instant", &server.url, "up{"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("bad_data"), "{}", stderr(&output));
}
