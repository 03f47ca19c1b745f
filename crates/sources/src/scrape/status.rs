//! What the pools and targets look like from outside: `/api/v1/targets` and `/api/v1/scrape_pools`.

use model::duration::PromDuration;
use model::{Labels, Timestamp};

pub use super::target::DroppedTarget;

/// Whether the last scrape went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// It went well.
    Up,
    /// It failed.
    Down,
}

impl Health {
    /// Prometheus' word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One target that is scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetStatus {
    /// What discovery said, before relabelling.
    pub discovered_labels: Labels,
    /// The labels of its samples.
    pub labels: Labels,
    /// The job's name.
    pub scrape_pool: String,
    /// Where it is scraped; `inprocess:…` for a source within this process.
    pub scrape_url: String,
    /// The same as others can reach it: a loopback host replaced by this machine's name.
    pub global_url: String,
    /// Why the last scrape failed, `""` when it did not.
    pub last_error: String,
    /// When the last scrape started; 0 before the first.
    pub last_scrape: Timestamp,
    /// How long it took, in seconds.
    pub last_scrape_duration: f64,
    /// Whether it went well.
    pub health: Health,
    /// How often it is scraped.
    pub scrape_interval: PromDuration,
    /// How long a scrape may take.
    pub scrape_timeout: PromDuration,
    /// Series that are remembered for it.
    pub series: usize,
}

/// One job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolStatus {
    /// The job's name.
    pub name: String,
    /// Its targets, by URL.
    pub active: Vec<TargetStatus>,
    /// Dropped targets, as many as are kept.
    pub dropped: Vec<DroppedTarget>,
    /// All that were dropped.
    pub dropped_count: usize,
    /// What discovery cannot do or could not read, in words.
    pub problems: Vec<String>,
}
