//! Instances and hypervisors of OpenStack Nova. Sources: the Prometheus manual, "openstack_sd_config"; the Identity v3 and
//! Compute APIs.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use httpc::{Client, Request, Secret};
use serde_json::{Value, json};

use super::poll::{self, ADDRESS, Target, entries, items, join, sanitize, text};
use super::section::Section;
use super::{Group, Out};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Instance,
    Hypervisor,
}

/// `openstack_sd_configs`
#[derive(Clone, Debug)]
pub(crate) struct Config {
    http: httpc::Config,
    identity: String,
    /// The body of a token request.
    auth: Value,
    role: Role,
    region: String,
    port: u16,
    all_tenants: bool,
    availability: String,
    refresh: Duration,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        let role = match section.text("role").as_str() {
            "instance" => Role::Instance,
            "hypervisor" => Role::Hypervisor,
            other => {
                return Err(format!("unknown OpenStack SD role {other:?} (one of: instance, hypervisor)"));
            }
        };
        let env = |name: &str| std::env::var(name).unwrap_or_default();
        let mut identity = section.text("identity_endpoint");
        // As OpenStack's own clients: without an endpoint everything comes from the environment.
        let from_env = identity.is_empty();
        if from_env {
            identity = env("OS_AUTH_URL");
        }
        let field = |key: &str, variable: &str| if from_env { env(variable) } else { section.text(key) };
        let auth = auth(&Identity {
            user: field("username", "OS_USERNAME"),
            user_id: field("userid", "OS_USERID"),
            password: field("password", "OS_PASSWORD"),
            domain: field("domain_name", "OS_DOMAIN_NAME"),
            domain_id: field("domain_id", "OS_DOMAIN_ID"),
            project: field("project_name", "OS_PROJECT_NAME"),
            project_id: field("project_id", "OS_PROJECT_ID"),
            credential: field("application_credential_name", "OS_APPLICATION_CREDENTIAL_NAME"),
            credential_id: field("application_credential_id", "OS_APPLICATION_CREDENTIAL_ID"),
            credential_secret: field("application_credential_secret", "OS_APPLICATION_CREDENTIAL_SECRET"),
        });
        Ok(Self {
            http: section.http()?,
            identity: identity.trim_end_matches('/').to_owned(),
            auth,
            role,
            region: section.required("region")?,
            port: section.port_or("port", 80)?,
            all_tenants: section.flag_or("all_tenants", false)?,
            availability: section.text_or("availability", "public"),
            refresh: section.duration_or("refresh_interval", 60)?,
        })
    }
}

/// Who asks, in any of the ways that Identity v3 knows.
#[derive(Default)]
struct Identity {
    user: String,
    user_id: String,
    password: String,
    domain: String,
    domain_id: String,
    project: String,
    project_id: String,
    credential: String,
    credential_id: String,
    credential_secret: String,
}

fn auth(who: &Identity) -> Value {
    let domain = match (who.domain_id.as_str(), who.domain.as_str()) {
        ("", "") => json!({"id": "default"}),
        ("", name) => json!({ "name": name }),
        (id, _) => json!({ "id": id }),
    };
    let user = match who.user_id.as_str() {
        "" => json!({"name": who.user, "domain": domain}),
        id => json!({ "id": id }),
    };
    if !who.credential_secret.is_empty() {
        let credential = match who.credential_id.as_str() {
            "" => json!({"name": who.credential, "secret": who.credential_secret, "user": user}),
            id => json!({"id": id, "secret": who.credential_secret}),
        };
        return json!({"auth": {"identity": {"methods": ["application_credential"], "application_credential": credential}}});
    }
    let mut user = user;
    user["password"] = json!(who.password);
    let mut auth = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}});
    if !who.project_id.is_empty() {
        auth["auth"]["scope"] = json!({"project": {"id": who.project_id}});
    } else if !who.project.is_empty() {
        auth["auth"]["scope"] = json!({"project": {"name": who.project, "domain": domain}});
    }
    auth
}

pub(crate) async fn run(config: Config, out: Out) {
    if config.identity.is_empty() {
        return out
            .failed("openstack_sd_configs: neither identity_endpoint nor OS_AUTH_URL is set".into())
            .await;
    }
    let client = match poll::client(config.http.clone(), poll::options()).await {
        Ok(client) => client,
        Err(reason) => return out.failed(format!("openstack_sd_configs: {reason}")).await,
    };
    poll::poll("openstack_sd_configs", config.refresh, out, Round { client, config }).await;
}

/// What a round needs.
struct Round {
    client: Client,
    config: Config,
}

impl poll::Ask for Round {
    async fn ask(&mut self) -> Result<Vec<Group>, String> {
        let Self { client, config } = self;
        // A token a round: they are short-lived, and a round is a few requests.
        let api = Api::connect(client, config).await?;
        let targets = match config.role {
            Role::Hypervisor => api.hypervisors().await?,
            Role::Instance => api.instances().await?,
        };
        Ok(vec![Group { source: format!("OS_{}", config.region), targets, labels: BTreeMap::new() }])
    }
}

struct Api<'a> {
    client: &'a Client,
    config: &'a Config,
    token: Secret,
    compute: String,
    network: Option<String>,
}

impl<'a> Api<'a> {
    async fn connect(client: &'a Client, config: &'a Config) -> Result<Self, String> {
        let base = config.identity.trim_end_matches("/v3").trim_end_matches("/v2.0");
        let url = format!("{base}/v3/auth/tokens");
        let request =
            Request::post(&url, "application/json", config.auth.to_string()).map_err(|err| err.chain())?;
        let response = client.send(request).await.map_err(|err| err.chain())?;
        let status = response.status();
        let token = response.header("x-subject-token").unwrap_or_default().to_owned();
        let body = response.bytes(poll::MAX_BYTES).await.map_err(|err| err.chain())?;
        if !status.is_success() || token.is_empty() {
            let said: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(format!("{url} returned HTTP status {status}: {}", said.trim()));
        }
        let answer = poll::parse(&url, &body)?;
        let endpoint = |kind: &str| endpoint(&answer, kind, &config.region, &config.availability);
        let compute = endpoint("compute").ok_or_else(|| {
            format!(
                "the catalogue has no {} compute endpoint in region {:?}",
                config.availability, config.region
            )
        })?;
        Ok(Self { client, config, token: token.into(), compute, network: endpoint("network") })
    }

    async fn get(&self, url: &str) -> Result<Value, String> {
        let request = Request::get(url)
            .and_then(|request| request.header("x-auth-token", self.token.expose()))
            .and_then(|request| request.header("accept", "application/json"))
            // The first version that names the flavor inside a server.
            .and_then(|request| request.header("x-openstack-nova-api-version", "2.60"))
            .map_err(|err| err.chain())?;
        poll::parse(url, &poll::body(self.client, request).await?)
    }

    /// All pages of a list.
    async fn list(&self, first: String, key: &str) -> Result<Vec<Value>, String> {
        let origin = |url: &str| httpc::Url::parse(url).map(|url| url.origin()).ok();
        let (mut url, mut out) = (first, Vec::new());
        for _ in 0..poll::MAX_PAGES {
            let mut page = self.get(&url).await?;
            if let Value::Array(found) = page[key].take() {
                out.extend(found);
            }
            let next = items(&page[format!("{key}_links")]).find(|link| link["rel"] == "next");
            let Some(next) = next.map(|link| text(&link["href"])) else { return Ok(out) };
            if origin(&next) != origin(&url) {
                return Err(format!("the list of {key} goes on at a foreign address"));
            }
            url = next;
        }
        Err(format!("the list of {key} does not end"))
    }

    async fn hypervisors(&self) -> Result<Vec<Target>, String> {
        let found = self.list(format!("{}/os-hypervisors/detail", self.compute), "hypervisors").await?;
        Ok(found.iter().map(|hypervisor| hypervisor_target(hypervisor, self.config.port)).collect())
    }

    async fn instances(&self) -> Result<Vec<Target>, String> {
        let all = if self.config.all_tenants { "?all_tenants=true" } else { "" };
        let servers = self.list(format!("{}/servers/detail{all}", self.compute), "servers").await?;
        let mut floating = HashMap::new();
        if let Some(network) = &self.network {
            for ip in self.list(format!("{network}/v2.0/floatingips"), "floatingips").await? {
                floating.insert(text(&ip["fixed_ip_address"]), text(&ip["floating_ip_address"]));
            }
        }
        Ok(servers.iter().flat_map(|server| server_targets(server, &floating, self.config.port)).collect())
    }
}

/// The address of a service.
fn endpoint(answer: &Value, kind: &str, region: &str, availability: &str) -> Option<String> {
    let service = items(&answer["token"]["catalog"]).find(|service| service["type"] == kind)?;
    let fits = |endpoint: &&Value| {
        endpoint["interface"] == availability
            && (endpoint["region"] == region || endpoint["region_id"] == region)
    };
    let found = items(&service["endpoints"]).find(fits)?;
    Some(text(&found["url"]).trim_end_matches('/').to_owned())
}

fn hypervisor_target(hypervisor: &Value, port: u16) -> Target {
    let mut target = Target::new();
    for (name, field) in [
        ("id", "id"),
        ("hostname", "hypervisor_hostname"),
        ("host_ip", "host_ip"),
        ("status", "status"),
        ("state", "state"),
        ("type", "hypervisor_type"),
    ] {
        target.insert(format!("__meta_openstack_hypervisor_{name}"), text(&hypervisor[field]));
    }
    target.insert(ADDRESS.into(), join(&text(&hypervisor["host_ip"]), port));
    target
}

/// One target for each fixed address.
fn server_targets(server: &Value, floating: &HashMap<String, String>, port: u16) -> Vec<Target> {
    let mut common = Target::new();
    let mut put = |name: &str, value: String| common.insert(format!("__meta_openstack_{name}"), value);
    put("instance_id", text(&server["id"]));
    put("instance_status", text(&server["status"]));
    put("instance_name", text(&server["name"]));
    put("project_id", text(&server["tenant_id"]));
    put("user_id", text(&server["user_id"]));
    let flavor = &server["flavor"];
    let name = text(&flavor["original_name"]);
    put("instance_flavor", if name.is_empty() { text(&flavor["id"]) } else { name });
    if !server["image"]["id"].is_null() {
        put("instance_image", text(&server["image"]["id"]));
    }
    for (name, value) in entries(&server["metadata"]) {
        put(&format!("tag_{}", sanitize(name)), value);
    }
    let mut out = Vec::new();
    for (pool, addresses) in server["addresses"].as_object().into_iter().flatten() {
        for address in items(addresses).filter(|address| address["OS-EXT-IPS:type"] != "floating") {
            let ip = text(&address["addr"]);
            let mut target = common.clone();
            target.insert("__meta_openstack_address_pool".into(), pool.clone());
            target.insert("__meta_openstack_private_ip".into(), ip.clone());
            if let Some(public) = floating.get(&ip) {
                target.insert("__meta_openstack_public_ip".into(), public.clone());
            }
            target.insert(ADDRESS.into(), join(&ip, port));
            out.push(target);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_asked_for_in_the_given_way() {
        let by_name = auth(&Identity {
            user: "u".into(),
            password: "p".into(),
            project: "x".into(),
            ..Identity::default()
        });
        assert_eq!(by_name["auth"]["identity"]["password"]["user"]["domain"]["id"], "default");
        assert_eq!(by_name["auth"]["scope"]["project"]["name"], "x");
        let credential = auth(&Identity {
            credential_id: "c".into(),
            credential_secret: "s".into(),
            ..Identity::default()
        });
        assert_eq!(credential["auth"]["identity"]["application_credential"]["id"], "c");
    }

    #[test]
    fn catalogue_and_servers() {
        let answer = json!({"token": {"catalog": [{"type": "compute", "endpoints": [
            {"interface": "admin", "region": "R", "url": "http://a/"}, {"interface": "public", "region": "R", "url": "http://c/v2.1/"}]}]}});
        assert_eq!(endpoint(&answer, "compute", "R", "public").unwrap(), "http://c/v2.1");
        assert!(endpoint(&answer, "compute", "S", "public").is_none());
        let server = json!({"id": "1", "name": "vm", "status": "ACTIVE", "tenant_id": "t", "user_id": "u",
            "flavor": {"original_name": "m1"}, "metadata": {"a.b": "c"}, "addresses": {"net": [
                {"addr": "10.0.0.4", "OS-EXT-IPS:type": "fixed"}, {"addr": "192.0.2.7", "OS-EXT-IPS:type": "floating"}]}});
        let floating = [("10.0.0.4".to_owned(), "192.0.2.7".to_owned())].into();
        let targets = server_targets(&server, &floating, 80);
        assert_eq!(targets.len(), 1);
        assert_eq!(targets[0]["__meta_openstack_public_ip"], "192.0.2.7");
        assert_eq!(targets[0]["__meta_openstack_tag_a_b"], "c");
        assert_eq!(targets[0]["__meta_openstack_instance_flavor"], "m1");
    }
}
