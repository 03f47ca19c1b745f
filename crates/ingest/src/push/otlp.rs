//! OTLP metrics over HTTP (protobuf and JSON) and gRPC.
//!
//! Answers follow the OpenTelemetry protocol: 200 with the number of refused points and the first reason (partial success); 400 for what
//! cannot be read; 429 and 503 with `Retry-After`, or gRPC's RESOURCE_EXHAUSTED and UNAVAILABLE with `RetryInfo`, for what may be sent again.

use std::sync::Arc;

use model::Batch;
use parking_lot::Mutex;
use wire::gather::Refused;
use wire::otlp::reply::{self, Code};
use wire::otlp::{Decoder, NoDeltas, Options, json};

use super::{Answer, Push, Pushed, RETRY_AFTER, Stored, store};

/// The name in metrics.
const PROTOCOL: &str = "otlp";
/// Decoders that are kept for reuse.
const MAX_IDLE: usize = 16;
/// Bytes before a gRPC message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Decoders with their caches of names.
pub(super) struct Decoders {
    options: Mutex<Arc<Options>>,
    idle: Mutex<Vec<(Arc<Options>, Decoder)>>,
}

impl Decoders {
    pub(super) fn new(options: Options) -> Self {
        Self { options: Mutex::new(Arc::new(options)), idle: Mutex::new(Vec::new()) }
    }

    pub(super) fn reload(&self, options: Options) {
        let mut current = self.options.lock();
        if **current != options {
            *current = Arc::new(options);
            self.idle.lock().clear();
        }
    }

    fn take(&self, seed: u64) -> (Arc<Options>, Decoder) {
        let current = Arc::clone(&self.options.lock());
        if let Some(kept) = self.idle.lock().pop().filter(|(options, _)| Arc::ptr_eq(options, &current)) {
            return kept;
        }
        (Arc::clone(&current), Decoder::new(seed, current))
    }

    fn keep(&self, decoder: (Arc<Options>, Decoder)) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(decoder);
        }
    }
}

/// A finished gRPC call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `grpc-status`
    pub code: u32,
    /// `grpc-message`, not yet percent-encoded; empty on success.
    pub message: String,
    /// `grpc-status-details-bin`, not yet in base64; empty for none.
    pub details: Vec<u8>,
    /// The framed message; empty unless `code` is 0.
    pub body: Vec<u8>,
}

impl Call {
    fn failed(code: Code, message: String, retry: bool) -> Self {
        let details = reply::status(code, &message, retry.then_some(RETRY_AFTER));
        Self { code: code as u32, message, details, body: Vec::new() }
    }
}

impl Push {
    /// `POST …/v1/metrics`.
    pub async fn otlp(&self, pushed: &Pushed<'_>) -> Answer {
        let media_type = pushed.media_type();
        let is_json = match media_type.as_str() {
            "application/json" => true,
            "application/x-protobuf" | "application/protobuf" => false,
            _ => {
                self.unread(PROTOCOL);
                let text = format!(
                    "unsupported Content-Type {media_type:?}; use application/x-protobuf or application/json"
                );
                return Answer::text(415, text);
            }
        };
        let answer = |status: u16, body: Vec<u8>| {
            let kind = if is_json { "application/json" } else { "application/x-protobuf" };
            Answer { status, headers: vec![("content-type", kind.to_owned())], body }
        };
        let failure = |status: u16, reason: &str, retry: bool| {
            let code = match status {
                429 => Code::ResourceExhausted,
                503 => Code::Unavailable,
                500 => Code::Internal,
                _ => Code::InvalidArgument,
            };
            if is_json {
                answer(status, reply::status_json(code, reason))
            } else {
                answer(status, reply::status(code, reason, retry.then_some(RETRY_AFTER)))
            }
        };
        let mut body = Vec::new();
        if let Err((status, reason)) = self.decompress(pushed, &mut body) {
            self.unread(PROTOCOL);
            return failure(status, &reason, false);
        }
        if is_json {
            match json::to_protobuf(&body) {
                Ok(message) => body = message,
                Err(reason) => {
                    self.unread(PROTOCOL);
                    return failure(400, &reason, false);
                }
            }
        }
        match self.otlp_message(pushed, &body).await {
            Err(reason) => failure(400, &reason, false),
            Ok((_, Stored::Later { status, reason })) => failure(status, &reason, true).retry_after(),
            Ok((_, Stored::Failed { status, reason })) => failure(status, &reason, false),
            Ok((refused, Stored::Done { rejected, first })) => {
                let (rejected, message) = partial(&refused, rejected, first);
                let body = if is_json {
                    reply::response_json(rejected, &message)
                } else {
                    reply::response(rejected, &message)
                };
                answer(200, body)
            }
        }
    }

    /// The unary call `opentelemetry.proto.collector.metrics.v1.MetricsService/Export`. `pushed.content_encoding` is `grpc-encoding`.
    pub async fn otlp_grpc(&self, pushed: &Pushed<'_>) -> Call {
        let failed = |reason: String| {
            self.unread(PROTOCOL);
            Call::failed(Code::InvalidArgument, reason, false)
        };
        let Some((prefix, message)) = pushed.body.split_first_chunk::<PREFIX>() else {
            return failed("the message is shorter than its prefix".into());
        };
        let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if len != message.len() {
            return failed(format!("the message has {} bytes, its prefix says {len}", message.len()));
        }
        let mut body = Vec::new();
        let encoding = if prefix[0] == 0 { None } else { pushed.content_encoding.or(Some("identity")) };
        let inner = Pushed { content_encoding: encoding, body: message, ..*pushed };
        match self.decompress(&inner, &mut body) {
            Ok(()) => {}
            Err((415, reason)) => {
                self.unread(PROTOCOL);
                return Call::failed(Code::Unimplemented, reason, false);
            }
            Err((413, reason)) => {
                self.unread(PROTOCOL);
                return Call::failed(Code::ResourceExhausted, reason, false);
            }
            Err((_, reason)) => return failed(reason),
        }
        match self.otlp_message(&inner, &body).await {
            Err(reason) => Call::failed(Code::InvalidArgument, reason, false),
            Ok((_, Stored::Later { status: 429, reason })) => {
                Call::failed(Code::ResourceExhausted, reason, true)
            }
            Ok((_, Stored::Later { reason, .. })) => Call::failed(Code::Unavailable, reason, true),
            Ok((_, Stored::Failed { status: 400, reason })) => {
                Call::failed(Code::InvalidArgument, reason, false)
            }
            Ok((_, Stored::Failed { reason, .. })) => Call::failed(Code::Internal, reason, false),
            Ok((refused, Stored::Done { rejected, first })) => {
                let (rejected, message) = partial(&refused, rejected, first);
                let response = reply::response(rejected, &message);
                let mut body = vec![0];
                body.extend_from_slice(&(response.len() as u32).to_be_bytes());
                body.extend_from_slice(&response);
                Call { code: Code::Ok as u32, message: String::new(), details: Vec::new(), body }
            }
        }
    }

    /// Decodes and stores a message.
    ///
    /// # Errors
    /// In words: it is malformed.
    async fn otlp_message(&self, pushed: &Pushed<'_>, body: &[u8]) -> Result<(Refused, Stored), String> {
        let mut decoder = self.otlp.take(self.seed);
        let mut buffers = self.buffers();
        let decoded = self.decode_otlp(&mut decoder.1, pushed, body, &mut buffers.batch);
        let refused = match decoded {
            Ok(refused) => refused,
            Err(err) => {
                self.unread(PROTOCOL);
                return Err(err.to_string());
            }
        };
        let stored = store(&*self.appender, pushed.tenant, &buffers.batch).await;
        self.count(PROTOCOL, &buffers.batch, &refused, &stored);
        self.otlp.keep(decoder);
        self.keep(buffers);
        Ok((refused, stored))
    }

    fn decode_otlp(
        &self,
        decoder: &mut Decoder,
        pushed: &Pushed<'_>,
        body: &[u8],
        batch: &mut Batch,
    ) -> Result<Refused, wire::otlp::Malformed> {
        if self.config.deltas.max_series == 0 {
            return decoder.decode(body, batch, &mut NoDeltas);
        }
        let mut session = self.deltas.session(pushed.tenant, self.clock.now());
        decoder.decode(body, batch, &mut session)
    }
}

/// What a partial success says.
fn partial(refused: &Refused, rejected: usize, first: Option<String>) -> (usize, String) {
    let count = refused.count + rejected;
    let message = refused.first.clone().or(first).unwrap_or_default();
    (count, message)
}
