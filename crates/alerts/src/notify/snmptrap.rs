//! SNMPv2c traps.
//!
//! Variables after `sysUpTime` and `snmpTrapOID`, below the base identifier: `.1.1` status, `.1.2` group key, `.1.3`
//! text, `.1.4` receiver, `.1.5` number of firing alerts. The trap itself is `.0.1` (firing) or `.0.2` (resolved).
//! Nobody acknowledges a trap: "delivered" means that it was sent. Source: RFC 3416 §4.2.6, BER of X.690.

use model::seam::BoxFuture;
use tokio::net::UdpSocket;

use super::{Attempt, Delivered, Failure, Sender, cut_bytes};
use crate::config::receiver;
use crate::error::Error;
use crate::message::Notification;
use crate::render::Renderer;

/// A text in a trap has at most so many bytes, so that the packet is not split.
const MAX_TEXT_BYTES: usize = 900;

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const TIME_TICKS: u8 = 0x43;
const TRAP_V2: u8 = 0xa7;

/// `snmptrap_configs`.
pub struct Snmptrap {
    section: receiver::Snmptrap,
    base: Vec<u32>,
    renderer: Renderer,
}

impl Snmptrap {
    /// From its section.
    pub(super) fn new(section: &receiver::Snmptrap, renderer: &Renderer) -> Result<Self, Error> {
        let base = parse_oid(&section.base_oid).map_err(Error::config)?;
        Ok(Self { section: section.clone(), base, renderer: renderer.clone() })
    }

    fn packet(&self, notification: &Notification, text: &str) -> Vec<u8> {
        let data = &notification.data;
        let firing = data.alerts.0.iter().filter(|alert| alert.is_firing()).count();
        let below = |tail: [u32; 2]| [self.base.as_slice(), &tail].concat();
        let trap = below([0, if data.status == "firing" { 1 } else { 2 }]);
        let ticks = (notification.now.ms() / 10).rem_euclid(1 << 32);
        let octets = |text: &str| tlv(OCTETS, cut_bytes(text, MAX_TEXT_BYTES).as_bytes());
        let variables = [
            (vec![1, 3, 6, 1, 2, 1, 1, 3, 0], tlv(TIME_TICKS, &integer(ticks))),
            (vec![1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0], tlv(OID, &oid(&trap))),
            (below([1, 1]), octets(&data.status)),
            (below([1, 2]), octets(&notification.group_key)),
            (below([1, 3]), octets(text)),
            (below([1, 4]), octets(&data.receiver)),
            (below([1, 5]), tlv(INTEGER, &integer(firing as i64))),
        ];
        let bindings: Vec<u8> = variables
            .iter()
            .flat_map(|(name, value)| tlv(SEQUENCE, &[tlv(OID, &oid(name)), value.clone()].concat()))
            .collect();
        let request = xxhash_rust::xxh3::xxh3_64(notification.id.as_bytes()) as u32 >> 1;
        let zero = tlv(INTEGER, &[0]);
        let id = tlv(INTEGER, &integer(i64::from(request)));
        let pdu = tlv(TRAP_V2, &[id, zero.clone(), zero, tlv(SEQUENCE, &bindings)].concat());
        let version = tlv(INTEGER, &[1]);
        let community = tlv(OCTETS, self.section.community.expose().as_bytes());
        tlv(SEQUENCE, &[version, community, pdu].concat())
    }
}

impl Sender for Snmptrap {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let text = self.renderer.text(&self.section.message, &notification.data)?;
            let packet = self.packet(notification, &text);
            let target = self.section.target.to_string();
            let failed = |err: std::io::Error| Failure::transient(format!("cannot send to {target}: {err}"));
            let address = tokio::net::lookup_host(&target)
                .await
                .map_err(failed)?
                .next()
                .ok_or_else(|| Failure::transient(format!("{target} has no address")))?;
            let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(local).await.map_err(failed)?;
            socket.send_to(&packet, address).await.map_err(failed)?;
            Ok(Delivered { status: None, answer: format!("{} bytes sent to {address}", packet.len()) })
        })
    }
}

/// Reads `1.3.6.1…` (a leading dot is allowed).
///
/// # Errors
/// When it is no object identifier.
pub fn parse_oid(text: &str) -> Result<Vec<u32>, String> {
    let parts: Result<Vec<u32>, _> = text.trim_start_matches('.').split('.').map(str::parse).collect();
    match parts {
        Ok(parts) if parts.len() >= 2 && parts[0] <= 2 && (parts[0] == 2 || parts[1] < 40) => Ok(parts),
        _ => Err(format!(
            "{text:?} is no object identifier: write numbers joined by dots, such as 1.3.6.1.4.1"
        )),
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let len = content.len();
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let bytes: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | bytes.len() as u8);
        out.extend(bytes);
    }
    out.extend_from_slice(content);
    out
}

/// Two's complement in as few bytes as possible; a leading zero keeps a large number positive.
fn integer(value: i64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let mut start = 0;
    while start < 7 {
        let redundant = (bytes[start] == 0 && bytes[start + 1] < 0x80)
            || (bytes[start] == 0xff && bytes[start + 1] >= 0x80);
        if !redundant {
            break;
        }
        start += 1;
    }
    bytes[start..].to_vec()
}

fn oid(parts: &[u32]) -> Vec<u8> {
    let first = u64::from(parts[0]) * 40 + u64::from(parts[1]);
    let mut out = Vec::new();
    for part in std::iter::once(first).chain(parts[2..].iter().map(|part| u64::from(*part))) {
        let groups = (64 - part.leading_zeros() as usize).div_ceil(7).max(1);
        for at in (0..groups).rev() {
            let more = if at > 0 { 0x80 } else { 0 };
            out.push((part >> (7 * at)) as u8 & 0x7f | more);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ber_is_minimal() {
        assert_eq!(integer(0), [0]);
        assert_eq!(integer(127), [127]);
        assert_eq!(integer(128), [0, 128]);
        assert_eq!(integer(-1), [0xff]);
        assert_eq!(integer(1 << 31), [0, 0x80, 0, 0, 0]);
        // 1.3.6.1.4.1.8072: 8072 is 0xbf 0x08.
        assert_eq!(oid(&parse_oid(".1.3.6.1.4.1.8072").unwrap()), [0x2b, 6, 1, 4, 1, 0xbf, 0x08]);
        assert_eq!(tlv(4, &[7; 200])[..3], [4, 0x81, 200]);
        for bad in ["", "1", "3.1", "1.40", "a.b", "1..2"] {
            assert!(parse_oid(bad).is_err(), "{bad}");
        }
    }
}
