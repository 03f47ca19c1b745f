//! The agent: the host source alone, scraped at `/metrics`, pushing, or both; it tells collectors that it is there.

mod push;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::Listener;
use api::agent::{Collect, Parts};
use model::Clock;
use model::time::SystemClock;
use prometheus_client::registry::Registry;
use sources::agents::announce::Announcer;
use sources::agents::{Announcement, Remote};
use sources::config::PrometheusFile;
use tokio::sync::{Notify, watch};

use super::shutdown::{Asked, Signals};
use super::{mount_child, own, rustix_nodename};
use crate::config::agent::AgentConfig;
use crate::config::{Config, Given};
use crate::memory;
use crate::telemetry::{self, LogConfig};

/// Events in quick succession are told together.
const WAKE_PAUSE: Duration = Duration::from_millis(500);
/// How long the end may wait until collectors know of it.
const WITHDRAWAL: Duration = Duration::from_secs(2);

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
    /// Announcing and pushing.
    pub agent: AgentConfig,
    /// Bounds of the spool.
    pub spool: ingest::config::ForwardConfig,
    /// Destinations of `remote_write`.
    pub prometheus: PrometheusFile,
    /// What the settings were made from, to read them again.
    pub given: Given,
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
    let process = telemetry::Metrics::new(&mut registry, clock.now());
    process.reloaded(true, &clock);
    let pushes = settings.agent.push.enabled.then(|| {
        let ours = registry.sub_registry_with_prefix("bellwether");
        (sources::scrape::Metrics::new(ours), ingest::Metrics::new(ours))
    });
    let registry = Arc::new(registry);
    let listener = Listener::bind(&settings.listen_address).await?;
    let host =
        Arc::new(host::Host::with_mount_child(&settings.host, Arc::clone(&clock), Some(mount_child()))?);
    announce(&settings, &listener, &host);
    let events = host.events().clone();
    let collect_without: push::CollectWithout = {
        let (host, registry) = (Arc::clone(&host), Arc::clone(&registry));
        Arc::new(move |without: BTreeSet<String>| {
            let (host, registry) = (Arc::clone(&host), Arc::clone(&registry));
            Box::pin(async move {
                let mut families = host.collect_without(&without).await;
                match own::families(&registry) {
                    Ok(own) => families.extend(own),
                    Err(reason) => tracing::error!(%reason, "the agent's own metrics cannot be read"),
                }
                families
            })
        })
    };
    let (announcing, remote) = match announcer(&settings, &listener)? {
        Some((announcer, remote)) => (Some(announcer), remote),
        None => (None, watch::channel(Remote::default()).1),
    };
    let pushing = match pushes {
        None => None,
        Some((scrape, ingest)) => Some(
            push::Push::start(push::Parts {
                config: &settings.agent,
                prometheus: &settings.prometheus,
                spool: &settings.spool,
                name: name(&settings.agent),
                job: settings.host.job.clone(),
                clock: Arc::clone(&clock),
                scrape,
                ingest,
                collect: Arc::clone(&collect_without),
                wake: wake(&host),
                remote,
            })
            .await
            .context("agent.push")?,
        ),
    };
    let collect: Collect = Arc::new(move || collect_without(BTreeSet::new()));
    let telling = announcing.as_ref().map(|announcer| {
        let announcer = Arc::clone(announcer);
        tokio::spawn(async move { announcer.run().await })
    });
    let (stop, stopping) = watch::channel(false);
    let parts = Parts { collect, events, path: settings.telemetry_path.clone(), stopping };
    let serving = tokio::spawn(listener.serve_agent(parts));
    loop {
        match signals.next().await {
            Asked::Stop => break,
            Asked::Reload => {
                let done = reload(&settings, pushing.as_ref()).await;
                process.reloaded(done.is_ok(), &clock);
                if let Err(err) = done {
                    tracing::error!(error = %format!("{err:#}"), "the configuration was refused, the old one stays in force");
                }
            }
        }
    }
    if let Some(telling) = telling {
        telling.abort();
    }
    if let Some(pushing) = pushing {
        pushing.stop().await;
    }
    if let Some(announcer) = announcing
        && tokio::time::timeout(WITHDRAWAL, announcer.withdraw()).await.is_err()
    {
        tracing::warn!("the collectors did not hear that this agent ends; they find out when its lease ends");
    }
    stop.send_replace(true);
    serving.await?;
    Ok(())
}

/// Destinations are read again; other settings at the start only.
async fn reload(settings: &Settings, pushing: Option<&push::Push>) -> anyhow::Result<()> {
    let config = Config::load(&settings.given)?;
    if let Some(pushing) = pushing {
        pushing.reload(&config.settings.agent, &config.prometheus).await?;
        tracing::info!("the destinations were read again and are in force");
    }
    if config.settings.sources.host != settings.host || config.settings.agent != settings.agent {
        tracing::warn!("what changed besides destinations takes effect at the next start");
    }
    Ok(())
}

/// The agent's name.
fn name(config: &AgentConfig) -> String {
    match config.name.as_str() {
        "" => rustix_nodename(),
        name => name.to_owned(),
    }
}

/// What tells collectors of this agent, when there are any.
fn announcer(
    settings: &Settings,
    listener: &Listener,
) -> anyhow::Result<Option<(Arc<Announcer>, watch::Receiver<Remote>)>> {
    let config = &settings.agent;
    if config.collectors.is_empty() {
        return Ok(None);
    }
    let bound = listener.address();
    let address = match config.address.as_str() {
        "" if bound.ip().is_loopback() => String::new(),
        "" if bound.ip().is_unspecified() => format!("{}:{}", rustix_nodename(), bound.port()),
        "" => bound.to_string(),
        own => own.to_owned(),
    };
    let agent = Announcement {
        name: name(config),
        metrics_path: if address.is_empty() { String::new() } else { settings.telemetry_path.clone() },
        address,
        scheme: String::new(),
        labels: config.labels.clone(),
    };
    anyhow::ensure!(
        !agent.address.is_empty() || config.push.enabled,
        "agent.collectors: this agent neither pushes nor listens on a network: set --web.listen-address, agent.address or agent.push.enabled"
    );
    let (announcer, remote) = Announcer::new(&config.http(), config.collectors.clone(), agent)
        .map_err(|err| anyhow::anyhow!("agent: {}", err.chain()))?;
    Ok(Some((Arc::new(announcer), remote)))
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
    if !settings.agent.collectors.is_empty() {
        lines.push(format!(
            "announced  to {} as {}",
            settings.agent.collectors.join(", "),
            name(&settings.agent)
        ));
    }
    if settings.agent.push.enabled {
        lines.push(format!("pushing    through {}", settings.agent.push.folder.display()));
    }
    lines.extend(host.missing().into_iter().map(|missing| format!("not seen   {missing}")));
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{}", lines.join("\n")).and_then(|()| out.flush()));
}
