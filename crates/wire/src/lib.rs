//! Bytes to model and back: exposition formats, and everything that is pushed. Pure functions: no I/O, no clock, no runtime.
//!
//! Every decoder is bounded by what it is given (it copies no input and its tables are limited by the input's length or
//! a declared cap), never panics on any bytes, and names the line or field at which it stopped.
//!
//! | module | holds |
//! |---|---|
//! | [`exposition`] | what targets expose: Prometheus text, OpenMetrics, protobuf; reading, writing, checking |
//! | [`remote_read`] | remote read, as samples and as a stream of chunks |
//! | [`remote_write`] | remote write 1.0 and 2.0, both ways |
//! | [`otlp`] | OpenTelemetry's metrics in protobuf and JSON |
//! | [`influx`], [`graphite`], [`statsd`], [`collectd`], [`zabbix`], [`datadog`] | what other agents push |
//! | [`import`] | an exposition that is pushed instead of scraped |
//! | [`gather`] | samples of series named by labels, into a batch |
//! | [`compress`] | snappy, zstd, gzip and deflate with a cap |
//! | [`number`] | floats as Go reads and writes them |

pub mod collectd;
pub mod compress;
pub mod datadog;
pub mod exposition;
pub mod gather;
pub mod graphite;
pub mod import;
pub mod influx;
pub mod number;
pub mod otlp;
mod proto;
pub mod remote_read;
pub mod remote_write;
pub mod statsd;
#[cfg(test)]
mod test_support;
pub mod zabbix;

pub use exposition::{Cache, Format, ParseError, check_exposition};
