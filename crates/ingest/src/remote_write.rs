//! Remote write receiver: headers and body in, status and headers out. HTTP itself is the caller's.
//!
//! Answers follow the Prometheus remote write specifications 1.0 and 2.0: 204 when everything is stored; 400 when something
//! in the request is wrong for good (the rest is stored); 429 or 503 when the same request may succeed later; 413 and 415 for
//! what cannot be read. Version 2.0 answers carry how much was written.

use model::batch::SeriesKey;
use model::{Appended, Appender, Batch, ErrorKind, TenantId};
use parking_lot::Mutex;
use wire::compress::{self, Encoding};
use wire::remote_write::{Decoder, Message, Nobody};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::Config;
use crate::known::Known;
use crate::metrics::Metrics;

/// How long a sender should wait after a 429 or 503, in seconds.
const RETRY_AFTER: u32 = 5;
/// Decoders and buffers that are kept for reuse.
const MAX_IDLE: usize = 16;
/// A larger buffer is not kept.
const MAX_IDLE_BYTES: usize = 16 << 20;

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// A text for people; empty on success.
    pub body: String,
}

/// Receives requests; keeps decoders and buffers between them.
pub struct Receiver {
    seed: u64,
    max_request: usize,
    max_decompressed: usize,
    metrics: Metrics,
    idle: Mutex<Vec<Worker>>,
    known: Known,
}

struct Worker {
    decoder: Decoder,
    body: Vec<u8>,
    batch: Batch,
}

impl Receiver {
    /// `seed`: a secret of the process.
    pub fn new(config: &Config, metrics: Metrics, seed: u64) -> Self {
        Self {
            seed,
            max_request: config.max_request_bytes,
            max_decompressed: config.max_decompressed_bytes,
            known: Known::new(config.max_known_series, metrics.known_series.clone()),
            metrics,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// The largest body that is worth reading, in bytes.
    pub fn max_request_bytes(&self) -> usize {
        self.max_request
    }

    /// Handles one request. Decoding takes time in proportion to the body (milliseconds for a large one).
    pub async fn receive(
        &self,
        appender: &dyn Appender,
        tenant: &TenantId,
        content_type: Option<&str>,
        content_encoding: Option<&str>,
        body: &[u8],
    ) -> Response {
        let response = self.handle(appender, tenant, content_type, content_encoding, body).await;
        match response.status {
            200..300 => self.metrics.remote_write_requests.inc(),
            _ => self.metrics.remote_write_failures.inc(),
        };
        response
    }

    async fn handle(
        &self,
        appender: &dyn Appender,
        tenant: &TenantId,
        content_type: Option<&str>,
        content_encoding: Option<&str>,
        body: &[u8],
    ) -> Response {
        // A sender of version 0.1 names no type.
        let content_type = content_type.unwrap_or("application/x-protobuf");
        let Some(message) = Message::from_content_type(content_type) else {
            return refuse(
                415,
                format!(
                    "unsupported Content-Type {content_type:?}; use application/x-protobuf with proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request"
                ),
            );
        };
        // Snappy unless said otherwise: version 1.0 demands it, and some senders do not name it.
        let encoding = match content_encoding {
            None => Some(Encoding::Snappy),
            Some(text) => {
                Encoding::from_header(text).filter(|e| matches!(e, Encoding::Snappy | Encoding::Zstd))
            }
        };
        let Some(encoding) = encoding else {
            let given = content_encoding.unwrap_or_default();
            return refuse(415, format!("unsupported Content-Encoding {given:?}; use snappy or zstd"));
        };
        if body.len() > self.max_request {
            return refuse(
                413,
                format!("the body has {} bytes, the limit is {}", body.len(), self.max_request),
            );
        }
        let mut worker = self.idle.lock().pop().unwrap_or_else(|| Worker {
            decoder: Decoder::new(self.seed),
            body: Vec::new(),
            batch: Batch::new(),
        });
        let response = self.store(&mut worker, appender, tenant, message, encoding, body).await;
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE && worker.body.capacity() + worker.batch.size_bytes() <= MAX_IDLE_BYTES {
            idle.push(worker);
        }
        response
    }

    fn learn(&self, decoder: &Decoder, batch: &Batch, appended: &Appended) {
        if new_series(decoder, batch, appended).next().is_some() {
            self.known.learn(new_series(decoder, batch, appended));
        }
    }

    async fn store(
        &self,
        worker: &mut Worker,
        appender: &dyn Appender,
        tenant: &TenantId,
        message: Message,
        encoding: Encoding,
        body: &[u8],
    ) -> Response {
        match compress::decompress(encoding, body, self.max_decompressed, &mut worker.body) {
            Ok(()) => {}
            Err(err @ compress::Error::TooLarge { .. }) => return refuse(413, err.to_string()),
            Err(err) => return refuse(400, err.to_string()),
        }
        let Worker { decoder, body, batch } = worker;
        let scope = xxh3_64_with_seed(tenant.as_str().as_bytes(), self.seed);
        let mut decoded = match decoder.decode_known(message, body, batch, scope, &self.known) {
            Ok(decoded) => decoded,
            Err(err) => return refuse(400, err.to_string()),
        };
        let appended = if batch.is_empty() {
            Appended::default()
        } else {
            let mut outcome = appender.append(tenant, batch).await;
            if let Ok(appended) = &outcome
                && !appended.unknown_refs.is_empty()
            {
                // The storage has dropped series meanwhile: all again by labels. Storing a sample twice is harmless.
                self.known.forget(appended.unknown_refs.iter().filter_map(|series| decoder.key(*series)));
                decoded = match decoder.decode_known(message, body, batch, scope, &Nobody) {
                    Ok(decoded) => decoded,
                    Err(err) => return refuse(400, err.to_string()),
                };
                outcome = appender.append(tenant, batch).await;
            }
            match outcome {
                Ok(appended) => {
                    self.learn(decoder, batch, &appended);
                    appended
                }
                Err(err) => {
                    let (status, retry) = match err.kind() {
                        ErrorKind::Limit => (429, true),
                        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Cancelled => (503, true),
                        ErrorKind::Invalid | ErrorKind::NotFound => (400, false),
                        ErrorKind::Corrupt | ErrorKind::Internal => (500, false),
                    };
                    let mut response = refuse(status, err.chain());
                    if retry {
                        response.headers.push(("retry-after", RETRY_AFTER.to_string()));
                    }
                    written(&mut response, message, 0, 0, 0);
                    return response;
                }
            }
        };
        let mut response = Response { status: 204, headers: Vec::new(), body: String::new() };
        let retryable = appended.rejected.iter().find(|rejected| rejected.reason.is_retryable());
        if let Some(rejected) = retryable {
            // The sender should send all of it again: storing a sample twice is harmless.
            response = refuse(429, format!("{}: {}", rejected.reason, rejected.detail));
            response.headers.push(("retry-after", RETRY_AFTER.to_string()));
        } else if appended.rejected_count + decoded.invalid > 0 {
            let first = appended.rejected.first().map(|r| format!("{}: {}", r.reason, r.detail));
            let first = decoded.first_invalid.or(first).unwrap_or_default();
            let count = appended.rejected_count + decoded.invalid;
            response =
                refuse(400, format!("{count} samples were refused, the others stored; the first: {first}"));
        }
        // Which of a mixed batch's samples were refused is known only in detail for the first ones.
        let histograms = batch.histograms().len();
        let refused_histograms = match histograms {
            0 => 0,
            _ if batch.floats().is_empty() => appended.rejected_count,
            _ => {
                let is_histogram = |series: u32| batch.histograms().iter().any(|h| h.series == series);
                appended.rejected.iter().filter(|r| is_histogram(r.series)).count()
            }
        }
        .min(histograms);
        let refused_floats = appended.rejected_count.saturating_sub(refused_histograms);
        let floats = batch.floats().len().saturating_sub(refused_floats);
        let exemplars = batch.exemplars().len();
        written(&mut response, message, floats, histograms - refused_histograms, exemplars);
        response
    }
}

/// The series of a batch that came by their labels and have a reference now.
fn new_series<'a>(
    decoder: &'a Decoder,
    batch: &'a Batch,
    appended: &'a Appended,
) -> impl Iterator<Item = (u128, model::SeriesRef)> + 'a {
    let series = batch.series().iter().zip(&appended.refs).enumerate();
    series.filter_map(|(at, (key, reference))| match key {
        SeriesKey::Labels(_) => Some((decoder.key(at as u32)?, (*reference)?)),
        SeriesKey::Ref(_) => None,
    })
}

fn refuse(status: u16, body: String) -> Response {
    Response { status, headers: Vec::new(), body }
}

fn written(response: &mut Response, message: Message, samples: usize, histograms: usize, exemplars: usize) {
    if message == Message::V2 {
        response.headers.extend([
            ("x-prometheus-remote-write-samples-written", samples.to_string()),
            ("x-prometheus-remote-write-histograms-written", histograms.to_string()),
            ("x-prometheus-remote-write-exemplars-written", exemplars.to_string()),
        ]);
    }
}
