//! What the values of a StatsD series add up to. Pure: the time is an argument.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::sample::STALE_NAN;
use model::{Batch, Labels, LabelsBuilder, Metadata, MetricType};
use wire::gather::{Refused, label_name, metric_name};
use wire::statsd::{Change, Kind, Sample, read_line, tags};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::sketch::Sketch;
use crate::config::{HistogramForm, StatsdConfig};

/// Members of one set within an interval that are told apart; beyond it the number is a lower bound.
const MAX_MEMBERS: usize = 100_000;

/// All series.
pub(super) struct Aggregate {
    config: StatsdConfig,
    seed: u64,
    series: HashMap<Labels, Series>,
    /// Samples with times of their own, until the next flush.
    direct: Vec<(Labels, i64, f64)>,
}

struct Series {
    state: State,
    /// When a value last came.
    seen: i64,
    /// Whether anything was stored, so that an end must be marked.
    stored: bool,
}

enum State {
    Counter(f64),
    Gauge(f64),
    Timer { sketch: Sketch, unit: &'static str },
    Set(HashSet<u64>),
}

impl State {
    fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Timer { .. } => "timer",
            Self::Set(_) => "set",
        }
    }
}

impl Aggregate {
    pub(super) fn new(config: &StatsdConfig, seed: u64) -> Self {
        Self { config: config.clone(), seed, series: HashMap::new(), direct: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    pub(super) fn line(&mut self, line: &[u8], now: i64, refused: &mut Refused) {
        let mut wrong = None;
        let outcome = read_line(line, |sample| {
            if let Err(reason) = self.add(&sample, now) {
                wrong.get_or_insert(reason);
            }
        });
        match (outcome, wrong) {
            (Err(reason), _) | (Ok(_), Some(reason)) => refused.refuse(1, || reason),
            (Ok(Kind::Ignored), None) => refused.ignored += 1,
            (Ok(Kind::Values), None) => {}
        }
    }

    fn add(&mut self, sample: &Sample<'_>, now: i64) -> Result<(), String> {
        let mut name = String::with_capacity(sample.name.len());
        metric_name(&mut name, sample.name);
        if name.bytes().all(|b| b == b'_') {
            return Err(format!("the name {:?} is empty", sample.name));
        }
        let mut builder = LabelsBuilder::default();
        for (tag, value) in tags(sample.tags) {
            let mut label = String::new();
            label_name(&mut label, tag);
            let known = builder.get(&label);
            let joined = if known.is_empty() { value.to_owned() } else { format!("{known},{value}") };
            builder.set(label, joined);
        }
        builder.set(METRIC_NAME, name);
        let labels = builder.build();
        if let (Some(time), Change::Set(value)) = (sample.time, sample.change) {
            if self.direct.len() < self.config.max_series {
                self.direct.push((labels, time, value));
                return Ok(());
            }
            return Err("too many values with times of their own within an interval".into());
        }
        let weight = 1.0 / sample.rate;
        let bounds = match self.config.histograms {
            HistogramForm::Native => &[][..],
            HistogramForm::Classic => self.config.buckets.as_slice(),
        };
        let max = self.config.max_series;
        if !self.series.contains_key(&labels) && self.series.len() >= max {
            return Err(format!("{max} series are being aggregated already (ingest.statsd.max_series)"));
        }
        let series = self.series.entry(labels).or_insert_with(|| Series {
            state: match sample.change {
                Change::Count(_) => State::Counter(0.0),
                Change::Set(_) | Change::Add(_) => State::Gauge(0.0),
                Change::Observe(_) => State::Timer { sketch: Sketch::with_bounds(bounds), unit: "" },
                Change::ObserveMs(_) => State::Timer { sketch: Sketch::with_bounds(bounds), unit: "seconds" },
                Change::Member(_) => State::Set(HashSet::new()),
            },
            seen: now,
            stored: false,
        });
        match (&mut series.state, sample.change) {
            (State::Counter(total), Change::Count(value)) => *total += value * weight,
            (State::Gauge(current), Change::Set(value)) => *current = value,
            (State::Gauge(current), Change::Add(value)) => *current += value,
            (State::Timer { sketch, .. }, Change::Observe(value)) => sketch.observe(value, weight),
            (State::Timer { sketch, .. }, Change::ObserveMs(value)) => sketch.observe(value / 1000.0, weight),
            (State::Set(members), Change::Member(text)) => {
                if members.len() < MAX_MEMBERS {
                    members.insert(xxh3_64_with_seed(text.as_bytes(), self.seed));
                }
            }
            (state, _) => {
                return Err(format!(
                    "{:?} was a {} before, and is another type now",
                    sample.name,
                    state.kind()
                ));
            }
        }
        series.seen = now;
        Ok(())
    }

    /// A sample of every series; those that are silent end.
    pub(super) fn flush(&mut self, now: i64) -> Batch {
        let mut batch = Batch::new();
        let expiry = self.config.expiry.ms();
        let mut described: HashMap<String, Metadata> = HashMap::new();
        for (labels, series) in &mut self.series {
            let ends = now - series.seen > expiry;
            if ends && !series.stored {
                continue;
            }
            let name = labels.metric_name();
            if !described.contains_key(name) {
                let (kind, unit) = match &series.state {
                    State::Counter(_) => (MetricType::Counter, ""),
                    State::Gauge(_) | State::Set(_) => (MetricType::Gauge, ""),
                    State::Timer { unit, .. } => (MetricType::Histogram, *unit),
                };
                let metadata = Metadata { kind, help: String::new(), unit: unit.to_owned() };
                described.insert(name.to_owned(), metadata);
            }
            series.stored = true;
            let float = |batch: &mut Batch, labels: &Labels, value: f64| {
                let index = batch.add_series(labels);
                batch.push_float(index, now, if ends { f64::from_bits(STALE_NAN) } else { value });
            };
            match &mut series.state {
                State::Counter(value) | State::Gauge(value) => float(&mut batch, labels, *value),
                State::Set(members) => {
                    float(&mut batch, labels, members.len() as f64);
                    members.clear();
                }
                State::Timer { sketch, .. } => match self.config.histograms {
                    HistogramForm::Native => {
                        let index = batch.add_series(labels);
                        if ends {
                            batch.push_float(index, now, f64::from_bits(STALE_NAN));
                        } else {
                            batch.push_histogram(index, now, Arc::new(sketch.histogram()));
                        }
                    }
                    HistogramForm::Classic => {
                        let part = |suffix: &str, bound: Option<&str>| {
                            let mut builder = labels.to_builder();
                            builder.set(METRIC_NAME, format!("{name}{suffix}"));
                            if let Some(bound) = bound {
                                builder.set("le", bound);
                            }
                            builder.build()
                        };
                        float(&mut batch, &part("_sum", None), sketch.sum());
                        float(&mut batch, &part("_count", None), sketch.count());
                        for (bound, below) in sketch.classic() {
                            let text = bound.to_string();
                            float(&mut batch, &part("_bucket", Some(&text)), below);
                        }
                        float(&mut batch, &part("_bucket", Some("+Inf")), sketch.count());
                    }
                },
            }
        }
        self.series.retain(|_, series| now - series.seen <= expiry);
        let mut own: HashMap<Labels, u32> = HashMap::new();
        self.direct.sort_by_key(|(_, time, _)| *time);
        for (labels, time, value) in self.direct.drain(..) {
            // A series that is aggregated as well has its sample of this interval already.
            if self.series.contains_key(&labels) {
                continue;
            }
            let index = *own.entry(labels.clone()).or_insert_with(|| batch.add_series(&labels));
            batch.push_float(index, time, value);
        }
        for (name, metadata) in described {
            batch.push_metadata(name, metadata);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(batch: &Batch) -> Vec<String> {
        let name = |i: u32| Labels::from_encoded(batch.label_bytes(i).unwrap()).unwrap().to_string();
        let mut out: Vec<String> = batch
            .floats()
            .iter()
            .map(|s| {
                let value = if model::is_stale(s.value) { "stale".into() } else { s.value.to_string() };
                format!("{} {value}@{}", name(s.series), s.time)
            })
            .chain(batch.histograms().iter().map(|s| {
                format!("{} n{} s{}@{}", name(s.series), s.histogram.count, s.histogram.sum, s.time)
            }))
            .collect();
        out.sort();
        out
    }

    fn feed(aggregate: &mut Aggregate, now: i64, lines: &[&str]) -> Refused {
        let mut refused = Refused::default();
        lines.iter().for_each(|line| aggregate.line(line.as_bytes(), now, &mut refused));
        refused
    }

    #[test]
    fn values_add_up_over_intervals() {
        let mut all = Aggregate::new(&StatsdConfig::default(), 1);
        let refused = feed(
            &mut all,
            1000,
            &[
                "c:1|c|@0.5|#a:b",
                "c:3|c|#a:b",
                "g:5|g",
                "g:-2|g",
                "t:500|ms",
                "t:1500|ms",
                "s:x|s",
                "s:x|s",
                "s:y|s",
                "_sc|x|0",
            ],
        );
        assert_eq!((refused.count, refused.ignored), (0, 1));
        let batch = all.flush(1000);
        assert_eq!(shown(&batch), ["c{a=\"b\"} 5@1000", "g 3@1000", "s 2@1000", "t n2 s2@1000"]);
        batch.histograms()[0].histogram.validate().unwrap();
        feed(&mut all, 2000, &["c:1|c|#a:b", "d:7|g|T1"]);
        assert_eq!(
            shown(&all.flush(2000)),
            ["c{a=\"b\"} 6@2000", "d 7@1000", "g 3@2000", "s 0@2000", "t n2 s2@2000"]
        );
        // Silent series end once.
        let later = 2000 + StatsdConfig::default().expiry.ms() + 1;
        assert_eq!(shown(&all.flush(later)).iter().filter(|line| line.contains("stale")).count(), 4);
        assert!(all.flush(later + 1).is_empty());
    }

    #[test]
    fn classic_buckets_when_asked() {
        let config = StatsdConfig {
            histograms: HistogramForm::Classic,
            buckets: vec![0.1, 1.0],
            ..StatsdConfig::default()
        };
        let mut all = Aggregate::new(&config, 1);
        feed(&mut all, 0, &["t:50:500:5000|ms"]);
        assert_eq!(
            shown(&all.flush(9)),
            [
                "t_bucket{le=\"+Inf\"} 3@9",
                "t_bucket{le=\"0.1\"} 1@9",
                "t_bucket{le=\"1\"} 2@9",
                "t_count 3@9",
                "t_sum 5.55@9"
            ]
        );
    }

    #[test]
    fn limits_and_conflicts_are_named() {
        let mut all = Aggregate::new(&StatsdConfig { max_series: 1, ..StatsdConfig::default() }, 1);
        let refused = feed(&mut all, 0, &["a:1|c", "b:1|c"]);
        assert!(refused.count == 1 && refused.first.unwrap().contains("max_series"));
        let refused = feed(&mut all, 0, &["a:1|g"]);
        assert!(refused.first.unwrap().contains("counter"));
    }
}
