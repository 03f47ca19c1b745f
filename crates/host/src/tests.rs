//! The collectors on this host, and the schedule of one collection.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use model::duration::PromDuration;
use model::time::SystemClock;
use model::{Clock, Family};

use crate::{Collector, Config, Error, Files, Host, Output};

fn host(config: &Config) -> Host {
    Host::new(config, Arc::new(SystemClock)).unwrap()
}

/// The value of the series of `name` that has this label.
fn value(families: &[Family], name: &str, label: (&str, &str)) -> Option<f64> {
    let family = families.iter().find(|family| family.name == name)?;
    family.samples.iter().find(|(labels, _)| labels.get(label.0) == Some(label.1)).map(|(_, value)| *value)
}

#[tokio::test]
async fn this_host_is_described() {
    let families = host(&Config::default()).collect().await;
    let value = |name: &str| {
        let family =
            families.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("{name} is missing"));
        family.samples[0].1
    };
    assert!(value("node_memory_MemTotal_bytes") > 1e6);
    assert!(value("node_boot_time_seconds") < value("node_time_seconds"));
    assert!(value("node_filefd_maximum") > 0.0);
    for name in [
        "node_cpu_seconds_total",
        "node_load1",
        "node_network_receive_bytes_total",
        "node_filesystem_size_bytes",
    ] {
        assert!(value(name).is_finite());
    }
    assert!(families.windows(2).all(|pair| pair[0].name < pair[1].name), "not sorted or not unique");
}

#[tokio::test]
async fn a_missing_procfs_costs_its_series_only() {
    let config = Config { procfs: "/nonexistent".into(), ..Config::default() };
    let families = host(&config).collect().await;
    let success = |name| value(&families, "node_scrape_collector_success", ("collector", name)).unwrap();
    assert_eq!((success("cpu"), success("uname")), (0.0, 1.0));
    assert_eq!(value(&families, "bellwether_host_collector_failed", ("state", "absent")), Some(1.0));
    assert!(families.iter().any(|family| family.name == "node_uname_info"));
}

#[test]
fn a_bad_filter_is_named() {
    let config = Config { vmstat_fields: "(".into(), ..Config::default() };
    let err = Host::new(&config, Arc::new(SystemClock)).unwrap_err();
    assert!(err.to_string().contains("vmstat_fields"));
    let config = Config { disabled_collectors: vec!["cqu".into()], ..Config::default() };
    let err = Host::new(&config, Arc::new(SystemClock)).unwrap_err().to_string();
    assert!(
        err.contains("disabled_collectors") && err.contains("\"cqu\"") && err.contains("cpufreq"),
        "{err}"
    );
}

#[tokio::test]
async fn disabled_collectors_are_not_run() {
    let config = Config { disabled_collectors: vec!["cpu".into(), "filesystem".into()], ..Config::default() };
    let families = host(&config).collect().await;
    let gone = |family: &Family| {
        family.name.starts_with("node_cpu_seconds") || family.name.starts_with("node_filesystem")
    };
    assert!(!families.iter().any(gone));
    let config = Config {
        disable_default_collectors: true,
        enabled_collectors: vec!["loadavg".into()],
        ..Config::default()
    };
    let families = host(&config).collect().await;
    let names: Vec<&str> = families.iter().map(|family| family.name.as_str()).collect();
    assert!(names.contains(&"node_load1") && !names.contains(&"node_memory_MemTotal_bytes"));
}

/// Gives a series, fails, panics or hangs until it is let go.
enum Fake {
    Well(&'static str),
    Panics,
    Hangs { gate: Mutex<Receiver<()>>, calls: Arc<AtomicU32> },
}

impl Collector for Fake {
    fn name(&self) -> &'static str {
        match self {
            Self::Well(name) => name,
            Self::Panics => "panics",
            Self::Hangs { .. } => "hangs",
        }
    }

    fn collect(&mut self, _: &Files, out: &mut Output) -> Result<(), Error> {
        match self {
            Self::Well(name) => out.gauge(name, "Here.", &[], 1.0),
            // Without the hook, whose backtrace would fill the log.
            Self::Panics => std::panic::resume_unwind(Box::new("as asked")),
            Self::Hangs { gate, calls } => {
                calls.fetch_add(1, Ordering::SeqCst);
                // Ends when the sender is dropped.
                let released = gate.get_mut().unwrap().recv().is_ok();
                out.gauge("late", "Too late.", &[], f64::from(u8::from(released)));
            }
        }
        Ok(())
    }
}

fn hanging() -> (Box<dyn Collector>, SyncSender<()>, Arc<AtomicU32>) {
    let (sender, receiver) = sync_channel(16);
    let calls = Arc::new(AtomicU32::new(0));
    (Box::new(Fake::Hangs { gate: Mutex::new(receiver), calls: Arc::clone(&calls) }), sender, calls)
}

fn with(collectors: Vec<Box<dyn Collector>>, deadline_ms: i64) -> Host {
    let config = Config { collector_timeout: PromDuration(deadline_ms), ..Config::default() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let events = crate::events::Events::open(None, Arc::clone(&clock)).unwrap();
    Host::with(&config, clock, collectors, events)
}

#[tokio::test]
async fn sick_collectors_cost_their_own_series() {
    let (hangs, gate, calls) = hanging();
    let all: Vec<Box<dyn Collector>> =
        vec![Box::new(Fake::Well("first")), hangs, Box::new(Fake::Panics), Box::new(Fake::Well("last"))];
    let host = with(all, 1000);
    let families = host.collect().await;
    let state = |families: &[Family], collector: &str| {
        let family =
            families.iter().find(|family| family.name == "bellwether_host_collector_failed").unwrap();
        let found = family.samples.iter().find(|(labels, _)| labels.get("collector") == Some(collector));
        found.map(|(labels, _)| labels.get("state").unwrap().to_owned())
    };
    for name in ["first", "last"] {
        assert!(families.iter().any(|family| family.name == name), "{name} is missing");
    }
    assert_eq!(state(&families, "hangs").as_deref(), Some("timeout"));
    assert_eq!(state(&families, "panics").as_deref(), Some("panicked"));
    assert_eq!(
        value(&families, "bellwether_host_collector_timeouts_total", ("collector", "hangs")),
        Some(1.0)
    );
    // Its thread is still away: it is not asked again.
    let families = host.collect().await;
    assert_eq!(state(&families, "hangs").as_deref(), Some("busy"));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    drop(gate);
}

#[tokio::test]
async fn a_collector_that_is_always_late_is_left_alone_for_a_while() {
    let (hangs, gate, calls) = hanging();
    let host = with(vec![hangs], 50);
    let mut states = Vec::new();
    loop {
        let families = host.collect().await;
        let family = families.iter().find(|family| family.name == "bellwether_host_collector_failed");
        let state = family.unwrap().samples[0].0.get("state").unwrap().to_owned();
        if state == "timeout" {
            // Lets the thread go, so that the next collection asks again.
            gate.try_send(()).unwrap();
        }
        let is_open = state == "open";
        states.push(state);
        if is_open {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(states.iter().filter(|state| *state == "timeout").count(), 3, "{states:?}");
    assert_eq!(states.last().map(String::as_str), Some("open"));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}
