//! What does one evaluation round of 10,000 rules on a million series cost? 10,000 targets × 100 metrics, 15 s, real storage and
//! engine; 5,000 recording rules `sum by (rack) (rate(m{job}[5m]))` and 5,000 alerting rules `m{job} > x`, 100 series each, in
//! 100 groups, so that each series is read once a round. CPU seconds of the whole process for a round of 30 s; 2 cores have 60.
//! Arguments: series (default 1,000,000), rules (default 10,000), rounds (default 3).
//!
//! `cargo bench -p rules --bench million`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures, and stops where it cannot go on"
)]

use std::sync::Arc;
use std::time::Duration;

use model::seam::BoxFuture;
use model::{
    Alert, Appender, Batch, Budget, Clock, Notifier, Querier, SeamError, SeriesRef, TenantId, Timestamp,
};
use prometheus_client::registry::Registry;
use rules::{Context, Engine, Ruler, Settings};
use tokio::time::Instant;

const METRICS: usize = 100;
const JOBS: usize = 100;
const BATCH: usize = 2000;
const START: i64 = 1_700_000_000_000;
const ROUND_MS: i64 = 30_000;

struct World(Instant);

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp(START + self.0.elapsed().as_millis() as i64)
    }
}

struct Nobody;

impl Notifier for Nobody {
    fn notify<'a>(&'a self, _: &'a TenantId, _: Vec<Alert>) -> BoxFuture<'a, Result<(), SeamError>> {
        Box::pin(async { Ok(()) })
    }
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Appends one sample to every series at `at`; the storage's names are learnt with the first.
async fn scrape(db: &dyn Appender, refs: &mut [Option<SeriesRef>], at: i64) {
    let tenant = TenantId::default();
    for first in (0..refs.len()).step_by(BATCH) {
        let mut batch = Batch::new();
        let last = (first + BATCH).min(refs.len());
        for (series, known) in refs.iter().enumerate().take(last).skip(first) {
            let (target, metric) = (series / METRICS, series % METRICS);
            let index = match known {
                Some(known) => batch.add_series_ref(*known),
                None => batch.add_series_sorted([
                    ("__name__", format!("node_metric_{metric:02}_total").as_str()),
                    ("instance", format!("server-{target:05}.example.net:9100").as_str()),
                    ("job", format!("job-{:02}", target % JOBS).as_str()),
                    ("rack", format!("rack{:03}", target / 40).as_str()),
                ]),
            };
            batch.push_float(index, at, (at - START) as f64 / 1000.0 * (series % 17) as f64);
        }
        let appended = db.append(&tenant, &batch).await.unwrap();
        for (series, known) in (first..last).zip(appended.refs) {
            refs[series] = known;
        }
    }
}

fn rule_text(rules: usize) -> String {
    let mut text = String::from("groups:\n");
    for rule in 0..rules {
        if rule % 100 == 0 {
            text.push_str(&format!("- name: g{}\n  interval: 30s\n  rules:\n", rule / 100));
        }
        let selector =
            format!("node_metric_{:02}_total{{job=\"job-{:02}\"}}", rule % METRICS, rule / METRICS % JOBS);
        text.push_str(&match rule % 2 {
            0 => format!("  - {{record: 'r:{rule}', expr: 'sum by (rack) (rate({selector}[5m]))'}}\n"),
            _ => format!("  - {{alert: 'A{rule}', expr: '{selector} > 1e12', for: 1m}}\n"),
        });
    }
    text
}

async fn measure(series: usize, rules: usize, rounds: u32) {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(World(Instant::now()));
    let config = tsdb::Config { path: folder.path().to_owned(), ..tsdb::Config::default() };
    let metrics = tsdb::Metrics::new(&mut Registry::default());
    let db = tsdb::Db::open(config, Arc::clone(&clock), Arc::new(tsdb::RealDisk), metrics).unwrap();
    let mut refs = vec![None; series];
    for at in (START - 300_000..=START).step_by(15_000) {
        scrape(&*db, &mut refs, at).await;
    }
    println!("{series} series, {rules} rules: {} MB before the rules", resident_mb());
    let querier: Arc<dyn Querier> = Arc::clone(&db) as Arc<dyn Querier>;
    let limits = promql::Limits::default();
    let budget = Budget::new("rules", 1 << 30, None);
    let engine = Engine::new(
        Arc::clone(&querier),
        promql::EvalOptions::default(),
        limits,
        budget,
        Duration::from_secs(120),
        4,
    );
    let ruler = Ruler::new(Context {
        tenant: TenantId::default(),
        evaluator: Arc::new(engine),
        querier,
        appender: Arc::clone(&db) as Arc<dyn Appender>,
        notifier: Arc::new(Nobody),
        clock,
        metrics: Arc::new(rules::Metrics::new(&mut Registry::default())),
        config: rules::Config::default(),
        language: promql::Options::default(),
        settings: Default::default(),
    });
    let file = rules::file::parse("bench.yml", &rule_text(rules), &promql::Options::default()).unwrap();
    ruler.load(&[file], Settings::default()).await;
    for round in 0..i64::from(rounds) {
        for at in [15_000, 30_000] {
            scrape(&*db, &mut refs, START + round * ROUND_MS + at).await;
        }
        let before = cpu();
        tokio::time::sleep(Duration::from_millis(ROUND_MS as u64)).await;
        let spent = cpu() - before;
        let bad = ruler
            .groups()
            .iter()
            .flat_map(|group| &group.rules)
            .filter(|rule| !rule.last_error.is_empty())
            .count();
        println!(
            "round {round}: {spent:.2} CPU s, {:.1} % of 2 cores at 30 s; {bad} rules failed; {} MB",
            spent / 60.0 * 100.0,
            resident_mb()
        );
    }
    ruler.stop().await;
}

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let (series, rules) = (args.next().unwrap_or(1_000_000), args.next().unwrap_or(10_000));
    let rounds = args.next().unwrap_or(3) as u32;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(measure(series, rules, rounds));
}
