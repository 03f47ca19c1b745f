//! `silence add`, `expire`, `import`, `query` and `update`.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use alerts::api::{ApiMatcher, GettableSilence, PostableSilence, Time};
use alerts::config::value::GoDuration;
use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use futures_util::{StreamExt as _, stream};
use model::duration::PromDuration;
use model::{Clock, Timestamp};
use serde::Deserialize;

use super::super::{complain, say};
use super::client::{Refused, Server, Session};
use super::{many, matchers, name_first, pairs, print};

/// No file of silences is larger.
const MAX_IMPORT_BYTES: u64 = 256 << 20;

pub(super) fn command() -> Command {
    let value = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let words = |help: &'static str| Arg::new("words").num_args(0..).help(help);
    let quiet = || {
        Arg::new("quiet").long("quiet").short('q').action(ArgAction::SetTrue).help("Print only silence ids")
    };
    let annotation =
        || value("annotation", "NAME=VALUE", "A further text; may be repeated").action(ArgAction::Append);
    let query = Command::new("query").about("View and search through silences (the default)").args([
        value("expired", "", "Show expired silences instead of active ones")
            .action(ArgAction::SetTrue)
            .num_args(0),
        quiet(),
        value("created-by", "NAME", "Show silences of this creator"),
        value("id", "ID", "Show one silence"),
        value("within", "DURATION", "Show silences that expire, or expired, within this time"),
        words("Which silences, as 'instance=~db.*'; a first word without an operator is an alert's name")
            .value_name("MATCHER"),
    ]);
    let add = Command::new("add").about("Add a silence").args([
        value("author", "NAME", "Who makes it; the user's name when missing").short('a'),
        value("require-comment", "BOOL", "Whether a comment must be given [default: true]")
            .value_parser(["true", "false"])
            .hide(true),
        value("duration", "DURATION", "How long it holds").short('d').default_value("1h"),
        value("start", "TIME", "Since when, RFC 3339; now when missing"),
        value("end", "TIME", "Until when, RFC 3339; instead of the duration"),
        value("comment", "TEXT", "Why").short('c'),
        annotation(),
        words("What it mutes, as 'instance=~db.*'; a first word without an operator is an alert's name")
            .value_name("MATCHER"),
    ]);
    let update = Command::new("update").about("Extend or change silences").args([
        quiet(),
        value("duration", "DURATION", "How long they hold from their start on").short('d'),
        value("start", "TIME", "Since when, RFC 3339"),
        value("end", "TIME", "Until when, RFC 3339; instead of the duration"),
        value("comment", "TEXT", "Why").short('c'),
        annotation(),
        words("Ids of silences").value_name("ID"),
    ]);
    let import = Command::new("import").about("Add silences that `query -o json` printed").args([
        Arg::new("force")
            .long("force")
            .short('f')
            .action(ArgAction::SetTrue)
            .help("Add them as new ones even when they exist already"),
        value("worker", "COUNT", "How many are sent at once")
            .short('w')
            .default_value("8")
            .value_parser(value_parser!(u16).range(1..=256)),
        Arg::new("file")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("The silences as JSON; standard input when missing"),
    ]);
    Command::new("silence")
        .about("Add, expire, import, query and update silences")
        .subcommand_required(true)
        .subcommand(query)
        .subcommand(add)
        .subcommand(
            Command::new("expire").about("End silences now").arg(words("Ids of silences").value_name("ID")),
        )
        .subcommand(import)
        .subcommand(update)
}

pub(super) fn run(session: &Session, leaf: &str, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match leaf {
        "add" => add(session, matches),
        "expire" => expire(session, matches),
        "import" => import(session, matches),
        "update" => update(session, matches),
        _ => query(session, matches),
    }
}

fn now() -> Timestamp {
    model::time::SystemClock.now()
}

fn query(session: &Session, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut filter = many(matches, "words");
    name_first(session, &mut filter);
    let within = session
        .text(matches, "within")
        .map(|text| GoDuration::parse(&text).map_err(|err| anyhow::anyhow!("--within: {err}")));
    let within = within.transpose()?.map(|within| within.to_std().as_millis() as i64).filter(|ms| *ms > 0);
    let (by, id) = (session.text(matches, "created-by"), session.text(matches, "id"));
    let expired = matches.get_flag("expired");
    let params: Vec<(&str, String)> = filter.into_iter().map(|matcher| ("filter", matcher)).collect();
    let found: Vec<GettableSilence> = session.run(async |server| server.get("/silences", &params).await)?;
    let now = now();
    let wanted = |silence: &GettableSilence| {
        let ends = silence.ends_at.0;
        let near = within.is_none_or(|ms| if expired { ends >= now - ms } else { ends <= now + ms });
        (ends < now) == expired
            && near
            && by.as_ref().is_none_or(|by| *by == silence.created_by)
            && id.as_ref().is_none_or(|id| *id == silence.id)
    };
    show(session, matches, found.into_iter().filter(wanted).collect())
}

fn show(session: &Session, matches: &ArgMatches, silences: Vec<GettableSilence>) -> anyhow::Result<ExitCode> {
    if matches.get_flag("quiet") {
        silences.iter().for_each(|silence| say(&silence.id));
    } else {
        print::silences(session, silences)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn time(matches: &ArgMatches, name: &str) -> anyhow::Result<Option<Timestamp>> {
    let text = matches.get_one::<String>(name);
    let read = |text: &String| text.parse::<Time>().with_context(|| format!("--{name}"));
    Ok(text.map(read).transpose()?.map(|time| time.0))
}

/// A silence's length; never nothing.
fn duration(text: &str) -> anyhow::Result<i64> {
    let length = PromDuration::parse(text).context("--duration")?;
    if length.ms() == 0 {
        bail!("silence duration must be greater than 0");
    }
    Ok(length.ms())
}

fn add(session: &Session, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let set = matchers(session, &mut many(matches, "words"))?;
    if set.is_empty() {
        bail!("no matchers specified");
    }
    let starts = time(matches, "start")?.unwrap_or_else(now);
    let ends = match time(matches, "end")? {
        Some(ends) => ends,
        None => starts + duration(&session.text(matches, "duration").unwrap_or_else(|| "1h".to_owned()))?,
    };
    if starts > ends {
        bail!("silence cannot start after it ends");
    }
    let comment = session.text(matches, "comment").unwrap_or_default();
    let required = session.text(matches, "require-comment").is_none_or(|text| text == "true");
    if required && comment.is_empty() {
        bail!("comment required by config");
    }
    let posted = PostableSilence {
        id: String::new(),
        matchers: set.iter().map(ApiMatcher::from).collect(),
        matcher_sets: Vec::new(),
        starts_at: Time(starts),
        ends_at: Time(ends),
        created_by: session.text(matches, "author").unwrap_or_else(user),
        comment,
        annotations: pairs(session, &many(matches, "annotation"), "annotations")?,
    };
    say(session.run(async |server| post(&server, &posted).await)?);
    Ok(ExitCode::SUCCESS)
}

/// The name of the user who runs this.
fn user() -> String {
    let id = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    name.or_else(|| std::env::var("USER").ok()).unwrap_or_default()
}

/// Sends a silence; its id.
async fn post(server: &Server<'_>, silence: &PostableSilence) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Posted {
        #[serde(rename = "silenceID")]
        id: String,
    }
    let answer = server.post("/silences", silence).await?;
    let posted: Posted = serde_json::from_slice(&answer).context("POST /silences: the answer has no id")?;
    Ok(posted.id)
}

fn expire(session: &Session, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let ids = many(matches, "words");
    if ids.is_empty() {
        bail!("no silence IDs specified");
    }
    session.run(async |server| {
        for id in &ids {
            server.delete(&format!("/silence/{}", api::encode(id))).await?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn update(session: &Session, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let ids = many(matches, "words");
    if ids.is_empty() {
        bail!("no silence IDs specified");
    }
    let (start, end) = (time(matches, "start")?, time(matches, "end")?);
    let length = matches.get_one::<String>("duration").map(|text| duration(text)).transpose()?;
    let comment = matches.get_one::<String>("comment");
    let annotations = pairs(session, &many(matches, "annotation"), "annotations")?;
    let updated = session.run(async |server| {
        let mut updated = Vec::new();
        for id in &ids {
            let mut silence: GettableSilence =
                server.get(&format!("/silence/{}", api::encode(id)), &[]).await?;
            if let Some(start) = start {
                silence.starts_at = Time(start);
            }
            if let Some(end) = end {
                silence.ends_at = Time(end);
            } else if let Some(length) = length {
                silence.ends_at = Time(silence.starts_at.0 + length);
            }
            if silence.starts_at > silence.ends_at {
                bail!("silence cannot start after it ends");
            }
            if let Some(comment) = comment {
                silence.comment.clone_from(comment);
            }
            silence.annotations.extend(annotations.clone());
            silence.id = post(&server, &postable(silence.clone())).await?;
            updated.push(silence);
        }
        Ok(updated)
    })?;
    show(session, matches, updated)
}

fn postable(silence: GettableSilence) -> PostableSilence {
    PostableSilence {
        id: silence.id,
        matchers: silence.matchers,
        matcher_sets: silence.matcher_sets,
        starts_at: silence.starts_at,
        ends_at: silence.ends_at,
        created_by: silence.created_by,
        comment: silence.comment,
        annotations: silence.annotations,
    }
}

fn import(session: &Session, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    let from: Box<dyn Read> = match matches.get_one::<PathBuf>("file") {
        None => Box::new(std::io::stdin()),
        Some(path) => {
            Box::new(std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?)
        }
    };
    from.take(MAX_IMPORT_BYTES + 1).read_to_end(&mut text).context("cannot read the silences")?;
    if text.len() as u64 > MAX_IMPORT_BYTES {
        bail!("more than {MAX_IMPORT_BYTES} bytes of silences; import them in parts");
    }
    let mut silences: Vec<PostableSilence> =
        serde_json::from_slice(&text).context("couldn't unmarshal input data, is it JSON?")?;
    if matches.get_flag("force") {
        silences.iter_mut().for_each(|silence| silence.id.clear());
    }
    let workers = matches.get_one::<u16>("worker").copied().unwrap_or(8);
    let count = silences.len();
    let failed = session.run(async |server| {
        let added = stream::iter(&silences).map(|silence| add_or_create(&server, silence));
        let mut added = added.buffered(usize::from(workers)).zip(stream::iter(&silences));
        let mut failed = 0usize;
        while let Some((result, silence)) = added.next().await {
            match result {
                Ok(id) => say(id),
                Err(err) => {
                    complain(format_args!("Error adding silence id='{}': {err:#}", silence.id));
                    failed += 1;
                }
            }
        }
        Ok(failed)
    })?;
    if failed > 0 {
        bail!("couldn't import {failed} out of {count} silences");
    }
    Ok(ExitCode::SUCCESS)
}

/// A silence that the server does not know is made anew.
async fn add_or_create(server: &Server<'_>, silence: &PostableSilence) -> anyhow::Result<String> {
    match post(server, silence).await {
        Err(err) if err.downcast_ref::<Refused>().is_some_and(|refused| refused.status == 404) => {
            post(server, &PostableSilence { id: String::new(), ..silence.clone() }).await
        }
        other => other,
    }
}
