//! Why an alert was told, or was not: everything that is known about it, in one answer.
//!
//! For now: what the alert manager holds and would decide. For an earlier moment: what the history noted up to then, and
//! what the silences and hours of today's configuration say of that moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Labels, Timestamp};
use serde::Serialize;

use crate::api::{GettableSilence, Shown, Time};
use crate::core::Mutes;
use crate::dispatcher::Dispatcher;
use crate::error::Error;
use crate::history::{Event, History, Kind, Query};
use crate::nflog;
use crate::route::Step;

/// So many events of the history are part of the answer.
const EVENTS: usize = 200;

/// Which alert, and when.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Its identity.
    pub fingerprint: u64,
    /// Its labels, when they are given: then it need not be known.
    pub labels: Option<Labels>,
    /// The moment; now when absent.
    pub at: Option<Timestamp>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// In words, the most important first.
    pub verdict: Vec<String>,
    /// The alert's labels.
    pub labels: crate::api::Kv2,
    /// The moment.
    pub at: Time,
    /// The alert as it is held; `None` when it is not (any more).
    pub alert: Option<Shown>,
    /// Whether it has resolved; `None` when nothing is known of it.
    pub resolved: Option<bool>,
    /// What keeps it back now.
    pub mutes: Mutes,
    /// The silences that match it at the moment.
    pub silences: Vec<GettableSilence>,
    /// The walk through the routing tree: what matched, what did not and by which matcher.
    pub route: Vec<Step>,
    /// The routes that take it, and whether their hours keep it back at the moment.
    pub routes: Vec<RouteState>,
    /// The groups that hold it.
    pub groups: Vec<GroupState>,
    /// What happened to it and to its groups' notifications up to the moment, newest first.
    pub events: Vec<Event>,
}

/// A route that takes the alert.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteState {
    /// Its key.
    pub key: String,
    /// Who is told.
    pub receiver: String,
    /// The ways of the receiver: `webhook[0]` …
    pub ways: Vec<String>,
    /// The labels of the group.
    pub group: crate::api::Kv2,
    /// The time interval that keeps it back.
    pub interval: Option<String>,
}

/// A group that holds the alert.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupState {
    /// Its key.
    pub key: String,
    /// Who is told.
    pub receiver: String,
    /// When it flushes next.
    pub next_flush: Time,
    /// The time interval that keeps it back now.
    pub interval: Option<String>,
    /// What each way of the receiver knows.
    pub told: Vec<Told>,
}

/// What one way of a receiver knows of the alert.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// `webhook`, `email` …
    pub integration: String,
    /// Which of several such.
    pub index: usize,
    /// When it was told last about the group.
    pub at: Option<Time>,
    /// What it thinks of the alert: `firing`, `resolved` or `unknown`.
    pub knows: &'static str,
    /// Whether a notification is on its way, or was at a crash.
    pub claimed: bool,
}

/// Explains an alert. Blocks on the history.
///
/// # Errors
/// `NotFound` when its labels are not given and it is neither held nor in the history; `History` when that cannot be read.
pub fn explain(dispatcher: &Dispatcher, asked: &Asked) -> Result<Explanation, Error> {
    let fingerprint = asked.fingerprint;
    let at = asked.at.unwrap_or_else(|| dispatcher.now());
    let events = match dispatcher.history() {
        Some(history) => events_of(history, fingerprint, at)?,
        None => vec![],
    };
    let held = dispatcher.look(|core, _| core.store.get(fingerprint).cloned());
    let noted = || {
        let last = events.iter().find(|event| event.detail["labels"].is_object())?;
        serde_json::from_value(last.detail["labels"].clone()).ok()
    };
    let labels: Option<Labels> =
        asked.labels.clone().or_else(|| held.as_ref().map(|alert| alert.labels.clone())).or_else(noted);
    let Some(labels) = labels else {
        return Err(Error::NotFound(format!("nothing is known of an alert {fingerprint:016x}")));
    };
    let mut answer = dispatcher.look(|core, now| {
        let ways =
            |receiver: &String| core.setup.receivers.get(receiver).map(Vec::as_slice).unwrap_or_default();
        let groups = core.groups().filter(|(_, group)| group.contains(fingerprint)).map(|(_, group)| {
            let receiver = group.options.receiver.clone();
            let told = ways(&receiver).iter().map(|way| {
                let entry = core.nflog.get(&nflog::key(&group.key, &receiver, way.name, way.index));
                Told {
                    integration: way.name.to_owned(),
                    index: way.index,
                    at: entry.and_then(|entry| entry.at).map(Time),
                    knows: match entry {
                        Some(entry) if entry.firing.contains(&fingerprint) => "firing",
                        Some(entry) if entry.resolved.contains(&fingerprint) => "resolved",
                        _ => "unknown",
                    },
                    claimed: entry.is_some_and(|entry| entry.claim.is_some()),
                }
            });
            GroupState {
                key: group.key.clone(),
                next_flush: Time(group.next_flush()),
                interval: core.interval_mutes(&group.options, now),
                told: told.collect(),
                receiver,
            }
        });
        let routes = core.setup.tree.matches(&labels).into_iter().map(|node| RouteState {
            key: node.key.clone(),
            receiver: node.options.receiver.clone(),
            ways: ways(&node.options.receiver)
                .iter()
                .map(|way| format!("{}[{}]", way.name, way.index))
                .collect(),
            group: crate::message::Kv::from(&node.group_labels(&labels)).0,
            interval: core.interval_mutes(&node.options, at),
        });
        let mutes = core.mutes(&labels, now);
        let silences = core.silences.mutes(&labels, at);
        let silences = silences.iter().filter_map(|id| core.silences.get(id));
        let routes: Vec<RouteState> = routes.collect();
        Explanation {
            verdict: vec![],
            labels: crate::message::Kv::from(&labels).0,
            at: Time(at),
            alert: held.clone().map(|alert| Shown {
                alert,
                mutes: mutes.clone(),
                muted_by: Arc::default(),
                nodes: core.setup.tree.matches(&labels),
            }),
            resolved: held.as_ref().map(|alert| alert.is_resolved(now)),
            mutes,
            silences: silences.map(|silence| crate::api::shown_silence(silence, at)).collect(),
            route: core.setup.tree.explain(&labels),
            routes,
            groups: groups.collect(),
            events: vec![],
        }
    });
    answer.events = events;
    let noted = answer.events.iter().find(|event| is(event, Kind::Firing) || is(event, Kind::Resolved));
    if asked.at.is_some() || answer.resolved.is_none() {
        answer.resolved = noted.map(|event| is(event, Kind::Resolved)).or(answer.resolved);
    }
    answer.verdict = verdict(&answer, asked.at.is_none());
    Ok(answer)
}

fn is(event: &Event, kind: Kind) -> bool {
    event.kind == kind.as_str()
}

/// What is noted of an alert up to a moment, and of its groups' notifications that were, or may have been, about it.
fn events_of(history: &History, fingerprint: u64, at: Timestamp) -> Result<Vec<Event>, Error> {
    history.flush();
    let text = format!("{fingerprint:016x}");
    let base = Query { end: Some(at.ms()), limit: EVENTS, ..Query::default() };
    let mut events = history.query(&Query { fingerprint: text.clone(), ..base.clone() })?;
    let joined: BTreeSet<String> =
        events.iter().filter(|event| is(event, Kind::Grouped)).map(|event| event.group_key.clone()).collect();
    let since = events.iter().filter(|event| is(event, Kind::Firing)).map(|event| event.at.ms()).min();
    for group_key in joined {
        let kinds = [Kind::Delivered, Kind::AttemptFailed, Kind::GivenUp].map(Kind::as_str).join(",");
        let query = Query { group_key, kind: kinds, start: since, ..base.clone() };
        events.extend(history.query(&query)?.into_iter().filter(|event| {
            let listed = event.detail["fingerprints"].as_array().map(Vec::as_slice).unwrap_or_default();
            let complete = event.detail["alerts"].as_u64() == Some(listed.len() as u64);
            event.fingerprint.is_empty() && (!complete || listed.iter().any(|one| one == text.as_str()))
        }));
    }
    events.sort_by_key(|event| std::cmp::Reverse((event.at, event.id)));
    events.truncate(EVENTS);
    Ok(events)
}

/// The answer in sentences.
fn verdict(answer: &Explanation, is_now: bool) -> Vec<String> {
    let mut out = Vec::new();
    let time = |at: Timestamp| crate::message::rfc3339(at);
    match answer.resolved {
        None => out
            .push("the alert manager has never seen this alert: no rule and nobody else sent it".to_owned()),
        Some(true) => out.push("it has resolved".to_owned()),
        Some(false) => out.push("it fires".to_owned()),
    }
    for silence in &answer.silences {
        out.push(format!(
            "silence {} by {} keeps it back until {}: {}",
            silence.id,
            silence.created_by,
            time(silence.ends_at.0),
            silence.comment
        ));
    }
    if let Some(by) = answer.mutes.inhibited_by.as_ref().filter(|_| is_now) {
        out.push(format!("alert {:016x} keeps it back by inhibition rule {}", by.by, by.rule));
    }
    for route in &answer.routes {
        if let Some(interval) = &route.interval {
            out.push(format!("the hours of its route to {} keep it back: {interval}", route.receiver));
        }
        if route.ways.is_empty() {
            out.push(format!("receiver {} has no way to tell anybody", route.receiver));
        }
    }
    if !is_now && let Some(event) = answer.events.iter().find(|event| is(event, Kind::Suppressed)) {
        let cause = event.detail["cause"].as_str().unwrap_or_default();
        out.push(format!("it was kept back at {}: {cause}", time(event.at)));
    }
    let attempts = |kind: Kind| answer.events.iter().find(|event| is(event, kind));
    let answered = |event: &Event| {
        let code = event.detail["code"].as_u64().map(|code| format!("{code} ")).unwrap_or_default();
        format!("{code}{}", event.detail["answer"].as_str().unwrap_or_default()).trim().to_owned()
    };
    match (attempts(Kind::Delivered), attempts(Kind::AttemptFailed)) {
        (Some(told), _) => out.push(format!(
            "{} was last told at {} through {}; it answered: {}",
            told.receiver,
            time(told.at),
            told.detail["integration"].as_str().unwrap_or_default(),
            answered(told)
        )),
        (None, None) if answer.resolved == Some(false) => {
            let next = answer.groups.iter().map(|group| group.next_flush.0).min();
            let next = next.map(|at| format!("; its group is looked at next at {}", time(at)));
            out.push(format!("nobody has been told yet{}", next.unwrap_or_default()));
        }
        _ => {}
    }
    if let Some(failed) = attempts(Kind::AttemptFailed) {
        out.push(format!(
            "an attempt to tell {} failed at {}: {}",
            failed.receiver,
            time(failed.at),
            answered(failed)
        ));
    }
    if let Some(given_up) = attempts(Kind::GivenUp) {
        out.push(format!("the notification to {} was given up at {}", given_up.receiver, time(given_up.at)));
    }
    if let Some(shed) = attempts(Kind::Shed) {
        out.push(format!("a bound was reached at {}: {}", time(shed.at), shed.detail["limit"]));
    }
    out
}

/// Reads a fingerprint as the API writes it.
///
/// # Errors
/// `Invalid` when it is not 16 hexadecimal digits.
pub fn fingerprint(text: &str) -> Result<u64, Error> {
    if text.len() != 16 {
        return Err(Error::Invalid(format!("{text:?} is no fingerprint: it has 16 hexadecimal digits")));
    }
    u64::from_str_radix(text, 16)
        .map_err(|_| Error::Invalid(format!("{text:?} is no fingerprint: it has 16 hexadecimal digits")))
}
