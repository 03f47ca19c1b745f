//! How much processor time does the evaluator need for a sample? 8192 series of one hour each 15 s, 240 steps of 15 s,
//! read from memory, so that storage costs next to nothing. CPU time of all threads, best of five.
//!
//! `cargo bench -p promql` prints a line a query: milliseconds, nanoseconds for each stored sample and each output step.

#![expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::seam::{Selected, SeriesSet};
use model::{Budget, Labels, Samples, SeamError, Timestamp};
use promql::{EvalOptions, Limits, Options, Plan, Times, evaluate, parse, plan};

const SERIES: usize = 8192;
const SAMPLES: usize = 300;
const STEPS: usize = 240;
const SCRAPE_MS: i64 = 15_000;

struct Memory {
    labels: Vec<Labels>,
    times: Vec<i64>,
    values: Vec<Vec<f64>>,
}

impl SeriesSet for Memory {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.labels[index].clone()
    }

    fn read(&self, index: usize, out: &mut Samples) -> Result<(), SeamError> {
        out.clear();
        // One scrape time for all, as the targets of one host have.
        out.times_id = 1;
        out.times.extend_from_slice(&self.times);
        out.values.extend_from_slice(&self.values[index]);
        Ok(())
    }
}

/// Counters with a rare reset, over 64 hosts with 8 modes on 16 processors each.
fn data() -> Memory {
    let mut state = 1u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 33
    };
    let labels = (0..SERIES).map(|index| {
        Labels::from_pairs([
            ("__name__", "node_cpu_seconds_total".to_owned()),
            ("cpu", (index / 8 % 16).to_string()),
            ("instance", format!("host-{}:9100", index / 128)),
            ("job", "node".to_owned()),
            ("mode", format!("mode{}", index % 8)),
        ])
    });
    let values = (0..SERIES).map(|_| {
        let mut total = (random() % 1000) as f64;
        let values = (0..SAMPLES).map(|_| {
            total = if random() % 2000 == 0 { 0.0 } else { total + (random() % 100) as f64 / 10.0 };
            total
        });
        values.collect()
    });
    Memory {
        labels: labels.collect(),
        values: values.collect(),
        times: (0..SAMPLES as i64).map(|at| at * SCRAPE_MS + 7).collect(),
    }
}

fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn run(plan: &Plan, memory: &Arc<Memory>, threads: usize) -> Duration {
    let set: Arc<dyn SeriesSet> = Arc::clone(memory) as _;
    let one = Selected { series: set, warnings: Vec::new() };
    let selected = vec![one; plan.selects().len()];
    let limits = Limits { threads, ..Limits::default() };
    let began = cpu_time();
    let result = evaluate(plan, selected, &limits, &Budget::unlimited(), &AtomicBool::new(false));
    let took = cpu_time() - began;
    assert!(!result.expect("an answer").value.series().is_empty());
    took
}

fn main() {
    let memory = Arc::new(data());
    let end = Timestamp((SAMPLES as i64 - 1) * SCRAPE_MS);
    let start = end - (STEPS as i64 - 1) * SCRAPE_MS;
    let range = Times::Range { start, end, step_ms: SCRAPE_MS };
    let queries = [
        ("cpu", range),
        ("sum by (instance) (cpu)", range),
        ("sum(rate(cpu[5m]))", range),
        ("sum by (mode) (rate(cpu[5m]))", range),
        ("sum by (instance, cpu) (rate(cpu[5m]))", range),
        ("max by (instance) (max_over_time(cpu[5m]))", range),
        ("avg by (instance) (avg_over_time(cpu[5m]))", range),
        ("sum(sum_over_time(cpu[5m]))", range),
        ("max(stddev_over_time(cpu[5m]))", range),
        ("max(quantile_over_time(0.9, cpu[5m]))", range),
        ("topk(5, rate(cpu[5m]))", range),
        ("quantile(0.9, rate(cpu[5m]))", range),
        ("rate(cpu[5m]) / on (instance, cpu, mode) group_left rate(cpu[5m])", range),
        ("sum by (mode) (rate(cpu[5m]))", Times::Instant(end)),
        ("sum by (mode) (cpu)", Times::Instant(end)),
    ];
    println!("{:>9} {:>9} {:>9}  query", "ms", "ns/sample", "ns/step");
    for (query, times) in queries {
        let expr = parse(query, &Options::default()).expect("a query");
        let plan = plan(&expr, times, &EvalOptions::default()).expect("a plan");
        let best = (0..5).map(|_| run(&plan, &memory, 1)).min().unwrap_or_default();
        let ns = best.as_nanos() as f64;
        let ms = ns / 1e6;
        let (samples, steps) = ((SERIES * SAMPLES) as f64, (SERIES * plan.steps()) as f64);
        let kind = if plan.steps() == 1 { "instant " } else { "" };
        println!("{ms:9.2} {:9.2} {:9.2}  {kind}{query}", ns / samples, ns / steps);
    }
}
