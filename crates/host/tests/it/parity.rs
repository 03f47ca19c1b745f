//! The same host, the same second: what node_exporter shows, we show, under the same names, labels and types.

use std::sync::Arc;

use host::{Config, Host};
use model::MetricType;
use model::time::SystemClock;

use crate::oracle::{Oracle, Seen, program};
use crate::tree;

/// What differs by nature: times that a collection took, who it is, and what udev or a particular kernel says.
fn is_own(name: &str) -> bool {
    ["node_scrape_collector_duration_seconds", "node_exporter_build_info"].contains(&name)
}

async fn ours(config: Config) -> Seen {
    Seen::of(&Host::new(&config, Arc::new(SystemClock)).unwrap().collect().await)
}

/// Missing series, and families of another type.
fn differences(oracle: &Seen, ours: &Seen) -> (Vec<String>, Vec<String>) {
    let missing = oracle.samples.keys().filter(|key| !is_own(&key.0) && !ours.samples.contains_key(*key));
    let types = oracle.types.iter().filter(|(name, kind)| {
        // Described without samples: nothing to compare.
        ours.types.get(*name).is_some_and(|own| own != *kind) && !is_own(name)
    });
    (
        missing.map(|(name, labels)| format!("{name}{labels:?}")).collect(),
        types.map(|(name, kind)| format!("{name}: {kind} there, {} here", ours.types[name])).collect(),
    )
}

#[tokio::test]
async fn this_host_is_shown_as_node_exporter_shows_it() {
    let Some(program) = program() else { return };
    let config = Config::default();
    // The package's own default leaves more mount points out than the project's.
    let args = [
        format!("--collector.filesystem.mount-points-exclude=^({})", config.filesystem_mount_points_exclude),
        "--collector.textfile.directory=".to_owned(),
    ];
    let oracle = Oracle::start(&program, &args);
    let before = oracle.seen();
    let ours = ours(config).await;
    let after = oracle.seen();

    let (missing, types) = differences(&before, &ours);
    let share = 1.0 - missing.len() as f64 / before.samples.len() as f64;
    println!(
        "{} series of node_exporter, {:.1} % of them here; missing: {missing:?}",
        before.samples.len(),
        100.0 * share
    );
    assert!(types.is_empty(), "{types:#?}");
    assert!(
        share >= 0.98,
        "{:.1} % of node_exporter's series are here; missing: {missing:#?}",
        100.0 * share
    );

    // Counters lie between what the oracle said before and after; what stood still is equal.
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (key, first) in &before.samples {
        let (Some(last), Some(own)) = (after.samples.get(key), ours.samples.get(key)) else { continue };
        if is_own(&key.0) {
            continue;
        }
        compared += 1;
        let is_counter = before.types[&key.0] == MetricType::Counter;
        // Both divide the kernel's integers, in another order.
        let rounding = first.abs() * 1e-12;
        let right = if is_counter {
            (first - rounding..=last + rounding).contains(own)
        } else {
            // A gauge may have swung in between: it must be of the same size, or the unit is wrong.
            let (low, high) = (first.min(*last).abs(), first.abs().max(last.abs()));
            first == last && own == first
                || *own == 0.0
                || low == 0.0
                || (low / 3.0..=high * 3.0).contains(&own.abs())
        };
        if !right {
            wrong.push(format!("{}{:?}: {first} … {last} there, {own} here", key.0, key.1));
        }
    }
    println!("{compared} values compared, {} differ", wrong.len());
    // The package's text files are looked for elsewhere.
    wrong.retain(|text| !text.starts_with("node_textfile"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Series of the tree that are not there, with why.
const TREE_EXCEPTIONS: [&str; 4] = [
    // Asked of the kernel by netlink, so of this host whatever the tree says.
    "node_arp_",
    "node_network_receive_",
    "node_network_transmit_",
    // node_exporter shows 0 when any of a dozen files of the queue is missing.
    "node_disk_info",
];

#[tokio::test]
async fn a_server_with_much_hardware_is_shown_as_node_exporter_shows_it() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    tree::write("server.tree", folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let optional = [
        "interrupts",
        "softirqs",
        "buddyinfo",
        "ksmd",
        "cgroups",
        "swap",
        "meminfo_numa",
        "mountstats",
        "cpu_vulnerabilities",
        "xfrm",
    ];
    let mut args = vec![
        format!("--path.procfs={}", path("proc")),
        format!("--path.sysfs={}", path("sys")),
        "--no-collector.systemd".into(),
    ];
    args.extend(optional.iter().map(|name| format!("--collector.{name}")));
    let oracle = Oracle::start(&program, &args).seen();
    let config = Config {
        procfs: path("proc"),
        sysfs: path("sys"),
        enabled_collectors: optional.map(str::to_owned).to_vec(),
        ..Config::default()
    };
    let ours = ours(config).await;
    let (mut missing, types) = differences(&oracle, &ours);
    let own_source = |text: &String| {
        // Collectors that are not here.
        ["bcache", "bcachefs"].iter().any(|name| text.contains(&format!("\"{name}\"")))
            || TREE_EXCEPTIONS.iter().any(|start| text.starts_with(start))
    };
    missing.retain(|text| !own_source(text));
    assert!(missing.is_empty() && types.is_empty(), "missing: {missing:#?}\ntypes: {types:#?}");
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (key, value) in &oracle.samples {
        let Some(own) = ours.samples.get(key).filter(|_| !is_own(&key.0)) else { continue };
        // Of the machine, or of the moment.
        let moving = [
            "node_filesystem",
            "node_time",
            "node_uname",
            "node_os",
            "node_selinux",
            "node_scrape",
            "node_arp_",
            "node_network_receive_",
            "node_network_transmit_",
            "node_textfile",
        ];
        if moving.iter().any(|start| key.0.starts_with(start)) {
            continue;
        }
        compared += 1;
        if (value - own).abs() > value.abs() * 1e-12 {
            wrong.push(format!("{}{:?}: {value} there, {own} here", key.0, key.1));
        }
    }
    println!("{compared} values of the tree compared, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared > 700, "only {compared} values were compared");
}

#[tokio::test]
async fn a_collection_costs_half_of_node_exporter_or_less() {
    let Some(program) = program() else { return };
    const ROUNDS: u32 = 20;
    let oracle = Oracle::start(&program, &[]);
    oracle.scrape();
    let cpu = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<u64> =
            stat.rsplit_once(") ").unwrap().1.split(' ').filter_map(|word| word.parse().ok()).collect();
        // utime and stime are fields 14 and 15; the state is no number and field 3.
        (fields[10] + fields[11]) as f64 / 100.0
    };
    let before = cpu(oracle.pid());
    for _ in 0..ROUNDS {
        oracle.scrape();
    }
    let theirs = (cpu(oracle.pid()) - before) / f64::from(ROUNDS);
    // With the same collectors: processes are not among node_exporter's default ones.
    let config = Config {
        disabled_collectors: vec!["processes".into()],
        follow_kernel_log: false,
        ..Config::default()
    };
    let host = Host::new(&config, Arc::new(SystemClock)).unwrap();
    host.collect().await;
    let before = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    for _ in 0..ROUNDS {
        host.collect().await;
    }
    let after = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanos = (after.tv_sec - before.tv_sec) * 1_000_000_000 + (after.tv_nsec - before.tv_nsec);
    let own = nanos as f64 / 1e9 / f64::from(ROUNDS);
    // A figure, not a verdict: this build is not optimised and other tests run in this process.
    println!(
        "CPU a collection: {:.2} ms here (this build), {:.2} ms in node_exporter, ratio {:.2}",
        own * 1e3,
        theirs * 1e3,
        own / theirs
    );
    assert!(own > 0.0 && theirs > 0.0);
}
