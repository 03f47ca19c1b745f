//! Why a collector gave nothing.

use model::InvalidField;

/// Why a collector gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel or hardware has nothing of this kind; said once, quietly.
    #[error("not available here: {0}")]
    Absent(String),
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file says something that was not expected.
    #[error("{path}: cannot make sense of {text:?}")]
    Parse {
        /// Which file.
        path: String,
        /// The part that is not understood.
        text: String,
    },
    /// A filter is no regular expression.
    #[error("{field} is no regular expression")]
    Filter {
        /// Which setting.
        field: &'static str,
        /// What is wrong with it.
        source: model::pattern::InvalidPattern,
    },
    /// A setting names a collector that there is not.
    #[error("{field}: there is no collector {name:?}; there are: {known}")]
    UnknownCollector {
        /// Which setting.
        field: &'static str,
        /// The name that was given.
        name: String,
        /// All names.
        known: String,
    },
    /// A setting is not usable.
    #[error("{field}: {reason}")]
    Setting {
        /// Which setting.
        field: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
}

impl Error {
    /// The error as one of a setting below `section`, when it is one.
    ///
    /// # Errors
    /// The error itself, when no setting is to blame.
    pub fn of_setting(self, section: &str) -> Result<InvalidField, Self> {
        let wrong = match &self {
            Self::Filter { field, source } => InvalidField::new(*field, source.to_string()),
            Self::UnknownCollector { field, name, known } => {
                InvalidField::new(*field, format!("there is no collector {name:?}; there are: {known}"))
            }
            Self::Setting { field, reason } => InvalidField::new(field.as_str(), reason.as_str()),
            _ => return Err(self),
        };
        Ok(wrong.within(section))
    }

    /// A word for the state of the collector, bounded, for a label.
    pub(crate) fn state(&self) -> &'static str {
        match self {
            Self::Absent(_) => "absent",
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "permission"
            }
            _ => "failed",
        }
    }

    /// The message with its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(&format!(": {cause}"));
            next = cause.source();
        }
        text
    }
}
