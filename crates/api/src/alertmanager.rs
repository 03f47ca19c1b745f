//! Alertmanager's API v2, so that Prometheus, Grafana, `amtool` and karma work against this server.

use std::sync::Arc;

use alerts::api::{self as am, AlertQuery};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use model::ErrorKind;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::params::Params;
use crate::reply;
use crate::server::Api;

/// An error in Alertmanager's shape: a JSON string.
pub(crate) struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, axum::Json(self.1)).into_response()
    }
}

impl From<alerts::Error> for Refused {
    fn from(err: alerts::Error) -> Self {
        let status = match err.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Limit => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable | ErrorKind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut text = err.to_string();
        let mut cause = std::error::Error::source(&err);
        while let Some(err) = cause {
            text.push_str(&format!(": {err}"));
            cause = err.source();
        }
        Self(status, text)
    }
}

impl From<crate::error::ApiError> for Refused {
    fn from(err: crate::error::ApiError) -> Self {
        Self(StatusCode::BAD_REQUEST, err.message)
    }
}

type Answer = Result<Response, Refused>;

fn json(value: impl Serialize) -> Answer {
    Ok(axum::Json(value).into_response())
}

fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Refused> {
    serde_json::from_slice(bytes)
        .map_err(|err| Refused(StatusCode::BAD_REQUEST, format!("the body cannot be read: {err}")))
}

/// `GET /api/v2/status`
pub(crate) async fn status(State(api): State<Arc<Api>>) -> Answer {
    json(am::status(&api.dispatcher, api.started))
}

/// `GET /api/v2/receivers`
pub(crate) async fn receivers(State(api): State<Arc<Api>>) -> Answer {
    json(am::receivers(&api.dispatcher))
}

/// `GET /api/v2/alerts`
pub(crate) async fn alerts(State(api): State<Arc<Api>>, uri: Uri, headers: HeaderMap) -> Answer {
    Ok(reply::streamed(am::alerts(&api.dispatcher, &query(&uri, &headers)?)?))
}

/// `GET /api/v2/alerts/groups`
pub(crate) async fn groups(State(api): State<Arc<Api>>, uri: Uri, headers: HeaderMap) -> Answer {
    Ok(reply::streamed(am::groups(&api.dispatcher, &query(&uri, &headers)?)?))
}

/// `POST /api/v2/alerts`
pub(crate) async fn post_alerts(State(api): State<Arc<Api>>, bytes: Bytes) -> Answer {
    am::post_alerts(&api.dispatcher, body(&bytes)?).await?;
    Ok(StatusCode::OK.into_response())
}

/// `GET /api/v2/silences`
pub(crate) async fn silences(State(api): State<Arc<Api>>, uri: Uri, headers: HeaderMap) -> Answer {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let filter: Vec<String> = params.all("filter").map(str::to_owned).collect();
    json(am::silences(&api.dispatcher, &filter)?)
}

/// `POST /api/v2/silences`
pub(crate) async fn post_silence(State(api): State<Arc<Api>>, bytes: Bytes) -> Answer {
    json(am::post_silence(&api.dispatcher, body(&bytes)?).await?)
}

/// `GET /api/v2/silence/{id}`
pub(crate) async fn silence(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    json(am::silence(&api.dispatcher, &id)?)
}

/// `DELETE /api/v2/silence/{id}`
pub(crate) async fn delete_silence(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    am::delete_silence(&api.dispatcher, &id).await?;
    Ok(StatusCode::OK.into_response())
}

fn query(uri: &Uri, headers: &HeaderMap) -> Result<AlertQuery, Refused> {
    let params = Params::read(uri, headers, &Bytes::new())?;
    let all = AlertQuery::default();
    Ok(AlertQuery {
        active: params.flag("active")?.unwrap_or(all.active),
        silenced: params.flag("silenced")?.unwrap_or(all.silenced),
        inhibited: params.flag("inhibited")?.unwrap_or(all.inhibited),
        muted: params.flag("muted")?.unwrap_or(all.muted),
        unprocessed: params.flag("unprocessed")?.unwrap_or(all.unprocessed),
        filter: params.all("filter").map(str::to_owned).collect(),
        receiver: params.get("receiver").map(str::to_owned),
    })
}
