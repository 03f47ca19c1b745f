//! What can go wrong in storage.

use std::io;
use std::path::{Path, PathBuf};

use model::{ErrorKind, SeamError};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk refused. `verb`: "open", "sync", "rename" and so on.
    #[error("cannot {verb} {path:?}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process has the data folder.
    #[error(
        "the data folder {path:?} is in use by another process ({owner}); stop it, or give this one another folder"
    )]
    Locked {
        /// The data folder.
        path: PathBuf,
        /// What the other process wrote into the lock file.
        owner: String,
    },
    /// The object store refused or did not answer.
    #[error("cannot {verb} {object} in the object store: {reason}")]
    ObjectStore {
        /// What was tried.
        verb: &'static str,
        /// With which object or folder.
        object: String,
        /// What the store said.
        reason: String,
    },
    /// Stored bytes are damaged.
    #[error("{path:?} is damaged at byte {offset}: {what}; restore it from a copy or move it away")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// How it is known.
        what: String,
    },
    /// A setting or an argument makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Writing is refused for the moment.
    #[error("storage accepts no samples: {0}")]
    ReadOnly(String),
    /// A budget or limit was reached.
    #[error(transparent)]
    OverBudget(#[from] model::budget::OverBudget),
    /// A bound of storage itself was reached.
    #[error("{0}")]
    Limit(String),
    /// Storage is being closed.
    #[error("storage is closed")]
    Closed,
}

impl Error {
    /// An I/O error, for `map_err`.
    pub fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { verb, path, source }
    }

    /// Damaged bytes.
    pub fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, what: what.into() }
    }

    /// What a caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. }
            | Self::Locked { .. }
            | Self::ObjectStore { .. }
            | Self::ReadOnly(_)
            | Self::Closed => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::OverBudget(_) | Self::Limit(_) => ErrorKind::Limit,
        }
    }
}

impl From<Error> for SeamError {
    fn from(err: Error) -> Self {
        let kind = err.kind();
        let message = err.to_string();
        match std::error::Error::source(&err) {
            Some(_) => match err {
                Error::Io { source, .. } => Self::with_source(kind, message, source),
                other => Self::new(kind, other.to_string()),
            },
            None => Self::new(kind, message),
        }
    }
}
