//! Liveness, readiness, and what an operator may ask of the process over HTTP.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::server::{Api, Command, Phase};

/// `GET|HEAD /-/healthy`: the process answers.
pub(crate) async fn healthy() -> &'static str {
    "Bellwether is Healthy.\n"
}

/// `GET|HEAD /-/ready`: the data has been recovered and queries are answered.
pub(crate) async fn ready(State(api): State<Arc<Api>>) -> Response {
    match api.phase() {
        Phase::Ready => "Bellwether is Ready.\n".into_response(),
        Phase::Starting => {
            (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable: recovering data").into_response()
        }
        Phase::Stopping => {
            (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable: shutting down").into_response()
        }
    }
}

/// `POST|PUT /-/reload`: reads the configuration again.
pub(crate) async fn reload(State(api): State<Arc<Api>>) -> Response {
    if !api.web.enable_lifecycle {
        return disabled("reload");
    }
    match api.command(Command::Reload).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(reason) => (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {reason}\n"))
            .into_response(),
    }
}

/// `POST|PUT /-/quit`: shuts down in good order.
pub(crate) async fn quit(State(api): State<Arc<Api>>) -> Response {
    if !api.web.enable_lifecycle {
        return disabled("quit");
    }
    match api.command(Command::Quit).await {
        Ok(()) => "Requesting termination... Goodbye!".into_response(),
        Err(reason) => ApiError::new(crate::error::ErrorType::Internal, reason).into_response(),
    }
}

fn disabled(what: &str) -> Response {
    let text = format!("Lifecycle API is not enabled: start with --web.enable-lifecycle to use /-/{what}.\n");
    (StatusCode::FORBIDDEN, text).into_response()
}
