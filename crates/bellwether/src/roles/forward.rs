//! What stands between the gate and the storage: cardinality protection, and remote write out to the destinations of Prometheus' section
//! `remote_write`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use ingest::forward::{Destination, Forward, Queue, Settings};
use model::{Appender, Clock, Labels};
use sources::config::{PrometheusFile, RemoteWriteConfig};
use wire::remote_write::Message;

/// Forwarding in front of the storage, without a destination yet.
pub(super) fn new(
    settings: &crate::config::Settings,
    storage: Arc<dyn Appender>,
    db: &Arc<tsdb::Db>,
    clock: &Arc<dyn Clock>,
    metrics: &ingest::Metrics,
) -> Forward {
    let known = Arc::clone(db);
    Forward::new(
        storage,
        Arc::new(move |tenant, series| known.labels_of(tenant, series)),
        Arc::clone(clock),
        &settings.ingest.forward,
        settings.storage.path.join("forward"),
        metrics.clone(),
    )
}

/// Cardinality protection that asks the storage which series it has.
pub(super) fn guard(
    settings: &crate::config::Settings,
    db: &Arc<tsdb::Db>,
    metrics: &ingest::Metrics,
    seed: u64,
) -> ingest::Guard {
    let known = Arc::clone(db);
    let is_active: ingest::cardinality::IsActive =
        Arc::new(move |tenant, encoded| known.is_active(tenant, encoded));
    ingest::Guard::new(&settings.ingest.cardinality, seed, is_active, metrics.clone())
}

/// Where samples are sent.
pub(super) fn destinations(file: &PrometheusFile) -> anyhow::Result<Vec<Destination>> {
    file.remote_write.iter().map(|config| destination(config, file)).collect()
}

fn destination(config: &RemoteWriteConfig, file: &PrometheusFile) -> anyhow::Result<Destination> {
    let unsupported = [("azuread", config.azuread.is_some()), ("google_iam", config.google_iam.is_some())];
    if let Some((field, _)) = unsupported.iter().find(|(_, set)| *set) {
        bail!("remote_write to {}: {field} is not supported", config.url);
    }
    if config.round_robin_dns {
        tracing::warn!(
            url = config.url,
            "remote_write: round_robin_dns has no effect; connections go to the name's first address"
        );
    }
    let queue = &config.queue_config;
    let count = |value: i64| usize::try_from(value).unwrap_or(1).max(1);
    let settings = Settings {
        name: config.name.clone(),
        url: config.url.clone(),
        alternatives: Vec::new(),
        http: config.http(),
        sigv4: config.sigv4.clone(),
        headers: config.headers.clone().into_iter().collect(),
        timeout: config.remote_timeout.to_std(),
        message: match config.protobuf_message.as_str() {
            RemoteWriteConfig::V2 => Message::V2,
            _ => Message::V1,
        },
        external_labels: file.global.external_labels(),
        relabel: config.write_relabel_configs.0.clone(),
        exemplars: config.send_exemplars,
        histograms: config.send_native_histograms || config.protobuf_message == RemoteWriteConfig::V2,
        queue: Queue {
            min_shards: count(queue.min_shards),
            max_shards: count(queue.max_shards),
            capacity: count(queue.capacity),
            max_samples: count(queue.max_samples_per_send),
            deadline: queue.batch_send_deadline.to_std(),
            min_backoff: queue.min_backoff.to_std(),
            max_backoff: queue.max_backoff.to_std(),
            retry_429: queue.retry_on_http_429,
            age_limit_ms: queue.sample_age_limit.ms(),
        },
        metadata: config.metadata_config.send.then(|| {
            (
                config.metadata_config.send_interval.to_std(),
                count(config.metadata_config.max_samples_per_send),
            )
        }),
    };
    Ok(Destination::new(settings)?)
}

/// Servers of ours, of which any will do, as a destination of samples.
pub(super) fn upstream(name: &str, urls: &[String], http: httpc::Config) -> anyhow::Result<Destination> {
    let mut urls = urls.iter().map(|url| format!("{}/api/v1/write", url.trim_end_matches('/')));
    let settings = Settings {
        name: name.to_owned(),
        url: urls.next().unwrap_or_default(),
        alternatives: urls.collect(),
        http,
        sigv4: None,
        headers: Vec::new(),
        timeout: Duration::from_secs(30),
        message: Message::V2,
        external_labels: Labels::default(),
        relabel: Vec::new(),
        exemplars: false,
        histograms: true,
        queue: Queue {
            min_shards: 1,
            max_shards: 4,
            capacity: 2_000,
            max_samples: 2_000,
            deadline: Duration::from_secs(1),
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            retry_429: true,
            age_limit_ms: 0,
        },
        metadata: None,
    };
    Ok(Destination::new(settings)?)
}
