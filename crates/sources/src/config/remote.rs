//! `remote_write` and `remote_read`.

use std::collections::BTreeMap;

use httpc::config::httpc_yes;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{ByteSize, InvalidField, RelabelRules};

/// Header names that the protocols themselves set.
const RESERVED: [&str; 14] = [
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
];

/// Checks one configured header. `tracing` has no way to authenticate besides it.
pub(crate) fn check_header(name: &str, tracing: bool) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if lower == "authorization" && !tracing {
        return Err(
            "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter"
                .into(),
        );
    }
    if RESERVED.contains(&lower.as_str()) {
        return Err(format!("{name} is a reserved header. It must not be changed"));
    }
    Ok(())
}

fn thirty_seconds() -> PromDuration {
    PromDuration(30_000)
}

fn one_minute() -> PromDuration {
    PromDuration(60_000)
}

fn yes() -> bool {
    true
}

fn message_v1() -> String {
    RemoteWriteConfig::V1.into()
}

httpc::with_http_fields! {
    /// A server that samples are sent to.
    #[derive(PartialEq)]
    pub struct RemoteWriteConfig {
        /// Where to.
        #[serde(default)]
        pub url: String,
        /// How long a request may take.
        #[serde(default = "thirty_seconds")]
        pub remote_timeout: PromDuration,
        /// Further headers.
        #[serde(default)]
        pub headers: BTreeMap<String, String>,
        /// Relabelling before sending.
        #[serde(default)]
        pub write_relabel_configs: RelabelRules,
        /// A name for metrics and logs.
        #[serde(default)]
        pub name: String,
        /// Whether exemplars are sent.
        #[serde(default)]
        pub send_exemplars: bool,
        /// Whether native histograms are sent.
        #[serde(default)]
        pub send_native_histograms: bool,
        /// Whether a new connection asks for the name's addresses and takes one at random.
        #[serde(default)]
        pub round_robin_dns: bool,
        /// `prometheus.WriteRequest` or `io.prometheus.write.v2.Request`.
        #[serde(default = "message_v1")]
        pub protobuf_message: String,
        /// Sharding, batching and back-off.
        #[serde(default)]
        pub queue_config: QueueConfig,
        /// Metadata for version 1 receivers.
        #[serde(default)]
        pub metadata_config: MetadataConfig,
        /// Signs requests for AWS (Signature Version 4).
        #[serde(default)]
        pub sigv4: Option<httpc::SigV4>,
        /// Azure tokens; parsed, not supported.
        #[serde(default)]
        pub azuread: Option<serde_json::Value>,
        /// Google tokens; parsed, not supported.
        #[serde(default)]
        pub google_iam: Option<serde_json::Value>,
    }
}

impl RemoteWriteConfig {
    /// Version 1's message.
    pub const V1: &str = "prometheus.WriteRequest";
    /// Version 2's message.
    pub const V2: &str = "io.prometheus.write.v2.Request";

    pub(crate) fn check(&self) -> Result<(), InvalidField> {
        if self.url.is_empty() {
            return Err(InvalidField::new("url", "url for remote_write is empty"));
        }
        if self.url.starts_with(':') {
            return Err(InvalidField::new("url", format!("{:?}: missing protocol scheme", self.url)));
        }
        for name in self.headers.keys() {
            check_header(name, false).map_err(|text| InvalidField::new("headers", text))?;
        }
        if ![Self::V1, Self::V2].contains(&self.protobuf_message.as_str()) {
            return Err(InvalidField::new(
                "protobuf_message",
                format!(
                    "invalid protobuf_message value: unknown type for remote write protobuf message {}, supported: {}, {}",
                    self.protobuf_message,
                    Self::V1,
                    Self::V2
                ),
            ));
        }
        self.http().validate().map_err(|err| InvalidField::new("", err.to_string()))?;
        let auths = [
            self.basic_auth.is_some(),
            self.authorization.is_some(),
            self.oauth2.is_some(),
            self.sigv4.is_some(),
            self.azuread.is_some(),
            self.google_iam.is_some(),
        ];
        if auths.iter().filter(|set| **set).count() > 1 {
            return Err(InvalidField::new(
                "",
                "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured",
            ));
        }
        if let Some(sigv4) = &self.sigv4 {
            sigv4.validate().map_err(|err| InvalidField::new("sigv4", err.to_string()))?;
        }
        self.queue_config.check()
    }
}

/// Sharding, batching and back-off of one remote write.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Samples buffered for each shard: at most so many are read from the spool at once for it.
    pub capacity: i64,
    /// The most senders.
    pub max_shards: i64,
    /// The fewest senders.
    pub min_shards: i64,
    /// Samples in a request.
    pub max_samples_per_send: i64,
    /// How long a sample waits for its request to fill.
    pub batch_send_deadline: PromDuration,
    /// The first pause after a failure.
    pub min_backoff: PromDuration,
    /// The longest pause.
    pub max_backoff: PromDuration,
    /// Whether a 429 is retried.
    pub retry_on_http_429: bool,
    /// Samples older than this are dropped; 0 keeps all.
    pub sample_age_limit: PromDuration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline: PromDuration(5000),
            min_backoff: PromDuration(30),
            max_backoff: PromDuration(5000),
            retry_on_http_429: false,
            sample_age_limit: PromDuration(0),
        }
    }
}

impl QueueConfig {
    fn check(&self) -> Result<(), InvalidField> {
        let wrong = |field: &str, text: &str| {
            Err(InvalidField::new(
                format!("queue_config.{field}"),
                format!("remote write queue {field} must {text}"),
            ))
        };
        for (field, value) in [
            ("capacity", self.capacity),
            ("max_shards", self.max_shards),
            ("min_shards", self.min_shards),
            ("max_samples_per_send", self.max_samples_per_send),
        ] {
            if value <= 0 {
                return wrong(field, "be positive");
            }
        }
        if self.max_shards < self.min_shards {
            return wrong("max_shards", "not be less than min_shards");
        }
        if self.max_backoff < self.min_backoff {
            return wrong("max_backoff", "not be less than min_backoff");
        }
        Ok(())
    }
}

/// Metadata for version 1 receivers.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetadataConfig {
    /// Whether it is sent.
    pub send: bool,
    /// How often.
    pub send_interval: PromDuration,
    /// Entries in a request.
    pub max_samples_per_send: i64,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self { send: true, send_interval: PromDuration(60_000), max_samples_per_send: 2000 }
    }
}

fn chunk_limit() -> ByteSize {
    ByteSize(50_000_000)
}

httpc::with_http_fields! {
    /// A server that older samples may be read from.
    #[derive(PartialEq)]
    pub struct RemoteReadConfig {
        /// Where from.
        #[serde(default)]
        pub url: String,
        /// How long a request may take.
        #[serde(default = "one_minute")]
        pub remote_timeout: PromDuration,
        /// The largest part of an answer.
        #[serde(default = "chunk_limit")]
        pub chunked_read_limit: ByteSize,
        /// Further headers.
        #[serde(default)]
        pub headers: BTreeMap<String, String>,
        /// Whether it is asked for times that local storage covers.
        #[serde(default)]
        pub read_recent: bool,
        /// Only selectors with these matchers are sent.
        #[serde(default)]
        pub required_matchers: BTreeMap<String, String>,
        /// A name for metrics and logs.
        #[serde(default)]
        pub name: String,
        /// Whether the external labels are used as selectors.
        #[serde(default = "yes")]
        pub filter_external_labels: bool,
    }
}

impl RemoteReadConfig {
    pub(crate) fn check(&self) -> Result<(), InvalidField> {
        if self.url.is_empty() {
            return Err(InvalidField::new("url", "url for remote_read is empty"));
        }
        if self.url.starts_with(':') {
            return Err(InvalidField::new("url", format!("{:?}: missing protocol scheme", self.url)));
        }
        for name in self.headers.keys() {
            check_header(name, false).map_err(|text| InvalidField::new("headers", text))?;
        }
        self.http().validate().map_err(|err| InvalidField::new("", err.to_string()))
    }
}
