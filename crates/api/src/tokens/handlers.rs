//! `/api/v1/tokens`, `/api/v1/session`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::{COOKIE, shown};
use super::{Holder, NewToken, Token};
use crate::error::{ApiError, ErrorType};
use crate::reply;
use crate::server::Api;

fn json_of(token: &Token) -> Value {
    json!({
        "id": token.id, "name": token.name, "scopes": token.scopes, "created_ms": token.created_ms,
        "expires_ms": token.expires_ms, "last_used_ms": token.last_used_ms,
    })
}

/// `GET /api/v1/tokens`
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Response {
    let all: Vec<Value> = api.tokens.list().iter().map(json_of).collect();
    reply::success_of(&json!({ "mode": api.tokens.mode(), "tokens": all }))
}

/// `POST /api/v1/tokens`
pub(crate) async fn issue(State(api): State<Arc<Api>>, body: Bytes) -> Result<Response, ApiError> {
    let new: NewToken = serde_json::from_slice(&body)
        .map_err(|err| ApiError::bad_data(format!("the body is no token to issue: {err}")))?;
    let (token, secret) = api.tokens.issue(new).await?;
    tracing::info!(token = token.id, name = token.name, scopes = ?token.scopes, "a token was issued");
    let mut answer = json_of(&token);
    answer["token"] = Value::String(secret);
    Ok(reply::success_of(&answer))
}

/// `DELETE /api/v1/tokens/{id}`
pub(crate) async fn revoke(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    api.tokens.revoke(&id).await?;
    tracing::info!(token = id, "a token was revoked");
    Ok(reply::success_of(&()))
}

fn session(api: &Api, holder: Option<&Holder>) -> Response {
    reply::success_of(&json!({
        "mode": api.tokens.mode(),
        "name": holder.map(|holder| &holder.name),
        "scopes": holder.map(|holder| &holder.scopes),
    }))
}

/// `GET /api/v1/session`: who one is.
pub(crate) async fn whoami(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    session(&api, shown(&headers).and_then(|token| api.tokens.holder(&token)).as_ref())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: String,
}

/// `POST /api/v1/session`: keeps the token in a cookie.
pub(crate) async fn sign_in(State(api): State<Arc<Api>>, body: Bytes) -> Result<Response, ApiError> {
    let given: SignIn = serde_json::from_slice(&body)
        .map_err(|err| ApiError::bad_data(format!("the body has no token: {err}")))?;
    let token = given.token.trim();
    let Some(holder) = api.tokens.holder(token) else {
        api.metrics.tokens_refused.inc();
        return Err(ApiError::new(ErrorType::Unauthorized, "the token is not known, revoked or too old"));
    };
    let secure = if api.live.config().external_url.starts_with("https://") { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000{secure}");
    let cookie = HeaderValue::from_str(&cookie)
        .map_err(|_| ApiError::bad_data("the token has characters that a cookie cannot hold"))?;
    let mut response = session(&api, Some(&holder));
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// `DELETE /api/v1/session`: forgets it.
pub(crate) async fn sign_out(State(api): State<Arc<Api>>) -> Response {
    let mut response = session(&api, None);
    let cookie = HeaderValue::from_static("bellwether_token=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}
