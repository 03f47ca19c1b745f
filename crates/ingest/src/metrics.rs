//! What the gate and the receivers count.

use model::RejectReason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The label of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// [`RejectReason::as_str`].
    pub reason: &'static str,
}

/// Metrics of the gate and the receivers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Samples that came to the gate.
    pub samples: Counter,
    /// Samples that the gate refused.
    pub rejected: Family<Reason, Counter>,
    /// Samples that relabelling dropped.
    pub dropped: Counter,
    /// Batches refused because the tenant sends too fast.
    pub throttled: Counter,
    /// Help texts and units that were cut.
    pub cut: Counter,
    /// Remote write requests that were stored wholly.
    pub remote_write_requests: Counter,
    /// Remote write requests that were refused wholly or in part.
    pub remote_write_failures: Counter,
}

impl Metrics {
    /// Registers them; every reason starts at 0.
    pub fn new(registry: &mut Registry) -> Self {
        let this = Self {
            samples: Counter::default(),
            rejected: Family::default(),
            dropped: Counter::default(),
            throttled: Counter::default(),
            cut: Counter::default(),
            remote_write_requests: Counter::default(),
            remote_write_failures: Counter::default(),
        };
        for reason in RejectReason::ALL {
            drop(this.rejected.get_or_create(&Reason { reason: reason.as_str() }));
        }
        registry.register("ingest_samples", "Samples that came to the gate", this.samples.clone());
        registry.register("ingest_rejected_samples", "Samples that the gate refused", this.rejected.clone());
        registry.register("ingest_dropped_samples", "Samples that relabelling dropped", this.dropped.clone());
        registry.register(
            "ingest_throttled_batches",
            "Batches refused because the tenant sends too fast",
            this.throttled.clone(),
        );
        registry.register("ingest_cut_metadata", "Help texts and units that were cut", this.cut.clone());
        registry.register(
            "ingest_remote_write_requests",
            "Remote write requests stored wholly",
            this.remote_write_requests.clone(),
        );
        registry.register(
            "ingest_remote_write_failures",
            "Remote write requests refused wholly or in part",
            this.remote_write_failures.clone(),
        );
        this
    }
}
