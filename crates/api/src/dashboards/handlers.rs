//! `/api/v1/dashboards`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;

use super::Save;
use crate::error::ApiError;
use crate::reply;
use crate::server::Api;

/// `GET /api/v1/dashboards`
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    Ok(reply::success_of(&api.dashboards.list(api.library.documents())))
}

/// `GET /api/v1/dashboards/{uid}`
pub(crate) async fn get(State(api): State<Arc<Api>>, Path(uid): Path<String>) -> Result<Response, ApiError> {
    Ok(reply::success_of(&api.dashboards.get(api.library.documents(), &uid).await?))
}

/// `POST /api/v1/dashboards`
pub(crate) async fn save(State(api): State<Arc<Api>>, body: Bytes) -> Result<Response, ApiError> {
    let save: Save = serde_json::from_slice(&body)
        .map_err(|err| ApiError::bad_data(format!("the body is no dashboard to save: {err}")))?;
    Ok(reply::success_of(&api.dashboards.save(api.library.documents(), save, api.clock.now()).await?))
}

/// `DELETE /api/v1/dashboards/{uid}`
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Path(uid): Path<String>,
) -> Result<Response, ApiError> {
    api.dashboards.delete(api.library.documents(), &uid, api.clock.now()).await?;
    Ok(reply::success_of(&()))
}

/// `GET /api/v1/dashboards/{uid}/versions`
pub(crate) async fn versions(
    State(api): State<Arc<Api>>,
    Path(uid): Path<String>,
) -> Result<Response, ApiError> {
    Ok(reply::success_of(&api.dashboards.versions(api.library.documents(), &uid).await?))
}

/// `GET /api/v1/dashboards/{uid}/versions/{number}`
pub(crate) async fn version(
    State(api): State<Arc<Api>>,
    Path((uid, number)): Path<(String, u32)>,
) -> Result<Response, ApiError> {
    Ok(reply::success_of(&api.dashboards.version(api.library.documents(), &uid, number).await?))
}
