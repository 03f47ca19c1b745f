//! `ipvs`: the kernel's own load balancer.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::files::{self, Files};
use crate::output::Output;
use crate::{Collector, Error};

const STATS: [(&str, &str); 5] = [
    ("connections_total", "Connections that were balanced."),
    ("incoming_packets_total", "Packets that came in to be balanced."),
    ("outgoing_packets_total", "Packets that went out through the balancer."),
    ("incoming_bytes_total", "Bytes that came in to be balanced."),
    ("outgoing_bytes_total", "Bytes that went out through the balancer."),
];

pub(crate) struct Ipvs;

impl Collector for Ipvs {
    fn name(&self) -> &'static str {
        "ipvs"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "net/ip_vs_stats";
        let text = files.proc(FILE)?;
        // Two heading lines, then the totals in hexadecimal.
        let totals = text.lines().nth(2).unwrap_or_default();
        for ((metric, help), word) in STATS.iter().zip(totals.split_ascii_whitespace()) {
            let value = u64::from_str_radix(word, 16)
                .map_err(|_| Error::Parse { path: FILE.to_owned(), text: totals.to_owned() })?;
            out.counter(&format!("node_ipvs_{metric}"), help, &[], value as f64);
        }
        // Several services of one name may have the same backend: their numbers add up.
        let mut backends: BTreeMap<Vec<(&str, String)>, [f64; 3]> = BTreeMap::new();
        let mut service: [String; 4] = Default::default();
        for line in files.proc("net/ip_vs")?.lines().skip(3) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                ["->", remote, _, weight, active, inactive, ..] => {
                    let Some((address, port)) = endpoint(remote) else { continue };
                    let [local_address, local_mark, local_port, proto] = service.clone();
                    let labels = vec![
                        ("local_address", local_address),
                        ("local_mark", local_mark),
                        ("local_port", local_port),
                        ("proto", proto),
                        ("remote_address", address),
                        ("remote_port", port),
                    ];
                    let sums = backends.entry(labels).or_default();
                    for (sum, word) in sums.iter_mut().zip([weight, active, inactive]) {
                        *sum += files::number("net/ip_vs", word)?;
                    }
                }
                [proto @ ("TCP" | "UDP" | "SCTP"), local, ..] => {
                    let (address, port) = endpoint(local).unwrap_or_default();
                    service = [address, String::new(), port, (*proto).to_owned()];
                }
                ["FWM", mark, ..] => {
                    service = [String::new(), (*mark).to_owned(), "0".to_owned(), "FWM".to_owned()];
                }
                _ => {}
            }
        }
        for (labels, values) in &backends {
            let labels: Vec<(&str, &str)> =
                labels.iter().map(|(name, text)| (*name, text.as_str())).collect();
            for ((metric, help), value) in [
                ("weight", "Share of new connections that a backend gets."),
                ("connections_active", "Established connections to a backend."),
                ("connections_inactive", "Other connections to a backend."),
            ]
            .iter()
            .zip(values)
            {
                out.gauge(&format!("node_ipvs_backend_{metric}"), help, &labels, *value);
            }
        }
        Ok(())
    }
}

/// `C0A80016:0CEA` or `[2620:0000:…]:0CEA`.
fn endpoint(text: &str) -> Option<(String, String)> {
    let (address, port) = text.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => IpAddr::V6(v6.parse::<Ipv6Addr>().ok()?),
        None => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?)),
    };
    Some((address.to_string(), port.to_string()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn endpoints_are_read() {
        assert_eq!(super::endpoint("C0A80016:0CEA"), Some(("192.168.0.22".into(), "3306".into())));
        assert_eq!(super::endpoint("[2620:0000:0000:0000:0000:0000:0000:0001]:0050").unwrap().0, "2620::1");
        assert_eq!(super::endpoint("x"), None);
    }
}
