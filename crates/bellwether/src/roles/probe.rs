//! A vantage point: `/probe` with a modules file, as the blackbox exporter; or what a server says, pushed to it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ::probe::vantage::{Introduction, Plan};
use ::probe::{Modules, Prober};
use anyhow::Context;
use api::{Command, CommandRequest, Listener, ProbeParts};
use httpc::{Client, Options, Request, Secret};
use ingest::forward::Forward;
use model::time::SystemClock;
use model::{Appender, Clock, TenantId};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use sources::scrape::Scraper;
use tokio::sync::{mpsc, watch};

use super::shutdown::{Asked, Signals};
use super::{folder, probes};
use crate::memory;
use crate::telemetry::{self, LogConfig};

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when it does not.
const RETRY: Duration = Duration::from_secs(5);
/// Most bytes of a plan.
const MAX_PLAN: usize = 32 << 20;
/// Commands over HTTP that wait.
const COMMANDS: usize = 8;

/// What a vantage point needs to know.
pub(crate) struct Settings {
    /// Modules, limits. Schedules come from the server.
    pub probe: ::probe::Config,
    /// Logging.
    pub log: LogConfig,
    /// Where to listen.
    pub listen_address: String,
    /// The server whose schedules are run, when there is one.
    pub server: Option<Upstream>,
}

/// The server whose schedules are run.
pub(crate) struct Upstream {
    /// Its URL.
    pub url: String,
    /// What it knows this vantage point by.
    pub token: Secret,
    /// Credentials, TLS, proxy.
    pub http: httpc::Config,
    /// This vantage point's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where results wait while the server does not answer.
    pub path: PathBuf,
    /// The spool.
    pub forward: ingest::config::ForwardConfig,
}

/// Runs until it is told to end.
pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    telemetry::start_logging(&settings.log)?;
    memory::start_small();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(vantage(settings));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS)
}

/// Under the exporter's own names, so that alerts about it work.
#[derive(Clone, Default)]
struct Reloads {
    successful: Gauge<f64, std::sync::atomic::AtomicU64>,
    at: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl Reloads {
    fn new(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register(
            "blackbox_exporter_config_last_reload_successful",
            "Blackbox exporter config loaded successfully",
            this.successful.clone(),
        );
        registry.register(
            "blackbox_exporter_config_last_reload_success_timestamp_seconds",
            "Timestamp of the last successful configuration reload",
            this.at.clone(),
        );
        this
    }

    fn ended(&self, well: bool, clock: &dyn Clock) {
        self.successful.set(f64::from(u8::from(well)));
        if well {
            self.at.set(clock.now().ms() as f64 / 1000.0);
        }
    }
}

async fn vantage(settings: Settings) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut registry = Registry::default();
    let process = telemetry::Metrics::new(&mut registry, clock.now());
    let reloads = Reloads::new(&mut registry);
    let own = registry.sub_registry_with_prefix("bellwether");
    let metrics = ::probe::Metrics::new(own);
    let scrape_metrics = sources::scrape::Metrics::new(own);
    let ingest_metrics = ingest::Metrics::new(own);
    let listener = Listener::bind(&settings.listen_address).await?;
    let modules = settings.probe.modules().context("--config.file")?;
    let prober = Prober::new(&settings.probe, modules, metrics).map_err(anyhow::Error::msg)?;
    let prober = Arc::new(prober);
    process.reloaded(true, &clock);
    reloads.ended(true, &*clock);

    let upstream = match settings.server {
        Some(upstream) => {
            let parts = Parts { clock: Arc::clone(&clock), scrape: scrape_metrics, ingest: ingest_metrics };
            Some(follow(upstream, settings.probe.clone(), Arc::clone(&prober), parts).await?)
        }
        None => None,
    };
    announce(&listener, upstream.as_ref());
    let (commands, mut asked) = mpsc::channel::<CommandRequest>(COMMANDS);
    let (stop, stopping) = watch::channel(false);
    let parts = ProbeParts { prober: Arc::clone(&prober), registry: Arc::new(registry), commands, stopping };
    let serving = tokio::spawn(listener.serve_probe(parts));
    let with_server = upstream.is_some();
    let reload = || {
        let done = match with_server {
            true => Err("the server says what is probed; there is no file to read again".to_owned()),
            false => {
                let read = settings.probe.modules().map_err(|err| err.to_string());
                read.and_then(|modules| prober.reload(&settings.probe, modules))
            }
        };
        process.reloaded(done.is_ok(), &clock);
        reloads.ended(done.is_ok(), &*clock);
        match &done {
            Ok(()) => tracing::info!("the modules were read again and are in force"),
            Err(reason) => {
                tracing::error!(error = %reason, "the modules were refused, the old ones stay in force")
            }
        }
        done
    };
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Asked::Stop => break,
                // Logged and counted.
                Asked::Reload => drop(reload()),
            },
            request = asked.recv() => match request {
                None => break,
                Some(CommandRequest { command: Command::Quit, answer }) => {
                    drop(answer.send(Ok(())));
                    break;
                }
                Some(CommandRequest { command: Command::Reload, answer }) => drop(answer.send(reload())),
            },
        }
    }
    stop.send_replace(true);
    if let Some(upstream) = upstream {
        upstream.task.abort();
        upstream.scraper.shutdown().await;
        upstream.forward.close().await;
    }
    serving.await?;
    Ok(())
}

/// Tells the person at the terminal. Nothing can be done when they have closed it.
fn announce(listener: &Listener, upstream: Option<&Following>) {
    let mut lines = vec![
        format!("Bellwether probe {}", env!("CARGO_PKG_VERSION")),
        format!("probe      http://{}/probe?module=http_2xx&target=…", listener.address()),
    ];
    lines.extend(upstream.map(|following| format!("schedules  of {} as {}", following.url, following.name)));
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{}", lines.join("\n")).and_then(|()| out.flush()));
}

struct Parts {
    clock: Arc<dyn Clock>,
    scrape: sources::scrape::Metrics,
    ingest: ingest::Metrics,
}

/// A vantage point that runs a server's schedules.
struct Following {
    url: String,
    name: String,
    scraper: Arc<Scraper>,
    forward: Arc<Forward>,
    task: tokio::task::JoinHandle<()>,
}

/// Starts to run what the server says.
async fn follow(
    upstream: Upstream,
    config: ::probe::Config,
    prober: Arc<Prober>,
    parts: Parts,
) -> anyhow::Result<Following> {
    folder::create_private(&upstream.path, "path")?;
    let forward = Arc::new(Forward::without_storage(
        Arc::clone(&parts.clock),
        &upstream.forward,
        upstream.path.join("forward"),
        parts.ingest,
    ));
    let url = upstream.url.trim_end_matches('/').to_owned();
    let server = super::forward::upstream("server", std::slice::from_ref(&url), upstream.http.clone())?;
    forward.reload(vec![server]).await?;
    let scraper = Arc::new(Scraper::new(sources::scrape::Parts {
        appender: Arc::clone(&forward) as Arc<dyn Appender>,
        seed: seed_of(&upstream.name),
        clock: parts.clock,
        tenant: TenantId::default(),
        metrics: parts.scrape,
        max_body_bytes: sources::scrape::Parts::MAX_BODY_BYTES,
        agents: None,
    }));
    let options = Options { timeout: TIMEOUT, connect_timeout: TIMEOUT, ..Options::default() };
    let asking = Asking {
        client: Client::new(&upstream.http, options).map_err(|err| anyhow::anyhow!(err.chain()))?,
        url: format!("{url}/api/v1/probe/vantages"),
        token: upstream.token,
        who: Introduction {
            name: upstream.name.clone(),
            labels: upstream.labels,
            version: env!("CARGO_PKG_VERSION").into(),
        },
        config,
        prober,
        scraper: Arc::clone(&scraper),
    };
    let task = tokio::spawn(asking.run());
    Ok(Following { url, name: upstream.name, scraper, forward, task })
}

fn seed_of(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Asks the server again and again what is to be probed.
struct Asking {
    client: Client,
    url: String,
    token: Secret,
    who: Introduction,
    config: ::probe::Config,
    prober: Arc<Prober>,
    scraper: Arc<Scraper>,
}

#[derive(Deserialize)]
struct Answer {
    data: Plan,
}

impl Asking {
    async fn run(self) {
        let (mut well, mut in_force) = (true, None);
        loop {
            let mut wait = RETRY;
            match self.ask().await {
                Ok(plan) => {
                    if !std::mem::replace(&mut well, true) {
                        tracing::info!("the server answers again");
                    }
                    wait = Duration::from_millis(plan.again_ms.max(1_000));
                    // Kept even when it is refused, so that the refusal is told once.
                    if in_force.as_ref() != Some(&plan) {
                        match self.take(&plan) {
                            Ok(()) => tracing::info!(schedules = plan.schedules.len(), "a plan is in force"),
                            Err(reason) => {
                                tracing::error!(error = %reason, "the server's plan was refused, the old one stays in force");
                            }
                        }
                        in_force = Some(plan);
                    }
                }
                Err(reason) if std::mem::replace(&mut well, false) => {
                    tracing::warn!(error = %reason, "the server does not say what is to be probed; the plan in force goes on");
                }
                Err(_) => {}
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn ask(&self) -> Result<Plan, String> {
        let body = serde_json::to_vec(&self.who).map_err(|err| err.to_string())?;
        let request = Request::post(&self.url, "application/json", body)
            .and_then(|request| request.header("authorization", &format!("Bearer {}", self.token.expose())))
            .map_err(|err| err.chain())?;
        let response = self.client.send(request).await.map_err(|err| err.chain())?;
        let status = response.status();
        let body = response.bytes(MAX_PLAN).await.map_err(|err| err.chain())?;
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(format!("HTTP status {status}: {text}"));
        }
        serde_json::from_slice::<Answer>(&body).map(|answer| answer.data).map_err(|err| err.to_string())
    }

    /// Puts a plan in force, all of it or nothing.
    fn take(&self, plan: &Plan) -> Result<(), String> {
        let modules = Modules::parse(&plan.modules).map_err(|err| format!("modules: {err}"))?;
        let config = ::probe::Config { schedules: plan.schedules.clone(), ..self.config.clone() };
        self.prober.reload(&config, modules)?;
        let mut labels = self.who.labels.clone();
        labels.insert("vantage".into(), self.who.name.clone());
        probes::schedule(&self.scraper, &self.prober, plan.schedules.iter(), &labels);
        Ok(())
    }
}
