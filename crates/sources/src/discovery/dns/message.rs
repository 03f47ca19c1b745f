//! DNS messages: one question out, its answers in. Source: RFC 1035 §4, RFC 2782 (SRV), RFC 6891 (EDNS).

use std::fmt::Write;

/// A record that discovery uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Record {
    /// Target with its final dot, and port.
    Srv(String, u16),
    /// Exchange with its final dot.
    Mx(String),
    /// Name server with its final dot.
    Ns(String),
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Records(Vec<Record>),
    /// The name does not exist.
    NoName,
    /// The answer is longer than a datagram: ask by TCP.
    Truncated,
}

pub(crate) const SRV: u16 = 33;
pub(crate) const MX: u16 = 15;
pub(crate) const NS: u16 = 2;

/// The longest name, in text.
const MAX_NAME: usize = 1024;

/// A question for `name`, which may end in a dot.
pub(crate) fn question(id: u16, name: &str, kind: u16) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(name.len() + 32);
    out.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question, one additional record.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > 63 || name.len() > 253 {
            return Err(format!("{name:?} is no DNS name"));
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    // EDNS: answers up to 4096 bytes.
    out.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    Ok(out)
}

/// Reads the answer to question `id`.
pub(crate) fn parse(message: &[u8], id: u16, kind: u16) -> Result<Answer, String> {
    let cut = || "the answer is cut off".to_owned();
    let word = |at: usize| -> Result<u16, String> {
        let bytes = message.get(at..at + 2).ok_or_else(cut)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let flags = word(2)?;
    if word(0)? != id || flags & 0x8000 == 0 {
        return Err("the answer is to another question".into());
    }
    match flags & 0xf {
        0 => {}
        3 => return Ok(Answer::NoName),
        code => return Err(format!("the server answered with code {code}")),
    }
    if flags & 0x0200 != 0 {
        return Ok(Answer::Truncated);
    }
    let (questions, answers) = (word(4)?, word(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(message, at).ok_or_else(cut)? + 4;
    }
    let mut records = Vec::new();
    for _ in 0..answers {
        at = skip_name(message, at).ok_or_else(cut)?;
        let (found, len) = (word(at)?, usize::from(word(at + 8)?));
        let data = at + 10;
        if message.len() < data + len {
            return Err(cut());
        }
        if found == kind {
            let name =
                |at: usize| name(message, at).ok_or_else(|| "a name in the answer is malformed".to_owned());
            records.push(match kind {
                SRV => Record::Srv(name(data + 6)?, word(data + 4)?),
                MX => Record::Mx(name(data + 2)?),
                _ => Record::Ns(name(data)?),
            });
        }
        at = data + len;
    }
    records.sort();
    records.dedup();
    Ok(Answer::Records(records))
}

/// The position after a name.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len if len & 0xc0 == 0xc0 => return (at + 2 <= message.len()).then_some(at + 2),
            len if len & 0xc0 == 0 => at += 1 + usize::from(len),
            _ => return None,
        }
    }
}

/// A name as text with its final dot; follows compression, each pointer strictly backwards so that there is no circle.
fn name(message: &[u8], mut at: usize) -> Option<String> {
    let mut out = String::new();
    let mut before = at;
    loop {
        match *message.get(at)? {
            0 => {
                if out.is_empty() {
                    out.push('.');
                }
                return Some(out);
            }
            len if len & 0xc0 == 0xc0 => {
                let to = usize::from(len & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                if to >= before {
                    return None;
                }
                (at, before) = (to, to);
            }
            len if len & 0xc0 == 0 => {
                for &byte in message.get(at + 1..at + 1 + usize::from(len))? {
                    match byte {
                        b'.' | b'\\' | 0..=0x20 | 0x7f.. => write!(out, "\\{byte:03}").ok()?,
                        _ => out.push(char::from(byte)),
                    }
                }
                out.push('.');
                if out.len() > MAX_NAME {
                    return None;
                }
                at += 1 + usize::from(len);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, data: &[u8]) -> Vec<u8> {
        let mut out = question(7, "a.example", kind).unwrap();
        out.truncate(out.len() - 11);
        (out[2], out[7], out[11]) = (0x81, 1, 0);
        // The question's name again, by a pointer.
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 9, 0, data.len() as u8]);
        out.extend_from_slice(data);
        out
    }

    #[test]
    fn records_are_read() {
        let srv = answer(SRV, &[0, 1, 0, 2, 0x1f, 0x90, 1, b'h', 0xc0, 14]);
        assert_eq!(parse(&srv, 7, SRV), Ok(Answer::Records(vec![Record::Srv("h.example.".into(), 8080)])));
        let mx = answer(MX, &[0, 5, 0xc0, 12]);
        assert_eq!(parse(&mx, 7, MX), Ok(Answer::Records(vec![Record::Mx("a.example.".into())])));
        assert_eq!(parse(&mx, 7, NS), Ok(Answer::Records(Vec::new())));
        assert!(parse(&mx, 8, MX).is_err());
        let circle = answer(NS, &[0xc0, 39]);
        assert!(parse(&circle, 7, NS).is_err());
        for at in 0..srv.len() {
            parse(&srv[..at], 7, SRV).ok();
            for byte in [0, 1, 0x3f, 0xc0, 0xff] {
                let mut bad = srv.clone();
                bad[at] = byte;
                parse(&bad, 7, SRV).ok();
            }
        }
        assert!(question(1, "a..b", SRV).is_err());
    }
}
