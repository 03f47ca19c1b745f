//! The web UI's built files, compiled in.

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use include_dir::{Dir, include_dir};

use crate::error::ApiError;

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../ui/dist");

/// Paths of interfaces, ours and Prometheus': one that is not served is not found, never a page.
const NOT_PAGES: [&str; 7] = ["api/", "-/", "federate", "version", "debug/", "consoles/", "metrics/"];

/// No script, style, font or request from anywhere but this server.
const CONTENT_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
     worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// Serves a file of the UI, or its page for any path that the page itself routes.
pub(crate) async fn serve(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if NOT_PAGES.iter().any(|prefix| path.starts_with(prefix)) {
        return ApiError::not_found(format!("there is no {}", uri.path())).into_response();
    }
    let file = FILES.get_file(path).filter(|_| !path.is_empty());
    let is_page = file.is_none();
    // A host's page may have dots in its name, so only what a built page asks for counts as a file.
    if is_page && (path.starts_with("assets/") || content_type(path) != UNKNOWN_TYPE) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Some(file) = file.or_else(|| FILES.get_file("index.html")) else {
        return (StatusCode::NOT_FOUND, "the web UI is not built in: run `npm run build` in ui/")
            .into_response();
    };
    let name = file.path().to_string_lossy();
    // Built assets carry a hash of their content in the name.
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let tag = format!("\"{:016x}\"", checksum(file.contents()));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes()) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let mut response = file.contents().into_response();
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(&name)));
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    set.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    set.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        set.insert(header::ETAG, tag);
    }
    response
}

const UNKNOWN_TYPE: &str = "application/octet-stream";

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => UNKNOWN_TYPE,
    }
}

/// FNV-1a: enough to tell one build's file from another's.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
