//! `check`: configuration, rules and expositions, with promtool's words and exit codes.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use rules::check::Lints;
use wire::exposition::{Format, check_exposition, lint};

use super::{complain, say};
use crate::cli::EXIT_FAILED;
use crate::config::{Config, Given};
use crate::roles;

/// Exit code of a lint finding, as promtool has it.
const EXIT_LINT: u8 = 3;
/// No exposition that is checked by hand is larger.
const MAX_BODY_BYTES: u64 = 1 << 30;

pub(crate) fn command() -> Command {
    let files = |help: &'static str| {
        Arg::new("files")
            .required(true)
            .num_args(1..)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(help)
    };
    Command::new("check")
        .about("Check configuration files, rule files and metrics")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("config")
                .about("Check configuration files and the rule files they name")
                .arg(files("Configuration files; a prometheus.yml is one")),
        )
        .subcommand(
            Command::new("rules")
                .about("Check rule files")
                .arg(files("Rule files"))
                .arg(
                    Arg::new("lint")
                        .long("lint")
                        .value_parser(["all", "duplicate-rules", "none"])
                        .default_value("duplicate-rules")
                        .help("What to look for beside errors"),
                )
                .arg(
                    Arg::new("lint-fatal")
                        .long("lint-fatal")
                        .action(ArgAction::SetTrue)
                        .help("Findings such as duplicate rules make the exit code 3"),
                ),
        )
        .subcommand(Command::new("metrics").about(
            "Check and lint an exposition on standard input, as `curl …/metrics | bellwether check metrics`",
        ))
        .subcommand(
            Command::new("exposition")
                .about("Say whether a scrape of a body would succeed: exit code 0, or 1 with line and reason")
                .arg(
                    Arg::new("format")
                        .long("format")
                        .value_parser(["prometheus", "openmetrics"])
                        .default_value("prometheus")
                        .help("The body's format"),
                )
                .arg(
                    Arg::new("file")
                        .default_value("-")
                        .value_name("FILE")
                        .help("The body; - is standard input"),
                ),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("config", matches)) => config(matches),
        Some(("rules", matches)) => rule_files(matches),
        Some(("metrics", _)) => metrics(),
        Some(("exposition", matches)) => exposition(matches),
        _ => bail!("a subcommand is required"),
    }
}

fn paths(matches: &ArgMatches) -> Vec<&Path> {
    matches.get_many::<PathBuf>("files").into_iter().flatten().map(PathBuf::as_path).collect()
}

fn config(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for path in paths(matches) {
        say(format_args!("Checking {}", path.display()));
        let given = Given { file: Some(path.to_owned()), ..Given::default() };
        let checked = Config::load(&given).and_then(|config| {
            roles::check(&config)?;
            let rules: usize = roles::load_all_rules(&config)?
                .iter()
                .flat_map(|file| &file.groups)
                .map(|group| group.rules.len())
                .sum();
            let unsupported = config.prometheus.unsupported();
            Ok((config.prometheus.rule_files.len(), rules, unsupported))
        });
        match checked {
            Ok((files, rules, unsupported)) => {
                for (job, section) in unsupported {
                    say(format_args!(
                        "  WARNING: {job}: {section} is read but this kind of discovery is not supported"
                    ));
                }
                say(format_args!(
                    " SUCCESS: {} is valid; {files} rule file patterns, {rules} rules with those that ship\n",
                    path.display()
                ));
            }
            Err(err) => {
                complain(format_args!("  FAILED: {err:#}"));
                code = ExitCode::from(EXIT_FAILED);
            }
        }
    }
    Ok(code)
}

fn rule_files(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let duplicates = matches.get_one::<String>("lint").is_none_or(|lint| lint != "none");
    let lints = Lints { duplicates, known_metrics: None, fatal: matches.get_flag("lint-fatal") };
    let report = rules::check::check(&paths(matches), &promql::Options::all(), &lints);
    // Each text ends with the line feed that is printed after it.
    if let Some(out) = report.out.strip_suffix('\n') {
        say(out);
    }
    if let Some(err) = report.err.strip_suffix('\n') {
        complain(err);
    }
    Ok(ExitCode::from(report.exit_code()))
}

fn metrics() -> anyhow::Result<ExitCode> {
    let body = read("-")?;
    match lint(Format::Text004, &body) {
        Err(err) => {
            complain(format_args!("error while linting: {err}"));
            Ok(ExitCode::from(EXIT_FAILED))
        }
        Ok(findings) if findings.is_empty() => Ok(ExitCode::SUCCESS),
        Ok(findings) => {
            findings.iter().for_each(|finding| complain(format_args!("{} {}", finding.metric, finding.text)));
            Ok(ExitCode::from(EXIT_LINT))
        }
    }
}

fn exposition(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let format = match matches.get_one::<String>("format").map(String::as_str) {
        Some("openmetrics") => Format::OpenMetrics100,
        _ => Format::Text004,
    };
    let file = matches.get_one::<String>("file").context("a file is required")?;
    match check_exposition(format, &read(file)?) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(err) => {
            complain(format_args!("{file}: {err}"));
            Ok(ExitCode::from(EXIT_FAILED))
        }
    }
}

fn read(file: &str) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut from: Box<dyn Read> = match file {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path).with_context(|| format!("cannot open {path}"))?),
    };
    from.by_ref()
        .take(MAX_BODY_BYTES + 1)
        .read_to_end(&mut body)
        .with_context(|| format!("cannot read {file}"))?;
    if body.len() as u64 > MAX_BODY_BYTES {
        bail!("{file} is larger than {MAX_BODY_BYTES} bytes");
    }
    Ok(body)
}
