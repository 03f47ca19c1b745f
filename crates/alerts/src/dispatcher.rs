//! The loop around [`Core`]: takes alerts in, sleeps until a group is due, stores what must survive, sends.
//!
//! What survives a crash: silences, the notification log and the active alerts, through [`StateStore`]. A notification
//! is claimed in the log before it is sent and settled after; when the store is down it is sent all the same and
//! counted: a duplicate beats silence. An alert that was firing before a restart counts as firing for the resolve
//! timeout after it, so that no crash resolves anything.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use model::seam::{BoxFuture, Expect, StateStore};
use model::{Alert, Clock, Labels, Notifier, SeamError, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{Config, Settings};
use crate::core::{Core, Due, Setup};
use crate::error::Error;
use crate::history::{Event, History, Kind};
use crate::journal::Journal;
use crate::message::{Data, Kv, Notification};
use crate::metrics::{IntegrationLabel, Metrics, ReasonLabel};
use crate::nflog::{self, Claim, Entry, NotificationLog, Reason};
use crate::notify::{self, Attempt, Failure, Integration};
use crate::render::Renderer;
use crate::route::Tree;
use crate::silence::{self, Silence, Silences};
use crate::store::Change;

/// Empty groups are dropped so often, as Alertmanager does.
const MAINTENANCE_MS: i64 = 30_000;
/// The first pause between attempts; each further one is half as long again, up to [`MAX_PAUSE_MS`].
const FIRST_PAUSE_MS: u64 = 500;
/// The longest pause between attempts.
const MAX_PAUSE_MS: u64 = 60_000;
/// So many alerts share one request to the state store.
const STORED_AT_ONCE: usize = 500;
/// So many fingerprints are kept with an event of the history.
const KEPT_FINGERPRINTS: usize = 100;

/// A test of a receiver takes no longer.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

const ALERTS: &str = "alerts";
const SILENCES: &str = "silences";
const NFLOG: &str = "nflog";

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

/// An active alert as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredAlert {
    labels: Labels,
    annotations: Labels,
    starts_at: Timestamp,
    ends_at: Timestamp,
    updated_at: Timestamp,
    generator_url: String,
    resolved: bool,
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
fn setup(config: Config, settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Arc<Setup>, Error> {
    let tree = Tree::new(&config.route).map_err(|reason| Error::Config { reason })?;
    let renderer = Renderer::with_texts(&config.templates, &config.template_texts, clock.clone())?;
    let receivers = notify::build(&config, settings, &renderer)?;
    Ok(Arc::new(Setup { config, tree, receivers, renderer, loaded_at: clock.now() }))
}

impl Dispatcher {
    /// Reads what was stored and starts the loop.
    ///
    /// # Errors
    /// `Config`, `Template` and `File` for the configuration, `State` when what is stored cannot be read.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let Parts { settings, config, state, journal, history, clock, metrics, seed } = parts;
        let setup = setup(config, &settings, &clock)?;
        let now = clock.now();
        let silences: Vec<Silence> = read_all(&*state, SILENCES, "reading silences").await?;
        let mut entries: Vec<Entry> = read_all(&*state, NFLOG, "reading the notification log").await?;
        if let Some(journal) = &journal {
            entries.iter_mut().for_each(|entry| entry.settle(|id| journal.has(id)));
        }
        let alerts: Vec<StoredAlert> = read_all(&*state, ALERTS, "reading active alerts").await?;
        let silences = Silences::new(silences, settings.max_silences, settings.max_silence_bytes);
        let grace = setup.config.global.resolve_timeout.ms();
        let mut core = Core::new(setup, silences, NotificationLog::new(entries), &settings)?;
        for stored in alerts {
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
    /// returns they are held, and stored unless the store is down.
    pub async fn receive(&self, alerts: Vec<(Alert, bool)>) -> Received {
        let inner = &self.0;
        let now = inner.clock.now();
        let mut received = Received::default();
        let mut to_store = Vec::new();
        let mut events = Vec::new();
        {
            let mut core = inner.core();
            for (alert, timeout) in alerts {
                let Some(arrival) = core.insert(alert, timeout, now) else {
                    received.shed += 1;
                    continue;
                };
                received.accepted += 1;
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
                    inner.metrics.group_limit.inc_by(arrival.no_group as u64);
                    let detail = json!({ "limit": "alerts.max_groups", "bound": inner.settings.max_groups });
                    events.push(Event::new(now, Kind::Shed, detail).alert(alert));
                }
                if arrival.change != Change::Refreshed {
                    to_store.push(stored(alert, alert.is_resolved(now)));
                }
            }
        }
        inner.metrics.received.inc_by(received.accepted as u64);
        if received.shed > 0 {
            inner
                .metrics
                .refused
                .get_or_create(&ReasonLabel { reason: "max_alerts" })
                .inc_by(received.shed as u64);
            tracing::error!(
                shed = received.shed,
                bound = inner.settings.max_alerts,
                "too many alerts; some were refused"
            );
            let detail = json!({ "limit": "alerts.max_alerts", "bound": inner.settings.max_alerts, "alerts": received.shed });
            events.push(Event::new(now, Kind::Shed, detail));
        }
        inner.note(events);
        inner.store_alerts(to_store).await;
        inner.wake.notify_one();
        received
    }

    /// Whether a configuration could be loaded: nothing changes.
    ///
    /// # Errors
    /// As [`Dispatcher::reload`].
    pub fn check(&self, config: Config) -> Result<(), Error> {
        let setup = setup(config, &self.0.settings, &self.0.clock)?;
        crate::inhibit::Inhibitor::new(&setup.config.inhibit_rules)
            .map_err(|reason| Error::Config { reason })?;
        Ok(())
    }

    /// Loads another configuration: all of it, or nothing when it is wrong.
    ///
    /// # Errors
    /// As [`Dispatcher::start`].
    pub fn reload(&self, config: Config) -> Result<(), Error> {
        let inner = &self.0;
        let now = inner.clock.now();
        let result =
            setup(config, &inner.settings, &inner.clock).and_then(|setup| inner.core().reload(setup, now));
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
        let mut data = Data::new(receiver, &inner.settings.external_url, &group, &[Arc::new(alert)], now);
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
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SplitMix64.
    fn draw(&self) -> u64 {
        mix(self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    fn note(&self, events: impl IntoIterator<Item = Event>) {
        if let Some(history) = &self.history {
            events.into_iter().for_each(|event| history.note(event));
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
                self.core().collect_groups();
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
                let resolved = due.flush.alerts.iter().filter(|alert| alert.is_resolved(due.flush.now));
                self.store_alerts(resolved.map(|alert| stored(alert, true)).collect()).await;
            }
            let next = self.core().flushed(&due.id, ok, now);
            self.wake.notify_one();
            match next {
                Some(next) => due = next,
                None => return,
            }
        }
    }

    /// Sends a flush through everything that mutes to the receiver; whether all of it has it.
    async fn pipeline(&self, due: &Due) -> bool {
        let (unmuted, setup) = {
            let mut core = self.core();
            (core.unmuted(due), core.setup.clone())
        };
        let now = due.flush.now;
        for (reason, count) in &unmuted.counts {
            self.metrics.suppressed.get_or_create(&ReasonLabel { reason }).inc_by(*count);
        }
        let receiver = &due.options.receiver;
        let muted = unmuted.newly_muted.iter().map(|(alert, cause)| {
            Event::new(now, Kind::Suppressed, json!({ "cause": cause }))
                .alert(alert)
                .group(&due.key, receiver)
        });
        self.note(muted);
        if unmuted.alerts.is_empty() {
            return true;
        }
        let Some(ways) = setup.receivers.get(receiver) else {
            tracing::error!(receiver, "no such receiver");
            return false;
        };
        let deliveries = ways.iter().map(|way| self.deliver(due, &setup, way, &unmuted.alerts));
        join_all(deliveries).await.into_iter().all(|ok| ok)
    }

    /// Tells one way of a receiver, when it must be told; whether it knows now.
    async fn deliver(&self, due: &Due, setup: &Setup, way: &Integration, alerts: &[Arc<Alert>]) -> bool {
        let now = due.flush.now;
        let receiver = &due.options.receiver;
        let key = nflog::key(&due.key, receiver, way.name, way.index);
        let (mut firing, mut resolved) = (BTreeSet::new(), BTreeSet::new());
        for alert in alerts {
            let set = if alert.is_resolved(now) { &mut resolved } else { &mut firing };
            set.insert(alert.labels.fingerprint());
        }
        let repeat = due.options.repeat_interval.ms();
        let before = self.core().nflog.get(&key).cloned();
        let Some(reason) = nflog::needs(before.as_ref(), &firing, &resolved, way.send_resolved, repeat, now)
        else {
            return true;
        };
        let mut entry = before.unwrap_or_else(|| Entry {
            group_key: due.key.clone(),
            receiver: receiver.clone(),
            integration: way.name.to_owned(),
            index: way.index,
            ..Entry::default()
        });
        // The same notification keeps its id over a crash, so that receivers can tell.
        let same = entry.claim.as_ref().filter(|claim| claim.firing == firing && claim.resolved == resolved);
        let id = same.map_or_else(
            || silence::uuid(u128::from(self.draw()) << 64 | u128::from(self.draw())),
            |c| c.id.clone(),
        );
        entry.expires_at = now + self.settings.retention.ms().min(2 * repeat).max(repeat);
        let nobody_to_tell = !way.send_resolved && firing.is_empty();
        if !nobody_to_tell {
            entry.claim = Some(Claim {
                id: id.clone(),
                owner: self.owner.clone(),
                at: now,
                firing: firing.clone(),
                resolved: resolved.clone(),
            });
            self.store_entry(&key, &entry).await;
            let told: Vec<Arc<Alert>> = match way.send_resolved {
                true => alerts.to_vec(),
                false => alerts.iter().filter(|alert| !alert.is_resolved(now)).cloned().collect(),
            };
            let mut data = Data::new(receiver, &self.settings.external_url, &due.labels, &told, now);
            data.notification_reason = reason.text().to_owned();
            let data = Arc::new(data);
            let labels = due.options.labels.iter().map(|(name, text)| {
                // A label that is no template, or a broken one, is shown as written.
                (name.clone(), setup.renderer.text(text, &data).unwrap_or_else(|_| text.clone()))
            });
            let labels = Kv(labels.collect());
            let mut data = Arc::unwrap_or_clone(data);
            data.route_labels = labels;
            let notification =
                Notification { id, group_key: due.key.clone(), reason, data: Arc::new(data), now };
            let arrived = self.attempts(due, way, &notification, &told).await;
            if let Some(journal) = self.journal.as_ref().filter(|_| arrived) {
                journal.arrived(&notification.id);
            }
            if !arrived {
                // What the receiver knows has not changed, as far as anybody can tell.
                entry.claim = None;
                self.store_entry(&key, &entry).await;
                return false;
            }
        }
        entry.claim = None;
        entry.at = Some(now);
        entry.firing = firing;
        entry.resolved = resolved;
        self.store_entry(&key, &entry).await;
        true
    }

    /// Attempts until one succeeds, one says that no further will, or the flush's time is over.
    async fn attempts(
        &self,
        due: &Due,
        way: &Integration,
        notification: &Notification,
        told: &[Arc<Alert>],
    ) -> bool {
        let label = IntegrationLabel { integration: way.name.to_owned() };
        self.metrics.notifications.get_or_create(&label).inc();
        // Waiting for the first turn is not the service's fault, and takes nothing of its time.
        let mut turn = Some(way.pace.turn().await);
        let deadline =
            Instant::now() + Duration::from_millis((due.flush.deadline - due.flush.now).max(0) as u64);
        let mut pause = FIRST_PAUSE_MS;
        let fingerprints: Vec<String> = told
            .iter()
            .take(KEPT_FINGERPRINTS)
            .map(|alert| format!("{:016x}", alert.labels.fingerprint()))
            .collect();
        let mut number = 0;
        loop {
            number += 1;
            let started = Instant::now();
            let attempt = {
                let first = turn.take();
                let timed = tokio::time::timeout_at(deadline, async {
                    let _turn = match first {
                        Some(turn) => turn,
                        None => way.pace.turn().await,
                    };
                    let Ok(_permit) = self.sending.acquire().await else {
                        return Err(Failure::permanent("the dispatcher has stopped"));
                    };
                    let _sending = Sending::new(&self.metrics);
                    way.sender.send(notification).await
                });
                timed.await.unwrap_or_else(|_| Err(Failure::transient("no answer within the group interval")))
            };
            let took = started.elapsed();
            self.metrics.attempts.get_or_create(&label).inc();
            self.metrics.attempt_duration.observe(took.as_secs_f64());
            let mut detail = json!({
                "integration": way.name, "index": way.index, "attempt": number, "reason": notification.reason,
                "id": notification.id, "durationMs": took.as_millis() as u64, "alerts": told.len(),
                "status": notification.data.status, "fingerprints": fingerprints,
            });
            let event = |kind, detail| {
                let event = Event::new(self.clock.now(), kind, detail).group(&due.key, &due.options.receiver);
                match told {
                    [only] => event.alert(only),
                    _ => event,
                }
            };
            let failure = match attempt {
                Ok(delivered) => {
                    detail["answer"] = delivered.answer.into();
                    detail["code"] = delivered.status.into();
                    self.note([event(Kind::Delivered, detail)]);
                    return true;
                }
                Err(failure) => failure,
            };
            self.metrics.attempts_failed.get_or_create(&label).inc();
            detail["answer"] = failure.message.clone().into();
            detail["code"] = failure.status.into();
            self.note([event(Kind::AttemptFailed, detail.clone())]);
            // Half as much more or less, so that many groups do not knock at once.
            let jitter = pause / 2 + self.draw() % pause;
            let wait = Duration::from_millis(jitter).max(failure.after.unwrap_or_default());
            if !failure.retry || Instant::now() + wait >= deadline {
                self.metrics.notifications_failed.get_or_create(&label).inc();
                self.note([event(Kind::GivenUp, detail)]);
                tracing::error!(
                    receiver = due.options.receiver,
                    integration = way.name,
                    group = due.key,
                    attempts = number,
                    error = failure.message,
                    "notification given up"
                );
                return false;
            }
            tracing::warn!(
                receiver = due.options.receiver,
                integration = way.name,
                attempt = number,
                error = failure.message,
                "notification failed, will retry"
            );
            tokio::time::sleep(wait).await;
            pause = (pause * 3 / 2).min(MAX_PAUSE_MS);
        }
    }

    /// Removes what is too old from memory and store.
    async fn collect(&self, now: Timestamp) {
        let (alerts, silences, entries) = {
            let mut core = self.core();
            let alerts = core.collect_alerts(now);
            let silences = core.silences.collectable(now, self.settings.retention.ms());
            core.silences.remove(&silences);
            let entries = core.nflog.collectable(now);
            core.nflog.remove(&entries);
            (alerts, silences, entries)
        };
        let alerts: Vec<String> =
            alerts.into_iter().map(|fingerprint| format!("{fingerprint:016x}")).collect();
        for (bucket, keys) in [(ALERTS, alerts), (SILENCES, silences), (NFLOG, entries)] {
            for keys in keys.chunks(STORED_AT_ONCE) {
                let entries: Vec<_> = keys.iter().map(|key| (key.clone(), None)).collect();
                self.checked(bucket, self.state.put_all(bucket, &entries).await);
            }
        }
        self.gauges();
    }

    fn checked<T>(&self, bucket: &str, result: Result<T, SeamError>) {
        if let Err(err) = result {
            self.metrics.state_failures.inc();
            tracing::error!(bucket, error = err.chain(), "the state store failed; going on without it");
        }
    }

    /// All requests at once, so that they share a commit.
    async fn store_alerts(&self, alerts: Vec<(String, Option<Vec<u8>>)>) {
        let requests = alerts.chunks(STORED_AT_ONCE).map(|alerts| self.state.put_all(ALERTS, alerts));
        for result in join_all(requests).await {
            self.checked(ALERTS, result);
        }
    }

    /// Memory first: when the store is down the log in memory still prevents duplicates.
    async fn store_entry(&self, key: &str, entry: &Entry) {
        self.core().nflog.put(entry.clone());
        match serde_json::to_vec(entry) {
            Ok(value) => self.checked(NFLOG, self.state.put(NFLOG, key, &value, Expect::Any).await),
            Err(err) => tracing::error!(error = %err, "a notification log entry cannot be written as JSON"),
        }
    }

    async fn store_silences(&self, silences: &[Silence]) -> Result<(), Error> {
        let entries: Vec<_> = silences
            .iter()
            .map(|silence| Ok((silence.id.clone(), Some(serde_json::to_vec(silence)?))))
            .collect::<Result<_, serde_json::Error>>()
            .map_err(|err| Error::Invalid(err.to_string()))?;
        self.state
            .put_all(SILENCES, &entries)
            .await
            .map_err(|source| Error::State { doing: "storing a silence", source })
    }
}

/// Counts a notification that is on its way, also when its future is dropped.
struct Sending<'a>(&'a Metrics);

impl<'a> Sending<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.sending.inc();
        Self(metrics)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.sending.dec();
    }
}

/// An alert under its key.
fn stored(alert: &Alert, resolved: bool) -> (String, Option<Vec<u8>>) {
    let stored = StoredAlert {
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        starts_at: alert.starts_at,
        ends_at: alert.ends_at,
        updated_at: alert.updated_at,
        generator_url: alert.generator_url.clone(),
        resolved,
    };
    let value = serde_json::to_vec(&stored).expect("texts and numbers can be written as JSON");
    (format!("{:016x}", alert.labels.fingerprint()), Some(value))
}

async fn read_all<T: serde::de::DeserializeOwned>(
    state: &dyn StateStore,
    bucket: &str,
    doing: &'static str,
) -> Result<Vec<T>, Error> {
    let found = state.list(bucket, "").await.map_err(|source| Error::State { doing, source })?;
    found
        .into_iter()
        .map(|(key, entry)| {
            serde_json::from_slice(&entry.value).map_err(|err| Error::State {
                doing,
                source: SeamError::with_source(
                    model::ErrorKind::Corrupt,
                    format!("{bucket}/{key} is not what was written; restore the state file"),
                    err,
                ),
            })
        })
        .collect()
}

/// The last step of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
