//! Uploads of one's own making: bounds, privacy, idempotence, signed paths, roll-ups.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use clients::{Answer, Collector, Config, Metrics, Site, Upload};
use model::{Clock, Family, Timestamp};
use prometheus_client::registry::Registry;

/// A clock that is moved by hand.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) fn site(name: &str, origins: &[&str]) -> Site {
    Site { name: name.into(), origins: origins.iter().map(|o| (*o).to_owned()).collect(), ..Site::default() }
}

pub(crate) fn start(
    folder: &Path,
    change: impl FnOnce(&mut Config),
) -> (Arc<Collector>, Arc<TestClock>, Registry) {
    let mut config = Config { sites: vec![site("shop", &["https://shop.example"])], ..Config::default() };
    change(&mut config);
    let clock = Arc::new(TestClock(AtomicI64::new(1_700_000_000_000)));
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let collector =
        Collector::open(config, folder, Arc::clone(&clock) as Arc<dyn Clock>, metrics, 1).unwrap();
    (Arc::new(collector), clock, registry)
}

pub(crate) fn upload(
    collector: &Collector,
    path: &str,
    origin: Option<&str>,
    client: &str,
    body: &[u8],
) -> Answer {
    let client: IpAddr = client.parse().unwrap();
    collector.upload(&Upload { path, origin, user_agent: "Mozilla/5.0 Firefox/140.0", client, body })
}

/// Looks for planted texts in every file of a folder and in what is shown.
pub(crate) fn assert_nowhere(folder: &Path, shown: &[String], secrets: &[String]) {
    let mut stored: Vec<(String, Vec<u8>)> =
        shown.iter().map(|text| ("shown".to_owned(), text.clone().into_bytes())).collect();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                stored.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    for secret in secrets {
        for (place, bytes) in &stored {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret:?} is in {place}");
        }
    }
}

pub(crate) fn report(kind: &str, url: &str, age: i64) -> String {
    format!(
        r#"{{"age":{age},"type":"network-error","url":"{url}","user_agent":"Mozilla/5.0 Chrome/156.0.0.0 Safari/537.36","body":{{"elapsed_time":987654,"method":"GET","phase":"connection","protocol":"h2","referrer":"https://planted.example/referrer","sampling_fraction":1.0,"server_ip":"192.168.77.66","status_code":0,"type":"{kind}"}}}}"#
    )
}

pub(crate) fn value(families: &[Family], name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |have: &model::Labels| labels.iter().all(|(name, value)| have.get(name) == Some(*value));
    families
        .iter()
        .filter(|f| f.name == name)
        .flat_map(|f| &f.samples)
        .filter(|(l, _)| fits(l))
        .map(|(_, v)| v)
        .sum()
}

#[test]
fn nothing_that_tells_a_person_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (collector, _, registry) = start(folder.path(), |config| {
        config.min_clients = 1;
        config.keep_reports = model::duration::PromDuration(3_600_000);
    });
    let url = "https://user:planted-password@shop.example/planted-path?planted-query=1#planted-fragment";
    let answer = upload(
        &collector,
        "shop",
        Some("https://shop.example"),
        "198.51.100.123",
        format!("[{}]", report("tcp.reset", url, 0)).as_bytes(),
    );
    assert_eq!(answer.status, 204);
    collector.tick();
    let families = collector.families();
    assert_eq!(
        value(&families, "bellwether_client_requests_total", &[("cohort", "global"), ("group", "tcp")]),
        1.0
    );
    let shown = format!("{families:?} {:?}", collector.cohorts("shop", clients::report::Source::Nel, 5));
    assert!(shown.contains("https://shop.example") && shown.contains("private"), "{shown}");
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &registry).unwrap();
    let secrets = ["planted", "198.51.100", "192.168.77", "987654", "Mozilla"].map(str::to_owned);
    assert_nowhere(folder.path(), &[shown, metrics], &secrets);
}

#[test]
fn a_report_that_is_sent_nine_times_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let (collector, clock, _) = start(folder.path(), |config| config.min_clients = 1);
    for _ in 0..9 {
        let age = clock.now().ms() - 1_700_000_000_000;
        let body = format!("[{}]", report("tcp.reset", "https://shop.example/", age));
        assert_eq!(upload(&collector, "shop", None, "198.51.100.1", body.as_bytes()).status, 204);
        clock.advance(3000);
    }
    collector.tick();
    assert_eq!(
        value(&collector.families(), "bellwether_client_reports_total", &[("type", "tcp.reset")]),
        1.0
    );
}

#[test]
fn a_flood_from_one_prefix_is_a_handful() {
    let folder = tempfile::tempdir().unwrap();
    let (collector, clock, registry) = start(folder.path(), |_| {});
    for n in 0..4000 {
        let url = format!("https://shop.example/{n}");
        let body = format!("[{}]", report("tcp.refused", &url, 0));
        let address = format!("198.51.100.{}", n % 250);
        drop(upload(&collector, "shop", Some("https://shop.example"), &address, body.as_bytes()));
        if n % 100 == 0 {
            clock.advance(1000);
            collector.tick();
        }
    }
    collector.tick();
    assert!(collector.incidents().is_empty());
    assert!(!format!("{:?}", collector.families()).contains("tcp.refused"));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("collector_reports_total 5\n"), "{text}");
}

#[test]
fn other_sites_bad_bodies_and_old_paths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let (collector, clock, registry) = start(folder.path(), |config| {
        config.secret_file = secret;
        let signed = Site { signed: true, ..site("signed", &["https://signed.example"]) };
        let retired = Site { retired: true, ..site("retired", &["https://retired.example"]) };
        config.sites.extend([signed, retired]);
    });
    let status = |path: &str, origin: Option<&str>, body: &[u8]| {
        upload(&collector, path, origin, "198.51.100.1", body).status
    };
    assert_eq!(status("nobody", None, b"[]"), 404);
    assert_eq!(status("retired", None, b"[]"), 410);
    assert_eq!(status("signed", None, b"[]"), 403);
    let path = collector.secret().path("signed", clock.now().ms());
    assert_eq!(status(path.strip_prefix("/r/").unwrap(), None, b"[]"), 204);
    assert_eq!(status("shop", None, b"{"), 400);
    assert_eq!(status("shop", None, &[b'['; 65_537]), 413);
    assert_eq!(status("shop", None, &[b'['; 60_000]), 400);
    let body = format!(
        "[{},{}]",
        report("tcp.reset", "https://other.example/", 0),
        report("tcp.reset", "https://shop.example/", 0)
    );
    assert_eq!(status("shop", Some("https://evil.example"), body.as_bytes()), 204);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in ["reason=\"origin\"} 1", "reason=\"sender\"} 1", "collector_reports_total 0"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn kept_reports_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let change = |config: &mut Config| {
        config.min_clients = 1;
        config.keep_reports = model::duration::PromDuration(3_600_000);
    };
    let (collector, _, _) = start(folder.path(), change);
    let body = format!("[{}]", report("tcp.reset", "https://shop.example/", 0));
    assert_eq!(upload(&collector, "shop", None, "198.51.100.1", body.as_bytes()).status, 204);
    // Not even a tick: acknowledged is on disk.
    drop(collector);
    let (collector, _, _) = start(folder.path(), change);
    collector.tick();
    assert_eq!(
        value(&collector.families(), "bellwether_client_reports_total", &[("type", "tcp.reset")]),
        1.0
    );
}

#[test]
fn sums_roll_up_once() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let change = |config: &mut Config| {
        config.min_clients = 1;
        config.secret_file = secret.clone();
        config.push.url = "http://127.0.0.1:1".into();
    };
    let (edge, _, _) = start(folder.path(), change);
    let (upper, _, _) = start(folder.path(), change);
    let body = format!("[{}]", report("tcp.reset", "https://shop.example/", 0));
    upload(&edge, "shop", None, "198.51.100.1", body.as_bytes());
    edge.tick();
    let rollup = edge.take_rollup("edge", 1).unwrap();
    assert!(edge.take_rollup("edge", 2).is_none());
    let bytes = rollup.encode().unwrap();
    let signature = edge.secret().sign_body(&bytes);
    assert_eq!(upper.receive(&bytes, "00").status, 403);
    assert_eq!(upper.receive(b"x", &upper.secret().sign_body(b"x")).status, 400);
    for _ in 0..3 {
        assert_eq!(upper.receive(&bytes, &signature).status, 204);
    }
    upper.tick();
    let families = upper.families();
    assert_eq!(value(&families, "bellwether_client_reports_total", &[("type", "tcp.reset")]), 1.0);
    assert_eq!(
        value(
            &families,
            "bellwether_client_requests_total",
            &[("cohort", "origin"), ("value", "https://shop.example"), ("group", "tcp")]
        ),
        1.0
    );
    assert!(upper.take_rollup("region", 1).is_some(), "a region passes on what it was sent");
}

#[test]
fn a_reload_changes_sites_and_keeps_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (collector, _, _) = start(folder.path(), |config| config.min_clients = 1);
    let send = |path: &str, kind: &str| {
        let body = format!("[{}]", report(kind, &format!("https://{path}.example/"), 0));
        upload(&collector, path, None, "198.51.100.1", body.as_bytes()).status
    };
    assert_eq!((send("shop", "tcp.reset"), send("news", "tcp.reset")), (204, 404));
    let mut config = collector.config().clone();
    config.sites = vec![site("news", &["https://news.example"])];
    assert!(collector.reload(&config).unwrap(), "everything is in force");
    assert_eq!((send("shop", "tcp.refused"), send("news", "tcp.refused")), (404, 204));
    collector.tick();
    let count = |site: &str, kind: &str| {
        value(&collector.families(), "bellwether_client_reports_total", &[("site", site), ("type", kind)])
    };
    assert_eq!((count("shop", "tcp.reset"), count("shop", "tcp.refused")), (1.0, 0.0));
    assert_eq!(count("news", "tcp.refused"), 1.0);
    config.sites[0].retired = true;
    config.max_reports = 7;
    assert!(!collector.reload(&config).unwrap(), "the number of reports needs a restart");
    assert_eq!(send("news", "tcp.reset"), 410);
    config.sites[0].origins = vec!["nonsense".into()];
    assert!(collector.reload(&config).unwrap_err().to_string().contains("nonsense"));
    assert_eq!(send("news", "tcp.reset"), 410, "a wrong configuration changes nothing");
}
