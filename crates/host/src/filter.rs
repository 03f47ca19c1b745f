//! Which names a collector takes: an optional pattern to include and one to exclude.

use model::pattern::Pattern;

use crate::Error;

/// Patterns match the whole name; an empty text means that there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    include: Option<Pattern>,
    exclude: Option<Pattern>,
}

impl Filter {
    /// `fields`: the settings' names, for errors.
    pub(crate) fn new(fields: [&'static str; 2], include: &str, exclude: &str) -> Result<Self, Error> {
        Ok(Self { include: pattern(fields[0], include)?, exclude: pattern(fields[1], exclude)? })
    }

    /// A filter that only leaves things out.
    pub(crate) fn excluding(field: &'static str, exclude: &str) -> Result<Self, Error> {
        Self::new([field, field], "", exclude)
    }

    /// A filter that only lets things in.
    pub(crate) fn including(field: &'static str, include: &str) -> Result<Self, Error> {
        Self::new([field, field], include, "")
    }

    /// Whether a name passes.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.matches(name))
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.matches(name))
    }
}

fn pattern(field: &'static str, text: &str) -> Result<Option<Pattern>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    Pattern::new(text).map(Some).map_err(|source| Error::Filter { field, source })
}
