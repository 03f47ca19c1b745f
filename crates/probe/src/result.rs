//! The series of one probe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Family, Labels, Metadata, MetricType};
use tokio::time::Instant;

use crate::resolve::Reach;

/// One family: help, and values by their labels.
#[derive(Clone, Debug, Default)]
struct Gauge {
    help: &'static str,
    values: BTreeMap<Vec<(String, String)>, f64>,
}

/// What is still to be said when the time is over: a prober that waits for an answer sets it.
pub(crate) type OnTimeout = fn(&mut Outcome, f64);

/// What a probe has found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    gauges: BTreeMap<&'static str, Gauge>,
    /// Whether it succeeded.
    pub success: bool,
    /// What went wrong, for a person.
    pub failure: Option<String>,
    /// What happened, for `debug=true`.
    pub log: Vec<String>,
    /// Which addresses may be reached.
    pub(crate) reach: Arc<Reach>,
    waiting: Option<(Instant, OnTimeout)>,
}

fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    labels.sort();
    labels
}

impl Outcome {
    pub(crate) fn new(reach: Arc<Reach>) -> Self {
        Self { reach, ..Self::default() }
    }

    /// Sets a series without labels.
    pub(crate) fn set(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.with(name, help, &[], value);
    }

    /// Sets a series.
    pub(crate) fn with(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let gauge = self.gauges.entry(name).or_default();
        gauge.help = help;
        gauge.values.insert(owned(labels), value);
    }

    /// Adds to a series; one that is not set begins at 0.
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let gauge = self.gauges.entry(name).or_default();
        gauge.help = help;
        *gauge.values.entry(owned(labels)).or_default() += value;
    }

    /// The value of a series; labels in any order.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.gauges.get(name)?.values.get(&owned(labels)).copied()
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.log.push(text.into());
    }

    /// From now on an answer is waited for; when it does not come in time, `then` gets the seconds that were waited.
    pub(crate) fn wait(&mut self, then: OnTimeout) {
        self.waiting = Some((Instant::now(), then));
    }

    pub(crate) fn waited(&mut self) {
        self.waiting = None;
    }

    pub(crate) fn timed_out(&mut self) {
        if let Some((since, then)) = self.waiting.take() {
            then(self, since.elapsed().as_secs_f64());
        }
    }

    pub(crate) fn finish(&mut self, result: Result<(), String>, took: Duration) {
        self.success = result.is_ok();
        self.failure = result.err();
        let success = f64::from(u8::from(self.success));
        self.set("probe_success", "Displays whether or not the probe was a success", success);
        self.set(
            "probe_duration_seconds",
            "Returns how long the probe took to complete in seconds",
            took.as_secs_f64(),
        );
    }

    /// The series, by name.
    pub fn families(&self) -> Vec<Family> {
        let family = |(name, gauge): (&&'static str, &Gauge)| Family {
            name: (*name).to_owned(),
            metadata: Metadata { kind: MetricType::Gauge, help: gauge.help.into(), unit: String::new() },
            samples: gauge
                .values
                .iter()
                .map(|(labels, value)| (Labels::from_pairs(labels.iter().map(|(n, v)| (n, v))), *value))
                .collect(),
        };
        self.gauges.iter().map(family).collect()
    }
}
