//! Jira: an issue for each group, found again by a label that holds the hash of the group's key.
//!
//! Source: the Jira REST API reference, versions 2 and 3.

use httpc::Method;
use serde_json::{Map, Value, json};

use super::http::json as json_request;
use super::{Attempt, Delivered, Failure, cut_chars, sender};
use crate::config::receiver;
use crate::message::Notification;

sender!(Jira, receiver::Jira);

/// Jira refuses more, in characters.
const SUMMARY: usize = 255;
const DESCRIPTION: usize = 32_767;

impl Jira {
    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        let base = self.section.api_url.as_ref().map_or("", |url| url.trimmed());
        let answer = self.http.exchange(json_request(method, &format!("{base}/{path}"), body, &[])?).await?;
        let parsed = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        answer.judge().map(|_| parsed)
    }

    fn is_cloud(&self) -> bool {
        let host =
            || self.section.api_url.as_ref().is_some_and(|url| url.as_str().contains(".atlassian.net"));
        self.section.api_type == "cloud" || (self.section.api_type == "auto" && host())
    }

    /// The issue of the group: its key, and whether it is done.
    async fn find(&self, label: &str) -> Result<Option<(String, bool)>, Failure> {
        let s = &self.section;
        let mut clauses = vec![];
        if !s.wont_fix_resolution.is_empty() {
            clauses.push(format!("resolution != {:?}", s.wont_fix_resolution));
        }
        if s.reopen_transition.is_empty() {
            clauses.push("statusCategory != Done".to_owned());
        } else {
            let minutes = s.reopen_duration.map_or(0, |span| span.ms() / 60_000);
            let recently = if minutes > 0 {
                format!("resolutiondate >= -{minutes}m")
            } else {
                "resolutiondate is not EMPTY".into()
            };
            clauses.push(format!("(resolutiondate is EMPTY OR {recently})"));
        }
        clauses.push(format!("project = {:?}", s.project));
        clauses.push(format!("labels = {label:?}"));
        let jql = format!("{} order by status ASC, resolutiondate DESC", clauses.join(" and "));
        let path = if self.is_cloud() { "search/jql" } else { "search" };
        let body = json!({ "jql": jql, "maxResults": 2, "fields": ["status"] });
        let found = self.call(Method::POST, path, &body).await?;
        let issue = &found["issues"][0];
        let done = issue["fields"]["status"]["statusCategory"]["key"] == "done";
        Ok(issue["key"].as_str().map(|key| (key.to_owned(), done)))
    }

    async fn transition(&self, issue: &str, name: &str) -> Result<(), Failure> {
        let path = format!("issue/{issue}/transitions");
        let offered = self.call(Method::GET, &path, &Value::Null).await?;
        let all = offered["transitions"].as_array().cloned().unwrap_or_default();
        let id = all
            .iter()
            .find(|transition| transition["name"] == name)
            .map(|transition| transition["id"].clone());
        let id =
            id.ok_or_else(|| Failure::permanent(format!("Jira offers no transition {name:?} for {issue}")))?;
        self.call(Method::POST, &path, &json!({ "transition": { "id": id } })).await?;
        Ok(())
    }

    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let label = format!("ALERT{{{}}}", n.hash());
        let found = self.find(&label).await?;
        let firing = n.data.status == "firing";
        let done = |answer: String| Ok(Delivered { status: None, answer });
        let Some((issue, is_done)) = found else {
            if !firing {
                return done("no open issue to resolve".into());
            }
            let fields = self.fields(n, &label, true)?;
            let created = self.call(Method::POST, "issue", &json!({ "fields": fields })).await?;
            return done(format!("created {}", created["key"]));
        };
        let fields = self.fields(n, &label, false)?;
        self.call(Method::PUT, &format!("issue/{issue}"), &json!({ "fields": fields })).await?;
        if firing && is_done && !s.reopen_transition.is_empty() {
            self.transition(&issue, &text(&s.reopen_transition)?).await?;
            return done(format!("reopened {issue}"));
        }
        if !firing && !is_done && !s.resolve_transition.is_empty() {
            self.transition(&issue, &text(&s.resolve_transition)?).await?;
            return done(format!("resolved {issue}"));
        }
        done(format!("updated {issue}"))
    }

    fn fields(&self, n: &Notification, label: &str, new: bool) -> Result<Map<String, Value>, Failure> {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let mut fields = Map::new();
        if new {
            fields.insert("project".into(), json!({ "key": text(&s.project)? }));
            fields.insert("issuetype".into(), json!({ "name": text(&s.issue_type)? }));
        }
        if new || s.summary.enable_update {
            let summary = text(&s.summary.template)?.replace(['\r', '\n'], " ");
            fields.insert("summary".into(), cut_chars(&summary, SUMMARY).into());
        }
        if new || s.description.enable_update {
            let description = cut_chars(&text(&s.description.template)?, DESCRIPTION);
            let v3 = s.api_url.as_ref().is_some_and(|url| url.trimmed().ends_with("/3"));
            let value = match serde_json::from_str::<Value>(&description) {
                Ok(document) if v3 && document.is_object() => document,
                // Version 3 wants a document.
                _ if v3 => json!({ "type": "doc", "version": 1, "content": [
                    { "type": "paragraph", "content": [{ "type": "text", "text": description }] }] }),
                _ => description.into(),
            };
            fields.insert("description".into(), value);
        }
        if new || s.labels.enable_update {
            let mut labels = vec![label.to_owned()];
            for one in &s.labels.values {
                labels.push(text(one)?);
            }
            labels.sort();
            fields.insert("labels".into(), json!(labels));
        }
        let priority = text(&s.priority)?;
        if !priority.is_empty() {
            fields.insert("priority".into(), json!({ "name": priority }));
        }
        for (name, value) in &s.fields {
            fields.insert(name.clone(), self.renderer.json(value, &n.data)?);
        }
        Ok(fields)
    }
}
