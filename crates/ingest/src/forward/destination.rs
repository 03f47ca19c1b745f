//! A server that samples are sent to: where, what, how.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use httpc::{Client, Options, Request};
use model::{Labels, relabel};
use wire::remote_write::Message;

/// A destination, checked.
pub struct Destination {
    name: String,
    /// Never empty; one is used at a time.
    urls: Vec<String>,
    /// Which of them.
    current: AtomicUsize,
    /// Everything that was configured, to tell whether a reload changed it; not its text, in which secrets are hidden.
    settings: Settings,
    pub(super) client: Client,
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) message: Message,
    pub(super) external_labels: Labels,
    relabel: Vec<relabel::Rule>,
    pub(super) exemplars: bool,
    pub(super) histograms: bool,
    pub(super) queue: Queue,
    /// How often metadata is sent to a version 1.0 receiver, and how many entries at once; `None` for never.
    pub(super) metadata: Option<(Duration, usize)>,
}

/// Sharding, batching and back-off.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Requests at once.
    pub min_shards: usize,
    /// Requests at once when there is much to send.
    pub max_shards: usize,
    /// Samples that are read from the spool at once for a shard; at least those of a request.
    pub capacity: usize,
    /// Samples in a request.
    pub max_samples: usize,
    /// How long a sample waits for its request to fill.
    pub deadline: Duration,
    /// The first pause after a failure.
    pub min_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// Whether a 429 without `Retry-After` is sent again.
    pub retry_429: bool,
    /// Samples older than this are dropped, in milliseconds; 0 keeps all.
    pub age_limit_ms: i64,
}

/// What a destination is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// For metrics and logs; empty for one made from the URL.
    pub name: String,
    /// Where to.
    pub url: String,
    /// Where to when that does not answer: servers of which any will do, in turn.
    pub alternatives: Vec<String>,
    /// Credentials, TLS, proxy.
    pub http: httpc::Config,
    /// Signs requests for AWS.
    pub sigv4: Option<httpc::SigV4>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// How long a request may take.
    pub timeout: Duration,
    /// Which version is spoken.
    pub message: Message,
    /// Labels that every series gets, unless it has a label of that name.
    pub external_labels: Labels,
    /// Rewrites and drops series.
    pub relabel: Vec<relabel::Rule>,
    /// Whether exemplars are sent.
    pub exemplars: bool,
    /// Whether native histograms are sent.
    pub histograms: bool,
    /// Sharding, batching and back-off.
    pub queue: Queue,
    /// How often metadata is sent to a version 1.0 receiver, and how many entries at once; `None` for never.
    pub metadata: Option<(Duration, usize)>,
}

/// Settings that make no destination.
#[derive(Debug, thiserror::Error)]
#[error("remote_write to {url}: {reason}")]
pub struct InvalidDestination {
    url: String,
    reason: String,
}

impl Destination {
    /// Checks settings. Reads certificate files.
    ///
    /// # Errors
    /// [`InvalidDestination`].
    pub fn new(settings: Settings) -> Result<Self, InvalidDestination> {
        let url = settings.url.clone();
        let http = |err: httpc::Error| InvalidDestination { url: url.clone(), reason: err.chain() };
        let options = Options {
            timeout: settings.timeout,
            compression: false,
            idle_per_host: settings.queue.max_shards,
            sigv4: settings.sigv4.clone(),
            ..Options::default()
        };
        let client = Client::new(&settings.http, options).map_err(http)?;
        let mut urls = vec![settings.url.clone()];
        urls.extend(settings.alternatives.iter().cloned());
        for url in &urls {
            Request::post(url, "application/x-protobuf", Vec::new()).map_err(http)?;
        }
        let name = match settings.name.is_empty() {
            false => settings.name.clone(),
            true => format!("{:06x}", xxhash_rust::xxh3::xxh3_64(settings.url.as_bytes()) >> 40),
        };
        Ok(Self {
            name,
            urls,
            current: AtomicUsize::new(0),
            client,
            headers: settings.headers.clone(),
            timeout: settings.timeout,
            message: settings.message,
            external_labels: settings.external_labels.clone(),
            relabel: settings.relabel.clone(),
            exemplars: settings.exemplars,
            histograms: settings.histograms,
            queue: settings.queue.clone(),
            metadata: settings.metadata,
            settings,
        })
    }

    /// For metrics, logs and the cursor's file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where to, now.
    pub(super) fn url(&self) -> &str {
        &self.urls[self.current.load(Ordering::Relaxed) % self.urls.len()]
    }

    /// `url` cannot take samples: the next one is used, unless another request has already gone on to it.
    pub(super) fn go_on_from(&self, url: &str) {
        let now = self.current.load(Ordering::Relaxed);
        if self.urls.len() > 1 && self.urls[now % self.urls.len()] == url {
            let next = (now + 1) % self.urls.len();
            // Lost to another request that saw the same: it has gone on.
            self.current.compare_exchange(now, next, Ordering::Relaxed, Ordering::Relaxed).ok();
        }
    }

    /// Whether nothing about it has changed.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.settings == other.settings
    }

    /// The labels under which a series is sent; `None` when it is not.
    pub(super) fn rewritten(&self, labels: &Labels) -> Option<Labels> {
        if self.relabel.is_empty() && self.external_labels.is_empty() {
            return Some(labels.clone());
        }
        let mut builder = labels.to_builder();
        for (name, value) in &self.external_labels {
            if labels.get(name).is_none() {
                builder.set(name, value);
            }
        }
        relabel::apply(&self.relabel, &mut builder).ok()?;
        let labels = builder.build();
        (!labels.is_empty()).then_some(labels)
    }

    /// Whether a series is sent at all.
    pub(super) fn wants(&self, labels: &Labels) -> bool {
        self.relabel.is_empty() || self.rewritten(labels).is_some()
    }
}
