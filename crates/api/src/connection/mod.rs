//! Accepted connections: how many there may be, and request targets that the HTTP library would refuse.

/// What is written to a wrapper goes to its `inner` as it is.
macro_rules! writes_to_inner {
    ($wrapper:ident) => {
        impl<Io: tokio::io::AsyncWrite + Unpin> tokio::io::AsyncWrite for $wrapper<Io> {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.inner).poll_write(cx, buf)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                self.inner.is_write_vectored()
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.inner).poll_flush(cx)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.inner).poll_shutdown(cx)
            }
        }
    };
}

mod opening;
mod serve;
mod target;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use opening::Opening;
pub(crate) use serve::{Limits, serve};
use target::Rewriter;

/// A pause after the system refused a connection, so that it can recover.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most connections of the small listeners: agents, vantage points, watchers.
const SMALL: usize = 512;

/// A listener that leaves further clients waiting in the kernel's queue while `web.max_connections` are open, as Prometheus
/// does.
pub(crate) struct Incoming {
    listener: TcpListener,
    places: Arc<Semaphore>,
    open: Gauge,
    waited: Counter,
}

impl Incoming {
    pub(crate) fn new(listener: TcpListener, max_connections: usize, open: Gauge, waited: Counter) -> Self {
        let places = Arc::new(Semaphore::new(max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        Self { listener, places, open, waited }
    }

    /// For what serves little and shows no metrics of its own.
    pub(crate) fn small(listener: TcpListener) -> Self {
        Self::new(listener, SMALL, Gauge::default(), Counter::default())
    }

    async fn accept(&mut self) -> (TcpStream, Place) {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.waited.inc();
                let place = Arc::clone(&self.places).acquire_owned().await;
                place.expect("the semaphore is never closed")
            }
        };
        let place = Place::new(place, self.open.clone());
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return (stream, place),
                Err(err) if is_of_the_client(&err) => {}
                Err(err) => {
                    tracing::warn!(error = %err, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The client went away before it was accepted.
fn is_of_the_client(err: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(err.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A place among the open connections, until it is dropped.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, open: Gauge) -> Self {
        open.inc();
        Self { _permit: permit, open }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A byte stream whose request targets are percent-encoded on the way in.
#[derive(Debug)]
pub(crate) struct Connection<Io> {
    inner: Io,
    rewriter: Rewriter,
    /// Rewritten bytes that did not fit into the reader's buffer.
    rest: BytesMut,
    _place: Option<Place>,
}

impl<Io> Connection<Io> {
    fn new(inner: Io, place: Option<Place>) -> Self {
        Self { inner, rewriter: Rewriter::default(), rest: BytesMut::new(), _place: place }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Connection<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let Some(changed) = this.rewriter.rewrite(&buf.filled()[before..]) else {
                return Poll::Ready(Ok(()));
            };
            buf.set_filled(before);
            this.rest.extend_from_slice(&changed);
        }
        let count = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..count]);
        this.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

writes_to_inner!(Connection);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_read_next() {
        let request = b"GET /q?a=\"\"\"\"\"\" HTTP/1.1\r\n\r\n";
        let mut connection = Connection::new(&request[..], None);
        let mut seen = Vec::new();
        let mut small = [0; 5];
        loop {
            match connection.read(&mut small).await.unwrap() {
                0 => break,
                n => seen.extend_from_slice(&small[..n]),
            }
        }
        let expected = "GET /q?a=%22%22%22%22%22%22 HTTP/1.1\r\n\r\n";
        assert_eq!(String::from_utf8(seen).unwrap(), expected);
    }
}
