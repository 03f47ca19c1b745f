//! What there is: series, label names and values, metadata, exemplars.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::json;
use crate::params::{self, Params};
use crate::reply;
use crate::server::Api;

const TRUNCATED: &str = "results truncated due to limit";

/// `GET|POST /api/v1/labels`
pub(crate) async fn label_names(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &body)?;
    let (tenant, range, limit) = (params::tenant(&headers)?, params.any_range()?, params.limit("limit")?);
    let selectors = params.selectors(&api.options)?;
    if range.end < range.start {
        return Ok(reply::success(b"[]", &[], &[]));
    }
    let found = api.querier.label_names(&tenant, &selectors, range, ask(limit)).await?;
    Ok(names(found.names, found.warnings, limit))
}

/// `GET /api/v1/label/{name}/values`
pub(crate) async fn label_values(
    State(api): State<Arc<Api>>,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let Path(name) = name.map_err(|_| ApiError::bad_data("invalid label name: it is not UTF-8"))?;
    let name = unescape(&name).filter(|name| !name.is_empty());
    let name =
        name.ok_or_else(|| ApiError::bad_data("invalid label name: it is empty or not well escaped"))?;
    let (tenant, range, limit) = (params::tenant(&headers)?, params.any_range()?, params.limit("limit")?);
    let selectors = params.selectors(&api.options)?;
    if range.end < range.start {
        return Ok(reply::success(b"[]", &[], &[]));
    }
    let found = api.querier.label_values(&tenant, &name, &selectors, range, ask(limit)).await?;
    Ok(names(found.names, found.warnings, limit))
}

/// `GET|POST /api/v1/series`
pub(crate) async fn series(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &body)?;
    let (tenant, range, limit) = (params::tenant(&headers)?, params.any_range()?, params.limit("limit")?);
    let selectors = params.selectors(&api.options)?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    if range.end < range.start {
        return Ok(reply::success(b"[]", &[], &[]));
    }
    let (mut found, mut warnings) = api.querier.series(&tenant, &selectors, range, ask(limit)).await?;
    if limit > 0 && found.len() > limit {
        found.truncate(limit);
        truncated(&mut warnings);
    }
    let mut out = Vec::with_capacity(found.len() * 128);
    out.push(b'[');
    for (i, labels) in found.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json::labels(&mut out, labels);
    }
    out.push(b']');
    Ok(reply::success(&out, &warnings, &[]))
}

/// `GET /api/v1/metadata`
pub(crate) async fn metadata(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let (limit, per_metric) = (params.limit_or_all("limit")?, params.limit_or_all("limit_per_metric")?);
    let tenant = params::tenant(&headers)?;
    if limit == Some(0) {
        return Ok(reply::success(b"{}", &[], &[]));
    }
    let mut found = api.querier.metadata(&tenant, params.get("metric"), limit.unwrap_or(0)).await?;
    if let Some(per_metric) = per_metric.filter(|&limit| limit > 0) {
        found.values_mut().for_each(|entries| entries.truncate(per_metric));
    }
    Ok(reply::success_of(&found))
}

/// `GET|POST /api/v1/query_exemplars`
pub(crate) async fn exemplars(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &body)?;
    let (tenant, range) = (params::tenant(&headers)?, params.range()?);
    let expr = promql::parse(params.get("query").unwrap_or_default(), &api.options)
        .map_err(|err| ApiError::parameter("query", err))?;
    let selectors: Vec<model::Selector> = expr.selectors().into_iter().cloned().collect();
    if selectors.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let found = api.querier.exemplars(&tenant, &selectors, range).await?;
    let mut out = vec![b'['];
    for (i, series) in found.iter().enumerate() {
        out.extend_from_slice(if i > 0 { b",{\"seriesLabels\":" } else { b"{\"seriesLabels\":" });
        json::labels(&mut out, &series.labels);
        out.extend_from_slice(b",\"exemplars\":[");
        for (j, exemplar) in series.exemplars.iter().enumerate() {
            out.extend_from_slice(if j > 0 { b",{\"labels\":" } else { b"{\"labels\":" });
            json::labels(&mut out, &exemplar.labels);
            out.extend_from_slice(b",\"value\":\"");
            json::float(&mut out, exemplar.value);
            out.extend_from_slice(b"\",\"timestamp\":");
            json::timestamp(&mut out, exemplar.at.ms());
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
    Ok(reply::success(&out, &[], &[]))
}

/// One more than the limit, to know whether there are more.
fn ask(limit: usize) -> usize {
    if limit == 0 { 0 } else { limit.saturating_add(1) }
}

/// Says once that there is more; the storage may have said it.
fn truncated(warnings: &mut Vec<String>) {
    if !warnings.iter().any(|warning| warning == TRUNCATED) {
        warnings.push(TRUNCATED.to_owned());
    }
}

fn names(mut names: Vec<String>, mut warnings: Vec<String>, limit: usize) -> Response {
    if limit > 0 && names.len() > limit {
        names.truncate(limit);
        truncated(&mut warnings);
    }
    let mut out = Vec::with_capacity(names.len() * 24);
    json::strings(&mut out, names.iter().map(String::as_str));
    reply::success(&out, &warnings, &[])
}

/// Undoes the `U__` escaping by which a label name that is not a legacy name fits in a path: `__` is an underscore,
/// `_2e_` the character with that hexadecimal code. Other names stand for themselves.
///
/// Source: the Prometheus manual, "Querying label values".
fn unescape(name: &str) -> Option<String> {
    let Some(escaped) = name.strip_prefix("U__") else { return Some(name.to_owned()) };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some((plain, tail)) = rest.split_once('_') {
        out.push_str(plain);
        let (code, after) = tail.split_once('_')?;
        if code.is_empty() {
            out.push('_');
        } else {
            out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_unescaped() {
        assert_eq!(unescape("job").as_deref(), Some("job"));
        assert_eq!(unescape("U__http_2e_status_3a_code").as_deref(), Some("http.status:code"));
        assert_eq!(unescape("U__a__b").as_deref(), Some("a_b"));
        assert_eq!(unescape("U___1f600_").as_deref(), Some("😀"));
        assert_eq!(unescape("U__a_zz_"), None);
        assert_eq!(unescape("U__a_2e"), None);
    }
}
