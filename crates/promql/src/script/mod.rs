//! Runs PromQL test scripts: load series, evaluate queries, compare results.
//!
//! The language is that of Prometheus' `promqltest`; docs/reference/promql-test-scripts.md describes it. A script needs
//! an [`Engine`] to evaluate with; everything else, the storage included, is here.
//!
//! | module | holds |
//! |---|---|
//! | [`parse`] | text to commands |
//! | [`engine`] | this crate's evaluator |
//! | [`series`] | `name{a="b"} 1+1x5 _ {{sum:1}}` |
//! | [`storage`] | what was loaded, as a `Querier` |
//! | `nhcb` | classic histograms to native ones with custom buckets |
//! | [`run`] | commands against an engine, with a report |
//! | `compare` | what counts as equal |

mod compare;
pub mod engine;
mod nhcb;
pub mod parse;
pub mod run;
pub mod series;
pub mod storage;
#[cfg(test)]
mod tests;

pub use parse::{Script, ScriptError};
pub use run::{
    Answer, AnswerValue, Engine, Failure, Question, Report, RunOptions, Series, run_paths, run_script,
};
pub use storage::Storage;
