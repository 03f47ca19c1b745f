//! What storage counts about itself.

use model::RejectReason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Whose samples.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TenantLabels {
    /// The tenant.
    pub tenant: String,
}

/// Whose samples, and why they were refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RejectLabels {
    /// The tenant.
    pub tenant: String,
    /// [`RejectReason::as_str`].
    pub reason: String,
}

/// Which kind of memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabels {
    /// `index`, `groups`, `rows`, `exemplars`.
    pub kind: String,
}

/// What storage counts about itself. Cheap to clone: clones share the numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Samples stored, exact duplicates included, by tenant.
    pub appended: Family<TenantLabels, Counter>,
    /// Samples refused, by tenant and reason.
    pub rejected: Family<RejectLabels, Counter>,
    /// Samples stored that were older than the newest of their series, by tenant.
    pub out_of_order: Family<TenantLabels, Counter>,
    /// Series in the head, by tenant.
    pub head_series: Family<TenantLabels, Gauge>,
    /// Series created in the head, by tenant.
    pub series_created: Family<TenantLabels, Counter>,
    /// Series dropped from the head, by tenant.
    pub series_removed: Family<TenantLabels, Counter>,
    /// Appends refused because the disk refused or was too slow.
    pub appends_unavailable: Counter,
    /// Bytes written to write-ahead logs.
    pub wal_written_bytes: Counter,
    /// Seconds a commit to the write-ahead log took, sync included.
    pub wal_commit_seconds: Histogram,
    /// Writes to a write-ahead log that failed.
    pub wal_failures: Counter,
    /// Bytes that wait to be written to write-ahead logs, as of the last commit.
    pub wal_queue_bytes: Gauge,
    /// Bytes cut off the torn ends of logs at recovery.
    pub wal_torn_bytes: Counter,
    /// Files that were found damaged and moved aside.
    pub quarantined_files: Counter,
    /// Samples that recovery read back from write-ahead logs.
    pub replayed_samples: Counter,
    /// Sealed files written.
    pub seals: Counter,
    /// Times that short sealed files became one long one.
    pub sealed_merges: Counter,
    /// Blocks cut from the head.
    pub blocks_cut: Counter,
    /// Days of a down-sampled tier made.
    pub tiers_made: Counter,
    /// Blocks deleted by retention.
    pub blocks_deleted: Counter,
    /// Blocks on disk.
    pub blocks: Gauge,
    /// Bytes of blocks on disk.
    pub blocks_bytes: Gauge,
    /// Blocks sent to the object store.
    pub bucket_blocks_sent: Counter,
    /// Bytes of blocks sent to the object store.
    pub bucket_sent_bytes: Counter,
    /// Copies deleted from the object store.
    pub bucket_blocks_deleted: Counter,
    /// Work with the object store that failed and will be tried again.
    pub bucket_failures: Counter,
    /// Copies in the object store whose meta file cannot be read.
    pub bucket_damaged: Gauge,
    /// Copies in the object store.
    pub bucket_blocks: Gauge,
    /// Bytes of the copies in the object store.
    pub bucket_blocks_bytes: Gauge,
    /// Blocks that are to be sent to the object store.
    pub bucket_waiting: Gauge,
    /// Pages of the object store's blocks that were in the cache.
    pub bucket_cache_hits: Counter,
    /// Pages that were not.
    pub bucket_cache_misses: Counter,
    /// Bytes read back from the object store's blocks.
    pub bucket_fetched_bytes: Counter,
    /// Bytes of the cache on disk.
    pub bucket_cache_bytes: Gauge,
    /// Background work that failed and will be tried again.
    pub maintenance_failures: Counter,
    /// Memory of the head by kind, in bytes, as of the last maintenance.
    pub head_memory_bytes: Family<KindLabels, Gauge>,
}

impl Metrics {
    /// Registers every metric as `tsdb_…`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            appended: Family::default(),
            rejected: Family::default(),
            out_of_order: Family::default(),
            head_series: Family::default(),
            series_created: Family::default(),
            series_removed: Family::default(),
            appends_unavailable: Counter::default(),
            wal_written_bytes: Counter::default(),
            wal_commit_seconds: Histogram::new([
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
            ]),
            wal_failures: Counter::default(),
            wal_queue_bytes: Gauge::default(),
            wal_torn_bytes: Counter::default(),
            quarantined_files: Counter::default(),
            replayed_samples: Counter::default(),
            seals: Counter::default(),
            sealed_merges: Counter::default(),
            blocks_cut: Counter::default(),
            tiers_made: Counter::default(),
            blocks_deleted: Counter::default(),
            blocks: Gauge::default(),
            blocks_bytes: Gauge::default(),
            bucket_blocks_sent: Counter::default(),
            bucket_sent_bytes: Counter::default(),
            bucket_blocks_deleted: Counter::default(),
            bucket_failures: Counter::default(),
            bucket_damaged: Gauge::default(),
            bucket_blocks: Gauge::default(),
            bucket_blocks_bytes: Gauge::default(),
            bucket_waiting: Gauge::default(),
            bucket_cache_hits: Counter::default(),
            bucket_cache_misses: Counter::default(),
            bucket_fetched_bytes: Counter::default(),
            bucket_cache_bytes: Gauge::default(),
            maintenance_failures: Counter::default(),
            head_memory_bytes: Family::default(),
        };
        let m = metrics.clone();
        let r = registry;
        r.register("tsdb_samples_appended", "Samples stored, by tenant", m.appended);
        r.register("tsdb_samples_rejected", "Samples refused, by tenant and reason", m.rejected);
        r.register("tsdb_samples_out_of_order", "Samples stored out of order, by tenant", m.out_of_order);
        r.register("tsdb_head_series", "Series in the head, by tenant", m.head_series);
        r.register("tsdb_head_series_created", "Series created in the head, by tenant", m.series_created);
        r.register("tsdb_head_series_removed", "Series dropped from the head, by tenant", m.series_removed);
        r.register(
            "tsdb_appends_unavailable",
            "Appends refused because the disk refused or was too slow",
            m.appends_unavailable,
        );
        r.register_with_unit(
            "tsdb_wal_written",
            "Written to write-ahead logs",
            Unit::Bytes,
            m.wal_written_bytes,
        );
        r.register_with_unit(
            "tsdb_wal_commit",
            "Duration of a commit, sync included",
            Unit::Seconds,
            m.wal_commit_seconds,
        );
        r.register("tsdb_wal_failures", "Writes to a write-ahead log that failed", m.wal_failures);
        r.register_with_unit(
            "tsdb_wal_queue",
            "Waiting to be written to write-ahead logs",
            Unit::Bytes,
            m.wal_queue_bytes,
        );
        r.register_with_unit(
            "tsdb_wal_torn",
            "Cut off the torn ends of logs at recovery",
            Unit::Bytes,
            m.wal_torn_bytes,
        );
        r.register("tsdb_quarantined_files", "Damaged files that were moved aside", m.quarantined_files);
        r.register("tsdb_replayed_samples", "Samples read back from logs at recovery", m.replayed_samples);
        r.register("tsdb_seals", "Sealed files written", m.seals);
        r.register("tsdb_sealed_merges", "Times that short sealed files became one", m.sealed_merges);
        r.register("tsdb_blocks_cut", "Blocks cut from the head", m.blocks_cut);
        r.register("tsdb_tiers_made", "Days of a down-sampled tier made", m.tiers_made);
        r.register("tsdb_blocks_deleted", "Blocks deleted by retention", m.blocks_deleted);
        r.register("tsdb_blocks", "Blocks on disk", m.blocks);
        r.register_with_unit("tsdb_blocks_size", "Blocks on disk", Unit::Bytes, m.blocks_bytes);
        r.register("tsdb_bucket_blocks_sent", "Blocks sent to the object store", m.bucket_blocks_sent);
        r.register_with_unit(
            "tsdb_bucket_sent",
            "Of blocks sent to the object store",
            Unit::Bytes,
            m.bucket_sent_bytes,
        );
        r.register(
            "tsdb_bucket_blocks_deleted",
            "Copies deleted from the object store",
            m.bucket_blocks_deleted,
        );
        r.register(
            "tsdb_bucket_failures",
            "Work with the object store that failed and will be tried again",
            m.bucket_failures,
        );
        r.register(
            "tsdb_bucket_damaged_blocks",
            "Copies in the object store whose meta file cannot be read",
            m.bucket_damaged,
        );
        r.register("tsdb_bucket_blocks", "Copies in the object store", m.bucket_blocks);
        r.register_with_unit(
            "tsdb_bucket_blocks_size",
            "Copies in the object store",
            Unit::Bytes,
            m.bucket_blocks_bytes,
        );
        r.register(
            "tsdb_bucket_waiting_blocks",
            "Blocks that are to be sent to the object store",
            m.bucket_waiting,
        );
        r.register(
            "tsdb_bucket_cache_hits",
            "Pages of the object store's blocks found in the cache",
            m.bucket_cache_hits,
        );
        r.register(
            "tsdb_bucket_cache_misses",
            "Pages of the object store's blocks not found in the cache",
            m.bucket_cache_misses,
        );
        r.register_with_unit(
            "tsdb_bucket_fetched",
            "Read back from the object store's blocks",
            Unit::Bytes,
            m.bucket_fetched_bytes,
        );
        r.register_with_unit(
            "tsdb_bucket_cache_size",
            "The object store's cache on disk",
            Unit::Bytes,
            m.bucket_cache_bytes,
        );
        r.register(
            "tsdb_maintenance_failures",
            "Background work that failed and will be tried again",
            m.maintenance_failures,
        );
        r.register_with_unit(
            "tsdb_head_memory",
            "Memory of the head by kind",
            Unit::Bytes,
            m.head_memory_bytes,
        );
        metrics
    }

    /// Creates a tenant's counters at 0, so that rates see their first increase.
    pub fn add_tenant(&self, tenant: &str) {
        let labels = TenantLabels { tenant: tenant.to_owned() };
        drop(self.appended.get_or_create(&labels));
        drop(self.out_of_order.get_or_create(&labels));
        drop(self.head_series.get_or_create(&labels));
        for reason in RejectReason::ALL {
            let reason = reason.as_str().to_owned();
            drop(self.rejected.get_or_create(&RejectLabels { tenant: tenant.to_owned(), reason }));
        }
    }
}
