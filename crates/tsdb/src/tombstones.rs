//! Tombstones: deletions that are not physical yet.
//!
//! A tombstone is a selector and a time range that ends, at the latest, at the newest sample of its moment: what is written
//! later is not deleted. Readers leave its samples out at once; blocks are cut and merged without them. It is dropped when
//! no block of before is left and the head is past its range.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use model::{Labels, MatchOp, Matcher, Selector};
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::{Error, Result};

const FILE: &str = "tombstones.json";

/// A deletion.
#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    pub(crate) selector: Selector,
    /// First and last millisecond.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Blocks that still hold what it deletes.
    pub(crate) pending: BTreeSet<String>,
}

/// All deletions of a tenant, as of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones(pub(crate) Vec<Tombstone>);

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    tombstones: Vec<StoredTombstone>,
}

#[derive(Serialize, Deserialize)]
struct StoredTombstone {
    matchers: Vec<(String, String, String)>,
    start: i64,
    end: i64,
    pending: BTreeSet<String>,
}

impl Tombstones {
    /// The ranges deleted from a series, both ends included.
    pub(crate) fn ranges(&self, labels: &Labels) -> Vec<(i64, i64)> {
        let of = self.0.iter().filter(|t| model::matcher::selects(&t.selector, labels));
        of.map(|t| (t.start, t.end)).collect()
    }

    /// Reads the tenant's file; none is no deletion.
    ///
    /// # Errors
    /// `Io`, `Corrupt`: what was deleted must not come back, so this is no reason to go on without.
    pub(crate) fn load(disk: &Arc<dyn Disk>, tenant_dir: &Path) -> Result<Self> {
        let path = tenant_dir.join(FILE);
        if !disk.exists(&path).map_err(Error::io("look for", &path))? {
            return Ok(Self::default());
        }
        let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
        let stored: Stored =
            serde_json::from_slice(&bytes).map_err(|err| Error::corrupt(&path, 0, err.to_string()))?;
        if stored.version != 1 {
            return Err(Error::corrupt(&path, 0, format!("version {} is not known", stored.version)));
        }
        let read = |stored: StoredTombstone| {
            let matcher = |(name, op, value): (String, String, String)| {
                let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
                let op = ops
                    .into_iter()
                    .find(|o| o.as_str() == op)
                    .ok_or_else(|| format!("no operator {op:?}"))?;
                Matcher::new(name, op, value).map_err(|err| err.to_string())
            };
            let selector: std::result::Result<Selector, String> =
                stored.matchers.into_iter().map(matcher).collect();
            let selector = selector.map_err(|what| Error::corrupt(&path, 0, what))?;
            Ok(Tombstone { selector, start: stored.start, end: stored.end, pending: stored.pending })
        };
        Ok(Self(stored.tombstones.into_iter().map(read).collect::<Result<_>>()?))
    }

    /// Writes the tenant's file.
    ///
    /// # Errors
    /// `Io`; the old file stays.
    pub(crate) fn store(&self, disk: &Arc<dyn Disk>, tenant_dir: &Path) -> Result<()> {
        let tombstones = self.0.iter().map(|t| StoredTombstone {
            matchers: t
                .selector
                .iter()
                .map(|m| (m.name().to_owned(), m.op().as_str().to_owned(), m.value().to_owned()))
                .collect(),
            start: t.start,
            end: t.end,
            pending: t.pending.clone(),
        });
        let stored = Stored { version: 1, tombstones: tombstones.collect() };
        let bytes = serde_json::to_vec(&stored).map_err(|err| Error::Invalid(err.to_string()))?;
        replace_file(disk, tenant_dir, FILE, &bytes)
    }
}

/// Replaces a small file in one step.
///
/// # Errors
/// `Io`; the old file stays.
pub(crate) fn replace_file(disk: &Arc<dyn Disk>, dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (path, temporary) = (dir.join(name), dir.join(format!("{name}.tmp")));
    let mut file = disk.create(&temporary).map_err(Error::io("create", &temporary))?;
    file.write_all(bytes).map_err(Error::io("write", &temporary))?;
    file.sync().map_err(Error::io("sync", &temporary))?;
    disk.rename(&temporary, &path).map_err(Error::io("rename", &temporary))?;
    disk.sync_dir(dir).map_err(Error::io("sync", dir))
}
