//! PromQL: parse, plan, evaluate.
//!
//! Says which series a query needs, then computes on what it is handed. No I/O (but for [`script`], which reads test
//! scripts), no runtime, no clock.
//!
//! | module | holds |
//! |---|---|
//! | [`ast`] | the syntax tree |
//! | [`error`] | what can be wrong with a query text |
//! | [`functions`] | the signatures of all functions |
//! | [`histogram`] | arithmetic on native histograms |
//! | [`kahan`] | compensated sums and means |
//! | [`number`] | floats as Go prints them |
//! | `lexer`, `parser`, `typecheck`, `patterns` | text to tree |
//! | [`options`] | which parts of the language are on |
//! | `print` | tree to text |
//! | [`resolve`] | duration expressions, `@ start()`, step invariance for one evaluation |
//! | [`script`] | runs test scripts against an engine |
#![warn(missing_docs)]

pub mod ast;
pub mod error;
pub mod functions;
pub mod histogram;
pub mod kahan;
mod lexer;
pub mod number;
pub mod options;
mod parser;
mod patterns;
mod print;
pub mod resolve;
pub mod script;
mod typecheck;

pub use ast::{Expr, Span, ValueType};
pub use error::{ParseError, ParseErrors};
pub use functions::{Function, FunctionId};
pub use options::Options;
pub use parser::{parse, parse_labels, parse_selector};
pub use print::prettify;
