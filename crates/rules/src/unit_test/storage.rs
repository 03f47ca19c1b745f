//! The storage of a test: series in memory, evaluated and appended to in place.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::batch::SeriesKey;
use model::seam::BoxFuture;
use model::{
    Alert, Appended, Appender, Batch, Budget, Clock, ErrorKind, Labels, Notifier, SeamError, SeriesRef,
    TenantId, Timestamp, Value,
};
use parking_lot::Mutex;
use promql::script::Storage;
use promql::{EvalOptions, Limits, Times, plan};

use crate::engine::compute;
use crate::evaluate::{Evaluator, Vector};
use crate::rule::Query;

#[derive(Default)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
    options: EvalOptions,
}

#[derive(Default)]
struct Inner {
    storage: Storage,
    names: Vec<Labels>,
    refs: HashMap<Labels, SeriesRef>,
}

impl Memory {
    pub(super) fn new(subquery_step_ms: i64) -> Self {
        let options = EvalOptions { subquery_step_ms, ..EvalOptions::default() };
        Self { inner: Mutex::default(), options }
    }

    pub(super) fn insert(&self, labels: &Labels, time: i64, value: Value) {
        self.inner.lock().storage.insert(labels, time, value, 0);
    }

    pub(super) fn query(&self, query: &Query, at: Timestamp) -> Result<Vector, SeamError> {
        let plan = plan(&query.expr, Times::Instant(at), &self.options)
            .map_err(|err| SeamError::new(err.kind(), err.to_string()))?;
        let selected = self.inner.lock().storage.fetch(plan.selects());
        let limits = Limits { threads: 1, ..Limits::default() };
        compute(&plan, selected, &limits, &Budget::unlimited(), &AtomicBool::new(false))
    }
}

impl Evaluator for Memory {
    fn instant<'a>(
        &'a self,
        _: &'a TenantId,
        queries: &'a [Arc<Query>],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Result<Vector, SeamError>>> {
        Box::pin(async move { queries.iter().map(|query| self.query(query, at)).collect() })
    }
}

impl Appender for Memory {
    fn append<'a>(&'a self, _: &'a TenantId, batch: &'a Batch) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            let inner = &mut *self.inner.lock();
            let mut appended = Appended { accepted: batch.sample_count(), ..Appended::default() };
            let mut names = Vec::with_capacity(batch.series().len());
            for (index, key) in batch.series().iter().enumerate() {
                let labels = match key {
                    SeriesKey::Ref(known) => inner.names.get(known.0 as usize).cloned(),
                    SeriesKey::Labels(_) => batch.label_bytes(index as u32).and_then(Labels::from_encoded),
                };
                let labels =
                    labels.ok_or_else(|| SeamError::new(ErrorKind::Internal, "a series without labels"))?;
                let known = *inner.refs.entry(labels.clone()).or_insert_with(|| {
                    inner.names.push(labels.clone());
                    SeriesRef(inner.names.len() as u64 - 1)
                });
                appended.refs.push(Some(known));
                names.push(labels);
            }
            for sample in batch.floats() {
                let value = Value::Float(sample.value);
                inner.storage.insert(&names[sample.series as usize], sample.time, value, 0);
            }
            for sample in batch.histograms() {
                let value = Value::Histogram(Arc::clone(&sample.histogram));
                inner.storage.insert(&names[sample.series as usize], sample.time, value, 0);
            }
            Ok(appended)
        })
    }
}

/// Alerts are looked at where they are, so nobody is told.
pub(super) struct Nobody;

impl Notifier for Nobody {
    fn notify<'a>(&'a self, _: &'a TenantId, _: Vec<Alert>) -> BoxFuture<'a, Result<(), SeamError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Clock for Nobody {
    /// Groups are told when they are evaluated, so nobody asks.
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}
