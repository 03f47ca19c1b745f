//! The page elsewhere: the core's snapshot, fetched again and again, shown also while the core does not answer.

use std::sync::Arc;
use std::time::Duration;

use httpc::{Client, Options, Request};
use tokio::sync::watch;

use super::publish::Published;
use super::shapes::Snapshot;

/// The largest snapshot.
const MAX_BYTES: usize = 32 << 20;

/// Where the core is.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its address, such as `https://monitor.internal:9090`.
    pub url: String,
    /// Credentials and TLS.
    pub http: httpc::Config,
    /// How often it is asked.
    pub interval: Duration,
}

/// An answer, as far as it is read.
#[derive(serde::Deserialize)]
struct Envelope {
    data: Snapshot,
}

/// Asks the core until it is told to stop.
///
/// # Errors
/// When the client cannot be made or the address is none. A core that does not answer is no error.
pub async fn follow(
    upstream: Upstream,
    published: Arc<Published>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), httpc::Error> {
    let options = Options { timeout: Duration::from_secs(10), ..Options::default() };
    let client = Client::new(&upstream.http, options)?;
    let url = format!("{}/api/v1/status_page/snapshot", upstream.url.trim_end_matches('/'));
    let request = Request::get(&url)?;
    let mut every = tokio::time::interval(upstream.interval);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut was_well = true;
    loop {
        tokio::select! {
            _ = every.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
        }
        match fetch(&client, request.clone()).await {
            Ok(snapshot) => {
                if !was_well {
                    tracing::info!("the core answers again");
                }
                was_well = true;
                let published = Arc::clone(&published);
                let written = tokio::task::spawn_blocking(move || published.publish(snapshot)).await;
                match written {
                    Ok(Ok(())) => {}
                    Ok(Err(err)) => {
                        tracing::error!(error = %err, "the copy of the status page cannot be written")
                    }
                    Err(err) => tracing::error!(error = %err, "the status page cannot be published"),
                }
            }
            Err(reason) => {
                if was_well {
                    tracing::warn!(%url, %reason, "the core does not answer; what was known is shown");
                }
                was_well = false;
            }
        }
    }
}

async fn fetch(client: &Client, request: Request) -> Result<Snapshot, String> {
    let response = client.send(request).await.map_err(|err| err.chain())?;
    let status = response.status();
    let body = response.bytes(MAX_BYTES).await.map_err(|err| err.chain())?;
    if !status.is_success() {
        let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        return Err(format!("{status}: {text}"));
    }
    let answer: Envelope = serde_json::from_slice(&body).map_err(|err| format!("no snapshot: {err}"))?;
    Ok(answer.data)
}
