//! What does one round of rules cost besides its queries? 10,000 recording rules in 10 groups, 100 series each, answered from
//! memory by a scripted evaluator; then 100,000 firing alerts of one rule. CPU seconds of the whole process.
//!
//! `cargo bench -p rules --bench round`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::HashMap;
use std::sync::Arc;

use model::seam::BoxFuture;
use model::{
    Alert, Appended, Appender, Batch, Clock, Labels, Notifier, SeamError, SeriesRef, TenantId, Timestamp,
    Value,
};
use parking_lot::Mutex;
use rules::{Config, Context, Evaluator, Metrics, Point, Query, Ruler, Settings, Vector};
use tokio::time::Instant;

struct World {
    answer: Vec<Point>,
    alerts: Vec<Point>,
    refs: Mutex<HashMap<Vec<u8>, SeriesRef>>,
    appended: Mutex<usize>,
    started: Instant,
}

impl Evaluator for World {
    fn instant<'a>(
        &'a self,
        _: &'a TenantId,
        queries: &'a [Arc<Query>],
        _: Timestamp,
    ) -> BoxFuture<'a, Vec<Result<Vector, SeamError>>> {
        Box::pin(async move {
            let answer = |query: &Arc<Query>| match query.text.as_str() {
                "storm" => Ok(self.alerts.clone()),
                _ => Ok(self.answer.clone()),
            };
            queries.iter().map(answer).collect()
        })
    }
}

impl Appender for World {
    fn append<'a>(&'a self, _: &'a TenantId, batch: &'a Batch) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            *self.appended.lock() += batch.sample_count();
            let mut refs = self.refs.lock();
            let mut appended = Appended { accepted: batch.sample_count(), ..Appended::default() };
            for (index, key) in batch.series().iter().enumerate() {
                appended.refs.push(Some(match key {
                    model::batch::SeriesKey::Ref(known) => *known,
                    model::batch::SeriesKey::Labels(_) => {
                        let next = SeriesRef(refs.len() as u64);
                        let bytes = batch.label_bytes(index as u32).unwrap_or_default();
                        *refs.entry(bytes.to_vec()).or_insert(next)
                    }
                }));
            }
            Ok(appended)
        })
    }
}

impl Notifier for World {
    fn notify<'a>(&'a self, _: &'a TenantId, _: Vec<Alert>) -> BoxFuture<'a, Result<(), SeamError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000 + self.started.elapsed().as_millis() as i64)
    }
}

/// CPU seconds of this process, from `/proc/self/stat` in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn points(count: usize) -> Vec<Point> {
    let point = |i: usize| Point {
        labels: Labels::from_pairs([
            ("__name__", "storm".to_owned()),
            ("instance", format!("host-{i:06}.example.org:9100")),
            ("job", "node".to_owned()),
            ("datacenter", "eu-1".to_owned()),
            ("rack", format!("r{}", i / 40)),
        ]),
        value: Value::Float(1.0),
    };
    (0..count).map(point).collect()
}

async fn measure(name: &str, text: &str, rounds: u32) {
    let world = Arc::new(World {
        answer: points(100),
        alerts: points(100_000),
        refs: Mutex::default(),
        appended: Mutex::default(),
        started: Instant::now(),
    });
    let ruler = Ruler::new(Context {
        tenant: TenantId::default(),
        evaluator: world.clone(),
        querier: Arc::new(promql::script::Storage::new()),
        appender: world.clone(),
        notifier: world.clone(),
        clock: world.clone(),
        metrics: Arc::new(Metrics::new(&mut prometheus_client::registry::Registry::default())),
        config: Config::default(),
        language: promql::Options::default(),
        settings: Default::default(),
    });
    let file = rules::file::parse("bench.yml", text, &promql::Options::default());
    let file = file.expect("the benchmark's rules are right");
    ruler.load(&[file], Settings::default()).await;
    // The first rounds make the series and restore.
    tokio::time::sleep(std::time::Duration::from_secs(60 * 4)).await;
    let (before, stored) = (cpu_seconds(), *world.appended.lock());
    tokio::time::sleep(std::time::Duration::from_secs(60 * u64::from(rounds))).await;
    let (spent, stored) = (cpu_seconds() - before, *world.appended.lock() - stored);
    let each = spent / f64::from(rounds);
    println!(
        "{name}: {each:.3} CPU s a round, {:.0} ns a sample, {stored} samples",
        spent * 1e9 / stored as f64
    );
    ruler.stop().await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime can be made");
    let mut text = String::from("groups:\n");
    for group in 0..10 {
        text.push_str(&format!("- name: g{group}\n  rules:\n"));
        for rule in 0..1000 {
            text.push_str(&format!("  - {{record: 'r:{group}:{rule}', expr: up}}\n"));
        }
    }
    runtime.block_on(measure("10,000 recording rules, 1 M series", &text, 3));
    let storm = "groups:\n- name: g\n  rules:\n  - alert: Storm\n    expr: storm\n    labels: {severity: page}\n    annotations: {summary: '{{ $labels.instance }} is {{ $value }}'}\n";
    runtime.block_on(measure("100,000 firing alerts", storm, 3));
}
