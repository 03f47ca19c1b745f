//! The database: opens and recovers the data folder, and hands batches and queries to their tenant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hashbrown::HashMap;
use model::seam::{Names, Select, Selected, SeriesExemplars, TimeRange};
use model::{Appended, Batch, Budget, Clock, Labels, Metadata, Selector, TenantId};
use parking_lot::RwLock;

use crate::block::BlockMeta;
use crate::bucket::{Bucket, Location};
use crate::config::Config;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::head::append::Outcome;
use crate::metrics::Metrics;
use crate::query::{self, DbSeries};
use crate::recovery::Recovered;
use crate::stats::Stats;
use crate::tenant::{Shared, Tenant};

/// Name of the lock file; no tenant can have it.
const LOCK: &str = ".lock";

/// The database of one data folder. Every method may be called from any thread.
pub struct Db {
    shared: Shared,
    tenants: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    recovered: Recovered,
    /// Blocks with samples up to this time have been deleted by retention since the database was opened.
    pub(crate) deleted_until: AtomicI64,
    _lock: Box<dyn Send + Sync>,
}

impl Db {
    /// Opens a data folder, creating it when it is not there, and recovers what it holds.
    ///
    /// # Errors
    /// `Locked` when another process has it, `Invalid` for settings that make no sense, `Io`, `Corrupt`.
    pub fn open(
        config: Config,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        metrics: Metrics,
    ) -> Result<Arc<Self>> {
        if !config.bucket.url.is_empty() {
            return Err(Error::Invalid(format!("there is no object store for {}", config.bucket.url)));
        }
        Self::open_with(config, clock, disk, metrics, None)
    }

    /// Opens a data folder whose complete blocks are copied to an object store, and read back from there.
    ///
    /// # Errors
    /// As [`Db::open`]. A store that does not answer is no error: answers say that its samples are missing.
    pub fn open_with(
        config: Config,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        metrics: Metrics,
        bucket: Option<Location>,
    ) -> Result<Arc<Self>> {
        config.check().map_err(|wrong| Error::Invalid(wrong.to_string()))?;
        let started = std::time::Instant::now();
        let path = config.path.clone();
        disk.create_dir_all(&path).map_err(Error::io("create", &path))?;
        let lock_path = path.join(LOCK);
        let owner = format!("process {}", std::process::id());
        let lock = disk.lock(&lock_path, &owner).map_err(|err| match err.kind() {
            std::io::ErrorKind::WouldBlock => {
                let owner = disk.read(&lock_path).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let owner = owner.filter(|o| !o.is_empty()).unwrap_or_else(|| "unknown".to_owned());
                Error::Locked { path: path.clone(), owner }
            }
            _ => Error::io("lock", &lock_path)(err),
        })?;
        let bucket = match bucket {
            Some(at) => Some(Arc::new(Bucket::open(&config.bucket, at, &path, &disk, &metrics)?)),
            None => None,
        };
        let shared = Shared { config: Arc::new(config), clock, disk, metrics, bucket };
        let mut tenants = HashMap::new();
        let mut recovered = Recovered::default();
        for entry in shared.disk.list(&path).map_err(Error::io("list", &path))? {
            let Ok(id) = TenantId::new(&entry.name) else { continue };
            if !entry.is_dir {
                // Every batch of this tenant would be refused, and nothing would be there to say so before the first.
                if id == TenantId::default()
                    || shared.config.tenant_limits.iter().any(|own| own.tenant == id.as_str())
                {
                    return Err(Error::Invalid(format!(
                        "{} is not a folder, so the samples of tenant {id} have no place; move the file away",
                        path.join(&entry.name).display()
                    )));
                }
                continue;
            }
            let (tenant, found) = Tenant::open(&shared, &id)?;
            recovered.add(found);
            tenants.insert(id, tenant);
        }
        recovered.took_ms = started.elapsed().as_millis() as u64;
        shared.metrics.replayed_samples.inc_by(recovered.samples);
        shared.metrics.wal_torn_bytes.inc_by(recovered.torn_bytes);
        shared.metrics.quarantined_files.inc_by(recovered.quarantined.len() as u64);
        tracing::info!(%recovered, path = %path.display(), "storage is open");
        let tenants = RwLock::new(tenants);
        let deleted_until = AtomicI64::new(i64::MIN);
        Ok(Arc::new(Self { shared, tenants, recovered, deleted_until, _lock: lock }))
    }

    /// What opening brought back.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn bucket(&self) -> Option<&Arc<Bucket>> {
        self.shared.bucket.as_ref()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.shared.disk
    }

    /// Numbers of a tenant's head, its labels and its files, with `limit` names in each list; `None` for a tenant without
    /// data. Walks all label pairs: not for every scrape.
    pub fn stats(&self, tenant: &TenantId, limit: usize) -> Option<Stats> {
        self.tenant(tenant).map(|tenant| tenant.stats(limit))
    }

    /// Up to which time, in milliseconds, retention has deleted samples since the database was opened; `i64::MIN` for none.
    pub fn deleted_until(&self) -> i64 {
        self.deleted_until.load(Ordering::Relaxed)
    }

    /// What the blocks of a tenant say of themselves, oldest first.
    pub fn blocks(&self, tenant: &TenantId) -> Vec<BlockMeta> {
        let tenant = self.tenant(tenant);
        tenant
            .map(|tenant| tenant.blocks.list().iter().map(|block| block.meta().clone()).collect())
            .unwrap_or_default()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Deletes the samples of series that pass any of the selectors, in `range` but not after the newest sample: gone for
    /// readers when this returns, and from the disk with the next [`Db::clean_tombstones`].
    ///
    /// # Errors
    /// `Invalid` without a selector, `Io`; nothing is deleted then.
    pub fn delete_series(&self, tenant: &TenantId, selectors: &[Selector], range: TimeRange) -> Result<()> {
        if selectors.iter().all(Vec::is_empty) {
            return Err(Error::Invalid("a deletion needs a selector with at least one matcher".to_owned()));
        }
        match self.tenant(tenant) {
            Some(tenant) => tenant.delete(selectors, range.start.ms(), range.end.ms()),
            None => Ok(()),
        }
    }

    /// Writes every block that holds deleted samples anew without them; how many.
    ///
    /// # Errors
    /// `Io`, `Corrupt`; the rest is left for the next call.
    pub fn clean_tombstones(&self) -> Result<usize> {
        self.all_tenants().iter().map(|tenant| tenant.clean_tombstones()).sum()
    }

    /// Tenants with a folder, sorted.
    pub fn tenants(&self) -> Vec<TenantId> {
        let mut ids: Vec<_> = self.tenants.read().keys().cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// The tenant, when it has a folder.
    pub(crate) fn tenant(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.read().get(id).cloned()
    }

    pub(crate) fn tenant_or_new(&self, id: &TenantId) -> Result<Arc<Tenant>> {
        if let Some(tenant) = self.tenant(id) {
            return Ok(tenant);
        }
        let mut tenants = self.tenants.write();
        if let Some(tenant) = tenants.get(id) {
            return Ok(Arc::clone(tenant));
        }
        let limit = self.shared.config.max_tenants;
        if limit > 0 && tenants.len() >= limit {
            return Err(Error::Limit(format!(
                "there are {limit} tenants already and {id} would be one more; raise tsdb.max_tenants"
            )));
        }
        let (tenant, _) = Tenant::open(&self.shared, id)?;
        tenants.insert(id.clone(), Arc::clone(&tenant));
        Ok(tenant)
    }

    /// Every tenant.
    pub(crate) fn all_tenants(&self) -> Vec<Arc<Tenant>> {
        let mut tenants: Vec<_> = self.tenants.read().values().cloned().collect();
        tenants.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        tenants
    }

    /// Stores a batch in memory and hands it to the log; the ticket in the outcome says when it is durable.
    pub(crate) fn begin_append(&self, tenant: &TenantId, batch: &Batch) -> Result<(Arc<Tenant>, Outcome)> {
        let tenant = self.tenant_or_new(tenant)?;
        let outcome = tenant.append(batch, self.shared.clock.now().ms())?;
        Ok((tenant, outcome))
    }

    /// Stores a batch and waits until it is as durable as the policy says.
    ///
    /// # Errors
    /// `ReadOnly` while the disk refuses: nothing is acknowledged, send the same batch again later. `Limit` for a tenant
    /// too many.
    pub fn append(&self, tenant: &TenantId, batch: &Batch) -> Result<Appended> {
        let (tenant, outcome) = self.begin_append(tenant, batch)?;
        if let Some(ticket) = outcome.ticket {
            ticket.wait()?;
        }
        tenant.count_accepted(&outcome.appended);
        Ok(outcome.appended)
    }

    /// Whether an append would have to wait for a slow disk.
    pub(crate) fn would_wait(&self, tenant: &TenantId) -> bool {
        self.tenant(tenant).is_none_or(|tenant| tenant.wal.is_full())
    }

    /// Finds the series of each selector, in the selectors' order.
    ///
    /// # Errors
    /// `OverBudget`, `Corrupt`.
    pub fn select(
        &self,
        tenant: &TenantId,
        selects: &[Select],
        budget: &Arc<Budget>,
    ) -> Result<Vec<Selected>> {
        let tenant = self.tenant(tenant);
        selects
            .iter()
            .map(|select| match &tenant {
                Some(tenant) => query::select(tenant, select, budget),
                None => Ok(Selected { series: Arc::new(DbSeries::default()), warnings: Vec::new() }),
            })
            .collect()
    }

    /// The label sets of series with samples in `range`, sorted, and what is missing. No selector means all.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn series(
        &self,
        tenant: &TenantId,
        selectors: &[Selector],
        range: TimeRange,
        limit: usize,
    ) -> Result<(Vec<Labels>, Vec<String>)> {
        match self.tenant(tenant) {
            Some(tenant) => query::series(&tenant, selectors, range, limit),
            None => Ok(Default::default()),
        }
    }

    /// The label names of those series, sorted.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn label_names(
        &self,
        tenant: &TenantId,
        selectors: &[Selector],
        range: TimeRange,
        limit: usize,
    ) -> Result<Names> {
        self.names(tenant, limit, |tenant, into| query::label_names(tenant, selectors, range, into))
    }

    /// The values that label `name` has in those series, sorted.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        selectors: &[Selector],
        range: TimeRange,
        limit: usize,
    ) -> Result<Names> {
        self.names(tenant, limit, |tenant, into| query::label_values(tenant, name, selectors, range, into))
    }

    fn names(
        &self,
        tenant: &TenantId,
        limit: usize,
        fill: impl FnOnce(&Tenant, &mut Vec<String>) -> Result<Vec<String>>,
    ) -> Result<Names> {
        let mut names = Vec::new();
        let mut warnings = match self.tenant(tenant) {
            Some(tenant) => fill(&tenant, &mut names)?,
            None => Vec::new(),
        };
        // Head and blocks give runs that are sorted, or nearly so, which this sort makes use of.
        names.sort();
        names.dedup();
        if limit > 0 && names.len() > limit {
            names.truncate(limit);
            warnings.push(query::TRUNCATED.to_owned());
        }
        Ok(Names { names, warnings })
    }

    /// Metadata by metric name; `metric` `None` means all.
    pub fn metadata(
        &self,
        tenant: &TenantId,
        metric: Option<&str>,
        limit: usize,
    ) -> BTreeMap<String, Vec<Metadata>> {
        let Some(tenant) = self.tenant(tenant) else { return BTreeMap::new() };
        let meta = tenant.head.meta.lock();
        let limit = if limit == 0 { usize::MAX } else { limit };
        match metric {
            Some(name) => {
                meta.metadata().get_key_value(name).map(|(n, v)| (n.clone(), v.clone())).into_iter().collect()
            }
            None => meta.metadata().iter().take(limit).map(|(n, v)| (n.clone(), v.clone())).collect(),
        }
    }

    /// Exemplars of the selected series within `range`.
    pub fn exemplars(
        &self,
        tenant: &TenantId,
        selectors: &[Selector],
        range: TimeRange,
    ) -> Vec<SeriesExemplars> {
        match self.tenant(tenant) {
            Some(tenant) => query::exemplars(&tenant, selectors, range),
            None => Vec::new(),
        }
    }

    /// Seals what is in memory, so that the next start has nothing to replay. Call on a clean shutdown.
    ///
    /// # Errors
    /// `Io`, `ReadOnly`: the log still has it.
    pub fn flush(&self) -> Result<()> {
        for tenant in self.all_tenants() {
            tenant.seal(self.shared.clock.now().ms())?;
        }
        Ok(())
    }
}
