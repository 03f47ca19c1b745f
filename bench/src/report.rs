//! What was measured, as a table with ratios and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::ingest::{Outcome, Workload};
use crate::peer::Kind;

/// One line of the table: its name, the value of an outcome, and how the value is shown.
type Line = (&'static str, fn(&Outcome, &Workload) -> Option<f64>, fn(f64) -> String);

fn three(value: f64) -> String {
    format!("{value:.3}")
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

const LINES: &[Line] = &[
    ("CPU s per million samples, load", |o, _| Some(o.load_cpu / o.samples as f64 * 1e6), three),
    (
        "CPU s per million samples, first rounds (new series)",
        |o, w| Some(o.warm_up_cpu / (w.series() * 2) as f64 * 1e6),
        three,
    ),
    ("samples a second, wall time of a shared machine", |o, _| Some(o.samples as f64 / o.load_wall), whole),
    ("requests refused and sent again", |o, _| Some(o.refused as f64), whole),
    (
        "resident bytes a series, idle after the load",
        |o, w| Some(o.resident as f64 / w.series() as f64),
        whole,
    ),
    ("the same without mapped files", |o, w| Some(o.anonymous as f64 / w.series() as f64), whole),
    (
        "peak of resident bytes a series during the load",
        |o, w| Some(o.peak_in_load as f64 / w.series() as f64),
        whole,
    ),
    ("restart after kill -9: s to a full answer", |o, _| o.restart_wall, three),
    ("restart after kill -9: CPU s", |o, _| o.restart_cpu, three),
    ("restart: peak of memory / idle before", |o, _| Some(o.restart_peak? as f64 / o.resident as f64), three),
    ("acknowledged samples lost by kill -9", |o, _| Some(o.lost? as f64), whole),
    ("bytes a sample on disk, settled", |o, _| Some(o.disk? as f64 / o.stored? as f64), three),
    ("CPU s per million samples to settle", |o, _| Some(o.settle_cpu? / o.stored? as f64 * 1e6), three),
    ("settling: peak of memory / before", |o, _| Some(o.settle_peak? as f64 / o.settle_base? as f64), three),
];

/// The table in Markdown.
pub(crate) fn table(work: &Workload, outcomes: &[(Kind, Outcome)]) -> String {
    let mut text = format!(
        "{}: {} hosts, {} series, {:?}, {} rounds of load 15 s apart, remote write {:?}, {} connections\n\n",
        work.name,
        work.hosts,
        work.series(),
        work.shape,
        work.load_rounds(),
        work.version,
        work.connections
    );
    text.push_str("| figure |");
    for (kind, _) in outcomes {
        write!(text, " {} |", kind.name()).expect("writing to a string");
    }
    let ours = outcomes.iter().find(|(kind, _)| *kind == Kind::Bellwether).map(|(_, outcome)| outcome);
    let peers: Vec<_> =
        outcomes.iter().filter(|(kind, _)| *kind != Kind::Bellwether && ours.is_some()).collect();
    for (kind, _) in &peers {
        write!(text, " ratio to {} |", kind.name()).expect("writing to a string");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(outcomes.len() + peers.len()));
    text.push('\n');
    for (name, value, show) in LINES {
        let values: Vec<Option<f64>> = outcomes.iter().map(|(_, o)| value(o, work)).collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        write!(text, "| {name} |").expect("writing to a string");
        for value in &values {
            write!(text, " {} |", value.map_or("–".to_owned(), show)).expect("writing to a string");
        }
        for (_, outcome) in &peers {
            let ratio = ours.and_then(|ours| Some(value(ours, work)? / value(outcome, work)?));
            let ratio = ratio.filter(|r| r.is_finite()).map_or("–".to_owned(), |r| format!("{r:.2}"));
            write!(text, " {ratio} |").expect("writing to a string");
        }
        text.push('\n');
    }
    text.push('\n');
    for (kind, outcome) in outcomes {
        writeln!(text, "- {}: {}{}", kind.name(), outcome.version, outcome.note)
            .expect("writing to a string");
    }
    text
}

/// Writes `<name>.json` and `<name>.md`.
pub(crate) fn write(
    dir: &Path,
    work: &Workload,
    outcomes: &[(Kind, Outcome)],
    command: &str,
    commit: &str,
) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let machine = machine();
    let text = format!(
        "# {}\n\n{}\nCommit {commit}, {machine}. Repeat with `{command}`.\n",
        work.name,
        table(work, outcomes)
    );
    std::fs::write(dir.join(format!("{}.md", work.name)), text)?;
    let programs: serde_json::Map<String, Value> = outcomes
        .iter()
        .map(|(kind, o)| {
            let lines: serde_json::Map<String, Value> =
                LINES.iter().filter_map(|(name, value, _)| Some(((*name).to_owned(), json!(value(o, work)?)))).collect();
            (kind.name().to_owned(), json!({ "version": o.version, "figures": lines, "samples": o.samples, "acknowledged": o.acknowledged }))
        })
        .collect();
    let all = json!({
        "workload": work.name, "hosts": work.hosts, "series": work.series(), "rounds": work.load_rounds(),
        "remote_write": format!("{:?}", work.version), "commit": commit, "machine": machine, "command": command,
        "programs": programs,
    });
    std::fs::write(dir.join(format!("{}.json", work.name)), serde_json::to_string_pretty(&all)? + "\n")?;
    Ok(())
}

/// The processor.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, m)| m.trim().to_owned()));
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
    format!("{cores} cores of {}", model.unwrap_or_else(|| "an unnamed processor".to_owned()))
}
