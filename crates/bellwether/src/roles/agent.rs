//! The agent: the host source alone, scraped at `/metrics`.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use api::Listener;
use api::agent::{Collect, Parts};
use model::Clock;
use model::time::SystemClock;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};

use super::shutdown::{Asked, Signals};
use super::{own, rustix_nodename};
use crate::memory;
use crate::telemetry::{self, LogConfig};

/// Events in quick succession are told together.
const WAKE_PAUSE: Duration = Duration::from_millis(500);

/// What an agent needs to know.
pub(crate) struct Settings {
    /// The host source.
    pub host: host::Config,
    /// Logging.
    pub log: LogConfig,
    /// Where to listen.
    pub listen_address: String,
    /// Where the metrics are.
    pub telemetry_path: String,
}

/// Runs an agent until it is told to end.
pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    telemetry::start_logging(&settings.log)?;
    memory::start_small();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let result = runtime.block_on(agent(settings));
    // A thread that hangs on a dead mount must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS)
}

async fn agent(settings: Settings) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut registry = Registry::default();
    telemetry::Metrics::new(&mut registry, clock.now()).reloaded(true, &clock);
    let registry = Arc::new(registry);
    let listener = Listener::bind(&settings.listen_address).await?;
    let host = Arc::new(host::Host::new(&settings.host, Arc::clone(&clock))?);
    announce(&settings, &listener, &host);
    let events = host.events().clone();
    let collect: Collect = {
        let (host, registry) = (Arc::clone(&host), Arc::clone(&registry));
        Arc::new(move || {
            let (host, registry) = (Arc::clone(&host), Arc::clone(&registry));
            Box::pin(async move {
                let mut families = host.collect().await;
                match own::families(&registry) {
                    Ok(own) => families.extend(own),
                    Err(reason) => tracing::error!(%reason, "the agent's own metrics cannot be read"),
                }
                families
            })
        })
    };
    let (stop, stopping) = watch::channel(false);
    let parts = Parts { collect, events, path: settings.telemetry_path, stopping };
    let serving = tokio::spawn(listener.serve_agent(parts));
    loop {
        match signals.next().await {
            Asked::Stop => break,
            Asked::Reload => {
                tracing::warn!("an agent reads its settings at its start only: restart it to change them");
            }
        }
    }
    stop.send_replace(true);
    serving.await?;
    Ok(())
}

/// Is notified of every event, at most every half second.
pub(super) fn wake(host: &host::Host) -> Arc<Notify> {
    let wake = Arc::new(Notify::new());
    let (notify, mut events) = (Arc::clone(&wake), host.events().watch());
    tokio::spawn(async move {
        while events.changed().await.is_ok() {
            notify.notify_one();
            tokio::time::sleep(WAKE_PAUSE).await;
        }
    });
    wake
}

/// Tells the person at the terminal where the metrics are and what is not seen. Nothing can be done when they have closed it.
fn announce(settings: &Settings, listener: &Listener, host: &host::Host) {
    let address = listener.address();
    let mut lines = vec![
        format!("Bellwether agent {} on {}", env!("CARGO_PKG_VERSION"), rustix_nodename()),
        format!("metrics    http://{address}{}", settings.telemetry_path),
    ];
    lines.extend(host.missing().into_iter().map(|missing| format!("not seen   {missing}")));
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{}", lines.join("\n")).and_then(|()| out.flush()));
}
