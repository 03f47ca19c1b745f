//! `query`: asking a server from the terminal, with promtool's words, and tables, graphs and plans beside them.

mod analyze;
mod explain;
mod graph;
mod print;

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;

use super::{complain, say};
use crate::cli::EXIT_FAILED;

/// No answer that a terminal shows is larger.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Longer parameters go into the body of a POST request.
const MAX_URL: usize = 4096;

pub(crate) fn command() -> Command {
    let expression = || Arg::new("expression").required(true).value_name("EXPR").help("A PromQL expression");
    let explain = || {
        Arg::new("explain")
            .long("explain")
            .action(ArgAction::SetTrue)
            .help("Also print how the expression was evaluated: series, samples and time of each part")
    };
    Command::new("query")
        .about("Query a running server over its HTTP API")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("instant").about("Evaluate an expression at one time").args([
            server(),
            expression(),
            time("time", "Evaluation time, RFC 3339 or Unix seconds; now when missing"),
            format(&["promql", "table", "json", "csv"]),
            explain(),
            header(),
        ]))
        .subcommand(
            Command::new("range").about("Evaluate an expression over a range of time").args([
                server(),
                expression(),
                time("start", "First time, RFC 3339 or Unix seconds; 5 minutes before the end when missing"),
                time("end", "Last time; now when missing"),
                Arg::new("step")
                    .long("step")
                    .value_name("DURATION")
                    .help("Distance of the times; a 250th of the range when missing"),
                format(&["promql", "table", "graph", "json", "csv"]),
                explain(),
                header(),
            ]),
        )
        .subcommand(Command::new("series").about("List the series that a selector finds").args([
            server(),
            selector().required(true),
            time("start", "Earliest time"),
            time("end", "Latest time"),
            format(&["promql", "table", "json", "csv"]),
            header(),
        ]))
        .subcommand(Command::new("labels").about("List the values of a label").args([
            server(),
            Arg::new("name").required(true).value_name("LABEL").help("The label's name"),
            selector(),
            time("start", "Earliest time"),
            time("end", "Latest time"),
            format(&["promql", "table", "json", "csv"]),
            header(),
        ]))
        .subcommand(analyze::command())
}

fn server() -> Arg {
    Arg::new("server").required(true).value_name("URL").help("The server, such as http://localhost:9090")
}

fn time(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("TIME").help(help)
}

fn selector() -> Arg {
    Arg::new("match")
        .long("match")
        .value_name("SELECTOR")
        .action(ArgAction::Append)
        .help("Series selector; may be repeated")
}

fn header() -> Arg {
    Arg::new("header")
        .long("header")
        .value_name("NAME=VALUE")
        .action(ArgAction::Append)
        .help("A header to send, such as X-Scope-OrgID=team-a; may be repeated")
}

fn format(choices: &[&'static str]) -> Arg {
    Arg::new("format")
        .long("format")
        .short('o')
        .value_parser(choices.to_vec())
        .default_value("promql")
        .help("How the answer is printed; promql is promtool's form")
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (kind, matches) = matches.subcommand().context("a subcommand is required")?;
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let server = Server::new(matches)?;
    let mut params: Vec<(&str, String)> = Vec::new();
    let mut add = |name: &'static str, value: Option<String>| params.extend(value.map(|value| (name, value)));
    let path = match kind {
        "analyze" => return analyze::run(&server, matches),
        "instant" => {
            add("query", text("expression"));
            add("time", text("time"));
            "/api/v1/query".to_owned()
        }
        "range" => {
            let (start, end) = range(matches, 300.0)?;
            let step = text("step").unwrap_or_else(|| ((end - start) / 250.0).floor().max(1.0).to_string());
            add("query", text("expression"));
            add("start", Some(start.to_string()));
            add("end", Some(end.to_string()));
            add("step", Some(step));
            "/api/v1/query_range".to_owned()
        }
        _ => {
            for selector in matches.get_many::<String>("match").into_iter().flatten() {
                add("match[]", Some(selector.clone()));
            }
            add("start", text("start"));
            add("end", text("end"));
            match kind {
                "series" => "/api/v1/series".to_owned(),
                _ => format!("/api/v1/label/{}/values", text("name").unwrap_or_default()),
            }
        }
    };
    let explained = matches.try_get_one::<bool>("explain").ok().flatten().copied().unwrap_or(false);
    if explained {
        params.push(("stats", "all".to_owned()));
    }
    let Some(data) = server.ask(&path, &params)? else { return Ok(ExitCode::from(EXIT_FAILED)) };
    let format = text("format").unwrap_or_default();
    match (format.as_str(), kind) {
        ("json", "instant" | "range") => say(&data["result"]),
        ("json", _) => say(&data),
        ("csv", _) => print::csv(&data, kind),
        ("table", _) => print::table(&data, kind),
        ("graph", _) => graph::draw(&data, terminal_width()),
        _ => print::promql(&data, kind),
    }
    if explained {
        explain::print(&data["stats"]);
    }
    Ok(ExitCode::SUCCESS)
}

/// `--start` and `--end` in seconds; `before` the end when there is no start.
fn range(matches: &ArgMatches, before: f64) -> anyhow::Result<(f64, f64)> {
    let of = |name: &str| seconds(matches.get_one::<String>(name), name);
    let end = of("end")?.unwrap_or_else(|| model::Clock::now(&model::time::SystemClock).seconds());
    Ok((of("start")?.unwrap_or(end - before), end))
}

fn seconds(text: Option<&String>, name: &str) -> anyhow::Result<Option<f64>> {
    let Some(text) = text else { return Ok(None) };
    match api::parse_time(text) {
        Ok(at) => Ok(Some(at.seconds())),
        Err(cause) => bail!("--{name}: {cause}"),
    }
}

/// Columns of the terminal; 100 where there is none.
fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0)).max(40)
}

/// The server that is asked.
struct Server {
    url: String,
    headers: Vec<(String, String)>,
}

impl Server {
    fn new(matches: &ArgMatches) -> anyhow::Result<Self> {
        let url = matches.get_one::<String>("server").context("a server is required")?;
        let mut headers = Vec::new();
        for text in matches.get_many::<String>("header").into_iter().flatten() {
            let (name, value) =
                text.split_once('=').with_context(|| format!("--header {text}: write NAME=VALUE"))?;
            headers.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self { url: url.trim_end_matches('/').to_owned(), headers })
    }

    /// The `data` of the answer. Warnings are printed, and so is an error, which gives `None`.
    fn ask(&self, path: &str, params: &[(&str, String)]) -> anyhow::Result<Option<Value>> {
        let (status, body) = self.fetch(path, params)?;
        let mut answer: Value = serde_json::from_str(&body).with_context(|| {
            format!("{}{path} answered {status} with something that is not JSON", self.url)
        })?;
        if answer["status"] != "success" {
            let word = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
            complain(format_args!("query error: {}: {}", word("errorType"), word("error")));
            return Ok(None);
        }
        for field in ["warnings", "infos"] {
            for text in answer[field].as_array().into_iter().flatten() {
                complain(format_args!("{field}: {}", text.as_str().unwrap_or_default()));
            }
        }
        Ok(Some(answer["data"].take()))
    }

    fn fetch(&self, path: &str, params: &[(&str, String)]) -> anyhow::Result<(u16, String)> {
        let pairs: Vec<String> = params
            .iter()
            .map(|(name, value)| format!("{}={}", api::encode(name), api::encode(value)))
            .collect();
        let pairs = pairs.join("&");
        let mut request = if pairs.len() > MAX_URL {
            let media = "application/x-www-form-urlencoded";
            httpc::Request::post(&format!("{}{path}", self.url), media, pairs)?
        } else {
            httpc::Request::get(&format!("{}{path}?{pairs}", self.url))?
        };
        for (name, value) in &self.headers {
            request = request.header(name, value)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = httpc::Client::new(&httpc::Config::default(), httpc::Options::default())?;
            let response = client.send(request).await?;
            let status = response.status().as_u16();
            let body = response.bytes(MAX_ANSWER_BYTES).await?;
            Ok((status, String::from_utf8(body.to_vec())?))
        })
    }
}
