//! What can go wrong in the alert manager.

use std::io;
use std::path::PathBuf;

use model::{ErrorKind, SeamError};

/// An error of the alert manager.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error("{reason}")]
    Config {
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
    /// An HTTP client cannot be made.
    #[error("{0}")]
    Http(#[from] httpc::Error),
}

impl Error {
    /// What the caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } | Self::Template(_) | Self::Invalid(_) => ErrorKind::Invalid,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Limit(_) => ErrorKind::Limit,
            Self::State { source, .. } => source.kind(),
            Self::File { .. } | Self::History { .. } => ErrorKind::Unavailable,
            Self::Http(err) => err.kind(),
        }
    }
}
