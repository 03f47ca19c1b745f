//! The loop around [`Core`]: takes alerts in, sleeps until a group is due, stores what must survive, sends.
//!
//! What survives a crash: silences, the notification log and the active alerts, through [`StateStore`]. A notification
//! is claimed in the log before it is sent and settled after; when the store is down it is sent all the same and
//! counted: a duplicate beats silence. An alert that was firing before a restart counts as firing for the resolve
//! timeout after it, so that no crash resolves anything.

mod deliver;
mod stored;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use model::seam::{BoxFuture, StateStore};
use model::{Alert, Clock, Labels, Notifier, SeamError, TenantId, Timestamp};
use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use self::stored::{ALERTS, NFLOG, SILENCES, StoredAlert, misplaced, read_all, read_keyed, stored};
use crate::config::{Config, Settings};
use crate::core::{Core, Due, Setup};
use crate::error::Error;
use crate::history::{Event, History, Kind};
use crate::journal::Journal;
use crate::message::{Data, Notification};
use crate::metrics::{Metrics, ReasonLabel};
use crate::nflog::{Entry, NotificationLog, Reason};
use crate::notify::{self, Attempt, Failure};
use crate::render::Renderer;
use crate::route::Tree;
use crate::silence::{self, Silence, Silences};
use crate::store::{Change, Key};

/// Empty groups are dropped so often, as Alertmanager does.
const MAINTENANCE_MS: i64 = 30_000;
/// So many alerts are taken in before others have their turn; fewer are in one group before it can be told.
const RECEIVED_AT_ONCE: usize = 10_000;
/// A test of a receiver takes no longer.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What a dispatcher is made of.
pub struct Parts {
    /// Our settings.
    pub settings: Settings,
    /// Alertmanager's file, or [`Config::record_only`].
    pub config: Config,
    /// Where silences, the notification log and active alerts are kept.
    pub state: Arc<dyn StateStore>,
    /// Which notifications arrived just before a crash.
    pub journal: Option<Journal>,
    /// Where events go.
    pub history: Option<Arc<History>>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Figures.
    pub metrics: Metrics,
    /// Of the ids that are drawn; another one for every start.
    pub seed: u64,
}

/// The alert manager. Cheap to clone; it runs until [`Dispatcher::stop`].
#[derive(Clone)]
pub struct Dispatcher(Arc<Inner>);

struct Inner {
    core: Mutex<Core>,
    wake: Notify,
    settings: Settings,
    state: Arc<dyn StateStore>,
    journal: Option<Journal>,
    history: Option<Arc<History>>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// This process, in claims.
    owner: String,
    random: AtomicU64,
    sending: Semaphore,
    /// One edit of silences at a time: each is decided, stored and applied before the next.
    editing: tokio::sync::Mutex<()>,
    /// When the loop last went round, in milliseconds.
    last_round: AtomicI64,
    stopping: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
}

/// What became of alerts that were taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// So many are held.
    pub accepted: usize,
    /// So many were refused because there is no place for them.
    pub shed: usize,
}

/// Builds what comes from a configuration.
fn setup(
    config: Config,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    state: &Arc<dyn StateStore>,
) -> Result<Arc<Setup>, Error> {
    let tree = Tree::new(&config.route).map_err(Error::config)?;
    let renderer = Renderer::with_texts(&config.templates, &config.template_texts, clock.clone())?;
    let receivers = notify::build(&config, settings, &renderer, state)?;
    Ok(Arc::new(Setup { config, tree, receivers, renderer, loaded_at: clock.now() }))
}

impl Dispatcher {
    /// Reads what was stored and starts the loop.
    ///
    /// # Errors
    /// `Config`, `Template` and `File` for the configuration, `State` when what is stored cannot be read.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let Parts { settings, config, state, journal, history, clock, metrics, seed } = parts;
        let setup = setup(config, &settings, &clock, &state)?;
        let now = clock.now();
        let silences: Vec<Silence> = read_all(&*state, SILENCES, "reading silences").await?;
        let mut entries: Vec<Entry> = read_all(&*state, NFLOG, "reading the notification log").await?;
        if let Some(journal) = &journal {
            entries.iter_mut().for_each(|entry| entry.settle(|id| journal.has(id)));
        }
        let alerts: Vec<(String, StoredAlert)> = read_keyed(&*state, ALERTS, "reading active alerts").await?;
        let silences = Silences::new(silences, settings.max_silences, settings.max_silence_bytes);
        let grace = setup.config.global.resolve_timeout.ms();
        let mut core = Core::new(setup, silences, NotificationLog::new(entries), &settings)?;
        for (key, stored) in alerts {
            let key = Key::read(&key, stored.labels.fingerprint()).ok_or_else(|| misplaced(ALERTS, &key))?;
            let ends_at = if stored.resolved { stored.ends_at } else { stored.ends_at.max(now + grace) };
            let alert = Alert {
                labels: stored.labels,
                annotations: stored.annotations,
                starts_at: stored.starts_at,
                ends_at,
                updated_at: stored.updated_at,
                generator_url: stored.generator_url,
            };
            // What was stored fitted then; a smaller bound now keeps the rest for later arrivals to refuse.
            if core.insert(alert, true, now).is_none() {
                metrics.refused.get_or_create(&ReasonLabel { reason: "max_alerts" }).inc();
            }
            core.store.set_key(key);
        }
        metrics.config_good.set(1);
        let inner = Arc::new(Inner {
            core: Mutex::new(core),
            wake: Notify::new(),
            sending: Semaphore::new(settings.max_sending.max(1)),
            editing: tokio::sync::Mutex::new(()),
            settings,
            state,
            journal,
            history,
            clock,
            metrics,
            owner: format!("{:016x}", mix(seed)),
            random: AtomicU64::new(mix(seed ^ 0x5bf0_3635)),
            last_round: AtomicI64::new(now.ms()),
            stopping: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
        });
        inner.gauges();
        tokio::spawn(inner.clone().run());
        Ok(Self(inner))
    }

    /// Stops taking timers and waits for what is on its way, at most `grace`; the rest stays claimed and is sent again
    /// after the next start.
    pub async fn stop(&self, grace: Duration) {
        self.0.stopping.send_replace(true);
        let mut stopped = self.0.stopped.subscribe();
        let ended = tokio::time::timeout(grace, stopped.wait_for(|stopped| *stopped)).await;
        if ended.is_err() {
            tracing::warn!(
                "notifications were still on their way at the end; they are sent again after the next start"
            );
        }
    }

    /// Takes alerts in; the flag says that an end is only the time by which the alert must be sent again. When this
    /// returns they are held, and stored unless the store is down. As fast as the history takes what happens: a storm waits
    /// here, and is asked to wait before anything is held.
    pub async fn receive(&self, mut alerts: Vec<(Alert, bool)>) -> Received {
        let inner = &self.0;
        let mut received = Received::default();
        loop {
            let rest = alerts.split_off(alerts.len().min(RECEIVED_AT_ONCE));
            let turn = match &inner.history {
                Some(history) => Some(history.turn().await),
                None => None,
            };
            let (some, events, to_store) = inner.hold(alerts);
            if let Some(turn) = turn {
                turn.note(events);
            }
            inner.store_alerts(to_store).await;
            received.accepted += some.accepted;
            received.shed += some.shed;
            inner.wake.notify_one();
            if rest.is_empty() {
                return received;
            }
            alerts = rest;
        }
    }

    /// Whether a configuration could be loaded: nothing changes.
    ///
    /// # Errors
    /// As [`Dispatcher::reload`].
    pub fn check(&self, config: Config) -> Result<(), Error> {
        let setup = setup(config, &self.0.settings, &self.0.clock, &self.0.state)?;
        crate::inhibit::Inhibitor::new(&setup.config.inhibit_rules).map_err(Error::config)?;
        Ok(())
    }

    /// Loads another configuration: all of it, or nothing when it is wrong.
    ///
    /// # Errors
    /// As [`Dispatcher::start`].
    pub fn reload(&self, config: Config) -> Result<(), Error> {
        let inner = &self.0;
        let now = inner.clock.now();
        let result = setup(config, &inner.settings, &inner.clock, &inner.state)
            .and_then(|setup| inner.core().reload(setup, now));
        inner.metrics.config_good.set(i64::from(result.is_ok()));
        let detail = match &result {
            Ok(()) => json!({ "loaded": true }),
            Err(err) => json!({ "loaded": false, "error": err.to_string() }),
        };
        inner.note([Event::new(now, Kind::Config, detail)]);
        inner.wake.notify_one();
        result
    }

    /// Creates (empty id) or edits a silence; its id.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `Limit`; `State` when it cannot be stored: then nothing has changed.
    pub async fn set_silence(&self, silence: Silence) -> Result<String, Error> {
        let inner = &self.0;
        let now = inner.clock.now();
        let id = silence::uuid(u128::from(inner.draw()) << 64 | u128::from(inner.draw()));
        let _editing = inner.editing.lock().await;
        let changes = inner.core().silences.set(silence, now, &id)?;
        inner.store_silences(&changes).await?;
        let id = changes.last().map(|silence| silence.id.clone()).unwrap_or_default();
        let events = changes.iter().map(|silence| Event::new(now, Kind::Silence, json!(silence)));
        inner.note(events.collect::<Vec<_>>());
        inner.core().silences.apply(changes);
        inner.gauges();
        Ok(id)
    }

    /// Ends a silence; one that has ended stays as it is.
    ///
    /// # Errors
    /// `NotFound`; `State` when that cannot be stored: then nothing has changed.
    pub async fn expire_silence(&self, id: &str) -> Result<(), Error> {
        let inner = &self.0;
        let now = inner.clock.now();
        let _editing = inner.editing.lock().await;
        let Some(change) = inner.core().silences.expire(id, now)? else { return Ok(()) };
        inner.store_silences(std::slice::from_ref(&change)).await?;
        inner.note([Event::new(now, Kind::Silence, json!(change))]);
        inner.core().silences.apply([change]);
        Ok(())
    }

    /// Sends a test alert through every way of a receiver, once, and says what each answered.
    ///
    /// # Errors
    /// `NotFound` for an unknown receiver.
    pub async fn send_test(&self, receiver: &str, labels: Labels) -> Result<Vec<(String, Attempt)>, Error> {
        let inner = &self.0;
        let setup = inner.core().setup.clone();
        let ways = setup
            .receivers
            .get(receiver)
            .ok_or_else(|| Error::NotFound(format!("there is no receiver {receiver:?}")))?;
        let now = inner.clock.now();
        let annotations = Labels::from_pairs([("summary", "This is a test. Nothing is wrong.")]);
        let alert = Alert {
            labels,
            annotations,
            starts_at: now,
            ends_at: Timestamp::MAX,
            updated_at: now,
            generator_url: String::new(),
        };
        let group = alert.labels.clone();
        let mut data = Data::new(receiver, &inner.settings.external_url, &group, &[Arc::new(alert)], 1, now);
        data.notification_reason = Reason::FirstNotification.text().to_owned();
        let notification = Notification {
            id: format!("test-{:016x}", inner.draw()),
            group_key: format!("test:{group}"),
            reason: Reason::FirstNotification,
            data: Arc::new(data),
            now,
        };
        let attempts = ways.iter().map(|way| async {
            let timed = tokio::time::timeout(TEST_TIMEOUT, way.sender.send(&notification));
            let attempt = timed.await.unwrap_or_else(|_| {
                Err(Failure::transient(format!("no answer within {} s", TEST_TIMEOUT.as_secs())))
            });
            (format!("{}[{}]", way.name, way.index), attempt)
        });
        let attempts = join_all(attempts).await;
        let events = attempts.iter().map(|(way, attempt)| {
            let (delivered, code, answer) = match attempt {
                Ok(delivered) => (true, delivered.status, &delivered.answer),
                Err(failure) => (false, failure.status, &failure.message),
            };
            let detail = json!({ "way": way, "delivered": delivered, "code": code, "answer": answer });
            Event::new(now, Kind::Test, detail).group("", receiver)
        });
        inner.note(events.collect::<Vec<_>>());
        Ok(attempts)
    }

    /// What keeps the loop from going round, if anything does.
    ///
    /// # Errors
    /// When it has not gone round for four times as long as it ever sleeps.
    pub fn check_alive(&self) -> Result<(), String> {
        let since = self.0.clock.now().ms() - self.0.last_round.load(Ordering::Relaxed);
        match since > 4 * MAINTENANCE_MS {
            true => Err(format!("the alert manager has not gone round for {} s", since / 1000)),
            false => Ok(()),
        }
    }

    /// Looks at what is known, under its lock: be short.
    pub fn look<T>(&self, look: impl FnOnce(&Core, Timestamp) -> T) -> T {
        let now = self.0.clock.now();
        look(&self.0.core(), now)
    }

    /// Our settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The history, when there is one.
    pub fn history(&self) -> Option<&Arc<History>> {
        self.0.history.as_ref()
    }

    /// The time now, by the dispatcher's clock.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Figures.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

impl Notifier for Dispatcher {
    /// All tenants share one alert manager: an alert's labels say whose it is.
    fn notify<'a>(
        &'a self,
        _tenant: &'a TenantId,
        alerts: Vec<Alert>,
    ) -> BoxFuture<'a, Result<(), SeamError>> {
        Box::pin(async move {
            let alerts = alerts.into_iter().map(|alert| (alert, false)).collect();
            let received = self.receive(alerts).await;
            if received.shed > 0 {
                let bound = self.0.settings.max_alerts;
                let text = format!("{} alerts refused: alerts.max_alerts ({bound}) are held", received.shed);
                return Err(SeamError::new(model::ErrorKind::Unavailable, text));
            }
            Ok(())
        })
    }
}

impl Inner {
    /// Holds alerts: what became of them, what is to be noted, what is to be stored.
    fn hold(&self, alerts: Vec<(Alert, bool)>) -> (Received, Vec<Event>, Vec<(String, Option<Vec<u8>>)>) {
        let now = self.clock.now();
        let mut received = Received::default();
        let mut arrivals = Vec::with_capacity(alerts.len());
        {
            let mut core = self.core();
            for (alert, timeout) in alerts {
                match core.insert(alert, timeout, now) {
                    Some(arrival) => arrivals.push(arrival),
                    None => received.shed += 1,
                }
            }
        }
        // Texts are made without the lock, so that a storm keeps nobody from asking.
        received.accepted = arrivals.len();
        let (mut events, mut to_store) = (Vec::with_capacity(2 * arrivals.len()), Vec::new());
        for arrival in arrivals {
            let alert = &arrival.alert;
            let kind = match arrival.change {
                Change::Fired => Some(Kind::Firing),
                Change::Resolved => Some(Kind::Resolved),
                Change::Edited | Change::Refreshed => None,
            };
            if let Some(kind) = kind {
                let detail = json!({ "labels": alert.labels, "annotations": alert.annotations,
                    "startsAt": alert.starts_at, "endsAt": alert.ends_at });
                events.push(Event::new(now, kind, detail).alert(alert));
            }
            for (key, receiver) in &arrival.joined {
                events.push(Event::new(now, Kind::Grouped, json!({})).alert(alert).group(key, receiver));
            }
            if arrival.no_group > 0 {
                self.metrics.group_limit.inc_by(arrival.no_group as u64);
                let detail = json!({ "limit": "alerts.max_groups", "bound": self.settings.max_groups });
                events.push(Event::new(now, Kind::Shed, detail).alert(alert));
            }
            if arrival.change != Change::Refreshed {
                to_store.push(stored(arrival.key, alert, alert.is_resolved(now)));
            }
        }
        self.metrics.received.inc_by(received.accepted as u64);
        if received.shed > 0 {
            let (shed, bound) = (received.shed, self.settings.max_alerts);
            self.metrics.refused.get_or_create(&ReasonLabel { reason: "max_alerts" }).inc_by(shed as u64);
            tracing::error!(shed, bound, "too many alerts; some were refused");
            let detail = json!({ "limit": "alerts.max_alerts", "bound": bound, "alerts": shed });
            events.push(Event::new(now, Kind::Shed, detail));
        }
        (received, events, to_store)
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SplitMix64.
    fn draw(&self) -> u64 {
        mix(self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    /// Notes what somebody did.
    fn note(&self, events: impl IntoIterator<Item = Event>) {
        if let Some(history) = &self.history {
            events.into_iter().for_each(|event| history.note(event));
        }
    }

    /// Notes what happened to alerts, as fast as the history takes it.
    async fn note_all(&self, events: Vec<Event>) {
        if let Some(history) = &self.history {
            history.note_all(events).await;
        }
    }

    fn gauges(&self) {
        let core = self.core();
        self.metrics.alerts.set(core.store.len() as i64);
        self.metrics.groups.set(core.group_count() as i64);
        self.metrics.silences.set(core.silences.iter().count() as i64);
        self.metrics.nflog_entries.set(core.nflog.len() as i64);
    }

    /// The loop.
    async fn run(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        let mut tasks = JoinSet::new();
        let start = self.clock.now();
        let mut next_maintenance = start + MAINTENANCE_MS;
        let mut next_gc = start + self.settings.gc_interval.ms().max(1);
        while !*stopping.borrow() {
            let now = self.clock.now();
            self.last_round.store(now.ms(), Ordering::Relaxed);
            let (due, mut next) = {
                let mut core = self.core();
                (core.tick(now), core.next_timer().unwrap_or(Timestamp::MAX))
            };
            for due in due {
                tasks.spawn(self.clone().flush(due));
            }
            if now >= next_maintenance {
                next_maintenance = now + MAINTENANCE_MS;
                self.core().collect_groups(now);
                self.gauges();
            }
            if now >= next_gc {
                next_gc = now + self.settings.gc_interval.ms().max(1);
                self.collect(now).await;
            }
            next = next.min(next_maintenance).min(next_gc);
            let pause = Duration::from_millis((next - now).clamp(0, MAINTENANCE_MS) as u64);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
                Some(result) = tasks.join_next() => self.ended(result),
                // An error means that every dispatcher is gone.
                result = stopping.changed() => if result.is_err() { break },
            }
        }
        while let Some(result) = tasks.join_next().await {
            self.ended(result);
        }
        self.stopped.send_replace(true);
    }

    fn ended(&self, result: Result<(), tokio::task::JoinError>) {
        if let Err(err) = result {
            tracing::error!(error = %err, "the task of a flush failed");
        }
    }

    /// One flush, and those that became due meanwhile.
    async fn flush(self: Arc<Self>, mut due: Due) {
        loop {
            // A panic ends this flush only; its group flushes again at its next interval.
            let ok = AssertUnwindSafe(self.pipeline(&due)).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!(group = due.key, "a flush ended by a panic");
                false
            });
            let now = self.clock.now();
            if ok {
                let resolved: Vec<_> = {
                    let core = self.core();
                    let told = due.flush.alerts.iter().filter(|alert| alert.is_resolved(due.flush.now));
                    // One that is gone already is not stored again.
                    told.filter_map(|alert| Some((core.store.key(alert.labels.fingerprint())?, alert)))
                        .collect()
                };
                let resolved = resolved.into_iter().map(|(key, alert)| stored(key, alert, true));
                self.store_alerts(resolved.collect()).await;
            }
            let next = self.core().flushed(&due.id, ok, now);
            self.wake.notify_one();
            match next {
                Some(next) => due = next,
                None => return,
            }
        }
    }
}

/// The last step of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
