//! What the site asks of its clients, as the header `Bellwether-Policy` says it (docs/formats/clients.md).

use serde::{Deserialize, Serialize};

/// A policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Seconds for which it holds after it was last seen; 0 ends it and empties the queue.
    pub max_age: u64,
    /// Upload URLs, in the order in which they are tried.
    #[serde(default)]
    pub collectors: Vec<String>,
    /// Origins that are reported, `https://*.example.com` for all below. Empty: every one that the application names.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Share of successes that are counted.
    #[serde(default = "all")]
    pub success_fraction: f64,
    /// Share of failures that are counted.
    #[serde(default = "all")]
    pub failure_fraction: f64,
}

fn all() -> f64 {
    1.0
}

/// A text is no policy.
#[derive(Debug)]
pub struct Unreadable(serde_json::Error);

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this is no policy: give the value of the header Bellwether-Policy")
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl Policy {
    /// Reads the value of the header `Bellwether-Policy`.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut policy: Self = serde_json::from_str(text).map_err(Unreadable)?;
        for fraction in [&mut policy.success_fraction, &mut policy.failure_fraction] {
            *fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 1.0 };
        }
        Ok(policy)
    }

    /// Whether requests to an origin are to be reported.
    pub(crate) fn covers(&self, origin: &str) -> bool {
        let collector = |url: &String| crate::failure::origin(url).is_some_and(|own| own == origin);
        if self.collectors.iter().any(collector) {
            return false;
        }
        let fits = |pattern: &String| match pattern.split_once("://*.") {
            Some((scheme, host)) => {
                let below = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
                below.is_some_and(|below| below.strip_suffix(host).is_some_and(|front| front.ends_with('.')))
            }
            None => origin == pattern,
        };
        self.origins.is_empty() || self.origins.iter().any(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_says_what_is_reported() {
        let policy = Policy::parse(
            r#"{"max_age":60,"collectors":["https://c.example.net/r/s"],"origins":["https://s.example","https://*.s.example"],"success_fraction":7}"#,
        )
        .unwrap();
        assert_eq!((policy.success_fraction, policy.failure_fraction), (1.0, 1.0));
        for (origin, covered) in [
            ("https://s.example", true),
            ("https://a.b.s.example", true),
            ("https://evils.example", false),
            ("http://s.example", false),
            ("https://c.example.net", false),
        ] {
            assert_eq!(policy.covers(origin), covered, "{origin}");
        }
        assert!(Policy::parse("{}").is_err());
    }
}
