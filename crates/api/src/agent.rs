//! The agent's small HTTP server: metrics, events, health.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use model::Family;
use model::seam::BoxFuture;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tower_http::compression::CompressionLayer;
use wire::exposition::Format;
use wire::exposition::write::{finish, push_family};

use crate::connection::{self, Incoming, Limits};
use crate::error::{ApiError, ErrorType};
use crate::reply;
use crate::server::{Api, Listener};

/// Collections at once; further ones wait, as in node_exporter.
const MAX_COLLECTIONS: usize = 4;
/// Events in one answer.
const MAX_EVENTS: usize = 1000;

/// Makes the families.
pub type Collect = Arc<dyn Fn() -> BoxFuture<'static, Vec<Family>> + Send + Sync>;

/// What an agent serves.
pub struct Parts {
    /// Makes the families.
    pub collect: Collect,
    /// What happened to the host.
    pub events: host::events::Events,
    /// Where the metrics are: `/metrics`.
    pub path: String,
    /// Becomes true when the agent ends.
    pub stopping: watch::Receiver<bool>,
}

struct Agent {
    collect: Collect,
    events: host::events::Events,
    path: String,
    places: Semaphore,
}

impl Listener {
    /// Serves an agent until it is told to stop.
    pub async fn serve_agent(self, parts: Parts) {
        let Parts { collect, events, path, mut stopping } = parts;
        let agent = Arc::new(Agent { collect, events, path, places: Semaphore::new(MAX_COLLECTIONS) });
        let router = Router::new()
            .route(&agent.path, get(metrics))
            .route("/api/v1/host/events", get(agent_events))
            .route("/-/healthy", get(async || "Bellwether agent is healthy.\n"))
            .route("/-/ready", get(async || "Bellwether agent is ready.\n"))
            .fallback(get(index))
            .layer(CompressionLayer::new())
            .with_state(agent);
        let stop = async move {
            // An error means that the sender is gone: time to stop as well.
            drop(stopping.wait_for(|stopping| *stopping).await);
        };
        connection::serve(Incoming::small(self.listener), router, Limits::SMALL, None, stop).await;
    }
}

async fn metrics(State(agent): State<Arc<Agent>>, headers: HeaderMap) -> Response {
    let Ok(_place) = agent.places.acquire().await else {
        return ApiError::new(ErrorType::Unavailable, "the agent is ending").into_response();
    };
    let families = (agent.collect)().await;
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = if accepted.contains("application/openmetrics-text") {
        Format::OpenMetrics100
    } else {
        Format::Text004
    };
    let mut text = String::with_capacity(families.len() * 512);
    for family in &families {
        push_family(&mut text, format, family, None);
    }
    finish(&mut text, format);
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}

async fn index(State(agent): State<Arc<Agent>>) -> Html<String> {
    Html(format!(
        "<!doctype html><title>Bellwether agent</title><h1>Bellwether agent</h1><p><a href=\"{0}\">Metrics</a>, \
         <a href=\"/api/v1/host/events\">events</a></p>",
        agent.path
    ))
}

/// Which events.
#[derive(Debug, Deserialize)]
pub(crate) struct EventQuery {
    /// Those with a number above this.
    #[serde(default)]
    since: u64,
    /// At most this many, the newest.
    limit: Option<usize>,
}

async fn agent_events(State(agent): State<Arc<Agent>>, Query(query): Query<EventQuery>) -> Response {
    events(&agent.events, &query)
}

/// `GET /api/v1/host/events` of the server: what happened to the host that it runs on.
pub(crate) async fn host_events(State(api): State<Arc<Api>>, Query(query): Query<EventQuery>) -> Response {
    match &api.host_events {
        Some(known) => events(known, &query),
        None => {
            let message = "this server does not watch its host (sources.host.enabled is false)";
            ApiError::new(ErrorType::NotFound, message).into_response()
        }
    }
}

/// Events as JSON.
fn events(events: &host::events::Events, query: &EventQuery) -> Response {
    reply::success_of(&events.since(query.since, query.limit.unwrap_or(MAX_EVENTS).min(MAX_EVENTS)))
}
