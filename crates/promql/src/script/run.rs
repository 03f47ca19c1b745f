//! Carries out scripts and reports.
//!
//! Each instant query is evaluated in several ways that must agree: as written; with `@` on every selector, at other
//! times; and each of these as the middle step of a range query. Source: prometheus `promql/promqltest`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Histogram, Labels, Timestamp};

use super::parse::{Action, Annotations, Eval, Expect, Load, Script, Text, Value, When};
use super::series::{Item, SeriesLine};
use super::storage::Storage;
use super::{compare, nhcb};
use crate::ast::{At, Expr};
use crate::functions::FunctionId;
use crate::options::Options;
use crate::parser::parse;

/// Evaluates queries over what a script has loaded.
pub trait Engine {
    /// Evaluates a query.
    ///
    /// # Errors
    /// The message that a user would see, without the query's text around it.
    fn evaluate(&self, storage: &Storage, question: &Question<'_>) -> Result<Answer, String>;
}

impl<F: Fn(&Storage, &Question<'_>) -> Result<Answer, String>> Engine for F {
    fn evaluate(&self, storage: &Storage, question: &Question<'_>) -> Result<Answer, String> {
        self(storage, question)
    }
}

/// A query and when to evaluate it. All experimental parts of the language are meant to be on, the look-back is 5
/// minutes, subqueries without a step have one of 1 minute.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The query.
    pub query: &'a str,
    /// First step.
    pub start: Timestamp,
    /// Last step; equals `start` for an instant query.
    pub end: Timestamp,
    /// Distance of the steps in milliseconds; 0 means an instant query.
    pub step_ms: i64,
}

/// An engine's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The value.
    pub value: AnswerValue,
    /// As users see them: `PromQL warning: … (1:5)`.
    pub warnings: Vec<String>,
    /// As users see them: `PromQL info: … (1:5)`.
    pub infos: Vec<String>,
}

/// An answer's value. A range query gives a matrix.
#[derive(Clone, Debug)]
pub enum AnswerValue {
    /// A number.
    Scalar(f64),
    /// A text.
    String(String),
    /// Series with one point each.
    Vector(Vec<Series>),
    /// Series, sorted by labels.
    Matrix(Vec<Series>),
}

/// A series of an answer.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Milliseconds and values, ascending in time.
    pub points: Vec<(i64, model::Value)>,
}

/// How scripts are run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Queries that contain one of these are not run, but counted.
    pub skip: Vec<String>,
}

/// What became of the `eval` commands.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many gave what was expected, in all variants.
    pub passed: usize,
    /// Those that did not, and commands that could not be carried out.
    pub failures: Vec<Failure>,
    /// How many were not run because of [`RunOptions::skip`].
    pub skipped: usize,
}

/// A command that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The script.
    pub file: PathBuf,
    /// Line of the command, from 1.
    pub line: usize,
    /// What went wrong.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

impl Report {
    /// Whether nothing failed.
    pub fn is_ok(&self) -> bool {
        self.failures.is_empty()
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

impl fmt::Display for Report {
    /// Each failure on a line, and the counts on the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failures.len(), self.skipped)
    }
}

/// Runs scripts: each of `paths` is a file, or a folder whose `*.test` files are run in the order of their names.
///
/// # Errors
/// When a path cannot be read. What scripts find is in the report.
pub fn run_paths(paths: &[PathBuf], engine: &dyn Engine, options: &RunOptions) -> io::Result<Report> {
    let mut report = Report::default();
    for path in paths {
        let mut files = vec![path.clone()];
        if path.is_dir() {
            files = std::fs::read_dir(path)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<io::Result<_>>()?;
            files.retain(|file| file.extension().is_some_and(|extension| extension == "test"));
            if files.is_empty() {
                let message = format!("the folder {} has no *.test files", path.display());
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            }
            files.sort();
        }
        for file in files {
            let text = std::fs::read_to_string(&file).map_err(|err| {
                io::Error::new(err.kind(), format!("cannot read {}: {err}", file.display()))
            })?;
            report.add(run_script(&file, &text, engine, options));
        }
    }
    Ok(report)
}

/// Runs one script; `file` is what failures name.
pub fn run_script(file: &Path, text: &str, engine: &dyn Engine, options: &RunOptions) -> Report {
    let mut report = Report::default();
    let fail = |report: &mut Report, line, message| {
        report.failures.push(Failure { file: file.to_owned(), line, message });
    };
    let script = match Script::parse(text) {
        Ok(script) => script,
        Err(err) => {
            fail(&mut report, err.line, err.message);
            return report;
        }
    };
    let mut storage = Storage::new();
    for command in script.commands {
        let done = match &command.action {
            Action::Clear => {
                storage.clear();
                continue;
            }
            Action::Load(load) => match store(load, &mut storage) {
                Ok(()) => continue,
                Err(message) => Err(message),
            },
            Action::Eval(eval) if options.skip.iter().any(|part| eval.query.contains(part.as_str())) => {
                report.skipped += 1;
                continue;
            }
            Action::Eval(eval) => {
                check(eval, &storage, engine).map_err(|err| format!("{}: {err}", eval.query))
            }
        };
        match done {
            Ok(()) => report.passed += 1,
            Err(message) => fail(&mut report, command.line, message),
        }
    }
    report
}

fn store(load: &Load, storage: &mut Storage) -> Result<(), String> {
    let mut collector = nhcb::Collector::default();
    for (line, starts) in &load.series {
        for (index, item) in line.items.iter().enumerate() {
            let time = index as i64 * load.step_ms;
            let start =
                starts.as_ref().and_then(|starts| starts[index]).map_or(0, |distance| time + distance);
            match item {
                Item::Gap => {}
                Item::Float(value) => {
                    storage.insert(&line.labels, time, model::Value::Float(*value), start);
                    if load.with_nhcb {
                        collector.add(&line.labels, time, *value);
                    }
                }
                Item::Histogram { histogram, .. } => {
                    let value = model::Value::Histogram(Arc::clone(histogram));
                    storage.insert(&line.labels, time, value, start);
                }
            }
        }
    }
    for (labels, time, histogram) in collector.finish()? {
        storage.insert(&labels, time, model::Value::Histogram(histogram), 0);
    }
    Ok(())
}

/// A minute, in milliseconds.
const MINUTE: i64 = 60_000;

fn check(eval: &Eval, storage: &Storage, engine: &dyn Engine) -> Result<(), String> {
    let at = match eval.when {
        When::Range { start, end, step } => {
            let (start, end) = (Timestamp(start), Timestamp(end));
            let question = Question { query: &eval.query, start, end, step_ms: step };
            let outcome = outcome(engine.evaluate(storage, &question), &eval.expect)?;
            return outcome.map_or(Ok(()), |answer| compare_range(eval, &answer));
        }
        When::Instant(at) => match &eval.expect.value {
            Value::RangeVector { end, .. } => *end,
            _ => at,
        },
    };
    let mut variants = vec![(eval.query.clone(), at)];
    variants.extend(at_variants(&eval.query, at));
    for (query, at) in variants {
        check_instant(eval, &query, at, storage, engine).map_err(|err| match query == eval.query {
            true => err,
            false => format!("as {query} at {at} ms: {err}"),
        })?;
    }
    Ok(())
}

fn check_instant(
    eval: &Eval,
    query: &str,
    at: i64,
    storage: &Storage,
    engine: &dyn Engine,
) -> Result<(), String> {
    let time = Timestamp(at);
    let question = Question { query, start: time, end: time, step_ms: 0 };
    let Some(answer) = outcome(engine.evaluate(storage, &question), &eval.expect)? else { return Ok(()) };
    compare_instant(&eval.expect, &answer.value)?;

    let scalar = matches!(answer.value, AnswerValue::Scalar(_));
    let only_instant = matches!(answer.value, AnswerValue::String(_) | AnswerValue::Matrix(_));
    let lower = query.to_ascii_lowercase();
    let depends_on_range = ["start()", "end()", "range()", "step()"].iter().any(|call| lower.contains(call));
    if only_instant || eval.expect.ordered || depends_on_range {
        return Ok(());
    }
    let question = Question { query, start: time - MINUTE, end: time + MINUTE, step_ms: MINUTE };
    let in_range = |err: String| format!("as the middle step of a range query: {err}");
    let answer = engine.evaluate(storage, &question).map_err(in_range)?;
    let AnswerValue::Matrix(series) = answer.value else {
        return Err(in_range(format!("expected a matrix, got {}", answer.value)));
    };
    sorted(&series).map_err(in_range)?;
    let mut middle = Vec::new();
    for one in series {
        if let Some((_, value)) = one.points.into_iter().find(|(time, _)| *time == at) {
            middle.push(Series { labels: one.labels, points: vec![(at, value)] });
        }
    }
    let value = match (scalar, middle.first().map(|series| &series.points[..])) {
        (true, Some([(_, model::Value::Float(value))])) => AnswerValue::Scalar(*value),
        _ => AnswerValue::Vector(middle),
    };
    compare_instant(&eval.expect, &value).map_err(in_range)
}

/// The answer, unless the query was expected to fail and did.
fn outcome(result: Result<Answer, String>, expect: &Expect) -> Result<Option<Answer>, String> {
    match (result, &expect.fail) {
        (Err(_), Some(Text::Any)) => Ok(None),
        (Err(message), Some(text)) if text.accepts(&message) => Ok(None),
        (Err(message), Some(text)) => {
            Err(format!("expected it to fail with {text}, but it failed with: {message}"))
        }
        (Err(message), None) => Err(format!("it failed: {message}")),
        (Ok(_), Some(_)) => Err("expected it to fail, but it did not".to_owned()),
        (Ok(answer), None) => {
            annotations("warning", &expect.warn, &answer.warnings)?;
            annotations("info", &expect.info, &answer.infos)?;
            Ok(Some(answer))
        }
    }
}

fn annotations(level: &str, expected: &Annotations, found: &[String]) -> Result<(), String> {
    match expected {
        Annotations::Any => Ok(()),
        Annotations::None if found.is_empty() => Ok(()),
        Annotations::None => Err(format!("expected no {level}, got {found:?}")),
        Annotations::Like(texts) => {
            if let Some(text) = texts.iter().find(|text| !found.iter().any(|one| text.accepts(one))) {
                return Err(format!("expected the {level} {text}, got {found:?}"));
            }
            match found.iter().find(|one| !texts.iter().any(|text| text.accepts(one))) {
                Some(one) => Err(format!("unexpected {level}: {one}")),
                None => Ok(()),
            }
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("(any text)"),
            Self::Equal(text) => write!(f, "{text:?}"),
            Self::Matches(regex) => write!(f, "/{regex}/"),
        }
    }
}

impl fmt::Display for AnswerValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(value) => write!(f, "scalar {value}"),
            Self::String(text) => write!(f, "string {text:?}"),
            Self::Vector(series) => write!(f, "vector of {} series", series.len()),
            Self::Matrix(series) => write!(f, "matrix of {} series", series.len()),
        }
    }
}

fn compare_instant(expect: &Expect, found: &AnswerValue) -> Result<(), String> {
    match (&expect.value, found) {
        (Value::Scalar(expected), AnswerValue::Scalar(found)) => match compare::floats(*expected, *found) {
            true => Ok(()),
            false => Err(format!("expected {expected}, got {found}")),
        },
        (Value::String(expected), AnswerValue::String(found)) => match expected == found {
            true => Ok(()),
            false => Err(format!("expected {expected:?}, got {found:?}")),
        },
        (Value::Series(expected), AnswerValue::Vector(found)) => {
            compare_vector(expected, found, expect.ordered)
        }
        (Value::RangeVector { start, end, step, series }, AnswerValue::Matrix(found)) => {
            compare_matrix(series, found, *start, *end, *step)
        }
        (Value::Scalar(_), found) => Err(format!("expected a scalar, got a {found}")),
        (Value::String(_), found) => Err(format!("expected a string, got a {found}")),
        (Value::Series(_), found) => Err(format!("expected a vector, got a {found}")),
        (Value::RangeVector { .. }, found) => Err(format!("expected a range vector, got a {found}")),
    }
}

fn compare_range(eval: &Eval, answer: &Answer) -> Result<(), String> {
    let (When::Range { start, end, step }, Value::Series(expected)) = (eval.when, &eval.expect.value) else {
        return Err("a range query can only give series".to_owned());
    };
    match &answer.value {
        AnswerValue::Matrix(found) => compare_matrix(expected, found, start, end, step),
        found => Err(format!("expected a matrix, got a {found}")),
    }
}

fn compare_vector(expected: &[SeriesLine], found: &[Series], ordered: bool) -> Result<(), String> {
    for (position, series) in found.iter().enumerate() {
        let labels = &series.labels;
        let [(_, value)] = &series.points[..] else {
            return Err(format!("{labels} has {} points in a vector", series.points.len()));
        };
        if found[..position].iter().any(|other| other.labels == *labels) {
            return Err(format!("{labels} is twice in the result"));
        }
        let Some(at) = expected.iter().position(|line| line.labels == *labels) else {
            return Err(format!("unexpected series {labels} with {}", show(value)));
        };
        if ordered && at != position {
            return Err(format!("expected {labels} at position {}, got it at {}", at + 1, position + 1));
        }
        let Some(item) = expected[at].point() else {
            return Err(format!("{labels} is expected to have no point"));
        };
        same_value(item, value).map_err(|err| format!("{labels}: {err}"))?;
    }
    match expected.iter().find(|line| found.iter().all(|series| series.labels != line.labels)) {
        Some(line) => Err(format!("expected series {} is not in the result", line.labels)),
        None => Ok(()),
    }
}

fn compare_matrix(
    expected: &[SeriesLine],
    found: &[Series],
    start: i64,
    end: i64,
    step: i64,
) -> Result<(), String> {
    sorted(found)?;
    for line in expected {
        let labels = &line.labels;
        let steps = (end - start) / step + 1;
        if line.items.len() as i64 > steps {
            return Err(format!("{labels} is expected to have {} points in {steps} steps", line.items.len()));
        }
        let points = line.items.iter().enumerate().filter(|(_, item)| !matches!(item, Item::Gap));
        let points: Vec<(i64, &Item)> =
            points.map(|(index, item)| (start + index as i64 * step, item)).collect();
        let series = found.iter().find(|series| series.labels == *labels);
        let Some(series) = series else {
            return Err(format!("expected series {labels} is not in the result"));
        };
        for (index, (time, item)) in points.iter().enumerate() {
            match series.points.get(index) {
                None => return Err(format!("{labels}: expected a point at {time} ms, got no more")),
                Some((found, value)) if found != time => {
                    return Err(format!(
                        "{labels}: expected a point at {time} ms, got {} at {found} ms",
                        show(value)
                    ));
                }
                Some((_, value)) => {
                    same_value(item, value).map_err(|err| format!("{labels} at {time} ms: {err}"))?;
                }
            }
        }
        if let Some((time, value)) = series.points.get(points.len()) {
            return Err(format!("{labels}: unexpected point {} at {time} ms", show(value)));
        }
    }
    match found.iter().find(|series| expected.iter().all(|line| line.labels != series.labels)) {
        Some(series) => Err(format!("unexpected series {}", series.labels)),
        None => Ok(()),
    }
}

/// Range results are sorted by labels.
fn sorted(series: &[Series]) -> Result<(), String> {
    match series.windows(2).find(|pair| pair[0].labels >= pair[1].labels) {
        Some(pair) => {
            Err(format!("series are not sorted by labels: {} before {}", pair[0].labels, pair[1].labels))
        }
        None => Ok(()),
    }
}

fn same_value(expected: &Item, found: &model::Value) -> Result<(), String> {
    let same = match (expected, found) {
        (Item::Float(expected), model::Value::Float(found)) => compare::floats(*expected, *found),
        (Item::Histogram { histogram, hint_is_written }, model::Value::Histogram(found)) => {
            compare::histograms(histogram, found, *hint_is_written)
        }
        _ => false,
    };
    let expected = match expected {
        Item::Gap => "nothing".to_owned(),
        Item::Float(value) => value.to_string(),
        Item::Histogram { histogram, .. } => show_histogram(histogram),
    };
    if same { Ok(()) } else { Err(format!("expected {expected}, got {}", show(found))) }
}

fn show(value: &model::Value) -> String {
    match value {
        model::Value::Float(value) => value.to_string(),
        model::Value::Histogram(histogram) => show_histogram(histogram),
    }
}

/// A histogram in the language of scripts.
fn show_histogram(histogram: &Histogram) -> String {
    let Histogram { schema, sum, count, zero_count, zero_threshold, reset_hint, .. } = histogram;
    let mut text = format!("{{{{schema:{schema} count:{count} sum:{sum} hint:{reset_hint:?}");
    if *zero_count != 0.0 || *zero_threshold != 0.0 {
        text.push_str(&format!(" z_bucket:{zero_count} z_bucket_w:{zero_threshold}"));
    }
    if !histogram.custom_values.is_empty() {
        text.push_str(&format!(" custom_values:{:?}", histogram.custom_values));
    }
    for (name, spans, buckets) in [
        ("buckets", &histogram.positive_spans, &histogram.positive),
        ("n_buckets", &histogram.negative_spans, &histogram.negative),
    ] {
        if !buckets.is_empty() {
            let spans: Vec<(i32, u32)> = spans.iter().map(|span| (span.offset, span.length)).collect();
            text.push_str(&format!(" {name}:{buckets:?} spans:{spans:?}"));
        }
    }
    text.push_str("}}");
    text
}

/// The query with `@ at` on every selector and subquery that has no time of its own, and other times at which it must
/// give the same; empty when a function's value depends on the time of evaluation.
fn at_variants(query: &str, at: i64) -> Vec<(String, i64)> {
    // A query that cannot be read has no variants; the query itself says what is wrong.
    let Ok(mut expr) = parse(query, &Options::all()) else { return Vec::new() };
    let mut depends_on_time = false;
    expr.walk(&mut |node| {
        if let Expr::Call(call) = node {
            depends_on_time |= matches!(
                call.function.id,
                FunctionId::Time
                    | FunctionId::Timestamp
                    | FunctionId::PredictLinear
                    | FunctionId::DaysInMonth
                    | FunctionId::DayOfMonth
                    | FunctionId::DayOfWeek
                    | FunctionId::DayOfYear
                    | FunctionId::Hour
                    | FunctionId::Minute
                    | FunctionId::Month
                    | FunctionId::Year
                    | FunctionId::Start
                    | FunctionId::End
            );
        }
    });
    if depends_on_time {
        return Vec::new();
    }
    pin(&mut expr, Timestamp(at));
    let query = expr.to_string();
    let times = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    times.into_iter().map(|time| (query.clone(), time)).collect()
}

/// Puts `@ at` on selectors and subqueries; what is inside a subquery with a time is left alone.
fn pin(expr: &mut Expr, at: Timestamp) {
    let pin_one = |modifiers: &mut crate::ast::Modifiers| {
        if !matches!(modifiers.at, Some(At::Time(_))) {
            modifiers.at = Some(At::Time(at));
        }
    };
    match expr {
        Expr::Vector(node) => pin_one(&mut node.modifiers),
        Expr::Matrix(node) => pin_one(&mut node.selector.modifiers),
        Expr::Subquery(node) => pin_one(&mut node.modifiers),
        other => other.children_mut().into_iter().for_each(|child| pin(child, at)),
    }
}
