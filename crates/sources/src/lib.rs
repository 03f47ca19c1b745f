//! What we go and look at: discovery, scraping, this host.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | `prometheus.yml`, typed and checked |
//! | [`discovery`] | finding targets: static, file, HTTP, DNS |
//! | [`host`] | this host, in process |

pub mod config;
pub mod discovery;
pub mod host;
