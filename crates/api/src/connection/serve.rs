//! Serving: one loop for every listener that speaks HTTP through a router.

use std::sync::Arc;
use std::time::Duration;

use axum::{Router, middleware};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Connection, Incoming, Opening, Place};
use crate::web_file::{self, WebFile};

/// How long a client may keep its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the head of a request, the wait for it included. Whoever is silent for longer loses the connection.
    pub(crate) head: Duration,
    /// For everything; `None` where answers may take any time.
    pub(crate) connection: Option<Duration>,
}

impl Limits {
    /// Of agents, vantage points and watchers.
    pub(crate) const SMALL: Self = Self { head: Duration::from_secs(60), connection: None };
}

/// Serves until `stop` ends, then lets running requests finish. `file`: users, certificates and headers.
pub(crate) async fn serve(
    mut incoming: Incoming,
    router: Router,
    limits: Limits,
    file: Option<Arc<WebFile>>,
    stop: impl Future<Output = ()>,
) {
    let router = match &file {
        Some(file) => router.layer(middleware::from_fn_with_state(Arc::clone(file), web_file::gate)),
        None => router,
    };
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, place) = tokio::select! {
            () = &mut stop => break,
            accepted = incoming.accept() => accepted,
        };
        let one = One { router: router.clone(), limits, file: file.clone(), place };
        tokio::spawn(one.serve(stream, graceful.watcher()));
    }
    // Nobody else gets in while the rest is served.
    drop(incoming);
    graceful.shutdown().await;
}

/// What one connection needs.
struct One {
    router: Router,
    limits: Limits,
    file: Option<Arc<WebFile>>,
    place: Place,
}

impl One {
    async fn serve(self, stream: TcpStream, watcher: Watcher) {
        let read = match &self.file {
            Some(file) => file.current().await,
            None => return self.speak(stream, true, watcher).await,
        };
        let Some(tls) = &read.tls else { return self.speak(stream, read.http2, watcher).await };
        match tokio::time::timeout(self.limits.head, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, read.http2, watcher).await,
            Ok(Err(err)) => tracing::debug!(error = %err, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn speak<Io>(self, stream: Io, http2: bool, watcher: Watcher)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let head = self.limits.head;
        let mut builder = Builder::new(TokioExecutor::new());
        if !http2 {
            builder = builder.http1_only();
        }
        builder.http1().timer(TokioTimer::new()).header_read_timeout(head);
        // A client that is gone without a word is found by its silence.
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(head));
        let connection = Opening::new(Connection::new(stream, Some(self.place)), head);
        let service = TowerToHyperService::new(self.router);
        let served = watcher.watch(builder.serve_connection(TokioIo::new(connection), service).into_owned());
        let ended = match self.limits.connection {
            None => served.await,
            Some(limit) => match tokio::time::timeout(limit, served).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("a connection was ended after {limit:?}"),
            },
        };
        // What a client does wrong here is its own affair.
        if let Err(err) = ended {
            tracing::debug!(error = %err, "a connection ended early");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;

    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;

    use super::*;

    /// A listener with a page that is answered and one that never ends; dropping the sender stops it.
    async fn serving(limits: Limits) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endless = || async {
            let (send, mut receive) = tokio::sync::mpsc::channel::<Bytes>(1);
            tokio::spawn(async move {
                while send.send(Bytes::from_static(b"more\n")).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            });
            Body::from_stream(futures_util::stream::poll_fn(move |cx| {
                receive.poll_recv(cx).map(|some| some.map(Ok::<_, Infallible>))
            }))
        };
        let router = Router::new().route("/", get(async || "page\n")).route("/endless", get(endless));
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        let served = tokio::spawn(serve(Incoming::small(listener), router, limits, None, stopped));
        (address, stop, served)
    }

    async fn ask(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well.
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn who_is_silent_or_slow_loses_the_connection() {
        let short = Duration::from_millis(300);
        let (address, stop, served) = serving(Limits { head: short, connection: None }).await;
        assert!(!ask(address, b"GET / HTTP/1.1\r\nHost: a").await.contains("page"));
        for silent in ["", "PRI * HTTP/2.0\r\n", "POST"] {
            assert!(!ask(address, silent.as_bytes()).await.contains("200 OK"), "{silent}");
        }
        // The wait for the next request ends the same way.
        assert!(ask(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.ends_with("page\n"));
        drop(stop);
        served.await.unwrap();
        let limits = Limits { head: Duration::from_secs(600), connection: Some(short) };
        let (address, stop, served) = serving(limits).await;
        assert!(ask(address, b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.contains("more\n"));
        drop(stop);
        served.await.unwrap();
    }
}
