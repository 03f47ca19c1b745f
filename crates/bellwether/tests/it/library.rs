//! The rules-and-actions database over HTTP: edits with versions, authors, differences and a way back; files that have the
//! say; what survives, and what a snapshot holds.

use serde_json::{Value, json};

use crate::harness::{Server, WebhookSink, file, wait};

fn put(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    answer(server.send("PUT", path, Some(body)))
}

fn answer((status, text): (u16, String)) -> (u16, Value) {
    (status, serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}")))
}

fn edit(content: &str) -> Value {
    json!({ "content": content, "author": "ada", "comment": "why" })
}

const RULES: &str = "groups:\n  - name: mine\n    interval: 1s\n    rules:\n      - alert: AlwaysOn\n        expr: vector(1) > 0\n        labels: {team: db}\n";

#[test]
fn rules_are_edited_with_versions_and_undone() {
    let folder = tempfile::tempdir().unwrap();
    let of_file = "groups:\n  - name: of-file\n    rules:\n      - record: a:b\n        expr: vector(1)\n";
    file(folder.path(), "rules.yml", of_file);
    let config = file(folder.path(), "bellwether.yml", "rule_files: [rules.yml]\n");
    let args = format!("--config.file={}", config.display());
    let args = [args.as_str(), "--rules.shipped=false", "--web.enable-admin-api"];
    let data = folder.path().join("data");
    let server = Server::start(&data, &args);
    let path = "/api/v1/library/rules/team-db";

    let (status, answer_) = put(&server, &format!("{path}?dry_run=true"), &edit(RULES));
    assert!(
        status == 200 && answer_["data"]["diff"].as_str().unwrap().contains("+      - alert: AlwaysOn"),
        "{answer_}"
    );
    assert_eq!(server.get(path).0, 404, "a dry run stores nothing");
    let (status, answer_) = put(&server, path, &edit(RULES));
    assert_eq!((status, &answer_["data"]["version"]), (200, &json!(1)), "{answer_}");
    server.wait_for("ALERTS{alertname=\"AlwaysOn\",alertstate=\"firing\"}");

    // What is wrong is refused and changes nothing.
    for (body, status, word) in [
        (edit("groups: [{name: x, rules: [{alert: A, expr: 'sum('}]}]"), 400, "library/team-db"),
        (edit(of_file), 409, "rules.yml"),
        (json!({ "content": RULES, "author": "bob", "expectedVersion": 7 }), 409, "version 1"),
        (json!({ "content": RULES }), 400, "author"),
    ] {
        let (got, answer_) = put(&server, path, &body);
        assert!(got == status && answer_["error"].as_str().unwrap().contains(word), "{got}: {answer_}");
    }
    assert_eq!(put(&server, "/api/v1/library/nonsense/x", &edit("")).0, 404);

    let second = RULES.replace("vector(1) > 0", "vector(1) > 1");
    assert_eq!(
        put(&server, path, &json!({ "content": second, "author": "bob", "expectedVersion": 1 })).0,
        200
    );
    let diff = server.data(&format!("{path}/diff"));
    let diff = diff["diff"].as_str().unwrap();
    assert!(
        diff.contains("-        expr: vector(1) > 0") && diff.contains("+        expr: vector(1) > 1"),
        "{diff}"
    );
    let versions = server.data(&format!("{path}/versions"));
    let authors: Vec<&str> =
        versions["versions"].as_array().unwrap().iter().map(|v| v["author"].as_str().unwrap()).collect();
    assert_eq!(authors, ["bob", "ada"]);
    let (status, undone) =
        answer(server.send("POST", &format!("{path}/undo"), Some(&json!({ "author": "ada" }))));
    assert_eq!((status, &undone["data"]["version"]), (200, &json!(3)), "{undone}");
    assert_eq!(server.data(path)["content"], RULES);

    // A snapshot has it, and so has the server after a crash.
    let (status, snapshot) =
        server.post("/api/v1/admin/tsdb/snapshot", "application/x-www-form-urlencoded", b"");
    assert_eq!(status, 200, "{snapshot}");
    let name = serde_json::from_str::<Value>(&snapshot).unwrap()["data"]["name"].as_str().unwrap().to_owned();
    let copy = data.join("snapshots").join(name);
    assert!(copy.join("state.sqlite").is_file() && copy.join("alerts.sqlite").is_file());
    server.kill();
    for data in [&data, &copy] {
        let server = Server::start(data, &args);
        assert_eq!(server.data(path)["version"], 3);
        server.wait_for("ALERTS{alertname=\"AlwaysOn\",alertstate=\"firing\"}");
        let (status, _) = server.send("DELETE", &format!("{path}?author=ada"), None);
        assert_eq!(status, 200);
        wait("the group to be gone", || {
            let groups = server.data("/api/v1/rules")["groups"].as_array().unwrap().clone();
            groups.iter().all(|group| group["name"] != "mine").then_some(())
        });
    }
}

#[test]
fn routes_and_receivers_are_edited_and_tell_people() {
    let folder = tempfile::tempdir().unwrap();
    let sink = WebhookSink::start();
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--rules.shipped=false"]);
    let path = "/api/v1/library/receiver/db";
    let receiver = format!("name: db\nwebhook_configs:\n  - url: {}\n", sink.url);
    assert_eq!(put(&server, path, &edit(&receiver)).0, 200);
    let route = "receiver: db\ngroup_by: [alertname]\ngroup_wait: 0s\ngroup_interval: 1s\n";
    assert_eq!(put(&server, "/api/v1/library/route/route", &edit(route)).0, 200);
    let (status, wrong) = put(&server, "/api/v1/library/route/route", &edit("receiver: gone\n"));
    assert!(status == 400 && wrong["error"].as_str().unwrap().contains("gone"), "{wrong}");
    let (status, wrong) = answer(server.send("DELETE", &format!("{path}?author=ada"), None));
    assert!(status == 400 && wrong["error"].as_str().unwrap().contains("db"), "a receiver in use: {wrong}");

    // Secrets do not leave the server, and are kept when their places come back.
    let shown = server.data(path)["content"].as_str().unwrap().to_owned();
    assert!(shown.contains("<secret>") && !shown.contains(&sink.url), "{shown}");
    assert_eq!(put(&server, path, &edit(&format!("{shown}# looked at\n"))).0, 200);

    let (status, tested) = answer(server.send("POST", "/api/v1/alerts/receivers/db/test", None));
    assert!(status == 200 && tested["data"]["delivered"] == true, "{tested}");
    sink.wait("the test", |body| body["alerts"][0]["labels"]["alertname"] == "ReceiverTest");
    let alerts = json!([{ "labels": { "alertname": "FromOutside" } }]);
    assert_eq!(server.send("POST", "/api/v2/alerts", Some(&alerts)).0, 200);
    sink.wait("the alert", |body| body["alerts"][0]["labels"]["alertname"] == "FromOutside");
    server.kill();

    // A file has the say from then on, says so, and can be imported.
    let server = Server::start(&data, &["--rules.shipped=false"]);
    assert_eq!(server.data("/api/v1/library")["authority"]["alerting"], "library");
    server.kill();
    let text = format!(
        "route: {{receiver: f}}\nreceivers: [{{name: f, webhook_configs: [{{url: '{}'}}]}}]\n",
        sink.url
    );
    let config = file(folder.path(), "alertmanager.yml", &text);
    let server = Server::start(
        &data,
        &["--rules.shipped=false", &format!("--alerts.config-file={}", config.display())],
    );
    let (status, refused) = put(&server, path, &edit(&receiver));
    assert!(status == 409 && refused["error"].as_str().unwrap().contains("config_file"), "{refused}");
    assert!(server.log().contains("alerts.config_file has the say"));
    let (status, imported) =
        answer(server.send("POST", "/api/v1/library/import", Some(&json!({ "author": "ada" }))));
    assert_eq!(status, 200, "{imported}");
    server.kill();
    let server = Server::start(&data, &["--rules.shipped=false"]);
    let (_, status) = server.get("/api/v2/receivers");
    assert!(status.contains("\"f\""), "{status}");
}
