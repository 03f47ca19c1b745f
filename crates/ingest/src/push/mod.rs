//! What the receivers of all protocols share: an answer, storing a batch, buffers for reuse.

pub mod datadog;
pub mod import;
pub mod influx;
pub mod otlp;

use std::sync::Arc;

use model::{Appender, Batch, Clock, ErrorKind, TenantId};
use parking_lot::Mutex;
use wire::compress::{self, Encoding};
use wire::gather::{Gather, Refused};

use crate::config::Config;
use crate::delta::Deltas;
use crate::metrics::{Metrics, Protocol};

/// How long a sender should wait after a 429 or 503, in seconds.
pub(crate) const RETRY_AFTER: u32 = 5;
/// Decoders and buffers that are kept for reuse.
const MAX_IDLE: usize = 16;
/// A larger buffer is not kept.
const MAX_IDLE_BYTES: usize = 16 << 20;

/// What to answer over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// An answer with a text for people.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            headers: vec![("content-type", "text/plain; charset=utf-8".into())],
            body: text.into().into_bytes(),
        }
    }

    /// An answer in JSON.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".into())],
            body: value.to_string().into_bytes(),
        }
    }

    /// Adds `Retry-After`.
    pub(crate) fn retry_after(mut self) -> Self {
        self.headers.push(("retry-after", RETRY_AFTER.to_string()));
        self
    }
}

/// A request's parts that receivers look at.
#[derive(Clone, Copy, Debug)]
pub struct Pushed<'r> {
    /// Whose data it is.
    pub tenant: &'r TenantId,
    /// The `Content-Type`.
    pub content_type: Option<&'r str>,
    /// The `Content-Encoding`.
    pub content_encoding: Option<&'r str>,
    /// The body as sent.
    pub body: &'r [u8],
}

impl Pushed<'_> {
    /// The type without its parameters, in lower case.
    pub(crate) fn media_type(&self) -> String {
        let text = self.content_type.unwrap_or_default();
        text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stored {
    /// It is stored, but for `rejected` samples.
    Done { rejected: usize, first: Option<String> },
    /// Nothing is acknowledged: the same batch may be taken later. The status is 429 or 503.
    Later { status: u16, reason: String },
    /// Nothing is acknowledged, and sending it again does not help. The status is 400 or 500.
    Failed { status: u16, reason: String },
}

/// Hands a batch on.
pub(crate) async fn store(appender: &dyn Appender, tenant: &TenantId, batch: &Batch) -> Stored {
    if batch.is_empty() {
        return Stored::Done { rejected: 0, first: None };
    }
    match appender.append(tenant, batch).await {
        Ok(appended) => {
            let first = appended.rejected.first().map(|r| format!("{}: {}", r.reason, r.detail));
            Stored::Done { rejected: appended.rejected_count, first }
        }
        Err(err) => {
            let reason = err.chain();
            match err.kind() {
                ErrorKind::Limit => Stored::Later { status: 429, reason },
                ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Cancelled => {
                    Stored::Later { status: 503, reason }
                }
                ErrorKind::Invalid | ErrorKind::NotFound => Stored::Failed { status: 400, reason },
                ErrorKind::Corrupt | ErrorKind::Internal => Stored::Failed { status: 500, reason },
            }
        }
    }
}

/// Buffers of one request.
#[derive(Debug)]
pub(crate) struct Buffers {
    pub(crate) body: Vec<u8>,
    pub(crate) gather: Gather,
    pub(crate) batch: Batch,
}

/// Everything that receives over HTTP.
pub struct Push {
    pub(crate) config: Config,
    pub(crate) appender: Arc<dyn Appender>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) seed: u64,
    pub(crate) deltas: Deltas,
    otlp: otlp::Decoders,
    idle: Mutex<Vec<Buffers>>,
}

/// Which receivers answer.
#[derive(Clone, Copy, Debug)]
pub struct Enabled {
    /// OpenTelemetry.
    pub otlp: bool,
    /// InfluxDB's line protocol.
    pub influx: bool,
    /// Prometheus' text.
    pub import: bool,
    /// Datadog.
    pub datadog: bool,
}

impl Push {
    /// `otlp`: how names are translated. `seed`: a secret of the process.
    pub fn new(
        config: &Config,
        otlp: wire::otlp::Options,
        appender: Arc<dyn Appender>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        seed: u64,
    ) -> Self {
        Self {
            deltas: Deltas::new(&config.deltas, seed, metrics.clone()),
            otlp: otlp::Decoders::new(otlp),
            config: config.clone(),
            appender,
            clock,
            metrics,
            seed,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Which receivers answer.
    pub fn is_enabled(&self) -> Enabled {
        Enabled {
            otlp: self.config.otlp.enabled,
            influx: self.config.influx.enabled,
            import: self.config.import.enabled,
            datadog: self.config.datadog.enabled,
        }
    }

    /// Puts other translation settings in force, for requests that come from now on.
    pub fn reload(&self, otlp: wire::otlp::Options) {
        self.otlp.reload(otlp);
    }

    /// The largest body that is worth reading, in bytes.
    pub fn max_request_bytes(&self) -> usize {
        self.config.max_request_bytes
    }

    fn buffers(&self) -> Buffers {
        let kept = self.idle.lock().pop();
        kept.unwrap_or_else(|| Buffers {
            body: Vec::new(),
            gather: Gather::new(self.seed),
            batch: Batch::new(),
        })
    }

    fn keep(&self, buffers: Buffers) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE && buffers.body.capacity() + buffers.batch.size_bytes() <= MAX_IDLE_BYTES {
            idle.push(buffers);
        }
    }

    /// Decompresses a body into `out`, as its header says.
    ///
    /// # Errors
    /// Status and reason: 413, 415 or 400.
    fn decompress(&self, pushed: &Pushed<'_>, out: &mut Vec<u8>) -> Result<(), (u16, String)> {
        let limit = self.config.max_request_bytes;
        if pushed.body.len() > limit {
            let len = pushed.body.len();
            return Err((
                413,
                format!("the body has {len} bytes, the limit is {limit} (ingest.max_request_bytes)"),
            ));
        }
        let given = pushed.content_encoding.unwrap_or_default();
        let Some(encoding) = Encoding::from_header(given) else {
            return Err((
                415,
                format!("unsupported Content-Encoding {given:?}; use gzip, zstd, deflate or snappy"),
            ));
        };
        match compress::decompress(encoding, pushed.body, self.config.max_decompressed_bytes, out) {
            Ok(()) => Ok(()),
            Err(err @ compress::Error::TooLarge { .. }) => Err((413, err.to_string())),
            Err(err) => Err((400, err.to_string())),
        }
    }

    /// Counts a finished request.
    fn count(&self, protocol: &'static str, batch: &Batch, refused: &Refused, stored: &Stored) {
        self.metrics.pushed(protocol, batch, refused, stored);
    }

    /// Counts a request that could not be read, and gives its status back.
    fn unread(&self, protocol: &'static str) {
        self.metrics.push_requests.get_or_create(&Protocol::with(protocol, "unreadable")).inc();
    }
}
