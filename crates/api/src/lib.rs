//! The HTTP server: Prometheus' API, push endpoints, the fleet map, the web UI's files. Alone in serving HTTP and shaping JSON.
//!
//! | module | holds |
//! |---|---|
//! | `router` | every path, in one place |
//! | [`server`] | what handlers share, the listener, an orderly end |
//! | `connection` | accepted connections, and request targets as Go takes them |
//! | [`query`], `catalog` | PromQL; series, labels, metadata, exemplars |
//! | `federate`, `read` | what other servers fetch |
//! | [`live`], `notifications` | the configuration in force; what the operator should know |
//! | `rules`, `targets`, `alertmanager` | what is evaluated, what is scraped, Alertmanager's API v2 |
//! | [`agent`] | the agent's own small server, and the events of this host |
//! | `alert_history` | what happened to alerts, reports, explanations, tests of receivers |
//! | [`library`] | the rules-and-actions database: documents that are edited over the API |
//! | `push`, `admin` | remote write; deleting and copying data |
//! | `client_reports`, [`collect`] | what clients report; the listener for their uploads |
//! | `fleet` | the state of every server for the heat map |
//! | `dashboards`, `batch` | dashboards and their versions; many queries in one request |
//! | `health`, `status`, `features`, `self_metrics` | the process itself |
//! | `openapi`, `cors` | the interface described; pages of other origins |
//! | [`status_page`] | what the public may know, on a listener of its own |
//! | [`tokens`] | who may do what, where the server asks |
//! | [`watch`] | the web server of `bellwether watch` |
//! | `ui` | the built files of the web UI |
//! | `params`, `reply`, `json`, `error` | what requests and answers look like |
//! | [`config`], [`metrics`] | settings; what the API measures of itself |

mod admin;
pub mod agent;
mod agents;
mod alert_history;
mod alertmanager;
mod batch;
mod cardinality;
mod catalog;
mod clean;
mod client_reports;
pub mod collect;
pub mod config;
mod connection;
mod cors;
mod dashboards;
mod error;
mod features;
mod federate;
mod fleet;
mod health;
mod json;
pub mod library;
pub mod live;
pub mod metrics;
mod notifications;
mod openapi;
mod params;
pub mod probe;
mod push;
pub mod query;
mod read;
mod refusals;
mod reply;
mod router;
mod rules;
mod self_metrics;
pub mod server;
mod status;
pub mod status_page;
mod targets;
pub mod tokens;
mod ui;
pub mod vantages;
pub mod watch;
mod web_file;

pub use client_reports::lint_site;
pub use collect::{CollectError, CollectListener};
pub use config::{QueryConfig, WebConfig};
pub use fleet::{FleetConfig, FleetWatch};
pub use library::{Library, LibraryConfig};
pub use live::{Live, LiveConfig, rfc3339};
pub use metrics::Metrics;
pub use params::parse_time;
pub use probe::ProbeParts;
pub use query::active::{ActiveQueries, ActiveQuery};
pub use query::log::{QueryLog, QueryLogFile};
pub use query::stamps::{StampedAppender, WriteStamps};
pub use server::{BuildInfo, Command, CommandRequest, ListenError, Listener, Parts, Phase};
pub use vantages::Probes;
pub use web_file::{WebFile, WebFileError};

/// So many random bytes of the system, in hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> Result<String, error::ApiError> {
    use ring::rand::SecureRandom as _;
    let mut random = vec![0; bytes];
    ring::rand::SystemRandom::new().fill(&mut random).map_err(|_| {
        error::ApiError::new(error::ErrorType::Internal, "the system gives no random numbers")
    })?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Percent-encodes a text for a query string.
pub fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
