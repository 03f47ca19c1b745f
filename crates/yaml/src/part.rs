//! Reading a part of a document: one text, several types, each of which knows some of its sections.

use serde::de::Error as _;

use crate::erased::{Entries, Fail, Given, Kind, Seed, Sink, Source};

/// Whether an entry of a mapping is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// With everything in it.
    Whole,
    /// It is a mapping of which again a part is read.
    Within,
    /// It is another type's.
    Not,
}

/// Decides over an entry by its path from the root: one name, or two below a section that is read [`Take::Within`]. What
/// it refuses is an error at the entry's name.
pub type Part<'a> = dyn Fn(&[&str]) -> Result<Take, String> + 'a;

/// A [`Part`] at some depth.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    part: &'a Part<'a>,
    section: Option<&'a str>,
}

impl<'a> Scope<'a> {
    pub(crate) fn root(part: &'a Part<'a>) -> Self {
        Self { part, section: None }
    }

    pub(crate) fn within(self, section: &'a str) -> Self {
        Self { section: Some(section), ..self }
    }

    pub(crate) fn take(&self, key: &str) -> Result<Take, String> {
        match self.section {
            None => (self.part)(&[key]),
            Some(section) => (self.part)(&[section, key]),
        }
    }
}

/// The map without entries.
pub(crate) struct Empty;

impl<'de> Entries<'de> for Empty {
    fn key(&mut self, _: &mut dyn Seed<'de>) -> Result<bool, Fail> {
        Ok(false)
    }

    fn value(&mut self, _: &mut dyn Seed<'de>) -> Result<(), Fail> {
        Err(Fail::custom("a value was read before its key"))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(0)
    }
}

/// A name as a source.
pub(crate) struct Name<'a>(pub(crate) &'a str);

impl<'de> Source<'de> for Name<'_> {
    fn give(&mut self, _: Kind, to: &mut dyn Sink<'de>) -> Result<(), Fail> {
        to.take(Given::Str(self.0))
    }

    fn is_human_readable(&self) -> bool {
        true
    }
}

/// A source that only learns what is asked for.
pub(crate) struct Fields(pub(crate) &'static [&'static str]);

impl<'de> Source<'de> for Fields {
    fn give(&mut self, kind: Kind, _: &mut dyn Sink<'de>) -> Result<(), Fail> {
        if let Kind::Struct(_, fields) = kind {
            self.0 = fields;
        }
        Err(Fail::custom("there is no value"))
    }

    fn is_human_readable(&self) -> bool {
        true
    }
}
