//! Syslog messages. Sources: RFC 5424 and RFC 3164; framing on connections: RFC 6587.

use std::borrow::Cow;

use super::parse::Entry;

const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// Reads a message of either kind. What has no priority is a message without fields.
pub(crate) fn parse(message: &[u8]) -> Entry {
    let text = String::from_utf8_lossy(message);
    let text = text.trim_end_matches(['\n', '\r', '\0']);
    let Some((priority, rest)) = priority(text) else { return Entry::from(text.to_owned()) };
    let mut fields: Vec<(Cow<'static, str>, String)> = Vec::new();
    let facility = FACILITIES.get(usize::from(priority / 8)).copied().unwrap_or("unknown");
    fields.push(("facility".into(), facility.to_owned()));
    fields.push(("severity".into(), SEVERITIES[usize::from(priority % 8)].to_owned()));
    let message = match rest.strip_prefix("1 ") {
        Some(rest) => rfc5424(rest, &mut fields),
        None => rfc3164(rest, &mut fields),
    };
    Entry { text: message.to_owned(), fields }
}

/// `<PRI>`
fn priority(text: &str) -> Option<(u8, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let number: u8 = number.parse().ok().filter(|_| number.len() <= 3)?;
    (number <= 191).then_some((number, rest))
}

fn rfc5424<'t>(text: &'t str, fields: &mut Vec<(Cow<'static, str>, String)>) -> &'t str {
    let mut rest = text;
    for name in ["", "hostname", "app", "procid", "msgid"] {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        if !name.is_empty() && word != "-" {
            fields.push((name.into(), word.to_owned()));
        }
    }
    let rest = match rest.strip_prefix('-') {
        Some(rest) => rest,
        None => structured(rest, fields),
    };
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    rest.strip_prefix('\u{feff}').unwrap_or(rest)
}

/// `[id name="value" …]…`; each value becomes the field `id.name`. What follows.
fn structured<'t>(text: &'t str, fields: &mut Vec<(Cow<'static, str>, String)>) -> &'t str {
    let mut rest = text;
    while let Some(inside) = rest.strip_prefix('[') {
        let id_end = inside.find([' ', ']']).unwrap_or(inside.len());
        let (id, mut inner) = inside.split_at(id_end);
        loop {
            if let Some(after) = inner.strip_prefix(']') {
                rest = after;
                break;
            }
            let Some((name, quoted)) = inner.trim_start_matches(' ').split_once("=\"") else { return "" };
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next() {
                    Some((at, '"')) => break at,
                    Some((_, '\\')) => match chars.next() {
                        Some((_, c @ ('"' | '\\' | ']'))) => value.push(c),
                        Some((_, c)) => value.extend(['\\', c]),
                        None => return "",
                    },
                    Some((_, c)) => value.push(c),
                    None => return "",
                }
            };
            fields.push((format!("{id}.{name}").into(), value));
            inner = quoted.get(end + 1..).unwrap_or_default();
        }
    }
    rest
}

fn rfc3164<'t>(text: &'t str, fields: &mut Vec<(Cow<'static, str>, String)>) -> &'t str {
    // `Mmm dd hh:mm:ss `, or an RFC 3339 time as many senders write.
    let bytes = text.as_bytes();
    let classic =
        bytes.len() > 16 && bytes[3] == b' ' && bytes[6] == b' ' && bytes[9] == b':' && bytes[15] == b' ';
    let rest = if classic {
        text.get(16..)
    } else if bytes.first().is_some_and(u8::is_ascii_digit) && bytes.get(10) == Some(&b'T') {
        text.split_once(' ').map(|(_, rest)| rest)
    } else {
        None
    };
    let Some(rest) = rest else { return tagged(text, fields) };
    // A tag in place of the host: the message comes from this machine.
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    if word.ends_with(':') || word.contains('[') {
        return tagged(rest, fields);
    }
    fields.push(("hostname".into(), word.to_owned()));
    tagged(after, fields)
}

/// `tag[pid]: message`
fn tagged<'t>(text: &'t str, fields: &mut Vec<(Cow<'static, str>, String)>) -> &'t str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || "-_./".contains(c))).unwrap_or(0);
    let (tag, rest) = text.split_at(end);
    if tag.is_empty() || tag.len() > 48 {
        return text;
    }
    let (pid, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((pid, rest)) => (Some(pid), rest),
        None => (None, rest),
    };
    let Some(rest) = rest.strip_prefix(':') else { return text };
    fields.push(("app".into(), tag.to_owned()));
    if let Some(pid) = pid {
        fields.push(("procid".into(), pid.to_owned()));
    }
    rest.strip_prefix(' ').unwrap_or(rest)
}

/// Takes frames out of what a connection has brought: `LENGTH MESSAGE` or a line each.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    /// Adds bytes; the frames that they complete.
    ///
    /// # Errors
    /// A frame is longer than `max` bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], max: usize) -> Result<Vec<Vec<u8>>, String> {
        self.buffer.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut at = 0;
        loop {
            let rest = self.buffer.get(at..).unwrap_or_default();
            let digits = rest.iter().take(8).take_while(|b| b.is_ascii_digit()).count();
            let counted = digits > 0 && rest.get(digits) == Some(&b' ');
            if counted {
                let length =
                    std::str::from_utf8(&rest[..digits]).ok().and_then(|text| text.parse::<usize>().ok());
                let Some(length) = length.filter(|length| *length <= max) else {
                    return Err(format!("a message is longer than {max} bytes"));
                };
                let Some(message) = rest.get(digits + 1..digits + 1 + length) else { break };
                frames.push(message.to_vec());
                at += digits + 1 + length;
            } else if let Some(end) = memchr::memchr(b'\n', rest) {
                if end > 0 {
                    frames.push(rest[..end].to_vec());
                }
                at += end + 1;
            } else {
                break;
            }
        }
        self.buffer.drain(..at);
        // A counted frame may need its digits besides.
        if self.buffer.len() > max + 10 {
            return Err(format!("a message is longer than {max} bytes"));
        }
        Ok(frames)
    }

    /// What is left when the connection ends.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.buffer.is_empty()).then_some(self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, text: &str, expected: &[(&str, &str)]) {
        let entry = parse(message.as_bytes());
        assert_eq!(entry.text, text, "{message}");
        let fields: Vec<(&str, &str)> =
            entry.fields.iter().map(|(name, value)| (name.as_ref(), value.as_str())).collect();
        assert_eq!(fields, expected, "{message}");
    }

    #[test]
    fn both_kinds_of_messages() {
        check(
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed",
            "'su root' failed",
            &[
                ("facility", "auth"),
                ("severity", "crit"),
                ("hostname", "mymachine.example.com"),
                ("app", "su"),
                ("msgid", "ID47"),
            ],
        );
        check(
            r#"<165>1 2003-10-11T22:14:15.003Z h evntslog 8710 ID47 [ex@32473 iut="3" src="a\"b\]"][x@1 y="z"] An event"#,
            "An event",
            &[
                ("facility", "local4"),
                ("severity", "notice"),
                ("hostname", "h"),
                ("app", "evntslog"),
                ("procid", "8710"),
                ("msgid", "ID47"),
                ("ex@32473.iut", "3"),
                ("ex@32473.src", "a\"b]"),
                ("x@1.y", "z"),
            ],
        );
        check("<13>1 - - - - - -", "", &[("facility", "user"), ("severity", "notice")]);
        check(
            "<34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed\n",
            "'su root' failed",
            &[
                ("facility", "auth"),
                ("severity", "crit"),
                ("hostname", "mymachine"),
                ("app", "su"),
                ("procid", "12"),
            ],
        );
        check(
            "<13>Feb  5 17:32:18 myapp: hi",
            "hi",
            &[("facility", "user"), ("severity", "notice"), ("app", "myapp")],
        );
        check("<13>no header here", "no header here", &[("facility", "user"), ("severity", "notice")]);
        check("no priority", "no priority", &[]);
        check("<999>x", "<999>x", &[]);
        check("<13>1 - - - - - [broken x=\"", "", &[("facility", "user"), ("severity", "notice")]);
    }

    #[test]
    fn frames_by_length_and_by_line() {
        let mut frames = Frames::default();
        assert_eq!(frames.push(b"5 hel", 100).unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(frames.push(b"lo<1>a\n<2>b", 100).unwrap(), [b"hello".to_vec(), b"<1>a".to_vec()]);
        assert_eq!(frames.finish().unwrap(), b"<2>b");
        assert!(Frames::default().push(b"99999 x", 100).is_err());
        assert!(Frames::default().push(&[b'x'; 200], 100).is_err());
    }
}
