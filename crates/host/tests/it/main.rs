//! The host source against real counterparts: node_exporter as oracle, processes that crash, a host that is full.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends and tells what it saw when something is missing"
)]

mod crashes;
mod oracle;
mod parity;
mod tree;
