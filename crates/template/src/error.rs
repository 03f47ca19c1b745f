//! What can go wrong, in Go's words.

use model::ErrorKind;

/// A template that does not parse or could not be executed. The text is Go's: `template: name:line: …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no template.
    #[error("{0}")]
    Parse(String),
    /// The template does not fit its data, or a function refused.
    #[error("{0}")]
    Execute(String),
    /// The execution used more than its limits allow.
    #[error("{0}")]
    Limit(String),
}

impl Error {
    /// Invalid: change the template. Limit: make it do less.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(_) | Self::Execute(_) => ErrorKind::Invalid,
            Self::Limit(_) => ErrorKind::Limit,
        }
    }
}
