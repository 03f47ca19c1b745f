//! `query analyze`: what makes up the series of a selector, and how the buckets of histograms are used.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use super::print::{rows_of, series_name};
use super::{Server, graph, header, range, selector, server, time};
use crate::cli::EXIT_FAILED;
use crate::commands::say;

pub(super) fn command() -> Command {
    Command::new("analyze").about("Show what makes up the series of a selector: labels by number of values, and the use of histogram buckets").args([
        server(),
        Arg::new("type")
            .long("type")
            .value_parser(["labels", "histogram"])
            .default_value("labels")
            .help("labels: values and series of each label; histogram: how many buckets hold observations"),
        selector().required(true),
        time("start", "Earliest time; an hour before the end when missing"),
        time("end", "Latest time; now when missing"),
        header(),
    ])
}

pub(super) fn run(server: &Server, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (start, end) = range(matches, 3600.0)?;
    let histograms = matches.get_one::<String>("type").is_some_and(|kind| kind == "histogram");
    for selector in matches.get_many::<String>("match").into_iter().flatten() {
        let done = match histograms {
            true => buckets(server, selector, start, end)?,
            false => labels(server, selector, start, end)?,
        };
        if !done {
            return Ok(ExitCode::from(EXIT_FAILED));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Each label of the selected series: how many values, how many series have it, the value with most series.
fn labels(server: &Server, selector: &str, start: f64, end: f64) -> anyhow::Result<bool> {
    let params = [("match[]", selector.to_owned()), ("start", start.to_string()), ("end", end.to_string())];
    let Some(data) = server.ask("/api/v1/series", &params)? else { return Ok(false) };
    let series: Vec<&Value> = data.as_array().into_iter().flatten().collect();
    say(format_args!("{selector}: {} series", series.len()));
    let mut of_label: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (name, value) in series.iter().flat_map(|one| one.as_object().into_iter().flatten()) {
        *of_label.entry(name).or_default().entry(value.as_str().unwrap_or_default()).or_default() += 1;
    }
    let mut rows: Vec<(usize, Vec<String>)> = of_label
        .into_iter()
        .map(|(name, values)| {
            let (most, count) = values
                .iter()
                .max_by_key(|(_, count)| **count)
                .map_or(("", 0), |(value, count)| (*value, *count));
            let having: usize = values.values().sum();
            let cells =
                [name.to_owned(), values.len().to_string(), having.to_string(), format!("{most} ({count})")];
            (values.len(), cells.to_vec())
        })
        .collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let heads = ["label", "values", "series", "most frequent value"].map(str::to_owned);
    rows_of(&heads, rows.into_iter().map(|(_, cells)| cells).collect());
    Ok(true)
}

/// Each histogram, classic or native: its buckets, and how many of them got observations within the time.
fn buckets(server: &Server, selector: &str, start: f64, end: f64) -> anyhow::Result<bool> {
    let seconds = ((end - start) as u64).max(1);
    let ask = |query: String| server.ask("/api/v1/query", &[("query", query), ("time", end.to_string())]);
    // What was observed within the time. A classic histogram is its `_bucket` series, a native one a series of its own.
    let Some(data) = ask(format!("increase({selector}[{seconds}s])"))? else { return Ok(false) };
    let mut classic: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for one in data["result"].as_array().into_iter().flatten() {
        let mut metric = one["metric"].clone();
        if one["histogram"].is_array() {
            let found = one["histogram"][1]["buckets"].as_array().map_or(0, Vec::len);
            let observed = one["histogram"][1]["count"].as_str().unwrap_or("0").to_owned();
            rows.push(vec![
                series_name(&metric),
                "native".to_owned(),
                found.to_string(),
                found.to_string(),
                observed,
            ]);
            continue;
        }
        let bound = metric.as_object_mut().and_then(|labels| labels.remove("le"));
        let Some(bound) = bound.as_ref().and_then(Value::as_str) else { continue };
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap_or(f64::NAN) };
        let count = one["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        classic.entry(series_name(&metric)).or_default().push((bound, count));
    }
    for (name, mut bounds) in classic {
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut below = 0.0;
        let mut used = BTreeSet::new();
        for (at, (_, count)) in bounds.iter().enumerate() {
            if *count > below {
                used.insert(at);
            }
            below = f64::max(below, *count);
        }
        let cells = [
            name,
            "classic".to_owned(),
            bounds.len().to_string(),
            used.len().to_string(),
            graph::short(below),
        ];
        rows.push(cells.to_vec());
    }
    say(format_args!("{selector}: {} histograms within {seconds} s", rows.len()));
    if rows.is_empty() {
        say("name the _bucket series of a classic histogram, or a native histogram");
        return Ok(true);
    }
    let heads = ["histogram", "kind", "buckets", "used", "observations"].map(str::to_owned);
    rows_of(&heads, rows);
    Ok(true)
}
