//! Alertmanager's configuration file, typed, with its validation; and the server's own settings.
//!
//! Source: the Alertmanager manual, "Configuration". A file that Alertmanager 0.34 accepts loads unchanged. Sections
//! that only Bellwether has (`twilio_configs`, `ntfy_configs`, `googlechat_configs`, `snmptrap_configs`,
//! `exec_configs`) stand beside its own.

pub mod global;
pub mod receiver;
pub mod route;
mod section;
pub mod settings;
pub mod value;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use model::InvalidField;
use serde::Deserialize;

pub use global::Global;
pub use receiver::Receiver;
pub use route::{InhibitRule, NamedIntervals, Route};
pub use settings::{AllowedCommand, Settings};
use value::nullable;

use crate::error::Error;
use crate::timeinterval::TimeInterval;

/// The receiver of the configuration that is used when no file is given: it records and tells nobody.
pub const RECORD_ONLY: &str = "record-only";

/// The whole file, checked.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Defaults of receivers.
    pub global: Global,
    /// Globs of template files.
    pub templates: Vec<PathBuf>,
    /// The root of the routing tree.
    pub route: Route,
    /// Inhibition rules.
    pub inhibit_rules: Vec<InhibitRule>,
    /// Receivers; what they take from `global` is filled in.
    pub receivers: Vec<Receiver>,
    /// Named intervals of both sections.
    pub time_intervals: Vec<NamedIntervals>,
    /// Templates that are not in files: a name and definitions.
    pub template_texts: Vec<(String, String)>,
    /// The text, for the status page, with its secrets.
    original: String,
    /// Where the text is from, when it is a file.
    path: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    global: Option<Global>,
    #[serde(default, deserialize_with = "nullable")]
    templates: Vec<PathBuf>,
    #[serde(default)]
    route: Option<Route>,
    #[serde(default, deserialize_with = "nullable")]
    inhibit_rules: Vec<InhibitRule>,
    #[serde(default, deserialize_with = "nullable")]
    receivers: Vec<Receiver>,
    #[serde(default, deserialize_with = "nullable")]
    mute_time_intervals: Vec<NamedIntervals>,
    #[serde(default, deserialize_with = "nullable")]
    time_intervals: Vec<NamedIntervals>,
    /// Accepted so that the file loads; traces are the server's business.
    #[serde(default)]
    #[allow(dead_code, reason = "Alertmanager's own tracing has no counterpart here")]
    tracing: Option<serde_json::Value>,
}

impl Config {
    /// Reads and checks the text of a file. Relative file names stay as they are.
    ///
    /// # Errors
    /// `Config` names the line, the column and what is wrong.
    pub fn load(text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Err(Error::config("no route provided in config"));
        }
        let file: File = yaml::read(text).map_err(|wrong| Error::Config {
            path: None,
            at: wrong.at,
            reason: wrong.of_field(),
        })?;
        Self::check(file, text).map_err(|wrong| Error::Config {
            path: None,
            at: yaml::place(text, &wrong.field),
            reason: wrong.message,
        })
    }

    /// Reads a file; relative names inside it are relative to its folder.
    ///
    /// # Errors
    /// `File` when it cannot be read, `Config` as [`Config::load`], with the file's name.
    pub fn load_file(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File {
            what: "configuration",
            path: path.to_owned(),
            source,
        })?;
        let loaded = Self::load_in(&text, path.parent().unwrap_or(Path::new("")));
        let mut config = loaded.map_err(|err| err.in_file(path))?;
        config.path = Some(path.to_owned());
        Ok(config)
    }

    /// Reads and checks a text; relative names inside it are relative to `folder`.
    ///
    /// # Errors
    /// `Config` as [`Config::load`].
    pub fn load_in(text: &str, folder: &Path) -> Result<Self, Error> {
        let mut config = Self::load(text)?;
        config.set_directory(folder);
        Ok(config)
    }

    /// What is used when no file is given: alerts are grouped by `alertname`, shown and recorded, and nobody is told.
    pub fn record_only() -> Self {
        let route = Route {
            receiver: RECORD_ONLY.into(),
            group_by: Some(vec!["alertname".into()]),
            ..Route::default()
        };
        let receiver = Receiver { name: RECORD_ONLY.into(), ..Receiver::default() };
        let original = format!(
            "# no configuration file: alerts are shown and recorded, nobody is told\nroute:\n  receiver: {RECORD_ONLY}\n  group_by: [alertname]\nreceivers:\n  - name: {RECORD_ONLY}\n"
        );
        Self { route, receivers: vec![receiver], original, ..Self::default() }
    }

    fn check(file: File, text: &str) -> Result<Self, InvalidField> {
        let mut config = Self {
            global: file.global.unwrap_or_default(),
            templates: file.templates,
            route: Route::default(),
            inhibit_rules: file.inhibit_rules,
            receivers: file.receivers,
            time_intervals: file.mute_time_intervals,
            template_texts: Vec::new(),
            original: text.to_owned(),
            path: None,
        };
        let global = |wrong: InvalidField| wrong.within("global");
        config.global.check().map_err(|err| global(err.into()))?;
        if let Some(http) = &config.global.http_config {
            http.validate().map_err(|err| {
                global(InvalidField::from(format!("global.http_config: {err}")).within("http_config"))
            })?;
        }
        let mut names = BTreeSet::new();
        for (index, receiver) in config.receivers.iter_mut().enumerate() {
            let here = |wrong: InvalidField| wrong.item("receivers", index);
            if receiver.name.is_empty() {
                return Err(here("missing name in receiver".into()));
            }
            if !names.insert(receiver.name.clone()) {
                let text = format!("notification config name {:?} is not unique", receiver.name);
                return Err(here(InvalidField::from(text).within("name")));
            }
            let name = receiver.name.clone();
            let (mut before, mut number) = ("", 0);
            for (section, settings) in receiver.sections() {
                number = if section == before { number + 1 } else { 0 };
                before = section;
                let within = |err: String| {
                    here(
                        InvalidField::from(format!("receiver {name:?}, {section}: {err}"))
                            .item(section, number),
                    )
                };
                settings.check().map_err(within)?;
                settings.fill(&config.global).map_err(within)?;
                if let Some(http) = settings.http() {
                    let http =
                        http.get_or_insert_with(|| config.global.http_config.clone().unwrap_or_default());
                    http.validate().map_err(|err| within(err.to_string()))?;
                }
            }
        }
        let route = file.route.ok_or("no route provided in config")?;
        let root = |wrong: InvalidField| wrong.within("route");
        root_route(&route).map_err(root)?;
        route.check().map_err(root)?;
        for (index, rule) in config.inhibit_rules.iter().enumerate() {
            rule.check().map_err(|err| InvalidField::from(err).item("inhibit_rules", index))?;
        }
        let old = config.time_intervals.len();
        config.time_intervals.extend(file.time_intervals);
        let mut intervals = BTreeSet::new();
        for (index, named) in config.time_intervals.iter().enumerate() {
            let here = |wrong: InvalidField| match index.checked_sub(old) {
                None => wrong.item("mute_time_intervals", index),
                Some(index) => wrong.item("time_intervals", index),
            };
            if named.name.is_empty() {
                return Err(here("missing name in time interval".into()));
            }
            if !intervals.insert(named.name.as_str()) {
                let text = format!("time interval {:?} is not unique", named.name);
                return Err(here(InvalidField::from(text).within("name")));
            }
        }
        let names = names.iter().map(String::as_str).collect();
        route.check_names(&names, &intervals).map_err(root)?;
        drop(intervals);
        config.route = route;
        Ok(config)
    }

    fn set_directory(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() && path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        self.templates.iter_mut().for_each(join);
        self.global.files().into_iter().for_each(join);
        if let Some(http) = &mut self.global.http_config {
            http.set_directory(folder);
        }
        for receiver in &mut self.receivers {
            for (_, section) in receiver.sections() {
                section.files().into_iter().for_each(join);
                if let Some(Some(http)) = section.http() {
                    http.set_directory(folder);
                }
            }
        }
    }

    /// The intervals of a name.
    pub fn intervals(&self, name: &str) -> Option<&[TimeInterval]> {
        self.time_intervals
            .iter()
            .find(|named| named.name == name)
            .map(|named| named.time_intervals.as_slice())
    }

    /// What is found wrong with a field once the file is read, with the place of its value.
    pub(crate) fn wrong(&self, wrong: InvalidField) -> Error {
        let at = self.path.as_ref().and_then(|_| yaml::place(&self.original, &wrong.field));
        let reason = if at.is_some() { wrong.message } else { wrong.to_string() };
        Error::Config { path: self.path.clone(), at, reason }
    }

    /// The file's text, with its secrets.
    pub fn original(&self) -> &str {
        &self.original
    }

    /// The file as YAML with every secret replaced by `<secret>`.
    pub fn shown(&self) -> String {
        let mut tree: serde_json::Value = match yaml::read(&self.original) {
            Ok(tree) => tree,
            Err(err) => return format!("# cannot be shown: {err}\n"),
        };
        hide_secrets(&mut tree);
        yaml::write(&tree).unwrap_or_else(|err| format!("# cannot be shown: {err}\n"))
    }
}

/// What the root of the routing tree must and must not say.
fn root_route(route: &Route) -> Result<(), InvalidField> {
    if route.receiver.is_empty() {
        return Err("root route must specify a default receiver".into());
    }
    if !route.equal.is_empty() || !route.pattern.is_empty() || !route.matchers.is_empty() {
        return Err("root route must not have any matchers".into());
    }
    if !route.mute_time_intervals.is_empty() {
        return Err("root route must not have any mute time intervals".into());
    }
    if !route.active_time_intervals.is_empty() {
        return Err("root route must not have any active time intervals".into());
    }
    if route.goes_on {
        return Err("cannot have continue in root route".into());
    }
    Ok(())
}

/// Fields whose values are not shown.
const HIDDEN_FIELDS: [&str; 37] = [
    "url",
    "proxy_url",
    "secrets",
    "proxy_connect_header",
    "key",
    "smtp_auth_password",
    "smtp_auth_secret",
    "auth_password",
    "auth_secret",
    "slack_api_url",
    "slack_app_token",
    "app_token",
    "api_url",
    "webhook_url",
    "mattermost_webhook_url",
    "opsgenie_api_key",
    "api_key",
    "victorops_api_key",
    "wechat_api_secret",
    "api_secret",
    "telegram_bot_token",
    "bot_token",
    "rocketchat_token",
    "rocketchat_token_id",
    "token",
    "token_id",
    "routing_key",
    "service_key",
    "user_key",
    "secret_key",
    "alert_source_token",
    "password",
    "credentials",
    "client_secret",
    "bearer_token",
    "auth_token",
    "community",
];

/// What stands for a secret where a configuration is shown.
pub const HIDDEN: &str = httpc::secret::HIDDEN;

/// Replaces texts below secret fields. A webhook's `url` is a secret too, and so is what a proxy's URL may carry.
pub fn hide_secrets(tree: &mut serde_json::Value) {
    match tree {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                if HIDDEN_FIELDS.contains(&name.as_str()) { hide_all(value) } else { hide_secrets(value) }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

fn hide_all(tree: &mut serde_json::Value) {
    match tree {
        serde_json::Value::Object(map) => map.values_mut().for_each(hide_all),
        serde_json::Value::Array(items) => items.iter_mut().for_each(hide_all),
        serde_json::Value::Null => {}
        other => *other = httpc::secret::HIDDEN.into(),
    }
}
