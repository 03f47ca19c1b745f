//! Scraping against servers of our own on the loopback, real time in milliseconds.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::batch::SeriesKey;
use model::duration::PromDuration;
use model::seam::BoxFuture;
use model::{
    Appended, Appender, Batch, Family, Labels, Metadata, MetricType, SeamError, SeriesRef, TenantId, is_stale,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Mode, PrometheusFile};

/// A storage in memory: gives references, remembers samples by series text.
#[derive(Default)]
struct Store(Mutex<Stored>);

#[derive(Default)]
struct Stored {
    names: Vec<Labels>,
    samples: BTreeMap<String, Vec<(i64, f64)>>,
    metadata: BTreeMap<String, Metadata>,
    by_labels: usize,
    /// References below this are forgotten.
    forgotten: u64,
}

impl Appender for Store {
    fn append<'a>(&'a self, _: &'a TenantId, batch: &'a Batch) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            let mut store = self.0.lock();
            let mut appended = Appended::default();
            for (index, key) in batch.series().iter().enumerate() {
                let reference = match key {
                    SeriesKey::Ref(r) if r.0 < store.forgotten => {
                        appended.unknown_refs.push(index as u32);
                        None
                    }
                    SeriesKey::Ref(r) => Some(*r),
                    SeriesKey::Labels(_) => {
                        store.by_labels += 1;
                        let labels = Labels::from_encoded(batch.label_bytes(index as u32).unwrap()).unwrap();
                        store.names.push(labels);
                        Some(SeriesRef(store.names.len() as u64 - 1))
                    }
                };
                appended.refs.push(reference);
            }
            for sample in batch.floats() {
                let Some(reference) = appended.refs[sample.series as usize] else { continue };
                let name = store.names[reference.0 as usize].to_string();
                store.samples.entry(name).or_default().push((sample.time, sample.value));
                appended.accepted += 1;
            }
            store.metadata.extend(batch.metadata().iter().cloned());
            Ok(appended)
        })
    }
}

impl Store {
    fn last(&self, series: &str) -> Option<f64> {
        self.0.lock().samples.get(series)?.last().map(|s| s.1)
    }
    fn count(&self, series: &str) -> usize {
        self.0.lock().samples.get(series).map_or(0, Vec::len)
    }
    /// Waits until `done` holds; the state after ten seconds otherwise.
    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what} did not happen: {:#?}", self.0.lock().samples);
    }
}

fn scraper() -> (Arc<Store>, Scraper) {
    let store = Arc::new(Store::default());
    let mut registry = prometheus_client::registry::Registry::default();
    let parts = Parts {
        appender: Arc::<Store>::clone(&store),
        clock: Arc::new(model::time::SystemClock),
        tenant: TenantId::default(),
        metrics: Metrics::new(&mut registry),
        seed: 42,
        max_body_bytes: 1 << 20,
        agents: None,
    };
    (store, Scraper::new(parts))
}

/// A server that answers every request with what `answer` says, then closes.
async fn serve(answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        let mut count = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = answer(count);
            count += 1;
            tokio::spawn(async move {
                let mut head = [0; 8192];
                if stream.read(&mut head).await.is_ok() && stream.write_all(&body).await.is_ok() {
                    stream.shutdown().await.ok();
                }
            });
        }
    });
    addr
}

fn text(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn jobs(yaml: &str) -> Vec<crate::ScrapeConfig> {
    let file = PrometheusFile::parse(yaml, std::path::Path::new("test.yml"), Mode::Server).unwrap();
    file.scrape_configs
}

fn job(addr: SocketAddr, more: &str) -> Vec<crate::ScrapeConfig> {
    jobs(&format!(
        "scrape_configs:\n  - job_name: j\n    scrape_interval: 50ms\n    static_configs: [{{targets: ['{addr}']}}]\n{more}"
    ))
}

#[tokio::test]
async fn samples_up_and_staleness() {
    let addr = serve(|n| match n {
        0..=2 => text("# HELP a help\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 2\na{x=\"2\"} 3\n"),
        3..=5 => text("# HELP a help\n# TYPE a gauge\na{x=\"2\"} 5\n"),
        6 => b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
        _ => text("a{x=\"2\"} 6\n"),
    })
    .await;
    let (store, scraper) = scraper();
    scraper.apply(job(addr, "")).await.unwrap();
    let series = |name: &str, x: &str| format!("{name}{{instance=\"{addr}\", job=\"j\"{x}}}");
    let (one, two, up) = (series("a", ", x=\"1\""), series("a", ", x=\"2\""), series("up", ""));
    store.until("recovery", |s| s.last(&two) == Some(6.0)).await;
    {
        let stored = store.0.lock();
        let values = |name: &str| stored.samples[name].iter().map(|s| s.1).collect::<Vec<_>>();
        assert_eq!(values(&one)[..3], [1.0; 3]);
        assert!(is_stale(values(&one)[3]) && values(&one).len() == 4, "it ended once: {:?}", values(&one));
        let two = values(&two);
        assert_eq!(two[..6], [2.0, 2.0, 2.0, 5.0, 5.0, 5.0]);
        assert!(is_stale(two[6]) && two[7] == 6.0, "the failed scrape is a gap: {two:?}");
        assert_eq!(values(&up)[..8], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]);
        assert_eq!(values(&series("scrape_series_added", ""))[..2], [2.0, 0.0]);
        assert_eq!(values(&series("scrape_samples_scraped", ""))[0], 3.0);
        assert_eq!(stored.metadata["a"].kind, MetricType::Gauge);
        assert_eq!(stored.metadata["a"].help, "help");
        // Two series of the body, five of the scrape: each named once by its labels.
        assert_eq!(stored.by_labels, 7);
        let times: Vec<i64> = stored.samples[&up].iter().map(|s| s.0).collect();
        assert!(times.windows(2).all(|w| w[1] > w[0]));
    }
    let status = scraper.snapshot();
    assert_eq!(status[0].active[0].health, Health::Up);
    assert_eq!(status[0].active[0].scrape_url, format!("http://{addr}/metrics"));
    scraper.apply(Vec::new()).await.unwrap();
    assert!(is_stale(store.last(&two).unwrap()) && is_stale(store.last(&up).unwrap()));
    assert!(scraper.snapshot().is_empty());
}

#[tokio::test]
async fn a_storage_that_forgets_gets_the_labels_again() {
    let addr = serve(|_| text("a 1\nb 2\n")).await;
    let (store, scraper) = scraper();
    scraper.apply(job(addr, "")).await.unwrap();
    let a = format!("a{{instance=\"{addr}\", job=\"j\"}}");
    store.until("two scrapes", |s| s.count(&a) >= 2).await;
    store.0.lock().forgotten = 7;
    store.until("more scrapes", |s| s.count(&a) >= 6).await;
    {
        let stored = store.0.lock();
        assert_eq!(stored.by_labels, 14, "each series once more");
        let times: Vec<i64> = stored.samples[&a].iter().map(|s| s.0).collect();
        let ups = stored.samples.iter().find(|(name, _)| name.starts_with("up{")).unwrap().1;
        assert_eq!(times, ups.iter().map(|s| s.0).collect::<Vec<_>>(), "no scrape is missing");
    }
    scraper.shutdown().await;
    assert!(!is_stale(store.last(&a).unwrap()), "the end of the process ends no series");
}

#[tokio::test]
async fn labels_relabelling_and_dropped_targets() {
    let addr = serve(|_| text("a{job=\"mine\",x=\"1\"} 1\ndrop_me 1\n")).await;
    let (store, scraper) = scraper();
    let more = "    metric_relabel_configs: [{source_labels: [__name__], regex: 'drop.*', action: drop}]
    relabel_configs:
      - {source_labels: [__address__], regex: 'nobody.*', action: drop}
      - {target_label: dc, replacement: north}
";
    let mut with = job(addr, more);
    with[0].static_configs[0].targets.push("nobody:1".into());
    scraper.apply(with).await.unwrap();
    let name = format!("a{{dc=\"north\", exported_job=\"mine\", instance=\"{addr}\", job=\"j\", x=\"1\"}}");
    store.until("a sample", |s| s.count(&name) > 1).await;
    let kept =
        format!("scrape_samples_post_metric_relabeling{{dc=\"north\", instance=\"{addr}\", job=\"j\"}}");
    assert_eq!(store.last(&kept), Some(1.0));
    let pool = &scraper.snapshot()[0];
    assert_eq!((pool.dropped_count, pool.dropped[0].rule), (1, 0));
    assert!(pool.dropped[0].reason.contains("nobody.*"), "{}", pool.dropped[0].reason);
    // With honor_labels the target's own label wins; the target itself goes on.
    scraper
        .apply(job(
            addr,
            "    honor_labels: true\n    relabel_configs: [{target_label: dc, replacement: north}]\n",
        ))
        .await
        .unwrap();
    let name = format!("a{{dc=\"north\", instance=\"{addr}\", job=\"mine\", x=\"1\"}}");
    store.until("a sample", |s| s.count(&name) > 1).await;
    assert_eq!(store.0.lock().samples.keys().filter(|k| k.starts_with("up")).count(), 1);
    scraper.shutdown().await;
}

#[tokio::test]
async fn misery_stays_with_its_target() {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..16 {
        gz.write_all(&vec![b'\n'; 1 << 20]).unwrap();
    }
    let gz = gz.finish().unwrap();
    let mut bomb = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        gz.len()
    )
    .into_bytes();
    bomb.extend_from_slice(&gz);
    let raw = |text: &'static str| text.as_bytes().to_vec();
    let endless = {
        let mut body = raw("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n");
        body.resize(3 << 20, b'#');
        body
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "hang",
            raw("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\na"),
            "exchange",
        ),
        ("bomb", bomb, "larger than the limit of 1048576 bytes"),
        ("endless", endless, "larger than the limit of 1048576 bytes"),
        (
            "loop",
            raw("HTTP/1.1 302 Found\r\nlocation: /metrics\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
            "redirects too often",
        ),
        (
            "html",
            raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n"),
            "unsupported Content-Type \"text/html\"",
        ),
        ("blank", raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), "blank Content-Type"),
        (
            "utf8",
            {
                let mut t = text("a{b=\"XX\"} 1\n");
                let at = t.iter().position(|b| *b == b'X').unwrap();
                t[at] = 0xff;
                t
            },
            "not UTF-8",
        ),
        ("twice", text("a{b=\"1\",b=\"2\"} 1\n"), "label name \"b\" is not unique"),
        ("junk", text("a 1\n}{\n"), "line 2"),
        ("many", text("a 1\nb 1\nc 1\nd 1\n"), "sample limit exceeded"),
        ("long", text("a{b=\"0123456789012345678901234567890\"} 1\n"), "label_value_length_limit exceeded"),
        ("nohttp", raw("SSH-2.0-OpenSSH\r\n"), "exchange"),
    ];
    let mut targets = Vec::new();
    let mut expected = BTreeMap::new();
    for (name, answer, reason) in cases {
        let addr = serve(move |_| answer.clone()).await;
        targets.push(format!("'{addr}'"));
        expected.insert(addr.to_string(), (name, reason));
    }
    // A socket that accepts and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap();
    targets.push(format!("'{addr}'"));
    expected.insert(addr.to_string(), ("silent", "no complete answer"));
    let good = serve(|_| text("a 1\n")).await;
    targets.push(format!("'{good}'"));
    let (store, scraper) = scraper();
    scraper
        .apply(jobs(&format!(
            "scrape_configs:\n  - job_name: j\n    scrape_interval: 400ms\n    sample_limit: 3\n    label_value_length_limit: 25\n    static_configs: [{{targets: [{}]}}]",
            targets.join(",")
        )))
        .await
        .unwrap();
    let up = |addr: &str| format!("up{{instance=\"{addr}\", job=\"j\"}}");
    store
        .until("all scraped", |s| {
            s.count(&up(&good.to_string())) > 1 && expected.keys().all(|a| s.count(&up(a)) > 0)
        })
        .await;
    assert_eq!(store.last(&up(&good.to_string())), Some(1.0));
    for target in &scraper.snapshot()[0].active {
        let instance = target.labels.get("instance").unwrap();
        let Some((name, reason)) = expected.get(instance) else { continue };
        assert_eq!(store.last(&up(instance)), Some(0.0), "{name}");
        assert!(target.last_error.contains(reason), "{name}: {}", target.last_error);
        assert_eq!(target.health, Health::Down);
    }
    let is_stray = |k: &String| k.starts_with("a{") && !k.contains(&good.to_string());
    assert!(!store.0.lock().samples.keys().any(is_stray));
    scraper.shutdown().await;
}

#[tokio::test]
async fn sources_in_process_look_like_targets() {
    let (store, scraper) = scraper();
    let collect: Collector = Arc::new(|| {
        Box::pin(async {
            vec![Family {
                name: "node_load1".into(),
                metadata: Metadata { kind: MetricType::Gauge, help: "load".into(), unit: String::new() },
                samples: vec![(Labels::empty(), 0.5)],
            }]
        })
    });
    scraper.add(&InProcess {
        job: "node".into(),
        instance: "here".into(),
        labels: BTreeMap::new(),
        interval: PromDuration(100),
        timeout: PromDuration(100),
        honor_labels: false,
        collect,
        wake: None,
    });
    store.until("samples", |s| s.count("node_load1{instance=\"here\", job=\"node\"}") > 2).await;
    assert_eq!(store.last("up{instance=\"here\", job=\"node\"}"), Some(1.0));
    assert_eq!(store.0.lock().metadata["node_load1"].help, "load");
    let status = scraper.snapshot();
    assert_eq!((status[0].name.as_str(), status[0].active[0].health), ("node", Health::Up));
    scraper.shutdown().await;
}

#[tokio::test]
async fn a_source_in_process_that_names_a_series_twice_is_told() {
    let (store, scraper) = scraper();
    let twice = Labels::from_pairs([("__name__", "node_load5")]);
    let collect: Collector = Arc::new(move || {
        let samples = vec![(twice.clone(), 0.5)];
        Box::pin(
            async move { vec![Family { name: "node_load1".into(), metadata: Metadata::default(), samples }] },
        )
    });
    scraper.add(&InProcess {
        job: "node".into(),
        instance: "here".into(),
        labels: BTreeMap::new(),
        interval: PromDuration(100),
        timeout: PromDuration(100),
        honor_labels: false,
        collect,
        wake: None,
    });
    store.until("a scrape", |s| s.count("up{instance=\"here\", job=\"node\"}") > 0).await;
    assert_eq!(store.last("up{instance=\"here\", job=\"node\"}"), Some(0.0));
    let error = scraper.snapshot()[0].active[0].last_error.clone();
    assert!(error.contains("label name \"__name__\" is not unique"), "{error}");
    assert!(!store.0.lock().samples.keys().any(|series| series.starts_with("node_load")));
    scraper.shutdown().await;
}

#[tokio::test]
async fn files_are_read_again_when_they_change() {
    let addr = serve(|_| text("a 1\n")).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.json");
    let write = |targets: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, format!("[{{\"targets\":[{targets}],\"labels\":{{\"l\":\"1\"}}}}]")).unwrap();
        std::fs::rename(&new, &path).unwrap();
    };
    write(&format!("\"{addr}\""));
    let (store, scraper) = scraper();
    let yaml = format!(
        "scrape_configs:\n  - job_name: j\n    scrape_interval: 50ms\n    file_sd_configs: [{{files: ['{}/*.json']}}]",
        folder.path().display()
    );
    scraper.apply(jobs(&yaml)).await.unwrap();
    let a = format!("a{{instance=\"{addr}\", job=\"j\", l=\"1\"}}");
    store.until("a sample", |s| s.count(&a) > 0).await;
    assert_eq!(
        scraper.snapshot()[0].active[0].discovered_labels.get("__meta_filepath").unwrap(),
        path.to_str().unwrap()
    );
    std::fs::write(&path, "nonsense").unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while scraper.snapshot()[0].problems.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(scraper.snapshot()[0].active.len(), 1, "what the file said before stays");
    write("");
    store.until("the end", |s| is_stale(s.last(&a).unwrap())).await;
    scraper.shutdown().await;
}

#[tokio::test]
async fn a_real_node_exporter() {
    let Some(program) = testkit::peer::peer(&["prometheus-node-exporter", "node_exporter"]) else { return };
    // The port is free now; the exporter takes it at once.
    let addr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut exporter = std::process::Command::new(program)
        .arg(format!("--web.listen-address={addr}"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (store, scraper) = scraper();
    let yaml = format!(
        "scrape_configs:\n  - job_name: node\n    scrape_interval: 500ms\n    static_configs: [{{targets: ['{addr}']}}]"
    );
    scraper.apply(jobs(&yaml)).await.unwrap();
    let report = |name: &str| format!("{name}{{instance=\"{addr}\", job=\"node\"}}");
    store
        .until("five good scrapes", |s| {
            s.0.lock()
                .samples
                .get(&report("up"))
                .is_some_and(|u| u.iter().filter(|s| s.1 == 1.0).count() >= 5)
        })
        .await;
    {
        let stored = store.0.lock();
        let scraped = stored.samples[&report("scrape_samples_scraped")].last().unwrap().1;
        let named = stored.by_labels;
        println!("samples a scrape: {scraped}, series named by labels: {named} of {}", stored.samples.len());
        assert!(scraped > 200.0);
        assert!(named <= stored.samples.len() + 8, "steady series go by reference");
        assert!(stored.samples.contains_key(&format!("node_load1{{instance=\"{addr}\", job=\"node\"}}")));
        assert_eq!(stored.metadata["node_load1"].kind, MetricType::Gauge);
        assert_eq!(stored.metadata["node_cpu_seconds_total"].kind, MetricType::Counter);
    }
    exporter.kill().unwrap();
    exporter.wait().unwrap();
    store.until("the end", |s| s.last(&report("up")) == Some(0.0)).await;
    let load = format!("node_load1{{instance=\"{addr}\", job=\"node\"}}");
    assert!(is_stale(store.last(&load).unwrap()));
    assert!(scraper.snapshot()[0].active[0].last_error.contains("refused"));
    scraper.shutdown().await;
}

#[tokio::test]
async fn drips_floods_and_bad_tls_end_in_time_and_by_name() {
    // One byte at a time, for ever; as much as the client takes, for ever; no TLS where TLS is asked for.
    async fn forever(part: Vec<u8>, pause: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let part = part.clone();
                tokio::spawn(async move {
                    let mut head = [0; 8192];
                    if !stream.read(&mut head).await.is_ok_and(|length| length > 0) {
                        return;
                    }
                    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n";
                    if stream.write_all(head).await.is_err() {
                        return;
                    }
                    while stream.write_all(&part).await.is_ok() {
                        tokio::time::sleep(pause).await;
                    }
                });
            }
        });
        addr
    }
    let drip = forever(b"a".to_vec(), Duration::from_millis(100)).await;
    let flood = forever(vec![b'#'; 64 << 10], Duration::ZERO).await;
    let plain = serve(|_| text("a 1\n")).await;
    let good = serve(|_| text("a 1\n")).await;
    let (store, scraper) = scraper();
    scraper
        .apply(jobs(&format!(
            "scrape_configs:\n  - job_name: j\n    scrape_interval: 1s\n    static_configs: [{{targets: ['{drip}', '{flood}', '{good}']}}]\n  - job_name: tls\n    scheme: https\n    scrape_interval: 1s\n    static_configs: [{{targets: ['{plain}']}}]"
        )))
        .await
        .unwrap();
    let up = |job: &str, addr: SocketAddr| format!("up{{instance=\"{addr}\", job=\"{job}\"}}");
    store
        .until("all scraped", |s| {
            let all = [up("j", drip), up("j", flood), up("tls", plain)];
            all.iter().all(|name| s.count(name) > 0) && s.last(&up("j", good)) == Some(1.0)
        })
        .await;
    let error = |addr: SocketAddr| {
        let pools = scraper.snapshot();
        let target =
            pools.iter().flat_map(|pool| &pool.active).find(|t| t.scrape_url.contains(&addr.to_string()));
        target.unwrap().last_error.clone()
    };
    for (addr, expected) in [
        (drip, "no complete answer"),
        (flood, "larger than the limit of 1048576 bytes"),
        (plain, "cannot connect"),
    ] {
        assert!(error(addr).contains(expected), "{addr}: {}", error(addr));
    }
    scraper.shutdown().await;
}

#[tokio::test]
async fn a_type_that_changes_is_described_again() {
    let addr = serve(|n| match n {
        0..=2 => text("# TYPE a counter\na 1\n"),
        _ => text("# TYPE a gauge\na 2\n"),
    })
    .await;
    let (store, scraper) = scraper();
    scraper.apply(job(addr, "")).await.unwrap();
    store
        .until("the first type", |s| {
            s.0.lock().metadata.get("a").is_some_and(|m| m.kind == MetricType::Counter)
        })
        .await;
    store
        .until("the other type", |s| {
            s.0.lock().metadata.get("a").is_some_and(|m| m.kind == MetricType::Gauge)
        })
        .await;
    assert_eq!(store.last(&format!("up{{instance=\"{addr}\", job=\"j\"}}")), Some(1.0));
    scraper.shutdown().await;
}

#[tokio::test]
async fn failed_scrapes_are_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failed.log");
    let addr = serve(|_| b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()).await;
    let (store, scraper) = scraper();
    let config =
        |path: &std::path::Path| job(addr, &format!("    scrape_failure_log_file: {}\n", path.display()));
    scraper.apply(config(&path)).await.unwrap();
    let up = format!("up{{instance=\"{addr}\", job=\"j\"}}");
    store.until("two scrapes", |s| s.count(&up) > 1).await;
    // A thread writes.
    let written = async |path: &std::path::Path| loop {
        match tokio::fs::read_to_string(path).await {
            Ok(text) if text.ends_with('\n') => return text,
            _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    let text = written(&path).await;
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["job_name"], "j");
    assert_eq!(line["target"], format!("http://{addr}/metrics"));
    assert!(line["msg"].as_str().unwrap().contains("503"), "{line}");
    assert!(line["time"].as_str().unwrap().starts_with("20"), "{line}");
    // Moved away by a rotation: a reload goes on in a new file.
    std::fs::rename(&path, folder.path().join("failed.log.1")).unwrap();
    scraper.apply(config(&path)).await.unwrap();
    let before = store.count(&up);
    store.until("two more", |s| s.count(&up) > before + 1).await;
    assert!(!written(&path).await.is_empty());
    let err = scraper.apply(config(&folder.path().join("no/such/folder"))).await.unwrap_err();
    assert!(err.to_string().contains("scrape_failure_log_file"), "{err}");
    scraper.shutdown().await;
}
