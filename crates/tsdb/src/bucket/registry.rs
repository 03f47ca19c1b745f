//! Which local blocks are in the object store, and under which names: one small file a tenant, replaced in one step.
//!
//! An entry is written before the first byte is sent. So a block that is replaced locally, at whatever moment, leaves an
//! entry that says by which block, and its copy in the store is hidden and deleted once its successor is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::block::{Block, BlockMeta};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::tombstones::replace_file;

/// Name of the file.
pub(crate) const FILE: &str = "bucket.json";

/// A block that is in the object store or on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The local block.
    pub(crate) id: String,
    /// Its folder in the store.
    pub(crate) name: String,
    /// Whether it is there whole.
    pub(crate) done: bool,
    /// The local block that has taken its place.
    pub(crate) replaced_by: Option<String>,
}

/// All entries of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registry {
    version: u32,
    pub(crate) entries: Vec<Entry>,
}

impl Registry {
    /// # Errors
    /// `Io`, `Corrupt`.
    pub(crate) fn load(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        if !disk.exists(&path).map_err(Error::io("look for", &path))? {
            return Ok(Self { version: 1, entries: Vec::new() });
        }
        let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
        let read: Self =
            serde_json::from_slice(&bytes).map_err(|err| Error::corrupt(&path, 0, err.to_string()))?;
        match read.version {
            1 => Ok(read),
            version => Err(Error::corrupt(&path, 0, format!("version {version} is not known"))),
        }
    }

    /// # Errors
    /// `Io`; the old file stays.
    pub(crate) fn store(&self, disk: &Arc<dyn Disk>, dir: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|err| Error::Invalid(err.to_string()))?;
        replace_file(disk, dir, FILE, &bytes)
    }

    pub(crate) fn of(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    pub(crate) fn is_done(&self, id: &str) -> bool {
        self.of(id).is_some_and(|entry| entry.done)
    }

    /// Whether copies in the store wait for this block to take their place there.
    pub(crate) fn is_awaited(&self, id: &str) -> bool {
        !self.is_done(id) && self.entries.iter().any(|entry| entry.replaced_by.as_deref() == Some(id))
    }

    /// Names of the copies that this block takes the place of.
    pub(crate) fn replaced_by(&self, id: &str) -> Vec<String> {
        let of = self.entries.iter().filter(|entry| entry.replaced_by.as_deref() == Some(id));
        of.map(|entry| entry.name.clone()).collect()
    }

    /// Notes which local blocks have taken the place of others, from the sources that they name; whether anything changed.
    pub(crate) fn absorb(&mut self, local: &[Arc<Block>]) -> bool {
        let metas: Vec<&BlockMeta> = local.iter().map(|block| block.meta()).collect();
        self.absorb_metas(&metas)
    }

    fn absorb_metas(&mut self, local: &[&BlockMeta]) -> bool {
        let mut changed = false;
        for meta in local {
            for entry in &mut self.entries {
                let named = |id: &String| *id != meta.id && meta.sources.contains(id);
                // Directly, or as the successor of the successor.
                if (named(&entry.id) || entry.replaced_by.as_ref().is_some_and(named))
                    && entry.replaced_by.as_ref() != Some(&meta.id)
                {
                    entry.replaced_by = Some(meta.id.clone());
                    changed = true;
                }
            }
        }
        changed
    }

    /// Names in the store that must not be read while `local` are the blocks on disk: their samples are in these.
    pub(crate) fn hidden(&self, local: &[Arc<Block>]) -> BTreeSet<&str> {
        let mut there: BTreeSet<&str> = BTreeSet::new();
        for block in local {
            there.insert(&block.meta().id);
            there.extend(block.meta().sources.iter().map(String::as_str));
        }
        let is_hidden = |entry: &&Entry| {
            there.contains(entry.id.as_str())
                || entry.replaced_by.as_ref().is_some_and(|by| there.contains(by.as_str()))
        };
        self.entries.iter().filter(is_hidden).map(|entry| entry.name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_of_a_successor_takes_the_place_of_the_first() {
        let entry =
            |id: &str| Entry { id: id.to_owned(), name: format!("{id}-x"), done: true, replaced_by: None };
        let meta = |id: &str, sources: &[&str]| BlockMeta {
            sources: sources.iter().map(|s| (*s).to_owned()).collect(),
            ..BlockMeta::new(id, 1)
        };
        let mut registry = Registry { version: 1, entries: vec![entry("a"), entry("b"), entry("z")] };
        assert!(registry.absorb_metas(&[&meta("c", &["a", "b"])]));
        assert_eq!(registry.replaced_by("c"), ["a-x", "b-x"]);
        assert!(!registry.absorb_metas(&[&meta("c", &["a", "b"])]));
        assert!(registry.absorb_metas(&[&meta("d", &["c"])]));
        assert_eq!((registry.replaced_by("c").len(), registry.replaced_by("d").len()), (0, 2));
        assert!(registry.is_awaited("d") && !registry.is_awaited("z"));
    }
}
