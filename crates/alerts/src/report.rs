//! What the history says of a stretch of time: each alert's episodes, how long people took, which rules are noisy.
//!
//! An *episode* is one firing of one alert, from the event that it fired to the one that it resolved. It counts as
//! *notified* with the first delivery that told of it, and as *acknowledged* with the first silence that somebody made for
//! it while it fired. Pure: events in, ascending; figures out. A storm has hundreds of thousands of events: of each only
//! what figures need is kept, and details are read where they are shown.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use model::{Labels, Timestamp};
use serde::{Deserialize, Serialize, Serializer};

use crate::api::Time;
use crate::history::{Kind, Seen};
use crate::silence::Silence;

/// One firing of one alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Episode {
    /// Which alert, in hexadecimal.
    pub fingerprint: String,
    /// Its name.
    pub alertname: String,
    /// Its labels.
    pub labels: Fired,
    /// When it began to fire.
    pub starts_at: Time,
    /// When it resolved; `None` while it fires.
    pub ends_at: Option<Time>,
    /// The first delivery that told of it.
    pub notified_at: Option<Time>,
    /// Deliveries that told of it.
    pub notifications: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// The first silence that was made for it.
    pub acknowledged_at: Option<Time>,
    /// Who made it.
    pub acknowledged_by: Option<String>,
    /// When and why it was kept back.
    pub suppressed: Vec<Suppressed>,
    /// Who was told.
    pub receivers: BTreeSet<String>,
}

/// The labels of an alert that began to fire, in the event's detail: read when they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired(Box<str>);

impl Fired {
    /// The labels.
    pub fn labels(&self) -> Labels {
        #[derive(Deserialize)]
        struct Detail {
            labels: Labels,
        }
        serde_json::from_str(&self.0).map_or_else(|_| Labels::empty(), |detail: Detail| detail.labels)
    }
}

impl Serialize for Fired {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        crate::message::Kv::from(&self.labels()).0.serialize(to)
    }
}

/// Something kept an alert back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suppressed {
    /// Since when.
    pub at: Time,
    /// In which group.
    pub group: String,
    /// What.
    pub cause: String,
}

/// Figures of one alert name, or of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// How often alerts began to fire.
    pub fired: u64,
    /// How many of these have resolved.
    pub resolved: u64,
    /// How many were told to somebody.
    pub notified: u64,
    /// How many were acknowledged.
    pub acknowledged: u64,
    /// How many were kept back and never told.
    pub suppressed: u64,
    /// Deliveries.
    pub notifications: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Alerts that fired again within ten minutes of resolving.
    pub flapped: u64,
    /// Mean seconds from firing to the first delivery.
    pub mean_time_to_notify_seconds: Option<f64>,
    /// Mean seconds from firing to the acknowledgement (MTTA).
    pub mean_time_to_acknowledge_seconds: Option<f64>,
    /// Mean seconds from firing to resolving (MTTR).
    pub mean_time_to_resolve_seconds: Option<f64>,
    /// Seconds of firing in all.
    pub firing_seconds: f64,
}

/// Figures of a rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedFigures {
    /// The alert's name.
    pub alertname: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The figures of a stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Of all alerts.
    pub total: Figures,
    /// By name, the one that fired most often first.
    pub rules: Vec<NamedFigures>,
}

/// An alert that fires again so soon after it resolved flaps.
const FLAP_MS: i64 = 600_000;

/// Makes episodes of events, which it is shown ascending in time. An alert whose firing lies before the first event is not
/// among them.
#[derive(Debug, Default)]
pub struct Episodes {
    episodes: Vec<Episode>,
    /// The open episode of each alert, by its fingerprint.
    open: HashMap<u64, usize>,
    /// The alerts of each group.
    groups: HashMap<String, HashSet<u64>>,
}

fn number(fingerprint: &str) -> u64 {
    u64::from_str_radix(fingerprint, 16).unwrap_or_default()
}

impl Episodes {
    /// Takes the next event.
    pub fn take(&mut self, event: &Seen<'_>) {
        let is = |kind: Kind| event.kind == kind.as_str();
        let alert = number(event.fingerprint);
        if is(Kind::Firing) {
            self.open.insert(alert, self.episodes.len());
            self.episodes.push(Episode {
                fingerprint: event.fingerprint.to_owned(),
                alertname: event.alertname.to_owned(),
                labels: Fired(event.detail.into()),
                starts_at: Time(event.at),
                ends_at: None,
                notified_at: None,
                notifications: 0,
                failures: 0,
                acknowledged_at: None,
                acknowledged_by: None,
                suppressed: Vec::new(),
                receivers: BTreeSet::new(),
            });
        } else if is(Kind::Resolved) {
            if let Some(at) = self.open.remove(&alert) {
                self.episodes[at].ends_at = Some(Time(event.at));
            }
        } else if is(Kind::Grouped) {
            match self.groups.get_mut(event.group_key) {
                Some(group) => drop(group.insert(alert)),
                None => drop(self.groups.insert(event.group_key.to_owned(), HashSet::from([alert]))),
            }
        } else if is(Kind::Suppressed) {
            if let Some(&at) = self.open.get(&alert) {
                self.episodes[at].suppressed.push(Suppressed {
                    at: Time(event.at),
                    group: event.group_key.to_owned(),
                    cause: detail(event)["cause"].as_str().unwrap_or_default().to_owned(),
                });
            }
        } else if is(Kind::Delivered) {
            self.told(event, |episode| {
                episode.notified_at.get_or_insert(Time(event.at));
                episode.notifications += 1;
                if !episode.receivers.contains(event.receiver) {
                    episode.receivers.insert(event.receiver.to_owned());
                }
            });
        } else if is(Kind::AttemptFailed) {
            self.told(event, |episode| episode.failures += 1);
        } else if is(Kind::Silence) {
            self.silenced(event);
        }
    }

    /// The episodes, in the order of their start.
    pub fn done(self) -> Vec<Episode> {
        self.episodes
    }

    /// Applies `change` to the open episodes that a notification was about.
    fn told(&mut self, event: &Seen<'_>, change: impl Fn(&mut Episode)) {
        let detail = detail(event);
        let listed = detail["fingerprints"].as_array().map(Vec::as_slice).unwrap_or_default();
        let complete = detail["alerts"].as_u64() == Some(listed.len() as u64);
        let mut apply = |alert: u64| {
            if let Some(&at) = self.open.get(&alert) {
                change(&mut self.episodes[at]);
            }
        };
        if complete {
            listed.iter().filter_map(|alert| alert.as_str().map(number)).for_each(apply);
        } else {
            // A large group lists only its first alerts: then it was about all of the group that fire.
            self.groups.get(event.group_key).into_iter().flatten().for_each(|alert| apply(*alert));
        }
    }

    fn silenced(&mut self, event: &Seen<'_>) {
        let Ok(silence) = serde_json::from_str::<Silence>(event.detail) else { return };
        // One that was ended is no acknowledgement, nor is one for later.
        if silence.ends_at < event.at || silence.starts_at > event.at + 60_000 {
            return;
        }
        for &at in self.open.values() {
            let episode = &mut self.episodes[at];
            if episode.acknowledged_at.is_none() && silence.matches(&episode.labels.labels()) {
                episode.acknowledged_at = Some(Time(event.at));
                episode.acknowledged_by = Some(silence.created_by.clone());
            }
        }
    }
}

fn detail(event: &Seen<'_>) -> serde_json::Value {
    serde_json::from_str(event.detail).unwrap_or_default()
}

/// Sums for means.
#[derive(Default)]
struct Sums {
    figures: Figures,
    notify_ms: i64,
    acknowledge_ms: i64,
    resolve_ms: i64,
    firing_ms: i64,
}

impl Sums {
    fn add(&mut self, episode: &Episode, flapped: bool, now: Timestamp) {
        let figures = &mut self.figures;
        let start = episode.starts_at.0;
        figures.fired += 1;
        figures.flapped += u64::from(flapped);
        figures.notifications += episode.notifications;
        figures.failures += episode.failures;
        if let Some(at) = episode.ends_at {
            figures.resolved += 1;
            self.resolve_ms += at.0 - start;
        }
        if let Some(at) = episode.notified_at {
            figures.notified += 1;
            self.notify_ms += at.0 - start;
        } else {
            figures.suppressed += u64::from(!episode.suppressed.is_empty());
        }
        if let Some(at) = episode.acknowledged_at {
            figures.acknowledged += 1;
            self.acknowledge_ms += at.0 - start;
        }
        self.firing_ms += episode.ends_at.map_or(now, |at| at.0) - start;
    }

    fn finish(self) -> Figures {
        let mean = |ms: i64, count: u64| (count > 0).then(|| ms as f64 / 1000.0 / count as f64);
        Figures {
            mean_time_to_notify_seconds: mean(self.notify_ms, self.figures.notified),
            mean_time_to_acknowledge_seconds: mean(self.acknowledge_ms, self.figures.acknowledged),
            mean_time_to_resolve_seconds: mean(self.resolve_ms, self.figures.resolved),
            firing_seconds: self.firing_ms as f64 / 1000.0,
            ..self.figures
        }
    }
}

/// The figures of episodes, which are in the order of their start. Those that still fire count up to `now`.
pub fn report(episodes: &[Episode], now: Timestamp) -> Report {
    let (mut total, mut by_name) = (Sums::default(), BTreeMap::<&str, Sums>::new());
    let mut last_end: HashMap<&str, Timestamp> = HashMap::new();
    for episode in episodes {
        let before = last_end.get(episode.fingerprint.as_str());
        let flapped = before.is_some_and(|end| episode.starts_at.0 - *end < FLAP_MS);
        if let Some(end) = episode.ends_at {
            last_end.insert(&episode.fingerprint, end.0);
        }
        total.add(episode, flapped, now);
        by_name.entry(&episode.alertname).or_default().add(episode, flapped, now);
    }
    let mut rules: Vec<NamedFigures> = by_name
        .into_iter()
        .map(|(name, sums)| NamedFigures { alertname: name.to_owned(), figures: sums.finish() })
        .collect();
    // Noisiest first; equals by name, as they come.
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.figures.fired));
    Report { total: total.finish(), rules }
}

#[cfg(test)]
mod tests {
    use model::Alert;
    use serde_json::json;

    use super::*;
    use crate::history::Event;

    fn episodes(events: impl IntoIterator<Item = Event>) -> Vec<Episode> {
        let mut episodes = Episodes::default();
        for event in events {
            let detail = event.detail.to_string();
            episodes.take(&Seen {
                id: event.id,
                at: event.at,
                kind: event.kind,
                fingerprint: &event.fingerprint,
                alertname: &event.alertname,
                group_key: &event.group_key,
                receiver: &event.receiver,
                detail: &detail,
            });
        }
        episodes.done()
    }

    fn alert(instance: &str) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "Down"), ("instance", instance)]),
            annotations: Labels::empty(),
            starts_at: Timestamp(0),
            ends_at: Timestamp::MAX,
            updated_at: Timestamp(0),
            generator_url: String::new(),
        }
    }

    fn event(second: i64, kind: Kind, instance: &str, detail: serde_json::Value) -> Event {
        let event = Event::new(Timestamp(second * 1000), kind, detail);
        if instance.is_empty() {
            event.group("g", "team")
        } else {
            event.alert(&alert(instance)).group("g", "team")
        }
    }

    fn fired(second: i64, instance: &str) -> [Event; 2] {
        let labels = json!({ "labels": alert(instance).labels });
        [event(second, Kind::Firing, instance, labels), event(second, Kind::Grouped, instance, json!({}))]
    }

    #[test]
    fn times_to_tell_to_acknowledge_and_to_resolve() {
        let silence = Silence {
            id: "x".into(),
            matcher_sets: vec![crate::parse::matchers("instance=a").unwrap()],
            starts_at: Timestamp(130_000),
            ends_at: Timestamp(9_000_000),
            updated_at: Timestamp(130_000),
            created_by: "ada".into(),
            comment: String::new(),
            annotations: BTreeMap::new(),
        };
        let mut events = Vec::new();
        events.extend(fired(100, "a"));
        events.extend(fired(110, "b"));
        // The list is not complete, so that the group decides.
        events.push(event(120, Kind::Delivered, "", json!({ "alerts": 2, "fingerprints": [] })));
        events.push(event(130, Kind::Silence, "", json!(silence)));
        events.push(event(160, Kind::Resolved, "a", json!({})));
        events.push(event(170, Kind::Suppressed, "b", json!({ "cause": "inhibited" })));
        events.extend(fired(200, "a"));
        let episodes = episodes(events);
        assert_eq!(episodes.len(), 3);
        assert_eq!(episodes[0].acknowledged_by.as_deref(), Some("ada"));
        assert_eq!((episodes[1].suppressed.len(), episodes[1].acknowledged_at), (1, None));
        let report = report(&episodes, Timestamp(210_000));
        let all = &report.total;
        assert_eq!((all.fired, all.resolved, all.notified, all.acknowledged, all.flapped), (3, 1, 2, 1, 1));
        assert_eq!(all.mean_time_to_notify_seconds, Some(15.0));
        assert_eq!(all.mean_time_to_acknowledge_seconds, Some(30.0));
        assert_eq!(all.mean_time_to_resolve_seconds, Some(60.0));
        assert_eq!(all.firing_seconds, 60.0 + 100.0 + 10.0);
        assert_eq!(report.rules[0].alertname, "Down");
    }
}
