//! Programs of this machine: the allow-list, dry run, the cool-down and what survives a restart, the trace in the history.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alerts::config::AllowedCommand;
use alerts::history::{History, Query};
use alerts::{Config, Dispatcher, Error, Metrics, Parts, Settings, api};
use model::Labels;
use model::time::SystemClock;
use serde_json::{Value, json};
use testkit::MemoryState;

/// A dispatcher with one program, `grow`, that runs `script` in a shell.
async fn start(
    script: &str,
    section: &str,
    state: &Arc<MemoryState>,
    history: Option<Arc<History>>,
) -> Result<Dispatcher, Error> {
    let yaml = format!(
        "route: {{receiver: r, group_by: [alertname], group_wait: 50ms, group_interval: 30s}}\nreceivers: [{{name: r, exec_configs: [{section}]}}]\n"
    );
    let mut settings = Settings::default();
    let args = vec!["-c".into(), script.to_owned(), "sh".into()];
    settings.exec.insert("grow".into(), AllowedCommand { program: "/bin/sh".into(), args });
    let parts = Parts {
        settings,
        config: Config::load(&yaml).unwrap(),
        state: state.clone(),
        journal: None,
        history,
        clock: Arc::new(SystemClock),
        metrics: Metrics::unregistered(),
        seed: 1,
    };
    Dispatcher::start(parts).await
}

async fn test(am: &Dispatcher) -> Result<String, String> {
    let labels = Labels::from_pairs([("alertname", "Load")]);
    let attempt = am.send_test("r", labels).await.unwrap().remove(0).1;
    attempt.map(|delivered| delivered.answer).map_err(|failure| failure.message)
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn programs_run_from_the_allow_list_only() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = format!("cat > {} && echo \"$1 $BELLWETHER_STATUS\"", out.display());
    let state = Arc::<MemoryState>::default();
    let refused = start(&script, "{command: other}", &state, None).await.err().unwrap().to_string();
    assert!(refused.contains("\"other\"") && refused.contains("alerts.exec"), "{refused}");
    let am =
        start(&script, "{command: grow, args: ['{{.CommonLabels.alertname}}']}", &state, None).await.unwrap();
    let answer = test(&am).await.unwrap();
    assert!(answer.ends_with("Load firing"), "{answer}");
    let body: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(body["alerts"][0]["labels"]["alertname"], "Load");
    // What labels say is one argument, whatever is in it: no shell reads it.
    let section = "{command: grow, args: ['$(touch {{.CommonLabels.alertname}}); `id`']}";
    let am = start(&script, section, &state, None).await.unwrap();
    let answer = test(&am).await.unwrap();
    assert!(answer.contains("$(touch Load); `id` firing"), "{answer}");
    std::fs::remove_file(&out).unwrap();
    let am = start(&script, "{command: grow, dry_run: true}", &state, None).await.unwrap();
    let answer = test(&am).await.unwrap();
    assert!(answer.starts_with("dry run, would run \"/bin/sh\"") && !out.exists(), "{answer}");
    // A program that hangs is ended.
    let am = start("sleep 60", "{command: grow, timeout: 200ms}", &state, None).await.unwrap();
    assert!(test(&am).await.unwrap_err().contains("did not end within"));
}

#[tokio::test]
async fn the_cool_down_survives_restarts_and_a_store_that_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    let script = format!("echo x >> {}", ran.display());
    let section = "{command: grow, cool_down: 1h}";
    let state = Arc::<MemoryState>::default();
    let am = start(&script, section, &state, None).await.unwrap();
    assert!(test(&am).await.is_ok() && lines(&ran) == 1);
    assert!(test(&am).await.unwrap().starts_with("not run: less than 1h"));
    am.stop(Duration::from_secs(1)).await;
    // A restart, a crash and a reload know of it.
    let left = Arc::new(state.snapshot());
    let am = start(&script, section, &left, None).await.unwrap();
    assert!(test(&am).await.unwrap().starts_with("not run: less than 1h"));
    am.reload(am.look(|core, _| core.setup.config.clone())).unwrap();
    assert!(test(&am).await.unwrap().starts_with("not run"));
    // Nobody knows when it ran last: it is not run.
    let fresh = start(&script, section, &left, None).await.unwrap();
    left.set_down(true);
    assert!(test(&fresh).await.unwrap_err().contains("cool-down cannot be looked up"));
    assert_eq!(lines(&ran), 1);
    // Other groups have their own.
    left.set_down(false);
    let labels = Labels::from_pairs([("alertname", "Other")]);
    assert!(fresh.send_test("r", labels).await.unwrap().remove(0).1.is_ok());
    assert_eq!(lines(&ran), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_attempt_is_the_same_run_and_everything_is_in_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    // The first attempt asks for another one.
    let script = format!(
        "echo x >> {0}; echo \"take $(wc -l < {0})\"; [ $(wc -l < {0}) -gt 1 ] || exit 75",
        ran.display()
    );
    let settings = Settings::default().history;
    let history = History::open(&folder.path().join("h.db"), &settings, Metrics::unregistered()).unwrap();
    let history = Arc::new(history);
    let state = Arc::<MemoryState>::default();
    let am = start(&script, "{command: grow, cool_down: 1h}", &state, Some(history.clone())).await.unwrap();
    let posted = json!([{ "labels": { "alertname": "Load" } }]);
    api::post_alerts(&am, serde_json::from_value(posted).unwrap()).await.unwrap();
    let mut found = vec![];
    for _ in 0..400 {
        history.flush();
        found =
            history.query(&Query { kind: "delivered,attempt_failed".into(), ..Query::default() }).unwrap();
        if found.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    am.stop(Duration::from_secs(1)).await;
    assert_eq!((lines(&ran), found.len()), (2, 2));
    let answer = |at: usize| found[at].detail["answer"].as_str().unwrap().to_owned();
    assert!(found[0].kind == "delivered" && answer(0).ends_with("take 2"), "{}", answer(0));
    assert!(
        found[1].kind == "attempt_failed" && answer(1).contains("exit status: 75: take 1"),
        "{}",
        answer(1)
    );
    assert!(answer(1).contains("/bin/sh"));
}
