//! One tenant's storage: head, log, sealed files and blocks in a folder of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use model::{Appended, Batch, Clock, TenantId};
use parking_lot::{Mutex, RwLock};

use crate::blocks::{self, Blocks};
use crate::bucket::{Bucket, TenantBucket};
use crate::config::Config;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::head::append::{Outcome, Rules};
use crate::head::group::Rows;
use crate::head::sealed::{self, Encoder};
use crate::head::{Head, split};
use crate::metrics::{Metrics, RejectLabels, TenantLabels};
use crate::recovery::{self, IntoHead, Recovered, Series};
use crate::tombstones::{Tombstones, replace_file};
use crate::wal::frame;
use crate::wal::record::{put_exemplar, put_metadata};
use crate::wal::replay::replay;
use crate::wal::series_log::SeriesLog;
use crate::wal::{Memory, Wal, WalArgs};

/// One tenant's storage.
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) config: Arc<Config>,
    pub(crate) head: Arc<Head>,
    pub(crate) wal: Wal,
    pub(crate) blocks: Blocks,
    /// Its part of the object store, when there is one.
    pub(crate) bucket: Option<TenantBucket>,
    pub(crate) tombstones: RwLock<Arc<Tombstones>>,
    /// Long work stops at its next step.
    pub(crate) closing: AtomicBool,
    /// Held by the one piece of background work that is under way.
    pub(crate) work: Mutex<Work>,
    pub(crate) last_seal: AtomicI64,
    pub(crate) metrics: Metrics,
    pub(crate) labels: TenantLabels,
}

/// State of background work.
pub(crate) struct Work {
    pub(crate) next_sealed: u64,
    /// Sealed files that came since files were merged, at most.
    pub(crate) sealed_since_merge: usize,
    /// Sealed files below this number are damaged, or older than one that is.
    pub(crate) unmergeable_until: u64,
    series_log_number: u64,
    /// Series dropped since the series log was written anew.
    dropped: usize,
    /// Number in the name of the newest block.
    pub(crate) last_block: u64,
    /// Folders of blocks that were replaced, or failed when they were all but whole: still to be removed, in this order.
    pub(crate) leftover: Vec<PathBuf>,
    /// Tiers that were made or found to be empty: resolution and day.
    pub(crate) tiers_done: std::collections::BTreeSet<(i64, i64)>,
    pub(crate) encoder: Encoder,
}

/// What a tenant needs from its database.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) metrics: Metrics,
    pub(crate) bucket: Option<Arc<Bucket>>,
}

impl Tenant {
    /// Opens a tenant's folder, creating it when it is not there.
    ///
    /// # Errors
    /// `Io`; `Corrupt` when the series log is damaged before its end.
    pub(crate) fn open(shared: &Shared, id: &TenantId) -> Result<(Arc<Self>, Recovered)> {
        let Shared { config, clock, disk, metrics, bucket } = shared;
        let dir = config.path.join(id.as_str());
        let (wal_dir, sealed_dir) = (dir.join("wal"), dir.join("sealed"));
        for dir in [&wal_dir, &sealed_dir] {
            disk.create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        for dir in [&dir, &config.path] {
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        metrics.add_tenant(id.as_str());
        let mut found = Recovered { tenants: 1, ..Recovered::default() };
        let Series { head, log: series_log, number: series_log_number, unindexed } =
            recovery::series(disk, &dir, &wal_dir, config.limits_of(id), &mut found)?;
        let cut = blocks::read_cut(disk, &dir)?;
        head.min_valid.store(cut, Ordering::Relaxed);
        head.accept_from.store(cut, Ordering::Relaxed);
        let tombstones = Tombstones::load(disk, &dir)?;
        let blocks = Blocks::open(disk, &dir, &mut found)?;
        let bucket = bucket.as_ref().map(|bucket| TenantBucket::open(bucket, id, disk, &dir)).transpose()?;
        let head = Arc::new(head);
        let (next_sealed, replayed) = std::thread::scope(|scope| -> Result<_> {
            // Samples need the groups only.
            scope.spawn(|| recovery::index(&head, unindexed));
            let next_sealed = recovery::sealed_files(disk, &dir, &sealed_dir, &head, &mut found)?;
            let mut into = IntoHead::new(&head);
            recovery::meta(disk, &dir, &mut into, &mut found)?;
            let replayed = replay(disk, &wal_dir, &mut into)?;
            found.samples += into.samples;
            found.orphans += into.orphans;
            Ok((next_sealed, replayed))
        })?;
        found.segments += replayed.segments;
        found.torn_bytes += replayed.torn_bytes;
        found.series = head.index.read().len();
        head.note_empty();
        let wal = Wal::start(WalArgs {
            disk: Arc::clone(disk),
            dir: wal_dir,
            config: config.wal.clone(),
            min_free_bytes: config.min_free_bytes,
            disk_retry_ms: config.disk_retry.ms(),
            clock: Arc::clone(clock),
            metrics: metrics.clone(),
            next_number: replayed.next_number,
            series_log,
            memory: Arc::clone(&head) as Arc<dyn Memory>,
        })?;
        let labels = TenantLabels { tenant: id.as_str().to_owned() };
        metrics.head_series.get_or_create(&labels).set(found.series as i64);
        let tenant = Arc::new(Self {
            id: id.clone(),
            dir,
            disk: Arc::clone(disk),
            config: Arc::clone(config),
            head,
            wal,
            blocks,
            bucket,
            tombstones: RwLock::new(Arc::new(tombstones)),
            closing: AtomicBool::new(false),
            work: Mutex::new(Work {
                next_sealed,
                sealed_since_merge: usize::MAX,
                unmergeable_until: 0,
                series_log_number,
                dropped: 0,
                last_block: 0,
                leftover: Vec::new(),
                tiers_done: Default::default(),
                encoder: Encoder::default(),
            }),
            last_seal: AtomicI64::new(clock.now().ms()),
            metrics: metrics.clone(),
            labels,
        });
        if !replayed.damaged.is_empty() {
            // What is good of the damaged segments must be elsewhere before they are moved away.
            let (_, next) = tenant.write_seal(&mut tenant.work.lock())?;
            for path in replayed.damaged {
                let to = recovery::quarantine(disk, &tenant.dir, &path)?;
                tracing::error!(moved_to = %to.display(), "a log segment was damaged; what was good before the damage is kept");
                found.quarantined.push(to);
            }
            tenant.wal.remove_before(next)?;
        }
        Ok((tenant, found))
    }

    /// Stores a batch; the outcome's ticket says when it is durable.
    ///
    /// # Errors
    /// `ReadOnly` while the disk refuses.
    pub(crate) fn append(&self, batch: &Batch, now: i64) -> Result<Outcome> {
        self.wal.admit()?;
        let _gate = self.head.gate.read();
        let rules = Rules {
            limits: self.config.limits_of(&self.id),
            oldest: self.head.oldest_accepted(now, self.config.out_of_order_window.ms()),
            newest: now.saturating_add(self.config.future_limit.ms()),
        };
        let outcome = self.head.append(&self.wal, batch, &rules);
        let metrics = &self.metrics;
        if outcome.created > 0 {
            metrics.series_created.get_or_create(&self.labels).inc_by(outcome.created);
            metrics.head_series.get_or_create(&self.labels).inc_by(outcome.created as i64);
        }
        if outcome.out_of_order > 0 {
            metrics.out_of_order.get_or_create(&self.labels).inc_by(outcome.out_of_order);
        }
        for &(reason, count) in &outcome.rejected {
            let labels =
                RejectLabels { tenant: self.labels.tenant.clone(), reason: reason.as_str().to_owned() };
            metrics.rejected.get_or_create(&labels).inc_by(count);
        }
        Ok(outcome)
    }

    /// Counts samples that were acknowledged.
    pub(crate) fn count_accepted(&self, appended: &Appended) {
        if appended.accepted > 0 {
            self.metrics.appended.get_or_create(&self.labels).inc_by(appended.accepted as u64);
        }
    }

    /// Compresses what is in memory into a sealed file and drops the log before it; whether there was anything.
    ///
    /// # Errors
    /// `Io`, `ReadOnly`; nothing is lost then.
    pub(crate) fn seal(&self, now: i64) -> Result<bool> {
        let mut work = self.work.lock();
        let (sealed, next) = self.write_seal(&mut work)?;
        self.wal.remove_before(next)?;
        self.last_seal.store(now, Ordering::Relaxed);
        Ok(sealed)
    }

    /// Whether there was anything, and the first log segment that is still needed.
    pub(crate) fn write_seal(&self, work: &mut Work) -> Result<(bool, u64)> {
        // With no batch under way: what is taken is what the log has before `next`, neither more nor less.
        let gate = self.head.gate.write();
        let rotation = self.wal.begin_rotate()?;
        let unsealed = self.head.unsealed.swap(0, Ordering::Relaxed);
        let groups = self.head.all_groups();
        let mut any = false;
        for group in &groups {
            let mut state = group.state.lock();
            if !state.rows.is_empty() {
                state.sealing = Some(Arc::new(std::mem::take(&mut state.rows)));
                any = true;
            }
        }
        drop(gate);
        let put_back = || {
            for group in &groups {
                let mut state = group.state.lock();
                if let Some(older) = state.sealing.take() {
                    let columns = state.series.len();
                    state.rows.put_back(&older, columns);
                }
            }
            self.head.unsealed.fetch_add(unsealed, Ordering::Relaxed);
        };
        let next = match rotation.wait() {
            Ok(next) => next,
            Err(err) => {
                put_back();
                return Err(err);
            }
        };
        if any {
            let dir = self.dir.join("sealed");
            let number = work.next_sealed;
            let encoder = &mut work.encoder;
            let written = sealed::write_file(&self.disk, &dir, number, |add| {
                for group in &groups {
                    let rows: Option<Arc<Rows>> = group.state.lock().sealing.clone();
                    if let Some(payload) =
                        rows.and_then(|rows| encoder.encode(group.number, &rows).map(<[u8]>::to_vec))
                    {
                        add(&payload)?;
                    }
                }
                Ok(())
            });
            work.next_sealed += 1;
            let chunks = written.and_then(|path| sealed::open_file(&self.disk, &path, number));
            match chunks {
                Ok(chunks) => {
                    let by_number = &self.head.groups.read().by_number;
                    for (number, chunk) in chunks {
                        let group = by_number.get(&number).expect("groups with samples are not dropped");
                        let mut state = group.state.lock();
                        Arc::make_mut(&mut state.chunks).push(chunk);
                        state.sealing = None;
                    }
                    // Start timestamps whose samples were sealed before them leave nothing to write.
                    for group in &groups {
                        group.state.lock().sealing = None;
                    }
                }
                Err(err) => {
                    put_back();
                    return Err(err);
                }
            }
            work.sealed_since_merge = work.sealed_since_merge.saturating_add(1);
            self.metrics.seals.inc();
        }
        self.write_meta()?;
        Ok((any, next))
    }

    /// Drops series without a sample at or after `end`, all older samples being in blocks.
    ///
    /// # Errors
    /// `Io`; the series log keeps dropped series until the next time then.
    pub(crate) fn drop_idle(&self, work: &mut Work, end: i64) -> Result<()> {
        let gate = self.head.gate.write();
        let dropped = self.head.drop_idle(end);
        drop(gate);
        if dropped > 0 {
            self.metrics.series_removed.get_or_create(&self.labels).inc_by(dropped as u64);
            self.metrics.head_series.get_or_create(&self.labels).dec_by(dropped as i64);
        }
        work.dropped += dropped;
        if work.dropped > self.head.index.read().len() / 2 {
            self.rewrite_series_log(work)?;
        }
        Ok(())
    }

    /// Writes a series log of what is live.
    fn rewrite_series_log(&self, work: &mut Work) -> Result<()> {
        let mut index = self.head.index.write();
        let (entries, numbers) = self.head.log_entries(&index);
        let dir = self.dir.join("wal");
        let number = work.series_log_number + 1;
        let seed = index.seed();
        self.wal.replace_series_log(|| SeriesLog::create(&self.disk, &dir, number, seed, &entries))?;
        *self.head.log_pairs.lock() = numbers.len() as u32;
        index.renumber(&numbers);
        work.series_log_number = number;
        work.dropped = 0;
        drop(index);
        SeriesLog::remove_older(&self.disk, &dir, number)
    }

    /// Memory of the head by kind, in bytes.
    pub(crate) fn memory(&self) -> [(&'static str, u64); 4] {
        let (mut columns, mut rows) = (0, 0);
        for group in self.head.all_groups() {
            let (of_columns, of_rows) = group.state.lock().bytes();
            columns += of_columns as u64;
            rows += of_rows as u64;
        }
        let index = self.head.index.read().bytes() as u64;
        [
            ("index", index),
            ("groups", columns),
            ("rows", rows),
            ("exemplars", self.head.meta.lock().bytes() as u64),
        ]
    }

    /// Writes exemplars and metadata, which the log before a seal held, to a file of their own.
    fn write_meta(&self) -> Result<()> {
        let mut records = Vec::new();
        {
            let meta = self.head.meta.lock();
            for (name, variants) in meta.metadata() {
                variants.iter().rev().for_each(|metadata| put_metadata(&mut records, name, metadata));
            }
            for (series, exemplar) in meta.all_exemplars() {
                let (group, column) = split(series);
                put_exemplar(&mut records, group, column, exemplar);
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        frame::put(&mut bytes, &records);
        replace_file(&self.disk, &self.dir, "meta", &bytes)
    }
}
