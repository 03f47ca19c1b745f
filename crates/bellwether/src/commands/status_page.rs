//! `status-page`: the public status page of a core elsewhere, served from a copy.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use api::status_page::mirror::Upstream;
use clap::builder::ValueHint;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::config::leaves::Leaf;
use crate::config::{self, Config, Given};
use crate::{flags as settings_flags, roles};

pub(crate) fn command() -> Command {
    let arg = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let path = |arg: Arg| arg.value_parser(value_parser!(PathBuf)).value_hint(ValueHint::FilePath);
    let mut command = Command::new("status-page")
        .args_override_self(true)
        .about("Serve the public status page of a server elsewhere, from a copy that outlives it")
        .long_about(
            "Fetches the status page of a server that has status_page.components, keeps a copy on disk, and serves it: also while the \
             server does not answer, and after a restart of its own. Put it in another failure domain than the server.",
        )
        .arg(arg("from", "URL", "The server, such as https://monitor.internal:9090").required(true))
        .arg(
            arg("web.listen-address", "ADDRESS", "Address and port to listen on; :8080 answers every network")
                .default_value("127.0.0.1:8080")
                .env("BELLWETHER_STATUS_PAGE_LISTEN_ADDRESS"),
        )
        .arg(path(arg("cache", "FILE", "Where the copy is kept")).default_value("status-page.json"))
        .arg(
            arg("interval", "SECONDS", "How often the server is asked")
                .value_parser(value_parser!(u64).range(1..=3600))
                .default_value("30"),
        )
        .arg(
            arg("max-connections", "NUMBER", "Most connections that are open at once")
                .value_parser(value_parser!(usize))
                .default_value("1024"),
        )
        .arg(path(arg("token-file", "FILE", "A file with a token of the server, where it asks for one")))
        .arg(path(arg("tls.ca-file", "FILE", "Certificates that the server's is checked against, in place of the system's")));
    for leaf in leaves() {
        command = command.arg(settings_flags::flag(leaf));
    }
    command
}

/// The settings that the page alone has.
fn leaves() -> impl Iterator<Item = &'static Leaf> {
    config::leaves().iter().filter(|leaf| leaf.path.first().is_some_and(|section| section == "log"))
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let url = text("from");
    ensure!(
        url.starts_with("http://") || url.starts_with("https://"),
        "--from={url}: give an address that begins with https:// or http://"
    );
    let given = Given { overrides: settings_flags::overrides(matches, leaves()), ..Given::default() };
    let mut http = httpc::Config::default();
    http.tls_config.ca_file = path("tls.ca-file").unwrap_or_default();
    if let Some(file) = path("token-file") {
        let token = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read --token-file {}", file.display()))?;
        ensure!(!token.trim().is_empty(), "--token-file {} is empty", file.display());
        http.authorization =
            Some(httpc::Authorization { credentials_file: file, ..httpc::Authorization::default() });
    }
    roles::status_page(roles::StatusPageSettings {
        upstream: Upstream {
            url,
            http,
            interval: Duration::from_secs(matches.get_one::<u64>("interval").copied().unwrap_or(30)),
        },
        listen_address: text("web.listen-address"),
        max_connections: matches.get_one::<usize>("max-connections").copied().unwrap_or(1024),
        copy: path("cache"),
        log: Config::load(&given)?.settings.log,
    })?;
    Ok(ExitCode::SUCCESS)
}
