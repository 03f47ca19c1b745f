//! Blocks in an object store: in memory with faults, and in a folder.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::stream::BoxStream;
use model::duration::PromDuration;
use model::{Matcher, Timestamp};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use prometheus_client::registry::Registry;
use tsdb::bucket::Location;
use tsdb::config::Upload;
use tsdb::{Db, Metrics};

use crate::support::{ALL, World, bits};

const HOUR: i64 = 3_600_000;

/// A store that takes so many requests and then none, as after a kill.
#[derive(Clone, Debug)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    left: Arc<AtomicI64>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, left: Arc::new(AtomicI64::new(i64::MAX)) }
    }

    fn allow(&self, requests: i64) {
        self.left.store(requests, Ordering::SeqCst);
    }

    fn has_failed(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    fn ask(&self) -> Result<()> {
        match self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            true => Ok(()),
            false => Err(object_store::Error::Generic { store: "faulty", source: "it is gone".into() }),
        }
    }
}

#[derive(Debug)]
struct Parts(Box<dyn MultipartUpload>, Faulty);

#[async_trait::async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.1.ask() {
            Ok(()) => self.0.put_part(data),
            Err(err) => Box::pin(async move { Err(err) }),
        }
    }
    async fn complete(&mut self) -> Result<PutResult> {
        self.1.ask()?;
        self.0.complete().await
    }
    async fn abort(&mut self) -> Result<()> {
        self.1.ask()?;
        self.0.abort().await
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, to: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.ask()?;
        self.inner.put_opts(to, payload, opts).await
    }
    async fn put_multipart_opts(
        &self,
        to: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.ask()?;
        Ok(Box::new(Parts(self.inner.put_multipart_opts(to, opts).await?, self.clone())))
    }
    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.ask()?;
        self.inner.get_opts(from, options).await
    }
    async fn get_ranges(&self, from: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.ask()?;
        self.inner.get_ranges(from, ranges).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.ask() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(err) => Box::pin(futures_util::stream::once(async move { Err(err) })),
        }
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.ask() {
            Ok(()) => self.inner.list(prefix),
            Err(err) => Box::pin(futures_util::stream::once(async move { Err(err) })),
        }
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.ask()?;
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

fn world() -> World {
    let mut world = World::new();
    world.config.retention = PromDuration(40 * HOUR);
    world.config.bucket.upload = Upload::All;
    world.config.bucket.refresh = PromDuration(0);
    world.config.bucket.part_bytes = 1000;
    world.config.bucket.cache_bytes = 3 << 20;
    world.config.bucket.memory_bytes = 1 << 20;
    world
}

fn open(world: &World, store: &Faulty) -> Arc<Db> {
    let metrics = Metrics::new(&mut Registry::default());
    let clock = Arc::clone(&world.clock) as Arc<dyn model::Clock>;
    let at = Location { store: Arc::new(store.clone()), prefix: Path::from("servers/one") };
    Db::open_with(world.config.clone(), clock, Arc::new(world.disk.clone()), metrics, Some(at)).unwrap()
}

/// Writes three series every ten minutes for so many hours, with maintenance, and no request to the store.
fn write(world: &World, db: &Db, hours: i64) -> Vec<(i64, f64)> {
    let start = world.now();
    let mut written = Vec::new();
    for nth in 0..hours * 6 {
        let t = start + nth * 600_000;
        world.clock.set(t);
        let value = ((t / 600_000) as f64).sin();
        world.append(db, &[("a{i=x}", t, value), ("b{i=x}", t, 1.0), ("c{i=y}", t, value * 2.0)]).unwrap();
        written.push((t, value));
        db.maintain(Timestamp(t)).unwrap();
    }
    // Where the next call goes on.
    world.clock.set(start + hours * 3_600_000);
    written
}

fn read_a(world: &World, db: &Db) -> Vec<(i64, u64)> {
    let found = world.read(db, vec![Matcher::equal("__name__", "a")]);
    found.into_iter().next().map(|(_, samples)| samples).unwrap_or_default()
}

/// Names of the folders with a meta file; every one has data of the length that it says.
fn copies(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use futures_util::TryStreamExt;
        let all: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
        let mut names = Vec::new();
        for meta in all.iter().filter(|o| o.location.filename() == Some("meta.json")) {
            let json = store.get(&meta.location).await.unwrap().bytes().await.unwrap();
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let folder = meta.location.as_ref().strip_suffix("/meta.json").unwrap();
            let data = store.head(&Path::from(format!("{folder}/data"))).await.unwrap();
            assert_eq!(data.size, json["bytes"].as_u64().unwrap(), "{folder}");
            names.push(folder.to_owned());
        }
        names.sort();
        names
    })
}

#[test]
fn samples_outlive_the_disks_retention_in_the_store() {
    let (world, inner) = (world(), Arc::new(InMemory::new()) as Arc<dyn ObjectStore>);
    let store = Faulty::new(Arc::clone(&inner));
    let db = open(&world, &store);
    let mut written = write(&world, &db, 30);
    db.sync_bucket(Timestamp(world.now())).unwrap();
    let first = copies(&inner);
    assert!(
        !first.is_empty() && first.iter().all(|name| name.starts_with("servers/one/default/b")),
        "{first:?}"
    );
    // Sending again sends nothing.
    db.sync_bucket(Timestamp(world.now())).unwrap();
    assert_eq!(copies(&inner), first);
    written.extend(write(&world, &db, 60));
    db.sync_bucket(Timestamp(world.now())).unwrap();
    db.maintain(Timestamp(world.now())).unwrap();
    let oldest_on_disk = db.blocks(&world.tenant).iter().map(|b| b.min_time).min().unwrap();
    assert!(oldest_on_disk > written[0].0 + 40 * HOUR, "retention has deleted what the store has");
    assert_eq!(read_a(&world, &db), bits(&written));
    let names = db.label_values(&world.tenant, "i", &[], ALL, 0).unwrap();
    assert!(names.warnings.is_empty());
    // From another disk: everything but the head's samples is there.
    let other = World { disk: tsdb::disk::FaultDisk::new(), ..self::world() };
    other.clock.set(world.now());
    let fresh = open(&other, &store);
    let unlisted = fresh.label_values(&world.tenant, "i", &[], ALL, 0).unwrap();
    assert!(unlisted.names.is_empty() && unlisted.warnings.is_empty(), "no such tenant yet");
    fresh.sync_bucket(Timestamp(world.now())).unwrap();
    let found = read_a(&other, &fresh);
    assert!(found.len() > 80 * 6 && found[..] == bits(&written)[..found.len()]);
    // The store's answers are kept: the same question needs no request.
    store.allow(0);
    assert_eq!(read_a(&other, &fresh), found);
    assert!(!store.has_failed());
}

#[test]
fn a_kill_at_any_request_leaves_whole_copies_and_loses_nothing() {
    let mut requests = 0;
    loop {
        let (world, inner) = (world(), Arc::new(InMemory::new()) as Arc<dyn ObjectStore>);
        let store = Faulty::new(Arc::clone(&inner));
        let db = open(&world, &store);
        let mut written = write(&world, &db, 10);
        db.sync_bucket(Timestamp(world.now())).unwrap();
        // Now merges replace blocks that have copies.
        written.extend(write(&world, &db, 20));
        store.allow(requests);
        let outcome = db.sync_bucket(Timestamp(world.now()));
        let failed = store.has_failed();
        assert_eq!(outcome.is_err(), failed, "{requests} requests");
        drop(db);
        copies(&inner);
        store.allow(i64::MAX);
        let db = open(&world, &store);
        assert_eq!(read_a(&world, &db), bits(&written), "{requests} requests, before the store was listed");
        db.sync_bucket(Timestamp(world.now())).unwrap();
        assert_eq!(read_a(&world, &db), bits(&written), "{requests} requests");
        assert_eq!(copies(&inner).len(), db.blocks(&world.tenant).len(), "{requests} requests");
        // Without the disk: the copies have every sample of the blocks once.
        let other = World { disk: tsdb::disk::FaultDisk::new(), ..self::world() };
        other.clock.set(world.now());
        let fresh = open(&other, &store);
        fresh.sync_bucket(Timestamp(world.now())).unwrap();
        let found = read_a(&other, &fresh);
        assert!(found.len() > 24 * 6, "{requests} requests: {}", found.len());
        assert_eq!(found[..], bits(&written)[..found.len()]);
        if !failed {
            assert!(requests > 10);
            return;
        }
        requests += 1;
    }
}

#[test]
fn what_is_deleted_is_deleted_in_the_store_too() {
    let (mut world, inner) = (world(), Arc::new(InMemory::new()) as Arc<dyn ObjectStore>);
    world.config.retention = PromDuration(2 * HOUR);
    let store = Faulty::new(Arc::clone(&inner));
    let db = open(&world, &store);
    write(&world, &db, 30);
    db.sync_bucket(Timestamp(world.now())).unwrap();
    db.maintain(Timestamp(world.now())).unwrap();
    let before = read_a(&world, &db);
    let selector = vec![Matcher::equal("__name__", "a")];
    db.delete_series(&world.tenant, &[selector], ALL).unwrap();
    assert_eq!((before.len(), read_a(&world, &db).len()), (180, 0));
    for _ in 0..3 {
        db.maintain(Timestamp(world.now())).unwrap();
        db.sync_bucket(Timestamp(world.now())).unwrap();
    }
    assert_eq!(read_a(&world, &db).len(), 0);
    // The proof: another server that knows of no deletion finds none of them.
    let other = World { disk: tsdb::disk::FaultDisk::new(), ..self::world() };
    other.clock.set(world.now());
    let fresh = open(&other, &store);
    fresh.sync_bucket(Timestamp(world.now())).unwrap();
    assert_eq!(read_a(&other, &fresh).len(), 0);
    let others = other.read(&fresh, vec![Matcher::equal("__name__", "b")]);
    assert!(others[0].1.len() > 24 * 6, "{}", others[0].1.len());
}

#[test]
fn the_store_has_its_own_retention_and_heals() {
    let (mut world, inner) = (world(), Arc::new(InMemory::new()) as Arc<dyn ObjectStore>);
    world.config.retention = PromDuration(20 * HOUR);
    world.config.bucket.retention = PromDuration(30 * HOUR);
    let store = Faulty::new(Arc::clone(&inner));
    let db = open(&world, &store);
    let written = write(&world, &db, 60);
    db.sync_bucket(Timestamp(world.now())).unwrap();
    db.maintain(Timestamp(world.now())).unwrap();
    let found = read_a(&world, &db);
    let oldest = world.now() - 30 * HOUR;
    assert!(found[0].0 > written[0].0 && found[0].0 <= oldest, "whole blocks only");
    // A copy that somebody deletes is sent again while the block is on disk.
    let before = copies(&inner);
    let newest = before.last().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        inner.delete(&Path::from(format!("{newest}/meta.json"))).await.unwrap();
        inner.delete(&Path::from(format!("{newest}/data"))).await.unwrap();
    });
    db.sync_bucket(Timestamp(world.now())).unwrap();
    assert_eq!(copies(&inner), before);
}

#[test]
fn a_damaged_copy_is_said_and_the_others_are_read() {
    let (mut world, inner) = (world(), Arc::new(InMemory::new()) as Arc<dyn ObjectStore>);
    world.config.retention = PromDuration(20 * HOUR);
    let store = Faulty::new(Arc::clone(&inner));
    let db = open(&world, &store);
    let written = write(&world, &db, 60);
    db.sync_bucket(Timestamp(world.now())).unwrap();
    db.maintain(Timestamp(world.now())).unwrap();
    drop(db);
    let all = copies(&inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let meta = Path::from(format!("{}/meta.json", all[0]));
    let bytes = runtime.block_on(async { inner.get(&meta).await.unwrap().bytes().await.unwrap() });
    runtime.block_on(inner.put(&meta, bytes.slice(..bytes.len() / 2).into())).unwrap();
    let db = open(&world, &store);
    db.sync_bucket(Timestamp(world.now())).unwrap();
    let names = db.label_values(&world.tenant, "i", &[], ALL, 0).unwrap();
    assert!(
        names.warnings[0].contains("damaged") && names.warnings[0].contains(&all[0]),
        "{:?}",
        names.warnings
    );
    let refused = db.delete_series(&world.tenant, &[vec![Matcher::equal("__name__", "a")]], ALL);
    assert!(
        refused.unwrap_err().to_string().contains(&all[0]),
        "it would be there again once the copy is mended"
    );
    let found = read_a(&world, &db);
    assert!(!found.is_empty() && found[0].0 > written[0].0, "the others are read");
    assert_eq!(found.last().map(|one| one.0), written.last().map(|one| one.0));
    runtime.block_on(inner.put(&meta, bytes.into())).unwrap();
    assert_eq!(copies(&inner), all, "nothing was deleted");
}

#[test]
fn a_store_that_does_not_answer_is_said() {
    let (world, inner) = (world(), Arc::new(InMemory::new()) as Arc<dyn ObjectStore>);
    let store = Faulty::new(Arc::clone(&inner));
    let db = open(&world, &store);
    let mut written = write(&world, &db, 90);
    store.allow(0);
    assert!(db.sync_bucket(Timestamp(world.now())).is_err());
    db.maintain(Timestamp(world.now())).unwrap();
    assert_eq!(read_a(&world, &db), bits(&written), "what was not sent is kept on disk");
    let names = db.label_values(&world.tenant, "i", &[], ALL, 0).unwrap();
    assert!(names.warnings[0].contains("object store"), "{:?}", names.warnings);
    let refused = db.delete_series(&world.tenant, &[vec![Matcher::equal("__name__", "a")]], ALL);
    assert!(refused.unwrap_err().to_string().contains("object store"));
    store.allow(i64::MAX);
    db.sync_bucket(Timestamp(world.now())).unwrap();
    db.maintain(Timestamp(world.now())).unwrap();
    assert!(db.blocks(&world.tenant).iter().all(|b| b.max_time > written[0].0 + 40 * HOUR));
    written.truncate(read_a(&world, &db).len());
    assert_eq!(read_a(&world, &db), bits(&written));
}
