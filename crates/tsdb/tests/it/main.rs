//! The database from outside, on a disk that fails and crashes on demand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clocks;
mod concurrency;
mod disk_trouble;
mod every_operation;
mod fixtures;
mod maintenance;
mod model_test;
mod object_storage;
mod support;
mod tiers;
mod write_read;
