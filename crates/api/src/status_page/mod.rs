//! The public status page: components with 90 days behind them, incidents, feeds, webhooks. `docs/guides/status-page.md`.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | settings |
//! | [`shapes`] | what the public may know, as JSON |
//! | `judge` | from a share that works to what is shown; pure |
//! | [`keeper`] | the rounds, the days and the incidents in the state store |
//! | `hooks` | webhooks: what they are owed, and its delivery |
//! | [`publish`] | the finished page and feeds, and their copy on disk |
//! | `html`, `feed` | how they look |
//! | [`listen`] | the page's own listener, on a thread of its own |
//! | [`mirror`] | the page elsewhere, from a core that may be down |
//! | `handlers` | the API for those who run it |

pub mod config;
mod feed;
pub(crate) mod handlers;
mod hooks;
mod html;
mod judge;
pub mod keeper;
pub mod listen;
pub mod mirror;
pub mod publish;
pub mod shapes;
#[cfg(test)]
mod tests;
