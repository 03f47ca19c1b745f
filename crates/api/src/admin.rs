//! `/api/v1/admin/tsdb/*`: deleting and copying data; off unless switched on.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::{ApiError, ErrorType};
use crate::params::{self, Params};
use crate::reply;
use crate::server::Api;

/// Runs storage work off the runtime.
async fn work<T: Send + 'static>(
    run: impl FnOnce() -> tsdb::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let internal = |text: String| ApiError::new(ErrorType::Internal, text);
    let done = tokio::task::spawn_blocking(run)
        .await
        .map_err(|err| internal(format!("the work ended early: {err}")))?;
    done.map_err(|err| ApiError::from(model::SeamError::from(err)))
}

fn allowed(api: &Api) -> Result<(), ApiError> {
    if api.web.enable_admin_api {
        Ok(())
    } else {
        Err(ApiError::new(ErrorType::Unavailable, "admin APIs disabled; start with --web.enable-admin-api"))
    }
}

/// `POST|PUT /api/v1/admin/tsdb/delete_series?match[]=…&start=&end=`
pub(crate) async fn delete_series(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    allowed(&api)?;
    let params = Params::read(&uri, &headers, &body)?;
    let (tenant, range) = (params::tenant(&headers)?, params.any_range()?);
    let mut selectors = params.any_selectors(&api.options)?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    // As Prometheus: `{}` selects nothing, and there is no moment in a range that ends before it starts.
    selectors.retain(|selector| !selector.is_empty());
    if selectors.is_empty() || range.end < range.start {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let db = Arc::clone(&api.db);
    let stamps = Arc::clone(&api.stamps);
    let delete = move || {
        let deleted = db.delete_series(&tenant, &selectors, range);
        // Afterwards, and also when it failed half-way: answers that were kept before are not right any more.
        stamps.changed(&tenant, range.start.ms(), range.end.ms());
        deleted
    };
    work(delete).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST|PUT /api/v1/admin/tsdb/clean_tombstones`
pub(crate) async fn clean_tombstones(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    allowed(&api)?;
    let db = Arc::clone(&api.db);
    work(move || db.clean_tombstones()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Copies silences, the notification log, the library and the history of alerts beside the copied blocks, under the names
/// that a data folder has them by.
async fn copy_state(api: &Api, folder: std::path::PathBuf) -> Result<(), ApiError> {
    let (state, history) = (Arc::clone(&api.state_file), api.dispatcher.history().cloned());
    let copy = move || -> Result<(), ApiError> {
        let failed = |err: state::Error| ApiError::from(model::SeamError::from(err));
        let name =
            |path: &std::path::Path| path.file_name().map(std::ffi::OsStr::to_owned).unwrap_or_default();
        state.backup_to(folder.join(name(state.path()))).map_err(failed)?;
        if let Some(history) = history {
            history.backup_to(&folder.join(name(history.path())))?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(copy)
        .await
        .map_err(|err| ApiError::new(ErrorType::Internal, format!("the copy ended early: {err}")))?
}

/// `POST|PUT /api/v1/admin/tsdb/snapshot?skip_head=`: a copy under `snapshots/` in the data folder, with `skip_head` of the
/// blocks alone.
pub(crate) async fn snapshot(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    allowed(&api)?;
    let what = match Params::read(&uri, &headers, &body)?.flag("skip_head")? {
        Some(true) => tsdb::Copied::Blocks,
        _ => tsdb::Copied::All,
    };
    let at = jiff::Timestamp::from_millisecond(api.clock.now().ms());
    let name = at.map(|at| at.strftime("%Y%m%dT%H%M%SZ").to_string()).unwrap_or_default();
    let name = format!("{name}-{:08x}", api.clock.now().ms() as u32);
    let folder = api.db.config().path.join("snapshots").join(&name);
    let (db, into) = (Arc::clone(&api.db), folder.clone());
    work(move || db.snapshot(&into, what)).await?;
    copy_state(&api, folder).await?;
    Ok(reply::success_of(&json!({ "name": name })))
}
