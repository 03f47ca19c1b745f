//! Settings of the web server and the query API.

use std::path::PathBuf;

use model::InvalidField;
use model::duration::PromDuration;
use model::pattern::Pattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tokens::TokenMode;

/// The web server: user interface, HTTP API and push endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// Address and port to listen on. The default answers this machine only; `0.0.0.0:9090` answers every network, so put
    /// authentication in front of it. Port 0 picks a free one.
    pub listen_address: String,
    /// A file with certificates, users and headers, in the format of Prometheus' `--web.config.file`. Empty: none.
    pub config_file: PathBuf,
    /// The URL under which people reach the server, for links in alerts. Empty: made from the listen address.
    pub external_url: String,
    /// Largest request body in bytes, before and after decompression. Larger ones are refused with status 413.
    pub max_body_bytes: usize,
    /// Most connections that are open at once; further clients wait in the kernel's queue, as with Prometheus.
    pub max_connections: usize,
    /// Requests that take longer are ended, and connections that are silent for longer are closed.
    pub read_timeout: PromDuration,
    /// When a token is asked for: `off`, `push` (to push data), `write` (to push and to change anything) or `all`.
    pub tokens: TokenMode,
    /// A file with the first token, which may do everything. Needed unless `tokens` is `off`.
    pub admin_token_file: String,
    /// Most tokens that are kept.
    pub max_tokens: usize,
    /// Enables `POST /-/reload` and `POST /-/quit`.
    pub enable_lifecycle: bool,
    /// Enables deleting series, snapshots and cleaning tombstones over HTTP.
    pub enable_admin_api: bool,
    /// Enables `POST /api/v1/write`, Prometheus' remote write receiver.
    pub enable_remote_write_receiver: bool,
    /// Origins whose pages may read the query API from a browser: a regular expression that has to match the whole
    /// `Origin` header. Empty: none. Prometheus' default allows all, without credentials.
    pub cors_origin: String,
    /// Most clients that follow `/api/v1/notifications/live` at once.
    pub max_notifications_subscribers: usize,
    /// The page's title.
    pub page_title: String,
}

impl WebConfig {
    /// Says what is wrong with the settings.
    ///
    /// # Errors
    /// The setting, and why.
    pub fn check(&self) -> Result<(), InvalidField> {
        if let Err(err) = Pattern::new(&self.cors_origin) {
            return Err(InvalidField::new("web.cors_origin", format!("it is no regular expression: {err}")));
        }
        if !self.external_url.is_empty() {
            let url = self.external_url.parse::<axum::http::Uri>();
            let whole = |url: axum::http::Uri| {
                matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some()
            };
            if !url.is_ok_and(whole) {
                let message = format!("{:?} is no URL: write https://host/path", self.external_url);
                return Err(InvalidField::new("web.external_url", message));
            }
        }
        let read_timeout = usize::try_from(self.read_timeout.ms()).unwrap_or(0);
        for (name, value) in [
            ("web.max_body_bytes", self.max_body_bytes),
            ("web.max_connections", self.max_connections),
            ("web.read_timeout", read_timeout),
        ] {
            if value == 0 {
                return Err(InvalidField::new(name, "0 would refuse every request: give 1 or more"));
            }
        }
        Ok(())
    }

    /// The pattern of `cors_origin`; `None` for "none", and for one that [`WebConfig::check`] refuses.
    pub(crate) fn cors_pattern(&self) -> Option<Pattern> {
        (!self.cors_origin.is_empty()).then(|| Pattern::new(&self.cors_origin).ok()).flatten()
    }
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            listen_address: "127.0.0.1:9090".into(),
            config_file: PathBuf::new(),
            external_url: String::new(),
            max_body_bytes: 64 << 20,
            max_connections: 512,
            read_timeout: PromDuration(300_000),
            tokens: TokenMode::Off,
            admin_token_file: String::new(),
            max_tokens: 1000,
            enable_lifecycle: false,
            enable_admin_api: false,
            enable_remote_write_receiver: true,
            cors_origin: ".*".into(),
            max_notifications_subscribers: 16,
            page_title: "Bellwether".into(),
        }
    }
}

/// Bounds of one tenant's queries, in place of those of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TenantQueryLimits {
    /// The tenant.
    pub tenant: String,
    /// Most series that the selectors of one of its queries may find; 0 for `query.max_series`.
    pub max_series: usize,
    /// Most samples that one of its queries may hold in memory; 0 for `query.max_samples`.
    pub max_samples: usize,
    /// Most bytes of memory for one of its queries; 0 for `query.max_bytes`.
    pub max_bytes: u64,
    /// Most bytes of memory for all of its queries together; 0 for no bound but `query.max_total_bytes`.
    pub max_total_bytes: u64,
}

/// Limits and defaults of queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// How far back an instant selector looks for a sample.
    pub lookback_delta: PromDuration,
    /// Queries that run longer are ended with an error.
    pub timeout: PromDuration,
    /// Most queries that run at once. Others wait; tenants are served in turn.
    pub max_concurrency: usize,
    /// Most queries of one tenant that run at once; 0 for no bound but that of all.
    pub max_concurrency_per_tenant: usize,
    /// Most queries of one tenant that wait; more are refused with status 503.
    pub max_queued_per_tenant: usize,
    /// Most series that the selectors of one query may find.
    pub max_series: usize,
    /// Most samples that one query may hold in memory.
    pub max_samples: usize,
    /// Most bytes of memory for one query. A query that needs more is refused with an error that says what to narrow.
    pub max_bytes: u64,
    /// Most bytes of memory for all queries together.
    pub max_total_bytes: u64,
    /// Tenants whose queries have bounds of their own.
    pub tenant_limits: Vec<TenantQueryLimits>,
    /// Step of subqueries that name none.
    pub default_evaluation_interval: PromDuration,
    /// Most bytes of answers to range queries that are kept for the next refresh; 0 keeps none.
    pub cache_max_bytes: u64,
    /// Most compiled regular expressions that are kept.
    pub max_patterns: usize,
    /// Queries that take at least this long are logged as slow; 0 for none.
    pub slow_threshold: PromDuration,
}

impl QueryConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first thing that is wrong, in words.
    pub fn check(&self) -> Result<(), InvalidField> {
        for (name, zero) in [
            ("timeout", self.timeout.ms() == 0),
            ("max_concurrency", self.max_concurrency == 0),
            ("max_series", self.max_series == 0),
            ("max_samples", self.max_samples == 0),
            ("max_bytes", self.max_bytes == 0),
            ("max_total_bytes", self.max_total_bytes == 0),
            ("default_evaluation_interval", self.default_evaluation_interval.ms() == 0),
            ("lookback_delta", self.lookback_delta.ms() == 0),
        ] {
            if zero {
                return Err(InvalidField::new(
                    format!("query.{name}"),
                    "0 would refuse every query: give more",
                ));
            }
        }
        for (at, own) in self.tenant_limits.iter().enumerate() {
            if let Err(err) = model::TenantId::new(&own.tenant) {
                return Err(InvalidField::new(format!("query.tenant_limits[{at}].tenant"), err.to_string()));
            }
        }
        Ok(())
    }

    /// The bounds of a tenant's queries. `max_total_bytes` is 0 when it has none of its own.
    pub(crate) fn limits_of(&self, tenant: &model::TenantId) -> TenantQueryLimits {
        let own = self.tenant_limits.iter().find(|own| own.tenant == tenant.as_str()).cloned();
        let own = own.unwrap_or_default();
        TenantQueryLimits {
            tenant: tenant.as_str().to_owned(),
            max_series: if own.max_series > 0 { own.max_series } else { self.max_series },
            max_samples: if own.max_samples > 0 { own.max_samples } else { self.max_samples },
            max_bytes: if own.max_bytes > 0 { own.max_bytes } else { self.max_bytes },
            max_total_bytes: own.max_total_bytes,
        }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            lookback_delta: PromDuration(300_000),
            timeout: PromDuration(120_000),
            max_concurrency: 20,
            max_concurrency_per_tenant: 0,
            max_queued_per_tenant: 1000,
            max_series: 10_000_000,
            max_samples: 50_000_000,
            max_bytes: 512 << 20,
            max_total_bytes: 1 << 30,
            tenant_limits: Vec::new(),
            default_evaluation_interval: PromDuration(60_000),
            cache_max_bytes: 64 << 20,
            max_patterns: 512,
            slow_threshold: PromDuration(10_000),
        }
    }
}
