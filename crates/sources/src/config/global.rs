//! The sections that are not lists: `global`, `runtime`, `storage`, `tracing`, `otlp`.

use std::collections::BTreeMap;

use httpc::{Secret, TlsConfig};
use model::Labels;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scrape::Protocol;
use super::{ByteSize, InvalidField};

const fn seconds(n: i64) -> PromDuration {
    PromDuration(n * 1000)
}

/// Which names are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    /// Letters, digits, `_`, and `:` in metric names.
    Legacy,
    /// Any UTF-8.
    Utf8,
}

impl<'de> Deserialize<'de> for Validation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "legacy" => Ok(Self::Legacy),
            "utf8" | "" => Ok(Self::Utf8),
            other => Err(serde::de::Error::custom(format!("unrecognized ValidationScheme: {other:?}"))),
        }
    }
}

/// How targets are asked to write names that are not legacy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Escaping {
    /// As they are.
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    /// Every other character becomes `_`.
    #[serde(rename = "underscores")]
    Underscores,
    /// Dots become `_dot_`, other characters `__`.
    #[serde(rename = "dots")]
    Dots,
    /// Prefixed by `U__`, with code points in hexadecimal.
    #[serde(rename = "values")]
    Values,
}

impl Escaping {
    /// The value in an `Accept` header's `escaping` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// Defaults for all scrapes, and labels for everything that leaves this server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Global {
    /// How often targets are scraped.
    pub scrape_interval: PromDuration,
    /// How long a scrape may take; at most the interval.
    pub scrape_timeout: PromDuration,
    /// Formats to ask targets for, the preferred one first.
    pub scrape_protocols: Option<Vec<Protocol>>,
    /// How often rules are evaluated.
    pub evaluation_interval: PromDuration,
    /// Rules see data of this long ago.
    pub rule_query_offset: PromDuration,
    /// A file for queries; accepted for compatibility, queries are logged as traces.
    pub query_log_file: Option<String>,
    /// A file for failed scrapes, one line of JSON each; opened anew at a reload, so that it can be rotated.
    pub scrape_failure_log_file: Option<String>,
    /// Labels for every series and alert that leaves this server. `${NAME}` is replaced from the environment.
    pub external_labels: BTreeMap<String, String>,
    /// A larger body fails the scrape; 0 is no limit.
    pub body_size_limit: ByteSize,
    /// More samples fail the scrape; 0 is no limit.
    pub sample_limit: u64,
    /// More targets in one scrape configuration fail all of them; 0 is no limit.
    pub target_limit: u64,
    /// More labels on a sample fail the scrape; 0 is no limit.
    pub label_limit: u64,
    /// A longer label name fails the scrape; 0 is no limit.
    pub label_name_length_limit: u64,
    /// A longer label value fails the scrape; 0 is no limit.
    pub label_value_length_limit: u64,
    /// How many dropped targets are kept for display, for each scrape configuration; 0 is no limit.
    pub keep_dropped_targets: u64,
    /// Which names are valid.
    pub metric_name_validation_scheme: Option<Validation>,
    /// How targets are asked to write other names.
    pub metric_name_escaping_scheme: Option<Escaping>,
    /// Whether native histograms are asked for and stored.
    pub scrape_native_histograms: Option<bool>,
    /// Whether classic histograms become native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Whether a histogram's classic series are stored beside its native ones.
    pub always_scrape_classic_histograms: bool,
    /// Whether `scrape_timeout_seconds`, `scrape_sample_limit` and `scrape_body_size_bytes` are recorded.
    pub extra_scrape_metrics: Option<bool>,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            scrape_interval: seconds(60),
            scrape_timeout: PromDuration(0),
            scrape_protocols: None,
            evaluation_interval: seconds(60),
            rule_query_offset: PromDuration(0),
            query_log_file: None,
            scrape_failure_log_file: None,
            external_labels: BTreeMap::new(),
            body_size_limit: ByteSize(0),
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: None,
            metric_name_escaping_scheme: None,
            scrape_native_histograms: None,
            convert_classic_histograms_to_nhcb: false,
            always_scrape_classic_histograms: false,
            extra_scrape_metrics: None,
        }
    }
}

impl Global {
    /// The default timeout of a scrape.
    const TIMEOUT: PromDuration = seconds(10);

    /// Fills in what follows from other fields, and checks. `env` looks up environment variables for the external labels.
    pub(crate) fn finish(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(), InvalidField> {
        if self.scrape_interval.ms() == 0 {
            self.scrape_interval = seconds(60);
        }
        if self.evaluation_interval.ms() == 0 {
            self.evaluation_interval = seconds(60);
        }
        if self.scrape_timeout > self.scrape_interval {
            return Err(InvalidField::new(
                "global.scrape_timeout",
                "global scrape timeout greater than scrape interval",
            ));
        }
        if self.scrape_timeout.ms() == 0 {
            self.scrape_timeout = Self::TIMEOUT.min(self.scrape_interval);
        }
        if let Some(protocols) = &self.scrape_protocols {
            super::scrape::check_protocols(protocols).map_err(|text| {
                InvalidField::new("global.scrape_protocols", format!("{text} for global config"))
            })?;
        }
        for (name, value) in &mut self.external_labels {
            if name.is_empty() {
                return Err(InvalidField::new("global.external_labels", "\"\" is not a valid label name"));
            }
            *value = expand(value, env);
        }
        Ok(())
    }

    /// The external labels as a set.
    pub fn external_labels(&self) -> Labels {
        Labels::from_pairs(&self.external_labels)
    }
}

/// Replaces `${NAME}` and `$NAME` from the environment, `$$` by `$`.
fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let word = |s: &str| s.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let (name, tail) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(found) => found,
            None => after.split_at(word(after)),
        };
        if name.is_empty() {
            out.push('$');
        } else {
            out.push_str(&env(name).unwrap_or_default());
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Settings of Go's runtime; accepted for compatibility, there is no garbage collector here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Accepted and ignored.
    pub gogc: Option<i64>,
}

/// Storage settings.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// The time-series database.
    pub tsdb: Option<TsdbConfig>,
    /// Exemplars.
    pub exemplars: Option<ExemplarsConfig>,
}

/// Settings of the time-series database.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TsdbConfig {
    /// How much older than the newest sample of its series a sample may be.
    pub out_of_order_time_window: PromDuration,
    /// Accepted for compatibility.
    pub stale_series_compaction_threshold: Option<f64>,
    /// How long, and how much, is kept.
    pub retention: Option<RetentionConfig>,
    /// Chunk encodings; accepted for compatibility.
    pub chunk_encoding: Option<ChunkEncoding>,
}

/// How long, and how much, is kept. Whichever is reached first.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// How long.
    pub time: Option<PromDuration>,
    /// How much.
    pub size: Option<ByteSize>,
    /// How much of the disk, in per cent.
    pub percentage: Option<f64>,
}

/// Chunk encodings.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChunkEncoding {
    /// `xor` or `xor2`.
    pub floats: Option<String>,
}

/// Settings of the exemplar storage.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExemplarsConfig {
    /// How many are kept.
    pub max_exemplars: Option<i64>,
}

impl StorageConfig {
    pub(crate) fn check(&self) -> Result<(), InvalidField> {
        let Some(tsdb) = &self.tsdb else { return Ok(()) };
        if let Some(floats) = tsdb.chunk_encoding.as_ref().and_then(|c| c.floats.as_deref())
            && !matches!(floats, "xor" | "xor2")
        {
            return Err(InvalidField::new(
                "storage.tsdb.chunk_encoding.floats",
                format!(
                    "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got {floats:?}"
                ),
            ));
        }
        let percentage = tsdb.retention.as_ref().and_then(|r| r.percentage).unwrap_or_default();
        if !(0.0..=100.0).contains(&percentage) {
            return Err(InvalidField::new(
                "storage.tsdb.retention.percentage",
                "'storage.tsdb.retention.percentage' must be in the range [0, 100]",
            ));
        }
        Ok(())
    }
}

/// Where our own traces go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TracingConfig {
    /// `grpc` (default) or `http`.
    pub client_type: String,
    /// Host and port.
    pub endpoint: String,
    /// How many of the traces are sampled, 0 to 1.
    pub sampling_fraction: f64,
    /// Whether TLS is off.
    pub insecure: bool,
    /// Certificates.
    pub tls_config: TlsConfig,
    /// Headers for the exporter.
    pub headers: BTreeMap<String, Secret>,
    /// `gzip`, or nothing.
    pub compression: String,
    /// How long an export may take.
    pub timeout: Option<PromDuration>,
}

impl TracingConfig {
    pub(crate) fn check(&self) -> Result<(), InvalidField> {
        let wrong = |field: &str, text: String| Err(InvalidField::new(format!("tracing.{field}"), text));
        for name in self.headers.keys() {
            super::remote::check_header(name, true)
                .map_err(|text| InvalidField::new("tracing.headers", text))?;
        }
        if self.endpoint.is_empty() {
            return wrong("endpoint", "tracing endpoint must be set".into());
        }
        if !matches!(self.compression.as_str(), "" | "gzip") {
            return wrong(
                "compression",
                format!("invalid compression type {} provided, valid options: gzip", self.compression),
            );
        }
        if !matches!(self.client_type.as_str(), "" | "grpc" | "http") {
            return wrong("client_type", format!("unknown tracing client type {:?}", self.client_type));
        }
        self.tls_config.validate().map_err(|err| InvalidField::new("tracing.tls_config", err.to_string()))
    }
}

/// How OTLP metrics become series.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// All resource attributes become labels.
    pub promote_all_resource_attributes: bool,
    /// These resource attributes become labels.
    pub promote_resource_attributes: Vec<String>,
    /// These do not, when all others do.
    pub ignore_resource_attributes: Vec<String>,
    /// `UnderscoreEscapingWithSuffixes` (default), `UnderscoreEscapingWithoutSuffixes`, `NoUTF8EscapingWithSuffixes` or
    /// `NoTranslation`.
    pub translation_strategy: String,
    /// `service.name`, `service.namespace` and `service.instance.id` stay on `target_info`.
    pub keep_identifying_resource_attributes: bool,
    /// Explicit-bucket histograms become native ones with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// The scope's name, version and attributes become labels.
    pub promote_scope_metadata: bool,
    /// Whether a label name that starts with `_` gets the prefix `key`.
    pub label_name_underscore_sanitization: Option<bool>,
    /// Whether several `_` in a row stay.
    pub label_name_preserve_multiple_underscores: Option<bool>,
}

impl OtlpConfig {
    pub(crate) fn finish(&mut self, validation: Option<Validation>) -> Result<(), InvalidField> {
        let wrong = |field: &str, text: String| Err(InvalidField::new(format!("otlp.{field}"), text));
        if self.promote_all_resource_attributes && !self.promote_resource_attributes.is_empty() {
            return wrong(
                "promote_all_resource_attributes",
                "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously".into(),
            );
        }
        if !self.promote_all_resource_attributes && !self.ignore_resource_attributes.is_empty() {
            return wrong(
                "ignore_resource_attributes",
                "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true".into(),
            );
        }
        for list in [&mut self.promote_resource_attributes, &mut self.ignore_resource_attributes] {
            for name in list.iter_mut() {
                *name = name.trim().to_owned();
                if name.is_empty() {
                    return wrong("promote_resource_attributes", "empty resource attribute name".into());
                }
            }
            let mut seen = std::collections::BTreeSet::new();
            list.retain(|name| seen.insert(name.clone()));
        }
        match self.translation_strategy.as_str() {
            "" => self.translation_strategy = "UnderscoreEscapingWithSuffixes".into(),
            "UnderscoreEscapingWithSuffixes" | "UnderscoreEscapingWithoutSuffixes" => {}
            name @ ("NoUTF8EscapingWithSuffixes" | "NoTranslation") => {
                if validation == Some(Validation::Legacy) {
                    return wrong(
                        "translation_strategy",
                        format!("OTLP translation strategy {name:?} is not allowed when UTF8 is disabled"),
                    );
                }
            }
            name => {
                return wrong(
                    "translation_strategy",
                    format!("unsupported OTLP translation strategy {name:?}"),
                );
            }
        }
        Ok(())
    }
}
