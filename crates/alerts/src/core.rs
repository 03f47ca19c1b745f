//! What the alert manager knows, and how it decides: no clock, no I/O, no tasks.
//!
//! [`crate::dispatcher`] holds one of these behind a lock, feeds it and carries out what it says.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use model::{Alert, Labels, Timestamp};
use serde::Serialize;

use crate::config::{Config, Settings};
use crate::error::Error;
use crate::group::{Digest, Effect, Event, Flush, Group};
use crate::inhibit::{Inhibited, Inhibitor};
use crate::nflog::NotificationLog;
use crate::notify::Receivers;
use crate::render::Renderer;
use crate::route::{RouteOptions, Tree};
use crate::silence::Silences;
use crate::store::{AlertStore, Change, Key};
use crate::timeinterval::any_contains;

/// Everything that comes from one configuration.
#[derive(Debug)]
pub struct Setup {
    /// The file.
    pub config: Config,
    /// Its routes.
    pub tree: Tree,
    /// Its receivers.
    pub receivers: Receivers,
    /// Its templates.
    pub renderer: Renderer,
    /// When it was loaded.
    pub loaded_at: Timestamp,
}

/// Which group, of which configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    generation: u64,
    node: Arc<str>,
    labels: u64,
}

/// Why an alert is kept back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mutes {
    /// By these silences.
    pub silenced_by: Vec<String>,
    /// By this alert.
    pub inhibited_by: Option<Inhibited>,
}

impl Mutes {
    /// Whether it is kept back.
    pub fn any(&self) -> bool {
        !self.silenced_by.is_empty() || self.inhibited_by.is_some()
    }
}

/// A flush that is due.
#[derive(Debug)]
pub struct Due {
    /// Of which group.
    pub id: GroupId,
    /// What.
    pub flush: Flush,
    /// The group's key.
    pub key: String,
    /// What its alerts share.
    pub labels: Labels,
    /// Its route's options.
    pub options: Arc<RouteOptions>,
}

/// What is left of a flush after everything that mutes.
#[derive(Debug, Default)]
pub struct Unmuted {
    /// To be sent.
    pub alerts: Vec<Arc<Alert>>,
    /// Kept back, and why: only those whose cause has changed since their last flush.
    pub newly_muted: Vec<(Arc<Alert>, String)>,
    /// How many were kept back, by cause.
    pub counts: BTreeMap<&'static str, u64>,
}

/// What an arrival led to.
#[derive(Debug)]
pub struct Arrival {
    /// The alert as it is held now.
    pub alert: Arc<Alert>,
    /// Under which it is stored.
    pub key: Key,
    /// What changed.
    pub change: Change,
    /// The groups that it joined anew: key and receiver.
    pub joined: Vec<(String, String)>,
    /// Routes for which there was no place for another group.
    pub no_group: usize,
}

/// The knowledge.
#[derive(Debug)]
pub struct Core {
    /// From the configuration.
    pub setup: Arc<Setup>,
    /// All alerts.
    pub store: AlertStore,
    /// All silences.
    pub silences: Silences,
    /// What receivers were told.
    pub nflog: NotificationLog,
    inhibitor: Inhibitor,
    groups: BTreeMap<GroupId, Group>,
    timers: BinaryHeap<Reverse<(Timestamp, GroupId)>>,
    /// The last cause for which an alert was kept back in a group.
    muted: HashMap<(GroupId, u64), String>,
    generation: u64,
    max_groups: usize,
    digest: Digest,
}

impl Core {
    /// Without alerts.
    pub fn new(
        setup: Arc<Setup>,
        silences: Silences,
        nflog: NotificationLog,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let inhibitor = inhibitor(&setup.config)?;
        Ok(Self {
            setup,
            store: AlertStore::new(settings.max_alerts),
            silences,
            nflog,
            inhibitor,
            groups: BTreeMap::new(),
            timers: BinaryHeap::new(),
            muted: HashMap::new(),
            generation: 0,
            max_groups: settings.max_groups,
            digest: Digest {
                listed: settings.max_alerts_per_notification,
                wait_ms: settings.digest_wait.ms(),
            },
        })
    }

    /// Replaces the configuration: groups begin anew with the alerts that are held.
    pub fn reload(&mut self, setup: Arc<Setup>, now: Timestamp) -> Result<(), Error> {
        self.inhibitor = inhibitor(&setup.config)?;
        self.setup = setup;
        self.generation += 1;
        self.groups.clear();
        self.timers.clear();
        self.muted.clear();
        let alerts: Vec<Arc<Alert>> = self.store.iter().map(|(_, alert)| alert.clone()).collect();
        for alert in alerts {
            self.inhibitor.insert(&alert);
            self.group(&alert, now);
        }
        Ok(())
    }

    /// Takes an alert in. `None` when there is no place for another one.
    pub fn insert(&mut self, alert: Alert, timeout: bool, now: Timestamp) -> Option<Arrival> {
        let (alert, change) = self.store.put(alert, timeout, now).ok()?;
        let key = self.store.key(alert.labels.fingerprint())?;
        self.inhibitor.insert(&alert);
        let (joined, no_group) = self.group(&alert, now);
        Some(Arrival { alert, key, change, joined, no_group })
    }

    /// Puts an alert into its groups.
    fn group(&mut self, alert: &Arc<Alert>, now: Timestamp) -> (Vec<(String, String)>, usize) {
        let (mut joined, mut no_group) = (vec![], 0);
        let setup = self.setup.clone();
        for node in setup.tree.matches(&alert.labels) {
            let labels = node.group_labels(&alert.labels);
            let node_id: Arc<str> = node.id.as_str().into();
            let id = GroupId { generation: self.generation, node: node_id, labels: labels.fingerprint() };
            if !self.groups.contains_key(&id) {
                if self.groups.len() >= self.max_groups {
                    no_group += 1;
                    continue;
                }
                self.groups.insert(
                    id.clone(),
                    Group::new(labels, &node.key, node.options.clone(), self.digest, now),
                );
            }
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let fingerprint = alert.labels.fingerprint();
            if !group.contains(fingerprint) {
                joined.push((group.key.clone(), node.options.receiver.clone()));
            }
            let effects = group.on(Event::Insert(alert.clone()), now);
            self.plan(&id, effects);
        }
        (joined, no_group)
    }

    /// Sets timers and returns the flush, if there is one.
    fn plan(&mut self, id: &GroupId, effects: Vec<Effect>) -> Option<Flush> {
        let mut due = None;
        for effect in effects {
            match effect {
                Effect::Wake(at) => {
                    let again = self.timers.peek().is_some_and(|Reverse((t, i))| *t == at && i == id);
                    if !again {
                        self.timers.push(Reverse((at, id.clone())));
                    }
                }
                Effect::Flush(flush) => due = Some(flush),
            }
        }
        // Refreshes of alerts set timers that others make superfluous.
        if self.timers.len() > 4 * self.groups.len() + 1024 {
            self.timers =
                self.groups.iter().map(|(id, group)| Reverse((group.next_flush(), id.clone()))).collect();
        }
        due
    }

    fn due(&self, id: &GroupId, flush: Option<Flush>) -> Option<Due> {
        let group = self.groups.get(id)?;
        Some(Due {
            id: id.clone(),
            flush: flush?,
            key: group.key.clone(),
            labels: group.labels.clone(),
            options: group.options.clone(),
        })
    }

    /// The flushes that are due.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Due> {
        let mut all = Vec::new();
        while let Some(Reverse((at, _))) = self.timers.peek()
            && *at <= now
        {
            let Some(Reverse((_, id))) = self.timers.pop() else { break };
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let effects = group.on(Event::Tick, now);
            let flush = self.plan(&id, effects);
            all.extend(self.due(&id, flush));
        }
        all
    }

    /// Notes the end of a flush; the next one when it is overdue.
    pub fn flushed(&mut self, id: &GroupId, ok: bool, now: Timestamp) -> Option<Due> {
        let effects = self.groups.get_mut(id)?.on(Event::Flushed { ok }, now);
        let flush = self.plan(id, effects);
        self.due(id, flush)
    }

    /// When [`Core::tick`] has something to do next.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Why an alert with these labels is kept back now, by inhibition and silences.
    pub fn mutes(&self, labels: &Labels, now: Timestamp) -> Mutes {
        Mutes {
            silenced_by: self.silences.mutes(labels, now),
            inhibited_by: self.inhibitor.mutes(labels, now),
        }
    }

    /// The time interval that keeps a route's alerts back now.
    pub fn interval_mutes(&self, options: &RouteOptions, now: Timestamp) -> Option<String> {
        let holds = |name: &String| any_contains(self.setup.config.intervals(name).unwrap_or_default(), now);
        if !options.active_time_intervals.is_empty() && !options.active_time_intervals.iter().any(holds) {
            return Some(format!("outside {}", options.active_time_intervals.join(", ")));
        }
        options.mute_time_intervals.iter().find(|name| holds(name)).map(|name| format!("inside {name}"))
    }

    /// Takes from a flush what is muted: by inhibition, by the hours, by silences, in this order.
    pub fn unmuted(&mut self, due: &Due) -> Unmuted {
        let now = due.flush.now;
        let mut out = Unmuted::default();
        let interval = self.interval_mutes(&due.options, now);
        for alert in &due.flush.alerts {
            let cause = if let Some(inhibited) = self.inhibitor.mutes(&alert.labels, now) {
                *out.counts.entry("inhibited").or_default() += 1;
                Some(format!("inhibited by {:016x} (rule {})", inhibited.by, inhibited.rule))
            } else if let Some(interval) = &interval {
                *out.counts.entry("time_interval").or_default() += 1;
                Some(interval.clone())
            } else {
                let silences = self.silences.mutes(&alert.labels, now);
                (!silences.is_empty()).then(|| {
                    *out.counts.entry("silenced").or_default() += 1;
                    format!("silenced by {}", silences.join(", "))
                })
            };
            let key = (due.id.clone(), alert.labels.fingerprint());
            match cause {
                None => {
                    self.muted.remove(&key);
                    out.alerts.push(alert.clone());
                }
                Some(cause) => {
                    if self.muted.get(&key) != Some(&cause) {
                        self.muted.insert(key, cause.clone());
                        out.newly_muted.push((alert.clone(), cause));
                    }
                }
            }
        }
        out
    }

    /// Drops empty groups, and alerts that mute no longer.
    pub fn collect_groups(&mut self, now: Timestamp) {
        self.inhibitor.collect(now);
        self.groups.retain(|_, group| !group.is_empty());
        let groups = &self.groups;
        self.muted
            .retain(|(id, fingerprint), _| groups.get(id).is_some_and(|group| group.contains(*fingerprint)));
    }

    /// Drops resolved alerts that no group holds any more; the keys under which they are stored.
    pub fn collect_alerts(&mut self, now: Timestamp) -> Vec<Key> {
        let held: HashSet<u64> =
            self.groups.values().flat_map(|group| group.alerts()).map(|a| a.labels.fingerprint()).collect();
        self.store.collect(now, |fingerprint| held.contains(&fingerprint))
    }

    /// All groups: the node's id, and the group.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.groups.iter().map(|(id, group)| (&*id.node, group))
    }

    /// How many groups.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }
}

fn inhibitor(config: &Config) -> Result<Inhibitor, Error> {
    Inhibitor::new(&config.inhibit_rules).map_err(Error::config)
}
