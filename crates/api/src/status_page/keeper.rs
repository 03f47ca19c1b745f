//! The rounds: asks how the components are, settles what is shown, books the time, keeps the incidents, publishes.
//!
//! Keys of the bucket `status_page`: `day/<component>/<day>`, `incident/<id>`, `event/<sequence>`, `hook/<id>`, `filled/<component>`.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Clock, ErrorKind, SeamError, StateStore, TenantId, Timestamp, Value};
use rules::{Evaluator, Query};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::config::StatusPageConfig;
use super::hooks::Hooks;
use super::judge::{self, Settled};
use super::publish::Published;
use super::shapes::{Component, DAY_MS, DAYS, Day, Impact, Incident, Snapshot, State, Status, Update};
use crate::error::{ApiError, ErrorType};
use crate::metrics::StatusPageMetrics;

pub(super) const BUCKET: &str = "status_page";
/// Step in which a new component is filled in from storage.
const FILL_STEP_MS: i64 = 300_000;
const MAX_UPDATES: usize = 200;
const MAX_TITLE: usize = 200;
const MAX_TEXT: usize = 4000;

/// What the page is made from.
pub struct Parts {
    /// Settings; there are components.
    pub config: StatusPageConfig,
    /// Who answers the components' expressions.
    pub evaluator: Arc<dyn Evaluator>,
    /// Parts of PromQL that are on.
    pub options: promql::Options,
    /// Where days and incidents are kept.
    pub state: Arc<dyn StateStore>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Where it is shown.
    pub published: Arc<Published>,
    /// What it measures of itself.
    pub metrics: StatusPageMetrics,
}

struct Held {
    settled: Settled,
    /// In order; those without knowledge are missing.
    days: Vec<Day>,
    /// Whether the last answer was an error, so that it is logged once.
    failing: bool,
}

struct Inner {
    components: Vec<Held>,
    incidents: BTreeMap<u64, Incident>,
    /// The last round.
    last: Option<Timestamp>,
}

/// Keeps the status page.
pub struct Keeper {
    config: StatusPageConfig,
    queries: Vec<Arc<Query>>,
    options: promql::Options,
    evaluator: Arc<dyn Evaluator>,
    state: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    published: Arc<Published>,
    metrics: StatusPageMetrics,
    inner: Mutex<Inner>,
    pub(crate) hooks: Hooks,
}

/// An incident as it is sent in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewIncident {
    pub(crate) title: String,
    pub(crate) impact: Impact,
    #[serde(default)]
    pub(crate) components: Vec<String>,
    pub(crate) status: Status,
    pub(crate) text: String,
    /// Of announced work.
    #[serde(default)]
    pub(crate) starts_ms: Option<i64>,
    #[serde(default)]
    pub(crate) ends_ms: Option<i64>,
}

/// An update as it is sent in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUpdate {
    pub(crate) status: Status,
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) impact: Option<Impact>,
    #[serde(default)]
    pub(crate) components: Option<Vec<String>>,
}

pub(super) fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, SeamError> {
    serde_json::from_slice(value).map_err(|err| {
        SeamError::new(ErrorKind::Corrupt, format!("{key} of the status page cannot be read: {err}"))
    })
}

pub(super) fn unwritable(err: &serde_json::Error) -> SeamError {
    SeamError::new(ErrorKind::Internal, format!("this cannot be written as JSON: {err}"))
}

type Entries = Vec<(String, Option<Vec<u8>>)>;

fn entry(key: String, value: &impl serde::Serialize) -> Result<(String, Option<Vec<u8>>), SeamError> {
    Ok((key, Some(serde_json::to_vec(value).map_err(|err| unwritable(&err))?)))
}

fn incident_key(id: u64) -> String {
    format!("incident/{id:016}")
}

impl Keeper {
    /// Reads what is kept.
    ///
    /// # Errors
    /// When the store fails or holds something else, or an expression is no PromQL.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, SeamError> {
        let Parts { config, evaluator, options, state, clock, published, metrics } = parts;
        let now = clock.now();
        let parse = |text: String| {
            Query::new(&text, &options)
                .map(Arc::new)
                .map_err(|err| SeamError::new(ErrorKind::Invalid, format!("status_page.components: {err}")))
        };
        let queries = config.components.iter().map(|one| parse(one.share())).collect::<Result<_, _>>()?;
        let mut components = Vec::with_capacity(config.components.len());
        for one in &config.components {
            let mut days: Vec<Day> = Vec::new();
            for (key, entry) in state.list(BUCKET, &format!("day/{}/", one.id)).await? {
                days.push(decode(&key, &entry.value)?);
            }
            days.sort_by_key(|day| day.day);
            components.push(Held { settled: Settled::new(now), days, failing: false });
        }
        let mut incidents = BTreeMap::new();
        for (key, entry) in state.list(BUCKET, "incident/").await? {
            let incident: Incident = decode(&key, &entry.value)?;
            incidents.insert(incident.id, incident);
        }
        let hooks =
            Hooks::open(Arc::clone(&state), Arc::clone(&clock), metrics.clone(), config.max_webhooks).await?;
        let inner = Mutex::new(Inner { components, incidents, last: None });
        let keeper =
            Self { config, queries, options, evaluator, state, clock, published, metrics, inner, hooks };
        Ok(Arc::new(keeper))
    }

    /// Fills new components in, then keeps the page until it is told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let delivering = Arc::clone(&self);
        let deliver = async move {
            if let Err(err) = delivering.hooks.run().await {
                tracing::error!(error = %err.chain(), "webhooks of the status page are not delivered");
            }
        };
        let rounds = async {
            if let Err(err) = self.round().await {
                tracing::error!(error = %err.chain(), "a round of the status page failed");
            }
            let mut every = tokio::time::interval(self.config.interval.to_std());
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                if let Err(err) = self.round().await {
                    tracing::error!(error = %err.chain(), "a round of the status page failed");
                }
            }
        };
        // Reading 90 days takes as long as it takes; the page goes on meanwhile.
        tokio::select! {
            () = stop.cancelled() => {}
            ((), (), ()) = async { tokio::join!(deliver, rounds, self.fill()) } => {}
        }
    }

    /// One round.
    ///
    /// # Errors
    /// When what it found cannot be kept; it is shown all the same.
    pub async fn round(&self) -> Result<(), SeamError> {
        let started = self.clock.now();
        let answers = self.evaluator.instant(&TenantId::default(), &self.queries, started).await;
        let mut inner = self.inner.lock().await;
        let now = self.clock.now();
        let mut entries = self.progress(&mut inner, now)?;
        let from = inner.last.filter(|last| now.ms() - last.ms() <= 3 * self.config.interval.ms());
        inner.last = Some(now);
        let Inner { components, incidents, .. } = &mut *inner;
        for ((config, held), answer) in self.config.components.iter().zip(components).zip(answers) {
            if let Some(from) = from {
                judge::book(&mut held.days, held.settled.shown, from, now);
                if let Some(today) = held.days.last() {
                    entries.push(entry(format!("day/{}/{:06}", config.id, today.day), today)?);
                }
                entries.extend(forget(&config.id, &mut held.days, now));
            }
            let share = match answer {
                Ok(points) => {
                    held.failing = false;
                    points.first().and_then(|point| match point.value {
                        Value::Float(value) => Some(value),
                        Value::Histogram(_) => None,
                    })
                }
                Err(err) => {
                    self.metrics.failures.inc();
                    if !std::mem::replace(&mut held.failing, true) {
                        tracing::warn!(component = config.id, error = %err.chain(), "a component of the status page cannot be judged");
                    }
                    None
                }
            };
            let said = judge::said(incidents.values(), &config.id, now);
            let before = held.settled.on(judge::measured(share, config), said, now);
            if let Some(before) = before {
                entries.extend(self.component_event(config, before, &held.settled));
            }
        }
        self.metrics.rounds.inc();
        let kept = self.state.put_all(BUCKET, &entries).await;
        self.show(&inner, now).await;
        drop(inner);
        self.hooks.nudge();
        kept
    }

    /// Announced work begins and ends by itself.
    fn progress(&self, inner: &mut Inner, now: Timestamp) -> Result<Entries, SeamError> {
        let mut entries = Entries::new();
        for one in inner.incidents.values_mut() {
            if one.impact != Impact::Maintenance || one.resolved_ms.is_some() {
                continue;
            }
            let (status, at, text) = match one.ends_ms {
                Some(end) if now.ms() >= end => (Status::Completed, end, "The announced time is over."),
                _ if one.status() == Status::Scheduled && now.ms() >= one.starts_ms => {
                    (Status::InProgress, one.starts_ms, "The announced work has begun.")
                }
                _ => continue,
            };
            one.updates.push(Update { at_ms: at, status, text: text.to_owned() });
            if status.is_end() {
                one.resolved_ms = Some(at);
            }
            entries.push(entry(incident_key(one.id), one)?);
            entries.extend(self.incident_event(one));
        }
        Ok(entries)
    }

    fn incident_event(&self, incident: &Incident) -> Entries {
        self.hooks.stage(json!({ "event": "incident", "page": self.page(), "incident": incident }))
    }

    fn component_event(
        &self,
        config: &super::config::ComponentConfig,
        before: State,
        now: &Settled,
    ) -> Entries {
        self.hooks.stage(json!({
            "event": "component",
            "page": self.page(),
            "component": {
                "id": config.id, "name": config.title(), "state": now.shown, "before": before, "since_ms": now.since_ms,
            },
        }))
    }

    fn page(&self) -> serde_json::Value {
        json!({ "title": self.config.title, "url": self.config.url })
    }

    fn snapshot_of(&self, inner: &Inner, now: Timestamp) -> Snapshot {
        let today = now.ms().div_euclid(DAY_MS);
        let span = i64::try_from(DAYS).unwrap_or(i64::MAX);
        let components = self.config.components.iter().zip(&inner.components).map(|(config, held)| {
            let day = |day: i64| match held.days.binary_search_by_key(&day, |one| one.day) {
                Ok(index) => held.days[index].clone(),
                Err(_) => Day::new(day),
            };
            Component {
                id: config.id.clone(),
                name: config.title().to_owned(),
                group: config.group.clone(),
                description: config.description.clone(),
                state: held.settled.shown,
                since_ms: held.settled.since_ms,
                days: (today - span + 1..=today).map(day).collect(),
            }
        });
        let since = now.ms() - span * DAY_MS;
        let known = inner.incidents.values().rev();
        let incidents = known.filter(|one| one.resolved_ms.is_none_or(|at| at >= since)).cloned().collect();
        Snapshot {
            title: self.config.title.clone(),
            about: self.config.about.clone(),
            url: self.config.url.clone(),
            generated_ms: now.ms(),
            interval_ms: self.config.interval.ms(),
            components: components.collect(),
            incidents,
        }
    }

    async fn show(&self, inner: &Inner, now: Timestamp) {
        let snapshot = self.snapshot_of(inner, now);
        let published = Arc::clone(&self.published);
        match tokio::task::spawn_blocking(move || published.publish(snapshot)).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => {
                tracing::error!(error = %err, "the copy of the status page cannot be written; it will be missing after a restart");
            }
            Err(err) => tracing::error!(error = %err, "the status page cannot be published"),
        }
    }

    /// What is shown.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.published.snapshot()
    }

    pub(crate) fn config(&self) -> &StatusPageConfig {
        &self.config
    }

    /// Fills components that were never judged in from storage, a day at a time.
    async fn fill(&self) {
        for index in 0..self.config.components.len() {
            if let Err(err) = self.fill_one(index).await {
                let component = &self.config.components[index].id;
                tracing::warn!(%component, error = %err.chain(), "a component of the status page has no past");
            }
        }
    }

    /// # Errors
    /// When the past cannot be read or kept.
    pub(super) async fn fill_one(&self, index: usize) -> Result<(), SeamError> {
        let config = &self.config.components[index];
        let marker = format!("filled/{}", config.id);
        if self.state.get(BUCKET, &marker).await?.is_some() {
            return Ok(());
        }
        let now = self.clock.now().ms();
        let today = now.div_euclid(DAY_MS);
        let span = i64::try_from(DAYS).unwrap_or(i64::MAX);
        let booked = |held: &Held| held.days.iter().find(|one| one.day == today).cloned();
        let before = booked(&self.inner.lock().await.components[index]).unwrap_or_else(|| Day::new(today));
        let mut found = Vec::new();
        for day in (today - span + 1)..=today {
            let (from, to) = (day * DAY_MS, now.min((day + 1) * DAY_MS));
            if to - from < FILL_STEP_MS {
                continue;
            }
            let seconds = (to - from) / 1000;
            let count = |test: String| format!("count_over_time(({}{test})[{seconds}s:5m])", config.share());
            let ask = [
                count(String::new()),
                count(format!(" >= {}", config.degraded_below)),
                count(format!(" < {}", config.outage_below)),
            ];
            let parse = |text: &String| {
                Query::new(text, &self.options)
                    .map(Arc::new)
                    .map_err(|err| SeamError::new(ErrorKind::Internal, format!("{text}: {err}")))
            };
            let queries = ask.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
            let answers = self.evaluator.instant(&TenantId::default(), &queries, Timestamp(to)).await;
            let mut counts = [0_i64; 3];
            for (count, answer) in counts.iter_mut().zip(answers) {
                if let Some(Value::Float(value)) = answer?.first().map(|point| point.value.clone()) {
                    *count = value as i64;
                }
            }
            let [all, ok, out] = counts.map(|count| count * FILL_STEP_MS);
            if all > 0 {
                let degraded_ms = (all - ok - out).max(0);
                found.push(Day { day, ok_ms: ok, degraded_ms, outage_ms: out, maintenance_ms: 0 });
            }
        }
        let mut inner = self.inner.lock().await;
        let held = &mut inner.components[index];
        let mut entries = vec![(marker, Some(now.to_string().into_bytes()))];
        let now_booked = booked(held);
        for mut day in found {
            if let Some(booked) = now_booked.as_ref().filter(|_| day.day == today) {
                day.add_since(booked, &before);
            }
            match held.days.binary_search_by_key(&day.day, |one| one.day) {
                Ok(known) => held.days[known] = day.clone(),
                Err(place) => held.days.insert(place, day.clone()),
            }
            entries.push(entry(format!("day/{}/{:06}", config.id, day.day), &day)?);
        }
        self.state.put_all(BUCKET, &entries).await
    }

    fn checked(&self, components: &[String], text: &str) -> Result<(), ApiError> {
        if let Some(unknown) =
            components.iter().find(|id| !self.config.components.iter().any(|one| one.id == **id))
        {
            return Err(ApiError::bad_data(format!(
                "there is no component {unknown:?}; there are: {}",
                self.config.components.iter().map(|one| one.id.as_str()).collect::<Vec<_>>().join(", ")
            )));
        }
        if text.trim().is_empty() || text.chars().count() > MAX_TEXT {
            return Err(ApiError::bad_data(format!("an update needs a text of 1 to {MAX_TEXT} characters")));
        }
        Ok(())
    }

    /// Opens an incident, or announces work.
    pub(crate) async fn open_incident(&self, new: NewIncident) -> Result<Incident, ApiError> {
        self.checked(&new.components, &new.text)?;
        let title = new.title.trim();
        if title.is_empty() || title.chars().count() > MAX_TITLE {
            return Err(ApiError::bad_data(format!(
                "an incident needs a title of 1 to {MAX_TITLE} characters"
            )));
        }
        let now = self.clock.now();
        let work = new.impact == Impact::Maintenance;
        fits(new.status, new.impact)?;
        let starts_ms = new.starts_ms.unwrap_or(now.ms());
        if work && new.ends_ms.is_none_or(|end| end <= starts_ms) {
            return Err(ApiError::bad_data("announced work needs ends_ms, after starts_ms"));
        }
        if !work && (new.ends_ms.is_some() || starts_ms > now.ms()) {
            return Err(ApiError::bad_data(
                "only announced work (impact: maintenance) has ends_ms or begins in the future",
            ));
        }
        let mut inner = self.inner.lock().await;
        let leaving = self.make_room(&inner)?;
        let mut entries: Entries = leaving.iter().map(|id| (incident_key(*id), None)).collect();
        let newest = inner.incidents.keys().next_back().copied().unwrap_or(0);
        let id = u64::try_from(now.ms()).unwrap_or(0).max(newest + 1);
        let incident = Incident {
            id,
            title: title.to_owned(),
            impact: new.impact,
            components: new.components,
            starts_ms,
            ends_ms: new.ends_ms,
            resolved_ms: new.status.is_end().then(|| now.ms()),
            updates: vec![Update { at_ms: now.ms(), status: new.status, text: new.text }],
        };
        entries.push(entry(incident_key(id), &incident)?);
        let incident = self.keep(&mut inner, incident, entries).await?;
        for id in leaving {
            inner.incidents.remove(&id);
        }
        Ok(incident)
    }

    /// Says more of an incident.
    pub(crate) async fn update_incident(&self, id: u64, new: NewUpdate) -> Result<Incident, ApiError> {
        self.checked(new.components.as_deref().unwrap_or_default(), &new.text)?;
        let now = self.clock.now();
        let mut inner = self.inner.lock().await;
        let known = inner.incidents.get(&id);
        let mut incident =
            known.cloned().ok_or_else(|| ApiError::not_found(format!("there is no incident {id}")))?;
        if incident.updates.len() >= MAX_UPDATES {
            let message = format!("the incident has {MAX_UPDATES} updates already: open another");
            return Err(ApiError::new(ErrorType::Execution, message));
        }
        if let Some(impact) = new.impact {
            if (impact == Impact::Maintenance) != (incident.impact == Impact::Maintenance) {
                return Err(ApiError::bad_data("an incident does not become announced work, or the reverse"));
            }
            incident.impact = impact;
        }
        fits(new.status, incident.impact)?;
        if let Some(components) = new.components {
            incident.components = components;
        }
        // One that is opened again is not over.
        incident.resolved_ms = new.status.is_end().then(|| now.ms());
        incident.updates.push(Update { at_ms: now.ms(), status: new.status, text: new.text });
        let entries = vec![entry(incident_key(id), &incident)?];
        self.keep(&mut inner, incident, entries).await
    }

    pub(crate) async fn delete_incident(&self, id: u64) -> Result<(), ApiError> {
        let mut inner = self.inner.lock().await;
        if !self.state.delete(BUCKET, &incident_key(id)).await? {
            return Err(ApiError::not_found(format!("there is no incident {id}")));
        }
        inner.incidents.remove(&id);
        self.say(&mut inner, self.clock.now()).await?;
        Ok(())
    }

    /// Stores an incident, tells who listens, and shows it.
    async fn keep(
        &self,
        inner: &mut Inner,
        incident: Incident,
        mut entries: Entries,
    ) -> Result<Incident, ApiError> {
        entries.extend(self.incident_event(&incident));
        self.state.put_all(BUCKET, &entries).await?;
        inner.incidents.insert(incident.id, incident.clone());
        self.say(inner, self.clock.now()).await?;
        self.hooks.nudge();
        Ok(incident)
    }

    /// Puts what incidents say in force, without a new measurement.
    async fn say(&self, inner: &mut Inner, now: Timestamp) -> Result<(), SeamError> {
        let Inner { components, incidents, .. } = &mut *inner;
        let mut entries = Entries::new();
        for (config, held) in self.config.components.iter().zip(components) {
            let said = judge::said(incidents.values(), &config.id, now);
            if let Some(before) = held.settled.say(said, now) {
                entries.extend(self.component_event(config, before, &held.settled));
            }
        }
        self.state.put_all(BUCKET, &entries).await?;
        self.show(inner, now).await;
        Ok(())
    }

    /// The oldest incidents that are over, as many as have to leave so that one more fits.
    fn make_room(&self, inner: &Inner) -> Result<Vec<u64>, ApiError> {
        let surplus = (inner.incidents.len() + 1).saturating_sub(self.config.max_incidents);
        let over = inner.incidents.values().filter(|one| one.resolved_ms.is_some());
        let leaving: Vec<u64> = over.map(|one| one.id).take(surplus).collect();
        if leaving.len() < surplus {
            let message = format!(
                "{} incidents are open (status_page.max_incidents): resolve some",
                self.config.max_incidents
            );
            return Err(ApiError::new(ErrorType::Execution, message));
        }
        Ok(leaving)
    }
}

/// Whether a status belongs to the kind of incident.
fn fits(status: Status, impact: Impact) -> Result<(), ApiError> {
    match (status.is_of_maintenance(), impact == Impact::Maintenance) {
        (true, false) => Err(ApiError::bad_data(
            "scheduled, in_progress and completed are for maintenance; an incident is investigating, identified, monitoring or resolved",
        )),
        (false, true) => Err(ApiError::bad_data("maintenance is scheduled, in_progress or completed")),
        _ => Ok(()),
    }
}

/// Days that are not shown any more.
fn forget(id: &str, days: &mut Vec<Day>, now: Timestamp) -> Entries {
    let first = now.ms().div_euclid(DAY_MS) - i64::try_from(DAYS).unwrap_or(i64::MAX) + 1;
    let old = days.partition_point(|day| day.day < first);
    days.drain(..old).map(|day| (format!("day/{id}/{:06}", day.day), None)).collect()
}
