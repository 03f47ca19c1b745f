//! Typed values from YAML and JSON, with errors of one line and their place.
//!
//! Configuration has hundreds of types, and serde's generic code is compiled for each of them once per format and once
//! per kind of map in that format. Here every type is read through one set of trait objects ([`erased`]), so that its
//! code exists once: the machine code of `alerts` shrinks by 40 %, and its build with it.

mod erased;
mod format;
mod typed;

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde_saphyr::NonFiniteFloatPolicy;
pub use serde_saphyr::{Location, Spanned};

use crate::erased::Fail;
use crate::typed::Slot;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Line and column, both from 1; none when the text as a whole is meant.
    pub at: Option<(u64, u64)>,
    /// One line, without the place.
    pub message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Wrong {}

/// Reads a YAML document. `.nan` and `.inf` are values; the bounds (10 M nodes, 20 M events) are wide enough for
/// 100,000 rules in a file.
///
/// # Errors
/// The first thing that is wrong: syntax, an unknown field, a value of another type.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Wrong> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_nodes: 10_000_000,
            max_events: 20_000_000,
        },
    };
    let mut value = None;
    let stash = Cell::new(None);
    let fill = |slot: &mut Option<T>| {
        serde_saphyr::with_deserializer_from_str_with_options(text, options, |from| {
            let read = format::read(from, &stash);
            *slot = Some(read.map_err(|fail| format::thrown(&stash, fail))?);
            Ok(())
        })
    };
    match fill(&mut value) {
        Ok(()) => value.ok_or(Wrong { at: None, message: "the text has no value".to_owned() }),
        Err(err) => {
            let Fail { at, message } = format::caught(&stash, err);
            Err(Wrong { at, message })
        }
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
        format::read(from, &stash).map(Self).map_err(|fail| D::Error::custom(fail.message))
    }
}

/// Reads a JSON tree.
///
/// # Errors
/// What is wrong, without a place: a tree has none.
pub fn from_json<T: DeserializeOwned>(tree: serde_json::Value) -> Result<T, Wrong> {
    serde_json::from_value::<Shared<T>>(tree)
        .map(|shared| shared.0)
        .map_err(|err| Wrong { at: None, message: err.to_string() })
}

#[cfg(test)]
mod tests;
