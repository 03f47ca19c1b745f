//! An echo request: a raw socket, or the kernel's own echo sockets where raw ones are not allowed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::Step;
use crate::config::IcmpProbe;
use crate::resolve::choose;
use crate::result::Outcome;

const PHASES: (&str, &str) = ("probe_icmp_duration_seconds", "Duration of icmp request by phase");
const HOPS: (&str, &str) = ("probe_icmp_reply_hop_limit", "Replied packet hop limit (TTL for ipv4)");
const PAYLOAD: &[u8] = b"Prometheus Blackbox Exporter";

pub(crate) async fn probe(config: &IcmpProbe, target: &str, outcome: &mut Outcome) -> Step<()> {
    for phase in ["resolve", "setup", "rtt"] {
        outcome.with(PHASES.0, PHASES.1, &[("phase", phase)], 0.0);
    }
    let (address, took) =
        choose(target, config.preferred_ip_protocol, config.ip_protocol_fallback, outcome).await?;
    outcome.with(PHASES.0, PHASES.1, &[("phase", "resolve")], took);
    let start = Instant::now();
    let socket = Socket::open(address, config).map_err(|err| format!("no socket for ICMP: {err}"))?;
    let number = crate::next_number();
    let (id, sequence) = (std::process::id() as u16, number as u16);
    let mut payload = PAYLOAD.to_vec();
    if config.payload_size > 0 {
        payload.resize(config.payload_size.min(65_000), 0);
    }
    let request = echo(address, id, sequence, &payload);
    outcome.with(PHASES.0, PHASES.1, &[("phase", "setup")], start.elapsed().as_secs_f64());
    let sent = Instant::now();
    socket.send(&request).await.map_err(|err| format!("the request was not sent: {err}"))?;
    loop {
        let (packet, hops) = socket.receive().await.map_err(|err| format!("no reply: {err}"))?;
        if is_reply(&packet, address, socket.raw.then_some(id), sequence, &payload) {
            outcome.with(PHASES.0, PHASES.1, &[("phase", "rtt")], sent.elapsed().as_secs_f64());
            if let Some(hops) = hops {
                outcome.set(HOPS.0, HOPS.1, f64::from(hops));
            }
            return Ok(());
        }
    }
}

fn echo(address: IpAddr, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![if address.is_ipv4() { 8 } else { 128 }, 0, 0, 0];
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(payload);
    // The kernel fills in ICMPv6's.
    if address.is_ipv4() {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = packet.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether a packet answers our request. Echo sockets of the kernel choose the identifier themselves.
fn is_reply(packet: &[u8], address: IpAddr, id: Option<u16>, sequence: u16, payload: &[u8]) -> bool {
    let kind = if address.is_ipv4() { 0 } else { 129 };
    let same_id = id.is_none_or(|id| packet.get(4..6) == Some(&id.to_be_bytes()[..]));
    packet.first() == Some(&kind)
        && same_id
        && packet.get(6..8) == Some(&sequence.to_be_bytes()[..])
        && packet.get(8..) == Some(payload)
}

struct Socket {
    fd: AsyncFd<OwnedFd>,
    raw: bool,
    v4: bool,
}

#[expect(unsafe_code, reason = "ICMP sockets, their options and control messages are system calls")]
impl Socket {
    fn open(to: IpAddr, config: &IcmpProbe) -> io::Result<Self> {
        let (family, protocol) = match to {
            IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP),
            IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
        };
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let open = |kind: i32| {
            // SAFETY: no memory is passed; the descriptor is checked and owned at once.
            let fd = unsafe { libc::socket(family, kind | flags, protocol) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor is new and nobody else's.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        };
        let (fd, raw) = match open(libc::SOCK_DGRAM) {
            Ok(fd) => (fd, false),
            Err(_) => (open(libc::SOCK_RAW)?, true),
        };
        let v4 = to.is_ipv4();
        let level = if v4 { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
        let set = |option: i32, value: i32| {
            let length = size_of::<i32>() as libc::socklen_t;
            // SAFETY: the value outlives the call, and its length is given.
            let done =
                unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) };
            if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        };
        set(if v4 { libc::IP_TTL } else { libc::IPV6_UNICAST_HOPS }, config.ttl as i32)?;
        set(if v4 { libc::IP_RECVTTL } else { libc::IPV6_RECVHOPLIMIT }, 1)?;
        if v4 && config.dont_fragment {
            set(libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
        }
        let call = |address: IpAddr, connect: bool| {
            let mut storage: libc::sockaddr_storage = unsafe_zeroed();
            let length = fill(&mut storage, SocketAddr::new(address, 0));
            let pointer = (&raw const storage).cast();
            // SAFETY: the address lives through the call, and its length is given.
            let done = unsafe {
                match connect {
                    true => libc::connect(fd.as_raw_fd(), pointer, length),
                    false => libc::bind(fd.as_raw_fd(), pointer, length),
                }
            };
            if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        };
        if !config.source_ip_address.is_empty() {
            let source = config.source_ip_address.parse();
            call(source.map_err(|_| io::Error::other("source_ip_address is no address"))?, false)?;
        }
        call(to, true)?;
        // SAFETY: the descriptor is owned by what is registered, and closed only with it.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self { fd, raw, v4 })
    }

    async fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.fd
            .async_io(Interest::WRITABLE, |fd| {
                // SAFETY: the packet lives through the call, and its length is given.
                let sent = unsafe { libc::send(fd.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0) };
                if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
            })
            .await
    }

    /// A packet and the hop limit it came with.
    async fn receive(&self) -> io::Result<(Vec<u8>, Option<i32>)> {
        let (mut packet, hops) = self
            .fd
            .async_io(Interest::READABLE, |fd| {
                let mut buffer = vec![0u8; 65_536];
                let mut control = [0u64; 32];
                let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
                let mut header: libc::msghdr = unsafe_zeroed();
                header.msg_iov = &raw mut part;
                header.msg_iovlen = 1;
                header.msg_control = control.as_mut_ptr().cast();
                header.msg_controllen = size_of_val(&control);
                // SAFETY: buffer, control and header live through the call, and their lengths are given.
                let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, 0) };
                if length < 0 {
                    return Err(io::Error::last_os_error());
                }
                buffer.truncate(length as usize);
                let mut hops = None;
                // SAFETY: the kernel has filled the header and its control messages; the macros stay within them.
                unsafe {
                    let mut message = libc::CMSG_FIRSTHDR(&raw const header);
                    while !message.is_null() {
                        let kind = ((*message).cmsg_level, (*message).cmsg_type);
                        if kind == (libc::IPPROTO_IP, libc::IP_TTL)
                            || kind == (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
                        {
                            hops = Some(libc::CMSG_DATA(message).cast::<i32>().read_unaligned());
                        }
                        message = libc::CMSG_NXTHDR(&raw const header, message);
                    }
                }
                Ok((buffer, hops))
            })
            .await?;
        if self.raw && self.v4 {
            // A raw socket also gives the IP header.
            let length = usize::from(packet.first().copied().unwrap_or(0) & 0xf) * 4;
            packet.drain(..length.min(packet.len()));
        }
        Ok((packet, hops))
    }
}

/// A C structure of zeros.
#[expect(unsafe_code, reason = "the C structures here are valid when all zero")]
fn unsafe_zeroed<T>() -> T {
    // SAFETY: only called for `sockaddr_storage` and `msghdr`, which are plain data.
    unsafe { std::mem::zeroed() }
}

#[expect(unsafe_code, reason = "a socket address is written into the system's structure")]
fn fill(storage: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    let pointer = std::ptr::from_mut(storage);
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: the storage is large enough and aligned for every address.
            let to = unsafe { &mut *pointer.cast::<libc::sockaddr_in>() };
            to.sin_family = libc::AF_INET as libc::sa_family_t;
            to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let to = unsafe { &mut *pointer.cast::<libc::sockaddr_in6>() };
            to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            to.sin6_addr.s6_addr = v6.ip().octets();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_makes_the_sum_zero() {
        let packet = echo(IpAddr::from([127, 0, 0, 1]), 1, 2, b"odd");
        assert_eq!(checksum(&packet), 0);
    }
}
