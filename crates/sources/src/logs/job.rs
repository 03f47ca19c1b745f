//! One job: what its inputs have in common.

use std::sync::Arc;

use model::Family;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;

use super::config::Config;
use super::metrics::{Job as Labels, Metrics};
use super::parse::{Entry, Parser};
use super::table::Table;

/// A job's counters, looked up once.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) entries: Counter,
    pub(crate) bytes: Counter,
    pub(crate) unmatched: Counter,
    pub(crate) not_numbers: Counter,
    pub(crate) refused: Counter,
    pub(crate) dropped: Counter,
    pub(crate) failures: Counter,
    pub(crate) series: Gauge,
    pub(crate) files: Gauge,
}

/// Parser, table and counters of a job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) max_line_bytes: usize,
    pub(crate) counters: Counters,
    parser: Parser,
    table: Mutex<Table>,
    /// One batch at a time: logs get at most one processor, metrics the others.
    turn: Semaphore,
}

impl Job {
    /// # Errors
    /// What is wrong with the settings.
    pub(crate) fn new(config: &Config, metrics: &Metrics) -> Result<Self, String> {
        let labels = Labels { job: config.job.clone() };
        let counters = Counters {
            entries: metrics.entries.get_or_create_owned(&labels),
            bytes: metrics.bytes.get_or_create_owned(&labels),
            unmatched: metrics.unmatched.get_or_create_owned(&labels),
            not_numbers: metrics.not_numbers.get_or_create_owned(&labels),
            refused: metrics.refused.get_or_create_owned(&labels),
            dropped: metrics.dropped.get_or_create_owned(&labels),
            failures: metrics.failures.get_or_create_owned(&labels),
            series: metrics.series.get_or_create_owned(&labels),
            files: metrics.files.get_or_create_owned(&labels),
        };
        Ok(Self {
            name: config.job.clone(),
            max_line_bytes: config.max_line_bytes,
            counters,
            parser: Parser::new(config.format, &config.pattern)?,
            table: Mutex::new(Table::new(config)?),
            turn: Semaphore::new(1),
        })
    }

    /// Counts entries on a thread for blocking work; returns when they are counted.
    pub(crate) async fn take(self: &Arc<Self>, entries: Vec<Entry>, bytes: u64) {
        self.counters.bytes.inc_by(bytes);
        if entries.is_empty() {
            return;
        }
        let Ok(_turn) = self.turn.acquire().await else { return };
        let this = Arc::clone(self);
        if let Err(err) = tokio::task::spawn_blocking(move || this.count(&entries)).await {
            tracing::error!(job = %self.name, error = %err, "counting log entries ended badly");
        }
    }

    fn count(&self, entries: &[Entry]) {
        let counters = &self.counters;
        counters.entries.inc_by(entries.len() as u64);
        for portion in entries.chunks(100) {
            // A scrape waits for a hundred lines, not for thousands.
            let mut table = self.table.lock();
            for entry in portion {
                match self.parser.parse(entry) {
                    None => drop(counters.unmatched.inc()),
                    Some(fields) => {
                        let counted = table.count(&fields);
                        counters.refused.inc_by(counted.refused);
                        counters.not_numbers.inc_by(counted.not_numbers);
                    }
                }
            }
            counters.series.set(table.len() as i64);
        }
    }

    /// The metrics as they are now.
    pub(crate) fn families(&self) -> Vec<Family> {
        self.table.lock().families()
    }

    /// An input does not work.
    pub(crate) fn failed(&self, reason: &str) {
        self.counters.failures.inc();
        tracing::warn!(job = %self.name, error = %reason, "a log input failed");
    }
}
