//! `POST /api/v1/read`: remote read, by which another Prometheus queries this server's samples.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::seam::{Select, SelectHints, Selected, SeriesSet};
use model::{Budget, ErrorKind, Labels, LabelsBuilder, Samples, SeamError, TenantId, Timestamp};
use tokio::sync::mpsc;
use wire::compress::{self, Encoding};
use wire::remote_read::{self, ReadRequest, ResponseType};

use crate::params;
use crate::server::Api;

/// A frame is ended when its chunks have more bytes than this.
const MAX_FRAME: usize = 1 << 20;
/// Pieces of a streamed answer that are ready before the client has taken them, each of at most a frame or [`PIECE`].
const READY: usize = 4;
/// Frames of small series are sent together up to this size.
const PIECE: usize = 64 << 10;

/// A refusal in plain text, as in Prometheus.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

impl From<SeamError> for Refusal {
    fn from(err: SeamError) -> Self {
        let status = match err.kind() {
            ErrorKind::Invalid | ErrorKind::Limit => StatusCode::BAD_REQUEST,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, err.chain())
    }
}

pub(crate) async fn remote_read(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Response {
    match run(&api, &headers, &body).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

/// One query's series in the order of their labels, as the client sees them.
struct Found {
    series: Arc<dyn SeriesSet>,
    order: Vec<(Labels, u32)>,
    start: i64,
    end: i64,
}

async fn run(api: &Arc<Api>, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
    let bad = |text: String| Refusal(StatusCode::BAD_REQUEST, text);
    let tenant = params::tenant(headers).map_err(|err| bad(err.message))?;
    let mut plain = Vec::new();
    compress::decompress(Encoding::Snappy, body, api.web.max_body_bytes, &mut plain)
        .map_err(|err| bad(err.to_string()))?;
    let request = remote_read::decode(&plain).map_err(|err| bad(err.to_string()))?;
    let answer = request.answer;
    // A read takes a place among the queries.
    let slot = api.queries.place(&tenant).await.map_err(|err| Refusal(err.status(), err.message))?;
    let budget = api.queries.budget(&tenant);
    let found = find(api, &tenant, request, &budget).await?;
    let response = match answer {
        ResponseType::Samples => {
            let most = api.query.limits_of(&tenant).max_samples;
            let work = move || {
                let _slot = slot;
                samples(&found, most, &budget)
            };
            let body = tokio::task::spawn_blocking(work).await.map_err(|err| {
                Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("the read ended early: {err}"))
            })??;
            let mut response = Response::new(Body::from(body));
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
            set_type(&mut response, remote_read::SAMPLES_TYPE);
            response
        }
        ResponseType::Chunks => {
            let (sender, receiver) = mpsc::channel::<Result<Bytes, SeamError>>(READY);
            tokio::task::spawn_blocking(move || {
                let _held = (slot, budget);
                if let Err(err) = stream(&found, &sender) {
                    tracing::warn!(error = %err.chain(), "a streamed remote read ends early");
                    // The client sees a broken connection, not a short answer.
                    drop(sender.blocking_send(Err(err)));
                }
            });
            let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|piece| (piece, receiver))
            });
            let mut response = Response::new(Body::from_stream(pieces));
            set_type(&mut response, remote_read::CHUNKS_TYPE);
            response
        }
    };
    Ok(response)
}

fn set_type(response: &mut Response, media: &'static str) {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
}

/// Finds the series of every query. External labels stand for this server's own: matchers that they satisfy are taken off, and
/// they are added to the series that lack them.
async fn find(
    api: &Api,
    tenant: &TenantId,
    request: ReadRequest,
    budget: &Arc<Budget>,
) -> Result<Vec<Found>, Refusal> {
    let config = api.live.config();
    let external = &config.external_labels;
    let selects: Vec<Select> = request
        .queries
        .into_iter()
        .map(|query| {
            let ours = |matcher: &model::Matcher| {
                external
                    .get(matcher.name())
                    .is_some_and(|value| matcher.op() == model::MatchOp::Equal && matcher.value() == value)
            };
            let matchers = query.matchers.into_iter().filter(|matcher| !ours(matcher)).collect();
            // Storage takes the start as exclusive.
            let start = Timestamp(query.start.ms().saturating_sub(1));
            Select { matchers, start, end: query.end, hints: SelectHints::default() }
        })
        .collect();
    let selected = api.querier.select(tenant, &selects, budget).await?;
    let one = |(Selected { series, .. }, select): (Selected, &Select)| {
        let labels = |index: usize| with_external(series.labels(index), external);
        let mut order: Vec<(Labels, u32)> =
            (0..series.len()).map(|index| (labels(index), index as u32)).collect();
        order.sort();
        Found { series, order, start: select.start.ms(), end: select.end.ms() }
    };
    Ok(selected.into_iter().zip(&selects).map(one).collect())
}

fn with_external(labels: Labels, external: &Labels) -> Labels {
    if external.iter().all(|(name, _)| labels.get(name).is_some()) {
        return labels;
    }
    let mut builder: LabelsBuilder = labels.to_builder();
    for (name, value) in external.iter() {
        if labels.get(name).is_none() {
            builder.set(name, value);
        }
    }
    builder.build()
}

/// Reads a series and cuts it to what was asked for.
fn read(found: &Found, index: u32, samples: &mut Samples) -> Result<(), SeamError> {
    found.series.read(index as usize, samples)?;
    samples.keep_within(found.start, found.end);
    Ok(())
}

/// All samples as one message.
fn samples(found: &[Found], most: usize, budget: &Arc<Budget>) -> Result<Vec<u8>, Refusal> {
    let mut held = budget.reserve(0).map_err(SeamError::from)?;
    let (mut response, mut count) = (Vec::new(), 0);
    let mut one = Samples::default();
    for query in found {
        let mut result = Vec::new();
        for (labels, index) in &query.order {
            read(query, *index, &mut one)?;
            if one.is_empty() {
                continue;
            }
            count += one.len();
            if count > most {
                let text = format!(
                    "exceeded sample limit ({most}, query.max_samples); narrow the query or read chunks"
                );
                return Err(Refusal(StatusCode::BAD_REQUEST, text));
            }
            let before = result.len();
            remote_read::put_series(&mut result, labels, &one);
            // In the result, in the response, and compressed.
            held.grow(3 * (result.len() - before) as u64).map_err(SeamError::from)?;
        }
        remote_read::put_result(&mut response, &result);
    }
    Ok(remote_read::compress(&response))
}

/// Each series as frames of chunks, sent as the client takes them.
fn stream(found: &[Found], sender: &mpsc::Sender<Result<Bytes, SeamError>>) -> Result<(), SeamError> {
    let mut out = Vec::new();
    let mut one = Samples::default();
    // Whether the client is still there.
    let send = |out: &mut Vec<u8>| sender.blocking_send(Ok(std::mem::take(out).into())).is_ok();
    for (nth, query) in found.iter().enumerate() {
        for (labels, index) in &query.order {
            read(query, *index, &mut one)?;
            let chunks = remote_read::chunks(&one);
            let (mut from, mut bytes) = (0, 0);
            for (at, chunk) in chunks.iter().enumerate() {
                bytes += chunk.data.len();
                if bytes < MAX_FRAME && at + 1 < chunks.len() {
                    continue;
                }
                remote_read::put_frame(&mut out, nth, labels, &chunks[from..=at], crc32c::crc32c);
                (from, bytes) = (at + 1, 0);
                if out.len() >= PIECE && !send(&mut out) {
                    return Ok(());
                }
            }
        }
    }
    if !out.is_empty() {
        send(&mut out);
    }
    Ok(())
}
