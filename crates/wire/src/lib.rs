//! Bytes to model and back: exposition formats and remote write. Pure functions: no I/O, no clock, no runtime.
//!
//! Every decoder is bounded by what it is given (it copies no input and its tables are limited by the input's length or
//! a declared cap), never panics on any bytes, and names the line or field at which it stopped.
//!
//! | module | holds |
//! |---|---|
//! | [`exposition`] | what targets expose: Prometheus text, OpenMetrics, protobuf; reading, writing, checking |
//! | [`number`] | floats as Go reads and writes them |

pub mod exposition;
pub mod number;

pub use exposition::{Cache, Format, ParseError, check_exposition};
