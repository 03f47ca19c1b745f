//! Remote write out: what is stored here is sent to other servers as well, through a spool on disk.
//!
//! [`Forward`] stands between the gate and the storage. A batch is stored first, then written to the spool, then acknowledged; senders
//! read the spool at their own pace. What has been acknowledged by a destination is remembered in a small file, so that a restart goes on
//! where the last process was (a few samples are then sent twice, which is harmless). Layout of the spool: docs/formats/spool.md.

mod destination;
mod sender;
mod series;
mod spool;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use model::batch::SeriesKey;
use model::seam::BoxFuture;
use model::{Appended, Appender, Batch, Clock, ErrorKind, Labels, SeamError, SeriesRef, TenantId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use destination::{Destination, InvalidDestination, Queue, Settings};
pub use spool::SpoolError;

use crate::config::ForwardConfig;
use crate::metrics::{Dropped, Metrics};
use sender::Sender;
use series::Series;
use spool::{Record, Spool, Written};

/// Series whose labels are remembered by their reference; those of further ones are asked for each time.
const MAX_LABELS: usize = 500_000;

/// The labels of a series that the storage has given a reference for.
pub type LabelsOf = Arc<dyn Fn(&TenantId, SeriesRef) -> Option<Labels> + Send + Sync>;

/// An `Appender` that stores in another, and sends to destinations.
pub struct Forward {
    inner: Arc<dyn Appender>,
    labels_of: LabelsOf,
    /// There is no storage but the spool: what it does not take is lost, and said so.
    spool_only: bool,
    clock: Arc<dyn Clock>,
    config: ForwardConfig,
    folder: PathBuf,
    metrics: Metrics,
    active: RwLock<Option<Active>>,
    known: Mutex<HashMap<(TenantId, SeriesRef), Known>>,
}

/// What is known of a series.
#[derive(Clone)]
struct Known {
    labels: Labels,
    /// Whether a destination wants it.
    wanted: bool,
}

/// While there are destinations.
struct Active {
    spool: Arc<Spool>,
    destinations: Vec<Arc<Destination>>,
    senders: Vec<(String, watch::Sender<bool>, JoinHandle<()>)>,
    sync: (watch::Sender<bool>, JoinHandle<()>),
}

impl Forward {
    /// Sends nothing until [`Forward::reload`] names destinations. `folder`: where the spool is.
    pub fn new(
        inner: Arc<dyn Appender>,
        labels_of: LabelsOf,
        clock: Arc<dyn Clock>,
        config: &ForwardConfig,
        folder: PathBuf,
        metrics: Metrics,
    ) -> Self {
        Self {
            inner,
            labels_of,
            spool_only: false,
            clock,
            config: config.clone(),
            folder,
            metrics,
            active: RwLock::new(None),
            known: Mutex::new(HashMap::new()),
        }
    }

    /// Stores nothing: what the spool has taken is acknowledged, and what it cannot take is an error.
    pub fn without_storage(
        clock: Arc<dyn Clock>,
        config: &ForwardConfig,
        folder: PathBuf,
        metrics: Metrics,
    ) -> Self {
        let series = Arc::new(Series::default());
        let known = Arc::clone(&series);
        let labels_of: LabelsOf = Arc::new(move |_, reference| known.labels_of(reference));
        Self { spool_only: true, ..Self::new(series, labels_of, clock, config, folder, metrics) }
    }

    /// Puts other destinations in force. One that stays as it is keeps its sender; a new one begins with what is stored from now on.
    ///
    /// # Errors
    /// The spool cannot be used; nothing has changed then.
    pub async fn reload(&self, destinations: Vec<Destination>) -> Result<(), SpoolError> {
        let old = self.active.write().take();
        let (spool, old_destinations, old_senders, sync) = match old {
            Some(Active { spool, destinations, senders, sync }) => {
                (Some(spool), destinations, senders, Some(sync))
            }
            None => (None, Vec::new(), Vec::new(), None),
        };
        let destinations: Vec<Arc<Destination>> = destinations.into_iter().map(Arc::new).collect();
        let mut kept = Vec::new();
        for (name, stop, task) in old_senders {
            let same = old_destinations
                .iter()
                .find(|old| old.name() == name)
                .is_some_and(|old| destinations.iter().any(|new| new.is_same(old)));
            if same {
                kept.push((name, stop, task));
            } else {
                stop.send_replace(true);
                join(task).await;
            }
        }
        self.known.lock().clear();
        let spool = match spool {
            Some(spool) => spool,
            None if destinations.is_empty() => return Ok(()),
            None => {
                let (config, folder, metrics) =
                    (self.config.clone(), self.folder.clone(), self.metrics.clone());
                let open = move || Spool::open(&config, folder, metrics);
                Arc::new(tokio::task::spawn_blocking(open).await.map_err(SpoolError::task)??)
            }
        };
        spool.keep_cursors(&destinations.iter().map(|d| d.name().to_owned()).collect::<Vec<_>>());
        for destination in &destinations {
            if kept.iter().any(|(name, _, _)| name == destination.name()) {
                continue;
            }
            let sender = Sender::new(
                Arc::clone(destination),
                Arc::clone(&spool),
                Arc::clone(&self.clock),
                self.metrics.clone(),
            );
            let (stop, stopped) = watch::channel(false);
            kept.push((destination.name().to_owned(), stop, tokio::spawn(sender.run(stopped))));
        }
        let sync = match sync {
            Some(sync) => sync,
            None => {
                let (stop, stopped) = watch::channel(false);
                let task = Arc::clone(&spool).sync_forever(self.config.sync_interval.to_std(), stopped);
                (stop, tokio::spawn(task))
            }
        };
        let active = Active { spool, destinations, senders: kept, sync };
        if active.destinations.is_empty() {
            close(active).await;
        } else {
            *self.active.write() = Some(active);
        }
        Ok(())
    }

    /// Ends the senders; what has not been sent stays in the spool.
    pub async fn close(&self) {
        let active = self.active.write().take();
        if let Some(active) = active {
            close(active).await;
        }
    }

    /// The spool and the destinations, while there are any.
    fn current(&self) -> Option<(Arc<Spool>, Vec<Arc<Destination>>)> {
        let active = self.active.read();
        active.as_ref().map(|active| (Arc::clone(&active.spool), active.destinations.clone()))
    }

    /// What of a stored batch is to be sent, with every series named by its labels.
    fn wanted(
        &self,
        destinations: &[Arc<Destination>],
        tenant: &TenantId,
        batch: &Batch,
        appended: &Appended,
    ) -> Batch {
        let mut out = Batch::new();
        let mut map: Vec<Option<u32>> = vec![None; batch.series().len()];
        {
            let mut known = self.known.lock();
            for (index, key) in batch.series().iter().enumerate() {
                // Not stored, so not sent either.
                let Some(stored) = appended.refs.get(index).copied().flatten() else { continue };
                let found = known.get(&(tenant.clone(), stored));
                let entry = match found {
                    Some(found) => found.clone(),
                    None => {
                        let labels = match key {
                            SeriesKey::Labels(_) => {
                                batch.label_bytes(index as u32).and_then(Labels::from_encoded)
                            }
                            SeriesKey::Ref(_) => (self.labels_of)(tenant, stored),
                        };
                        // Gone from the head in the meantime: its samples are too old to matter.
                        let Some(labels) = labels else {
                            self.metrics
                                .forward_dropped
                                .get_or_create(&Dropped::because("unknown_series"))
                                .inc();
                            continue;
                        };
                        let wanted = destinations.iter().any(|destination| destination.wants(&labels));
                        let entry = Known { labels, wanted };
                        if known.len() < MAX_LABELS {
                            known.insert((tenant.clone(), stored), entry.clone());
                        } else if known.len() == MAX_LABELS {
                            // Series come and go; those that stay are back in a moment.
                            known.clear();
                        }
                        entry
                    }
                };
                if entry.wanted {
                    map[index] = Some(out.add_series(&entry.labels));
                }
            }
        }
        copy(batch, &map, &mut out);
        out
    }

    async fn spool(&self, spool: Arc<Spool>, tenant: &TenantId, batch: Batch) -> Result<(), String> {
        let samples = batch.sample_count() as u64;
        let record = Record::of(tenant, &batch);
        let written = tokio::task::spawn_blocking(move || spool.append(&record)).await;
        let (reason, text) = match written {
            Ok(Ok(Written::Kept)) => {
                self.metrics.forward_spooled.inc_by(samples);
                return Ok(());
            }
            Ok(Ok(Written::Full)) => ("spool_full_newest", "the spool is full".to_owned()),
            Ok(Err(err)) => ("spool_error", err.to_string()),
            Err(err) => ("spool_error", err.to_string()),
        };
        if reason == "spool_error" {
            self.metrics.warn("forward", &text);
        }
        self.metrics.forward_dropped.get_or_create(&Dropped::because(reason)).inc_by(samples);
        Err(text)
    }
}

/// Copies the samples of the series that `map` numbers anew, and what is known of metrics.
fn copy(batch: &Batch, map: &[Option<u32>], out: &mut Batch) {
    for sample in batch.floats() {
        if let Some(series) = map[sample.series as usize] {
            out.push_float(series, sample.time, sample.value);
        }
    }
    for sample in batch.histograms() {
        if let Some(series) = map[sample.series as usize] {
            out.push_histogram(series, sample.time, Arc::clone(&sample.histogram));
        }
    }
    for (series, time, start) in batch.starts() {
        if let Some(series) = map[*series as usize] {
            out.push_start(series, *time, *start);
        }
    }
    for (series, exemplar) in batch.exemplars() {
        if let Some(series) = map[*series as usize] {
            out.push_exemplar(series, exemplar.clone());
        }
    }
    for (name, metadata) in batch.metadata() {
        out.push_metadata(name.as_str(), metadata.clone());
    }
}

async fn close(active: Active) {
    for (_, stop, _) in &active.senders {
        stop.send_replace(true);
    }
    for (_, _, task) in active.senders {
        join(task).await;
    }
    active.sync.0.send_replace(true);
    join(active.sync.1).await;
}

async fn join(task: JoinHandle<()>) {
    if let Err(err) = task.await {
        tracing::error!(error = %err, "a task of the forwarding ended early");
    }
}

impl Appender for Forward {
    fn append<'a>(
        &'a self,
        tenant: &'a TenantId,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            let current = self.current();
            if self.spool_only && current.is_none() {
                return Err(SeamError::new(ErrorKind::Unavailable, "there is no destination"));
            }
            let appended = self.inner.append(tenant, batch).await?;
            if let Some((spool, destinations)) = current {
                let wanted = self.wanted(&destinations, tenant, batch, &appended);
                if !wanted.is_empty()
                    && let Err(reason) = self.spool(spool, tenant, wanted).await
                    && self.spool_only
                {
                    // Elsewhere it was counted and said, and the samples are in the storage.
                    return Err(SeamError::new(ErrorKind::Unavailable, reason));
                }
            }
            Ok(appended)
        })
    }
}
