//! One group of alerts as a state machine: events in, effects out, no clock and no I/O.
//!
//! A new group waits `group_wait` before its first flush, or flushes at once when an alert has been firing for longer
//! than that; from then on it flushes every `group_interval`. One flush at a time: a timer that passes while one is on
//! its way starts the next as soon as that ends. A flush hands out every alert of the group; resolved ones leave the
//! group when the flush succeeded and they have not changed meanwhile. Whether a flush becomes a notification is the
//! notification log's decision ([`crate::nflog`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Alert, Labels, Timestamp};

use crate::route::RouteOptions;

/// A notification has at least so long, however short the group interval, in milliseconds.
pub const MIN_TIMEOUT_MS: i64 = 10_000;

/// What happens to a group.
#[derive(Clone, Debug)]
pub enum Event {
    /// An alert of the group is new or has changed.
    Insert(Arc<Alert>),
    /// Time has passed.
    Tick,
    /// The flush that was handed out has ended; whether every receiver has it.
    Flushed {
        /// Whether every receiver has it.
        ok: bool,
    },
}

/// What the group wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send [`Event::Tick`] at this time.
    Wake(Timestamp),
    /// Send the alerts through the pipeline and answer with [`Event::Flushed`].
    Flush(Flush),
}

/// The alerts of a group at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Flush {
    /// Sorted by `job`, `instance`, then labels. A firing alert's `ends_at` is [`Timestamp::MAX`], so that it does not
    /// resolve on the way.
    pub alerts: Vec<Arc<Alert>>,
    /// The moment.
    pub now: Timestamp,
    /// Attempts end here.
    pub deadline: Timestamp,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// What its alerts share.
    pub labels: Labels,
    /// Alertmanager's text for it: the route's key, a colon, the labels.
    pub key: String,
    /// The route's options.
    pub options: Arc<RouteOptions>,
    alerts: BTreeMap<u64, Arc<Alert>>,
    next_flush: Timestamp,
    has_flushed: bool,
    /// Fingerprint and `updated_at` of the resolved alerts on their way.
    on_its_way: Option<Vec<(u64, Timestamp)>>,
}

impl Group {
    /// An empty group; it flushes `group_wait` after `now`.
    pub fn new(labels: Labels, route_key: &str, options: Arc<RouteOptions>, now: Timestamp) -> Self {
        let key = format!("{route_key}:{labels}");
        let next_flush = now + options.group_wait.ms();
        Self {
            labels,
            key,
            options,
            alerts: BTreeMap::new(),
            next_flush,
            has_flushed: false,
            on_its_way: None,
        }
    }

    /// Whether it has no alerts and nothing on its way.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty() && self.on_its_way.is_none()
    }

    /// Its alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &Arc<Alert>> {
        self.alerts.values()
    }

    /// Whether it holds the alert of this fingerprint.
    pub fn contains(&self, fingerprint: u64) -> bool {
        self.alerts.contains_key(&fingerprint)
    }

    /// When it flushes next.
    pub fn next_flush(&self) -> Timestamp {
        self.next_flush
    }

    /// Takes an event in and says what to do.
    pub fn on(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        match event {
            Event::Insert(alert) => {
                let overdue = alert.starts_at + self.options.group_wait.ms() < now;
                self.alerts.insert(alert.labels.fingerprint(), alert);
                if !self.has_flushed && overdue && self.next_flush > now {
                    self.next_flush = now;
                }
                vec![Effect::Wake(self.next_flush)]
            }
            Event::Tick => self.tick(now),
            Event::Flushed { ok } => {
                let resolved = self.on_its_way.take().unwrap_or_default();
                if ok {
                    for (fingerprint, updated_at) in resolved {
                        if self.alerts.get(&fingerprint).is_some_and(|alert| alert.updated_at == updated_at) {
                            self.alerts.remove(&fingerprint);
                        }
                    }
                }
                self.tick(now)
            }
        }
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.on_its_way.is_some() {
            return vec![];
        }
        if now < self.next_flush {
            return vec![Effect::Wake(self.next_flush)];
        }
        let interval = self.options.group_interval.ms();
        // After a pause of the machine the beat starts anew instead of catching up.
        self.next_flush = now + interval;
        self.has_flushed = true;
        let wake = Effect::Wake(self.next_flush);
        if self.alerts.is_empty() {
            return vec![wake];
        }
        let mut resolved = Vec::new();
        let mut alerts = Vec::with_capacity(self.alerts.len());
        for (fingerprint, alert) in &self.alerts {
            if alert.is_resolved(now) {
                resolved.push((*fingerprint, alert.updated_at));
                alerts.push(alert.clone());
            } else {
                alerts.push(Arc::new(Alert { ends_at: Timestamp::MAX, ..Alert::clone(alert) }));
            }
        }
        alerts.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| before(&a.labels, &b.labels)));
        self.on_its_way = Some(resolved);
        let deadline = now + interval.max(MIN_TIMEOUT_MS);
        vec![Effect::Flush(Flush { alerts, now, deadline }), wake]
    }
}

/// By `job`, then `instance`; alerts without one come after those with.
fn order(alert: &Alert) -> [(bool, &str); 2] {
    ["job", "instance"].map(|name| {
        let value = alert.labels.get(name);
        (value.is_none(), value.unwrap_or_default())
    })
}

/// Alertmanager's order of label sets: shorter first, then by the first name or value that differs.
fn before(a: &Labels, b: &Labels) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.iter().cmp(b.iter()))
}
