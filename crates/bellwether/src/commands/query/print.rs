//! Answers as text: promtool's form, tables, CSV.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{graph, terminal_width};
use crate::commands::say;

/// promtool's form: `name{…} => value @[time]`.
pub(super) fn promql(data: &Value, kind: &str) {
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
pub(super) fn csv(data: &Value, kind: &str) {
    let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    if kind == "series" || kind == "labels" {
        say(if kind == "series" { "series" } else { "value" });
        for item in data.as_array().into_iter().flatten() {
            say(quote(&item.as_str().map_or_else(|| series_name(item), str::to_owned)));
        }
        return;
    }
    say("time,value,series");
    let row = |point: &Value, name: &str| {
        say(format_args!("{},{},{}", point[0], csv_value(&point[1]), quote(name)))
    };
    match data["result"].as_array() {
        Some(series) if series.iter().all(Value::is_object) => {
            for one in series {
                let name = series_name(&one["metric"]);
                for field in ["value", "histogram"] {
                    if one[field].is_array() {
                        row(&one[field], &name);
                    }
                }
                for field in ["values", "histograms"] {
                    one[field].as_array().into_iter().flatten().for_each(|point| row(point, &name));
                }
            }
        }
        _ => row(&data["result"], ""),
    }
}

fn csv_value(value: &Value) -> String {
    match value.as_str() {
        Some(text) if !text.contains(['"', ',', '\n']) => text.to_owned(),
        Some(text) => format!("\"{}\"", text.replace('"', "\"\"")),
        None => format!("\"{}\"", value.to_string().replace('"', "\"\"")),
    }
}

/// A column a label, and the value; of a range its course and its least, mean, greatest and last value.
pub(super) fn table(data: &Value, kind: &str) {
    if kind == "labels" {
        let rows = data.as_array().into_iter().flatten().map(|value| vec![shown(value)]);
        return rows_of(&["value".to_owned()], rows.collect());
    }
    let (series, of): (Vec<&Value>, fn(&Value) -> &Value) = match kind {
        "series" => (data.as_array().into_iter().flatten().collect(), |one| one),
        _ => match data["result"].as_array() {
            Some(series) if series.iter().all(Value::is_object) => {
                (series.iter().collect(), |one| &one["metric"])
            }
            _ => {
                let result = &data["result"];
                let heads = ["value".to_owned(), "time".to_owned()];
                return rows_of(&heads, vec![vec![shown(&result[1]), result[0].to_string()]]);
            }
        },
    };
    let labels: BTreeSet<&String> = series
        .iter()
        .flat_map(|one| of(one).as_object().into_iter().flatten().map(|(name, _)| name))
        .collect();
    let mut heads: Vec<String> = labels
        .iter()
        .map(|name| if *name == "__name__" { "metric".to_owned() } else { (*name).clone() })
        .collect();
    match kind {
        "range" => heads.extend(["course", "min", "avg", "max", "last"].map(str::to_owned)),
        "instant" => heads.push("value".to_owned()),
        _ => {}
    }
    let row = |one: &&Value| {
        let metric = of(one);
        let mut row: Vec<String> =
            labels.iter().map(|name| metric[name.as_str()].as_str().unwrap_or_default().to_owned()).collect();
        match kind {
            "range" => {
                let points = graph::points(one);
                let of = graph::Summary::of(&points);
                row.push(graph::spark(&points, 24));
                row.extend([of.min, of.avg, of.max, of.last].map(graph::short));
            }
            "instant" => {
                let value = if one["value"].is_array() { &one["value"][1] } else { &one["histogram"][1] };
                row.push(shown(value));
            }
            _ => {}
        }
        row
    };
    rows_of(&heads, series.iter().map(row).collect());
}

/// Prints columns side by side. Cells that would pass the terminal's edge are cut.
pub(super) fn rows_of(heads: &[String], rows: Vec<Vec<String>>) {
    let width_of = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([heads[at].chars().count()]).max().unwrap_or(0).min(60)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width_of).collect();
    let limit = terminal_width();
    let line = |cells: &[String]| {
        let mut out = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let mut cell: String = cell.clone();
            if cell.chars().count() > *width {
                cell = cell.chars().take(width.saturating_sub(1)).chain(['…']).collect();
            }
            let pad = width - cell.chars().count();
            out.push_str(&cell);
            out.extend(std::iter::repeat_n(' ', pad + 2));
        }
        let out = out.trim_end();
        match out.chars().count() > limit {
            true => out.chars().take(limit - 1).chain(['…']).collect(),
            false => out.to_owned(),
        }
    };
    say(line(heads));
    rows.iter().for_each(|row| say(line(row)));
}

pub(super) fn series_name(metric: &Value) -> String {
    let pairs = metric.as_object().into_iter().flatten();
    let pairs = pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    model::Labels::from_pairs(pairs).to_string()
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
