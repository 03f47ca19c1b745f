//! Datadog's series, as its agent and its client libraries submit them: version 1 in JSON, version 2 in JSON and protobuf.
//!
//! Gauges and rates are samples as they are. Counts are deltas: they are added up, and the series gets the suffix `_total`. Tags and
//! resources become labels. Source: Datadog's API reference, "Submit metrics"; `agent_payload.proto` of the agent's payload.

use model::Batch;
use model::labels::METRIC_NAME;
use serde_json::Value;

use crate::gather::{Gather, Refused, label_name, metric_name};
use crate::otlp::Accumulate;
use crate::proto::{Fields, Malformed, text};

/// What a series' values mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Gauge,
    Count,
}

#[derive(Debug, Default)]
struct Series {
    metric: String,
    kind: Kind,
    labels: Vec<(String, String)>,
    /// Seconds and value.
    points: Vec<(f64, f64)>,
}

impl Series {
    fn label(&mut self, name: &str, value: &str) {
        let mut label = String::new();
        label_name(&mut label, name);
        if label.is_empty() || value.is_empty() {
            return;
        }
        match self.labels.iter_mut().find(|(n, _)| *n == label) {
            // A tag may come several times with several values.
            Some((_, known)) if known.split(',').any(|v| v == value) => {}
            Some((_, known)) => {
                known.push(',');
                known.push_str(value);
            }
            None => self.labels.push((label, value.to_owned())),
        }
    }

    fn tag(&mut self, tag: &str) {
        let (name, value) = tag.split_once(':').unwrap_or((tag, "true"));
        self.label(name, value);
    }
}

/// Where series go.
struct Out<'w> {
    gather: &'w mut Gather,
    batch: &'w mut Batch,
    deltas: &'w mut dyn Accumulate,
    refused: Refused,
}

impl Out<'_> {
    fn add(&mut self, series: &Series) {
        if let Err(reason) = self.try_add(series) {
            self.refused
                .refuse(series.points.len().max(1), || format!("metric {:?}: {reason}", series.metric));
        }
    }

    fn try_add(&mut self, series: &Series) -> Result<(), String> {
        let mut name = String::new();
        metric_name(&mut name, &series.metric);
        if name.bytes().all(|b| b == b'_') {
            return Err("the name is empty".into());
        }
        if series.kind == Kind::Count && !name.ends_with("_total") {
            name.push_str("_total");
        }
        let mut pairs = vec![(METRIC_NAME, name.as_str())];
        pairs.extend(series.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let index = self.gather.series(&mut pairs, self.batch)?;
        for &(seconds, value) in &series.points {
            if !(seconds.is_finite() && seconds.abs() < 9e15 && value.is_finite()) {
                self.refused.refuse(1, || format!("metric {:?}: a point is out of range", series.metric));
                continue;
            }
            let time = (seconds * 1000.0) as i64;
            let value = match series.kind {
                Kind::Gauge => value,
                Kind::Count => match self.deltas.float(&self.gather.encoded, 0, time, value) {
                    Ok((total, _)) => total,
                    Err(reason) => {
                        self.refused.refuse(1, || reason);
                        continue;
                    }
                },
            };
            self.gather.float(self.batch, index, time, value);
        }
        Ok(())
    }
}

/// Which message a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `/api/v1/series`, JSON.
    V1,
    /// `/api/v2/series`, JSON.
    V2,
    /// `/api/v2/series`, protobuf.
    V2Protobuf,
}

/// Decodes a decompressed body into `batch`, which is cleared first.
///
/// # Errors
/// In words: the body is not what `format` says.
pub fn decode(
    format: Format,
    body: &[u8],
    gather: &mut Gather,
    batch: &mut Batch,
    deltas: &mut dyn Accumulate,
) -> Result<Refused, String> {
    gather.begin(batch);
    let mut out = Out { gather, batch, deltas, refused: Refused::default() };
    match format {
        Format::V2Protobuf => protobuf(body, &mut out).map_err(|err| err.to_string())?,
        _ => {
            let value: Value =
                serde_json::from_slice(body).map_err(|err| format!("the body is no JSON: {err}"))?;
            let list =
                value.get("series").and_then(Value::as_array).ok_or("the body has no list \"series\"")?;
            for one in list {
                let read = if format == Format::V1 { json_v1(one) } else { json_v2(one) };
                match read {
                    Ok(series) => out.add(&series),
                    Err(reason) => out.refused.refuse(1, || reason),
                }
            }
        }
    }
    let Out { gather, batch, refused, .. } = out;
    gather.finish(batch);
    Ok(refused)
}

fn words(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn named(one: &Value) -> Result<Series, String> {
    let metric = one.get("metric").and_then(Value::as_str).ok_or("a series has no \"metric\"")?;
    Ok(Series { metric: metric.to_owned(), ..Series::default() })
}

fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    }
}

fn json_v1(one: &Value) -> Result<Series, String> {
    let mut series = named(one)?;
    if one.get("type").and_then(Value::as_str) == Some("count") {
        series.kind = Kind::Count;
    }
    for name in ["host", "device"] {
        if let Some(value) = one.get(name).and_then(Value::as_str) {
            series.label(name, value);
        }
    }
    words(one.get("tags")).for_each(|tag| series.tag(tag));
    let bad = || format!("metric {:?}: \"points\" is no list of [time, value]", series.metric);
    for point in one.get("points").and_then(Value::as_array).ok_or_else(bad)? {
        let pair = (number(point.get(0)), number(point.get(1)));
        let (Some(time), Some(value)) = pair else { return Err(bad()) };
        series.points.push((time, value));
    }
    Ok(series)
}

fn json_v2(one: &Value) -> Result<Series, String> {
    let mut series = named(one)?;
    if one.get("type").and_then(Value::as_u64) == Some(1) {
        series.kind = Kind::Count;
    }
    for resource in one.get("resources").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| resource.get(name).and_then(Value::as_str).unwrap_or_default();
        series.label(text("type"), text("name"));
    }
    words(one.get("tags")).for_each(|tag| series.tag(tag));
    let bad = || format!("metric {:?}: \"points\" is no list of timestamp and value", series.metric);
    for point in one.get("points").and_then(Value::as_array).ok_or_else(bad)? {
        let pair = (number(point.get("timestamp")), number(point.get("value")));
        let (Some(time), Some(value)) = pair else { return Err(bad()) };
        series.points.push((time, value));
    }
    Ok(series)
}

/// `datadog.agentpayload.MetricPayload`
fn protobuf(body: &[u8], out: &mut Out<'_>) -> Result<(), Malformed> {
    let mut payload = Fields(body);
    while let Some((number, value)) = payload.next()? {
        if number != 1 {
            continue;
        }
        let mut series = Series::default();
        let mut fields = Fields(value.bytes()?);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => {
                    let (mut kind, mut name) = ("", "");
                    let mut resource = Fields(value.bytes()?);
                    while let Some((number, value)) = resource.next()? {
                        match number {
                            1 => kind = text(value.bytes()?)?,
                            2 => name = text(value.bytes()?)?,
                            _ => {}
                        }
                    }
                    series.label(kind, name);
                }
                2 => series.metric = text(value.bytes()?)?.to_owned(),
                3 => series.tag(text(value.bytes()?)?),
                4 => {
                    let mut pair = (0.0, 0.0);
                    let mut point = Fields(value.bytes()?);
                    while let Some((number, value)) = point.next()? {
                        match number {
                            1 => pair.1 = value.double()?,
                            2 => pair.0 = value.int()? as f64,
                            _ => {}
                        }
                    }
                    series.points.push(pair);
                }
                5 if value.varint()? == 1 => series.kind = Kind::Count,
                _ => {}
            }
        }
        out.add(&series);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Writer;
    use crate::test_support::{Sums, show};
    use proptest::prelude::*;

    fn read(format: Format, body: &[u8]) -> Result<(Vec<String>, Refused), String> {
        let (mut gather, mut batch) = (Gather::new(1), Batch::new());
        let refused = decode(format, body, &mut gather, &mut batch, &mut Sums::default())?;
        Ok((show(&batch), refused))
    }

    #[test]
    fn version_1() {
        let body = br#"{"series":[
            {"metric":"system.load.1","points":[[1700000000,0.5],["1700000010","0.7"]],"type":"gauge","host":"a","tags":["env:prod","env:eu","canary"]},
            {"metric":"hits","points":[[1700000000,3],[1700000010,4]],"type":"count","interval":10},
            {"metric":"bad","points":3}, {"points":[]}]}"#;
        let (shown, refused) = read(Format::V1, body).unwrap();
        assert_eq!(
            shown,
            [
                "system_load_1{canary=\"true\", env=\"prod,eu\", host=\"a\"} 0.5@1700000000000",
                "system_load_1{canary=\"true\", env=\"prod,eu\", host=\"a\"} 0.7@1700000010000",
                "hits_total 3@1700000000000",
                "hits_total 7@1700000010000",
            ]
        );
        assert_eq!(refused.count, 2);
        assert!(read(Format::V1, b"{}").is_err() && read(Format::V1, b"x").is_err());
    }

    #[test]
    fn version_2_in_both_forms() {
        let body = br#"{"series":[{"metric":"a.b","type":3,"resources":[{"name":"h1","type":"host"}],"tags":["x:y:z"],
            "points":[{"timestamp":1700000000,"value":1.5}]}]}"#;
        let expected = ["a_b{host=\"h1\", x=\"y:z\"} 1.5@1700000000000"];
        assert_eq!(read(Format::V2, body).unwrap().0, expected);
        let mut out = Writer::default();
        out.part(1, |series| {
            series.part(1, |resource| {
                resource.bytes(1, b"host");
                resource.bytes(2, b"h1");
            });
            series.bytes(2, b"a.b");
            series.bytes(3, b"x:y:z");
            series.part(4, |point| {
                point.double(1, 1.5);
                point.varint(2, 1_700_000_000);
            });
            series.varint(5, 3);
        });
        assert_eq!(read(Format::V2Protobuf, &out.0).unwrap().0, expected);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            for format in [Format::V1, Format::V2, Format::V2Protobuf] {
                read(format, &body).ok();
            }
        }
    }
}
