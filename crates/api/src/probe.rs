//! `/probe`, as the blackbox exporter has it: on the server, and alone at a vantage point.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use model::Family;
use probe::{Asked, Outcome, Prober, Refused};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tower_http::compression::CompressionLayer;
use wire::exposition::Format;
use wire::exposition::write::{finish, push_family};

use crate::connection::{self, Incoming, Limits};
use crate::error::ApiError;
use crate::server::{Api, Command, CommandRequest, Listener};

/// The module of a request that names none.
const DEFAULT_MODULE: &str = "http_2xx";
/// How long the scraper waits.
const TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

/// What a vantage point serves.
pub struct ProbeParts {
    /// Makes the probes.
    pub prober: Arc<Prober>,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// Where reloads go.
    pub commands: mpsc::Sender<CommandRequest>,
    /// Becomes true when it ends.
    pub stopping: watch::Receiver<bool>,
}

struct Alone {
    prober: Arc<Prober>,
    registry: Arc<Registry>,
    commands: mpsc::Sender<CommandRequest>,
}

impl Listener {
    /// Serves a vantage point until it is told to stop.
    pub async fn serve_probe(self, parts: ProbeParts) {
        let ProbeParts { prober, registry, commands, mut stopping } = parts;
        let router = Router::new()
            .route("/probe", get(alone))
            .route("/metrics", get(own_metrics))
            .route("/-/reload", post(reload).put(reload))
            .route("/-/healthy", get(async || "Healthy"))
            .fallback(get(index))
            .layer(CompressionLayer::new())
            .with_state(Arc::new(Alone { prober, registry, commands }));
        let stop = async move {
            // An error means that the sender is gone: time to stop as well.
            drop(stopping.wait_for(|stopping| *stopping).await);
        };
        connection::serve(Incoming::small(self.into_inner()), router, Limits::SMALL, None, stop).await;
    }
}

async fn alone(State(alone): State<Arc<Alone>>, query: RawQuery, headers: HeaderMap) -> Response {
    probe(&alone.prober, query.0.as_deref().unwrap_or_default(), &headers).await
}

/// `GET /probe` of the server.
pub(crate) async fn on_server(
    State(api): State<Arc<Api>>,
    query: RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    match api.probe.as_ref().filter(|probe| probe.endpoint) {
        Some(serving) => Ok(probe(&serving.prober, query.0.as_deref().unwrap_or_default(), &headers).await),
        None => Err(ApiError::not_found("this server does not answer /probe: set sources.probe.config_file")),
    }
}

async fn probe(prober: &Prober, query: &str, headers: &HeaderMap) -> Response {
    let (mut module, mut target, mut hostname, mut debug) =
        (String::new(), String::new(), String::new(), false);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        // The first of several counts, as in Go.
        let keep = |place: &mut String| {
            if place.is_empty() {
                *place = value.to_string();
            }
        };
        match &*name {
            "module" => keep(&mut module),
            "target" => keep(&mut target),
            "hostname" => keep(&mut hostname),
            "debug" => debug = value == "true",
            _ => {}
        }
    }
    let scrape_timeout = match headers.get(TIMEOUT_HEADER) {
        None => None,
        Some(value) => {
            let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
            let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let Some(limit) = limit else {
                let said = String::from_utf8_lossy(value.as_bytes()).into_owned();
                let text = format!(
                    "Failed to parse timeout from Prometheus header: {said:?} is no number of seconds\n"
                );
                return (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
            };
            Some(limit)
        }
    };
    let module = if module.is_empty() { DEFAULT_MODULE } else { &module };
    let hostname = Some(hostname.as_str()).filter(|name| !name.is_empty());
    match prober.probe(&Asked { module, target: &target, hostname, scrape_timeout }).await {
        Ok(outcome) if debug => told(prober, module, &outcome).into_response(),
        Ok(outcome) => {
            if let Some(reason) = &outcome.failure {
                tracing::debug!(%target, %module, %reason, "a probe failed");
            }
            exposition(&outcome.families(), headers)
        }
        Err(refused) => {
            let status = match refused {
                Refused::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, format!("{refused}\n")).into_response()
        }
    }
}

fn exposition(families: &[Family], headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = match accepted.contains("application/openmetrics-text") {
        true => Format::OpenMetrics100,
        false => Format::Text004,
    };
    let mut text = written(families, format);
    finish(&mut text, format);
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}

fn written(families: &[Family], format: Format) -> String {
    let mut text = String::with_capacity(families.len() * 256);
    for family in families {
        push_family(&mut text, format, family, None);
    }
    text
}

/// `debug=true`: what happened, for a person.
fn told(prober: &Prober, module: &str, outcome: &Outcome) -> String {
    let mut log = outcome.log.clone();
    log.push(match &outcome.failure {
        None => "Probe succeeded".to_owned(),
        Some(reason) => format!("Probe failed: {reason}"),
    });
    format!(
        "Logs for the probe:\n{}\n\n\n\nMetrics that would have been returned:\n{}\n\n\nModule configuration:\n{}\n",
        log.join("\n"),
        written(&outcome.families(), Format::Text004),
        prober.shown(module),
    )
}

async fn own_metrics(State(alone): State<Arc<Alone>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &alone.registry) {
        Ok(()) => {
            let kind = HeaderValue::from_static(Format::OpenMetrics100.content_type());
            let mut response = text.into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(err) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{err}\n")).into_response(),
    }
}

async fn reload(State(alone): State<Arc<Alone>>) -> Response {
    let (answer, outcome) = oneshot::channel();
    let gone = || "the program is ending".to_owned();
    let asked = alone.commands.send(CommandRequest { command: Command::Reload, answer }).await;
    let ended = match asked {
        Ok(()) => outcome.await.unwrap_or_else(|_| Err(gone())),
        Err(_) => Err(gone()),
    };
    match ended {
        Ok(()) => StatusCode::OK.into_response(),
        Err(reason) => (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {reason}\n"))
            .into_response(),
    }
}

async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><title>Bellwether probe</title><h1>Bellwether probe</h1><p><a href=\"/metrics\">Metrics</a>, \
         <code>/probe?target=example.com&amp;module=http_2xx</code>, and with <code>&amp;debug=true</code> what happened</p>",
    )
}
