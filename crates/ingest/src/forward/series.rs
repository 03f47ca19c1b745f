//! Series of a process without a storage: references for them, so that what ends can be told.

use std::collections::HashMap;

use model::batch::SeriesKey;
use model::seam::BoxFuture;
use model::{Appended, Appender, Batch, Labels, SeamError, SeriesRef, TenantId};
use parking_lot::Mutex;

/// Series that are remembered; a table that is full begins anew.
const MAX_SERIES: usize = 2_000_000;

/// Gives series references and stores nothing: what is sent is the spool's.
#[derive(Default)]
pub(super) struct Series(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_labels: HashMap<Box<[u8]>, u64>,
    /// A table begins anew when it is full; references of an older one are not known.
    first: u64,
    by_ref: Vec<Box<[u8]>>,
}

impl Series {
    pub(super) fn labels_of(&self, series: SeriesRef) -> Option<Labels> {
        let table = self.0.lock();
        let index = usize::try_from(series.0.checked_sub(table.first)?).ok()?;
        Labels::from_encoded(table.by_ref.get(index)?)
    }
}

impl Appender for Series {
    fn append<'a>(&'a self, _: &'a TenantId, batch: &'a Batch) -> BoxFuture<'a, Result<Appended, SeamError>> {
        let mut table = self.0.lock();
        if table.by_ref.len() >= MAX_SERIES {
            table.first += table.by_ref.len() as u64;
            table.by_labels.clear();
            table.by_ref.clear();
        }
        let mut appended = Appended { accepted: batch.sample_count(), ..Appended::default() };
        for (index, key) in batch.series().iter().enumerate() {
            let index = index as u32;
            let known = match key {
                SeriesKey::Ref(series) => {
                    let at = series.0.checked_sub(table.first).and_then(|at| usize::try_from(at).ok());
                    at.filter(|at| *at < table.by_ref.len()).map(|_| *series)
                }
                SeriesKey::Labels(_) => {
                    batch.label_bytes(index).map(|bytes| match table.by_labels.get(bytes) {
                        Some(series) => SeriesRef(*series),
                        None => {
                            let series = table.first + table.by_ref.len() as u64;
                            table.by_ref.push(bytes.into());
                            table.by_labels.insert(bytes.into(), series);
                            appended.created.push(index);
                            SeriesRef(series)
                        }
                    })
                }
            };
            if known.is_none() {
                appended.unknown_refs.push(index);
            }
            appended.refs.push(known);
        }
        Box::pin(async move { Ok(appended) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn series_keep_their_references() {
        let series = Series::default();
        let labels = Labels::from_pairs([("__name__", "probe_success"), ("instance", "a")]);
        let mut batch = Batch::new();
        let index = batch.add_series(&labels);
        batch.push_float(index, 1, 1.0);
        let first = series.append(&TenantId::default(), &batch).await.unwrap();
        let reference = first.refs[0].unwrap();
        assert_eq!((first.accepted, first.created.len()), (1, 1));
        assert_eq!(series.labels_of(reference), Some(labels));
        let mut batch = Batch::new();
        batch.add_series_ref(reference);
        batch.add_series_ref(SeriesRef(7));
        let again = series.append(&TenantId::default(), &batch).await.unwrap();
        assert_eq!((again.refs, again.unknown_refs), (vec![Some(reference), None], vec![1]));
    }
}
