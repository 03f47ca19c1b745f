//! Go's template language (`text/template`, `html/template`), with an evaluator of our own.
//!
//! Prometheus' annotations and Alertmanager's messages are written in it. Pure: no I/O and no clock; what a template may
//! call is handed in as [`Functions`]. Every execution is bounded in steps, bytes and depth by [`Limits`].
//!
//! | module | holds |
//! |---|---|
//! | [`set`] | [`Template`] and [`TemplateSet`]: parse, define, execute |
//! | [`value`] | [`Value`], [`Map`], and [`Object`] for lazily computed fields and methods |
//! | [`function`] | [`Function`], [`Functions`], [`FunctionNames`] |
//! | [`time`] | Go's `time.Time` and `time.Duration` as objects, and Go's time layouts |
//! | [`gofmt`] | Go's `fmt` verbs and its rendering of values |
//! | `lex`, `parse`, `node` | text to tree |
//! | `exec`, `builtin`, `html` | tree and data to text; built-in functions; contextual escaping |
//! | [`error`] | what can go wrong, in Go's words |
//!
//! Source: the documentation of Go's packages text/template, html/template, fmt and time.
#![warn(missing_docs)]

mod builtin;
pub mod error;
mod exec;
pub mod function;
pub mod gofmt;
mod html;
mod lex;
mod node;
mod parse;
pub mod set;
pub mod time;
pub mod value;

pub use error::Error;
pub use exec::{Limits, MissingKey, Options};
pub use function::{Function, FunctionNames, Functions, Type};
pub use html::{escape_html, escape_js, escape_query};
pub use set::{Template, TemplateSet};
pub use value::{Map, Object, Safe, SafeKind, Value};

#[cfg(test)]
mod tests;
