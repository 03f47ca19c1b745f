//! The gate that every sample passes, and what pushes are turned into on the way to it.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | limits and relabelling of the gate, caps of the receivers |
//! | [`gate`] | [`Gate`]: an `Appender` in front of another |
//! | [`remote_write`] | remote write 1.0 and 2.0: headers and body in, status and headers out |
//! | `known` | series that remote write recognises without reading their labels |
//! | [`push`] | receivers over HTTP: OTLP, InfluxDB, Datadog, Prometheus text; requests in, answers out |
//! | [`pushgateway`] | groups of batch jobs' metrics |
//! | [`cardinality`] | finds exploding labels, and quarantines them |
//! | [`forward`] | remote write out, through a spool on disk |
//! | [`listen`] | sockets of Graphite, StatsD, Zabbix and collectd |
//! | [`metrics`] | what the gate and the receivers count |

pub mod cardinality;
mod collectd;
pub mod config;
mod delta;
pub mod forward;
pub mod gate;
mod graphite;
mod known;
pub mod listen;
pub mod metrics;
pub mod push;
pub mod pushgateway;
pub mod remote_write;
mod statsd;
#[cfg(test)]
mod tests;
mod types;
mod zabbix;

pub use cardinality::Guard;
pub use config::Config;
pub use forward::Forward;
pub use gate::Gate;
pub use listen::Sockets;
pub use metrics::Metrics;
pub use push::Push;
pub use pushgateway::Pushgateway;
