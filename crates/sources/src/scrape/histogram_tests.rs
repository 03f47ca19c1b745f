//! Classic histograms that become native ones, body after body, without a socket.

use std::collections::BTreeMap;

use model::{Appended, Batch, Labels, SeriesRef};
use wire::Format;
use wire::exposition::{Cache, read};

use super::collect::{Collect, Counts, Rules, Table};
use crate::config::ScrapeConfig;

/// A target that is read again and again by a storage that gives references.
struct Target {
    rules: Rules,
    labels: Labels,
    cache: Cache,
    table: Table,
    names: Vec<Labels>,
    time: i64,
}

/// What one body gave: floats and histograms by series.
#[derive(Debug, Default)]
struct Got {
    floats: BTreeMap<String, f64>,
    histograms: BTreeMap<String, model::Histogram>,
    counts: Counts,
}

impl Target {
    fn new(change: impl FnOnce(&mut ScrapeConfig)) -> Self {
        let mut config = ScrapeConfig::new("j", Vec::new());
        config.convert_classic_histograms_to_nhcb = Some(true);
        change(&mut config);
        Self {
            rules: super::pool::rules(&config),
            labels: Labels::from_pairs([("instance", "i")]),
            cache: Cache::new(1),
            table: Table::new(1),
            names: Vec::new(),
            time: 0,
        }
    }

    fn read(&mut self, body: &str) -> Result<Got, String> {
        self.time += 1000;
        let (mut batch, mut rows) = (Batch::new(), Vec::new());
        let mut collect =
            Collect::new(&self.rules, &self.labels, self.time, &mut self.table, &mut batch, &mut rows);
        read(Format::Text004, body.as_bytes(), &mut self.cache, &mut collect)
            .map_err(|err| err.to_string())?;
        collect.complete()?;
        let mut got = Got { counts: collect.finish().0, ..Got::default() };
        self.table.mark_stale(&mut batch, &mut rows, self.time, false, false);
        let mut appended = Appended::default();
        for (index, key) in batch.series().iter().enumerate() {
            appended.refs.push(Some(match key {
                model::batch::SeriesKey::Ref(reference) => *reference,
                model::batch::SeriesKey::Labels(_) => {
                    let bytes = batch.label_bytes(index as u32).unwrap();
                    self.names.push(Labels::from_encoded(bytes).unwrap());
                    SeriesRef(self.names.len() as u64 - 1)
                }
            }));
        }
        let name = |series: u32| self.names[appended.refs[series as usize].unwrap().0 as usize].to_string();
        for sample in batch.floats() {
            got.floats.insert(name(sample.series), sample.value);
        }
        for sample in batch.histograms() {
            got.histograms.insert(name(sample.series), model::Histogram::clone(&sample.histogram));
        }
        self.table.learn(&rows, &appended);
        Ok(got)
    }
}

fn body(scale: u32) -> String {
    let n = |n: u32| n * scale;
    format!(
        "# TYPE h histogram\nh_bucket{{a=\"1\",le=\"0.5\"}} {}\nh_bucket{{a=\"1\",le=\"1\"}} {}\nh_bucket{{a=\"1\",le=\"+Inf\"}} {}\nh_sum{{a=\"1\"}} {}\nh_count{{a=\"1\"}} {}\n# TYPE g gauge\ng 4\n",
        n(2),
        n(5),
        n(6),
        n(7),
        n(6)
    )
}

const SERIES: &str = r#"h{a="1", instance="i"}"#;

#[test]
fn classic_histograms_become_native_ones() {
    let mut target = Target::new(|_| {});
    for scale in [1, 2, 3] {
        let got = target.read(&body(scale)).unwrap();
        let scale = f64::from(scale);
        let h = &got.histograms[SERIES];
        assert_eq!((h.schema, &h.custom_values[..]), (-53, &[0.5, 1.0][..]));
        assert_eq!(h.positive, [2.0 * scale, 3.0 * scale, scale]);
        assert_eq!((h.count, h.sum), (6.0 * scale, 7.0 * scale));
        assert_eq!(got.floats.keys().map(String::as_str).collect::<Vec<_>>(), [r#"g{instance="i"}"#]);
        assert_eq!((got.counts.scraped, got.counts.kept), (2, 2));
    }
    // It goes: its series ends as any other does.
    let got = target.read("# TYPE g gauge\ng 4\n").unwrap();
    assert!(got.histograms.is_empty() && model::is_stale(got.floats[SERIES]), "{got:?}");
    assert_eq!(target.read(&body(4)).unwrap().histograms[SERIES].count, 24.0);
}

#[test]
fn classic_series_are_kept_beside_it_when_asked_for() {
    let mut target = Target::new(|config| config.always_scrape_classic_histograms = Some(true));
    for scale in [1, 2] {
        let got = target.read(&body(scale)).unwrap();
        assert_eq!(got.histograms.len(), 1);
        assert_eq!(got.floats[r#"h_bucket{a="1", instance="i", le="1.0"}"#], 5.0 * f64::from(scale));
        assert_eq!(got.floats[r#"h_count{a="1", instance="i"}"#], 6.0 * f64::from(scale));
    }
}

#[test]
fn what_only_looks_like_a_part_stays_as_it_is() {
    let mut target = Target::new(|_| {});
    for value in [1, 2] {
        let got = target.read(&format!("# TYPE h histogram\nother_count{{x=\"y\"}} {value}\n")).unwrap();
        assert!(got.histograms.is_empty());
        assert_eq!(got.floats[r#"other_count{instance="i", x="y"}"#], f64::from(value));
    }
    // Buckets that contradict each other make no sample, and hurt no other.
    let got = target.read("# TYPE h histogram\nh_bucket{le=\"1\"} 5\nh_bucket{le=\"+Inf\"} 3\nh_count 3\n# TYPE g gauge\ng 1\n").unwrap();
    assert!(got.histograms.is_empty());
    assert_eq!(got.floats[r#"g{instance="i"}"#], 1.0);
}

#[test]
fn too_many_buckets_fail_the_scrape() {
    let mut target = Target::new(|config| config.native_histogram_bucket_limit = 2);
    let err = target.read(&body(1)).unwrap_err();
    assert!(err.contains("bucket limit exceeded: the limit is 2"), "{err}");
    let mut target = Target::new(|config| config.native_histogram_bucket_limit = 3);
    assert_eq!(target.read(&body(1)).unwrap().histograms.len(), 1);
    let mut target = Target::new(|config| config.sample_limit = 1);
    assert!(target.read(&body(1)).unwrap_err().contains("sample limit exceeded"));
}
