//! Asking software of this host: plain HTTP and lines, over TCP or a UNIX socket, with bounds.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long the other side may take for anything.
const PATIENCE: Duration = Duration::from_millis(800);
/// How long all of an answer may take.
const TOTAL: Duration = Duration::from_millis(1_500);
/// Bytes of an answer.
const MAX_BYTES: usize = 16 << 20;

/// A connection.
pub(super) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Connects to `host:port` or to a socket's path.
pub(super) fn connect(address: &str) -> io::Result<Box<dyn Stream>> {
    if address.starts_with('/') {
        let stream = UnixStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        return Ok(Box::new(stream));
    }
    let resolved =
        address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))?;
    let stream = TcpStream::connect_timeout(&resolved, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Box::new(stream))
}

/// Reads until `is_complete` says so or the other side ends.
pub(super) fn read_until(
    stream: &mut dyn Stream,
    is_complete: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let (until, mut bytes, mut buffer) = (Instant::now() + TOTAL, Vec::new(), [0; 16 << 10]);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
        if is_complete(&bytes) {
            return Ok(bytes);
        }
        if bytes.len() > MAX_BYTES {
            return Err(io::Error::other(format!("the answer is larger than {MAX_BYTES} bytes")));
        }
        if Instant::now() > until {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no end of the answer within {TOTAL:?}"),
            ));
        }
    }
}

/// The body of a page of this host. HTTP/1.0: it ends when the connection does.
pub(super) fn get(url: &str) -> io::Result<String> {
    http("GET", url, "")
}

/// The body that answers a JSON document.
pub(super) fn post(url: &str, body: &str) -> io::Result<String> {
    http("POST", url, body)
}

fn http(method: &str, url: &str, body: &str) -> io::Result<String> {
    let rest =
        url.strip_prefix("http://").ok_or_else(|| io::Error::other(format!("{url:?} is no http:// URL")))?;
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, "/".to_owned()),
    };
    let address = match authority.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
        _ => format!("{authority}:80"),
    };
    let mut stream = connect(&address)?;
    let kind = match body {
        "" => String::new(),
        body => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()),
    };
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {authority}\r\nUser-Agent: bellwether/{}\r\nAccept: */*\r\n{kind}Connection: close\r\n\r\n{body}",
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes())?;
    let answer = read_until(&mut *stream, is_whole)?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("the answer is no HTTP"))?;
    let status = head.split_ascii_whitespace().nth(1).unwrap_or_default();
    match status {
        // HAProxy does so whatever version it is asked in.
        "200" if head.to_ascii_lowercase().contains("transfer-encoding: chunked") => {
            unchunked(body).ok_or_else(|| io::Error::other("the answer is cut short"))
        }
        "200" => Ok(body.to_owned()),
        "404" => {
            Err(io::Error::new(io::ErrorKind::NotFound, format!("{url} is not there (HTTP status 404)")))
        }
        status => Err(io::Error::other(format!("{url}: HTTP status {status}"))),
    }
}

/// A body without the lengths of its chunks.
fn unchunked(mut rest: &str) -> Option<String> {
    let mut out = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length.split(';').next()?.trim(), 16).ok()?;
        if length == 0 {
            return Some(out);
        }
        out.push_str(after.get(..length)?);
        rest = after.get(length..)?.strip_prefix("\r\n")?;
    }
}

/// Whether a body is as long as its head says; some servers keep the connection anyhow.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length
        .and_then(|text| text.trim().parse::<usize>().ok())
        .is_some_and(|length| bytes.len() >= end + 4 + length)
}
