//! Agents that announce themselves, and collectors that divide them among one another.
//!
//! An agent announces its name, address and labels to any collector, with a token, and again before its lease ends. Collectors read
//! one another's direct announcements; each scrapes the agents that rendezvous hashing gives it among the collectors that answer. When one stops
//! answering, its agents belong to the others. Nothing is elected: two collectors that cannot see each other both scrape, because
//! a duplicate beats silence. With the answer an agent learns what to push and how often.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the settings |
//! | [`registry`] | who is there, who owns whom |
//! | [`peers`] | reading the other collectors |
//! | [`announce`] | the agent's side |
//! | `mechanism` | the registry as a discovery, `agent_sd_configs` |

pub mod announce;
pub mod config;
mod mechanism;
pub mod metrics;
pub mod peers;
pub mod registry;
#[cfg(test)]
mod tests;

pub use config::Config;
pub(crate) use mechanism::run;
pub use metrics::Metrics;
pub use registry::{Announcement, Granted, Refused, Registry, Remote, Shared};
