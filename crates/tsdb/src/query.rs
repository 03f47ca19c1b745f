//! Queries: one tenant's head and blocks as one set of series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use model::budget::Reservation;
use model::seam::{Select, Selected, SeriesExemplars, SeriesSet, TimeRange};
use model::{Budget, Labels, Samples, SeamError, Selector};

use crate::error::Result;
use crate::head::select::{GroupSnapshot, HeadSelected, retain};
use crate::tenant::Tenant;

/// Warning of an answer that a limit has cut.
pub(crate) const TRUNCATED: &str = "results truncated due to limit";

/// The series that a selector found.
#[derive(Default)]
pub(crate) struct DbSeries {
    groups: Vec<Arc<GroupSnapshot>>,
    series: Vec<Found>,
    /// Samples before this in the head are in blocks.
    min_valid: i64,
    _held: Option<Reservation>,
}

struct Found {
    labels: Labels,
    /// Group (index into `groups`) and column in the head.
    head: Option<(u32, u32)>,
}

impl SeriesSet for DbSeries {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.series[index].labels.clone()
    }

    fn read(&self, index: usize, out: &mut Samples) -> std::result::Result<(), SeamError> {
        out.clear();
        let found = &self.series[index];
        if let Some((group, column)) = found.head {
            self.groups[group as usize].read(column, out)?;
            if out.times.first().is_some_and(|&first| first < self.min_valid) {
                retain(out, |time| time >= self.min_valid);
            }
        }
        Ok(())
    }
}

/// Finds the series of one selector.
///
/// # Errors
/// `OverBudget`, `Corrupt`.
pub(crate) fn select(tenant: &Tenant, select: &Select, budget: &Arc<Budget>) -> Result<Selected> {
    let (start, end) = (select.start.ms().saturating_add(1), select.end.ms());
    let mut held = budget.reserve(0)?;
    let mut charge = |bytes: u64| Ok(held.grow(bytes)?);
    let min_valid = tenant.head.min_valid.load(std::sync::atomic::Ordering::Relaxed);
    let head = tenant.head.select(&select.matchers, start, end, select.hints.limit, &mut charge)?;
    let HeadSelected { groups, series } = head;
    let series = series
        .into_iter()
        .map(|found| Found { labels: found.labels, head: Some((found.group, found.column)) })
        .collect();
    let series = DbSeries { groups, series, min_valid, _held: Some(held) };
    Ok(Selected { series: Arc::new(series), warnings: Vec::new() })
}

/// Label sets of series with samples in the range, sorted, and warnings.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn series(
    tenant: &Tenant,
    selectors: &[Selector],
    range: TimeRange,
    limit: usize,
) -> Result<(Vec<Labels>, Vec<String>)> {
    let mut found: BTreeSet<Labels> = BTreeSet::new();
    let all = [Vec::new()];
    let selectors = if selectors.is_empty() { &all } else { selectors };
    for selector in selectors {
        let head = tenant.head.select(selector, range.start.ms(), range.end.ms(), 0, &mut |_| Ok(()))?;
        found.extend(head.series.into_iter().map(|s| s.labels));
    }
    let mut found: Vec<Labels> = found.into_iter().collect();
    let mut warnings = Vec::new();
    if limit > 0 && found.len() > limit {
        found.truncate(limit);
        warnings.push(TRUNCATED.to_owned());
    }
    Ok((found, warnings))
}

/// Adds label names; gives warnings.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn label_names(
    tenant: &Tenant,
    selectors: &[Selector],
    range: TimeRange,
    into: &mut BTreeSet<String>,
) -> Result<Vec<String>> {
    tenant.head.label_names(selectors, range.start.ms(), range.end.ms(), into);
    Ok(Vec::new())
}

/// Adds label values; gives warnings.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn label_values(
    tenant: &Tenant,
    name: &str,
    selectors: &[Selector],
    range: TimeRange,
    into: &mut BTreeSet<String>,
) -> Result<Vec<String>> {
    tenant.head.label_values(name, selectors, range.start.ms(), range.end.ms(), into);
    Ok(Vec::new())
}

/// Exemplars of the selected series.
pub(crate) fn exemplars(tenant: &Tenant, selectors: &[Selector], range: TimeRange) -> Vec<SeriesExemplars> {
    let mut wanted = HashMap::new();
    {
        let index = tenant.head.index.read();
        let mut buffer = Vec::new();
        let all = [Vec::new()];
        for selector in if selectors.is_empty() { &all } else { selectors } {
            for series in index.select(selector) {
                wanted.entry(index.place(series)).or_insert_with(|| index.labels(series, &mut buffer));
            }
        }
    }
    let found: BTreeMap<_, _> = tenant.head.meta.lock().exemplars(&wanted, range.start.ms(), range.end.ms());
    found.into_iter().map(|(labels, exemplars)| SeriesExemplars { labels, exemplars }).collect()
}
