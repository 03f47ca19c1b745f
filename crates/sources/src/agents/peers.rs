//! Reading the other collectors.

use std::sync::Arc;
use std::time::Duration;

use httpc::{Client, Options, Request, StatusCode};
use serde::Deserialize;

use super::registry::{Registry, Shared};

/// A larger answer is refused.
const MAX_BYTES: usize = 128 << 20;

/// What a collector answers: its name and its direct announcements.
#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    collector: String,
    agents: Vec<Shared>,
}

/// Asks every peer at every interval, until cancelled. `token`: shown to them.
///
/// # Errors
/// The client cannot be made.
pub async fn run(registry: Arc<Registry>, token: httpc::Secret) -> Result<(), String> {
    let interval = registry.config().peer_interval.to_std();
    let options = Options { timeout: interval, connect_timeout: interval, ..Options::default() };
    let made = tokio::task::spawn_blocking(move || Client::new(&httpc::Config::default(), options)).await;
    let client = made.map_err(|err| err.to_string())?.map_err(|err| err.chain())?;
    let mut tasks = tokio::task::JoinSet::new();
    for peer in registry.config().peers {
        tasks.spawn(ask_again(Arc::clone(&registry), client.clone(), peer, token.clone(), interval));
    }
    // They run until this future, and with it the set, is dropped.
    while tasks.join_next().await.is_some() {}
    std::future::pending().await
}

async fn ask_again(
    registry: Arc<Registry>,
    client: Client,
    peer: String,
    token: httpc::Secret,
    interval: Duration,
) {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut well = true;
    loop {
        tick.tick().await;
        match ask(&client, &peer, &token).await {
            Ok(data) => {
                if !std::mem::replace(&mut well, true) {
                    tracing::info!(%peer, collector = %data.collector, "a collector answers again");
                }
                registry.heard(&data.collector, data.agents);
            }
            Err(reason) => {
                registry.metrics_of_peers().inc();
                if std::mem::replace(&mut well, false) {
                    tracing::warn!(%peer, error = %reason, "a collector does not answer; its agents are taken over when it stays silent");
                }
            }
        }
    }
}

async fn ask(client: &Client, peer: &str, token: &httpc::Secret) -> Result<Data, String> {
    let url = format!("{}/api/v1/agents/direct", peer.trim_end_matches('/'));
    let request = Request::get(&url)
        .and_then(|request| request.header("authorization", &format!("Bearer {}", token.expose())))
        .map_err(|err| err.chain())?;
    let response = client.send(request).await.map_err(|err| err.chain())?;
    if response.status() != StatusCode::OK {
        return Err(format!("it answered with HTTP status {}", response.status()));
    }
    let body = response.bytes(MAX_BYTES).await.map_err(|err| err.chain())?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|err| err.to_string())?;
    Ok(answer.data)
}
