//! A question to a name server, and what its answer holds. Source: RFC 1035; records are shown as zone files write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::config::{DnsProbe, RecordChecks};
use crate::resolve::{choose, connect, split};
use crate::result::Outcome;
use crate::{Step, tls};

const PHASES: (&str, &str) = ("probe_dns_duration_seconds", "Duration of DNS request by phase");

const TYPES: [(&str, u16); 16] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("DS", 43),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("HTTPS", 65),
    ("ANY", 255),
    ("CAA", 257),
];
const CLASSES: [(&str, u16); 4] = [("IN", 1), ("CH", 3), ("HS", 4), ("ANY", 255)];
const CODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
    "NOTAUTH", "NOTZONE",
];

/// What an answer holds.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    code: u8,
    /// Answers, authorities, additional records, as text.
    sections: [Vec<String>; 3],
    serial: Option<u32>,
}

/// The numbers of the type and the class that are asked for.
fn numbers(config: &DnsProbe) -> Step<(u16, u16)> {
    let number = |list: &[(&str, u16)], word: &str, default: &str, prefix: &str, what: &str| {
        let word = if word.is_empty() { default } else { word };
        let known = list.iter().find(|(name, _)| *name == word).map(|(_, n)| *n);
        // RFC 3597 writes any as a number.
        let written = || word.strip_prefix(prefix)?.parse().ok();
        known.or_else(written).ok_or_else(|| format!("query {what} {word:?} is not valid"))
    };
    Ok((
        number(&TYPES, &config.query_type, "ANY", "TYPE", "type")?,
        number(&CLASSES, &config.query_class, "IN", "CLASS", "class")?,
    ))
}

/// What the types of the settings cannot say.
pub(crate) fn check(config: &DnsProbe) -> Result<(), String> {
    numbers(config).map_err(|wrong| format!("dns: {wrong}"))?;
    match config.valid_rcodes.iter().find(|code| !CODES.contains(&code.as_str())) {
        Some(code) => Err(format!("dns.valid_rcodes: {code:?} is no response code")),
        None => Ok(()),
    }
}

pub(crate) async fn probe(config: &DnsProbe, target: &str, outcome: &mut Outcome) -> Step<()> {
    for phase in ["resolve", "connect", "request"] {
        outcome.with(PHASES.0, PHASES.1, &[("phase", phase)], 0.0);
    }
    for (name, help) in COUNTS {
        outcome.set(name, help, 0.0);
    }
    outcome.set(SUCCEEDED.0, SUCCEEDED.1, 0.0);
    let (kind, class) = numbers(config)?;
    let default_port = if config.dns_over_tls { 853 } else { 53 };
    let (host, port) = match target.parse::<IpAddr>() {
        Ok(_) => (target, default_port),
        Err(_) if target.contains(':') => split(target)?,
        Err(_) => (target, default_port),
    };
    let (address, took) =
        choose(host, config.preferred_ip_protocol, config.ip_protocol_fallback, outcome).await?;
    outcome.with(PHASES.0, PHASES.1, &[("phase", "resolve")], took);
    let to = SocketAddr::new(address, port);
    let id = crate::next_number() as u16 ^ 0x5a5a;
    let question = question(id, &config.query_name, kind, class, config.recursion_desired)?;

    let start = Instant::now();
    let connected = |outcome: &mut Outcome| {
        outcome.with(PHASES.0, PHASES.1, &[("phase", "connect")], start.elapsed().as_secs_f64());
        // However it ends.
        outcome.wait(|outcome, took| outcome.with(PHASES.0, PHASES.1, &[("phase", "request")], took));
    };
    let message = if config.dns_over_tls {
        let stream = connect(to, &config.source_ip_address).await?;
        let (stream, shown) = tls::handshake(stream, &config.tls_config, host, false).await?;
        shown.show(outcome, false);
        connected(outcome);
        over_stream(stream, &question).await
    } else if config.transport_protocol == "tcp" {
        let stream = connect(to, &config.source_ip_address).await;
        // However it ends.
        connected(outcome);
        if stream.is_err() {
            outcome.waited();
        }
        let stream = stream?;
        over_stream(stream, &question).await
    } else {
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let source = match config.source_ip_address.as_str() {
            "" => any,
            text => text.parse().map_err(|_| format!("source_ip_address {text:?} is no address"))?,
        };
        let failed = |err: std::io::Error| format!("the question cannot be sent: {err}");
        let socket = UdpSocket::bind(SocketAddr::new(source, 0)).await.map_err(failed)?;
        socket.connect(to).await.map_err(failed)?;
        connected(outcome);
        over_datagrams(&socket, &question, id).await
    };
    outcome.timed_out();
    let message = message?;
    let answer = parse(&message, id)?;
    for ((name, help), records) in COUNTS.iter().zip(&answer.sections) {
        outcome.set(name, help, records.len() as f64);
    }
    outcome.set(SUCCEEDED.0, SUCCEEDED.1, 1.0);
    if let Some(serial) = answer.serial.filter(|_| kind == 6) {
        outcome.set("probe_dns_serial", "Returns the serial number of the zone", f64::from(serial));
    }
    let code = CODES.get(usize::from(answer.code)).copied().unwrap_or("UNKNOWN");
    let valid = match config.valid_rcodes.is_empty() {
        true => code == "NOERROR",
        false => config.valid_rcodes.iter().any(|valid| valid == code),
    };
    if !valid {
        return Err(format!("the answer's code is {code}"));
    }
    let checks =
        [&config.validate_answer_rrs, &config.validate_authority_rrs, &config.validate_additional_rrs];
    for (checks, records) in checks.into_iter().zip(&answer.sections) {
        checked(checks, records)?;
    }
    Ok(())
}

const COUNTS: [(&str, &str); 3] = [
    ("probe_dns_answer_rrs", "Returns number of entries in the answer resource record list"),
    ("probe_dns_authority_rrs", "Returns number of entries in the authority resource record list"),
    ("probe_dns_additional_rrs", "Returns number of entries in the additional resource record list"),
];
const SUCCEEDED: (&str, &str) =
    ("probe_dns_query_succeeded", "Displays whether or not the query was executed successfully");

/// As the exporter does it: `fail_if_all_match_regexp`, whatever its name says, fails when a record does not match, and where a
/// match is asked for no record is a failure.
fn checked(checks: &RecordChecks, records: &[String]) -> Step<()> {
    let asked = checks.fail_if_not_matches_regexp.first().or(checks.fail_if_none_matches_regexp.first());
    if let Some(pattern) = asked.filter(|_| records.is_empty()) {
        return Err(format!("there is no record to match {:?}", pattern.0.as_str()));
    }
    let (mut all, mut any) = (true, false);
    for record in records {
        let matches = |pattern: &&crate::config::Pattern| pattern.0.is_match(record.as_bytes());
        if let Some(pattern) = checks.fail_if_matches_regexp.iter().find(matches) {
            return Err(format!("{record:?} matches {:?}", pattern.0.as_str()));
        }
        all &= checks.fail_if_all_match_regexp.iter().all(|pattern| matches(&pattern));
        if let Some(pattern) = checks.fail_if_not_matches_regexp.iter().find(|pattern| !matches(pattern)) {
            return Err(format!("{record:?} does not match {:?}", pattern.0.as_str()));
        }
        any |= checks.fail_if_none_matches_regexp.iter().any(|pattern| matches(&pattern));
    }
    if !checks.fail_if_all_match_regexp.is_empty() && !all {
        return Err("not all records match fail_if_all_match_regexp".into());
    }
    if !checks.fail_if_none_matches_regexp.is_empty() && !any {
        return Err("no record matches fail_if_none_matches_regexp".into());
    }
    Ok(())
}

fn question(id: u16, name: &str, kind: u16, class: u16, recursion: bool) -> Step<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len() + 32);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[u8::from(recursion), 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let trimmed = name.trim_end_matches('.');
    for label in trimmed.split('.').filter(|_| !trimmed.is_empty()) {
        if label.is_empty() || label.len() > 63 || name.len() > 254 {
            return Err(format!("{name:?} is no DNS name"));
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&class.to_be_bytes());
    Ok(out)
}

async fn over_datagrams(socket: &UdpSocket, question: &[u8], id: u16) -> Step<Vec<u8>> {
    let failed = |err: std::io::Error| format!("the question was not answered: {err}");
    socket.send(question).await.map_err(failed)?;
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(failed)?;
        // A late answer to an earlier question is not this one's.
        if buffer[..length].starts_with(&id.to_be_bytes()) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_stream(mut stream: impl AsyncRead + AsyncWrite + Unpin, question: &[u8]) -> Step<Vec<u8>> {
    let failed = |err: std::io::Error| format!("the question was not answered: {err}");
    let mut framed = (question.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let length = stream.read_u16().await.map_err(failed)?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.map_err(failed)?;
    Ok(message)
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]))
}

fn long(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(word(message, at)?) << 16 | u32::from(word(message, at + 2)?))
}

/// A name and where it ends; pointers lead strictly backwards.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut out, mut end, mut before) = (String::new(), None, at);
    loop {
        match *message.get(at)? {
            0 => {
                if out.is_empty() {
                    out.push('.');
                }
                return Some((out, end.unwrap_or(at + 1)));
            }
            length if length & 0xc0 == 0xc0 => {
                let to = usize::from(word(message, at)? & 0x3fff);
                if to >= before {
                    return None;
                }
                end = end.or(Some(at + 2));
                (at, before) = (to, to);
            }
            length if length & 0xc0 == 0 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                out.push_str(&String::from_utf8_lossy(label));
                out.push('.');
                if out.len() > 1024 {
                    return None;
                }
                at += 1 + usize::from(length);
            }
            _ => return None,
        }
    }
}

/// A record's data as a zone file writes it.
fn data(message: &[u8], kind: u16, at: usize, length: usize) -> Option<String> {
    let bytes = message.get(at..at + length)?;
    let named = |at: usize| name(message, at).map(|(text, _)| text);
    Some(match kind {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string(),
        28 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string(),
        2 | 5 | 12 => named(at)?,
        15 => format!("{} {}", word(message, at)?, named(at + 2)?),
        33 => format!(
            "{} {} {} {}",
            word(message, at)?,
            word(message, at + 2)?,
            word(message, at + 4)?,
            named(at + 6)?
        ),
        16 => {
            let (mut rest, mut parts) = (bytes, Vec::new());
            while let Some((&size, tail)) = rest.split_first() {
                let part = tail.get(..usize::from(size))?;
                parts.push(format!("{:?}", String::from_utf8_lossy(part)));
                rest = tail.get(usize::from(size)..)?;
            }
            parts.join(" ")
        }
        6 => {
            let (primary, next) = name(message, at)?;
            let (mailbox, next) = name(message, next)?;
            let numbers: Option<Vec<String>> =
                (0..5).map(|n| long(message, next + 4 * n).map(|v| v.to_string())).collect();
            format!("{primary} {mailbox} {}", numbers?.join(" "))
        }
        _ => format!("\\# {length} {}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    })
}

fn parse(message: &[u8], id: u16) -> Step<Answer> {
    let cut = || "the answer is malformed".to_owned();
    let flags = word(message, 2).ok_or_else(cut)?;
    if word(message, 0) != Some(id) || flags & 0x8000 == 0 {
        return Err("the answer is to another question".into());
    }
    let mut answer = Answer { code: (flags & 0xf) as u8, ..Answer::default() };
    let mut at = 12;
    for _ in 0..word(message, 4).ok_or_else(cut)? {
        at = name(message, at).ok_or_else(cut)?.1 + 4;
    }
    for section in 0..3 {
        for _ in 0..word(message, 6 + 2 * section).ok_or_else(cut)? {
            let (owner, next) = name(message, at).ok_or_else(cut)?;
            let kind = word(message, next).ok_or_else(cut)?;
            let class = word(message, next + 2).ok_or_else(cut)?;
            let ttl = long(message, next + 4).ok_or_else(cut)?;
            let length = usize::from(word(message, next + 8).ok_or_else(cut)?);
            let text = data(message, kind, next + 10, length).ok_or_else(cut)?;
            let known = |list: &[(&str, u16)], prefix: &str, number: u16| {
                let found = list.iter().find(|(_, n)| *n == number).map(|(name, _)| (*name).to_owned());
                found.unwrap_or_else(|| format!("{prefix}{number}"))
            };
            if kind == 6 && answer.serial.is_none() {
                answer.serial = text.split(' ').nth(2).and_then(|serial| serial.parse().ok());
            }
            let (class, kind) = (known(&CLASSES, "CLASS", class), known(&TYPES, "TYPE", kind));
            answer.sections[section].push(format!("{owner}\t{ttl}\t{class}\t{kind}\t{text}"));
            at = next + 10 + length;
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_a_cut_one_refused() {
        let mut message = question(7, "a.test", 1, 1, true).unwrap();
        message[2] = 0x81;
        message[7] = 1;
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 9]);
        let answer = parse(&message, 7).unwrap();
        assert_eq!(answer.sections[0], ["a.test.\t60\tIN\tA\t192.0.2.9"]);
        for cut in 0..message.len() {
            assert!(parse(&message[..cut], 7).is_err(), "{cut}");
        }
        assert!(parse(&message, 8).is_err());
    }
}
