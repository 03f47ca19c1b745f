//! Settings of the watch over hardware.

use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hardware errors, disks that slow down, disks' own health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HardwareConfig {
    /// Whether hardware is watched.
    pub enabled: bool,
    /// How often disks are asked for their own health. Sleeping disks are not woken.
    pub health_interval: PromDuration,
    /// The program that asks SATA and SAS disks; empty means that they are not asked.
    pub smartctl: String,
}

impl Default for HardwareConfig {
    fn default() -> Self {
        Self { enabled: true, health_interval: PromDuration(600_000), smartctl: "smartctl".into() }
    }
}
