//! The web server: what the handlers share, the listener, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;

use model::pattern::Pattern;
use model::{Appender, Clock, Querier, Timestamp};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{QueryConfig, WebConfig};
use crate::connection::{self, Incoming, Limits};
use crate::dashboards::Dashboards;
use crate::fleet::round::ActiveAlert;
use crate::fleet::{AlertFeed, Fleet, FleetConfig, FleetParts, FleetWatch};
use crate::library::Library;
use crate::live::{Live, SHUTTING_DOWN};
use crate::metrics::Metrics;
use crate::query::active::ActiveQueries;
use crate::query::log::QueryLog;
use crate::query::run::{Made, Queries};
use crate::query::stamps::WriteStamps;
use crate::router;
use crate::web_file::WebFile;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Data is being recovered.
    Starting,
    /// Everything is answered.
    Ready,
    /// Connections are drained.
    Stopping,
}

/// What an operator asks of the process over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read the configuration again.
    Reload,
    /// Shut down in good order.
    Quit,
}

/// A command and where its outcome goes.
#[derive(Debug)]
pub struct CommandRequest {
    /// What is asked.
    pub command: Command,
    /// `Err` holds what went wrong, for the person who asked.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// The version of the program, as `/api/v1/status/buildinfo` shows it.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// The version.
    pub version: &'static str,
    /// The commit it was built from; may be empty.
    pub revision: &'static str,
}

/// The parts that the API shows and uses.
pub struct Parts {
    /// Where series come from.
    pub querier: Arc<dyn Querier>,
    /// Where pushed samples go.
    pub appender: Arc<dyn Appender>,
    /// The database behind both.
    pub db: Arc<tsdb::Db>,
    /// Takes remote write requests.
    pub remote_write: ingest::remote_write::Receiver,
    /// The configuration in force.
    pub live: Arc<Live>,
    /// Stamps of what is written, which `appender` sets.
    pub stamps: Arc<WriteStamps>,
    /// The list of running queries.
    pub active_queries: Arc<ActiveQueries>,
    /// The log of finished queries.
    pub query_log: Arc<QueryLog>,
    /// Takes what other agents push over HTTP.
    pub push: Arc<ingest::Push>,
    /// Groups of batch jobs' metrics.
    pub pushgateway: Arc<ingest::Pushgateway>,
    /// Cardinality protection.
    pub guard: Arc<ingest::Guard>,
    /// What is scraped.
    pub scraper: Arc<sources::scrape::Scraper>,
    /// What is evaluated.
    pub ruler: Arc<rules::Ruler>,
    /// The alert manager.
    pub dispatcher: alerts::Dispatcher,
    /// What happened to this host, when it is watched.
    pub host_events: Option<host::events::Events>,
    /// The collector of client-side reports, when it is on.
    pub clients: Option<Arc<clients::Collector>>,
    /// Checks from outside, when there are any.
    pub probe: Option<crate::vantages::Probes>,
    /// Who may do what.
    pub tokens: Arc<crate::tokens::Tokens>,
    /// The public status page, when there are components.
    pub status_page: Option<Arc<crate::status_page::keeper::Keeper>>,
    /// Documents that are edited over the API.
    pub library: Arc<Library>,
    /// The state file, for copies.
    pub state_file: Arc<state::Store>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Settings of the server.
    pub web: WebConfig,
    /// Certificates, users and headers, when there is a file of them.
    pub web_file: Option<Arc<WebFile>>,
    /// Settings of queries.
    pub query: QueryConfig,
    /// Which parts of the language are on.
    pub options: promql::Options,
    /// Which experimental ways of evaluation are on.
    pub eval_options: promql::EvalOptions,
    /// The fleet map.
    pub fleet: FleetConfig,
    /// What it has seen on the way to storage.
    pub fleet_watch: FleetWatch,
    /// The instance under which this machine is watched; empty when it is not.
    pub own_host: String,
    /// When the process started.
    pub started: Timestamp,
    /// How long samples are kept, in words.
    pub retention: String,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// This crate's own metrics.
    pub metrics: Metrics,
    /// The life of the process.
    pub phase: watch::Receiver<Phase>,
    /// Where commands go.
    pub commands: mpsc::Sender<CommandRequest>,
    /// The version.
    pub build: BuildInfo,
}

/// What every handler gets.
pub(crate) struct Api {
    pub(crate) querier: Arc<dyn Querier>,
    pub(crate) appender: Arc<dyn Appender>,
    pub(crate) db: Arc<tsdb::Db>,
    pub(crate) remote_write: ingest::remote_write::Receiver,
    pub(crate) live: Arc<Live>,
    pub(crate) stamps: Arc<WriteStamps>,
    pub(crate) queries: Queries,
    pub(crate) cors_origin: Option<Pattern>,
    pub(crate) push: Arc<ingest::Push>,
    pub(crate) pushgateway: Arc<ingest::Pushgateway>,
    pub(crate) guard: Arc<ingest::Guard>,
    pub(crate) scraper: Arc<sources::scrape::Scraper>,
    pub(crate) ruler: Arc<rules::Ruler>,
    pub(crate) dispatcher: alerts::Dispatcher,
    pub(crate) host_events: Option<host::events::Events>,
    pub(crate) clients: Option<Arc<clients::Collector>>,
    pub(crate) probe: Option<crate::vantages::Probes>,
    pub(crate) tokens: Arc<crate::tokens::Tokens>,
    pub(crate) status_page: Option<Arc<crate::status_page::keeper::Keeper>>,
    pub(crate) library: Arc<Library>,
    pub(crate) state_file: Arc<state::Store>,
    /// One edit of the library at a time is put in force.
    pub(crate) applying: tokio::sync::Mutex<()>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) web: WebConfig,
    pub(crate) web_file: Option<Arc<WebFile>>,
    pub(crate) query: QueryConfig,
    pub(crate) options: promql::Options,
    pub(crate) eval_options: promql::EvalOptions,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) dashboards: Dashboards,
    pub(crate) started: Timestamp,
    pub(crate) retention: String,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Metrics,
    pub(crate) build: BuildInfo,
    phase: watch::Receiver<Phase>,
    commands: mpsc::Sender<CommandRequest>,
}

impl Api {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let db = Arc::clone(&parts.db);
        let queries = Queries::new(Made {
            config: parts.query.clone(),
            querier: Arc::clone(&parts.querier),
            options: parts.options.clone(),
            eval_options: parts.eval_options.clone(),
            stamps: Arc::clone(&parts.stamps),
            active: parts.active_queries,
            log: parts.query_log,
            metrics: parts.metrics.clone(),
            deleted_until: Arc::new(move || db.deleted_until()),
        });
        let (querier, clock) = (Arc::clone(&parts.querier), Arc::clone(&parts.clock));
        let fleet = Fleet::new(FleetParts {
            config: parts.fleet,
            watch: parts.fleet_watch,
            own_host: parts.own_host,
            querier,
            clock,
            alerts: alert_feed(&parts.dispatcher),
            metrics: parts.metrics.fleet.clone(),
        });
        Arc::new(Self {
            dashboards: Dashboards::new(),
            eval_options: parts.eval_options,
            fleet,
            started: parts.started,
            retention: parts.retention,
            querier: parts.querier,
            appender: parts.appender,
            db: parts.db,
            remote_write: parts.remote_write,
            live: parts.live,
            stamps: parts.stamps,
            queries,
            cors_origin: parts.web.cors_pattern(),
            push: parts.push,
            pushgateway: parts.pushgateway,
            guard: parts.guard,
            scraper: parts.scraper,
            ruler: parts.ruler,
            dispatcher: parts.dispatcher,
            host_events: parts.host_events,
            clients: parts.clients,
            probe: parts.probe,
            tokens: parts.tokens,
            status_page: parts.status_page,
            library: parts.library,
            state_file: parts.state_file,
            applying: tokio::sync::Mutex::default(),
            clock: parts.clock,
            web: parts.web,
            web_file: parts.web_file,
            query: parts.query,
            options: parts.options,
            registry: parts.registry,
            metrics: parts.metrics,
            build: parts.build,
            phase: parts.phase,
            commands: parts.commands,
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Ends when the server stops.
    pub(crate) async fn stopping(&self) {
        // An error means that the sender is gone: time to stop as well.
        drop(self.phase.clone().wait_for(|phase| *phase == Phase::Stopping).await);
    }

    /// Hands a command to the process and waits for the outcome.
    pub(crate) async fn command(&self, command: Command) -> Result<(), String> {
        let (answer, outcome) = oneshot::channel();
        let gone = || "the server is shutting down".to_owned();
        self.commands.send(CommandRequest { command, answer }).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

/// The alert manager's active alerts, as far as the map needs them.
fn alert_feed(dispatcher: &alerts::Dispatcher) -> AlertFeed {
    let dispatcher = dispatcher.clone();
    Arc::new(move || {
        let active = match alerts::api::alerts(&dispatcher, &alerts::api::AlertQuery::default()) {
            Ok(active) => active,
            Err(err) => {
                tracing::warn!(error = %err, "the alerts for the fleet map cannot be read");
                return Vec::new();
            }
        };
        let of = |shown: alerts::api::Shown| {
            let text = |from: &model::Labels, name: &str| from.get(name).unwrap_or_default().to_owned();
            ActiveAlert {
                labels: shown.alert.labels.clone(),
                name: shown.alert.name().to_owned(),
                severity: text(&shown.alert.labels, "severity"),
                since_ms: shown.alert.starts_at.ms(),
                silenced: !shown.mutes.silenced_by.is_empty(),
                inhibited: shown.mutes.inhibited_by.is_some(),
                summary: text(&shown.alert.annotations, "summary"),
            }
        };
        active.into_iter().map(of).collect()
    })
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}; choose another with --web.listen-address")]
pub struct ListenError {
    address: String,
    source: std::io::Error,
}

/// A bound listener, so that the address is known before anything is served.
#[derive(Debug)]
pub struct Listener {
    pub(crate) listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `web.listen_address`.
    ///
    /// # Errors
    /// [`ListenError`] when the address is taken or not ours.
    pub async fn bind(address: &str) -> Result<Self, ListenError> {
        let refused = |source| ListenError { address: address.to_owned(), source };
        // `:9090` means every address, as in Prometheus.
        let full = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
        let listener = TcpListener::bind(full.as_str()).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// The address with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bound socket.
    pub(crate) fn into_inner(self) -> TcpListener {
        self.listener
    }

    /// Serves until the phase is [`Phase::Stopping`], then lets running requests finish.
    pub async fn serve(self, parts: Parts) {
        let api = Api::new(parts);
        let fleet = tokio::spawn(Arc::clone(&api.fleet).run());
        let stopped = Arc::clone(&api);
        let stopping = async move {
            stopped.stopping().await;
            stopped.live.notify(SHUTTING_DOWN);
        };
        let (open, waited) = (api.metrics.connections.clone(), api.metrics.connections_waited.clone());
        let incoming = Incoming::new(self.listener, api.web.max_connections, open, waited);
        let file = api.web_file.clone();
        let limits = Limits { head: api.web.read_timeout.to_std(), connection: None };
        connection::serve(incoming, router::router(api), limits, file, stopping).await;
        fleet.abort();
    }
}
