//! Checks from outside, as the blackbox exporter makes them: its `modules` file, its `probe_*` series; and scripts of several
//! HTTP requests, schedules, vantage points.
//!
//! [`run`] takes a module and a target and answers with series. HTTP is served by `api`.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the modules file |
//! | [`result`] | the series of one probe |
//! | [`script`] | the settings of scripts; `script_run` follows them |
//! | [`prober`] | modules in force, what runs at once, metrics |
//! | [`vantage`] | who probes from elsewhere, and what nobody sees |
//! | `resolve`, `tls`, `certificate` | names to addresses that may be reached, connections with TLS, what a certificate says |
//! | `http`, `http_client`, `cookies` | the HTTP prober, one request of it, what is kept between requests |
//! | `tcp`, `icmp`, `dns`, `grpc` | the other probers |
//!
//! Absent: HTTP/3, CEL expressions on JSON bodies (a module that asks for either is refused by name; docs/decisions/probes.md).

mod certificate;
pub mod config;
mod cookies;
mod dns;
mod grpc;
mod http;
mod http_client;
mod icmp;
pub mod prober;
mod resolve;
pub mod result;
pub mod script;
mod script_run;
mod tcp;
mod tls;
pub mod vantage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

pub use config::{ConfigError, Module, Modules};
pub use prober::{Asked, Config, Metrics, Prober, Refused, Schedule};
pub use resolve::Reach;
pub use result::Outcome;

/// Without any limit, as the exporter has it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// A failed step, in words. The probe failed; the series say so.
pub(crate) type Step<T> = Result<T, String>;

/// How long a probe may take: the module's limit, or the scraper's less `offset`, so that the answer arrives in time.
pub fn timeout(module: &Module, scrape_timeout: Option<Duration>, offset: Duration) -> Duration {
    let scrape = scrape_timeout.filter(|limit| !limit.is_zero()).unwrap_or(DEFAULT_TIMEOUT);
    let scrape = if scrape > offset { scrape - offset } else { scrape };
    let own = Some(module.timeout.to_std()).filter(|limit| !limit.is_zero());
    own.map_or(scrape, |own| own.min(scrape))
}

/// Probes a target. `hostname` is the name to ask for, when it is not the target's own.
pub async fn run(
    module: &Module,
    target: &str,
    hostname: Option<&str>,
    limit: Duration,
    reach: &Arc<Reach>,
) -> Outcome {
    let start = Instant::now();
    let mut outcome = Outcome::new(Arc::clone(reach));
    let probe = async {
        match module.prober {
            config::Kind::Http => http::probe(&module.http, target, hostname, &mut outcome).await,
            config::Kind::Tcp => tcp::probe(&module.tcp, target, hostname, &mut outcome).await,
            config::Kind::Icmp => icmp::probe(&module.icmp, target, &mut outcome).await,
            config::Kind::Dns => dns::probe(&module.dns, target, &mut outcome).await,
            config::Kind::Grpc => grpc::probe(&module.grpc, target, hostname, &mut outcome).await,
            config::Kind::Unix => tcp::probe_unix(&module.unix, target, hostname, &mut outcome).await,
            config::Kind::Script => script_run::probe(&module.script, target, hostname, &mut outcome).await,
        }
    };
    let result = match tokio::time::timeout(limit, probe).await {
        Ok(result) => result,
        Err(_) => {
            outcome.timed_out();
            Err(format!("the probe took longer than {limit:?}"))
        }
    };
    outcome.finish(result, start.elapsed());
    outcome
}

/// A number that no other probe of this process uses now.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
