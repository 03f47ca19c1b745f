//! Conformance with Alertmanager's own cases, end-to-end delivery, and the differential against its binary.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step ends the test; skips are said aloud"
)]

mod conformance;
mod differential;
mod dispatch;
mod exec;
mod failures;
mod services;
mod sink;
mod smtp;
mod storm;
