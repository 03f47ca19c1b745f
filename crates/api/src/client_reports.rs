//! What clients report, for the page and for people: sites, cohorts, incidents, the field list, policies.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use clients::lint::{self, Endpoint};
use clients::policy::{self, Server};
use clients::report::Source;
use clients::{Collector, Site};
use serde_json::json;

use crate::error::ApiError;
use crate::params::Params;
use crate::reply;
use crate::server::Api;

/// Longest window of cohorts, in minutes.
const MAX_MINUTES: i64 = 15;

/// The collector, or why there is none.
fn collector(api: &Api) -> Result<&Arc<Collector>, ApiError> {
    let text = "the collector is switched off (collector.enabled)";
    api.clients.as_ref().ok_or_else(|| ApiError::not_found(text))
}

fn site(collector: &Collector, params: &Params) -> Result<Site, ApiError> {
    let name = params.require("site")?;
    let sites = collector.sites();
    let found = sites.find(name).map(|(_, live)| live.site.clone());
    found.ok_or_else(|| ApiError::not_found(format!("there is no site {name:?} among collector.sites")))
}

fn answer(result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(IntoResponse::into_response)
}

/// `GET /api/v1/clients/sites`: what is collected.
pub(crate) async fn sites(State(api): State<Arc<Api>>) -> Response {
    answer(collector(&api).map(|collector| {
        let (config, sites) = (collector.config(), collector.sites());
        let site = |site: &Site| {
            json!({
                "name": site.name,
                "origins": site.origins,
                "collectors": site.collectors,
                "successFraction": site.success_fraction,
                "failureFraction": site.failure_fraction,
                "retired": site.retired,
            })
        };
        reply::success_of(&json!({
            "sites": sites.in_force().map(site).collect::<Vec<_>>(),
            "minClients": config.min_clients,
            "keepReports": config.keep_reports.to_string(),
        }))
    }))
}

/// `GET /api/v1/clients/cohorts?site=&source=nel|agent|native&minutes=`: rates of the cohorts that may be shown.
pub(crate) async fn cohorts(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(cohorts_of(&api, &uri, &headers, &body))
}

fn cohorts_of(api: &Api, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Response, ApiError> {
    let collector = collector(api)?;
    let params = Params::read(uri, headers, body)?;
    let site = site(collector, &params)?;
    let source = match params.get("source") {
        None => Source::Nel,
        Some(text) => Source::ALL
            .into_iter()
            .find(|source| source.as_str() == text)
            .ok_or_else(|| ApiError::parameter("source", "use nel, agent or native"))?,
    };
    let minutes = match params.get("minutes") {
        None => 5,
        Some(text) => text
            .parse()
            .ok()
            .filter(|minutes| (1..=MAX_MINUTES).contains(minutes))
            .ok_or_else(|| ApiError::parameter("minutes", format!("use 1 to {MAX_MINUTES}")))?,
    };
    let cohorts = collector.cohorts(&site.name, source, minutes).unwrap_or_default();
    Ok(reply::success_of(&cohorts))
}

/// Where clients are: the countries and networks that may be shown, over all sites.
pub(crate) fn places(collector: &Collector) -> Vec<probe::vantage::Place> {
    let mut found: std::collections::BTreeMap<(&'static str, String), f64> =
        std::collections::BTreeMap::new();
    let names: Vec<String> = collector.sites().in_force().map(|site| site.name.clone()).collect();
    for site in &names {
        for source in Source::ALL {
            for cohort in collector.cohorts(site, source, MAX_MINUTES).unwrap_or_default() {
                let kind = match cohort.cohort {
                    "country" => "country",
                    "asn" => "asn",
                    _ => continue,
                };
                // Vantage points are labelled with the number alone, or with it.
                let value = cohort.value.trim_start_matches("AS").to_owned();
                let value = if kind == "asn" { value } else { cohort.value };
                *found.entry((kind, value)).or_default() += cohort.requests;
            }
        }
    }
    found
        .into_iter()
        .map(|((kind, value), requests)| probe::vantage::Place { kind, value, requests })
        .collect()
}

/// `GET /api/v1/clients/incidents`: open ones, then ended ones.
pub(crate) async fn incidents(State(api): State<Arc<Api>>) -> Response {
    answer(collector(&api).map(|collector| reply::success_of(&collector.incidents())))
}

/// `GET /api/v1/clients/fields`: every field that clients send and what becomes of it. Needs no collector.
pub(crate) async fn fields() -> Response {
    reply::success_of(&clients::field::FIELDS)
}

/// `GET /api/v1/clients/policy?site=&for=nginx|haproxy|envoy|caddy|headers&active=true|false`: headers and a snippet.
pub(crate) async fn policy(
    State(api): State<Arc<Api>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(policy_of(&api, &uri, &headers, &body))
}

fn policy_of(api: &Api, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Response, ApiError> {
    let collector = collector(api)?;
    let params = Params::read(uri, headers, body)?;
    let site = site(collector, &params)?;
    let server = match params.get("for") {
        None => Server::Headers,
        Some(text) => Server::ALL
            .into_iter()
            .find(|server| server.as_str() == text)
            .ok_or_else(|| ApiError::parameter("for", "use headers, nginx, haproxy, envoy or caddy"))?,
    };
    let active = match params.get("active") {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return Err(ApiError::parameter("active", "use true or false")),
    };
    if site.collectors.is_empty() {
        return Err(ApiError::bad_data(format!("site {:?} names no collectors", site.name)));
    }
    let list = policy::headers(&site, active, Some(collector.secret()), api.clock.now().ms());
    let shown: Vec<_> = list.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    Ok(reply::success_of(&json!({"headers": shown, "snippet": policy::snippet(&list, server)})))
}

/// `GET /api/v1/clients/lint?site=`: whether the site's collectors are independent.
pub(crate) async fn lint(State(api): State<Arc<Api>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    answer(lint_of(&api, &uri, &headers, &body).await)
}

async fn lint_of(api: &Api, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Response, ApiError> {
    let collector = collector(api)?;
    let params = Params::read(uri, headers, body)?;
    let site = site(collector, &params)?;
    let findings = lint_site(&site, collector.geo()).await;
    Ok(reply::success_of(&findings))
}

/// Resolves a site's origins and collectors and compares them.
pub async fn lint_site(site: &Site, geo: &clients::geo::Geo) -> Vec<lint::Finding> {
    let mut origins = Vec::new();
    for origin in &site.origins {
        let url = origin.replace("://*.", "://").replace(":*", "");
        origins.push(Endpoint::new(&url, resolve(&url).await, geo));
    }
    let mut collectors = Vec::new();
    for url in &site.collectors {
        collectors.push(Endpoint::new(url, resolve(url).await, geo));
    }
    lint::check(&origins, &collectors)
}

/// The addresses of a URL's host; none when it is not resolved, which the check says.
async fn resolve(url: &str) -> Vec<IpAddr> {
    let host = clients::origin::host(url).trim_end_matches('/');
    match tokio::net::lookup_host((host, 443)).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(err) => {
            tracing::debug!(%host, error = %err, "not resolved");
            Vec::new()
        }
    }
}
