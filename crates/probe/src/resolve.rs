//! A target's name → one address that may be reached, and where a connection comes from.

use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::Step;
use crate::config::Protocol;
use crate::result::Outcome;

const LOOKUP: (&str, &str) =
    ("probe_dns_lookup_time_seconds", "Returns the time taken for probe dns lookup in seconds");
const PROTOCOL: (&str, &str) = ("probe_ip_protocol", "Specifies whether probe ip protocol is IP4 or IP6");
const HASH: (&str, &str) = (
    "probe_ip_addr_hash",
    "Specifies the hash of IP address. It's useful to detect if the IP address changes.",
);

/// A network: an address and how many of its first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

/// Which addresses probes may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    allowed: Vec<Network>,
    denied: Vec<Network>,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        let wrong = || format!("{text:?} is no network such as 10.0.0.0/8");
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = if bits.is_empty() { most } else { bits.parse().map_err(|_| wrong())? };
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| self.bits == 0 || (a ^ b) >> (width - self.bits) == 0;
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

impl Reach {
    /// `allowed`: none means all; `denied` wins.
    ///
    /// # Errors
    /// What is no network.
    pub fn new(allowed: &[String], denied: &[String]) -> Result<Self, String> {
        let parse = |list: &[String]| list.iter().map(|text| Network::parse(text)).collect::<Result<_, _>>();
        Ok(Self { allowed: parse(allowed)?, denied: parse(denied)? })
    }

    /// Whether an address may be reached.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |list: &[Network]| list.iter().any(|network| network.contains(address));
        !within(&self.denied) && (self.allowed.is_empty() || within(&self.allowed))
    }
}

/// FNV-1a of the address' bytes.
fn hash(address: IpAddr) -> f64 {
    let bytes = match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    f64::from(
        bytes.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)),
    )
}

/// `host:port`, with brackets around IPv6.
pub(crate) fn split(target: &str) -> Step<(&str, u16)> {
    let wrong = || format!("{target:?} is no host:port");
    let (host, port) = target.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((host, port.parse().map_err(|_| wrong())?))
}

/// The addresses of a name, in the resolver's order.
async fn lookup(host: &str) -> Step<Vec<IpAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    let found = tokio::net::lookup_host((host, 0)).await;
    let found = found.map_err(|err| format!("resolution of {host:?} failed: {err}"))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// The address that is used, and how long finding it took, in seconds.
pub(crate) async fn choose(
    host: &str,
    preferred: Protocol,
    fallback: bool,
    outcome: &mut Outcome,
) -> Step<(IpAddr, f64)> {
    for (name, help) in [LOOKUP, PROTOCOL, HASH] {
        outcome.add(name, help, &[], 0.0);
    }
    let start = Instant::now();
    let found = lookup(host).await;
    let took = start.elapsed().as_secs_f64();
    outcome.add(LOOKUP.0, LOOKUP.1, &[], took);
    let found = found?;
    let wanted = |address: &&IpAddr| match preferred {
        Protocol::Ip6 => address.is_ipv6(),
        Protocol::Ip4 => address.is_ipv4(),
    };
    let first = found.iter().find(wanted).or_else(|| found.first().filter(|_| fallback));
    let address = *first.ok_or_else(|| format!("{host:?} has no address of the wanted kind"))?;
    let version = if address.is_ipv4() { 4.0 } else { 6.0 };
    outcome.set(PROTOCOL.0, PROTOCOL.1, version);
    outcome.set(HASH.0, HASH.1, hash(address));
    outcome.note(format!("resolved {host:?} to {address}"));
    admitted(address, outcome)?;
    Ok((address, took))
}

/// An address without series about it: of a proxy, or of where a redirect leads.
pub(crate) async fn find(
    host: &str,
    preferred: Protocol,
    fallback: bool,
    outcome: &mut Outcome,
) -> Step<(IpAddr, f64)> {
    let start = Instant::now();
    let found = lookup(host).await?;
    let wanted = |address: &&IpAddr| address.is_ipv4() == (preferred == Protocol::Ip4);
    let first = found.iter().find(wanted).or_else(|| found.first().filter(|_| fallback));
    let address = *first.ok_or_else(|| format!("{host:?} has no address of the wanted kind"))?;
    admitted(address, outcome)?;
    Ok((address, start.elapsed().as_secs_f64()))
}

fn admitted(address: IpAddr, outcome: &Outcome) -> Step<()> {
    match outcome.reach.admits(address) {
        true => Ok(()),
        false => Err(format!(
            "{address} may not be reached: see sources.probe.allowed_networks and denied_networks"
        )),
    }
}

/// Connects, from `source` when it names an address.
pub(crate) async fn connect(to: SocketAddr, source: &str) -> Step<TcpStream> {
    let failed = |err: std::io::Error| format!("cannot connect to {to}: {err}");
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    if !source.is_empty() {
        let source: IpAddr =
            source.parse().map_err(|_| format!("source_ip_address {source:?} is no address"))?;
        socket.bind(SocketAddr::new(source, 0)).map_err(failed)?;
    }
    let stream = socket.connect(to).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_exporters() {
        assert_eq!(hash("127.0.0.1".parse().unwrap()), 3.668918509e9);
    }

    #[test]
    fn denied_networks_win() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let reach =
            Reach::new(&texts(&["10.0.0.0/8", "::/0"]), &texts(&["10.1.0.0/16", "fe80::/10"])).unwrap();
        let admits = |text: &str| reach.admits(text.parse().unwrap());
        assert!(admits("10.2.3.4") && admits("2001:db8::1"));
        assert!(!admits("10.1.3.4") && !admits("192.0.2.1") && !admits("fe80::1"));
        // An IPv4 address in IPv6's clothes is the IPv4 address.
        assert!(!admits("::ffff:10.1.0.1"));
        assert!(Reach::default().admits("192.0.2.1".parse().unwrap()));
        assert!(Reach::new(&texts(&["10.0.0.0/33"]), &[]).is_err());
    }
}
