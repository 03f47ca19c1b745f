//! Documents with every version kept: what people edit over the API (rules, routes, receivers, dashboards …).
//!
//! One key holds one version, `kind/name/0000000042`, and is written once, with [`Expect::Absent`]: that write is the edit.
//! The current version is the one with the highest number; a deletion is a version without content. So an edit is one
//! write on any [`StateStore`], two editors cannot both make version 42, and a crash leaves either the old or the new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::seam::{Expect, StateStore};
use model::{ErrorKind, SeamError, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const BUCKET: &str = "documents";

/// Bounds of the documents.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// So many documents are kept at most, deleted ones included.
    pub max_documents: usize,
    /// A document larger than this many bytes is refused.
    pub max_document_bytes: usize,
    /// So many versions of a document are kept; the oldest are removed.
    pub max_versions: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_documents: 5000, max_document_bytes: 2 << 20, max_versions: 200 }
    }
}

/// One version of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// From 1.
    pub version: u32,
    /// When it was made.
    pub at: Timestamp,
    /// By whom.
    pub author: String,
    /// Why.
    pub comment: String,
    /// The text; `None`: the document was deleted.
    pub content: Option<String>,
}

/// What an edit says.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// The new text; `None` deletes.
    pub content: Option<String>,
    /// By whom.
    pub author: String,
    /// Why.
    pub comment: String,
    /// The version that the editor saw (0: none); `None`: whatever there is.
    pub expected: Option<u32>,
}

/// Why an edit or a read is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// A name cannot be.
    #[error(
        "{name:?} is no name: 1 to 200 bytes without \"/\" and control characters, not beginning with \".\""
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is none.
    #[error("there is no {kind} {name:?}{}", version.map(|v| format!(" of version {v}")).unwrap_or_default())]
    NotFound {
        /// Of what kind.
        kind: String,
        /// Its name.
        name: String,
        /// The version that was asked for.
        version: Option<u32>,
    },
    /// Somebody else edited it.
    #[error(
        "{kind} {name:?} is at version {current}, not {expected}: somebody else has edited it; look at it again"
    )]
    Conflict {
        /// Of what kind.
        kind: String,
        /// Its name.
        name: String,
        /// What is there.
        current: u32,
        /// What the editor saw.
        expected: u32,
    },
    /// A bound was reached.
    #[error("{what}: the bound is {bound}")]
    Limit {
        /// Of what.
        what: String,
        /// It.
        bound: usize,
    },
    /// The store failed.
    #[error("the state store failed")]
    Store(#[from] SeamError),
}

type Key = (String, String);

/// All documents. The newest version of each is in memory; older ones are read when they are asked for.
pub struct Documents {
    store: Arc<dyn StateStore>,
    bounds: Bounds,
    current: Mutex<BTreeMap<Key, Version>>,
    /// One edit at a time.
    editing: tokio::sync::Mutex<()>,
}

impl Documents {
    /// Reads what is stored.
    ///
    /// # Errors
    /// When the store fails or holds something else.
    pub async fn open(store: Arc<dyn StateStore>, bounds: Bounds) -> Result<Self, SeamError> {
        let mut current: BTreeMap<Key, Version> = BTreeMap::new();
        for (key, entry) in store.list(BUCKET, "").await? {
            let mut parts = key.splitn(3, '/');
            let (Some(kind), Some(name)) = (parts.next(), parts.next()) else { continue };
            let version = read(&key, &entry.value)?;
            // Keys ascend, and so do versions.
            current.insert((kind.to_owned(), name.to_owned()), version);
        }
        Ok(Self { store, bounds, current: Mutex::new(current), editing: tokio::sync::Mutex::default() })
    }

    fn current(&self) -> MutexGuard<'_, BTreeMap<Key, Version>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest version of every document of a kind that is not deleted, by name.
    pub fn all(&self, kind: &str) -> Vec<(String, Version)> {
        self.each(kind, |name, version| (name.to_owned(), version.clone()))
    }

    /// What `make` makes of the newest version of every document of a kind that is not deleted, by name. It runs under the
    /// documents' lock.
    pub fn each<T>(&self, kind: &str, make: impl Fn(&str, &Version) -> T) -> Vec<T> {
        let current = self.current();
        let of_kind = current.iter().filter(|((k, _), version)| k == kind && version.content.is_some());
        of_kind.map(|((_, name), version)| make(name, version)).collect()
    }

    /// The newest version, also when it is a deletion.
    pub fn newest(&self, kind: &str, name: &str) -> Option<Version> {
        self.current().get(&(kind.to_owned(), name.to_owned())).cloned()
    }

    /// The newest version, also when it is a deletion.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn known(&self, kind: &str, name: &str) -> Result<Version, DocumentError> {
        let missing = || DocumentError::NotFound { kind: kind.into(), name: name.into(), version: None };
        self.newest(kind, name).ok_or_else(missing)
    }

    /// One version, or the newest.
    ///
    /// # Errors
    /// `NotFound`; `Store` when it cannot be read.
    pub async fn get(&self, kind: &str, name: &str, version: Option<u32>) -> Result<Version, DocumentError> {
        let missing = || DocumentError::NotFound { kind: kind.into(), name: name.into(), version };
        let newest = self.newest(kind, name).ok_or_else(missing)?;
        match version {
            None if newest.content.is_none() => Err(missing()),
            None => Ok(newest),
            Some(version) if version == newest.version => Ok(newest),
            Some(version) => {
                let key = key(kind, name, version);
                let entry = self.store.get(BUCKET, &key).await?.ok_or_else(missing)?;
                Ok(read(&key, &entry.value)?)
            }
        }
    }

    /// Every version that is kept, the newest first.
    ///
    /// # Errors
    /// `NotFound`; `Store` when they cannot be read.
    pub async fn versions(&self, kind: &str, name: &str) -> Result<Vec<Version>, DocumentError> {
        let entries = self.store.list(BUCKET, &format!("{kind}/{name}/")).await?;
        let mut versions =
            entries.iter().map(|(key, entry)| read(key, &entry.value)).collect::<Result<Vec<_>, _>>()?;
        if versions.is_empty() {
            return Err(DocumentError::NotFound { kind: kind.into(), name: name.into(), version: None });
        }
        versions.reverse();
        Ok(versions)
    }

    /// Stores an edit. `admit` sees it before it is stored and may refuse it; it is durable when this returns.
    ///
    /// # Errors
    /// `Name`, `Conflict`, `Limit`, `NotFound` for a deletion of nothing, what `admit` says, `Store`: then nothing has
    /// changed.
    pub async fn edit<E: From<DocumentError>>(
        &self,
        kind: &str,
        name: &str,
        edit: Edit,
        now: Timestamp,
        admit: impl FnOnce(&Version) -> Result<(), E>,
    ) -> Result<Version, E> {
        let _one_at_a_time = self.editing.lock().await;
        let before = self.newest(kind, name);
        let number = self.check(kind, name, &edit, before.as_ref())?;
        let Edit { content, author, comment, .. } = edit;
        let version = Version { version: number, at: now, author, comment, content };
        admit(&version)?;
        self.write(kind, name, &version).await?;
        self.current().insert((kind.to_owned(), name.to_owned()), version.clone());
        self.prune(kind, name, number).await;
        Ok(version)
    }

    /// The number that an edit gets.
    fn check(
        &self,
        kind: &str,
        name: &str,
        edit: &Edit,
        before: Option<&Version>,
    ) -> Result<u32, DocumentError> {
        if name.is_empty()
            || name.len() > 200
            || name.starts_with('.')
            || name.contains('/')
            || name.contains(char::is_control)
        {
            return Err(DocumentError::Name { name: name.to_owned() });
        }
        let current = before.map_or(0, |version| version.version);
        if let Some(expected) = edit.expected
            && expected != current
        {
            return Err(DocumentError::Conflict { kind: kind.into(), name: name.into(), current, expected });
        }
        let exists = before.is_some_and(|version| version.content.is_some());
        match &edit.content {
            None if !exists => {
                return Err(DocumentError::NotFound { kind: kind.into(), name: name.into(), version: None });
            }
            Some(content) if content.len() > self.bounds.max_document_bytes => {
                let what = format!("{kind} {name:?} has {} bytes", content.len());
                return Err(DocumentError::Limit { what, bound: self.bounds.max_document_bytes });
            }
            _ => {}
        }
        if before.is_none() && self.current().len() >= self.bounds.max_documents {
            let what = "there are too many documents".to_owned();
            return Err(DocumentError::Limit { what, bound: self.bounds.max_documents });
        }
        Ok(current + 1)
    }

    async fn write(&self, kind: &str, name: &str, version: &Version) -> Result<(), DocumentError> {
        let value = serde_json::to_vec(version).map_err(|err| {
            SeamError::with_source(ErrorKind::Internal, "a document cannot be written as JSON", err)
        })?;
        let key = key(kind, name, version.version);
        match self.store.put(BUCKET, &key, &value, Expect::Absent).await? {
            Some(_) => Ok(()),
            // Another process of the same store was faster.
            None => Err(DocumentError::Conflict {
                kind: kind.into(),
                name: name.into(),
                current: version.version,
                expected: version.version - 1,
            }),
        }
    }

    /// Removes versions beyond the bound. What cannot be removed now is tried again with the next edit.
    async fn prune(&self, kind: &str, name: &str, newest: u32) {
        let keep = u32::try_from(self.bounds.max_versions.max(1)).unwrap_or(u32::MAX);
        let Some(last) = newest.checked_sub(keep).filter(|last| *last > 0) else { return };
        let result = async {
            let entries = self.store.list(BUCKET, &format!("{kind}/{name}/")).await?;
            let limit = key(kind, name, last);
            let old: Vec<_> =
                entries.into_iter().map(|(key, _)| (key, None)).filter(|(key, _)| *key <= limit).collect();
            self.store.put_all(BUCKET, &old).await
        };
        if let Err(err) = result.await {
            tracing::warn!(kind, name, error = err.chain(), "old versions of a document cannot be removed");
        }
    }
}

fn key(kind: &str, name: &str, version: u32) -> String {
    format!("{kind}/{name}/{version:010}")
}

fn read(key: &str, value: &[u8]) -> Result<Version, SeamError> {
    serde_json::from_slice(value).map_err(|err| {
        let text = format!("{BUCKET}/{key} is not what was written; restore the state file");
        SeamError::with_source(ErrorKind::Corrupt, text, err)
    })
}
