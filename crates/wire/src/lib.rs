//! Bytes to model and back: exposition formats and remote write. Pure functions: no I/O, no clock, no runtime.
//!
//! Every decoder is bounded by what it is given (it copies no input and its tables are limited by the input's length or
//! a declared cap), never panics on any bytes, and names the line or field at which it stopped.
//!
//! | module | holds |
//! |---|---|
//! | [`exposition`] | what targets expose: Prometheus text, OpenMetrics, protobuf; reading, writing, checking |
//! | [`remote_read`] | remote read, as samples and as a stream of chunks |
//! | [`remote_write`] | remote write 1.0 and 2.0 |
//! | [`compress`] | snappy and zstd with a cap |
//! | [`number`] | floats as Go reads and writes them |

pub mod compress;
pub mod exposition;
pub mod number;
mod proto;
pub mod remote_read;
pub mod remote_write;

pub use exposition::{Cache, Format, ParseError, check_exposition};
