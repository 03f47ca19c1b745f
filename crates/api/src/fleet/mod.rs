//! The state of every server, for the heat map: topology from labels, state planes, deltas, a history of hours.
//!
//! Samples of `up` are noted as they are stored ([`targets`]); [`hosts`] says which targets are one server. A round reads no
//! series: it computes a code for every server from those notes and the active alerts ([`round`]) and hands the difference to
//! everyone who listens. Byte layouts: `docs/formats/fleet.md`; how it works: `docs/concepts/fleet.md`.

pub(crate) mod codec;
pub(crate) mod handlers;
pub(crate) mod history;
pub(crate) mod hosts;
pub(crate) mod round;
pub(crate) mod targets;
#[cfg(test)]
mod tests;
pub(crate) mod topology;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::duration::PromDuration;
use model::pattern::Pattern;
use model::seam::{Select, SelectHints};
use model::{Budget, Clock, InvalidField, Matcher, Querier, Samples, SeamError, TenantId};
use parking_lot::{Mutex, RwLock};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::metrics::FleetMetrics;
use codec::Code;
use history::History;
use hosts::{Lookup, Rules};
use round::{ActiveAlert, Plane};
pub use targets::FleetWatch;
use targets::Table;
use topology::Topology;

/// The fleet map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FleetConfig {
    /// How often the state of all servers is computed. A round that takes long is followed by a longer pause.
    pub interval: PromDuration,
    /// A server is dead when this many scrapes in a row have failed.
    pub dead_after: usize,
    /// A server without samples keeps its place on the map, as "no data", for this long.
    pub forget_after: PromDuration,
    /// Jobs of host exporters, as an anchored regular expression. Their targets are the servers; targets of other jobs join the
    /// server that they run on, by host name. A target with `node_uname_info` is a host whatever its job is called.
    pub host_jobs: String,
    /// Most targets that are kept for the map; further ones are counted in `bellwether_api_fleet_targets_refused_total`.
    pub max_targets: usize,
    /// Memory for the map's history, in bytes; the oldest frames go first.
    pub history_bytes: usize,
    /// Most bytes of memory for reading what storage holds of `up` when the server starts.
    pub round_bytes: u64,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            interval: PromDuration(1_000),
            dead_after: 3,
            forget_after: PromDuration(3_600_000),
            host_jobs: "(.*[-_/.])?(nodes?|hosts?|windows)([-_/.]?exporter)?([-_/.].*)?".to_owned(),
            max_targets: 4_000_000,
            history_bytes: 64 << 20,
            round_bytes: 2 << 30,
        }
    }
}

impl FleetConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), InvalidField> {
        Pattern::new(&self.host_jobs).map(drop).map_err(|err| {
            InvalidField::new("fleet.host_jobs", format!("it is no regular expression: {err}"))
        })
    }
}

/// Between two rounds while no server is known.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long a sample of `up` says something.
pub(crate) const LOOKBACK_MS: i64 = 300_000;
/// Small fleets are laid out anew whenever a server joins; large ones at most this often.
const REBUILD_MS: i64 = 60_000;
const SMALL_FLEET: usize = 2_000;
/// Between two layouts of a fleet that grows by more than a quarter.
const GROWTH_MS: i64 = 5_000;
/// Deltas kept for readers that reconnect.
const KEPT_DELTAS: usize = 256;
/// A delta above this is cheaper as a whole state.
const MAX_DELTA_BYTES: usize = 64 << 10;

/// Which of the two streamed planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Alert = 0,
    Up = 1,
}

/// One event of a plane's stream.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Base64 is made once for all readers.
    Delta {
        sequence: u64,
        codes: Arc<str>,
        silenced: Option<Arc<str>>,
    },
    Tick {
        sequence: u64,
        time_ms: i64,
        topo_hash: u64,
    },
    Resync {
        sequence: u64,
        reason: &'static str,
    },
}

/// What the map looks like now. Replaced as a whole by each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) topology: Arc<Topology>,
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) topology_bytes: Arc<Vec<u8>>,
    /// By [`By`].
    pub(crate) planes: [Arc<Plane>; 2],
    pub(crate) sequences: [u64; 2],
    pub(crate) time_ms: i64,
    /// Active alerts by server index, worst first.
    pub(crate) alerts: Arc<HashMap<u32, Vec<ActiveAlert>>>,
    /// The server of each target.
    pub(crate) server_of: Arc<Vec<u32>>,
    /// Of the table, when the topology was built.
    changes: u64,
    epoch: u64,
    built_ms: i64,
}

/// Where the alerts that are active now come from.
pub(crate) type AlertFeed = Arc<dyn Fn() -> Vec<ActiveAlert> + Send + Sync>;

/// What a fleet is made of.
pub(crate) struct FleetParts {
    pub(crate) config: FleetConfig,
    pub(crate) watch: FleetWatch,
    pub(crate) own_host: String,
    pub(crate) querier: Arc<dyn Querier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) alerts: AlertFeed,
    pub(crate) metrics: FleetMetrics,
}

/// Computes, keeps and hands out the fleet's state.
pub(crate) struct Fleet {
    config: FleetConfig,
    rules: Rules,
    pub(crate) table: Arc<Mutex<Table>>,
    querier: Arc<dyn Querier>,
    clock: Arc<dyn Clock>,
    tenant: TenantId,
    alerts: AlertFeed,
    metrics: FleetMetrics,
    view: RwLock<Arc<View>>,
    pub(crate) history: Mutex<History>,
    events: [broadcast::Sender<Event>; 2],
    kept: [Mutex<VecDeque<Event>>; 2],
}

impl Fleet {
    pub(crate) fn new(parts: FleetParts) -> Arc<Self> {
        let history = Mutex::new(History::new(parts.config.history_bytes));
        // Checked when the configuration was read; a pattern that matches nothing leaves `node_uname_info`.
        let jobs = Pattern::new(&parts.config.host_jobs)
            .unwrap_or_else(|_| Pattern::new("").expect("the empty pattern is one"));
        Arc::new(Self {
            rules: Rules { jobs, own: parts.own_host },
            config: parts.config,
            table: parts.watch.table,
            querier: parts.querier,
            clock: parts.clock,
            tenant: TenantId::default(),
            alerts: parts.alerts,
            metrics: parts.metrics,
            view: RwLock::default(),
            history,
            events: [broadcast::channel(64).0, broadcast::channel(64).0],
            kept: Default::default(),
        })
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read())
    }

    pub(crate) fn dead_after(&self) -> usize {
        self.config.dead_after
    }

    pub(crate) fn interval_ms(&self) -> i64 {
        self.config.interval.ms()
    }

    /// Later events, and those after `since` that are still kept; `None` when a whole state is needed first.
    pub(crate) fn subscribe(&self, by: By, since: u64) -> (Option<Vec<Event>>, broadcast::Receiver<Event>) {
        let kept = self.kept[by as usize].lock();
        let receiver = self.events[by as usize].subscribe();
        let current = self.view().sequences[by as usize];
        if since == current {
            return (Some(Vec::new()), receiver);
        }
        let missed: Vec<Event> = kept.iter().filter(|event| event.sequence() > since).cloned().collect();
        let whole = missed.first().is_some_and(|event| event.sequence() == since + 1) && since < current;
        (whole.then_some(missed), receiver)
    }

    /// Rounds until the task is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        if let Err(err) = self.prime().await {
            tracing::warn!(error = %err.chain(), "what is stored of up could not be read; the map fills with the next samples");
        }
        loop {
            let started = tokio::time::Instant::now();
            if let Err(err) = self.round().await {
                tracing::warn!(error = %err.chain(), "the fleet's state could not be computed");
            }
            self.metrics.round_seconds.observe(started.elapsed().as_secs_f64());
            // Never more than a tenth of one core.
            let interval =
                if self.view().topology.is_empty() { FIRST_PAUSE } else { self.config.interval.to_std() };
            tokio::time::sleep(interval.max(started.elapsed() * 10)).await;
        }
    }

    /// Reads what storage holds from before this process.
    pub(crate) async fn prime(self: &Arc<Self>) -> Result<(), SeamError> {
        let now = self.clock.now();
        let budget = Budget::new(
            "memory of the fleet's first round (fleet.round_bytes)",
            self.config.round_bytes,
            None,
        );
        let select = |metric: &str| Select {
            matchers: vec![Matcher::equal(model::labels::METRIC_NAME, metric)],
            start: now - LOOKBACK_MS,
            end: now,
            hints: SelectHints::default(),
        };
        let selects = [select("up"), select("node_uname_info")];
        let found = self.querier.select(&self.tenant, &selects, &budget).await?;
        let table = Arc::clone(&self.table);
        let read = tokio::task::spawn_blocking(move || {
            let [up, info] = found.as_slice() else { return Ok(()) };
            let mut samples = Samples::default();
            for i in 0..up.series.len() {
                up.series.read(i, &mut samples)?;
                table.lock().samples(&up.series.labels(i), &samples);
            }
            for i in 0..info.series.len() {
                table.lock().info(info.series.labels(i).as_encoded());
            }
            Ok(())
        });
        read.await.map_err(ended_early)?
    }

    /// One round.
    pub(crate) async fn round(self: &Arc<Self>) -> Result<(), SeamError> {
        let fleet = Arc::clone(self);
        let now_ms = self.clock.now().ms();
        tokio::task::spawn_blocking(move || fleet.compute(now_ms)).await.map_err(ended_early)
    }

    fn compute(&self, now_ms: i64) {
        let mut alerts = (self.alerts)();
        alerts.sort_by_key(|alert| std::cmp::Reverse(alert.code().rank()));
        let before = self.view();
        let mut view = View::clone(&before);
        let mut table = self.table.lock();
        let known = before.topology.servers() as usize;
        let pause = now_ms - before.built_ms;
        // A fleet that is just coming in is not made to wait.
        let grows = table.list.len() > before.server_of.len() + before.server_of.len() / 4;
        let may_rebuild = known < SMALL_FLEET || pause >= REBUILD_MS || (grows && pause >= GROWTH_MS);
        let rebuilt = may_rebuild && {
            let forgotten = table.forget(now_ms - self.config.forget_after.ms());
            forgotten || table.changes != before.changes
        };
        if rebuilt {
            self.rebuild(&mut view, &before, &table, now_ms);
        }
        let servers = view.topology.servers() as usize;
        let dead_after = self.config.dead_after;
        // Targets that are newer than the topology have no server yet.
        let same_order = table.epoch == view.epoch;
        let targets = view.server_of.iter().zip(&table.list).filter(|_| same_order);
        let up = round::up_codes(
            servers,
            targets.map(|(server, target)| (*server, Table::code(target, now_ms, dead_after))),
        );
        self.metrics.targets.set(table.list.len() as i64);
        let refused = table.refused.saturating_sub(self.metrics.targets_refused.get());
        self.metrics.targets_refused.inc_by(refused);
        let table_bytes = table.bytes();
        drop(table);
        let about = round::attribute(&view.lookup, &alerts);
        let (alert, silenced) = round::alert_codes(&up, &alerts, &about);
        let mut by_server: HashMap<u32, Vec<ActiveAlert>> = HashMap::new();
        for (active, server) in alerts.into_iter().zip(about).filter(|(_, server)| *server != hosts::NONE) {
            by_server.entry(server).or_default().push(active);
        }
        view.alerts = Arc::new(by_server);
        view.time_ms = now_ms;
        let quiet = codec::Bits::new(servers);
        let mut events = [Vec::new(), Vec::new()];
        for (by, codes, silenced) in [(By::Alert, alert, silenced), (By::Up, up, quiet)] {
            let at = by as usize;
            let old = Arc::clone(&view.planes[at]);
            let mut plane = Plane::clone(&old);
            plane.advance(codes, silenced, now_ms);
            if rebuilt {
                view.sequences[at] += 1;
                events[at].push(Event::Resync { sequence: view.sequences[at], reason: "topology" });
            } else if let Some(event) = change(&old, &plane, view.sequences[at] + 1) {
                view.sequences[at] += 1;
                events[at].push(event);
            }
            let topo_hash = view.topology.hash;
            events[at].push(Event::Tick { sequence: view.sequences[at], time_ms: now_ms, topo_hash });
            view.planes[at] = Arc::new(plane);
        }
        self.history.lock().keep(now_ms, view.topology.hash, &view.planes[By::Alert as usize].codes);
        self.metrics.servers.set(i64::from(view.topology.servers()));
        self.metrics.bytes.set((table_bytes + view.bytes() + self.history.lock().bytes()) as i64);
        *self.view.write() = Arc::new(view);
        for (at, events) in events.into_iter().enumerate() {
            let mut kept = self.kept[at].lock();
            for event in events {
                if !matches!(event, Event::Tick { .. }) {
                    kept.push_back(event.clone());
                    if kept.len() > KEPT_DELTAS {
                        kept.pop_front();
                    }
                }
                // An error says that nobody listens.
                drop(self.events[at].send(event));
            }
        }
    }

    /// Lays the fleet out anew. States carry over.
    fn rebuild(&self, view: &mut View, before: &View, table: &Table, now_ms: i64) {
        let hosts = hosts::find(table, &self.rules);
        let (topology, server_of) = Topology::build(table, &hosts);
        drop(hosts);
        let by_name: HashMap<&str, u32> =
            if before.epoch == table.epoch { HashMap::new() } else { before.topology.names().collect() };
        let old_of = |server: u32| -> Option<usize> {
            let old = if before.epoch == table.epoch {
                before.server_of.get(topology.main[server as usize] as usize).copied()
            } else {
                by_name.get(topology.name(server)).copied()
            };
            old.filter(|old| *old != hosts::NONE).map(|old| old as usize)
        };
        let mut planes = [0, 1].map(|_| Plane::new(topology.servers() as usize));
        for server in 0..topology.servers() {
            let Some(old) = old_of(server) else { continue };
            let new = server as usize;
            for (plane, was) in planes.iter_mut().zip(&before.planes) {
                plane.codes[new] = was.codes[old];
                plane.since[new] = was.since[old];
                plane.silenced.set(new, was.silenced.get(old));
            }
        }
        view.lookup = Arc::new(Lookup::new(table, &server_of, topology.names()));
        view.topology_bytes = Arc::new(codec::topology(&topology));
        view.topology = Arc::new(topology);
        view.planes = planes.map(Arc::new);
        view.server_of = Arc::new(server_of);
        view.changes = table.changes;
        view.epoch = table.epoch;
        view.built_ms = now_ms;
    }
}

impl View {
    fn bytes(&self) -> usize {
        self.topology.bytes()
            + self.lookup.bytes()
            + self.topology_bytes.len()
            + self.server_of.capacity() * 4
            + self.planes.iter().map(|plane| plane.bytes()).sum::<usize>()
    }
}

fn ended_early(err: tokio::task::JoinError) -> SeamError {
    SeamError::new(model::ErrorKind::Internal, format!("the fleet round ended early: {err}"))
}

impl Event {
    pub(crate) fn sequence(&self) -> u64 {
        match self {
            Self::Delta { sequence, .. } | Self::Tick { sequence, .. } | Self::Resync { sequence, .. } => {
                *sequence
            }
        }
    }
}

/// The event for what changed between two planes, `None` when nothing did.
fn change(old: &Plane, new: &Plane, sequence: u64) -> Option<Event> {
    let codes = codec::delta(&old.codes, &new.codes);
    let silenced = codec::delta_bits(&old.silenced, &new.silenced);
    if codes.is_empty() && silenced.is_empty() {
        return None;
    }
    if codes.len() + silenced.len() > MAX_DELTA_BYTES {
        return Some(Event::Resync { sequence, reason: "too_large" });
    }
    let silenced = (!silenced.is_empty()).then(|| base64(&silenced).into());
    Some(Event::Delta { sequence, codes: base64(&codes).into(), silenced })
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A server's code and since when, `None` when that is not known.
pub(crate) fn state_of(plane: &Plane, server: usize) -> (Code, Option<i64>) {
    (plane.codes[server], Some(i64::from(plane.since[server]) * 1000).filter(|since| *since != 0))
}
