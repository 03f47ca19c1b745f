//! The object store for synchronous callers: each request runs on a small runtime of its own, with a time limit.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Runtime;

use crate::error::{Error, Result};

/// How soon one who waits for a request notices that storage closes.
const CLOSING_LOOK: Duration = Duration::from_millis(200);

/// Sends requests and waits for their answers.
#[derive(Debug)]
pub(crate) struct Client {
    store: Arc<dyn ObjectStore>,
    /// `None` once dropped.
    runtime: Option<Runtime>,
    timeout: Duration,
    part_bytes: usize,
    closing: AtomicBool,
}

fn failed(verb: &'static str, object: &Path, reason: impl ToString) -> Error {
    Error::ObjectStore { verb, object: object.to_string(), reason: reason.to_string() }
}

impl Client {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, timeout: Duration, part_bytes: u64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tsdb-bucket-io")
            .enable_all()
            .build()
            .map_err(Error::io("start threads for", std::path::Path::new("the object store")))?;
        let part_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX).max(1);
        Ok(Self { store, runtime: Some(runtime), timeout, part_bytes, closing: AtomicBool::new(false) })
    }

    /// Ends the waiting for requests, now and later.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Runs a request to its end. The caller may be on a thread of another runtime, as long as it may block.
    fn run<T: Send + 'static>(
        &self,
        verb: &'static str,
        object: &Path,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (done, wait) = sync_channel(1);
        let runtime = self.runtime.as_ref().ok_or(Error::Closed)?;
        // The receiver waits below for as long as this runs.
        runtime.spawn(async move { drop(done.send(request.await)) });
        let answer = loop {
            match wait.recv_timeout(CLOSING_LOOK) {
                Ok(answer) => break answer,
                // The request is abandoned, which every request survives.
                Err(RecvTimeoutError::Timeout) if self.closing.load(Ordering::Relaxed) => {
                    return Err(Error::Closed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
            }
        };
        answer.map_err(|err| failed(verb, object, err))
    }

    fn limited<T: Send + 'static>(
        &self,
        verb: &'static str,
        object: &Path,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.run(verb, object, limit(self.timeout, request))
    }

    /// Sends an object: it is there whole when this returns, and not at all or whole when it fails.
    pub(crate) fn put(&self, object: &Path, bytes: Bytes) -> Result<()> {
        let (store, to, timeout) = (Arc::clone(&self.store), object.clone(), self.timeout);
        let part_bytes = self.part_bytes;
        self.run("send", object, async move {
            if bytes.len() <= part_bytes {
                return limit(timeout, async { store.put(&to, PutPayload::from(bytes)).await }).await.map(drop);
            }
            let mut upload = limit(timeout, store.put_multipart(&to)).await?;
            let send = async {
                for from in (0..bytes.len()).step_by(part_bytes) {
                    let part = bytes.slice(from..bytes.len().min(from.saturating_add(part_bytes)));
                    limit(timeout, upload.put_part(PutPayload::from(part))).await?;
                }
                Ok(())
            };
            let sent = match send.await {
                Ok(()) => limit(timeout, async { upload.complete().await }).await.map(drop),
                Err(err) => Err(err),
            };
            if sent.is_err()
                && let Err(err) = limit(timeout, async { upload.abort().await }).await
            {
                tracing::debug!(error = %err, object = %to, "parts of an object that could not be sent stay in the store");
            }
            sent
        })
    }

    pub(crate) fn get(&self, object: &Path) -> Result<Bytes> {
        let (store, from) = (Arc::clone(&self.store), object.clone());
        self.limited("read", object, async move { store.get(&from).await?.bytes().await })
    }

    pub(crate) fn get_range(&self, object: &Path, range: Range<u64>) -> Result<Bytes> {
        let (store, from) = (Arc::clone(&self.store), object.clone());
        self.limited("read", object, async move { store.get_range(&from, range).await })
    }

    /// The object's length; `None` when there is none.
    pub(crate) fn len(&self, object: &Path) -> Result<Option<u64>> {
        let (store, of) = (Arc::clone(&self.store), object.clone());
        self.limited("look for", object, async move {
            match store.head(&of).await {
                Ok(meta) => Ok(Some(meta.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(err) => Err(err),
            }
        })
    }

    /// Deletes an object; one that is not there is no error.
    pub(crate) fn delete(&self, object: &Path) -> Result<()> {
        let (store, of) = (Arc::clone(&self.store), object.clone());
        self.limited("delete", object, async move {
            match store.delete(&of).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(err) => Err(err),
            }
        })
    }

    /// All objects below `prefix`.
    pub(crate) fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let (store, of) = (Arc::clone(&self.store), prefix.clone());
        // A page at a time: the whole has no time limit, but each of its requests has the store's own.
        self.run("list", prefix, async move { store.list(Some(&of)).try_collect().await })
    }

    /// The names of the folders in `prefix`.
    pub(crate) fn folders(&self, prefix: &Path) -> Result<Vec<String>> {
        let (store, of) = (Arc::clone(&self.store), prefix.clone());
        let found =
            self.limited("list", prefix, async move { store.list_with_delimiter(Some(&of)).await })?;
        Ok(found.common_prefixes.iter().filter_map(|p| Some(p.filename()?.to_owned())).collect())
    }
}

/// A request with an end.
async fn limit<T>(
    timeout: Duration,
    request: impl Future<Output = object_store::Result<T>>,
) -> object_store::Result<T> {
    tokio::time::timeout(timeout, request).await.unwrap_or_else(|_| {
        let text = format!("no answer within {timeout:?} (storage.bucket.timeout)");
        Err(object_store::Error::Generic { store: "bucket", source: text.into() })
    })
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May be dropped where blocking is not allowed; what runs is abandoned, which every request survives.
            runtime.shutdown_background();
        }
    }
}
