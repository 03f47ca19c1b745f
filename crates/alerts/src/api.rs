//! Alertmanager's API v2 as functions: requests and answers in its JSON shapes. HTTP is the `api` crate's.
//!
//! Source: Alertmanager's OpenAPI description, version 2.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::pattern::Pattern;
use model::{Alert, Labels, MatchOp, Matcher, Selector, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::{Core, Mutes};
use crate::dispatcher::Dispatcher;
use crate::error::Error;
use crate::message::Kv;
use crate::parse;
use crate::silence::{Silence, SilenceState};

/// RFC 3339 with milliseconds, as the API writes times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = jiff::Timestamp::from_millisecond(self.0.ms()).unwrap_or(jiff::Timestamp::MAX);
        serializer.collect_str(&format_args!("{at:.3}"))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for Time {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let at: jiff::Timestamp =
            text.parse().map_err(|err| Error::Invalid(format!("{text:?} is no RFC 3339 time: {err}")))?;
        Ok(Self(Timestamp(at.as_millisecond())))
    }
}

/// Go's zero time is "not given".
fn given(time: Option<Time>) -> Option<Timestamp> {
    time.map(|time| time.0).filter(|at| at.ms() > -62_135_596_800_000)
}

/// A name alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReceiverName {
    /// The name.
    pub name: String,
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

/// Texts by name.
pub type Kv2 = BTreeMap<String, String>;

/// A group as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertGroup {
    /// Its alerts.
    pub alerts: Vec<GettableAlert>,
    /// What they share.
    pub labels: Kv2,
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

/// One label test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiMatcher {
    /// `=` or `=~` when true, `!=` or `!~` when false.
    #[serde(default = "yes")]
    pub is_equal: bool,
    /// Whether the value is a pattern.
    pub is_regex: bool,
    /// The label.
    pub name: String,
    /// The value.
    pub value: String,
}

fn yes() -> bool {
    true
}

/// A silence as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GettableSilence {
    /// Its id.
    pub id: String,
    /// Its state.
    pub status: SilenceStatus,
    /// When it was changed.
    pub updated_at: Time,
    /// Further texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Kv2,
    /// Why.
    pub comment: String,
    /// By whom.
    pub created_by: String,
    /// Until when.
    pub ends_at: Time,
    /// What it mutes: the first set.
    pub matchers: Vec<ApiMatcher>,
    /// Further sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matcher_sets: Vec<Vec<ApiMatcher>>,
    /// Since when.
    pub starts_at: Time,
}

/// The state of a silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SilenceStatus {
    /// `active`, `pending` or `expired`.
    pub state: SilenceState,
}

/// A silence as it is sent in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostableSilence {
    /// Empty for a new one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// What it mutes.
    #[serde(default)]
    pub matchers: Vec<ApiMatcher>,
    /// In place of `matchers`: several sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matcher_sets: Vec<Vec<ApiMatcher>>,
    /// Since when.
    pub starts_at: Time,
    /// Until when.
    pub ends_at: Time,
    /// By whom.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Further texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Kv2,
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

/// The status page.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The cluster: none.
    pub cluster: ClusterStatus,
    /// The configuration without secrets.
    pub config: ConfigStatus,
    /// When it was loaded.
    pub uptime: Time,
    /// Versions.
    pub version_info: VersionInfo,
}

/// The cluster.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterStatus {
    /// None.
    pub peers: Vec<ReceiverName>,
    /// `disabled`: other servers are reached in other ways.
    pub status: &'static str,
}

/// The configuration.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigStatus {
    /// Its text, secrets hidden.
    pub original: String,
}

/// Versions, in Alertmanager's fields.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// Unknown.
    pub branch: &'static str,
    /// Unknown.
    pub build_date: &'static str,
    /// Unknown.
    pub build_user: &'static str,
    /// None: this is not written in Go.
    pub go_version: &'static str,
    /// Unknown.
    pub revision: &'static str,
    /// This program's.
    pub version: &'static str,
}

/// `GET /api/v2/status`. `started`: when the server was.
pub fn status(dispatcher: &Dispatcher, started: Timestamp) -> Status {
    let setup = dispatcher.look(|core, _| core.setup.clone());
    Status {
        cluster: ClusterStatus { status: "disabled", peers: vec![] },
        config: ConfigStatus { original: setup.config.shown() },
        uptime: Time(started),
        version_info: VersionInfo {
            branch: "",
            build_date: "",
            build_user: "",
            go_version: "",
            revision: "",
            version: env!("CARGO_PKG_VERSION"),
        },
    }
}

/// `GET /api/v2/receivers`.
pub fn receivers(dispatcher: &Dispatcher) -> Vec<ReceiverName> {
    let setup = dispatcher.look(|core, _| core.setup.clone());
    setup.config.receivers.iter().map(|receiver| ReceiverName { name: receiver.name.clone() }).collect()
}

fn filters(texts: &[String]) -> Result<Selector, Error> {
    let read = |text: &String| {
        parse::matcher(text).map_err(|err| Error::Invalid(format!("bad matcher format: {text}: {err}")))
    };
    texts.iter().map(read).collect()
}

fn receiver_pattern(text: &Option<String>) -> Result<Option<Pattern>, Error> {
    let compile = |text: &String| {
        Pattern::new(text).map_err(|err| Error::Invalid(format!("failed to parse receiver param: {err}")))
    };
    text.as_ref().map(compile).transpose()
}

fn plain(labels: &Labels) -> Kv2 {
    Kv::from(labels).0
}

fn wanted(query: &AlertQuery, mutes: &Mutes) -> bool {
    let (silenced, inhibited) = (!mutes.silenced_by.is_empty(), mutes.inhibited_by.is_some());
    (query.active || silenced || inhibited)
        && (query.silenced || !silenced)
        && (query.inhibited || !inhibited)
}

pub(crate) fn shown(
    alert: &Alert,
    mutes: Mutes,
    receivers: Vec<String>,
    muted_by: Vec<String>,
) -> GettableAlert {
    let state = if mutes.any() || !muted_by.is_empty() { "suppressed" } else { "active" };
    GettableAlert {
        annotations: plain(&alert.annotations),
        ends_at: Time(alert.ends_at),
        fingerprint: format!("{:016x}", alert.labels.fingerprint()),
        receivers: receivers.into_iter().map(|name| ReceiverName { name }).collect(),
        starts_at: Time(alert.starts_at),
        status: AlertStatus {
            inhibited_by: mutes.inhibited_by.iter().map(|by| format!("{:016x}", by.by)).collect(),
            muted_by,
            silenced_by: mutes.silenced_by,
            state: state.to_owned(),
        },
        updated_at: Time(alert.updated_at),
        generator_url: alert.generator_url.clone(),
        labels: plain(&alert.labels),
    }
}

fn receivers_of(core: &Core, labels: &Labels) -> Vec<String> {
    core.setup.tree.matches(labels).iter().map(|node| node.options.receiver.clone()).collect()
}

/// `GET /api/v2/alerts`: by fingerprint.
///
/// # Errors
/// `Invalid` for a filter or receiver that cannot be read.
pub fn alerts(dispatcher: &Dispatcher, query: &AlertQuery) -> Result<Vec<GettableAlert>, Error> {
    let (filter, receiver) = (filters(&query.filter)?, receiver_pattern(&query.receiver)?);
    Ok(dispatcher.look(|core, now| {
        let mut found: Vec<(u64, &Arc<Alert>)> =
            core.store.iter().filter(|(_, alert)| !alert.is_resolved(now)).collect();
        found.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
        let shown = found.into_iter().filter_map(|(_, alert)| {
            if !model::matcher::selects(&filter, &alert.labels) {
                return None;
            }
            let receivers = receivers_of(core, &alert.labels);
            if receiver.as_ref().is_some_and(|pattern| !receivers.iter().any(|name| pattern.matches(name))) {
                return None;
            }
            let mutes = core.mutes(&alert.labels, now);
            wanted(query, &mutes).then(|| shown(alert, mutes, receivers, vec![]))
        });
        shown.collect()
    }))
}

/// `GET /api/v2/alerts/groups`: by labels, then receiver.
///
/// # Errors
/// `Invalid` for a filter or receiver that cannot be read.
pub fn groups(dispatcher: &Dispatcher, query: &AlertQuery) -> Result<Vec<AlertGroup>, Error> {
    let (filter, receiver) = (filters(&query.filter)?, receiver_pattern(&query.receiver)?);
    let mut all: Vec<AlertGroup> = dispatcher.look(|core, now| {
        let of_group = |group: &crate::group::Group| {
            let name = &group.options.receiver;
            if receiver.as_ref().is_some_and(|pattern| !pattern.matches(name)) {
                return None;
            }
            let muted_by: Vec<String> = core.interval_mutes(&group.options, now).into_iter().collect();
            if !query.muted && !muted_by.is_empty() {
                return None;
            }
            let alerts = group.alerts().filter(|alert| !alert.is_resolved(now)).filter_map(|alert| {
                if !model::matcher::selects(&filter, &alert.labels) {
                    return None;
                }
                let mutes = core.mutes(&alert.labels, now);
                let receivers = || receivers_of(core, &alert.labels);
                wanted(query, &mutes).then(|| shown(alert, mutes, receivers(), muted_by.clone()))
            });
            let alerts: Vec<GettableAlert> = alerts.collect();
            (!alerts.is_empty()).then(|| AlertGroup {
                alerts,
                labels: plain(&group.labels),
                receiver: ReceiverName { name: name.clone() },
            })
        };
        core.groups().filter_map(|(_, group)| of_group(group)).collect()
    });
    all.sort_by(|a, b| (&a.labels, &a.receiver).cmp(&(&b.labels, &b.receiver)));
    for group in &mut all {
        group.alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
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

impl From<&Matcher> for ApiMatcher {
    fn from(matcher: &Matcher) -> Self {
        Self {
            is_equal: matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex),
            is_regex: matches!(matcher.op(), MatchOp::Regex | MatchOp::NotRegex),
            name: matcher.name().to_owned(),
            value: matcher.value().to_owned(),
        }
    }
}

impl TryFrom<&ApiMatcher> for Matcher {
    type Error = Error;
    fn try_from(matcher: &ApiMatcher) -> Result<Self, Error> {
        let op = match (matcher.is_equal, matcher.is_regex) {
            (true, false) => MatchOp::Equal,
            (true, true) => MatchOp::Regex,
            (false, false) => MatchOp::NotEqual,
            (false, true) => MatchOp::NotRegex,
        };
        Self::new(&matcher.name, op, &matcher.value)
            .map_err(|err| Error::Invalid(format!("invalid label matcher: {err}")))
    }
}

pub(crate) fn shown_silence(silence: &Silence, now: Timestamp) -> GettableSilence {
    let mut sets =
        silence.matcher_sets.iter().map(|set| set.iter().map(ApiMatcher::from).collect::<Vec<_>>());
    GettableSilence {
        id: silence.id.clone(),
        status: SilenceStatus { state: silence.state(now) },
        updated_at: Time(silence.updated_at),
        annotations: silence.annotations.clone(),
        comment: silence.comment.clone(),
        created_by: silence.created_by.clone(),
        ends_at: Time(silence.ends_at),
        matchers: sets.next().unwrap_or_default(),
        matcher_sets: sets.collect(),
        starts_at: Time(silence.starts_at),
    }
}

/// `GET /api/v2/silences`: active ones by their end, pending ones by their start, expired ones by their end, newest
/// first. A filter keeps the silences that have a matcher for the same label that says the same.
///
/// # Errors
/// `Invalid` for a filter that cannot be read.
pub fn silences(dispatcher: &Dispatcher, filter: &[String]) -> Result<Vec<GettableSilence>, Error> {
    let filter = filters(filter)?;
    let mut all: Vec<GettableSilence> = dispatcher.look(|core, now| {
        let fits = |silence: &&Silence| {
            let labels = silence.matcher_sets.iter().flatten().map(|m| (m.name(), m.value()));
            let labels: BTreeMap<&str, &str> = labels.collect();
            filter
                .iter()
                .all(|matcher| matcher.matches(labels.get(matcher.name()).copied().unwrap_or_default()))
        };
        core.silences.iter().filter(fits).map(|silence| shown_silence(silence, now)).collect()
    });
    all.sort_by(|a, b| {
        let state = a.status.state.cmp(&b.status.state);
        state.then_with(|| match a.status.state {
            SilenceState::Active => a.ends_at.cmp(&b.ends_at),
            SilenceState::Pending => a.starts_at.cmp(&b.starts_at),
            SilenceState::Expired => b.ends_at.cmp(&a.ends_at),
        })
    });
    Ok(all)
}

/// `GET /api/v2/silence/{id}`.
///
/// # Errors
/// `NotFound`.
pub fn silence(dispatcher: &Dispatcher, id: &str) -> Result<GettableSilence, Error> {
    dispatcher
        .look(|core, now| core.silences.get(id).map(|silence| shown_silence(silence, now)))
        .ok_or_else(|| Error::NotFound(format!("silence {id} not found")))
}

/// The answer to a new silence.
#[derive(Clone, Debug, Serialize)]
pub struct PostedSilence {
    /// Its id.
    #[serde(rename = "silenceID")]
    pub silence_id: String,
}

/// `POST /api/v2/silences`.
///
/// # Errors
/// `Invalid`, `NotFound`, `Limit`, `State`.
pub async fn post_silence(dispatcher: &Dispatcher, posted: PostableSilence) -> Result<PostedSilence, Error> {
    let now = dispatcher.now();
    if posted.starts_at >= posted.ends_at {
        return Err(Error::Invalid("failed to create silence: start time must be before end time".into()));
    }
    if posted.ends_at.0 < now {
        return Err(Error::Invalid("failed to create silence: end time can't be in the past".into()));
    }
    let sets: Vec<&Vec<ApiMatcher>> =
        std::iter::once(&posted.matchers).filter(|set| !set.is_empty()).chain(&posted.matcher_sets).collect();
    let build =
        |set: &Vec<ApiMatcher>| set.iter().map(Matcher::try_from).collect::<Result<Selector, Error>>();
    let silence = Silence {
        id: posted.id.clone(),
        matcher_sets: sets.into_iter().map(build).collect::<Result<_, _>>()?,
        starts_at: posted.starts_at.0,
        ends_at: posted.ends_at.0,
        updated_at: now,
        created_by: posted.created_by,
        comment: posted.comment,
        annotations: posted.annotations,
    };
    Ok(PostedSilence { silence_id: dispatcher.set_silence(silence).await? })
}

/// `DELETE /api/v2/silence/{id}`.
///
/// # Errors
/// `NotFound`, `State`.
pub async fn delete_silence(dispatcher: &Dispatcher, id: &str) -> Result<(), Error> {
    dispatcher.expire_silence(id).await
}
