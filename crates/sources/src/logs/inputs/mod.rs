//! Where entries come from. Each input is a task that reads, and waits while its job counts; none of them ends but when it is
//! cancelled, because it could come back.

mod file;
mod journald;
mod nats;
mod syslog;

pub(super) use file::{check as check_file, run as run_file};
pub(super) use journald::run as run_journald;
pub(super) use nats::run as run_nats;
pub(super) use syslog::{Bound, bind};

use std::time::Duration;

/// Entries handed over at once.
const BATCH: usize = 2_000;
/// The first and the longest wait after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The bucket of positions in the state store.
const BUCKET: &str = "logs";
/// How often positions are kept.
const KEEP: Duration = Duration::from_secs(5);

/// Waits longer with each failure in a row.
struct BackOff(Duration);

impl BackOff {
    fn new() -> Self {
        Self(BACK_OFF.0)
    }

    fn reset(&mut self) {
        self.0 = BACK_OFF.0;
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(BACK_OFF.1);
    }
}
