//! What rule evaluation tells of itself.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A group's file and name. There are as many values as groups are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GroupLabels {
    /// `file;name`, as in Prometheus.
    pub rule_group: String,
}

type Float = Gauge<f64, AtomicU64>;

/// Metrics of the crate.
#[derive(Debug)]
pub struct Metrics {
    /// Evaluations of a group that were due.
    pub iterations: Family<GroupLabels, Counter>,
    /// Of these, evaluations that were left out because the one before took too long.
    pub iterations_missed: Family<GroupLabels, Counter>,
    /// Evaluations of rules.
    pub evaluations: Family<GroupLabels, Counter>,
    /// Of these, evaluations that failed.
    pub evaluation_failures: Family<GroupLabels, Counter>,
    /// Samples that rules of a group made and the storage refused.
    pub samples_rejected: Family<GroupLabels, Counter>,
    /// How long the last evaluation of a group took, in seconds.
    pub last_duration: Family<GroupLabels, Float>,
    /// When a group was last evaluated, in seconds since the epoch.
    pub last_evaluation: Family<GroupLabels, Float>,
    /// Samples that the last evaluation of a group made.
    pub last_samples: Family<GroupLabels, Gauge>,
    /// The interval of a group, in seconds.
    pub interval: Family<GroupLabels, Float>,
    /// Rules in a group.
    pub rules: Family<GroupLabels, Gauge>,
    /// Alerts that the alert manager took.
    pub alerts_sent: Counter,
    /// Alerts that the alert manager did not take; they are sent again with the next evaluation.
    pub alerts_unsent: Counter,
    /// Evaluations that ended in a panic: bugs.
    pub panics: Counter,
}

impl Metrics {
    /// Registers them all.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            iterations: Family::default(),
            iterations_missed: Family::default(),
            evaluations: Family::default(),
            evaluation_failures: Family::default(),
            samples_rejected: Family::default(),
            last_duration: Family::default(),
            last_evaluation: Family::default(),
            last_samples: Family::default(),
            interval: Family::default(),
            rules: Family::default(),
            alerts_sent: Counter::default(),
            alerts_unsent: Counter::default(),
            panics: Counter::default(),
        };
        let r = registry;
        r.register(
            "rules_group_iterations",
            "Evaluations of a group that were due",
            metrics.iterations.clone(),
        );
        r.register(
            "rules_group_iterations_missed",
            "Evaluations of a group left out because the one before took too long",
            metrics.iterations_missed.clone(),
        );
        r.register("rules_evaluations", "Evaluations of rules", metrics.evaluations.clone());
        r.register(
            "rules_evaluation_failures",
            "Evaluations of rules that failed",
            metrics.evaluation_failures.clone(),
        );
        r.register(
            "rules_samples_rejected",
            "Samples made by rules that the storage refused",
            metrics.samples_rejected.clone(),
        );
        r.register(
            "rules_group_last_duration_seconds",
            "How long the last evaluation of a group took",
            metrics.last_duration.clone(),
        );
        r.register(
            "rules_group_last_evaluation_timestamp_seconds",
            "When a group was last evaluated",
            metrics.last_evaluation.clone(),
        );
        r.register(
            "rules_group_last_samples",
            "Samples that the last evaluation of a group made",
            metrics.last_samples.clone(),
        );
        r.register("rules_group_interval_seconds", "The interval of a group", metrics.interval.clone());
        r.register("rules_group_rules", "Rules in a group", metrics.rules.clone());
        r.register("rules_alerts_sent", "Alerts that the alert manager took", metrics.alerts_sent.clone());
        r.register(
            "rules_alerts_unsent",
            "Alerts that the alert manager did not take and that are sent again",
            metrics.alerts_unsent.clone(),
        );
        r.register("rules_panics", "Evaluations that ended in a panic", metrics.panics.clone());
        metrics
    }

    /// Removes what is kept of a group that is no longer loaded.
    pub(crate) fn forget(&self, group: &GroupLabels) {
        for family in [
            &self.iterations,
            &self.iterations_missed,
            &self.evaluations,
            &self.evaluation_failures,
            &self.samples_rejected,
        ] {
            family.remove(group);
        }
        for family in [&self.last_duration, &self.last_evaluation, &self.interval] {
            family.remove(group);
        }
        for family in [&self.last_samples, &self.rules] {
            family.remove(group);
        }
    }
}
