//! The listener for uploads of browsers: apart from the API, with its own bounds, and nothing else behind it.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use clients::config::TlsFiles;
use clients::rollup::MAX_BYTES;
use clients::{Answer, Collector, Upload};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::connection::Opening;
use crate::server::Phase;

/// How often certificate files are looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(30);
/// Running uploads may finish for so long when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// A pause after the system refused a connection, so that it can recover.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The collector cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address} for uploads; choose another with --collector.listen-address")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("collector.tls: cannot use {path}: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A bound listener for uploads.
pub struct CollectListener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Certificate>>,
}

/// A certificate that is read again when its files change.
struct Certificate {
    files: TlsFiles,
    current: Mutex<(TlsAcceptor, [Option<SystemTime>; 2])>,
}

fn times(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.cert_file, &files.key_file]
        .map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok())
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, CollectError> {
    let fail = |path: &PathBuf, err: &dyn std::fmt::Display| CollectError::Tls {
        path: path.clone(),
        reason: err.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(&files.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|err| fail(&files.cert_file, &err))?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|err| fail(&files.key_file, &err))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|err| fail(&files.cert_file, &err))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Certificate {
    fn open(files: &TlsFiles) -> Result<Self, CollectError> {
        Ok(Self { files: files.clone(), current: Mutex::new((acceptor(files)?, times(files))) })
    }

    fn refresh(&self) {
        let seen = times(&self.files);
        if self.current.lock().1 == seen {
            return;
        }
        match acceptor(&self.files) {
            Ok(acceptor) => *self.current.lock() = (acceptor, seen),
            Err(err) => tracing::error!(error = %err, "the old certificate stays in use"),
        }
    }

    fn acceptor(&self) -> TlsAcceptor {
        self.current.lock().0.clone()
    }
}

impl CollectListener {
    /// Binds the address and reads the certificate, when there is one.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub async fn bind(address: &str, tls: &TlsFiles) -> Result<Self, CollectError> {
        let refused = |source| CollectError::Listen { address: address.to_owned(), source };
        let full = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
        let tls = match tls.cert_file.as_os_str().is_empty() {
            true => None,
            false => Some(Arc::new(Certificate::open(tls)?)),
        };
        let listener = TcpListener::bind(full.as_str()).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, tls })
    }

    /// The address with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves until the phase is [`Phase::Stopping`].
    pub async fn serve(self, collector: Arc<Collector>, mut phase: watch::Receiver<Phase>) {
        let places = Arc::new(Semaphore::new(collector.config().max_connections));
        let graceful = GracefulShutdown::new();
        let mut check = tokio::time::interval(CERTIFICATE_CHECK);
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (stream, peer) = tokio::select! {
                () = stopping(&mut phase) => break,
                _ = check.tick() => {
                    if let Some(tls) = &self.tls {
                        tls.refresh();
                    }
                    continue;
                }
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(err) => {
                        tracing::warn!(error = %err, "a connection for uploads was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let collector = Arc::clone(&collector);
            let acceptor = self.tls.as_ref().map(|tls| tls.acceptor());
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                let connections = collector.metrics().connections.clone();
                connections.inc();
                connection(stream, peer, acceptor, collector, watcher).await;
                connections.dec();
                drop(place);
            });
        }
        if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
            tracing::warn!("uploads that were still running after {GRACE:?} are dropped");
        }
    }
}

/// Ends when the server stops, or when nobody can say so any more.
async fn stopping(phase: &mut watch::Receiver<Phase>) {
    drop(phase.wait_for(|phase| *phase == Phase::Stopping).await);
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    collector: Arc<Collector>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let limit = collector.config().read_timeout.to_std();
    // A browser's report is one small packet.
    if let Err(err) = stream.set_nodelay(true) {
        tracing::debug!(error = %err, "TCP_NODELAY was not set");
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limit).max_buf_size(16 << 10);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64).keep_alive_interval(Some(limit));
    let service = service_fn(move |request| {
        let collector = Arc::clone(&collector);
        async move { Ok::<_, Infallible>(handle(&collector, peer.ip(), request).await) }
    });
    // What a client does wrong here is its own affair; the reports that came are counted.
    let ended = match tls {
        None => {
            watcher
                .watch(
                    builder.serve_connection(TokioIo::new(Opening::new(stream, limit)), service).into_owned(),
                )
                .await
        }
        Some(tls) => match tokio::time::timeout(limit, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                watcher
                    .watch(
                        builder
                            .serve_connection(TokioIo::new(Opening::new(stream, limit)), service)
                            .into_owned(),
                    )
                    .await
            }
            Ok(Err(err)) => return tracing::debug!(error = %err, "a TLS handshake for uploads failed"),
            Err(_) => return tracing::debug!("a TLS handshake for uploads took too long"),
        },
    };
    if let Err(err) = ended {
        tracing::debug!(error = %err, "a connection for uploads ended early");
    }
}

/// The client: the peer, or what the nth proxy from here saw.
fn client(peer: IpAddr, headers: &HeaderMap, hops: usize) -> IpAddr {
    if hops == 0 {
        return peer;
    }
    let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let list: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let place = list.len().checked_sub(hops).and_then(|index| list.get(index));
    place.and_then(|text| text.parse().ok()).unwrap_or(peer)
}

async fn handle(
    collector: &Arc<Collector>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let site = path.strip_prefix("/r/").map(str::to_owned);
    match (site, &method) {
        (Some(_), &Method::OPTIONS) => {
            collector.metrics().preflights.inc();
            respond(Answer { status: 204, message: String::new() })
        }
        (Some(site), &Method::POST) => respond(upload(collector, peer, &site, request).await),
        (Some(_), _) => respond(Answer { status: 405, message: "send reports with POST\n".into() }),
        (None, &Method::POST) if path == "/rollup" => respond(rollup(collector, request).await),
        (None, &Method::GET) if path == "/-/healthy" || path == "/-/ready" => {
            respond(Answer { status: 200, message: "Bellwether collector is ready.\n".into() })
        }
        (None, &Method::GET) if path == "/bellwether.js" => {
            let mut response = Response::new(Full::new(Bytes::from_static(AGENT)));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
            allow(headers);
            response
        }
        (None, _) => {
            respond(Answer { status: 404, message: "nothing is here; reports go to /r/SITE\n".into() })
        }
    }
}

/// The agent for pages, built from `agents/browser`.
static AGENT: &[u8] = include_bytes!("../../../agents/browser/dist/bellwether.js");

async fn body(request: Request<Incoming>, max: usize, limit: Duration) -> Result<Bytes, Answer> {
    let collected = tokio::time::timeout(limit, Limited::new(request.into_body(), max).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(err)) if err.is::<http_body_util::LengthLimitError>() => {
            Err(Answer { status: 413, message: format!("the body is larger than {max} bytes\n") })
        }
        Ok(Err(_)) => Err(Answer { status: 400, message: "the body ended early\n".into() }),
        Err(_) => Err(Answer { status: 408, message: "the body took too long\n".into() }),
    }
}

async fn upload(collector: &Arc<Collector>, peer: IpAddr, site: &str, request: Request<Incoming>) -> Answer {
    let config = collector.config();
    let headers = request.headers();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !["application/reports+json", "application/json", "text/plain", ""].contains(&kind) {
        return Answer {
            status: 415,
            message: "send application/reports+json, application/json or text/plain\n".into(),
        };
    }
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    let (origin, agent) = (text(header::ORIGIN), text(header::USER_AGENT).unwrap_or_default());
    let client = client(peer, headers, config.trusted_proxy_hops);
    let body = match body(request, config.max_body_bytes, config.read_timeout.to_std()).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let take = move |collector: &Collector, site: &str| {
        collector.upload(&Upload {
            path: site,
            origin: origin.as_deref(),
            user_agent: &agent,
            client,
            body: &body,
        })
    };
    if config.keep_reports.ms() == 0 {
        return take(collector, site);
    }
    let (collector, site) = (Arc::clone(collector), site.to_owned());
    match tokio::task::spawn_blocking(move || take(&collector, &site)).await {
        Ok(answer) => answer,
        Err(err) => {
            tracing::error!(error = %err, "an upload ended badly");
            Answer { status: 500, message: "internal error\n".into() }
        }
    }
}

async fn rollup(collector: &Arc<Collector>, request: Request<Incoming>) -> Answer {
    let signature = request.headers().get("bellwether-signature").and_then(|value| value.to_str().ok());
    let signature = signature.unwrap_or_default().to_owned();
    let body = match body(request, MAX_BYTES / 8, collector.config().read_timeout.to_std()).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let collector = Arc::clone(collector);
    match tokio::task::spawn_blocking(move || collector.receive(&body, &signature)).await {
        Ok(answer) => answer,
        Err(err) => {
            tracing::error!(error = %err, "a roll-up ended badly");
            Answer { status: 500, message: "internal error\n".into() }
        }
    }
}

/// Reports come from every origin, without credentials.
fn allow(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.message)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    allow(headers);
    if matches!(answer.status, 429 | 503) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_what_the_outermost_trusted_proxy_saw() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.9, 198.51.100.7"));
        headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.3"));
        let of = |hops| client(peer, &headers, hops).to_string();
        assert_eq!(of(0), "10.0.0.1");
        assert_eq!(of(1), "192.0.2.3");
        assert_eq!(of(2), "198.51.100.7");
        assert_eq!(of(9), "10.0.0.1");
    }
}
