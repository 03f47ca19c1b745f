//! `check rules` and Prometheus' own `promtool`: the same words, the same exit codes.

use std::process::Command;

use crate::harness::{bellwether, file, stderr, stdout};

const TWICE: &str = "groups:\n  - name: a\n    rules:\n      - {record: a:b, expr: vector(1)}\n      - {record: a:b, expr: vector(2)}\n      - {record: a:b, expr: vector(3)}\n      - {record: b:c, expr: vector(1), labels: {x: y, a: b}}\n  - name: b\n    rules:\n      - {record: b:c, expr: vector(1), labels: {x: y, a: b}}\n      - {alert: Up, expr: up == 0, labels: {severity: page}}\n      - {alert: Up, expr: up == 0, labels: {severity: page}}\n      - {alert: Up, expr: up == 1, labels: {severity: warn}}\n";
const ONCE: &str = "groups: [{name: z, rules: [{record: q, expr: vector(1)}]}]\n";

#[test]
fn check_rules_says_what_promtool_says() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "twice.yml", TWICE);
    file(folder.path(), "once.yml", ONCE);
    let run = |mut command: Command, args: &[&str]| {
        let output = command.args(["check", "rules"]).args(args).current_dir(folder.path()).output();
        let output = output.expect("the program starts");
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let found = "  FAILED:\nlint error 3 duplicate rule(s) found.\nMetric: Up\nLabel(s):\n\tseverity: page\nMetric: a:b\nLabel(s):\nMetric: b:c\nLabel(s):\n\ta: b\n\tx: y\nMight cause inconsistency while recording expressions\n";
    let both = "Checking twice.yml\n\nChecking once.yml\n  SUCCESS: 1 rules found\n\n";
    let promtool = testkit::peer::peer(&["promtool"]);
    for (args, code, out, err) in [
        (&["twice.yml", "once.yml"][..], 0, both, found),
        (&["--lint-fatal", "twice.yml"][..], 3, "Checking twice.yml\n\n", found),
        (&["--lint=none", "twice.yml"][..], 0, "Checking twice.yml\n  SUCCESS: 8 rules found\n\n", ""),
        (&["once.yml"][..], 0, "Checking once.yml\n  SUCCESS: 1 rules found\n\n", ""),
    ] {
        let wanted = (Some(code), out.to_owned(), err.to_owned());
        assert_eq!(run(bellwether(), args), wanted, "{args:?}");
        if let Some(promtool) = &promtool {
            assert_eq!(run(Command::new(promtool), args), wanted, "promtool {args:?}");
        }
    }
}
