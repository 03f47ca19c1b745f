//! An error → what the collector calls it: the types of Network Error Logging, as far as an application can know them.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The name was not resolved.
    NameNotResolved,
    /// Nobody listens there.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer was complete.
    Closed,
    /// Nobody answered in time.
    TimedOut,
    /// No way to the address.
    Unreachable,
    /// The certificate was refused.
    Certificate,
    /// No TLS session for another reason.
    Tls,
    /// The answer could not be read.
    BadResponse,
    /// The application's own limit passed.
    GaveUp,
    /// The user or the application ended it: not counted as a failure.
    Abandoned,
    /// This device has no network: not counted as a failure.
    Offline,
    /// Nothing more is known.
    Other,
}

impl Failure {
    /// The report's `type`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::NameNotResolved => "dns.name_not_resolved",
            Self::Refused => "tcp.refused",
            Self::Reset => "tcp.reset",
            Self::Closed => "tcp.closed",
            Self::TimedOut => "tcp.timed_out",
            Self::Unreachable => "tcp.address_unreachable",
            Self::Certificate => "tls.cert.invalid",
            Self::Tls => "tls.failed",
            Self::BadResponse => "http.response.invalid",
            Self::GaveUp => "agent.timeout",
            Self::Abandoned => "abandoned",
            Self::Offline => "agent.local",
            Self::Other => "agent.unreachable",
        }
    }

    /// What an error says by its kind; its text and those of its sources are looked at for names and certificates and go no further.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        let mut best = Self::Other;
        while let Some(error) = next {
            if let Some(io) = error.downcast_ref::<io::Error>()
                && let Some(found) = by_kind(io.kind())
            {
                best = found;
            }
            let text = error.to_string().to_ascii_lowercase();
            let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
            if has(&["certificate", "unknownissuer", "unknown issuer"]) {
                return Self::Certificate;
            }
            if has(&[
                "dns error",
                "failed to lookup",
                "name or service not known",
                "nodename nor servname",
                "no such host",
                "hostnotfound",
                "host not found",
            ]) {
                return Self::NameNotResolved;
            }
            if best == Self::Other && has(&["tls", "handshake", "ssl"]) {
                best = Self::Tls;
            }
            next = error.source();
        }
        best
    }

    /// Goes to the origin itself: is its name resolved, does the address answer? Takes up to `patience` for each.
    /// Opens a connection and says nothing on it.
    pub fn diagnose(origin: &str, patience: Duration) -> Diagnosis {
        let Some((host, port)) = host_and_port(origin) else { return Diagnosis::default() };
        let addresses: Vec<_> = match (host, port).to_socket_addrs() {
            Ok(found) => found.take(4).collect(),
            Err(_) => return Diagnosis { failure: Some(Self::NameNotResolved), server: None },
        };
        let mut last = Diagnosis::default();
        for address in addresses {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(_) => return Diagnosis { failure: None, server: Some(address.ip()) },
                Err(error) => {
                    last = Diagnosis { failure: by_kind(error.kind()), server: Some(address.ip()) };
                }
            }
        }
        last
    }
}

/// What a look of one's own has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// What fails; `None` when a connection was made, or nothing could be told.
    pub failure: Option<Failure>,
    /// The server's address that was tried last.
    pub server: Option<IpAddr>,
}

fn by_kind(kind: ErrorKind) -> Option<Failure> {
    Some(match kind {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failure::Reset,
        ErrorKind::ConnectionAborted | ErrorKind::UnexpectedEof => Failure::Closed,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Failure::TimedOut,
        ErrorKind::HostUnreachable | ErrorKind::AddrNotAvailable => Failure::Unreachable,
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => Failure::Offline,
        ErrorKind::InvalidData => Failure::BadResponse,
        _ => return None,
    })
}

/// Scheme, host and port of a URL: all that is ever kept of it. `None` when it is no `http(s)` URL.
pub(crate) fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" && scheme != "http" {
        return None;
    }
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\"'<>".contains(c);
    if host.is_empty() || host.len() > 300 || host.contains(odd) {
        return None;
    }
    let default = if scheme == "https" { ":443" } else { ":80" };
    Some(format!("{scheme}://{}", host.strip_suffix(default).unwrap_or(&host)))
}

fn host_and_port(origin: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = origin.split_once("://")?;
    let default = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (rest, default),
    };
    Some((host.trim_start_matches('[').trim_end_matches(']'), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_origin_of_a_url_remains() {
        for (url, kept) in [
            ("https://Shop.example/cart?card=4111#x", Some("https://shop.example")),
            ("https://user:secret@shop.example:443/", Some("https://shop.example")),
            ("http://[::1]:8080/a", Some("http://[::1]:8080")),
            ("ftp://shop.example", None),
            ("shop.example", None),
            ("https://", None),
        ] {
            assert_eq!(origin(url).as_deref(), kept, "{url}");
        }
        assert_eq!(host_and_port("http://[::1]:8080"), Some(("::1", 8080)));
        assert_eq!(host_and_port("https://shop.example"), Some(("shop.example", 443)));
    }

    #[test]
    fn errors_are_read_by_kind_and_chain() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("request failed")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let of = |kind| Failure::of(&Outer(io::Error::from(kind)));
        assert_eq!(of(ErrorKind::ConnectionRefused), Failure::Refused);
        assert_eq!(of(ErrorKind::NetworkUnreachable), Failure::Offline);
        assert_eq!(of(ErrorKind::OutOfMemory), Failure::Other);
        let text = |text: &str| Failure::of(&Outer(io::Error::other(text.to_owned())));
        assert_eq!(text("invalid peer certificate: Expired"), Failure::Certificate);
        assert_eq!(text("failed to lookup address information"), Failure::NameNotResolved);
        assert_eq!(text("TLS handshake eof"), Failure::Tls);
    }

    #[test]
    fn a_look_of_ones_own_tells_a_name_from_an_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let patience = Duration::from_secs(2);
        let well = Failure::diagnose(&origin, patience);
        assert_eq!((well.failure, well.server), (None, "127.0.0.1".parse().ok()));
        drop(listener);
        assert_eq!(Failure::diagnose(&origin, patience).failure, Some(Failure::Refused));
        let nobody = Failure::diagnose("https://nobody.invalid", patience);
        assert_eq!(nobody.failure, Some(Failure::NameNotResolved));
    }
}
