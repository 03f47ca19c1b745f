//! What we go and look at: discovery, scraping, this host.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | `prometheus.yml`, typed and checked |
//! | [`discovery`] | finding targets: static, file, HTTP, DNS |
//! | [`host`] | this host, in process |
//! | [`scrape`] | visiting targets on a schedule |

pub mod config;
pub mod discovery;
pub mod host;
pub mod scrape;

pub use config::{ConfigError, Mode, PrometheusFile, ScrapeConfig};
pub use scrape::{InProcess, Parts, Scraper};
