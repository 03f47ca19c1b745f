//! The blocks of one tenant: opened, cut from the head, merged, deleted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use model::{Labels, Samples, SeriesRef};
use parking_lot::RwLock;

use crate::block::{Block, BlockMeta, BlockWriter, TMP_SUFFIX};
use crate::compact::{self, Guard};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::head::select::GroupSnapshot;
use crate::head::split;
use crate::recovery::{Recovered, quarantine};
use crate::tenant::{Tenant, Work};
use crate::tombstones::{Tombstones, replace_file};

/// Says up to where the head was cut.
const CUT_FILE: &str = "cut";

/// Series whose labels are looked up under one lock.
const LABELS_AT_ONCE: usize = 512;

/// The blocks of one tenant.
pub(crate) struct Blocks {
    pub(crate) dir: PathBuf,
    /// By first time, then id: the order of rank where they overlap.
    list: RwLock<Arc<Vec<Arc<Block>>>>,
}

impl Blocks {
    /// Opens every block in the tenant's folder. Unfinished and replaced ones are removed, damaged ones quarantined.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        tenant_dir: &std::path::Path,
        found: &mut Recovered,
    ) -> Result<Self> {
        let dir = tenant_dir.join("blocks");
        disk.create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let mut list: Vec<Arc<Block>> = Vec::new();
        for entry in disk.list(&dir).map_err(Error::io("list", &dir))?.into_iter().filter(|e| e.is_dir) {
            let path = dir.join(&entry.name);
            if entry.name.ends_with(TMP_SUFFIX) {
                disk.remove_dir_all(&path).map_err(Error::io("remove", &path))?;
                continue;
            }
            match Block::open(&**disk, &path) {
                Ok(block) => list.push(block),
                Err(err @ (Error::Corrupt { .. } | Error::Invalid(_))) => {
                    let to = quarantine(disk, tenant_dir, &path)?;
                    tracing::error!(error = %err, moved_to = %to.display(), "a block is damaged; its samples are not served");
                    found.quarantined.push(to);
                }
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    // The meta file is written last: this was never a block.
                    disk.remove_dir_all(&path).map_err(Error::io("remove", &path))?;
                }
                Err(err) => return Err(err),
            }
        }
        let metas: Vec<BlockMeta> = list.iter().map(|b| b.meta().clone()).collect();
        let replaced = compact::replaced(&metas);
        list.retain(|block| !replaced.contains(&block.meta().id));
        for id in replaced {
            let path = dir.join(id);
            disk.remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
        found.blocks += list.len();
        let blocks = Self { dir, list: RwLock::default() };
        blocks.set(list);
        Ok(blocks)
    }

    /// The blocks now, in order of rank.
    pub(crate) fn list(&self) -> Arc<Vec<Arc<Block>>> {
        Arc::clone(&self.list.read())
    }

    pub(crate) fn set(&self, mut list: Vec<Arc<Block>>) {
        list.sort_by(|a, b| {
            let key = |block: &Block| (block.meta().min_time, block.meta().id.clone());
            key(a).cmp(&key(b))
        });
        *self.list.write() = Arc::new(list);
    }

    /// A name that no block has had.
    pub(crate) fn next_id(&self, work: &mut Work) -> String {
        let taken = |id: &str| id.strip_prefix('b').and_then(|n| n.parse::<u64>().ok());
        let newest = self.list().iter().filter_map(|b| taken(&b.meta().id)).max().unwrap_or(0);
        work.last_block = work.last_block.max(newest) + 1;
        format!("b{:010}", work.last_block)
    }

    /// Bytes of all blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.list().iter().map(|block| block.meta().bytes).sum()
    }
}

/// Leaves deleted samples out of a new block, and stops when storage closes.
pub(crate) struct Deletions<'a> {
    pub(crate) tombstones: &'a Tombstones,
    pub(crate) tenant: &'a Tenant,
}

impl Guard for Deletions<'_> {
    fn deleted(&self, labels: &Labels) -> Vec<(i64, i64)> {
        self.tombstones.ranges(labels)
    }

    fn check(&self, _samples: u64) -> Result<()> {
        if self.tenant.closing.load(Ordering::Relaxed) { Err(Error::Closed) } else { Ok(()) }
    }
}

/// Reads up to where the head was cut.
///
/// # Errors
/// `Io`, `Corrupt`.
pub(crate) fn read_cut(disk: &Arc<dyn Disk>, tenant_dir: &std::path::Path) -> Result<i64> {
    let path = tenant_dir.join(CUT_FILE);
    if !disk.exists(&path).map_err(Error::io("look for", &path))? {
        return Ok(i64::MIN);
    }
    let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim().parse().map_err(|_| Error::corrupt(&path, 0, "it is no time in milliseconds"))
}

impl Tenant {
    /// The end of the last window whose samples are complete, when the head holds samples before it.
    pub(crate) fn due_cut(&self, now: i64) -> Option<i64> {
        let range = self.config.block_range.ms();
        self.head.newest()?;
        let oldest = self.head.oldest_accepted(now, self.config.out_of_order_window.ms());
        let end = oldest.checked_div_euclid(range)?.checked_mul(range)?;
        let done = self.head.min_valid.load(Ordering::Relaxed);
        (end > done && self.head.oldest_sample().is_some_and(|t| t < end)).then_some(end)
    }

    /// Moves what is before `end`, a multiple of the block range, from the head to blocks; how many.
    ///
    /// # Errors
    /// `Io`, `Corrupt`, `ReadOnly`; the head keeps what it has then.
    pub(crate) fn cut(&self, end: i64) -> Result<usize> {
        let mut work = self.work.lock();
        self.remove_leftover(&mut work)?;
        // From now on nothing before `end` is accepted, and no batch that was checked before is under way.
        self.head.accept_from.fetch_max(end, Ordering::Relaxed);
        drop(self.head.gate.write());
        let (_, next) = self.write_seal(&mut work)?;
        self.wal.remove_before(next)?;
        let groups = self.head.all_groups();
        let range = self.config.block_range.ms();
        let done = self.head.min_valid.load(Ordering::Relaxed);
        let mut windows = BTreeSet::new();
        for group in &groups {
            for chunk in group.state.lock().chunks.iter() {
                let (first, last) = (chunk.min_time.max(done), chunk.max_time.min(end - 1));
                if first <= last {
                    windows.extend(first.div_euclid(range)..=last.div_euclid(range));
                }
            }
        }
        let order = if windows.is_empty() { Vec::new() } else { self.label_order() };
        let mut cut = 0;
        for window in windows {
            let (start, last) = ((window * range).max(done), (window * range + range - 1).min(end - 1));
            cut += usize::from(self.write_block(&mut work, &order, start, last)?);
        }
        replace_file(&self.disk, &self.dir, CUT_FILE, end.to_string().as_bytes())?;
        self.head.min_valid.fetch_max(end, Ordering::Relaxed);
        // Sealed files without anything newer go; a crash before that leaves copies, which readers merge.
        let mut files: HashMap<PathBuf, i64> = HashMap::new();
        for group in &groups {
            let mut state = group.state.lock();
            for chunk in state.chunks.iter() {
                files.insert(chunk.file.path.clone(), chunk.file.max_time);
            }
            Arc::make_mut(&mut state.chunks).retain(|chunk| chunk.max_time >= end);
        }
        for (path, _) in files.into_iter().filter(|(_, max_time)| *max_time < end) {
            self.disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        self.drop_idle(&mut work, end)?;
        self.forget_tombstones()?;
        Ok(cut)
    }

    /// Every series with its place, in label order.
    fn label_order(&self) -> Vec<(u32, SeriesRef)> {
        let index = self.head.index.read();
        let ranks = index.ranks();
        let mut order: Vec<(u32, SeriesRef)> = index.places().collect();
        let key = |series: u32| index.pairs_of(series).iter().map(|&pair| ranks[pair as usize]);
        order.sort_unstable_by(|a, b| key(a.0).cmp(key(b.0)));
        order
    }

    /// Writes the head's samples in `start..=last` to a block; `false` when there are none.
    fn write_block(
        &self,
        work: &mut Work,
        order: &[(u32, SeriesRef)],
        start: i64,
        last: i64,
    ) -> Result<bool> {
        let snapshots: HashMap<u64, GroupSnapshot> = self
            .head
            .all_groups()
            .iter()
            .filter_map(|group| Some((group.number, GroupSnapshot::of_chunks(group, start, last)?)))
            .collect();
        if snapshots.is_empty() {
            return Ok(false);
        }
        let tombstones = self.tombstones.read().clone();
        let guard = Deletions { tombstones: &tombstones, tenant: self };
        let id = self.blocks.next_id(work);
        let folder = self.blocks.dir.join(&id);
        let mut writer = BlockWriter::create(Arc::clone(&self.disk), &folder, BlockMeta::new(&id, 0))?;
        let mut write = || {
            let mut samples = Samples::default();
            let mut buffer = Vec::new();
            for part in order.chunks(LABELS_AT_ONCE) {
                let labels: Vec<Labels> = {
                    let index = self.head.index.read();
                    part.iter().map(|(series, _)| index.labels(*series, &mut buffer)).collect()
                };
                for ((_, place), labels) in part.iter().zip(labels) {
                    let (group, column) = split(*place);
                    let Some(snapshot) = snapshots.get(&group) else { continue };
                    samples.clear();
                    snapshot.read(column, &mut samples)?;
                    crate::head::select::retain(&mut samples, |time| (start..=last).contains(&time));
                    compact::remove(&mut samples, &guard.deleted(&labels));
                    if !samples.is_empty() {
                        writer.add_series(&labels, &samples)?;
                    }
                }
                guard.check(writer.samples())?;
            }
            Ok(())
        };
        if let Err(err) = write() {
            abort(writer);
            return Err(err);
        }
        if writer.samples() == 0 {
            abort(writer);
            return Ok(false);
        }
        let opened = writer.finish().and_then(|_| Block::open(&*self.disk, &folder));
        let block = opened.inspect_err(|_| work.leftover.push(folder.clone()))?;
        let mut list = self.blocks.list().to_vec();
        list.push(block);
        self.blocks.set(list);
        self.metrics.blocks_cut.inc();
        Ok(true)
    }

    /// Merges one set of blocks that is due; whether there was one.
    ///
    /// # Errors
    /// `Io`, `Corrupt`; the blocks stay as they are then.
    pub(crate) fn compact_once(&self) -> Result<bool> {
        let mut work = self.work.lock();
        self.remove_leftover(&mut work)?;
        let list = self.blocks.list();
        let metas: Vec<BlockMeta> = list.iter().map(|block| block.meta().clone()).collect();
        let range = self.config.block_range.ms();
        let windows = [range, range.saturating_mul(3), self.config.longest_block().ms()];
        let Some(inputs) = compact::plan(&metas, &windows, self.config.max_block_samples) else {
            return Ok(false);
        };
        let inputs: Vec<Arc<Block>> = inputs.into_iter().map(|at| Arc::clone(&list[at])).collect();
        self.rewrite(&mut work, &inputs)?;
        Ok(true)
    }

    /// Writes `inputs` anew as one block, without what is deleted, and removes them.
    fn rewrite(&self, work: &mut Work, inputs: &[Arc<Block>]) -> Result<()> {
        self.remove_leftover(work)?;
        let tombstones = self.tombstones.read().clone();
        let guard = Deletions { tombstones: &tombstones, tenant: self };
        let level = inputs.iter().map(|b| b.meta().level).max().unwrap_or(0) + 1;
        let id = self.blocks.next_id(work);
        let folder = self.blocks.dir.join(&id);
        let mut meta = BlockMeta::new(&id, level);
        meta.resolution_ms = inputs.first().map_or(0, |block| block.meta().resolution_ms);
        let made = match inputs {
            [tier] if tier.meta().resolution_ms > 0 => {
                crate::downsample::rewrite(&self.disk, tier, &folder, meta, &guard)
            }
            _ => compact::compact(&self.disk, inputs, &folder, meta, &guard),
        };
        let made = made.inspect_err(|_| work.leftover.push(folder.clone()))?;
        let gone: BTreeSet<&String> = inputs.iter().map(|block| &block.meta().id).collect();
        let mut list: Vec<_> =
            self.blocks.list().iter().filter(|b| !gone.contains(&b.meta().id)).cloned().collect();
        if made.samples > 0 {
            list.push(Block::open(&*self.disk, &folder)?);
        }
        self.blocks.set(list);
        // The new block names the old ones as its sources, which hides them after a restart; so it goes after them, and is not
        // replaced itself before they are gone.
        work.leftover.extend(inputs.iter().map(|block| self.blocks.dir.join(&block.meta().id)));
        if made.samples == 0 {
            work.leftover.push(folder);
        }
        if let Some(bucket) = &self.bucket {
            if made.samples == 0 {
                self.note_emptied(bucket, &gone, &id)?;
            }
            self.note_replaced(bucket)?;
        }
        self.note_rewritten(&gone)?;
        self.remove_leftover(work)
    }

    /// Removes the folders of blocks that others have replaced, and of new ones whose making failed at the very end, in order. No
    /// deletion may be accepted while there is one: a restart would bring it back.
    pub(crate) fn remove_leftover(&self, work: &mut Work) -> Result<()> {
        while let Some(folder) = work.leftover.first() {
            if self.disk.exists(folder).map_err(Error::io("look for", folder))? {
                self.remove_folder(folder)?;
            }
            work.leftover.remove(0);
        }
        Ok(())
    }

    fn remove_blocks(&self, blocks: &[Arc<Block>]) -> Result<()> {
        for block in blocks {
            self.remove_folder(&self.blocks.dir.join(&block.meta().id))?;
        }
        Ok(())
    }

    /// Removes a block's folder; a crash half-way leaves one without a meta file, which opening removes.
    fn remove_folder(&self, folder: &std::path::Path) -> Result<()> {
        let meta = folder.join(crate::block::META_FILE);
        if self.disk.exists(&meta).map_err(Error::io("look for", &meta))? {
            self.disk.remove_file(&meta).map_err(Error::io("remove", &meta))?;
            self.disk.sync_dir(folder).map_err(Error::io("sync", folder))?;
        }
        self.disk.remove_dir_all(folder).map_err(Error::io("remove", folder))?;
        self.disk.sync_dir(&self.blocks.dir).map_err(Error::io("sync", &self.blocks.dir))
    }

    /// Says that these blocks hold nothing deleted any more.
    pub(crate) fn note_rewritten(&self, gone: &BTreeSet<&String>) -> Result<()> {
        let mut tombstones = self.tombstones.write();
        if !tombstones.0.iter().any(|t| t.pending.iter().any(|id| gone.contains(id))) {
            return Ok(());
        }
        let mut next = Tombstones::clone(&tombstones);
        for tombstone in &mut next.0 {
            tombstone.pending.retain(|id| !gone.contains(id));
        }
        next.store(&self.disk, &self.dir)?;
        *tombstones = Arc::new(next);
        Ok(())
    }

    /// Drops tombstones that no stored sample needs.
    pub(crate) fn forget_tombstones(&self) -> Result<()> {
        let min_valid = self.head.min_valid.load(Ordering::Relaxed);
        let mut tombstones = self.tombstones.write();
        let needed = |t: &crate::tombstones::Tombstone| !t.pending.is_empty() || t.end >= min_valid;
        if tombstones.0.iter().all(needed) {
            return Ok(());
        }
        let mut next = Tombstones::clone(&tombstones);
        next.0.retain(needed);
        next.store(&self.disk, &self.dir)?;
        *tombstones = Arc::new(next);
        Ok(())
    }

    /// Deletes samples: gone for readers when this returns, physically with the next cut and compaction.
    ///
    /// # Errors
    /// `Io`; nothing is deleted then.
    pub(crate) fn delete(&self, selectors: &[model::Selector], start: i64, end: i64) -> Result<()> {
        let mut work = self.work.lock();
        self.remove_leftover(&mut work)?;
        let newest = self.readable().metas().map(|meta| meta.max_time).chain(self.head.newest()).max();
        let Some(newest) = newest else { return Ok(()) };
        let end = end.min(newest);
        if start > end {
            return Ok(());
        }
        let overlapping = |b: &&Arc<Block>| b.meta().overlaps(start, end);
        let mut pending: BTreeSet<String> =
            self.blocks.list().iter().filter(overlapping).map(|b| b.meta().id.clone()).collect();
        pending.extend(crate::bucket::pending(self, start, end)?);
        let mut tombstones = self.tombstones.write();
        let mut next = Tombstones::clone(&tombstones);
        next.0.extend(selectors.iter().map(|selector| crate::tombstones::Tombstone {
            selector: selector.clone(),
            start,
            end,
            pending: pending.clone(),
        }));
        next.store(&self.disk, &self.dir)?;
        *tombstones = Arc::new(next);
        Ok(())
    }

    /// Writes every block that holds deleted samples anew without them.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub(crate) fn clean_tombstones(&self) -> Result<usize> {
        let mut work = self.work.lock();
        let tombstones = self.tombstones.read().clone();
        let pending: BTreeSet<&String> = tombstones.0.iter().flat_map(|t| &t.pending).collect();
        let list = self.blocks.list();
        let mut cleaned = 0;
        for block in list.iter().filter(|block| pending.contains(&block.meta().id)) {
            self.rewrite(&mut work, std::slice::from_ref(block))?;
            cleaned += 1;
        }
        // Blocks that retention took are pending no more either.
        let there: BTreeSet<String> = self.blocks.list().iter().map(|b| b.meta().id.clone()).collect();
        let gone: BTreeSet<&String> = pending
            .into_iter()
            .filter(|id| !there.contains(*id) && !id.starts_with(crate::bucket::PENDING))
            .collect();
        self.note_rewritten(&gone)?;
        self.forget_tombstones()?;
        Ok(cleaned)
    }

    /// Deletes blocks.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn delete_blocks(&self, ids: &BTreeSet<String>) -> Result<()> {
        let _work = self.work.lock();
        let list = self.blocks.list();
        let (gone, left): (Vec<_>, Vec<_>) = list.iter().cloned().partition(|b| ids.contains(&b.meta().id));
        self.blocks.set(left);
        self.remove_blocks(&gone)?;
        self.metrics.blocks_deleted.inc_by(gone.len() as u64);
        Ok(())
    }
}

fn abort(writer: BlockWriter) {
    if let Err(err) = writer.abort() {
        tracing::warn!(error = %err, "cannot remove an unfinished block; it is removed at the next start");
    }
}
