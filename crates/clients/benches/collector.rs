//! How many reports a second does one core take? Uploads of ten reports of 10,000 network prefixes in 50 networks, seed 1, and how much
//! memory does a collector take that knows a million cells?
//!
//! `cargo bench -p clients`. Figures: CPU seconds of this process, and the resident set.
#![expect(clippy::print_stdout, reason = "a benchmark tells its figures")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use clients::cell::{Cell, Cells, Count};
use clients::class::Class;
use clients::report::Source;
use clients::{Collector, Config, Metrics, Site, Upload};
use model::{Clock, Timestamp};
use prometheus_client::registry::Registry;

struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Seconds of processor time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // First: a heap that has been used before would hide it.
    memory()?;
    const REPORTS: usize = 1_000_000;
    const BATCH: usize = 10;
    let folder = std::env::temp_dir();
    let mut registry = Registry::default();
    let clock = Arc::new(Hands(AtomicI64::new(1_700_000_000_000)));
    let config = Config {
        sites: vec![Site { name: "s".into(), origins: vec!["https://s.example".into()], ..Site::default() }],
        ..Config::default()
    };
    let collector = Collector::open(
        config,
        &folder,
        Arc::clone(&clock) as Arc<dyn Clock>,
        Metrics::new(&mut registry),
        1,
    )?;
    let kinds = [
        ("application", "ok", 200),
        ("connection", "tcp.reset", 0),
        ("dns", "dns.name_not_resolved", 0),
        ("application", "http.error", 503),
    ];
    let bodies: Vec<String> = (0..1000)
        .map(|n| {
            let report = |m: usize| {
                let (phase, kind, status) = kinds[if (n + m).is_multiple_of(20) { n % 4 } else { 0 }];
                format!(
                    r#"{{"age":{},"body":{{"elapsed_time":{},"method":"GET","phase":"{phase}","protocol":"h2","referrer":"https://s.example/p/{m}","sampling_fraction":0.05,"server_ip":"198.51.{}.7","status_code":{status},"type":"{kind}"}},"type":"network-error","url":"https://s.example/path/{n}?q={m}","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"}}"#,
                    m * 700, n * 3 + m, n % 5
                )
            };
            format!("[{}]", (0..BATCH).map(report).collect::<Vec<_>>().join(","))
        })
        .collect();
    let start = cpu_seconds();
    for upload in 0..REPORTS / BATCH {
        if upload % 1000 == 0 {
            clock.0.fetch_add(1000, Ordering::Relaxed);
            collector.tick();
        }
        let address = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (upload % 10_000 * 256) as u32));
        let answer = collector.upload(&Upload {
            path: "s",
            origin: Some("https://s.example"),
            user_agent: "",
            client: address,
            body: bodies[upload % bodies.len()].as_bytes(),
        });
        assert_eq!(answer.status, 204, "{}", answer.message);
    }
    let used = cpu_seconds() - start;
    println!("{REPORTS} reports in {used:.2} CPU s: {:.0} reports a CPU second", REPORTS as f64 / used);

    Ok(())
}

/// A collector that has heard of a million combinations of cohorts within a quarter of an hour, through its front door.
fn memory() -> Result<(), Box<dyn std::error::Error>> {
    const CELLS: usize = 1_000_000;
    let before = resident_bytes();
    let clock = Arc::new(Hands(AtomicI64::new(1_700_000_000_000)));
    let config = Config {
        sites: vec![Site {
            name: "s".into(),
            origins: vec!["https://*.s.example".into()],
            ..Site::default()
        }],
        ..Config::default()
    };
    let collector = Collector::open(
        config,
        &std::env::temp_dir(),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Metrics::new(&mut Registry::default()),
        1,
    )?;
    let (types, protocols) = (
        ["ok", "tcp.reset", "tcp.refused", "dns.failed", "http.protocol.error"],
        ["http/1.1", "h2", "h3", ""],
    );
    let browsers = ["Chrome/156", "Edg/156", "Firefox/140", "Safari/605", "OPR/120"];
    // Of fifty reports 27 count: a client's failures of one kind do five times.
    for upload in 0..CELLS / 27 {
        if upload % 400 == 0 {
            clock.0.fetch_add(7000, Ordering::Relaxed);
            collector.tick();
        }
        // Fifty reports: every type and protocol, and some of the minutes; browser and server's network by the upload.
        let report = |m: usize| {
            format!(
                r#"{{"age":{},"body":{{"phase":"application","protocol":"{}","sampling_fraction":1,"server_ip":"11.{}.{}.7","status_code":200,"type":"{}"}},"type":"network-error","url":"https://o{}.s.example/{upload}/{m}","user_agent":"{}"}}"#,
                m / 20 * 60_000,
                protocols[m % 4],
                upload % 1000 / 250,
                upload % 250,
                types[m / 4 % 5],
                upload / 5000,
                browsers[upload / 1000 % 5]
            )
        };
        let body = format!("[{}]", (0..50).map(report).collect::<Vec<_>>().join(","));
        let answer = collector.upload(&Upload {
            path: "s",
            origin: None,
            user_agent: "",
            client: IpAddr::V4(Ipv4Addr::from(0x0c00_0000 + (upload * 256) as u32)),
            body: body.as_bytes(),
        });
        assert_eq!(answer.status, 204, "{}", answer.message);
    }
    collector.tick();
    let cells = collector.metrics().cells.get();
    println!(
        "a collector with {cells} cells and {} clients and reports remembered: {} MB more than before",
        collector.metrics().remembered.get(),
        (resident_bytes() - before) >> 20
    );

    let before = resident_bytes();
    let mut cells = Cells::new(CELLS);
    let class = Class::named("ok").ok_or("no class")?;
    for n in 0..CELLS as u32 {
        let cell = Cell {
            site: 0,
            origin: 1,
            pop: (n % 7) as u16,
            class,
            source: Source::Nel,
            protocol: (n % 4) as u8,
            browser: (n % 8) as u8,
            country: [b'A' + (n % 26) as u8, b'A' + (n / 26 % 26) as u8],
            asn: n,
        };
        cells.add(i64::from(n % 10), cell, &Count { reports: 1, weight: 1.0, square: 1.0, clients: 1 });
    }
    println!("{} cells alone: {} MB", cells.len(), (resident_bytes() - before) >> 20);
    Ok(())
}
