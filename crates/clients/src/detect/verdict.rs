//! An explanation in words.

use serde::Serialize;

use super::scan::Finding;
use super::sum::Statistic;
use crate::class::Group;
use crate::cohort::Dimension;

/// This share of the excess makes a group the kind of the fault.
const MOST: f64 = 0.6;

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// One network operator's clients.
    Isp,
    /// One country's clients.
    Country,
    /// One point of presence.
    Pop,
    /// The name servers of the site.
    AuthoritativeDns,
    /// The certificate.
    Certificate,
    /// Clients of one place reach somebody else, or a box in between.
    Hijack,
    /// One HTTP version.
    Protocol,
    /// One browser family.
    Browser,
    /// The service itself.
    Service,
}

impl Verdict {
    /// The value of the label `verdict`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Isp => "isp",
            Self::Country => "country",
            Self::Pop => "pop",
            Self::AuthoritativeDns => "authoritative_dns",
            Self::Certificate => "certificate",
            Self::Hijack => "hijack",
            Self::Protocol => "protocol",
            Self::Browser => "browser",
            Self::Service => "service",
        }
    }

    /// One sentence for people; `who` is the cohort's name.
    pub fn sentence(self, who: &str) -> String {
        match self {
            Self::Isp => format!("Clients of one network, {who}, cannot reach the site; others can."),
            Self::Country => format!("Clients in one country, {who}, cannot reach the site; others can."),
            Self::Pop => format!("One point of presence, {who}, does not serve its clients; others do."),
            Self::AuthoritativeDns => {
                "The site's name is not resolved, wherever clients are: look at its name servers.".to_owned()
            }
            Self::Certificate => "Clients everywhere refuse the site's certificate.".to_owned(),
            Self::Hijack => {
                format!("Clients of {who} reach another server than the site's, or a box that breaks TLS.")
            }
            Self::Protocol => format!("Only {who} fails: look at what serves that protocol."),
            Self::Browser => format!("Only the browser family {who} fails."),
            Self::Service => "Clients everywhere fail: it is the service itself.".to_owned(),
        }
    }
}

/// What a finding means.
pub fn of(finding: &Finding) -> Verdict {
    let all: f64 = finding.groups.iter().map(|(_, excess)| excess).sum();
    let share = |group: Group| {
        let of: f64 = finding.groups.iter().filter(|(g, _)| *g == group).map(|(_, excess)| excess).sum();
        if all > 0.0 { of / all } else { 0.0 }
    };
    let most = |group: Group| share(group) >= MOST;
    // Who is sent elsewhere meets another address or another certificate, as the browser happens to find out first.
    let elsewhere = finding.statistic == Some(Statistic::Group(Group::AddressChanged))
        || share(Group::AddressChanged) + share(Group::Certificate) >= MOST;
    match finding.cohort.dimension {
        Dimension::Asn | Dimension::Country if elsewhere => Verdict::Hijack,
        Dimension::Asn => Verdict::Isp,
        Dimension::Country => Verdict::Country,
        Dimension::Pop => Verdict::Pop,
        Dimension::Protocol => Verdict::Protocol,
        Dimension::Browser => Verdict::Browser,
        Dimension::Global | Dimension::Origin if most(Group::Dns) => Verdict::AuthoritativeDns,
        Dimension::Global | Dimension::Origin if most(Group::Certificate) => Verdict::Certificate,
        Dimension::Global | Dimension::Origin => Verdict::Service,
    }
}
