//! The five seams through which the crates meet. A trait is added here when a second real implementation exists.
//!
//! Every seam takes the tenant first and works on batches, so that a boxed future is paid once a batch. A dropped future
//! cancels the work.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::alert::Alert;
use crate::batch::{Appended, Batch};
use crate::budget::Budget;
use crate::error::SeamError;
use crate::family::Metadata;
use crate::labels::Labels;
use crate::matcher::Selector;
use crate::sample::{Exemplar, Samples};
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// What an object-safe async method returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where samples go.
pub trait Appender: Send + Sync {
    /// Stores a batch. When the answer is `Ok`, what it counts as accepted is durable by the storage's policy.
    ///
    /// # Errors
    /// `Unavailable` and `Limit`: nothing was acknowledged, send the same batch again later (parts of it may have been
    /// stored; storing a sample twice is harmless). `Corrupt`, `Internal`: give up.
    fn append<'a>(
        &'a self,
        tenant: &'a TenantId,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Appended, SeamError>>;
}

/// One selector of a query and what will be done with its series.
#[derive(Clone, Debug)]
pub struct Select {
    /// Which series.
    pub matchers: Selector,
    /// Samples at or before this are not needed.
    pub start: Timestamp,
    /// Samples after this are not needed.
    pub end: Timestamp,
    /// Hints that allow, but do not require, a cheaper answer.
    pub hints: SelectHints,
}

/// What the query will do with a selector's series.
#[derive(Clone, Debug, Default)]
pub struct SelectHints {
    /// The query's step in milliseconds, 0 for an instant query.
    pub step_ms: i64,
    /// The range of a range selector in milliseconds, 0 for an instant selector.
    pub range_ms: i64,
    /// The function or aggregation directly around the selector, `""` when there is none.
    pub function: &'static str,
    /// At most this many series are needed (0: all), any of them.
    pub limit: usize,
}

/// The series that a selector found: labels at once, samples on demand, so that a query decodes one batch of series at a
/// time on as many threads as it likes. Holds a snapshot: later appends and deletions do not change it.
pub trait SeriesSet: Send + Sync {
    /// How many series.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of series `index`.
    fn labels(&self, index: usize) -> Labels;

    /// Groups of series whose labels agree in the names that `keep` accepts. A set that knows its labels as numbers finds
    /// them without making label sets.
    fn group(&self, keep: &dyn Fn(&str) -> bool) -> Grouped {
        let mut grouped = Grouped::default();
        let mut known = HashMap::new();
        for index in 0..self.len() {
            grouped.add(self.labels(index).filtered(keep), &mut known);
        }
        grouped
    }

    /// Clears `out` and fills it with the samples of series `index` with `start < time <= end` of the select; more on
    /// either side is allowed.
    ///
    /// # Errors
    /// `Corrupt` when stored data is damaged.
    fn read(&self, index: usize, out: &mut Samples) -> Result<(), SeamError>;
}

/// Series in groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouped {
    /// Of each series: the number of its group. Groups are numbered from 0 on, in the order of their first series.
    pub ids: Vec<u32>,
    /// Of each group: the labels that its series have in common.
    pub labels: Vec<Labels>,
}

impl Grouped {
    /// Adds a series with these labels to its group. `known` has the groups by their labels.
    pub fn add(&mut self, labels: Labels, known: &mut HashMap<Labels, u32>) {
        let next = self.labels.len() as u32;
        let id = *known.entry(labels).or_insert_with_key(|labels| {
            self.labels.push(labels.clone());
            next
        });
        self.ids.push(id);
    }
}

/// What a selector found.
#[derive(Clone)]
pub struct Selected {
    /// The series, in an order that is the same for the same data.
    pub series: Arc<dyn SeriesSet>,
    /// What is missing from them, in words for the user; empty when nothing is.
    pub warnings: Vec<String>,
}

/// Label names or values, and whether some are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Sorted, unique.
    pub names: Vec<String>,
    /// What is missing, in words for the user.
    pub warnings: Vec<String>,
}

/// A time range, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant.
    pub start: Timestamp,
    /// Last instant.
    pub end: Timestamp,
}

/// Exemplars of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// The series.
    pub labels: Labels,
    /// Its exemplars, ascending in time.
    pub exemplars: Vec<Exemplar>,
}

/// Where series come from. In every method several selectors are joined by "or"; no selector means "all"; `limit` 0 means
/// "no limit".
pub trait Querier: Send + Sync {
    /// Finds the series of each selector of one query, in the selectors' order. `budget` is charged for what the answer
    /// holds in memory.
    ///
    /// # Errors
    /// `Limit` when the budget is exhausted, `Corrupt` or `Unavailable` when nothing can be answered.
    fn select<'a>(
        &'a self,
        tenant: &'a TenantId,
        selects: &'a [Select],
        budget: &'a Arc<Budget>,
    ) -> BoxFuture<'a, Result<Vec<Selected>, SeamError>>;

    /// The label sets of series with samples in `range`, sorted.
    fn series<'a>(
        &'a self,
        tenant: &'a TenantId,
        selectors: &'a [Selector],
        range: TimeRange,
        limit: usize,
    ) -> BoxFuture<'a, Result<(Vec<Labels>, Vec<String>), SeamError>>;

    /// The label names of those series.
    fn label_names<'a>(
        &'a self,
        tenant: &'a TenantId,
        selectors: &'a [Selector],
        range: TimeRange,
        limit: usize,
    ) -> BoxFuture<'a, Result<Names, SeamError>>;

    /// The values that label `name` has in those series.
    fn label_values<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        selectors: &'a [Selector],
        range: TimeRange,
        limit: usize,
    ) -> BoxFuture<'a, Result<Names, SeamError>>;

    /// Metadata by metric name; several entries where sources disagree. `metric` `None` means all.
    fn metadata<'a>(
        &'a self,
        tenant: &'a TenantId,
        metric: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<BTreeMap<String, Vec<Metadata>>, SeamError>>;

    /// Exemplars of the selected series within `range`.
    fn exemplars<'a>(
        &'a self,
        tenant: &'a TenantId,
        selectors: &'a [Selector],
        range: TimeRange,
    ) -> BoxFuture<'a, Result<Vec<SeriesExemplars>, SeamError>>;
}

/// Where alerts go.
pub trait Notifier: Send + Sync {
    /// Hands over alerts, firing and resolved; `Ok` means that the alert manager has them.
    ///
    /// # Errors
    /// `Unavailable`: send them again with the next evaluation.
    fn notify<'a>(&'a self, tenant: &'a TenantId, alerts: Vec<Alert>)
    -> BoxFuture<'a, Result<(), SeamError>>;
}

/// A value in a [`StateStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Vec<u8>,
    /// Rises with every change of the key; never 0.
    pub revision: u64,
}

/// What must be true for a write to a [`StateStore`] to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// The key does not exist.
    Absent,
    /// The key has this revision.
    Revision(u64),
}

/// Small, contended, durable state: silences, the notification log, `for` timers. Keys live in named buckets.
pub trait StateStore: Send + Sync {
    /// Reads a key.
    fn get<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, SeamError>>;

    /// Writes a key and returns its revision, or `None` when `expect` does not hold. Durable when it returns.
    fn put<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
        value: &'a [u8],
        expect: Expect,
    ) -> BoxFuture<'a, Result<Option<u64>, SeamError>>;

    /// Writes many keys of one bucket, all or none; a `None` value deletes. Durable when it returns.
    fn put_all<'a>(
        &'a self,
        bucket: &'a str,
        entries: &'a [(String, Option<Vec<u8>>)],
    ) -> BoxFuture<'a, Result<(), SeamError>>;

    /// Deletes a key; whether it existed.
    fn delete<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<bool, SeamError>>;

    /// All keys that start with `prefix`, sorted.
    fn list<'a>(
        &'a self,
        bucket: &'a str,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>, SeamError>>;
}
