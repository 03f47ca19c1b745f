//! Figures of the state store.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Figures of the state store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Commits, each with one sync of the disk.
    pub commits: Counter,
    /// Keys written or deleted.
    pub writes: Counter,
    /// Commits that failed; nothing of them was stored.
    pub commit_failures: Counter,
    /// Requests refused because the queue was full.
    pub refused: Counter,
    /// Requests that wait for the writer.
    pub queue_length: Gauge,
    /// How long commits take.
    pub commit_duration: Histogram,
}

impl Metrics {
    /// Registers them as `state_…`.
    pub fn new(registry: &mut Registry) -> Self {
        let this = Self::unregistered();
        registry.register(
            "state_commits",
            "Commits of the state file, each with one sync",
            this.commits.clone(),
        );
        registry.register("state_writes", "Keys written or deleted in the state file", this.writes.clone());
        registry.register(
            "state_commit_failures",
            "Commits of the state file that failed",
            this.commit_failures.clone(),
        );
        registry.register(
            "state_refused_requests",
            "Requests refused because the queue of the state store was full",
            this.refused.clone(),
        );
        registry.register(
            "state_queue_length",
            "Requests that wait for the writer of the state store",
            this.queue_length.clone(),
        );
        registry.register_with_unit(
            "state_commit_duration",
            "How long commits of the state file take",
            Unit::Seconds,
            this.commit_duration.clone(),
        );
        this
    }

    /// Figures that nobody reads, for tools and tests.
    pub fn unregistered() -> Self {
        Self {
            commits: Counter::default(),
            writes: Counter::default(),
            commit_failures: Counter::default(),
            refused: Counter::default(),
            queue_length: Gauge::default(),
            commit_duration: Histogram::new([
                0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
            ]),
        }
    }
}
