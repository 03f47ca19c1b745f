//! The first bytes of a connection, in bounded time: the library that serves both versions of HTTP waits for them without one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

/// What HTTP/2 begins with (RFC 9113 section 3.4). The version is known at the first byte that differs, or after the last.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A byte stream that fails when its version of HTTP is not known in time.
#[derive(Debug)]
pub(crate) struct Opening<Io> {
    inner: Io,
    /// Bytes of the preface that were seen, and the wait for the next; `None` when the version is known.
    waiting: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<Io> Opening<Io> {
    pub(crate) fn new(inner: Io, limit: Duration) -> Self {
        Self { inner, waiting: Some((0, Box::pin(tokio::time::sleep(limit)))) }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Opening<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some((seen, end)) = &mut this.waiting else {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        };
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(cx, buf) else {
            ready!(end.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client said nothing")));
        };
        let new = &buf.filled()[before..];
        let same = new.iter().zip(&PREFACE[*seen..]).take_while(|(is, expected)| is == expected).count();
        *seen += same;
        if same < new.len() || *seen == PREFACE.len() {
            this.waiting = None;
        }
        Poll::Ready(read)
    }
}

writes_to_inner!(Opening);
