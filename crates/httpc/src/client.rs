//! A client: connections, credentials, caps.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, NoProxy, Proxy, StatusCode, Url};
use tokio::time::Instant;

use crate::aws::{SigV4, Signer};
use crate::config::Config;
use crate::error::Error;
use crate::file::Watched;
use crate::oauth2::{self, Token};
use crate::secret::Secret;
use crate::tls;

/// How often the files behind TLS are looked at.
const TLS_CHECK: Duration = Duration::from_secs(5);

/// What a client's user decides, as opposed to its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Until the whole answer is there, unless the request says otherwise.
    pub timeout: Duration,
    /// Until there is a connection.
    pub connect_timeout: Duration,
    /// Redirects that are followed, when the configuration allows any.
    pub max_redirects: usize,
    /// Idle connections kept for each host.
    pub idle_per_host: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Whether gzip and zstd are asked for.
    pub compression: bool,
    /// Talk to this UNIX socket instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// Sign every request for AWS.
    pub sigv4: Option<SigV4>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user_agent: concat!("bellwether/", env!("CARGO_PKG_VERSION")).into(),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            max_redirects: 10,
            idle_per_host: 2,
            idle_timeout: Duration::from_secs(300),
            compression: true,
            unix_socket: None,
            sigv4: None,
        }
    }
}

/// One request. Credentials and configured headers are added by the client.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, POST, …
    pub method: Method,
    /// Absolute.
    pub url: Url,
    /// Headers of this request; they win over the configured ones.
    pub headers: HeaderMap,
    /// Empty for none.
    pub body: Bytes,
    /// Instead of [`Options::timeout`].
    pub timeout: Option<Duration>,
}

impl Request {
    /// A request without body.
    ///
    /// # Errors
    /// `Url` when `url` is not absolute or not HTTP.
    pub fn new(method: Method, url: &str) -> Result<Self, Error> {
        let bad = |reason: String| Error::Url { url: url.to_owned(), reason };
        let parsed = Url::parse(url).map_err(|err| bad(err.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(bad("the scheme must be http or https".into()));
        }
        Ok(Self { method, url: parsed, headers: HeaderMap::new(), body: Bytes::new(), timeout: None })
    }

    /// GET.
    ///
    /// # Errors
    /// `Url` when `url` is not absolute or not HTTP.
    pub fn get(url: &str) -> Result<Self, Error> {
        Self::new(Method::GET, url)
    }

    /// POST with a body.
    ///
    /// # Errors
    /// `Url` when `url` is not absolute or not HTTP, `Header` when the type cannot be sent.
    pub fn post(url: &str, content_type: &str, body: impl Into<Bytes>) -> Result<Self, Error> {
        let mut request = Self::new(Method::POST, url)?.header("content-type", content_type)?;
        request.body = body.into();
        Ok(request)
    }

    /// Adds a header.
    ///
    /// # Errors
    /// `Header` when the name or value cannot be sent.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        let (name, value) = header(name, value)?;
        self.headers.append(name, value);
        Ok(self)
    }

    /// Sets the timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    timeout: Duration,
}

impl Response {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// A header as text, `None` when it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Where the answer came from, after redirects.
    pub fn url(&self) -> &Url {
        self.inner.url()
    }

    /// Reads the body, decompressed.
    ///
    /// # Errors
    /// `BodyTooLarge` as soon as more than `limit` bytes have come, `Timeout` and `Exchange`.
    pub async fn bytes(self, limit: usize) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        self.read_into(limit, |part| body.extend_from_slice(part)).await?;
        Ok(body.freeze())
    }

    /// Reads the body, decompressed, into a buffer that is cleared first and keeps its memory.
    ///
    /// # Errors
    /// As [`Response::bytes`].
    pub async fn read(self, limit: usize, body: &mut Vec<u8>) -> Result<(), Error> {
        body.clear();
        self.read_into(limit, |part| body.extend_from_slice(part)).await
    }

    /// The next part of the body, decompressed; `None` at its end. For answers that never end by themselves: the caller
    /// bounds what it keeps, the request's timeout bounds the whole.
    ///
    /// # Errors
    /// `Timeout` and `Exchange`.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let url = public(self.inner.url());
        self.inner.chunk().await.map_err(|err| failed(err, &url, self.timeout, 0))
    }

    async fn read_into(mut self, limit: usize, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        let url = public(self.inner.url());
        let mut len = 0usize;
        while let Some(part) = self.inner.chunk().await.map_err(|err| failed(err, &url, self.timeout, 0))? {
            len += part.len();
            if len > limit {
                return Err(Error::BodyTooLarge { url, limit });
            }
            take(&part);
        }
        Ok(())
    }
}

/// A client for one [`Config`]: keeps connections, adds credentials and headers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    options: Options,
    /// The main connection pool.
    http: Mutex<Pool>,
    /// The token endpoint's.
    token_http: Mutex<Option<Pool>>,
    token: tokio::sync::Mutex<Option<Token>>,
    files: Mutex<Vec<Watched>>,
    signer: Option<Signer>,
}

#[derive(Clone, Debug)]
struct Pool {
    http: reqwest::Client,
    files: Vec<Watched>,
    checked: Instant,
}

impl Client {
    /// Checks the configuration and loads its certificates. Blocks on those files, not on the network.
    ///
    /// # Errors
    /// `Config`, `File`, `Tls`, `Url` (of the proxy).
    pub fn new(config: &Config, options: Options) -> Result<Self, Error> {
        config.validate()?;
        let signer = options.sigv4.as_ref().map(Signer::new).transpose()?;
        let http = pool(config, &options)?;
        let token_http = match &config.oauth2 {
            None => None,
            Some(_) => Some(pool(&token_config(config), &Options { unix_socket: None, ..options.clone() })?),
        };
        for (name, values) in &config.http_headers {
            for value in
                values.values.iter().map(String::as_str).chain(values.secrets.iter().map(Secret::expose))
            {
                header(name, value.trim())?;
            }
        }
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            options,
            http: Mutex::new(http),
            token_http: Mutex::new(token_http),
            token: tokio::sync::Mutex::new(None),
            files: Mutex::new(Vec::new()),
            signer,
        })))
    }

    /// What the client was made from.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Sends a request and waits for the answer's head. Any status is an answer.
    ///
    /// # Errors
    /// `File`, `Tls`, `Token` when credentials cannot be had; `Connect`, `Redirect`, `Timeout`, `Exchange`.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let timeout = request.timeout.unwrap_or(self.0.options.timeout);
        let url = public(&request.url);
        let request = match &self.0.signer {
            None => request,
            Some(signer) => {
                // The signer's client has no signer of its own: this nests once.
                let signed = tokio::time::timeout(timeout, Box::pin(signer.sign(request)));
                let Ok(signed) = signed.await else { return Err(Error::Timeout { url, after: timeout }) };
                signed?
            }
        };
        let prepared = tokio::time::timeout(timeout, async {
            let headers = self.request_headers().await?;
            Ok::<_, Error>((self.current().await?, headers))
        });
        let Ok(prepared) = prepared.await else { return Err(Error::Timeout { url, after: timeout }) };
        let (http, mut headers) = prepared?;
        let mut replaced: Option<HeaderName> = None;
        for (name, value) in request.headers {
            match (name, &replaced) {
                (Some(name), _) => {
                    headers.insert(&name, value);
                    replaced = Some(name);
                }
                (None, Some(name)) => {
                    headers.append(name, value);
                }
                (None, None) => {}
            }
        }
        let mut built = reqwest::Request::new(request.method, request.url);
        *built.headers_mut() = headers;
        *built.timeout_mut() = Some(timeout);
        if !request.body.is_empty() {
            *built.body_mut() = Some(request.body.into());
        }
        let limit = self.0.options.max_redirects;
        let inner = http.execute(built).await.map_err(|err| failed(err, &url, timeout, limit))?;
        Ok(Response { inner, timeout })
    }

    /// The headers that the configuration adds to a request: its own and the credentials. May ask for a token.
    ///
    /// # Errors
    /// `File` and `Token` when credentials cannot be had.
    pub async fn request_headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = self.configured_headers().await?;
        if let Some(value) = self.authorization().await? {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    /// The connection pool, made anew when a certificate file has changed.
    async fn current(&self) -> Result<reqwest::Client, Error> {
        let pool = self.0.http.lock().clone();
        if pool.files.is_empty() || pool.checked.elapsed() < TLS_CHECK {
            return Ok(pool.http);
        }
        let this = Arc::clone(&self.0);
        let fresh = off_thread(move || {
            let fresh = match pool.files.iter().any(Watched::changed) {
                true => self::pool(&this.config, &this.options)?,
                false => Pool { checked: Instant::now(), ..pool },
            };
            *this.http.lock() = fresh.clone();
            Ok::<_, Error>(fresh.http)
        });
        fresh.await?
    }

    async fn token_pool(&self) -> Result<reqwest::Client, Error> {
        let pool = self.0.token_http.lock().clone();
        let pool = pool.expect("a client with oauth2 has a token pool from the start");
        if pool.files.is_empty() || pool.checked.elapsed() < TLS_CHECK {
            return Ok(pool.http);
        }
        let this = Arc::clone(&self.0);
        let fresh = off_thread(move || {
            let fresh = match pool.files.iter().any(Watched::changed) {
                true => self::pool(
                    &token_config(&this.config),
                    &Options { unix_socket: None, ..this.options.clone() },
                )?,
                false => Pool { checked: Instant::now(), ..pool },
            };
            *this.token_http.lock() = Some(fresh.clone());
            Ok::<_, Error>(fresh.http)
        });
        fresh.await?
    }

    async fn configured_headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.0.config.http_headers {
            for value in &values.values {
                let (name, value) = header(name, value)?;
                headers.append(name, value);
            }
            for value in &values.secrets {
                let (name, value) = secret_header(name, value.expose())?;
                headers.append(name, value);
            }
            for file in &values.files {
                let text = self.file("http_headers.files", file).await?;
                let (name, value) = secret_header(name, text.trim())?;
                headers.append(name, value);
            }
        }
        Ok(headers)
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        let config = &self.0.config;
        let text = if let Some(basic) = &config.basic_auth {
            let user = match basic.username_file.as_os_str().is_empty() {
                true => basic.username.clone(),
                false => self.file("basic_auth.username_file", &basic.username_file).await?.trim().to_owned(),
            };
            let password =
                self.secret("basic_auth.password_file", &basic.password, &basic.password_file).await?;
            format!("Basic {}", base64(format!("{user}:{}", password.expose()).as_bytes()))
        } else if let Some(auth) = config.effective_authorization() {
            let field = "authorization.credentials_file";
            let credentials = self.secret(field, &auth.credentials, &auth.credentials_file).await?;
            let kind = if auth.kind.trim().is_empty() { "Bearer" } else { auth.kind.trim() };
            format!("{kind} {}", credentials.expose())
        } else if let Some(oauth2) = &config.oauth2 {
            let mut token = self.0.token.lock().await;
            match &*token {
                Some(token) if token.is_fresh() => token.header.expose().to_owned(),
                _ => {
                    let field = "oauth2.client_secret_file";
                    let secret =
                        self.secret(field, &oauth2.client_secret, &oauth2.client_secret_file).await?;
                    let fresh = oauth2::fetch(&self.token_pool().await?, oauth2, &secret).await?;
                    token.insert(fresh).header.expose().to_owned()
                }
            }
        } else {
            return Ok(None);
        };
        secret_header("authorization", &text).map(|(_, value)| Some(value))
    }

    async fn secret(&self, field: &'static str, inline: &Secret, file: &Path) -> Result<Secret, Error> {
        if file.as_os_str().is_empty() {
            return Ok(inline.clone());
        }
        Ok(Secret::new(self.file(field, file).await?.trim()))
    }

    /// A small file's text; read again when the file has changed.
    async fn file(&self, field: &'static str, path: &Path) -> Result<String, Error> {
        let this = Arc::clone(&self.0);
        let path = path.to_owned();
        off_thread(move || {
            let known = this.files.lock().iter().find(|f| f.path == path).cloned();
            if let Some(known) = known
                && !known.changed()
            {
                return Ok(known.content);
            }
            let read = Watched::read(&path).map_err(|source| Error::File { field, path, source })?;
            let content = read.content.clone();
            let mut files = this.files.lock();
            files.retain(|f| f.path != read.path);
            files.push(read);
            Ok(content)
        })
        .await?
    }
}

/// Runs file work where blocking is allowed.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|err| Error::File {
        field: "http_client_config",
        path: PathBuf::new(),
        source: std::io::Error::other(err),
    })
}

/// The configuration with which tokens are asked for.
fn token_config(config: &Config) -> Config {
    let Some(oauth2) = &config.oauth2 else { return Config::default() };
    Config {
        tls_config: oauth2.tls_config.clone(),
        proxy_url: oauth2.proxy_url.clone(),
        no_proxy: oauth2.no_proxy.clone(),
        proxy_from_environment: oauth2.proxy_from_environment,
        proxy_connect_header: oauth2.proxy_connect_header.clone(),
        ..Config::default()
    }
}

fn pool(config: &Config, options: &Options) -> Result<Pool, Error> {
    let (tls, files) = tls::client_config(&config.tls_config, config.enable_http2)?;
    let redirects = match config.follow_redirects {
        true => reqwest::redirect::Policy::limited(options.max_redirects),
        false => reqwest::redirect::Policy::none(),
    };
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(&options.user_agent)
        .redirect(redirects)
        .connect_timeout(options.connect_timeout)
        .pool_max_idle_per_host(options.idle_per_host)
        .pool_idle_timeout(options.idle_timeout)
        .tcp_nodelay(true)
        .referer(false)
        .gzip(options.compression)
        .zstd(options.compression);
    if !config.enable_http2 {
        builder = builder.http1_only();
    }
    if let Some(path) = &options.unix_socket {
        builder = builder.unix_socket(path.clone());
    }
    if !config.proxy_url.is_empty() {
        let url = config.proxy_url.expose();
        let bad = |err: reqwest::Error| Error::Url { url: "proxy_url".into(), reason: err.to_string() };
        let mut proxy = Proxy::all(url).map_err(bad)?.no_proxy(NoProxy::from_string(&config.no_proxy));
        let mut headers = HeaderMap::new();
        for (name, values) in &config.proxy_connect_header {
            for value in values {
                let (name, value) = secret_header(name, value.expose())?;
                headers.append(name, value);
            }
        }
        if !headers.is_empty() {
            proxy = proxy.headers(headers);
        }
        builder = builder.proxy(proxy);
    } else if !config.proxy_from_environment {
        builder = builder.no_proxy();
    }
    let http = builder.build().map_err(|err| Error::Tls { field: "tls_config", reason: shown(err) })?;
    Ok(Pool { http, files, checked: Instant::now() })
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    match (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        _ => Err(Error::Header(name.to_owned())),
    }
}

fn secret_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let (name, mut value) = header(name, value)?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// A URL without user name and password.
fn public(url: &Url) -> String {
    let mut url = url.clone();
    // Fails only for URLs that cannot carry credentials.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return url.to_string();
    }
    url.to_string()
}

/// An error and its causes, without the URL (which may hold a secret).
pub(crate) fn shown(err: reqwest::Error) -> String {
    let err = err.without_url();
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(&err);
    while let Some(err) = next {
        let part = err.to_string();
        // Wrappers often repeat what they wrap.
        if !part.is_empty() && !text.ends_with(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = err.source();
    }
    text
}

fn failed(err: reqwest::Error, url: &str, after: Duration, redirects: usize) -> Error {
    let url = url.to_owned();
    if err.is_timeout() {
        Error::Timeout { url, after }
    } else if err.is_redirect() {
        Error::Redirect { url, limit: redirects }
    } else if err.is_connect() {
        Error::Connect { url, reason: shown(err) }
    } else {
        Error::Exchange { url, reason: shown(err) }
    }
}

pub(crate) async fn read_capped(
    mut answer: reqwest::Response,
    limit: usize,
    url: &str,
) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|err| failed(err, url, Duration::ZERO, 0))? {
        if body.len() + part.len() > limit {
            return Err(Error::BodyTooLarge { url: url.to_owned(), limit });
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
