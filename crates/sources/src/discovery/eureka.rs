//! Instances of a Eureka registry. Sources: the Prometheus manual, "eureka_sd_config"; the Eureka REST operations.

use std::time::Duration;

use httpc::{Client, Request};
use roxmltree::{Document, Node};

use super::poll::{self, ADDRESS, Target, join, sanitize};
use super::section::Section;
use super::{Group, Out};

/// `eureka_sd_configs`
#[derive(Clone, Debug)]
pub(crate) struct Config {
    http: httpc::Config,
    server: String,
    refresh: Duration,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        Ok(Self {
            http: section.http()?,
            server: section.required("server")?.trim_end_matches('/').to_owned(),
            refresh: section.duration_or("refresh_interval", 30)?,
        })
    }
}

pub(crate) async fn run(config: Config, out: Out) {
    let client = match poll::client(config.http.clone(), poll::options()).await {
        Ok(client) => client,
        Err(reason) => return out.failed(format!("eureka_sd_configs: {reason}")).await,
    };
    poll::poll("eureka_sd_configs", config.refresh, out, Round { client, config }).await;
}

/// What a round needs.
struct Round {
    client: Client,
    config: Config,
}

impl poll::Ask for Round {
    async fn ask(&mut self) -> Result<Vec<Group>, String> {
        let Self { client, config } = self;
        let request = Request::get(&format!("{}/apps", config.server))
            .and_then(|request| request.header("accept", "application/xml"))
            .map_err(|err| err.chain())?;
        let body = poll::body(client, request).await?;
        let text = String::from_utf8(body).map_err(|_| "the answer is not UTF-8".to_owned())?;
        groups(&text)
    }
}

/// One group an application.
fn groups(xml: &str) -> Result<Vec<Group>, String> {
    let document = Document::parse(xml).map_err(|err| format!("the answer is not XML: {err}"))?;
    let applications = document.root_element().children().filter(|node| node.has_tag_name("application"));
    Ok(applications
        .map(|application| {
            let name = child_text(application, "name");
            let instances = application.children().filter(|node| node.has_tag_name("instance"));
            let targets = instances.map(|instance| target(instance, &name)).collect();
            Group { source: name.clone(), targets, labels: Target::new() }
        })
        .collect())
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn child_text(node: Node<'_, '_>, name: &str) -> String {
    node.children()
        .find(|child| child.has_tag_name(name))
        .and_then(|child| child.text())
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn target<'a>(instance: Node<'a, 'a>, application: &str) -> Target {
    const PREFIX: &str = "__meta_eureka_app_";
    let mut target = Target::new();
    target.insert(format!("{PREFIX}name"), application.to_owned());
    for (name, field) in [
        ("instance_hostname", "hostName"),
        ("instance_homepage_url", "homePageUrl"),
        ("instance_statuspage_url", "statusPageUrl"),
        ("instance_healthcheck_url", "healthCheckUrl"),
        ("instance_ip_addr", "ipAddr"),
        ("instance_vip_address", "vipAddress"),
        ("instance_secure_vip_address", "secureVipAddress"),
        ("instance_status", "status"),
        ("instance_country_id", "countryId"),
        ("instance_id", "instanceId"),
    ] {
        target.insert(format!("{PREFIX}{name}"), child_text(instance, field));
    }
    for (name, field) in [("port", "port"), ("secure_port", "securePort")] {
        if let Some(port) = child(instance, field) {
            target.insert(
                format!("{PREFIX}instance_{name}"),
                port.text().unwrap_or_default().trim().to_owned(),
            );
            let enabled = port.attribute("enabled").unwrap_or("false");
            target.insert(format!("{PREFIX}instance_{name}_enabled"), enabled.to_owned());
        }
    }
    if let Some(info) = child(instance, "dataCenterInfo") {
        target.insert(format!("{PREFIX}instance_datacenterinfo_name"), child_text(info, "name"));
        for entry in child(info, "metadata").into_iter().flat_map(|m| m.children()).filter(Node::is_element) {
            let name =
                format!("{PREFIX}instance_datacenterinfo_metadata_{}", sanitize(entry.tag_name().name()));
            target.insert(name, entry.text().unwrap_or_default().trim().to_owned());
        }
    }
    for entry in child(instance, "metadata").into_iter().flat_map(|m| m.children()).filter(Node::is_element) {
        let name = format!("{PREFIX}instance_metadata_{}", sanitize(entry.tag_name().name()));
        target.insert(name, entry.text().unwrap_or_default().trim().to_owned());
    }
    let host = child_text(instance, "hostName");
    let port = child(instance, "port").and_then(|port| port.text()).unwrap_or("80").trim();
    target.insert(ADDRESS.into(), join(&host, port));
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_the_documented_labels() {
        let xml = r#"<applications><versions__delta>1</versions__delta><application><name>META</name><instance>
            <instanceId>i1</instanceId><hostName>h.example</hostName><ipAddr>10.0.0.1</ipAddr><status>UP</status>
            <port enabled="true">8080</port><securePort enabled="false">443</securePort>
            <dataCenterInfo><name>MyOwn</name><metadata><rack-id>7</rack-id></metadata></dataCenterInfo>
            <metadata><management.port>8090</management.port></metadata></instance></application></applications>"#;
        let groups = groups(xml).unwrap();
        let target = &groups[0].targets[0];
        for (label, value) in [
            (ADDRESS, "h.example:8080"),
            ("__meta_eureka_app_name", "META"),
            ("__meta_eureka_app_instance_port_enabled", "true"),
            ("__meta_eureka_app_instance_secure_port", "443"),
            ("__meta_eureka_app_instance_datacenterinfo_metadata_rack_id", "7"),
            ("__meta_eureka_app_instance_metadata_management_port", "8090"),
            ("__meta_eureka_app_instance_status", "UP"),
        ] {
            assert_eq!(target[label], value, "{label}");
        }
        assert!(super::groups("<a>").is_err());
    }
}
