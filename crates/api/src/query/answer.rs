//! The answer to a query as a stream of JSON: series are written as they are sent.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::Response;

use promql::{Point, Rows, RowsValue, Series, Stats};

use super::run::Timings;
use crate::json;
use crate::reply;

/// Most warnings, and most infos, in one answer.
const MAX_ANNOTATIONS: usize = 10;
/// The answer is sent in pieces of about this size.
const CHUNK: usize = 64 << 10;

/// Which statistics the client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatsWanted {
    No,
    Totals,
    All,
}

impl StatsWanted {
    pub(super) fn from_param(text: Option<&str>) -> Self {
        match text {
            None => Self::No,
            Some("all") => Self::All,
            Some(_) => Self::Totals,
        }
    }
}

/// A query's value as it is answered: one's own, or shared with the cache.
#[derive(Debug)]
pub(super) enum Value {
    Own(RowsValue),
    Shared(Arc<Rows>),
}

/// What was found and what is said about it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) value: Value,
    pub(super) annotations: promql::Annotations,
    pub(super) stats: Stats,
    pub(super) timings: Timings,
}

pub(super) fn answer(found: Found, text: &str, limit: usize, wanted: StatsWanted) -> Response {
    let Found { value, annotations, stats, timings } = found;
    let kind = match &value {
        Value::Own(value) => value.value_type(),
        Value::Shared(_) => promql::ValueType::Matrix,
    };
    let mut head = Vec::with_capacity(CHUNK);
    head.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"resultType\":\"");
    head.extend_from_slice(kind.as_str().as_bytes());
    head.extend_from_slice(b"\",\"result\":");
    let (mut warnings, infos) =
        (annotations.warnings(text, MAX_ANNOTATIONS), annotations.infos(text, MAX_ANNOTATIONS));
    let mut series = None;
    match value {
        Value::Own(RowsValue::Scalar { time, value }) => json::float_point(&mut head, time, value),
        Value::Own(RowsValue::String { time, text }) => {
            head.push(b'[');
            json::timestamp(&mut head, time);
            head.push(b',');
            json::string(&mut head, &text);
            head.push(b']');
        }
        Value::Own(RowsValue::Vector(rows)) => series = Some(Source::Rows(Arc::new(rows), true)),
        Value::Own(RowsValue::Matrix(rows)) => series = Some(Source::Rows(Arc::new(rows), false)),
        Value::Own(RowsValue::Points(series_list, hold)) => series = Some(Source::Points(series_list, hold)),
        Value::Shared(rows) => series = Some(Source::Rows(rows, false)),
    }
    let mut tail = Vec::new();
    let mut pieces = series.map(|source| {
        head.push(b'[');
        tail.push(b']');
        let count = source.len();
        if limit > 0 && count > limit {
            warnings.push("results truncated due to limit".to_owned());
        }
        let end = if limit > 0 { count.min(limit) } else { count };
        let times = source.times();
        Pieces { source, times, next: 0, end }
    });
    write_stats(&mut tail, &stats, &timings, wanted);
    tail.push(b'}');
    reply::finish(&mut tail, &warnings, &infos);
    let Some(pieces) = &mut pieces else {
        head.extend_from_slice(&tail);
        return reply::json_response(head);
    };
    // A short answer is one piece, with a length.
    if !pieces.fill(&mut head) {
        head.extend_from_slice(&tail);
        return reply::json_response(head);
    }
    let mut pieces = Some(std::mem::replace(pieces, Pieces::empty()));
    let mut head = Some(head);
    let body = std::iter::from_fn(move || {
        if let Some(head) = head.take() {
            return Some(Ok::<Bytes, std::convert::Infallible>(head.into()));
        }
        let mut out = Vec::with_capacity(CHUNK + (CHUNK >> 2));
        if !pieces.as_mut()?.fill(&mut out) {
            // Their memory goes before the last piece is on its way.
            pieces = None;
            out.extend_from_slice(&tail);
        }
        Some(Ok(out.into()))
    });
    reply::json_response(Body::from_stream(futures_util::stream::iter(body)))
}

#[derive(Debug)]
enum Source {
    /// Whether each series has one point, as in an instant vector.
    Rows(Arc<Rows>, bool),
    Points(
        Vec<Series>,
        #[expect(dead_code, reason = "memory stays accounted for while it is sent")] Option<promql::Hold>,
    ),
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Self::Rows(rows, _) => rows.len(),
            Self::Points(series, _) => series.len(),
        }
    }

    /// The times of all steps as JSON, which every series has.
    fn times(&self) -> Times {
        let mut times = Times::default();
        if let Self::Rows(rows, _) = self {
            for step in 0..rows.steps() {
                json::timestamp(&mut times.text, rows.time(step));
                times.ends.push(times.text.len() as u32);
            }
        }
        times
    }
}

/// Texts of times, one after the other.
#[derive(Debug, Default)]
struct Times {
    text: Vec<u8>,
    ends: Vec<u32>,
}

impl Times {
    fn get(&self, step: usize) -> &[u8] {
        let from = step.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[from as usize..self.ends[step] as usize]
    }
}

/// The series that are still to be written.
#[derive(Debug)]
struct Pieces {
    source: Source,
    times: Times,
    next: usize,
    end: usize,
}

impl Pieces {
    fn empty() -> Self {
        Self { source: Source::Points(Vec::new(), None), times: Times::default(), next: 0, end: 0 }
    }

    /// Writes series until the buffer is full; whether there are more.
    fn fill(&mut self, out: &mut Vec<u8>) -> bool {
        while self.next < self.end {
            if out.len() >= CHUNK {
                return true;
            }
            if self.next > 0 {
                out.push(b',');
            }
            match &self.source {
                Source::Points(series, _) => write_points(out, &series[self.next]),
                Source::Rows(rows, true) => write_one(out, rows, self.next, &self.times),
                Source::Rows(rows, false) => write_rows(out, rows, self.next, &self.times),
            }
            self.next += 1;
        }
        false
    }
}

/// A series of an instant vector.
fn write_one(out: &mut Vec<u8>, rows: &Rows, index: usize, times: &Times) {
    out.extend_from_slice(b"{\"metric\":");
    json::labels(out, rows.labels(index));
    for (step, point) in rows.steps_of(index) {
        match point {
            Point::Float(value) => {
                out.extend_from_slice(b",\"value\":");
                float(out, times.get(step), value);
            }
            Point::Histogram(histogram) => {
                out.extend_from_slice(b",\"histogram\":");
                json::histogram_point(out, times.get(step), histogram);
            }
        }
    }
    out.push(b'}');
}

/// A series of a matrix.
fn write_rows(out: &mut Vec<u8>, rows: &Rows, index: usize, times: &Times) {
    out.extend_from_slice(b"{\"metric\":");
    json::labels(out, rows.labels(index));
    let (floats, histograms) = rows.counts(index);
    if floats > 0 {
        out.extend_from_slice(b",\"values\":[");
        let mut first = true;
        for (step, point) in rows.steps_of(index) {
            if let Point::Float(value) = point {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                float(out, times.get(step), value);
            }
        }
        out.push(b']');
    }
    if histograms > 0 {
        out.extend_from_slice(b",\"histograms\":[");
        let mut first = true;
        for (step, point) in rows.steps_of(index) {
            if let Point::Histogram(histogram) = point {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                json::histogram_point(out, times.get(step), histogram);
            }
        }
        out.push(b']');
    }
    out.push(b'}');
}

#[inline]
fn float(out: &mut Vec<u8>, time: &[u8], value: f64) {
    out.push(b'[');
    out.extend_from_slice(time);
    out.extend_from_slice(b",\"");
    json::float(out, value);
    out.extend_from_slice(b"\"]");
}

/// A series of stored samples.
fn write_points(out: &mut Vec<u8>, series: &Series) {
    out.extend_from_slice(b"{\"metric\":");
    json::labels(out, &series.labels);
    if !series.floats.is_empty() {
        out.extend_from_slice(b",\"values\":[");
        for (i, (time, value)) in series.floats.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            json::float_point(out, *time, *value);
        }
        out.push(b']');
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(b",\"histograms\":[");
        let mut time_text = Vec::new();
        for (i, (time, histogram)) in series.histograms.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            time_text.clear();
            json::timestamp(&mut time_text, *time);
            json::histogram_point(out, &time_text, histogram);
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn write_stats(out: &mut Vec<u8>, stats: &Stats, timings: &Timings, wanted: StatsWanted) {
    if wanted == StatsWanted::No {
        return;
    }
    let Timings { queued, prepared, evaluated } = timings;
    let (queued, prepared, evaluated) =
        (queued.as_secs_f64(), prepared.as_secs_f64(), evaluated.as_secs_f64());
    let text = format!(
        ",\"stats\":{{\"timings\":{{\"evalTotalTime\":{},\"resultSortTime\":0,\"queryPreparationTime\":{prepared},\
         \"innerEvalTime\":{evaluated},\"execQueueTime\":{queued},\"execTotalTime\":{}}},\
         \"samples\":{{\"totalQueryableSamples\":{},\"peakSamples\":{}",
        prepared + evaluated,
        queued + prepared + evaluated,
        stats.samples,
        stats.peak_samples
    );
    out.extend_from_slice(text.as_bytes());
    if let (StatsWanted::All, Some(steps)) = (wanted, &stats.samples_per_step) {
        out.extend_from_slice(b",\"totalQueryableSamplesPerStep\":[");
        for (i, (time, samples)) in steps.iter().enumerate() {
            out.extend_from_slice(if i > 0 { b",[" } else { b"[" });
            json::timestamp(out, *time);
            out.extend_from_slice(format!(",{samples}]").as_bytes());
        }
        out.push(b']');
    }
    out.push(b'}');
    if wanted == StatsWanted::All {
        // Beside Prometheus' own fields: the plan, for the UI and `query --explain`.
        let nodes: Vec<serde_json::Value> = stats
            .nodes
            .iter()
            .map(|node| {
                serde_json::json!({
                    "title": node.title, "inputs": node.inputs, "series": node.series,
                    "samples": node.samples, "seconds": node.time.as_secs_f64(),
                })
            })
            .collect();
        out.extend_from_slice(format!(",\"plan\":{}", serde_json::Value::from(nodes)).as_bytes());
    }
    out.push(b'}');
}
