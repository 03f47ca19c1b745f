//! `prometheus.yml`, typed: every section and field of Prometheus 3, its defaults, inheritance and validation.
//!
//! [`PrometheusFile::load`] reads a file and the `scrape_config_files` it names; an error names file, line, field and what
//! is wrong, in Prometheus' words where it has some. A null list or section means the same as an absent one, as in Go's YAML; a null
//! text is an error.
//! Source: the Prometheus manual, "Configuration".

mod discovery;
mod file;
mod global;
mod remote;
mod scrape;
#[cfg(test)]
mod tests;
mod units;

pub(crate) use discovery::http_part;
pub use discovery::{
    AgentSdConfig, Discovery, DnsSdConfig, DnsType, FileSdConfig, HttpSdConfig, OtherSdConfig, StaticConfig,
};
pub use file::{AlertingConfig, AlertmanagerConfig, ConfigError, Mode, PrometheusFile};
pub use global::{Escaping, Global, OtlpConfig, Runtime, StorageConfig, TracingConfig, Validation};
pub use remote::{MetadataConfig, QueueConfig, RemoteReadConfig, RemoteWriteConfig};
pub use scrape::{Protocol, ScrapeConfig};
pub use units::ByteSize;

pub(crate) use model::InvalidField;
use model::relabel;
use serde::Deserialize;

/// Relabelling rules, checked.
#[derive(Clone, Debug, Default)]
pub struct RelabelRules(pub Vec<relabel::Rule>);

impl RelabelRules {
    /// What they were made from.
    pub fn configs(&self) -> impl Iterator<Item = &relabel::Config> {
        self.0.iter().map(relabel::Rule::config)
    }
}

impl PartialEq for RelabelRules {
    fn eq(&self, other: &Self) -> bool {
        self.configs().eq(other.configs())
    }
}

/// A rule as written: a null regex is no regex, a null action is an error.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRule {
    source_labels: Vec<String>,
    separator: Option<String>,
    regex: Option<String>,
    modulus: Option<u64>,
    target_label: Option<String>,
    replacement: Option<String>,
    #[serde(deserialize_with = "some_action")]
    action: Option<String>,
}

fn some_action<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let action = Option::<String>::deserialize(deserializer)?;
    match action {
        Some(action) if !action.is_empty() => Ok(Some(action)),
        _ => Err(serde::de::Error::custom("relabel action cannot be empty")),
    }
}

/// One rule, checked where it stands.
struct Checked(relabel::Rule);

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let rule = RawRule::deserialize(deserializer)?;
        let defaults = relabel::Config::default();
        let action = match rule.action {
            None => defaults.action,
            Some(text) => {
                let text = serde_json::Value::String(text.to_lowercase());
                serde_json::from_value(text.clone())
                    .map_err(|_| D::Error::custom(format!("unknown relabel action {text}")))?
            }
        };
        let config = relabel::Config {
            source_labels: rule.source_labels,
            separator: rule.separator.unwrap_or(defaults.separator),
            regex: rule.regex.unwrap_or(defaults.regex),
            modulus: rule.modulus.unwrap_or(defaults.modulus),
            target_label: rule.target_label.unwrap_or(defaults.target_label),
            replacement: rule.replacement.unwrap_or(defaults.replacement),
            action,
        };
        relabel::Rule::new(config).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for RelabelRules {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rules = entries::<D, Checked>(deserializer, "empty or null target relabeling rule")?;
        Ok(Self(rules.into_iter().map(|rule| rule.0).collect()))
    }
}

impl schemars::JsonSchema for RelabelRules {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RelabelRules".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        <Vec<relabel::Config>>::json_schema(generator)
    }
}

/// Reads a list in which no entry may be null.
fn entries<'de, D, T>(deserializer: D, message: &'static str) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Visitor<T>(&'static str, std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }
        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }
        fn visit_none<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }
        fn visit_some<D: serde::Deserializer<'de>>(self, d: D) -> Result<Vec<T>, D::Error> {
            d.deserialize_seq(self)
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut out = Vec::new();
            while let Some(entry) = seq.next_element::<Option<T>>()? {
                out.push(entry.ok_or_else(|| serde::de::Error::custom(self.0))?);
            }
            Ok(out)
        }
    }
    deserializer.deserialize_option(Visitor(message, std::marker::PhantomData))
}

/// Defines `deserialize_with` functions over [`entries`].
macro_rules! entries_fn {
    ($($name:ident: $message:literal;)*) => {$(
        pub(crate) fn $name<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
        where
            D: serde::Deserializer<'de>,
            T: serde::Deserialize<'de>,
        {
            entries(deserializer, $message)
        }
    )*};
}

entries_fn! {
    no_null_scrape: "empty or null scrape config section";
    no_null_static: "empty or null section in static_configs";
    no_null_sd: "empty or null section in a list of service discoveries";
    no_null_write: "empty or null remote write config section";
    no_null_read: "empty or null remote read config section";
    no_null_alertmanager: "empty or null alertmanager config section";
}

/// Relative file names are relative to the folder of the configuration file.
pub(crate) fn join(folder: &std::path::Path, path: &str) -> String {
    if path.is_empty() || std::path::Path::new(path).is_absolute() {
        return path.to_owned();
    }
    folder.join(path).to_string_lossy().into_owned()
}
