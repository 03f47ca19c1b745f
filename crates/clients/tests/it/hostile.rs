//! What strangers can send: it changes no verdict and costs no more memory than the settings say.

use std::net::Ipv4Addr;

use clients::{Collector, Upload};
use prometheus_client::registry::Registry;

use crate::collector::{TestClock, report, start, upload};

const AGENTS: [&str; 9] = [
    "curl/8",
    "Chrome/156.0",
    "Chrome/156.0 Edg/156.0",
    "Firefox/140.0",
    "Version/19.0 Safari/605",
    "Chrome/156.0 OPR/120",
    "SamsungBrowser/29.0",
    "HeadlessChrome/156.0",
    "somebot/1",
];

/// A minute of people: 80 prefixes, a success each, every 40th a failure.
fn people(collector: &Collector, minute: u32) {
    for client in 0..80u32 {
        let kind = if (client + minute).is_multiple_of(40) { "tcp.reset" } else { "ok" };
        let body = format!("[{}]", report(kind, &format!("https://shop.example/{minute}/{client}"), 0));
        let address = Ipv4Addr::from(0x0a00_0000 + (client << 8)).to_string();
        let answer = upload(collector, "shop", Some("https://shop.example"), &address, body.as_bytes());
        assert_eq!(answer.status, 204);
    }
}

/// Ten minutes of people, then five of people and strangers; looked at every ten seconds.
fn stormed(
    mut strangers: impl FnMut(&Collector, u32),
) -> (tempfile::TempDir, std::sync::Arc<Collector>, std::sync::Arc<TestClock>, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let (collector, clock, registry) = start(folder.path(), |config| {
        config.limits.remembered = 30_000;
        config.limits.cells = 500;
    });
    for minute in 0..15 {
        people(&collector, minute);
        for tenth in 0..6 {
            if minute >= 10 {
                strangers(&collector, minute * 6 + tenth);
            }
            clock.advance(10_000);
            collector.tick();
        }
    }
    (folder, collector, clock, registry)
}

fn metric(registry: &Registry, line: &str) -> f64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let found = text.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("{line} is not in {text}"))
}

#[test]
fn a_forged_flood_of_one_prefix_under_every_browser_changes_no_verdict() {
    let mut sent = 0u64;
    let (_folder, collector, _, registry) = stormed(|collector, round| {
        for n in 0..400u32 {
            let kind = ["tcp.refused", "dns.failed", "tls.cert.date_invalid", "http.error"][n as usize % 4];
            let body = format!("[{}]", report(kind, &format!("https://shop.example/{round}/{n}"), 0))
                .replace("Mozilla/5.0 Chrome/156.0.0.0 Safari/537.36", AGENTS[n as usize % AGENTS.len()]);
            let address = format!("198.51.100.{}", n % 250);
            drop(upload(collector, "shop", Some("https://shop.example"), &address, body.as_bytes()));
            sent += 1;
        }
    });
    assert_eq!(sent, 12_000);
    assert!(collector.incidents().is_empty(), "{:?}", collector.incidents());
    assert!(metric(&registry, "collector_reports_refused_total{reason=\"contribution\"}") > 10_000.0);
    assert!(!format!("{:?}", collector.families()).contains("tls.cert.date_invalid"));
}

#[test]
fn other_origins_and_replays_change_no_verdict() {
    let stolen = format!("[{}]", report("tcp.refused", "https://shop.example/a", 0));
    let (_folder, collector, _, registry) = stormed(|collector, round| {
        for n in 0..200u32 {
            let address = Ipv4Addr::from(0x0b00_0000 + (((n * 7 + round) % 4000) << 8)).to_string();
            // A page of somebody else, in many browsers; and reports about somebody else.
            let body =
                format!("[{}]", report("tcp.refused", &format!("https://shop.example/{round}/{n}"), 0));
            drop(upload(collector, "shop", Some("https://evil.example"), &address, body.as_bytes()));
            let body =
                format!("[{}]", report("tcp.refused", &format!("https://evil.example/{round}/{n}"), 0));
            drop(upload(collector, "shop", Some("https://evil.example"), &address, body.as_bytes()));
            // One upload again and again.
            drop(upload(collector, "shop", Some("https://shop.example"), "198.51.100.1", stolen.as_bytes()));
        }
    });
    assert!(collector.incidents().is_empty(), "{:?}", collector.incidents());
    assert_eq!(metric(&registry, "collector_reports_refused_total{reason=\"sender\"}"), 6000.0);
    assert_eq!(metric(&registry, "collector_reports_refused_total{reason=\"origin\"}"), 6000.0);
    assert!(metric(&registry, "collector_reports_refused_total{reason=\"duplicate\"}") > 3000.0);
}

#[test]
fn large_deep_and_endless_uploads_cost_bounded_memory() {
    let deep = format!("[{}", "{\"body\":".repeat(7000));
    let nested = format!(
        "[{}]",
        report("tcp.reset", "https://shop.example/", 0)
            .replace("\"GET\"", &format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000)))
    );
    let (_folder, collector, _, registry) = stormed(|collector, round| {
        for n in 0..300u32 {
            let address = Ipv4Addr::from(0x0c00_0000 + ((round * 300 + n) << 8));
            let upload = |body: &[u8]| {
                collector.upload(&Upload {
                    path: "shop",
                    origin: None,
                    user_agent: "",
                    client: address.into(),
                    body,
                })
            };
            assert_eq!(upload(&vec![b' '; 65_537]).status, 413);
            assert_eq!(upload(deep.as_bytes()).status, 400);
            // New clients, addresses of servers and types without end.
            let body = report("ok", "https://shop.example/", 0).replace(
                "192.168.77.66",
                &Ipv4Addr::from(0x0800_0000 + ((round * 300 + n) << 8)).to_string(),
            );
            assert_eq!(upload(format!("[{body}]").as_bytes()).status, 204);
        }
        assert!(upload(collector, "shop", None, "198.51.100.9", nested.as_bytes()).status < 500);
    });
    assert!(collector.incidents().is_empty(), "{:?}", collector.incidents());
    assert!(metric(&registry, "collector_remembered") <= 30_000.0);
    // Sites, types, sources and countries remain apart beyond the bound; there are few.
    assert!(metric(&registry, "collector_cells") <= 600.0, "{}", metric(&registry, "collector_cells"));
    assert!(metric(&registry, "collector_reports_folded_total") > 1000.0);
}
