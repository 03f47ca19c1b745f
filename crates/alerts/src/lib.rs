//! The alert manager: route, group, silence, inhibit, deduplicate, notify.
//!
//! Alertmanager's configuration file and API v2 shapes. Decisions are pure functions of events and a time
//! ([`route`], [`group`], [`inhibit`], [`silence`], [`nflog`], [`timeinterval`], joined in [`core`]); [`dispatcher`] is the
//! thin loop that sleeps, stores and sends.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | Alertmanager's file, typed and checked; our own settings |
//! | [`parse`] | matchers as texts, in both of Alertmanager's syntaxes |
//! | [`route`] | the routing tree |
//! | [`group`] | one group of alerts as a state machine |
//! | [`inhibit`], [`silence`], [`timeinterval`] | what mutes |
//! | [`store`] | the alerts that are known now |
//! | [`core`] | all of these joined: what is known and decided |
//! | [`dispatcher`] | the loop around it |
//! | [`api`] | Alertmanager's API v2 as functions |
//! | [`nflog`], [`journal`] | what every receiver was told last; which notifications arrived just now |
//! | [`message`], [`render`], [`functions`] | what a notification says, and the templates that say it |
//! | [`notify`] | sending, one module for each kind of service |
//! | [`explain`] | why an alert was told, or was not |
//! | [`heartbeat`] | the dead-man's switch |
//! | [`tool`] | what amtool does without a server |
//! | [`history`], [`report`] | what happened, in SQLite; what that says of rules and people |
//! | [`series`] | the alerts that are held, as series |
//! | [`error`], [`metrics`] | what can go wrong; figures |
#![warn(missing_docs)]

pub mod api;
pub mod config;
pub mod core;
mod defaults;
pub mod dispatcher;
pub mod error;
pub mod explain;
pub mod functions;
pub mod group;
pub mod heartbeat;
pub mod history;
pub mod inhibit;
pub mod journal;
pub mod message;
pub mod metrics;
pub mod nflog;
pub mod notify;
pub mod parse;
pub mod render;
pub mod report;
pub mod route;
pub mod series;
pub mod silence;
pub mod store;
pub mod timeinterval;
pub mod tool;

pub use config::{Config, Settings};
pub use dispatcher::{Dispatcher, Parts};
pub use error::Error;
pub use history::History;
pub use journal::Journal;
pub use metrics::Metrics;
