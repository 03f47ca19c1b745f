//! `tsdb`: looking into a data folder.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command, value_parser};
use prometheus_client::registry::Registry;

use super::say;

pub(crate) fn command() -> Command {
    let path = || {
        Arg::new("path")
            .default_value("data")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help("The data folder")
    };
    Command::new("tsdb")
        .about("Look into a data folder that no server is using")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("ls")
                .about("Open a data folder as the server would, and list its tenants and what was recovered")
                .arg(path()),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let Some(("ls", matches)) = matches.subcommand() else { bail!("a subcommand is required") };
    let path = matches.get_one::<PathBuf>("path").context("a folder is required")?;
    if !path.is_dir() {
        bail!("{} is no folder", path.display());
    }
    let config = tsdb::Config { path: path.clone(), ..tsdb::Config::default() };
    let metrics = tsdb::Metrics::new(&mut Registry::default());
    let db = tsdb::Db::open(config, Arc::new(model::time::SystemClock), Arc::new(tsdb::RealDisk), metrics)?;
    say(db.recovered());
    for tenant in db.tenants() {
        say(tenant);
    }
    Ok(ExitCode::SUCCESS)
}
