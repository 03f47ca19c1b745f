//! Incident services: PagerDuty, Opsgenie, VictorOps, incident.io. The hash of the group's key names the incident, so
//! that what resolves closes what fired.
//!
//! Source: each service's public API reference.

use httpc::Method;
use serde_json::{Map, Value, json};

use super::cut::{cut_details, cut_shares};
use super::http::{json as json_request, request};
use super::{Attempt, cut_chars, secret, sender, set, url_of_http, webhook};
use crate::config::receiver;
use crate::message::Notification;

sender!(Pagerduty, receiver::Pagerduty, timeout);
sender!(Opsgenie, receiver::Opsgenie);
sender!(Victorops, receiver::Victorops);
sender!(Incidentio, receiver::Incidentio, timeout);

/// PagerDuty refuses more, in characters.
const PAGERDUTY_SUMMARY: usize = 1024;
/// PagerDuty refuses more, in bytes of the whole event.
const PAGERDUTY_EVENT: usize = 512_000;
/// Where integrations of the older kind send to, when the setting still has the newer kind's endpoint.
const PAGERDUTY_V1: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";
/// Opsgenie cuts here, in characters.
const OPSGENIE_MESSAGE: usize = 130;
const OPSGENIE_DESCRIPTION: usize = 15_000;
/// Opsgenie refuses more, in characters: of the details in all, of the note, of the entity, of the source.
const OPSGENIE_DETAILS: usize = 8000;
const OPSGENIE_NOTE: usize = 25_000;
const OPSGENIE_ENTITY: usize = 512;
const OPSGENIE_SOURCE: usize = 100;
/// Opsgenie refuses more: tags, actions, and characters of each.
const OPSGENIE_TAGS: usize = 20;
const OPSGENIE_ACTIONS: usize = 10;
const OPSGENIE_TAG: usize = 50;
/// incident.io refuses more, in bytes of the whole event.
const INCIDENTIO_EVENT: usize = 512_000;
/// VictorOps refuses more, in characters.
const VICTOROPS_TEXT: usize = 20_480;

impl Pagerduty {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let url = s.url.as_ref().map_or("", |url| url.as_str());
        let event = if n.data.status == "firing" { "trigger" } else { "resolve" };
        let details = self.renderer.json(&json!(s.details), &n.data)?;
        let routing_key = text(&secret(&s.routing_key, &s.routing_key_file).await?)?;
        if routing_key.trim().is_empty() {
            let key = text(&secret(&s.service_key, &s.service_key_file).await?)?;
            let url = if url.ends_with("/v2/enqueue") { PAGERDUTY_V1 } else { url };
            let mut body = json!({
                "service_key": key.trim(), "event_type": event, "incident_key": n.hash(),
                "description": cut_chars(&text(&s.description)?, PAGERDUTY_SUMMARY), "details": details,
            });
            if event == "trigger" {
                body["client"] = text(&s.client)?.into();
                body["client_url"] = text(&s.client_url)?.into();
            }
            cut_details(&mut body, "/details", PAGERDUTY_EVENT);
            return self.http.post_json(url, &body, &[]).await;
        }
        let severity = text(&s.severity)?;
        let mut payload = Map::new();
        set(&mut payload, "summary", cut_chars(&text(&s.description)?, PAGERDUTY_SUMMARY));
        set(&mut payload, "source", text(&s.source)?);
        set(&mut payload, "severity", if severity.is_empty() { "error".to_owned() } else { severity });
        for (name, setting) in [("class", &s.class), ("component", &s.component), ("group", &s.group)] {
            set(&mut payload, name, text(setting)?);
        }
        payload.insert("custom_details".into(), details);
        let mut body = json!({
            "routing_key": routing_key.trim(), "event_action": event, "dedup_key": n.hash(),
            "client": text(&s.client)?, "client_url": text(&s.client_url)?, "payload": payload,
        });
        let mut images = vec![];
        for image in &s.images {
            let src = text(&image.src)?;
            if !src.is_empty() {
                images.push(json!({ "href": text(&image.href)?, "src": src, "alt": text(&image.alt)? }));
            }
        }
        let mut links = vec![];
        for link in &s.links {
            let href = text(&link.href)?;
            if !href.is_empty() {
                links.push(json!({ "href": href, "text": text(&link.text)? }));
            }
        }
        body["images"] = images.into();
        body["links"] = links.into();
        cut_details(&mut body, "/payload/custom_details", PAGERDUTY_EVENT);
        self.http.post_json(url, &body, &[]).await
    }
}

impl Opsgenie {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let base = s.api_url.as_ref().map_or("", |url| url.trimmed());
        let key = secret(&s.api_key, &s.api_key_file).await?;
        let authorization = format!("GenieKey {}", text(&key)?);
        let headers = [("Authorization", authorization.as_str())];
        let (alias, source) = (n.hash(), cut_chars(&text(&s.source)?, OPSGENIE_SOURCE));
        if n.data.status == "resolved" {
            let url = format!("{base}/v2/alerts/{alias}/close?identifierType=alias");
            return self.http.post_json(&url, &json!({ "source": source }), &headers).await;
        }
        let message = cut_chars(&text(&s.message)?, OPSGENIE_MESSAGE);
        let description = cut_chars(&text(&s.description)?, OPSGENIE_DESCRIPTION);
        let mut details: Map<String, Value> = n
            .data
            .common_labels
            .0
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        for (name, value) in &s.details {
            details.insert(name.clone(), text(value)?.into());
        }
        let mut responders = vec![];
        for responder in &s.responders {
            let kind = text(&responder.r#type)?;
            let name = text(&responder.name)?;
            if kind == "teams" {
                let teams = name.split(',').map(str::trim).filter(|team| !team.is_empty());
                responders.extend(teams.map(|team| json!({ "name": team, "type": "team" })));
                continue;
            }
            let mut out = Map::new();
            set(&mut out, "id", text(&responder.id)?);
            set(&mut out, "name", name);
            set(&mut out, "username", text(&responder.username)?);
            set(&mut out, "type", kind);
            responders.push(Value::Object(out));
        }
        let list = |joined: String, max| -> Vec<String> {
            let items = joined.split(',').map(str::trim).filter(|one| !one.is_empty());
            items.take(max).map(|one| cut_chars(one, OPSGENIE_TAG)).collect()
        };
        let mut body = Map::new();
        body.insert("alias".into(), alias.as_str().into());
        body.insert("details".into(), cut_shares(details, OPSGENIE_DETAILS).into());
        set(&mut body, "message", message.clone());
        set(&mut body, "description", description.clone());
        set(&mut body, "source", source);
        set(&mut body, "note", cut_chars(&text(&s.note)?, OPSGENIE_NOTE));
        set(&mut body, "priority", text(&s.priority)?);
        set(&mut body, "entity", cut_chars(&text(&s.entity)?, OPSGENIE_ENTITY));
        let (tags, actions) = (text(&s.tags)?, text(&s.actions)?);
        for (name, items) in
            [("tags", list(tags, OPSGENIE_TAGS)), ("actions", list(actions, OPSGENIE_ACTIONS))]
        {
            if !items.is_empty() {
                body.insert(name.into(), items.into());
            }
        }
        if !responders.is_empty() {
            body.insert("responders".into(), responders.into());
        }
        let created = self.http.post_json(&format!("{base}/v2/alerts"), &body.into(), &headers).await?;
        if s.update_alerts {
            for (part, value) in [("message", message), ("description", description)] {
                let url = format!("{base}/v2/alerts/{alias}/{part}?identifierType=alias");
                self.http.send(json_request(Method::PUT, &url, &json!({ part: value }), &headers)?).await?;
            }
        }
        Ok(created)
    }
}

impl Victorops {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let base = s.api_url.as_ref().map_or("", |url| url.trimmed());
        let key = secret(&s.api_key, &s.api_key_file).await?;
        let kind = match text(&s.message_type)? {
            _ if n.data.status == "resolved" => "RECOVERY".to_owned(),
            kind if matches!(kind.as_str(), "CRITICAL" | "WARNING" | "INFO") => kind,
            // What the service does not know it would drop.
            _ => "CRITICAL".to_owned(),
        };
        let mut body = Map::new();
        for (name, setting) in &s.custom_fields {
            set(&mut body, name, text(setting)?);
        }
        body.insert("message_type".into(), kind.into());
        body.insert("entity_id".into(), n.hash().into());
        set(&mut body, "entity_display_name", text(&s.entity_display_name)?);
        set(&mut body, "monitoring_tool", text(&s.monitoring_tool)?);
        set(&mut body, "state_message", cut_chars(&text(&s.state_message)?, VICTOROPS_TEXT));
        let url = format!("{base}/{key}/{}", text(&s.routing_key)?);
        self.http.post_json(&url, &body.into(), &[]).await
    }
}

impl Incidentio {
    async fn run(&self, n: &Notification) -> Attempt {
        let s = &self.section;
        let url = url_of_http(&s.url, &s.url_file).await?;
        let token = secret(&s.alert_source_token, &s.alert_source_token_file).await?;
        let mut most = match usize::try_from(s.max_alerts).unwrap_or(usize::MAX) {
            0 => n.data.alerts.0.len(),
            max => max.min(n.data.alerts.0.len()),
        };
        let mut body = webhook::body(n, most)?;
        while body.len() > INCIDENTIO_EVENT && most > 1 {
            most /= 2;
            body = webhook::body(n, most)?;
        }
        if !s.metadata.is_empty() {
            let mut message: Value =
                serde_json::from_slice(&body).map_err(|err| super::Failure::permanent(err.to_string()))?;
            message["metadata"] = self.renderer.json(&json!(s.metadata), &n.data)?;
            body = message.to_string().into_bytes();
        }
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str())];
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &headers };
        self.http.send(request(Method::POST, &url, "application/json", body, headers)?).await
    }
}
