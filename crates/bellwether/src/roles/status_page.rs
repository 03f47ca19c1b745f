//! The public status page, wired: its listener before anything else, its keeper when there is somebody to ask; and the page
//! alone, from a core elsewhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::status_page::keeper::{Keeper, Parts};
use api::status_page::listen::{self, Serving};
use api::status_page::mirror::{self, Upstream};
use api::status_page::publish::Published;
use model::time::SystemClock;
use model::{Clock, StateStore};
use prometheus_client::registry::Registry;
use rules::Evaluator;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::shutdown::{Asked, Signals};
use crate::config::{Config, Settings as AllSettings};
use crate::telemetry;

/// The page, shown from what was known.
pub(super) struct Shown {
    published: Arc<Published>,
    serving: Option<Serving>,
}

/// The page, kept.
pub(super) struct Kept {
    pub(super) keeper: Arc<Keeper>,
    /// In words, for the person at the terminal.
    pub(super) words: Option<String>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _serving: Option<Serving>,
}

/// What a keeper needs.
pub(super) struct Needs<'a> {
    pub(super) config: &'a Config,
    pub(super) evaluator: &'a Arc<dyn Evaluator>,
    pub(super) state: Arc<dyn StateStore>,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) metrics: api::metrics::StatusPageMetrics,
}

/// Opens the copy of the last run and serves it, where a listener is asked for.
pub(super) async fn serve(
    settings: &AllSettings,
    clock: &Arc<dyn Clock>,
    metrics: &api::metrics::StatusPageMetrics,
) -> anyhow::Result<Shown> {
    let page = &settings.status_page;
    let copy = settings.storage.path.join("status-page.json");
    let published = Published::open((!page.components.is_empty()).then_some(copy), Arc::clone(clock));
    let serving = match page.listen_address.as_str() {
        "" => None,
        address => {
            let held = Arc::clone(&published);
            Some(listen::serve(address, page.max_connections, held, metrics.clone()).await?)
        }
    };
    Ok(Shown { published, serving })
}

impl Shown {
    /// Starts to judge the components; `None` when there are none.
    pub(super) async fn keep(self, needs: Needs<'_>) -> anyhow::Result<Option<Kept>> {
        let page = &needs.config.settings.status_page;
        if page.components.is_empty() {
            return Ok(None);
        }
        let keeper = Keeper::open(Parts {
            config: page.clone(),
            evaluator: Arc::clone(needs.evaluator),
            options: needs.config.options.clone(),
            state: needs.state,
            clock: Arc::clone(needs.clock),
            published: self.published,
            metrics: needs.metrics,
        });
        let keeper = keeper.await.context("the status page cannot be kept")?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&keeper).run(stop.clone()));
        let words =
            self.serving.as_ref().map(|serving| format!("the public status page at {}", serving.address));
        Ok(Some(Kept { keeper, words, stop, task, _serving: self.serving }))
    }
}

impl Kept {
    /// Ends the rounds; the listener ends with this value.
    pub(super) async fn stop(self, grace: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(grace, self.task).await.is_err() {
            tracing::warn!("the rounds of the status page did not end within {grace:?}");
        }
    }
}

/// The page alone.
pub(crate) struct Settings {
    /// Where the core is, and how often it is asked.
    pub(crate) upstream: Upstream,
    /// Where the page is served.
    pub(crate) listen_address: String,
    /// Most connections at once.
    pub(crate) max_connections: usize,
    /// The copy on disk.
    pub(crate) copy: Option<PathBuf>,
    pub(crate) log: telemetry::LogConfig,
}

/// Serves the page of a core elsewhere until it is told to end.
pub(crate) fn run(settings: Settings) -> anyhow::Result<()> {
    telemetry::start_logging(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut registry = Registry::default();
        let metrics = api::Metrics::new(&mut registry).status_page;
        let published = Published::open(settings.copy, clock);
        let held = Arc::clone(&published);
        let serving =
            listen::serve(&settings.listen_address, settings.max_connections, held, metrics).await?;
        super::say(&format!(
            "Bellwether {}\nfrom       {}\npage       http://{}/",
            env!("CARGO_PKG_VERSION"),
            settings.upstream.url,
            serving.address
        ));
        let (stop, stopping) = watch::channel(false);
        let following = tokio::spawn(mirror::follow(settings.upstream, published, stopping));
        while signals.next().await != Asked::Stop {
            tracing::info!("there is nothing to read again: the page has flags only");
        }
        stop.send_replace(true);
        following.await?.map_err(|err| anyhow::anyhow!(err.chain()))?;
        drop(serving);
        Ok(())
    })
}
