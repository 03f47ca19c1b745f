//! Dashboards: kept in the state store with their earlier versions, beside those that ship with the server.
//!
//! The server knows a dashboard's name, folder and tags, and keeps the rest as the page wrote it. Keys in the bucket
//! `dashboards`: `meta/<uid>`, `doc/<uid>`, `version/<uid>/<number>`. JSON shapes: `docs/formats/dashboard.md`.

mod handlers;

use std::collections::BTreeMap;
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use model::{Clock, ErrorKind, SeamError, StateStore};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

pub(crate) use handlers::{delete, get, list, save, version, versions};

use crate::error::{ApiError, ErrorType};

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/dashboards");

const BUCKET: &str = "dashboards";
/// Dashboards that are kept.
const MAX_DASHBOARDS: usize = 5000;
/// The largest dashboard, in bytes of JSON, its original included.
const MAX_BYTES: usize = 2 << 20;
/// Earlier versions that are kept of one dashboard.
const KEPT_VERSIONS: u64 = 30;
const MAX_UID: usize = 40;
const MAX_TITLE: usize = 200;

/// What a list shows of a dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) uid: String,
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) folder: String,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// From 1; 0 for one that ships with the server.
    pub(crate) version: u64,
    /// Milliseconds since the epoch.
    pub(crate) updated_ms: i64,
    /// What whoever saved it wrote.
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) shipped: bool,
}

/// A dashboard with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) meta: Meta,
    pub(crate) dashboard: Value,
    /// The JSON that it was imported from.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) original: Value,
}

/// A dashboard as it is sent in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Save {
    pub(crate) dashboard: Value,
    /// The version that the change was made to; 0 for a new dashboard.
    #[serde(default)]
    pub(crate) base_version: u64,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) original: Value,
}

/// Where dashboards are kept.
pub(crate) struct Dashboards {
    state: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    shipped: BTreeMap<String, Stored>,
    /// One writer at a time: a save reads the version before it writes.
    writing: Mutex<()>,
}

impl Dashboards {
    pub(crate) fn new(state: Arc<dyn StateStore>, clock: Arc<dyn Clock>) -> Self {
        Self { state, clock, shipped: shipped(), writing: Mutex::new(()) }
    }

    /// Every dashboard, by folder and title.
    pub(crate) async fn list(&self) -> Result<Vec<Meta>, ApiError> {
        let mut found: Vec<Meta> = self.shipped.values().map(|stored| stored.meta.clone()).collect();
        for (key, entry) in self.state.list(BUCKET, "meta/").await? {
            found.push(read(&key, &entry.value)?);
        }
        found.sort_by(|a, b| {
            (a.folder.to_lowercase(), a.title.to_lowercase())
                .cmp(&(b.folder.to_lowercase(), b.title.to_lowercase()))
        });
        Ok(found)
    }

    pub(crate) async fn get(&self, uid: &str) -> Result<Stored, ApiError> {
        if let Some(stored) = self.shipped.get(uid) {
            return Ok(stored.clone());
        }
        let key = format!("doc/{}", checked(uid)?);
        let entry = self.state.get(BUCKET, &key).await?;
        let entry = entry.ok_or_else(|| ApiError::not_found(format!("there is no dashboard {uid:?}")))?;
        read(&key, &entry.value)
    }

    /// Keeps a dashboard as its next version.
    pub(crate) async fn save(&self, save: Save) -> Result<Meta, ApiError> {
        let text = |name: &str| save.dashboard[name].as_str().unwrap_or_default().trim().to_owned();
        let uid = checked(&text("uid"))?.to_owned();
        let title = text("title");
        if title.is_empty() || title.chars().count() > MAX_TITLE {
            return Err(ApiError::bad_data(format!(
                "a dashboard needs a title of 1 to {MAX_TITLE} characters"
            )));
        }
        if self.shipped.contains_key(&uid) {
            let message =
                format!("{uid:?} ships with the server and cannot be changed; save a copy under another uid");
            return Err(ApiError::new(ErrorType::BadData, message));
        }
        if !save.dashboard["panels"].is_array() {
            return Err(ApiError::bad_data("a dashboard needs panels: an array, which may be empty"));
        }
        let tags = save.dashboard["tags"].as_array().into_iter().flatten();
        let tags: Vec<String> = tags.filter_map(Value::as_str).take(50).map(str::to_owned).collect();
        let _one = self.writing.lock().await;
        let meta_key = format!("meta/{uid}");
        let known: Option<Meta> = match self.state.get(BUCKET, &meta_key).await? {
            None => None,
            Some(entry) => Some(read(&meta_key, &entry.value)?),
        };
        let current = known.as_ref().map_or(0, |meta| meta.version);
        if current != save.base_version {
            let message = format!(
                "dashboard {uid:?} is at version {current} and the change was made to version {}: load it again, or save a copy",
                save.base_version
            );
            return Err(ApiError::new(ErrorType::Conflict, message));
        }
        if known.is_none() && self.state.list(BUCKET, "meta/").await?.len() >= MAX_DASHBOARDS {
            return Err(ApiError::new(
                ErrorType::Execution,
                format!("there are {MAX_DASHBOARDS} dashboards already"),
            ));
        }
        let version = current + 1;
        let updated_ms = self.clock.now().ms();
        let message = save.message.chars().take(500).collect();
        let meta = Meta {
            uid: uid.clone(),
            title,
            folder: text("folder"),
            tags,
            version,
            updated_ms,
            message,
            shipped: false,
        };
        // The original stays with the dashboard when a later change does not bring it again.
        let original = match (save.original.is_null(), &known) {
            (true, Some(_)) => self.get(&uid).await?.original,
            _ => save.original,
        };
        let version_key = |number: u64| format!("version/{uid}/{number:010}");
        let plain = Stored { meta: meta.clone(), dashboard: save.dashboard, original: Value::Null };
        let whole = Stored { original, ..plain.clone() };
        let doc = json(&whole)?;
        if doc.len() > MAX_BYTES {
            let message = format!("the dashboard has {} bytes, at most {MAX_BYTES} are kept", doc.len());
            return Err(ApiError::new(ErrorType::Execution, message));
        }
        let mut entries = vec![
            (meta_key, Some(json(&meta)?)),
            (format!("doc/{uid}"), Some(doc)),
            (version_key(version), Some(json(&plain)?)),
        ];
        if version > KEPT_VERSIONS {
            entries.push((version_key(version - KEPT_VERSIONS), None));
        }
        self.state.put_all(BUCKET, &entries).await?;
        Ok(meta)
    }

    pub(crate) async fn delete(&self, uid: &str) -> Result<(), ApiError> {
        let _one = self.writing.lock().await;
        if self.shipped.contains_key(uid) {
            return Err(ApiError::bad_data(format!("{uid:?} ships with the server and cannot be deleted")));
        }
        self.get(uid).await?;
        let mut entries = vec![(format!("meta/{uid}"), None), (format!("doc/{uid}"), None)];
        let versions = self.state.list(BUCKET, &format!("version/{uid}/")).await?;
        entries.extend(versions.into_iter().map(|(key, _)| (key, None)));
        Ok(self.state.put_all(BUCKET, &entries).await?)
    }

    /// Kept versions, newest first.
    pub(crate) async fn versions(&self, uid: &str) -> Result<Vec<Meta>, ApiError> {
        self.get(uid).await?;
        let mut found = Vec::new();
        for (key, entry) in self.state.list(BUCKET, &format!("version/{uid}/")).await? {
            let stored: Stored = read(&key, &entry.value)?;
            found.push(stored.meta);
        }
        found.reverse();
        Ok(found)
    }

    pub(crate) async fn version(&self, uid: &str, number: u64) -> Result<Stored, ApiError> {
        let key = format!("version/{}/{number:010}", checked(uid)?);
        let entry = self.state.get(BUCKET, &key).await?;
        let entry = entry.ok_or_else(|| {
            ApiError::not_found(format!("there is no version {number} of dashboard {uid:?}"))
        })?;
        read(&key, &entry.value)
    }
}

/// Those that ship with the server. A test reads them all.
fn shipped() -> BTreeMap<String, Stored> {
    let files = SHIPPED.files().filter_map(|file| serde_json::from_slice::<Value>(file.contents()).ok());
    files
        .map(|dashboard| {
            let text = |name: &str| dashboard[name].as_str().unwrap_or_default().to_owned();
            let tags = dashboard["tags"].as_array().into_iter().flatten();
            let meta = Meta {
                uid: text("uid"),
                title: text("title"),
                folder: text("folder"),
                tags: tags.filter_map(Value::as_str).map(str::to_owned).collect(),
                version: 0,
                updated_ms: 0,
                message: String::new(),
                shipped: true,
            };
            (meta.uid.clone(), Stored { meta, dashboard, original: Value::Null })
        })
        .collect()
}

/// A uid as it may stand in an address and a key.
fn checked(uid: &str) -> Result<&str, ApiError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if uid.is_empty() || uid.len() > MAX_UID || !uid.bytes().all(fine) {
        let message = format!("uid {uid:?}: use 1 to {MAX_UID} letters, digits, - and _");
        return Err(ApiError::bad_data(message));
    }
    Ok(uid)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(value).map_err(|err| {
        ApiError::new(ErrorType::Internal, format!("a dashboard cannot be written as JSON: {err}"))
    })
}

fn read<T: serde::de::DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|err| {
        SeamError::new(ErrorKind::Corrupt, format!("what is kept under {BUCKET}/{key} cannot be read: {err}"))
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn dashboards() -> (Dashboards, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = prometheus_client::registry::Registry::default();
        let path = folder.path().join("state.sqlite");
        let store =
            state::Store::open(&path, state::Config::default(), state::Metrics::new(&mut registry)).unwrap();
        (Dashboards::new(Arc::new(store), Arc::new(model::time::SystemClock)), folder)
    }

    fn save(title: &str, base_version: u64) -> Save {
        let dashboard = json!({ "uid": "a", "title": title, "folder": "f", "tags": ["t"], "panels": [] });
        Save { dashboard, base_version, message: "why".into(), original: Value::Null }
    }

    #[tokio::test]
    async fn a_dashboard_is_kept_with_its_versions() {
        let (all, _folder) = dashboards();
        let mut first = save("One", 0);
        first.original = json!({ "schemaVersion": 39 });
        assert_eq!(all.save(first).await.unwrap().version, 1);
        assert_eq!(all.save(save("Two", 1)).await.unwrap().version, 2);
        let stored = all.get("a").await.unwrap();
        assert_eq!((stored.meta.title.as_str(), stored.meta.folder.as_str()), ("Two", "f"));
        assert_eq!(stored.original["schemaVersion"], 39, "the original stays");
        assert_eq!(all.version("a", 1).await.unwrap().meta.title, "One");
        let versions: Vec<u64> = all.versions("a").await.unwrap().iter().map(|meta| meta.version).collect();
        assert_eq!(versions, [2, 1]);
        assert!(all.list().await.unwrap().iter().any(|meta| meta.uid == "a" && !meta.shipped));
        all.delete("a").await.unwrap();
        assert_eq!(all.get("a").await.unwrap_err().kind, ErrorType::NotFound);
        assert_eq!(all.version("a", 1).await.unwrap_err().kind, ErrorType::NotFound);
    }

    #[tokio::test]
    async fn a_change_to_an_old_version_is_refused() {
        let (all, _folder) = dashboards();
        all.save(save("One", 0)).await.unwrap();
        let err = all.save(save("Other", 0)).await.unwrap_err();
        assert_eq!(err.kind, ErrorType::Conflict);
        assert!(err.message.contains("version 1"), "{}", err.message);
        assert_eq!(all.get("a").await.unwrap().meta.title, "One");
    }

    #[tokio::test]
    async fn old_versions_go() {
        let (all, _folder) = dashboards();
        for version in 0..KEPT_VERSIONS + 5 {
            all.save(save("x", version)).await.unwrap();
        }
        assert_eq!(all.versions("a").await.unwrap().len() as u64, KEPT_VERSIONS);
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let (all, _folder) = dashboards();
        for (change, word) in [
            (json!({ "uid": "a/b" }), "letters"),
            (json!({ "uid": "" }), "letters"),
            (json!({ "title": " " }), "title"),
            (json!({ "panels": 3 }), "panels"),
            (json!({ "uid": shipped().keys().next().unwrap() }), "ships"),
        ] {
            let mut wrong = save("t", 0);
            for (name, value) in change.as_object().unwrap() {
                wrong.dashboard[name] = value.clone();
            }
            let err = all.save(wrong).await.unwrap_err();
            assert!(err.message.contains(word), "{change}: {}", err.message);
        }
    }

    #[test]
    fn shipped_dashboards_are_whole() {
        let found = shipped();
        assert_eq!(found.len(), SHIPPED.files().count(), "every file is JSON with a uid of its own");
        for (uid, stored) in found {
            checked(&uid).unwrap();
            assert!(!stored.meta.title.is_empty() && stored.meta.folder == "Shipped", "{uid}");
            for panel in stored.dashboard["panels"].as_array().unwrap() {
                for target in panel["targets"].as_array().into_iter().flatten() {
                    // Variables stand for a value or a duration.
                    let expr = target["expr"].as_str().unwrap();
                    let expr = expr
                        .replace("$__rate_interval", "1m")
                        .replace("$__range", "1h")
                        .replace("$__interval", "15s");
                    promql::parse(&expr, &promql::Options::default())
                        .unwrap_or_else(|err| panic!("{uid}: {expr}: {err}"));
                }
            }
        }
    }
}
