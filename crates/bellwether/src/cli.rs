//! The command line: subcommands, and a flag for every scalar setting of the configuration tree.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, ValueHint};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::commands;
use crate::config::leaves::Leaf;
use crate::config::overrides::{Origin, Override};
use crate::config::{self, Given};
use crate::roles;

/// Exit code for wrong usage or configuration, as promtool has it.
pub(crate) const EXIT_FAILED: u8 = 1;

/// Prometheus' spellings of our settings.
const PROMETHEUS_FLAGS: &[(&str, &str)] = &[
    ("storage.tsdb.path", "storage.path"),
    ("storage.tsdb.retention.time", "storage.retention"),
    ("web.listen-addresses", "web.listen-address"),
    ("query.max-concurrent", "query.max-concurrency"),
    ("alertmanager.config.file", "alerts.config-file"),
];

/// Parses the arguments and runs what they ask for.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(with_default_subcommand(args)) {
        Ok(matches) => matches,
        Err(err) => {
            // Help and version go to standard output and succeed; nothing can be done when even printing fails.
            let code = if err.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
            drop(err.print());
            return code;
        }
    };
    let result = match matches.subcommand() {
        Some(("server", matches)) => given(matches).and_then(roles::serve),
        Some(("query", matches)) => commands::query::run(matches),
        Some(("check", matches)) => commands::check::run(matches),
        Some(("alerts", matches)) => commands::alerts::run(matches),
        Some(("test", matches)) => commands::test::run(matches),
        Some(("tsdb", matches)) => commands::tsdb::run(matches),
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

/// `bellwether` and `bellwether --flag` mean `bellwether server …`.
fn with_default_subcommand(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
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
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(server())
        .subcommand(commands::query::command())
        .subcommand(commands::check::command())
        .subcommand(commands::test::command())
        .subcommand(commands::alerts::command())
        .subcommand(commands::tsdb::command())
        .subcommand(commands::docs::command())
}

fn server() -> Command {
    let mut command = Command::new("server")
        // The last of several wins, as in Prometheus.
        .args_override_self(true)
        .about("Run the server: all roles in one process (the default)")
        .long_about(
            "Runs the server: it watches this host, scrapes targets, stores, answers queries, evaluates rules, sends alerts and serves \
             the web page. Every scalar setting of the configuration file is also a flag under its path and an environment variable \
             (BELLWETHER_ and the path in capitals). Flags win over the environment, the environment over the file.",
        )
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
    for leaf in config::leaves() {
        command = command.arg(flag(leaf));
    }
    command
}

fn flag(leaf: &Leaf) -> Arg {
    let name = leaf.flag();
    let aliases = PROMETHEUS_FLAGS.iter().filter(|(_, ours)| *ours == name).map(|(theirs, _)| *theirs);
    let mut aliases: Vec<String> = aliases.map(str::to_owned).collect();
    let underscored = leaf.path.join(".");
    if underscored != name {
        aliases.push(underscored);
    }
    let mut help = leaf.help.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    if let Some(default) = leaf.default.as_deref().filter(|default| !default.is_empty()) {
        help.push_str(&format!(" [default: {default}]"));
    }
    let mut arg = Arg::new(name.clone())
        .long(name)
        .value_name("VALUE")
        .aliases(aliases)
        .help(help)
        .help_heading(heading(&leaf.path[0]));
    if leaf.is_bool {
        arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    if !leaf.choices.is_empty() {
        arg = arg.value_parser(PossibleValuesParser::new(leaf.choices.clone()));
    }
    arg
}

fn heading(section: &str) -> String {
    format!("Settings under {section}")
}

/// What was given besides the file: environment first, flags after, so that flags win.
fn given(matches: &ArgMatches) -> anyhow::Result<Given> {
    let mut overrides = Vec::new();
    for leaf in config::leaves() {
        if let Some(text) = std::env::var_os(leaf.variable()) {
            let text = text.to_string_lossy().into_owned();
            overrides.push(Override {
                path: leaf.path.clone(),
                text,
                origin: Origin::Variable(leaf.variable()),
            });
        }
        let name = leaf.flag();
        if let Some(text) = matches.get_one::<String>(&name) {
            overrides.push(Override {
                path: leaf.path.clone(),
                text: text.clone(),
                origin: Origin::Flag(name),
            });
        }
    }
    let many = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
    Ok(Given {
        file: matches.get_one::<PathBuf>("config.file").cloned(),
        overrides,
        scrape: many("scrape"),
        features: many("enable-feature"),
    })
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
        assert_eq!(with_default_subcommand(args(&["b", "--help"])), args(&["b", "--help"]));
        assert_eq!(with_default_subcommand(args(&["b", "check", "config"])), args(&["b", "check", "config"]));
    }

    #[test]
    fn every_setting_has_a_flag_and_help() {
        for leaf in config::leaves() {
            assert!(!leaf.help.is_empty(), "{} has no documentation", leaf.flag());
        }
        let matches = command().try_get_matches_from(["b", "server", "--storage.tsdb.path=/x"]).unwrap();
        let given = given(matches.subcommand_matches("server").unwrap()).unwrap();
        assert_eq!(given.overrides[0].path, ["storage", "path"]);
    }
}
