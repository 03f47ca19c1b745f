//! URL → origin, without keeping any other part of it.

/// Longest origin that is accepted, in bytes: a DNS name and some.
const MAX_ORIGIN: usize = 280;

/// Scheme, host in lower case and port (only when it is not the scheme's own) of an absolute `http(s)` URL.
///
/// User information, path, query and fragment are not looked at beyond finding where the host ends. `None` for anything else.
pub fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        s if s.eq_ignore_ascii_case("https") => "https",
        s if s.eq_ignore_ascii_case("http") => "http",
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host_port.strip_prefix('[') {
        Some(v6) => {
            let (inside, after) = v6.split_once(']')?;
            let address: std::net::Ipv6Addr = inside.parse().ok()?;
            (format!("[{address}]"), after.strip_prefix(':').or(after.is_empty().then_some(""))?)
        }
        None => {
            let (host, port) = host_port.split_once(':').unwrap_or((host_port, ""));
            if !is_host(host) {
                return None;
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    let port: Option<u16> = if port.is_empty() { None } else { Some(port.parse().ok()?) };
    let out = match port {
        Some(443) if scheme == "https" => format!("https://{host}"),
        Some(80) if scheme == "http" => format!("http://{host}"),
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    (out.len() <= MAX_ORIGIN).then_some(out)
}

fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

/// Host of an origin: without scheme, port and brackets.
pub fn host(origin: &str) -> &str {
    let rest = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => rest.split(':').next().unwrap_or(rest),
    }
}

/// A pattern of a site's allow-list: an origin, or one whose host begins with `*.` for every name below it. A pattern without
/// a port stands for the scheme's own; `:*` stands for every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    scheme: String,
    host: String,
    below: bool,
    /// `None`: any.
    port: Option<u16>,
}

fn split(origin: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = origin.split_once("://")?;
    let cut = if rest.starts_with('[') { rest.find("]:").map(|at| at + 1) } else { rest.rfind(':') };
    let (host, port) = match cut {
        Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
        None => (rest, ""),
    };
    Some((scheme, host, port))
}

fn port_of(scheme: &str, port: &str) -> Option<u16> {
    match (port, scheme) {
        ("", "https") => Some(443),
        ("", _) => Some(80),
        (port, _) => port.parse().ok(),
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// In words, when it is no origin.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no origin: write https://example.com or https://*.example.com");
        let (scheme, host, port) = split(text).ok_or_else(wrong)?;
        let below = host.strip_prefix("*.");
        let plain = format!("{scheme}://{}", below.unwrap_or(host));
        let read = origin(&plain).filter(|read| *read == plain.to_ascii_lowercase()).ok_or_else(wrong)?;
        let (scheme, host, _) = split(&read).ok_or_else(wrong)?;
        let port = if port == "*" { None } else { Some(port_of(scheme, port).ok_or_else(wrong)?) };
        Ok(Self { scheme: scheme.to_owned(), host: host.to_owned(), below: below.is_some(), port })
    }

    /// Whether an origin as [`origin`] writes it is meant.
    pub fn matches(&self, origin: &str) -> bool {
        let Some((scheme, host, port)) = split(origin) else { return false };
        let host_fits = if self.below {
            host.strip_suffix(self.host.as_str()).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
        } else {
            host == self.host
        };
        host_fits
            && scheme == self.scheme
            && self.port.is_none_or(|wanted| port_of(scheme, port) == Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_remain() {
        let of = |url| origin(url).unwrap_or_default();
        assert_eq!(of("https://App.Test:8443/a/b?secret=1#x"), "https://app.test:8443");
        assert_eq!(of("https://app.test:443/"), "https://app.test");
        assert_eq!(of("http://user:pass@h.example/x"), "http://h.example");
        assert_eq!(of("https://[2001:DB8::1]:444/"), "https://[2001:db8::1]:444");
        assert_eq!(of("HTTPS://a.test?q=//b"), "https://a.test");
        for bad in [
            "",
            "app.test",
            "ftp://a/",
            "https:///x",
            "https://a b/",
            "https://a:99999/",
            "https://[::1",
            "data:,x",
        ] {
            assert_eq!(origin(bad), None, "{bad}");
        }
        assert_eq!(origin(&format!("https://{}/", "a.".repeat(200))), None);
    }

    #[test]
    fn patterns() {
        let matches = |pattern: &str, origin: &str| Pattern::parse(pattern).unwrap().matches(origin);
        assert!(matches("https://shop.example", "https://shop.example"));
        assert!(!matches("https://shop.example", "http://shop.example"));
        assert!(!matches("https://shop.example", "https://shop.example:8443"));
        assert!(matches("https://shop.example:*", "https://shop.example:8443"));
        assert!(matches("https://*.shop.example", "https://a.b.shop.example"));
        assert!(!matches("https://*.shop.example", "https://shop.example"));
        assert!(!matches("https://*.shop.example", "https://evilshop.example"));
        assert!(matches("https://[::1]:8", "https://[::1]:8"));
        for bad in ["shop.example", "https://", "https://a/b", "https://a:x", "https://*"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
