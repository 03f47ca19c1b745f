//! The dead-man's switch: beats to a URL outside, for as long as this monitor can do its work.
//!
//! A beat is sent only when a check of the whole chain (rules are evaluated, the alert manager goes round) finds nothing.
//! Whoever gets the beats tells people when they stay away: this process cannot say that it is dead.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use httpc::{Client, Options, Request};
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::metrics::{Metrics, OutcomeLabel};

/// No service's answer to a beat needs more.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// One receiver of beats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatSettings {
    /// Gets a POST as a beat; `bellwether watch` has `/beat/NAME` for it.
    pub url: String,
    /// File with the URL, for one that is a secret; read again for each beat.
    pub url_file: PathBuf,
    /// How often.
    pub interval: PromDuration,
    /// How long the receiver may take to answer.
    pub timeout: PromDuration,
}

impl Default for HeartbeatSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            url_file: PathBuf::new(),
            interval: PromDuration(30_000),
            timeout: PromDuration(10_000),
        }
    }
}

/// Says what keeps this monitor from its work, if anything does.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Starts a task for each receiver. They end when they are aborted.
///
/// # Errors
/// `Config` for one without a URL, or with an interval below a second.
pub fn start(
    receivers: &[HeartbeatSettings],
    check: &Check,
    metrics: &Metrics,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let mut tasks = Vec::new();
    for (index, receiver) in receivers.iter().enumerate() {
        let wrong = |reason: &str| Error::config(format!("alerts.heartbeats[{index}]: {reason}"));
        if receiver.url.is_empty() == receiver.url_file.as_os_str().is_empty() {
            return Err(wrong("give exactly one of url and url_file"));
        }
        if !receiver.url.is_empty() {
            Request::get(&receiver.url).map_err(|err| wrong(&err.to_string()))?;
        }
        if receiver.interval.ms() < 1000 {
            return Err(wrong("interval: the shortest is 1s"));
        }
        let options = Options { timeout: receiver.timeout.to_std(), ..Options::default() };
        let client = Client::new(&httpc::Config::default(), options)?;
        tasks.push(tokio::spawn(run(receiver.clone(), client, Arc::clone(check), metrics.clone())));
    }
    Ok(tasks)
}

async fn run(receiver: HeartbeatSettings, client: Client, check: Check, metrics: Metrics) {
    let mut ticks = tokio::time::interval(Duration::from_millis(receiver.interval.ms().max(1000) as u64));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last_ok = true;
    loop {
        ticks.tick().await;
        let outcome = match check() {
            Err(reason) => {
                tracing::error!(%reason, "heartbeat withheld: this monitor cannot do its work");
                "withheld"
            }
            Ok(()) => match beat(&receiver, &client).await {
                Ok(()) => "sent",
                Err(err) if last_ok => {
                    tracing::warn!(error = %err, "heartbeat failed");
                    "failed"
                }
                Err(_) => "failed",
            },
        };
        last_ok = outcome == "sent";
        metrics.heartbeats.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

/// Sends one beat. The error holds no URL, which may be a secret.
async fn beat(receiver: &HeartbeatSettings, client: &Client) -> Result<(), String> {
    let url = if receiver.url.is_empty() {
        let text = tokio::fs::read_to_string(&receiver.url_file).await;
        text.map_err(|err| format!("cannot read {}: {err}", receiver.url_file.display()))?.trim().to_owned()
    } else {
        receiver.url.clone()
    };
    let hide = |err: httpc::Error| err.to_string().replace(&url, "<url>");
    let request = Request::post(&url, "text/plain", "").map_err(hide)?;
    let response = client.send(request).await.map_err(hide)?;
    let status = response.status();
    response.bytes(MAX_ANSWER_BYTES).await.map_err(hide)?;
    if status.is_success() { Ok(()) } else { Err(format!("the answer is {status}")) }
}
