//! What can go wrong between a configuration and a body.

use std::path::PathBuf;
use std::time::Duration;

use model::ErrorKind;

use crate::config::InvalidConfig;

/// Why a client could not be made or a request failed. Messages name the cause in words that fit a target's
/// `lastError`; no message holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// A file with a credential or certificate cannot be read.
    #[error("cannot read {path:?} for {field}")]
    File {
        /// The setting that names the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate, key or TLS setting is unusable.
    #[error("{field}: {reason}")]
    Tls {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The URL is not one.
    #[error("{url:?} is not a valid URL: {reason}")]
    Url {
        /// As given.
        url: String,
        /// Why.
        reason: String,
    },
    /// No keys to sign with.
    #[error("no AWS keys: {0}")]
    Aws(String),
    /// A header name or value cannot be sent.
    #[error("header {0:?} has a name or value that HTTP does not allow")]
    Header(String),
    /// No answer in time.
    #[error("no complete answer from {url} within {after:?}")]
    Timeout {
        /// Without credentials.
        url: String,
        /// The request's timeout.
        after: Duration,
    },
    /// No connection: name resolution, TCP or TLS.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// Without credentials.
        url: String,
        /// The causes, outermost first.
        reason: String,
    },
    /// More redirects than allowed, or one in a circle.
    #[error("{url} redirects too often: stopped after {limit} redirects")]
    Redirect {
        /// Where it started.
        url: String,
        /// How many were followed.
        limit: usize,
    },
    /// The body is larger than allowed, after decompression.
    #[error("the body from {url} is larger than the limit of {limit} bytes")]
    BodyTooLarge {
        /// Without credentials.
        url: String,
        /// The cap in bytes.
        limit: usize,
    },
    /// The connection broke, or what came is not HTTP or not in its declared encoding.
    #[error("the exchange with {url} failed: {reason}")]
    Exchange {
        /// Without credentials.
        url: String,
        /// The causes, outermost first.
        reason: String,
    },
    /// The OAuth 2.0 token endpoint refused.
    #[error("cannot get an OAuth 2.0 token from {url}: {reason}")]
    Token {
        /// The token endpoint.
        url: String,
        /// What it said.
        reason: String,
    },
}

impl Error {
    /// What the caller may do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_)
            | Self::Tls { .. }
            | Self::Url { .. }
            | Self::Header(_)
            | Self::Redirect { .. } => ErrorKind::Invalid,
            Self::BodyTooLarge { .. } => ErrorKind::Limit,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::File { .. }
            | Self::Connect { .. }
            | Self::Exchange { .. }
            | Self::Token { .. }
            | Self::Aws(_) => ErrorKind::Unavailable,
        }
    }

    /// The message and those of all causes, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(err) = next {
            text.push_str(": ");
            text.push_str(&err.to_string());
            next = err.source();
        }
        text
    }
}
