//! `/api/v1/targets`, `/api/v1/targets/metadata` and `/api/v1/scrape_pools`: what is scraped, and how it goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use model::{Labels, Timestamp};
use serde_json::{Value, json};
use sources::scrape::{DroppedTarget, TargetStatus};

use crate::error::ApiError;
use crate::params::{self, Params};
use crate::reply;
use crate::server::Api;

/// `GET /api/v1/targets?state=active|dropped|any&scrapePool=NAME`
pub(crate) async fn targets(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let (active, dropped) = match params.get("state").map(str::to_lowercase).as_deref() {
        None | Some("any") => (true, true),
        Some("active") => (true, false),
        Some("dropped") => (false, true),
        // As Prometheus: no list has such targets.
        Some(_) => (false, false),
    };
    let wanted = params.get("scrapePool");
    let mut active_targets = Vec::new();
    let mut dropped_targets = Vec::new();
    let mut dropped_counts = BTreeMap::new();
    let mut problems = BTreeMap::new();
    for pool in api.scraper.snapshot().into_iter().filter(|pool| wanted.is_none_or(|name| pool.name == name))
    {
        if active {
            active_targets.extend(pool.active.iter().map(target));
        }
        if dropped {
            dropped_targets.extend(pool.dropped.iter().map(|target| dropped_target(&pool.name, target)));
            dropped_counts.insert(pool.name.clone(), pool.dropped_count);
        }
        if !pool.problems.is_empty() {
            problems.insert(pool.name, pool.problems);
        }
    }
    // `discoveryProblems` is ours; Prometheus only logs them.
    Ok(reply::success_of(&json!({
        "activeTargets": active_targets,
        "droppedTargets": dropped_targets,
        "droppedTargetCounts": dropped_counts,
        "discoveryProblems": problems,
    })))
}

/// `GET /api/v1/scrape_pools`
pub(crate) async fn pools(State(api): State<Arc<Api>>) -> Response {
    let names: Vec<String> = api.scraper.snapshot().into_iter().map(|pool| pool.name).collect();
    reply::success_of(&json!({ "scrapePools": names }))
}

/// `GET /api/v1/targets/metadata?match_target=SELECTOR&metric=NAME&limit=N`
///
/// Metadata is kept by metric, not by target: every matching target that has series of a metric is listed with it.
pub(crate) async fn metadata(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let (tenant, limit) = (params::tenant(&headers)?, params.limit_or_all("limit")?);
    let selector = match params.get("match_target") {
        None => Vec::new(),
        Some(text) => promql::parse_selector(text, &api.options)
            .map_err(|err| ApiError::parameter("match_target", err))?,
    };
    let metric = params.get("metric");
    let known = api.querier.metadata(&tenant, metric, 0).await?;
    let now = api.clock.now();
    let range = model::seam::TimeRange { start: now - api.query.lookback_delta.ms(), end: now };
    let mut found: Vec<Value> = Vec::new();
    for target in api.scraper.snapshot().into_iter().flat_map(|pool| pool.active) {
        if !model::matcher::selects(&selector, &target.labels) {
            continue;
        }
        let series: Vec<model::Matcher> =
            target.labels.iter().map(|(name, value)| model::Matcher::equal(name, value)).collect();
        let names =
            api.querier.label_values(&tenant, model::labels::METRIC_NAME, &[series], range, 0).await?.names;
        for (name, entries) in &known {
            // A histogram's series carry a suffix.
            let exposed =
                names.binary_search(name).is_ok() || names.binary_search(&format!("{name}_bucket")).is_ok();
            for entry in entries.iter().filter(|_| exposed) {
                if limit.is_some_and(|limit| found.len() >= limit) {
                    return Ok(reply::success_of(&found));
                }
                let mut object = json!({
                    "target": target.labels, "type": entry.kind.as_str(), "help": entry.help, "unit": entry.unit,
                });
                if metric.is_none() {
                    object["metric"] = json!(name);
                }
                found.push(object);
            }
        }
    }
    Ok(reply::success_of(&found))
}

/// `GET /api/v1/targets/relabel_steps?scrapePool=NAME&labels=JSON`: what each rule of a job makes of a discovered target.
pub(crate) async fn relabel_steps(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let params = Params::read(&uri, &headers, &Bytes::new())?;
    let pool = params.require("scrapePool")?;
    let labels: BTreeMap<String, String> = serde_json::from_str(params.require("labels")?)
        .map_err(|err| ApiError::parameter("labels", format!("it is no JSON object of strings: {err}")))?;
    let config = api.live.config();
    let job = config.scrape_configs.iter().find(|job| job.job_name == pool);
    let job =
        job.ok_or_else(|| ApiError::parameter("scrapePool", format!("there is no scrape pool {pool:?}")))?;
    let mut builder = Labels::from_pairs(labels).to_builder();
    let mut steps = Vec::new();
    for rule in &job.relabel_configs.0 {
        let keep = rule.apply(&mut builder);
        let output = if keep { builder.build() } else { Labels::empty() };
        steps.push(json!({ "rule": rule.config(), "output": output, "keep": keep }));
        if !keep {
            break;
        }
    }
    Ok(reply::success_of(&json!({ "steps": steps })))
}

fn target(target: &TargetStatus) -> Value {
    json!({
        "discoveredLabels": target.discovered_labels,
        "labels": target.labels,
        "scrapePool": target.scrape_pool,
        "scrapeUrl": target.scrape_url,
        "globalUrl": target.global_url,
        "lastError": target.last_error,
        "lastScrape": rfc3339(target.last_scrape),
        "lastScrapeDuration": target.last_scrape_duration,
        "health": target.health.as_str(),
        "scrapeInterval": target.scrape_interval.to_string(),
        "scrapeTimeout": target.scrape_timeout.to_string(),
    })
}

fn dropped_target(pool: &str, target: &DroppedTarget) -> Value {
    let discovered: &Labels = &target.discovered;
    json!({
        "discoveredLabels": discovered, "scrapePool": pool,
        "droppedByRule": target.rule, "droppedBecause": target.reason,
    })
}

/// Go's zero time stands for "never".
fn rfc3339(at: Timestamp) -> String {
    if at.ms() == 0 {
        return "0001-01-01T00:00:00Z".to_owned();
    }
    jiff::Timestamp::from_millisecond(at.ms()).map(|at| at.to_string()).unwrap_or_default()
}
