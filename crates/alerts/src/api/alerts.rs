//! Alerts and groups of the API.

use std::sync::Arc;

use model::pattern::Pattern;
use model::{Alert, Labels, Timestamp};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::{Kv2, ReceiverName, Time, filters};
use crate::core::Mutes;
use crate::dispatcher::Dispatcher;
use crate::error::Error;
use crate::group::{before, in_order};
use crate::route::Node;

/// Go's zero time is "not given".
fn given(time: Option<Time>) -> Option<Timestamp> {
    time.map(|time| time.0).filter(|at| at.ms() > -62_135_596_800_000)
}

/// What keeps an alert back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    /// Fingerprints of alerts.
    pub inhibited_by: Vec<String>,
    /// Names of time intervals.
    pub muted_by: Vec<String>,
    /// Ids of silences.
    pub silenced_by: Vec<String>,
    /// `active` or `suppressed`.
    pub state: String,
}

/// An alert as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GettableAlert {
    /// Annotations.
    pub annotations: Kv2,
    /// Until when, unless it is sent again.
    pub ends_at: Time,
    /// Its identity.
    pub fingerprint: String,
    /// Who is told.
    pub receivers: Vec<ReceiverName>,
    /// Since when.
    pub starts_at: Time,
    /// What keeps it back.
    pub status: AlertStatus,
    /// When it was sent last.
    pub updated_at: Time,
    /// Where it comes from.
    #[serde(rename = "generatorURL", default, skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
    /// Labels.
    pub labels: Kv2,
}

/// An alert as it is held, with what keeps it back: written in the shape of [`GettableAlert`]. It shares everything
/// with what is held, so that a hundred thousand of them cost little.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The alert.
    pub alert: Arc<Alert>,
    /// What keeps it back.
    pub mutes: Mutes,
    /// The time intervals that keep its group back.
    pub muted_by: Arc<[String]>,
    /// The routes that take it.
    pub(crate) nodes: Vec<Arc<Node>>,
}

impl Shown {
    /// `active` or `suppressed`.
    pub fn state(&self) -> &'static str {
        if self.mutes.any() || !self.muted_by.is_empty() { "suppressed" } else { "active" }
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Name<'a> {
            name: &'a str,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Status<'a> {
            inhibited_by: Vec<String>,
            muted_by: &'a [String],
            silenced_by: &'a [String],
            state: &'a str,
        }
        let alert = &*self.alert;
        let receivers: Vec<Name<'_>> =
            self.nodes.iter().map(|node| Name { name: &node.options.receiver }).collect();
        let status = Status {
            inhibited_by: self.mutes.inhibited_by.iter().map(|by| format!("{:016x}", by.by)).collect(),
            muted_by: &self.muted_by,
            silenced_by: &self.mutes.silenced_by,
            state: self.state(),
        };
        let link = !alert.generator_url.is_empty();
        let mut out = serializer.serialize_struct("GettableAlert", 8 + usize::from(link))?;
        out.serialize_field("annotations", &alert.annotations)?;
        out.serialize_field("endsAt", &Time(alert.ends_at))?;
        out.serialize_field("fingerprint", &format_args!("{:016x}", alert.labels.fingerprint()))?;
        out.serialize_field("receivers", &receivers)?;
        out.serialize_field("startsAt", &Time(alert.starts_at))?;
        out.serialize_field("status", &status)?;
        out.serialize_field("updatedAt", &Time(alert.updated_at))?;
        if link {
            out.serialize_field("generatorURL", &alert.generator_url)?;
        }
        out.serialize_field("labels", &alert.labels)?;
        out.end()
    }
}

/// A group with its alerts.
#[derive(Clone, Debug, Serialize)]
pub struct ShownGroup {
    /// Its alerts.
    pub alerts: Vec<Shown>,
    /// What they share.
    pub labels: Labels,
    /// Who is told.
    pub receiver: ReceiverName,
}

/// An alert as it is sent in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PostableAlert {
    /// Labels.
    pub labels: Kv2,
    /// Annotations.
    pub annotations: Kv2,
    /// Since when; now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Time>,
    /// Until when; the resolve timeout when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Time>,
    /// Where it comes from.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
}

/// Which alerts are wanted.
#[derive(Clone, Debug)]
pub struct AlertQuery {
    /// Those that nothing keeps back.
    pub active: bool,
    /// Those that a silence keeps back.
    pub silenced: bool,
    /// Those that another alert keeps back.
    pub inhibited: bool,
    /// Those of groups that a time interval keeps back (groups only).
    pub muted: bool,
    /// Accepted for compatibility: every alert is processed when it is taken in.
    pub unprocessed: bool,
    /// Matchers that must all hold.
    pub filter: Vec<String>,
    /// A pattern for receivers' names.
    pub receiver: Option<String>,
}

impl Default for AlertQuery {
    fn default() -> Self {
        Self {
            active: true,
            silenced: true,
            inhibited: true,
            muted: true,
            unprocessed: true,
            filter: vec![],
            receiver: None,
        }
    }
}

fn receiver_pattern(text: &Option<String>) -> Result<Option<Pattern>, Error> {
    let compile = |text: &String| {
        Pattern::new(text).map_err(|err| Error::Invalid(format!("failed to parse receiver param: {err}")))
    };
    text.as_ref().map(compile).transpose()
}

fn wanted(query: &AlertQuery, mutes: &Mutes) -> bool {
    let (silenced, inhibited) = (!mutes.silenced_by.is_empty(), mutes.inhibited_by.is_some());
    (query.active || silenced || inhibited)
        && (query.silenced || !silenced)
        && (query.inhibited || !inhibited)
}

/// `GET /api/v2/alerts`: by fingerprint.
///
/// # Errors
/// `Invalid` for a filter or receiver that cannot be read.
pub fn alerts(dispatcher: &Dispatcher, query: &AlertQuery) -> Result<Vec<Shown>, Error> {
    let (filter, receiver) = (filters(&query.filter)?, receiver_pattern(&query.receiver)?);
    let muted_by: Arc<[String]> = Arc::default();
    let mut found: Vec<(u64, Shown)> = dispatcher.look(|core, now| {
        let held = core.store.iter().filter(|(_, alert)| !alert.is_resolved(now));
        let shown = held.filter_map(|(fingerprint, alert)| {
            if !model::matcher::selects(&filter, &alert.labels) {
                return None;
            }
            let nodes = core.setup.tree.matches(&alert.labels);
            let told = |pattern: &Pattern| nodes.iter().any(|node| pattern.matches(&node.options.receiver));
            if receiver.as_ref().is_some_and(|pattern| !told(pattern)) {
                return None;
            }
            let mutes = core.mutes(&alert.labels, now);
            let muted_by = muted_by.clone();
            wanted(query, &mutes)
                .then(|| (fingerprint, Shown { alert: alert.clone(), mutes, muted_by, nodes }))
        });
        shown.collect()
    });
    found.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
    Ok(found.into_iter().map(|(_, shown)| shown).collect())
}

/// `GET /api/v2/alerts/groups`: by labels, then receiver.
///
/// # Errors
/// `Invalid` for a filter or receiver that cannot be read.
pub fn groups(dispatcher: &Dispatcher, query: &AlertQuery) -> Result<Vec<ShownGroup>, Error> {
    let (filter, receiver) = (filters(&query.filter)?, receiver_pattern(&query.receiver)?);
    let mut all: Vec<ShownGroup> = dispatcher.look(|core, now| {
        let of_group = |group: &crate::group::Group| {
            let name = &group.options.receiver;
            if receiver.as_ref().is_some_and(|pattern| !pattern.matches(name)) {
                return None;
            }
            let muted_by: Arc<[String]> = core.interval_mutes(&group.options, now).into_iter().collect();
            if !query.muted && !muted_by.is_empty() {
                return None;
            }
            let alerts = group.alerts().filter(|alert| !alert.is_resolved(now)).filter_map(|alert| {
                if !model::matcher::selects(&filter, &alert.labels) {
                    return None;
                }
                let mutes = core.mutes(&alert.labels, now);
                wanted(query, &mutes).then(|| {
                    let nodes = core.setup.tree.matches(&alert.labels);
                    Shown { alert: alert.clone(), mutes, muted_by: muted_by.clone(), nodes }
                })
            });
            let alerts: Vec<Shown> = alerts.collect();
            (!alerts.is_empty()).then(|| ShownGroup {
                alerts,
                labels: group.labels.clone(),
                receiver: ReceiverName { name: name.clone() },
            })
        };
        core.groups().filter_map(|(_, group)| of_group(group)).collect()
    });
    all.sort_by(|a, b| before(&a.labels, &b.labels).then_with(|| a.receiver.cmp(&b.receiver)));
    for group in &mut all {
        group.alerts = in_order(std::mem::take(&mut group.alerts), |shown| &shown.alert);
    }
    Ok(all)
}

/// `POST /api/v2/alerts`: the valid ones are taken in even when others are not.
///
/// # Errors
/// `Invalid` names every alert that was refused; `Limit` when there is no place for all of them.
pub async fn post_alerts(dispatcher: &Dispatcher, alerts: Vec<PostableAlert>) -> Result<(), Error> {
    let now = dispatcher.now();
    let resolve_timeout = dispatcher.look(|core, _| core.setup.config.global.resolve_timeout.ms());
    let (mut valid, mut wrong) = (vec![], vec![]);
    for posted in alerts {
        let (starts_at, ends_at) = (given(posted.starts_at), given(posted.ends_at));
        let starts_at = starts_at.or(ends_at).unwrap_or(now);
        let timeout = ends_at.is_none();
        let ends_at = ends_at.unwrap_or(now + resolve_timeout);
        let labels = Labels::from_pairs(posted.labels);
        let problem = if ends_at < starts_at {
            Some("start time must be before end time")
        } else if labels.is_empty() {
            Some("at least one label pair required")
        } else if labels.iter().any(|(name, _)| name.is_empty()) {
            Some("invalid label set: a name is empty")
        } else {
            None
        };
        if let Some(problem) = problem {
            wrong.push(format!("{labels}: {problem}"));
            continue;
        }
        let alert = Alert {
            labels,
            annotations: Labels::from_pairs(posted.annotations),
            starts_at,
            ends_at,
            updated_at: now,
            generator_url: posted.generator_url,
        };
        valid.push((alert, timeout));
    }
    if !wrong.is_empty() {
        let refused = dispatcher
            .metrics()
            .refused
            .get_or_create(&crate::metrics::ReasonLabel { reason: "invalid" })
            .clone();
        refused.inc_by(wrong.len() as u64);
    }
    let received = dispatcher.receive(valid).await;
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong.join("; ")));
    }
    if received.shed > 0 {
        return Err(Error::Limit(format!(
            "{} alerts refused: alerts.max_alerts ({}) are held",
            received.shed,
            dispatcher.settings().max_alerts
        )));
    }
    Ok(())
}
