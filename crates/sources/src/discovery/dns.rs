//! Targets from DNS. Source: the Prometheus manual, "dns_sd_config".
//!
//! Addresses come from the system's resolver. Service, mail and name-server records need a resolver of our own, which is not
//! there yet: such a configuration fails with a message that says so.

use std::collections::BTreeMap;
use std::time::Duration;

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

async fn resolve(name: &str, config: &DnsSdConfig) -> Result<Group, String> {
    let want_v4 = match config.kind {
        DnsType::A => true,
        DnsType::AAAA => false,
        other => return Err(format!("records of type {other:?} are not supported yet, only A and AAAA")),
    };
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((name, config.port))).await;
    let found = found.map_err(|_| format!("no answer within {TIMEOUT:?}"))?.map_err(|err| err.to_string())?;
    let mut addresses: Vec<_> = found.filter(|address| address.is_ipv4() == want_v4).collect();
    addresses.sort();
    addresses.dedup();
    let targets = addresses
        .into_iter()
        .map(|address| {
            BTreeMap::from([
                ("__address__".to_owned(), address.to_string()),
                ("__meta_dns_name".to_owned(), name.to_owned()),
            ])
        })
        .collect();
    Ok(Group { source: name.to_owned(), targets, labels: BTreeMap::new() })
}
