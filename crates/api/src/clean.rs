//! Paths with empty, `.` and `..` segments: like Prometheus, the query API sends their clients to the path that they mean.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Answers with status 301 where the path is not clean.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let Some(mut location) = cleaned(uri.path()) else { return next.run(request).await };
    if let Some(query) = uri.query() {
        location.push('?');
        location.push_str(query);
    }
    let Ok(location) = HeaderValue::try_from(location) else { return next.run(request).await };
    (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, location)]).into_response()
}

/// The path that an unclean path of the query API means.
fn cleaned(path: &str) -> Option<String> {
    let unclean = |segment: &str| matches!(segment, "" | "." | "..");
    // The first segment is what stands before the first slash; a slash at the end is another path.
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if !inner.split('/').any(unclean) {
        return None;
    }
    let mut clean = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(clean.pop()),
            segment => clean.push(segment),
        }
    }
    let slash = if path.ends_with('/') { "/" } else { "" };
    let clean = format!("/{}{slash}", clean.join("/"));
    (clean.starts_with("/api/v1/") || clean == "/federate").then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unclean_paths_of_the_query_api_are_cleaned() {
        for (path, clean) in [
            ("//api/v1/query", Some("/api/v1/query")),
            ("/api/v1//query", Some("/api/v1/query")),
            ("/api/v1/./query/", Some("/api/v1/query/")),
            ("/api/v1/label/a/../b/values", Some("/api/v1/label/b/values")),
            ("/x/../federate", Some("/federate")),
            ("/../../api/v1/query", Some("/api/v1/query")),
            ("/api/v1/query", None),
            ("/api/v1/query/", None),
            ("/", None),
            ("//", None),
            ("//elsewhere/x", None),
            ("/metrics/job//instance/a", None),
            ("/api/v1/label/a..b/values", None),
        ] {
            assert_eq!(cleaned(path).as_deref(), clean, "{path}");
        }
    }
}
