//! How many bytes a second does one core read of an exposition whose series are known, and whose are not; and what do
//! a remote write and an OTLP sample cost? Fleet-shaped: 1,000 series a target, 110 bytes a line, gauges and counters, seed 1; requests of
//! 2,000 series with ten labels. Wall time on one thread, best of five.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::borrow::Cow;
use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use model::Batch;
use wire::exposition::{Cache, Describe, Format, Point, Series, Visitor, read};
use wire::remote_write::{Decoder, Message};

struct Count {
    next: u32,
    sum: f64,
}

impl Visitor for Count {
    fn known(&mut self, _: u32, point: &Point<'_>) -> Result<bool, String> {
        self.sum += point.value;
        Ok(true)
    }
    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        self.sum += point.value + series.labels().map(|(n, v)| n.len() + v.len()).sum::<usize>() as f64;
        self.next += 1;
        Ok(self.next)
    }
    fn describe(&mut self, _: Cow<'_, str>, _: Describe<'_>) {}
}

/// Linear congruential numbers are random enough for values.
fn body(mut seed: u64) -> String {
    let mut out = String::new();
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    for family in 0..50 {
        writeln!(out, "# HELP app_operation_{family}_total Operations of kind {family} since the start.")
            .expect("writing to a string does not fail");
        writeln!(out, "# TYPE app_operation_{family}_total counter")
            .expect("writing to a string does not fail");
        for series in 0..20 {
            let value = match next() % 3 {
                0 => (next() % 10).to_string(),
                1 => next().to_string(),
                _ => format!("{}.{:03}", next() % 100_000, next() % 1000),
            };
            writeln!(
                out,
                "app_operation_{family}_total{{code=\"200\",handler=\"/api/v1/things/{series}\",method=\"GET\",zone=\"eu-west-{}\"}} {value}",
                series % 3
            )
            .expect("writing to a string does not fail");
        }
    }
    out
}

fn best(mut work: impl FnMut()) -> f64 {
    let runs = (0..5).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    runs.fold(f64::INFINITY, f64::min)
}

fn exposition() {
    let bodies = [body(1), body(2)];
    let bytes = bodies[0].len() + bodies[1].len();
    let rounds = 200;
    for format in [Format::Text004, Format::OpenMetrics100] {
        let bodies = bodies.clone().map(|b| if format.is_openmetrics() { b + "# EOF\n" } else { b });
        for known in [true, false] {
            let mut cache = Cache::new(7);
            let mut count = Count { next: 0, sum: 0.0 };
            let seconds = best(|| {
                for _ in 0..rounds {
                    for body in &bodies {
                        if !known {
                            cache.clear();
                        }
                        read(format, body.as_bytes(), &mut cache, &mut count)
                            .expect("the body is well-formed");
                    }
                }
            });
            black_box(count.sum);
            let rate = (bytes * rounds) as f64 / seconds / 1e6;
            let each = seconds / (2000 * rounds) as f64 * 1e9;
            println!("{format:?}, known {known}: {rate:.0} MB/s, {each:.0} ns a sample");
        }
    }
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
}

fn remote_write() {
    let mut request = Vec::new();
    for series in 0..2000 {
        let mut message = Vec::new();
        for (i, name) in
            ["__name__", "code", "dc", "handler", "instance", "job", "method", "pod", "rack", "zone"]
                .into_iter()
                .enumerate()
        {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(
                &mut label,
                2,
                format!("value-of-{name}-{}", if i % 3 == 0 { series } else { 1 }).as_bytes(),
            );
            field(&mut message, 1, &label);
        }
        let mut sample = vec![9];
        sample.extend_from_slice(&f64::from(series).to_le_bytes());
        sample.extend_from_slice(&[16, 0xc0, 0x84, 0x3d]);
        field(&mut message, 2, &sample);
        field(&mut request, 1, &message);
    }
    let packed = snap::raw::Encoder::new().compress_vec(&request).expect("the request is small");
    let (mut decoder, mut batch, mut body) = (Decoder::new(7), Batch::new(), Vec::new());
    let rounds = 200;
    let seconds = best(|| {
        for _ in 0..rounds {
            wire::compress::decompress(wire::compress::Encoding::Snappy, &packed, 1 << 30, &mut body)
                .expect("it was compressed above");
            decoder.decode(Message::V1, &body, &mut batch).expect("the request is well-formed");
            black_box(batch.sample_count());
        }
    });
    let each = seconds / (2000 * rounds) as f64 * 1e9;
    println!("remote write 1.0 with snappy, {} bytes a sample: {each:.0} ns a sample", request.len() / 2000);
}

/// 2,000 gauge points with eight attributes each, of one service in one request; job and instance come from the resource, as the ten
/// labels of the remote write request above.
fn otlp() {
    use wire::otlp::{Decoder, NoDeltas, json};
    let attribute = |name: &str, value: String| {
        let name = format!("service.{name}");
        serde_json::json!({"key": name, "value": {"stringValue": value}})
    };
    let points: Vec<_> = (0..2000)
        .map(|series| {
            let names = ["code", "dc", "handler", "method", "pod", "rack", "route", "zone"];
            let attributes: Vec<_> = names
                .into_iter()
                .enumerate()
                .map(|(i, name)| {
                    attribute(name, format!("value-of-{name}-{}", if i % 3 == 0 { series } else { 1 }))
                })
                .collect();
            serde_json::json!({"timeUnixNano": "1700000000000000000", "asDouble": f64::from(series), "attributes": attributes})
        })
        .collect();
    let resource =
        [attribute("name", "value-of-job".into()), attribute("instance.id", "value-of-instance".into())];
    let request = serde_json::json!({"resourceMetrics": [{
        "resource": {"attributes": resource},
        "scopeMetrics": [{"metrics": [{"name": "app.operation.duration", "unit": "s", "gauge": {"dataPoints": points}}]}]
    }]});
    let message = json::to_protobuf(request.to_string().as_bytes()).expect("the request is well-formed");
    let (mut decoder, mut batch) = (Decoder::new(7, Default::default()), Batch::new());
    let rounds = 200;
    let seconds = best(|| {
        for _ in 0..rounds {
            decoder.decode(&message, &mut batch, &mut NoDeltas).expect("the request is well-formed");
            black_box(batch.sample_count());
        }
    });
    let each = seconds / (2000 * rounds) as f64 * 1e9;
    println!("OTLP, {} bytes a sample: {each:.0} ns a sample", message.len() / 2000);
}

fn main() {
    exposition();
    remote_write();
    otlp();
}
