//! `check rules`: what promtool's `check rules` reports, and more lints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use model::Labels;
use model::labels::METRIC_NAME;

use crate::error::Error;
use crate::file::{self, RuleFile};
use crate::rule::{Kind, Query};

/// What to look for beside errors.
#[derive(Clone, Debug, Default)]
pub struct Lints {
    /// Rules with the same name and labels.
    pub duplicates: bool,
    /// Metrics that exist. With it, names that neither exist nor are recorded by the checked rules are reported.
    pub known_metrics: Option<BTreeSet<String>>,
    /// Findings count as errors.
    pub fatal: bool,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// For the standard output.
    pub out: String,
    /// For the standard error.
    pub err: String,
    /// Files that are wrong.
    pub invalid: usize,
    /// Findings of lints.
    pub findings: usize,
    fatal: bool,
}

impl Report {
    /// The exit status: 0 right, 1 a file is invalid, 3 a fatal lint found something.
    pub fn exit_code(&self) -> u8 {
        match (self.invalid, self.findings) {
            (1.., _) => 1,
            (0, 1..) if self.fatal => 3,
            _ => 0,
        }
    }
}

/// Checks files.
pub fn check(paths: &[&Path], options: &promql::Options, lints: &Lints) -> Report {
    let mut report = Report { fatal: lints.fatal, ..Report::default() };
    let loaded: Vec<_> = paths.iter().map(|path| (path, file::load(path, options))).collect();
    let recorded: BTreeSet<&str> = loaded
        .iter()
        .filter_map(|(_, file)| file.as_ref().ok())
        .flat_map(|file| &file.groups)
        .flat_map(|group| &group.rules)
        .filter(|rule| matches!(rule.kind, Kind::Recording { .. }))
        .map(|rule| rule.name())
        .collect();
    let mut out = String::new();
    let mut err = String::new();
    for (path, file) in &loaded {
        out.push_str(&format!("Checking {}\n", path.display()));
        match file {
            Err(problem) => {
                report.invalid += 1;
                err.push_str("  FAILED:\n");
                err.push_str(&error_text(problem));
                err.push('\n');
                continue;
            }
            Ok(file) => {
                let rules: usize = file.groups.iter().map(|group| group.rules.len()).sum();
                let mut findings = Vec::new();
                if lints.duplicates {
                    findings.extend(duplicates(file));
                }
                if let Some(known) = &lints.known_metrics {
                    findings.extend(missing(file, known, &recorded));
                }
                report.findings += findings.len();
                if findings.is_empty() {
                    out.push_str(&format!("  SUCCESS: {rules} rules found\n"));
                } else {
                    err.push_str("  FAILED:\n");
                    findings.iter().for_each(|finding| err.push_str(&format!("lint error {finding}\n")));
                }
            }
        }
        out.push('\n');
    }
    (report.out, report.err) = (out, err);
    report
}

fn error_text(err: &Error) -> String {
    match err {
        Error::Io { source, .. } => format!("{err}: {source}"),
        _ => err.to_string(),
    }
}

/// Rules of one file with the same name and labels: Prometheus evaluates both, and one overwrites the other.
fn duplicates(file: &RuleFile) -> Vec<String> {
    let mut seen: BTreeMap<(&str, Labels), usize> = BTreeMap::new();
    for rule in file.groups.iter().flat_map(|group| &group.rules) {
        *seen.entry((rule.name(), rule.labels())).or_default() += 1;
    }
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    if twice.is_empty() {
        return Vec::new();
    }
    let mut text = format!("{} duplicate rule(s) found.\n", twice.len());
    for ((name, labels), _) in twice {
        text.push_str(&format!("Metric: {name}\nLabel(s):\n"));
        for (name, value) in labels {
            writeln!(text, "\t{name}: {value}").expect("writing to a string does not fail");
        }
    }
    text.push_str("Might cause inconsistency while recording expressions");
    vec![text]
}

/// Metrics that rules select and nobody makes.
fn missing(file: &RuleFile, known: &BTreeSet<String>, recorded: &BTreeSet<&str>) -> Vec<String> {
    let mut findings = Vec::new();
    for group in &file.groups {
        for rule in &group.rules {
            for name in metric_names(&rule.query) {
                let built_in =
                    ["ALERTS", "ALERTS_FOR_STATE", "up"].contains(&name) || name.starts_with("scrape_");
                if !known.contains(name) && !recorded.contains(name) && !built_in {
                    findings.push(format!(
                        "{}:{}: {}: metric {name} does not exist; is it spelled right, and is its target scraped?",
                        file.path,
                        rule.line,
                        rule.name(),
                    ));
                }
            }
        }
    }
    findings
}

/// The metrics that a query names by equality.
pub(crate) fn metric_names(query: &Query) -> Vec<&str> {
    let mut names: Vec<&str> = query
        .expr
        .selectors()
        .into_iter()
        .flatten()
        .filter(|matcher| matcher.name() == METRIC_NAME && matcher.op() == model::MatchOp::Equal)
        .map(|matcher| matcher.value())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
