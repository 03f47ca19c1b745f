//! The seams: storage as `model::Appender` and `model::Querier`. The only asynchronous file.
//!
//! The work of a batch or a look-up is short and runs where it is called; on a multi-threaded runtime it tells the runtime
//! first when it may block. Waiting for the disk is asynchronous.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::seam::{BoxFuture, Names, Select, Selected, SeriesExemplars, TimeRange};
use model::{
    Appended, Appender, Batch, Budget, ErrorKind, Labels, Metadata, Querier, SeamError, Selector, TenantId,
};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use crate::db::Db;

/// Samples in a batch from which on the runtime is told that a thread is busy.
const LARGE_BATCH: usize = 5000;

/// Runs work that may take long or block.
fn block<T>(run: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(run),
        _ => run(),
    }
}

/// Runs work at once when it is `quick`: telling the runtime costs more than a look-up of few series.
fn block_unless<T>(quick: bool, run: impl FnOnce() -> T) -> T {
    if quick { run() } else { block(run) }
}

impl Db {
    fn quick(&self, tenant: &TenantId, selectors: &[Selector], range: TimeRange) -> bool {
        !selectors.is_empty()
            && self.is_quick(tenant, selectors.iter().map(Vec::as_slice), range.start.ms(), range.end.ms())
    }
}

impl Appender for Db {
    fn append<'a>(
        &'a self,
        tenant: &'a TenantId,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            let slow = batch.sample_count() >= LARGE_BATCH || self.would_wait(tenant);
            let begin = || self.begin_append(tenant, batch);
            let (tenant, outcome) = if slow { block(begin) } else { begin() }?;
            if let Some(ticket) = outcome.ticket {
                let (done, wait) = oneshot::channel();
                // The receiver is gone when the caller gave up; the batch is stored all the same.
                ticket.on_done(move |result| drop(done.send(result)));
                wait.await.map_err(|_| SeamError::new(ErrorKind::Unavailable, "storage is closed"))??;
            }
            tenant.count_accepted(&outcome.appended);
            Ok(outcome.appended)
        })
    }
}

impl Querier for Db {
    fn select<'a>(
        &'a self,
        tenant: &'a TenantId,
        selects: &'a [Select],
        budget: &'a Arc<Budget>,
    ) -> BoxFuture<'a, Result<Vec<Selected>, SeamError>> {
        Box::pin(async move {
            let start = selects.iter().map(|s| s.start.ms()).min().unwrap_or(0);
            let end = selects.iter().map(|s| s.end.ms()).max().unwrap_or(0);
            let quick = self.is_quick(tenant, selects.iter().map(|s| &*s.matchers), start, end);
            Ok(block_unless(quick, || Db::select(self, tenant, selects, budget))?)
        })
    }

    fn series<'a>(
        &'a self,
        tenant: &'a TenantId,
        selectors: &'a [Selector],
        range: TimeRange,
        limit: usize,
    ) -> BoxFuture<'a, Result<(Vec<Labels>, Vec<String>), SeamError>> {
        Box::pin(async move {
            let quick = self.quick(tenant, selectors, range);
            Ok(block_unless(quick, || Db::series(self, tenant, selectors, range, limit))?)
        })
    }

    fn label_names<'a>(
        &'a self,
        tenant: &'a TenantId,
        selectors: &'a [Selector],
        range: TimeRange,
        limit: usize,
    ) -> BoxFuture<'a, Result<Names, SeamError>> {
        Box::pin(async move {
            let quick = selectors.is_empty() || self.quick(tenant, selectors, range);
            Ok(block_unless(quick, || Db::label_names(self, tenant, selectors, range, limit))?)
        })
    }

    fn label_values<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        selectors: &'a [Selector],
        range: TimeRange,
        limit: usize,
    ) -> BoxFuture<'a, Result<Names, SeamError>> {
        Box::pin(async move {
            let quick = selectors.is_empty() || self.quick(tenant, selectors, range);
            Ok(block_unless(quick, || Db::label_values(self, tenant, name, selectors, range, limit))?)
        })
    }

    fn metadata<'a>(
        &'a self,
        tenant: &'a TenantId,
        metric: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<BTreeMap<String, Vec<Metadata>>, SeamError>> {
        Box::pin(async move { Ok(Db::metadata(self, tenant, metric, limit)) })
    }

    fn exemplars<'a>(
        &'a self,
        tenant: &'a TenantId,
        selectors: &'a [Selector],
        range: TimeRange,
    ) -> BoxFuture<'a, Result<Vec<SeriesExemplars>, SeamError>> {
        Box::pin(async move { Ok(block(|| Db::exemplars(self, tenant, selectors, range))) })
    }
}
