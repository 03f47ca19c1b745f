//! `agent`: the host source alone, with node_exporter's flags.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::ValueHint;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use host::flags::{self, Takes};

use crate::config::leaves::Leaf;
use crate::config::{self, Config, Given};
use crate::{flags as settings_flags, roles};

pub(crate) fn command() -> Command {
    let mut command = Command::new("agent")
        .args_override_self(true)
        .about("Watch this host alone: metrics under node_exporter's names at /metrics, events beside them")
        .long_about(
            "Watches this host and answers scrapes at /metrics, as node_exporter does and under its names and flags, with process \
             groups, ends of processes and their causes, and messages of the kernel besides. Announces itself to collectors and pushes \
             when its settings say so. Settings are those of sources.host, agent, ingest.forward, remote_write, global and log of the \
             configuration file.",
        )
        .arg(
            Arg::new("config.file")
                .long("config.file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .env("BELLWETHER_CONFIG_FILE")
                .help("Configuration file; only sources.host, agent, ingest.forward, remote_write, global and log are read"),
        )
        .arg(
            Arg::new("web.listen-address")
                .long("web.listen-address")
                .value_name("ADDRESS")
                .default_value("127.0.0.1:9100")
                .env("BELLWETHER_AGENT_LISTEN_ADDRESS")
                .help("Address and port to listen on; :9100 answers every network"),
        )
        .arg(
            Arg::new("web.telemetry-path")
                .long("web.telemetry-path")
                .value_name("PATH")
                .default_value("/metrics")
                .help("Where the metrics are"),
        );
    for flag in flags::all() {
        let arg =
            Arg::new(flag.name.clone()).long(flag.name).help(flag.help).help_heading("node_exporter's flags");
        command = command.arg(match flag.takes {
            // Counted, so that giving one twice is no mistake.
            Takes::Nothing => arg.action(ArgAction::Count),
            Takes::Value => arg.value_name("VALUE").action(ArgAction::Set),
            Takes::Values => arg.value_name("VALUE").action(ArgAction::Append),
        });
    }
    for leaf in leaves() {
        command = command.arg(settings_flags::flag(leaf));
    }
    command
}

/// The settings that an agent has.
fn leaves() -> impl Iterator<Item = &'static Leaf> {
    config::leaves().iter().filter(|leaf| match leaf.path.first().map(String::as_str) {
        Some("sources") => leaf.path.get(1).is_some_and(|name| name == "host"),
        Some("ingest") => leaf.path.get(1).is_some_and(|name| name == "forward"),
        Some("agent" | "log") => true,
        _ => false,
    })
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let given = Given {
        file: matches.get_one::<PathBuf>("config.file").cloned(),
        overrides: settings_flags::overrides(matches, leaves()),
        ..Given::default()
    };
    let config = Config::load(&given)?;
    let settings = config.settings;
    let mut host = settings.sources.host;
    for flag in flags::all() {
        match flag.takes {
            Takes::Nothing if matches.get_count(&flag.name) > 0 => flags::apply(&mut host, &flag.name, "")?,
            Takes::Nothing => {}
            Takes::Value | Takes::Values => {
                for value in matches.get_many::<String>(&flag.name).into_iter().flatten() {
                    flags::apply(&mut host, &flag.name, value)?;
                }
            }
        }
    }
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let path = text("web.telemetry-path");
    anyhow::ensure!(
        path.starts_with('/') && path.len() > 1,
        "--web.telemetry-path={path}: it must begin with /"
    );
    roles::agent(roles::AgentSettings {
        host,
        log: settings.log,
        listen_address: text("web.listen-address"),
        telemetry_path: path,
        agent: settings.agent,
        spool: settings.ingest.forward,
        prometheus: config.prometheus,
        given,
    })
}
