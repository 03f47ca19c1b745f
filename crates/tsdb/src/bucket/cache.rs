//! Ranges of objects, kept in memory and on disk: what queries read back from the object store.
//!
//! Objects are immutable, so that a page never changes. A page on disk ends with its checksum: a torn or damaged one is
//! fetched again. Neither place has more than its bound, the least recently used goes first. A disk that refuses costs
//! fetching again, nothing else.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use parking_lot::Mutex;

use super::client::Client;
use super::lru::Lru;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 256 << 10;
/// Pages that one request may fetch.
const RUN: u64 = 32;
/// Requests for one object wait for one another, so that two queries do not fetch the same pages.
const STRIPES: usize = 16;
const SUFFIX: &str = ".page";

/// Hash of the object's name, and the page's number.
type Key = (u64, u32);

/// The object store behind its cache.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) client: Client,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    memory: Mutex<Lru<Key, Bytes>>,
    on_disk: Mutex<Lru<Key, ()>>,
    fetching: [Mutex<()>; STRIPES],
    metrics: Metrics,
}

impl Cache {
    /// Begins with the pages that are on disk.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn open(
        client: Client,
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        disk_bytes: u64,
        memory_bytes: u64,
        metrics: Metrics,
    ) -> Result<Self> {
        disk.create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let mut on_disk = Lru::new(disk_bytes);
        let mut gone = Vec::new();
        for entry in disk.list(&dir).map_err(Error::io("list", &dir))? {
            match key(&entry.name) {
                Some(key) => gone.extend(on_disk.insert(key, (), entry.len).into_iter().map(name)),
                None => gone.push(entry.name),
            }
        }
        for name in gone {
            let path = dir.join(name);
            disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        metrics.bucket_cache_bytes.set(on_disk.total() as i64);
        let (memory, on_disk) = (Mutex::new(Lru::new(memory_bytes)), Mutex::new(on_disk));
        Ok(Self { client, disk, dir, memory, on_disk, fetching: Default::default(), metrics })
    }

    /// Exactly `len` bytes from `offset` of an object of `size` bytes.
    ///
    /// # Errors
    /// `ObjectStore`; `Corrupt` when the range lies outside or the object is shorter.
    pub(crate) fn read(&self, object: &Path, size: u64, offset: u64, len: usize) -> Result<Bytes> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= size);
        let Some(end) = end else {
            let path = PathBuf::from(object.to_string());
            return Err(Error::corrupt(&path, offset, format!("{len} bytes lie past the end")));
        };
        if len == 0 {
            return Ok(Bytes::new());
        }
        let hash = xxhash_rust::xxh3::xxh3_64(object.as_ref().as_bytes());
        let (first, last) = (offset / PAGE, (end - 1) / PAGE);
        let mut pages: Vec<Option<Bytes>> =
            (first..=last).map(|page| self.kept((hash, page as u32))).collect();
        if pages.iter().any(Option::is_none) {
            let _one = self.fetching[hash as usize % STRIPES].lock();
            self.fill(object, size, hash, first, &mut pages)?;
        }
        let cut = |page: u64, bytes: &Bytes| {
            let start = page * PAGE;
            let (from, to) = (offset.max(start) - start, (end - start).min(bytes.len() as u64));
            bytes.slice(from as usize..to as usize)
        };
        if let [Some(only)] = &pages[..] {
            return Ok(cut(first, only));
        }
        let mut out = BytesMut::with_capacity(len);
        for (page, bytes) in (first..).zip(pages.iter().flatten()) {
            out.extend_from_slice(&cut(page, bytes));
        }
        Ok(out.freeze())
    }

    /// Fetches the pages that are missing, neighbours together.
    fn fill(
        &self,
        object: &Path,
        size: u64,
        hash: u64,
        first: u64,
        pages: &mut [Option<Bytes>],
    ) -> Result<()> {
        // Another query may have fetched them while this one waited.
        for (page, slot) in (first..).zip(pages.iter_mut()).filter(|(_, slot)| slot.is_none()) {
            *slot = self.kept((hash, page as u32));
        }
        let mut at = 0;
        while at < pages.len() {
            let run = pages[at..].iter().take(RUN as usize).take_while(|page| page.is_none()).count();
            if run == 0 {
                at += 1;
                continue;
            }
            let start = (first + at as u64) * PAGE;
            let end = (start + run as u64 * PAGE).min(size);
            let bytes = self.client.get_range(object, start..end)?;
            if bytes.len() as u64 != end - start {
                let path = PathBuf::from(object.to_string());
                return Err(Error::corrupt(
                    &path,
                    start + bytes.len() as u64,
                    "the object is shorter than its meta file says",
                ));
            }
            self.metrics.bucket_fetched_bytes.inc_by(bytes.len() as u64);
            for nth in 0..run {
                let from = nth * PAGE as usize;
                // A copy: a page in memory must not keep the whole run there.
                let page = Bytes::copy_from_slice(&bytes[from..bytes.len().min(from + PAGE as usize)]);
                self.keep((hash, (first + (at + nth) as u64) as u32), &page);
                pages[at + nth] = Some(page);
            }
            at += run;
        }
        Ok(())
    }

    /// A page that is kept.
    fn kept(&self, key: Key) -> Option<Bytes> {
        if let Some(page) = self.memory.lock().get(&key) {
            self.metrics.bucket_cache_hits.inc();
            return Some(page);
        }
        if self.on_disk.lock().get(&key).is_some() {
            let path = self.dir.join(name(key));
            let read = self.disk.read(&path).ok().and_then(|mut bytes| {
                let at = bytes.len().checked_sub(4)?;
                let crc = bytes.split_off(at);
                (crc32c::crc32c(&bytes).to_le_bytes()[..] == crc[..]).then(|| Bytes::from(bytes))
            });
            if let Some(page) = read {
                self.metrics.bucket_cache_hits.inc();
                self.memory.lock().insert(key, page.clone(), page.len() as u64);
                return Some(page);
            }
            tracing::warn!(path = %path.display(), "a page of the object store's cache cannot be read; it is fetched again");
            self.on_disk.lock().remove(&key);
        }
        self.metrics.bucket_cache_misses.inc();
        None
    }

    fn keep(&self, key: Key, page: &Bytes) {
        self.memory.lock().insert(key, page.clone(), page.len() as u64);
        let path = self.dir.join(name(key));
        let write = || {
            let mut file = self.disk.create(&path)?;
            file.write_all(page)?;
            file.write_all(&crc32c::crc32c(page).to_le_bytes())
        };
        if let Err(err) = write() {
            tracing::warn!(error = %err, path = %path.display(), "the object store's cache cannot be written");
            return;
        }
        let (gone, total) = {
            let mut on_disk = self.on_disk.lock();
            (on_disk.insert(key, (), page.len() as u64 + 4), on_disk.total())
        };
        self.metrics.bucket_cache_bytes.set(total as i64);
        for key in gone {
            let path = self.dir.join(name(key));
            if let Err(err) = self.disk.remove_file(&path) {
                tracing::warn!(error = %err, path = %path.display(), "a page of the object store's cache cannot be removed");
            }
        }
    }
}

fn name((hash, page): Key) -> String {
    format!("{hash:016x}-{page}{SUFFIX}")
}

fn key(name: &str) -> Option<Key> {
    let (hash, page) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    Some((u64::from_str_radix(hash, 16).ok()?, page.parse().ok()?))
}
