//! A storm: many alerts at once. Ignored by default; it prints its figures.

use std::sync::Arc;
use std::time::Instant;

use alerts::api::{self, AlertQuery};
use alerts::{Config, Dispatcher, History, Metrics, Parts, Settings};
use model::time::SystemClock;
use model::{Alert, Clock, Labels, Timestamp};

use crate::sink::HttpSink;

fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// How long do 100,000 alerts of one storm take to be held and stored, and to be asked for; how much memory? One group, one
/// notification. The figures of a debug build are several times those of a release build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute; run it for its figures"]
async fn a_hundred_thousand_alerts() {
    let sink = HttpSink::start(vec![]).await;
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "route: {{receiver: r, group_by: [alertname], group_wait: 1s, group_interval: 1m}}\nreceivers: [{{name: r, webhook_configs: [{{url: '{}', max_alerts: 100}}]}}]\n",
        sink.url
    );
    let state = state::Store::open(
        folder.path().join("state.db"),
        state::Config::default(),
        state::Metrics::unregistered(),
    );
    let settings = Settings::default();
    let history =
        History::open(&folder.path().join("history.db"), &settings.history, Metrics::unregistered()).unwrap();
    let parts = Parts {
        settings,
        config: Config::load(&yaml).unwrap(),
        state: Arc::new(state.unwrap()),
        journal: None,
        history: Some(Arc::new(history)),
        clock: Arc::new(SystemClock),
        metrics: Metrics::unregistered(),
        seed: 1,
    };
    let am = Dispatcher::start(parts).await.unwrap();
    let (before, now) = (rss_mb(), SystemClock.now());
    let started = Instant::now();
    for batch in 0..100 {
        let one = |n: i64| {
            let labels = Labels::from_pairs([
                ("alertname".to_owned(), "Storm".to_owned()),
                ("instance".to_owned(), format!("host-{}:9100", batch * 1000 + n)),
                ("datacenter".to_owned(), format!("dc{}", n % 10)),
                ("severity".to_owned(), "critical".to_owned()),
            ]);
            let alert = Alert {
                labels,
                annotations: Labels::from_pairs([("summary", "The host does not answer.")]),
                starts_at: now,
                ends_at: Timestamp(now.ms() + 600_000),
                updated_at: now,
                generator_url: String::new(),
            };
            (alert, false)
        };
        am.receive((0..1000).map(one).collect()).await;
    }
    println!("held and stored after {:?}, {} MB more", started.elapsed(), rss_mb() - before);
    let first = sink.next().await;
    println!("told after {:?}: {} truncated", started.elapsed(), first.json["truncatedAlerts"]);
    let asked = Instant::now();
    let filter = vec!["instance=host-5:9100".to_owned()];
    assert_eq!(api::alerts(&am, &AlertQuery { filter, ..AlertQuery::default() }).unwrap().len(), 1);
    println!("one of them asked for in {:?}", asked.elapsed());
    let asked = Instant::now();
    assert_eq!(api::alerts(&am, &AlertQuery::default()).unwrap().len(), 100_000);
    println!("all asked for in {:?}, {} MB more", asked.elapsed(), rss_mb() - before);
    am.stop(std::time::Duration::from_secs(1)).await;
}
