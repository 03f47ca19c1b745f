//! Why an alert was told, or was not: everything that is known about it, in one answer.

use serde::Serialize;

use crate::api::{GettableAlert, Time};
use crate::core::Mutes;
use crate::dispatcher::Dispatcher;
use crate::error::Error;
use crate::history::{Event, Query};
use crate::nflog;
use crate::route::Step;

/// So many events of the history are part of the answer.
const EVENTS: usize = 200;

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The alert as it is held; `None` when it is not (any more).
    pub alert: Option<GettableAlert>,
    /// Whether it has resolved.
    pub resolved: bool,
    /// What keeps it back now.
    pub mutes: Mutes,
    /// The walk through the routing tree: what matched, what did not and by which matcher.
    pub route: Vec<Step>,
    /// The groups that hold it.
    pub groups: Vec<GroupState>,
    /// What happened to it, newest first.
    pub events: Vec<Event>,
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

/// Explains the alert of a fingerprint. Blocks on the history.
///
/// # Errors
/// `NotFound` when it is neither held nor in the history; `History` when that cannot be read.
pub fn explain(dispatcher: &Dispatcher, fingerprint: u64) -> Result<Explanation, Error> {
    let text = format!("{fingerprint:016x}");
    let events = match dispatcher.history() {
        Some(history) => {
            let query = Query { fingerprint: text.clone(), limit: EVENTS, ..Query::default() };
            history.query(&query)?
        }
        None => vec![],
    };
    let held = dispatcher.look(|core, now| {
        let alert = core.store.get(fingerprint)?.clone();
        let groups = core.groups().filter(|(_, group)| group.contains(fingerprint)).map(|(_, group)| {
            let receiver = group.options.receiver.clone();
            let ways = core.setup.receivers.get(&receiver).map(Vec::as_slice).unwrap_or_default();
            let told = ways.iter().map(|way| {
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
        Some((
            alert.clone(),
            alert.is_resolved(now),
            core.mutes(&alert.labels, now),
            core.setup.tree.explain(&alert.labels),
            groups.collect::<Vec<_>>(),
        ))
    });
    let Some((alert, resolved, mutes, route, groups)) = held else {
        if events.is_empty() {
            return Err(Error::NotFound(format!("nothing is known of an alert {text}")));
        }
        return Ok(Explanation {
            alert: None,
            resolved: true,
            mutes: Mutes::default(),
            route: vec![],
            groups: vec![],
            events,
        });
    };
    let receivers = groups.iter().map(|group| group.receiver.clone()).collect();
    let shown = crate::api::shown(&alert, mutes.clone(), receivers, vec![]);
    Ok(Explanation { alert: Some(shown), resolved, mutes, route, groups, events })
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
