//! gRPC's health check. Source: grpc.health.v1, whose messages have one field each, so that no protobuf library is needed.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use crate::config::GrpcProbe;
use crate::http_client::Either;
use crate::resolve::{choose, connect, split};
use crate::result::Outcome;
use crate::{Step, tls};

const PHASES: (&str, &str) = ("probe_grpc_duration_seconds", "Duration of gRPC request by phase");
const SSL: (&str, &str) = ("probe_grpc_ssl", "Indicates if SSL was used for the connection");
const STATUS: (&str, &str) = ("probe_grpc_status_code", "Response gRPC status code");
const HEALTH: (&str, &str) = ("probe_grpc_healthcheck_response", "Response HealthCheck response");
const STATES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// Most bytes of an answer.
const MAX_BYTES: usize = 64 << 10;

/// gRPC's codes for what never got an answer.
const DEADLINE_EXCEEDED: f64 = 4.0;
const UNAVAILABLE: f64 = 14.0;
const UNKNOWN: f64 = 2.0;

pub(crate) async fn probe(
    config: &GrpcProbe,
    target: &str,
    hostname: Option<&str>,
    outcome: &mut Outcome,
) -> Step<()> {
    outcome.with(PHASES.0, PHASES.1, &[("phase", "resolve")], 0.0);
    outcome.set(SSL.0, SSL.1, 0.0);
    outcome.set(STATUS.0, STATUS.1, 0.0);
    let stripped = target.trim_start_matches("http://").trim_start_matches("https://");
    let stripped = stripped.split('/').next().unwrap_or_default();
    let (host, port) = match stripped.parse::<std::net::IpAddr>().is_ok() || !stripped.contains(':') {
        true => (stripped, if config.tls { 443 } else { 80 }),
        false => split(stripped)?,
    };
    let (address, took) =
        choose(host, config.preferred_ip_protocol, config.ip_protocol_fallback, outcome).await?;
    outcome.with(PHASES.0, PHASES.1, &[("phase", "resolve")], took);
    outcome.wait(|outcome, took| ended(outcome, took, DEADLINE_EXCEEDED, ""));
    let start = Instant::now();
    let answered = check(config, (address, port).into(), hostname.unwrap_or(host), stripped, outcome).await;
    outcome.waited();
    let took = start.elapsed().as_secs_f64();
    let (code, state) = match answered {
        Ok(answered) => answered,
        Err(reason) => {
            ended(outcome, took, UNAVAILABLE, "");
            return Err(reason);
        }
    };
    ended(outcome, took, code, state);
    match state {
        "SERVING" => Ok(()),
        "" => Err(format!("the health check ended with gRPC status {code}")),
        state => Err(format!("the service is {state}")),
    }
}

/// The series about how it ended; `state` is empty without an answer.
fn ended(outcome: &mut Outcome, took: f64, code: f64, state: &str) {
    outcome.with(PHASES.0, PHASES.1, &[("phase", "check")], took);
    outcome.set(STATUS.0, STATUS.1, code);
    for one in STATES {
        outcome.with(HEALTH.0, HEALTH.1, &[("serving_status", one)], f64::from(u8::from(one == state)));
    }
}

/// Asks; answers with the code and the state.
async fn check(
    config: &GrpcProbe,
    to: std::net::SocketAddr,
    name: &str,
    authority: &str,
    outcome: &mut Outcome,
) -> Step<(f64, &'static str)> {
    let stream = connect(to, "").await?;
    let stream = if config.tls {
        let (stream, shown) = tls::handshake(stream, &config.tls_config, name, true).await?;
        shown.earliest(outcome);
        shown.version(outcome);
        shown.info(outcome);
        outcome.set(SSL.0, SSL.1, 1.0);
        Either::Tls(Box::new(stream))
    } else {
        Either::Plain(stream)
    };
    let failed = |err: hyper::Error| format!("the request failed: {err}");
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = made.map_err(failed)?;
    tokio::spawn(connection);
    let scheme = if config.tls { "https" } else { "http" };
    let mut request = Request::post(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("user-agent", concat!("Bellwether/", env!("CARGO_PKG_VERSION")))
        .header("te", "trailers");
    for (name, values) in &config.metadata {
        for value in values {
            request = request.header(name.as_str(), value.as_str());
        }
    }
    let request = request.body(Full::new(question(&config.service)?));
    let request = request.map_err(|err| format!("the request cannot be made: {err}"))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = |headers: &hyper::HeaderMap| {
        headers.get("grpc-status").and_then(|v| v.to_str().ok()?.parse::<f64>().ok())
    };
    let http = response.status().as_u16();
    let early = status(response.headers());
    let collected = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    let collected = collected.map_err(|err| format!("reading the answer failed: {err}"))?;
    // What an HTTP status means without gRPC's own: the gRPC documentation, "HTTP to gRPC status code mapping".
    let otherwise = match http {
        400 => 13.0,
        401 => 16.0,
        403 => 7.0,
        404 => 12.0,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    };
    let code = early.or_else(|| collected.trailers().and_then(status)).unwrap_or(otherwise);
    Ok((code, if code == 0.0 { answer(&collected.to_bytes())? } else { "" }))
}

/// A length-prefixed `HealthCheckRequest { service = 1 }`.
fn question(service: &str) -> Step<Bytes> {
    if service.len() > 127 {
        return Err("grpc.service is longer than 127 bytes".into());
    }
    let mut out = BytesMut::new();
    let length = if service.is_empty() { 0 } else { service.len() + 2 };
    out.put_u8(0);
    out.put_u32(length as u32);
    if length > 0 {
        out.put_u8(0x0a);
        out.put_u8(service.len() as u8);
        out.put_slice(service.as_bytes());
    }
    Ok(out.freeze())
}

/// The state of a length-prefixed `HealthCheckResponse { status = 1 }`.
fn answer(bytes: &[u8]) -> Step<&'static str> {
    let state = match bytes.get(5..) {
        Some([]) => Some(&0),
        Some([0x08, state, ..]) => Some(state),
        _ => None,
    };
    let state = state.and_then(|state| STATES.get(usize::from(*state)));
    state.copied().ok_or_else(|| "the answer is no health check".to_owned())
}
