//! Settings of the web server and the query API.

use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The web server: user interface, HTTP API and push endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// Address and port to listen on. The default answers this machine only; `0.0.0.0:9090` answers every network, so put
    /// authentication in front of it. Port 0 picks a free one.
    pub listen_address: String,
    /// The URL under which people reach the server, for links in alerts. Empty: made from the listen address.
    pub external_url: String,
    /// Largest request body in bytes, before and after decompression. Larger ones are refused with status 413.
    pub max_body_bytes: usize,
    /// Most requests that are worked on at once; more are refused with status 503.
    pub max_connections: usize,
    /// Requests that take longer are ended.
    pub read_timeout: PromDuration,
    /// Enables `POST /-/reload` and `POST /-/quit`.
    pub enable_lifecycle: bool,
    /// Enables deleting series, snapshots and cleaning tombstones over HTTP.
    pub enable_admin_api: bool,
    /// Enables `POST /api/v1/write`, Prometheus' remote write receiver.
    pub enable_remote_write_receiver: bool,
    /// The page's title.
    pub page_title: String,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            listen_address: "127.0.0.1:9090".into(),
            external_url: String::new(),
            max_body_bytes: 64 << 20,
            max_connections: 512,
            read_timeout: PromDuration(300_000),
            enable_lifecycle: false,
            enable_admin_api: false,
            enable_remote_write_receiver: true,
            page_title: "Bellwether".into(),
        }
    }
}

/// Limits and defaults of queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// How far back an instant selector looks for a sample.
    pub lookback_delta: PromDuration,
    /// Queries that run longer are ended with an error.
    pub timeout: PromDuration,
    /// Most queries that run at once; others wait, then are refused.
    pub max_concurrency: usize,
    /// Most samples that one query may hold in memory.
    pub max_samples: usize,
    /// Most bytes of memory for one query.
    pub max_bytes: u64,
    /// Most bytes of memory for all queries together.
    pub max_total_bytes: u64,
    /// Step of subqueries that name none.
    pub default_evaluation_interval: PromDuration,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            lookback_delta: PromDuration(300_000),
            timeout: PromDuration(120_000),
            max_concurrency: 20,
            max_samples: 50_000_000,
            max_bytes: 1 << 30,
            max_total_bytes: 2 << 30,
            default_evaluation_interval: PromDuration(60_000),
        }
    }
}
