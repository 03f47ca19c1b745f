//! The series that a script has loaded, in memory.
//!
//! Implements [`Querier`] for one tenant, so that it can stand in for a storage anywhere. Counter reset hints of native
//! histograms are given back as Prometheus' TSDB does: what follows another histogram without a reset is known to be no
//! reset, what was sent as a reset is one, and of everything else nothing is known.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use model::histogram::ResetHint;
use model::matcher::selects;
use model::sample::STALE_NAN;
use model::seam::{BoxFuture, Names, Querier, Select, Selected, SeriesExemplars, SeriesSet, TimeRange};
use model::{Budget, Histogram, Labels, Metadata, Samples, SeamError, Selector, TenantId, is_stale};

use crate::histogram::is_reset;

/// Series in memory, sorted by labels.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    series: BTreeMap<Labels, Arc<Stored>>,
}

#[derive(Clone, Debug, Default)]
struct Stored {
    /// By time: the value and the start timestamp (0: unknown).
    points: BTreeMap<i64, (model::Value, i64)>,
}

impl Storage {
    /// Nothing is stored.
    pub fn new() -> Self {
        Self::default()
    }

    /// Throws everything away.
    pub fn clear(&mut self) {
        self.series.clear();
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Stores a point; one at the same time is replaced. `time` is in milliseconds, `start` is the start timestamp in
    /// milliseconds, 0 when it is not known.
    pub fn insert(&mut self, labels: &Labels, time: i64, value: model::Value, start: i64) {
        let stored = Arc::make_mut(self.series.entry(labels.clone()).or_default());
        stored.points.insert(time, (value, start));
    }

    /// The series that `matchers` select, with all their samples.
    pub fn select(&self, matchers: &Selector) -> Arc<dyn SeriesSet> {
        let found = self.series.iter().filter(|(labels, _)| selects(matchers, labels));
        Arc::new(Set { series: found.map(|(labels, stored)| (labels.clone(), Arc::clone(stored))).collect() })
    }

    /// What a query's selectors find.
    pub fn fetch(&self, selects: &[Select]) -> Vec<Selected> {
        let one = |select: &Select| Selected { series: self.select(&select.matchers), warnings: Vec::new() };
        selects.iter().map(one).collect()
    }

    /// The label sets with samples in `range` that a selector accepts.
    fn matching<'a>(
        &'a self,
        selectors: &'a [Selector],
        range: TimeRange,
    ) -> impl Iterator<Item = &'a Labels> {
        let within = (Bound::Included(range.start.ms()), Bound::Included(range.end.ms()));
        self.series
            .iter()
            .filter(move |(_, stored)| {
                range.start <= range.end && stored.points.range(within).next().is_some()
            })
            .map(|(labels, _)| labels)
            .filter(|labels| selectors.is_empty() || selectors.iter().any(|one| selects(one, labels)))
    }
}

impl Stored {
    fn read(&self, out: &mut Samples) {
        out.clear();
        let mut run = Run::default();
        for (&time, (value, start)) in &self.points {
            match value {
                model::Value::Float(value) if is_stale(*value) && run.last.is_some() => {
                    // The series is one of histograms, so its marker is one too.
                    let stale = Histogram { sum: f64::from_bits(STALE_NAN), ..Histogram::default() };
                    out.push_histogram(time, run.next(&Arc::new(stale)));
                }
                model::Value::Float(value) => {
                    run = Run::default();
                    out.push_float(time, *value);
                }
                model::Value::Histogram(histogram) => out.push_histogram(time, run.next(histogram)),
            }
            if *start != 0 {
                out.set_last_start(*start);
            }
        }
    }
}

/// Histograms that follow one another.
#[derive(Default)]
struct Run {
    last: Option<Arc<Histogram>>,
}

impl Run {
    /// `histogram` with the hint that a reader gets.
    fn next(&mut self, histogram: &Arc<Histogram>) -> Arc<Histogram> {
        let gauge = histogram.reset_hint == ResetHint::Gauge;
        let hint = match &self.last {
            _ if gauge => ResetHint::Gauge,
            _ if histogram.reset_hint == ResetHint::Reset => ResetHint::Reset,
            None => ResetHint::Unknown,
            Some(last) if last.reset_hint == ResetHint::Gauge => ResetHint::Unknown,
            // A marker fits behind everything, but nothing but a marker fits behind a marker.
            Some(_) if histogram.is_stale() => ResetHint::NotReset,
            Some(last) if last.is_stale() => ResetHint::Unknown,
            Some(last) => {
                let unhinted = Histogram { reset_hint: ResetHint::Unknown, ..(**histogram).clone() };
                let same_layout =
                    last.schema == histogram.schema && last.zero_threshold == histogram.zero_threshold;
                match () {
                    () if !same_layout => ResetHint::Unknown,
                    () if last.custom_values != histogram.custom_values => ResetHint::Unknown,
                    () if is_reset(&unhinted, last) => ResetHint::Unknown,
                    () => ResetHint::NotReset,
                }
            }
        };
        self.last = Some(Arc::clone(histogram));
        if hint == histogram.reset_hint {
            return Arc::clone(histogram);
        }
        Arc::new(Histogram { reset_hint: hint, ..(**histogram).clone() })
    }
}

struct Set {
    series: Vec<(Labels, Arc<Stored>)>,
}

impl SeriesSet for Set {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.series[index].0.clone()
    }

    fn read(&self, index: usize, out: &mut Samples) -> Result<(), SeamError> {
        self.series[index].1.read(out);
        Ok(())
    }
}

impl Querier for Storage {
    fn select<'a>(
        &'a self,
        _: &'a TenantId,
        selects: &'a [Select],
        _: &'a Arc<Budget>,
    ) -> BoxFuture<'a, Result<Vec<Selected>, SeamError>> {
        Box::pin(async { Ok(self.fetch(selects)) })
    }

    fn series<'a>(
        &'a self,
        _: &'a TenantId,
        selectors: &'a [Selector],
        range: TimeRange,
        limit: usize,
    ) -> BoxFuture<'a, Result<(Vec<Labels>, Vec<String>), SeamError>> {
        let found = self.matching(selectors, range).take(at_most(limit)).cloned().collect();
        Box::pin(async { Ok((found, Vec::new())) })
    }

    fn label_names<'a>(
        &'a self,
        _: &'a TenantId,
        selectors: &'a [Selector],
        range: TimeRange,
        limit: usize,
    ) -> BoxFuture<'a, Result<Names, SeamError>> {
        let names: BTreeSet<&str> =
            self.matching(selectors, range).flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        let names = names.into_iter().take(at_most(limit)).map(str::to_owned).collect();
        Box::pin(async { Ok(Names { names, warnings: Vec::new() }) })
    }

    fn label_values<'a>(
        &'a self,
        _: &'a TenantId,
        name: &'a str,
        selectors: &'a [Selector],
        range: TimeRange,
        limit: usize,
    ) -> BoxFuture<'a, Result<Names, SeamError>> {
        let values: BTreeSet<&str> =
            self.matching(selectors, range).filter_map(|labels| labels.get(name)).collect();
        let names = values.into_iter().take(at_most(limit)).map(str::to_owned).collect();
        Box::pin(async { Ok(Names { names, warnings: Vec::new() }) })
    }

    fn metadata<'a>(
        &'a self,
        _: &'a TenantId,
        _: Option<&'a str>,
        _: usize,
    ) -> BoxFuture<'a, Result<BTreeMap<String, Vec<Metadata>>, SeamError>> {
        // Scripts load series, never metadata.
        Box::pin(async { Ok(BTreeMap::new()) })
    }

    fn exemplars<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a [Selector],
        _: TimeRange,
    ) -> BoxFuture<'a, Result<Vec<SeriesExemplars>, SeamError>> {
        // Nor exemplars.
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn at_most(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}
