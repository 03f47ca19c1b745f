//! Why an alerting rule fires, or does not: its past evaluations done again, with the state machine that runs it.
//!
//! [`Ruler::explain`] evaluates a rule's expression at each of its places in the interval before a moment, moves a fresh
//! state machine through the results, and shows the sides of its comparisons, which a filter otherwise hides. What was
//! stored late is seen here and was not then.

use std::sync::Arc;

use model::{Labels, Timestamp, Value};
use promql::Expr;
use promql::ast::BinaryOp;
use serde::Serialize;

use crate::alerting::AlertState;
use crate::config::Settings;
use crate::evaluate::Vector;
use crate::group::{Context, Group, relabelled};
use crate::rule::{Alerting, Kind, Query, RuleGroup};
use crate::ruler::Ruler;
use crate::snapshot::rfc3339;

/// At most so many evaluations are done again for one rule.
const MAX_STEPS: i64 = 240;
/// So many evaluations before those that `for` and `keep_firing_for` need.
const EXTRA_STEPS: i64 = 10;
/// Of each side of a comparison so many series are shown.
const MAX_SERIES: usize = 10;
/// So many sides are shown.
const MAX_PARTS: usize = 16;

/// One rule, explained for one alert.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleExplanation {
    /// The group's file.
    pub file: String,
    /// The group's name.
    pub group: String,
    /// Where in the file, from 1.
    pub line: u64,
    /// The alert's name.
    pub name: String,
    /// The expression.
    pub query: String,
    /// `for`, in milliseconds.
    pub hold_ms: i64,
    /// `keep_firing_for`, in milliseconds.
    pub keep_firing_for_ms: i64,
    /// The group's interval, in milliseconds.
    pub interval_ms: i64,
    /// In words: whether it fires, and what lacks.
    pub verdict: String,
    /// The evaluations, oldest first.
    pub steps: Vec<RuleStep>,
    /// Whether earlier evaluations would have been needed to know since when the alert is active.
    pub cut: bool,
    /// The sides of the expression's comparisons at the moment.
    pub parts: Vec<Part>,
    /// What `alert_relabel_configs` and the external labels make of the alert; `None` when they drop it.
    pub sent_as: Option<Labels>,
}

/// One evaluation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleStep {
    /// When, in milliseconds.
    pub at: Timestamp,
    /// The expression's value for the alert; `None` when it has none.
    pub value: Option<f64>,
    /// Other results of the expression.
    pub others: usize,
    /// The alert's state after it.
    pub state: AlertState,
    /// Since when the condition holds.
    pub active_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One side of a comparison.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// The side.
    pub query: String,
    /// The comparison that it is a side of.
    pub of: String,
    /// Its values for series that may belong to the alert.
    pub values: Vec<(Labels, f64)>,
    /// Series in all.
    pub series: usize,
    /// Why it cannot be evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Ruler {
    /// Explains the rules that raise alerts named `alert`'s `alertname`, for the alert with these labels (before external
    /// labels and relabelling, or after), at `at`.
    pub async fn explain(&self, alert: &Labels, at: Timestamp) -> Vec<RuleExplanation> {
        let name = alert.get("alertname").unwrap_or_default();
        let mut found = Vec::new();
        for group in self.running_groups() {
            for (index, rule) in group.rules.rules.iter().enumerate() {
                if let Kind::Alerting(alerting) = &rule.kind
                    && alerting.name == name
                {
                    found.push(explain(self.context(), &group, index, alerting, alert, at).await);
                }
            }
        }
        found
    }
}

async fn explain(
    context: &Context,
    group: &Group,
    index: usize,
    alerting: &Alerting,
    alert: &Labels,
    at: Timestamp,
) -> RuleExplanation {
    let settings = Arc::clone(&context.settings.read());
    let rule = &group.rules.rules[index];
    let interval = group.interval_ms;
    let wanted = (alerting.hold_ms + alerting.keep_firing_for_ms) / interval + 1 + EXTRA_STEPS;
    let count = wanted.min(MAX_STEPS);
    let last = group.slot(at);
    // A copy that nothing else moves on, with this rule alone.
    let alone = RuleGroup { rules: vec![Arc::clone(rule)], ..RuleGroup::clone(&group.rules) };
    let scratch = Group::new(Arc::new(alone), &settings);
    let queries = [Arc::clone(&rule.query)];
    let mut steps = Vec::new();
    let mut sent_as = None;
    for step in (0..count).rev() {
        let now = last - step * interval;
        let mut answers = context.evaluator.instant(&context.tenant, &queries, now - group.offset_ms).await;
        let answer = answers.pop().unwrap_or_else(|| Ok(Vector::new())).map_err(|err| err.chain());
        let result = match answer {
            Ok(vector) => {
                let results = vector.len();
                scratch.alert(context, &settings, 0, alerting, vector, now).await.map(|_| results)
            }
            Err(err) => Err(err),
        };
        let state = scratch.state.lock();
        let active = &state.rules[0].active;
        let mine = active.sorted().into_iter().find(|one| is(&one.labels, alert, &settings)).cloned();
        drop(state);
        let mine = mine.filter(|one| one.state != AlertState::Inactive);
        let present = mine.as_ref().filter(|one| one.keep_firing_since.is_none());
        if let Some(one) = &mine {
            sent_as = Some(relabelled(&one.labels, &settings));
        }
        let results = *result.as_ref().unwrap_or(&0);
        steps.push(RuleStep {
            at: now - group.offset_ms,
            value: present.map(|one| one.value),
            others: results - usize::from(present.is_some()).min(results),
            state: mine.as_ref().map_or(AlertState::Inactive, |one| one.state),
            active_at: mine.as_ref().map(|one| one.active_at),
            error: result.err(),
        });
    }
    if let Some(real) = as_it_is(group, index, alert, at, &settings) {
        // What was stored before the server evaluated anything is no evaluation: the rule's own state has the last word.
        steps.retain(|step| step.at < real.at);
        steps.push(real);
    }
    let parts = parts(context, &rule.query, alert, last - group.offset_ms).await;
    let cut = wanted > count || steps.first().is_some_and(|first| first.state != AlertState::Inactive);
    RuleExplanation {
        file: group.rules.file.clone(),
        group: group.rules.name.clone(),
        line: rule.line,
        name: alerting.name.clone(),
        query: rule.query.text.clone(),
        hold_ms: alerting.hold_ms,
        keep_firing_for_ms: alerting.keep_firing_for_ms,
        interval_ms: interval,
        verdict: verdict(alerting, &steps),
        steps,
        cut,
        parts,
        sent_as: sent_as.unwrap_or_else(|| relabelled(alert, &settings)),
    }
}

/// The last evaluation as the rule itself has it, unless `at` is before that.
fn as_it_is(
    group: &Group,
    index: usize,
    alert: &Labels,
    at: Timestamp,
    settings: &Settings,
) -> Option<RuleStep> {
    let state = group.state.lock();
    let rule = &state.rules[index];
    let evaluated = rule.last_evaluation.filter(|evaluated| *evaluated <= at)?;
    let mine = rule.active.live().find(|one| is(&one.labels, alert, settings));
    let present = mine.filter(|one| one.keep_firing_since.is_none());
    let results = rule.history.back().map_or(0, |last| last.series);
    Some(RuleStep {
        at: evaluated - group.offset_ms,
        value: present.map(|one| one.value),
        others: results - usize::from(present.is_some()).min(results),
        state: mine.map_or(AlertState::Inactive, |one| one.state),
        active_at: mine.map(|one| one.active_at),
        error: (!rule.last_error.is_empty()).then(|| rule.last_error.clone()),
    })
}

/// Whether a rule's alert is the one that is asked for: as the rule makes it or as it is sent.
fn is(labels: &Labels, wanted: &Labels, settings: &Settings) -> bool {
    labels == wanted || relabelled(labels, settings).as_ref() == Some(wanted)
}

fn verdict(alerting: &Alerting, steps: &[RuleStep]) -> String {
    let Some(last) = steps.last() else { return "it was not evaluated".to_owned() };
    let time = |at: Timestamp| rfc3339(Some(at));
    let span = |ms: i64| model::duration::PromDuration(ms.max(0)).to_string();
    if let Some(error) = &last.error {
        return format!("the evaluation fails: {error}; what fired before goes on firing");
    }
    match (last.state, last.active_at) {
        (AlertState::Firing, Some(since)) if last.value.is_none() => {
            format!(
                "fires since {} only because of keep_firing_for ({})",
                time(since),
                span(alerting.keep_firing_for_ms)
            )
        }
        (AlertState::Firing, Some(since)) => format!("fires: the condition holds since {}", time(since)),
        (AlertState::Pending, Some(since)) => {
            let held = last.at - since;
            let left = alerting.hold_ms - held;
            format!(
                "pending: the condition holds since {}, for {} of {}; {} are missing",
                time(since),
                span(held),
                span(alerting.hold_ms),
                span(left)
            )
        }
        _ => {
            let before = steps.iter().rev().find(|step| step.value.is_some());
            match before {
                Some(step) => {
                    format!("does not fire: the condition does not hold; it last held at {}", time(step.at))
                }
                None if last.others > 0 => format!(
                    "does not fire: the condition does not hold for these labels, but for {} other series",
                    last.others
                ),
                None => "does not fire: the condition does not hold".to_owned(),
            }
        }
    }
}

/// The sides of comparisons that decide about the result, evaluated.
async fn parts(context: &Context, query: &Query, alert: &Labels, at: Timestamp) -> Vec<Part> {
    let mut sides = Vec::new();
    collect(&query.expr, &mut sides);
    sides.truncate(MAX_PARTS);
    let mut parts = Vec::new();
    for (side, of) in sides {
        let text = side.to_string();
        let mut part = Part { query: text.clone(), of, values: Vec::new(), series: 0, error: None };
        match Query::new(&text, &context.language) {
            Err(err) => part.error = Some(err.to_string()),
            Ok(query) => {
                let mut answers = context.evaluator.instant(&context.tenant, &[Arc::new(query)], at).await;
                match answers.pop() {
                    Some(Ok(vector)) => {
                        part.series = vector.len();
                        let mine = vector.into_iter().filter(|point| may_belong(&point.labels, alert));
                        let float = |value: &Value| match value {
                            Value::Float(value) => *value,
                            Value::Histogram(histogram) => histogram.sum,
                        };
                        part.values =
                            mine.take(MAX_SERIES).map(|point| (point.labels, float(&point.value))).collect();
                    }
                    Some(Err(err)) => part.error = Some(err.chain()),
                    None => {}
                }
            }
        }
        parts.push(part);
    }
    parts
}

/// Whether a series could be behind an alert: no label says otherwise.
fn may_belong(series: &Labels, alert: &Labels) -> bool {
    series.iter().all(|(name, value)| {
        name == model::labels::METRIC_NAME || alert.get(name).is_none_or(|wanted| wanted == value)
    })
}

/// Descends through `and`, `or`, `unless` and parentheses to comparisons.
fn collect<'a>(expr: &'a Expr, sides: &mut Vec<(&'a Expr, String)>) {
    let Expr::Binary(node) = expr.unwrapped() else {
        return;
    };
    match node.op {
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
            for side in [&node.lhs, &node.rhs] {
                // A side without a comparison is a condition by being there.
                let before = sides.len();
                collect(side, sides);
                if sides.len() == before {
                    sides.push((side, expr.to_string()));
                }
            }
        }
        op if op.is_comparison() => {
            for side in [&node.lhs, &node.rhs] {
                if !matches!(side.unwrapped(), Expr::Number(_)) {
                    sides.push((side, expr.to_string()));
                }
            }
        }
        _ => {}
    }
}
