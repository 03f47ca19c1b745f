//! Rule files: Prometheus' YAML to rules that are known to be right.
//!
//! Source: the Prometheus manual, "Recording rules" and "Alerting rules". Errors name file, line and column.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::duration::PromDuration;
use serde::Deserialize;
use yaml::{Location, Spanned};

use crate::error::{Error, Problem};
use crate::rule::{Alerting, Kind, Query, Rule, RuleGroup, Text};

/// A rule file larger than this is refused.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A loaded file: right in every field.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// As it was given.
    pub path: String,
    /// Its groups, in order.
    pub groups: Vec<Arc<RuleGroup>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    groups: Option<Vec<Spanned<RawGroup>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    #[serde(default)]
    name: String,
    interval: Option<PromDuration>,
    query_offset: Option<PromDuration>,
    #[serde(default)]
    limit: usize,
    labels: Option<BTreeMap<String, String>>,
    rules: Option<Vec<Spanned<RawRule>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    record: Option<Spanned<String>>,
    alert: Option<Spanned<String>>,
    expr: Option<Spanned<String>>,
    #[serde(rename = "for")]
    hold: Option<Spanned<PromDuration>>,
    keep_firing_for: Option<Spanned<PromDuration>>,
    labels: Option<Spanned<BTreeMap<String, String>>>,
    annotations: Option<Spanned<BTreeMap<String, String>>>,
}

/// Reads and checks one file.
///
/// # Errors
/// [`Error::Io`], or [`Error::Invalid`] with all problems of the file.
pub fn load(path: &Path, options: &promql::Options) -> Result<RuleFile, Error> {
    let io = |source| Error::Io { verb: "read", path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(io)?.len();
    let name = path.display().to_string();
    if size > MAX_FILE_BYTES {
        let message = format!("the file has {size} bytes; a rule file may have {MAX_FILE_BYTES}");
        return Err(Error::Invalid(vec![Problem { file: name, at: None, message }]));
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    parse(&name, &text, options).map_err(Error::Invalid)
}

/// Reads and checks all files that match `patterns`, as in the setting `rule_files`.
///
/// # Errors
/// [`Error::Invalid`] with the problems of all files, or the first file that cannot be read.
pub fn load_all(patterns: &[String], base: &Path, options: &promql::Options) -> Result<Vec<RuleFile>, Error> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in expand(patterns, base)? {
        match load(&path, options) {
            Ok(file) => files.push(file),
            Err(Error::Invalid(more)) => problems.extend(more),
            Err(err) => return Err(err),
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(Error::Invalid(problems)) }
}

/// The files that match `patterns`, sorted within a pattern, each once. The last path element may hold `*`, `?` and
/// `[a-z]`; a pattern without these that names no file is an error, one with them may match nothing.
///
/// # Errors
/// [`Error::Pattern`], or [`Error::Io`] when a folder cannot be listed.
pub fn expand(patterns: &[String], base: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_wild = |text: &str| text.contains(['*', '?', '[']);
    let mut paths = Vec::new();
    let mut seen = HashSet::new();
    for pattern in patterns {
        let full = base.join(pattern);
        let mut found = Vec::new();
        if is_wild(pattern) {
            let (Some(folder), Some(last)) = (full.parent(), full.file_name().and_then(|name| name.to_str()))
            else {
                return Err(Error::Pattern(pattern.clone()));
            };
            if Path::new(pattern).parent().and_then(Path::to_str).is_some_and(is_wild) {
                return Err(Error::Pattern(pattern.clone()));
            }
            let matcher = wildcard(last).ok_or_else(|| Error::Pattern(pattern.clone()))?;
            let list = |source| Error::Io { verb: "list", path: folder.to_owned(), source };
            match std::fs::read_dir(folder) {
                Ok(entries) => {
                    for entry in entries {
                        let entry = entry.map_err(list)?;
                        if entry.file_name().to_str().is_some_and(|name| matcher.is_match(name)) {
                            found.push(entry.path());
                        }
                    }
                }
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
                Err(err) => return Err(list(err)),
            }
            found.sort();
        } else {
            found.push(full);
        }
        paths.extend(found.into_iter().filter(|path| seen.insert(path.clone())));
    }
    Ok(paths)
}

/// A shell pattern as an anchored regular expression.
fn wildcard(pattern: &str) -> Option<regex::Regex> {
    let mut source = String::from("^");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '*' => source.push_str(".*"),
            '?' => source.push('.'),
            '[' => {
                let end = rest.find(']').filter(|end| *end > 0)?;
                source.push('[');
                source.push_str(&rest[..end].replace('\\', "\\\\").replace('[', "\\[").replace('&', "\\&"));
                source.push(']');
                rest = &rest[end + 1..];
            }
            c => source.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    source.push('$');
    regex::Regex::new(&source).ok()
}

/// Checks the text of a file that is called `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(path: &str, text: &str, options: &promql::Options) -> Result<RuleFile, Vec<Problem>> {
    let mut checker = Checker { path, options, problems: Vec::new() };
    // An empty file is no groups, as in Prometheus.
    let raw: Option<RawFile> = match yaml::read(text) {
        Ok(raw) => raw,
        Err(wrong) => {
            let at = wrong.at;
            return Err(vec![Problem { file: path.to_owned(), at, message: wrong.of_field() }]);
        }
    };
    let mut groups = Vec::new();
    let mut names = HashSet::new();
    for spanned in raw.and_then(|raw| raw.groups).unwrap_or_default() {
        let at = spanned.referenced;
        let raw = spanned.value;
        if raw.name.is_empty() {
            checker.problem(at, "group name must not be empty");
        } else if !names.insert(raw.name.clone()) {
            checker.problem(at, format!("groupname: \"{}\" is repeated in the same file", raw.name));
        }
        let labels = raw.labels.unwrap_or_default();
        for (name, value) in &labels {
            if let Err(message) = check_label(name, value) {
                checker.problem(at, format!("group \"{}\": {message}", raw.name));
            }
        }
        let mut rules = Vec::new();
        for (index, rule) in raw.rules.unwrap_or_default().into_iter().enumerate() {
            rules.extend(checker.rule(&raw.name, index, rule, &labels).map(Arc::new));
        }
        groups.push(Arc::new(RuleGroup {
            file: path.to_owned(),
            name: raw.name,
            interval_ms: raw.interval.map(PromDuration::ms).filter(|ms| *ms > 0),
            query_offset_ms: raw.query_offset.map(PromDuration::ms),
            limit: raw.limit,
            rules,
        }));
    }
    let path = path.to_owned();
    if checker.problems.is_empty() { Ok(RuleFile { path, groups }) } else { Err(checker.problems) }
}

struct Checker<'a> {
    path: &'a str,
    options: &'a promql::Options,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn problem(&mut self, at: Location, message: impl Into<String>) {
        let at = Some((at.line(), at.column()));
        self.problems.push(Problem { file: self.path.to_owned(), at, message: message.into() });
    }

    /// One rule, `None` when it is wrong; then problems were added.
    fn rule(
        &mut self,
        group: &str,
        index: usize,
        spanned: Spanned<RawRule>,
        group_labels: &BTreeMap<String, String>,
    ) -> Option<Rule> {
        let at = spanned.referenced;
        let raw = spanned.value;
        let before = self.problems.len();
        let text = |field: &Option<Spanned<String>>| {
            field.as_ref().map(|s| s.value.clone()).filter(|s| !s.is_empty())
        };
        let (record, alert) = (text(&raw.record), text(&raw.alert));
        let shown = record.as_ref().or(alert.as_ref()).cloned().unwrap_or_default();
        let place = format!("group \"{group}\", rule {}, \"{shown}\"", index + 1);
        let say = |message: &str| format!("{place}: {message}");
        match (&record, &alert) {
            (Some(_), Some(_)) => self.problem(at, say("only one of 'record' and 'alert' must be set")),
            (None, None) => self.problem(at, say("one of 'record' or 'alert' must be set")),
            _ => {}
        }
        let query = match raw.expr.as_ref().filter(|expr| !expr.value.is_empty()) {
            None => {
                self.problem(at, say("field 'expr' must be set in rule"));
                None
            }
            Some(expr) => match Query::new(&expr.value, self.options) {
                Ok(query) => Some(query),
                Err(err) => {
                    self.problem(expr.referenced, say(&format!("could not parse expression: {err}")));
                    None
                }
            },
        };
        if let Some(query) = &query
            && !matches!(query.expr.value_type(), promql::ValueType::Vector | promql::ValueType::Scalar)
        {
            let kind = query.expr.value_type().documented();
            self.problem(at, say(&format!("the expression is a {kind}; a rule needs a vector or scalar")));
        }
        if let Some(record) = &raw.record {
            if record.value.contains(['{', '}']) {
                let message = format!(
                    "braces present in the recording rule name; should it be in expr?: {}",
                    record.value
                );
                self.problem(record.referenced, say(&message));
            }
            for (field, set) in [
                ("annotations", raw.annotations.as_ref().is_some_and(|a| !a.value.is_empty())),
                ("for", raw.hold.as_ref().is_some_and(|d| d.value.ms() != 0)),
                ("keep_firing_for", raw.keep_firing_for.as_ref().is_some_and(|d| d.value.ms() != 0)),
            ] {
                if set {
                    self.problem(at, say(&format!("invalid field '{field}' in recording rule")));
                }
            }
        }
        let labels_at = raw.labels.as_ref().map_or(at, |labels| labels.referenced);
        let own_labels = raw.labels.map(|labels| labels.value).unwrap_or_default();
        for (name, value) in &own_labels {
            if let Err(message) = check_label(name, value) {
                self.problem(labels_at, say(&message));
            }
        }
        let mut labels = group_labels.clone();
        labels.extend(own_labels);
        let annotations_at = raw.annotations.as_ref().map_or(at, |annotations| annotations.referenced);
        let annotations = raw.annotations.map(|annotations| annotations.value).unwrap_or_default();
        for name in annotations.keys() {
            if name.is_empty() {
                self.problem(annotations_at, say(&format!("invalid annotation name: {name}")));
            }
        }
        let kind = if let Some(metric) = record {
            let labels = labels.into_iter().collect();
            Kind::Recording { metric, labels }
        } else {
            let name = alert.unwrap_or_default();
            let mut texts = |kind: &str, at: Location, texts: BTreeMap<String, String>| {
                let mut parsed = Vec::with_capacity(texts.len());
                for (key, source) in texts {
                    match Text::parse(&name, &source) {
                        Ok(text) => parsed.push((key, text)),
                        Err(err) => self.problem(at, say(&format!("{kind} \"{key}\": {err}"))),
                    }
                }
                parsed
            };
            let labels = texts("label", labels_at, labels);
            let annotations = texts("annotation", annotations_at, annotations);
            Kind::Alerting(Alerting {
                labels,
                annotations,
                hold_ms: raw.hold.map_or(0, |d| d.value.ms()),
                keep_firing_for_ms: raw.keep_firing_for.map_or(0, |d| d.value.ms()),
                name,
            })
        };
        if self.problems.len() > before {
            return None;
        }
        Some(Rule { line: at.line(), query: Arc::new(query?), kind })
    }
}

fn check_label(name: &str, _value: &str) -> Result<(), String> {
    if name.is_empty() || name == model::labels::METRIC_NAME {
        return Err(format!("invalid label name: {name}"));
    }
    Ok(())
}
