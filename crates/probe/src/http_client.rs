//! One HTTP request on a connection of its own, with the time that each phase takes.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use httpc::Url;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::config::HttpProbe;
use crate::resolve::{choose, connect, find};
use crate::result::Outcome;
use crate::{Step, tls};

/// A proxy's answer to CONNECT is small.
const MAX_CONNECT_ANSWER: usize = 16 << 10;

/// One request.
pub(crate) struct Ask<'a> {
    pub(crate) config: &'a HttpProbe,
    pub(crate) url: &'a Url,
    /// For SNI and the certificate, when it is not the URL's host.
    pub(crate) server_name: Option<&'a str>,
    /// The `Host` header, when it is not the URL's.
    pub(crate) host: Option<&'a str>,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the series about the address are of this request.
    pub(crate) first: bool,
    /// Which step of a script this is.
    pub(crate) step: Option<&'a str>,
}

/// What one request has brought.
pub(crate) struct Answered {
    pub(crate) response: Response<Incoming>,
    pub(crate) shown: Option<tls::Shown>,
    /// When the head of the answer came.
    pub(crate) first_byte: Instant,
}

/// Adds the seconds of a phase.
pub(crate) fn phase(outcome: &mut Outcome, step: Option<&str>, phase: &str, seconds: f64) {
    match step {
        None => outcome.add(
            "probe_http_duration_seconds",
            "Duration of http request by phase, summed over all redirects",
            &[("phase", phase)],
            seconds,
        ),
        Some(step) => outcome.add(
            "probe_script_step_duration_seconds",
            "Duration of a step's request by phase, summed over all redirects",
            &[("phase", phase), ("step", step)],
            seconds,
        ),
    }
}

/// `host` or `host:port`, as the URL has it.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Sends a request.
pub(crate) async fn send(ask: Ask<'_>, outcome: &mut Outcome) -> Step<Answered> {
    let Ask { config, url, step, .. } = ask;
    let secure = match url.scheme() {
        "http" => false,
        "https" => true,
        other => return Err(format!("{other:?} is neither http nor https")),
    };
    let host = url.host_str().ok_or_else(|| format!("{url} has no host"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(80);
    let proxy = config.proxy_for(secure, bare)?;

    let resolve_target = ask.first && !(proxy.is_some() && config.skip_resolve_phase_with_proxy);
    let mut target = None;
    if resolve_target {
        let chosen = choose(bare, config.preferred_ip_protocol, config.ip_protocol_fallback, outcome).await;
        // Told even when it has failed; the other phases are then absent.
        let took = outcome.value("probe_dns_lookup_time_seconds", &[]).unwrap_or_default();
        phase(outcome, step, "resolve", took);
        let (address, _) = chosen?;
        target = Some(address);
    }
    if ask.first {
        for name in ["resolve", "connect", "tls", "processing", "transfer"] {
            phase(outcome, step, name, 0.0);
        }
    }
    let to: SocketAddr = match (&proxy, target) {
        (Some(proxy), _) => {
            let name = proxy.host_str().unwrap_or_default();
            let name = name.trim_start_matches('[').trim_end_matches(']');
            let (address, _) = find(name, config.preferred_ip_protocol, true, outcome).await?;
            (address, proxy.port_or_known_default().unwrap_or(80)).into()
        }
        (None, Some(address)) => (address, port).into(),
        (None, None) => {
            let (address, took) = find(bare, config.preferred_ip_protocol, true, outcome).await?;
            phase(outcome, step, "resolve", took);
            (address, port).into()
        }
    };

    let start = Instant::now();
    let mut stream = connect(to, "").await?;
    if let Some(proxy) = proxy.as_ref().filter(|_| secure) {
        tunnel(&mut stream, config, proxy, host, port).await?;
    }
    let connected = start.elapsed().as_secs_f64();
    let (stream, shown, http2) = if secure {
        let start = Instant::now();
        let name = ask.server_name.unwrap_or(bare);
        let (stream, shown) = tls::handshake(stream, &config.tls_config, name, config.enable_http2).await?;
        phase(outcome, step, "connect", connected);
        phase(outcome, step, "tls", start.elapsed().as_secs_f64());
        let http2 = tls::is_http2(&stream);
        (Either::Tls(Box::new(stream)), Some(shown), http2)
    } else {
        phase(outcome, step, "connect", connected);
        (Either::Plain(stream), None, false)
    };

    let mut builder = Request::builder().method(ask.method.clone());
    if let Some(headers) = builder.headers_mut() {
        *headers = ask.headers;
    }
    let sent = Instant::now();
    let failed = |err: hyper::Error| format!("the request failed: {}", shown_error(&err));
    let unmade = |err: hyper::http::Error| format!("the request cannot be made: {err}");
    let asked_host = ask.host.map_or_else(|| authority(url), str::to_owned);
    let response = if http2 {
        let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = made.map_err(failed)?;
        tokio::spawn(connection);
        // HTTP/2 has the host in the request's address.
        let mut asked = url.clone();
        let (name, port) = match asked_host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name.to_owned(), port.parse::<u16>().ok()),
            _ => (asked_host.clone(), None),
        };
        if ask.host.is_some() && (asked.set_host(Some(&name)).is_err() || asked.set_port(port).is_err()) {
            return Err(format!("{asked_host:?} is no host"));
        }
        let request =
            builder.uri(asked.as_str()).version(Version::HTTP_2).body(Full::new(ask.body)).map_err(unmade)?;
        sender.send_request(request).await.map_err(failed)?
    } else {
        let made = hyper::client::conn::http1::Builder::new().handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = made.map_err(failed)?;
        tokio::spawn(connection);
        let value = HeaderValue::from_str(&asked_host).map_err(|_| format!("{asked_host:?} is no host"))?;
        let path = match (&proxy, url.query()) {
            (Some(_), _) if !secure => url.as_str().to_owned(),
            (_, Some(query)) => format!("{}?{query}", url.path()),
            (_, None) => url.path().to_owned(),
        };
        let mut builder = builder.uri(path).header(header::HOST, value);
        if let Some(proxy) = proxy.as_ref().filter(|_| !secure)
            && let Some(value) = proxy_credentials(proxy)?
        {
            builder = builder.header(header::PROXY_AUTHORIZATION, value);
        }
        let request = builder.body(Full::new(ask.body)).map_err(unmade)?;
        sender.send_request(request).await.map_err(failed)?
    };
    phase(outcome, step, "processing", sent.elapsed().as_secs_f64());
    outcome.note(format!("{to} answered {}", response.status()));
    Ok(Answered { response, shown, first_byte: Instant::now() })
}

/// An error of hyper's with its cause.
fn shown_error(err: &hyper::Error) -> String {
    match std::error::Error::source(err) {
        Some(source) => format!("{err}: {source}"),
        None => err.to_string(),
    }
}

/// `Basic …` of the user and password in a proxy's URL.
fn proxy_credentials(proxy: &Url) -> Step<Option<HeaderValue>> {
    use base64::Engine;
    if proxy.username().is_empty() {
        return Ok(None);
    }
    let plain = format!("{}:{}", proxy.username(), proxy.password().unwrap_or_default());
    let mut value =
        HeaderValue::try_from(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain)))
            .map_err(|_| "the proxy's user and password cannot be sent".to_owned())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Asks a proxy for a tunnel to the target.
async fn tunnel(stream: &mut TcpStream, config: &HttpProbe, proxy: &Url, host: &str, port: u16) -> Step<()> {
    let mut text = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some(value) = proxy_credentials(proxy)? {
        text.push_str(&format!("Proxy-Authorization: {}\r\n", value.to_str().unwrap_or_default()));
    }
    for (name, values) in &config.proxy_connect_header {
        for value in values {
            if name.contains(['\r', '\n', ':']) || value.expose().contains(['\r', '\n']) {
                return Err(format!("proxy_connect_header {name:?} cannot be sent"));
            }
            text.push_str(&format!("{name}: {}\r\n", value.expose()));
        }
    }
    text.push_str("\r\n");
    let failed = |err: std::io::Error| format!("the proxy failed: {err}");
    stream.write_all(text.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_CONNECT_ANSWER {
            return Err("the proxy's answer is too long".into());
        }
        // Byte by byte: what follows the head belongs to the tunnel.
        answer.push(stream.read_u8().await.map_err(failed)?);
    }
    let head = String::from_utf8_lossy(&answer);
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("the proxy answered {:?}", head.lines().next().unwrap_or_default())),
    }
}

/// Reads a body up to a limit. What has come is returned with what went wrong.
pub(crate) async fn read(mut body: Incoming, limit: usize) -> (Vec<u8>, Option<String>) {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                let Ok(data) = frame.into_data() else { continue };
                let space = limit - read.len();
                if data.len() > space {
                    read.extend_from_slice(&data[..space]);
                    return (read, Some(format!("the body is larger than {limit} bytes")));
                }
                read.extend_from_slice(&data);
            }
            Err(err) => return (read, Some(format!("reading the body failed: {}", shown_error(&err)))),
        }
    }
    (read, None)
}

/// A connection with or without TLS.
pub(crate) enum Either {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Both kinds are read and written alike.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Self::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for Either {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Either {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
