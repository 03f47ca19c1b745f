//! A state store in memory, which can be told to fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::seam::{BoxFuture, Entry, Expect, StateStore};
use model::{ErrorKind, SeamError};

/// A [`StateStore`] in memory. Revisions rise across all keys.
#[derive(Debug, Default)]
pub struct MemoryState {
    inner: Mutex<Inner>,
    down: AtomicBool,
}

#[derive(Debug, Default, Clone)]
struct Inner {
    revision: u64,
    entries: BTreeMap<(String, String), Entry>,
}

impl Inner {
    fn put(&mut self, bucket: &str, key: &str, value: &[u8]) -> u64 {
        self.revision += 1;
        let entry = Entry { value: value.to_owned(), revision: self.revision };
        self.entries.insert((bucket.to_owned(), key.to_owned()), entry);
        self.revision
    }

    fn delete(&mut self, bucket: &str, key: &str) -> bool {
        self.entries.remove(&(bucket.to_owned(), key.to_owned())).is_some()
    }
}

impl MemoryState {
    /// While `down`, every request fails as unavailable.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// A copy of what is stored now: what a process that starts after a crash would find.
    pub fn snapshot(&self) -> Self {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { inner: Mutex::new(inner), down: AtomicBool::new(false) }
    }

    fn lock(&self) -> Result<MutexGuard<'_, Inner>, SeamError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(SeamError::new(ErrorKind::Unavailable, "the memory store was told to fail"));
        }
        Ok(self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StateStore for MemoryState {
    fn get<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, SeamError>> {
        Box::pin(async move { Ok(self.lock()?.entries.get(&(bucket.to_owned(), key.to_owned())).cloned()) })
    }

    fn put<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
        value: &'a [u8],
        expect: Expect,
    ) -> BoxFuture<'a, Result<Option<u64>, SeamError>> {
        Box::pin(async move {
            let mut inner = self.lock()?;
            let found = inner.entries.get(&(bucket.to_owned(), key.to_owned())).map(|entry| entry.revision);
            let holds = match expect {
                Expect::Any => true,
                Expect::Absent => found.is_none(),
                Expect::Revision(revision) => found == Some(revision),
            };
            Ok(holds.then(|| inner.put(bucket, key, value)))
        })
    }

    fn put_all<'a>(
        &'a self,
        bucket: &'a str,
        entries: &'a [(String, Option<Vec<u8>>)],
    ) -> BoxFuture<'a, Result<(), SeamError>> {
        Box::pin(async move {
            let mut inner = self.lock()?;
            for (key, value) in entries {
                match value {
                    Some(value) => {
                        inner.put(bucket, key, value);
                    }
                    None => {
                        inner.delete(bucket, key);
                    }
                }
            }
            Ok(())
        })
    }

    fn delete<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<bool, SeamError>> {
        Box::pin(async move { Ok(self.lock()?.delete(bucket, key)) })
    }

    fn list<'a>(
        &'a self,
        bucket: &'a str,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, SeamError>> {
        Box::pin(async move {
            let inner = self.lock()?;
            let of_bucket =
                inner.entries.iter().filter(|((b, key), _)| b == bucket && key.starts_with(prefix));
            Ok(of_bucket.map(|((_, key), entry)| (key.clone(), entry.clone())).collect())
        })
    }
}
