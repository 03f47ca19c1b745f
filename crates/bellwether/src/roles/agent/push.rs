//! An agent that pushes: the host is collected on the agent's own schedule, what was seen goes through a spool on disk to a collector or to
//! the destinations of `remote_write`.
//!
//! The scraper makes batches of it, with `up`, staleness markers and the agent's labels, as of any target. Its own schedule is idle: it is woken
//! when it is time, so that another interval, told by a collector, ends no series.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ingest::Forward;
use ingest::forward::Destination;
use model::duration::PromDuration;
use model::seam::BoxFuture;
use model::{Appender, Clock, Family, TenantId};
use parking_lot::Mutex;
use regex::RegexSet;
use sources::agents::Remote;
use sources::config::PrometheusFile;
use sources::scrape::{InProcess, Scraper};
use tokio::sync::{Notify, watch};

use super::super::{folder, forward};
use crate::config::agent::AgentConfig;

/// The scraper's own schedule, which is never waited for.
const IDLE: PromDuration = PromDuration(365 * 86_400_000);
/// How long one collection may take.
const TIMEOUT: PromDuration = PromDuration(10_000);

/// What is needed to push.
pub(super) struct Parts<'a> {
    pub(super) config: &'a AgentConfig,
    pub(super) prometheus: &'a PrometheusFile,
    pub(super) spool: &'a ingest::config::ForwardConfig,
    /// The agent's name.
    pub(super) name: String,
    pub(super) job: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) scrape: sources::scrape::Metrics,
    pub(super) ingest: ingest::Metrics,
    /// Makes the families, without these collectors.
    pub(super) collect: CollectWithout,
    /// Notified when something happened that must not wait.
    pub(super) wake: Arc<Notify>,
    /// What the collector says is to be pushed.
    pub(super) remote: watch::Receiver<Remote>,
}

/// Makes the families of the host, without those of some collectors.
pub(super) type CollectWithout =
    Arc<dyn Fn(BTreeSet<String>) -> BoxFuture<'static, Vec<Family>> + Send + Sync>;

/// A running push.
pub(super) struct Push {
    scraper: Scraper,
    forward: Arc<Forward>,
    timer: tokio::task::JoinHandle<()>,
}

impl Push {
    pub(super) async fn start(parts: Parts<'_>) -> anyhow::Result<Self> {
        let folder = &parts.config.push.folder;
        folder::create_private(folder, "agent.push.folder")?;
        let forward = Arc::new(Forward::without_storage(
            Arc::clone(&parts.clock),
            parts.spool,
            folder.clone(),
            parts.ingest,
        ));
        forward.reload(destinations(parts.config, parts.prometheus)?).await?;
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), &parts.name);
        let scraper = Scraper::new(sources::scrape::Parts {
            appender: Arc::clone(&forward) as Arc<dyn Appender>,
            clock: parts.clock,
            tenant: TenantId::default(),
            metrics: parts.scrape,
            seed,
            max_body_bytes: sources::scrape::Parts::MAX_BODY_BYTES,
            agents: None,
        });
        let selection = Arc::new(Mutex::new(Selection::default()));
        let (collect, selected) = (parts.collect, Arc::clone(&selection));
        scraper.add(&InProcess {
            job: parts.job,
            instance: parts.name,
            labels: parts.config.labels.clone(),
            interval: IDLE,
            timeout: TIMEOUT,
            honor_labels: false,
            collect: Arc::new(move || {
                let (collect, selection) = (Arc::clone(&collect), selected.lock().clone());
                Box::pin(async move {
                    let mut families = collect(selection.without.clone()).await;
                    families.retain(|family| selection.keeps(&family.name));
                    families
                })
            }),
            wake: Some(Arc::clone(&parts.wake)),
        });
        let interval = parts.config.push.interval.to_std();
        let timer = tokio::spawn(keep_time(interval, parts.wake, parts.remote, selection));
        Ok(Self { scraper, forward, timer })
    }

    /// Ends; what was not taken stays in the spool.
    pub(super) async fn stop(self) {
        self.timer.abort();
        self.scraper.shutdown().await;
        self.forward.close().await;
    }

    /// Reads destinations anew.
    pub(super) async fn reload(
        &self,
        config: &AgentConfig,
        prometheus: &PrometheusFile,
    ) -> anyhow::Result<()> {
        self.forward.reload(destinations(config, prometheus)?).await?;
        Ok(())
    }
}

/// Wakes the scraper at every interval, and puts what the collector says in force as it comes.
async fn keep_time(
    own: Duration,
    wake: Arc<Notify>,
    mut remote: watch::Receiver<Remote>,
    selection: Arc<Mutex<Selection>>,
) {
    let mut interval = own;
    let mut last = tokio::time::Instant::now();
    let mut open = true;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(last + interval) => {
                last = tokio::time::Instant::now();
                wake.notify_one();
            }
            changed = remote.changed(), if open => {
                if changed.is_err() {
                    // This agent announces itself to nobody: its own settings stay in force.
                    open = false;
                    continue;
                }
                let told = remote.borrow_and_update().clone();
                match Selection::new(&told) {
                    Ok(new) => {
                        interval = match u64::try_from(told.interval_ms) {
                            Ok(ms @ 1..) => Duration::from_millis(ms.max(1_000)),
                            _ => own,
                        };
                        *selection.lock() = new;
                        tracing::info!(
                            ?interval, disabled_collectors = ?told.disabled_collectors, keep = ?told.keep, drop = ?told.drop,
                            "the collector said what is to be pushed"
                        );
                    }
                    Err(reason) => {
                        tracing::error!(%reason, "what the collector said is to be pushed cannot be used; what was in force stays");
                    }
                }
            }
        }
    }
}

/// Which part of what is seen is pushed.
#[derive(Clone, Debug, Default)]
struct Selection {
    /// Collectors that are not asked.
    without: BTreeSet<String>,
    keep: Option<RegexSet>,
    drop: Option<RegexSet>,
}

impl Selection {
    fn new(remote: &Remote) -> Result<Self, regex::Error> {
        let set = |patterns: &[String]| {
            let whole = patterns.iter().map(|pattern| format!("^(?:{pattern})$"));
            (!patterns.is_empty()).then(|| RegexSet::new(whole)).transpose()
        };
        Ok(Self {
            without: remote.disabled_collectors.iter().cloned().collect(),
            keep: set(&remote.keep)?,
            drop: set(&remote.drop)?,
        })
    }

    fn keeps(&self, name: &str) -> bool {
        self.keep.as_ref().is_none_or(|keep| keep.is_match(name))
            && !self.drop.as_ref().is_some_and(|drop| drop.is_match(name))
    }
}

/// Where samples go: the file's own destinations, or the collectors in turn.
fn destinations(config: &AgentConfig, prometheus: &PrometheusFile) -> anyhow::Result<Vec<Destination>> {
    if !prometheus.remote_write.is_empty() {
        return forward::destinations(prometheus);
    }
    anyhow::ensure!(!config.collectors.is_empty(), "there is no collector to push to");
    Ok(vec![forward::upstream("collectors", &config.collectors, config.http())?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_chosen_by_whole_names() {
        let remote = |keep: &[&str], drop: &[&str]| Remote {
            keep: keep.iter().map(|&text| text.to_owned()).collect(),
            drop: drop.iter().map(|&text| text.to_owned()).collect(),
            ..Remote::default()
        };
        let all = Selection::new(&remote(&[], &[])).unwrap();
        assert!(all.keeps("node_load1"));
        let some = Selection::new(&remote(&["node_load.*", "node_cpu"], &["node_load15"])).unwrap();
        let kept: Vec<&str> = ["node_load1", "node_load15", "node_cpu", "node_cpu_seconds_total", "x"]
            .into_iter()
            .filter(|name| some.keeps(name))
            .collect();
        assert_eq!(kept, ["node_load1", "node_cpu"]);
        assert!(Selection::new(&remote(&["("], &[])).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn another_interval_is_kept_from_when_it_is_told() {
        let (wake, selection) = (Arc::new(Notify::new()), Arc::default());
        let (tell, told) = watch::channel(Remote::default());
        let timer = tokio::spawn(keep_time(Duration::from_secs(15), Arc::clone(&wake), told, selection));
        let started = tokio::time::Instant::now();
        wake.notified().await;
        assert_eq!(started.elapsed().as_secs(), 15);
        tell.send_replace(Remote { interval_ms: 2_000, ..Remote::default() });
        wake.notified().await;
        assert_eq!(started.elapsed().as_secs(), 17);
        // Nonsense changes nothing, 0 leaves it to the agent, and so does nobody.
        tell.send_replace(Remote { interval_ms: 60_000, keep: vec!["(".into()], ..Remote::default() });
        wake.notified().await;
        assert_eq!(started.elapsed().as_secs(), 19);
        tell.send_replace(Remote::default());
        wake.notified().await;
        assert_eq!(started.elapsed().as_secs(), 34);
        drop(tell);
        wake.notified().await;
        assert_eq!(started.elapsed().as_secs(), 49);
        timer.abort();
    }
}
