//! Probes against real servers on loopback, and against the blackbox exporter.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step ends the test; skips are said aloud"
)]

mod oracle;
mod script;
mod targets;
