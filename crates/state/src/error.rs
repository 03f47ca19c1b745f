//! What can go wrong with the state file.

use std::io;
use std::path::{Path, PathBuf};

use model::{ErrorKind, SeamError};
use rusqlite::ErrorCode;

/// An error of the state store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process holds the file.
    #[error("{path:?} is in use by another process; stop that one or give this one another data folder")]
    InUse {
        /// The state file.
        path: PathBuf,
    },
    /// The file or its folder cannot be written.
    #[error(
        "{path:?} cannot be written; check the owner and mode of it and its folder, and that the disk is mounted read-write"
    )]
    ReadOnly {
        /// The state file.
        path: PathBuf,
    },
    /// The file is damaged or is no database.
    #[error(
        "{path:?} is damaged ({detail}); restore it from a backup, or move it away to start without silences and notification log"
    )]
    Corrupt {
        /// The state file.
        path: PathBuf,
        /// What the check said.
        detail: String,
    },
    /// The file belongs to another program.
    #[error("{path:?} is a database of another program (application id {found:#x}); choose another path")]
    Foreign {
        /// The state file.
        path: PathBuf,
        /// Its application id.
        found: i32,
    },
    /// The file was written by a newer version.
    #[error(
        "{path:?} has schema version {found}, this program knows versions up to {known}; run the newer program or restore the backup made before the upgrade"
    )]
    Newer {
        /// The state file.
        path: PathBuf,
        /// Its schema version.
        found: i32,
        /// The newest one known here.
        known: i32,
    },
    /// The disk is full.
    #[error("no space left for {path:?}; free some, nothing was written")]
    Full {
        /// The state file.
        path: PathBuf,
    },
    /// The operating system refused. `verb`: "create", "chmod", "rename", "sync".
    #[error("cannot {verb} {path:?}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A value is larger than the limit.
    #[error("value of {bucket}/{key} has {bytes} bytes, more than state.max_value_bytes ({limit})")]
    TooLarge {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The value's length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The queue of the writer or reader is full.
    #[error(
        "{waiting} requests wait for the state store already (state.queue_length); the disk is too slow, try again"
    )]
    Busy {
        /// The queue's bound.
        waiting: usize,
    },
    /// The store was closed.
    #[error("the state store is closed")]
    Closed,
    /// SQLite refused for another reason. `verb` says what was tried.
    #[error("cannot {verb} {path:?}")]
    Sql {
        /// What was tried.
        verb: &'static str,
        /// The state file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
}

impl Error {
    /// Sorts a SQLite error.
    pub(crate) fn sql(verb: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse { path },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { path }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, detail: source.to_string() }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path },
            _ => Self::Sql { verb, path, source },
        }
    }

    /// The same error once more, for each request of a failed commit; SQLite's own error cannot be cloned.
    pub(crate) fn again(&self, path: &Path) -> Self {
        let path = path.to_owned();
        match self {
            Self::InUse { .. } => Self::InUse { path },
            Self::ReadOnly { .. } => Self::ReadOnly { path },
            Self::Full { .. } => Self::Full { path },
            Self::Corrupt { detail, .. } => Self::Corrupt { path, detail: detail.clone() },
            Self::Sql { verb, source, .. } => {
                Self::Io { verb, path, source: io::Error::other(source.to_string()) }
            }
            other => Self::Io { verb: "write", path, source: io::Error::other(other.to_string()) },
        }
    }

    /// What the caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. }
            | Self::ReadOnly { .. }
            | Self::Full { .. }
            | Self::Io { .. }
            | Self::Busy { .. }
            | Self::Closed => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Foreign { .. } | Self::Newer { .. } => ErrorKind::Invalid,
            Self::TooLarge { .. } => ErrorKind::Limit,
            Self::Sql { .. } => ErrorKind::Internal,
        }
    }
}

impl From<Error> for SeamError {
    fn from(err: Error) -> Self {
        let kind = err.kind();
        match err {
            Error::Io { verb, path, source } => {
                Self::with_source(kind, format!("cannot {verb} {path:?}"), source)
            }
            Error::Sql { verb, path, source } => {
                Self::with_source(kind, format!("cannot {verb} {path:?}"), source)
            }
            other => Self::new(kind, other.to_string()),
        }
    }
}
