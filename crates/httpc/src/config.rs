//! Prometheus' `http_client_config`, typed.
//!
//! Source: the Prometheus manual, "HTTP configuration". In Prometheus' own sections these fields stand beside the
//! section's; [`with_http_fields!`] writes such a struct, Alertmanager nests a [`Config`] under `http_config`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::Secret;

/// Settings that contradict each other; the text is Prometheus' where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfig(pub String);

/// Defines a configuration struct that has the fields of `http_client_config` beside its own, a `http()` that collects
/// them into a [`Config`], and `set_http_directory` for relative paths. The caller's crate needs `serde` and `schemars`.
#[macro_export]
macro_rules! with_http_fields {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
            /// User name and password for HTTP basic authentication.
            #[serde(default)]
            pub basic_auth: Option<$crate::config::BasicAuth>,
            /// The `Authorization` header.
            #[serde(default)]
            pub authorization: Option<$crate::config::Authorization>,
            /// OAuth 2.0 client credentials; not together with `basic_auth` or `authorization`.
            #[serde(default)]
            pub oauth2: Option<$crate::config::OAuth2>,
            /// Old way to write `authorization.credentials`.
            #[serde(default)]
            pub bearer_token: $crate::Secret,
            /// Old way to write `authorization.credentials_file`.
            #[serde(default)]
            pub bearer_token_file: std::path::PathBuf,
            /// Certificates and TLS versions.
            #[serde(default)]
            pub tls_config: $crate::config::TlsConfig,
            /// The proxy: `http://`, `https://` or `socks5://`.
            #[serde(default)]
            pub proxy_url: $crate::Secret,
            /// Comma-separated addresses, networks and domains that are reached without the proxy.
            #[serde(default)]
            pub no_proxy: String,
            /// Use the environment's `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
            #[serde(default)]
            pub proxy_from_environment: bool,
            /// Headers sent to the proxy with CONNECT.
            #[serde(default)]
            pub proxy_connect_header: std::collections::BTreeMap<String, Vec<$crate::Secret>>,
            /// Whether redirects are followed (at most ten).
            #[serde(default = "httpc_yes")]
            pub follow_redirects: bool,
            /// Whether HTTP/2 is offered over TLS.
            #[serde(default = "httpc_yes")]
            pub enable_http2: bool,
            /// Further headers with every request.
            #[serde(default)]
            pub http_headers: std::collections::BTreeMap<String, $crate::config::Headers>,
        }

        impl $name {
            /// The fields of `http_client_config`.
            pub fn http(&self) -> $crate::Config {
                $crate::Config {
                    basic_auth: self.basic_auth.clone(),
                    authorization: self.authorization.clone(),
                    oauth2: self.oauth2.clone(),
                    bearer_token: self.bearer_token.clone(),
                    bearer_token_file: self.bearer_token_file.clone(),
                    tls_config: self.tls_config.clone(),
                    proxy_url: self.proxy_url.clone(),
                    no_proxy: self.no_proxy.clone(),
                    proxy_from_environment: self.proxy_from_environment,
                    proxy_connect_header: self.proxy_connect_header.clone(),
                    follow_redirects: self.follow_redirects,
                    enable_http2: self.enable_http2,
                    http_headers: self.http_headers.clone(),
                }
            }

            /// Replaces the fields of `http_client_config`.
            pub fn set_http(&mut self, http: $crate::Config) {
                self.basic_auth = http.basic_auth;
                self.authorization = http.authorization;
                self.oauth2 = http.oauth2;
                self.bearer_token = http.bearer_token;
                self.bearer_token_file = http.bearer_token_file;
                self.tls_config = http.tls_config;
                self.proxy_url = http.proxy_url;
                self.no_proxy = http.no_proxy;
                self.proxy_from_environment = http.proxy_from_environment;
                self.proxy_connect_header = http.proxy_connect_header;
                self.follow_redirects = http.follow_redirects;
                self.enable_http2 = http.enable_http2;
                self.http_headers = http.http_headers;
            }
        }
    };
}

/// The default of `follow_redirects` and `enable_http2`; [`with_http_fields!`] wants it in scope under this name.
pub fn httpc_yes() -> bool {
    true
}

with_http_fields! {
    /// How to reach an HTTP server: authentication, TLS, proxy, headers.
    #[derive(PartialEq)]
    pub struct Config {}
}

impl Default for Config {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            bearer_token: Secret::default(),
            bearer_token_file: PathBuf::new(),
            tls_config: TlsConfig::default(),
            proxy_url: Secret::default(),
            no_proxy: String::new(),
            proxy_from_environment: false,
            proxy_connect_header: BTreeMap::new(),
            follow_redirects: true,
            enable_http2: true,
            http_headers: BTreeMap::new(),
        }
    }
}

/// HTTP basic authentication.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// A file that holds the user; read again when it changes.
    pub username_file: PathBuf,
    /// The password.
    pub password: Secret,
    /// A file that holds the password; read again when it changes.
    pub password_file: PathBuf,
}

/// The `Authorization` header: `<type> <credentials>`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// The scheme, `Bearer` when empty.
    #[serde(rename = "type")]
    pub kind: String,
    /// The credentials.
    pub credentials: Secret,
    /// A file that holds the credentials; read again when it changes.
    pub credentials_file: PathBuf,
}

/// OAuth 2.0, RFC 6749 §4.4 (client credentials).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2 {
    /// The client's name.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// A file that holds the client's secret; read again when it changes.
    pub client_secret_file: PathBuf,
    /// What the token is for.
    pub scopes: Vec<String>,
    /// Where tokens are given.
    pub token_url: String,
    /// Further form fields for the token request.
    pub endpoint_params: BTreeMap<String, String>,
    /// TLS towards the token endpoint.
    pub tls_config: TlsConfig,
    /// The proxy towards the token endpoint.
    pub proxy_url: Secret,
    /// What is reached without that proxy.
    pub no_proxy: String,
    /// Take the proxy from the environment.
    pub proxy_from_environment: bool,
    /// Headers sent to the proxy with CONNECT.
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

/// Values of one header: all of them are sent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Headers {
    /// Plain values.
    pub values: Vec<String>,
    /// Values that are not shown.
    pub secrets: Vec<Secret>,
    /// Files that hold a value each; read again when they change.
    pub files: Vec<PathBuf>,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// 1.0: as a minimum the same as 1.2, which is the oldest that is spoken.
    #[serde(rename = "TLS10")]
    Tls10,
    /// 1.1: as a minimum the same as 1.2, which is the oldest that is spoken.
    #[serde(rename = "TLS11")]
    Tls11,
    /// 1.2.
    #[serde(rename = "TLS12")]
    Tls12,
    /// 1.3.
    #[serde(rename = "TLS13")]
    Tls13,
}

/// Certificates and TLS versions. Of each pair of inline text and file at most one may be set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM certificates of the authorities that are trusted, in place of the system's.
    pub ca: Secret,
    /// A file with them.
    pub ca_file: PathBuf,
    /// The client's PEM certificate chain.
    pub cert: Secret,
    /// A file with it.
    pub cert_file: PathBuf,
    /// The client's PEM private key.
    pub key: Secret,
    /// A file with it.
    pub key_file: PathBuf,
    /// The name that the server's certificate must be for, when it is not the URL's.
    pub server_name: String,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// The oldest TLS version.
    pub min_version: Option<TlsVersion>,
    /// The newest TLS version.
    pub max_version: Option<TlsVersion>,
}

/// Headers that other settings govern.
const RESERVED: [&str; 18] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

fn check(ok: bool, text: impl FnOnce() -> String) -> Result<(), InvalidConfig> {
    if ok { Ok(()) } else { Err(InvalidConfig(text())) }
}

/// At most one of several settings.
fn at_most_one(set: &[bool], names: &str) -> Result<(), InvalidConfig> {
    let count = set.iter().filter(|set| **set).count();
    check(count <= 1, || format!("at most one of {names} must be configured"))
}

impl Config {
    /// Checks what the manual forbids.
    ///
    /// # Errors
    /// The first contradiction, in Prometheus' words.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let bearer = [!self.bearer_token.is_empty(), is_set(&self.bearer_token_file)];
        let any_bearer = bearer.contains(&true);
        at_most_one(&bearer, "bearer_token & bearer_token_file")?;
        check(!(any_bearer && (self.basic_auth.is_some() || self.oauth2.is_some())), || {
            "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured".into()
        })?;
        if let Some(basic) = &self.basic_auth {
            at_most_one(
                &[!basic.username.is_empty(), is_set(&basic.username_file)],
                "basic_auth username & username_file",
            )?;
            at_most_one(
                &[!basic.password.is_empty(), is_set(&basic.password_file)],
                "basic_auth password & password_file",
            )?;
        }
        if let Some(auth) = &self.authorization {
            check(!any_bearer, || {
                "authorization is not compatible with bearer_token & bearer_token_file".into()
            })?;
            at_most_one(
                &[!auth.credentials.is_empty(), is_set(&auth.credentials_file)],
                "authorization credentials & credentials_file",
            )?;
            check(!auth.kind.trim().eq_ignore_ascii_case("basic"), || {
                r#"authorization type cannot be set to "basic", use "basic_auth" instead"#.into()
            })?;
        }
        at_most_one(
            &[self.basic_auth.is_some(), self.oauth2.is_some(), self.authorization.is_some()],
            "basic_auth, oauth2 & authorization",
        )?;
        if let Some(oauth2) = &self.oauth2 {
            check(!oauth2.client_id.is_empty(), || "oauth2 client_id must be configured".into())?;
            check(!oauth2.token_url.is_empty(), || "oauth2 token_url must be configured".into())?;
            at_most_one(
                &[!oauth2.client_secret.is_empty(), is_set(&oauth2.client_secret_file)],
                "oauth2 client_secret & client_secret_file",
            )?;
            oauth2.tls_config.validate()?;
            proxy(
                &oauth2.proxy_url,
                &oauth2.no_proxy,
                oauth2.proxy_from_environment,
                &oauth2.proxy_connect_header,
            )?;
        }
        self.tls_config.validate()?;
        proxy(&self.proxy_url, &self.no_proxy, self.proxy_from_environment, &self.proxy_connect_header)?;
        for name in self.http_headers.keys() {
            check(!RESERVED.contains(&name.to_ascii_lowercase().as_str()), || {
                format!("setting header {name:?} is not allowed")
            })?;
        }
        Ok(())
    }

    /// Makes relative file names relative to `folder`, the folder of the configuration file.
    pub fn set_directory(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| {
            if is_set(path) && path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        join(&mut self.bearer_token_file);
        if let Some(basic) = &mut self.basic_auth {
            join(&mut basic.username_file);
            join(&mut basic.password_file);
        }
        if let Some(auth) = &mut self.authorization {
            join(&mut auth.credentials_file);
        }
        let mut tls = vec![&mut self.tls_config];
        if let Some(oauth2) = &mut self.oauth2 {
            join(&mut oauth2.client_secret_file);
            tls.push(&mut oauth2.tls_config);
        }
        for tls in tls {
            join(&mut tls.ca_file);
            join(&mut tls.cert_file);
            join(&mut tls.key_file);
        }
        self.http_headers.values_mut().flat_map(|h| &mut h.files).for_each(join);
    }

    /// The `authorization` section, or what the old `bearer_token` fields mean.
    pub(crate) fn effective_authorization(&self) -> Option<Authorization> {
        if self.authorization.is_some() {
            return self.authorization.clone();
        }
        let bearer = !self.bearer_token.is_empty() || is_set(&self.bearer_token_file);
        bearer.then(|| Authorization {
            kind: "Bearer".into(),
            credentials: self.bearer_token.clone(),
            credentials_file: self.bearer_token_file.clone(),
        })
    }
}

impl TlsConfig {
    /// Checks what the manual forbids.
    ///
    /// # Errors
    /// The first contradiction, in Prometheus' words.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let pairs = [
            ("ca & ca_file", &self.ca, &self.ca_file),
            ("cert & cert_file", &self.cert, &self.cert_file),
            ("key & key_file", &self.key, &self.key_file),
        ];
        for (names, inline, file) in pairs {
            at_most_one(&[!inline.is_empty(), is_set(file)], names)?;
        }
        let cert = !self.cert.is_empty() || is_set(&self.cert_file);
        let key = !self.key.is_empty() || is_set(&self.key_file);
        check(!cert || key, || {
            "exactly one of key or key_file must be configured when a client certificate is configured".into()
        })?;
        check(!key || cert, || {
            "exactly one of cert or cert_file must be configured when a client key is configured".into()
        })?;
        match (self.min_version, self.max_version) {
            (Some(min), Some(max)) => {
                check(min <= max, || format!("tls_config min_version {min:?} is above max_version {max:?}"))
            }
            _ => Ok(()),
        }
    }
}

fn proxy(
    url: &Secret,
    no_proxy: &str,
    from_environment: bool,
    connect_header: &BTreeMap<String, Vec<Secret>>,
) -> Result<(), InvalidConfig> {
    check(connect_header.is_empty() || from_environment || !url.is_empty(), || {
        "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured"
            .into()
    })?;
    check(!from_environment || url.is_empty(), || {
        "if proxy_from_environment is configured, proxy_url must not be configured".into()
    })?;
    check(!from_environment || no_proxy.is_empty(), || {
        "if proxy_from_environment is configured, no_proxy must not be configured".into()
    })?;
    check(no_proxy.is_empty() || !url.is_empty(), || {
        "if no_proxy is configured, proxy_url must also be configured".into()
    })
}
