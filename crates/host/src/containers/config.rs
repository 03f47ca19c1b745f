//! Settings of containers and services.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Containers and systemd services, from their control groups, under cAdvisor's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerConfig {
    /// Whether control groups are read.
    pub enabled: bool,
    /// Most containers and services that are shown.
    pub max: usize,
}

impl Default for ContainerConfig {
    fn default() -> Self {
        Self { enabled: true, max: 200 }
    }
}
