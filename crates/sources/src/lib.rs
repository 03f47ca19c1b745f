//! What we go and look at: discovery and scraping.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | `prometheus.yml`, typed and checked |
//! | [`discovery`] | finding targets: static, file, HTTP, DNS |
//! | [`scrape`] | visiting targets on a schedule |

pub mod config;
pub mod discovery;
pub mod scrape;

pub use config::{ConfigError, Mode, PrometheusFile, ScrapeConfig};
pub use scrape::{InProcess, Parts, Scraper};
