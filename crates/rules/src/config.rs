//! Settings of rule evaluation.

use model::Labels;
use model::duration::PromDuration;
use model::relabel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rule evaluation. The interval, the query offset and the external labels are Prometheus' `global` settings.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// An alert whose state was last written longer ago than this starts anew after a restart.
    pub for_outage_tolerance: PromDuration,
    /// After a restart an alert that was pending waits at least this long before it fires.
    pub for_grace_period: PromDuration,
    /// How long to wait before an alert that goes on firing is sent again.
    pub resend_delay: PromDuration,
    /// How long the alert manager may take to accept alerts before they are sent again with the next evaluation.
    pub notify_timeout: PromDuration,
    /// Evaluations of each rule that are remembered, to explain why an alert fired or did not.
    pub history: usize,
    /// Series of each remembered evaluation.
    pub history_series: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            for_outage_tolerance: PromDuration(3_600_000),
            for_grace_period: PromDuration(600_000),
            resend_delay: PromDuration(60_000),
            notify_timeout: PromDuration(10_000),
            history: 20,
            history_series: 5,
        }
    }
}

/// What rules take from the rest of the configuration; changes with a reload.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Interval of groups that set none, in milliseconds.
    pub interval_ms: i64,
    /// Query offset of groups that set none, in milliseconds.
    pub query_offset_ms: i64,
    /// Added to alerts, and visible to templates.
    pub external_labels: Labels,
    /// Where people reach this server, without a slash at the end.
    pub external_url: String,
    /// `alerting.alert_relabel_configs`
    pub alert_relabel: Vec<relabel::Rule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval_ms: 60_000,
            query_offset_ms: 0,
            external_labels: Labels::empty(),
            external_url: String::new(),
            alert_relabel: Vec::new(),
        }
    }
}
