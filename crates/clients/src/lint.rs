//! Whether a site's collectors are independent of it and of each other: what fails together cannot report on each other.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use crate::geo::{self, Geo};
use crate::origin;

/// A site or collector and where its name leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The URL or origin as it was given.
    pub url: String,
    /// Its addresses; empty when the name was not resolved.
    pub addresses: Vec<IpAddr>,
    /// The autonomous systems of the addresses, when known.
    pub asns: BTreeSet<u32>,
}

impl Endpoint {
    /// With the autonomous systems that a database knows.
    pub fn new(url: &str, addresses: Vec<IpAddr>, geo: &Geo) -> Self {
        let asns = addresses.iter().map(|a| geo.place(*a).asn).filter(|asn| *asn != 0).collect();
        Self { url: url.to_owned(), addresses, asns }
    }

    fn host(&self) -> &str {
        origin::host(&self.url)
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The collectors do not do what they are for.
    Error,
    /// Something could not be checked, or could be better.
    Warning,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What is shared or missing: `domain`, `address`, `prefix`, `asn`, `cdn`, `count`, `scheme`, `unresolved`, `database`.
    pub kind: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// Second-level names under which domains are registered by others. The public suffix list has more; these are the common ones.
const SUFFIXES: [&str; 40] = [
    "ac.jp", "ac.uk", "co.id", "co.il", "co.in", "co.jp", "co.ke", "co.kr", "co.nz", "co.th", "co.uk",
    "co.za", "com.ar", "com.au", "com.br", "com.cn", "com.co", "com.hk", "com.mx", "com.my", "com.pl",
    "com.sg", "com.tr", "com.tw", "com.ua", "com.vn", "edu.au", "gov.au", "gov.uk", "net.au", "net.br",
    "net.cn", "ne.jp", "or.jp", "or.kr", "org.au", "org.br", "org.cn", "org.nz", "org.uk",
];

/// The name that its owner has registered, such as `example.co.uk`; an address is its own.
pub fn registrable(host: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.parse::<IpAddr>().is_ok() {
        return host;
    }
    let labels: Vec<&str> = host.split('.').collect();
    let last = |n: usize| labels[labels.len().saturating_sub(n)..].join(".");
    if SUFFIXES.contains(&last(2).as_str()) { last(3) } else { last(2) }
}

/// Content delivery networks by their autonomous systems.
const CDNS: [(u32, &str); 19] = [
    (13335, "Cloudflare"),
    (209_242, "Cloudflare"),
    (54113, "Fastly"),
    (16625, "Akamai"),
    (20940, "Akamai"),
    (12222, "Akamai"),
    (32787, "Akamai"),
    (14618, "Amazon"),
    (16509, "Amazon"),
    (15169, "Google"),
    (396_982, "Google"),
    (8075, "Microsoft"),
    (60068, "CDN77"),
    (212_238, "CDN77"),
    (19551, "Imperva"),
    (30148, "Sucuri"),
    (22822, "Edgio"),
    (15133, "Edgio"),
    (200_325, "Bunny"),
];

fn cdn(asn: u32) -> Option<&'static str> {
    CDNS.iter().find(|(known, _)| *known == asn).map(|(_, name)| *name)
}

fn error(kind: &'static str, message: String) -> Finding {
    Finding { level: Level::Error, kind, message }
}

fn warning(kind: &'static str, message: String) -> Finding {
    Finding { level: Level::Warning, kind, message }
}

/// Checks a site's collectors. `site`: its origins. No finding means independent as far as is known.
pub fn check(site: &[Endpoint], collectors: &[Endpoint]) -> Vec<Finding> {
    let mut out = Vec::new();
    if collectors.len() < 2 {
        out.push(error(
            "count",
            format!("{} collector(s): name at least two, so that one can be down", collectors.len()),
        ));
    }
    for collector in collectors {
        if !collector.url.starts_with("https://") {
            out.push(error(
                "scheme",
                format!("{} is not https: browsers send reports to https only", collector.url),
            ));
        }
    }
    for endpoint in site.iter().chain(collectors) {
        if endpoint.addresses.is_empty() {
            out.push(warning(
                "unresolved",
                format!("{} was not resolved: its addresses are not compared", endpoint.url),
            ));
        } else if endpoint.asns.is_empty() {
            out.push(warning(
                "database",
                format!(
                    "no autonomous system is known for {}: give a database (collector.geo.asn_file)",
                    endpoint.url
                ),
            ));
        }
    }
    for (index, collector) in collectors.iter().enumerate() {
        for other in site {
            shared(collector, other, &mut out);
        }
        for other in &collectors[..index] {
            shared(collector, other, &mut out);
        }
    }
    out
}

fn shared(a: &Endpoint, b: &Endpoint, out: &mut Vec<Finding>) {
    let pair = format!("{} and {}", b.url, a.url);
    let domain = registrable(a.host());
    if domain == registrable(b.host()) {
        out.push(error(
            "domain",
            format!("{pair} share the domain {domain}: use one with another registrar and name servers"),
        ));
    }
    let both: Vec<&IpAddr> = a.addresses.iter().filter(|address| b.addresses.contains(address)).collect();
    if let Some(address) = both.first() {
        out.push(error(
            "address",
            format!("{pair} share the address {address}: put them on different machines"),
        ));
    } else {
        let networks = |e: &Endpoint| e.addresses.iter().map(|a| geo::prefix(*a)).collect::<BTreeSet<_>>();
        if networks(a).intersection(&networks(b)).next().is_some() {
            out.push(error(
                "prefix",
                format!("{pair} share a network prefix (/24 or /48): put them in different networks"),
            ));
        }
    }
    if let Some(asn) = a.asns.intersection(&b.asns).next() {
        out.push(error(
            "asn",
            format!("{pair} share the autonomous system AS{asn}: use another operator for one"),
        ));
    } else {
        let cdns = |e: &Endpoint| e.asns.iter().filter_map(|asn| cdn(*asn)).collect::<BTreeSet<_>>();
        if let Some(name) = cdns(a).intersection(&cdns(b)).next() {
            out.push(error("cdn", format!("{pair} are both behind {name}: take a collector out of it")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str, address: &str, asn: u32) -> Endpoint {
        Endpoint {
            url: url.into(),
            addresses: vec![address.parse().unwrap()],
            asns: (asn != 0).then_some(asn).into_iter().collect(),
        }
    }

    fn kinds(site: &Endpoint, collectors: &[Endpoint]) -> Vec<&'static str> {
        check(std::slice::from_ref(site), collectors).into_iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn what_is_shared_is_found() {
        let site = endpoint("https://www.shop.co.uk", "198.51.100.10", 64500);
        let good = endpoint("https://c.example.net", "203.0.113.5", 64501);
        let other = endpoint("https://c.example.org", "192.0.2.5", 64502);
        assert_eq!(kinds(&site, &[good.clone(), other.clone()]), [""; 0]);
        assert_eq!(kinds(&site, std::slice::from_ref(&good)), ["count"]);
        let same = |url: &str, address: &str, asn| kinds(&site, &[good.clone(), endpoint(url, address, asn)]);
        assert_eq!(same("https://c.shop.co.uk", "192.0.2.5", 64502), ["domain"]);
        assert_eq!(same("https://c.other.co.uk", "192.0.2.5", 64502), [""; 0]);
        assert_eq!(same("https://c.example.org", "198.51.100.10", 64502), ["address"]);
        assert_eq!(same("https://c.example.org", "198.51.100.77", 64502), ["prefix"]);
        assert_eq!(same("https://c.example.org", "192.0.2.5", 64500), ["asn"]);
        assert_eq!(same("http://c.example.org", "192.0.2.5", 0), ["scheme", "database"]);
        assert_eq!(same("https://d.example.net", "192.0.2.5", 64502), ["domain"]);
        let site = endpoint("https://a.example", "198.51.100.10", 16625);
        assert_eq!(
            kinds(&site, &[good.clone(), endpoint("https://c.example.org", "192.0.2.5", 20940)]),
            ["cdn"]
        );
        let gone = Endpoint { addresses: Vec::new(), asns: BTreeSet::new(), ..other };
        assert_eq!(kinds(&site, &[good, gone]), ["unresolved"]);
    }
}
