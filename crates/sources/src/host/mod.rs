//! This host: what a server can tell of itself, under node_exporter's names, labels and units.
//!
//! A [`Host`] owns its collectors. Each runs apart from the others, with a deadline: one that misses it is left to finish on its
//! thread and is not asked again until it has, so a hung mount or a sick driver costs its own series and nothing else. Every
//! collector reports `node_scrape_collector_success` and `node_scrape_collector_duration_seconds`.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | settings, with node_exporter's filters |
//! | `files` | reading procfs and sysfs below configurable roots |
//! | `output` | families under construction |
//! | `collectors` | one module a collector |

mod collectors;
pub mod config;
mod files;
mod output;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

pub use config::Config;
use files::Files;
use model::{Clock, Family};
use output::Output;

/// Why a collector gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel or hardware has nothing of this kind; said once, quietly.
    #[error("not available here: {0}")]
    Absent(String),
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file says something that was not expected.
    #[error("{path}: cannot make sense of {text:?}")]
    Parse {
        /// Which file.
        path: String,
        /// The part that is not understood.
        text: String,
    },
    /// A filter is no regular expression.
    #[error("{field} is no regular expression")]
    Filter {
        /// Which setting.
        field: &'static str,
        /// What is wrong with it.
        source: model::pattern::InvalidPattern,
    },
}

/// One source of families.
trait Collector: Send {
    /// As in node_exporter.
    fn name(&self) -> &'static str;

    /// Adds its families.
    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error>;
}

/// A collector and what is known of its last runs.
struct Slot {
    name: &'static str,
    collector: Arc<Mutex<Box<dyn Collector>>>,
    /// The last failure, so that it is logged when it changes and not at every scrape.
    last_error: Mutex<Option<String>>,
}

/// The collectors of this host.
pub struct Host {
    files: Arc<Files>,
    slots: Vec<Slot>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
}

impl Host {
    /// Makes the collectors that `config` enables.
    ///
    /// # Errors
    /// [`Error::Filter`] when a filter is no regular expression.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let slots = collectors::all(config, &clock)?.into_iter().map(|collector| Slot {
            name: collector.name(),
            collector: Arc::new(Mutex::new(collector)),
            last_error: Mutex::default(),
        });
        Ok(Self {
            files: Arc::new(Files::new(config)),
            slots: slots.collect(),
            deadline: config.collector_timeout.to_std(),
            clock,
        })
    }

    /// Asks every collector once, one after the other. Families are sorted by name; no two have the same.
    pub async fn collect(&self) -> Vec<Family> {
        let mut out = Output::default();
        let mut costs = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let started = Instant::now();
            let result = self.run(slot, &mut out).await;
            self.note(slot, &result);
            costs.push((slot.name, started.elapsed(), result.is_ok()));
        }
        for (name, took, success) in costs {
            let label = [("collector", name)];
            out.gauge(
                "node_scrape_collector_duration_seconds",
                "node_exporter: Duration of a collector scrape.",
                &label,
                took.as_secs_f64(),
            );
            out.gauge(
                "node_scrape_collector_success",
                "node_exporter: Whether a collector succeeded.",
                &label,
                f64::from(u8::from(success)),
            );
        }
        out.gauge(
            "node_exporter_build_info",
            "A metric with a constant '1' value labeled by version, for dashboards made for node_exporter.",
            &[
                ("branch", "bellwether"),
                ("goarch", std::env::consts::ARCH),
                ("goos", "linux"),
                ("version", env!("CARGO_PKG_VERSION")),
            ],
            1.0,
        );
        out.finish()
    }

    /// Runs one collector on a thread that may block, until the deadline.
    async fn run(&self, slot: &Slot, out: &mut Output) -> Result<(), String> {
        let (collector, files) = (Arc::clone(&slot.collector), Arc::clone(&self.files));
        let work = tokio::task::spawn_blocking(move || {
            let mut collector = match collector.try_lock() {
                Ok(collector) => collector,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Err("still busy with an earlier scrape".to_owned()),
            };
            let mut own = Output::default();
            collector.collect(&files, &mut own).map(|()| own).map_err(|err| chain(&err))
        });
        match tokio::time::timeout(self.deadline, work).await {
            Ok(Ok(Ok(own))) => {
                out.append(own);
                Ok(())
            }
            Ok(Ok(Err(reason))) => Err(reason),
            Ok(Err(panicked)) => Err(format!("panicked: {panicked}")),
            Err(_) => Err(format!("not ready after {:?}; it is asked again when it is", self.deadline)),
        }
    }

    fn note(&self, slot: &Slot, result: &Result<(), String>) {
        let now = result.as_ref().err();
        let mut last = slot.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.as_ref() != now {
            match now {
                Some(reason) => {
                    tracing::debug!(collector = slot.name, %reason, at = %self.clock.now(), "collector gave nothing")
                }
                None => tracing::debug!(collector = slot.name, "collector works again"),
            }
            *last = now.cloned();
        }
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("collectors", &self.slots.iter().map(|slot| slot.name).collect::<Vec<_>>())
            .finish()
    }
}

fn chain(err: &Error) -> String {
    let mut text = err.to_string();
    let mut next = std::error::Error::source(err);
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
