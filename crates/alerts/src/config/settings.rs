//! The alert manager's part of the server's own configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::InvalidField;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::heartbeat::HeartbeatSettings;

/// The alert manager: routing, silences, notifications, history.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Alertmanager's configuration file. Without one, alerts are shown and recorded and nobody is told.
    pub config_file: Option<PathBuf>,
    /// The address in notifications under which people reach the alert manager, where it is not `web.external_url`.
    pub external_url: String,
    /// Expired silences and unused notification log entries are kept for so long.
    pub retention: PromDuration,
    /// How often resolved alerts, expired silences and old notification log entries are removed.
    pub gc_interval: PromDuration,
    /// So many alerts are held at most; further ones are refused and counted.
    pub max_alerts: usize,
    /// So many groups are held at most; alerts that would need another one are shown, but not notified, and counted.
    pub max_groups: usize,
    /// So many silences (expired ones included) are held at most.
    pub max_silences: usize,
    /// A silence larger than this many bytes is refused.
    pub max_silence_bytes: usize,
    /// A notification lists so many alerts at most and says how many more there are; firing ones come first.
    pub max_alerts_per_notification: usize,
    /// A notification that would list only a part of its alerts waits for as long as further ones pour into its group, at
    /// most so long after `group_wait` or `group_interval`; `0s` never waits.
    pub digest_wait: PromDuration,
    /// So many notifications are on their way at once at most; further ones wait.
    pub max_sending: usize,
    /// Programs that `exec_configs` may name.
    pub exec: BTreeMap<String, AllowedCommand>,
    /// The history of alerts.
    pub history: HistorySettings,
    /// Who outside gets a beat for as long as this monitor can do its work, and tells people when it stays away.
    pub heartbeats: Vec<HeartbeatSettings>,
}

/// A program that `exec_configs` may run. It gets the notification as JSON on standard input and never sees a shell.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AllowedCommand {
    /// Absolute path.
    pub program: PathBuf,
    /// Arguments before those of the receiver.
    pub args: Vec<String>,
}

/// What is kept of the past.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistorySettings {
    /// Events older than this are removed.
    pub retention: PromDuration,
    /// The oldest events are removed when there are more than this many.
    pub max_events: u64,
    /// When so many events wait for the disk, whoever brings more waits too, at most 5 s; with twice as many, further ones are
    /// dropped and counted.
    pub queue_length: usize,
    /// So many alerts are also stored as series (`bellwether_alert_since_seconds` and its kin) at most; 0 stores none.
    pub series: usize,
    /// How often they are stored.
    pub series_interval: PromDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config_file: None,
            external_url: String::new(),
            retention: PromDuration(120 * 3_600_000),
            gc_interval: PromDuration(15 * 60_000),
            max_alerts: 500_000,
            max_groups: 100_000,
            max_silences: 50_000,
            max_silence_bytes: 1 << 20,
            max_alerts_per_notification: 500,
            digest_wait: PromDuration(60_000),
            max_sending: 64,
            exec: BTreeMap::new(),
            history: HistorySettings::default(),
            heartbeats: Vec::new(),
        }
    }
}

impl Settings {
    /// Checks `external_url`.
    ///
    /// # Errors
    /// What it is instead of a URL.
    pub fn check(&self) -> Result<(), InvalidField> {
        match self.external_url.as_str() {
            "" => Ok(()),
            url => super::value::HttpUrl::try_from(url.to_owned())
                .map(drop)
                .map_err(|reason| InvalidField::new("alerts.external_url", reason)),
        }
    }
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            retention: PromDuration(90 * 86_400_000),
            max_events: 5_000_000,
            queue_length: 65_536,
            series: 10_000,
            series_interval: PromDuration(15_000),
        }
    }
}
