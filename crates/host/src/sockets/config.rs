//! Settings of the socket table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who talks to whom, from the kernel's table of TCP sockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SocketConfig {
    /// Whether the table is read.
    pub enabled: bool,
    /// Most edges (process group, peer, port); further connections are together under peer `other`.
    pub max_edges: usize,
    /// Milliseconds of each collection that may go into finding the processes of new sockets.
    pub budget_ms: u64,
}

impl Default for SocketConfig {
    fn default() -> Self {
        Self { enabled: true, max_edges: 200, budget_ms: 20 }
    }
}
