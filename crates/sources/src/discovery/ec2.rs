//! Instances of AWS EC2. Sources: the Prometheus manual, "ec2_sd_config"; the EC2 API reference, `DescribeInstances`; the EC2
//! manual, "Instance metadata".
//!
//! Requests are signed by `httpc::sigv4`; the keys are the section's, the environment's, those of the shared credentials file
//! or those of the instance's role. A `role_arn` is assumed through STS.

use std::collections::BTreeMap;
use std::time::Duration;

use httpc::sigv4::{Credentials, sign};
use httpc::{Client, Method, Request, Secret};
use roxmltree::{Document, Node};

use super::poll::{self, ADDRESS, Target, join, sanitize};
use super::section::Section;
use super::{Group, Out, now_seconds};

/// The metadata service of an instance.
const METADATA: &str = "http://169.254.169.254";
/// The API version whose answers are read.
const VERSION: &str = "2016-11-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// `ec2_sd_configs`
#[derive(Clone, Debug)]
pub(crate) struct Config {
    http: httpc::Config,
    endpoint: String,
    region: String,
    access_key: String,
    secret_key: Secret,
    profile: String,
    role_arn: String,
    external_id: String,
    port: u16,
    filters: Vec<(String, Vec<String>)>,
    refresh: Duration,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        let (access_key, secret_key) = (section.text("access_key"), section.text("secret_key"));
        if access_key.is_empty() != secret_key.is_empty() {
            return Err("access_key and secret_key must be given together".into());
        }
        let endpoint = section.text("endpoint");
        let endpoint = match endpoint.is_empty() || endpoint.contains("://") {
            true => endpoint,
            false => format!("https://{endpoint}"),
        };
        Ok(Self {
            http: section.http()?,
            endpoint,
            region: section.text("region"),
            access_key,
            secret_key: secret_key.into(),
            profile: section.text("profile"),
            role_arn: section.text("role_arn"),
            external_id: section.text("external_id"),
            port: section.port_or("port", 80)?,
            filters: section.filters()?,
            refresh: section.duration_or("refresh_interval", 60)?,
        })
    }
}

pub(crate) async fn run(config: Config, out: Out) {
    let client = match poll::client(config.http.clone(), poll::options()).await {
        Ok(client) => client,
        Err(reason) => return out.failed(format!("ec2_sd_configs: {reason}")).await,
    };
    poll::poll("ec2_sd_configs", config.refresh, out, Round { client, config, zones: None }).await;
}

/// What a round needs.
struct Round {
    client: Client,
    config: Config,
    /// The ids of the zones, once they are known.
    zones: Option<BTreeMap<String, String>>,
}

impl poll::Ask for Round {
    async fn ask(&mut self) -> Result<Vec<Group>, String> {
        let Self { client, config, zones } = self;
        let region = region(config, client).await?;
        let credentials = credentials(config, client, &region).await?;
        let call = Call { client, config, region: &region, credentials: &credentials };
        if zones.is_none() {
            // The zones' ids are an extra that the keys may not be allowed to read.
            match call.describe("DescribeAvailabilityZones", &[]).await.and_then(|xml| zone_ids(&xml)) {
                Ok(found) => *zones = Some(found),
                Err(reason) => {
                    tracing::debug!(%reason, "ec2_sd_configs: availability zone ids are not known")
                }
            }
        }
        let known = zones.clone().unwrap_or_default();
        let (mut targets, mut token) = (Vec::new(), String::new());
        for _ in 0..poll::MAX_PAGES {
            let mut pairs: Vec<(String, String)> = Vec::new();
            for (i, (name, values)) in config.filters.iter().enumerate() {
                pairs.push((format!("Filter.{}.Name", i + 1), name.clone()));
                for (j, value) in values.iter().enumerate() {
                    pairs.push((format!("Filter.{}.Value.{}", i + 1, j + 1), value.clone()));
                }
            }
            if !token.is_empty() {
                pairs.push(("NextToken".into(), token.clone()));
            }
            let xml = call.describe("DescribeInstances", &pairs).await?;
            token = instances(&xml, &region, config.port, &known, &mut targets)?;
            if token.is_empty() {
                return Ok(vec![Group { source: region, targets, labels: BTreeMap::new() }]);
            }
        }
        Err("the list of instances does not end".into())
    }
}

struct Call<'a> {
    client: &'a Client,
    config: &'a Config,
    region: &'a str,
    credentials: &'a Credentials,
}

impl Call<'_> {
    async fn describe(&self, action: &str, pairs: &[(String, String)]) -> Result<String, String> {
        let region = self.region;
        let url = match self.config.endpoint.as_str() {
            "" => format!("https://ec2.{region}.{}/", domain(region)),
            given => given.to_owned(),
        };
        query(self.client, &url, action, VERSION, pairs, self.credentials, region, "ec2").await
    }
}

/// The domain of a region's services.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// A request in AWS' query protocol.
#[expect(clippy::too_many_arguments, reason = "each is a part of the request; there are two callers")]
async fn query(
    client: &Client,
    url: &str,
    action: &str,
    version: &str,
    pairs: &[(String, String)],
    credentials: &Credentials,
    region: &str,
    service: &str,
) -> Result<String, String> {
    let mut form = httpc::Url::parse("http://h").expect("a constant URL");
    form.query_pairs_mut().append_pair("Action", action).append_pair("Version", version).extend_pairs(pairs);
    let body = form.query().unwrap_or_default().to_owned();
    let request = Request::post(url, FORM, body).map_err(|err| err.chain())?;
    let request = sign(request, credentials, region, service, now_seconds()).map_err(|err| err.chain())?;
    let body = poll::body(client, request).await.map_err(|reason| format!("{action}: {reason}"))?;
    String::from_utf8(body).map_err(|_| format!("{action}: the answer is not UTF-8"))
}

/// The metadata service of the instance that this process runs on, version 2.
async fn metadata(client: &Client, path: &str) -> Result<String, String> {
    let short = Duration::from_secs(3);
    let request = Request::new(Method::PUT, &format!("{METADATA}/latest/api/token"))
        .and_then(|request| request.header("x-aws-ec2-metadata-token-ttl-seconds", "300"))
        .map_err(|err| err.chain())?
        .timeout(short);
    let token = String::from_utf8_lossy(&poll::body(client, request).await?).into_owned();
    let request = Request::get(&format!("{METADATA}{path}"))
        .and_then(|request| request.header("x-aws-ec2-metadata-token", token.trim()))
        .map_err(|err| err.chain())?
        .timeout(short);
    Ok(String::from_utf8_lossy(&poll::body(client, request).await?).trim().to_owned())
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

async fn region(config: &Config, client: &Client) -> Result<String, String> {
    if !config.region.is_empty() {
        return Ok(config.region.clone());
    }
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if !env(name).is_empty() {
            return Ok(env(name));
        }
    }
    let found = metadata(client, "/latest/meta-data/placement/region").await;
    found.map_err(|reason| {
        format!(
            "region is not given, AWS_REGION is not set, and the metadata service does not answer: {reason}"
        )
    })
}

async fn credentials(config: &Config, client: &Client, region: &str) -> Result<Credentials, String> {
    let own = if !config.access_key.is_empty() {
        Credentials {
            access_key: config.access_key.clone(),
            secret_key: config.secret_key.clone(),
            session_token: Secret::default(),
        }
    } else if config.profile.is_empty() && !env("AWS_ACCESS_KEY_ID").is_empty() {
        Credentials {
            access_key: env("AWS_ACCESS_KEY_ID"),
            secret_key: env("AWS_SECRET_ACCESS_KEY").into(),
            session_token: env("AWS_SESSION_TOKEN").into(),
        }
    } else if let Some(found) = shared_file(&config.profile).await? {
        found
    } else {
        let path = "/latest/meta-data/iam/security-credentials/";
        let missing = |reason| {
            format!(
                "no keys: neither access_key, AWS_ACCESS_KEY_ID nor a credentials file, and the metadata service does not answer: {reason}"
            )
        };
        let role = metadata(client, path).await.map_err(missing)?;
        let role = role.lines().next().unwrap_or_default().to_owned();
        let text = metadata(client, &format!("{path}{role}")).await.map_err(missing)?;
        let found = poll::parse("the metadata service", text.as_bytes())?;
        Credentials {
            access_key: poll::text(&found["AccessKeyId"]),
            secret_key: poll::text(&found["SecretAccessKey"]).into(),
            session_token: poll::text(&found["Token"]).into(),
        }
    };
    if config.role_arn.is_empty() {
        return Ok(own);
    }
    let mut pairs = vec![
        ("RoleArn".to_owned(), config.role_arn.clone()),
        ("RoleSessionName".to_owned(), "bellwether".to_owned()),
    ];
    if !config.external_id.is_empty() {
        pairs.push(("ExternalId".to_owned(), config.external_id.clone()));
    }
    let url = format!("https://sts.{region}.{}/", domain(region));
    let xml = query(client, &url, "AssumeRole", "2011-06-15", &pairs, &own, region, "sts").await?;
    let document =
        Document::parse(&xml).map_err(|err| format!("AssumeRole: the answer is not XML: {err}"))?;
    let find = |name: &str| {
        let node = document.descendants().find(|node| node.tag_name().name() == name);
        node.and_then(|node| node.text()).unwrap_or_default().to_owned()
    };
    Ok(Credentials {
        access_key: find("AccessKeyId"),
        secret_key: find("SecretAccessKey").into(),
        session_token: find("SessionToken").into(),
    })
}

/// A profile of `~/.aws/credentials`; `None` when neither file nor profile exists and none was asked for.
async fn shared_file(profile: &str) -> Result<Option<Credentials>, String> {
    let path = match env("AWS_SHARED_CREDENTIALS_FILE") {
        path if path.is_empty() => format!("{}/.aws/credentials", env("HOME")),
        path => path,
    };
    let wanted = match profile {
        "" => match env("AWS_PROFILE") {
            name if name.is_empty() => "default".to_owned(),
            name => name,
        },
        name => name.to_owned(),
    };
    let text = match tokio::fs::read_to_string(&path).await {
        Ok(text) => text,
        Err(err) if profile.is_empty() && err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(format!("cannot read {path}: {err}")),
    };
    match profile_of(&text, &wanted) {
        None if profile.is_empty() => Ok(None),
        None => Err(format!("{path} has no profile {wanted:?} with keys")),
        found => Ok(found),
    }
}

fn profile_of(text: &str, wanted: &str) -> Option<Credentials> {
    let mut inside = false;
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == wanted;
        } else if inside && let Some((name, value)) = line.split_once('=') {
            values.insert(name.trim(), value.trim());
        }
    }
    Some(Credentials {
        access_key: (*values.get("aws_access_key_id")?).to_owned(),
        secret_key: (*values.get("aws_secret_access_key")?).into(),
        session_token: values.get("aws_session_token").copied().unwrap_or_default().into(),
    })
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// The text at a path below a node.
fn at<'a>(node: Node<'a, 'a>, path: &[&str]) -> &'a str {
    let found = path.iter().try_fold(node, |node, name| child(node, name));
    found.and_then(|node| node.text()).unwrap_or_default()
}

fn items<'a>(node: Node<'a, 'a>, set: &str) -> Vec<Node<'a, 'a>> {
    let list = child(node, set).into_iter().flat_map(|set| set.children());
    list.filter(|child| child.tag_name().name() == "item").collect()
}

fn zone_ids(xml: &str) -> Result<BTreeMap<String, String>, String> {
    let document = Document::parse(xml).map_err(|err| format!("the answer is not XML: {err}"))?;
    let zones = items(document.root_element(), "availabilityZoneInfo");
    Ok(zones
        .into_iter()
        .map(|zone| (at(zone, &["zoneName"]).to_owned(), at(zone, &["zoneId"]).to_owned()))
        .collect())
}

/// Adds the instances of one answer; the token of the next page, `""` after the last.
fn instances(
    xml: &str,
    region: &str,
    port: u16,
    zones: &BTreeMap<String, String>,
    out: &mut Vec<Target>,
) -> Result<String, String> {
    let document =
        Document::parse(xml).map_err(|err| format!("DescribeInstances: the answer is not XML: {err}"))?;
    let root = document.root_element();
    for reservation in items(root, "reservationSet") {
        let owner = at(reservation, &["ownerId"]);
        for instance in items(reservation, "instancesSet") {
            // Without a private address it cannot be reached: it has been terminated.
            if !at(instance, &["privateIpAddress"]).is_empty() {
                out.push(target(instance, owner, region, port, zones));
            }
        }
    }
    Ok(at(root, &["nextToken"]).to_owned())
}

fn target<'a>(
    instance: Node<'a, 'a>,
    owner: &str,
    region: &str,
    port: u16,
    zones: &BTreeMap<String, String>,
) -> Target {
    let mut target = Target::new();
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            target.insert(format!("__meta_ec2_{name}"), value.to_owned());
        }
    };
    for (name, path) in [
        ("ami", &["imageId"][..]),
        ("architecture", &["architecture"]),
        ("availability_zone", &["placement", "availabilityZone"]),
        ("instance_id", &["instanceId"]),
        ("instance_lifecycle", &["instanceLifecycle"]),
        ("instance_state", &["instanceState", "name"]),
        ("instance_type", &["instanceType"]),
        ("platform", &["platform"]),
        ("private_dns_name", &["privateDnsName"]),
        ("private_ip", &["privateIpAddress"]),
        ("public_dns_name", &["dnsName"]),
        ("public_ip", &["ipAddress"]),
        ("vpc_id", &["vpcId"]),
    ] {
        put(name, at(instance, path));
    }
    put("owner_id", owner);
    put("region", region);
    if let Some(id) = zones.get(at(instance, &["placement", "availabilityZone"])) {
        put("availability_zone_id", id);
    }
    if !at(instance, &["vpcId"]).is_empty() {
        put("primary_subnet_id", at(instance, &["subnetId"]));
        let (mut subnets, mut addresses, mut primary) = (Vec::new(), Vec::new(), BTreeMap::new());
        for interface in items(instance, "networkInterfaceSet") {
            let subnet = at(interface, &["subnetId"]);
            if !subnet.is_empty() && !subnets.contains(&subnet) {
                subnets.push(subnet);
            }
            for address in items(interface, "ipv6AddressesSet") {
                let ip = at(address, &["ipv6Address"]);
                addresses.push(ip);
                if at(address, &["isPrimaryIpv6"]) == "true" {
                    let device = at(interface, &["attachment", "deviceIndex"]).parse().unwrap_or(u32::MAX);
                    primary.insert(device, ip);
                }
            }
        }
        let listed =
            |items: Vec<&str>| if items.is_empty() { String::new() } else { poll::wrapped(items, ",") };
        put("subnet_id", &listed(subnets));
        put("ipv6_addresses", &listed(addresses));
        put("primary_ipv6_addresses", &listed(primary.into_values().collect()));
    }
    for tag in items(instance, "tagSet") {
        put(&format!("tag_{}", sanitize(at(tag, &["key"]))), at(tag, &["value"]));
    }
    target.insert(ADDRESS.into(), join(at(instance, &["privateIpAddress"]), port));
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = r#"<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet><item>
        <ownerId>42</ownerId><instancesSet><item><instanceId>i-1</instanceId><imageId>ami-1</imageId><instanceType>m7g.large</instanceType>
        <instanceState><code>16</code><name>running</name></instanceState><placement><availabilityZone>eu-west-1a</availabilityZone></placement>
        <privateIpAddress>10.0.0.9</privateIpAddress><ipAddress>203.0.113.5</ipAddress><vpcId>vpc-1</vpcId><subnetId>subnet-1</subnetId>
        <networkInterfaceSet><item><subnetId>subnet-1</subnetId><attachment><deviceIndex>0</deviceIndex></attachment>
        <ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address><isPrimaryIpv6>true</isPrimaryIpv6></item></ipv6AddressesSet></item></networkInterfaceSet>
        <tagSet><item><key>aws:role/x</key><value>web</value></item></tagSet></item>
        <item><instanceId>i-2</instanceId></item></instancesSet></item></reservationSet><nextToken>t</nextToken></DescribeInstancesResponse>"#;

    #[test]
    fn an_instance_has_the_documented_labels() {
        let mut found = Vec::new();
        let zones = [("eu-west-1a".to_owned(), "euw1-az2".to_owned())].into();
        assert_eq!(instances(XML, "eu-west-1", 9100, &zones, &mut found).unwrap(), "t");
        assert_eq!(found.len(), 1);
        for (label, value) in [
            (ADDRESS, "10.0.0.9:9100"),
            ("__meta_ec2_availability_zone_id", "euw1-az2"),
            ("__meta_ec2_ipv6_addresses", ",2001:db8::1,"),
            ("__meta_ec2_primary_ipv6_addresses", ",2001:db8::1,"),
            ("__meta_ec2_subnet_id", ",subnet-1,"),
            ("__meta_ec2_tag_aws_role_x", "web"),
            ("__meta_ec2_instance_state", "running"),
            ("__meta_ec2_owner_id", "42"),
        ] {
            assert_eq!(found[0][label], value, "{label}");
        }
    }

    #[test]
    fn profiles() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key = B\n[other]\naws_access_key_id=C\naws_secret_access_key=D\naws_session_token=E\n";
        assert_eq!(profile_of(text, "default").unwrap().access_key, "A");
        assert_eq!(profile_of(text, "other").unwrap().session_token.expose(), "E");
        assert!(profile_of(text, "none").is_none());
    }
}
