//! Silences of the API.

use std::collections::BTreeMap;

use model::{MatchOp, Matcher, Selector, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Kv2, Time, filters};
use crate::dispatcher::Dispatcher;
use crate::error::Error;
use crate::silence::{Silence, SilenceState};

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
