//! What scraping tells about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Metrics of all scrapes.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Scrapes that went well.
    pub scrapes: Counter,
    /// Scrapes that failed, for any reason.
    pub failures: Counter,
    /// Failed scrapes that could not be written to `scrape_failure_log_file`.
    pub failure_log_errors: Counter,
    /// Samples handed to storage, staleness markers and `up` included.
    pub samples: Counter,
    /// Samples that storage refused.
    pub rejected: Counter,
    /// Samples of a series and time that a body had twice.
    pub duplicates: Counter,
    /// Bytes of bodies, decompressed.
    pub body: Counter,
    /// Targets that are scraped.
    pub targets: Gauge,
    /// Series that are remembered for staleness and look-up.
    pub series: Gauge,
    /// Failures of discovery mechanisms.
    pub discovery_failures: Counter,
    /// How much later than planned scrapes started.
    pub lateness: Histogram,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let this = Self {
            scrapes: Counter::default(),
            failures: Counter::default(),
            failure_log_errors: Counter::default(),
            samples: Counter::default(),
            rejected: Counter::default(),
            duplicates: Counter::default(),
            body: Counter::default(),
            targets: Gauge::default(),
            series: Gauge::default(),
            discovery_failures: Counter::default(),
            lateness: Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0]),
        };
        registry.register("sources_scrapes", "Scrapes that went well", this.scrapes.clone());
        registry.register("sources_scrape_failures", "Scrapes that failed", this.failures.clone());
        registry.register(
            "sources_scrape_failure_log_errors",
            "Failed scrapes that could not be written to scrape_failure_log_file",
            this.failure_log_errors.clone(),
        );
        registry.register("sources_scrape_samples", "Samples handed to storage", this.samples.clone());
        registry.register(
            "sources_scrape_rejected_samples",
            "Samples refused by storage",
            this.rejected.clone(),
        );
        registry.register(
            "sources_scrape_duplicate_samples",
            "Samples of a series and time that a body had twice",
            this.duplicates.clone(),
        );
        registry.register_with_unit(
            "sources_scrape_body",
            "Bodies of targets, decompressed",
            Unit::Bytes,
            this.body.clone(),
        );
        registry.register(
            "sources_discovery_failures",
            "Failures of service discovery, which leaves what it found before in place",
            this.discovery_failures.clone(),
        );
        registry.register("sources_targets", "Targets that are scraped", this.targets.clone());
        registry.register("sources_scrape_series", "Series remembered for targets", this.series.clone());
        registry.register_with_unit(
            "sources_scrape_lateness",
            "How much later than planned scrapes started",
            Unit::Seconds,
            this.lateness.clone(),
        );
        this
    }
}
