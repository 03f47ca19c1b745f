//! Virtual machines of Azure. Sources: the Prometheus manual, "azure_sd_config"; the Azure REST reference, Compute and Network.

use std::collections::BTreeMap;
use std::time::Duration;

use httpc::{Client, Request, Secret};
use serde_json::Value;
use tokio::time::Instant;

use super::poll::{self, ADDRESS, Target, entries, items, join, sanitize, text};
use super::section::Section;
use super::{Group, Out};

const COMPUTE: &str = "2023-09-01";
const NETWORK: &str = "2023-09-01";
const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const FORM: &str = "application/x-www-form-urlencoded";
/// A token is renewed this long before its end.
const SPARE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// Client id and secret.
    OAuth,
    /// The identity of the machine that this process runs on.
    ManagedIdentity,
    /// A token that the platform writes to a file.
    WorkloadIdentity,
    /// The first of the three whose settings the environment has.
    Sdk,
}

/// `azure_sd_configs`
#[derive(Clone, Debug)]
pub(crate) struct Config {
    http: httpc::Config,
    login: String,
    management: String,
    method: Method,
    subscription: String,
    tenant: String,
    client_id: String,
    client_secret: Secret,
    resource_group: String,
    port: u16,
    refresh: Duration,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        let (login, management) =
            match section.text_or("environment", "AzurePublicCloud").to_lowercase().as_str() {
                "azurepubliccloud" | "azurecloud" => {
                    ("https://login.microsoftonline.com", "https://management.azure.com")
                }
                "azurechinacloud" => {
                    ("https://login.chinacloudapi.cn", "https://management.chinacloudapi.cn")
                }
                "azureusgovernment" | "azureusgovernmentcloud" => {
                    ("https://login.microsoftonline.us", "https://management.usgovcloudapi.net")
                }
                other => return Err(format!("environment: there is no Azure environment {other:?}")),
            };
        let method = match section.text("authentication_method").as_str() {
            "" | "OAuth" => Method::OAuth,
            "ManagedIdentity" => Method::ManagedIdentity,
            "WorkloadIdentity" => Method::WorkloadIdentity,
            "SDK" => Method::Sdk,
            other => return Err(format!("unknown authentication_method {other:?}")),
        };
        Ok(Self {
            http: section.http()?,
            login: login.into(),
            management: management.into(),
            method,
            subscription: section.required("subscription_id")?,
            tenant: section.text("tenant_id"),
            client_id: section.text("client_id"),
            client_secret: section.text("client_secret").into(),
            resource_group: section.text("resource_group"),
            port: section.port_or("port", 80)?,
            refresh: section.duration_or("refresh_interval", 300)?,
        })
    }
}

pub(crate) async fn run(config: Config, out: Out) {
    let client = match poll::client(config.http.clone(), poll::options()).await {
        Ok(client) => client,
        Err(reason) => return out.failed(format!("azure_sd_configs: {reason}")).await,
    };
    poll::poll("azure_sd_configs", config.refresh, out, Round { client, config, token: None }).await;
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
                let (bearer, lifetime) = fetch_token(client, config).await?;
                *token = Some((bearer.clone(), Instant::now() + lifetime.saturating_sub(SPARE)));
                bearer
            }
        };
        let api = Api { client, config, bearer: &bearer };
        Ok(vec![Group {
            source: config.subscription.clone(),
            targets: api.targets().await?,
            labels: BTreeMap::new(),
        }])
    }
}

struct Api<'a> {
    client: &'a Client,
    config: &'a Config,
    bearer: &'a Secret,
}

impl Api<'_> {
    async fn get(&self, url: &str) -> Result<Value, String> {
        let request = Request::get(url)
            .and_then(|request| request.header("authorization", &format!("Bearer {}", self.bearer.expose())))
            .map_err(|err| err.chain())?;
        poll::parse(url, &poll::body(self.client, request).await?)
    }

    /// All items of a paged list. A next page elsewhere than at the API is refused: it would get the token.
    async fn list(&self, path: &str, version: &str) -> Result<Vec<Value>, String> {
        let mut url = format!("{}{path}?api-version={version}", self.config.management);
        let mut out = Vec::new();
        for _ in 0..poll::MAX_PAGES {
            let mut page = self.get(&url).await?;
            if let Value::Array(found) = page["value"].take() {
                out.extend(found);
            }
            url = text(&page["nextLink"]);
            if url.is_empty() {
                return Ok(out);
            }
            if !url.starts_with(&format!("{}/", self.config.management)) {
                return Err(format!("the list of {path} goes on at a foreign address"));
            }
        }
        Err(format!("the list of {path} does not end"))
    }

    async fn targets(&self) -> Result<Vec<Target>, String> {
        let config = self.config;
        let scope = match config.resource_group.as_str() {
            "" => format!("/subscriptions/{}", config.subscription),
            group => format!("/subscriptions/{}/resourceGroups/{group}", config.subscription),
        };
        let compute = format!("{scope}/providers/Microsoft.Compute");
        let mut machines: Vec<(Value, String)> = Vec::new();
        for machine in self.list(&format!("{compute}/virtualMachines"), COMPUTE).await? {
            // Its scale set, when it is in one of the flexible kind.
            let set = last_part(&machine["properties"]["virtualMachineScaleSet"]["id"]);
            machines.push((machine, set));
        }
        let sets = self.list(&format!("{compute}/virtualMachineScaleSets"), COMPUTE).await?;
        for set in sets.iter().filter(|set| set["properties"]["orchestrationMode"] != "Flexible") {
            let id = text(&set["id"]);
            for machine in self.list(&format!("{id}/virtualMachines"), COMPUTE).await? {
                machines.push((machine, text(&set["name"])));
            }
        }
        let mut out = Vec::new();
        for (machine, set) in &machines {
            if let Some(target) = self.target(machine, set).await? {
                out.push(target);
            }
        }
        Ok(out)
    }

    /// The machine with the address of its primary interface; `None` when it has none or is switched off.
    async fn target(&self, machine: &Value, set: &str) -> Result<Option<Target>, String> {
        let config = self.config;
        let mut target = machine_labels(machine, set, config);
        let interfaces: Vec<&Value> =
            items(&machine["properties"]["networkProfile"]["networkInterfaces"]).collect();
        for reference in &interfaces {
            let id = text(&reference["id"]);
            let url = format!(
                "{}{id}?api-version={NETWORK}&$expand=ipConfigurations/publicIPAddress",
                config.management
            );
            let interface = match self.get(&url).await {
                Ok(interface) => interface,
                // It went while the list was read.
                Err(reason) if reason.contains("status 404") => continue,
                Err(reason) => return Err(reason),
            };
            let properties = &interface["properties"];
            if properties["primary"] == false && interfaces.len() > 1 {
                continue;
            }
            for ip in items(&properties["ipConfigurations"]) {
                let public = text(&ip["properties"]["publicIPAddress"]["properties"]["ipAddress"]);
                if !public.is_empty() {
                    target.insert("__meta_azure_machine_public_ip".into(), public);
                }
                let private = text(&ip["properties"]["privateIPAddress"]);
                if !private.is_empty() {
                    target.insert("__meta_azure_machine_private_ip".into(), private.clone());
                    target.insert(ADDRESS.into(), join(&private, config.port));
                    return Ok(Some(target));
                }
            }
        }
        Ok(None)
    }
}

fn last_part(id: &Value) -> String {
    text(id).rsplit('/').next().unwrap_or_default().to_owned()
}

/// The resource group in an id such as `/subscriptions/S/resourceGroups/G/providers/…`.
fn resource_group(id: &str) -> String {
    let mut parts = id.split('/');
    match parts.by_ref().find(|part| part.eq_ignore_ascii_case("resourceGroups")) {
        Some(_) => parts.next().unwrap_or_default().to_owned(),
        None => String::new(),
    }
}

fn machine_labels(machine: &Value, set: &str, config: &Config) -> Target {
    let properties = &machine["properties"];
    let mut target = Target::new();
    let mut put = |name: &str, value: String| target.insert(format!("__meta_azure_{name}"), value);
    let id = text(&machine["id"]);
    put("subscription_id", config.subscription.clone());
    put("tenant_id", config.tenant.clone());
    put("machine_resource_group", resource_group(&id));
    put("machine_id", id);
    put("machine_name", text(&machine["name"]));
    put("machine_computer_name", text(&properties["osProfile"]["computerName"]));
    put("machine_os_type", text(&properties["storageProfile"]["osDisk"]["osType"]));
    put("machine_location", text(&machine["location"]));
    let size = match text(&properties["hardwareProfile"]["vmSize"]) {
        size if size.is_empty() => text(&machine["sku"]["name"]),
        size => size,
    };
    put("machine_size", size);
    if !set.is_empty() {
        put("machine_scale_set", set.to_owned());
    }
    for (name, value) in entries(&machine["tags"]) {
        put(&format!("machine_tag_{}", sanitize(name)), value);
    }
    target
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// An access token and how long it is good for.
async fn fetch_token(client: &Client, config: &Config) -> Result<(Secret, Duration), String> {
    let given = |own: &str, variable: &str| if own.is_empty() { env(variable) } else { own.to_owned() };
    let tenant = given(&config.tenant, "AZURE_TENANT_ID");
    let id = given(&config.client_id, "AZURE_CLIENT_ID");
    let secret = given(config.client_secret.expose(), "AZURE_CLIENT_SECRET");
    let file = env("AZURE_FEDERATED_TOKEN_FILE");
    let method = match config.method {
        Method::Sdk if !secret.is_empty() => Method::OAuth,
        Method::Sdk if !file.is_empty() => Method::WorkloadIdentity,
        Method::Sdk => Method::ManagedIdentity,
        method => method,
    };
    let request = if method == Method::ManagedIdentity {
        let resource = format!("{}/", config.management);
        let pairs = [("api-version", "2018-02-01"), ("resource", resource.as_str()), ("client_id", &id)];
        Request::get(&poll::with_query(METADATA, &pairs)?)
            .and_then(|request| request.header("metadata", "true"))
            .map_err(|err| err.chain())?
            .timeout(Duration::from_secs(5))
    } else {
        let mut form = httpc::Url::parse("http://h").expect("a constant URL");
        form.query_pairs_mut()
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &id)
            .append_pair("scope", &format!("{}/.default", config.management));
        if method == Method::WorkloadIdentity {
            if file.is_empty() {
                return Err("WorkloadIdentity needs AZURE_FEDERATED_TOKEN_FILE".into());
            }
            let read = tokio::fs::read_to_string(&file).await;
            let assertion = read.map_err(|err| format!("cannot read {file}: {err}"))?;
            form.query_pairs_mut()
                .append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                )
                .append_pair("client_assertion", assertion.trim());
        } else {
            form.query_pairs_mut().append_pair("client_secret", &secret);
        }
        let url = format!("{}/{tenant}/oauth2/v2.0/token", config.login);
        Request::post(&url, FORM, form.query().unwrap_or_default().to_owned()).map_err(|err| err.chain())?
    };
    let answer = poll::body(client, request).await.map_err(|reason| format!("no access token: {reason}"))?;
    let answer = poll::parse("the token endpoint", &answer)?;
    let token = text(&answer["access_token"]);
    if token.is_empty() {
        return Err("the token endpoint returned no access_token".into());
    }
    let seconds = text(&answer["expires_in"]).parse().unwrap_or(3600);
    Ok((token.into(), Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> Config {
        let map = json!({"subscription_id": "s", "tenant_id": "t", "client_id": "c", "client_secret": "x", "port": 9100});
        Config::read(&Section::new(map.as_object().unwrap())).unwrap()
    }

    #[test]
    fn a_machine_has_the_documented_labels() {
        let machine = json!({"id": "/subscriptions/s/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/vm", "name": "vm",
            "location": "westeurope", "tags": {"team.x": "a"}, "properties": {"hardwareProfile": {"vmSize": "D2"},
            "osProfile": {"computerName": "host"}, "storageProfile": {"osDisk": {"osType": "Linux"}}}});
        let target = machine_labels(&machine, "set", &config());
        for (label, value) in [
            ("__meta_azure_machine_resource_group", "G"),
            ("__meta_azure_machine_size", "D2"),
            ("__meta_azure_machine_scale_set", "set"),
            ("__meta_azure_machine_tag_team_x", "a"),
            ("__meta_azure_machine_os_type", "Linux"),
            ("__meta_azure_subscription_id", "s"),
        ] {
            assert_eq!(target[label], value, "{label}");
        }
    }
}
