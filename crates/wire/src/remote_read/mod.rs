//! Remote read: Prometheus' protocol for fetching raw samples, as samples or as a stream of chunks.
//!
//! Source: the Prometheus remote read specification and `prompb/remote.proto`, `prompb/types.proto`.

mod chunk;
mod put;
#[cfg(test)]
mod tests;

use model::matcher::MatchOp;
use model::{Histogram, Labels, Matcher, Samples, Selector, Timestamp};

pub use chunk::{Chunk, chunks};

use crate::proto::{Fields, Malformed, Value, text};
use put::{put_bytes, put_double, put_int, put_sint, put_varint};

/// The content type of an answer of samples.
pub const SAMPLES_TYPE: &str = "application/x-protobuf";
/// The content type of a stream of chunks.
pub const CHUNKS_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// How the client wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseType {
    /// One message with all samples, snappy-compressed.
    Samples,
    /// Framed messages with a series' chunks each.
    Chunks,
}

/// One query of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadQuery {
    /// First instant, included.
    pub start: Timestamp,
    /// Last instant, included.
    pub end: Timestamp,
    /// Which series.
    pub matchers: Selector,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRequest {
    /// The queries.
    pub queries: Vec<ReadQuery>,
    /// The first of the client's wishes that is known.
    pub answer: ResponseType,
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Not a message of this kind.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A matcher that cannot be.
    #[error("{0}")]
    Matcher(String),
    /// The client takes nothing that can be sent.
    #[error(
        "none of the requested response types is known: {0:?}; ask for SAMPLES (0) or STREAMED_XOR_CHUNKS (1)"
    )]
    ResponseTypes(Vec<u64>),
}

/// Reads a decompressed `prometheus.ReadRequest`.
///
/// # Errors
/// [`BadRequest`]
pub fn decode(body: &[u8]) -> Result<ReadRequest, BadRequest> {
    let mut queries = Vec::new();
    let mut wishes = Vec::new();
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => queries.push(query(value.bytes()?)?),
            2 => crate::proto::packed_varints(value, |wish| {
                // More than the kinds that exist says nothing more.
                if wishes.len() < 16 {
                    wishes.push(wish);
                }
                Ok(())
            })?,
            _ => {}
        }
    }
    let known = |wish: &u64| match wish {
        0 => Some(ResponseType::Samples),
        1 => Some(ResponseType::Chunks),
        _ => None,
    };
    let answer = match wishes.iter().find_map(known) {
        Some(answer) => answer,
        None if wishes.is_empty() => ResponseType::Samples,
        None => return Err(BadRequest::ResponseTypes(wishes)),
    };
    Ok(ReadRequest { queries, answer })
}

fn query(body: &[u8]) -> Result<ReadQuery, BadRequest> {
    let mut found = ReadQuery { start: Timestamp(0), end: Timestamp(0), matchers: Vec::new() };
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => found.start = Timestamp(value.int()?),
            2 => found.end = Timestamp(value.int()?),
            3 => found.matchers.push(matcher(value)?),
            _ => {}
        }
    }
    Ok(found)
}

fn matcher(value: Value<'_>) -> Result<Matcher, BadRequest> {
    let (mut kind, mut name, mut pattern) = (0, "", "");
    let mut fields = Fields(value.bytes()?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => kind = value.varint()?,
            2 => name = text(value.bytes()?)?,
            3 => pattern = text(value.bytes()?)?,
            _ => {}
        }
    }
    let op = match kind {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        _ => return Err(BadRequest::Matcher(format!("matcher type {kind} is unknown"))),
    };
    Matcher::new(name, op, pattern).map_err(|err| BadRequest::Matcher(format!("matcher of {name:?}: {err}")))
}

/// Appends a `prometheus.TimeSeries` with its samples to a `QueryResult` message that is being written.
pub fn put_series(result: &mut Vec<u8>, labels: &Labels, samples: &Samples) {
    let mut series = Vec::with_capacity(labels.as_encoded().len() + samples.len() * 18);
    put_labels(&mut series, labels);
    let mut body = Vec::new();
    for (at, &time) in samples.times.iter().enumerate() {
        body.clear();
        match samples.histogram(at) {
            None => {
                put_double(&mut body, 1, samples.values[at]);
                put_int(&mut body, 2, time);
                put_bytes(&mut series, 2, &body);
            }
            Some(histogram) => {
                put_histogram(&mut body, histogram, time);
                put_bytes(&mut series, 4, &body);
            }
        }
    }
    put_bytes(result, 1, &series);
}

/// Appends a `QueryResult` to a `ReadResponse`.
pub fn put_result(response: &mut Vec<u8>, result: &[u8]) {
    put_bytes(response, 1, result);
}

/// Compresses a finished `ReadResponse`.
///
/// # Panics
/// When `response` has more than 4 GiB, which snappy cannot hold; callers bound it far below.
pub fn compress(response: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(response).expect("the answer is smaller than 4 GiB")
}

/// Appends a frame with a `ChunkedReadResponse` of one series: its length, its CRC-32C, the message.
pub fn put_frame(
    out: &mut Vec<u8>,
    query_index: usize,
    labels: &Labels,
    chunks: &[Chunk],
    crc32c: impl Fn(&[u8]) -> u32,
) {
    let mut series = Vec::new();
    put_labels(&mut series, labels);
    let mut body = Vec::new();
    for chunk in chunks {
        body.clear();
        put_int(&mut body, 1, chunk.min_time);
        put_int(&mut body, 2, chunk.max_time);
        put_int(&mut body, 3, chunk.encoding);
        put_bytes(&mut body, 4, &chunk.data);
        put_bytes(&mut series, 2, &body);
    }
    let mut message = Vec::with_capacity(series.len() + 16);
    put_bytes(&mut message, 1, &series);
    put_int(&mut message, 2, query_index as i64);
    put_varint(out, message.len() as u64);
    out.extend_from_slice(&crc32c(&message).to_be_bytes());
    out.extend_from_slice(&message);
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    let mut pair = Vec::new();
    for (name, value) in labels.iter() {
        pair.clear();
        put_bytes(&mut pair, 1, name.as_bytes());
        put_bytes(&mut pair, 2, value.as_bytes());
        put_bytes(out, 1, &pair);
    }
}

/// A histogram with float counts; integers are sent as floats, which hold them exactly.
fn put_histogram(out: &mut Vec<u8>, h: &Histogram, time: i64) {
    put_double(out, 2, h.count);
    put_double(out, 3, h.sum);
    put_sint(out, 4, i64::from(h.schema));
    put_double(out, 5, h.zero_threshold);
    put_double(out, 7, h.zero_count);
    let mut body = Vec::new();
    for (spans_field, spans, counts_field, counts) in
        [(8, &h.negative_spans, 10, &h.negative), (11, &h.positive_spans, 13, &h.positive)]
    {
        for span in spans {
            body.clear();
            put_sint(&mut body, 1, i64::from(span.offset));
            put_int(&mut body, 2, i64::from(span.length));
            put_bytes(out, spans_field, &body);
        }
        put_doubles(out, counts_field, counts);
    }
    put_int(out, 14, hint(h));
    put_int(out, 15, time);
    put_doubles(out, 16, &h.custom_values);
}

fn put_doubles(out: &mut Vec<u8>, number: u64, values: &[f64]) {
    if !values.is_empty() {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        put_bytes(out, number, &bytes);
    }
}

/// The protocol's number of the reset hint.
fn hint(histogram: &Histogram) -> i64 {
    use model::histogram::ResetHint;
    match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}
