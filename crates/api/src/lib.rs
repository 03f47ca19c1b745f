//! The HTTP server: Prometheus' API, push endpoints, the fleet map, the web UI's files. Alone in serving HTTP and shaping JSON.
//!
//! | module | holds |
//! |---|---|
//! | `router` | every path, in one place |
//! | [`server`] | what handlers share, the listener, an orderly end |
//! | `query`, `catalog` | PromQL; series, labels, metadata, exemplars |
//! | `rules`, `targets`, `alertmanager` | what is evaluated, what is scraped, Alertmanager's API v2 |
//! | `push`, `admin` | remote write; deleting and copying data |
//! | `fleet` | the state of every server for the heat map |
//! | `health`, `status`, `self_metrics` | the process itself |
//! | `ui` | the built files of the web UI |
//! | `params`, `reply`, `json`, `error` | what requests and answers look like |
//! | [`config`], [`metrics`] | settings; what the API measures of itself |

mod admin;
mod alertmanager;
mod catalog;
pub mod config;
mod error;
mod fleet;
mod health;
mod json;
pub mod metrics;
mod params;
mod push;
mod query;
mod reply;
mod router;
mod rules;
mod self_metrics;
pub mod server;
mod status;
mod targets;
mod ui;

pub use config::{QueryConfig, WebConfig};
pub use fleet::FleetConfig;
pub use metrics::Metrics;
pub use params::parse_time;
pub use server::{BuildInfo, Command, CommandRequest, ListenError, Listener, Parts, Phase};

/// Percent-encodes a text for a query string.
pub fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
