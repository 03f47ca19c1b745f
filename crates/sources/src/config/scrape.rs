//! `scrape_configs`: the fields, what they inherit from `global`, and what is refused.

use std::collections::BTreeMap;

use httpc::config::httpc_yes;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Format;

use super::discovery::with_discovery_fields;
use super::global::{Escaping, Global, Validation};
use super::{ByteSize, InvalidField, RelabelRules};

/// A format that targets can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub enum Protocol {
    /// OpenMetrics 0.0.1.
    OpenMetricsText001,
    /// OpenMetrics 1.0.0.
    OpenMetricsText100,
    /// Protobuf.
    PrometheusProto,
    /// Prometheus text 0.0.4.
    PrometheusText004,
    /// Prometheus text 1.0.0.
    PrometheusText100,
}

impl Protocol {
    const NAMES: [(&str, Self); 5] = [
        ("OpenMetricsText0.0.1", Self::OpenMetricsText001),
        ("OpenMetricsText1.0.0", Self::OpenMetricsText100),
        ("PrometheusProto", Self::PrometheusProto),
        ("PrometheusText0.0.4", Self::PrometheusText004),
        ("PrometheusText1.0.0", Self::PrometheusText100),
    ];

    /// What is asked for when nothing else is configured.
    pub const DEFAULT: [Self; 4] = [
        Self::OpenMetricsText100,
        Self::OpenMetricsText001,
        Self::PrometheusText100,
        Self::PrometheusText004,
    ];

    /// Prometheus' name.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize].0
    }

    /// The format on the wire.
    pub fn format(self) -> Format {
        match self {
            Self::OpenMetricsText001 => Format::OpenMetrics001,
            Self::OpenMetricsText100 => Format::OpenMetrics100,
            Self::PrometheusProto => Format::Protobuf,
            Self::PrometheusText004 => Format::Text004,
            Self::PrometheusText100 => Format::Text100,
        }
    }
}

impl serde::Serialize for Protocol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, protocol)| *protocol).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            let supported = names.join(" ");
            serde::de::Error::custom(format!("unknown scrape protocol {text}, supported: [{supported}]"))
        })
    }
}

pub(super) fn check_protocols(protocols: &[Protocol]) -> Result<(), String> {
    let names: Vec<&str> = protocols.iter().map(|p| p.as_str()).collect();
    if names.is_empty() {
        return Err("scrape_protocols cannot be empty".into());
    }
    let mut seen = names.clone();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() < names.len() {
        return Err(format!("duplicated protocol in scrape_protocols, got [{}]", names.join(" ")));
    }
    Ok(())
}

fn yes() -> bool {
    true
}

fn metrics_path() -> String {
    "/metrics".into()
}

fn scheme() -> String {
    "http".into()
}

with_discovery_fields! {
    /// One job: which targets, how often, in which way. In a loaded file everything that `global` decides is filled in.
    #[derive(PartialEq)]
    pub struct ScrapeConfig {
        /// The job's name, unique; the default of the label `job`.
        #[serde(default)]
        pub job_name: String,
        /// Whether the target's labels win over ours.
        #[serde(default)]
        pub honor_labels: bool,
        /// Whether the target's timestamps are used.
        #[serde(default = "yes")]
        pub honor_timestamps: bool,
        /// Whether series with the target's own timestamps get staleness markers.
        #[serde(default)]
        pub track_timestamps_staleness: bool,
        /// URL parameters.
        #[serde(default)]
        pub params: BTreeMap<String, Vec<String>>,
        /// How often; `global`'s when it is not given.
        #[serde(default)]
        pub scrape_interval: PromDuration,
        /// How long a scrape may take; `global`'s when it is not given.
        #[serde(default)]
        pub scrape_timeout: PromDuration,
        /// Formats to ask for, the preferred one first; `global`'s when it is not given.
        #[serde(default)]
        pub scrape_protocols: Option<Vec<Protocol>>,
        /// The format of a target that names none, or none that exists. Without it such a scrape fails.
        #[serde(default)]
        pub fallback_scrape_protocol: Option<Protocol>,
        /// Whether native histograms are asked for and stored; `global`'s when it is not given.
        #[serde(default)]
        pub scrape_native_histograms: Option<bool>,
        /// Whether a histogram's classic series are stored beside its native ones; `global`'s when it is not given.
        #[serde(default)]
        pub always_scrape_classic_histograms: Option<bool>,
        /// Whether classic histograms become native ones with custom buckets; `global`'s when it is not given.
        #[serde(default)]
        pub convert_classic_histograms_to_nhcb: Option<bool>,
        /// Whether the extra `scrape_*` series are recorded; `global`'s when it is not given.
        #[serde(default)]
        pub extra_scrape_metrics: Option<bool>,
        /// A file for failed scrapes; accepted for compatibility, failures are logged.
        #[serde(default)]
        pub scrape_failure_log_file: Option<String>,
        /// The path.
        #[serde(default = "metrics_path")]
        pub metrics_path: String,
        /// `http` or `https`.
        #[serde(default = "scheme")]
        pub scheme: String,
        /// Whether compressed answers are asked for.
        #[serde(default = "yes")]
        pub enable_compression: bool,
        /// A larger body (decompressed) fails the scrape; `global`'s when 0.
        #[serde(default)]
        pub body_size_limit: ByteSize,
        /// Signs requests for AWS (Signature Version 4); not together with another authentication.
        #[serde(default)]
        pub sigv4: Option<httpc::SigV4>,
        /// More samples after relabelling fail the scrape; `global`'s when 0.
        #[serde(default)]
        pub sample_limit: u64,
        /// More buckets in a native histogram: resolution is reduced until it fits; 0 is no limit.
        #[serde(default)]
        pub native_histogram_bucket_limit: u64,
        /// The least growth factor between buckets; resolution is reduced until it fits; 0 is no limit.
        #[serde(default)]
        pub native_histogram_min_bucket_factor: f64,
        /// More targets fail all of them; `global`'s when 0.
        #[serde(default)]
        pub target_limit: u64,
        /// More labels on a sample fail the scrape; `global`'s when 0.
        #[serde(default)]
        pub label_limit: u64,
        /// A longer label name fails the scrape; `global`'s when 0.
        #[serde(default)]
        pub label_name_length_limit: u64,
        /// A longer label value fails the scrape; `global`'s when 0.
        #[serde(default)]
        pub label_value_length_limit: u64,
        /// How many dropped targets are kept for display; `global`'s when 0.
        #[serde(default)]
        pub keep_dropped_targets: u64,
        /// Which names are valid; `global`'s when it is not given.
        #[serde(default)]
        pub metric_name_validation_scheme: Option<Validation>,
        /// How targets are asked to write other names; `global`'s when it is not given.
        #[serde(default)]
        pub metric_name_escaping_scheme: Option<Escaping>,
        /// Relabelling of targets.
        #[serde(default)]
        pub relabel_configs: RelabelRules,
        /// Relabelling of samples.
        #[serde(default)]
        pub metric_relabel_configs: RelabelRules,
    }
}

impl ScrapeConfig {
    /// A job with defaults and one static group: what `--scrape host:port` and in-process sources use.
    pub fn new(job_name: &str, targets: Vec<String>) -> Self {
        let mut config: Self =
            yaml::from_json(serde_json::json!({ "job_name": job_name })).expect("all fields have defaults");
        if !targets.is_empty() {
            config.static_configs.push(super::StaticConfig { targets, labels: BTreeMap::new() });
        }
        config
    }

    /// Fills in what `global` decides, and checks: for a job that stands in no file.
    ///
    /// # Errors
    /// The first thing that is wrong, with its field.
    pub fn inherit(&mut self, global: &Global) -> Result<(), String> {
        self.finish(global).map_err(|wrong| match wrong.field.as_str() {
            "" => wrong.message,
            field => format!("{field}: {}", wrong.message),
        })
    }

    /// Fills in what `global` decides, and checks.
    ///
    /// # Errors
    /// The first thing that is wrong, in Prometheus' words.
    pub(crate) fn finish(&mut self, global: &Global) -> Result<(), InvalidField> {
        let job = self.job_name.clone();
        let wrong = |field: &str, text: String| InvalidField::new(field, text);
        self.http().validate().map_err(|err| wrong("", err.to_string()))?;
        if let Some(sigv4) = &self.sigv4 {
            sigv4.validate().map_err(|err| wrong("sigv4", err.to_string()))?;
            if self.basic_auth.is_some() || self.authorization.is_some() || self.oauth2.is_some() {
                let text = "at most one of basic_auth, authorization, oauth2 & sigv4 must be configured";
                return Err(wrong("", text.to_owned()));
            }
        }
        self.check_discovery()?;
        if job.is_empty() {
            return Err(wrong("job_name", "job_name is empty".into()));
        }
        if self.scrape_interval.ms() == 0 {
            self.scrape_interval = global.scrape_interval;
        }
        if self.scrape_timeout > self.scrape_interval {
            return Err(wrong(
                "scrape_timeout",
                format!(
                    "scrape timeout greater than scrape interval for scrape config with job name {job:?}"
                ),
            ));
        }
        if self.scrape_timeout.ms() == 0 {
            self.scrape_timeout = global.scrape_timeout.min(self.scrape_interval);
        }
        for (own, inherited) in [
            (&mut self.sample_limit, global.sample_limit),
            (&mut self.target_limit, global.target_limit),
            (&mut self.label_limit, global.label_limit),
            (&mut self.label_name_length_limit, global.label_name_length_limit),
            (&mut self.label_value_length_limit, global.label_value_length_limit),
            (&mut self.keep_dropped_targets, global.keep_dropped_targets),
            (&mut self.body_size_limit.0, global.body_size_limit.0),
        ] {
            if *own == 0 {
                *own = inherited;
            }
        }
        if self.scrape_failure_log_file.as_deref().is_none_or(str::is_empty) {
            self.scrape_failure_log_file.clone_from(&global.scrape_failure_log_file);
        }
        let native =
            *self.scrape_native_histograms.get_or_insert(global.scrape_native_histograms.unwrap_or(false));
        self.always_scrape_classic_histograms.get_or_insert(global.always_scrape_classic_histograms);
        self.convert_classic_histograms_to_nhcb.get_or_insert(global.convert_classic_histograms_to_nhcb);
        self.extra_scrape_metrics.get_or_insert(global.extra_scrape_metrics.unwrap_or(false));
        if let Some(protocols) = &self.scrape_protocols {
            check_protocols(protocols).map_err(|text| {
                wrong("scrape_protocols", format!("{text} for scrape config with job name {job:?}"))
            })?;
        }
        if self.scrape_protocols.is_none() {
            let mut protocols = global.scrape_protocols.clone().unwrap_or_else(|| Protocol::DEFAULT.to_vec());
            if native && global.scrape_protocols.is_none() {
                protocols.insert(0, Protocol::PrometheusProto);
            }
            self.scrape_protocols = Some(protocols);
        }
        let validation = *self
            .metric_name_validation_scheme
            .get_or_insert(global.metric_name_validation_scheme.unwrap_or(Validation::Utf8));
        let default = match validation {
            Validation::Utf8 => Escaping::AllowUtf8,
            Validation::Legacy => Escaping::Underscores,
        };
        let escaping = *self
            .metric_name_escaping_scheme
            .get_or_insert(global.metric_name_escaping_scheme.unwrap_or(default));
        if escaping == Escaping::AllowUtf8 && validation != Validation::Utf8 {
            return Err(wrong(
                "metric_name_escaping_scheme",
                "utf8 metric names requested but validation scheme is not set to UTF8".into(),
            ));
        }
        if !matches!(self.scheme.as_str(), "http" | "https") {
            return Err(wrong("scheme", format!("scheme {:?} is neither http nor https", self.scheme)));
        }
        Ok(())
    }

    /// The formats asked for, the preferred one first.
    pub fn protocols(&self) -> &[Protocol] {
        self.scrape_protocols.as_deref().unwrap_or(&Protocol::DEFAULT)
    }
}
