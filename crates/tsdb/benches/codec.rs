//! How many bytes and nanoseconds does a sample cost in a chunk and in a block?
//!
//! Workload: a fleet of 200 hosts with 100 series each (30 % constants, 48 % counters, 22 % gauges, of these a third at full
//! precision), 15 s, 2 h, scrape jitter of 1.3 ms, seed 1; half classic histograms as a second fleet. With an argument: a recording of real
//! scrapes, each "@@ <milliseconds> <bytes>\n" and then the exposition text.
//! CPU time of one thread. `cargo bench -p tsdb --bench codec -- [recording]`
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::seam::TimeRange;
use model::{Labels, Samples, Timestamp};
use tsdb::block::{Block, BlockMeta, BlockWriter};
use tsdb::chunk;
use tsdb::disk::{Disk, FaultDisk};

fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
    fn normal(&mut self) -> f64 {
        (0..6).map(|_| self.unit()).sum::<f64>() - 3.0
    }
}

type Series = Vec<(Labels, Samples)>;

fn fleet(hosts: u64, samples: usize, histograms: bool) -> Series {
    let mut random = Random(1);
    let mut all = BTreeMap::new();
    for host in 0..hosts {
        let phase = random.below(15_000) as i64;
        let times: Vec<i64> = (0..samples as i64)
            .map(|i| 1_700_006_400_000 + phase + i * 15_000 + (random.normal() * 1.3).round() as i64)
            .collect();
        for metric in 0..100u64 {
            let mut values = Vec::with_capacity(samples);
            let rate = 1.0 + random.unit() * 2000.0;
            let mut v = random.below(100_000_000) as f64;
            match metric {
                0..30 => {
                    values.resize(samples, [0.0, 1.0, 4096.0, 16_777_216_000.0, 0.5][metric as usize % 5])
                }
                30..60 => (0..samples).for_each(|i| {
                    v += (rate * (1.0 + random.normal() * 0.3)).max(0.0).round();
                    if i == 300 && metric == 31 {
                        v = 0.0;
                    }
                    values.push(v);
                }),
                60..78 => (0..samples).for_each(|_| {
                    v += (15.0 * random.unit() * 100.0).round();
                    values.push(v / 100.0);
                }),
                78..86 => (0..samples).for_each(|_| {
                    v += (random.normal() * 300.0).round();
                    values.push(v * 4096.0);
                }),
                86..93 => (0..samples).for_each(|_| values.push((random.unit() * 1000.0).round() / 10.0)),
                _ => (0..samples).for_each(|_| {
                    v += random.normal();
                    values.push(v / 3.0);
                }),
            }
            let name = format!("metric_{metric:03}_total");
            let instance = format!("host-{host:04}.example.org:9100");
            let device = format!("dev{}", metric % 7);
            let labels = Labels::from_pairs([
                ("__name__", name.as_str()),
                ("datacenter", ["fra1", "ams2", "lon1"][host as usize % 3]),
                ("device", &device),
                ("instance", &instance),
                ("job", "node"),
            ]);
            all.insert(labels, Samples { times: times.clone(), values, ..Samples::default() });
        }
        if histograms {
            for family in 0..10u64 {
                let mut counts = [0u64; 10];
                let mut columns = vec![Vec::new(); 10];
                let rate = 1 + random.below(300);
                for _ in 0..samples {
                    for _ in 0..rate {
                        let bucket = (random.normal().abs() * 3.0) as usize;
                        counts[bucket.min(9)] += 1;
                    }
                    let mut sum = 0;
                    for (column, count) in columns.iter_mut().zip(counts) {
                        sum += count;
                        column.push(sum as f64);
                    }
                }
                let bounds = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
                for (le, values) in bounds.iter().zip(columns) {
                    let labels = Labels::from_pairs([
                        ("__name__", format!("request_{family}_seconds_bucket")),
                        ("instance", format!("host-{host:04}.example.org:9100")),
                        ("job", "node".to_owned()),
                        ("le", (*le).to_owned()),
                    ]);
                    all.insert(labels, Samples { times: times.clone(), values, ..Samples::default() });
                }
            }
        }
    }
    all.into_iter().collect()
}

fn recording(path: &str) -> Series {
    let text = std::fs::read_to_string(path).expect("the recording is readable text");
    let mut all: BTreeMap<Labels, Samples> = BTreeMap::new();
    let mut known: std::collections::HashMap<String, Labels> = std::collections::HashMap::new();
    let mut time = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix("@@ ") {
            time = head.split(' ').next().and_then(|t| t.parse().ok()).expect("a time");
            continue;
        }
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let labels = known.entry(name.to_owned()).or_insert_with(|| {
            let (metric, rest) = name.split_once('{').unwrap_or((name, ""));
            let mut pairs =
                vec![("__name__".to_owned(), metric.to_owned()), ("instance".to_owned(), "real".to_owned())];
            for pair in rest.trim_end_matches('}').split("\",") {
                if let Some((n, v)) = pair.split_once("=\"") {
                    pairs.push((n.to_owned(), v.trim_end_matches('"').to_owned()));
                }
            }
            Labels::from_pairs(pairs)
        });
        let samples = all.entry(labels.clone()).or_default();
        if samples.times.last().is_none_or(|&last| last < time) {
            samples.push_float(time, value.parse().expect("a value"));
        }
    }
    all.into_iter().collect()
}

fn columns(title: &str, series: &Series) {
    for chunk_len in [16, 120, 480, 2048] {
        let chunks: Vec<&[f64]> = series.iter().flat_map(|(_, s)| s.values.chunks(chunk_len)).collect();
        let samples: usize = chunks.iter().map(|c| c.len()).sum();
        let (mut bytes, mut ends) = (Vec::with_capacity(samples * 9), Vec::with_capacity(chunks.len()));
        let start = cpu_ns();
        for chunk in &chunks {
            chunk::encode_values(chunk, &mut bytes);
            ends.push(bytes.len());
        }
        let encode = cpu_ns() - start;
        let mut out = Vec::with_capacity(chunk_len);
        let mut best = u64::MAX;
        for _ in 0..5 {
            let start = cpu_ns();
            let mut at = 0;
            for (chunk, &end) in chunks.iter().zip(&ends) {
                out.clear();
                chunk::decode_values(&bytes[at..end], chunk.len(), &mut out).expect("just written");
                std::hint::black_box(&out);
                at = end;
            }
            best = best.min(cpu_ns() - start);
        }
        let per = |n: u64| n as f64 / samples as f64;
        println!(
            "{title}: chunks of {chunk_len:>4}: {:.3} B/sample, encode {:>5.2} ns, decode {:>5.2} ns ({samples} samples)",
            bytes.len() as f64 / samples as f64,
            per(encode),
            per(best),
        );
    }
}

/// Which series cost most: the format is judged by them.
fn worst(title: &str, series: &Series) {
    let mut by_metric: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (labels, samples) in series {
        let mut bytes = Vec::new();
        samples.values.chunks(480).for_each(|c| chunk::encode_values(c, &mut bytes));
        let entry = by_metric.entry(labels.metric_name()).or_default();
        entry.0 += bytes.len();
        entry.1 += samples.len();
    }
    let mut list: Vec<_> = by_metric.into_iter().collect();
    list.sort_by_key(|(_, (bytes, _))| std::cmp::Reverse(*bytes));
    let total: usize = list.iter().map(|(_, (bytes, _))| bytes).sum();
    for (name, (bytes, samples)) in list.iter().take(12) {
        println!(
            "{title}:   {:>5.1} % {:>6.3} B/sample {name}",
            100.0 * *bytes as f64 / total as f64,
            *bytes as f64 / *samples as f64
        );
    }
}

fn block(title: &str, series: &Series) {
    let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
    let folder = Path::new("/bench/b");
    let start = cpu_ns();
    let mut writer =
        BlockWriter::create(Arc::clone(&disk), folder, BlockMeta::new("b", 0)).expect("memory disk");
    for (labels, samples) in series {
        writer.add_series(labels, samples).expect("in order");
    }
    let memory = writer.memory_bytes();
    let meta = writer.finish().expect("memory disk");
    let write = cpu_ns() - start;
    let block = Block::open(&*disk, folder).expect("just written");
    let stats = block.stats().expect("just written");
    let all = TimeRange { start: Timestamp::MIN, end: Timestamp::MAX };
    let start = cpu_ns();
    let found = block.select(&[], all).expect("just written");
    let select = cpu_ns() - start;
    let start = cpu_ns();
    for one in &found {
        std::hint::black_box(one.labels().expect("just written"));
    }
    let labels = cpu_ns() - start;
    let mut out = Samples::default();
    let start = cpu_ns();
    for one in &found {
        one.read(all, &mut out).expect("just written");
        std::hint::black_box(&out);
    }
    let read = cpu_ns() - start;
    println!(
        "{title}: block of {} series, {} samples: {:.3} B/sample, of it index {:.1} B/series, {} time groups; write {:.1} \
         ns/sample, memory {:.0} B/series; select {:.0} ns/series, labels {:.0} ns/series, read {:.2} ns/sample",
        meta.series,
        meta.samples,
        meta.bytes as f64 / meta.samples as f64,
        stats.index_bytes as f64 / meta.series as f64,
        stats.time_groups,
        write as f64 / meta.samples as f64,
        memory as f64 / meta.series as f64,
        select as f64 / meta.series as f64,
        labels as f64 / meta.series as f64,
        read as f64 / meta.samples as f64,
    );
    for (name, bytes) in block.section_bytes() {
        println!("{title}:   {:>8.2} B/series {name}", bytes as f64 / meta.series as f64);
    }
}

fn main() {
    if let Some(path) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")) {
        let real = recording(&path);
        columns("real", &real);
        worst("real", &real);
        block("real", &real);
        return;
    }
    let plain = fleet(200, 480, false);
    columns("fleet", &plain);
    worst("fleet", &plain);
    block("fleet", &plain);
    drop(plain);
    let with_histograms = fleet(100, 480, true);
    block("half histograms", &with_histograms);
}
