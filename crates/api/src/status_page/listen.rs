//! The page's own listener: finished bytes and nothing behind them, on a thread of its own, so that neither a core that
//! recovers nor one that is overloaded is waited for.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tokio::sync::watch;
use tower_http::compression::CompressionLayer;

use super::publish::{Published, Rendered};
use crate::connection::{self, Incoming, Limits};
use crate::metrics::StatusPageMetrics;
use crate::server::{ListenError, Listener};

/// Nothing but its own style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors *; base-uri 'none'; form-action 'none'";

/// Everybody may connect, so nobody keeps a place by silence or by reading slowly.
const LIMITS: Limits = Limits { head: Duration::from_secs(20), connection: Some(Duration::from_secs(120)) };

/// The page cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The address is taken or not ours.
    #[error("status_page.listen_address")]
    Listen(#[from] ListenError),
    /// The system gives no thread or no events.
    #[error("the status page cannot be served")]
    Start(#[from] std::io::Error),
}

/// A page that is served; ends when it is dropped.
pub struct Serving {
    /// The address with its real port.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the status page had ended badly");
        }
    }
}

/// Serves the page on `address` from a thread of its own.
///
/// # Errors
/// See [`PageError`].
pub async fn serve(
    address: &str,
    max_connections: usize,
    published: Arc<Published>,
    metrics: StatusPageMetrics,
) -> Result<Serving, PageError> {
    let listener = Listener::bind(address).await?;
    let address = listener.address();
    let listener: StdListener = listener.into_inner().into_std()?;
    let (stop, mut stopping) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        let ended = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let (open, waited) = (metrics.connections.clone(), metrics.connections_waited.clone());
            let incoming = Incoming::new(listener, max_connections, open, waited);
            let stopped = async move {
                // An error means that the sender is gone: time to stop as well.
                drop(stopping.wait_for(|stop| *stop).await);
            };
            let served =
                connection::serve(incoming, router(published, metrics), LIMITS, None, std::future::pending());
            // Whoever reads slowly is not waited for: there is nothing to lose.
            tokio::select! {
                () = served => {}
                () = stopped => {}
            }
            Ok::<_, std::io::Error>(())
        });
        if let Err(err) = ended {
            tracing::error!(error = %err, "the listener of the status page has ended");
        }
    };
    let thread = std::thread::Builder::new().name("status-page".into()).spawn(serve)?;
    Ok(Serving { address, stop, thread: Some(thread) })
}

type Held = (Arc<Published>, StatusPageMetrics);

fn router(published: Arc<Published>, metrics: StatusPageMetrics) -> Router {
    let held: Held = (published, metrics);
    Router::new()
        .route("/", get(page))
        .route("/history", get(history))
        .route("/status.json", get(json))
        .route("/feed.rss", get(rss))
        .route("/feed.json", get(feed))
        .route("/-/healthy", get(async || "The status page is served.\n"))
        .fallback(async || (StatusCode::NOT_FOUND, "There is no such page. The status is at /\n"))
        .layer(middleware::from_fn_with_state(held.clone(), dressed))
        .layer(CompressionLayer::new())
        .with_state(held)
}

/// Counts, and adds what every answer carries.
async fn dressed(State((_, metrics)): State<Held>, request: Request, next: Next) -> Response {
    metrics.requests.inc();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("public, max-age=15"));
    response
}

fn answer(held: &Held, headers: &HeaderMap, kind: &'static str, pick: fn(&Rendered) -> &Bytes) -> Response {
    let Some(rendered) = held.0.rendered() else {
        let text = "The status is not known yet: the monitor has not reported. Try again in a moment.\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], text).into_response();
    };
    let body = pick(&rendered).clone();
    let tag = format!("\"{:08x}\"", crc32c::crc32c(&body));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes()) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    ([(header::CONTENT_TYPE, kind), (header::ETAG, tag.as_str())], body).into_response()
}

async fn page(State(held): State<Held>, headers: HeaderMap) -> Response {
    answer(&held, &headers, "text/html; charset=utf-8", |made| &made.page)
}

async fn history(State(held): State<Held>, headers: HeaderMap) -> Response {
    answer(&held, &headers, "text/html; charset=utf-8", |made| &made.history)
}

async fn json(State(held): State<Held>, headers: HeaderMap) -> Response {
    answer(&held, &headers, "application/json", |made| &made.json)
}

async fn rss(State(held): State<Held>, headers: HeaderMap) -> Response {
    answer(&held, &headers, "application/rss+xml; charset=utf-8", |made| &made.rss)
}

async fn feed(State(held): State<Held>, headers: HeaderMap) -> Response {
    answer(&held, &headers, "application/feed+json; charset=utf-8", |made| &made.feed)
}
