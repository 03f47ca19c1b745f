//! Target groups as JSON from a URL. Source: the Prometheus manual, "HTTP SD".

use httpc::{Client, Options, Request, StatusCode};

use super::{Group, Out};
use crate::config::HttpSdConfig;

/// The label that names the URL.
const URL: &str = "__meta_url";
/// A larger answer is refused.
const MAX_BYTES: usize = 64 << 20;

/// Asks at every interval until cancelled.
pub(crate) async fn run(config: HttpSdConfig, mut out: Out) {
    let http = config.http();
    let options = Options { timeout: config.refresh_interval.to_std(), ..Options::default() };
    let client = tokio::task::spawn_blocking(move || Client::new(&http, options)).await;
    let client = match client.map_err(|err| err.to_string()).and_then(|c| c.map_err(|err| err.chain())) {
        Ok(client) => client,
        Err(reason) => return out.failed(format!("http_sd_configs {}: {reason}", config.url)).await,
    };
    let mut tick = tokio::time::interval(config.refresh_interval.to_std());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match ask(&client, &config).await {
            Ok(groups) => out.all(groups).await,
            Err(reason) => out.failed(format!("http_sd_configs {}: {reason}", config.url)).await,
        }
    }
}

async fn ask(client: &Client, config: &HttpSdConfig) -> Result<Vec<Group>, String> {
    let seconds = config.refresh_interval.to_std().as_secs_f64().to_string();
    let request = Request::get(&config.url)
        .and_then(|r| r.header("accept", "application/json"))
        .and_then(|r| r.header("x-prometheus-refresh-interval-seconds", &seconds))
        .map_err(|err| err.chain())?;
    let response = client.send(request).await.map_err(|err| err.chain())?;
    if response.status() != StatusCode::OK {
        return Err(format!("server returned HTTP status {}", response.status()));
    }
    let kind = response.header("content-type").unwrap_or_default().to_ascii_lowercase();
    if !kind.trim_start().starts_with("application/json") {
        return Err(format!("unsupported content type {kind:?}"));
    }
    let body = response.bytes(MAX_BYTES).await.map_err(|err| err.chain())?;
    let groups: Vec<Option<Group>> = serde_json::from_slice(&body).map_err(|err| err.to_string())?;
    let mut out = Vec::with_capacity(groups.len());
    for (index, group) in groups.into_iter().enumerate() {
        let Some(mut group) = group else { return Err("nil target group item found".into()) };
        group.source = format!("{}:{index}", config.url);
        group.labels.insert(URL.into(), config.url.clone());
        out.push(group);
    }
    Ok(out)
}
