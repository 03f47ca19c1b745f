//! Which blocks a query reads: those on disk, and copies in the store of blocks that are not.

use std::sync::Arc;

use super::{Remote, TenantBucket};
use crate::block::{Block, BlockMeta};
use crate::error::{Error, Result};
use crate::tenant::Tenant;

/// The blocks of a tenant as of one moment, each once.
pub(crate) struct Readable {
    local: Arc<Vec<Arc<Block>>>,
    /// Not on disk.
    remote: Vec<Arc<Remote>>,
    /// What is missing.
    pub(crate) warnings: Vec<String>,
}

impl Tenant {
    /// The blocks that queries read.
    pub(crate) fn readable(&self) -> Readable {
        let local = self.blocks.list();
        let (mut remote, mut warnings) = (Vec::new(), Vec::new());
        if let Some(bucket) = &self.bucket {
            let damaged = Arc::clone(&bucket.known.read());
            warnings.extend(damaged.damaged.values().map(|err| format!("{MISSING}: {err}")));
            match bucket.visible(&local) {
                Some(visible) => remote = visible,
                None => warnings.push(
                    "samples that are in the object store alone are missing: it has not answered since the start"
                        .to_owned(),
                ),
            }
        }
        Readable { local, remote, warnings }
    }
}

impl TenantBucket {
    /// Copies of blocks that `local` lacks, by first time; `None` before the store was listed.
    pub(crate) fn visible(&self, local: &[Arc<Block>]) -> Option<Vec<Arc<Remote>>> {
        let known = Arc::clone(&self.known.read());
        known.at?;
        let registry = self.registry.lock();
        let hidden = registry.hidden(local);
        let replaced: std::collections::BTreeSet<&String> =
            known.copies.values().flat_map(|copy| &copy.replaces).collect();
        let is_visible =
            |copy: &&Arc<Remote>| !hidden.contains(copy.name.as_str()) && !replaced.contains(&copy.name);
        let mut visible: Vec<_> = known.copies.values().filter(is_visible).cloned().collect();
        visible.sort_by(|a, b| (a.meta.min_time, &a.name).cmp(&(b.meta.min_time, &b.name)));
        Some(visible)
    }
}

impl Readable {
    /// What the blocks say of themselves.
    pub(crate) fn metas(&self) -> impl Iterator<Item = &BlockMeta> {
        self.local.iter().map(|block| block.meta()).chain(self.remote.iter().map(|copy| &copy.meta))
    }

    /// Opens the blocks that `wanted` picks. What cannot be opened is in the warnings.
    pub(crate) fn open(&mut self, tenant: &Tenant, wanted: impl Fn(&BlockMeta) -> bool) -> Vec<Arc<Block>> {
        let mut blocks: Vec<Arc<Block>> =
            self.local.iter().filter(|block| wanted(block.meta())).cloned().collect();
        let Some(bucket) = &tenant.bucket else { return blocks };
        let before = blocks.len();
        for copy in self.remote.iter().filter(|copy| wanted(&copy.meta)) {
            match bucket.open_copy(copy) {
                Ok(block) => blocks.push(block),
                Err(err) => self.warnings.push(missing(&err)),
            }
        }
        if blocks.len() > before {
            blocks.sort_by(|a, b| (a.meta().min_time, &a.meta().id).cmp(&(b.meta().min_time, &b.meta().id)));
        }
        blocks
    }
}

const MISSING: &str = "samples of a damaged block are missing";

/// The warning about a block that cannot be read.
pub(crate) fn missing(err: &Error) -> String {
    match err {
        Error::ObjectStore { .. } => format!("samples in the object store are missing: {err}"),
        _ => format!("{MISSING}: {err}"),
    }
}

/// The names of copies that hold samples in `start..=end` and are not on disk, as tombstones name them.
///
/// # Errors
/// `ObjectStore` before the store was listed, or when a copy there is damaged: what it holds is not known.
pub(crate) fn pending(tenant: &Tenant, start: i64, end: i64) -> Result<Vec<String>> {
    let Some(bucket) = &tenant.bucket else { return Ok(Vec::new()) };
    let visible = bucket.visible(&tenant.blocks.list()).ok_or_else(|| Error::ObjectStore {
        verb: "list",
        object: bucket.folder.to_string(),
        reason: "it has not answered since the start, so what is to be deleted in it is not known; try again when it does"
            .to_owned(),
    })?;
    if let Some((name, err)) = bucket.known.read().damaged.iter().next() {
        return Err(Error::ObjectStore {
            verb: "read",
            object: format!("{}/{name}", bucket.folder),
            reason: format!("what is to be deleted in it is not known: {err}; mend the copy or remove it"),
        });
    }
    let overlapping = visible.iter().filter(|copy| copy.meta.overlaps(start, end));
    Ok(overlapping.map(|copy| format!("{}{}", super::sync::PENDING, copy.name)).collect())
}
