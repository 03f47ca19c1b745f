//! Keeping the store in step: what is sent, rewritten and deleted.
//!
//! Every step can be the last one before a kill, and every step done twice ends the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{TenantId, Timestamp};
use parking_lot::{Condvar, Mutex};

use super::registry::Entry;
use super::{Known, TenantBucket, copy_name};
use crate::block::{Block, BlockMeta, DATA_FILE, META_FILE};
use crate::blocks::Deletions;
use crate::compact;
use crate::config::Upload;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::tenant::Tenant;
use crate::wal::describe;

/// What a copy is called among the blocks that a tombstone waits for.
pub(crate) const PENDING: &str = "bucket/";
/// Data without a meta file for so long was left by a kill.
const ORPHAN_MS: i64 = 24 * 3_600_000;

impl Db {
    /// Brings the object store in step with the blocks: lists it, sends what is due, deletes what was replaced or is
    /// older than `storage.bucket.retention`. Nothing without an object store.
    ///
    /// # Errors
    /// The first failure; the other work is done all the same, and what failed is due again at the next call.
    pub fn sync_bucket(&self, now: Timestamp) -> Result<()> {
        let Some(bucket) = self.bucket() else { return Ok(()) };
        let mut first = None;
        let mut note = |tenant: &str, outcome: Result<()>| {
            if let Err(err) = outcome {
                bucket.metrics.bucket_failures.inc();
                if !matches!(err, Error::Closed) {
                    tracing::warn!(tenant, error = %describe(&err), "work with the object store failed; it will be tried again");
                }
                first.get_or_insert(err);
            }
        };
        match bucket.tenants() {
            Ok(tenants) => {
                for id in tenants.iter().filter_map(|name| TenantId::new(name).ok()) {
                    note(id.as_str(), self.tenant_or_new(&id).map(drop));
                }
            }
            Err(err) => note("", Err(err)),
        }
        let (mut copies, mut damaged, mut bytes, mut waiting) = (0, 0, 0, 0);
        for tenant in self.all_tenants() {
            let Some(of_tenant) = &tenant.bucket else { continue };
            note(tenant.id.as_str(), tenant.sync(of_tenant, now.ms()));
            let known = Arc::clone(&of_tenant.known.read());
            copies += known.copies.len();
            damaged += known.damaged.len();
            bytes += known.copies.values().map(|copy| copy.meta.bytes).sum::<u64>();
            waiting += tenant.due_uploads(of_tenant, now.ms()).len();
        }
        bucket.metrics.bucket_blocks.set(copies as i64);
        bucket.metrics.bucket_damaged.set(damaged as i64);
        bucket.metrics.bucket_blocks_bytes.set(bytes as i64);
        bucket.metrics.bucket_waiting.set(waiting as i64);
        first.map_or(Ok(()), Err)
    }

    /// Starts the thread that calls [`Db::sync_bucket`] every `storage.bucket.interval` until the answer is dropped.
    ///
    /// # Errors
    /// `Io` when the thread cannot be started.
    pub fn start_bucket_sync(self: &Arc<Self>) -> Result<Option<BucketSync>> {
        let Some(bucket) = self.bucket() else { return Ok(None) };
        let period = Duration::from_millis(bucket.config.interval.ms().max(1) as u64);
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (db, stopped) = (Arc::clone(self), Arc::clone(&stop));
        let run = move || {
            let mut stop = stopped.0.lock();
            while !*stop {
                drop(stop);
                if let Err(err) = db.sync_bucket(db.clock().now()) {
                    tracing::debug!(error = %err, "the object store is not in step");
                }
                stop = stopped.0.lock();
                if !*stop {
                    stopped.1.wait_for(&mut stop, period);
                }
            }
        };
        let thread = std::thread::Builder::new().name("tsdb-bucket".to_owned()).spawn(run);
        let thread = thread.map_err(Error::io("start a thread for", &self.config().path))?;
        Ok(Some(BucketSync { db: Arc::clone(self), stop, thread: Some(thread) }))
    }
}

/// The thread that keeps the object store in step; dropping it abandons the request that is under way.
pub struct BucketSync {
    db: Arc<Db>,
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for BucketSync {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(bucket) = self.db.bucket() {
            bucket.client().close();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the object store has panicked");
        }
    }
}

impl Tenant {
    fn sync(&self, bucket: &TenantBucket, now: i64) -> Result<()> {
        let known_at = bucket.known.read().at;
        let due =
            known_at.is_none_or(|at| now.saturating_sub(at) >= bucket.bucket.config.refresh.ms() || now < at);
        if due {
            bucket.refresh(now)?;
            self.note_lost(bucket)?;
        }
        self.note_replaced(bucket)?;
        for block in self.due_uploads(bucket, now) {
            if self.closing.load(Ordering::Relaxed) {
                return Err(Error::Closed);
            }
            self.upload(bucket, &block)?;
        }
        self.delete_replaced(bucket)?;
        self.delete_expired(bucket, now)?;
        self.rewrite_deleted(bucket)
    }

    /// Notes in the registry which blocks have taken the place of others, and forgets entries that say nothing any more.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn note_replaced(&self, bucket: &TenantBucket) -> Result<()> {
        let local = self.blocks.list();
        let mut registry = bucket.registry.lock();
        let mut next = registry.clone();
        let mut changed = next.absorb(&local);
        let tombstones = self.tombstones.read().clone();
        let is_local = |id: &str| local.iter().any(|block| block.meta().id == id);
        let before = next.entries.len();
        // Deleted by retention: the copy is the block now. One that was replaced is kept until the copy is deleted.
        next.entries.retain(|entry| match &entry.replaced_by {
            None => is_local(&entry.id),
            // A copy whose rewriting was interrupted is as it was.
            Some(by) => is_local(by) || !tombstones.0.iter().any(|t| t.pending.contains(&entry.id)),
        });
        changed |= next.entries.len() != before;
        if changed {
            next.store(&self.disk, &self.dir)?;
            *registry = next;
        }
        Ok(())
    }

    /// Notes that nothing was left of blocks, under the name of the block that would have taken their place.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn note_emptied(
        &self,
        bucket: &TenantBucket,
        gone: &BTreeSet<&String>,
        by: &str,
    ) -> Result<()> {
        let mut registry = bucket.registry.lock();
        let mut next = registry.clone();
        for entry in &mut next.entries {
            if gone.contains(&entry.id) || entry.replaced_by.as_ref().is_some_and(|by| gone.contains(by)) {
                entry.replaced_by = Some(by.to_owned());
            }
        }
        next.store(&self.disk, &self.dir)?;
        *registry = next;
        Ok(())
    }

    /// Copies that somebody has deleted from the store are to be sent again.
    fn note_lost(&self, bucket: &TenantBucket) -> Result<()> {
        let known = Arc::clone(&bucket.known.read());
        let mut registry = bucket.registry.lock();
        let mut next = registry.clone();
        let lost = |entry: &&mut Entry| {
            entry.done && entry.replaced_by.is_none() && !known.copies.contains_key(&entry.name)
        };
        let lost: Vec<&mut Entry> = next.entries.iter_mut().filter(lost).collect();
        if lost.is_empty() {
            return Ok(());
        }
        for entry in lost {
            tracing::warn!(tenant = %self.id, copy = entry.name, "a copy is gone from the object store; the block is sent again");
            entry.done = false;
        }
        next.store(&self.disk, &self.dir)?;
        *registry = next;
        Ok(())
    }

    /// Blocks that are to be sent now, oldest first.
    fn due_uploads(&self, bucket: &TenantBucket, now: i64) -> Vec<Arc<Block>> {
        let list = self.blocks.list();
        let metas: Vec<BlockMeta> = list.iter().map(|block| block.meta().clone()).collect();
        let range = self.config.block_range.ms();
        let window = range * 12;
        let merging =
            compact::plan(&metas, &[range, range * 3, window], self.config.max_block_samples).is_some();
        let complete = self.head.min_valid.load(Ordering::Relaxed);
        let tombstones = self.tombstones.read().clone();
        let registry = bucket.registry.lock();
        let oldest = bucket.oldest(now);
        let is_due = |block: &&Arc<Block>| {
            let meta = block.meta();
            let ended = (meta.max_time.div_euclid(window) + 1).saturating_mul(window) <= complete;
            let settled =
                meta.resolution_ms > 0 || bucket.bucket.config.upload == Upload::All || (ended && !merging);
            settled
                && meta.max_time >= oldest
                && !registry.is_done(&meta.id)
                && !tombstones.0.iter().any(|t| t.pending.contains(&meta.id))
        };
        list.iter().filter(is_due).cloned().collect()
    }

    fn upload(&self, bucket: &TenantBucket, block: &Arc<Block>) -> Result<()> {
        let id = &block.meta().id;
        let name = copy_name(block.meta())?;
        // A damaged block must not become the only one there is.
        if let Some(err) = block.verify()?.into_iter().next() {
            return Err(err);
        }
        let replaces = {
            let mut registry = bucket.registry.lock();
            if registry.of(id).is_none() {
                let mut next = registry.clone();
                next.entries.push(Entry {
                    id: id.clone(),
                    name: name.clone(),
                    done: false,
                    replaced_by: None,
                });
                next.store(&self.disk, &self.dir)?;
                *registry = next;
            }
            registry.replaced_by(id)
        };
        let path = block.path();
        let bytes = self.disk.map(&path).map_err(Error::io("map", &path))?;
        bucket.send(&name, block, bytes, replaces.clone())?;
        let copy = super::Remote { name: name.clone(), meta: block.meta().clone(), replaces };
        bucket.change_known(|copies| drop(copies.insert(name, Arc::new(copy))));
        let mut registry = bucket.registry.lock();
        let mut next = registry.clone();
        if let Some(entry) = next.entries.iter_mut().find(|entry| entry.id == *id) {
            entry.done = true;
        }
        next.store(&self.disk, &self.dir)?;
        *registry = next;
        Ok(())
    }

    /// Deletes copies whose place others have taken.
    fn delete_replaced(&self, bucket: &TenantBucket) -> Result<()> {
        let local = self.blocks.list();
        let known = Arc::clone(&bucket.known.read());
        let mut gone: BTreeSet<String> =
            known.copies.values().flat_map(|copy| &copy.replaces).cloned().collect();
        gone.retain(|name| known.copies.contains_key(name));
        {
            let registry = bucket.registry.lock();
            for entry in &registry.entries {
                let Some(by) = &entry.replaced_by else { continue };
                // The successor has a copy, or it had no sample and is gone.
                if registry.is_done(by) || !local.iter().any(|block| block.meta().id == *by) {
                    gone.insert(entry.name.clone());
                }
            }
        }
        for name in gone {
            self.forget_copy(bucket, &name)?;
        }
        Ok(())
    }

    fn forget_copy(&self, bucket: &TenantBucket, name: &str) -> Result<()> {
        bucket.delete(name)?;
        bucket.change_known(|copies| drop(copies.remove(name)));
        bucket.bucket.metrics.bucket_blocks_deleted.inc();
        let mut registry = bucket.registry.lock();
        if registry.entries.iter().any(|entry| entry.name == name) {
            let mut next = registry.clone();
            next.entries.retain(|entry| entry.name != name);
            next.store(&self.disk, &self.dir)?;
            *registry = next;
        }
        Ok(())
    }

    /// Deletes copies that are older than the store's own retention.
    fn delete_expired(&self, bucket: &TenantBucket, now: i64) -> Result<()> {
        let known = Arc::clone(&bucket.known.read());
        // A clock that has jumped ahead must not make everything old.
        let newest = known.copies.values().map(|copy| copy.meta.max_time).chain(self.head.newest()).max();
        let oldest = bucket.oldest(newest.map_or(now, |newest| newest.min(now)));
        for copy in known.copies.values().filter(|copy| copy.meta.max_time < oldest) {
            self.forget_copy(bucket, &copy.name)?;
        }
        Ok(())
    }

    /// Reads copies with deleted samples back and makes local blocks without them, which are sent in their place.
    fn rewrite_deleted(&self, bucket: &TenantBucket) -> Result<()> {
        let tombstones = self.tombstones.read().clone();
        let pending: BTreeSet<&String> = tombstones.0.iter().flat_map(|t| &t.pending).collect();
        let known = Arc::clone(&bucket.known.read());
        for waiting in pending.into_iter().filter(|id| id.starts_with(PENDING)) {
            let name = &waiting[PENDING.len()..];
            if let Some(copy) = known.copies.get(name) {
                let block = bucket.open_copy(copy)?;
                self.rewrite_copy(bucket, &block, name, waiting)?;
            }
            self.note_rewritten(&BTreeSet::from([waiting]))?;
        }
        self.forget_tombstones()
    }

    fn rewrite_copy(
        &self,
        bucket: &TenantBucket,
        block: &Arc<Block>,
        name: &str,
        waiting: &str,
    ) -> Result<()> {
        // Work on local blocks waits meanwhile, or could be given the same number.
        let mut work = self.work.lock();
        self.remove_leftover(&mut work)?;
        let tombstones = self.tombstones.read().clone();
        let guard = Deletions { tombstones: &tombstones, tenant: self };
        let id = self.blocks.next_id(&mut work);
        let folder = self.blocks.dir.join(&id);
        let mut meta = BlockMeta::new(&id, block.meta().level + 1);
        meta.resolution_ms = block.meta().resolution_ms;
        // Not the id of the block, which another local one may have.
        meta.sources = vec![waiting.to_owned()];
        {
            let mut registry = bucket.registry.lock();
            let mut next = registry.clone();
            next.entries.retain(|entry| entry.name != name);
            next.entries.push(Entry {
                id: waiting.to_owned(),
                name: name.to_owned(),
                done: true,
                replaced_by: Some(id.clone()),
            });
            next.store(&self.disk, &self.dir)?;
            *registry = next;
        }
        let made = match block.meta().resolution_ms {
            0 => compact::compact(&self.disk, std::slice::from_ref(block), &folder, meta, &guard),
            _ => crate::downsample::rewrite(&self.disk, block, &folder, meta, &guard),
        };
        let made = made.inspect_err(|_| work.leftover.push(folder.clone()))?;
        if made.samples == 0 {
            work.leftover.push(folder);
            drop(work);
            return self.forget_copy(bucket, name);
        }
        let mut list = self.blocks.list().to_vec();
        list.push(Block::open(&*self.disk, &folder)?);
        self.blocks.set(list);
        Ok(())
    }

    /// Whether retention may delete a local block. `pressed`: more bytes than `retention_bytes`, where blocks that were not
    /// sent yet go too, but never one without which deleted samples would come back.
    pub(crate) fn may_delete(&self, meta: &BlockMeta, pressed: bool, now: i64) -> bool {
        let Some(bucket) = &self.bucket else { return true };
        let registry = bucket.registry.lock();
        let wanted = !registry.is_done(&meta.id) && meta.max_time >= bucket.oldest(now);
        !registry.is_awaited(&meta.id) && (pressed || !wanted)
    }
}

impl TenantBucket {
    /// What is older is not kept in the store.
    fn oldest(&self, now: i64) -> i64 {
        match self.bucket.config.retention.ms() {
            0 => i64::MIN,
            kept => now.saturating_sub(kept),
        }
    }

    fn change_known(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<super::Remote>>)) {
        let mut known = self.known.write();
        let mut copies = known.copies.clone();
        change(&mut copies);
        *known = Arc::new(Known { at: known.at, copies, damaged: known.damaged.clone() });
    }

    /// Lists the tenant's folder and reads meta files that are new. Data that a kill left without one is deleted when it is
    /// a day old.
    fn refresh(&self, now: i64) -> Result<()> {
        let client = self.bucket.client();
        let mut folders: BTreeMap<String, (bool, i64)> = BTreeMap::new();
        for object in client.list(&self.folder)? {
            let Some(rest) = object.location.prefix_match(&self.folder) else { continue };
            let parts: Vec<String> = rest.map(|part| part.as_ref().to_owned()).collect();
            let [name, file] = &parts[..] else { continue };
            let folder = folders.entry(name.clone()).or_insert((false, i64::MIN));
            match file.as_str() {
                META_FILE => folder.0 = true,
                DATA_FILE => folder.1 = object.last_modified.timestamp_millis(),
                _ => {}
            }
        }
        let known = Arc::clone(&self.known.read());
        let (mut copies, mut damaged) = (BTreeMap::new(), BTreeMap::new());
        for (name, (whole, modified)) in folders {
            if whole {
                let copy = match known.copies.get(&name) {
                    Some(copy) => Arc::clone(copy),
                    None => match self.read_meta(&name) {
                        Ok(copy) => Arc::new(copy),
                        // One bad copy is no reason to leave the others out.
                        Err(err @ Error::Corrupt { .. }) => {
                            let err = describe(&err);
                            tracing::error!(copy = name, error = %err, "a copy in the object store is damaged");
                            damaged.insert(name, err);
                            continue;
                        }
                        Err(err) => return Err(err),
                    },
                };
                copies.insert(name, copy);
            } else if modified.saturating_add(ORPHAN_MS) < now {
                client.delete(&self.object(&name, DATA_FILE))?;
            }
        }
        *self.known.write() = Arc::new(Known { at: Some(now), copies, damaged });
        Ok(())
    }
}
