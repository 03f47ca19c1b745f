//! Alertmanager's own `amtool` and our `alerts` subcommands on the same server: the same words, the same exit codes. The
//! amtool part is not run without `amtool` in `BELLWETHER_PEERS` or on the path.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::{Server, bellwether, file, stderr, stdout};

/// From 0.33 on: what earlier ones print differs.
fn amtool() -> Option<PathBuf> {
    let path = testkit::peer::peer(&["amtool"])?;
    let version = Command::new(&path).arg("--version").output().expect("amtool starts");
    let text = format!("{}{}", stdout(&version), stderr(&version));
    let number = text.split("version ").nth(1).and_then(|rest| rest.split(['.', ' ']).nth(1)?.parse().ok());
    if number.is_none_or(|minor: u32| minor < 33) {
        eprintln!("not run: amtool is not 0.33 or newer: {}", text.lines().next().unwrap_or_default());
        return None;
    }
    Some(path)
}

const ALERTMANAGER: &str = r#"
route:
  receiver: default
  group_by: [alertname, job]
  routes:
    - matchers: [team="db"]
      receiver: db
      continue: true
      routes:
        - matchers: [severity="page", env!="test"]
          receiver: db-page
          group_by: [instance]
    - matchers: [team=~"web|api"]
      receiver: web
receivers:
  - name: default
  - name: db
  - name: db-page
  - name: web
    webhook_configs: [{url: "http://127.0.0.1:1/x"}]
"#;

/// The two programs, with the same server.
struct Pair {
    amtool: PathBuf,
    url: String,
    home: PathBuf,
}

impl Pair {
    fn command(&self, ours: bool) -> Command {
        let mut command = match ours {
            true => {
                let mut command = bellwether();
                command.arg("alerts");
                command
            }
            false => Command::new(&self.amtool),
        };
        command.env("HOME", &self.home).current_dir(&self.home).stdin(Stdio::null());
        command.arg(format!("--alertmanager.url={}", self.url)).arg("--no-version-check");
        command
    }

    fn run(&self, ours: bool, args: &[&str]) -> Output {
        self.command(ours).args(args).output().expect("the program starts")
    }

    /// Whether both print the same and end alike; if not, what each did.
    fn compare(&self, args: &[&str]) -> Option<String> {
        let (theirs, ours) = (self.run(false, args), self.run(true, args));
        let seen = |output: &Output| (stdout(output), output.status.code(), stderr(output).is_empty());
        (seen(&ours) != seen(&theirs)).then(|| {
            format!(
                "{args:?}\n  ours:   {:?} {}\n  theirs: {:?} {}",
                seen(&ours),
                stderr(&ours),
                seen(&theirs),
                stderr(&theirs)
            )
        })
    }

    fn same(&self, args: &[&str]) {
        if let Some(difference) = self.compare(args) {
            panic!("{difference}");
        }
    }

    /// Both do something that succeeds; what each printed.
    fn each(&self, args: &[&str]) -> [String; 2] {
        [false, true].map(|ours| {
            let output = self.run(ours, args);
            assert!(output.status.success(), "{args:?} (ours: {ours}): {}", stderr(&output));
            stdout(&output).trim().to_owned()
        })
    }
}

fn start(folder: &Path) -> Server {
    let config = file(folder, "alertmanager.yml", ALERTMANAGER);
    Server::start(
        &folder.join("data"),
        &[&format!("--alerts.config-file={}", config.display()), "--rules.shipped=false"],
    )
}

#[test]
fn amtool_and_ours_say_the_same() {
    let Some(amtool) = amtool() else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let both = Pair { amtool, url: server.url.clone(), home: folder.path().to_owned() };
    file(folder.path(), "good.tmpl", r#"{{ define "x" }}hello {{ .Status }}{{ end }}"#);
    file(folder.path(), "with.yml", &format!("{ALERTMANAGER}templates: ['*.tmpl']\n"));
    file(folder.path(), "bad.yml", "route: {}\n");
    file(folder.path(), "broken.txt", r#"{{ define "x"#);
    file(folder.path(), "broken.yml", &format!("{ALERTMANAGER}templates: ['broken.txt']\n"));
    let data = r#"{"receiver":"r","status":"resolved","alerts":[{"status":"resolved","labels":{"a":"b"},"annotations":{"c":"<d>"},"startsAt":"2026-01-01T00:00:00Z","endsAt":"2026-01-02T00:00:00Z","generatorURL":"u","fingerprint":"f"}],"groupLabels":{"g":"h"},"commonLabels":{"z":"y"},"commonAnnotations":{},"externalURL":"http://e"}"#;
    file(folder.path(), "data.json", data);

    // Alerts and silences are added by each; amtool's own look back at what ours did.
    both.each(&[
        "alert",
        "add",
        "foo",
        "node=bar",
        "team=db",
        "--annotation=summary=\"it broke\"",
        "--start=2026-11-24T01:02:03Z",
        "--end=2036-01-01T00:00:00Z",
        "--generator-url=http://x/y",
    ]);
    both.each(
        &["alert", "add", "alertname=other", "node=~", "severity=page"]
            .map(|arg| if arg == "node=~" { "node=b" } else { arg }),
    );
    let ids = both.each(&[
        "silence",
        "add",
        "foo",
        "node=bar",
        "-c",
        "why not",
        "-a",
        "me",
        "--start=2036-01-01T00:00:00Z",
        "--end=2036-01-02T00:00:00Z",
    ]);
    let active = both.each(&[
        "silence",
        "add",
        "alertname=~o.*r",
        "x!=y",
        "z!~y",
        "-c",
        "x",
        "-d",
        "2h",
        "-a",
        "me",
        "--annotation=k=v",
    ]);
    let cases: &[&[&str]] = &[
        &["alert", "add"],
        &["alert", "add", "foo=~bar"],
        &["alert", "add", "bar", "--start=x"],
        &["alert"],
        &["alert", "query", "-o", "extended"],
        &["alert", "query", "-o", "json"],
        &["alert", "foo", "node=bar"],
        &["alert", "query", "node=~b.*", "-r", "def.*"],
        &["alert", "query", "nope"],
        &["alert", "query", "-s"],
        &["alert", "query", "-i"],
        &["alert", "query", "-s", "-o", "json"],
        &["silence", "add", "foo"],
        &["silence", "add", "-c", "x"],
        &["silence", "add", "foo", "-c", "x", "-d", "0s"],
        &["silence", "add", "foo", "-c", "x", "-d", "2x"],
        &["silence", "add", "foo", "-c", "x", "--start=2030-01-01T00:00:00Z", "--end=2029-01-01T00:00:00Z"],
        &["silence", "add", "a=\"\"", "-c", "x"],
        &["silence"],
        &["silence", "query", "-o", "extended"],
        &["silence", "query", "-o", "json"],
        &["silence", "query", "-q"],
        &["silence", "query", "--created-by=you"],
        &["silence", "query", "--created-by=me", "--within=3h"],
        &["silence", "query", &format!("--id={}", ids[0])],
        &["silence", "query", "foo"],
        &["silence", "expire"],
        &["silence", "update"],
        &["silence", "expire", "00000000-0000-4000-8000-000000000000"],
        &["silence", "update", "00000000-0000-4000-8000-000000000000"],
        &["cluster"],
        &["cluster", "show", "-o", "extended"],
        &["cluster", "show", "-o", "json"],
        &["config"],
        &["config", "show", "-o", "json"],
        &["config", "routes"],
        &["config", "routes", "show", "--config.file=with.yml"],
        &["config", "routes", "test", "team=db", "severity=page"],
        &["config", "routes", "test", "team=db", "severity=page", "--tree"],
        &["config", "routes", "test", "team=web", "--tree"],
        &["config", "routes", "test", "team=db", "--verify.receivers=web"],
        &["config", "routes", "test", "team=db", "--verify.receivers=db"],
        &["config", "routes", "test", "team=~db"],
        &["config", "routes", "test", "team"],
        &["config", "routes", "test", "--config.file=missing.yml", "team=web"],
        &["check-config", "with.yml"],
        &["check-config", "alertmanager.yml", "with.yml"],
        &["check-config", "bad.yml"],
        &["check-config", "missing.yml"],
        &[
            "template",
            "render",
            "--template.glob=*.tmpl",
            "--template.text={{ template \"x\" . }} {{ .CommonLabels }} {{ .GroupLabels }} {{ .CommonAnnotations }} {{ .ExternalURL }} {{ .Receiver }}",
        ],
        &[
            "template",
            "render",
            "--template.glob=*.tmpl",
            "--template.text={{ range .Alerts }}{{ .Labels }} {{ .Annotations }} {{ .Fingerprint }} {{ .GeneratorURL }};{{ end }}",
        ],
        &[
            "template",
            "render",
            "--template.glob=*.tmpl",
            "--template.text=<a href=\"{{ .ExternalURL }}\">{{ .Status }}",
            "--template.type=html",
        ],
        &[
            "template",
            "render",
            "--template.glob=*.tmpl",
            "--template.data=data.json",
            "--template.text={{ .Status }} {{ range .Alerts }}{{ .StartsAt.Unix }} {{ .Annotations.c }}{{ end }}",
        ],
        &[
            "template",
            "render",
            "--template.glob=*.tmpl",
            "--template.data=data.json",
            "--template.text={{ .Alerts | toJson }}",
        ],
        &["template", "render", "--template.glob=*.tmpl", "--template.text={{ .Status "],
        &["template", "render", "--template.glob=none*.tmpl", "--template.text={{ template \"nope\" . }}"],
        &["template", "render", "--template.text=x"],
        &["nope"],
        &["--nope", "alert"],
    ];
    let different: Vec<String> = cases.iter().filter_map(|args| both.compare(args)).collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    // Go's text about a broken template is not compared, its place in the output is.
    let (theirs, ours) =
        (both.run(false, &["check-config", "broken.yml"]), both.run(true, &["check-config", "broken.yml"]));
    assert_eq!(ours.status.code(), theirs.status.code());
    let head = |output: &Output| stdout(output).lines().take(6).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(head(&ours), head(&theirs));
    assert!(
        stdout(&ours).contains("  FAILED: template: ") && stdout(&theirs).contains("  FAILED: template: ")
    );

    // Changed, ended, printed and added again, by each.
    let updated = [false, true].map(|ours| {
        let id = &active[usize::from(ours)];
        let output = both.run(ours, &["silence", "update", id, "-d", "3h", "-c", "other"]);
        assert!(output.status.success() && stdout(&output).contains("other"), "{}", stderr(&output));
        both.run(ours, &["silence", "query", "-o", "json", "--created-by=me", "--within=4h"])
    });
    assert_eq!(stdout(&updated[1]).matches("\"comment\":\"other\"").count(), 2, "{}", stdout(&updated[1]));
    let kept = file(folder.path(), "silences.json", &stdout(&updated[1]));
    for ours in [false, true] {
        let output = both.run(ours, &["silence", "import", "-f", &kept.display().to_string()]);
        assert!(output.status.success() && stdout(&output).lines().count() == 2, "{}", stderr(&output));
        let output = both.run(ours, &["silence", "expire", &ids[usize::from(ours)]]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    both.same(&["silence", "query", "--expired"]);
    both.same(&["silence", "query", "-q"]);
    for (name, text) in [
        ("bad.json", "{"),
        (
            "bad2.json",
            r#"[{"id":"","matchers":[],"startsAt":"2026-01-01T00:00:00Z","endsAt":"2026-01-01T00:00:00Z","createdBy":"a","comment":"c"}]"#,
        ),
    ] {
        file(folder.path(), name, text);
        both.same(&["silence", "import", name]);
    }
}

#[test]
fn subcommands_work_without_amtool() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    // Defaults come from amtool's file.
    let settings = folder.path().join(".config/amtool");
    std::fs::create_dir_all(&settings).unwrap();
    file(
        &settings,
        "config.yml",
        &format!("alertmanager.url: {}\nauthor: ada\ncomment_required: false\noutput: json\n", server.url),
    );
    let ours = |args: &[&str]| {
        let mut command = bellwether();
        command.arg("alerts").args(args).env("HOME", folder.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        (stdout(&output), stderr(&output), output.status.code())
    };
    let (_, err, code) = ours(&["alert", "add", "Broken", "instance=a"]);
    assert_eq!(code, Some(0), "{err}");
    let (id, err, code) = ours(&["silence", "add", "Broken"]);
    assert_eq!((code, id.trim().len()), (Some(0), 36), "{err}");
    let (out, _, _) = ours(&["silence"]);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found[0]["createdBy"], "ada");
    let (out, _, _) = ours(&["alert", "query", "-s", "-o", "simple"]);
    assert!(out.contains("Broken") && out.contains("suppressed"), "{out}");
    assert_eq!(ours(&["alert", "query", "--alertmanager.url=http://127.0.0.1:1"]).2, Some(1));
    assert_eq!(ours(&["alert", "query", "--no-such-flag"]).2, Some(1));
}
