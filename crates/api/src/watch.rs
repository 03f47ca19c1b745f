//! The web server of `bellwether watch`: takes heartbeats, shows what it sees.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use model::{Clock, Timestamp};
use serde_json::json;

use crate::connection::{self, Incoming, Limits};
use crate::server::Listener;

/// When each heartbeat that is expected last came.
pub struct Beats {
    clock: Arc<dyn Clock>,
    last: Mutex<BTreeMap<String, Timestamp>>,
}

impl Beats {
    /// Heartbeats with these names are expected from now on.
    pub fn new(names: impl IntoIterator<Item = String>, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        Self { clock, last: Mutex::new(names.into_iter().map(|name| (name, now)).collect()) }
    }

    /// When one last came, or was first expected.
    pub fn last(&self, name: &str) -> Option<Timestamp> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Notes one; whether it is expected.
    fn beat(&self, name: &str) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get_mut(name).map(|at| *at = self.clock.now()).is_some()
    }
}

/// What the watcher sees, as JSON.
pub type Status = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

type Shared = (Arc<Beats>, Status);

/// Serves `/beat/{name}`, `/status` and `/-/healthy` until `stopping` ends.
pub async fn serve(
    listener: Listener,
    beats: Arc<Beats>,
    status: Status,
    stopping: impl Future<Output = ()> + Send + 'static,
) {
    let router = Router::new()
        .route("/beat/{name}", get(beat).post(beat).head(beat))
        .route("/status", get(|State((_, status)): State<Shared>| async move { Json(status()) }))
        .route("/-/healthy", get(|| async { "Healthy.\n" }))
        .with_state((beats, status));
    connection::serve(Incoming::small(listener.into_inner()), router, Limits::SMALL, None, stopping).await;
}

async fn beat(State((beats, _)): State<Shared>, Path(name): Path<String>) -> Response {
    match beats.beat(&name) {
        true => (StatusCode::OK, "OK\n").into_response(),
        false => {
            let error = format!(
                "no heartbeat {name:?} is expected; add it to heartbeats of the watcher's configuration"
            );
            (StatusCode::NOT_FOUND, Json(json!({ "error": error }))).into_response()
        }
    }
}
