//! Prometheus' HTTP API as its clients use it: awkward requests, Grafana's sequences, federation, remote read, the cache and the
//! limits of queries.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::{PATIENCE, Server, encode, file, free_port, run, stdout, wait};

/// Neither this host nor the server itself is watched: the data is what the test writes.
pub(crate) const QUIET: [&str; 2] = ["--sources.host.enabled=false", "--sources.self.enabled=false"];

const FORM: &str = "application/x-www-form-urlencoded";

/// Seconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "samples are written a little before now")]
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Protobuf: a field with bytes.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Labels and samples (seconds, value).
pub(crate) type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

/// The body of a remote write.
pub(crate) fn write_request(series: &[Series<'_>]) -> Vec<u8> {
    let mut request = Vec::new();
    for (labels, samples) in series {
        let mut body = Vec::new();
        for (name, value) in *labels {
            let mut pair = Vec::new();
            field(&mut pair, 1, name.as_bytes());
            field(&mut pair, 2, value.as_bytes());
            field(&mut body, 1, &pair);
        }
        for (seconds, value) in *samples {
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, *seconds as u64 * 1000);
            field(&mut body, 2, &sample);
        }
        field(&mut request, 1, &body);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

/// Stores series by remote write.
fn push(server: &Server, series: &[Series<'_>]) {
    let (status, answer) = server.post("/api/v1/write", "application/x-protobuf", &write_request(series));
    assert_eq!(status, 204, "{answer}");
}

/// Sends bytes as they are; the status line and the body.
fn raw(server: &Server, request: &str) -> (String, String) {
    let address = server.url.trim_start_matches("http://").replace("localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

fn body_of(answer: &str) -> Value {
    let start = answer.find('{').unwrap_or_else(|| panic!("no JSON in {answer:?}"));
    let end = answer.rfind('}').unwrap();
    serde_json::from_str(&answer[start..=end]).unwrap()
}

#[test]
fn request_targets_are_taken_as_go_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &QUIET);
    push(&server, &[(&[("__name__", "up"), ("job", "a")], &[(now() - 5, 1.0)])]);
    for target in [
        "/api/v1/query?query=up{job=\"a\"}",
        "/api/v1/query?query=up{job=~\"a|b\"}>0<2",
        "/api/v1/query?query=up%7Bjob=\"a\"}#no-fragment",
        "/api/v1/query?query=up{job!=\"é\",instance=\"\"}",
        "/api/v1/series?match[]=up{job=\"a\"}",
    ] {
        let (head, body) =
            raw(&server, &format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 200"), "{target}: {head}\n{body}");
        let data = &body_of(&body)["data"];
        let found = data["result"].as_array().or(data.as_array()).unwrap().len();
        assert_eq!(found, 1, "{target}: {body}");
    }
    // Two requests and a body on one connection: the body looks like a request and is not touched.
    let form = "query=up{job=\"a\"}";
    let request = format!(
        "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{form}\
         GET /api/v1/query?query=up{{job=\"b\"}} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        form.len()
    );
    let (_, answers) = raw(&server, &request);
    assert!(answers.contains(r#""job":"a""#) && answers.contains(r#""result":[]"#), "{answers}");
}

#[test]
fn grafanas_requests_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &QUIET);
    let at = now();
    let samples: Vec<(i64, f64)> = (0..20).map(|i| (at - 300 + i * 15, i as f64)).collect();
    push(
        &server,
        &[
            (&[("__name__", "up"), ("instance", "h:1"), ("job", "node")], &samples),
            (&[("__name__", "http_requests_total"), ("code", "200"), ("job", "node")], &samples),
        ],
    );
    let (start, end) = (at - 300, at);
    let ok = |what: &str, (status, body): (u16, String)| {
        assert_eq!(status, 200, "{what}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|err| panic!("{what}: {err}: {body}"));
        assert_eq!(answer["status"], "success", "{what}: {body}");
        answer["data"].clone()
    };
    let get = |path: &str| ok(path, server.get(path));
    let post = |path: &str, form: &str| ok(path, server.post(path, FORM, form.as_bytes()));

    // Save and test: the health check, what the server is, what it can do.
    let health = post("/api/v1/query", &format!("query=1%2B1&time={at}"));
    assert_eq!((health["resultType"].as_str(), health["result"][1].as_str()), (Some("scalar"), Some("2")));
    let build = get("/api/v1/status/buildinfo");
    assert!(build["version"].as_str().unwrap().starts_with("3."), "{build}");
    assert!(get("/api/v1/rules")["groups"].is_array());
    assert!(get("/api/v1/features")["promql"].is_object());

    // A panel, with the step and the times as the back end sends them, and as GET when POST is switched off.
    let panel = format!("query={}&start={start}.000&end={end}.000&step=15", encode("sum by (job) (up)"));
    let by_post = post("/api/v1/query_range", &panel);
    let by_get = get(&format!("/api/v1/query_range?{panel}"));
    assert_eq!(by_post, by_get);
    assert_eq!(by_post["result"][0]["metric"]["job"], "node");
    let instant = post("/api/v1/query", &format!("query=up&time={end}.123"));
    assert_eq!(instant["resultType"], "vector");
    let rate = post(
        "/api/v1/query_range",
        &format!("query={}&start={start}&end={end}&step=15s", encode("rate(http_requests_total[1m0s])")),
    );
    assert_eq!(rate["resultType"], "matrix");
    assert!(
        post("/api/v1/query_exemplars", &format!("query=http_requests_total&start={start}&end={end}"))
            .is_array()
    );

    // The query editor and the metric browser.
    let names = get(&format!("/api/v1/label/__name__/values?start={start}&end={end}&limit=40000"));
    assert_eq!(names, serde_json::json!(["http_requests_total", "up"]));
    let narrowed = format!(
        "/api/v1/label/__name__/values?start={start}&end={end}&match%5B%5D={}",
        encode("{code=~\".+\"}")
    );
    assert_eq!(get(&narrowed), serde_json::json!(["http_requests_total"]));
    let labels = post(
        "/api/v1/labels",
        &format!("start={start}&end={end}&match%5B%5D={}", encode("{__name__=\"up\"}")),
    );
    assert_eq!(labels, serde_json::json!(["__name__", "instance", "job"]));
    assert_eq!(
        get(&format!("/api/v1/label/job/values?start={start}&end={end}")),
        serde_json::json!(["node"])
    );
    let series = post(
        "/api/v1/series",
        &format!("match%5B%5D={}&start={start}&end={end}", encode("up{job=\"node\"}")),
    );
    assert_eq!(series[0]["instance"], "h:1");
    assert!(get("/api/v1/metadata?limit=10000").is_object());
    assert_eq!(get("/api/v1/format_query?query=sum(up)by(job)"), "sum by (job) (up)");
    assert_eq!(get("/api/v1/parse_query?query=up")["type"], "vectorSelector");
    // Errors are shown to the user as they come.
    let (status, body) = server.post(
        "/api/v1/query_range",
        FORM,
        format!("query=up{{&start={start}&end={end}&step=15").as_bytes(),
    );
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, answer["errorType"].as_str()), (400, Some("bad_data")), "{body}");
}

#[test]
fn every_documented_path_is_served_and_other_origins_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &QUIET);
    let (status, document) = server.get("/api/v1/openapi.yaml");
    assert_eq!(status, 200);
    let mut paths = 0;
    let mut current = String::new();
    for line in document.lines() {
        if let Some(path) = line.strip_prefix("  \"/").and_then(|rest| rest.strip_suffix("\":")) {
            current = format!("/{}", path.replace("{name}", "job"));
            paths += 1;
        } else if line == "    \"get\":" && !current.ends_with("/live") {
            let (status, body) = server.get(&current);
            assert!(status == 200 || status == 400, "{current}: {status} {body}");
        }
    }
    assert!(paths > 30, "{document}");
    assert_eq!(server.get("/api/v1/nothing").0, 404);
    let preflight = "OPTIONS /api/v1/query HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\
         Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n";
    let (head, _) = raw(&server, preflight);
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 204"), "{head}");
    assert!(head.contains("access-control-allow-origin: *\r\n"), "{head}");
    assert!(head.contains("access-control-allow-methods: get, post, options\r\n"), "{head}");
    drop(server);
    let narrow = tempfile::tempdir().unwrap();
    let server =
        Server::start(narrow.path(), &[QUIET[0], QUIET[1], "--web.cors.origin=https://.*\\.example"]);
    let ask = |origin: &str| {
        let request = format!(
            "GET /api/v1/query?query=1 HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
        );
        raw(&server, &request).0.to_lowercase()
    };
    assert!(ask("https://a.example").contains("access-control-allow-origin: https://a.example\r\n"));
    let refused = ask("https://a.example.evil");
    assert!(
        refused.starts_with("http/1.1 200") && !refused.contains("access-control-allow-origin"),
        "{refused}"
    );
}

#[test]
fn series_are_federated_with_external_labels() {
    let folder = tempfile::tempdir().unwrap();
    let config = "global:\n  external_labels: { region: eu }\nalerts:\n  history: { series: 0 }\n";
    let path = file(folder.path(), "bellwether.yml", config);
    let config = format!("--config.file={}", path.display());
    let server = Server::start(&folder.path().join("data"), &[QUIET[0], QUIET[1], &config]);
    let at = now() - 10;
    push(
        &server,
        &[
            (&[("__name__", "up"), ("instance", "h:1"), ("job", "a")], &[(at - 60, 0.0), (at, 1.0)]),
            (&[("__name__", "up"), ("job", "b"), ("region", "us")], &[(at, 1.0)]),
            (&[("__name__", "gone"), ("job", "a")], &[(at, f64::from_bits(0x7ff0_0000_0000_0002))]),
            (&[("__name__", "old"), ("job", "a")], &[(at - 1000, 1.0)]),
        ],
    );
    let (status, body) = server.get("/federate?match[]=up&match[]=%7Bjob%3D%22a%22%7D");
    assert_eq!(status, 200, "{body}");
    let ms = at * 1000;
    assert_eq!(
        body,
        format!(
            "# TYPE up untyped\nup{{instance=\"h:1\",job=\"a\",region=\"eu\"}} 1 {ms}\n\
             up{{job=\"b\",region=\"us\",instance=\"\"}} 1 {ms}\n"
        )
    );
    assert_eq!(server.get("/federate?match[]=%7B").0, 400);
}

/// A real Prometheus, when `BELLWETHER_PROMETHEUS` names one.
struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    fn start(folder: &std::path::Path, config: &str) -> Option<Self> {
        let Some(program) = std::env::var_os("BELLWETHER_PROMETHEUS") else {
            eprintln!("not run: remote read by a real Prometheus needs BELLWETHER_PROMETHEUS");
            return None;
        };
        let config = file(folder, "prometheus.yml", config);
        let port = free_port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus starts");
        Some(Self { child, url: format!("http://127.0.0.1:{port}") })
    }

    fn get(&self, path: &str) -> Option<Value> {
        let output = run(&["query", "instant", &self.url, path, "-o", "json"]);
        output.status.success().then(|| serde_json::from_str(&stdout(&output)).ok()).flatten()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

#[test]
fn a_real_prometheus_reads_remotely() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &QUIET);
    let at = now() - 1200;
    let samples: Vec<(i64, f64)> = (0..300).map(|i| (at + i * 4, (i * i) as f64 / 7.0)).collect();
    let ones: Vec<(i64, f64)> = (0..300).map(|i| (at + i * 4, 1.0)).collect();
    push(
        &server,
        &[
            (&[("__name__", "m"), ("host", "b")], &samples),
            (&[("__name__", "m"), ("host", "a"), ("z", "1")], &ones),
            (&[("__name__", "m"), ("host", "c")], &samples[..5]),
        ],
    );
    let config = format!("remote_read:\n  - url: {}/api/v1/read\n    read_recent: true\n", server.url);
    let Some(prometheus) = Prometheus::start(folder.path(), &config) else { return };
    let end = at + 1199;
    let query = format!("sum_over_time(m[20m] @ {end}) + count_over_time(m[20m] @ {end})");
    let theirs = wait("Prometheus to answer from remote read", || {
        prometheus.get(&query).filter(|result| result.as_array().is_some_and(|series| series.len() == 3))
    });
    let ours = stdout(&run(&["query", "instant", &server.url, &query, "-o", "json"]));
    let ours: Value = serde_json::from_str(&ours).unwrap();
    let values = |result: &Value| {
        let mut all: Vec<String> = result
            .as_array()
            .unwrap()
            .iter()
            .map(|series| format!("{} {}", series["metric"], series["value"][1]))
            .collect();
        all.sort();
        all
    };
    assert_eq!(values(&theirs), values(&ours));
}

#[test]
fn kept_answers_follow_late_samples_and_deletions() {
    let folder = tempfile::tempdir().unwrap();
    let args = [QUIET[0], QUIET[1], "--web.enable-admin-api", "--storage.out-of-order-window=2h"];
    let server = Server::start(folder.path(), &args);
    let step = 30;
    let end = now() / step * step;
    let start = end - 3600;
    let labels: &[(&str, &str)] = &[("__name__", "m"), ("host", "a")];
    let samples: Vec<(i64, f64)> = (0..120).map(|i| (start + i * 30, i as f64)).collect();
    push(&server, &[(labels, &samples)]);
    let ask = |start: i64, end: i64, more: &str| {
        let query = encode("sum(max_over_time(m[1m])) or vector(-1)");
        server.data(&format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}{more}"))
    };
    let same = |start: i64, end: i64| {
        let kept = ask(start, end, "");
        assert_eq!(kept, ask(start, end, "&nocache=1"));
        kept
    };
    let metric = |name: &str| {
        let (_, text) = server.get("/metrics");
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let before = same(start, end);
    assert_eq!(metric("bellwether_api_query_cache_hits_total"), 0.0);
    assert_eq!(same(start, end), before);
    assert!(metric("bellwether_api_query_cache_hits_total") >= 1.0);
    assert!(metric("bellwether_api_query_cache_steps_total") >= 100.0);
    // The panel moves on, in both directions, and with another range.
    same(start + step * 10, end + step * 5);
    same(start - step * 10, end);
    same(start + step * 60, start + step * 61);
    // A late sample in the middle of what is kept.
    push(&server, &[(labels, &[(start + 1805, 1000.0)])]);
    let changed = same(start, end);
    assert_ne!(changed, before);
    // A new series in the past.
    push(&server, &[(&[("__name__", "m"), ("host", "b")], &[(start + 100, 5.0)])]);
    same(start, end);
    // A deletion.
    let (status, body) =
        server.post("/api/v1/admin/tsdb/delete_series?match[]=m%7Bhost=%22b%22%7D", FORM, b"");
    assert_eq!(status, 204, "{body}");
    assert_eq!(same(start, end), changed);
    // What depends on the range as a whole is not kept.
    let hits = metric("bellwether_api_query_cache_hits_total");
    for _ in 0..2 {
        let query = encode("m @ end()");
        server.data(&format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}"));
    }
    assert_eq!(metric("bellwether_api_query_cache_hits_total"), hits);
}

#[test]
fn a_query_that_needs_too_much_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let args = [QUIET[0], QUIET[1], "--query.max-bytes=4000000", "--query.max-series=150"];
    let server = Server::start(folder.path(), &args);
    let at = now();
    let hosts: Vec<String> = (0..200).map(|i| format!("host-{i}")).collect();
    let labels: Vec<[(&str, &str); 2]> =
        hosts.iter().map(|host| [("__name__", "m"), ("host", host)]).collect();
    let sample = [(at - 5, 1.0)];
    let series: Vec<Series<'_>> = labels.iter().map(|labels| (&labels[..], &sample[..])).collect();
    push(&server, &series);
    let range = |query: &str| {
        let path =
            format!("/api/v1/query_range?query={}&start={}&end={at}&step=1", encode(query), at - 10_000);
        server.get(&path)
    };
    let (status, body) = range("m{host=~\"host-1?.\"} or vector(1)");
    assert_eq!(status, 200, "{body}");
    let (status, body) = range("m{host=~\"host-1..\"}");
    assert_eq!(status, 422, "{body}");
    assert!(body.contains("query.max_bytes") && body.contains("narrow"), "{body}");
    let (status, body) = range("m");
    assert_eq!(status, 422, "{body}");
    assert!(body.contains("query.max_series"), "{body}");
    // The server goes on.
    assert_eq!(server.value("count(m{host=~\"host-1.*\"})"), Some(111.0));
}

/// A query that takes long: many samples at many steps.
fn slow_query() -> String {
    encode("max_over_time(sum(quantile_over_time(0.9, (time() + vector(1))[1h:1s]))[5h:1s])")
}

#[test]
fn a_query_ends_when_its_client_goes_away_and_a_crash_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &QUIET);
    let running = || server.data("/api/v1/status/queries").as_array().unwrap().len();
    let ask = || {
        let address = server.url.trim_start_matches("http://").replace("localhost", "127.0.0.1");
        let mut stream = TcpStream::connect(address).unwrap();
        let path = format!("/api/v1/query?query={}", slow_query());
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        stream
    };
    let stream = ask();
    wait("the query to run", || (running() == 1).then_some(()));
    drop(stream);
    let gone = Instant::now();
    wait("the query to end", || (running() == 0).then_some(()));
    assert!(gone.elapsed() < Duration::from_secs(30));

    let stream = ask();
    wait("the query to run again", || (running() == 1).then_some(()));
    server.kill();
    drop(stream);
    let server = Server::start(folder.path(), &QUIET);
    let log = wait("the log to name the query", || {
        Some(server.log()).filter(|log| log.contains("was running when the server ended"))
    });
    assert!(log.contains("quantile_over_time"), "{log}");
}

#[test]
fn notifications_tell_of_a_refused_configuration_as_it_happens() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "bellwether.yml", "global: {}\n");
    let config = format!("--config.file={}", path.display());
    let server = Server::start(&folder.path().join("data"), &[QUIET[0], QUIET[1], &config]);
    assert_eq!(server.data("/api/v1/notifications"), serde_json::json!([]));
    let address = server.url.trim_start_matches("http://").replace("localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /api/v1/notifications/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    let head = lines.next().unwrap().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    file(folder.path(), "bellwether.yml", "global: [\n");
    assert_eq!(server.post("/-/reload", "text/plain", b"").0, 500);
    let event = lines.map_while(Result::ok).find(|line| line.starts_with("data:")).unwrap();
    let event: Value = serde_json::from_str(event.trim_start_matches("data:")).unwrap();
    assert_eq!(event["text"], "Configuration reload has failed.");
    assert_eq!(event["active"], true);
    assert_eq!(server.data("/api/v1/notifications")[0]["active"], true);
    assert_eq!(server.data("/api/v1/status/runtimeinfo")["reloadConfigSuccess"], false);
    file(folder.path(), "bellwether.yml", "global: { external_labels: { a: b } }\n");
    assert_eq!(server.post("/-/reload", "text/plain", b"").0, 200);
    assert_eq!(server.data("/api/v1/notifications"), serde_json::json!([]));
    assert!(server.data("/api/v1/status/config")["yaml"].as_str().unwrap().contains("a: b"));
}

#[test]
fn answers_are_printed_as_tables_graphs_and_plans() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &QUIET);
    let at = now();
    let samples: Vec<(i64, f64)> = (0..60).map(|i| (at - 600 + i * 10, (i % 20) as f64)).collect();
    push(
        &server,
        &[
            (&[("__name__", "m"), ("host", "a"), ("le", "1")], &samples),
            (&[("__name__", "m"), ("host", "a"), ("le", "+Inf")], &samples),
        ],
    );
    let ask = |args: &[&str]| {
        let mut all = vec!["query", args[0], &server.url];
        all.extend_from_slice(&args[1..]);
        let output = run(&all);
        assert!(output.status.success(), "{args:?}: {}", crate::harness::stderr(&output));
        stdout(&output)
    };
    let (start, end) = (format!("--start={}", at - 600), format!("--end={at}"));
    let table = ask(&["instant", "m", "-o", "table", "--explain"]);
    assert!(table.starts_with("metric  host  le    value\n"), "{table}");
    assert!(table.contains("samples looked at") && table.contains("{__name__=\"m\"}"), "{table}");
    let graph = ask(&["range", "m", "-o", "graph", &start, &end]);
    assert!(graph.contains('┤') && graph.contains("min 0") && graph.contains("last 19"), "{graph}");
    let course = ask(&["range", "m", "-o", "table", &start, &end]);
    assert!(course.contains('█') && course.contains('▁'), "{course}");
    let csv = ask(&["range", "m", "-o", "csv", &start, &end, "--step=60s"]);
    assert!(csv.starts_with("time,value,series\n") && csv.lines().count() > 15, "{csv}");
    assert_eq!(ask(&["labels", "host", "-o", "json"]).trim(), "[\"a\"]");
    assert!(ask(&["series", "--match=m", "-o", "table"]).starts_with("metric  host  le\n"));
    let labels = ask(&["analyze", "--match=m"]);
    assert!(labels.starts_with("m: 2 series\n") && labels.contains("le "), "{labels}");
    let buckets = ask(&["analyze", "--type=histogram", "--match=m"]);
    assert!(buckets.contains("classic"), "{buckets}");
}

#[test]
fn a_tenant_can_have_bounds_of_its_own_for_queries() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(
        folder.path(),
        "b.yml",
        "query:\n  tenant_limits:\n    - {tenant: few, max_series: 5}\n    - {tenant: small, max_bytes: 1000}\n    - {tenant: tight, max_samples: 3}\n",
    );
    let data = folder.path().join("data");
    let args = [format!("--config.file={}", config.display()), "--sources.host.enabled=false".to_owned()];
    let server = Server::start(&data, &args.each_ref().map(String::as_str));
    let text: String = (0..10).map(|i| format!("m{{i=\"{i}\"}} {i}\n")).collect();
    let ask = |tenant: &str| {
        let url = format!("{}/api/v1/import/prometheus", server.url);
        let pushed = ureq::post(&url).header("X-Scope-OrgID", tenant).send(text.as_bytes()).unwrap();
        assert!(pushed.status().is_success());
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}/api/v1/query?query=m", server.url);
        let mut answer = agent.get(&url).header("X-Scope-OrgID", tenant).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    for tenant in ["few", "small", "tight"] {
        let (status, body) = ask(tenant);
        assert_eq!(status, 422, "{tenant}: {body}");
        assert!(body.contains("execution"), "{body}");
    }
    let (status, body) = ask("other");
    assert_eq!((status, body.matches("\"i\":").count()), (200, 10), "{body}");
}
