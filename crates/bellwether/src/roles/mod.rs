//! The server, wired: one function, top to bottom. A role is a choice of implementations and nothing more.

mod agent;
mod collect;
mod collector;
mod folder;
mod forward;
mod own;
mod probe;
mod probes;
mod push;
mod shutdown;
mod status_page;
mod watchdog;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::{Command, CommandRequest, Listener, Phase};
use model::time::SystemClock;
use model::{Appender, Clock, Querier, TenantId};
use prometheus_client::registry::Registry;
use rules::{RuleFile, Ruler};
use sources::scrape::{InProcess, Scraper};
use tokio::sync::{mpsc, watch};

use crate::config::{Config, Given};
use crate::{memory, telemetry};
pub(crate) use agent::{Settings as AgentSettings, run as agent};
pub(crate) use probe::{Settings as ProbeSettings, Upstream, run as probe};
use shutdown::{Asked, Signals};
pub(crate) use status_page::{Settings as StatusPageSettings, run as status_page};

/// How long running requests and notifications may take to finish when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// Portions of rules that are evaluated at once.
const RULE_CONCURRENCY: usize = 4;
/// How often storage looks whether there is background work.
const MAINTENANCE: Duration = Duration::from_secs(5);
/// The argument that makes this program the process that asks mounted file systems.
pub(crate) const MOUNT_CHILD: &str = "--mount-child";
/// Commands over HTTP that wait.
const COMMANDS: usize = 8;

/// Every metric struct of the server, registered.
struct Metrics {
    process: telemetry::Metrics,
    tsdb: tsdb::Metrics,
    state: state::Metrics,
    ingest: ingest::Metrics,
    scrape: sources::scrape::Metrics,
    logs: sources::logs::Metrics,
    agents: sources::agents::Metrics,
    rules: rules::Metrics,
    alerts: alerts::Metrics,
    clients: clients::Metrics,
    probe: ::probe::Metrics,
    api: api::Metrics,
}

impl Metrics {
    fn new(root: &mut Registry, clock: &dyn Clock) -> Self {
        let process = telemetry::Metrics::new(root, clock.now());
        let registry = root.sub_registry_with_prefix("bellwether");
        Self {
            process,
            tsdb: tsdb::Metrics::new(registry),
            state: state::Metrics::new(registry),
            ingest: ingest::Metrics::new(registry),
            scrape: sources::scrape::Metrics::new(registry),
            logs: sources::logs::Metrics::new(registry),
            agents: sources::agents::Metrics::new(registry),
            rules: rules::Metrics::new(registry),
            alerts: alerts::Metrics::new(registry),
            clients: clients::Metrics::new(registry),
            probe: ::probe::Metrics::new(registry),
            api: api::Metrics::new(registry),
        }
    }
}

/// A registry as the server has it, for the reference.
pub(crate) fn all_metrics() -> Registry {
    let mut registry = Registry::default();
    drop(Metrics::new(&mut registry, &SystemClock));
    registry
}

/// Runs the server until it is told to end.
pub(crate) fn serve(given: Given) -> anyhow::Result<ExitCode> {
    let config = Config::load(&given)?;
    telemetry::start_logging(&config.settings.log)?;
    memory::start_small();
    for warning in &given.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(server(given, config));
    // A thread that hangs on a dead mount must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS)
}

async fn server(given: Given, config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let growth = tokio::spawn(memory::allow_huge_pages_when_large());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry, &*clock);
    let registry = Arc::new(registry);
    let settings = &config.settings;
    let started = clock.now();

    // Files that are wrong, or a port that is taken: no data is touched.
    check(&config)?;
    let rule_files = load_rules(&config)?;
    let routes = alert_routes(settings.alerts.config_file.as_deref())?;
    let listener = Listener::bind(&settings.web.listen_address).await?;
    let web_file = api::WebFile::open(&settings.web)?;
    let is_tls = web_file.as_ref().is_some_and(|file| file.is_tls());
    let url = external_url(&settings.web.external_url, &listener, is_tls);

    let destinations = forward::destinations(&config.prometheus)?;
    let existed = settings.storage.path.exists();
    folder::create_private(&settings.storage.path, "storage.path")?;
    // Before anything is recovered: what was known is shown meanwhile.
    let page = status_page::serve(settings, &clock, &metrics.api.status_page).await?;
    let db = open_storage(settings.storage.clone(), &clock, metrics.tsdb.clone()).await?;
    let state_path = settings.storage.path.join("state.sqlite");
    let state = state::Store::open(&state_path, state::Config::default(), metrics.state.clone())?;
    let state = Arc::new(state);
    let stamps: Arc<api::WriteStamps> = Arc::default();
    let fleet_watch = api::FleetWatch::new(&settings.fleet);
    let storage = fleet_watch.around(Arc::clone(&db) as Arc<dyn Appender>);
    let storage: Arc<dyn Appender> = Arc::new(api::StampedAppender::new(storage, Arc::clone(&stamps)));
    let forward = Arc::new(forward::new(settings, storage, &db, &clock, &metrics.ingest));
    let storage = Arc::clone(&forward) as Arc<dyn Appender>;
    let gate =
        ingest::Gate::new(storage, Arc::clone(&clock), settings.ingest.clone(), metrics.ingest.clone())?;
    let gate = if config.eval_options.type_and_unit_labels { gate.with_types() } else { gate };
    let guard = Arc::new(forward::guard(settings, &db, &metrics.ingest, seed(started)));
    let gate: Arc<dyn Appender> = Arc::new(gate.guarded(Arc::clone(&guard)));
    let querier: Arc<dyn Querier> = Arc::clone(&db) as Arc<dyn Querier>;
    let maintenance = db.start_maintenance(MAINTENANCE)?;
    let bucket_sync = db.start_bucket_sync()?;

    let history_path = settings.storage.path.join("alerts.sqlite");
    let documents = Arc::clone(&state) as Arc<dyn model::StateStore>;
    let library = Arc::new(api::Library::open(documents, &settings.library, config.options.clone()).await?);
    let dispatcher = alerts::Dispatcher::start(alerts::Parts {
        settings: alerts::Settings {
            external_url: match settings.alerts.external_url.trim_end_matches('/') {
                "" => url.clone(),
                own => own.to_owned(),
            },
            ..settings.alerts.clone()
        },
        config: library.alert_config(routes)?,
        state: Arc::clone(&state) as Arc<dyn model::StateStore>,
        journal: Some(watchdog::journal(&settings.storage.path)?),
        history: Some(Arc::new(alerts::History::open(
            &history_path,
            &settings.alerts.history,
            metrics.alerts.clone(),
        )?)),
        clock: Arc::clone(&clock),
        metrics: metrics.alerts.clone(),
        seed: seed(started),
    })
    .await?;

    let evaluator: Arc<dyn rules::Evaluator> = Arc::new(rules::Engine::new(
        Arc::clone(&querier),
        config.eval_options.clone(),
        promql::Limits { max_samples: settings.query.max_samples as u64, ..promql::Limits::default() },
        model::Budget::new(
            "memory of all rules (query.max_total_bytes)",
            settings.query.max_total_bytes,
            None,
        ),
        settings.query.timeout.to_std(),
        RULE_CONCURRENCY,
    ));
    let page = page.keep(status_page::Needs {
        config: &config,
        evaluator: &evaluator,
        state: Arc::clone(&state) as Arc<dyn model::StateStore>,
        clock: &clock,
        metrics: metrics.api.status_page.clone(),
    });
    let page = page.await?;
    let ruler = Arc::new(Ruler::new(rules::Context {
        tenant: TenantId::default(),
        evaluator: Arc::clone(&evaluator),
        querier: Arc::clone(&querier),
        appender: Arc::clone(&gate),
        notifier: Arc::new(dispatcher.clone()),
        clock: Arc::clone(&clock),
        metrics: Arc::new(metrics.rules),
        config: settings.rules.evaluation.clone(),
        language: config.options.clone(),
        settings: parking_lot::RwLock::default(),
    }));
    let agents = collect::agents(&settings.sources.agents, &listener, metrics.agents.clone()).await?;
    let scraper = Arc::new(Scraper::new(sources::scrape::Parts {
        appender: Arc::clone(&gate),
        clock: Arc::clone(&clock),
        tenant: TenantId::default(),
        metrics: metrics.scrape.clone(),
        seed: seed(started),
        max_body_bytes: sources::scrape::Parts::MAX_BODY_BYTES,
        agents: agents.as_ref().map(|agents| Arc::clone(&agents.registry)),
    }));
    ruler.load_library(&library.rule_files()).await;
    ruler.load(&rule_files, rule_settings(&config, &url)).await;
    scraper.apply(config.prometheus.scrape_configs.clone()).await?;
    let (phase, phase_seen) = watch::channel(Phase::Ready);
    let (mut watched, host) = add_own_sources(&config, &scraper, &registry, &clock)?;
    let store = Arc::clone(&state) as Arc<dyn model::StateStore>;
    let logs = collect::logs(&settings.sources.logs, &metrics.logs, store, seed(started), &scraper).await?;
    watched.extend(collect::words(&logs, agents.as_ref()));
    let collector = collector::start(
        &settings.collector,
        &settings.storage.path,
        &clock,
        metrics.clients.clone(),
        seed(started),
        &scraper,
        phase_seen.clone(),
        collector::Asker { evaluator, options: config.options.clone() },
    )
    .await?;
    watched.extend(collector.as_ref().map(|running| running.words.clone()));
    let probes = probes::start(&settings.sources.probe, metrics.probe.clone(), &scraper)?;
    watched.extend(page.as_ref().and_then(|page| page.words.clone()));
    watched.extend(probes.words(&settings.sources.probe));
    watchdog::alert_series(&dispatcher, &scraper);
    let _heartbeats = watchdog::heartbeats(&dispatcher, &ruler)?;
    metrics.process.reloaded(true, &clock);

    let live = api::Live::new(live_config(&config, &url, &*clock), Arc::clone(&clock));
    let active_queries = active_queries(settings)?;
    let slow = settings.query.slow_threshold.to_std();
    let query_log = Arc::new(api::QueryLog::new(slow, query_log_file(&config)?));
    forward.reload(destinations).await?;
    let push = push::Receivers::open(&config, &gate, &clock, &metrics.ingest, seed(started)).await?;
    let (commands, mut asked) = mpsc::channel::<CommandRequest>(COMMANDS);
    let asked_of = Arc::clone(&state) as Arc<dyn model::StateStore>;
    let tokens = api::tokens::Tokens::open(&settings.web, asked_of, Arc::clone(&clock)).await?;
    announce(&url, &config, &watched, existed.then(|| db.recovered().to_string()));
    let serving = tokio::spawn(listener.serve(api::Parts {
        querier,
        appender: gate,
        db: Arc::clone(&db),
        scraper: Arc::clone(&scraper),
        ruler: Arc::clone(&ruler),
        dispatcher: dispatcher.clone(),
        host_events: host.as_ref().map(|host| host.events().clone()),
        clients: collector.as_ref().map(|running| Arc::clone(&running.collector)),
        probe: Some(probes.clone().into_parts()),
        tokens,
        status_page: page.as_ref().map(|page| Arc::clone(&page.keeper)),
        library: Arc::clone(&library),
        state_file: Arc::clone(&state),
        clock: Arc::clone(&clock),
        web: settings.web.clone(),
        web_file,
        query: settings.query.clone(),
        options: config.options.clone(),
        eval_options: config.eval_options.clone(),
        fleet: settings.fleet.clone(),
        fleet_watch,
        own_host: own_instance(settings),
        started,
        retention: settings.storage.retention.to_string(),
        live: Arc::clone(&live),
        stamps,
        active_queries,
        query_log: Arc::clone(&query_log),
        registry: Arc::clone(&registry),
        metrics: metrics.api.clone(),
        remote_write: ingest::remote_write::Receiver::new(
            &settings.ingest,
            metrics.ingest.clone(),
            seed(started),
        ),
        push: Arc::clone(&push.http),
        pushgateway: Arc::clone(&push.pushgateway),
        guard,
        phase: phase_seen,
        commands,
        build: api::BuildInfo { version: env!("CARGO_PKG_VERSION"), revision: "" },
    }));

    let http_push = Arc::clone(&push.http);
    let fixed = fixed(settings);
    let running = Running {
        given,
        url,
        scraper,
        ruler,
        dispatcher,
        live,
        push: http_push,
        forward,
        library,
        probes,
        metrics: metrics.process,
        clock,
        agents,
        collector: collector.as_ref().map(|running| Arc::clone(&running.collector)),
        query_log,
        fixed,
        _logs: logs,
    };
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Asked::Stop => break,
                // Logged and counted where it failed; the old configuration stays in force.
                Asked::Reload => drop(running.reload().await),
            },
            request = asked.recv() => match request {
                None => break,
                Some(CommandRequest { command: Command::Quit, answer }) => {
                    drop(answer.send(Ok(())));
                    break;
                }
                Some(CommandRequest { command: Command::Reload, answer }) => {
                    let outcome = running.reload().await.map_err(|err| format!("{err:#}"));
                    drop(answer.send(outcome));
                }
            },
        }
    }

    tracing::info!("stopping: no more scrapes and evaluations, requests are finished, data is flushed");
    phase.send_replace(Phase::Stopping);
    push.close().await;
    if let Some(page) = page {
        page.stop(GRACE).await;
    }
    if let Some(collector) = collector {
        collector.stop(GRACE).await;
    }
    running.scraper.shutdown().await;
    running.ruler.stop().await;
    running.dispatcher.stop(GRACE).await;
    match tokio::time::timeout(GRACE, serving).await {
        Ok(served) => served.context("the web server ended early")?,
        Err(_) => tracing::warn!("requests that were still running after {GRACE:?} are dropped"),
    }
    growth.abort();
    running.forward.close().await;
    let end = move || {
        drop(bucket_sync);
        drop(maintenance);
        db.flush()
    };
    tokio::task::spawn_blocking(end).await??;
    tracing::info!("stopped");
    Ok(())
}

/// Checks of our own settings what neither the types nor the files' own readers check. What a Prometheus file may say is
/// judged as Prometheus does: destinations of remote write and their certificates are not looked at.
///
/// # Errors
/// What the server could not start with.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let host = &config.settings.sources.host;
    if host.enabled {
        host::check(host, &clock).map_err(|err| match err.of_setting("sources.host") {
            Ok(wrong) => config.placed(wrong),
            Err(err) => anyhow::Error::new(err).context("sources.host"),
        })?;
    }
    if let Some(routes) = alert_routes(config.settings.alerts.config_file.as_deref())? {
        let file = config.settings.alerts.config_file.as_deref().unwrap_or(Path::new("")).display();
        alerts::tool::check_parts(&routes, Arc::clone(&clock)).with_context(|| format!("{file}"))?;
    }
    api::tokens::check(&config.settings.web).map_err(|wrong| config.placed(wrong))?;
    api::WebFile::open(&config.settings.web)?;
    crate::bucket::check(&config.settings.storage.bucket).map_err(|wrong| config.placed(wrong))?;
    probes::read(&config.settings.sources.probe).context("sources.probe")?;
    Ok(())
}

/// Sections that are read at the start alone.
#[derive(PartialEq)]
struct Fixed {
    storage: tsdb::Config,
    web: api::WebConfig,
    query: api::QueryConfig,
    host: host::Config,
    ingest: ingest::Config,
    fleet: api::FleetConfig,
    status_page: api::status_page::config::StatusPageConfig,
    log: telemetry::LogConfig,
}

fn fixed(settings: &crate::config::Settings) -> Fixed {
    Fixed {
        storage: settings.storage.clone(),
        web: settings.web.clone(),
        query: settings.query.clone(),
        host: settings.sources.host.clone(),
        ingest: settings.ingest.clone(),
        fleet: settings.fleet.clone(),
        status_page: settings.status_page.clone(),
        log: settings.log.clone(),
    }
}

impl Fixed {
    /// The names of sections that differ.
    fn changed_from(&self, other: &Self) -> Vec<&'static str> {
        let all = [
            ("storage", self.storage != other.storage),
            ("web", self.web != other.web),
            ("query", self.query != other.query),
            ("sources.host", self.host != other.host),
            ("ingest", self.ingest != other.ingest),
            ("fleet", self.fleet != other.fleet),
            ("status_page", self.status_page != other.status_page),
            ("log", self.log != other.log),
        ];
        all.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect()
    }
}

/// What a reload changes.
struct Running {
    given: Given,
    url: String,
    scraper: Arc<Scraper>,
    ruler: Arc<Ruler>,
    dispatcher: alerts::Dispatcher,
    live: Arc<api::Live>,
    push: Arc<ingest::Push>,
    forward: Arc<ingest::Forward>,
    library: Arc<api::Library>,
    probes: probes::Probes,
    metrics: telemetry::Metrics,
    clock: Arc<dyn Clock>,
    agents: Option<collect::Agents>,
    collector: Option<Arc<clients::Collector>>,
    query_log: Arc<api::QueryLog>,
    /// The sections that a reload does not change, as they are in force.
    fixed: Fixed,
    /// Run until the server ends.
    _logs: Option<sources::logs::Logs>,
}

impl Running {
    /// Reads everything anew, and only when all of it is right puts it in force.
    async fn reload(&self) -> anyhow::Result<()> {
        let result = self.try_reload().await;
        self.metrics.reloaded(result.is_ok(), &self.clock);
        if result.is_err() {
            self.live.reloaded(None);
        }
        match &result {
            Ok(()) => tracing::info!("the configuration was read again and is in force"),
            Err(err) => {
                tracing::error!(error = %format!("{err:#}"), "the configuration was refused, the old one stays in force")
            }
        }
        result
    }

    async fn try_reload(&self) -> anyhow::Result<()> {
        let config = Config::load(&self.given)?;
        check(&config)?;
        let rule_files = load_rules(&config)?;
        let routes = alert_routes(config.settings.alerts.config_file.as_deref())?;
        let destinations = forward::destinations(&config.prometheus)?;
        let query_log_file = query_log_file(&config)?;
        let probes = probes::read(&config.settings.sources.probe)?;
        if let Some(agents) = &self.agents {
            agents.reload(&config.settings.sources.agents).await?;
        }
        if let Some(running) = &self.collector {
            collector::reload(running, &config.settings.collector)?;
        }
        self.scraper.apply(config.prometheus.scrape_configs.clone()).await?;
        self.probes.reload(&config.settings.sources.probe, probes, &self.scraper)?;
        self.dispatcher.reload(self.library.alert_config(routes)?)?;
        self.forward.reload(destinations).await?;
        self.push.reload(push::otlp_options(&config.prometheus.otlp));
        self.ruler.load(&rule_files, rule_settings(&config, &self.url)).await;
        self.query_log.replace(query_log_file);
        for section in fixed(&config.settings).changed_from(&self.fixed) {
            tracing::warn!(section, "what changed here takes effect at the next start");
        }
        self.live.reloaded(Some(live_config(&config, &self.url, &*self.clock)));
        Ok(())
    }
}

/// What the API shows of the configuration.
fn live_config(config: &Config, url: &str, clock: &dyn Clock) -> api::LiveConfig {
    api::LiveConfig {
        text: config.text.clone(),
        external_labels: config.prometheus.global.external_labels(),
        scrape_configs: config.prometheus.scrape_configs.clone(),
        external_url: url.to_owned(),
        loaded_at: clock.now(),
    }
}

/// Opens the list of running queries, and names those that the last process did not finish.
fn active_queries(settings: &crate::config::Settings) -> anyhow::Result<Arc<api::ActiveQueries>> {
    let path = settings.storage.path.join("queries.active");
    let (queries, unfinished) = api::ActiveQueries::open(&path, settings.query.max_concurrency)
        .with_context(|| format!("cannot open the list of running queries {}", path.display()))?;
    for query in unfinished {
        tracing::warn!(
            query = query.query,
            tenant = query.tenant,
            started_at = query.timestamp_sec,
            "this query was running when the server ended without an orderly stop"
        );
    }
    Ok(queries)
}

/// Opens the file of finished queries, when there is one; anew at each reload, so that it can be rotated.
fn query_log_file(config: &Config) -> anyhow::Result<Option<api::QueryLogFile>> {
    let path = config.prometheus.global.query_log_file.as_deref().filter(|path| !path.is_empty());
    let open = |path: &str| {
        let file = api::QueryLogFile::open(Path::new(path));
        file.with_context(|| format!("cannot open global.query_log_file {path}"))
    };
    path.map(open).transpose()
}

async fn open_storage(
    config: tsdb::Config,
    clock: &Arc<dyn Clock>,
    metrics: tsdb::Metrics,
) -> anyhow::Result<Arc<tsdb::Db>> {
    let clock = Arc::clone(clock);
    let bucket = crate::bucket::open(&config.bucket)?;
    let open = move || tsdb::Db::open_with(config, clock, Arc::new(tsdb::RealDisk), metrics, bucket);
    Ok(tokio::task::spawn_blocking(open).await??)
}

/// The routes of the file that people gave, if they gave one.
fn alert_routes(file: Option<&Path>) -> anyhow::Result<Option<alerts::Config>> {
    Ok(file.map(alerts::Config::load_file).transpose()?)
}

/// The shipped rules and those of `rule_files`. A named file that is not there is passed over with a warning, as in
/// Prometheus; `check config` refuses it.
fn load_rules(config: &Config) -> anyhow::Result<Vec<RuleFile>> {
    let mut present = config.clone();
    present.prometheus.rule_files.retain(|path| {
        let missing = !path.contains(['*', '?', '[']) && !Path::new(path).exists();
        if missing {
            tracing::warn!(%path, "a file of rule_files does not exist; its rules are not evaluated");
        }
        !missing
    });
    load_all_rules(&present)
}

/// The shipped rules and those of `rule_files`, every named file included.
pub(crate) fn load_all_rules(config: &Config) -> anyhow::Result<Vec<RuleFile>> {
    let mut files = Vec::new();
    let ours = &config.settings.rules;
    let shipped = shipped_rules(ours.shipped_time_scale, &config.options)?.into_iter();
    files.extend(shipped.filter(|file| match file.path.as_str() {
        rules::shipped::WATCHDOG => ours.watchdog,
        _ => ours.shipped,
    }));
    files.extend(rules::file::load_all(&config.prometheus.rule_files, Path::new(""), &config.options)?);
    Ok(files)
}

/// The shipped rules, with every waiting time multiplied.
fn shipped_rules(time_scale: f64, options: &promql::Options) -> anyhow::Result<Vec<RuleFile>> {
    let files = rules::shipped::load(options)
        .map_err(|problems| anyhow::anyhow!("the shipped rules are wrong: {problems:?}"))?;
    let scaled = |ms: i64| (ms as f64 * time_scale).round() as i64;
    let scale_rule = |rule: &Arc<rules::Rule>| {
        let mut rule = rules::Rule::clone(rule);
        if let rules::Kind::Alerting(alerting) = &mut rule.kind {
            alerting.hold_ms = scaled(alerting.hold_ms);
            alerting.keep_firing_for_ms = scaled(alerting.keep_firing_for_ms);
        }
        Arc::new(rule)
    };
    let scale_group = |group: &Arc<rules::RuleGroup>| {
        let mut group = rules::RuleGroup::clone(group);
        group.rules = group.rules.iter().map(scale_rule).collect();
        Arc::new(group)
    };
    let scale_file =
        |file: RuleFile| RuleFile { groups: file.groups.iter().map(scale_group).collect(), ..file };
    Ok(files.into_iter().map(scale_file).collect())
}

fn rule_settings(config: &Config, url: &str) -> rules::Settings {
    let global = &config.prometheus.global;
    rules::Settings {
        interval_ms: global.evaluation_interval.ms(),
        query_offset_ms: global.rule_query_offset.ms(),
        external_labels: global.external_labels(),
        external_url: url.to_owned(),
        alert_relabel: config.prometheus.alerting.alert_relabel_configs.0.clone(),
    }
}

/// The instance under which this machine is watched.
fn own_instance(settings: &crate::config::Settings) -> String {
    match settings.sources.host.instance.as_str() {
        "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        set => set.to_owned(),
    }
}

/// This host and this server as targets; what they are, in words.
fn add_own_sources(
    config: &Config,
    scraper: &Scraper,
    registry: &Arc<Registry>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Vec<String>, Option<Arc<host::Host>>)> {
    let mut words = Vec::new();
    let mut watched_host = None;
    let host_name = own_instance(&config.settings);
    let sources = &config.settings.sources;
    let source = |job: &str, instance: &str, interval, collect| InProcess {
        job: job.to_owned(),
        instance: instance.to_owned(),
        labels: BTreeMap::new(),
        interval,
        timeout: interval,
        honor_labels: false,
        collect,
        wake: None,
    };
    if sources.host.enabled {
        let instance = &host_name;
        let mut settings = sources.host.clone();
        if settings.state_directory.is_empty() {
            settings.state_directory = config.settings.storage.path.join("host").display().to_string();
        }
        let host = Arc::new(host::Host::with_mount_child(&settings, Arc::clone(clock), Some(mount_child()))?);
        for missing in host.missing() {
            tracing::warn!(%missing, "this host is watched without a part");
        }
        let wake = agent::wake(&host);
        watched_host = Some(Arc::clone(&host));
        let collect: sources::scrape::Collector = Arc::new(move || {
            let host = Arc::clone(&host);
            Box::pin(async move { host.collect().await })
        });
        scraper.add(&InProcess {
            wake: Some(wake),
            ..source(&sources.host.job, instance, sources.host.interval, collect)
        });
        words.push(format!("this host ({instance}) every {}", sources.host.interval));
    }
    if sources.own.enabled {
        scraper.add(&source(
            "bellwether",
            &host_name,
            sources.own.interval,
            own::collector(Arc::clone(registry)),
        ));
        words.push(format!("this server every {}", sources.own.interval));
    }
    let jobs = config.prometheus.scrape_configs.len();
    if jobs > 0 {
        words.push(format!("{jobs} scrape job{}", if jobs == 1 { "" } else { "s" }));
    }
    Ok((words, watched_host))
}

/// This program as the process that asks mounted file systems.
fn mount_child() -> host::MountChild {
    // The file of this very process, whatever has been put in its place since.
    host::MountChild { program: "/proc/self/exe".into(), arguments: vec![MOUNT_CHILD.to_owned()] }
}

/// The host's name.
fn rustix_nodename() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Tells the person at the terminal where to look. Nothing can be done when they have closed it.
fn announce(url: &str, config: &Config, watched: &[String], recovered: Option<String>) {
    let data: PathBuf = std::path::absolute(&config.settings.storage.path)
        .unwrap_or_else(|_| config.settings.storage.path.clone());
    let mut lines = vec![format!("Bellwether {}", env!("CARGO_PKG_VERSION"))];
    if let Some(recovered) = recovered {
        lines.push(format!("recovered  {recovered}"));
    }
    lines.push(format!("data       {}", data.display()));
    let watched = if watched.is_empty() {
        "nothing: every source is switched off".to_owned()
    } else {
        watched.join(", ")
    };
    lines.push(format!("watching   {watched}"));
    lines.push(format!("page       {url}/"));
    say(&lines.join("\n"));
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Where people reach the server: as set, or made from the address.
fn external_url(set: &str, listener: &Listener, is_tls: bool) -> String {
    if !set.is_empty() {
        return set.trim_end_matches('/').to_owned();
    }
    let address = listener.address();
    let host = match address.ip() {
        ip if ip.is_unspecified() => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        ip if ip.is_ipv6() => format!("[{ip}]"),
        ip if ip.is_loopback() => "localhost".to_owned(),
        ip => ip.to_string(),
    };
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{host}:{}", address.port())
}

/// Different at every start: hash seeds and schedules need no more.
fn seed(started: model::Timestamp) -> u64 {
    (started.ms() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(std::process::id()) << 32)
}
