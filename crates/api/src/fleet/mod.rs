//! The state of every server, for the heat map: topology from labels, state planes, deltas, a history of hours.
//!
//! A round reads the newest samples of `up` and the active alerts, computes a code for every server ([`round`]), and hands
//! the difference to everyone who listens. Memory is about 100 bytes a server. Byte layouts: `docs/formats/fleet.md`.

pub(crate) mod codec;
pub(crate) mod handlers;
pub(crate) mod history;
pub(crate) mod round;
pub(crate) mod topology;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::duration::PromDuration;
use model::seam::{Select, SelectHints};
use model::{Budget, Clock, Matcher, Querier, Samples, SeamError, TenantId};
use parking_lot::{Mutex, RwLock};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use codec::Code;
use history::History;
use round::{ActiveAlert, Plane};
use topology::{Server, Topology};

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
    /// Memory for the map's history, in bytes; the oldest frames go first.
    pub history_bytes: usize,
    /// Most bytes of memory for reading the state in one round.
    pub round_bytes: u64,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            interval: PromDuration(5_000),
            dead_after: 3,
            forget_after: PromDuration(3_600_000),
            history_bytes: 64 << 20,
            round_bytes: 512 << 20,
        }
    }
}

/// Between two rounds while no server is known.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How far back a round looks for a sample of `up`.
const LOOKBACK_MS: i64 = 300_000;
/// Small fleets are laid out anew whenever a server joins; large ones at most this often.
const REBUILD_MS: i64 = 60_000;
const SMALL_FLEET: usize = 2_000;
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
    pub(crate) index: Arc<HashMap<String, u32>>,
    pub(crate) topology_bytes: Arc<Vec<u8>>,
    /// By [`By`].
    pub(crate) planes: [Arc<Plane>; 2],
    pub(crate) sequences: [u64; 2],
    pub(crate) time_ms: i64,
    /// Active alerts by server index, worst first.
    pub(crate) alerts: Arc<HashMap<u32, Vec<ActiveAlert>>>,
    /// When each server was last seen, in milliseconds since the epoch.
    last_seen: Arc<Vec<i64>>,
    built_ms: i64,
}

/// Where the alerts that are active now come from.
pub(crate) type AlertFeed = Arc<dyn Fn() -> Vec<ActiveAlert> + Send + Sync>;

/// Computes, keeps and hands out the fleet's state.
pub(crate) struct Fleet {
    config: FleetConfig,
    querier: Arc<dyn Querier>,
    clock: Arc<dyn Clock>,
    tenant: TenantId,
    alerts: AlertFeed,
    view: RwLock<Arc<View>>,
    pub(crate) history: Mutex<History>,
    events: [broadcast::Sender<Event>; 2],
    kept: [Mutex<VecDeque<Event>>; 2],
}

impl Fleet {
    pub(crate) fn new(
        config: FleetConfig,
        querier: Arc<dyn Querier>,
        clock: Arc<dyn Clock>,
        alerts: AlertFeed,
    ) -> Arc<Self> {
        let history = Mutex::new(History::new(config.history_bytes));
        Arc::new(Self {
            config,
            querier,
            clock,
            tenant: TenantId::default(),
            alerts,
            view: RwLock::default(),
            history,
            events: [broadcast::channel(64).0, broadcast::channel(64).0],
            kept: Default::default(),
        })
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read())
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
        loop {
            let started = tokio::time::Instant::now();
            if let Err(err) = self.round().await {
                tracing::warn!(error = %err.chain(), "the fleet's state could not be computed");
            }
            // Never more than a tenth of one core.
            let pause =
                self.config.interval.to_std().max(started.elapsed() * 10).max(Duration::from_millis(100));
            tokio::time::sleep(pause).await;
        }
    }

    /// One round.
    pub(crate) async fn round(self: &Arc<Self>) -> Result<(), SeamError> {
        let now = self.clock.now();
        let budget =
            Budget::new("memory of a fleet round (fleet.round_bytes)", self.config.round_bytes, None);
        let select = Select {
            matchers: vec![Matcher::equal(model::labels::METRIC_NAME, "up")],
            start: now - LOOKBACK_MS,
            end: now,
            hints: SelectHints::default(),
        };
        let found = self.querier.select(&self.tenant, std::slice::from_ref(&select), &budget).await?;
        let fleet = Arc::clone(self);
        let worked = tokio::task::spawn_blocking(move || fleet.compute(&found[0], now.ms())).await;
        worked.map_err(|err| {
            SeamError::new(model::ErrorKind::Internal, format!("the fleet round ended early: {err}"))
        })?
    }

    fn compute(&self, found: &model::seam::Selected, now_ms: i64) -> Result<(), SeamError> {
        let before = self.view();
        let series = &found.series;
        let mut view = View::clone(&before);
        let rebuild_allowed =
            before.topology.list.len() < SMALL_FLEET || now_ms - before.built_ms >= REBUILD_MS;
        let joined = || {
            let known = |labels: &model::Labels| {
                let Some(name) = topology::server_name(labels) else { return true };
                let Some(&server) = before.index.get(name) else { return false };
                // A second job of a server that had one: its job is no longer part of what picks its series.
                let job = &before.topology.list[server as usize].job;
                job.is_none() || job.as_deref() == labels.get("job")
            };
            (0..series.len()).any(|i| !known(&series.labels(i)))
        };
        let forgotten = before.last_seen.iter().any(|seen| now_ms - seen > self.config.forget_after.ms());
        let rebuilt = rebuild_allowed && (forgotten || joined());
        if rebuilt {
            self.rebuild(&mut view, &before, series.as_ref(), now_ms);
        }
        let servers = view.topology.list.len();
        let mut last_seen = Vec::clone(&view.last_seen);
        let mut targets = Vec::with_capacity(series.len());
        let mut samples = Samples::default();
        for i in 0..series.len() {
            let labels = series.labels(i);
            let Some(&server) = topology::server_name(&labels).and_then(|name| view.index.get(name)) else {
                continue;
            };
            series.read(i, &mut samples)?;
            let outside = samples.times.partition_point(|time| *time <= now_ms - LOOKBACK_MS);
            if outside > 0 {
                samples.times.drain(..outside);
                samples.values.drain(..outside);
            }
            if let Some(time) = samples.times.last() {
                last_seen[server as usize] = last_seen[server as usize].max(*time);
            }
            targets.push((server, round::target_code(&samples, self.config.dead_after)));
        }
        let up = round::up_codes(servers, targets.into_iter());
        let mut alerts = (self.alerts)();
        alerts.sort_by_key(|alert| std::cmp::Reverse(alert.code().rank()));
        let (alert, silenced) = round::alert_codes(&up, &view.index, &alerts);
        let mut by_server: HashMap<u32, Vec<ActiveAlert>> = HashMap::new();
        for active in alerts {
            if let Some(&server) = view.index.get(&active.server) {
                by_server.entry(server).or_default().push(active);
            }
        }
        view.alerts = Arc::new(by_server);
        view.last_seen = Arc::new(last_seen);
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
        Ok(())
    }

    /// Lays the fleet out anew: everyone with a sample now, and those seen lately. States carry over by name.
    fn rebuild(&self, view: &mut View, before: &View, series: &dyn model::seam::SeriesSet, now_ms: i64) {
        let labels: Vec<model::Labels> = (0..series.len()).map(|i| series.labels(i)).collect();
        let mut servers = topology::servers(labels.iter());
        let here: std::collections::HashSet<String> =
            servers.iter().map(|server| server.name.clone()).collect();
        let lately = |i: usize| now_ms - before.last_seen[i] <= self.config.forget_after.ms();
        let gone = before.topology.list.iter().enumerate();
        let kept: Vec<Server> = gone
            .filter(|(i, server)| !here.contains(&server.name) && lately(*i))
            .map(|(_, server)| server.clone())
            .collect();
        servers.extend(kept);
        let topology = Topology::build(servers);
        let mut planes = [Plane::new(topology.list.len()), Plane::new(topology.list.len())];
        let mut last_seen = vec![now_ms; topology.list.len()];
        for (new, server) in topology.list.iter().enumerate() {
            let Some(&old) = before.index.get(&server.name) else { continue };
            let old = old as usize;
            last_seen[new] = before.last_seen[old];
            for (plane, was) in planes.iter_mut().zip(&before.planes) {
                plane.codes[new] = was.codes[old];
                plane.since[new] = was.since[old];
                plane.silenced.set(new, was.silenced.get(old));
            }
        }
        view.index = Arc::new(round::index(&topology));
        view.topology_bytes = Arc::new(codec::topology(&topology));
        view.topology = Arc::new(topology);
        view.planes = planes.map(Arc::new);
        view.last_seen = Arc::new(last_seen);
        view.built_ms = now_ms;
    }
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
    (plane.codes[server], Some(plane.since[server]).filter(|since| *since != 0))
}
