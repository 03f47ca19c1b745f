//! What reading logs tells about itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Of every metric: the job, of which there are as many as are configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Job {
    /// Its name.
    pub job: String,
}

/// Metrics of all jobs.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Entries that were read.
    pub entries: Family<Job, Counter>,
    /// Bytes that were read.
    pub bytes: Family<Job, Counter>,
    /// Entries that are not what the format says.
    pub unmatched: Family<Job, Counter>,
    /// Fields that should be numbers and are not.
    pub not_numbers: Family<Job, Counter>,
    /// Contributions left out because the job has `max_series` label sets.
    pub refused: Family<Job, Counter>,
    /// Datagrams and connections that were not taken.
    pub dropped: Family<Job, Counter>,
    /// Failures of an input.
    pub failures: Family<Job, Counter>,
    /// Label sets that are kept.
    pub series: Family<Job, Gauge>,
    /// Files that are followed.
    pub files: Family<Job, Gauge>,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register("sources_log_entries", "Log entries that were read", this.entries.clone());
        registry.register_with_unit(
            "sources_log_read",
            "Logs that were read",
            Unit::Bytes,
            this.bytes.clone(),
        );
        registry.register(
            "sources_log_unmatched_entries",
            "Log entries that are not what the format says",
            this.unmatched.clone(),
        );
        registry.register(
            "sources_log_not_numbers",
            "Fields of log entries that should be numbers and are not",
            this.not_numbers.clone(),
        );
        registry.register(
            "sources_log_refused_series",
            "Contributions left out because the job has max_series label sets",
            this.refused.clone(),
        );
        registry.register(
            "sources_log_dropped",
            "Datagrams and connections that were not taken because others were being worked on",
            this.dropped.clone(),
        );
        registry.register("sources_log_failures", "Failures of a log input", this.failures.clone());
        registry.register("sources_log_series", "Label sets counted from logs", this.series.clone());
        registry.register("sources_log_files", "Files that are followed", this.files.clone());
        this
    }
}
