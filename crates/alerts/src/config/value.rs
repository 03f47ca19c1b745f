//! Values that Alertmanager's file has beside plain texts: URLs, secret URLs, addresses, Go durations.

use std::fmt;

use httpc::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Reads `null` as "nothing given", as Alertmanager's YAML reader does.
pub(super) fn nullable<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

fn check_url(text: &str) -> Result<(), String> {
    let url = httpc::Url::parse(text).map_err(|err| format!("{text:?} is no URL: {err}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("unsupported scheme {:?} for URL", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("missing host for URL".into());
    }
    Ok(())
}

/// An HTTP or HTTPS URL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct HttpUrl(String);

impl HttpUrl {
    /// The text, without a slash at its end.
    pub fn trimmed(&self) -> &str {
        self.0.trim_end_matches('/')
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        check_url(&text)?;
        Ok(Self(text))
    }
}

impl From<&'static str> for HttpUrl {
    /// For defaults that are known to be right.
    fn from(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

/// An HTTP or HTTPS URL that is itself a credential.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct SecretUrl(Secret);

impl SecretUrl {
    /// The URL: for the request, never for a log or an answer.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The secret.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

impl TryFrom<String> for SecretUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        // What a configuration that was printed has in its place.
        if text != httpc::secret::HIDDEN {
            check_url(&text).map_err(|err| err.replace(&text, httpc::secret::HIDDEN))?;
        }
        Ok(Self(Secret::new(text)))
    }
}

impl From<&HttpUrl> for SecretUrl {
    fn from(url: &HttpUrl) -> Self {
        Self(Secret::new(url.as_str()))
    }
}

/// `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// A number or a service's name.
    pub port: String,
}

impl TryFrom<String> for HostPort {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| format!("address {text}: missing port in address"))?;
        let host = match host.strip_prefix('[') {
            Some(inner) => {
                inner.strip_suffix(']').ok_or_else(|| format!("address {text}: missing ']' in address"))?
            }
            None if host.contains(':') => return Err(format!("address {text}: too many colons in address")),
            None => host,
        };
        if port.is_empty() {
            return Err(format!("address {text:?}: port cannot be empty"));
        }
        Ok(Self { host: host.to_owned(), port: port.to_owned() })
    }
}

impl HostPort {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.host.is_empty() && self.port.is_empty()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_empty(), self.host.contains(':')) {
            (true, _) => Ok(()),
            (_, true) => write!(f, "[{}]:{}", self.host, self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A duration as Go writes it (`1m30s`, `1.5h`); a bare number is nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration {
    /// Milliseconds, rounded down.
    pub ms: i64,
}

impl GoDuration {
    /// Of whole seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { ms: seconds * 1000 }
    }

    /// Reads Go's notation.
    ///
    /// # Errors
    /// When the text is no duration or negative.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("invalid duration {text:?}: write it as 30s, 1m30s or 1.5h");
        if let Ok(nanos) = text.parse::<i64>() {
            return Ok(Self { ms: nanos / 1_000_000 });
        }
        let (mut rest, mut ms) = (text, 0f64);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(bad)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let size = match unit {
                "ns" => 1e-6,
                "us" | "µs" | "μs" => 1e-3,
                "ms" => 1.0,
                "s" => 1e3,
                "m" => 60e3,
                "h" => 3600e3,
                _ => return Err(bad()),
            };
            ms += number.parse::<f64>().map_err(|_| bad())? * size;
            rest = tail;
        }
        if text.is_empty() { Err(bad()) } else { Ok(Self { ms: ms as i64 }) }
    }

    /// As the standard library's type.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.ms.max(0) as u64)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_secrets_hidden() {
        assert!(HttpUrl::try_from("http://x.example/a".to_owned()).is_ok());
        for bad in ["ftp://x", "x.example", "http://", "/path", ""] {
            assert!(HttpUrl::try_from(bad.to_owned()).is_err(), "{bad}");
            let err = SecretUrl::try_from(format!("{bad}?token=hush"));
            assert!(!err.is_err_and(|err| err.contains("hush")), "{bad}");
        }
        let url = SecretUrl::try_from("https://x.example/hush".to_owned()).unwrap();
        assert!(!format!("{url:?}").contains("hush"));
        for (text, shown) in [
            ("a:25", Some("a:25")),
            ("[::1]:25", Some("[::1]:25")),
            ("", Some("")),
            ("a", None),
            ("a:", None),
            ("::1:25", None),
        ] {
            assert_eq!(
                HostPort::try_from(text.to_owned()).ok().map(|h| h.to_string()).as_deref(),
                shown,
                "{text}"
            );
        }
        assert_eq!(GoDuration::parse("1m30.5s").unwrap().ms, 90_500);
        assert!(
            GoDuration::parse("5").unwrap().ms == 0
                && GoDuration::parse("5x").is_err()
                && GoDuration::parse("").is_err()
        );
    }
}
