//! `/api/v1/alerts/*`: what happened to alerts, what that says of rules and people, why one was told or was not, and tests of
//! receivers.

use std::collections::BTreeSet;
use std::sync::Arc;

use alerts::explain::{self, Asked};
use alerts::history::{History, Query};
use alerts::report;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use model::{Labels, MatchOp, Timestamp};
use rules::RuleExplanation;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{ApiError, ErrorType};
use crate::params::Params;
use crate::reply;
use crate::server::Api;

/// Events of one report or timeline.
const MAX_SCANNED: usize = 1_000_000;
/// Events of one page, unless the request says less.
const PAGE: usize = 1000;
/// A report or timeline without `start` goes back so far.
const DEFAULT_RANGE_MS: i64 = 7 * 86_400_000;

type Answer = Result<Response, ApiError>;

/// The history, or why there is none.
fn history(api: &Api) -> Result<Arc<History>, ApiError> {
    let none = || ApiError::new(ErrorType::Unavailable, "this server keeps no history of alerts");
    api.dispatcher.history().cloned().ok_or_else(none)
}

/// Runs a read of the history off the runtime.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, alerts::Error> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(read).await;
    let done =
        done.map_err(|err| ApiError::new(ErrorType::Internal, format!("the work ended early: {err}")))?;
    Ok(done?)
}

impl From<alerts::Error> for ApiError {
    fn from(err: alerts::Error) -> Self {
        let kind = match err.kind() {
            model::ErrorKind::Invalid => ErrorType::BadData,
            model::ErrorKind::NotFound => ErrorType::NotFound,
            model::ErrorKind::Limit => ErrorType::Execution,
            model::ErrorKind::Unavailable | model::ErrorKind::Timeout => ErrorType::Unavailable,
            _ => ErrorType::Internal,
        };
        let mut text = err.to_string();
        let mut cause = std::error::Error::source(&err);
        while let Some(err) = cause {
            text.push_str(&format!(": {err}"));
            cause = err.source();
        }
        Self::new(kind, text)
    }
}

/// What events are wanted, by parameters of the fields' names.
fn wanted(params: &Params) -> Result<Query, ApiError> {
    let text = |name: &str| params.get(name).unwrap_or_default().to_owned();
    let range = params.range()?;
    let before = params.get("before").map(|text| {
        text.parse().map_err(|_| ApiError::parameter("before", format!("{text:?} is no event's id")))
    });
    Ok(Query {
        start: Some(range.start.ms()),
        end: Some(range.end.ms()),
        fingerprint: text("fingerprint"),
        alertname: text("alertname"),
        group_key: text("group_key"),
        receiver: text("receiver"),
        kind: params.all("kind").collect::<Vec<_>>().join(","),
        before: before.transpose()?,
        limit: params.limit("limit")?,
    })
}

/// `GET /api/v1/alerts/history`: events, newest first. `start`, `end`, `fingerprint`, `alertname`, `group_key`, `receiver`,
/// `kind`, `limit`, and `before` with the `nextBefore` of the page before.
pub(crate) async fn events(State(api): State<Arc<Api>>, uri: Uri, headers: HeaderMap) -> Answer {
    let mut query = wanted(&Params::read(&uri, &headers, &Bytes::new())?)?;
    if query.limit == 0 {
        query.limit = PAGE;
    }
    let (history, limit) = (history(&api)?, query.limit.min(alerts::history::MAX_ANSWER));
    let events = blocking(move || {
        history.flush();
        history.query(&query)
    })
    .await?;
    let next = (events.len() == limit).then(|| events.last().map(|event| event.id)).flatten();
    Ok(reply::success_of(&json!({ "events": events, "nextBefore": next })))
}

/// The episodes of a report or timeline that `query`'s filters keep, and a warning when not all events were read.
async fn scan(api: &Api, params: &Params) -> Result<(Vec<report::Episode>, Query, Vec<String>), ApiError> {
    let mut query = wanted(params)?;
    let now = api.clock.now();
    if params.get("start").is_none() {
        query.start = Some(now.ms() - DEFAULT_RANGE_MS);
    }
    // Deliveries and silences are about many alerts, so that a filter by alert must not leave them out.
    let all = Query {
        fingerprint: String::new(),
        alertname: String::new(),
        receiver: String::new(),
        ..query.clone()
    };
    let (history, kept) = (history(api)?, query.clone());
    let (episodes, events) = blocking(move || {
        history.flush();
        let mut episodes = report::Episodes::default();
        let events = history.scan(&all, MAX_SCANNED, |event| episodes.take(event))?;
        let mut episodes = episodes.done();
        episodes.retain(keep(&kept));
        Ok((episodes, events))
    })
    .await?;
    let mut warnings = Vec::new();
    if events == MAX_SCANNED {
        warnings.push(format!(
            "only the first {MAX_SCANNED} events of the range are counted; ask for a shorter one"
        ));
    }
    Ok((episodes, query, warnings))
}

fn keep(query: &Query) -> impl Fn(&report::Episode) -> bool + '_ {
    |episode| {
        (query.fingerprint.is_empty() || query.fingerprint == episode.fingerprint)
            && (query.alertname.is_empty() || query.alertname == episode.alertname)
            && (query.receiver.is_empty() || episode.receivers.contains(&query.receiver))
    }
}

fn with_warnings(value: &impl Serialize, warnings: &[String]) -> Answer {
    let data = serde_json::to_vec(value)
        .map_err(|err| ApiError::new(ErrorType::Internal, format!("the answer cannot be written: {err}")))?;
    Ok(reply::success(&data, warnings, &[]))
}

/// `GET /api/v1/alerts/timeline`: each firing of each alert, with who was told and what kept it back.
pub(crate) async fn timeline(State(api): State<Arc<Api>>, uri: Uri, headers: HeaderMap) -> Answer {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let (mut episodes, query, mut warnings) = scan(&api, &params).await?;
    let limit = if query.limit == 0 { PAGE } else { query.limit.min(alerts::history::MAX_ANSWER) };
    if episodes.len() > limit {
        warnings.push(format!("only the newest {limit} of {} episodes are shown", episodes.len()));
        episodes.drain(..episodes.len() - limit);
    }
    with_warnings(&json!({ "episodes": episodes }), &warnings)
}

/// `GET /api/v1/alerts/report`: figures of a range: how long until somebody was told, acknowledged, and until alerts
/// resolved; the noisiest rules; rules that never fired.
pub(crate) async fn report(State(api): State<Arc<Api>>, uri: Uri, headers: HeaderMap) -> Answer {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let (episodes, query, warnings) = scan(&api, &params).await?;
    let now = api.clock.now();
    let report = report::report(&episodes, now);
    let fired: BTreeSet<&str> = report.rules.iter().map(|rule| rule.alertname.as_str()).collect();
    let mut never = Vec::new();
    for group in api.ruler.groups() {
        for rule in &group.rules {
            // One that fires now began before the range.
            let fires = rule.alerts.as_ref().is_none_or(|alerts| !alerts.is_empty());
            if rule.kind == "alerting" && !fires && !fired.contains(rule.name.as_str()) {
                never.push(json!({
                    "alertname": rule.name, "file": group.file, "group": group.name, "query": rule.query,
                    "health": rule.health,
                }));
            }
        }
    }
    let (start, end) = (query.start.unwrap_or_default(), query.end.unwrap_or_default().min(now.ms()));
    let value = json!({
        "start": start as f64 / 1000.0, "end": end as f64 / 1000.0,
        "total": report.total, "rules": report.rules, "neverFired": never,
    });
    with_warnings(&value, &warnings)
}

/// The answer of `explain`.
#[derive(Serialize)]
struct Explained {
    /// In words: the rules' part, then the alert manager's.
    verdict: Vec<String>,
    rules: Vec<RuleExplanation>,
    manager: explain::Explanation,
}

/// `GET /api/v1/alerts/explain`: why an alert fired or did not, was sent or was not. `fingerprint`, or `alert` with its
/// labels as `{alertname="X",instance="y"}`; `time`.
pub(crate) async fn explain(State(api): State<Arc<Api>>, uri: Uri, headers: HeaderMap) -> Answer {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let at = params.time("time")?;
    let asked = match (params.get("fingerprint"), params.get("alert")) {
        (Some(text), None) => Asked { fingerprint: explain::fingerprint(text)?, labels: None, at },
        (None, Some(text)) => {
            let labels = labels(text)?;
            Asked { fingerprint: labels.fingerprint(), labels: Some(labels), at }
        }
        _ => {
            return Err(ApiError::bad_data(
                "give one of fingerprint and alert, such as {alertname=\"X\",job=\"y\"}",
            ));
        }
    };
    let dispatcher = api.dispatcher.clone();
    let manager = blocking(move || explain::explain(&dispatcher, &asked)).await?;
    let labels = Labels::from_pairs(&manager.labels);
    let rules = api.ruler.explain(&labels, at.unwrap_or_else(|| api.clock.now())).await;
    let mut verdict: Vec<String> = rules
        .iter()
        .map(|rule| format!("rule {} ({}, line {}): {}", rule.name, rule.file, rule.line, rule.verdict))
        .collect();
    if rules.is_empty() {
        let name = labels.get("alertname").unwrap_or_default();
        verdict.push(format!("this server has no alerting rule {name:?}"));
    }
    for rule in rules.iter().filter(|rule| rule.sent_as.is_none()) {
        verdict.push(format!("alert_relabel_configs drop the alerts of rule {}", rule.name));
    }
    verdict.extend(manager.verdict.iter().cloned());
    Ok(reply::success_of(&Explained { verdict, rules, manager }))
}

/// Labels from a set of equality matchers.
fn labels(text: &str) -> Result<Labels, ApiError> {
    let bad = |cause: String| ApiError::parameter("alert", cause);
    let matchers = alerts::parse::matchers(text).map_err(|err| bad(err.to_string()))?;
    if matchers.is_empty() {
        return Err(bad("no label is given".to_owned()));
    }
    let pair = |matcher: &model::Matcher| match matcher.op() {
        MatchOp::Equal => Ok((matcher.name().to_owned(), matcher.value().to_owned())),
        _ => Err(bad(format!("{matcher}: labels are given by =, since one alert is explained"))),
    };
    Ok(Labels::from_pairs(matchers.iter().map(pair).collect::<Result<Vec<_>, _>>()?))
}

/// The body of a receiver's test.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TestBody {
    labels: std::collections::BTreeMap<String, String>,
}

/// `POST /api/v1/alerts/receivers/{name}/test`: sends a test alert through each way of a receiver, once, and says what each
/// service answered. `{"labels": {…}}` are the test alert's labels.
pub(crate) async fn test_receiver(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let given: TestBody = match body.is_empty() {
        true => TestBody::default(),
        false => serde_json::from_slice(&body)
            .map_err(|err| ApiError::bad_data(format!("the body cannot be read: {err}")))?,
    };
    let mut labels = given.labels;
    labels.entry("alertname".to_owned()).or_insert_with(|| "ReceiverTest".to_owned());
    let started: Timestamp = api.clock.now();
    let attempts = api.dispatcher.send_test(&name, Labels::from_pairs(labels)).await?;
    let delivered = attempts.iter().all(|(_, attempt)| attempt.is_ok());
    let attempts: Vec<_> = attempts
        .into_iter()
        .map(|(way, attempt)| match attempt {
            Ok(done) => json!({ "way": way, "delivered": true, "code": done.status, "answer": done.answer }),
            Err(failure) => json!({
                "way": way, "delivered": false, "code": failure.status, "answer": failure.message,
                "retry": failure.retry, "retryAfterSeconds": failure.after.map(|after| after.as_secs_f64()),
            }),
        })
        .collect();
    Ok(reply::success_of(&json!({
        "receiver": name, "at": started.seconds(), "delivered": delivered && !attempts.is_empty(), "attempts": attempts,
    })))
}
