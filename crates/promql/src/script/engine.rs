//! This crate's evaluator as an engine for scripts.

use std::sync::atomic::AtomicBool;

use model::Budget;

use super::run::{Answer, AnswerValue, Question, Series};
use super::storage::Storage;
use crate::eval::{Limits, evaluate};
use crate::options::Options;
use crate::parser::parse;
use crate::plan::{EvalOptions, Times, plan};
use crate::result::QueryValue;

/// Evaluates a query with everything switched on, at most 10 000 samples, on two threads.
///
/// # Errors
/// The message that a user would see.
pub fn native(storage: &Storage, question: &Question<'_>) -> Result<Answer, String> {
    let expr = parse(question.query, &Options::all()).map_err(|err| err.first().message.clone())?;
    let times = match question.step_ms {
        0 => Times::Instant(question.start),
        step_ms => Times::Range { start: question.start, end: question.end, step_ms },
    };
    let plan = plan(&expr, times, &EvalOptions::all()).map_err(|err| err.to_string())?;
    let limits = Limits { max_samples: 10_000, threads: 2, ..Limits::default() };
    let selected = storage.fetch(plan.selects());
    let result = evaluate(&plan, selected, &limits, &Budget::unlimited(), &AtomicBool::new(false))
        .map_err(|err| err.to_string())?;
    let all = |series: Vec<crate::result::Series>| {
        series
            .into_iter()
            .map(|series| {
                let floats =
                    series.floats.into_iter().map(|(time, value)| (time, model::Value::Float(value)));
                let histograms =
                    series.histograms.into_iter().map(|(time, value)| (time, model::Value::Histogram(value)));
                let mut points: Vec<_> = floats.chain(histograms).collect();
                points.sort_by_key(|(time, _)| *time);
                Series { labels: series.labels, points }
            })
            .collect()
    };
    Ok(Answer {
        warnings: result.annotations.warnings(question.query, 0),
        infos: result.annotations.infos(question.query, 0),
        value: match result.value {
            QueryValue::Scalar { value, .. } => AnswerValue::Scalar(value),
            QueryValue::String { text, .. } => AnswerValue::String(text),
            QueryValue::Vector(series) => AnswerValue::Vector(all(series)),
            QueryValue::Matrix(series) => AnswerValue::Matrix(all(series)),
        },
    })
}
