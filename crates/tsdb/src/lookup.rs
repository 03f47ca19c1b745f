//! Questions about single series of the head, for those who stand in front of the storage.

use model::{Labels, Matcher, SeriesRef, TenantId};

use crate::db::Db;
use crate::head::group::GONE;
use crate::head::split;

/// So many series are few.
const QUICK: usize = 256;

impl Db {
    /// The labels of a series by the reference that an append gave; `None` when the head no longer has it.
    pub fn labels_of(&self, tenant: &TenantId, series: SeriesRef) -> Option<Labels> {
        let tenant = self.tenant(tenant)?;
        let index = tenant.head.index.read();
        let (number, column) = split(series);
        let group = tenant.head.groups.read().by_number.get(&number).cloned()?;
        let found = group.state.lock().series.get(column as usize).copied().filter(|found| *found != GONE)?;
        Some(index.labels(found, &mut Vec::new()))
    }

    /// Whether what passes any of the selectors between two times is found at once: few series, all of them in the head.
    pub(crate) fn is_quick<'a>(
        &self,
        tenant: &TenantId,
        selectors: impl IntoIterator<Item = &'a [Matcher]>,
        start: i64,
        end: i64,
    ) -> bool {
        let Some(tenant) = self.tenant(tenant) else { return true };
        if tenant.readable().metas().any(|meta| meta.overlaps(start, end)) {
            return false;
        }
        let index = tenant.head.index.read();
        selectors.into_iter().map(|matchers| index.at_most(matchers)).sum::<usize>() <= QUICK
    }

    /// Whether the head has a series with these labels, in their canonical encoding.
    pub fn is_active(&self, tenant: &TenantId, encoded: &[u8]) -> bool {
        let Some(tenant) = self.tenant(tenant) else { return false };
        let index = tenant.head.index.read();
        index.find(index.hash(encoded)).is_some()
    }
}
