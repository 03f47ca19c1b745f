//! The response headers that switch reporting on or off, and how web servers are told to send them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::Site;
use crate::sign::Secret;

/// The endpoint group's name in `NEL` and `Report-To`.
const GROUP: &str = "bellwether";

/// A web server that headers are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// Name and value, one a line.
    Headers,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
    /// Caddy.
    Caddy,
}

impl Server {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Headers, Self::Nginx, Self::Haproxy, Self::Envoy, Self::Caddy];

    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Caddy => "caddy",
        }
    }
}

/// A collector's upload URL for a site.
pub fn endpoint(collector: &str, site: &Site, secret: Option<&Secret>, now_ms: i64) -> String {
    let base = collector.trim_end_matches('/');
    match secret.filter(|_| site.signed) {
        Some(secret) => format!("{base}{}", secret.path(&site.name, now_ms)),
        None => format!("{base}/r/{}", site.name),
    }
}

/// Names and values of the headers: on, or off for good in every browser that sees them.
///
/// `NEL` names the group, `Report-To` its collectors in order (browsers need this older header for NEL), `Reporting-Endpoints`
/// takes the other reports, `Bellwether-Policy` is for our agent.
pub fn headers(
    site: &Site,
    active: bool,
    secret: Option<&Secret>,
    now_ms: i64,
) -> Vec<(&'static str, String)> {
    let max_age = if active { site.max_age.ms() / 1000 } else { 0 };
    let urls: Vec<String> = site.collectors.iter().map(|c| endpoint(c, site, secret, now_ms)).collect();
    let endpoints: Vec<_> =
        urls.iter().enumerate().map(|(index, url)| json!({"url": url, "priority": index + 1})).collect();
    let mut report_to = json!({"group": GROUP, "max_age": max_age, "endpoints": endpoints});
    let mut nel = json!({"report_to": GROUP, "max_age": max_age});
    let mut policy = json!({"max_age": max_age});
    if active {
        nel["success_fraction"] = json!(site.success_fraction);
        nel["failure_fraction"] = json!(site.failure_fraction);
        policy["collectors"] = json!(urls);
        policy["origins"] = json!(site.origins);
        policy["success_fraction"] = json!(site.success_fraction);
        policy["failure_fraction"] = json!(site.failure_fraction);
    }
    if site.include_subdomains {
        nel["include_subdomains"] = json!(true);
        report_to["include_subdomains"] = json!(true);
    }
    let mut out = vec![("Report-To", report_to.to_string()), ("NEL", nel.to_string())];
    if active && let Some(first) = urls.first() {
        out.push(("Reporting-Endpoints", format!("default=\"{first}\"")));
    }
    out.push(("Bellwether-Policy", policy.to_string()));
    out
}

/// The headers as lines of a web server's configuration.
pub fn snippet(headers: &[(&str, String)], server: Server) -> String {
    let mut out = String::new();
    if server == Server::Envoy {
        out.push_str("response_headers_to_add:\n");
    }
    if server == Server::Caddy {
        out.push_str("header {\n");
    }
    for (name, value) in headers {
        // Values are JSON and URLs: neither ' nor ` can be in them, because serde_json and the checks of a site leave none.
        let line = match server {
            Server::Headers => format!("{name}: {value}\n"),
            Server::Nginx => format!("add_header {name} '{value}' always;\n"),
            Server::Haproxy => {
                format!("http-after-response set-header {name} '{}'\n", value.replace('%', "%%"))
            }
            Server::Envoy => format!(
                "  - header: {{key: {name}, value: '{}'}}\n    append_action: OVERWRITE_IF_EXISTS_OR_ADD\n",
                value.replace('%', "%%")
            ),
            Server::Caddy => {
                format!("\t{name} `{}`\n", value.replace('{', "\\{").replace('}', "\\}"))
            }
        };
        out.push_str(&line);
    }
    if server == Server::Caddy {
        out.push_str("}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site {
            name: "shop".into(),
            origins: vec!["https://shop.example".into()],
            collectors: vec!["https://c1.example.net".into(), "https://c2.example.org:9095/".into()],
            ..Site::default()
        }
    }

    #[test]
    fn headers_on_and_off() {
        let on = headers(&site(), true, None, 0);
        let text = snippet(&on, Server::Headers);
        assert_eq!(
            text,
            r#"Report-To: {"group":"bellwether","max_age":2592000,"endpoints":[{"url":"https://c1.example.net/r/shop","priority":1},{"url":"https://c2.example.org:9095/r/shop","priority":2}]}
NEL: {"report_to":"bellwether","max_age":2592000,"success_fraction":0.05,"failure_fraction":1.0}
Reporting-Endpoints: default="https://c1.example.net/r/shop"
Bellwether-Policy: {"max_age":2592000,"collectors":["https://c1.example.net/r/shop","https://c2.example.org:9095/r/shop"],"origins":["https://shop.example"],"success_fraction":0.05,"failure_fraction":1.0}
"#
        );
        let off = snippet(&headers(&site(), false, None, 0), Server::Headers);
        assert!(off.contains(r#"NEL: {"report_to":"bellwether","max_age":0}"#), "{off}");
        assert!(off.contains(r#"Bellwether-Policy: {"max_age":0}"#), "{off}");
    }

    #[test]
    fn signed_paths_are_accepted_by_the_collector() {
        let secret = Secret::new(b"0123456789abcdef").unwrap();
        let now = 1_700_000_000_000;
        let url = endpoint("https://c1.example.net", &Site { signed: true, ..site() }, Some(&secret), now);
        let parts = url.strip_prefix("https://c1.example.net/r/shop/").unwrap();
        assert_eq!(secret.check("shop", parts, now, 0), Ok(()));
    }
}
