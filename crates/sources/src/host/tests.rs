//! The collectors on this host.

use std::sync::Arc;

use model::time::SystemClock;

use super::{Config, Host};

fn host(config: &Config) -> Host {
    Host::new(config, Arc::new(SystemClock)).unwrap()
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
    let success = families.iter().find(|family| family.name == "node_scrape_collector_success").unwrap();
    let of = |name: &str| {
        success.samples.iter().find(|(labels, _)| labels.get("collector") == Some(name)).unwrap().1
    };
    assert_eq!((of("cpu"), of("uname")), (0.0, 1.0));
    assert!(families.iter().any(|family| family.name == "node_uname_info"));
}

#[test]
fn a_bad_filter_is_named() {
    let config = Config { vmstat_fields: "(".into(), ..Config::default() };
    let err = Host::new(&config, Arc::new(SystemClock)).unwrap_err();
    assert!(err.to_string().contains("vmstat_fields"));
}

#[tokio::test]
async fn disabled_collectors_are_not_run() {
    let config = Config { disabled_collectors: vec!["cpu".into(), "filesystem".into()], ..Config::default() };
    let families = host(&config).collect().await;
    assert!(
        !families
            .iter()
            .any(|family| family.name.starts_with("node_cpu_") || family.name.starts_with("node_filesystem"))
    );
}
