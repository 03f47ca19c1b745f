//! `client`: the headers that switch client-side reporting on, whether collectors are independent, what is kept.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use clients::lint::Level;
use clients::policy::{self, Server};
use clients::{Site, collector::read_secret, geo::Geo};
use model::Clock;
use model::time::SystemClock;

use super::say;
use crate::cli::EXIT_FAILED;
use crate::config::{Config, Given};

pub(crate) fn command() -> Command {
    let file = || {
        Arg::new("config.file")
            .long("config.file")
            .required(true)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .env("BELLWETHER_CONFIG_FILE")
            .help("Configuration file with the section collector")
    };
    let site = || Arg::new("site").long("site").value_name("NAME").help("One site; all of them without it");
    Command::new("client")
        .about("Client-side reports: policy headers, independence of collectors, the field list")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("policy")
                .about("Print the response headers that make clients report, or stop them")
                .arg(file())
                .arg(site())
                .arg(
                    Arg::new("for")
                        .long("for")
                        .value_parser(Server::ALL.map(Server::as_str))
                        .default_value("headers")
                        .help("The web server whose configuration is printed"),
                )
                .arg(
                    Arg::new("off")
                        .long("off")
                        .action(ArgAction::SetTrue)
                        .help("Headers that make clients forget the policy"),
                ),
        )
        .subcommand(
            Command::new("lint")
                .about("Check that a site's collectors are independent of it and of each other; exit code 1 when they are not")
                .arg(file())
                .arg(site()),
        )
        .subcommand(
            Command::new("fields")
                .about("Print every field that clients send and what becomes of it, for a privacy page")
                .arg(
                    Arg::new("format")
                        .long("format")
                        .value_parser(["markdown", "json"])
                        .default_value("markdown")
                        .help("The form"),
                ),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("policy", matches)) => print_policy(matches),
        Some(("lint", matches)) => lint(matches),
        Some(("fields", matches)) => {
            match matches.get_one::<String>("format").map(String::as_str) {
                Some("json") => say(serde_json::to_string_pretty(clients::field::FIELDS)?),
                _ => say(clients::field::markdown().trim_end()),
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => Ok(ExitCode::from(2)),
    }
}

/// The collector's settings and the sites that are meant.
fn sites(matches: &ArgMatches) -> anyhow::Result<(clients::Config, Vec<Site>)> {
    let file = matches.get_one::<PathBuf>("config.file").cloned();
    let config = Config::load(&Given { file, ..Given::default() })?.settings.collector;
    let mut sites = config.sites.clone();
    if let Some(name) = matches.get_one::<String>("site") {
        sites.retain(|site| site.name == *name);
        if sites.is_empty() {
            bail!("there is no site {name:?} among collector.sites");
        }
    }
    if sites.is_empty() {
        bail!("collector.sites is empty: name a site with its origins and collectors");
    }
    Ok((config, sites))
}

fn print_policy(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (config, sites) = sites(matches)?;
    let word = matches.get_one::<String>("for").context("a web server is required")?;
    let server =
        Server::ALL.into_iter().find(|server| server.as_str() == word).context("no such web server")?;
    let secret = match config.secret_file.as_os_str().is_empty() {
        true => None,
        false => Some(read_secret(&config.secret_file)?),
    };
    for site in &sites {
        if site.collectors.is_empty() {
            bail!("site {:?} names no collectors: add collector.sites[].collectors", site.name);
        }
        let headers =
            policy::headers(site, !matches.get_flag("off"), secret.as_ref(), SystemClock.now().ms());
        say(format!("# site {}", site.name));
        say(policy::snippet(&headers, server).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn lint(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (config, sites) = sites(matches)?;
    let geo = Geo::open(&config.geo).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut bad = false;
    for site in &sites {
        let findings = runtime.block_on(api::lint_site(site, &geo));
        if findings.is_empty() {
            say(format!(
                "{}: {} collectors, independent as far as is known",
                site.name,
                site.collectors.len()
            ));
        }
        for finding in findings {
            let level = match finding.level {
                Level::Error => "error",
                Level::Warning => "warning",
            };
            bad |= finding.level == Level::Error;
            say(format!("{}: {level}: {}: {}", site.name, finding.kind, finding.message));
        }
    }
    Ok(if bad { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}
