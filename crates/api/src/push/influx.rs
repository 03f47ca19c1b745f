//! InfluxDB's write interfaces of versions 1 and 2, and what their clients ask besides.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ingest::push::influx::Version;
use serde::Deserialize;
use serde_json::json;

use super::{answer, pushed, switched_off};
use crate::server::Api;
use crate::{params, ui};

/// The version that clients are told; they decide by it how they write, and 1.8 has both interfaces.
const VERSION: &str = "1.8.10";

/// Parameters of both versions.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Parameters {
    precision: String,
    db: String,
    bucket: String,
    q: Option<String>,
}

/// `POST /write` and `/influx/write`.
pub(crate) async fn write_v1(
    State(api): State<Arc<Api>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    write(&api, Version::V1, &parameters.precision, &parameters.db, &headers, &body).await
}

/// `POST /api/v2/write` and `/influx/api/v2/write`.
pub(crate) async fn write_v2(
    State(api): State<Arc<Api>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    write(&api, Version::V2, &parameters.precision, &parameters.bucket, &headers, &body).await
}

async fn write(
    api: &Api,
    version: Version,
    precision: &str,
    database: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    if !api.push.is_enabled().influx {
        return switched_off("ingest.influx.enabled");
    }
    match params::tenant(headers) {
        Ok(tenant) => {
            answer(api.push.influx(version, precision, database, &pushed(&tenant, headers, body)).await)
        }
        Err(err) => err.into_response(),
    }
}

fn version() -> [(&'static str, &'static str); 2] {
    [("x-influxdb-version", VERSION), ("x-influxdb-build", "OSS")]
}

/// `GET` and `HEAD /ping`.
pub(crate) async fn ping() -> Response {
    (StatusCode::NO_CONTENT, version()).into_response()
}

/// `GET /health`
pub(crate) async fn health() -> Response {
    let body = json!({"name": "influxdb", "message": "ready for queries and writes", "status": "pass", "checks": [], "version": VERSION});
    (version(), Json(body)).into_response()
}

/// `POST /query`: clients create their database first; here every database exists.
pub(crate) async fn query(
    Query(mut parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_form = headers
        .get("content-type")
        .is_some_and(|v| v.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if parameters.q.is_none() && is_form {
        parameters.q =
            form_urlencoded::parse(&body).find(|(name, _)| name == "q").map(|(_, value)| value.into_owned());
    }
    run(parameters.q.as_deref().unwrap_or_default())
}

/// `GET /query`, with a statement; without one it is a page.
pub(crate) async fn query_or_page(
    Query(parameters): Query<Parameters>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match parameters.q {
        Some(statement) => run(&statement),
        None => ui::serve(uri, headers).await,
    }
}

fn run(statement: &str) -> Response {
    let upper = statement.trim().to_uppercase();
    let answer = if upper.starts_with("CREATE DATABASE") || upper.starts_with("CREATE RETENTION") {
        json!({"results": [{"statement_id": 0}]})
    } else if upper.starts_with("SHOW DATABASES") {
        json!({"results": [{"statement_id": 0, "series": [{"name": "databases", "columns": ["name"], "values": []}]}]})
    } else {
        let error = "InfluxQL is not spoken here; query with PromQL at /api/v1/query";
        return (StatusCode::BAD_REQUEST, version(), Json(json!({"error": error}))).into_response();
    };
    (version(), Json(answer)).into_response()
}
