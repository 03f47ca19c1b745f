//! `test`: rule unit tests in promtool's format, PromQL scripts in promqltest's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use promql::script::{RunOptions, engine, run_paths};
use rules::unit_test::{self, TestOptions};

use super::{complain, say};
use crate::cli::EXIT_FAILED;

pub(crate) fn command() -> Command {
    let paths = |help: &'static str| {
        Arg::new("paths")
            .required(true)
            .num_args(1..)
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .help(help)
    };
    Command::new("test")
        .about("Run unit tests of rules, or PromQL scripts")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("rules")
                .about("Run unit tests of rules, in promtool's file format")
                .arg(paths("Test files"))
                .arg(
                    Arg::new("run")
                        .long("run")
                        .value_name("REGEX")
                        .action(ArgAction::Append)
                        .help("Only test groups whose name matches; may be repeated"),
                ),
        )
        .subcommand(
            Command::new("promql")
                .about("Run PromQL scripts (promqltest): prints the passed and failed counts and each failure; exit code 1 when one fails")
                .arg(paths("Scripts, or folders of *.test files"))
                .arg(
                    Arg::new("skip")
                        .long("skip")
                        .value_name("TEXT")
                        .action(ArgAction::Append)
                        .help("Leave out queries that contain this text; may be repeated"),
                ),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (kind, matches) = matches.subcommand().context("a subcommand is required")?;
    let paths: Vec<PathBuf> = matches.get_many::<PathBuf>("paths").into_iter().flatten().cloned().collect();
    let many =
        |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect::<Vec<_>>();
    if kind == "promql" {
        let report = run_paths(&paths, &engine::native, &RunOptions { skip: many("skip") })
            .with_context(|| format!("cannot read the scripts in {}", names(&paths)))?;
        say(&report);
        return Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) });
    }
    let only = many("run").iter().map(|text| regex::Regex::new(text)).collect::<Result<_, _>>();
    let options = TestOptions {
        language: promql::Options::all(),
        only: only.context("--run is no regular expression")?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let report = runtime.block_on(unit_test::run(&paths, &options));
    let (out, err) = report.text();
    say(out.trim_end());
    if !err.is_empty() {
        complain(err.trim_end());
    }
    Ok(ExitCode::from(report.exit_code()))
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
