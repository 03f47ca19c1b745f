//! Settings of the state store.

use schemars::JsonSchema;
use serde::Deserialize;

/// Small durable state: silences, notification log, `for` timers, rules, dashboards.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Values above this many bytes are refused.
    pub max_value_bytes: usize,
    /// So many requests wait for the writer at most; further ones are refused as "unavailable".
    pub queue_length: usize,
    /// So many requests share one commit at most.
    pub commit_requests: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_value_bytes: 4 << 20, queue_length: 4096, commit_requests: 512 }
    }
}
