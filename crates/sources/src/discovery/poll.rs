//! What mechanisms that ask an HTTP API share: the client, JSON answers, the loop, names and addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use httpc::{Client, Options, Request, StatusCode};
use serde_json::Value;

use super::{Group, Out};

/// A larger answer is refused.
pub(crate) const MAX_BYTES: usize = 64 << 20;
/// More pages than this are a loop.
pub(crate) const MAX_PAGES: usize = 10_000;

/// One target's labels.
pub(crate) type Target = BTreeMap<String, String>;

/// The label that every target has.
pub(crate) const ADDRESS: &str = "__address__";

/// Makes a client; certificates are read where blocking is allowed.
pub(crate) async fn client(http: httpc::Config, options: Options) -> Result<Client, String> {
    let made = tokio::task::spawn_blocking(move || Client::new(&http, options)).await;
    made.map_err(|err| err.to_string())?.map_err(|err| err.chain())
}

/// How long one request of a mechanism may take.
pub(crate) fn options() -> Options {
    Options { timeout: Duration::from_secs(30), ..Options::default() }
}

/// A mechanism that is asked again and again.
pub(crate) trait Ask: Send {
    /// One round: all groups.
    ///
    /// # Errors
    /// Why they cannot be known now.
    fn ask(&mut self) -> impl Future<Output = Result<Vec<Group>, String>> + Send;
}

/// Asks at every interval until cancelled; what a failed round would have said stays as it was.
pub(crate) async fn poll(name: &str, interval: Duration, mut out: Out, mut mechanism: impl Ask) {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match mechanism.ask().await {
            Ok(groups) => out.all(groups).await,
            Err(reason) => out.failed(format!("{name}: {reason}")).await,
        }
    }
}

/// The answer's body; another status than 200 is an error that shows the start of the body.
pub(crate) async fn body(client: &Client, request: Request) -> Result<Vec<u8>, String> {
    let url = request.url.clone();
    let response = client.send(request).await.map_err(|err| err.chain())?;
    let status = response.status();
    let body = response.bytes(MAX_BYTES).await.map_err(|err| err.chain())?;
    if status != StatusCode::OK {
        let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
        return Err(format!("{place} returned HTTP status {status}: {}", text.trim()));
    }
    Ok(body.into())
}

/// GET of a JSON document.
pub(crate) async fn json(client: &Client, url: &str) -> Result<Value, String> {
    let request = Request::get(url)
        .and_then(|request| request.header("accept", "application/json"))
        .map_err(|err| err.chain())?;
    parse(url, &body(client, request).await?)
}

/// A JSON document, with the place it came from in the error.
pub(crate) fn parse(url: &str, body: &[u8]) -> Result<Value, String> {
    let place = url.split('?').next().unwrap_or(url);
    serde_json::from_slice(body).map_err(|err| format!("{place} did not return JSON: {err}"))
}

/// A field as text: numbers and booleans as they are written, anything else as nothing.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}

/// The entries of an object whose values are scalars.
pub(crate) fn entries(value: &Value) -> impl Iterator<Item = (&String, String)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name, text(value)))
}

/// The items of a list, none for anything else.
pub(crate) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A label name: every character that may not stand in one becomes `_`.
pub(crate) fn sanitize(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn join(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// `separator` around and between the parts, so that a pattern can look for `,name,`.
pub(crate) fn wrapped<S: AsRef<str>>(parts: impl IntoIterator<Item = S>, separator: &str) -> String {
    let mut out = String::from(separator);
    let mut any = false;
    for part in parts {
        any = true;
        out.push_str(part.as_ref());
        out.push_str(separator);
    }
    if any { out } else { format!("{separator}{separator}") }
}

/// Appends `name=value` to a query, encoded.
pub(crate) fn with_query(url: &str, pairs: &[(&str, &str)]) -> Result<String, String> {
    let mut parsed = httpc::Url::parse(url).map_err(|err| format!("{url:?} is not a valid URL: {err}"))?;
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        parsed.query_pairs_mut().append_pair(name, value);
    }
    Ok(parsed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        assert_eq!(sanitize("app.kubernetes.io/name-ü"), "app_kubernetes_io_name__");
        assert_eq!(join("10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(join("fe80::1", 80), "[fe80::1]:80");
        assert_eq!(wrapped(["a", "b"], ","), ",a,b,");
        assert_eq!(wrapped(Vec::<String>::new(), ","), ",,");
        assert_eq!(with_query("http://h/a", &[("b", "c d"), ("e", "")]).unwrap(), "http://h/a?b=c+d");
    }
}
