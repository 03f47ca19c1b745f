//! `*_sd_configs`: where targets come from.
//!
//! Static, file, HTTP and DNS discovery are typed. The other mechanisms of Prometheus are parsed against the table of their
//! fields and checked, so that a wrong file is refused for its own reason and a right one loads; [`crate::discovery`] reads the
//! values of those that it supports, the others are reported as not supported by name.

use std::collections::BTreeMap;

use httpc::config::httpc_yes;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::InvalidField;

/// Targets written in the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StaticConfig {
    /// `host:port` each.
    #[serde(deserialize_with = "nullable")]
    pub targets: Vec<String>,
    /// Labels of all of them.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
}

fn nullable<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Target groups in files that are read again when they change.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSdConfig {
    /// Paths of `.json`, `.yml` or `.yaml` files; the last part may hold `*`.
    pub files: Vec<String>,
    /// How often the files are looked at even when nothing tells of a change.
    #[serde(default = "five_minutes")]
    pub refresh_interval: PromDuration,
}

fn five_minutes() -> PromDuration {
    PromDuration(300_000)
}

fn one_minute() -> PromDuration {
    PromDuration(60_000)
}

fn thirty_seconds() -> PromDuration {
    PromDuration(30_000)
}

httpc::with_http_fields! {
    /// Target groups as JSON from a URL.
    #[derive(PartialEq)]
    pub struct HttpSdConfig {
        /// Where from.
        pub url: String,
        /// How often.
        #[serde(default = "one_minute")]
        pub refresh_interval: PromDuration,
    }
}

/// Which records make targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum DnsType {
    /// Service records: name and port.
    #[default]
    #[serde(alias = "srv")]
    SRV,
    /// Mail exchangers, with `port`.
    #[serde(alias = "mx")]
    MX,
    /// Name servers, with `port`.
    #[serde(alias = "ns")]
    NS,
    /// IPv4 addresses, with `port`.
    #[serde(alias = "a")]
    A,
    /// IPv6 addresses, with `port`.
    #[serde(alias = "aaaa")]
    AAAA,
}

/// Targets from DNS records.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsSdConfig {
    /// Names to ask for.
    pub names: Vec<String>,
    /// How often.
    #[serde(default = "thirty_seconds")]
    pub refresh_interval: PromDuration,
    /// Which records.
    #[serde(default, rename = "type")]
    pub kind: DnsType,
    /// The port for records that have none.
    #[serde(default)]
    pub port: u16,
}

/// The agents that announce themselves at this server and are its own to scrape. There is nothing to set: `sources.agents` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSdConfig {}

/// A mechanism whose fields are read by [`crate::discovery`], or that is parsed and checked but not supported.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OtherSdConfig(
    /// The fields as written.
    pub Map<String, Value>,
);

/// Defines a struct with the service discovery fields and those of `http_client_config`.
macro_rules! with_discovery_fields {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty),* $(,)? }
    ) => {
        $crate::config::discovery::with_discovery_fields! { @
            $(#[$meta])* $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type,)* }
            [
                aws_sd_configs azure_sd_configs consul_sd_configs digitalocean_sd_configs docker_sd_configs
                dockerswarm_sd_configs ec2_sd_configs ecs_sd_configs elasticache_sd_configs eureka_sd_configs
                gce_sd_configs hetzner_sd_configs
                ionos_sd_configs kubernetes_sd_configs kuma_sd_configs lightsail_sd_configs linode_sd_configs
                marathon_sd_configs msk_sd_configs nerve_sd_configs nomad_sd_configs oci_sd_configs
                openstack_sd_configs
                outscale_sd_configs ovhcloud_sd_configs puppetdb_sd_configs rds_sd_configs scaleway_sd_configs
                serverset_sd_configs
                stackit_sd_configs triton_sd_configs uyuni_sd_configs vultr_sd_configs
            ]
        }
    };
    (@
        $(#[$meta:meta])*
        $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty,)* }
        [$($other:ident)*]
    ) => {
        httpc::with_http_fields! {
            $(#[$meta])*
            $vis struct $name {
                $($(#[$field_meta])* $field_vis $field: $type,)*
                /// Targets written here.
                #[serde(default, deserialize_with = "crate::config::no_null_static")]
                pub static_configs: Vec<$crate::config::StaticConfig>,
                /// Targets from files.
                #[serde(default, deserialize_with = "crate::config::no_null_sd")]
                pub file_sd_configs: Vec<$crate::config::FileSdConfig>,
                /// Targets from a URL.
                #[serde(default, deserialize_with = "crate::config::no_null_sd")]
                pub http_sd_configs: Vec<$crate::config::HttpSdConfig>,
                /// Targets from DNS.
                #[serde(default, deserialize_with = "crate::config::no_null_sd")]
                pub dns_sd_configs: Vec<$crate::config::DnsSdConfig>,
                /// Agents that announce themselves at this server (ours; Prometheus does not know it).
                #[serde(default, deserialize_with = "crate::config::no_null_sd")]
                pub agent_sd_configs: Vec<$crate::config::AgentSdConfig>,
                $(
                    /// Targets from this mechanism, under Prometheus' field names; `check config` says when it is not supported.
                    #[serde(default, deserialize_with = "crate::config::no_null_sd")]
                    pub $other: Vec<$crate::config::OtherSdConfig>,
                )*
            }
        }

        impl $name {
            /// What discovers this section's targets.
            pub fn discovery(&self) -> $crate::config::Discovery {
                let (mut sections, mut unsupported) = (Vec::new(), Vec::new());
                $(if !self.$other.is_empty() {
                    if $crate::discovery::is_supported(stringify!($other)) {
                        sections.extend(self.$other.iter().map(|sd| (stringify!($other), sd.0.clone())));
                    } else {
                        unsupported.push(stringify!($other));
                    }
                })*
                $crate::config::Discovery {
                    statics: self.static_configs.clone(),
                    files: self.file_sd_configs.clone(),
                    http: self.http_sd_configs.clone(),
                    dns: self.dns_sd_configs.clone(),
                    agents: !self.agent_sd_configs.is_empty(),
                    sections,
                    unsupported,
                }
            }

            pub(crate) fn check_discovery(&mut self) -> Result<(), $crate::config::InvalidField> {
                $crate::config::discovery::check(
                    &self.static_configs, &self.file_sd_configs, &self.http_sd_configs, &self.dns_sd_configs,
                    self.relabel_configs.0.is_empty(),
                )?;
                $(for config in &self.$other {
                    $crate::config::discovery::check_other(stringify!($other), &config.0)?;
                })*
                Ok(())
            }

            pub(crate) fn set_directory(&mut self, folder: &std::path::Path) {
                let mut http = self.http();
                http.set_directory(folder);
                self.set_http(http);
                for sd in &mut self.http_sd_configs {
                    let mut http = sd.http();
                    http.set_directory(folder);
                    sd.set_http(http);
                }
                $($crate::config::discovery::set_directory(&mut self.$other, folder);)*
                for file in self.file_sd_configs.iter_mut().flat_map(|sd| &mut sd.files) {
                    *file = $crate::config::join(folder, file);
                }
            }
        }
    };
}
pub(crate) use with_discovery_fields;

/// Everything that discovers targets for one section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovery {
    /// `static_configs`
    pub statics: Vec<StaticConfig>,
    /// `file_sd_configs`
    pub files: Vec<FileSdConfig>,
    /// `http_sd_configs`
    pub http: Vec<HttpSdConfig>,
    /// `dns_sd_configs`
    pub dns: Vec<DnsSdConfig>,
    /// Whether there is an `agent_sd_configs`
    pub agents: bool,
    /// The other sections that are supported: name and fields.
    pub sections: Vec<(&'static str, Map<String, Value>)>,
    /// Names of the sections that are configured but not supported.
    pub unsupported: Vec<&'static str>,
}

pub(crate) fn check(
    statics: &[StaticConfig],
    files: &[FileSdConfig],
    http: &[HttpSdConfig],
    dns: &[DnsSdConfig],
    addresses_are_final: bool,
) -> Result<(), InvalidField> {
    // Relabelling may make an address of a URL, as it does for probes.
    for (group, config) in statics.iter().enumerate().filter(|_| addresses_are_final) {
        if let Some(at) = config.targets.iter().position(|target| target.contains('/')) {
            let field = format!("static_configs[{group}].targets[{at}]");
            return Err(InvalidField::new(
                field,
                format!("{:?} is not a valid hostname", config.targets[at]),
            ));
        }
    }
    for sd in files {
        if sd.files.is_empty() {
            return Err(InvalidField::new(
                "file_sd_configs.files",
                "file service discovery config must contain at least one path name",
            ));
        }
        for path in &sd.files {
            let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
            let known = file
                .rsplit_once('.')
                .is_some_and(|(_, ext)| matches!(ext, "json" | "yml" | "yaml" | "JSON" | "YML" | "YAML"));
            if folder.contains('*') || !known || file.matches('*').count() > 1 {
                return Err(InvalidField::new(
                    "file_sd_configs.files",
                    format!("path name {path:?} is not valid for file discovery"),
                ));
            }
        }
    }
    for sd in http {
        let wrong = |text: String| Err(InvalidField::new("http_sd_configs", text));
        if sd.url.is_empty() {
            return wrong("URL is missing".into());
        }
        let scheme = sd.url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        if !matches!(scheme.as_deref(), Some("http" | "https")) {
            return wrong(format!("URL scheme must be 'http' or 'https', got {:?}", sd.url));
        }
        if !httpc::Url::parse(&sd.url).is_ok_and(|url| url.has_host()) {
            return wrong(format!("host is missing in URL {:?}", sd.url));
        }
        if let Err(err) = sd.http().validate() {
            return wrong(err.to_string());
        }
    }
    for sd in dns {
        if sd.names.is_empty() {
            return Err(InvalidField::new(
                "dns_sd_configs",
                "DNS-SD config must contain at least one SRV record name",
            ));
        }
        if sd.kind != DnsType::SRV && sd.port == 0 {
            return Err(InvalidField::new(
                "dns_sd_configs",
                "a port is required in DNS-SD configs for all record types except SRV",
            ));
        }
    }
    Ok(())
}

/// The fields of `http_client_config`.
const HTTP: &str = "basic_auth authorization oauth2 bearer_token bearer_token_file tls_config proxy_url no_proxy \
    proxy_from_environment proxy_connect_header follow_redirects enable_http2 http_headers";

/// Own fields of each mechanism; `+` in front: and those of `http_client_config`.
fn fields(section: &str) -> (&'static str, bool) {
    let text = match section {
        "azure_sd_configs" => {
            "+environment port subscription_id tenant_id client_id client_secret refresh_interval authentication_method \
             resource_group"
        }
        "consul_sd_configs" => {
            "+server path_prefix token datacenter namespace partition tag_separator scheme username password allow_stale \
             refresh_interval services tags node_meta filter health_filter"
        }
        "digitalocean_sd_configs" | "linode_sd_configs" => "+port refresh_interval region tag_separator",
        "docker_sd_configs" => "+host port filters host_networking_host refresh_interval match_first_network",
        "dockerswarm_sd_configs" => "+host role port filters refresh_interval",
        "ec2_sd_configs" => {
            "+endpoint region access_key secret_key profile role_arn external_id refresh_interval port filters"
        }
        "aws_sd_configs"
        | "ecs_sd_configs"
        | "elasticache_sd_configs"
        | "msk_sd_configs"
        | "rds_sd_configs" => {
            "+role endpoint region access_key secret_key profile role_arn external_id refresh_interval port filters clusters \
             request_concurrency"
        }
        "lightsail_sd_configs" => {
            "+endpoint region access_key secret_key profile role_arn external_id refresh_interval port"
        }
        "eureka_sd_configs" => "+server refresh_interval",
        "gce_sd_configs" => " project zone filter refresh_interval port tag_separator",
        "hetzner_sd_configs" => "+role port refresh_interval label_selector",
        "ionos_sd_configs" => "+datacenter_id port refresh_interval",
        "kubernetes_sd_configs" => "+api_server role kubeconfig_file namespaces selectors attach_metadata",
        "kuma_sd_configs" => "+server refresh_interval fetch_timeout client_id",
        "marathon_sd_configs" => "+servers refresh_interval auth_token auth_token_file",
        "nerve_sd_configs" | "serverset_sd_configs" => " servers paths timeout",
        "nomad_sd_configs" => "+allow_stale namespace refresh_interval region server tag_separator",
        "oci_sd_configs" => {
            "+region tenancy user fingerprint key_file key_passphrase compartments port refresh_interval"
        }
        "openstack_sd_configs" => {
            " identity_endpoint username userid password project_name project_id domain_name domain_id \
             application_credential_name application_credential_id application_credential_secret role region \
             refresh_interval port all_tenants tls_config availability"
        }
        "outscale_sd_configs" => {
            "+region endpoint access_key secret_key secret_key_file port refresh_interval"
        }
        "ovhcloud_sd_configs" => {
            " endpoint application_key application_secret consumer_key refresh_interval service"
        }
        "puppetdb_sd_configs" => "+url query include_parameters port refresh_interval",
        "scaleway_sd_configs" => {
            "+access_key secret_key secret_key_file api_url project_id zone role port refresh_interval name_filter tags_filter"
        }
        "stackit_sd_configs" => {
            "+project region endpoint port refresh_interval service_account_key service_account_key_path private_key \
             private_key_path credentials_file_path"
        }
        "triton_sd_configs" => {
            " account role dns_suffix endpoint groups port refresh_interval tls_config version"
        }
        "uyuni_sd_configs" => "+server username password entitlement separator refresh_interval",
        "vultr_sd_configs" => "+port refresh_interval",
        _ => "",
    };
    (text.get(1..).unwrap_or_default(), text.starts_with('+'))
}

/// Checks a mechanism: unknown fields, authentication, what Prometheus refuses of its own, and the values of those that work here.
pub(crate) fn check_other(section: &'static str, map: &Map<String, Value>) -> Result<(), InvalidField> {
    let wrong = |text: String| Err(InvalidField::new(section, text));
    let (own, http) = fields(section);
    let known = |key: &str| {
        own.split_whitespace().chain(if http { HTTP } else { "" }.split_whitespace()).any(|f| f == key)
    };
    if let Some(key) = map.keys().find(|key| !known(key)) {
        return wrong(format!("field {key} not found in type {section}"));
    }
    let text = |key: &str| map.get(key).map(scalar).unwrap_or_default();
    let has = |key: &str| !text(key).is_empty();
    if http {
        let config = http_part(map).map_err(|err| InvalidField::new(section, err))?;
        let marathon = section == "marathon_sd_configs" && (has("auth_token") || has("auth_token_file"));
        if !marathon && let Err(err) = config.validate() {
            return wrong(err.to_string());
        }
        if section == "kubernetes_sd_configs" && has("kubeconfig_file") {
            if has("api_server") {
                return wrong("cannot use 'kubeconfig_file' and 'api_server' simultaneously".into());
            }
            if config != httpc::Config::default() {
                return wrong(
                    "cannot use a custom HTTP client configuration together with 'kubeconfig_file'".into(),
                );
            }
        }
    }
    match section {
        "azure_sd_configs" => {
            let method = text("authentication_method");
            if !matches!(method.as_str(), "" | "OAuth" | "ManagedIdentity" | "SDK" | "WorkloadIdentity") {
                return wrong(format!(
                    "unknown authentication_type {method:?}. Supported types are \"OAuth\", \"ManagedIdentity\", \"SDK\" or \"WorkloadIdentity\""
                ));
            }
            let oauth = ["tenant_id", "client_id", "client_secret"];
            let needed = if matches!(method.as_str(), "" | "OAuth") { &oauth[..] } else { &[] };
            if let Some(field) = ["subscription_id"].iter().chain(needed).find(|field| !has(field)) {
                return wrong(format!("azure SD configuration requires a {field}"));
            }
        }
        "ec2_sd_configs" => {
            let empty = |filter: &Value| filter["values"].as_array().is_none_or(Vec::is_empty);
            if map.get("filters").and_then(Value::as_array).is_some_and(|filters| filters.iter().any(empty)) {
                return wrong("EC2 SD configuration filter values cannot be empty".into());
            }
        }
        "eureka_sd_configs" => {
            let server = text("server");
            if server.is_empty() {
                return wrong("eureka_sd: empty or null eureka server".into());
            }
            if !httpc::Url::parse(&server).is_ok_and(|url| url.has_host()) {
                return wrong("invalid eureka server URL".into());
            }
        }
        "kubernetes_sd_configs" => kubernetes(section, map)?,
        "marathon_sd_configs" => {
            if map.get("servers").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                return wrong("marathon_sd: must contain at least one Marathon server".into());
            }
            if has("auth_token") && has("auth_token_file") {
                return wrong(
                    "marathon_sd: at most one of auth_token & auth_token_file must be configured".into(),
                );
            }
            if has("auth_token") || has("auth_token_file") {
                if has("bearer_token") || has("bearer_token_file") {
                    return wrong("marathon_sd: at most one of bearer_token, bearer_token_file, auth_token & auth_token_file must be configured".into());
                }
                if map.contains_key("authorization") {
                    return wrong("marathon_sd: at most one of auth_token, auth_token_file & authorization must be configured".into());
                }
            }
        }
        "openstack_sd_configs" => {
            let availability = text("availability");
            if !matches!(availability.as_str(), "" | "admin" | "internal" | "public") {
                return wrong(format!(
                    "unknown availability {availability}, must be one of admin, internal or public"
                ));
            }
        }
        "outscale_sd_configs" | "scaleway_sd_configs" => {
            if section == "scaleway_sd_configs" {
                let role = text("role");
                if !matches!(role.as_str(), "instance" | "baremetal") {
                    return wrong(format!("unknown role {role:?}"));
                }
                if !has("project_id") {
                    return wrong("project_id is mandatory".into());
                }
            }
            match (has("secret_key"), has("secret_key_file")) {
                (false, false) => {
                    return wrong("one of secret_key & secret_key_file must be configured".into());
                }
                (true, true) => {
                    return wrong("at most one of secret_key & secret_key_file must be configured".into());
                }
                _ => {}
            }
            if !has("access_key") {
                return wrong("access_key is mandatory".into());
            }
        }
        "ovhcloud_sd_configs" => {
            for field in ["endpoint", "application_key", "application_secret", "consumer_key"] {
                if !has(field) && field != "endpoint" {
                    return wrong(format!("{} can not be empty", field.replace('_', " ")));
                }
            }
            let service = text("service");
            if !matches!(service.as_str(), "vps" | "dedicated_server") {
                return wrong(format!("unknown service: {service}"));
            }
        }
        "puppetdb_sd_configs" => {
            let url = text("url");
            if url.is_empty() {
                return wrong("URL is missing".into());
            }
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return wrong("URL scheme must be 'http' or 'https'".into());
            }
            if !httpc::Url::parse(&url).is_ok_and(|url| url.has_host()) {
                return wrong("host is missing in URL".into());
            }
            if !has("query") {
                return wrong("query missing".into());
            }
        }
        "stackit_sd_configs" if has("endpoint") && httpc::Url::parse(&text("endpoint")).is_err() => {
            return wrong(format!("invalid endpoint {:?}", text("endpoint")));
        }
        "uyuni_sd_configs" => {
            for (field, name) in
                [("server", "server host"), ("username", "username"), ("password", "password")]
            {
                if !has(field) {
                    return wrong(format!("Uyuni SD configuration requires {name}"));
                }
            }
        }
        "hetzner_sd_configs" if !has("role") => return wrong("role missing (one of: robot, hcloud)".into()),
        "dockerswarm_sd_configs" if !matches!(text("role").as_str(), "services" | "nodes" | "tasks") => {
            return wrong(format!("invalid role {}, expected tasks, services, or nodes", text("role")));
        }
        "gce_sd_configs" if !has("project") || !has("zone") => {
            return wrong("GCE SD configuration requires a project and a zone".into());
        }
        "triton_sd_configs" => {
            for field in ["account", "dns_suffix", "endpoint"] {
                if !has(field) {
                    return wrong(format!("triton SD configuration requires {field}"));
                }
            }
        }
        "nerve_sd_configs" | "serverset_sd_configs" => {
            for field in ["servers", "paths"] {
                let items = map.get(field).and_then(Value::as_array);
                if items.is_none_or(Vec::is_empty) {
                    return wrong(format!("{field} must contain at least one entry"));
                }
            }
        }
        _ => {}
    }
    crate::discovery::check(section, map).or_else(wrong)
}

/// The fields of `http_client_config` of a mechanism. Scalars are texts where the client's configuration wants texts.
pub(crate) fn http_part(map: &Map<String, Value>) -> Result<httpc::Config, String> {
    let subset: Map<String, Value> = map
        .iter()
        .filter(|(key, value)| HTTP.split_whitespace().any(|f| f == *key) && !value.is_null())
        .map(|(key, value)| (key.clone(), texts(value)))
        .collect();
    yaml::from_json(Value::Object(subset)).map_err(|err| err.to_string())
}

/// Relative file names are relative to the folder of the configuration file.
fn join_files(map: &mut Map<String, Value>, folder: &std::path::Path) {
    for (key, value) in map {
        match value {
            Value::String(path) if key.ends_with("_file") => *path = super::join(folder, path),
            Value::Object(inner) => join_files(inner, folder),
            _ => {}
        }
    }
}

pub(crate) fn set_directory(sections: &mut [OtherSdConfig], folder: &std::path::Path) {
    for section in sections {
        join_files(&mut section.0, folder);
    }
}

fn kubernetes(section: &str, map: &Map<String, Value>) -> Result<(), InvalidField> {
    let wrong = |text: String| Err(InvalidField::new(section, text));
    let role = map.get("role").map(scalar).unwrap_or_default();
    let allowed: &[&str] = match role.as_str() {
        "pod" => &["pod", "node"],
        "service" => &["service"],
        "endpoints" => &["pod", "service", "endpoints"],
        "endpointslice" => &["pod", "service", "endpointslice"],
        "node" => &["node"],
        "ingress" => &["ingress"],
        "" => {
            return wrong(
                "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)".into(),
            );
        }
        _ => return wrong(format!("unknown Kubernetes SD role {role:?}")),
    };
    let api_server = map.get("api_server").map(scalar).unwrap_or_default();
    let kubeconfig = map.get("kubeconfig_file").map(scalar).unwrap_or_default();
    let own = map.get("namespaces").is_some_and(|n| n["own_namespace"] == Value::Bool(true));
    if own && !kubeconfig.is_empty() {
        return wrong("cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously".into());
    }
    if own && !api_server.is_empty() {
        return wrong("cannot use 'api_server' and 'namespaces.own_namespace' simultaneously".into());
    }
    let mut seen = Vec::new();
    for selector in map.get("selectors").and_then(Value::as_array).into_iter().flatten() {
        let selected = scalar(&selector["role"]);
        if seen.contains(&selected) {
            return wrong(format!("duplicated selector role: {selected}"));
        }
        if !allowed.contains(&selected.as_str()) {
            return wrong(format!("{role} role supports only {} selectors", allowed.join(", ")));
        }
        seen.push(selected);
    }
    Ok(())
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}

/// Numbers as texts, all the way down.
fn texts(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::String(number.to_string()),
        Value::Array(items) => Value::Array(items.iter().map(texts).collect()),
        Value::Object(map) => Value::Object(
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), texts(v))).collect(),
        ),
        other => other.clone(),
    }
}
