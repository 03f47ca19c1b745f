//! Follows a script.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::header::HeaderMap;
use tokio::time::Instant;

use crate::cookies::Cookies;
use crate::http::{self, Asked, MAX_BODY_BYTES};
use crate::http_client::phase;
use crate::resolve::choose;
use crate::result::Outcome;
use crate::script::{Expect, Extract, ScriptProbe, Step, fill};

const SUCCESS: (&str, &str) =
    ("probe_script_step_success", "Whether a step ended as expected; 0 for those that were not reached");
const STATUS: (&str, &str) = ("probe_script_step_status_code", "HTTP status of a step's last answer");
const SECONDS: (&str, &str) =
    ("probe_script_step_seconds", "How long a step took, redirects and body included");
const SIZE: (&str, &str) = ("probe_script_step_body_bytes", "Size of a step's body, uncompressed");
const DONE: (&str, &str) = ("probe_script_steps_succeeded", "Steps that ended as expected");
const STEPS: (&str, &str) = ("probe_script_steps", "Steps of the script");
/// Longest value of a variable.
const MAX_VALUE: usize = 64 << 10;

pub(crate) async fn probe(
    config: &ScriptProbe,
    target: &str,
    hostname: Option<&str>,
    outcome: &mut Outcome,
) -> crate::Step<()> {
    outcome.set(STEPS.0, STEPS.1, config.steps.len() as f64);
    outcome.set(DONE.0, DONE.1, 0.0);
    for step in &config.steps {
        outcome.with(SUCCESS.0, SUCCESS.1, &[("step", &step.name)], 0.0);
    }
    let requests = config.requests();
    let mut url = http::parse(target)?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    if requests.proxy_for(url.scheme() == "https", &host)?.is_none() {
        choose(&host, config.preferred_ip_protocol, config.ip_protocol_fallback, outcome).await?;
    }
    let mut values = config.variables.clone();
    values.insert("target".into(), target.trim_end_matches('/').to_owned());
    values.insert("hostname".into(), hostname.unwrap_or(&host).to_owned());
    let mut cookies = Cookies::default();
    for (index, step) in config.steps.iter().enumerate() {
        outcome.note(format!("step {}", step.name));
        let start = Instant::now();
        let ended =
            one(config, &requests, step, &mut url, hostname, &mut values, &mut cookies, outcome).await;
        let took = start.elapsed();
        outcome.with(SECONDS.0, SECONDS.1, &[("step", &step.name)], took.as_secs_f64());
        let late = step.expect.max_duration.filter(|limit| took > limit.to_std());
        let ended = ended.and_then(|()| match late {
            Some(limit) => Err(format!("it took {took:?}, longer than {limit}")),
            None => Ok(()),
        });
        ended.map_err(|reason| format!("step {}: {reason}", step.name))?;
        outcome.with(SUCCESS.0, SUCCESS.1, &[("step", &step.name)], 1.0);
        outcome.set(DONE.0, DONE.1, (index + 1) as f64);
    }
    Ok(())
}

#[expect(
    clippy::too_many_arguments,
    reason = "what one step needs from the script, without a struct that is used once"
)]
async fn one(
    config: &ScriptProbe,
    requests: &crate::config::HttpProbe,
    step: &Step,
    url: &mut httpc::Url,
    hostname: Option<&str>,
    values: &mut BTreeMap<String, String>,
    cookies: &mut Cookies,
    outcome: &mut Outcome,
) -> crate::Step<()> {
    let written = fill(&step.url, values)?;
    let next = match written.starts_with('/') {
        true => url.join(&written).map_err(|err| format!("{written:?} is no URL: {err}"))?,
        false => http::parse(&written)?,
    };
    let mut filled = BTreeMap::new();
    for (name, value) in config.headers.iter().chain(&step.headers) {
        filled.insert(name.as_str(), fill(value, values)?);
    }
    let headers = http::headers(filled.iter().map(|(name, value)| (*name, value.as_str())))?;
    let method = if step.method.is_empty() { "GET" } else { &step.method };
    let mut asked = Asked {
        url: next,
        method: method.parse().map_err(|_| format!("{method:?} is no method"))?,
        headers,
        body: Bytes::from(fill(&step.body, values)?),
        hostname,
    };
    let arrived = http::follow(requests, &mut asked, cookies, Some(&step.name), outcome).await?;
    *url = asked.url;
    if let Some(shown) = &arrived.answered.shown {
        shown.show(outcome, true);
    }
    let first_byte = arrived.answered.first_byte;
    let (head, incoming) = arrived.answered.response.into_parts();
    outcome.with(STATUS.0, STATUS.1, &[("step", &step.name)], f64::from(head.status.as_u16()));
    let (body, trouble) = http::body(requests, incoming, MAX_BODY_BYTES).await;
    phase(outcome, Some(&step.name), "transfer", first_byte.elapsed().as_secs_f64());
    outcome.with(SIZE.0, SIZE.1, &[("step", &step.name)], body.len() as f64);
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    let json = std::cell::OnceCell::new();
    let json = || {
        json.get_or_init(|| {
            serde_json::from_slice::<serde_json::Value>(&body)
                .map_err(|err| format!("the body is no JSON: {err}"))
        })
        .as_ref()
        .map_err(Clone::clone)
    };
    expected(&step.expect, head.status.as_u16(), &head.headers, &body, &json)?;
    for extract in &step.extract {
        let value = taken(extract, &head.headers, &body, &json)
            .map_err(|reason| format!("extract {}: {reason}", extract.name))?;
        if value.len() > MAX_VALUE {
            return Err(format!("extract {}: the value is longer than {MAX_VALUE} bytes", extract.name));
        }
        values.insert(extract.name.clone(), value);
    }
    Ok(())
}

fn expected<'a>(
    expect: &Expect,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    json: &impl Fn() -> Result<&'a serde_json::Value, String>,
) -> Result<(), String> {
    let valid = match expect.status.is_empty() {
        true => (200..300).contains(&status),
        false => expect.status.contains(&status),
    };
    if !valid {
        return Err(format!("status {status} is not expected"));
    }
    for pattern in &expect.body_matches {
        if !pattern.0.is_match(body) {
            return Err(format!("the body does not match {:?}", pattern.0.as_str()));
        }
    }
    for pattern in &expect.body_not_matches {
        if pattern.0.is_match(body) {
            return Err(format!("the body matches {:?}", pattern.0.as_str()));
        }
    }
    for check in &expect.headers {
        let mut found = headers.get_all(&check.header).iter().peekable();
        let missing = found.peek().is_none();
        if (missing && !check.allow_missing)
            || (!missing && !found.any(|value| check.regexp.0.is_match(value.as_bytes())))
        {
            return Err(format!("the header {} does not match {:?}", check.header, check.regexp.0.as_str()));
        }
    }
    for check in &expect.json {
        let value = json()?.pointer(&check.pointer);
        let value = value.ok_or_else(|| format!("there is nothing at {:?}", check.pointer))?;
        if check.equals.as_ref().is_some_and(|wanted| wanted != value) {
            return Err(format!("the value at {:?} is not the expected one", check.pointer));
        }
        if check.matches.as_ref().is_some_and(|pattern| !pattern.0.is_match(text(value).as_bytes())) {
            return Err(format!("the value at {:?} does not match", check.pointer));
        }
    }
    Ok(())
}

/// A JSON value as text: a string without its quotes.
fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn taken<'a>(
    extract: &Extract,
    headers: &HeaderMap,
    body: &[u8],
    json: &impl Fn() -> Result<&'a serde_json::Value, String>,
) -> Result<String, String> {
    if let Some(place) = &extract.json {
        let value = json()?.pointer(place).ok_or_else(|| format!("there is nothing at {place:?}"))?;
        return Ok(text(value));
    }
    let bytes = match &extract.header {
        Some(name) => headers.get(name).ok_or_else(|| format!("the header {name} is missing"))?.as_bytes(),
        None => body,
    };
    let found = match &extract.regexp {
        None => bytes,
        Some(pattern) => {
            let captures = pattern.0.captures(bytes);
            let captures = captures.ok_or_else(|| format!("{:?} does not match", pattern.0.as_str()))?;
            captures.get(1).or_else(|| captures.get(0)).map(|found| found.as_bytes()).unwrap_or_default()
        }
    };
    Ok(String::from_utf8_lossy(found).into_owned())
}
