//! The watcher's configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use model::duration::PromDuration;
use serde::Deserialize;

use crate::telemetry::LogConfig;

/// Whom a webhook of the command line is told through.
const RECEIVER: &str = "watch";

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// Where heartbeats and `/status` are served.
    pub(super) listen_address: String,
    /// Folder of the watcher's own state: silences, notification log, history.
    pub(super) path: PathBuf,
    /// Alertmanager's configuration: whom to tell.
    pub(super) alertmanager_config: Option<PathBuf>,
    /// A webhook to tell; instead of a configuration.
    pub(super) webhook: Option<String>,
    /// How often targets are looked at.
    pub(super) interval: PromDuration,
    /// How long an answer may take; no longer than the interval.
    pub(super) timeout: PromDuration,
    /// So many looks in a row must fail before people are told.
    pub(super) failures: u32,
    /// A target whose rules were all last evaluated longer ago than this is down.
    pub(super) max_rule_age: PromDuration,
    /// What is watched.
    pub(super) targets: Vec<Target>,
    /// Heartbeats that are expected at `/beat/NAME`.
    pub(super) heartbeats: Vec<Heartbeat>,
    /// Logging.
    pub(super) log: LogConfig,
}

/// One instance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Target {
    /// In alerts; the URL when empty.
    pub(super) name: String,
    /// Such as `http://monitor.example.org:9090`.
    pub(super) url: String,
    /// HTTP client settings.
    pub(super) http_config: httpc::Config,
    /// Whether only `/-/healthy` is asked, as for an Alertmanager.
    pub(super) health_only: bool,
}

impl Target {
    /// An instance with nothing but a URL.
    pub(super) fn of(url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::default() }
    }
}

/// One expected heartbeat.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heartbeat {
    /// The last part of its path.
    pub(super) name: String,
    /// It may stay away for so long.
    #[serde(default = "Heartbeat::grace")]
    pub(super) grace: PromDuration,
}

impl Heartbeat {
    fn grace() -> PromDuration {
        PromDuration(120_000)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen_address: "127.0.0.1:9095".into(),
            path: "watch-data".into(),
            alertmanager_config: None,
            webhook: None,
            interval: PromDuration(15_000),
            timeout: PromDuration(10_000),
            failures: 3,
            max_rule_age: PromDuration(300_000),
            targets: Vec::new(),
            heartbeats: Vec::new(),
            log: LogConfig::default(),
        }
    }
}

impl Config {
    /// Reads a file; relative names inside it are relative to its folder.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut config: Self = yaml::read(&text).with_context(|| path.display().to_string())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if let Some(file) = &mut config.alertmanager_config {
            *file = folder.join(&*file);
        }
        for target in &mut config.targets {
            target.http_config.set_directory(folder);
        }
        Ok(config)
    }

    /// Checks what the types cannot, and names what has no name.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        if self.targets.is_empty() && self.heartbeats.is_empty() {
            bail!("nothing to watch: give URLs, or targets and heartbeats in --config.file");
        }
        if self.webhook.is_some() == self.alertmanager_config.is_some() {
            bail!("nobody to tell: give one of --webhook and alertmanager_config in --config.file");
        }
        if self.interval.ms() < 1000 || self.failures == 0 {
            bail!("interval must be at least 1s, and failures at least 1");
        }
        let mut names = BTreeSet::new();
        for target in &mut self.targets {
            httpc::Request::get(&target.url)?;
            if target.name.is_empty() {
                target.name.clone_from(&target.url);
            }
            if !names.insert(target.name.clone()) {
                bail!("target {:?} is not unique", target.name);
            }
            target.http_config.validate().with_context(|| format!("target {:?}", target.name))?;
        }
        let mut names = BTreeSet::new();
        for beat in &self.heartbeats {
            if beat.name.is_empty() || beat.name.contains('/') || !names.insert(&beat.name) {
                bail!("heartbeat {:?}: names must be unique, not empty and without \"/\"", beat.name);
            }
        }
        Ok(())
    }

    /// Whom to tell.
    pub(super) fn alerting(&self) -> anyhow::Result<alerts::Config> {
        match (&self.alertmanager_config, &self.webhook) {
            (Some(path), _) => Ok(alerts::Config::load_file(path)?),
            (None, webhook) => {
                let text = serde_json::json!({
                    "route": {
                        "receiver": RECEIVER, "group_by": ["alertname", "monitor"], "group_wait": "0s",
                        "group_interval": "30s", "repeat_interval": "1h",
                    },
                    "receivers": [{ "name": RECEIVER, "webhook_configs": [{ "url": webhook }] }],
                });
                alerts::Config::load(&text.to_string()).context("--webhook")
            }
        }
    }

    /// What is watched, in words.
    pub(super) fn words(&self) -> String {
        let mut words: Vec<String> = self.targets.iter().map(|target| target.name.clone()).collect();
        words.extend(self.heartbeats.iter().map(|beat| format!("heartbeat {}", beat.name)));
        format!("{} every {}", words.join(", "), self.interval)
    }
}
