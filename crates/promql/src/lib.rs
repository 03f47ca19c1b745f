//! PromQL: parse, plan, evaluate.
//!
//! Says which series a query needs, then computes on what it is handed. No I/O (but for [`script`], which reads test
//! scripts), no runtime, no clock.
//!
//! | module | holds |
//! |---|---|
//! | [`annotations`] | warnings and infos about a result |
//! | [`ast`] | the syntax tree |
//! | [`error`] | what can be wrong with a query text |
//! | [`eval`] | evaluation of a plan |
//! | [`functions`] | the signatures of all functions |
//! | [`histogram`] | arithmetic on native histograms |
//! | `json` | the tree as `parse_query` shows it |
//! | [`kahan`] | compensated sums and means |
//! | [`number`] | floats as Go prints them |
//! | `lexer`, `parser`, `typecheck` | text to tree |
//! | [`options`] | which parts of the language are on |
//! | [`patterns`] | compiled regular expressions, shared between queries |
//! | [`plan`] | what is fetched and computed for an expression |
//! | `print` | tree to text |
//! | [`query`](mod@query) | text to answer over a [`Querier`](model::Querier) |
//! | [`resolve`] | duration expressions, `@ start()`, step invariance for one evaluation |
//! | [`result`] | what a query evaluates to |
//! | [`rows`] | the same as columns: what a server streams and caches |
//! | [`script`] | runs test scripts against an engine |
//! | `stack` | threads with room for tall trees |
#![warn(missing_docs)]

pub mod annotations;
pub mod ast;
pub mod error;
pub mod eval;
pub mod functions;
pub mod histogram;
mod json;
pub mod kahan;
mod lexer;
pub mod number;
pub mod options;
mod parser;
pub mod patterns;
pub mod plan;
mod print;
pub mod query;
pub mod resolve;
pub mod result;
pub mod rows;
pub mod script;
mod stack;
mod typecheck;

pub use annotations::Annotations;
pub use ast::{Expr, Span, ValueType};
pub use error::{ParseError, ParseErrors};
pub use eval::error::Error;
pub use eval::{Hold, Limits, evaluate, evaluate_rows};
pub use functions::{Function, FunctionId};
pub use options::Options;
pub use parser::{parse, parse_labels, parse_selector};
pub use patterns::PatternCache;
pub use plan::{EvalOptions, Plan, Times, plan};
pub use print::prettify;
pub use query::query;
pub use result::{NodeStats, QueryResult, QueryValue, Series, Stats};
pub use rows::{Evaluated, Point, Rows, RowsValue};
