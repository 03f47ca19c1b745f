//! Loading a whole `prometheus.yml`.

use std::fmt;
use std::path::{Path, PathBuf};

use httpc::config::httpc_yes;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use yaml::{Part, Spanned, Take};

use super::discovery::with_discovery_fields;
use super::global::{Global, OtlpConfig, Runtime, StorageConfig, TracingConfig};
use super::remote::{RemoteReadConfig, RemoteWriteConfig};
use super::scrape::ScrapeConfig;
use super::{InvalidField, RelabelRules, join};

/// Larger configuration files are refused.
const MAX_BYTES: u64 = 64 << 20;

/// Why a configuration file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, when it is known.
    pub line: Option<u64>,
    /// The column, from 1, when it is known.
    pub column: Option<u64>,
    /// The field's path, `""` for the file itself.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What a configuration is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    #[default]
    Server,
    /// Scrape and forward: no rules, no alerting, no remote read.
    Agent,
}

fn ten_seconds() -> PromDuration {
    PromDuration(10_000)
}

fn scheme() -> String {
    "http".into()
}

fn v2() -> String {
    "v2".into()
}

with_discovery_fields! {
    /// Alert managers to send alerts to.
    #[derive(PartialEq)]
    pub struct AlertmanagerConfig {
        /// `http` or `https`.
        #[serde(default = "scheme")]
        pub scheme: String,
        /// In front of the API's path.
        #[serde(default)]
        pub path_prefix: String,
        /// How long a request may take.
        #[serde(default = "ten_seconds")]
        pub timeout: PromDuration,
        /// `v2`.
        #[serde(default = "v2")]
        pub api_version: String,
        /// AWS signatures; parsed, not supported.
        #[serde(default)]
        pub sigv4: Option<serde_json::Value>,
        /// Relabelling of the alert managers.
        #[serde(default)]
        pub relabel_configs: RelabelRules,
        /// Relabelling of alerts for these alert managers.
        #[serde(default)]
        pub alert_relabel_configs: RelabelRules,
    }
}

/// Where alerts go besides our own alert manager.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertingConfig {
    /// Relabelling of alerts.
    pub alert_relabel_configs: RelabelRules,
    /// Alert managers.
    #[serde(deserialize_with = "super::no_null_alertmanager")]
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// A whole `prometheus.yml`: checked, with everything inherited filled in and file names made absolute or relative to the
/// working folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrometheusFile {
    /// `global`
    pub global: Global,
    /// `runtime`
    pub runtime: Runtime,
    /// `scrape_configs` and those of `scrape_config_files`.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// `scrape_config_files`
    pub scrape_config_files: Vec<String>,
    /// `rule_files`: paths, the last part may hold `*`.
    pub rule_files: Vec<String>,
    /// `alerting`
    pub alerting: AlertingConfig,
    /// `remote_write`
    pub remote_write: Vec<RemoteWriteConfig>,
    /// `remote_read`
    pub remote_read: Vec<RemoteReadConfig>,
    /// `storage`
    pub storage: StorageConfig,
    /// `tracing`
    pub tracing: Option<TracingConfig>,
    /// `otlp`
    pub otlp: OtlpConfig,
}

/// The file as written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    global: Option<Global>,
    runtime: Option<Runtime>,
    #[serde(deserialize_with = "super::no_null_scrape")]
    scrape_configs: Vec<Spanned<ScrapeConfig>>,
    scrape_config_files: Option<Vec<String>>,
    rule_files: Option<Vec<String>>,
    alerting: Option<AlertingConfig>,
    #[serde(deserialize_with = "super::no_null_write")]
    remote_write: Vec<Spanned<RemoteWriteConfig>>,
    #[serde(deserialize_with = "super::no_null_read")]
    remote_read: Vec<Spanned<RemoteReadConfig>>,
    storage: Option<StorageConfig>,
    tracing: Option<TracingConfig>,
    otlp: Option<OtlpConfig>,
}

/// A file of `scrape_config_files`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawScrapes {
    #[serde(deserialize_with = "super::no_null_scrape")]
    scrape_configs: Vec<Spanned<ScrapeConfig>>,
}

/// Every section is one of Prometheus'.
fn all(_: &[&str]) -> Result<Take, String> {
    Ok(Take::Whole)
}

struct At<'a> {
    file: &'a Path,
    text: &'a str,
}

impl At<'_> {
    fn error(&self, wrong: InvalidField, place: Option<yaml::Location>) -> ConfigError {
        // The field itself where the text has it, else the section that is known.
        let field = || yaml::place(self.text, &wrong.field);
        let known = || place.filter(|p| p.line() > 0).map(|p| (p.line(), p.column()));
        let at = if wrong.field.is_empty() { known() } else { field().or_else(known) };
        ConfigError {
            file: self.file.to_owned(),
            line: at.map(|(line, _)| line),
            column: at.map(|(_, column)| column),
            field: wrong.field,
            message: wrong.message,
        }
    }

    fn parse<T: DeserializeOwned>(&self, part: &Part<'_>) -> Result<T, ConfigError> {
        yaml::read_part(self.text, part).map_err(|err| ConfigError {
            file: self.file.to_owned(),
            line: err.at.map(|(line, _)| line),
            column: err.at.map(|(_, column)| column),
            field: err.field,
            message: err.message,
        })
    }
}

impl PrometheusFile {
    /// Reads and checks a file and the `scrape_config_files` that it names. Blocks.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and field.
    pub fn load(path: &Path, mode: Mode) -> Result<Self, ConfigError> {
        let text = read(path)?;
        Self::parse(&text, path, mode)
    }

    /// Checks a text that stands for the file `path`; reads the `scrape_config_files` that it names.
    ///
    /// # Errors
    /// As [`PrometheusFile::load`].
    pub fn parse(text: &str, path: &Path, mode: Mode) -> Result<Self, ConfigError> {
        Self::parse_with(text, path, mode, &all, |_| Ok(()))
    }

    /// The names of the sections.
    pub fn sections() -> &'static [&'static str] {
        yaml::fields::<Raw>()
    }

    /// As [`PrometheusFile::parse`], of a file that has sections of others too: `part` says which are read here. `amend`
    /// changes the global section as written, before anything is inherited from it.
    ///
    /// # Errors
    /// As [`PrometheusFile::load`], or what `amend` says.
    pub fn parse_with<E: From<ConfigError>>(
        text: &str,
        path: &Path,
        mode: Mode,
        part: &Part<'_>,
        amend: impl FnOnce(&mut Global) -> Result<(), E>,
    ) -> Result<Self, E> {
        let at = At { file: path, text };
        let mut raw: Raw = at.parse(part)?;
        amend(raw.global.get_or_insert_default())?;
        Ok(Self::finish(raw, &at, mode)?)
    }

    fn finish(raw: Raw, at: &At<'_>, mode: Mode) -> Result<Self, ConfigError> {
        let folder = at.file.parent().unwrap_or(Path::new(""));
        let plain = |wrong: InvalidField| at.error(wrong, None);
        let mut global = raw.global.unwrap_or_default();
        // The environment is part of the configuration's source, like the file.
        global.finish(&|name| std::env::var(name).ok()).map_err(plain)?;
        for file in [&mut global.query_log_file, &mut global.scrape_failure_log_file].into_iter().flatten() {
            *file = join(folder, file);
        }
        let mut out = Self {
            runtime: raw.runtime.unwrap_or_default(),
            alerting: raw.alerting.unwrap_or_default(),
            storage: raw.storage.unwrap_or_default(),
            tracing: raw.tracing,
            otlp: raw.otlp.unwrap_or_default(),
            ..Self::default()
        };
        for pattern in raw.rule_files.unwrap_or_default() {
            if !is_file_pattern(&pattern) {
                return Err(plain(InvalidField::new(
                    "rule_files",
                    format!("invalid rule file path {pattern:?}"),
                )));
            }
            out.rule_files.push(join(folder, &pattern));
        }
        for pattern in raw.scrape_config_files.unwrap_or_default() {
            if !is_file_pattern(&pattern) {
                let text = format!("invalid scrape config file path {pattern:?}");
                return Err(plain(InvalidField::new("scrape_config_files", text)));
            }
            out.scrape_config_files.push(join(folder, &pattern));
        }
        let mut jobs = std::collections::BTreeSet::new();
        let mut add = |at: &At<'_>, folder: &Path, list: Vec<Spanned<ScrapeConfig>>| {
            let mut done = Vec::with_capacity(list.len());
            for (index, entry) in list.into_iter().enumerate() {
                let place = Some(entry.referenced);
                let mut config = entry.value;
                // What is inherited has its folder already.
                if let Some(file) = &mut config.scrape_failure_log_file {
                    *file = join(folder, file);
                }
                config
                    .finish(&global)
                    .map_err(|wrong| at.error(wrong.item("scrape_configs", index), place))?;
                if !jobs.insert(config.job_name.clone()) {
                    let text = format!("found multiple scrape configs with job name {:?}", config.job_name);
                    let wrong = InvalidField::new("job_name", text);
                    return Err(at.error(wrong.item("scrape_configs", index), place));
                }
                config.set_directory(folder);
                done.push(config);
            }
            Ok(done)
        };
        out.scrape_configs = add(at, folder, raw.scrape_configs)?;
        for pattern in &out.scrape_config_files {
            let files = crate::discovery::file::matching(pattern).map_err(|err| {
                plain(InvalidField::new("scrape_config_files", format!("cannot list {pattern:?}: {err}")))
            })?;
            for file in files {
                let at = At { file: &file, text: &read(&file)? };
                let raw: RawScrapes = at.parse(&all)?;
                let folder = file.parent().unwrap_or(Path::new(""));
                out.scrape_configs.extend(add(&at, folder, raw.scrape_configs)?);
            }
        }
        for (index, entry) in raw.remote_write.into_iter().enumerate() {
            let place = Some(entry.referenced);
            let mut config = entry.value;
            config.check().map_err(|wrong| at.error(wrong.item("remote_write", index), place))?;
            let mut http = config.http();
            http.set_directory(folder);
            config.set_http(http);
            out.remote_write.push(config);
        }
        for (index, entry) in raw.remote_read.into_iter().enumerate() {
            let place = Some(entry.referenced);
            let mut config = entry.value;
            config.check().map_err(|wrong| at.error(wrong.item("remote_read", index), place))?;
            let mut http = config.http();
            http.set_directory(folder);
            config.set_http(http);
            out.remote_read.push(config);
        }
        check_unique(at, "remote_write", out.remote_write.iter().map(|c| &c.name))?;
        check_unique(at, "remote_read", out.remote_read.iter().map(|c| &c.name))?;
        for (index, config) in out.alerting.alertmanagers.iter_mut().enumerate() {
            let section = "alerting.alertmanagers";
            let checked = config
                .http()
                .validate()
                .map_err(|err| InvalidField::new("", err.to_string()))
                .and_then(|()| config.check_discovery())
                .and_then(|()| match config.api_version.as_str() {
                    "v2" => Ok(()),
                    other => Err(InvalidField::new(
                        "api_version",
                        format!("expected Alertmanager api version to be one of [v2] but got {other}"),
                    )),
                });
            checked.map_err(|wrong| plain(wrong.item(section, index)))?;
            config.set_directory(folder);
        }
        out.storage.check().map_err(plain)?;
        if let Some(tracing) = &out.tracing {
            tracing.check().map_err(plain)?;
        }
        out.otlp.finish(global.metric_name_validation_scheme).map_err(plain)?;
        out.global = global;
        if mode == Mode::Agent {
            out.check_agent().map_err(plain)?;
        }
        Ok(out)
    }

    fn check_agent(&self) -> Result<(), InvalidField> {
        let not_allowed =
            |field: &str| InvalidField::new(field, format!("field {field} is not allowed in agent mode"));
        if !self.alerting.alertmanagers.is_empty() || !self.alerting.alert_relabel_configs.0.is_empty() {
            return Err(not_allowed("alerting"));
        }
        if !self.rule_files.is_empty() {
            return Err(not_allowed("rule_files"));
        }
        if !self.remote_read.is_empty() {
            return Err(not_allowed("remote_read"));
        }
        Ok(())
    }

    /// Mechanisms that are configured but not supported: job (or `alerting`) and section, for a warning each.
    pub fn unsupported(&self) -> Vec<(String, &'static str)> {
        let scrapes = self.scrape_configs.iter().map(|c| (c.job_name.clone(), c.discovery().unsupported));
        let managers =
            self.alerting.alertmanagers.iter().map(|c| ("alerting".to_owned(), c.discovery().unsupported));
        scrapes
            .chain(managers)
            .flat_map(|(name, list)| list.into_iter().map(move |s| (name.clone(), s)))
            .collect()
    }
}

fn check_unique<'a>(
    at: &At<'_>,
    section: &str,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), ConfigError> {
    let mut seen = std::collections::BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !name.is_empty() && !seen.insert(name) {
            let text = format!("found multiple {} configs with job name {name:?}", section.replace('_', " "));
            return Err(at.error(InvalidField::new("name", text).item(section, index), None));
        }
    }
    Ok(())
}

/// Only the last part of a path may hold a `*`.
fn is_file_pattern(path: &str) -> bool {
    match path.split_once('*') {
        None => true,
        Some((_, rest)) => !rest.contains('/') && !rest.contains('*'),
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read;
    let fail = |message: String| ConfigError {
        file: path.to_owned(),
        line: None,
        column: None,
        field: String::new(),
        message,
    };
    let file = std::fs::File::open(path).map_err(|err| fail(format!("cannot open the file: {err}")))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|err| fail(format!("cannot read the file: {err}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(fail(format!("the file is larger than {MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|err| fail(format!("the file is not UTF-8: {err}")))
}
