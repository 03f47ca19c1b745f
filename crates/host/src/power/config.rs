//! Settings of the watch over power.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Power that the host uses, and uninterruptible power supplies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PowerConfig {
    /// Whether power is watched.
    pub enabled: bool,
    /// Where NUT's server (upsd) listens; it is no failure when there is none. Empty means that none is asked.
    pub ups: String,
}

impl Default for PowerConfig {
    fn default() -> Self {
        Self { enabled: true, ups: "127.0.0.1:3493".into() }
    }
}
