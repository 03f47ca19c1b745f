//! The gate that every sample passes, and what pushes are turned into on the way to it.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | limits and relabelling of the gate, caps of the receivers |
//! | [`gate`] | [`Gate`]: an `Appender` in front of another |
//! | [`remote_write`] | remote write 1.0 and 2.0: headers and body in, status and headers out |
//! | [`metrics`] | what the gate and the receivers count |

pub mod config;
pub mod gate;
pub mod metrics;
pub mod remote_write;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use gate::Gate;
pub use metrics::Metrics;
