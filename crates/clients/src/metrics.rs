//! What the collector measures of itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::guard::Throttled;
use crate::report::Refused;

/// The label of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// Why.
    pub reason: &'static str,
}

/// The label of an upload's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Code {
    /// HTTP status.
    pub code: u16,
}

/// Metrics of the collector.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Reports that were counted.
    pub accepted: Counter,
    /// Reports that were not.
    pub refused: Family<Reason, Counter>,
    /// Uploads by status.
    pub uploads: Family<Code, Counter>,
    /// Preflight requests.
    pub preflights: Counter,
    /// Uploads refused because a rate was passed.
    pub throttled: Family<Reason, Counter>,
    /// Reports whose details were folded away.
    pub folded: Counter,
    /// Cells in memory.
    pub cells: Gauge,
    /// Clients and reports remembered.
    pub remembered: Gauge,
    /// Cohorts that did not get series.
    pub cohorts_dropped: Counter,
    /// Roll-ups sent.
    pub pushed: Counter,
    /// Roll-ups that could not be sent at once.
    pub push_failures: Counter,
    /// Bytes that wait for the upper collector.
    pub spool_bytes: Gauge,
    /// Reports lost because the spool was full.
    pub spool_lost: Counter,
    /// Roll-ups received.
    pub received: Counter,
    /// Bytes of kept reports.
    pub kept_bytes: Gauge,
    /// Writes of kept reports that failed.
    pub keep_failures: Counter,
    /// Whether the databases of places are readable.
    pub geo_failures: Counter,
    /// Incidents that are open.
    pub incidents: Gauge,
    /// Findings that wait for a second network or another witness.
    pub waiting: Gauge,
    /// Questions to other witnesses that failed.
    pub check_failures: Counter,
    /// Connections for uploads.
    pub connections: Gauge,
}

impl Metrics {
    /// Registers them; every reason starts at 0.
    pub fn new(registry: &mut Registry) -> Self {
        let this = Self::default();
        for reason in Refused::ALL {
            drop(this.refused.get_or_create(&Reason { reason: reason.as_str() }));
        }
        for bound in Throttled::ALL {
            drop(this.throttled.get_or_create(&Reason { reason: bound.as_str() }));
        }
        registry.register("collector_reports", "Client-side reports counted", this.accepted.clone());
        registry.register(
            "collector_reports_refused",
            "Client-side reports not counted, by reason",
            this.refused.clone(),
        );
        registry.register("collector_uploads", "Uploads by status", this.uploads.clone());
        registry.register("collector_preflights", "Preflight requests answered", this.preflights.clone());
        registry.register(
            "collector_uploads_throttled",
            "Uploads refused because a rate was passed, by whose rate",
            this.throttled.clone(),
        );
        registry.register(
            "collector_reports_folded",
            "Reports whose details were folded away because collector.limits.cells is reached",
            this.folded.clone(),
        );
        registry.register(
            "collector_cells",
            "Combinations of cohorts in memory; bounded by collector.limits.cells",
            this.cells.clone(),
        );
        registry.register(
            "collector_remembered",
            "Clients and reports remembered to count each once; bounded by collector.limits.remembered",
            this.remembered.clone(),
        );
        registry.register(
            "collector_cohorts_dropped",
            "Additions to cohorts without series because collector.limits.cohorts is reached",
            this.cohorts_dropped.clone(),
        );
        registry.register(
            "collector_rollups_sent",
            "Roll-ups that the upper collector has taken",
            this.pushed.clone(),
        );
        registry.register(
            "collector_rollup_failures",
            "Attempts to send a roll-up that failed; it is sent again",
            this.push_failures.clone(),
        );
        registry.register(
            "collector_spool_bytes",
            "Roll-ups that wait for the upper collector, in bytes; bounded by collector.push.spool_bytes",
            this.spool_bytes.clone(),
        );
        registry.register(
            "collector_spool_lost_reports",
            "Reports lost because the spool was full",
            this.spool_lost.clone(),
        );
        registry.register(
            "collector_rollups_received",
            "Roll-ups received from other collectors",
            this.received.clone(),
        );
        registry.register(
            "collector_kept_bytes",
            "Sanitized reports on disk, in bytes; bounded by collector.keep_reports_bytes",
            this.kept_bytes.clone(),
        );
        registry.register(
            "collector_keep_failures",
            "Writes of sanitized reports that failed; the upload was not acknowledged",
            this.keep_failures.clone(),
        );
        registry.register(
            "collector_geo_failures",
            "Databases of places that could not be read again; the old one stays in use",
            this.geo_failures.clone(),
        );
        registry.register("collector_incidents", "Incidents that are open", this.incidents.clone());
        registry.register(
            "collector_findings_waiting",
            "Findings that may be made up and wait for a second network or another witness",
            this.waiting.clone(),
        );
        registry.register(
            "collector_check_failures",
            "Queries of collector.sites[].checks that failed",
            this.check_failures.clone(),
        );
        registry.register(
            "collector_connections",
            "Connections for uploads; bounded by collector.max_connections",
            this.connections.clone(),
        );
        this
    }
}
