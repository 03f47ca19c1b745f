//! [`Store`]: opening the state file, the seam over it, and backups.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use model::seam::{BoxFuture, Entry, Expect, StateStore};
use model::{ErrorKind, SeamError};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::schema;
use crate::writer::{Request, Writer};

/// State in one SQLite file. Cheap to share in an [`Arc`]; dropping it waits for what is queued.
#[derive(Debug)]
pub struct Store {
    config: Config,
    path: PathBuf,
    metrics: Metrics,
    /// `None` only while the store is dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    reader: Arc<Mutex<Connection>>,
    /// Held for as long as the store is open.
    _lock: File,
}

impl Store {
    /// Opens or creates the file at `path` (its folder must exist), checks it, brings its tables up to date and takes
    /// hold of it. Blocks: call it at start or off the runtime.
    ///
    /// # Errors
    /// [`Error`] says which of "in use", "read-only", "damaged", "another program's", "newer" it is.
    pub fn open(path: impl AsRef<Path>, config: Config, metrics: Metrics) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let lock = lock(&path)?;
        create_private(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let sql = |source| Error::sql("open", &path, source);
        let mut db = Connection::open_with_flags(&path, flags).map_err(sql)?;
        db.busy_timeout(std::time::Duration::from_secs(5)).map_err(sql)?;
        let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(sql)?;
        if mode != "wal" {
            return Err(Error::ReadOnly { path });
        }
        db.pragma_update(None, "synchronous", "FULL").map_err(sql)?;
        schema::prepare(&mut db, &path)?;
        let reader = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(sql)?;
        reader.busy_timeout(std::time::Duration::from_secs(5)).map_err(sql)?;
        let (requests, queue) = mpsc::channel(config.queue_length.max(1));
        let writer = Writer {
            db,
            path: path.clone(),
            requests: queue,
            commit_requests: config.commit_requests.max(1),
            metrics: metrics.clone(),
        };
        let writer = std::thread::Builder::new()
            .name("state-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| Error::Io { verb: "start the writer of", path: path.clone(), source })?;
        Ok(Self {
            config,
            path,
            metrics,
            requests: Some(requests),
            writer: Some(writer),
            reader: Arc::new(Mutex::new(reader)),
            _lock: lock,
        })
    }

    /// Writes a compact, consistent copy to `path`, which must not exist; the copy has mode 0600 and is durable when
    /// this returns. Writers go on meanwhile. Blocks.
    ///
    /// # Errors
    /// `Io` when `path` exists or cannot be written, `Full` when there is no space; no partial copy stays behind.
    pub fn backup_to(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let io = |verb, source| Error::Io { verb, path: path.to_owned(), source };
        if path.exists() {
            return Err(io("create", io::ErrorKind::AlreadyExists.into()));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        let text = partial.to_str().ok_or_else(|| {
            io("create", io::Error::new(io::ErrorKind::InvalidInput, "the path is not valid UTF-8"))
        })?;
        let copy = || {
            create_private(&partial)?;
            let db = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)
                .map_err(|source| Error::sql("open", &self.path, source))?;
            db.execute("VACUUM INTO ?1", params![text])
                .map_err(|source| Error::sql("copy", &self.path, source))?;
            File::open(&partial).and_then(|file| file.sync_all()).map_err(|source| io("sync", source))?;
            std::fs::rename(&partial, path).map_err(|source| io("rename", source))?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))
                .and_then(|folder| folder.sync_all())
                .map_err(|source| io("sync the folder of", source))
        };
        let result = copy();
        if result.is_err()
            && let Err(err) = std::fs::remove_file(&partial)
            && err.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = ?partial, error = %err, "cannot remove a partial backup");
        }
        result
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check(&self, bucket: &str, key: &str, value: &[u8]) -> Result<(), Error> {
        let (bytes, limit) = (value.len(), self.config.max_value_bytes);
        if bytes > limit {
            return Err(Error::TooLarge { bucket: bucket.into(), key: key.into(), bytes, limit });
        }
        Ok(())
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, SeamError> {
        let (reply, answer) = oneshot::channel();
        let Some(requests) = &self.requests else { return Err(Error::Closed.into()) };
        match requests.try_send(request(reply)) {
            Ok(()) => {
                self.metrics.queue_length.set((requests.max_capacity() - requests.capacity()) as i64);
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.metrics.refused.inc();
                return Err(Error::Busy { waiting: requests.max_capacity() }.into());
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Error::Closed.into()),
        }
        match answer.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Error::Closed.into()),
        }
    }

    /// Runs `read` on the read connection off the runtime.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SeamError> {
        let reader = self.reader.clone();
        let result = tokio::task::spawn_blocking(move || {
            let db = reader.lock().unwrap_or_else(PoisonError::into_inner);
            read(&db)
        })
        .await
        .map_err(|err| {
            SeamError::with_source(ErrorKind::Internal, "a read of the state file stopped", err)
        })?;
        Ok(result.map_err(|source| Error::sql("read", &self.path, source))?)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the state store panicked");
        }
    }
}

impl StateStore for Store {
    fn get<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, SeamError>> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        Box::pin(self.read(move |db| {
            db.prepare_cached("SELECT value, revision FROM entry WHERE bucket = ?1 AND key = ?2")?
                .query_row(params![bucket, key], |row| {
                    Ok(Entry { value: row.get(0)?, revision: row.get::<_, i64>(1)? as u64 })
                })
                .optional()
        }))
    }

    fn put<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
        value: &'a [u8],
        expect: Expect,
    ) -> BoxFuture<'a, Result<Option<u64>, SeamError>> {
        Box::pin(async move {
            self.check(bucket, key, value)?;
            let (bucket, key, value) = (bucket.to_owned(), key.to_owned(), value.to_owned());
            self.ask(|reply| Request::Put { bucket, key, value, expect, reply }).await
        })
    }

    fn put_all<'a>(
        &'a self,
        bucket: &'a str,
        entries: &'a [(String, Option<Vec<u8>>)],
    ) -> BoxFuture<'a, Result<(), SeamError>> {
        Box::pin(async move {
            for (key, value) in entries {
                self.check(bucket, key, value.as_deref().unwrap_or_default())?;
            }
            if entries.is_empty() {
                return Ok(());
            }
            let (bucket, entries) = (bucket.to_owned(), entries.to_vec());
            self.ask(|reply| Request::PutAll { bucket, entries, reply }).await
        })
    }

    fn delete<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<bool, SeamError>> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        Box::pin(self.ask(|reply| Request::Delete { bucket, key, reply }))
    }

    fn list<'a>(
        &'a self,
        bucket: &'a str,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, SeamError>> {
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        Box::pin(self.read(move |db| {
            let mut found = Vec::new();
            // Keys sort by their bytes, so those with the prefix are neighbours.
            let mut select = db.prepare_cached(
                "SELECT key, value, revision FROM entry WHERE bucket = ?1 AND key >= ?2 ORDER BY key",
            )?;
            let mut rows = select.query(params![bucket, prefix])?;
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                if !key.starts_with(&prefix) {
                    break;
                }
                found.push((key, Entry { value: row.get(1)?, revision: row.get::<_, i64>(2)? as u64 }));
            }
            Ok(found)
        }))
    }
}

/// Takes the lock file beside the database. SQLite's own locks would let two servers take turns.
fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|source| refused("create", &lock_path, path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(Error::Io { verb: "lock", path: lock_path, source }),
    }
}

/// Creates the file with mode 0600, or takes the rights of others away.
fn create_private(path: &Path) -> Result<(), Error> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| refused("create", path, path, source))?;
    let mode = file.metadata().map_err(|source| refused("read", path, path, source))?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(?path, mode = format!("{:o}", mode & 0o777), "state file was open to others; now 600");
        file.set_permissions(PermissionsExt::from_mode(0o600))
            .map_err(|source| refused("chmod", path, path, source))?;
    }
    Ok(())
}

fn refused(verb: &'static str, at: &Path, path: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::ReadOnly { path: path.to_owned() }
        }
        io::ErrorKind::StorageFull => Error::Full { path: path.to_owned() },
        _ => Error::Io { verb, path: at.to_owned(), source },
    }
}
