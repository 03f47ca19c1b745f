//! What the gate and the receivers count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Batch, RejectReason};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use wire::gather::Refused;

use crate::push::Stored;

/// The label of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// [`RejectReason::as_str`].
    pub reason: &'static str,
}

/// The label of samples that are not forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Dropped {
    /// `spool_full_oldest`, `spool_full_newest`, `refused`, `too_old`, `corrupt`, `spool_error`, `unknown_series`.
    pub reason: &'static str,
}

impl Dropped {
    pub(crate) fn because(reason: &'static str) -> Self {
        Self { reason }
    }
}

/// The label of a server that samples are sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct To {
    /// The name in `remote_write`.
    pub destination: String,
}

/// The labels of a quarantine. Their number is bounded by `ingest.cardinality.max_quarantines`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QuarantineLabels {
    /// Whose metric.
    pub tenant: String,
    /// The metric.
    pub metric: String,
    /// The label.
    pub label: String,
}

/// The labels of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Protocol {
    /// `otlp`, `influx`, `graphite` …
    pub protocol: &'static str,
    /// `stored`, `partial`, `later` (429 or 503), `failed` or `unreadable`; empty where it says nothing.
    pub outcome: &'static str,
}

impl Protocol {
    pub(crate) fn with(protocol: &'static str, outcome: &'static str) -> Self {
        Self { protocol, outcome }
    }
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
    /// Times that a metric's type was not remembered for want of room.
    pub untyped: Counter,
    /// Batches refused because the tenant sends too fast.
    pub throttled: Counter,
    /// Help texts and units that were cut.
    pub cut: Counter,
    /// Remote write requests that were stored wholly.
    pub remote_write_requests: Counter,
    /// Remote write requests that were refused wholly or in part.
    pub remote_write_failures: Counter,
    /// Series that remote write recognises without reading their labels.
    pub known_series: Gauge,
    /// Pushed requests and messages, by outcome.
    pub push_requests: Family<Protocol, Counter>,
    /// Samples that were pushed.
    pub push_samples: Family<Protocol, Counter>,
    /// Pushed samples that a receiver could not read.
    pub push_refused: Family<Protocol, Counter>,
    /// Pushed things that are no metrics: texts, events.
    pub push_ignored: Family<Protocol, Counter>,
    /// Open connections of the receivers that do not speak HTTP.
    pub push_connections: Family<Protocol, Gauge>,
    /// Series whose deltas are added up.
    pub delta_series: Gauge,
    /// Deltas refused because there are too many series.
    pub delta_refused: Counter,
    /// Series that StatsD's receiver aggregates.
    pub statsd_series: Gauge,
    /// Groups that were pushed to.
    pub pushgateway_groups: Gauge,
    /// Groups that have expired.
    pub pushgateway_expired: Counter,
    /// Samples written to the spool.
    pub forward_spooled: Counter,
    /// Samples that are not forwarded.
    pub forward_dropped: Family<Dropped, Counter>,
    /// Samples that a destination has taken.
    pub forward_sent: Family<To, Counter>,
    /// Requests that are sent again.
    pub forward_retries: Family<To, Counter>,
    /// Samples that a destination has not taken yet.
    pub forward_pending: Family<To, Gauge>,
    /// Requests at once.
    pub forward_shards: Family<To, Gauge>,
    /// How old the newest sample was when its destination took it.
    pub forward_lag_ms: Family<To, Gauge>,
    /// Bytes of the spool.
    pub forward_spool_bytes: Gauge,
    /// Its bound.
    pub forward_spool_max_bytes: Gauge,
    /// Labels in quarantine.
    pub quarantined: Gauge,
    /// 1 for each of them.
    pub quarantine_info: Family<QuarantineLabels, Gauge>,
    /// Exploding labels beyond the bound of quarantines.
    pub quarantine_overflow: Counter,
    warned: Arc<Mutex<HashMap<&'static str, Instant>>>,
}

/// Between two warnings about one protocol's senders.
const WARN_EVERY: Duration = Duration::from_secs(10);

impl Metrics {
    /// Registers them; every reason starts at 0.
    pub fn new(registry: &mut Registry) -> Self {
        let this = Self {
            samples: Counter::default(),
            rejected: Family::default(),
            dropped: Counter::default(),
            untyped: Counter::default(),
            throttled: Counter::default(),
            cut: Counter::default(),
            remote_write_requests: Counter::default(),
            remote_write_failures: Counter::default(),
            known_series: Gauge::default(),
            push_requests: Family::default(),
            push_samples: Family::default(),
            push_refused: Family::default(),
            push_ignored: Family::default(),
            push_connections: Family::default(),
            delta_series: Gauge::default(),
            delta_refused: Counter::default(),
            statsd_series: Gauge::default(),
            pushgateway_groups: Gauge::default(),
            pushgateway_expired: Counter::default(),
            forward_spooled: Counter::default(),
            forward_dropped: Family::default(),
            forward_sent: Family::default(),
            forward_retries: Family::default(),
            forward_pending: Family::default(),
            forward_shards: Family::default(),
            forward_lag_ms: Family::default(),
            forward_spool_bytes: Gauge::default(),
            forward_spool_max_bytes: Gauge::default(),
            quarantined: Gauge::default(),
            quarantine_info: Family::default(),
            quarantine_overflow: Counter::default(),
            warned: Arc::default(),
        };
        for reason in RejectReason::ALL {
            drop(this.rejected.get_or_create(&Reason { reason: reason.as_str() }));
        }
        registry.register("ingest_samples", "Samples that came to the gate", this.samples.clone());
        registry.register("ingest_rejected_samples", "Samples that the gate refused", this.rejected.clone());
        registry.register(
            "ingest_untyped_metrics",
            "Times that a metric's type and unit were not remembered because ingest.max_typed_metrics are known",
            this.untyped.clone(),
        );
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
        registry.register(
            "ingest_known_series",
            "Series that remote write recognises without reading their labels",
            this.known_series.clone(),
        );
        registry.register(
            "ingest_push_requests",
            "Pushed requests and messages, by protocol and outcome",
            this.push_requests.clone(),
        );
        registry.register(
            "ingest_push_samples",
            "Samples that were pushed, by protocol",
            this.push_samples.clone(),
        );
        registry.register(
            "ingest_push_refused_samples",
            "Pushed samples that a receiver could not read, by protocol",
            this.push_refused.clone(),
        );
        registry.register(
            "ingest_push_ignored",
            "Pushed things that are no metrics (texts, events), by protocol",
            this.push_ignored.clone(),
        );
        registry.register(
            "ingest_push_connections",
            "Open connections of the receivers that do not speak HTTP",
            this.push_connections.clone(),
        );
        registry.register(
            "ingest_delta_series",
            "Series whose deltas are added up (ingest.deltas.max_series)",
            this.delta_series.clone(),
        );
        registry.register(
            "ingest_delta_refused_samples",
            "Deltas refused because there are too many series",
            this.delta_refused.clone(),
        );
        registry.register(
            "ingest_statsd_series",
            "Series that StatsD's receiver aggregates (ingest.statsd.max_series)",
            this.statsd_series.clone(),
        );
        registry.register(
            "ingest_pushgateway_groups",
            "Groups that were pushed to (ingest.pushgateway.max_groups)",
            this.pushgateway_groups.clone(),
        );
        registry.register(
            "ingest_pushgateway_expired_groups",
            "Groups that have expired (ingest.pushgateway.expiry)",
            this.pushgateway_expired.clone(),
        );
        this.register_forward(registry);
        this
    }

    fn register_forward(&self, registry: &mut Registry) {
        registry.register(
            "ingest_quarantined_labels",
            "Labels in quarantine because they exploded",
            self.quarantined.clone(),
        );
        registry.register(
            "ingest_quarantine",
            "1 for each label in quarantine, by metric and label",
            self.quarantine_info.clone(),
        );
        registry.register(
            "ingest_quarantine_overflow",
            "Times that an exploding label found ingest.cardinality.max_quarantines reached",
            self.quarantine_overflow.clone(),
        );
        for reason in
            ["spool_full_oldest", "spool_full_newest", "refused", "too_old", "corrupt", "spool_error"]
        {
            drop(self.forward_dropped.get_or_create(&Dropped::because(reason)));
        }
        registry.register(
            "ingest_forward_spooled_samples",
            "Samples written to the spool of remote write out",
            self.forward_spooled.clone(),
        );
        registry.register(
            "ingest_forward_dropped_samples",
            "Samples that are not forwarded, by reason",
            self.forward_dropped.clone(),
        );
        registry.register(
            "ingest_forward_sent_samples",
            "Samples that a destination has taken",
            self.forward_sent.clone(),
        );
        registry.register(
            "ingest_forward_retries",
            "Requests that were sent again, by destination",
            self.forward_retries.clone(),
        );
        registry.register(
            "ingest_forward_pending_samples",
            "Samples in the spool that a destination has not taken yet",
            self.forward_pending.clone(),
        );
        registry.register(
            "ingest_forward_shards",
            "Requests to a destination at once",
            self.forward_shards.clone(),
        );
        registry.register(
            "ingest_forward_lag_milliseconds",
            "Age of the newest sample of the last request when its destination took it",
            self.forward_lag_ms.clone(),
        );
        registry.register(
            "ingest_forward_spool_bytes",
            "Bytes of the spool on disk",
            self.forward_spool_bytes.clone(),
        );
        registry.register(
            "ingest_forward_spool_max_bytes",
            "Bound of the spool (ingest.forward.spool_max_bytes)",
            self.forward_spool_max_bytes.clone(),
        );
    }

    /// Counts a request that could be read.
    pub(crate) fn pushed(&self, protocol: &'static str, batch: &Batch, refused: &Refused, stored: &Stored) {
        let outcome = match stored {
            Stored::Done { rejected: 0, .. } if refused.count == 0 => "stored",
            Stored::Done { .. } => "partial",
            Stored::Later { .. } => "later",
            Stored::Failed { .. } => "failed",
        };
        self.push_requests.get_or_create(&Protocol::with(protocol, outcome)).inc();
        let of = Protocol::with(protocol, "");
        self.push_samples.get_or_create(&of).inc_by(batch.sample_count() as u64);
        self.push_refused.get_or_create(&of).inc_by(refused.count as u64);
        self.push_ignored.get_or_create(&of).inc_by(refused.ignored as u64);
    }

    /// Logs what is wrong with what a protocol's senders send; not more often than one can read.
    pub(crate) fn warn(&self, protocol: &'static str, reason: &str) {
        let now = Instant::now();
        let mut warned = self.warned.lock();
        let quiet = warned.get(protocol).is_some_and(|last| now.duration_since(*last) < WARN_EVERY);
        if !quiet {
            warned.insert(protocol, now);
            tracing::warn!(protocol, %reason, "something that was pushed cannot be taken; further cases are only counted");
        }
    }
}
