//! PromQL: parse, plan, evaluate.
//!
//! Says which series a query needs, then computes on what it is handed. No I/O, no runtime, no clock.
//!
//! | module | holds |
//! |---|---|
//! | [`ast`] | the syntax tree |
//! | [`functions`] | the signatures of all functions |
//! | [`options`] | which parts of the language are on |
#![warn(missing_docs)]

pub mod ast;
pub mod functions;
pub mod options;

pub use ast::Expr;
pub use functions::{Function, FunctionId};
pub use options::Options;
