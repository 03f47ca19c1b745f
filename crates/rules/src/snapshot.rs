//! Rules and alerts as the HTTP API shows them, with Prometheus' field names.

use model::{Labels, Timestamp};
use serde::Serialize;

use crate::alerting::{ActiveAlert, AlertState};
use crate::group::{Evaluated, Group, Health, RuleState};
use crate::rule::{Kind, Rule};

/// A group of `/api/v1/rules`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupSnapshot {
    /// The group's name.
    pub name: String,
    /// The file that it is from.
    pub file: String,
    /// The rules, in order.
    pub rules: Vec<RuleSnapshot>,
    /// Seconds.
    pub interval: f64,
    /// Most series or alerts of one rule, 0: no limit.
    pub limit: usize,
    /// How long the last evaluation took, in seconds.
    pub evaluation_time: f64,
    /// RFC 3339.
    pub last_evaluation: String,
}

/// A rule of `/api/v1/rules`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleSnapshot {
    /// The most serious state of its alerts; absent for a recording rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<AlertState>,
    /// The metric or alert name.
    pub name: String,
    /// The expression.
    pub query: String,
    /// `for`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// `keep_firing_for`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<f64>,
    /// As written.
    pub labels: Labels,
    /// As written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Labels>,
    /// Its pending and firing alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Vec<AlertSnapshot>>,
    /// Whether the last evaluation went well.
    pub health: Health,
    /// Why it did not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// How long the last evaluation took, in seconds.
    pub evaluation_time: f64,
    /// RFC 3339.
    pub last_evaluation: String,
    /// `alerting` or `recording`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The last evaluations, oldest first. Ours; not part of Prometheus' answer.
    #[serde(skip)]
    pub history: Vec<Evaluated>,
}

/// An alert of `/api/v1/alerts`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertSnapshot {
    /// Expanded.
    pub labels: Labels,
    /// Expanded.
    pub annotations: Labels,
    /// Pending or firing.
    pub state: AlertState,
    /// RFC 3339.
    pub active_at: String,
    /// RFC 3339; when it fires only because of `keep_firing_for`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_firing_since: Option<String>,
    /// As Go's `%e` prints it.
    pub value: String,
}

impl GroupSnapshot {
    pub(crate) fn of(group: &Group) -> Self {
        let state = group.state.lock();
        Self {
            name: group.rules.name.clone(),
            file: group.rules.file.clone(),
            rules: group
                .rules
                .rules
                .iter()
                .zip(&state.rules)
                .map(|(rule, s)| RuleSnapshot::of(rule, s))
                .collect(),
            interval: group.interval_ms as f64 / 1000.0,
            limit: group.rules.limit,
            evaluation_time: state.evaluation_seconds,
            last_evaluation: rfc3339(state.last_evaluation),
        }
    }
}

impl RuleSnapshot {
    fn of(rule: &Rule, state: &RuleState) -> Self {
        let alerting = match &rule.kind {
            Kind::Recording { .. } => None,
            Kind::Alerting(alerting) => Some(alerting),
        };
        let alerts = alerting.map(|_| live(state));
        Self {
            state: alerting
                .map(|_| state.active.live().map(|alert| alert.state).max().unwrap_or(AlertState::Inactive)),
            name: rule.name().to_owned(),
            query: rule.query.expr.to_string(),
            duration: alerting.map(|alerting| alerting.hold_ms as f64 / 1000.0),
            keep_firing_for: alerting.map(|alerting| alerting.keep_firing_for_ms as f64 / 1000.0),
            labels: rule.labels(),
            annotations: alerting.map(|_| rule.annotations()),
            alerts,
            health: state.health,
            last_error: state.last_error.clone(),
            evaluation_time: state.evaluation_seconds,
            last_evaluation: rfc3339(state.last_evaluation),
            kind: if alerting.is_some() { "alerting" } else { "recording" },
            history: state.history.iter().cloned().collect(),
        }
    }
}

impl AlertSnapshot {
    pub(crate) fn of_group(group: &Group) -> Vec<Self> {
        group.state.lock().rules.iter().flat_map(live).collect()
    }

    fn of(alert: &ActiveAlert) -> Self {
        Self {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            state: alert.state,
            active_at: rfc3339(Some(alert.active_at)),
            keep_firing_since: alert.keep_firing_since.map(|at| rfc3339(Some(at))),
            value: template::gofmt::format_float(alert.value, 'e', None),
        }
    }
}

fn live(state: &RuleState) -> Vec<AlertSnapshot> {
    let sorted = state.active.sorted().into_iter();
    sorted.filter(|alert| alert.state != AlertState::Inactive).map(AlertSnapshot::of).collect()
}

/// RFC 3339 with as many decimals as are needed; Go's zero time when there is none.
pub(crate) fn rfc3339(at: Option<Timestamp>) -> String {
    match at.and_then(|at| jiff::Timestamp::from_millisecond(at.ms()).ok()) {
        Some(at) => at.to_string(),
        None => "0001-01-01T00:00:00Z".to_owned(),
    }
}
