//! `alerts`: Alertmanager's configuration, checked and tried out, with amtool's words and exit codes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use alerts::tool;
use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command, value_parser};
use model::Labels;
use model::time::SystemClock;

use super::{complain, say};
use crate::cli::EXIT_FAILED;

pub(crate) fn command() -> Command {
    let file = || {
        Arg::new("config.file")
            .long("config.file")
            .required(true)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Alertmanager's configuration file")
    };
    let routes = Command::new("routes")
        .about("The routing tree")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("show").about("Draw the routing tree").arg(file()))
        .subcommand(
            Command::new("test")
                .about("Say which receivers an alert with these labels reaches, in order")
                .args([
                    file(),
                    Arg::new("verify.receivers")
                        .long("verify.receivers")
                        .value_name("NAMES")
                        .help("Fail unless these are the receivers, separated by commas"),
                    Arg::new("labels")
                        .required(true)
                        .num_args(1..)
                        .value_name("LABEL=VALUE")
                        .help("The alert's labels"),
                ]),
        );
    Command::new("alerts")
        .about("Check and try out an Alertmanager configuration")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("check-config").about("Check configuration files, their templates and routes").arg(
                Arg::new("files")
                    .required(true)
                    .num_args(1..)
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("Configuration files"),
            ),
        )
        .subcommand(
            Command::new("config")
                .about("Look into a configuration")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(routes),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("check-config", matches)) => {
            let files = matches.get_many::<PathBuf>("files").into_iter().flatten();
            Ok(check(files.map(PathBuf::as_path)))
        }
        Some(("config", matches)) => {
            match matches.subcommand_matches("routes").and_then(ArgMatches::subcommand) {
                Some(("show", matches)) => {
                    say(tool::show_routes(&load(matches)?)?.trim_end());
                    Ok(ExitCode::SUCCESS)
                }
                Some(("test", matches)) => test(matches),
                _ => bail!("a subcommand is required"),
            }
        }
        _ => bail!("a subcommand is required"),
    }
}

fn check<'a>(files: impl Iterator<Item = &'a Path>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in files {
        match tool::check_config(path, Arc::new(SystemClock)) {
            Ok(found) => say(format_args!("Checking '{}'  SUCCESS\n{found}", path.display())),
            Err(err) => {
                complain(format_args!(
                    "Checking '{}'  FAILED: {:#}",
                    path.display(),
                    anyhow::Error::from(err)
                ));
                code = ExitCode::from(EXIT_FAILED);
            }
        }
    }
    code
}

fn load(matches: &ArgMatches) -> anyhow::Result<alerts::Config> {
    let path = matches.get_one::<PathBuf>("config.file").context("--config.file is required")?;
    alerts::Config::load_file(path).with_context(|| path.display().to_string())
}

fn test(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut pairs = Vec::new();
    for text in matches.get_many::<String>("labels").into_iter().flatten() {
        let pair = text.split_once('=').with_context(|| format!("{text:?} is not LABEL=VALUE"))?;
        pairs.push((pair.0.to_owned(), pair.1.trim_matches('"').to_owned()));
    }
    let receivers = tool::test_routes(&load(matches)?, &Labels::from_pairs(pairs))?.join(",");
    say(&receivers);
    match matches.get_one::<String>("verify.receivers") {
        Some(expected) if *expected != receivers => {
            complain(format_args!(
                "WARNING: Expected receivers did not match resolved receivers.\n{expected}"
            ));
            Ok(ExitCode::from(EXIT_FAILED))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
