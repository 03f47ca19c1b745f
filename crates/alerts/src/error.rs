//! What can go wrong in the alert manager.

use std::io;
use std::path::{Path, PathBuf};

use model::{ErrorKind, SeamError};

/// An error of the alert manager.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error("{}{reason}", place(path.as_deref(), *at))]
    Config {
        /// In which file, when it is one.
        path: Option<PathBuf>,
        /// Line and column, from 1.
        at: Option<(u64, u64)>,
        /// Which field and why.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read the {what} {path:?}")]
    File {
        /// "configuration", "template", "secret".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A template is wrong.
    #[error("template: {0}")]
    Template(String),
    /// A request has a wrong part.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// A bound was reached.
    #[error("{0}")]
    Limit(String),
    /// The state store failed.
    #[error("the state store failed while {doing}")]
    State {
        /// What was done.
        doing: &'static str,
        /// Why.
        source: SeamError,
    },
    /// The history failed.
    #[error("the alert history failed while {doing}")]
    History {
        /// What was done.
        doing: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// The history's file cannot be used.
    #[error("the alert history {} failed while {doing}; move it away to start with an empty one", path.display())]
    HistoryFile {
        /// What was done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// An HTTP client cannot be made.
    #[error("{0}")]
    Http(#[from] httpc::Error),
}

/// How an error begins that has a place.
fn place(path: Option<&Path>, at: Option<(u64, u64)>) -> String {
    match (path, at) {
        (Some(path), Some((line, column))) => format!("{}:{line}:{column}: ", path.display()),
        (Some(path), None) => format!("{}: ", path.display()),
        (None, Some((line, column))) => format!("line {line}, column {column}: "),
        (None, None) => String::new(),
    }
}

impl Error {
    /// A wrong configuration, no place known.
    pub(crate) fn config(reason: impl Into<String>) -> Self {
        Self::Config { path: None, at: None, reason: reason.into() }
    }

    /// The same error, of what is in this file.
    #[must_use]
    pub fn in_file(self, file: &Path) -> Self {
        match self {
            Self::Config { path: None, at, reason } => {
                Self::Config { path: Some(file.to_owned()), at, reason }
            }
            other => other,
        }
    }

    /// The same error without a place: for a text that nobody has written so.
    #[must_use]
    pub fn without_place(self) -> Self {
        match self {
            Self::Config { reason, .. } => Self::config(reason),
            other => other,
        }
    }

    /// What the caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } | Self::Template(_) | Self::Invalid(_) => ErrorKind::Invalid,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Limit(_) => ErrorKind::Limit,
            Self::State { source, .. } => source.kind(),
            Self::File { .. } | Self::History { .. } | Self::HistoryFile { .. } => ErrorKind::Unavailable,
            Self::Http(err) => err.kind(),
        }
    }
}
