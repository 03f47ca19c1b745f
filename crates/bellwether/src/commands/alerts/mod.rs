//! `alerts`: amtool's subcommands, outputs and exit codes, against this server or an Alertmanager.

mod alert;
mod client;
mod config;
mod print;
mod silence;
mod template;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use model::{MatchOp, Matcher};

use client::Session;

/// Subcommands that stand for themselves when none is given: the path above them, and their names, the default first.
const DEFAULTS: &[(&[&str], &[&str])] = &[
    (&["alert"], &["query", "add"]),
    (&["silence"], &["query", "add", "expire", "import", "update"]),
    (&["cluster"], &["show"]),
    (&["config"], &["show", "routes"]),
    (&["config", "routes"], &["show", "test"]),
];

/// Flags of every subcommand that take a value.
const WITH_VALUE: &[&str] = &[
    "--alertmanager.url",
    "--config.file",
    "--date.format",
    "--enable-feature",
    "--http.config.file",
    "--output",
    "--timeout",
    "-o",
];

pub(crate) fn command() -> Command {
    Command::new("alerts")
        .about("Ask and edit a running alert manager; check and try out its configuration (amtool's subcommands)")
        .long_about(
            "amtool's subcommands, outputs and exit codes, against this server or an Alertmanager. Defaults for flags are \
             read from amtool's own files: $HOME/.config/amtool/config.yml and /etc/amtool/config.yml.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(globals())
        .subcommand(alert::command())
        .subcommand(silence::command())
        .subcommand(config::check_command())
        .subcommand(config::cluster_command())
        .subcommand(config::command())
        .subcommand(template::command())
}

fn globals() -> Vec<Arg> {
    let value = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).global(true).help(help)
    };
    vec![
        value("alertmanager.url", "URL", "The server to talk to [default: http://localhost:9090/]"),
        value("output", "FORMAT", "How answers are printed [default: simple]")
            .short('o')
            .value_parser(["simple", "extended", "json"]),
        value(
            "date.format",
            "LAYOUT",
            "How dates are printed, as a layout of Go [default: 2006-01-02 15:04:05 MST]",
        ),
        value("timeout", "DURATION", "How long the command may take [default: 30s]"),
        value("http.config.file", "FILE", "HTTP client settings: an http_config of Prometheus")
            .value_parser(value_parser!(PathBuf)),
        value(
            "enable-feature",
            "NAMES",
            "Alertmanager's names: classic-mode and utf8-strict-mode choose how matchers are read",
        ),
        Arg::new("verbose")
            .long("verbose")
            .short('v')
            .action(ArgAction::SetTrue)
            .global(true)
            .help("Print each request and its status on standard error"),
        Arg::new("version-check")
            .long("version-check")
            .action(ArgAction::SetTrue)
            .overrides_with("no-version-check")
            .global(true)
            .help("Warn when the server has another version than this program"),
        Arg::new("no-version-check")
            .long("no-version-check")
            .action(ArgAction::SetTrue)
            .overrides_with("version-check")
            .global(true)
            .help("Do not compare versions (the default)"),
    ]
}

/// Puts amtool's default subcommands into an argument list that leaves them out: `alerts silence foo` asks for silences.
pub(crate) fn complete(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_none_or(|first| first != "alerts") {
        return args;
    }
    let mut path: Vec<String> = Vec::new();
    let mut at = 2;
    loop {
        let Some((_, names)) = DEFAULTS.iter().find(|(above, _)| *above == path) else {
            if path.len() > 1 || !path.is_empty() {
                return args;
            }
            // The first word is the subcommand itself.
            match word(&args, at) {
                Some((place, name)) => {
                    path.push(name);
                    at = place + 1;
                    continue;
                }
                None => return args,
            }
        };
        match word(&args, at) {
            Some((place, name)) if names.contains(&name.as_str()) || name == "help" => {
                path.push(name);
                at = place + 1;
            }
            _ if args.iter().skip(at).any(|arg| arg == "--help" || arg == "-h") => return args,
            _ => {
                args.insert(at, names[0].into());
                path.push(names[0].to_owned());
                at += 1;
            }
        }
    }
}

/// The first argument from `at` on that is no flag and no flag's value.
fn word(args: &[OsString], mut at: usize) -> Option<(usize, String)> {
    loop {
        let text = args.get(at)?.to_string_lossy();
        if text == "--" {
            return None;
        }
        if !text.starts_with('-') {
            return Some((at, text.into_owned()));
        }
        at += if WITH_VALUE.contains(&&*text) { 2 } else { 1 };
    }
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (name, inner) = matches.subcommand().context("a subcommand is required")?;
    if name == "check-config" {
        return config::check(inner);
    }
    let (leaf, leaf_matches) = inner.subcommand().context("a subcommand is required")?;
    let session = || Session::new(leaf_matches);
    match (name, leaf) {
        ("alert", "add") => alert::add(&session()?, leaf_matches),
        ("alert", "query") => alert::query(&session()?, leaf_matches),
        ("silence", leaf) => silence::run(&session()?, leaf, leaf_matches),
        ("cluster", _) => config::cluster(&session()?),
        ("config", "show") => config::show(&session()?),
        ("config", "routes") => config::routes(leaf_matches),
        ("template", _) => template::render(leaf_matches),
        _ => bail!("a subcommand is required"),
    }
}

/// The words of an argument that may be given several times.
fn many(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

/// Matchers from words; a first word that is none is an alert's name.
fn matchers(session: &Session, words: &mut [String]) -> anyhow::Result<Vec<Matcher>> {
    name_first(session, words);
    words.iter().map(|word| session.matcher(word)).collect()
}

/// Makes a first word that is no matcher one of `alertname`.
fn name_first(session: &Session, words: &mut [String]) {
    if let Some(first) = words.first_mut()
        && session.matcher(first).is_err()
    {
        *first = format!("alertname={}", ::template::gofmt::quote(first));
    }
}

/// Labels from words of the form `name=value`. `what`: for the error.
fn pairs(
    session: &Session,
    words: &[String],
    what: &str,
) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    words
        .iter()
        .map(|word| {
            let matcher = session.matcher(word)?;
            if matcher.op() != MatchOp::Equal {
                bail!("{what} must be specified as key=value pairs");
            }
            Ok((matcher.name().to_owned(), matcher.value().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, wanted: &str) {
        let args = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(complete(args(given)), args(wanted), "{given}");
    }

    #[test]
    fn amtools_default_subcommands_are_put_in() {
        check("b server --x", "b server --x");
        check("b alerts alert", "b alerts alert query");
        check("b alerts alert foo a=b", "b alerts alert query foo a=b");
        check("b alerts -o json alert -s", "b alerts -o json alert query -s");
        check("b alerts alert -o json add x", "b alerts alert -o json add x");
        check(
            "b alerts silence --alertmanager.url http://x add",
            "b alerts silence --alertmanager.url http://x add",
        );
        check("b alerts silence --expired", "b alerts silence query --expired");
        check("b alerts config", "b alerts config show");
        check("b alerts config routes --config.file=f", "b alerts config routes show --config.file=f");
        check(
            "b alerts config routes --config.file f test a=b",
            "b alerts config routes --config.file f test a=b",
        );
        check("b alerts cluster", "b alerts cluster show");
        check("b alerts check-config f", "b alerts check-config f");
        check("b alerts template render", "b alerts template render");
        check("b alerts silence --help", "b alerts silence --help");
        check("b alerts", "b alerts");
    }
}
