//! Services that call people: PagerDuty, Opsgenie, VictorOps, Pushover, incident.io.

use std::collections::BTreeMap;
use std::path::PathBuf;

use httpc::Secret;

use super::{Check, Global, Http, Section, from_global, must, named, pair_from_global, section, set};
use crate::config::value::{GoDuration, HttpUrl};

section! {
    /// `incidentio_configs`.
    Incidentio {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// URL of the alert source.
        url: Option<HttpUrl> = None,
        /// File with it.
        url_file: PathBuf = PathBuf::new(),
        /// Token of the alert source.
        alert_source_token: Secret = Secret::default(),
        /// File with it.
        alert_source_token_file: PathBuf = PathBuf::new(),
        /// At most so many alerts a message; 0: all.
        max_alerts: u64 = 0,
        /// Of one request; 0: the group interval.
        timeout: GoDuration = GoDuration::default(),
        /// Further texts with each message.
        metadata: BTreeMap<String, String> = BTreeMap::new(),
    }
}

section! {
    /// An image of a PagerDuty incident.
    PagerdutyImage {
        /// Where it leads.
        href: String = String::new(),
        /// Where it is.
        src: String = String::new(),
        /// What it shows.
        alt: String = String::new(),
    }
}

section! {
    /// A link of a PagerDuty incident.
    PagerdutyLink {
        /// Where it leads.
        href: String = String::new(),
        /// Its text.
        text: String = String::new(),
    }
}

section! {
    /// `pagerduty_configs`.
    Pagerduty {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Integration key of type Prometheus (Events API v1).
        service_key: Secret = Secret::default(),
        /// File with it.
        service_key_file: PathBuf = PathBuf::new(),
        /// Integration key of Events API v2.
        routing_key: Secret = Secret::default(),
        /// File with it.
        routing_key_file: PathBuf = PathBuf::new(),
        /// Endpoint.
        url: Option<HttpUrl> = None,
        /// Sender's name.
        client: String = named("pagerduty.default.client"),
        /// Sender's link.
        client_url: String = named("pagerduty.default.clientURL"),
        /// Text of the incident.
        description: String = named("pagerduty.default.description"),
        /// Details; values may be texts, lists or maps of templates.
        details: BTreeMap<String, serde_json::Value> = BTreeMap::new(),
        /// Images.
        images: Vec<PagerdutyImage> = vec![],
        /// Links.
        links: Vec<PagerdutyLink> = vec![],
        /// Where it happened; `client` when empty.
        source: String = String::new(),
        /// `critical`, `error`, `warning` or `info`.
        severity: String = String::new(),
        /// Class of the event.
        class: String = String::new(),
        /// Part that is broken.
        component: String = String::new(),
        /// Cluster of sources.
        group: String = String::new(),
        /// Of one request; 0: the group interval.
        timeout: GoDuration = GoDuration::default(),
    }
}

section! {
    /// Whom Opsgenie tells.
    Responder {
        /// One of `id`, `name`, `username`.
        id: String = String::new(),
        /// One of `id`, `name`, `username`.
        name: String = String::new(),
        /// One of `id`, `name`, `username`.
        username: String = String::new(),
        /// `team`, `teams`, `user`, `escalation` or `schedule`.
        r#type: String = String::new(),
    }
}

section! {
    /// `opsgenie_configs`.
    Opsgenie {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Key.
        api_key: Secret = Secret::default(),
        /// File with it.
        api_key_file: PathBuf = PathBuf::new(),
        /// Endpoint.
        api_url: Option<HttpUrl> = None,
        /// Heading, at most 130 characters.
        message: String = named("opsgenie.default.message"),
        /// Text.
        description: String = named("opsgenie.default.description"),
        /// Sender.
        source: String = named("opsgenie.default.source"),
        /// Further texts.
        details: BTreeMap<String, String> = BTreeMap::new(),
        /// What it is about.
        entity: String = String::new(),
        /// Whom to tell.
        responders: Vec<Responder> = vec![],
        /// Comma-separated.
        actions: String = String::new(),
        /// Comma-separated.
        tags: String = String::new(),
        /// Note.
        note: String = String::new(),
        /// `P1` to `P5`.
        priority: String = String::new(),
        /// Whether an open alert's texts are renewed.
        update_alerts: bool = false,
    }
}

section! {
    /// `victorops_configs`.
    Victorops {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Key.
        api_key: Secret = Secret::default(),
        /// File with it.
        api_key_file: PathBuf = PathBuf::new(),
        /// Endpoint.
        api_url: Option<HttpUrl> = None,
        /// Team.
        routing_key: String = String::new(),
        /// `CRITICAL`, `WARNING` or `INFO`.
        message_type: String = "CRITICAL".into(),
        /// Text.
        state_message: String = named("victorops.default.state_message"),
        /// Heading.
        entity_display_name: String = named("victorops.default.entity_display_name"),
        /// Sender.
        monitoring_tool: String = named("victorops.default.monitoring_tool"),
        /// Further texts.
        custom_fields: BTreeMap<String, String> = BTreeMap::new(),
    }
}

section! {
    /// `pushover_configs`.
    Pushover {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// User's key.
        user_key: Secret = Secret::default(),
        /// File with it.
        user_key_file: PathBuf = PathBuf::new(),
        /// Application's token.
        token: Secret = Secret::default(),
        /// File with it.
        token_file: PathBuf = PathBuf::new(),
        /// Heading.
        title: String = named("pushover.default.title"),
        /// Text.
        message: String = named("pushover.default.message"),
        /// Link.
        url: String = named("pushover.default.url"),
        /// Its text.
        url_title: String = String::new(),
        /// Which device.
        device: String = String::new(),
        /// Which sound.
        sound: String = String::new(),
        /// -2 to 2.
        priority: String = r#"{{ if eq .Status "firing" }}2{{ else }}0{{ end }}"#.into(),
        /// How often it is repeated until acknowledged.
        retry: GoDuration = GoDuration::from_seconds(60),
        /// How long it is repeated.
        expire: GoDuration = GoDuration::from_seconds(3600),
        /// How long it is kept; 0: for ever.
        ttl: GoDuration = GoDuration::default(),
        /// Text is HTML.
        html: bool = false,
        /// Text is in a fixed-width font.
        monospace: bool = false,
    }
}

impl Section for Pagerduty {
    fn check(&mut self) -> Check {
        let (routing, routing_file) = (!self.routing_key.is_empty(), set(&self.routing_key_file));
        let (service, service_file) = (!self.service_key.is_empty(), set(&self.service_key_file));
        must(
            routing || routing_file || service || service_file,
            "missing service or routing key in PagerDuty config",
        )?;
        must(!(routing && routing_file), "at most one of routing_key & routing_key_file must be configured")?;
        must(!(service && service_file), "at most one of service_key & service_key_file must be configured")?;
        if self.source.is_empty() {
            self.source.clone_from(&self.client);
        }
        let defaults = [
            ("firing", r#"{{ template "pagerduty.default.instances" .Alerts.Firing }}"#),
            ("resolved", r#"{{ template "pagerduty.default.instances" .Alerts.Resolved }}"#),
            ("num_firing", "{{ .FiringCount }}"),
            ("num_resolved", "{{ .ResolvedCount }}"),
        ];
        for (name, text) in defaults {
            self.details.entry(name.into()).or_insert_with(|| text.into());
        }
        Ok(())
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.url, &global.pagerduty_url, "no global PagerDuty URL set")
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.routing_key_file, &mut self.service_key_file]
    }
}

impl Section for Incidentio {
    fn check(&mut self) -> Check {
        let (token, token_file) = (!self.alert_source_token.is_empty(), set(&self.alert_source_token_file));
        must(self.url.is_some() || set(&self.url_file), "one of url or url_file must be configured")?;
        must(
            !(self.url.is_some() && set(&self.url_file)),
            "at most one of url & url_file must be configured",
        )?;
        must(
            !(token && token_file),
            "at most one of alert_source_token & alert_source_token_file must be configured",
        )?;
        match &self.http_config {
            Some(http) if http.authorization.is_some() => must(
                !token && !token_file,
                "cannot specify alert_source_token or alert_source_token_file when using http_config.authorization",
            ),
            Some(_) => must(
                token || token_file,
                "at least one of alert_source_token, alert_source_token_file or http_config.authorization must be configured",
            ),
            None => Ok(()),
        }
    }
    fn fill(&mut self, _: &Global) -> Check {
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.url_file, &mut self.alert_source_token_file]
    }
}

impl Section for Opsgenie {
    fn check(&mut self) -> Check {
        must(
            self.api_key.is_empty() || !set(&self.api_key_file),
            "at most one of api_key & api_key_file must be configured",
        )?;
        for responder in &mut self.responders {
            must(
                !(responder.id.is_empty() && responder.username.is_empty() && responder.name.is_empty()),
                "opsGenieConfig responder has to have at least one of id, username or name specified",
            )?;
            if !responder.r#type.contains("{{") {
                responder.r#type = responder.r#type.to_lowercase();
                if !matches!(responder.r#type.as_str(), "team" | "teams" | "user" | "escalation" | "schedule")
                {
                    return Err(format!(
                        "opsGenieConfig responder type {:?} does not match valid options ^(team|teams|user|escalation|schedule)$",
                        responder.r#type
                    ));
                }
            }
        }
        Ok(())
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.api_url, &global.opsgenie_api_url, "no global OpsGenie URL set")?;
        pair_from_global(
            (&mut self.api_key, &mut self.api_key_file),
            (&global.opsgenie_api_key, &global.opsgenie_api_key_file),
            "no global OpsGenie API Key set either inline or in a file",
        )
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.api_key_file]
    }
}

impl Section for Victorops {
    fn check(&mut self) -> Check {
        must(!self.routing_key.is_empty(), "missing Routing key in VictorOps config")?;
        must(
            self.api_key.is_empty() || !set(&self.api_key_file),
            "at most one of api_key & api_key_file must be configured",
        )?;
        let reserved = [
            "routing_key",
            "message_type",
            "state_message",
            "entity_display_name",
            "monitoring_tool",
            "entity_id",
            "entity_state",
        ];
        match reserved.iter().find(|name| self.custom_fields.contains_key(**name)) {
            Some(name) => Err(format!(
                "victorOps config contains custom field {name} which cannot be used as it conflicts with the fixed/static fields"
            )),
            None => Ok(()),
        }
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.api_url, &global.victorops_api_url, "no global VictorOps URL set")?;
        pair_from_global(
            (&mut self.api_key, &mut self.api_key_file),
            (&global.victorops_api_key, &global.victorops_api_key_file),
            "no global VictorOps API Key set",
        )
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.api_key_file]
    }
}

impl Section for Pushover {
    fn check(&mut self) -> Check {
        let (user, user_file) = (!self.user_key.is_empty(), set(&self.user_key_file));
        let (token, token_file) = (!self.token.is_empty(), set(&self.token_file));
        must(user || user_file, "one of user_key or user_key_file must be configured")?;
        must(!(user && user_file), "at most one of user_key & user_key_file must be configured")?;
        must(token || token_file, "one of token or token_file must be configured")?;
        must(!(token && token_file), "at most one of token & token_file must be configured")?;
        must(!(self.html && self.monospace), "at most one of monospace & html must be configured")
    }
    fn fill(&mut self, _: &Global) -> Check {
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.user_key_file, &mut self.token_file]
    }
}
