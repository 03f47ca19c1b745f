//! The runner against an engine that knows three queries.

use std::path::Path;

use model::{MatchOp, Matcher, Samples};

use super::*;
use crate::ast::Expr;
use crate::options::Options;

/// Answers selectors by the newest sample at or before each step, and numbers and texts by themselves.
fn engine(storage: &Storage, question: &Question<'_>) -> Result<Answer, String> {
    let expr = crate::parse(question.query, &Options::all()).map_err(|err| err.first().message.clone())?;
    let expr = expr.resolve(question.start, question.end, question.step_ms).map_err(|err| err.to_string())?;
    let steps: Vec<i64> = match question.step_ms {
        0 => vec![question.start.ms()],
        step => (question.start.ms()..=question.end.ms()).step_by(step as usize).collect(),
    };
    let range = question.step_ms != 0;
    let value = match expr.unwrapped() {
        Expr::Number(number) if !range => AnswerValue::Scalar(number.value),
        Expr::Number(number) => AnswerValue::Matrix(vec![Series {
            labels: model::Labels::empty(),
            points: steps.iter().map(|&t| (t, model::Value::Float(number.value))).collect(),
        }]),
        Expr::String(text) => AnswerValue::String(text.value.clone()),
        Expr::Vector(selector) => {
            let set = storage.select(&selector.matchers);
            let mut series = Vec::new();
            for index in 0..set.len() {
                let mut samples = Samples::default();
                set.read(index, &mut samples).map_err(|err| err.to_string())?;
                let at = |t: i64| {
                    let t = selector.modifiers.at_time.map_or(t, |at| at.ms());
                    let newest = samples.times.partition_point(|&time| time <= t).checked_sub(1)?;
                    Some(samples.value(newest))
                };
                let points: Vec<_> = steps.iter().filter_map(|&t| Some((t, at(t)?))).collect();
                if !points.is_empty() {
                    series.push(Series { labels: set.labels(index), points });
                }
            }
            if range { AnswerValue::Matrix(series) } else { AnswerValue::Vector(series) }
        }
        _ => return Err("this engine does not know that".to_owned()),
    };
    let warnings = match question.query.contains("warn") {
        true => vec!["PromQL warning: something (1:1)".to_owned()],
        false => Vec::new(),
    };
    Ok(Answer { value, warnings, infos: Vec::new() })
}

fn run(text: &str) -> Vec<String> {
    let report = run_script(Path::new("x"), text, &engine, &RunOptions::default());
    let mut lines: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    lines.push(format!("{} passed", report.passed));
    lines
}

const LOAD: &str = "load 1m\n  a{x=\"1\"} 1 2 3\n  # a comment ends the block\n\nload 1m\n  a{x=\"2\"} _ 5+1x1\n  h {{sum:1 count:2 buckets:[2]}}\n\n";

#[test]
fn right_answers_pass() {
    let script = format!(
        "{LOAD}\
         eval instant at 1m a\n  a{{x=\"1\"}} 2\n  {{__name__=\"a\", x=\"2\"}} 5\n\n\
         EVAL instant at 0 a\n  a{{x=\"1\"}} 1\n\n\
         eval range from 0 to 2m step 1m a{{x=\"2\"}}\n  a{{x=\"2\"}} _ 5 6\n\n\
         eval instant at 1m h\n  h {{{{sum:1 count:2 offset:-1 buckets:[0 2 0]}}}}\n\n\
         eval instant at 5m 1.5\n  1.5\n\
         eval instant at 5m \"x\"\n  expect string `x`\n\n\
         eval_fail instant at 5m rate(a[5m])\nexpected_fail_message this engine does not know that\n\
         eval instant at 5m a +\n  expect fail regex:unexpected end\n\n\
         eval instant at 1m warn\n  expect warn msg: PromQL warning: something (1:1)\n  expect no_info\n\n\
         eval instant at 1m nothing\n\n\
         eval instant at 1m a\n  expect ordered\n  a{{x=\"1\"}} 2\n  a{{x=\"2\"}} 5\n\n\
         clear\n\
         eval instant at 1m a\n"
    );
    assert_eq!(run(&script), ["12 passed"]);
}

#[test]
fn wrong_answers_fail_at_their_line() {
    let cases = [
        ("eval instant at 1m a\n  a{x=\"1\"} 2\n", "unexpected series a{x=\"2\"} with 5"),
        ("eval instant at 1m a{x='1'}\n  a{x=\"1\"} 3\n", "a{x=\"1\"}: expected 3, got 2"),
        (
            "eval instant at 0 a\n  a{x=\"1\"} 1\n  a{x=\"2\"} 1\n",
            "expected series a{x=\"2\"} is not in the result",
        ),
        ("eval instant at 1m 5\n  6\n", "expected 6, got 5"),
        ("eval instant at 1m 5\n", "expected a vector, got a scalar 5"),
        ("eval instant at 1m h\n  h {{sum:2 count:2 buckets:[2]}}\n", "expected {{schema:0 count:2 sum:2"),
        ("eval instant at 1m h\n  h 5\n", "h: expected 5, got {{"),
        (
            "eval instant at 1m warn\n  expect no_warn\n",
            "expected no warning, got [\"PromQL warning: something (1:1)\"]",
        ),
        ("eval instant at 1m a{z='1'}\n  expect warn\n", "expected the warning (any text), got []"),
        ("eval instant at 1m warn\n  expect warn msg: other\n", "expected the warning \"other\""),
        ("eval instant at 1m a\n  expect fail\n", "expected it to fail, but it did not"),
        ("eval instant at 1m rate(a[5m])\n", "it failed: this engine does not know that"),
        ("eval instant at 1m rate(a[5m])\n  expect fail msg: x\n", "expected it to fail with \"x\""),
        (
            "eval instant at 1m a\n  expect ordered\n  a{x=\"2\"} 5\n  a{x=\"1\"} 2\n",
            "expected a{x=\"1\"} at position 2, got it at 1",
        ),
        ("eval range from 0 to 2m step 1m a{x='2'}\n  a{x=\"2\"} _ 5\n", "unexpected point 6 at 120000 ms"),
        (
            "eval range from 0 to 2m step 1m a{x='2'}\n  a{x=\"2\"} 5 5 6\n",
            "expected a point at 0 ms, got 5 at 60000 ms",
        ),
        (
            "eval range from 0 to 1m step 1m a{x='2'}\n  a{x=\"2\"} _ 5 6\n",
            "expected to have 3 points in 2 steps",
        ),
    ];
    for (eval, message) in cases {
        let found = run(&format!("{LOAD}{eval}"));
        assert_eq!(found.len(), 2, "{eval}: {found:?}");
        assert!(found[0].starts_with("x:9: ") && found[0].contains(message), "{eval}: {}", found[0]);
    }
}

#[test]
fn faulty_scripts_are_refused() {
    for (script, message) in [
        ("foo", "x:1: invalid command \"foo\""),
        ("\nload", "x:2: invalid load command"),
        ("load 1m\n  a b", "x:2: \"b\" is no value"),
        ("load 1m\n  a@st 1m\n  b 1", "x:3: start timestamps of a stand before b"),
        ("load 1m\n  a@st 1m 1m\n  a 1", "x:3: a has 1 values but 2 start timestamps"),
        ("load 1m\n  a@st 1m\n", "start timestamps without a series"),
        ("eval sometimes a", "x:1: invalid eval command"),
        ("eval instant at x a", "x:1: not a valid duration string"),
        ("eval range from 1m to 0 step 1m a", "x:1: the range ends"),
        ("eval range from 0 to 1m step 0 a", "x:1: the step must be above 0"),
        ("eval instant at 1m a\n  a 1 2", "x:2: expecting 1 value, got 2"),
        ("eval instant at 1m a\n  expect nonsense", "x:2: invalid expectation \"nonsense\""),
        (
            "eval instant at 1m a\n  expect warn\n  expect no_warn",
            "x:3: expect no_warn and its opposite exclude",
        ),
        ("eval instant at 1m a\n  expect fail\n  expect fail", "x:3: expect fail may occur only once"),
        ("eval instant at 1m a\n  expect warn regex: (", "x:2: regex parse error"),
    ] {
        let found = run(script);
        assert!(found[0].contains(message), "{script}: {}", found[0]);
    }
}

#[test]
fn skipped_queries_are_counted() {
    let options = RunOptions { skip: vec!["rate(".to_owned()] };
    let report = run_script(Path::new("x"), "eval instant at 0 rate(a[5m])\n", &engine, &options);
    assert_eq!((report.passed, report.skipped, report.is_ok()), (0, 1, true));
}

#[test]
fn start_timestamps_are_distances_from_the_samples() {
    let storage = std::cell::RefCell::new(Storage::new());
    let keep = |loaded: &Storage, _: &Question<'_>| -> Result<Answer, String> {
        *storage.borrow_mut() = loaded.clone();
        Err(String::new())
    };
    let script = "load 1m\n  a@st _ -30s-1sx1\n  a 1 2 3\n\neval instant at 0 a\n";
    run_script(Path::new("x"), script, &keep, &RunOptions::default());
    let mut samples = Samples::default();
    let selector = vec![Matcher::new("__name__", MatchOp::Equal, "a").unwrap()];
    storage.borrow().select(&selector).read(0, &mut samples).unwrap();
    assert_eq!(samples.times, [0, 60_000, 120_000]);
    assert_eq!(samples.starts, [0, 30_000, 89_000]);
}

#[test]
fn resets_are_known_as_a_storage_knows_them() {
    let mut storage = Storage::new();
    let labels = model::Labels::from_pairs([("__name__", "h")]);
    let items = series::items(
        "{{count:1}} {{count:2}} {{count:1}} {{count:3}} {{count:4 schema:1}} {{count:5 schema:1 counter_reset_hint:reset}} \
         {{count:5 schema:1 counter_reset_hint:gauge}} {{count:5 schema:1}} 1 {{count:9 schema:1}} {{count:9 schema:1}} stale",
    );
    for (index, item) in items.unwrap().into_iter().enumerate() {
        let value = match item {
            series::Item::Float(value) => model::Value::Float(value),
            series::Item::Histogram { histogram, .. } => model::Value::Histogram(histogram),
            series::Item::Gap => continue,
        };
        storage.insert(&labels, index as i64, value, 0);
    }
    let mut samples = Samples::default();
    storage.select(&Vec::new()).read(0, &mut samples).unwrap();
    let hints: Vec<String> =
        samples.histograms.iter().map(|(at, h)| format!("{at}:{:?}", h.reset_hint)).collect();
    assert_eq!(
        hints,
        [
            "0:Unknown",
            "1:NotReset",
            "2:Unknown",
            "3:NotReset",
            "4:Unknown",
            "5:Reset",
            "6:Gauge",
            "7:Unknown",
            "9:Unknown",
            "10:NotReset",
            "11:NotReset"
        ]
    );
    assert!(samples.histograms[10].1.is_stale());
}
