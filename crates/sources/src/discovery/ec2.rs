//! Instances of AWS EC2. Sources: the Prometheus manual, "ec2_sd_config"; the EC2 API reference, `DescribeInstances`; the EC2
//! manual, "Instance metadata".
//!
//! Keys and signatures are those of `httpc::aws`.

use std::collections::BTreeMap;
use std::time::Duration;

use httpc::Client;
use httpc::aws::{self, SigV4};
use httpc::sigv4::Credentials;
use roxmltree::{Document, Node};

use super::poll::{self, ADDRESS, Target, join, sanitize};
use super::section::Section;
use super::{Group, Out};

/// The API version whose answers are read.
const VERSION: &str = "2016-11-15";

/// `ec2_sd_configs`
#[derive(Clone, Debug)]
pub(crate) struct Config {
    http: httpc::Config,
    endpoint: String,
    aws: SigV4,
    port: u16,
    filters: Vec<(String, Vec<String>)>,
    refresh: Duration,
}

impl Config {
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        let aws = SigV4 {
            region: section.text("region"),
            access_key: section.text("access_key"),
            secret_key: section.text("secret_key").into(),
            profile: section.text("profile"),
            role_arn: section.text("role_arn"),
            external_id: section.text("external_id"),
            ..SigV4::default()
        };
        if aws.validate().is_err() {
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
            aws,
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
        let region = aws::region(&config.aws, client).await?;
        let credentials = aws::credentials(&config.aws, client, &region).await?;
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
            "" => format!("https://ec2.{region}.{}/", aws::domain(region)),
            given => given.to_owned(),
        };
        aws::query(self.client, &url, action, VERSION, pairs, self.credentials, region, "ec2").await
    }
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
}
