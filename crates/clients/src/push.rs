//! The loop that sends roll-ups to the collector above, with the spool between.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::collector::Collector;
use crate::spool::Spool;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait between attempts.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// An answer's text is only for the log.
const MAX_ANSWER_BYTES: usize = 4096;

/// Sends what the collector has counted until `stop`; then what is left goes to the spool.
///
/// # Errors
/// The spool below `folder` or the HTTP client cannot be used.
pub async fn run(
    collector: Arc<Collector>,
    folder: &Path,
    name: String,
    stop: CancellationToken,
) -> io::Result<()> {
    let config = collector.config().push.clone();
    let spool = Spool::open(&folder.join("spool"), config.spool_bytes)?;
    let client = client(&config).map_err(io::Error::other)?;
    let sender = Sender {
        url: format!("{}/rollup", config.url.trim_end_matches('/')),
        spool: Arc::new(Mutex::new(spool)),
        client,
        name,
        collector,
    };
    let interval = config.interval.to_std();
    let mut sequence = 0;
    let mut wait = interval;
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(wait) => false,
        };
        sender.spool_up(&mut sequence).await;
        let sent = sender.send().await;
        if stopped {
            return Ok(());
        }
        // The interval goes on while the upper collector is away, so that minutes stay apart; only a refusal slows it down.
        wait = if sent { interval } else { (wait * 2).min(MAX_WAIT.max(interval)) };
    }
}

fn client(config: &crate::config::PushConfig) -> Result<httpc::Client, String> {
    let mut http = httpc::Config::default();
    if !config.ca_file.as_os_str().is_empty() {
        http.tls_config.ca_file = config.ca_file.clone();
    }
    let options = httpc::Options { timeout: TIMEOUT, ..httpc::Options::default() };
    httpc::Client::new(&http, options).map_err(|err| err.to_string())
}

struct Sender {
    url: String,
    spool: Arc<Mutex<Spool>>,
    client: httpc::Client,
    name: String,
    collector: Arc<Collector>,
}

impl Sender {
    /// Puts what was counted since the last call on disk.
    async fn spool_up(&self, sequence: &mut u64) {
        let Some(rollup) = self.collector.take_rollup(&self.name, *sequence + 1) else { return };
        *sequence += 1;
        let reports = rollup.reports();
        let spool = Arc::clone(&self.spool);
        let stored = tokio::task::spawn_blocking(move || {
            let body = rollup.encode()?;
            let mut spool = spool.lock();
            let lost = spool.push(&body, reports)?;
            Ok::<_, io::Error>((lost, spool.bytes()))
        });
        let metrics = self.collector.metrics();
        match stored.await.map_err(io::Error::other).and_then(|stored| stored) {
            Ok((lost, bytes)) => {
                metrics.spool_lost.inc_by(lost);
                metrics.spool_bytes.set(bytes as i64);
            }
            Err(err) => {
                metrics.spool_lost.inc_by(reports);
                tracing::error!(error = %err, reports, "a roll-up cannot be spooled; its reports are not sent upward");
            }
        }
    }

    /// Sends what waits, oldest first; whether all of it went.
    async fn send(&self) -> bool {
        let metrics = self.collector.metrics();
        loop {
            let spool = Arc::clone(&self.spool);
            let first = tokio::task::spawn_blocking(move || spool.lock().first()).await;
            let body = match first.map_err(io::Error::other).and_then(|first| first) {
                Ok(Some(body)) => body,
                Ok(None) => return true,
                Err(err) => {
                    tracing::error!(error = %err, "a spooled roll-up cannot be read and is dropped");
                    metrics.spool_lost.inc_by(self.drop_first().await);
                    continue;
                }
            };
            match self.post(body).await {
                Ok(()) => {
                    metrics.pushed.inc();
                    self.drop_first().await;
                }
                Err((forever, reason)) => {
                    metrics.push_failures.inc();
                    tracing::warn!(url = %self.url, %reason, "a roll-up was not taken by the upper collector");
                    if !forever {
                        return false;
                    }
                    metrics.spool_lost.inc_by(self.drop_first().await);
                }
            }
        }
    }

    /// Drops the oldest; answers its reports.
    async fn drop_first(&self) -> u64 {
        let spool = Arc::clone(&self.spool);
        let dropped = tokio::task::spawn_blocking(move || {
            let mut spool = spool.lock();
            let reports = spool.drop_first()?;
            Ok::<_, io::Error>((reports, spool.bytes()))
        });
        match dropped.await.map_err(io::Error::other).and_then(|dropped| dropped) {
            Ok((reports, bytes)) => {
                self.collector.metrics().spool_bytes.set(bytes as i64);
                reports
            }
            Err(err) => {
                tracing::error!(error = %err, "a sent roll-up cannot be removed; the upper collector drops its repetition");
                0
            }
        }
    }

    /// Whether an attempt failed for good, and why.
    async fn post(&self, body: Vec<u8>) -> Result<(), (bool, String)> {
        let later = |err: httpc::Error| (false, err.to_string());
        let signature = self.collector.secret().sign_body(&body);
        let request = httpc::Request::post(&self.url, "application/zstd", body)
            .and_then(|request| request.header("Bellwether-Signature", &signature))
            .map_err(later)?;
        let response = self.client.send(request).await.map_err(later)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let text =
            response.bytes(MAX_ANSWER_BYTES).await.map(|b| String::from_utf8_lossy(&b).trim().to_owned());
        // 400: it can never be read there. Anything else may change.
        Err((status.as_u16() == 400, format!("{status}: {}", text.unwrap_or_default())))
    }
}
