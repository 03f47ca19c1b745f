//! Merging sealed files: a seal every few minutes makes many short chunks, each of which a query has to open. A few long ones
//! take their place, until a block does.
//!
//! The new file is whole before the others go. A crash between leaves samples in both, which readers merge.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::head::sealed::{self, SealedFile};
use crate::head::select::GroupSnapshot;
use crate::tenant::Tenant;

/// A file with a time column of so many samples is no short one.
const LONG: usize = 96;

impl Tenant {
    /// Merges the newest sealed files when enough of them are short; whether there were.
    ///
    /// # Errors
    /// `Io`; the files stay as they are then.
    pub(crate) fn merge_sealed(&self) -> Result<bool> {
        let mut work = self.work.lock();
        let wanted = self.config.sealed_merge_files;
        if wanted < 2 || work.sealed_since_merge < wanted {
            return Ok(false);
        }
        let groups = self.head.all_groups();
        let mut files: BTreeMap<u64, Arc<SealedFile>> = BTreeMap::new();
        for group in &groups {
            for chunk in group.state.lock().chunks.iter() {
                files.entry(chunk.file.number).or_insert_with(|| Arc::clone(&chunk.file));
            }
        }
        // The newest ones, so that what comes out is newer than all that is left.
        let short = |(number, file): &(&u64, &Arc<SealedFile>)| {
            **number >= work.unmergeable_until && file.longest < LONG
        };
        let run: BTreeMap<u64, Arc<SealedFile>> =
            files.iter().rev().take_while(short).map(|(number, file)| (*number, Arc::clone(file))).collect();
        work.sealed_since_merge = run.len();
        if run.len() < wanted {
            return Ok(false);
        }
        let number = work.next_sealed;
        work.next_sealed += 1;
        let dir = self.dir.join("sealed");
        let encoder = &mut work.encoder;
        let written = sealed::write_file(&self.disk, &dir, number, |add| {
            for group in &groups {
                let (all, columns) = {
                    let state = group.state.lock();
                    (Arc::clone(&state.chunks), state.series.len() as u32)
                };
                let chunks: Vec<_> =
                    all.iter().filter(|c| run.contains_key(&c.file.number)).cloned().collect();
                if chunks.is_empty() {
                    continue;
                }
                let snapshot = GroupSnapshot::of_list(chunks);
                if let Some(payload) = encoder.encode_chunks(group.number, columns, &snapshot)? {
                    add(payload)?;
                }
            }
            Ok(())
        });
        let merged = match written.and_then(|path| sealed::open_file(&self.disk, &path, number)) {
            Ok(merged) => merged,
            Err(err @ Error::Corrupt { .. }) => {
                // Queries say so too; the files stay for whoever mends them.
                tracing::warn!(tenant = %self.id, error = %err, "damaged sealed files are not merged");
                work.unmergeable_until = number;
                work.sealed_since_merge = 0;
                return Ok(false);
            }
            Err(err) => return Err(err),
        };
        let mut merged: BTreeMap<u64, _> = merged.into_iter().collect();
        for group in &groups {
            let mut state = group.state.lock();
            if state.chunks.iter().any(|chunk| run.contains_key(&chunk.file.number)) {
                let chunks = Arc::make_mut(&mut state.chunks);
                chunks.retain(|chunk| !run.contains_key(&chunk.file.number));
                chunks.extend(merged.remove(&group.number));
            }
        }
        for file in run.values() {
            self.disk.remove_file(&file.path).map_err(Error::io("remove", &file.path))?;
        }
        work.sealed_since_merge = 0;
        self.metrics.sealed_merges.inc();
        Ok(true)
    }
}
