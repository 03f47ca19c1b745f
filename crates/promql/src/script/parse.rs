//! Reads scripts: lines to commands.

use model::duration::PromDuration;
use regex::Regex;

use super::series::{Item, Line, SeriesLine, parse_line};
use crate::lexer::{Kind, Lexer};
use crate::parser::unquote;

/// A script.
#[derive(Clone, Debug)]
pub struct Script {
    /// What to do, in this order.
    pub commands: Vec<Command>,
}

/// What is wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScriptError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// A command and where it is.
#[derive(Clone, Debug)]
pub struct Command {
    /// Line, from 1.
    pub line: usize,
    /// What to do.
    pub action: Action,
}

/// What a command does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Throw all data away.
    Clear,
    /// Store series.
    Load(Load),
    /// Evaluate a query and compare.
    Eval(Box<Eval>),
}

/// Series to store.
#[derive(Clone, Debug)]
pub struct Load {
    /// Distance of the values in milliseconds.
    pub step_ms: i64,
    /// Whether classic histograms are stored as native ones with custom buckets too.
    pub with_nhcb: bool,
    /// The series, each with its start timestamps (distance from the sample) when it has some.
    pub series: Vec<(SeriesLine, Option<Vec<Option<i64>>>)>,
}

/// When a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At one time, in milliseconds.
    Instant(i64),
    /// At several.
    Range {
        /// First, in milliseconds.
        start: i64,
        /// Last, in milliseconds.
        end: i64,
        /// Distance in milliseconds.
        step: i64,
    },
}

/// A query and what it should give.
#[derive(Clone, Debug)]
pub struct Eval {
    /// The query.
    pub query: String,
    /// When.
    pub when: When,
    /// What it should give.
    pub expect: Expect,
}

/// What a query should give.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// It fails, with a message like this.
    pub fail: Option<Text>,
    /// Warnings.
    pub warn: Annotations,
    /// Infos.
    pub info: Annotations,
    /// The order of series counts.
    pub ordered: bool,
    /// The result.
    pub value: Value,
}

/// The result that a query should give.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// A text.
    String(String),
    /// Series with points, in the order in which they are written.
    Series(Vec<SeriesLine>),
    /// A range vector as the result of an instant query: the series' points are at `start + i × step`.
    RangeVector {
        /// Time of the first point in milliseconds.
        start: i64,
        /// Time of the last point in milliseconds.
        end: i64,
        /// Distance in milliseconds.
        step: i64,
        /// The series.
        series: Vec<SeriesLine>,
    },
}

impl Default for Value {
    fn default() -> Self {
        Self::Series(Vec::new())
    }
}

/// What annotations of one level there should be.
#[derive(Clone, Debug, Default)]
pub enum Annotations {
    /// Not looked at.
    #[default]
    Any,
    /// None.
    None,
    /// Each of these is there, and no others.
    Like(Vec<Text>),
}

/// What a message should be.
#[derive(Clone, Debug)]
pub enum Text {
    /// Anything.
    Any,
    /// Exactly this.
    Equal(String),
    /// Something that this matches somewhere.
    Matches(Regex),
}

impl Text {
    /// Whether `message` is like this.
    pub fn accepts(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Equal(text) => text == message.trim(),
            Self::Matches(regex) => regex.is_match(message),
        }
    }
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut reader = Reader { lines: text.lines().map(strip).collect(), next: 0 };
        let mut commands = Vec::new();
        while let Some(&first) = reader.lines.get(reader.next) {
            reader.next += 1;
            if first.is_empty() {
                continue;
            }
            let line = reader.next;
            let word = first.split_ascii_whitespace().next().unwrap_or_default().to_ascii_lowercase();
            let action = match word.as_str() {
                "clear" => Ok(Action::Clear),
                word if word.starts_with("load") => reader.load(first),
                word if word.starts_with("eval") => reader.eval(first),
                other => Err(format!("invalid command {other:?}")),
            };
            match action {
                Ok(action) => commands.push(Command { line, action }),
                // Within a block the faulty line is the one that was read last.
                Err(message) => return Err(ScriptError { line: reader.next, message }),
            }
        }
        Ok(Self { commands })
    }
}

/// A line without surrounding space; a comment is an empty line.
fn strip(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') { "" } else { line }
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    next: usize,
}

impl<'a> Reader<'a> {
    /// The next line of a block; `None` at its end.
    fn block_line(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.next).copied().filter(|line| !line.is_empty())?;
        self.next += 1;
        Some(line)
    }

    fn load(&mut self, first: &str) -> Result<Action, String> {
        let mut words = first.split_ascii_whitespace();
        let with_nhcb = match words.next().map(str::to_ascii_lowercase).as_deref() {
            Some("load") => false,
            Some("load_with_nhcb") => true,
            other => return Err(format!("invalid command {:?}", other.unwrap_or_default())),
        };
        let (Some(step), None) = (words.next(), words.next()) else {
            return Err("invalid load command. (load[_with_nhcb] <step:duration>)".to_owned());
        };
        let step_ms = duration(step)?;
        let mut series = Vec::new();
        let mut starts = None;
        while let Some(line) = self.block_line() {
            match parse_line(line)? {
                Line::Starts(_) if starts.is_some() => {
                    return Err("a line of start timestamps follows another".to_owned());
                }
                Line::Starts(line) => starts = Some(line),
                Line::Series(line) => {
                    let starts = match starts.take() {
                        None => None,
                        Some(starts) if starts.labels != line.labels => {
                            return Err(format!(
                                "start timestamps of {} stand before {}",
                                starts.labels, line.labels
                            ));
                        }
                        Some(starts) if starts.starts.len() != line.items.len() => {
                            return Err(format!(
                                "{} has {} values but {} start timestamps",
                                line.labels,
                                line.items.len(),
                                starts.starts.len()
                            ));
                        }
                        Some(starts) => Some(starts.starts),
                    };
                    series.push((line, starts));
                }
            }
        }
        if starts.is_some() {
            return Err("start timestamps without a series".to_owned());
        }
        Ok(Action::Load(Load { step_ms, with_nhcb, series }))
    }

    fn eval(&mut self, first: &str) -> Result<Action, String> {
        const FORM: &str = "invalid eval command. Must be either 'eval instant [at <offset:duration>] <query>' or 'eval range from <from> to <to> step <step> <query>'";
        let (word, rest) = cut(first);
        let mut expect = Expect::default();
        // The old spellings say in the first word what "expect" lines say now.
        match word.to_ascii_lowercase().as_str() {
            "eval" => {}
            "eval_fail" => expect.fail = Some(Text::Any),
            "eval_warn" => expect.warn = Annotations::Like(vec![Text::Any]),
            "eval_info" => expect.info = Annotations::Like(vec![Text::Any]),
            "eval_ordered" => expect.ordered = true,
            other => return Err(format!("invalid command {other:?}")),
        }
        let (kind, rest) = cut(rest);
        let (when, query) = match kind {
            "instant" => match cut(rest) {
                ("at", rest) => {
                    let (at, query) = cut(rest);
                    (When::Instant(duration(at)?), query)
                }
                _ => (When::Instant(0), rest),
            },
            "range" => {
                let mut rest = rest;
                let mut named = |name: &str| -> Result<i64, String> {
                    let (word, tail) = cut(rest);
                    if word != name {
                        return Err(FORM.to_owned());
                    }
                    let (value, tail) = cut(tail);
                    rest = tail;
                    duration(value)
                };
                let (start, end, step) = (named("from")?, named("to")?, named("step")?);
                if end < start {
                    return Err(format!("the range ends ({end} ms) before it starts ({start} ms)"));
                }
                if step <= 0 {
                    return Err("the step must be above 0".to_owned());
                }
                (When::Range { start, end, step }, rest)
            }
            _ => return Err(FORM.to_owned()),
        };
        if query.is_empty() {
            return Err(FORM.to_owned());
        }
        if expect.ordered && when_is_range(when) {
            return Err("the order of a range query's series is always that of their labels".to_owned());
        }
        let mut eval = Eval { query: query.to_owned(), when, expect };
        while let Some(line) = self.block_line() {
            if expectation(line, &mut eval)? {
                break;
            }
        }
        Ok(Action::Eval(Box::new(eval)))
    }
}

fn when_is_range(when: When) -> bool {
    matches!(when, When::Range { .. })
}

/// Reads a line of an expectation; whether it ends the block.
fn expectation(line: &str, eval: &mut Eval) -> Result<bool, String> {
    let (word, rest) = cut(line);
    match word {
        "expect" => return expect(rest, eval).map(|()| false),
        "expected_fail_message" => {
            eval.expect.fail = Some(Text::Equal(rest.trim().to_owned()));
            return Ok(true);
        }
        "expected_fail_regexp" => {
            eval.expect.fail = Some(Text::Matches(regex(rest)?));
            return Ok(true);
        }
        _ => {}
    }
    if rest.is_empty()
        && let Some(value) = super::series::number(word)
    {
        eval.expect.value = Value::Scalar(value);
        return Ok(true);
    }
    let Line::Series(line) = parse_line(line)? else {
        return Err("start timestamps belong to a load".to_owned());
    };
    let points = match &mut eval.expect.value {
        Value::Series(series) => {
            if let When::Instant(_) = eval.when
                && line.items.len() != 1
            {
                return Err(format!("expecting 1 value, got {}", line.items.len()));
            }
            series.push(line);
            return Ok(false);
        }
        Value::RangeVector { series, .. } => series,
        Value::Scalar(_) | Value::String(_) => {
            return Err("the result cannot be a series and something else".to_owned());
        }
    };
    points.push(line);
    Ok(false)
}

/// What follows `expect`.
fn expect(rest: &str, eval: &mut Eval) -> Result<(), String> {
    let (kind, rest) = cut(rest);
    let expect = &mut eval.expect;
    match kind {
        "fail" => {
            if expect.fail.is_some() {
                return Err("expect fail may occur only once".to_owned());
            }
            expect.fail = Some(text(rest)?);
        }
        "warn" | "info" => {
            let level = if kind == "warn" { &mut expect.warn } else { &mut expect.info };
            match level {
                Annotations::Any => *level = Annotations::Like(vec![text(rest)?]),
                Annotations::Like(texts) => texts.push(text(rest)?),
                Annotations::None => {
                    return Err(format!("expect {kind} and expect no_{kind} exclude each other"));
                }
            }
        }
        "no_warn" | "no_info" => {
            let level = if kind == "no_warn" { &mut expect.warn } else { &mut expect.info };
            match level {
                Annotations::Like(_) => {
                    return Err(format!("expect {kind} and its opposite exclude each other"));
                }
                _ => *level = Annotations::None,
            }
        }
        "ordered" if when_is_range(eval.when) => {
            return Err("expect ordered is for instant queries".to_owned());
        }
        "ordered" => expect.ordered = true,
        "string" => expect.value = Value::String(quoted(rest)?),
        "range" => {
            let words: Vec<&str> = rest.split_ascii_whitespace().collect();
            let ["vector", "from", start, "to", end, "step", step] = words[..] else {
                return Err("expected: expect range vector from <a> to <b> step <s>".to_owned());
            };
            let (start, end, step) = (duration(start)?, duration(end)?, duration(step)?);
            if step <= 0 || end < start {
                return Err(
                    "the range vector's step must be above 0 and its end not before its start".to_owned()
                );
            }
            expect.value = Value::RangeVector { start, end, step, series: Vec::new() };
        }
        other => return Err(format!("invalid expectation {other:?}")),
    }
    Ok(())
}

/// Nothing, `msg: TEXT` or `regex: RE`.
fn text(rest: &str) -> Result<Text, String> {
    if rest.is_empty() {
        Ok(Text::Any)
    } else if let Some(message) = rest.strip_prefix("msg:") {
        Ok(Text::Equal(message.trim().to_owned()))
    } else if let Some(pattern) = rest.strip_prefix("regex:") {
        Ok(Text::Matches(regex(pattern)?))
    } else {
        Err(format!("expected msg: or regex:, found {rest:?}"))
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern.trim()).map_err(|err| err.to_string())
}

fn quoted(text: &str) -> Result<String, String> {
    let token = Lexer::new(text).next_token().map_err(|err| err.message)?;
    if token.kind != Kind::String || token.end() != text.trim_end().len() {
        return Err(format!("expected a quoted string, found {text:?}"));
    }
    String::from_utf8(unquote(token.text)).map_err(|_| "the string is not UTF-8".to_owned())
}

/// The first word and the rest without space around.
fn cut(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

fn duration(text: &str) -> Result<i64, String> {
    PromDuration::parse(text).map(PromDuration::ms).map_err(|err| err.to_string())
}

impl SeriesLine {
    /// The only point of an instant result.
    pub(super) fn point(&self) -> Option<&Item> {
        self.items.first().filter(|item| !matches!(item, Item::Gap))
    }
}
