//! The binary as a user starts it: a process, a folder, HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends and tells what it saw when something is missing"
)]

mod agent;
mod agents;
mod alerting;
mod amtool;
mod clients;
mod command_line;
mod crash;
mod durability;
mod first_start;
mod harness;
mod history;
mod latency;
mod library;
mod object_storage;
mod probes;
mod prometheus;
mod promtool;
mod push;
mod query_api;
mod query_peer;
mod reload;
mod scraping;
mod storm;
mod tsdb_tools;
mod watch;
