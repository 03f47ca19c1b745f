//! Targets from DNS. Source: the Prometheus manual, "dns_sd_config".
//!
//! Addresses come from the system's resolver; service, mail and name-server records from the name servers of
//! `/etc/resolv.conf`, which is read at every refresh.

mod ask;
mod message;

use std::collections::BTreeMap;
use std::time::Duration;

use ask::Servers;
use message::Record;

use super::{Group, Out};
use crate::config::{DnsSdConfig, DnsType};

/// How long one name may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks at every interval until cancelled.
pub(crate) async fn run(config: DnsSdConfig, mut out: Out) {
    let mut tick = tokio::time::interval(config.refresh_interval.to_std());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut good: BTreeMap<String, Group> = BTreeMap::new();
    loop {
        tick.tick().await;
        let mut failed = Vec::new();
        for name in &config.names {
            match resolve(name, &config).await {
                Ok(group) => drop(good.insert(name.clone(), group)),
                Err(reason) => failed.push(format!("dns_sd_configs {name}: {reason}")),
            }
        }
        out.all(good.values().cloned().collect()).await;
        if !failed.is_empty() {
            out.failed(failed.join("; ")).await;
        }
    }
}

/// Where the name servers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";

async fn resolve(name: &str, config: &DnsSdConfig) -> Result<Group, String> {
    let targets = match config.kind {
        DnsType::A => addresses(name, config.port, true).await?,
        DnsType::AAAA => addresses(name, config.port, false).await?,
        DnsType::SRV => records(name, config.port, message::SRV).await?,
        DnsType::MX => records(name, config.port, message::MX).await?,
        DnsType::NS => records(name, config.port, message::NS).await?,
    };
    let named = |mut target: BTreeMap<String, String>| {
        target.insert("__meta_dns_name".into(), name.to_owned());
        target
    };
    Ok(Group {
        source: name.to_owned(),
        targets: targets.into_iter().map(named).collect(),
        labels: BTreeMap::new(),
    })
}

async fn addresses(name: &str, port: u16, want_v4: bool) -> Result<Vec<BTreeMap<String, String>>, String> {
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((name, port))).await;
    let found = found.map_err(|_| format!("no answer within {TIMEOUT:?}"))?.map_err(|err| err.to_string())?;
    let mut addresses: Vec<_> = found.filter(|address| address.is_ipv4() == want_v4).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses.into_iter().map(|a| BTreeMap::from([("__address__".to_owned(), a.to_string())])).collect())
}

async fn records(name: &str, port: u16, kind: u16) -> Result<Vec<BTreeMap<String, String>>, String> {
    let conf = tokio::fs::read_to_string(RESOLV_CONF).await;
    let conf = conf.map_err(|err| format!("cannot read {RESOLV_CONF}: {err}"))?;
    let found = Servers::parse(&conf).lookup(name, kind).await?;
    Ok(found.into_iter().map(|record| target(record, port)).collect())
}

fn target(record: Record, port: u16) -> BTreeMap<String, String> {
    let (host, port, labels) = match record {
        Record::Srv(host, port) => {
            let labels = vec![
                ("__meta_dns_srv_record_target", host.clone()),
                ("__meta_dns_srv_record_port", port.to_string()),
            ];
            (host, port, labels)
        }
        Record::Mx(host) => (host.clone(), port, vec![("__meta_dns_mx_record_target", host)]),
        Record::Ns(host) => (host.clone(), port, vec![("__meta_dns_ns_record_target", host)]),
    };
    let mut target: BTreeMap<String, String> =
        labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    target.insert("__address__".into(), format!("{}:{port}", host.trim_end_matches('.')));
    target
}
