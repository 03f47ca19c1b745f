//! Failures that clients report: what never reached a server. Private by design, judged by cohort, summed by minute.
//!
//! Pure but for files: HTTP is `api`'s, timers are the binary's, except [`push`], the loop that sends roll-ups upward.
//! docs/concepts/clients.md tells how the parts work together.
//!
//! | module | holds |
//! |---|---|
//! | [`class`], [`report`], [`origin`], [`browser`], [`field`] | an upload's bytes → reports that hold nothing but what may be kept |
//! | [`guard`], [`sign`], [`geo`], [`names`] | who counts, and how often; where clients are |
//! | [`cell`], [`cohort`], [`counters`], [`anonymous`], [`view`] | counts by cohort, and who may be shown |
//! | [`collector`], `intake` | all of it together; an upload's way in |
//! | [`keep`], [`rollup`], [`spool`], [`push`] | reports on disk, sums on their way up |
//! | [`detect`] | rates → incidents |
//! | [`policy`], [`lint`] | the headers that switch reporting on; whether collectors are independent |
//! | [`config`], [`sites`], [`metrics`] | settings; the sites in force; what the collector measures of itself |

pub mod anonymous;
pub mod browser;
pub mod cell;
pub mod class;
pub mod cohort;
pub mod collector;
pub mod config;
pub mod counters;
pub mod detect;
pub mod field;
pub mod geo;
pub mod guard;
mod intake;
pub mod keep;
pub mod lint;
pub mod metrics;
#[cfg(test)]
mod mmdb_test;
pub mod names;
pub mod origin;
pub mod policy;
pub mod push;
pub mod report;
pub mod rollup;
pub mod sign;
pub mod sites;
pub mod spool;
pub mod view;

pub use collector::{Answer, Collector, Error, Upload};
pub use config::{Config, Site};
pub use metrics::Metrics;
