//! The HTTP prober: redirects followed by hand, and what the module asks of the answer.

use std::io::Read;

use bytes::Bytes;
use httpc::Url;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Version};

use crate::Step;
use crate::config::HttpProbe;
use crate::cookies::Cookies;
use crate::http_client::{self, Answered, Ask, phase, read};
use crate::result::Outcome;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// Most bytes of an answer, whatever the module says.
pub(crate) const MAX_BODY_BYTES: u64 = 64 << 20;

const REGEX: (&str, &str) = ("probe_failed_due_to_regex", "Indicates if probe failed due to regex");
const SSL: (&str, &str) = ("probe_http_ssl", "Indicates if SSL was used for the final redirect");
const STATUS: (&str, &str) = ("probe_http_status_code", "Response HTTP status code");
const LENGTH: (&str, &str) = ("probe_http_content_length", "Length of http content response");
const BODY: (&str, &str) = ("probe_http_uncompressed_body_length", "Length of uncompressed response body");
const REDIRECTS: (&str, &str) = ("probe_http_redirects", "The number of redirects");
const VERSION: (&str, &str) = ("probe_http_version", "Returns the version of HTTP of the probe response");

fn begin(outcome: &mut Outcome) {
    for (name, help) in [LENGTH, BODY, REDIRECTS, SSL, STATUS, VERSION, REGEX] {
        outcome.set(name, help, 0.0);
    }
}

pub(crate) async fn probe(
    config: &HttpProbe,
    target: &str,
    hostname: Option<&str>,
    outcome: &mut Outcome,
) -> Step<()> {
    begin(outcome);
    let url = parse(target)?;
    let method = if config.method.is_empty() { "GET" } else { &config.method };
    let method: Method = method.parse().map_err(|_| format!("{method:?} is no method"))?;
    let body = match config.body_file.is_empty() {
        true => Bytes::from(config.body.clone()),
        false => {
            let read = tokio::fs::read(&config.body_file).await;
            Bytes::from(read.map_err(|err| format!("body_file {}: {err}", config.body_file))?)
        }
    };
    let headers = headers(config.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    let mut asked = Asked { url, method, headers, body, hostname };
    let mut cookies = Cookies::default();
    let arrived = follow(config, &mut asked, &mut cookies, None, outcome).await?;
    outcome.set(REDIRECTS.0, REDIRECTS.1, arrived.redirects as f64);
    judge(config, &asked.url, arrived, outcome).await
}

/// A target as the module's user may write it.
pub(crate) fn parse(target: &str) -> Step<Url> {
    let full = match target.starts_with("http://") || target.starts_with("https://") {
        true => target.to_owned(),
        false => format!("http://{target}"),
    };
    Url::parse(&full).map_err(|err| format!("{full:?} is no URL: {err}"))
}

pub(crate) fn headers<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Step<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let wrong = || format!("the header {name:?} cannot be sent");
        let (name, value) = (
            HeaderName::try_from(name).map_err(|_| wrong())?,
            HeaderValue::try_from(value).map_err(|_| wrong())?,
        );
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A request and those that follow from it.
pub(crate) struct Asked<'a> {
    pub(crate) url: Url,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The name to ask for at the target's address.
    pub(crate) hostname: Option<&'a str>,
}

/// The last answer.
pub(crate) struct Arrived {
    pub(crate) answered: Answered,
    pub(crate) redirects: usize,
    /// A redirect was not followed: its body is not looked at.
    pub(crate) stopped: bool,
}

/// Sends the request and follows where it is led. `asked` ends as the last request.
pub(crate) async fn follow(
    config: &HttpProbe,
    asked: &mut Asked<'_>,
    cookies: &mut Cookies,
    step: Option<&str>,
    outcome: &mut Outcome,
) -> Step<Arrived> {
    let origin = asked.url.origin();
    let given_host = asked.headers.remove(header::HOST);
    let given_host = given_host.as_ref().and_then(|value| value.to_str().ok());
    if !asked.headers.contains_key(header::USER_AGENT) {
        let agent = HeaderValue::from_static(concat!("Bellwether/", env!("CARGO_PKG_VERSION")));
        asked.headers.insert(header::USER_AGENT, agent);
    }
    if !config.compression.is_empty() && !asked.headers.contains_key(header::ACCEPT_ENCODING) {
        let value = HeaderValue::try_from(&config.compression).map_err(|err| err.to_string())?;
        asked.headers.insert(header::ACCEPT_ENCODING, value);
    }
    let credentials = credentials(config).await?;
    let mut redirects = 0;
    loop {
        let first = redirects == 0;
        let mut headers = asked.headers.clone();
        // Credentials go to the target alone, never to where else it leads.
        if asked.url.origin() == origin {
            for (name, value) in &credentials {
                if !headers.contains_key(name) {
                    headers.append(name, value.clone());
                }
            }
        } else {
            headers.remove(header::AUTHORIZATION);
            headers.remove(header::COOKIE);
        }
        if let Some(value) = cookies.header(&asked.url) {
            headers.append(header::COOKIE, value);
        }
        let name = asked.hostname.or(given_host).filter(|_| first);
        let answered = http_client::send(
            Ask {
                config,
                url: &asked.url,
                server_name: name.map(|name| name.rsplit_once(':').map_or(name, |(host, _)| host)),
                host: name,
                method: asked.method.clone(),
                headers,
                body: asked.body.clone(),
                first: first && step.is_none(),
                step,
            },
            outcome,
        )
        .await?;
        cookies.take(&asked.url, answered.response.headers());
        let status = answered.response.status().as_u16();
        let location =
            answered.response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let next = location.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)).map(str::to_owned);
        let Some(next) = next else { return Ok(Arrived { answered, redirects, stopped: false }) };
        redirects += 1;
        if !config.follow_redirects || redirects > MAX_REDIRECTS {
            outcome.note(format!("the redirect to {next} is not followed"));
            return Ok(Arrived { answered, redirects, stopped: true });
        }
        let joined = asked.url.join(&next);
        asked.url = joined.map_err(|err| format!("the redirect to {next:?} is no URL: {err}"))?;
        outcome.note(format!("redirected to {}", asked.url));
        if status <= 303 && !matches!(asked.method, Method::GET | Method::HEAD) {
            asked.method = Method::GET;
            asked.body = Bytes::new();
        }
    }
}

/// The headers that the module's credentials make.
async fn credentials(config: &HttpProbe) -> Step<HeaderMap> {
    if !config.has_credentials() {
        return Ok(HeaderMap::new());
    }
    let http = config.http();
    let client = tokio::task::spawn_blocking(move || httpc::Client::new(&http, httpc::Options::default()));
    let client = client.await.map_err(|err| err.to_string())?.map_err(|err| err.chain())?;
    client.request_headers().await.map_err(|err| err.chain())
}

/// What is wrong, first things first.
#[derive(Default)]
struct Verdict(Option<String>);

impl Verdict {
    fn fail(&mut self, reason: impl Into<String>) {
        if self.0.is_none() {
            self.0 = Some(reason.into());
        }
    }

    fn is_good(&self) -> bool {
        self.0.is_none()
    }
}

/// Compares the answer with what the module asks.
async fn judge(config: &HttpProbe, url: &Url, arrived: Arrived, outcome: &mut Outcome) -> Step<()> {
    let Arrived { answered: Answered { response, shown, first_byte }, stopped, .. } = arrived;
    let (head, incoming) = response.into_parts();
    let status = head.status.as_u16();
    outcome.set(STATUS.0, STATUS.1, f64::from(status));
    let length =
        head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let none = if matches!(status, 204 | 304) { 0.0 } else { -1.0 };
    outcome.set(LENGTH.0, LENGTH.1, length.unwrap_or(none));
    let (version, name) = match head.version {
        Version::HTTP_10 => (1.0, "HTTP/1.0"),
        Version::HTTP_2 => (2.0, "HTTP/2.0"),
        _ => (1.1, "HTTP/1.1"),
    };
    outcome.set(VERSION.0, VERSION.1, version);
    if let Some(modified) = head.headers.get(header::LAST_MODIFIED).and_then(|value| value.to_str().ok())
        && let Ok(time) = jiff::fmt::rfc2822::parse(modified)
    {
        let help = "Returns the Last-Modified HTTP response header in unixtime";
        let seconds = time.timestamp().as_second() as f64;
        outcome.set("probe_http_last_modified_timestamp_seconds", help, seconds);
    }
    let secure = url.scheme() == "https";
    outcome.set(SSL.0, SSL.1, f64::from(u8::from(secure)));
    if let Some(shown) = &shown {
        shown.show(outcome, true);
    }

    let mut verdict = Verdict::default();
    let valid = match config.valid_status_codes.is_empty() {
        true => (200..300).contains(&status),
        false => config.valid_status_codes.contains(&status),
    };
    if !valid {
        verdict.fail(format!("status {status} is not among the valid ones"));
    }
    // As the exporter does: headers are looked at when the status is right, the body when the headers are.
    if verdict.is_good()
        && let Some(trouble) = header_trouble(config, &head.headers)
    {
        outcome.set(REGEX.0, REGEX.1, 1.0);
        verdict.fail(trouble);
    }
    let limit = match config.body_size_limit.0 {
        0 => MAX_BODY_BYTES,
        limit => limit.min(MAX_BODY_BYTES),
    };
    let (body, trouble) = match stopped {
        true => (Vec::new(), None),
        false => body(config, incoming, limit).await,
    };
    phase(outcome, None, "transfer", first_byte.elapsed().as_secs_f64());
    outcome.set(BODY.0, BODY.1, body.len() as f64);
    let patterns = (&config.fail_if_body_matches_regexp, &config.fail_if_body_not_matches_regexp);
    if verdict.is_good() && !(patterns.0.is_empty() && patterns.1.is_empty()) {
        let matched = patterns.0.iter().find(|p| p.0.is_match(&body));
        let missing = patterns.1.iter().find(|p| !p.0.is_match(&body));
        // A body that could not be read fails as one that does not match.
        let wrong = trouble
            .clone()
            .or_else(|| stopped.then(|| "the body of a redirect that is not followed is not read".to_owned()))
            .or_else(|| matched.map(|p| format!("the body matches {:?}", p.0.as_str())))
            .or_else(|| missing.map(|p| format!("the body does not match {:?}", p.0.as_str())));
        if let Some(wrong) = wrong {
            outcome.set(REGEX.0, REGEX.1, 1.0);
            verdict.fail(wrong);
        }
    }
    if let Some(trouble) = trouble {
        verdict.fail(trouble);
    }
    if !config.valid_http_versions.is_empty() && !config.valid_http_versions.iter().any(|v| v == name) {
        verdict.fail(format!("version {name} is not among the valid ones"));
    }
    if config.fail_if_ssl && secure {
        verdict.fail("TLS was used");
    }
    if config.fail_if_not_ssl && !secure {
        verdict.fail("TLS was not used");
    }
    verdict.0.map_or(Ok(()), Err)
}

fn header_trouble(config: &HttpProbe, headers: &HeaderMap) -> Option<String> {
    for (checks, must_match) in
        [(&config.fail_if_header_matches, false), (&config.fail_if_header_not_matches, true)]
    {
        for check in checks {
            let mut found = headers.get_all(&check.header).iter().peekable();
            if found.peek().is_none() {
                if check.allow_missing {
                    continue;
                }
                return Some(format!("the header {} is missing", check.header));
            }
            let matches = found.any(|value| check.regexp.0.is_match(value.as_bytes()));
            if matches != must_match {
                let verb = if matches { "matches" } else { "does not match" };
                return Some(format!("the header {} {verb} {:?}", check.header, check.regexp.0.as_str()));
            }
        }
    }
    None
}

/// The body, decompressed when the module says that it is compressed.
pub(crate) async fn body(
    config: &HttpProbe,
    incoming: hyper::body::Incoming,
    limit: u64,
) -> (Vec<u8>, Option<String>) {
    let compressed = !matches!(config.compression.as_str(), "" | "identity");
    let raw_limit = if compressed { MAX_BODY_BYTES } else { limit };
    let (body, trouble) = read(incoming, raw_limit as usize).await;
    if !compressed || trouble.is_some() {
        return (body, trouble);
    }
    let mut out = Vec::new();
    let read = match config.compression.as_str() {
        "gzip" => flate2::read::GzDecoder::new(&body[..]).take(limit + 1).read_to_end(&mut out),
        "deflate" => flate2::read::DeflateDecoder::new(&body[..]).take(limit + 1).read_to_end(&mut out),
        _ => brotli_decompressor::Decompressor::new(&body[..], 4096).take(limit + 1).read_to_end(&mut out),
    };
    if let Err(err) = read {
        return (out, Some(format!("the body cannot be decompressed: {err}")));
    }
    if out.len() as u64 > limit {
        out.truncate(limit as usize);
        return (out, Some(format!("the body is larger than {limit} bytes")));
    }
    (out, None)
}
