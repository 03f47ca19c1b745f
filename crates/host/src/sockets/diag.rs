//! Asking the kernel for all TCP sockets at once. Sources: include/uapi/linux/{inet_diag,tcp}.h, sock_diag(7).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::netlink::{self, NLMSG_DONE, NLMSG_ERROR, u32_at};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// NLM_F_REQUEST and NLM_F_DUMP.
const DUMP: u16 = 0x301;
const IPPROTO_TCP: u8 = 6;
const INET_DIAG_INFO: u16 = 2;
/// Before the attributes.
const MESSAGE: usize = 72;
/// A whole answer of the kernel fits.
const BUFFER: usize = 256 << 10;

pub(super) const ESTABLISHED: u8 = 1;
pub(super) const LISTEN: u8 = 10;

/// The names of the states, from 1 on.
pub(super) const STATES: [&str; 12] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "new_syn_recv",
];

/// One socket.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Socket {
    pub state: u8,
    pub local: (IpAddr, u16),
    pub peer: (IpAddr, u16),
    pub cookie: u64,
    pub inode: u32,
    /// Bytes waiting to be read; of a listening socket, connections waiting to be taken.
    pub receive_queue: u32,
    /// Bytes waiting to be sent; of a listening socket, how many connections may wait.
    pub send_queue: u32,
    pub info: Info,
}

/// The part of `tcp_info` that we use; 0 for what an older kernel does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub rtt_us: u32,
    pub min_rtt_us: u32,
    pub retransmitted: u32,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segments_out: u32,
}

/// All TCP sockets of this network namespace; `visit` is called for each.
pub(super) fn dump(mut visit: impl FnMut(Socket)) -> io::Result<()> {
    let socket = netlink::open(rustix::net::netlink::SOCK_DIAG, 0)?;
    // Waiting for the kernel is right here: it answers as fast as it can.
    rustix::io::ioctl_fionbio(&socket, false)?;
    let mut buffer = vec![0u8; BUFFER];
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let mut request = vec![family, IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0];
        request.extend_from_slice(&u32::MAX.to_ne_bytes());
        request.resize(56, 0);
        // No cookie: any socket.
        request[48..56].fill(0xff);
        rustix::net::send(
            &socket,
            &netlink::message(SOCK_DIAG_BY_FAMILY, DUMP, &request),
            SendFlags::empty(),
        )?;
        'answer: loop {
            let length = match rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(err) => return Err(err.into()),
            };
            for (kind, payload) in netlink::messages(&buffer[..length]) {
                match kind {
                    NLMSG_DONE => break 'answer,
                    NLMSG_ERROR => {
                        let code = u32_at(payload, 0).unwrap_or(0) as i32;
                        // IPv6 may be switched off.
                        if code == -libc::ENOENT || code == -libc::EAFNOSUPPORT {
                            break 'answer;
                        }
                        return Err(io::Error::from_raw_os_error(-code));
                    }
                    SOCK_DIAG_BY_FAMILY => {
                        if let Some(socket) = parse(payload) {
                            visit(socket);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// An `inet_diag_msg` and its attributes.
fn parse(payload: &[u8]) -> Option<Socket> {
    let family = *payload.first()?;
    let port = |at: usize| Some(u16::from_be_bytes(payload.get(at..at + 2)?.try_into().ok()?));
    let address = |at: usize| -> Option<IpAddr> {
        if i32::from(family) == libc::AF_INET {
            let bytes: [u8; 4] = payload.get(at..at + 4)?.try_into().ok()?;
            return Some(IpAddr::V4(Ipv4Addr::from(bytes)));
        }
        let bytes: [u8; 16] = payload.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
    };
    let cookie = u64::from(u32_at(payload, 44)?) | u64::from(u32_at(payload, 48)?) << 32;
    let mut socket = Socket {
        state: *payload.get(1)?,
        local: (address(8)?, port(4)?),
        peer: (address(24)?, port(6)?),
        cookie,
        receive_queue: u32_at(payload, 56)?,
        send_queue: u32_at(payload, 60)?,
        inode: u32_at(payload, 68)?,
        info: Info::default(),
    };
    for (kind, value) in netlink::attributes(payload.get(MESSAGE..)?) {
        if kind == INET_DIAG_INFO {
            let long = |at: usize| -> u64 {
                value.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
            };
            let short = |at: usize| u32_at(value, at).unwrap_or(0);
            socket.info = Info {
                rtt_us: short(68),
                retransmitted: short(100),
                bytes_acked: long(120),
                bytes_received: long(128),
                segments_out: short(136),
                min_rtt_us: short(148),
            };
        }
    }
    Some(socket)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernels_table_has_our_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[7; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
        let mut sockets = Vec::new();
        dump(|socket| sockets.push(socket)).unwrap();
        let listening =
            sockets.iter().find(|socket| socket.state == LISTEN && socket.local.1 == port).unwrap();
        assert!(listening.send_queue > 0, "{listening:?}");
        let ours = client.local_addr().unwrap().port();
        let sent = sockets.iter().find(|socket| socket.local.1 == ours && socket.peer.1 == port).unwrap();
        assert_eq!((sent.state, sent.peer.0.to_string().as_str()), (ESTABLISHED, "127.0.0.1"));
        // The SYN counts as one.
        assert!((1000..=1001).contains(&sent.info.bytes_acked), "{sent:?}");
        let got = sockets.iter().find(|socket| socket.local.1 == port && socket.peer.1 == ours).unwrap();
        assert_eq!(got.info.bytes_received, 1000);
        assert!(sent.info.rtt_us > 0 && sent.inode > 0);
    }

    #[test]
    fn short_messages_are_no_trap() {
        let whole = [2u8; 200];
        for length in 0..MESSAGE {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        assert!(parse(&whole).is_some());
    }
}
