//! Background work: what is due is decided by a pure function, and done by one thread.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{TenantId, Timestamp};
use parking_lot::{Condvar, Mutex};

use crate::block::BlockMeta;
use crate::config::Config;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::metrics::KindLabels;
use crate::retention;
use crate::tenant::Tenant;
use crate::wal::describe;

/// What is known about a tenant when work is planned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// When the head was sealed last.
    pub(crate) last_seal: i64,
    /// Samples in memory that are not sealed.
    pub(crate) unsealed: u64,
    /// The end of the last complete window with samples in the head.
    pub(crate) due_cut: Option<i64>,
    /// Deletions wait for blocks to be written anew.
    pub(crate) deletions: bool,
}

/// One piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Seal the head.
    Seal,
    /// Cut the head up to here.
    Cut(i64),
    /// Merge short sealed files when there are enough.
    MergeSealed,
    /// Write blocks with deleted samples anew.
    Clean,
    /// Merge blocks while some are due.
    Compact,
    /// Make down-sampled tiers of complete days.
    Tiers,
}

/// Bytes of a sample in memory, about.
const SAMPLE_BYTES: u64 = 10;

/// What is due for a tenant, in order.
pub(crate) fn plan(facts: &Facts, config: &Config, now: i64) -> Vec<Task> {
    let mut tasks = Vec::new();
    // A clock that jumped back must not put the seal off for ever.
    let since = now.saturating_sub(facts.last_seal);
    let due = since >= config.seal_interval.ms() || since < 0;
    let big = facts.unsealed.saturating_mul(SAMPLE_BYTES) >= config.seal_bytes;
    match facts.due_cut {
        // A cut seals first.
        Some(end) => tasks.push(Task::Cut(end)),
        None if facts.unsealed > 0 && (due || big) => tasks.push(Task::Seal),
        None => {}
    }
    tasks.push(Task::MergeSealed);
    if facts.deletions {
        tasks.push(Task::Clean);
    }
    tasks.push(Task::Compact);
    if !config.tiers.is_empty() {
        tasks.push(Task::Tiers);
    }
    tasks
}

impl Tenant {
    fn facts(&self, now: i64) -> Facts {
        Facts {
            last_seal: self.last_seal.load(Ordering::Relaxed),
            unsealed: self.head.unsealed.load(Ordering::Relaxed),
            due_cut: self.due_cut(now),
            deletions: self.tombstones.read().0.iter().any(|t| !t.pending.is_empty()),
        }
    }

    fn run(&self, task: Task, now: i64) -> Result<()> {
        match task {
            Task::Seal => self.seal(now).map(drop),
            Task::Cut(end) => {
                let blocks = self.cut(end)?;
                self.last_seal.store(now, Ordering::Relaxed);
                tracing::info!(tenant = %self.id, blocks, until = end, "cut the head");
                Ok(())
            }
            Task::MergeSealed => self.merge_sealed().map(drop),
            Task::Clean => self.clean_tombstones().map(drop),
            Task::Compact => {
                while self.compact_once()? {}
                Ok(())
            }
            Task::Tiers => self.make_tiers().map(drop),
        }
    }
}

impl Db {
    /// Does all background work that is due at `now`: seals, cuts blocks, merges them, deletes what retention says.
    ///
    /// # Errors
    /// The first failure; the other work is done all the same, and what failed is due again at the next call.
    pub fn maintain(&self, now: Timestamp) -> Result<()> {
        let mut first = None;
        let mut note = |what: &str, tenant: &TenantId, outcome: Result<()>| {
            if let Err(err) = outcome {
                self.metrics().maintenance_failures.inc();
                if !matches!(err, Error::Closed) {
                    tracing::warn!(%tenant, what, error = %describe(&err), "background work failed; it will be tried again");
                }
                first.get_or_insert(err);
            }
        };
        let tenants = self.all_tenants();
        for tenant in &tenants {
            for task in plan(&tenant.facts(now.ms()), self.config(), now.ms()) {
                note("maintain", &tenant.id, tenant.run(task, now.ms()));
            }
        }
        let mut owners: Vec<(Arc<Tenant>, BlockMeta)> = Vec::new();
        for tenant in &tenants {
            owners.extend(tenant.blocks.list().iter().map(|b| (Arc::clone(tenant), b.meta().clone())));
        }
        let metas: Vec<BlockMeta> = owners.iter().map(|(_, meta)| meta.clone()).collect();
        // A clock that has jumped ahead must not make everything old.
        let newest =
            tenants.iter().filter_map(|t| t.head.newest()).chain(metas.iter().map(|m| m.max_time)).max();
        let age_from = newest.map_or(now.ms(), |newest| newest.min(now.ms()));
        let total: u64 = metas.iter().map(|meta| meta.bytes).sum();
        let pressed = self.config().retention_bytes > 0 && total > self.config().retention_bytes;
        let expired = retention::expired(&metas, self.config(), age_from);
        for tenant in &tenants {
            let of_tenant = expired.iter().filter(|&&at| owners[at].0.id == tenant.id);
            let of_tenant = of_tenant.filter(|&&at| tenant.may_delete(&owners[at].1, pressed, age_from));
            let ids: BTreeSet<String> = of_tenant.map(|&at| owners[at].1.id.clone()).collect();
            if !ids.is_empty() {
                // First, so that nobody takes for complete what is about to be deleted.
                let until = expired.iter().map(|&at| owners[at].1.max_time).max();
                self.deleted_until.fetch_max(until.unwrap_or(i64::MIN), Ordering::Relaxed);
                note("retention", &tenant.id, tenant.delete_blocks(&ids));
            }
        }
        self.measure(&tenants);
        first.map_or(Ok(()), Err)
    }

    /// Sets the gauges that are too dear to follow every change.
    fn measure(&self, tenants: &[Arc<Tenant>]) {
        let metrics = self.metrics();
        let mut kinds = [("index", 0), ("groups", 0), ("rows", 0), ("exemplars", 0)];
        let (mut blocks, mut bytes) = (0, 0);
        for tenant in tenants {
            for (kind, size) in tenant.memory() {
                if let Some(sum) = kinds.iter_mut().find(|(k, _)| *k == kind) {
                    sum.1 += size;
                }
            }
            blocks += tenant.blocks.list().len();
            bytes += tenant.blocks.bytes();
        }
        for (kind, size) in kinds {
            metrics.head_memory_bytes.get_or_create(&KindLabels { kind: kind.to_owned() }).set(size as i64);
        }
        metrics.blocks.set(blocks as i64);
        metrics.blocks_bytes.set(bytes as i64);
    }

    /// Starts the thread that calls [`Db::maintain`] every `period`, by the database's clock, until the answer is dropped.
    ///
    /// # Errors
    /// `Io` when the thread cannot be started.
    pub fn start_maintenance(self: &Arc<Self>, period: Duration) -> Result<Maintenance> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (db, stopped) = (Arc::clone(self), Arc::clone(&stop));
        let run = move || {
            let mut stop = stopped.0.lock();
            while !*stop {
                stopped.1.wait_for(&mut stop, period);
                if *stop {
                    return;
                }
                drop(stop);
                if let Err(err) = db.maintain(db.clock().now()) {
                    tracing::debug!(error = %err, "maintenance is not complete");
                }
                stop = stopped.0.lock();
            }
        };
        let thread = std::thread::Builder::new().name("tsdb-maintain".to_owned()).spawn(run);
        let thread = thread.map_err(Error::io("start a thread for", &self.config().path))?;
        Ok(Maintenance { db: Arc::clone(self), stop, thread: Some(thread) })
    }
}

/// The thread that does background work; dropping it stops the work at the next series and waits for the thread.
pub struct Maintenance {
    db: Arc<Db>,
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        let tenants = self.db.all_tenants();
        tenants.iter().for_each(|tenant| tenant.closing.store(true, Ordering::Relaxed));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the maintenance thread has panicked");
        }
        tenants.iter().for_each(|tenant| tenant.closing.store(false, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_due_when_it_should_be() {
        let config = Config::default();
        let interval = config.seal_interval.ms();
        let facts = Facts { last_seal: 1000, unsealed: 1, ..Facts::default() };
        let check = |facts: &Facts, now| plan(facts, &config, now);
        assert_eq!(check(&facts, 1000 + interval - 1), [Task::MergeSealed, Task::Compact]);
        assert_eq!(check(&facts, 1000 + interval), [Task::Seal, Task::MergeSealed, Task::Compact]);
        assert_eq!(check(&facts, 0), [Task::Seal, Task::MergeSealed, Task::Compact]);
        assert_eq!(
            check(&Facts { unsealed: 0, ..facts.clone() }, i64::MAX),
            [Task::MergeSealed, Task::Compact]
        );
        assert_eq!(
            check(&Facts { unsealed: 1 << 40, ..facts.clone() }, 1001),
            [Task::Seal, Task::MergeSealed, Task::Compact]
        );
        let cut = Facts { due_cut: Some(7), deletions: true, ..facts };
        assert_eq!(check(&cut, 1001), [Task::Cut(7), Task::MergeSealed, Task::Clean, Task::Compact]);
        let tiers = Config { tiers: vec![Default::default()], ..Config::default() };
        assert_eq!(
            plan(&cut, &tiers, 1001),
            [Task::Cut(7), Task::MergeSealed, Task::Clean, Task::Compact, Task::Tiers]
        );
    }
}
