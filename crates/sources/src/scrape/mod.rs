//! Visiting targets on a schedule.
//!
//! A [`Scraper`] holds one pool a job. A pool turns what discovery finds into targets; each target has a task that sleeps,
//! fetches, reads and hands one batch to the [`Appender`]. Scrapes are spread over the interval by the target's hash. A
//! reload leaves targets whose labels and URL stay the same alone. Every failure is that target's alone and bounded: by its
//! timeout, its body limit, its sample limit.
//!
//! | module | holds |
//! |---|---|
//! | `pool` | discovery in, target tasks out |
//! | `target` | labels, relabelling, URL |
//! | `run` | one target's schedule and the fate of each scrape |
//! | `fetch` | the request |
//! | `failure_log` | files of failed scrapes |
//! | `collect` | from a body to a batch: labels, limits, staleness |
//! | `nhcb` | classic histograms put together to native ones |
//! | [`status`], [`metrics`] | what the UI and the operator see |

mod collect;
mod failure_log;
mod fetch;
#[cfg(test)]
mod histogram_tests;
pub mod metrics;
mod nhcb;
mod pool;
mod run;
pub mod status;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::duration::PromDuration;
use model::{Appender, Clock, Labels, TenantId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use metrics::Metrics;
pub use run::Collector;
pub use status::{DroppedTarget, Health, PoolStatus, TargetStatus};

use crate::config::ScrapeConfig;
use failure_log::FailureLogs;
use pool::Handle;
use run::{Shared, Stop};

/// What a scraper needs from outside.
pub struct Parts {
    /// Where samples go: the gate.
    pub appender: Arc<dyn Appender>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Whose data it is.
    pub tenant: TenantId,
    /// What the scraper tells about itself.
    pub metrics: Metrics,
    /// A random number: the phase of schedules and a secret for hashes.
    pub seed: u64,
    /// The largest body of a target without a `body_size_limit` of its own, in bytes.
    pub max_body_bytes: usize,
    /// Agents that announce themselves, for `agent_sd_configs`.
    pub agents: Option<Arc<crate::agents::Registry>>,
}

impl Parts {
    /// 256 MiB: more than any well-behaved target exposes.
    pub const MAX_BODY_BYTES: usize = 256 << 20;
}

/// A source within this process, scraped like any target but without HTTP: the host, the server's own metrics.
#[derive(Clone)]
pub struct InProcess {
    /// The label `job`.
    pub job: String,
    /// The label `instance`.
    pub instance: String,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// How often.
    pub interval: PromDuration,
    /// How long it may take; at most the interval.
    pub timeout: PromDuration,
    /// Whether the samples' own labels win over `job` and `instance`.
    pub honor_labels: bool,
    /// Makes the families.
    pub collect: Collector,
    /// Scrapes at once when notified, besides the schedule: something has happened that must not wait.
    pub wake: Option<Arc<Notify>>,
}

/// A job whose HTTP configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("scrape configuration of job {job:?}: {reason}")]
pub struct Error {
    /// The job.
    pub job: String,
    /// Why.
    pub reason: String,
}

struct Source {
    job: String,
    /// The group it belongs to and what tells whether it has changed; `None` for one that stays.
    member: Option<(String, String)>,
    status: Arc<Mutex<TargetStatus>>,
    stop: watch::Sender<Stop>,
    task: JoinHandle<()>,
}

/// All pools.
pub struct Scraper {
    shared: Arc<Shared>,
    pools: Mutex<BTreeMap<String, Handle>>,
    sources: Mutex<Vec<Source>>,
    /// One reload at a time.
    reload: tokio::sync::Mutex<()>,
}

impl Scraper {
    /// A scraper without targets. Its tasks run on the runtime from which [`Scraper::apply`] is called.
    pub fn new(parts: Parts) -> Self {
        let failure_logs = FailureLogs::new(parts.metrics.failure_log_errors.clone());
        let shared = Shared {
            appender: parts.appender,
            clock: parts.clock,
            tenant: parts.tenant,
            metrics: parts.metrics,
            seed: parts.seed,
            max_body: parts.max_body_bytes,
            buffers: Mutex::new(Vec::new()),
            agents: parts.agents,
            failure_logs,
        };
        Self {
            shared: Arc::new(shared),
            pools: Mutex::new(BTreeMap::new()),
            sources: Mutex::new(Vec::new()),
            reload: tokio::sync::Mutex::new(()),
        }
    }

    /// Makes the jobs be these: starts, changes and stops pools; what stays the same is not touched.
    ///
    /// # Errors
    /// A job's certificates or HTTP settings cannot be used; then nothing has changed.
    pub async fn apply(&self, jobs: Vec<ScrapeConfig>) -> Result<(), Error> {
        let _one = self.reload.lock().await;
        let mut ready = Vec::with_capacity(jobs.len());
        for config in jobs {
            let config = Arc::new(config);
            let same =
                self.pools.lock().get(&config.job_name).is_some_and(|p| **p.config.borrow() == *config);
            let client = match same {
                true => None,
                false => Some(build_client(&config).await?),
            };
            ready.push((config, client));
        }
        let named = ready.iter().filter_map(|(config, _)| config.scrape_failure_log_file.as_deref());
        let files = FailureLogs::open(named).map_err(|(name, err)| {
            let uses = |config: &ScrapeConfig| config.scrape_failure_log_file.as_deref() == Some(&name);
            let job = ready.iter().find(|(config, _)| uses(config));
            let job = job.map_or(String::new(), |(config, _)| config.job_name.clone());
            Error { job, reason: format!("cannot open scrape_failure_log_file {name}: {err}") }
        })?;
        let replaced = self.shared.failure_logs.replace(files);
        replaced.map_err(|err| Error {
            job: String::new(),
            reason: format!("no thread for scrape_failure_log_file: {err}"),
        })?;
        let gone: Vec<Handle> = {
            let mut pools = self.pools.lock();
            let kept: std::collections::BTreeSet<&str> =
                ready.iter().map(|(c, _)| c.job_name.as_str()).collect();
            let names: Vec<String> = pools.keys().filter(|n| !kept.contains(n.as_str())).cloned().collect();
            let gone = names.iter().filter_map(|name| pools.remove(name)).collect();
            for (config, client) in ready {
                let Some(client) = client else { continue };
                match pools.get(&config.job_name) {
                    // The pool builds its own from the same configuration.
                    Some(handle) => {
                        handle.config.send_replace(config);
                    }
                    None => {
                        let name = config.job_name.clone();
                        pools.insert(name, Handle::start(Arc::clone(&self.shared), config, client));
                    }
                }
            }
            gone
        };
        for handle in gone {
            handle.stop(Stop::Removed).await;
        }
        Ok(())
    }

    /// Adds a source within this process; its first scrape is at once.
    pub fn add(&self, source: &InProcess) {
        let mut labels = Labels::from_pairs(&source.labels).to_builder();
        labels.set("job", source.job.as_str()).set("instance", source.instance.as_str());
        let (status, stop, task) = pool::in_process(&self.shared, &source.job, labels.build(), source);
        self.sources.lock().push(Source { job: source.job.clone(), member: None, status, stop, task });
    }

    /// Makes the sources of a group be these: each has a text that changes when the source does. What stays the same is not
    /// touched, the series of those that are gone end.
    pub fn set_group(&self, group: &str, wanted: &[(String, InProcess)]) {
        let known: std::collections::BTreeSet<&str> = wanted.iter().map(|(text, _)| text.as_str()).collect();
        let mut sources = self.sources.lock();
        let mut kept = std::collections::BTreeSet::new();
        sources.retain(|source| match &source.member {
            Some((of, text)) if of == group => {
                // One that ended by itself is started again.
                let stays = known.contains(text.as_str()) && !source.task.is_finished();
                if stays {
                    kept.insert(text.clone());
                } else {
                    source.stop.send_replace(Stop::Removed);
                }
                stays
            }
            _ => true,
        });
        for (text, source) in wanted.iter().filter(|(text, _)| !kept.contains(text)) {
            let mut labels = Labels::from_pairs(&source.labels).to_builder();
            labels.set("job", source.job.as_str()).set("instance", source.instance.as_str());
            let (status, stop, task) = pool::in_process(&self.shared, &source.job, labels.build(), source);
            let member = Some((group.to_owned(), text.clone()));
            sources.push(Source { job: source.job.clone(), member, status, stop, task });
        }
    }

    /// The agents that announce themselves here, when they may.
    pub fn agents(&self) -> Option<&Arc<crate::agents::Registry>> {
        self.shared.agents.as_ref()
    }

    /// What every pool looks like now, by name; sources within this process are pools of their own.
    pub fn snapshot(&self) -> Vec<PoolStatus> {
        let mut pools: Vec<PoolStatus> =
            self.pools.lock().iter().map(|(name, handle)| handle.view.lock().status(name)).collect();
        for source in self.sources.lock().iter() {
            let status = source.status.lock().clone();
            match pools.iter_mut().find(|pool| pool.name == source.job) {
                Some(pool) => pool.active.push(status),
                None => pools.push(PoolStatus {
                    name: source.job.clone(),
                    active: vec![status],
                    ..PoolStatus::default()
                }),
            }
        }
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        pools
    }

    /// Stops everything. Series are not marked stale: the process ends, the targets do not.
    pub async fn shutdown(&self) {
        let _one = self.reload.lock().await;
        let pools = std::mem::take(&mut *self.pools.lock());
        let sources = std::mem::take(&mut *self.sources.lock());
        for source in &sources {
            source.stop.send_replace(Stop::Shutdown);
        }
        for (_, handle) in pools {
            handle.stop(Stop::Shutdown).await;
        }
        for source in sources {
            if let Err(err) = source.task.await {
                tracing::error!(job = %source.job, error = %err, "a source ended badly");
            }
        }
    }
}

async fn build_client(config: &Arc<ScrapeConfig>) -> Result<httpc::Client, Error> {
    let job = config.job_name.clone();
    let config = Arc::clone(config);
    let built = tokio::task::spawn_blocking(move || pool::client(&config)).await;
    let built = built.map_err(|err| err.to_string()).and_then(|client| client.map_err(|err| err.chain()));
    built.map_err(|reason| Error { job, reason })
}
