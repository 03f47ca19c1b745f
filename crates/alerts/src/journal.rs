//! Which notifications arrived, noted the moment that they did: between that moment and the next commit of the state store
//! a crash would send them again.
//!
//! A file of ids, one a line, in two generations; written without `fsync`, so that it outlives the process but not the
//! power. Then the claim alone is left, and the notification is sent again. An id in it settles the claim that has it.
//! Lines that are no ids, which a power cut may leave, are passed over and said in the log.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A generation is so long; the one before it goes with the next.
const GENERATION_BYTES: u64 = 1 << 20;

/// The file, and what a process before this one left in it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    current: Mutex<(File, u64)>,
    before: HashSet<String>,
}

impl Journal {
    /// Opens or creates the file and reads what is in it. Blocks.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut before = HashSet::new();
        for part in [older(path), path.to_owned()] {
            match File::open(&part) {
                Ok(file) => read(file, &part, &mut before)?,
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
        let file = create(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), current: Mutex::new((file, length)), before })
    }

    /// Whether a process before this one noted the notification.
    pub fn has(&self, id: &str) -> bool {
        self.before.contains(id)
    }

    /// Notes that a notification has arrived.
    pub fn arrived(&self, id: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(err) = write(&mut current, &self.path, id) {
            tracing::warn!(error = %err, path = ?self.path, "a crash now would repeat a notification: its journal cannot be written");
        }
    }
}

/// Reads the ids of a generation.
fn read(file: File, path: &Path, before: &mut HashSet<String>) -> io::Result<()> {
    // No generation is longer; a file that is has not been written here.
    let file = BufReader::new(io::Read::take(file, 2 * GENERATION_BYTES));
    let mut unreadable = 0;
    for line in file.split(b'\n') {
        match String::from_utf8(line?) {
            Ok(id) if is_id(&id) => drop(before.insert(id)),
            _ => unreadable += 1,
        }
    }
    if unreadable > 0 {
        tracing::warn!(
            ?path,
            lines = unreadable,
            "the journal of notifications has lines that are no ids; they are passed over"
        );
    }
    Ok(())
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn write(current: &mut (File, u64), path: &Path, id: &str) -> io::Result<()> {
    if current.1 > GENERATION_BYTES {
        std::fs::rename(path, older(path))?;
        *current = (create(path)?, 0);
    }
    let line = format!("{id}\n");
    current.0.write_all(line.as_bytes())?;
    current.1 += line.len() as u64;
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sent");
        let journal = Journal::open(&path).unwrap();
        assert!(!journal.has("a"));
        journal.arrived("a");
        // More than a generation, less than two.
        let many = GENERATION_BYTES as usize / 37 + 100;
        (0..many).for_each(|n| journal.arrived(&format!("{n:036}")));
        let journal = Journal::open(&path).unwrap();
        assert!(journal.has("a") && journal.has(&format!("{:036}", many - 1)) && !journal.has("b"));
        (0..2 * many).for_each(|n| journal.arrived(&format!("{n:036}")));
        assert!(!Journal::open(&path).unwrap().has("a"), "two generations later it is gone");
        // A line that was torn is no id of anything, and what is no text at all keeps nobody from starting.
        std::fs::write(&path, b"id\n\xff\x00garbage\n\n\0\0\0\0\ntor").unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!(journal.has("id") && !journal.has("torn"));
    }
}
