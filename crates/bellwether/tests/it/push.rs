//! Pushes from real client libraries and daemons, and from raw bytes where a client adds nothing: values are checked through PromQL.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Server, file, free_port, wait};

/// Nothing but pushes is stored.
const QUIET: [&str; 2] = ["--sources.host.enabled=false", "--sources.self.enabled=false"];

/// Runs a sender of `senders.py`; `false`, with a word, where Python's libraries are not installed.
fn send(args: &[&str]) -> bool {
    let Some(python) = std::env::var_os("BELLWETHER_TEST_PYTHON") else {
        eprintln!("not run: {args:?} needs BELLWETHER_TEST_PYTHON (`cargo xtask test` sets it)");
        return false;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/senders.py");
    let output = Command::new(python).arg(script).args(args).output().expect("Python starts");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

fn start(folder: &std::path::Path, args: &[&str]) -> Server {
    let all: Vec<&str> = QUIET.into_iter().chain(args.iter().copied()).collect();
    Server::start(folder, &all)
}

/// Waits until a query has this value.
fn expect(server: &Server, query: &str, value: f64) {
    wait(&format!("{query} to be {value}, it is {:?}", server.value(query)), || {
        server.value(query).filter(|found| (found - value).abs() < 1e-9)
    });
}

fn now_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("the clock is after 1970");
    u64::try_from(since.as_millis()).unwrap()
}

#[test]
fn opentelemetrys_sdk_over_http_and_grpc() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &[]);
    let address = server.url.trim_start_matches("http://").to_owned();
    for kind in ["http", "grpc", "http-delta"] {
        let endpoint = if kind == "grpc" { &address } else { &server.url };
        if !send(&["otlp", kind, endpoint]) {
            return;
        }
        let of =
            |metric: &str, labels: &str| format!("{metric}{{job=\"eu/shop\",instance=\"{kind}\"{labels}}}");
        expect(&server, &of("http_requests_total", ",http_method=\"GET\""), 6.0);
        expect(&server, &of("queue_size", ""), 7.0);
        expect(&server, &of("http_latency_seconds_count", ""), 6.0);
        expect(&server, &of("http_latency_seconds_bucket", ",le=\"1\""), 4.0);
        expect(&server, &format!("histogram_count({})", of("exponential_bytes", "")), 6.0);
        expect(&server, &format!("histogram_sum({})", of("exponential_bytes", "")), 1110.0);
        expect(&server, &of("target_info", ",telemetry_sdk_language=\"python\""), 1.0);
    }
    let metadata = server.data("/api/v1/metadata?metric=http_requests_total");
    assert_eq!(metadata["http_requests_total"][0]["type"], "counter", "{metadata}");
}

#[test]
fn otlp_answers_partly_and_refuses_nonsense() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(
        folder.path(),
        "b.yml",
        "otlp:\n  translation_strategy: NoTranslation\n  promote_resource_attributes: [host.name]\n",
    );
    let server = start(&folder.path().join("data"), &[&format!("--config.file={}", config.display())]);
    let time = (now_ms() * 1_000_000).to_string();
    let body = json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "host.name", "value": {"stringValue": "h"}}]},
        "scopeMetrics": [{"metrics": [
            {"name": "my.gauge", "gauge": {"dataPoints": [{"timeUnixNano": time, "asDouble": 2.5}]}},
            {"name": "bad", "sum": {"dataPoints": [{"timeUnixNano": time, "asInt": 1}]}}
        ]}]
    }]});
    let (status, answer) =
        server.post("/api/v1/otlp/v1/metrics", "application/json", body.to_string().as_bytes());
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("\"rejectedDataPoints\":\"1\"") && answer.contains("temporality"), "{answer}");
    expect(&server, "{\"my.gauge\",\"host.name\"=\"h\"}", 2.5);
    assert_eq!(server.post("/v1/metrics", "application/x-protobuf", &[255, 255]).0, 400);
    assert_eq!(server.post("/v1/metrics", "application/json", b"{").0, 400);
    assert_eq!(server.post("/v1/metrics", "text/plain", b"x").0, 415);
}

#[test]
fn influx_lines() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &[]);
    if send(&["influx", &server.url]) {
        expect(&server, "weather_temperature{city=\"Oslo Nord\",db=\"stations\"}", 21.5);
        expect(&server, "weather_sunny", 1.0);
    }
    let ms = now_ms();
    let lines = format!("cpu,host=a user=1.5 {ms}\nbroken line here\ncpu,host=b user=2i {ms}\n");
    let (status, answer) = server.post("/write?db=telegraf&precision=ms", "text/plain", lines.as_bytes());
    assert_eq!(status, 400);
    assert!(
        answer.contains("partial write: unable to parse 'broken line here'") && answer.contains("dropped=1"),
        "{answer}"
    );
    expect(&server, "sum(cpu_user{db=\"telegraf\"})", 3.5);
    assert_eq!(server.post("/write?precision=x", "text/plain", b"a b=1").0, 400);
    assert_eq!(server.post("/api/v2/write?bucket=b&org=o", "text/plain", b"plain f=1").0, 204);
    expect(&server, "plain_f{db=\"b\"}", 1.0);
    assert_eq!(server.get("/ping").0, 204);
    assert!(server.post("/query?q=CREATE%20DATABASE%20x", "text/plain", b"").1.contains("statement_id"));
    assert!(server.get("/query").1.contains("<html"), "the page of that name is still there");
}

#[test]
fn statsd_over_udp_tcp_and_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (port, socket) = (free_port(), folder.path().join("statsd.sock"));
    let server = start(
        &folder.path().join("data"),
        &[
            &format!("--ingest.statsd.listen-address=127.0.0.1:{port}"),
            &format!("--ingest.statsd.unix-socket={}", socket.display()),
            "--ingest.statsd.flush-interval=1s",
        ],
    );
    let datagrams = UnixDatagram::unbound().unwrap();
    datagrams
        .send_to(
            b"page.views:1:2:3|c|#env:prod,canary\npage.load:0.5|d|@0.5|#env:prod\n_e{1,1}:a|b\n",
            &socket,
        )
        .unwrap();
    expect(&server, "page_views{env=\"prod\",canary=\"true\"}", 6.0);
    expect(&server, "histogram_count(page_load{env=\"prod\"})", 2.0);
    datagrams.send_to(b"page.views:4|c|#env:prod,canary\nnonsense", &socket).unwrap();
    expect(&server, "page_views", 10.0);
    if send(&["statsd", &port.to_string()]) {
        expect(&server, "app_hits", 5.0);
        expect(&server, "app_queue", 7.0);
        expect(&server, "histogram_sum(app_took)", 1.0);
        expect(&server, "histogram_count(app_took)", 2.0);
        expect(&server, "max_over_time(app_users[5m])", 2.0);
        expect(&server, "over_tcp", 4.0);
    }
    let metrics = server.get("/metrics").1;
    assert!(
        metrics.contains("bellwether_ingest_push_refused_samples_total{protocol=\"statsd\""),
        "{metrics}"
    );
    assert_eq!(server.terminate(), Some(0));
    assert!(!socket.exists(), "the socket is left behind");
}

#[test]
fn graphite_lines_and_pickles() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, pickles) = (free_port(), free_port());
    let config = file(
        folder.path(),
        "b.yml",
        "ingest:\n  graphite:\n    relabel_configs:\n      - source_labels: [__graphite_path__]\n        regex: 'servers\\.([^.]+)\\.(.+)'\n        target_label: host\n        replacement: $1\n",
    );
    let server = start(
        &folder.path().join("data"),
        &[
            &format!("--config.file={}", config.display()),
            &format!("--ingest.graphite.listen-address=127.0.0.1:{lines}"),
            &format!("--ingest.graphite.pickle-listen-address=127.0.0.1:{pickles}"),
        ],
    );
    let mut stream = TcpStream::connect(("127.0.0.1", lines)).unwrap();
    stream
        .write_all(format!("servers.web-1.load 0.5 {}\ndisk;dc=eu 7\nbad\n", now_ms() / 1000).as_bytes())
        .unwrap();
    expect(&server, "servers_web_1_load{host=\"web-1\"}", 0.5);
    expect(&server, "disk{dc=\"eu\"}", 7.0);
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"by.udp 3\n", ("127.0.0.1", lines)).unwrap();
    expect(&server, "by_udp", 3.0);
    if send(&["pickled", &pickles.to_string()]) {
        for protocol in [0, 2, 5] {
            expect(&server, &format!("pickled_p{protocol}{{dc=\"eu\"}}"), 1.5);
        }
    }
    // A pickle that would run code ends its connection, nothing else.
    let mut evil = TcpStream::connect(("127.0.0.1", pickles)).unwrap();
    let payload = b"cos\nsystem\n(S'true'\ntR.";
    evil.write_all(&(payload.len() as u32).to_be_bytes()).unwrap();
    evil.write_all(payload).unwrap();
    assert_eq!(evil.read(&mut [0; 8]).unwrap_or(0), 0);
    stream.write_all(b"still.there 1\n").unwrap();
    expect(&server, "still_there", 1.0);
}

#[test]
fn pushed_groups_survive_kill_9_and_end_when_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &["--ingest.pushgateway.interval=1s"]);
    if !send(&["pushgateway", "push", &server.url]) {
        return;
    }
    let of = |metric: &str| format!("{metric}{{job=\"backup\",path=\"/var/tmp\",host=\"a\"}}");
    expect(&server, &of("last_success"), 42.0);
    expect(&server, "step_seconds_bucket{job=\"backup\",le=\"0.5\"}", 1.0);
    server.kill();
    let server = start(folder.path(), &["--ingest.pushgateway.interval=1s"]);
    // It is stored again and again.
    wait("two more rounds", || server.value("count_over_time(last_success[1h])").filter(|n| *n >= 3.0));
    send(&["pushgateway", "add", &server.url]);
    expect(&server, &of("last_success"), 43.0);
    expect(&server, "rows_total{table=\"t\"}", 5.0);
    let listed = server.data("/api/v1/metrics");
    assert_eq!(listed[0]["labels"]["job"], "backup", "{listed}");
    assert!(server.value(&of("push_time_seconds")).unwrap() > 1.6e9);
    let (status, text) = server.post("/metrics/job/backup/host/a", "text/plain", b"x 1 1234\n");
    assert!(status == 400 && text.contains("timestamps"), "{text}");
    assert_eq!(server.post("/metrics/jobs/x", "text/plain", b"x 1\n").0, 400);
    send(&["pushgateway", "delete", &server.url]);
    wait("the series to end", || server.query("last_success").is_empty().then_some(()));
    assert_eq!(server.data("/api/v1/metrics"), json!([]));
}

#[test]
fn text_datadog_and_zabbix() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let server = start(folder.path(), &[&format!("--ingest.zabbix.listen-address=127.0.0.1:{port}")]);
    let body = b"# TYPE jobs counter\njobs_total{x=\"1\"} 5\nother 2\n";
    assert_eq!(server.post("/api/v1/import/prometheus?extra_label=site=eu", "text/plain", body).0, 204);
    expect(&server, "jobs_total{x=\"1\",site=\"eu\"}", 5.0);
    let (status, text) = server.post("/api/v1/import/prometheus", "text/plain", b"good 1\nbad x\n");
    assert!(status == 400 && text.contains("line 2"), "{text}");

    let seconds = now_ms() / 1000;
    let v2 = json!({"series": [{"metric": "system.load", "type": 3, "resources": [{"type": "host", "name": "h1"}], "tags": ["env:prod"],
        "points": [{"timestamp": seconds, "value": 0.75}]}]});
    let (status, answer) = server.post("/api/v2/series", "application/json", v2.to_string().as_bytes());
    assert_eq!((status, answer.as_str()), (202, "{\"errors\":[]}"));
    expect(&server, "system_load{host=\"h1\",env=\"prod\"}", 0.75);
    let v1 =
        json!({"series": [{"metric": "hits", "type": "count", "points": [[seconds - 10, 3], [seconds, 4]]}]});
    assert_eq!(server.post("/api/v1/series", "application/json", v1.to_string().as_bytes()).0, 202);
    expect(&server, "hits_total", 7.0);
    assert_eq!(server.post("/api/v2/series", "application/json", b"{}").0, 400);
    assert!(server.data("/api/v1/series?match[]=hits_total")[0].is_object());

    let request = json!({"request": "sender data", "data": [
        {"host": "db1", "key": "mysql.queries[all]", "value": "12.5"}, {"host": "db1", "key": "mysql.version", "value": "8.0a"}]});
    let text = request.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"ZBXD\x01").unwrap();
    stream.write_all(&(text.len() as u64).to_le_bytes()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("processed: 1; failed: 1; total: 2"), "{answer}");
    expect(&server, "mysql_queries{host=\"db1\",param1=\"all\"}", 12.5);
}

/// A daemon that is ended with the value.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

#[test]
fn collectd_sends_its_values() {
    let Some(collectd) = testkit::peer::peer(&["collectd"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let server =
        start(&folder.path().join("data"), &[&format!("--ingest.collectd.listen-address=127.0.0.1:{port}")]);
    let pid = folder.path().join("collectd.pid");
    let config = format!(
        "Hostname \"testhost\"\nInterval 1\nBaseDir \"{}\"\nPIDFile \"{}\"\nLoadPlugin load\nLoadPlugin memory\nLoadPlugin network\n<Plugin network>\n  Server \"127.0.0.1\" \"{port}\"\n</Plugin>\n",
        folder.path().display(),
        pid.display()
    );
    let config = file(folder.path(), "collectd.conf", &config);
    let child = Command::new(collectd)
        .arg("-f")
        .arg("-C")
        .arg(&config)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let _daemon = Daemon(child.expect("collectd starts"));
    server.wait_for("collectd_load_shortterm{instance=\"testhost\"} >= 0");
    server.wait_for("collectd_memory{instance=\"testhost\",type=\"used\"} > 1e6");
}

#[test]
fn prometheus_writes_in_both_versions_and_as_an_agent() {
    let Some(prometheus) = testkit::peer::peer(&["prometheus"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder.path().join("data"), &[]);
    for (name, message, agent) in [
        ("one", "prometheus.WriteRequest", false),
        ("two", "io.prometheus.write.v2.Request", false),
        ("agent", "prometheus.WriteRequest", true),
    ] {
        let port = free_port();
        let config = format!(
            "global: {{scrape_interval: 1s, external_labels: {{from: {name}}}}}\nscrape_configs:\n  - job_name: self\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\nremote_write:\n  - url: {}/api/v1/write\n    protobuf_message: {message}\n",
            server.url
        );
        let config = file(folder.path(), &format!("{name}.yml"), &config);
        let data = folder.path().join(name);
        let mut command = Command::new(&prometheus);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if agent {
            command.arg("--agent").arg(format!("--storage.agent.path={}", data.display()));
        } else {
            command.arg(format!("--storage.tsdb.path={}", data.display()));
        }
        let _daemon = Daemon(command.spawn().expect("prometheus starts"));
        expect(&server, &format!("up{{from=\"{name}\",job=\"self\"}}"), 1.0);
        server.wait_for(&format!("process_start_time_seconds{{from=\"{name}\"}} > 1.6e9"));
    }
}

#[test]
fn what_a_collector_forwards_outlives_both_servers() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let up_data = folder.path().join("up");
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let upper = |args: &[&str]| {
        let all: Vec<&str> = args.iter().copied().chain([listen.as_str()]).collect();
        start(&up_data, &all)
    };
    let config = file(
        folder.path(),
        "collector.yml",
        &format!(
            "global: {{external_labels: {{dc: eu}}}}\nremote_write:\n  - url: http://127.0.0.1:{port}/api/v1/write\n    protobuf_message: io.prometheus.write.v2.Request\n    write_relabel_configs:\n      - {{source_labels: [__name__], regex: 'local_.*', action: drop}}\n    queue_config: {{batch_send_deadline: 100ms, min_backoff: 50ms, max_backoff: 200ms}}\n"
        ),
    );
    let lower_data = folder.path().join("lower");
    let file_flag = format!("--config.file={}", config.display());
    let lower = || start(&lower_data, &[&file_flag]);
    let base = now_ms() - 10_000;
    let push = |server: &Server, from: u64, to: u64| {
        for i in from..to {
            let time = base + i * 10;
            let body = format!("ledger {i} {time}\nlocal_only {i} {time}\n");
            assert_eq!(server.post("/api/v1/import/prometheus", "text/plain", body.as_bytes()).0, 204);
        }
    };
    // Up, down, and up again; the collector is killed while the upper server is down.
    let primary = upper(&[]);
    let collector = lower();
    push(&collector, 0, 20);
    expect(&primary, "ledger{dc=\"eu\"}", 19.0);
    primary.kill();
    push(&collector, 20, 60);
    expect(&collector, "ledger", 59.0);
    collector.kill();
    let collector = lower();
    push(&collector, 60, 80);
    let primary = upper(&[]);
    expect(&primary, "ledger{dc=\"eu\"}", 79.0);
    // Each of them, once.
    expect(&primary, "count_over_time(ledger[1h])", 80.0);
    expect(&primary, "sum_over_time(ledger[1h])", (0..80).sum::<u32>().into());
    assert!(primary.query("local_only").is_empty());
    let metrics = collector.get("/metrics").1;
    assert!(metrics.contains("bellwether_ingest_forward_sent_samples_total"), "{metrics}");
}

#[test]
fn an_exploding_label_is_named_and_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(
        folder.path(),
        &[
            "--ingest.cardinality.new-series=3000",
            "--storage.limits.series-per-target=10",
            "--web.enable-admin-api",
        ],
    );
    let import = |body: String| server.post("/api/v1/import/prometheus", "text/plain", body.as_bytes());
    let lines = |range: std::ops::Range<u32>| {
        range.map(|i| format!("logins{{user=\"u{i}\",zone=\"z\"}} 1\n")).collect::<String>()
    };
    assert_eq!(import(lines(0..4000)).0, 204);
    let (status, text) = import(lines(5000..5003));
    assert_eq!(status, 400);
    assert!(
        text.contains("quarantined") && text.contains("\"user\"") && text.contains("\"logins\""),
        "{text}"
    );
    // Series that exist go on, and so do other metrics.
    assert_eq!(import(format!("{}other{{user=\"new\"}} 1\n", lines(0..3))).0, 204);
    expect(&server, "count(logins)", 4000.0);
    let shown = server.data("/api/v1/status/cardinality");
    let quarantine = &shown["quarantines"][0];
    assert_eq!((&quarantine["metric"], &quarantine["label"]), (&json!("logins"), &json!("user")), "{shown}");
    assert_eq!(quarantine["refusedSamples"], 3, "{shown}");
    let metrics = server.get("/metrics").1;
    assert!(metrics.contains("bellwether_ingest_quarantined_labels 1"), "{metrics}");
    assert!(metrics.contains("metric=\"logins\",label=\"user\""), "{metrics}");

    let target =
        |count: u32| (0..count).map(|i| format!("m{i}{{job=\"j\",instance=\"i\"}} 1\n")).collect::<String>();
    let (status, text) = import(target(11));
    assert!(status == 400 && text.contains("target \"i\" of job \"j\""), "{text}");
    expect(&server, "count({job=\"j\"})", 10.0);
}
