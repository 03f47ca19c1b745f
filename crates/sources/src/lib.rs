//! What we go and look at: discovery, scraping, logs.
//!
//! | module | holds |
//! |---|---|
//! | [`agents`] | agents that announce themselves, divided among collectors |
//! | [`config`] | `prometheus.yml`, typed and checked |
//! | [`discovery`] | finding targets: files, DNS, Kubernetes, Consul, clouds … |
//! | [`logs`] | log lines, counted |
//! | [`scrape`] | visiting targets on a schedule |

pub mod agents;
pub mod config;
pub mod discovery;
pub mod logs;
pub mod scrape;

pub use config::{ConfigError, Mode, PrometheusFile, ScrapeConfig};
pub use scrape::{InProcess, Parts, Scraper};
