//! Cookies between the requests of one probe, which lives for seconds: expiry is not looked at, deletion is.

use httpc::Url;
use hyper::header::{self, HeaderMap, HeaderValue};

/// Cookies that are kept.
const MAX_COOKIES: usize = 100;

#[derive(Clone, Debug, PartialEq)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Whether hosts below the domain get it too.
    below: bool,
    path: String,
    secure: bool,
}

/// Those that were set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cookies(Vec<Cookie>);

impl Cookies {
    /// Keeps what an answer sets.
    pub(crate) fn take(&mut self, url: &Url, headers: &HeaderMap) {
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        for value in headers.get_all(header::SET_COOKIE) {
            let Ok(text) = value.to_str() else { continue };
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let mut cookie = Cookie {
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
                domain: host.clone(),
                below: false,
                path: "/".to_owned(),
                secure: false,
            };
            let mut gone = false;
            for part in parts {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                match key.trim().to_ascii_lowercase().as_str() {
                    "domain" => {
                        let domain = value.trim().trim_start_matches('.').to_ascii_lowercase();
                        // A host may set cookies for itself and what it is a part of, but not for others.
                        if domain == host || (domain.contains('.') && host.ends_with(&format!(".{domain}"))) {
                            (cookie.domain, cookie.below) = (domain, true);
                        }
                    }
                    "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                    "secure" => cookie.secure = true,
                    "max-age" => gone = value.trim().parse::<i64>().is_ok_and(|age| age <= 0),
                    _ => {}
                }
            }
            self.0.retain(|c| (&c.name, &c.domain, &c.path) != (&cookie.name, &cookie.domain, &cookie.path));
            if !gone && self.0.len() < MAX_COOKIES {
                self.0.push(cookie);
            }
        }
    }

    /// What is sent to a URL.
    pub(crate) fn header(&self, url: &Url) -> Option<HeaderValue> {
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let fits = |cookie: &&Cookie| {
            let same =
                cookie.domain == host || (cookie.below && host.ends_with(&format!(".{}", cookie.domain)));
            let path = url.path();
            let within = path
                .strip_prefix(cookie.path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || cookie.path.ends_with('/'));
            same && within && (!cookie.secure || url.scheme() == "https")
        };
        let pairs: Vec<String> =
            self.0.iter().filter(fits).map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        if pairs.is_empty() { None } else { HeaderValue::try_from(pairs.join("; ")).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_go_back_to_where_they_came_from() {
        let url = |text: &str| Url::parse(text).unwrap();
        let mut cookies = Cookies::default();
        let mut headers = HeaderMap::new();
        for text in ["a=1; Path=/x", "b=2; Domain=test", "c=3; Secure", "d=4; Domain=shop.test; Path=/"] {
            headers.append(header::SET_COOKIE, HeaderValue::from_static(text));
        }
        cookies.take(&url("http://shop.test/x"), &headers);
        let sent = |text: &str| cookies.header(&url(text)).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(sent("http://shop.test/x/y").as_deref(), Some("a=1; b=2; d=4"));
        assert_eq!(sent("https://shop.test/xy").as_deref(), Some("b=2; c=3; d=4"));
        assert_eq!(sent("http://a.shop.test/").as_deref(), Some("d=4"));
        assert_eq!(sent("http://other.test/"), None);
    }
}
