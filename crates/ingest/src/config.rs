//! Settings of the gate and the receivers.

use model::duration::PromDuration;
use model::relabel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What may come in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A series with more labels is refused, `__name__` included; 0 is no limit.
    pub max_labels: usize,
    /// A series with a longer label name, in bytes, is refused; 0 is no limit.
    pub max_label_name_bytes: usize,
    /// A series with a longer label value, in bytes, is refused; 0 is no limit.
    pub max_label_value_bytes: usize,
    /// A sample further in the future is refused; 0 is no limit.
    pub max_future: PromDuration,
    /// Samples a second that one tenant may send; beyond it batches are refused until there is room again. 0 is no limit.
    pub max_samples_per_second: u64,
    /// Seconds of that rate which may come at once.
    pub burst_seconds: u64,
    /// A longer help text or unit, in bytes, is cut.
    pub max_metadata_bytes: usize,
    /// Relabelling of everything that comes in.
    pub relabel_configs: Vec<relabel::Config>,
    /// A remote write request with a larger body, in bytes as sent, is refused.
    pub max_request_bytes: usize,
    /// A remote write request that is larger when decompressed, in bytes, is refused.
    pub max_decompressed_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_labels: 100,
            max_label_name_bytes: 1024,
            max_label_value_bytes: 8192,
            max_future: PromDuration(10 * 60_000),
            max_samples_per_second: 0,
            burst_seconds: 10,
            max_metadata_bytes: 4096,
            relabel_configs: Vec::new(),
            max_request_bytes: 32 << 20,
            max_decompressed_bytes: 128 << 20,
        }
    }
}
