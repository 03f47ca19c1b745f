//! `/api/v1/library/*`: reading and editing documents.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use similar::TextDiff;
use state::documents::{Edit, Version};

use super::{Kind, Shown, assemble, path, secrets};
use crate::error::{ApiError, ErrorType};
use crate::params::Params;
use crate::reply;
use crate::server::Api;

type Answer = Result<Response, ApiError>;

/// The document that a path names.
pub(crate) struct At(Kind, String);

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((kind, name)) = path.map_err(|err| ApiError::bad_data(err.body_text()))?;
        Ok(Self(Kind::parse(&kind)?, name))
    }
}

/// What an edit's request says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct EditBody {
    content: String,
    author: String,
    comment: String,
    expected_version: Option<u32>,
    /// Undo: the version to go back to; the one before the newest when absent.
    to: Option<u32>,
}

fn body(bytes: &Bytes) -> Result<EditBody, ApiError> {
    let body: EditBody = serde_json::from_slice(bytes)
        .map_err(|err| ApiError::bad_data(format!("the body cannot be read: {err}")))?;
    if body.author.trim().is_empty() {
        return Err(ApiError::bad_data("author is missing: who makes this edit?"));
    }
    Ok(body)
}

/// Who has the say, for people and the UI.
fn authority(api: &Api) -> Value {
    let library = &api.library;
    let alerting = if library.is_alerting_by_file() { "file" } else { "library" };
    let rules = if library.rules { "files and library" } else { "files" };
    json!({ "rules": rules, "alerting": alerting, "shadowedRuleGroups": api.ruler.shadowed() })
}

/// `GET /api/v1/library`: every document, without its text.
pub(crate) async fn overview(State(api): State<Arc<Api>>) -> Answer {
    let documents = &api.library.documents;
    let mut all = Vec::new();
    for kind in Kind::ALL {
        for (name, version) in documents.all(kind.as_str()) {
            all.push(json!(Shown::new(kind, &name, &version)));
        }
    }
    Ok(reply::success_of(&json!({ "authority": authority(&api), "documents": all })))
}

/// A version with its text, secrets hidden.
fn full(kind: Kind, name: &str, version: &Version) -> Value {
    let mut value = json!(Shown::new(kind, name, version));
    value["content"] = version.content.as_deref().map(|text| shown(kind, text)).into();
    value
}

fn shown(kind: Kind, text: &str) -> String {
    if kind.has_secrets() { secrets::hidden(text) } else { text.to_owned() }
}

/// `GET /api/v1/library/{kind}/{name}`: the newest version, or `version`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    At(kind, name): At,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let version = number(&params, "version")?;
    let found = api.library.documents.get(kind.as_str(), &name, version).await?;
    let mut value = full(kind, &name, &found);
    value["authority"] = authority(&api);
    Ok(reply::success_of(&value))
}

fn number(params: &Params, name: &str) -> Result<Option<u32>, ApiError> {
    let read = |text: &str| {
        text.parse().map_err(|_| ApiError::parameter(name, format!("{text:?} is no version's number")))
    };
    params.get(name).map(read).transpose()
}

/// `GET /api/v1/library/{kind}/{name}/versions`: all that are kept, the newest first, without their texts.
pub(crate) async fn versions(State(api): State<Arc<Api>>, At(kind, name): At) -> Answer {
    let versions = api.library.documents.versions(kind.as_str(), &name).await?;
    let shown: Vec<Shown<'_>> = versions.iter().map(|version| Shown::new(kind, &name, version)).collect();
    Ok(reply::success_of(&json!({ "versions": shown })))
}

/// `GET /api/v1/library/{kind}/{name}/diff`: from version `from` (the one before `to` when absent) to `to` (the newest when
/// absent), as a unified diff.
pub(crate) async fn diff(
    State(api): State<Arc<Api>>,
    At(kind, name): At,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let documents = &api.library.documents;
    let to = match number(&params, "to")? {
        Some(to) => documents.get(kind.as_str(), &name, Some(to)).await?,
        None => documents.known(kind.as_str(), &name)?,
    };
    let from = number(&params, "from")?.unwrap_or(to.version.saturating_sub(1));
    let before = match from {
        0 => None,
        from => documents.get(kind.as_str(), &name, Some(from)).await?.content,
    };
    let text = unified(kind, &name, (from, before.as_deref()), (to.version, to.content.as_deref()));
    Ok(reply::success_of(&json!({ "from": from, "to": to.version, "diff": text })))
}

/// A unified diff of two versions, secrets hidden.
fn unified(kind: Kind, name: &str, before: (u32, Option<&str>), after: (u32, Option<&str>)) -> String {
    let text = |content: Option<&str>| content.map(|text| shown(kind, text)).unwrap_or_default();
    let (old, new) = (text(before.1), text(after.1));
    let title = |version: u32| format!("{}/{name} version {version}", kind.as_str());
    let mut out =
        TextDiff::from_lines(&old, &new).unified_diff().header(&title(before.0), &title(after.0)).to_string();
    if old == new && before.1 != after.1 {
        out.push_str("only secrets differ\n");
    }
    out
}

/// `PUT /api/v1/library/{kind}/{name}`: a new version; `dry_run=true` only checks it and shows what would change.
pub(crate) async fn put(State(api): State<Arc<Api>>, At(kind, name): At, uri: Uri, bytes: Bytes) -> Answer {
    let dry_run = dry_run(&uri)?;
    let body = body(&bytes)?;
    let edit = Edit {
        content: Some(body.content),
        author: body.author,
        comment: body.comment,
        expected: body.expected_version,
    };
    edit_document(&api, kind, &name, edit, dry_run).await
}

fn dry_run(uri: &Uri) -> Result<bool, ApiError> {
    let params = Params::read(uri, &HeaderMap::new(), &Bytes::new())?;
    Ok(params.flag("dry_run")?.unwrap_or(false))
}

/// `DELETE /api/v1/library/{kind}/{name}` with `author`, `comment`, `expected_version` as parameters.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    At(kind, name): At,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let edit = Edit {
        content: None,
        author: params.require("author")?.to_owned(),
        comment: params.get("comment").unwrap_or_default().to_owned(),
        expected: number(&params, "expected_version")?,
    };
    edit_document(&api, kind, &name, edit, dry_run(&uri)?).await
}

/// `POST /api/v1/library/{kind}/{name}/undo`: the text of an earlier version as a new one.
pub(crate) async fn undo(State(api): State<Arc<Api>>, At(kind, name): At, uri: Uri, bytes: Bytes) -> Answer {
    let body = body(&bytes)?;
    let documents = &api.library.documents;
    let newest = documents.known(kind.as_str(), &name)?;
    let to = body.to.unwrap_or(newest.version.saturating_sub(1));
    let content = match to {
        0 => None,
        to => documents.get(kind.as_str(), &name, Some(to)).await?.content,
    };
    let comment = if body.comment.is_empty() { format!("back to version {to}") } else { body.comment };
    let expected = Some(body.expected_version.unwrap_or(newest.version));
    edit_document(&api, kind, &name, Edit { content, author: body.author, comment, expected }, dry_run(&uri)?)
        .await
}

/// `POST /api/v1/library/import`: the documents of `alerts.config_file`, so that it can be left out from then on.
pub(crate) async fn import(State(api): State<Arc<Api>>, bytes: Bytes) -> Answer {
    let body = body(&bytes)?;
    if !api.library.is_alerting_by_file() {
        return Err(conflict("there is no alerts.config_file to import from"));
    }
    let setup = api.dispatcher.look(|core, _| Arc::clone(&core.setup));
    let templates = alerts::render::read_files(&setup.config.templates)?;
    let documents = assemble::split(setup.config.original(), templates).map_err(ApiError::bad_data)?;
    // All of them are checked before the first is stored.
    let config = assemble::config(&documents)?;
    api.dispatcher.check(config)?;
    let mut stored = Vec::new();
    for (kind, name, content) in documents {
        let (author, comment) = (body.author.clone(), body.comment.clone());
        let edit = Edit { content: Some(content), author, comment, expected: None };
        let version = api
            .library
            .documents
            .edit::<ApiError>(kind.as_str(), &name, edit, api.clock.now(), |_| Ok(()))
            .await?;
        stored.push(json!(Shown::new(kind, &name, &version)));
    }
    let note = "the file stays in force until alerts.config_file is removed from the configuration";
    Ok(reply::success_of(&json!({ "documents": stored, "authority": authority(&api), "note": note })))
}

fn conflict(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorType::Conflict, text)
}

/// Refuses what a file has the say about.
fn allowed(api: &Api, kind: Kind) -> Result<(), ApiError> {
    if kind.is_alerting() && api.library.is_alerting_by_file() {
        return Err(conflict(
            "alerts.config_file has the say about routes and receivers: edit that file and reload, or import it \
             (POST /api/v1/library/import) and remove the setting",
        ));
    }
    if kind == Kind::Rules && !api.library.rules {
        return Err(conflict("library.rules is off: rules are edited in the files of rule_files"));
    }
    Ok(())
}

/// Checks an edit with everything else that is in force, stores it, puts it in force, and shows what changed.
async fn edit_document(api: &Api, kind: Kind, name: &str, mut edit: Edit, dry_run: bool) -> Answer {
    allowed(api, kind)?;
    let documents = &api.library.documents;
    let before = documents.newest(kind.as_str(), name);
    let old = before.as_ref().and_then(|version| version.content.clone());
    if let Some(content) = edit.content.as_mut().filter(|_| kind.has_secrets()) {
        *content = secrets::restored(content, old.as_deref())
            .map_err(|err| ApiError::bad_data(format!("{} {name:?}: {err}", kind.as_str())))?;
    }
    let from = before.as_ref().map_or(0, |version| version.version);
    if dry_run {
        check(api, kind, name, edit.content.as_deref())?;
        let diff = unified(kind, name, (from, old.as_deref()), (from + 1, edit.content.as_deref()));
        return Ok(reply::success_of(&json!({ "dryRun": true, "diff": diff, "authority": authority(api) })));
    }
    let now = api.clock.now();
    let _applying = api.applying.lock().await;
    let admit = |version: &Version| check(api, kind, name, version.content.as_deref());
    let version = documents.edit(kind.as_str(), name, edit, now, admit).await?;
    apply(api, kind).await?;
    tracing::info!(
        kind = kind.as_str(),
        name,
        version = version.version,
        author = version.author,
        "library edited"
    );
    let mut value = json!(Shown::new(kind, name, &version));
    let diff = unified(kind, name, (from, old.as_deref()), (version.version, version.content.as_deref()));
    value["diff"] = diff.into();
    value["authority"] = authority(api);
    Ok(reply::success_of(&value))
}

/// Whether a text may become what is in force.
fn check(api: &Api, kind: Kind, name: &str, content: Option<&str>) -> Result<(), ApiError> {
    match kind {
        Kind::Dashboard => api.dashboards.check(name, content),
        Kind::Rules => {
            let Some(text) = content else { return Ok(()) };
            let file = rules::file::parse(&path(name), text, &api.options).map_err(|problems| {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                ApiError::bad_data(lines.join("; "))
            })?;
            let of_files = api.ruler.file_groups();
            let taken = file.groups.iter().find_map(|group| {
                of_files
                    .iter()
                    .find(|(_, of_file)| *of_file == group.name)
                    .map(|(file, _)| (file, &group.name))
            });
            match taken {
                Some((file, group)) => {
                    Err(conflict(format!("group {group:?} is defined by {file}, which has the say")))
                }
                None => Ok(()),
            }
        }
        _ => {
            let documents = api.library.alerting(Some((kind, name, content)));
            Ok(api.dispatcher.check(assemble::config(&documents)?)?)
        }
    }
}

/// Puts what is stored in force.
async fn apply(api: &Api, kind: Kind) -> Result<(), ApiError> {
    match kind {
        Kind::Dashboard => {}
        Kind::Rules => api.ruler.load_library(&api.library.rule_files()).await,
        _ => api.dispatcher.reload(assemble::config(&api.library.alerting(None))?)?,
    }
    Ok(())
}
