//! Roll-ups that wait on disk for the upper collector: a folder of files, sent oldest first, the oldest dropped when full.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A waiting roll-up.
#[derive(Clone, Debug)]
struct Waiting {
    path: PathBuf,
    bytes: u64,
    reports: u64,
}

/// The folder. Every call blocks.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    max_bytes: u64,
    waiting: std::collections::VecDeque<Waiting>,
    next: u64,
}

impl Spool {
    /// Opens or creates the folder; what a former process left is sent first.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn open(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut waiting = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match parse(&path) {
                Some((number, reports)) => {
                    let bytes = fs::metadata(&path)?.len();
                    waiting.push((number, Waiting { path, bytes, reports }));
                }
                // A torn write of a former process.
                None => fs::remove_file(&path)?,
            }
        }
        waiting.sort_by_key(|(number, _)| *number);
        let next = waiting.last().map_or(1, |(number, _)| number + 1);
        let waiting = waiting.into_iter().map(|(_, waiting)| waiting).collect();
        Ok(Self { folder: folder.to_owned(), max_bytes, waiting, next })
    }

    /// Adds one, durable when it returns. Answers how many reports were dropped to make room.
    ///
    /// # Errors
    /// The disk refused; nothing was added.
    pub fn push(&mut self, body: &[u8], reports: u64) -> io::Result<u64> {
        let path = self.folder.join(format!("{:016}-{reports}.rollup", self.next));
        let part = self.folder.join("part");
        let mut file = fs::File::create(&part)?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        fs::File::open(&self.folder)?.sync_all()?;
        self.next += 1;
        self.waiting.push_back(Waiting { path, bytes: body.len() as u64, reports });
        let mut lost = 0;
        while self.bytes() > self.max_bytes && self.waiting.len() > 1 {
            lost += self.drop_first()?;
        }
        Ok(lost)
    }

    /// The oldest, if any.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn first(&self) -> io::Result<Option<Vec<u8>>> {
        self.waiting.front().map(|waiting| fs::read(&waiting.path)).transpose()
    }

    /// Removes the oldest; answers how many reports it held.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn drop_first(&mut self) -> io::Result<u64> {
        let Some(first) = self.waiting.front() else { return Ok(0) };
        fs::remove_file(&first.path)?;
        let reports = first.reports;
        self.waiting.pop_front();
        Ok(reports)
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> u64 {
        self.waiting.iter().map(|waiting| waiting.bytes).sum()
    }

    /// Roll-ups that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn parse(path: &Path) -> Option<(u64, u64)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".rollup")?;
    let (number, reports) = name.split_once('-')?;
    Some((number.parse().ok()?, reports.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_first_and_dropped_when_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 25).unwrap();
        assert_eq!(spool.push(b"0123456789", 1).unwrap(), 0);
        assert_eq!(spool.push(b"abcdefghij", 2).unwrap(), 0);
        assert_eq!(spool.push(b"ABCDEFGHIJ", 4).unwrap(), 1);
        fs::write(folder.path().join("part"), b"torn").unwrap();
        let mut spool = Spool::open(folder.path(), 25).unwrap();
        assert_eq!(spool.first().unwrap().unwrap(), b"abcdefghij");
        assert_eq!(spool.drop_first().unwrap(), 2);
        assert_eq!(spool.drop_first().unwrap(), 4);
        assert!(spool.is_empty() && spool.first().unwrap().is_none());
    }
}
