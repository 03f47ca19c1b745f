//! `check-config`, `config show`, `config routes` and `cluster show`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use alerts::tool;
use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use model::Labels;
use model::time::SystemClock;
use serde_json::Value;

use super::super::{complain, say};
use super::client::{Output, Session};
use super::{many, pairs};
use crate::cli::EXIT_FAILED;

/// No configuration is larger.
const MAX_CONFIG_BYTES: u64 = 64 << 20;

pub(super) fn check_command() -> Command {
    Command::new("check-config").about("Check configuration files, their templates and routes").arg(
        Arg::new("files")
            .num_args(0..)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Configuration files; standard input when none is given"),
    )
}

pub(super) fn cluster_command() -> Command {
    Command::new("cluster")
        .about("View the cluster's status and peers")
        .subcommand_required(true)
        .subcommand(Command::new("show").about("View the cluster's status and peers (the default)"))
}

pub(super) fn command() -> Command {
    let file = || {
        Arg::new("config.file")
            .long("config.file")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .global(true)
            .help("Alertmanager's configuration file; the server's configuration when missing")
    };
    let routes = Command::new("routes")
        .about("The routing tree of a file, or of a running server")
        .subcommand_required(true)
        .arg(file())
        .subcommand(Command::new("show").about("Draw the routing tree (the default)"))
        .subcommand(
            Command::new("test")
                .about("Say which receivers an alert with these labels reaches, in order")
                .args([
                    Arg::new("verify.receivers")
                        .long("verify.receivers")
                        .value_name("NAMES")
                        .help("Fail unless these are the receivers, separated by commas"),
                    Arg::new("tree")
                        .long("tree")
                        .action(ArgAction::SetTrue)
                        .help("Draw the routes that match"),
                    Arg::new("labels").num_args(0..).value_name("LABEL=VALUE").help("The alert's labels"),
                ]),
        );
    Command::new("config")
        .about("Look into a configuration")
        .subcommand_required(true)
        .subcommand(Command::new("show").about("Print the server's configuration (the default)"))
        .subcommand(routes)
}

pub(super) fn check(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let files: Vec<&PathBuf> = matches.get_many("files").into_iter().flatten().collect();
    if let Some(missing) = files.iter().find(|path| !path.exists()) {
        bail!("path '{}' does not exist", missing.display());
    }
    let mut failed = 0;
    if files.is_empty() {
        let mut text = String::new();
        std::io::stdin()
            .take(MAX_CONFIG_BYTES)
            .read_to_string(&mut text)
            .context("Failed to read from standard input")?;
        let folder = std::env::current_dir().context("cannot tell the current folder")?;
        let checked = alerts::Config::load_in(&text, &folder);
        failed += usize::from(!report("/dev/stdin", checked));
    }
    for path in files {
        failed += usize::from(!report(&path.display().to_string(), alerts::Config::load_file(path)));
    }
    if failed > 0 {
        complain(format_args!("error: failed to validate {failed} file(s)"));
        return Ok(ExitCode::from(EXIT_FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what is in a configuration, or what is wrong with it; whether it is right.
fn report(name: &str, loaded: Result<alerts::Config, alerts::Error>) -> bool {
    let chain = |err: alerts::Error| format!("{:#}", anyhow::Error::from(err));
    let config = match loaded {
        Ok(config) => config,
        Err(err) => {
            // amtool's line has no place; where to look is said beside it.
            let place = matches!(err, alerts::Error::Config { at: Some(_), .. }).then(|| err.to_string());
            say(format_args!("Checking '{name}'  FAILED: {}\n", chain(err.without_place())));
            if let Some(place) = place {
                complain(place);
            }
            return false;
        }
    };
    let checked = tool::check_parts(&config, Arc::new(SystemClock));
    say(format_args!("Checking '{name}'  SUCCESS\n{}", tool::summary(&config).trim_end()));
    match checked {
        // As amtool: templates are spoken of only when there are some.
        Ok(()) if config.templates.is_empty() => say(""),
        Ok(()) => say("  SUCCESS\n"),
        Err(err) => {
            say(format_args!("  FAILED: {}\n", chain(err)));
            return false;
        }
    }
    true
}

/// The server's status.
fn status(session: &Session) -> anyhow::Result<Value> {
    session.run(async |server| server.get("/status", &[]).await)
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn cluster(session: &Session) -> anyhow::Result<ExitCode> {
    let status = status(session)?;
    let cluster = &status["cluster"];
    if session.output == Output::Json {
        super::print::json(cluster)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("Cluster Status:  {}", text(cluster, "/status")));
    say(format_args!("Node Name:       {}", text(cluster, "/name")));
    if session.output == Output::Extended {
        let mut peers: Vec<(&str, &str)> = cluster["peers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|peer| (text(peer, "/address"), text(peer, "/name")))
            .collect();
        peers.sort_unstable();
        let width = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|text| text.chars().count()).max().unwrap_or(0) + 2
        };
        let address = width(&mut peers.iter().map(|peer| peer.0).chain(["Address"]));
        let name = width(&mut peers.iter().map(|peer| peer.1));
        say(format_args!("\n{:address$}Name", "Address"));
        for peer in peers {
            say(format_args!("{:address$}{:name$}", peer.0, peer.1));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn show(session: &Session) -> anyhow::Result<ExitCode> {
    let status = status(session)?;
    if session.output == Output::Json {
        super::print::json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(text(&status, "/config/original"));
    if session.output == Output::Extended {
        for name in ["buildUser", "goVersion", "revision", "version", "branch", "buildDate"] {
            say(format_args!("{name} {}", text(&status["versionInfo"], &format!("/{name}"))));
        }
        say(format_args!("uptime {}", text(&status, "/uptime")));
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration of `--config.file`, or the server's.
fn load(session: &Session, matches: &ArgMatches) -> anyhow::Result<alerts::Config> {
    match matches.get_one::<PathBuf>("config.file") {
        Some(path) => {
            if session.has_url() {
                complain("Warning: --config.file flag overrides the --alertmanager.url.");
            }
            if !Path::new(path).exists() {
                bail!("path '{}' does not exist", path.display());
            }
            Ok(alerts::Config::load_file(path)?)
        }
        None => alerts::Config::load(text(&status(session)?, "/config/original"))
            .context("the server's configuration cannot be read"),
    }
}

pub(super) fn routes(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (leaf, matches) = matches.subcommand().context("a subcommand is required")?;
    let session = Session::new(matches)?;
    let config = load(&session, matches)?;
    if leaf == "show" {
        say(tool::show_routes(&config)?);
        return Ok(ExitCode::SUCCESS);
    }
    let labels = pairs(&session, &many(matches, "labels"), "Labels").context("Failed to parse labels")?;
    let labels = Labels::from_pairs(labels);
    if matches.get_flag("tree") {
        say(format_args!("{}\n", tool::show_matching(&config, &labels)?));
    }
    let receivers = tool::test_routes(&config, &labels)?.join(",");
    say(&receivers);
    match matches.get_one::<String>("verify.receivers") {
        Some(expected) if *expected != receivers => {
            say("WARNING: Expected receivers did not match resolved receivers.");
            Ok(ExitCode::from(EXIT_FAILED))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
