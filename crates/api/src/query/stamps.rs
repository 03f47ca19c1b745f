//! When samples of which time were last written: what tells whether a cached answer is still right.
//!
//! Every batch that reaches storage stamps the minutes of its samples with a number that only rises. An answer remembers the
//! number at which it was computed; where a minute that it looked at has a higher one, it is computed again. So a late sample, a
//! backfill or a deletion costs only the cached steps that it may have changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::seam::BoxFuture;
use model::{Appended, Appender, Batch, SeamError, TenantId};
use parking_lot::Mutex;

/// Milliseconds that share a stamp.
const BUCKET: i64 = 60_000;
/// Most buckets of one tenant; the oldest are then summed up in one.
const MAX_BUCKETS: usize = 16_384;
/// A write that spans more buckets stamps everything.
const MAX_SPAN: i64 = 4096;

/// The stamps of all tenants.
#[derive(Debug, Default)]
pub struct WriteStamps {
    tenants: Mutex<HashMap<TenantId, Stamps>>,
}

#[derive(Debug, Default)]
struct Stamps {
    last: u64,
    /// The stamp of everything.
    all: u64,
    /// The stamp of every bucket before `floor`.
    old: u64,
    floor: i64,
    buckets: BTreeMap<i64, u64>,
}

impl Stamps {
    fn write(&mut self, min: i64, max: i64) {
        self.last += 1;
        let (first, last) = (min.div_euclid(BUCKET), max.div_euclid(BUCKET));
        if last.saturating_sub(first) > MAX_SPAN {
            self.all = self.last;
            self.buckets.clear();
            return;
        }
        for bucket in first..=last {
            if bucket < self.floor {
                self.old = self.last;
            } else {
                self.buckets.insert(bucket, self.last);
            }
        }
        while self.buckets.len() > MAX_BUCKETS {
            if let Some((bucket, stamp)) = self.buckets.pop_first() {
                self.floor = bucket + 1;
                self.old = self.old.max(stamp);
            }
        }
    }

    fn first_change(&self, start: i64, end: i64, since: u64) -> Option<i64> {
        let (first, last) = (start.div_euclid(BUCKET), end.div_euclid(BUCKET));
        if self.all > since || (first < self.floor && self.old > since) {
            return Some(start);
        }
        let changed = self.buckets.range(first..=last).find(|(_, stamp)| **stamp > since);
        changed.map(|(bucket, _)| bucket.saturating_mul(BUCKET).max(start))
    }
}

impl WriteStamps {
    /// Samples between two times, both included, in milliseconds, were written or deleted.
    pub fn changed(&self, tenant: &TenantId, min: i64, max: i64) {
        let mut tenants = self.tenants.lock();
        match tenants.get_mut(tenant) {
            Some(stamps) => stamps.write(min, max),
            None => tenants.entry(tenant.clone()).or_default().write(min, max),
        }
    }

    /// The number that an answer remembers. Asked for before its samples are looked for.
    pub(crate) fn now(&self, tenant: &TenantId) -> u64 {
        self.tenants.lock().get(tenant).map_or(0, |stamps| stamps.last)
    }

    /// The earliest time between two times, both included, at which something may have changed since `since`.
    pub(crate) fn first_change(&self, tenant: &TenantId, start: i64, end: i64, since: u64) -> Option<i64> {
        self.tenants.lock().get(tenant)?.first_change(start, end, since)
    }
}

/// An [`Appender`] that stamps what passes through it to storage.
pub struct StampedAppender {
    inner: Arc<dyn Appender>,
    stamps: Arc<WriteStamps>,
}

impl StampedAppender {
    /// Wraps storage.
    pub fn new(inner: Arc<dyn Appender>, stamps: Arc<WriteStamps>) -> Self {
        Self { inner, stamps }
    }
}

/// Stamps when it is dropped: also when nobody waits for the append any more, whose samples may be visible all the same.
struct StampOnDrop<'a> {
    stamps: &'a WriteStamps,
    tenant: &'a TenantId,
    range: Option<(i64, i64)>,
}

impl Drop for StampOnDrop<'_> {
    fn drop(&mut self) {
        if let Some((min, max)) = self.range {
            self.stamps.changed(self.tenant, min, max);
        }
    }
}

impl Appender for StampedAppender {
    fn append<'a>(
        &'a self,
        tenant: &'a TenantId,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            let times =
                batch.floats().iter().map(|s| s.time).chain(batch.histograms().iter().map(|s| s.time));
            let range = times.fold(None, |range: Option<(i64, i64)>, time| {
                Some(range.map_or((time, time), |(min, max)| (min.min(time), max.max(time))))
            });
            let _stamp = StampOnDrop { stamps: &self.stamps, tenant, range };
            self.inner.append(tenant, batch).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = BUCKET;

    #[test]
    fn only_what_was_written_later_has_changed() {
        let stamps = WriteStamps::default();
        let tenant = TenantId::default();
        stamps.changed(&tenant, 10 * MINUTE, 12 * MINUTE);
        let then = stamps.now(&tenant);
        let change = |start, end| stamps.first_change(&tenant, start * MINUTE, end * MINUTE, then);
        assert_eq!(change(0, 100), None);
        stamps.changed(&tenant, 20 * MINUTE + 5, 20 * MINUTE + 6);
        assert_eq!(change(0, 19), None);
        assert_eq!(change(0, 100), Some(20 * MINUTE));
        // A late sample.
        stamps.changed(&tenant, 11 * MINUTE, 11 * MINUTE);
        assert_eq!(change(0, 100), Some(11 * MINUTE));
        assert_eq!(change(12, 100), Some(20 * MINUTE));
        let other = TenantId::new("other").unwrap();
        assert_eq!(stamps.first_change(&other, 0, 100 * MINUTE, 0), None);
        // Everything, as by a deletion without bounds.
        stamps.changed(&tenant, i64::MIN, i64::MAX);
        assert_eq!(change(50, 51), Some(50 * MINUTE));
        assert_eq!(stamps.first_change(&tenant, 0, 100 * MINUTE, stamps.now(&tenant)), None);
    }

    #[test]
    fn old_buckets_are_summed_up() {
        let stamps = WriteStamps::default();
        let tenant = TenantId::default();
        for minute in 0..MAX_BUCKETS as i64 + 10 {
            stamps.changed(&tenant, minute * MINUTE, minute * MINUTE);
        }
        assert_eq!(stamps.tenants.lock()[&tenant].buckets.len(), MAX_BUCKETS);
        let then = stamps.now(&tenant);
        stamps.changed(&tenant, 3 * MINUTE, 3 * MINUTE);
        assert_eq!(stamps.first_change(&tenant, 0, 100 * MINUTE, then), Some(0));
        assert_eq!(stamps.first_change(&tenant, 20 * MINUTE, 100 * MINUTE, then), None);
    }
}
