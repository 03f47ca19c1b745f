//! The project's automation: `cargo xtask <task>`.
//!
//! | task | does |
//! |---|---|
//! | `ci` | everything below, in order; what `.ci/run` calls |
//! | `setup` | installs or names what the checks need beyond Rust: Node packages, Chromium, Python helpers |
//! | `lint` | formatting, clippy with warnings as errors, `tidy`, `gen --check` |
//! | `tidy` | the crate graph of ARCHITECTURE.md, module documentation, file sizes |
//! | `gen [--check]` | writes the reference pages from the code, or fails when they are stale |
//! | `test` | all Rust tests, documentation tests and rustdoc |
//! | `ui` | the agent for pages and the web UI: types, unit tests, stale check, size budgets |
//! | `e2e` | the browser against the real binary |

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to the terminal")]

mod browser;
mod generate;
mod run;
mod setup;
mod tidy;

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use run::{cargo, step};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[&str]) -> Result<()> {
    match args {
        ["ci"] => ci(),
        ["setup"] => setup::all(),
        ["lint"] => lint(),
        ["tidy"] => tidy::check(),
        ["gen"] => generate::write(),
        ["gen", "--check"] => generate::check(),
        ["test"] => test(),
        ["ui"] => ui(),
        ["e2e"] => browser::run(),
        _ => bail!("usage: cargo xtask ci|setup|lint|tidy|gen [--check]|test|ui|e2e (see CONTRIBUTING.md)"),
    }
}

fn ci() -> Result<()> {
    setup::all()?;
    lint()?;
    test()?;
    ui()?;
    browser::run()
}

fn lint() -> Result<()> {
    step("fmt", || cargo(&["fmt", "--all", "--check"]))?;
    step("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("tidy", tidy::check)?;
    step("gen", generate::check)
}

fn test() -> Result<()> {
    setup::python()?;
    step("tests", || {
        run::cargo_with(&["test", "--workspace", "--no-fail-fast"], &setup::test_environment()?)
    })?;
    step("rustdoc", || run::cargo(&["doc", "--workspace", "--no-deps"]))
}

fn ui() -> Result<()> {
    setup::node()?;
    step("agent", || run::command(Command::new("node").args(["agents/browser/build.mjs", "--check"])))?;
    for script in ["check", "test", "stale", "budget"] {
        step(&format!("ui: {script}"), || run::npm(&["run", "--silent", script], &[]))?;
    }
    Ok(())
}
