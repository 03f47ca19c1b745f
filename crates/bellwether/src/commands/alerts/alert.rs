//! `alert add` and `alert query`.

use std::process::ExitCode;

use alerts::api::{GettableAlert, PostableAlert, Time};
use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::client::Session;
use super::{many, name_first, pairs, print};

pub(super) fn command() -> Command {
    let flag = |name: &'static str, short: char, help: &'static str| {
        Arg::new(name).long(name).short(short).action(ArgAction::SetTrue).help(help)
    };
    Command::new("alert")
        .about("Add or query alerts")
        .subcommand_required(true)
        .subcommand(
            Command::new("query").about("View and search through current alerts (the default)").args([
                flag("inhibited", 'i', "Show inhibited alerts"),
                flag("silenced", 's', "Show silenced alerts"),
                flag("active", 'a', "Show active alerts; the default when none of these flags is given"),
                flag("unprocessed", 'u', "Show unprocessed alerts"),
                Arg::new("receiver")
                    .long("receiver")
                    .short('r')
                    .value_name("REGEX")
                    .help("Show alerts of receivers that match"),
                Arg::new("matchers").num_args(0..).value_name("MATCHER").help(
                    "Which alerts, as 'instance=~db.*'; a first word without an operator is an alert's name",
                ),
            ]),
        )
        .subcommand(
            Command::new("add").about("Add an alert").args([
                Arg::new("generator-url")
                    .long("generator-url")
                    .value_name("URL")
                    .help("Where the alert comes from"),
                Arg::new("start")
                    .long("start")
                    .value_name("TIME")
                    .help("Since when, RFC 3339; now when missing"),
                Arg::new("end")
                    .long("end")
                    .value_name("TIME")
                    .help("Until when, RFC 3339; after the resolve timeout when missing"),
                Arg::new("annotation")
                    .long("annotation")
                    .value_name("NAME=VALUE")
                    .action(ArgAction::Append)
                    .help("An annotation; may be repeated"),
                Arg::new("labels")
                    .num_args(0..)
                    .value_name("LABEL=VALUE")
                    .help("Labels; a first word without an operator is the alert's name"),
            ]),
        )
}

pub(super) fn query(session: &Session, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut filter = many(matches, "matchers");
    name_first(session, &mut filter);
    let flag = |name: &str| matches.get_flag(name);
    let (inhibited, silenced, unprocessed) = (flag("inhibited"), flag("silenced"), flag("unprocessed"));
    let active = flag("active") || !(inhibited || silenced || unprocessed);
    let mut params = vec![
        ("active", active.to_string()),
        ("inhibited", inhibited.to_string()),
        ("silenced", silenced.to_string()),
        ("unprocessed", unprocessed.to_string()),
    ];
    params.extend(session.text(matches, "receiver").map(|receiver| ("receiver", receiver)));
    params.extend(filter.into_iter().map(|matcher| ("filter", matcher)));
    let found: Vec<GettableAlert> = session.run(async |server| server.get("/alerts", &params).await)?;
    print::alerts(session, found)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn add(session: &Session, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut labels = many(matches, "labels");
    name_first(session, &mut labels);
    let time = |name: &str| {
        let text = matches.get_one::<String>(name);
        text.map(|text| text.parse::<Time>().with_context(|| format!("--{name}"))).transpose()
    };
    let alert = PostableAlert {
        labels: pairs(session, &labels, "labels")?,
        annotations: pairs(session, &many(matches, "annotation"), "annotations")?,
        starts_at: time("start")?,
        ends_at: time("end")?,
        generator_url: session.text(matches, "generator-url").unwrap_or_default(),
    };
    session.run(async |server| server.post("/alerts", &[alert]).await)?;
    Ok(ExitCode::SUCCESS)
}
