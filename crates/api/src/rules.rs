//! `/api/v1/rules` and `/api/v1/alerts`: what the ruler evaluates.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use model::Selector;
use rules::snapshot::{GroupSnapshot, RuleSnapshot};
use serde_json::json;

use crate::error::ApiError;
use crate::params::Params;
use crate::reply;
use crate::server::Api;

/// `GET /api/v1/rules`, with Prometheus' filters: `type`, `rule_name[]`, `rule_group[]`, `file[]`, `match[]`, `exclude_alerts`,
/// `group_limit` and `group_next_token`.
pub(crate) async fn rules(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let filter = Filter::read(&params, &api.options)?;
    let groups: Vec<GroupSnapshot> =
        api.ruler.groups().into_iter().filter_map(|group| filter.group(group)).collect();
    let limit = params.limit("group_limit")?;
    if limit == 0 && params.get("group_limit").is_some() {
        return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0"));
    }
    let token = params.get("group_next_token");
    if token.is_some() && limit == 0 {
        return Err(ApiError::parameter(
            "group_next_token",
            "group_limit needs to be set in order to paginate over the groups",
        ));
    }
    let start = match token {
        None => 0,
        Some(token) => groups.iter().position(|group| next_token(group) == token).ok_or_else(|| {
            ApiError::parameter(
                "group_next_token",
                "invalid: the rule groups have changed, start again without it",
            )
        })?,
    };
    let end = if limit == 0 { groups.len() } else { groups.len().min(start + limit) };
    let page = &groups[start..end];
    match groups.get(end) {
        None => Ok(reply::success_of(&json!({ "groups": page }))),
        Some(next) => Ok(reply::success_of(&json!({ "groups": page, "groupNextToken": next_token(next) }))),
    }
}

/// `GET /api/v1/alerts`
pub(crate) async fn alerts(State(api): State<Arc<Api>>) -> Response {
    #[derive(serde::Serialize)]
    struct Alerts<T> {
        alerts: T,
    }
    reply::success_of(&Alerts { alerts: api.ruler.alerts() })
}

/// Names the group that a next page starts with. Opaque to clients.
fn next_token(group: &GroupSnapshot) -> String {
    let hash =
        model::Labels::from_pairs([("file", group.file.as_str()), ("group", &group.name)]).fingerprint();
    format!("{hash:016x}")
}

/// Which rules are shown.
struct Filter {
    kind: Option<&'static str>,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    selectors: Vec<Selector>,
    exclude_alerts: bool,
}

impl Filter {
    fn read(params: &Params, options: &promql::Options) -> Result<Self, ApiError> {
        let all = |name: &str| params.all(name).map(str::to_owned).collect();
        let kind = match params.get("type") {
            None => None,
            Some("alert") => Some("alerting"),
            Some("record") => Some("recording"),
            Some(other) => return Err(ApiError::parameter("type", format!("not supported value {other:?}"))),
        };
        Ok(Self {
            kind,
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            selectors: params.selectors(options)?,
            exclude_alerts: params.flag("exclude_alerts")?.unwrap_or(false),
        })
    }

    /// The group with the rules that pass; `None` when none does, or the group itself does not.
    fn group(&self, mut group: GroupSnapshot) -> Option<GroupSnapshot> {
        let passes = |wanted: &[String], value: &String| wanted.is_empty() || wanted.contains(value);
        if !passes(&self.groups, &group.name) || !passes(&self.files, &group.file) {
            return None;
        }
        let narrowed = self.kind.is_some() || !self.names.is_empty() || !self.selectors.is_empty();
        group.rules.retain(|rule| self.rule(rule));
        if self.exclude_alerts {
            group
                .rules
                .iter_mut()
                .filter(|rule| rule.alerts.is_some())
                .for_each(|rule| rule.alerts = Some(Vec::new()));
        }
        (!narrowed || !group.rules.is_empty()).then_some(group)
    }

    fn rule(&self, rule: &RuleSnapshot) -> bool {
        self.kind.is_none_or(|kind| rule.kind == kind)
            && (self.names.is_empty() || self.names.contains(&rule.name))
            && (self.selectors.is_empty()
                || self.selectors.iter().any(|selector| model::matcher::selects(selector, &rule.labels)))
    }
}
