//! The Pushgateway's interface: metrics of jobs that do not live long enough to be scraped.
//!
//! A group is what one grouping key (the job and further labels) has pushed. It is kept in a file before the push is acknowledged, and its
//! samples are stored again at each interval, as a scrape would, until it is deleted or has not been pushed to for `expiry`. Then its series
//! end with staleness markers. Answers are the Pushgateway's: 200, 202 for a deletion, 400 for what cannot be accepted.

mod files;
mod group;
mod path;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{Appender, Batch, Clock, ErrorKind, Labels, TenantId};
use tokio::sync::{Mutex, watch};
use wire::exposition::Format;
use wire::gather::Refused;

use crate::config::PushgatewayConfig;
use crate::metrics::Metrics;
use crate::push::{Answer, Pushed, Stored, store};
use group::Group;
pub use path::{GroupingKey, InvalidPath};

const PROTOCOL: &str = "pushgateway";

/// What a push does to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `PUT`: the group becomes what was pushed.
    Replace,
    /// `POST`: metrics of the same names are replaced.
    Merge,
    /// `DELETE`
    Delete,
}

/// All groups.
pub struct Pushgateway {
    config: PushgatewayConfig,
    max_decompressed: usize,
    folder: PathBuf,
    appender: Arc<dyn Appender>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// Held while a group is changed and its file written, so that both agree.
    groups: Mutex<BTreeMap<(TenantId, Labels), Group>>,
}

/// The folder of the groups cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {path:?}, where pushed groups are kept")]
pub struct FolderError {
    verb: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

impl Pushgateway {
    /// Reads what an earlier process has kept in `folder`, which is created. A file that is damaged is left alone and reported.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(
        config: &PushgatewayConfig,
        max_decompressed: usize,
        folder: PathBuf,
        appender: Arc<dyn Appender>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, FolderError> {
        let groups = if config.enabled { files::load(&folder)? } else { BTreeMap::new() };
        metrics.pushgateway_groups.set(groups.len() as i64);
        Ok(Self {
            config: config.clone(),
            max_decompressed,
            folder,
            appender,
            clock,
            metrics,
            groups: Mutex::new(groups),
        })
    }

    /// Whether it is switched on.
    pub fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    /// Handles a push or a deletion.
    pub async fn receive(&self, action: Action, key: &GroupingKey, pushed: &Pushed<'_>) -> Answer {
        let answer = self.handle(action, key, pushed).await;
        if answer.status == 400 {
            self.note_failure(key, pushed.tenant).await;
        }
        answer
    }

    async fn handle(&self, action: Action, key: &GroupingKey, pushed: &Pushed<'_>) -> Answer {
        let id = (pushed.tenant.clone(), key.labels().clone());
        let now = self.clock.now().ms();
        if action == Action::Delete {
            let mut groups = self.groups.lock().await;
            if let Some(group) = groups.get(&id) {
                if let Err(reason) = files::remove(&self.folder, &id).await {
                    return Answer::text(500, reason);
                }
                let ended = group.ends(now);
                groups.remove(&id);
                self.metrics.pushgateway_groups.set(groups.len() as i64);
                drop(groups);
                self.keep_storing(pushed.tenant, &ended).await;
            }
            return Answer::empty(202);
        }
        let given = pushed.content_encoding.unwrap_or_default();
        let Some(encoding) = wire::compress::Encoding::from_header(given) else {
            return Answer::text(
                415,
                format!("unsupported Content-Encoding {given:?}; use gzip, snappy or zstd"),
            );
        };
        let mut body = Vec::new();
        match wire::compress::decompress(encoding, pushed.body, self.max_decompressed, &mut body) {
            Ok(()) => {}
            Err(err @ wire::compress::Error::TooLarge { .. }) => return Answer::text(413, err.to_string()),
            Err(err) => return Answer::text(400, err.to_string()),
        }
        // As the Pushgateway: what is not protobuf is text.
        let format = match pushed.content_type.and_then(Format::from_content_type) {
            Some(Format::Protobuf) => Format::Protobuf,
            Some(format) if format.is_openmetrics() && body.ends_with(b"# EOF\n") => format,
            _ => Format::Text004,
        };
        let fresh = match Group::read(format, &body, key.labels()) {
            Ok(group) => group,
            Err(reason) => {
                return Answer::text(
                    400,
                    format!("pushed metrics are invalid or inconsistent with existing metrics: {reason}"),
                );
            }
        };
        let mut groups = self.groups.lock().await;
        let old = groups.get(&id);
        if old.is_none() && groups.len() >= self.config.max_groups {
            let limit = self.config.max_groups;
            return Answer::text(
                429,
                format!("there are {limit} groups already (ingest.pushgateway.max_groups)"),
            )
            .retry_after();
        }
        let mut group = match (action, old) {
            (Action::Merge, Some(old)) => old.merged(fresh),
            _ => fresh,
        };
        if group.len() > self.config.max_series {
            let (len, limit) = (group.len(), self.config.max_series);
            return Answer::text(
                400,
                format!(
                    "the group would have {len} series, the limit is {limit} (ingest.pushgateway.max_series)"
                ),
            );
        }
        group.push_time = now;
        group.failure_time = old.map_or(0, |old| old.failure_time);
        // What the new group lacks ends; what it has is stored at once.
        let mut batch = group.batch(now);
        if let Some(old) = old {
            old.end_missing(&group, now, &mut batch);
        }
        let stored = store(&*self.appender, pushed.tenant, &batch).await;
        self.metrics.pushed(PROTOCOL, &batch, &Refused::default(), &stored);
        match &stored {
            Stored::Later { status, reason } => return Answer::text(*status, reason.clone()).retry_after(),
            Stored::Failed { status, reason } => return Answer::text(*status, reason.clone()),
            Stored::Done { rejected, first } if *rejected > 0 => {
                let first = first.clone().unwrap_or_default();
                return Answer::text(400, format!("{rejected} samples were refused: {first}"));
            }
            Stored::Done { .. } => {}
        }
        if let Err(reason) = files::write(&self.folder, &id, &group).await {
            return Answer::text(500, reason);
        }
        groups.insert(id, group);
        self.metrics.pushgateway_groups.set(groups.len() as i64);
        Answer::empty(200)
    }

    /// A refused push is visible at the group it was meant for.
    async fn note_failure(&self, key: &GroupingKey, tenant: &TenantId) {
        let id = (tenant.clone(), key.labels().clone());
        let now = self.clock.now().ms();
        if let Some(group) = self.groups.lock().await.get_mut(&id) {
            group.failure_time = now;
        }
    }

    /// Deletes every group of a tenant.
    pub async fn wipe(&self, tenant: &TenantId) -> Answer {
        let mut groups = self.groups.lock().await;
        let now = self.clock.now().ms();
        let ids: Vec<_> = groups.keys().filter(|(owner, _)| owner == tenant).cloned().collect();
        for id in ids {
            if let Err(reason) = files::remove(&self.folder, &id).await {
                return Answer::text(500, reason);
            }
            if let Some(group) = groups.remove(&id) {
                self.keep_storing(tenant, &group.ends(now)).await;
            }
        }
        self.metrics.pushgateway_groups.set(groups.len() as i64);
        Answer::empty(202)
    }

    /// The groups of a tenant, as `GET /api/v1/metrics` of the Pushgateway shows them.
    pub async fn list(&self, tenant: &TenantId) -> serde_json::Value {
        let groups = self.groups.lock().await;
        let shown: Vec<_> = groups
            .iter()
            .filter(|((owner, _), _)| owner == tenant)
            .map(|((_, key), g)| g.json(key))
            .collect();
        serde_json::json!({"status": "success", "data": shown})
    }

    /// Stores every group's samples at each interval, and ends those that have expired.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let interval = Duration::from_millis(u64::try_from(self.config.interval.ms()).unwrap_or(1).max(1000));
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let ends = tokio::select! {
                _ = ticks.tick() => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            if ends {
                return;
            }
            self.round().await;
        }
    }

    async fn round(&self) {
        let now = self.clock.now().ms();
        let expiry = self.config.expiry.ms();
        let mut groups = self.groups.lock().await;
        let expired: Vec<_> = groups
            .iter()
            .filter(|(_, group)| expiry > 0 && now - group.push_time > expiry)
            .map(|(id, _)| id.clone())
            .collect();
        let mut batches: Vec<(TenantId, Batch)> = Vec::new();
        for id in expired {
            if let Err(reason) = files::remove(&self.folder, &id).await {
                tracing::error!(group = %id.1, %reason, "a pushed group has expired, but its file cannot be removed");
                continue;
            }
            if let Some(group) = groups.remove(&id) {
                tracing::info!(group = %id.1, "a pushed group has expired");
                self.metrics.pushgateway_expired.inc();
                batches.push((id.0, group.ends(now)));
            }
        }
        self.metrics.pushgateway_groups.set(groups.len() as i64);
        batches.extend(groups.iter().map(|((tenant, _), group)| (tenant.clone(), group.batch(now))));
        drop(groups);
        for (tenant, batch) in batches {
            self.keep_storing(&tenant, &batch).await;
        }
    }

    async fn keep_storing(&self, tenant: &TenantId, batch: &Batch) {
        match self.appender.append(tenant, batch).await {
            Ok(_) => {}
            // The next interval brings the same values.
            Err(err) if matches!(err.kind(), ErrorKind::Limit | ErrorKind::Unavailable) => {
                self.metrics.warn(PROTOCOL, &err.chain());
            }
            Err(err) => tracing::error!(error = %err.chain(), "pushed groups cannot be stored"),
        }
    }
}
