//! What changes while the server runs and the API shows: the configuration in force, and notifications about the server itself.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Clock, Labels, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use sources::config::ScrapeConfig;
use tokio::sync::broadcast;

/// The notification about a configuration that was refused, in Prometheus' words.
pub const RELOAD_FAILED: &str = "Configuration reload has failed.";
/// The notification about the end of the server.
pub(crate) const SHUTTING_DOWN: &str = "Bellwether is shutting down and gracefully stopping all operations.";

/// Most notifications that are kept; there are as many as reasons.
const MAX_NOTIFICATIONS: usize = 32;
/// Most notifications that a slow follower may lag behind.
const BACKLOG: usize = 32;

/// The parts of the configuration that the API shows or needs.
#[derive(Clone, Debug, Default)]
pub struct LiveConfig {
    /// The file's text.
    pub text: String,
    /// `global.external_labels`
    pub external_labels: Labels,
    /// What is scraped.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// Where people reach the server, without a slash at the end.
    pub external_url: String,
    /// When it was read.
    pub loaded_at: Timestamp,
}

/// Something that the operator should know about the server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notification {
    /// What.
    pub text: String,
    /// Since when, RFC 3339.
    pub date: String,
    /// Whether it still holds.
    pub active: bool,
}

/// The configuration in force and the notifications.
pub struct Live {
    config: RwLock<Arc<LiveConfig>>,
    reload_succeeded: Mutex<bool>,
    notifications: Mutex<VecDeque<Notification>>,
    sender: broadcast::Sender<Notification>,
    clock: Arc<dyn Clock>,
}

impl Live {
    /// The configuration that the server starts with.
    pub fn new(config: LiveConfig, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            config: RwLock::new(Arc::new(config)),
            reload_succeeded: Mutex::new(true),
            notifications: Mutex::default(),
            sender: broadcast::channel(BACKLOG).0,
            clock,
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<LiveConfig> {
        Arc::clone(&self.config.read())
    }

    /// A reload put another configuration in force, or failed (`None`).
    pub fn reloaded(&self, config: Option<LiveConfig>) {
        *self.reload_succeeded.lock() = config.is_some();
        match config {
            Some(config) => {
                *self.config.write() = Arc::new(config);
                self.withdraw(RELOAD_FAILED);
            }
            None => self.notify(RELOAD_FAILED),
        }
    }

    pub(crate) fn reload_succeeded(&self) -> bool {
        *self.reload_succeeded.lock()
    }

    /// Says something, or says it again with a new date.
    pub fn notify(&self, text: &str) {
        let date = rfc3339(self.clock.now());
        let notification = Notification { text: text.to_owned(), date, active: true };
        let mut all = self.notifications.lock();
        all.retain(|one| one.text != text);
        if all.len() >= MAX_NOTIFICATIONS {
            all.pop_front();
        }
        all.push_back(notification.clone());
        // Nobody need follow.
        drop(self.sender.send(notification));
    }

    /// It does not hold any more.
    pub fn withdraw(&self, text: &str) {
        let mut all = self.notifications.lock();
        if let Some(at) = all.iter().position(|one| one.text == text)
            && let Some(one) = all.remove(at)
        {
            drop(self.sender.send(Notification { active: false, ..one }));
        }
    }

    pub(crate) fn notifications(&self) -> Vec<Notification> {
        self.notifications.lock().iter().cloned().collect()
    }

    /// What holds now, and what comes.
    pub(crate) fn follow(&self) -> (Vec<Notification>, broadcast::Receiver<Notification>) {
        let all = self.notifications.lock();
        (all.iter().cloned().collect(), self.sender.subscribe())
    }
}

/// A time as Go writes it in JSON.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.ms()).map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_reload_is_told_until_one_succeeds() {
        let live = Live::new(LiveConfig::default(), Arc::new(model::time::SystemClock));
        let (now, mut receiver) = live.follow();
        assert!(now.is_empty() && live.reload_succeeded());
        live.reloaded(None);
        live.reloaded(None);
        assert_eq!(live.notifications().len(), 1);
        assert!(receiver.try_recv().unwrap().active && !live.reload_succeeded());
        live.reloaded(Some(LiveConfig { text: "new".to_owned(), ..LiveConfig::default() }));
        assert!(live.notifications().is_empty());
        assert!(receiver.try_recv().unwrap().active);
        assert!(!receiver.try_recv().unwrap().active);
        assert_eq!(live.config().text, "new");
    }
}
