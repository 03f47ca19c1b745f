//! Dashboards: documents of the library, with all their versions, beside those that ship with the server.
//!
//! The server knows a dashboard's name, folder and tags, and keeps the rest as the page wrote it. These requests are the
//! page's view of the library's kind `dashboard`. JSON shapes: `docs/formats/dashboard.md`.

mod handlers;

use std::collections::BTreeMap;

use include_dir::{Dir, include_dir};
use model::{ErrorKind, SeamError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use state::Documents;
use state::documents::{Edit, Version};

pub(crate) use handlers::{delete, get, list, save, version, versions};

use crate::error::{ApiError, ErrorType};

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/dashboards");

/// The kind of the library's documents.
pub(crate) const KIND: &str = "dashboard";
/// The member of a document that holds what the dashboard was imported from.
const ORIGINAL: &str = "original";
/// The author of a change that came without one.
const UNNAMED: &str = "unnamed";
const MAX_MESSAGE: usize = 500;
/// Tags that a list shows.
const MAX_TAGS: usize = 50;
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
    pub(crate) version: u32,
    /// Milliseconds since the epoch.
    pub(crate) updated_ms: i64,
    /// What whoever saved it wrote.
    #[serde(default)]
    pub(crate) message: String,
    /// Who saved it.
    #[serde(default)]
    pub(crate) author: String,
    #[serde(default)]
    pub(crate) shipped: bool,
}

/// What the server reads of a dashboard.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    title: String,
    folder: String,
    tags: Vec<Value>,
}

impl Meta {
    fn new(uid: &str, head: Head, version: &Version) -> Self {
        let tags = head.tags.iter().filter_map(Value::as_str).take(MAX_TAGS);
        Self {
            uid: uid.to_owned(),
            title: if head.title.is_empty() { uid.to_owned() } else { head.title },
            folder: head.folder,
            tags: tags.map(str::to_owned).collect(),
            version: version.version,
            updated_ms: version.at.ms(),
            message: version.comment.clone(),
            author: version.author.clone(),
            shipped: false,
        }
    }
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
    pub(crate) base_version: u32,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) author: String,
    #[serde(default)]
    pub(crate) original: Value,
}

/// The dashboards of the library, beside those that ship.
pub(crate) struct Dashboards {
    shipped: BTreeMap<String, Stored>,
}

impl Dashboards {
    pub(crate) fn new() -> Self {
        Self { shipped: shipped() }
    }

    /// Every dashboard, by folder and title.
    pub(crate) fn list(&self, documents: &Documents) -> Vec<Meta> {
        let mut found: Vec<Meta> = self.shipped.values().map(|stored| stored.meta.clone()).collect();
        found.extend(documents.each(KIND, |uid, version| {
            // What cannot be read is listed by its uid: it is there, and can be brought back to an earlier version.
            let head = serde_json::from_str(version.content.as_deref().unwrap_or_default());
            Meta::new(uid, head.unwrap_or_default(), version)
        }));
        found.sort_by_key(|meta| (meta.folder.to_lowercase(), meta.title.to_lowercase()));
        found
    }

    pub(crate) async fn get(&self, documents: &Documents, uid: &str) -> Result<Stored, ApiError> {
        match self.shipped.get(uid) {
            Some(stored) => Ok(stored.clone()),
            None => stored(uid, &documents.get(KIND, uid, None).await?),
        }
    }

    /// Keeps a dashboard as its next version.
    pub(crate) async fn save(
        &self,
        documents: &Documents,
        mut save: Save,
        now: Timestamp,
    ) -> Result<Meta, ApiError> {
        let uid = save.dashboard["uid"].as_str().unwrap_or_default().trim().to_owned();
        checked(&uid)?;
        let newest = documents.newest(KIND, &uid);
        let before = match &newest {
            Some(version) if version.content.is_some() => Some(stored(&uid, version)?),
            _ => None,
        };
        // The original stays with the dashboard when a later change does not bring it again.
        if save.original.is_null()
            && let Some(before) = &before
        {
            save.original = before.original.clone();
        }
        if let (Some(dashboard), false) = (save.dashboard.as_object_mut(), save.original.is_null()) {
            dashboard.insert(ORIGINAL.to_owned(), save.original);
        }
        let content = serde_json::to_string_pretty(&save.dashboard).map_err(|err| {
            ApiError::new(ErrorType::Internal, format!("a dashboard cannot be written as JSON: {err}"))
        })?;
        // One that was deleted is new again to whoever saves it.
        let expected = match (&before, &newest, save.base_version) {
            (None, Some(deletion), 0) => deletion.version,
            (_, _, base) => base,
        };
        let edit = Edit {
            content: Some(content),
            author: if save.author.is_empty() { UNNAMED.to_owned() } else { save.author },
            comment: save.message.chars().take(MAX_MESSAGE).collect(),
            expected: Some(expected),
        };
        let admit = |version: &Version| self.check(&uid, version.content.as_deref());
        let version = documents.edit(KIND, &uid, edit, now, admit).await?;
        Ok(stored(&uid, &version)?.meta)
    }

    /// Whether a document of the library may be kept as the dashboard `uid`.
    pub(crate) fn check(&self, uid: &str, content: Option<&str>) -> Result<(), ApiError> {
        checked(uid)?;
        if self.shipped.contains_key(uid) {
            let message =
                format!("{uid:?} ships with the server and cannot be changed; save a copy under another uid");
            return Err(ApiError::bad_data(message));
        }
        let Some(content) = content else { return Ok(()) };
        let dashboard: Value = serde_json::from_str(content)
            .map_err(|err| ApiError::bad_data(format!("dashboard {uid:?} is not JSON: {err}")))?;
        let text = |name: &str| dashboard[name].as_str().unwrap_or_default().trim();
        if text("uid") != uid {
            return Err(ApiError::bad_data(format!("dashboard {uid:?}: its uid is {:?}", text("uid"))));
        }
        if text("title").is_empty() || text("title").chars().count() > MAX_TITLE {
            return Err(ApiError::bad_data(format!(
                "a dashboard needs a title of 1 to {MAX_TITLE} characters"
            )));
        }
        if !dashboard["panels"].is_array() {
            return Err(ApiError::bad_data("a dashboard needs panels: an array, which may be empty"));
        }
        Ok(())
    }

    pub(crate) async fn delete(
        &self,
        documents: &Documents,
        uid: &str,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let edit = Edit { author: UNNAMED.to_owned(), ..Edit::default() };
        documents.edit(KIND, uid, edit, now, |_| self.check(uid, None)).await?;
        Ok(())
    }

    /// Kept versions, newest first; deletions between them are left out.
    pub(crate) async fn versions(&self, documents: &Documents, uid: &str) -> Result<Vec<Meta>, ApiError> {
        if self.shipped.contains_key(uid) {
            return Ok(vec![]);
        }
        documents.get(KIND, uid, None).await?;
        let versions = documents.versions(KIND, uid).await?;
        let kept = versions.iter().filter(|version| version.content.is_some());
        kept.map(|version| Ok(stored(uid, version)?.meta)).collect()
    }

    pub(crate) async fn version(
        &self,
        documents: &Documents,
        uid: &str,
        number: u32,
    ) -> Result<Stored, ApiError> {
        documents.get(KIND, uid, None).await?;
        let mut found = stored(uid, &documents.get(KIND, uid, Some(number)).await?)?;
        found.original = Value::Null;
        Ok(found)
    }
}

/// A document of the library as a dashboard.
fn stored(uid: &str, version: &Version) -> Result<Stored, ApiError> {
    let content = version.content.as_deref().ok_or_else(|| {
        ApiError::not_found(format!("version {} of dashboard {uid:?} is its deletion", version.version))
    })?;
    let corrupt = |err| {
        ApiError::from(SeamError::with_source(
            ErrorKind::Corrupt,
            format!("version {} of dashboard {uid:?} cannot be read", version.version),
            err,
        ))
    };
    let head: Head = serde_json::from_str(content).map_err(corrupt)?;
    let mut dashboard: Value = serde_json::from_str(content).map_err(corrupt)?;
    let original = dashboard.as_object_mut().and_then(|tree| tree.remove(ORIGINAL)).unwrap_or_default();
    Ok(Stored { meta: Meta::new(uid, head, version), dashboard, original })
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
                author: String::new(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The dashboards of a store in a folder.
    struct All {
        dashboards: Dashboards,
        documents: Documents,
        _folder: tempfile::TempDir,
    }

    impl All {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut registry = prometheus_client::registry::Registry::default();
            let path = folder.path().join("state.sqlite");
            let metrics = state::Metrics::new(&mut registry);
            let store = state::Store::open(&path, state::Config::default(), metrics).unwrap();
            let documents = Documents::open(std::sync::Arc::new(store), Default::default()).await.unwrap();
            Self { dashboards: Dashboards::new(), documents, _folder: folder }
        }
        async fn save(&self, save: Save) -> Result<Meta, ApiError> {
            self.dashboards.save(&self.documents, save, Timestamp(7)).await
        }
        async fn get(&self, uid: &str) -> Result<Stored, ApiError> {
            self.dashboards.get(&self.documents, uid).await
        }
        async fn version(&self, uid: &str, number: u32) -> Result<Stored, ApiError> {
            self.dashboards.version(&self.documents, uid, number).await
        }
        async fn versions(&self, uid: &str) -> Vec<u32> {
            let versions = self.dashboards.versions(&self.documents, uid).await.unwrap();
            versions.iter().map(|meta| meta.version).collect()
        }
    }

    fn save(title: &str, base_version: u32) -> Save {
        let dashboard = json!({ "uid": "a", "title": title, "folder": "f", "tags": ["t"], "panels": [] });
        Save { dashboard, base_version, message: "why".into(), author: "ada".into(), original: Value::Null }
    }

    #[tokio::test]
    async fn a_dashboard_is_kept_with_its_versions() {
        let all = All::new().await;
        let mut first = save("One", 0);
        first.original = json!({ "schemaVersion": 39 });
        assert_eq!(all.save(first).await.unwrap().version, 1);
        assert_eq!(all.save(save("Two", 1)).await.unwrap().version, 2);
        let stored = all.get("a").await.unwrap();
        assert_eq!((stored.meta.title.as_str(), stored.meta.folder.as_str()), ("Two", "f"));
        assert_eq!(stored.original["schemaVersion"], 39, "the original stays");
        assert_eq!(all.version("a", 1).await.unwrap().meta.title, "One");
        assert_eq!(all.versions("a").await, [2, 1]);
        let listed = all.dashboards.list(&all.documents);
        assert!(listed.iter().any(|meta| meta.uid == "a" && meta.author == "ada" && !meta.shipped));
        // It is a document of the library, in lines, so that versions can be compared.
        let document = all.documents.newest(KIND, "a").unwrap();
        assert!(document.content.unwrap().lines().any(|line| line.contains("\"title\": \"Two\"")));
        all.dashboards.delete(&all.documents, "a", Timestamp(8)).await.unwrap();
        assert_eq!(all.get("a").await.unwrap_err().kind, ErrorType::NotFound);
        assert_eq!(all.version("a", 1).await.unwrap_err().kind, ErrorType::NotFound);
        assert!(!all.dashboards.list(&all.documents).iter().any(|meta| meta.uid == "a"));
        // It can be made anew, and its past is still there.
        assert_eq!(all.save(save("Three", 0)).await.unwrap().version, 4);
        assert_eq!(all.versions("a").await, [4, 2, 1]);
    }

    #[tokio::test]
    async fn a_change_to_an_old_version_is_refused() {
        let all = All::new().await;
        all.save(save("One", 0)).await.unwrap();
        let err = all.save(save("Other", 0)).await.unwrap_err();
        assert_eq!(err.kind, ErrorType::Conflict);
        assert!(err.message.contains("version 1"), "{}", err.message);
        assert_eq!(all.get("a").await.unwrap().meta.title, "One");
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let all = All::new().await;
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
