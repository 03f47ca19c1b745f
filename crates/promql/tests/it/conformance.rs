//! Suites of other projects, read from the folder that `BELLWETHER_CONFORMANCE` names.

use std::path::PathBuf;

use promql::script::Script;
use promql::{Options, parse, prettify};

/// A part of the conformance folder; `None`, and a line that says so, when there is no such folder.
pub(crate) fn folder(part: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("BELLWETHER_CONFORMANCE") else {
        println!("not run: BELLWETHER_CONFORMANCE names no folder");
        return None;
    };
    Some(PathBuf::from(root).join(part))
}

/// All script files and their texts.
fn scripts() -> Vec<(PathBuf, String)> {
    let Some(folder) = folder("promql") else { return Vec::new() };
    let files = std::fs::read_dir(&folder)
        .expect("the conformance folder")
        .map(|entry| entry.expect("a folder entry").path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "test"));
    files.map(|file| (file.clone(), std::fs::read_to_string(file).expect("a script"))).collect()
}

/// Every query of the scripts and of the flat list, and whether it may be refused.
pub(crate) fn queries() -> Vec<(String, bool)> {
    use promql::script::parse::Action;
    let mut found = Vec::new();
    for (file, text) in scripts() {
        let script = Script::parse(&text).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
        for command in script.commands {
            if let Action::Eval(eval) = command.action {
                found.push((eval.query, eval.expect.fail.is_some()));
            }
        }
    }
    if let Some(folder) = folder("promql-queries") {
        let list = std::fs::read_to_string(folder.join("queries.txt")).expect("the list of queries");
        for line in list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix('!') {
                Some(query) => found.push((query.to_owned(), true)),
                None => found.push((line.to_owned(), false)),
            }
        }
    }
    found
}

#[test]
fn every_script_can_be_read() {
    for (file, text) in scripts() {
        if let Err(err) = Script::parse(&text) {
            panic!("{}: {err}", file.display());
        }
    }
}

#[test]
fn every_query_reads_and_prints_the_same() {
    let options = Options::all();
    for (query, may_fail) in queries() {
        let expr = match parse(&query, &options) {
            Ok(expr) => expr,
            Err(_) if may_fail => continue,
            Err(err) => panic!("{query}: {err}"),
        };
        let printed = expr.to_string();
        let again = parse(&printed, &options).unwrap_or_else(|err| panic!("{query}: {printed}: {err}"));
        assert_eq!(again.to_string(), printed, "{query}");
        let pretty = prettify(&expr);
        let again = parse(&pretty, &options).unwrap_or_else(|err| panic!("{query}: {pretty}: {err}"));
        assert_eq!(again.to_string(), printed, "{query}");
    }
}
