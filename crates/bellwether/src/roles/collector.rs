//! The collector of client-side reports, wired: its listener, its ticks, its series, the witnesses it asks, what it pushes upward.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::{CollectListener, Phase};
use clients::Collector;
use model::{Clock, TenantId, Value};
use rules::{Evaluator, Query};
use sources::scrape::{InProcess, Scraper};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often what has come in is moved to where it is judged.
const TICK: Duration = Duration::from_secs(1);
/// How often files are looked at.
const MAINTENANCE: Duration = Duration::from_secs(60);

/// A collector that runs.
pub(super) struct Running {
    pub(super) collector: Arc<Collector>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    /// In words, for the person at the terminal.
    pub(super) words: String,
}

/// Who answers PromQL about a site.
pub(super) struct Asker {
    pub(super) evaluator: Arc<dyn Evaluator>,
    pub(super) options: promql::Options,
}

/// Opens the collector and starts its tasks; `None` when it is switched off.
#[expect(clippy::too_many_arguments, reason = "what the wiring hands over, each once")]
pub(super) async fn start(
    config: &clients::Config,
    storage: &Path,
    clock: &Arc<dyn Clock>,
    metrics: clients::Metrics,
    seed: u64,
    scraper: &Scraper,
    phase: watch::Receiver<Phase>,
    asker: Asker,
) -> anyhow::Result<Option<Running>> {
    if !config.enabled {
        return Ok(None);
    }
    let listener = CollectListener::bind(&config.listen_address, &config.tls).await?;
    if config.sites.is_empty() {
        tracing::warn!("collector.sites is empty: every report is refused");
    }
    let folder = storage.join("collector");
    let open = {
        let (config, folder, clock) = (config.clone(), folder.clone(), Arc::clone(clock));
        move || Collector::open(config, &folder, clock, metrics, seed)
    };
    let collector = tokio::task::spawn_blocking(open).await?.context("the collector cannot start")?;
    let collector = Arc::new(collector);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = if config.name.is_empty() { host } else { config.name.clone() };
    // Without a scheme: the page's address is the only one for people.
    let words = format!(
        "reports of clients at {} ({}) for {} sites",
        listener.address(),
        if listener.is_tls() { "https" } else { "http" },
        config.sites.len()
    );

    let stop = CancellationToken::new();
    let mut tasks = vec![
        tokio::spawn(listener.serve(Arc::clone(&collector), phase)),
        tokio::spawn(every(TICK, Arc::clone(&collector), stop.clone(), Collector::tick)),
        tokio::spawn(every(MAINTENANCE, Arc::clone(&collector), stop.clone(), Collector::maintain)),
    ];
    tasks.push(tokio::spawn(ask(
        asker,
        config.detection.interval.to_std(),
        Arc::clone(&collector),
        Arc::clone(clock),
        stop.clone(),
    )));
    if !config.push.url.is_empty() {
        let (collector, name, stop) = (Arc::clone(&collector), name.clone(), stop.clone());
        tasks.push(tokio::spawn(async move {
            if let Err(err) = clients::push::run(collector, &folder, name, stop).await {
                tracing::error!(error = %err, "nothing is pushed to the upper collector");
            }
        }));
    }
    let shown = Arc::clone(&collector);
    let collect: sources::scrape::Collector = Arc::new(move || {
        let shown = Arc::clone(&shown);
        Box::pin(async move {
            tokio::task::spawn_blocking(move || shown.families()).await.unwrap_or_else(|err| {
                tracing::error!(error = %err, "the collector's series cannot be read");
                Vec::new()
            })
        })
    });
    scraper.add(&InProcess {
        job: "clients".into(),
        instance: name,
        labels: BTreeMap::new(),
        interval: config.detection.interval,
        timeout: config.detection.interval,
        honor_labels: false,
        wake: None,
        collect,
    });
    Ok(Some(Running { collector, stop, tasks, words }))
}

/// Asks the witnesses of every site whose clients report trouble, again and again.
async fn ask(
    asker: Asker,
    pause: Duration,
    collector: Arc<Collector>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        for question in collector.questions() {
            let values = match Query::new(&question.query, &asker.options) {
                Ok(query) => {
                    let queries = [Arc::new(query)];
                    let answers = asker.evaluator.instant(&TenantId::default(), &queries, clock.now()).await;
                    answers.into_iter().next().map_or_else(
                        || Err("there was no answer".to_owned()),
                        |answer| answer.map(|points| floats(&points)).map_err(|err| err.chain()),
                    )
                }
                Err(err) => Err(err.to_string()),
            };
            if let Err(why) = &values {
                tracing::warn!(query = question.query, error = %why, "a query of collector.sites[].checks failed");
            }
            collector.answer(&question, values);
        }
    }
}

fn floats(points: &[rules::Point]) -> Vec<f64> {
    let float = |point: &rules::Point| match point.value {
        Value::Float(value) => Some(value),
        Value::Histogram(_) => None,
    };
    points.iter().filter_map(float).collect()
}

/// Calls `work` on a thread of its own again and again.
async fn every(pause: Duration, collector: Arc<Collector>, stop: CancellationToken, work: fn(&Collector)) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let collector = Arc::clone(&collector);
        if let Err(err) = tokio::task::spawn_blocking(move || work(&collector)).await {
            tracing::error!(error = %err, "a task of the collector ended badly");
        }
    }
}

impl Running {
    /// Ends every task; what was counted and not pushed goes to the spool.
    pub(super) async fn stop(self, grace: Duration) {
        self.collector.tick();
        self.stop.cancel();
        for task in self.tasks {
            if tokio::time::timeout(grace, task).await.is_err() {
                tracing::warn!("a task of the collector did not end within {grace:?}");
            }
        }
    }
}

/// Puts the sites of a configuration that was read again in force.
pub(super) fn reload(collector: &Collector, config: &clients::Config) -> anyhow::Result<()> {
    if !collector.reload(config).context("collector")? {
        tracing::warn!(
            "settings of the collector other than sites, datacenter_asns and detection have changed: they need a restart"
        );
    }
    Ok(())
}
