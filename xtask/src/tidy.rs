//! Checks of the source tree that no compiler makes: the crate graph, module documentation, what only one crate may use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{output, root};

/// Which of our crates each may use in its normal dependencies; the table of ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("testkit", &["model"]),
    ("httpc", &["model"]),
    ("template", &["model"]),
    ("yaml", &[]),
    ("wire", &["model"]),
    ("promql", &["model"]),
    ("tsdb", &["model", "wire"]),
    ("state", &["model"]),
    ("ingest", &["model", "wire", "httpc"]),
    ("sources", &["model", "yaml", "wire", "httpc"]),
    ("host", &["model", "wire"]),
    ("client-sdk", &[]),
    ("clients", &["model", "httpc"]),
    ("probe", &["model", "yaml", "httpc"]),
    ("rules", &["model", "yaml", "promql", "template"]),
    ("alerts", &["model", "yaml", "template", "httpc"]),
    (
        "api",
        &[
            "model", "wire", "promql", "tsdb", "state", "ingest", "sources", "rules", "alerts", "httpc",
            "template", "host", "clients", "yaml", "probe",
        ],
    ),
    (
        "bellwether",
        &[
            "model", "wire", "promql", "tsdb", "state", "ingest", "sources", "rules", "alerts", "api",
            "httpc", "template", "host", "clients", "yaml", "probe",
        ],
    ),
    ("bench", &[]),
    ("xtask", &[]),
];

/// Packages that only the named crates may depend on.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("axum", &["api"]),
    ("rusqlite", &["state", "alerts"]),
    ("reqwest", &["httpc"]),
    ("async-nats", &["cluster"]),
    ("serde-saphyr", &["yaml"]),
];

/// Source files may be this long before they need to be split.
const MAX_LINES: usize = 2000;

/// Runs every check and lists all that is wrong.
pub(crate) fn check() -> Result<()> {
    let mut wrong = Vec::new();
    arrows(&mut wrong)?;
    let mut files = Vec::new();
    for folder in ["bench", "crates", "xtask"] {
        collect(&root().join(folder), &mut files)?;
    }
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        source(&name, &text, &mut wrong);
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{} findings:\n  {}", wrong.len(), wrong.join("\n  ")) }
}

fn arrows(wrong: &mut Vec<String>) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let text = output(Command::new(cargo).args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let table: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        let name = package["name"].as_str().context("a package has no name")?;
        let Some(allowed) = table.get(name) else {
            wrong.push(format!("crate {name} is not in xtask/src/tidy.rs and ARCHITECTURE.md"));
            continue;
        };
        for dependency in package["dependencies"].as_array().context("a package has no dependencies")? {
            let used = dependency["name"].as_str().context("a dependency has no name")?;
            let normal = dependency["kind"].is_null();
            if normal && table.contains_key(used) && !allowed.contains(&used) {
                wrong.push(format!("crate {name} may not use {used} (ARCHITECTURE.md, \"The crates\")"));
            }
            let only = ONLY_IN.iter().find(|(package, _)| *package == used);
            if let Some((package, crates)) = only
                && normal
                && !crates.contains(&name)
            {
                wrong.push(format!("crate {name} may not use {package}: only {} may", crates.join(", ")));
            }
        }
    }
    Ok(())
}

fn source(name: &str, text: &str, wrong: &mut Vec<String>) {
    let is_test = name.contains("/tests/") || name.ends_with("tests.rs") || name.contains("/benches/");
    if !is_test && !text.starts_with("//!") {
        wrong.push(format!("{name}: starts without a //! that says what the module is"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && !is_test {
        wrong.push(format!("{name}: {lines} lines (more than {MAX_LINES}): which two nouns does it hold?"));
    }
    for (i, line) in text.lines().enumerate() {
        let todo = line.contains("TODO") || line.contains("FIXME");
        if todo && !line.contains('#') && !name.starts_with("xtask/src/tidy") {
            wrong.push(format!("{name}:{}: a TODO names an issue (#12)", i + 1));
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "node_modules", "fixtures"].contains(&name.as_str()) {
                collect(&path, files)?;
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}
