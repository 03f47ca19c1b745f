//! The flat query list against a real Prometheus on the same samples.
//!
//! Runs when `BELLWETHER_PROMETHEUS` names a Prometheus 3 binary; it is started on the loopback with an empty folder, and
//! gets the samples by remote write.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::{Budget, Labels, Timestamp, Value};
use promql::script::Storage;
use promql::{EvalOptions, Limits, Options, QueryValue, Times, evaluate, parse, plan};

use crate::conformance::folder;

/// Seconds since the epoch, a multiple of 300.
const START: i64 = 1_790_000_100;
const STEPS: i64 = 720;

/// What the list lacks.
const MORE: [&str; 42] = [
    "limit_ratio(0.3, demo_memory_usage_bytes)",
    "limit_ratio(-0.7, {job=\"demo\"})",
    "limitk(2, demo_memory_usage_bytes)",
    "count_values by (instance) (\"cpus\", demo_num_cpus)",
    "count_values(\"up\", up)",
    "mad_over_time(demo_memory_usage_bytes[5m])",
    "double_exponential_smoothing(demo_disk_usage_bytes[5m], 0.3, 0.6)",
    "histogram_fraction(0.01, 0.2, rate(demo_api_request_duration_seconds_bucket[1m]))",
    "histogram_quantile(0.9, sum by (le, path) (rate(demo_api_request_duration_seconds_bucket[2m])))",
    "histogram_quantile(scalar(up{instance=~\".*0\"}), demo_api_request_duration_seconds_bucket)",
    "quantile_over_time(1.2, demo_memory_usage_bytes[1m])",
    "predict_linear(demo_disk_usage_bytes[10m], 3600)",
    "deriv(demo_disk_usage_bytes[10m] offset 1m)",
    "resets(demo_cpu_usage_seconds_total[20m])",
    "changes(demo_intermittent_metric[10m])",
    "irate(demo_cpu_usage_seconds_total[1m])",
    "idelta(demo_memory_usage_bytes[1m])",
    "absent(demo_intermittent_metric{instance=~\".*0\"})",
    "absent_over_time(demo_intermittent_metric{instance=\"demo.promlabs.com:10000\"}[1m])",
    "demo_intermittent_metric unless on (instance) (up == 0)",
    "demo_memory_usage_bytes / on (instance) group_left (type) demo_num_cpus",
    "demo_num_cpus * on (instance) group_right demo_memory_usage_bytes{type=~\"free|used\"}",
    "sum by (instance) (demo_memory_usage_bytes) > bool 6e9",
    "demo_memory_usage_bytes > 2e9 < 4e9",
    "topk by (instance) (2, demo_memory_usage_bytes)",
    "bottomk(3, rate(demo_cpu_usage_seconds_total[1m]))",
    "quantile by (type) (0.25, demo_memory_usage_bytes)",
    "max_over_time(rate(demo_cpu_usage_seconds_total[1m])[10m:30s])",
    "avg_over_time((demo_memory_usage_bytes > 2.05e9)[5m:7s] offset 1m)",
    "sum_over_time(demo_memory_usage_bytes[5m] @ end())",
    "rate(demo_cpu_usage_seconds_total[5m] @ start())",
    "timestamp(demo_intermittent_metric)",
    "timestamp(demo_intermittent_metric offset 1m) - time()",
    "label_replace(demo_num_cpus, \"host\", \"$2-$1\", \"instance\", \"(.*):100(.*)\")",
    "label_join(demo_memory_usage_bytes, \"all\", \"/\", \"job\", \"nothing\", \"type\")",
    "day_of_year(demo_batch_last_success_timestamp_seconds) + hour() + minute(vector(time()))",
    "stddev_over_time(demo_memory_usage_bytes[2m]) / stdvar_over_time(demo_memory_usage_bytes[2m])",
    "clamp(demo_disk_usage_bytes, scalar(up{instance=~\".*1\"}) * 4.6e10, 4.7e10)",
    "round(demo_cpu_usage_seconds_total, 0.3)",
    "-demo_cpu_usage_seconds_total ^ 0.5 atan2 3",
    "sum without (mode, job) (increase(demo_cpu_usage_seconds_total[90s]))",
    "vector(1) or demo_num_cpus",
];

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        println!("prometheus ended: {ended:?}");
    }
}

/// The demo service's series, each sample 3 s after a multiple of 5 s.
fn series() -> Vec<(Labels, Vec<(i64, f64)>)> {
    let mut all = Vec::new();
    let mut state = 7u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let time = |step: i64| (START + step * 5 + 3) * 1000;
    for instance in 0..3 {
        let host = format!("demo.promlabs.com:1000{instance}");
        let mut add = |name: &str, extra: &[(&str, &str)], value: &mut dyn FnMut(i64) -> Option<f64>| {
            let mut pairs = vec![("__name__", name), ("instance", &host), ("job", "demo")];
            pairs.extend_from_slice(extra);
            let samples =
                (0..STEPS).filter_map(|step| value(step).map(|value| (time(step), value))).collect();
            all.push((Labels::from_pairs(pairs), samples));
        };
        add("demo_num_cpus", &[], &mut |_| Some(4.0));
        add("up", &[], &mut |step| Some(f64::from(u8::from(step % 97 != 0))));
        for (at, kind) in ["buffers", "cached", "free", "used"].iter().enumerate() {
            let base = 1e9 * (at + 1) as f64;
            add("demo_memory_usage_bytes", &[("type", kind)], &mut |_| Some((base + random() * 1e8).floor()));
        }
        add("demo_disk_usage_bytes", &[], &mut |step| Some(4.5e10 + 1000.0 * step as f64));
        add("demo_disk_total_bytes", &[], &mut |_| Some(1e11));
        add("demo_batch_last_success_timestamp_seconds", &[], &mut |step| {
            Some((START + step / 60 * 300) as f64)
        });
        add("demo_intermittent_metric", &[], &mut |step| (step / 13 % 3 != 1).then_some(1.0));
        add("demo_is_holiday", &[], &mut |step| Some(f64::from(u8::from(step > 300))));
        for mode in ["user", "system", "idle"] {
            let mut total = 100.0 * random();
            add("demo_cpu_usage_seconds_total", &[("mode", mode)], &mut |step| {
                total += random() * 3.0;
                if step % 211 == 210 {
                    total = random();
                }
                Some(total)
            });
        }
        for (path, status) in [("/api/foo", "200"), ("/api/bar", "200"), ("/api/bar", "500")] {
            let mut counts = [0.0f64; 6];
            let bounds = ["0.01", "0.05", "0.1", "0.5", "1", "+Inf"];
            let mut rows: Vec<[f64; 6]> = Vec::new();
            for _ in 0..STEPS {
                for _ in 0..5 {
                    let bucket = (random() * 6.0) as usize;
                    counts[bucket..].iter_mut().for_each(|count| *count += 1.0);
                }
                rows.push(counts);
            }
            let labels = [("method", "GET"), ("path", path), ("status", status)];
            for (at, le) in bounds.iter().enumerate() {
                let mut labels = labels.to_vec();
                labels.push(("le", le));
                add("demo_api_request_duration_seconds_bucket", &labels, &mut |step| {
                    Some(rows[step as usize][at])
                });
            }
            add("demo_api_request_duration_seconds_count", &labels, &mut |step| Some(rows[step as usize][5]));
            add("demo_api_request_duration_seconds_sum", &labels, &mut |step| {
                Some(rows[step as usize][5] * 0.3)
            });
        }
    }
    all
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A remote write 1.0 request, in Snappy's block format without any compression.
fn write_request(all: &[(Labels, Vec<(i64, f64)>)], steps: std::ops::Range<i64>) -> Vec<u8> {
    let mut request = Vec::new();
    let within = (START + steps.start * 5) * 1000..(START + steps.end * 5) * 1000;
    for (labels, samples) in all {
        let mut one = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut one, 1, &label);
        }
        for (time, value) in samples.iter().filter(|(time, _)| within.contains(time)) {
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, *time as u64);
            field(&mut one, 2, &sample);
        }
        field(&mut request, 1, &one);
    }
    let mut snappy = Vec::new();
    varint(&mut snappy, request.len() as u64);
    for chunk in request.chunks(65_536) {
        snappy.push(61 << 2);
        snappy.extend_from_slice(&((chunk.len() - 1) as u16).to_le_bytes());
        snappy.extend_from_slice(chunk);
    }
    snappy
}

fn http(port: u16, head: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "{head} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len())?;
    if head.starts_with("POST") {
        let kind = if head.contains("write") {
            "application/x-protobuf"
        } else {
            "application/x-www-form-urlencoded"
        };
        write!(stream, "Content-Type: {kind}\r\n")?;
        if head.contains("write") {
            write!(stream, "Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n")?;
        }
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(answer.len() - 4);
    let status = std::str::from_utf8(&answer[9..12]).ok().and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, answer[end + 4..].to_vec()))
}

fn start(binary: &Path, folder: &Path) -> (Process, u16) {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    std::fs::write(folder.join("prometheus.yml"), "global: {}\n").expect("a configuration");
    let child = Command::new(binary)
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args([
            "--web.enable-remote-write-receiver",
            "--storage.tsdb.retention.time=100y",
            "--log.level=error",
        ])
        .arg("--enable-feature=promql-experimental-functions")
        .stdout(Stdio::null())
        .spawn()
        .expect("prometheus starts");
    let process = Process(child);
    for _ in 0..200 {
        if http(port, "GET /-/ready", b"").is_ok_and(|(status, _)| status == 200) {
            return (process, port);
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    panic!("prometheus did not get ready");
}

type Points = BTreeMap<Labels, BTreeMap<i64, f64>>;

/// Labels and points of a range query's answer; `None` when it fails.
fn theirs(port: u16, query: &str, (from, to, step): (i64, i64, i64)) -> Option<Points> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let body = format!("query={encoded}&start={from}&end={to}&step={step}");
    let (status, answer) = http(port, "POST /api/v1/query_range", body.as_bytes()).expect("an answer");
    if status != 200 {
        return None;
    }
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    let mut points = Points::new();
    for series in answer["data"]["result"].as_array().expect("a result") {
        let labels = series["metric"].as_object().expect("labels");
        let labels = Labels::from_pairs(
            labels.iter().map(|(n, v)| (n.clone(), v.as_str().unwrap_or_default().to_owned())),
        );
        let values = series["values"].as_array().expect("values").iter().map(|pair| {
            let time = (pair[0].as_f64().unwrap_or(0.0) * 1000.0).round() as i64;
            (time, pair[1].as_str().and_then(|text| text.parse().ok()).expect("a number"))
        });
        points.insert(labels, values.collect());
    }
    Some(points)
}

fn ours(storage: &Storage, query: &str, (from, to, step): (i64, i64, i64)) -> Option<Points> {
    let expr = parse(query, &Options { experimental_functions: true, ..Options::default() }).ok()?;
    let times =
        Times::Range { start: Timestamp(from * 1000), end: Timestamp(to * 1000), step_ms: step * 1000 };
    let plan = plan(&expr, times, &EvalOptions::default()).ok()?;
    let selected = storage.fetch(plan.selects());
    let result =
        evaluate(&plan, selected, &Limits::default(), &Budget::unlimited(), &AtomicBool::new(false)).ok()?;
    let (QueryValue::Matrix(series) | QueryValue::Vector(series)) = result.value else { return None };
    Some(series.into_iter().map(|series| (series.labels, series.floats.into_iter().collect())).collect())
}

fn difference(ours: &Points, theirs: &Points) -> Option<String> {
    if !ours.keys().eq(theirs.keys()) {
        return Some(format!("series {:?} instead of {:?}", ours.keys(), theirs.keys()));
    }
    for ((labels, ours), theirs) in ours.iter().zip(theirs.values()) {
        if !ours.keys().eq(theirs.keys()) {
            return Some(format!("{labels}: times {:?} instead of {:?}", ours.keys(), theirs.keys()));
        }
        for ((time, a), b) in ours.iter().zip(theirs.values()) {
            let close = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
            if !close {
                return Some(format!("{labels} at {time}: {a} instead of {b}"));
            }
        }
    }
    None
}

#[test]
fn prometheus_gives_the_same_answers() {
    let Some(binary) = std::env::var_os("BELLWETHER_PROMETHEUS") else {
        println!("not run: BELLWETHER_PROMETHEUS names no binary");
        return;
    };
    let Some(list) = folder("promql-queries") else { return };
    let list = std::fs::read_to_string(list.join("queries.txt")).expect("the list of queries");
    let data = std::env::temp_dir().join(format!("bellwether-promql-peer-{}", std::process::id()));
    std::fs::create_dir_all(&data).expect("a folder");
    let (process, port) = start(Path::new(&binary), &data);
    let all = series();
    let mut storage = Storage::new();
    for (labels, samples) in &all {
        for (time, value) in samples {
            storage.insert(labels, *time, Value::Float(*value), 0);
        }
    }
    for from in (0..STEPS).step_by(60) {
        let (status, answer) =
            http(port, "POST /api/v1/write", &write_request(&all, from..from + 60)).expect("an answer");
        assert_eq!(status, 204, "{}", String::from_utf8_lossy(&answer));
    }
    let mut different = Vec::new();
    let (mut asked, mut points) = (0, 0);
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines.chain(MORE) {
        let query = line.strip_prefix('!').unwrap_or(line);
        for range in [(START + 1800, START + 3000, 10), (START + 600, START + 4200, 95)] {
            asked += 1;
            match (ours(&storage, query, range), theirs(port, query, range)) {
                (None, None) => {}
                (Some(ours), Some(theirs)) => {
                    points += ours.values().map(BTreeMap::len).sum::<usize>();
                    if let Some(how) = difference(&ours, &theirs) {
                        different.push(format!("{query}: {how}"));
                    }
                }
                (ours, _) => different
                    .push(format!("{query}: {}", if ours.is_some() { "they refuse" } else { "we refuse" })),
            }
        }
    }
    drop(process);
    std::fs::remove_dir_all(&data).expect("the folder goes");
    println!("{asked} asked, {points} points compared, {} different", different.len());
    assert!(points > 0, "nothing was compared");
    assert!(different.is_empty(), "{}", different.join("\n"));
}
