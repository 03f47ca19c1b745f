//! `query`: asking a server from the terminal, with promtool's words and output.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use super::{complain, say};
use crate::cli::EXIT_FAILED;

/// No answer that a terminal shows is larger.
const MAX_ANSWER_BYTES: usize = 256 << 20;

pub(crate) fn command() -> Command {
    let server = || {
        Arg::new("server").required(true).value_name("URL").help("The server, such as http://localhost:9090")
    };
    let expression = || Arg::new("expression").required(true).value_name("EXPR").help("A PromQL expression");
    let time =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("TIME").help(help);
    let format = Arg::new("format")
        .long("format")
        .short('o')
        .value_parser(["promql", "json", "csv"])
        .default_value("promql")
        .help("How the answer is printed");
    let selector = || {
        Arg::new("match")
            .long("match")
            .value_name("SELECTOR")
            .action(clap::ArgAction::Append)
            .help("Series selector; may be repeated")
    };
    Command::new("query")
        .about("Query a running server over its HTTP API")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("instant").about("Evaluate an expression at one time").args([
            server(),
            expression(),
            time("time", "Evaluation time, RFC 3339 or Unix seconds; now when missing"),
            format.clone(),
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
                format.clone(),
            ]),
        )
        .subcommand(Command::new("series").about("List the series that a selector finds").args([
            server(),
            selector().required(true),
            time("start", "Earliest time"),
            time("end", "Latest time"),
        ]))
        .subcommand(Command::new("labels").about("List the values of a label").args([
            server(),
            Arg::new("name").required(true).value_name("LABEL").help("The label's name"),
            selector(),
            time("start", "Earliest time"),
            time("end", "Latest time"),
        ]))
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (kind, matches) = matches.subcommand().context("a subcommand is required")?;
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let mut params: Vec<(&str, String)> = Vec::new();
    let mut add = |name: &'static str, value: Option<String>| params.extend(value.map(|value| (name, value)));
    let path = match kind {
        "instant" => {
            add("query", text("expression"));
            add("time", text("time"));
            "/api/v1/query".to_owned()
        }
        "range" => {
            let now = model::Clock::now(&model::time::SystemClock).seconds();
            let end = seconds(text("end"), "end")?.unwrap_or(now);
            let start = seconds(text("start"), "start")?.unwrap_or(end - 300.0);
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
    let server = text("server").context("a server is required")?;
    let (status, body) = fetch(&server, &path, &params)?;
    let answer: Value = serde_json::from_str(&body)
        .with_context(|| format!("{server}{path} answered {status} with something that is not JSON"))?;
    if answer["status"] != "success" {
        let word = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        complain(format_args!("query error: {}: {}", word("errorType"), word("error")));
        return Ok(ExitCode::from(EXIT_FAILED));
    }
    for field in ["warnings", "infos"] {
        for text in answer[field].as_array().into_iter().flatten() {
            complain(format_args!("{field}: {}", text.as_str().unwrap_or_default()));
        }
    }
    match text_format(matches).as_str() {
        "json" => say(&answer["data"]["result"]),
        "csv" => print_csv(&answer["data"]),
        _ => print(&answer["data"], kind),
    }
    Ok(ExitCode::SUCCESS)
}

fn text_format(matches: &ArgMatches) -> String {
    matches.try_get_one::<String>("format").ok().flatten().cloned().unwrap_or_default()
}

fn seconds(text: Option<String>, name: &str) -> anyhow::Result<Option<f64>> {
    let Some(text) = text else { return Ok(None) };
    match api::parse_time(&text) {
        Ok(at) => Ok(Some(at.seconds())),
        Err(cause) => bail!("--{name}: {cause}"),
    }
}

/// Sends a GET and returns status and body.
fn fetch(server: &str, path: &str, params: &[(&str, String)]) -> anyhow::Result<(u16, String)> {
    let query: Vec<String> =
        params.iter().map(|(name, value)| format!("{}={}", api::encode(name), api::encode(value))).collect();
    let url = format!("{}{path}?{}", server.trim_end_matches('/'), query.join("&"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = httpc::Client::new(&httpc::Config::default(), httpc::Options::default())?;
        let response = client.send(httpc::Request::get(&url)?).await?;
        let status = response.status().as_u16();
        let body = response.bytes(MAX_ANSWER_BYTES).await?;
        Ok((status, String::from_utf8(body.to_vec())?))
    })
}

/// promtool's form: `name{…} => value @[time]`.
fn print(data: &Value, kind: &str) {
    if kind == "series" || kind == "labels" {
        for item in data.as_array().into_iter().flatten() {
            match item.as_str() {
                Some(name) => say(name),
                None => say(series_name(item)),
            }
        }
        return;
    }
    let point = |point: &Value| format!("{} @[{}]", shown(&point[1]), point[0]);
    match data["resultType"].as_str() {
        Some("scalar") => say(format_args!("scalar: {}", point(&data["result"]))),
        Some("string") => say(shown(&data["result"][1])),
        _ => {
            for series in data["result"].as_array().into_iter().flatten() {
                let name = series_name(&series["metric"]);
                for field in ["value", "histogram"] {
                    if series[field].is_array() {
                        say(format_args!("{name} => {}", point(&series[field])));
                    }
                }
                for field in ["values", "histograms"] {
                    if let Some(points) = series[field].as_array() {
                        say(format_args!("{name} =>"));
                        points.iter().for_each(|one| say(point(one)));
                    }
                }
            }
        }
    }
}

/// One row a point: time, value, labels.
fn print_csv(data: &Value) {
    say("time,value,series");
    let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let row =
        |point: &Value, name: &str| say(format_args!("{},{},{}", point[0], shown(&point[1]), quote(name)));
    match data["result"].as_array() {
        Some(series) if series.iter().all(Value::is_object) => {
            for one in series {
                let name = series_name(&one["metric"]);
                let points = one["values"].as_array().cloned().unwrap_or_else(|| vec![one["value"].clone()]);
                points.iter().for_each(|point| row(point, &name));
            }
        }
        _ => row(&data["result"], ""),
    }
}

fn series_name(metric: &Value) -> String {
    let pairs = metric.as_object().into_iter().flatten();
    let pairs = pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    model::Labels::from_pairs(pairs).to_string()
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
