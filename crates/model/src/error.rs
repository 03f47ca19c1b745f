//! What a seam may answer instead of a result.

use std::error::Error as StdError;

/// What the caller may do about an error; `api` turns a kind into a status code in one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: change it.
    Invalid,
    /// The thing asked for does not exist.
    NotFound,
    /// A limit was reached: send or ask for less.
    Limit,
    /// Not now: retry later.
    Unavailable,
    /// The deadline passed.
    Timeout,
    /// The caller went away or asked to stop.
    Cancelled,
    /// Stored data is damaged: restore it or drop it.
    Corrupt,
    /// Our bug.
    Internal,
}

/// An error that crosses a seam. `message` says what was wrong, with which value and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SeamError {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl SeamError {
    /// An error without a cause below it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error that wraps `source`; `message` must not repeat it.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What the caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message and those of all causes, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = StdError::source(self);
        while let Some(err) = next {
            text.push_str(": ");
            text.push_str(&err.to_string());
            next = err.source();
        }
        text
    }
}
