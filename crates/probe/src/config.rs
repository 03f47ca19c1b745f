//! The blackbox exporter's `modules` file.
//!
//! Source: the blackbox exporter's CONFIGURATION.md, version 0.28. Fields keep their names and defaults; what is not supported is
//! refused by name and line rather than ignored. File names are relative to the working folder, as there. Our own kind of
//! module is `script`.

use std::collections::BTreeMap;
use std::path::Path;

use httpc::config::httpc_yes;
use httpc::{TlsConfig, Url};
use model::duration::PromDuration;
use regex::bytes::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use yaml::Spanned;

use crate::script::ScriptProbe;

/// A larger file is refused.
const MAX_BYTES: u64 = 16 << 20;

/// Modules by name.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// Modules by name.
    pub modules: BTreeMap<String, Module>,
    /// What they were read from.
    pub text: String,
}

/// The file, with the place of each module.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    modules: BTreeMap<String, Spanned<Module>>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ConfigError {
    path: String,
    message: String,
}

/// What a module does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// HTTP requests.
    #[default]
    Http,
    /// A TCP connection and a conversation.
    Tcp,
    /// An echo request.
    Icmp,
    /// A question to a name server.
    Dns,
    /// gRPC's health check.
    Grpc,
    /// A connection to a UNIX socket and a conversation.
    Unix,
    /// Several HTTP requests, each made from what the ones before it brought.
    Script,
}

/// One module.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// What it does.
    pub prober: Kind,
    /// How long it may take; 0 leaves it to the scraper.
    #[serde(default)]
    pub timeout: PromDuration,
    /// Settings of HTTP.
    #[serde(default)]
    pub http: HttpProbe,
    /// Settings of TCP.
    #[serde(default)]
    pub tcp: TcpProbe,
    /// Settings of ICMP.
    #[serde(default)]
    pub icmp: IcmpProbe,
    /// Settings of DNS.
    #[serde(default)]
    pub dns: DnsProbe,
    /// Settings of gRPC.
    #[serde(default)]
    pub grpc: GrpcProbe,
    /// Settings of UNIX sockets.
    #[serde(default)]
    pub unix: UnixProbe,
    /// Settings of scripts.
    #[serde(default)]
    pub script: ScriptProbe,
}

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&text)
            .map(Self)
            .map_err(|err| D::Error::custom(format!("invalid regular expression {text:?}: {err}")))
    }
}

/// Which addresses of a name are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// IPv6 first.
    #[default]
    #[serde(rename = "ip6", alias = "")]
    Ip6,
    /// IPv4 first.
    #[serde(rename = "ip4")]
    Ip4,
}

fn yes() -> bool {
    true
}

/// A header that must or must not match.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderMatch {
    /// Its name.
    pub header: String,
    /// What its value is compared with.
    pub regexp: Pattern,
    /// Whether it may be absent.
    #[serde(default)]
    pub allow_missing: bool,
}

httpc::with_http_fields! {
    /// Settings of HTTP.
    pub struct HttpProbe {
        /// Statuses that are right; 2xx when empty.
        #[serde(default)]
        pub valid_status_codes: Vec<u16>,
        /// Versions that are right, such as `HTTP/2.0`; any when empty.
        #[serde(default)]
        pub valid_http_versions: Vec<String>,
        /// Which addresses are used.
        #[serde(default)]
        #[schemars(skip)]
        pub preferred_ip_protocol: Protocol,
        /// Whether the other kind of address will do.
        #[serde(default = "yes")]
        pub ip_protocol_fallback: bool,
        /// Whether the name is left to the proxy.
        #[serde(default)]
        pub skip_resolve_phase_with_proxy: bool,
        /// Old way to write `follow_redirects: false`.
        #[serde(default)]
        pub no_follow_redirects: Option<bool>,
        /// Whether TLS is wrong.
        #[serde(default)]
        pub fail_if_ssl: bool,
        /// Whether TLS must be.
        #[serde(default)]
        pub fail_if_not_ssl: bool,
        /// `GET` when empty.
        #[serde(default)]
        pub method: String,
        /// Headers of the request.
        #[serde(default)]
        pub headers: BTreeMap<String, String>,
        /// The body must match none.
        #[serde(default)]
        #[schemars(skip)]
        pub fail_if_body_matches_regexp: Vec<Pattern>,
        /// The body must match all.
        #[serde(default)]
        #[schemars(skip)]
        pub fail_if_body_not_matches_regexp: Vec<Pattern>,
        /// Not supported.
        #[serde(default, deserialize_with = "no_cel")]
        pub fail_if_body_json_matches_cel: (),
        /// Not supported.
        #[serde(default, deserialize_with = "no_cel")]
        pub fail_if_body_json_not_matches_cel: (),
        /// Headers that must not match.
        #[serde(default)]
        #[schemars(skip)]
        pub fail_if_header_matches: Vec<HeaderMatch>,
        /// Headers that must match.
        #[serde(default)]
        #[schemars(skip)]
        pub fail_if_header_not_matches: Vec<HeaderMatch>,
        /// The body that is sent.
        #[serde(default)]
        pub body: String,
        /// A file with it.
        #[serde(default)]
        pub body_file: String,
        /// `gzip`, `deflate` or `br`: how the answer is compressed.
        #[serde(default)]
        pub compression: String,
        /// Most bytes of the answer; 0 is no limit but the program's own.
        #[serde(default)]
        #[schemars(skip)]
        pub body_size_limit: Size,
        /// Not supported.
        #[serde(default, deserialize_with = "no_http3")]
        pub enable_http3: (),
    }
}

fn no_cel<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("") => Ok(()),
        Some(_) => Err(D::Error::custom(
            "fail_if_body_json_matches_cel and fail_if_body_json_not_matches_cel are not supported; \
             use fail_if_body_matches_regexp, or a script module, which looks into JSON",
        )),
    }
}

fn no_http3<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    match bool::deserialize(deserializer)? {
        false => Ok(()),
        true => Err(D::Error::custom("enable_http3 is not supported; set it to false or remove it")),
    }
}

/// A number of bytes, with a unit such as `10MB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        let text = match Either::deserialize(deserializer)? {
            Either::Number(number) => return Ok(Self(number)),
            Either::Text(text) => text,
        };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match text.get(digits.len()..).unwrap_or_default() {
            "" | "B" => 1,
            "KB" | "KiB" | "K" => 1 << 10,
            "MB" | "MiB" | "M" => 1 << 20,
            "GB" | "GiB" | "G" => 1 << 30,
            unit => return Err(D::Error::custom(format!("unknown unit {unit:?} of {text:?}"))),
        };
        let number: f64 = digits.parse().map_err(|_| D::Error::custom(format!("{text:?} is no size")))?;
        Ok(Self((number * f64::from(factor)) as u64))
    }
}

impl HttpProbe {
    /// Whether requests carry credentials or headers of the `http_client_config`.
    pub(crate) fn has_credentials(&self) -> bool {
        self.basic_auth.is_some()
            || self.authorization.is_some()
            || self.oauth2.is_some()
            || !self.bearer_token.is_empty()
            || !self.bearer_token_file.as_os_str().is_empty()
            || !self.http_headers.is_empty()
    }

    /// The proxy through which a host is reached.
    pub(crate) fn proxy_for(&self, secure: bool, host: &str) -> Result<Option<Url>, String> {
        let variable = |name: &str| {
            let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
            value(name).or_else(|| value(&name.to_lowercase())).unwrap_or_default()
        };
        let (proxy, except) = match self.proxy_from_environment {
            true => (variable(if secure { "HTTPS_PROXY" } else { "HTTP_PROXY" }), variable("NO_PROXY")),
            false => (self.proxy_url.expose().to_owned(), self.no_proxy.clone()),
        };
        // As in Go: this host itself is never asked of the environment's proxy.
        let itself = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if proxy.is_empty() || excepted(host, &except) || (self.proxy_from_environment && itself) {
            return Ok(None);
        }
        let full = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
        let url = Url::parse(&full).map_err(|err| format!("the proxy's URL: {err}"))?;
        match url.scheme() {
            "http" => Ok(Some(url)),
            other => Err(format!("a proxy of kind {other:?} is not supported; use an http:// one")),
        }
    }
}

/// Whether a comma-separated list names a host or a domain that it is in.
fn excepted(host: &str, list: &str) -> bool {
    list.split(',').map(str::trim).filter(|one| !one.is_empty()).any(|one| {
        let domain = one.trim_start_matches("*.").trim_start_matches('.');
        one == "*"
            || host.eq_ignore_ascii_case(domain)
            || host.to_ascii_lowercase().ends_with(&format!(".{}", domain.to_ascii_lowercase()))
    })
}

impl Default for HttpProbe {
    fn default() -> Self {
        yaml::read("{}").expect("every field has a default")
    }
}

/// A label made from what matched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectLabel {
    /// Its name.
    pub name: String,
    /// Its value; `${1}` and `${name}` are what groups matched.
    pub value: String,
}

/// A step of a conversation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryResponse {
    /// A line that must come.
    pub expect: Option<Pattern>,
    /// Bytes that must come.
    pub expect_bytes: String,
    /// Labels of `probe_expect_info`.
    pub labels: Vec<ExpectLabel>,
    /// A line that is sent.
    pub send: String,
    /// Whether TLS begins here.
    pub starttls: bool,
}

/// Settings of TCP.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcpProbe {
    /// Which addresses are used.
    pub preferred_ip_protocol: Protocol,
    /// Whether the other kind of address will do.
    pub ip_protocol_fallback: bool,
    /// From where.
    pub source_ip_address: String,
    /// The conversation.
    pub query_response: Vec<QueryResponse>,
    /// Whether TLS begins at once.
    pub tls: bool,
    /// Certificates and versions.
    pub tls_config: TlsConfig,
}

impl Default for TcpProbe {
    fn default() -> Self {
        Self {
            preferred_ip_protocol: Protocol::Ip6,
            ip_protocol_fallback: true,
            source_ip_address: String::new(),
            query_response: Vec::new(),
            tls: false,
            tls_config: TlsConfig::default(),
        }
    }
}

/// Settings of UNIX sockets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnixProbe {
    /// The conversation.
    pub query_response: Vec<QueryResponse>,
    /// Whether TLS begins at once.
    pub tls: bool,
    /// Certificates and versions.
    pub tls_config: TlsConfig,
}

/// Settings of ICMP.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IcmpProbe {
    /// Which addresses are used.
    pub preferred_ip_protocol: Protocol,
    /// Whether the other kind of address will do.
    pub ip_protocol_fallback: bool,
    /// From where.
    pub source_ip_address: String,
    /// Bytes that are sent.
    pub payload_size: usize,
    /// Whether routers may not fragment (IPv4).
    pub dont_fragment: bool,
    /// Hops that the request may take.
    pub ttl: u32,
}

impl Default for IcmpProbe {
    fn default() -> Self {
        Self {
            preferred_ip_protocol: Protocol::Ip6,
            ip_protocol_fallback: true,
            source_ip_address: String::new(),
            payload_size: 0,
            dont_fragment: false,
            ttl: 64,
        }
    }
}

/// Checks of the records of an answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordChecks {
    /// No record may match any.
    pub fail_if_matches_regexp: Vec<Pattern>,
    /// Not all records may match any.
    pub fail_if_all_match_regexp: Vec<Pattern>,
    /// Every record must match every one.
    pub fail_if_not_matches_regexp: Vec<Pattern>,
    /// Some record must match every one.
    pub fail_if_none_matches_regexp: Vec<Pattern>,
}

/// Settings of DNS.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsProbe {
    /// Which addresses are used.
    pub preferred_ip_protocol: Protocol,
    /// Whether the other kind of address will do.
    pub ip_protocol_fallback: bool,
    /// From where.
    pub source_ip_address: String,
    /// `udp` or `tcp`.
    pub transport_protocol: String,
    /// Whether the question goes through TLS.
    pub dns_over_tls: bool,
    /// Certificates and versions.
    pub tls_config: TlsConfig,
    /// `IN` when empty.
    pub query_class: String,
    /// The name.
    pub query_name: String,
    /// `ANY` when empty.
    pub query_type: String,
    /// Whether the server should ask others.
    pub recursion_desired: bool,
    /// Codes that are right; `NOERROR` when empty.
    pub valid_rcodes: Vec<String>,
    /// Checks of answers.
    pub validate_answer_rrs: RecordChecks,
    /// Checks of authorities.
    pub validate_authority_rrs: RecordChecks,
    /// Checks of additional records.
    pub validate_additional_rrs: RecordChecks,
}

impl Default for DnsProbe {
    fn default() -> Self {
        Self {
            preferred_ip_protocol: Protocol::Ip6,
            ip_protocol_fallback: true,
            source_ip_address: String::new(),
            transport_protocol: "udp".into(),
            dns_over_tls: false,
            tls_config: TlsConfig::default(),
            query_class: String::new(),
            query_name: String::new(),
            query_type: String::new(),
            recursion_desired: true,
            valid_rcodes: Vec::new(),
            validate_answer_rrs: RecordChecks::default(),
            validate_authority_rrs: RecordChecks::default(),
            validate_additional_rrs: RecordChecks::default(),
        }
    }
}

/// Settings of gRPC.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcProbe {
    /// The service whose health is asked for; empty is the server's.
    pub service: String,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Certificates and versions.
    pub tls_config: TlsConfig,
    /// Which addresses are used.
    pub preferred_ip_protocol: Protocol,
    /// Whether the other kind of address will do.
    pub ip_protocol_fallback: bool,
    /// Further metadata of the request.
    pub metadata: BTreeMap<String, Vec<String>>,
}

impl Default for GrpcProbe {
    fn default() -> Self {
        Self {
            service: String::new(),
            tls: false,
            tls_config: TlsConfig::default(),
            preferred_ip_protocol: Protocol::Ip6,
            ip_protocol_fallback: true,
            metadata: BTreeMap::new(),
        }
    }
}

impl Modules {
    /// Reads a file. Blocks.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and field.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let fail = |message: String| ConfigError { path: path.display().to_string(), message };
        let meta = std::fs::metadata(path).map_err(|err| fail(format!("cannot read the file: {err}")))?;
        if meta.len() > MAX_BYTES {
            return Err(fail(format!("the file is larger than {MAX_BYTES} bytes")));
        }
        let text =
            std::fs::read_to_string(path).map_err(|err| fail(format!("cannot read the file: {err}")))?;
        Self::parse(&text).map_err(fail)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written = yaml::read::<Option<Written>>(text).map_err(|err| match err.at {
            Some((line, _)) => format!("line {line}: {}", err.of_field()),
            None => err.of_field(),
        })?;
        let mut modules = BTreeMap::new();
        for (name, module) in written.unwrap_or_default().modules {
            let line = module.defined.line();
            let mut module = module.value;
            module.check().map_err(|wrong| format!("line {line}: modules.{name}: {wrong}"))?;
            modules.insert(name, module);
        }
        Ok(Self { modules, text: text.to_owned() })
    }

    /// The modules that the exporter's documentation begins with, for those who have no file.
    pub fn standard() -> Self {
        Self::parse(STANDARD).expect("the standard modules are right, which a test proves")
    }
}

/// One module of each kind, with its defaults.
const STANDARD: &str = "\
modules:
  http_2xx: {prober: http, http: {preferred_ip_protocol: ip4}}
  http_post_2xx: {prober: http, http: {method: POST, preferred_ip_protocol: ip4}}
  tcp_connect: {prober: tcp}
  tcp_tls: {prober: tcp, tcp: {tls: true}}
  ssh_banner:
    prober: tcp
    tcp: {query_response: [{expect: '^SSH-2.0-', send: 'SSH-2.0-blackbox-ssh-check'}]}
  grpc: {prober: grpc}
  grpc_tls: {prober: grpc, grpc: {tls: true}}
  icmp: {prober: icmp}
";

impl Module {
    fn check(&mut self) -> Result<(), String> {
        let http = &mut self.http;
        http.http().validate().map_err(|err| format!("http: {err}"))?;
        if let Some(no_follow) = http.no_follow_redirects {
            http.follow_redirects = !no_follow;
        }
        if !http.body.is_empty() && !http.body_file.is_empty() {
            return Err("http: setting body and body_file both are not allowed".into());
        }
        let accepted = http.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("accept-encoding"));
        check_compression(&http.compression, accepted.map(|(_, value)| value.as_str()))
            .map_err(|wrong| format!("http.{wrong}"))?;
        if !http.proxy_url.is_empty() {
            http.proxy_for(false, "").map_err(|wrong| format!("http.proxy_url: {wrong}"))?;
        }
        for checks in [&http.fail_if_header_matches, &http.fail_if_header_not_matches] {
            if checks.iter().any(|check| check.header.is_empty()) {
                return Err("http: header name must be set for HTTP header matchers".into());
            }
        }
        for (field, tls) in [
            ("tcp", &self.tcp.tls_config),
            ("dns", &self.dns.tls_config),
            ("grpc", &self.grpc.tls_config),
            ("unix", &self.unix.tls_config),
        ] {
            tls.validate().map_err(|err| format!("{field}: {err}"))?;
        }
        if self.prober == Kind::Dns && self.dns.query_name.is_empty() {
            return Err("query name must be set for DNS module".into());
        }
        if !["udp", "tcp", ""].contains(&self.dns.transport_protocol.as_str()) {
            return Err(format!(
                "dns.transport_protocol: {:?} is neither udp nor tcp",
                self.dns.transport_protocol
            ));
        }
        if self.prober == Kind::Dns {
            crate::dns::check(&self.dns)?;
        }
        if self.icmp.ttl > 255 {
            return Err("\"ttl\" cannot exceed 255".into());
        }
        if self.prober == Kind::Script {
            self.script.check().map_err(|wrong| format!("script: {wrong}"))?;
        }
        Ok(())
    }

    /// The `Host` header that the module sets for HTTP.
    pub fn host_header(&self) -> Option<&str> {
        let found = self.http.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        found.map(|(_, value)| value.as_str())
    }
}

/// `accept`: the `Accept-Encoding` that is sent, when the module says which.
pub(crate) fn check_compression(compression: &str, accept: Option<&str>) -> Result<(), String> {
    if !["", "gzip", "deflate", "br", "identity"].contains(&compression) {
        return Err(format!("compression: {compression:?} is none of gzip, deflate, br, identity"));
    }
    match accept {
        Some(accept) if !compression.is_empty() && !accept.contains(compression) && !accept.contains('*') => {
            Err(format!("compression: {compression:?} is not among the accepted encodings {accept:?}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_modules_are_right() {
        assert_eq!(Modules::standard().modules.len(), 8);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let wrong = |text: &str| Modules::parse(text).unwrap_err();
        let cel =
            "modules:\n  a:\n    prober: http\n    http:\n      fail_if_body_json_matches_cel: body.x == 1\n";
        let said = wrong(cel);
        assert!(said.contains("fail_if_body_json_matches_cel") && said.contains("line 5"), "{said}");
        let said = wrong("modules:\n  a:\n    prober: http\n    http: {enable_http3: true}\n");
        assert!(said.contains("enable_http3 is not supported") && said.contains("line 4"), "{said}");
        let said = wrong("modules:\n  ok: {prober: tcp}\n  a:\n    prober: dns\n");
        assert!(said.contains("modules.a: query name must be set") && said.contains("line 4"), "{said}");
        let said = wrong("modules:\n  a: {prober: tcp, tcp: {query_response: [{expect: '('}]}}\n");
        assert!(said.contains("invalid regular expression") && said.contains("line 2"), "{said}");
        let said = wrong("modules:\n  a: {prober: http, http: {unknown: 1}}\n");
        assert!(said.contains("unknown"), "{said}");
        assert!(wrong("modules: {a: {prober: bogus}}").contains("bogus"));
    }

    #[test]
    fn a_proxy_is_used_except_for_what_no_proxy_names() {
        let text =
            "modules: {a: {prober: http, http: {proxy_url: 'http://p:3128', no_proxy: 'in.test,10.0.0.1'}}}";
        let http = Modules::parse(text).unwrap().modules["a"].http.clone();
        let proxy = |host: &str| http.proxy_for(false, host).unwrap().map(|url| url.to_string());
        assert_eq!(proxy("shop.test").as_deref(), Some("http://p:3128/"));
        assert_eq!((proxy("a.in.test"), proxy("10.0.0.1")), (None, None));
        assert_eq!(proxy("main.test").as_deref(), Some("http://p:3128/"));
        assert!(Modules::parse("modules: {a: {prober: http, http: {proxy_url: 'socks5://p:1'}}}").is_err());
    }
}
