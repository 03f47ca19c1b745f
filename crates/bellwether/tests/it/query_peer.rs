//! The query API beside a real Prometheus: the same requests, those that nobody means to send among them, get the same status
//! codes, error types and data.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{PATIENCE, Server, encode, file, free_port, wait};
use crate::query_api::{QUIET, Series, now, write_request};

/// A real Prometheus, when `BELLWETHER_PROMETHEUS` names one.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(folder: &Path) -> Option<Self> {
        let Some(program) = std::env::var_os("BELLWETHER_PROMETHEUS") else {
            eprintln!("not run: the query API beside a real Prometheus needs BELLWETHER_PROMETHEUS");
            return None;
        };
        let config = file(folder, "prometheus.yml", "{}\n");
        let address = format!("127.0.0.1:{}", free_port());
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--web.enable-remote-write-receiver", "--web.enable-admin-api"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus starts");
        let started = Self { child, address };
        wait("Prometheus to be ready", || {
            let ready = try_ask(&started.address, "GET", "/-/ready", "", &[]);
            ready.filter(|answer| answer.status == 200)
        });
        Some(started)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// What is compared of an answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    location: String,
    body: String,
}

fn ask(address: &str, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
    try_ask(address, method, target, headers, body).unwrap_or_else(|| panic!("{method} {target}: no answer"))
}

fn try_ask(address: &str, method: &str, target: &str, headers: &str, body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let len = body.len();
    let head = format!("{method} {target} HTTP/1.0\r\nHost: x\r\n{headers}Content-Length: {len}\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let location = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("location").then(|| value.to_owned())
    });
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        location: location.unwrap_or_default(),
        body: body.to_owned(),
    })
}

/// Whether answers say the same: the words of errors may differ, where ours say more.
fn differ(theirs: &Answer, ours: &Answer, with_data: bool) -> Option<String> {
    if (theirs.status, &theirs.location) != (ours.status, &ours.location) {
        return Some(format!("{theirs:?}\n{ours:?}"));
    }
    let parse = |answer: &Answer| serde_json::from_str::<Value>(&answer.body).ok();
    let (Some(mut a), Some(mut b)) = (parse(theirs), parse(ours)) else {
        // Pages and plain text: what stands in them is not compared, that there is something is.
        return (theirs.body.is_empty() != ours.body.is_empty() && theirs.status == 204)
            .then(|| format!("{theirs:?}\n{ours:?}"));
    };
    for value in [&mut a, &mut b] {
        let Some(object) = value.as_object_mut() else { continue };
        object.remove("error");
        if !with_data {
            object.remove("data");
        }
        // Neither promises an order of series.
        let data = object.get_mut("data");
        let list = match data {
            Some(Value::Object(data)) => data.get_mut("result"),
            other => other,
        };
        if let Some(Value::Array(list)) = list {
            list.sort_by_key(Value::to_string);
        }
    }
    (a != b).then(|| format!("{a}\n{b}"))
}

#[test]
fn awkward_requests_are_answered_as_prometheus_answers_them() {
    let folder = tempfile::tempdir().unwrap();
    let Some(prometheus) = Prometheus::start(folder.path()) else { return };
    let mut args = QUIET.to_vec();
    args.push("--web.enable-admin-api");
    let server = Server::start(&folder.path().join("data"), &args);
    let ours = server.url.trim_start_matches("http://").replace("localhost", "127.0.0.1");
    let theirs = prometheus.address.clone();
    let at = now() - 60;
    let samples: Vec<(i64, f64)> = (0..5).map(|i| (at + i * 10, i as f64)).collect();
    let series: [Series<'_>; 3] = [
        (&[("__name__", "level"), ("job", "a")], &samples),
        (&[("__name__", "level"), ("job", "b"), ("host.name", "x")], &samples),
        (&[("__name__", "requests_total"), ("job", "a"), ("code", "200")], &samples),
    ];
    let body = write_request(&series);
    let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n";
    for address in [&theirs, &ours] {
        assert_eq!(ask(address, "POST", "/api/v1/write", headers, &body).status / 100, 2);
    }
    let end = at + 41;
    let level = encode("level");
    let mut failures = Vec::new();
    let mut compare = |method: &str, target: &str, with_data: bool| {
        let (a, b) = (ask(&theirs, method, target, "", &[]), ask(&ours, method, target, "", &[]));
        if let Some(difference) = differ(&a, &b, with_data) {
            failures.push(format!("{method} {target}\n{difference}"));
        }
    };
    for target in [
        // What there is.
        "/api/v1/series?match[]=level",
        "/api/v1/series?match[]=level&match[]=requests_total",
        "/api/v1/series?match[]=level&limit=0",
        "/api/v1/series?match[]=level&limit=-1",
        "/api/v1/series?match[]=level&limit=x",
        "/api/v1/series?match[]=level&start=100&end=1",
        "/api/v1/series?match[]={}&start=100&end=1",
        "/api/v1/series?match[]=",
        "/api/v1/series?match[]={job=\"\"}",
        "/api/v1/series",
        "/api/v1/labels?limit=1",
        "/api/v1/labels?limit=-1",
        "/api/v1/labels?start=100&end=1",
        "/api/v1/labels?match[]=requests_total",
        "/api/v1/labels?match[]={}",
        "/api/v1/label/job/values?limit=1",
        "/api/v1/label/job/values?start=100&end=1",
        "/api/v1/label/job/values?match[]={}",
        "/api/v1/label/nothing/values",
        "/api/v1/label/U__host_2e_name/values",
        "/api/v1/label/%FF/values",
        "/api/v1/label//values",
        "/api/v1/label/job/../job/values",
        "/api/v1/metadata?limit=0",
        "/api/v1/metadata?limit=x",
        "/api/v1/metadata?limit_per_metric=x",
        "/api/v1/metadata?metric=nothing",
        "/api/v1/targets/metadata?limit=0",
        "/api/v1/targets/metadata?limit=x",
        "/api/v1/targets/metadata?match_target={",
        // Exemplars.
        "/api/v1/query_exemplars?query=1&start=0&end=1",
        "/api/v1/query_exemplars?query=level&start=0&end=1",
        "/api/v1/query_exemplars?query=level&start=5&end=1",
        "/api/v1/query_exemplars?query=level%2B&start=0&end=1",
        "/api/v1/query_exemplars?start=0&end=1",
        // Queries.
        "//api/v1/query?query=1&time=5",
        "/api/v1//query?query=1&time=5",
        "/api/v1/./query?query=1&time=5",
        "/api/v1/query?query=1&time=1_000",
        "/api/v1/query?query=1&time=1__0",
        "/api/v1/query?query=1&time=0x10",
        "/api/v1/query?query=time()&time=9223372036",
        "/api/v1/query?query=time()&time=-9223372036",
        "/api/v1/query?query=1&time=2015-07-01",
        "/api/v1/query?query=time()&time=2015-07-01T20:10:51.781Z",
        "/api/v1/query?query=1&time=5&limit=-1",
        "/api/v1/query?query=1&time=5&limit=x",
        "/api/v1/query?query=1&time=5&timeout=x",
        "/api/v1/query?query=1&time=5&lookback_delta=0",
        "/api/v1/query?query=1&time=5&lookback_delta=x",
        "/api/v1/query?query=\"a\"&time=5",
        "/api/v1/query",
        "/api/v1/query_range?query=1&start=0&end=1",
        "/api/v1/query_range?query=1&start=0&end=1&step=0",
        "/api/v1/query_range?query=1&start=0&end=1&step=-1",
        "/api/v1/query_range?query=1&start=0&end=1&step=x",
        "/api/v1/query_range?query=1&start=2&end=1&step=1",
        "/api/v1/query_range?query=1&start=0&end=11001&step=1",
        "/api/v1/query_range?query=level[1m]&start=0&end=1&step=1",
        "/api/v1/query_range?query=1&end=1&step=1",
        "/api/v1/format_query?query=a%2Bb",
        "/api/v1/format_query",
        "/api/v1/parse_query?query=a%2B",
        // Rules, targets, the server.
        "/api/v1/rules?type=x",
        "/api/v1/rules?exclude_alerts=x",
        "/api/v1/rules?group_limit=x",
        "/api/v1/rules?group_limit=0",
        "/api/v1/rules?group_next_token=x",
        "/api/v1/rules?match[]={",
        "/api/v1/status/tsdb?limit=0",
        "/api/v1/status/tsdb?limit=-1",
        "/api/v1/status/tsdb?limit=x",
        "/federate?match[]={}",
        "/federate?match[]=",
        "/federate?match[]=level{",
        "/federate",
    ] {
        compare("GET", &target.replace('"', "%22"), true);
    }
    // Answers with numbers of their own.
    for target in [
        "/api/v1/query?query=1&time=9223372037",
        "/api/v1/status/tsdb?limit=1",
        "/api/v1/series?match[]=level&limit=1",
        "/api/v1/labels",
        "/api/v1/label/job/values",
        "/api/v1/metadata?limit=-1",
        "/api/v1/metadata?limit_per_metric=0",
        "/api/v1/metadata?limit_per_metric=-1",
        "/api/v1/targets/metadata?limit=-1",
        "/api/v1/targets?state=x",
        "/api/v1/status/walreplay",
    ] {
        compare("GET", target, false);
    }
    for query in [
        "level",
        "sum(level)",
        "rate(requests_total[1m])",
        "level offset 1w",
        "count_values(\"v\", level)",
        "level @ 5",
        "{job=~\"a|b\"}",
    ] {
        let query = encode(query);
        compare("GET", &format!("/api/v1/query?query={query}&time={end}"), true);
        compare("GET", &format!("/api/v1/query_range?query={query}&start={at}&end={end}&step=7"), true);
    }
    compare("GET", &format!("/api/v1/query?query={level}&time={end}&limit=1"), false);
    // Deletion last; what it must not delete is looked for after it.
    for target in [
        "/api/v1/admin/tsdb/snapshot?skip_head=x",
        "/api/v1/admin/tsdb/delete_series",
        "/api/v1/admin/tsdb/delete_series?match[]={}",
        "/api/v1/admin/tsdb/delete_series?match[]=level{",
        "/api/v1/admin/tsdb/delete_series?match[]=level&start=5&end=1",
        "/api/v1/admin/tsdb/delete_series?match[]=requests_total",
        "/api/v1/admin/tsdb/clean_tombstones",
    ] {
        compare("POST", target, true);
    }
    compare("POST", "/api/v1/admin/tsdb/snapshot?skip_head=true", false);
    compare("GET", &format!("/api/v1/query?query={}&time={end}", encode("{job=~\"a|b\"}")), true);
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));

    // Settings that both have under Prometheus' names.
    let flags = |address: &str| {
        let answer = ask(address, "GET", "/api/v1/status/flags", "", &[]);
        serde_json::from_str::<Value>(&answer.body).unwrap()["data"].clone()
    };
    let (a, b) = (flags(&theirs), flags(&ours));
    for name in [
        "query.lookback-delta",
        "query.max-concurrency",
        "query.max-samples",
        "query.timeout",
        "storage.tsdb.allow-overlapping-compaction",
        "storage.tsdb.min-block-duration",
        "storage.tsdb.retention.size",
        "storage.tsdb.retention.time",
        "web.enable-admin-api",
        "web.route-prefix",
        "agent",
    ] {
        assert_eq!(a[name], b[name], "{name}");
    }
    for name in ["storage.tsdb.path", "storage.tsdb.max-block-duration"] {
        assert!(b[name].is_string(), "{name}");
    }
}
