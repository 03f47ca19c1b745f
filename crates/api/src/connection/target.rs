//! Percent-encodes the bytes of a request target that Go's HTTP server takes and ours would refuse: `"`, `<`, `>` and others in
//! `?query=up{job="x"}`.
//!
//! The stream is followed from request to request: the request line, the header lines that say how long the body is, the body.
//! Nothing but the target is ever changed. Whatever is not plain HTTP/1 (another version, a malformed length) ends the following
//! for the rest of the connection; the HTTP library answers it as it sees fit.

/// Longest part of a header line that is looked at; the fields of interest are shorter.
const MAX_LINE: usize = 256;

/// Where in the stream of requests the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// In the method; how many of its bytes were seen.
    #[default]
    Method,
    Target,
    Version,
    Header,
    /// Bytes of the body that are still to come.
    Body(u64),
    /// In the line that says how long a chunk is.
    ChunkSize,
    /// Bytes of the chunk that are still to come, its line end included.
    Chunk(u64),
    Trailer,
    /// Not followed any more.
    Unknown,
}

/// How the body of the request is delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    #[default]
    None,
    Bytes(u64),
    Chunked,
}

/// Follows one connection.
#[derive(Debug, Default)]
pub(super) struct Rewriter {
    at: At,
    /// The start of the current line, or the method.
    line: Vec<u8>,
    length: Length,
}

impl Rewriter {
    /// Follows the next bytes; the changed ones when something in them had to change.
    pub(super) fn rewrite(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut changed: Option<Vec<u8>> = None;
        // What is before this has been copied to `changed`, if there is one.
        let mut kept = 0;
        let mut i = 0;
        while i < bytes.len() {
            let byte = bytes[i];
            match self.at {
                At::Unknown => break,
                At::Body(left) | At::Chunk(left) => {
                    let skip = left.min((bytes.len() - i) as u64);
                    let left = left - skip;
                    i += skip as usize;
                    self.at = match (self.at, left) {
                        (At::Body(_), 0) => At::Method,
                        (At::Body(_), left) => At::Body(left),
                        (_, 0) => At::ChunkSize,
                        (_, left) => At::Chunk(left),
                    };
                    continue;
                }
                At::Target if byte == b' ' => self.at = At::Version,
                At::Target if byte == b'\n' => self.at = At::Unknown,
                At::Target if must_encode(byte) => {
                    let out = changed.get_or_insert_with(|| Vec::with_capacity(bytes.len() + 64));
                    out.extend_from_slice(&bytes[kept..i]);
                    const HEX: &[u8; 16] = b"0123456789ABCDEF";
                    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                    kept = i + 1;
                }
                At::Target => {}
                At::Method => self.method(byte),
                At::Version | At::Header | At::ChunkSize | At::Trailer if byte == b'\n' => self.end_of_line(),
                At::Version | At::Header | At::ChunkSize | At::Trailer => {
                    if self.line.len() < MAX_LINE {
                        self.line.push(byte);
                    }
                }
            }
            i += 1;
        }
        if let Some(out) = &mut changed {
            out.extend_from_slice(&bytes[kept..]);
        }
        changed
    }

    fn method(&mut self, byte: u8) {
        match byte {
            // Empty lines before a request are allowed.
            b'\r' | b'\n' if self.line.is_empty() => {}
            b' ' => {
                // The preface of HTTP/2 looks like a request of HTTP/1.
                self.at = if self.line == b"PRI" { At::Unknown } else { At::Target };
                self.line.clear();
                self.length = Length::None;
            }
            _ if byte.is_ascii_graphic() && self.line.len() < 32 => self.line.push(byte),
            _ => self.at = At::Unknown,
        }
    }

    fn end_of_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.at = match self.at {
            At::Version if line.starts_with(b"HTTP/1.") => At::Header,
            At::Header if line.is_empty() => match self.length {
                Length::None | Length::Bytes(0) => At::Method,
                Length::Bytes(count) => At::Body(count),
                Length::Chunked => At::ChunkSize,
            },
            At::Header => self.header(&line),
            At::ChunkSize => match chunk_size(&line) {
                Some(0) => At::Trailer,
                Some(size) => At::Chunk(size.saturating_add(2)),
                None => At::Unknown,
            },
            At::Trailer if line.is_empty() => At::Method,
            At::Trailer => At::Trailer,
            _ => At::Unknown,
        };
        line.clear();
        self.line = line;
    }

    fn header(&mut self, line: &[u8]) -> At {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { return At::Unknown };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let count = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            match (count, self.length) {
                // A chunked body has no other length.
                (Some(_), Length::Chunked) => {}
                (Some(count), _) => self.length = Length::Bytes(count),
                (None, _) => return At::Unknown,
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.to_ascii_lowercase().ends_with(b"chunked") {
                return At::Unknown;
            }
            self.length = Length::Chunked;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            return At::Unknown;
        }
        At::Header
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&byte| byte == b';').next()?.trim_ascii();
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Bytes that RFC 3986 has in no target. `#` is among them: a target has no fragment, so that it is data.
fn must_encode(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'#' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(parts: &[&[u8]]) -> String {
        let mut rewriter = Rewriter::default();
        let mut out = Vec::new();
        for part in parts {
            match rewriter.rewrite(part) {
                Some(changed) => out.extend(changed),
                None => out.extend_from_slice(part),
            }
        }
        String::from_utf8(out).unwrap()
    }

    const PLAIN: &str = "POST /a?q=up{x=\"1\"} HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET \"/ HT\
        GET /b?q=\"é\" HTTP/1.1\r\nHost: \"x\"\r\n\r\n\
        POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4;x=y\r\nGET \r\n2\r\n/\"\r\n0\r\nT: \"\r\n\r\n\
        \r\nGET /<d># HTTP/1.1\r\n\r\n";
    const ENCODED: &str = "POST /a?q=up%7Bx=%221%22%7D HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET \"/ HT\
        GET /b?q=%22%C3%A9%22 HTTP/1.1\r\nHost: \"x\"\r\n\r\n\
        POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4;x=y\r\nGET \r\n2\r\n/\"\r\n0\r\nT: \"\r\n\r\n\
        \r\nGET /%3Cd%3E%23 HTTP/1.1\r\n\r\n";

    #[test]
    fn only_targets_change() {
        assert_eq!(run(&[PLAIN.as_bytes()]), ENCODED);
        let bytes: Vec<&[u8]> = PLAIN.as_bytes().chunks(1).collect();
        assert_eq!(run(&bytes), ENCODED);
    }

    #[test]
    fn what_is_not_plain_http_1_is_left_alone() {
        for text in [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
            "\u{16}\u{3}\u{1} \"\"",
        ] {
            assert_eq!(run(&[text.as_bytes()]), text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b'"'), Just(b'G'), Just(b'1'), any::<u8>()], 0..200),
            cut in 0usize..200,
        ) {
            let collect = |parts: &[&[u8]]| {
                let mut rewriter = Rewriter::default();
                parts.iter().flat_map(|part| rewriter.rewrite(part).unwrap_or_else(|| part.to_vec())).collect::<Vec<u8>>()
            };
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(collect(&[&bytes]), collect(&[left, right]));
        }
    }
}
