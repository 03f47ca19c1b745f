//! Jira.

use std::collections::BTreeMap;

use model::duration::PromDuration;
use serde::Deserialize;

use super::{Check, Global, Http, Section, from_global, must, named, section};
use crate::config::value::HttpUrl;

/// A Jira field: a template alone, or with whether later notifications renew it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawJiraField")]
pub struct JiraField {
    /// The text.
    pub template: String,
    /// Whether an issue that exists gets the new text.
    pub enable_update: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawJiraField {
    Text(String),
    Full(FullJiraField),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullJiraField {
    #[serde(default)]
    template: String,
    enable_update: Option<bool>,
}

impl From<RawJiraField> for JiraField {
    fn from(raw: RawJiraField) -> Self {
        match raw {
            RawJiraField::Text(template) => Self { template, enable_update: true },
            RawJiraField::Full(full) => {
                Self { template: full.template, enable_update: full.enable_update.unwrap_or(true) }
            }
        }
    }
}

impl Default for JiraField {
    fn default() -> Self {
        Self { template: String::new(), enable_update: true }
    }
}

/// Labels of a Jira issue: a list, or with whether later notifications renew it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawJiraLabels")]
pub struct JiraLabels {
    /// The labels.
    pub values: Vec<String>,
    /// Whether an issue that exists gets the new ones.
    pub enable_update: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawJiraLabels {
    List(Vec<String>),
    Full(FullJiraLabels),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullJiraLabels {
    #[serde(default)]
    values: Vec<String>,
    enable_update: Option<bool>,
}

impl From<RawJiraLabels> for JiraLabels {
    fn from(raw: RawJiraLabels) -> Self {
        match raw {
            RawJiraLabels::List(values) => Self { values, enable_update: true },
            RawJiraLabels::Full(full) => {
                Self { values: full.values, enable_update: full.enable_update.unwrap_or(true) }
            }
        }
    }
}

impl Default for JiraLabels {
    fn default() -> Self {
        Self { values: vec![], enable_update: true }
    }
}

section! {
    /// `jira_configs`.
    Jira {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Endpoint with its version.
        api_url: Option<HttpUrl> = None,
        /// `auto`, `cloud` or `datacenter`.
        api_type: String = "auto".into(),
        /// Project.
        project: String = String::new(),
        /// Heading.
        summary: JiraField = JiraField { template: named("jira.default.summary"), enable_update: true },
        /// Text.
        description: JiraField = JiraField { template: named("jira.default.description"), enable_update: true },
        /// Labels.
        labels: JiraLabels = JiraLabels::default(),
        /// Priority.
        priority: String = named("jira.default.priority"),
        /// Kind of issue.
        issue_type: String = String::new(),
        /// Transition that reopens.
        reopen_transition: String = String::new(),
        /// Transition that resolves.
        resolve_transition: String = String::new(),
        /// Resolution that is left alone.
        wont_fix_resolution: String = String::new(),
        /// How old an issue may be to be reopened.
        reopen_duration: Option<PromDuration> = None,
        /// Further fields.
        fields: BTreeMap<String, serde_json::Value> = BTreeMap::new(),
    }
}

impl Section for Jira {
    fn check(&mut self) -> Check {
        must(!self.project.is_empty(), "missing project in jira_config")?;
        must(!self.issue_type.is_empty(), "missing issue_type in jira_config")?;
        must(
            matches!(self.api_type.as_str(), "auto" | "cloud" | "datacenter"),
            "unknown api_type on jira_config, must be auto, cloud or datacenter",
        )
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.api_url, &global.jira_api_url, "no global Jira Cloud URL set")
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
}
