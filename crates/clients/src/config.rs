//! Settings of the collector, its sites and the detection.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::InvalidField;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::origin::Pattern;

/// The collector of client-side reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether reports are collected. `bellwether collector` switches it on.
    pub enabled: bool,
    /// Address and port for uploads, apart from the API's so that browsers reach this one only. Port 0 picks a free one.
    pub listen_address: String,
    /// Certificate for uploads; browsers send reports to `https` only, so without one put a TLS proxy in front.
    pub tls: TlsFiles,
    /// How many proxies in front add to `X-Forwarded-For`: the client is that many places from the right. 0: the header is
    /// not looked at.
    pub trusted_proxy_hops: usize,
    /// File with the secret of signed paths, client keys and roll-ups: at least 16 bytes, the same on every collector of a
    /// site. Empty: a random one for each start, which roll-ups and signed paths do not accept.
    pub secret_file: PathBuf,
    /// This collector's name in roll-ups. Empty: the host's name.
    pub name: String,
    /// Databases that tell country and autonomous system of an address.
    pub geo: GeoConfig,
    /// A larger upload, in bytes, is refused with status 413.
    pub max_body_bytes: usize,
    /// Reports of one upload beyond this are refused.
    pub max_reports: usize,
    /// Reports of older events are refused.
    pub max_age: PromDuration,
    /// Most connections for uploads at once; more wait in the kernel.
    pub max_connections: usize,
    /// Uploads that take longer are ended.
    pub read_timeout: PromDuration,
    /// Bounds of what one sender and all of them can cause.
    pub limits: Limits,
    /// A cohort with fewer distinct clients in a window is never shown, stored or alerted on; 1 to 48. A client is a network
    /// prefix and a browser family, so that the true number of people is higher.
    pub min_clients: u32,
    /// Whether headless browsers and crawlers count in rates. They have a cohort of their own in any case.
    pub count_automated: bool,
    /// Autonomous systems of data centres: what comes from there is rarely a person, and cheap to forge.
    pub datacenter_asns: Vec<u32>,
    /// Whether reports of browsers and pages from `datacenter_asns` count. Applications (`bellwether-native`) always do.
    pub count_datacenters: bool,
    /// Reports, sanitized, are kept on disk for this long and are durable before they are acknowledged. 0: only per-minute
    /// sums are kept, and a crash loses up to a minute of them.
    pub keep_reports: PromDuration,
    /// Most bytes of kept reports; the oldest file is deleted beyond it.
    pub keep_reports_bytes: u64,
    /// Where per-minute sums go besides this server's own storage.
    pub push: PushConfig,
    /// The sites whose clients report here.
    pub sites: Vec<Site>,
    /// When something counts as an incident.
    pub detection: Detection,
}

/// The largest hosters, by their own registrations: Amazon, Google Cloud, Microsoft, OVH, Hetzner, DigitalOcean, Akamai's Linode, Oracle,
/// Alibaba, Tencent, Vultr, Scaleway, Contabo, Leaseweb, M247.
const DATACENTER_ASNS: [u32; 18] = [
    14618, 16509, 396982, 8075, 16276, 24940, 14061, 63949, 31898, 45102, 132203, 20473, 12876, 51167, 28753,
    60781, 30633, 9009,
];

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            listen_address: "127.0.0.1:9095".into(),
            tls: TlsFiles::default(),
            trusted_proxy_hops: 0,
            secret_file: PathBuf::new(),
            name: String::new(),
            geo: GeoConfig::default(),
            max_body_bytes: 64 << 10,
            max_reports: 100,
            max_age: PromDuration(48 * 3_600_000),
            max_connections: 10_000,
            read_timeout: PromDuration(10_000),
            limits: Limits::default(),
            min_clients: 20,
            count_automated: true,
            datacenter_asns: DATACENTER_ASNS.to_vec(),
            count_datacenters: false,
            keep_reports: PromDuration(0),
            keep_reports_bytes: 10 << 30,
            push: PushConfig::default(),
            sites: Vec::new(),
            detection: Detection::default(),
        }
    }
}

/// A certificate chain and its key, PEM. Both are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// The chain, the server's certificate first.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// Databases in MaxMind's format. Both are read again when they change; without them cohorts by place do not exist.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GeoConfig {
    /// A country (or city) database.
    pub country_file: PathBuf,
    /// An ASN (or ISP) database.
    pub asn_file: PathBuf,
}

/// Bounds of what senders can cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Reports of one client (prefix and browser family), type and five minutes that count; ten times as many successes.
    pub per_client: u32,
    /// Browser families of one network prefix whose failures count within five minutes: one sender under many names is no crowd.
    pub families_per_prefix: u32,
    /// Reports a second of one network prefix (/24 or /48).
    pub per_prefix_per_second: u32,
    /// Reports a second of one autonomous system.
    pub per_asn_per_second: u32,
    /// Reports a second of one site.
    pub per_site_per_second: u32,
    /// Seconds of those rates that may come at once.
    pub burst_seconds: u32,
    /// Clients and reports that are remembered to count each once; the oldest are forgotten beyond it.
    pub remembered: usize,
    /// Combinations of site, origin, type, place, protocol and browser within a quarter of an hour; beyond it details are
    /// folded into "other".
    pub cells: usize,
    /// Cohorts that have series of their own.
    pub cohorts: usize,
    /// Origins that are told apart, all sites together.
    pub origins: usize,
    /// Points of presence that are told apart, all sites together.
    pub pops: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_client: 5,
            families_per_prefix: 3,
            per_prefix_per_second: 200,
            per_asn_per_second: 50_000,
            per_site_per_second: 200_000,
            burst_seconds: 10,
            remembered: 1_000_000,
            cells: 1_000_000,
            cohorts: 20_000,
            origins: 1000,
            pops: 1000,
        }
    }
}

/// Where per-minute sums go: an upper collector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PushConfig {
    /// The upper collector's upload address, such as `https://collector.eu.example:9095`. Empty: nothing is pushed.
    pub url: String,
    /// How often.
    pub interval: PromDuration,
    /// Most bytes that wait on disk while the upper collector is away; the oldest are dropped and counted.
    pub spool_bytes: u64,
    /// Certificate authority of the upper collector, when it is not a public one.
    pub ca_file: PathBuf,
}

impl Default for PushConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            interval: PromDuration(60_000),
            spool_bytes: 256 << 20,
            ca_file: PathBuf::new(),
        }
    }
}

/// A site whose clients report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Site {
    /// Its name: in paths and in the label `site`. Letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Its origins, such as `https://shop.example`, `https://*.shop.example` or `https://shop.example:*`.
    pub origins: Vec<String>,
    /// The collectors that clients try in this order, such as `https://collector.example.net:9095`.
    pub collectors: Vec<String>,
    /// Share of successes that browsers report: the denominator of rates.
    pub success_fraction: f64,
    /// Share of failures that browsers report.
    pub failure_fraction: f64,
    /// How long browsers keep the policy after the last visit.
    pub max_age: PromDuration,
    /// Whether names below the site's host are reported too (name resolution only, as browsers do it).
    pub include_subdomains: bool,
    /// Whether uploads need a signed path; `bellwether client policy` makes one a day.
    pub signed: bool,
    /// The site's points of presence: a name and its addresses or networks.
    pub pops: BTreeMap<String, Vec<ipnet_text::Network>>,
    /// Tells every client to stop for good (status 410).
    pub retired: bool,
    /// Other witnesses, who are asked when clients report trouble.
    pub checks: Checks,
}

/// Other witnesses of a site: what they say stands in the evidence of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// PromQL for the share (0 to 1) of requests that the site's own servers answer with an error, such as
    /// `sum(rate(http_requests_total{job="shop",code=~"5.."}[2m])) / sum(rate(http_requests_total{job="shop"}[2m]))`.
    /// Empty: they are not asked.
    pub server_errors: String,
    /// From this share on the servers are ill.
    pub server_errors_above: f64,
    /// PromQL for probes of the site, one series each, 0 where it fails, such as `probe_success{job="shop"}`. Empty: they are not asked.
    pub probes: String,
}

impl Default for Checks {
    fn default() -> Self {
        Self { server_errors: String::new(), server_errors_above: 0.01, probes: String::new() }
    }
}

impl Default for Site {
    fn default() -> Self {
        Self {
            name: String::new(),
            origins: Vec::new(),
            collectors: Vec::new(),
            success_fraction: 0.05,
            failure_fraction: 1.0,
            max_age: PromDuration(30 * 86_400_000),
            include_subdomains: false,
            signed: false,
            pops: BTreeMap::new(),
            retired: false,
            checks: Checks::default(),
        }
    }
}

/// When something counts as an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Detection {
    /// How often rates are judged.
    pub interval: PromDuration,
    /// The lower bound of the error rate must be this many times above what is usual.
    pub min_factor: f64,
    /// And the error rate itself at least this.
    pub min_error_ratio: f64,
    /// How much likelier the fault must be than chance, as a natural logarithm.
    pub min_evidence: f64,
    /// A place is silent when fewer than this share of the expected reports arrive while others are steady.
    pub silent_below: f64,
    /// An incident ends when nothing points to it for this long.
    pub resolve_after: PromDuration,
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            interval: PromDuration(10_000),
            min_factor: 3.0,
            min_error_ratio: 0.005,
            min_evidence: 16.0,
            silent_below: 0.2,
            resolve_after: PromDuration(180_000),
        }
    }
}

/// Addresses and networks as text.
pub mod ipnet_text {
    use std::net::IpAddr;
    use std::str::FromStr;

    use ipnet::IpNet;
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// An address or a network, such as `192.0.2.1` or `2001:db8::/32`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Network(pub IpNet);

    impl FromStr for Network {
        type Err = String;
        fn from_str(text: &str) -> Result<Self, String> {
            text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map(Self).map_err(
                |_| format!("{text:?} is no address and no network: write 192.0.2.1 or 192.0.2.0/24"),
            )
        }
    }

    impl<'de> Deserialize<'de> for Network {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        }
    }

    impl Serialize for Network {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&self.0)
        }
    }

    impl JsonSchema for Network {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "Network".into()
        }
        fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
            String::json_schema(generator)
        }
    }
}

/// Most value of `min_clients`: what the sketch of distinct clients can tell for sure.
pub const MAX_MIN_CLIENTS: u32 = 48;

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first thing that is wrong: the field, and what to write.
    pub fn check(&self) -> Result<(), InvalidField> {
        self.wrong().map_or(Ok(()), |wrong| Err(wrong.within("collector")))
    }

    fn wrong(&self) -> Option<InvalidField> {
        let wrong = |field: &str, message: String| Some(InvalidField::new(field, message));
        if !(1..=MAX_MIN_CLIENTS).contains(&self.min_clients) {
            return wrong("min_clients", format!("{}: give 1 to {MAX_MIN_CLIENTS}", self.min_clients));
        }
        if self.tls.cert_file.as_os_str().is_empty() != self.tls.key_file.as_os_str().is_empty() {
            return wrong("tls", "it needs both cert_file and key_file".into());
        }
        let secret = !self.secret_file.as_os_str().is_empty();
        if !self.push.url.is_empty() && !secret {
            let text = "it needs collector.secret_file: the upper collector checks the signature";
            return wrong("push.url", text.into());
        }
        for (name, value, least) in [
            ("detection.interval", self.detection.interval.ms(), 1000),
            ("push.interval", self.push.interval.ms(), 1000),
            ("read_timeout", self.read_timeout.ms(), 1),
            ("max_age", self.max_age.ms(), 1),
        ] {
            if value < least {
                return wrong(name, format!("it is too short: give at least {least}ms"));
            }
        }
        for (name, value) in [
            ("max_body_bytes", self.max_body_bytes),
            ("max_reports", self.max_reports),
            ("max_connections", self.max_connections),
            ("limits.remembered", self.limits.remembered),
            ("limits.cells", self.limits.cells),
            ("limits.per_client", self.limits.per_client as usize),
            ("limits.families_per_prefix", self.limits.families_per_prefix as usize),
            ("limits.burst_seconds", self.limits.burst_seconds as usize),
        ] {
            if value == 0 {
                return wrong(name, "with 0 nothing would be accepted".into());
            }
        }
        let mut names = std::collections::BTreeSet::new();
        for (index, site) in self.sites.iter().enumerate() {
            let at = format!("sites[{index}]");
            if let Err(err) = site.check() {
                return Some(err.within(&at));
            }
            if !names.insert(&site.name) {
                return wrong(&format!("{at}.name"), format!("{:?} is there twice", site.name));
            }
            if site.signed && !secret {
                return wrong(&format!("{at}.signed"), "it needs collector.secret_file".into());
            }
        }
        if self.sites.len() > usize::from(u16::MAX) {
            return wrong("sites", format!("{} sites, at most 65535 are told apart", self.sites.len()));
        }
        None
    }
}

impl Site {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Field and reason.
    pub fn check(&self) -> Result<(), InvalidField> {
        let wrong = |field: &str, message: String| Err(InvalidField::new(field, message));
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if self.name.is_empty() || self.name.len() > 100 || !self.name.bytes().all(word) {
            return wrong(
                "name",
                format!("{:?}: use up to 100 letters, digits, '-', '_' and '.'", self.name),
            );
        }
        if self.origins.is_empty() {
            return wrong("origins", "name at least one, such as https://shop.example".into());
        }
        for (index, origin) in self.origins.iter().enumerate() {
            Pattern::parse(origin)
                .map_err(|reason| InvalidField::new(format!("origins[{index}]"), reason.to_string()))?;
        }
        for (index, collector) in self.collectors.iter().enumerate() {
            let origin = crate::origin::origin(collector);
            // It becomes part of web servers' configurations, in quotes; nginx has no way to write a $.
            let odd = |c: char| !c.is_ascii_graphic() || "'\"`\\{}<>^|#$".contains(c);
            if origin.is_none() || collector.contains(odd) {
                let message = format!("{collector:?} is no URL: write https://collector.example.net");
                return wrong(&format!("collectors[{index}]"), message);
            }
        }
        for (name, value) in
            [("success_fraction", self.success_fraction), ("failure_fraction", self.failure_fraction)]
        {
            if !(0.0..=1.0).contains(&value) {
                return wrong(name, format!("{value} is no share between 0 and 1"));
            }
        }
        let above = self.checks.server_errors_above;
        if !(above > 0.0 && above <= 1.0) {
            return wrong("checks.server_errors_above", format!("{above} is no share above 0 and up to 1"));
        }
        Ok(())
    }
}
