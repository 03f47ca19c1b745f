//! OAuth 2.0 client credentials (RFC 6749 §4.4): one token, fetched when needed, kept until shortly before it expires.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use tokio::time::Instant;

use crate::client::{read_capped, shown};
use crate::config::OAuth2;
use crate::error::Error;
use crate::secret::Secret;

/// A token is renewed this long before its end.
const SPARE: Duration = Duration::from_secs(10);
/// How long a token without `expires_in` is used.
const NO_EXPIRY: Duration = Duration::from_secs(3600);
/// An answer of a token endpoint is small.
const MAX_ANSWER: usize = 1 << 20;

/// A token and until when it is used.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) header: Secret,
    until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Token {
    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }
}

/// Asks for a token: first with the client's name and secret as basic authentication, which the RFC prefers, then as
/// form fields, which some servers need.
pub(crate) async fn fetch(http: &reqwest::Client, config: &OAuth2, secret: &Secret) -> Result<Token, Error> {
    let mut last = String::new();
    for in_form in [false, true] {
        match ask(http, config, secret, in_form).await? {
            Ok(token) => return Ok(token),
            Err(reason) => last = reason,
        }
    }
    Err(Error::Token { url: config.token_url.clone(), reason: last })
}

async fn ask(
    http: &reqwest::Client,
    config: &OAuth2,
    secret: &Secret,
    in_form: bool,
) -> Result<Result<Token, String>, Error> {
    let failed = |reason: String| Error::Token { url: config.token_url.clone(), reason };
    let mut form = Form::default();
    form.add("grant_type", "client_credentials");
    if !config.scopes.is_empty() {
        form.add("scope", &config.scopes.join(" "));
    }
    for (name, value) in &config.endpoint_params {
        form.add(name, value);
    }
    let mut request = http.post(&config.token_url).header(ACCEPT, "application/json");
    if in_form {
        form.add("client_id", &config.client_id);
        form.add("client_secret", secret.expose());
    } else {
        request = request.basic_auth(escape(&config.client_id), Some(escape(secret.expose())));
    }
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.0);
    let asked = Instant::now();
    let answer = request.send().await.map_err(|err| failed(shown(err)))?;
    let status = answer.status();
    let body = read_capped(answer, MAX_ANSWER, &config.token_url).await?;
    if !status.is_success() {
        return Ok(Err(format!("the server answered {status}")));
    }
    // serde_json's message could quote the token.
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|_| failed("the answer is not JSON with an access_token".into()))?;
    let life = match answer.expires_in {
        Some(seconds) if seconds.is_finite() && seconds > 0.0 => Duration::from_secs_f64(seconds.min(1e9)),
        _ => NO_EXPIRY,
    };
    let kind = match answer.token_type.to_ascii_lowercase().as_str() {
        "" | "bearer" => "Bearer",
        "mac" => "MAC",
        "basic" => "Basic",
        _ => answer.token_type.as_str(),
    };
    Ok(Ok(Token {
        header: Secret::new(format!("{kind} {}", answer.access_token.expose())),
        until: asked + life.saturating_sub(SPARE),
    }))
}

/// `application/x-www-form-urlencoded`.
#[derive(Default)]
struct Form(String);

impl Form {
    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(&escape(name));
        self.0.push('=');
        self.0.push_str(&escape(value));
    }
}

fn escape(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => write!(out, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
    out
}
