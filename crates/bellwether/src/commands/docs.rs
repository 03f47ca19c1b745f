//! `docs`: the reference of this very version, written from the code.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command};

use super::say;
use crate::{cli, config, telemetry};

pub(crate) fn command() -> Command {
    Command::new("docs").about("Print the reference of this version as Markdown").arg(
        Arg::new("page")
            .required(true)
            .value_parser(["config", "cli", "metrics", "client-fields"])
            .help("Which page"),
    )
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let page = matches.get_one::<String>("page").context("a page is required")?;
    let text = match page.as_str() {
        "config" => configuration(),
        "cli" => command_line(),
        "metrics" => telemetry::reference()?,
        "client-fields" => client_fields(),
        other => bail!("there is no page {other:?}"),
    };
    say(text.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn configuration() -> String {
    let mut out = String::from(
        "# Configuration\n\nWritten from the code by `cargo xtask gen`; `bellwether docs config` prints it.\n\n\
         One YAML file, named by `--config.file`. `global`, `scrape_configs`, `scrape_config_files`, `rule_files`, `alerting`, `remote_write`,\n\
         `remote_read`, `otlp` and `tracing` are Prometheus' own sections, field by field: see the Prometheus manual. The sections below are\n\
         ours. Every setting in the table is also a flag and an environment variable; flags win over the environment, the\n\
         environment over the file, the file over the defaults.\n",
    );
    let mut section = String::new();
    for leaf in config::leaves() {
        if leaf.path[0] != section {
            section.clone_from(&leaf.path[0]);
            out.push_str(&format!("\n## {section}\n\n| setting | default | meaning |\n|---|---|---|\n"));
        }
        let default = leaf.default.clone().filter(|default| !default.is_empty());
        let default =
            default.map_or("–".to_owned(), |default| format!("`{}`", default.replace('|', "\\|")));
        let mut help = leaf.help.replace('\n', " ").replace('|', "\\|");
        if !leaf.choices.is_empty() {
            help.push_str(&format!(" One of: {}.", leaf.choices.join(", ")));
        }
        out.push_str(&format!(
            "| `{}`<br>`--{}`<br>`{}` | {default} | {help} |\n",
            leaf.path.join("."),
            leaf.flag(),
            leaf.variable()
        ));
    }
    out
}

/// The privacy page: every field that clients send.
fn client_fields() -> String {
    format!(
        "# What clients send and what is kept\n\nWritten from the code by `cargo xtask gen`; `bellwether client fields` prints it. \
         The collector reads no field\nbeyond these. How they are used is in [Client-side errors](../concepts/clients.md).\n\n{}",
        clients::field::markdown()
    )
}

fn command_line() -> String {
    let mut out = String::from(
        "# Command line\n\nWritten from the code by `cargo xtask gen`; `bellwether docs cli` prints it. The flags that stand for settings are in\n\
         [config.md](config.md).\n",
    );
    let mut root = cli::command();
    root.build();
    describe(&root, &mut out, "");
    out
}

fn describe(command: &Command, out: &mut String, parent: &str) {
    let name = format!("{parent}{}", command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    out.push_str(&format!("\n## {name}\n\n{about}\n"));
    let args: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str()))
        .filter(|arg| !arg.get_help_heading().is_some_and(|heading| heading.starts_with("Settings under")))
        .collect();
    if !args.is_empty() {
        out.push_str("\n| argument | meaning |\n|---|---|\n");
    }
    for arg in args {
        let shown = match arg.get_long() {
            Some(long) => format!("--{long}"),
            None => arg
                .get_value_names()
                .and_then(|names| names.first())
                .map_or(arg.get_id().as_str(), |v| v)
                .to_owned(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
        out.push_str(&format!("| `{shown}` | {help} |\n"));
    }
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        describe(sub, out, &format!("{name} "));
    }
}
