//! Settings of storage.

use std::path::PathBuf;

use model::InvalidField;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When an acknowledged sample is safe, and from what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Synced to the disk before the answer: survives a power loss.
    #[default]
    Always,
    /// Written before the answer, synced every `sync_interval`: survives the death of the process; a power loss may take
    /// the last interval.
    Interval,
    /// Written before the answer, synced when the operating system likes: survives the death of the process.
    Os,
}

/// The write-ahead log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WalConfig {
    /// When an acknowledged sample is safe: `always` (default), `interval` or `os`.
    pub durability: Durability,
    /// How often the log is synced under `interval`.
    pub sync_interval: PromDuration,
    /// Size of a segment in bytes; its room on the disk is reserved when it is created.
    pub segment_bytes: u64,
    /// How many unwritten bytes may wait for the disk; beyond that, senders wait (back-pressure of a slow disk).
    pub queue_bytes: u64,
    /// How long a sender waits for a slow disk before the append is refused as unavailable.
    pub queue_timeout: PromDuration,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Always,
            sync_interval: PromDuration(1000),
            segment_bytes: 64 << 20,
            queue_bytes: 32 << 20,
            queue_timeout: PromDuration(10_000),
        }
    }
}

/// Bounds of one tenant. 0 means "no bound".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Series in the head.
    pub series: u64,
    /// Series of one metric name in the head.
    pub series_per_metric: u64,
    /// Series of one target (the labels `job` and `instance`) in the head.
    pub series_per_target: u64,
    /// Labels of a series, the metric name included.
    pub labels_per_series: usize,
    /// Bytes of a label name.
    pub label_name_bytes: usize,
    /// Bytes of a label value.
    pub label_value_bytes: usize,
    /// Exemplars that are kept; the oldest give way.
    pub exemplars: usize,
    /// Metric names of which type, help and unit are kept.
    pub metadata: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series: 10_000_000,
            series_per_metric: 2_000_000,
            series_per_target: 500_000,
            labels_per_series: 100,
            label_name_bytes: 1024,
            label_value_bytes: 16 << 10,
            exemplars: 100_000,
            metadata: 100_000,
        }
    }
}

/// Bounds of one tenant, in place of those of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TenantLimits {
    /// The tenant.
    pub tenant: String,
    /// Its bounds; what is not said has its default, not what `limits` says.
    pub limits: Limits,
}

/// A down-sampled tier: aggregates of each series and step, kept longer than the samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TierConfig {
    /// Length of a step; a day is a multiple of it.
    pub resolution: PromDuration,
    /// Blocks of the tier that are wholly older than this are deleted.
    pub retention: PromDuration,
}

impl Default for TierConfig {
    fn default() -> Self {
        Self { resolution: PromDuration(5 * 60_000), retention: PromDuration(180 * 86_400_000) }
    }
}

/// Which blocks go to the object store, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Upload {
    /// A block that will not be merged any more: each day once, some hours after its end.
    #[default]
    Complete,
    /// Every block as soon as it is cut, and again when it was merged: more traffic, and less that is on this disk alone.
    All,
}

/// Blocks in an object store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BucketConfig {
    /// Where complete blocks are copied to: `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder` or
    /// `file:///folder`. Nowhere when empty. Two servers must not share a folder.
    pub url: String,
    /// A YAML file with the store's options (`endpoint`, `region`, `access_key_id`, `secret_access_key`, `allow_http`, …), each a
    /// line `name: value`; what it lacks is taken from the environment variables `AWS_…`, `GOOGLE_…` and `AZURE_…`.
    pub options_file: PathBuf,
    /// Which blocks are copied: `complete` (default) or `all`.
    pub upload: Upload,
    /// Copies wholly older than this are deleted from the store; 0 keeps them for ever.
    pub retention: PromDuration,
    /// How often blocks that are due are looked for.
    pub interval: PromDuration,
    /// How often the store is listed, to see what others have put there or deleted.
    pub refresh: PromDuration,
    /// How long one request, or one part of an upload, may take.
    pub timeout: PromDuration,
    /// Larger blocks are sent in parts of this many bytes; S3 wants at least 5 MiB and at most 10,000 parts.
    pub part_bytes: u64,
    /// The folder for what was read back from the store; `.bucket-cache` in the data folder when empty.
    pub cache_path: PathBuf,
    /// How many bytes that folder may take.
    pub cache_bytes: u64,
    /// How many bytes of what was read back may be in memory: as much again for the indexes of open blocks.
    pub memory_bytes: u64,
}

impl Default for BucketConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            options_file: PathBuf::new(),
            upload: Upload::Complete,
            retention: PromDuration(0),
            interval: PromDuration(30_000),
            refresh: PromDuration(5 * 60_000),
            timeout: PromDuration(60_000),
            part_bytes: 16 << 20,
            cache_path: PathBuf::new(),
            cache_bytes: 10 << 30,
            memory_bytes: 64 << 20,
        }
    }
}

/// Local storage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data folder. Each tenant has a folder of its own in it.
    pub path: PathBuf,
    /// Blocks wholly older than this are deleted. Age counts from now or from the newest sample of all tenants, whichever is earlier: a
    /// clock that jumps ahead deletes nothing.
    pub retention: PromDuration,
    /// The oldest blocks are deleted while all blocks of all tenants together take more bytes than this; 0 for no bound.
    pub retention_bytes: u64,
    /// How much older than the newest sample of its tenant (or than now, whichever is earlier) a sample may be.
    pub out_of_order_window: PromDuration,
    /// How far in the future a sample may be.
    pub future_limit: PromDuration,
    /// Blocks hold this much time and start at multiples of it.
    pub block_range: PromDuration,
    /// How often the newest samples are compressed into a sealed file, which bounds what a restart has to replay.
    pub seal_interval: PromDuration,
    /// Samples are sealed early when those in memory take more bytes than this.
    pub seal_bytes: u64,
    /// So many short sealed files become one long one, so that a query has few to open; 0 or 1 for never.
    pub sealed_merge_files: usize,
    /// Appends are refused while the disk has less room than this, so that blocks can still be written.
    pub min_free_bytes: u64,
    /// How long an append is refused at once after the disk refused one, before the disk is tried again.
    pub disk_retry: PromDuration,
    /// Blocks are merged while the result has at most this many samples.
    pub max_block_samples: u64,
    /// How many tenants there may be; 0 for no bound.
    pub max_tenants: usize,
    /// Down-sampled tiers, finest first; none unless listed. Queries choose among them by their step.
    pub tiers: Vec<TierConfig>,
    /// Blocks in an object store.
    pub bucket: BucketConfig,
    /// The write-ahead log.
    pub wal: WalConfig,
    /// Bounds of each tenant.
    pub limits: Limits,
    /// Tenants with bounds of their own.
    pub tenant_limits: Vec<TenantLimits>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data"),
            retention: PromDuration(15 * 86_400_000),
            retention_bytes: 0,
            out_of_order_window: PromDuration(30 * 60_000),
            future_limit: PromDuration(10 * 60_000),
            block_range: PromDuration(2 * 3_600_000),
            seal_interval: PromDuration(4 * 60_000),
            seal_bytes: 512 << 20,
            sealed_merge_files: 8,
            min_free_bytes: 64 << 20,
            disk_retry: PromDuration(1000),
            max_block_samples: 50_000_000_000,
            max_tenants: 1000,
            tiers: Vec::new(),
            bucket: BucketConfig::default(),
            wal: WalConfig::default(),
            limits: Limits::default(),
            tenant_limits: Vec::new(),
        }
    }
}

impl Config {
    /// How long the range of a block becomes by compaction.
    pub fn longest_block(&self) -> PromDuration {
        PromDuration(self.block_range.ms().saturating_mul(12))
    }

    /// The bounds of a tenant.
    pub fn limits_of(&self, tenant: &model::TenantId) -> &Limits {
        let own = self.tenant_limits.iter().find(|own| own.tenant == tenant.as_str());
        own.map_or(&self.limits, |own| &own.limits)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), InvalidField> {
        self.wrong().map_or(Ok(()), |wrong| Err(wrong.within("storage")))
    }

    fn wrong(&self) -> Option<InvalidField> {
        let wrong = |field: &str, message: &str| Some(InvalidField::new(field, message));
        if self.block_range.ms() < 60_000 {
            return wrong("block_range", "give 1m or more");
        }
        if self.retention.ms() < self.block_range.ms() {
            return wrong("retention", "give at least storage.block_range");
        }
        for (at, tier) in self.tiers.iter().enumerate() {
            let (step, day) = (tier.resolution.ms(), 86_400_000);
            let field = |name: &str| format!("tiers[{at}].{name}");
            if step < 1000 || day % step != 0 {
                let text = format!("a day is no multiple of {}; use for instance 5m or 1h", tier.resolution);
                return wrong(&field("resolution"), &text);
            }
            if at > 0 && self.tiers[at - 1].resolution.ms() >= step {
                return wrong(&field("resolution"), "list tiers from the finest resolution to the coarsest");
            }
            if tier.retention.ms() < self.retention.ms() {
                let text = format!(
                    "{} is less than the samples themselves are kept ({})",
                    tier.retention, self.retention
                );
                return wrong(&field("retention"), &text);
            }
        }
        if !self.tiers.is_empty() && self.retention.ms() < 3 * 86_400_000 {
            return wrong(
                "retention",
                "give at least 3d when there are storage.tiers: they are made of whole days",
            );
        }
        for (at, own) in self.tenant_limits.iter().enumerate() {
            let field = format!("tenant_limits[{at}].tenant");
            if let Err(err) = model::TenantId::new(&own.tenant) {
                return wrong(&field, &err.to_string());
            }
            if self.tenant_limits[..at].iter().any(|other| other.tenant == own.tenant) {
                return wrong(&field, &format!("{} is there twice", own.tenant));
            }
        }
        let kept = self.bucket.retention.ms();
        if !self.bucket.url.is_empty() && kept > 0 && kept < self.retention.ms() {
            let text = format!(
                "{} is less than on disk ({}); make it longer, or 0 to keep copies for ever",
                self.bucket.retention, self.retention
            );
            return wrong("bucket.retention", &text);
        }
        for (name, value) in [
            ("bucket.interval", self.bucket.interval.ms()),
            ("bucket.timeout", self.bucket.timeout.ms()),
            ("seal_interval", self.seal_interval.ms()),
        ] {
            if value <= 0 {
                return wrong(name, "it must be more than 0");
            }
        }
        for (name, value) in
            [("wal.segment_bytes", self.wal.segment_bytes), ("wal.queue_bytes", self.wal.queue_bytes)]
        {
            if value < 4096 {
                return wrong(name, "give 4096 or more");
            }
        }
        None
    }
}
