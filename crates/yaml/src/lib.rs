//! Typed values from YAML and JSON, with errors of one line and their place.
//!
//! Configuration has hundreds of types, and serde's generic code is compiled for each of them once per format and once
//! per kind of map in that format. Here every type is read through one set of trait objects ([`erased`]), so that its
//! code exists once: the machine code of `alerts` shrinks by 40 %, and its build with it.

mod erased;
mod format;
mod part;
mod place;
mod typed;
mod words;

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde_saphyr::NonFiniteFloatPolicy;
pub use serde_saphyr::{Location, Spanned};

use crate::erased::{Fail, Seed};
use crate::format::Way;
use crate::part::{Fields, Scope};
pub use crate::part::{Part, Take};
pub use crate::place::place;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Line and column, both from 1; none when the text as a whole is meant.
    pub at: Option<(u64, u64)>,
    /// The field's path from the root, such as `rules[2].for`; empty for the text as a whole.
    pub field: String,
    /// One line, without place and field.
    pub message: String,
}

impl Wrong {
    /// Field and message, for those who say the place in their own way.
    pub fn of_field(&self) -> String {
        let joint = if self.field.is_empty() { "" } else { ": " };
        format!("{}{joint}{}", self.field, self.message)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.of_field())
    }
}

impl std::error::Error for Wrong {}

/// Reads a YAML document. `.nan` and `.inf` are values; the bounds (10 M nodes, 20 M events) are wide enough for
/// 100,000 rules in a file.
///
/// # Errors
/// The first thing that is wrong: syntax, an unknown field, a value of another type.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Wrong> {
    read_scope(text, None)
}

/// Reads those sections of a YAML document that `part` takes; a section without a value, or a text without sections,
/// leaves all fields at their defaults.
///
/// # Errors
/// As [`read`], and what `part` refuses.
pub fn read_part<T: DeserializeOwned>(text: &str, part: &Part<'_>) -> Result<T, Wrong> {
    read_scope(text, Some(Scope::root(part)))
}

/// The names of a struct's fields, as its `Deserialize` asks for them; none for other types.
pub fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut asked = Fields(&[]);
    let mut slot = typed::seed(PhantomData::<T>);
    // It cannot succeed: there is nothing to read.
    match Seed::grow(&mut slot, &mut asked) {
        Ok(()) | Err(_) => asked.0,
    }
}

fn read_scope<T: DeserializeOwned>(text: &str, scope: Option<Scope<'_>>) -> Result<T, Wrong> {
    let mut value = None;
    let stash = Cell::new(None);
    let fill = |slot: &mut Option<T>| {
        serde_saphyr::with_deserializer_from_str_with_options(text, options(), |from| {
            let read = format::read(from, Way::new(&stash, scope));
            *slot = Some(read.map_err(|fail| format::thrown(&stash, fail))?);
            Ok(())
        })
    };
    match fill(&mut value) {
        Ok(()) => {
            value.ok_or(Wrong { at: None, field: String::new(), message: "the text has no value".to_owned() })
        }
        Err(err) => {
            let Fail { at, field, message } = format::caught(&stash, err);
            Err(Wrong { at, field, message })
        }
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_nodes: 10_000_000,
            max_events: 20_000_000,
        },
    }
}

/// Writes a tree as a YAML document.
///
/// # Errors
/// A float that YAML cannot say.
pub fn write(tree: &serde_json::Value) -> Result<String, String> {
    serde_saphyr::to_string(tree).map_err(|err| err.to_string())
}

/// A value whose code is shared by all formats that it is read from: `serde_json::from_value::<Shared<T>>(tree)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let stash = Cell::new(None);
        format::read(from, Way::new(&stash, None)).map(Self).map_err(|fail| {
            let joint = if fail.field.is_empty() { "" } else { ": " };
            D::Error::custom(format!("{}{joint}{}", fail.field, fail.message))
        })
    }
}

/// Reads a JSON tree.
///
/// # Errors
/// What is wrong, without a place: a tree has none.
pub fn from_json<T: DeserializeOwned>(tree: serde_json::Value) -> Result<T, Wrong> {
    serde_json::from_value::<Shared<T>>(tree).map(|shared| shared.0).map_err(|err| Wrong {
        at: None,
        field: String::new(),
        message: err.to_string(),
    })
}

#[cfg(test)]
mod tests;
