//! The agent's side: announcing itself, and hearing what to push.

use std::time::Duration;

use httpc::{Client, Method, Options, Request, StatusCode};
use serde::Deserialize;
use tokio::sync::watch;

use super::registry::{Announcement, Granted, Remote};

/// How long one collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An answer is small.
const MAX_BYTES: usize = 1 << 20;
/// How long to wait when no collector takes the announcement.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Answer {
    data: Granted,
}

/// Announces an agent.
pub struct Announcer {
    client: Client,
    collectors: Vec<String>,
    agent: Announcement,
    remote: watch::Sender<Remote>,
}

impl Announcer {
    /// `http`: with the token as its authorization. `collectors`: their URLs, asked in this order until one takes the announcement.
    ///
    /// # Errors
    /// The client cannot be made. Blocks on certificate files.
    pub fn new(
        http: &httpc::Config,
        collectors: Vec<String>,
        agent: Announcement,
    ) -> Result<(Self, watch::Receiver<Remote>), httpc::Error> {
        let options = Options { timeout: TIMEOUT, connect_timeout: TIMEOUT, ..Options::default() };
        let client = Client::new(http, options)?;
        let (remote, seen) = watch::channel(Remote::default());
        Ok((Self { client, collectors, agent, remote }, seen))
    }

    /// Announces before every end of the lease, until cancelled. A change of what is to be pushed goes to the receiver.
    pub async fn run(&self) {
        let mut well = true;
        loop {
            let mut wait = RETRY;
            match self.once().await {
                Ok(granted) => {
                    if !std::mem::replace(&mut well, true) {
                        tracing::info!(collector = %granted.collector, "announced again");
                    }
                    wait = Duration::from_millis(granted.again_ms.max(1_000));
                    self.remote.send_if_modified(|remote| {
                        let changed = *remote != granted.remote;
                        if changed {
                            *remote = granted.remote.clone();
                        }
                        changed
                    });
                }
                Err(reason) if std::mem::replace(&mut well, false) => {
                    tracing::warn!(error = %reason, "no collector took the announcement");
                }
                Err(_) => {}
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Announces to the first collector that takes it.
    ///
    /// # Errors
    /// What each of them said.
    pub async fn once(&self) -> Result<Granted, String> {
        let mut said = Vec::new();
        for collector in &self.collectors {
            match self.ask(collector).await {
                Ok(granted) => return Ok(granted),
                Err(reason) => said.push(format!("{collector}: {reason}")),
            }
        }
        Err(said.join("; "))
    }

    async fn ask(&self, collector: &str) -> Result<Granted, String> {
        let body = serde_json::to_vec(&self.agent).map_err(|err| err.to_string())?;
        let url = format!("{}/api/v1/agents", collector.trim_end_matches('/'));
        let request = Request::post(&url, "application/json", body).map_err(|err| err.chain())?;
        let (status, body) = self.send(request).await?;
        if status != StatusCode::OK {
            let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(format!("HTTP status {status}: {text}"));
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|err| err.to_string())?;
        Ok(answer.data)
    }

    /// Says that the agent ends, so that its series end now and not with its lease.
    pub async fn withdraw(&self) {
        for collector in &self.collectors {
            let mut url =
                match httpc::Url::parse(&format!("{}/api/v1/agents/", collector.trim_end_matches('/'))) {
                    Ok(url) => url,
                    Err(err) => {
                        tracing::debug!(%collector, error = %err, "no URL");
                        continue;
                    }
                };
            if let Ok(mut path) = url.path_segments_mut() {
                path.pop_if_empty().push(&self.agent.name);
            }
            match Request::new(Method::DELETE, url.as_str()).map_err(|err| err.chain()) {
                Ok(request) => match self.send(request).await {
                    Ok((status, _)) if status.is_success() => {}
                    Ok((status, _)) => tracing::debug!(%collector, %status, "the withdrawal was refused"),
                    Err(reason) => tracing::debug!(%collector, error = %reason, "cannot withdraw"),
                },
                Err(reason) => tracing::debug!(%collector, error = %reason, "cannot withdraw"),
            }
        }
    }

    async fn send(&self, request: Request) -> Result<(StatusCode, Vec<u8>), String> {
        let response = self.client.send(request).await.map_err(|err| err.chain())?;
        let status = response.status();
        let body = response.bytes(MAX_BYTES).await.map_err(|err| err.chain())?;
        Ok((status, body.into()))
    }
}
