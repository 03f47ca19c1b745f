//! What a certificate says of itself. Source: RFC 5280; only the fields that probes show are read.

use ring::digest;

/// A certificate's fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Certificate {
    /// Seconds since the epoch.
    pub(crate) not_after: f64,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// DNS names, joined by commas.
    pub(crate) names: String,
    /// Hexadecimal, without leading zero bytes.
    pub(crate) serial: String,
    /// SHA-256, hexadecimal.
    pub(crate) fingerprint: String,
    /// The subject as it is written in the certificate, to be compared with other certificates' issuers.
    pub(crate) subject_der: Vec<u8>,
    /// The issuer likewise.
    pub(crate) issuer_der: Vec<u8>,
}

/// A tag, its content and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (digits, rest) = rest.split_at(count);
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    (rest.len() >= length).then(|| (tag, &rest[..length], &rest[length..]))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Attribute types, in the order in which Go writes them, last first.
const ATTRIBUTES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 5], "SERIALNUMBER"),
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 17], "POSTALCODE"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 6], "C"),
];

/// A distinguished name as RFC 2253 writes it, in the order of Go's `pkix.Name`.
fn name(mut sets: &[u8]) -> Option<String> {
    let mut found: Vec<(usize, String)> = Vec::new();
    while !sets.is_empty() {
        let (_, mut set, rest) = element(sets)?;
        sets = rest;
        while !set.is_empty() {
            let (_, pair, rest) = element(set)?;
            set = rest;
            let (_, kind, value) = element(pair)?;
            let (_, value, _) = element(value)?;
            if let Some(index) = ATTRIBUTES.iter().position(|(known, _)| *known == kind) {
                found.push((index, String::from_utf8_lossy(value).into_owned()));
            }
        }
    }
    let of = |index: usize| -> Vec<String> {
        let label = ATTRIBUTES[index].1;
        found
            .iter()
            .filter(|(i, _)| *i == index)
            .map(|(_, value)| format!("{label}={}", escaped(value)))
            .collect()
    };
    let parts = (0..ATTRIBUTES.len()).map(|index| of(index).join("+")).filter(|part| !part.is_empty());
    Some(parts.collect::<Vec<_>>().join(","))
}

fn escaped(value: &str) -> String {
    let mut out = String::new();
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let edge = (index == 0 && (c == ' ' || c == '#')) || (index == last && c == ' ');
        if edge || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Seconds since the epoch of a UTCTime or GeneralizedTime.
fn time(tag: u8, text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let full = match tag {
        0x17 => format!("{}{text}", if text.get(..2)?.parse::<u32>().ok()? >= 50 { "19" } else { "20" }),
        _ => text.to_owned(),
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &full).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second() as f64)
}

/// The DNS names among the extensions.
fn dns_names(extensions: &[u8]) -> Option<String> {
    let (_, mut list, _) = element(extensions)?;
    let mut names = Vec::new();
    while !list.is_empty() {
        let (_, extension, rest) = element(list)?;
        list = rest;
        let (_, kind, mut rest) = element(extension)?;
        if kind != [0x55, 29, 17] {
            continue;
        }
        let (mut tag, mut value, _) = element(rest)?;
        if tag == 1 {
            // Whether the extension is critical.
            (_, _, rest) = element(rest)?;
            (tag, value, _) = element(rest)?;
        }
        if tag != 4 {
            continue;
        }
        let (_, mut entries, _) = element(value)?;
        while !entries.is_empty() {
            let (tag, entry, rest) = element(entries)?;
            entries = rest;
            if tag == 0x82 {
                names.push(String::from_utf8_lossy(entry).into_owned());
            }
        }
    }
    Some(names.join(","))
}

/// Reads a certificate; `None` when it is none.
pub(crate) fn read(der: &[u8]) -> Option<Certificate> {
    let (_, certificate, _) = element(der)?;
    let (_, body, _) = element(certificate)?;
    let (tag, first, mut rest) = element(body)?;
    // A version may come first.
    let mut serial = first;
    if tag == 0xa0 {
        (_, serial, rest) = element(rest)?;
    }
    let (_, _, rest) = element(rest)?;
    let (_, issuer, rest) = element(rest)?;
    let (_, validity, rest) = element(rest)?;
    let (_, subject, mut rest) = element(rest)?;
    let (_, _, after) = element(validity)?;
    let (tag, until, _) = element(after)?;
    let mut names = String::new();
    while !rest.is_empty() {
        let (tag, content, next) = element(rest)?;
        rest = next;
        if tag == 0xa3 {
            names = dns_names(content)?;
        }
    }
    // Whole bytes, without the zeros that make the number a positive one.
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    Some(Certificate {
        not_after: time(tag, until)?,
        subject: name(subject)?,
        issuer: name(issuer)?,
        names,
        serial: hexadecimal(&serial[zeros..]),
        fingerprint: hexadecimal(digest::digest(&digest::SHA256, der).as_ref()),
        subject_der: subject.to_vec(),
        issuer_der: issuer.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_what_was_put_in() {
        let mut params = rcgen::CertificateParams::new(vec!["a.test".into(), "b.test".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Org, Inc");
        params.distinguished_name.push(rcgen::DnType::CommonName, "a.test");
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap();
        let read = read(der.der()).unwrap();
        assert_eq!(read.subject, "CN=a.test,O=Org\\, Inc");
        assert_eq!(read.issuer, read.subject);
        assert_eq!(read.names, "a.test,b.test");
        assert_eq!(read.not_after, 1_927_843_200.0);
        assert_eq!(read.fingerprint.len(), 64);
        for cut in 0..der.der().len() {
            drop(super::read(&der.der()[..cut]));
        }
    }
}
