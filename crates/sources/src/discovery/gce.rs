//! Instances of Google Compute Engine. Sources: the Prometheus manual, "gce_sd_config"; the Compute Engine API, `instances.list`;
//! Google Cloud, "Application Default Credentials".

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use httpc::{Client, Request, Secret};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::poll::{self, ADDRESS, Target, entries, items, join, sanitize, text, wrapped};
use super::section::Section;
use super::{Group, Out, now_seconds};

const API: &str = "https://compute.googleapis.com";
const METADATA: &str = "http://metadata.google.internal";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/compute.readonly";
const FORM: &str = "application/x-www-form-urlencoded";
/// A token is renewed this long before its end.
const SPARE: Duration = Duration::from_secs(60);

/// `gce_sd_configs`
#[derive(Clone, Debug)]
pub(crate) struct Config {
    project: String,
    zone: String,
    filter: String,
    port: u16,
    tag_separator: String,
    refresh: Duration,
    api: String,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        Ok(Self {
            project: section.required("project")?,
            zone: section.required("zone")?,
            filter: section.text("filter"),
            port: section.port_or("port", 80)?,
            tag_separator: section.text_or("tag_separator", ","),
            refresh: section.duration_or("refresh_interval", 60)?,
            api: API.into(),
        })
    }
}

pub(crate) async fn run(config: Config, out: Out) {
    let client = match poll::client(httpc::Config::default(), poll::options()).await {
        Ok(client) => client,
        Err(reason) => return out.failed(format!("gce_sd_configs: {reason}")).await,
    };
    poll::poll("gce_sd_configs", config.refresh, out, Round { client, config, token: None }).await;
}

/// What a round needs.
struct Round {
    client: Client,
    config: Config,
    /// The last token and until when it is used.
    token: Option<(Secret, Instant)>,
}

impl poll::Ask for Round {
    async fn ask(&mut self) -> Result<Vec<Group>, String> {
        let Self { client, config, token } = self;
        let bearer = match &*token {
            Some((bearer, until)) if Instant::now() < *until => bearer.clone(),
            _ => {
                let (bearer, lifetime) = fetch_token(client).await?;
                *token = Some((bearer.clone(), Instant::now() + lifetime.saturating_sub(SPARE)));
                bearer
            }
        };
        let targets = list(client, config, &bearer).await?;
        let source = format!("GCE_{}_{}", config.project, config.zone);
        Ok(vec![Group { source, targets, labels: BTreeMap::new() }])
    }
}

async fn list(client: &Client, config: &Config, bearer: &Secret) -> Result<Vec<Target>, String> {
    let base =
        format!("{}/compute/v1/projects/{}/zones/{}/instances", config.api, config.project, config.zone);
    let (mut targets, mut page) = (Vec::new(), String::new());
    for _ in 0..poll::MAX_PAGES {
        let url = poll::with_query(&base, &[("filter", &config.filter), ("pageToken", &page)])?;
        let request = Request::get(&url)
            .and_then(|request| request.header("authorization", &format!("Bearer {}", bearer.expose())))
            .map_err(|err| err.chain())?;
        let answer = poll::parse(&url, &poll::body(client, request).await?)?;
        targets.extend(items(&answer["items"]).filter_map(|instance| target(instance, config)));
        page = text(&answer["nextPageToken"]);
        if page.is_empty() {
            return Ok(targets);
        }
    }
    Err("the list of instances does not end".into())
}

fn target(instance: &Value, config: &Config) -> Option<Target> {
    let first = items(&instance["networkInterfaces"]).next()?;
    let mut target = Target::new();
    let mut put = |name: &str, value: String| target.insert(format!("__meta_gce_{name}"), value);
    put("project", config.project.clone());
    for (name, value) in [
        ("zone", &instance["zone"]),
        ("instance_id", &instance["id"]),
        ("instance_name", &instance["name"]),
        ("instance_status", &instance["status"]),
        ("machine_type", &instance["machineType"]),
        ("network", &first["network"]),
        ("subnetwork", &first["subnetwork"]),
        ("private_ip", &first["networkIP"]),
    ] {
        put(name, text(value));
    }
    for interface in items(&instance["networkInterfaces"]) {
        put(
            &format!("interface_ipv4_{}", sanitize(&text(&interface["name"]))),
            text(&interface["networkIP"]),
        );
    }
    let tags: Vec<&str> = items(&instance["tags"]["items"]).filter_map(Value::as_str).collect();
    if !tags.is_empty() {
        put("tags", wrapped(tags, &config.tag_separator));
    }
    for entry in items(&instance["metadata"]["items"]).filter(|entry| !entry["value"].is_null()) {
        put(&format!("metadata_{}", sanitize(&text(&entry["key"]))), text(&entry["value"]));
    }
    for (name, value) in entries(&instance["labels"]) {
        put(&format!("label_{}", sanitize(name)), value);
    }
    if let Some(access) = items(&first["accessConfigs"]).next() {
        put("public_ip", text(&access["natIP"]));
    }
    target.insert(ADDRESS.into(), join(&text(&first["networkIP"]), config.port));
    Some(target)
}

/// A token by the first of Google's default credentials that exist, and how long it is good for.
async fn fetch_token(client: &Client) -> Result<(Secret, Duration), String> {
    let named = std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
    let usual = std::env::var_os("HOME")
        .map(|home| PathBuf::from(home).join(".config/gcloud/application_default_credentials.json"));
    let path = named.or(usual.filter(|path| path.exists()));
    let request = match path {
        Some(path) => {
            let read = tokio::fs::read(&path).await;
            let bytes = read.map_err(|err| format!("cannot read {}: {err}", path.display()))?;
            by_file(&poll::parse(&path.display().to_string(), &bytes)?)
                .map_err(|reason| format!("{}: {reason}", path.display()))?
        }
        None => {
            let path = "/computeMetadata/v1/instance/service-accounts/default/token";
            Request::get(&format!("{METADATA}{path}"))
                .and_then(|request| request.header("metadata-flavor", "Google"))
                .map_err(|err| err.chain())?
                .timeout(Duration::from_secs(5))
        }
    };
    let answer = poll::body(client, request).await.map_err(|reason| format!("no access token: {reason}"))?;
    let answer = poll::parse("the token endpoint", &answer)?;
    let token = text(&answer["access_token"]);
    if token.is_empty() {
        return Err("the token endpoint returned no access_token".into());
    }
    Ok((token.into(), Duration::from_secs(answer["expires_in"].as_u64().unwrap_or(3600))))
}

/// The token request of a service account (a signed assertion, RFC 7523) or of a user (a refresh token).
fn by_file(file: &Value) -> Result<Request, String> {
    let field = |name: &str| match text(&file[name]) {
        value if value.is_empty() => Err(format!("{name} is missing")),
        value => Ok(value),
    };
    let mut form = httpc::Url::parse("http://h").expect("a constant URL");
    let mut url = match text(&file["token_uri"]) {
        url if url.is_empty() => TOKEN_URL.to_owned(),
        url => url,
    };
    match text(&file["type"]).as_str() {
        "service_account" => {
            let now = now_seconds();
            let claims = json!({"iss": field("client_email")?, "scope": SCOPE, "aud": url, "iat": now, "exp": now + 3600});
            let assertion = assertion(&claims, &field("private_key")?)?;
            form.query_pairs_mut()
                .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
                .append_pair("assertion", &assertion);
        }
        "authorized_user" => {
            url = TOKEN_URL.to_owned();
            form.query_pairs_mut()
                .append_pair("grant_type", "refresh_token")
                .append_pair("client_id", &field("client_id")?)
                .append_pair("client_secret", &field("client_secret")?)
                .append_pair("refresh_token", &field("refresh_token")?);
        }
        other => {
            return Err(format!(
                "credentials of type {other:?} are not supported: use service_account or authorized_user"
            ));
        }
    }
    Request::post(&url, FORM, form.query().unwrap_or_default().to_owned()).map_err(|err| err.chain())
}

/// A JSON Web Token signed with RS256.
fn assertion(claims: &Value, pem: &str) -> Result<String, String> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let der = STANDARD.decode(body).map_err(|err| format!("private_key: {err}"))?;
    let key = RsaKeyPair::from_pkcs8(&der).map_err(|err| format!("private_key: {err}"))?;
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encoded(&json!({"alg": "RS256", "typ": "JWT"})), encoded(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| "private_key cannot sign".to_owned())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_the_documented_labels() {
        let map = json!({"project": "p", "zone": "z"});
        let config = Config::read(&Section::new(map.as_object().unwrap())).unwrap();
        let instance = json!({"id": "7", "name": "vm", "zone": "https://z", "machineType": "https://m", "status": "RUNNING",
            "networkInterfaces": [{"name": "nic0", "network": "https://n", "subnetwork": "https://s", "networkIP": "10.1.0.2",
                "accessConfigs": [{"natIP": "203.0.113.9"}]}],
            "tags": {"items": ["a", "b"]}, "metadata": {"items": [{"key": "x-y", "value": "1"}]}, "labels": {"rack-1": "r"}});
        let target = target(&instance, &config).unwrap();
        for (label, value) in [
            (ADDRESS, "10.1.0.2:80"),
            ("__meta_gce_instance_id", "7"),
            ("__meta_gce_tags", ",a,b,"),
            ("__meta_gce_metadata_x_y", "1"),
            ("__meta_gce_label_rack_1", "r"),
            ("__meta_gce_public_ip", "203.0.113.9"),
            ("__meta_gce_interface_ipv4_nic0", "10.1.0.2"),
        ] {
            assert_eq!(target[label], value, "{label}");
        }
        assert!(super::target(&json!({"id": "8"}), &config).is_none());
    }

    #[test]
    fn credentials_that_cannot_be_used_are_named() {
        let err = |value: Value| by_file(&value).unwrap_err();
        assert!(err(json!({"type": "external_account"})).contains("external_account"));
        assert!(err(json!({"type": "service_account"})).contains("client_email"));
        let key = json!({"type": "service_account", "client_email": "a", "private_key": "-----BEGIN-----\nAAAA\n-----END-----"});
        assert!(err(key).contains("private_key"));
    }
}
