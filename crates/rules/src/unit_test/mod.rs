//! `test rules`: unit tests of rules, in promtool's format and with its output.
//!
//! | module | holds |
//! |---|---|
//! | `file` | the file format |
//! | `storage` | the series of a test, in memory |
//!
//! Rules are evaluated each evaluation interval from the start of the series to the last `eval_time`; alerts are compared
//! with the last evaluation that is not after their `eval_time`, expressions with everything loaded.

mod file;
mod storage;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use model::duration::PromDuration;
use model::{Histogram, Labels, TenantId, Timestamp, Value};
use promql::script::series::{self, Item};
use regex::Regex;
use template::gofmt::format_float;

use self::file::{AlertTest, ExprTest, Test, TestFile};
use self::storage::{Memory, Nobody};
use crate::alerting::AlertState;
use crate::config::{Config, Settings};
use crate::group::{Context, Group};
use crate::metrics::Metrics;
use crate::rule::{Kind, Query, RuleGroup};

/// The most evaluations of one test.
const MAX_EVALUATIONS: i64 = 10_000_000;

/// How tests are run.
#[derive(Clone, Debug, Default)]
pub struct TestOptions {
    /// The language of rules and expressions.
    pub language: promql::Options,
    /// Only tests whose name one of these matches; none: all.
    pub only: Vec<Regex>,
}

/// What became of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileReport {
    /// The file, as given.
    pub file: String,
    /// What failed, as promtool prints it; empty when all is right.
    pub failures: Vec<String>,
    /// The names of the test groups that were run, and how many failures each had.
    pub groups: Vec<(String, usize)>,
}

/// What became of all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they were given.
    pub files: Vec<FileReport>,
}

impl Report {
    /// 0 when all passed, else 1.
    pub fn exit_code(&self) -> u8 {
        self.files.iter().any(|file| !file.failures.is_empty()).into()
    }

    /// What promtool writes to the standard output, and to the standard error.
    pub fn text(&self) -> (String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        for file in &self.files {
            out.push_str(&format!("Unit Testing:  {}\n", file.file));
            if file.failures.is_empty() {
                out.push_str("  SUCCESS\n");
            } else {
                err.push_str("  FAILED:\n");
                for failure in &file.failures {
                    err.push_str(failure);
                    err.push('\n');
                    out.push('\n');
                }
            }
            out.push('\n');
        }
        (out, err)
    }
}

/// Runs the tests of `paths`.
pub async fn run(paths: &[&Path], options: &TestOptions) -> Report {
    let mut report = Report::default();
    for path in paths {
        let file = path.display().to_string();
        let (failures, groups) = match std::fs::read_to_string(path) {
            Ok(text) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                let rules = |patterns: &[String]| {
                    crate::file::load_all(patterns, folder, &options.language)
                        .map(|files| files.into_iter().flat_map(|file| file.groups).collect())
                        .map_err(|err| match &err {
                            crate::Error::Io { source, .. } => format!("{err}: {source}"),
                            _ => err.to_string(),
                        })
                };
                match read(&text) {
                    Ok(parsed) => run_file(parsed, &rules, options).await,
                    Err(wrong) => (vec![format!("{file}:{wrong}")], Vec::new()),
                }
            }
            Err(err) => (vec![format!("cannot read {file}: {err}")], Vec::new()),
        };
        report.files.push(FileReport { file, failures, groups });
    }
    report
}

/// As [`run`] runs the tests of a file, those of a text.
#[cfg(test)]
pub(crate) async fn run_text(
    text: &str,
    rules: &dyn Fn(&[String]) -> Result<Vec<Arc<RuleGroup>>, String>,
    options: &TestOptions,
) -> (Vec<String>, Vec<(String, usize)>) {
    match read(text) {
        Ok(file) => run_file(file, rules, options).await,
        Err(wrong) => (vec![wrong], Vec::new()),
    }
}

/// A file's text as tests; what is wrong with it, after line and column.
fn read(text: &str) -> Result<TestFile, String> {
    yaml::read(text).map_err(|wrong| {
        let place = wrong.at.map_or(String::from(" "), |(line, column)| format!("{line}:{column}: "));
        format!("{place}{}", wrong.of_field())
    })
}

/// Runs the tests of a file; `rules` loads rule files by the patterns that it names.
async fn run_file(
    file: TestFile,
    rules: &dyn Fn(&[String]) -> Result<Vec<Arc<RuleGroup>>, String>,
    options: &TestOptions,
) -> (Vec<String>, Vec<(String, usize)>) {
    let interval_ms = file.evaluation_interval.map_or(60_000, PromDuration::ms);
    if interval_ms <= 0 {
        return (vec!["evaluation_interval must be more than 0".to_owned()], Vec::new());
    }
    let mut order = HashMap::new();
    for (place, name) in file.group_eval_order.iter().flatten().enumerate() {
        if order.insert(name.clone(), place).is_some() {
            return (vec![format!("group name repeated in evaluation order: {name}")], Vec::new());
        }
    }
    let mut groups = match rules(&file.rule_files.unwrap_or_default()) {
        Ok(groups) => groups,
        Err(err) => return (vec![err], Vec::new()),
    };
    groups.sort_by_key(|group| order.get(&group.name).copied().unwrap_or(0));
    let mut failures = Vec::new();
    let mut ran = Vec::new();
    for test in file.tests.iter().flatten() {
        if !options.only.is_empty() && !options.only.iter().any(|name| name.is_match(&test.name)) {
            continue;
        }
        let setup = Setup { test, groups: &groups, interval_ms, fuzzy: file.fuzzy_compare, options };
        let failed = setup.run().await;
        ran.push((test.name.clone(), failed.len()));
        failures.extend(failed);
    }
    (failures, ran)
}

struct Setup<'a> {
    test: &'a Test,
    groups: &'a [Arc<RuleGroup>],
    interval_ms: i64,
    fuzzy: bool,
    options: &'a TestOptions,
}

/// A sample of an input series that is still to be loaded.
type Input = (i64, Labels, Value);

impl Setup<'_> {
    async fn run(&self) -> Vec<String> {
        let test = self.test;
        let start = test.start_timestamp.map_or(0, |start| start.0);
        let mut input = match self.input(start) {
            Ok(input) => input.into_iter().peekable(),
            Err(err) => return vec![err],
        };
        for alert in test.alert_rule_test.iter().flatten() {
            if alert.alertname.is_empty() {
                let group = match test.name.as_str() {
                    "" => String::new(),
                    name => format!(" (in TestGroup {name})"),
                };
                return vec![format!(
                    "an item under alert_rule_test misses required attribute alertname at eval_time {}{group}",
                    alert.eval_time
                )];
            }
        }
        let memory = Arc::new(Memory::new(self.interval_ms));
        let settings = Settings {
            interval_ms: test.interval.map_or(self.interval_ms, PromDuration::ms).max(1),
            external_labels: Labels::from_pairs(test.external_labels.clone().unwrap_or_default()),
            external_url: test.external_url.trim_end_matches('/').to_owned(),
            ..Settings::default()
        };
        let groups: Vec<Group> =
            self.groups.iter().map(|rules| Group::new(Arc::clone(rules), &settings)).collect();
        groups.iter().for_each(Group::skip_restore);
        let context = Context {
            tenant: TenantId::default(),
            evaluator: memory.clone(),
            querier: Arc::new(promql::script::Storage::new()),
            appender: memory.clone(),
            notifier: Arc::new(Nobody),
            clock: Arc::new(Nobody),
            metrics: Arc::new(Metrics::new(&mut prometheus_client::registry::Registry::default())),
            config: Config { history: 0, ..Config::default() },
            language: self.options.language.clone(),
            settings: parking_lot::RwLock::new(Arc::new(settings)),
        };
        let last = self.last_eval_time();
        if last / self.interval_ms > MAX_EVALUATIONS {
            return vec![format!("the test needs more than {MAX_EVALUATIONS} evaluations")];
        }
        let mut failures = Vec::new();
        let mut alert_tests: Vec<&AlertTest> = test.alert_rule_test.iter().flatten().collect();
        alert_tests.sort_by_key(|alert| alert.eval_time);
        let mut alert_tests = alert_tests.into_iter().peekable();
        let mut since_start = 0;
        while since_start <= last {
            let now = start + since_start;
            while let Some((time, labels, value)) = input.next_if(|(time, ..)| *time <= now) {
                memory.insert(&labels, time, value);
            }
            let mut broken = Vec::new();
            for group in &groups {
                group.evaluate(&context, Timestamp(now)).await;
                let state = group.state.lock();
                for (rule, state) in group.rules.rules.iter().zip(&state.rules) {
                    if !state.last_error.is_empty() {
                        broken.push(format!(
                            "    rule: {}, time: {}, err: {}",
                            rule.name(),
                            PromDuration(since_start),
                            state.last_error
                        ));
                    }
                }
            }
            if !broken.is_empty() {
                failures.extend(broken);
                return failures;
            }
            let next = since_start + self.interval_ms;
            while let Some(alert) = alert_tests.next_if(|alert| alert.eval_time.ms() < next) {
                failures.extend(self.check_alerts(alert, &groups));
            }
            since_start = next;
        }
        for expr in test.promql_expr_test.iter().flatten() {
            if let Err(failure) = self.check_expr(expr, &memory, start) {
                failures.push(failure);
            }
        }
        failures
    }

    /// The samples of all input series, ascending in time.
    fn input(&self, start: i64) -> Result<Vec<Input>, String> {
        let interval = self.test.interval.map_or(self.interval_ms, PromDuration::ms);
        let mut input = Vec::new();
        for given in self.test.input_series.iter().flatten() {
            let wrong = |err: String| format!("input series {:?}: {err}", given.series);
            let (labels, end) = promql::parse_labels(&given.series, &promql::Options::all())
                .map_err(|err| wrong(err.to_string()))?;
            if !given.series[end..].trim().is_empty() {
                return Err(wrong(format!("unexpected {:?} after the labels", &given.series[end..])));
            }
            for (index, item) in series::items(&given.values).map_err(wrong)?.into_iter().enumerate() {
                let value = match item {
                    Item::Gap => continue,
                    Item::Float(value) => Value::Float(value),
                    Item::Histogram { histogram, .. } => Value::Histogram(histogram),
                };
                input.push((
                    start.saturating_add(interval.saturating_mul(index as i64)),
                    labels.clone(),
                    value,
                ));
            }
        }
        input.sort_by_key(|(time, ..)| *time);
        Ok(input)
    }

    fn last_eval_time(&self) -> i64 {
        let alerts = self.test.alert_rule_test.iter().flatten().map(|test| test.eval_time.ms());
        let exprs = self.test.promql_expr_test.iter().flatten().map(|test| test.eval_time.ms());
        alerts.chain(exprs).max().unwrap_or(0)
    }

    fn check_alerts(&self, expected: &AlertTest, groups: &[Group]) -> Option<String> {
        let mut found: Vec<(Labels, Labels)> = Vec::new();
        for group in groups {
            let state = group.state.lock();
            for (rule, state) in group.rules.rules.iter().zip(&state.rules) {
                if matches!(&rule.kind, Kind::Alerting(alerting) if alerting.name == expected.alertname) {
                    let firing = state.active.live().filter(|alert| alert.state == AlertState::Firing);
                    found.extend(firing.map(|alert| (alert.labels.clone(), alert.annotations.clone())));
                }
            }
        }
        let mut wanted: Vec<(Labels, Labels)> = expected
            .exp_alerts
            .iter()
            .flatten()
            .map(|alert| {
                let mut labels = alert.exp_labels.clone().unwrap_or_default();
                labels.insert("alertname".to_owned(), expected.alertname.clone());
                let annotations = alert.exp_annotations.clone().unwrap_or_default();
                (Labels::from_pairs(labels), Labels::from_pairs(annotations))
            })
            .collect();
        found.sort();
        wanted.sort();
        if found == wanted {
            return None;
        }
        let name = match self.test.name.as_str() {
            "" => String::new(),
            name => format!("    name: {name},\n"),
        };
        Some(format!(
            "{name}    alertname: {}, time: {}, \n        exp:{}, \n        got:{}",
            expected.alertname,
            expected.eval_time,
            indent(&alerts_text(&wanted), "            "),
            indent(&alerts_text(&found), "            "),
        ))
    }

    fn check_expr(&self, test: &ExprTest, memory: &Memory, start: i64) -> Result<(), String> {
        let place = || format!("    expr: {:?}, time: {}", test.expr, test.eval_time);
        let query = Query::new(&test.expr, &self.options.language)
            .map_err(|err| format!("{}, err: {err}", place()))?;
        let found = memory
            .query(&query, Timestamp(start + test.eval_time.ms()))
            .map_err(|err| format!("{}, err: {}", place(), err.chain()))?;
        let mut found: Vec<(Labels, Value)> =
            found.into_iter().map(|point| (point.labels, point.value)).collect();
        let mut wanted = Vec::new();
        for sample in test.exp_samples.iter().flatten() {
            let wrong = |err: String| format!("{}, err: labels {:?}: {err}", place(), sample.labels);
            let (labels, _) = match sample.labels.trim() {
                "" => (Labels::empty(), 0),
                text => promql::parse_labels(text, &promql::Options::all())
                    .map_err(|err| wrong(err.to_string()))?,
            };
            let value = if sample.histogram.is_empty() {
                Value::Float(sample.value.0)
            } else {
                match series::items(&sample.histogram).map_err(wrong)?.as_slice() {
                    [Item::Histogram { histogram, .. }] => Value::Histogram(Arc::clone(histogram)),
                    [_] => return Err(wrong("expected histogram, got float".to_owned())),
                    items => return Err(wrong(format!("expected 1 value, got {}", items.len()))),
                }
            };
            wanted.push((labels, value));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        let same = found.len() == wanted.len()
            && wanted.iter().zip(&found).all(|(a, b)| a.0 == b.0 && same_value(&a.1, &b.1, self.fuzzy));
        if same {
            return Ok(());
        }
        Err(format!(
            "{},\n        exp: {}\n        got: {}",
            place(),
            samples_text(&wanted),
            samples_text(&found)
        ))
    }
}

fn same_value(a: &Value, b: &Value, fuzzy: bool) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => same_float(*a, *b, fuzzy),
        (Value::Histogram(a), Value::Histogram(b)) => same_histogram(a, b),
        _ => false,
    }
}

/// Equal, or with `fuzzy` also the next number up or down.
fn same_float(a: f64, b: f64, fuzzy: bool) -> bool {
    a == b || a.is_nan() && b.is_nan() || fuzzy && (a.next_up() == b || a.next_down() == b)
}

/// Equal in all but how empty buckets are written down.
fn same_histogram(a: &Histogram, b: &Histogram) -> bool {
    let (mut a, mut b) = (a.clone(), b.clone());
    promql::histogram::compact(&mut a);
    promql::histogram::compact(&mut b);
    a.is_float = b.is_float;
    a == b
}

fn samples_text(samples: &[(Labels, Value)]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let one = |(labels, value): &(Labels, Value)| {
        let value = match value {
            Value::Float(value) => format_float(*value, 'E', None),
            Value::Histogram(histogram) => histogram_text(histogram),
        };
        format!("{} {value}", series_text(labels))
    };
    samples.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// As promtool prints labels: the metric name among the others.
fn series_text(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn histogram_text(histogram: &Histogram) -> String {
    format!(
        "{{{{schema:{} count:{} sum:{} z_bucket:{} buckets:{:?} n_buckets:{:?} counter_reset_hint:{:?}}}}}",
        histogram.schema,
        histogram.count,
        histogram.sum,
        histogram.zero_count,
        histogram.positive,
        histogram.negative,
        histogram.reset_hint
    )
}

fn alerts_text(alerts: &[(Labels, Labels)]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let one = |(index, (labels, annotations)): (usize, &(Labels, Labels))| {
        let text = format!("\nLabels:{}\nAnnotations:{}", series_text(labels), series_text(annotations));
        format!("{index}:{}", indent(&text, "  "))
    };
    let all: Vec<String> = alerts.iter().enumerate().map(one).collect();
    format!("[\n{}\n]", all.join(",\n"))
}

/// All lines but the first with `indent` before them.
fn indent(text: &str, indent: &str) -> String {
    text.replace('\n', &format!("\n{indent}"))
}
