//! Which queries run, in a file that outlives the process: after a crash the next start names them.
//!
//! The file has a slot of fixed size for each query that may run. A slot holds one JSON object padded with spaces, or spaces.
//! It is not synced: it is there to survive the death of the process, not of the machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{TenantId, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Bytes of a slot. Longer queries are cut.
const SLOT: usize = 1024;

/// A query that runs, or ran when the process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveQuery {
    /// The query; cut when it is long.
    pub query: String,
    /// Whose.
    pub tenant: String,
    /// When it began, in seconds since the epoch.
    pub timestamp_sec: i64,
}

/// The file and its free slots.
#[derive(Debug)]
pub struct ActiveQueries {
    file: Option<File>,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: Vec<usize>,
    running: Vec<Option<ActiveQuery>>,
}

impl ActiveQueries {
    /// Opens the file for `slots` queries, empties it, and gives what was in it.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, slots: usize) -> io::Result<(Arc<Self>, Vec<ActiveQuery>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path)?;
        let mut bytes = Vec::new();
        // A file of another program, or of more slots, is read no further than any of ours is long.
        (&mut file).take(1 << 20).read_to_end(&mut bytes)?;
        let unfinished = bytes.chunks(SLOT).filter_map(|slot| serde_json::from_slice(slot).ok()).collect();
        let slots = slots.max(1);
        file.set_len(0)?;
        file.write_all_at(&vec![b' '; slots * SLOT], 0)?;
        Ok((Arc::new(Self::with_file(Some(file), path.to_owned(), slots)), unfinished))
    }

    /// Without a file: running queries are known to this process alone.
    pub fn in_memory(slots: usize) -> Arc<Self> {
        Arc::new(Self::with_file(None, PathBuf::new(), slots.max(1)))
    }

    fn with_file(file: Option<File>, path: PathBuf, slots: usize) -> Self {
        let state = State { free: (0..slots).rev().collect(), running: vec![None; slots] };
        Self { file, path, state: Mutex::new(state) }
    }

    /// Notes that a query runs, until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>, tenant: &TenantId, query: &str, at: Timestamp) -> Running {
        let active = ActiveQuery {
            query: cut(query).to_owned(),
            tenant: tenant.as_str().to_owned(),
            timestamp_sec: at.ms().div_euclid(1000),
        };
        let mut slot = vec![b' '; SLOT];
        // What has many quotes grows by escaping; half of it says as much.
        let mut shown = active.clone();
        loop {
            let text = serde_json::to_vec(&shown).unwrap_or_default();
            if text.len() <= SLOT {
                slot[..text.len()].copy_from_slice(&text);
                break;
            }
            let mut half = shown.query.len() / 2;
            while !shown.query.is_char_boundary(half) {
                half -= 1;
            }
            shown.query.truncate(half);
        }
        let mut state = self.state.lock();
        let index = state.free.pop();
        if let Some(index) = index {
            state.running[index] = Some(active);
            drop(state);
            self.write(index, &slot);
        }
        Running { queries: Arc::clone(self), index }
    }

    /// The queries that run.
    pub(crate) fn running(&self) -> Vec<ActiveQuery> {
        self.state.lock().running.iter().flatten().cloned().collect()
    }

    fn write(&self, index: usize, slot: &[u8]) {
        if let Some(file) = &self.file
            && let Err(err) = file.write_all_at(slot, (index * SLOT) as u64)
        {
            tracing::warn!(error = %err, path = %self.path.display(), "the list of running queries cannot be written");
        }
    }
}

/// The start of a long query.
fn cut(query: &str) -> &str {
    let mut end = query.len().min(SLOT * 3 / 4);
    while !query.is_char_boundary(end) {
        end -= 1;
    }
    query.get(..end).unwrap_or_default()
}

/// A running query.
#[derive(Debug)]
pub(crate) struct Running {
    queries: Arc<ActiveQueries>,
    index: Option<usize>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            self.queries.write(index, &[b' '; SLOT]);
            let mut state = self.queries.state.lock();
            state.running[index] = None;
            state.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_at_a_crash_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queries.active");
        let (queries, before) = ActiveQueries::open(&path, 2).unwrap();
        assert!(before.is_empty());
        let tenant = TenantId::default();
        let long = format!("\u{1}{}", "\"é".repeat(5000));
        let first = queries.begin(&tenant, "up", Timestamp(5500));
        let second = queries.begin(&tenant, &long, Timestamp(6000));
        // A third has no slot and is not noted; it does no harm.
        let third = queries.begin(&tenant, "down", Timestamp(6000));
        assert_eq!(queries.running().len(), 2);
        drop((first, third));
        // As after a crash: the second is still in the file.
        let (_, unfinished) = ActiveQueries::open(&path, 2).unwrap();
        assert_eq!(unfinished.len(), 1);
        assert!(long.starts_with(&unfinished[0].query) && !unfinished[0].query.is_empty());
        drop(second);
        let (_, none) = ActiveQueries::open(&path, 1).unwrap();
        assert!(none.is_empty());
    }
}
