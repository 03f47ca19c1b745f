//! What is probed: small servers on free ports of loopback, which end with the runtime.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio_rustls::TlsAcceptor;

/// Where everything listens, and the files that modules name.
pub(crate) struct Targets {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) banner: SocketAddr,
    pub(crate) starttls: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) grpc_tls: SocketAddr,
    pub(crate) hanging: SocketAddr,
    pub(crate) closed: SocketAddr,
    pub(crate) unix: PathBuf,
    pub(crate) ca: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

type Body = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A certificate authority's file and a server's TLS settings.
fn certificates(folder: &Path) -> (PathBuf, TlsAcceptor, TlsAcceptor) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Test CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2040, 1, 2);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let mut params =
        CertificateParams::new(vec!["localhost".into(), "shop.test".into(), "127.0.0.1".into()]).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, "Shop, Inc");
    params.distinguished_name.push(DnType::CommonName, "shop.test");
    params.not_after = rcgen::date_time_ymd(2045, 3, 4);
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    let file = folder.join("ca.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    let acceptor = |protocols: &[&[u8]]| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    };
    (file, acceptor(&[b"h2", b"http/1.1"]), acceptor(&[]))
}

fn zipped(text: &str) -> Vec<u8> {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

/// The web site.
async fn page(request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    let path = request.uri().path().to_owned();
    let header =
        |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let answer = Response::builder();
    let answer = match path.as_str() {
        "/ok" => answer
            .header("last-modified", "Tue, 03 Feb 2026 04:05:06 GMT")
            .header("x-kind", "first")
            .header("x-kind", "second")
            .body(full("hello there, all is well")),
        "/redirect" => {
            answer.status(302).header("location", "/ok").header("set-cookie", "seen=1").body(full("moved"))
        }
        "/cookie" if header("cookie").contains("seen=1") => answer.body(full("cookie")),
        "/to-cookie" => answer
            .status(303)
            .header("location", "/cookie")
            .header("set-cookie", "seen=1; Path=/")
            .body(full("")),
        "/loop" => answer.status(301).header("location", "/loop").body(full("")),
        "/basic" if header("authorization") == "Basic dXNlcjpwYXNz" => answer.body(full("in")),
        "/bearer" if header("authorization") == "Bearer s3cret" => answer.body(full("in")),
        "/basic" | "/bearer" | "/cookie" => answer.status(401).body(full("who are you")),
        "/gzip" => answer.header("content-encoding", "gzip").body(full(zipped(&"squeezed ".repeat(200)))),
        "/chunked" => {
            let parts = [Ok(Frame::data(Bytes::from("one "))), Ok(Frame::data(Bytes::from("two")))];
            answer.body(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(parts))))
        }
        "/empty" => answer.status(204).body(full("")),
        "/host" => answer.body(full(format!(
            "host {}",
            request.uri().host().map_or_else(|| header("host"), str::to_owned)
        ))),
        "/post" => {
            let method = request.method().clone();
            let length = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes().len();
            answer.body(full(format!("{method} {length}")))
        }
        "/login" => {
            let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
            let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            match asked["user"].as_str() {
                Some("probe") => answer
                    .header("location", "/item/7")
                    .header("content-type", "application/json")
                    .body(full(r#"{"ok": true, "token": "t0k", "items": [{"id": 7}]}"#)),
                _ => answer.status(403).body(full("no")),
            }
        }
        "/item/7" if header("authorization") == "Bearer t0k" => {
            answer.body(full("<input name=\"csrf\" value=\"abc\">"))
        }
        "/done" if header("x-csrf") == "abc" => answer.body(full("done")),
        "/broken" => answer.status(500).body(full("boom")),
        _ => answer.status(404).body(full("nothing here")),
    };
    Ok(answer.unwrap())
}

/// A gRPC server whose health is by service: `""` and `ok` serve, `down` does not, others are unknown.
async fn health(request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    let service = body.get(7..).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    let answer = Response::builder().header("content-type", "application/grpc");
    let state: u8 = match service.as_str() {
        "" | "ok" => 1,
        "down" => 2,
        _ => {
            return Ok(answer
                .header("grpc-status", "5")
                .header("grpc-message", "unknown service")
                .body(full(""))
                .unwrap());
        }
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = [Ok(Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, state]))), Ok(Frame::trailers(trailers))];
    Ok(answer.body(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))).unwrap())
}

async fn serve_http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // A client that goes away is no fault of the server's.
    drop(server.serve_connection(TokioIo::new(stream), service_fn(page)).await);
}

async fn serve_grpc<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    drop(server.serve_connection(TokioIo::new(stream), service_fn(health)).await);
}

/// Calls `each` with every connection.
fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    each: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    drop(stream.write_all(b"220 mail.test ready\r\n").await);
    let mut buffer = [0; 512];
    while let Ok(length) = stream.read(&mut buffer).await {
        if length == 0 || stream.write_all(b"250 welcome\r\n").await.is_err() {
            break;
        }
    }
}

async fn upgrade(mut stream: tokio::net::TcpStream, tls: TlsAcceptor) {
    drop(stream.write_all(b"220 ready\r\n").await);
    let mut buffer = [0; 512];
    if stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
        drop(stream.write_all(b"220 go ahead\r\n").await);
        if let Ok(stream) = tls.accept(stream).await {
            greet(stream).await;
        }
    }
}

/// Answers to questions: A of a.test, SOA of zone.test, NXDOMAIN of everything else.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut out = question.to_vec();
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    out.truncate(end);
    let name = question[12..end - 5].to_vec();
    out[2] = 0x85;
    out[3] = 0x80;
    // Nothing additional, whatever the question has.
    out[10] = 0;
    out[11] = 0;
    let mut record = |kind: u16, ttl: u32, data: &[u8]| {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&1u16.to_be_bytes());
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(data);
    };
    if name == b"\x01a\x04test" {
        record(1, 60, &[192, 0, 2, 1]);
        record(1, 60, &[192, 0, 2, 2]);
        record(16, 30, b"\x05hello\x05world");
        (out[7], out[11]) = (2, 1);
    } else if name == b"\x04zone\x04test" {
        let mut soa = b"\x02ns\xc0\x0c\x04host\xc0\x0c".to_vec();
        for number in [2026u32, 7200, 3600, 1209600, 300] {
            soa.extend_from_slice(&number.to_be_bytes());
        }
        record(6, 300, &soa);
        out[7] = 1;
    } else {
        out[3] |= 3;
    }
    out
}

impl Targets {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ca, web_tls, plain_tls) = certificates(folder.path());
        let (listener, http) = listen().await;
        accept(listener, serve_http);
        let (listener, https) = listen().await;
        let tls = web_tls.clone();
        accept(listener, move |stream| {
            let tls = tls.clone();
            async move {
                if let Ok(stream) = tls.accept(stream).await {
                    serve_http(stream).await;
                }
            }
        });
        let (listener, banner) = listen().await;
        accept(listener, greet);
        let (listener, starttls) = listen().await;
        let tls = plain_tls.clone();
        accept(listener, move |stream| upgrade(stream, tls.clone()));
        let (listener, tls_address) = listen().await;
        accept(listener, move |stream| {
            let tls = plain_tls.clone();
            async move {
                if let Ok(stream) = tls.accept(stream).await {
                    greet(stream).await;
                }
            }
        });
        let (listener, grpc) = listen().await;
        accept(listener, serve_grpc);
        let (listener, grpc_tls) = listen().await;
        accept(listener, move |stream| {
            let tls = web_tls.clone();
            async move {
                if let Ok(stream) = tls.accept(stream).await {
                    serve_grpc(stream).await;
                }
            }
        });
        // The same port over both transports.
        let (listener, dns) = listen().await;
        let socket = UdpSocket::bind(dns).await.unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                drop(socket.send_to(&answer(&buffer[..length]), from).await);
            }
        });
        accept(listener, async |mut stream| {
            let Ok(length) = stream.read_u16().await else { return };
            let mut question = vec![0; usize::from(length)];
            if stream.read_exact(&mut question).await.is_ok() {
                let answer = answer(&question);
                let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
                drop(stream.write_all(&framed).await);
            }
        });
        let (listener, hanging) = listen().await;
        accept(listener, async |mut stream| {
            let mut buffer = [0; 512];
            while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        });
        let (listener, closed) = listen().await;
        drop(listener);
        let unix = folder.path().join("socket");
        let listener = UnixListener::bind(&unix).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(greet(stream));
            }
        });
        Self {
            http,
            https,
            banner,
            starttls,
            tls: tls_address,
            dns,
            grpc,
            grpc_tls,
            hanging,
            closed,
            unix,
            ca,
            folder,
        }
    }
}
