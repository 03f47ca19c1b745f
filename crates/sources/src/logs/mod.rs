//! Logs as a source of metrics: lines are counted, not kept.
//!
//! A job reads from files, the journal, syslog or a JetStream stream, takes each entry apart by a format, and counts. Its metrics are a
//! source within this process, scraped like any target. An input waits while its job counts, a job counts one batch at a time on a
//! thread for blocking work, and a scrape reads what has been counted: logs never delay the path of metrics.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the settings |
//! | `inputs` | files, journal, syslog, JetStream |
//! | `tail`, `multiline`, `syslog`, `nats` | what the inputs decide without waiting |
//! | `parse` | an entry to fields, by a format |
//! | `table` | fields to metrics |
//! | `job` | parser, table and counters of a job |
//! | [`metrics`] | what reading logs tells about itself |

pub mod config;
mod inputs;
mod job;
pub mod metrics;
mod multiline;
mod nats;
mod parse;
mod syslog;
mod table;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::StateStore;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use config::Config;
pub use metrics::Metrics;

use crate::scrape::InProcess;
use inputs::Bound;
use job::Job;

/// A job's settings are wrong, or its sockets cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("sources.logs: job {job:?}: {reason}")]
pub struct Error {
    /// The job's place in the list.
    pub index: usize,
    /// The job.
    pub job: String,
    /// Why.
    pub reason: String,
}

/// Jobs that run; dropping it ends them.
pub struct Logs {
    jobs: Vec<(Config, Arc<Job>)>,
    _stop: DropGuard,
}

/// Checks settings without touching files or sockets.
///
/// # Errors
/// The first job that is wrong.
pub fn check(configs: &[Config]) -> Result<(), Error> {
    let metrics = Metrics::default();
    let mut names = BTreeSet::new();
    for (index, config) in configs.iter().enumerate() {
        let fail = |reason: String| Error { index, job: config.job.clone(), reason };
        if config.job.is_empty() {
            return Err(fail("job: it needs a name".into()));
        }
        if !names.insert(&config.job) {
            return Err(fail("job: there are two of this name".into()));
        }
        let given = [
            config.file.is_some(),
            config.journald.is_some(),
            config.syslog.is_some(),
            config.nats.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err(fail("exactly one of file, journald, syslog and nats must be given".into()));
        }
        if config.interval.ms() < 1000 {
            return Err(fail(format!("interval: {} is shorter than 1s", config.interval)));
        }
        if config.max_line_bytes < 256 || config.max_series == 0 {
            return Err(fail("max_line_bytes must be at least 256 and max_series above 0".into()));
        }
        if let Some(file) = &config.file {
            inputs::check_file(file, config.max_line_bytes).map_err(fail)?;
        }
        if config.nats.as_ref().is_some_and(|nats| nats.stream.is_empty() || nats.consumer.is_empty()) {
            return Err(fail("nats: stream and consumer must be given".into()));
        }
        let names = config.nats.iter().flat_map(|nats| [&nats.stream, &nats.consumer]);
        if let Some(name) = names.into_iter().find(|name| name.contains(['.', '*', '>', ' ', '/', '\\'])) {
            return Err(fail(format!("nats: {name:?} is no name of a stream or consumer")));
        }
        Job::new(config, &metrics).map_err(fail)?;
    }
    Ok(())
}

impl Logs {
    /// Binds sockets and starts every job. `state`: where positions in files are kept over restarts; `seed`: a random number.
    ///
    /// # Errors
    /// The first job that cannot start; then none runs.
    pub async fn start(
        configs: Vec<Config>,
        metrics: &Metrics,
        state: Option<Arc<dyn StateStore>>,
        seed: u64,
    ) -> Result<Self, Error> {
        check(&configs)?;
        let mut ready: Vec<(Config, Arc<Job>, Option<Bound>)> = Vec::new();
        for (index, config) in configs.into_iter().enumerate() {
            let name = config.job.clone();
            let fail = |reason: String| Error { index, job: name.clone(), reason };
            let job = Job::new(&config, metrics).map_err(fail)?;
            let bound = match &config.syslog {
                None => None,
                Some(syslog) => Some(inputs::bind(syslog).await.map_err(fail)?),
            };
            ready.push((config, Arc::new(job), bound));
        }
        let stop = CancellationToken::new();
        let mut jobs = Vec::new();
        for (config, job, bound) in ready {
            let (stop, state, task_job) = (stop.clone(), state.clone(), Arc::clone(&job));
            if let Some(bound) = bound {
                tokio::spawn(async move { stop.run_until_cancelled(bound.run(task_job)).await });
            } else if let Some(file) = config.file.clone() {
                tokio::spawn(async move {
                    stop.run_until_cancelled(inputs::run_file(file, task_job, state)).await
                });
            } else if let Some(journald) = config.journald.clone() {
                let run = inputs::run_journald(journald, task_job, state);
                tokio::spawn(async move { stop.run_until_cancelled(run).await });
            } else if let Some(nats) = config.nats.clone() {
                tokio::spawn(async move {
                    stop.run_until_cancelled(inputs::run_nats(nats, task_job, seed)).await
                });
            }
            jobs.push((config, job));
        }
        Ok(Self { jobs, _stop: stop.drop_guard() })
    }

    /// The jobs' metrics as sources; `host`: the `instance` of jobs that name none.
    pub fn sources(&self, host: &str) -> Vec<InProcess> {
        let source = |(config, job): &(Config, Arc<Job>)| {
            let job = Arc::clone(job);
            InProcess {
                job: config.job.clone(),
                instance: if config.instance.is_empty() { host.to_owned() } else { config.instance.clone() },
                labels: BTreeMap::new(),
                interval: config.interval,
                timeout: config.interval,
                honor_labels: false,
                wake: None,
                collect: Arc::new(move || {
                    let job = Arc::clone(&job);
                    Box::pin(async move { job.families() })
                }),
            }
        };
        self.jobs.iter().map(source).collect()
    }
}
