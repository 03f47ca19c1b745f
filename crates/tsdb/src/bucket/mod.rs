//! Blocks in an object store: sent when they are complete, read back by ranges when they are on disk no more.
//!
//! A copy is a folder of two objects, `data` and `meta.json`; the second is sent last and deleted first, so that a copy is
//! whole or absent. Its name comes from the block's content: sending again after a kill sends the same objects. Concepts:
//! docs/concepts/object-storage.md.
//!
//! | module | holds |
//! |---|---|
//! | `client` | requests, for synchronous callers |
//! | `cache`, `lru` | ranges that were read, in memory and on disk |
//! | `registry` | which local blocks have copies |
//! | `sync` | what is sent and deleted, and when |
//! | `view` | which blocks a query reads |

mod cache;
mod client;
mod lru;
mod registry;
mod sync;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::block::{Block, BlockMeta, DATA_FILE, META_FILE, Source};
use crate::config::BucketConfig;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use cache::Cache;
use client::Client;
use lru::Lru;
pub(crate) use registry::{FILE as REGISTRY_FILE, Registry};
pub use sync::BucketSync;
pub(crate) use sync::PENDING;
pub(crate) use view::{missing, pending};

/// Folder of the cache in the data folder; no tenant can have its name.
const CACHE_DIR: &str = ".bucket-cache";

/// The object store and where in it the blocks are.
#[derive(Debug)]
pub struct Location {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The folder in it; each tenant has a folder in that.
    pub prefix: Path,
}

/// The object store of a database.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) config: BucketConfig,
    prefix: Path,
    cache: Arc<Cache>,
    /// Open blocks by the hash of their folder. Their sections are in memory, and these are what is bounded.
    opened: Mutex<Lru<u64, Arc<Block>>>,
    pub(crate) metrics: Metrics,
}

/// A copy of a block in the store.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// Its folder.
    pub(crate) name: String,
    pub(crate) meta: BlockMeta,
    /// Copies whose place it takes.
    pub(crate) replaces: Vec<String>,
}

/// What a tenant's folder in the store holds.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// When that was asked; `None`: never yet.
    pub(crate) at: Option<i64>,
    pub(crate) copies: BTreeMap<String, Arc<Remote>>,
    /// Copies whose meta file cannot be read, and why.
    pub(crate) damaged: BTreeMap<String, String>,
}

/// One tenant's part.
#[derive(Debug)]
pub(crate) struct TenantBucket {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) registry: Mutex<Registry>,
    pub(crate) known: RwLock<Arc<Known>>,
    folder: Path,
}

/// `meta.json` of a copy: a block's meta file with one more field, so that a copy opens as a local block.
#[derive(Serialize, Deserialize)]
struct CopyMeta {
    #[serde(flatten)]
    meta: BlockMeta,
    #[serde(default)]
    replaces: Vec<String>,
}

impl Bucket {
    pub(crate) fn open(
        config: &BucketConfig,
        at: Location,
        data_dir: &std::path::Path,
        disk: &Arc<dyn Disk>,
        metrics: &Metrics,
    ) -> Result<Self> {
        let timeout = std::time::Duration::from_millis(config.timeout.ms().max(1) as u64);
        let client = Client::new(at.store, timeout, config.part_bytes)?;
        let dir = match config.cache_path.as_os_str().is_empty() {
            true => data_dir.join(CACHE_DIR),
            false => config.cache_path.clone(),
        };
        let (bytes, memory) = (config.cache_bytes, config.memory_bytes);
        let cache = Cache::open(client, Arc::clone(disk), dir, bytes, memory, metrics.clone())?;
        Ok(Self {
            config: config.clone(),
            prefix: at.prefix,
            cache: Arc::new(cache),
            opened: Mutex::new(Lru::new(memory)),
            metrics: metrics.clone(),
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.cache.client
    }

    /// The tenants that have a folder in the store.
    pub(crate) fn tenants(&self) -> Result<Vec<String>> {
        self.client().folders(&self.prefix)
    }
}

/// The name of a block's copy: its id and a hash of its meta file, which holds the checksum of the checksums.
fn copy_name(meta: &BlockMeta) -> Result<String> {
    let json = serde_json::to_vec(meta).map_err(|err| Error::Invalid(err.to_string()))?;
    Ok(format!("{}-{:016x}", meta.id, xxhash_rust::xxh3::xxh3_64(&json)))
}

impl TenantBucket {
    pub(crate) fn open(
        bucket: &Arc<Bucket>,
        tenant: &model::TenantId,
        disk: &Arc<dyn Disk>,
        dir: &std::path::Path,
    ) -> Result<Self> {
        Ok(Self {
            bucket: Arc::clone(bucket),
            registry: Mutex::new(Registry::load(disk, dir)?),
            known: RwLock::default(),
            folder: bucket.prefix.clone().join(tenant.as_str()),
        })
    }

    fn object(&self, name: &str, file: &str) -> Path {
        self.folder.clone().join(name).join(file)
    }

    /// Sends a block: its data, unless a copy of that length is there from an attempt before, and then its meta file.
    fn send(&self, name: &str, block: &Block, bytes: Bytes, replaces: Vec<String>) -> Result<()> {
        let (client, metrics) = (self.bucket.client(), &self.bucket.metrics);
        let data = self.object(name, DATA_FILE);
        let len = bytes.len() as u64;
        if client.len(&data)? != Some(len) {
            client.put(&data, bytes)?;
            metrics.bucket_sent_bytes.inc_by(len);
        }
        let meta = CopyMeta { meta: block.meta().clone(), replaces };
        let json = serde_json::to_vec_pretty(&meta).map_err(|err| Error::Invalid(err.to_string()))?;
        client.put(&self.object(name, META_FILE), Bytes::from(json))?;
        metrics.bucket_blocks_sent.inc();
        Ok(())
    }

    /// Deletes a copy, its meta file first.
    fn delete(&self, name: &str) -> Result<()> {
        let client = self.bucket.client();
        client.delete(&self.object(name, META_FILE))?;
        client.delete(&self.object(name, DATA_FILE))
    }

    fn read_meta(&self, name: &str) -> Result<Remote> {
        let object = self.object(name, META_FILE);
        let bytes = self.bucket.client().get(&object)?;
        let path = PathBuf::from(object.to_string());
        let meta = BlockMeta::parse(&bytes, &path)?;
        let copy: CopyMeta =
            serde_json::from_slice(&bytes).map_err(|err| Error::corrupt(&path, 0, err.to_string()))?;
        Ok(Remote { name: name.to_owned(), meta, replaces: copy.replaces })
    }

    /// Opens a copy, or finds it open.
    ///
    /// # Errors
    /// `ObjectStore`, `Corrupt`.
    pub(crate) fn open_copy(&self, remote: &Remote) -> Result<Arc<Block>> {
        let object = self.object(&remote.name, DATA_FILE);
        let key = xxhash_rust::xxh3::xxh3_64(object.as_ref().as_bytes());
        if let Some(block) = self.bucket.opened.lock().get(&key) {
            return Ok(block);
        }
        let source = Ranges {
            cache: Arc::clone(&self.bucket.cache),
            path: PathBuf::from(object.to_string()),
            object,
            len: remote.meta.bytes,
        };
        let block = Block::from_source(remote.meta.clone(), Box::new(source))?;
        self.bucket.opened.lock().insert(key, Arc::clone(&block), block.sections_len());
        Ok(block)
    }
}

/// An object, read by ranges through the cache.
#[derive(Debug)]
struct Ranges {
    cache: Arc<Cache>,
    object: Path,
    /// The object's name, for messages.
    path: PathBuf,
    len: u64,
}

impl Source for Ranges {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_range(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.cache.read(&self.object, self.len, offset, len)
    }

    fn path(&self) -> &std::path::Path {
        &self.path
    }
}
