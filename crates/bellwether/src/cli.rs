//! The command line: subcommands, and a flag for every scalar setting of the configuration tree.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::ValueHint;
use clap::{Arg, ArgAction, Command, value_parser};

use crate::config::Given;
use crate::config::overrides::{Origin, Override};
use crate::{commands, flags, roles};

/// Exit code for wrong usage or configuration, as promtool has it.
pub(crate) const EXIT_FAILED: u8 = 1;

/// Parses the arguments and runs what they ask for.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = commands::alerts::complete(with_default_subcommand(args));
    // amtool has one exit code for everything that is wrong.
    let misused = if args.get(1).is_some_and(|first| first == "alerts") { EXIT_FAILED } else { 2 };
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(err) => {
            // Help and version go to standard output and succeed; nothing can be done when even printing fails.
            let code = if err.use_stderr() { ExitCode::from(misused) } else { ExitCode::SUCCESS };
            // clap's own words of misuse are a paragraph with the usage; here one line says what is wrong.
            match misuse(&err) {
                Some(line) => drop(writeln!(std::io::stderr(), "{line}")),
                None => drop(err.print()),
            }
            return code;
        }
    };
    let result = match matches.subcommand() {
        Some(("server", matches)) => flags::given(matches).and_then(roles::serve),
        Some(("agent", matches)) => commands::agent::run(matches),
        Some(("collector", matches)) => flags::given(matches).map(as_collector).and_then(roles::serve),
        Some(("client", matches)) => commands::client::run(matches),
        Some(("probe", matches)) => commands::probe::run(matches),
        Some(("query", matches)) => commands::query::run(matches),
        Some(("check", matches)) => commands::check::run(matches),
        Some(("alerts", matches)) => commands::alerts::run(matches),
        Some(("test", matches)) => commands::test::run(matches),
        Some(("tsdb", matches)) => commands::tsdb::run(matches),
        Some(("status-page", matches)) => commands::status_page::run(matches),
        Some(("simulate", matches)) => commands::simulate::run(matches),
        Some(("watch", matches)) => commands::watch::run(matches),
        Some(("docs", matches)) => commands::docs::run(matches),
        _ => Ok(ExitCode::from(2)),
    };
    match result {
        Ok(code) => code,
        Err(err) => {
            // One line, causes included.
            drop(writeln!(std::io::stderr(), "error: {err:#}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// What is wrong with a command line, in one line; none when clap shows help or the version.
fn misuse(err: &clap::Error) -> Option<String> {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(err.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        return None;
    }
    let text = err.render().to_string();
    let mut line = String::new();
    for part in text.lines().map(str::trim).take_while(|part| !part.starts_with("Usage:")) {
        if part.is_empty() || part.starts_with("For more information") {
            continue;
        }
        line.push_str(match line.chars().last() {
            None => "",
            Some(':') => " ",
            Some(_) => "; ",
        });
        line.push_str(part);
    }
    Some(format!("{line}; --help lists what there is"))
}

/// `bellwether` and `bellwether --flag` mean `bellwether server …`.
fn with_default_subcommand(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    for arg in args.iter_mut().skip(1) {
        if let Some(off) = arg.to_str().and_then(flags::switched_off) {
            *arg = off.into();
        }
    }
    let first = args.get(1).map(|arg| arg.to_string_lossy().into_owned());
    let own = ["-h", "--help", "-V", "--version", "help"];
    if first.is_none_or(|first| first.starts_with('-') && !own.contains(&first.as_str())) {
        args.insert(1, "server".into());
    }
    args
}

/// The whole command line.
pub(crate) fn command() -> Command {
    Command::new("bellwether")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Monitoring in one binary: watches hosts and services, stores and queries metrics, alerts, and shows a fleet at a glance")
        .long_about(
            "Bellwether watches this machine and any target it is given, keeps what it sees in an embedded time-series database, \
             answers PromQL over Prometheus' HTTP API, evaluates recording and alerting rules, routes alerts as Alertmanager does, \
             and serves a web page. Without a subcommand it runs the server.",
        )
        .override_usage("bellwether [OPTIONS]  (the server: bellwether server --help lists its options)\n       bellwether <COMMAND>")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(server())
        .subcommand(commands::agent::command())
        .subcommand(collector())
        .subcommand(commands::client::command())
        .subcommand(commands::probe::command())
        .subcommand(commands::query::command())
        .subcommand(commands::check::command())
        .subcommand(commands::test::command())
        .subcommand(commands::alerts::command())
        .subcommand(commands::tsdb::command())
        .subcommand(commands::status_page::command())
        .subcommand(commands::simulate::command())
        .subcommand(commands::watch::command())
        .subcommand(commands::docs::command())
}

/// A collector is a server that watches no host and takes reports; flags and the environment may change both.
fn as_collector(mut given: Given) -> Given {
    let role = |path: &[&str], text: &str| Override {
        path: path.iter().map(|name| (*name).to_owned()).collect(),
        text: text.to_owned(),
        origin: Origin::Role("collector"),
    };
    given.overrides.insert(0, role(&["collector", "enabled"], "true"));
    given.overrides.insert(1, role(&["sources", "host", "enabled"], "false"));
    given
}

fn collector() -> Command {
    with_settings(
        Command::new("collector")
            .about("Run the collector of client-side reports, in a failure domain of its own")
            .long_about(
                "Runs the server with the collector switched on and without watching this host: it takes reports of browsers and \
                 applications, counts them by cohort, finds incidents, and stores, alerts and shows as the server does. Put it in \
                 another failure domain than what it reports on. Settings are those of the server.",
            ),
    )
}

fn server() -> Command {
    with_settings(
        Command::new("server")
        .about("Run the server: all roles in one process (the default)")
        .long_about(
            "Runs the server: it watches this host, scrapes targets, stores, answers queries, evaluates rules, sends alerts and serves \
             the web page. Every scalar setting of the configuration file is also a flag under its path and an environment variable \
             (BELLWETHER_ and the path in capitals). Flags win over the environment, the environment over the file.",
        ),
    )
}

/// The flags of the server: three of their own, and one for every setting.
fn with_settings(command: Command) -> Command {
    let mut command = command
        .arg(
            Arg::new("config.file")
                .long("config.file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .env("BELLWETHER_CONFIG_FILE")
                .help("Configuration file; a prometheus.yml is accepted as it is. Without one the defaults hold"),
        )
        .arg(
            Arg::new("scrape")
                .long("scrape")
                .value_name("HOST:PORT")
                .action(ArgAction::Append)
                .env("BELLWETHER_SCRAPE")
                .value_delimiter(',')
                .help("Scrape this target too, at /metrics, as job \"scrape\"; may be repeated"),
        )
        .arg(
            Arg::new("enable-feature")
                .long("enable-feature")
                .value_name("NAMES")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("Experimental parts of PromQL to switch on, by Prometheus' names: promql-experimental-functions, \
                       promql-duration-expr, promql-extended-range-selectors, promql-binop-fill-modifiers"),
        );
    for flag in flags::all() {
        command = command.arg(flag);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_alone_mean_the_server() {
        let args = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(with_default_subcommand(args(&["b"])), args(&["b", "server"]));
        assert_eq!(
            with_default_subcommand(args(&["b", "--scrape=x:1"])),
            args(&["b", "server", "--scrape=x:1"])
        );
        assert_eq!(
            with_default_subcommand(args(&["b", "--no-web.enable-lifecycle", "--no-auto-gomaxprocs"])),
            args(&["b", "server", "--web.enable-lifecycle=false", "--auto-gomaxprocs=false"])
        );
        assert_eq!(with_default_subcommand(args(&["b", "--help"])), args(&["b", "--help"]));
        assert_eq!(with_default_subcommand(args(&["b", "check", "config"])), args(&["b", "check", "config"]));
    }
}
