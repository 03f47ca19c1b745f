//! `/api/v1/fleet/*`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::codec::{self, StateHeader};
use super::history::{FRAME_MS, MAX_FRAMES};
use super::round::ActiveAlert;
use super::targets::Table;
use super::{By, Event, View, state_of};
use crate::error::{ApiError, ErrorType};
use crate::params::Params;
use crate::reply;
use crate::server::Api;

const MAX_FOUND: usize = 100;
/// How long a request for the topology waits for the first server.
const FIRST_SERVER: std::time::Duration = std::time::Duration::from_secs(5);
const ALERTS_SHOWN: usize = 5;

/// `GET /api/v1/fleet/topology`
pub(crate) async fn topology(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    let mut view = api.fleet.view();
    // A page that is opened right after the start waits for the first scrape.
    let deadline = tokio::time::Instant::now() + FIRST_SERVER;
    while view.topology.is_empty() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(super::FIRST_PAUSE).await;
        view = api.fleet.view();
    }
    if view.topology.is_empty() {
        return ApiError::not_found("no server is known yet: nothing has been scraped").into_response();
    }
    let tag = format!("\"{:016x}\"", view.topology.hash);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes()) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let mut response = binary(Vec::clone(&view.topology_bytes));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// `GET /api/v1/fleet/state`
pub(crate) async fn state(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let view = api.fleet.view();
    let bits = match params.get("bits").unwrap_or("2") {
        "1" => 1,
        "2" => 2,
        "4" => 4,
        other => return Err(ApiError::parameter("bits", format!("{other:?} is none of 1, 2 and 4"))),
    };
    let at = milliseconds(&params, "at")?;
    let topo_hash = view.topology.hash;
    let by = match params.get("by").unwrap_or("alert") {
        "alert" => By::Alert,
        "up" => By::Up,
        "anomaly" => return Err(ApiError::not_found("no anomaly scores are computed by this server")),
        query => {
            let values = ramp_values(&api, &view, query, at).await?;
            let header = StateHeader { topo_hash, sequence: 0, time_ms: at.unwrap_or(view.time_ms) };
            return Ok(binary(codec::ramp(header, &values)));
        }
    };
    let plane = &view.planes[by as usize];
    let Some(at) = at.filter(|at| *at < view.time_ms - FRAME_MS) else {
        let header = StateHeader { topo_hash, sequence: view.sequences[by as usize], time_ms: view.time_ms };
        return Ok(binary(codec::state(header, &plane.codes, &plane.silenced, bits.min(2))));
    };
    if by == By::Up {
        return Err(ApiError::not_found("the history of by=up is not kept; ask for by=alert"));
    }
    let codes = api.fleet.history.lock().codes_at(at, topo_hash);
    let codes = codes.ok_or_else(|| ApiError::not_found("no state is kept for that time and topology"))?;
    let header = StateHeader { topo_hash, sequence: 0, time_ms: at };
    Ok(binary(codec::state(header, &codes, &codec::Bits::new(codes.len()), bits.min(2))))
}

/// `GET /api/v1/fleet/stream`
pub(crate) async fn stream(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let by = match params.get("by").unwrap_or("alert") {
        "alert" => By::Alert,
        "up" => By::Up,
        other => return Err(ApiError::not_found(format!("there is no stream by {other:?}; poll the state"))),
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).or(params.get("since"));
    let since: Option<u64> = match last {
        None => None,
        Some(text) => {
            Some(text.parse().map_err(|_| ApiError::parameter("since", "it is no sequence number"))?)
        }
    };
    let body = Sse::new(events(api, by, since)).keep_alive(KeepAlive::default());
    Ok(body.into_response())
}

fn events(api: Arc<Api>, by: By, since: Option<u64>) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    let view = api.fleet.view();
    let current = view.sequences[by as usize];
    let (missed, receiver) = api.fleet.subscribe(by, since.unwrap_or(current));
    let mut first: Vec<Event> =
        missed.unwrap_or_else(|| vec![Event::Resync { sequence: current, reason: "gap" }]);
    first.push(Event::Tick { sequence: current, time_ms: view.time_ms, topo_hash: view.topology.hash });
    first.reverse();
    let interval = api.fleet.interval_ms();
    futures_util::stream::unfold((first, receiver, api), move |(mut first, mut receiver, api)| async move {
        let event = match first.pop() {
            Some(event) => event,
            None => match next(&api, &mut receiver).await {
                Ok(event) => event,
                // The reader was too slow; it fetches the whole state.
                Err(RecvError::Lagged(_)) => {
                    Event::Resync { sequence: api.fleet.view().sequences[by as usize], reason: "gap" }
                }
                Err(RecvError::Closed) => return None,
            },
        };
        Some((Ok(server_sent(&event, interval)), (first, receiver, api)))
    })
}

/// The next event; the stream ends when the server shuts down, so that it does not hold it up.
async fn next(api: &Api, receiver: &mut tokio::sync::broadcast::Receiver<Event>) -> Result<Event, RecvError> {
    tokio::select! {
        event = receiver.recv() => event,
        () = api.stopping() => Err(RecvError::Closed),
    }
}

fn server_sent(event: &Event, interval_ms: i64) -> SseEvent {
    let sse = SseEvent::default().id(event.sequence().to_string());
    match event {
        Event::Delta { codes, silenced, .. } => {
            let data = match silenced {
                None => codes.to_string(),
                Some(silenced) => format!("{codes}\n{silenced}"),
            };
            sse.event("delta").data(data)
        }
        Event::Tick { sequence, time_ms, topo_hash } => sse.event("tick").data(
            json!({
                "sequence": sequence, "time_ms": time_ms, "interval_ms": interval_ms,
                "topo_hash": format!("{topo_hash:016x}"),
            })
            .to_string(),
        ),
        Event::Resync { reason, .. } => sse.event("resync").data(json!({ "reason": reason }).to_string()),
    }
}

/// `GET /api/v1/fleet/history`
pub(crate) async fn history(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    if !matches!(params.get("by").unwrap_or("alert"), "alert") {
        return Err(ApiError::not_found("history is kept for by=alert only"));
    }
    let need = |name: &str| {
        milliseconds(&params, name)?.ok_or_else(|| ApiError::parameter(name, "parameter is required"))
    };
    let (from, to, step) = (need("from")?, need("to")?, need("step")?);
    let step32 = u32::try_from(step).ok().filter(|step| *step > 0);
    let step32 = step32.ok_or_else(|| ApiError::parameter("step", "it must be between 1 ms and 49 days"))?;
    if to < from {
        return Err(ApiError::parameter("to", "it is before from"));
    }
    let count = (to.saturating_sub(from) / step).saturating_add(1) as usize;
    if count > MAX_FRAMES {
        let message = format!("{count} frames were asked for, at most {MAX_FRAMES} are given; raise step");
        return Err(ApiError::parameter("step", message));
    }
    let view = api.fleet.view();
    let fleet = Arc::clone(&api.fleet);
    let topo_hash = view.topology.hash;
    let frames =
        tokio::task::spawn_blocking(move || fleet.history.lock().frames(topo_hash, from, step, count)).await;
    let frames = frames
        .map_err(|err| ApiError::new(ErrorType::Internal, format!("history could not be read: {err}")))?;
    Ok(binary(codec::history(topo_hash, view.topology.servers(), from, step32, &frames)))
}

/// `GET /api/v1/fleet/rack/{id}`
pub(crate) async fn rack(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let view = api.fleet.view();
    let topo_hash = format!("{:016x}", view.topology.hash);
    if params.get("topo").is_some_and(|topo| topo != topo_hash) {
        let message = format!("the topology is now {topo_hash}; fetch it again");
        return Ok((StatusCode::CONFLICT, message).into_response());
    }
    let rack = id.parse::<usize>().ok().and_then(|id| Some((id, view.topology.racks.get(id)?)));
    let (id, rack) = rack.ok_or_else(|| ApiError::not_found(format!("there is no rack {id}")))?;
    let plane = &view.planes[By::Alert as usize];
    let table = api.fleet.table.lock();
    let servers: Vec<Value> = (rack.first..rack.first + rack.used)
        .map(|index| {
            let (code, since_ms) = state_of(plane, index as usize);
            let active: &[ActiveAlert] = view.alerts.get(&index).map_or(&[], Vec::as_slice);
            json!({
                "index": index, "slot": index - rack.first, "name": view.topology.name(index),
                "state": code.as_str(), "silenced": plane.silenced.get(index as usize), "since_ms": since_ms,
                "labels": labels(&table, &view, index), "alerts_total": active.len(),
                "alerts": active.iter().take(ALERTS_SHOWN).map(alert).collect::<Vec<_>>(),
            })
        })
        .collect();
    drop(table);
    let path: Vec<Value> = view
        .topology
        .levels
        .iter()
        .zip(&rack.path)
        .map(|(level, name)| json!({ "level": level, "name": name }))
        .collect();
    Ok(reply::success_of(&json!({
        "topo_hash": topo_hash, "sequence": view.sequences[By::Alert as usize], "time_ms": view.time_ms,
        "rack": id, "first_server": rack.first, "slots_total": rack.total, "path": path, "servers": servers,
    })))
}

/// `GET /api/v1/fleet/find`
pub(crate) async fn find(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let view = api.fleet.view();
    let limit = match params.limit("limit")? {
        0 => 20,
        limit => limit.min(MAX_FOUND),
    };
    let exact = params.get("name").is_some();
    let found: Vec<u32> = match params.get("name") {
        Some(name) => view.lookup.name(name).into_iter().collect(),
        None => search(&view, &params.get("q").unwrap_or_default().to_lowercase()),
    };
    let plane = &view.planes[By::Alert as usize];
    let table = api.fleet.table.lock();
    let matches: Vec<Value> = found
        .iter()
        .take(limit)
        .map(|&index| {
            let rack_id = view.topology.rack_of(index);
            let rack = &view.topology.racks[rack_id];
            let path: Vec<&String> = rack.path.iter().filter(|name| !name.is_empty()).collect();
            json!({
                "index": index, "rack": rack_id, "slot": index - rack.first, "name": view.topology.name(index),
                "state": state_of(plane, index as usize).0.as_str(), "path": path, "labels": labels(&table, &view, index),
                "targets": if exact { targets(&table, &view, index, api.fleet.dead_after()) } else { Vec::new() },
            })
        })
        .collect();
    drop(table);
    let topo_hash = format!("{:016x}", view.topology.hash);
    Ok(reply::success_of(&json!({ "topo_hash": topo_hash, "total": found.len(), "matches": matches })))
}

/// Servers whose name contains `text`: those that start with it first, then in name order.
fn search(view: &View, text: &str) -> Vec<u32> {
    let mut found: Vec<(bool, &str, u32)> = view
        .topology
        .names()
        .filter_map(|(name, index)| {
            // Most names are lower case already, and a million are looked at.
            let at = if name.bytes().any(|b| b.is_ascii_uppercase()) {
                name.to_lowercase().find(text)
            } else {
                name.find(text)
            };
            Some((at? != 0, name, index))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, _, index)| index).collect()
}

/// One value a server from an instant query: by instance, else by the server's name.
async fn ramp_values(
    api: &Arc<Api>,
    view: &View,
    query: &str,
    at: Option<i64>,
) -> Result<Vec<Option<f64>>, ApiError> {
    let time = at.map_or_else(|| api.clock.now(), model::Timestamp);
    let vector = crate::query::instant_vector(api, query, time).await?;
    let mut values = vec![None; view.topology.servers() as usize];
    for (labels, value) in vector {
        if let Some(server) = view.lookup.labels(&labels) {
            let slot: &mut Option<f64> = &mut values[server as usize];
            // The largest of several: the worst value never disappears.
            *slot = Some(slot.map_or(value, |known: f64| known.max(value)));
        }
    }
    Ok(values)
}

/// What picks the series of a server's host exporter.
fn labels(table: &Table, view: &View, server: u32) -> Value {
    let target = view.topology.main.get(server as usize).and_then(|main| table.list.get(*main as usize));
    match target {
        Some(target) => json!({ "instance": table.str(target.instance), "job": table.name(target.job) }),
        None => json!({}),
    }
}

/// Every target that runs on a server.
fn targets(table: &Table, view: &View, server: u32, dead_after: usize) -> Vec<Value> {
    let of = view.server_of.iter().zip(&table.list).filter(|(of, target)| **of == server && !target.gone);
    of.map(|(_, target)| {
        json!({
            "job": table.name(target.job), "instance": table.str(target.instance), "last_ms": target.last_ms,
            "state": Table::code(target, view.time_ms, dead_after).as_str(),
        })
    })
    .collect()
}

fn alert(alert: &ActiveAlert) -> Value {
    json!({
        "name": alert.name, "severity": alert.severity, "state": "firing", "since_ms": alert.since_ms,
        "silenced": alert.silenced, "inhibited": alert.inhibited, "summary": alert.summary,
    })
}

fn milliseconds(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let parse = |text: &str| {
        text.parse::<i64>()
            .map_err(|_| ApiError::parameter(name, format!("{text:?} is no number of milliseconds")))
    };
    params.get(name).map(parse).transpose()
}

fn binary(bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
