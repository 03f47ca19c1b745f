//! `/api/v1/status/*`: what runs here.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::live::rfc3339;
use crate::reply;
use crate::server::Api;

/// `GET /api/v1/status/buildinfo`. Clients read the version to know which API to expect, so it names the Prometheus release whose
/// API this is; ours is beside it.
pub(crate) async fn build_info(State(api): State<Arc<Api>>) -> Response {
    reply::success_of(&json!({
        "version": PROMETHEUS_API,
        "revision": api.build.revision,
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "bellwether",
        "bellwetherVersion": api.build.version,
    }))
}

/// The Prometheus release whose HTTP API is served.
const PROMETHEUS_API: &str = "3.14.0";

/// `GET /api/v1/status/runtimeinfo`
pub(crate) async fn runtime_info(State(api): State<Arc<Api>>) -> Response {
    let (started, now) = (rfc3339(api.started), rfc3339(api.clock.now()));
    let folder = std::env::current_dir().map(|folder| folder.display().to_string()).unwrap_or_default();
    reply::success_of(&json!({
        "startTime": started,
        "CWD": folder,
        "hostname": rustix::system::uname().nodename().to_string_lossy(),
        "serverTime": now,
        "reloadConfigSuccess": api.live.reload_succeeded(),
        "lastConfigTime": rfc3339(api.live.config().loaded_at),
        "corruptionCount": api.db.recovered().quarantined.len(),
        // Threads are what comes closest.
        "goroutineCount": threads(),
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": api.retention,
    }))
}

/// How many threads the process has; 0 where that cannot be read.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// `GET /api/v1/status/walreplay`. The interface opens when the log has been replayed, so that it is always done; the numbers are
/// those of its segments.
pub(crate) async fn wal_replay(State(api): State<Arc<Api>>) -> Response {
    let segments = api.db.recovered().segments;
    reply::success_of(&json!({ "min": 0, "max": segments, "current": segments, "state": "done" }))
}

/// `GET /api/v1/status/tsdb/blocks`: the blocks on the disk.
pub(crate) async fn tsdb_blocks(
    State(api): State<Arc<Api>>,
    headers: axum::http::HeaderMap,
) -> Result<Response, crate::error::ApiError> {
    let tenant = crate::params::tenant(&headers)?;
    let block = |meta: tsdb::block::BlockMeta| {
        json!({
            "ulid": meta.id, "minTime": meta.min_time, "maxTime": meta.max_time,
            "stats": { "numSamples": meta.samples, "numSeries": meta.series, "numBytes": meta.bytes },
            "compaction": { "level": meta.level, "sources": meta.sources },
            "version": meta.version,
        })
    };
    let blocks: Vec<_> = api.db.blocks(&tenant).into_iter().map(block).collect();
    Ok(reply::success_of(&json!({ "blocks": blocks })))
}

/// `GET /api/v1/status/queries`: the queries that run now. Not in Prometheus, which writes them to a file alone.
pub(crate) async fn queries(State(api): State<Arc<Api>>) -> Response {
    reply::success_of(&api.queries.running())
}

/// `GET /api/v1/alertmanagers`: where alerts go. The alert manager is built in.
pub(crate) async fn alertmanagers(State(api): State<Arc<Api>>) -> Response {
    let url = format!("{}/api/v2/alerts", api.live.config().external_url);
    reply::success_of(&json!({ "activeAlertmanagers": [{ "url": url }], "droppedAlertmanagers": [] }))
}

/// `GET /version`: the build, as older clients ask for it.
pub(crate) async fn version(State(api): State<Arc<Api>>) -> Response {
    let build = json!({
        "version": PROMETHEUS_API, "revision": api.build.revision, "branch": "", "buildUser": "", "buildDate": "",
        "goVersion": "",
    });
    reply::json_response(build.to_string())
}

/// `GET /api/v1/status/config`: the configuration file as it was read.
pub(crate) async fn config(State(api): State<Arc<Api>>) -> Response {
    reply::success_of(&json!({ "yaml": api.live.config().text }))
}

/// `GET /api/v1/status/flags`: settings of the server, under the names of their flags.
pub(crate) async fn flags(State(api): State<Arc<Api>>) -> Response {
    let mut flags = serde_json::Map::new();
    for (section, value) in [
        ("web", serde_json::to_value(&api.web)),
        ("query", serde_json::to_value(&api.query)),
        ("storage", serde_json::to_value(api.db.config())),
    ] {
        flatten(section, &value.unwrap_or_default(), &mut flags);
    }
    for (name, value) in prometheus_flags(api.db.config()) {
        flags.insert(name.to_owned(), value.into());
    }
    reply::success_of(&flags)
}

/// Settings that Prometheus has under another name, as its flags show them: sidecars and backup tools look for these.
fn prometheus_flags(storage: &tsdb::Config) -> Vec<(&'static str, String)> {
    vec![
        ("agent", "false".to_owned()),
        ("storage.tsdb.path", storage.path.display().to_string()),
        ("storage.tsdb.retention.time", storage.retention.to_string()),
        ("storage.tsdb.retention.size", format!("{}B", storage.retention_bytes)),
        ("storage.tsdb.min-block-duration", storage.block_range.to_string()),
        ("storage.tsdb.max-block-duration", storage.longest_block().to_string()),
        ("storage.tsdb.allow-overlapping-compaction", "true".to_owned()),
        ("storage.tsdb.no-lockfile", "false".to_owned()),
        ("web.route-prefix", "/".to_owned()),
    ]
}

fn flatten(path: &str, value: &serde_json::Value, out: &mut serde_json::Map<String, serde_json::Value>) {
    match value {
        serde_json::Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(name, value)| flatten(&format!("{path}.{}", name.replace('_', "-")), value, out));
        }
        serde_json::Value::String(text) => drop(out.insert(path.to_owned(), text.clone().into())),
        other => drop(out.insert(path.to_owned(), other.to_string().into())),
    }
}

/// `GET /api/v1/status/tsdb?limit=N`: what the head holds, and what its labels cost.
pub(crate) async fn tsdb(
    State(api): State<Arc<Api>>,
    uri: axum::http::Uri,
    headers: axum::http::HeaderMap,
) -> Result<Response, crate::error::ApiError> {
    let params = crate::params::Params::read(&uri, &headers, &axum::body::Bytes::new())?;
    let tenant = crate::params::tenant(&headers)?;
    let limit = match params.get("limit").map(str::parse::<usize>) {
        None => 10,
        Some(Ok(limit)) if limit > 0 => limit.min(10_000),
        Some(_) => return Err(crate::error::ApiError::bad_data("limit must be a positive number")),
    };
    let db = Arc::clone(&api.db);
    let stats = tokio::task::spawn_blocking(move || db.stats(&tenant, limit)).await;
    let stats = stats.ok().flatten().unwrap_or_default();
    Ok(reply::success_of(&json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": stats.label_pairs,
            "chunkCount": stats.chunks,
            "minTime": stats.min_time.unwrap_or(i64::MAX),
            "maxTime": stats.max_time.unwrap_or(i64::MIN),
        },
        "seriesCountByMetricName": stats.series_by_metric,
        "labelValueCountByLabelName": stats.values_by_label,
        "memoryInBytesByLabelName": stats.bytes_by_label,
        "seriesCountByLabelValuePair": stats.series_by_pair,
        // Beside Prometheus' own fields.
        "memoryBytesByKind": stats.memory_bytes,
        "blocks": { "count": stats.blocks, "bytes": stats.blocks_bytes, "samples": stats.blocks_samples },
    })))
}
