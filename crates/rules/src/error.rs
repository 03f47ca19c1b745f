//! What can go wrong with rules.

use std::fmt;
use std::io;
use std::path::PathBuf;

use model::ErrorKind;

/// Why rules could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read. `verb`: "read", "list".
    #[error("cannot {verb} {path:?}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Files that are not valid; every problem is listed.
    #[error("{}", Problem::lines(.0))]
    Invalid(Vec<Problem>),
    /// A pattern of `rule_files` is malformed.
    #[error("rule_files pattern {0:?} is not valid: only the last path element may hold *, ? and [...]")]
    Pattern(String),
}

impl Error {
    /// Invalid: change the file. NotFound, Unavailable: look at the disk.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Invalid(_) | Self::Pattern(_) => ErrorKind::Invalid,
        }
    }
}

/// One thing that is wrong in a rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was given.
    pub file: String,
    /// Line and column from 1, `None` when the file as a whole is wrong.
    pub at: Option<(u64, u64)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl Problem {
    fn lines(problems: &[Self]) -> String {
        problems.iter().map(Self::to_string).collect::<Vec<_>>().join("\n")
    }
}
