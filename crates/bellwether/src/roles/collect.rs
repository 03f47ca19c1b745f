//! What a collector has besides scrape jobs: logs, and agents that announce themselves.

use std::sync::Arc;

use anyhow::Context;
use api::Listener;
use model::StateStore;
use sources::Scraper;
use sources::agents::{self, Registry};
use sources::logs::{self, Logs};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The registry of agents and the task that reads the other collectors; dropping it ends the task.
pub(super) struct Agents {
    pub(super) registry: Arc<Registry>,
    _stop: DropGuard,
}

/// Opens the registry when agents may announce themselves.
pub(super) async fn agents(
    config: &agents::Config,
    listener: &Listener,
    metrics: agents::Metrics,
) -> anyhow::Result<Option<Agents>> {
    if !config.enabled {
        return Ok(None);
    }
    let name = match config.collector.as_str() {
        "" => format!("{}:{}", host_name(), listener.address().port()),
        name => name.to_owned(),
    };
    let registry = Arc::new(Registry::new(&name, config.clone(), metrics));
    let text = tokens(config).await?;
    registry.set_tokens(&text);
    let stop = CancellationToken::new();
    if !config.peers.is_empty() {
        let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let token = first.context("sources.agents.token_file has no token to show to the peers")?;
        let peers = agents::peers::run(Arc::clone(&registry), token.into());
        let stopped = stop.clone();
        tokio::spawn(async move {
            if let Some(Err(reason)) = stopped.run_until_cancelled(peers).await {
                tracing::error!(error = %reason, "the other collectors cannot be asked");
            }
        });
    }
    Ok(Some(Agents { registry, _stop: stop.drop_guard() }))
}

impl Agents {
    /// Puts other tokens, leases and remote settings in force; name and peers stay until a restart.
    pub(super) async fn reload(&self, config: &agents::Config) -> anyhow::Result<()> {
        // Switched off: nobody is let in any more.
        let text = if config.enabled { tokens(config).await? } else { String::new() };
        self.registry.set_tokens(&text);
        self.registry.reconfigure(config.clone());
        Ok(())
    }
}

async fn tokens(config: &agents::Config) -> anyhow::Result<String> {
    let read = tokio::fs::read_to_string(&config.token_file).await;
    read.with_context(|| format!("cannot read sources.agents.token_file {}", config.token_file))
}

/// Starts the jobs that read logs and adds their metrics to what is scraped.
pub(super) async fn logs(
    configs: &[logs::Config],
    metrics: &logs::Metrics,
    state: Arc<dyn StateStore>,
    seed: u64,
    scraper: &Scraper,
) -> anyhow::Result<Option<Logs>> {
    if configs.is_empty() {
        return Ok(None);
    }
    let logs = Logs::start(configs.to_vec(), metrics, Some(state), seed).await?;
    for source in logs.sources(&host_name()) {
        scraper.add(&source);
    }
    Ok(Some(logs))
}

/// What is watched, in words.
pub(super) fn words(logs: &Option<Logs>, agents: Option<&Agents>) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(logs) = logs {
        let count = logs.sources("").len();
        words.push(format!("{count} log job{}", if count == 1 { "" } else { "s" }));
    }
    if let Some(agents) = agents {
        words.push(format!("agents that announce themselves to {}", agents.registry.collector()));
    }
    words
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
