//! Replay: reading segments back after a restart.

use std::path::PathBuf;
use std::sync::Arc;

use super::frame::{self, Frames};
use super::record::{Reader, Replay};
use super::{SEGMENT_HEADER, Start, segment_number, start_of};
use crate::disk::Disk;
use crate::error::{Error, Result};

/// What replay found.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// Segments read.
    pub(crate) segments: usize,
    /// Bytes cut off the torn end of the last segment.
    pub(crate) torn_bytes: u64,
    /// Segments with damage before their end; what was good before it has been replayed.
    pub(crate) damaged: Vec<PathBuf>,
    /// The number after the last segment's.
    pub(crate) next_number: u64,
}

/// Reads every segment in `dir`, oldest first.
///
/// # Errors
/// `Io`. Damage is no error: it is cut (torn end of the last segment) or reported.
pub(crate) fn replay(disk: &Arc<dyn Disk>, dir: &std::path::Path, into: &mut dyn Replay) -> Result<Replayed> {
    let mut found = Replayed { next_number: 1, ..Replayed::default() };
    let entries = disk.list(dir).map_err(Error::io("list", dir))?;
    let mut segments: Vec<(u64, String)> =
        entries.into_iter().filter_map(|e| Some((segment_number(&e.name)?, e.name))).collect();
    segments.sort_unstable();
    let last = segments.len().saturating_sub(1);
    for (i, (number, name)) in segments.into_iter().enumerate() {
        found.next_number = number + 1;
        found.segments += 1;
        let path = dir.join(name);
        let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
        let begin = start_of(&bytes);
        let good = if begin == Start::Whole {
            let mut frames = Frames::new(&bytes, SEGMENT_HEADER);
            let mut reader = Reader::default();
            loop {
                let start = frames.offset();
                match frames.next() {
                    Ok(Some(payload)) => {
                        if let Err(err) = reader.read(payload, into) {
                            tracing::error!(path = %path.display(), offset = start, error = %err, "a record cannot be read");
                            break start;
                        }
                    }
                    Ok(None) => break start,
                    Err(what) => {
                        if i != last {
                            tracing::error!(path = %path.display(), offset = start, what, "a segment is damaged");
                        }
                        break start;
                    }
                }
            }
        } else {
            0
        };
        if good == bytes.len() {
            continue;
        }
        if i == last && begin != Start::Damaged && !frame::good_behind(&bytes, good) {
            // No whole write: one that had not ended, of which nobody was told, or damage that looks the same.
            found.torn_bytes += (bytes.len() - good) as u64;
            if good < SEGMENT_HEADER {
                disk.remove_file(&path).map_err(Error::io("remove", &path))?;
            } else {
                let mut file = disk.append(&path).map_err(Error::io("open", &path))?;
                file.truncate(good as u64).map_err(Error::io("cut", &path))?;
                file.sync().map_err(Error::io("sync", &path))?;
            }
        } else if begin == Start::Unbegun && bytes.len() < SEGMENT_HEADER {
            // Created, never begun.
            disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        } else {
            found.damaged.push(path);
        }
    }
    Ok(found)
}
