//! The layer that asks for a token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Scope, needed};
use crate::error::{ApiError, ErrorType};
use crate::server::Api;

pub(super) const COOKIE: &str = "bellwether_token";

/// The token that a request shows: bearer, password of basic authentication, or the web UI's cookie.
pub(super) fn shown(headers: &HeaderMap) -> Option<String> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some((kind, rest)) = text(header::AUTHORIZATION).and_then(|value| value.split_once(' ')) {
        if kind.eq_ignore_ascii_case("bearer") {
            return Some(rest.trim().to_owned());
        }
        if kind.eq_ignore_ascii_case("basic") {
            let decoded = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
            return decoded.split_once(':').map(|(_, password)| password.to_owned());
        }
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

/// Lets a request through, or says what is missing.
pub(crate) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let form = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    let scope = needed(request.method(), request.uri().path(), form);
    match scope.filter(|scope| api.tokens.mode().asks_for(*scope)) {
        None => next.run(request).await,
        Some(scope) => match allowed(&api, headers, scope) {
            Ok(()) => next.run(request).await,
            Err(refused) => {
                api.metrics.tokens_refused.inc();
                let unknown = refused.kind == ErrorType::Unauthorized;
                let mut response = refused.into_response();
                if unknown {
                    let asks = HeaderValue::from_static("Bearer realm=\"bellwether\"");
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, asks);
                }
                response
            }
        },
    }
}

fn allowed(api: &Api, headers: &HeaderMap, scope: Scope) -> Result<(), ApiError> {
    let Some(token) = shown(headers) else {
        let message = format!(
            "this needs a token with the scope {}: send it as \"Authorization: Bearer …\" (web.tokens)",
            scope.as_str()
        );
        return Err(ApiError::new(ErrorType::Unauthorized, message));
    };
    let Some(holder) = api.tokens.holder(&token) else {
        return Err(ApiError::new(ErrorType::Unauthorized, "the token is not known, revoked or too old"));
    };
    if holder.may(scope) {
        return Ok(());
    }
    let own: Vec<&str> = holder.scopes.iter().map(|own| own.as_str()).collect();
    Err(ApiError::new(
        ErrorType::Forbidden,
        format!(
            "the token {:?} has the scope {}; this needs {}",
            holder.name,
            own.join(" and "),
            scope.as_str()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_in_three_ways() {
        let of = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            shown(&headers)
        };
        assert_eq!(of("authorization", "bearer  abc "), Some("abc".into()));
        // any:abc
        assert_eq!(of("authorization", "Basic YW55OmFiYw=="), Some("abc".into()));
        assert_eq!(of("authorization", "Basic ???"), None);
        assert_eq!(of("cookie", "a=1; bellwether_token=abc; b=2"), Some("abc".into()));
        assert_eq!(of("cookie", "bellwether_tokens=abc"), None);
        assert_eq!(of("accept", "*/*"), None);
    }
}
