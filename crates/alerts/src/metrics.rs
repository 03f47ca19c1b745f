//! Figures of the alert manager.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Which kind of receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct IntegrationLabel {
    /// `webhook`, `email` …
    pub integration: String,
}

/// Why something was refused or dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// In one word.
    pub reason: &'static str,
}

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// In one word.
    pub outcome: &'static str,
}

/// Figures of the alert manager; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Alerts taken in.
    pub received: Counter,
    /// Alerts refused: `invalid`, `max_alerts`.
    pub refused: Family<ReasonLabel, Counter>,
    /// Alerts held.
    pub alerts: Gauge,
    /// Groups held.
    pub groups: Gauge,
    /// Alerts that found no group because there are too many.
    pub group_limit: Counter,
    /// Silences held.
    pub silences: Gauge,
    /// Notification log entries held.
    pub nflog_entries: Gauge,
    /// Notifications begun.
    pub notifications: Family<IntegrationLabel, Counter>,
    /// Notifications given up.
    pub notifications_failed: Family<IntegrationLabel, Counter>,
    /// Attempts.
    pub attempts: Family<IntegrationLabel, Counter>,
    /// Attempts that failed.
    pub attempts_failed: Family<IntegrationLabel, Counter>,
    /// Alerts muted in a flush: `inhibited`, `silenced`, `time_interval`.
    pub suppressed: Family<ReasonLabel, Counter>,
    /// Notifications on their way.
    pub sending: Gauge,
    /// How long attempts take.
    pub attempt_duration: Histogram,
    /// Requests to the state store that failed; notifications go out all the same.
    pub state_failures: Counter,
    /// Events that the history dropped: `queue_full`, `disk`.
    pub history_dropped: Family<ReasonLabel, Counter>,
    /// Events that wait for the history.
    pub history_queue: Gauge,
    /// Heartbeats: `sent`, `failed`, `withheld`.
    pub heartbeats: Family<OutcomeLabel, Counter>,
    /// Alerts that are not stored as series because there are too many.
    pub series_left_out: Gauge,
    /// Whether the last configuration was good.
    pub config_good: Gauge,
}

impl Metrics {
    /// Registers them as `alerts_…`.
    pub fn new(registry: &mut Registry) -> Self {
        let this = Self::unregistered();
        registry.register("alerts_received", "Alerts taken in", this.received.clone());
        registry.register("alerts_refused", "Alerts refused, by reason", this.refused.clone());
        registry.register("alerts_held_alerts", "Alerts held", this.alerts.clone());
        registry.register("alerts_held_groups", "Groups held", this.groups.clone());
        registry.register(
            "alerts_group_limit_reached",
            "Alerts that found no group",
            this.group_limit.clone(),
        );
        registry.register("alerts_held_silences", "Silences held", this.silences.clone());
        registry.register(
            "alerts_nflog_entries",
            "Notification log entries held",
            this.nflog_entries.clone(),
        );
        registry.register("alerts_notifications", "Notifications begun", this.notifications.clone());
        registry.register(
            "alerts_notifications_failed",
            "Notifications given up",
            this.notifications_failed.clone(),
        );
        registry.register("alerts_notification_attempts", "Attempts to notify", this.attempts.clone());
        registry.register(
            "alerts_notification_attempts_failed",
            "Attempts to notify that failed",
            this.attempts_failed.clone(),
        );
        registry.register("alerts_suppressed", "Alerts muted in a flush, by reason", this.suppressed.clone());
        registry.register("alerts_sending", "Notifications on their way", this.sending.clone());
        registry.register_with_unit(
            "alerts_notification_attempt_duration",
            "How long attempts to notify take",
            Unit::Seconds,
            this.attempt_duration.clone(),
        );
        registry.register(
            "alerts_state_failures",
            "Requests to the state store that failed",
            this.state_failures.clone(),
        );
        registry.register(
            "alerts_history_dropped",
            "Events that the history dropped",
            this.history_dropped.clone(),
        );
        registry.register(
            "alerts_history_queue_length",
            "Events that wait for the history",
            this.history_queue.clone(),
        );
        registry.register("alerts_heartbeats", "Heartbeats, by outcome", this.heartbeats.clone());
        registry.register(
            "alerts_series_left_out",
            "Alerts that are not stored as series",
            this.series_left_out.clone(),
        );
        registry.register(
            "alerts_config_last_reload_successful",
            "Whether the last configuration was good",
            this.config_good.clone(),
        );
        this
    }

    /// Figures that nobody reads, for tools and tests.
    pub fn unregistered() -> Self {
        Self {
            received: Counter::default(),
            refused: Family::default(),
            alerts: Gauge::default(),
            groups: Gauge::default(),
            group_limit: Counter::default(),
            silences: Gauge::default(),
            nflog_entries: Gauge::default(),
            notifications: Family::default(),
            notifications_failed: Family::default(),
            attempts: Family::default(),
            attempts_failed: Family::default(),
            suppressed: Family::default(),
            sending: Gauge::default(),
            attempt_duration: Histogram::new([0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 60.0]),
            state_failures: Counter::default(),
            history_dropped: Family::default(),
            history_queue: Gauge::default(),
            heartbeats: Family::default(),
            series_left_out: Gauge::default(),
            config_good: Gauge::default(),
        }
    }
}
