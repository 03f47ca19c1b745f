//! `/api/v1/status_page`: for those who run the page.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::hooks::Hook;
use super::keeper::{Keeper, NewIncident, NewUpdate};
use crate::error::{ApiError, ErrorType};
use crate::reply;
use crate::server::Api;

fn keeper(api: &Api) -> Result<&Arc<Keeper>, ApiError> {
    api.status_page
        .as_ref()
        .ok_or_else(|| ApiError::not_found("there is no status page here: set status_page.components"))
}

fn read<T: DeserializeOwned>(body: &Bytes, what: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|err| ApiError::bad_data(format!("the body is no {what}: {err}")))
}

/// `GET /api/v1/status_page`
pub(crate) async fn show(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let keeper = keeper(&api)?;
    let config = keeper.config();
    let components: Vec<Value> = config
        .components
        .iter()
        .map(|one| json!({ "id": one.id, "name": one.title(), "expr": one.expr, "degraded_below": one.degraded_below, "outage_below": one.outage_below }))
        .collect();
    Ok(reply::success_of(&json!({
        "listen_address": config.listen_address,
        "url": config.url,
        "components": components,
        "snapshot": keeper.snapshot(),
    })))
}

/// `GET /api/v1/status_page/snapshot`
pub(crate) async fn snapshot(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    match keeper(&api)?.snapshot() {
        Some(snapshot) => Ok(reply::success_of(&*snapshot)),
        None => Err(ApiError::new(ErrorType::Unavailable, "the components have not been judged yet")),
    }
}

/// `POST /api/v1/status_page/incidents`
pub(crate) async fn open(State(api): State<Arc<Api>>, body: Bytes) -> Result<Response, ApiError> {
    let new: NewIncident = read(&body, "incident")?;
    Ok(reply::success_of(&keeper(&api)?.open_incident(new).await?))
}

/// `POST /api/v1/status_page/incidents/{id}/updates`
pub(crate) async fn update(
    State(api): State<Arc<Api>>,
    Path(id): Path<u64>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let new: NewUpdate = read(&body, "update of an incident")?;
    Ok(reply::success_of(&keeper(&api)?.update_incident(id, new).await?))
}

/// `DELETE /api/v1/status_page/incidents/{id}`
pub(crate) async fn delete(State(api): State<Arc<Api>>, Path(id): Path<u64>) -> Result<Response, ApiError> {
    keeper(&api)?.delete_incident(id).await?;
    Ok(reply::success_of(&()))
}

fn hook(hook: &Hook) -> Value {
    json!({
        "id": hook.id, "name": hook.name, "url": hook.url, "created_ms": hook.created_ms, "last_ok_ms": hook.last_ok_ms,
        "failures": hook.failures, "last_error": hook.last_error, "ended": hook.ended,
    })
}

/// `GET /api/v1/status_page/webhooks`
pub(crate) async fn webhooks(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let all: Vec<Value> = keeper(&api)?.hooks.list().iter().map(hook).collect();
    Ok(reply::success_of(&all))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHook {
    url: String,
    #[serde(default)]
    name: String,
}

/// `POST /api/v1/status_page/webhooks`
pub(crate) async fn add_webhook(State(api): State<Arc<Api>>, body: Bytes) -> Result<Response, ApiError> {
    let new: NewHook = read(&body, "webhook")?;
    let (made, secret) = keeper(&api)?.hooks.add(&new.name, &new.url).await?;
    let mut shown = hook(&made);
    shown["secret"] = Value::String(secret);
    Ok(reply::success_of(&shown))
}

/// `DELETE /api/v1/status_page/webhooks/{id}`
pub(crate) async fn remove_webhook(
    State(api): State<Arc<Api>>,
    Path(id): Path<u64>,
) -> Result<Response, ApiError> {
    keeper(&api)?.hooks.remove(id).await?;
    Ok(reply::success_of(&()))
}
