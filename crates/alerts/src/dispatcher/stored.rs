//! What a restart must find: active alerts, silences and the notification log in the state store.

use futures_util::future::join_all;
use model::seam::{Expect, StateStore};
use model::{Alert, Labels, SeamError, Timestamp};
use serde::{Deserialize, Serialize};

use super::Inner;
use crate::error::Error;
use crate::nflog::Entry;
use crate::notify::cooldown;
use crate::silence::Silence;
use crate::store::Key;

/// So many alerts share one request to the state store.
const STORED_AT_ONCE: usize = 500;
pub(super) const ALERTS: &str = "alerts";
pub(super) const SILENCES: &str = "silences";
pub(super) const NFLOG: &str = "nflog";

/// An active alert as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredAlert {
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
    pub(super) starts_at: Timestamp,
    pub(super) ends_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) generator_url: String,
    pub(super) resolved: bool,
}

impl Inner {
    /// Removes what is too old from memory and store.
    pub(super) async fn collect(&self, now: Timestamp) {
        let (alerts, silences, entries) = {
            let mut core = self.core();
            let alerts = core.collect_alerts(now);
            let silences = core.silences.collectable(now, self.settings.retention.ms());
            core.silences.remove(&silences);
            let entries = core.nflog.collectable(now);
            core.nflog.remove(&entries);
            (alerts, silences, entries)
        };
        let alerts: Vec<String> = alerts.iter().map(Key::to_string).collect();
        let runs = cooldown::over(&*self.state, now).await.unwrap_or_else(|err| {
            self.checked::<()>(cooldown::BUCKET, Err(err));
            vec![]
        });
        let gone = [(ALERTS, alerts), (SILENCES, silences), (NFLOG, entries), (cooldown::BUCKET, runs)];
        for (bucket, keys) in gone {
            for keys in keys.chunks(STORED_AT_ONCE) {
                let entries: Vec<_> = keys.iter().map(|key| (key.clone(), None)).collect();
                self.checked(bucket, self.state.put_all(bucket, &entries).await);
            }
        }
        self.gauges();
    }

    fn checked<T>(&self, bucket: &str, result: Result<T, SeamError>) {
        if let Err(err) = result {
            self.metrics.state_failures.inc();
            tracing::error!(bucket, error = err.chain(), "the state store failed; going on without it");
        }
    }

    /// All requests at once, so that they share a commit.
    pub(super) async fn store_alerts(&self, alerts: Vec<(String, Option<Vec<u8>>)>) {
        let requests = alerts.chunks(STORED_AT_ONCE).map(|alerts| self.state.put_all(ALERTS, alerts));
        for result in join_all(requests).await {
            self.checked(ALERTS, result);
        }
    }

    /// Memory first: when the store is down the log in memory still prevents duplicates.
    pub(super) async fn store_entry(&self, key: &str, entry: &Entry) {
        self.core().nflog.put(entry.clone());
        match serde_json::to_vec(entry) {
            Ok(value) => self.checked(NFLOG, self.state.put(NFLOG, key, &value, Expect::Any).await),
            Err(err) => tracing::error!(error = %err, "a notification log entry cannot be written as JSON"),
        }
    }

    pub(super) async fn store_silences(&self, silences: &[Silence]) -> Result<(), Error> {
        let entries: Vec<_> = silences
            .iter()
            .map(|silence| Ok((silence.id.clone(), Some(serde_json::to_vec(silence)?))))
            .collect::<Result<_, serde_json::Error>>()
            .map_err(|err| Error::Invalid(err.to_string()))?;
        self.state
            .put_all(SILENCES, &entries)
            .await
            .map_err(|source| Error::State { doing: "storing a silence", source })
    }
}

/// An alert under its key.
pub(super) fn stored(key: Key, alert: &Alert, resolved: bool) -> (String, Option<Vec<u8>>) {
    let stored = StoredAlert {
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        starts_at: alert.starts_at,
        ends_at: alert.ends_at,
        updated_at: alert.updated_at,
        generator_url: alert.generator_url.clone(),
        resolved,
    };
    let value = serde_json::to_vec(&stored).expect("texts and numbers can be written as JSON");
    (key.to_string(), Some(value))
}

pub(super) async fn read_all<T: serde::de::DeserializeOwned>(
    state: &dyn StateStore,
    bucket: &str,
    doing: &'static str,
) -> Result<Vec<T>, Error> {
    let found = read_keyed(state, bucket, doing).await?;
    Ok(found.into_iter().map(|(_, value)| value).collect())
}

/// An entry under a key that is not its own.
pub(super) fn misplaced(bucket: &str, key: &str) -> Error {
    let message = format!("{bucket}/{key} is not the key of what is there; restore the state file");
    Error::State {
        doing: "reading what is stored",
        source: SeamError::new(model::ErrorKind::Corrupt, message),
    }
}

/// With their keys.
pub(super) async fn read_keyed<T: serde::de::DeserializeOwned>(
    state: &dyn StateStore,
    bucket: &str,
    doing: &'static str,
) -> Result<Vec<(String, T)>, Error> {
    let found = state.list(bucket, "").await.map_err(|source| Error::State { doing, source })?;
    found
        .into_iter()
        .map(|(key, entry)| {
            let value = serde_json::from_slice(&entry.value).map_err(|err| Error::State {
                doing,
                source: SeamError::with_source(
                    model::ErrorKind::Corrupt,
                    format!("{bucket}/{key} is not what was written; restore the state file"),
                    err,
                ),
            })?;
            Ok((key, value))
        })
        .collect()
}
