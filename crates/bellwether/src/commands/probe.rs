//! `probe`: a vantage point, with the blackbox exporter's flags; and `probe coverage`, who probes from where.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::builder::ValueHint;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use httpc::{Client, Options, Request, Secret};
use serde_json::Value;

use super::say;
use crate::config::leaves::Leaf;
use crate::config::{self, Config, Given};
use crate::{flags as settings_flags, roles};

/// Most bytes of a report.
const MAX_REPORT: usize = 16 << 20;

pub(crate) fn command() -> Command {
    let arg = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let mut command = Command::new("probe")
        .args_override_self(true)
        .args_conflicts_with_subcommands(true)
        .about("Probe from here: /probe with the blackbox exporter's modules file, or the schedules of a server")
        .long_about(
            "Answers /probe?module=&target= as the blackbox exporter does, with its modules file unchanged. With --server it is a \
             vantage point: it asks the server what to probe, probes it on schedule, and pushes the results, which wait in a spool while \
             the server does not answer.",
        )
        .arg(
            arg("config.file", "FILE", "The blackbox exporter's modules file")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .env("BELLWETHER_PROBE_CONFIG_FILE"),
        )
        .arg(
            Arg::new("config.check")
                .long("config.check")
                .action(ArgAction::SetTrue)
                .help("Check the modules file and end"),
        )
        .arg(
            arg("web.listen-address", "ADDRESS", "Address and port to listen on; :9115 answers every network")
                .default_value("127.0.0.1:9115")
                .env("BELLWETHER_PROBE_LISTEN_ADDRESS"),
        )
        .arg(
            arg("timeout-offset", "SECONDS", "What a scraper's time limit is shortened by")
                .value_parser(value_parser!(f64))
                .default_value("0.5"),
        )
        .arg(
            arg("max-concurrent", "NUMBER", "Probes that run at once")
                .value_parser(value_parser!(usize))
                .default_value("1000"),
        )
        .arg(
            arg("allow-network", "NETWORK", "A network that may be probed, such as 10.0.0.0/8; without any, all may")
                .action(ArgAction::Append),
        )
        .arg(
            arg("deny-network", "NETWORK", "A network that may not be probed, whatever a name resolves to")
                .action(ArgAction::Append),
        )
        .arg(arg("server", "URL", "Run the schedules of this server and push the results to it").env("BELLWETHER_PROBE_SERVER"))
        .arg(
            arg("token-file", "FILE", "A file with the token that the server knows this vantage point by")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .requires("server"),
        )
        .arg(arg("vantage-name", "NAME", "This vantage point's name; the host's when not given").requires("server"))
        .arg(
            arg("vantage-labels", "NAME=VALUE,…", "Labels of this vantage point, such as country=DE,asn=64500")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .requires("server"),
        )
        .arg(
            arg("path", "FOLDER", "Where results wait while the server does not answer")
                .value_parser(value_parser!(PathBuf))
                .default_value("probe-data"),
        )
        .arg(
            arg("tls.ca-file", "FILE", "Certificates that the server's is checked against, in place of the system's")
                .value_parser(value_parser!(PathBuf))
                .requires("server"),
        )
        .subcommand(
            Command::new("coverage")
                .about("From which countries and networks is probed, and from which is not")
                .arg(arg("server", "URL", "The server").default_value("http://127.0.0.1:9090"))
                .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the API's answer")),
        );
    for leaf in leaves() {
        command = command.arg(settings_flags::flag(leaf));
    }
    command
}

/// The settings that a vantage point has.
fn leaves() -> impl Iterator<Item = &'static Leaf> {
    config::leaves().iter().filter(|leaf| match leaf.path.first().map(String::as_str) {
        Some("log") => true,
        // The spool.
        Some("ingest") => leaf.path.get(1).is_some_and(|name| name == "forward"),
        _ => false,
    })
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    if let Some(("coverage", matches)) = matches.subcommand() {
        return coverage(matches);
    }
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let list =
        |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect::<Vec<_>>();
    let file = path("config.file");
    let seconds = matches.get_one::<f64>("timeout-offset").copied().unwrap_or(0.5);
    ensure!((0.0..3600.0).contains(&seconds), "--timeout-offset={seconds}: give seconds from 0 to 3600");
    let probe = ::probe::Config {
        config_file: file.as_ref().map(|file| file.display().to_string()).unwrap_or_default(),
        timeout_offset: model::duration::PromDuration((seconds * 1000.0) as i64),
        max_concurrent: matches.get_one::<usize>("max-concurrent").copied().unwrap_or(1000),
        allowed_networks: list("allow-network"),
        denied_networks: list("deny-network"),
        ..::probe::Config::default()
    };
    if matches.get_flag("config.check") {
        let modules = probe.modules()?;
        probe.check(&modules).map_err(anyhow::Error::msg)?;
        say(format!("{} modules are right", modules.modules.len()));
        return Ok(ExitCode::SUCCESS);
    }
    let given = Given { overrides: settings_flags::overrides(matches, leaves()), ..Given::default() };
    let settings = Config::load(&given)?.settings;
    let server = match matches.get_one::<String>("server") {
        None => None,
        Some(url) => {
            ensure!(
                file.is_none(),
                "--config.file and --server exclude each other: the server sends its modules"
            );
            let token_file = path("token-file").context("--server needs --token-file")?;
            let token = std::fs::read_to_string(&token_file)
                .with_context(|| format!("cannot read --token-file {}", token_file.display()))?;
            ensure!(!token.trim().is_empty(), "--token-file {} is empty", token_file.display());
            let mut http = httpc::Config::default();
            http.tls_config.ca_file = path("tls.ca-file").unwrap_or_default();
            let name = match text("vantage-name") {
                name if name.is_empty() => rustix::system::uname().nodename().to_string_lossy().into_owned(),
                name => name,
            };
            Some(roles::Upstream {
                url: url.clone(),
                token: Secret::new(token.trim()),
                http,
                name,
                labels: labels(&list("vantage-labels"))?,
                path: path("path").unwrap_or_default(),
                forward: settings.ingest.forward.clone(),
            })
        }
    };
    roles::probe(roles::ProbeSettings {
        probe,
        log: settings.log,
        listen_address: text("web.listen-address"),
        server,
    })
}

fn labels(pairs: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            bail!("--vantage-labels: {pair:?} is no NAME=VALUE")
        };
        if ["vantage", "job", "instance", "module"].contains(&name.trim()) {
            bail!("--vantage-labels: {name:?} is given by the probe itself");
        }
        labels.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(labels)
}

/// Prints the server's report.
fn coverage(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let server = matches.get_one::<String>("server").cloned().unwrap_or_default();
    let url = format!("{}/api/v1/probe/coverage", server.trim_end_matches('/'));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = runtime.block_on(async {
        let client = Client::new(&httpc::Config::default(), Options::default())?;
        let response = client.send(Request::get(&url)?).await?;
        let status = response.status();
        Ok::<_, httpc::Error>((status, response.bytes(MAX_REPORT).await?))
    });
    let (status, body) = body.map_err(|err| anyhow::anyhow!(err.chain()))?;
    let answer: Value =
        serde_json::from_slice(&body).with_context(|| format!("{url} answered {status}, no JSON"))?;
    ensure!(status.is_success(), "{url} answered {status}: {}", answer["error"].as_str().unwrap_or_default());
    let report = &answer["data"];
    if matches.get_flag("json") {
        say(serde_json::to_string_pretty(report)?);
        return Ok(ExitCode::SUCCESS);
    }
    say(format!("{} vantage points", report["vantages"]));
    for (kind, title) in [("country", "Countries"), ("asn", "Networks")] {
        let part = &report[kind];
        let share = |value: &Value| value.as_f64().map(|share| format!("{:.1} % of clients", share * 100.0));
        say(format!(
            "\n{title}{}",
            share(&part["covered_client_share"])
                .map(|text| format!(" ({text} are where is probed from)"))
                .unwrap_or_default()
        ));
        for one in part["covered"].as_array().into_iter().flatten() {
            let names: Vec<&str> =
                one["vantages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let share = share(&one["client_share"]).unwrap_or_default();
            say(format!(
                "  {:<12} {:<20} {}",
                one["value"].as_str().unwrap_or_default(),
                share,
                names.join(", ")
            ));
        }
        for gap in part["gaps"].as_array().into_iter().flatten() {
            let share = share(&gap["client_share"]).unwrap_or_default();
            say(format!(
                "  {:<12} {share:<20} nobody probes from here",
                gap["value"].as_str().unwrap_or_default()
            ));
        }
        for (field, text) in
            [("single", "one vantage point only"), ("unlabelled", "do not say where they are")]
        {
            let names: Vec<&str> =
                part[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if !names.is_empty() {
                say(format!("  {text}: {}", names.join(", ")));
            }
        }
    }
    for name in report["schedules_without_vantage"].as_array().into_iter().flatten() {
        say(format!("\nNo vantage point runs the schedule {name}"));
    }
    for note in report["notes"].as_array().into_iter().flatten() {
        say(format!("\nNote: {}", note.as_str().unwrap_or_default()));
    }
    Ok(ExitCode::SUCCESS)
}
