//! Suites of others, read from the folder in `BELLWETHER_CONFORMANCE`; without it they say that they are not run.

#![expect(clippy::print_stdout, reason = "a test that is not run says so")]

use std::path::{Path, PathBuf};

use rules::unit_test::{TestOptions, run};

fn folder() -> Option<PathBuf> {
    match std::env::var_os("BELLWETHER_CONFORMANCE") {
        Some(root) => Some(PathBuf::from(root).join("rules")),
        None => {
            println!("not run: BELLWETHER_CONFORMANCE is not set");
            None
        }
    }
}

/// Every file of promtool's own tests gives what the manifest says.
#[tokio::test]
async fn promtool_unit_tests() {
    let Some(folder) = folder() else { return };
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (name, entry) in manifest.as_object().unwrap() {
        let expect = entry["expect"].as_str().unwrap();
        let path = folder.join(name);
        let ok = if expect.starts_with("check:") {
            check(&path).exit_code() == 1
        } else if expect.starts_with("lint:") {
            let report = check(&path);
            report.exit_code() == 0 && report.findings == 1
        } else {
            let options = TestOptions { language: promql::Options::all(), ..TestOptions::default() };
            let report = run(&[&path], &options).await;
            let file = &report.files[0];
            println!("{name}: {:?}\n{}", file.groups, file.failures.join("\n"));
            match expect {
                expect if expect.starts_with("every test group passes") => {
                    report.exit_code() == 0
                        && file.groups.len() as u64 == entry["test_groups"].as_u64().unwrap()
                }
                expect if expect.starts_with("the run fails") => report.exit_code() == 1,
                expect if expect.contains("'correct' pass, 'wrong' fail") => {
                    file.groups.iter().all(|(name, failed)| name.contains("wrong") == (*failed > 0))
                }
                other => panic!("{name}: what does {other:?} mean?"),
            }
        };
        checked += 1;
        if !ok {
            wrong.push(format!("{name}: {expect}"));
        }
    }
    assert!(checked > 0 && wrong.is_empty(), "{wrong:#?}");
}

fn check(path: &Path) -> rules::check::Report {
    let lints = rules::check::Lints { duplicates: true, ..Default::default() };
    let report = rules::check::check(&[path], &promql::Options::default(), &lints);
    println!("{}{}", report.out, report.err);
    report
}
