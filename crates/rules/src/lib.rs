//! Recording and alerting rules on a schedule.
//!
//! | module | holds |
//! |---|---|
//! | [`file`], [`rule`] | Prometheus' rule files; rules and groups that are known to be right |
//! | [`expand`] | templates of labels and annotations |
//! | [`evaluate`], [`engine`] | the seam to PromQL; PromQL behind it |
//! | [`alerting`] | the state machine of alerts |
//! | `restore` | what alerts take up again after a restart |
//! | [`explain`] | why an alert fires, or does not |
//! | [`group`], [`ruler`] | one group at work; all groups on their schedule |
//! | [`check`], [`unit_test`] | `check rules` with lints; `test rules` |
//! | [`shipped`] | rules that come with the binary |
//! | [`snapshot`] | rules and alerts as the HTTP API shows them |
//! | `yaml` | YAML with errors in one line |
//! | [`config`], [`error`], [`metrics`] | settings; what can be wrong with rule files; what is counted |
#![warn(missing_docs)]

pub mod alerting;
pub mod check;
pub mod config;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod expand;
pub mod explain;
pub mod file;
pub mod group;
pub mod metrics;
mod restore;
pub mod rule;
pub mod ruler;
pub mod shipped;
pub mod snapshot;
pub mod unit_test;

pub use config::{Config, Settings};
pub use engine::Engine;
pub use error::{Error, Problem};
pub use evaluate::{Evaluator, Point, Vector};
pub use explain::RuleExplanation;
pub use file::RuleFile;
pub use group::{Context, Evaluated, Health};
pub use metrics::Metrics;
pub use rule::{Kind, Query, Rule, RuleGroup};
pub use ruler::{LIBRARY, Ruler};
pub use snapshot::{AlertSnapshot, GroupSnapshot, RuleSnapshot};

#[cfg(test)]
mod tests;
