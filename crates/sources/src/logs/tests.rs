//! Jobs that run, with real senders where the machine has them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::config::{FileInput, Format, JournaldInput, MetricConfig, NatsInput, SyslogInput};
use super::*;

/// A counter of entries by some fields.
fn by(labels: &[&str]) -> MetricConfig {
    MetricConfig {
        name: "entries_total".into(),
        labels: labels.iter().map(|label| ((*label).to_owned(), (*label).to_owned())).collect(),
        ..MetricConfig::default()
    }
}

async fn start(config: Config) -> (Logs, Metrics) {
    let metrics = Metrics::default();
    let logs = Logs::start(vec![Config { job: "j".into(), ..config }], &metrics, None, 7).await.unwrap();
    (logs, metrics)
}

/// Waits for a sample of the job's metrics.
async fn until(logs: &Logs, series: &str, value: f64) {
    let seen = || {
        let families = logs.jobs[0].1.families().into_iter();
        let samples =
            families.flat_map(|f| f.samples.into_iter().map(move |(l, v)| (format!("{}{l}", f.name), v)));
        samples.collect::<BTreeMap<String, f64>>()
    };
    let waiting = async {
        while seen().get(series) != Some(&value) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{series} did not become {value}: {:#?}", seen());
}

#[tokio::test]
async fn files_are_followed_over_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let append = |line: &str| {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
        writeln!(file, "{line}").unwrap();
    };
    let line = |code: u16| format!(r#"1.1.1.1 - - [t] "GET / HTTP/1.1" {code} 5 "-" "-" 0.010"#);
    append(&line(200));
    let pattern = format!("{}/*.log", folder.path().display());
    let file = FileInput { paths: vec![pattern], from_start: true, ..FileInput::default() };
    let (logs, metrics) =
        start(Config { file: Some(file), format: Format::Nginx, ..Config::default() }).await;
    let requests = |code: u16| {
        format!(r#"access_log_requests_total{{class="{}xx", code="{code}", method="GET"}}"#, code / 100)
    };
    until(&logs, &requests(200), 1.0).await;
    append(&line(503));
    append("nonsense");
    until(&logs, &requests(503), 1.0).await;
    std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
    append(&line(404));
    until(&logs, &requests(404), 1.0).await;
    let job = metrics::Job { job: "j".into() };
    assert_eq!(metrics.unmatched.get_or_create(&job).get(), 1);
    assert_eq!(metrics.entries.get_or_create(&job).get(), 4);
    let source = &logs.sources("h")[0];
    assert_eq!((source.job.as_str(), source.instance.as_str()), ("j", "h"));
    assert!(
        (source.collect)()
            .await
            .iter()
            .any(|family| family.name == "access_log_request_duration_seconds_bucket")
    );
}

#[tokio::test]
async fn syslog_by_hand_and_by_logger() {
    let syslog =
        SyslogInput { udp: "127.0.0.1:0".into(), tcp: "127.0.0.1:0".into(), ..SyslogInput::default() };
    let config = Config {
        syslog: Some(syslog),
        metrics: vec![by(&["app", "severity"])],
        job: "j".into(),
        ..Config::default()
    };
    let metrics = Metrics::default();
    let job = Arc::new(Job::new(&config, &metrics).unwrap());
    let bound = inputs::bind(config.syslog.as_ref().unwrap()).await.unwrap();
    let addresses = bound.addresses();
    let task = tokio::spawn(bound.run(Arc::clone(&job)));
    let stop = CancellationToken::new();
    let logs = Logs { jobs: vec![(config, job)], _stop: stop.drop_guard() };

    let mut stream = TcpStream::connect(addresses[1]).await.unwrap();
    stream.write_all(b"<11>1 - h web - - - a\n28 <11>Jan  1 00:00:00 h web: b").await.unwrap();
    until(&logs, r#"entries_total{app="web", severity="err"}"#, 2.0).await;
    // A message beyond all bounds ends its connection alone.
    let mut bad = TcpStream::connect(addresses[1]).await.unwrap();
    bad.write_all(b"99999999 x").await.unwrap();
    assert_eq!(bad.read(&mut [0; 1]).await.unwrap(), 0);
    stream.write_all(b"<11>1 - h web - - - c\n").await.unwrap();
    until(&logs, r#"entries_total{app="web", severity="err"}"#, 3.0).await;

    if Command::new("logger").arg("--version").output().is_err() {
        println!("not run: there is no logger(1) on this machine");
    } else {
        for (option, address) in [("--udp", addresses[0]), ("--tcp", addresses[1])] {
            for format in ["--rfc5424", "--rfc3164"] {
                let status = Command::new("logger")
                    .args(["--server", "127.0.0.1", "--port", &address.port().to_string(), option, format])
                    .args(["--tag", "fromlogger", "--priority", "local3.warning", "disk is slow"])
                    .status()
                    .unwrap();
                assert!(status.success());
            }
        }
        until(&logs, r#"entries_total{app="fromlogger", severity="warning"}"#, 4.0).await;
    }
    task.abort();
}

#[tokio::test]
async fn syslog_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&cert, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let syslog = SyslogInput {
        tls: "127.0.0.1:0".into(),
        cert_file: cert.display().to_string(),
        key_file: key.display().to_string(),
        ..SyslogInput::default()
    };
    let config =
        Config { syslog: Some(syslog), metrics: vec![by(&["app"])], job: "j".into(), ..Config::default() };
    let job = Arc::new(Job::new(&config, &Metrics::default()).unwrap());
    let bound = inputs::bind(config.syslog.as_ref().unwrap()).await.unwrap();
    let address = bound.addresses()[0];
    let task = tokio::spawn(bound.run(Arc::clone(&job)));
    let logs = Logs { jobs: vec![(config, job)], _stop: CancellationToken::new().drop_guard() };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let client =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
    stream.write_all(b"<11>1 - h secure - - - a\n").await.unwrap();
    stream.flush().await.unwrap();
    until(&logs, r#"entries_total{app="secure"}"#, 1.0).await;
    task.abort();
}

#[tokio::test]
async fn the_journal_is_read_by_a_program() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("journalctl");
    let text =
        "#!/bin/sh\necho '{\"MESSAGE\":\"a\",\"PRIORITY\":\"3\",\"__CURSOR\":\"c1\"}'\nexec sleep 60\n";
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let journald = JournaldInput { journalctl: script.display().to_string(), ..JournaldInput::default() };
    let (logs, _) =
        start(Config { journald: Some(journald), metrics: vec![by(&["PRIORITY"])], ..Config::default() })
            .await;
    until(&logs, r#"entries_total{PRIORITY="3"}"#, 1.0).await;
}

#[tokio::test]
async fn a_real_jetstream() {
    let Some(nats) = testkit::peer::peer(&["nats-server"]) else { return };
    let store = tempfile::tempdir().unwrap();
    // The port is free now; the server takes it at once.
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut server = Command::new(nats)
        .args(["--jetstream", "--addr", "127.0.0.1", "--port", &address.port().to_string()])
        .arg("--store_dir")
        .arg(store.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stream = loop {
        match TcpStream::connect(address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let publish = |subject: &str, payload: &str| format!("PUB {subject} {}\r\n{payload}\r\n", payload.len());
    let create = r#"{"name":"EVENTS","subjects":["events.>"],"storage":"memory"}"#;
    let hello =
        format!("CONNECT {{\"verbose\":false}}\r\n{}", publish("$JS.API.STREAM.CREATE.EVENTS", create));
    stream.write_all(hello.as_bytes()).await.unwrap();
    let nats = NatsInput {
        url: format!("nats://{address}"),
        stream: "EVENTS".into(),
        subject: "events.pay".into(),
        ..NatsInput::default()
    };
    let (logs, metrics) =
        start(Config { nats: Some(nats), format: Format::Event, ..Config::default() }).await;
    // The consumer sees what comes after it was made.
    let total = async {
        let mut sent = 0;
        loop {
            let batch: String = (0..50)
                .map(|_| publish("events.pay", r#"{"service":"pay","id":"E1","description":"slow"}"#))
                .collect();
            let text = format!("{batch}{}", publish("events.other", "other x y"));
            stream.write_all(text.as_bytes()).await.unwrap();
            sent += 50;
            tokio::time::sleep(Duration::from_millis(200)).await;
            if !logs.jobs[0].1.families().is_empty() {
                return sent;
            }
        }
    };
    let sent = tokio::time::timeout(Duration::from_secs(60), total).await.unwrap();
    let count = || logs.jobs[0].1.families()[0].samples.clone();
    stream.write_all(publish("events.pay", "pay E2 card refused").as_bytes()).await.unwrap();
    until(&logs, r#"log_events_total{id="E2", service="pay"}"#, 1.0).await;
    let counted: f64 = count().iter().map(|(_, value)| value).sum();
    assert!(counted > 1.0 && counted <= f64::from(sent) + 1.0, "{counted} of {sent}");
    assert!(count().iter().all(|(labels, _)| labels.get("service") == Some("pay")));
    server.kill().unwrap();
    server.wait().unwrap();
    // The input says that the server is gone and keeps trying.
    let job = metrics::Job { job: "j".into() };
    let failed = async {
        while metrics.failures.get_or_create(&job).get() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), failed).await.unwrap();
}

#[test]
fn settings_that_are_wrong_are_named() {
    let refused = |config: Config| check(&[Config { job: "j".into(), ..config }]).unwrap_err().to_string();
    assert!(refused(Config::default()).contains("exactly one"));
    let file = |path: &str| Some(FileInput { paths: vec![path.into()], ..FileInput::default() });
    assert!(
        refused(Config { file: file("/a*/b"), format: Format::Nginx, ..Config::default() })
            .contains("last part")
    );
    assert!(refused(Config { file: file("/b"), ..Config::default() }).contains("nothing to count"));
    let bad = Config { file: file("/b"), format: Format::Pattern, pattern: "(".into(), ..Config::default() };
    assert!(refused(bad).contains("pattern"));
    let nats = Some(NatsInput { stream: "a.b".into(), ..NatsInput::default() });
    assert!(refused(Config { nats, format: Format::Event, ..Config::default() }).contains("a.b"));
    let twice = Config { job: "j".into(), file: file("/b"), format: Format::Nginx, ..Config::default() };
    assert!(check(&[twice.clone(), twice]).unwrap_err().to_string().contains("two of this name"));
}
